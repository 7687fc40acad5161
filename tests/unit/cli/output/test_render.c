/*
 * Output lines: the two forms, what is verbatim, what is an error. Every line that is rendered here
 * is also read by Python's json module, a reader that nobody here wrote.
 */
#include "unit/cli/cli_test.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/output/render.h"

#include <math.h>
#include <stdio.h>
#include <sys/wait.h>

static struct buf all; /* every line, for Python */

static int64_t wall(void *ctx, struct instant t)
{
    assert_ptr_equal(ctx, &all);
    return INT64_C(1767225600) * NS_PER_S + t.ns; /* 2026-01-01T00:00:00Z */
}

static struct core_task task_of(enum weir_outcome outcome, enum weir_reason reason, int status,
                                const char *output)
{
    struct core_task t;

    memset(&t, 0, sizeof(t));
    t.limit = THROTTLE_LIMIT_NONE;
    t.index = 7;
    t.key = "row-7";
    t.hash_hi = 1;
    t.hash_lo = 2;
    t.answer.outcome = outcome;
    t.answer.reason = reason;
    t.answer.status = status;
    t.answer.output = (char *)(uintptr_t)output;
    t.answer.output_len = output ? strlen(output) : 0;
    t.submit_at = t.start_at = t.complete_at = t.deliver_at = INSTANT_NONE;
    return t;
}

static const char *render_command(const struct core_task *t)
{
    static struct buf line;
    struct render_options how = {.command = true};

    buf_free(&line);
    if (!t)
        return NULL;
    render_result(&how, RENDER_PLAIN, t, &line);
    assert_true(json_check(buf_slice(&line), NULL));
    buf_put_slice(&all, buf_slice(&line));
    return line.data;
}

static void a_command_has_an_exit_code_and_writes_text_unless_it_is_an_object(void **state)
{
    struct core_task t = task_of(WEIR_OUTCOME_OK, WEIR_REASON_NONE, 0, "1\n");

    (void)state;
    assert_string_equal(render_command(&t), "{\"index\":7,\"key\":\"row-7\",\"status\":0,"
                                            "\"output\":\"1\\n\",\"error\":null}\n");
    t = task_of(WEIR_OUTCOME_OK, WEIR_REASON_NONE, 0, " {\"a\":\n1.0}\n");
    t.answer.errput = (char *)(uintptr_t) "warned\n";
    t.answer.errput_len = 7;
    assert_string_equal(render_command(&t),
                        "{\"index\":7,\"key\":\"row-7\",\"status\":0,\"output\":{\"a\":1.0},"
                        "\"error\":null,\"stderr\":\"warned\\n\"}\n");
    t = task_of(WEIR_OUTCOME_FAILED, WEIR_REASON_SIGNALLED, -9, "");
    t.answer.message = (char *)(uintptr_t) "killed";
    assert_string_equal(render_command(&t),
                        "{\"index\":7,\"key\":\"row-7\",\"status\":-9,\"output\":\"\","
                        "\"error\":{\"code\":\"signalled\",\"message\":\"killed\"}}\n");
    t = task_of(WEIR_OUTCOME_FAILED, WEIR_REASON_START_FAILED, 0, NULL);
    assert_string_equal(render_command(&t),
                        "{\"index\":7,\"key\":\"row-7\",\"status\":null,\"output\":null,"
                        "\"error\":{\"code\":\"start_failed\",\"message\":\"\"}}\n");
    render_command(NULL);
}

static const char *render(bool meta, enum render_kind kind, const struct core_task *t)
{
    static struct buf line;
    struct render_options how = {.meta = meta, .wall_ns = wall, .wall_ctx = &all};

    buf_clear(&line);
    if (!t) {
        buf_free(&line);
        return NULL;
    }
    render_result(&how, kind, t, &line);
    assert_false(line.failed);
    assert_int_equal(line.data[line.len - 1], '\n');
    assert_null(memchr(line.data, '\n', line.len - 1));
    assert_true(json_check(buf_slice(&line), NULL));
    buf_put_slice(&all, buf_slice(&line));
    return line.data;
}

#define ID "\"id\":\"batch_req_"

