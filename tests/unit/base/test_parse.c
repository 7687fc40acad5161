/*
 * Option texts: tables of what is taken and what is refused.
 */
#include "base/parse.h"

#include <locale.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static void durations_are_read(void **state)
{
    static const struct {
        const char *text;
        int64_t ns;
    } cases[] = {
        {"0", 0},
        {"1", NS_PER_S},
        {"1.5", 1500000000},
        {"1.5s", 1500000000},
        {"0.1s", 100000000},
        {"200ms", 200000000},
        {"10us", 10000},
        {"0.5us", 500},
        {"2m", 120 * NS_PER_S},
        {"1h", 3600 * NS_PER_S},
        {"3d", 3 * 86400 * NS_PER_S},
        {"1m30s", 90 * NS_PER_S},
        {"1h30m", 5400 * NS_PER_S},
        {"1d2h3m4s5ms6us", 93784005006000},
        {"1.5m1s", 91 * NS_PER_S},
        {"0.333333333333333333333333s", 333333333},
        {"9223372036s", INT64_C(9223372036) * NS_PER_S},
        {"0.0000000004s", 0},
        {"0.0000000005s", 1},
        {"007s", 7 * NS_PER_S},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        duration_ns ns = -7;

        assert_int_equal(parse_duration(cases[i].text, &ns, NULL), WEIR_OK);
        assert_true(ns == cases[i].ns);
    }
}

static void bad_durations_are_refused(void **state)
{
    static const char *const cases[] = {
        "",
        " ",
        "s",
        "-1s",
        "+1s",
        "1 s",
        " 1s",
        "1s ",
        "1.",
        "1.s",
        ".5s",
        "1x",
        "1ns",
        "1S",
        "1sec",
        "1s1m",
        "1s1s",
        "1m30",
        "30 1m",
        "1e3s",
        "0x10s",
        "inf",
        "nan",
        "1,5s",
        "1..2",
        "1.2.3",
        "10000000000s",
        "99999999999999999999",
        "106752d",
        "9223372036s1000ms",
        "18446744073709551616us",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct weir_error err = {0};
        duration_ns ns = -7;

        assert_int_equal(parse_duration(cases[i], &ns, &err), WEIR_E_INVALID);
        assert_int_equal(err.status, WEIR_E_INVALID);
        assert_non_null(strstr(err.message, cases[i]));
        assert_true(ns == -7);
    }
}

static void sizes_are_read(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {
        {"0", 0},
        {"512", 512},
        {"512B", 512},
        {"64k", 65536},
        {"64K", 65536},
        {"64KiB", 65536},
        {"1M", 1048576},
        {"2GiB", UINT64_C(2147483648)},
        {"1T", UINT64_C(1) << 40},
        {"10MB", 10000000},
        {"3kB", 3000},
        {"1GB", 1000000000},
        {"18446744073709551615", UINT64_MAX},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t bytes = 7;

        assert_int_equal(parse_size(cases[i].text, &bytes, NULL), WEIR_OK);
        assert_true(bytes == cases[i].bytes);
    }
}

static void bad_sizes_are_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "k",
        "-1",
        "+1",
        "1.5M",
        "1 k",
        "1kk",
        "1kib",
        "1Ki",
        "1KiBs",
        "1b",
        "1X",
        "1kB ",
        "0x1",
        "1\n",
        "1Mi",
        "1MIB",
        "18446744073709551616",
        "17179869184G",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct weir_error err = {0};
        uint64_t bytes = 7;

        assert_int_equal(parse_size(cases[i], &bytes, &err), WEIR_E_INVALID);
        assert_true(err.message[0] != '\0');
        assert_true(bytes == 7);
    }
}

static void counts_are_read(void **state)
{
    static const struct {
        const char *text;
        int64_t count;
    } cases[] = {
        {"0", 0},        {"-5", -5},      {"200", 200},
        {"10k", 10000},  {"2M", 2000000}, {"1_000_000", 1000000},
        {"1_0k", 10000}, {"-3k", -3000},  {"9223372036854775807", INT64_MAX},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t count = 7;

        assert_int_equal(parse_count(cases[i].text, INT64_MIN, INT64_MAX, &count, NULL), WEIR_OK);
        assert_true(count == cases[i].count);
    }
}

static void bad_counts_are_refused(void **state)
{
    static const char *const cases[] = {
        "",    "-",   "k",  "1.5", "1.5k", "_1",   "1_",  "1__0", "1_k",
        "10K", "10m", "+1", " 1",  "1 ",   "0x10", "--1", "1e3",
    };
    struct weir_error err;
    int64_t count = 7;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(parse_count(cases[i], INT64_MIN, INT64_MAX, &count, &err), WEIR_E_INVALID);
        assert_true(count == 7);
    }
}

static void counts_out_of_range_are_refused_with_the_range(void **state)
{
    struct weir_error err;
    int64_t count = 7;

    (void)state;
    assert_int_equal(parse_count("0", 1, 100, &count, &err), WEIR_E_INVALID);
    assert_non_null(strstr(err.message, "1 to 100"));
    assert_int_equal(parse_count("101", 1, 100, &count, &err), WEIR_E_INVALID);
    assert_int_equal(parse_count("99999999999999999999M", 1, 100, &count, &err), WEIR_E_INVALID);
    assert_int_equal(parse_count("-1", 0, INT64_MAX, &count, &err), WEIR_E_INVALID);
    assert_non_null(strstr(err.message, "0 or more"));
    assert_true(count == 7);
    assert_int_equal(parse_count("1", 1, 100, &count, &err), WEIR_OK);
    assert_int_equal(parse_count("100", 1, 100, &count, &err), WEIR_OK);
    assert_true(count == 100);
}

