/*
 * Fuzzes what takes request lines apart, and finds their routes (src/serve/http/target.h,
 * routes.h).
 *
 * What must hold whatever comes: a target is refused with a reason, or all its texts are valid
 * UTF-8 without NULs and no longer together than what was sent; parameters of a route that matches
 * are there and not empty.
 */
#include "base/json.h"
#include "serve/http/routes.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds)
        abort();
}

static void nobody(struct http_request *req, void *ctx)
{
    (void)req;
    (void)ctx;
}

static const char *const known[] = {"a", "limit", NULL};

static const struct http_route routes[] = {
    {.method = "GET", .pattern = "/", .handler = nobody},
    {.method = "GET", .pattern = "/v1/{kind}/all", .handler = nobody},
    {.method = "GET", .pattern = "/v1/tasks/{id}", .handler = nobody, .query = known},
    {.method = "GET", .pattern = "/v1/tasks/all", .handler = nobody},
    {.method = "POST", .pattern = "/v1/tasks/{id}/x/{other}", .handler = nobody},
};

static size_t check_text(const char *text)
{
    must(text != NULL);
    must(utf8_valid_prefix(slice_of(text)) == strlen(text));
    return strlen(text);
}

static void check_route(const struct http_target *t, const char *method)
{
    static const char *const names[] = {"kind", "id", "other"};
    struct http_match m;

    http_routes_find(routes, sizeof routes / sizeof routes[0], t, method, &m);
    must(!m.route || m.allowed[0]);
    if (!m.route)
        return;
    for (size_t i = 0; i < 3; i++) {
        const char *value = http_route_param(m.route, t, names[i]);

        must((value != NULL) == (strstr(m.route->pattern, names[i]) != NULL));
        must(!value || value[0]);
    }
    (void)http_route_unknown(m.route, t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of its own size, so that a read beyond it is seen. */
    char *raw = malloc(size ? size : 1);
    struct http_target t;
    size_t total = 0;

    if (!raw)
        return 0;
    memcpy(raw, data, size);
    if (http_target_parse(&t, (struct slice){raw, size})) {
        for (size_t i = 0; i < t.segment_count; i++)
            total += check_text(t.segments[i]);
        for (size_t i = 0; i < t.query_count; i++) {
            total += check_text(t.query[i].name) + check_text(t.query[i].value);
            must(http_target_query(&t, t.query[i].name) == t.query[i].value);
        }
        must(total <= size + 1);
        check_route(&t, "GET");
        check_route(&t, "HEAD");
        check_route(&t, "POST");
    } else {
        must(t.fault[0]);
    }
    http_target_free(&t);
    free(raw);
    return 0;
}
