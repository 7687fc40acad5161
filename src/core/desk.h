/*
 * The desk: tasks of the registry, from ready to ended.
 *
 * Between three that know nothing of each other: the registry (core/ports/registry.h), which
 * remembers every task, the schedule (core/schedule/schedule.h), which chooses, and the dispatcher
 * (core/dispatcher.h), which runs attempts in pools. The desk keeps a window of the ready tasks in
 * memory, offers what is chosen to its pool, judges what came of it, and writes each step to the
 * registry:
 *
 *     registry ──take──► window: schedule ──choose──► offer ──► attempt ──outcome──► judge
 *        ▲                    ▲                                                        │
 *        └────── start ───────┼────────── end: done, failed, ready or scheduled ◄──────┘
 *                             └──── refused (capacity): again, at its old place, after its wait
 *
 * It stands on one dispatcher, whose thread is its own. What it has to write it gives to its host
 * as ops, in an order that must be kept; what comes back of them it is told by desk_written():
 *
 *     desk_add_pool(desk, pool, &options, &desk_pool, &err);
 *     desk_line_ready(desk, line, now);       // for each line that the registry has ready tasks of
 *     wake = desk_run(desk, now);             // before each dispatcher_run()
 *     desk_written(desk, op, now);            // an op is durable, or has failed
 *     desk_finished(desk, task);              // the dispatcher's host->deliver(), of the desk's batches
 *
 * An attempt may run before its START is durable: waiting for it would cost a sync of the disk for
 * each task. What is lost by a crash then is that it had begun: the task is ready again, as if it
 * had not. A task's END is written behind its START, or with it; its result is seen only when it is
 * durable. While more than DESK_UNWRITTEN_MAX ops are not written (the store is slow, full or
 * gone), nothing starts.
 *
 * Pure; one thread.
 */
#ifndef CORE_DESK_H
#define CORE_DESK_H

#include "base/list.h"
#include "core/dispatcher.h"
#include "core/ports/registry.h"
#include "core/schedule/schedule.h"

struct desk;
struct desk_pool;

/* Ops that are not durable yet, and bytes of results in them, beyond which nothing starts. */
#define DESK_UNWRITTEN_MAX       8192
#define DESK_UNWRITTEN_BYTES_MAX (256u << 20)
/*
 * Ready tasks of one line in memory: at first, and at most where they go fast. The first one of
 * each line is there whenever the line has any: a policy compares lines by their first tasks, so
 * without them the choice would not be the right one. So memory grows with the lines that have
 * ready tasks (about 740 bytes for each, with its first task, and more for names and a payload),
 * and not with the tasks behind them.
 */
#define DESK_WINDOW_MIN 64
#define DESK_WINDOW_MAX 8192
/*
 * Ready tasks in memory behind the first of each line, in all. A line may have what is left of it
 * over the number of lines, so that those that were there before leave something. With very many
 * lines each has one task at a time: the next one is asked for when that has started. 300 bytes
 * each: some 40 MB.
 */
#define DESK_WINDOW_TASKS 131072
/*
 * Payloads of ready tasks in memory, in all, half as much on its way; beyond it a line has one task
 * at a time.
 */
#define DESK_WINDOW_BYTES (64u << 20)
/*
 * Lines that are asked for more at a time; the others wait in their turn. Enough to fill the
 * clerk's group while one is written.
 */
#define DESK_TAKES_MAX 256
/* Ops that are not durable yet, beyond which events that belong to no op about a task are dropped, and counted. */
#define DESK_RECORDS_MAX 32768
/*
 * Kinds of slots that are configured. Names that only tasks have need no bound: one goes with the
 * last line that has it.
 */
#define DESK_SLOTS_MAX 256
/* Of one attempt, events of heartbeats are this far apart. */
#define DESK_HEARTBEAT_EVENT_NS (10 * NS_PER_S)

/* An attempt that runs, for who makes its payload and for who looks. */
struct desk_attempt {
    const struct registry_task *task;
    const struct registry_line *line;
    uint64_t token;
    uint32_t number;
    uint32_t slots[PERMIT_SLOTS_MAX]; /* in the order of the line's names; 0: none */
    struct desk_pool *pool;
    struct instant started_at, beat_at; /* beat_at: of its last heartbeat; NONE: it has sent none */
    struct registry_runner runner;
    double progress;           /* negative: not told */
    const char *progress_text; /* or NULL */
    bool cancelling; /* somebody has cancelled the task: it is not tried again, however this ends */
};

