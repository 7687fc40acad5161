/* The summary: what is counted, the words, the JSON under the design's names, the file as a whole. */
#include "unit/cli/cli_test.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/output/summary.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct core_answer failed(enum weir_reason reason, int status, const char *message)
{
    return (struct core_answer){
        .outcome = WEIR_OUTCOME_FAILED,
        .reason = reason,
        .status = status,
        .message = (char *)(uintptr_t)message,
    };
}

static struct summary sample(void)
{
    struct summary s = {
        .end = SUMMARY_COMPLETE,
        .total_known = true,
        .rows_total = 1000,
        .rows_before = 100,
        .rows_ok = 997,
        .elapsed_ns = 90 * NS_PER_S,
        .throttle = "aimd",
        .output = "results.jsonl",
        .journal = "results.jsonl.weir",
        .batch =
            {
                .pool_size = 64,
                .max_capacity_retry_ns = 3600 * NS_PER_S,
                .dispatch_delay_at_completion_ns = 150 * NS_PER_MS,
                .capacity_retries = 200,
                .successes = 897,
                .failures = 3,
                .peak_delay_ns = 1200 * NS_PER_MS,
                .current_delay_ns = 100 * NS_PER_MS,
                .total_throttle_time_ns = 30 * NS_PER_S,
                .max_concurrent_reached = 63,
                .delivered = 900,
                .attempts = 1108,
                .refused = 200,
                .retries = 8,
                .tokens = 1234567,
                .buffer_wait_sum_ns = 90 * NS_PER_S,
                .buffer_wait_max_ns = 2 * NS_PER_S,
                .throttle_kind = THROTTLE_AIMD,
                .throttle =
                    {.mode = THROTTLE_MODE_DELAY,
                     .rate_rps = HUGE_VAL,
                     .window = SIZE_MAX,
                     .delay_ns = 100 * NS_PER_MS,
                     .reason = THROTTLE_REASON_ACCEPTED,
                     .changes = 3,
                     .by_reason = {[THROTTLE_REASON_REFUSED] = 2, [THROTTLE_REASON_ACCEPTED] = 1}},
            },
    };
    struct core_answer answers[] = {
        failed(WEIR_REASON_HTTP_STATUS, 400, "HTTP 400 \033[31mBad"),
        failed(WEIR_REASON_HTTP_STATUS, 404, "HTTP 404"),
        failed(WEIR_REASON_TIMEOUT, 0, NULL),
    };

    for (size_t i = 0; i < 3; i++)
        summary_count(&s, &answers[i]);
    return s;
}

static void the_text_says_what_a_person_asks(void **state)
{
    struct summary s = sample();
    struct buf out = {0};

    (void)state;
    summary_render_text(&s, &out);
    assert_contains(
        out.data,
        "weir: done: 1,000 of 1,000 rows, 997 ok, 3 failed, in 1m30s (100 were done before)\n");
    assert_contains(out.data,
                    "rate       10.0 rows/s borne, of 12.3 requests/s offered; 18.1% refused\n");
    assert_contains(out.data, "requests   1,108: 200 refused, 8 retries of failures\n");
    assert_contains(out.data, "in flight  63 at most (of 64)\n");
    assert_contains(out.data,
                    "order      results waited 100ms for their turn on average, 2.0s at most\n");
    assert_contains(out.data, "throttle   aimd: delay 150ms at the end, 1.2s at its peak; refused "
                              "rows waited 30.0s in all\n");
    assert_contains(out.data, "tokens     1,234,567\n");
    assert_contains(out.data, "2 http_status, the first: HTTP 400  [31mBad\n");
    assert_contains(out.data, "1 timeout\n");
    assert_contains(out.data, "results    results.jsonl\n");
    assert_lacks(out.data, "go on");
    assert_null(strchr(out.data, '\033'));
    buf_free(&out);
}

static struct summary adaptive_sample(void)
{
    struct summary s = sample();

    s.throttle = "adaptive";
    s.batch.throttle_kind = THROTTLE_ADAPTIVE;
    s.batch.rate_min_rps = 4.1;
    s.batch.rate_max_rps = 20.25;
    s.batch.throttle = (struct throttle_state){.mode = THROTTLE_MODE_RATE,
                                               .rate_rps = 19.6,
                                               .window = SIZE_MAX,
                                               .reason = THROTTLE_REASON_TRIAL_REFUSED,
                                               .changes = 1072,
                                               .by_reason = {[THROTTLE_REASON_STRAY_REFUSAL] = 8,
                                                             [THROTTLE_REASON_CAPACITY_FELL] = 4,
                                                             [THROTTLE_REASON_BORNE] = 1031,
                                                             [THROTTLE_REASON_TRIAL_REFUSED] = 28,
                                                             [THROTTLE_REASON_OUTAGE] = 1}};
    return s;
}

