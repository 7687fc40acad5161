/* The table of sessions: all are found while it grows and shrinks, whatever memory there is, and memory is given back. */
#include "crew_test.h"

#include "base/rng.h"
#include "core/worker/session_table.h"

#include <stdlib.h>

#define MANY 30000

struct named {
    struct session *s;
    char name[100];
    size_t len;
    uint64_t hash;
};

/* Short ones and long ones. */
static void name_it(struct named *n, int i, struct rng *rng)
{
    int fill = i % 10 == 0 ? 60 : 0;

    n->len = (size_t)snprintf(n->name, sizeof n->name, "%d%*s", i, fill, "");
    n->hash = rng_u64(rng);
}

static struct named *names_of(int count, uint64_t seed)
{
    struct named *names = calloc((size_t)count, sizeof *names);
    struct rng rng;

    assert_non_null(names);
    rng_seed(&rng, seed);
    for (int i = 0; i < count; i++)
        name_it(&names[i], i, &rng);
    return names;
}

static bool add(struct session_table *t, struct named *n)
{
    n->s = session_table_add(t, n->hash, n->name, n->len);
    return n->s != NULL;
}

static void take_off(struct session_table *t, struct named *n)
{
    session_table_remove(t, n->hash, n->s);
    n->s = NULL;
}

static const char *any(void *ctx, const struct session *s, uint32_t hash)
{
    (void)ctx;
    (void)s;
    (void)hash;
    return NULL;
}

/* Each is found where it was made, and no other is. */
static void look_at_all(struct session_table *t, const struct named *names, int count)
{
    const char *wrong = session_table_check(t, any, NULL);

    if (wrong)
        fail_msg("%s", wrong);
    for (int i = 0; i < count; i++) {
        const struct named *n = &names[i];

        assert_ptr_equal(session_table_find(t, n->hash, n->name, n->len), n->s);
        if (n->s)
            assert_memory_equal(session_name(n->s), n->name, n->len);
    }
}

static unsigned blocks_of_sessions(const struct session_table *t)
{
    unsigned n = 0;

    for (unsigned k = 0; k < BLOCKS; k++)
        n += t->sessions.memory[k] != NULL;
    return n;
}

static void sessions_stay_where_they_are_while_the_table_grows(void **state)
{
    struct named *names = names_of(MANY, 1);
    struct session_table t;

    (void)state;
    assert_true(session_table_init(&t));
    for (int i = 0; i < MANY; i++) {
        size_t lines = t.line_count;

        assert_true(add(&t, &names[i]));
        assert_true(t.line_count <= lines + 1); /* no single one pays for the growth */
        assert_int_equal((uintptr_t)names[i].s % 64, 0);
    }
    assert_in_range(t.line_count, MANY / LINE_FILL - 1, MANY / LINE_FILL + 1);
    look_at_all(&t, names, MANY);
    session_table_clear(&t);
    free(names);
}

static void a_table_that_has_shrunk_gives_memory_back(void **state)
{
    struct named *names = names_of(MANY, 2);
    struct session_table t;
    unsigned most;

    (void)state;
    assert_true(session_table_init(&t));
    for (int i = 0; i < MANY; i++)
        assert_true(add(&t, &names[i]));
    most = blocks_of_sessions(&t);
    assert_int_equal(most, 12); /* 16 << 11 */
    for (int i = 100; i < MANY; i++)
        take_off(&t, &names[i]);
    look_at_all(&t, names, MANY);
    assert_in_range(blocks_of_sessions(&t), 1, 5);
    for (int i = 100; i < MANY; i++)
        assert_true(add(&t, &names[i]));
    look_at_all(&t, names, MANY);
    assert_int_equal(blocks_of_sessions(&t), most); /* what was given back is used again */
    session_table_clear(&t);
    free(names);
}

static void
one_more_and_one_less_at_the_edge_of_a_block_does_not_give_it_back_each_time(void **state)
{
    struct named *names = names_of(65, 3);
    struct session_table t;
    void *block;

    (void)state;
    assert_true(session_table_init(&t));
    for (int i = 0; i < 65; i++)
        assert_true(add(&t, &names[i]));
    block = t.sessions.memory[3];
    assert_non_null(block);
    for (int i = 0; i < 10; i++) {
        take_off(&t, &names[64]);
        assert_ptr_equal(t.sessions.memory[3], block);
        assert_true(add(&t, &names[64]));
    }
    session_table_clear(&t);
    free(names);
}

/* All of whose lines are one chain, as by a hash of which much is known. */
static void sessions_of_one_hash_are_told_apart_by_their_names(void **state)
{
    enum { SAME = 100 };
    struct named *names = names_of(SAME, 4);
    struct session_table t;

    (void)state;
    for (int i = 0; i < SAME; i++)
        names[i].hash = 5;
    assert_true(session_table_init(&t));
    for (int i = 0; i < SAME; i++)
        assert_true(add(&t, &names[i]));
    look_at_all(&t, names, SAME);
    for (int i = 0; i < SAME; i += 2)
        take_off(&t, &names[i]);
    look_at_all(&t, names, SAME);
    for (int i = 1; i < SAME; i += 2)
        take_off(&t, &names[i]);
    look_at_all(&t, names, SAME);
    session_table_clear(&t);
    free(names);
}

/* Of four that are added three are, and of those some are taken off again; each n-th piece of memory is not there. */
static void random_use_without_memory_now_and_then_loses_none(void **state)
{
    enum { SOME = 2000 };
    int failed = 0;

    (void)state;
    for (unsigned long every = 1; every <= 3; every++) {
        struct named *names = names_of(SOME, 10 + every);
        struct session_table t;
        struct rng rng;

        rng_seed(&rng, every);
        assert_true(session_table_init(&t));
        for (int step = 0; step < 5 * SOME; step++) {
            struct named *n = &names[rng_below(&rng, SOME)];

            if (n->s && rng_below(&rng, 3)) {
                take_off(&t, n);
            } else if (!n->s) {
                mem_fail_at(rng_below(&rng, 4) ? 0 : every);
                failed += !add(&t, n);
                mem_fail_at(0);
            }
            if (step % 500 == 0)
                look_at_all(&t, names, SOME);
        }
        look_at_all(&t, names, SOME);
        session_table_clear(&t);
        free(names);
    }
    assert_true(failed > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_stay_where_they_are_while_the_table_grows),
        cmocka_unit_test(a_table_that_has_shrunk_gives_memory_back),
        cmocka_unit_test(
            one_more_and_one_less_at_the_edge_of_a_block_does_not_give_it_back_each_time),
        cmocka_unit_test(sessions_of_one_hash_are_told_apart_by_their_names),
        cmocka_unit_test(random_use_without_memory_now_and_then_loses_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
