/* See server.h and exchange.h. */
#include "cli/mock/server.h"

#include "base/error.h"
#include "base/mem.h"
#include "cli/mock/exchange.h"
#include "loop/loop.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <xxhash.h>

#define CONNECTIONS_MAX 60000
/* Descriptors that are not connections: the loop's, the standard ones, what libmicrohttpd has. */
#define DESCRIPTORS_OWN 64

struct mock_server {
    struct mock_config config;
    struct loop *loop;
    struct MHD_Daemon *daemon;
    struct sim_service *service;
    struct mock_counters counters;
    struct heap waiting; /* by when they are due */
    struct list exchanges;
    size_t exchange_count;
    struct instant end; /* NEVER: until a signal */
    uv_poll_t ready;    /* libmicrohttpd has something to do */
    uv_signal_t signals[2];
};

/* A socket that is watched while its connection is suspended. Lives until its handle is closed,
 * which is later than the exchange. */
struct mock_watch {
    uv_poll_t poll;
    struct mock_exchange *exchange;
};

static struct mock_exchange *of_timer(const struct heap_node *n)
{
    return (struct mock_exchange *)(void *)((char *)(uintptr_t)n -
                                            offsetof(struct mock_exchange, timer));
}

static bool due_before(const struct heap_node *a, const struct heap_node *b)
{
    return instant_before(of_timer(a)->due, of_timer(b)->due);
}

/* ---- waiting ---- */

static void free_watch(uv_handle_t *handle)
{
    mem_free(handle->data);
}

/* Before the connection is resumed: after that its descriptor may be closed and used again. */
static void unwatch(struct mock_exchange *x)
{
    if (!x->watch)
        return;
    uv_close((uv_handle_t *)&x->watch->poll, free_watch);
    x->watch = NULL;
}

static void resume(struct mock_exchange *x, enum mock_state state)
{
    heap_remove(&x->server->waiting, &x->timer);
    unwatch(x);
    x->state = state;
    MHD_resume_connection(x->connection);
}

static void on_gone(uv_poll_t *poll, int status, int events)
{
    struct mock_watch *watch = poll->data;
    struct mock_exchange *x = watch->exchange;

    (void)status;
    (void)events;
    if (x->watch != watch)
        return;
    mock_exchange_leave(x, false);
    resume(x, MOCK_GONE);
}

static bool watch_socket(struct mock_exchange *x)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct mock_watch *watch;

    if (!info)
        return false;
    watch = mem_calloc(1, sizeof *watch);
    if (!watch)
        return false;
    watch->exchange = x;
    if (uv_poll_init(loop_uv(x->server->loop), &watch->poll, info->connect_fd) != 0) {
        mem_free(watch);
        return false;
    }
    watch->poll.data = watch;
    if (uv_poll_start(&watch->poll, UV_DISCONNECT, on_gone) != 0) {
        uv_close((uv_handle_t *)&watch->poll, free_watch);
        return false;
    }
    x->watch = watch;
    return true;
}

bool mock_exchange_wait(struct mock_exchange *x, enum mock_state state, struct instant due)
{
    if (!watch_socket(x))
        return false;
    x->state = state;
    x->due = due;
    /* What hangs is due never: only its client, or the end of the mock, wakes it. */
    if (!instant_is_never(due))
        heap_push(&x->server->waiting, &x->timer);
    MHD_suspend_connection(x->connection);
    return true;
}

void mock_exchange_leave(struct mock_exchange *x, bool answered)
{
    sim_service_leave(x->server->service, loop_clock(), &x->answer, answered);
}

/* ---- exchanges ---- */

static struct mock_exchange *exchange_new(struct mock_server *s, struct MHD_Connection *connection)
{
    struct mock_exchange *x;

    if (!heap_reserve(&s->waiting, s->exchange_count + 1))
        return NULL;
    x = mem_calloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->server = s;
    x->connection = connection;
    heap_node_init(&x->timer);
    list_push_back(&s->exchanges, &x->link);
    s->exchange_count++;
    return x;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **req_cls,
                         enum MHD_RequestTerminationCode how)
{
    struct mock_exchange *x = *req_cls;

    (void)cls;
    (void)connection;
    if (!x)
        return;
    *req_cls = NULL;
    mock_exchange_leave(x, how == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    heap_remove(&x->server->waiting, &x->timer);
    unwatch(x);
    list_remove(&x->link);
    x->server->exchange_count--;
    buf_free(&x->body);
    buf_free(&x->reply.body);
    mem_free(x);
}

static void receive(struct mock_exchange *x, const char *data, size_t len)
{
    if (x->too_large || len > x->server->config.body_bytes_max - x->body.len) {
        x->too_large = true;
        buf_free(&x->body);
        return;
    }
    buf_put(&x->body, data, len);
}

static enum MHD_Result answer_stats(struct mock_exchange *x)
{
    _cleanup_buf_ struct buf body = {0};
    struct sim_stats stats;

