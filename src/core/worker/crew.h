/*
 * A crew: the workers of one pool, seen from inside. It decides which worker is started, asked,
 * given work, ended and replaced, and when; an edge (exec/process, or a model in a test) does it
 * and tells what happened.
 *
 *     the dispatcher, when it chooses:                       the edge, when something has happened:
 *         switch (crew_pick(c, session, &w)) ...                 crew_spawned(c, w, pid, now)
 *         crew_give(c, w, session, now)                          crew_pong(c, w, ok, text, max_in_flight, now)
 *         edge sends the request                                 crew_answered(c, w, session, how, now)
 *     and in each turn:                                          crew_gone(c, w, cause, text, now)
 *         crew_want(c, rows_ready, now); wake = crew_run(c, now)
 *
 * Three machines of each worker are apart: its life (life.h), its health (health.h) and what it has
 * in hand (in_flight). A worker takes work only when it is ready or busy with room, and healthy.
 * With max_in_flight 1 busy means that it has its one request; with more, busy means that it has at
 * least one.
 *
 * Health. The first message to a worker is a ping; it is ready when it has answered that, with
 * whatever success, within init_timeout. From then on it is pinged when it has been idle for a
 * while, and at once after an error answer, before it is given its next request. A ping that goes
 * out while requests are in hand is behind them in the pipe: its deadline counts from when they
 * have ended. A request that comes after it changes nothing. So a worker that fails its checks does
 * not answer anything at all, and at the limit it is killed at once, with what it has been given
 * since. Answers to a ping that come when none is expected any more say nothing.
 *
 * Places. A crew has `size` permanent places and up to `overflow` more while there is demand. A
 * place whose worker has ended gets another one, at once after a life that was ready once, and
 * after a growing pause (1, 2, 4 .. 30 s) while workers cannot start: one pause for the whole crew,
 * and one start after each, so that a program that is broken is not started `size` times a second.
 * Each start that fails strikes (crew_take_strikes()): the pool's breaker counts them. A lazy crew
 * fills its places when more tasks are ready than its workers have room for.
 *
 * Workers that get ready and end by themselves within a second, without having answered anything,
 * CREW_SHORT_LIVES of them in a row, are taken for starts that fail: else a program that does so
 * would be started without a pause for ever.
 *
 * Retiring. A worker that is to be recycled takes nothing more, loses its sessions, and ends when
 * it has nothing in hand: by the command `shutdown`, SIGTERM, SIGKILL, each after its grace. Its
 * replacement starts when it retires, not when it is gone: for that CREW_SPARE processes more than
 * size + overflow may be there. It is not started before, so a crew of one is without a worker that
 * takes work for as long as its program takes to get ready. By age workers retire one at a time,
 * the next when the replacement of the one before is ready: those that were started together are
 * not away together. An extra worker with sessions does not end by being idle: they expire first.
 *
 * Sessions. A bound session's task goes to its worker; when that has no room the task is parked
 * with the worker (crew_park()) and comes first when there is room again (crew_calling()): until
 * then the worker is not given anything else. When a worker ends or retires, its bindings end and
 * what was parked with it is to be chosen anew (crew_take_orphan()). A new session goes to the
 * worker with room that has the fewest, ties by the order; while a crew starts for the first time
 * it may have to wait for one (crew_spreads()).
 *
 * Cost. What happens for a request is O(1) whatever the number of workers and sessions: a worker
 * with room is on one of three lists, and its timer in a heap is moved only to be earlier. Deaths,
 * starts, listing and new sessions are O(workers).
 *
 * Time is an argument; the crew reads no clock and does no I/O, and calls nobody but its edge and
 * its host's tell(). The edge must not call the crew from within one of its own functions: it notes
 * what happened and says it later, in a turn of the loop. A crew call may come from such a callback
 * at any time that no dispatcher call is under way; crew_run() then follows in the same turn, for
 * what is due because of it (a worker that retires is ended there, a place filled). One thread: the
 * engine's.
 */
#ifndef CORE_WORKER_CREW_H
#define CORE_WORKER_CREW_H

