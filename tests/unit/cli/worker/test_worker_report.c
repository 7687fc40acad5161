/* What weir worker check prints, from results that are made up. */
#include "cli/worker/report.h"

#include "../cli_test.h"
#include "base/json.h"

static const struct check one = {"start", "it starts", CHECK_ALWAYS, NULL};
static const struct check two = {"ping", "it answers", CHECK_STARTS, NULL};

static void put_text(struct buf *b, const char *text)
{
    buf_puts(b, text);
}

/* The report of two results, and of what was said on standard error. */
static void report(struct buf *out, bool json, const char *said, uint64_t said_bytes)
{
    struct worker_options o = {.line = "my \"worker\""};
    struct candidate candidate = {.said_bytes = said_bytes};
    struct check_run r = {.candidate = &candidate, .max_in_flight = 4};
    struct report rep = {.json = json};

    put_text(&candidate.said, said);
    report_begin(&rep, out, &o);
    report_result(&rep, out, &one, &(struct check_result){.verdict = CHECK_OK, .took_ns = 1500000});
    report_result(&rep, out, &two,
                  &(struct check_result){.verdict = CHECK_FAIL, .text = SLICE("no \"answer\"")});
    report_result(&rep, out, &two,
                  &(struct check_result){.verdict = CHECK_SKIP, .text = SLICE("no start")});
    report_end(&rep, out, &r);
    buf_free(&candidate.said);
}

static void lines_for_a_person(void **state)
{
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    report(&out, false, "", 0);
    assert_string_equal(out.data, "ok    start     it starts\n"
                                  "FAIL  ping      it answers: no \"answer\"\n"
                                  "skip  ping      it answers (no start)\n"
                                  "1 ok, 1 failed, 1 skipped\n");
}

static void one_object_for_a_program(void **state)
{
    _cleanup_buf_ struct buf out = {0};
    struct slice value;

    (void)state;
    report(&out, true, "a\xff\x1b", 3);
    assert_true(json_check(buf_slice(&out), NULL));
    assert_true(json_member(buf_slice(&out), "worker", &value));
    assert_true(json_string_equals(value, SLICE("my \"worker\"")));
    assert_contains(out.data, "\"verdict\":\"failed\",\"text\":\"no \\\"answer\\\"\"");
    assert_contains(out.data, "\"verdict\":\"ok\",\"text\":\"\",\"duration_ms\":1.5}");
    assert_contains(out.data,
                    "\"ok\":false,\"passed\":1,\"failed\":1,\"skipped\":1,\"max_in_flight\":4");
}

static void standard_error_is_shown_line_by_line(void **state)
{
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    report(&out, false, "one\n\ntwo\x1b[31m\nthree", 19);
    assert_contains(out.data, "goes to the log:\n    one\n    \n    two?[31m\n    three\n1 ok");
}

static void long_standard_error_is_cut(void **state)
{
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    report(&out, false, "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n", 25);
    assert_contains(out.data, "    10\n    ... (25 bytes in all)\n");
    assert_lacks(out.data, "    11\n");
    buf_clear(&out);
    report(&out, false, "1\n", 5000);
    assert_contains(out.data, "    1\n    ... (5000 bytes in all)\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_for_a_person),
        cmocka_unit_test(one_object_for_a_program),
        cmocka_unit_test(standard_error_is_shown_line_by_line),
        cmocka_unit_test(long_standard_error_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
