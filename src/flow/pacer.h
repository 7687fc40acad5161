/*
 * The least time between two dispatches.
 *
 *     pacer_init(&p, gap_ns);
 *     if (instant_before(now, pacer_when(&p))) ... come back then
 *     pacer_take(&p, now);
 *
 * The gap counts from the dispatch that was really made, not from when it could have been: time in
 * which nothing went out is not saved up, so there is no burst at the start, after idling, or after
 * a stall. A gap of 0 never holds anything back. Pure; one owner, one thread.
 */
#ifndef FLOW_PACER_H
#define FLOW_PACER_H

#include "base/time.h"

struct pacer {
    duration_ns gap_ns;
    struct instant next; /* INSTANT_NONE before the first dispatch */
};

/* gap >= 0. */
void pacer_init(struct pacer *p, duration_ns gap_ns);
/* Another gap, from the last dispatch on. */
void pacer_set_gap(struct pacer *p, duration_ns gap_ns);
/* The gap that keeps to a rate, rounded up so that the rate is never passed; 0 for rate 0. */
duration_ns pacer_gap_of_rate(double per_s);
/* The earliest instant for the next dispatch. */
struct instant pacer_when(const struct pacer *p);
/* A dispatch is made now; pacer_when() has allowed it (asserted). */
void pacer_take(struct pacer *p, struct instant now);

#endif
