/*
 * The breaker: three states, and what moves it between them. Each transition begins an epoch, so
 * that news about a dispatch of an older one is known by its ticket, and ignored.
 */
#include "flow/breaker.h"

#include "base/error.h"

#include <assert.h>

/* A breaker that is open for longer than a year is a mistake in units. */
#define OPEN_MAX_NS (365 * 24 * 3600 * NS_PER_S)

static const bool moves[BREAKER_STATES][BREAKER_STATES] = {
    [BREAKER_CLOSED] = {[BREAKER_OPEN] = true},
    [BREAKER_OPEN] = {[BREAKER_HALF_OPEN] = true, [BREAKER_CLOSED] = true}, /* closed: by hand */
    [BREAKER_HALF_OPEN] = {[BREAKER_CLOSED] = true, [BREAKER_OPEN] = true},
};

void breaker_options_init(struct breaker_options *o)
{
    *o = (struct breaker_options){
        .on = false,
        .failures = 5,
        .open_ns = 60 * NS_PER_S,
        .trials = 3,
        .successes = 3,
    };
}

enum weir_status breaker_options_check(const struct breaker_options *o, struct weir_error *err)
{
    if (o->failures < 1)
        return error_set(err, WEIR_E_INVALID, "breaker_failures is 0; it must be 1 or more");
    if (o->open_ns <= 0 || o->open_ns > OPEN_MAX_NS)
        return error_set(err, WEIR_E_INVALID,
                         "breaker_open is %g s; it must be above 0, a year at most",
                         duration_seconds(o->open_ns));
    if (o->trials < 1)
        return error_set(err, WEIR_E_INVALID, "breaker_trials is 0; it must be 1 or more");
    if (o->successes < 1)
        return error_set(err, WEIR_E_INVALID, "breaker_successes is 0; it must be 1 or more");
    return WEIR_OK;
}

void breaker_init(struct breaker *b, const struct breaker_options *o, struct instant now)
{
    *b = (struct breaker){
        .options = *o,
        .state = BREAKER_CLOSED,
        .since = now,
        .open_until = INSTANT_NONE,
    };
}

const char *breaker_state_name(enum breaker_state state)
{
    static const char *const names[BREAKER_STATES] = {
        [BREAKER_CLOSED] = "closed",
        [BREAKER_OPEN] = "open",
        [BREAKER_HALF_OPEN] = "half_open",
    };

    return (unsigned)state < BREAKER_STATES ? names[state] : "unknown";
}

bool breaker_may_move(enum breaker_state from, enum breaker_state to)
{
    return (unsigned)from < BREAKER_STATES && (unsigned)to < BREAKER_STATES && moves[from][to];
}

static void move(struct breaker *b, enum breaker_state to, struct instant now)
{
    assert(breaker_may_move(b->state, to));
    b->state = to;
    b->since = now;
    b->epoch++;
    b->failed_in_row = b->in_flight = b->succeeded = 0;
    b->open_until = INSTANT_NONE;
    if (to == BREAKER_OPEN) {
        b->open_until = instant_add(now, b->options.open_ns);
        b->opened++;
    }
}

struct instant breaker_when(struct breaker *b, struct instant now)
{
    if (b->state == BREAKER_OPEN) {
        if (instant_before(now, b->open_until))
            return b->open_until;
        move(b, BREAKER_HALF_OPEN, now);
    }
    if (b->state == BREAKER_HALF_OPEN && b->in_flight >= b->options.trials)
        return INSTANT_NEVER;
    return now;
}

uint64_t breaker_take(struct breaker *b, struct instant now)
{
    (void)now;
    assert(b->state != BREAKER_OPEN);
    if (b->state == BREAKER_HALF_OPEN) {
        assert(b->in_flight < b->options.trials);
        b->in_flight++;
    }
    return b->epoch;
}

/* Whether the ticket's news still counts; while half-open, its dispatch is not in flight any more. */
static bool give_back(struct breaker *b, uint64_t ticket)
{
    if (ticket != b->epoch || b->state == BREAKER_OPEN)
        return false;
    if (b->state == BREAKER_HALF_OPEN) {
        assert(b->in_flight > 0);
        b->in_flight--;
    }
    return true;
}

void breaker_succeeded(struct breaker *b, uint64_t ticket, struct instant now)
{
    if (!give_back(b, ticket))
        return;
    b->failed_in_row = 0;
    if (b->state == BREAKER_HALF_OPEN && ++b->succeeded >= b->options.successes)
        move(b, BREAKER_CLOSED, now);
}

void breaker_struck(struct breaker *b, struct instant now)
{
    if (!b->options.on || b->state == BREAKER_OPEN)
        return;
    if (b->state == BREAKER_HALF_OPEN || ++b->failed_in_row >= b->options.failures)
        move(b, BREAKER_OPEN, now);
}

void breaker_trip(struct breaker *b, struct instant now)
{
    if (b->options.on && b->state != BREAKER_OPEN)
        move(b, BREAKER_OPEN, now);
}

void breaker_failed(struct breaker *b, uint64_t ticket, struct instant now)
{
    if (give_back(b, ticket))
        breaker_struck(b, now);
}

void breaker_dropped(struct breaker *b, uint64_t ticket, struct instant now)
{
    (void)now;
    give_back(b, ticket);
}

void breaker_reset(struct breaker *b, struct instant now)
{
    if (b->state != BREAKER_CLOSED)
        move(b, BREAKER_CLOSED, now);
    b->failed_in_row = 0;
}
