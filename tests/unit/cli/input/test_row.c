/* Rows: what a line becomes, and what is said of a bad one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cli/input/row.h"
#include "flow/tokens.h"

#include <stdio.h>
#include <stdlib.h>

#define URL "https://api.example:8443/v1/chat?x=1"

static const struct row_options PLAIN = {.url = URL};

static struct rows *make(const struct row_options *o)
{
    struct rows *r = NULL;
    struct weir_error err = {0};

    if (rows_new(o, &r, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    return r;
}

static struct line line_of(struct slice text)
{
    return (struct line){.text = text,
                         .length = text.len,
                         .number = 17,
                         .file = "rows.jsonl",
                         .hash = fingerprint_of(text)};
}

struct row_case {
    const char *line;
    const char *key, *body, *url, *method; /* NULL url: --url; NULL method: POST */
    enum row_kind kind;
};

static void check_row(struct rows *rows, const struct row_case *c)
{
    struct line line = line_of(slice_of(c->line));
    struct run_row *row = NULL;
    struct weir_error err = {0};

    if (rows_build(rows, &line, 5, &row, &err) != WEIR_OK)
        fail_msg("%s: %s", c->line, err.message);
    assert_string_equal(row->task.key, c->key);
    assert_int_equal(row->key_len, strlen(c->key));
    assert_string_equal(row_http(row)->request.body.data, c->body);
    assert_int_equal(row_http(row)->request.body.len, strlen(c->body));
    assert_string_equal(row_http(row)->request.url, c->url ? c->url : URL);
    assert_string_equal(row_http(row)->request.method, c->method ? c->method : "POST");
    assert_int_equal(row->kind, c->kind);
    assert_int_equal(row->task.index, 5);
    assert_ptr_equal(row->task.payload, &row_http(row)->request);
    assert_true(row->task.payload_len > sizeof(*row));
    row_estimate_tokens(row);
    assert_int_equal(row->task.tokens, tokens_estimate(row_http(row)->request.body));
    assert_int_equal(row->task.hash_hi, line.hash.hi);
    assert_int_equal(row->task.hash_lo, line.hash.lo);
    assert_int_equal(row->line, 17);
    assert_string_equal(row->file, "rows.jsonl");
    assert_false(row->bad);
    assert_false(row->task.refused);
    assert_null(row_http(row)->request.idempotency_key);
    row->task.release(&row->task);
}

static void a_line_is_a_batch_row_or_the_body_itself(void **state)
{
    static const struct row_case cases[] = {
        {"{\"model\": 1.0, \"n\":12345678901234567890}", "5",
         "{\"model\": 1.0, \"n\":12345678901234567890}", NULL, NULL, ROW_PLAIN},
        {"  [1, 2]\t", "5", "[1, 2]", NULL, NULL, ROW_PLAIN},
        {"\"text\"", "5", "\"text\"", NULL, NULL, ROW_PLAIN},
        {"null", "5", "null", NULL, NULL, ROW_PLAIN},
        {"{\"custom_id\":\"a\",\"prompt\":1}", "a", "{\"custom_id\":\"a\",\"prompt\":1}", NULL,
         NULL, ROW_PLAIN},
        {"{\"custom_id\":7,\"prompt\":1}", "5", "{\"custom_id\":7,\"prompt\":1}", NULL, NULL,
         ROW_PLAIN},
        {"{\"custom_id\":\"a\",\"body\":1}", "a", "{\"custom_id\":\"a\",\"body\":1}", NULL, NULL,
         ROW_PLAIN},
        {"{\"custom_id\":\"a\",\"url\":\"/x\"}", "a", "{\"custom_id\":\"a\",\"url\":\"/x\"}", NULL,
         NULL, ROW_PLAIN},
        {"{\"custom_id\": \"req-1\", \"method\": \"POST\", \"url\": \"/v1/chat/completions\", "
         "\"body\": {\"n\": 1.50}}",
         "req-1", "{\"n\": 1.50}", "https://api.example:8443/v1/chat/completions", "POST",
         ROW_BATCH},
        {"{\"custom_id\":\"\\u00e4\\\"\",\"method\":\"put\",\"body\":[ 1 ]}", "\xc3\xa4\"", "[ 1 ]",
         NULL, "PUT", ROW_BATCH},
        {"{\"custom_id\":\"a\",\"url\":null,\"method\":null,\"body\":{}}", "a", "{}", NULL, NULL,
         ROW_BATCH},
        {"{\"custom_id\":\"a\",\"url\":\"/x?y=%20\",\"body\":null,\"method\":\"GET\"}", "a", "",
         "https://api.example:8443/x?y=%20", "GET", ROW_BATCH},
        {"{\"custom_id\":\"a\",\"url\":\"/x\",\"body\":null}", "a", "null",
         "https://api.example:8443/x", NULL, ROW_BATCH},
        {"{\"custom_id\":\"a\",\"url\":\"HTTPS://API.example:8443/x\",\"body\":0}", "a", "0",
         "https://api.example:8443/x", NULL, ROW_BATCH},
        {"{\"custom_id\":\"a\",\"url\":\"https://api.example:8443\",\"body\":0}", "a", "0",
         "https://api.example:8443/", NULL, ROW_BATCH},
        {"{\"custom_id\":\"a\",\"url\":\"https:\\/\\/api.example:8443?q\",\"body\":0}", "a", "0",
         "https://api.example:8443/?q", NULL, ROW_BATCH},
    };
    struct rows *rows = make(&PLAIN);

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_row(rows, &cases[i]);
    rows_free(rows);
}

