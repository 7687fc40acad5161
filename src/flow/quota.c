/*
 * An announced quota. Dispatches are numbered by the units sent so far, so that the answer to one
 * of them tells both how new it is and how much was sent behind it.
 */
#include "flow/quota.h"

#include <assert.h>
#include <math.h>

#define MINUTE_S 60.0
/* A full quota is spent so many times faster on top of evenly: small batches need not be slow. */
#define FRONT_LOAD 3.0

duration_ns flow_jitter(duration_ns wait, struct rng *rng)
{
    duration_ns most = wait / 10;

    if (most > FLOW_JITTER_MAX_NS)
        most = FLOW_JITTER_MAX_NS;
    return most > 0 ? rng_range(rng, 0, most) : 0;
}

void quota_init(struct quota *q)
{
    *q = (struct quota){.until = INSTANT_NONE, .last = INSTANT_NONE};
}

int64_t quota_take(struct quota *q, struct instant now, int64_t cost)
{
    assert(cost >= 0);
    q->last = now;
    q->sent += cost;
    q->left = q->left > cost ? q->left - cost : 0;
    return q->sent;
}

static bool told_is_usable(const struct flow_quota *told)
{
    if (told->remaining < 0 || told->reset_ns < 0)
        return false;
    /* The limit itself need not be told. */
    return told->limit == -1 || (told->limit > 0 && told->remaining <= told->limit);
}

void quota_told(struct quota *q, struct instant now, int64_t mark, const struct flow_quota *told,
                duration_ns ceiling, struct rng *jitter)
{
    duration_ns reset = told->reset_ns < ceiling ? told->reset_ns : ceiling;
    int64_t behind = q->sent - mark; /* dispatched after the request that this answers */

    assert(behind >= 0);
    if (!told_is_usable(told) || mark < q->heard)
        return;
    q->heard = mark;
    q->limit = told->limit > 0 ? told->limit : 0;
    q->left = told->remaining > behind ? told->remaining - behind : 0;
    q->until = instant_add(now, reset);
    q->until = instant_add(q->until, flow_jitter(reset, jitter));
}

/* Units a second that may go, so that what is left lasts until the reset. */
static double spending_rps(const struct quota *q)
{
    double to_reset_s = fmax(instant_seconds(q->until, q->last), 1e-9);
    double limit = (double)q->limit;
    double even = (double)q->left / to_reset_s;

    if (limit <= 0)
        return even;
    /* The announced limits of HTTP services are mostly by the minute, and mostly refill all the time: then
     * this much comes back, whatever is left. */
    return fmax(even * (1 + FRONT_LOAD * (double)q->left / limit),
                limit / fmax(MINUTE_S, to_reset_s));
}

/* When that many units may go once the reset has passed: the first at once, others at the pace of the limit, until
 * that is too old. */
static struct instant after_reset(const struct quota *q, double units)
{
    struct instant when = q->until;

    if (q->limit > 0 && !instant_before(q->last, q->until))
        when = instant_max(when, instant_after(q->last, units * MINUTE_S / (double)q->limit));
    return instant_min(when, instant_add(q->until, QUOTA_BELIEF_NS));
}

/* The same whenever it is asked, but for `now`: so what was said holds when its time has come. */
struct instant quota_when(const struct quota *q, struct instant now, int64_t cost)
{
    double units = cost > 0 ? (double)cost : 1;
    struct instant when;

    if (instant_is_none(q->until))
        return now;
    /* Nothing left holds even a cost of 0: it may just be one that nobody guessed. */
    if (q->left > 0 && cost <= q->left) {
        when = instant_after(q->last, units / spending_rps(q));
        if (instant_before(when, q->until))
            return instant_max(now, when);
    }
    return instant_max(now, after_reset(q, units));
}

struct instant quota_held_until(const struct quota *q)
{
    return q->left > 0 ? INSTANT_NONE : q->until;
}
