/*
 * The breaker of a pool, seen through the dispatcher: what counts, what waits, what fails at once,
 * line by line of design 5.
 */
#include "core_test.h"

#include "core/internal.h"
#include "core/worker/recovery.h"

static struct bench bench;

static struct core_pool_options options(void)
{
    struct core_pool_options o;

    core_pool_options_init(&o);
    o.size = 4;
    o.backoff.jitter = 0;
    o.max_attempts = 1;
    o.gate.throttle.kind = THROTTLE_AIMD;
    o.breaker.on = true;
    return o;
}

static struct core_batch *begin(struct bench *b, const struct core_pool_options *o, uint64_t rows)
{
    struct core_batch *batch;

    bench_init(b, o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, rows);
    bench_run(b);
    return batch;
}

static void end(struct bench *b, struct core_batch *batch)
{
    bench_finish_all(b);
    bench_free(b, batch);
    bench_end(b);
}

static enum breaker_state state_of(const struct bench *b)
{
    return bench_pool_stats(b).breaker;
}

/* The first rows fail until it is open. */
static struct core_batch *begin_open(struct bench *b, const struct core_pool_options *o,
                                     uint64_t rows)
{
    struct core_batch *batch = begin(b, o, rows);

    for (uint64_t i = 0; i < 5; i++) {
        assert_int_equal(state_of(b), BREAKER_CLOSED);
        bench_fail(b, i);
    }
    assert_int_equal(state_of(b), BREAKER_OPEN);
    return batch;
}

static void five_failures_in_a_row_open_it_and_rows_wait(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = options();
    struct core_batch *batch = begin_open(b, &o, 20);
    struct core_stats s = bench_pool_stats(b);

    (void)state;
    /* What runs goes on; its end changes nothing. */
    assert_int_equal(b->running_count, 3);
    bench_ok(b, 5);
    bench_fail(b, 6);
    bench_ok(b, 7);
    assert_int_equal(state_of(b), BREAKER_OPEN);
    assert_int_equal(b->running_count, 0);
    assert_int_equal(bench_stats(batch).ready, 12);
    assert_int_equal(s.breaker_opened, 1);
    assert_int_equal(s.breaker_open_until.ns, b->now.ns + 60 * NS_PER_S);
    assert_int_equal(b->wake.ns, s.breaker_open_until.ns);
    bench_advance(b, 60 * NS_PER_S - 1);
    assert_int_equal(b->running_count, 0);
    bench_advance(b, 1);
    end(b, batch);
}

static void half_open_it_lets_three_through_and_closes_after_three_successes(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = options();
    struct core_batch *batch = begin_open(b, &o, 20);

    (void)state;
    bench_finish_all(b); /* waits until its time is over, and lets what is let through end well */
    assert_int_equal(state_of(b), BREAKER_CLOSED);
    bench_free(b, batch);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 20);
    bench_run(b);
    for (uint64_t i = 0; i < 5; i++)
        bench_fail(b, i);
    for (uint64_t i = 5; i < 8; i++)
        bench_ok(b, i);
    bench_advance(b, 60 * NS_PER_S);
    assert_int_equal(state_of(b), BREAKER_HALF_OPEN);
    assert_int_equal(b->running_count, 3);
    bench_ok(b, 8);
    assert_int_equal(b->running_count, 3);
    bench_ok(b, 9);
    assert_int_equal(state_of(b), BREAKER_HALF_OPEN);
    bench_ok(b, 10);
    assert_int_equal(state_of(b), BREAKER_CLOSED);
    assert_int_equal(b->running_count, 4);
    end(b, batch);
}

static void half_open_one_failure_opens_it_again(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = options();
    struct core_batch *batch = begin_open(b, &o, 20);

    (void)state;
    for (uint64_t i = 5; i < 8; i++)
        bench_ok(b, i);
    bench_advance(b, 60 * NS_PER_S);
    bench_ok(b, 8);
    bench_fail(b, 9);
    assert_int_equal(state_of(b), BREAKER_OPEN);
    assert_int_equal(bench_pool_stats(b).breaker_opened, 2);
    end(b, batch);
}

