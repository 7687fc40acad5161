/*
 * Has the capacity fallen, or was this refusal a stray one?
 *
 *     if (drop_refused(&d, number)) cut to drop_share(&d) of the rate, and drop_reset(&d)
 *
 * A cumulative sum (Page, 1954) over the refused dispatches in the order of sending: each adds 1,
 * each dispatch between two of them takes DROP_ALLOWED away, never below 0. At DROP_LIMIT the
 * capacity has fallen. So two refusals with at most one dispatch between them are a drop, and one
 * in nine never is.
 *
 * The last DROP_KEPT refusals are kept by number, so the order in which they arrive changes no
 * verdict.
 *
 * Pure.
 */
#ifndef FLOW_DROP_H
#define FLOW_DROP_H

#include <stdbool.h>
#include <stdint.h>

#define DROP_ALLOWED 0.12
#define DROP_LIMIT   1.8
#define DROP_KEPT    8

struct drop {
    uint64_t refused[DROP_KEPT]; /* numbers of dispatches, ascending */
    uint32_t count;
    uint64_t before; /* the last one refused before the last reset */
};

void drop_init(struct drop *d);
/* A dispatch was refused, and it was no trial. True: the capacity fell. */
bool drop_refused(struct drop *d, uint64_t number);
/* Dispatches between that one and the last refused before it. */
uint64_t drop_between(const struct drop *d, uint64_t number);
/* The share of the dispatches that was taken, since refusals have come close together; a half at least. */
double drop_share(const struct drop *d);
/* What was refused so far is dealt with. */
void drop_reset(struct drop *d);

#endif
