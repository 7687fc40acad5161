/*
 * The median of how long attempts have run, and the time limit that goes by it.
 */
#include "core_test.h"

#include "base/rng.h"
#include "core/run_times.h"

#include <stdlib.h>

static struct bench bench;

static int by_size(const void *x, const void *y)
{
    duration_ns a = *(const duration_ns *)x, b = *(const duration_ns *)y;

    return (a > b) - (a < b);
}

static void the_median_is_that_of_the_last_ones(void **state)
{
    duration_ns all[1000], sorted[RUN_TIMES_KEPT];
    struct run_times r;
    struct rng rng;

    (void)state;
    rng_seed(&rng, 3);
    run_times_init(&r);
    for (size_t i = 0; i < 1000; i++) {
        size_t n = i + 1 < RUN_TIMES_KEPT ? i + 1 : RUN_TIMES_KEPT;

        all[i] = (duration_ns)(rng_u64(&rng) % 50);
        run_times_add(&r, all[i]);
        assert_int_equal(run_times_known(&r), i + 1 >= RUN_TIMES_MIN);
        memcpy(sorted, &all[i + 1 - n], n * sizeof *sorted);
        qsort(sorted, n, sizeof *sorted, by_size);
        assert_int_equal(run_times_median(&r), sorted[(n - 1) / 2]);
    }
}

static struct core_batch *begin(duration_ns timeout_ns, uint64_t rows)
{
    struct core_pool_options o;
    struct core_batch *batch;

    core_pool_options_init(&o);
    o.size = 2;
    o.max_attempts = 1;
    o.gate.throttle.kind = THROTTLE_AIMD;
    o.timeout_share = 2;
    o.timeout_ns = timeout_ns;
    bench_init(&bench, &o, true);
    batch = bench_open(&bench, NULL);
    bench_add_rows(&bench, batch, rows);
    bench_run(&bench);
    return batch;
}

static void end(struct core_batch *batch)
{
    bench_finish_all(&bench);
    bench_free(&bench, batch);
    bench_end(&bench);
}

/* Row i ends well, a second after it has begun. */
static void take_a_second(uint64_t i)
{
    struct core_attempt *a = bench_running(&bench, i);

    a->answer.started_at = bench.now;
    bench_advance(&bench, NS_PER_S);
    a->answer.ended_at = bench.now;
    bench_ok(&bench, i);
}

static void once_five_are_known_an_attempt_may_take_twice_the_median(void **state)
{
    struct core_batch *batch = begin(0, 8);

    (void)state;
    /* Row 0 hangs; before the median is known nothing limits it. */
    for (uint64_t i = 1; i < 5; i++)
        take_a_second(i);
    assert_non_null(bench_running(&bench, 0));
    take_a_second(5); /* 5 s after row 0 began */
    bench_run(&bench);
    assert_null(bench_running(&bench, 0));
    assert_int_equal(bench.results[0].reason, WEIR_REASON_TIMEOUT);
    assert_string_equal(bench.results[0].message, "no answer within 2 s");
    /* Those that are started since have it from the start. */
    bench_advance(&bench, 2 * NS_PER_S - 1);
    assert_int_equal(bench.running_count, 2);
    bench_advance(&bench, 1);
    assert_int_equal(bench.running_count, 0);
    end(batch);
}

static void the_absolute_limit_holds_from_the_start_and_as_a_ceiling(void **state)
{
    struct core_batch *batch = begin(NS_PER_S + NS_PER_S / 2, 8);

    (void)state;
    bench_advance(&bench, NS_PER_S + NS_PER_S / 2 - 1);
    assert_int_equal(bench_stats(batch).failures, 0);
    bench_advance(&bench, 1);
    assert_int_equal(bench_stats(batch).failures, 2);
    assert_string_equal(bench.results[0].message, "no answer within 1.5 s");
    end(batch);
}

static void with_both_the_lesser_holds(void **state)
{
    struct core_batch *batch = begin(NS_PER_S + NS_PER_S / 2, 8);

    (void)state;
    for (uint64_t i = 0; i < 5; i++) { /* a quarter of a second each */
        struct core_attempt *a = bench_running(&bench, i);

        a->answer.started_at = bench.now;
        bench_advance(&bench, NS_PER_S / 4);
        a->answer.ended_at = bench.now;
        bench_ok(&bench, i);
    }
    bench_advance(&bench, NS_PER_S / 2);
    assert_string_equal(bench.results[5].message, "no answer within 0.5 s");
    end(batch);
}

static void very_short_work_is_not_ended_for_a_hiccup(void **state)
{
    struct core_batch *batch = begin(0, 8);

    (void)state;
    for (uint64_t i = 0; i < 5; i++) {
        struct core_attempt *a = bench_running(&bench, i);

        a->answer.started_at = a->answer.ended_at = bench.now;
        bench_ok(&bench, i);
    }
    bench_advance(&bench, POOL_TIMEOUT_BY_MEDIAN_MIN_NS - 1);
    assert_int_equal(bench.running_count, 2);
    bench_advance(&bench, 1);
    assert_int_equal(bench_stats(batch).failures, 2);
    end(batch);
}

static void a_share_below_the_median_is_refused(void **state)
{
    struct core_pool_options o;
    struct weir_error err;

    (void)state;
    core_pool_options_init(&o);
    o.timeout_share = 0.5;
    assert_int_equal(core_pool_options_check(&o, &err), WEIR_E_INVALID);
    assert_non_null(strstr(err.message, "50 % of the median"));
    o.timeout_share = 1;
    assert_int_equal(core_pool_options_check(&o, &err), WEIR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_median_is_that_of_the_last_ones),
        cmocka_unit_test(once_five_are_known_an_attempt_may_take_twice_the_median),
        cmocka_unit_test(the_absolute_limit_holds_from_the_start_and_as_a_ceiling),
        cmocka_unit_test(with_both_the_lesser_holds),
        cmocka_unit_test(very_short_work_is_not_ended_for_a_hiccup),
        cmocka_unit_test(a_share_below_the_median_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
