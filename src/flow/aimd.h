/*
 * The AIMD delay of design 3: grows by a factor with each refusal, shrinks by a step with each
 * success.
 *
 *     delay starts at 0
 *     refused:    delay = (delay == 0) ? max(step, min) : delay * multiplier;  at most max
 *     accepted:   delay = max(delay - step, min)
 *
 *     aimd_init(&a, &options);
 *     wait = aimd_refused(&a);       // the refused row waits that long; nobody else does
 *     aimd_accepted(&a);
 *
 * Pure, no time in it. One owner, one thread.
 */
#ifndef FLOW_AIMD_H
#define FLOW_AIMD_H

#include "base/time.h"
#include "weir/status.h"

struct aimd_options {
    duration_ns min_delay_ns; /* >= 0 */
    duration_ns max_delay_ns; /* > 0, >= min */
    double multiplier;        /* > 1, finite */
    duration_ns step_ns;      /* >= 0; min and step not both 0, or the delay could never grow */
};

struct aimd {
    struct aimd_options options;
    double delay_ns; /* a fraction, so that a factor near 1 makes a small delay grow too */
};

/* min 0, max 5 s, factor 2, step 50 ms. */
void aimd_options_init(struct aimd_options *o);
/* The message calls the fields as users do: max_dispatch_delay_ms, backoff_multiplier, ... */
WEIR_MUST_CHECK enum weir_status aimd_options_check(const struct aimd_options *o,
                                                    struct weir_error *err);

/* Options must have been checked. */
void aimd_init(struct aimd *a, const struct aimd_options *o);
/* Returns the delay that is in force now. */
duration_ns aimd_refused(struct aimd *a);
void aimd_accepted(struct aimd *a);
duration_ns aimd_delay(const struct aimd *a);

#endif
