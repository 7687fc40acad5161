/*
 * The thread that accepts connections and watches over them. See internal.h.
 *
 * libmicrohttpd is given accepted sockets, so one server can listen in several places, and one
 * connection too many can be told so. It has one timeout, for silence; a client that sends a byte
 * now and then would hold a connection for ever. So each phase of a connection has a deadline here,
 * and what is late is shut down; libmicrohttpd then finds the end of it.
 *
 * While a stream waits, libmicrohttpd does not look at its socket. It is in this thread's epoll set
 * then, so that a client that goes away is noticed at once and not with the next byte for it.
 */
#include "base/error.h"
#include "base/mem.h"
#include "loop/loop.h"
#include "serve/http/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* How often deadlines are looked at; and for how long nothing is accepted when there are no descriptors. */
#define SWEEP_MS             100
#define EVENTS_MAX           64
#define ACCEPTED_AT_ONCE_MAX 64
/* So often at the end: more than a whole queue of a listener. */
#define LAST_TIMES        20
#define BODY_STEP_BYTES   ((uint64_t)16 << 10)
#define CONNECTIONS_EXTRA 64
/* A body in parts is sent as it comes into being: a line now and then. */
#define PARTS_PATIENCE 10
/* The last words of a server that stops take so long to be read. */
#define LINGER_MS 300

/* What an event is of: the wake-up, a listener, or a connection by its descriptor and generation. */
#define TAG_WAKE     UINT64_MAX
#define TAG_LISTENER (UINT64_C(1) << 63)

static uint64_t tag_of(const struct http_conn *c)
{
    return (uint64_t)(c->generation & 0x7fffffff) << 32 | (uint32_t)c->fd;
}

/* ---- connections; under the lock ---- */

static bool by_fd_reserve(struct http_server *s, int fd)
{
    size_t count = s->by_fd_count ? s->by_fd_count : 256;
    struct http_conn **grown;

    if ((size_t)fd < s->by_fd_count)
        return true;
    while (count <= (size_t)fd)
        count *= 2;
    grown = mem_realloc(s->by_fd, count * sizeof(struct http_conn *));
    if (!grown)
        return false;
    memset(grown + s->by_fd_count, 0, (count - s->by_fd_count) * sizeof(struct http_conn *));
    s->by_fd = grown;
    s->by_fd_count = count;
    return true;
}

static void forget(struct http_server *s, struct http_conn *c)
{
    s->by_fd[c->fd] = NULL;
    list_remove(&c->link);
    s->stats.connections_open--;
    mem_free(c);
}

static void name_peer(struct http_conn *c, const struct sockaddr_storage *addr)
{
    char text[INET6_ADDRSTRLEN] = "";

    if (addr->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)addr;

        inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
        snprintf(c->peer, sizeof c->peer, "%s:%u", text, ntohs(in->sin_port));
        c->addr.low = UINT64_C(0xffff00000000) | ntohl(in->sin_addr.s_addr);
        return;
    }
    if (addr->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;

        inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof text);
        snprintf(c->peer, sizeof c->peer, "[%s]:%u", text, ntohs(in6->sin6_port));
        memcpy(&c->addr.high, in6->sin6_addr.s6_addr, sizeof c->addr.high);
        return;
    }
    snprintf(c->peer, sizeof c->peer, "unix");
}

/* NULL: it is refused: no memory, or even more than those that are told so. */
static struct http_conn *admit(struct http_server *s, int fd, bool tcp,
                               const struct sockaddr_storage *addr)
{
    unsigned max = s->options.connections_max;
    struct http_conn *c;

    if (!by_fd_reserve(s, fd))
        return NULL;
    if (s->by_fd[fd]) /* libmicrohttpd could not even begin with it, and closed it without a word */
        forget(s, s->by_fd[fd]);
    if (s->stats.connections_open >= max + CONNECTIONS_EXTRA)
        return NULL;
    c = mem_calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->fd = fd;
    c->tcp = tcp;
    c->generation = ++s->generation;
    c->extra = s->stats.connections_open >= max;
    c->phase = HTTP_IDLE;
    c->deadline = instant_add(loop_clock(), s->options.head_timeout_ns);
    name_peer(c, addr);
    s->by_fd[fd] = c;
    list_push_back(&s->conns, &c->link);
    s->stats.connections++;
    s->stats.connections_refused += c->extra;
    s->stats.connections_open++;
    return c;
}

