/*
 * How it stops (P8): shutdown with and without waiting in the middle of batches, stop and close of
 * one batch, calls afterwards, and that nothing is left behind. Every accepted row has its result,
 * and nothing hangs.
 */
#include "engine_test.h"

#include <dirent.h>

struct stand {
    struct latch inside, open;
    atomic_bool cancelled;
};

#define STAND_INIT                                                                                 \
    {                                                                                              \
        LATCH_INIT, LATCH_INIT, false                                                              \
    }

/* Runs until the test opens the latch, or until it is told to stop. */
static void held(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    struct stand *s = ctx;

    latch_add(&s->inside, 1);
    while (latch_count(&s->open) == 0)
        if (weir_answer_cancelled(answer)) {
            atomic_store(&s->cancelled, true);
            return;
        }
    weir_answer_ok(answer, row->data, row->len);
}

struct shutting {
    struct weir_engine *engine;
    bool wait;
    struct latch done;
};

static void *shut_down(void *arg)
{
    struct shutting *s = arg;

    if (weir_shutdown(s->engine, s->wait, NULL) == WEIR_OK)
        latch_add(&s->done, 1);
    return NULL;
}

/* As many results as rows: `finished` of them ok, the others cancelled because of the shutdown. */
static void all_rows_ended(struct weir_batch *b, uint64_t count, uint64_t finished)
{
    const struct weir_result *r;
    uint64_t fine = 0;

    for (uint64_t i = 0; i < count; i++) {
        ok(weir_batch_next(b, -1, &r, &err));
        assert_int_equal(r->submit_index, i);
        if (r->outcome == WEIR_OUTCOME_OK) {
            fine++;
            continue;
        }
        assert_int_equal(r->outcome, WEIR_OUTCOME_CANCELLED);
        assert_int_equal(r->reason, WEIR_REASON_SHUTDOWN_REQUESTED);
        assert_non_null(strstr(r->message, "shut down"));
    }
    assert_int_equal(fine, finished);
    says(WEIR_E_END, "no more", weir_batch_next(b, -1, &r, &err));
}

static void nothing_is_pending(struct house *h, struct weir_batch *b, uint64_t count)
{
    struct weir_stats s;

    ok(weir_batch_stats(b, &s, &err));
    assert_int_equal(s.pending, 0);
    assert_int_equal(s.accepted, count);
    assert_int_equal(s.finished, count);
    assert_int_equal(s.delivered, count);
    assert_int_equal(s.pool_stats.successes + s.pool_stats.failures, count);
    ok(weir_pool_stats(h->pool, &s, &err));
    assert_int_equal(s.pending, 0);
}

static void shutting_down_with_waiting_lets_running_rows_finish(void **state)
{
    struct stand s = STAND_INIT;
    struct house h = house_open(2, held, &s);
    struct shutting down = {h.engine, true, LATCH_INIT};
    struct weir_row *rows = rows_make(10);
    struct weir_batch *b;
    pthread_t thread;

    (void)state;
    ok(weir_batch_open(h.pool, NULL, &b, &err));
    for (int i = 0; i < 10; i++)
        ok(weir_batch_add(b, &rows[i], false, &err));
    assert_true(latch_wait(&s.inside, 2));
    assert_int_equal(pthread_create(&thread, NULL, shut_down, &down), 0);
    /* Until it has begun rows are taken; from then on they are not, although two still run. */
    while (weir_batch_add(b, &rows[0], false, NULL) == WEIR_OK)
        ;
    says(WEIR_E_SHUTDOWN, "shut down", weir_batch_add(b, &rows[0], true, &err));
    assert_int_equal(latch_count(&down.done), 0);
    latch_add(&s.open, 1);
    assert_true(latch_wait(&down.done, 1));
    pthread_join(thread, NULL);
    assert_false(atomic_load(&s.cancelled));
    {
        struct weir_stats stats;

        ok(weir_batch_stats(b, &stats, &err));
        assert_true(stats.accepted >= 10);
        all_rows_ended(b, stats.accepted, 2);
        nothing_is_pending(&h, b, stats.accepted);
    }
    weir_batch_close(b);
    free(rows);
    house_close(&h);
}

static void shutting_down_without_waiting_tells_running_rows_to_stop(void **state)
{
    struct stand s = STAND_INIT;
    struct house h = house_open(2, held, &s);
    struct weir_row *rows = rows_make(10);
    struct weir_batch *b;

    (void)state;
    ok(weir_batch_open(h.pool, NULL, &b, &err));
    add_all(b, rows, 10);
    assert_true(latch_wait(&s.inside, 2));
    ok(weir_shutdown(h.engine, false, &err)); /* returns when the callbacks have */
    assert_true(atomic_load(&s.cancelled));
    all_rows_ended(b, 10, 0);
    nothing_is_pending(&h, b, 10);
    weir_batch_close(b);
    free(rows);
    house_close(&h);
}

