/*
 * What a run looked like over time, in bounded memory: sums over equal spans of time, which get
 * wider as the run gets longer.
 *
 *     struct series s;
 *     series_init(&s, 100 * NS_PER_MS);
 *     series_add(&s, &slice)            // for each slice of time, one after the other
 *     series_fold(&s, 800);             // at most so many spans, for drawing
 *
 * When SERIES_SPANS_MAX spans are full, neighbours are joined and a span is twice as long: so a run
 * of a minute and one of a month take the same memory, and a plot of either has more points than it
 * has pixels. A slice belongs to the span in which it begins. Pure; one owner.
 */
#ifndef CLI_SIMULATE_SERIES_H
#define CLI_SIMULATE_SERIES_H

#include "base/time.h"

#include <stddef.h>
#include <stdint.h>

#define SERIES_SPANS_MAX 4096

/* Sums over a time. Divide by seconds for a mean; limited_s is the part of it in which there was a limit. */
struct series_span {
    double seconds;
    double capacity, capacity_limited_s; /* requests */
    double paced, paced_s;               /* requests that the throttle's rate would let pass */
    double window, window_s;             /* attempts x s that its window would hold */
    double accepted, refused;            /* requests */
    double in_flight;                    /* attempts x s */
};

struct series {
    duration_ns span_ns;
    duration_ns length_ns; /* of all that was added */
    size_t count;
    struct series_span spans[SERIES_SPANS_MAX];
};

/* span_ns > 0: of the first spans. */
void series_init(struct series *s, duration_ns span_ns);
/* What happened in the next length_ns. */
void series_add(struct series *s, duration_ns length_ns, const struct series_span *slice);
/* Joins neighbours until there are at most so many spans, >= 1. */
void series_fold(struct series *s, size_t spans);

#endif
