/*
 * Batches that deliver in any order: each result as soon as it stands, and a window that counts
 * rows, not distances.
 */
#include "core_test.h"

#include "core/reorder.h"

static struct bench bench;

static struct core_batch *begin(struct bench *b, uint32_t window, bool durable, uint64_t rows)
{
    struct core_pool_options o;
    struct core_batch_options bo;
    struct core_batch *batch;

    core_pool_options_init(&o);
    o.size = 3;
    o.gate.throttle.kind = THROTTLE_AIMD;
    bench_init(b, &o, true);
    core_batch_options_init(&bo);
    bo.unordered = true;
    bo.window_rows = window;
    bo.durable = durable;
    batch = bench_open(b, &bo);
    for (uint64_t i = 0; i < rows; i++)
        bench_submit(b, batch, bench_row(batch, i));
    bench_run(b);
    return batch;
}

static void end(struct bench *b, struct core_batch *batch)
{
    dispatcher_end(b->d, batch, b->now);
    bench_finish_all(b);
    bench_free(b, batch);
    bench_end(b);
}

static void each_result_is_delivered_as_soon_as_it_stands(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch = begin(b, 100, false, 5);

    (void)state;
    bench_ok(b, 2);
    assert_int_equal(b->result_count, 1);
    assert_int_equal(b->results[0].index, 2);
    bench_ok(b, 1);
    assert_int_equal(b->results[1].index, 1);
    bench_fail(b, 0); /* waits; others go on */
    bench_ok(b, 3);
    bench_ok(b, 4);
    assert_int_equal(b->result_count, 4);
    end(b, batch);
    assert_int_equal(b->result_count, 5);
    assert_int_equal(b->results[4].index, 0);
    assert_int_equal(b->closed, 1);
}

static void one_slow_row_stops_nothing_however_many_pass_it(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch = begin(b, 4, false, 3);

    (void)state;
    for (uint64_t i = 3; i < 1000; i++) {
        bench_ok(b, i - 2);
        bench_submit(b, batch, bench_row(batch, i));
        bench_run(b);
    }
    assert_non_null(bench_running(b, 0));
    end(b, batch);
    assert_int_equal(b->result_count, 1000);
}

static void a_row_beyond_the_window_is_refused_by_their_number(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch = begin(b, 4, false, 4);
    struct core_task *t = bench_row(batch, 4);

    (void)state;
    assert_int_equal(dispatcher_submit(b->d, batch, t, b->now, &b->err), WEIR_E_LIMIT);
    bench_ok(b, 1);
    bench_submit(b, batch, t);
    bench_run(b);
    end(b, batch);
    assert_int_equal(b->result_count, 5);
}

static void a_durable_row_is_delivered_only_after_the_store_has_it(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch = begin(b, 10, true, 3);

    (void)state;
    bench_ok(b, 1);
    bench_ok(b, 0);
    assert_int_equal(b->result_count, 0);
    bench_commit(b, b->finished[1]);
    assert_int_equal(b->result_count, 1);
    assert_int_equal(b->results[0].index, 0);
    bench_commit(b, b->finished[0]);
    bench_ok(b, 2);
    bench_commit(b, b->finished[2]);
    end(b, batch);
    assert_int_equal(b->result_count, 3);
}

static void stop_delivers_all_that_is_finished(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch = begin(b, 10, false, 8);

    (void)state;
    bench_ok(b, 2);
    dispatcher_stop(b->d, batch, false, b->now);
    bench_ok(b, 3);
    bench_ok(b, 1);
    bench_ok(b, 0);
    assert_int_equal(b->result_count, 4);
    assert_int_equal(b->closed, 1);
    bench_free(b, batch);
    assert_int_equal(b->released, 8);
    bench_end(b);
}

static void outputs_that_nobody_takes_stop_it_at_its_bytes(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o;
    struct core_batch_options bo;
    struct core_batch *batch;

    (void)state;
    core_pool_options_init(&o);
    o.gate.throttle.kind = THROTTLE_AIMD;
    bench_init(b, &o, true);
    core_batch_options_init(&bo);
    bo.unordered = true;
    bo.output_bytes = 5;
    batch = bench_open(b, &bo);
    bench_add_rows(b, batch, 3);
    bench_run(b);
    b->keep = true;
    assert_true(answer_set_output(&bench_running(b, 0)->answer, "12345", 5));
    bench_ok(b, 0);
    assert_int_equal(b->running_count, 0);
    b->keep = false;
    bench_run(b); /* it is given back */
    bench_run(b);
    assert_int_equal(b->running_count, 1);
    bench_finish_all(b);
    bench_free(b, batch);
    bench_end(b);
}

static void places_are_used_again_without_a_gap(void **state)
{
    struct reorder r;
    uint32_t at[4];
    int items[4];

    (void)state;
    assert_true(reorder_init(&r, 3, 0));
    for (int i = 0; i < 3; i++)
        assert_true(reorder_enter_any(&r, &items[i], &at[i]));
    assert_false(reorder_enter_any(&r, &items[3], &at[3]));
    assert_ptr_equal(reorder_take_any(&r, at[0]), &items[2]); /* moved into its place */
    assert_null(reorder_take_any(&r, at[1]));
    assert_true(reorder_enter_any(&r, &items[3], &at[3]));
    assert_int_equal(at[3], 1);
    assert_int_equal(r.held, 2);
    assert_non_null(reorder_drain(&r));
    assert_non_null(reorder_drain(&r));
    assert_null(reorder_drain(&r));
    reorder_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_result_is_delivered_as_soon_as_it_stands),
        cmocka_unit_test(one_slow_row_stops_nothing_however_many_pass_it),
        cmocka_unit_test(a_row_beyond_the_window_is_refused_by_their_number),
        cmocka_unit_test(a_durable_row_is_delivered_only_after_the_store_has_it),
        cmocka_unit_test(stop_delivers_all_that_is_finished),
        cmocka_unit_test(outputs_that_nobody_takes_stop_it_at_its_bytes),
        cmocka_unit_test(places_are_used_again_without_a_gap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
