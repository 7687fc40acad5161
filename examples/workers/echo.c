/*
 * Gives back what it gets: a whole worker in C, without a library.
 *
 *     cc -O2 echo.c -o echo
 *     weir run --worker './echo' -j 2 rows.jsonl          one request at a time to each of 2 workers
 *     weir run --worker './echo 16' -j 2 rows.jsonl       it says that it takes 16 at once
 *
 * The protocol is in docs/worker-protocol.md. This file is to begin from: put your work where
 * echo() is. It reads what has come, answers all whole requests among it, and writes the answers in
 * one piece; so several requests in flight cost it little more than one. A row is not parsed, only
 * found: the tiny reader of JSON below steps over values.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE_BYTES_MAX ((size_t)64 << 20)
#define READ_BYTES        ((size_t)256 << 10)
/* Answers are written when there are so many bytes of them, or no whole request is left. */
#define WRITE_BYTES ((size_t)256 << 10)

/* Bytes that belong to somebody else. */
struct text {
    const char *data;
    size_t len;
};

/* Bytes of ours. */
struct bytes {
    char *data;
    size_t len, cap;
};

/* Where the packets go: descriptor 1 points to standard error, so that a stray printf() does no harm. */
static int packets_out;
static const char *max_in_flight = "1";

static void give_up(const char *why)
{
    fprintf(stderr, "echo: %s\n", why);
    exit(1);
}

/* Room for `extra` more bytes, which the caller writes there. */
static char *room(struct bytes *b, size_t extra)
{
    if (b->cap - b->len < extra) {
        size_t cap = b->cap ? b->cap : READ_BYTES;

        while (cap - b->len < extra)
            cap *= 2;
        b->data = realloc(b->data, cap);
        if (!b->data)
            give_up("out of memory");
        b->cap = cap;
    }
    return b->data + b->len;
}

static void put(struct bytes *b, const void *data, size_t len)
{
    memcpy(room(b, len), data, len);
    b->len += len;
}

static void put_string(struct bytes *b, const char *string)
{
    put(b, string, strlen(string));
}

static bool is(struct text t, const char *string)
{
    return t.len == strlen(string) && memcmp(t.data, string, t.len) == 0;
}

/* ---- JSON: each of these gets the place to begin at and returns the one behind; `end` when there is none. ---- */

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end && *at != '"'; at++) {
        if (*at == '\\')
            at++;
    }
    return at < end ? at + 1 : end;
}

/* Objects and arrays by counting their brackets; numbers, true, false and null by what ends them. */
static const char *skip_value(const char *at, const char *end)
{
    size_t depth = 0;

    do {
        at = skip_space(at, end);
        if (at >= end)
            return end;
        if (*at == '"') {
            at = skip_string(at, end);
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
        } else if (*at == '}' || *at == ']') {
            if (depth > 0)
                depth--;
            at++;
        } else if (*at == ',' || *at == ':') {
            at++;
        } else {
            /* A number, or one of three words. */
            do
                at++;
            while (at < end && !memchr(",:]} \t\r\n", *at, 8));
        }
    } while (depth > 0);
    return at;
}

/* The value of a member of an object, as it stands there; empty: there is none. weir writes names without escapes. */
static struct text member(struct text object, const char *name)
{
    const char *at = skip_space(object.data, object.data + object.len);
    const char *end = object.data + object.len;
    struct text found = {"", 0};

    if (at >= end || *at != '{')
        return found;
    at = skip_space(at + 1, end);
    while (at < end && *at == '"') {
        struct text key = {at + 1, 0}, value;

        at = skip_string(at, end);
        key.len = (size_t)(at - key.data) - 1;
        at = skip_space(at, end);
        if (at >= end || *at != ':')
            break;
        value.data = skip_space(at + 1, end);
        at = skip_value(value.data, end);
        value.len = (size_t)(at - value.data);
        if (is(key, name))
            found = value;
        at = skip_space(at, end);
        if (at < end && *at == ',')
            at = skip_space(at + 1, end);
    }
    return found;
}

/* ---- answers ---- */

static size_t begin_answer(struct bytes *out, struct text id)
{
    size_t start = out->len;

    put(out, "\0\0\0\0{\"id\":", 10);
    put(out, id.data, id.len);
    return start;
}

