/*
 * A crew's size changes while it works: more workers come, fewer go in order of what they would
 * lose, and what a worker has in hand is never ended for it.
 */
#include "crew_test.h"

static struct stand s;

static void begin(const struct crew_options *o)
{
    stand_init(&s, o);
    all_ready(&s);
}

static void resize(size_t size, int64_t ms)
{
    assert_int_equal(crew_set_size(s.crew, size, at_ms(ms), NULL), WEIR_OK);
    sound(&s);
    run_at(&s, ms);
}

static struct worker *spawned(size_t n)
{
    return s.edge.seen[n].w;
}

static void a_larger_size_starts_more(void **state)
{
    struct crew_options o = options(2);

    (void)state;
    begin(&o);
    resize(5, 10);
    assert_int_equal(s.edge.spawned, 5);
    for (size_t i = 2; i < 5; i++) {
        assert_false(spawned(i)->extra);
        ready(&s, spawned(i), 20);
    }
    assert_int_equal(crew_get_options(s.crew)->size, 5);
    assert_int_equal(crew_counts(s.crew).workers, 5);
    stand_end(&s);
}

static void a_lazy_crew_starts_none_before_they_are_wanted(void **state)
{
    struct crew_options o = options(1);

    (void)state;
    o.lazy = true;
    stand_init(&s, &o);
    run_at(&s, 0);
    resize(4, 10);
    assert_int_equal(s.edge.spawned, 0);
    crew_want(s.crew, 3, at_ms(10));
    run_at(&s, 10);
    assert_int_equal(s.edge.spawned, 3);
    stand_end(&s);
}

static void a_smaller_size_retires_idle_workers_at_once(void **state)
{
    struct crew_options o = options(4);

    (void)state;
    begin(&o);
    give(&s, spawned(3), NULL, 5);
    give(&s, spawned(0), NULL, 5);
    resize(2, 10);
    assert_false(spawned(0)->retiring);
    assert_false(spawned(3)->retiring);
    assert_int_equal(of(spawned(1))->ends[CREW_END_SHUTDOWN], 1);
    assert_int_equal(of(spawned(2))->ends[CREW_END_SHUTDOWN], 1);
    gone(&s, spawned(1), 20);
    gone(&s, spawned(2), 20);
    run_at(&s, 20);
    assert_int_equal(s.edge.spawned, 4); /* nobody takes their places */
    answered(&s, spawned(0), NULL, CREW_ANSWER_OK, 30);
    answered(&s, spawned(3), NULL, CREW_ANSWER_OK, 30);
    run_at(&s, 30);
    assert_int_equal(crew_counts(s.crew).workers, 2);
    stand_end(&s);
}

static void busy_workers_that_are_too_many_end_when_they_are_idle(void **state)
{
    struct crew_options o = options(3);

    (void)state;
    begin(&o);
    for (size_t i = 0; i < 3; i++)
        give(&s, spawned(i), NULL, 5);
    resize(1, 10);
    assert_true(spawned(1)->retiring && spawned(2)->retiring); /* the last ones to come */
    assert_int_equal(
        of(spawned(1))->ends[CREW_END_SHUTDOWN] + of(spawned(2))->ends[CREW_END_SHUTDOWN], 0);
    answered(&s, spawned(2), NULL, CREW_ANSWER_OK, 20);
    assert_null(pick(&s, NULL)); /* it takes nothing more */
    run_at(&s, 20);
    assert_int_equal(of(spawned(2))->ends[CREW_END_SHUTDOWN], 1);
    assert_int_equal(of(spawned(1))->ends[CREW_END_SHUTDOWN], 0);
    answered(&s, spawned(1), NULL, CREW_ANSWER_OK, 30);
    run_at(&s, 30);
    assert_int_equal(of(spawned(1))->ends[CREW_END_SHUTDOWN], 1);
    stand_end(&s);
}

static void those_that_start_go_first_and_those_with_sessions_after_idle_ones(void **state)
{
    struct crew_options o = options(3);
    struct session *x;
    struct worker *with;

    (void)state;
    begin(&o);
    x = session(&s, "x", 0);
    with = pick(&s, x);
    give(&s, with, x, 5);
    answered(&s, with, x, CREW_ANSWER_OK, 6);
    leave(&s, x, 6);
    resize(4, 10); /* the fourth starts */
    assert_int_equal(s.edge.spawned, 4);
    resize(3, 11);
    assert_true(spawned(3)->retiring);
    assert_int_equal(of(spawned(3))->ends[CREW_END_TERM], 1); /* it does not read yet */
    gone(&s, spawned(3), 12);
    resize(1, 13);
    assert_false(with->retiring);
    assert_int_equal(affinity_counts(crew_affinity(s.crew)).bound, 1);
    stand_end(&s);
}

