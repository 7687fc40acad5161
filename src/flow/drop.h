/*
 * Has the capacity fallen, or was this refusal a stray one?
 *
 *     if (drop_refused(&d, number, others_between)) cut by drop_share(&d, number);
 *
 * A cumulative sum (Page, 1954): each refusal adds 1, each dispatch between two refusals takes
 * DROP_ALLOWED away, never below 0. At DROP_LIMIT the capacity has fallen. So two refusals with at
 * most one dispatch between them are a drop, and one in nine dispatches never is.
 *
 * Numbers are those of dispatches, so the order in which their answers arrive changes nothing but the
 * moment: a refusal that is older than the last one has none between.
 *
 * Pure.
 */
#ifndef FLOW_DROP_H
#define FLOW_DROP_H

#include <stdbool.h>
#include <stdint.h>

#define DROP_ALLOWED 0.12
#define DROP_LIMIT   1.8

struct drop {
    double sum;
    uint64_t last;     /* number of the last refused dispatch that counted */
    uint64_t since;    /* of the first one of this episode */
    uint64_t refusals; /* of this episode */
};

void drop_init(struct drop *d);
/* A dispatch was refused, and it was no trial. True: the capacity fell. */
bool drop_refused(struct drop *d, uint64_t number);
/* Dispatches between that refusal and the last one that counted, before drop_refused(). */
uint64_t drop_between(const struct drop *d, uint64_t number);
/* The share of the episode's dispatches that was taken, at least a half. */
double drop_share(const struct drop *d, uint64_t number);
/* What was refused so far is dealt with. */
void drop_reset(struct drop *d);

#endif
