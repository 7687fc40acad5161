/*
 * What to do about a failure: the two tables of design 5, in one place, so that they can be read
 * and changed.
 *
 *     category = recovery_category(&answer);
 *     d = recovery_decide(recovery_table(), category, &(struct recovery_case){.attempt = 1, ...}, &rng);
 *
 * A failure has a category; the table gives its severity, the strategy, how many retries, how they
 * back off, and how long the first one waits. A severity is raised one step after three attempts,
 * and to critical when all workers of the pool are affected; in that case `retry` becomes `break
 * the circuit`. Attempts alone never break it: one task that kills each worker it meets says
 * nothing about the others, and must not stop them. Pure.
 *
 * The wait before retry n (from 1) is `first_ns` for n = 1, and then the larger of it and the
 * backoff's wait for n - 1, base 1 s, ceiling 30 s, without jitter.
 *
 * What somebody has said for the task or its pool goes before the table, but only as far as it is
 * a matter of how often and when:
 *
 *     strategy of the rule      max_attempts                       backoff
 *     retry, retry at once      in place of `retries`              in place of each wait
 *     break the circuit         `retries` holds: what is missing   in place of each wait
 *                               is missing to every task alike
 *     fail over                 one attempt elsewhere, and no      at once: there is nothing to
 *                               more, as ever                      wait for there
 *     give up                   no attempt cures a defect          there is no wait
 *
 * Whoever asks also sees to it that there are no more attempts than max_attempts, whatever the
 * strategy.
 */
#ifndef CORE_WORKER_RECOVERY_H
#define CORE_WORKER_RECOVERY_H

#include "base/rng.h"
#include "core/answer.h"
#include "flow/backoff.h"

#include <stdbool.h>
#include <stdint.h>

#define RECOVERY_BACKOFF_BASE_NS    (1 * NS_PER_S)
#define RECOVERY_BACKOFF_CEILING_NS (30 * NS_PER_S)

enum recovery_category {
    RECOVERY_INITIALIZATION, /* a worker cannot start */
    RECOVERY_CONNECTION,     /* its process exited, a pipe closed */
    RECOVERY_COMMUNICATION,  /* what it wrote is not the protocol */
    RECOVERY_TIMEOUT,        /* no answer in time */
    RECOVERY_RESOURCE,       /* memory, descriptors or processes ran out on our side */
    RECOVERY_HEALTH_CHECK,
    RECOVERY_SESSION,          /* the worker that held its state is gone, or was not free in time */
    RECOVERY_REMOTE_TEMPORARY, /* it reports a failure that may pass */
    RECOVERY_REMOTE_EXCEPTION, /* it reports a failure for good */
    RECOVERY_SYSTEM,           /* a defect */
    RECOVERY_CATEGORIES
};

enum recovery_severity { RECOVERY_MINOR, RECOVERY_MAJOR, RECOVERY_CRITICAL };

enum recovery_strategy {
    RECOVERY_RETRY,
    RECOVERY_RETRY_AT_ONCE,
    RECOVERY_FAIL_OVER,     /* one attempt in the pool's fallback pool, if it has one */
    RECOVERY_BREAK_CIRCUIT, /* the breaker opens */
    RECOVERY_GIVE_UP,
};

struct recovery_rule {
    enum recovery_category category;
    enum recovery_severity severity;
    enum recovery_strategy strategy;
    uint32_t retries;
    bool backs_off; /* false: "none", each retry waits first_ns */
    enum backoff_kind backoff;
    duration_ns first_ns; /* before the first retry, or the first check after it */
};

struct recovery_table {
    struct recovery_rule rules[RECOVERY_CATEGORIES]; /* by category */
};

/* The one of design 5. */
const struct recovery_table *recovery_table(void);

struct recovery_case {
    uint32_t attempt;      /* failures of the task so far, this one included; >= 1 */
    uint32_t max_attempts; /* said for the task or its pool; 0: nobody has */
    const struct backoff_options *backoff; /* the same; NULL: nobody has */
    bool all_workers;                      /* every worker of the pool is affected */
    bool has_fallback;        /* there is a fallback pool, and the task has not been there */
    duration_ns last_wait_ns; /* what the decision before said; 0 at first */
};

struct recovery_decision {
    enum recovery_strategy strategy;
    enum recovery_severity severity;
    bool again;          /* another attempt of the task, as far as this table goes */
    duration_ns wait_ns; /* before it */
    bool break_circuit;
};

/* Of an attempt that neither went well, nor was refused for lack of capacity, nor cancelled. */
enum recovery_category recovery_category(const struct core_answer *a);
struct recovery_decision recovery_decide(const struct recovery_table *t,
                                         enum recovery_category category,
                                         const struct recovery_case *c, struct rng *rng);

const char *recovery_category_name(enum recovery_category category);
const char *recovery_severity_name(enum recovery_severity severity);
const char *recovery_strategy_name(enum recovery_strategy strategy);

#endif
