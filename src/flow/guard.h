/*
 * The latency guard: fewer in flight where more of them only wait longer.
 *
 *     guard_sent(&g, in_flight);
 *     guard_accepted(&g, now, number, last_number, took_s);
 *     if (in_flight < g.window) ...
 *
 * A service with a queue refuses nothing until its queue is full; each request in it only makes all
 * of them late. So when the mean latency is beyond GUARD_TOLERANCE times its base, the window
 * shrinks in proportion, down to GUARD_WINDOW_MIN; below it, and used, it grows.
 *
 * The base is the latency with little in flight. It is measured anew from time to time, on requests
 * that were sent at half the window; by the order of sending, for those that come back first are
 * the quick ones. When the latency does not fall with the window, it is not our queue, and the base
 * is what it is now.
 *
 * Pure; of fixed size; every call is O(1).
 */
#ifndef FLOW_GUARD_H
#define FLOW_GUARD_H

#include "base/time.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUARD_WINDOW_START 64.0
#define GUARD_WINDOW_MIN   4.0
#define GUARD_TOLERANCE    2.0

enum guard_verdict { GUARD_STAYS, GUARD_SHRANK, GUARD_GREW };

struct guard {
    double window;
    double base_s; /* HUGE_VAL: not known yet */
    /* the samples that are being collected */
    double sum_s;
    uint32_t samples;
    uint32_t in_flight_max;
    struct instant since;
    /* a shrink whose effect is awaited: what was before it */
    double shrunk_from; /* 0: none */
    double shrunk_at_s;
    uint32_t deep;
    /* the base being measured anew */
    uint64_t measure_first; /* number of the first dispatch that counts; 0: not being measured */
    double measure_sum_s;
    uint32_t measures; /* so many are measured */
    uint32_t measured; /* so far */
    double window_saved;
    struct instant measured_at;
};

void guard_init(struct guard *g);
static inline void guard_sent(struct guard *g, size_t in_flight)
{
    if (in_flight >= g->in_flight_max)
        g->in_flight_max = (uint32_t)(in_flight < UINT32_MAX ? in_flight + 1 : UINT32_MAX);
}
/* A success took so long; sent: number of the last dispatch. True: a round of samples is complete. */
bool guard_accepted(struct guard *g, struct instant now, uint64_t number, uint64_t sent,
                    double took_s);
/* A refusal: what is refused is quick, and spoils a measurement. */
void guard_refused(struct guard *g, uint64_t number);
/* Whether the window is smaller than what it started with. */
static inline bool guard_limits(const struct guard *g)
{
    return g->window < GUARD_WINDOW_START;
}

#endif
