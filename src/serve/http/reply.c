/* Answers: what handlers say of them, and how they are handed to libmicrohttpd. See http.h. */
#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "serve/http/internal.h"

#include <assert.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

/* A client takes an answer in parts as slowly as its reader does: a person with a pager, say. */
#define STREAM_PATIENCE 5
/* An answer larger than this is handed over in blocks, so that its client can be seen to take it. */
#define SEND_STEP_BYTES  ((size_t)256 << 10)
#define SEND_BLOCK_BYTES ((size_t)64 << 10)

static const char nomem_body[] =
    "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
    "\"detail\":\"there is no memory for the answer; try again\"}";

/* ---- what is said ---- */

/* Title, errors and members stay: they may have been said before. */
static void begin(struct http_request *req, enum http_reply_kind kind, unsigned status,
                  const char *content_type)
{
    struct http_reply *r = &req->reply;

    http_stream_close(req);
    buf_free(&r->body);
    buf_clear(&r->content_type);
    buf_puts(&r->content_type, content_type);
    r->kind = kind;
    r->status = status;
    r->etag = NULL;
}

bool http_answered(const struct http_request *req)
{
    return req->reply.kind != HTTP_REPLY_NONE;
}

void http_reply_header(struct http_request *req, const char *name, const char *value)
{
    assert(!strpbrk(name, "\r\n:") && !strpbrk(value, "\r\n"));
    buf_put(&req->reply.headers, name, strlen(name) + 1);
    buf_put(&req->reply.headers, value, strlen(value) + 1);
}

void http_reply_text(struct http_request *req, unsigned status, const char *content_type,
                     struct buf *body)
{
    begin(req, HTTP_REPLY_BYTES, status, content_type);
    req->reply.body = *body;
    *body = (struct buf){0};
}

void http_reply_json(struct http_request *req, unsigned status, struct buf *body)
{
    http_reply_text(req, status, "application/json", body);
}

void http_reply_empty(struct http_request *req)
{
    begin(req, HTTP_REPLY_STATIC, MHD_HTTP_NO_CONTENT, "");
    req->reply.fixed = SLICE("");
}

/* Whether one of the tags in If-None-Match is this one (weak ones compare alike). */
static bool etag_matches(const char *list, const char *etag)
{
    const char *at = list;
    size_t len = strlen(etag);

    if (strcmp(list, "*") == 0)
        return true;
    while ((at = strstr(at, etag))) {
        char before = at == list ? ',' : at[-1];

        if ((before == ',' || before == ' ' || before == '/') &&
            (at[len] == '\0' || at[len] == ',' || at[len] == ' '))
            return true;
        at++;
    }
    return false;
}

void http_reply_static(struct http_request *req, unsigned status, const char *content_type,
                       struct slice body, const char *etag)
{
    const char *known = etag ? http_header(req, "If-None-Match") : NULL;
    bool same = known && status == MHD_HTTP_OK && etag_matches(known, etag);

    begin(req, HTTP_REPLY_STATIC, same ? MHD_HTTP_NOT_MODIFIED : status, same ? "" : content_type);
    req->reply.fixed = same ? SLICE("") : body;
    req->reply.etag = etag;
}

struct http_stream *http_reply_stream(struct http_request *req, unsigned status,
                                      const char *content_type, const struct http_stream_ops *ops,
                                      void *ctx)
{
    begin(req, HTTP_REPLY_PARTS, status, content_type);
    req->stream.ops = ops;
    req->stream.ctx = ctx;
    if (!req->reply.content_type.failed)
        return &req->stream;
    http_stream_close(req);
    return NULL;
}

/* ---- problems ---- */

static void put_format(struct buf *out, const char *format, va_list args)
{
    char text[1024];

    vsnprintf(text, sizeof text, format, args);
    buf_puts(out, text);
}

void http_problem(struct http_request *req, unsigned status, const char *title, const char *detail,
                  ...)
{
    struct http_reply *r = &req->reply;
    va_list args;

    begin(req, HTTP_REPLY_PROBLEM, status, "application/problem+json");
    buf_clear(&r->title);
    buf_puts(&r->title, title ? title : MHD_get_reason_phrase_for(status));
    buf_clear(&r->detail);
    va_start(args, detail);
    put_format(&r->detail, detail, args);
    va_end(args);
}

void http_problem_add(struct http_request *req, const char *where, const char *message, ...)
{
    struct http_reply *r = &req->reply;
    struct buf text = {0};
    va_list args;

    va_start(args, message);
    put_format(&text, message, args);
    va_end(args);
    buf_puts(&r->errors, r->errors.len ? ",{\"where\":" : "{\"where\":");
    json_put_string(&r->errors, slice_of(where));
    buf_puts(&r->errors, ",\"message\":");
    json_put_string(&r->errors, buf_slice(&text));
    buf_putc(&r->errors, '}');
    r->errors.failed |= text.failed;
    buf_free(&text);
}

