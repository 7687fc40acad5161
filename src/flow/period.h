/*
 * A quota that nobody announced: so many requests in a window of 10 or 60 s.
 *
 *     period_accepted(&p, sent_at);                          // for each success
 *     period_outage_over(&p, began_at, now, slack_s)         // an outage has ended
 *     period_fell(&p, now, rate)                             // refusals came close together
 *     most = period_rate_rps(&p, now)                        // what the quota allows
 *
 * A service with such a quota takes everything, then nothing until its window has moved on. To a
 * throttle that is an outage; but one that ends just when the first requests of the window leave
 * it. Then the rate is the count through the window, and is not exceeded for some windows. After
 * that more is tried; when that soon fails, it was the quota again, which is believed for twice as
 * long.
 *
 * Pure; of fixed size: counts by the second, of the last PERIOD_SECONDS.
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
    double rate_rps;        /* of the quota; HUGE_VAL: none is known */
    double window_s;
    uint32_t counts[2];   /* of each kind of window, when an outage last ended as it does */
    double belief_s;      /* how long it was believed the last time */
    struct instant until; /* it is believed until then */
};

void period_init(struct period *p);
/* An accepted dispatch, by the moment it was sent. */
void period_accepted(struct period *p, struct instant sent_at);
void period_accepted_many(struct period *p, struct instant sent_at, uint32_t count);
/* An outage that began then is over now; probes may have been slack_s late to see it. True: it ended as
 * a window does. */
bool period_outage_over(struct period *p, struct instant began_at, struct instant now,
                        double slack_s);
/* Refusals came close together at that rate. True: that is the quota, for more than it has been tried again
 * lately. */
bool period_fell(struct period *p, struct instant now, double rate_rps);
/* What the quota allows; HUGE_VAL: nothing is known, or no longer believed. */
double period_rate_rps(const struct period *p, struct instant now);

#endif
