/*
 * The desk's own structures, shared by the files of this folder and by nobody else:
 *
 *     desk.c      making and taking apart; what is told from outside; the turn
 *     pools.c     pools, slots and limits
 *     window.c    ready tasks in memory: what is handed over, taken, set aside, forgotten
 *     checkout.c  how long a task waits for its session's worker
 *     hold.c      what somebody is about to change
 *     attempt.c   from the choice to the end of an attempt
 *     judge.c     what follows from it
 *     look.c      what somebody wants to see; the checks
 */
#ifndef CORE_DESK_INTERNAL_H
#define CORE_DESK_INTERNAL_H

#include "base/buf.h"
#include "base/heap.h"
#include "base/idmap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/rng.h"
#include "core/desk.h"

/* A look at the wall clock at least that often: it may have been set. */
#define DESK_LOOK_NS (5 * NS_PER_S)
/* Lists of holds, by what is held. */
#define DESK_HOLD_LISTS 256
/* Tasks whose time has come, made ready by one op. */
#define DESK_WAKE_TASKS 1000

/*
 * Named slots: with places, configured; without, only named by lines, and kept as long as one does.
 */
struct desk_slot_kind {
    struct map_node node;
    struct list link; /* in the desk's list `slot_kinds`, in the order in which they came */
    struct permit_slots slots;
    size_t name_len;
    char name[];
};

struct desk_pool {
    struct desk *desk;
    struct core_pool *core;   /* NULL: it was removed */
    struct core_pool *going;  /* ... and its workers are not gone yet */
    struct core_batch *batch; /* all its attempts are rows of it */
    struct schedule_pool *place;
    struct desk_pool_options options; /* skills: own copies */
    char *name;
    bool enabled, leaving, is_default;
    bool closed;            /* nothing can start, as the last offer said */
    struct instant open_at; /* of `closed`: not before; NONE: the next turn tries again */
    size_t running;
    size_t unwritten; /* ops that have its name */
    uint64_t next_index;
    size_t refused; /* tasks that wait after a refusal here (desk_task.refused_by) */
    bool no_worker; /* the last offer of this turn found none with room */
    size_t
        guests; /* tasks of other pools that were offered in vain in this turn, and those behind them */
    bool bars;        /* for what needs more than it has left, as a fallback: schedule_bar() */
    struct list busy; /* tasks set aside until their session's worker has room (desk_task.link) */
    struct desk_counts counts;
    struct list link;
};

enum desk_task_state {
    DESK_TASK_READY,   /* in the schedule */
    DESK_TASK_RUNNING, /* an attempt is under way */
    DESK_TASK_ENDING,  /* its end is being written: it is known so that it is not run again */
};

/* A task that is here. */
struct desk_task {
    struct schedule_task place;
    struct registry_task *task;
    enum desk_task_state state;
    struct attempt *attempt;      /* of RUNNING and ENDING */
    struct desk_pool *refused_by; /* that it waits for until wake_at; NULL: it does not */
    struct instant wake_at;       /* set aside until then; NEVER: not, or for its worker */
    uint64_t worker;              /* set aside until that one has room; 0: not */
    uint32_t ends;                /* of READY: ENDs that made it so, and are not written yet */
    bool
        gone; /* an op has made it something else; an END that is not written yet says whether it stays */
    bool
        stale; /* an op has changed it: it goes, unless it is handed over anew before the next turn */
    struct heap_node wait;
    struct checkout *checkout; /* of READY: its worker is to be free in time; NULL: not */
    struct list link;          /* in its pool's list `busy` */
    struct list stale_link;    /* in the desk's list `stale` */
};

/* How long a task waits for the worker that holds its session. */
struct checkout {
    struct desk_task *t;
    struct desk_pool *pool; /* whose worker it is */
    uint64_t worker;
    struct instant until;
    struct heap_node node;
};