void http_problem_put(struct http_request *req, const char *member, struct slice json)
{
    struct buf *out = &req->reply.members;

    buf_putc(out, ',');
    json_put_string(out, slice_of(member));
    buf_putc(out, ':');
    buf_put_slice(out, json);
}

static void render_problem(struct http_reply *r)
{
    struct buf *out = &r->body;

    buf_puts(out, "{\"type\":\"about:blank\",\"title\":");
    json_put_string(out, buf_slice(&r->title));
    buf_printf(out, ",\"status\":%u,\"detail\":", r->status);
    json_put_string(out, buf_slice(&r->detail));
    if (r->errors.len) {
        buf_puts(out, ",\"errors\":[");
        buf_put_slice(out, buf_slice(&r->errors));
        buf_putc(out, ']');
    }
    buf_put_slice(out, buf_slice(&r->members));
    buf_putc(out, '}');
    out->failed |= r->title.failed | r->detail.failed | r->errors.failed | r->members.failed;
}

/* Brings it into the form in which it is sent: bytes, fixed ones, or parts. */
static void settle(struct http_request *req)
{
    struct http_reply *r = &req->reply;

    if (r->kind == HTTP_REPLY_NONE)
        http_problem(req, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL,
                     "this is a defect: the request was not answered");
    if (r->kind == HTTP_REPLY_PROBLEM) {
        render_problem(r);
        r->kind = HTTP_REPLY_BYTES;
    }
    if (!r->body.failed && !r->headers.failed && !r->content_type.failed)
        return;
    begin(req, HTTP_REPLY_STATIC, MHD_HTTP_SERVICE_UNAVAILABLE, "");
    buf_free(&r->headers);
    r->content_type.failed = false;
    r->fixed = slice_of(nomem_body);
}

/* ---- handing it over ---- */

static void tell_answers(const struct http_request *req)
{
    const struct http_server_options *o = &req->server->options;

    if (o->answers && req->route)
        o->answers(req->ctx, req->route);
}

static bool is_large(const struct http_request *req)
{
    return req->reply.kind == HTTP_REPLY_BYTES && req->reply.body.len > SEND_STEP_BYTES &&
           strcmp(req->method, "HEAD") != 0;
}

static ssize_t read_block(void *cls, uint64_t at, char *to, size_t max)
{
    struct http_request *req = cls;
    struct http_reply *r = &req->reply;
    size_t len = r->body.len - (size_t)at;

    if (at - r->step_at >= SEND_STEP_BYTES) {
        r->step_at = at;
        http_conn_phase(req, HTTP_SENDING);
    }
    len = len < max ? len : max;
    memcpy(to, r->body.data + at, len);
    return (ssize_t)len;
}

/* A large answer that nothing hangs on waits until others have been taken. */
static void look_for_room(struct http_request *req)
{
    struct http_reply *r = &req->reply;

    if (r->kind != HTTP_REPLY_BYTES || strcmp(http_method(req), "GET") != 0 ||
        http_memory_has_room(req->server, r->body.len))
        return;
    http_problem(req, MHD_HTTP_SERVICE_UNAVAILABLE, NULL,
                 "answers in memory take up what they may, and this one is large; try again, or "
                 "ask for less at once");
    http_reply_header(req, "Retry-After", "1");
    settle(req);
}

static struct MHD_Response *make_response(struct http_request *req)
{
    struct http_reply *r = &req->reply;
    size_t block = 16384, len = r->body.len;

    switch (r->kind) {
    case HTTP_REPLY_BYTES:
        http_charge(req, len);
        if (is_large(req))
            return MHD_create_response_from_callback(len, SEND_BLOCK_BYTES, read_block, req, NULL);
        return MHD_create_response_from_buffer(len, r->body.data, MHD_RESPMEM_PERSISTENT);
    case HTTP_REPLY_STATIC:
        /* It is only read. */
        return MHD_create_response_from_buffer(r->fixed.len, (void *)(uintptr_t)r->fixed.data,
                                               MHD_RESPMEM_PERSISTENT);
    case HTTP_REPLY_PARTS:
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, block, http_stream_read, req,
                                                 NULL);
    case HTTP_REPLY_NONE:
    case HTTP_REPLY_PROBLEM:
        break;
    }
    return NULL;
}

