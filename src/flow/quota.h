/*
 * A quota as the service announces it: limit, remaining, time to reset.
 *
 *     quota_init(&q);
 *     mark = quota_take(&q, now, cost);                          // with each dispatch
 *     quota_told(&q, now, mark, &advice->requests, ceiling, &rng);   // with its answer
 *     if (instant_before(now, quota_when(&q, now, cost))) ... come back then
 *
 * It is a cap, never a floor: of what an answer says is left, at most that is dispatched until the
 * reset, and it is spent evenly over that time, a little faster while much is left; but nothing is
 * sent faster than else because much is left. Three traps, and what is done about them:
 *
 * - An answer speaks of the moment its request arrived. What was dispatched behind that request is
 *   not in its figure yet, so it is subtracted here; that is what the mark is for. And of two
 *   answers the one whose request was sent later is believed, in whichever order they arrive.
 * - A figure that is never refreshed would pin the rate: when its reset has passed, one dispatch
 *   goes at once, to hear more, and others spend the limit evenly over a minute (where a window
 *   slides, only a part of it is whole again; where it is one of a second, the answer will say so);
 *   QUOTA_BELIEF_NS later nothing is known and nothing is capped. Nor is a reset believed beyond
 *   `ceiling`.
 * - Garbage (a part is missing or negative, more is left than the limit, limit 0) is ignored.
 *
 * Pure; one owner, one thread; every call is O(1).
 */
#ifndef FLOW_QUOTA_H
#define FLOW_QUOTA_H

#include "base/rng.h"
#include "base/time.h"
#include "flow/advice.h"

#include <stdint.h>

#define QUOTA_BELIEF_NS (60 * NS_PER_S)

struct quota {
    int64_t sent;         /* units dispatched, ever */
    int64_t heard;        /* the mark of the newest request whose answer was believed */
    int64_t limit;        /* 0: not told */
    int64_t left;         /* units that may still go before `until` */
    struct instant until; /* INSTANT_NONE: nothing is known */
    struct instant last;  /* of the last dispatch */
};

void quota_init(struct quota *q);
/* cost >= 0. Returns the mark to hand to quota_told() with the answer to this dispatch. */
int64_t quota_take(struct quota *q, struct instant now, int64_t cost);
/* The cap is lifted at the reset plus flow_jitter() of it, at most `ceiling` plus that from now. */
void quota_told(struct quota *q, struct instant now, int64_t mark, const struct flow_quota *told,
                duration_ns ceiling, struct rng *jitter);
/* The earliest instant for that cost, not before `now`. */
struct instant quota_when(const struct quota *q, struct instant now, int64_t cost);
/* Until when nothing at all may go; INSTANT_NONE: something may. May lie in the past. */
struct instant quota_held_until(const struct quota *q);

/* What is added above a wait that a service asks for, so that its clients do not all return at the
 * same moment: by chance up to 10 % of it, and up to FLOW_JITTER_MAX_NS. */
#define FLOW_JITTER_MAX_NS (500 * NS_PER_MS)
duration_ns flow_jitter(duration_ns wait, struct rng *rng);

#endif