static void the_default_port_is_the_same_origin(void **state)
{
    static const struct {
        const char *base, *own, *url;
    } cases[] = {
        {"http://h/p", "http://h:80/x", "http://h/x"},
        {"http://h:80/p", "http://h/x", "http://h:80/x"},
        {"https://h:443", "https://H/x", "https://h:443/x"},
        {"http://h?a=b", "/x", "http://h/x"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rows *rows = make(&(struct row_options){.url = cases[i].base});
        char line[128];
        struct row_case c = {line, "a", "1", cases[i].url, NULL, ROW_BATCH};

        (void)snprintf(line, sizeof(line), "{\"custom_id\":\"a\",\"url\":\"%s\",\"body\":1}",
                       cases[i].own);
        check_row(rows, &c);
        rows_free(rows);
    }
}

static void templates_and_keys_see_the_whole_line(void **state)
{
    struct rows *rows = make(&(struct row_options){.url = URL,
                                                   .template_expr = "{p: .body.q, id: .custom_id}",
                                                   .key_expr = "\"k-\" + .custom_id",
                                                   .method = "PATCH"});
    static const struct row_case cases[] = {
        {"{\"custom_id\":\"a\",\"url\":\"/x\",\"body\":{\"q\":1}}", "k-a", "{\"p\":1,\"id\":\"a\"}",
         "https://api.example:8443/x", "PATCH", ROW_BATCH},
        {"{\"custom_id\":\"b\",\"body\":{\"q\":2}}", "k-b", "{\"p\":2,\"id\":\"b\"}", NULL, "PATCH",
         ROW_PLAIN},
    };

    (void)state;
    check_row(rows, &cases[0]);
    check_row(rows, &cases[1]);
    rows_free(rows);
    rows = make(&(struct row_options){.url = URL, .key_expr = ".id", .template_expr = ".q"});
    check_row(rows, &(struct row_case){"{\"id\":12345678901234567890,\"q\":1.0}",
                                       "12345678901234567890", "1.0", NULL, NULL, ROW_PLAIN});
    rows_free(rows);
}

static void plain_text_becomes_a_string(void **state)
{
    struct rows *rows = make(&(struct row_options){.url = URL, .lines = true});

    (void)state;
    check_row(rows, &(struct row_case){"say \"hi\"\t\xc3\xa4", "5", "\"say \\\"hi\\\"\\t\xc3\xa4\"",
                                       NULL, NULL, ROW_PLAIN});
    check_row(rows, &(struct row_case){"{\"custom_id\":\"a\"}", "5",
                                       "\"{\\\"custom_id\\\":\\\"a\\\"}\"", NULL, NULL, ROW_PLAIN});
    rows_free(rows);
    rows = make(&(struct row_options){
        .url = URL, .lines = true, .template_expr = "{t: .}", .key_expr = ".[0:2]"});
    check_row(rows, &(struct row_case){"hello", "he", "{\"t\":\"hello\"}", NULL, NULL, ROW_PLAIN});
    rows_free(rows);
}

static void refuse(struct rows *rows, struct slice text, const char *message)
{
    struct line line = line_of(text);
    struct run_row *row = NULL;
    struct weir_error err = {0};
    enum weir_status status = rows_build(rows, &line, 0, &row, &err);

    if (status != WEIR_E_FORMAT || !strstr(err.message, message))
        fail_msg("%s: status %d, %s", text.data, status, err.message);
    assert_memory_equal(err.message, "rows.jsonl:17: ", 15);
    assert_null(row);
}

static void bad_rows_are_told_with_place_and_remedy(void **state)
{
    static const struct {
        const char *line, *message;
    } cases[] = {
        {"{\"a\":1", "(column 7)"},
        {"{\"a\" 1}", "(column 6)"},
        {"{\"a\":1} x", "(column 9)"},
        {"{", "jq -c"},
        {"[", "jq -c"},
        {"hello world", "give --lines"},
        {"{\"a\":\"\xff\"}", "(column 7)"},
        {"{\"custom_id\":1,\"url\":\"/x\",\"body\":1}", "\"custom_id\" must be a string"},
        {"{\"custom_id\":\"\",\"url\":\"/x\",\"body\":1}", "is empty"},
        {"{\"custom_id\":\"\"}", "is empty"},
        {"{\"custom_id\":\"a\\nb\",\"url\":\"/x\",\"body\":1}", "control character at its byte 2"},
        {"{\"custom_id\":\"\\u0000\"}", "control character at its byte 1"},
        {"{\"custom_id\":\"ab\\u0085\"}", "control character at its byte 3"},
        {"{\"custom_id\":\"ab\\u007f\"}", "control character at its byte 3"},
        {"{\"custom_id\":\"a\",\"url\":\"\",\"body\":1}", "\"url\" is empty"},
        {"{\"custom_id\":\"a\",\"url\":\"x\",\"body\":1}", "must begin with /"},
        {"{\"custom_id\":\"a\",\"url\":\"http://\",\"body\":1}", "must begin with /"},
        {"{\"custom_id\":\"a\",\"url\":\"ftp://api.example:8443/\",\"body\":1}",
         "must begin with /"},
        {"{\"custom_id\":\"a\",\"url\":\"/a b\",\"body\":1}", "%XX"},
        {"{\"custom_id\":\"a\",\"url\":\"/a\\r\\nHost: x\",\"body\":1}", "%XX"},
        {"{\"custom_id\":\"a\",\"url\":\"/a#b\",\"body\":1}", "%XX"},
        {"{\"custom_id\":\"a\",\"url\":\"/\xc3\xa4\",\"body\":1}", "%XX"},
        {"{\"custom_id\":\"a\",\"url\":\"https://evil.example/x\",\"body\":1}",
         "https://evil.example, which is not"},
        {"{\"custom_id\":\"a\",\"url\":\"http://api.example:8443/x\",\"body\":1}",
         "is not that of"},
        {"{\"custom_id\":\"a\",\"url\":\"https://api.example:8443@evil/x\",\"body\":1}",
         "is not that of"},
        {"{\"custom_id\":\"a\",\"url\":\"https://api.example:84430/x\",\"body\":1}",
         "is not that of"},
        {"{\"custom_id\":\"a\",\"url\":7,\"body\":1}", "\"url\" must be a string"},
        {"{\"custom_id\":\"a\",\"method\":\"TRACE\",\"body\":1}", "\"method\" is none of GET"},
        {"{\"custom_id\":\"a\",\"method\":[],\"body\":1}", "\"method\" must be a string"},
    };
    struct rows *rows = make(&PLAIN);
    char *longest = malloc(ROW_URL_BYTES_MAX + 100), *end = longest;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        refuse(rows, slice_of(cases[i].line), cases[i].message);
    refuse(rows, SLICE("{\"a\":\0}"), "NUL bytes");
    refuse(rows, SLICE("{\"a\":\"\0\"}"), "(column 7)");

    assert_non_null(longest);
    end += sprintf(end, "{\"body\":1,\"custom_id\":\"a\",\"url\":\"/");
    memset(end, 'x', ROW_URL_BYTES_MAX);
    (void)strcpy(end + ROW_URL_BYTES_MAX, "\"}");
    refuse(rows, slice_of(longest), "\"url\" has 8193 bytes");
    end = longest + sprintf(longest, "{\"custom_id\":\"");
    memset(end, 'x', ROW_KEY_BYTES_MAX + 1);
    (void)strcpy(end + ROW_KEY_BYTES_MAX + 1, "\"}");
    refuse(rows, slice_of(longest), "the key (custom_id) has 513 bytes");
    free(longest);
    rows_free(rows);
}

static void bad_text_lines_are_told(void **state)
{
    struct rows *rows = make(&(struct row_options){.url = URL, .lines = true});

    (void)state;
    refuse(rows, SLICE("ab\0c"), "NUL byte (column 3)");
    refuse(rows, SLICE("ab\xe4"), "not UTF-8 (column 3)");
    rows_free(rows);
}

static void expressions_fail_per_row(void **state)
{
    struct rows *rows =
        make(&(struct row_options){.url = URL, .key_expr = ".id", .template_expr = "{p: .p.q}"});

    (void)state;
    refuse(rows, SLICE("{\"id\":\"a\",\"p\":3}"), "--template: Cannot index number");
    refuse(rows, SLICE("{\"p\":{}}"), "--key: gives null");
    refuse(rows, SLICE("{\"id\":\"\"}"), "the key (--key) is empty");
    check_row(rows,
              &(struct row_case){"{\"id\":\"a\"}", "a", "{\"p\":null}", NULL, NULL, ROW_PLAIN});
    rows_free(rows);
}

static void a_line_over_the_limit_is_told_with_its_length(void **state)
{
    struct rows *rows = make(&PLAIN);
    struct line line = {.too_long = true, .length = 1234567, .number = 17, .file = "rows.jsonl"};
    struct run_row *row = NULL;
    struct weir_error err = {0};

    (void)state;
    assert_int_equal(rows_build(rows, &line, 0, &row, &err), WEIR_E_FORMAT);
    assert_non_null(strstr(err.message, "rows.jsonl:17: the line has 1234567 bytes"));
    assert_non_null(strstr(err.message, "--max-line"));
    rows_free(rows);
}

static void bad_options_are_refused(void **state)
{
    struct rows *rows = NULL;
    struct weir_error err = {0};

    (void)state;
    assert_int_equal(rows_new(&(struct row_options){.url = "example.com/x"}, &rows, &err),
                     WEIR_E_INVALID);
    assert_non_null(strstr(err.message, "--url"));
    assert_int_equal(rows_new(&(struct row_options){.url = NULL}, &rows, &err), WEIR_E_INVALID);
    assert_int_equal(rows_new(&(struct row_options){.url = URL, .method = "FE TCH"}, &rows, &err),
                     WEIR_E_INVALID);
    assert_non_null(strstr(err.message, "--method"));
    assert_int_equal(rows_new(&(struct row_options){.url = URL, .key_expr = "("}, &rows, &err),
                     WEIR_E_INVALID);
    assert_memory_equal(err.message, "--key: ", 7);
    assert_int_equal(rows_new(&(struct row_options){.url = URL, .template_expr = "("}, &rows, &err),
                     WEIR_E_INVALID);
    assert_memory_equal(err.message, "--template: ", 12);
    assert_null(rows);
}

static void what_could_be_read_of_a_bad_row_is_told(void **state)
{
    static const struct {
        const char *line;
        bool form;
        enum row_kind kind;
        const char *key;
    } cases[] = {
        {"{", false, ROW_PLAIN, ""},
        {"{\"custom_id\":\"a\",\"url\":\"x\",\"body\":1}", true, ROW_BATCH, "a"},
        {"{\"custom_id\":\"\",\"url\":\"/x\",\"body\":1}", true, ROW_BATCH, ""},
        {"{\"custom_id\":\"\\n\",\"body\":1}", true, ROW_PLAIN, ""},
    };
    struct rows *rows = make(&PLAIN);

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct line line = line_of(slice_of(cases[i].line));
        struct run_row *row = NULL;

        assert_int_equal(rows_build(rows, &line, 0, &row, NULL), WEIR_E_FORMAT);
        assert_int_equal(rows_seen(rows).form, cases[i].form);
        assert_int_equal(rows_seen(rows).kind, cases[i].kind);
        assert_true(slice_equal(rows_seen(rows).key, slice_of(cases[i].key)));
    }
    rows_free(rows);
}