static bool has_header(const struct http_reply *r, const char *name)
{
    for (size_t i = 0; i < r->headers.len;) {
        const char *known = r->headers.data + i;

        if (strcasecmp(known, name) == 0)
            return true;
        i += strlen(known) + 1;
        i += strlen(r->headers.data + i) + 1;
    }
    return false;
}

static bool put_headers(const struct http_request *req, struct MHD_Response *response)
{
    const struct http_reply *r = &req->reply;
    bool ok = MHD_add_response_header(response, "X-Content-Type-Options", "nosniff") == MHD_YES;

    if (r->content_type.len)
        ok = ok &&
             MHD_add_response_header(response, "Content-Type", r->content_type.data) == MHD_YES;
    if (r->etag)
        ok = ok && MHD_add_response_header(response, "ETag", r->etag) == MHD_YES;
    /* libmicrohttpd 0.9.75 sends the last chunk of an answer in parts to a HEAD, too: nothing may follow it. */
    if (r->kind == HTTP_REPLY_PARTS && strcmp(req->method, "HEAD") == 0)
        ok = ok && MHD_add_response_header(response, "Connection", "close") == MHD_YES;
    if (!has_header(r, "Cache-Control"))
        ok = ok && MHD_add_response_header(response, "Cache-Control",
                                           r->etag ? "no-cache" : "no-store") == MHD_YES;
    for (size_t i = 0; i < r->headers.len;) {
        const char *name = r->headers.data + i;
        const char *value = name + strlen(name) + 1;

        ok = ok && MHD_add_response_header(response, name, value) == MHD_YES;
        i += strlen(name) + strlen(value) + 2;
    }
    return ok;
}

/* The most that libmicrohttpd takes. */
static unsigned seconds_of(duration_ns ns)
{
    int64_t s = ns / NS_PER_S + 1;

    return s > INT_MAX / 1000 ? INT_MAX / 1000 : (unsigned)s;
}

enum MHD_Result http_reply_queue(struct http_request *req)
{
    const struct http_server_options *o = &req->server->options;
    struct MHD_Response *response;
    enum MHD_Result queued;
    bool parts;

    settle(req);
    look_for_room(req);
    tell_answers(req);
    response = make_response(req);
    if (!response)
        return MHD_NO;
    if (!put_headers(req, response)) {
        MHD_destroy_response(response);
        return MHD_NO;
    }
    parts = req->reply.kind == HTTP_REPLY_PARTS;
    if (parts)
        http_conn_watch(req);
    http_conn_phase(req, is_large(req) ? HTTP_SENDING : HTTP_WORK);
    (void)MHD_set_connection_option(req->connection, MHD_CONNECTION_OPTION_TIMEOUT,
                                    seconds_of(o->send_timeout_ns) * (parts ? STREAM_PATIENCE : 1));
    if (req->reply.kind == HTTP_REPLY_BYTES)
        req->sent_bytes = req->reply.body.len;
    else if (!parts)
        req->sent_bytes = req->reply.fixed.len;
    queued = MHD_queue_response(req->connection, req->reply.status, response);
    MHD_destroy_response(response);
    return queued;
}

void http_reply_early(struct http_request *req)
{
    struct http_reply *r = &req->reply;
    struct buf out = {0};
    struct slice body;

    req->early = true;
    settle(req);
    tell_answers(req);
    body = r->kind == HTTP_REPLY_BYTES ? buf_slice(&r->body) : r->fixed;
    if (r->kind == HTTP_REPLY_PARTS)
        body = SLICE("");
    buf_printf(&out,
               "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n",
               r->status, MHD_get_reason_phrase_for(r->status),
               r->content_type.len ? r->content_type.data : "text/plain", body.len);
    for (size_t i = 0; i < r->headers.len;) {
        const char *name = r->headers.data + i;
        const char *value = name + strlen(name) + 1;

        buf_printf(&out, "%s: %s\r\n", name, value);
        i += strlen(name) + strlen(value) + 2;
    }
    buf_puts(&out, "\r\n");
    buf_put_slice(&out, body);
    /* Nothing has been sent on it for this request, so there is room for a small answer. */
    pthread_mutex_lock(&req->lock);
    if (!out.failed && req->conn && !req->completed) {
        (void)send(req->conn->fd, out.data, out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)shutdown(req->conn->fd, SHUT_WR);
        req->sent_bytes = body.len;
    }
    pthread_mutex_unlock(&req->lock);
    buf_free(&out);
}

void http_reply_free(struct http_request *req)
{
    struct http_reply *r = &req->reply;

    buf_free(&r->content_type);
    buf_free(&r->body);
    buf_free(&r->headers);
    buf_free(&r->title);
    buf_free(&r->detail);
    buf_free(&r->errors);
    buf_free(&r->members);
}
