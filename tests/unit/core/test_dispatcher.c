/*
 * What a pool does with a batch, line by line of design 3: permits and waiting, pacing, fairness,
 * retries, order, results, statistics. Full services are in test_capacity.c, what ends things early
 * in test_stopping.c.
 */
#include "core_test.h"

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

/* ---- permits and waiting ---- */

static void with_size_2_and_every_first_attempt_of_ten_rows_refused_all_ten_finish(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(2);
    struct core_batch *batch;

    (void)state;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 10);
    bench_run(b);
    for (int turn = 0; turn < 1000 && b->result_count < 10; turn++) {
        while (b->running_count > 0) {
            struct core_attempt *a = b->running[0];

            if (a->number == 1)
                bench_refuse(b, a->index);
            else
                bench_ok(b, a->index);
        }
        if (!instant_is_never(b->wake))
            bench_advance(b, instant_diff(b->wake, b->now));
    }
    assert_int_equal(b->result_count, 10);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(b->results[i].index, i);
        assert_int_equal(b->results[i].outcome, WEIR_OUTCOME_OK);
        assert_int_equal(b->results[i].attempts, 2);
        assert_int_equal(b->results[i].capacity_retries, 1);
    }
    assert_int_equal(b->running_peak, 2);
    bench_free(b, batch);
    bench_end(b);
}

static void a_refused_row_gives_its_permit_to_the_next_before_it_waits(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch;

    (void)state;
    bench_init(b, NULL, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 2);
    bench_run(b);
    assert_non_null(bench_running(b, 0));
    assert_null(bench_running(b, 1));
    bench_refuse(b, 0);
    assert_non_null(bench_running(b, 1));
    assert_int_equal(bench_stats(batch).waiting, 1);
    assert_int_equal(dispatcher_running(b->d), 1);
    bench_finish_all(b);
    bench_free(b, batch);
    bench_end(b);
}

static void a_retry_asks_for_a_new_permit_after_its_wait(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch;

    (void)state;
    bench_init(b, NULL, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 2);
    bench_run(b);
    bench_refuse(b, 0);
    /* Row 1 has the only permit; the wait of row 0 is long over. */
    bench_advance(b, NS_PER_S);
    assert_null(bench_running(b, 0));
    assert_int_equal(bench_stats(batch).ready, 1);
    bench_ok(b, 1);
    assert_non_null(bench_running(b, 0));
    bench_finish_all(b);
    bench_free(b, batch);
    bench_end(b);
}

static void at_most_size_attempts_run_at_once_and_the_peak_is_kept_per_batch(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(5);
    struct core_batch *large, *small;

    (void)state;
    bench_init(b, &o, true);
    large = bench_open(b, NULL);
    bench_add_rows(b, large, 100);
    bench_run(b);
    assert_int_equal(b->running_count, 5);
    bench_finish_all(b);
    small = bench_open(b, NULL);
    bench_add_rows(b, small, 2);
    bench_run(b);
    bench_finish_all(b);
    assert_int_equal(b->running_peak, 5);
    assert_int_equal(bench_stats(large).max_concurrent_reached, 5);
    assert_int_equal(bench_stats(small).max_concurrent_reached, 2);
    assert_int_equal(bench_pool_stats(b).max_concurrent_reached, 5);
    bench_free(b, large);
    bench_free(b, small);
    bench_end(b);
}

/* ---- the pacer ---- */

