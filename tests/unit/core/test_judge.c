/*
 * The table of outcomes of design 3, line by line: what follows from how an attempt ended.
 */
#include "core/judge.h"

#include "core/worker/recovery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct core_pool_options options;
static struct rng jitter;

static int setup(void **state)
{
    (void)state;
    core_pool_options_init(&options);
    options.max_attempts = 3;
    options.backoff.jitter = 0;
    rng_seed(&jitter, 1);
    return 0;
}

static struct judgement judge(enum weir_outcome outcome, bool retryable, uint32_t failures)
{
    struct core_answer a;

    answer_init(&a);
    a.outcome = outcome;
    a.retryable = retryable;
    return judge_answer(&options, &a, failures, 0, &jitter);
}

static void a_refused_row_is_retried_until_its_time_is_up(void **state)
{
    (void)state;
    options.max_capacity_retry_ns = 10 * NS_PER_S;
    assert_int_equal(judge_capacity(&options, 0).verdict, JUDGE_RETRY);
    assert_int_equal(judge_capacity(&options, 10 * NS_PER_S - 1).verdict, JUDGE_RETRY);
}

static void at_the_limit_itself_a_refused_row_fails_with_retry_timeout(void **state)
{
    struct judgement j;

    (void)state;
    options.max_capacity_retry_ns = 10 * NS_PER_S;
    j = judge_capacity(&options, 10 * NS_PER_S);
    assert_int_equal(j.verdict, JUDGE_FAIL);
    assert_int_equal(j.reason, WEIR_REASON_RETRY_TIMEOUT);
    assert_int_equal(judge_capacity(&options, INT64_MAX).verdict, JUDGE_FAIL);
}

static void ok_is_the_result(void **state)
{
    (void)state;
    assert_int_equal(judge(WEIR_OUTCOME_OK, false, 1).verdict, JUDGE_FINISH);
    assert_int_equal(judge(WEIR_OUTCOME_OK, true, 1).verdict, JUDGE_FINISH);
}

static void what_is_retryable_is_tried_max_attempts_times(void **state)
{
    static const enum weir_outcome retryable[] = {WEIR_OUTCOME_FAILED, WEIR_OUTCOME_LOST,
                                                  WEIR_OUTCOME_TIMEOUT};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(judge(retryable[i], true, 1).verdict, JUDGE_RETRY);
        assert_int_equal(judge(retryable[i], true, 2).verdict, JUDGE_RETRY);
        assert_int_equal(judge(retryable[i], true, 3).verdict, JUDGE_FINISH);
    }
    options.max_attempts = 1;
    assert_int_equal(judge(WEIR_OUTCOME_FAILED, true, 1).verdict, JUDGE_FINISH);
}

static void a_timeout_and_a_lost_worker_are_retryable_without_saying_so(void **state)
{
    (void)state;
    assert_int_equal(judge(WEIR_OUTCOME_TIMEOUT, false, 1).verdict, JUDGE_RETRY);
    assert_int_equal(judge(WEIR_OUTCOME_LOST, false, 1).verdict, JUDGE_RETRY);
}

static void a_permanent_failure_is_the_result_at_once(void **state)
{
    (void)state;
    assert_int_equal(judge(WEIR_OUTCOME_FAILED, false, 1).verdict, JUDGE_FINISH);
}

static void after_the_deadline_there_is_no_further_attempt(void **state)
{
    struct core_answer a;

    (void)state;
    answer_init(&a);
    a.outcome = WEIR_OUTCOME_TIMEOUT;
    a.reason = WEIR_REASON_DEADLINE;
    a.retryable = true;
    assert_int_equal(judge_answer(&options, &a, 1, 0, &jitter).verdict, JUDGE_FINISH);
}

static void what_was_cancelled_is_not_tried_again(void **state)
{
    (void)state;
    assert_int_equal(judge(WEIR_OUTCOME_CANCELLED, true, 1).verdict, JUDGE_FINISH);
}

static void the_wait_follows_the_backoff_of_the_pool(void **state)
{
    (void)state;
    options.max_attempts = 9;
    assert_int_equal(judge(WEIR_OUTCOME_FAILED, true, 1).wait_ns, 500 * NS_PER_MS);
    assert_int_equal(judge(WEIR_OUTCOME_FAILED, true, 3).wait_ns, 2000 * NS_PER_MS);
}

