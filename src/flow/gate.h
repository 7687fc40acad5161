/*
 * The gate of a pool: when may the next attempt be dispatched?
 *
 * It joins all that spaces dispatches: the pacer (least time between two of them), a rate, budgets
 * of requests and tokens per minute, what the service announced (Retry-After, x-ratelimit-*), and
 * the throttle. How many places a pool has is not its business but the permits'.
 *
 *     when = gate_when(&gate, now, in_flight, tokens);
 *     if (instant_before(now, when)) ... come back then
 *     attempt->ticket = gate_take(&gate, now, in_flight, tokens);    // and dispatch
 *     ...
 *     gate_settle(&gate, &attempt->ticket, used);
 *     verdict = gate_refused(&gate, now, &attempt->ticket, row_refusals, &advice);
 *
 * The answer to a dispatch comes with the ticket of that dispatch: answers arrive out of order, and
 * what one says about a quota or a rate holds for the moment its request was sent. Each ticket is
 * handed in once: to gate_refused(), gate_accepted(), gate_answered() or gate_lost().
 *
 * Pure: time and randomness are arguments. One owner, one thread. Of fixed size; every call is
 * O(1).
 */
#ifndef FLOW_GATE_H
#define FLOW_GATE_H

#include "base/rng.h"
#include "base/time.h"
#include "flow/advice.h"
#include "flow/budget.h"
#include "flow/pacer.h"
#include "flow/quota.h"
#include "flow/throttle.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The default ceiling on a wait that a service asks for; above it the row fails instead of freezing
 * the run. */
#define GATE_RETRY_AFTER_MAX_NS (120 * NS_PER_S)
/* Per second. Below it the next dispatch is weeks away; above it a nanosecond is too coarse. */
#define GATE_RATE_MIN 1e-6
#define GATE_RATE_MAX 1e9
/* A year: what any wait among the options may be at most, so that no sum of them is "never". */
#define GATE_WAIT_MAX_NS (INT64_C(365) * 86400 * NS_PER_S)

struct gate_options {
    struct throttle_options throttle;
    /* 0 to GATE_WAIT_MAX_NS; between any two dispatches of the pool, retries too. It is also the
     * AIMD delay's lower bound: throttle.aimd.min_delay_ns is overwritten with it; and
     * throttle.adaptive.rate_max_rps with what it and rate_per_s let pass. */
    duration_ns min_dispatch_delay_ns;
    double rate_per_s;              /* GATE_RATE_MIN to GATE_RATE_MAX; 0: no limit */
    int64_t requests_per_minute;    /* 1 to BUDGET_LIMIT_MAX; 0: no limit */
    int64_t tokens_per_minute;      /* 1 to BUDGET_LIMIT_MAX; 0: no limit */
    duration_ns retry_after_max_ns; /* > 0, to GATE_WAIT_MAX_NS */
};

/* The adaptive throttle, nothing else limited. */
void gate_options_init(struct gate_options *o);
/* Checks every field's range; the message names the field, its value and what is allowed. */
WEIR_MUST_CHECK enum weir_status gate_options_check(const struct gate_options *o,
                                                    struct weir_error *err);

struct gate; /* complete below; its fields are the gate's own */

/* Of one dispatch; the attempt keeps it, by value, until its answer comes. */
struct gate_ticket {
    struct instant taken_at;
    int64_t tokens;        /* as estimated */
    int64_t requests_mark; /* quota_take() */
    int64_t tokens_mark;
    struct throttle_ticket throttle;
};

/* Options must have been checked; `jitter` must outlive the gate. */
void gate_init(struct gate *g, const struct gate_options *o, struct rng *jitter);

/* Other options, checked, take hold at the next dispatch. What was learned and what was used up stays, but for
 * a throttle of another kind, which begins anew. Tickets stay good. */
void gate_reconfigure(struct gate *g, const struct gate_options *o);

