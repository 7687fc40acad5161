/*
 * An HTTP/1.1 server, over libmicrohttpd, that knows nothing of what it serves.
 *
 *     static const struct http_route routes[] = {
 *         {.method = "GET", .pattern = "/v1/tasks/{id}", .role = HTTP_ROLE_READ, .handler = get_task, .query = with_names}, ...
 *     };
 *     struct http_server_options o = {.routes = routes, .route_count = n, .ctx = api};
 *     http_server_new(&o, &server, &err);
 *     http_server_listen_unix(server, "/run/weir/weir.sock", 0660, &err);      // as often as one likes
 *     http_server_start(server, &err);
 *     ... http_server_stop(server, duration_from_ms(5000));
 *     http_server_free(server);
 *
 * A request goes: head, route, limits, who may (token and role), begin, body, handler, answer. A
 * handler has all of the request and answers it once, by one of the http_reply_*() or
 * http_problem():
 *
 *     static void get_task(struct http_request *req, void *ctx)
 *     {
 *         const char *id = http_param(req, "id");
 *         ...
 *         http_reply_json(req, 200, &text);
 *     }
 *
 * or it says http_suspend() and answers later, from any thread. A handler that returns without
 * either is answered for with a 500.
 *
 * Threads: handlers, begin, on_data, producers and `then` run on the server's threads
 * (options.threads), for one request never two at once. They hold up the other requests of their
 * thread, so what takes long is suspended.
 *
 * (`struct http_request` is not defined here: exec/http has one of that name, for what it sends.)
 *
 * Who owns what: a request, and all strings that it gives, live until its answer has been sent and,
 * if it was suspended, until http_resume() has been called as well: a client that goes away in
 * between takes nothing from under anybody's feet. State of one's own goes with it
 * (http_set_state).
 */
#ifndef SERVE_HTTP_HTTP_H
#define SERVE_HTTP_HTTP_H

#include "base/buf.h"
#include "base/slice.h"
#include "base/time.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct http_server;
struct http_request;
struct http_stream;
struct http_finished;

/* ---- routes ---- */

/* Each may what those before it may. HTTP_ROLE_NONE: no token is asked for. */
enum http_role { HTTP_ROLE_NONE, HTTP_ROLE_READ, HTTP_ROLE_SUBMIT, HTTP_ROLE_OPERATE };

typedef void (*http_handler_fn)(struct http_request *req, void *ctx);

/* Path parameters of a pattern, and query parameters of a request, at most. */
#define HTTP_PARAMS_MAX 4
#define HTTP_QUERY_MAX  32

struct http_route {
    const char *method; /* "GET" answers HEAD too; OPTIONS is answered by the server */
    const char *
        pattern; /* "/v1/tasks/{id}/cancel": a segment is a text or {a parameter}, which is never empty. A text
                            goes before a parameter, whichever stands first in the table */
    enum http_role role;
    http_handler_fn handler; /* the body is there whole */
    /* The head is there, and the sender may: looks at headers and parameters, and may call http_take_body(), or answer
     * at once (then the body is thrown away, and the handler is not called). May not suspend. May be NULL. */
    http_handler_fn begin;
    const char *const
        *query; /* names of the query parameters, up to a NULL; NULL: none. Others are refused */
    uint64_t body_bytes_max; /* of a body that is not taken in parts; 0: options.body_bytes_max */
};

/* ---- what a request says ---- */

/* The name in the route's pattern, percent-decoded; NULL: the pattern has no such name. Valid UTF-8 without NULs, as
 * all that follow. */
const char *http_param(const struct http_request *req, const char *name);
/* The query parameter, percent-decoded ("" for `?follow`); NULL: absent. A name that is given twice is refused before. */
const char *http_query(const struct http_request *req, const char *name);
/* NULL: absent. Only in begin, on_data, handler and `then`, on the server's threads. */
const char *http_header(const struct http_request *req, const char *name);
/* Whether Content-Type is that type, its parameters (";charset=...") put aside; without regard to case. */
bool http_content_is(const struct http_request *req, const char *type);
/* Whether Accept asks for that type by name (as type/subtype, q not 0). "* / *" does not count. */
bool http_accepts(const struct http_request *req, const char *type);
/* The whole body; empty when there is none or when it was taken in parts. Followed by a NUL. */
struct slice http_body(const struct http_request *req);
/* "GET" for a HEAD: its answer's body is not sent. */
const char *http_method(const struct http_request *req);
/* The path as it was sent, without the query. */
const char *http_path(const struct http_request *req);
/* Behind "Authorization: Bearer "; NULL: none. For a route that knows secrets of its own. Never to be logged. */
const char *http_bearer(const struct http_request *req);
/* The role of its sender: HTTP_ROLE_OPERATE where no tokens are asked for. The token's name, or "". */
enum http_role http_role_of(const struct http_request *req);
const char *http_token_name(const struct http_request *req);
/* "unix", "127.0.0.1:4711", "[::1]:4711". */
const char *http_peer(const struct http_request *req);

/* A pointer that goes with the request; `destroy` (may be NULL) is called once, when the request is over in whichever
 * way and nobody holds it any more; on a server's thread, or on the one that calls http_resume(). */