static void only_what_is_the_rows_own_failure_counts_as_an_attempt(void **state)
{
    static const bool counts[] = {
        [WEIR_OUTCOME_OK] = true,     [WEIR_OUTCOME_CAPACITY] = false,
        [WEIR_OUTCOME_FAILED] = true, [WEIR_OUTCOME_TIMEOUT] = true,
        [WEIR_OUTCOME_LOST] = true,   [WEIR_OUTCOME_CANCELLED] = false,
    };
    struct core_answer a;

    (void)state;
    answer_init(&a);
    for (int o = 0; o <= WEIR_OUTCOME_CANCELLED; o++) {
        a.outcome = (enum weir_outcome)o;
        assert_int_equal(judge_counts(&a), counts[o]);
    }
}

/* ---- by the recovery table, line by line of design 5 ---- */

static struct core_answer failure(enum weir_outcome outcome, enum weir_reason reason,
                                  bool retryable)
{
    struct core_answer a;

    answer_init(&a);
    a.outcome = outcome;
    a.reason = reason;
    a.retryable = retryable;
    return a;
}

static void by_the_table_each_failure_has_its_retries_its_wait_and_its_way(void **state)
{
    static const struct {
        enum weir_outcome outcome;
        enum weir_reason reason;
        bool retryable;
        enum judge_verdict first;
        duration_ns wait_ns;
        uint32_t retries;
        bool breaks;
    } lines[] = {
        {WEIR_OUTCOME_LOST, WEIR_REASON_CONNECTION_LOST, false, JUDGE_RETRY, 0, 5, false},
        {WEIR_OUTCOME_LOST, WEIR_REASON_PROTOCOL, false, JUDGE_RETRY, 0, 3, false},
        {WEIR_OUTCOME_TIMEOUT, WEIR_REASON_TIMEOUT, true, JUDGE_RETRY, 3 * NS_PER_S, 2, false},
        {WEIR_OUTCOME_FAILED, WEIR_REASON_CALLBACK, true, JUDGE_RETRY, NS_PER_S, 3, false},
        {WEIR_OUTCOME_FAILED, WEIR_REASON_INTERNAL, true, JUDGE_RETRY, 0, 1, true},
        {WEIR_OUTCOME_FAILED, WEIR_REASON_INTERNAL, false, JUDGE_FINISH, 0, 0, false},
        {WEIR_OUTCOME_FAILED, WEIR_REASON_CALLBACK, false, JUDGE_FINISH, 0, 0, false},
        {WEIR_OUTCOME_TIMEOUT, WEIR_REASON_DEADLINE, false, JUDGE_FINISH, 0, 0, false},
        {WEIR_OUTCOME_CANCELLED, WEIR_REASON_SHUTDOWN_REQUESTED, false, JUDGE_FINISH, 0, 0, false},
        {WEIR_OUTCOME_OK, WEIR_REASON_NONE, false, JUDGE_FINISH, 0, 0, false},
    };

    (void)state;
    options.recovery = recovery_table();
    options.max_attempts = 100;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct core_answer a = failure(lines[i].outcome, lines[i].reason, lines[i].retryable);
        struct judge_case c = {.failures = 1};
        struct judgement j = judge_by_table(&options, &a, &c, &jitter);
        uint32_t retries = 0;

        assert_int_equal(j.verdict, lines[i].first);
        assert_int_equal(j.break_circuit, lines[i].breaks);
        if (j.verdict == JUDGE_RETRY)
            assert_int_equal(j.wait_ns, lines[i].wait_ns);
        for (; j.verdict == JUDGE_RETRY; j = judge_by_table(&options, &a, &c, &jitter)) {
            retries++;
            c.failures++;
            c.last_wait_ns = j.wait_ns;
        }
        assert_int_equal(retries, lines[i].retries);
    }
}

static void by_the_table_too_there_are_no_more_than_max_attempts(void **state)
{
    struct core_answer a = failure(WEIR_OUTCOME_LOST, WEIR_REASON_CONNECTION_LOST, false);
    struct judge_case c = {.failures = 2};

    (void)state;
    options.recovery = recovery_table();
    options.max_attempts = 2;
    assert_int_equal(judge_by_table(&options, &a, &c, &jitter).verdict, JUDGE_FINISH);
    c.failures = 1;
    assert_int_equal(judge_by_table(&options, &a, &c, &jitter).verdict, JUDGE_RETRY);
}

