/*
 * Which worker holds the state of which session.
 *
 *     s = affinity_find(&a, name, len, now);          // made when it is not known; NULL: no memory
 *     affinity_bind(&a, s, worker, now);              // its first task goes to that worker, and so do later ones
 *     affinity_use(&a, s, true, now);                 // each time a task of it begins (hit) or ends (no hit)
 *     affinity_leave(&a, s, now);                     // one task less refers to it
 *     affinity_sweep(&a, now);                        // when affinity_when() says so
 *
 * A binding ends when it was not used for `idle_ns` (seen by a sweep each `sweep_ns`), when it is released, or when its
 * worker ends. The session is then remembered as lost, and the next task of it is told so (affinity_take_lost()). A session
 * with tasks (`users` > 0) does not expire and is not forgotten; its idle time begins when the last one leaves.
 *
 * Limits (I8): `bound_max` bindings; beyond it the least recently used idle one ends (when none is idle there are more,
 * by as many at most as there are tasks). `lost_max` sessions without tasks that are remembered as lost; beyond it the
 * oldest is forgotten, and its next task is not told. A name has 1 to AFFINITY_NAME_BYTES_MAX bytes.
 *
 * A look-up is O(1) whatever the number of sessions: a hash table with chains (SipHash, keyed by the seed, so that names
 * cannot be chosen to collide) that grows by one chain at a time, so that no single look-up pays for the growth; and one
 * list by last use. Pure. Owner: its crew; one thread.
 */
#ifndef CORE_WORKER_AFFINITY_H
#define CORE_WORKER_AFFINITY_H

#include "base/list.h"
#include "base/time.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AFFINITY_NAME_BYTES_MAX 512
#define AFFINITY_BOUND_MAX      1000000
#define AFFINITY_LOST_MAX       100000

struct core_task;
struct worker;

struct affinity_options {
    uint64_t seed;        /* of the hash; secret, where names come from outside */
    duration_ns idle_ns;  /* > 0; 300 s */
    duration_ns sweep_ns; /* > 0; 60 s */
    size_t bound_max, lost_max;
};

/* What a look-up touches comes first: among many sessions each cache line of it is a wait for memory. */
struct session {
    struct session *next; /* in the hash chain */
    uint64_t hash;
    size_t name_len;
    struct worker *worker; /* NULL: not bound */
    struct list by_use;    /* without users: among the bound ones, or the lost ones, by last use */
    struct instant used_at;
    uint32_t users; /* tasks that refer to it; it is not freed before they are gone */
    bool taken; /* a task of it is under way: whoever dispatches sets it, one task at a time goes */
    bool lost;  /* it was bound, and the next task is to be told that it no longer is */
    bool
        telling; /* a request that says so is under way; affinity_untold() when it was never sent */
    struct core_task *holder; /* the task under way; the dispatcher's */
    struct list
        queue; /* tasks that wait for the one under way, in their order; the dispatcher's links */
    struct list of_worker; /* in its worker's list of sessions */
    char name[];           /* with a NUL */
};

struct affinity_counts {
    uint64_t hits;     /* a task found its session bound */
    uint64_t misses;   /* a task bound a session that was new */
    uint64_t rebinds;  /* a task bound a session that was lost */
    uint64_t expiries; /* bindings that ended by time */
    uint64_t releases, worker_losses, evictions;
    uint64_t forgotten; /* lost ones, beyond lost_max */
    uint64_t probes;    /* sessions that look-ups have compared: what they cost */
    size_t bound, lost; /* now; lost: without tasks */
    size_t known;       /* all that are in memory */
};

struct affinity;

void affinity_options_init(struct affinity_options *o);
WEIR_MUST_CHECK enum weir_status affinity_options_check(const struct affinity_options *o,
                                                        struct weir_error *err);
WEIR_MUST_CHECK enum weir_status affinity_new(const struct affinity_options *o, struct instant now,
                                              struct affinity **ret, struct weir_error *err);
struct affinity *
affinity_free(struct affinity *a); /* NULL-safe; returns NULL. No session has users (asserted) */

/* Finds or makes it; it has one user more, until affinity_leave(). NULL: no memory. */
struct session *affinity_find(struct affinity *a, const char *name, size_t len, struct instant now);
void affinity_leave(struct affinity *a, struct session *s, struct instant now);
/* It is not bound (asserted). Counts a miss or a rebind. */
void affinity_bind(struct affinity *a, struct session *s, struct worker *w, struct instant now);
/* A task begins (hit: it found the binding) or ends on the worker. It has a user (asserted). */
void affinity_use(struct affinity *a, struct session *s, bool hit, struct instant now);
/* Whether the next request has to say that the session was lost; true once for each loss. */
bool affinity_take_lost(struct session *s);
/* The request that was to say so was not sent: the next one is to. Nothing changes when none was to. */
void affinity_untold(struct session *s);
/* It was sent, or lost. */
void affinity_told(struct session *s);
/* By hand. False: it is not bound, or not known. A task of it that is under way goes on where it is. */
bool affinity_release(struct affinity *a, const char *name, size_t len, struct instant now);
/* All bindings to w end. */
void affinity_drop_worker(struct affinity *a, struct worker *w, struct instant now);
/* When the next sweep is due; INSTANT_NEVER: nothing can expire. */
struct instant affinity_when(const struct affinity *a);
/* Ends the bindings that have expired, and looks at no others. */
void affinity_sweep(struct affinity *a, struct instant now);
struct affinity_counts affinity_counts(const struct affinity *a);
/* NULL: all is sound; else what is not. O(everything). */
const char *affinity_check(const struct affinity *a);

#endif
