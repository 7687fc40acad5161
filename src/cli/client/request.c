#include "cli/client/request.h"

#include "base/error.h"
#include "base/json.h"
#include "cli/client/problem.h"
#include "cli/commands.h"
#include "serve/config/config.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>
#include <unistd.h>

/* Where systemd has the daemon listen (examples/systemd/weir.service): nothing else tells a client of that. */
#define SYSTEM_SOCKET   "/run/weir/weir.sock"
#define TOKEN_BYTES_MAX 4096
#define BODY_BYTES_MAX  ((size_t)1 << 30)
/* To connect; an answer may take as long as it does. */
#define CONNECT_S 10L

/* ---- where ---- */

static enum weir_status set_unix(struct client *c, const char *path, struct weir_error *err)
{
    struct sockaddr_un address;

    if (path[0] == '\0')
        return error_set(err, WEIR_E_INVALID, "unix: needs a path: unix:/run/weir/weir.sock");
    if (strlen(path) >= sizeof address.sun_path)
        return error_set(err, WEIR_E_INVALID, "a socket's path has at most %zu bytes: %.200s",
                         sizeof address.sun_path - 1, path);
    buf_puts(&c->socket, path);
    buf_puts(&c->base, "http://localhost");
    return WEIR_OK;
}

/* Names that stand for this machine: a token does not leave it. host: what stands behind it too, from its port on. */
static bool is_loopback(const char *host)
{
    size_t len = strcspn(host, ":/");
    char name[sizeof "255.255.255.255"];
    struct in_addr address;

    if (strncmp(host, "[::1]", 5) == 0)
        return host[5] == '\0' || host[5] == ':' || host[5] == '/';
    if (len >= sizeof name)
        return false;
    memcpy(name, host, len);
    name[len] = '\0';
    if (strcasecmp(name, "localhost") == 0)
        return true;
    /* Not what merely begins so, as 127.example.com does. */
    return inet_pton(AF_INET, name, &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

static enum weir_status set_url(struct client *c, const char *url, struct weir_error *err)
{
    bool tls = strncmp(url, "https://", 8) == 0;
    const char *host = url + (tls ? 8 : 7);
    size_t len = strlen(url);

    if (strpbrk(host, "@?# \t") || host[0] == '\0')
        return error_set(err, WEIR_E_INVALID,
                         "is not an address; write it as unix:PATH or http://HOST:PORT (a token "
                         "goes into --token-file)");
    while (len > 0 && url[len - 1] == '/')
        len--;
    buf_put(&c->base, url, len);
    c->in_clear = !tls && !is_loopback(host);
    return WEIR_OK;
}

static enum weir_status set_address(struct client *c, const char *text, struct weir_error *err)
{
    buf_puts(&c->address, text);
    if (strncmp(text, "unix:", 5) == 0)
        return set_unix(c, text + 5, err);
    if (strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0)
        return set_url(c, text, err);
    buf_clear(&c->address);
    return error_set(err, WEIR_E_INVALID,
                     "\"%.100s\" is not an address; write it as unix:PATH or http://HOST:PORT",
                     strchr(text, '@') ? "..." : text);
}

/* The daemon's own default; if there is none, but one that systemd has started, that. */
static enum weir_status set_default(struct client *c, struct weir_error *err)
{
    _cleanup_buf_ struct buf text = {0};

    if (config_default_listen(&text) != WEIR_OK)
        return error_nomem(err);
    if (strncmp(text.data, "unix:", 5) == 0 && access(text.data + 5, F_OK) != 0 &&
        access(SYSTEM_SOCKET, F_OK) == 0)
        return set_address(c, "unix:" SYSTEM_SOCKET, err);
    return set_address(c, text.data, err);
}

static enum weir_status find_daemon(struct client *c, struct weir_error *err)
{
    const char *from_env = getenv("WEIR_API");
    enum weir_status status;

    if (c->o->api) {
        status = set_address(c, c->o->api, err);
        if (status != WEIR_OK)
            error_prefix(err, "--api");
    } else if (from_env && *from_env) {
        status = set_address(c, from_env, err);
        if (status != WEIR_OK)
            error_prefix(err, "WEIR_API");
    } else {
        status = set_default(c, err);
    }
    if (status == WEIR_OK && (c->base.failed || c->socket.failed || c->address.failed))
        status = error_nomem(err);
    return status;
}

/* ---- the token ---- */

static enum weir_status take_token(struct client *c, const char *text, size_t len,
                                   const char *where, struct weir_error *err)
{
    while (len > 0 && strchr(" \t\r\n", text[len - 1]))
        len--;
    if (len == 0)
        return error_set(err, WEIR_E_INVALID, "%s: there is no token in it", where);
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] >= 0x7f)
            return error_set(err, WEIR_E_INVALID,
                             "%s: a token is one word of printable ASCII, on one line", where);
    }
    buf_put(&c->token, text, len);
    return c->token.failed ? error_nomem(err) : WEIR_OK;
}

