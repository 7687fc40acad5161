/* Books about the workers and the breaker of one pool. See watch.h. */
#include "sim/watch.h"

#include "base/mem.h"

#include <string.h>

/* Places that are made at first. */
#define ROOM_MIN 64

void sim_watch_init(struct sim_watch *w, const struct core_pool_options *pool,
                    uint32_t max_in_flight)
{
    *w = (struct sim_watch){
        .pool = pool,
        .max_in_flight = max_in_flight,
        .breaker = BREAKER_CLOSED,
        .breaker_since = INSTANT_NONE,
    };
}

void sim_watch_free(struct sim_watch *w)
{
    w->by_id = mem_free(w->by_id);
    w->room = 0;
}

/* NULL: no memory, or nobody. A worker that has not been heard of is initializing. */
static struct sim_watch_worker *worker_of(struct sim_watch *w, uint64_t id)
{
    if (id == 0)
        return NULL;
    if (id >= w->room) {
        uint64_t room = w->room ? w->room : ROOM_MIN;
        struct sim_watch_worker *by_id;

        while (room <= id)
            room *= 2;
        by_id = mem_realloc(w->by_id, room * sizeof *by_id);
        if (!by_id) {
            w->blind = true;
            return NULL;
        }
        memset(by_id + w->room, 0, (room - w->room) * sizeof *by_id);
        w->by_id = by_id;
        w->room = room;
    }
    if (!w->by_id[id].known) {
        w->by_id[id] = (struct sim_watch_worker){.state = WORKER_INITIALIZING, .known = true};
        w->known++;
    }
    return &w->by_id[id];
}

const char *sim_watch_worker_moved(struct sim_watch *w, const struct core_event *ev)
{
    const struct worker_transition *t = ev->transition;
    struct sim_watch_worker *worker = worker_of(w, ev->worker);

    if (w->blind)
        return NULL;
    if (w->max_in_flight == 0)
        return "P6: a worker in a pool that has none";
    if (!t || !worker)
        return "P7: the transition of no worker";
    if (!life_may_move(t->from, t->to))
        return "I6: a worker made a transition that is not in the table";
    if (t->from != worker->state)
        return "P7: a worker was in another state than is told";
    if (t->at.ns != ev->at.ns || t->lasted_ns < 0)
        return "P7: a worker's transition at another time";
    if (!t->reason || !t->reason[0])
        return "P7: a worker's transition for no reason";
    if (t->from == WORKER_BUSY && t->to == WORKER_READY && worker->in_flight > 1)
        return "a worker is ready that has attempts in hand";
    if (t->to == WORKER_TERMINATED && worker->in_flight > 0)
        return "P1: a worker is gone and its attempts are not reported";
    w->ending -= t->from == WORKER_TERMINATING;
    w->ending += t->to == WORKER_TERMINATING;
    worker->state = t->to;
    worker->since = ev->at;
    return NULL;
}

const char *sim_watch_breaker_moved(struct sim_watch *w, const struct core_event *ev)
{
    const struct core_breaker_change *c = ev->breaker;

    if (!c || !ev->detail)
        return "P7: the change of a breaker without its reason";
    if (!breaker_may_move(c->from, c->to) || !w->pool->breaker.on)
        return "I6: a breaker made a transition that is not in the table";
    if (c->from != w->breaker)
        return "P7: a breaker was in another state than is told";
    if (c->to == BREAKER_HALF_OPEN && ev->at.ns - w->breaker_since.ns < w->pool->breaker.open_ns)
        return "a breaker was not open for as long as it should";
    w->breaker = c->to;
    w->breaker_since = ev->at;
    w->breaker_epoch++;
    w->trials = 0;
    return NULL;
}

const char *sim_watch_started(struct sim_watch *w, uint64_t worker, uint64_t *ret_epoch)
{
    struct sim_watch_worker *on = worker_of(w, worker);

    *ret_epoch = w->breaker_epoch;
    if (w->breaker == BREAKER_OPEN)
        return "an attempt was started while the breaker was open";
    if (w->breaker == BREAKER_HALF_OPEN && ++w->trials > w->pool->breaker.trials)
        return "more attempts than the breaker lets through while it is half-open";
    if (w->max_in_flight == 0)
        return worker ? "P7: an attempt on a worker, in a pool that has none" : NULL;
    if (w->blind)
        return NULL;
    if (!on)
        return "P7: an attempt on no worker";
    if (on->state != WORKER_BUSY)
        return "work was given to a worker in no state for it";
    if (++on->in_flight > w->max_in_flight)
        return "P3: a worker has more attempts in hand than it may";
    return NULL;
}

const char *sim_watch_ended(struct sim_watch *w, uint64_t worker, uint64_t epoch)
{
    struct sim_watch_worker *on = worker_of(w, worker);

    if (w->breaker == BREAKER_HALF_OPEN && epoch == w->breaker_epoch && w->trials > 0)
        w->trials--;
    if (w->max_in_flight == 0 || w->blind)
        return NULL;
    if (!on || on->in_flight == 0)
        return "I5: an attempt ended on a worker that had none";
    on->in_flight--;
    return NULL;
}

const char *sim_watch_over(const struct sim_watch *w)
{
    for (uint64_t id = 1; id < w->room && !w->blind; id++)
        if (w->by_id[id].known && w->by_id[id].state != WORKER_TERMINATED)
            return "P8: a worker is left after the shutdown";
    return NULL;
}