#include "base/heap.h"
#include "base/list.h"
#include "core/ports/observer.h"
#include "core/worker/affinity.h"
#include "core/worker/health.h"
#include "core/worker/life.h"
#include "flow/backoff.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Most workers of one crew, overflow included, and most requests that one may have: each worker costs a process. */
#define CREW_WORKERS_MAX   4096
#define CREW_IN_FLIGHT_MAX 1024
/* Processes that may be there beyond size + overflow, while workers that were replaced end. */
#define CREW_SPARE 1
/* Workers in a row that end by themselves within CREW_SHORT_LIFE_NS of being ready, and have answered nothing. */
#define CREW_SHORT_LIVES   3
#define CREW_SHORT_LIFE_NS (1 * NS_PER_S)
/* A worker that is as old as it may be, and cannot retire yet, tries it again after so long. */
#define CREW_AGE_AGAIN_NS (1 * NS_PER_S)
/* After the first worker of a crew is ready, new sessions wait for the others so long, or as long as it took itself if that
   is more: each that is ready has one until then. */
#define CREW_SPREAD_NS (1 * NS_PER_S)
/* A worker's resident set is looked at once in so long. */
#define CREW_MEMORY_EVERY_NS (1 * NS_PER_S)

enum crew_order { CREW_LIFO, CREW_FIFO }; /* which idle worker goes first */

struct crew_options {
    const char *pool;      /* its name, for events; outlives the crew */
    size_t size;           /* 1 .. CREW_WORKERS_MAX: permanent places */
    size_t overflow;       /* extra ones while demand lasts; size + overflow <= CREW_WORKERS_MAX */
    bool lazy;             /* workers start when there is work, not at once */
    enum crew_order order; /* LIFO */
    uint32_t
        max_in_flight; /* 1 .. CREW_IN_FLIGHT_MAX; used of a worker that says it can, in its ping's answer. 1 */
    duration_ns init_timeout_ns; /* > 0; 30 s, from its start to its first answer */
    struct health_options health;
    duration_ns overflow_idle_ns; /* > 0; 10 s: an extra worker that is idle so long ends */
    uint64_t recycle_requests;    /* a worker ends after so many, and is replaced; 0: never */
    duration_ns recycle_age_ns;   /* after so long, one at a time; 0: never */
    uint64_t
        recycle_memory_bytes; /* when its resident set is larger, looked at after each request, at most once a second; 0 */
    duration_ns shutdown_grace_ns; /* >= 0; 5 s: from the `shutdown` command to SIGTERM */
    duration_ns term_grace_ns;     /* >= 0; 5 s: from SIGTERM to SIGKILL */
    struct backoff_options
        restart; /* pauses while workers cannot start: exponential, 1 s .. 30 s, no jitter */
    struct affinity_options affinity;
};

/* Which list of those that have room a worker is on. */
enum crew_room {
    CREW_ROOM_NONE,
    CREW_ROOM_IDLE,    /* nothing in hand */
    CREW_ROOM_PARTLY,  /* something in hand, and room for more */
    CREW_ROOM_CALLING, /* something parked */
};

enum crew_ending { CREW_ENDING_NOT, CREW_ENDING_ASKED, CREW_ENDING_TERM, CREW_ENDING_KILL };

struct worker {
    uint64_t id;  /* from 1, never used again */
    size_t place; /* from 1; of `size` permanent ones, then the extra ones; see crew_set_size() */
    bool extra;   /* an overflow worker */
    struct worker_life life;
    struct health health;
    int64_t pid; /* 0: not started, or gone */
    struct instant started_at, idle_since;
    struct instant ready_at; /* NEVER: it was not ready yet */
    uint32_t in_flight, max_in_flight;
    bool retiring;                /* takes no new work; ends when it has none in hand */
    const char *why;              /* why it retires or is ended; constant text; NULL: it does not */
    char said[WORKER_MORE_BYTES]; /* more of that; may be empty */
    uint64_t given;               /* requests */
    uint64_t requests, ok, failed; /* answered: in all, with success, with an error */
    uint64_t memory_bytes;         /* when it was looked at last; 0: never */
    struct instant memory_at;      /* when it was looked at */
    size_t sessions;               /* bound */
    struct list session_list;
    struct list parked; /* tasks that wait for it: the dispatcher's links */
    void *edge;         /* the edge's own */

