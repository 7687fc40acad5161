/*
 * Port: what remembers tasks. The registry of the dispatcher: every task that was accepted, in the
 * state it is in, and the record of every step.
 *
 *      submit ──► BLOCKED ──last dependency──► READY ◄──its time──  SCHEDULED
 *                    │            ┌──────────► │  ▲                    ▲
 *                    │            │ lost place │  │ again at once      │ again later (backoff)
 *                    │            │          START └────── END ────────┘
 *                    │            │            ▼            │
 *                    │         (restart)    RUNNING ────────┴──► DONE | FAILED | CANCELLED
 *                    │                         └── restart, and somebody has cancelled it ──► CANCELLED
 *                    └─────────────────────── cancel, deadline, failed dependency ────► CANCELLED | FAILED
 *      FAILED, CANCELLED ──retry by hand──► READY
 *
 * One thread writes (the clerk, engine/clerk.h). It gathers what the engine, the API and the
 * executors have to say as *ops*, hands a chain of them to apply(), which is one transaction: when
 * it returns WEIR_OK all of it is durable, else none of it. What one op could not do (no such task,
 * a cycle) is the op's own status, and costs the others nothing.
 *
 *     struct registry_op op = {.kind = REGISTRY_SUBMIT, .submit = {...}};
 *     status = r->ops->apply(r, &op, &err);
 *
 * Events of tasks (task.submitted, .ready, .assigned, .retry_scheduled, .done, .failed, .cancelled)
 * and of runners are written by the registry itself, with the transition, in the same transaction;
 * what does not come from an op about a task is a REGISTRY_TELL. Each event gets the next number;
 * numbers never go back, and have no gaps but by retention.
 *
 * What the fine points are, tests/contract/test_registry.c shows, which every registry passes:
 *
 * - Ids of tasks and batches count from 1, without gaps; a refused op uses none. They are never
 *   given twice.
 * - A line has a number as long as there are tasks of it, of any state. One without tasks goes with
 *   a PURGE, which tells its number; that is given again, the lowest free one first. Whoever sends
 *   a PURGE has let go of all the lines that the PURGE before told (or says keep_lines): only then
 *   a number may be given again, and what line() had pointed to goes. So PURGEs are sent one after
 *   the other.
 * - A rank is given when a task becomes ready by coming, by its time, by its dependencies or by
 *   hand: the greater one of the op's time and the last rank + 1. A task that is ready again by END
 *   or after a crash, or has changed its line, keeps it.
 * - A dependency is met once and for all: when the task is done, or has failed and
 *   run_after_failure says so. It is not met by one that is cancelled, deleted or purged: what
 *   waits for that stays BLOCKED until a person helps (REGISTRY_RETRY of that task,
 *   REGISTRY_RESOLVE), and REGISTRY_CHECK finds it.
 * - A task that fails fails what is BLOCKED behind it, and so on, in the same op: reason
 *   dependency, with a message that names the task directly before. Retrying it later does not
 *   bring those back; they are retried by hand, too.
 * - A task whose last dependency is met before its not_before_ns is SCHEDULED.
 * - A CANCEL of a task that runs is a wish, which is remembered until the task has ended: what
 *   would make it READY or SCHEDULED again, be it an END or put_back, makes it CANCELLED, whatever
 *   else would be said of it (a death too many, say). What its attempt comes to by itself stays:
 *   DONE, and FAILED for good, for that is more than the wish, and it does not run again either
 *   way. A RETRY by hand begins without the wish.
 * - What an op about one task (CANCEL, RETRY, EDIT, DELETE, RESOLVE) leaves READY is handed over
 *   anew, also when the op was refused: whoever asked has held it (desk_hold()), and lets go of it
 *   then. So an EDIT that changes nothing gives a task back.
 *
 * Statuses of ops: WEIR_E_END: no such task, batch or line. WEIR_E_BUSY: it runs, or has not ended.
 * WEIR_E_CONFLICT: it is in a state for which the op makes no sense; a cycle; END and START without
 * the right to it. WEIR_E_INVALID, WEIR_E_LIMIT: the op itself is wrong.
 *
 * Any number of readers, each on a connection of its own, see what was committed and do not hold up
 * the writer, but for some milliseconds now and then when numbers of lines are to be free again. A
 * function that a reader calls does not call a reader.
 *
 * All times are nanoseconds since the Unix epoch (wall clock), as the writer was told; 0: none.
 * Durations are measured by a steady clock. Names (pool, tenant, ...) have at most
 * REGISTRY_NAME_BYTES_MAX bytes; the empty one is none.
 */
