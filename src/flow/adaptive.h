/*
 * The adaptive throttle of design 4: nearly all of the capacity, hardly any refusals.
 *
 *     adaptive_init(&a, &options, &rng);
 *     when = adaptive_when(&a, now, in_flight, cost);      // now: go; later: come back; NEVER: wait for an answer
 *     ticket = adaptive_sent(&a, now, in_flight, cost);
 *     wait = adaptive_refused(&a, now, &ticket, &refusal); // or accepted, answered, lost
 *
 * Pure; one owner, one thread; of fixed size; every call is O(1).
 */
#ifndef FLOW_ADAPTIVE_H
#define FLOW_ADAPTIVE_H

#include "base/rng.h"
#include "base/time.h"
#include "flow/allowance.h"
#include "flow/drop.h"
#include "flow/flight.h"
#include "flow/guard.h"
#include "flow/meter.h"
#include "flow/outage.h"
#include "flow/period.h"
#include "flow/search.h"
#include "flow/silence.h"
#include "flow/throttle_state.h"
#include "weir/status.h"

/* Refused over all sent, at which paid probes aim. */
#define ADAPTIVE_WASTE     0.02
#define ADAPTIVE_WASTE_MIN 0.001
#define ADAPTIVE_WASTE_MAX 0.2

struct adaptive_options {
    double waste; /* ADAPTIVE_WASTE_MIN to ADAPTIVE_WASTE_MAX */
    double
        rate_max_rps; /* > 0; HUGE_VAL: none. What else limits the pool, so that no trial exceeds it. */
};

struct adaptive {
    struct adaptive_options options;
    struct rng *rng;
    struct throttle_state state;
    uint64_t sent;      /* number of the last dispatch */
    uint64_t open_most; /* OPEN: so many may be in flight at least; grows with each success */

    /* pacing */
    struct instant last_at;    /* of the last dispatch */
    struct instant next_at;    /* of the next one, of mean cost */
    struct instant regular_at; /* of the last one that was in time and no trial */
    uint64_t late_in_a_row;    /* dispatches that were not held up by the rate */
    struct instant late_since;

    /* what refusals have changed */
    uint64_t ignored; /* dispatches up to this one say nothing about what is done since */
    uint64_t lowered; /* the last dispatch before the rate was lowered */
    struct instant lowered_at;
    struct instant raised_at; /* when a trial was borne */
    struct instant refused_at;
    uint64_t accepted_in_a_row; /* successes since the last refusal */
    struct instant held_at;     /* the service last asked for a pause; NONE: never */
    uint64_t held_accepted;     /* successes since then */
    double parked_rps; /* when the outage began: the last solid rate, or else what was delivered */

    struct meter meter;
    struct silence silence;
    struct allowance allowance;
    struct search search;
    struct drop drop;
    struct outage outage;
    struct flight flight;
    struct guard guard;
    struct period period;
};

void adaptive_options_init(struct adaptive_options *o);
/* The message calls the fields as users do. */
WEIR_MUST_CHECK enum weir_status adaptive_options_check(const struct adaptive_options *o,
                                                        struct weir_error *err);

/* Options must have been checked; `rng` must outlive it. */
void adaptive_init(struct adaptive *a, const struct adaptive_options *o, struct rng *rng);

/* Other options, checked; what was learned stays. */
void adaptive_reconfigure(struct adaptive *a, const struct adaptive_options *o);

/* As throttle.h says of each. */
struct instant adaptive_when(struct adaptive *a, struct instant now, size_t in_flight, double cost);
struct throttle_ticket adaptive_sent(struct adaptive *a, struct instant now, size_t in_flight,
                                     double cost);
duration_ns adaptive_refused(struct adaptive *a, struct instant now,
                             const struct throttle_ticket *ticket,
                             const struct throttle_refusal *refusal);
void adaptive_accepted(struct adaptive *a, struct instant now,
                       const struct throttle_ticket *ticket);
struct throttle_ticket adaptive_sent_many(struct adaptive *a, struct instant now, size_t in_flight,
                                          uint32_t count);
void adaptive_accepted_many(struct adaptive *a, struct instant now,
                            const struct throttle_ticket *last, uint32_t count);
void adaptive_answered(struct adaptive *a, struct instant now,
                       const struct throttle_ticket *ticket);
void adaptive_lost(struct adaptive *a, struct instant now, const struct throttle_ticket *ticket);

#endif
