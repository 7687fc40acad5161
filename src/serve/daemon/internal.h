/*
 * What the files of the backend share: backend.c (the table of functions, readers), views.c (what
 * somebody wants to see), change.c (what somebody wants to be otherwise).
 */
#ifndef SERVE_DAEMON_INTERNAL_H
#define SERVE_DAEMON_INTERNAL_H

#include "serve/daemon/backend.h"

#include <pthread.h>
#include <stdatomic.h>

struct backend {
    struct api_backend api; /* first */
    struct engine_tasks *tasks;
    struct core_registry *registry; /* readers are taken until the API ends, which is after tasks */
    struct backend_options options;
    char *default_pool; /* under the lock */
    struct instant started_at;
    int64_t started_ns;
    atomic_bool stopping;
    /* A change by hand and the sending of its fact are one step, so that facts are in the order of changes; a reload is another.
     * Whoever has it may take the configuration's lock, and not the other way round; the engine's and the clerk's threads never do. */
    pthread_mutex_t changing;
    pthread_mutex_t lock; /* of: */
    pthread_cond_t given;
    struct registry_reader *idle[BACKEND_READERS_MAX];
    size_t idle_count, reader_count;
};

static inline struct backend *backend_of(struct api_backend *b)
{
    return (struct backend *)(void *)b;
}

/* views.c */
void view_status(struct api_backend *api, struct api_status *ret);
enum weir_status view_pools(struct api_backend *b, const char *name, api_pool_fn fn, void *ctx,
                            struct api_status *ret_status, struct weir_error *err);
enum weir_status view_workers(struct api_backend *b, const char *pool, api_worker_fn fn, void *ctx,
                              struct weir_error *err);
enum weir_status view_runners(struct api_backend *b, api_runner_fn fn, void *ctx,
                              struct weir_error *err);
enum weir_status view_tenants(struct api_backend *b, const char *after, size_t max,
                              api_tenant_fn fn, void *ctx, struct weir_error *err);
enum weir_status view_slots(struct api_backend *b, api_slots_fn fn, void *ctx,
                            struct weir_error *err);
void view_why(struct api_backend *b, uint64_t task, struct api_why *ret);

/* change.c */
enum weir_status change_dispatcher(struct api_backend *api, const struct api_dispatcher_change *c,
                                   struct weir_error *err);
enum weir_status change_pool(struct api_backend *api, const char *name,
                             const struct api_pool_change *c, struct weir_error *err);
enum weir_status act_on_pool(struct api_backend *api, const char *name, enum api_pool_act act,
                             struct weir_error *err);
enum weir_status kill_attempt(struct api_backend *api, uint64_t token, struct weir_error *err);
enum weir_status beat_attempt(struct api_backend *api, uint64_t token, const char *secret,
                              double progress, struct slice text, struct weir_error *err);

#endif
