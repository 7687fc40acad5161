/* Telling the observer, if there is one, what happens to a task or a batch (core/ports/observer.h). */
#include "core/internal.h"

void tell_task(const struct core_task *t, enum core_event_kind kind, duration_ns wait_ns,
               const char *detail, struct instant now)
{
    struct core_observer *o = t->batch->dispatcher->options.observer;
    struct core_event ev;

    if (!o)
        return;
    ev = (struct core_event){
        .kind = kind,
        .at = now,
        .pool = t->batch->pool->name,
        .batch = t->batch->number,
        .index = t->index,
        .key = t->key,
        .attempt = t->attempts,
        .answer = kind == EVENT_ATTEMPT_STARTED || kind == EVENT_TASK_ACCEPTED ? NULL : &t->answer,
        .wait_ns = wait_ns,
        .detail = detail,
    };
    o->ops->event(o, &ev);
}

void tell_throttle(struct core_pool *p, struct instant now)
{
    struct core_observer *o = p->dispatcher->options.observer;
    const struct throttle_state *s = gate_throttle(&p->gate);
    char detail[128];
    struct core_event ev = {
        .kind = EVENT_THROTTLE_CHANGED,
        .at = now,
        .pool = p->name,
        .wait_ns = s->delay_ns,
        .throttle = s,
    };

    if (!o || s->changes == p->told_changes)
        return;
    p->told_changes = s->changes;
    ev.detail = throttle_describe(s, detail, sizeof detail);
    o->ops->event(o, &ev);
}

void tell_batch(const struct core_batch *b, enum core_event_kind kind, struct instant now)
{
    struct core_observer *o = b->dispatcher->options.observer;
    struct core_event ev = {.kind = kind, .at = now, .pool = b->pool->name, .batch = b->number};

    if (o)
        o->ops->event(o, &ev);
}