static enum weir_status read_token(struct client *c, struct weir_error *err)
{
    char text[TOKEN_BYTES_MAX + 1];
    const char *path = c->o->token_file, *from_env = getenv("WEIR_API_TOKEN");
    enum weir_status status;
    ssize_t len;
    int fd;

    if (!path)
        return from_env && *from_env
                   ? take_token(c, from_env, strlen(from_env), "WEIR_API_TOKEN", err)
                   : WEIR_OK;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    len = fd >= 0 ? read(fd, text, sizeof text) : -1;
    if (len < 0)
        status =
            error_set_errno(err, WEIR_E_INVALID, errno, "--token-file: %s cannot be read", path);
    else if ((size_t)len > TOKEN_BYTES_MAX)
        status = error_set(err, WEIR_E_INVALID, "--token-file: %s is too long for a token", path);
    else
        status = take_token(c, text, (size_t)len, "--token-file", err);
    explicit_bzero(text, sizeof text);
    if (fd >= 0)
        close(fd);
    return status;
}

enum weir_status client_open(struct client *c, struct weir_error *err)
{
    enum weir_status status = find_daemon(c, err);

    if (status == WEIR_OK)
        status = read_token(c, err);
    if (status != WEIR_OK)
        return status;
    if (c->token.len > 0 && c->in_clear)
        return error_set(err, WEIR_E_INVALID,
                         "%s: a token would go over the network for everybody to read; use https, "
                         "a tunnel to 127.0.0.1, or a Unix socket",
                         c->address.data);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(c->curl = curl_easy_init()))
        return error_nomem(err);
    return WEIR_OK;
}

void client_close(struct client *c)
{
    if (c->curl)
        curl_easy_cleanup(c->curl);
    c->curl = NULL;
    if (c->token.data)
        explicit_bzero(c->token.data, c->token.cap);
    buf_free(&c->token);
    buf_free(&c->base);
    buf_free(&c->socket);
    buf_free(&c->address);
    buf_free(&c->body);
}

/* ---- one request ---- */

struct transfer {
    struct client *c;
    const struct client_request *r;
    struct curl_slist *headers;
    bool enough, no_memory, too_large;
    int fd;         /* of the connection; -1: none yet */
    bool cut_short; /* the daemon has said something before all was given */
};

static size_t on_answer(char *data, size_t one, size_t size, void *ctx)
{
    struct transfer *t = ctx;
    long status = 0;

    (void)one;
    curl_easy_getinfo(t->c->curl, CURLINFO_RESPONSE_CODE, &status);
    if (t->r->take && status >= 200 && status < 300) {
        t->enough = !t->r->take(t->r->ctx, (struct slice){data, size});
        return t->enough ? 0 : size;
    }
    t->too_large = t->c->body.len + size > BODY_BYTES_MAX;
    if (!t->too_large)
        buf_put(&t->c->body, data, size);
    t->no_memory = t->c->body.failed;
    return t->too_large || t->no_memory ? 0 : size;
}

static int on_socket(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
    struct transfer *t = ctx;

    (void)purpose;
    t->fd = fd;
    return CURL_SOCKOPT_OK;
}

/* Until there is something to give. False: the daemon has spoken, or gone, and it is of no use. */
static bool wait_to_give(struct transfer *t)
{
    struct pollfd fds[] = {{.fd = t->fd, .events = POLLIN}, {.fd = -1, .events = POLLIN}};

    if (t->r->waits_for)
        fds[1].fd = t->r->waits_for(t->r->ctx);
    /* Of TLS there may come something that is no answer. */
    if (fds[1].fd < 0 || t->fd < 0 || strncmp(t->c->base.data, "https:", 6) == 0)
        return true;
    while (poll(fds, 2, -1) < 0 && errno == EINTR)
        ;
    return fds[0].revents == 0;
}

static size_t on_room(char *into, size_t one, size_t size, void *ctx)
{
    struct transfer *t = ctx;

    t->cut_short = t->cut_short || !wait_to_give(t);
    if (t->cut_short)
        return 0;
    return t->r->give(t->r->ctx, into, one * size);
}

static void add_header(struct transfer *t, const char *name, const char *value)
{
    _cleanup_buf_ struct buf line = {0};
    struct curl_slist *longer;

    buf_printf(&line, "%s: %s", name, value);
    longer = line.failed ? NULL : curl_slist_append(t->headers, line.data);
    if (longer)
        t->headers = longer;
    else
        t->no_memory = true;
    if (line.data)
        explicit_bzero(line.data, line.len);
}

static void set_headers(struct transfer *t)
{
    const struct client_request *r = t->r;

    /* Without a value curl leaves a header of its own out. */
    add_header(t, "Content-Type", r->type ? r->type : "");
    add_header(t, "Accept", r->accept ? r->accept : "application/json, application/problem+json");
    /* Not to wait for the permission to send a body. */
    add_header(t, "Expect", "");
    if (t->c->token.len > 0) {
        _cleanup_buf_ struct buf value = {0};

        buf_printf(&value, "Bearer %s", t->c->token.data);
        add_header(t, "Authorization", value.failed ? "" : value.data);
        t->no_memory = t->no_memory || value.failed;
        if (value.data)
            explicit_bzero(value.data, value.len);
    }
    curl_easy_setopt(t->c->curl, CURLOPT_HTTPHEADER, t->headers);
}

