/*
 * What follows from an attempt's end: judge it, then retry or finish; put in order; deliver.
 */
#include "core/internal.h"
#include "core/judge.h"

#include <assert.h>
#include <stdio.h>

void tell_task(const struct core_task *t, enum core_event_kind kind, duration_ns wait_ns,
               const char *detail, struct instant now)
{
    struct core_observer *o = t->batch->dispatcher->options.observer;
    struct core_event ev;

    if (!o)
        return;
    ev = (struct core_event){
        .kind = kind,
        .at = now,
        .pool = t->batch->pool->name,
        .batch = t->batch->number,
        .index = t->index,
        .key = t->key,
        .attempt = t->attempts,
        .answer = kind == EVENT_ATTEMPT_STARTED || kind == EVENT_TASK_ACCEPTED ? NULL : &t->answer,
        .wait_ns = wait_ns,
        .detail = detail,
    };
    o->ops->event(o, &ev);
}

void tell_batch(const struct core_batch *b, enum core_event_kind kind, struct instant now)
{
    struct core_observer *o = b->dispatcher->options.observer;
    struct core_event ev = {.kind = kind, .at = now, .pool = b->pool->name, .batch = b->number};

    if (o)
        o->ops->event(o, &ev);
}

void task_release_if_unused(struct core_task *t)
{
    if (t->given_back && t->abandoned == 0)
        t->release(t);
}

void task_unlink(struct core_task *t)
{
    struct core_batch *b = t->batch;

    switch (t->state) {
    case TASK_READY:
        choose_unready(t);
        break;
    case TASK_WAITING:
        list_remove(&t->link);
        b->stats.waiting--;
        b->pool->crowding -= t->crowding;
        t->crowding = false;
        break;
    case TASK_RUNNING:
        list_remove(&t->link);
        b->stats.running--;
        t->slot = NULL;
        break;
    default:
        break;
    }
    timer_arm(t, INSTANT_NEVER);
}

void close_if_done(struct core_batch *b)
{
    bool all_out = b->ended && !b->stopping && b->stats.delivered == b->stats.accepted;
    bool stopped = b->stopping && b->stats.running == 0 && (b->uncommitted == 0 || b->aborted);

    if (b->closed || !(all_out || stopped))
        return;
    b->closed = true;
    b->dispatcher->options.host->closed(b->dispatcher->options.host, b);
}

/* I3: only the next row, and only when it is committed. */
void deliver_in_order(struct core_batch *b, struct instant now)
{
    struct dispatcher_host *host = b->dispatcher->options.host;
    struct core_task *t;

    while (!b->closed && (t = reorder_first(&b->order)) && t->state == TASK_COMMITTED) {
        duration_ns waited =
            instant_is_none(t->complete_at) ? 0 : instant_diff(now, t->complete_at);

        reorder_advance(&b->order);
        t->state = TASK_DELIVERED;
        t->deliver_at = now;
        b->stats.delivered++;
        b->lent++;
        if (!t->finished_before) {
            b->stats.buffer_wait_sum_ns += waited;
            if (waited > b->stats.buffer_wait_max_ns)
                b->stats.buffer_wait_max_ns = waited;
        }
        tell_task(t, EVENT_TASK_DELIVERED, 0, NULL, now);
        host->deliver(host, b, t);
    }
    close_if_done(b);
}

/* The task's answer is its result. It is on no list any more. */
void finish_task(struct core_task *t, struct instant now)
{
    struct core_batch *b = t->batch;
    struct dispatcher_host *host = b->dispatcher->options.host;

    b->dispatcher->live--;
    t->state = TASK_FINISHED;
    t->complete_at = instant_is_none(t->answer.ended_at) ? now : t->answer.ended_at;
    t->complete_index = b->next_complete_index++;
    b->stats.finished++;
    if (t->answer.outcome == WEIR_OUTCOME_OK)
        b->stats.successes++;
    else
        b->stats.failures++;
    b->stats.dispatch_delay_at_completion_ns = gate_delay(&b->pool->gate);
    tell_task(t, EVENT_TASK_FINISHED, 0, NULL, now);
    if (b->options.durable)
        b->uncommitted++;
    host->finished(host, b, t);
    if (b->options.durable)
        return;
    t->state = TASK_COMMITTED;
    deliver_in_order(b, now);
}

/* Ends a row that does not run, for a reason of the engine's own. */
void finish_cancelled(struct core_task *t, enum weir_outcome outcome, enum weir_reason reason,
                      const char *message, struct instant now)
{
    task_unlink(t);
    answer_clear(&t->answer);
    t->answer.outcome = outcome;
    t->answer.reason = reason;
    answer_say(&t->answer, "%s", message);
    finish_task(t, now);
}

/* The row ends without a result; its place in the order stays taken, so nothing behind it is delivered. */
void finish_drop(struct core_task *t)
{
    task_unlink(t);
    t->batch->dispatcher->live--;
    t->state = TASK_DROPPED;
}

