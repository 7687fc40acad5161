/*
 * What libmicrohttpd calls for a request, and what a handler may ask of it. See http.h and
 * internal.h.
 *
 * It calls http_request_first() when the first line is there; http_request_on() when the head is,
 * then for each part of the body, then once more, and again whenever the connection goes on after a
 * wait; http_request_completed() at the end.
 */
#include "base/mem.h"
#include "loop/loop.h"
#include "serve/http/internal.h"

#include <assert.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

/* Of a body that nobody wants, this much is read so that its client comes to read the answer; after that the answer is
 * sent ahead, and this much more is read before the connection is cut. */
#define DISCARD_BYTES       (UINT64_C(4) << 20)
#define DISCARD_BYTES_AFTER (UINT64_C(64) << 20)

/* ---- its life ---- */

void http_request_release(struct http_request *req)
{
    if (atomic_fetch_sub(&req->holders, 1) != 1)
        return;
    /* Answered while the client had gone already: nobody has closed it yet. */
    http_stream_close(req);
    if (req->destroy)
        req->destroy(req->state);
    http_reply_free(req);
    http_target_free(&req->target);
    buf_free(&req->body);
    mem_free(req->raw);
    if (req->bearer)
        explicit_bzero(req->bearer, strlen(req->bearer));
    mem_free(req->bearer);
    pthread_mutex_destroy(&req->lock);
    mem_free(req);
}

static struct http_conn *conn_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info ? info->socket_context : NULL;
}

void *http_request_first(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct http_server *s = cls;
    struct http_request *req = mem_calloc(1, sizeof *req);

    if (!req)
        return NULL;
    req->raw = mem_strdup(uri);
    if (!req->raw) {
        mem_free(req);
        return NULL;
    }
    req->server = s;
    req->ctx = s->options.ctx;
    req->connection = connection;
    req->conn = conn_of(connection);
    req->stream.req = req;
    req->began = loop_clock();
    atomic_init(&req->holders, 1);
    pthread_mutex_init(&req->lock, NULL);
    memcpy(req->peer, req->conn ? req->conn->peer : "?", req->conn ? sizeof req->peer : 2);
    pthread_mutex_lock(&s->lock);
    list_push_back(&s->requests, &req->link);
    s->stats.requests++;
    s->stats.requests_open++;
    pthread_mutex_unlock(&s->lock);
    http_conn_phase(req, HTTP_HEAD);
    return req;
}

/* ours: else its answer belongs to somebody else. */
static void tell_finished(struct http_request *req, enum MHD_RequestTerminationCode how, bool ours)
{
    const struct http_server_options *o = &req->server->options;
    struct http_finished f = {
        .req = req,
        .route = req->route,
        .received_bytes = req->received_bytes,
        .sent_bytes = ours ? req->sent_bytes : 0,
        .duration_ns = instant_diff(loop_clock(), req->began),
        .complete = how == MHD_REQUEST_TERMINATED_COMPLETED_OK || (ours && req->early),
    };

    if (ours && req->begun && (f.complete || f.sent_bytes > 0))
        f.status = req->reply.status;
    if (o->finished)
        o->finished(o->ctx, &f);
}

void http_request_completed(void *cls, struct MHD_Connection *connection, void **req_cls,
                            enum MHD_RequestTerminationCode how)
{
    struct http_server *s = cls;
    struct http_request *req = *req_cls;
    bool ours, dropped;

    (void)connection;
    if (!req)
        return;
    *req_cls = NULL;
    pthread_mutex_lock(&req->lock);
    req->completed = true;
    dropped = http_cut_is_due(req); /* and nobody will */
    if (dropped)
        req->held = false;
    ours = !req->held;
    pthread_mutex_unlock(&req->lock);
    http_conn_unwatch(req);
    http_conn_phase(req, HTTP_IDLE);
    tell_finished(req, how, ours);
    if (ours)
        http_stream_close(req);
    atomic_fetch_sub(&s->memory_bytes, req->charged_bytes);
    pthread_mutex_lock(&s->lock);
    list_remove(&req->link);
    s->stats.requests_open--;
    if (req->conn && req->conn->body == req)
        req->conn->body = NULL;
    pthread_mutex_unlock(&s->lock);
    if (dropped)
        http_request_release(req);
    http_request_release(req);
}

/* ---- its parts ---- */

