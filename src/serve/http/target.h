/*
 * What stands in a request line behind the method, taken apart: a path of segments and a query of
 * names and values.
 *
 *     struct http_target t = {0};
 *     if (!http_target_parse(&t, slice_of(raw)))  ... t.fault says what is wrong with it: a 400
 *     http_target_free(&t);
 *
 * The path is cut at its slashes first and decoded then, so that %2F in a name stays in its
 * segment. Everything that is decoded is valid UTF-8 and holds no NUL. Pure; the texts belong to
 * the target.
 */
#ifndef SERVE_HTTP_TARGET_H
#define SERVE_HTTP_TARGET_H

#include "base/slice.h"
#include "serve/http/http.h"

#define HTTP_SEGMENTS_MAX    16
#define HTTP_FAULT_BYTES_MAX 160

struct http_pair {
    const char *name;
    const char *value;
};

struct http_target {
    char *text;       /* what the strings below point into */
    const char *path; /* as it was sent, "*" for OPTIONS */
    const char *segments[HTTP_SEGMENTS_MAX];
    size_t segment_count;
    struct http_pair query[HTTP_QUERY_MAX];
    size_t query_count;
    bool nomem; /* it failed for want of memory */
    char fault[HTTP_FAULT_BYTES_MAX];
};

/* Origin form ("/a/b?c=d"), absolute form ("http://host/a") or "*". False: see fault, or nomem. */
bool http_target_parse(struct http_target *t, struct slice raw);
/* NULL: absent. */
const char *http_target_query(const struct http_target *t, const char *name);
/* Forgets the texts; what is zeroed may be freed. */
void http_target_free(struct http_target *t);

#endif
