/*
 * What the engine says of attempts and of time: TAKE, START, END, WAKE, and put_back after a crash.
 */
#include "store/registry/memory_internal.h"
#include "store/registry/rules.h"

#include "base/error.h"
#include "base/mem.h"

#include <assert.h>
#include <inttypes.h>

/* ---- taking ---- */

/* The engine has everything up to there. */
static bool pass(struct memory_registry *m, struct memory_line *l, struct memory_task *from,
                 int64_t rank)
{
    if (rank <= l->passed)
        return true;
    if (!memory_touch(m, l, sizeof(*l)))
        return false;
    for (; from && from->rank <= rank; from = from->next)
        if (from->rank > l->passed) {
            l->held++;
            m->held++;
        }
    l->passed = rank;
    return true;
}

enum weir_status memory_op_take(struct memory_registry *m, struct registry_op *op)
{
    struct registry_take *take = &op->take;
    struct registry_task **end = &take->ret_tasks;
    struct memory_line *l = memory_find_line(m, take->line);
    struct memory_task *t;
    int64_t behind;
    uint64_t bytes = 0;

    if (!l || l->gone)
        return error_set(&op->err, WEIR_E_END, "there is no line %" PRIu32, take->line);
    behind = take->after_rank > l->passed ? take->after_rank : l->passed;
    t = l->first;
    while (t && t->rank <= behind)
        t = t->next;
    for (uint32_t n = 0; t && n < take->max; n++, t = t->next) {
        bytes += t->payload.len;
        if (n > 0 && bytes > take->max_bytes)
            break;
        *end = memory_copy(t);
        if (!*end)
            return WEIR_E_NOMEM;
        behind = (*end)->rank;
        end = &(*end)->next;
    }
    take->ret_more = t != NULL;
    return pass(m, l, l->first, behind) ? WEIR_OK : WEIR_E_NOMEM;
}

/* ---- attempts ---- */

static enum weir_status start(struct memory_registry *m, struct memory_task *t,
                              const struct registry_start *s, int64_t at_ns, int64_t wait_ns)
{
    struct buf detail = {0};
    bool ok;

    if (!memory_touch(m, t, sizeof(*t)) || !memory_set_text(m, &t->pool, s->pool))
        return WEIR_E_NOMEM;
    t->token = s->token;
    t->attempt = s->attempt;
    t->runner = s->runner;
    t->started_ns = at_ns;
    t->attempts++;
    if (t->first_start_ns == 0)
        t->first_start_ns = at_ns;
    memory_set_state(m, t, REGISTRY_RUNNING);
    rules_detail_started(&detail, &s->runner, t->line->pub.slots);
    ok = memory_tell(m, t, REGISTRY_TASK_ASSIGNED, at_ns, true, wait_ns, NULL) &&
         memory_tell(m, t, REGISTRY_RUNNER_STARTED, at_ns, true, 0, &detail);
    buf_free(&detail);
    return ok ? WEIR_OK : WEIR_E_NOMEM;
}

enum weir_status memory_op_start(struct memory_registry *m, struct registry_op *op)
{
    struct memory_task *t = memory_need(m, op->start.task, op);

    if (!t)
        return WEIR_E_END;
    if (t->state != REGISTRY_READY)
        return error_set(&op->err, WEIR_E_CONFLICT,
                         "task %" PRIu64 " is %s; only a ready one is started", t->id,
                         registry_state_name(t->state));
    return start(m, t, &op->start, op->at_ns, op->at_ns - t->rank);
}

/* Recorded, and nothing else: the op is refused, but not without effect. */
static enum weir_status late(struct memory_registry *m, struct registry_op *op)
{
    const struct registry_end *e = &op->end;
    struct buf detail = {0};
    bool ok;

    rules_detail_late(&detail, e->outcome);
    ok = !detail.failed && memory_event(m, &(struct registry_event){.kind = REGISTRY_RUNNER_LATE,
                                                                    .at_ns = op->at_ns,
                                                                    .task = e->task,
                                                                    .attempt = e->attempt,
                                                                    .pool = e->pool,
                                                                    .worker = e->worker,
                                                                    .duration_ns = e->run_ns,
                                                                    .detail = buf_slice(&detail)});
    buf_free(&detail);
    if (!ok)
        return WEIR_E_NOMEM;
    error_set(&op->err, WEIR_E_CONFLICT,
              "no attempt with this token runs for task %" PRIu64 ": it has been judged before",
              e->task);
    return WEIR_OK;
}

