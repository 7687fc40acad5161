/*
 * The engine's own structures, shared by engine.c (the thread, the mailbox, pools), pools.c (what
 * is asked of a pool), batch.c (batches seen from outside) and call.c (calls outside of one), and
 * by nobody else.
 */
#ifndef ENGINE_INTERNAL_H
#define ENGINE_INTERNAL_H

#include "base/list.h"
#include "core/dispatcher.h"
#include "engine/committer.h"
#include "engine/engine.h"
#include "engine/run_queue.h"
#include "loop/loop.h"

#include <pthread.h>

/* What an executor says of an attempt that runs: that it has begun, or that it is alive. Owns itself. */
struct sign {
    struct sign *next;
    bool is_beat;
    union {
        struct core_attempt_began began;
        struct core_heartbeat beat; /* its text lies behind */
    };
    char text[];
};

/* Something to be done on the engine's thread. Whoever posts it owns it until it has run. */
struct mail {
    void (*run)(struct engine *e, struct mail *m);
    struct mail *next;
};

/* Who else lives on the engine's thread, and has batches of its own in its dispatcher: tasks.c. */
struct engine_lodger {
    /* Before each dispatcher_run(); returns when to come again at the latest. */
    struct instant (*turn)(struct engine_lodger *l, struct instant now);
    /* Whether the turn is to be repeated at once. */
    bool (*is_due)(struct engine_lodger *l);
    /* Whether a batch is its own; then it is told of its results. */
    bool (*owns)(struct engine_lodger *l, const struct core_batch *b);
    void (*deliver)(struct engine_lodger *l, struct core_task *t);
    /* A pool was removed, and is gone: any. */
    void (*pool_gone)(struct engine_lodger *l, const struct core_pool *p);
    /* After the turn. */
    void (*idle)(struct engine_lodger *l);
};

struct engine {
    struct dispatcher_host dispatcher_host;
    struct engine_lodger *lodger; /* NULL: none */
    struct core_executor_host executor_host;
    struct loop *loop;
    struct dispatcher *dispatcher;
    struct core_observer *observer, *edge_observer;
    int64_t wall_offset_ns;
    pthread_t thread;

    /* the mailbox, under the lock */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a call has run, or the engine has become quiet */
    struct mail *mails, **mails_tail;
    struct core_attempt *reports, **reports_tail;
    struct core_run *runs, **runs_tail; /* reported */
    struct sign *signs, **signs_tail;
    bool asleep;    /* no turn is under way nor due: it must be woken */
    size_t running; /* attempts, at the end of the last turn */
    size_t workers; /* the same; counted once the engine is shut down */

    /* engine's thread only */
    struct instant now;              /* of this turn */
    struct engine_receiver receiver; /* of signs */
    struct engine_batch *touched;    /* batches with something to flush at the end of the turn */
    struct list open;                /* batches whose core side exists */
    size_t closing;                  /* of these, the ones that somebody wants to close */
    bool shut_down;
    bool quit;

    pthread_mutex_t calls_lock; /* of: */
    struct list calls;          /* one of each pool that had a call */
};

/* How much of a batch is somewhere; under its lock. */
struct engine_batch {
    struct engine *engine;
    struct core_batch *core;
    struct committer *committer; /* NULL without a store */
    bool runs;                   /* the core takes rows in runs */
    bool calls;                  /* its rows are calls: each is handed to its caller */
    uint32_t window_rows;
    uint64_t window_bytes;

    pthread_mutex_t lock;
    pthread_cond_t room;      /* something was given back, or the batch takes no more */
    pthread_cond_t ready;     /* a result has come, or there will be no more */
    struct run_queue staged;  /* added, not yet with the engine */
    struct run_queue results; /* delivered, not yet taken */
    struct core_task *returned, **returned_tail; /* given back, not yet with the engine */
    uint64_t returned_rows,
        returned_bytes;                 /* of runs: these rows are released, only counted here */
    uint64_t others_rows, others_bytes; /* of `returned` */
    uint64_t rows, bytes;               /* between add and give_back */
    bool ended;                         /* the adding side has said so */
    bool refusing;                      /* stopped, failed, or shut down: no more rows */
    bool closed;                        /* no more results */
    bool freed;                         /* the core's side is gone */
    bool leaving;                       /* somebody waits for the core's side to go */
    bool posted;                        /* `mail` is in the mailbox */
    struct weir_error failure;          /* of the store; status OK: none */
    enum weir_status refusal;           /* why it takes no more rows */

    struct mail mail; /* "look at staged, returned, ended" */

    /* committer's thread -> engine, under the lock */
    struct core_task *committed, **committed_tail;
    bool commit_failed;

    /* engine's thread only */
    bool end_told, closing, is_touched;
    struct run_queue out;    /* delivered in this turn */
    uint64_t finished_bytes; /* of outputs, since the last flush */
    struct engine_batch *next_touched;
    struct list link; /* in the engine's list of open ones */
};

/* Puts mail into the mailbox. Any thread. */
void engine_post(struct engine *e, struct mail *m);
/* Runs fn(e, ctx) on the engine's thread and waits for it. Not from the engine's thread. */
void engine_call(struct engine *e, void (*fn)(struct engine *e, void *ctx), void *ctx);

/* batch.c, called on the engine's thread */
void batch_run_mail(struct engine *e, struct mail *m);
void batch_finished(struct engine_batch *b, struct core_task *t);
void batch_retrying(struct engine_batch *b, const struct core_task *t, duration_ns wait_ns);
void batch_deliver(struct engine_batch *b, struct core_task *t);
void batch_run_finished(struct engine_batch *b, const struct core_run *r);
void batch_deliver_run(struct engine_batch *b, struct core_run *r);
void batch_closed(struct engine_batch *b);
/* Hands what this turn has given to whoever waits for it; frees the core's side when it is closing and idle. */
void batch_flush(struct engine_batch *b);
void engine_batch_touch(struct engine_batch *b);
/* call.c: what this turn has given to calls is theirs; on the engine's thread */
void calls_flush(struct engine_batch *b);
/* The core would not take the call; releases it. */
void call_refused(struct core_task *t, enum weir_status status, const struct weir_error *why);
/* All batches of calls are closed; none is under way. Not on the engine's thread. */
void calls_close(struct engine *e);
/* The engine is about to shut down: rows that were added count as accepted, and no more are taken. */
void batch_shut_down(struct engine_batch *b);

#endif
