/*
 * Ranges of numbers that an answer tells: [[4711,4810],[4900,4900]], each from and to, both
 * included, in the order in which they were added.
 *
 * Owner: the caller, on one thread at a time; all zero is empty. ranges_free() at the end.
 */
#ifndef SERVE_API_RANGES_H
#define SERVE_API_RANGES_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More ranges are not told. */
#define RANGES_MAX 50000

struct range {
    uint64_t first, last;
};

struct ranges {
    struct range *of;
    size_t count, cap;
    bool cut; /* there are more: over RANGES_MAX, or no memory */
};

/* From first to last, both included. */
void ranges_add(struct ranges *r, uint64_t first, uint64_t last);
/* Appends the first `max` of them as a JSON array. */
void ranges_put(struct buf *out, const struct ranges *r, size_t max);
void ranges_free(struct ranges *r);

#endif
