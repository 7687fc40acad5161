/*
 * The breaker of a pool: stops feeding a pool that only fails, and finds out when it works again.
 *
 *     if (instant_before(now, breaker_when(&b, now))) ... come back then
 *     ticket = breaker_take(&b, now);                    // and dispatch
 *     breaker_succeeded(&b, ticket, now);                // or _failed(), or _dropped(): once for each ticket
 *
 *     CLOSED ──failures in a row──► OPEN ──its time is over──► HALF_OPEN ──successes──► CLOSED
 *        ▲                           ▲                            │ │
 *        │                           └────────one failure─────────┘ │
 *        └──────────────────────────reset by hand (any state)───────┘
 *
 * What counts as a failure is the caller's business: what says that the pool does not work, so
 * neither a refusal for lack of capacity nor an answer that a row is wrong. A ticket that was taken
 * before the last transition changes no state any more: late news about old dispatches. Pure, of
 * fixed size, O(1). The figures are design 5's.
 */
#ifndef FLOW_BREAKER_H
#define FLOW_BREAKER_H

#include "base/time.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stdint.h>

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN, BREAKER_STATES };

struct breaker_options {
    bool on;             /* false: it never opens */
    uint32_t failures;   /* >= 1, in a row, that open it; 5 */
    duration_ns open_ns; /* > 0, how long it stays open; 60 s */
    uint32_t trials;     /* >= 1, attempts in flight at most while half-open; 3 */
    uint32_t successes;  /* >= 1, while half-open, that close it; 3 */
};

struct breaker {
    struct breaker_options options;
    enum breaker_state state;
    struct instant since;      /* of the state */
    struct instant open_until; /* while OPEN */
    uint64_t epoch;            /* of transitions; a ticket holds the one it was taken in */
    uint32_t failed_in_row;    /* while CLOSED */
    uint32_t in_flight;        /* while HALF_OPEN, of this epoch */
    uint32_t succeeded;        /* while HALF_OPEN */
    uint64_t opened;           /* how often, in all */
};

/* Off, with the figures of design 5. */
void breaker_options_init(struct breaker_options *o);
WEIR_MUST_CHECK enum weir_status breaker_options_check(const struct breaker_options *o,
                                                       struct weir_error *err);
void breaker_init(struct breaker *b, const struct breaker_options *o, struct instant now);

/* "closed", "open", "half_open"; "unknown" for any other value. */
const char *breaker_state_name(enum breaker_state state);
bool breaker_may_move(enum breaker_state from, enum breaker_state to);

/* The earliest instant for a dispatch: now, when it opens its half, or INSTANT_NEVER (half-open, and its trials are all in
 * flight). Moves from OPEN to HALF_OPEN when the time is over. */
struct instant breaker_when(struct breaker *b, struct instant now);
/* A dispatch is made; breaker_when() has just allowed it. */
uint64_t breaker_take(struct breaker *b, struct instant now);
void breaker_succeeded(struct breaker *b, uint64_t ticket, struct instant now);
void breaker_failed(struct breaker *b, uint64_t ticket, struct instant now);
/* It says nothing: refused, cancelled, or not begun after all. */
void breaker_dropped(struct breaker *b, uint64_t ticket, struct instant now);
/* A failure that no dispatch made (a worker that cannot start). */
void breaker_struck(struct breaker *b, struct instant now);
/* It opens at once, however few failures there were. */
void breaker_trip(struct breaker *b, struct instant now);
/* By hand: closed. */
void breaker_reset(struct breaker *b, struct instant now);

#endif