#ifndef CORE_PORTS_REGISTRY_H
#define CORE_PORTS_REGISTRY_H

#include "base/buf.h"
#include "base/slice.h"
#include "base/time.h"
#include "weir/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REGISTRY_NAME_BYTES_MAX    255
#define REGISTRY_KEY_BYTES_MAX     1024 /* of a task's key, which may be a path, say */
#define REGISTRY_PAYLOAD_BYTES_MAX (64u << 20)
#define REGISTRY_PRIORITY_MIN      (-1000)
#define REGISTRY_PRIORITY_MAX      1000
#define REGISTRY_SLOTS_MAX         4      /* kinds of slots that one task may ask for */
#define REGISTRY_AFTER_MAX         10000  /* tasks that one task may depend on */
#define REGISTRY_SUBMIT_MAX        100000 /* tasks in one op */
/* Lines at once: an op that needs another one is refused (WEIR_E_LIMIT) until a PURGE has taken some away. */
#define REGISTRY_LINES_MAX 4194304
/* Ready tasks of one line that the engine has been handed without asking, and of all lines together. */
#define REGISTRY_HANDED_MAX     1024
#define REGISTRY_HANDED_ALL_MAX 65536

enum registry_state {
    REGISTRY_BLOCKED,   /* has dependencies that are not done */
    REGISTRY_SCHEDULED, /* not before a time */
    REGISTRY_READY,
    REGISTRY_RUNNING, /* an attempt runs */
    REGISTRY_DONE,
    REGISTRY_FAILED, /* its attempts are used up, or it can never run: the dead letters */
    REGISTRY_CANCELLED,
    REGISTRY_STATES
};

/*
 * What the choice looks at. Tasks that agree in all of it stand in one line, first come first
 * served; the registry numbers lines from 1, and knows of each which ready tasks it has, in order.
 */
struct registry_line {
    uint32_t id;
    int32_t priority; /* REGISTRY_PRIORITY_MIN .. MAX */
    uint32_t cpu_milli;
    uint32_t memory_mib;
    struct slice pool;  /* or: */
    struct slice skill; /* neither: the default pool */
    struct slice tenant;
    struct slice session;
    struct slice slots; /* names, in order, each once, with commas between */
};

/* A dependency: a task of the registry, or one of the same op by its place there. */
struct registry_after {
    uint64_t id; /* 0: a sibling */
    uint32_t sibling;
};

/* A task as it is submitted. Nothing that it points to is kept after the op. */
struct registry_spec {
    struct registry_line line; /* id is not looked at */
    struct slice key;          /* may be empty, and need not be unique */
    struct slice payload;
    struct slice
        idempotency_key; /* a second submit with it gives the first task back; empty: none */
    uint64_t batch;      /* 0: none */
    uint64_t place;      /* in the batch, from 0 */
    const struct registry_after *after;
    uint32_t after_count;
    bool
        run_after_failure; /* a dependency that fails counts as done; else it fails this one, with the reason */
    uint32_t max_attempts;                          /* 0: as its pool says */
    int64_t timeout_ns;                             /* of one attempt; 0: as its pool says */
    int64_t backoff_initial_ns, backoff_ceiling_ns; /* 0: as its pool says */
    double backoff_factor;                          /* 0: as its pool says */
    int64_t deadline_ns, not_before_ns;             /* when; 0: none */
};

/*
 * A task as the engine needs it to choose and run it: of one piece of memory, which mem_free()
 * frees. Who has it owns it.
 */
struct registry_task {
    struct registry_task *next; /* chains those of one op */
    uint64_t id;
    uint32_t line; /* registry_line.id */
    /* Its place in the line, and since when it is ready: nanoseconds since the Unix epoch, made larger where it must be
     * so that no two are the same. The order of the line, and over all lines that of the coming. */
    int64_t rank;
    uint64_t batch, place;
    uint32_t attempts; /* started so far */
    uint32_t failures; /* of these, that count against max_attempts */
    uint32_t deaths;   /* of these, that were lost with their worker or runner */
    uint32_t max_attempts;
    uint32_t capacity_retries;
    uint32_t spared;         /* attempts lost for the sake of another; not remembered */
    uint64_t last_worker;    /* that it was given to; 0: none; not remembered */
    bool tried;              /* it has been started since it was handed over; not remembered: */
    struct instant tried_at; /* ... first then, */
    int64_t tried_ns;        /* ... so long after first_start_ns */
    bool away;              /* its next attempt is the one in its pool's fallback; not remembered */
    int64_t first_start_ns; /* of its first attempt; 0: none */
    int64_t timeout_ns, backoff_initial_ns, backoff_ceiling_ns, last_wait_ns;
    double backoff_factor;
    int64_t deadline_ns;
    const char *key; /* never NULL; and so on: */
    const char *payload;
    size_t payload_len;
    uint32_t refs; /* of whoever has it: 0 when it is handed over */
};

