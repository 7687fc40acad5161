/*
 * The engine at work: a thread of its own that owns all state, and the calls by which other threads
 * speak to it.
 *
 *     engine_new(&options, &engine, &err);
 *     engine_add_pool(engine, &pool_options, make_executor, ctx, &pool, &err);
 *     engine_open_batch(engine, pool, &batch_options, &batch, &err);
 *     // one thread:                                     another:
 *     engine_batch_add(batch, task, true, &err);         while (engine_batch_next(batch, &chain, &err) == WEIR_OK)
 *     engine_batch_end(batch);                               for each task: use it; engine_batch_give_back(batch, chain);
 *     engine_batch_close(batch);
 *     engine_free(engine);
 *
 * Rows wait in a window: at most `window_rows` are between add and give_back, and engine_batch_add
 * blocks (or says WEIR_E_AGAIN) when it is full. That bounds memory, and the reordering too. So
 * results must be taken while rows are added: by another thread, or in turn.
 *
 * Threads: every call may be made from any thread but the engine's own. A batch has any number of
 * adding threads (each row's index says its place) and one taking thread at a time.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "core/batch.h"
#include "core/pool.h"
#include "core/ports/executor.h"
#include "core/ports/observer.h"
#include "core/ports/store.h"
#include "core/stats.h"
#include "core/task.h"
#include "core/worker/crew.h"

struct uv_loop_s;
struct engine;
struct engine_batch;

struct engine_options {
    uint64_t seed; /* of all randomness; 0: from the system */
    struct core_observer
        *observer; /* told every step, on the engine's thread; may be NULL; outlives the engine */
    /*
     * Told only what executors tell of themselves (what workers go through and say), where there is
     * no observer. Steps of rows that nobody is told of cost nothing, and rows of very short work
     * may then go together.
     */
    struct core_observer *edge_observer;
};

/* Starts the engine's thread. */
WEIR_MUST_CHECK enum weir_status engine_new(const struct engine_options *o, struct engine **ret,
                                            struct weir_error *err);
/* Shuts down (running attempts are cancelled, workers end), joins the thread, frees all. Batches must be closed before,
   and no call may be under way. NULL-safe. */
void engine_free(struct engine *e);

/*
 * No new batch or row from now on; waiting rows end as cancelled (shutdown_requested). With wait,
 * returns when the running attempts have ended by themselves; else they are cancelled, and it
 * returns when they are gone. Repeatable.
 */
void engine_shutdown(struct engine *e, bool wait);

/*
 * Told, on the engine's thread, what executors say of attempts that run: that they have begun as a
 * process, and that they are alive. What is said before an attempt's report is told before the
 * report is acted upon. Either may be NULL. `now` is the time of the turn. It may come late, of an
 * attempt that has ended; the token tells. Of what there is no memory for nothing is told.
 */
struct engine_receiver {
    void (*began)(void *ctx, const struct core_attempt_began *b, struct instant now);
    void (*beat)(void *ctx, const struct core_heartbeat *b, struct instant now);
    void *ctx;
};

/* Copies *r; NULL: nobody is told, and nothing is queued for that any more. While nothing runs. */
void engine_set_receiver(struct engine *e, const struct engine_receiver *r);

/* Makes the executor of a pool; called once, on the engine's thread. */
typedef enum weir_status (*engine_executor_fn)(void *ctx, const struct core_pool_options *options,
                                               struct uv_loop_s *loop,
                                               struct core_executor_host *host,
                                               struct core_executor **ret, struct weir_error *err);

/* The pool lives as long as the engine. */
WEIR_MUST_CHECK enum weir_status engine_add_pool(struct engine *e,
                                                 const struct core_pool_options *o,
                                                 engine_executor_fn make, void *ctx,
                                                 struct core_pool **ret, struct weir_error *err);
void engine_pool_stats(struct engine *e, struct core_pool *pool, struct core_stats *ret);

/* How a pool is fed just now; for displays. */
struct engine_pool_state {
    duration_ns held_ns; /* the service asked for a pause that lasts this long still; 0: none */
};
void engine_pool_state(struct engine *e, struct core_pool *pool, struct engine_pool_state *ret);

/* core/dispatcher.h has what these mean: dispatcher_set_fallback() and so on. */
WEIR_MUST_CHECK enum weir_status engine_set_fallback(struct engine *e, struct core_pool *pool,
                                                     struct core_pool *other,
                                                     struct weir_error *err);
void engine_pool_hold(struct engine *e, struct core_pool *pool, bool held);
void engine_pool_reset_breaker(struct engine *e, struct core_pool *pool);

/* ---- workers, of pools that have some ---- */

/* A worker as it was when it was asked for. */
struct engine_worker {
    uint64_t id;
    size_t place; /* from 1 */
    bool extra;   /* an overflow worker */
    int64_t pid;  /* 0: not started, or gone */
    enum worker_state state;
    struct instant since; /* of the state */
    enum worker_health health;
    uint32_t failed_checks; /* in a row */
    struct instant started_at;
    uint32_t in_flight, max_in_flight;
    uint64_t requests, ok, failed;
    uint64_t memory_bytes; /* 0: not looked at */
    size_t sessions;
    size_t move_count;
    const struct worker_transition *moves; /* the newest first; at most WORKER_HISTORY */
};

struct engine_workers {
    size_t count;
    struct engine_worker *workers; /* by place */
    struct crew_counts counts;
    struct affinity_counts sessions;
    void *memory; /* the copy's own */
};

/* WEIR_E_INVALID: the pool has no workers. engine_workers_free() frees the copy. */
WEIR_MUST_CHECK enum weir_status engine_pool_workers(struct engine *e, struct core_pool *pool,
                                                     struct engine_workers *ret,
                                                     struct weir_error *err);