    /* the crew's own */
    enum crew_ending ending;
    struct instant ends_at; /* when the present grace is over */
    struct instant ages_at; /* when its age is looked at next; NEVER: not at all */
    uint32_t ahead;         /* requests that were in hand when the ping went out, and still are */
    uint64_t round;         /* of starting, see struct crew */
    bool unproved;          /* it got ready after short lives: only an answer shows that it works */
    bool placed;            /* has its place; false: it has been replaced, or is to be */
    enum crew_room listed;
    uint32_t room; /* that is counted in the crew's */
    struct list room_link;
    struct list link; /* among all */
    struct heap_node timer;
    struct instant timer_at; /* at the latest when something is due: early is allowed */
};

enum crew_end { CREW_END_SHUTDOWN, CREW_END_TERM, CREW_END_KILL };

/* What does it. None may fail at once: what goes wrong is told later by crew_gone(). None may call the crew. */
struct crew_edge {
    /* Starts a program for the worker. crew_spawned() or crew_gone() follows. */
    void (*spawn)(struct crew_edge *e, struct worker *w);
    /* Sends a ping; crew_pong() follows, or its deadline passes. */
    void (*ping)(struct crew_edge *e, struct worker *w);
    /* Sends the command `shutdown`, or a signal to its process group; crew_gone() follows once it is gone. May come before
     * crew_spawned(), and more than once, each time with more force. */
    void (*end)(struct crew_edge *e, struct worker *w, enum crew_end how);
    /* Its resident set; 0: not known. */
    uint64_t (*memory)(struct crew_edge *e, struct worker *w);
    /* The worker is about to be freed: `edge` is to be let go. May be NULL. */
    void (*forget)(struct crew_edge *e, struct worker *w);
};

/* Whom it tells (worker.transition events); may be NULL. */
struct crew_host {
    void (*tell)(struct crew_host *h, const struct core_event *ev);
};

struct crew;

/* size 1, no overflow, and what design 5 says. */
void crew_options_init(struct crew_options *o);
WEIR_MUST_CHECK enum weir_status crew_options_check(const struct crew_options *o,
                                                    struct weir_error *err);
/* edge and host outlive it. Nothing is started before the first crew_run(). */
WEIR_MUST_CHECK enum weir_status crew_new(const struct crew_options *o, struct crew_edge *edge,
                                          struct crew_host *host, struct instant now,
                                          struct crew **ret, struct weir_error *err);
/*
 * Another number of permanent workers: 1 .. CREW_WORKERS_MAX less the overflow. More: extra ones
 * that are there become permanent, and others start as places are filled. Fewer: the surplus
 * retires, first those that are not ready yet, then idle ones without sessions, with sessions, and
 * at last busy ones, which end when they have nothing in hand. A place keeps its number, so
 * permanent ones may have higher ones than `size` from then on. On an error nothing has changed.
 */
WEIR_MUST_CHECK enum weir_status crew_set_size(struct crew *c, size_t size, struct instant now,
                                               struct weir_error *err);
/* All workers are gone (asserted). NULL-safe; returns NULL. */
struct crew *crew_free(struct crew *c);

/* ---- the dispatcher's ---- */

enum crew_pick {
    CREW_TAKE, /* *ret has room for it */
    CREW_NONE, /* no worker has room: nothing without a bound session can go */
    CREW_WAIT, /* its session's worker, *ret, has no room: park it there */
    CREW_SPREAD, /* its session is new, and waits for workers that start: crew_spreads(). All others may go */
};
/* s: the task's session, or NULL. Changes nothing. */
enum crew_pick crew_pick(struct crew *c, const struct session *s, struct worker **ret);
/*
 * Whether new sessions wait for workers that get ready for the first time: else the first one to be
 * ready, by some milliseconds, would get all sessions of a batch, and keep them. Ends by itself:
 * crew_run() says when at the latest. A worker without a session takes the next new one meanwhile.
 */
bool crew_spreads(const struct crew *c);
/* A worker that could be taken instead, by a task that is not bound: not the one with that id. NULL: there is none. */
struct worker *crew_another(struct crew *c, uint64_t id);
/* The worker that crew_pick() named has one request more. Binds s when it is not bound. Returns whether the request has
 * to say that the session was lost. */
