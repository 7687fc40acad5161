/* A limit of requests in flight. */
#include "flow_test.h"

#include "flow/flight.h"

static void take(struct flight *f, uint32_t from, uint32_t to, int times)
{
    for (int i = 0; i < times; i++)
        for (uint32_t n = from; n <= to; n++)
            flight_accepted(f, n);
}

static enum flight_vote refuse(struct flight *f, int second, uint32_t in_flight)
{
    return flight_vote(f, at_s(second), in_flight, 0.5, true);
}

static struct flight flight_of(uint32_t window)
{
    struct flight f;

    flight_init(&f);
    take(&f, 0, window - 1, 2);
    flight_enter(&f, 100, at_s(10));
    assert_int_equal(f.window, window);
    return f;
}

static void refusals_above_what_was_taken_make_a_window_of_that(void **state)
{
    struct flight f;

    (void)state;
    flight_init(&f);
    take(&f, 0, 19, 2);
    assert_int_equal(refuse(&f, 1, 20), FLIGHT_STAYS);
    assert_int_equal(refuse(&f, 2, 21), FLIGHT_STAYS);
    assert_int_equal(refuse(&f, 3, 20), FLIGHT_ENTERS);
    flight_enter(&f, 50, at_s(5));
    assert_int_equal(f.window, 20);
}

static void refusals_at_any_number_in_flight_do_not(void **state)
{
    struct flight f;

    (void)state;
    flight_init(&f);
    take(&f, 0, 19, 3);
    for (int i = 0; i < 50; i++)
        assert_int_equal(refuse(&f, i, (uint32_t)(i % 20)), FLIGHT_STAYS);
}

static void several_refusals_at_once_are_one_vote(void **state)
{
    struct flight f;

    (void)state;
    flight_init(&f);
    take(&f, 0, 19, 2);
    for (int i = 0; i < 50; i++)
        assert_int_equal(refuse(&f, 1, 20), FLIGHT_STAYS);
}

static void a_window_is_left_when_refusals_no_longer_go_with_it(void **state)
{
    struct flight f = flight_of(20);
    int votes = 0;

    (void)state;
    take(&f, 0, 19, 3);
    while (refuse(&f, votes, 5) != FLIGHT_LEAVES)
        assert_true(++votes < 8);
    assert_true(votes >= 2);
}

static void so_many_may_be_in_flight_and_no_more_before_the_probe(void **state)
{
    struct flight f = flight_of(20);

    (void)state;
    assert_int_equal(flight_when(&f, at_s(1), 19, 1e6, true).ns, at_s(1).ns);
    assert_int_equal(flight_when(&f, at_s(1), 20, 1e6, true).ns, at_s(10).ns);
}

static void extra_permits_that_are_borne_are_kept_and_doubled(void **state)
{
    struct flight f = flight_of(20);

    (void)state;
    assert_int_equal(flight_when(&f, at_s(10), 20, 1e6, true).ns, at_s(10).ns);
    assert_true(flight_sent(&f, at_s(10), 20, 101, 0.5));
    assert_int_equal(flight_when(&f, at_s(10), 21, 1e6, true).ns, at_ms(10500).ns);
    assert_int_equal(flight_when(&f, at_ms(10500), 20, 1e6, true).ns, at_ms(10500).ns);
    assert_int_equal(f.window, 21);
    assert_int_equal(f.step, 2);
}

static void silence_that_says_nothing_raises_no_window(void **state)
{
    struct flight f = flight_of(20);

    (void)state;
    flight_sent(&f, at_s(10), 20, 101, 0.5);
    assert_true(instant_is_never(flight_when(&f, at_s(20), 21, 1e6, false)));
    assert_int_equal(f.window, 20);
    flight_answered(&f, at_s(21), 101);
    flight_when(&f, at_s(21), 20, 1e6, true);
    assert_int_equal(f.window, 21);
}

static void a_refused_extra_permit_costs_nothing_but_time(void **state)
{
    struct flight f = flight_of(20);
    struct drop d;

    (void)state;
    drop_init(&d);
    flight_sent(&f, at_s(10), 20, 101, 0.5);
    assert_int_equal(flight_refused(&f, at_s(10), 20, true, 101, 101, &d, 0.5, 7),
                     FLIGHT_TRIAL_REFUSED);
    assert_int_equal(f.window, 20);
    assert_int_equal(flight_when(&f, at_s(11), 20, 1e6, true).ns, at_s(17).ns);
}

static void a_stray_refusal_takes_one_and_a_drop_a_fifth(void **state)
{
    struct flight f = flight_of(20);
    struct drop d;

    (void)state;
    drop_init(&d);
    assert_int_equal(flight_refused(&f, at_s(1), 19, false, 110, 120, &d, 0.5, 7), FLIGHT_NOTCH);
    assert_int_equal(f.window, 19);
    /* sent before the window was lowered: late news */
    assert_int_equal(flight_refused(&f, at_s(1), 19, false, 118, 120, &d, 0.5, 7), FLIGHT_NOTHING);
    assert_int_equal(flight_refused(&f, at_s(1), 18, false, 119, 121, &d, 0.5, 7), FLIGHT_FELL);
    assert_int_equal(f.window, 14);
}

static void the_window_is_never_less_than_one(void **state)
{
    struct flight f = flight_of(2);
    struct drop d;

    (void)state;
    drop_init(&d);
    for (uint64_t n = 200; n < 220; n++)
        flight_refused(&f, at_s(1), 0, false, n, n, &d, 0.5, 7);
    assert_int_equal(f.window, 1);
    assert_int_equal(flight_when(&f, at_s(1), 0, 1e6, true).ns, at_s(1).ns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals_above_what_was_taken_make_a_window_of_that),
        cmocka_unit_test(refusals_at_any_number_in_flight_do_not),
        cmocka_unit_test(several_refusals_at_once_are_one_vote),
        cmocka_unit_test(a_window_is_left_when_refusals_no_longer_go_with_it),
        cmocka_unit_test(so_many_may_be_in_flight_and_no_more_before_the_probe),
        cmocka_unit_test(extra_permits_that_are_borne_are_kept_and_doubled),
        cmocka_unit_test(silence_that_says_nothing_raises_no_window),
        cmocka_unit_test(a_refused_extra_permit_costs_nothing_but_time),
        cmocka_unit_test(a_stray_refusal_takes_one_and_a_drop_a_fifth),
        cmocka_unit_test(the_window_is_never_less_than_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
