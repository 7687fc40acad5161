/* Recovery: the two tables of the contract, line by line, and what raises a severity. */
#include "core/worker/recovery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NEVER (-1)

/* The contract's two tables in one; waits are those before the first, second, ... retry, in seconds. */
static const struct line {
    enum recovery_category category;
    enum recovery_severity severity;
    enum recovery_strategy strategy;
    int waits_s[7]; /* NEVER: no such retry */
} lines[] = {
    {RECOVERY_INITIALIZATION, RECOVERY_CRITICAL, RECOVERY_BREAK_CIRCUIT, {1, 1, 2, NEVER}},
    {RECOVERY_CONNECTION, RECOVERY_MAJOR, RECOVERY_RETRY, {0, 1, 2, 4, 8, NEVER}},
    {RECOVERY_COMMUNICATION, RECOVERY_MAJOR, RECOVERY_RETRY_AT_ONCE, {0, 1, 2, NEVER}},
    {RECOVERY_TIMEOUT, RECOVERY_MAJOR, RECOVERY_RETRY, {3, 3, NEVER}},
    {RECOVERY_RESOURCE, RECOVERY_CRITICAL, RECOVERY_BREAK_CIRCUIT, {0, NEVER}},
    {RECOVERY_HEALTH_CHECK, RECOVERY_MINOR, RECOVERY_RETRY, {5, 5, 5, NEVER}},
    {RECOVERY_SESSION, RECOVERY_MINOR, RECOVERY_RETRY_AT_ONCE, {0, 0, NEVER}},
    {RECOVERY_REMOTE_TEMPORARY, RECOVERY_MAJOR, RECOVERY_RETRY, {1, 1, 2, NEVER}},
    {RECOVERY_SYSTEM, RECOVERY_CRITICAL, RECOVERY_GIVE_UP, {NEVER}},
};

static struct recovery_decision decide(enum recovery_category category, struct recovery_case c)
{
    struct rng rng;

    rng_seed(&rng, 1);
    return recovery_decide(recovery_table(), category, &c, &rng);
}

static void each_line_of_the_table_gives_its_retries_and_waits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        const struct line *l = &lines[i];
        duration_ns last_ns = 0;

        for (uint32_t n = 1;; n++) {
            struct recovery_decision d =
                decide(l->category, (struct recovery_case){.attempt = n, .last_wait_ns = last_ns});

            assert_int_equal(d.strategy, l->strategy);
            assert_int_equal(d.break_circuit, l->strategy == RECOVERY_BREAK_CIRCUIT);
            assert_int_equal(d.again, l->waits_s[n - 1] != NEVER);
            if (!d.again)
                break;
            assert_int_equal(d.wait_ns, l->waits_s[n - 1] * NS_PER_S);
            last_ns = d.wait_ns;
        }
    }
}

static void each_category_has_its_severity_which_three_attempts_raise_by_a_step(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        enum recovery_severity s = lines[i].severity;
        enum recovery_severity raised = s == RECOVERY_CRITICAL ? s : s + 1;

        for (uint32_t n = 1; n < 6; n++)
            assert_int_equal(
                decide(lines[i].category, (struct recovery_case){.attempt = n}).severity,
                n < 3 ? s : raised);
    }
}

static void when_all_workers_are_affected_a_retry_breaks_the_circuit(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct recovery_decision d =
            decide(lines[i].category, (struct recovery_case){.attempt = 1, .all_workers = true});
        bool gives_up = lines[i].strategy == RECOVERY_GIVE_UP;

        assert_int_equal(d.severity, RECOVERY_CRITICAL);
        assert_int_equal(d.break_circuit, !gives_up);
        assert_int_equal(d.strategy, gives_up ? RECOVERY_GIVE_UP : RECOVERY_BREAK_CIRCUIT);
        assert_int_equal(d.again, !gives_up); /* once the circuit is closed again */
    }
}

static const struct backoff_options said = {.kind = BACKOFF_EXPONENTIAL,
                                            .initial_ns = 7 * NS_PER_S,
                                            .factor = 2,
                                            .ceiling_ns = 20 * NS_PER_S};