static void a_batch_answer_is_the_batch_output_line(void **state)
{
    struct core_task t = task_of(WEIR_OUTCOME_OK, WEIR_REASON_NONE, 200,
                                 " {\"n\": 1.0,\n \"big\":123456789012345678901234567890} ");
    const char *line;

    (void)state;
    t.answer.request_id = (char[]){"req-1"};
    line = render(false, RENDER_BATCH, &t);
    assert_contains(line, "{" ID);
    assert_contains(line, "\",\"custom_id\":\"row-7\",\"response\":{\"status_code\":200,"
                          "\"request_id\":\"req-1\",\"body\":{\"n\": 1.0,");
    assert_contains(line, "\"big\":123456789012345678901234567890}},\"error\":null}\n");
}

static void an_http_failure_keeps_status_and_body_and_is_no_error(void **state)
{
    struct core_task t =
        task_of(WEIR_OUTCOME_FAILED, WEIR_REASON_HTTP_STATUS, 400, "{\"error\":\"bad\"}");

    (void)state;
    t.answer.message = (char[]){"HTTP 400"};
    assert_contains(
        render(false, RENDER_BATCH, &t),
        "\"response\":{\"status_code\":400,\"request_id\":null,\"body\":{\"error\":\"bad\"}},"
        "\"error\":null}\n");
    assert_string_equal(
        render(false, RENDER_PLAIN, &t),
        "{\"index\":7,\"key\":\"row-7\",\"status\":400,\"output\":{\"error\":\"bad\"},"
        "\"error\":{\"code\":\"http_status\",\"message\":\"HTTP 400\"}}\n");
}

static void what_never_got_an_answer_has_no_response(void **state)
{
    static const enum weir_reason reasons[] = {
        WEIR_REASON_CONNECT_FAILED, WEIR_REASON_TIMEOUT,     WEIR_REASON_BAD_ROW,
        WEIR_REASON_DEADLINE,       WEIR_REASON_OVER_BUDGET, WEIR_REASON_SHUTDOWN_REQUESTED,
    };

    (void)state;
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        struct core_task t = task_of(WEIR_OUTCOME_FAILED, reasons[i], 0, NULL);
        char expected[200];
        const char *line =
            (t.answer.message = (char[]){"no \"way\""}, render(false, RENDER_BATCH, &t));

        snprintf(expected, sizeof(expected),
                 "\"response\":null,\"error\":{\"code\":\"%s\",\"message\":\"no \\\"way\\\"\"}}\n",
                 weir_reason_name(reasons[i]));
        assert_contains(line, expected);
        assert_contains(render(false, RENDER_PLAIN, &t),
                        "\"status\":null,\"output\":null,\"error\":{");
    }
}

static void a_body_that_broke_off_is_no_response(void **state)
{
    struct core_task t = task_of(WEIR_OUTCOME_FAILED, WEIR_REASON_CONNECTION_LOST, 200, "{\"a\":");

    (void)state;
    assert_contains(render(false, RENDER_BATCH, &t),
                    "\"response\":null,\"error\":{\"code\":\"connection_lost\"");
}

static void a_service_that_stayed_full_has_its_last_answer_and_the_reason(void **state)
{
    struct core_task t = task_of(WEIR_OUTCOME_FAILED, WEIR_REASON_RETRY_TIMEOUT, 429, "slow down");
    const char *line = render(false, RENDER_BATCH, &t);

    (void)state;
    assert_contains(line, "\"status_code\":429,\"request_id\":null,\"body\":\"slow down\"}");
    assert_contains(line, "\"error\":{\"code\":\"retry_timeout\",\"message\":\"\"}}\n");
}

static void bodies_are_json_or_a_string(void **state)
{
    static const struct {
        const char *body, *out;
    } cases[] = {
        {"{\"a\":[1,\r\n2]}", "\"output\":{\"a\":[1,"},
        {"", "\"output\":\"\","},
        {"plain text", "\"output\":\"plain text\","},
        {"{\"broken\":", "\"output\":\"{\\\"broken\\\":\","},
        {"\xff\xfe!", "\"output\":\"\xef\xbf\xbd\xef\xbf\xbd!\","},
        {"null", "\"output\":null,"},
        {"  5  ", "\"output\":5,"},
        {"\"\\ud83d\\ude00\"", "\"output\":\"\\ud83d\\ude00\","},
        {"line\nline\tend\x01", "\"output\":\"line\\nline\\tend\\u0001\","},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct core_task t = task_of(WEIR_OUTCOME_OK, WEIR_REASON_NONE, 200, cases[i].body);

        assert_contains(render(false, RENDER_PLAIN, &t), cases[i].out);
        render(false, RENDER_BATCH, &t);
    }
}

