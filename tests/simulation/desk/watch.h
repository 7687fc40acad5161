/*
 * The witness of an office: keeps books of its own, from what edges see and from the record, and
 * says what went wrong.
 *
 *     watch_new(registry)                        // reads the record, as it becomes durable
 *     watch_submitted(w, id, spec)               // each accepted task
 *     watch_prepared(w, attempt), watch_began(w, pool, attempt, now), watch_ended(...)
 *     watch_committed(w, now_ns)                 // new events are there
 *     watch_wrong(w)                             // NULL: all is well
 *
 * What it checks, by number as in docs/INVARIANTS.md: I1 (permits against the attempts that really
 * are between start and report), I2 and I5 (one attempt of a task at a time, one end of each, one
 * recorded end), I6 (the order of a task's events), P3 (no limit is passed by a start: places,
 * global, quotas, reserve, slots, sessions), and that nothing starts that must not: in a disabled
 * pool, after its deadline, before its dependencies, after it has ended; and (P1) once somebody was
 * told that it is cancelled, be it before a crash. A hash over all of it says whether two lives
 * were the same (I7).
 */
#ifndef SIMULATION_DESK_WATCH_H
#define SIMULATION_DESK_WATCH_H

#include "core/desk.h"

#define WATCH_POOLS 64
#define WATCH_RUNS  4096
#define WATCH_SLOTS 4

/* One pool, from its making until it is gone; limits as they are now, kept up to date by whoever changes them. */
struct watch_pool {
    char name[16];
    struct core_pool *core; /* NULL: not there any more */
    struct desk_pool *desk;
    bool enabled, leaving, at_once;
    size_t limit, burst_places;
    uint64_t cpu_milli, memory_mib;
    struct permit_reserve reserve;
    size_t running; /* really */
    void *life;     /* its owner's */
};

/* What the record says of a task. */
enum watch_state {
    WATCH_UNKNOWN,
    WATCH_WAITS, /* blocked or scheduled */
    WATCH_READY,
    WATCH_MAY_WAIT, /* it was ready, and was changed by hand */
    WATCH_RUNS_NOW,
    WATCH_RAN, /* its attempt has ended; what follows comes */
    WATCH_DONE,
    WATCH_FAILED,
    WATCH_CANCELLED,
    WATCH_DELETED,
};

struct watch_task {
    enum watch_state state;
    bool run_after_failure, has_done, has_failed;
    uint64_t batch;
    uint32_t attempts, max_attempts; /* recorded */
    uint32_t counted;                /* ends that can count against max_attempts */
    uint32_t lost;                   /* the last attempt that ended so; 0: none */
    int64_t deadline_ns, not_before_ns;
    uint64_t *after;
    size_t after_count;
    size_t live;    /* attempts that run and were not asked to end */
    bool cancelled; /* somebody was told so, and has not had it retried since */
    bool marked;    /* the record says so, and it runs */
    struct instant ended_at, retried_at; /* NEVER: not */
};

struct watch_run {
    uint64_t token, task; /* token 0: free */
    struct watch_pool *pool;
    uint32_t cpu_milli, memory_mib;
    bool low, asked;
    char session[16];
    char slots[16]; /* names */
    uint32_t numbers[WATCH_SLOTS];
};

struct watch {
    struct core_registry *registry;
    struct registry_reader *reader;
    struct watch_pool pools[WATCH_POOLS];
    size_t pool_count;
    struct watch_task *tasks;
    size_t task_cap;
    uint64_t task_last; /* the greatest id */
    struct watch_run runs[WATCH_RUNS];
    size_t run_top, running;
    struct watch_run prepared;
    int32_t prepared_priority;
    uint32_t prepared_number;
    size_t global_limit; /* 0: none */
    uint32_t slots[WATCH_SLOTS];
    bool stopped, set_back; /* the wall clock was, once */
    duration_ns mail_max_ns;
    uint64_t seq, hash;
    struct instant now;
    int64_t wall_ns;
    /* sums, for those who want to know that it has come about */
    uint64_t begun, abandoned, kinds[REGISTRY_EVENT_KINDS], strays, lates_of_lost;
    uint64_t broken,
        kept_waiting; /* tasks that failed because a breaker was open, or a worker busy */
    bool loud;        /* tells all that it sees */
    char wrong[300];
};

/* Names of the resources "s0" to "s3", of which watch.slots[] says how many places there are. */
struct watch *watch_new(struct core_registry *r);
struct watch *watch_free(struct watch *w);
const char *watch_wrong(const struct watch *w);
void watch_fail(struct watch *w, const char *what, uint64_t task);

struct watch_pool *watch_add_pool(struct watch *w, const char *name);
void watch_submitted(struct watch *w, uint64_t id, const struct registry_spec *s,
                     const uint64_t *siblings);
void watch_edited(struct watch *w, uint64_t id, const struct registry_edit *e);
void watch_resolved(struct watch *w, uint64_t id);
/* Somebody was told that it is cancelled. */
void watch_cancelled(struct watch *w, uint64_t id);
void watch_prepared(struct watch *w, const struct desk_attempt *a);
void watch_began(struct watch *w, struct watch_pool *p, const struct core_attempt *a);
void watch_asked(struct watch *w, const struct core_attempt *a);
void watch_ended(struct watch *w, const struct core_attempt *a);
void watch_committed(struct watch *w);
/* After each step. */
void watch_step(struct watch *w);
/* A new office: nothing runs. */
void watch_restarted(struct watch *w);
/* At the end of all: each task has ended once. */
void watch_over(struct watch *w);
struct watch_task *watch_task(struct watch *w, uint64_t id);

#endif
