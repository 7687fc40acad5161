/*
 * What follows from what: a task's next state, its event, and what becomes of those that depend on
 * it; and what the engine is given of it.
 */
#include "store/registry/memory_internal.h"
#include "store/registry/rules.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

/* ---- events ---- */

bool memory_event(struct memory_registry *m, const struct registry_event *e)
{
    struct memory_event *n;

    if (!memory_reserve(&m->events, &m->event_cap, m->c.event_last + 1))
        return false;
    n = mem_alloc(sizeof(*n) + e->pool.len + e->detail.len + 1);
    if (!n)
        return false;
    n->e = *e;
    n->e.seq = ++m->c.event_last;
    n->e.pool = (struct slice){n->text, e->pool.len};
    n->e.detail = (struct slice){n->text + e->pool.len, e->detail.len};
    if (e->pool.len > 0)
        memcpy(n->text, e->pool.data, e->pool.len);
    if (e->detail.len > 0)
        memcpy(n->text + e->pool.len, e->detail.data, e->detail.len);
    m->events[n->e.seq - 1] = n;
    return true;
}

bool memory_tell(struct memory_registry *m, const struct memory_task *t,
                 enum registry_event_kind kind, int64_t at_ns, bool attempt, int64_t lasted_ns,
                 struct buf *detail)
{
    struct registry_event e = {
        .kind = kind, .at_ns = at_ns, .task = t->id, .duration_ns = lasted_ns > 0 ? lasted_ns : 0};

    if (detail && detail->failed)
        return false;
    if (detail)
        e.detail = buf_slice(detail);
    if (attempt) {
        e.attempt = t->attempt;
        e.pool = memory_slice(t->pool);
        e.worker = t->runner.worker;
        e.slot = t->runner.slots[0];
    }
    return memory_event(m, &e);
}

/* ---- states ---- */

/* In the order of ids; those that have ended, or have not any more, are found at the end of the op. */
void memory_batch_changed(struct memory_registry *m, struct memory_batch *b)
{
    struct memory_batch **at = &m->changed;

    if (!b || b->changed)
        return;
    while (*at && (*at)->id < b->id)
        at = &(*at)->changed_next;
    b->changed_next = *at;
    b->changed = true;
    *at = b;
}

void memory_set_state(struct memory_registry *m, struct memory_task *t, enum registry_state state)
{
    if (t->state != state && (rules_ended(state) || rules_ended(t->state)))
        memory_batch_changed(m, memory_find_batch(m, t->batch));
    memory_unlink(m, t);
    t->state = state;
    if (state != REGISTRY_BLOCKED)
        t->stuck = false;
    if (state != REGISTRY_RUNNING)
        t->cancelling = t->end_told = false;
    memory_link(m, t);
}

static uint64_t batch_open_tasks(const struct memory_batch *b)
{
    uint64_t open = 0;

    for (unsigned s = 0; s < REGISTRY_STATES; s++)
        if (!rules_ended((enum registry_state)s))
            open += b->states[s];
    return open;
}

static bool tell_batch(struct memory_registry *m, const struct memory_batch *b, int64_t at_ns)
{
    struct registry_batch view = {.id = b->id};
    struct buf detail = {0};
    bool ok;

    memcpy(view.states, b->states, sizeof(view.states));
    rules_detail_batch(&detail, &view);
    ok = !detail.failed && memory_event(m, &(struct registry_event){.kind = REGISTRY_BATCH_ENDED,
                                                                    .at_ns = at_ns,
                                                                    .detail = buf_slice(&detail)});
    buf_free(&detail);
    return ok;
}

bool memory_end_batches(struct memory_registry *m, int64_t at_ns)
{
    while (m->changed) {
        struct memory_batch *b = m->changed;
        bool over = b->ended && batch_open_tasks(b) == 0;

        m->changed = b->changed_next;
        b->changed = false;
        if (over == (b->ended_ns != 0))
            continue;
        if (!memory_touch(m, b, sizeof(*b)))
            return false;
        b->ended_ns = over ? at_ns : 0;
        if (over && !tell_batch(m, b, at_ns))
            return false;
    }
    return true;
}

/* ---- handing over ---- */

struct registry_task *memory_copy(const struct memory_task *t)
{
    struct registry_task *c = mem_alloc(sizeof(*c) + t->key.len + 1 + t->payload.len + 1);
    char *text;