/* An attempt, from its offer until its END is written. */
struct attempt {
    struct core_task core;
    struct desk_attempt shown;
    struct desk *desk;
    struct desk_pool *pool;
    struct desk_task *t;          /* whose attempt it is; NULL: that has a life of its own again */
    struct registry_task *source; /* whose payload the executor reads; NULL: it has let go of it */
    struct schedule_line *line;
    struct core_answer answer; /* when it has ended */
    int64_t started_wall_ns;
    char *text;               /* shown.progress_text */
    struct instant silent_at; /* without a heartbeat until then it is lost; NEVER */
    struct instant beat_told_at;
    bool short_of_memory; /* its payload could not be made now */
    bool prepared;        /* its payload was made, and is to be discarded */
    bool start_sent, start_written, end_sent, ended;
    bool guest;       /* it is in the fallback of the pool that was chosen */
    bool may_go_over; /* of one that has failed: there is a fallback that it has not been in */
    bool refused;     /* the registry would not have its START: it is not to run */
    bool by_desk;     /* ended from here: */
    bool put_back;    /* ... the task is ready again, and it did not count */
    uint64_t task;    /* its id, also when t is NULL */
    struct registry_task *anew; /* of `refused`: handed over since */
    bool released;              /* the dispatcher does not refer to `core` any more */
    struct registry_op start_op, end_op;
    struct buf late; /* detail of its late report, until its end is sent */
    char key[24];    /* where the task has none */
    struct heap_node silence;
    struct list link; /* in the desk's list `running` */
    struct attempt *next_finished;
};

struct desk {
    struct desk_options options;
    struct dispatcher *dispatcher;
    struct desk_host *host;
    struct schedule *schedule;
    struct rng rng;
    struct idmap tasks;    /* desk_task by id */
    struct idmap attempts; /* attempt by token; those that run */
    struct list running;   /* attempts */
    struct list pools;
    struct heap waits;     /* desk_task by wake_at */
    struct heap silences;  /* attempt by silent_at */
    struct heap checkouts; /* checkout by until */
    struct map slots;
    struct list slot_kinds;
    size_t slots_configured;
    size_t slots_sweep_at; /* with so many, those that nothing names are looked for */
    struct attempt *finished, **finished_tail;
    uint64_t last_token;
    uint64_t window_bytes, unwritten_bytes;
    size_t unwritten, run_count;
    size_t attempt_count; /* that are not freed yet */
    int64_t wake_wall_ns; /* something is due then; 0: nothing known */
    struct list stale;    /* desk_task */
    struct list holds[DESK_HOLD_LISTS];
    size_t hold_count;
    struct registry_task *stash; /* handed over, when there was no memory for them */
    struct instant stash_at;     /* they are tried again then; NEVER: there are none */
    struct list wants;    /* schedule_supply: lines that wait for their turn to be asked for more */
    size_t takes;         /* lines that are being asked for */
    uint64_t asked_tasks; /* the most that these bring */
    struct instant ask_at;   /* there was no memory to ask: again then; NEVER */
    bool missed;             /* by desk_line_ready(), for want of memory */
    bool left_out;           /* the same, because there are SCHEDULE_LINES_MAX */
    struct instant look_at;  /* at tasks that wait for workers */
    struct instant unbar_at; /* what did not fit into a fallback is tried again; NEVER: nothing */
    bool waking;             /* a WAKE is under way */
    bool stopped, paused;
    uint64_t dropped; /* events for which there was no room */
    bool ending;      /* its pools go because it does */
};

/* desk.c */
/* Gives an op to the host, which it is until desk_written(). */
void desk_write(struct desk *d, struct registry_op *op, struct instant now);
/* An op of the desk's own memory: freed when it is written. NULL: no memory. */
struct registry_op *desk_new_op(enum registry_op_kind kind);
/* The same as desk_record(), for most. */
void desk_tell(struct desk *d, enum registry_event_kind kind, struct desk_pool *p,
               const char *detail, struct instant now);

/* pools.c */
void pool_release(struct desk_pool *p, struct instant now);
void pools_open(struct desk *d, struct instant now);
void pool_close(struct desk_pool *p, struct instant until);
/*
 * It has no room, as a fallback, for some that need more than others: until then, or until
 * something of it ends.
 */
void pool_barred(struct desk_pool *p, struct instant until);
/* Something of it has ended: what closed it may be over. */
void pool_has_room(struct desk_pool *p);
/* Its breaker lets nothing through. */
bool pool_is_broken(const struct desk_pool *p, struct instant now);
/* Its fallback, where something can go there; else NULL. */
/* Where to count what is written of its attempts: also when its heir has its counts already. */
struct desk_counts *pool_counts(struct desk_pool *p);
struct desk_pool *pool_refuge(const struct desk_pool *p, struct instant now);
void desk_slots_free(struct desk *d);
/* When a pool that is closed for now opens. */
struct instant pools_wake(const struct desk *d);
/* The resources that a line names. False: one of them is not there. */
bool slots_resolve(struct desk *d, struct slice names, struct permit_slots *ret[PERMIT_SLOTS_MAX]);