/* A second word: no longer waiting, they are told to stop. */
static void a_shutdown_that_waits_can_be_hurried(void **state)
{
    struct stand s = STAND_INIT;
    struct house h = house_open(1, held, &s);
    struct shutting down = {h.engine, true, LATCH_INIT};
    struct weir_row *rows = rows_make(3);
    struct weir_batch *b;
    pthread_t thread;

    (void)state;
    ok(weir_batch_open(h.pool, NULL, &b, &err));
    add_all(b, rows, 3);
    assert_true(latch_wait(&s.inside, 1));
    assert_int_equal(pthread_create(&thread, NULL, shut_down, &down), 0);
    ok(weir_shutdown(h.engine, false, &err));
    assert_true(latch_wait(&down.done, 1));
    pthread_join(thread, NULL);
    all_rows_ended(b, 3, 0);
    weir_batch_close(b);
    free(rows);
    house_close(&h);
}

static void refuse_always(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    struct stand *s = ctx;

    (void)row;
    weir_answer_capacity(answer, 429, NULL);
    latch_add(&s->inside, 1);
}

/* Rows that wait end at once, whatever their backoff: here an hour. */
static void a_row_that_waits_for_an_hour_ends_at_once(void **state)
{
    struct stand s = STAND_INIT;
    struct weir_pool_options o = quick_options(2);
    struct weir_row *rows = rows_make(4);
    struct weir_batch *b;
    struct house h;

    (void)state;
    o.recovery_step_ms = o.max_dispatch_delay_ms = 3600000;
    h = house_open_with(&o, refuse_always, &s);
    ok(weir_batch_open(h.pool, NULL, &b, &err));
    add_all(b, rows, 4);
    assert_true(latch_wait(&s.inside, 4));
    ok(weir_shutdown(h.engine, true, &err));
    all_rows_ended(b, 4, 0);
    nothing_is_pending(&h, b, 4);
    weir_batch_close(b);
    free(rows);
    house_close(&h);
}

static void after_a_shutdown_every_call_says_so(void **state)
{
    struct house h = house_open(1, echo, NULL);
    struct weir_pool_options o = quick_options(1);
    struct weir_row row = {.data = "x", .len = 1};
    struct weir_results *results = NULL;
    struct weir_batch *open, *batch = NULL;
    const struct weir_result *r;
    struct weir_pool *pool = NULL;
    struct weir_stats stats;

    (void)state;
    ok(weir_batch_open(h.pool, NULL, &open, &err));
    ok(weir_batch_add(open, &row, false, &err));
    ok(weir_batch_next(open, -1, &r, &err));
    for (int again = 0; again < 3; again++) {
        ok(weir_shutdown(h.engine, again % 2, &err));
        says(WEIR_E_SHUTDOWN, "shut down",
             weir_pool_open_thread(h.engine, &o, echo, NULL, &pool, &err));
        says(WEIR_E_SHUTDOWN, "shut down", weir_batch_open(h.pool, NULL, &batch, &err));
        says(WEIR_E_SHUTDOWN, "shut down", weir_run(h.pool, &row, 1, NULL, &results, &err));
        says(WEIR_E_SHUTDOWN, "shut down", weir_run(h.pool, NULL, 0, NULL, &results, &err));
        says(WEIR_E_SHUTDOWN, "shut down", weir_batch_add(open, &row, false, &err));
        says(WEIR_E_SHUTDOWN, "shut down", weir_batch_add(open, &row, true, &err));
        says(WEIR_E_END, "no more", weir_batch_next(open, -1, &r, &err));
        ok(weir_batch_end(open, &err));
        ok(weir_batch_stop(open, true, &err));
        ok(weir_batch_stats(open, &stats, &err));
        assert_int_equal(stats.delivered, 1);
        assert_int_equal(stats.pending, 0);
        ok(weir_pool_stats(h.pool, &stats, &err));
        assert_int_equal(stats.pool_stats.successes, 1);
    }
    assert_true(!pool && !batch && !results);
    weir_batch_close(open);
    house_close(&h);
}

struct run {
    struct weir_pool *pool;
    struct weir_row *rows;
    struct weir_results *results;
    enum weir_status status;
};

enum { RUN_ROWS = 5000 };

static void *run_main(void *arg)
{
    struct run *r = arg;
    struct weir_batch_options o;

    weir_batch_options_init(&o);
    o.window_rows = 100; /* most rows are not even added yet */
    r->status = weir_run(r->pool, r->rows, RUN_ROWS, &o, &r->results, NULL);
    return NULL;
}