static void no_two_dispatches_are_nearer_than_the_least_delay_retries_included(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(4);
    struct core_batch *first, *second;

    (void)state;
    o.gate.min_dispatch_delay_ns = MS(30);
    bench_init(b, &o, true);
    first = bench_open(b, NULL);
    second = bench_open(b, NULL);
    bench_add_rows(b, first, 10);
    bench_add_rows(b, second, 10);
    bench_run(b);
    assert_int_equal(b->running_count, 1); /* no burst at the start */
    for (int turn = 0; turn < 1000 && b->result_count < 20; turn++) {
        while (b->running_count > 0) {
            struct core_attempt *a = b->running[0];

            if (a->number == 1)
                bench_end_as(b, a, a->index % 2 ? WEIR_OUTCOME_CAPACITY : WEIR_OUTCOME_FAILED, 0,
                             true);
            else
                bench_end_as(b, a, WEIR_OUTCOME_OK, 200, false);
        }
        bench_advance(b, MS(7));
    }
    assert_int_equal(b->result_count, 20);
    assert_int_equal(b->started_count, 40);
    for (size_t i = 1; i < b->started_count; i++)
        assert_true(instant_diff(b->started[i].at, b->started[i - 1].at) >= MS(30));
    bench_free(b, first);
    bench_free(b, second);
    bench_end(b);
}

static void the_static_delay_alone_feeds_the_pacer(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(2);
    struct core_batch *batch;

    (void)state;
    o.gate.throttle.aimd.step_ns = NS_PER_S;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 6);
    bench_run(b);
    /* The delay is a second now; it is the refused row's, and holds up nobody else. */
    bench_refuse(b, 0);
    assert_int_equal(bench_stats(batch).current_delay_ns, NS_PER_S);
    assert_int_equal(b->started_count, 3);
    assert_int_equal(b->started[2].at.ns, b->started[0].at.ns);
    bench_finish_all(b);
    bench_free(b, batch);
    bench_end(b);
}

/* ---- fairness ---- */

static void a_batch_of_ten_is_not_stuck_behind_a_huge_one(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(2);
    struct core_batch_options large_options;
    struct core_batch *large, *small;
    size_t small_started = 0;

    (void)state;
    bench_init(b, &o, true);
    core_batch_options_init(&large_options);
    large_options.window_rows = 50000;
    large = bench_open(b, &large_options);
    for (uint64_t i = 0; i < 50000; i++)
        bench_submit(b, large, bench_row(large, i));
    b->wake = dispatcher_run(b->d, b->now);
    small = bench_open(b, NULL);
    bench_add_rows(b, small, 10);
    while (small_started < 10) {
        struct core_attempt *a = b->running[0];

        a->answer.outcome = WEIR_OUTCOME_OK;
        bench_report(b, a);
        b->wake = dispatcher_run(b->d, b->now);
        bench_give_back(b);
        small_started += b->started[b->started_count - 1].batch == small;
    }
    /* Every other permit was the small one's. */
    assert_in_range(b->started_count, 20, 22);
    dispatcher_stop(b->d, large, true, b->now);
    b->wake = dispatcher_run(b->d, b->now);
    while (b->running_count > 0)
        bench_report(b, b->running[0]);
    b->cancelled_count = 0;
    bench_run(b);
    bench_finish_all(b);
    bench_free(b, small);
    bench_free(b, large);
    assert_int_equal(b->released, 50010);
    bench_end(b);
}

static void a_retry_goes_before_fresh_rows_and_the_least_index_first(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(3);
    struct core_batch *batch;

    (void)state;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 9);
    bench_run(b); /* 0 1 2 */
    bench_refuse(b, 2);
    bench_refuse(b, 1); /* 0 3 4 run */
    bench_advance(b, 2 * NS_PER_S);
    bench_ok(b, 3);
    assert_int_equal(b->started[b->started_count - 1].index, 1);
    bench_ok(b, 4);
    assert_int_equal(b->started[b->started_count - 1].index, 2);
    bench_ok(b, 0);
    assert_int_equal(b->started[b->started_count - 1].index, 5);
    bench_finish_all(b);
    bench_free(b, batch);
    bench_end(b);
}