struct desk_pool_ops {
    /*
     * Makes what the executor expects out of the task's payload, and its environment. Valid until
     * discard(). An error is the task's: it fails for good, with the message (bad_row), unless the
     * pool's recovery table has another try for it.
     */
    enum weir_status (*prepare)(void *ctx, const struct desk_attempt *a, struct core_task *t,
                                struct weir_error *err);
    /* t->payload and t->env are used up. */
    void (*discard)(void *ctx, struct core_task *t);
    /* The pool is gone. */
    void (*gone)(void *ctx);
};

struct desk_pool_options {
    const struct desk_pool_ops *ops;
    void *ctx;
    const char *const *skills;
    size_t skill_count;
    uint64_t cpu_milli, memory_mib; /* quotas; 0: none */
    struct permit_reserve reserve;
    size_t burst_places;
    double burst_seconds;
    /* A pool's name, or NULL: where tasks go while the breaker is open, and where a failure has one more attempt that the
     * recovery table sends there. It goes no further. */
    const char *fallback;
    uint32_t max_attempts;          /* of tasks that say nothing else; >= 1 */
    struct backoff_options backoff; /* the same */
    /*
     * Somebody has said them, as a task may: where the pool has a recovery table, they go before
     * it (core/worker/recovery.h). Else it alone decides, and they do not bound it; only what a
     * task leaves out of a backoff of its own is taken from here. Without a table: no matter.
     */
    bool max_attempts_given, backoff_given;
    duration_ns heartbeat_timeout_ns; /* after the first heartbeat; 0: none */
    /* Each attempt is told by desk_began() once its process runs: its START is written then, so that the record has the process. */
    bool tells_began;
    bool disabled; /* of desk_add_pool(): nothing starts in it until desk_enable_pool() */
};

struct desk_host {
    /* Has an op written, behind all those given before. It is the host's until desk_written(). */
    void (*write)(struct desk_host *h, struct registry_op *op);
    const struct registry_line *(*line)(struct desk_host *h, uint32_t id);
    /* Wall-clock time of now. */
    int64_t (*wall_ns)(struct desk_host *h, struct instant now);
};

struct desk_options {
    struct dispatcher *dispatcher;
    struct desk_host *host;
    struct schedule_options schedule;
    uint64_t seed;        /* of the jitter of waits */
    uint64_t first_token; /* of the attempts: above all that a predecessor has given */
    uint32_t
        deaths_max; /* a task whose attempts were lost that often with their worker or runner is quarantined; 0: never */
};

WEIR_MUST_CHECK enum weir_status desk_new(const struct desk_options *o, struct desk **ret,
                                          struct weir_error *err);
/* Nothing is with the host, and all pools were removed and are gone. Frees what is in the window. NULL-safe. */
void desk_free(struct desk *d);

/*
 * A resource with places, that tasks may ask for by name; changed if it is there; count 0: it is
 * not configured any more. WEIR_E_LIMIT: DESK_SLOTS_MAX. Tasks that ask for one that is not
 * configured wait (PERMIT_UNKNOWN_SLOT).
 */
WEIR_MUST_CHECK enum weir_status desk_set_slots(struct desk *d, const char *name, uint32_t count,
                                                struct weir_error *err);
/* False: no such pool has been added; then what names none waits. */
bool desk_set_default_pool(struct desk *d, const char *name);
void desk_set_schedule(struct desk *d, const struct schedule_options *o, struct instant now);
bool desk_set_weight(struct desk *d, struct slice tenant, double weight);
void desk_set_deaths_max(struct desk *d, uint32_t deaths_max);

/*
 * pool: of the desk's dispatcher, used by nobody else. The options are copied (ctx is not). One
 * that has the name already is removed at that moment, so that the name is never without a pool; as
 * the default pool, too, this one takes its place.
 */
WEIR_MUST_CHECK enum weir_status desk_add_pool(struct desk *d, struct core_pool *pool,
                                               const struct desk_pool_options *o,
                                               struct instant now, struct desk_pool **ret,
                                               struct weir_error *err);
/* New options for a pool: what runs goes on with the old ones. ops and ctx stay, and whether it is enabled. After a failure all
 * are as they were. */
WEIR_MUST_CHECK enum weir_status desk_change_pool(struct desk *d, struct desk_pool *p,
                                                  const struct desk_pool_options *o,
                                                  struct instant now, struct weir_error *err);
