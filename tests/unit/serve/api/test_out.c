/*
 * What the API writes: times, durations, numbers, base64, bytes of tasks, and each object when
 * memory runs out.
 */
#include "serve/api/out.h"

#include "base/json.h"
#include "base/mem.h"
#include "serve/api/fields.h"
#include "serve/api/text.h"

#include <math.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void times_are_read_and_written(void **state)
{
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {
        {"1970-01-01T00:00:00.000000001Z", 1},
        {"1972-02-29T00:00:00Z", INT64_C(68169600) * NS_PER_S},
        {"2000-02-29t12:00:00z", INT64_C(951825600) * NS_PER_S},
        {"2100-03-01 00:00:00Z", INT64_C(4107542400) * NS_PER_S},
        {"2026-01-31T13:30:00.5+01:30", INT64_C(1769860800) * NS_PER_S + NS_PER_S / 2},
        {"2016-12-31T23:59:60Z", INT64_C(1483228800) * NS_PER_S},
        {"+1m30s", 1000 + 90 * NS_PER_S},
    };
    static const char *const bad[] = {"",
                                      "2026-01-31",
                                      "2026-01-31T12:00:00",
                                      "2026-13-01T00:00:00Z",
                                      "2026-04-31T00:00:00Z",
                                      "2100-02-29T00:00:00Z",
                                      "2026-01-31T24:00:00Z",
                                      "2026-01-31T12:00:00.Z",
                                      "2026-01-31T12:00:00Zx",
                                      "2026-01-31T12:00:00+1:00",
                                      "0000-00-01T00:00:00Z",
                                      "10000-01-01T00:00:00Z",
                                      "9999-12-31T24:00:00Z",
                                      "+",
                                      "+-1s",
                                      "+300000d"};
    static const char *const far[] = {"1969-12-31T23:59:59Z",      "2262-01-01T00:00:00Z",
                                      "1970-01-01T00:00:00+00:01", "1970-01-01T00:00:00Z",
                                      "9999-12-31T23:59:59Z",      "0000-02-29T00:00:00.5-01:00"};
    _cleanup_buf_ struct buf out = {0};
    struct weir_error err;
    int64_t ns;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_int_equal(text_time(slice_of(good[i].text), 1000, &ns, NULL), WEIR_OK);
        assert_int_equal(ns, good[i].ns);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(text_time(slice_of(bad[i]), 1000, &ns, NULL), WEIR_E_INVALID);
    for (size_t i = 0; i < COUNT_OF(far); i++) {
        assert_int_equal(text_time(slice_of(far[i]), 1000, &ns, &err), WEIR_E_INVALID);
        assert_non_null(strstr(err.message, far[i]));
        assert_non_null(strstr(err.message, "is out of range; a time is after 1970-01-01"));
    }
    text_put_time(&out, INT64_C(1769860800) * NS_PER_S + 123456789);
    assert_string_equal(out.data, "\"2026-01-31T12:00:00.123456Z\"");
}

/* Every day of the years that are allowed reads back as it is written. */
static void each_day_reads_back(void **state)
{
    struct buf out = {0};

    (void)state;
    for (int64_t day = 1; day < 291 * 365; day += 1) {
        int64_t ns = day * 86400 * NS_PER_S, back;

        buf_clear(&out);
        text_put_time(&out, ns);
        assert_int_equal(text_time((struct slice){out.data + 1, out.len - 2}, 0, &back, NULL),
                         WEIR_OK);
        assert_int_equal(back, ns);
    }
    buf_free(&out);
}

static void numbers_are_short_and_exact(void **state)
{
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    text_put_seconds(&out, 90 * NS_PER_S);
    buf_putc(&out, ' ');
    text_put_seconds(&out, 1500 * NS_PER_MS);
    buf_putc(&out, ' ');
    text_put_seconds(&out, -1);
    buf_putc(&out, ' ');
    text_put_number(&out, 0.1);
    buf_putc(&out, ' ');
    text_put_number(&out, 1.0 / 3);
    buf_putc(&out, ' ');
    text_put_number(&out, 12345678);
    buf_putc(&out, ' ');
    text_put_number(&out, -2.5);
    buf_putc(&out, ' ');
    text_put_number(&out, HUGE_VAL);
    assert_string_equal(out.data, "90 1.5 -0.000000001 0.1 0.3333333333333333 12345678 -2.5 null");
}

static void base64_goes_both_ways(void **state)
{
    static const struct {
        const char *bytes, *text;
        size_t len;
    } cases[] = {{"", "\"\"", 0},
                 {"f", "\"Zg==\"", 1},
                 {"fo", "\"Zm8=\"", 2},
                 {"foo", "\"Zm9v\"", 3},
                 {"\xff\xfe\x00", "\"//4A\"", 3}};
    static const char *const bad[] = {
        "a", "ab=", "Zg=", "Zh==", "Zm9=", "Zg==Zg==", "Z g=", "Zm9_", "====", "="};
    _cleanup_buf_ struct buf out = {0};
    char bytes[64];
    size_t len;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        buf_clear(&out);
        text_put_base64(&out, (struct slice){cases[i].bytes, cases[i].len});
        assert_string_equal(out.data, cases[i].text);
        assert_true(text_base64_decode((struct slice){out.data + 1, out.len - 2}, bytes, &len));
        assert_int_equal(len, cases[i].len);
        assert_memory_equal(bytes, cases[i].bytes, len);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_false(text_base64_decode(slice_of(bad[i]), bytes, &len));
}

