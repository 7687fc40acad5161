/*
 * Percentiles of durations in fixed memory, at most 1 % off (in truth 0.4 %), however many there
 * are.
 *
 *     histogram_clear(&h);
 *     histogram_add(&h, instant_diff(end, start));
 *     histogram_percentile_ns(&h, 0.99)
 *
 * Buckets that grow with the value, as in HdrHistogram: each power of two is cut into 128. Pure.
 */
#ifndef SIM_HISTOGRAM_H
#define SIM_HISTOGRAM_H

#include "base/time.h"

#include <stdint.h>

#define HISTOGRAM_PARTS   128
#define HISTOGRAM_BUCKETS (HISTOGRAM_PARTS * (63 - 7 + 1))

struct histogram {
    uint64_t count;
    double sum_s;
    duration_ns least_ns, most_ns; /* exact */
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_clear(struct histogram *h);
/* What is below 0 counts as 0. */
void histogram_add(struct histogram *h, duration_ns value);
/* The value that stands at place floor(share x count), counted from 0, of all in order; 0: there is none. */
duration_ns histogram_percentile_ns(const struct histogram *h, double share);
double histogram_mean_s(const struct histogram *h);

#endif