/* ---- events ---- */

enum registry_event_kind {
    REGISTRY_TASK_SUBMITTED = 1, /* the numbers are stored: new ones come at the end */
    REGISTRY_TASK_READY,
    REGISTRY_TASK_ASSIGNED,
    REGISTRY_RUNNER_STARTED,
    REGISTRY_RUNNER_HEARTBEAT, /* sampled */
    REGISTRY_RUNNER_COMPLETED,
    REGISTRY_RUNNER_FAILED,
    REGISTRY_RUNNER_TIMEOUT,
    REGISTRY_RUNNER_LOST,
    REGISTRY_RUNNER_CANCELLED,
    REGISTRY_RUNNER_CAPACITY,
    REGISTRY_RUNNER_LATE, /* a report of an attempt that had been judged: recorded and ignored */
    REGISTRY_TASK_RETRY_SCHEDULED,
    REGISTRY_TASK_DONE,
    REGISTRY_TASK_FAILED,
    REGISTRY_TASK_CANCELLED,
    REGISTRY_TASK_CHANGED, /* by hand: priority, dependencies, a cancel while it runs */
    REGISTRY_TASK_DELETED,
    REGISTRY_TASK_QUARANTINED, /* it has killed too many workers; task.failed follows */
    REGISTRY_POOL_CHANGED,
    REGISTRY_LIMIT_CHANGED,
    REGISTRY_BREAKER_OPENED,
    REGISTRY_BREAKER_CLOSED,
    REGISTRY_WORKER_TRANSITION,
    REGISTRY_DEADLOCK_DETECTED,
    REGISTRY_DISPATCHER_STARTED,
    REGISTRY_DISPATCHER_STOPPING,
    REGISTRY_DISPATCHER_STOPPED,
    REGISTRY_CONFIG_CHANGED,
    REGISTRY_SKILL_UNOFFERED, /* a task waits for a skill that no pool offers; once for each skill */
    REGISTRY_BATCH_ENDED,
    REGISTRY_EVENT_KINDS
};

/* "task.submitted", "runner.started", ...; NULL for any other number. */
const char *registry_event_name(enum registry_event_kind kind);
/* "blocked", "scheduled", ...; "unknown" for any other value. */
const char *registry_state_name(enum registry_state state);
/* False: no such name, *ret is untouched. */
bool registry_state_from_name(struct slice name, enum registry_state *ret);
bool registry_event_from_name(struct slice name, enum registry_event_kind *ret);

/*
 * What each op writes, in this order; every event has the op's time. Of a task each has `task`;
 * those of an attempt (assigned, runner.*, and what END says of the task) also attempt, pool,
 * worker and the first slot.
 *
 *   SUBMIT   of each new task, in their order: task.submitted. Then, in the same order, what became
 *            of each: task.ready, or task.failed (a dependency has failed), or nothing (blocked,
 *            scheduled)
 *   START    task.assigned (duration: since it was ready), runner.started (detail:
 *            {"pid":N,"slots":[{"name":"..","slot":N}]}, without those that are none)
 *   END      with `started`, first those of START, at started_ns (duration: wait_ns). Then
 *            runner.completed | .capacity | .failed | .timeout | .lost | .cancelled, by the outcome
 *            (duration: run_ns; detail unless it was ok: {"reason":"..","status":N,"message":".."},
 *            without those that are none). Then task.done | [task.quarantined] task.failed |
 *            task.cancelled | task.ready | task.retry_scheduled (duration: how long), those of an
 *            ended task with duration since it was submitted, task.failed with detail
 *            {"reason":"..","message":".."}. With WEIR_E_CONFLICT only runner.late, with what the
 *            op says (detail: {"outcome":".."}). With `untried` nothing but task.failed, of the task
 *   CANCEL   of each, in the order of ids: task.cancelled (duration: since it was submitted); of
 *            one that runs task.changed {"cancel":true}, once, and task.cancelled with its END, or
 *            by put_back
 *   RETRY    of each, in the order of ids, task.changed {"retry":true}; then, in the same order,
 *            task.ready of those that are
 *   EDIT     task.changed with what was given: {"priority":N,"not_before_ns":N,"after":[ids]};
 *            nothing was given: no event. Then task.ready if it has become so, or task.failed
 *   DELETE   task.deleted
 *   RESOLVE  task.changed {"resolve":"run"|"cancel"}, then task.ready or task.cancelled
 *   WAKE     of each that is due, in the order of when (its deadline or, if earlier and it is
 *            SCHEDULED, its not_before), then id: task.failed if its deadline has passed, else
 *            task.ready
 *   TELL     what it says; at its own at_ns if it has one. Where that is the end of the attempt that
 *            runs (not lost), put_back charges no death for it
 *   CHECK    deadlock.detected in the order of ids, detail
 *            {"waits_for":ID,"why":"cancelled"|"failed"|"gone"|"blocked"}: the first of its
 *            dependencies that can never be met
 *   put_back of each, in the order of ids: runner.lost (duration: since its start; detail as of
 *            END, reason dispatcher_lost), then task.ready, or task.cancelled if somebody has
 *            cancelled it, or task.quarantined and task.failed
 *
 * Behind what ends a task, at once: what follows for those that depend on it, in the order of ids,
 * and of those that depend on these, breadth first: task.ready, or task.failed. Behind all events
 * of an op: batch.ended of each batch that has ended by it, in the order of ids, detail
 * {"batch":ID,"done":N,"failed":N,"cancelled":N}; again after a retry.
 */