static bool tell_runner(struct memory_registry *m, const struct memory_task *t,
                        const struct registry_end *e, int64_t at_ns)
{
    struct buf detail = {0};
    bool ok;

    rules_detail_runner(&detail, e->outcome, e->reason, e->status, e->message);
    ok = memory_tell(m, t, rules_runner_event(e->outcome), at_ns, true, e->run_ns, &detail);
    buf_free(&detail);
    return ok;
}

/* task.done | failed | cancelled | ready | retry_scheduled */
static bool tell_next(struct memory_registry *m, const struct memory_task *t,
                      const struct registry_end *e, int64_t at_ns)
{
    int64_t life_ns = at_ns - t->submitted_ns;
    struct buf detail = {0};
    bool ok;

    switch (e->next) {
    case REGISTRY_DONE:
        return memory_tell(m, t, REGISTRY_TASK_DONE, at_ns, true, life_ns, NULL);
    case REGISTRY_CANCELLED:
        return memory_tell(m, t, REGISTRY_TASK_CANCELLED, at_ns, true, life_ns, NULL);
    case REGISTRY_READY:
        return (e->wake_ns == 0 || memory_tell(m, t, REGISTRY_TASK_RETRY_SCHEDULED, at_ns, true,
                                               e->wake_ns - at_ns, NULL)) &&
               memory_tell(m, t, REGISTRY_TASK_READY, at_ns, true, 0, NULL);
    case REGISTRY_SCHEDULED:
        return memory_tell(m, t, REGISTRY_TASK_RETRY_SCHEDULED, at_ns, true, e->wake_ns - at_ns,
                           NULL);
    default:
        break;
    }
    if (e->quarantined && !memory_tell(m, t, REGISTRY_TASK_QUARANTINED, at_ns, true, 0, NULL))
        return false;
    rules_detail_failed(&detail, e->reason, e->message);
    ok = memory_tell(m, t, REGISTRY_TASK_FAILED, at_ns, true, life_ns, &detail);
    buf_free(&detail);
    return ok;
}

/* What the attempt has left in its task. */
static bool note(struct memory_registry *m, struct memory_task *t, const struct registry_end *e,
                 int64_t at_ns)
{
    bool ended = rules_ended(e->next);

    if (!memory_touch(m, t, sizeof(*t)) || !memory_set_text(m, &t->message, e->message))
        return false;
    if (ended &&
        (!memory_set_text(m, &t->output, e->output) || !memory_set_text(m, &t->errput, e->errput)))
        return false;
    t->has_result = ended;
    t->ended_ns = ended ? at_ns : 0;
    t->outcome = e->outcome;
    t->reason = e->reason;
    t->status = e->status;
    t->failures += e->counts;
    t->deaths += e->death;
    t->capacity_retries += e->outcome == WEIR_OUTCOME_CAPACITY;
    if (!ended && e->wake_ns != 0) {
        t->not_before_ns = e->wake_ns;
        t->last_wait_ns = e->wake_ns > at_ns ? e->wake_ns - at_ns : 0;
    }
    memory_set_state(m, t, e->next);
    return true;
}

static enum weir_status end(struct memory_registry *m, struct registry_op *op,
                            struct memory_task *t, const struct registry_end *e)
{
    if (!tell_runner(m, t, e, op->at_ns) || !note(m, t, e, op->at_ns) ||
        !tell_next(m, t, e, op->at_ns))
        return WEIR_E_NOMEM;
    if (e->next == REGISTRY_DONE || e->next == REGISTRY_FAILED)
        return memory_spread(m, op, t, op->at_ns) ? WEIR_OK : WEIR_E_NOMEM;
    return WEIR_OK;
}

/* It fails without having been started. */
static enum weir_status end_untried(struct memory_registry *m, struct registry_op *op)
{
    const struct registry_end *e = &op->end;
    struct memory_task *t = memory_find(m, e->task);

    if (!t || t->state != REGISTRY_READY)
        return error_set(&op->err, WEIR_E_CONFLICT, RULES_NOT_READY, e->task);
    return memory_fail(m, op, t, e->outcome, e->reason, e->message, op->at_ns) ? WEIR_OK
                                                                               : WEIR_E_NOMEM;
}

enum weir_status memory_op_end(struct memory_registry *m, struct registry_op *op)
{
    const struct registry_end *e = &op->end;
    struct registry_end as_wished;
    struct memory_task *t = memory_find(m, e->task);
    enum weir_status status = WEIR_OK;

