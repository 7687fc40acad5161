/*
 * libcurl's sockets as uv polls, its timeout as a uv timer (sockets.h). On the loop's thread.
 *
 * Life of a struct http_socket: made when curl opens a socket (or, for the descriptors that curl's
 * resolver waits on, when it is first asked to be watched), found by its descriptor, freed by the
 * loop after uv_close. It goes before its descriptor does: closing a poll takes its descriptor out
 * of the loop, which must not hit another one that got the same number meanwhile: nobody would
 * hear of that one again.
 *
 * A socket that was never connected curl closes without telling. So it has a poll only when curl
 * first waits for it; and when curl no longer does, the number is looked at: is it still that
 * socket?
 */
#include "exec/http/sockets.h"

#include "base/mem.h"

#include <assert.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct http_socket {
    uv_poll_t poll; /* data: this; with `polled` */
    struct http_sockets *owner;
    int fd;
    ino_t inode;     /* of a connection: which socket it is, whatever its number */
    int wanted;      /* UV_READABLE, UV_WRITABLE: what curl waits for; 0: nothing */
    int armed;       /* what the loop watches */
    bool polled;     /* it is a handle of the loop */
    bool connection; /* curl tells when it closes it, so its poll may outlive a transfer */
    bool connected;  /* that is so: one that was never connected is closed without a word */
};

static struct http_socket *find(struct http_sockets *s, curl_socket_t fd)
{
    return fd >= 0 && (size_t)fd < s->by_fd_count ? s->by_fd[fd] : NULL;
}

static bool make_room(struct http_sockets *s, size_t count)
{
    size_t cap = s->by_fd_count ? s->by_fd_count : 64;
    struct http_socket **grown;

    if (count <= s->by_fd_count)
        return true;
    while (cap < count)
        cap *= 2;
    grown = mem_realloc(s->by_fd, cap * sizeof(struct http_socket *));
    if (!grown)
        return false;
    for (size_t i = s->by_fd_count; i < cap; i++)
        grown[i] = NULL;
    s->by_fd = grown;
    s->by_fd_count = cap;
    return true;
}

static struct http_socket *track(struct http_sockets *s, curl_socket_t fd, bool connection)
{
    struct http_socket *sock;

    assert(fd >= 0 && !find(s, fd));
    if (!make_room(s, (size_t)fd + 1))
        return NULL;
    sock = mem_calloc(1, sizeof(*sock));
    if (!sock)
        return NULL;
    sock->owner = s;
    sock->fd = fd;
    sock->connection = connection;
    s->by_fd[fd] = sock;
    return sock;
}

static void handle_closed(struct http_sockets *s)
{
    assert(s->handles_open > 0);
    s->handles_open--;
    if (s->closing && s->handles_open == 0) {
        s->by_fd = mem_free(s->by_fd);
        s->by_fd_count = 0;
        s->closed(s->ctx);
    }
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct http_socket *sock = handle->data;
    struct http_sockets *s = sock->owner;

    mem_free(sock);
    handle_closed(s);
}

static void untrack(struct http_socket *sock)
{
    assert(sock->owner->by_fd[sock->fd] == sock);
    sock->owner->by_fd[sock->fd] = NULL;
    sock->wanted = 0;
    if (sock->polled)
        uv_close((uv_handle_t *)&sock->poll, on_poll_closed);
    else
        mem_free(sock);
}

/* One call into curl, and then what its owner does about transfers that it ended. */
static void act(struct http_sockets *s, curl_socket_t fd, int flags)
{
    int running;

    assert(!s->in_curl);
    s->in_curl = true;
    /* It fails only for a handle or a socket that curl does not know (any more). */
    (void)curl_multi_socket_action(s->multi, fd, flags, &running);
    s->in_curl = false;
}

static void arm(struct http_socket *sock);

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct http_socket *sock = poll->data;
    struct http_sockets *s = sock->owner;
    int flags = 0;

    if (status < 0) {
        sock->armed = 0; /* on an error the loop has stopped watching by itself */
        /*
         * Not CURL_CSELECT_ERR: that makes curl give up without a read, and an answer that came
         * before the reset (a refusal by a service that does not want the rest of the body) would
         * be lost. It finds the error by itself, and says which.
         */
        events = sock->wanted;
        if (events & UV_WRITABLE)
            events |= UV_READABLE;
    }
    if (!sock->wanted) {
        /* An idle connection was closed from over there, or says something that nobody asked for.
         * curl looks at it when it wants to use it again. */
        sock->armed = 0;
        uv_poll_stop(poll);
        return;
    }
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    act(s, sock->fd, flags);
    /* Still ours to look at: what was closed meanwhile is freed in a later phase of the loop. */
    if (sock->wanted && sock->armed != sock->wanted)
        arm(sock);
    s->turned(s->ctx);
}

