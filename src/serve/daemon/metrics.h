/*
 * The daemon's metrics as text, for Prometheus (docs/operating.md says what each means and what to
 * do about it).
 *
 *     metrics_render(&sources, &buf, openmetrics, &err);
 *
 * Everything is read when it is asked for: from the desk on the engine's thread, from a reader of
 * the registry, from the server. Any thread that may wait for the engine's.
 */
#ifndef SERVE_DAEMON_METRICS_H
#define SERVE_DAEMON_METRICS_H

#include "engine/tasks.h"
#include "serve/api/api.h"
#include "serve/daemon/backend.h"

struct metrics_sources {
    struct engine_tasks *tasks;
    struct api_backend *backend;
    struct api *api;            /* NULL: none */
    struct http_server *server; /* NULL: none */
    uint64_t deadlocks;         /* tasks that the last check has found stuck */
    uint64_t reloads, reload_failures;
};

WEIR_MUST_CHECK enum weir_status metrics_render(const struct metrics_sources *m, struct buf *out,
                                                bool openmetrics, struct weir_error *err);

#endif