/* ---- accepting ---- */

static void say_and_close(int fd, const char *text)
{
    (void)send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    close(fd);
}

static void take(struct http_server *s, const struct http_listener *l, int fd,
                 const struct sockaddr_storage *addr, socklen_t len)
{
    static const char full[] =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\n"
        "Connection: close\r\n\r\n";
    struct sockaddr_un unnamed = {.sun_family = AF_UNIX};
    struct http_conn *c;

    pthread_mutex_lock(&s->lock);
    c = admit(s, fd, l->tcp, addr);
    if (!c)
        s->stats.connections_refused++;
    pthread_mutex_unlock(&s->lock);
    if (!c) {
        say_and_close(fd, full);
        return;
    }
    if (MHD_add_connection(s->daemon, fd,
                           l->tcp ? (const struct sockaddr *)addr : (struct sockaddr *)&unnamed,
                           l->tcp ? len : (socklen_t)sizeof unnamed) == MHD_YES)
        return;
    pthread_mutex_lock(&s->lock);
    if ((size_t)fd < s->by_fd_count && s->by_fd[fd] == c)
        forget(s, c);
    pthread_mutex_unlock(&s->lock);
}

/* False: there are no descriptors left. */
static bool accept_some(struct http_server *s, const struct http_listener *l)
{
    for (unsigned i = 0; i < ACCEPTED_AT_ONCE_MAX; i++) {
        struct sockaddr_storage addr = {0};
        socklen_t len = sizeof addr;
        int fd = accept4(l->fd, (struct sockaddr *)&addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0)
            take(s, l, fd, &addr, len);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            return false;
        else if (errno != EINTR && errno != ECONNABORTED)
            break;
    }
    return true;
}

static void listen_to(struct http_server *s, uint32_t events)
{
    for (size_t i = 0; i < s->listener_count; i++) {
        struct epoll_event ev = {.events = events, .data.u64 = TAG_LISTENER | i};

        (void)epoll_ctl(s->epoll, EPOLL_CTL_MOD, s->listeners[i].fd, &ev);
    }
}

/* ---- deadlines ---- */

static void end_late(struct http_conn *c)
{
    static const char late[] =
        "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

    /* Nobody else writes while a request comes in. To one of whom nothing is known, silence is kept. */
    if (c->phase == HTTP_RECEIVING || c->phase == HTTP_HEAD)
        (void)send(c->fd, late, sizeof late - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(c->fd, SHUT_RDWR);
    c->deadline = INSTANT_NEVER;
}

static duration_ns body_time(const struct http_server *s, const struct http_request *req)
{
    return s->options.body_timeout_ns * (req->on_data ? PARTS_PATIENCE : 1);
}

/* Whoever takes a body in parts has a say. Under the lock. */
static void on_late(struct http_server *s, struct http_conn *c, struct instant now)
{
    if (c->body && http_cut_wish(c->body, HTTP_CUT_LATE))
        c->deadline = instant_add(now, body_time(s, c->body));
    else
        end_late(c);
}

static void sweep(struct http_server *s)
{
    struct instant now = loop_clock();

    pthread_mutex_lock(&s->lock);
    list_foreach (node, &s->conns) {
        struct http_conn *c = list_entry(node, struct http_conn, link);

        if (!instant_before(now, c->deadline))
            on_late(s, c, now);
    }
    pthread_mutex_unlock(&s->lock);
}

/* ---- clients that go away ---- */

/* Under the lock. What it has still to send is not sent. */
static void end_stream(struct http_request *req)
{
    pthread_mutex_lock(&req->lock);
    req->stream.gone = true;
    pthread_mutex_unlock(&req->lock);
    http_wake(&req->stream);
}

static void on_gone(struct http_server *s, uint64_t tag)
{
    size_t fd = (uint32_t)tag;
    struct http_conn *c;

    pthread_mutex_lock(&s->lock);
    c = fd < s->by_fd_count ? s->by_fd[fd] : NULL;
    if (c && tag_of(c) == tag && c->stream)
        end_stream(c->stream);
    pthread_mutex_unlock(&s->lock);
}

void http_conns_revoke(struct http_server *s)
{
    pthread_mutex_lock(&s->lock);
    list_foreach (node, &s->conns) {
        struct http_conn *c = list_entry(node, struct http_conn, link);

        if (c->stream && http_guard_revoked(c->stream))
            end_stream(c->stream);
        if (c->body && http_guard_revoked(c->body))
            (void)http_cut_wish(c->body, HTTP_CUT_TOKEN);
    }
    pthread_mutex_unlock(&s->lock);
    if (s->acceptor_runs)
        http_acceptor_wake(s);
}

void http_conn_watch(struct http_request *req)
{
    struct http_server *s = req->server;
    struct http_conn *c = req->conn;
    struct epoll_event ev = {.events = EPOLLRDHUP, .data.u64 = tag_of(c)};

    ev.events |= EPOLLONESHOT;
    pthread_mutex_lock(&s->lock);
    c->stream = req;
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, c->fd, &ev) != 0 && errno == EEXIST)
        (void)epoll_ctl(s->epoll, EPOLL_CTL_MOD, c->fd, &ev);
    if (http_guard_revoked(req)) /* since it was let in */
        end_stream(req);
    pthread_mutex_unlock(&s->lock);
}

