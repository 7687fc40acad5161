/*
 * The API of the dispatcher: the routes, and what answers them.
 *
 *     struct api_options o = {.backend = backend, ...};
 *     api_new(&o, &api, &err);
 *     server.routes = api_routes(&server.route_count); server.ctx = api; server.answers = api_answers;
 *     ... api_committed(api, last_event) after each commit; http_server_start(), http_server_stop() ...
 *     api_free(api);                                  // after http_server_free(), and when all ops are done
 *
 * docs/openapi.yaml describes each route. Handlers run on the server's threads: they read by a
 * reader of their own, write by ops that are sent to the backend, and are suspended until these are
 * durable.
 *
 * The status, the list of pools and the metrics are asked for by many, and often: snapshot.h.
 *
 * One thread of the API's own, the *feeder*, reads new events after each commit, renders each once
 * for all who follow, and wakes those who wait for results.
 */
#ifndef SERVE_API_API_H
#define SERVE_API_API_H

#include "serve/api/backend.h"
#include "serve/http/http.h"
#include "serve/http/sse.h"

struct api;

/* A file of the web page: bytes that live as long as the program. */
struct api_file {
    const char *content_type;
    struct slice bytes;
    const char *etag; /* with its quotes; may be NULL */
};

struct api_options {
    struct api_backend *backend; /* outlives the API */
    struct sse_options events;   /* sizes and times; catch_up is the API's own */

    /* Each may be NULL: then its routes are answered with 404. On the server's threads. */
    void *ctx;
    /* Appends a JSON object: the configuration in force, without secrets. */
    enum weir_status (*config_show)(void *ctx, struct buf *out, struct weir_error *err);
    /* Reads it anew; appends a JSON object that says what has changed. E_INVALID: nothing has. */
    enum weir_status (*config_reload)(void *ctx, struct buf *out, struct weir_error *err);
    enum weir_status (*metrics_render)(void *ctx, struct buf *out, bool openmetrics,
                                       struct weir_error *err);
    /* path: "/" or "/web/NAME". NULL: there is no such file. */
    const struct api_file *(*web_find)(void *ctx, const char *path);
};

WEIR_MUST_CHECK enum weir_status api_new(const struct api_options *o, struct api **ret,
                                         struct weir_error *err);
const struct http_route *api_routes(size_t *ret_count);
/* Events up to that number are durable. Any thread; quick. */
void api_committed(struct api *a, uint64_t last_event);
/* Of http_server_options: who has changed something sees it in all that is read from then on. */
void api_answers(void *ctx, const struct http_route *route);
/* The same of a change that no request asked for (a signal). Any thread; quick. */
void api_changed(struct api *a);
void api_event_stats(struct api *a, struct sse_stats *ret);
/* Waits until all who follow events have been given those that are durable by now, or so long. Before the server stops. */
void api_flush(struct api *a, duration_ns patience_ns);
/* Ends its thread: the backend's readers are not asked for any more, and it may go before the API does. Commits may still be
 * told. After the server has stopped. NULL-safe. */
void api_stop(struct api *a);
/* NULL-safe. */
void api_free(struct api *a);

/* docs/openapi.yaml. */
struct slice api_openapi(void);

#endif
