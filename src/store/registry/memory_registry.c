/*
 * apply(): a chain of ops, each done or refused, and at the end all of it kept or taken back. And
 * the small functions of the port.
 */
#include "store/registry/memory_registry.h"

#include "store/registry/memory_internal.h"

#include "base/error.h"
#include "base/mem.h"

#include <assert.h>
#include <inttypes.h>

static enum weir_status (*const op_functions[REGISTRY_OP_KINDS])(struct memory_registry *,
                                                                 struct registry_op *) = {
    [REGISTRY_SUBMIT] = memory_op_submit,       [REGISTRY_TAKE] = memory_op_take,
    [REGISTRY_START] = memory_op_start,         [REGISTRY_END] = memory_op_end,
    [REGISTRY_CANCEL] = memory_op_cancel,       [REGISTRY_RETRY] = memory_op_retry,
    [REGISTRY_EDIT] = memory_op_edit,           [REGISTRY_DELETE] = memory_op_delete,
    [REGISTRY_RESOLVE] = memory_op_resolve,     [REGISTRY_WAKE] = memory_op_wake,
    [REGISTRY_TELL] = memory_op_tell,           [REGISTRY_BATCH_OPEN] = memory_op_batch_open,
    [REGISTRY_BATCH_END] = memory_op_batch_end, [REGISTRY_CHECK] = memory_op_check,
    [REGISTRY_PURGE] = memory_op_purge,         [REGISTRY_SET] = memory_op_set,
    [REGISTRY_SAMPLE] = memory_op_sample,
};

/* The one task that the op is about, for those that a person asks for; 0: another op. */
static uint64_t asked_for(const struct registry_op *op)
{
    switch (op->kind) {
    case REGISTRY_CANCEL:
        return op->cancel.task;
    case REGISTRY_RETRY:
        return op->retry.task;
    case REGISTRY_EDIT:
        return op->edit.task;
    case REGISTRY_DELETE:
        return op->remove.task;
    case REGISTRY_RESOLVE:
        return op->resolve.task;
    default:
        return 0;
    }
}

/* Whoever asked has let go of it: it is handed over again, if this op has not done so. */
static bool hand_back(struct memory_registry *m, struct registry_op *op)
{
    struct memory_task *t = memory_find(m, asked_for(op));

    if (!t || t->state != REGISTRY_READY || op->ret_ready || op->ret_line_count > 0)
        return true;
    return memory_hand(m, op, t);
}

static void begin_op(struct memory_registry *m, struct registry_op *op)
{
    op->err = (struct weir_error){0};
    op->ret_ready = NULL;
    op->ret_lines = NULL;
    op->ret_line_count = 0;
    op->ret_due_ns = 0;
    if (op->kind == REGISTRY_TAKE) {
        op->take.ret_tasks = NULL;
        op->take.ret_more = false;
    }
    if (op->kind == REGISTRY_PURGE) {
        op->purge.ret_lines_gone = NULL;
        op->purge.ret_lines_gone_count = 0;
    }
    m->op_number++;
    m->ready_end = &op->ret_ready;
}

/* False: no memory, the transaction fails. */
static bool do_op(struct memory_registry *m, struct registry_op *op)
{
    struct memory_undo *mark = m->undo;
    struct memory_counts counts = m->c;
    enum weir_status status;

    begin_op(m, op);
    if ((unsigned)op->kind >= REGISTRY_OP_KINDS)
        status = error_set(&op->err, WEIR_E_INVALID, "there is no op of kind %d", (int)op->kind);
    else
        status = op_functions[op->kind](m, op);
    if (status == WEIR_E_NOMEM && op->err.status != WEIR_E_NOMEM)
        error_nomem(&op->err);
    if (status == WEIR_E_NOMEM)
        return false;
    if (status != WEIR_OK) {
        assert(op->err.status == status);
        if (m->undo != mark)
            memory_take_back(m, mark, &counts);
        memory_free_outputs(op);
        m->ready_end = &op->ret_ready;
    }
    return memory_end_batches(m, op->at_ns) && hand_back(m, op);
}

