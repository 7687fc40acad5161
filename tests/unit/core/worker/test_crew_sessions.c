/* A crew: which worker a session goes to, what waits for it, and what is lost with it. */
#include "crew_test.h"

static void a_session_goes_to_the_worker_that_has_it(void **state)
{
    struct crew_options o = options(2);
    struct session *a, *b;
    struct worker *wa, *wb;
    struct list task;
    struct stand s;

    (void)state;
    list_init(&task);
    stand_init(&s, &o);
    all_ready(&s);
    a = session(&s, "a", 0);
    b = session(&s, "b", 0);
    wa = pick(&s, a);
    assert_false(give(&s, wa, a, 0));
    wb = pick(&s, b);
    assert_ptr_not_equal(wa, wb);
    assert_false(give(&s, wb, b, 0));
    answered(&s, wb, b, CREW_ANSWER_OK, 1);
    assert_null(pick(&s, a));
    {
        struct worker *w = NULL;

        assert_int_equal(crew_pick(s.crew, a, &w), CREW_WAIT);
        assert_ptr_equal(w, wa);
    }
    crew_park(s.crew, wa, &task);
    sound(&s);
    assert_null(crew_calling(s.crew));
    answered(&s, wa, a, CREW_ANSWER_OK, 2);
    assert_ptr_equal(crew_calling(s.crew), wa);
    assert_ptr_equal(pick(&s, NULL), wb); /* wa is kept for what is parked there */
    assert_ptr_equal(wa->parked.next, &task);
    crew_unpark(s.crew, wa, &task);
    sound(&s);
    assert_null(crew_calling(s.crew));
    assert_ptr_equal(pick(&s, a), wa);
    give(&s, wa, a, 3);
    assert_int_equal(affinity_counts(crew_affinity(s.crew)).hits, 1);
    assert_int_equal(affinity_counts(crew_affinity(s.crew)).misses, 2);
    answered(&s, wa, a, CREW_ANSWER_OK, 4);
    leave(&s, a, 4);
    leave(&s, b, 4);
    stand_end(&s);
}

static void a_new_session_goes_to_the_worker_with_the_fewest(void **state)
{
    struct crew_options o = options(3);
    struct session *got[12];
    char name[16];
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    all_ready(&s);
    for (int i = 0; i < 12; i++) {
        struct worker *w;

        snprintf(name, sizeof name, "s%d", i);
        got[i] = session(&s, name, 0);
        w = pick(&s, got[i]);
        give(&s, w, got[i], 0);
        answered(&s, w, got[i], CREW_ANSWER_OK, 0);
        leave(&s, got[i], 0);
    }
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(nth(&s, i)->sessions, 4);
    got[0] = session(&s, "one more", 0);
    assert_ptr_equal(pick(&s, got[0]), pick(&s, NULL)); /* all have as many: the first in order */
    leave(&s, got[0], 0);
    stand_end(&s);
}

static void sessions_of_a_dead_worker_are_told_that_they_are_lost(void **state)
{
    struct crew_options o = options(2);
    struct session *a;
    struct worker *w;
    struct list tasks[2];
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    all_ready(&s);
    a = session(&s, "a", 0);
    w = pick(&s, a);
    give(&s, w, a, 0);
    for (int i = 0; i < 2; i++) {
        list_init(&tasks[i]);
        crew_park(s.crew, w, &tasks[i]);
    }
    answered(&s, w, a, CREW_ANSWER_NONE, 5);
    gone(&s, w, 5);
    assert_ptr_equal(crew_take_orphan(s.crew), &tasks[0]);
    assert_ptr_equal(crew_take_orphan(s.crew), &tasks[1]);
    assert_null(crew_take_orphan(s.crew));
    assert_null(a->worker);
    w = pick(&s, a);
    assert_non_null(w);
    assert_true(give(&s, w, a, 6));
    answered(&s, w, a, CREW_ANSWER_OK, 7);
    assert_false(give(&s, w, a, 8));
    answered(&s, w, a, CREW_ANSWER_OK, 9);
    assert_int_equal(affinity_counts(crew_affinity(s.crew)).rebinds, 1);
    assert_int_equal(affinity_counts(crew_affinity(s.crew)).worker_losses, 1);
    leave(&s, a, 9);
    stand_end(&s);
}

