/*
 * Rows through a thread pool, each kept in a journal before it is delivered.
 *
 *     journal_inside FOLDER ROWS
 *
 * The library does not offer a journal yet, so this is linked with what is inside: the engine, two
 * threads, and the same store as `weir run` has, in a real file. A row gives 100 bytes. As in `weir
 * run`, what has been delivered is marked about once a second, which takes its output out of the
 * journal again.
 */
#include "benchkit.h"

#include "base/list.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "exec/thread/thread.h"
#include "store/sqlite/sqlite_store.h"

#include <pthread.h>
#include <unistd.h>

#define THREADS       2
#define OUTPUT_BYTES  100
#define MARK_EVERY_S  1.0
#define KEY_TEXT_SIZE 24

struct row {
    struct core_task task;
    char key[KEY_TEXT_SIZE];
};

struct feed {
    struct engine_batch *batch;
    uint64_t rows;
};

static void work(void *ctx, struct core_attempt *a)
{
    (void)ctx;
    a->answer.output = mem_alloc(OUTPUT_BYTES + 1);
    if (!a->answer.output)
        return;
    memset(a->answer.output, 'x', OUTPUT_BYTES);
    a->answer.output[OUTPUT_BYTES] = 0;
    a->answer.output_len = OUTPUT_BYTES;
    a->answer.outcome = WEIR_OUTCOME_OK;
    a->answer.reason = WEIR_REASON_NONE;
}

static enum weir_status make_executor(void *ctx, const struct core_pool_options *o,
                                      struct uv_loop_s *loop, struct core_executor_host *host,
                                      struct core_executor **ret, struct weir_error *err)
{
    struct thread_options t = {.threads = o->size, .work = work, .ctx = ctx};

    (void)loop;
    return thread_executor_new(&t, host, ret, err);
}

static void row_release(struct core_task *task)
{
    struct row *row = list_entry(task, struct row, task);

    task_clear(task);
    mem_free(row);
}

static void *add_rows(void *arg)
{
    struct feed *feed = arg;
    struct weir_error err;

    for (uint64_t i = 0; i < feed->rows; i++) {
        struct row *row = mem_alloc(sizeof *row);

        if (!row)
            bench_die("no memory");
        task_init(&row->task);
        snprintf(row->key, sizeof row->key, "%" PRIu64, i);
        row->task.index = i;
        row->task.key = row->key;
        row->task.payload = "";
        row->task.hash_hi = row->task.hash_lo = i;
        row->task.release = row_release;
        if (engine_batch_add(feed->batch, &row->task, true, &err) != WEIR_OK)
            bench_die(err.message);
    }
    engine_batch_end(feed->batch);
    return NULL;
}

static uint64_t take_results(struct engine_batch *batch, struct core_store *store)
{
    double marked_s = bench_now_s();
    struct core_task *chain;
    struct weir_error err;
    uint64_t taken = 0;
    enum weir_status status;

    while ((status = engine_batch_next(batch, -1, &chain, &err)) == WEIR_OK) {
        for (struct core_task *t = chain; t; t = t->next)
            if (t->index != taken++ || t->answer.outcome != WEIR_OUTCOME_OK)
                bench_die("a result is not as it must be");
        engine_batch_give_back(batch, chain);
        if (bench_now_s() - marked_s >= MARK_EVERY_S) {
            struct store_mark mark = {.next = taken, .output_bytes = taken * OUTPUT_BYTES};

            if (store->ops->mark(store, &mark, NULL, 0, &err) != WEIR_OK)
                bench_die(err.message);
            marked_s = bench_now_s();
        }
    }
    if (status != WEIR_E_END)
        bench_die(err.message);
    return taken;
}

int main(int argc, char **argv)
{
    struct core_pool_options pool_options;
    struct engine_batch_options batch_options = {.store = NULL};
    struct store_summary summary;
    struct core_store *store;
    struct core_pool *pool;
    struct engine *engine;
    struct weir_error err;
    struct feed feed = {.rows = bench_number(argc, argv, 2)};
    char path[4096];
    pthread_t adder;
    double start_s;

    snprintf(path, sizeof path, "%s/weir.weir", bench_text(argc, argv, 1));
    core_pool_options_init(&pool_options);
    pool_options.size = THREADS;
    core_batch_options_init(&batch_options.core);
    if (sqlite_store_open(path, SQLITE_STORE_FRESH, &store, &err) != WEIR_OK ||
        engine_new(&(struct engine_options){.seed = 1}, &engine, &err) != WEIR_OK ||
        engine_add_pool(engine, &pool_options, make_executor, NULL, &pool, &err) != WEIR_OK)
        bench_die(err.message);
    batch_options.store = store;
    if (engine_open_batch(engine, pool, &batch_options, &feed.batch, &err) != WEIR_OK)
        bench_die(err.message);
    start_s = bench_now_s();
    if (pthread_create(&adder, NULL, add_rows, &feed))
        bench_die("no thread");
    if (take_results(feed.batch, store) != feed.rows)
        bench_die("rows are missing");
    bench_tell("rows_per_s", (double)feed.rows / (bench_now_s() - start_s));
    pthread_join(adder, NULL);
    if (store->ops->summary(store, &summary, &err) != WEIR_OK || summary.finished != feed.rows)
        bench_die("the journal does not hold all rows");
    engine_batch_close(feed.batch);
    engine_free(engine);
    store->ops->close(store);
    unlink(path);
    return 0;
}
