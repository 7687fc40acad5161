/*
 * The throttle of a pool: what it learns from refusals and successes, whichever way it learns.
 *
 *     throttle_init(&t, &options, &rng);
 *     if (instant_before(now, throttle_when(&t))) ... not yet
 *     throttle_sent(&t, now);
 *     wait = throttle_refused(&t, now);  // or throttle_accepted(&t, now); a lost answer: neither
 *
 * A kind is one line in the table in throttle.c. The kinds:
 *
 *     none   learns nothing. A refused row waits THROTTLE_NONE_WAIT_NS, and up to as much again by
 *            chance, so that neither it nor a herd of its like spins.
 *     aimd   aimd.h: a refused row waits the delay; dispatches of other rows are not delayed.
 *
 * An answer that is neither (a failure), or that never comes, says nothing about capacity: there is
 * no call for it. Pure; one owner, one thread; every call is O(1).
 */
#ifndef FLOW_THROTTLE_H
#define FLOW_THROTTLE_H

#include "base/rng.h"
#include "base/time.h"
#include "flow/aimd.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>

#define THROTTLE_NONE_WAIT_NS (100 * NS_PER_MS)

enum throttle_kind { THROTTLE_NONE, THROTTLE_AIMD, THROTTLE_KINDS };

struct throttle_options {
    enum throttle_kind kind;
    struct aimd_options aimd; /* looked at by THROTTLE_AIMD only */
};

struct throttle {
    struct throttle_options options;
    struct rng *jitter;
    struct aimd aimd;
};

/* "none", "aimd"; "unknown" for any other value. */
const char *throttle_kind_name(enum throttle_kind kind);
/* False: no such kind, and *ret is untouched. */
bool throttle_kind_from_name(const char *name, enum throttle_kind *ret);

/* AIMD with its defaults. */
void throttle_options_init(struct throttle_options *o);
WEIR_MUST_CHECK enum weir_status throttle_options_check(const struct throttle_options *o,
                                                        struct weir_error *err);

/* Options must have been checked; `jitter` must outlive the throttle. */
void throttle_init(struct throttle *t, const struct throttle_options *o, struct rng *jitter);

/* The earliest instant for the next dispatch; INSTANT_NONE: at once. */
struct instant throttle_when(const struct throttle *t);
/* The most that may be in flight; SIZE_MAX: as many as there are permits. */
size_t throttle_window(const struct throttle *t);
/* The delay in force, for the statistics; 0 for a kind that has none. */
duration_ns throttle_delay(const struct throttle *t);

void throttle_sent(struct throttle *t, struct instant now);
/* Returns how long the refused row itself waits; > 0. */
duration_ns throttle_refused(struct throttle *t, struct instant now);
void throttle_accepted(struct throttle *t, struct instant now);

#endif