/* Ends it, and puts its length before it: the highest byte first. */
static void end_answer(struct bytes *out, size_t start)
{
    size_t len;

    put_string(out, "}");
    len = out->len - start - 4;
    if (len > MESSAGE_BYTES_MAX) {
        /* The id of the largest request is short enough. */
        give_up("an answer is over the limit");
    }
    for (int i = 0; i < 4; i++)
        out->data[start + (size_t)i] = (char)(unsigned char)(len >> (24 - 8 * i));
}

static void answer_error(struct bytes *out, struct text id, const char *type, const char *message)
{
    size_t start = begin_answer(out, id);

    put_string(out, ",\"success\":false,\"error\":{\"type\":\"");
    put_string(out, type);
    put_string(out, "\",\"message\":\"");
    put_string(out, message);
    put_string(out, "\"}");
    end_answer(out, start);
}

/* The work. */
static void echo(struct bytes *out, struct text id, struct text args)
{
    size_t start = begin_answer(out, id);

    put_string(out, ",\"success\":true,\"result\":");
    put(out, args.len ? args.data : "null", args.len ? args.len : 4);
    end_answer(out, start);
}

static void answer_ping(struct bytes *out, struct text id)
{
    size_t start = begin_answer(out, id);

    put_string(out, ",\"success\":true,\"result\":{\"max_in_flight\":");
    put_string(out, max_in_flight);
    put_string(out, "}");
    end_answer(out, start);
}

/* False: it was the last one. */
static bool answer(struct bytes *out, struct text message)
{
    struct text id = member(message, "id");
    struct text command = member(message, "command");

    if (id.len == 0 || command.len == 0)
        give_up("a request has no id or no command");
    if (is(command, "\"process\"") || is(command, "\"echo\"")) {
        struct text args = member(message, "args");

        /* The answer has a few bytes more than the row. */
        if (args.len > MESSAGE_BYTES_MAX - 128)
            answer_error(out, id, "TooLarge", "the row leaves no room for an answer");
        else
            echo(out, id, args);
    } else if (is(command, "\"ping\"")) {
        answer_ping(out, id);
    } else if (is(command, "\"shutdown\"")) {
        echo(out, id, (struct text){"", 0});
        return false;
    } else {
        answer_error(out, id, "UnknownCommand", "this worker knows process and echo");
    }
    return true;
}

/* ---- frames ---- */

static void write_all(struct bytes *out)
{
    size_t done = 0;

    while (done < out->len) {
        ssize_t n = write(packets_out, out->data + done, out->len - done);

        if (n < 0 && errno != EINTR)
            give_up(strerror(errno));
        done += n > 0 ? (size_t)n : 0;
    }
    out->len = 0;
}

/* Answers all whole requests, and moves what is left to the front. False: it shall end. */
static bool answer_all(struct bytes *in, struct bytes *out)
{
    size_t at = 0;
    bool goes_on = true;

    while (goes_on && in->len - at >= 4) {
        const unsigned char *head = (const unsigned char *)in->data + at;
        size_t len = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];

        if (len > MESSAGE_BYTES_MAX)
            give_up("what came in is not the protocol of workers");
        if (in->len - at - 4 < len)
            break;
        goes_on = answer(out, (struct text){in->data + at + 4, len});
        at += 4 + len;
        if (out->len >= WRITE_BYTES)
            write_all(out);
    }
    memmove(in->data, in->data + at, in->len - at);
    in->len -= at;
    write_all(out);
    return goes_on;
}

int main(int argc, char **argv)
{
    struct bytes in = {0}, out = {0};

    if (argc > 1) {
        if (argc > 2 || strspn(argv[1], "0123456789") != strlen(argv[1]) || argv[1][0] == '0' ||
            strlen(argv[1]) > 4 || argv[1][0] == '\0')
            give_up("usage: echo [HOW MANY REQUESTS AT ONCE]");
        max_in_flight = argv[1];
    }
    packets_out = dup(STDOUT_FILENO);
    if (packets_out < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        give_up(strerror(errno));
    for (;;) {
        ssize_t n = read(STDIN_FILENO, room(&in, READ_BYTES), READ_BYTES);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            give_up(strerror(errno));
        in.len += (size_t)n;
        /* The end of the input is the end. */
        if (n == 0 || !answer_all(&in, &out))
            break;
    }
    free(in.data);
    free(out.data);
    return 0;
}
