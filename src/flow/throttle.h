/*
 * The throttle of a pool: what it learns from refusals and successes, whichever way it learns.
 *
 *     throttle_init(&t, &options, &rng);
 *     when = throttle_when(&t, now, in_flight, cost);
 *     if (when is now)
 *         ticket = throttle_sent(&t, now, in_flight, cost);
 *     ...
 *     wait = throttle_refused(&t, now, &ticket, &refusal);  // or _accepted, _answered, _lost
 *
 * A kind is one line in the table in throttle.c. The kinds:
 *
 *     none       learns nothing. A refused row waits THROTTLE_NONE_WAIT_NS, and up to as much again
 *                by chance, so that neither it nor a herd of its like spins.
 *     aimd       aimd.h: a refused row waits the delay; dispatches of other rows are not delayed.
 *     adaptive   adaptive.h: dispatches are paced at what the service bears; a refused row is ready
 *                again at once, and goes before all others.
 *
 * The answer to a dispatch comes with its ticket. Pure; one owner, one thread; every call is O(1).
 */
#ifndef FLOW_THROTTLE_H
#define FLOW_THROTTLE_H

#include "base/rng.h"
#include "base/time.h"
#include "flow/adaptive.h"
#include "flow/aimd.h"
#include "flow/throttle_state.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>

#define THROTTLE_NONE_WAIT_NS (100 * NS_PER_MS)

enum throttle_kind { THROTTLE_NONE, THROTTLE_AIMD, THROTTLE_ADAPTIVE, THROTTLE_KINDS };

struct throttle_options {
    enum throttle_kind kind;
    struct aimd_options aimd;         /* looked at by THROTTLE_AIMD only */
    struct adaptive_options adaptive; /* looked at by THROTTLE_ADAPTIVE only */
};

struct throttle {
    struct throttle_options options;
    struct rng *jitter;
    struct throttle_state state; /* of the kinds other than adaptive, which has its own */
    struct aimd aimd;
    struct adaptive adaptive;
};

/* "none", "aimd", "adaptive"; "unknown" for any other value. */
const char *throttle_kind_name(enum throttle_kind kind);
/* False: no such kind, and *ret is untouched. */
bool throttle_kind_from_name(const char *name, enum throttle_kind *ret);

/* The adaptive one; each kind with its defaults. */
void throttle_options_init(struct throttle_options *o);
WEIR_MUST_CHECK enum weir_status throttle_options_check(const struct throttle_options *o,
                                                        struct weir_error *err);

/* Options must have been checked; `jitter` must outlive the throttle. */
void throttle_init(struct throttle *t, const struct throttle_options *o, struct rng *jitter);

/* Other options, checked, take hold at the next call. Another kind begins anew. */
void throttle_reconfigure(struct throttle *t, const struct throttle_options *o);

/*
 * The earliest instant for the next dispatch. `now`: at once; later: ask again then; INSTANT_NEVER:
 * ask again after an answer. in_flight: attempts of the pool that have no answer yet. cost: of the
 * dispatch, in mean ones (1 where nothing is known). Time passes by this call: what the throttle
 * decides by silence, it decides here.
 */
struct instant throttle_when(struct throttle *t, struct instant now, size_t in_flight, double cost);
/* A dispatch is made now: throttle_when() has just allowed it. */
struct throttle_ticket throttle_sent(struct throttle *t, struct instant now, size_t in_flight,
                                     double cost);

/* Its answer is a refusal. Returns how long the row itself waits, >= 0; 0: it is ready at once. */
duration_ns throttle_refused(struct throttle *t, struct instant now,
                             const struct throttle_ticket *ticket,
                             const struct throttle_refusal *refusal);
/* Its answer is a success. */
void throttle_accepted(struct throttle *t, struct instant now,
                       const struct throttle_ticket *ticket);
/*
 * The same of many dispatches that go one behind the other, while throttle_is_open(): each is sent
 * when the one before it has its answer, so in_flight is what it is for the first. For all of them
 * the throttle does as much as for one. Of those that succeed it is told together, with the ticket
 * of the last; of each of the others by itself.
 */
struct throttle_ticket throttle_sent_many(struct throttle *t, struct instant now, size_t in_flight,
                                          uint32_t count);
void throttle_accepted_many(struct throttle *t, struct instant now,
                            const struct throttle_ticket *last, uint32_t count);
/* Its answer is neither: the service took it, and failed; it says nothing about capacity. */
void throttle_answered(struct throttle *t, struct instant now,
                       const struct throttle_ticket *ticket);
/* No answer will come (timeout, broken connection, cancelled): it counts as nothing. */
void throttle_lost(struct throttle *t, struct instant now, const struct throttle_ticket *ticket);

/* Whether it limits nothing at all at the moment, so that dispatches may go in groups. */
bool throttle_is_open(const struct throttle *t);
/* How it limits now, and why. Valid as long as the throttle. */
const struct throttle_state *throttle_state(const struct throttle *t);

#endif
