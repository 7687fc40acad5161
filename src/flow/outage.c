/* See outage.h. */
#include "flow/outage.h"

#include <math.h>

#define REFUSALS_IN_A_ROW 6
#define LASTS_S           0.25
#define INTERVAL_START_S  0.25
#define INTERVAL_FACTOR   1.5

void outage_init(struct outage *o)
{
    *o = (struct outage){0};
}

bool outage_refused(struct outage *o, uint64_t number, struct instant now)
{
    if (number > o->last_refused) {
        bool in_a_row = o->refused_in_a_row > 0 && number == o->last_refused + 1;

        o->refused_in_a_row = in_a_row ? o->refused_in_a_row + 1 : 1;
        if (!in_a_row)
            o->row_since = now;
        o->last_refused = number;
    }
    return o->refused_in_a_row >= REFUSALS_IN_A_ROW &&
           instant_seconds(now, o->row_since) >= LASTS_S;
}

void outage_begin(struct outage *o, struct instant now)
{
    o->began_at = now;
    o->interval_s = INTERVAL_START_S;
    o->probe = 0;
    o->probe_at = instant_after(now, INTERVAL_START_S);
}

struct instant outage_when(const struct outage *o, struct instant now)
{
    if (o->probe == 0)
        return instant_max(now, o->probe_at);
    return INSTANT_NEVER;
}

void outage_probe_sent(struct outage *o, uint64_t number, struct instant now, double verdict_s)
{
    o->probe = number;
    o->probe_due = instant_after(now, verdict_s);
}

static void next_probe(struct outage *o, struct instant now, struct rng *rng)
{
    double by_chance = 1 - OUTAGE_JITTER + 2 * OUTAGE_JITTER * rng_unit(rng);

    o->probe = 0;
    o->probe_at = instant_after(now, o->interval_s * by_chance);
}

void outage_probe_refused(struct outage *o, uint64_t number, struct instant now, struct rng *rng)
{
    if (number > o->last_refused)
        o->last_refused = number;
    if (number != o->probe)
        return;
    o->interval_s = fmin(OUTAGE_INTERVAL_MAX_S, o->interval_s * INTERVAL_FACTOR);
    next_probe(o, now, rng);
}

void outage_probe_lost(struct outage *o, uint64_t number, struct instant now, struct rng *rng)
{
    if (number == o->probe)
        next_probe(o, now, rng);
}

void outage_end(struct outage *o)
{
    o->probe = 0;
    o->refused_in_a_row = 0;
}