static void a_request_that_was_not_sent_has_told_nobody_that_its_session_is_lost(void **state)
{
    struct crew_options o = options(1);
    struct session *a;
    struct worker *w;
    struct stand s;

    (void)state;
    o.recycle_requests = 2;
    stand_init(&s, &o);
    all_ready(&s);
    a = session(&s, "a", 0);
    w = pick(&s, a);
    give(&s, w, a, 0);
    answered(&s, w, a, CREW_ANSWER_OK, 1);
    assert_true(affinity_release(crew_affinity(s.crew), "a", 1, at_ms(1)));
    for (int i = 0; i < 3; i++) {
        assert_true(give(&s, w, a, 2));
        answered(&s, w, a, CREW_ANSWER_UNSENT, 3);
        assert_ptr_equal(a->worker, w);
        assert_int_equal(w->life.state, WORKER_READY);
    }
    assert_int_equal(w->requests, 1); /* nor has it had them */
    assert_true(give(&s, w, a, 4));
    answered(&s, w, a, CREW_ANSWER_OK, 5);
    run_at(&s, 5);
    assert_true(w->retiring); /* that was the second */
    leave(&s, a, 5);
    stand_end(&s);
}

static void a_retiring_workers_sessions_go_elsewhere_at_once(void **state)
{
    struct crew_options o = options(2);
    struct session *a, *b;
    struct worker *w;
    struct list task;
    struct stand s;

    (void)state;
    o.max_in_flight = 2;
    o.recycle_age_ns = 10 * NS_PER_S;
    stand_init(&s, &o);
    list_init(&task);
    all_ready(&s);
    a = session(&s, "a", 0);
    b = session(&s, "b", 0);
    w = pick(&s, a);
    give(&s, w, a, 9000);
    affinity_bind(crew_affinity(s.crew), b, w, at_ms(9000));
    give(&s, w, b, 9000);
    crew_park(s.crew, w, &task);
    run_at(&s, 10000); /* the other one is the first */
    gone(&s, nth(&s, 0), 10000);
    ready(&s, s.edge.last, 10000);
    run_at(&s, 11000);
    assert_true(w->retiring);
    assert_int_equal(w->in_flight, 2);
    assert_null(b->worker);
    assert_ptr_equal(crew_take_orphan(s.crew), &task);
    assert_ptr_equal(pick(&s, b), nth(&s, 2));
    answered(&s, w, a, CREW_ANSWER_OK, 11002);
    assert_true(a->lost); /* its answer came, its state goes */
    answered(&s, w, b, CREW_ANSWER_OK, 11002);
    leave(&s, a, 11003);
    leave(&s, b, 11003);
    stand_end(&s);
}

static void a_session_waits_for_a_worker_that_has_been_given_all_it_may(void **state)
{
    struct crew_options o = options(1);
    struct session *a, *b;
    struct worker *w, *where = NULL;
    struct stand s;

    (void)state;
    o.max_in_flight = 2;
    o.recycle_requests = 1;
    stand_init(&s, &o);
    all_ready(&s);
    a = session(&s, "a", 0);
    b = session(&s, "b", 0);
    w = pick(&s, a);
    give(&s, w, a, 0);
    affinity_bind(crew_affinity(s.crew), b, w, at_ms(0));
    assert_int_equal(crew_pick(s.crew, b, &where), CREW_WAIT);
    answered(&s, w, a, CREW_ANSWER_OK, 1);
    assert_int_equal(crew_pick(s.crew, b, &where), CREW_NONE);
    leave(&s, a, 1);
    leave(&s, b, 1);
    stand_end(&s);
}

static void an_orphan_can_be_taken_off_before_it_was_taken(void **state)
{
    struct crew_options o = options(1);
    struct session *a;
    struct list task;
    struct worker *w;
    struct stand s;

    (void)state;
    list_init(&task);
    stand_init(&s, &o);
    all_ready(&s);
    a = session(&s, "a", 0);
    w = pick(&s, a);
    give(&s, w, a, 0);
    crew_park(s.crew, w, &task);
    answered(&s, w, a, CREW_ANSWER_NONE, 1);
    gone(&s, w, 1);
    crew_unpark(s.crew, NULL, &task);
    assert_null(crew_take_orphan(s.crew));
    leave(&s, a, 1);
    stand_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_goes_to_the_worker_that_has_it),
        cmocka_unit_test(a_new_session_goes_to_the_worker_with_the_fewest),
        cmocka_unit_test(sessions_of_a_dead_worker_are_told_that_they_are_lost),
        cmocka_unit_test(a_request_that_was_not_sent_has_told_nobody_that_its_session_is_lost),
        cmocka_unit_test(a_retiring_workers_sessions_go_elsewhere_at_once),
        cmocka_unit_test(a_session_waits_for_a_worker_that_has_been_given_all_it_may),
        cmocka_unit_test(an_orphan_can_be_taken_off_before_it_was_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
