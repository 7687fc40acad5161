/*
 * A stream of lines becomes groups, however its bytes are cut; mistakes are told with their line,
 * and leave what was before.
 */
#include "serve/api/ndjson.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* What came of a stream. */
struct heard {
    struct buf keys; /* with spaces */
    size_t tasks, groups, largest;
    uint64_t last_line;
    enum weir_status status;
};

static void hear_group(struct heard *h, struct ndjson_group *g)
{
    if (!g)
        return;
    assert_true(g->count > 0 && g->count <= NDJSON_GROUP_TASKS);
    assert_true(g->first_line > h->last_line && g->last_line >= g->first_line);
    for (size_t i = 0; i < g->count; i++) {
        buf_put_slice(&h->keys, g->specs[i].key);
        buf_putc(&h->keys, ' ');
    }
    h->tasks += g->count;
    h->groups++;
    h->largest = g->count > h->largest ? g->count : h->largest;
    h->last_line = g->last_line;
    ndjson_group_free(g);
}

/* Feeds it in pieces; flush: after each piece. */
static struct heard hear(struct ndjson *n, struct slice text, size_t piece, bool flush)
{
    struct heard h = {0};
    struct ndjson_group *g;
    size_t pos = 0, taken;

    while (pos < text.len && h.status == WEIR_OK) {
        size_t len = text.len - pos < piece ? text.len - pos : piece;

        h.status = ndjson_feed(n, text.data + pos, len, &taken, &g);
        hear_group(&h, g);
        pos += taken;
        if (flush && h.status == WEIR_OK) {
            h.status = ndjson_flush(n, &g);
            hear_group(&h, g);
        }
    }
    if (h.status == WEIR_OK) {
        h.status = ndjson_end(n, &g);
        hear_group(&h, g);
    }
    return h;
}

static void the_cuts_make_no_difference(void **state)
{
    static const char text[] =
        "{\"key\":\"a\"}\n\n  \r\n{\"key\":\"b\"}\r\n {\"key\":\"\\u0063\"}\n{\"key\":\"d\"}";

    (void)state;
    for (size_t piece = 1; piece < sizeof(text); piece++) {
        for (int flush = 0; flush < 2; flush++) {
            struct ndjson n;
            struct heard h;

            ndjson_init(&n, &(struct ndjson_options){.batch = 3, .place = 5});
            h = hear(&n, slice_of(text), piece, flush);
            assert_int_equal(h.status, WEIR_OK);
            assert_string_equal(h.keys.data, "a b c d ");
            assert_int_equal(h.last_line, 6);
            assert_int_equal(n.tasks, 4);
            buf_free(&h.keys);
            ndjson_free(&n);
        }
    }
}

static void groups_are_limited_in_tasks_and_bytes(void **state)
{
    struct buf text = {0};
    struct ndjson n;
    struct heard h;

    (void)state;
    for (int i = 0; i < 2500; i++)
        buf_puts(&text, "{}\n");
    ndjson_init(&n, &(struct ndjson_options){0});
    h = hear(&n, buf_slice(&text), 4096, false);
    assert_int_equal(h.tasks, 2500);
    assert_int_equal(h.groups, 3);
    assert_int_equal(h.largest, 1000);
    buf_free(&h.keys);
    ndjson_free(&n);

    buf_clear(&text);
    for (int i = 0; i < 10; i++) {
        buf_puts(&text, "{\"payload\":\"");
        memset(buf_reserve(&text, 400000), 'x', 400000);
        text.len += 400000;
        buf_puts(&text, "\"}\n");
    }
    ndjson_init(&n, &(struct ndjson_options){0});
    h = hear(&n, buf_slice(&text), 30000, false);
    assert_int_equal(h.tasks, 10);
    assert_int_equal(h.largest, 3);
    buf_free(&h.keys);
    ndjson_free(&n);
    buf_free(&text);
}

static void a_wrong_line_ends_it(void **state)
{
    static const struct {
        const char *text, *keys, *fault;
        uint64_t line;
    } cases[] = {
        {"{\"key\":\"a\"}\n{\"key\":\n{}\n", "a ", "not JSON: at byte 7: the text ends too early",
         2},
        {"{\"key\":\"a\"}\n\n{\"kez\":1}\n{}", "a ",
         "kez: there is no such field; did you mean \"key\"?", 3},
        {"[]\n{}", "", "it is an array; it must be an object", 1},
        {"{}\n{} {}\n", " ", "not JSON: at byte 3: ", 2},
        {"{\"after\":[\"x\"]}", "", "after[0]: a name stands only for", 1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct ndjson n;
        struct heard h;

        ndjson_init(&n, &(struct ndjson_options){0});
        h = hear(&n, slice_of(cases[i].text), 7, false);
        assert_int_equal(h.status, WEIR_E_FORMAT);
        assert_int_equal(n.line, cases[i].line);
        assert_string_equal(buf_slice(&h.keys).data, cases[i].keys);
        if (strncmp(n.in.faults.first.data, cases[i].fault, strlen(cases[i].fault)) != 0)
            assert_string_equal(n.in.faults.first.data, cases[i].fault);
        buf_free(&h.keys);
        ndjson_free(&n);
    }
}

static void a_line_without_end_is_refused(void **state)
{
    size_t len = NDJSON_LINE_BYTES_MAX + 100;
    char *text = malloc(len);
    struct ndjson n;
    struct heard h;

    (void)state;
    assert_non_null(text);
    memset(text, ' ', len);
    memcpy(text, "{}\n", 3);
    ndjson_init(&n, &(struct ndjson_options){0});
    h = hear(&n, (struct slice){text, len}, 1 << 20, false);
    assert_int_equal(h.status, WEIR_E_FORMAT);
    assert_int_equal(h.tasks, 1);
    assert_int_equal(n.line, 2);
    assert_non_null(strstr(n.in.faults.first.data, "it is longer than"));
    buf_free(&h.keys);
    ndjson_free(&n);
    free(text);
}

static void memory_that_runs_out_ends_it(void **state)
{
    static const char text[] =
        "{\"key\":\"\\u0061\"}\n{\"payload_base64\":\"AAAA\",\"after\":[1]}\n{}";
    unsigned long at = 0;

    (void)state;
    for (bool failed = true; failed;) {
        struct ndjson n;
        struct ndjson_group *g;
        enum weir_status status;
        size_t taken;

        ndjson_init(&n, &(struct ndjson_options){0});
        mem_fail_at(++at);
        status = ndjson_feed(&n, text, sizeof(text) - 1, &taken, &g);
        ndjson_group_free(g);
        if (status == WEIR_OK) {
            status = ndjson_flush(&n, &g);
            ndjson_group_free(g);
        }
        if (status == WEIR_OK) {
            status = ndjson_end(&n, &g);
            ndjson_group_free(g);
        }
        failed = mem_has_failed();
        mem_fail_at(0);
        assert_int_equal(status, failed ? WEIR_E_NOMEM : WEIR_OK);
        ndjson_free(&n);
    }
    assert_true(at > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cuts_make_no_difference),
        cmocka_unit_test(groups_are_limited_in_tasks_and_bytes),
        cmocka_unit_test(a_wrong_line_ends_it),
        cmocka_unit_test(a_line_without_end_is_refused),
        cmocka_unit_test(memory_that_runs_out_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