static void pauses_that_the_service_asked_for_are_told(void **state)
{
    struct summary s = adaptive_sample();
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    summary_render_text(&s, &out);
    assert_lacks(out.data, "pauses");
    s.batch.pauses = 3;
    s.batch.paused_ns = 58 * NS_PER_S;
    buf_clear(&out);
    summary_render_text(&s, &out);
    assert_contains(out.data, "  pauses     the service asked for 3, of 58.0s in all\n");
    buf_clear(&out);
    summary_render_json(&s, &out);
    assert_contains(out.data, ",\"pauses\":3,\"paused_ms\":58000.000}");
}

static void the_adaptive_throttle_explains_itself(void **state)
{
    struct summary s = adaptive_sample();
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    summary_render_text(&s, &out);
    assert_contains(out.data,
                    "throttle   adaptive: paced at 19.6/s at the end; rates from 4.1 to 20.2/s\n"
                    "             12 cuts, 1,031 probes borne, 28 refused, 1 outage\n");
    s.batch.throttle.mode = THROTTLE_MODE_WINDOW;
    s.batch.throttle.window = s.batch.window_max = 40;
    s.batch.window_min = 12;
    buf_clear(&out);
    summary_render_text(&s, &out);
    assert_contains(out.data,
                    "adaptive: at most 40 in flight at the end; rates from 4.1 to 20.2/s; "
                    "windows from 12 to 40\n");
    throttle_state_init(&s.batch.throttle, THROTTLE_MODE_OPEN);
    buf_clear(&out);
    summary_render_text(&s, &out);
    assert_contains(out.data, "throttle   adaptive: no limit has shown\n");
    s.throttle = "none";
    s.batch.throttle_kind = THROTTLE_NONE;
    buf_clear(&out);
    summary_render_text(&s, &out);
    assert_contains(out.data, "throttle   none: refused rows waited 30.0s in all\n");
}

static void a_stopped_run_says_why_and_how_to_go_on(void **state)
{
    struct summary s = sample();
    struct buf out = {0};

    (void)state;
    s.end = SUMMARY_STOPPED;
    s.why = "interrupted (Ctrl-C)";
    s.resume = "run the same command again";
    summary_render_text(&s, &out);
    assert_contains(out.data, "weir: stopped: ");
    assert_contains(out.data, "stopped    interrupted (Ctrl-C)\n");
    assert_contains(out.data, "go on      run the same command again\n");
    buf_free(&out);
}

static struct slice at(const struct buf *json, const char *outer, const char *inner)
{
    struct slice value;

    if (!json_member(json_trim(buf_slice(json)), outer, &value))
        fail_msg("no %s in %s", outer, json->data);
    if (inner && !json_member(value, inner, &value))
        fail_msg("no %s.%s in %s", outer, inner, json->data);
    return value;
}

static void expect(const struct buf *json, const char *outer, const char *inner, const char *text)
{
    struct slice value = at(json, outer, inner);

    if (!slice_equal(value, slice_of(text)))
        fail_msg("%s.%s is %.*s, not %s", outer, inner ? inner : "", (int)value.len, value.data,
                 text);
}

