/*
 * Many rows that fail alike: one event says so, and the batch's policy decides.
 */
#include "core_test.h"

#include "core/alike.h"

static struct bench bench;

/* ---- the counts by themselves ---- */

static struct core_answer answer(enum weir_reason reason, int status, const char *message)
{
    struct core_answer a;

    answer_init(&a);
    a.outcome = WEIR_OUTCOME_FAILED;
    a.reason = reason;
    a.status = status;
    answer_say(&a, "%s", message);
    return a;
}

static const struct alike_kind *fail_once(struct alike *a, enum weir_reason reason, int status,
                                          const char *message, uint64_t index)
{
    struct core_answer ans = answer(reason, status, message);
    const struct alike_kind *k = alike_failed(a, &ans, index);

    answer_clear(&ans);
    return k;
}

static void five_in_a_row_are_told_and_then_each_time_they_have_doubled(void **state)
{
    struct alike a;
    uint64_t told[8];
    size_t n = 0;

    (void)state;
    alike_init(&a);
    for (uint64_t i = 1; i <= 100; i++)
        if (fail_once(&a, WEIR_REASON_CALLBACK, 0, "no such file", i))
            told[n++] = i;
    assert_int_equal(n, 5);
    assert_int_equal(told[0], 5);
    assert_int_equal(told[1], 10);
    assert_int_equal(told[2], 20);
    assert_int_equal(told[4], 80);
    assert_int_equal(a.told, 100);
}

static void ten_in_all_are_told_whatever_comes_between(void **state)
{
    struct alike a;

    (void)state;
    alike_init(&a);
    for (uint64_t i = 1; i < 10; i++) {
        assert_null(fail_once(&a, WEIR_REASON_CALLBACK, 0, "no such file", i));
        alike_succeeded(&a);
    }
    assert_int_equal(a.told, 0);
    assert_int_equal(fail_once(&a, WEIR_REASON_CALLBACK, 0, "no such file", 10)->count, 10);
    assert_int_equal(a.told, 10);
}

static void numbers_in_a_message_make_no_difference_and_all_else_does(void **state)
{
    struct alike a;

    (void)state;
    alike_init(&a);
    for (uint64_t i = 0; i < 4; i++) {
        char text[64];

        snprintf(text, sizeof text, "line %llu: 3 fields", (unsigned long long)(1000 * i));
        assert_null(fail_once(&a, WEIR_REASON_CALLBACK, 0, text, i));
    }
    assert_null(fail_once(&a, WEIR_REASON_CALLBACK, 1, "line 7: 3 fields", 4));
    assert_null(fail_once(&a, WEIR_REASON_TIMEOUT, 0, "line 7: 3 fields", 5));
    assert_null(fail_once(&a, WEIR_REASON_CALLBACK, 0, "line 7: 3 columns", 6));
    assert_int_equal(a.kind_count, 4);
    assert_string_equal(a.kinds[0].message, "line #: # fields");
}

static void more_kinds_than_are_counted_take_the_place_of_the_rarest(void **state)
{
    struct alike a;
    char text[32];

    (void)state;
    alike_init(&a);
    for (uint64_t i = 0; i < 4; i++)
        fail_once(&a, WEIR_REASON_CALLBACK, 0, "often", i);
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "once %c%c%c", 'a' + i % 26, 'a' + i / 26 % 26, 'a' + i / 676);
        assert_null(fail_once(&a, WEIR_REASON_CALLBACK, 0, text, 5));
    }
    assert_int_equal(a.kind_count, ALIKE_KINDS);
    assert_int_equal(a.kinds[0].count, 4);
    assert_string_equal(a.kinds[0].message, "often");
}

static void it_is_described_with_its_count_and_the_first_rows(void **state)
{
    const struct alike_kind *k = NULL;
    struct alike a;
    char text[320], small[20];

    (void)state;
    alike_init(&a);
    for (uint64_t i = 0; i < 10; i++) {
        const struct alike_kind *now = fail_once(&a, WEIR_REASON_HTTP_STATUS, 400, "bad", 7 * i);

        k = now ? now : k;
    }
    assert_string_equal(alike_describe(k, text, sizeof text),
                        "10 rows have failed alike: http_status, status 400, \"bad\"; the first "
                        "are rows 0, 7, 14, 21, 28");
    alike_describe(k, small, sizeof small);
    assert_int_equal(strlen(small), sizeof small - 1);
}

/* ---- in a batch ---- */

static struct core_batch *begin(const struct core_batch_options *bo, uint64_t rows)
{
    struct bench *b = &bench;
    struct core_pool_options o;
    struct core_batch *batch;

    core_pool_options_init(&o);
    o.size = 1;
    o.max_attempts = 1;
    o.gate.throttle.kind = THROTTLE_AIMD;
    bench_init(b, &o, true);
    batch = bench_open(b, bo);
    bench_add_rows(b, batch, rows);
    bench_run(b);
    return batch;
}

static void fail_rows(uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++)
        bench_end_as(&bench, bench_running(&bench, i), WEIR_OUTCOME_FAILED, 400, false);
}

static void end(struct core_batch *batch)
{
    bench_finish_all(&bench);
    bench_free(&bench, batch);
    bench_end(&bench);
}

static void by_default_a_batch_goes_on_and_it_is_told_once(void **state)
{
    struct core_batch *batch = begin(NULL, 12);

    (void)state;
    fail_rows(0, 9);
    assert_int_equal(bench_count(&bench, EVENT_FAILURES_ALIKE), 1);
    assert_int_equal(bench_stats(batch).failed_alike, 9);
    assert_false(bench_stats(batch).stopped_alike);
    end(batch);
    assert_int_equal(bench.result_count, 12);
}