static void numbers_are_read_and_bounded(void **state)
{
    static const char *const bad[] = {"",      " 1",    "1 ",  "inf", "nan", "0x1p3", "1,5", "1e",
                                      "1e999", "1.2.3", "abc", "-",   "--1", "1-1",   "e5",  "."};
    struct weir_error err;
    double x = 7;

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(parse_number(bad[i], -1e308, 1e308, &x, &err), WEIR_E_INVALID);
        assert_true(x >= 7 && x <= 7);
    }
    assert_int_equal(parse_number("1.01", 0, 1, &x, &err), WEIR_E_INVALID);
    assert_non_null(strstr(err.message, "0 to 1"));
    assert_int_equal(parse_number("-0.01", 0, 1, &x, &err), WEIR_E_INVALID);
    assert_true(x >= 7 && x <= 7);
    assert_int_equal(parse_number("0.25", 0, 1, &x, &err), WEIR_OK);
    assert_true(x >= 0.25 && x <= 0.25);
    assert_int_equal(parse_number("-1.5e3", -1e9, 1e9, &x, &err), WEIR_OK);
    assert_true(x >= -1500 && x <= -1500);
}

static void shares_are_percentages_or_fractions(void **state)
{
    static const char *const bad[] = {"", "%", "2 %", "2%%", "two", "0x1p-6", "nan%", "inf", "2%x"};
    struct weir_error err;
    double x = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(parse_share(bad[i], 0, 1, &x, &err), WEIR_E_INVALID);
        assert_non_null(strstr(err.message, "write it like 2% or 0.02"));
    }
    assert_int_equal(parse_share("2", 0.001, 0.2, &x, &err), WEIR_E_INVALID);
    assert_string_equal(err.message, "2 is out of range; it must be 0.1% to 20%");
    assert_int_equal(parse_share("20.1%", 0.001, 0.2, &x, &err), WEIR_E_INVALID);
    assert_int_equal(parse_share("-1%", 0, 1, &x, &err), WEIR_E_INVALID);
    assert_true(x == 7);
    assert_int_equal(parse_share("2%", 0.001, 0.2, &x, &err), WEIR_OK);
    assert_true(x == 0.02);
    assert_int_equal(parse_share("0.05", 0.001, 0.2, &x, &err), WEIR_OK);
    assert_true(x == 0.05);
    assert_int_equal(parse_share("0.1%", 0.001, 0.2, &x, &err), WEIR_OK);
    assert_int_equal(parse_share("20%", 0.001, 0.2, &x, &err), WEIR_OK);
}

static void ranges_have_two_ends_or_one(void **state)
{
    static const char *const bad[] = {"",       "..",    "5..",       "..5",  "20..5", "5...20",
                                      "5..200", "-1..5", "5..20..30", "a..b", "5-20",  "5 .. 20"};
    struct weir_error err;
    double lo = 7;
    double hi = 8;

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(parse_range(bad[i], 0, 100, &lo, &hi, &err), WEIR_E_INVALID);
        assert_true(lo >= 7 && lo <= 7 && hi >= 8 && hi <= 8);
    }
    assert_int_equal(parse_range("5..20", 0, 100, &lo, &hi, NULL), WEIR_OK);
    assert_true(lo >= 5 && lo <= 5 && hi >= 20 && hi <= 20);
    assert_int_equal(parse_range("0.5", 0, 100, &lo, &hi, NULL), WEIR_OK);
    assert_true(lo >= 0.5 && lo <= 0.5 && hi >= 0.5 && hi <= 0.5);
    assert_int_equal(parse_range("0.5..1.5", 0, 100, &lo, &hi, NULL), WEIR_OK);
    assert_true(lo >= 0.5 && lo <= 0.5 && hi >= 1.5 && hi <= 1.5);
}

static void duration_ranges_have_two_ends_or_one(void **state)
{
    char large[200];
    duration_ns lo = 7;
    duration_ns hi = 8;

    (void)state;
    memset(large, '1', sizeof(large));
    large[sizeof(large) - 1] = '\0';
    assert_int_equal(parse_duration_range("120s..20s", &lo, &hi, NULL), WEIR_E_INVALID);
    assert_int_equal(parse_duration_range("20s..", &lo, &hi, NULL), WEIR_E_INVALID);
    assert_int_equal(parse_duration_range("", &lo, &hi, NULL), WEIR_E_INVALID);
    assert_int_equal(parse_duration_range(large, &lo, &hi, NULL), WEIR_E_INVALID);
    assert_true(lo == 7 && hi == 8);
    assert_int_equal(parse_duration_range("20s..2m", &lo, &hi, NULL), WEIR_OK);
    assert_true(lo == 20 * NS_PER_S && hi == 120 * NS_PER_S);
    assert_int_equal(parse_duration_range("20ms", &lo, &hi, NULL), WEIR_OK);
    assert_true(lo == 20 * NS_PER_MS && hi == 20 * NS_PER_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_read),
        cmocka_unit_test(bad_durations_are_refused),
        cmocka_unit_test(sizes_are_read),
        cmocka_unit_test(bad_sizes_are_refused),
        cmocka_unit_test(counts_are_read),
        cmocka_unit_test(bad_counts_are_refused),
        cmocka_unit_test(counts_out_of_range_are_refused_with_the_range),
        cmocka_unit_test(numbers_are_read_and_bounded),
        cmocka_unit_test(shares_are_percentages_or_fractions),
        cmocka_unit_test(ranges_have_two_ends_or_one),
        cmocka_unit_test(duration_ranges_have_two_ends_or_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
