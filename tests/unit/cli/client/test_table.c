/* Tables for people: widths, what is cut, and that nobody's text steers the terminal. */
#include "unit/cli/cli_test.h"

#include "base/mem.h"
#include "cli/client/table.h"

static const struct table_column columns[] = {
    {.title = "ID", .right = true},
    {.title = "NAME", .stretch = true},
    {.title = "NEVER"},
    {.title = "STATE"},
};

static void row(struct table *t, const char *id, const char *name, const char *state)
{
    table_cell(t, slice_of(id), TABLE_PLAIN);
    table_cell(t, slice_of(name), TABLE_PLAIN);
    table_cell(t, slice_of(""), TABLE_PLAIN);
    table_cell(t, slice_of(state), TABLE_BAD);
}

static void fill(struct table *t)
{
    table_init(t, columns, 4);
    row(t, "7", "gr\u00fc\u00df", "done");
    row(t, "1234", "a name that is long", "");
}

static void put(size_t width, bool colour, struct buf *out)
{
    struct table t;

    fill(&t);
    table_put(&t, width, colour, out);
    table_free(&t);
}

static void columns_are_as_wide_as_what_stands_in_them(void **state)
{
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    put(0, false, &out);
    assert_string_equal(out.data, "  ID  NAME                 STATE\n"
                                  "   7  gr\u00fc\u00df                 done\n"
                                  "1234  a name that is long\n");
}

static void what_may_be_cut_is_cut_first(void **state)
{
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    put(24, false, &out);
    assert_string_equal(out.data, "  ID  NAME         STATE\n"
                                  "   7  gr\u00fc\u00df         done\n"
                                  "1234  a name tha\u2026\n");
}

static void no_line_is_wider_than_the_terminal(void **state)
{
    (void)state;
    for (size_t width = 1; width < 60; width++) {
        _cleanup_buf_ struct buf out = {0};
        const char *at;

        put(width, false, &out);
        at = out.data;
        while (*at) {
            size_t len = strcspn(at, "\n");

            assert_true(table_width((struct slice){at, len}) <= width);
            at += len + 1;
        }
    }
}

static void colours_take_no_room(void **state)
{
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    put(0, true, &out);
    assert_non_null(strstr(out.data, "   7  gr\u00fc\u00df                 \033[31mdone\033[0m\n"));
}

static void no_rows_are_no_table(void **state)
{
    _cleanup_buf_ struct buf out = {0};
    struct table t;

    (void)state;
    table_init(&t, columns, 4);
    table_put(&t, 80, false, &out);
    assert_int_equal(out.len, 0);
    table_free(&t);
}

static void control_characters_steer_nothing(void **state)
{
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    table_put_clean(&out, SLICE("a\033[2Jb\n\tc\x7f\xc2\x9b"
                                "d\xc3\xa9"));
    assert_string_equal(out.data, "a?[2Jb  c??d\xc3\xa9");
}

static void without_memory_it_says_so(void **state)
{
    (void)state;
    for (unsigned long n = 1;; n++) {
        _cleanup_buf_ struct buf out = {0};

        mem_fail_at(n);
        put(24, true, &out);
        if (!mem_has_failed()) {
            mem_fail_at(0);
            assert_false(out.failed);
            return;
        }
        mem_fail_at(0);
        assert_true(out.failed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_as_wide_as_what_stands_in_them),
        cmocka_unit_test(what_may_be_cut_is_cut_first),
        cmocka_unit_test(no_line_is_wider_than_the_terminal),
        cmocka_unit_test(colours_take_no_room),
        cmocka_unit_test(no_rows_are_no_table),
        cmocka_unit_test(control_characters_steer_nothing),
        cmocka_unit_test(without_memory_it_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
