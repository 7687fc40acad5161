/*
 * A pool: a named group of equal places where attempts run, and how fast it is fed.
 */
#ifndef CORE_POOL_H
#define CORE_POOL_H

#include "flow/backoff.h"
#include "flow/gate.h"

#include <stddef.h>

/* More places than this in one pool are a mistake, not a wish: each costs a slot. */
#define POOL_SIZE_MAX 1000000

struct core_pool_options {
    const char *name; /* copied; NULL: the executor's kind */
    size_t size;      /* >= 1: most attempts at once */
    struct gate_options gate;
    uint32_t max_attempts;             /* >= 1; capacity outcomes do not count */
    struct backoff_options backoff;    /* between retryable failures */
    duration_ns timeout_ns;            /* > 0: of one attempt; 0: none */
    duration_ns max_capacity_retry_ns; /* > 0: per row, from its first dispatch */
};

/* size 1, the adaptive throttle, 3 attempts, no timeout, one hour of capacity retries. */
void core_pool_options_init(struct core_pool_options *o);
WEIR_MUST_CHECK enum weir_status core_pool_options_check(const struct core_pool_options *o,
                                                         struct weir_error *err);

struct core_pool;

#endif
