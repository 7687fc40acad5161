/* Requests and tokens per minute, as sim/window.h counts them; in virtual time. */
#include "base/mem.h"
#include "base/rng.h"
#include "sim/window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct instant at_s(double seconds)
{
    return (struct instant){duration_from_seconds(seconds)};
}

static struct sim_window make(enum sim_window_kind kind, int64_t limit)
{
    struct sim_window w;

    assert_true(sim_window_init(&w, kind, limit, 10 * NS_PER_S, at_s(0)));
    return w;
}

/* Takes as many single units as fit. */
static int64_t drain(struct sim_window *w, struct instant now)
{
    int64_t n = 0;

    while (sim_window_wait(w, now, 1) == 0) {
        sim_window_take(w, now, 1);
        n++;
    }
    return n;
}

static void sliding_bears_the_limit_in_any_minute(void **state)
{
    enum { LIMIT = 50, STEPS = 20000 };
    struct sim_window w = make(SIM_WINDOW_SLIDING, LIMIT);
    static double taken[STEPS];
    struct rng r;
    size_t count = 0;
    double now = 0;

    (void)state;
    rng_seed(&r, 7);
    for (int i = 0; i < STEPS; i++) {
        now += rng_exponential(&r) * 0.5;
        if (sim_window_wait(&w, at_s(now), 1) != 0)
            continue;
        sim_window_take(&w, at_s(now), 1);
        taken[count++] = now;
        if (count > LIMIT)
            assert_true(taken[count - 1] - taken[count - 1 - LIMIT] > 60 - 1e-6);
    }
    assert_true((double)count > 0.9 * STEPS * 0.5 / 60 * LIMIT);
    sim_window_free(&w);
}

static void sliding_wait_is_exact(void **state)
{
    struct sim_window w = make(SIM_WINDOW_SLIDING, 10);

    (void)state;
    sim_window_take(&w, at_s(1), 4);
    sim_window_take(&w, at_s(2), 4);
    assert_int_equal(sim_window_wait(&w, at_s(3), 2), 0);
    assert_int_equal(sim_window_wait(&w, at_s(3), 3), 58 * NS_PER_S);
    assert_int_equal(sim_window_wait(&w, at_s(3), 7), 59 * NS_PER_S);
    assert_int_equal(sim_window_wait(&w, at_s(3), 11), INT64_MAX);
    assert_int_equal(sim_window_wait(&w, at_s(61), 3), 0);
    sim_window_free(&w);
}

static void sliding_log_of_a_large_limit_stays_bounded(void **state)
{
    struct sim_window w = make(SIM_WINDOW_SLIDING, 10000000);

    (void)state;
    for (int64_t i = 0; i < 3000000; i++) {
        struct instant now = {i * 50 * NS_PER_US};

        assert_int_equal(sim_window_wait(&w, now, 7), 0);
        sim_window_take(&w, now, 7);
        assert_true(w.len <= SIM_WINDOW_LOG_MAX + 2);
    }
    assert_true(w.used <= 60 * 20000 * 7 + 1000 && w.used >= 60 * 20000 * 7 - 1000);
    sim_window_free(&w);
}

static void fixed_is_whole_again_when_the_minute_turns(void **state)
{
    struct sim_window w = make(SIM_WINDOW_FIXED, 5);

    (void)state;
    assert_int_equal(drain(&w, at_s(59)), 5);
    assert_int_equal(sim_window_wait(&w, at_s(59), 1), NS_PER_S);
    assert_int_equal(drain(&w, at_s(60)), 5);
    assert_int_equal(sim_window_wait(&w, at_s(60), 1), 60 * NS_PER_S);
    assert_int_equal(sim_window_wait(&w, at_s(60), 6), INT64_MAX);
    sim_window_free(&w);
}

static void bucket_refills_evenly_up_to_its_depth(void **state)
{
    struct sim_window w = make(SIM_WINDOW_BUCKET, 60);
    duration_ns wait;

    (void)state;
    assert_int_equal(drain(&w, at_s(0)), 10);
    wait = sim_window_wait(&w, at_s(0), 1);
    assert_in_range(wait, NS_PER_S - 10, NS_PER_S + 10);
    assert_int_equal(drain(&w, (struct instant){wait}), 1);
    assert_int_equal(drain(&w, at_s(1000)), 10);
    /* What is larger than the bucket goes when it is full. */
    assert_int_equal(sim_window_wait(&w, at_s(2000), 1000), 0);
    sim_window_free(&w);
}

static void what_is_told_agrees_with_what_is_borne(void **state)
{
    (void)state;
    for (int kind = SIM_WINDOW_SLIDING; kind <= SIM_WINDOW_BUCKET; kind++) {
        struct sim_window w = make((enum sim_window_kind)kind, 120);
        struct rng r;
        double now = 0;

        rng_seed(&r, 3);
        for (int i = 0; i < 5000; i++) {
            struct flow_quota told;

            now += rng_exponential(&r) * 0.3;
            told = sim_window_told(&w, at_s(now));
            assert_int_equal(told.limit, 120);
            assert_in_range(told.remaining, 0, 120);
            assert_in_range(told.reset_ns, 0, 60 * NS_PER_S);
            assert_int_equal(told.remaining > 0, sim_window_wait(&w, at_s(now), 1) == 0);
            if (told.remaining > 0) {
                assert_int_equal(sim_window_wait(&w, at_s(now), told.remaining), 0);
                sim_window_take(&w, at_s(now),
                                1 + (int64_t)rng_below(&r, 2) * (told.remaining - 1));
            }
            /* A quota that is used up has something again at its reset. */
            told = sim_window_told(&w, at_s(now));
            if (told.remaining == 0) {
                now += duration_seconds(told.reset_ns) + 1e-6;
                assert_int_equal(sim_window_wait(&w, at_s(now), 1), 0);
            }
        }
        sim_window_free(&w);
    }
}

static void no_memory_is_said(void **state)
{
    struct sim_window w = {.limit = 77};

    (void)state;
    mem_fail_at(1);
    assert_false(sim_window_init(&w, SIM_WINDOW_SLIDING, 5, 0, at_s(0)));
    mem_fail_at(0);
    assert_int_equal(w.limit, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sliding_bears_the_limit_in_any_minute),
        cmocka_unit_test(sliding_wait_is_exact),
        cmocka_unit_test(sliding_log_of_a_large_limit_stays_bounded),
        cmocka_unit_test(fixed_is_whole_again_when_the_minute_turns),
        cmocka_unit_test(bucket_refills_evenly_up_to_its_depth),
        cmocka_unit_test(what_is_told_agrees_with_what_is_borne),
        cmocka_unit_test(no_memory_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
