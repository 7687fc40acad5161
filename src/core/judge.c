#include "core/judge.h"

#include "core/worker/recovery.h"

bool judge_counts(const struct core_answer *a)
{
    return a->outcome != WEIR_OUTCOME_CAPACITY && a->outcome != WEIR_OUTCOME_CANCELLED &&
           !a->bystander;
}

struct judgement judge_capacity(const struct core_pool_options *o, duration_ns elapsed_ns)
{
    if (elapsed_ns >= o->max_capacity_retry_ns)
        return (struct judgement){.verdict = JUDGE_FAIL, .reason = WEIR_REASON_RETRY_TIMEOUT};
    return (struct judgement){.verdict = JUDGE_RETRY};
}

struct judgement judge_answer(const struct core_pool_options *o, const struct core_answer *a,
                              uint32_t failures, duration_ns last_wait_ns, struct rng *jitter)
{
    bool retryable = a->outcome == WEIR_OUTCOME_TIMEOUT || a->outcome == WEIR_OUTCOME_LOST ||
                     (a->outcome == WEIR_OUTCOME_FAILED && a->retryable);

    if (a->reason == WEIR_REASON_DEADLINE || !retryable || failures >= o->max_attempts)
        return (struct judgement){.verdict = JUDGE_FINISH};
    return (struct judgement){
        .verdict = JUDGE_RETRY,
        .wait_ns = backoff_wait(&o->backoff, failures, last_wait_ns, jitter),
    };
}

struct judgement judge_by_table(const struct core_pool_options *o, const struct core_answer *a,
                                const struct judge_case *c, struct rng *rng)
{
    struct judgement j = {.verdict = JUDGE_FINISH};
    struct recovery_decision d;

    if (!judge_counts(a) || a->outcome == WEIR_OUTCOME_OK || a->reason == WEIR_REASON_DEADLINE ||
        !o->recovery)
        return j;
    d = recovery_decide(
        o->recovery, recovery_category(a),
        &(struct recovery_case){.attempt = c->failures,
                                .max_attempts = c->max_attempts_given ? o->max_attempts : 0,
                                .backoff = c->backoff_given ? &o->backoff : NULL,
                                .all_workers = c->all_workers,
                                .has_fallback = c->has_fallback,
                                .last_wait_ns = c->last_wait_ns},
        rng);
    j.break_circuit = d.break_circuit;
    if (c->last_try || !d.again || c->failures >= o->max_attempts)
        return j;
    j.verdict = d.strategy == RECOVERY_FAIL_OVER ? JUDGE_FAIL_OVER : JUDGE_RETRY;
    j.wait_ns = d.wait_ns;
    return j;
}
