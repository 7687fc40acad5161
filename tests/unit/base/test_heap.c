/*
 * The heap, against a model that finds the least by looking at all of them.
 */
#include "base/heap.h"
#include "base/mem.h"
#include "base/rng.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define THINGS 200

struct thing {
    struct heap_node node;
    int key;
    int sequence;
};

static const struct thing *thing_of(const struct heap_node *n)
{
    return (const struct thing *)(const void *)((const char *)n - offsetof(struct thing, node));
}

static bool thing_less(const struct heap_node *a, const struct heap_node *b)
{
    const struct thing *x = thing_of(a);
    const struct thing *y = thing_of(b);

    return x->key != y->key ? x->key < y->key : x->sequence < y->sequence;
}

static struct heap_node *least(struct thing *things)
{
    struct heap_node *best = NULL;

    for (int i = 0; i < THINGS; i++) {
        struct heap_node *n = &things[i].node;

        if (heap_contains(n) && (!best || thing_less(n, best)))
            best = n;
    }
    return best;
}

static void random_operations_agree_with_the_model(void **state)
{
    static struct thing things[THINGS];
    struct heap h;
    struct rng r;
    size_t count = 0;

    (void)state;
    rng_seed(&r, 7);
    heap_init(&h, thing_less);
    for (int i = 0; i < THINGS; i++) {
        things[i].sequence = i;
        heap_node_init(&things[i].node);
    }
    for (int step = 0; step < 100000; step++) {
        struct thing *t = &things[rng_below(&r, THINGS)];

        if (!heap_contains(&t->node)) {
            t->key = (int)rng_below(&r, 50);
            assert_true(heap_reserve(&h, count + 1));
            heap_push(&h, &t->node);
            count++;
        } else if (rng_below(&r, 3) == 0) {
            t->key = (int)rng_below(&r, 50);
            heap_moved(&h, &t->node);
        } else if (rng_below(&r, 2) == 0) {
            heap_remove(&h, &t->node);
            heap_remove(&h, &t->node);
            count--;
        } else {
            struct heap_node *expected = least(things);

            assert_ptr_equal(heap_first(&h), expected);
            assert_ptr_equal(heap_pop(&h), expected);
            assert_false(heap_contains(expected));
            count--;
        }
        assert_int_equal(h.len, count);
        assert_ptr_equal(heap_first(&h), least(things));
        if (step % 64 == 0)
            assert_true(heap_is_valid(&h));
    }
    heap_free(&h);
    for (int i = 0; i < THINGS; i++)
        assert_false(heap_contains(&things[i].node));
}

static void equals_come_out_in_the_order_of_their_sequence(void **state)
{
    struct thing things[20];
    struct heap h;

    (void)state;
    heap_init(&h, thing_less);
    assert_null(heap_pop(&h));
    assert_null(heap_first(&h));
    assert_true(heap_reserve(&h, 20));
    for (int i = 19; i >= 0; i--) {
        things[i] = (struct thing){.key = 1, .sequence = i};
        heap_node_init(&things[i].node);
        heap_push(&h, &things[i].node);
    }
    for (int i = 0; i < 20; i++)
        assert_ptr_equal(heap_pop(&h), &things[i].node);
    assert_null(heap_pop(&h));
    heap_free(&h);
}

static void validity_sees_a_key_that_changed_in_secret(void **state)
{
    struct thing things[3];
    struct heap h;

    (void)state;
    heap_init(&h, thing_less);
    assert_true(heap_reserve(&h, 3));
    for (int i = 0; i < 3; i++) {
        things[i] = (struct thing){.key = i, .sequence = i};
        heap_node_init(&things[i].node);
        heap_push(&h, &things[i].node);
    }
    assert_true(heap_is_valid(&h));
    things[0].key = 9;
    assert_false(heap_is_valid(&h));
    heap_moved(&h, &things[0].node);
    assert_true(heap_is_valid(&h));
    heap_free(&h);
}

static void a_failed_reserve_changes_nothing(void **state)
{
    struct thing t = {.key = 1};
    struct heap h;
    size_t cap;

    (void)state;
    heap_node_init(&t.node);
    heap_init(&h, thing_less);
    assert_true(heap_reserve(&h, 1));
    heap_push(&h, &t.node);
    cap = h.cap;
    mem_fail_at(1);
    assert_false(heap_reserve(&h, 1000));
    mem_fail_at(0);
    assert_int_equal(h.cap, cap);
    assert_false(heap_reserve(&h, SIZE_MAX));
    assert_ptr_equal(heap_pop(&h), &t.node);
    heap_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_agree_with_the_model),
        cmocka_unit_test(equals_come_out_in_the_order_of_their_sequence),
        cmocka_unit_test(validity_sees_a_key_that_changed_in_secret),
        cmocka_unit_test(a_failed_reserve_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