static void set_body(struct transfer *t)
{
    const struct client_request *r = t->r;
    CURL *curl = t->c->curl;

    if (r->give) {
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_room);
        curl_easy_setopt(curl, CURLOPT_READDATA, t);
        curl_easy_setopt(curl, CURLOPT_SOCKOPTFUNCTION, on_socket);
        curl_easy_setopt(curl, CURLOPT_SOCKOPTDATA, t);
        curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L);
    } else if (strcmp(r->method, "GET") != 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, r->body.data ? r->body.data : "");
    }
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, r->method);
}

static void set_up(struct transfer *t, const char *url)
{
    CURL *curl = t->c->curl;

    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    if (t->c->socket.len > 0)
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, t->c->socket.data);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, t->c->timeout_s);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "weir/" WEIR_VERSION);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    if (t->r->silence_s > 0) {
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, t->r->silence_s);
    }
    set_headers(t);
    set_body(t);
}

static enum weir_status no_daemon(const struct client *c, int errnum, struct weir_error *err)
{
    if (errnum == EACCES)
        return error_set(err, WEIR_E_IO,
                         "the daemon at %s may not be connected to: Permission denied (its "
                         "unix_mode says who may)",
                         c->address.data);
    return error_set(err, WEIR_E_IO,
                     "no daemon answers at %s: is `weir serve` running? (--api says where)",
                     c->address.data);
}

static enum weir_status explain(struct transfer *t, CURLcode code, struct weir_error *err)
{
    struct client *c = t->c;
    long errnum = 0;

    if (t->no_memory)
        return error_nomem(err);
    if (t->enough)
        return error_set(err, WEIR_E_END, "enough");
    if (t->too_large)
        return error_set(err, WEIR_E_LIMIT, "the answer of %s is too large", c->address.data);
    curl_easy_getinfo(c->curl, CURLINFO_OS_ERRNO, &errnum);
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
        return no_daemon(c, (int)errnum, err);
    if (code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING || code == CURLE_SEND_ERROR ||
        code == CURLE_PARTIAL_FILE)
        return error_set(err, WEIR_E_IO, "the daemon at %s went away before it had answered",
                         c->address.data);
    return error_set(err, WEIR_E_IO, "%s: %s", c->address.data, curl_easy_strerror(code));
}

enum weir_status client_send(struct client *c, const struct client_request *r,
                             struct weir_error *err)
{
    struct transfer t = {.c = c, .r = r, .fd = -1};
    _cleanup_buf_ struct buf url = {0};
    enum weir_status status = WEIR_OK;
    CURLcode code;

    buf_clear(&c->body);
    c->status = 0;
    buf_printf(&url, "%s%s", c->base.data, r->path);
    if (url.failed)
        return error_nomem(err);
    set_up(&t, url.data);
    code = t.no_memory ? CURLE_OUT_OF_MEMORY : curl_easy_perform(c->curl);
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &c->status);
    c->met = c->met || c->status > 0;
    /* An answer that came before all of the request had gone counts, whatever became of the rest. */
    if (code != CURLE_OK && !(r->give && c->status >= 400 && c->body.len > 0))
        status = explain(&t, code, err);
    else if (t.cut_short && c->status < 400) /* it took the part for all */
        status = explain(&t, CURLE_SEND_ERROR, err);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(t.headers);
    return status;
}

int client_unanswered(const struct client *c, const struct weir_error *err)
{
    return client_complain(c, err);
}

int client_judge(struct client *c)
{
    if (c->status >= 200 && c->status < 300) {
        if (c->body.len == 0 || json_check(buf_slice(&c->body), NULL))
            return CLI_OK;
        fprintf(stderr, "%s: what answers at %s is no daemon of weir's: no JSON\n", c->name,
                c->address.data);
        return CLI_FAILED;
    }
    return problem_tell(c);
}

int client_ask(struct client *c, const char *method, const char *path, const char *body)
{
    struct client_request r = {.method = method,
                               .path = path,
                               .type = body ? "application/json" : NULL,
                               .body = slice_of(body)};
    struct weir_error err = {0};

    if (!path)
        return error_nomem(&err), client_complain(c, &err);
    if (client_send(c, &r, &err) != WEIR_OK)
        return client_unanswered(c, &err);
    return client_judge(c);
}

/* ---- paths ---- */

void client_put_escaped(struct buf *path, const char *text)
{
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;

        if ((byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
            (byte >= 'A' && byte <= 'Z') || (byte != '\0' && strchr("-._~,", byte)))
            buf_putc(path, *text);
        else
            buf_printf(path, "%%%02X", byte);
    }
}

void client_put_query(struct buf *path, const char *name, const char *value)
{
    if (!value)
        return;
    buf_printf(path, "%c%s=", path->data && strchr(path->data, '?') ? '&' : '?', name);
    client_put_escaped(path, value);
}

void client_put_query_number(struct buf *path, const char *name, int64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRId64, value);
    client_put_query(path, name, text);
}