WEIR_MUST_CHECK enum weir_status desk_set_limit(struct desk *d, struct desk_pool *p, size_t limit,
                                                struct instant now, struct weir_error *err);
void desk_set_global_limit(struct desk *d, size_t limit, struct instant now);
void desk_enable_pool(struct desk *d, struct desk_pool *p, bool enabled, struct instant now);
bool desk_pool_enabled(const struct desk_pool *p);
/* Closes the breaker by hand: what waits for it is looked at again. */
void desk_reset_breaker(struct desk_pool *p, struct instant now);
/* It was removed, and still runs something. */
bool desk_pool_leaves(const struct desk_pool *p);
/* Nothing starts in it any more; when nothing of it runs and its workers have ended, ops->gone(). */
void desk_remove_pool(struct desk *d, struct desk_pool *p, struct instant now);
/* The same for all, at the end: it is not told as a change. */
void desk_remove_pools(struct desk *d, struct instant now);
/* Those that are not gone yet count too. */
size_t desk_pool_count(const struct desk *d);
/* host->pool_gone() of the dispatcher, for any pool. */
void desk_pool_gone(struct desk *d, const struct core_pool *pool, struct instant now);
struct desk_pool *desk_find_pool(struct desk *d, const char *name);
struct core_pool *desk_core_pool(const struct desk_pool *p);

/* The registry has ready tasks of that line, which were not handed over. */
void desk_line_ready(struct desk *d, uint32_t line, struct instant now);
/*
 * Whether there was no memory for a line that was told, since the last call; or no place
 * (SCHEDULE_LINES_MAX), and there is room again: nobody knows of it, so all lines that have ready
 * tasks are to be told again, after a while.
 */
bool desk_missed_lines(struct desk *d);
/* Ready tasks, handed over (chain through next); they are the desk's. */
void desk_ready(struct desk *d, struct registry_task *chain, struct instant now);
/*
 * Writes an event that is part of no op about a task; detail is copied. p: whose name it has; NULL:
 * what e->pool says, which is copied, too. Dropped, and counted, when there is no memory or more
 * than DESK_RECORDS_MAX ops are not written.
 */
void desk_record(struct desk *d, const struct registry_event *e, struct desk_pool *p,
                 struct instant now);
/*
 * The registry has no such line any more: what is here of it is not ready any more, and goes, but
 * for what runs, or whose end is not written yet. Told in the order in which ops were written.
 * desk_lines_gone(): how many such lines something is still here of; as long as there are any, a
 * PURGE has to keep what it told (registry_purge.keep_lines), for the host is asked for them.
 */
void desk_line_gone(struct desk *d, uint32_t line, struct instant now);
size_t desk_lines_gone(const struct desk *d);
/*
 * What an op of somebody else has made ready (op->ret_ready, ret_lines), or due (ret_due_ns), and
 * which lines have gone with it (of a PURGE): it is taken out of the op.
 */
void desk_made_ready(struct desk *d, struct registry_op *op, struct instant now);
/* What it wrote is durable, or (op->err.status) has failed for good. Frees it. */
void desk_written(struct desk *d, struct registry_op *op, struct instant now);

/*
 * Somebody wants to change a task that may be here, or all of a batch: to be called before the op
 * is given to the registry. Until desk_let_go() nothing of it starts, neither what waits here nor
 * what comes meanwhile nor what an attempt leaves ready. What runs, runs on; that it has begun is
 * written before the op, which so finds it running.
 */
struct desk_hold {
    uint64_t task;    /* or: */
    uint64_t batch;   /* task is 0 */
    struct list link; /* the desk's */
};
/* h stays where it is until desk_let_go(), or the desk is freed. */
void desk_hold(struct desk *d, struct desk_hold *h, struct instant now);
/*
 * The op has been given to the registry; to be called in the order in which ops were written
 * (desk_written(), too), before desk_made_ready() of the same op. written: what is here and waits
 * is no longer what the registry has, and goes, unless the op hands it over anew. Not: the store
 * did not take the op, or the task runs: nothing has changed, it may go again.
 */