struct registry_event {
    uint64_t seq; /* given by the registry, from 1 */
    int64_t at_ns;
    enum registry_event_kind kind;
    uint64_t task;    /* 0: none */
    uint32_t attempt; /* number; 0: none */
    struct slice pool;
    uint64_t worker;     /* 0: none */
    uint32_t slot;       /* number of the first slot, from 1; 0: none */
    int64_t duration_ns; /* of what the event ends, or how long a wait is; 0: none */
    struct slice detail; /* JSON object, or empty */
};

/* ---- ops ---- */

enum registry_op_kind {
    REGISTRY_SUBMIT,
    REGISTRY_TAKE,
    REGISTRY_START,
    REGISTRY_END,
    REGISTRY_CANCEL,
    REGISTRY_RETRY,
    REGISTRY_EDIT,
    REGISTRY_DELETE,
    REGISTRY_RESOLVE,
    REGISTRY_WAKE,
    REGISTRY_TELL,
    REGISTRY_BATCH_OPEN,
    REGISTRY_BATCH_END,
    REGISTRY_CHECK,
    REGISTRY_PURGE,
    REGISTRY_SET,
    REGISTRY_SAMPLE,
    REGISTRY_LINES, /* of the clerk: it asks lines(), and no registry is given it */
    REGISTRY_OP_KINDS
};

/*
 * All or none: status says why not, and the whole op is without effect. A dependency on a task that
 * is done is met; on one that has failed: fails this one, too, or is met, as it says; on one that
 * is cancelled: refused (WEIR_E_CONFLICT); unknown: refused (WEIR_E_END). A spec with a known
 * idempotency key (also of an earlier spec of the same op) is nothing but that task: the rest of it
 * is not looked at. A batch that has ended takes only such (WEIR_E_CONFLICT).
 */
struct registry_submit {
    const struct registry_spec *specs;
    size_t count;       /* 1 .. REGISTRY_SUBMIT_MAX */
    uint64_t *ret_ids;  /* count of them: the caller's memory; or NULL */
    bool *ret_existing; /* the same: the idempotency key was known; or NULL */
};

/*
 * Up to `max` ready tasks of a line, in order, together at most max_bytes of payload (but at least
 * one): those behind `after_rank` and behind what was handed over before, so that none is given
 * twice when it was handed over while this op was on its way.
 */
struct registry_take {
    uint32_t line;
    uint32_t max;
    int64_t after_rank;
    uint64_t max_bytes;
    bool ret_more; /* there are more behind them */
    struct registry_task *ret_tasks;
};

/* What runs an attempt, so that whoever comes after a crash can find it. */
struct registry_runner {
    int64_t pid;        /* 0: none of its own */
    uint64_t pid_start; /* its start time, in the kernel's ticks (field 22 of /proc/PID/stat) */
    uint64_t worker;    /* 0: none */
    uint32_t
        slots[REGISTRY_SLOTS_MAX]; /* numbers from 1, in the order of the line's names; 0: none */
};

/* READY -> RUNNING. The token is the attempt's own: what ends it must show it. */
struct registry_start {
    uint64_t task, token;
    uint32_t attempt;
    struct slice pool;
    struct registry_runner runner;
};