void http_conn_unwatch(struct http_request *req)
{
    struct http_server *s = req->server;

    pthread_mutex_lock(&s->lock);
    if (req->conn && req->conn->stream == req) {
        req->conn->stream = NULL;
        (void)epoll_ctl(s->epoll, EPOLL_CTL_DEL, req->conn->fd, NULL);
    }
    pthread_mutex_unlock(&s->lock);
}

/* ---- the life of a connection ---- */

static int fd_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    return info ? info->connect_fd : -1;
}

void http_conn_notify(void *cls, struct MHD_Connection *connection, void **socket_context,
                      enum MHD_ConnectionNotificationCode what)
{
    struct http_server *s = cls;
    int fd = fd_of(connection);

    pthread_mutex_lock(&s->lock);
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        *socket_context = fd >= 0 && (size_t)fd < s->by_fd_count ? s->by_fd[fd] : NULL;
    } else if (*socket_context) {
        forget(s, *socket_context);
        *socket_context = NULL;
    }
    pthread_mutex_unlock(&s->lock);
}

static duration_ns time_for(const struct http_request *req, enum http_phase phase)
{
    const struct http_server *s = req->server;

    switch (phase) {
    case HTTP_IDLE:
        return s->options.idle_timeout_ns;
    case HTTP_HEAD:
        return s->options.head_timeout_ns;
    case HTTP_RECEIVING:
        return body_time(s, req);
    case HTTP_SENDING:
        return s->options.send_timeout_ns;
    case HTTP_WORK:
        break;
    }
    return INT64_MAX;
}

void http_conn_phase(struct http_request *req, enum http_phase phase)
{
    struct http_server *s = req->server;
    duration_ns time_ns = time_for(req, phase);

    if (!req->conn)
        return;
    pthread_mutex_lock(&s->lock);
    req->conn->phase = phase;
    req->conn->asked = true;
    req->conn->progress_bytes = 0;
    req->conn->deadline = time_ns == INT64_MAX ? INSTANT_NEVER : instant_add(loop_clock(), time_ns);
    pthread_mutex_unlock(&s->lock);
}

void http_conn_progress(struct http_request *req, size_t len)
{
    uint64_t before = req->conn ? req->conn->progress_bytes : 0;

    /* Only its own thread counts; the lock is for the deadline. */
    if (!req->conn)
        return;
    if (req->on_data || before + len >= BODY_STEP_BYTES)
        http_conn_phase(req, HTTP_RECEIVING);
    else
        req->conn->progress_bytes = before + len;
}

