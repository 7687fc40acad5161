/* Rows for commands and for workers: what a line becomes, and what is said of a bad one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cli/input/row.h"
#include "exec/template/template.h"

#include <stdio.h>
#include <string.h>

static struct weir_error err;
static struct template *words;

static struct rows *make(const struct row_options *o)
{
    struct rows *r = NULL;

    if (rows_new(o, &r, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    return r;
}

static struct line line_of(struct slice text)
{
    return (struct line){.text = text,
                         .length = text.len,
                         .number = 17,
                         .file = "rows.txt",
                         .hash = fingerprint_of(text)};
}

static struct row_options command(const char *const *argv)
{
    struct template_options o = {.words = argv, .append = true};

    while (argv[o.word_count])
        o.word_count++;
    template_free(words);
    words = NULL;
    assert_int_equal(template_new(&o, &words, &err), WEIR_OK);
    return (struct row_options){.kind = RUN_COMMAND, .words = words};
}

static int forget(void **state)
{
    (void)state;
    words = template_free(words);
    return 0;
}

static struct run_row *build(struct rows *rows, struct slice text)
{
    struct line line = line_of(text);
    struct run_row *row = NULL;

    if (rows_build(rows, &line, 5, &row, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    assert_int_equal(row->task.index, 5);
    assert_int_equal(row->task.hash_hi, line.hash.hi);
    assert_int_equal(row->line, 17);
    return row;
}

static void assert_key(struct rows *rows, struct slice text, const char *key, bool keyed)
{
    struct run_row *row = build(rows, text);

    assert_string_equal(row->task.key, key);
    assert_int_equal(row->key_len, strlen(key));
    assert_int_equal(row->keyed, keyed);
    row_free(row);
}

static void a_commands_row_is_its_own_key_where_it_can_be(void **state)
{
    struct row_options o = command((const char *[]){"echo", NULL});
    struct rows *rows = make(&o);
    char text[ROW_KEY_BYTES_MAX + 1];

    (void)state;
    memset(text, 'x', sizeof(text));
    assert_key(rows, SLICE("a b.txt"), "a b.txt", false);
    assert_key(rows, SLICE("a\tb"), "5", false);
    assert_key(rows, SLICE("\xff"), "5", false);
    assert_key(rows, SLICE(""), "5", false);
    assert_key(rows, (struct slice){text, sizeof(text)}, "5", false);
    rows_free(rows);
    o.key_expr = ".id";
    rows = make(&o);
    assert_key(rows, SLICE("{\"id\":\"seven\"}"), "seven", true);
    rows_free(rows);
    o.key_expr = "ascii_upcase";
    rows = make(&o);
    assert_key(rows, SLICE("abc"), "ABC", true);
    rows_free(rows);
}

static void a_commands_row_has_columns_and_fields(void **state)
{
    struct row_options o = command((const char *[]){"echo", NULL});
    struct rows *rows;
    struct command_row *c;
    struct run_row *row;

    (void)state;
    o.of_parts = true;
    rows = make(&o);
    row = build(rows, (struct slice){"a b\0c\0", 6});
    c = row_command(row);
    assert_ptr_equal(row->task.payload, c);
    assert_int_equal(c->column_count, 3);
    assert_true(slice_equal(c->columns[0], SLICE("a b")));
    assert_true(slice_equal(c->columns[1], SLICE("c")));
    assert_int_equal(c->columns[2].len, 0);
    assert_int_equal(c->object.len, 0);
    assert_null(c->input.data);
    assert_string_equal(row->task.key, "a b c ");
    row_free(row);
    rows_free(rows);

    o.colsep = ",";
    rows = make(&o);
    row = build(rows, (struct slice){"a,b\0c", 5});
    c = row_command(row);
    assert_int_equal(c->column_count, 3);
    assert_true(slice_equal(c->columns[1], SLICE("b")));
    assert_true(slice_equal(c->columns[2], SLICE("c")));
    row_free(row);
    row = build(rows, SLICE(" {\"a\":1,\"b\":2} "));
    c = row_command(row);
    assert_true(slice_equal(c->object, SLICE("{\"a\":1,\"b\":2}")));
    assert_int_equal(c->column_count, 2);
    row_free(row);
    rows_free(rows);

    o.lines = true;
    rows = make(&o);
    row = build(rows, SLICE("{\"a\":1}"));
    assert_int_equal(row_command(row)->object.len, 0);
    row_free(row);
    rows_free(rows);
}

static void a_row_for_standard_input_is_lines(void **state)
{
    struct row_options o = command((const char *[]){"cat", NULL});
    struct rows *rows;
    struct run_row *row;

    (void)state;
    o.input = true;
    o.of_parts = true;
    rows = make(&o);
    row = build(rows, (struct slice){"a\0b", 3});
    assert_true(slice_equal(row_command(row)->input, SLICE("a\nb\n")));
    assert_int_equal(row_command(row)->column_count, 2);
    row_free(row);
    row = build(rows, SLICE(""));
    assert_true(slice_equal(row_command(row)->input, SLICE("\n")));
    row_free(row);
    rows_free(rows);
    o.input_nul = true;
    rows = make(&o);
    row = build(rows, (struct slice){"a\n\0b", 4});
    assert_true(slice_equal(row_command(row)->input, (struct slice){"a\n\0b", 4}));
    row_free(row);
    rows_free(rows);
}

static void assert_bad(struct rows *rows, struct slice text, const char *told)
{
    struct line line = line_of(text);
    struct run_row *row = NULL;

    assert_int_equal(rows_build(rows, &line, 5, &row, &err), WEIR_E_FORMAT);
    assert_null(row);
    if (strncmp(err.message, "rows.txt:17: ", 13) != 0 || !strstr(err.message, told))
        fail_msg("\"%s\" is not in: %s", told, err.message);
}

static void a_bad_row_for_a_command_is_told_with_its_place(void **state)
{
    struct row_options o = command((const char *[]){"echo", "{name}", NULL});
    struct rows *rows = make(&o);
    struct line line = line_of(SLICE("x"));
    struct run_row *row = NULL;

    (void)state;
    assert_bad(rows, (struct slice){"a\0b", 3}, "NUL byte (column 2)");
    assert_bad(rows, SLICE("{\"nam\":1}"), "no field \"name\"");
    row_free(build(rows, SLICE("{\"nam\":1")));
    line.too_long = true;
    assert_int_equal(rows_build(rows, &line, 5, &row, &err), WEIR_E_FORMAT);
    assert_int_equal(row_bad(&line, 5, RUN_COMMAND, ROW_PLAIN, SLICE(""), "no", &row, &err),
                     WEIR_OK);
    assert_null(row_command(row));
    assert_true(row->bad && row->task.refused);
    row_free(row);
    rows_free(rows);
}

static void a_workers_row_is_the_arguments_of_a_request(void **state)
{
    struct row_options o = {.kind = RUN_WORKER, .command = "predict", .session_expr = ".user?"};
    struct rows *rows = make(&o);
    struct run_row *row = build(rows, SLICE(" {\"user\": \"u-1\", \"n\": 1.0}"));

    (void)state;
    assert_ptr_equal(row->task.payload, &row_worker(row)->request);
    assert_string_equal(row_worker(row)->request.command, "predict");
    assert_true(
        slice_equal(row_worker(row)->request.args, SLICE("{\"user\": \"u-1\", \"n\": 1.0}")));
    assert_string_equal(row_worker(row)->session, "u-1");
    assert_string_equal(row->task.key, "5");
    row_free(row);
    row = build(rows, SLICE("{\"user\":12,\"custom_id\":\"c\"}"));
    assert_string_equal(row_worker(row)->session, "12");
    assert_string_equal(row->task.key, "c");
    row_free(row);
    for (size_t i = 0; i < 3; i++) {
        static const char *const without[] = {"{\"user\":null}", "[1]", "{}"};

        row = build(rows, slice_of(without[i]));
        assert_null(row_worker(row)->session);
        row_free(row);
    }
    assert_bad(rows, SLICE("{\"user\":[]}"), "--session");
    assert_bad(rows, SLICE("{\"user\":\"\"}"), "--session");
    assert_bad(rows, SLICE("{\"user\":"), "broken JSON");
    rows_free(rows);
    /* The Batch form means nothing here. */
    o = (struct row_options){.kind = RUN_WORKER, .template_expr = ".body"};
    rows = make(&o);
    row = build(rows, SLICE("{\"custom_id\":\"a\",\"url\":\"/x\",\"body\":[1]}"));
    assert_int_equal(row->kind, ROW_PLAIN);
    assert_true(slice_equal(row_worker(row)->request.args, SLICE("[1]")));
    assert_null(row_worker(row)->request.command);
    row_free(row);
    rows_free(rows);
    o = (struct row_options){.kind = RUN_WORKER, .lines = true};
    rows = make(&o);
    row = build(rows, SLICE("it's"));
    assert_true(slice_equal(row_worker(row)->request.args, SLICE("\"it's\"")));
    row_free(row);
    rows_free(rows);
}

