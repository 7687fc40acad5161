/*
 * Permits: taken against every limit at once, returned once (I1, P3).
 */
#include "core/permits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_pool_gives_out_as_many_as_its_size(void **state)
{
    struct permits all;
    struct permit_account a;

    (void)state;
    permits_init(&all, PERMITS_UNLIMITED);
    permit_account_init(&a, &all, 2);
    assert_true(permit_take(&a));
    assert_true(permit_take(&a));
    assert_false(permit_available(&a));
    assert_false(permit_take(&a));
    assert_int_equal(a.running, 2);
    permit_return(&a);
    assert_true(permit_take(&a));
}

static void pools_together_stay_within_the_global_limit(void **state)
{
    struct permits all;
    struct permit_account a, b;

    (void)state;
    permits_init(&all, 3);
    permit_account_init(&a, &all, 2);
    permit_account_init(&b, &all, 2);
    assert_true(permit_take(&a) && permit_take(&a));
    assert_true(permit_take(&b));
    assert_false(permit_take(&b));
    assert_int_equal(b.running, 1);
    assert_int_equal(all.running, 3);
    permit_return(&a);
    assert_true(permit_take(&b));
}

static void the_peak_is_what_was_really_reached(void **state)
{
    struct permits all;
    struct permit_account a;

    (void)state;
    permits_init(&all, PERMITS_UNLIMITED);
    permit_account_init(&a, &all, 10);
    for (int i = 0; i < 4; i++)
        assert_true(permit_take(&a));
    for (int i = 0; i < 4; i++)
        permit_return(&a);
    assert_true(permit_take(&a));
    assert_int_equal(a.peak, 4);
    permit_return(&a);
    assert_int_equal(a.running, 0);
    assert_int_equal(all.running, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_gives_out_as_many_as_its_size),
        cmocka_unit_test(pools_together_stay_within_the_global_limit),
        cmocka_unit_test(the_peak_is_what_was_really_reached),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
