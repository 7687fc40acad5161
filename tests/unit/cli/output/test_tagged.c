/* --tag: each line says whose it is, and not a byte more changes. */
#include "unit/cli/cli_test.h"

#include "cli/output/tagged.h"

static void each_line_gets_the_tag_and_a_tab(void **state)
{
    static const struct {
        const char *bytes, *wanted;
    } cases[] = {
        {"", ""},
        {"a\n", "t\ta\n"},
        {"a", "t\ta"},
        {"\n", "t\t\n"},
        {"a\n\nb", "t\ta\nt\t\nt\tb"},
        {"a\r\nb\n", "t\ta\r\nt\tb\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out = {0};

        tagged_put(&out, SLICE("t"), slice_of(cases[i].bytes));
        assert_string_equal(out.data ? out.data : "", cases[i].wanted);
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_gets_the_tag_and_a_tab),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
