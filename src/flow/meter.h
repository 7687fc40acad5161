/*
 * How many successes a second there are now.
 *
 *     meter_count(&m, now, span_s);    // for each success; the span is about a round trip
 *     rate = meter_rps(&m, now)
 *
 * Counts over one span after the other; the rate is the higher of the last whole span's and the
 * running one's, once half of it has passed. Pure.
 */
#ifndef FLOW_METER_H
#define FLOW_METER_H

#include "base/time.h"

#include <stdint.h>

struct meter {
    struct instant since; /* the running span; NONE: nothing was counted yet */
    uint64_t count;
    double span_s;
    double last_rps;
};

void meter_init(struct meter *m);
void meter_count(struct meter *m, struct instant now, double span_s);
/* So many more, at the moment of the next one that is counted. */
static inline void meter_count_many(struct meter *m, uint64_t count)
{
    m->count += count;
}
double meter_rps(const struct meter *m, struct instant now);

#endif