void http_set_state(struct http_request *req, void *state, void (*destroy)(void *state));
void *http_state(const struct http_request *req);

/* ---- a body in parts ---- */

/*
 * A part of the body. Returns how many of the bytes it has taken. When these are not all, it has
 * called http_suspend(): after http_resume() it is called again with the rest (and no more is read
 * from the client until then). It may answer (http_problem): then what is left of the body is
 * thrown away, and the handler is not called.
 */
typedef size_t (*http_data_fn)(struct http_request *req, void *ctx, const char *data, size_t len);

/* In begin: the body comes in parts, as long as it may be; then the handler is called. */
void http_take_body(struct http_request *req, http_data_fn on_data);

/* Why no more of a body in parts is read: nothing of it has come for long; the server ends bodies; the token that it came with
 * is none any more, or may not. */
enum http_cut { HTTP_CUT_NONE, HTTP_CUT_LATE, HTTP_CUT_ENDED, HTTP_CUT_TOKEN };

/*
 * No more of the body is read: on_data is not called again, nor the handler. It answers, or
 * suspends, as a handler does. The answer is sent at once, though the client may still be sending:
 * it should be small (64 KiB). On a thread of the server's, for one request never two at once.
 */
typedef void (*http_cut_fn)(struct http_request *req, void *ctx, enum http_cut why);

/* In begin, after http_take_body(). Without it the connection of one that is late is ended without a word of its own. */
void http_take_cut(struct http_request *req, http_cut_fn on_cut);

/* ---- answering ---- */

/* A header of the answer; before or after the reply, until the handler returns or resumes. Values are copied; a line break
 * in one is an assertion. */
void http_reply_header(struct http_request *req, const char *name, const char *value);

/* Takes the bytes of `body` over and leaves it empty. One that has failed is answered for with a 503. */
void http_reply_json(struct http_request *req, unsigned status, struct buf *body);
void http_reply_text(struct http_request *req, unsigned status, const char *content_type,
                     struct buf *body);
/* Bytes that live as long as the program. etag (with its quotes) may be NULL; with one, If-None-Match is heeded. */
void http_reply_static(struct http_request *req, unsigned status, const char *content_type,
                       struct slice body, const char *etag);
/* 204. */
void http_reply_empty(struct http_request *req);

/*
 * RFC 9457: application/problem+json with type about:blank. title NULL: the usual words for the
 * status. What http_problem_add() and http_problem_put() say goes into it, whether called before or
 * after. A later http_problem() replaces an earlier answer.
 */
void http_problem(struct http_request *req, unsigned status, const char *title, const char *detail,
                  ...) __attribute__((format(printf, 4, 5)));
/* One of "errors": {"where","message"}. */
void http_problem_add(struct http_request *req, const char *where, const char *message, ...)
    __attribute__((format(printf, 3, 4)));
/* A member more; `json` is a JSON value. */
void http_problem_put(struct http_request *req, const char *member, struct slice json);
/* Whether there is an answer already. */
bool http_answered(const struct http_request *req);

/* ---- answering later ---- */

/*
 * In a handler, in on_data, or in `then`: not now. From here on until http_resume() the request is
 * that of whoever will call it: it may be answered from that thread, and http_resume() must be
 * called exactly once, also when the client has gone, also while the server stops. It may be called
 * before the handler has returned. `then` (may be NULL) is called after it on a server's thread,
 * with the route's ctx, to answer (or to suspend again); not when the client has gone or the server
 * stopped meanwhile. In on_data `then` is NULL: on_data is called again.
 */
void http_suspend(struct http_request *req, http_handler_fn then);
/* Any thread. The request must not be touched afterwards. */
void http_resume(struct http_request *req);

/* ---- an answer in parts ---- */

#define HTTP_STREAM_WAIT 0    /* nothing now: I shall call http_wake() */
#define HTTP_STREAM_END  (-1) /* that was all */
#define HTTP_STREAM_BROKEN                                                                         \
    (-2) /* cut the connection, so that the client sees that it has not got all */

struct http_stream_ops {
    /* When the server stops it ends as if that were all: it has no end of its own. Others are cut, if they wait then. */
    bool endless;
    /* Writes at most `max` (at least 4,096) bytes to `to`; returns how many, or one of the above. On a server's thread;
     * called only when the client can take more. */
    ssize_t (*read)(void *ctx, char *to, size_t max);
    /* It is over: sent, or the client has gone, or the server stops. Called exactly once,
     * also when http_reply_stream() came to nothing; after it nobody may wake it. */
    void (*closed)(void *ctx);
};

/* The answer comes from ops->read. The stream is good for http_wake() until closed() returns; NULL: there is no memory,
 * closed() has been called, and a 503 is the answer. */
struct http_stream *http_reply_stream(struct http_request *req, unsigned status,
                                      const char *content_type, const struct http_stream_ops *ops,
                                      void *ctx);
/* There is something to read. Any thread, at any time between http_reply_stream() and the end of closed(); never blocks,
 * never calls back. Once is enough for any number of reasons. */
