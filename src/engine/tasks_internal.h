/*
 * Shared by tasks.c (opening, the desk's host, calls, pools), tasks_ops.c (ops on their way to the
 * clerk and back), tasks_tell.c (what breakers, workers and attempts tell) and tasks_stop.c (the
 * end), and by nobody else.
 */
#ifndef ENGINE_TASKS_INTERNAL_H
#define ENGINE_TASKS_INTERNAL_H

#include "engine/internal.h"
#include "engine/tasks.h"

#include <stdatomic.h>

/*
 * What has come back from the clerk, in the order in which it was written: what the desk has of a
 * task is what the registry had, step by step. Under the lock.
 */
struct back {
    struct registry_op *ops, **ops_tail; /* the desk's own, and what is left of errands */
};

struct engine_tasks {
    struct engine_lodger lodger; /* first */
    struct desk_host host;
    struct core_observer observer, edge;
    struct core_observer *before, *edge_before; /* who was told before; is told still */
    struct engine *engine;
    struct core_registry *registry;
    struct engine_tasks_options options;
    struct desk *desk;
    struct clerk *clerk;
    uint64_t put_back;

    atomic_bool refusing; /* submits */
    pthread_mutex_t lock;
    pthread_cond_t
        changed; /* nothing runs, nothing is unwritten, no pool is unwanted, or somebody is in a hurry */
    struct back back;
    struct mail mail; /* "something is back" */
    bool posted;
    bool started;
    struct instant
        end_by; /* what runs is to end until then, whatever engine_tasks_stop() was given */
    size_t running, unwritten, pools; /* at the end of the last turn */
    pthread_mutex_t adding;           /* one pool at a time; before `lock` */
    struct core_pool *unwanted;       /* the desk did not take it, and it is not gone yet */
    struct engine_tasks_stats stats;

    /* engine's thread only */
    bool out;                  /* move_out() has been; then the main thread's */
    struct instant lines_at;   /* then they are asked for (again); NEVER */
    struct instant due;        /* of the last turn */
    struct instant lag_since;  /* stats.lag_ns_max is from there on */
    duration_ns lag_before_ns; /* the longest of the minute before */
};

/* Of a batch that is cancelled, so many tasks are one transaction. */
#define TASKS_PIECE 2000

/* What could not be asked is asked again after so long. */
#define TASKS_LINES_AGAIN_NS NS_PER_S

/* tasks_ops.c: of the clerk, on its thread; the mail that brings back to the engine's thread what it has written. */
void tasks_clerk_done(void *ctx, struct registry_op *chain);
void tasks_clerk_committed(void *ctx, uint64_t last_event);
void tasks_run_back(struct engine *e, struct mail *m);
/* tasks_tell.c: what is told of rooms (breakers, late results), of edges (workers), and of attempts that run. */
extern const struct core_observer_ops tasks_observer_ops, tasks_edge_ops;
void tasks_began(void *ctx, const struct core_attempt_began *b, struct instant now);
void tasks_beat(void *ctx, const struct core_heartbeat *b, struct instant now);
/* tasks.c: once nobody knows of it any more. */
void tasks_free(struct engine_tasks *t);

#endif