static void count_and_echo(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    struct stand *s = ctx;

    latch_add(&s->inside, 1);
    weir_answer_ok(answer, row->data, row->len);
}

/* A call that is under way ends with as many results as rows, wherever the shutdown finds it. */
static void shutting_down_in_the_middle_of_a_run_leaves_no_row_without_result(void **state)
{
    (void)state;
    for (uint64_t at = 1; at < RUN_ROWS + 1000; at += 397) {
        struct stand s = STAND_INIT;
        struct house h = house_open(2, count_and_echo, &s);
        struct run run = {.pool = h.pool, .rows = rows_make(RUN_ROWS)};
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, run_main, &run), 0);
        if (at <= RUN_ROWS)
            assert_true(latch_wait(&s.inside, at));
        ok(weir_shutdown(h.engine, at % 2, &err));
        pthread_join(thread, NULL);
        if (run.status == WEIR_E_SHUTDOWN) { /* it came before the batch was open */
            free(run.rows);
            house_close(&h);
            continue;
        }
        assert_int_equal(run.status, WEIR_OK);
        assert_int_equal(run.results->count, RUN_ROWS);
        for (size_t i = 0; i < RUN_ROWS; i++) {
            const struct weir_result *r = &run.results->items[i];
            char key[24];

            snprintf(key, sizeof key, "%zu", i);
            assert_int_equal(r->submit_index, i);
            assert_string_equal(r->key, key);
            assert_int_equal((uintptr_t)r->user, i);
            if (r->outcome != WEIR_OUTCOME_OK)
                assert_int_equal(r->reason, WEIR_REASON_SHUTDOWN_REQUESTED);
        }
        weir_results_free(run.results);
        free(run.rows);
        house_close(&h);
    }
}

struct adding {
    struct weir_batch *batch;
    struct latch added;
    enum weir_status status;
};

static void *add_until_refused(void *arg)
{
    struct adding *a = arg;

    while ((a->status = weir_batch_add(a->batch, &(struct weir_row){0}, true, NULL)) == WEIR_OK)
        latch_add(&a->added, 1);
    return NULL;
}

/* P1: what add has taken has a result, however close the shutdown was behind it; and nothing is taken after it. */
static void every_row_that_was_taken_before_a_shutdown_has_its_result(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 150; round++) {
        struct stand s = STAND_INIT;
        struct house h = house_open(2, held, &s);
        struct adding adding = {.added = LATCH_INIT};
        struct weir_batch_options o;
        const struct weir_result *r;
        pthread_t thread;
        uint64_t results = 0;

        weir_batch_options_init(&o);
        o.window_rows = 1 << 20;
        ok(weir_batch_open(h.pool, &o, &adding.batch, &err));
        assert_int_equal(pthread_create(&thread, NULL, add_until_refused, &adding), 0);
        assert_true(latch_wait(&adding.added, 3 + round % 50));
        ok(weir_shutdown(h.engine, false, &err));
        pthread_join(thread, NULL);
        assert_int_equal(adding.status, WEIR_E_SHUTDOWN);
        while (weir_batch_next(adding.batch, -1, &r, NULL) == WEIR_OK)
            assert_int_equal(r->submit_index, results++);
        assert_int_equal(results, latch_count(&adding.added));
        nothing_is_pending(&h, adding.batch, results);
        weir_batch_close(adding.batch);
        house_close(&h);
    }
}

/* ---- one batch ---- */

static void a_stopped_batch_lets_running_rows_finish_and_starts_no_more(void **state)
{
    struct stand s = STAND_INIT;
    struct house h = house_open(2, held, &s);
    struct weir_row *rows = rows_make(10);
    const struct weir_result *r;
    struct weir_stats stats;
    struct weir_batch *b;

    (void)state;
    ok(weir_batch_open(h.pool, NULL, &b, &err));
    for (int i = 0; i < 10; i++)
        ok(weir_batch_add(b, &rows[i], false, &err));
    assert_true(latch_wait(&s.inside, 2));
    ok(weir_batch_stop(b, false, &err));
    says(WEIR_E_END, "stopped", weir_batch_add(b, &rows[0], true, &err));
    latch_add(&s.open, 1);
    for (uint64_t i = 0; i < 2; i++) {
        ok(weir_batch_next(b, -1, &r, &err));
        assert_int_equal(r->submit_index, i);
        assert_int_equal(r->outcome, WEIR_OUTCOME_OK);
    }
    says(WEIR_E_END, "no more", weir_batch_next(b, -1, &r, &err));
    assert_int_equal(latch_count(&s.inside), 2);
    ok(weir_batch_stats(b, &stats, &err));
    assert_int_equal(stats.pending, 0);
    weir_batch_close(b);
    free(rows);
    house_close(&h);
}