    if (!c)
        return NULL;
    text = (char *)(c + 1);
    *c = (struct registry_task){.id = t->id,
                                .line = t->line->pub.id,
                                .rank = t->rank,
                                .batch = t->batch,
                                .place = t->place,
                                .attempts = t->attempts,
                                .failures = t->failures,
                                .deaths = t->deaths,
                                .max_attempts = t->max_attempts,
                                .capacity_retries = t->capacity_retries,
                                .first_start_ns = t->first_start_ns,
                                .timeout_ns = t->timeout_ns,
                                .backoff_initial_ns = t->backoff_initial_ns,
                                .backoff_ceiling_ns = t->backoff_ceiling_ns,
                                .last_wait_ns = t->last_wait_ns,
                                .backoff_factor = t->backoff_factor,
                                .deadline_ns = t->deadline_ns,
                                .key = text,
                                .payload = text + t->key.len + 1,
                                .payload_len = t->payload.len};
    memcpy(text, memory_slice(t->key).data, t->key.len);
    text[t->key.len] = '\0';
    text += t->key.len + 1;
    memcpy(text, memory_slice(t->payload).data, t->payload.len);
    text[t->payload.len] = '\0';
    return c;
}

static bool give(struct memory_registry *m, const struct memory_task *t)
{
    struct registry_task *c = memory_copy(t);

    if (!c)
        return false;
    *m->ready_end = c;
    m->ready_end = &c->next;
    return true;
}

static bool tell_line(struct memory_registry *m, struct registry_op *op, struct memory_line *l)
{
    uint32_t *more;

    if (l->told == m->op_number)
        return true;
    more = mem_realloc(op->ret_lines, (op->ret_line_count + 1) * sizeof(*more));
    if (!more)
        return false;
    op->ret_lines = more;
    more[op->ret_line_count++] = l->pub.id;
    l->told = m->op_number;
    return true;
}

bool memory_hand(struct memory_registry *m, struct registry_op *op, struct memory_task *t)
{
    struct memory_line *l = t->line;

    assert(t->state == REGISTRY_READY);
    if (t->rank <= l->passed)
        return give(m, t);
    if ((t->prev && t->prev->rank > l->passed) || l->held >= REGISTRY_HANDED_MAX ||
        m->held >= REGISTRY_HANDED_ALL_MAX)
        return tell_line(m, op, l);
    if (!memory_touch(m, l, sizeof(*l)) || !give(m, t))
        return false;
    l->passed = t->rank;
    l->held++;
    m->held++;
    return true;
}

void memory_free_outputs(struct registry_op *op)
{
    while (op->ret_ready) {
        struct registry_task *t = op->ret_ready;

        op->ret_ready = t->next;
        mem_free(t);
    }
    op->ret_lines = mem_free(op->ret_lines);
    op->ret_line_count = 0;
    if (op->kind == REGISTRY_PURGE) {
        op->purge.ret_lines_gone = mem_free(op->purge.ret_lines_gone);
        op->purge.ret_lines_gone_count = 0;
    }
    if (op->kind != REGISTRY_TAKE)
        return;
    while (op->take.ret_tasks) {
        struct registry_task *t = op->take.ret_tasks;

        op->take.ret_tasks = t->next;
        mem_free(t);
    }
    op->take.ret_more = false;
}

/* ---- ready, ended, and what follows ---- */

bool memory_become_ready(struct memory_registry *m, struct registry_op *op, struct memory_task *t,
                         int64_t at_ns)
{
    assert(t->state != REGISTRY_READY && t->state != REGISTRY_RUNNING);
    m->c.rank = at_ns > m->c.rank ? at_ns : m->c.rank + 1;
    t->rank = m->c.rank;
    memory_set_state(m, t, REGISTRY_READY);
    return memory_tell(m, t, REGISTRY_TASK_READY, at_ns, false, 0, NULL) && memory_hand(m, op, t);
}

bool memory_unblock(struct memory_registry *m, struct registry_op *op, struct memory_task *t,
                    int64_t at_ns)
{
    assert(t->state == REGISTRY_BLOCKED && t->blocked_by == 0);
    if (t->not_before_ns <= at_ns)
        return memory_become_ready(m, op, t, at_ns);
    if (op && (op->ret_due_ns == 0 || t->not_before_ns < op->ret_due_ns))
        op->ret_due_ns = t->not_before_ns;
    memory_set_state(m, t, REGISTRY_SCHEDULED);
    return true;
}

