/*
 * How states and events of the registry are spelled, in the API, the record and the metrics. The
 * spellings are stable, as the numbers of events are. No state.
 */
#include "core/ports/registry.h"

static const char *const state_names[] = {
    [REGISTRY_BLOCKED] = "blocked",     [REGISTRY_SCHEDULED] = "scheduled",
    [REGISTRY_READY] = "ready",         [REGISTRY_RUNNING] = "running",
    [REGISTRY_DONE] = "done",           [REGISTRY_FAILED] = "failed",
    [REGISTRY_CANCELLED] = "cancelled",
};

static const char *const event_names[] = {
    [REGISTRY_TASK_SUBMITTED] = "task.submitted",
    [REGISTRY_TASK_READY] = "task.ready",
    [REGISTRY_TASK_ASSIGNED] = "task.assigned",
    [REGISTRY_RUNNER_STARTED] = "runner.started",
    [REGISTRY_RUNNER_HEARTBEAT] = "runner.heartbeat",
    [REGISTRY_RUNNER_COMPLETED] = "runner.completed",
    [REGISTRY_RUNNER_FAILED] = "runner.failed",
    [REGISTRY_RUNNER_TIMEOUT] = "runner.timeout",
    [REGISTRY_RUNNER_LOST] = "runner.lost",
    [REGISTRY_RUNNER_CANCELLED] = "runner.cancelled",
    [REGISTRY_RUNNER_CAPACITY] = "runner.capacity",
    [REGISTRY_RUNNER_LATE] = "runner.late",
    [REGISTRY_TASK_RETRY_SCHEDULED] = "task.retry_scheduled",
    [REGISTRY_TASK_DONE] = "task.done",
    [REGISTRY_TASK_FAILED] = "task.failed",
    [REGISTRY_TASK_CANCELLED] = "task.cancelled",
    [REGISTRY_TASK_CHANGED] = "task.changed",
    [REGISTRY_TASK_DELETED] = "task.deleted",
    [REGISTRY_TASK_QUARANTINED] = "task.quarantined",
    [REGISTRY_POOL_CHANGED] = "pool.changed",
    [REGISTRY_LIMIT_CHANGED] = "limit.changed",
    [REGISTRY_BREAKER_OPENED] = "breaker.opened",
    [REGISTRY_BREAKER_CLOSED] = "breaker.closed",
    [REGISTRY_WORKER_TRANSITION] = "worker.transition",
    [REGISTRY_DEADLOCK_DETECTED] = "deadlock.detected",
    [REGISTRY_DISPATCHER_STARTED] = "dispatcher.started",
    [REGISTRY_DISPATCHER_STOPPING] = "dispatcher.stopping",
    [REGISTRY_DISPATCHER_STOPPED] = "dispatcher.stopped",
    [REGISTRY_CONFIG_CHANGED] = "config.changed",
    [REGISTRY_SKILL_UNOFFERED] = "skill.unoffered",
    [REGISTRY_BATCH_ENDED] = "batch.ended",
};

_Static_assert(sizeof(state_names) / sizeof(state_names[0]) == REGISTRY_STATES,
               "each state has a name");
_Static_assert(sizeof(event_names) / sizeof(event_names[0]) == REGISTRY_EVENT_KINDS,
               "each event has a name");
_Static_assert(REGISTRY_EVENT_KINDS <= 64, "registry_event_filter has a bit for each");

const char *registry_event_name(enum registry_event_kind kind)
{
    return (unsigned)kind < REGISTRY_EVENT_KINDS ? event_names[kind] : NULL;
}

const char *registry_state_name(enum registry_state state)
{
    return (unsigned)state < REGISTRY_STATES ? state_names[state] : "unknown";
}

bool registry_state_from_name(struct slice name, enum registry_state *ret)
{
    for (unsigned i = 0; i < REGISTRY_STATES; i++)
        if (slice_equal(name, slice_of(state_names[i]))) {
            *ret = (enum registry_state)i;
            return true;
        }
    return false;
}

bool registry_event_from_name(struct slice name, enum registry_event_kind *ret)
{
    for (unsigned i = 1; i < REGISTRY_EVENT_KINDS; i++)
        if (slice_equal(name, slice_of(event_names[i]))) {
            *ret = (enum registry_event_kind)i;
            return true;
        }
    return false;
}

bool registry_go_on(struct registry_op *op)
{
    struct registry_cancel *c = &op->cancel;

    if (op->kind != REGISTRY_CANCEL || op->err.status != WEIR_OK || !c->ret_more)
        return false;
    c->from_place = c->to_place;
    c->from_task = c->to_task;
    c->count_before = c->ret_count;
    c->running_before = c->ret_running;
    return true;
}
