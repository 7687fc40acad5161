/*
 * What follows from how an attempt has ended, for its task:
 *
 *     ok          done
 *     capacity    ready again at its old place, after the wait that the throttle advises; failed
 *                 when that has gone on for longer than the pool's max_capacity_retry. Counts
 *                 against nothing (P4)
 *     failed      for good: failed. Retryable, timeout, lost: again later, by the backoff, until
 *                 max_attempts have counted; then failed. In a pool with a recovery table that says
 *                 both, by what failed; but what the task or the configuration says goes before it
 *                 (core/worker/recovery.h has how far). The table may send it to the pool's
 *                 fallback: ready again at once, for one attempt there
 *     lost        with its worker: counts as a death, apart from the attempts; after deaths_max of
 *                 them the task is quarantined. For the sake of another request at the same worker,
 *                 or before it began: counts as nothing
 *     cancelled   by hand: cancelled, also when it had just ended otherwise and would be tried
 *                 again. Because the dispatcher stops: ready again, and counts as nothing
 */
#include "core/desk/internal.h"

#include "core/judge.h"

#include <assert.h>

static bool is_death(const struct core_answer *a)
{
    return a->outcome == WEIR_OUTCOME_LOST && !a->bystander &&
           (a->reason == WEIR_REASON_WORKER_LOST || a->reason == WEIR_REASON_CALLBACK_LOST);
}

static bool max_attempts_given(const struct attempt *a)
{
    return a->t->task->max_attempts > 0 || a->pool->options.max_attempts_given;
}

static bool backoff_given(const struct attempt *a)
{
    const struct registry_task *r = a->t->task;

    return r->backoff_initial_ns > 0 || r->backoff_ceiling_ns > 0 || r->backoff_factor >= 1 ||
           a->pool->options.backoff_given;
}

/* The pool's rules, with what the task says for itself. */
static struct core_pool_options rules(const struct attempt *a)
{
    struct core_pool_options o = *core_pool_get_options(a->pool->core);
    const struct registry_task *r = a->t->task;
    const struct desk_pool_options *p = &a->pool->options;

    o.max_attempts = r->max_attempts ? r->max_attempts : p->max_attempts;
    o.backoff = p->backoff;
    if (o.recovery && !max_attempts_given(a))
        o.max_attempts = UINT32_MAX; /* the table alone bounds them */
    if (r->backoff_initial_ns > 0)
        o.backoff.initial_ns = r->backoff_initial_ns;
    if (r->backoff_ceiling_ns > 0)
        o.backoff.ceiling_ns = r->backoff_ceiling_ns;
    /* Of the task's one and the pool's other, the task's holds. */
    if (o.backoff.ceiling_ns < o.backoff.initial_ns && r->backoff_initial_ns > 0)
        o.backoff.ceiling_ns = o.backoff.initial_ns;
    else if (o.backoff.ceiling_ns < o.backoff.initial_ns)
        o.backoff.initial_ns = o.backoff.ceiling_ns;
    if (r->backoff_factor >= 1)
        o.backoff.factor = r->backoff_factor;
    return o;
}

static void fail(struct registry_end *e, struct core_answer *a, enum weir_reason reason)
{
    e->next = REGISTRY_FAILED;
    if (reason != WEIR_REASON_NONE)
        e->reason = a->reason = reason;
}

/* Since its first start. What a restart lies between is known by the wall clock alone, which somebody may have set. */
static duration_ns tried_for(const struct registry_task *t, struct instant now)
{
    return t->tried ? t->tried_ns + instant_diff(now, t->tried_at) : 0;
}

static void judge_full(struct attempt *a, struct registry_end *e, duration_ns *ret_wait,
                       struct instant now)
{
    struct core_pool_options o = rules(a);
    struct judgement j = judge_capacity(&o, tried_for(a->t->task, now));

    if (j.verdict == JUDGE_FAIL) {
        fail(e, &a->answer, j.reason);
        return;
    }
    a->t->task->capacity_retries++;
    *ret_wait = a->core.advised_ns;
    e->next = REGISTRY_READY;
}

/* Deaths do not count as failures as long as something else bounds them. */
static void judge_death(struct attempt *a, struct registry_end *e)
{
    struct registry_task *r = a->t->task;
    uint32_t most = a->desk->options.deaths_max;

    e->death = true;
    r->deaths++;
    if (most == 0) {
        e->counts = true;
    } else if (r->deaths >= most) {
        e->quarantined = true;
        fail(e, &a->answer, WEIR_REASON_QUARANTINED);
    }
}