static void a_batch_may_be_stopped_for_it(void **state)
{
    struct core_batch_options bo;
    struct core_batch *batch;
    struct core_task *t;

    (void)state;
    core_batch_options_init(&bo);
    bo.on_failures = FAILURES_STOP;
    batch = begin(&bo, 12);
    fail_rows(0, 4);
    assert_int_equal(bench.closed, 0);
    fail_rows(4, 5);
    assert_int_equal(bench.closed, 1);
    assert_int_equal(bench.running_count, 0);
    assert_int_equal(bench.result_count, 5);
    assert_true(bench_stats(batch).stopped_alike);
    t = bench_row(batch, 12);
    assert_int_equal(dispatcher_submit(bench.d, batch, t, bench.now, &bench.err), WEIR_E_END);
    mem_free(t);
    end(batch);
}

static void or_only_after_a_share_of_what_has_finished(void **state)
{
    struct core_batch_options bo;
    struct core_batch *batch;

    (void)state;
    core_batch_options_init(&bo);
    bo.on_failures = FAILURES_STOP_AFTER_SHARE;
    bo.failure_share = 0.5;
    batch = begin(&bo, 40);
    for (uint64_t i = 0; i < 10; i++)
        bench_ok(&bench, i);
    fail_rows(10, 19);
    assert_int_equal(bench_count(&bench, EVENT_FAILURES_ALIKE), 1);
    assert_int_equal(bench.closed, 0);
    fail_rows(19, 20); /* 10 of 20 */
    assert_int_equal(bench.closed, 1);
    assert_true(bench_stats(batch).stopped_alike);
    end(batch);
}

/* What the batch's owner counts: asked after each row that has finished, whatever its outcome. */
struct owner {
    int asked, halts_at;
};

static bool owner_halts(void *ctx)
{
    struct owner *o = ctx;

    return ++o->asked >= o->halts_at;
}

static void a_batchs_owner_may_have_nothing_more_started(void **state)
{
    struct owner owner = {.halts_at = 3};
    struct core_batch_options bo;
    struct core_batch *batch;

    (void)state;
    core_batch_options_init(&bo);
    bo.halts = owner_halts;
    bo.halts_ctx = &owner;
    batch = begin(&bo, 12);
    bench_ok(&bench, 0);
    fail_rows(1, 2);
    assert_int_equal(owner.asked, 2);
    assert_int_equal(bench.closed, 0);
    bench_ok(&bench, 2);
    assert_int_equal(bench.closed, 1);
    assert_int_equal(bench.running_count, 0);
    assert_int_equal(bench.result_count, 3);
    assert_false(bench_stats(batch).stopped_alike);
    end(batch);
}

static void rows_that_fail_each_in_its_own_way_stop_nothing(void **state)
{
    struct core_batch_options bo;
    struct core_batch *batch;

    (void)state;
    core_batch_options_init(&bo);
    bo.on_failures = FAILURES_STOP;
    batch = begin(&bo, 12);
    for (uint64_t i = 0; i < 12; i++)
        bench_end_as(&bench, bench_running(&bench, i), WEIR_OUTCOME_FAILED, 400 + (int)i, false);
    assert_int_equal(bench_count(&bench, EVENT_FAILURES_ALIKE), 0);
    end(batch);
    assert_int_equal(bench.result_count, 12);
}

static void a_shutdown_is_no_failure(void **state)
{
    struct core_batch *batch = begin(NULL, 20);

    (void)state;
    dispatcher_shutdown(bench.d, true, bench.now);
    bench_run(&bench);
    assert_int_equal(bench_count(&bench, EVENT_FAILURES_ALIKE), 0);
    assert_int_equal(bench_stats(batch).failed_alike, 0);
    end(batch);
}

static void a_share_must_be_one(void **state)
{
    struct core_batch_options bo;

    (void)state;
    core_batch_options_init(&bo);
    bo.on_failures = FAILURES_STOP_AFTER_SHARE;
    assert_int_equal(core_batch_options_check(&bo, NULL), WEIR_E_INVALID);
    bo.failure_share = 1.01;
    assert_int_equal(core_batch_options_check(&bo, NULL), WEIR_E_INVALID);
    bo.failure_share = 1;
    assert_int_equal(core_batch_options_check(&bo, NULL), WEIR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_in_a_row_are_told_and_then_each_time_they_have_doubled),
        cmocka_unit_test(ten_in_all_are_told_whatever_comes_between),
        cmocka_unit_test(numbers_in_a_message_make_no_difference_and_all_else_does),
        cmocka_unit_test(more_kinds_than_are_counted_take_the_place_of_the_rarest),
        cmocka_unit_test(it_is_described_with_its_count_and_the_first_rows),
        cmocka_unit_test(by_default_a_batch_goes_on_and_it_is_told_once),
        cmocka_unit_test(a_batch_may_be_stopped_for_it),
        cmocka_unit_test(or_only_after_a_share_of_what_has_finished),
        cmocka_unit_test(a_batchs_owner_may_have_nothing_more_started),
        cmocka_unit_test(rows_that_fail_each_in_its_own_way_stop_nothing),
        cmocka_unit_test(a_shutdown_is_no_failure),
        cmocka_unit_test(a_share_must_be_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
