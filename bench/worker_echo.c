/*
 * The worker at the other end of the pipes, for every side: it gives back what it gets.
 *
 *     worker_echo raw     each frame as it is
 *     worker_echo json    docs/worker-protocol.md: the args as the result; takes 64 requests at once. A path behind it is
 *                         of a FIFO, which gets the time that each request came at: a double, seconds of CLOCK_MONOTONIC
 *
 * Frames have 4 bytes of length, the highest first. It reads what there is, however many frames
 * that are, and answers all of them in one write. With "json" the command "die" ends it at once.
 */
#include "benchkit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#define ROOM_AT_FIRST ((size_t)1 << 20)
/* Results from this size on are written from where they were read. */
#define SPLICE_BYTES 4096
#define PING_RESULT  "{\"max_in_flight\":64}"

static char *in, *out;
static size_t in_cap, in_len, out_cap, out_len;
static int stamps = -1;

static void write_all(struct iovec *parts, int count)
{
    while (count > 0) {
        ssize_t n = writev(STDOUT_FILENO, parts, count);

        if (n <= 0)
            exit(0); /* nobody reads any more */
        while (count > 0 && (size_t)n >= parts->iov_len) {
            n -= (ssize_t)parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (char *)parts->iov_base + n;
            parts->iov_len -= (size_t)n;
        }
    }
}

static void *grown(void *memory, size_t size)
{
    memory = realloc(memory, size);
    if (!memory)
        bench_die("no memory");
    return memory;
}

static void put(const void *bytes, size_t len)
{
    if (out_len + len > out_cap)
        out = grown(out, out_cap = 2 * (out_len + len));
    memcpy(out + out_len, bytes, len);
    out_len += len;
}

static void flush(void)
{
    struct iovec part = {out, out_len};

    write_all(&part, out_len > 0);
    out_len = 0;
}

static void put_length(size_t len)
{
    uint32_t length = htonl((uint32_t)len);

    put(&length, sizeof length);
}

static void stamp(void)
{
    double now_s = bench_now_s();

    if (write(stamps, &now_s, sizeof now_s) != sizeof now_s)
        bench_die("nobody takes the times");
}

/* Behind what is named; the message is our own engine's, so that it can be found without a parser. */
static const char *behind(const char *message, size_t len, const char *name)
{
    const char *at = memmem(message, len, name, strlen(name));

    if (!at)
        bench_die("a request is not as it should be");
    return at + strlen(name);
}

static void answer_json(char *message, size_t len)
{
    const char *id = behind(message, len, "\"id\":"), *id_end = memchr(id, ',', 24);
    const char *command = behind(message, len, "\"command\":\"");
    const char *args = behind(message, len, "\"args\":");
    size_t args_len = (size_t)(message + len - 1 - args), id_len = (size_t)(id_end - id);
    static const char middle[] = ",\"success\":true,\"result\":";

    if (memcmp(command, "die\"", 4) == 0)
        _exit(1);
    if (memcmp(command, "shutdown\"", 9) == 0)
        exit(0);
    if (memcmp(command, "ping\"", 5) == 0) {
        args = PING_RESULT;
        args_len = sizeof PING_RESULT - 1;
    } else if (stamps >= 0) {
        stamp();
    }
    put_length(6 + id_len + sizeof middle - 1 + args_len + 1);
    put("{\"id\":", 6);
    put(id, id_len);
    put(middle, sizeof middle - 1);
    if (args_len < SPLICE_BYTES) {
        put(args, args_len);
    } else {
        struct iovec parts[2] = {{out, out_len}, {(char *)args, args_len}};

        write_all(parts, 2);
        out_len = 0;
    }
    put("}", 1);
}

static void answer_raw(char *message, size_t len)
{
    if (len < SPLICE_BYTES) {
        put_length(len);
        put(message, len);
    } else {
        /* The length stands right before it. */
        struct iovec parts[2] = {{out, out_len}, {message - 4, len + 4}};

        write_all(parts, 2);
        out_len = 0;
    }
}

int main(int argc, char **argv)
{
    int json = strcmp(bench_text(argc, argv, 1), "json") == 0;

    if (argc > 2)
        stamps = open(argv[2], O_WRONLY);
    in = grown(NULL, in_cap = ROOM_AT_FIRST);
    out = grown(NULL, out_cap = ROOM_AT_FIRST);
    for (;;) {
        size_t at = 0;
        ssize_t n = read(STDIN_FILENO, in + in_len, in_cap - in_len);

        if (n <= 0)
            return 0;
        in_len += (size_t)n;
        while (in_len - at >= 4) {
            uint32_t length;

            memcpy(&length, in + at, sizeof length);
            length = ntohl(length);
            if (in_len - at - 4 < length) {
                if (length + 4 > in_cap)
                    in = grown(in, in_cap = 2 * ((size_t)length + 4));
                break;
            }
            (json ? answer_json : answer_raw)(in + at + 4, length);
            at += 4 + length;
        }
        flush();
        memmove(in, in + at, in_len - at);
        in_len -= at;
    }
}