void desk_let_go(struct desk *d, struct desk_hold *h, bool written, struct instant now);
/* Something is due by then (wall clock): a task's time, or its deadline. */
void desk_wake_by(struct desk *d, int64_t wall_ns);
/* Ends the attempt of a task that runs and was cancelled; it is not tried again, however that ends. False: it does not run. */
bool desk_cancel(struct desk *d, uint64_t task, const char *why, struct instant now);
/* The same for all of a batch that run. Returns how many do. */
size_t desk_cancel_batch(struct desk *d, uint64_t batch, const char *why, struct instant now);
/* Ends the attempt with that token as lost (killed by hand): the task is tried again. False: it does not run. */
bool desk_kill(struct desk *d, uint64_t token, const char *why, struct instant now);
/* False: no such attempt runs. */
bool desk_beat(struct desk *d, const struct core_heartbeat *b, struct instant now);
void desk_began(struct desk *d, const struct core_attempt_began *b, struct instant now);

/* Starts what may start. Returns when to come again at the latest. Then dispatcher_run(). */
struct instant desk_run(struct desk *d, struct instant now);
/* host->deliver() of the dispatcher, for a task of a batch of the desk's. */
bool desk_owns(const struct desk *d, const struct core_batch *b);
void desk_finished(struct desk *d, struct core_task *t);
/* What an attempt of one of its rows says after it was given up: it is recorded, behind the end, and nothing else. */
void desk_late(struct desk *d, const struct core_task *t, const struct core_answer *answer,
               struct instant now);
/* Whether something has finished since the last desk_run(). */
bool desk_is_due(const struct desk *d);
/* While paused nothing starts: the store takes nothing, and results would only be in memory. */
void desk_pause(struct desk *d, bool paused);
/* Events that were dropped since the start. */
uint64_t desk_dropped(const struct desk *d);
/* Nothing starts any more; for a shutdown. */
void desk_stop(struct desk *d);
/* Attempts that run are ended: their tasks are ready again, the attempts recorded as cancelled. at_once: no time to wind up. */
void desk_end_running(struct desk *d, struct instant now);
size_t desk_running(const struct desk *d);
/* Ops that are with the host. */
size_t desk_unwritten(const struct desk *d);

/* ---- looking ---- */

typedef void (*desk_attempt_fn)(void *ctx, const struct desk_attempt *a);
void desk_attempts(const struct desk *d, desk_attempt_fn fn, void *ctx);
typedef void (*desk_pool_fn)(void *ctx, struct desk_pool *p);
void desk_pools(struct desk *d, desk_pool_fn fn, void *ctx);
const struct desk_pool_options *desk_pool_get_options(const struct desk_pool *p);
struct desk_slots {
    const char *name;
    uint32_t count, taken;
};
/*
 * Those that are configured, or were and are taken still; at most max. Returns how many it has
 * told.
 */
size_t desk_slots(const struct desk *d, struct desk_slots *ret, size_t max);
struct schedule *desk_schedule(struct desk *d);
const struct schedule_options *desk_get_schedule(const struct desk *d);
/* All that runs in the dispatcher, and how much may. */
const struct permits *desk_permits(const struct desk *d);
/* Why a task that is in the window waits; SCHEDULE_MAY_RUN: it is not there, or does not. */
enum schedule_why desk_why(const struct desk *d, uint64_t task, enum permit_block *ret_block);
/* How long something took, counted by bounds: what is at most desk_time_bounds_s[i] seconds and above the one before. */
#define DESK_TIME_BOUNDS 20
extern const double desk_time_bounds_s[DESK_TIME_BOUNDS];
struct desk_times {
    uint64_t counts[DESK_TIME_BOUNDS + 1]; /* the last: longer than all */
    double sum_s;
};

/*
 * What has happened in a pool since the start, for metrics; in those of its name that it has
 * replaced, too, once they are gone.
 */
struct desk_counts {
    uint64_t started;
    uint64_t outcomes[6];  /* of attempts, by enum weir_outcome */
    uint64_t done, failed; /* tasks */
    uint64_t retries, quarantined, heartbeats;
    struct desk_times wait; /* of attempts, since their task was ready */
    struct desk_times run;
    /*
     * What others count, of those that it has replaced alone: the dispatcher, the breaker, the
     * crew.
     */
    struct {
        uint64_t late_reports, breaker_opened, workers_lost;
        uint64_t session_hits, session_misses, session_rebinds, session_expiries;
    } before;
};
void desk_counts_add(struct desk_counts *to, const struct desk_counts *from);
const struct desk_counts *desk_pool_counts(const struct desk_pool *p);
/* NULL: all holds. O(everything). */
const char *desk_check(const struct desk *d);

#endif