    sim_service_stats(x->server->service, loop_clock(), &stats);
    mock_stats_put(&body, &stats, &x->server->counters);
    return mock_deliver_text(x, MHD_HTTP_OK, &body);
}

static enum MHD_Result answer_health(struct mock_exchange *x)
{
    _cleanup_buf_ struct buf body = {0};

    buf_puts(&body, "{\"status\":\"ok\"}");
    return mock_deliver_text(x, MHD_HTTP_OK, &body);
}

static enum MHD_Result answer_too_large(struct mock_exchange *x)
{
    _cleanup_buf_ struct buf body = {0};

    x->server->counters.too_large++;
    mock_error_put(&body, MHD_HTTP_CONTENT_TOO_LARGE, "the body is larger than --body-limit");
    return mock_deliver_text(x, MHD_HTTP_CONTENT_TOO_LARGE, &body);
}

static void see_key(struct mock_exchange *x)
{
    const char *key =
        MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Idempotency-Key");

    if (key)
        mock_keys_see(&x->server->counters.keys, XXH3_64bits(key, strlen(key)));
}

/* The modelled service has the request: what becomes of it? */
static enum MHD_Result arrive(struct mock_exchange *x)
{
    struct mock_server *s = x->server;
    struct instant now = loop_clock();
    struct sim_request request = {.tokens = x->reply.tokens, .identity = x->identity};

    sim_service_arrive(s->service, now, &request, &x->answer);
    if (x->reply.malformed && x->answer.limit == SIM_LIMIT_NONE)
        s->counters.malformed++;
    if (x->answer.latency_ns <= 0)
        return mock_deliver(x);
    return mock_exchange_wait(x, MOCK_WAITING, instant_add(now, x->answer.latency_ns)) ? MHD_YES
                                                                                       : MHD_NO;
}

/* The request is whole. */
static enum MHD_Result decide(struct mock_exchange *x, const char *path, const char *method)
{
    struct mock_server *s = x->server;
    struct mock_call call = {method, path, buf_slice(&x->body)};
    duration_ns travel_ns;

    if (strcmp(method, "GET") == 0 && strcmp(path, "/stats") == 0)
        return answer_stats(x);
    if (strcmp(method, "GET") == 0 && strcmp(path, "/healthz") == 0)
        return answer_health(x);
    if (x->too_large)
        return answer_too_large(x);
    if (x->body.failed || !mock_reply_make(&call, &x->reply))
        return MHD_NO;
    see_key(x);
    x->identity = mock_identity(&call);
    buf_free(&x->body);
    travel_ns = sim_service_travel(s->service);
    if (travel_ns <= 0)
        return arrive(x);
    return mock_exchange_wait(x, MOCK_ON_ITS_WAY, instant_add(loop_clock(), travel_ns)) ? MHD_YES
                                                                                        : MHD_NO;
}

/* libmicrohttpd calls for the head, for each part of the body, for its end, and after a wait. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_len, void **req_cls)
{
    struct mock_exchange *x = *req_cls;

    (void)version;
    if (!x) {
        *req_cls = exchange_new(cls, connection);
        return *req_cls ? MHD_YES : MHD_NO;
    }
    if (*data_len > 0) {
        receive(x, data, *data_len);
        *data_len = 0;
        return MHD_YES;
    }
    switch (x->state) {
    case MOCK_RECEIVING:
        return decide(x, path, method);
    case MOCK_ON_ITS_WAY:
        return arrive(x);
    case MOCK_DUE:
        return mock_deliver(x);
    case MOCK_GONE:
        return MHD_NO;
    case MOCK_WAITING:
    case MOCK_DRIBBLING:
    case MOCK_ANSWERED:
        break;
    }
    return MHD_YES;
}

/* ---- the loop ---- */

static struct instant turn(void *ctx)
{
    struct mock_server *s = ctx;
    struct instant now = loop_clock();
    struct instant next = s->end;
    struct heap_node *first;
    MHD_UNSIGNED_LONG_LONG timeout_ms;

