/* When nothing gets through. */
#include "flow_test.h"

#include "flow/outage.h"

static void six_refusals_in_a_row_are_an_outage(void **state)
{
    struct outage o;

    (void)state;
    outage_init(&o);
    for (uint64_t n = 5; n < 10; n++)
        assert_false(outage_refused(&o, n, at_ms(60 * (int)n)));
    assert_true(outage_refused(&o, 10, at_ms(600)));
}

static void many_refusals_within_a_moment_are_no_outage_yet(void **state)
{
    struct outage o;

    (void)state;
    outage_init(&o);
    for (uint64_t n = 1; n <= 100; n++)
        assert_false(outage_refused(&o, n, at_ms((int)n)));
    assert_false(outage_refused(&o, 101, at_ms(250)));
    assert_true(outage_refused(&o, 102, at_ms(251)));
}

static void one_that_was_taken_between_begins_the_count_anew(void **state)
{
    struct outage o;

    (void)state;
    outage_init(&o);
    for (uint64_t n = 1; n < 1000; n++) {
        if (n % 6 != 0)
            assert_false(outage_refused(&o, n, at_ms(100 * (int)n)));
    }
}

static void a_late_refusal_of_an_older_dispatch_does_not_count(void **state)
{
    struct outage o;

    (void)state;
    outage_init(&o);
    for (uint64_t n = 10; n < 15; n++)
        assert_false(outage_refused(&o, n, at_ms(100 * (int)n)));
    for (uint64_t n = 1; n < 10; n++)
        assert_false(outage_refused(&o, n, at_s(10)));
}

static void probes_go_one_at_a_time_and_ever_less_often(void **state)
{
    struct outage o;
    struct rng rng;
    struct instant now = at_s(0);
    duration_ns last = 0;

    (void)state;
    rng_seed(&rng, 1);
    outage_init(&o);
    outage_begin(&o, now);
    for (uint64_t n = 1; n < 50; n++) {
        struct instant when = outage_when(&o, now);
        duration_ns gap = instant_diff(when, now);

        assert_in_range(gap, 200 * NS_PER_MS, 3 * NS_PER_S);
        if (n < 5) /* later the jitter may outweigh the growth */
            assert_true(gap > last * 8 / 10);
        last = gap;
        outage_probe_sent(&o, n, when, 1.0);
        assert_true(instant_is_never(outage_when(&o, when)));
        now = when;
        if (n % 2)
            outage_probe_refused(&o, n, now, &rng);
        else
            outage_probe_lost(&o, n, now, &rng);
    }
    assert_true(last > 1900 * NS_PER_MS);
}

static void an_older_refusal_says_nothing_about_the_probe(void **state)
{
    struct outage o;
    struct rng rng;

    (void)state;
    rng_seed(&rng, 1);
    outage_init(&o);
    outage_begin(&o, at_s(0));
    outage_probe_sent(&o, 9, at_s(1), 1.0);
    outage_probe_refused(&o, 8, at_s(1), &rng);
    outage_probe_lost(&o, 7, at_s(1), &rng);
    assert_int_equal(o.probe, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(six_refusals_in_a_row_are_an_outage),
        cmocka_unit_test(many_refusals_within_a_moment_are_no_outage_yet),
        cmocka_unit_test(one_that_was_taken_between_begins_the_count_anew),
        cmocka_unit_test(a_late_refusal_of_an_older_dispatch_does_not_count),
        cmocka_unit_test(probes_go_one_at_a_time_and_ever_less_often),
        cmocka_unit_test(an_older_refusal_says_nothing_about_the_probe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
