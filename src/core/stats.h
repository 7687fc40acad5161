/*
 * The statistics of design 3, for a batch and for a pool, and what its throttle did meanwhile.
 */
#ifndef CORE_STATS_H
#define CORE_STATS_H

#include "base/time.h"
#include "flow/breaker.h"
#include "flow/throttle.h"
#include "weir/outcome.h"

#include <stdbool.h>
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
    uint64_t queued;   /* behind their session, or for a worker that others hold */
    uint64_t finished; /* results that stand, delivered ones included */
    uint64_t delivered;
    /* what was sent */
    uint64_t attempts;
    uint64_t refused; /* attempts that ended in capacity */
    uint64_t retries; /* of retryable failures */
    uint64_t tokens;  /* as told by the service */
    /* Pauses of the whole pool that answers asked for; of a batch: answers to its rows. */
    uint64_t pauses;
    duration_ns
        paused_ns; /* until the end that was asked for last, also where the batch ends before */
    uint64_t late_reports;
    uint64_t
        unrecorded; /* attempts whose record a store was too slow to take, or memory ran out for */
    /* sums over delivered rows, and the largest: what ordering cost */
    duration_ns buffer_wait_sum_ns, buffer_wait_max_ns;
    /* How the pool's throttle limits now, and why. Its counters: since the pool was added; of a batch:
     * while it was open, and once it is closed all of this stays as it was then. */
    enum throttle_kind throttle_kind;
    struct throttle_state throttle;
    /* Of a pool: its breaker; off: closed for ever. */
    enum breaker_state breaker;
    uint64_t breaker_opened; /* how often */
    /* Then it lets something through again; NONE: it does, or waits for what it let through. */
    struct instant breaker_open_until;
    /* Rows that went to the fallback pool: to try once more there, or because the breaker was open. */
    uint64_t failed_over;
    /* Of a batch: how many rows failed in the ways that many did (core/alike.h), and whether it was stopped for that. */
    uint64_t failed_alike;
    bool stopped_alike;
    /* The least and the most that was in force at a dispatch; both 0: never limited so. */
    double rate_min_rps, rate_max_rps;
    size_t window_min, window_max;
};

/* A dispatch under that limit. */
void core_stats_note_limit(struct core_stats *s, const struct throttle_limit *limit);

#endif
