/*
 * The engine with a store behind a batch: a result comes out only after the store has it (I3), in
 * groups; a store that fails ends the batch with its error and hangs nobody (P1, P2, P8).
 */
#include "engine_test.h"

#include "base/list.h"
#include "engine/engine.h"
#include "exec/thread/thread.h"

/* A store that keeps only what the test asks about, and does as it is told. */
struct fake {
    struct core_store base;
    struct latch open;    /* put() waits until this many groups may pass */
    struct latch inside;  /* groups that have come */
    uint64_t fail_from;   /* this group and all after it fail; 0: none */
    pthread_mutex_t lock; /* of what follows */
    uint64_t groups, rows, attempts;
    bool has[4096];
};

static enum weir_status fake_put(struct core_store *s, const struct store_row *rows,
                                 size_t row_count, const struct store_attempt *attempts,
                                 size_t attempt_count, struct weir_error *err)
{
    struct fake *f = list_entry(s, struct fake, base);
    uint64_t group;

    (void)attempts;
    latch_add(&f->inside, 1);
    pthread_mutex_lock(&f->lock);
    group = ++f->groups;
    pthread_mutex_unlock(&f->lock);
    if (!latch_wait(&f->open, group))
        return WEIR_E_INTERNAL;
    if (f->fail_from && group >= f->fail_from) {
        *err = (struct weir_error){WEIR_E_IO, "the disk is full"};
        return WEIR_E_IO;
    }
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < row_count; i++)
        f->has[rows[i].index] = true;
    f->rows += row_count;
    f->attempts += attempt_count;
    pthread_mutex_unlock(&f->lock);
    return WEIR_OK;
}

static const struct core_store_ops fake_ops = {.name = "fake", .put = fake_put};

/* An engine with one pool of two threads and one batch over the store. */
struct stand {
    struct fake store;
    struct engine *engine;
    struct core_pool *pool;
    struct engine_batch *batch;
    thread_work_fn work;
    struct core_task tasks[4096];
    atomic_uint released;
};

static struct stand *stand; /* release() has no other way to it */

static void release(struct core_task *t)
{
    atomic_fetch_add(&stand->released, 1);
    task_clear(t);
}

static void fine(void *ctx, struct core_attempt *a)
{
    (void)ctx;
    a->answer.outcome = WEIR_OUTCOME_OK;
    a->answer.reason = WEIR_REASON_NONE;
}

/* Each row's first attempt fails. */
static void second_time(void *ctx, struct core_attempt *a)
{
    if (a->number > 1)
        fine(ctx, a);
}

static enum weir_status make(void *ctx, const struct core_pool_options *o, struct uv_loop_s *loop,
                             struct core_executor_host *host, struct core_executor **ret,
                             struct weir_error *err)
{
    struct thread_options t = {.threads = o->size, .work = stand->work, .ctx = ctx};

    (void)loop;
    return thread_executor_new(&t, host, ret, err);
}

static void stand_open(thread_work_fn work)
{
    struct core_pool_options pool;
    struct engine_batch_options batch = {.store = NULL};

    stand = calloc(1, sizeof *stand);
    assert_non_null(stand);
    stand->work = work;
    stand->store.base.ops = &fake_ops;
    stand->store.open = stand->store.inside = (struct latch)LATCH_INIT;
    pthread_mutex_init(&stand->store.lock, NULL);
    core_pool_options_init(&pool);
    pool.size = 2;
    pool.backoff.initial_ns = NS_PER_MS;
    core_batch_options_init(&batch.core);
    batch.store = &stand->store.base;
    ok(engine_new(&(struct engine_options){.seed = 1}, &stand->engine, &err));
    ok(engine_add_pool(stand->engine, &pool, make, NULL, &stand->pool, &err));
    ok(engine_open_batch(stand->engine, stand->pool, &batch, &stand->batch, &err));
}

static void add(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct core_task *t = &stand->tasks[i];

        task_init(t);
        t->index = i;
        t->key = "k";
        t->payload = "p";
        t->release = release;
        ok(engine_batch_add(stand->batch, t, false, &err));
    }
    engine_batch_end(stand->batch);
}

static void stand_close(uint64_t count)
{
    latch_add(&stand->store.open, 1 << 20);
    engine_batch_close(stand->batch);
    engine_free(stand->engine);
    assert_int_equal(atomic_load(&stand->released), count);
    pthread_mutex_destroy(&stand->store.lock);
    free(stand);
    stand = NULL;
}