static void a_bad_row_has_its_result_already(void **state)
{
    struct line line = line_of(SLICE("x"));
    struct run_row *row = NULL;

    (void)state;
    assert_int_equal(
        row_bad(&line, 9, RUN_HTTP, ROW_BATCH, SLICE(""), "rows.jsonl:17: no", &row, NULL),
        WEIR_OK);
    assert_true(row->bad);
    assert_true(row->task.refused);
    assert_false(row->task.finished_before);
    assert_int_equal(row->task.answer.outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(row->task.answer.reason, WEIR_REASON_BAD_ROW);
    assert_string_equal(row->task.answer.message, "rows.jsonl:17: no");
    assert_string_equal(row->task.key, "9");
    assert_int_equal(row->task.hash_lo, line.hash.lo);
    row->task.release(&row->task);
}

static void the_idempotency_key_depends_on_run_place_content_and_generation_alone(void **state)
{
    struct rows *rows = make(&PLAIN);
    char keys[6][FINGERPRINT_HEX_BYTES];
    static const struct {
        const char *line, *run;
        uint64_t index;
        uint32_t generation;
    } cases[6] = {{"1", "run", 0, 0}, {"1", "run", 0, 0}, {"1", "run", 1, 0},
                  {"2", "run", 0, 0}, {"1", "ruN", 0, 0}, {"1", "run", 0, 1}};

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        struct line line = line_of(slice_of(cases[i].line));
        struct run_row *row = NULL;

        assert_int_equal(rows_build(rows, &line, cases[i].index, &row, NULL), WEIR_OK);
        row_set_idempotency(row, slice_of(cases[i].run), cases[i].generation);
        assert_int_equal(strlen(row_http(row)->request.idempotency_key), 32);
        assert_int_equal(row->task.generation, cases[i].generation);
        memcpy(keys[i], row_http(row)->request.idempotency_key, sizeof(keys[i]));
        row_free(row);
        if (i > 1)
            for (size_t k = 0; k < i; k++)
                assert_string_not_equal(keys[i], keys[k]);
    }
    assert_string_equal(keys[0], keys[1]);
    /* A journal outlives a version: the value itself is a contract. */
    assert_string_equal(keys[0], "775df230ddb412525225c2d40c3aad0b");
    rows_free(rows);
}

