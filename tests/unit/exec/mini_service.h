/*
 * A small HTTP service on the test's own loop, whose answer the path chooses: /ok, /429, /reset (a
 * TCP reset instead of an answer), /hold (no answer until mini_service_release), ...
 *
 * It lives on one thread with the client, so a test sees its counters without a lock, and knows
 * what it has and has not done yet. For test_http.c and the contract of executors.
 */
#ifndef MINI_SERVICE_H
#define MINI_SERVICE_H

#include "base/slice.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Bytes that grow, in memory of their own: the service must not meet the failures that are armed for
 * the client. */
struct mini_bytes {
    char *data; /* with a NUL behind */
    size_t len;
};

static inline void mini_put(struct mini_bytes *b, const void *bytes, size_t len)
{
    b->data = realloc(b->data, b->len + len + 1);
    assert_non_null(b->data);
    memcpy(b->data + b->len, bytes, len);
    b->len += len;
    b->data[b->len] = '\0';
}

__attribute__((format(printf, 2, 3))) static inline void mini_printf(struct mini_bytes *b,
                                                                     const char *format, ...)
{
    char *text = NULL;
    va_list args;
    int len;

    va_start(args, format);
    len = vasprintf(&text, format, args);
    va_end(args);
    assert_true(len >= 0);
    mini_put(b, text, (size_t)len);
    free(text);
}

struct mini_service {
    uv_tcp_t listener;
    int port;
    size_t connections; /* accepted, ever */
    size_t requests;    /* that have arrived whole */
    size_t open;        /* connections now */
    struct mini_connection *first;
};

struct mini_connection {
    uv_tcp_t tcp;
    struct mini_service *service;
    struct mini_connection *next;
    struct mini_bytes in;
    const char *held; /* the answer that waits for a release */
    char chunk[65536];
};

struct mini_write {
    uv_write_t write;
    struct mini_bytes out;
    bool then_close;
};

#define MINI_OK_BODY "{ \"id\":1.0, \"usage\":{\"total_tokens\":42}}\n"
#define MINI_OK                                                                                    \
    "HTTP/1.1 200 OK\r\nContent-Length: 41\r\nX-Request-Id: req-7\r\n"                             \
    "X-RateLimit-Remaining-Requests: 59\r\n\r\n" MINI_OK_BODY
#define MINI_429                                                                                   \
    "HTTP/1.1 429 Go Away\r\nRetry-After: 2\r\nContent-Length: 16\r\n\r\n{\"error\":\"full\"}"

