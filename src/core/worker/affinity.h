/*
 * Which worker holds the state of which session.
 *
 *     s = affinity_find(&a, name, len, now);          // made when it is not known; NULL: no memory
 *     affinity_bind(&a, s, worker, now);              // its first task goes to that worker, and so do later ones
 *     affinity_use(&a, s, true, now);                 // each time a task of it begins (hit) or ends (no hit)
 *     affinity_leave(&a, s, now);                     // one task less refers to it
 *     affinity_sweep(&a, now);                        // when affinity_when() says so
 *
 * A binding ends when it was not used for `idle_ns` (seen by a sweep each `sweep_ns`), when it is
 * released, or when its worker ends. The session is then remembered as lost, and the next task of
 * it is told so (affinity_take_lost()). A session with tasks (`users` > 0) does not expire and is
 * not forgotten; its idle time begins when the last one leaves.
 *
 * Limits (I8): `bound_max` bindings; beyond it the least recently used idle one ends (to a
 * millisecond; when none is idle there are more, by as many at most as there are tasks). `lost_max`
 * sessions without tasks that are remembered as lost; beyond it the oldest is forgotten, and its
 * next task is not told. A name has 1 to AFFINITY_NAME_BYTES_MAX bytes.
 *
 * A look-up is O(1), and touches two cache lines that are not at hand, however many sessions there
 * are: one of the table (session_table.h; SipHash, keyed by the seed, so that names cannot be
 * chosen to collide) and the session's first one. To use a session writes used_at there, and no
 * more: which is the least recently used one is found out when that is asked (session_order.h). The
 * table grows by one line at a time, and a sweep looks at AFFINITY_SWEEP_LOOKS sessions at the most
 * and is then due again at once. What may take long, some 0.1 us for each session, is the end of a
 * worker with many, and the first binding that ends at the bound when many were last used at about
 * the same time. Pure. Owner: its crew; one thread.
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
#define AFFINITY_SWEEP_LOOKS    1000 /* about 0.2 ms */

#define SESSION_NAME_BYTES_INSIDE 48

struct core_task;
struct worker;

struct affinity_options {
    uint64_t seed;        /* of the hash; secret, where names come from outside */
    duration_ns idle_ns;  /* > 0; 300 s */
    duration_ns sweep_ns; /* > 0; 60 s */
    size_t bound_max, lost_max;
};

/*
 * Two cache lines (session_table.c sees to it). All that a task of a bound session needs is in the
 * first one, with the first 32 bytes of the name: among many sessions each line is a wait for
 * memory.
 */
struct session {
    struct worker *worker; /* NULL: not bound */
    struct instant used_at;
    struct core_task *holder; /* the task under way; the dispatcher's */
    uint32_t users;           /* tasks that refer to it; it is not freed before they are gone */
    uint16_t name_len;
    /* A task of it is under way: whoever dispatches sets it, and one task at a time goes. */
    bool taken : 1;
    bool waited : 1; /* the dispatcher's: there may be tasks in the queue */
    bool lost : 1;   /* it was bound, and the next task is to be told that it no longer is */
    /* A request that says so is under way; affinity_untold() when it was never sent. */
    bool telling : 1;
    bool listed : 1; /* by_use is on a list */
    union {
        char name[SESSION_NAME_BYTES_INSIDE]; /* session_name(); no NUL */
        char *far_name;                       /* a longer one */
    };
    struct list queue;     /* tasks that wait for the one under way, in order; the dispatcher's */
    struct list by_use;    /* among the bound ones, or without users among the lost ones */
    struct list of_worker; /* in its worker's list of sessions */
};

struct affinity_counts {
    uint64_t hits;     /* a task found its session bound */
    uint64_t misses;   /* a task bound a session that was new */
    uint64_t rebinds;  /* a task bound a session that was lost */
    uint64_t expiries; /* bindings that ended by time */
    uint64_t releases, worker_losses, evictions;
    uint64_t forgotten; /* lost ones, beyond lost_max */
    uint64_t probes;    /* sessions that look-ups have compared: what they cost */
    uint64_t looks;     /* sessions that sweeps and evictions have looked at */
    size_t bound, lost; /* now; lost: without tasks */
    size_t known;       /* all that are in memory */
};

struct affinity;

static inline const char *session_name(const struct session *s)
{
    return s->name_len > SESSION_NAME_BYTES_INSIDE ? s->far_name : s->name;
}

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
/*
 * When the next sweep is due; INSTANT_NEVER: nothing can expire. It may find nothing, where the
 * session that was used the longest ago has been used again since the sweep before.
 */
struct instant affinity_when(const struct affinity *a);
/* Ends the bindings that have expired, all or some: then it is due again at once. */
void affinity_sweep(struct affinity *a, struct instant now);
struct affinity_counts affinity_counts(const struct affinity *a);
/* NULL: all is sound; else what is not. O(everything). */
const char *affinity_check(const struct affinity *a);

#endif
