/*
 * What a pool does when the service is full, line by line of design 3: the AIMD throttle, the
 * limits of time, Retry-After, rows that are too large, and new rows beside many that were refused
 * (P4).
 */
#include "core_test.h"

#include "core/internal.h"

static struct bench bench;

static struct core_pool_options pool_options(size_t size)
{
    struct core_pool_options o;

    core_pool_options_init(&o);
    o.size = size;
    o.backoff.jitter = 0;
    o.gate.throttle.kind = THROTTLE_AIMD; /* starts all it has at once, and a refused row waits */
    return o;
}

/* A wait is what was said, or up to a tenth more by chance. */
static bool is_about(duration_ns wait, duration_ns said)
{
    return wait >= said && wait <= said + said / 10;
}

static void capacity_never_uses_up_an_attempt(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(1);
    struct core_batch *batch;

    (void)state;
    o.max_attempts = 1;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    for (int i = 0; i < 50; i++) {
        bench_refuse(b, 0);
        bench_advance(b, 6 * NS_PER_S);
    }
    bench_ok(b, 0);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_OK);
    assert_int_equal(b->results[0].attempts, 51);
    assert_int_equal(b->results[0].capacity_retries, 50);
    bench_free(b, batch);
    bench_end(b);
}

static void at_its_time_limit_a_refused_row_fails_with_elapsed_limit_and_status(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(1);
    struct core_batch *batch;

    (void)state;
    o.max_capacity_retry_ns = 3 * NS_PER_S;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    bench_refuse(b, 0);
    bench_advance(b, 3 * NS_PER_S);
    /* Exactly at the limit: >=. */
    bench_end_as(b, bench_running(b, 0), WEIR_OUTCOME_CAPACITY, 529, false);
    assert_int_equal(b->result_count, 1);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(b->results[0].reason, WEIR_REASON_RETRY_TIMEOUT);
    assert_int_equal(b->results[0].status, 529);
    assert_string_equal(b->results[0].message,
                        "still refused after 3.0 s; the limit is 3.0 s (last status 529)");
    assert_int_equal(bench_stats(batch).failures, 1);
    bench_free(b, batch);
    bench_end(b);
}

static void just_before_its_time_limit_a_refused_row_is_retried(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(1);
    struct core_batch *batch;

    (void)state;
    o.max_capacity_retry_ns = 3 * NS_PER_S;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    bench_advance(b, 3 * NS_PER_S - 1);
    bench_refuse(b, 0);
    assert_int_equal(bench_stats(batch).waiting, 1);
    bench_finish_all(b);
    bench_free(b, batch);
    bench_end(b);
}

static void the_time_limit_is_tested_before_the_throttle_is_told(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(1);
    struct core_batch *batch;

    (void)state;
    o.max_capacity_retry_ns = NS_PER_S;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    bench_refuse(b, 0);
    assert_int_equal(bench_stats(batch).current_delay_ns, MS(50));
    bench_advance(b, NS_PER_S);
    bench_refuse(b, 0);
    assert_int_equal(b->results[0].reason, WEIR_REASON_RETRY_TIMEOUT);
    assert_int_equal(bench_stats(batch).current_delay_ns, MS(50));
    assert_int_equal(bench_stats(batch).capacity_retries, 1);
    assert_int_equal(bench_stats(batch).refused, 2);
    bench_free(b, batch);
    bench_end(b);
}

