/*
 * How long a task waits for the worker that holds its session, while others hold that worker:
 * checkout_timeout of the pool whose worker it is.
 *
 *     set aside for its worker ──► the time begins ──► its attempt begins, or its pool goes: over
 *                                        └─ it has passed ──► the worker has no room: the task fails, untried
 *                                                        └──► it has room, or is gone: over
 *
 * A task that is looked at again in vain goes on waiting: only when its time has passed is the
 * worker asked. What waits for anything else then (a permit, a pool that is disabled) has not been
 * kept waiting by its worker.
 */
#include "core/desk/internal.h"

#include "base/mem.h"
#include "core/worker/crew.h"

#include <stdio.h>

/* Room for more at a time. */
#define ROOM_MORE 64
/* What cannot be failed now, because an op may change it or for want of memory, is tried again after so long. */
#define AGAIN_NS NS_PER_S

static duration_ns timeout_of(const struct desk_pool *p)
{
    return core_pool_get_options(p->core)->checkout_timeout_ns;
}

void checkout_starts(struct desk *d, struct desk_task *t, struct desk_pool *p, uint64_t worker,
                     struct instant now)
{
    struct checkout *c = t->checkout;

    if (c && c->pool == p && c->worker == worker)
        return;
    checkout_over(d, t);
    if (timeout_of(p) <= 0)
        return;
    if (d->checkouts.len == d->checkouts.cap &&
        !heap_reserve(&d->checkouts, d->checkouts.len * 2 + ROOM_MORE))
        return;
    c = mem_calloc(1, sizeof *c);
    if (!c)
        return;
    *c = (struct checkout){
        .t = t, .pool = p, .worker = worker, .until = instant_add(now, timeout_of(p))};
    heap_node_init(&c->node);
    heap_push(&d->checkouts, &c->node);
    t->checkout = c;
}

void checkout_over(struct desk *d, struct desk_task *t)
{
    if (t->checkout)
        heap_remove(&d->checkouts, &t->checkout->node);
    t->checkout = mem_free(t->checkout);
}

void checkout_leave_pool(struct desk_pool *p)
{
    struct desk *d = p->desk;
    struct desk_task *t;
    size_t i = 0;

    while (heap_first(&d->checkouts) && (t = idmap_next(&d->tasks, &i)))
        if (t->checkout && t->checkout->pool == p)
            checkout_over(d, t);
}

static const struct attempt *busy_with(const struct desk *d, const struct checkout *c)
{
    list_foreach (node, &d->running) {
        const struct attempt *a = list_entry(node, struct attempt, link);

        if (a->pool == c->pool && a->shown.runner.worker == c->worker)
            return a;
    }
    return NULL;
}

static void say_who_holds(const struct desk *d, const struct checkout *c, const struct worker *w,
                          struct slice session, char *buf, size_t bytes)
{
    const struct attempt *a = busy_with(d, c);
    int len = snprintf(buf, bytes,
                       "worker %llu (pid %lld), which holds the session \"%.*s\", was not free "
                       "within %g s: ",
                       (unsigned long long)w->id, (long long)w->pid,
                       (int)(session.len < 64 ? session.len : 64), session.data,
                       duration_seconds(timeout_of(c->pool)));

    if (len < 0 || (size_t)len >= bytes)
        return;
    if (a)
        snprintf(buf + len, bytes - (size_t)len, "it is busy with task %llu",
                 (unsigned long long)a->t->task->id);
    else
        snprintf(buf + len, bytes - (size_t)len, "it is %s and %s",
                 worker_state_name(w->life.state), worker_health_name(w->health.health));
}

/* Its time has passed. False: it is to be looked at again. */
static bool run_out(struct desk *d, const struct checkout *c, struct instant now)
{
    struct desk_task *t = c->t;
    struct slice session = d->host->line(d->host, t->task->line)->session;
    const struct worker *w;
    char message[400];

    if (t->gone || t->stale || hold_has(d, t->task))
        return false;
    if (c->pool->leaving || heap_contains(&t->wait) ||
        !dispatcher_session_waits(c->pool->core, session, &w, now)) {
        checkout_over(d, t);
        if (!list_empty(&t->link))
            window_bring_back_one(d, t, now);
        return true;
    }
    say_who_holds(d, c, w, session, message, sizeof message);
    return attempt_fail_untried(t, c->pool, WEIR_OUTCOME_TIMEOUT, WEIR_REASON_CHECKOUT_TIMEOUT,
                                message, now);
}

void checkouts_run(struct desk *d, struct instant now)
{
    struct heap_node *n;

    while (attempts_may_start(d) && (n = heap_first(&d->checkouts))) {
        struct checkout *c = list_entry(n, struct checkout, node);

        if (instant_before(now, c->until))
            return;
        if (run_out(d, c, now))
            continue;
        c->until = instant_add(now, AGAIN_NS);
        heap_moved(&d->checkouts, n);
    }
}

struct instant checkouts_wake(const struct desk *d)
{
    const struct heap_node *n = heap_first(&d->checkouts);

    return n && attempts_may_start(d) ? list_entry(n, struct checkout, node)->until : INSTANT_NEVER;
}
