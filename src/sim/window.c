/* See window.h. */
#include "sim/window.h"

#include "base/mem.h"

#include <assert.h>
#include <math.h>

/* A unit may be short by what rounding takes; without this a bucket that is due now would not be. */
#define UNIT_SLACK 1e-9

bool sim_window_init(struct sim_window *w, enum sim_window_kind kind, int64_t limit,
                     duration_ns depth_ns, struct instant start)
{
    struct sim_window fresh = {.kind = kind, .limit = limit, .start = start, .last = start};

    assert(limit > 0);
    if (kind == SIM_WINDOW_BUCKET) {
        fresh.depth = fmax(1, (double)limit / 60 * duration_seconds(depth_ns));
        fresh.level = fresh.depth;
    }
    if (kind == SIM_WINDOW_SLIDING) {
        bool exact = limit <= SIM_WINDOW_LOG_MAX;

        fresh.grain_ns = exact ? 0 : SIM_WINDOW_NS / SIM_WINDOW_LOG_MAX;
        /* Both ends of the window may lie within a grain: one more each. */
        fresh.log_cap = exact ? (size_t)limit : SIM_WINDOW_LOG_MAX + 2;
        fresh.log = mem_calloc(fresh.log_cap, sizeof *fresh.log);
        if (!fresh.log)
            return false;
    }
    *w = fresh;
    return true;
}

static struct sim_window_entry *entry(const struct sim_window *w, size_t i)
{
    return &w->log[(w->head + i) % w->log_cap];
}

static void advance(struct sim_window *w, struct instant now)
{
    duration_ns since_start = instant_diff(now, w->start);

    switch (w->kind) {
    case SIM_WINDOW_SLIDING:
        while (w->len > 0 && instant_diff(now, entry(w, 0)->at) >= SIM_WINDOW_NS) {
            w->used -= entry(w, 0)->units;
            w->head = (w->head + 1) % w->log_cap;
            w->len--;
        }
        break;
    case SIM_WINDOW_FIXED:
        if (since_start / SIM_WINDOW_NS != w->turn) {
            w->turn = since_start / SIM_WINDOW_NS;
            w->used = 0;
        }
        break;
    case SIM_WINDOW_BUCKET:
        w->level += duration_seconds(instant_diff(now, w->last)) * (double)w->limit / 60;
        w->level = fmin(w->level, w->depth);
        break;
    }
    w->last = now;
}

/* Until enough of the oldest entries have left. */
static duration_ns sliding_wait(const struct sim_window *w, struct instant now, int64_t units)
{
    int64_t used = w->used;

    for (size_t i = 0; i < w->len; i++) {
        used -= entry(w, i)->units;
        if (units <= w->limit - used)
            return instant_diff(instant_add(entry(w, i)->at, SIM_WINDOW_NS), now);
    }
    return INT64_MAX;
}

static duration_ns until_turn_ends(const struct sim_window *w, struct instant now)
{
    return SIM_WINDOW_NS - instant_diff(now, w->start) % SIM_WINDOW_NS;
}

/* Rounded up, so that after the wait it is there. */
static duration_ns bucket_wait(const struct sim_window *w, double level)
{
    return duration_from_seconds((level - w->level) * 60 / (double)w->limit) + 1;
}

duration_ns sim_window_wait(struct sim_window *w, struct instant now, int64_t units)
{
    double want;

    advance(w, now);
    if (w->kind == SIM_WINDOW_BUCKET) {
        want = fmin((double)units, w->depth);
        return w->level + UNIT_SLACK >= want ? 0 : bucket_wait(w, want);
    }
    if (units <= w->limit - w->used)
        return 0;
    if (units > w->limit)
        return INT64_MAX;
    return w->kind == SIM_WINDOW_FIXED ? until_turn_ends(w, now) : sliding_wait(w, now, units);
}

static void log_put(struct sim_window *w, struct instant now, int64_t units)
{
    struct sim_window_entry *last = w->len > 0 ? entry(w, w->len - 1) : NULL;

    if (last && w->grain_ns > 0 && instant_diff(now, last->at) < w->grain_ns) {
        last->units += units;
        return;
    }
    /* In an exact log each entry is a unit at least, so there are no more of them than units. */
    assert(w->len < w->log_cap);
    w->len++;
    *entry(w, w->len - 1) = (struct sim_window_entry){now, units};
}

void sim_window_take(struct sim_window *w, struct instant now, int64_t units)
{
    assert(sim_window_wait(w, now, units) == 0);
    assert(units > 0);
    if (w->kind == SIM_WINDOW_BUCKET) {
        w->level = fmax(0, w->level - (double)units);
        return;
    }
    w->used += units;
    if (w->kind == SIM_WINDOW_SLIDING)
        log_put(w, now, units);
}

struct flow_quota sim_window_told(struct sim_window *w, struct instant now)
{
    struct flow_quota told = {.limit = w->limit, .reset_ns = 0};

    advance(w, now);
    switch (w->kind) {
    case SIM_WINDOW_BUCKET:
        told.remaining = (int64_t)(w->level + UNIT_SLACK);
        if (w->level < w->depth)
            told.reset_ns = bucket_wait(w, w->depth);
        break;
    case SIM_WINDOW_FIXED:
        told.remaining = w->limit - w->used;
        told.reset_ns = until_turn_ends(w, now);
        break;
    case SIM_WINDOW_SLIDING:
        told.remaining = w->limit - w->used;
        if (w->len > 0)
            told.reset_ns = instant_diff(instant_add(entry(w, 0)->at, SIM_WINDOW_NS), now);
        break;
    }
    return told;
}

void sim_window_free(struct sim_window *w)
{
    w->log = mem_free(w->log);
    w->len = 0;
}