static void what_is_said_of_attempts_bounds_what_is_retried_in_place_of_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        const struct line *l = &lines[i];
        bool retried = l->strategy == RECOVERY_RETRY || l->strategy == RECOVERY_RETRY_AT_ONCE;

        for (uint32_t n = 1; n <= 10; n++) {
            const struct recovery_rule *rule = &recovery_table()->rules[l->category];
            bool by_table = n <= rule->retries;
            struct recovery_decision more =
                decide(l->category, (struct recovery_case){.attempt = n, .max_attempts = 9});
            struct recovery_decision less =
                decide(l->category, (struct recovery_case){.attempt = n, .max_attempts = 2});

            assert_int_equal(more.again, retried ? n < 9 : by_table);
            assert_int_equal(less.again, retried ? n < 2 : by_table);
            assert_int_equal(more.strategy, l->strategy);
            /* The table's waits go on behind its last retry. */
            if (more.again && n >= 6 && rule->backs_off && rule->backoff == BACKOFF_EXPONENTIAL)
                assert_int_equal(more.wait_ns, (n == 6 ? 16 : 30) * NS_PER_S);
            if (more.again && by_table)
                assert_int_equal(more.wait_ns, l->waits_s[n - 1] * NS_PER_S);
        }
    }
}

static void what_is_said_of_waits_holds_in_place_of_each_of_the_tables(void **state)
{
    static const int waits_s[] = {7, 14, 20, 20, 20, 20};

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        const struct line *l = &lines[i];

        for (uint32_t n = 1; n <= 6; n++) {
            struct recovery_decision d =
                decide(l->category, (struct recovery_case){.attempt = n, .backoff = &said});

            assert_int_equal(d.again, n <= recovery_table()->rules[l->category].retries);
            assert_int_equal(d.wait_ns, d.again ? waits_s[n - 1] * NS_PER_S : 0);
        }
    }
}

static void what_is_said_lets_nothing_fail_over_more_often_or_later(void **state)
{
    struct recovery_decision d;

    (void)state;
    d = decide(RECOVERY_REMOTE_EXCEPTION,
               (struct recovery_case){.attempt = 1, .max_attempts = 9, .backoff = &said});
    assert_false(d.again);
    d = decide(RECOVERY_REMOTE_EXCEPTION,
               (struct recovery_case){
                   .attempt = 1, .max_attempts = 9, .backoff = &said, .has_fallback = true});
    assert_int_equal(d.strategy, RECOVERY_FAIL_OVER);
    assert_true(d.again);
    assert_int_equal(d.wait_ns, 0);
}

/* However critical: it says nothing about the other tasks. */
static void one_task_that_fails_again_and_again_does_not_break_the_circuit(void **state)
{
    struct recovery_decision d = decide(RECOVERY_CONNECTION, (struct recovery_case){.attempt = 5});

    (void)state;
    assert_int_equal(d.severity, RECOVERY_CRITICAL);
    assert_int_equal(d.strategy, RECOVERY_RETRY);
    assert_false(d.break_circuit);
    assert_true(d.again);
}

static void a_remote_exception_fails_over_once_where_there_is_a_fallback(void **state)
{
    struct recovery_decision d;

    (void)state;
    d = decide(RECOVERY_REMOTE_EXCEPTION,
               (struct recovery_case){.attempt = 1, .has_fallback = true});
    assert_int_equal(d.strategy, RECOVERY_FAIL_OVER);
    assert_int_equal(d.severity, RECOVERY_MAJOR);
    assert_true(d.again);
    assert_int_equal(d.wait_ns, 0);
    /* after failures of other kinds too */
    d = decide(RECOVERY_REMOTE_EXCEPTION,
               (struct recovery_case){.attempt = 4, .has_fallback = true, .all_workers = true});
    assert_int_equal(d.strategy, RECOVERY_FAIL_OVER);
    assert_true(d.again);
    assert_false(d.break_circuit);
    d = decide(RECOVERY_REMOTE_EXCEPTION, (struct recovery_case){.attempt = 1});
    assert_int_equal(d.strategy, RECOVERY_GIVE_UP);
    assert_false(d.again);
}

static void waits_end_at_the_ceiling_in_another_table(void **state)
{
    struct recovery_table t = *recovery_table();
    struct recovery_decision d;
    struct rng rng;

    (void)state;
    rng_seed(&rng, 1);
    t.rules[RECOVERY_CONNECTION].retries = 100;
    d = recovery_decide(&t, RECOVERY_CONNECTION, &(struct recovery_case){.attempt = 50}, &rng);
    assert_true(d.again);
    assert_int_equal(d.wait_ns, 30 * NS_PER_S);
    t.rules[RECOVERY_CONNECTION].backoff = BACKOFF_FIBONACCI;
    d = recovery_decide(&t, RECOVERY_CONNECTION, &(struct recovery_case){.attempt = 6}, &rng);
    assert_int_equal(d.wait_ns, 5 * NS_PER_S);
    t.rules[RECOVERY_CONNECTION].backoff = BACKOFF_DECORRELATED;
    for (int i = 0; i < 100; i++) {
        d = recovery_decide(&t, RECOVERY_CONNECTION,
                            &(struct recovery_case){.attempt = 4, .last_wait_ns = 4 * NS_PER_S},
                            &rng);
        assert_in_range(d.wait_ns, 1 * NS_PER_S, 12 * NS_PER_S);
    }
}

