/* Rates at which a service has settled before. */
#include "flow_test.h"

#include "flow/levels.h"

static void a_level_counts_from_the_second_time(void **state)
{
    struct levels l;

    (void)state;
    levels_init(&l);
    assert_true(levels_highest(&l, 0, 1e9) == 0);
    assert_int_equal(levels_seen(&l, 20), 0);
    levels_remember(&l, 20);
    assert_true(levels_highest(&l, 0, 1e9) == 0);
    levels_remember(&l, 20);
    assert_true(levels_highest(&l, 0, 1e9) == 20);
    assert_int_equal(levels_seen(&l, 21), 2);
}

static void near_rates_are_one_level_that_moves_halfway(void **state)
{
    struct levels l;

    (void)state;
    levels_init(&l);
    levels_remember(&l, 20);
    levels_remember(&l, 21);
    assert_int_equal(l.count, 1);
    assert_true(levels_highest(&l, 0, 1e9) == 20.5);
    levels_remember(&l, 23);
    assert_int_equal(l.count, 2);
}

static void the_highest_between_two_rates_is_given(void **state)
{
    struct levels l;

    (void)state;
    levels_init(&l);
    for (int i = 0; i < 2; i++) {
        levels_remember(&l, 5);
        levels_remember(&l, 10);
        levels_remember(&l, 20);
    }
    assert_true(levels_highest(&l, 5, 20) == 10); /* neither end counts */
    assert_true(levels_highest(&l, 0, 7) == 5);
    assert_true(levels_highest(&l, 21, 1e9) == 0);
}

static void the_one_not_seen_for_longest_is_forgotten(void **state)
{
    struct levels l;

    (void)state;
    levels_init(&l);
    levels_remember(&l, 1);
    levels_remember(&l, 1);
    for (int i = 1; i <= LEVELS_MAX - 1; i++)
        levels_remember(&l, 1 + i);
    assert_int_equal(levels_seen(&l, 1), 2);
    levels_remember(&l, 100);
    assert_int_equal(levels_seen(&l, 1), 1); /* the nearest is now 2 */
    assert_int_equal(l.count, LEVELS_MAX);
}

static void the_top_is_one_that_lasted(void **state)
{
    struct levels l;

    (void)state;
    levels_init(&l);
    for (int i = 0; i < 3; i++)
        levels_remember(&l, 20);
    levels_remember(&l, 50);
    levels_remember(&l, 50);
    assert_true(levels_top(&l) == 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_level_counts_from_the_second_time),
        cmocka_unit_test(near_rates_are_one_level_that_moves_halfway),
        cmocka_unit_test(the_highest_between_two_rates_is_given),
        cmocka_unit_test(the_one_not_seen_for_longest_is_forgotten),
        cmocka_unit_test(the_top_is_one_that_lasted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