static void bytes_are_json_or_text_or_base64(void **state)
{
    static const struct {
        struct slice bytes;
        const char *json;
    } cases[] = {
        {{" {\"a\":\r\n1.0} ", 13}, "{\"b\":{\"a\":1.0}}"},
        {{"hello\n", 6}, "{\"b\":\"hello\\n\"}"},
        {{"", 0}, "{\"b\":\"\"}"},
        {{"\x80", 1}, "{\"b_base64\":\"gA==\"}"},
        {{"1 2", 3}, "{\"b\":\"1 2\"}"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        _cleanup_buf_ struct buf out = {0};
        struct out_object o = out_begin(&out);

        out_bytes(&o, "b", "b_base64", cases[i].bytes);
        out_end(&o);
        assert_string_equal(out.data, cases[i].json);
    }
}

static const struct registry_view whole = {
    .id = 7,
    .state = REGISTRY_RUNNING,
    .line = {.priority = -3,
             .cpu_milli = 1500,
             .memory_mib = 64,
             .pool = {"p", 1},
             .tenant = {"t\"", 2},
             .session = {"s", 1},
             .slots = {"a,b", 3}},
    .key = {"k", 1},
    .batch = 4,
    .submitted_ns = NS_PER_S,
    .deadline_ns = 2 * NS_PER_S,
    .attempts = 2,
    .max_attempts = 3,
    .timeout_ns = NS_PER_S / 2,
    .stuck = true,
    .run_after_failure = true,
    .outcome = WEIR_OUTCOME_TIMEOUT,
    .reason = WEIR_REASON_TIMEOUT,
    .status = 408,
    .message = {"m", 1},
    .has_result = true,
    .payload = {"\x80", 1},
    .output = {"[1]", 3},
    .errput = {"e", 1},
};

static void a_task_has_all_that_is_known_of_it(void **state)
{
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    out_task(&out, &whole, OUT_PAYLOAD | OUT_RESULT);
    assert_string_equal(
        out.data,
        "{\"id\":7,\"key\":\"k\",\"state\":\"running\",\"batch\":4,\"place\":0,\"pool\":\"p\","
        "\"priority\":-3,"
        "\"tenant\":\"t\\\"\",\"session\":\"s\",\"submitted_at\":\"1970-01-01T00:00:01.000000Z\","
        "\"deadline\":\"1970-01-01T00:00:02.000000Z\",\"attempts\":2,\"failures\":0,\"deaths\":0,"
        "\"max_attempts\":3,"
        "\"capacity_retries\":0,\"timeout_s\":0.5,\"on_dependency_failure\":\"run\",\"stuck\":true,"
        "\"resources\":{\"cpu\":1.5,\"memory\":\"64MiB\",\"slots\":[\"a\",\"b\"]},\"outcome\":"
        "\"timeout\","
        "\"reason\":\"timeout\",\"status\":408,\"message\":\"m\",\"payload_base64\":\"gA==\","
        "\"output\":[1],"
        "\"errput\":\"e\"}");
    assert_true(json_check(buf_slice(&out), NULL));
}

/* Of the attempt that runs nothing is known yet. */
static void the_first_attempt_has_no_outcome_while_it_runs(void **state)
{
    struct registry_view v = {.id = 1, .state = REGISTRY_RUNNING, .attempts = 1};
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    out_task(&out, &v, 0);
    assert_null(strstr(out.data, "outcome"));
    buf_clear(&out);
    v.state = REGISTRY_DONE;
    out_task(&out, &v, 0);
    assert_non_null(strstr(out.data, "\"outcome\":\"ok\""));
}

static void an_events_detail_stands_there_as_it_is(void **state)
{
    struct registry_event e = {.seq = 3,
                               .at_ns = NS_PER_S,
                               .kind = REGISTRY_TASK_DONE,
                               .task = 7,
                               .attempt = 1,
                               .worker = 9,
                               .slot = 2,
                               .duration_ns = 2500 * NS_PER_MS,
                               .detail = SLICE("{\"why\":\"x\"}")};
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    out_event(&out, &e);
    assert_string_equal(
        out.data,
        "{\"seq\":3,\"at\":\"1970-01-01T00:00:01.000000Z\",\"kind\":\"task.done\",\"task\":7,"
        "\"attempt\":1,\"worker\":9,\"slot\":2,\"duration_s\":2.5,\"detail\":{\"why\":\"x\"}}");
    buf_clear(&out);
    e.detail = SLICE("{broken");
    out_event(&out, &e);
    assert_true(json_check(buf_slice(&out), NULL));
}

static void memory_that_runs_out_shows_in_the_buffer(void **state)
{
    static const char *const skills[] = {"a"};
    struct api_pool pool = {
        .name = "p", .kind = "k", .skills = skills, .skill_count = 1, .has_workers = true};
    uint64_t queue[REGISTRY_STATES] = {0};
    unsigned long n = 0;

    (void)state;
    for (bool failed = true; failed;) {
        struct buf out = {0};

        mem_fail_at(++n);
        out_task(&out, &whole, OUT_PAYLOAD | OUT_RESULT);
        out_pool(&out, &pool, queue);
        failed = mem_has_failed();
        mem_fail_at(0);
        assert_int_equal(out.failed, failed);
        buf_free(&out);
    }
    assert_true(n > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_read_and_written),
        cmocka_unit_test(each_day_reads_back),
        cmocka_unit_test(numbers_are_short_and_exact),
        cmocka_unit_test(base64_goes_both_ways),
        cmocka_unit_test(bytes_are_json_or_text_or_base64),
        cmocka_unit_test(a_task_has_all_that_is_known_of_it),
        cmocka_unit_test(the_first_attempt_has_no_outcome_while_it_runs),
        cmocka_unit_test(an_events_detail_stands_there_as_it_is),
        cmocka_unit_test(memory_that_runs_out_shows_in_the_buffer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