static void an_answer_says_its_category(void **state)
{
    static const struct {
        enum weir_outcome outcome;
        enum weir_reason reason;
        bool retryable;
        enum recovery_category category;
    } cases[] = {
        {WEIR_OUTCOME_TIMEOUT, WEIR_REASON_TIMEOUT, false, RECOVERY_TIMEOUT},
        {WEIR_OUTCOME_TIMEOUT, WEIR_REASON_CHECKOUT_TIMEOUT, false, RECOVERY_SESSION},
        {WEIR_OUTCOME_LOST, WEIR_REASON_CONNECTION_LOST, false, RECOVERY_CONNECTION},
        {WEIR_OUTCOME_LOST, WEIR_REASON_NO_OUTCOME, false, RECOVERY_CONNECTION},
        {WEIR_OUTCOME_LOST, WEIR_REASON_PROTOCOL, false, RECOVERY_COMMUNICATION},
        {WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_PROTOCOL, true, RECOVERY_COMMUNICATION},
        {WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_LOST, true, RECOVERY_CONNECTION},
        {WEIR_OUTCOME_FAILED, WEIR_REASON_WORKER_ERROR, true, RECOVERY_REMOTE_TEMPORARY},
        {WEIR_OUTCOME_FAILED, WEIR_REASON_WORKER_ERROR, false, RECOVERY_REMOTE_EXCEPTION},
        {WEIR_OUTCOME_FAILED, WEIR_REASON_PROTOCOL, true, RECOVERY_COMMUNICATION},
        {WEIR_OUTCOME_LOST, WEIR_REASON_RESPONSE_TOO_LARGE, false, RECOVERY_COMMUNICATION},
        {WEIR_OUTCOME_FAILED, WEIR_REASON_CALLBACK, true, RECOVERY_REMOTE_TEMPORARY},
        {WEIR_OUTCOME_FAILED, WEIR_REASON_CALLBACK, false, RECOVERY_REMOTE_EXCEPTION},
        {WEIR_OUTCOME_FAILED, WEIR_REASON_INTERNAL, false, RECOVERY_SYSTEM},
        {WEIR_OUTCOME_FAILED, WEIR_REASON_INTERNAL, true, RECOVERY_RESOURCE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct core_answer a;

        answer_init(&a);
        a.outcome = cases[i].outcome;
        a.reason = cases[i].reason;
        a.retryable = cases[i].retryable;
        assert_int_equal(recovery_category(&a), cases[i].category);
    }
}

static void each_word_has_a_spelling(void **state)
{
    (void)state;
    assert_string_equal(recovery_category_name(RECOVERY_INITIALIZATION), "initialization");
    assert_string_equal(recovery_category_name(RECOVERY_SYSTEM), "system");
    for (int i = 0; i < RECOVERY_CATEGORIES; i++)
        assert_string_not_equal(recovery_category_name((enum recovery_category)i), "unknown");
    assert_string_equal(recovery_category_name(RECOVERY_CATEGORIES), "unknown");
    assert_string_equal(recovery_severity_name(RECOVERY_MINOR), "minor");
    assert_string_equal(recovery_severity_name(RECOVERY_CRITICAL), "critical");
    assert_string_equal(recovery_severity_name((enum recovery_severity)9), "unknown");
    assert_string_equal(recovery_strategy_name(RECOVERY_RETRY), "retry");
    assert_string_equal(recovery_strategy_name(RECOVERY_GIVE_UP), "give_up");
    assert_string_equal(recovery_strategy_name((enum recovery_strategy)9), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_of_the_table_gives_its_retries_and_waits),
        cmocka_unit_test(each_category_has_its_severity_which_three_attempts_raise_by_a_step),
        cmocka_unit_test(when_all_workers_are_affected_a_retry_breaks_the_circuit),
        cmocka_unit_test(what_is_said_of_attempts_bounds_what_is_retried_in_place_of_the_table),
        cmocka_unit_test(what_is_said_of_waits_holds_in_place_of_each_of_the_tables),
        cmocka_unit_test(what_is_said_lets_nothing_fail_over_more_often_or_later),
        cmocka_unit_test(one_task_that_fails_again_and_again_does_not_break_the_circuit),
        cmocka_unit_test(a_remote_exception_fails_over_once_where_there_is_a_fallback),
        cmocka_unit_test(waits_end_at_the_ceiling_in_another_table),
        cmocka_unit_test(an_answer_says_its_category),
        cmocka_unit_test(each_word_has_a_spelling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
