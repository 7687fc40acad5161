/* The job log: GNU parallel's lines, and which rows one says are done, also after a crash in the middle of a line. */
#include "unit/cli/cli_test.h"

#include "base/mem.h"
#include "cli/command/joblog.h"

static struct weir_error err;

#define HEAD "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"

static void lines_are_those_of_gnu_parallel(void **state)
{
    struct buf out = {0};

    (void)state;
    joblog_put_head(&out);
    joblog_put(&out, &(struct joblog_entry){.seq = 2,
                                            .start_ns = INT64_C(1795894383600999999),
                                            .run_ns = 1500000,
                                            .sent_bytes = 3,
                                            .received_bytes = 4,
                                            .exit_code = 1,
                                            .command = SLICE("exit 1")});
    joblog_put(&out, &(struct joblog_entry){.seq = 3,
                                            .signal = 9,
                                            .run_ns = INT64_C(12345678900000000),
                                            .command = SLICE("a\tb\nc")});
    assert_string_equal(out.data, HEAD "2\t:\t1795894383.600\t     0.002\t3\t4\t1\t0\texit 1\n"
                                       "3\t:\t0.000\t12345678.900\t0\t0\t0\t9\ta b c\n");
    buf_free(&out);
}

static void what_has_ended_is_done_and_a_later_line_stands(void **state)
{
    static const char log[] = HEAD "1\t:\t1.0\t0.1\t0\t0\t0\t0\ta\tb\n"
                                   "9\t:\t1.0\t0.1\t0\t0\t3\t0\ta\n"
                                   "3\thost\t1.0\t0.1\t0\t0\t0\t9\ta\n"
                                   "4\t:\t1.0\t0.1\t0\t0\t-1\t15\ta\n"
                                   "9\t:\t1.0\t0.1\t0\t0\t0\t0\ta\n"
                                   "1\t:\t1.0\t0.1\t0\t0\t1\t0\ta\n"
                                   "7\t:\t1.0\t0.1\t0\t0\t0\t0\tcut of";
    struct joblog_done all = {0}, ok = {0};
    uint64_t bytes = 0;

    (void)state;
    assert_int_equal(joblog_done_read(&all, slice_of(log), false, &bytes, &err), WEIR_OK);
    assert_int_equal(bytes, strlen(log) - strlen("7\t:\t1.0\t0.1\t0\t0\t0\t0\tcut of"));
    assert_int_equal(joblog_done_read(&ok, slice_of(log), true, &bytes, &err), WEIR_OK);
    for (uint64_t seq = 0; seq < 20; seq++) {
        assert_int_equal(joblog_done_has(&all, seq), seq == 1 || seq == 3 || seq == 4 || seq == 9);
        assert_int_equal(joblog_done_has(&ok, seq), seq == 9);
    }
    assert_int_equal(all.rows, 4);
    assert_int_equal(ok.rows, 1);
    assert_false(joblog_done_has(&all, UINT64_MAX));
    joblog_done_free(&all);
    joblog_done_free(&ok);
}

static void an_empty_log_is_one_and_another_text_is_none(void **state)
{
    static const struct {
        const char *text, *told;
    } cases[] = {
        {"hello\n", "no job log"},
        {HEAD "1\t:\t1.0\n", "line 2 has fewer"},
        {HEAD "x\t:\t1.0\t0.1\t0\t0\t0\t0\ta\n", "line 2 has no row's number"},
        {HEAD "0\t:\t1.0\t0.1\t0\t0\t0\t0\ta\n", "line 2 has no row's number"},
        {HEAD "536870913\t:\t1.0\t0.1\t0\t0\t0\t0\ta\n", "line 2 has no row's number"},
        {HEAD "1\t:\t1.0\t0.1\t0\t0\t\t0\ta\n", "Exitval"},
        {HEAD "1\t:\t1.0\t0.1\t0\t0\t0\t-\ta\n", "Signal"},
    };
    struct joblog_done done = {0};
    uint64_t bytes = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(joblog_done_read(&done, slice_of(cases[i].text), false, &bytes, &err),
                         WEIR_E_FORMAT);
        assert_contains(err.message, cases[i].told);
        joblog_done_free(&done);
    }
    assert_int_equal(joblog_done_read(&done, SLICE(""), false, &bytes, &err), WEIR_OK);
    assert_int_equal(bytes, 0);
    assert_false(joblog_done_has(&done, 1));
    assert_true(joblog_is_one(SLICE(HEAD)));
    assert_false(joblog_is_one(SLICE("Seq\tHost\n")));
}

static void a_lack_of_memory_is_told(void **state)
{
    struct joblog_done done = {0};
    uint64_t bytes;

    (void)state;
    mem_fail_at(1);
    assert_int_equal(
        joblog_done_read(&done, SLICE(HEAD "1\t:\t1.0\t0.1\t0\t0\t0\t0\ta\n"), false, &bytes, &err),
        WEIR_E_NOMEM);
    mem_fail_at(0);
    joblog_done_free(&done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_those_of_gnu_parallel),
        cmocka_unit_test(what_has_ended_is_done_and_a_later_line_stands),
        cmocka_unit_test(an_empty_log_is_one_and_another_text_is_none),
        cmocka_unit_test(a_lack_of_memory_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
