/*
 * What somebody is about to change: from before the op is written until it is known what it has
 * done, nothing of it starts. So whoever is told that a task is cancelled can rely on it: no
 * attempt begins in between, be it of a task that was on its way from the registry, or one that an
 * attempt leaves ready.
 */
#include "core/desk/internal.h"

#include "base/mem.h"

static size_t list_of(uint64_t id)
{
    return (size_t)(id % DESK_HOLD_LISTS);
}

bool hold_covers(const struct desk_hold *h, const struct registry_task *r)
{
    return h->task != 0 ? h->task == r->id : h->batch == r->batch && r->batch != 0;
}

static bool is_in(const struct list *holds, const struct registry_task *r)
{
    list_foreach (node, holds)
        if (hold_covers(list_entry(node, struct desk_hold, link), r))
            return true;
    return false;
}

bool hold_has(const struct desk *d, const struct registry_task *r)
{
    return d->hold_count > 0 && (is_in(&d->holds[list_of(r->id)], r) ||
                                 (r->batch != 0 && is_in(&d->holds[list_of(r->batch)], r)));
}

static void hold(struct desk *d, struct desk_task *t, struct instant now)
{
    if (t->state == DESK_TASK_READY)
        schedule_set_aside(d->schedule, &t->place);
    else if (t->state == DESK_TASK_RUNNING)
        attempt_send_start(t->attempt, now);
}

static void let_go(struct desk *d, struct desk_task *t, bool written, struct instant now)
{
    if (t->state != DESK_TASK_READY) {
        if (written)
            t->attempt->anew = mem_free(t->attempt->anew);
        return;
    }
    if (written)
        window_doubt(d, t);
    window_look_aside(d, t, now);
}

void desk_hold(struct desk *d, struct desk_hold *h, struct instant now)
{
    struct desk_task *t = idmap_get(&d->tasks, h->task);
    size_t i = 0;

    list_push_back(&d->holds[list_of(h->task ? h->task : h->batch)], &h->link);
    d->hold_count++;
    if (t)
        hold(d, t, now);
    while (h->task == 0 && (t = idmap_next(&d->tasks, &i)))
        if (hold_covers(h, t->task))
            hold(d, t, now);
}

void desk_let_go(struct desk *d, struct desk_hold *h, bool written, struct instant now)
{
    struct desk_task *t = idmap_get(&d->tasks, h->task);
    size_t i = 0;

    list_remove(&h->link);
    d->hold_count--;
    if (written)
        window_unstash(d, h);
    if (t)
        let_go(d, t, written, now);
    while (h->task == 0 && (t = idmap_next(&d->tasks, &i)))
        if (hold_covers(h, t->task))
            let_go(d, t, written, now);
}
