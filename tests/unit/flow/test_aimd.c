/* The AIMD delay, line by line of design 3. */
#include "flow_test.h"

#include "base/rng.h"
#include "flow/aimd.h"

#include <math.h>

static struct aimd_options options_ms(int64_t min, int64_t max, double multiplier, int64_t step)
{
    return (struct aimd_options){min * NS_PER_MS, max * NS_PER_MS, multiplier, step * NS_PER_MS};
}

static struct aimd aimd_ms(int64_t min, int64_t max, double multiplier, int64_t step)
{
    struct aimd_options o = options_ms(min, max, multiplier, step);
    struct aimd a;

    assert_int_equal(aimd_options_check(&o, NULL), WEIR_OK);
    aimd_init(&a, &o);
    return a;
}

static void defaults_are_the_designs_and_pass(void **state)
{
    struct aimd_options o;

    (void)state;
    aimd_options_init(&o);
    assert_int_equal(o.min_delay_ns, 0);
    assert_int_equal(o.max_delay_ns, 5000 * NS_PER_MS);
    assert_true(o.multiplier == 2.0);
    assert_int_equal(o.step_ns, 50 * NS_PER_MS);
    assert_int_equal(aimd_options_check(&o, NULL), WEIR_OK);
}

static void each_option_has_its_range(void **state)
{
    const struct {
        struct aimd_options o;
        const char *field; /* NULL: allowed */
    } cases[] = {
        {options_ms(-1, 5000, 2, 50), "min_dispatch_delay_ms is -1"},
        {options_ms(0, 0, 2, 50), "max_dispatch_delay_ms is 0"},
        {options_ms(0, -5, 2, 50), "max_dispatch_delay_ms is -5"},
        {options_ms(100, 99, 2, 50), "max_dispatch_delay_ms is 99"},
        {options_ms(100, 100, 2, 50), NULL},
        {options_ms(0, 5000, 1, 50), "backoff_multiplier is 1"},
        {options_ms(0, 5000, 0.5, 50), "backoff_multiplier"},
        {options_ms(0, 5000, NAN, 50), "backoff_multiplier"},
        {options_ms(0, 5000, INFINITY, 50), "backoff_multiplier"},
        {options_ms(0, 5000, 1.0001, 50), NULL},
        {options_ms(0, 5000, 2, -1), "recovery_step_ms is -1"},
        {options_ms(0, 5000, 2, 0), "recovery_step_ms and min_dispatch_delay_ms"},
        {options_ms(1, 5000, 2, 0), NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct weir_error err;
        enum weir_status status = aimd_options_check(&cases[i].o, &err);

        if (cases[i].field)
            assert_refused(status, err, cases[i].field);
        else
            assert_int_equal(status, WEIR_OK);
    }
}

static void delay_starts_at_0_even_with_a_minimum(void **state)
{
    struct aimd a = aimd_ms(100, 5000, 2, 50);

    (void)state;
    assert_int_equal(aimd_delay(&a), 0);
}

static void first_refusal_gives_the_larger_of_step_and_minimum(void **state)
{
    struct aimd by_step = aimd_ms(10, 5000, 2, 50);
    struct aimd by_min = aimd_ms(80, 5000, 2, 50);

    (void)state;
    assert_int_equal(aimd_refused(&by_step), 50 * NS_PER_MS);
    assert_int_equal(aimd_refused(&by_min), 80 * NS_PER_MS);
}

static void first_refusal_is_capped_too(void **state)
{
    struct aimd a = aimd_ms(0, 20, 2, 50);

    (void)state;
    assert_int_equal(aimd_refused(&a), 20 * NS_PER_MS);
}

static void further_refusals_multiply_up_to_the_maximum(void **state)
{
    struct aimd a = aimd_ms(0, 300, 2, 50);

    (void)state;
    assert_int_equal(aimd_refused(&a), 50 * NS_PER_MS);
    assert_int_equal(aimd_refused(&a), 100 * NS_PER_MS);
    assert_int_equal(aimd_refused(&a), 200 * NS_PER_MS);
    assert_int_equal(aimd_refused(&a), 300 * NS_PER_MS);
    assert_int_equal(aimd_refused(&a), 300 * NS_PER_MS);
}

static void success_takes_a_step_off_down_to_the_minimum(void **state)
{
    struct aimd a = aimd_ms(30, 5000, 2, 50);

    (void)state;
    aimd_refused(&a);
    aimd_refused(&a);
    assert_int_equal(aimd_delay(&a), 100 * NS_PER_MS);
    aimd_accepted(&a);
    assert_int_equal(aimd_delay(&a), 50 * NS_PER_MS);
    aimd_accepted(&a);
    assert_int_equal(aimd_delay(&a), 30 * NS_PER_MS);
}

static void success_raises_the_first_delay_to_the_minimum(void **state)
{
    struct aimd a = aimd_ms(30, 5000, 2, 50);

    (void)state;
    aimd_accepted(&a);
    assert_int_equal(aimd_delay(&a), 30 * NS_PER_MS);
    assert_int_equal(aimd_refused(&a), 60 * NS_PER_MS); /* it is not 0 any more: multiplied */
}

static void delay_back_at_0_starts_over_with_the_step(void **state)
{
    struct aimd a = aimd_ms(0, 5000, 3, 50);

    (void)state;
    aimd_refused(&a);
    aimd_accepted(&a);
    assert_int_equal(aimd_delay(&a), 0);
    assert_int_equal(aimd_refused(&a), 50 * NS_PER_MS);
}

static void a_factor_near_1_makes_the_least_delay_grow(void **state)
{
    struct aimd_options o = {.max_delay_ns = NS_PER_S, .multiplier = 1.1, .step_ns = 1};
    struct aimd a;
    int refusals = 0;

    (void)state;
    aimd_init(&a, &o);
    while (aimd_refused(&a) < NS_PER_S)
        assert_true(++refusals < 1000);
}

static void the_largest_durations_do_not_overflow(void **state)
{
    struct aimd_options o = {.max_delay_ns = INT64_MAX, .multiplier = 1e300, .step_ns = INT64_MAX};
    struct aimd a;

    (void)state;
    assert_int_equal(aimd_options_check(&o, NULL), WEIR_OK);
    aimd_init(&a, &o);
    for (int i = 0; i < 5; i++)
        assert_true(aimd_refused(&a) == INT64_MAX);
    aimd_accepted(&a);
    assert_int_equal(aimd_delay(&a), 0);
}

/* The formulas of the design once more, in its unit, against random sequences. */
static void any_sequence_follows_the_formulas(void **state)
{
    struct rng rng;

    (void)state;
    rng_seed(&rng, 1);
    for (int run = 0; run < 500; run++) {
        double min = (double)rng_range(&rng, 0, 200), step = (double)rng_range(&rng, 1, 300);
        double max = min + (double)rng_range(&rng, 1, 5000), multiplier = 1 + 3 * rng_unit(&rng);
        struct aimd a = aimd_ms((int64_t)min, (int64_t)max, multiplier + 0.01, (int64_t)step);
        double delay = 0;

        for (int i = 0; i < 200; i++) {
            if (rng_below(&rng, 3) == 0) {
                duration_ns told = aimd_refused(&a);

                delay = delay == 0 ? fmax(step, min) : delay * (multiplier + 0.01);
                delay = fmin(delay, max);
                assert_int_equal(told, aimd_delay(&a));
            } else {
                delay = fmax(delay - step, min);
                aimd_accepted(&a);
            }
            assert_true(fabs(duration_ms(aimd_delay(&a)) - delay) < 1e-5);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_designs_and_pass),
        cmocka_unit_test(each_option_has_its_range),
        cmocka_unit_test(delay_starts_at_0_even_with_a_minimum),
        cmocka_unit_test(first_refusal_gives_the_larger_of_step_and_minimum),
        cmocka_unit_test(first_refusal_is_capped_too),
        cmocka_unit_test(further_refusals_multiply_up_to_the_maximum),
        cmocka_unit_test(success_takes_a_step_off_down_to_the_minimum),
        cmocka_unit_test(success_raises_the_first_delay_to_the_minimum),
        cmocka_unit_test(delay_back_at_0_starts_over_with_the_step),
        cmocka_unit_test(a_factor_near_1_makes_the_least_delay_grow),
        cmocka_unit_test(the_largest_durations_do_not_overflow),
        cmocka_unit_test(any_sequence_follows_the_formulas),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