static bool has_body(const struct http_request *req)
{
    const char *length = http_header(req, "Content-Length");

    return http_header(req, "Transfer-Encoding") || (length && strcmp(length, "0") != 0);
}

static uint64_t body_limit(const struct http_request *req)
{
    return req->route && req->route->body_bytes_max ? req->route->body_bytes_max
                                                    : req->server->options.body_bytes_max;
}

static void refuse_size(struct http_request *req)
{
    buf_free(&req->body);
    http_problem(req, MHD_HTTP_CONTENT_TOO_LARGE, NULL,
                 "the body has more than %llu bytes, which are the most here",
                 (unsigned long long)body_limit(req));
}

static bool says_too_large(const struct http_request *req)
{
    const char *length = http_header(req, "Content-Length");
    uint64_t bytes = 0;

    for (; length && *length >= '0' && *length <= '9'; length++) {
        if (__builtin_mul_overflow(bytes, 10, &bytes) ||
            __builtin_add_overflow(bytes, (uint64_t)(*length - '0'), &bytes))
            return true;
    }
    return bytes > body_limit(req);
}

/* The head is there. */
static enum MHD_Result on_head(struct http_request *req, const char *method)
{
    const char *expect = http_header(req, "Expect");

    req->begun = true;
    strncpy(req->method, method, sizeof req->method - 1);
    http_conn_phase(req, HTTP_RECEIVING);
    http_guard(req);
    if (!http_answered(req) && req->route->begin)
        req->route->begin(req, req->ctx);
    assert(!req->held);
    if (!http_answered(req) && req->on_data) {
        http_body_begin(req);
        return MHD_YES; /* another thread may be at it from here on */
    }
    if (!http_answered(req) && says_too_large(req))
        refuse_size(req);
    /* One who asks first needs not send. All others are heard out, so that they come to read the answer. */
    if (http_answered(req) && expect && has_body(req))
        return http_reply_queue(req);
    return MHD_YES;
}

static enum MHD_Result discard(struct http_request *req)
{
    uint64_t all = req->received_bytes;

    if (all <= DISCARD_BYTES)
        return MHD_YES;
    if (!req->early)
        http_reply_early(req);
    return all <= DISCARD_BYTES + DISCARD_BYTES_AFTER ? MHD_YES : MHD_NO;
}

static void keep(struct http_request *req, const char *data, size_t len)
{
    if (len > body_limit(req) - req->body.len) {
        refuse_size(req);
        return;
    }
    http_charge(req, len);
    buf_put(&req->body, data, len);
    if (req->body.failed || !http_memory_has_room(req->server, req->body.len)) {
        buf_free(&req->body);
        http_problem(req, MHD_HTTP_SERVICE_UNAVAILABLE, NULL,
                     "there is no memory for the body; try again");
        http_reply_header(req, "Retry-After", "1");
    }
}

/* Whether the connection is suspended after a call; *ret is what to return to libmicrohttpd then. */
static bool is_suspended(struct http_request *req, enum MHD_Result *ret)
{
    if (!req->suspended_now)
        return false;
    req->suspended_now = false;
    *ret = req->ends_now ? MHD_NO : MHD_YES;
    return true;
}

static enum MHD_Result on_part(struct http_request *req, const char *data, size_t *data_len)
{
    enum MHD_Result ret = MHD_YES;
    size_t len = *data_len, taken = len;

    if (!http_answered(req) && req->on_data) {
        taken = req->on_data(req, req->ctx, data, len);
        assert(taken <= len);
        if (is_suspended(req, &ret)) {
            http_conn_phase(req, HTTP_WORK);
            req->received_bytes += taken;
            *data_len = len - taken;
            return ret;
        }
        assert(taken == len || http_answered(req));
    } else if (!http_answered(req)) {
        keep(req, data, len);
    }
    req->received_bytes += len;
    *data_len = 0;
    http_conn_progress(req, len);
    if (http_answered(req))
        ret = discard(req);
    http_body_leave(req); /* from here on it may be cut, by another thread */
    return ret;
}

/* The request is whole, or goes on after a wait. */
static enum MHD_Result on_whole(struct http_request *req)
{
    enum MHD_Result ret;

    http_conn_phase(req, HTTP_WORK);
    if (!http_answered(req)) {
        http_handler_fn next = req->handled ? req->then : req->route->handler;

        req->handled = true;
        req->then = NULL;
        if (next)
            next(req, req->ctx);
        if (is_suspended(req, &ret))
            return ret;
    }
    if (req->early) /* its answer has been sent */
        return MHD_NO;
    return http_reply_queue(req);
}

