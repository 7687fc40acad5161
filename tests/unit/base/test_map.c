/*
 * The hash map: every node is found while it grows and shrinks, and where there is no memory to
 * grow.
 */
#include "base/map.h"
#include "base/mem.h"
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define MANY 5000

struct item {
    struct map_node node;
    uint64_t hash;
    bool in;
};

static struct item *find(const struct map *m, const struct item *wanted)
{
    for (struct map_node *n = map_find(m, wanted->hash); n; n = map_again(n)) {
        assert_true(n->hash == wanted->hash);
        if (map_entry(n, struct item, node) == wanted)
            return map_entry(n, struct item, node);
    }
    return NULL;
}

static void look_at_all(const struct map *m, const struct item *items)
{
    size_t in = 0, told = 0;

    for (int i = 0; i < MANY; i++) {
        assert_true((find(m, &items[i]) != NULL) == items[i].in);
        in += items[i].in;
    }
    for (struct map_node *n = map_begin(m); n; n = map_after(m, n)) {
        assert_true(map_entry(n, struct item, node)->in);
        told++;
    }
    assert_int_equal(told, in);
    assert_int_equal(m->count, in);
}

/* With a tenth of the hashes the same as another one's. */
static struct item *make(struct rng *rng)
{
    struct item *items = calloc(MANY, sizeof *items);

    assert_non_null(items);
    for (int i = 0; i < MANY; i++)
        items[i].hash = i > 0 && rng_below(rng, 10) == 0 ? items[i - 1].hash : rng_u64(rng);
    return items;
}

static void turn(struct map *m, struct item *i)
{
    if (i->in)
        map_remove(m, &i->node);
    else
        map_put(m, &i->node, i->hash);
    i->in = !i->in;
}

static void each_is_found_exactly_while_it_is_in(void **state)
{
    struct rng rng;
    struct item *items;
    struct map m;

    (void)state;
    rng_seed(&rng, 1);
    items = make(&rng);
    map_init(&m);
    for (int i = 0; i < MANY; i++)
        turn(&m, &items[i]);
    look_at_all(&m, items);
    assert_true(m.len >= MANY / 2);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < MANY; i++)
            turn(&m, &items[rng_below(&rng, MANY)]);
        look_at_all(&m, items);
    }
    for (int i = 0; i < MANY; i++) {
        if (items[i].in)
            turn(&m, &items[i]);
    }
    assert_null(map_begin(&m));
    map_free(&m);
    free(items);
}

static void without_memory_chains_are_longer_and_nothing_is_lost(void **state)
{
    struct rng rng;
    struct item *items;
    struct map m;

    (void)state;
    rng_seed(&rng, 2);
    items = make(&rng);
    map_init(&m);
    for (int i = 0; i < MANY; i++) {
        mem_fail_at(i % 7 ? 1 : 0);
        turn(&m, &items[i]);
    }
    mem_fail_at(0);
    look_at_all(&m, items);
    map_free(&m);
    free(items);
}

static void the_one_that_was_told_may_be_removed_when_the_next_is_known(void **state)
{
    struct item items[100] = {{.in = false}};
    struct map m;
    struct map_node *next;

    (void)state;
    map_init(&m);
    for (uint64_t i = 0; i < 100; i++) {
        items[i].hash = map_hash(&i, sizeof i, 1);
        turn(&m, &items[i]);
    }
    for (struct map_node *n = map_begin(&m); n; n = next) {
        next = map_after(&m, n);
        map_remove(&m, n);
    }
    assert_int_equal(m.count, 0);
    map_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_found_exactly_while_it_is_in),
        cmocka_unit_test(without_memory_chains_are_longer_and_nothing_is_lost),
        cmocka_unit_test(the_one_that_was_told_may_be_removed_when_the_next_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
