/* Command lines with placeholders: what each stands for, as in GNU parallel, and what stays as it is. */
#include "unit/cli/cli_test.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/command/columns.h"
#include "exec/template/shell.h"
#include "exec/template/template.h"

#define WORDS_MAX 16

static struct weir_error err;

struct case_of {
    const char *words[WORDS_MAX];
    struct template_options options;
    const char *row; /* with a NUL between columns where `len` says so */
    size_t len;      /* 0: strlen */
    size_t place;
};

/* The command line as a shell would be given it; NULL: it is a bad row. */
static enum weir_status expand(const struct case_of *c, struct buf *out)
{
    struct template_options o = c->options;
    struct slice text = {c->row, c->len ? c->len : strlen(c->row)};
    struct column_list columns = {0};
    struct argvec v = {0};
    struct template *t = NULL;
    enum weir_status status;
    struct template_row row = {.text = text, .number = 7, .place = c->place};

    o.words = c->words;
    while (o.words[o.word_count])
        o.word_count++;
    assert_true(columns_split_nul(text, &columns));
    row.columns = columns.items;
    row.column_count = columns.count;
    if (text.len > 0 && text.data[0] == '{' && json_check(text, NULL))
        row.object = json_trim(text);
    status = template_new(&o, &t, &err);
    if (status == WEIR_OK)
        status = template_expand(t, &row, &v, &err);
    if (status == WEIR_OK) {
        assert_int_equal(template_check(t, &row, &err), WEIR_OK);
        shell_put_line(out, argvec_argv(&v));
    }
    template_free(t);
    argvec_free(&v);
    column_list_free(&columns);
    return status;
}

static void assert_line(struct case_of c, const char *wanted)
{
    struct buf out = {0};

    assert_int_equal(expand(&c, &out), WEIR_OK);
    assert_string_equal(out.data, wanted);
    buf_free(&out);
}

static void a_command_without_a_placeholder_gets_the_row_as_its_last_word(void **state)
{
    (void)state;
    assert_line((struct case_of){{"gzip", "-k"}, {.append = true}, .row = "a b"}, "gzip -k 'a b'");
    assert_line((struct case_of){{"gzip", "-k"}, {.append = false}, .row = "a b"}, "gzip -k");
    assert_line((struct case_of){{"gzip", "{}", "-k"}, {.append = true}, .row = "a"}, "gzip a -k");
    assert_line((struct case_of){{"echo", "{#}"}, {.append = true}, .row = "a"}, "echo 7");
}