/* Nothing of it has happened; each op says why. */
static enum weir_status fail_all(struct memory_registry *m, struct registry_op *chain,
                                 const struct registry_op *begun,
                                 const struct memory_counts *counts, const struct weir_error *why,
                                 struct weir_error *err)
{
    bool is_begun = true;

    memory_take_back(m, NULL, counts);
    for (struct registry_op *op = chain; op; op = op->next) {
        if (is_begun)
            memory_free_outputs(op);
        is_begun = is_begun && op != begun;
        op->err = *why;
    }
    if (err)
        *err = *why;
    return why->status;
}

static enum weir_status apply_locked(struct memory_registry *m, struct registry_op *chain,
                                     struct weir_error *err)
{
    struct memory_counts counts = m->c;
    struct registry_op *last = NULL;
    struct weir_error why;

    for (struct registry_op *op = chain; op; op = op->next) {
        last = op;
        if (!do_op(m, op)) {
            error_nomem(&why);
            return fail_all(m, chain, op, &counts, &why, err);
        }
    }
    if (m->fail_next > 0) {
        m->fail_next--;
        error_set(&why, WEIR_E_IO, "the registry in memory was told to fail");
        return fail_all(m, chain, last, &counts, &why, err);
    }
    memory_commit(m);
    return WEIR_OK;
}

static enum weir_status memory_apply(struct core_registry *r, struct registry_op *chain,
                                     struct weir_error *err)
{
    struct memory_registry *m = memory_self(r);
    enum weir_status status;

    pthread_mutex_lock(&m->lock);
    status = apply_locked(m, chain, err);
    pthread_mutex_unlock(&m->lock);
    return status;
}

static enum weir_status memory_left(struct core_registry *r, registry_left_fn fn, void *ctx,
                                    struct weir_error *err)
{
    struct memory_registry *m = memory_self(r);
    bool go_on = true;

    (void)err;
    pthread_mutex_lock(&m->lock);
    for (uint64_t i = 0; i < m->c.tasks && go_on; i++) {
        const struct memory_task *t = m->tasks[i];

        if (t && t->state == REGISTRY_RUNNING)
            go_on = fn(ctx, &(struct registry_left){.task = t->id,
                                                    .token = t->token,
                                                    .attempt = t->attempt,
                                                    .pool = memory_slice(t->pool),
                                                    .runner = t->runner,
                                                    .started_ns = t->started_ns});
    }
    pthread_mutex_unlock(&m->lock);
    return WEIR_OK;
}

/* Nobody has anything of a line. */
static void forget_taken(struct memory_registry *m)
{
    for (uint64_t i = 0; i < m->c.lines; i++)
        if (m->lines[i])
            m->lines[i]->passed = INT64_MIN;
    memory_derive(m);
}

static enum weir_status memory_put_all_back(struct core_registry *r, int64_t now_ns,
                                            uint32_t deaths_max, uint64_t *ret_count,
                                            struct weir_error *err)
{
    struct memory_registry *m = memory_self(r);
    struct registry_op op = {.kind = REGISTRY_TELL, .at_ns = now_ns};
    enum weir_status status = WEIR_OK;
    struct memory_counts counts;
    uint64_t count = 0;

    pthread_mutex_lock(&m->lock);
    counts = m->c;
    begin_op(m, &op);
    if (memory_put_back(m, &op, deaths_max, &count) && memory_end_passing(m) &&
        memory_end_batches(m, now_ns)) {
        memory_commit(m);
        *ret_count = count;
    } else {
        memory_take_back(m, NULL, &counts);
        status = error_nomem(err);
    }
    /* Nobody has asked for what that made ready: it is found by its line. */
    memory_free_outputs(&op);
    forget_taken(m);
    pthread_mutex_unlock(&m->lock);
    return status;
}

static enum weir_status memory_lines(struct core_registry *r, registry_line_fn fn, void *ctx,
                                     struct weir_error *err)
{
    struct memory_registry *m = memory_self(r);
    bool go_on = true;

    (void)err;
    pthread_mutex_lock(&m->lock);
    for (uint64_t i = 0; i < m->c.lines && go_on; i++)
        if (m->lines[i] && m->lines[i]->first)
            go_on = fn(ctx, &m->lines[i]->pub);
    pthread_mutex_unlock(&m->lock);
    return WEIR_OK;
}

