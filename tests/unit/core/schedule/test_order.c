/*
 * The heap with its keys inside: whatever goes in, moves and leaves, the first is the least, and
 * all are where they think.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "schedule_test.h"

#define MANY 300

struct thing {
    struct order_item item;
    struct order_key key;
    uint32_t tie;
};

static bool less(const struct thing *a, const struct thing *b)
{
    if (a->key.first != b->key.first)
        return a->key.first < b->key.first;
    if (a->key.second != b->key.second)
        return a->key.second < b->key.second;
    return a->tie < b->tie;
}

static const struct thing *least(const struct thing *things)
{
    const struct thing *best = NULL;

    for (int i = 0; i < MANY; i++) {
        if (order_has(&things[i].item) && (!best || less(&things[i], best)))
            best = &things[i];
    }
    return best;
}

static void change(struct order *o, struct thing *t, struct rng *rng)
{
    if (rng_below(rng, 3) == 0) {
        order_remove(o, &t->item);
        return;
    }
    /* Few values, so that many keys are the same and ties decide. */
    t->key = (struct order_key){rng_range(rng, -3, 3), rng_range(rng, 0, 3)};
    order_put(o, &t->item, t->key, t->tie);
}

static void the_first_is_the_least_whatever_moves(void **state)
{
    struct thing things[MANY];
    struct order o;
    struct rng rng;

    (void)state;
    rng_seed(&rng, 1);
    order_init(&o);
    assert_true(order_reserve(&o, MANY));
    for (uint32_t i = 0; i < MANY; i++) {
        things[i].tie = MANY - i;
        order_item_init(&things[i].item);
    }
    for (int round = 0; round < 20000; round++) {
        const struct thing *first;

        change(&o, &things[rng_below(&rng, MANY)], &rng);
        first = least(things);
        assert_true(order_is_valid(&o));
        assert_ptr_equal(order_first(&o) ? order_first(&o)->item : NULL,
                         first ? &first->item : NULL);
    }
    order_free(&o);
}

static void keys_that_were_written_directly_are_sorted_again(void **state)
{
    struct thing things[MANY];
    struct order o;
    struct rng rng;

    (void)state;
    rng_seed(&rng, 2);
    for (uint32_t len = 0; len < 40; len++) {
        order_init(&o);
        assert_true(order_reserve(&o, MANY));
        for (uint32_t i = 0; i < len; i++) {
            order_item_init(&things[i].item);
            order_put(&o, &things[i].item, (struct order_key){0, i}, i);
        }
        for (uint32_t i = 0; i < len; i++)
            o.entries[i].key.first = rng_range(&rng, 0, 20);
        order_again(&o);
        assert_true(order_is_valid(&o));
        order_free(&o);
    }
}

static void without_memory_what_was_reserved_stays(void **state)
{
    struct thing things[2];
    struct order o;

    (void)state;
    order_init(&o);
    for (int i = 0; i < 2; i++)
        order_item_init(&things[i].item);
    order_put(&o, &things[0].item, (struct order_key){1, 1}, 0); /* one has its place inside */
    mem_fail_at(1);
    assert_false(order_reserve(&o, 2));
    mem_fail_at(0);
    assert_true(order_is_valid(&o));
    assert_true(order_reserve(&o, 2));
    order_put(&o, &things[1].item, (struct order_key){0, 1}, 0);
    assert_ptr_equal(order_first(&o)->item, &things[1].item);
    assert_true(order_is_valid(&o));
    order_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_is_the_least_whatever_moves),
        cmocka_unit_test(keys_that_were_written_directly_are_sorted_again),
        cmocka_unit_test(without_memory_what_was_reserved_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
