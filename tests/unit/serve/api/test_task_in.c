/*
 * Tasks out of JSON: each field, each mistake with its place, names of siblings, and memory that
 * runs out at every point.
 */
#include "serve/api/task_in.h"

#include "base/mem.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NOW_NS (INT64_C(1767225600) * NS_PER_S) /* 2026-01-01T00:00:00Z */

struct fixture {
    struct arena arena;
    struct body_in in;
};

static void begin(struct fixture *f)
{
    *f = (struct fixture){0};
    f->in = (struct body_in){.arena = &f->arena, .now_ns = NOW_NS};
}

static void end(struct fixture *f)
{
    faults_free(&f->in.faults);
    arena_free(&f->arena);
}

static void assert_text(struct slice s, const char *expected)
{
    assert_int_equal(s.len, strlen(expected));
    assert_memory_equal(s.data, expected, s.len);
}

/* The fault's one line, of a task that is refused. */
static void assert_refused(const char *json, const char *expected)
{
    struct registry_spec spec;
    struct fixture f;

    begin(&f);
    assert_true(json_check(slice_of(json), NULL));
    assert_false(task_in_one(&f.in, NULL, slice_of(json), &spec));
    assert_string_equal(buf_slice(&f.in.faults.first).data, expected);
    end(&f);
}

static void array_refused(const char *json, const char *expected)
{
    struct tasks_in tasks;
    struct fixture f;

    begin(&f);
    assert_true(json_check(slice_of(json), NULL));
    assert_false(tasks_in_array(&f.in, NULL, slice_of(json), &tasks));
    assert_string_equal(buf_slice(&f.in.faults.first).data, expected);
    end(&f);
}

static void every_field_arrives(void **state)
{
    static const char json[] =
        "{\"key\":\"row-1\",\"payload\":{\"a\": 1.0, "
        "\"b\":[]},\"pool\":\"gpu\",\"priority\":-7,\"tenant\":\"t\\u00e9\","
        "\"session\":\"s1\",\"name\":\"first\",\"after\":[12,7],\"on_dependency_failure\":\"run\","
        "\"resources\":{\"cpu\":1.5,\"memory\":\"512MiB\",\"slots\":[\"workdir\",\"license\"]},"
        "\"max_attempts\":5,"
        "\"timeout\":\"1m30s\",\"backoff\":{\"initial\":2,\"factor\":1.5,\"ceiling\":\"5m\"},"
        "\"deadline\":\"2026-01-31T13:00:00.25+01:00\",\"not_before\":\"+90s\",\"idempotency_key\":"
        "\"k\"}";
    struct registry_spec s;
    struct fixture f;

    (void)state;
    begin(&f);
    assert_true(task_in_one(&f.in, NULL, slice_of(json), &s));
    assert_text(s.key, "row-1");
    assert_text(s.payload, "{\"a\": 1.0, \"b\":[]}");
    assert_text(s.line.pool, "gpu");
    assert_int_equal(s.line.skill.len, 0);
    assert_int_equal(s.line.priority, -7);
    assert_text(s.line.tenant, "t\xc3\xa9");
    assert_text(s.line.session, "s1");
    assert_int_equal(s.after_count, 2);
    assert_int_equal(s.after[0].id, 12);
    assert_int_equal(s.after[1].id, 7);
    assert_true(s.run_after_failure);
    assert_int_equal(s.line.cpu_milli, 1500);
    assert_int_equal(s.line.memory_mib, 512);
    assert_text(s.line.slots, "license,workdir");
    assert_int_equal(s.max_attempts, 5);
    assert_int_equal(s.timeout_ns, 90 * NS_PER_S);
    assert_int_equal(s.backoff_initial_ns, 2 * NS_PER_S);
    assert_true(s.backoff_factor > 1.49 && s.backoff_factor < 1.51);
    assert_int_equal(s.backoff_ceiling_ns, 300 * NS_PER_S);
    assert_int_equal(s.deadline_ns, INT64_C(1769860800) * NS_PER_S + NS_PER_S / 4);
    assert_int_equal(s.not_before_ns, NOW_NS + 90 * NS_PER_S);
    assert_text(s.idempotency_key, "k");
    end(&f);
}

