/* Making, starting and stopping a server. See http.h and internal.h. */
#include "base/error.h"
#include "base/mem.h"
#include "loop/loop.h"
#include "serve/http/internal.h"

#include <assert.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* Connections beyond the limit that are still told so. */
#define CONNECTIONS_EXTRA 64
/* libmicrohttpd's memory for a connection holds the head and what is read and written; it gives no more than a part of it to each. */
#define POOL_BYTES(head_bytes) (2 * (head_bytes) + 8192)
/* Those that are cut off end on their own threads, if these get to it. */
#define ABORT_MS 200
/* Those that have just connected have so long to say what they want, when the server stops. */
#define NEW_MS       100
#define STOP_POLL_MS 2
/* What is small by this is never refused: as many of it as there may be connections are half of all. Metrics of many pools may
 * be larger. */
#define SMALL_SHARE 8192
#define MIDDLING    16

static void set_defaults(struct http_server_options *o)
{
#define DEFAULT(field, value) o->field = o->field ? o->field : (value)
    DEFAULT(threads, 2);
    DEFAULT(connections_max, 4096);
    DEFAULT(body_bytes_max, UINT64_C(16) << 20);
    DEFAULT(head_bytes_max, (size_t)32 << 10);
    DEFAULT(url_bytes_max, (size_t)8 << 10);
    DEFAULT(memory_bytes_max, UINT64_C(512) << 20);
    DEFAULT(idle_timeout_ns, 60 * NS_PER_S);
    DEFAULT(head_timeout_ns, 10 * NS_PER_S);
    DEFAULT(body_timeout_ns, 30 * NS_PER_S);
    DEFAULT(send_timeout_ns, 60 * NS_PER_S);
#undef DEFAULT
    if (o->rate_burst <= 0)
        o->rate_burst = 2 * o->rate_per_s;
}

enum weir_status http_server_new(const struct http_server_options *o, struct http_server **ret,
                                 struct weir_error *err)
{
    enum weir_status status = http_routes_check(o->routes, o->route_count, err);
    struct http_server *s;

    if (status != WEIR_OK)
        return status;
    s = mem_calloc(1, sizeof *s);
    if (!s)
        return error_nomem(err);
    s->options = *o;
    set_defaults(&s->options);
    s->epoll = s->wake = -1;
    list_init(&s->conns);
    list_init(&s->requests);
    pthread_mutex_init(&s->lock, NULL);
    if (!http_peers_init(&s->peers, o->rate_per_s, s->options.rate_burst, loop_entropy())) {
        http_server_free(s);
        return error_nomem(err);
    }
    *ret = s;
    return WEIR_OK;
}

/* What libmicrohttpd watches itself: a client that takes nothing. The other deadlines are ours (accept.c), and shorter. */
static unsigned idle_seconds(const struct http_server_options *o)
{
    duration_ns longest = o->idle_timeout_ns;

    longest = o->head_timeout_ns > longest ? o->head_timeout_ns : longest;
    longest = o->body_timeout_ns > longest ? o->body_timeout_ns : longest;
    longest = o->send_timeout_ns > longest ? o->send_timeout_ns : longest;
    return longest / NS_PER_S > INT_MAX / 2 ? INT_MAX / 2 : (unsigned)(longest / NS_PER_S) + 2;
}

static enum weir_status start_daemon(struct http_server *s, struct weir_error *err)
{
    const struct http_server_options *o = &s->options;
    /* Each thread alone could have them all: how they are spread is libmicrohttpd's. */
    unsigned limit = (o->connections_max + 2 * CONNECTIONS_EXTRA) * o->threads;

    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME |
            MHD_USE_NO_LISTEN_SOCKET,
        0, NULL, NULL, http_request_on, s, MHD_OPTION_CONNECTION_LIMIT, limit,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, POOL_BYTES(o->head_bytes_max),
        MHD_OPTION_CONNECTION_TIMEOUT, idle_seconds(o), MHD_OPTION_URI_LOG_CALLBACK,
        http_request_first, s, MHD_OPTION_NOTIFY_COMPLETED, http_request_completed, s,
        MHD_OPTION_NOTIFY_CONNECTION, http_conn_notify, s, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        o->threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, o->threads, MHD_OPTION_END);
    if (!s->daemon)
        return error_set(err, WEIR_E_IO, "libmicrohttpd cannot start its threads");
    return WEIR_OK;
}

enum weir_status http_server_start(struct http_server *s, struct weir_error *err)
{
    sigset_t all, before;
    enum weir_status status;