static void parts_of_a_row_are_cut_as_gnu_parallel_cuts_them(void **state)
{
    static const struct {
        const char *row, *wanted;
    } cases[] = {
        {"a/b.c", "[a/b.c][a/b][b.c][a][b]"},
        {".bashrc", "[.bashrc][][.bashrc][.][]"},
        {"d/.x", "[d/.x][d/][.x][d][]"},
        {"/e/", "[/e/][/e/][][/][]"},
        {"/", "[/][/][][/][]"},
        {"a.b.c", "[a.b.c][a.b][a.b.c][.][a.b]"},
        {"", "[][][][.][]"},
        {"a.d/b", "[a.d/b][a.d/b][b][a.d][b]"},
        {"x//y", "[x//y][x//y][y][x][y]"},
        {"//y", "[//y][//y][y][/][y]"},
        {"a/b//", "[a/b//][a/b//][][a][]"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out = {0};
        struct buf wanted = {0};
        struct case_of c = {{"e", "[{}][{.}][{/}][{//}][{/.}]"}, {0}, .row = cases[i].row};

        assert_int_equal(expand(&c, &out), WEIR_OK);
        buf_puts(&wanted, "e ");
        shell_quote(&wanted, slice_of(cases[i].wanted));
        assert_string_equal(out.data, wanted.data);
        buf_free(&out);
        buf_free(&wanted);
    }
}

static void columns_stand_alone_or_with_spaces_between(void **state)
{
    static const char row[] = "a b\0c.d\0e";
    size_t len = sizeof(row) - 1;

    (void)state;
    assert_line((struct case_of){{"e", "{}"}, {0}, .row = row, .len = len}, "e 'a b' c.d e");
    assert_line((struct case_of){{"e", "x{}"}, {0}, .row = row, .len = len}, "e 'xa b c.d e'");
    assert_line((struct case_of){{"e", "{2}", "{-1}", "{2.}"}, {0}, .row = row, .len = len},
                "e c.d e c");
    assert_line((struct case_of){{"e", "{4}", "{-4}"}, {0}, .row = row, .len = len}, "e");
    assert_line((struct case_of){{"e", "x{4}", "{1}{4}"}, {0}, .row = row, .len = len},
                "e x 'a b'");
    assert_line((struct case_of){{"e {4} {1}"}, {.shell = true}, .row = row, .len = len},
                "/bin/sh -c 'e  '\"'\"'a b'\"'\"''");
    assert_line((struct case_of){{"e"}, {.append = true}, .row = row, .len = len}, "e 'a b' c.d e");
    assert_line((struct case_of){{"e", "{.}"}, {0}, .row = row, .len = len}, "e 'a b' c e");
}

static void what_is_no_placeholder_stays_as_it_is(void **state)
{
    (void)state;
    assert_line((struct case_of){{"e", "{{}}", "{x}", "{0}", "{ }", "{#.}", "{", "}", "{a b}"},
                                 {0},
                                 .row = "R"},
                "e '{R}' '{x}' '{0}' '{ }' '{#.}' '{' '}' '{a b}'");
    /* A name is none where rows are text: the row still wants a place. */
    assert_line((struct case_of){{"awk", "{print}"}, {.append = true}, .row = "f"},
                "awk '{print}' f");
    assert_line((struct case_of){{"e", "{%}"}, {0}, .row = "R"}, "e '{%}'");
    assert_line((struct case_of){{"e", "{%}"}, {0}, .row = "R", .place = 3}, "e 3");
    assert_line((struct case_of){{"e", "", "{}"}, {0}, .row = "R"}, "e '' R");
}

static void another_spelling_stands_for_the_row(void **state)
{
    (void)state;
    assert_line((struct case_of){{"e", ",,", "{}", "{.}"}, {.replace = ",,"}, .row = "a.b"},
                "e a.b '{}' a");
    assert_line((struct case_of){{"e", "x%y"}, {.replace = "%", .append = true}, .row = "a"},
                "e xay");
}

static void fields_of_a_json_row_go_by_name(void **state)
{
    static const char row[] =
        "{\"file\":\"a/b.c\",\"n\":1.0,\"in\":{\"er\":[1, 2]},\"d.e\":\"x\",\"no\":null}";

    (void)state;
    assert_line(
        (struct case_of){{"e", "{file}", "{n}", "{in.er}", "{d.e}", "{no}"}, {0}, .row = row},
        "e a/b.c 1.0 '[1, 2]' x null");
    assert_line(
        (struct case_of){{"e", "{file.}", "{file/}", "{file//}", "{file/.}"}, {0}, .row = row},
        "e a/b b.c a b");
    /* Named fields are placeholders: nothing is appended. */
    assert_line((struct case_of){{"e", "{n}"}, {.append = true}, .row = row}, "e 1.0");
    assert_line((struct case_of){{"e", "{print $1}"}, {0}, .row = row}, "e '{print $1}'");
}

static void a_field_that_a_row_lacks_makes_it_bad(void **state)
{
    struct buf out = {0};

    (void)state;
    assert_int_equal(expand(&(struct case_of){{"e", "{fil}"}, {0}, .row = "{\"file\":1}"}, &out),
                     WEIR_E_FORMAT);
    assert_contains(err.message, "no field \"fil\"");
    assert_int_equal(
        expand(&(struct case_of){{"e", "{a.b}"}, {0}, .row = "{\"a\":{\"c\":1}}"}, &out),
        WEIR_E_FORMAT);
    assert_contains(err.message, "no field \"a.b\"");
    assert_int_equal(
        expand(&(struct case_of){{"e", "{a.b}"}, {0}, .row = "{\"a\":\"text\"}"}, &out),
        WEIR_E_FORMAT);
    assert_int_equal(
        expand(&(struct case_of){{"e", "{a}"}, {0}, .row = "{\"a\":\"x\\u0000y\"}"}, &out),
        WEIR_E_FORMAT);
    assert_contains(err.message, "NUL");
    buf_free(&out);
}

static void a_script_gets_what_is_put_in_quoted(void **state)
{
    static const char row[] = "a b\0it's";

    (void)state;
    assert_line((struct case_of){{"echo", "{}", "|", "cat"}, {.shell = true}, .row = "$(x)"},
                "/bin/sh -c 'echo '\"'\"'$(x)'\"'\"' | cat'");
    assert_line(
        (struct case_of){{"echo {2} {1}"}, {.shell = true}, .row = row, .len = sizeof(row) - 1},
        "/bin/sh -c 'echo '\"'\"'it'\"'\"'\"'\"'\"'\"'\"'\"'s'\"'\"' '\"'\"'a b'\"'\"''");
    assert_line((struct case_of){{"echo"}, {.shell = true, .append = true}, .row = "x"},
                "/bin/sh -c 'echo x'");
    assert_line((struct case_of){{"echo {n}"}, {.shell = true}, .row = "{\"n\":\";rm\"}"},
                "/bin/sh -c 'echo '\"'\"';rm'\"'\"''");
}

/* The script that a row makes. */
static enum weir_status script(const char *text, const char *row, struct buf *out)
{
    const char *words[] = {text};
    struct slice slice = slice_of(row);
    struct template_options o = {.words = words, .word_count = 1, .shell = true, .append = true};
    struct template_row r = {.text = slice, .columns = &slice, .column_count = 1, .number = 7};
    struct template *t = NULL;
    enum weir_status status = template_new(&o, &t, &err);

    if (status == WEIR_OK)
        status = template_put(t, &r, out, &err);
    template_free(t);
    return status;
}

static void what_is_put_in_is_quoted_for_the_place_where_it_stands(void **state)
{
    static const struct {
        const char *script, *row, *wanted;
    } cases[] = {
        {"e \"x{}\" {}", "$(a) `b` \"\\'",
         "e \"x\\$(a) \\`b\\` \\\"\\\\'\" '$(a) `b` \"\\'\"'\"''"},
        {"e 'x{}' {}", "';a'", "e 'x'\"'\"';a'\"'\"'' ''\"'\"';a'\"'\"''"},
        {"e \"'{}'\"", "'$", "e \"''\\$'\""},
        {"e '\"{}\"'", "\"$'", "e '\"\"$'\"'\"'\"'"},
        {"e \"$(f {} \"{}\")\" \"{}\"", "$ x", "e \"$(f '$ x' \"\\$ x\")\" \"\\$ x\""},
        {"e $(f {})\"{}\"", "a b", "e $(f 'a b')\"a b\""},
        {"e $(({} * 2)) {}", "1;$(a)", "e $((1\\;\\$\\(a\\) * 2)) '1;$(a)'"},
        {"e \\\"{}\\\" \\' {}", "a b", "e \\\"'a b'\\\" \\' 'a b'"},
        {"# it's\ne {} a#b'{}'", "'", "# it's\ne ''\"'\"'' a#b''\"'\"''"},
        {"case {} in a) e {};; esac; e \"{}\"", "$", "case '$' in a) e '$';; esac; e \"\\$\""},
        {"e \"${x}{}\" $# {}", "$", "e \"${x}\\$\" $# '$'"},
        {"cat {} <<E >{}\nfoo\nE", "$", "cat '$' <<E >'$'\nfoo\nE"},
        {"cat <<<{}\n{}", "$", "cat <<<'$'\n'$'"},
        {"e {#} # {#}", "x", "e 7 # 7"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out = {0};

        assert_int_equal(script(cases[i].script, cases[i].row, &out), WEIR_OK);
        assert_string_equal(out.data, cases[i].wanted);
        buf_free(&out);
    }
}

static void a_place_where_nothing_can_be_quoted_takes_no_row(void **state)
{
    static const struct {
        const char *script, *why;
    } cases[] = {
        {"e `f {}`", "backquotes"},
        {"e \"`f {}`\"", "backquotes"},
        {"e # {}", "comment"},
        {"cat <<E\n{}\nE", "here-document"},
        {"cat <<E # it's\n{}\nE", "here-document"},
        {"cat <<E <f\n{}\nE", "here-document"},
        {"e ${x:-{}}", "${...}"},
        {"e \"${x:-\"{}\"}\"", "${...}"},
        {"e \"${x#'}'}\" {}", "behind a quote in ${...}"},
        {"e \\{}", "behind a backslash"},
        {"e \"\\{}\"", "behind a backslash"},
        {"e ${}", "behind a $"},
        {"e $'{}'", "in $'...'"},
        {"e $'\\'' {}", "behind a quote in $'...'"},
        {"e \"$(case $x in a) e {};; esac)\"", "`case`"},
        {"e ((((((((((((((((((((((((((((((((( {}", "too many"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out = {0};

        assert_int_equal(script(cases[i].script, "x", &out), WEIR_E_INVALID);
        assert_contains(err.message, cases[i].why);
        buf_free(&out);
    }
    struct buf out = {0};
    assert_int_equal(script("e # all", "x", &out), WEIR_E_FORMAT); /* where it would be appended */
    assert_contains(err.message, "in a comment");
    buf_free(&out);
}

static void a_name_behind_a_dollar_is_the_shells(void **state)
{
    (void)state;
    assert_line((struct case_of){{"sh", "-c", "e ${HOME} {n}"}, {0}, .row = "{\"n\":1}"},
                "sh -c 'e ${HOME} 1'");
    assert_line((struct case_of){{"e ${HOME} {n}"}, {.shell = true}, .row = "{\"n\":1}"},
                "/bin/sh -c 'e ${HOME} 1'");
}

static void a_template_of_nothing_is_refused(void **state)
{
    struct template *t = NULL;

    (void)state;
    assert_int_equal(template_new(&(struct template_options){0}, &t, &err), WEIR_E_INVALID);
    assert_int_equal(template_new(&(struct template_options){.words = (const char *[]){"e"},
                                                             .word_count = 1,
                                                             .replace = ""},
                                  &t, &err),
                     WEIR_E_INVALID);
    assert_contains(err.message, "-I");
}

static void a_lack_of_memory_is_told(void **state)
{
    struct case_of c = {
        {"e", "{}-{a}-{#}", "{a.b}", "{-1}"}, {.shell = true}, .row = "{\"a\":{\"b\":\"it's\"}}"};
    unsigned long n = 0;
    enum weir_status status = WEIR_OK;

    (void)state;
    do {
        struct template_options o = c.options;
        struct slice text = slice_of(c.row);
        struct template_row row = {
            .text = text, .columns = &text, .column_count = 1, .object = text, .number = 1};
        struct argvec v = {0};
        struct template *t = NULL;

        o.words = c.words;
        o.word_count = 4;
        mem_fail_at(++n);
        status = template_new(&o, &t, &err);
        if (status == WEIR_OK)
            status = template_expand(t, &row, &v, &err);
        if (status == WEIR_OK && !argvec_argv(&v))
            status = WEIR_E_NOMEM;
        template_free(t);
        argvec_free(&v);
        assert_true(status == WEIR_OK || status == WEIR_E_NOMEM);
    } while (mem_has_failed());
    mem_fail_at(0);
    assert_int_equal(status, WEIR_OK);
    assert_true(n > 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_without_a_placeholder_gets_the_row_as_its_last_word),
        cmocka_unit_test(parts_of_a_row_are_cut_as_gnu_parallel_cuts_them),
        cmocka_unit_test(columns_stand_alone_or_with_spaces_between),
        cmocka_unit_test(what_is_no_placeholder_stays_as_it_is),
        cmocka_unit_test(another_spelling_stands_for_the_row),
        cmocka_unit_test(fields_of_a_json_row_go_by_name),
        cmocka_unit_test(a_field_that_a_row_lacks_makes_it_bad),
        cmocka_unit_test(a_script_gets_what_is_put_in_quoted),
        cmocka_unit_test(what_is_put_in_is_quoted_for_the_place_where_it_stands),
        cmocka_unit_test(a_place_where_nothing_can_be_quoted_takes_no_row),
        cmocka_unit_test(a_name_behind_a_dollar_is_the_shells),
        cmocka_unit_test(a_template_of_nothing_is_refused),
        cmocka_unit_test(a_lack_of_memory_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