static void the_json_has_the_statistics_under_the_names_of_the_design(void **state)
{
    struct summary s = sample();
    struct buf json = {0};

    (void)state;
    summary_render_json(&s, &json);
    assert_true(json_check(buf_slice(&json), NULL));
    expect(&json, "end", NULL, "\"complete\"");
    expect(&json, "rows", "total", "1000");
    expect(&json, "rows", "failed", "3");
    expect(&json, "rows", "done_before", "100");
    expect(&json, "pool_config", "pool_size", "64");
    expect(&json, "pool_config", "max_capacity_retry_seconds", "3600.000");
    expect(&json, "pool_config", "dispatch_delay_at_completion_ms", "150.000");
    expect(&json, "pool_stats", "capacity_retries", "200");
    expect(&json, "pool_stats", "successes", "897");
    expect(&json, "pool_stats", "failures", "3");
    expect(&json, "pool_stats", "peak_delay_ms", "1200.000");
    expect(&json, "pool_stats", "current_delay_ms", "100.000");
    expect(&json, "pool_stats", "total_throttle_time_ms", "30000.000");
    expect(&json, "pool_stats", "max_concurrent_reached", "63");
    expect(&json, "attempts", "sent", "1108");
    expect(&json, "order", "buffer_wait_mean_ms", "100.000");
    expect(&json, "rates", "refused_share", "0.1805");
    expect(&json, "statuses", "400", "1");
    expect(&json, "why", NULL, "null");
    expect(&json, "files", "journal", "\"results.jsonl.weir\"");
    expect(&json, "throttle_state", "mode", "\"delay\"");
    expect(&json, "throttle_state", "rate_per_s", "null");
    expect(&json, "throttle_state", "delay_ms", "100.000");
    expect(&json, "throttle_state", "rate_max_per_s", "null");
    expect(&json, "throttle_state", "by_reason", "{\"refused\":2,\"accepted\":1}");
    s = adaptive_sample();
    buf_clear(&json);
    summary_render_json(&s, &json);
    assert_true(json_check(buf_slice(&json), NULL));
    expect(&json, "throttle", NULL, "\"adaptive\"");
    expect(&json, "throttle_state", "mode", "\"rate\"");
    expect(&json, "throttle_state", "rate_per_s", "19.600");
    expect(&json, "throttle_state", "window", "null");
    expect(&json, "throttle_state", "reason", "\"trial_refused\"");
    expect(&json, "throttle_state", "rate_min_per_s", "4.100");
    expect(&json, "throttle_state", "rate_max_per_s", "20.250");
    expect(&json, "throttle_state", "window_max", "null");
    expect(&json, "throttle_state", "changes", "1072");
    expect(&json, "throttle_state", "by_reason",
           "{\"borne\":1031,\"trial_refused\":28,\"stray_refusal\":8,\"capacity_fell\":4,"
           "\"outage\":1}");
    s.total_known = false;
    buf_clear(&json);
    summary_render_json(&s, &json);
    assert_true(json_check(buf_slice(&json), NULL));
    expect(&json, "rows", "total", "null");
    buf_free(&json);
}

static void records_that_are_missing_are_told(void **state)
{
    _cleanup_buf_ struct buf text = {0}, json = {0};
    struct summary s = sample();

    (void)state;
    summary_render_text(&s, &text);
    assert_null(strstr(text.data, "missing"));
    s.batch.unrecorded = 12345;
    buf_clear(&text);
    summary_render_text(&s, &text);
    assert_non_null(strstr(text.data, "records of 12,345 attempts"));
    summary_render_json(&s, &json);
    expect(&json, "attempts", "unrecorded", "12345");
}

static void an_empty_run_divides_by_nothing(void **state)
{
    struct summary s = {0};
    struct buf out = {0};

    (void)state;
    summary_render_text(&s, &out);
    assert_contains(out.data, "weir: done: 0 rows, 0 ok, 0 failed, in 0ms\n");
    buf_clear(&out);
    summary_render_json(&s, &out);
    assert_true(json_check(buf_slice(&out), NULL));
    assert_lacks(out.data, "nan");
    assert_lacks(out.data, "inf");
    buf_free(&out);
}

static void many_statuses_and_long_messages_have_their_limits(void **state)
{
    struct summary s = {0};
    char message[SUMMARY_MESSAGE_BYTES * 3];
    uint64_t seen = 0;

    (void)state;
    for (size_t i = 0; i + 1 < sizeof(message); i += 2)
        memcpy(message + i, "\xc3\xa9", 2);
    message[sizeof(message) - 2] = '\0';
    for (int status = 400; status < 400 + SUMMARY_STATUSES_MAX + 5; status++) {
        struct core_answer a = failed(WEIR_REASON_HTTP_STATUS, status, message);

        summary_count(&s, &a);
    }
    assert_int_equal(s.statuses_other, 5);
    for (int i = 0; i < SUMMARY_STATUSES_MAX; i++)
        seen += s.statuses[i].rows;
    assert_int_equal(seen, SUMMARY_STATUSES_MAX);
    /* Cut between characters, not within one. */
    assert_int_equal(utf8_valid_prefix(slice_of(s.reasons[WEIR_REASON_HTTP_STATUS].first)),
                     strlen(s.reasons[WEIR_REASON_HTTP_STATUS].first));
}

