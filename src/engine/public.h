/*
 * What the files behind include/weir/weir.h share: the objects that its handles stand for.
 */
#ifndef ENGINE_PUBLIC_H
#define ENGINE_PUBLIC_H

#include "engine/engine.h"
#include "engine/row_store.h"
#include "weir/weir.h"

#include <pthread.h>

struct weir_engine {
    struct engine *engine;
    pthread_mutex_t lock; /* guards what follows */
    struct weir_pool *pools;
    size_t open_batches;
};

struct weir_pool {
    struct weir_engine *owner;
    struct core_pool *core;
    weir_work_fn work;
    void *ctx;
    struct weir_pool *next;
};

enum weir_status public_null(struct weir_error *err, const char *what);
void public_stats(const struct core_stats *from, struct weir_stats *to);
/* Forgets what an answer said, but not what is known about the attempt. */
void public_answer_clear(struct core_answer *a);

#endif