void http_wake(struct http_stream *stream);

/* ---- the server ---- */

struct http_server_options {
    const struct http_route *routes; /* must outlive the server */
    size_t route_count;
    void *ctx; /* of all handlers */

    unsigned threads;         /* 2 */
    unsigned connections_max; /* 4,096; more are told 503 */
    uint64_t body_bytes_max;  /* 16 MiB; more: 413 */
    size_t head_bytes_max;    /* 32 KiB; more: 431 */
    size_t url_bytes_max;     /* 8 KiB; more: 414 */
    /* 512 MiB of bodies and answers in memory; more: 503. What is small (an 8,192nd: 64 KiB) goes in any case, 16 times as
     * much up to the double, and so do answers to requests that have changed something. */
    uint64_t memory_bytes_max;
    duration_ns idle_timeout_ns; /* 60 s between requests on a connection */
    duration_ns
        head_timeout_ns; /* 10 s until the head is there, from the connection or from its first line on */
    /* 30 s for each 16 KiB of a body; 10 times that for anything at all of one in parts */
    duration_ns body_timeout_ns;
    duration_ns
        send_timeout_ns; /* 60 s in which a client takes nothing of an answer, or less than 256 KiB; 5 times that of one in parts */
    double rate_per_s;   /* requests of one TCP address; 0: no limit. More: 429 */
    double rate_burst;   /* 2 * rate_per_s */

    /* Before an answer to a request with that route is handed over: whoever gets it has not got it yet. On a server's thread.
     * May be NULL. */
    void (*answers)(void *ctx, const struct http_route *route);
    /* After each request, on a server's thread; for metrics and logs. May be NULL. */
    void (*finished)(void *ctx, const struct http_finished *f);
};

struct http_finished {
    const struct http_request *req;
    const struct http_route *route;      /* NULL: none */
    unsigned status;                     /* 0: the client had gone before */
    uint64_t received_bytes, sent_bytes; /* of bodies */
    duration_ns duration_ns;
    bool complete; /* the answer was sent to its end */
};

/* Zeroes in the options stand for what is said there. */
WEIR_MUST_CHECK enum weir_status http_server_new(const struct http_server_options *o,
                                                 struct http_server **ret, struct weir_error *err);

/* Before http_server_start(). A socket that a dead predecessor left is replaced; one that somebody answers on is
 * WEIR_E_BUSY. http_server_free() removes the file. */
WEIR_MUST_CHECK enum weir_status http_server_listen_unix(struct http_server *s, const char *path,
                                                         mode_t mode, struct weir_error *err);
/* host: a name or address; NULL or "": 127.0.0.1. Port 0: the system chooses; *ret_port (may be NULL) says which. Beyond
 * loopback tokens must have been set before: WEIR_E_INVALID. */
WEIR_MUST_CHECK enum weir_status http_server_listen_tcp(struct http_server *s, const char *host,
                                                        uint16_t port, uint16_t *ret_port,
                                                        struct weir_error *err);
/* A socket that listens already (socket activation). The server's from now on, also on failure. */
WEIR_MUST_CHECK enum weir_status http_server_listen_fd(struct http_server *s, int fd,
                                                       struct weir_error *err);

WEIR_MUST_CHECK enum weir_status http_server_start(struct http_server *s, struct weir_error *err);
/* Reads no more of bodies in parts, of those that begin later neither, and waits until each has been answered (http_take_cut),
 * or so long. */
void http_server_end_bodies(struct http_server *s, duration_ns patience_ns);
/* Ends bodies in parts, accepts no more, lets requests end until the deadline has passed, and cuts off what is left then. Streams that wait
 * are ended at once, after one last read. Requests that are suspended must still be resumed. */
void http_server_stop(struct http_server *s, duration_ns deadline_ns);
/* Stops at once if that has not been done. NULL-safe. */
void http_server_free(struct http_server *s);

/*
 * Tokens. With none, everybody who can connect may do everything, and there is no TCP listener
 * beyond loopback. With some, each request needs one (but routes with HTTP_ROLE_NONE), on every
 * listener. Only their digests are kept. Replaces all that were set before; answers and bodies in
 * parts whose token may no more are cut; all else that is under way ends as it would. Any thread.
 * WEIR_E_INVALID: a token is empty or longer than 4,096 bytes, has other than visible characters,
 * stands there twice; or there are none and a listener is beyond loopback. Then nothing changes.
 */
struct http_token {
    const char *secret;
    enum http_role role;
    const char *name;   /* for logs; may be NULL */
    const char *sha256; /* of the secret, in hexadecimal; where secret is NULL */
};
WEIR_MUST_CHECK enum weir_status http_server_set_tokens(struct http_server *s,
                                                        const struct http_token *tokens,
                                                        size_t count, struct weir_error *err);

struct http_stats {
    uint64_t connections, connections_open, connections_refused;
    uint64_t requests, requests_open, refused_by_rate;
    uint64_t memory_bytes;     /* bodies and answers in memory */
    uint64_t memory_bytes_max; /* the most that it has been */
};
void http_server_get_stats(struct http_server *s, struct http_stats *ret);

#endif