/*
 * RUNNING -> next. WEIR_E_CONFLICT: no attempt of this token runs (it was ended, or another one
 * runs); then only the late report is recorded. `started`: its START is part of this op, because
 * both came before either was written. `untried`: nothing of it was started, and it is not to be: READY
 * -> FAILED, with nothing but the outcome, the reason and the message; no attempt is counted or
 * recorded. WEIR_E_CONFLICT: it is not READY any more; then nothing is recorded either.
 */
struct registry_end {
    uint64_t task, token;
    uint32_t attempt;
    bool started, untried;
    struct registry_start start; /* of `started` */
    enum registry_state
        next; /* DONE, FAILED, CANCELLED, READY (again, at its old rank) or SCHEDULED */
    int64_t
        wake_ns; /* of SCHEDULED: when; of READY: until then it waits for its next try at its place; 0: it does not */
    enum weir_outcome outcome;
    enum weir_reason reason;
    int status;
    bool counts;      /* as a failure, against max_attempts */
    bool death;       /* its worker or runner died of it, or with it */
    bool quarantined; /* of FAILED: because of its deaths */
    int64_t started_ns;
    int64_t run_ns,
        wait_ns; /* how long the attempt ran; how long the task waited for it since it was ready */
    uint64_t worker;
    struct slice pool;
    struct slice message;        /* one line for a person */
    struct slice output, errput; /* kept where the task has ended */
    bool ret_cancelled;          /* somebody had cancelled it: CANCELLED, in place of `next` */
};

/*
 * BLOCKED, SCHEDULED, READY -> CANCELLED. One that runs is marked, and its attempt is to be ended:
 * it is CANCELLED when that has ended, or at the next put_back, and never READY or SCHEDULED
 * before; a second CANCEL changes nothing. One that has ended: WEIR_E_CONFLICT. What depends on it
 * stays BLOCKED.
 *
 * A large batch is a long transaction. With `max` the op does a piece of it; while ret_more says so,
 * registry_go_on() makes it the next piece, and it is applied again. What fails then leaves the
 * pieces before it done.
 */
struct registry_cancel {
    uint64_t task;  /* or: */
    uint64_t batch; /* all of a batch that have not ended */
    uint32_t max;   /* of a batch: tasks that this op looks at, about; 0: all */
    bool ret_more;
    uint64_t ret_count;   /* CANCELLED, by all pieces so far */
    uint64_t ret_running; /* that run, and are marked */
    /* Of the registry: where the piece begins and ends (the last place and id before it), and what the pieces before it
     * have counted. */
    uint64_t from_place, from_task, to_place, to_task, count_before, running_before;
};

/*
 * FAILED, CANCELLED -> READY, or BLOCKED if it has dependencies that are not met (also one that has
 * failed: that is retried by hand, too), or SCHEDULED if its first attempt was not to be before a
 * time that has not come. `attempts` goes on counting (numbers of attempts are given once);
 * failures, deaths, capacity_retries, first_start_ns and last_wait_ns begin anew, and what the last
 * attempt said is forgotten. A deadline that has passed fails it again.
 */
struct registry_retry {
    uint64_t task;
    uint64_t batch; /* all of a batch that have failed */
    uint64_t ret_count;
};

/*
 * Of a task that does not run (WEIR_E_BUSY) and has not ended (WEIR_E_CONFLICT). A new priority
 * moves it to another line, where it has its old rank. A not_before in the future makes READY
 * SCHEDULED; one that has passed makes SCHEDULED READY. Dependencies that are not met make it
 * BLOCKED; one that has failed fails it, unless run_after_failure. Refused as a whole: a dependency
 * that is cancelled (WEIR_E_CONFLICT), is unknown (WEIR_E_END), or would close a cycle
 * (WEIR_E_CONFLICT, the message tells its path).
 */
struct registry_edit {
    uint64_t task;
    const int32_t *priority; /* NULL: as it is; and so on */
    const int64_t *not_before_ns;
    const struct registry_after *after; /* dependencies to be added; siblings do not make sense */
    uint32_t after_count;
};

/*
 * What to do with a task that waits for what can never be: found by REGISTRY_CHECK, left to a
 * person. Of BLOCKED ones only (WEIR_E_CONFLICT). RUN: dependencies that are not met are dropped.
 */
enum registry_resolve { REGISTRY_RESOLVE_RUN, REGISTRY_RESOLVE_CANCEL };