static void no_memory_is_an_error_at_every_allocation(void **state)
{
    struct row_options o = command((const char *[]){"echo", "{a}", NULL});
    struct line line = line_of((struct slice){"{\"a\":1},x\0b", 11});
    unsigned long n = 0;
    enum weir_status status;

    (void)state;
    o.colsep = ",";
    o.of_parts = true;
    o.input = true;
    do {
        struct rows *rows = NULL;
        struct run_row *row = NULL;

        mem_fail_at(++n);
        status = rows_new(&o, &rows, &err);
        if (status == WEIR_OK)
            status = rows_build(rows, &line, 1, &row, &err);
        row_free(row);
        rows_free(rows);
        assert_true(status == WEIR_OK || status == WEIR_E_NOMEM);
    } while (mem_has_failed());
    mem_fail_at(0);
    assert_int_equal(status, WEIR_OK);
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_commands_row_is_its_own_key_where_it_can_be, forget),
        cmocka_unit_test_teardown(a_commands_row_has_columns_and_fields, forget),
        cmocka_unit_test_teardown(a_row_for_standard_input_is_lines, forget),
        cmocka_unit_test_teardown(a_bad_row_for_a_command_is_told_with_its_place, forget),
        cmocka_unit_test(a_workers_row_is_the_arguments_of_a_request),
        cmocka_unit_test_teardown(no_memory_is_an_error_at_every_allocation, forget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
