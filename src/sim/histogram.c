/* See histogram.h. */
#include "sim/histogram.h"

#include <assert.h>
#include <string.h>

#define PARTS_BITS 7 /* log2 of HISTOGRAM_PARTS */

/* Below 128 a value is its own bucket; from then on the highest eight bits choose it. */
static size_t bucket_of(uint64_t value)
{
    int shift;

    if (value < HISTOGRAM_PARTS)
        return (size_t)value;
    shift = 63 - __builtin_clzll(value) - PARTS_BITS;
    return (size_t)shift * HISTOGRAM_PARTS + (size_t)(value >> shift);
}

/* The middle of what falls into it. */
static duration_ns value_of(size_t bucket)
{
    size_t shift;
    uint64_t low;

    if (bucket < 2 * HISTOGRAM_PARTS)
        return (duration_ns)bucket;
    shift = bucket / HISTOGRAM_PARTS - 1;
    low = (uint64_t)(bucket - shift * HISTOGRAM_PARTS) << shift;
    return (duration_ns)(low + (UINT64_C(1) << shift) / 2);
}

void histogram_clear(struct histogram *h)
{
    memset(h, 0, sizeof *h);
    h->least_ns = INT64_MAX;
}

void histogram_add(struct histogram *h, duration_ns value)
{
    if (value < 0)
        value = 0;
    h->count++;
    h->sum_s += duration_seconds(value);
    if (value < h->least_ns)
        h->least_ns = value;
    if (value > h->most_ns)
        h->most_ns = value;
    h->buckets[bucket_of((uint64_t)value)]++;
}

duration_ns histogram_percentile_ns(const struct histogram *h, double share)
{
    uint64_t place = (uint64_t)(share * (double)h->count);
    uint64_t seen = 0;
    duration_ns value;

    assert(share >= 0);
    if (h->count == 0)
        return 0;
    if (place >= h->count)
        place = h->count - 1;
    for (size_t i = 0;; i++) {
        seen += h->buckets[i];
        if (seen > place) {
            value = value_of(i);
            break;
        }
    }
    if (value < h->least_ns)
        return h->least_ns;
    return value > h->most_ns ? h->most_ns : value;
}

double histogram_mean_s(const struct histogram *h)
{
    return h->count > 0 ? h->sum_s / (double)h->count : 0;
}
