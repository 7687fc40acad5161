/* How the core tells what a pool's throttle does: in the statistics, in each row's record, in events. */
#include "core_test.h"

#include <math.h>

static struct bench bench;

static struct core_pool_options aimd_options(size_t size)
{
    struct core_pool_options o;

    core_pool_options_init(&o);
    o.size = size;
    o.backoff.jitter = 0;
    o.gate.throttle.kind = THROTTLE_AIMD;
    return o;
}

static void a_batch_counts_what_was_decided_while_it_was_open(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = aimd_options(1);
    struct core_batch *first, *second;
    struct core_stats s;

    (void)state;
    bench_init(b, &o, true);
    first = bench_open(b, NULL);
    bench_add_rows(b, first, 1);
    bench_run(b);
    bench_refuse(b, 0);
    bench_advance(b, NS_PER_S);
    bench_refuse(b, 0);
    bench_advance(b, NS_PER_S);
    second = bench_open(b, NULL);
    bench_ok(b, 0); /* the first batch is over */
    s = bench_stats(first);
    assert_int_equal(s.throttle_kind, THROTTLE_AIMD);
    assert_int_equal(s.throttle.mode, THROTTLE_MODE_DELAY);
    assert_int_equal(s.throttle.delay_ns, MS(50));
    assert_int_equal(s.throttle.reason, THROTTLE_REASON_ACCEPTED);
    assert_int_equal(s.throttle.changes, 3);
    assert_int_equal(s.throttle.by_reason[THROTTLE_REASON_REFUSED], 2);
    assert_int_equal(s.throttle.by_reason[THROTTLE_REASON_ACCEPTED], 1);

    bench_add_rows(b, second, 1);
    bench_run(b);
    bench_refuse(b, 0);
    s = bench_stats(second);
    assert_int_equal(s.throttle.changes, 2);
    assert_int_equal(s.throttle.by_reason[THROTTLE_REASON_REFUSED], 1);
    assert_int_equal(s.throttle.by_reason[THROTTLE_REASON_ACCEPTED], 1);
    s = bench_pool_stats(b);
    assert_int_equal(s.throttle_kind, THROTTLE_AIMD);
    assert_int_equal(s.throttle.changes, 4);
    assert_int_equal(s.throttle.by_reason[THROTTLE_REASON_REFUSED], 3);
    assert_int_equal(bench_stats(first).throttle.changes, 3); /* as when it was closed */
    assert_int_equal(bench_stats(first).throttle.delay_ns, MS(50));
    bench_finish_all(b);
    bench_free(b, first);
    bench_free(b, second);
    bench_end(b);
}

static void each_change_is_told_once_with_its_words(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = aimd_options(1);
    struct core_batch *batch;

    (void)state;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 2);
    bench_run(b);
    bench_refuse(b, 0);
    assert_int_equal(bench_count(b, EVENT_THROTTLE_CHANGED), 1);
    for (size_t i = 0; i < b->event_count; i++) {
        if (b->events[i].kind != EVENT_THROTTLE_CHANGED)
            continue;
        assert_non_null(b->events[i].throttle);
        assert_non_null(b->events[i].detail);
        assert_string_equal(b->events[i].pool, "bench");
    }
    bench_finish_all(b);
    assert_int_equal(bench_count(b, EVENT_THROTTLE_CHANGED), bench_pool_stats(b).throttle.changes);
    bench_free(b, batch);
    bench_end(b);
}

static void a_row_knows_what_limited_its_last_dispatch(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = aimd_options(1);
    struct core_batch *batch;
    struct core_task *t;

    (void)state;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    t = bench_row(batch, 0);
    assert_int_equal(t->limit.mode, THROTTLE_MODES); /* none yet */
    bench_submit(b, batch, t);
    dispatcher_end(b->d, batch, b->now);
    bench_run(b);
    assert_int_equal(t->limit.mode, THROTTLE_MODE_DELAY);
    assert_int_equal(t->limit.delay_ns, 0);
    assert_int_equal(t->limit.reason, THROTTLE_REASON_START);
    bench_refuse(b, 0);
    bench_advance(b, NS_PER_S);
    assert_int_equal(t->limit.delay_ns, MS(50));
    assert_int_equal(t->limit.reason, THROTTLE_REASON_REFUSED);
    assert_true(isinf(t->limit.rate_rps));
    assert_int_equal(t->limit.window, UINT32_MAX);
    bench_finish_all(b);
    bench_free(b, batch);
    bench_end(b);
}