bool crew_give(struct crew *c, struct worker *w, struct session *s, struct instant now);
void crew_park(struct crew *c, struct worker *w, struct list *task);
/* Takes it off the list it is on. w: where it was parked; NULL: it is an orphan, that worker has ended. */
void crew_unpark(struct crew *c, struct worker *w, struct list *task);
/* A worker that has room and something parked; its first parked task is to be started. NULL: none. */
struct worker *crew_calling(struct crew *c);
/* Tasks that were parked with a worker that has ended, one after the other; NULL: no more. */
struct list *crew_take_orphan(struct crew *c);
struct affinity *crew_affinity(struct crew *c);
/* How many tasks could start if there were workers: what overflow and lazy workers are started for. */
void crew_want(struct crew *c, size_t tasks, struct instant now);
/* Starts, asks, ends what is due. Returns when to be called again at the latest. */
struct instant crew_run(struct crew *c, struct instant now);
/* Starts that have failed since the last call, and short lives that are taken for such. */
uint32_t crew_take_strikes(struct crew *c);
/* No worker starts before then (the breaker is open); INSTANT_NONE: lifted. */
void crew_hold_starts(struct crew *c, struct instant until);
/* Whether nothing works: no worker is ready or busy, and those that should be cannot start or fail their checks. A
 * replacement that starts after a worker has died is no such case, as long as starts succeed. O(1). */
bool crew_all_affected(const struct crew *c);
/*
 * Everything ends, and nothing starts any more: idle workers are told to shut down at once, busy
 * ones when they are idle; those that have not been ready yet, and with at_once busy ones too, are
 * sent SIGTERM instead, for they do not read. crew_run() goes on being called until
 * crew_is_empty(). Repeatable.
 */
void crew_shut_down(struct crew *c, bool at_once, struct instant now);
bool crew_is_empty(const struct crew *c);

/* ---- the edge's ---- */

void crew_spawned(struct crew *c, struct worker *w, int64_t pid, struct instant now);
/* The answer to a ping: any success will do. text: the error, for the record, or NULL. max_in_flight: what it says it
 * can take; 0: it says nothing. */
void crew_pong(struct crew *c, struct worker *w, bool ok, const char *text, uint32_t max_in_flight,
               struct instant now);

enum crew_answer {
    CREW_ANSWER_OK,
    CREW_ANSWER_ERROR,    /* it reported a failure: the worker stays, and is checked */
    CREW_ANSWER_CAPACITY, /* it is full: no failure */
    CREW_ANSWER_UNSENT, /* it was never sent, and nothing is wrong with the worker: as if it had not been given */
    CREW_ANSWER_NONE, /* the attempt ended without an answer: the worker takes nothing more;
                         crew_gone() or crew_kill() goes with it, else it is ended in good order */
};
/* An attempt that was given to w has ended there. s as in crew_give(). */
void crew_answered(struct crew *c, struct worker *w, struct session *s, enum crew_answer how,
                   struct instant now);
/* It must go at once (a request timed out, it broke the protocol): SIGKILL, and a replacement. why: constant text. */
void crew_kill(struct crew *c, struct worker *w, const char *why, const char *detail,
               struct instant now);
/* It is to end although it is busy (what it does is not wanted any more): SIGTERM, and after its grace SIGKILL; and a
 * replacement. Harmless when it is being ended already. why: constant text. */
void crew_term(struct crew *c, struct worker *w, const char *why, struct instant now);
/* Its process is gone, or never was. cause: constant text for the record ("exited", "could not be started", ...). All its
 * attempts have been ended before. The worker is freed. */
void crew_gone(struct crew *c, struct worker *w, const char *cause, const char *detail,
               struct instant now);

/* ---- for looking ---- */

struct crew_counts {
    uint64_t started;          /* processes */
    uint64_t ready_once;       /* workers that have been ready */
    uint64_t failed_starts;    /* that ended before they were ready, and not by our wish */
    uint64_t lost;             /* that were ready once and ended by themselves */
    uint64_t killed;           /* by crew_kill(), or for their health */
    uint64_t recycled;         /* for their requests, age or memory */
    uint64_t replaced;         /* places that were filled again */
    uint64_t expired_overflow; /* extra ones that were idle */
    size_t by_state[WORKER_STATES], by_health[HEALTH_KINDS];
    size_t workers;
};
struct crew_counts crew_counts(const struct crew *c);
/* Each worker, in the order of places, then those that have been replaced and are not gone yet. */
void crew_each(struct crew *c, void (*fn)(void *ctx, const struct worker *w), void *ctx);
struct worker *crew_find(struct crew *c, uint64_t id);
const struct crew_options *crew_get_options(const struct crew *c);
/* NULL: all is sound; else what is not. O(everything). */
const char *crew_check(const struct crew *c);

#endif