static void refusals_and_answers_that_a_row_is_wrong_are_no_failures(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = options();
    struct core_batch *batch;

    (void)state;
    batch = begin(b, &o, 12);
    for (uint64_t i = 0; i < 4; i++)
        bench_refuse(b, i);
    bench_advance(b, NS_PER_S);
    for (int i = 0; i < 4; i++)
        bench_end_as(b, b->running[0], WEIR_OUTCOME_FAILED, 400, false);
    assert_int_equal(state_of(b), BREAKER_CLOSED);
    /* An answer resets the count; a refusal leaves it. */
    for (int i = 0; i < 4; i++)
        bench_end_as(b, b->running[0], WEIR_OUTCOME_FAILED, 500, true);
    bench_end_as(b, b->running[0], WEIR_OUTCOME_CAPACITY, 429, false);
    bench_end_as(b, b->running[0], WEIR_OUTCOME_FAILED, 400, false);
    bench_end_as(b, b->running[0], WEIR_OUTCOME_FAILED, 500, true);
    assert_int_equal(state_of(b), BREAKER_CLOSED);
    end(b, batch);
}

static void timeouts_and_lost_attempts_are_failures_and_deadlines_are_not(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = options();
    struct core_batch_options bo;
    struct core_batch *batch;

    (void)state;
    o.size = 10;
    o.timeout_ns = NS_PER_S;
    bench_init(b, &o, true);
    core_batch_options_init(&bo);
    bo.deadline_ns = NS_PER_S / 2;
    batch = bench_open(b, &bo);
    bench_add_rows(b, batch, 10);
    bench_run(b);
    bench_advance(b, NS_PER_S);
    assert_int_equal(bench_stats(batch).failures, 10);
    assert_int_equal(state_of(b), BREAKER_CLOSED);
    bench_free(b, batch);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 6);
    bench_run(b);
    for (uint64_t i = 0; i < 2; i++)
        bench_end_as(b, bench_running(b, i), WEIR_OUTCOME_LOST, 0, false);
    assert_int_equal(state_of(b), BREAKER_CLOSED);
    bench_advance(b, NS_PER_S);
    assert_int_equal(state_of(b), BREAKER_OPEN);
    end(b, batch);
}

static void a_callback_that_is_left_behind_counts_once(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = options();
    struct core_batch *batch;

    (void)state;
    o.timeout_ns = NS_PER_S;
    o.breaker.failures = 5;
    bench_init(b, &o, false);
    b->cancel_is_mute = true;
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 4);
    bench_run(b);
    bench_advance(b, NS_PER_S);
    assert_int_equal(bench_stats(batch).failures, 4);
    while (b->running_count > 0) {
        b->running[0]->answer.outcome = WEIR_OUTCOME_FAILED;
        b->running[0]->answer.retryable = true;
        bench_report(b, b->running[0]);
    }
    b->cancelled_count = 0;
    bench_run(b);
    assert_int_equal(state_of(b), BREAKER_CLOSED);
    end(b, batch);
}

