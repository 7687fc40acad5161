/*
 * A task: one unit of work, here a row of a batch.
 *
 * Whoever submits a task allocates it (often as the first member of a larger struct), fills in the
 * first part, and gives it away; the engine fills in the rest, hands the finished task out in its
 * batch's order, and calls release() when nothing refers to it any more (of a row that went in a
 * run, whoever gives it back does). All fields are touched by one side at a time: the submitter
 * before the task is submitted, the engine's thread until it is delivered, the receiver until it
 * gives the task back.
 *
 *      READY ◄────────────┐
 *        │ start          │ its wait is over
 *        ▼                │
 *     RUNNING ──retry──► WAITING
 *        │ judged: the result stands      (READY, WAITING and QUEUED can end too: deadline, shutdown, stop)
 *        ▼
 *     FINISHED ──the store has it──► COMMITTED ──its turn has come──► DELIVERED ──given back──► release()
 *
 * In pools of workers a task that would be READY is QUEUED while another one of its session is
 * under way, or while the worker that holds its session's state has no room (session.c); it is
 * READY again when that is over.
 */
#ifndef CORE_TASK_H
#define CORE_TASK_H

#include "base/heap.h"
#include "base/list.h"
#include "core/answer.h"
#include "flow/gate.h"

struct core_batch;
struct core_attempt_slot;
struct session;
struct worker;

enum task_state {
    TASK_NEW,
    TASK_READY,
    TASK_WAITING,
    TASK_RUNNING,
    TASK_FINISHED,
    TASK_COMMITTED,
    TASK_DELIVERED,
    TASK_DROPPED, /* the batch was stopped before the task finished: it has no result */
    TASK_QUEUED,  /* as good as READY, but its session or its worker is taken */
    TASK_STATES
};

/*
 * Rows that go the whole way together: see run.c. A run is a chain of tasks (through next) with
 * indexes without a gap; what is said of all of them is said once, in the first one. A task that is
 * alone is a run of one.
 */
struct core_run {
    uint32_t rows;          /* 0: the task is not the first of a run */
    bool single;            /* a task that went its way by itself: its fields are its own */
    bool begun;             /* reported: false, when it comes back as it was handed over */
    bool clean;             /* reported: each row is done well, and its answer plain */
    struct core_run *next;  /* chains runs that are handed over together */
    struct core_task *last; /* the chain's end; its next is not looked at */
    struct core_batch *batch;
    struct gate_ticket ticket; /* of the first row; the others' follow (gate_ticket_nth) */
    uint64_t round;            /* of its pool's looks, when it was started */
    /* sums that its executor makes while it has the rows at hand */
    uint64_t output_bytes;
    duration_ns after_first_ns; /* of ended_at - ended_at of the first row */
    duration_ns work_ns;        /* what a row took, without the longest where there are several */
};

/* Rows of one run, at most: enough for what is done once for each run to cost nothing, few enough to be shared out. */
#define RUN_ROWS_MAX 128

/*
 * In the order of use: a row that goes in a run is touched by four threads, and in the first three
 * cache lines only. What follows them stays as task_init() made it.
 */
/* Attempts of a task that may be lost because of other rows and not count; those that follow do, so that it ends for certain
 * also among rows without number that end its workers. */
#define TASK_SPARED_MAX 16

struct core_task {
    /* set by the submitter */
    uint64_t index;      /* place in the batch */
    const void *payload; /* what the pool's executor expects */
    size_t payload_len;
    const char *key;      /* never NULL nor empty */
    void *user;           /* the submitter's own; nobody else looks at it */
    bool refused;         /* it has its answer already (a bad row): no attempt is made */
    bool finished_before; /* the store has its result already; answer and record are filled in */

    bool in_run;     /* delivered in a run: nothing of the engine refers to it any more */
    bool given_back; /* release() is due when `abandoned` is 0 */
    enum task_state state;
    uint32_t attempts; /* started, capacity ones included */
    uint32_t capacity_retries;
    struct core_task *next; /* chains tasks that are handed over together */

    /* the result and its record */
    struct instant submit_at, complete_at, deliver_at;
    struct instant start_at; /* of the first attempt; NONE: it did not start */
    uint64_t complete_index;
    struct core_answer answer; /* of the last attempt */
    duration_ns throttled_ns;  /* spent waiting after capacity outcomes */
    /* in force at the dispatch of the last attempt; NONE: there was none, or it was an earlier run's */
    struct throttle_limit limit;

