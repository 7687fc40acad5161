/*
 * A server with handlers for tests, and clients that speak bytes.
 *
 *     struct fixture f;
 *     fixture_open(&f, &(struct http_server_options){...});      // on a Unix socket and a port; default routes when there are none
 *     int fd = dial(&f);
 *     say(fd, "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
 *     struct answer a = hear(fd);  ... a.status, a.head, a.body
 *     answer_free(&a);
 *     fixture_close(&f);
 */
#ifndef TESTS_HTTP_TEST_H
#define TESTS_HTTP_TEST_H

#include "base/buf.h"
#include "base/mem.h"
#include "loop/loop.h"
#include "serve/http/http.h"
#include "support/testkit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define DEADLINE_MS 20000

struct fixture {
    char *dir, *path;
    uint16_t port;
    struct http_server *server;
};

/* ---- handlers ---- */

static inline void say_hello(struct http_request *req, void *ctx)
{
    struct buf out = {0};

    (void)ctx;
    buf_printf(&out, "{\"hello\":\"%s\"}", http_query(req, "who") ? http_query(req, "who") : "");
    http_reply_json(req, 200, &out);
}

/* What it was asked, as it understood it. */
static inline void say_item(struct http_request *req, void *ctx)
{
    struct buf out = {0};

    (void)ctx;
    buf_printf(&out, "%s id=%s a=%s role=%d name=%s body=", http_method(req), http_param(req, "id"),
               http_query(req, "a") ? http_query(req, "a") : "-", (int)http_role_of(req),
               http_token_name(req));
    buf_put_slice(&out, http_body(req));
    http_reply_text(req, 200, "text/plain", &out);
}

static inline void say_literal(struct http_request *req, void *ctx)
{
    struct buf out = {0};

    (void)ctx;
    buf_puts(&out, "literal");
    http_reply_text(req, 200, "text/plain", &out);
}

static inline void say_page(struct http_request *req, void *ctx)
{
    (void)ctx;
    http_reply_static(req, 200, "text/html", SLICE("<p>page"), "\"tag1\"");
}

static inline void say_nothing(struct http_request *req, void *ctx)
{
    (void)req;
    (void)ctx;
}

static inline void say_problem(struct http_request *req, void *ctx)
{
    (void)ctx;
    http_problem_put(req, "line", SLICE("17"));
    http_problem(req, 409, "Twice", "it is there \"already\": %d", 5);
    http_problem_add(req, "tasks[0].key", "is \n %s", "taken");
    http_problem_add(req, "tasks[1]", "is empty");
    http_reply_header(req, "X-More", "yes");
}

static const char *const hello_query[] = {"who", "how", NULL};
static const char *const item_query[] = {"a", NULL};

static const struct http_route default_routes[] = {
    {.method = "GET",
     .pattern = "/hello",
     .role = HTTP_ROLE_READ,
     .handler = say_hello,
     .query = hello_query},
    {.method = "GET",
     .pattern = "/items/{id}",
     .role = HTTP_ROLE_READ,
     .handler = say_item,
     .query = item_query},
    {.method = "POST",
     .pattern = "/items/{id}",
     .role = HTTP_ROLE_SUBMIT,
     .handler = say_item,
     .query = item_query},
    {.method = "DELETE", .pattern = "/items/{id}", .role = HTTP_ROLE_OPERATE, .handler = say_item},
    {.method = "POST",
     .pattern = "/items/{id}/end",
     .role = HTTP_ROLE_OPERATE,
     .handler = say_item,
     .body_bytes_max = 8},
    {.method = "GET", .pattern = "/items/all", .role = HTTP_ROLE_READ, .handler = say_literal},
    {.method = "GET", .pattern = "/healthz", .role = HTTP_ROLE_NONE, .handler = say_hello},
    {.method = "GET", .pattern = "/", .role = HTTP_ROLE_NONE, .handler = say_page},
    {.method = "GET", .pattern = "/silent", .role = HTTP_ROLE_READ, .handler = say_nothing},
    {.method = "GET", .pattern = "/problem", .role = HTTP_ROLE_READ, .handler = say_problem},
};

/* ---- the server ---- */

static inline void must_be_ok(enum weir_status status, const struct weir_error *err)
{
    if (status != WEIR_OK)
        fail_msg("%s", err->message);
}

static inline void fixture_open_with(struct fixture *f, const struct http_server_options *given,
                                     const struct http_token *tokens, size_t token_count)
{
    struct http_server_options o = *given;
    struct weir_error err;

    if (!o.routes) {
        o.routes = default_routes;
        o.route_count = sizeof default_routes / sizeof default_routes[0];
    }
    f->dir = testkit_dir_make();
    f->path = testkit_path(f->dir, "weir.sock");
    must_be_ok(http_server_new(&o, &f->server, &err), &err);
    must_be_ok(http_server_set_tokens(f->server, tokens, token_count, &err), &err);
    must_be_ok(http_server_listen_unix(f->server, f->path, 0660, &err), &err);
    must_be_ok(http_server_listen_tcp(f->server, NULL, 0, &f->port, &err), &err);
    must_be_ok(http_server_start(f->server, &err), &err);
}

static inline void fixture_open(struct fixture *f, const struct http_server_options *given)
{
    fixture_open_with(f, given, NULL, 0);
}

static inline void fixture_close(struct fixture *f)
{
    http_server_free(f->server);
    testkit_free(f->path);
    testkit_dir_remove(f->dir);
}

