/* Lists of values: every combination once, in GNU parallel's order, and what cannot be is told. */
#include "folder.h"

#include "base/mem.h"
#include "cli/input/combine.h"
#include "cli/input/lines.h"

static struct weir_error err;

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct combine_options options_of(const char *const *words)
{
    struct combine_options o = {.words = words, .stdin_fd = -1};

    while (words[o.count])
        o.count++;
    return o;
}

/* Rows with '|' behind each, and ' ' between values. */
static void assert_rows(struct combine_options o, const char *wanted)
{
    struct combine *c = NULL;
    struct buf out = {0};

    if (combine_new(&o, &c, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    for (uint64_t i = 0; i < combine_rows(c); i++) {
        size_t at = out.len;

        combine_row(c, i, &out);
        for (; at < out.len; at++)
            out.data[at] = out.data[at] ? out.data[at] : ' ';
        buf_putc(&out, '|');
    }
    assert_string_equal(out.data ? out.data : "", wanted);
    buf_free(&out);
    combine_free(c);
}

static void combinations_come_with_the_last_list_the_fastest(void **state)
{
    (void)state;
    assert_rows(options_of(WORDS(":::", "a", "b")), "a|b|");
    assert_rows(options_of(WORDS(":::", "a", "b", ":::", "1", "2")), "a 1|a 2|b 1|b 2|");
    assert_rows(options_of(WORDS(":::", "a", ":::", "1", ":::", "x", "y")), "a 1 x|a 1 y|");
    assert_rows(options_of(WORDS(":::", "", "b")), "|b|");
    assert_rows(options_of(WORDS(":::")), "");
    assert_rows(options_of(WORDS(":::", "a", ":::")), "");
}

static void a_linked_list_goes_along_with_the_one_before(void **state)
{
    (void)state;
    assert_rows(options_of(WORDS(":::", "a", "b", "c", ":::+", "d", "e")), "a d|b e|");
    assert_rows(options_of(WORDS(":::", "a", "b", ":::+", "d", "e", ":::", "x", "y")),
                "a d x|a d y|b e x|b e y|");
    assert_rows(options_of(WORDS(":::", "x", "y", ":::", "a", "b", ":::+", "d", "e")),
                "x a d|x b e|y a d|y b e|");
}

static void each_file_is_a_list_of_its_lines(void **state)
{
    const char *letters = folder_text("letters", "a\n\nb\r\n");
    const char *digits = folder_text("digits", "1\n2");
    const char *nul = folder_write("nul", "a\0\0b\n", 5);
    struct combine_options o;

    (void)state;
    assert_rows(options_of(WORDS("::::", letters, digits)), "a 1|a 2|b 1|b 2|");
    assert_rows(options_of(WORDS(":::", "x", "y", "::::+", letters)), "x a|y b|");
    assert_rows(options_of(WORDS("::::", letters, ":::", "x")), "a x|b x|");
    o = options_of(WORDS("::::", nul));
    o.nul = true;
    assert_rows(o, "a||b\n|");
}

static void so_many_values_of_one_list_are_a_row(void **state)
{
    struct combine_options o = options_of(WORDS(":::", "a", "b", "c", "d", "e"));

    (void)state;
    o.max_args = 2;
    assert_rows(o, "a b|c d|e|");
    o.max_args = 5;
    assert_rows(o, "a b c d e|");
    o.max_args = 9;
    assert_rows(o, "a b c d e|");
}

static void assert_refused(struct combine_options o, enum weir_status status, const char *told)
{
    struct combine *c = NULL;

    assert_int_equal(combine_new(&o, &c, &err), status);
    assert_null(c);
    if (!strstr(err.message, told))
        fail_msg("\"%s\" is not in: %s", told, err.message);
}

static void what_cannot_be_is_told(void **state)
{
    const char *nul = folder_write("nul", "a\0b\n", 4);
    struct combine_options o = options_of(WORDS(":::", "a", ":::", "b"));
    const char *many[1 + 4 * 64 + 1] = {NULL};
    size_t at = 0;

    (void)state;
    o.max_args = 2;
    assert_refused(o, WEIR_E_INVALID, "--max-args");
    assert_refused(options_of(WORDS(":::+", "a")), WEIR_E_INVALID, "linked to none");
    assert_refused(options_of(WORDS("::::")), WEIR_E_INVALID, "needs a file");
    assert_refused(options_of(WORDS("::::", "/nonexistent")), WEIR_E_IO, "/nonexistent");
    assert_refused(options_of(WORDS("::::", nul)), WEIR_E_FORMAT, "--null");
    /* 3^64 is more than any number of rows. */
    for (int list = 0; list < 64; list++) {
        many[at++] = ":::";
        many[at++] = "a";
        many[at++] = "b";
        many[at++] = "c";
    }
    assert_refused(options_of(many), WEIR_E_LIMIT, "combinations");
}

static void rows_are_read_as_lines_again_and_again(void **state)
{
    struct combine_options o = options_of(WORDS(":::", "a", "b c", ":::", "1"));
    struct combine *c = NULL;

    (void)state;
    assert_int_equal(combine_new(&o, &c, &err), WEIR_OK);
    for (int pass = 0; pass < 2; pass++) {
        struct lines_options lines_options = {
            .combine = c, .stop_fd = -1, .regular_only = pass == 0};
        struct lines *lines = NULL;
        struct line line;

        assert_int_equal(lines_open(&lines_options, &lines, &err), WEIR_OK);
        assert_false(lines_any_stream(lines));
        assert_int_equal(lines_next(lines, &line, &err), WEIR_OK);
        assert_true(slice_equal(line.text, (struct slice){"a\0001", 3}));
        assert_true(fingerprint_equal(line.hash, fingerprint_of(line.text)));
        assert_int_equal(line.number, 1);
        assert_string_equal(line.file, LINES_COMBINED);
        assert_int_equal(lines_next(lines, &line, &err), WEIR_OK);
        assert_true(slice_equal(line.text, (struct slice){"b c\0001", 5}));
        assert_int_equal(lines_next(lines, &line, &err), WEIR_E_END);
        assert_int_equal(lines_next(lines, &line, &err), WEIR_E_END);
        lines_close(lines);
    }
    combine_free(c);
}

static void no_memory_is_told(void **state)
{
    const char *letters = folder_text("letters", "a\nb\n");
    struct combine_options o = options_of(WORDS(":::", "a", "b", "::::", letters));
    unsigned long n = 0;
    enum weir_status status;

    (void)state;
    do {
        struct combine *c = NULL;

        mem_fail_at(++n);
        status = combine_new(&o, &c, &err);
        combine_free(c);
        assert_true(status == WEIR_OK || status == WEIR_E_NOMEM);
    } while (mem_has_failed());
    mem_fail_at(0);
    assert_int_equal(status, WEIR_OK);
    assert_true(n > 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(combinations_come_with_the_last_list_the_fastest),
        cmocka_unit_test(a_linked_list_goes_along_with_the_one_before),
        cmocka_unit_test_setup_teardown(each_file_is_a_list_of_its_lines, folder_setup,
                                        folder_teardown),
        cmocka_unit_test(so_many_values_of_one_list_are_a_row),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_told, folder_setup, folder_teardown),
        cmocka_unit_test(rows_are_read_as_lines_again_and_again),
        cmocka_unit_test_setup_teardown(no_memory_is_told, folder_setup, folder_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