static void wait_or_ready(struct core_task *t, duration_ns wait_ns, struct instant now)
{
    struct core_batch *b = t->batch;
    struct dispatcher_host *host = b->dispatcher->options.host;

    tell_task(t, EVENT_TASK_RETRY, wait_ns, NULL, now);
    host->retrying(host, b, t, wait_ns);
    task_unlink(t);
    if (wait_ns <= 0) {
        choose_make_ready(t);
        return;
    }
    t->state = TASK_WAITING;
    list_push_back(&b->waiting, &t->link);
    b->stats.waiting++;
    t->crowding =
        t->answer.outcome == WEIR_OUTCOME_CAPACITY && t->capacity_retries <= CROWDING_REFUSALS_MAX;
    b->pool->crowding += t->crowding;
    timer_arm(t, instant_min(instant_add(now, wait_ns), t->deadline));
}

/* The row fails although its last answer may have been a capacity one; that answer's status and output stay. */
static void fail_for(struct core_task *t, enum weir_reason reason, duration_ns limit_ns,
                     duration_ns elapsed_ns, struct instant now)
{
    struct core_answer *a = &t->answer;

    a->outcome = WEIR_OUTCOME_FAILED;
    a->retryable = true;
    a->reason = reason;
    if (reason == WEIR_REASON_RETRY_TIMEOUT)
        answer_say(a, "still refused after %.1f s; the limit is %.1f s (last status %d)",
                   duration_seconds(elapsed_ns), duration_seconds(limit_ns), a->status);
    else
        answer_say(a,
                   "the service asked to wait %.1f s; at most %.1f s are waited (status %d): raise "
                   "the limit or run the row later",
                   duration_seconds(a->advice.retry_after_ns), duration_seconds(limit_ns),
                   a->status);
    task_unlink(t);
    finish_task(t, now);
}

static void tell_throttle(struct core_task *t, duration_ns before, const struct gate_verdict *v,
                          struct instant now)
{
    struct core_pool *p = t->batch->pool;
    duration_ns after = gate_delay(&p->gate);
    char detail[96];

    if (!t->batch->dispatcher->options.observer)
        return;
    if (v && v->held)
        tell_task(t, EVENT_POOL_HELD, instant_diff(gate_held_until(&p->gate), now),
                  "the service asked for a pause", now);
    if (after == before)
        return;
    snprintf(detail, sizeof detail, "delay %.0f ms -> %.0f ms: %s", duration_ms(before),
             duration_ms(after), v ? "refused" : "accepted");
    tell_task(t, EVENT_THROTTLE_CHANGED, after, detail, now);
}

static void judge_refusal(struct core_task *t, struct instant now)
{
    struct core_batch *b = t->batch;
    struct core_pool *p = b->pool;
    duration_ns elapsed = instant_diff(now, t->start_at);
    duration_ns before = gate_delay(&p->gate);
    struct judgement j = judge_capacity(&p->options, elapsed);
    struct gate_verdict v;

    b->stats.refused++;
    p->stats.refused++;
    if (j.verdict == JUDGE_FAIL) {
        fail_for(t, j.reason, p->options.max_capacity_retry_ns, elapsed, now);
        return;
    }
    v = gate_refused(&p->gate, now, &t->ticket, &t->answer.advice);
    if (gate_delay(&p->gate) > b->stats.peak_delay_ns)
        b->stats.peak_delay_ns = gate_delay(&p->gate);
    if (gate_delay(&p->gate) > p->stats.peak_delay_ns)
        p->stats.peak_delay_ns = gate_delay(&p->gate);
    tell_throttle(t, before, &v, now);
    if (v.asked_too_long) {
        fail_for(t, WEIR_REASON_RETRY_AFTER_TOO_LONG, p->options.gate.retry_after_max_ns, elapsed,
                 now);
        return;
    }
    t->capacity_retries++;
    t->throttled_ns += v.row_wait_ns;
    b->stats.capacity_retries++;
    b->stats.total_throttle_time_ns += v.row_wait_ns;
    p->stats.capacity_retries++;
    p->stats.total_throttle_time_ns += v.row_wait_ns;
    wait_or_ready(t, v.row_wait_ns, now);
}

static void judge_rest(struct core_task *t, struct instant now)
{
    struct core_batch *b = t->batch;
    struct core_pool *p = b->pool;
    struct core_answer *a = &t->answer;
    duration_ns before = gate_delay(&p->gate);
    struct judgement j;

    if (a->outcome == WEIR_OUTCOME_OK) {
        gate_accepted(&p->gate, now, &t->ticket, &a->advice);
        p->stats.successes++;
        tell_throttle(t, before, NULL, now);
    } else {
        gate_answered(&p->gate, now, &t->ticket, &a->advice);
        p->stats.failures++;
    }
    if (judge_counts(a))
        t->failures++;
    j = judge_answer(&p->options, a, t->failures, t->backoff_ns, &b->dispatcher->rng);
    if (j.verdict == JUDGE_RETRY) {
        t->backoff_ns = j.wait_ns;
        b->stats.retries++;
        p->stats.retries++;
        wait_or_ready(t, j.wait_ns, now);
        return;
    }
    task_unlink(t);
    finish_task(t, now);
}