/* Takes what there is, each row in order and in the store; returns how many there were until the end or an error. */
static uint64_t take_all(uint64_t next, enum weir_status *ret_status, struct weir_error *err)
{
    struct core_task *chain;

    while ((*ret_status = engine_batch_next(stand->batch, -1, &chain, err)) == WEIR_OK) {
        for (struct core_task *t = chain; t; t = t->next) {
            bool stored;

            assert_int_equal(t->index, next++);
            pthread_mutex_lock(&stand->store.lock);
            stored = stand->store.has[t->index];
            pthread_mutex_unlock(&stand->store.lock);
            assert_true(stored);
        }
        engine_batch_give_back(stand->batch, chain);
    }
    return next;
}

static void a_result_comes_out_only_when_the_store_has_it(void **state)
{
    struct core_task *chain;
    struct core_stats s;
    enum weir_status status;
    struct weir_error err;

    (void)state;
    stand_open(fine);
    add(2000);
    assert_true(latch_wait(&stand->store.inside, 1)); /* and there it is held */
    assert_int_equal(engine_batch_next(stand->batch, 0, &chain, NULL), WEIR_E_AGAIN);
    engine_batch_stats(stand->batch, &s);
    assert_int_equal(s.delivered, 0);
    latch_add(&stand->store.open, 1 << 20);
    assert_int_equal(take_all(0, &status, &err), 2000);
    assert_int_equal(status, WEIR_E_END);
    assert_int_equal(stand->store.rows, 2000);
    assert_true(stand->store.groups < 2000); /* one transaction for many */
    stand_close(2000);
}

static void attempts_that_were_not_the_last_are_stored_too(void **state)
{
    enum weir_status status;
    struct weir_error err;

    (void)state;
    stand_open(second_time);
    latch_add(&stand->store.open, 1 << 20);
    add(100);
    assert_int_equal(take_all(0, &status, &err), 100);
    assert_int_equal(status, WEIR_E_END);
    assert_int_equal(stand->store.rows, 100);
    stand->store.rows = 0;
    engine_batch_close(stand->batch); /* whatever was waiting is written by now */
    assert_int_equal(stand->store.attempts, 100);
    engine_free(stand->engine);
    pthread_mutex_destroy(&stand->store.lock);
    free(stand);
    stand = NULL;
}

/* Wherever it begins to fail: what came out before was stored, then comes the error, and nothing hangs. */
static void a_store_that_fails_ends_the_batch_with_its_error(void **state)
{
    (void)state;
    for (uint64_t group = 1; group <= 5; group++) {
        struct core_task late;
        enum weir_status status;
        struct weir_error why;
        uint64_t taken;

        stand_open(fine);
        stand->store.fail_from = group;
        add(3000);
        latch_add(&stand->store.open, 1 << 20);
        taken = take_all(0, &status, &why);
        if (status != WEIR_E_END) { /* everything went into fewer groups */
            assert_int_equal(status, WEIR_E_IO);
            assert_string_equal(why.message, "the disk is full");
            assert_true(taken < 3000);
            task_init(&late);
            says(WEIR_E_END, "the disk is full", engine_batch_add(stand->batch, &late, true, &err));
        } else {
            assert_int_equal(taken, 3000);
        }
        stand_close(3000);
    }
}

static void closing_waits_for_the_store(void **state)
{
    (void)state;
    stand_open(fine);
    add(500);
    assert_true(latch_wait(&stand->store.inside, 1));
    latch_add(&stand->store.open, 1); /* the first group passes while the batch is being closed */
    stand_close(500);
}

static void a_shutdown_stores_what_it_cancels(void **state)
{
    enum weir_status status;
    struct weir_error err;

    (void)state;
    stand_open(second_time);
    latch_add(&stand->store.open, 1 << 20);
    add(1000);
    engine_shutdown(stand->engine, true);
    assert_int_equal(take_all(0, &status, &err), 1000);
    assert_int_equal(status, WEIR_E_END);
    assert_int_equal(stand->store.rows, 1000);
    stand_close(1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_result_comes_out_only_when_the_store_has_it),
        cmocka_unit_test(attempts_that_were_not_the_last_are_stored_too),
        cmocka_unit_test(a_store_that_fails_ends_the_batch_with_its_error),
        cmocka_unit_test(closing_waits_for_the_store),
        cmocka_unit_test(a_shutdown_stores_what_it_cancels),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
