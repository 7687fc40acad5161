/*
 * The dispatcher: accept, hold, choose, permit, start, judge, order, deliver.
 *
 * The heart of the engine, without a clock, a thread or a byte of I/O. Whoever drives it (the
 * engine's thread over libuv, or the simulator in virtual time) tells it what happened and calls
 * dispatcher_run():
 *
 *     dispatcher_submit(d, batch, task, now, &err);
 *     dispatcher_report(d, attempt, now);            // an executor has ended an attempt
 *     dispatcher_committed(d, task, now);            // the store has a result
 *     wake = dispatcher_run(d, now);                 // start what may start; come back at `wake` at the latest
 *
 * and it calls back through its host and the executors. Callbacks never come from anything but
 * these calls, and must not call the dispatcher in turn: they queue what they have to say.
 *
 * Given the same calls with the same times and the same seed it does the same (I7). One thread.
 */
#ifndef CORE_DISPATCHER_H
#define CORE_DISPATCHER_H

#include "core/batch.h"
#include "core/permits.h"
#include "core/pool.h"
#include "core/ports/executor.h"
#include "core/ports/observer.h"
#include "core/stats.h"
#include "core/task.h"

struct dispatcher;

struct dispatcher_host {
    /*
     * A row has its result. Of a durable batch: make it durable, then call dispatcher_committed(),
     * or dispatcher_abort() and dispatcher_uncommitted() when that failed.
     */
    void (*finished)(struct dispatcher_host *h, struct core_batch *b, struct core_task *t);
    /* An attempt has ended that is not the row's last; its answer is in the task. */
    void (*retrying)(struct dispatcher_host *h, struct core_batch *b, const struct core_task *t,
                     duration_ns wait_ns);
    /* The next result in order. The task is the host's until dispatcher_give_back(). */
    void (*deliver)(struct dispatcher_host *h, struct core_batch *b, struct core_task *t);
    /* The same for rows that go in a run; only of batches that dispatcher_takes_runs(). */
    void (*run_finished)(struct dispatcher_host *h, struct core_batch *b, struct core_run *r);
    /* The host's until dispatcher_give_back_run(). */
    void (*deliver_run)(struct dispatcher_host *h, struct core_batch *b, struct core_run *r);
    /* Nothing more will be delivered. Once per batch. */
    void (*closed)(struct dispatcher_host *h, struct core_batch *b);
    /* A pool that was removed is gone: it is not to be used any more. May be NULL. */
    void (*pool_gone)(struct dispatcher_host *h, struct core_pool *p);
};

struct dispatcher_options {
    uint64_t seed;
    size_t global_limit;            /* attempts over all pools; 0: none */
    struct core_observer *observer; /* may be NULL */
    struct dispatcher_host *host;
};

WEIR_MUST_CHECK enum weir_status dispatcher_new(const struct dispatcher_options *o,
                                                struct dispatcher **ret, struct weir_error *err);
/* Closes the executors. All batches are freed and nothing runs (asserted). NULL-safe. */
void dispatcher_free(struct dispatcher *d);

/* Tells another one from now on; NULL: nobody. */
void dispatcher_set_observer(struct dispatcher *d, struct core_observer *observer);

/* The options are checked. On success the executor is the pool's; it is closed with the dispatcher. */
WEIR_MUST_CHECK enum weir_status
dispatcher_add_pool(struct dispatcher *d, const struct core_pool_options *o,
                    struct core_executor *executor, struct core_pool **ret, struct weir_error *err);

/*
 * Rows of pool may go to other: those that the recovery table has fail over, for one attempt, and
 * all that are ready while the breaker of pool is open and the one of other is not. What runs there
 * takes other's permits and counts in its statistics; the row stays its batch's, and goes no
 * further. Both understand the same payloads. NULL: to none. WEIR_E_INVALID: a pool is no fallback
 * of its own; WEIR_E_BUSY: batches are open in pool.
 */
