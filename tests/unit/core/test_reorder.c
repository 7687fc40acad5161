/*
 * The reorder buffer: in any order within a window, out in the order of the index.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "core/reorder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int items[64];

static void items_leave_in_the_order_of_their_index(void **state)
{
    struct reorder r;

    (void)state;
    assert_true(reorder_init(&r, 5, 10));
    for (uint64_t i = 15; i-- > 10;)
        assert_true(reorder_enter(&r, i, &items[i]));
    assert_int_equal(r.held, 5);
    for (uint64_t i = 10; i < 15; i++) {
        assert_ptr_equal(reorder_first(&r), &items[i]);
        reorder_advance(&r);
    }
    assert_null(reorder_first(&r));
    assert_int_equal(r.held, 0);
    reorder_free(&r);
}

static void the_window_is_exact_though_the_ring_is_a_power_of_two(void **state)
{
    struct reorder r;

    (void)state;
    assert_true(reorder_init(&r, 5, 0));
    assert_false(reorder_enter(&r, 5, &items[5]));
    assert_false(reorder_enter(&r, UINT64_MAX, &items[0]));
    assert_true(reorder_enter(&r, 4, &items[4]));
    assert_true(reorder_enter(&r, 0, &items[0]));
    reorder_advance(&r);
    assert_true(reorder_enter(&r, 5, &items[5]));
    assert_false(reorder_enter(&r, 6, &items[6]));
    reorder_free(&r);
}

static void what_has_left_or_is_inside_does_not_enter_again(void **state)
{
    struct reorder r;

    (void)state;
    assert_true(reorder_init(&r, 8, 0));
    assert_true(reorder_enter(&r, 0, &items[0]));
    assert_false(reorder_enter(&r, 0, &items[1]));
    reorder_advance(&r);
    assert_false(reorder_enter(&r, 0, &items[0]));
    assert_int_equal(r.held, 0);
    reorder_free(&r);
}

static void a_window_of_one_lets_one_through_after_the_other(void **state)
{
    struct reorder r;

    (void)state;
    assert_true(reorder_init(&r, 1, 0));
    for (uint64_t i = 0; i < 10; i++) {
        assert_false(reorder_enter(&r, i + 1, &items[1]));
        assert_true(reorder_enter(&r, i, &items[i]));
        assert_ptr_equal(reorder_first(&r), &items[i]);
        reorder_advance(&r);
    }
    reorder_free(&r);
}

static void an_index_near_the_end_of_the_range_works(void **state)
{
    struct reorder r;

    (void)state;
    assert_true(reorder_init(&r, 4, UINT64_MAX - 2));
    assert_true(reorder_enter(&r, UINT64_MAX, &items[2]));
    assert_true(reorder_enter(&r, UINT64_MAX - 2, &items[0]));
    assert_ptr_equal(reorder_first(&r), &items[0]);
    reorder_advance(&r);
    assert_null(reorder_first(&r));
    reorder_free(&r);
}

static void draining_gives_each_item_once(void **state)
{
    struct reorder r;
    bool seen[64] = {false};
    int *item;
    int n = 0;

    (void)state;
    assert_true(reorder_init(&r, 16, 7));
    for (uint64_t i = 7; i < 23; i += 3)
        assert_true(reorder_enter(&r, i, &items[i]));
    while ((item = reorder_drain(&r))) {
        assert_false(seen[item - items]);
        seen[item - items] = true;
        n++;
    }
    assert_int_equal(n, 6);
    assert_int_equal(r.held, 0);
    reorder_free(&r);
}

static void one_item_may_stand_for_many_places(void **state)
{
    struct reorder r;

    (void)state;
    assert_true(reorder_init(&r, 16, 7));
    assert_true(reorder_enter(&r, 7, &items[7]));
    assert_false(reorder_reserve(&r, 9, 2));  /* a gap */
    assert_false(reorder_reserve(&r, 8, 16)); /* beyond the window */
    assert_true(reorder_reserve(&r, 8, 10));
    assert_true(reorder_reserve(&r, 18, 5));
    assert_false(reorder_reserve(&r, 23, 1));
    assert_int_equal(r.held, 16);
    reorder_fill(&r, 18, &items[18]);
    reorder_advance(&r);
    assert_null(reorder_first(&r));
    reorder_fill(&r, 8, &items[8]);
    assert_ptr_equal(reorder_first(&r), &items[8]);
    reorder_advance_many(&r, 10);
    assert_ptr_equal(reorder_first(&r), &items[18]);
    reorder_advance_many(&r, 5);
    assert_int_equal(r.held, 0);
    assert_int_equal(r.next, 23);
    reorder_free(&r);
}

