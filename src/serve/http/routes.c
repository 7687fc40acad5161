/* See routes.h. */
#include "serve/http/routes.h"

#include "base/error.h"

#include <string.h>

/* The next segment of a pattern; false: there is none left. */
static bool next_segment(const char **pattern, struct slice *ret)
{
    const char *start = *pattern;
    size_t len;

    if (*start != '/')
        return false;
    start++;
    len = strcspn(start, "/");
    *ret = (struct slice){start, len};
    *pattern = start + len;
    return true;
}

static bool is_param(struct slice segment)
{
    return segment.len > 2 && segment.data[0] == '{' && segment.data[segment.len - 1] == '}';
}

static bool param_is(struct slice segment, const char *name)
{
    return is_param(segment) &&
           slice_equal((struct slice){segment.data + 1, segment.len - 2}, slice_of(name));
}

/* A bit for each segment, the first one highest: 1 for a text, so that the larger number is the closer match. */
static bool matches(const char *pattern, const struct http_target *t, uint32_t *ret_rank)
{
    struct slice segment;
    uint32_t rank = 0;
    size_t i = 0;

    while (next_segment(&pattern, &segment)) {
        bool param = is_param(segment);

        if (i == t->segment_count)
            return false;
        if (param ? t->segments[i][0] == '\0' : !slice_equal(segment, slice_of(t->segments[i])))
            return false;
        rank |= param ? 0 : UINT32_C(1) << (HTTP_SEGMENTS_MAX - i);
        i++;
    }
    *ret_rank = rank;
    return i == t->segment_count;
}

static bool same_shape(const char *a, const char *b)
{
    struct slice sa, sb;

    for (;;) {
        bool more_a = next_segment(&a, &sa), more_b = next_segment(&b, &sb);

        if (!more_a || !more_b)
            return more_a == more_b;
        if (is_param(sa) != is_param(sb) || (!is_param(sa) && !slice_equal(sa, sb)))
            return false;
    }
}

static enum weir_status check_route(const struct http_route *r, struct weir_error *err)
{
    const char *rest = r->pattern;
    struct slice segment;
    size_t params = 0, segments = 0;

    if (!r->method || !r->handler || !r->pattern || r->pattern[0] != '/')
        return error_set(err, WEIR_E_INVALID,
                         "the route '%s' lacks a method, a handler or a slash to begin with",
                         r->pattern ? r->pattern : "");
    while (next_segment(&rest, &segment)) {
        params += is_param(segment);
        segments++;
    }
    if (params > HTTP_PARAMS_MAX || segments > HTTP_SEGMENTS_MAX)
        return error_set(err, WEIR_E_INVALID,
                         "the route '%s' has more than %d parameters or %d segments", r->pattern,
                         HTTP_PARAMS_MAX, HTTP_SEGMENTS_MAX);
    return WEIR_OK;
}

enum weir_status http_routes_check(const struct http_route *routes, size_t count,
                                   struct weir_error *err)
{
    for (size_t i = 0; i < count; i++) {
        enum weir_status status = check_route(&routes[i], err);

        if (status != WEIR_OK)
            return status;
        for (size_t j = 0; j < i; j++) {
            if (strcmp(routes[i].method, routes[j].method) == 0 &&
                same_shape(routes[i].pattern, routes[j].pattern))
                return error_set(err, WEIR_E_INVALID, "the routes '%s %s' and '%s' are the same",
                                 routes[i].method, routes[i].pattern, routes[j].pattern);
        }
    }
    return WEIR_OK;
}

/* Each once; HEAD goes with GET. */
static void allow(char allowed[HTTP_ALLOW_BYTES_MAX], const char *method)
{
    size_t len = strlen(allowed), add = strlen(method);
    const char *found = strstr(allowed, method);

    if (found && (found[add] == ',' || found[add] == '\0'))
        return;
    if (len + add + 3 > HTTP_ALLOW_BYTES_MAX)
        return;
    memcpy(allowed + len, ", ", len ? 2 : 0);
    memcpy(allowed + len + (len ? 2 : 0), method, add + 1);
    if (strcmp(method, "GET") == 0)
        allow(allowed, "HEAD");
}

void http_routes_find(const struct http_route *routes, size_t count, const struct http_target *t,
                      const char *method, struct http_match *ret)
{
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    uint32_t best = 0;

    *ret = (struct http_match){0};
    for (size_t i = 0; i < count; i++) {
        uint32_t rank;

        if (!matches(routes[i].pattern, t, &rank))
            continue;
        allow(ret->allowed, routes[i].method);
        if (strcmp(routes[i].method, wanted) == 0 && (!ret->route || rank > best)) {
            ret->route = &routes[i];
            best = rank;
        }
    }
    if (ret->allowed[0])
        allow(ret->allowed, "OPTIONS");
}

const char *http_route_param(const struct http_route *route, const struct http_target *t,
                             const char *name)
{
    const char *rest = route->pattern;
    struct slice segment;

    for (size_t i = 0; i < t->segment_count && next_segment(&rest, &segment); i++) {
        if (param_is(segment, name))
            return t->segments[i];
    }
    return NULL;
}

const char *http_route_unknown(const struct http_route *route, const struct http_target *t)
{
    for (size_t i = 0; i < t->query_count; i++) {
        const char *const *known = route->query;

        while (known && *known && strcmp(*known, t->query[i].name) != 0)
            known++;
        if (!known || !*known)
            return t->query[i].name;
    }
    return NULL;
}
