/*
 * What follows from an attempt's end: judge it, then retry or finish; put in order; deliver.
 */
#include "core/internal.h"
#include "core/judge.h"

#include <assert.h>
#include <stdio.h>

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
        task_pool(t)->crowding -= t->crowding;
        t->crowding = false;
        break;
    case TASK_QUEUED:
        session_unlink(t);
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

void batch_note_throttle(const struct core_batch *b, struct core_stats *ret)
{
    ret->throttle = *gate_throttle(&b->pool->gate);
    throttle_state_since(&ret->throttle, &b->throttle_before);
}

void close_if_done(struct core_batch *b, struct instant now)
{
    bool all_out = b->ended && !b->stopping && b->stats.delivered == b->stats.accepted;
    bool stopped = b->stopping && b->stats.running == 0 && (b->uncommitted == 0 || b->aborted);

    if (b->closed || !(all_out || stopped))
        return;
    batch_note_throttle(b, &b->stats);
    b->closed = true;
    tell_batch(b, EVENT_BATCH_CLOSED, now);
    b->dispatcher->options.host->closed(b->dispatcher->options.host, b);
}

static void count_delivery(struct core_stats *s, duration_ns waited_ns)
{
    s->delivered++;
    s->buffer_wait_sum_ns += waited_ns;
    if (waited_ns > s->buffer_wait_max_ns)
        s->buffer_wait_max_ns = waited_ns;
}

/* The row has left the order. */
static void hand_out(struct core_task *t, struct instant now)
{
    struct core_batch *b = t->batch;
    struct dispatcher_host *host = b->dispatcher->options.host;
    duration_ns waited = instant_is_none(t->complete_at) || t->finished_before
                             ? 0
                             : instant_diff(now, t->complete_at);

    task_move(t, TASK_DELIVERED);
    t->deliver_at = now;
    b->lent++;
    count_delivery(&b->stats, waited);
    count_delivery(&b->pool->stats, waited);
    tell_task(t, EVENT_TASK_DELIVERED, 0, NULL, now);
    host->deliver(host, b, t);
}

/* I3: only the next row, and only when it is committed. */
void deliver_in_order(struct core_batch *b, struct instant now)
{
    struct core_task *t;

    while (!b->closed && (t = reorder_first(&b->order)) && t->state == TASK_COMMITTED) {
        if (t->run.rows > 0) {
            run_deliver(&t->run, now);
            continue;
        }
        reorder_advance(&b->order);
        hand_out(t, now);
    }
    close_if_done(b, now);
}

void deliver(struct core_task *t, struct instant now)
{
    struct core_batch *b = t->batch;

    if (!b->options.unordered) {
        deliver_in_order(b, now);
        return;
    }
    if (!b->closed) {
        struct core_task *moved = reorder_take_any(&b->order, t->place);

        if (moved)
            moved->place = t->place;
        hand_out(t, now);
    }
    close_if_done(b, now);
}

static void count_result(struct core_stats *s, const struct core_task *t)
{
    s->finished++;
    if (t->answer.outcome == WEIR_OUTCOME_OK)
        s->successes++;
    else if (t->answer.outcome != WEIR_OUTCOME_CAPACITY) /* of single rows: these are none */
        s->failures++;
    s->dispatch_delay_at_completion_ns = gate_delay(&t->batch->pool->gate);
}

/* The task's answer is its result. It is on no list any more. */
void finish_task(struct core_task *t, struct instant now)
{
    struct core_batch *b = t->batch;
    struct dispatcher_host *host = b->dispatcher->options.host;

    if (t->bound || t->home)
        session_leave(t, now);
    b->dispatcher->live--;
    task_move(t, TASK_FINISHED);
    t->complete_at = instant_is_none(t->answer.ended_at) ? now : t->answer.ended_at;
    t->complete_index = b->next_complete_index++;
    count_result(&b->stats, t);
    count_result(&b->pool->stats, t);
    tell_task(t, EVENT_TASK_FINISHED, 0, NULL, now);
    failures_note(b, t, now);
    b->held_bytes += answer_bytes(&t->answer);
    if (b->options.durable)
        b->uncommitted++;
    host->finished(host, b, t);
    if (b->options.durable)
        return;
    task_move(t, TASK_COMMITTED);
    deliver(t, now);
}