static bool make_poll(struct http_socket *sock)
{
    if (!sock->polled && uv_poll_init_socket(sock->owner->loop, &sock->poll, sock->fd) == 0) {
        sock->poll.data = sock;
        sock->polled = true;
        sock->owner->handles_open++;
    }
    return sock->polled;
}

/* Makes the loop watch for what curl wants, with no call into the system where it does already. */
static void arm(struct http_socket *sock)
{
    /* On failure, here and below, the transfer hears nothing and is ended by its attempt's timeout. */
    if (sock->armed == sock->wanted || !make_poll(sock))
        return;
    sock->armed = uv_poll_start(&sock->poll, sock->wanted, on_poll) == 0 ? sock->wanted : 0;
}

/* Its number may be somebody else's by now. */
static bool was_closed(const struct http_socket *sock)
{
    struct stat now;

    return fstat(sock->fd, &now) != 0 || now.st_ino != sock->inode;
}

/* No transfer waits for it. */
static void let_be(struct http_socket *sock)
{
    if (!sock->connection || (!sock->connected && was_closed(sock))) {
        untrack(sock);
        return;
    }
    sock->connected = true;
    if (!sock->polled)
        return;
    /* Idle: no reason for the loop to live on, and a writable socket would never be quiet. */
    uv_unref((uv_handle_t *)&sock->poll);
    if (sock->armed & UV_WRITABLE) {
        uv_poll_stop(&sock->poll);
        sock->armed = 0;
    }
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *ignored)
{
    struct http_sockets *s = ctx;
    struct http_socket *sock = find(s, fd);
    int wanted = 0;

    (void)easy;
    (void)ignored;
    if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
        wanted |= UV_READABLE;
    if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
        wanted |= UV_WRITABLE;
    if (!sock && wanted)
        sock = track(s, fd, false);
    /* Saying -1 would end every transfer of the multi handle. Without memory this one waits for
     * its connect timeout instead. */
    if (!sock)
        return 0;
    sock->wanted = wanted;
    if (!wanted) {
        let_be(sock);
        return 0;
    }
    arm(sock);
    if (sock->polled)
        uv_ref((uv_handle_t *)&sock->poll);
    return 0;
}

static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct http_sockets *s = ctx;
    struct http_socket *sock;
    struct stat made;
    int fd;

    (void)purpose;
    fd = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                address->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    /* Closed without telling, before curl had waited for it. */
    if (find(s, fd))
        untrack(find(s, fd));
    sock = fstat(fd, &made) == 0 ? track(s, fd, true) : NULL;
    if (!sock) {
        close(fd);
        return CURL_SOCKET_BAD;
    }
    sock->inode = made.st_ino;
    s->opened++;
    return fd;
}

static int on_close(void *ctx, curl_socket_t fd)
{
    struct http_socket *sock = find(ctx, fd);

    if (sock)
        untrack(sock);
    return close(fd);
}

static void on_timer(uv_timer_t *timer)
{
    http_sockets_run(timer->data);
}

static int on_timeout(CURLM *multi, long timeout_ms, void *ctx)
{
    struct http_sockets *s = ctx;

    (void)multi;
    if (s->closing)
        return 0;
    if (timeout_ms < 0)
        uv_timer_stop(&s->timer);
    else
        uv_timer_start(&s->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

void http_sockets_init(struct http_sockets *s, uv_loop_t *loop, CURLM *multi,
                       void (*turned)(void *ctx), void (*closed)(void *ctx), void *ctx)
{
    *s = (struct http_sockets){
        .loop = loop, .multi = multi, .turned = turned, .closed = closed, .ctx = ctx};
    uv_timer_init(loop, &s->timer); /* cannot fail */
    s->timer.data = s;
    s->handles_open = 1;
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, s);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timeout);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, s);
}

CURLcode http_sockets_adopt(struct http_sockets *s, CURL *easy)
{
    CURLcode code = curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);

    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, s);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, s);
    return code;
}

void http_sockets_run(struct http_sockets *s)
{
    act(s, CURL_SOCKET_TIMEOUT, 0);
    s->turned(s->ctx);
}

static void on_timer_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

void http_sockets_close(struct http_sockets *s)
{
    assert(!s->closing && !s->in_curl);
    s->closing = true;
    for (size_t fd = 0; fd < s->by_fd_count; fd++) {
        if (s->by_fd[fd])
            untrack(s->by_fd[fd]);
    }
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}
