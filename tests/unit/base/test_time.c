/*
 * Instants and durations: the ends of the range, and the calendar.
 */
#include "base/time.h"

#include <math.h>
#include <time.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void seconds_become_nanoseconds_and_saturate(void **state)
{
    (void)state;
    assert_true(duration_from_seconds(1.5) == 1500000000);
    assert_true(duration_from_seconds(0.1) == 100000000);
    assert_true(duration_from_seconds(-2) == -2 * NS_PER_S);
    assert_true(duration_from_seconds(NAN) == 0);
    assert_true(duration_from_seconds(INFINITY) == INT64_MAX);
    assert_true(duration_from_seconds(-INFINITY) == INT64_MIN);
    assert_true(duration_from_seconds(1e10) == INT64_MAX);
    assert_true(duration_from_seconds(-1e10) == INT64_MIN);
    assert_true(duration_from_seconds(9.3e9) == INT64_MAX);
}

static void sums_and_differences_saturate(void **state)
{
    struct instant late = {INT64_MAX - 5};
    struct instant early = {INT64_MIN + 5};

    (void)state;
    assert_true(instant_is_never(instant_add(late, 10)));
    assert_true(instant_is_none(instant_add(early, -10)));
    assert_true(instant_is_never(instant_add(INSTANT_NEVER, -10)));
    assert_true(instant_is_none(instant_add(INSTANT_NONE, 10)));
    assert_true(instant_add((struct instant){5}, 10).ns == 15);
    assert_true(instant_diff(late, early) == INT64_MAX);
    assert_true(instant_diff(early, late) == INT64_MIN);
    assert_true(instant_diff((struct instant){7}, (struct instant){3}) == 4);
    assert_true(duration_from_ms(INT64_MAX) == INT64_MAX);
    assert_true(duration_from_ms(INT64_MIN) == INT64_MIN);
    assert_true(duration_from_ms(-3) == -3000000);
}

static void instants_are_written_in_utc(void **state)
{
    static const struct {
        int64_t ns;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {INT64_C(1769860800) * 1000000000, "2026-01-31T12:00:00.000Z"},
        {INT64_C(951782399) * 1000000000 + 999999999, "2000-02-28T23:59:59.999Z"},
        {INT64_C(951782400) * 1000000000, "2000-02-29T00:00:00.000Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {-NS_PER_S, "1969-12-31T23:59:59.000Z"},
        {INT64_MAX, "2262-04-11T23:47:16.854Z"},
        {INT64_MIN, "1677-09-21T00:12:43.145Z"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[TIME_UTC_BYTES];

        time_format_utc(cases[i].ns, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void every_day_is_written_as_the_c_library_has_it(void **state)
{
    const int64_t day_ns = 86400 * NS_PER_S;

    (void)state;
    for (int64_t ns = -106000 * day_ns; ns < 106000 * day_ns; ns += day_ns) {
        time_t seconds = (time_t)(ns / NS_PER_S);
        char text[TIME_UTC_BYTES], wanted[64];
        struct tm tm;

        assert_non_null(gmtime_r(&seconds, &tm));
        assert_int_equal(strftime(wanted, sizeof(wanted), "%Y-%m-%dT%H:%M:%S.000Z", &tm), 24);
        time_format_utc(ns, text);
        assert_string_equal(text, wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seconds_become_nanoseconds_and_saturate),
        cmocka_unit_test(sums_and_differences_saturate),
        cmocka_unit_test(instants_are_written_in_utc),
        cmocka_unit_test(every_day_is_written_as_the_c_library_has_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