    if (!instant_before(now, s->end))
        loop_stop(s->loop);
    while ((first = heap_first(&s->waiting)) && !instant_before(now, of_timer(first)->due)) {
        struct mock_exchange *x = of_timer(first);

        resume(x, x->state == MOCK_WAITING ? MOCK_DUE : x->state);
    }
    if (MHD_run(s->daemon) != MHD_YES)
        loop_stop(s->loop);
    first = heap_first(&s->waiting);
    if (first)
        next = instant_min(next, of_timer(first)->due);
    if (MHD_get_timeout(s->daemon, &timeout_ms) == MHD_YES)
        next = instant_min(next, instant_add(now, duration_from_ms((int64_t)timeout_ms)));
    return next;
}

/* The turn that follows does the work. */
static void on_ready(uv_poll_t *poll, int status, int events)
{
    (void)poll;
    (void)status;
    (void)events;
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct mock_server *s = handle->data;

    (void)number;
    loop_stop(s->loop);
}

static unsigned connections_max(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 256;
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit raised = {limit.rlim_max, limit.rlim_max};

        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            limit = raised;
    }
    if (limit.rlim_cur >= CONNECTIONS_MAX + DESCRIPTORS_OWN)
        return CONNECTIONS_MAX;
    return limit.rlim_cur > 2 * DESCRIPTORS_OWN ? (unsigned)limit.rlim_cur - DESCRIPTORS_OWN
                                                : DESCRIPTORS_OWN;
}

static enum weir_status start_daemon(struct mock_server *s, struct weir_error *err)
{
    s->daemon =
        MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, s,
                         MHD_OPTION_LISTEN_SOCKET, s->config.listen_fd, MHD_OPTION_NOTIFY_COMPLETED,
                         on_completed, s, MHD_OPTION_CONNECTION_LIMIT, connections_max(),
                         MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
    if (!s->daemon)
        return error_set(err, WEIR_E_IO, "libmicrohttpd cannot serve on this socket");
    s->config.listen_fd = -1; /* libmicrohttpd's now */
    return WEIR_OK;
}

static enum weir_status start_handles(struct mock_server *s, struct weir_error *err)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    uv_loop_t *uv = loop_uv(s->loop);
    int rc = info ? uv_poll_init(uv, &s->ready, info->epoll_fd) : UV_ENOTSUP;

    if (rc == 0) {
        s->ready.data = s;
        rc = uv_poll_start(&s->ready, UV_READABLE, on_ready);
    }
    for (size_t i = 0; rc == 0 && i < 2; i++) {
        rc = uv_signal_init(uv, &s->signals[i]);
        if (rc != 0)
            break;
        s->signals[i].data = s;
        rc = uv_signal_start(&s->signals[i], on_signal, numbers[i]);
    }
    if (rc != 0)
        return error_set(err, WEIR_E_IO, "cannot set up the event loop: %s", uv_strerror(rc));
    return WEIR_OK;
}

enum weir_status mock_server_new(const struct mock_config *config, struct mock_server **ret,
                                 struct weir_error *err)
{
    struct mock_server *s = mem_calloc(1, sizeof *s);
    enum weir_status status;

    if (!s) {
        close(config->listen_fd);
        return error_nomem(err);
    }
    s->config = *config;
    s->end = INSTANT_NEVER;
    list_init(&s->exchanges);
    heap_init(&s->waiting, due_before);
    status = loop_new(&s->loop, turn, s, err);
    if (status == WEIR_OK)
        status = sim_service_new(&config->script, loop_clock(), &s->service, err);
    if (status == WEIR_OK)
        status = start_daemon(s, err);
    if (status == WEIR_OK)
        status = start_handles(s, err);
    if (status != WEIR_OK) {
        mock_server_free(s);
        return status;
    }
    *ret = s;
    return WEIR_OK;
}

enum weir_status mock_server_run(struct mock_server *s, struct weir_error *err)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    /* A client that goes away while it is written to is an error of that write, not of us. */
    if (sigaction(SIGPIPE, &ignore, NULL) != 0)
        return error_set_errno(err, WEIR_E_IO, errno, "cannot ignore SIGPIPE");
    if (s->config.duration_ns > 0)
        s->end = instant_add(loop_clock(), s->config.duration_ns);
    loop_run(s->loop);
    return WEIR_OK;
}

/* libmicrohttpd cannot stop while connections are suspended. */
static void stop_daemon(struct mock_server *s)
{
    list_foreach (node, &s->exchanges) {
        struct mock_exchange *x = list_entry(node, struct mock_exchange, link);

        if (x->watch)
            resume(x, MOCK_GONE);
        else
            x->state = MOCK_GONE;
    }
    MHD_run(s->daemon);
    MHD_stop_daemon(s->daemon);
}

struct mock_server *mock_server_free(struct mock_server *s)
{
    if (!s)
        return NULL;
    if (s->ready.data)
        uv_close((uv_handle_t *)&s->ready, NULL);
    for (size_t i = 0; i < 2; i++) {
        if (s->signals[i].data)
            uv_close((uv_handle_t *)&s->signals[i], NULL);
    }
    if (s->daemon)
        stop_daemon(s);
    loop_free(s->loop);
    if (s->config.listen_fd >= 0)
        close(s->config.listen_fd);
    sim_service_free(s->service);
    mock_keys_free(&s->counters.keys);
    heap_free(&s->waiting);
    return mem_free(s);
}
