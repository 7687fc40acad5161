/*
 * Whether a request is let in: limits, the page that sent it, its route, its token, its parameters.
 * See internal.h.
 *
 * A browser sends requests for any page that a person has open, and to any address that the page's
 * name resolves to. Where no token is asked for, a request by TCP must therefore name this machine
 * as its host (a name of somebody else's that resolves to loopback is refused), and everywhere one
 * that changes something must not come from a page of another site.
 */
#include "base/mem.h"
#include "loop/loop.h"
#include "serve/http/internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BEARER "Bearer"

static const char *header_of(const struct http_request *req, const char *name)
{
    return MHD_lookup_connection_value(req->connection, MHD_HEADER_KIND, name);
}

/* ---- limits ---- */

/* Of these there is one at most: who looks at the first and who looks at the last must not see two requests. */
static const char *const single[] = {"Host", "Authorization", "Content-Length", "Transfer-Encoding",
                                     "Content-Type"};
#define SINGLES (sizeof single / sizeof single[0])

struct head_look {
    size_t bytes;
    unsigned times[SINGLES];
};

static enum MHD_Result add_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                  const char *value)
{
    struct head_look *look = cls;

    (void)kind;
    look->bytes += strlen(name) + (value ? strlen(value) : 0) + 4; /* ": " and the line's end */
    for (size_t i = 0; i < SINGLES; i++)
        look->times[i] += strcasecmp(name, single[i]) == 0;
    return MHD_YES;
}

static void refuse_for_now(struct http_request *req, unsigned status, duration_ns wait_ns,
                           const char *detail)
{
    struct buf seconds = {0};

    buf_put_u64(&seconds, (uint64_t)((wait_ns + NS_PER_S - 1) / NS_PER_S));
    http_problem(req, status, NULL, "%s", detail);
    http_reply_header(req, "Retry-After", seconds.data ? seconds.data : "1");
    buf_free(&seconds);
}

static duration_ns take_turn(struct http_request *req)
{
    struct http_server *s = req->server;
    duration_ns wait_ns;

    pthread_mutex_lock(&s->lock);
    wait_ns = http_peers_take(&s->peers, &req->conn->addr, req->began);
    s->stats.refused_by_rate += wait_ns > 0;
    pthread_mutex_unlock(&s->lock);
    return wait_ns;
}

static bool head_is_plain(struct http_request *req)
{
    const struct http_server_options *o = &req->server->options;
    struct head_look look = {.bytes = strlen(req->raw)};

    if (look.bytes > o->url_bytes_max) {
        http_problem(req, MHD_HTTP_URI_TOO_LONG, NULL, "the URL has %zu bytes; %zu are the most",
                     look.bytes, o->url_bytes_max);
        return false;
    }
    MHD_get_connection_values(req->connection, MHD_HEADER_KIND, add_header, &look);
    if (look.bytes > o->head_bytes_max) {
        http_problem(req, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, NULL,
                     "the head of the request has %zu bytes; %zu are the most", look.bytes,
                     o->head_bytes_max);
        return false;
    }
    for (size_t i = 0; i < SINGLES; i++) {
        if (look.times[i] < 2)
            continue;
        http_problem(req, MHD_HTTP_BAD_REQUEST, NULL,
                     "the header %s stands there %u times; send it once", single[i], look.times[i]);
        http_reply_header(req, "Connection", "close");
        return false;
    }
    return true;
}

/* Bytes of the body, as far as the head says so. */
static uint64_t announced(const struct http_request *req)
{
    const char *length = header_of(req, "Content-Length");

    if (header_of(req, "Transfer-Encoding"))
        return UINT64_MAX;
    return length ? strtoull(length, NULL, 10) : 0;
}

static bool within_limits(struct http_request *req)
{
    duration_ns wait_ns = 0;

    if (!req->conn || req->conn->extra) {
        refuse_for_now(
            req, MHD_HTTP_SERVICE_UNAVAILABLE, NS_PER_S,
            "there are as many connections as the server may have; close some, or try again");
        http_reply_header(req, "Connection", "close");
        return false;
    }
    if (!head_is_plain(req))
        return false;
    if (req->conn->tcp)
        wait_ns = take_turn(req);
    if (wait_ns > 0) {
        refuse_for_now(req, MHD_HTTP_TOO_MANY_REQUESTS, wait_ns,
                       "more requests come from this address than it may send; wait as long as "
                       "Retry-After says");
        return false;
    }
    if (!http_memory_has_room(req->server, announced(req))) {
        refuse_for_now(req, MHD_HTTP_SERVICE_UNAVAILABLE, NS_PER_S,
                       "requests and answers in memory take up what they may; try again, or send "
                       "less at once");
        return false;
    }
    return true;
}

