/* Lost capacity, or a stray refusal. */
#include "flow_test.h"

#include "base/rng.h"
#include "flow/drop.h"

static void two_refusals_with_one_dispatch_between_are_a_drop(void **state)
{
    struct drop d;

    (void)state;
    drop_init(&d);
    assert_false(drop_refused(&d, 10));
    assert_true(drop_refused(&d, 12));
}

static void two_further_apart_are_not_but_a_third_may_make_them_one(void **state)
{
    struct drop d;

    (void)state;
    drop_init(&d);
    assert_false(drop_refused(&d, 10));
    assert_false(drop_refused(&d, 14));
    assert_true(drop_refused(&d, 18));
}

static void one_in_ten_never_is(void **state)
{
    struct drop d;

    (void)state;
    drop_init(&d);
    for (uint64_t n = 10; n < 10000; n += 10)
        assert_false(drop_refused(&d, n));
}

static void the_cut_is_by_the_share_refused(void **state)
{
    struct drop d;

    (void)state;
    drop_init(&d);
    drop_refused(&d, 10);
    drop_refused(&d, 14);
    drop_refused(&d, 18); /* 3 of 9 */
    assert_true(drop_share(&d) > 0.66 && drop_share(&d) < 0.67);
    drop_reset(&d);
    drop_refused(&d, 30);
    drop_refused(&d, 31);
    assert_true(drop_share(&d) == 0.5); /* no deeper at once */
}

static void dispatches_between_are_counted_across_a_reset(void **state)
{
    struct drop d;

    (void)state;
    drop_init(&d);
    assert_int_equal(drop_between(&d, 11), 10);
    drop_refused(&d, 11);
    drop_reset(&d);
    assert_int_equal(drop_between(&d, 15), 3);
    assert_int_equal(drop_between(&d, 12), 0);
    assert_int_equal(drop_between(&d, 5), 0);
}

static void the_order_of_arrival_changes_no_verdict(void **state)
{
    struct rng rng;

    (void)state;
    rng_seed(&rng, 1);
    for (int run = 0; run < 2000; run++) {
        uint64_t numbers[6], n = 0;
        struct drop there, back;
        bool fell_there = false, fell_back = false;

        drop_init(&there);
        drop_init(&back);
        for (int i = 0; i < 6; i++)
            numbers[i] = n += 1 + rng_below(&rng, 12);
        for (int i = 0; i < 6; i++) {
            fell_there |= drop_refused(&there, numbers[i]);
            fell_back |= drop_refused(&back, numbers[5 - i]);
        }
        assert_int_equal(fell_there, fell_back);
        assert_true(drop_share(&there) == drop_share(&back));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_refusals_with_one_dispatch_between_are_a_drop),
        cmocka_unit_test(two_further_apart_are_not_but_a_third_may_make_them_one),
        cmocka_unit_test(one_in_ten_never_is),
        cmocka_unit_test(the_cut_is_by_the_share_refused),
        cmocka_unit_test(dispatches_between_are_counted_across_a_reset),
        cmocka_unit_test(the_order_of_arrival_changes_no_verdict),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
