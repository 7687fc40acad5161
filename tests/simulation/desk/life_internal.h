/*
 * What the files of a life share, and nobody else: life.c has its pools, its offices and its end,
 * deeds.c what is done in it.
 */
#ifndef SIMULATION_DESK_LIFE_INTERNAL_H
#define SIMULATION_DESK_LIFE_INTERNAL_H

#include "core/worker/recovery.h"
#include "simulation/desk/life.h"
#include "simulation/desk/office.h"
#include "simulation/desk/watch.h"

#define POOLS   4
#define SPECS   6
#define AFTER   3
#define TENANTS 3

struct life;

/* A pool as it is to be made again after a restart. */
struct life_pool {
    struct life *life;
    char name[4];
    bool there, crew;
    struct core_pool_options core;
    struct desk_pool_options desk;
    struct office_model model;
    struct sim_workers_options workers;
    struct watch_pool *watch; /* of the one that is there now */
};

struct life {
    struct life_options options;
    struct rng rng;
    struct life_tally *tally;
    struct core_registry *registry;
    struct office *office;
    struct watch *watch;
    struct office_watcher watcher;
    struct office_options office_options;
    struct life_pool pools[POOLS];
    struct sim_event walk;
    uint64_t done, batches;
    uint64_t last_token;
    bool crash, stop;
    char wrong[LIFE_WRONG_BYTES];
};

static inline uint64_t below(struct life *l, uint64_t n)
{
    return rng_below(&l->rng, n);
}

static inline bool one_in(struct life *l, uint64_t n)
{
    return below(l, n) == 0;
}

/* life.c */
void life_wrong(struct life *l, const char *what);
int64_t life_wall(const struct life *l);
void life_draw_limits(struct life *l, struct life_pool *p);
void life_draw_pool(struct life *l, size_t i);
void life_add_pool(struct life *l, struct life_pool *p);
/* As a reload does. */
void life_replace_pool(struct life *l, struct life_pool *p);
void life_set_slots(struct life *l, size_t kind, uint32_t count);

/* deeds.c */
void life_do_something(struct life *l);
void life_cancel(struct life *l, uint64_t task);
void life_resolve(struct life *l, uint64_t task, enum registry_resolve how);
void life_enable(struct life *l, struct life_pool *p, bool enabled);
/* The pool's options are other ones. */
void life_change(struct life *l, struct life_pool *p);

#endif
