/* Text on a screen: cut by columns, and harmless. */
#include "unit/cli/top/top_test.h"

#include "cli/top/text.h"

static void assert_text(const char *text, size_t width, bool utf8, const char *expected,
                        size_t columns)
{
    _cleanup_buf_ struct buf out = {0};

    assert_int_equal(top_put_text(&out, slice_of(text), width, utf8), columns);
    assert_string_equal(out.data ? out.data : "", expected);
}

static void cuts_by_columns(void **state)
{
    (void)state;
    assert_text("abc", 3, true, "abc", 3);
    assert_text("abcd", 3, true, "ab…", 3);
    assert_text("abcd", 3, false, "ab~", 3);
    assert_text("abcd", 0, true, "", 0);
    assert_text("你好吗", 6, true, "你好吗", 6);
    /* A wide one that does not fit leaves its column free. */
    assert_text("你好吗", 5, true, "你好…", 5);
    assert_text("你好吗", 4, true, "你…", 3);
    assert_text("e\xCC\x81t\xC3\xA9", 3, true, "e\xCC\x81t\xC3\xA9", 3);
}

static void lets_nothing_steer_the_terminal(void **state)
{
    (void)state;
    assert_text("a\x1b[31mb\a\r\n\t\x7f", 40, true, "a?[31mb?????", 12);
    assert_text("\xC2\x9B"
                "31m",
                40, true, "?31m", 4); /* CSI of C1 */
    assert_text("\xE2\x80\xAE"
                "abc",
                40, true, "?abc", 4); /* right to left */
    assert_text("a\xE2\x80\x8B"
                "b",
                40, true, "a?b", 3);                 /* no width */
    assert_text("\xff\xC0\xAF", 40, true, "???", 3); /* no UTF-8 */
    assert_text("a\xCC\x81\xCC\x81\xCC\x81", 40, true, "a\xCC\x81\xCC\x81?", 2);
    assert_text("\xCC\x81", 40, true, "?", 1);
    assert_text("é你", 40, false, "??", 2);
}

static void says_durations_in_seven_columns(void **state)
{
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {{-1, "0.0s"},    {0.04, "0.0s"},   {9.94, "9.9s"},      {9.96, "9.9s"},
                 {10, "10s"},     {59.9, "59s"},    {60, "1m00s"},       {3599, "59m59s"},
                 {3600, "1h00m"}, {86400, "1d00h"}, {1e300, "11574d01h"}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_buf_ struct buf out = {0};

        top_put_duration(&out, cases[i].seconds);
        assert_string_equal(out.data, cases[i].text);
    }
}

static void draws_bars(void **state)
{
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    top_put_bar(&out, 0.5, 6, false);
    top_put_bar(&out, 7, 6, false);
    top_put_bar(&out, -1, 6, false);
    top_put_bar(&out, 0.0 / 0.0, 0, false);
    top_put_bar(&out, 1, 4, true);
    assert_string_equal(out.data, "[##..][####][....][.][██]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_by_columns),
        cmocka_unit_test(lets_nothing_steer_the_terminal),
        cmocka_unit_test(says_durations_in_seven_columns),
        cmocka_unit_test(draws_bars),
    };

    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