/* Without what follows. */
static bool fail_one(struct memory_registry *m, struct memory_task *t, enum weir_outcome outcome,
                     enum weir_reason reason, struct slice message, int64_t at_ns)
{
    struct buf detail = {0};
    bool ok;

    assert(rules_waiting(t->state));
    if (!memory_touch(m, t, sizeof(*t)) || !memory_set_text(m, &t->message, message))
        return false;
    t->outcome = outcome;
    t->reason = reason;
    t->status = 0;
    t->ended_ns = at_ns;
    memory_set_state(m, t, REGISTRY_FAILED);
    rules_detail_failed(&detail, reason, message);
    ok = memory_tell(m, t, REGISTRY_TASK_FAILED, at_ns, false, at_ns - t->submitted_ns, &detail);
    buf_free(&detail);
    return ok;
}

static bool fail_behind_one(struct memory_registry *m, struct memory_task *t,
                            const struct memory_task *on, int64_t at_ns)
{
    struct buf say = {0};
    bool ok;

    rules_say_dependency(&say, on->id, memory_slice(on->key));
    ok = !say.failed &&
         fail_one(m, t, WEIR_OUTCOME_FAILED, WEIR_REASON_DEPENDENCY, buf_slice(&say), at_ns);
    buf_free(&say);
    return ok;
}

bool memory_fail(struct memory_registry *m, struct registry_op *op, struct memory_task *t,
                 enum weir_outcome outcome, enum weir_reason reason, struct slice message,
                 int64_t at_ns)
{
    return fail_one(m, t, outcome, reason, message, at_ns) && memory_spread(m, op, t, at_ns);
}

bool memory_fail_behind(struct memory_registry *m, struct registry_op *op, struct memory_task *t,
                        const struct memory_task *on, int64_t at_ns)
{
    return fail_behind_one(m, t, on, at_ns) && memory_spread(m, op, t, at_ns);
}

bool memory_cancel(struct memory_registry *m, struct memory_task *t, int64_t at_ns)
{
    assert(rules_waiting(t->state));
    if (!memory_touch(m, t, sizeof(*t)) || !memory_set_text(m, &t->message, (struct slice){0}))
        return false;
    t->outcome = WEIR_OUTCOME_CANCELLED;
    t->reason = WEIR_REASON_CANCELLED;
    t->status = 0;
    t->ended_ns = at_ns;
    memory_set_state(m, t, REGISTRY_CANCELLED);
    return memory_tell(m, t, REGISTRY_TASK_CANCELLED, at_ns, false, at_ns - t->submitted_ns, NULL);
}

/* One edge of t is met, or t has failed by it (*ret_failed). */
static bool follow_edge(struct memory_registry *m, struct registry_op *op, struct memory_task *t,
                        struct memory_edge *edge, const struct memory_task *on, int64_t at_ns,
                        bool *ret_failed)
{
    *ret_failed = false;
    if (on->state == REGISTRY_FAILED && !t->run_after_failure) {
        *ret_failed = t->state == REGISTRY_BLOCKED;
        return !*ret_failed || fail_behind_one(m, t, on, at_ns);
    }
    if (!memory_touch(m, t, sizeof(*t)) || !memory_touch(m, edge, sizeof(*edge)))
        return false;
    edge->met = true;
    t->blocked_by--;
    if (t->state == REGISTRY_BLOCKED && t->blocked_by == 0)
        return memory_unblock(m, op, t, at_ns);
    return true;
}

bool memory_spread(struct memory_registry *m, struct registry_op *op, struct memory_task *t,
                   int64_t at_ns)
{
    struct memory_task *last = t;

    t->queue_next = NULL;
    for (; t; t = t->queue_next)
        for (uint32_t i = 0; i < t->up_count; i++) {
            struct memory_task *d = memory_find(m, t->up[i]);
            uint32_t edge = d ? memory_edge_find(d, t->id) : 0;
            bool failed;

            if (!d || edge == d->edge_count || d->edges[edge].met)
                continue;
            if (!follow_edge(m, op, d, &d->edges[edge], t, at_ns, &failed))
                return false;
            if (failed) {
                d->queue_next = NULL;
                last->queue_next = d;
                last = d;
            }
        }
    return true;
}
