/*
 * What a throttle remembers of a dispatch, and how it explains itself.
 *
 * Everything that a throttle decides has a reason. Each decision is one count higher in `changes`,
 * so whoever watches compares two numbers, and then says what happened in the same words
 * everywhere: in the events, the progress display, the records and the summary.
 *
 *     before = throttle_state(&t)->changes;
 *     throttle_refused(&t, now, &ticket, &refusal);
 *     if (throttle_state(&t)->changes != before)
 *         throttle_describe(throttle_state(&t), text, sizeof text);   // "rate 20/s -> 10/s: capacity fell"
 *
 * Plain values. Pure.
 */
#ifndef FLOW_THROTTLE_STATE_H
#define FLOW_THROTTLE_STATE_H

#include "base/time.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of one dispatch; its attempt keeps it, by value, until its answer comes. */
struct throttle_ticket {
    uint64_t number; /* of the dispatch, from 1; 0: the throttle does not count */
    struct instant sent_at;
    uint32_t in_flight; /* before it, of the pool */
    uint8_t role;       /* the throttle's own: what the dispatch was for */
};

/* What else is known of a refusal. */
struct throttle_refusal {
    uint32_t row_refusals;     /* of the same row before this one */
    struct instant held_until; /* the service said when to come back; INSTANT_NONE: it did not */
};

/* By what a throttle limits the pool at the moment. */
enum throttle_mode {
    THROTTLE_MODE_OPEN,   /* by nothing: no limit has shown */
    THROTTLE_MODE_DELAY,  /* AIMD: refused rows wait the delay */
    THROTTLE_MODE_RATE,   /* so many dispatches a second */
    THROTTLE_MODE_WINDOW, /* so many in flight */
    THROTTLE_MODE_OUTAGE, /* nothing gets through: single probes */
    THROTTLE_MODES
};

/* Why a throttle did what it did last. */
enum throttle_reason {
    THROTTLE_REASON_START,          /* nothing has been decided yet */
    THROTTLE_REASON_REFUSED,        /* AIMD: a refusal made the delay grow */
    THROTTLE_REASON_ACCEPTED,       /* AIMD: a success made it shrink */
    THROTTLE_REASON_BORNE,          /* a trial of a higher rate or window was borne */
    THROTTLE_REASON_TRIAL_REFUSED,  /* a trial was refused: the rate or window stays */
    THROTTLE_REASON_FIRST_REFUSAL,  /* the first limit has shown: from now on it is paced */
    THROTTLE_REASON_STRAY_REFUSAL,  /* one refusal: a notch down */
    THROTTLE_REASON_CAPACITY_FELL,  /* refusals too close together: a cut */
    THROTTLE_REASON_OUTAGE,         /* nothing gets through */
    THROTTLE_REASON_OUTAGE_OVER,    /* a probe got through */
    THROTTLE_REASON_CONCURRENCY,    /* refusals go with the number in flight: a window */
    THROTTLE_REASON_NO_CONCURRENCY, /* they no longer do: a rate again */
    THROTTLE_REASON_LATENCY,        /* latency grows with the load: fewer in flight */
    THROTTLE_REASON_LATENCY_OVER,   /* it no longer does: more in flight */
    THROTTLE_REASON_QUOTA,          /* outages come as a quota's windows do: its rate is the cap */
    THROTTLE_REASON_REOPENED,       /* the rate has held nothing up for long: open again */
    THROTTLE_REASON_TOLD, /* pauses that it asked for follow each other: down to what is borne */
    THROTTLE_REASONS
};

#define THROTTLE_RECENT 4

/* One decision. */
struct throttle_change {
    enum throttle_mode mode, mode_before;
    double rate_rps, rate_before_rps;
    size_t window, window_before;
    duration_ns delay_ns, delay_before_ns;
    enum throttle_reason reason;
    struct instant at;
};

struct throttle_state {
    enum throttle_mode mode;
    double rate_rps;             /* dispatches a second; HUGE_VAL: not limited */
    size_t window;               /* in flight; SIZE_MAX: not limited */
    duration_ns delay_ns;        /* AIMD; else 0 */
    enum throttle_reason reason; /* of the last change */
    struct instant changed_at;   /* INSTANT_NONE: never */
    /* what the last change came from */
    enum throttle_mode mode_before;
    double rate_before_rps;
    size_t window_before;
    duration_ns delay_before_ns;
    uint64_t changes; /* since the start */
    uint64_t by_reason[THROTTLE_REASONS];
    /* One answer may bring about two decisions; each is told. Change n is at n % THROTTLE_RECENT. */
    struct throttle_change recent[THROTTLE_RECENT];
};

/* What limited one dispatch, and why; small, since each row keeps that of its last one. */
struct throttle_limit {
    double rate_rps;      /* HUGE_VAL: none */
    duration_ns delay_ns; /* AIMD; else 0 */
    uint32_t window;      /* UINT32_MAX: none */
    uint8_t mode;         /* enum throttle_mode */
    uint8_t reason;       /* enum throttle_reason, of the last change before it */
};

/* No dispatch, or one that nobody remembers. */
#define THROTTLE_LIMIT_NONE ((struct throttle_limit){.mode = THROTTLE_MODES})

/* Never NULL: "open", "delay", "rate", "window", "outage"; "unknown" for any other value. */
const char *throttle_mode_name(enum throttle_mode mode);
/* Never NULL. One word with underscores, for programs: "capacity_fell". */
const char *throttle_reason_name(enum throttle_reason reason);
/* Never NULL. A few words for people: "refusals close together: the capacity fell". */
const char *throttle_reason_text(enum throttle_reason reason);

void throttle_state_init(struct throttle_state *s, enum throttle_mode mode);
/*
 * A decision: the state before it is kept, the new values are taken, the counters move. `mode`,
 * rate, window and delay are the new ones, unchanged ones included.
 */
void throttle_state_change(struct throttle_state *s, struct instant now,
                           enum throttle_reason reason, const struct throttle_state *to);

struct throttle_limit throttle_limit_of(const struct throttle_state *s);
/* Takes the counters of `before`, an earlier state of the same throttle, off those of `s`. */
void throttle_state_since(struct throttle_state *s, const struct throttle_state *before);

/* The state as it was after that change, from 1; its counters by reason are those of now. False, and
 * *ret is untouched: that was too long ago, or has not been. */
bool throttle_state_at(const struct throttle_state *s, uint64_t change, struct throttle_state *ret);

/* "rate 20.0/s -> 10.0/s: ...", cut to `size`; always ends in NUL. Returns text. */
const char *throttle_describe(const struct throttle_state *s, char *text, size_t size);

#endif