static void no_memory_is_an_error_at_every_allocation(void **state)
{
    static const struct row_options options[] = {
        {.url = URL},
        {.url = URL, .key_expr = ".custom_id", .template_expr = ".body"},
        {.url = URL, .lines = true},
    };
    static const char text[] = "{\"custom_id\":\"a\",\"url\":\"/x\",\"method\":\"PUT\",\"body\":1}";

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        bool swept = false;
        for (unsigned long n = 1; !swept; n++) {
            struct line line = line_of(slice_of(text));
            struct rows *rows = NULL;
            struct run_row *row = NULL, *bad = NULL;
            enum weir_status status;

            mem_fail_at(n);
            status = rows_new(&options[i], &rows, NULL);
            if (status == WEIR_OK)
                status = rows_build(rows, &line, 0, &row, NULL);
            if (status == WEIR_OK)
                status = row_bad(&line, 0, RUN_HTTP, ROW_PLAIN, SLICE("k"), "m", &bad, NULL);
            swept = !mem_has_failed();
            mem_fail_at(0);
            assert_int_equal(status, swept ? WEIR_OK : WEIR_E_NOMEM);
            row_free(row);
            row_free(bad);
            rows_free(rows);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_a_batch_row_or_the_body_itself),
        cmocka_unit_test(the_default_port_is_the_same_origin),
        cmocka_unit_test(templates_and_keys_see_the_whole_line),
        cmocka_unit_test(plain_text_becomes_a_string),
        cmocka_unit_test(bad_rows_are_told_with_place_and_remedy),
        cmocka_unit_test(bad_text_lines_are_told),
        cmocka_unit_test(expressions_fail_per_row),
        cmocka_unit_test(a_line_over_the_limit_is_told_with_its_length),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(what_could_be_read_of_a_bad_row_is_told),
        cmocka_unit_test(a_bad_row_has_its_result_already),
        cmocka_unit_test(the_idempotency_key_depends_on_run_place_content_and_generation_alone),
        cmocka_unit_test(no_memory_is_an_error_at_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
