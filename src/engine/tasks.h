/*
 * Durable tasks in an engine: the desk on the engine's thread, the registry behind a clerk, and how
 * other threads speak to them.
 *
 *     engine_tasks_open(engine, registry, &options, &tasks, &err);     // finds what a predecessor left, and puts it back
 *     engine_tasks_add_pool(tasks, &core_options, make, ctx, &desk_options, &err);
 *     engine_tasks_start(tasks);                                       // from here on tasks start
 *     engine_tasks_apply(tasks, &op, &err);                            // any thread: submit, cancel, ...; returns when durable
 *     engine_tasks_call(tasks, look, ctx);                             // look(desk, now, ctx) on the engine's thread
 *     engine_tasks_stop(tasks, ...);
 *     engine_tasks_close(tasks);                                       // then engine_free()
 *
 * Reading (lists, one task, events) goes past the engine: by readers of the registry.
 */
#ifndef ENGINE_TASKS_H
#define ENGINE_TASKS_H

#include "core/desk.h"
#include "engine/clerk.h"
#include "engine/engine.h"

#include <pthread.h>

struct engine_tasks;

struct engine_tasks_options {
    struct schedule_options schedule;
    size_t global_limit; /* 0: none */
    uint32_t deaths_max; /* 0: never quarantined */
    const char *spill_path;
    /* New events are durable, up to that number. On the clerk's thread: be quick. May be NULL. */
    void (*committed)(void *ctx, uint64_t last_event);
    /* A process of a predecessor that may still run; its process group is ended before its task is put back. May be NULL. */
    void (*left)(void *ctx, const struct registry_left *l);
    /* What a worker says and goes through: EVENT_WORKER_SAID, EVENT_WORKER_TRANSITION. As an observer is told. May be NULL. */
    void (*worker)(void *ctx, const struct core_event *ev);
    void *ctx;
};

WEIR_MUST_CHECK enum weir_status engine_tasks_open(struct engine *e, struct core_registry *r,
                                                   const struct engine_tasks_options *o,
                                                   struct engine_tasks **ret,
                                                   struct weir_error *err);
/* Tasks that were put back when it was opened. */
uint64_t engine_tasks_put_back(const struct engine_tasks *t);

/*
 * make, ctx: as for engine_add_pool(). Any thread but the engine's and the clerk's. When it fails,
 * nothing uses ctx and desk->ctx any more: an executor that was made is waited for.
 */
WEIR_MUST_CHECK enum weir_status engine_tasks_add_pool(struct engine_tasks *t,
                                                       const struct core_pool_options *o,
                                                       engine_executor_fn make, void *ctx,
                                                       const struct desk_pool_options *desk,
                                                       struct weir_error *err);
/* Tasks start from now on. */
void engine_tasks_start(struct engine_tasks *t);

/*
 * Has an op done: it goes by the desk, when it is about a task that may be in memory or run, and
 * then to the clerk. op->done is called on the clerk's thread once it is durable or has failed
 * (op->err); the op and all that it points to stay the caller's and must live until then.
 * Cancelling a task that runs ends its attempt once the op is durable; the task is cancelled when
 * the attempt has ended, and does not run again, whatever happens meanwhile. Any thread; never
 * blocks. After engine_tasks_stop() with refuse: WEIR_E_SHUTDOWN.
 */
void engine_tasks_send(struct engine_tasks *t, struct registry_op *op);
/* The same, and waits. Not on the engine's nor the clerk's thread. Returns op->err.status. */
WEIR_MUST_CHECK enum weir_status engine_tasks_apply(struct engine_tasks *t, struct registry_op *op,
                                                    struct weir_error *err);
/*
 * The same in two steps: sent (never blocks), so that it is behind all that was sent before, and
 * waited for. The op and the wait stay where they are until then.
 */
struct engine_tasks_wait {
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool is_done;
};
void engine_tasks_apply_begin(struct engine_tasks *t, struct registry_op *op,
                              struct engine_tasks_wait *w);
WEIR_MUST_CHECK enum weir_status
engine_tasks_apply_end(struct engine_tasks_wait *w, struct registry_op *op, struct weir_error *err);

/* Runs fn on the engine's thread and waits for it. Any other thread but the clerk's. */
typedef void (*engine_tasks_fn)(struct desk *desk, struct instant now, void *ctx);
void engine_tasks_call(struct engine_tasks *t, engine_tasks_fn fn, void *ctx);
struct core_registry *engine_tasks_registry(struct engine_tasks *t);
struct engine *engine_tasks_engine(struct engine_tasks *t);

struct engine_tasks_stats {
    struct clerk_stats clerk;
    uint64_t turns;         /* of the engine's loop */
    duration_ns lag_ns_max; /* the longest that a turn came late in the last minute or two */
    int64_t last_claim_ns;  /* wall clock: when an attempt was last started; 0: none yet */
    uint64_t starts;
};
void engine_tasks_get_stats(struct engine_tasks *t, struct engine_tasks_stats *ret);
/* Looks whether the registry is still there; the stats say it. Now and then; one thread at a time. */
void engine_tasks_look(struct engine_tasks *t);

/* Nothing starts any more when this returns. Any other thread but the engine's and the clerk's. */
void engine_tasks_stop_starts(struct engine_tasks *t);
/*
 * Nothing starts any more. Returns when nothing runs, or after `grace_ns`: then running attempts
 * are told to end, and after `kill_ns` more they are killed; their tasks are ready again. refuse:
 * submits and new batches are refused from now on. *ret_left: attempts that were ended so. engine_tasks_end_by()
 * cuts the first wait short.
 */
void engine_tasks_stop(struct engine_tasks *t, duration_ns grace_ns, duration_ns kill_ns,
                       bool refuse, uint64_t *ret_left);
/* From now on submits and new batches are refused (WEIR_E_SHUTDOWN). Any thread. */
void engine_tasks_refuse(struct engine_tasks *t);
/* What runs is told to end by then at the latest: the earliest of all that is said. Before or while it is stopped; any
 * thread. */
void engine_tasks_end_by(struct engine_tasks *t, struct instant then);
/*
 * After engine_tasks_stop(): ends the pools with their workers, and waits for callbacks that were
 * left behind. What happens then is still recorded. What the store does not take for 10 s is given
 * up (results_lost of the clerk's stats). Done by engine_tasks_close(), where it was not done
 * before.
 */
void engine_tasks_end_pools(struct engine_tasks *t);
/* Writes what is left, ends the clerk. The registry is closed by its owner. NULL-safe. */
void engine_tasks_close(struct engine_tasks *t);

#endif
