/* The words of the event record: what each kind of event is called there. */
#include "core/ports/observer.h"

const char *core_event_name(enum core_event_kind kind)
{
    static const char *const names[EVENT_KIND_COUNT] = {
        [EVENT_BATCH_OPENED] = "batch.opened",
        [EVENT_BATCH_CLOSED] = "batch.closed",
        [EVENT_TASK_ACCEPTED] = "task.accepted",
        [EVENT_ATTEMPT_STARTED] = "attempt.started",
        [EVENT_ATTEMPT_ENDED] = "attempt.ended",
        [EVENT_ATTEMPT_LATE] = "attempt.late",
        [EVENT_TASK_RETRY] = "task.retry_scheduled",
        [EVENT_TASK_FINISHED] = "task.finished",
        [EVENT_TASK_DELIVERED] = "task.delivered",
        [EVENT_THROTTLE_CHANGED] = "throttle.changed",
        [EVENT_POOL_HELD] = "pool.held",
        [EVENT_WORKER_TRANSITION] = "worker.transition",
        [EVENT_WORKER_SAID] = "worker.said",
        [EVENT_BREAKER_CHANGED] = "breaker.changed",
        [EVENT_ATTEMPT_TAKEN_BACK] = "attempt.taken_back",
        [EVENT_TASK_FAILED_OVER] = "task.failed_over",
        [EVENT_FAILURES_ALIKE] = "failures.alike",
    };

    return (unsigned)kind < EVENT_KIND_COUNT ? names[kind] : "unknown";
}