/* window.c */
void window_add(struct desk *d, struct registry_task *r, struct instant now);
/* Off the schedule and out of the window; the task is freed. */
void window_drop(struct desk *d, struct desk_task *t, struct instant now);
/* One less needs what the registry has handed over: the window, or an attempt whose executor reads the payload. */
void window_unref(struct registry_task *r);
/*
 * READY. An op has perhaps made it something else in the registry: it goes, unless it is handed
 * over anew before the next turn, or an END that is not written yet says that it stays.
 */
void window_doubt(struct desk *d, struct desk_task *t);
/* READY. Whether it is aside is as it should be again. */
void window_look_aside(struct desk *d, struct desk_task *t, struct instant now);
bool window_is_aside(const struct desk *d, const struct desk_task *t);
/* Of those for which there was no memory: what is held so goes. */
void window_unstash(struct desk *d, const struct desk_hold *h);
/* The task leaves for good: its end is written. */
void window_end(struct desk *d, struct desk_task *t);
/* READY again, in the schedule at its rank; aside until then (NONE: not). p: it was refused there, and counts as such meanwhile; or NULL. */
void window_again(struct desk *d, struct desk_task *t, struct desk_pool *p, struct instant until,
                  struct instant now);
void window_aside_until(struct desk *d, struct desk_task *t, struct instant until);
void window_aside_for(struct desk *d, struct desk_task *t, struct desk_pool *p, uint64_t worker,
                      struct instant now);
/* READY. It is not aside for its worker any more. */
void window_bring_back_one(struct desk *d, struct desk_task *t, struct instant now);
/* A worker of the pool has room again; 0: any may have. */
void window_bring_back(struct desk_pool *p, uint64_t worker, struct instant now);
/* An END that made a task READY is written; ok: the registry has it so. */
void window_end_written(struct desk *d, uint64_t task, bool ok, struct instant now);
/* The pool goes: tasks that wait for it do not count there any more. */
void window_leave_pool(struct desk_pool *p, struct instant now);
/* Asks the registry for more of the line when it runs low, in its turn. */
void window_refill(struct desk *d, struct schedule_line *l, struct instant now);
void window_taken(struct desk *d, struct registry_op *op, struct instant now);
struct instant window_run(struct desk *d, struct instant now);
void window_free(struct desk *d);

/* checkout.c */
/*
 * The task is set aside for that worker of the pool; its time goes on if it has been before. Without
 * memory it has none, until it is set aside the next time.
 */
void checkout_starts(struct desk *d, struct desk_task *t, struct desk_pool *p, uint64_t worker,
                     struct instant now);
/* It does not wait for its worker any more. */
void checkout_over(struct desk *d, struct desk_task *t);
/* The pool goes: nothing waits for its workers any more. */
void checkout_leave_pool(struct desk_pool *p);
/* Fails those whose worker was not free in time. */
void checkouts_run(struct desk *d, struct instant now);
struct instant checkouts_wake(const struct desk *d);

/* hold.c */
/* An op is with the registry that may change the task. */
bool hold_has(const struct desk *d, const struct registry_task *r);
bool hold_covers(const struct desk_hold *h, const struct registry_task *r);

/* attempt.c */
/* Starts what may start. */
void attempts_start(struct desk *d, struct instant now);
/* Nothing is in the way of all: a stop, a store that fails, too much that is not written yet. */
bool attempts_may_start(const struct desk *d);
/* READY. It fails in the pool without an attempt. False: no memory, it is as it was. */
bool attempt_fail_untried(struct desk_task *t, struct desk_pool *p, enum weir_outcome outcome,
                          enum weir_reason reason, const char *message, struct instant now);
/* core_batch_options.prepare of a pool's batch. */
enum weir_status attempt_prepare(void *ctx, struct core_task *t, const uint32_t numbers[],
                                 struct weir_error *err);
/* What the dispatcher has finished since the last time. */
void attempts_judge(struct desk *d, struct instant now);
/* Those that were silent for too long. Returns when to look again. */
struct instant attempts_watch(struct desk *d, struct instant now);
void attempt_end(struct attempt *a, enum weir_outcome outcome, enum weir_reason reason,
                 const char *why, bool put_back, struct instant now);
void attempt_written(struct desk *d, struct attempt *a, struct registry_op *op, struct instant now);
void attempt_send_start(struct attempt *a, struct instant now);

/* judge.c: fills in what follows from the answer. *ret_wait: of READY and SCHEDULED. */
void judge_attempt(struct attempt *a, struct registry_end *end, duration_ns *ret_wait,
                   struct instant now);

#endif