static void the_range_of_rates_and_windows_is_that_of_the_dispatches(void **state)
{
    struct core_stats s = {0};
    struct throttle_limit limit = {.rate_rps = HUGE_VAL, .window = UINT32_MAX};

    (void)state;
    core_stats_note_limit(&s, &limit);
    assert_true(s.rate_min_rps == 0 && s.rate_max_rps == 0);
    assert_true(s.window_min == 0 && s.window_max == 0);
    limit.rate_rps = 12;
    core_stats_note_limit(&s, &limit);
    limit.rate_rps = 5;
    core_stats_note_limit(&s, &limit);
    limit.rate_rps = 7;
    limit.window = 32;
    core_stats_note_limit(&s, &limit);
    limit.rate_rps = HUGE_VAL;
    limit.window = 40;
    core_stats_note_limit(&s, &limit);
    assert_true(s.rate_min_rps == 5 && s.rate_max_rps == 12);
    assert_true(s.window_min == 32 && s.window_max == 40);
}

static void end_with_advice(struct bench *b, uint64_t row, enum weir_outcome outcome, int status,
                            duration_ns retry_after_ns)
{
    struct core_attempt *a = bench_running(b, row);

    assert_non_null(a);
    a->answer.advice.retry_after_ns = retry_after_ns;
    bench_end_as(b, a, outcome, status, outcome == WEIR_OUTCOME_FAILED);
}

static void a_pause_is_told_whatever_answer_asked_for_it(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = aimd_options(4);
    struct core_batch *batch;
    struct core_stats stats;

    (void)state;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 8);
    bench_run(b);
    end_with_advice(b, 0, WEIR_OUTCOME_FAILED, 500, 2 * NS_PER_S);
    assert_int_equal(bench_count(b, EVENT_POOL_HELD), 1);
    /* A shorter one adds nothing, nor does an answer that asks for none. */
    end_with_advice(b, 1, WEIR_OUTCOME_FAILED, 500, NS_PER_S);
    end_with_advice(b, 2, WEIR_OUTCOME_CAPACITY, 429, -1);
    assert_int_equal(bench_count(b, EVENT_POOL_HELD), 1);
    end_with_advice(b, 3, WEIR_OUTCOME_CAPACITY, 429, 5 * NS_PER_S);
    assert_int_equal(bench_count(b, EVENT_POOL_HELD), 2);
    for (size_t i = 0, seen = 0; i < b->event_count; i++) {
        const struct core_event *ev = &b->events[i];

        if (ev->kind != EVENT_POOL_HELD)
            continue;
        assert_int_equal(ev->index, seen == 0 ? 0 : 3);
        assert_true(ev->wait_ns >= (seen == 0 ? 2 : 5) * NS_PER_S);
        assert_true(ev->wait_ns <= (seen == 0 ? 2 : 5) * NS_PER_S + MS(500));
        seen++;
    }
    assert_int_equal(b->started_count, 4); /* and it is one */
    /* One pause that became longer; all of this was at one moment. */
    stats = bench_stats(batch);
    assert_int_equal(stats.pauses, 1);
    assert_true(stats.paused_ns >= 5 * NS_PER_S && stats.paused_ns <= 5 * NS_PER_S + MS(500));
    assert_int_equal(bench_pool_stats(b).pauses, 1);
    bench_finish_all(b);
    bench_free(b, batch);
    bench_end(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_counts_what_was_decided_while_it_was_open),
        cmocka_unit_test(each_change_is_told_once_with_its_words),
        cmocka_unit_test(a_row_knows_what_limited_its_last_dispatch),
        cmocka_unit_test(the_range_of_rates_and_windows_is_that_of_the_dispatches),
        cmocka_unit_test(a_pause_is_told_whatever_answer_asked_for_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
