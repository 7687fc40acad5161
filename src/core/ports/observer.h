/*
 * Port: who is told.
 *
 * The engine tells each step of each task as it happens (P7). An observer is called on the engine's
 * thread, must not call back into the engine, must not block, and copies what it wants to keep.
 */
#ifndef CORE_PORTS_OBSERVER_H
#define CORE_PORTS_OBSERVER_H

#include "core/answer.h"
#include "flow/breaker.h"
#include "flow/throttle_state.h"

#include <stdint.h>

struct core_task;
struct worker_transition;

enum core_event_kind {
    EVENT_BATCH_OPENED,
    EVENT_BATCH_CLOSED,
    EVENT_TASK_ACCEPTED,
    EVENT_ATTEMPT_STARTED,
    EVENT_ATTEMPT_ENDED, /* answer, and what follows from it: wait_ns, or nothing more */
    EVENT_ATTEMPT_LATE,  /* a report that came after the attempt had been judged; ignored (I5) */
    EVENT_TASK_RETRY,    /* will be tried again after wait_ns */
    EVENT_TASK_FINISHED, /* the result stands: outcome and reason of answer */
    EVENT_TASK_DELIVERED,
    EVENT_THROTTLE_CHANGED,   /* of a pool; throttle says how and why, detail says it in words */
    EVENT_POOL_HELD,          /* the service asked for a pause of wait_ns */
    EVENT_WORKER_TRANSITION,  /* of a worker; transition says from what to what, and why */
    EVENT_WORKER_SAID,        /* a line that a worker wrote to its standard error: detail */
    EVENT_BREAKER_CHANGED,    /* of a pool; breaker says from what to what, and detail why */
    EVENT_ATTEMPT_TAKEN_BACK, /* it was handed over and has not begun after all: it does not count */
    EVENT_TASK_FAILED_OVER, /* it goes on in the fallback pool, whose name is in `pool`; detail says why */
    EVENT_FAILURES_ALIKE, /* many rows of a batch fail the same way: detail has how many, and the first few */
    EVENT_KIND_COUNT
};

struct core_breaker_change {
    enum breaker_state from, to;
    duration_ns lasted_ns; /* how long `from` did */
};

struct core_event {
    enum core_event_kind kind;
    struct instant at;
    const char *pool; /* name; NULL when it does not concern one */
    uint64_t batch;   /* number of the batch; 0 when it does not concern one */
    uint64_t index;   /* of the row, for task and attempt events */
    const struct core_task
        *task;        /* the same; the engine's, to be looked at within the call only. Or NULL */
    const char *key;  /* of the row, or NULL */
    uint32_t attempt; /* number of the attempt */
    const struct core_answer *answer; /* or NULL */
    duration_ns wait_ns;
    const char *detail;                    /* or NULL */
    const struct throttle_state *throttle; /* of EVENT_THROTTLE_CHANGED; else NULL */
    uint64_t worker; /* id, of worker events and of attempts that run on one; 0: none */
    const struct worker_transition *transition; /* of EVENT_WORKER_TRANSITION; else NULL */
    const char *more; /* what transition->detail is the beginning of; or NULL: it is whole */
    const struct core_breaker_change *breaker; /* of EVENT_BREAKER_CHANGED; else NULL */
};

/* "task.finished", "attempt.started", ...; the words of the event record. */
const char *core_event_name(enum core_event_kind kind);

struct core_observer;

struct core_observer_ops {
    void (*event)(struct core_observer *o, const struct core_event *ev);
};

/* First member of every observer. */
struct core_observer {
    const struct core_observer_ops *ops;
};

#endif
