/*
 * When the limit is a number in flight, not a rate.
 *
 *     flight_accepted(&f, in_flight);                       // what was in flight before a dispatch that was taken
 *     switch (flight_refused_vote(&f, now, in_flight, ...)) // what a refusal says about that
 *     if (in_flight < flight_window(&f, now, ...)) ...      // window mode: may go
 *
 * A service that bears so many at once refuses those that were sent while many were in flight; one
 * that bears a rate refuses without regard to it. So each refusal votes: few of the dispatches that
 * were taken saw as many in flight as it did: for a window; many did: against. At VOTES in a row
 * the mode changes.
 *
 * In window mode the window is probed as a rate is: some more permits than it has, 1, 2, 4 ...; if
 * none of them is refused they are the window's. A stray refusal takes one, a drop a fifth.
 *
 * Pure; of fixed size; every call is O(FLIGHT_SAMPLES) at most.
 */
#ifndef FLOW_FLIGHT_H
#define FLOW_FLIGHT_H

#include "base/time.h"
#include "flow/drop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLIGHT_SAMPLES 64

enum flight_vote { FLIGHT_STAYS, FLIGHT_ENTERS, FLIGHT_LEAVES };

struct flight {
    uint32_t
        taken_at[FLIGHT_SAMPLES]; /* in flight before each of the last dispatches taken; a ring */
    uint32_t samples;
    uint32_t next_sample;
    int votes;
    struct instant vote_at; /* the next refusal that votes is not before this */
    uint32_t window;        /* 0: not in window mode */
    uint32_t window_before; /* the raise that was taken last */
    uint32_t step;          /* permits that the next probe adds */
    uint32_t extra;         /* permits added by the probe that runs, used so far */
    uint64_t extra_first;   /* number of the first dispatch with one */
    struct instant due;     /* no refusal until then: the extra permits are the window's */
    struct instant probe_at;
    uint64_t reacted; /* the last dispatch before the latest reaction */
};

void flight_init(struct flight *f);
/* A success: so many were in flight before its dispatch. */
void flight_accepted(struct flight *f, uint32_t in_flight);
/* What a refusal says. pause_s: until the next vote; `settled`: no raise of the rate is on its way. */
enum flight_vote flight_vote(struct flight *f, struct instant now, uint32_t in_flight,
                             double pause_s, bool settled);
/* Into window mode, at what was taken at most; number: of the last dispatch. */
void flight_enter(struct flight *f, uint64_t number, struct instant probe_at);
void flight_leave(struct flight *f);

/* ---- in window mode ---- */

/* When the next may go, with so many in flight and at most `most`: now, an instant to ask again, or NEVER. */
struct instant flight_when(struct flight *f, struct instant now, size_t in_flight, double most,
                           bool silence_speaks);
/* True: it has an extra permit. */
bool flight_sent(struct flight *f, struct instant now, size_t in_flight, uint64_t number,
                 double verdict_s);
/* An answer to a later dispatch than the extra ones has come: they are through. */
void flight_answered(struct flight *f, struct instant now, uint64_t number);
enum flight_cut { FLIGHT_NOTHING, FLIGHT_TRIAL_REFUSED, FLIGHT_NOTCH, FLIGHT_FELL };
enum flight_cut flight_refused(struct flight *f, struct instant now, uint32_t in_flight, bool extra,
                               uint64_t number, uint64_t sent, struct drop *drop, double verdict_s,
                               double interval_s);

#endif
