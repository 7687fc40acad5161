/*
 * What the parts of the server know of each other.
 *
 * server.c starts and stops; listen.c opens sockets; accept.c has the thread that accepts, and
 * watches over connections (deadlines, clients that go away); request.c is what libmicrohttpd
 * calls; cut.c ends bodies in parts; guard.c decides whether a request is let in; reply.c makes
 * answers; later.c suspends, resumes and wakes.
 *
 * Locks: `server.lock` for the connections, the list of requests, the tokens, the peers and the
 * counts; `request.lock` for whether it is suspended. In that order. No callback is called under
 * either. Callbacks may hold locks of their owners while they call http_wake() or http_resume(), so
 * these take nothing but request.lock.
 *
 * A request has two holders at most: libmicrohttpd's side (from its first line until it is
 * completed), and whoever has suspended it. The last one frees it. Between http_suspend() and
 * http_resume() the answer belongs to the suspender; all else is written by the server's thread
 * only.
 */
#ifndef SERVE_HTTP_INTERNAL_H
#define SERVE_HTTP_INTERNAL_H

#include "base/list.h"
#include "serve/http/http.h"
#include "serve/http/peers.h"
#include "serve/http/routes.h"
#include "serve/http/target.h"
#include "serve/http/tokens.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#define HTTP_LISTENERS_MAX  8
#define HTTP_PEER_BYTES_MAX 64

enum http_phase {
    HTTP_IDLE, /* between requests */
    HTTP_HEAD, /* the first line is there */
    HTTP_RECEIVING,
    HTTP_WORK,   /* it is with a handler, or its answer on the way */
    HTTP_SENDING /* a large answer is on its way, of which some is to be taken now and then */
};

/* Under server.lock, but for what never changes. */
struct http_conn {
    struct list link;
    int fd;
    uint32_t generation; /* tells connections with the same descriptor apart */
    bool tcp, extra;     /* extra: one too many, to be told so */
    bool asked;          /* a request has come on it */
    char peer[HTTP_PEER_BYTES_MAX];
    struct http_peer_addr addr;
    enum http_phase phase;
    struct instant deadline;
    uint64_t progress_bytes;     /* received since the deadline was set */
    struct http_request *body;   /* whose body comes in parts */
    struct http_request *stream; /* whose answer comes in parts, and whose client is watched */
    bool gone;
};

/* The thread says when it is done with the listeners, so that their descriptors can be closed. */
enum http_accepting { HTTP_ACCEPTING, HTTP_ACCEPTS_NO_MORE, HTTP_ACCEPTED_ALL };

struct http_listener {
    int fd;
    bool tcp, beyond;       /* beyond loopback */
    char *path;             /* to be removed; NULL: none */
    uint64_t device, inode; /* of the file that is ours */
};

struct http_server {
    struct http_server_options options;
    struct MHD_Daemon *daemon;
    struct http_listener listeners[HTTP_LISTENERS_MAX];
    size_t listener_count;

    pthread_mutex_t lock;
    struct http_tokens *tokens;
    uint64_t tokens_changed; /* times */
    struct http_peers peers;
    struct list conns;
    struct http_conn **by_fd;
    size_t by_fd_count;
    uint32_t generation;
    struct list requests;
    struct http_stats stats;

    _Atomic uint64_t memory_bytes, memory_bytes_max;
    _Atomic int accepting;    /* enum http_accepting */
    _Atomic bool stopping;    /* streams end */
    _Atomic bool ends_bodies; /* those in parts */
    _Atomic bool cuts;        /* the acceptor is to look for some that are cut */
    _Atomic bool aborting;    /* nothing waits any more */
    bool started, stopped;

    pthread_t acceptor;
    bool acceptor_runs;
    _Atomic bool acceptor_ends;
    int epoll, wake;
};

enum http_reply_kind {
    HTTP_REPLY_NONE,
    HTTP_REPLY_BYTES,
    HTTP_REPLY_STATIC,
    HTTP_REPLY_PROBLEM,
    HTTP_REPLY_PARTS
};

/* What is to be sent. */
struct http_reply {
    enum http_reply_kind kind;
    unsigned status;
    struct buf content_type;
    struct buf body;
    struct slice fixed;
    uint64_t step_at; /* of a large body: so far it had been taken when its deadline was set */
    const char *etag;
    struct buf headers; /* name, NUL, value, NUL, ... */
    struct buf title, detail, errors, members;
};

struct http_stream {
    struct http_request *req;
    const struct http_stream_ops *ops; /* NULL: none, or closed */
    void *ctx;
    bool woken;        /* request.lock */
    bool waiting;      /* request.lock: suspended until it is woken */
    bool gone;         /* request.lock */
    struct buf staged; /* what the producer gave and libmicrohttpd had no room for */
    size_t staged_at;
};

/*
 * A body in parts:
 *
 *     NONE ──► WAITS ◄──► TAKEN     a part is with on_data(), or that has suspended
 *                │          │
 *                ├──► CUT   ├──► OVER     it is there whole, or it was answered meanwhile
 *                └───────────────┘
 *
 * One that is CUT is held, as by a suspender, until it has its answer.
 */
enum http_body { HTTP_BODY_NONE, HTTP_BODY_WAITS, HTTP_BODY_TAKEN, HTTP_BODY_CUT, HTTP_BODY_OVER };

