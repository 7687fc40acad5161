/*
 * Pools whose places are workers with a life of their own: what the dispatcher asks of their crew
 * (worker/crew.h), and when.
 *
 * A task starts only when there is a worker for it, so one that waits for a worker holds no permit
 * (I4). In each look:
 *
 *     workers_settle()    starts that failed strike the breaker; what was parked with a worker that is gone is ready anew
 *     workers_next()      the task to be started next: parked ones whose worker has room again come first
 *     workers_place()     its worker; or it is parked; or no worker has room, and the look ends
 *     workers_run()       what the crew itself has to do: start, ask, end
 *
 * What is parked comes first, but not twice in a row while another batch has rows ready: a batch
 * with many sessions must not keep all others from the workers.
 *
 * While a crew starts, rows with new sessions are on the pool's list `spreading`, so that each
 * costs one step however often the pool is looked at: a worker without a session takes the first,
 * and workers_settle() makes all ready at the end.
 */
#include "core/internal.h"

#include <assert.h>
#include <stdio.h>

void workers_init(struct core_pool *p)
{
    p->crew = p->executor->crew;
    p->dispatcher->crew_count += p->crew != NULL;
    list_init(&p->spreading);
}

bool workers_settle(struct core_pool *p, struct instant now)
{
    uint32_t strikes = crew_take_strikes(p->crew);
    struct list *orphan;
    bool changed = strikes > 0 &&
                   p->breaker.options.on; /* it may have opened: rows are to go elsewhere, or end */

    for (; strikes > 0; strikes--)
        breaking_strike(p, "workers cannot start", now);
    while ((orphan = crew_take_orphan(p->crew))) {
        struct core_task *t = list_entry(orphan, struct core_task, in_line);

        assert(t->state == TASK_QUEUED && t->parked);
        t->parked = NULL; /* it is on no worker's list any more */
        session_unpark(t);
        changed = true;
    }
    while (!list_empty(&p->spreading) && !crew_spreads(p->crew)) {
        session_unpark(list_entry(list_front(&p->spreading), struct core_task, in_line));
        changed = true;
    }
    return changed;
}

void workers_settle_all(struct dispatcher *d, struct instant now)
{
    if (d->crew_count == 0)
        return;
    list_foreach (node, &d->pools) {
        struct core_pool *p = list_entry(node, struct core_pool, link);

        if (p->crew)
            workers_settle(p, now);
    }
}

/* Whether batches other than b have a row ready in the pool. */
static bool others_are_ready(const struct core_pool *p, const struct core_batch *b)
{
    list_foreach (node, &p->turn)
        if (list_entry(node, struct core_batch, turn) != b)
            return true;
    list_foreach (node, &p->guests)
        if (list_entry(node, struct core_batch, away_turn) != b)
            return true;
    return false;
}

/* The first task that is parked with a worker which has room, and may start; NULL: none. */
static struct core_task *called(struct core_pool *p)
{
    struct worker *w;

    while ((w = crew_calling(p->crew))) {
        struct core_task *t = list_entry(list_front(&w->parked), struct core_task, in_line);

        if (choose_has_room_for_output(t))
            return t;
        session_unpark(t);
    }
    return NULL;
}

/* The first task that waits for the crew to start, if there is a worker for it by now, and it may start; NULL: none. */
static struct core_task *spread(struct core_pool *p)
{
    struct list *node;
    struct worker *w;

    while ((node = list_front(&p->spreading))) {
        struct core_task *t = list_entry(node, struct core_task, in_line);

        if (crew_pick(p->crew, t->bound, &w) != CREW_TAKE)
            return NULL;
        if (choose_has_room_for_output(t))
            return t;
        session_unpark(t);
    }
    return NULL;
}

struct core_task *workers_next(struct core_pool *p)
{
    struct core_task *t = called(p), *other = NULL;

    if (!t)
        t = spread(p);
    if (t && p->called_last && others_are_ready(p, t->batch))
        other = choose_next(p);
    if (!t)
        t = choose_next(p);
    return other ? other : t;
}

static bool is_bound(const struct core_task *t)
{
    return t->bound && t->bound->worker;
}

enum crew_pick workers_pick(struct core_pool *p, const struct core_task *t, struct worker **ret)
{
    enum crew_pick pick = crew_pick(p->crew, t->bound, ret);

    if (pick == CREW_TAKE && t->worker == (*ret)->id && !is_bound(t)) {
        /* A row that has failed there is tried elsewhere, where there is an elsewhere. */
        struct worker *another = crew_another(p->crew, t->worker);

        *ret = another ? another : *ret;
    }
    return pick;
}

bool workers_place(struct core_pool *p, struct core_task *t, struct worker **ret,
                   struct instant now)
{
    bool was_parked = t->state == TASK_QUEUED;
    enum crew_pick pick = workers_pick(p, t, ret);