/* ---- whose page ---- */

/* "host", "host:port", "[v6]:port"; empty when something else stands behind it. */
static struct slice without_port(const char *host)
{
    const char *v6_end = host[0] == '[' ? strchr(host, ']') : NULL;
    size_t len = v6_end ? (size_t)(v6_end - host) + 1 : strcspn(host, ":");
    const char *rest = host + len;

    if (*rest == ':')
        rest += 1 + strspn(rest + 1, "0123456789");
    return *rest ? (struct slice){0} : (struct slice){host, len};
}

static bool is_this_machine(const char *host)
{
    struct slice name = without_port(host);
    size_t digits = 0;

    if ((name.len == 9 && strncasecmp(name.data, "localhost", 9) == 0) ||
        slice_equal(name, SLICE("[::1]")))
        return true;
    if (name.len < 7 || strncmp(name.data, "127.", 4) != 0)
        return false;
    while (digits < name.len && strchr("0123456789.", name.data[digits]))
        digits++;
    return digits == name.len;
}

/* Origin is scheme://host:port; that of the page that this server itself has given is the host of the request. */
static bool is_same_site(const char *origin, const char *host)
{
    const char *name = strstr(origin, "://");

    return name && host && strcasecmp(name + 3, host) == 0;
}

static bool changes_something(const struct http_request *req)
{
    return strcmp(req->method, "GET") != 0 && strcmp(req->method, "HEAD") != 0 &&
           strcmp(req->method, "OPTIONS") != 0;
}

static bool is_own_page(struct http_request *req, bool tokens)
{
    const char *host = header_of(req, "Host");
    const char *origin = header_of(req, "Origin");
    const char *site = header_of(req, "Sec-Fetch-Site");

    if (!tokens && req->conn->tcp && host && !is_this_machine(host)) {
        http_problem(req, MHD_HTTP_FORBIDDEN, NULL,
                     "the host '%.100s' is not this machine's own name; without tokens only "
                     "localhost, 127.0.0.1 and [::1] are "
                     "answered, so that no web page can get in by a name of its own: use one of "
                     "these, or set tokens",
                     host);
        return false;
    }
    if (!changes_something(req))
        return true;
    if ((origin && !is_same_site(origin, host)) ||
        (!origin && site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)) {
        http_problem(req, MHD_HTTP_FORBIDDEN, NULL,
                     "a page of another site (%.100s) may not change anything here",
                     origin ? origin : site);
        return false;
    }
    return true;
}

/* ---- the route ---- */

static bool find_route(struct http_request *req)
{
    const struct http_server_options *o = &req->server->options;
    struct http_match match;

    if (strcmp(req->method, "OPTIONS") == 0 && strcmp(req->target.path, "*") == 0) {
        http_reply_empty(req);
        return false;
    }
    http_routes_find(o->routes, o->route_count, &req->target, req->method, &match);
    req->route = match.route;
    if (match.route)
        return true;
    if (!match.allowed[0]) {
        http_problem(req, MHD_HTTP_NOT_FOUND, NULL, "there is nothing at '%.200s'",
                     req->target.path);
        return false;
    }
    if (strcmp(req->method, "OPTIONS") == 0)
        http_reply_empty(req);
    else
        http_problem(req, MHD_HTTP_METHOD_NOT_ALLOWED, NULL,
                     "%s is not possible at '%.200s'; these are: %s", req->method, req->target.path,
                     match.allowed);
    http_reply_header(req, "Allow", match.allowed);
    return false;
}

/* ---- who ---- */

static void ask_for_token(struct http_request *req, const char *secret)
{
    if (secret)
        http_problem(req, MHD_HTTP_UNAUTHORIZED, NULL,
                     "the token is none of those that this server knows");
    else
        http_problem(req, MHD_HTTP_UNAUTHORIZED, NULL,
                     "this needs a token, in a header: Authorization: Bearer TOKEN");
    http_reply_header(req, "WWW-Authenticate",
                      secret ? "Bearer realm=\"weir\", error=\"invalid_token\""
                             : "Bearer realm=\"weir\"");
}

