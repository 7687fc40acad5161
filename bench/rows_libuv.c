/*
 * Rows through libuv's thread pool: uv_queue_work, 1,024 at once, results put in order on the
 * loop's thread.
 *
 *     UV_THREADPOOL_SIZE=2 rows_libuv ROWS
 */
#include "benchkit.h"

#include <stdbool.h>
#include <uv.h>

#define WINDOW_ROWS 1024

struct row {
    uv_work_t request; /* first: the callbacks cast */
    struct stream *stream;
    uint64_t index, result;
    bool done;
};

struct stream {
    uv_loop_t *loop;
    uint64_t rows, submitted, delivered, sum;
    struct row window[WINDOW_ROWS];
};

static void submit_rows(struct stream *s);

static void work(uv_work_t *request)
{
    struct row *row = (struct row *)request;

    row->result = row->index + 1;
}

static void after_work(uv_work_t *request, int status)
{
    struct row *row = (struct row *)request;
    struct stream *s = row->stream;

    if (status)
        bench_die(uv_strerror(status));
    row->done = true;
    while (s->delivered < s->submitted && s->window[s->delivered % WINDOW_ROWS].done) {
        struct row *head = &s->window[s->delivered++ % WINDOW_ROWS];

        head->done = false;
        s->sum += head->result;
    }
    submit_rows(s);
}

static void submit_rows(struct stream *s)
{
    while (s->submitted < s->rows && s->submitted - s->delivered < WINDOW_ROWS) {
        struct row *row = &s->window[s->submitted % WINDOW_ROWS];

        row->stream = s;
        row->index = s->submitted++;
        if (uv_queue_work(s->loop, &row->request, work, after_work))
            bench_die("uv_queue_work failed");
    }
}

int main(int argc, char **argv)
{
    static struct stream stream;
    double start_s;

    stream.rows = bench_number(argc, argv, 1);
    stream.loop = uv_default_loop();
    start_s = bench_now_s();
    submit_rows(&stream);
    uv_run(stream.loop, UV_RUN_DEFAULT);
    bench_tell("rows_per_s", (double)stream.rows / (bench_now_s() - start_s));
    if (stream.sum != bench_expected_sum(stream.rows))
        bench_die("wrong results");
    return 0;
}