/*
 * BLOCKED, SCHEDULED, READY whose deadline has passed (<= the op's time) -> FAILED (outcome
 * timeout, reason deadline), and SCHEDULED whose time has come -> READY; at most max in all, what
 * follows for dependents not counted. A READY one may be with the engine, which knows the deadline
 * too: it starts it no more, and leaves the rest to this.
 */
struct registry_wake {
    uint32_t max;
    uint32_t ret_count;
    int64_t ret_next_ns; /* when the next is due; 0: none */
};

/*
 * Tasks that can never run: BLOCKED in a cycle, or behind a task that was cancelled, has failed
 * (and was not to be waited for so), or is gone, or behind one that can never run itself. Told as
 * deadlock.detected, once each, until they are found to be no longer so.
 */
struct registry_check {
    uint32_t max; /* tasks that this op looks at, about; 0: all. Then the next one goes on */
    bool
        ret_more; /* it is not through: what changes meanwhile may be found by the check after this one */
    uint64_t ret_stuck; /* how many there are; of the op that is through */
    uint64_t ret_new;   /* of these, that were not known; told by this op */
};

/*
 * What has ended before that time (DONE and CANCELLED; FAILED), and events older than that or
 * beyond that count, go, without an event: at most `max` of both together at a time. 0: those stay.
 * An event of a time after the op's, which a clock that was ahead has given it, is as old as the
 * first one behind it that is not. An op looks at some thousand tasks and events at most, and
 * ret_more says that the next one is to go on. After a clock was set back, tasks may stay longer by
 * as much.
 * A batch goes with the last of its tasks, once it has ended before tasks_before_ns, and a line
 * with the last of its tasks, however that went: at most `max` batches and `max` lines at a time.
 */
struct registry_purge {
    int64_t tasks_before_ns, failed_before_ns, events_before_ns;
    uint64_t events_max;
    uint32_t max;
    bool
        keep_lines; /* not all lines that were told are let go of yet: no number is given again by this one */
    bool ret_more;
    /* Numbers of the lines that are gone. The receiver's, mem_free() frees it. */
    uint32_t *ret_lines_gone;
    size_t ret_lines_gone_count;
};

/*
 * One sample of the history, see registry_reader_ops.history. Another one of the same pool,
 * resolution and time takes its place. Of a pool and resolution, those at least
 * REGISTRY_SAMPLES_MAX * resolution_s older than the newest go.
 */
#define REGISTRY_SAMPLES_MAX 8640
struct registry_sample {
    int64_t at_ns;
    uint32_t resolution_s;              /* 10, 300, 3600 */
    struct slice pool;                  /* empty: over all */
    double running, limit, utilisation; /* means */
    uint64_t started, finished, failed;
};

struct registry_note;

struct registry_op {
    struct registry_op *next;
    enum registry_op_kind kind;
    struct weir_error err; /* of this op alone; status WEIR_OK: done */
    int64_t at_ns;         /* when it happened: of its events */
    union {
        struct registry_submit submit;
        struct registry_take take;
        struct registry_start start;
        struct registry_end end;
        struct registry_cancel cancel;
        struct registry_retry retry;
        struct registry_edit edit;
        struct {
            uint64_t task;
        } remove; /* REGISTRY_DELETE: of one that has ended */
        struct {
            uint64_t task;
            enum registry_resolve how;
        } resolve;
        struct registry_wake wake;
        struct registry_event tell;
        struct {
            struct slice name;
            bool
                passing; /* who fills it goes with the dispatcher: put_back() ends it if nobody has */
            uint64_t ret_id;
        } batch_open;
        struct {
            uint64_t batch;
        } batch_end; /* no more tasks come */
        struct registry_check check;
        struct registry_purge purge;
        struct {
            struct slice name, value;
        } set; /* a fact; an empty value takes it away */
        struct registry_sample sample;
    };
    /*
     * What has become ready by this op, in the order of rank. The registry keeps in mind how far
     * the engine has taken each line. A task is handed over as it is (ret_ready) when the engine
     * has everything before it in its line and holds fewer than REGISTRY_HANDED_MAX of it, or when
     * its rank is one that the engine has passed; else only the line's number is told (ret_lines,
     * each once): there is something to TAKE. Both are the receiver's, mem_free() frees them. A
     * task that goes back to READY by an END is not handed over: the engine has it.
     */
    struct registry_task *ret_ready;
    uint32_t *ret_lines;
    size_t ret_line_count;
    /* When a task is due that this op has made SCHEDULED because the last of its dependencies is met: the earliest; 0: none. */
    int64_t ret_due_ns;
    /* of whoever sends it (engine/tasks.h) and of the clerk (engine/clerk.h); not looked at by a registry: */
    void (*done)(
        struct registry_op *op); /* on the clerk's thread, after the commit or the failure */
    void *user;
    struct registry_note *note; /* what the engine's thread is to know afterwards */
    struct registry_op
        *start_op;  /* of an END: its START, part of it if both are written together */
    uint64_t group; /* of the transaction that it is in; 0: it waits */
    bool folded;    /* a START that is part of its END */
    bool spilled;   /* what it tells is in the spill file, and on the disk */
    bool at_risk;   /* the store has not taken it yet, nor the spill file */
    uint32_t doubt; /* it may be in the spill file, which was broken for that time; 0: no */
    bool untaken;   /* the store has not taken it: nothing has happened, and err says why */
};

