/* When silence counts as an answer. */
#include "flow_test.h"

#include "flow/silence.h"

static void before_any_answer_a_second_is_long_enough(void **state)
{
    struct silence s;

    (void)state;
    silence_init(&s);
    assert_true(silence_verdict_s(&s) == 1.0);
    assert_true(silence_speaks(&s));
}

static void the_bound_lies_above_the_mean_and_follows_it(void **state)
{
    struct silence s;

    (void)state;
    silence_init(&s);
    silence_accepted(&s, 2.0);
    assert_true(silence_verdict_s(&s) == 2.0 + 4 * 1.0); /* RFC 6298, 2.2 */
    for (int i = 0; i < 200; i++)
        silence_accepted(&s, 0.5);
    assert_true(silence_verdict_s(&s) > 0.5);
    assert_true(silence_verdict_s(&s) < 0.51);
}

static void quick_refusals_make_for_an_early_verdict(void **state)
{
    struct silence s;

    (void)state;
    silence_init(&s);
    for (int i = 0; i < 50; i++)
        silence_accepted(&s, 1.2);
    silence_refused(&s, 0.05);
    silence_refused(&s, 0.05);
    assert_true(silence_verdict_s(&s) > 1.0); /* two are too few to rely on */
    for (int i = 0; i < 50; i++)
        silence_refused(&s, 0.05);
    assert_true(silence_verdict_s(&s) > 0.05);
    assert_true(silence_verdict_s(&s) < 0.1);
}

static void slow_refusals_leave_the_bound_of_results(void **state)
{
    struct silence s;

    (void)state;
    silence_init(&s);
    for (int i = 0; i < 200; i++) {
        silence_accepted(&s, 0.5);
        silence_refused(&s, 3.0);
    }
    assert_true(silence_verdict_s(&s) < 0.6);
}

static void where_no_answer_comes_silence_says_nothing(void **state)
{
    struct silence s;

    (void)state;
    silence_init(&s);
    for (int i = 0; i < SILENCE_SENDS_MAX - 1; i++)
        silence_sent(&s);
    assert_true(silence_speaks(&s));
    for (int i = 0; i < 1000; i++)
        silence_sent(&s);
    assert_false(silence_speaks(&s));
    silence_broken(&s);
    assert_true(silence_speaks(&s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_any_answer_a_second_is_long_enough),
        cmocka_unit_test(the_bound_lies_above_the_mean_and_follows_it),
        cmocka_unit_test(quick_refusals_make_for_an_early_verdict),
        cmocka_unit_test(slow_refusals_leave_the_bound_of_results),
        cmocka_unit_test(where_no_answer_comes_silence_says_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
