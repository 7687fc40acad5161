/*
 * Durable tasks over HTTP, in bulk: uploaded as NDJSON in one request while the pool is disabled,
 * then run by it.
 *
 *     serve_bulk SOCKET TASKS [only|sessions]     with "only" they are not run; with "sessions"
 *                                                 neither, and each has a session of its own
 *
 * Each payload has 100 bytes. The text is made before the clock starts: the client's own time is no
 * part of it.
 */
#include "servekit.h"

#include <time.h>

#define FILL_BYTES     92
#define LINES          1000
#define LOOK_NS        5000000
#define SESSION_DIGITS 9

static struct serve_in in;

static const char session[] = "{\"session\":\"s"; /* and a number of SESSION_DIGITS */

/* LINES lines of 100 bytes of payload each. */
static char *make_lines(bool sessions, size_t *ret_len)
{
    static const char plain[] = "{\"payload\":{\"p\":\"", after[] = "\"}}\n";
    static const char own[] = "{\"session\":\"s000000000\",\"payload\":{\"p\":\"";
    const char *before = sessions ? own : plain;
    size_t before_len = strlen(before), line = before_len + FILL_BYTES + sizeof after - 1;
    char *text = malloc(LINES * line), *at = text;

    if (!text)
        bench_die("no memory");
    for (int i = 0; i < LINES; i++) {
        at = mempcpy(at, before, before_len);
        memset(at, 'x', FILL_BYTES);
        at = mempcpy(at + FILL_BYTES, after, sizeof after - 1);
    }
    *ret_len = LINES * line;
    return text;
}

/* Gives each of the lines the next session. */
static void number_lines(char *lines, size_t line, uint64_t from)
{
    char digits[SESSION_DIGITS + 1];

    for (uint64_t i = 0; i < LINES; i++) {
        snprintf(digits, sizeof digits, "%0*u", SESSION_DIGITS,
                 (unsigned)((from + i) % 1000000000));
        memcpy(lines + i * line + sizeof session - 1, digits, SESSION_DIGITS);
    }
}

static void upload(int fd, uint64_t tasks, bool sessions)
{
    size_t len, line;
    char *lines = make_lines(sessions, &len), head[256];
    int n;

    line = len / LINES;
    n = snprintf(head, sizeof head,
                 "POST /v1/tasks HTTP/1.1\r\nHost: weir\r\nContent-Type: application/x-ndjson\r\n"
                 "Content-Length: %zu\r\n\r\n",
                 (size_t)tasks * line);
    serve_send(fd, head, (size_t)n);
    for (uint64_t left = tasks; left > 0;) {
        uint64_t some = left < LINES ? left : LINES;

        if (sessions)
            number_lines(lines, line, left);
        serve_send(fd, lines, some * line);
        left -= some;
    }
    if (serve_answer(fd, &in) != 201)
        bench_die(in.body);
    if (serve_number(&in, "\"accepted\":") != tasks)
        bench_die("tasks are missing");
    free(lines);
}

int main(int argc, char **argv)
{
    uint64_t tasks = bench_number(argc, argv, 2);
    int fd = serve_connect(bench_text(argc, argv, 1));
    double start_s = bench_now_s();

    upload(fd, tasks, argc > 3 && strcmp(argv[3], "sessions") == 0);
    bench_tell("submitted_per_s", (double)tasks / (bench_now_s() - start_s));
    if (argc > 3)
        return 0;
    start_s = bench_now_s();
    serve_ask(fd, &in, "POST", "/v1/pools/noop/enable");
    while (serve_done(fd, &in) < tasks)
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    bench_tell("ended_per_s", (double)tasks / (bench_now_s() - start_s));
    return 0;
}