/* Whether an op that was applied and succeeded is not through (struct registry_cancel). Then it is the next piece now. */
bool registry_go_on(struct registry_op *op);

/* ---- reading ---- */

/* A task as somebody sees it. Slices point into `hold` of the call. */
struct registry_view {
    uint64_t id;
    enum registry_state state;
    struct registry_line line;
    struct slice key, idempotency_key;
    uint64_t batch, place;
    /* ready: its rank, the last that it had; not_before: of the next attempt, too; started: first attempt (since a retry by hand) */
    int64_t submitted_ns, ready_ns, not_before_ns, deadline_ns, started_ns, ended_ns;
    uint32_t attempts, failures, deaths, max_attempts, capacity_retries;
    int64_t timeout_ns;
    uint32_t blocked_by;           /* dependencies that are not met */
    bool run_after_failure, stuck; /* stuck: found by the last check */
    bool cancelling;               /* it runs, and is cancelled when that has ended */
    struct slice pool;             /* of the attempt that runs, or of the last */
    enum weir_outcome
        outcome; /* of the last attempt, or how the task ended without one; OK: there is none yet, too */
    enum weir_reason reason;
    int status;
    struct slice message;
    bool has_result; /* output and errput are asked for, and it has ended by END */
    struct slice payload, output, errput;
};

struct registry_filter {
    unsigned states; /* bits 1 << enum registry_state; 0: all */
    struct slice pool, skill, tenant, session,
        key;        /* of the line (pool: that it named), its key; empty: any */
    uint64_t batch; /* 0: any */
    bool stuck;
    bool newest_first;
    bool with_payload, with_result;
};

struct registry_event_filter {
    uint64_t task, worker; /* 0: any */
    struct slice pool;
    uint64_t kinds; /* bits 1 << kind; 0: all */
    bool newest_first;
};

struct registry_batch {
    uint64_t id;
    struct slice name;
    int64_t opened_ns,
        ended_ns; /* ended: when no more came and all had ended, as batch.ended tells; 0: not (any more) */
    bool ended;                              /* no more tasks come */
    uint64_t total, states[REGISTRY_STATES]; /* of tasks that are still there; total: their sum */
};

/* Tasks by state, for one target: a pool's name, "skill:NAME", or empty for those that named neither. */
struct registry_tally {
    struct slice target;
    uint64_t states[REGISTRY_STATES];
};

struct core_registry;
struct registry_reader;

/* Called for each row; false: enough. */
typedef bool (*registry_task_fn)(void *ctx, const struct registry_view *v);
typedef bool (*registry_event_fn)(void *ctx, const struct registry_event *e);
typedef bool (*registry_batch_fn)(void *ctx, const struct registry_batch *b);
typedef bool (*registry_tally_fn)(void *ctx, const struct registry_tally *t);
typedef bool (*registry_sample_fn)(void *ctx, const struct registry_sample *s);
typedef bool (*registry_line_fn)(void *ctx, const struct registry_line *l);