struct http_request {
    struct http_server *server; /* not after it is completed */
    struct MHD_Connection *connection;
    struct http_conn *conn;
    struct list link;
    _Atomic unsigned holders;
    void *ctx;

    struct http_target target;
    char *raw;
    char *bearer; /* wiped before it is freed */
    const struct http_route *route;
    char method[16];
    char peer[HTTP_PEER_BYTES_MAX];
    enum http_role role;
    char token_name[HTTP_TOKEN_NAME_BYTES_MAX];
    uint64_t tokens_seen; /* tokens_changed, when that was looked up */
    struct instant began;

    bool begun, handled, expects;
    http_data_fn on_data;
    http_cut_fn on_cut;
    struct buf body;
    uint64_t received_bytes, sent_bytes, charged_bytes;
    bool
        discards; /* an answer was sent ahead: what comes is thrown away, then the connection ends */
    bool early;   /* it has been sent so */

    struct http_reply reply;
    struct http_stream stream;
    void *state;
    void (*destroy)(void *state);

    pthread_mutex_t lock;
    bool held;          /* between http_suspend() and http_resume() */
    bool suspended;     /* and libmicrohttpd's connection with it */
    bool suspended_now; /* in the call that is under way; of the server's thread */
    bool ends_now;      /* it was to be, but the server waits no more */
    http_handler_fn then;
    bool completed; /* the connection is not ours any more */
    enum http_body in_parts;
    enum http_cut cut_wish; /* it is to be cut as soon as nobody is at it */
    bool cut_runs;          /* a thread of the server's is in on_cut() or its `then` */
    bool cut_waits;         /* it has suspended */
};

/* ---- request.c ---- */
void *http_request_first(void *cls, const char *uri, struct MHD_Connection *connection);
enum MHD_Result http_request_on(void *cls, struct MHD_Connection *connection, const char *path,
                                const char *method, const char *version, const char *data,
                                size_t *data_len, void **req_cls);
void http_request_completed(void *cls, struct MHD_Connection *connection, void **req_cls,
                            enum MHD_RequestTerminationCode how);
void http_request_release(struct http_request *req);

/* ---- cut.c ---- */
/* The head is there, and the body is to come in parts. */
void http_body_begin(struct http_request *req);
/* Somebody is at it from here on, or it is over (whole). False: it is cut; http_cut_on() says what to return. */
bool http_body_enter(struct http_request *req, bool whole);
void http_body_leave(struct http_request *req);
enum MHD_Result http_cut_on(struct http_request *req, size_t *data_len);
/* Under server.lock. Its body is to be cut. False: it has none that could be. */
bool http_cut_wish(struct http_request *req, enum http_cut why);
/* Under request.lock. It was resumed, and nobody has gone on with it yet. */
bool http_cut_is_due(const struct http_request *req);
/* On the acceptor: all that is to be done for those that are cut. */
void http_cuts_run(struct http_server *s);

/* ---- guard.c ---- */
/* Answers a request that is not let in; sets route, role. */
void http_guard(struct http_request *req);
/* Under server.lock. Whether it would not be let in with the tokens as they are by now. */
bool http_guard_revoked(struct http_request *req);

/* ---- reply.c ---- */
enum MHD_Result http_reply_queue(struct http_request *req);
/* Writes the answer to the socket ourselves, while the client still sends; libmicrohttpd could only do so afterwards. */
void http_reply_early(struct http_request *req);
void http_reply_free(struct http_request *req);

/* ---- later.c ---- */
ssize_t http_stream_read(void *cls, uint64_t at, char *to, size_t max);
/* closed() is called, unless that has happened. */
void http_stream_close(struct http_request *req);
/* Whatever is suspended goes on, to find that the server is aborting. */
void http_request_abort(struct http_request *req);
/* Whether whoever has suspended it still has it. */
bool http_request_is_held(struct http_request *req);

/* ---- accept.c ---- */
WEIR_MUST_CHECK enum weir_status http_acceptor_start(struct http_server *s, struct weir_error *err);
/* No more are accepted, and the listeners may be closed; deadlines are still watched. */
void http_acceptor_close(struct http_server *s);
void http_acceptor_end(struct http_server *s);
void http_acceptor_wake(struct http_server *s);
void http_conn_notify(void *cls, struct MHD_Connection *connection, void **socket_context,
                      enum MHD_ConnectionNotificationCode what);
void http_conn_phase(struct http_request *req, enum http_phase phase);
/* The client has been answered while it sends: so long may it go on. */
void http_conn_linger(struct http_request *req);
/* Some of a body has come. */
void http_conn_progress(struct http_request *req, size_t len);
/* Ends what comes or goes in parts and whose token may no more. */
void http_conns_revoke(struct http_server *s);
/* Tells the stream when its client has gone. */
void http_conn_watch(struct http_request *req);
void http_conn_unwatch(struct http_request *req);

/* ---- server.c ---- */
void http_charge(struct http_request *req, uint64_t bytes);
/* Whether something of so many bytes may be in memory, too. */
bool http_memory_has_room(struct http_server *s, uint64_t bytes);

/* ---- listen.c ---- */
void http_listeners_close(struct http_server *s);
/* Nobody finds the Unix sockets any more; who has found them is still accepted. */
void http_listeners_hide(struct http_server *s);

#endif
