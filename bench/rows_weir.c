/*
 * Rows through weir's thread pool, with the public library as a user has it.
 *
 *     rows_weir ROWS
 *
 * One thread adds, an array at a time, another takes; each row carries 8 bytes and gives 8 bytes
 * back, and comes with all of its metadata, some of which is read and checked. Two threads of the
 * pool, and the engine's own, share the processors with both.
 */
#include "benchkit.h"

#include <pthread.h>
#include <weir/weir.h>

#define THREADS 2
/* Rows that are added in one call; the ring adds as many at once as it has room for. */
#define GROUP 128

struct feed {
    struct weir_batch *batch;
    uint64_t rows;
};

static void work(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    uint64_t n;

    (void)ctx;
    memcpy(&n, row->data, sizeof n);
    n++;
    weir_answer_ok(answer, &n, sizeof n);
}

static void *add_rows(void *arg)
{
    struct feed *feed = arg;
    struct weir_error err;

    for (uint64_t i = 0; i < feed->rows;) {
        size_t count = feed->rows - i < GROUP ? (size_t)(feed->rows - i) : GROUP;
        struct weir_row rows[GROUP];
        uint64_t numbers[GROUP];

        for (size_t k = 0; k < count; k++) {
            numbers[k] = i + k;
            rows[k] = (struct weir_row){.data = &numbers[k], .len = sizeof numbers[k]};
        }
        if (weir_batch_add_many(feed->batch, rows, count, true, NULL, &err) != WEIR_OK)
            bench_die(err.message);
        i += count;
    }
    weir_batch_end(feed->batch, NULL);
    return NULL;
}

static void take_results(struct weir_batch *batch, uint64_t rows)
{
    const struct weir_result *r;
    struct weir_error err;
    enum weir_status status;
    uint64_t taken = 0, sum = 0, n;

    while ((status = weir_batch_next(batch, -1, &r, &err)) == WEIR_OK) {
        if (r->outcome != WEIR_OUTCOME_OK || r->submit_index != taken || r->attempts != 1 ||
            r->output_len != sizeof n || r->start_time_ns < r->submit_time_ns ||
            r->complete_time_ns < r->start_time_ns || r->deliver_time_ns < r->complete_time_ns)
            bench_die("a result is not as it must be");
        memcpy(&n, r->output, sizeof n);
        sum += n;
        taken++;
    }
    if (status != WEIR_E_END)
        bench_die(err.message);
    if (taken != rows || sum != bench_expected_sum(rows))
        bench_die("wrong results");
}

int main(int argc, char **argv)
{
    struct weir_pool_options options;
    struct weir_engine *engine;
    struct weir_stats stats;
    struct weir_error err;
    struct weir_pool *pool;
    struct feed feed = {.rows = bench_number(argc, argv, 1)};
    pthread_t adder;
    double start_s;

    weir_pool_options_init(&options);
    options.size = THREADS;
    if (weir_open(NULL, &engine, &err) != WEIR_OK ||
        weir_pool_open_thread(engine, &options, work, NULL, &pool, &err) != WEIR_OK ||
        weir_batch_open(pool, NULL, &feed.batch, &err) != WEIR_OK)
        bench_die(err.message);
    start_s = bench_now_s();
    if (pthread_create(&adder, NULL, add_rows, &feed))
        bench_die("no thread");
    take_results(feed.batch, feed.rows);
    bench_tell("rows_per_s", (double)feed.rows / (bench_now_s() - start_s));
    pthread_join(adder, NULL);
    if (weir_batch_stats(feed.batch, &stats, &err) != WEIR_OK ||
        stats.pool_stats.successes != feed.rows ||
        stats.pool_stats.max_concurrent_reached > THREADS)
        bench_die("the statistics are not as they must be");
    weir_batch_close(feed.batch);
    if (weir_close(engine, &err) != WEIR_OK)
        bench_die(err.message);
    return 0;
}