void engine_workers_free(struct engine_workers *w);
/* Ends a session's binding by hand. False: it is not bound. */
bool engine_pool_release_session(struct engine *e, struct core_pool *pool, const char *name);

/* ---- calls outside of a batch ---- */

struct engine_request {
    const void *payload; /* what the pool's executor expects */
    size_t payload_len;
    void *user; /* for release() */
    void (*release)(
        void *user);     /* the payload is used up: after the call or in it; NULL: nothing to do */
    const char *key;     /* copied; not empty; NULL: "call" */
    const char *session; /* copied; NULL: none */
    int64_t tokens;
    duration_ns timeout_ns; /* > 0, in all, from now; 0: none but the pool's own for each attempt */
};

struct engine_reply {
    struct core_answer answer; /* answer_clear() frees what it owns */
    uint32_t attempts;
    uint64_t worker; /* that answered; 0: none */
    struct instant submit_at, start_at, complete_at;
};

/*
 * Has one piece of work done and waits for it. It takes its turn with the pool's batches, and the
 * pool's retries, throttle, breaker and checkout timeout hold for it. When its time is up what runs
 * of it is cancelled, and it ends as timeout, reason deadline. WEIR_OK: *ret is filled in, whatever
 * the outcome. The payload is the engine's from the call on, also when it fails. WEIR_E_SHUTDOWN,
 * WEIR_E_NOMEM, WEIR_E_INVALID; WEIR_E_AGAIN: CALLS_MAX calls are under way. Any thread; not the
 * engine's.
 */
#define CALLS_MAX BATCH_WINDOW_ROWS
WEIR_MUST_CHECK enum weir_status engine_call_pool(struct engine *e, struct core_pool *pool,
                                                  const struct engine_request *r,
                                                  struct engine_reply *ret, struct weir_error *err);

/* ---- batches ---- */

struct engine_batch_options {
    struct core_batch_options core;
    uint64_t
        window_bytes; /* payloads and outputs between add and give_back; a soft limit; 0: 256 MiB */
    struct core_store
        *store; /* NULL: nothing outlives the process. Stays the caller's; outlives the batch */
    bool
        calls; /* call.c: each row is handed to whoever waits for it, in the turn in which it ends */
};

WEIR_MUST_CHECK enum weir_status engine_open_batch(struct engine *e, struct core_pool *pool,
                                                   const struct engine_batch_options *o,
                                                   struct engine_batch **ret,
                                                   struct weir_error *err);

/*
 * Gives a task to the batch, which owns it from then on if (and only if) this returns WEIR_OK.
 * Indexes start at options.core.first_index and go up by one. block: waits for room; else
 * WEIR_E_AGAIN when there is none. WEIR_E_SHUTDOWN: the engine is shut down. WEIR_E_END: the batch
 * was stopped or has failed.
 */
WEIR_MUST_CHECK enum weir_status engine_batch_add(struct engine_batch *b, struct core_task *task,
                                                  bool block, struct weir_error *err);
/*
 * The same for `count` tasks, each made only when there is room, under the batch's lock: in the
 * order of the calls. make returns NULL when there is no memory. *ret_added: how many were added,
 * whatever is returned.
 */
typedef struct core_task *(*engine_make_fn)(void *ctx);
WEIR_MUST_CHECK enum weir_status engine_batch_add_made(struct engine_batch *b, engine_make_fn make,
                                                       void *ctx, size_t count, bool block,
                                                       size_t *ret_added, struct weir_error *err);
/* Waits until there is room, or until no row is taken any more. Somebody else may be faster to use it. */
void engine_batch_wait_room(struct engine_batch *b);
/* No more rows come. */
void engine_batch_end(struct engine_batch *b);

/*
 * The next results, in order: a chain (through next) of at least one task. Blocks until there is
 * one, or until timeout_ns has passed (WEIR_E_AGAIN; negative: no limit). WEIR_E_END: there will be
 * no more. WEIR_E_IO and others: the store failed; what was delivered before stands.
 */
WEIR_MUST_CHECK enum weir_status engine_batch_next(struct engine_batch *b, duration_ns timeout_ns,
                                                   struct core_task **ret_chain,
                                                   struct weir_error *err);
/* The tasks of a chain are used up; makes room in the window, and releases them. */
void engine_batch_give_back(struct engine_batch *b, struct core_task *chain);

/*
 * The same for a caller that releases those of the tasks itself which are in_run, one by one when
 * it is done with each, and counts: rows and bytes (payload and output) of all, run_rows and
 * run_bytes (output) of those. `others` is the chain of the rest.
 */
struct engine_batch_returned {
    uint64_t rows, bytes;
    uint64_t run_rows, run_bytes;
};
void engine_batch_returned(struct engine_batch *b, const struct engine_batch_returned *r,
                           struct core_task *others);

/*
 * Starts nothing more. Running attempts finish (or are cancelled); rows whose turn comes without a
 * gap are still delivered, then engine_batch_next says WEIR_E_END. Rows that did not finish have no
 * result; a store lets a later batch run them. Repeatable, with cancel_running the second time.
 */
void engine_batch_stop(struct engine_batch *b, bool cancel_running);

void engine_batch_stats(struct engine_batch *b, struct core_stats *ret);
/* The wall-clock time (nanoseconds since the Unix epoch) of an engine's instant; 0 for INSTANT_NONE. */
int64_t engine_wall_ns(const struct engine *e, struct instant t);
/* What record_restore() needs for records from a store. */
int64_t engine_wall_offset_ns(const struct engine *e);
struct instant engine_now(const struct engine *e);

/* Stops the batch if it still runs, waits for what runs of it, and frees it with all tasks not given back. NULL-safe. */
void engine_batch_close(struct engine_batch *b);

#endif