struct registry_reader_ops {
    /* WEIR_E_END: no such task. with: payload and result too. v's slices live until the next call on the reader. */
    enum weir_status (*task)(struct registry_reader *r, uint64_t id, bool with,
                             struct registry_view *ret, struct weir_error *err);
    /* Tasks with id > after (< after when the newest come first; 0: from the end), at most max. Stable while tasks come
     * and go: an id is never given twice. */
    enum weir_status (*tasks)(struct registry_reader *r, const struct registry_filter *f,
                              uint64_t after, uint32_t max, registry_task_fn fn, void *ctx,
                              struct weir_error *err);
    /* What a task depends on, or what depends on it (`up`), as far as it is there, in the order of ids. */
    enum weir_status (*dependencies)(struct registry_reader *r, uint64_t id, bool up,
                                     registry_task_fn fn, void *ctx, struct weir_error *err);
    enum weir_status (*events)(struct registry_reader *r, const struct registry_event_filter *f,
                               uint64_t after, uint32_t max, registry_event_fn fn, void *ctx,
                               struct weir_error *err);
    enum weir_status (*batch)(struct registry_reader *r, uint64_t id, struct registry_batch *ret,
                              struct weir_error *err);
    enum weir_status (*batches)(struct registry_reader *r, uint64_t after, uint32_t max,
                                registry_batch_fn fn, void *ctx, struct weir_error *err);
    /* Tasks of a batch from a place on, in order (of place, then id), up to the first that has not ended; with their results, and payload if
     * asked. */
    enum weir_status (*results)(struct registry_reader *r, uint64_t batch, uint64_t from,
                                uint32_t max, bool with_payload, registry_task_fn fn, void *ctx,
                                struct weir_error *err);
    /* In the order of their names; those with no task at all may be left out. */
    enum weir_status (*tallies)(struct registry_reader *r, registry_tally_fn fn, void *ctx,
                                struct weir_error *err);
    /* from <= at < to. pool NULL: over all. Oldest first. */
    enum weir_status (*history)(struct registry_reader *r, const char *pool, uint32_t resolution_s,
                                int64_t from_ns, int64_t to_ns, registry_sample_fn fn, void *ctx,
                                struct weir_error *err);
    /* The value of a fact, appended. WEIR_E_END: none. */
    enum weir_status (*fact)(struct registry_reader *r, struct slice name, struct buf *out,
                             struct weir_error *err);
    void (*close)(struct registry_reader *r);
};

struct registry_reader {
    const struct registry_reader_ops *ops;
};

/* ---- the registry ---- */

/* A task that a predecessor left running. */
struct registry_left {
    uint64_t task, token;
    uint32_t attempt;
    struct slice pool;
    struct registry_runner runner;
    int64_t started_ns;
};
typedef bool (*registry_left_fn)(void *ctx, const struct registry_left *l);

struct core_registry_ops {
    const char *name; /* "memory", "sqlite" */
    /* One transaction for the chain (through next), in its order. On failure every op is without effect, and the call may be
     * repeated with the same chain; *err and each op's err say why. Events that were written: numbers up to last_event(). */
    enum weir_status (*apply)(struct core_registry *r, struct registry_op *chain,
                              struct weir_error *err);
    /*
     * At a start, before anything is applied: tells what ran when the predecessor ended. After fn
     * has seen them, and their processes have been ended, put_back makes them READY at their old
     * rank, with their attempts recorded as lost (the dispatcher was killed), in one transaction.
     * One that somebody has cancelled is CANCELLED instead; a task that was so lost deaths_max
     * times is quarantined; 0: never. That is a death, unless the record has the attempt's end by
     * TELL: it ended by itself, and only its result is lost. Passing batches (batch_open) that are still open are ended.
     */
    enum weir_status (*left_running)(struct core_registry *r, registry_left_fn fn, void *ctx,
                                     struct weir_error *err);
    enum weir_status (*put_back)(struct core_registry *r, int64_t now_ns, uint32_t deaths_max,
                                 uint64_t *ret_count, struct weir_error *err);
    /* Every line that has a ready task. On the writer's thread. */
    enum weir_status (*lines)(struct core_registry *r, registry_line_fn fn, void *ctx,
                              struct weir_error *err);
    /*
     * The line of that number; it is the registry's, and stays until the number may be given again
     * (REGISTRY_PURGE). NULL: none. Any thread that was handed the number and has not let go of it:
     * the engine's, and that of a reader within the call that gave it a task of the line. Never
     * waits for a lock of the writer's.
     */
    const struct registry_line *(*line)(struct core_registry *r, uint32_t id);
    /* The number of the last event that is durable. Any thread. */
    uint64_t (*last_event)(struct core_registry *r);
    /* Any thread; each reader is used by one at a time. */
    enum weir_status (*reader)(struct core_registry *r, struct registry_reader **ret,
                               struct weir_error *err);
    /*
     * Now and then: WEIR_E_IO when what is open is not what the next start would find, for somebody
     * has removed or replaced it. apply() fails in the same way. One thread at a time, any; NULL:
     * nothing can be removed.
     */
    enum weir_status (*look)(struct core_registry *r, struct weir_error *err);
    /* Readers are closed before. */
    void (*close)(struct core_registry *r);
};

/* First member of every registry. */
struct core_registry {
    const struct core_registry_ops *ops;
};

#endif
