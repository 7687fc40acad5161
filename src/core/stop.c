/*
 * Timers, deadlines, stop and shutdown: everything that ends a row or an attempt before its time.
 */
#include "core/internal.h"

/*
 * Ends a running attempt. Where the executor can end it at once, the report that follows ends the
 * row; where it can only ask, the row is judged now and the attempt is left behind with its permit.
 */
void stop_cancel(struct core_task *t, enum weir_reason why, struct instant now)
{
    struct core_attempt_slot *s = t->slot;
    struct core_executor *ex = s->pool->executor;

    if (s->ended_by != WEIR_REASON_NONE || s->by_hand)
        return;
    s->ended_by = why;
    timer_arm(t, INSTANT_NEVER);
    s->attempt.may_wind_up = why == WEIR_REASON_SHUTDOWN_REQUESTED;
    atomic_store_explicit(&s->attempt.cancelled, true, memory_order_relaxed);
    if (!ex->ops->cancels_at_once && why != WEIR_REASON_SHUTDOWN_REQUESTED)
        finish_abandon(s, now);
    ex->ops->cancel(ex, &s->attempt);
}

bool dispatcher_end_attempt(struct dispatcher *d, struct core_task *t, enum weir_outcome outcome,
                            enum weir_reason reason, const char *message, struct instant now)
{
    struct core_attempt_slot *s = t->state == TASK_RUNNING ? t->slot : NULL;
    struct core_executor *ex;

    (void)d;
    if (!s || !s->permit.account || s->by_hand || s->ended_by != WEIR_REASON_NONE)
        return false;
    ex = s->pool->executor;
    s->by_hand = true;
    timer_arm(t, INSTANT_NEVER);
    answer_clear(&t->answer);
    t->answer.outcome = outcome;
    t->answer.reason = reason;
    t->answer.retryable = outcome == WEIR_OUTCOME_TIMEOUT || outcome == WEIR_OUTCOME_LOST;
    if (message)
        answer_say(&t->answer, "%s", message);
    s->attempt.may_wind_up = outcome == WEIR_OUTCOME_CANCELLED;
    atomic_store_explicit(&s->attempt.cancelled, true, memory_order_relaxed);
    if (!ex->ops->cancels_at_once)
        finish_abandon(s, now);
    ex->ops->cancel(ex, &s->attempt);
    return true;
}

static const char deadline_passed[] = "the deadline passed before the row could be tried again";

/* A row that could start, but for its turn, a permit, its session or a worker. */
static void end_unstarted(struct core_task *t, bool late, struct instant now)
{
    if (late)
        finish_cancelled(t, WEIR_OUTCOME_TIMEOUT, WEIR_REASON_DEADLINE, deadline_passed, now);
    else
        workers_checkout_over(t, now);
}

void stop_timer_fired(struct core_task *t, struct instant now)
{
    bool late = !instant_before(now, t->deadline);

    switch (t->state) {
    case TASK_QUEUED:
        end_unstarted(t, late, now);
        break;
    case TASK_RUNNING:
        stop_cancel(t, late ? WEIR_REASON_DEADLINE : WEIR_REASON_TIMEOUT, now);
        break;
    case TASK_WAITING:
        if (late) {
            finish_cancelled(t, WEIR_OUTCOME_TIMEOUT, WEIR_REASON_DEADLINE, deadline_passed, now);
            break;
        }
        task_unlink(t);
        if (t->is_call)
            checkout_begin(t, now);
        session_admit(t);
        break;
    case TASK_READY:
        end_unstarted(t, late, now);
        break;
    default:
        timer_arm(t, INSTANT_NEVER);
        break;
    }
}

/* A row of the batch that does not run; those that wait for a session first, so that none becomes ready meanwhile. */
static struct core_task *first_idle(struct core_batch *b)
{
    struct heap_node *retry = heap_first(&b->retries);
    struct list *first = list_front(&b->queued);

    if (!first)
        first = list_front(&b->fresh);
    if (!first && retry)
        return list_entry(retry, struct core_task, retry);
    if (!first)
        first = list_front(&b->away);
    if (!first)
        first = list_front(&b->waiting);
    return first ? list_entry(first, struct core_task, link) : NULL;
}

static void drop_idle(struct core_batch *b, struct instant now)
{
    struct core_task *t;

    run_drop_ready(b);
    while ((t = first_idle(b)))
        finish_drop(t, now);
}

/* What has not begun comes back. */
static void call_in(struct core_batch *b)
{
    ahead_call_in(b->pool, b);
    run_recall(b->pool, NULL);
}

static void cancel_running(struct core_batch *b, struct instant now)
{
    b->cancelling = true;
    if (b->run_rows > 0)
        run_recall(b->pool, b);
    list_foreach_safe (node, &b->running)
        stop_cancel(list_entry(node, struct core_task, link), WEIR_REASON_SHUTDOWN_REQUESTED, now);
}

void dispatcher_stop(struct dispatcher *d, struct core_batch *b, bool cancel, struct instant now)
{
    if (b->closed)
        return;
    b->stopping = true;
    workers_settle_all(d, now);
    call_in(b);
    drop_idle(b, now);
    if (cancel)
        cancel_running(b, now);
    close_if_done(b, now);
}

void dispatcher_abort(struct dispatcher *d, struct core_batch *b, struct instant now)
{
    b->aborted = true;
    dispatcher_stop(d, b, true, now);
}

void stop_end_waiting(struct core_batch *b, struct instant now)
{
    static const char message[] = "the engine was shut down before the row could run";
    struct core_task *t;

    run_scatter(b);
    while ((t = first_idle(b)))
        finish_cancelled(t, WEIR_OUTCOME_CANCELLED, WEIR_REASON_SHUTDOWN_REQUESTED, message, now);
}

void dispatcher_shutdown(struct dispatcher *d, bool cancel, struct instant now)
{
    d->shutting_down = true;
    workers_settle_all(d, now);
    list_foreach (node, &d->batches) {
        struct core_batch *b = list_entry(node, struct core_batch, link);

        call_in(b);
        stop_end_waiting(b, now);
        if (cancel)
            cancel_running(b, now);
        /* Nobody can add a row any more, so what was accepted is all there will be. */
        b->ended = true;
        close_if_done(b, now);
    }
    workers_shut_down(d, cancel, now);
}
