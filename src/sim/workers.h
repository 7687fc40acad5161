/*
 * A pool of worker processes as a model: a real crew (core/worker/crew.h), and processes that do
 * everything that one can do to it. For tests of what must hold whatever they do.
 *
 *     sim_workers_options_init(&o); o.seed = ...; o.crew = ...;
 *     sim_workers_add(w, &pool_options, &o, &workers, &pool, &err);     // the world frees it
 *
 * The seed chooses a character (how often starts fail, how often processes hang, die, lie), and
 * then each deed. Processes start slowly or not at all; answer pings late, twice, with an error, or
 * never; answer requests well, with an error, with a refusal, with garbage, or (where there is a
 * timeout) never; die at any moment, in the middle of a request too, so that what is given to them
 * between their death and its discovery has not begun; and do not end when they are told, until
 * they are killed. One thread; the world's.
 */
#ifndef SIM_WORKERS_H
#define SIM_WORKERS_H

#include "core/worker/crew.h"
#include "sim/world.h"

struct sim_workers_options {
    struct crew_options crew;
    uint64_t seed;
    bool never_allowed; /* the pool has a timeout: a request may get no answer at all */
    bool good;          /* nothing goes wrong */
    bool hopeless;      /* no process ever starts */
    /* An attempt is given to its worker, before it is known what comes of it; and it is about to be reported. May be
     * NULL. */
    void (*given)(void *ctx, const struct core_attempt *a, struct instant now);
    void (*ended)(void *ctx, const struct core_attempt *a, struct instant now);
    void *ctx;
};

/* What has happened, for tests that want to know that it has. */
struct sim_workers_counts {
    uint64_t failed_starts, pings, bad_pings, deaths, lost, not_begun, hung, garbled, cancelled,
        bystanders;
};

struct sim_workers;

void sim_workers_options_init(struct sim_workers_options *o);
WEIR_MUST_CHECK enum weir_status
sim_workers_add(struct sim_world *w, const struct core_pool_options *pool,
                const struct sim_workers_options *o, struct sim_workers **ret,
                struct core_pool **ret_pool, struct weir_error *err);
struct sim_workers_counts sim_workers_counts(const struct sim_workers *x);

#endif