/* t->answer is what its attempt gave; decide what follows. */
static void judge(struct core_task *t, struct instant now)
{
    struct core_batch *b = t->batch;
    struct dispatcher_host *host = b->dispatcher->options.host;
    bool final = t->answer.outcome == WEIR_OUTCOME_OK ||
                 (t->answer.outcome == WEIR_OUTCOME_FAILED && !t->answer.retryable);

    tell_task(t, EVENT_ATTEMPT_ENDED, 0, NULL, now);
    if (t->answer.tokens > 0) {
        b->stats.tokens += (uint64_t)t->answer.tokens;
        b->pool->stats.tokens += (uint64_t)t->answer.tokens;
    }
    if (b->stopping && !final) {
        /* It would have been tried again; a later run will. */
        if (t->answer.outcome == WEIR_OUTCOME_CAPACITY) {
            b->stats.refused++;
            b->pool->stats.refused++;
        }
        host->retrying(host, b, t, 0);
        finish_drop(t);
        return;
    }
    if (b->dispatcher->shutting_down && !final) {
        finish_cancelled(t, WEIR_OUTCOME_CANCELLED, WEIR_REASON_SHUTDOWN_REQUESTED,
                         "the engine was shut down before the row could be tried again", now);
        return;
    }
    if (t->answer.outcome == WEIR_OUTCOME_CAPACITY)
        judge_refusal(t, now);
    else
        judge_rest(t, now);
}

/* When we ended the attempt ourselves, that is the outcome, unless a whole answer had come after all. */
static void apply_ended_by(struct core_attempt_slot *s)
{
    struct core_answer *a = &s->attempt.answer;

    if (s->ended_by == WEIR_REASON_NONE || a->outcome == WEIR_OUTCOME_OK)
        return;
    a->reason = s->ended_by;
    a->retryable = s->ended_by == WEIR_REASON_TIMEOUT;
    a->outcome = s->ended_by == WEIR_REASON_SHUTDOWN_REQUESTED ? WEIR_OUTCOME_CANCELLED
                                                               : WEIR_OUTCOME_TIMEOUT;
    if (s->ended_by == WEIR_REASON_TIMEOUT)
        answer_say(a, "no answer within %.1f s", duration_seconds(s->pool->options.timeout_ns));
    else if (s->ended_by == WEIR_REASON_DEADLINE)
        answer_say(a, "the deadline passed while attempt %u was running", s->attempt.number);
    else
        answer_say(a, "the engine was shut down while attempt %u was running", s->attempt.number);
}

static void take_answer(struct core_attempt_slot *s, struct core_task *t)
{
    answer_clear(&t->answer);
    answer_move(&t->answer, &s->attempt.answer);
    if (s->attempt.number == 1 && !instant_is_none(t->answer.started_at))
        t->start_at = t->answer.started_at;
}

static void free_slot(struct core_attempt_slot *s)
{
    s->running = false;
    s->task = NULL;
    list_remove(&s->link);
    list_push_front(&s->pool->free_slots, &s->link);
    permit_return(&s->pool->permits);
}

/* An attempt whose row was judged without it has ended at last. */
static void end_abandoned(struct core_attempt_slot *s, struct instant now)
{
    struct core_task *t = s->abandoned_task;
    struct core_batch *b = s->batch;

    s->abandoned_task = NULL;
    answer_clear(&s->attempt.answer);
    b->stats.late_reports++;
    b->pool->stats.late_reports++;
    tell_task(t, EVENT_ATTEMPT_LATE, 0, "it ended after its row had been judged", now);
    free_slot(s);
    t->abandoned--;
    b->abandoned--;
    task_release_if_unused(t);
}

void finish_attempt(struct core_attempt_slot *s, struct instant now)
{
    struct core_task *t = s->task;

    gate_settle(&s->pool->gate, &s->ticket, s->attempt.answer.tokens);
    if (!t) {
        end_abandoned(s, now);
        return;
    }
    apply_ended_by(s);
    take_answer(s, t);
    free_slot(s);
    judge(t, now);
    close_if_done(s->batch);
}

/* The attempt cannot be ended from outside: judge its row now; the slot keeps its permit until it reports. */
void finish_abandon(struct core_attempt_slot *s, struct instant now)
{
    struct core_task *t = s->task;
    struct core_batch *b = s->batch;

    assert(s->running && t);
    s->task = NULL;
    s->abandoned_task = t;
    t->abandoned++;
    b->abandoned++;
    answer_clear(&t->answer);
    t->answer.started_at = s->ticket.taken_at;
    t->answer.ended_at = now;
    t->answer.reason = s->ended_by;
    t->answer.retryable = s->ended_by == WEIR_REASON_TIMEOUT;
    t->answer.outcome = WEIR_OUTCOME_TIMEOUT;
    if (s->ended_by == WEIR_REASON_TIMEOUT)
        answer_say(&t->answer, "no answer within %.1f s",
                   duration_seconds(s->pool->options.timeout_ns));
    else
        answer_say(&t->answer, "the deadline passed while attempt %u was running",
                   s->attempt.number);
    judge(t, now);
    close_if_done(b);
}
