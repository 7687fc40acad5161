/* What pools and attempts tell of themselves, for the record and the desk. On the engine's thread. */
#include "base/json.h"
#include "engine/tasks_internal.h"

/*
 * By the name that the event has: its pool may be on its way out, and another one have taken its
 * name, or not be the desk's yet.
 */
static struct slice pool_of(const struct core_event *ev)
{
    return ev->pool ? slice_of(ev->pool) : (struct slice){0};
}

static void tell_breaker(struct engine_tasks *t, const struct core_event *ev)
{
    struct buf detail = {0};

    /* That some are let through is neither: what comes of it is told. */
    if (ev->breaker->to == BREAKER_HALF_OPEN)
        return;
    buf_puts(&detail, "{\"from\":");
    json_put_string(&detail, slice_of(breaker_state_name(ev->breaker->from)));
    buf_puts(&detail, ",\"to\":");
    json_put_string(&detail, slice_of(breaker_state_name(ev->breaker->to)));
    if (ev->detail) {
        buf_puts(&detail, ",\"why\":");
        json_put_string(&detail, slice_of(ev->detail));
    }
    buf_putc(&detail, '}');
    if (!detail.failed)
        desk_record(t->desk,
                    &(struct registry_event){.kind = ev->breaker->to == BREAKER_CLOSED
                                                         ? REGISTRY_BREAKER_CLOSED
                                                         : REGISTRY_BREAKER_OPENED,
                                             .pool = pool_of(ev),
                                             .duration_ns = ev->breaker->lasted_ns,
                                             .detail = buf_slice(&detail)},
                    NULL, ev->at);
    buf_free(&detail);
}

static void tell_worker(struct engine_tasks *t, const struct core_event *ev)
{
    const struct worker_transition *w = ev->transition;
    const char *more = ev->more ? ev->more : w->detail;
    struct buf detail = {0};

    buf_printf(&detail, "{\"from\":\"%s\",\"to\":\"%s\",\"why\":\"%s\"", worker_state_name(w->from),
               worker_state_name(w->to), w->reason);
    if (more[0]) {
        buf_puts(&detail, ",\"detail\":");
        json_put_string(&detail, slice_of(more));
    }
    buf_putc(&detail, '}');
    if (!detail.failed)
        desk_record(t->desk,
                    &(struct registry_event){.kind = REGISTRY_WORKER_TRANSITION,
                                             .pool = pool_of(ev),
                                             .worker = ev->worker,
                                             .duration_ns = w->lasted_ns,
                                             .detail = buf_slice(&detail)},
                    NULL, ev->at);
    buf_free(&detail);
}

static void pass_on(struct core_observer *o, const struct core_event *ev)
{
    if (o)
        o->ops->event(o, ev);
}

/* What the dispatcher tells: breakers, and what has come too late. */
static void on_event(struct core_observer *o, const struct core_event *ev)
{
    struct engine_tasks *t = list_entry(o, struct engine_tasks, observer);

    if (ev->kind == EVENT_BREAKER_CHANGED)
        tell_breaker(t, ev);
    if (ev->kind == EVENT_ATTEMPT_LATE && ev->task && ev->answer &&
        desk_owns(t->desk, ev->task->batch))
        desk_late(t->desk, ev->task, ev->answer, ev->at);
    pass_on(t->before, ev);
}

/* What executors tell: workers. */
static void on_edge_event(struct core_observer *o, const struct core_event *ev)
{
    struct engine_tasks *t = list_entry(o, struct engine_tasks, edge);

    if (ev->kind == EVENT_WORKER_TRANSITION)
        tell_worker(t, ev);
    if (t->options.worker && (ev->kind == EVENT_WORKER_SAID || ev->kind == EVENT_WORKER_TRANSITION))
        t->options.worker(t->options.ctx, ev);
    pass_on(t->edge_before, ev);
}

const struct core_observer_ops tasks_observer_ops = {.event = on_event};
const struct core_observer_ops tasks_edge_ops = {.event = on_edge_event};

void tasks_began(void *ctx, const struct core_attempt_began *b, struct instant now)
{
    desk_began(((struct engine_tasks *)ctx)->desk, b, now);
}

void tasks_beat(void *ctx, const struct core_heartbeat *b, struct instant now)
{
    (void)desk_beat(((struct engine_tasks *)ctx)->desk, b, now);
}
