/*
 * The rates at which a service has settled before.
 *
 *     levels_remember(&l, rate);             // this rate was held for a while
 *     top = levels_highest(&l, low, high);   // the highest that came back, between these
 *
 * Capacity often moves between a few levels (5, 20, 5, 20 ...). A search that tries those first is
 * there in one step. Rates nearer than 8 % are one level; a level counts from the second time on.
 *
 * Pure; the LEVELS_MAX seen last are kept.
 */
#ifndef FLOW_LEVELS_H
#define FLOW_LEVELS_H

#include <stddef.h>
#include <stdint.h>

#define LEVELS_MAX 6

struct levels {
    struct {
        double rate_rps;
        uint32_t seen; /* times */
    } of[LEVELS_MAX];  /* the one seen last at the end */
    size_t count;
};

void levels_init(struct levels *l);
/* rate_rps > 0. */
void levels_remember(struct levels *l, double rate_rps);
/* The highest level that came back, above low and below high; 0: none. */
double levels_highest(const struct levels *l, double low_rps, double high_rps);
/* The highest that came at least three times; 0: none. */
double levels_top(const struct levels *l);
/* How often the level nearest to a rate was seen; 0: there is none. */
uint32_t levels_seen(const struct levels *l, double rate_rps);

#endif