/* Ends a row that does not run, for a reason of the engine's own. */
void finish_cancelled(struct core_task *t, enum weir_outcome outcome, enum weir_reason reason,
                      const char *message, struct instant now)
{
    task_unlink(t);
    answer_clear(&t->answer);
    t->answer.outcome = outcome;
    t->answer.reason = reason;
    t->answer.retryable = outcome == WEIR_OUTCOME_FAILED;
    answer_say(&t->answer, "%s", message);
    finish_task(t, now);
}

/* The row ends without a result; its place in the order stays taken, so nothing behind it is delivered. */
void finish_drop(struct core_task *t, struct instant now)
{
    task_unlink(t);
    if (t->bound || t->home)
        session_leave(t, now);
    t->batch->dispatcher->live--;
    task_move(t, TASK_DROPPED);
}

/*
 * Where a row would be tried again, but the batch was stopped or the engine is shut down: it ends
 * here. Its attempt is recorded like any other that was not the row's result.
 */
static bool ends_instead(struct core_task *t, struct instant now)
{
    struct core_batch *b = t->batch;
    struct dispatcher_host *host = b->dispatcher->options.host;

    if (!b->stopping && !b->dispatcher->shutting_down)
        return false;
    host->retrying(host, b, t, 0);
    if (b->stopping)
        finish_drop(t, now); /* a later run will try it again */
    else
        finish_cancelled(t, WEIR_OUTCOME_CANCELLED, WEIR_REASON_SHUTDOWN_REQUESTED,
                         "the engine was shut down before the row could be tried again", now);
    return true;
}

/*
 * The share of a wait that is left to chance, on top of it. Rows refused together would come back
 * together, and of each such wave a service without burst takes one: on one of 5 to 20 requests/s
 * and 64 places that is 30 % of what it offers without the chance, and 57 % with it.
 */
#define WAIT_JITTER 0.1