WEIR_MUST_CHECK enum weir_status dispatcher_set_fallback(struct dispatcher *d,
                                                         struct core_pool *pool,
                                                         struct core_pool *other,
                                                         struct weir_error *err);
/* While held, nothing starts in the pool; what runs goes on, and what waits may run into its deadline. */
void dispatcher_hold_pool(struct core_pool *pool, bool held, struct instant now);
/* Closes the pool's breaker by hand. */
void dispatcher_reset_breaker(struct core_pool *pool, struct instant now);
/*
 * Whether a session's worker, *ret, has no room for what comes next of it, because of others: not
 * because something of the session itself is under way. *ret is good until the next call.
 */
bool dispatcher_session_waits(struct core_pool *pool, struct slice session,
                              const struct worker **ret, struct instant now);
/* Of a pool whose breaker is open: says so in one line, why, and when it lets something through. */
void core_pool_say_broken(const struct core_pool *p, char *buf, size_t bytes, struct instant now);
/* Ends a session's binding by hand: what waits for its worker may go to any. False: it is not bound. */
bool dispatcher_release_session(struct core_pool *pool, const char *name, struct instant now);
/* The workers of the pool; NULL: it has none. For looking. */
struct crew *core_pool_crew(const struct core_pool *pool);
/* Workers that are not gone yet, over all pools: after a shutdown they end, by dispatcher_run(). */
size_t dispatcher_workers(const struct dispatcher *d);

/* owner: whatever the host wants to find again with core_batch_owner(). */
WEIR_MUST_CHECK enum weir_status dispatcher_open_batch(struct dispatcher *d, struct core_pool *pool,
                                                       const struct core_batch_options *o,
                                                       void *owner, struct instant now,
                                                       struct core_batch **ret,
                                                       struct weir_error *err);
void *core_batch_owner(const struct core_batch *b);
uint64_t core_batch_number(const struct core_batch *b);

/*
 * Gives a row to a batch. On WEIR_OK the task is the dispatcher's. WEIR_E_LIMIT: its index is not
 * within the window; WEIR_E_SHUTDOWN; WEIR_E_END: the batch was ended or stopped; WEIR_E_NOMEM.
 */
WEIR_MUST_CHECK enum weir_status dispatcher_submit(struct dispatcher *d, struct core_batch *b,
                                                   struct core_task *t, struct instant now,
                                                   struct weir_error *err);
/* Whether the batch takes rows in runs. It may be told either way, of any row. */
bool dispatcher_takes_runs(const struct core_batch *b);
/*
 * The same as dispatcher_submit() for up to RUN_ROWS_MAX rows, of which nothing is set that is not
 * needed: no tokens, no deadline, no answer. Their indexes follow those of all rows before without
 * a gap. r->rows and r->last are set.
 */
WEIR_MUST_CHECK enum weir_status dispatcher_submit_run(struct dispatcher *d, struct core_batch *b,
                                                       struct core_run *r, struct instant now,
                                                       struct weir_error *err);
/* No more rows come. */
void dispatcher_end(struct dispatcher *d, struct core_batch *b, struct instant now);

/* ---- rows that are one attempt each, of batches with options.single: the desk's (core/desk.h) ---- */

enum core_offer_result {
    OFFER_STARTED,
    OFFER_LIMIT, /* block says which; PERMIT_NEVER too, for limits may be changed */
    OFFER_HELD,  /* the pool is, by hand, or it is going */
    /* Throttle, pacer, budget or breaker (also where rows of batches would fail at once then): not before `when` (NEVER:
     * until something of the pool ends). */
    OFFER_GATE,
    OFFER_NO_WORKER, /* none has room: until one has */
    /* The one that holds its session's state has none: `worker`; or its session is under way: there, or 0. */
    OFFER_WORKER,
    /* It can never be started there (more tokens than a whole budget, a bad session name, or prepare() said so): err says
     * why. */
    OFFER_NEVER,
};

