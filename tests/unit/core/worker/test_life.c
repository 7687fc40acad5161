/* The life of a worker: each move of the table and no other, and what is kept of them. */
#include "crew_test.h"

static const enum worker_state table[][2] = {
    {WORKER_INITIALIZING, WORKER_READY},
    {WORKER_INITIALIZING, WORKER_TERMINATED},
    {WORKER_READY, WORKER_BUSY},
    {WORKER_READY, WORKER_DEGRADED},
    {WORKER_READY, WORKER_TERMINATING},
    {WORKER_BUSY, WORKER_READY},
    {WORKER_BUSY, WORKER_DEGRADED},
    {WORKER_BUSY, WORKER_TERMINATING},
    {WORKER_DEGRADED, WORKER_READY},
    {WORKER_DEGRADED, WORKER_TERMINATING},
    {WORKER_TERMINATING, WORKER_TERMINATED},
};

static bool in_table(enum worker_state from, enum worker_state to)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i][0] == from && table[i][1] == to)
            return true;
    }
    return false;
}

static void the_moves_are_those_of_the_table_and_no_others(void **state)
{
    (void)state;
    for (int from = 0; from <= WORKER_STATES; from++) {
        for (int to = 0; to <= WORKER_STATES; to++)
            assert_int_equal(life_may_move((enum worker_state)from, (enum worker_state)to),
                             in_table((enum worker_state)from, (enum worker_state)to));
    }
}

static void a_move_that_is_not_in_the_table_changes_nothing(void **state)
{
    struct worker_life l, before;

    (void)state;
    for (int from = 0; from < WORKER_STATES; from++) {
        for (int to = 0; to <= WORKER_STATES; to++) {
            memset(&l, 0, sizeof l);
            life_init(&l, at_ms(7));
            l.state = (enum worker_state)from;
            before = l;
            if (in_table((enum worker_state)from, (enum worker_state)to))
                continue;
            assert_false(life_move(&l, (enum worker_state)to, "wish", "why not", at_ms(9)));
            assert_memory_equal(&l, &before, sizeof l);
        }
    }
}

static void a_transition_says_why_when_and_how_long_the_state_before_lasted(void **state)
{
    const struct worker_transition *t;
    struct worker_life l;

    (void)state;
    life_init(&l, at_ms(100));
    assert_null(life_last(&l, 0));
    assert_true(life_move(&l, WORKER_READY, "answered", "in time", at_ms(1300)));
    assert_true(life_move(&l, WORKER_BUSY, "was given a request", NULL, at_ms(1400)));
    t = life_last(&l, 1);
    assert_int_equal(t->from, WORKER_INITIALIZING);
    assert_int_equal(t->to, WORKER_READY);
    assert_int_equal(t->at.ns, at_ms(1300).ns);
    assert_int_equal(t->lasted_ns, 1200 * NS_PER_MS);
    assert_string_equal(t->reason, "answered");
    assert_string_equal(t->detail, "in time");
    assert_string_equal(life_last(&l, 0)->detail, "");
    assert_int_equal(life_last(&l, 0)->lasted_ns, 100 * NS_PER_MS);
    assert_null(life_last(&l, 2));
}

static void the_last_hundred_transitions_are_kept(void **state)
{
    struct worker_life l;
    int n = 0;

    (void)state;
    life_init(&l, at_ms(0));
    assert_true(life_move(&l, WORKER_READY, "answered", "the first", at_ms(n++)));
    while (n <= 250) {
        assert_true(life_move(&l, WORKER_BUSY, "given", NULL, at_ms(n++)));
        assert_true(life_move(&l, WORKER_READY, "answered", NULL, at_ms(n++)));
    }
    assert_int_equal(l.moves, n);
    for (size_t i = 0; i < WORKER_HISTORY; i++) {
        const struct worker_transition *t = life_last(&l, i);

        assert_int_equal(t->at.ns, at_ms(n - 1 - (int)i).ns);
        assert_string_equal(t->detail, "");
    }
    assert_null(life_last(&l, WORKER_HISTORY));
    assert_null(life_last(&l, SIZE_MAX));
}

static void a_long_detail_is_cut_between_characters(void **state)
{
    char text[WORKER_DETAIL_BYTES + 10];
    struct worker_life l;

    (void)state;
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    memcpy(text + WORKER_DETAIL_BYTES - 5, "\xC3\xA9",
           2); /* one byte of it would fit before the mark */
    life_init(&l, at_ms(0));
    assert_true(life_move(&l, WORKER_READY, "answered", text, at_ms(0)));
    assert_int_equal(strlen(life_last(&l, 0)->detail), WORKER_DETAIL_BYTES - 2);
    assert_string_equal(life_last(&l, 0)->detail + WORKER_DETAIL_BYTES - 7, "xx...");
    text[WORKER_DETAIL_BYTES - 1] = '\0'; /* the longest that fits */
    assert_true(life_move(&l, WORKER_DEGRADED, "failed", text, at_ms(0)));
    assert_string_equal(life_last(&l, 0)->detail, text);
}

static void each_state_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(worker_state_name(WORKER_INITIALIZING), "initializing");
    assert_string_equal(worker_state_name(WORKER_READY), "ready");
    assert_string_equal(worker_state_name(WORKER_BUSY), "busy");
    assert_string_equal(worker_state_name(WORKER_DEGRADED), "degraded");
    assert_string_equal(worker_state_name(WORKER_TERMINATING), "terminating");
    assert_string_equal(worker_state_name(WORKER_TERMINATED), "terminated");
    assert_string_equal(worker_state_name(WORKER_STATES), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_moves_are_those_of_the_table_and_no_others),
        cmocka_unit_test(a_move_that_is_not_in_the_table_changes_nothing),
        cmocka_unit_test(a_transition_says_why_when_and_how_long_the_state_before_lasted),
        cmocka_unit_test(the_last_hundred_transitions_are_kept),
        cmocka_unit_test(a_long_detail_is_cut_between_characters),
        cmocka_unit_test(each_state_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
