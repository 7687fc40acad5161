/*
 * The statistics of design 3, for a batch and for a pool.
 */
#ifndef CORE_STATS_H
#define CORE_STATS_H

#include "base/time.h"
#include "weir/outcome.h"

#include <stdint.h>

struct core_stats {
    /* pool_config */
    uint64_t pool_size;
    duration_ns max_capacity_retry_ns;
    duration_ns dispatch_delay_at_completion_ns; /* in force when the last row finished */
    /* pool_stats */
    uint64_t capacity_retries;
    uint64_t successes;
    uint64_t failures;
    duration_ns peak_delay_ns;
    duration_ns current_delay_ns;
    duration_ns total_throttle_time_ns;
    uint64_t max_concurrent_reached;
    /* where the rows are now */
    uint64_t accepted;
    uint64_t ready, waiting, running;
    uint64_t finished; /* results that stand, delivered ones included */
    uint64_t delivered;
    /* what was sent */
    uint64_t attempts;
    uint64_t refused; /* attempts that ended in capacity */
    uint64_t retries; /* of retryable failures */
    uint64_t tokens;  /* as told by the service */
    uint64_t late_reports;
    uint64_t
        unrecorded; /* attempts whose record a store was too slow to take, or memory ran out for */
    /* sums over delivered rows, and the largest: what ordering cost */
    duration_ns buffer_wait_sum_ns, buffer_wait_max_ns;
};

#endif
