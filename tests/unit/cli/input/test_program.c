/* Programs: paths without jq that mean what jq means, and jq itself, kept on a short leash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cli/input/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct program *compile(const char *expr, bool empty_is_null)
{
    struct program_options o = {.name = "--key", .expr = expr, .empty_is_null = empty_is_null};
    struct program *p = NULL;
    struct weir_error err = {0};

    if (program_new(&o, &p, &err) != WEIR_OK)
        fail_msg("%s: %s", expr, err.message);
    return p;
}

static const char ROW[] = "{\"a\":{\"b\":12345678901234567890,\"c d\":[1.0,[\"x\\n\",null]]},"
                          "\"s\":\"\\u00e9\",\"n\":1e2,\"t\":true,\"z\":null,\"d\":1,\"d\":2}";

static const struct {
    const char *expr;
    bool path;
    enum program_form form;
    const char *gives; /* NULL: an error */
    const char *error;
} RUNS[] = {
    {".", true, PROGRAM_JSON, ROW, NULL},
    {" . ", true, PROGRAM_JSON, ROW, NULL},
    {".a.b", true, PROGRAM_JSON, "12345678901234567890", NULL},
    {".a.b", true, PROGRAM_TEXT, "12345678901234567890", NULL},
    {".a[\"c d\"][0]", true, PROGRAM_JSON, "1.0", NULL},
    {".[\"a\"][\"c d\"][1][0]", true, PROGRAM_JSON, "\"x\\n\"", NULL},
    {".[\"a\"][\"c d\"][1][0]", true, PROGRAM_TEXT, "x\n", NULL},
    {".a[\"c d\"][7]", true, PROGRAM_JSON, "null", NULL},
    {".nope", true, PROGRAM_JSON, "null", NULL},
    {".nope.deeper[3]", true, PROGRAM_JSON, "null", NULL},
    {".z.deeper", true, PROGRAM_JSON, "null", NULL},
    {".d", true, PROGRAM_JSON, "2", NULL},
    {".s", true, PROGRAM_TEXT, "\xc3\xa9", NULL},
    {".n", true, PROGRAM_TEXT, "1e2", NULL},
    {".t", true, PROGRAM_TEXT, NULL, "gives a boolean"},
    {".nope", true, PROGRAM_TEXT, NULL, "gives null"},
    {".a", true, PROGRAM_TEXT, NULL, "gives an object"},
    {".s.x", true, PROGRAM_JSON, NULL, ".x is asked of a string"},
    {".a[0]", true, PROGRAM_JSON, NULL, "[0] is asked of an object"},
    {".n", true, PROGRAM_JSON, "1e2", NULL},

    {".n + 1", false, PROGRAM_JSON, "101", NULL},
    {".a[\"c d\"][-1]", false, PROGRAM_JSON, "[\"x\\n\",null]", NULL},
    {".s + \"-\" + .s", false, PROGRAM_TEXT, "\xc3\xa9-\xc3\xa9", NULL},
    {"\"a\\u0000b\" | length", false, PROGRAM_TEXT, "3", NULL},
    {"{prompt: .s, n: [.d]}", false, PROGRAM_JSON, "{\"prompt\":\"\xc3\xa9\",\"n\":[2]}", NULL},
    {"# just a remark", false, PROGRAM_JSON, NULL, NULL},
    {"def f: .s; f", false, PROGRAM_TEXT, "\xc3\xa9", NULL},
    {"[.[]?] | length", false, PROGRAM_JSON, "6", NULL},
    {"empty", false, PROGRAM_JSON, NULL, "gives no value"},
    {"1, 2", false, PROGRAM_JSON, NULL, "more than one value"},
    {"1, error(\"late\")", false, PROGRAM_JSON, NULL, "late"},
    {".s | tonumber", false, PROGRAM_JSON, NULL, "--key: "},
    {"error(\"no luck\\nat all\")", false, PROGRAM_JSON, NULL, "no luck"},
    {"error({a:1})", false, PROGRAM_JSON, NULL, "{\"a\":1}"},
    {"error(null)", false, PROGRAM_JSON, NULL, "--key: "},
    {"input", false, PROGRAM_JSON, NULL, "sees one row"},
    {"[inputs]", false, PROGRAM_JSON, NULL, "sees one row"},
    {"halt", false, PROGRAM_JSON, NULL, "halt would"},
    {"\"x\" | halt_error", false, PROGRAM_JSON, NULL, "halt would"},
    {".s | debug | stderr", false, PROGRAM_TEXT, "\xc3\xa9", NULL},
    {"[.] | tojson | length > 0", false, PROGRAM_TEXT, NULL, "gives boolean"},
    {"nan", false, PROGRAM_JSON, "null", NULL},
    {"input_filename", false, PROGRAM_JSON, "null", NULL},
};

