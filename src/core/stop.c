/*
 * Timers, deadlines, stop and shutdown: everything that ends a row or an attempt before its time.
 */
#include "core/internal.h"

/*
 * Ends a running attempt. Where the executor can end it at once, the report that follows ends the row; where it can
 * only ask, the row is judged now and the attempt is left behind with its permit.
 */
void stop_cancel(struct core_task *t, enum weir_reason why, struct instant now)
{
    struct core_attempt_slot *s = t->slot;
    struct core_executor *ex = s->pool->executor;

    if (s->ended_by != WEIR_REASON_NONE)
        return;
    s->ended_by = why;
    timer_arm(t, INSTANT_NEVER);
    atomic_store_explicit(&s->attempt.cancelled, true, memory_order_relaxed);
    if (!ex->ops->cancels_at_once && why != WEIR_REASON_SHUTDOWN_REQUESTED)
        finish_abandon(s, now);
    ex->ops->cancel(ex, &s->attempt);
}

static const char deadline_passed[] = "the deadline passed before the row could be tried again";

void stop_timer_fired(struct core_task *t, struct instant now)
{
    bool late = !instant_before(now, t->deadline);

    switch (t->state) {
    case TASK_RUNNING:
        stop_cancel(t, late ? WEIR_REASON_DEADLINE : WEIR_REASON_TIMEOUT, now);
        break;
    case TASK_WAITING:
        if (late) {
            finish_cancelled(t, WEIR_OUTCOME_TIMEOUT, WEIR_REASON_DEADLINE, deadline_passed, now);
            break;
        }
        task_unlink(t);
        choose_make_ready(t);
        break;
    case TASK_READY:
        finish_cancelled(t, WEIR_OUTCOME_TIMEOUT, WEIR_REASON_DEADLINE, deadline_passed, now);
        break;
    default:
        timer_arm(t, INSTANT_NEVER);
        break;
    }
}

static void drop_ready(struct core_batch *b)
{
    struct heap_node *n;
    struct list *l;

    run_drop_ready(b);
    while ((l = list_front(&b->fresh)))
        finish_drop(list_entry(l, struct core_task, link));
    while ((n = heap_first(&b->retries)))
        finish_drop(list_entry(n, struct core_task, retry));
    while ((l = list_front(&b->waiting)))
        finish_drop(list_entry(l, struct core_task, link));
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
    (void)d;
    if (b->closed)
        return;
    b->stopping = true;
    ahead_call_in(b->pool, b);
    run_recall(b->pool, NULL);
    drop_ready(b);
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
    struct heap_node *n;
    struct list *l;

    run_scatter(b);
    while ((l = list_front(&b->fresh)))
        finish_cancelled(list_entry(l, struct core_task, link), WEIR_OUTCOME_CANCELLED,
                         WEIR_REASON_SHUTDOWN_REQUESTED, message, now);
    while ((n = heap_first(&b->retries)))
        finish_cancelled(list_entry(n, struct core_task, retry), WEIR_OUTCOME_CANCELLED,
                         WEIR_REASON_SHUTDOWN_REQUESTED, message, now);
    while ((l = list_front(&b->waiting)))
        finish_cancelled(list_entry(l, struct core_task, link), WEIR_OUTCOME_CANCELLED,
                         WEIR_REASON_SHUTDOWN_REQUESTED, message, now);
}

void dispatcher_shutdown(struct dispatcher *d, bool cancel, struct instant now)
{
    d->shutting_down = true;
    list_foreach (node, &d->batches) {
        struct core_batch *b = list_entry(node, struct core_batch, link);

        ahead_call_in(b->pool, b);
        run_recall(b->pool, NULL);
        stop_end_waiting(b, now);
        if (cancel)
            cancel_running(b, now);
        /* Nobody can add a row any more, so what was accepted is all there will be. */
        b->ended = true;
        close_if_done(b, now);
    }
}