struct core_offer {
    enum core_offer_result result;
    enum permit_block block; /* FREE but for OFFER_LIMIT */
    struct instant when;
    uint64_t worker; /* an id; 0: none */
};

/*
 * Starts the row now, in its batch's pool, if everything allows it: takes the permit with all that
 * it needs, passes the gate and the breaker, takes its worker. Or nothing has happened, the task is
 * still the caller's, and *ret says why. A started one is the dispatcher's as after
 * dispatcher_submit(); whatever its attempt's outcome (capacity too), the row then ends with it,
 * through host->finished() and deliver(), when its permit has been returned. WEIR_OK unless memory
 * is out, the batch takes no rows, or its window is full (WEIR_E_LIMIT). need: NULL: nothing beside
 * a place. The numbers of its slots are told to the batch's options.prepare().
 *
 * What the caller may set beside a row's own fields: capacity_retries (refusals of the same work
 * before: the throttle wants to know), spared (lost bystanders before), worker (the one that it has
 * failed with: it is given another if there is one). What it may find in a task that has ended:
 * attempts 0: it could not be given to its worker and never began (lost, bystander).
 */
WEIR_MUST_CHECK enum weir_status dispatcher_offer(struct dispatcher *d, struct core_batch *b,
                                                  struct core_task *t,
                                                  const struct permit_need *need,
                                                  struct instant now, struct core_offer *ret,
                                                  struct weir_error *err);
/*
 * Room for so many rows in a batch of single ones, at least as many as it has
 * (BATCH_WINDOW_ROWS_MAX at most); less changes nothing. WEIR_E_NOMEM: it is as it was.
 */
WEIR_MUST_CHECK enum weir_status dispatcher_widen_batch(struct core_batch *b, uint32_t rows,
                                                        struct weir_error *err);
/*
 * So many tasks wait at the caller for workers of the pool (OFFER_NO_WORKER): what lazy and extra
 * ones are started for. Holds until the next call; an offer that fails for that counts as one where
 * it was none, one that starts as one less.
 */
void dispatcher_want_workers(struct core_pool *pool, size_t tasks);
/*
 * Ends the attempt of a running row, which then has this answer whatever the executor reports (that
 * is counted as late): by hand, because its heartbeats have stopped, or its own time is up. False:
 * it does not run (any more), or is ended already. Where the executor can end it, the row ends with
 * the report, when nothing of the attempt is left; where it can only ask, at once, and the permit
 * stays taken until the report.
 */
bool dispatcher_end_attempt(struct dispatcher *d, struct core_task *t, enum weir_outcome outcome,
                            enum weir_reason reason, const char *message, struct instant now);

/* ---- limits that change ---- */

/*
 * size: 1 .. POOL_SIZE_MAX. Of a pool with a crew its workers follow: as many as can have so many
 * requests in hand, less the extra ones. An executor that runs no more than `size` at once by
 * itself (thread, command) is told: threads are added, or end. Http keeps open as many connections
 * as it was made with; those beyond are closed after use. What was handed over ahead comes back
 * when the limit is lowered. WEIR_E_INVALID (more than its executor can have), WEIR_E_NOMEM,
 * WEIR_E_SHUTDOWN (it is being removed): the limit is what it was.
 */
WEIR_MUST_CHECK enum weir_status dispatcher_set_pool_limit(struct dispatcher *d,
                                                           struct core_pool *pool, size_t size,
                                                           struct instant now,
                                                           struct weir_error *err);
/*
 * So many more than `size`, at times (core/permits.h); 0: none. The executor may run these too;
 * with one, rows go neither ahead nor in runs. The errors are those of the limit.
 */
WEIR_MUST_CHECK enum weir_status dispatcher_set_pool_burst(struct core_pool *pool, size_t places,
                                                           double seconds, struct instant now,
                                                           struct weir_error *err);
/* 0: none. With one, rows do not go in runs. */
void dispatcher_set_global_limit(struct dispatcher *d, size_t limit);
/*
 * The pool's permits: where its quotas and reserve are set, after permit_settle() (the limits and
 * the burst by the calls above), and what runs is counted.
 */
