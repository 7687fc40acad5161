/*
 * SUBMIT: all tasks are put in as BLOCKED first, then their dependencies, then each gets the state
 * that follows. What is refused half-way is taken back by apply().
 */
#include "store/registry/memory_internal.h"
#include "store/registry/rules.h"

#include "base/error.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>

struct submission {
    const struct registry_submit *s;
    struct registry_op *op;
    struct memory_task **tasks; /* by place: new, or known by its idempotency key */
    bool *existing;
    struct memory_edge *found; /* room for the dependencies of one */
};

static bool set_texts(struct memory_registry *m, struct memory_task *t,
                      const struct registry_spec *s)
{
    return memory_set_text(m, &t->key, s->key) && memory_set_text(m, &t->payload, s->payload) &&
           memory_set_text(m, &t->idempotency, s->idempotency_key);
}

static enum weir_status task_new(struct memory_registry *m, const struct registry_spec *s,
                                 struct registry_op *op, struct memory_task **ret)
{
    struct memory_task *t = memory_make(m, sizeof(*t));
    enum weir_status status;

    if (!t)
        return WEIR_E_NOMEM;
    t->state = REGISTRY_BLOCKED;
    t->batch = s->batch;
    t->place = s->place;
    t->run_after_failure = s->run_after_failure;
    t->max_attempts = s->max_attempts;
    t->timeout_ns = s->timeout_ns;
    t->backoff_initial_ns = s->backoff_initial_ns;
    t->backoff_ceiling_ns = s->backoff_ceiling_ns;
    t->backoff_factor = s->backoff_factor;
    t->deadline_ns = s->deadline_ns;
    t->not_before_ns = s->not_before_ns;
    t->submitted_ns = op->at_ns;
    *ret = t;
    status = memory_line_of(m, &s->line, op, &t->line);
    if (status != WEIR_OK)
        return status;
    return set_texts(m, t, s) && memory_table_add(m, t) ? WEIR_OK : WEIR_E_NOMEM;
}

static enum weir_status check_batch(struct memory_registry *m, const struct submission *sub,
                                    size_t i, struct memory_batch **ret)
{
    uint64_t id = sub->s->specs[i].batch;

    *ret = NULL;
    if (id == 0)
        return WEIR_OK;
    *ret = memory_find_batch(m, id);
    if (!*ret)
        return error_set(&sub->op->err, WEIR_E_END, "task %zu: there is no batch %" PRIu64, i, id);
    if ((*ret)->ended)
        return error_set(&sub->op->err, WEIR_E_CONFLICT,
                         "task %zu: batch %" PRIu64
                         " has been ended, and takes no more tasks; open another one",
                         i, id);
    return WEIR_OK;
}

static enum weir_status put_in(struct memory_registry *m, struct submission *sub, size_t i)
{
    const struct registry_spec *spec = &sub->s->specs[i];
    struct memory_batch *batch;
    enum weir_status status;

    sub->tasks[i] = memory_find_key(m, spec->idempotency_key);
    sub->existing[i] = sub->tasks[i] != NULL;
    if (sub->tasks[i])
        return WEIR_OK;
    status = check_batch(m, sub, i, &batch);
    if (status != WEIR_OK)
        return status;
    status = task_new(m, spec, sub->op, &sub->tasks[i]);
    if (status == WEIR_E_LIMIT)
        return error_prefix(&sub->op->err, "task %zu", i);
    if (status != WEIR_OK || (batch && !memory_batch_add(m, batch, sub->tasks[i])))
        return WEIR_E_NOMEM;
    return WEIR_OK;
}

static int by_id(const void *a, const void *b)
{
    const struct memory_edge *x = a, *y = b;

    return x->on < y->on ? -1 : x->on > y->on;
}

enum weir_status memory_edges_sort(struct memory_registry *m, struct registry_op *op,
                                   bool run_after_failure, struct memory_edge *found,
                                   uint32_t *count, const struct memory_task **ret_failed)
{
    uint32_t n = 0;

    *ret_failed = NULL;
    qsort(found, *count, sizeof(*found), by_id);
    for (uint32_t i = 0; i < *count; i++) {
        const struct memory_task *on = memory_find(m, found[i].on);
        bool failed = on->state == REGISTRY_FAILED;

        if (n > 0 && found[n - 1].on == on->id)
            continue;
        if (on->state == REGISTRY_CANCELLED)
            return error_set(&op->err, WEIR_E_CONFLICT,
                             "it would depend on task %" PRIu64
                             ", which is cancelled; retry that first, or leave it out",
                             on->id);
        if (failed && !run_after_failure && !*ret_failed)
            *ret_failed = on;
        found[n++] = (struct memory_edge){on->id, on->state == REGISTRY_DONE ||
                                                      (failed && run_after_failure)};
    }
    *count = n;
    return WEIR_OK;
}

