/*
 * Sessions: tasks that go one at a time, in the order in which they came, to the worker that holds
 * their state.
 *
 * A task of a session holds it from the moment when its turn has come until it has ended, through
 * its attempts, their waits and retries; those behind it are QUEUED. When the one that holds it is
 * to be started and the session's worker has no room, it is QUEUED too, parked with that worker
 * (workers.c), and is started first when there is room again.
 *
 *     session_find()      before the task is accepted, so that nothing can fail later
 *     session_admit()     it would be ready: ready, or behind the others
 *     session_park()      its worker has no room;   session_unpark(): that is over
 *     session_spread()    it has no worker yet, and waits for one that starts;   session_unpark(): that is over
 *     session_leave()     it has ended: the next one's turn has come
 *
 * A QUEUED task is on its batch's list `queued`, and by in_line on the session's queue, the
 * worker's parked list or the pool's list `spreading`. It holds no permit and no worker (I4). A
 * task that goes to the fallback pool keeps its session at home, so that none overtakes it, and has
 * one of the same name there.
 *
 * In pools without workers a session says nothing.
 */
#include "core/internal.h"

#include <assert.h>
#include <string.h>

bool session_name_fits(const struct core_task *t)
{
    return t->session[0] && strlen(t->session) <= AFFINITY_NAME_BYTES_MAX;
}

static struct session *find(struct core_pool *p, const struct core_task *t, struct instant now)
{
    return affinity_find(crew_affinity(p->crew), t->session, strlen(t->session), now);
}

bool session_find(struct core_pool *p, struct core_task *t, struct instant now)
{
    if (!p->crew || !t->session || t->refused || t->finished_before || !session_name_fits(t))
        return true;
    t->bound = find(p, t, now);
    return t->bound != NULL;
}

/* Onto the batch's list of what is queued; in_line is its caller's business. */
static void queue(struct core_task *t)
{
    struct core_batch *b = t->batch;

    task_move(t, TASK_QUEUED);
    list_push_back(&b->queued, &t->link);
    b->stats.queued++;
    timer_arm(t, instant_min(t->deadline, t->checkout_until));
}

void session_unlink(struct core_task *t)
{
    assert(t->state == TASK_QUEUED);
    if (t->parked)
        crew_unpark(task_pool(t)->crew, t->parked, &t->in_line);
    else
        list_remove(&t->in_line);
    t->parked = NULL;
    list_remove(&t->link);
    t->batch->stats.queued--;
}

void session_admit(struct core_task *t)
{
    struct session *s = t->bound;

    if (s && s->holder && s->holder != t) {
        list_push_back(&s->queue, &t->in_line);
        s->waited = true;
        queue(t);
        return;
    }
    if (s) {
        s->holder = t;
        s->taken = true;
    }
    choose_make_ready(t);
}

void session_park(struct core_task *t, struct worker *w, struct instant now)
{
    struct core_pool *p = task_pool(t);

    choose_unready(t);
    checkout_begin(t, now);
    t->parked = w;
    crew_park(p->crew, w, &t->in_line);
    queue(t);
}

void session_spread(struct core_task *t)
{
    choose_unready(t);
    list_push_back(&task_pool(t)->spreading, &t->in_line);
    queue(t);
}

bool session_is_parked(const struct core_task *t)
{
    return t->state == TASK_QUEUED && (t->parked || t->bound->holder == t);
}

void session_unpark(struct core_task *t)
{
    session_unlink(t);
    if (!t->is_call)
        t->checkout_until = INSTANT_NEVER;
    choose_make_ready_in_order(t);
}

/* The next one's turn has come. Without `waited` the queue is not looked at: it is in another cache line. */
static void pass_on(struct session *s)
{
    struct list *next = s->waited ? list_front(&s->queue) : NULL;
    struct core_task *t;

    s->holder = NULL;
    s->waited = s->taken = next != NULL;
    if (!next)
        return;
    t = list_entry(next, struct core_task, in_line);
    s->holder = t;
    session_unlink(t);
    choose_make_ready_in_order(t);
}

static void leave(struct core_pool *p, struct core_task *t, struct session *s, struct instant now)
{
    if (!s)
        return;
    if (s->holder == t)
        pass_on(s);
    affinity_leave(crew_affinity(p->crew), s, now);
}

void session_leave(struct core_task *t, struct instant now)
{
    struct session *bound = t->bound, *home = t->home;

    t->bound = t->home = NULL;
    leave(task_pool(t), t, bound, now);
    leave(t->batch->pool, t, home, now);
}

void session_move(struct core_task *t, struct instant now)
{
    struct core_pool *to = t->batch->pool->fallback;

    assert(!t->away && to && t->state != TASK_QUEUED && list_empty(&t->link));
    t->away = true;
    t->home = t->bound;
    t->bound = NULL;
    /* Without memory it goes there like one without a session. */
    if (to->crew && t->session && session_name_fits(t))
        t->bound = find(to, t, now);
}

bool dispatcher_release_session(struct core_pool *p, const char *name, struct instant now)
{
    struct affinity *a = p->crew ? crew_affinity(p->crew) : NULL;
    size_t len = strlen(name);
    struct session *s;

    if (!a || !affinity_release(a, name, len, now))
        return false;
    s = affinity_find(a, name, len, now); /* NULL: it was forgotten, and memory is out */
    if (!s)
        return true;
    if (s->holder && s->holder->parked && s->holder->bound == s)
        session_unpark(s->holder);
    affinity_leave(a, s, now);
    return true;
}

/* ---- how long a task waits for a worker that others hold ---- */

bool dispatcher_session_waits(struct core_pool *p, struct slice name, const struct worker **ret,
                              struct instant now)
{
    struct affinity *a = p->crew ? crew_affinity(p->crew) : NULL;
    struct session *s = a ? affinity_find(a, name.data, name.len, now) : NULL;
    struct worker *w = NULL;
    bool waits;

    if (!s)
        return false;
    waits = s->worker && !s->holder && crew_pick(p->crew, s, &w) == CREW_WAIT;
    affinity_leave(a, s, now);
    *ret = w;
    return waits;
}

duration_ns checkout_timeout(const struct core_task *t)
{
    const struct core_pool_options *o = &task_pool(t)->options;

    return t->is_call ? o->call_checkout_timeout_ns : o->checkout_timeout_ns;
}

void checkout_begin(struct core_task *t, struct instant now)
{
    duration_ns timeout = checkout_timeout(t);

    if (timeout > 0 && instant_is_never(t->checkout_until))
        t->checkout_until = instant_add(now, timeout);
}