/* Of what may pass; what is left to the table is tried as often as it says. */
static void what_was_said_goes_before_the_table(void **state)
{
    static const struct {
        enum weir_outcome outcome;
        enum weir_reason reason;
        bool retryable;
        uint32_t attempts, when_given_2, when_given_8;
    } lines[] = {
        {WEIR_OUTCOME_LOST, WEIR_REASON_CONNECTION_LOST, false, 6, 2, 8},
        {WEIR_OUTCOME_LOST, WEIR_REASON_PROTOCOL, false, 4, 2, 8},
        {WEIR_OUTCOME_TIMEOUT, WEIR_REASON_TIMEOUT, true, 3, 2, 8},
        {WEIR_OUTCOME_TIMEOUT, WEIR_REASON_CHECKOUT_TIMEOUT, true, 3, 2, 8},
        {WEIR_OUTCOME_FAILED, WEIR_REASON_WORKER_ERROR, true, 4, 2, 8},
        {WEIR_OUTCOME_FAILED, WEIR_REASON_INTERNAL, true, 2, 2, 2},
        {WEIR_OUTCOME_FAILED, WEIR_REASON_INTERNAL, false, 1, 1, 1},
        {WEIR_OUTCOME_FAILED, WEIR_REASON_WORKER_ERROR, false, 1, 1, 1},
        {WEIR_OUTCOME_TIMEOUT, WEIR_REASON_DEADLINE, false, 1, 1, 1},
    };
    static const uint32_t given[] = {0, 2, 8};

    (void)state;
    options.recovery = recovery_table();
    options.backoff.initial_ns = options.backoff.ceiling_ns = 7 * NS_PER_S;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct core_answer a = failure(lines[i].outcome, lines[i].reason, lines[i].retryable);
        const uint32_t attempts[] = {lines[i].attempts, lines[i].when_given_2,
                                     lines[i].when_given_8};

        for (size_t g = 0; g < 3; g++) {
            struct judge_case c = {
                .failures = 1, .max_attempts_given = given[g] > 0, .backoff_given = true};
            struct judgement j;

            options.max_attempts = given[g] > 0 ? given[g] : UINT32_MAX;
            for (;; c.failures++) {
                j = judge_by_table(&options, &a, &c, &jitter);
                if (j.verdict != JUDGE_RETRY)
                    break;
                assert_int_equal(j.wait_ns, 7 * NS_PER_S);
            }
            assert_int_equal(j.verdict, JUDGE_FINISH);
            assert_int_equal(c.failures, attempts[g]);
        }
    }
}

static void what_fails_for_good_fails_over_once_where_there_is_a_fallback_pool(void **state)
{
    struct core_answer a = failure(WEIR_OUTCOME_FAILED, WEIR_REASON_CALLBACK, false);
    struct judge_case c = {.failures = 1, .has_fallback = true};

    (void)state;
    options.recovery = recovery_table();
    assert_int_equal(judge_by_table(&options, &a, &c, &jitter).verdict, JUDGE_FAIL_OVER);
    c.last_try = true;
    assert_int_equal(judge_by_table(&options, &a, &c, &jitter).verdict, JUDGE_FINISH);
    options.recovery = NULL; /* of the fallback pool: its last try is that all the same */
    a.retryable = true;
    assert_int_equal(judge_by_table(&options, &a, &c, &jitter).verdict, JUDGE_FINISH);
}

static void when_all_workers_are_affected_a_retry_breaks_the_circuit(void **state)
{
    struct core_answer a = failure(WEIR_OUTCOME_LOST, WEIR_REASON_CONNECTION_LOST, false);
    struct judge_case c = {.failures = 1};

    (void)state;
    options.recovery = recovery_table();
    assert_false(judge_by_table(&options, &a, &c, &jitter).break_circuit);
    c.all_workers = true;
    assert_true(judge_by_table(&options, &a, &c, &jitter).break_circuit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_refused_row_is_retried_until_its_time_is_up, setup),
        cmocka_unit_test_setup(at_the_limit_itself_a_refused_row_fails_with_retry_timeout, setup),
        cmocka_unit_test_setup(ok_is_the_result, setup),
        cmocka_unit_test_setup(what_is_retryable_is_tried_max_attempts_times, setup),
        cmocka_unit_test_setup(a_timeout_and_a_lost_worker_are_retryable_without_saying_so, setup),
        cmocka_unit_test_setup(a_permanent_failure_is_the_result_at_once, setup),
        cmocka_unit_test_setup(after_the_deadline_there_is_no_further_attempt, setup),
        cmocka_unit_test_setup(what_was_cancelled_is_not_tried_again, setup),
        cmocka_unit_test_setup(the_wait_follows_the_backoff_of_the_pool, setup),
        cmocka_unit_test_setup(by_the_table_each_failure_has_its_retries_its_wait_and_its_way,
                               setup),
        cmocka_unit_test_setup(by_the_table_too_there_are_no_more_than_max_attempts, setup),
        cmocka_unit_test_setup(what_was_said_goes_before_the_table, setup),
        cmocka_unit_test_setup(what_fails_for_good_fails_over_once_where_there_is_a_fallback_pool,
                               setup),
        cmocka_unit_test_setup(when_all_workers_are_affected_a_retry_breaks_the_circuit, setup),
        cmocka_unit_test_setup(only_what_is_the_rows_own_failure_counts_as_an_attempt, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
