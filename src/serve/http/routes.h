/*
 * Which route a path belongs to.
 *
 *     http_routes_check(routes, n, &err);                        // once: the table makes sense
 *     http_routes_find(routes, n, &target, "GET", &match);       // match.route, or match.allowed, or neither: a 404
 *
 * A text in a pattern goes before a parameter, segment by segment from the left. Pure.
 */
#ifndef SERVE_HTTP_ROUTES_H
#define SERVE_HTTP_ROUTES_H

#include "serve/http/target.h"

#define HTTP_ALLOW_BYTES_MAX 64

struct http_match {
    const struct http_route *route;     /* NULL: none for that method */
    char allowed[HTTP_ALLOW_BYTES_MAX]; /* "GET, HEAD, OPTIONS"; empty: no such path */
};

WEIR_MUST_CHECK enum weir_status http_routes_check(const struct http_route *routes, size_t count,
                                                   struct weir_error *err);
void http_routes_find(const struct http_route *routes, size_t count, const struct http_target *t,
                      const char *method, struct http_match *ret);
/* The segment that stands for the parameter, NULL: the pattern has none of that name. The target has matched. */
const char *http_route_param(const struct http_route *route, const struct http_target *t,
                             const char *name);
/* The first query parameter that the route does not know, or NULL. */
const char *http_route_unknown(const struct http_route *route, const struct http_target *t);

#endif
