/*
 * The judge: what follows from how an attempt ended. The table of outcomes of design 3, as a pure function.
 *
 * It decides; it changes nothing. The throttle is asked in between (see judge_capacity), because the time limit of a
 * row is tested before the throttle is told.
 */
#ifndef CORE_JUDGE_H
#define CORE_JUDGE_H

#include "base/rng.h"
#include "core/answer.h"
#include "core/pool.h"

enum judge_verdict {
    JUDGE_FINISH, /* the answer is the row's result */
    JUDGE_RETRY,  /* another attempt after a wait */
    JUDGE_FAIL,   /* the row fails for a reason of its own: see reason */
};

struct judgement {
    enum judge_verdict verdict;
    enum weir_reason reason; /* for JUDGE_FAIL */
    duration_ns wait_ns;     /* for JUDGE_RETRY */
};

/* Whether a capacity outcome may still be retried: elapsed since the row's first dispatch, tested with >=. */
struct judgement judge_capacity(const struct core_pool_options *o, duration_ns elapsed_ns);

/*
 * Any other outcome. failures: attempts of the row that counted, this one included; last_wait_ns: the wait before it.
 * ok: finish. failed and permanent, cancelled: finish. retryable, timeout, lost: retry while failures < max_attempts.
 */
struct judgement judge_answer(const struct core_pool_options *o, const struct core_answer *a,
                              uint32_t failures, duration_ns last_wait_ns, struct rng *jitter);

/* Whether the outcome counts against max_attempts (P4: capacity never does). */
bool judge_counts(const struct core_answer *a);

#endif