static void with_one_limit_over_all_pools_they_are_served_in_turn(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(2);
    struct core_pool *second;
    struct core_batch *x, *y;

    (void)state;
    bench_init_limited(b, &o, true, 1);
    o.name = "second";
    /* The same bench behind both; closing is counted for each. */
    assert_int_equal(dispatcher_add_pool(b->d, &o, &b->executor, &second, &b->err), WEIR_OK);
    x = bench_open(b, NULL);
    y = bench_open_in(b, second, NULL);
    bench_add_rows(b, x, 6);
    bench_add_rows(b, y, 6);
    bench_run(b);
    while (b->running_count > 0)
        bench_end_as(b, b->running[0], WEIR_OUTCOME_OK, 200, false);
    assert_int_equal(b->running_peak, 1);
    assert_int_equal(b->started_count, 12);
    for (size_t i = 1; i < 12; i++)
        assert_ptr_not_equal(b->started[i].batch, b->started[i - 1].batch);
    bench_free(b, x);
    bench_free(b, y);
    dispatcher_free(b->d);
    assert_int_equal(b->closes, 2);
}

/* ---- failures ---- */

static void a_retryable_failure_is_tried_max_attempts_times_with_backoff(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(1);
    struct core_batch *batch;

    (void)state;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    bench_fail(b, 0);
    assert_true(is_about(instant_diff(b->wake, b->now), MS(500)));
    bench_advance(b, MS(550));
    bench_refuse(b, 0); /* in between: does not count */
    bench_advance(b, NS_PER_S);
    bench_fail(b, 0);
    assert_true(is_about(instant_diff(b->wake, b->now), MS(1000)));
    bench_advance(b, MS(1100));
    bench_fail(b, 0);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(b->results[0].reason, WEIR_REASON_HTTP_STATUS);
    assert_int_equal(b->results[0].status, 500);
    assert_int_equal(b->results[0].attempts, 4);
    assert_int_equal(bench_stats(batch).retries, 2);
    assert_int_equal(b->retrying, 3);
    bench_free(b, batch);
    bench_end(b);
}

static void a_permanent_failure_ends_the_row_at_once_and_no_other(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(2);
    struct core_batch *batch;

    (void)state;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 2);
    bench_run(b);
    bench_end_as(b, bench_running(b, 0), WEIR_OUTCOME_FAILED, 404, false);
    assert_int_equal(b->result_count, 1);
    assert_int_equal(b->results[0].status, 404);
    assert_int_equal(b->results[0].attempts, 1);
    bench_ok(b, 1);
    assert_int_equal(b->results[1].outcome, WEIR_OUTCOME_OK);
    bench_free(b, batch);
    bench_end(b);
}

static void an_executor_that_reports_nonsense_makes_a_lost_attempt(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(1);
    struct core_batch *batch;
    struct core_attempt *a;

    (void)state;
    o.max_attempts = 1;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    a = bench_running(b, 0);
    bench_advance(b, MS(10));
    a->answer.outcome = (enum weir_outcome)1234;
    a->answer.started_at = instant_add(b->now, -NS_PER_S);
    a->answer.ended_at = instant_add(b->now, NS_PER_S);
    bench_report(b, a);
    bench_run(b);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_LOST);
    assert_int_equal(b->results[0].reason, WEIR_REASON_NO_OUTCOME);
    assert_non_null(strstr(b->results[0].message, "1234"));
    assert_int_equal(b->results[0].start_at.ns, b->results[0].submit_at.ns);
    assert_int_equal(b->results[0].complete_at.ns, b->now.ns);
    bench_free(b, batch);
    bench_end(b);
}

static void a_second_report_of_an_attempt_is_counted_and_ignored(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch;
    struct core_attempt *a;

    (void)state;
    bench_init(b, NULL, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    a = bench_running(b, 0);
    bench_end_as(b, a, WEIR_OUTCOME_OK, 200, false);
    a->answer.outcome = WEIR_OUTCOME_FAILED;
    a->answer.message = mem_strdup("again");
    dispatcher_report(b->d, a, b->now);
    bench_run(b);
    assert_int_equal(b->result_count, 1);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_OK);
    assert_int_equal(bench_pool_stats(b).late_reports, 1);
    assert_null(a->answer.message);
    bench_free(b, batch);
    bench_end(b);
}

/* ---- order and results ---- */

