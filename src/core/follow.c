/*
 * See follow.h.
 */
#include "core/follow.h"

#include "base/error.h"

#include <assert.h>
#include <math.h>

/* Parts of the limit that a step takes, and gives. */
#define LOWER_PART 4
#define RAISE_PART 8

const char *follow_what_name(enum follow_what what)
{
    static const char *const names[FOLLOW_KINDS] = {"nothing", "load", "memory", "queue"};

    return (unsigned)what < FOLLOW_KINDS ? names[what] : "unknown";
}

enum weir_status follow_options_check(const struct follow_options *o, struct weir_error *err)
{
    if ((unsigned)o->what >= FOLLOW_KINDS || o->what == FOLLOW_NOTHING)
        return error_set(err, WEIR_E_INVALID, "what must be load, memory or queue");
    if (!(o->target > 0 && o->target <= FOLLOW_TARGET_MAX))
        return error_set(err, WEIR_E_INVALID, "target is %g; it must be above 0, to %g", o->target,
                         FOLLOW_TARGET_MAX);
    if (o->min < 1)
        return error_set(err, WEIR_E_INVALID, "min is 0; it must be 1 or more");
    if (o->min > o->max)
        return error_set(err, WEIR_E_INVALID, "min is %zu, above max (%zu)", o->min, o->max);
    return WEIR_OK;
}

static size_t clamp(const struct follow *f, size_t n)
{
    return n < f->options.min ? f->options.min : n > f->options.max ? f->options.max : n;
}

void follow_init(struct follow *f, const struct follow_options *o)
{
    assert(follow_options_check(o, NULL) == WEIR_OK);
    *f = (struct follow){.options = *o,
                         .limit = o->what == FOLLOW_QUEUE ? o->min : o->max,
                         .lowered_at = INSTANT_NONE,
                         .raised_at = INSTANT_NONE,
                         .fewer_since = INSTANT_NONE};
}

void follow_reconfigure(struct follow *f, const struct follow_options *o)
{
    bool other = f->options.what != o->what;

    assert(follow_options_check(o, NULL) == WEIR_OK);
    if (other) {
        f->lowered_at = f->raised_at = INSTANT_NONE;
        f->fewer_since = INSTANT_NONE;
    }
    f->options = *o;
    f->limit = clamp(f, f->limit);
}

static bool has_passed(struct instant since, duration_ns pause, struct instant now)
{
    return instant_is_none(since) || instant_diff(now, since) >= pause;
}

/* Places that nothing uses help nobody when they are taken away: the step begins at what runs. */
static void lower(struct follow *f, struct instant now, size_t running)
{
    size_t from = running > 0 && running < f->limit ? running : f->limit;
    size_t step = from / LOWER_PART > 0 ? from / LOWER_PART : 1;

    f->limit = clamp(f, from - step);
    f->lowered_at = now;
}

static void raise_by_part(struct follow *f, struct instant now)
{
    size_t step = f->limit / RAISE_PART > 0 ? f->limit / RAISE_PART : 1;

    f->limit = clamp(f, f->limit + step);
    f->raised_at = now;
}

/* too_much: of what is read; above 1 it is over the target, whichever way that lies. */
static void feel(struct follow *f, struct instant now, const struct follow_reading *r,
                 double too_much)
{
    bool rested = has_passed(f->lowered_at, FOLLOW_LOWER_PAUSE_NS, now);

    if (too_much > 1 + FOLLOW_BAND) {
        if (rested && f->limit > f->options.min)
            lower(f, now, r->running);
        return;
    }
    /* A limit that nobody meets is as good as a higher one. */
    if (too_much >= 1 - FOLLOW_BAND || r->running < f->limit || r->queued == 0)
        return;
    if (f->limit < f->options.max && has_passed(f->lowered_at, FOLLOW_RAISE_PAUSE_NS, now) &&
        has_passed(f->raised_at, FOLLOW_RAISE_PAUSE_NS, now))
        raise_by_part(f, now);
}

static size_t wanted(const struct follow *f, const struct follow_reading *r)
{
    double workers = ceil(((double)r->running + (double)r->queued) / f->options.target);

    /* Beyond the most it does not matter how far. */
    return workers >= (double)f->options.max ? f->options.max : clamp(f, (size_t)workers);
}

static void follow_queue(struct follow *f, struct instant now, const struct follow_reading *r)
{
    size_t want = wanted(f, r);

    if (want >= f->limit) {
        if (want > f->limit)
            f->raised_at = now;
        f->limit = want;
        f->fewer_since = INSTANT_NONE;
        return;
    }
    if (instant_is_none(f->fewer_since)) {
        f->fewer_since = now;
        f->fewer_most = want;
    }
    if (want > f->fewer_most)
        f->fewer_most = want;
    if (!has_passed(f->fewer_since, FOLLOW_QUIET_NS, now))
        return;
    f->limit = f->fewer_most;
    f->lowered_at = now;
    f->fewer_since = INSTANT_NONE;
}

size_t follow_step(struct follow *f, struct instant now, const struct follow_reading *r)
{
    switch (f->options.what) {
    case FOLLOW_QUEUE:
        follow_queue(f, now, r);
        break;
    case FOLLOW_LOAD:
        if (r->value >= 0)
            feel(f, now, r, r->value / f->options.target);
        break;
    case FOLLOW_MEMORY:
        /* No memory at all is too little by far. */
        if (r->value >= 0)
            feel(f, now, r, f->options.target / fmax(r->value, 1e-9));
        break;
    case FOLLOW_NOTHING:
    case FOLLOW_KINDS:
        break;
    }
    assert(f->limit >= f->options.min && f->limit <= f->options.max);
    return f->limit;
}
