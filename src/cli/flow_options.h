/*
 * The flow options: how fast a pool is fed, how often a row is tried, how long it may take. The
 * part of the options' table that `weir run` and `weir simulate` share, so that what is tried in
 * one is what runs in the other.
 *
 *     struct my_options { struct flow_options flow; ... };
 *     flow_options_init(&o->flow);
 *     ... options_parse() with the part {flow_option_specs, FLOW_OPTION_COUNT, offsetof(struct my_options, flow)} ...
 *     status = flow_options_check(&o->flow, 1U << o->flow.throttle, &err);
 *     flow_options_pool(&o->flow, &pool_options);
 *
 * Pure; one owner.
 */
#ifndef CLI_FLOW_OPTIONS_H
#define CLI_FLOW_OPTIONS_H

#include "base/time.h"
#include "cli/options.h"
#include "cli/output/halt.h"
#include "cli/run_kind.h"
#include "core/pool.h"
#include "flow/throttle.h"
#include "weir/status.h"

#include <stddef.h>
#include <stdint.h>

#define FLOW_OPTIONS_GROUP "Flow"

struct flow_options {
    int64_t jobs;        /* >= 1: pool size */
    int64_t window_rows; /* >= 1; 0: the engine's default */
    enum throttle_kind throttle;
    duration_ns min_dispatch_delay_ns;
    double waste; /* adaptive only */
    /* aimd only */
    duration_ns max_dispatch_delay_ns, recovery_step_ns;
    double backoff_multiplier;
    duration_ns max_capacity_retry_ns;
    double rate_per_s; /* 0: no limit */
    int64_t rpm, tpm;  /* 0: no limit */
    duration_ns retry_after_max_ns;
    int64_t retries;            /* after the first attempt; max_attempts is one more */
    duration_ns retry_delay_ns; /* first backoff after a retryable failure */
    duration_ns timeout_ns;     /* of one attempt; 0: none */
    double timeout_share;       /* of the median of the run times so far; 0: none */
    duration_ns deadline_ns;    /* of the run; 0: none */
    struct halt_rule halt;
    int *capacity_statuses; /* besides 429, 503 and 529; owned */
    size_t capacity_status_count;
};

/* Two parts, so that a command may put options of its own into the first one's group. */
#define FLOW_OPTION_COUNT 16
#define FLOW_AIMD_COUNT   3
extern const struct option_spec flow_option_specs[FLOW_OPTION_COUNT];
extern const struct option_spec flow_aimd_specs[FLOW_AIMD_COUNT];

void flow_options_init(struct flow_options *o);
/* What must hold between them; fills in the defaults of what only one throttle takes. kinds: a bit (1U << enum
 * throttle_kind) for each throttle that they are for. To be called once, after parsing. */
WEIR_MUST_CHECK enum weir_status flow_options_check(struct flow_options *o, unsigned kinds,
                                                    struct weir_error *err);
/* The options of a pool; its name is left to the caller. */
void flow_options_pool(const struct flow_options *o, struct core_pool_options *ret);
void flow_options_free(struct flow_options *o);

#endif