    if (pick == CREW_NONE) {
        /* One with room that is kept for what is parked with it; only this once does that come second. */
        *ret = crew_calling(p->crew);
        p->short_of_workers = !*ret;
        if (!*ret)
            return false;
    }
    if (was_parked)
        session_unpark(t);
    if (pick == CREW_WAIT)
        session_park(t, *ret, now);
    if (pick == CREW_SPREAD)
        session_spread(t);
    p->called_last = was_parked;
    return pick != CREW_WAIT && pick != CREW_SPREAD;
}

/* Tasks that are ready in the pool; counted no further than to the most workers that there can be. */
static size_t count_ready(const struct core_pool *p)
{
    uint64_t ready = 0;

    list_foreach (node, &p->turn) {
        const struct core_batch *b = list_entry(node, struct core_batch, turn);

        ready += b->stats.ready - b->away_ready;
        if (ready >= CREW_WORKERS_MAX)
            break;
    }
    list_foreach (node, &p->guests) {
        if (ready >= CREW_WORKERS_MAX)
            break;
        ready += list_entry(node, struct core_batch, away_turn)->away_ready;
    }
    return ready < CREW_WORKERS_MAX ? (size_t)ready : CREW_WORKERS_MAX;
}

/* The same of those that wait for the crew to start. */
static size_t count_spreading(const struct core_pool *p)
{
    size_t n = 0;

    list_foreach (node, &p->spreading)
        if (++n == CREW_WORKERS_MAX)
            break;
    return n;
}

struct instant workers_run(struct core_pool *p, bool *ret_again, struct instant now)
{
    size_t tasks = (p->short_of_workers ? count_ready(p) : 0) + count_spreading(p);
    struct instant wake;

    tasks += p->wanted < CREW_WORKERS_MAX ? p->wanted : CREW_WORKERS_MAX;
    crew_want(p->crew, tasks, now);
    wake = crew_run(p->crew, now);
    *ret_again |= workers_settle(p, now);
    return wake;
}

void workers_shut_down(struct dispatcher *d, bool at_once, struct instant now)
{
    list_foreach (node, &d->pools) {
        struct core_pool *p = list_entry(node, struct core_pool, link);

        if (p->crew)
            crew_shut_down(p->crew, at_once, now);
    }
}

/* A row that the worker is busy with; NULL: none that we know of. */
static const struct core_attempt_slot *row_of(const struct core_pool *p, uint64_t worker)
{
    list_foreach (node, &p->busy_slots) {
        const struct core_attempt_slot *s = list_entry(node, struct core_attempt_slot, link);

        if (s->worker == worker)
            return s;
    }
    return NULL;
}

/* What a task that has waited too long for a worker is told. */
static void say_who_holds(const struct core_task *t, char *buf, size_t bytes)
{
    const struct core_pool *p = task_pool(t);
    double waited_s = duration_seconds(checkout_timeout(t));
    const struct worker *w = t->parked;
    const struct core_attempt_slot *s = w ? row_of(p, w->id) : NULL;

    if (s)
        snprintf(buf, bytes,
                 "worker %llu (pid %lld), which holds the session \"%.64s\", was not free within "
                 "%g s: it is busy with row %llu of batch %llu (key \"%.64s\")",
                 (unsigned long long)w->id, (long long)w->pid, t->session, waited_s,
                 (unsigned long long)s->attempt.index, (unsigned long long)s->batch->number,
                 s->attempt.key);
    else if (w)
        snprintf(buf, bytes,
                 "worker %llu (pid %lld), which holds the session \"%.64s\", was not free within "
                 "%g s: it is %s and %s",
                 (unsigned long long)w->id, (long long)w->pid, t->session, waited_s,
                 worker_state_name(w->life.state), worker_health_name(w->health.health));
    else if (t->state == TASK_QUEUED && !session_is_parked(t))
        snprintf(buf, bytes,
                 "the session \"%.64s\" was not free within %g s: its earlier work is under way",
                 t->session, waited_s);
    else
        snprintf(buf, bytes, "no worker was free within %g s: %zu attempts run on %zu workers",
                 waited_s, p->permits.running, p->crew ? crew_counts(p->crew).workers : 0);
}

void workers_checkout_over(struct core_task *t, struct instant now)
{
    char message[400];

    say_who_holds(t, message, sizeof message);
    finish_cancelled(t, WEIR_OUTCOME_TIMEOUT, WEIR_REASON_CHECKOUT_TIMEOUT, message, now);
}

struct crew *core_pool_crew(const struct core_pool *pool)
{
    return pool->crew;
}

size_t dispatcher_workers(const struct dispatcher *d)
{
    size_t workers = 0;

    list_foreach (node, &d->pools) {
        const struct core_pool *p = list_entry(node, struct core_pool, link);

        if (p->crew)
            workers += crew_counts(p->crew).workers;
    }
    return workers;
}
