/*
 * What the memory store has beyond the contract (tests/contract/test_store.c): failures on demand,
 * the list of attempts, and many rows.
 */
#include "store/memory/memory_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int setup(void **state)
{
    struct core_store *s;

    if (memory_store_new(&s, NULL) != WEIR_OK)
        return -1;
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct core_store *s = *state;

    s->ops->close(s);
    return 0;
}

static enum weir_status put(struct core_store *s, uint64_t index)
{
    struct store_row row = {
        .index = index, .key = SLICE("k"), .has_output = true, .output = SLICE("x")};
    struct store_attempt attempt = {.index = index, .number = 1, .message = SLICE("busy")};

    return s->ops->put(s, &row, 1, &attempt, 1, NULL);
}

static enum weir_status mark(struct core_store *s, uint64_t next)
{
    return s->ops->mark(s, &(struct store_mark){next, 0, 0}, NULL, 0, NULL);
}

static void the_nth_put_fails_once_and_changes_nothing(void **state)
{
    struct core_store *s = *state;
    struct store_summary sum;

    memory_store_fail_put_at(s, 3);
    assert_int_equal(put(s, 0), WEIR_OK);
    assert_int_equal(put(s, 1), WEIR_OK);
    assert_int_equal(mark(s, 1), WEIR_OK); /* not a put */
    assert_int_equal(put(s, 2), WEIR_E_IO);
    assert_int_equal(s->ops->summary(s, &sum, NULL), WEIR_OK);
    assert_int_equal(sum.finished, 2);
    assert_int_equal(put(s, 2), WEIR_OK);
    memory_store_fail_put_at(s, 1);
    memory_store_fail_put_at(s, 0);
    assert_int_equal(put(s, 3), WEIR_OK);
}

static void the_nth_mark_fails_once_and_changes_nothing(void **state)
{
    struct core_store *s = *state;
    struct store_summary sum;

    assert_int_equal(put(s, 0), WEIR_OK);
    memory_store_fail_mark_at(s, 1);
    assert_int_equal(mark(s, 1), WEIR_E_IO);
    assert_int_equal(s->ops->summary(s, &sum, NULL), WEIR_OK);
    assert_int_equal(sum.mark.next, 0);
    assert_int_equal(mark(s, 1), WEIR_OK);
}

static void attempts_are_listed_in_their_order(void **state)
{
    struct core_store *s = *state;
    const struct store_attempt *attempts;
    size_t count;

    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(put(s, 99 - i), WEIR_OK);
    assert_int_equal(put(s, 5), WEIR_E_CONFLICT); /* its attempt is not taken either */
    attempts = memory_store_attempts(s, &count);
    assert_int_equal(count, 100);
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(attempts[i].index, 99 - i);
        assert_true(slice_equal(attempts[i].message, SLICE("busy")));
    }
}

static void many_rows_are_found_at_once(void **state)
{
    struct core_store *s = *state;
    struct buf hold = {0};
    struct store_row row;

    for (uint64_t i = 0; i < 200000; i++)
        assert_int_equal(put(s, i * 3), WEIR_OK);
    for (uint64_t i = 0; i < 600000; i++)
        if (s->ops->get(s, i, &row, &hold, NULL) != (i % 3 ? WEIR_E_END : WEIR_OK))
            fail_msg("row %lu", (unsigned long)i);
    buf_free(&hold);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_nth_put_fails_once_and_changes_nothing),
        TEST(the_nth_mark_fails_once_and_changes_nothing),
        TEST(attempts_are_listed_in_their_order),
        TEST(many_rows_are_found_at_once),
    };

    return cmocka_run_group_tests_name("memory store", tests, NULL, NULL);
}
