/* --colsep: columns by a regular expression, none lost, whatever the row holds. */
#include "unit/cli/cli_test.h"

#include "base/mem.h"
#include "cli/command/columns.h"

static struct weir_error err;

static void assert_columns(const char *regex, const char *row, const char *const *wanted)
{
    struct columns *c = NULL;
    struct column_list list = {0};
    size_t i;

    assert_int_equal(columns_new(regex, &c, &err), WEIR_OK);
    assert_true(columns_split(c, slice_of(row), &list));
    for (i = 0; wanted[i]; i++) {
        assert_true(i < list.count);
        assert_true(slice_equal(list.items[i], slice_of(wanted[i])));
    }
    assert_int_equal(list.count, i);
    column_list_free(&list);
    columns_free(c);
}

static void a_row_is_parted_where_the_expression_matches(void **state)
{
    (void)state;
    assert_columns(",", "a,b", (const char *[]){"a", "b", NULL});
    assert_columns(",", "a,,", (const char *[]){"a", "", "", NULL});
    assert_columns(",", ",b", (const char *[]){"", "b", NULL});
    assert_columns(",", "", (const char *[]){"", NULL});
    assert_columns(",", "abc", (const char *[]){"abc", NULL});
    assert_columns(" +", "a   b c", (const char *[]){"a", "b", "c", NULL});
    assert_columns("\\t", "a\tb c", (const char *[]){"a", "b c", NULL});
    assert_columns("[\\t ]+", "a \t b", (const char *[]){"a", "b", NULL});
    assert_columns("\\.|--", "a.b--c", (const char *[]){"a", "b", "c", NULL});
    assert_columns("\\\\t", "a\\tb", (const char *[]){"a", "b", NULL});
    assert_columns("^x|y", "xaxya", (const char *[]){"", "ax", "a", NULL});
}

static void a_broken_expression_is_refused(void **state)
{
    struct columns *c = NULL;

    (void)state;
    assert_int_equal(columns_new("(", &c, &err), WEIR_E_INVALID);
    assert_contains(err.message, "regular expression");
    assert_int_equal(columns_new(" *", &c, &err), WEIR_E_INVALID);
    assert_contains(err.message, "write +");
    assert_int_equal(columns_new("", &c, &err), WEIR_E_INVALID);
}

static void a_list_of_values_is_parted_at_each_nul(void **state)
{
    struct column_list list = {0};

    (void)state;
    assert_true(columns_split_nul((struct slice){"a\0\0b c", 6}, &list));
    assert_int_equal(list.count, 3);
    assert_true(slice_equal(list.items[1], SLICE("")));
    assert_true(slice_equal(list.items[2], SLICE("b c")));
    assert_true(columns_split_nul((struct slice){"", 0}, &list));
    assert_int_equal(list.count, 1);
    column_list_free(&list);
}

static void columns_beyond_the_limit_stay_in_the_last_one(void **state)
{
    size_t len = 2 * COLUMNS_MAX;
    char *row = malloc(len);
    struct columns *c = NULL;
    struct column_list list = {0};

    (void)state;
    memset(row, ',', len);
    assert_int_equal(columns_new(",", &c, &err), WEIR_OK);
    assert_true(columns_split(c, (struct slice){row, len}, &list));
    assert_int_equal(list.count, COLUMNS_MAX);
    assert_int_equal(list.items[COLUMNS_MAX - 1].len, len - (COLUMNS_MAX - 1));
    memset(row, 0, len);
    assert_true(columns_split_nul((struct slice){row, len}, &list));
    assert_int_equal(list.count, COLUMNS_MAX);
    column_list_free(&list);
    columns_free(c);
    free(row);
}

static void a_lack_of_memory_is_told(void **state)
{
    struct column_list list = {0};
    struct columns *c = NULL;

    (void)state;
    for (unsigned long n = 1; n <= 2; n++) {
        mem_fail_at(n);
        assert_int_equal(columns_new(",", &c, &err), WEIR_E_NOMEM);
    }
    mem_fail_at(1);
    assert_false(columns_split_nul(SLICE("a"), &list));
    mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_parted_where_the_expression_matches),
        cmocka_unit_test(a_broken_expression_is_refused),
        cmocka_unit_test(a_list_of_values_is_parted_at_each_nul),
        cmocka_unit_test(columns_beyond_the_limit_stay_in_the_last_one),
        cmocka_unit_test(a_lack_of_memory_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
