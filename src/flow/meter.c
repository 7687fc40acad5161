/* See meter.h. */
#include "flow/meter.h"

#include <math.h>

#define SPAN_MIN_S 0.01

void meter_init(struct meter *m)
{
    *m = (struct meter){.since = INSTANT_NONE};
}

void meter_count(struct meter *m, struct instant now, double span_s)
{
    double passed_s;

    if (instant_is_none(m->since)) {
        m->since = now;
        m->span_s = fmax(SPAN_MIN_S, span_s);
        m->last_rps = 1 / m->span_s;
    }
    m->count++;
    passed_s = instant_seconds(now, m->since);
    if (passed_s < m->span_s)
        return;
    m->last_rps = (double)m->count / passed_s;
    m->since = now;
    m->count = 0;
    m->span_s = fmax(SPAN_MIN_S, span_s);
}

double meter_rps(const struct meter *m, struct instant now)
{
    double passed_s = instant_is_none(m->since) ? 0 : instant_seconds(now, m->since);

    if (passed_s < m->span_s / 2 || passed_s <= 0)
        return m->last_rps;
    return fmax(m->last_rps, (double)m->count / passed_s);
}