struct permit_account *core_pool_permits(struct core_pool *pool);
struct permits *dispatcher_permits(struct dispatcher *d);
/*
 * Takes a pool away: nothing starts in it any more, and its workers end as they become idle. When
 * nothing of it runs, its batches are freed (and those, but for single ones, of pools whose
 * fallback it is) and its workers are gone, dispatcher_run() closes it, and tells by
 * host->pool_gone(). Until then it may be looked at like any other. Rows of its batches that wait
 * go on waiting: stop these. Repeatable.
 */
void dispatcher_remove_pool(struct dispatcher *d, struct core_pool *pool, struct instant now);

/* An executor reports one attempt. A second report of the same attempt is counted and ignored (I5). */
void dispatcher_report(struct dispatcher *d, struct core_attempt *a, struct instant now);
/* An executor reports runs, or parts of them (core/ports/executor.h). */
void dispatcher_report_runs(struct dispatcher *d, struct core_run *chain, struct instant now);
/* The store has the result of a task that host->finished() was told of. */
void dispatcher_committed(struct dispatcher *d, struct core_task *t, struct instant now);
/* The store could not take the result, after dispatcher_abort(): the row counts as dropped. */
void dispatcher_uncommitted(struct dispatcher *d, struct core_task *t);
/* A delivered task is used up. */
void dispatcher_give_back(struct dispatcher *d, struct core_task *t);

/* So many rows that were delivered in runs are used up; nothing here refers to them, so that any thread may release them. */
void dispatcher_give_back_run(struct dispatcher *d, struct core_batch *b, uint64_t rows,
                              uint64_t output_bytes);

/* Fires timers and starts what may start. Returns when to call again at the latest; INSTANT_NEVER: only when told. */
struct instant dispatcher_run(struct dispatcher *d, struct instant now);

/*
 * Stops a batch: rows that wait are dropped without a result; running ones finish, or are cancelled
 * and dropped. What is finished and next in order is still delivered; then host->closed().
 */
void dispatcher_stop(struct dispatcher *d, struct core_batch *b, bool cancel_running,
                     struct instant now);
/* The same, and what is not yet committed never will be: the store has failed. */
void dispatcher_abort(struct dispatcher *d, struct core_batch *b, struct instant now);
/*
 * All batches: rows that wait end as cancelled (shutdown_requested); running ones finish, or are
 * cancelled and end the same way. From now on submit says WEIR_E_SHUTDOWN. Repeatable.
 */
void dispatcher_shutdown(struct dispatcher *d, bool cancel_running, struct instant now);

/* Whether host->closed() has been told of it. */
bool dispatcher_batch_closed(const struct core_batch *b);
/* Whether nothing of the batch runs and nothing of it is with the host or the store. */
bool dispatcher_batch_idle(const struct core_batch *b);
/* Frees a batch that is closed and idle (asserted), and its tasks. */
void dispatcher_free_batch(struct dispatcher *d, struct core_batch *b);

void dispatcher_batch_stats(const struct core_batch *b, struct core_stats *ret);
void dispatcher_pool_stats(const struct core_pool *p, struct core_stats *ret);
const struct core_pool_options *core_pool_get_options(const struct core_pool *p);
/* "http", "process", ...: of its executor. */
const char *core_pool_kind(const struct core_pool *p);
/* How the pool's throttle limits it now, and why; valid as long as the pool. */
const struct throttle_state *core_pool_throttle(const struct core_pool *p);
/* Until when the service itself asked the pool to pause; INSTANT_NONE: it did not. */
struct instant core_pool_held_until(const struct core_pool *p);
/* Attempts that run now, over all pools. */
size_t dispatcher_running(const struct dispatcher *d);

/* Checks I1, I2, I3, I4 and the sanity of every structure. NULL: all hold; else which does not. O(everything). */
const char *dispatcher_check(const struct dispatcher *d);

#endif