/* Whether a row of that many tokens can ever pass; false: it is larger than a whole budget. */
bool gate_fits(const struct gate *g, int64_t tokens);
/* The earliest instant for a dispatch of that many tokens, with in_flight others in flight; `now`
 * itself: it may go at once. INSTANT_NEVER: not before an answer came, or it does not fit. Ask again
 * after any other call: an answer may have moved it. */
struct instant gate_when(struct gate *g, struct instant now, size_t in_flight, int64_t tokens);
/* A dispatch is made now; gate_when() has just allowed it with the same arguments. */
struct gate_ticket gate_take(struct gate *g, struct instant now, size_t in_flight, int64_t tokens);
/* What that dispatch really cost; used < 0: not told, nothing changes. */
void gate_settle(struct gate *g, const struct gate_ticket *ticket, int64_t used_tokens);

/* What followed from a refusal. */
struct gate_verdict {
    duration_ns row_wait_ns; /* how long the refused row itself waits */
    bool asked_too_long;     /* the service asked for a wait above the ceiling: the row fails */
    bool held;               /* the whole pool pauses because the service asked for it */
};
/* A capacity outcome came, after row_refusals others of the same row. advice may be NULL, here and
 * below. */
struct gate_verdict gate_refused(struct gate *g, struct instant now,
                                 const struct gate_ticket *ticket, uint32_t row_refusals,
                                 const struct flow_advice *advice);
/* An attempt succeeded. Its Retry-After, if any, means something else and is not looked at. */
void gate_accepted(struct gate *g, struct instant now, const struct gate_ticket *ticket,
                   const struct flow_advice *advice);
/* An answer came that is neither (a failure): only its headers say something. A Retry-After above
 * the ceiling is not followed. */
void gate_answered(struct gate *g, struct instant now, const struct gate_ticket *ticket,
                   const struct flow_advice *advice);

/* No answer will come, or it says nothing: a timeout, a broken connection, a cancelled attempt. */
void gate_lost(struct gate *g, struct instant now, const struct gate_ticket *ticket);

/* Whether many dispatches may be made now at once, as far as the gate goes: nothing spaces or counts them. */
bool gate_may_take_many(struct gate *g, struct instant now, size_t in_flight);
/*
 * So many dispatches without tokens; gate_may_take_many() has just allowed it. They go one behind
 * the other: in_flight, as throttle.h says. What is kept is the first one's ticket.
 */
struct gate_ticket gate_take_many(struct gate *g, struct instant now, size_t in_flight,
                                  uint32_t count);
/* The ticket of the dispatch that was the nth (from 0) of those. */
struct gate_ticket gate_ticket_nth(const struct gate_ticket *first, uint32_t n);
/* So many of them, from the one with this ticket on, have succeeded, each in took_ns and without advice. */
void gate_accepted_many(struct gate *g, struct instant now, const struct gate_ticket *first,
                        uint32_t count, duration_ns took_ns);

/* Whether nothing among the options spaces dispatches or counts them over time. */
bool gate_is_unpaced(const struct gate *g);
/* Whether the throttle limits nothing at the moment. */
bool gate_is_open(const struct gate *g);
/* How the throttle limits now, and why. */
const struct throttle_state *gate_throttle(const struct gate *g);
/* The AIMD delay in force, 0 for throttles that have none; for the statistics. */
duration_ns gate_delay(const struct gate *g);
/* Until when the service's own word (Retry-After, nothing remaining) holds the whole pool; in the
 * past or INSTANT_NONE: it does not. */
struct instant gate_held_until(const struct gate *g);

struct gate {
    struct gate_options options;
    struct throttle throttle;
    struct pacer pacer;
    struct pacer rate;
    struct budget requests;
    struct budget tokens;
    struct quota told_requests;
    struct quota told_tokens;
    struct instant held_until;
    double tokens_mean; /* of dispatches so far, moving; 0: none had any */
    uint64_t taken;
    struct rng *jitter;
};

#endif
