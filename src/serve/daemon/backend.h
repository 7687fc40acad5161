/*
 * What the API stands on in the daemon: the engine with its tasks.
 *
 *     backend_new(tasks, &options, &backend, &err);
 *     api_options.backend = backend_api(backend);
 *     ... api_free() ...
 *     backend_free(backend);
 *
 * What somebody changes by the API (a limit, a pool that is disabled, the policy) is written to the
 * registry as a fact and holds after a restart too, until the configuration says something else in
 * that place: while the daemon runs, or before it was started anew. backend_restore() applies what
 * is written.
 */
#ifndef SERVE_DAEMON_BACKEND_H
#define SERVE_DAEMON_BACKEND_H

#include "engine/tasks.h"
#include "serve/api/backend.h"

/* Readers of the registry that are open at once. */
#define BACKEND_READERS_MAX 64

struct backend;

struct backend_options {
    /* Somebody wants the daemon to stop. Any thread; returns at once. */
    void (*shut_down)(void *ctx, duration_ns grace_ns);
    /* Whether that is the secret of the attempt with that token. */
    bool (*knows_secret)(void *ctx, uint64_t token, const char *secret);
    /* Appends what the configuration says of all that may be changed here, in any words without quotes and backslashes; pool
     * NULL: of the dispatcher. Any thread but the engine's. */
    void (*configured)(void *ctx, const char *pool, struct buf *out);
    void *ctx;
    const char *default_pool; /* as configured; NULL: none */
};

WEIR_MUST_CHECK enum weir_status backend_new(struct engine_tasks *tasks,
                                             const struct backend_options *o, struct backend **ret,
                                             struct weir_error *err);
struct api_backend *backend_api(struct backend *b);
/* From now on the status says "stopping". */
void backend_stopping(struct backend *b);
/* Another default pool is configured. */
WEIR_MUST_CHECK enum weir_status backend_set_default(struct backend *b, const char *name,
                                                     struct weir_error *err);
/* Applies what was changed by the API before, to the dispatcher and to every pool that is there. */
WEIR_MUST_CHECK enum weir_status backend_restore(struct backend *b, struct weir_error *err);
/* Between these nothing is changed by the API: it waits. Taken before the lock that options.configured() takes. */
void backend_hold_changes(struct backend *b);
void backend_allow_changes(struct backend *b);
/*
 * The configuration has changed there: what was changed by the API no longer holds. pool NULL: of
 * the dispatcher. While changes are held. What is not known to be changed costs nothing; the others
 * are sent, and waited for together, for a store that is slow is slow once.
 *
 *     struct backend_forgets *all = NULL;
 *     backend_forget(b, "sh", &all); backend_forget(b, NULL, &all);
 *     backend_forget_end(&all, failed, ctx);    // failed(ctx, pool, &err) of each that could not be
 */
struct backend_forgets;
typedef void (*backend_forget_failed_fn)(void *ctx, const char *pool, const struct weir_error *err);
void backend_forget(struct backend *b, const char *pool, struct backend_forgets **all);
void backend_forget_end(struct backend_forgets **all, backend_forget_failed_fn failed, void *ctx);
/* No reader is out. NULL-safe. */
void backend_free(struct backend *b);

#endif
