/* Quoting and splitting: what is quoted is one word again, whatever it holds, and what is broken is told. */
#include "unit/cli/cli_test.h"

#include "base/mem.h"
#include "base/rng.h"
#include "exec/template/shell.h"

static struct weir_error err;

static void assert_splits(const char *line, const char *const *words)
{
    struct argvec v = {0};
    const char *const *argv;
    size_t i;

    assert_int_equal(shell_split(line, &v, &err), WEIR_OK);
    argv = argvec_argv(&v);
    for (i = 0; words[i]; i++)
        assert_string_equal(argv[i], words[i]);
    assert_null(argv[i]);
    argvec_free(&v);
}

static void a_line_is_split_as_a_shell_does(void **state)
{
    (void)state;
    assert_splits("python3 my_worker.py", (const char *[]){"python3", "my_worker.py", NULL});
    assert_splits("  a\t'b c'  \"d e\"f\n", (const char *[]){"a", "b c", "d ef", NULL});
    assert_splits("a\\ b \\'c \"x\\\"y\\z\"", (const char *[]){"a b", "'c", "x\"y\\z", NULL});
    assert_splits("'' \"\"", (const char *[]){"", "", NULL});
    assert_splits("$HOME *.c `x`", (const char *[]){"$HOME", "*.c", "`x`", NULL});
    assert_splits("a \\\n b", (const char *[]){"a", "b", NULL});
    assert_splits("\"a\\\nb\" 'c\\\nd'", (const char *[]){"ab", "c\\\nd", NULL});
}

static void a_broken_line_is_told(void **state)
{
    static const struct {
        const char *line, *told;
    } cases[] = {
        {"a 'b c", "single quote in character 3"},
        {"a \"b c", "double quote in character 3"},
        {"\"a\\\"", "double quote in character 1"},
        {"a\\", "backslash at the end"},
        {"", "empty"},
        {" \t ", "empty"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct argvec v = {0};

        assert_int_equal(shell_split(cases[i].line, &v, &err), WEIR_E_INVALID);
        assert_contains(err.message, cases[i].told);
        argvec_free(&v);
    }
}

static void only_what_needs_quotes_gets_them(void **state)
{
    static const struct {
        const char *word, *quoted;
    } cases[] = {
        {"plain-1.txt", "plain-1.txt"},
        {"/a/b+c_d", "/a/b+c_d"},
        {"a b", "'a b'"},
        {"it's", "'it'\"'\"'s'"},
        {"$x", "'$x'"},
        {"", "''"},
        {"a\nb", "'a\nb'"},
        {"\xc3\xbc", "'\xc3\xbc'"},
        {"a=b", "'a=b'"},
        {"~", "'~'"},
        {"*", "'*'"},
        {"#", "'#'"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out = {0};

        shell_quote(&out, slice_of(cases[i].word));
        assert_string_equal(out.data, cases[i].quoted);
        buf_free(&out);
    }
}

static void what_is_quoted_is_split_into_the_same_words(void **state)
{
    static const char letters[] = "ab '\"\\$`\n\t*{}~#=\xc3\xbc;&|<>()";
    struct rng rng;

    (void)state;
    rng_seed(&rng, 7);
    for (int round = 0; round < 2000; round++) {
        char words[3][9] = {{0}};
        const char *argv[] = {words[0], words[1], words[2], NULL};
        struct buf line = {0};

        for (int w = 0; w < 3; w++) {
            size_t len = (size_t)rng_below(&rng, 8);

            for (size_t i = 0; i < len; i++)
                words[w][i] = letters[rng_below(&rng, sizeof(letters) - 1)];
        }
        shell_put_line(&line, argv);
        assert_splits(line.data, argv);
        buf_free(&line);
    }
}

static void a_lack_of_memory_is_told(void **state)
{
    unsigned long n = 0;
    enum weir_status status;

    (void)state;
    do {
        struct argvec v = {0};

        mem_fail_at(++n);
        status = shell_split("a 'b c' a-word-that-is-longer-than-any-first-piece-of-memory-might-be"
                             "-at-all-for-it-has-hundreds-of-characters-or-nearly-so d e f g h i",
                             &v, &err);
        if (status == WEIR_OK && !argvec_argv(&v))
            status = WEIR_E_NOMEM;
        argvec_free(&v);
        assert_true(status == WEIR_OK || status == WEIR_E_NOMEM);
    } while (mem_has_failed());
    mem_fail_at(0);
    assert_int_equal(status, WEIR_OK);
    assert_true(n > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_split_as_a_shell_does),
        cmocka_unit_test(a_broken_line_is_told),
        cmocka_unit_test(only_what_needs_quotes_gets_them),
        cmocka_unit_test(what_is_quoted_is_split_into_the_same_words),
        cmocka_unit_test(a_lack_of_memory_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
