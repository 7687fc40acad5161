/* The API's times for people. */
#include "unit/cli/cli_test.h"

#include "base/time.h"
#include "cli/client/when.h"

static void a_time_of_the_api_is_read_to_the_nanosecond(void **state)
{
    int64_t ns = 0;

    (void)state;
    assert_true(when_parse(SLICE("1970-01-01T00:00:01Z"), &ns));
    assert_int_equal(ns, NS_PER_S);
    assert_true(when_parse(SLICE("2026-01-31T12:00:00.000123Z"), &ns));
    assert_int_equal(ns, INT64_C(1769860800) * NS_PER_S + 123000);
    assert_true(when_parse(SLICE("2026-01-31T12:00:00.5Z"), &ns));
    assert_int_equal(ns % NS_PER_S, NS_PER_S / 2);
}

static void what_is_no_such_time_is_refused(void **state)
{
    static const char *const others[] = {
        "",
        "now",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "2026-01-31T12:00:00+01:00",
        "2026-01-31T12:00:00.12x4Z",
        "2026-01-31T12:00:00,5Z",
        "x026-01-31T12:00:00Z",
    };

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        int64_t ns = 7;

        assert_false(when_parse(slice_of(others[i]), &ns));
        assert_int_equal(ns, 7);
    }
}

static void check(double ago_s, const char *expected)
{
    const int64_t now_ns = INT64_C(1769860800) * NS_PER_S;
    _cleanup_buf_ struct buf out = {0};

    when_put(&out, now_ns - duration_from_seconds(ago_s), now_ns, false);
    assert_string_equal(out.data, expected);
}

static void a_while_ago_has_one_unit_and_is_never_rounded_up(void **state)
{
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    check(0.9, "now");
    check(-0.9, "now");
    check(59.9, "60s ago");
    check(119, "119s ago");
    check(120, "2m ago");
    check(179, "2m ago");
    check(180, "3m ago");
    check(2 * 3600, "2h ago");
    check(3 * 3600 - 1, "2h ago");
    check(47.9 * 3600, "47h ago");
    check(49 * 3600, "2d ago");
    check(-90, "in 90s");
    when_put(&out, INT64_C(1769860800) * NS_PER_S, 0, true);
    assert_string_equal(out.data, "2026-01-31T12:00:00Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_of_the_api_is_read_to_the_nanosecond),
        cmocka_unit_test(what_is_no_such_time_is_refused),
        cmocka_unit_test(a_while_ago_has_one_unit_and_is_never_rounded_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
