/*
 * Durable tasks over HTTP, in bulk: uploaded as NDJSON in one request while the pool is disabled,
 * then run by it.
 *
 *     serve_bulk SOCKET TASKS [only]      with "only" they are not run
 *
 * Each payload has 100 bytes. The text is made before the clock starts: the client's own time is no
 * part of it.
 */
#include "servekit.h"

#include <time.h>

#define FILL_BYTES 92
#define LINES      1000
#define LOOK_NS    5000000

static struct serve_in in;

/* LINES lines of 100 bytes of payload each. */
static char *make_lines(size_t *ret_len)
{
    static const char before[] = "{\"payload\":{\"p\":\"", after[] = "\"}}\n";
    size_t line = sizeof before - 1 + FILL_BYTES + sizeof after - 1;
    char *text = malloc(LINES * line), *at = text;

    if (!text)
        bench_die("no memory");
    for (int i = 0; i < LINES; i++) {
        at = mempcpy(at, before, sizeof before - 1);
        memset(at, 'x', FILL_BYTES);
        at = mempcpy(at + FILL_BYTES, after, sizeof after - 1);
    }
    *ret_len = LINES * line;
    return text;
}

static void upload(int fd, uint64_t tasks)
{
    size_t len, line;
    char *lines = make_lines(&len), head[256];
    int n;

    line = len / LINES;
    n = snprintf(head, sizeof head,
                 "POST /v1/tasks HTTP/1.1\r\nHost: weir\r\nContent-Type: application/x-ndjson\r\n"
                 "Content-Length: %zu\r\n\r\n",
                 (size_t)tasks * line);
    serve_send(fd, head, (size_t)n);
    for (uint64_t left = tasks; left > 0;) {
        uint64_t some = left < LINES ? left : LINES;

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

    upload(fd, tasks);
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
