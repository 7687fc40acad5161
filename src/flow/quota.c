/*
 * An announced quota. Dispatches are numbered by the units sent so far, so that the answer to one
 * of them tells both how new it is and how much was sent behind it.
 */
#include "flow/quota.h"

#include <assert.h>

duration_ns flow_jitter(duration_ns wait, struct rng *rng)
{
    duration_ns most = wait / 10;

    if (most > FLOW_JITTER_MAX_NS)
        most = FLOW_JITTER_MAX_NS;
    return most > 0 ? rng_range(rng, 0, most) : 0;
}

void quota_init(struct quota *q)
{
    *q = (struct quota){.until = INSTANT_NONE};
}

int64_t quota_take(struct quota *q, int64_t cost)
{
    assert(cost >= 0);
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
    q->left = told->remaining > behind ? told->remaining - behind : 0;
    q->until = instant_add(now, reset);
    q->until = instant_add(q->until, flow_jitter(reset, jitter));
}

struct instant quota_when(const struct quota *q, struct instant now, int64_t cost)
{
    /* Nothing left holds even a cost of 0: it may just be one that nobody guessed. */
    if (q->left > 0 && cost <= q->left)
        return now;
    return instant_max(q->until, now);
}

struct instant quota_held_until(const struct quota *q)
{
    return q->left > 0 ? INSTANT_NONE : q->until;
}
