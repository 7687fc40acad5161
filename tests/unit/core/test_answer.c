/*
 * What an attempt gave: who owns its texts, and what it says before anything is known.
 */
#include "base/mem.h"
#include "core/answer.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void an_answer_begins_as_lost_and_owns_nothing(void **state)
{
    struct core_answer a;

    (void)state;
    memset(&a, 0xAA, sizeof(a));
    answer_init(&a);
    assert_int_equal(a.outcome, WEIR_OUTCOME_LOST);
    assert_int_equal(a.reason, WEIR_REASON_NO_OUTCOME);
    assert_null(a.message);
    assert_null(a.output);
    assert_null(a.request_id);
    assert_int_equal(a.output_len, 0);
    assert_true(a.tokens == -1);
    assert_true(a.advice.retry_after_ns == -1);
    assert_true(a.advice.tokens.remaining == -1);
    assert_true(instant_is_none(a.started_at));
}

static void moving_hands_everything_over(void **state)
{
    struct core_answer from;
    struct core_answer to;

    (void)state;
    answer_init(&from);
    from.output = mem_strdup("out");
    from.output_len = 3;
    from.request_id = mem_strdup("req");
    from.outcome = WEIR_OUTCOME_OK;
    answer_say(&from, "said %d", 1);
    answer_move(&to, &from);
    assert_null(from.output);
    assert_int_equal(from.outcome, WEIR_OUTCOME_LOST);
    assert_string_equal(to.output, "out");
    assert_string_equal(to.request_id, "req");
    assert_string_equal(to.message, "said 1");
    answer_move(&to, &to);
    assert_string_equal(to.output, "out");
    answer_clear(&to);
    assert_null(to.output);
    assert_null(to.message);
    answer_clear(&to);
}

static void a_message_replaces_the_one_before_and_is_one_line(void **state)
{
    struct core_answer a;

    (void)state;
    answer_init(&a);
    answer_say(&a, "first");
    answer_say(&a, "second\r\nof %s", a.message);
    assert_string_equal(a.message, "second  of first");
    answer_clear(&a);
}

static void without_memory_there_is_no_message(void **state)
{
    struct core_answer a;

    (void)state;
    answer_init(&a);
    answer_say(&a, "first");
    mem_fail_at(1);
    answer_say(&a, "second");
    mem_fail_at(0);
    assert_null(a.message);
    answer_clear(&a);
}

/* Up to the last byte that fits, with the NUL, no memory is needed; one more, and there is. */
static void a_small_output_needs_no_memory_and_moves_along(void **state)
{
    static const char bytes[ANSWER_SMALL_BYTES] = "0123456789abcdef0123456";
    struct core_answer a, b;

    (void)state;
    answer_init(&a);
    mem_fail_at(1);
    assert_true(answer_set_output(&a, bytes, ANSWER_SMALL_BYTES - 1));
    assert_false(answer_set_output(&a, bytes, ANSWER_SMALL_BYTES));
    mem_fail_at(0);
    assert_int_equal(a.output_len, ANSWER_SMALL_BYTES - 1);
    answer_move(&b, &a);
    assert_null(a.output);
    memset(&a, 'x', sizeof a);
    assert_string_equal(b.output, bytes);
    assert_true(answer_set_output(&b, bytes, ANSWER_SMALL_BYTES));
    assert_memory_equal(b.output, bytes, ANSWER_SMALL_BYTES);
    assert_true(answer_set_output(&b, "", 0));
    assert_string_equal(b.output, "");
    answer_take_output(&b, mem_strdup("own"), 3);
    assert_string_equal(b.output, "own");
    answer_clear(&b);
    assert_null(b.output);
}

static size_t freed_bytes;

static void free_and_count(char *bytes, size_t len)
{
    freed_bytes += len;
    mem_free(bytes);
}

/* A mapped file is no memory: it goes in its own way, once, whatever becomes of the answer. */
static void what_lives_elsewhere_is_freed_in_its_own_way(void **state)
{
    struct core_answer a, b;

    (void)state;
    freed_bytes = 0;
    answer_init(&a);
    answer_take_output(&a, mem_strdup("out"), 3);
    a.output_free = free_and_count;
    answer_take_errput(&a, mem_strdup("error"), 5);
    a.errput_free = free_and_count;
    answer_move(&b, &a);
    answer_clear(&a);
    assert_int_equal(freed_bytes, 0);
    assert_string_equal(b.output, "out");
    assert_string_equal(b.errput, "error");
    assert_int_equal(b.errput_len, 5);
    assert_true(answer_set_output(&b, b.output, b.output_len));
    assert_int_equal(freed_bytes, 3);
    assert_string_equal(b.output, "out");
    answer_take_output(&b, mem_strdup("again"), 5);
    answer_take_output(&b, mem_strdup("more"), 4); /* by then its own again, and freed as such */
    assert_int_equal(freed_bytes, 3);
    answer_clear(&b);
    assert_int_equal(freed_bytes, 8);
    assert_null(b.errput);
    answer_clear(&b);
    assert_int_equal(freed_bytes, 8);
}

static void only_an_answer_that_says_no_more_than_done_well_is_plain(void **state)
{
    struct core_answer a, to;

    (void)state;
    for (int i = 0; i < 9; i++) {
        answer_init(&a);
        answer_init(&to);
        a.outcome = i == 1 ? WEIR_OUTCOME_FAILED : WEIR_OUTCOME_OK;
        a.reason = WEIR_REASON_NONE;
        a.started_at = (struct instant){1};
        a.ended_at = (struct instant){2};
        assert_true(answer_set_output(&a, "out", 3));
        if (i == 2)
            answer_say(&a, "a word");
        if (i == 3)
            a.advice.retry_after_ns = 0;
        if (i == 4)
            a.tokens = 0;
        if (i == 5)
            a.request_id = mem_strdup("r");
        if (i == 6)
            a.advice.requests.remaining = 1;
        if (i == 7)
            answer_take_errput(&a, mem_strdup("error"), 5);
        if (i == 8) {
            answer_take_output(&a, mem_strdup("out"), 3);
            a.output_free = free_and_count;
        }
        assert_int_equal(answer_move_plain(&to, &a), i == 0);
        if (i == 0) {
            assert_string_equal(to.output, "out");
            assert_int_equal(to.outcome, WEIR_OUTCOME_OK);
            assert_int_equal(to.ended_at.ns, 2);
            assert_int_equal(a.outcome, WEIR_OUTCOME_LOST);
            assert_null(a.output);
        }
        answer_clear_plain(&to);
        assert_null(to.output);
        assert_int_equal(to.outcome, WEIR_OUTCOME_LOST);
        answer_clear(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_begins_as_lost_and_owns_nothing),
        cmocka_unit_test(moving_hands_everything_over),
        cmocka_unit_test(a_message_replaces_the_one_before_and_is_one_line),
        cmocka_unit_test(without_memory_there_is_no_message),
        cmocka_unit_test(a_small_output_needs_no_memory_and_moves_along),
        cmocka_unit_test(what_lives_elsewhere_is_freed_in_its_own_way),
        cmocka_unit_test(only_an_answer_that_says_no_more_than_done_well_is_plain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