void http_conn_linger(struct http_request *req)
{
    struct http_server *s = req->server;
    duration_ns time_ns =
        atomic_load(&s->ends_bodies) ? duration_from_ms(LINGER_MS) : body_time(s, req);

    pthread_mutex_lock(&s->lock);
    pthread_mutex_lock(&req->lock);
    if (!req->completed && req->conn)
        req->conn->deadline = instant_add(loop_clock(), time_ns);
    pthread_mutex_unlock(&req->lock);
    pthread_mutex_unlock(&s->lock);
}

/* ---- the thread ---- */

static void turn(struct http_server *s, const struct epoll_event *events, int count, bool *paused)
{
    for (int i = 0; i < count; i++) {
        uint64_t tag = events[i].data.u64;
        size_t which = (size_t)(tag & ~TAG_LISTENER);

        if (tag == TAG_WAKE) {
            uint64_t times;

            (void)!read(s->wake, &times, sizeof times);
            continue;
        }
        if (!(tag & TAG_LISTENER)) {
            on_gone(s, tag);
        } else if (atomic_load(&s->accepting) == HTTP_ACCEPTING && !*paused &&
                   !accept_some(s, &s->listeners[which])) {
            *paused = true;
            listen_to(s, 0);
        }
    }
}

/* Who waits to be accepted would find the connection reset, without a word. */
static void accept_last(struct http_server *s)
{
    for (size_t i = 0; i < s->listener_count; i++) {
        for (unsigned times = 0; times < LAST_TIMES; times++)
            (void)accept_some(s, &s->listeners[i]);
        (void)epoll_ctl(s->epoll, EPOLL_CTL_DEL, s->listeners[i].fd, NULL);
    }
}

static void *acceptor(void *arg)
{
    struct http_server *s = arg;
    struct epoll_event events[EVENTS_MAX];
    struct instant next = instant_add(loop_clock(), duration_from_ms(SWEEP_MS));
    bool paused = false;

    while (!atomic_load(&s->acceptor_ends)) {
        int count = epoll_wait(s->epoll, events, EVENTS_MAX, SWEEP_MS);

        if (count > 0)
            turn(s, events, count, &paused);
        if (atomic_load(&s->accepting) == HTTP_ACCEPTS_NO_MORE) {
            accept_last(s);
            atomic_store(&s->accepting, HTTP_ACCEPTED_ALL);
        }
        http_cuts_run(s);
        if (instant_before(loop_clock(), next))
            continue;
        next = instant_add(loop_clock(), duration_from_ms(SWEEP_MS));
        sweep(s);
        if (paused && atomic_load(&s->accepting) == HTTP_ACCEPTING)
            listen_to(s, EPOLLIN);
        paused = false;
    }
    return NULL;
}

static bool epoll_add(struct http_server *s, int fd, uint64_t tag)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = tag};

    return epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev) == 0;
}

enum weir_status http_acceptor_start(struct http_server *s, struct weir_error *err)
{
    bool added;

    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->epoll < 0 || s->wake < 0)
        return error_set_errno(err, WEIR_E_IO, errno, "cannot make an epoll set");
    added = epoll_add(s, s->wake, TAG_WAKE);
    for (size_t i = 0; added && i < s->listener_count; i++)
        added = epoll_add(s, s->listeners[i].fd, TAG_LISTENER | i);
    if (!added)
        return error_set_errno(err, WEIR_E_IO, errno, "cannot watch the sockets");
    if (pthread_create(&s->acceptor, NULL, acceptor, s) != 0)
        return error_set(err, WEIR_E_IO, "cannot start a thread");
    s->acceptor_runs = true;
    return WEIR_OK;
}

void http_acceptor_wake(struct http_server *s)
{
    uint64_t one = 1;

    (void)!write(s->wake, &one, sizeof one);
}

void http_acceptor_close(struct http_server *s)
{
    atomic_store(&s->accepting, HTTP_ACCEPTS_NO_MORE);
    http_acceptor_wake(s);
    while (atomic_load(&s->accepting) != HTTP_ACCEPTED_ALL)
        (void)poll(NULL, 0, 1);
}

void http_acceptor_end(struct http_server *s)
{
    atomic_store(&s->acceptor_ends, true);
    http_acceptor_wake(s);
    pthread_join(s->acceptor, NULL);
    s->acceptor_runs = false;
}
