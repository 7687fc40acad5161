/*
 * What the files behind include/weir/weir.h share: the objects that its handles stand for.
 */
#ifndef ENGINE_PUBLIC_H
#define ENGINE_PUBLIC_H

#include "engine/engine.h"
#include "engine/row_store.h"
#include "weir/weir.h"

#include <pthread.h>
#include <stdbool.h>

struct weir_engine {
    struct core_observer workers; /* told what workers say */
    struct engine *engine;
    pthread_mutex_t lock; /* guards what follows */
    struct weir_pool *pools;
    size_t open_batches;
    bool has_tasks; /* tasks.h: they live on the engine's thread */
};

struct weir_pool {
    struct weir_engine *owner;
    struct core_pool *core;
    weir_work_fn work; /* of a pool of threads */
    void *ctx;
    void *program;                        /* of a pool of workers or of commands: its kind's own */
    const struct row_worker *worker_rows; /* of a pool of workers; NULL of others */
    void (*forget)(struct weir_pool *p);  /* frees what the kind has put into it; NULL: nothing */
    /* A worker has written a line to its standard error; false: it is not one of this pool's. The engine's thread. NULL:
       the pool has no workers. */
    bool (*said)(struct weir_pool *p, const struct core_event *ev);
    struct weir_pool *next;
};

enum weir_status public_null(struct weir_error *err, const char *what);
/* Checks the options, and says them in the core's words. */
enum weir_status public_pool_options(const struct weir_pool_options *from,
                                     struct core_pool_options *to, struct weir_error *err);
/* Adds the pool to its engine; `make` gets p as its ctx. p is freed on failure. */
enum weir_status public_add_pool(struct weir_engine *engine, struct weir_pool *p,
                                 const struct core_pool_options *o, engine_executor_fn make,
                                 struct weir_pool **ret, struct weir_error *err);
void public_free_pool(struct weir_pool *p);
/* A duration among the options, in milliseconds: `least` or more, a year at most. name: for the message. */
struct public_wait {
    const char *name;
    int64_t ms, least;
};
enum weir_status public_waits_check(const struct public_wait *waits, size_t count,
                                    struct weir_error *err);
/* Whether a session may have this name (NULL: there is none). whose: "the row's", for the message. */
enum weir_status public_session_check(const char *session, const char *whose,
                                      struct weir_error *err);
/* A copy of words that end with NULL, in one piece of memory; NULL: no memory, or `words` is NULL. */
char **public_words_copy(const char *const *words);
void public_stats(const struct core_stats *from, struct weir_stats *to);
/* Calls fn for an attempt. */
void public_work(weir_work_fn fn, void *ctx, const struct weir_row *row, struct core_attempt *a);
/* Forgets what an answer said, but not what is known about the attempt. */
void public_answer_clear(struct core_answer *a);

#endif
