/*
 * A world: the other driver of the dispatcher. The engine drives it by threads and a clock; this
 * one by virtual time, an ordered heap of what will happen, and models of whoever does the work,
 * remembers it and takes it.
 *
 *     sim_world_new(&options, &w, &err);
 *     sim_world_add_pool(w, &pool_options, &model, &pool, &err);
 *     sim_world_open(w, pool, &batch_options, &batch, &err);
 *     end = sim_world_run(w, until);             // one step after the other; SIM_DONE: all batches are through
 *     sim_world_free(w);                         // also in the middle: a crash is a world that is freed early
 *
 * One step: time moves to the earliest thing that is due, that one thing happens, the dispatcher
 * runs, the step hook looks at the result. Given the same options, models and seeds it does the
 * same (I7). It reads no clock, does no I/O (a store that is handed in may), and after the set-up
 * allocates nothing: what runs out of memory is the dispatcher's or the models' own.
 *
 * Whoever makes a model, source, sink, store or observer keeps it until sim_world_free(). One
 * thread.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "core/dispatcher.h"
#include "core/ports/store.h"

#include "base/heap.h"
#include "base/list.h"

struct sim_world;
struct sim_batch;
struct sim_model;
struct sim_source;
struct sim_sink;

/* Of a model's answer: it never comes by itself. */
#define SIM_NEVER INT64_MAX
/* Of a model's reaction to a cancel: the attempt goes on as it would have. */
#define SIM_UNMOVED INT64_C(-1)

/* Who does the work of one pool. First member of every model. Must not call the world. */
struct sim_model_ops {
    bool cancels_at_once; /* as in core/ports/executor.h */
    /* An attempt begins. Fills in how it will end (the world has initialised it); returns when: >= 0 from now, or
     * SIM_NEVER. */
    duration_ns (*begin)(struct sim_model *m, const struct core_attempt *a, struct instant now,
                         struct core_answer *ret);
    /* What begin() returned was the time on the way: it gets to whoever does the work now. Fills in and returns what
     * begin() does else. NULL: there is no way. */
    duration_ns (*arrive)(struct sim_model *m, const struct core_attempt *a, struct instant now,
                          struct core_answer *ret);
    /* It is asked to end early. May replace the answer; returns when it ends now: >= 0, or SIM_UNMOVED. NULL: it ends
     * at once, as lost. */
    duration_ns (*cancel)(struct sim_model *m, const struct core_attempt *a, struct instant now,
                          struct core_answer *answer);
    /* It ends now. Returns how many times more than once it is reported (0 for a model that keeps to its contract).
     * May be NULL. */
    unsigned (*end)(struct sim_model *m, const struct core_attempt *a, struct instant now);
};

struct sim_model {
    const struct sim_model_ops *ops;
};

/* Something that happens at a time, of an edge of its own making. */
struct sim_event {
    struct heap_node node;
    struct instant at;
    uint64_t number; /* among events of the same time: as they were planned (I7) */
    void (*fire)(struct sim_world *w, struct sim_event *ev);
};

/*
 * An executor that is more than a model of it (sim/workers.h): it plans its own events, counts what
 * runs, and reports by sim_world_report(), from an event of its own only.
 */
struct sim_edge {
    struct core_executor port; /* first; its close() frees the edge, which is on no list any more */
    struct core_pool *pool;
    size_t running; /* attempts between start() and report() */
    /* The world is taken apart: the attempts that run are reported now, as cancelled, and nothing is planned any more. */
    void (*drop)(struct sim_edge *e);
    struct list link;
};

/* Where a batch's rows come from. First member of every source. */
struct sim_source_ops {
    /* The next row, whose index it sets; WEIR_E_END: there are no more; anything else: asked again later. */
    enum weir_status (*next)(struct sim_source *s, struct core_task **ret);
    /* How long after one row the next one comes; NULL: at once. */
    duration_ns (*gap)(struct sim_source *s);
};

struct sim_source {
    const struct sim_source_ops *ops;
};

/* Who takes a batch's results, one after the other. First member of every sink. May be told to the store, and may
 * call sim_world_cut(). */
struct sim_sink_ops {
    /* How long it takes before it takes the next result; NULL: no time. */
    duration_ns (*delay)(struct sim_sink *s);
    /* Takes one. The task is given back afterwards. NULL: nothing happens. */
    void (*take)(struct sim_sink *s, const struct core_task *t, struct instant now);
};

struct sim_sink {
    const struct sim_sink_ops *ops;
};

/*
 * Who lives in the world beside batches of its own, as the desk does in an engine: it opens batches
 * of its own in the dispatcher, and has a turn before each dispatcher_run(). All of it may be
 * called in every step.
 */
struct sim_lodger {
    struct instant (*turn)(struct sim_lodger *l, struct instant now);
    /* Whether it wants another turn at once. */
    bool (*is_due)(struct sim_lodger *l);
    bool (*owns)(struct sim_lodger *l, const struct core_batch *b);
    void (*deliver)(struct sim_lodger *l, struct core_task *t);
    void (*pool_gone)(struct sim_lodger *l, struct core_pool *p);
    /* The world is taken apart; every attempt was reported. Frees its batches. */
    void (*drop)(struct sim_lodger *l);
};

struct sim_batch_options {
    struct core_batch_options core; /* `durable` is set when there is a store */
    struct sim_source *source;
    struct sim_sink *sink;                    /* NULL: takes at once */
    struct core_store *store;                 /* NULL: none */
    duration_ns commit_min_ns, commit_max_ns; /* what a put takes, by chance in between; >= 0 */
    void *owner;
};