static void a_stop_can_cancel_what_runs(void **state)
{
    struct stand s = STAND_INIT;
    struct house h = house_open(2, held, &s);
    struct weir_row *rows = rows_make(4);
    const struct weir_result *r;
    struct weir_batch *b;

    (void)state;
    ok(weir_batch_open(h.pool, NULL, &b, &err));
    add_all(b, rows, 4);
    assert_true(latch_wait(&s.inside, 2));
    ok(weir_batch_stop(b, false, &err));
    ok(weir_batch_stop(b, true, &err));
    says(WEIR_E_END, "no more", weir_batch_next(b, -1, &r, &err));
    assert_true(atomic_load(&s.cancelled));
    weir_batch_close(b);
    free(rows);
    house_close(&h);
}

/* The neighbour on the same pool goes on. */
static void closing_a_batch_in_the_middle_costs_no_other(void **state)
{
    struct stand s = STAND_INIT;
    struct house h = house_open(2, held, &s);
    struct weir_row *rows = rows_make(50);
    struct weir_batch *gone, *stays;

    (void)state;
    ok(weir_batch_open(h.pool, NULL, &gone, &err));
    ok(weir_batch_open(h.pool, NULL, &stays, &err));
    add_all(gone, rows, 50);
    add_all(stays, rows, 50);
    assert_true(latch_wait(&s.inside, 2));
    weir_batch_close(gone);
    latch_add(&s.open, 1);
    all_rows_ended(stays, 50, 50);
    nothing_is_pending(&h, stays, 50);
    weir_batch_close(stays);
    free(rows);
    house_close(&h);
}

static void closing_with_results_that_nobody_took(void **state)
{
    struct house h = house_open(2, echo, NULL);
    struct weir_row *rows = rows_make(100);
    const struct weir_result *r;

    (void)state;
    for (int taken = 0; taken <= 100; taken += 25) {
        struct weir_batch *b;

        ok(weir_batch_open(h.pool, NULL, &b, &err));
        add_all(b, rows, 100);
        for (int i = 0; i < taken; i++)
            ok(weir_batch_next(b, -1, &r, &err));
        weir_batch_close(b);
    }
    free(rows);
    house_close(&h);
}

/* ---- nothing is left ---- */

static int descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    int count = 0;

    assert_non_null(d);
    while (readdir(d))
        count++;
    closedir(d);
    return count;
}

static void engines_come_and_go_without_a_trace(void **state)
{
    int before = descriptors();

    (void)state;
    for (int i = 0; i < 1000; i++) {
        struct weir_engine *engine;

        ok(weir_open(NULL, &engine, &err));
        if (i % 4 == 1) {
            struct weir_pool_options o = quick_options(2);
            struct weir_row *rows = rows_make(3);
            struct weir_results *r;
            struct weir_pool *pool;

            ok(weir_pool_open_thread(engine, &o, echo, NULL, &pool, &err));
            ok(weir_run(pool, rows, 3, NULL, &r, &err));
            weir_results_free(r);
            free(rows);
        }
        if (i % 3 == 0)
            ok(weir_shutdown(engine, i % 2, &err));
        ok(weir_close(engine, &err));
    }
    assert_int_equal(descriptors(), before);
}

static void batches_come_and_go_without_a_trace(void **state)
{
    struct house h = house_open(2, echo, NULL);
    int before = descriptors();

    (void)state;
    for (int i = 0; i < 1000; i++) {
        struct weir_batch *b;

        ok(weir_batch_open(h.pool, NULL, &b, &err));
        if (i % 2)
            ok(weir_batch_add(b, &(struct weir_row){.data = "x", .len = 1}, false, &err));
        weir_batch_close(b);
    }
    assert_int_equal(descriptors(), before);
    house_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shutting_down_with_waiting_lets_running_rows_finish),
        cmocka_unit_test(shutting_down_without_waiting_tells_running_rows_to_stop),
        cmocka_unit_test(a_shutdown_that_waits_can_be_hurried),
        cmocka_unit_test(a_row_that_waits_for_an_hour_ends_at_once),
        cmocka_unit_test(after_a_shutdown_every_call_says_so),
        cmocka_unit_test(shutting_down_in_the_middle_of_a_run_leaves_no_row_without_result),
        cmocka_unit_test(every_row_that_was_taken_before_a_shutdown_has_its_result),
        cmocka_unit_test(a_stopped_batch_lets_running_rows_finish_and_starts_no_more),
        cmocka_unit_test(a_stop_can_cancel_what_runs),
        cmocka_unit_test(closing_a_batch_in_the_middle_costs_no_other),
        cmocka_unit_test(closing_with_results_that_nobody_took),
        cmocka_unit_test(engines_come_and_go_without_a_trace),
        cmocka_unit_test(batches_come_and_go_without_a_trace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
