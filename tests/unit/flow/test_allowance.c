/* How much may be spent on refusals. */
#include "flow_test.h"

#include "flow/allowance.h"

static void each_success_earns_its_share_of_a_refusal(void **state)
{
    struct allowance a;
    double before;

    (void)state;
    allowance_init(&a, 0.02);
    before = a.balance;
    for (int i = 0; i < 50; i++)
        allowance_earn(&a);
    allowance_pay(&a);
    assert_true(a.balance > before - 1e-9 && a.balance < before + 1e-9);
}

static void debt_and_savings_have_their_bounds(void **state)
{
    struct allowance a;
    double most;

    (void)state;
    allowance_init(&a, 0.02);
    for (int i = 0; i < 100000; i++)
        allowance_earn(&a);
    most = a.balance;
    allowance_earn(&a);
    assert_true(a.balance == most && most < 100);
    for (int i = 0; i < 1000; i++)
        allowance_pay(&a);
    assert_true(a.balance > -100);
}

static void much_to_win_is_asked_for_more_often_and_debt_less_often(void **state)
{
    struct allowance a;
    double rich, poor;

    (void)state;
    allowance_init(&a, 0.02);
    assert_true(allowance_interval_s(&a, 10) < allowance_interval_s(&a, 1));
    rich = allowance_interval_s(&a, 5);
    for (int i = 0; i < 5; i++)
        allowance_pay(&a);
    poor = allowance_interval_s(&a, 5);
    assert_true(poor > 1.3 * rich); /* the square root of a doubled price */
    assert_true(poor < 1.5 * rich);
}

static void the_interval_has_its_bounds(void **state)
{
    struct allowance a;

    (void)state;
    allowance_init(&a, 0.02);
    assert_true(allowance_interval_s(&a, 1e9) == 1.0);
    assert_true(allowance_interval_s(&a, 1e-9) == 15.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_success_earns_its_share_of_a_refusal),
        cmocka_unit_test(debt_and_savings_have_their_bounds),
        cmocka_unit_test(much_to_win_is_asked_for_more_often_and_debt_less_often),
        cmocka_unit_test(the_interval_has_its_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
