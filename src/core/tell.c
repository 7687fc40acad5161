/* Telling the observer, if there is one, what happens to a task or a batch (core/ports/observer.h). */
#include "core/internal.h"

static bool is_of_attempt(enum core_event_kind kind)
{
    return kind == EVENT_ATTEMPT_STARTED || kind == EVENT_ATTEMPT_ENDED ||
           kind == EVENT_ATTEMPT_TAKEN_BACK;
}

/* Of others the task has none yet, or that of the attempt before. */
static bool has_answer(enum core_event_kind kind)
{
    return kind != EVENT_ATTEMPT_STARTED && kind != EVENT_TASK_ACCEPTED &&
           kind != EVENT_ATTEMPT_TAKEN_BACK && kind != EVENT_TASK_FAILED_OVER;
}

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
        .pool = task_pool(t)->name,
        .batch = t->batch->number,
        .index = t->index,
        .task = t,
        .key = t->key,
        .attempt = t->attempts,
        .answer = has_answer(kind) ? &t->answer : NULL,
        .wait_ns = wait_ns,
        .detail = detail,
        .worker = is_of_attempt(kind) ? t->worker : 0,
    };
    o->ops->event(o, &ev);
}

/* A hold that grows by less is not told again: while a quota is used up, each answer moves its end. */
#define HELD_TOLD_NS (100 * NS_PER_MS)

void tell_held(const struct core_task *t, struct instant before, struct instant now)
{
    struct instant until = gate_held_until(&task_pool(t)->gate);
    struct instant known = instant_max(before, now);

    if (instant_before(known, until) &&
        (instant_before(before, now) || instant_diff(until, known) >= HELD_TOLD_NS))
        tell_task(t, EVENT_POOL_HELD, instant_diff(until, now), "the service asked for a pause",
                  now);
}

static void tell_change(struct core_pool *p, const struct throttle_state *s, struct instant now)
{
    struct core_observer *o = p->dispatcher->options.observer;
    char detail[160];

    o->ops->event(o, &(struct core_event){
                         .kind = EVENT_THROTTLE_CHANGED,
                         .at = now,
                         .pool = p->name,
                         .detail = throttle_describe(s, detail, sizeof detail),
                         .throttle = s,
                     });
}

void tell_throttle(struct core_pool *p, struct instant now)
{
    const struct throttle_state *s = gate_throttle(&p->gate);
    struct throttle_state then;

    if (!p->dispatcher->options.observer)
        return;
    while (p->told_changes < s->changes)
        if (throttle_state_at(s, ++p->told_changes, &then))
            tell_change(p, &then, now);
}

void tell_batch(const struct core_batch *b, enum core_event_kind kind, struct instant now)
{
    tell_detail(b, kind, NULL, now);
}

void tell_detail(const struct core_batch *b, enum core_event_kind kind, const char *detail,
                 struct instant now)
{
    struct core_observer *o = b->dispatcher->options.observer;
    struct core_event ev = {
        .kind = kind, .at = now, .pool = b->pool->name, .batch = b->number, .detail = detail};

    if (o)
        o->ops->event(o, &ev);
}

void tell_breaker(const struct core_pool *p, const struct core_breaker_change *change,
                  const char *why, struct instant now)
{
    struct core_observer *o = p->dispatcher->options.observer;
    struct core_event ev = {.kind = EVENT_BREAKER_CHANGED,
                            .at = now,
                            .pool = p->name,
                            .detail = why,
                            .breaker = change};

    if (o)
        o->ops->event(o, &ev);
}