static void what_is_null_or_absent_is_none(void **state)
{
    struct registry_spec s;
    struct fixture f;

    (void)state;
    begin(&f);
    assert_true(task_in_one(&f.in, NULL,
                            SLICE("{\"key\":null,\"pool\":null,\"resources\":null,\"after\":null,"
                                  "\"backoff\":null,\"timeout\":null,\"payload_base64\":null}"),
                            &s));
    assert_int_equal(s.key.len + s.payload.len + s.line.pool.len + s.after_count, 0);
    assert_int_equal(s.timeout_ns, 0);
    assert_false(s.run_after_failure);
    end(&f);
}

static void a_payload_is_stored_as_it_came(void **state)
{
    static const struct {
        const char *json, *stored;
        size_t len;
    } cases[] = {
        {"{\"payload\": {\"n\":1.00} }", "{\"n\":1.00}", 10},
        {"{\"payload\":\"echo hello\"}", "\"echo hello\"", 12},
        {"{\"payload\": \"a\\u0000\\n\"}", "\"a\\u0000\\n\"", 11},
        {"{\"payload\":null}", "null", 4},
        {"{\"payload\":\"\"}", "\"\"", 2},
        {"{\"payload\":123456789012345678901234567890}", "123456789012345678901234567890", 30},
        {"{\"payload_base64\":\"AP9hYg==\"}",
         "\0\xff"
         "ab",
         4},
        {"{\"payload_base64\":\"AP9hYg\"}",
         "\0\xff"
         "ab",
         4},
        {"{}", "", 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct registry_spec s;
        struct fixture f;

        begin(&f);
        assert_true(task_in_one(&f.in, NULL, slice_of(cases[i].json), &s));
        assert_int_equal(s.payload.len, cases[i].len);
        assert_memory_equal(s.payload.len ? s.payload.data : "", cases[i].stored, cases[i].len);
        end(&f);
    }
}

static const struct {
    const char *json, *fault;
} mistakes[] = {
    {"[]", "it is an array; it must be an object"},
    {"7", "it is a number; it must be an object"},
    {"{\"prioritty\":1}", "prioritty: there is no such field; did you mean \"priority\"?"},
    {"{\"zzzzzz\":1}", "zzzzzz: there is no such field"},
    {"{\"\":1}", "\"\": there is no such field"},
    {"{\"key\":1}", "key: it is a number; it must be a string"},
    {"{\"key\":\"a\",\"key\":\"b\"}", "key: it is given twice"},
    {"{\"key\":\"a\\nb\"}", "key: it has a control character in it; names are of printable text"},
    {"{\"pool\":\"\"}", "pool: it is empty; leave it out if there is none"},
    {"{\"pool\":\"a\",\"skill\":\"b\"}", "pool and skill exclude each other"},
    {"{\"priority\":1.5}", "priority: it is 1.5; it must be a whole number from -1000 to 1000"},
    {"{\"priority\":1001}", "priority: it is 1001; it must be a whole number from -1000 to 1000"},
    {"{\"priority\":\"1\"}", "priority: it is a string; it must be a whole number"},
    {"{\"payload\":1,\"payload_base64\":\"\"}", "payload and payload_base64 exclude each other"},
    {"{\"payload_base64\":\"a\"}",
     "payload_base64: it is not base64 (RFC 4648, the alphabet with + and /)"},
    {"{\"payload_base64\":7}", "payload_base64: it must be a string of base64 (RFC 4648)"},
    {"{\"after\":7}", "after: it must be an array of ids"},
    {"{\"after\":[1,0]}", "after[1]: it must be the id of a task"},
    {"{\"after\":[\"x\"]}",
     "after[0]: a name stands only for another task of the same array; give an id"},
    {"{\"on_dependency_failure\":\"stop\"}",
     "on_dependency_failure: it is \"stop\"; it must be one of \"fail\", \"run\""},
    {"{\"resources\":1}", "resources: it is a number; it must be an object"},
    {"{\"resources\":{\"memory\":\"lots\"}}", "resources.memory: \"lots\" is not a size; write "},
    {"{\"resources\":{\"cpus\":1}}",
     "resources.cpus: there is no such field; did you mean \"cpu\"?"},
    {"{\"resources\":{\"cpu\":-1}}", "resources.cpu: it is -1; it must be from 0 to 1e+06"},
    {"{\"resources\":{\"slots\":\"a\"}}", "resources.slots: it must be an array of names"},
    {"{\"resources\":{\"slots\":[\"a\",\"a\"]}}", "resources.slots: \"a\" is named twice"},
    {"{\"resources\":{\"slots\":[\"a\",\"b,c\"]}}",
     "resources.slots[1]: a name of slots has no comma in it"},
    {"{\"resources\":{\"slots\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}}",
     "resources.slots: a task may ask for at most 4 kinds of slots"},
    {"{\"max_attempts\":0}", "max_attempts: it is 0; it must be a whole number from 1 to 1000000"},
    {"{\"timeout\":\"soon\"}", "timeout: \"soon\" is not a duration; write "},
    {"{\"timeout\":-1}", "timeout: a duration in seconds is not negative"},
    {"{\"timeout\":0}", "timeout: it is 0 s; it must be from 0.001 to 1e+09 s"},
    {"{\"timeout\":[]}",
     "timeout: it is an array; it must be seconds, or a duration such as \"30s\""},
    {"{\"backoff\":{\"initial\":10,\"ceiling\":5}}",
     "backoff: its ceiling is below what it begins with"},
    {"{\"backoff\":{\"factor\":0.5}}", "backoff.factor: it is 0.5; it must be from 1 to 1000"},
    {"{\"deadline\":\"2026-02-30T00:00:00Z\"}",
     "deadline: \"2026-02-30T00:00:00Z\" is not a time; write a time as 2026-01-31T12:00:00Z, "
     "or "
     "from now on as +90s"},
    {"{\"deadline\":1767225600}", "deadline: it is a number; it must be a time such as "
                                  "\"2026-01-31T12:00:00Z\", or \"+90s\""},
    {"{\"not_before\":\"+soon\"}", "not_before: from now on: \"soon\" is not a duration; write "},
    {"{\"idempotency_key\":\"\"}", "idempotency_key: it is empty; leave it out if there is none"},
};

static void each_mistake_names_its_place(void **state)
{

    (void)state;
    for (size_t i = 0; i < COUNT_OF(mistakes); i++) {
        struct registry_spec spec;
        struct fixture f;
        const char *first;

        begin(&f);
        assert_false(task_in_one(&f.in, NULL, slice_of(mistakes[i].json), &spec));
        first = buf_slice(&f.in.faults.first).data;
        /* What base/parse.h says how to write it instead is its own. */
        if (strncmp(first, mistakes[i].fault, strlen(mistakes[i].fault)) != 0)
            fail_msg("%s: \"%s\", not \"%s\"", mistakes[i].json, first, mistakes[i].fault);
        if (mistakes[i].fault[strlen(mistakes[i].fault) - 1] != ' ')
            assert_string_equal(first, mistakes[i].fault);
        assert_false(f.in.faults.nomem);
        end(&f);
    }
}

static void all_mistakes_are_told_at_once(void **state)
{
    struct registry_spec spec;
    struct fixture f;

    (void)state;
    begin(&f);
    assert_false(
        task_in_one(&f.in, NULL, SLICE("{\"key\":1,\"pool\":\"\",\"timeout\":{}}"), &spec));
    assert_int_equal(f.in.faults.count, 3);
    assert_non_null(strstr(f.in.faults.json.data, "{\"where\":\"pool\",\"message\":\"it is empty"));
    end(&f);
}

static void lengths_are_limited(void **state)
{
    char json[2048] = "{\"pool\":\"";
    size_t len = strlen(json);

    (void)state;
    memset(json + len, 'p', 256);
    memcpy(json + len + 256, "\"}", 3);
    assert_refused(json, "pool: it has 256 bytes; at most 255 are allowed");
    memcpy(json, "{\"key\":\"", 8);
    memset(json + 8, 'k', 1025);
    memcpy(json + 8 + 1025, "\"}", 3);
    assert_refused(json, "key: it has 1025 bytes; at most 1024 are allowed");
}

static void resources_are_rounded_up(void **state)
{
    struct registry_spec s;
    struct fixture f;

    (void)state;
    begin(&f);
    assert_true(
        task_in_one(&f.in, NULL, SLICE("{\"resources\":{\"cpu\":0.0001,\"memory\":1048577}}"), &s));
    assert_int_equal(s.line.cpu_milli, 1);
    assert_int_equal(s.line.memory_mib, 2);
    assert_true(task_in_one(&f.in, NULL, SLICE("{\"resources\":{\"cpu\":0.3}}"), &s));
    assert_int_equal(s.line.cpu_milli, 300);
    end(&f);
}

static void siblings_are_known_by_name_before_and_behind(void **state)
{
    struct tasks_in t;
    struct fixture f;

    (void)state;
    begin(&f);
    assert_true(tasks_in_array(
        &f.in, NULL,
        SLICE("[{\"after\":[\"last\",41]},{\"name\":\"mid\",\"after\":[\"la\\u0073t\"]},"
              "{\"name\":\"last\"},{\"after\":[5,\"mid\"]}]"),
        &t));
    assert_int_equal(t.count, 4);
    assert_int_equal(t.specs[0].after[0].id, 0);
    assert_int_equal(t.specs[0].after[0].sibling, 2);
    assert_int_equal(t.specs[0].after[1].id, 41);
    assert_int_equal(t.specs[1].after[0].sibling, 2);
    assert_int_equal(t.specs[3].after[1].id, 0);
    assert_int_equal(t.specs[3].after[1].sibling, 1);
    end(&f);
    array_refused("[{\"name\":\"a\"},{\"name\":\"a\"}]", "[1].name: two tasks have the name \"a\"");
    array_refused(
        "[{\"name\":\"a\"},{\"after\":[\"b\"]}]",
        "[1].after[0]: no task here has the name \"b\"; give a \"name\" to it, or its id");
    array_refused(
        "[{},{\"resources\":{\"memory\":true}}]",
        "[1].resources.memory: it is true; it must be bytes, or a size such as \"512MiB\"");
    array_refused("[]", "it has 0 tasks; 1 to 100000 may be submitted at once");
    array_refused("{}", "it must be an array of tasks");
}

static void faults_are_counted_but_not_all_told(void **state)
{
    struct buf json = {0};
    struct tasks_in t;
    struct fixture f;
    size_t told = 0;

    (void)state;
    begin(&f);
    buf_putc(&json, '[');
    for (int i = 0; i < 100; i++)
        buf_puts(&json, i > 0 ? ",7" : "7");
    buf_putc(&json, ']');
    assert_false(tasks_in_array(&f.in, NULL, buf_slice(&json), &t));
    assert_int_equal(f.in.faults.count, 100);
    for (const char *p = f.in.faults.json.data; (p = strstr(p, "\"where\"")) != NULL; p++)
        told++;
    assert_int_equal(told, FAULTS_MAX);
    buf_free(&json);
    end(&f);
}

static void memory_that_runs_out_is_told_as_that(void **state)
{
    static const char json[] =
        "[{\"key\":\"\\u0061\",\"payload\":\"\\n\",\"after\":[\"b\",3],\"resources\":"
        "{\"slots\":[\"x\"]}},{\"name\":\"b\",\"payload_base64\":\"AAAA\"}]";
    unsigned long n = 0;

    (void)state;
    for (bool failed = true; failed;) {
        struct tasks_in t;
        struct fixture f;
        bool ok;

        begin(&f);
        mem_fail_at(++n);
        ok = tasks_in_array(&f.in, NULL, slice_of(json), &t);
        failed = mem_has_failed();
        mem_fail_at(0);
        assert_int_equal(ok, !failed);
        assert_int_equal(f.in.faults.nomem, failed);
        end(&f);
    }
    assert_true(n > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_arrives),
        cmocka_unit_test(what_is_null_or_absent_is_none),
        cmocka_unit_test(a_payload_is_stored_as_it_came),
        cmocka_unit_test(each_mistake_names_its_place),
        cmocka_unit_test(all_mistakes_are_told_at_once),
        cmocka_unit_test(lengths_are_limited),
        cmocka_unit_test(resources_are_rounded_up),
        cmocka_unit_test(siblings_are_known_by_name_before_and_behind),
        cmocka_unit_test(faults_are_counted_but_not_all_told),
        cmocka_unit_test(memory_that_runs_out_is_told_as_that),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
