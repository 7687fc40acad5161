/* Opening the sockets that a server accepts on. See http.h. */
#include "base/error.h"
#include "base/mem.h"
#include "serve/http/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 1024

static bool is_loopback(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)a;

        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)a;

        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
            return in6->sin6_addr.s6_addr[12] == 127;
        return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
    }
    return true;
}

/* Takes the descriptor over. */
static enum weir_status add(struct http_server *s, int fd, struct weir_error *err)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr, option_len = sizeof(int);
    struct http_listener *l;
    int listening = 0;
    enum weir_status status = WEIR_OK;

    if (getsockname(fd, (struct sockaddr *)&addr, &len) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &option_len) != 0)
        status = error_set_errno(err, WEIR_E_INVALID, errno, "descriptor %d is no socket", fd);
    else if (!listening)
        status = error_set(err, WEIR_E_INVALID, "the socket on descriptor %d does not listen", fd);
    else if (s->started)
        status = error_set(err, WEIR_E_INVALID, "the server has been started; listen before that");
    else if (s->listener_count == HTTP_LISTENERS_MAX)
        status = error_set(err, WEIR_E_LIMIT, "there are %d listeners, and no more are possible",
                           HTTP_LISTENERS_MAX);
    else if (!is_loopback(&addr) && http_tokens_count(s->tokens) == 0)
        status =
            error_set(err, WEIR_E_INVALID,
                      "listening beyond loopback needs tokens, so that not everybody may command; "
                      "set tokens, or listen on 127.0.0.1 or a Unix socket");
    else if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0 ||
             fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        status = error_set_errno(err, WEIR_E_IO, errno,
                                 "cannot prepare the socket on descriptor %d", fd);
    if (status != WEIR_OK) {
        close(fd);
        return status;
    }
    l = &s->listeners[s->listener_count++];
    *l = (struct http_listener){
        .fd = fd, .tcp = addr.ss_family != AF_UNIX, .beyond = !is_loopback(&addr)};
    return WEIR_OK;
}

enum weir_status http_server_listen_fd(struct http_server *s, int fd, struct weir_error *err)
{
    return add(s, fd, err);
}

/* ---- Unix sockets ---- */

/* Whether somebody answers on it. */
static bool is_alive(const struct sockaddr_un *addr)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool alive;

    if (fd < 0)
        return true; /* not known: nothing of another's is removed */
    alive = connect(fd, (const struct sockaddr *)addr, sizeof *addr) == 0 || errno == EAGAIN;
    close(fd);
    return alive;
}

/* Out of the way goes only a socket that nobody listens on. */
static enum weir_status clear_stale(const struct sockaddr_un *addr, struct weir_error *err)
{
    struct stat st;

    if (lstat(addr->sun_path, &st) != 0) {
        if (errno == ENOENT)
            return WEIR_OK;
        return error_set_errno(err, WEIR_E_IO, errno, "cannot look at '%s'", addr->sun_path);
    }
    if (!S_ISSOCK(st.st_mode))
        return error_set(err, WEIR_E_CONFLICT,
                         "'%s' is there and is no socket; move it away, or name another",
                         addr->sun_path);
    if (is_alive(addr))
        return error_set(
            err, WEIR_E_BUSY,
            "somebody listens on '%s' already; stop that process, or name another socket",
            addr->sun_path);
    if (unlink(addr->sun_path) != 0 && errno != ENOENT)
        return error_set_errno(err, WEIR_E_IO, errno,
                               "cannot remove the socket '%s' that a dead process left",
                               addr->sun_path);
    return WEIR_OK;
}

/* A file system without hard links. */
static bool no_links(int errnum)
{
    return errnum == EPERM || errnum == EOPNOTSUPP || errnum == ENOSYS;
}

/*
 * The socket is made beside its place under a name of its own, gets its mode and its queue, and is
 * then linked into place: so nobody can connect before the mode is right, and of two that start at
 * once one is told so.
 */
static enum weir_status bind_unix(int fd, const struct sockaddr_un *addr, mode_t mode,
                                  struct weir_error *err)
{
    struct sockaddr_un own = {.sun_family = AF_UNIX};
    int n = snprintf(own.sun_path, sizeof own.sun_path, "%s.%d", addr->sun_path, (int)getpid());
    enum weir_status status = WEIR_OK;

