/* Successes a second. */
#include "flow_test.h"

#include "flow/meter.h"

static void a_steady_rate_is_what_it_says(void **state)
{
    struct meter m;

    (void)state;
    meter_init(&m);
    for (int i = 0; i < 1000; i++)
        meter_count(&m, at_ms(50 * i), 1.2);
    assert_true(meter_rps(&m, at_ms(50000)) > 19 && meter_rps(&m, at_ms(50000)) < 21.5);
}

static void a_rise_shows_within_half_a_span(void **state)
{
    struct meter m;

    (void)state;
    meter_init(&m);
    for (int i = 0; i < 100; i++)
        meter_count(&m, at_ms(100 * i), 1.0);
    for (int i = 0; i < 70; i++)
        meter_count(&m, at_ms(10000 + 10 * i), 1.0);
    assert_true(meter_rps(&m, at_ms(10700)) > 70);
}

static void before_any_success_there_is_none(void **state)
{
    struct meter m;

    (void)state;
    meter_init(&m);
    assert_true(meter_rps(&m, at_s(5)) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_steady_rate_is_what_it_says),
        cmocka_unit_test(a_rise_shows_within_half_a_span),
        cmocka_unit_test(before_any_success_there_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