static size_t entries(const char *dir)
{
    DIR *d = opendir(dir);
    size_t n = 0;

    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void the_file_is_replaced_as_a_whole_or_not_at_all(void **state)
{
    char dir[] = "/tmp/weir-summary-XXXXXX";
    char path[64], text[16] = {0};
    struct weir_error err = {0};
    struct stat st;
    struct rlimit limit, small;
    int fd;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/s.json", dir);
    assert_int_equal(summary_write(path, SLICE("{}\n"), &err), WEIR_OK);
    assert_int_equal(summary_write(path, SLICE("{\"a\":1}\n"), &err), WEIR_OK);
    fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, text, sizeof(text) - 1), 8);
    close(fd);
    assert_string_equal(text, "{\"a\":1}\n");
    assert_int_equal(entries(dir), 1);
    for (unsigned long n = 1; n < 5; n++) {
        mem_fail_at(n);
        if (summary_write(path, SLICE("{}\n"), &err) != WEIR_OK)
            assert_true(mem_has_failed());
        assert_int_equal(entries(dir), 1);
    }
    mem_fail_at(0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 2;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(summary_write(path, SLICE("{\"b\":2}\n"), &err), WEIR_E_IO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(entries(dir), 1);
    assert_int_equal(unlink(path), 0);

    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(summary_write(path, SLICE("{}\n"), &err), WEIR_E_IO);
    assert_contains(err.message, path);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(entries(dir), 0);
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(summary_write(path, SLICE("{}\n"), &err), WEIR_E_IO);

    assert_int_equal(summary_write("/dev/null", SLICE("{}\n"), &err), WEIR_OK);
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    assert_int_equal(summary_write("/dev/full", SLICE("{}\n"), &err), WEIR_E_IO);
    assert_contains(err.message, "No space left");
}

static void workers_are_told_only_where_there_are_some(void **state)
{
    struct summary s = sample();
    struct buf out = {0};

    (void)state;
    summary_render_text(&s, &out);
    assert_lacks(out.data, "workers");
    buf_clear(&out);
    summary_render_json(&s, &out);
    assert_lacks(out.data, "\"workers\"");
    buf_clear(&out);
    s.workers = (struct summary_workers){.known = true,
                                         .started = 5,
                                         .lost = 1,
                                         .replaced = 1,
                                         .breaker_opened = 2,
                                         .session_hits = 40,
                                         .session_misses = 3};
    summary_render_text(&s, &out);
    assert_contains(out.data,
                    "  workers    5 started, 1 lost, 1 replaced; the breaker opened 2 times\n");
    assert_contains(out.data, "  sessions   3 begun, 40 times found\n");
    buf_clear(&out);
    summary_render_json(&s, &out);
    assert_true(json_check(buf_slice(&out), NULL));
    assert_contains(out.data, ",\"workers\":{\"started\":5,\"failed_starts\":0,\"lost\":1,");
    buf_free(&out);
}

static void attempts_have_the_name_of_what_they_are(void **state)
{
    struct summary s = sample();
    struct buf out = {0};

    (void)state;
    s.attempts_are = "commands";
    summary_render_text(&s, &out);
    assert_contains(out.data, "commands/s offered");
    assert_contains(out.data, "\n  commands   1,108:");
    assert_lacks(out.data, "requests");
    buf_free(&out);
}

static void exit_codes_and_signals_of_failed_rows_are_counted(void **state)
{
    struct summary s = {0};
    struct core_answer exited = failed(WEIR_REASON_EXIT_STATUS, 3, "exit status 3");
    struct core_answer killed = failed(WEIR_REASON_SIGNALLED, -9, "killed");
    struct core_answer unstarted = failed(WEIR_REASON_START_FAILED, 0, "no such file");

    (void)state;
    summary_count(&s, &exited);
    summary_count(&s, &killed);
    summary_count(&s, &killed);
    summary_count(&s, &unstarted);
    assert_int_equal(s.statuses[0].status, 3);
    assert_int_equal(s.statuses[1].status, -9);
    assert_int_equal(s.statuses[1].rows, 2);
    assert_int_equal(s.statuses[2].rows, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_are_told_only_where_there_are_some),
        cmocka_unit_test(attempts_have_the_name_of_what_they_are),
        cmocka_unit_test(exit_codes_and_signals_of_failed_rows_are_counted),
        cmocka_unit_test(the_text_says_what_a_person_asks),
        cmocka_unit_test(pauses_that_the_service_asked_for_are_told),
        cmocka_unit_test(the_adaptive_throttle_explains_itself),
        cmocka_unit_test(a_stopped_run_says_why_and_how_to_go_on),
        cmocka_unit_test(the_json_has_the_statistics_under_the_names_of_the_design),
        cmocka_unit_test(records_that_are_missing_are_told),
        cmocka_unit_test(an_empty_run_divides_by_nothing),
        cmocka_unit_test(many_statuses_and_long_messages_have_their_limits),
        cmocka_unit_test(the_file_is_replaced_as_a_whole_or_not_at_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