    /* set by the submitter, where it is needed */
    int64_t tokens;            /* estimated cost, for the token budget; 0: none */
    duration_ns deadline_ns;   /* from its submission; 0: none of its own */
    uint64_t hash_hi, hash_lo; /* of the row's bytes, for the store; 0 without one */
    uint32_t generation;       /* see core/ports/store.h */
    uint32_t attempts_before; /* of the same work, in other rows: counted in the attempt's number */
    uint64_t token;           /* of the attempt of a single row; 0: the dispatcher gives one */
    duration_ns timeout_ns;   /* of an attempt, in place of its pool's; 0: as the pool says */
    /* For what works on it: NULL-terminated, "NAME=value"; a command has them in its environment, a worker in its
     * request. NULL: none. */
    const char *const *env;
    bool is_call; /* somebody waits for it alone: the pool's checkout timeout holds for it */
    const char
        *session; /* of pools with a crew: binds it to the worker with its state; NULL: none */
    void (*release)(struct core_task *task);

    /* the engine's own */
    duration_ns advised_ns;    /* of single rows that were refused: how long to wait */
    uint32_t failures;         /* attempts that count against max_attempts */
    uint32_t spared;           /* attempts that were lost for another row, and do not count */
    duration_ns backoff_ns;    /* the last wait after a failure */
    struct gate_ticket ticket; /* of the last attempt */
    uint32_t abandoned;        /* attempts that timed out and still run: they read the payload */
    bool crowding;             /* counts in its pool's `crowding` while it waits */
    bool away;                 /* in its pool's fallback pool, for good */
    bool last_try;             /* there for one attempt */
    uint32_t place;            /* where its batch holds it; of unordered ones */
    struct instant deadline;
    struct instant wake_at; /* when the timer is armed */
    struct core_batch *batch;
    struct core_attempt_slot *slot; /* while RUNNING */
    struct list link;               /* the ready, queued, running or waiting list of its batch */
    struct heap_node timer;
    struct heap_node retry; /* in the batch's heap of retries that are ready */
    /* in pools of workers; see session.c */
    struct session *bound; /* its session in the pool that it is in; NULL: none */
    struct session *home;  /* the one in its batch's pool, which it keeps while it is away */
    struct list in_line;   /* behind its session, parked with a worker, or for one that starts */
    struct worker *parked; /* that worker */
    struct instant
        checkout_until; /* it waits for a worker until then; NEVER: not, or for as long as it takes */
    uint64_t worker;    /* id of the one that the last attempt was given to; 0: none */
    struct core_run run;
};

_Static_assert(offsetof(struct core_task, submit_at) == 64 &&
                   offsetof(struct core_task, answer.outcome) == 128 &&
                   offsetof(struct core_task, answer.tokens) == 192,
               "what a row in a run needs is in three cache lines");

/* Zeroes the task and makes the answer empty; call before filling it in. */
void task_init(struct core_task *t);
/* The same for a task that was delivered in a run, whose answer is cleared: less is to be done. */
void task_init_again(struct core_task *t);
/* Frees what the engine's part of it owns (the answer); for a release() function to call. */
void task_clear(struct core_task *t);

/* The table of the drawing above (I6). */
bool task_may_move(enum task_state from, enum task_state to);
/* The only way in which a task's state changes, once it is made; asserts that it may. */
void task_move(struct core_task *t, enum task_state to);

const char *task_state_name(enum task_state state);

/*
 * Of a run that was delivered: gives each task what is said of all of them, so that it is as if it
 * had been delivered by itself; only `limit` stays NONE, as of any row whose attempt was in a run,
 * for nothing limited it. For whoever receives it; the engine's thread has no time for it.
 */
void run_spread(struct core_run *r);
/*
 * Asks for the memory of a task some places behind in the chain, of which `lines` cache lines from
 * the first one are to be used soon. Who submits rows by the million has them side by side, so
 * where the next one lies tells where those behind it do; where it does not, nothing is lost.
 */
#define TASK_PREFETCH_PLACES 6
static inline void task_prefetch(const struct core_task *t, const struct core_task *next,
                                 size_t lines)
{
    /* As numbers: it may be no address at all, and is not looked at. */
    uintptr_t step = (uintptr_t)next - (uintptr_t)t;
    uintptr_t at = (uintptr_t)next + step * (TASK_PREFETCH_PLACES - 1);

    for (size_t i = 0; i < lines; i++)
        __builtin_prefetch((const void *)(at + 64 * i), 1);
}
/* The first task of a run. */
static inline struct core_task *run_first(struct core_run *r)
{
    return list_entry(r, struct core_task, run);
}

#endif
