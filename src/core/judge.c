#include "core/judge.h"

bool judge_counts(const struct core_answer *a)
{
    return a->outcome != WEIR_OUTCOME_CAPACITY && a->outcome != WEIR_OUTCOME_CANCELLED;
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