static void results_come_in_the_order_of_the_rows_whatever_the_order_of_completion(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(8);
    struct core_batch *batch;

    (void)state;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 8);
    bench_run(b);
    for (uint64_t i = 8; i-- > 0;) {
        assert_int_equal(b->result_count, 0);
        bench_advance(b, MS(10));
        bench_ok(b, i);
    }
    assert_int_equal(b->result_count, 8);
    for (size_t i = 0; i < 8; i++) {
        const struct bench_result *r = &b->results[i];

        assert_int_equal(r->index, i);
        assert_int_equal(r->complete_index, 7 - i);
        /* What ordering cost row i: it waited for row 0, which came last. */
        assert_int_equal(instant_diff(r->deliver_at, r->complete_at), MS(10) * (int64_t)i);
    }
    assert_int_equal(bench_stats(batch).buffer_wait_max_ns, MS(70));
    assert_int_equal(bench_stats(batch).buffer_wait_sum_ns, MS(280));
    assert_int_equal(b->closed, 1);
    bench_free(b, batch);
    bench_end(b);
}

static void a_result_carries_when_it_was_submitted_started_and_complete(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch;
    struct instant begin;

    (void)state;
    bench_init(b, NULL, true);
    batch = bench_open(b, NULL);
    begin = b->now;
    bench_add_rows(b, batch, 2);
    bench_run(b);
    bench_advance(b, MS(20));
    bench_refuse(b, 0);
    bench_ok(b, 1);
    bench_advance(b, MS(50));
    bench_advance(b, MS(5));
    bench_ok(b, 0);
    assert_int_equal(b->results[0].submit_at.ns, begin.ns);
    assert_int_equal(b->results[0].start_at.ns, begin.ns); /* of the first attempt */
    assert_int_equal(instant_diff(b->results[0].complete_at, begin), MS(75));
    assert_int_equal(instant_diff(b->results[1].start_at, begin), MS(20));
    assert_int_equal(b->results[0].throttled_ns, MS(50));
    bench_free(b, batch);
    bench_end(b);
}

static void an_empty_batch_returns_at_once(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch;

    (void)state;
    bench_init(b, NULL, true);
    batch = bench_open(b, NULL);
    assert_int_equal(b->closed, 0);
    dispatcher_end(b->d, batch, b->now);
    assert_int_equal(b->closed, 1);
    assert_int_equal(bench_count(b, EVENT_BATCH_OPENED), 1);
    assert_int_equal(bench_count(b, EVENT_BATCH_CLOSED), 1);
    bench_free(b, batch);
    bench_end(b);
}

static void a_row_beyond_the_window_or_there_already_is_refused_and_changes_nothing(void **state)
{
    struct bench *b = &bench;
    struct core_batch_options o;
    struct core_batch *batch;
    struct core_task *t;

    (void)state;
    bench_init(b, NULL, true);
    core_batch_options_init(&o);
    o.window_rows = 2;
    batch = bench_open(b, &o);
    bench_submit(b, batch, bench_row(batch, 0));
    t = bench_row(batch, 2);
    assert_int_equal(dispatcher_submit(b->d, batch, t, b->now, &b->err), WEIR_E_LIMIT);
    t->index = 0;
    assert_int_equal(dispatcher_submit(b->d, batch, t, b->now, &b->err), WEIR_E_LIMIT);
    assert_int_equal(bench_stats(batch).accepted, 1);
    bench_run(b);
    bench_ok(b, 0);
    t->index = 2;
    bench_submit(b, batch, t);
    bench_submit(b, batch, bench_row(batch, 1));
    dispatcher_end(b->d, batch, b->now);
    bench_run(b);
    bench_finish_all(b);
    assert_int_equal(b->result_count, 3);
    bench_free(b, batch);
    bench_end(b);
}

