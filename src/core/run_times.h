/*
 * How long attempts have run: the median of the last RUN_TIMES_KEPT times.
 *
 *     run_times_init(&times);
 *     run_times_add(&times, ran_ns);
 *     if (run_times_known(&times)) limit = run_times_median(&times) * 2;
 *
 * Exact over a window, so that a pool whose work changes is followed. Adding is a move of some
 * hundred bytes; only pools that limit by the median do it. Pure, fixed size.
 */
#ifndef CORE_RUN_TIMES_H
#define CORE_RUN_TIMES_H

#include "base/time.h"

#include <stdbool.h>
#include <stddef.h>

/* So many are kept; an odd number, so that one is in the middle. */
#define RUN_TIMES_KEPT 101
/* With fewer nothing is known yet. */
#define RUN_TIMES_MIN 5

struct run_times {
    duration_ns in_order[RUN_TIMES_KEPT]; /* the least first */
    duration_ns came[RUN_TIMES_KEPT];     /* a ring, in the order in which they came */
    size_t count, next;
};

void run_times_init(struct run_times *r);
void run_times_add(struct run_times *r, duration_ns ran);
bool run_times_known(const struct run_times *r);
/* The one in the middle (the lesser of two). At least one was added (asserted). */
duration_ns run_times_median(const struct run_times *r);

#endif