static const struct registry_line *memory_line_by_id(struct core_registry *r, uint32_t id)
{
    struct memory_registry *m = memory_self(r);
    const struct memory_line *l;

    pthread_mutex_lock(&m->lock);
    l = memory_find_line(m, id);
    pthread_mutex_unlock(&m->lock);
    return l ? &l->pub : NULL;
}

static uint64_t memory_last_event(struct core_registry *r)
{
    struct memory_registry *m = memory_self(r);
    uint64_t last;

    pthread_mutex_lock(&m->lock);
    last = m->c.event_last;
    pthread_mutex_unlock(&m->lock);
    return last;
}

static enum weir_status memory_reader(struct core_registry *r, struct registry_reader **ret,
                                      struct weir_error *err)
{
    return memory_reader_new(memory_self(r), ret, err);
}

static void free_kept(struct memory_registry *m)
{
    while (m->c.facts) {
        struct memory_fact *f = m->c.facts;

        m->c.facts = f->next;
        mem_free(f->name.data);
        mem_free(f->value.data);
        mem_free(f);
    }
    while (m->c.series) {
        struct memory_series *s = m->c.series;

        m->c.series = s->next;
        mem_free(s->pool.data);
        mem_free(s->samples);
        mem_free(s);
    }
}

static void memory_close(struct core_registry *r)
{
    struct memory_registry *m = memory_self(r);

    heap_free(&m->due); /* while its nodes are there */
    for (uint64_t i = 0; i < m->c.tasks; i++)
        if (m->tasks[i])
            memory_task_free(m->tasks[i]);
    for (uint64_t i = 0; i < m->c.batches; i++)
        if (m->batches[i])
            memory_batch_free(m->batches[i]);
    for (uint64_t i = 0; i < m->c.lines; i++)
        mem_free(m->lines[i]);
    for (uint64_t seq = m->c.event_first; seq <= m->c.event_last; seq++)
        mem_free(m->events[seq - 1]);
    free_kept(m);
    mem_free(m->tasks);
    mem_free(m->batches);
    mem_free(m->lines);
    mem_free(m->events);
    mem_free(m->line_buckets);
    mem_free(m->key_buckets);
    pthread_mutex_destroy(&m->lock);
    mem_free(m);
}

static const struct core_registry_ops memory_ops = {
    .name = "memory",
    .apply = memory_apply,
    .left_running = memory_left,
    .put_back = memory_put_all_back,
    .lines = memory_lines,
    .line = memory_line_by_id,
    .last_event = memory_last_event,
    .reader = memory_reader,
    .close = memory_close,
};

static bool due_less(const struct heap_node *a, const struct heap_node *b)
{
    const struct memory_task *x = memory_of_node(a), *y = memory_of_node(b);

    return x->due_ns != y->due_ns ? x->due_ns < y->due_ns : x->id < y->id;
}

enum weir_status memory_registry_new(struct core_registry **ret, struct weir_error *err)
{
    struct memory_registry *m = mem_calloc(1, sizeof(*m));
    pthread_mutexattr_t attr;

    if (!m)
        return error_nomem(err);
    m->base.ops = &memory_ops;
    m->c.event_first = 1;
    m->lines_max = REGISTRY_LINES_MAX;
    heap_init(&m->due, due_less);
    /* A reader's callback may ask for a line. */
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&m->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    *ret = &m->base;
    return WEIR_OK;
}

void memory_registry_fail_next(struct core_registry *r, uint64_t n)
{
    struct memory_registry *m = memory_self(r);

    pthread_mutex_lock(&m->lock);
    m->fail_next = n;
    pthread_mutex_unlock(&m->lock);
}

void memory_registry_crash(struct core_registry *r)
{
    struct memory_registry *m = memory_self(r);

    pthread_mutex_lock(&m->lock);
    memory_lines_let_go(m);
    forget_taken(m);
    pthread_mutex_unlock(&m->lock);
}

void memory_registry_limit_lines(struct core_registry *r, uint32_t max)
{
    memory_self(r)->lines_max = max;
}