static void a_row_of_an_ended_batch_is_refused(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch;
    struct core_task *t;

    (void)state;
    bench_init(b, NULL, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    t = bench_row(batch, 1);
    assert_int_equal(dispatcher_submit(b->d, batch, t, b->now, &b->err), WEIR_E_END);
    mem_free(t);
    bench_run(b);
    bench_ok(b, 0);
    bench_free(b, batch);
    bench_end(b);
}

static void without_memory_a_row_is_refused_and_can_be_given_again(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch;
    struct core_task *t;
    unsigned n;

    (void)state;
    bench_init(b, NULL, true);
    batch = bench_open(b, NULL);
    t = bench_row(batch, 0);
    for (n = 1;; n++) {
        enum weir_status status;

        mem_fail_at(n);
        status = dispatcher_submit(b->d, batch, t, b->now, &b->err);
        mem_fail_at(0);
        bench_check(b);
        if (status == WEIR_OK)
            break;
        assert_int_equal(status, WEIR_E_NOMEM);
        assert_int_equal(bench_stats(batch).accepted, 0);
    }
    assert_true(n > 1);
    dispatcher_end(b->d, batch, b->now);
    bench_run(b);
    bench_ok(b, 0);
    bench_free(b, batch);
    bench_end(b);
}

static void a_durable_row_is_delivered_only_after_the_store_has_it(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(3);
    struct core_batch_options durable;
    struct core_batch *batch;

    (void)state;
    bench_init(b, &o, true);
    core_batch_options_init(&durable);
    durable.durable = true;
    batch = bench_open(b, &durable);
    bench_add_rows(b, batch, 3);
    bench_run(b);
    bench_ok(b, 0);
    bench_ok(b, 1);
    bench_ok(b, 2);
    assert_int_equal(b->result_count, 0);
    bench_commit(b, b->finished[1]);
    assert_int_equal(b->result_count, 0);
    bench_commit(b, b->finished[0]);
    assert_int_equal(b->result_count, 2);
    assert_int_equal(b->closed, 0);
    bench_commit(b, b->finished[2]);
    assert_int_equal(b->result_count, 3);
    assert_int_equal(b->closed, 1);
    bench_free(b, batch);
    bench_end(b);
}

static void a_row_that_had_finished_before_is_delivered_and_not_sent(void **state)
{
    struct bench *b = &bench;
    struct core_batch_options o;
    struct core_batch *batch;
    struct core_task *t;

    (void)state;
    bench_init(b, NULL, true);
    core_batch_options_init(&o);
    o.first_index = 5;
    o.first_complete_index = 9;
    batch = bench_open(b, &o);
    t = bench_row(batch, 6);
    t->finished_before = true;
    t->answer.outcome = WEIR_OUTCOME_OK;
    t->answer.status = 299;
    t->complete_index = 4;
    bench_submit(b, batch, t);
    bench_submit(b, batch, bench_row(batch, 5));
    dispatcher_end(b->d, batch, b->now);
    bench_run(b);
    assert_int_equal(b->started_count, 1);
    bench_ok(b, 5);
    assert_int_equal(b->result_count, 2);
    assert_int_equal(b->results[0].complete_index, 9);
    assert_int_equal(b->results[1].status, 299);
    assert_int_equal(b->results[1].complete_index, 4);
    assert_int_equal(bench_stats(batch).successes, 1); /* of this run */
    bench_free(b, batch);
    bench_end(b);
}

/* ---- statistics and events ---- */

static void batches_on_one_pool_do_not_see_each_others_figures(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(2);
    struct core_batch *x, *y;

    (void)state;
    bench_init(b, &o, true);
    x = bench_open(b, NULL);
    y = bench_open(b, NULL);
    bench_add_rows(b, x, 1);
    bench_submit(b, y, bench_row(y, 0));
    bench_run(b);
    bench_end_as(b, b->running[0], WEIR_OUTCOME_CAPACITY, 429, false);
    bench_end_as(b, b->running[0], WEIR_OUTCOME_FAILED, 400, false);
    assert_int_equal(bench_stats(x).refused, 1);
    assert_int_equal(bench_stats(y).refused, 0);
    assert_int_equal(bench_stats(x).failures, 0);
    assert_int_equal(bench_stats(y).failures, 1);
    assert_int_equal(bench_pool_stats(b).waiting, 1);
    bench_finish_all(b);
    dispatcher_end(b->d, y, b->now);
    assert_int_equal(bench_stats(x).successes, 1);
    assert_int_equal(bench_pool_stats(b).successes, 1);
    assert_int_equal(bench_pool_stats(b).failures, 1);
    assert_int_equal(bench_pool_stats(b).accepted, 2);
    assert_int_equal(bench_pool_stats(b).delivered, 2);
    assert_int_equal(bench_pool_stats(b).waiting, 0);
    bench_free(b, x);
    bench_free(b, y);
    bench_end(b);
}

static void each_step_of_a_row_is_told(void **state)
{
    static const enum core_event_kind expected[] = {
        EVENT_BATCH_OPENED,     EVENT_TASK_ACCEPTED, EVENT_ATTEMPT_STARTED, EVENT_ATTEMPT_ENDED,
        EVENT_THROTTLE_CHANGED, EVENT_TASK_RETRY,    EVENT_ATTEMPT_STARTED, EVENT_ATTEMPT_ENDED,
        EVENT_THROTTLE_CHANGED, EVENT_TASK_FINISHED, EVENT_TASK_DELIVERED,  EVENT_BATCH_CLOSED};
    struct bench *b = &bench;
    struct core_batch *batch;

    (void)state;
    bench_init(b, NULL, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    bench_refuse(b, 0);
    bench_advance(b, MS(55));
    bench_ok(b, 0);
    assert_int_equal(b->event_count, sizeof expected / sizeof *expected);
    for (size_t i = 0; i < b->event_count; i++)
        assert_int_equal(b->events[i].kind, expected[i]);
    assert_int_equal(b->events[5].wait_ns, MS(50));
    assert_int_equal(b->events[6].attempt, 2);
    bench_free(b, batch);
    bench_end(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_size_2_and_every_first_attempt_of_ten_rows_refused_all_ten_finish),
        cmocka_unit_test(a_refused_row_gives_its_permit_to_the_next_before_it_waits),
        cmocka_unit_test(a_retry_asks_for_a_new_permit_after_its_wait),
        cmocka_unit_test(at_most_size_attempts_run_at_once_and_the_peak_is_kept_per_batch),
        cmocka_unit_test(no_two_dispatches_are_nearer_than_the_least_delay_retries_included),
        cmocka_unit_test(the_static_delay_alone_feeds_the_pacer),
        cmocka_unit_test(a_batch_of_ten_is_not_stuck_behind_a_huge_one),
        cmocka_unit_test(a_retry_goes_before_fresh_rows_and_the_least_index_first),
        cmocka_unit_test(with_one_limit_over_all_pools_they_are_served_in_turn),
        cmocka_unit_test(a_retryable_failure_is_tried_max_attempts_times_with_backoff),
        cmocka_unit_test(a_permanent_failure_ends_the_row_at_once_and_no_other),
        cmocka_unit_test(an_executor_that_reports_nonsense_makes_a_lost_attempt),
        cmocka_unit_test(a_second_report_of_an_attempt_is_counted_and_ignored),
        cmocka_unit_test(results_come_in_the_order_of_the_rows_whatever_the_order_of_completion),
        cmocka_unit_test(a_result_carries_when_it_was_submitted_started_and_complete),
        cmocka_unit_test(an_empty_batch_returns_at_once),
        cmocka_unit_test(a_row_beyond_the_window_or_there_already_is_refused_and_changes_nothing),
        cmocka_unit_test(a_row_of_an_ended_batch_is_refused),
        cmocka_unit_test(without_memory_a_row_is_refused_and_can_be_given_again),
        cmocka_unit_test(a_durable_row_is_delivered_only_after_the_store_has_it),
        cmocka_unit_test(a_row_that_had_finished_before_is_delivered_and_not_sent),
        cmocka_unit_test(batches_on_one_pool_do_not_see_each_others_figures),
        cmocka_unit_test(each_step_of_a_row_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