struct sim_world_options {
    uint64_t seed;
    size_t global_limit;
    struct core_observer *observer;
    /* After each step; false: the world halts. NULL: none. */
    bool (*step)(void *ctx, struct sim_world *w);
    void *ctx;
};

enum sim_end {
    SIM_DONE, /* every batch is closed and freed, nothing is planned, and after a shutdown no worker is left */
    SIM_TIME,   /* `until` was reached first; with a lodger it is now that time */
    SIM_HALTED, /* the step hook said so */
    SIM_CUT,    /* sim_world_cut() */
    SIM_STUCK,  /* a batch is open, and nothing is due, ever: a defect */
};

/* When a world begins; not 0, which means "it did not come to that" in a store. */
#define SIM_START ((struct instant){1000 * NS_PER_S})
/* Wall clock minus the world's: 2026-01-01. */
#define SIM_WALL_OFFSET_NS (INT64_C(1767225600) * NS_PER_S)
/* Rows that one put takes at most. */
#define SIM_PUT_ROWS 64
/* A source or a dispatcher that was out of memory is asked again after this. */
#define SIM_AGAIN_NS NS_PER_MS

WEIR_MUST_CHECK enum weir_status sim_world_new(const struct sim_world_options *o,
                                               struct sim_world **ret, struct weir_error *err);
/* Forgets everything at once, like a crash: nothing more is put, taken or told. NULL-safe. */
void sim_world_free(struct sim_world *w);

WEIR_MUST_CHECK enum weir_status sim_world_add_pool(struct sim_world *w,
                                                    const struct core_pool_options *o,
                                                    struct sim_model *model, struct core_pool **ret,
                                                    struct weir_error *err);
/* The edge is the world's from then on, unless this fails. */
WEIR_MUST_CHECK enum weir_status sim_world_add_edge(struct sim_world *w,
                                                    const struct core_pool_options *o,
                                                    struct sim_edge *e, struct core_pool **ret,
                                                    struct weir_error *err);
/* dispatcher_set_fallback(): before batches are opened. */
WEIR_MUST_CHECK enum weir_status sim_world_set_fallback(struct sim_world *w, struct core_pool *pool,
                                                        struct core_pool *other);
/* NULL: nobody. A world with one has no more to do (SIM_DONE) when nothing is due. */
void sim_world_set_lodger(struct sim_world *w, struct sim_lodger *l);
/* For the lodger; the second from its drop(): what its dispatcher_run() has started meanwhile goes, too. */
struct dispatcher *sim_world_use_dispatcher(struct sim_world *w);
void sim_world_drop_edges(struct sim_world *w);
/* Room for that many more events of an edge at once. */
WEIR_MUST_CHECK bool sim_world_make_room(struct sim_world *w, size_t events);
void sim_event_init(struct sim_event *ev, void (*fire)(struct sim_world *w, struct sim_event *ev));
/* In place of when it was planned for before; it happens in a step of its own. */
void sim_world_plan(struct sim_world *w, struct sim_event *ev, struct instant at);
/* Harmless when it is not planned. */
void sim_world_unplan(struct sim_world *w, struct sim_event *ev);
void sim_world_report(struct sim_world *w, struct core_attempt *a);
/* Nothing is told, put or planned any more: the world is being freed. */
bool sim_world_is_dead(const struct sim_world *w);
/* Tells the world's observer, if there is one. */
void sim_world_tell(struct sim_world *w, const struct core_event *ev);
/* Rows begin to come in the next step. The batch is freed by itself when it is through. */
WEIR_MUST_CHECK enum weir_status sim_world_open(struct sim_world *w, struct core_pool *pool,
                                                const struct sim_batch_options *o,
                                                struct sim_batch **ret, struct weir_error *err);
/* Plans a call, in a step of its own, for `when` or the next step if that has passed. */
WEIR_MUST_CHECK enum weir_status sim_world_at(struct sim_world *w, struct instant when,
                                              void (*call)(struct sim_world *w, void *ctx),
                                              void *ctx, struct weir_error *err);

enum sim_end sim_world_run(struct sim_world *w, struct instant until);

/* From a planned call, or between two runs: */
void sim_world_stop(struct sim_world *w, struct sim_batch *b, bool cancel_running);
void sim_world_shutdown(struct sim_world *w, bool cancel_running);
/* Also from a store or a sink: the world ends where it is, in the middle of the step. */
void sim_world_cut(struct sim_world *w);

struct instant sim_world_now(const struct sim_world *w);
/* When the dispatcher wants to be called next, as it said in this step. */
struct instant sim_world_wake(const struct sim_world *w);
const struct dispatcher *sim_world_dispatcher(const struct sim_world *w);
uint64_t sim_world_steps(const struct sim_world *w);
/* Attempts between start() and report(), counted here, not in the dispatcher. pool NULL: all. */
size_t sim_world_running(const struct sim_world *w, const struct core_pool *pool);

void *sim_batch_owner(const struct sim_batch *b);
/* The dispatcher's number of it, which events carry. */
uint64_t sim_batch_number(const struct sim_batch *b);
/* As they are, or as they were when it was freed. */
void sim_batch_stats(const struct sim_batch *b, struct core_stats *ret);
/* Through and freed; and whether a put had failed. */
bool sim_batch_is_over(const struct sim_batch *b);
bool sim_batch_has_failed(const struct sim_batch *b);
/* How often a row was refused for want of memory. */
uint64_t sim_batch_nomem(const struct sim_batch *b);

#endif
