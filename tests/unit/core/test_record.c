/* core/record: what goes to a store comes back as it was. */
#include "core/record.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define OFFSET (INT64_C(1700000000) * NS_PER_S)

static void fill(struct core_task *t)
{
    task_init(t);
    t->index = 7;
    t->key = "row-7";
    t->hash_hi = 1;
    t->hash_lo = 2;
    t->generation = 3;
    t->answer.outcome = WEIR_OUTCOME_FAILED;
    t->answer.reason = WEIR_REASON_HTTP_STATUS;
    t->answer.status = 400;
    t->answer.output = mem_copy("a\0b", 3);
    t->answer.output_len = 3;
    t->answer.request_id = mem_strdup("req-1");
    t->answer.started_at = (struct instant){30};
    t->answer.ended_at = (struct instant){40};
    answer_say(&t->answer, "HTTP 400");
    t->complete_index = 5;
    t->submit_at = (struct instant){10};
    t->start_at = (struct instant){20};
    t->complete_at = (struct instant){40};
    t->attempts = 4;
    t->capacity_retries = 2;
    t->throttled_ns = 150;
}

static void a_result_comes_back_as_it_was(void **state)
{
    struct core_task before, after;
    struct store_row row;

    (void)state;
    fill(&before);
    record_row(&before, OFFSET, &row);
    assert_int_equal(row.index, 7);
    assert_int_equal(row.submit_ns, OFFSET + 10);
    assert_true(slice_equal(row.key, SLICE("row-7")));
    task_init(&after);
    assert_true(record_restore(&row, OFFSET, &after));
    assert_true(after.finished_before);
    assert_int_equal(after.answer.outcome, before.answer.outcome);
    assert_int_equal(after.answer.reason, before.answer.reason);
    assert_int_equal(after.answer.status, 400);
    assert_int_equal(after.answer.output_len, 3);
    assert_memory_equal(after.answer.output, "a\0b", 4);
    assert_string_equal(after.answer.request_id, "req-1");
    assert_string_equal(after.answer.message, "HTTP 400");
    assert_int_equal(after.complete_index, 5);
    assert_int_equal(after.submit_at.ns, 10);
    assert_int_equal(after.start_at.ns, 20);
    assert_int_equal(after.complete_at.ns, 40);
    assert_int_equal(after.attempts, 4);
    assert_int_equal(after.capacity_retries, 2);
    assert_int_equal(after.throttled_ns, 150);
    assert_int_equal(after.generation, 3);
    task_clear(&before);
    task_clear(&after);
}

static void what_did_not_come_stays_so(void **state)
{
    struct core_task before, after;
    struct store_row row;

    (void)state;
    task_init(&before);
    before.key = "k";
    record_row(&before, OFFSET, &row);
    assert_false(row.has_output);
    assert_int_equal(row.start_ns, 0);
    task_init(&after);
    assert_true(record_restore(&row, OFFSET, &after));
    assert_null(after.answer.output);
    assert_null(after.answer.message);
    assert_true(instant_is_none(after.start_at));
    task_clear(&after);
}

static void an_empty_answer_is_an_answer(void **state)
{
    struct core_task before, after;
    struct store_row row;

    (void)state;
    task_init(&before);
    before.key = "k";
    before.answer.output = mem_copy("", 0);
    record_row(&before, OFFSET, &row);
    assert_true(row.has_output);
    task_init(&after);
    assert_true(record_restore(&row, OFFSET, &after));
    assert_non_null(after.answer.output);
    assert_int_equal(after.answer.output_len, 0);
    task_clear(&before);
    task_clear(&after);
}

static void an_attempt_has_its_times_and_its_wait(void **state)
{
    struct store_attempt attempt;
    struct core_task t;

    (void)state;
    fill(&t);
    record_attempt(&t, OFFSET, 99, &attempt);
    assert_int_equal(attempt.index, 7);
    assert_int_equal(attempt.number, 4);
    assert_int_equal(attempt.generation, 3);
    assert_int_equal(attempt.start_ns, OFFSET + 30);
    assert_int_equal(attempt.end_ns, OFFSET + 40);
    assert_int_equal(attempt.wait_ns, 99);
    task_clear(&t);
}

static void without_memory_nothing_is_half_restored(void **state)
{
    struct core_task before, after;
    struct store_row row;

    (void)state;
    fill(&before);
    record_row(&before, OFFSET, &row);
    for (unsigned long n = 1; n <= 3; n++) {
        task_init(&after);
        mem_fail_at(n);
        assert_false(record_restore(&row, OFFSET, &after));
        assert_true(mem_has_failed());
        mem_fail_at(0);
        assert_false(after.finished_before);
        assert_null(after.answer.output);
        assert_null(after.answer.message);
        assert_null(after.answer.request_id);
    }
    task_clear(&before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_result_comes_back_as_it_was),
        cmocka_unit_test(what_did_not_come_stays_so),
        cmocka_unit_test(an_empty_answer_is_an_answer),
        cmocka_unit_test(an_attempt_has_its_times_and_its_wait),
        cmocka_unit_test(without_memory_nothing_is_half_restored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
