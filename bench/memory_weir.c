/*
 * Rows from a file through a pool that answers at once, results in order to another file: what
 * `weir run` does, without a network, so that ten million rows are a matter of seconds.
 *
 *     memory_weir INPUT OUTPUT WINDOW_ROWS
 *
 * One thread reads lines and adds them, the main one takes results and writes them; a result is its
 * row's line.
 */
#include "benchkit.h"

#include <pthread.h>
#include <weir/weir.h>

#define THREADS 2

struct feed {
    struct weir_batch *batch;
    FILE *input;
    uint64_t rows;
};

static void work(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    (void)ctx;
    weir_answer_ok(answer, row->data, row->len);
}

static void *add_lines(void *arg)
{
    struct feed *feed = arg;
    struct weir_error err;
    char *line = NULL;
    size_t size = 0;
    ssize_t len;

    while ((len = getline(&line, &size, feed->input)) > 0) {
        struct weir_row row = {.data = line, .len = (size_t)len};

        if (weir_batch_add(feed->batch, &row, true, &err) != WEIR_OK)
            bench_die(err.message);
        feed->rows++;
    }
    free(line);
    if (ferror(feed->input))
        bench_die("the input cannot be read");
    weir_batch_end(feed->batch, NULL);
    return NULL;
}

static uint64_t write_results(struct weir_batch *batch, FILE *output)
{
    const struct weir_result *r;
    struct weir_error err;
    enum weir_status status;
    uint64_t taken = 0;

    while ((status = weir_batch_next(batch, -1, &r, &err)) == WEIR_OK) {
        if (r->outcome != WEIR_OUTCOME_OK || r->submit_index != taken)
            bench_die("a result is not as it must be");
        if (fwrite(r->output, 1, r->output_len, output) != r->output_len)
            bench_die("the output cannot be written");
        taken++;
    }
    if (status != WEIR_E_END)
        bench_die(err.message);
    return taken;
}

int main(int argc, char **argv)
{
    struct feed feed = {.input = fopen(bench_text(argc, argv, 1), "re")};
    FILE *output = fopen(bench_text(argc, argv, 2), "we");
    struct weir_batch_options window;
    struct weir_pool_options options;
    struct weir_engine *engine;
    struct weir_error err;
    struct weir_pool *pool;
    pthread_t adder;
    double start_s;
    uint64_t taken;

    if (!feed.input || !output)
        bench_die(strerror(errno));
    weir_pool_options_init(&options);
    options.size = THREADS;
    weir_batch_options_init(&window);
    window.window_rows = (uint32_t)bench_number(argc, argv, 3);
    if (weir_open(NULL, &engine, &err) != WEIR_OK ||
        weir_pool_open_thread(engine, &options, work, NULL, &pool, &err) != WEIR_OK ||
        weir_batch_open(pool, &window, &feed.batch, &err) != WEIR_OK)
        bench_die(err.message);
    start_s = bench_now_s();
    if (pthread_create(&adder, NULL, add_lines, &feed))
        bench_die("no thread");
    taken = write_results(feed.batch, output);
    pthread_join(adder, NULL);
    if (fclose(output) != 0 || taken != feed.rows || taken == 0)
        bench_die("rows are missing");
    bench_tell("us_per_row", (bench_now_s() - start_s) * 1e6 / (double)taken);
    bench_tell("rows", (double)taken);
    fclose(feed.input);
    weir_batch_close(feed.batch);
    if (weir_close(engine, &err) != WEIR_OK)
        bench_die(err.message);
    return 0;
}
