/*
 * The office: a desk in a modelled world, with a modelled clerk between it and a registry. What
 * engine/tasks_ops.c and engine/clerk.c do with threads, this does in virtual time, so that every
 * order in which they could do it can come about:
 *
 *     office_open(&options, registry, wall_ns, &o);      // finds what a predecessor left, puts it back, starts
 *     office_add_pool(o, ...);
 *     office_send(o, op);                                // an op of a user; op->done() when it is durable or has failed
 *     sim_world_run(o->world, until);
 *     office_close(o);                                   // a crash, if something is under way: see below
 *
 * The clerk gathers ops, folds a START into its END when both are in one group, applies the group
 * after a while, refuses what may be refused and repeats the rest when that fails
 * (memory_registry_fail_next()); what is back goes to the desk by mail, which takes a while, in the
 * order in which engine/tasks_ops.c says it.
 *
 * Closing forgets all that is not durable, like kill -9: what was written and not told to the desk
 * stays written. The registry is its owner's, and is used again by the next office. One thread.
 */
#ifndef SIMULATION_DESK_OFFICE_H
#define SIMULATION_DESK_OFFICE_H

#include "base/rng.h"
#include "core/desk.h"
#include "sim/workers.h"
#include "sim/world.h"

struct office;

/* Looks at what happens in it. Each may be NULL. */
struct office_watcher {
    /* A group is durable. */
    void (*committed)(void *ctx);
    bool (*step)(void *ctx); /* after each step of the world; false: it halts */
    void (*left)(void *ctx, const struct registry_left *l);
    void (*pool_gone)(void *ctx, struct core_pool *p);
    void *ctx;
};

struct office_options {
    uint64_t seed;
    struct schedule_options schedule;
    size_t global_limit; /* 0: none */
    uint32_t deaths_max;
    duration_ns gather_max_ns, commit_max_ns, mail_max_ns; /* by chance, up to that */
    unsigned
        short_of_memory; /* so often, of 1000, the desk has none for something of what comes back */
    bool loud;           /* tells what is written */
    const struct office_watcher *watcher;
};

struct office {
    struct sim_lodger lodger; /* first */
    struct desk_host host;
    struct core_observer observer;
    struct office_options options;
    struct sim_world *world;
    struct core_registry *registry;
    struct desk *desk;
    struct rng rng;
    int64_t wall_offset_ns; /* wall clock less the world's; may be changed at any time */
    uint64_t put_back;
    bool closing, has_begun;
    bool purging; /* a PURGE is under way, or what it told of lines is */

    /* the clerk */
    struct sim_event gather, commit, mail, lines;
    struct registry_op *queue, **tail, *group, **group_tail;
    size_t weight, most;
    uint64_t groups, failures, folds, lines_gone, missed;
    duration_ns pause_ns;
    bool busy;                             /* one of gather and commit is planned */
    struct registry_op *back, **back_tail; /* in the mail, as they were written */
};

struct office *office_open(const struct office_options *o, struct core_registry *r,
                           int64_t wall_ns);
/* Tasks start from now on: after the pools were added. */
void office_begin(struct office *o);
int64_t office_wall_ns(const struct office *o);
struct instant office_now(const struct office *o);
/* Of one that is CANCEL or EDIT, on behalf of the engine's thread, too. */
void office_send(struct office *o, struct registry_op *op);
/* Nothing is with the clerk, nor on the way back from it. */
bool office_is_idle(const struct office *o);
/* Ops that are not durable are given back with WEIR_E_SHUTDOWN. Returns NULL. */
struct office *office_close(struct office *o);

/* ---- pools ---- */

/* What works in a pool that is no crew: drawn from a seed. Shares are of 1000. */
struct office_model {
    uint64_t seed;
    bool cancels_at_once;
    bool tells_began; /* as in struct desk_pool_options */
    unsigned ok_only; /* nothing but good answers */
    unsigned refuses, advises, fails, forbids, loses, dies, silent, twice, obeys, beats;
    duration_ns least_ns, most_ns; /* how long an attempt takes; each is as likely */
    /* An attempt begins, is asked to end, and ends (before it is reported). May be NULL. */
    void (*began)(void *ctx, const struct core_attempt *a, struct instant now);
    void (*cancelled)(void *ctx, const struct core_attempt *a, struct instant now);
    void (*ended)(void *ctx, const struct core_attempt *a, struct instant now);
    /* Instead of the draw: how long; an answer that is ok. May be NULL. */
    duration_ns (*takes)(void *ctx, const struct core_attempt *a);
    void *ctx;
};

/* The pool of the dispatcher and of the desk; NULL: it could not be added, *err says why. */
struct desk_pool *office_add_pool(struct office *o, const struct core_pool_options *core,
                                  const struct office_model *model,
                                  const struct desk_pool_options *desk, struct weir_error *err);
struct desk_pool *office_add_crew(struct office *o, const struct core_pool_options *core,
                                  const struct sim_workers_options *crew,
                                  const struct desk_pool_options *desk, struct weir_error *err);

#endif
