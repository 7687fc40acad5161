/*
 * A budget per minute, of requests or of tokens.
 *
 *     budget_init(&b, 90000);
 *     if (!budget_fits(&b, cost)) ... larger than the whole budget: it could never go
 *     if (instant_before(now, budget_when(&b, now, cost))) ... come back then
 *     budget_take(&b, now, cost);
 *     budget_settle(&b, taken_at, cost, used);       // once the real cost is known
 *
 * Two rules hold at once.
 *
 * 1. Evenly spent: a bucket that fills at limit / 60 s and holds one second's worth spaces the
 *    dispatches. A dispatch may take it into debt, so that small rows do not starve a large one.
 *    It starts empty: no burst at the start.
 * 2. Never over: in no interval of 60 s, wherever it begins, its ends included, is more than the
 *    limit taken (P3). What was taken is counted in slots of 100 ms, and a slot is let go only when
 *    all of it is older than 60 s; this costs at most 0.17 % of the budget.
 *
 * Settling corrects both where the estimate was taken. It can raise the count above the limit: the
 * next dispatch then waits until enough has left the window. Fixed size (5 kB); a call costs one
 * walk through the slots at the worst. Pure; one owner, one thread; `now` never goes back.
 */
#ifndef FLOW_BUDGET_H
#define FLOW_BUDGET_H

#include "base/time.h"

#include <stdbool.h>
#include <stdint.h>

#define BUDGET_WINDOW_NS (60 * NS_PER_S)
#define BUDGET_SLOT_NS   (100 * NS_PER_MS)
/* The window's slots, and the one that `now` is in. */
#define BUDGET_SLOTS ((int)(BUDGET_WINDOW_NS / BUDGET_SLOT_NS) + 1)
/* What the bucket of rule 1 holds, as the time it takes to fill. */
#define BUDGET_DEPTH_NS NS_PER_S
/* The largest limit; sums of many rows of that size still fit. */
#define BUDGET_LIMIT_MAX INT64_C(1000000000000)

struct budget {
    int64_t limit;              /* per window; 0: no limit */
    struct instant full_at;     /* rule 1: when the bucket will be full; NONE before the first */
    int64_t newest_slot;        /* rule 2: number of the newest slot that is counted */
    int64_t total;              /* sum of used[] */
    int64_t used[BUDGET_SLOTS]; /* of slot number n at n modulo BUDGET_SLOTS; none negative */
};

/* 0 <= limit <= BUDGET_LIMIT_MAX; 0: nothing is ever held back. */
void budget_init(struct budget *b, int64_t limit);
/* Another limit: what was taken under the old one counts, unless that was none. */
void budget_set_limit(struct budget *b, int64_t limit);
/* Costs are >= 0 (asserted). */
bool budget_fits(const struct budget *b, int64_t cost);
/* The earliest instant for that cost, not before `now`; INSTANT_NEVER if it does not fit. */
struct instant budget_when(const struct budget *b, struct instant now, int64_t cost);
/* budget_when() has allowed it (asserted). */
void budget_take(struct budget *b, struct instant now, int64_t cost);
/* used < 0: not told, nothing changes. Harmless after the window has passed. */
void budget_settle(struct budget *b, struct instant taken_at, int64_t estimated, int64_t used);

#endif
