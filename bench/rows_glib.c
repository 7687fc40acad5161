/*
 * Rows through GLib's thread pool: two threads of its own, results back over a GAsyncQueue, put in
 * order by the taker.
 *
 *     rows_glib ROWS
 */
#include "benchkit.h"

#include <glib.h>

#define WINDOW_ROWS 1024
#define THREADS     2

struct row {
    uint64_t index, result;
    gboolean done;
};

static void work(gpointer data, gpointer user)
{
    struct row *row = data;

    row->result = row->index + 1;
    g_async_queue_push(user, row);
}

int main(int argc, char **argv)
{
    static struct row window[WINDOW_ROWS];
    uint64_t rows = bench_number(argc, argv, 1), submitted = 0, delivered = 0, sum = 0;
    GAsyncQueue *done = g_async_queue_new();
    double start_s = bench_now_s();
    GThreadPool *pool = g_thread_pool_new(work, done, THREADS, TRUE, NULL);

    if (!pool)
        bench_die("no thread pool");
    while (delivered < rows) {
        while (submitted < rows && submitted - delivered < WINDOW_ROWS) {
            struct row *row = &window[submitted % WINDOW_ROWS];

            row->index = submitted++;
            if (!g_thread_pool_push(pool, row, NULL))
                bench_die("g_thread_pool_push failed");
        }
        ((struct row *)g_async_queue_pop(done))->done = TRUE;
        while (delivered < submitted && window[delivered % WINDOW_ROWS].done) {
            window[delivered % WINDOW_ROWS].done = FALSE;
            sum += window[delivered++ % WINDOW_ROWS].result;
        }
    }
    bench_tell("rows_per_s", (double)rows / (bench_now_s() - start_s));
    g_thread_pool_free(pool, FALSE, TRUE);
    g_async_queue_unref(done);
    if (sum != bench_expected_sum(rows))
        bench_die("wrong results");
    return 0;
}
