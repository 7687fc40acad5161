/*
 * What a witness knows of one pool's workers and breaker, from events alone: in which states they
 * are, what is in the hands of each worker, and what may therefore happen. Each function returns
 * what is wrong, or NULL.
 *
 *     wrong = sim_watch_worker_moved(&watch, ev);       // EVENT_WORKER_TRANSITION
 *     wrong = sim_watch_breaker_moved(&watch, ev);      // EVENT_BREAKER_CHANGED
 *     wrong = sim_watch_started(&watch, ev->worker);    // an attempt was started; _ended(): it has ended, or was taken back
 *
 * Owner: its witness. One thread.
 */
#ifndef SIM_WATCH_H
#define SIM_WATCH_H

#include "core/pool.h"
#include "core/ports/observer.h"
#include "core/worker/life.h"

struct sim_watch_worker {
    enum worker_state state;
    struct instant since;
    uint32_t in_flight;
    bool known;
};

struct sim_watch {
    const struct core_pool_options *pool;
    uint32_t max_in_flight; /* of each worker; 0: the pool has no workers */
    struct sim_watch_worker *by_id;
    bool blind;           /* without memory for a worker it says nothing about workers any more */
    size_t ending;        /* workers that are terminating */
    uint64_t known, room; /* ids below `room` have a place; 0 is nobody */
    enum breaker_state breaker;
    struct instant breaker_since;
    uint64_t breaker_epoch;
    uint32_t trials; /* that are in flight while it is half-open */
};

void sim_watch_init(struct sim_watch *w, const struct core_pool_options *pool,
                    uint32_t max_in_flight);
void sim_watch_free(struct sim_watch *w);
const char *sim_watch_worker_moved(struct sim_watch *w, const struct core_event *ev);
const char *sim_watch_breaker_moved(struct sim_watch *w, const struct core_event *ev);
/* *ret_epoch: what _ended() is to be told. */
const char *sim_watch_started(struct sim_watch *w, uint64_t worker, uint64_t *ret_epoch);
const char *sim_watch_ended(struct sim_watch *w, uint64_t worker, uint64_t epoch);
/* At the end of a world that was shut down: no worker is left. */
const char *sim_watch_over(const struct sim_watch *w);

#endif
