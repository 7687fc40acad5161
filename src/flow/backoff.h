/*
 * How long a row waits before its next attempt, after a failure that another attempt may cure.
 *
 *     backoff_options_init(&o);
 *     row->wait = backoff_wait(&o, row->attempts, row->wait, &rng);
 *
 * With b the initial wait, n the failures so far (1 after the first) and c the ceiling:
 *
 *     linear         b * n                              1 2 3 4 5
 *     exponential    b * factor ^ (n - 1)               1 2 4 8 16
 *     fibonacci      b * fibonacci(n)                   1 1 2 3 5
 *     decorrelated   by chance b .. 3 * the last wait   (it is its own jitter)
 *
 * each at most c; and then, but for decorrelated, by chance between (1 - jitter) of it and all of
 * it. Pure: the row keeps the two numbers, nothing is kept here.
 */
#ifndef FLOW_BACKOFF_H
#define FLOW_BACKOFF_H

#include "base/rng.h"
#include "base/time.h"
#include "weir/status.h"

#include <stdbool.h>

enum backoff_kind {
    BACKOFF_LINEAR,
    BACKOFF_EXPONENTIAL,
    BACKOFF_FIBONACCI,
    BACKOFF_DECORRELATED,
    BACKOFF_KINDS
};

struct backoff_options {
    enum backoff_kind kind;
    duration_ns initial_ns; /* > 0 */
    double factor;          /* >= 1, finite; exponential only */
    duration_ns ceiling_ns; /* >= initial */
    double jitter;          /* 0 to 1: the share of a wait that is left to chance */
};

/* "linear", "exponential", "fibonacci", "decorrelated"; "unknown" for any other value. */
const char *backoff_kind_name(enum backoff_kind kind);
/* False: no such kind, and *ret is untouched. */
bool backoff_kind_from_name(const char *name, enum backoff_kind *ret);

/* Exponential: 0.5 s, factor 2, at most 30 s, jitter 0.5 (the upper half of each wait). */
void backoff_options_init(struct backoff_options *o);
WEIR_MUST_CHECK enum weir_status backoff_options_check(const struct backoff_options *o,
                                                       struct weir_error *err);

/* failures >= 1; last_ns is what the call before returned for this row, 0 at first. Options must
 * have been checked. 0 <= result <= ceiling. */
duration_ns backoff_wait(const struct backoff_options *o, unsigned failures, duration_ns last_ns,
                         struct rng *rng);

#endif