static void one_value_is_given_or_an_error(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(RUNS) / sizeof(RUNS[0]); i++) {
        struct program *p = compile(RUNS[i].expr, false);
        struct buf out = {0};

        assert_int_equal(program_is_path(p), RUNS[i].path);
        buf_puts(&out, "before");
        for (int again = 0; again < 3; again++) {
            struct weir_error err = {0};
            enum weir_status status = program_run(p, slice_of(ROW), RUNS[i].form, &out, &err);
            if (RUNS[i].gives) {
                if (status != WEIR_OK)
                    fail_msg("%s: %s", RUNS[i].expr, err.message);
                assert_string_equal(out.data + 6, RUNS[i].gives);
                out.len = 6;
            } else if (RUNS[i].error) {
                assert_int_equal(status, WEIR_E_FORMAT);
                if (!strstr(err.message, RUNS[i].error))
                    fail_msg("%s: %s", RUNS[i].expr, err.message);
                assert_memory_equal(err.message, "--key: ", 7);
                assert_null(strchr(err.message, '\n'));
                assert_string_equal(out.data, "before");
            } else {
                out.len = 6;
            }
        }
        buf_free(&out);
        program_free(p);
    }
}

/* What follows a path without jq must give what jq gives. */
static void paths_agree_with_jq(void **state)
{
    static const char *const exprs[] = {".",     ".a",       ".a.b",         ".[0]",  ".[1].a",
                                        ".a[0]", ".[\"a\"]", ".a[\"b\"][0]", ".x.y.z"};
    static const char *const texts[] = {"null",
                                        "1",
                                        "\"a\"",
                                        "[]",
                                        "[1,{\"a\":2}]",
                                        "{}",
                                        "{\"a\":null}",
                                        "{\"a\":[3]}",
                                        "{\"a\":{\"b\":[4]}}",
                                        "{\"a\":1,\"a\":{\"b\":5}}",
                                        "{\"\\u0061\":{\"b\":6}}",
                                        "true",
                                        "  [ 7 , 8 ]  "};

    (void)state;
    for (size_t e = 0; e < sizeof(exprs) / sizeof(exprs[0]); e++) {
        char piped[64];
        struct program *path = compile(exprs[e], false), *jq;

        (void)snprintf(piped, sizeof(piped), "%s | .", exprs[e]);
        jq = compile(piped, false);
        assert_true(program_is_path(path));
        assert_false(program_is_path(jq));
        for (size_t t = 0; t < sizeof(texts) / sizeof(texts[0]); t++) {
            struct buf a = {0}, b = {0};
            enum weir_status by_path =
                program_run(path, slice_of(texts[t]), PROGRAM_JSON, &a, NULL);
            enum weir_status by_jq = program_run(jq, slice_of(texts[t]), PROGRAM_JSON, &b, NULL);

            if (by_path != by_jq)
                fail_msg("%s of %s: %d by path, %d by jq", exprs[e], texts[t], by_path, by_jq);
            if (by_jq == WEIR_OK && strcmp(exprs[e], ".") != 0)
                assert_string_equal(a.data, b.data);
            buf_free(&a);
            buf_free(&b);
        }
        program_free(path);
        program_free(jq);
    }
}

