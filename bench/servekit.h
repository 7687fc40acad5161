/*
 * What the clients of `weir serve` share: a connection to its Unix socket, and one answer of HTTP
 * at a time.
 *
 *     fd = serve_connect("/run/weir.sock");
 *     serve_send(fd, request, request_len);
 *     status = serve_answer(fd, &in);         // the body is in.body, NUL-terminated
 *
 * It knows what the daemon's own server says (Content-Length always, but for streams), and no more
 * of HTTP.
 */
#ifndef BENCH_SERVEKIT_H
#define BENCH_SERVEKIT_H

#include "benchkit.h"

#include <stdbool.h>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SERVE_ANSWER_BYTES (1 << 16)

struct serve_in {
    size_t len;
    const char *body; /* of the last answer */
    char data[SERVE_ANSWER_BYTES + 1];
};

static inline int serve_connect(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (strlen(path) >= sizeof a.sun_path)
        bench_die("the socket's path is too long");
    strcpy(a.sun_path, path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
        bench_die("cannot connect to the daemon");
    return fd;
}

static inline void serve_send(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n <= 0)
            bench_die("the daemon takes no more");
        data += n;
        len -= (size_t)n;
    }
}

/* The status of the answer that `in` holds whole, 0 when there is more to come. *ret_bytes: of head and body. */
static inline int serve_parse(struct serve_in *in, size_t *ret_bytes)
{
    const char *end, *length;

    in->data[in->len] = '\0';
    end = strstr(in->data, "\r\n\r\n");
    if (!end)
        return 0;
    length = strcasestr(in->data, "\r\nContent-Length:");
    if (!length || length > end)
        bench_die("an answer has no length");
    *ret_bytes = (size_t)(end + 4 - in->data) + strtoul(length + 17, NULL, 10);
    in->body = end + 4;
    if (*ret_bytes > SERVE_ANSWER_BYTES)
        bench_die("an answer is too long");
    return in->len >= *ret_bytes ? atoi(in->data + 9) : 0;
}

static inline int serve_answer(int fd, struct serve_in *in)
{
    size_t bytes;
    int status = 0;

    for (in->len = 0; status == 0;) {
        ssize_t n = read(fd, in->data + in->len, SERVE_ANSWER_BYTES - in->len);

        if (n <= 0)
            bench_die("the daemon gave no answer");
        in->len += (size_t)n;
        status = serve_parse(in, &bytes);
    }
    return status;
}

/* Asks, and ends the program unless the answer is a good one. */
static inline void serve_ask(int fd, struct serve_in *in, const char *method, const char *path)
{
    char text[512];
    int n = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: weir\r\nContent-Length: 0\r\n\r\n",
                     method, path);

    serve_send(fd, text, (size_t)n);
    if (serve_answer(fd, in) / 100 != 2)
        bench_die(in->body);
}

/* A number of the last answer, behind a text such as "\"done\":". */
static inline uint64_t serve_number(const struct serve_in *in, const char *name)
{
    const char *at = strstr(in->body, name);

    if (!at)
        bench_die("the daemon's answer lacks a number");
    return strtoull(at + strlen(name), NULL, 10);
}

/* How many tasks have ended, all of them well. */
static inline uint64_t serve_done(int fd, struct serve_in *in)
{
    serve_ask(fd, in, "GET", "/v1/status");
    if (serve_number(in, "\"failed\":") > 0)
        bench_die("tasks have failed");
    return serve_number(in, "\"done\":");
}

#endif
