/*
 * The judge: what follows from how an attempt ended. The table of outcomes of design 3, as a pure
 * function.
 *
 * It decides; it changes nothing. The throttle is asked in between (see judge_capacity), because
 * the time limit of a row is tested before the throttle is told.
 */
#ifndef CORE_JUDGE_H
#define CORE_JUDGE_H

#include "base/rng.h"
#include "core/answer.h"
#include "core/pool.h"

enum judge_verdict {
    JUDGE_FINISH,    /* the answer is the row's result */
    JUDGE_RETRY,     /* another attempt after a wait */
    JUDGE_FAIL,      /* the row fails for a reason of its own: see reason */
    JUDGE_FAIL_OVER, /* one attempt in the fallback pool, after a wait */
};

struct judgement {
    enum judge_verdict verdict;
    enum weir_reason reason; /* for JUDGE_FAIL */
    duration_ns wait_ns;     /* for JUDGE_RETRY and JUDGE_FAIL_OVER */
    bool break_circuit;      /* the pool's breaker is to open, whatever the verdict */
};

/* Whether a capacity outcome may still be retried: elapsed since the row's first dispatch, tested with >=. */
struct judgement judge_capacity(const struct core_pool_options *o, duration_ns elapsed_ns);

/*
 * Any other outcome. failures: attempts of the row that counted, this one included; last_wait_ns:
 * the wait before it. ok: finish. failed and permanent, cancelled: finish. retryable, timeout,
 * lost: retry while failures < max_attempts.
 */
struct judgement judge_answer(const struct core_pool_options *o, const struct core_answer *a,
                              uint32_t failures, duration_ns last_wait_ns, struct rng *jitter);

/*
 * The same by the pool's recovery table (worker/recovery.h): how often, after which wait and where
 * another attempt is made depends on what failed. There are no more attempts than max_attempts.
 * Where somebody has said max_attempts or backoff, they go before the table (see there for how
 * far). Without a table, or for a row's last try: finish.
 */
struct judge_case {
    uint32_t failures;
    duration_ns last_wait_ns;
    bool last_try;     /* it was the one attempt that failing over gives */
    bool has_fallback; /* the row may go to a fallback pool, and has not been there */
    bool all_workers;  /* all workers of the pool are affected */
    /* Those of the options were said, and are no defaults. */
    bool max_attempts_given, backoff_given;
};
struct judgement judge_by_table(const struct core_pool_options *o, const struct core_answer *a,
                                const struct judge_case *c, struct rng *rng);

/* Whether the outcome counts against max_attempts (P4: capacity never does, nor what was lost for another row). */
bool judge_counts(const struct core_answer *a);

#endif