static void the_refused_row_waits_the_delay_as_aimd_says(void **state)
{
    static const int64_t delays_ms[] = {50, 100, 200, 400, 800, 1600, 3200, 5000, 5000};
    struct bench *b = &bench;
    struct core_batch *batch;
    duration_ns sum = 0;

    (void)state;
    bench_init(b, NULL, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    for (size_t i = 0; i < sizeof delays_ms / sizeof *delays_ms; i++) {
        bench_refuse(b, 0);
        assert_true(is_about(instant_diff(b->wake, b->now), MS(delays_ms[i])));
        bench_advance(b, MS(delays_ms[i]) - 1);
        assert_null(bench_running(b, 0));
        bench_advance(b, MS(delays_ms[i]) / 10 + 1);
        assert_non_null(bench_running(b, 0));
        sum += MS(delays_ms[i]);
    }
    bench_ok(b, 0);
    assert_int_equal(bench_stats(batch).current_delay_ns, MS(4950));
    assert_int_equal(bench_stats(batch).peak_delay_ns, MS(5000));
    assert_int_equal(bench_stats(batch).total_throttle_time_ns, sum);
    assert_int_equal(b->results[0].throttled_ns, sum);
    bench_free(b, batch);
    bench_end(b);
}

static void a_new_batch_resets_the_counters_and_not_the_delay(void **state)
{
    struct bench *b = &bench;
    struct core_batch *first, *second;
    struct core_stats s;

    (void)state;
    bench_init(b, NULL, true);
    first = bench_open(b, NULL);
    bench_add_rows(b, first, 1);
    bench_run(b);
    for (int i = 0; i < 3; i++) {
        bench_refuse(b, 0);
        bench_advance(b, NS_PER_S);
    }
    bench_ok(b, 0);
    second = bench_open(b, NULL);
    s = bench_stats(second);
    assert_int_equal(s.capacity_retries, 0);
    assert_int_equal(s.successes, 0);
    assert_int_equal(s.total_throttle_time_ns, 0);
    assert_int_equal(s.current_delay_ns, MS(150));
    assert_int_equal(s.peak_delay_ns, MS(150)); /* begins at the delay in force */
    assert_int_equal(bench_stats(first).peak_delay_ns, MS(200));
    assert_int_equal(bench_stats(first).dispatch_delay_at_completion_ns, MS(150));
    assert_int_equal(bench_pool_stats(b).capacity_retries, 3);
    dispatcher_end(b->d, second, b->now);
    bench_free(b, first);
    bench_free(b, second);
    bench_end(b);
}

static void retry_after_holds_the_whole_pool_and_the_row(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(2);
    struct core_batch *batch;
    struct core_attempt *a;

    (void)state;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 3);
    bench_run(b);
    a = bench_running(b, 0);
    a->answer.advice.retry_after_ns = 2 * NS_PER_S;
    bench_end_as(b, a, WEIR_OUTCOME_CAPACITY, 429, false);
    bench_advance(b, 2 * NS_PER_S - 1);
    assert_int_equal(b->started_count, 2);
    /* A little is added by chance, at most a tenth. */
    bench_advance(b, MS(200) + 1);
    assert_int_equal(b->started_count, 3);
    bench_finish_all(b);
    bench_free(b, batch);
    bench_end(b);
}

static void retry_after_above_the_ceiling_fails_the_row_and_holds_nobody(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch;
    struct core_attempt *a;

    (void)state;
    bench_init(b, NULL, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 2);
    bench_run(b);
    a = bench_running(b, 0);
    a->answer.advice.retry_after_ns = 276480 * NS_PER_S;
    bench_end_as(b, a, WEIR_OUTCOME_CAPACITY, 429, false);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(b->results[0].reason, WEIR_REASON_RETRY_AFTER_TOO_LONG);
    assert_non_null(strstr(b->results[0].message, "276480.0 s; at most 120.0 s"));
    assert_non_null(bench_running(b, 1));
    bench_finish_all(b);
    bench_free(b, batch);
    bench_end(b);
}

static void a_row_larger_than_the_whole_budget_is_refused_at_once(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(1);
    struct core_batch *batch;
    struct core_task *t;

    (void)state;
    o.gate.tokens_per_minute = 1000;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    t = bench_row(batch, 0);
    t->tokens = 1001;
    bench_submit(b, batch, t);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(b->results[0].reason, WEIR_REASON_OVER_BUDGET);
    assert_int_equal(b->results[0].attempts, 0);
    assert_true(instant_is_none(b->results[0].start_at));
    t = bench_row(batch, 1);
    t->tokens = 1000;
    bench_submit(b, batch, t);
    dispatcher_end(b->d, batch, b->now);
    bench_run(b);
    bench_ok(b, 1);
    bench_free(b, batch);
    bench_end(b);
}