static void where_the_pool_says_so_rows_fail_at_once_with_the_time_to_the_next_try(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = options();
    struct core_batch *batch;

    (void)state;
    o.breaker_fails = true;
    batch = begin_open(b, &o, 20);
    assert_int_equal(bench_stats(batch).ready, 0);
    assert_int_equal(bench_stats(batch).finished, 17);
    bench_finish_all(b);
    assert_int_equal(b->results[19].outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(b->results[19].reason, WEIR_REASON_CIRCUIT_OPEN);
    assert_int_equal(b->results[19].attempts, 0);
    assert_non_null(strstr(b->results[19].message, "lets attempts through again in 60.0 s"));
    assert_non_null(strstr(b->results[19].message, "http_status"));
    bench_free(b, batch);
    /* Those that come later too, until it lets some through. */
    batch = bench_open(b, NULL);
    b->now = instant_add(b->now, 30 * NS_PER_S);
    bench_submit(b, batch, bench_row(batch, 0));
    bench_run(b);
    assert_non_null(strstr(b->results[20].message, "in 30.0 s"));
    bench_advance(b, 30 * NS_PER_S);
    bench_submit(b, batch, bench_row(batch, 1));
    dispatcher_end(b->d, batch, b->now);
    bench_run(b);
    assert_int_equal(b->running_count, 1);
    end(b, batch);
}

static void a_failure_that_the_recovery_table_breaks_the_circuit_for_opens_it_alone(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = options();
    struct core_batch *batch;
    struct core_attempt *a;

    (void)state;
    o.recovery = recovery_table();
    o.max_attempts = 3;
    batch = begin(b, &o, 8);
    a = bench_running(b, 0);
    a->answer.outcome = WEIR_OUTCOME_FAILED;
    a->answer.reason = WEIR_REASON_INTERNAL; /* memory ran out, say */
    a->answer.retryable = true;
    bench_report(b, a);
    bench_run(b);
    assert_int_equal(state_of(b), BREAKER_OPEN);
    assert_int_equal(bench_stats(batch).ready,
                     5); /* it is tried once more, when that is possible */
    end(b, batch);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_OK);
    assert_int_equal(b->results[0].attempts, 2);
}

static void by_hand_it_closes_at_once(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = options();
    struct core_batch *batch = begin_open(b, &o, 20);

    (void)state;
    dispatcher_reset_breaker(b->pool, b->now);
    bench_run(b);
    assert_int_equal(state_of(b), BREAKER_CLOSED);
    assert_int_equal(b->running_count, 4);
    assert_int_equal(bench_count(b, EVENT_BREAKER_CHANGED), 2);
    end(b, batch);
}

static void shutdown_and_stop_end_rows_that_wait_for_it(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = options();
    struct core_batch *batch = begin_open(b, &o, 20);

    (void)state;
    dispatcher_stop(b->d, batch, true, b->now);
    bench_run(b);
    assert_int_equal(b->closed, 1);
    bench_free(b, batch);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 2);
    bench_run(b);
    dispatcher_shutdown(b->d, false, b->now);
    bench_run(b);
    assert_int_equal(bench_stats(batch).failures, 2);
    end(b, batch);
}

static void without_one_nothing_ever_stops_a_pool(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = options();
    struct core_batch *batch;

    (void)state;
    o.breaker.on = false;
    batch = begin(b, &o, 100);
    for (uint64_t i = 0; i < 100; i++)
        bench_fail(b, i);
    assert_int_equal(bench_count(b, EVENT_BREAKER_CHANGED), 0);
    end(b, batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_failures_in_a_row_open_it_and_rows_wait),
        cmocka_unit_test(half_open_it_lets_three_through_and_closes_after_three_successes),
        cmocka_unit_test(half_open_one_failure_opens_it_again),
        cmocka_unit_test(refusals_and_answers_that_a_row_is_wrong_are_no_failures),
        cmocka_unit_test(timeouts_and_lost_attempts_are_failures_and_deadlines_are_not),
        cmocka_unit_test(a_callback_that_is_left_behind_counts_once),
        cmocka_unit_test(where_the_pool_says_so_rows_fail_at_once_with_the_time_to_the_next_try),
        cmocka_unit_test(a_failure_that_the_recovery_table_breaks_the_circuit_for_opens_it_alone),
        cmocka_unit_test(by_hand_it_closes_at_once),
        cmocka_unit_test(shutdown_and_stop_end_rows_that_wait_for_it),
        cmocka_unit_test(without_one_nothing_ever_stops_a_pool),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