    assert(!s->started);
    if (s->listener_count == 0)
        return error_set(err, WEIR_E_INVALID, "the server listens nowhere");
    /* Signals are for the threads of whoever uses us. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    status = start_daemon(s, err);
    if (status == WEIR_OK) {
        s->started = true;
        status = http_acceptor_start(s, err);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

/* ---- stopping ---- */

static uint64_t open_requests(struct http_server *s)
{
    uint64_t n;

    pthread_mutex_lock(&s->lock);
    n = s->stats.requests_open;
    pthread_mutex_unlock(&s->lock);
    return n;
}

static void wait_for_requests(struct http_server *s, struct instant until)
{
    while (open_requests(s) > 0 && instant_before(loop_clock(), until))
        (void)poll(NULL, 0, STOP_POLL_MS);
}

/* Whether somebody has connected and not asked anything yet: the question may lie in the socket already. */
static bool any_new(struct http_server *s)
{
    bool any = false;

    pthread_mutex_lock(&s->lock);
    list_foreach (node, &s->conns)
        any |= !list_entry(node, struct http_conn, link)->asked;
    pthread_mutex_unlock(&s->lock);
    return any;
}

static void wait_for_new(struct http_server *s, struct instant until)
{
    struct instant patience = instant_add(loop_clock(), duration_from_ms(NEW_MS));

    until = instant_min(until, patience);
    while (any_new(s) && instant_before(loop_clock(), until))
        (void)poll(NULL, 0, STOP_POLL_MS);
}

static void wake_streams(struct http_server *s)
{
    pthread_mutex_lock(&s->lock);
    list_foreach (node, &s->requests) {
        struct http_request *req = list_entry(node, struct http_request, link);

        http_wake(&req->stream);
    }
    pthread_mutex_unlock(&s->lock);
}

/* libmicrohttpd cannot stop while connections are suspended: they go on, and find that all is over. */
static void abort_requests(struct http_server *s)
{
    atomic_store(&s->aborting, true);
    pthread_mutex_lock(&s->lock);
    list_foreach (node, &s->requests)
        http_request_abort(list_entry(node, struct http_request, link));
    pthread_mutex_unlock(&s->lock);
}

/* Whether somebody is not answered yet whose body comes in parts. */
static bool any_body(struct http_server *s)
{
    bool any = false;

    pthread_mutex_lock(&s->lock);
    list_foreach (node, &s->conns) {
        struct http_request *req = list_entry(node, struct http_conn, link)->body;

        if (!req)
            continue;
        pthread_mutex_lock(&req->lock);
        any |= req->on_cut && req->in_parts != HTTP_BODY_OVER &&
               (req->in_parts != HTTP_BODY_CUT || req->held);
        pthread_mutex_unlock(&req->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return any;
}

void http_server_end_bodies(struct http_server *s, duration_ns patience_ns)
{
    struct instant until = instant_add(loop_clock(), patience_ns);

    if (!s->acceptor_runs)
        return;
    atomic_store(&s->ends_bodies, true);
    pthread_mutex_lock(&s->lock);
    list_foreach (node, &s->conns) {
        struct http_conn *c = list_entry(node, struct http_conn, link);

        if (c->body)
            (void)http_cut_wish(c->body, HTTP_CUT_ENDED);
    }
    pthread_mutex_unlock(&s->lock);
    http_acceptor_wake(s);
    while (any_body(s) && instant_before(loop_clock(), until))
        (void)poll(NULL, 0, STOP_POLL_MS);
}

void http_server_stop(struct http_server *s, duration_ns deadline_ns)
{
    struct instant until = instant_add(loop_clock(), deadline_ns);

    if (s->stopped)
        return;
    s->stopped = true;
    http_listeners_hide(s);
    if (s->acceptor_runs)
        http_acceptor_close(s);
    http_listeners_close(s);
    http_server_end_bodies(s, 0);
    atomic_store(&s->stopping, true);
    wake_streams(s);
    if (s->daemon) {
        wait_for_new(s, until);
        wait_for_requests(s, until);
        abort_requests(s);
        wait_for_requests(s, instant_add(loop_clock(), duration_from_ms(ABORT_MS)));
        MHD_stop_daemon(s->daemon);
        s->daemon = NULL;
    }
    if (s->acceptor_runs)
        http_acceptor_end(s);
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    http_server_stop(s, 0);
    assert(list_empty(&s->requests));
    while (!list_empty(&s->conns)) { /* those that libmicrohttpd closed without a word */
        struct http_conn *c = list_entry(list_pop_front(&s->conns), struct http_conn, link);

        mem_free(c);
    }
    mem_free(s->by_fd);
    http_peers_free(&s->peers);
    http_tokens_free(s->tokens);
    if (s->epoll >= 0)
        close(s->epoll);
    if (s->wake >= 0)
        close(s->wake);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

/* ---- tokens, counts ---- */

enum weir_status http_server_set_tokens(struct http_server *s, const struct http_token *tokens,
                                        size_t count, struct weir_error *err)
{
    struct http_tokens *made, *old;
    enum weir_status status = http_tokens_new(tokens, count, &made, err);

    if (status != WEIR_OK)
        return status;
    for (size_t i = 0; count == 0 && i < s->listener_count; i++) {
        if (!s->listeners[i].beyond)
            continue;
        http_tokens_free(made);
        return error_set(
            err, WEIR_E_INVALID,
            "a listener is open beyond loopback, so there must be tokens; set at least one");
    }
    pthread_mutex_lock(&s->lock);
    old = s->tokens;
    s->tokens = made;
    s->tokens_changed++;
    pthread_mutex_unlock(&s->lock);
    http_tokens_free(old);
    http_conns_revoke(s);
    return WEIR_OK;
}

void http_charge(struct http_request *req, uint64_t bytes)
{
    struct http_server *s = req->server;
    uint64_t now = atomic_fetch_add(&s->memory_bytes, bytes) + bytes;
    uint64_t most = atomic_load(&s->memory_bytes_max);

    req->charged_bytes += bytes;
    while (now > most && !atomic_compare_exchange_weak(&s->memory_bytes_max, &most, now))
        ;
}

bool http_memory_has_room(struct http_server *s, uint64_t bytes)
{
    uint64_t max = s->options.memory_bytes_max;

    if (bytes <= max / SMALL_SHARE)
        return true;
    if (bytes <= max / SMALL_SHARE * MIDDLING)
        max *= 2;
    return atomic_load(&s->memory_bytes) < max;
}

void http_server_get_stats(struct http_server *s, struct http_stats *ret)
{
    pthread_mutex_lock(&s->lock);
    *ret = s->stats;
    pthread_mutex_unlock(&s->lock);
    ret->memory_bytes = atomic_load(&s->memory_bytes);
    ret->memory_bytes_max = atomic_load(&s->memory_bytes_max);
}
