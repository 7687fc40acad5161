/*
 * A budget per minute under two rules at once; budget.h says which and why.
 *
 * Rule 1, the bucket, is kept as the instant at which it will be full again: a dispatch may go
 * while that is no further off than the bucket's depth. Rule 2, the window, is a ring of slots
 * numbered from the clock's start. It moves on only with a dispatch, so that asking changes
 * nothing; until then budget_when() steps over the slots that are too old.
 */
#include "flow/budget.h"

#include <assert.h>
#include <string.h>

static int64_t slot_of(struct instant t)
{
    /* Rounded down, for instants before the clock's start too. */
    return t.ns / BUDGET_SLOT_NS - (t.ns % BUDGET_SLOT_NS < 0);
}

static struct instant slot_start(int64_t slot)
{
    return (struct instant){slot * BUDGET_SLOT_NS};
}

static int slot_index(int64_t slot)
{
    int i = (int)(slot % BUDGET_SLOTS);

    return i < 0 ? i + BUDGET_SLOTS : i;
}

static int64_t slot_oldest(const struct budget *b)
{
    return b->newest_slot - (BUDGET_SLOTS - 1);
}

/* The time in which the bucket fills by that many units, rounded up; at most the window for a cost
 * within the limit. */
static duration_ns fill_ns(const struct budget *b, int64_t cost)
{
    __int128 product = (__int128)cost * BUDGET_WINDOW_NS;

    return (duration_ns)((product + b->limit - 1) / b->limit);
}

void budget_init(struct budget *b, int64_t limit)
{
    assert(limit >= 0 && limit <= BUDGET_LIMIT_MAX);
    /* The newest slot lies before all that occur, and far enough from the end of the range that a
     * difference of slots cannot overflow. */
    *b = (struct budget){.limit = limit, .full_at = INSTANT_NONE, .newest_slot = INT64_MIN / 2};
}

void budget_set_limit(struct budget *b, int64_t limit)
{
    if (b->limit == 0 || limit == 0)
        budget_init(b, limit);
    b->limit = limit;
}

bool budget_fits(const struct budget *b, int64_t cost)
{
    assert(cost >= 0);
    return b->limit == 0 || cost <= b->limit;
}

/* Rule 2: when enough of what was taken has left the window. */
static struct instant window_when(const struct budget *b, struct instant now, int64_t cost)
{
    int64_t left = b->total;
    int64_t slot = slot_oldest(b);
    int64_t free_slot;

    for (; left > 0 && left + cost > b->limit; slot++)
        left -= b->used[slot_index(slot)];
    /* The slots before `slot` must go: that is, from then on `slot` is the oldest. */
    free_slot = slot + (BUDGET_SLOTS - 1);
    return free_slot > slot_of(now) ? slot_start(free_slot) : now;
}

struct instant budget_when(const struct budget *b, struct instant now, int64_t cost)
{
    struct instant when;

    if (b->limit == 0)
        return now;
    if (!budget_fits(b, cost))
        return INSTANT_NEVER;
    when = instant_add(b->full_at, -BUDGET_DEPTH_NS);
    if (b->total > 0 && b->total + cost > b->limit)
        when = instant_max(when, window_when(b, now, cost));
    return instant_max(when, now);
}

/* Lets go of the slots that have left the window at `now`. */
static void window_move(struct budget *b, struct instant now)
{
    int64_t slot = slot_of(now);

    if (slot - b->newest_slot >= BUDGET_SLOTS) {
        memset(b->used, 0, sizeof(b->used));
        b->total = 0;
        b->newest_slot = slot;
    }
    while (b->newest_slot < slot) {
        int i = slot_index(++b->newest_slot);

        b->total -= b->used[i];
        b->used[i] = 0;
    }
}

void budget_take(struct budget *b, struct instant now, int64_t cost)
{
    if (b->limit == 0)
        return;
    assert(budget_when(b, now, cost).ns == now.ns);
    if (instant_is_none(b->full_at)) /* it starts empty */
        b->full_at = instant_add(now, BUDGET_DEPTH_NS);
    b->full_at = instant_add(instant_max(b->full_at, now), fill_ns(b, cost));
    window_move(b, now);
    b->used[slot_index(slot_of(now))] += cost;
    b->total += cost;
}

void budget_settle(struct budget *b, struct instant taken_at, int64_t estimated, int64_t used)
{
    int64_t slot = slot_of(taken_at);
    int64_t change;
    int i;

    assert(estimated >= 0);
    if (b->limit == 0 || used < 0 || slot < slot_oldest(b) || slot > b->newest_slot)
        return;
    /* One row of the whole limit blocks the window until it leaves; more than that says no more. */
    if (used > b->limit)
        used = b->limit;
    change = used - estimated;
    i = slot_index(slot);
    if (change < -b->used[i])
        change = -b->used[i];
    b->used[i] += change;
    b->total += change;
    if (change < 0) {
        b->full_at = instant_add(b->full_at, -fill_ns(b, -change));
    } else {
        /* Debt is paid within a window: beyond that rule 2 alone says when. */
        struct instant latest = instant_add(taken_at, BUDGET_WINDOW_NS);

        latest = instant_max(latest, b->full_at);
        b->full_at = instant_min(instant_add(b->full_at, fill_ns(b, change)), latest);
    }
}