static void what_was_parked_with_one_that_goes_is_to_be_chosen_anew(void **state)
{
    struct crew_options o = options(2);
    struct session *x;
    struct worker *with, *other;
    struct list task;

    (void)state;
    begin(&o);
    list_init(&task);
    x = session(&s, "x", 0);
    with = pick(&s, x);
    give(&s, with, x, 5);
    other = pick(&s, NULL);
    give(&s, other, NULL, 5);
    crew_park(s.crew, spawned(1), &task); /* the one to come last goes */
    sound(&s);
    resize(1, 10);
    assert_true(spawned(1)->retiring);
    assert_ptr_equal(crew_take_orphan(s.crew), &task);
    answered(&s, with, x, CREW_ANSWER_OK, 20);
    leave(&s, x, 20);
    stand_end(&s);
}

static void extra_workers_become_permanent(void **state)
{
    struct crew_options o = options(1);

    (void)state;
    o.overflow = 2;
    begin(&o);
    give(&s, spawned(0), NULL, 1);
    crew_want(s.crew, 2, at_ms(1));
    run_at(&s, 1);
    assert_int_equal(s.edge.spawned, 3);
    ready(&s, spawned(1), 2);
    ready(&s, spawned(2), 2);
    assert_true(spawned(1)->extra && spawned(2)->extra);
    crew_want(s.crew, 0, at_ms(2));
    resize(2, 3);
    assert_int_equal(spawned(1)->extra + spawned(2)->extra, 1);
    assert_int_equal(s.edge.spawned, 3);
    resize(4, 4);
    assert_false(spawned(1)->extra || spawned(2)->extra);
    assert_int_equal(s.edge.spawned, 4);
    /* They are as good as any permanent one: their idle time ends none of them. */
    ready(&s, spawned(3), 5);
    run_at(&s, 20000);
    assert_int_equal(crew_counts(s.crew).expired_overflow, 0);
    stand_end(&s);
}

static void a_crew_that_shrank_can_have_extra_workers_again(void **state)
{
    struct crew_options o = options(3);

    (void)state;
    o.overflow = 1;
    begin(&o);
    give(&s, spawned(2), NULL, 1); /* keeps the highest permanent place */
    resize(1, 2);
    gone(&s, spawned(0), 3);
    gone(&s, spawned(1), 3);
    run_at(&s, 3);
    crew_want(s.crew, 1, at_ms(3));
    run_at(&s, 3);
    assert_int_equal(s.edge.spawned, 4);
    assert_true(spawned(3)->extra);
    ready(&s, spawned(3), 4);
    resize(2, 5);
    assert_false(spawned(3)->extra);
    stand_end(&s);
}

static void a_worker_that_dies_among_surplus_ones_is_replaced_when_there_is_room(void **state)
{
    struct crew_options o = options(4);

    (void)state;
    begin(&o);
    for (size_t i = 0; i < 4; i++)
        give(&s, spawned(i), NULL, 1);
    resize(2, 2);
    answered(&s, spawned(0), NULL, CREW_ANSWER_NONE, 3);
    gone(&s, spawned(0), 3);
    run_at(&s, 3);
    assert_int_equal(s.edge.spawned, 4); /* three processes are there, for two places and a spare */
    answered(&s, spawned(3), NULL, CREW_ANSWER_OK, 4);
    run_at(&s, 4);
    gone(&s, spawned(3), 5);
    run_at(&s, 5);
    assert_int_equal(s.edge.spawned, 5);
    stand_end(&s);
}

static void a_size_that_cannot_be_is_refused(void **state)
{
    struct crew_options o = options(2);
    struct weir_error err;

    (void)state;
    o.overflow = 6;
    begin(&o);
    assert_int_equal(crew_set_size(s.crew, 0, at_ms(1), &err), WEIR_E_INVALID);
    assert_int_equal(crew_set_size(s.crew, CREW_WORKERS_MAX - 5, at_ms(1), &err), WEIR_E_INVALID);
    assert_non_null(strstr(err.message, "from 1 to 4090"));
    sound(&s);
    for (unsigned long n = 1; n <= 2; n++) {
        mem_fail_at(n);
        assert_int_equal(crew_set_size(s.crew, 3000, at_ms(1), &err), WEIR_E_NOMEM);
        mem_fail_at(0);
        sound(&s);
        assert_int_equal(crew_get_options(s.crew)->size, 2);
    }
    stand_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_larger_size_starts_more),
        cmocka_unit_test(a_lazy_crew_starts_none_before_they_are_wanted),
        cmocka_unit_test(a_smaller_size_retires_idle_workers_at_once),
        cmocka_unit_test(busy_workers_that_are_too_many_end_when_they_are_idle),
        cmocka_unit_test(those_that_start_go_first_and_those_with_sessions_after_idle_ones),
        cmocka_unit_test(what_was_parked_with_one_that_goes_is_to_be_chosen_anew),
        cmocka_unit_test(extra_workers_become_permanent),
        cmocka_unit_test(a_crew_that_shrank_can_have_extra_workers_again),
        cmocka_unit_test(a_worker_that_dies_among_surplus_ones_is_replaced_when_there_is_room),
        cmocka_unit_test(a_size_that_cannot_be_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