/* Sets *ret_tokens: whether any are asked for. */
static bool identify(struct http_request *req, bool *ret_tokens)
{
    struct http_server *s = req->server;
    const char *secret = http_bearer(req);
    bool known = false;

    pthread_mutex_lock(&s->lock);
    *ret_tokens = http_tokens_count(s->tokens) > 0;
    if (*ret_tokens && secret)
        known = http_tokens_look(s->tokens, slice_of(secret), &req->role, req->token_name);
    req->tokens_seen = s->tokens_changed;
    pthread_mutex_unlock(&s->lock);
    if (!*ret_tokens)
        req->role = HTTP_ROLE_OPERATE;
    return known;
}

bool http_guard_revoked(struct http_request *req)
{
    struct http_server *s = req->server;
    char name[HTTP_TOKEN_NAME_BYTES_MAX];
    enum http_role role;

    if (req->tokens_seen == s->tokens_changed || http_tokens_count(s->tokens) == 0 ||
        req->route->role == HTTP_ROLE_NONE)
        return false;
    return !req->bearer || !http_tokens_look(s->tokens, slice_of(req->bearer), &role, name) ||
           role < req->route->role;
}

static bool may(struct http_request *req, bool tokens, bool known)
{
    enum http_role needed = req->route->role;

    if (!tokens || needed == HTTP_ROLE_NONE)
        return true;
    if (!known) {
        ask_for_token(req, http_bearer(req));
        return false;
    }
    if (req->role >= needed)
        return true;
    http_problem(req, MHD_HTTP_FORBIDDEN, NULL, "the token '%s' may %s; this needs one that may %s",
                 req->token_name, http_role_name(req->role), http_role_name(needed));
    http_reply_header(req, "WWW-Authenticate",
                      "Bearer realm=\"weir\", error=\"insufficient_scope\"");
    return false;
}

/* ---- parameters and body ---- */

static bool query_is_known(struct http_request *req)
{
    const char *unknown = http_route_unknown(req->route, &req->target);
    struct buf known = {0};

    if (!unknown)
        return true;
    for (const char *const *name = req->route->query; name && *name; name++)
        buf_printf(&known, "%s%s", known.len ? ", " : "", *name);
    http_problem(req, MHD_HTTP_BAD_REQUEST, NULL,
                 "the query parameter '%.60s' is not known here; known are: %s", unknown,
                 known.len ? known.data : "none");
    http_problem_add(req, unknown, "not known here; known are: %s",
                     known.len ? known.data : "none");
    buf_free(&known);
    return false;
}

static bool body_is_plain(struct http_request *req)
{
    const char *encoding = header_of(req, "Transfer-Encoding");
    const char *length = header_of(req, "Content-Length");
    const char *coding = header_of(req, "Content-Encoding");

    if (encoding && length) {
        http_problem(
            req, MHD_HTTP_BAD_REQUEST, NULL,
            "Content-Length and Transfer-Encoding contradict each other; send one of them");
        http_reply_header(req, "Connection", "close");
        return false;
    }
    if (coding && strcasecmp(coding, "identity") != 0) {
        http_problem(req, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, NULL,
                     "the body is encoded as '%.60s'; send it as it is, without Content-Encoding",
                     coding);
        return false;
    }
    return true;
}

/* A copy without the white space that may stand behind it. False: there is no memory. */
static bool find_bearer(struct http_request *req)
{
    const char *value = header_of(req, "Authorization");
    size_t len = sizeof BEARER - 1;

    if (!value || strncasecmp(value, BEARER, len) != 0 || value[len] != ' ')
        return true;
    value += len + strspn(value + len, " ");
    len = strlen(value);
    while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
        len--;
    if (len == 0)
        return true;
    req->bearer = mem_copy(value, len);
    if (!req->bearer)
        refuse_for_now(req, MHD_HTTP_SERVICE_UNAVAILABLE, NS_PER_S,
                       "there is no memory for the request; try again");
    return req->bearer != NULL;
}

void http_guard(struct http_request *req)
{
    bool tokens = false, known;

    if (!within_limits(req))
        return;
    if (!http_target_parse(&req->target, slice_of(req->raw))) {
        http_problem(req, req->target.nomem ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_BAD_REQUEST,
                     NULL, "%s", req->target.fault);
        return;
    }
    if (!find_bearer(req))
        return;
    known = identify(req, &tokens);
    if (!is_own_page(req, tokens) || !find_route(req) || !may(req, tokens, known) ||
        !query_is_known(req))
        return;
    (void)body_is_plain(req);
}

const char *http_bearer(const struct http_request *req)
{
    return req->bearer;
}