    op->end.ret_cancelled = false;
    if (!rules_ended(e->next) && e->next != REGISTRY_READY && e->next != REGISTRY_SCHEDULED)
        return error_set(&op->err, WEIR_E_INVALID, "an attempt does not leave its task %s",
                         registry_state_name(e->next));
    if (e->untried)
        return end_untried(m, op);
    if (!t || (e->started ? t->state != REGISTRY_READY
                          : t->state != REGISTRY_RUNNING || t->token != e->token))
        return late(m, op);
    if (e->started)
        status = start(m, t, &e->start, e->started_ns ? e->started_ns : op->at_ns, e->wait_ns);
    if (status != WEIR_OK)
        return status;
    if (rules_next(e->next, t->cancelling) == e->next)
        return end(m, op, t, e);
    as_wished = *e;
    as_wished.next = REGISTRY_CANCELLED;
    op->end.ret_cancelled = true;
    return end(m, op, t, &as_wished);
}

/* ---- time ---- */

static struct memory_task *due_first(const struct memory_registry *m)
{
    struct heap_node *n = heap_first(&m->due);

    return n ? memory_of_node(n) : NULL;
}

static bool wake_one(struct memory_registry *m, struct registry_op *op, struct memory_task *t)
{
    if (t->deadline_ns != 0 && t->deadline_ns <= op->at_ns)
        return memory_fail(m, op, t, WEIR_OUTCOME_TIMEOUT, WEIR_REASON_DEADLINE,
                           SLICE(RULES_DEADLINE), op->at_ns);
    return memory_touch(m, t, sizeof(*t)) && memory_become_ready(m, op, t, op->at_ns);
}

enum weir_status memory_op_wake(struct memory_registry *m, struct registry_op *op)
{
    struct registry_wake *w = &op->wake;
    struct memory_task *t = due_first(m);

    w->ret_count = 0;
    for (; t && t->due_ns <= op->at_ns && w->ret_count < w->max; t = due_first(m)) {
        if (!wake_one(m, op, t))
            return WEIR_E_NOMEM;
        w->ret_count++;
    }
    w->ret_next_ns = t ? t->due_ns : 0;
    return WEIR_OK;
}

/* ---- after a crash ---- */

static bool quarantine(struct memory_registry *m, struct registry_op *op, struct memory_task *t)
{
    struct buf detail = {0};
    bool ok;

    if (!memory_set_text(m, &t->message, SLICE(RULES_QUARANTINED)))
        return false;
    t->reason = WEIR_REASON_QUARANTINED;
    t->ended_ns = op->at_ns;
    t->has_result = true;
    memory_set_state(m, t, REGISTRY_FAILED);
    rules_detail_failed(&detail, t->reason, memory_slice(t->message));
    ok = memory_tell(m, t, REGISTRY_TASK_QUARANTINED, op->at_ns, true, 0, NULL) &&
         memory_tell(m, t, REGISTRY_TASK_FAILED, op->at_ns, true, op->at_ns - t->submitted_ns,
                     &detail) &&
         memory_spread(m, op, t, op->at_ns);
    buf_free(&detail);
    return ok;
}

static bool put_back_one(struct memory_registry *m, struct registry_op *op, struct memory_task *t,
                         uint32_t deaths_max)
{
    struct registry_end lost = {.outcome = WEIR_OUTCOME_LOST,
                                .reason = WEIR_REASON_DISPATCHER_LOST,
                                .message = SLICE(RULES_DISPATCHER_LOST),
                                .next = rules_next(REGISTRY_READY, t->cancelling),
                                .death = !t->end_told,
                                .run_ns = op->at_ns - t->started_ns};

    if (!tell_runner(m, t, &lost, op->at_ns) || !note(m, t, &lost, op->at_ns))
        return false;
    if (lost.next == REGISTRY_READY && deaths_max > 0 && t->deaths >= deaths_max)
        return quarantine(m, op, t);
    return tell_next(m, t, &lost, op->at_ns);
}

bool memory_put_back(struct memory_registry *m, struct registry_op *op, uint32_t deaths_max,
                     uint64_t *ret_count)
{
    uint64_t count = 0;

    for (uint64_t i = 0; i < m->c.tasks; i++) {
        struct memory_task *t = m->tasks[i];

        if (!t || t->state != REGISTRY_RUNNING)
            continue;
        if (!put_back_one(m, op, t, deaths_max))
            return false;
        count++;
    }
    *ret_count = count;
    return true;
}
