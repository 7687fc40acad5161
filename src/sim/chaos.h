/*
 * Chaos: a model of a service, or of callbacks, that does everything that one can do to a caller.
 * For tests of what must hold whatever it does.
 *
 *     struct sim_chaos chaos;
 *     sim_chaos_init(&chaos, seed, cancels_at_once, timeout_is_set);
 *     sim_world_add_pool(w, &options, &chaos.model, &pool, &err);
 *
 * The seed chooses a character (how often it refuses, fails, loses answers, how long it takes, when
 * it is down), and then each answer. Answers: every outcome, also ones that there are not;
 * Retry-After small, huge and garbage; quotas true and false; tokens told and untold; texts; times
 * that lie in the future. Latencies have a heavy tail. It can answer late, after a cancel, twice,
 * or (where a timeout is set) never until it is cancelled. One thread.
 */
#ifndef SIM_CHAOS_H
#define SIM_CHAOS_H

#include "base/rng.h"
#include "sim/world.h"

struct sim_chaos {
    struct sim_model model;
    struct rng rng;
    bool cancels_at_once, never_allowed;

    /* its character: shares of 1000, in this order; what is left is ok */
    unsigned refuses, fails, forbids, loses, babbles, never;
    unsigned advises;  /* of 1000 answers: one with Retry-After, one with quotas */
    unsigned repeats;  /* of 1000 reports: one that comes more than once */
    unsigned obeys;    /* of 1000 cancels: one that ends the attempt early */
    size_t most;       /* attempts that it bears at once; above: refuses. 0: any number */
    duration_ns usual; /* latency: the median */
    double tail;       /* how heavy */
    struct instant down_from, down_until;   /* an outage: nothing connects */
    struct instant storm_from, storm_until; /* all are refused, fast */
    size_t running;
};

/* never_allowed: some attempts end only when they are cancelled; the pool has a timeout. */
void sim_chaos_init(struct sim_chaos *c, uint64_t seed, bool cancels_at_once, bool never_allowed);
/* The output of an answer that is ok; of the row's index. */
#define SIM_CHAOS_OUTPUT "row %llu"

#endif
