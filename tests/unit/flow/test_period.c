/* A quota that nobody announced. */
#include "flow_test.h"

#include "flow/period.h"

#include <math.h>

static void accept(struct period *p, int64_t from_ms, int64_t to_ms, int count)
{
    for (int i = 0; i < count; i++)
        period_accepted(p, at_ms(from_ms + (to_ms - from_ms) * i / count));
}

/* A window that was used up, and the outage at its end, once before: one alone is taken for a coincidence. */
static void once_before(struct period *p)
{
    accept(p, -149000, -141000, 500);
    assert_false(period_outage_over(p, at_s(-141), at_ms(-87500), 5));
}

static bool is_unlimited(const struct period *p, struct instant now)
{
    return isinf(period_rate_rps(p, now));
}

static void an_outage_that_ends_with_the_window_shows_the_quota(void **state)
{
    struct period p;

    (void)state;
    period_init(&p);
    once_before(&p);
    accept(&p, 1000, 9000, 500);
    assert_true(period_outage_over(&p, at_s(9), at_ms(62500), 5));
    assert_true(fabs(period_rate_rps(&p, at_s(63)) - 500 / 60.0) < 0.1);
    assert_true(period_rate_rps(&p, at_s(63)) < 500 / 60.0); /* a little room */
}

static void a_window_of_ten_seconds_is_seen_too(void **state)
{
    struct period p;

    (void)state;
    period_init(&p);
    accept(&p, -99000, -97000, 50);
    assert_false(period_outage_over(&p, at_s(-97), at_ms(-88100), 5));
    accept(&p, 1000, 3000, 50);
    assert_true(period_outage_over(&p, at_s(3), at_ms(11900), 5));
    assert_true(fabs(period_rate_rps(&p, at_s(12)) - 5) < 0.1);
}

static void an_outage_of_any_other_length_is_one(void **state)
{
    struct period p;

    (void)state;
    period_init(&p);
    accept(&p, 0, 100000, 2000); /* as before an outage of a minute, 100 s to 160 s */
    assert_false(period_outage_over(&p, at_s(100), at_s(161), 5));
    period_init(&p);
    accept(&p, 1000, 9000, 500);
    assert_false(period_outage_over(&p, at_s(9), at_s(40), 5));
    assert_true(is_unlimited(&p, at_s(41)));
}

static void belief_ends_and_doubles_when_more_fails_again(void **state)
{
    struct period p;

    (void)state;
    period_init(&p);
    once_before(&p);
    accept(&p, 1000, 9000, 500);
    assert_true(period_outage_over(&p, at_s(9), at_s(62), 5));
    assert_false(is_unlimited(&p, at_s(62 + 119)));
    assert_true(is_unlimited(&p, at_s(62 + 121)));
    assert_false(period_fell(&p, at_s(190), 4)); /* at half the rate: it has another cause */
    assert_true(period_fell(&p, at_s(190), 12));
    assert_false(is_unlimited(&p, at_s(190 + 239)));
    assert_true(is_unlimited(&p, at_s(190 + 241)));
}

static void what_fails_much_later_is_not_the_quota(void **state)
{
    struct period p;

    (void)state;
    period_init(&p);
    assert_false(period_fell(&p, at_s(10), 20));
    once_before(&p);
    accept(&p, 1000, 9000, 500);
    assert_true(period_outage_over(&p, at_s(9), at_s(62), 5));
    assert_false(period_fell(&p, at_s(1000), 20));
}

static void the_time_before_the_clocks_start_counts_too(void **state)
{
    struct period p;

    (void)state;
    period_init(&p);
    once_before(&p);
    accept(&p, -59000, -51000, 500);
    assert_true(period_outage_over(&p, at_s(-51), at_s(2), 5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_outage_that_ends_with_the_window_shows_the_quota),
        cmocka_unit_test(a_window_of_ten_seconds_is_seen_too),
        cmocka_unit_test(an_outage_of_any_other_length_is_one),
        cmocka_unit_test(belief_ends_and_doubles_when_more_fails_again),
        cmocka_unit_test(what_fails_much_later_is_not_the_quota),
        cmocka_unit_test(the_time_before_the_clocks_start_counts_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