/* ---- clients ---- */

static inline int dial_unix(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    memcpy(addr.sun_path, path, strlen(path));
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    return fd;
}

static inline int dial(const struct fixture *f)
{
    return dial_unix(f->path);
}

static inline int dial_tcp(const struct fixture *f)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(f->port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    return fd;
}

static inline void say_bytes(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

        if (n <= 0)
            return; /* the other side has gone: what it said is looked at */
        bytes += n;
        len -= (size_t)n;
    }
}

static inline void say(int fd, const char *text)
{
    say_bytes(fd, text, strlen(text));
}

struct answer {
    unsigned status; /* 0: the connection ended without one */
    struct buf head, body;
    bool whole; /* the body was there to its end */
};

static inline void answer_free(struct answer *a)
{
    buf_free(&a->head);
    buf_free(&a->body);
}

/* The value of a header, up to its end of line; empty: absent. */
static inline struct slice header_in(const struct answer *a, const char *name)
{
    const char *at = a->head.data;
    size_t len = strlen(name);

    while (at && (at = strstr(at, "\r\n"))) {
        at += 2;
        if (strncasecmp(at, name, len) == 0 && at[len] == ':')
            return (struct slice){at + len + 2, strcspn(at + len + 2, "\r")};
    }
    return (struct slice){"", 0};
}

static inline bool header_is(const struct answer *a, const char *name, const char *value)
{
    return slice_equal(header_in(a, name), slice_of(value));
}

/* One byte; -1: the end, or the deadline. */
static inline int hear_byte(int fd)
{
    unsigned char c;

    if (!testkit_fd_wait(fd, POLLIN, DEADLINE_MS))
        return -1;
    return recv(fd, &c, 1, 0) == 1 ? c : -1;
}

static inline bool hear_line(int fd, struct buf *line)
{
    int c;

    buf_clear(line);
    while ((c = hear_byte(fd)) >= 0) {
        buf_putc(line, (char)c);
        if (c == '\n')
            return true;
    }
    return false;
}

static inline bool hear_bytes(int fd, struct buf *to, size_t len)
{
    while (len > 0) {
        char chunk[65536];
        ssize_t n;

        if (!testkit_fd_wait(fd, POLLIN, DEADLINE_MS))
            return false;
        n = recv(fd, chunk, len < sizeof chunk ? len : sizeof chunk, 0);
        if (n <= 0)
            return false;
        buf_put(to, chunk, (size_t)n);
        len -= (size_t)n;
    }
    return true;
}

static inline bool hear_chunks(int fd, struct buf *to)
{
    struct buf line = {0};
    bool ok = false;

    while (hear_line(fd, &line)) {
        size_t len = strtoul(line.data, NULL, 16);

        if (len > 0 && !hear_bytes(fd, to, len))
            break;
        if (!hear_line(fd, &line))
            break;
        ok = len == 0;
        if (ok)
            break;
    }
    buf_free(&line);
    return ok;
}

static inline struct answer hear_head(int fd)
{
    struct answer a = {0};
    struct buf line = {0};

    while (hear_line(fd, &line)) {
        buf_put_slice(&a.head, buf_slice(&line));
        if (line.len == 2)
            break;
    }
    if (a.head.len > 12)
        a.status = (unsigned)strtoul(a.head.data + 9, NULL, 10);
    buf_free(&line);
    return a;
}

static inline struct answer hear(int fd)
{
    struct answer a = hear_head(fd);

    if (a.status == 0 || a.status == 204 || a.status == 304)
        a.whole = a.status != 0;
    else if (header_is(&a, "Transfer-Encoding", "chunked"))
        a.whole = hear_chunks(fd, &a.body);
    else
        a.whole = hear_bytes(fd, &a.body, strtoul(header_in(&a, "Content-Length").data, NULL, 10));
    return a;
}

/* One request on a connection of its own. */
static inline struct answer ask_on(int fd, const char *request)
{
    struct answer a;

    say(fd, request);
    a = hear(fd);
    close(fd);
    return a;
}

static inline struct answer ask(const struct fixture *f, const char *request)
{
    return ask_on(dial(f), request);
}

/* "GET /x" and header lines, each with its line break, or NULL. */
static inline struct answer ask_short(const struct fixture *f, bool tcp, const char *line,
                                      const char *headers)
{
    struct buf text = {0};
    struct answer a;

    buf_printf(&text, "%s HTTP/1.1\r\n%s%s\r\n", line,
               headers && strstr(headers, "Host:") ? "" : "Host: localhost\r\n",
               headers ? headers : "");
    a = ask_on(tcp ? dial_tcp(f) : dial(f), text.data);
    buf_free(&text);
    return a;
}

static inline void expect_status(const struct fixture *f, bool tcp, const char *line,
                                 const char *headers, unsigned status)
{
    struct answer a = ask_short(f, tcp, line, headers);

    if (a.status != status)
        fail_msg("%s (%s) gave %u %s, not %u", line, headers ? headers : "", a.status,
                 a.body.len ? a.body.data : "", status);
    answer_free(&a);
}

static inline void body_has(const struct answer *a, const char *text)
{
    if (!a->body.data || !strstr(a->body.data, text))
        fail_msg("'%s' is not in %u '%s'", text, a->status, a->body.data ? a->body.data : "");
}

/* As many descriptors as the system lets us have; how many that are. */
static inline size_t raise_descriptors(void)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    return (size_t)limit.rlim_cur;
}

#endif
