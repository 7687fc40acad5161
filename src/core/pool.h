/*
 * A pool: a named group of equal places where attempts run, and how fast it is fed.
 */
#ifndef CORE_POOL_H
#define CORE_POOL_H

#include "flow/backoff.h"
#include "flow/breaker.h"
#include "flow/gate.h"

#include <stdbool.h>
#include <stddef.h>

/* More places than this in one pool are a mistake, not a wish: each costs a slot. */
#define POOL_SIZE_MAX 1000000
/* New rows start while at most this many rows more than the pool has places run or wait after a refusal. */
#define CROWDING_ROWS_MAX 16
/* Of the median run time: below, most attempts would be ended; above, it is no limit. */
#define POOL_TIMEOUT_SHARE_MIN 1.0
#define POOL_TIMEOUT_SHARE_MAX 1e6
/* A limit by the median is no lower: how long a very short attempt takes is up to chance. */
#define POOL_TIMEOUT_BY_MEDIAN_MIN_NS (100 * NS_PER_MS)

struct recovery_table;

struct core_pool_options {
    const char *name; /* copied; NULL: the executor's kind */
    size_t size;      /* >= 1: most attempts at once */
    struct gate_options gate;
    uint32_t max_attempts;             /* >= 1; capacity outcomes do not count */
    struct backoff_options backoff;    /* between retryable failures */
    duration_ns timeout_ns;            /* > 0: of one attempt; 0: none */
    duration_ns max_capacity_retry_ns; /* > 0: per row, from its first dispatch */
    /*
     * POOL_TIMEOUT_SHARE_MIN to _MAX, of the median time that attempts have run until they were
     * answered: an attempt that runs longer has timed out. It holds once RUN_TIMES_MIN times are
     * known (core/run_times.h); timeout_ns, if set, holds from the start, and as a ceiling. 0:
     * none.
     */
    double timeout_share;
    struct breaker_options breaker; /* off unless said otherwise */
    bool breaker_fails; /* while it is open: rows fail at once (circuit_open); else they wait */
    /*
     * What to do about each kind of failure (core/worker/recovery.h); outlives the pool. A row is
     * tried at most as often as it and max_attempts allow (of the desk's tasks see
     * desk_pool_options). NULL: what is retryable is retried by `backoff`.
     */
    const struct recovery_table *recovery;
    /*
     * How long a row whose session's turn has come may wait for its worker while others hold it,
     * and how long a call may wait for any; then it ends as timeout, reason checkout_timeout. 0:
     * for as long as it takes. Apart, because a batch is a queue, and waiting in it is no failure,
     * while somebody waits at the other end of a call.
     */
    duration_ns checkout_timeout_ns, call_checkout_timeout_ns;
};

/* size 1, the adaptive throttle, 3 attempts, no timeout, one hour of capacity retries. */
void core_pool_options_init(struct core_pool_options *o);
WEIR_MUST_CHECK enum weir_status core_pool_options_check(const struct core_pool_options *o,
                                                         struct weir_error *err);

struct core_pool;

#endif