static void no_value_can_be_null(void **state)
{
    struct program *p = compile("empty", true);
    struct buf out = {0};

    (void)state;
    assert_int_equal(program_run(p, SLICE("{}"), PROGRAM_JSON, &out, NULL), WEIR_OK);
    assert_string_equal(out.data, "null");
    buf_free(&out);
    program_free(p);
}

static void what_does_not_compile_is_told_without_a_word_on_standard_error(void **state)
{
    static const struct {
        const char *expr;
        const char *error;
    } cases[] = {
        {"", "empty"},
        {"  ", "empty"},
        {".a |", "syntax error"},
        {"foo", "foo/0 is not defined"},
        {".a[", "syntax error"},
        {"$x", "$x is not defined"},
        {"import \"a\" as a; .", "import and include"},
        {"include \"a\"; .", "import and include"},
        {"}", "syntax error"},
        {".\xff", "does not compile"},
    };
    int fds[2], saved = dup(2);
    char heard[64];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_true(dup2(fds[1], 2) == 2);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct program_options o = {.name = "--template", .expr = cases[i].expr};
        struct program *p = NULL;
        struct weir_error err = {0};
        enum weir_status status = program_new(&o, &p, &err);

        if (status != WEIR_E_INVALID || !strstr(err.message, cases[i].error)) {
            assert_true(dup2(saved, 2) == 2);
            fail_msg("%s: %d %s", cases[i].expr, status, err.message);
        }
        assert_memory_equal(err.message, "--template: ", 12);
        assert_null(p);
    }
    assert_true(dup2(saved, 2) == 2);
    assert_int_equal(close(saved), 0);
    assert_int_equal(close(fds[1]), 0);
    assert_int_equal(read(fds[0], heard, sizeof(heard)), 0);
    assert_int_equal(close(fds[0]), 0);
}

static void long_paths_and_expressions_are_bounded(void **state)
{
    size_t len = PROGRAM_EXPR_BYTES_MAX + 2;
    char *expr = malloc(len);
    char path[2 * (PROGRAM_STEPS_MAX + 1) + 1];
    struct program_options o = {.name = "--key", .expr = expr};
    struct program *p = NULL;
    struct buf out = {0};

    (void)state;
    assert_non_null(expr);
    memset(expr, ' ', len);
    expr[0] = '.';
    expr[len - 1] = '\0';
    assert_int_equal(program_new(&o, &p, NULL), WEIR_E_LIMIT);
    free(expr);
    for (size_t i = 0; i <= PROGRAM_STEPS_MAX; i++)
        memcpy(path + 2 * i, ".a", 3);
    p = compile(path, false);
    assert_false(program_is_path(p)); /* left to jq, and the same */
    assert_int_equal(program_run(p, SLICE("{}"), PROGRAM_JSON, &out, NULL), WEIR_OK);
    assert_string_equal(out.data, "null");
    buf_free(&out);
    program_free(p);
}

static void no_memory_is_an_error(void **state)
{
    static const char *const exprs[] = {".a.b", ".a.b + \"\""};
    (void)state;
    for (size_t e = 0; e < 2; e++) {
        bool swept = false;
        for (unsigned long n = 1; !swept; n++) {
            struct program_options o = {.name = "--key", .expr = exprs[e]};
            struct program *p = NULL;
            struct buf out = {0};
            enum weir_status status;

            mem_fail_at(n);
            status = program_new(&o, &p, NULL);
            if (status == WEIR_OK)
                status =
                    program_run(p, SLICE("{\"a\":{\"b\":\"text\"}}"), PROGRAM_TEXT, &out, NULL);
            swept = !mem_has_failed();
            mem_fail_at(0);
            assert_int_equal(status, swept ? WEIR_OK : WEIR_E_NOMEM);
            buf_free(&out);
            program_free(p);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_value_is_given_or_an_error),
        cmocka_unit_test(paths_agree_with_jq),
        cmocka_unit_test(no_value_can_be_null),
        cmocka_unit_test(what_does_not_compile_is_told_without_a_word_on_standard_error),
        cmocka_unit_test(long_paths_and_expressions_are_bounded),
        cmocka_unit_test(no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