/* wait_ns is what the record says; the row waits that long at least. away: then it goes on in the fallback pool. */
static void wait_or_ready(struct core_task *t, duration_ns wait_ns, bool away, struct instant now)
{
    struct core_batch *b = t->batch;
    struct dispatcher_host *host = b->dispatcher->options.host;

    tell_task(t, EVENT_TASK_RETRY, wait_ns, NULL, now);
    host->retrying(host, b, t, wait_ns);
    task_unlink(t);
    if (away)
        breaking_move(t, "it failed for good in its pool", now);
    if (wait_ns <= 0) {
        if (t->is_call)
            checkout_begin(t, now);
        session_admit(t);
        return;
    }
    task_move(t, TASK_WAITING);
    list_push_back(&b->waiting, &t->link);
    b->stats.waiting++;
    t->crowding =
        t->answer.outcome == WEIR_OUTCOME_CAPACITY && t->capacity_retries <= CROWDING_REFUSALS_MAX;
    task_pool(t)->crowding += t->crowding;
    wait_ns += (duration_ns)((double)wait_ns * WAIT_JITTER * rng_unit(&b->dispatcher->rng));
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

/* The answer to t may have made the pool's pause longer, which ended at `before`. */
static void note_held(const struct core_task *t, struct instant before, struct instant now)
{
    struct core_stats *of_batch = &t->batch->stats, *of_pool = &task_pool(t)->stats;
    struct instant until = gate_held_until(&task_pool(t)->gate);
    struct instant known = instant_max(before, now);

    if (!instant_before(known, until))
        return;
    of_batch->paused_ns += instant_diff(until, known);
    of_pool->paused_ns += instant_diff(until, known);
    if (instant_before(before, now)) {
        of_batch->pauses++;
        of_pool->pauses++;
    }
    tell_held(t, before, now);
}

/* The throttle learns of it, and says how long the row would have to wait. */
static struct gate_verdict note_refusal(struct core_task *t, struct instant now)
{
    struct core_batch *b = t->batch;
    struct core_pool *p = task_pool(t);
    struct instant held = gate_held_until(&p->gate);
    struct gate_verdict v =
        gate_refused(&p->gate, now, &t->ticket, t->capacity_retries, &t->answer.advice);

    if (gate_delay(&p->gate) > b->stats.peak_delay_ns)
        b->stats.peak_delay_ns = gate_delay(&p->gate);
    if (gate_delay(&p->gate) > p->stats.peak_delay_ns)
        p->stats.peak_delay_ns = gate_delay(&p->gate);
    note_held(t, held, now);
    tell_throttle(p, now);
    return v;
}

/* The one attempt of a single row was refused: who offered it decides what follows. */
static void end_refused(struct core_task *t, struct instant now)
{
    struct gate_verdict v = note_refusal(t, now);

    t->advised_ns = v.asked_too_long ? t->answer.advice.retry_after_ns : v.row_wait_ns;
    task_unlink(t);
    finish_task(t, now);
}

static void judge_refusal(struct core_task *t, struct instant now)
{
    struct core_batch *b = t->batch;
    struct core_pool *p = task_pool(t);
    duration_ns elapsed = instant_diff(now, t->start_at);
    struct judgement j = judge_capacity(&p->options, elapsed);
    struct gate_verdict v;

    if (j.verdict == JUDGE_FAIL) {
        gate_lost(&p->gate, now, &t->ticket);
        fail_for(t, j.reason, p->options.max_capacity_retry_ns, elapsed, now);
        return;
    }
    v = note_refusal(t, now);
    if (v.asked_too_long) {
        fail_for(t, WEIR_REASON_RETRY_AFTER_TOO_LONG, p->options.gate.retry_after_max_ns, elapsed,
                 now);
        return;
    }
    if (ends_instead(t, now))
        return;
    t->capacity_retries++;
    t->throttled_ns += v.row_wait_ns;
    b->stats.capacity_retries++;
    b->stats.total_throttle_time_ns += v.row_wait_ns;
    p->stats.capacity_retries++;
    p->stats.total_throttle_time_ns += v.row_wait_ns;
    wait_or_ready(t, v.row_wait_ns, false, now);
}

/* Whether the service gave an answer at all; else it has said nothing, about its capacity either. */
static bool is_answered(const struct core_answer *a)
{
    switch (a->reason) {
    case WEIR_REASON_RESOLVE_FAILED:
    case WEIR_REASON_CONNECT_FAILED:
    case WEIR_REASON_CONNECTION_LOST:
    case WEIR_REASON_TLS_FAILED:
        return false;
    default:
        return a->outcome == WEIR_OUTCOME_OK || a->outcome == WEIR_OUTCOME_FAILED;
    }
}

/* Whether and how the row, whose attempt has not been refused, goes on. */
static struct judgement decide(struct core_task *t, struct instant now)
{
    struct core_pool *p = task_pool(t);
    struct rng *rng = &t->batch->dispatcher->rng;
    struct judge_case c = {
        .failures = t->failures,
        .last_wait_ns = t->backoff_ns,
        .last_try = t->last_try,
        .has_fallback = breaking_may_move(t),
        .all_workers = p->crew && crew_all_affected(p->crew),
    };
    struct judgement j;

    if (!p->options.recovery && !t->last_try)
        return judge_answer(&p->options, &t->answer, t->failures, t->backoff_ns, rng);
    j = judge_by_table(&p->options, &t->answer, &c, rng);
    if (j.break_circuit)
        breaking_open(p, "a failure that the recovery table breaks the circuit for", now);
    return j;
}

/* Nothing was wrong with it: it is tried again at once, and where it was, with what is left to it. */
static void spare(struct core_task *t, struct instant now)
{
    if (ends_instead(t, now))
        return;
    t->spared++;
    t->batch->stats.retries++;
    task_pool(t)->stats.retries++;
    wait_or_ready(t, 0, false, now);
}

/* The same of a single row, with whatever it gave; only the recovery table may have a word for the breaker. */
static void end_single(struct core_task *t, struct instant now)
{
    if (judge_counts(&t->answer))
        t->failures++;
    if (task_pool(t)->options.recovery)
        (void)decide(t, now);
    task_unlink(t);
    finish_task(t, now);
}

static void judge_rest(struct core_task *t, struct instant now)
{
    struct core_batch *b = t->batch;
    struct core_pool *p = task_pool(t);
    struct core_answer *a = &t->answer;
    struct instant held = gate_held_until(&p->gate);
    struct judgement j;

    if (a->outcome == WEIR_OUTCOME_OK) {
        gate_accepted(&p->gate, now, &t->ticket, &a->advice);
    } else if (is_answered(a)) {
        gate_answered(&p->gate, now, &t->ticket, &a->advice);
    } else {
        gate_lost(&p->gate, now, &t->ticket);
    }
    note_held(t, held, now);
    tell_throttle(p, now);
    if (b->options.single) {
        end_single(t, now);
        return;
    }
    if (a->bystander) {
        spare(t, now);
        return;
    }
    if (judge_counts(a))
        t->failures++;
    j = decide(t, now);
    if (j.verdict != JUDGE_FINISH) {
        if (ends_instead(t, now))
            return;
        t->last_try = j.verdict == JUDGE_FAIL_OVER;
        t->backoff_ns = j.wait_ns;
        b->stats.retries++;
        p->stats.retries++;
        wait_or_ready(t, j.wait_ns, t->last_try, now);
        return;
    }
    task_unlink(t);
    finish_task(t, now);
}

/* t->answer is what its attempt gave; decide what follows. */
static void judge(struct core_task *t, struct instant now)
{
    struct core_batch *b = t->batch;
    struct core_pool *p = task_pool(t);
    struct dispatcher_host *host = b->dispatcher->options.host;

    tell_task(t, EVENT_ATTEMPT_ENDED, 0, NULL, now);
    if (t->answer.tokens > 0) {
        b->stats.tokens += (uint64_t)t->answer.tokens;
        p->stats.tokens += (uint64_t)t->answer.tokens;
    }
    if (b->stopping && t->answer.outcome == WEIR_OUTCOME_CANCELLED) {
        /* By the stop itself: no result of the row's. A later run will try it again. */
        gate_lost(&p->gate, now, &t->ticket);
        host->retrying(host, b, t, 0);
        finish_drop(t, now);
        return;
    }
    if (t->answer.outcome == WEIR_OUTCOME_CAPACITY) {
        b->stats.refused++;
        p->stats.refused++;
        if (b->options.single)
            end_refused(t, now);
        else
            judge_refusal(t, now);
        return;
    }
    judge_rest(t, now);
}

/* What an executor says is not believed where it cannot be: another outcome than there are, or times outside of the
 * attempt's own. */
static void make_sane(struct core_attempt_slot *s, struct instant now)
{
    struct core_answer *a = &s->attempt.answer;

    if ((unsigned)a->outcome > WEIR_OUTCOME_CANCELLED) {
        answer_say(a, "the executor reported an outcome that there is not (%d)", (int)a->outcome);
        a->outcome = WEIR_OUTCOME_LOST;
        a->reason = WEIR_REASON_NO_OUTCOME;
    }
    if (!instant_is_none(a->started_at) &&
        (instant_before(a->started_at, s->ticket.taken_at) || instant_before(now, a->started_at)))
        a->started_at = s->ticket.taken_at;
    if (!instant_is_none(a->ended_at) &&
        (instant_before(a->ended_at, a->started_at) || instant_before(now, a->ended_at)))
        a->ended_at = now;
}

/*
 * When we ended the attempt ourselves, that is the outcome, unless a whole answer had come after
 * all: a result, or, where only the attempt's time was up, a refusal, which must not use up an
 * attempt (P4).
 */
static void apply_ended_by(struct core_attempt_slot *s)
{
    struct core_answer *a = &s->attempt.answer;

    if (s->ended_by == WEIR_REASON_NONE || a->outcome == WEIR_OUTCOME_OK)
        return;
    if (s->ended_by == WEIR_REASON_TIMEOUT && a->outcome == WEIR_OUTCOME_CAPACITY)
        return;
    a->reason = s->ended_by;
    a->retryable = s->ended_by == WEIR_REASON_TIMEOUT;
    a->outcome = s->ended_by == WEIR_REASON_SHUTDOWN_REQUESTED ? WEIR_OUTCOME_CANCELLED
                                                               : WEIR_OUTCOME_TIMEOUT;
    if (s->ended_by == WEIR_REASON_TIMEOUT)
        answer_say(a, "no answer within %g s", duration_seconds(s->timeout_ns));
    else if (s->ended_by == WEIR_REASON_DEADLINE)
        answer_say(a, "the deadline passed while attempt %u was running", s->attempt.number);
    else
        answer_say(a, "the engine was shut down while attempt %u was running", s->attempt.number);
}

/* It is believed of what was lost, and not without end. */
static void check_bystander(struct core_attempt_slot *s)
{
    struct core_answer *a = &s->attempt.answer;

    a->bystander = a->bystander && a->outcome == WEIR_OUTCOME_LOST &&
                   s->ended_by == WEIR_REASON_NONE && s->task->spared < TASK_SPARED_MAX;
}

static void take_answer(struct core_attempt_slot *s, struct core_task *t)
{
    answer_clear(&t->answer);
    answer_move(&t->answer, &s->attempt.answer);
    if (s->attempt.number == 1 && !instant_is_none(t->answer.started_at))
        t->start_at = t->answer.started_at;
}

/* With the answer that came too late: the row's own may be with its receiver by now. */
static void tell_late(const struct core_attempt_slot *s, struct core_task *t, struct instant now)
{
    struct core_observer *o = s->pool->dispatcher->options.observer;
    struct core_event ev = {
        .kind = EVENT_ATTEMPT_LATE,
        .at = now,
        .pool = s->pool->name,
        .batch = s->batch->number,
        .index = s->attempt.index,
        .task = t,
        .key = s->attempt.key,
        .attempt = s->attempt.number,
        .worker = s->worker,
        .answer = &s->attempt.answer,
        .detail = "it ended after its row had been judged",
    };

    if (o)
        o->ops->event(o, &ev);
}

/*
 * Whether what it says is a result that comes too late. How one ends that was lost is one, unless
 * that says no more; how one ends that was told to is none, unless it was done after all.
 */
static bool is_late_result(enum weir_outcome judged, enum weir_outcome said)
{
    if (said == WEIR_OUTCOME_OK)
        return true;
    return judged != WEIR_OUTCOME_CANCELLED && said != WEIR_OUTCOME_CANCELLED &&
           said != WEIR_OUTCOME_LOST;
}

/* The row was ended by hand and has its answer: only when it ended is the report's. */
static void take_end(struct core_attempt_slot *s, struct core_task *t, struct instant now)
{
    struct core_answer *a = &s->attempt.answer;

    if (a->outcome != WEIR_OUTCOME_CANCELLED) {
        s->batch->stats.late_reports++;
        s->pool->stats.late_reports++;
    }
    if (is_late_result(t->answer.outcome, a->outcome))
        tell_late(s, t, now);
    t->answer.started_at = instant_is_none(a->started_at) ? s->ticket.taken_at : a->started_at;
    t->answer.ended_at = instant_is_none(a->ended_at) ? now : a->ended_at;
    answer_clear(a);
}

static void free_slot(struct core_attempt_slot *s, struct instant now)
{
    struct core_pool *p = s->pool;
    bool permit = s->permit.account != NULL;

    if (s->task && permit)
        s->batch->places--;
    p->ahead_count -= !permit;
    s->running = false;
    s->task = NULL;
    list_remove(&s->link);
    list_push_front(&p->free_slots, &s->link);
    if (!permit || ahead_pass_permit(s, now))
        return;
    permit_settle(&p->permits, now);
    permit_return(&s->permit);
}

/* A single row is not ready again: it ends as one that was lost for something else, with no attempt made. */
static void end_unbegun(struct core_task *t, struct instant now)
{
    t->attempts--;
    t->batch->stats.attempts--;
    task_pool(t)->stats.attempts--;
    task_unlink(t);
    answer_clear(&t->answer);
    t->answer.bystander = true;
    answer_say(&t->answer, "it could not be given to its worker, and has not begun");
    finish_task(t, now);
}

/*
 * It was handed over and has not begun (ahead of a place, or to a worker that could not be given
 * it): the row is where it was before, or ends as such rows do now.
 */
static void take_back(struct core_attempt_slot *s, struct instant now)
{
    struct core_task *t = s->task;
    struct core_batch *b = s->batch;
    enum weir_reason ended_by = s->ended_by;

    if (s->told)
        tell_task(t, EVENT_ATTEMPT_TAKEN_BACK, 0, NULL, now);
    answer_clear(&s->attempt.answer);
    gate_lost(&s->pool->gate, now, &s->ticket);
    breaking_drop(s, now);
    free_slot(s, now);
    if (b->options.single) {
        end_unbegun(t, now);
        close_if_done(b, now);
        return;
    }
    task_unlink(t);
    if (t->is_call)
        checkout_begin(t, now); /* it waits for a worker once more */
    choose_put_back(t);
    if (b->stopping)
        finish_drop(t, now);
    else if (ended_by == WEIR_REASON_DEADLINE)
        finish_cancelled(t, WEIR_OUTCOME_TIMEOUT, WEIR_REASON_DEADLINE,
                         "the deadline passed before the row could run", now);
    else if (b->dispatcher->shutting_down)
        finish_cancelled(t, WEIR_OUTCOME_CANCELLED, WEIR_REASON_SHUTDOWN_REQUESTED,
                         "the engine was shut down before the row could run", now);
    close_if_done(b, now);
}

/* An attempt whose row was judged without it has ended at last. */
static void end_abandoned(struct core_attempt_slot *s, struct instant now)
{
    struct core_task *t = s->abandoned_task;
    struct core_batch *b = s->batch;

    b->stats.late_reports++;
    s->pool->stats.late_reports++;
    tell_late(s, t, now);
    answer_clear(&s->attempt.answer);
    s->abandoned_task = NULL;
    free_slot(s, now);
    t->abandoned--;
    b->abandoned--;
    task_release_if_unused(t);
}

/* It was ended by hand, and has ended now: it teaches nothing about how long such attempts take. */
static void end_by_hand(struct core_attempt_slot *s, struct instant now)
{
    struct core_task *t = s->task;
    struct breaking_word word;

    slot_tell_started(s, now);
    take_end(s, t, now);
    word = breaking_read(s, &t->answer);
    free_slot(s, now);
    judge(t, now);
    breaking_judged(s, &word, now);
    close_if_done(s->batch, now);
}

void finish_attempt(struct core_attempt_slot *s, struct instant now)
{
    struct core_task *t = s->task;
    struct breaking_word word;

    make_sane(s, now);
    gate_settle(&s->pool->gate, &s->ticket, s->attempt.answer.tokens);
    if (!t) {
        end_abandoned(s, now);
        return;
    }
    if (s->by_hand) {
        end_by_hand(s, now);
        return;
    }
    if (ahead_came_back(s) || s->attempt.not_begun) {
        take_back(s, now);
        return;
    }
    slot_tell_started(s, now);
    ahead_learn(s->pool, &s->attempt.answer);
    apply_ended_by(s);
    check_bystander(s);
    choose_learn(s->pool, &s->attempt.answer, s->ticket.taken_at);
    if (s->broken_in)
        word = breaking_read(s, &s->attempt.answer);
    take_answer(s, t);
    free_slot(s, now);
    judge(t, now);
    if (s->broken_in)
        breaking_judged(s, &word, now);
    close_if_done(s->batch, now);
}

void finish_in_run(struct core_task *t, struct instant now)
{
    struct core_answer *a = &t->answer;

    if (t->batch->cancelling && a->outcome != WEIR_OUTCOME_OK) {
        a->outcome = WEIR_OUTCOME_CANCELLED;
        a->reason = WEIR_REASON_SHUTDOWN_REQUESTED;
        a->retryable = false;
        answer_say(a, "the engine was shut down while attempt 1 was running");
    }
    judge(t, now);
}

static void say_abandoned(const struct core_attempt_slot *s, struct core_answer *a)
{
    answer_clear(a);
    a->reason = s->ended_by;
    a->retryable = s->ended_by == WEIR_REASON_TIMEOUT;
    a->outcome = WEIR_OUTCOME_TIMEOUT;
    if (s->ended_by == WEIR_REASON_TIMEOUT)
        answer_say(a, "no answer within %g s", duration_seconds(s->timeout_ns));
    else
        answer_say(a, "the deadline passed while attempt %u was running", s->attempt.number);
}

/* The attempt cannot be ended from outside: judge its row now; the slot keeps its permit until it reports. */
void finish_abandon(struct core_attempt_slot *s, struct instant now)
{
    struct core_task *t = s->task;
    struct core_batch *b = s->batch;
    struct breaking_word word;

    assert(s->running && s->permit.account && t);
    b->places--;
    s->task = NULL;
    s->abandoned_task = t;
    t->abandoned++;
    b->abandoned++;
    if (!s->by_hand)
        say_abandoned(s, &t->answer);
    t->answer.started_at = s->ticket.taken_at;
    t->answer.ended_at = now;
    word = breaking_read(s, &t->answer);
    judge(t, now);
    breaking_judged(s, &word, now);
    close_if_done(b, now);
}