/* The task that has failed and fails it is remembered in t->from. */
static enum weir_status connect(struct memory_registry *m, struct submission *sub, size_t i)
{
    const struct registry_spec *spec = &sub->s->specs[i];
    const struct memory_task *failed;
    uint32_t count = spec->after_count;
    enum weir_status status;

    for (uint32_t k = 0; k < count; k++) {
        const struct registry_after *a = &spec->after[k];
        const struct memory_task *on = a->id ? memory_find(m, a->id) : sub->tasks[a->sibling];

        if (!on)
            return error_set(&sub->op->err, WEIR_E_END,
                             "task %zu: it depends on task %" PRIu64 ", which is not there", i,
                             a->id);
        sub->found[k] = (struct memory_edge){.on = on->id};
    }
    status = memory_edges_sort(m, sub->op, spec->run_after_failure, sub->found, &count, &failed);
    if (status != WEIR_OK) {
        error_prefix(&sub->op->err, "task %zu", i);
        return status;
    }
    sub->tasks[i]->from = memory_find(m, failed ? failed->id : 0);
    return memory_edges_add(m, sub->tasks[i], sub->found, count) ? WEIR_OK : WEIR_E_NOMEM;
}

static bool settle(struct memory_registry *m, struct registry_op *op, struct memory_task *t)
{
    if (t->state != REGISTRY_BLOCKED) /* by one that has failed, before it */
        return true;
    if (t->from)
        return memory_fail_behind(m, op, t, t->from, op->at_ns);
    if (t->blocked_by > 0)
        return true;
    return memory_touch(m, t, sizeof(*t)) && memory_unblock(m, op, t, op->at_ns);
}

static enum weir_status submit(struct memory_registry *m, struct submission *sub)
{
    size_t count = sub->s->count;
    enum weir_status status = WEIR_OK;

    for (size_t i = 0; i < count && status == WEIR_OK; i++)
        status = put_in(m, sub, i);
    for (size_t i = 0; i < count && status == WEIR_OK; i++)
        if (!sub->existing[i])
            status = connect(m, sub, i);
    for (size_t i = 0; i < count && status == WEIR_OK; i++)
        if (!sub->existing[i] &&
            !memory_tell(m, sub->tasks[i], REGISTRY_TASK_SUBMITTED, sub->op->at_ns, false, 0, NULL))
            status = WEIR_E_NOMEM;
    for (size_t i = 0; i < count && status == WEIR_OK; i++)
        if (!sub->existing[i] && !settle(m, sub->op, sub->tasks[i]))
            status = WEIR_E_NOMEM;
    return status;
}

static uint32_t edges_max(const struct registry_submit *s)
{
    uint32_t max = 0;

    for (size_t i = 0; i < s->count; i++)
        if (s->specs[i].after_count > max)
            max = s->specs[i].after_count;
    return max;
}

enum weir_status memory_op_submit(struct memory_registry *m, struct registry_op *op)
{
    const struct registry_submit *s = &op->submit;
    struct submission sub = {.s = s, .op = op};
    enum weir_status status = rules_check_submit(s, &op->err);

    if (status != WEIR_OK)
        return status;
    sub.tasks = mem_calloc(s->count, sizeof(struct memory_task *));
    sub.existing = mem_calloc(s->count, sizeof(*sub.existing));
    sub.found = mem_calloc(edges_max(s), sizeof(*sub.found));
    status = sub.tasks && sub.existing && sub.found ? submit(m, &sub) : WEIR_E_NOMEM;
    for (size_t i = 0; i < s->count && status == WEIR_OK; i++) {
        if (s->ret_ids)
            s->ret_ids[i] = sub.tasks[i]->id;
        if (s->ret_existing)
            s->ret_existing[i] = sub.existing[i];
    }
    mem_free(sub.tasks);
    mem_free(sub.existing);
    mem_free(sub.found);
    return status;
}
