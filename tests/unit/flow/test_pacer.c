/* The least time between two dispatches. */
#include "flow_test.h"

#include "base/rng.h"
#include "flow/pacer.h"

#include <math.h>

static void first_dispatch_goes_at_once(void **state)
{
    struct pacer p;

    (void)state;
    pacer_init(&p, NS_PER_S);
    assert_true(instant_is_none(pacer_when(&p)));
}

static void second_waits_exactly_the_gap(void **state)
{
    struct pacer p;

    (void)state;
    pacer_init(&p, 123456789);
    pacer_take(&p, (struct instant){1000});
    assert_int_equal(pacer_when(&p).ns, 123457789);
}

static void idle_time_is_not_saved_up(void **state)
{
    struct pacer p;

    (void)state;
    pacer_init(&p, 10 * NS_PER_MS);
    pacer_take(&p, at_ms(0));
    pacer_take(&p, at_s(3600));
    assert_int_equal(pacer_when(&p).ns, at_s(3600).ns + 10 * NS_PER_MS);
}

static void late_dispatch_moves_the_next(void **state)
{
    struct pacer p;

    (void)state;
    pacer_init(&p, 10 * NS_PER_MS);
    pacer_take(&p, at_ms(0));
    pacer_take(&p, at_ms(14));
    assert_int_equal(pacer_when(&p).ns, at_ms(24).ns);
}

static void gap_0_never_holds_back(void **state)
{
    struct pacer p;

    (void)state;
    pacer_init(&p, 0);
    for (int i = 0; i < 100; i++) {
        assert_false(instant_before(at_ms(5), pacer_when(&p)));
        pacer_take(&p, at_ms(5));
    }
}

static void a_gap_beyond_all_time_does_not_overflow(void **state)
{
    struct pacer p;

    (void)state;
    pacer_init(&p, INT64_MAX);
    pacer_take(&p, at_s(1));
    assert_true(instant_is_never(pacer_when(&p)));
}

static void gap_of_a_rate_is_rounded_up(void **state)
{
    (void)state;
    assert_int_equal(pacer_gap_of_rate(0), 0);
    assert_int_equal(pacer_gap_of_rate(NAN), 0);
    assert_int_equal(pacer_gap_of_rate(20), 50 * NS_PER_MS);
    assert_int_equal(pacer_gap_of_rate(3), 333333334);
    assert_int_equal(pacer_gap_of_rate(0.5), 2 * NS_PER_S);
    assert_int_equal(pacer_gap_of_rate(4e9), 1);
    assert_true(pacer_gap_of_rate(1e-300) == INT64_MAX);
}

static void two_dispatches_are_never_nearer_than_the_gap(void **state)
{
    struct rng rng;

    (void)state;
    rng_seed(&rng, 3);
    for (int run = 0; run < 200; run++) {
        duration_ns gap = rng_range(&rng, 0, 100 * NS_PER_MS);
        struct instant now = {0}, last = INSTANT_NONE;
        struct pacer p;

        pacer_init(&p, gap);
        for (int i = 0; i < 200; i++) {
            now = instant_add(now, rng_range(&rng, 0, 2 * gap));
            if (instant_before(now, pacer_when(&p)))
                continue;
            pacer_take(&p, now);
            assert_true(instant_is_none(last) || instant_diff(now, last) >= gap);
            last = now;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_dispatch_goes_at_once),
        cmocka_unit_test(second_waits_exactly_the_gap),
        cmocka_unit_test(idle_time_is_not_saved_up),
        cmocka_unit_test(late_dispatch_moves_the_next),
        cmocka_unit_test(gap_0_never_holds_back),
        cmocka_unit_test(a_gap_beyond_all_time_does_not_overflow),
        cmocka_unit_test(gap_of_a_rate_is_rounded_up),
        cmocka_unit_test(two_dispatches_are_never_nearer_than_the_gap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