/* Answers that are the same each time. */
static const struct mini_route {
    const char *path;
    const char *answer;
    bool then_close;
} mini_routes[] = {
    {"/ok", MINI_OK, false},
    {"/429", MINI_429, false},
    {"/429-date",
     "HTTP/1.1 429 X\r\nRetry-After: Sat, 31 Jan 2026 12:01:00 GMT\r\nContent-Length: 0\r\n\r\n",
     false},
    {"/503-short", "HTTP/1.1 503 X\r\nContent-Length: 100\r\n\r\npart", true},
    {"/400", "HTTP/1.1 400 X\r\nContent-Length: 2\r\n\r\n{}", false},
    {"/403", "HTTP/1.1 403 X\r\nContent-Length: 2\r\n\r\n{}", false},
    {"/500", "HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\n{}", false},
    {"/302", "HTTP/1.1 302 X\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n", false},
    {"/204", "HTTP/1.1 204 X\r\n\r\n", false},
    {"/head", "HTTP/1.1 200 X\r\nContent-Length: 500\r\n\r\n", false},
    {"/chunked",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n",
     false},
    {"/chunked-short", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhello", true},
    {"/short", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart", true},
    {"/gone", "", true},
    {"/garbage", "\x01\x02\x03 no HTTP at all\r\n\r\n", true},
    {"/bad-gzip",
     "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 11\r\n\r\nnot gzipped", false},
    {"/stuck", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart", false},
};

static inline void mini_on_closed(uv_handle_t *handle)
{
    struct mini_connection *c = handle->data;
    struct mini_connection **at = &c->service->first;

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    c->service->open--;
    free(c->in.data);
    free(c);
}

static inline void mini_close(struct mini_connection *c)
{
    if (!uv_is_closing((uv_handle_t *)&c->tcp))
        uv_close((uv_handle_t *)&c->tcp, mini_on_closed);
}

static inline void mini_on_written(uv_write_t *write, int status)
{
    struct mini_write *w = write->data;
    struct mini_connection *c = write->handle->data;

    if (w->then_close || status < 0)
        mini_close(c);
    free(w->out.data);
    free(w);
}

/* Takes the buffer over. */
static inline void mini_write(struct mini_connection *c, struct mini_bytes *out, bool then_close)
{
    struct mini_write *w = calloc(1, sizeof(*w));
    uv_buf_t b;

    assert_non_null(w);
    w->out = *out;
    w->then_close = then_close;
    w->write.data = w;
    b = uv_buf_init(w->out.data, (unsigned)w->out.len);
    if (w->out.len == 0 || uv_write(&w->write, (uv_stream_t *)&c->tcp, &b, 1, mini_on_written)) {
        free(w->out.data);
        free(w);
        mini_close(c);
    }
}

static inline void mini_write_text(struct mini_connection *c, const char *text, bool then_close)
{
    struct mini_bytes out = {0};

    mini_printf(&out, "%s", text);
    mini_write(c, &out, then_close);
}

static inline void mini_answer_sized(struct mini_connection *c, long bytes, bool chunked)
{
    struct mini_bytes out = {0};

    if (chunked)
        mini_printf(&out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%lx\r\n", bytes);
    else
        mini_printf(&out, "HTTP/1.1 200 OK\r\nContent-Length: %ld\r\n\r\n", bytes);
    for (long i = 0; i < bytes; i++)
        mini_put(&out, "x", 1);
    if (chunked)
        mini_printf(&out, "%s", "\r\n0\r\n\r\n");
    mini_write(c, &out, false);
}

static inline void mini_answer_echo(struct mini_connection *c, struct slice request)
{
    struct mini_bytes out = {0};

    mini_printf(&out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", request.len);
    mini_put(&out, request.data, request.len);
    mini_write(c, &out, false);
}

static inline void mini_answer_gzip(struct mini_connection *c)
{
    /* printf 'hello\n' | gzip -n9 */
    static const char body[] =
        "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\xe7\x02"
        "\x00\x20\x30\x3a\x36\x06\x00\x00\x00";
    struct mini_bytes out = {0};

    mini_printf(&out, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n",
                sizeof(body) - 1);
    mini_put(&out, body, sizeof(body) - 1);
    mini_write(c, &out, false);
}

static inline void mini_answer_big_head(struct mini_connection *c)
{
    struct mini_bytes out = {0};

    mini_printf(&out, "%s", "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 500; i++)
        mini_printf(&out, "X-Filler-%d: xxxxxxxxxx\r\n", i);
    mini_printf(&out, "%s", "Content-Length: 0\r\n\r\n");
    mini_write(c, &out, false);
}

/* A whole answer, and behind it at once a reset: what a service does that does not want the rest of the request. */
static inline void mini_answer_and_reset(struct mini_connection *c, const char *text)
{
    uv_buf_t b = uv_buf_init((char *)(uintptr_t)text, (unsigned)strlen(text));

    assert_int_equal(uv_try_write((uv_stream_t *)&c->tcp, &b, 1), (int)b.len);
    assert_int_equal(uv_tcp_close_reset(&c->tcp, mini_on_closed), 0);
}

static inline void mini_answer(struct mini_connection *c, const char *path, struct slice request)
{
    c->service->requests++;
    for (size_t i = 0; i < sizeof(mini_routes) / sizeof(mini_routes[0]); i++) {
        if (strcmp(path, mini_routes[i].path) == 0) {
            mini_write_text(c, mini_routes[i].answer, mini_routes[i].then_close);
            return;
        }
    }
    if (strncmp(path, "/echo", 5) == 0)
        mini_answer_echo(c, request);
    else if (strncmp(path, "/sized/", 7) == 0)
        mini_answer_sized(c, atol(path + 7), false);
    else if (strncmp(path, "/chunked-sized/", 15) == 0)
        mini_answer_sized(c, atol(path + 15), true);
    else if (strcmp(path, "/gzip") == 0)
        mini_answer_gzip(c);
    else if (strcmp(path, "/big-head") == 0)
        mini_answer_big_head(c);
    else if (strcmp(path, "/hold") == 0)
        c->held = MINI_OK;
    else if (strcmp(path, "/hold-429") == 0)
        c->held = MINI_429;
    else if (strcmp(path, "/429-reset") == 0)
        mini_answer_and_reset(c, MINI_429);
    else if (strcmp(path, "/reset") == 0)
        assert_int_equal(uv_tcp_close_reset(&c->tcp, mini_on_closed), 0);
    else
        mini_write_text(c, "HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n", false);
}

/* Length of the first whole request in what has arrived; 0: not all of it is there. */
static inline size_t mini_request_len(const struct mini_bytes *in)
{
    const char *end = in->data ? strstr(in->data, "\r\n\r\n") : NULL;
    const char *length;
    size_t len;

    if (!end)
        return 0;
    len = (size_t)(end - in->data) + 4;
    length = strcasestr(in->data, "\r\nContent-Length:");
    if (length && length < end)
        len += (size_t)atol(length + 17);
    return in->len >= len ? len : 0;
}

static inline void mini_on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct mini_connection *c = stream->data;
    char path[128];
    size_t len;

    if (n < 0) {
        mini_close(c);
        return;
    }
    mini_put(&c->in, b->base, (size_t)n);
    len = mini_request_len(&c->in);
    if (len == 0)
        return;
    assert_int_equal(sscanf(c->in.data, "%*s %127s", path), 1);
    mini_answer(c, path, (struct slice){c->in.data, len});
    c->in.len = 0; /* nobody pipelines */
}

static inline void mini_on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
    struct mini_connection *c = handle->data;

    (void)size;
    *ret = uv_buf_init(c->chunk, sizeof(c->chunk));
}

static inline void mini_on_connection(uv_stream_t *listener, int status)
{
    struct mini_service *s = listener->data;
    struct mini_connection *c = calloc(1, sizeof(*c));

    assert_int_equal(status, 0);
    assert_non_null(c);
    c->service = s;
    uv_tcp_init(listener->loop, &c->tcp);
    c->tcp.data = c;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&c->tcp), 0);
    c->next = s->first;
    s->first = c;
    s->connections++;
    s->open++;
    uv_read_start((uv_stream_t *)&c->tcp, mini_on_alloc, mini_on_read);
}

static inline void mini_service_start(struct mini_service *s, uv_loop_t *loop)
{
    struct sockaddr_in address;
    int len = sizeof(address);

    uv_ip4_addr("127.0.0.1", 0, &address);
    assert_int_equal(uv_tcp_init(loop, &s->listener), 0);
    s->listener.data = s;
    assert_int_equal(uv_tcp_bind(&s->listener, (struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&s->listener, 256, mini_on_connection), 0);
    uv_tcp_getsockname(&s->listener, (struct sockaddr *)&address, &len);
    s->port = ntohs(address.sin_port);
}

/* Sends the answers that were held. */
static inline void mini_service_release(struct mini_service *s)
{
    for (struct mini_connection *c = s->first; c; c = c->next) {
        if (c->held)
            mini_write_text(c, c->held, false);
        c->held = NULL;
    }
}

static inline void mini_service_drop_all(struct mini_service *s)
{
    for (struct mini_connection *c = s->first; c; c = c->next)
        mini_close(c);
}

static inline void mini_service_unref(struct mini_service *s)
{
    uv_unref((uv_handle_t *)&s->listener);
    for (struct mini_connection *c = s->first; c; c = c->next)
        uv_unref((uv_handle_t *)&c->tcp);
}

static inline void mini_service_stop(struct mini_service *s)
{
    mini_service_drop_all(s);
    uv_close((uv_handle_t *)&s->listener, NULL);
}

/* A port of the loopback that nobody listens on: bound once, and closed. */
static inline int mini_service_refused_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

#endif
