/*
 * A quota that nobody announced: so many requests in a window of 10 or 60 s.
 *
 *     period_accepted(&p, sent_at);                     // for each success
 *     if (period_outage_over(&p, began_at, now, slack_s, &rate_rps, &until)) ...
 *
 * A service with such a quota takes everything, then nothing until its window has moved on. To a
 * throttle that is an outage; but one that ends just when the first requests of the window leave it.
 * When that happens twice with the same count, it is a quota: its rate is the count through the window.
 *
 * Pure; counts by the second, of the last PERIOD_SECONDS.
 */
#ifndef FLOW_PERIOD_H
#define FLOW_PERIOD_H

#include "base/time.h"

#include <stdbool.h>
#include <stdint.h>

#define PERIOD_SECONDS 128

struct period {
    struct {
        int64_t second;
        uint32_t accepted;
    } bins[PERIOD_SECONDS]; /* [second % PERIOD_SECONDS] */
    double count;           /* of the last outage that ended with a window */
    double rate_rps;        /* of the quota; HUGE_VAL: none is known */
    struct instant until;   /* so long it is believed */
    uint32_t confirmed;
};

void period_init(struct period *p);
/* An accepted dispatch, by the moment it was sent. */
void period_accepted(struct period *p, struct instant sent_at);
/* An outage that began then is over now; probes may have been slack_s late to see it. True: it was the
 * quota again. */
bool period_outage_over(struct period *p, struct instant began_at, struct instant now,
                        double slack_s);
/* What the quota allows; HUGE_VAL: nothing is known, or no longer believed. */
double period_rate_rps(const struct period *p, struct instant now);

#endif