static void a_nul_in_a_body_is_kept(void **state)
{
    struct core_task t = task_of(WEIR_OUTCOME_OK, WEIR_REASON_NONE, 200, "a");

    (void)state;
    t.answer.output = (char[]){"a\0b"};
    t.answer.output_len = 3;
    assert_contains(render(false, RENDER_PLAIN, &t), "\"output\":\"a\\u0000b\"");
}

static void an_error_always_has_a_code_and_a_message(void **state)
{
    struct core_task t = task_of(WEIR_OUTCOME_CANCELLED, WEIR_REASON_NONE, 0, NULL);

    (void)state;
    assert_contains(render(false, RENDER_PLAIN, &t),
                    "\"error\":{\"code\":\"cancelled\",\"message\":\"\"}}\n");
}

static void meta_is_the_record_of_the_row(void **state)
{
    struct core_task t = task_of(WEIR_OUTCOME_FAILED, WEIR_REASON_HTTP_STATUS, 500, "x");

    (void)state;
    t.complete_index = 3;
    t.submit_at = (struct instant){0};
    t.start_at = (struct instant){NS_PER_MS};
    t.complete_at = (struct instant){2 * NS_PER_S};
    t.deliver_at = (struct instant){2 * NS_PER_S + 1500 * NS_PER_US};
    t.attempts = 5;
    t.capacity_retries = 2;
    t.throttled_ns = 250 * NS_PER_MS;
    assert_contains(
        render(true, RENDER_PLAIN, &t),
        ",\"meta\":{\"submit_index\":7,\"complete_index\":3,"
        "\"submit_time\":\"2026-01-01T00:00:00.000Z\",\"start_time\":\"2026-01-01T00:00:00.001Z\","
        "\"complete_time\":\"2026-01-01T00:00:02.000Z\",\"deliver_time\":\"2026-01-01T00:00:02."
        "001Z\","
        "\"buffer_wait_ms\":1.500,\"attempts\":5,\"capacity_retries\":2,\"throttled_ms\":250,"
        "\"outcome\":\"failed\",\"reason\":\"http_status\",\"throttle\":null}}\n");
    t.limit = (struct throttle_limit){.rate_rps = 19.6,
                                      .window = UINT32_MAX,
                                      .mode = THROTTLE_MODE_RATE,
                                      .reason = THROTTLE_REASON_BORNE};
    assert_contains(
        render(true, RENDER_PLAIN, &t),
        "\"reason\":\"http_status\",\"throttle\":{\"mode\":\"rate\","
        "\"rate_per_s\":19.600,\"window\":null,\"delay_ms\":0.000,\"reason\":\"borne\"}}}\n");
    t.limit = (struct throttle_limit){.rate_rps = HUGE_VAL,
                                      .window = 12,
                                      .mode = THROTTLE_MODE_WINDOW,
                                      .reason = THROTTLE_REASON_CONCURRENCY};
    assert_contains(render(true, RENDER_PLAIN, &t),
                    "\"throttle\":{\"mode\":\"window\",\"rate_per_s\":null,\"window\":12,"
                    "\"delay_ms\":0.000,\"reason\":\"concurrency\"}}}\n");
    t.limit = THROTTLE_LIMIT_NONE;
    t.start_at = INSTANT_NONE;
    t.complete_at = INSTANT_NONE;
    t.answer.reason = WEIR_REASON_NONE;
    t.answer.outcome = WEIR_OUTCOME_OK;
    assert_contains(render(true, RENDER_BATCH, &t), "\"start_time\":null");
    assert_contains(render(true, RENDER_BATCH, &t), "\"buffer_wait_ms\":null");
    assert_contains(render(true, RENDER_BATCH, &t),
                    "\"outcome\":\"ok\",\"reason\":null,\"throttle\":null}}\n");
}