/* What is reserved and was never filled does not keep it looking for ever. */
static void draining_ends_where_places_are_only_reserved(void **state)
{
    struct reorder r;

    (void)state;
    assert_true(reorder_init(&r, 16, 7));
    assert_true(reorder_reserve(&r, 7, 16));
    reorder_fill(&r, 12, &items[12]);
    assert_ptr_equal(reorder_drain(&r), &items[12]);
    assert_null(reorder_drain(&r));
    reorder_free(&r);
}

static void in_random_lives_nothing_is_lost_or_out_of_order(void **state)
{
    struct reorder r;
    struct rng rng;
    uint64_t out = 0;

    (void)state;
    rng_seed(&rng, 5);
    assert_true(reorder_init(&r, 13, 0));
    while (out < 5000) {
        uint64_t index = out + rng_below(&rng, 16);
        int *item = reorder_first(&r);

        if (reorder_enter(&r, index, &items[index % 64]))
            assert_true(index < out + 13);
        if (item && rng_below(&rng, 2)) {
            assert_ptr_equal(item, &items[out % 64]);
            reorder_advance(&r);
            out++;
            assert_true(r.next == out);
        }
    }
    reorder_free(&r);
}

static void without_memory_nothing_is_made(void **state)
{
    struct reorder r;

    (void)state;
    mem_fail_at(1);
    assert_false(reorder_init(&r, 4, 0));
    mem_fail_at(0);
}

static void a_window_for_items_in_no_order_may_be_widened(void **state)
{
    struct reorder r;
    uint32_t place;

    (void)state;
    assert_true(reorder_init(&r, 4, 0));
    for (uint32_t i = 0; i < 4; i++)
        assert_true(reorder_enter_any(&r, &items[i], &place));
    assert_false(reorder_enter_any(&r, &items[4], &place));
    mem_fail_at(1);
    assert_false(reorder_widen_any(&r, 30));
    mem_fail_at(0);
    assert_false(reorder_enter_any(&r, &items[4], &place));
    assert_true(reorder_widen_any(&r, 30));
    assert_true(reorder_widen_any(&r, 3)); /* never narrower */
    for (uint32_t i = 4; i < 30; i++)
        assert_true(reorder_enter_any(&r, &items[i], &place) && place == i);
    assert_false(reorder_enter_any(&r, &items[30], &place));
    for (uint32_t i = 30; i-- > 0;)
        assert_null(reorder_take_any(&r, i));
    reorder_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_leave_in_the_order_of_their_index),
        cmocka_unit_test(the_window_is_exact_though_the_ring_is_a_power_of_two),
        cmocka_unit_test(what_has_left_or_is_inside_does_not_enter_again),
        cmocka_unit_test(a_window_of_one_lets_one_through_after_the_other),
        cmocka_unit_test(an_index_near_the_end_of_the_range_works),
        cmocka_unit_test(draining_gives_each_item_once),
        cmocka_unit_test(one_item_may_stand_for_many_places),
        cmocka_unit_test(draining_ends_where_places_are_only_reserved),
        cmocka_unit_test(in_random_lives_nothing_is_lost_or_out_of_order),
        cmocka_unit_test(without_memory_nothing_is_made),
        cmocka_unit_test(a_window_for_items_in_no_order_may_be_widened),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
