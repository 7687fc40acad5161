/* The drawing: whole, of bounded size, and valid whatever it is given. (The command's own is parsed as XML by
 * tests/integration/test_simulate.py.) */
#include "base/json.h"
#include "cli/simulate/plot.h"
#include "unit/cli/cli_test.h"

static struct series s, other;

static void fill(struct series *to, int spans, double accepted)
{
    series_init(to, NS_PER_S);
    for (int i = 0; i < spans; i++) {
        double level = i / 100 % 2 ? 20 : 5;

        series_add(to, NS_PER_S,
                   &(struct series_span){.seconds = 1,
                                         .capacity = level,
                                         .capacity_limited_s = 1,
                                         .paced = level * 0.95,
                                         .paced_s = 1,
                                         .accepted = accepted,
                                         .refused = i % 50 == 0,
                                         .in_flight = 10 + i % 7});
    }
}

static struct buf drawn(const char *title, const char *name, const char *note)
{
    struct plot_panel panels[] = {{name, note, &s}, {"other", NULL, &other}};
    struct buf out = {0};

    plot_put(&(struct plot){.title = title, .panels = panels, .panel_count = 2}, &out);
    assert_false(out.failed);
    return out;
}

static size_t count_of(const char *text, const char *part)
{
    size_t n = 0;

    for (; (text = strstr(text, part)); text += strlen(part))
        n++;
    return n;
}

static void it_has_panels_lines_axes_and_a_legend(void **state)
{
    struct buf out;

    (void)state;
    fill(&s, 600, 4);
    fill(&other, 600, 3);
    out = drawn("s1.yml", "adaptive", "goodput 93 %");
    assert_contains(out.data, "<svg xmlns=\"http://www.w3.org/2000/svg\"");
    assert_contains(out.data, "</svg>\n");
    assert_contains(out.data, "prefers-color-scheme:dark");
    assert_contains(out.data, ">adaptive</text>");
    assert_contains(out.data, ">other</text>");
    assert_contains(out.data, ">goodput 93 %</text>");
    assert_contains(out.data, "time in minutes");
    assert_contains(out.data, ">rate of the throttle</text>");
    assert_int_equal(count_of(out.data, "class=\"took\" d="), 2 + 1); /* and the legend's */
    /* Nothing drew a window, so nobody has to wonder where it is. */
    assert_null(strstr(out.data, "window of the throttle"));
    assert_null(strstr(out.data, "nan"));
    assert_null(strstr(out.data, "inf"));
    buf_free(&out);
}

static void names_cannot_break_it(void **state)
{
    struct buf out;

    (void)state;
    fill(&s, 10, 4);
    fill(&other, 10, 3);
    out = drawn("<a href=\"x\">&\x01\xff\xc3", "1 < 2 & 3", "]]>");
    assert_null(strstr(out.data, "<a href"));
    assert_contains(out.data, "&lt;a href=\"x\"&gt;&amp;???");
    assert_contains(out.data, "1 &lt; 2 &amp; 3");
    assert_int_equal(utf8_valid_prefix(buf_slice(&out)), out.len);
    buf_free(&out);
}

static void without_a_limit_there_is_no_capacity_to_show(void **state)
{
    struct buf out;

    (void)state;
    series_init(&s, NS_PER_S);
    series_add(&s, NS_PER_S, &(struct series_span){.seconds = 1, .accepted = 5, .in_flight = 2});
    fill(&other, 0, 0);
    out = drawn("t", "a", NULL);
    assert_null(strstr(out.data, "capacity of the service"));
    assert_null(strstr(out.data, "nan"));
    assert_contains(out.data, "time in seconds");
    buf_free(&out);
}

static void nothing_at_all_is_drawn_as_nothing(void **state)
{
    struct buf out;

    (void)state;
    series_init(&s, NS_PER_S);
    series_init(&other, NS_PER_S);
    out = drawn("t", "a", NULL);
    assert_contains(out.data, "</svg>");
    assert_null(strstr(out.data, "nan"));
    assert_null(strstr(out.data, "inf"));
    buf_free(&out);
}

static void a_long_run_makes_no_large_file(void **state)
{
    struct buf out;

    (void)state;
    fill(&s, 100000, 4);
    fill(&other, 100000, 4);
    series_fold(&s, PLOT_SPANS);
    series_fold(&other, PLOT_SPANS);
    out = drawn("t", "a", NULL);
    assert_true(out.len < 200000);
    assert_contains(out.data, "time in hours");
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_panels_lines_axes_and_a_legend),
        cmocka_unit_test(names_cannot_break_it),
        cmocka_unit_test(without_a_limit_there_is_no_capacity_to_show),
        cmocka_unit_test(nothing_at_all_is_drawn_as_nothing),
        cmocka_unit_test(a_long_run_makes_no_large_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
