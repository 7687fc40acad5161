/*
 * The routes of the API: one row each. docs/openapi.yaml says the same, and tests/integration/test_openapi.py compares.
 */
#include "serve/api/internal.h"

#define QUERY(...) ((const char *const[]){__VA_ARGS__, NULL})

#define TASK_FILTERS "state", "pool", "skill", "tenant", "session", "key", "batch", "stuck"

static const struct http_route routes[] = {
    {.method = "POST", .pattern = "/v1/tasks", .role = HTTP_ROLE_SUBMIT, .handler = post_tasks, .begin = begin_tasks,
     .body_bytes_max = SUBMIT_BODY_BYTES_MAX},
    {.method = "GET", .pattern = "/v1/tasks", .role = HTTP_ROLE_READ, .handler = get_tasks,
     .query = QUERY(TASK_FILTERS, "order", "limit", "cursor", "with")},
    {.method = "GET", .pattern = "/v1/tasks/{id}", .role = HTTP_ROLE_READ, .handler = get_task},
    {.method = "PATCH", .pattern = "/v1/tasks/{id}", .role = HTTP_ROLE_SUBMIT, .handler = patch_task},
    {.method = "DELETE", .pattern = "/v1/tasks/{id}", .role = HTTP_ROLE_OPERATE, .handler = delete_task},
    {.method = "POST", .pattern = "/v1/tasks/{id}/cancel", .role = HTTP_ROLE_SUBMIT, .handler = post_task_cancel},
    {.method = "POST", .pattern = "/v1/tasks/{id}/retry", .role = HTTP_ROLE_SUBMIT, .handler = post_task_retry},
    {.method = "POST", .pattern = "/v1/tasks/{id}/resolve", .role = HTTP_ROLE_OPERATE, .handler = post_task_resolve},
    {.method = "GET", .pattern = "/v1/tasks/{id}/events", .role = HTTP_ROLE_READ, .handler = get_task_events,
     .query = QUERY("after", "order", "limit")},

    {.method = "POST", .pattern = "/v1/batches", .role = HTTP_ROLE_SUBMIT, .handler = post_batches,
     .begin = begin_batches, .query = QUERY("name", "open"), .body_bytes_max = SUBMIT_BODY_BYTES_MAX},
    {.method = "GET", .pattern = "/v1/batches", .role = HTTP_ROLE_READ, .handler = get_batches,
     .query = QUERY("limit", "cursor")},
    {.method = "GET", .pattern = "/v1/batches/{id}", .role = HTTP_ROLE_READ, .handler = get_batch},
    {.method = "POST", .pattern = "/v1/batches/{id}/tasks", .role = HTTP_ROLE_SUBMIT, .handler = post_batch_tasks,
     .begin = begin_batch_tasks, .body_bytes_max = SUBMIT_BODY_BYTES_MAX},
    {.method = "POST", .pattern = "/v1/batches/{id}/end", .role = HTTP_ROLE_SUBMIT, .handler = post_batch_end},
    {.method = "POST", .pattern = "/v1/batches/{id}/cancel", .role = HTTP_ROLE_SUBMIT, .handler = post_batch_cancel},
    {.method = "POST", .pattern = "/v1/batches/{id}/retry", .role = HTTP_ROLE_SUBMIT, .handler = post_batch_retry},
    {.method = "GET", .pattern = "/v1/batches/{id}/results", .role = HTTP_ROLE_READ, .handler = get_batch_results,
     .query = QUERY("from", "follow", "with")},

    {.method = "GET", .pattern = "/v1/pools", .role = HTTP_ROLE_READ, .handler = get_pools},
    {.method = "GET", .pattern = "/v1/pools/{name}", .role = HTTP_ROLE_READ, .handler = get_pool},
    {.method = "PATCH", .pattern = "/v1/pools/{name}", .role = HTTP_ROLE_OPERATE, .handler = patch_pool},
    {.method = "POST", .pattern = "/v1/pools/{name}/enable", .role = HTTP_ROLE_OPERATE, .handler = post_pool_enable},
    {.method = "POST", .pattern = "/v1/pools/{name}/disable", .role = HTTP_ROLE_OPERATE, .handler = post_pool_disable},
    {.method = "POST", .pattern = "/v1/pools/{name}/drain", .role = HTTP_ROLE_OPERATE, .handler = post_pool_drain},
    {.method = "POST", .pattern = "/v1/pools/{name}/breaker/reset", .role = HTTP_ROLE_OPERATE,
     .handler = post_pool_breaker_reset},
    {.method = "GET", .pattern = "/v1/pools/{name}/workers", .role = HTTP_ROLE_READ, .handler = get_pool_workers},

    {.method = "GET", .pattern = "/v1/dispatcher", .role = HTTP_ROLE_READ, .handler = get_dispatcher},
    {.method = "PATCH", .pattern = "/v1/dispatcher", .role = HTTP_ROLE_OPERATE, .handler = patch_dispatcher},
    {.method = "GET", .pattern = "/v1/tenants", .role = HTTP_ROLE_READ, .handler = get_tenants},
    {.method = "GET", .pattern = "/v1/slots", .role = HTTP_ROLE_READ, .handler = get_slots},
    {.method = "GET", .pattern = "/v1/runners", .role = HTTP_ROLE_READ, .handler = get_runners},
    {.method = "POST", .pattern = "/v1/runners/{id}/kill", .role = HTTP_ROLE_OPERATE, .handler = post_runner_kill},
    /* The attempt's own secret is asked for by the handler. */
    {.method = "POST", .pattern = "/v1/runners/{id}/heartbeat", .role = HTTP_ROLE_NONE,
     .handler = post_runner_heartbeat, .body_bytes_max = 64 << 10},

    {.method = "GET", .pattern = "/v1/events", .role = HTTP_ROLE_READ, .handler = get_events,
     .query = QUERY("after", "task", "pool", "worker", "kind", "order", "limit")},
    {.method = "GET", .pattern = "/v1/events/follow", .role = HTTP_ROLE_READ, .handler = get_events_follow,
     .query = QUERY("after", "task", "pool", "worker", "kind")},

    {.method = "GET", .pattern = "/v1/status", .role = HTTP_ROLE_READ, .handler = get_status},
    {.method = "GET", .pattern = "/v1/history", .role = HTTP_ROLE_READ, .handler = get_history,
     .query = QUERY("pool", "resolution", "from", "to")},
    {.method = "GET", .pattern = "/v1/config", .role = HTTP_ROLE_OPERATE, .handler = get_config},
    {.method = "POST", .pattern = "/v1/config/reload", .role = HTTP_ROLE_OPERATE, .handler = post_config_reload},
    {.method = "POST", .pattern = "/v1/shutdown", .role = HTTP_ROLE_OPERATE, .handler = post_shutdown},

    {.method = "GET", .pattern = "/healthz", .role = HTTP_ROLE_NONE, .handler = get_healthz},
    {.method = "GET", .pattern = "/readyz", .role = HTTP_ROLE_NONE, .handler = get_readyz},
    {.method = "GET", .pattern = "/metrics", .role = HTTP_ROLE_READ, .handler = get_metrics},
    {.method = "GET", .pattern = "/openapi.yaml", .role = HTTP_ROLE_NONE, .handler = get_openapi},
    {.method = "GET", .pattern = "/", .role = HTTP_ROLE_NONE, .handler = get_web},
    {.method = "GET", .pattern = "/web/{file}", .role = HTTP_ROLE_NONE, .handler = get_web},
};

const struct http_route *api_routes(size_t *ret_count)
{
    *ret_count = COUNT_OF(routes);
    return routes;
}