static void ids_are_stable_and_differ_by_row_and_content(void **state)
{
    char a[RENDER_ID_BYTES], b[RENDER_ID_BYTES];

    (void)state;
    render_id(1, 2, 3, a);
    render_id(1, 2, 3, b);
    assert_string_equal(a, b);
    assert_int_equal(strlen(a), 34);
    assert_int_equal(strspn(a + 10, "0123456789abcdef"), 24);
    /* Part of the output's contract: a resumed run of a later version gives the same bytes. */
    assert_string_equal(a, "batch_req_c2a27ecaa1425336be02a3e0");
    render_id(1, 2, 4, b);
    assert_string_not_equal(a, b);
    render_id(1, 3, 3, b);
    assert_string_not_equal(a, b);
    render_id(2, 2, 3, b);
    assert_string_not_equal(a, b);
}

static void a_lack_of_memory_shows_in_the_buffer(void **state)
{
    struct core_task t = task_of(WEIR_OUTCOME_OK, WEIR_REASON_NONE, 200, "some \xff text");
    struct render_options how = {.meta = false};

    (void)state;
    for (unsigned long n = 1; n < 3; n++) {
        struct buf out = {0};

        mem_fail_at(n);
        render_result(&how, RENDER_BATCH, &t, &out);
        if (mem_has_failed())
            assert_true(out.failed);
        buf_free(&out);
    }
    mem_fail_at(0);
}

/* Runs last: all lines of all tests, by another reader. */
static void python_reads_every_line(void **state)
{
    FILE *python = popen(
        "python3 -c 'import sys,json\n"
        "n=0\n"
        "for line in sys.stdin.buffer.read().split(b\"\\n\")[:-1]:\n"
        "    d=json.loads(line.decode(\"utf-8\")); n+=1\n"
        "    if \"custom_id\" in d:\n"
        "        assert set(d)-{\"meta\"}=={\"id\",\"custom_id\",\"response\",\"error\"},d\n"
        "    else:\n"
        "        assert "
        "set(d)-{\"meta\",\"stderr\"}=={\"index\",\"key\",\"status\",\"output\",\"error\"},d\n"
        "    assert d[\"error\"] is None or set(d[\"error\"])=={\"code\",\"message\"}\n"
        "sys.exit(0 if n>30 else 1)'",
        "w");

    (void)state;
    assert_non_null(python);
    assert_int_equal(fwrite(all.data, 1, all.len, python), all.len);
    assert_int_equal(pclose(python), 0);
    buf_free(&all);
    render(false, RENDER_PLAIN, NULL);
}

static void a_batch_line_for_the_errors_file_names_its_place(void **state)
{
    struct core_task t = task_of(WEIR_OUTCOME_TIMEOUT, WEIR_REASON_TIMEOUT, 0, NULL);
    struct render_options how = {.indexed = true};
    _cleanup_buf_ struct buf line = {0};
    struct slice index;
    int64_t place;

    (void)state;
    render_result(&how, RENDER_BATCH, &t, &line);
    assert_true(json_check(buf_slice(&line), NULL));
    assert_true(json_member(buf_slice(&line), "index", &index));
    assert_true(json_int64(index, &place));
    assert_int_equal(place, 7);
    assert_false(json_member(slice_of(render(false, RENDER_BATCH, &t)), "index", &index));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_has_an_exit_code_and_writes_text_unless_it_is_an_object),
        cmocka_unit_test(a_batch_line_for_the_errors_file_names_its_place),
        cmocka_unit_test(a_batch_answer_is_the_batch_output_line),
        cmocka_unit_test(an_http_failure_keeps_status_and_body_and_is_no_error),
        cmocka_unit_test(what_never_got_an_answer_has_no_response),
        cmocka_unit_test(a_body_that_broke_off_is_no_response),
        cmocka_unit_test(a_service_that_stayed_full_has_its_last_answer_and_the_reason),
        cmocka_unit_test(bodies_are_json_or_a_string),
        cmocka_unit_test(a_nul_in_a_body_is_kept),
        cmocka_unit_test(an_error_always_has_a_code_and_a_message),
        cmocka_unit_test(meta_is_the_record_of_the_row),
        cmocka_unit_test(ids_are_stable_and_differ_by_row_and_content),
        cmocka_unit_test(a_lack_of_memory_shows_in_the_buffer),
        cmocka_unit_test(python_reads_every_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