static void judge_again(struct attempt *a, struct registry_end *e, duration_ns *ret_wait,
                        struct instant now)
{
    struct registry_task *r = a->t->task;
    struct core_pool_options o = rules(a);
    uint32_t times = r->failures;
    struct judgement j;

    if (e->death && !e->counts) {
        times = r->deaths;
        o.max_attempts = UINT32_MAX; /* deaths_max bounds them */
    }
    if (o.recovery)
        j = judge_by_table(&o, &a->answer,
                           &(struct judge_case){.failures = times,
                                                .last_wait_ns = r->last_wait_ns,
                                                .last_try = r->away,
                                                .has_fallback = a->may_go_over,
                                                .max_attempts_given = max_attempts_given(a),
                                                .backoff_given = backoff_given(a)},
                           &a->desk->rng);
    else
        j = judge_answer(&o, &a->answer, times, r->last_wait_ns, &a->desk->rng);
    if (j.verdict == JUDGE_FAIL_OVER) {
        r->away = true;
        *ret_wait = j.wait_ns;
        e->next = REGISTRY_READY;
        return;
    }
    if (j.verdict != JUDGE_RETRY) {
        fail(e, &a->answer, WEIR_REASON_NONE);
        return;
    }
    *ret_wait = r->last_wait_ns = j.wait_ns;
    /* The order of its session stays: it waits here, at its place, and those behind it with it. */
    e->next = a->shown.line->session.len > 0 ? REGISTRY_READY : REGISTRY_SCHEDULED;
    e->wake_ns = a->desk->host->wall_ns(a->desk->host, now) + j.wait_ns;
}

static void judge_ended(struct attempt *a, struct registry_end *e, duration_ns *ret_wait,
                        struct instant now)
{
    switch (a->answer.outcome) {
    case WEIR_OUTCOME_OK:
        e->next = REGISTRY_DONE;
        return;
    case WEIR_OUTCOME_CAPACITY:
        judge_full(a, e, ret_wait, now);
        return;
    case WEIR_OUTCOME_CANCELLED:
        e->next = a->put_back || a->answer.reason == WEIR_REASON_SHUTDOWN_REQUESTED
                      ? REGISTRY_READY
                      : REGISTRY_CANCELLED;
        return;
    default:
        break;
    }
    /* It could not be given to its worker, and never began. */
    if (a->answer.bystander && a->core.attempts == 0) {
        e->next = REGISTRY_READY;
        return;
    }
    if (a->answer.bystander && a->t->task->spared < TASK_SPARED_MAX) {
        a->t->task->spared++;
        e->next = REGISTRY_READY;
        return;
    }
    if (is_death(&a->answer))
        judge_death(a, e);
    else
        e->counts = true;
    if (e->counts)
        a->t->task->failures++;
    if (!e->quarantined)
        judge_again(a, e, ret_wait, now);
}

void judge_attempt(struct attempt *a, struct registry_end *e, duration_ns *ret_wait,
                   struct instant now)
{
    struct core_answer *answer = &a->answer;
    struct instant from =
        instant_is_none(answer->started_at) ? a->shown.started_at : answer->started_at;
    struct instant to = instant_is_none(answer->ended_at) ? now : answer->ended_at;

    *ret_wait = 0;
    *e = (struct registry_end){
        .task = a->t->task->id,
        .token = a->shown.token,
        .attempt = a->shown.number,
        .outcome = answer->outcome,
        .reason = answer->reason,
        .status = answer->status,
        .started_ns = a->started_wall_ns,
        .run_ns = instant_before(from, to) ? instant_diff(to, from) : 0,
        .worker = a->core.worker,
        .pool = slice_of(a->pool->name),
    };
    if (a->started_wall_ns > a->t->task->rank)
        e->wait_ns = a->started_wall_ns - a->t->task->rank;
    a->may_go_over = !a->guest && !a->t->task->away && pool_refuge(a->pool, now);
    judge_ended(a, e, ret_wait, now);
    if ((a->shown.cancelling || a->refused) &&
        (e->next == REGISTRY_READY || e->next == REGISTRY_SCHEDULED)) {
        e->next = REGISTRY_CANCELLED;
        e->wake_ns = *ret_wait = 0;
    }
    e->message = slice_of(answer->message);
    if (e->next == REGISTRY_DONE || e->next == REGISTRY_FAILED || e->next == REGISTRY_CANCELLED) {
        e->output = (struct slice){answer->output, answer->output_len};
        e->errput = (struct slice){answer->errput, answer->errput_len};
    }
}