    if (n < 0 || (size_t)n >= sizeof own.sun_path)
        return error_set(err, WEIR_E_INVALID, "the path of the socket '%s' is too long",
                         addr->sun_path);
    if (unlink(own.sun_path) != 0 && errno != ENOENT)
        return error_set_errno(err, WEIR_E_IO, errno, "cannot remove '%s'", own.sun_path);
    if (bind(fd, (struct sockaddr *)&own, sizeof own) != 0)
        return error_set_errno(err, WEIR_E_IO, errno, "cannot make the socket '%s'",
                               addr->sun_path);
    if (chmod(own.sun_path, mode) != 0 || listen(fd, BACKLOG) != 0)
        status = error_set_errno(err, WEIR_E_IO, errno, "cannot listen on the socket '%s'",
                                 addr->sun_path);
    if (status == WEIR_OK)
        status = clear_stale(addr, err);
    if (status == WEIR_OK && link(own.sun_path, addr->sun_path) != 0 &&
        !(no_links(errno) && rename(own.sun_path, addr->sun_path) == 0))
        status = error_set_errno(err, errno == EEXIST ? WEIR_E_BUSY : WEIR_E_IO, errno,
                                 "cannot put the socket '%s' in its place", addr->sun_path);
    unlink(own.sun_path);
    return status;
}

enum weir_status http_server_listen_unix(struct http_server *s, const char *path, mode_t mode,
                                         struct weir_error *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct http_listener *l;
    enum weir_status status;
    struct stat st;
    char *copy;
    int fd;

    if (!path[0] || strlen(path) > sizeof addr.sun_path - 12)
        return error_set(err, WEIR_E_INVALID,
                         "the path of a socket has 1 to %zu bytes; '%.120s' has %zu",
                         sizeof addr.sun_path - 12, path, strlen(path));
    memcpy(addr.sun_path, path, strlen(path));
    copy = mem_strdup(path);
    if (!copy)
        return error_nomem(err);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        mem_free(copy);
        return error_set_errno(err, WEIR_E_IO, errno, "cannot make a socket");
    }
    status = clear_stale(&addr, err);
    if (status == WEIR_OK)
        status = bind_unix(fd, &addr, mode, err);
    if (status != WEIR_OK) {
        close(fd);
        mem_free(copy);
        return status;
    }
    if (stat(path, &st) != 0)
        memset(&st, 0, sizeof st);
    status = add(s, fd, err);
    if (status != WEIR_OK) {
        unlink(path);
        mem_free(copy);
        return status;
    }
    l = &s->listeners[s->listener_count - 1];
    l->path = copy;
    l->device = st.st_dev;
    l->inode = st.st_ino;
    return WEIR_OK;
}

/* ---- TCP ---- */

static int bind_tcp(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    int on = 1, saved;

    if (fd < 0)
        return -1;
    if (a->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr;

    if (getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
        return 0;
    return ntohs(addr.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&addr)->sin6_port
                                            : ((struct sockaddr_in *)&addr)->sin_port);
}

enum weir_status http_server_listen_tcp(struct http_server *s, const char *host, uint16_t port,
                                        uint16_t *ret_port, struct weir_error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    enum weir_status status;
    char service[8];
    uint16_t bound;
    int fd = -1, rc;

    if (!host || !host[0])
        host = "127.0.0.1";
    snprintf(service, sizeof service, "%u", port);
    rc = getaddrinfo(host, service, &hints, &found);
    if (rc != 0)
        return error_set(err, WEIR_E_INVALID, "cannot listen on '%s': %s", host, gai_strerror(rc));
    for (const struct addrinfo *a = found; a && fd < 0; a = a->ai_next)
        fd = bind_tcp(a);
    freeaddrinfo(found);
    if (fd < 0)
        return error_set_errno(err, errno == EADDRINUSE ? WEIR_E_BUSY : WEIR_E_IO, errno,
                               "cannot listen on %s port %u", host, port);
    bound = port_of(fd);
    status = add(s, fd, err);
    if (status == WEIR_OK && ret_port)
        *ret_port = bound;
    return status;
}

/* Only a file that is still ours goes. */
static void remove_file(const struct http_listener *l)
{
    struct stat st;

    if (lstat(l->path, &st) == 0 && st.st_dev == l->device && st.st_ino == l->inode)
        (void)unlink(l->path);
}

void http_listeners_hide(struct http_server *s)
{
    for (size_t i = 0; i < s->listener_count; i++) {
        struct http_listener *l = &s->listeners[i];

        if (l->path)
            remove_file(l);
        l->path = mem_free(l->path);
    }
}

void http_listeners_close(struct http_server *s)
{
    http_listeners_hide(s);
    for (size_t i = 0; i < s->listener_count; i++) {
        struct http_listener *l = &s->listeners[i];

        if (l->fd >= 0)
            close(l->fd);
        l->fd = -1;
    }
}