/* Refuses whatever runs until nothing does, at this very time. */
static void refuse_all(struct bench *b)
{
    while (b->running_count > 0)
        bench_refuse(b, b->running[0]->index);
}

static uint64_t rows_started(const struct bench *b)
{
    uint64_t n = 0;

    for (size_t i = 0; i < b->started_count; i++)
        n += b->started[i].number == 1;
    return n;
}

static void while_a_service_is_full_new_rows_are_held_back(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(2);
    struct core_batch *batch;
    struct core_stats s;

    (void)state;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 100);
    bench_run(b);
    refuse_all(b);
    s = bench_stats(batch);
    assert_int_equal(s.waiting, 2 + CROWDING_ROWS_MAX);
    assert_int_equal(rows_started(b), 2 + CROWDING_ROWS_MAX);
    /* One that waited and goes well lets a new one in. */
    bench_advance(b, instant_diff(b->wake, b->now));
    assert_int_equal(b->running_count, 1);
    bench_ok(b, b->running[0]->index);
    assert_int_equal(rows_started(b), 3 + CROWDING_ROWS_MAX);
    bench_finish_all(b);
    assert_int_equal(b->result_count, 100);
    bench_free(b, batch);
    bench_end(b);
}

static void rows_that_are_tried_again_are_not_held_back(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(2);
    struct core_batch *batch;

    (void)state;
    o.gate.throttle.aimd.step_ns = 5 * NS_PER_S; /* who is refused is away for a while */
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 40);
    bench_run(b);
    bench_fail(b, 0);
    refuse_all(b);
    assert_int_equal(bench_stats(batch).waiting, 1 + 2 + CROWDING_ROWS_MAX);
    bench_advance(b, MS(550));
    assert_non_null(bench_running(b, 0));
    bench_finish_all(b);
    bench_free(b, batch);
    bench_end(b);
}

static void rows_that_are_refused_for_ever_hold_back_nobody(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(2);
    struct core_batch *batch;

    (void)state;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 40);
    bench_run(b);
    /* Rows 0 to 17 are always refused; the others must get through all the same. */
    for (int turn = 0; turn < 10000 && bench_stats(batch).finished < 22; turn++) {
        while (b->running_count > 0) {
            struct core_attempt *a = b->running[0];

            if (a->index < 2 + CROWDING_ROWS_MAX)
                bench_refuse(b, a->index);
            else
                bench_ok(b, a->index);
        }
        bench_advance(b, instant_diff(b->wake, b->now));
    }
    assert_int_equal(bench_stats(batch).finished, 22);
    bench_finish_all(b);
    bench_free(b, batch);
    bench_end(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(capacity_never_uses_up_an_attempt),
        cmocka_unit_test(at_its_time_limit_a_refused_row_fails_with_elapsed_limit_and_status),
        cmocka_unit_test(just_before_its_time_limit_a_refused_row_is_retried),
        cmocka_unit_test(the_time_limit_is_tested_before_the_throttle_is_told),
        cmocka_unit_test(the_refused_row_waits_the_delay_as_aimd_says),
        cmocka_unit_test(a_new_batch_resets_the_counters_and_not_the_delay),
        cmocka_unit_test(retry_after_holds_the_whole_pool_and_the_row),
        cmocka_unit_test(retry_after_above_the_ceiling_fails_the_row_and_holds_nobody),
        cmocka_unit_test(a_row_larger_than_the_whole_budget_is_refused_at_once),
        cmocka_unit_test(while_a_service_is_full_new_rows_are_held_back),
        cmocka_unit_test(rows_that_are_tried_again_are_not_held_back),
        cmocka_unit_test(rows_that_are_refused_for_ever_hold_back_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