/* There was no memory to begin with it; libmicrohttpd would close the connection without a word. */
static enum MHD_Result refuse_unread(struct MHD_Connection *connection)
{
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
                               "Retry-After: 1\r\nConnection: close\r\n\r\n";
    struct http_conn *c = conn_of(connection);

    /* The answers before it have been sent. */
    if (c)
        (void)send(c->fd, text, sizeof text - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    return MHD_NO;
}

enum MHD_Result http_request_on(void *cls, struct MHD_Connection *connection, const char *path,
                                const char *method, const char *version, const char *data,
                                size_t *data_len, void **req_cls)
{
    struct http_request *req = *req_cls;

    (void)cls;
    (void)path;
    (void)version;
    if (!req)
        return refuse_unread(connection);
    if (!req->begun)
        return on_head(req, method);
    if (!http_body_enter(req, *data_len == 0))
        return http_cut_on(req, data_len);
    /* The server has stopped waiting; whoever has the request still has it. */
    if (http_request_is_held(req))
        return MHD_NO;
    if (*data_len > 0) {
        if (req->conn && req->conn->phase == HTTP_WORK)
            http_conn_phase(req, HTTP_RECEIVING);
        return on_part(req, data, data_len);
    }
    return on_whole(req);
}

/* ---- what it says ---- */

const char *http_param(const struct http_request *req, const char *name)
{
    return req->route ? http_route_param(req->route, &req->target, name) : NULL;
}

const char *http_query(const struct http_request *req, const char *name)
{
    return http_target_query(&req->target, name);
}

const char *http_header(const struct http_request *req, const char *name)
{
    return MHD_lookup_connection_value(req->connection, MHD_HEADER_KIND, name);
}

static struct slice trimmed(const char *start, size_t len)
{
    while (len > 0 && (*start == ' ' || *start == '\t')) {
        start++;
        len--;
    }
    while (len > 0 && (start[len - 1] == ' ' || start[len - 1] == '\t'))
        len--;
    return (struct slice){start, len};
}

static bool is_type(struct slice text, const char *type)
{
    return text.len == strlen(type) && strncasecmp(text.data, type, text.len) == 0;
}

bool http_content_is(const struct http_request *req, const char *type)
{
    const char *value = http_header(req, "Content-Type");

    return value && is_type(trimmed(value, strcspn(value, ";")), type);
}

/* Whether the parameters of a media range, ";a=b;q=0.0", say that it is not wanted. */
static bool is_unwanted(struct slice params)
{
    for (size_t i = 0; i + 2 < params.len; i++) {
        size_t at = i + 3;

        if ((params.data[i] != ';' && params.data[i] != ' ') ||
            (params.data[i + 1] | 0x20) != 'q' || params.data[i + 2] != '=')
            continue;
        while (at < params.len && (params.data[at] == '0' || params.data[at] == '.'))
            at++;
        return at == params.len || params.data[at] < '1' || params.data[at] > '9';
    }
    return false;
}

bool http_accepts(const struct http_request *req, const char *type)
{
    const char *at = http_header(req, "Accept");

    while (at && *at) {
        size_t len = strcspn(at, ","), name_len = strcspn(at, ",;");

        if (is_type(trimmed(at, name_len), type))
            return !is_unwanted((struct slice){at + name_len, len - name_len});
        at += len + (at[len] == ',');
    }
    return false;
}

struct slice http_body(const struct http_request *req)
{
    return buf_slice(&req->body);
}

const char *http_method(const struct http_request *req)
{
    return strcmp(req->method, "HEAD") == 0 ? "GET" : req->method;
}

const char *http_path(const struct http_request *req)
{
    return req->target.path ? req->target.path : "";
}

enum http_role http_role_of(const struct http_request *req)
{
    return req->role;
}

const char *http_token_name(const struct http_request *req)
{
    return req->token_name;
}

const char *http_peer(const struct http_request *req)
{
    return req->peer;
}

void http_set_state(struct http_request *req, void *state, void (*destroy)(void *state))
{
    req->state = state;
    req->destroy = destroy;
}

void *http_state(const struct http_request *req)
{
    return req->state;
}

void http_take_body(struct http_request *req, http_data_fn on_data)
{
    req->on_data = on_data;
}

void http_take_cut(struct http_request *req, http_cut_fn on_cut)
{
    req->on_cut = on_cut;
}
