/* A crew: how its workers start, when they cannot, and which come and go with demand. */
#include "crew_test.h"

/* ---- starting ---- */

static void a_warm_crew_starts_all_its_workers_at_once(void **state)
{
    struct crew_options o = options(3);
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    assert_int_equal(s.edge.spawned, 0);
    run_at(&s, 0);
    assert_int_equal(s.edge.spawned, 3);
    assert_null(pick(&s, NULL));
    run_at(&s, 1);
    assert_int_equal(s.edge.spawned, 3);
    stand_end(&s);
}

static void a_worker_is_ready_when_its_first_ping_is_answered(void **state)
{
    struct crew_options o = options(1);
    struct worker *w;
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    run_at(&s, 0);
    w = s.edge.last;
    assert_int_equal(w->life.state, WORKER_INITIALIZING);
    assert_int_equal(of(w)->pings, 0);
    crew_spawned(s.crew, w, 77, at_ms(50));
    assert_int_equal(of(w)->pings, 1);
    assert_int_equal(w->pid, 77);
    assert_int_equal(w->health.health, HEALTH_UNKNOWN);
    pong(&s, w, true, 1200);
    assert_int_equal(w->life.state, WORKER_READY);
    assert_int_equal(w->health.health, HEALTH_HEALTHY);
    assert_ptr_equal(pick(&s, NULL), w);
    assert_string_equal(s.host.last,
                        "initializing -> ready: answered its first ping (after 1.2 s)");
    assert_int_equal(crew_counts(s.crew).ready_once, 1);
    stand_end(&s);
}

static void a_first_ping_has_init_timeout_and_not_the_checks_deadline(void **state)
{
    struct crew_options o = options(1);
    struct worker *w;
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    assert_int_equal(run_at(&s, 0), 30000);
    w = s.edge.last;
    crew_spawned(s.crew, w, 1, at_ms(10));
    assert_int_equal(run_at(&s, 29999), 30000);
    assert_int_equal(w->life.state, WORKER_INITIALIZING);
    assert_int_equal(of(w)->ends[CREW_END_KILL], 0);
    assert_int_equal(run_at(&s, 30000), 31000); /* the pause before the next */
    assert_int_equal(of(w)->ends[CREW_END_KILL], 1);
    assert_int_equal(crew_take_strikes(s.crew), 1);
    assert_int_equal(crew_take_strikes(s.crew), 0);
    pong(&s, w, true, 30001); /* too late */
    assert_null(pick(&s, NULL));
    gone(&s, w, 30002);
    assert_int_equal(crew_counts(s.crew).failed_starts, 1);
    assert_int_equal(crew_take_strikes(s.crew), 0);
    stand_end(&s);
}

static void a_first_ping_answered_with_an_error_is_a_failed_start(void **state)
{
    struct crew_options o = options(1);
    struct worker *w;
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    run_at(&s, 0);
    w = s.edge.last;
    crew_spawned(s.crew, w, 1, at_ms(0));
    pong(&s, w, false, 20);
    assert_int_equal(of(w)->ends[CREW_END_KILL], 1);
    assert_int_equal(crew_take_strikes(s.crew), 1);
    gone(&s, w, 21);
    assert_string_equal(s.host.last, "initializing -> terminated: answered its first ping with an "
                                     "error: not well; exited (after 0.021 s)");
    assert_int_equal(run_at(&s, 1019), 1020);
    assert_int_equal(s.edge.spawned, 1);
    run_at(&s, 1020);
    assert_int_equal(s.edge.spawned, 2);
    stand_end(&s);
}

/* Fails the worker that was spawned last, and returns how long the crew then pauses. */
static int64_t fail_last(struct stand *s, int64_t ms)
{
    int64_t wake;

    gone(s, s->edge.last, ms);
    wake = run_at(s, ms);
    assert_true(wake > ms);
    return wake - ms;
}

static void pauses_grow_to_the_ceiling_and_a_ready_worker_resets_them(void **state)
{
    static const int64_t pauses_s[] = {1, 2, 4, 8, 16, 30, 30};
    struct crew_options o = options(1);
    struct stand s;
    int64_t ms = 0;

    (void)state;
    stand_init(&s, &o);
    run_at(&s, 0);
    for (size_t i = 0; i < sizeof pauses_s / sizeof pauses_s[0]; i++) {
        assert_int_equal(s.edge.spawned, i + 1);
        assert_int_equal(fail_last(&s, ms + 5), pauses_s[i] * 1000);
        ms += 5 + pauses_s[i] * 1000;
        run_at(&s, ms - 1);
        assert_int_equal(s.edge.spawned, i + 1);
        run_at(&s, ms);
    }
    assert_int_equal(crew_take_strikes(s.crew), 7);
    assert_true(crew_all_affected(s.crew));
    ready(&s, s.edge.last, ms + 10);
    assert_false(crew_all_affected(s.crew));
    gone(&s, s.edge.last, ms + 20);
    run_at(&s, ms + 20); /* it was ready once: at once */
    assert_int_equal(s.edge.spawned, 9);
    assert_int_equal(fail_last(&s, ms + 30), 1000);
    stand_end(&s);
}

static void a_broken_program_is_not_started_once_for_each_place(void **state)
{
    struct crew_options o = options(4);
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    run_at(&s, 0);
    for (size_t i = 0; i < 4; i++)
        gone(&s, nth(&s, i), 10);
    assert_int_equal(crew_take_strikes(s.crew), 4);
    assert_int_equal(run_at(&s, 10), 1010); /* all at once are one failure of the program */
    run_at(&s, 1010);
    assert_int_equal(s.edge.spawned, 5); /* one tries */
    run_at(&s, 2000);
    assert_int_equal(s.edge.spawned, 5);
    gone(&s, s.edge.last, 2000);
    assert_int_equal(run_at(&s, 2000), 4000);
    run_at(&s, 4000);
    assert_int_equal(s.edge.spawned, 6);
    ready(&s, s.edge.last, 4100);
    run_at(&s, 4100);
    assert_int_equal(s.edge.spawned, 9); /* and the others follow */
    stand_end(&s);
}

static void starts_are_held_while_the_breaker_is_open(void **state)
{
    struct crew_options o = options(2);
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    crew_hold_starts(s.crew, at_ms(500));
    assert_int_equal(run_at(&s, 0), 500);
    assert_int_equal(s.edge.spawned, 0);
    crew_hold_starts(s.crew, INSTANT_NONE);
    run_at(&s, 1);
    assert_int_equal(s.edge.spawned, 2);
    stand_end(&s);
}

static void a_program_that_gets_ready_and_ends_at_once_is_not_started_without_a_pause(void **state)
{
    struct crew_options o = options(1);
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    run_at(&s, 0);
    for (int i = 0; i < CREW_SHORT_LIVES; i++) {
        assert_int_equal(s.edge.spawned, i + 1);
        ready(&s, s.edge.last, i);
        gone(&s, s.edge.last, i);
        run_at(&s, i);
    }
    assert_int_equal(s.edge.spawned, CREW_SHORT_LIVES);
    assert_int_equal(crew_take_strikes(s.crew), 1);
    run_at(&s, 1100);
    assert_int_equal(s.edge.spawned, CREW_SHORT_LIVES + 1);
    ready(&s, s.edge.last, 1100);
    gone(&s, s.edge.last, 1200);
    assert_int_equal(run_at(&s, 1200), 3200); /* still no worker that works: the pause grows */
    run_at(&s, 3200);
    ready(&s, s.edge.last, 3200);
    give(&s, s.edge.last, NULL, 3200);
    answered(&s, s.edge.last, NULL, CREW_ANSWER_OK, 3300);
    gone(&s, s.edge.last, 3300);
    run_at(&s, 3300);
    assert_int_equal(s.edge.spawned, CREW_SHORT_LIVES + 3);
    stand_end(&s);
}

static void workers_that_answered_before_they_died_are_replaced_at_once(void **state)
{
    struct crew_options o = options(1);
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    run_at(&s, 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(s.edge.spawned, i + 1);
        ready(&s, s.edge.last, i);
        give(&s, s.edge.last, NULL, i);
        answered(&s, s.edge.last, NULL, CREW_ANSWER_OK, i);
        gone(&s, s.edge.last, i);
        run_at(&s, i);
    }
    assert_int_equal(crew_take_strikes(s.crew), 0);
    stand_end(&s);
}

/* It shows that it works itself, not that another one would start. */
static void an_answer_of_an_old_worker_does_not_end_the_pause(void **state)
{
    struct crew_options o = options(2);
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    run_at(&s, 0);
    ready(&s, nth(&s, 0), 0);
    gone(&s, nth(&s, 1), 0);
    run_at(&s, 0);
    give(&s, nth(&s, 0), NULL, 10);
    answered(&s, nth(&s, 0), NULL, CREW_ANSWER_OK, 20);
    run_at(&s, 999);
    assert_int_equal(s.edge.spawned, 2);
    run_at(&s, 1000);
    assert_int_equal(s.edge.spawned, 3);
    stand_end(&s);
}

static void a_lack_of_memory_is_a_failed_start(void **state)
{
    struct crew_options o = options(1);
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    mem_fail_at(1);
    assert_int_equal(run_at(&s, 0), 1000);
    mem_fail_at(0);
    assert_int_equal(s.edge.spawned, 0);
    assert_int_equal(crew_take_strikes(s.crew), 1);
    run_at(&s, 1000);
    assert_int_equal(s.edge.spawned, 1);
    stand_end(&s);
}

/* ---- overflow and lazy ---- */

static void extra_workers_come_with_demand_and_go_when_they_are_idle(void **state)
{
    struct crew_options o = options(1);
    struct worker *extra;
    struct stand s;

    (void)state;
    o.overflow = 2;
    stand_init(&s, &o);
    all_ready(&s);
    crew_want(s.crew, 1, at_ms(0));
    run_at(&s, 0);
    assert_int_equal(s.edge.spawned, 1); /* there is room for it */
    give(&s, pick(&s, NULL), NULL, 0);
    crew_want(s.crew, 1, at_ms(1));
    run_at(&s, 1);
    assert_int_equal(s.edge.spawned, 2);
    crew_want(s.crew, 1, at_ms(2));
    run_at(&s, 2);
    assert_int_equal(s.edge.spawned, 2); /* that one is starting */
    extra = s.edge.last;
    assert_true(extra->extra);
    crew_want(s.crew, 10, at_ms(3));
    run_at(&s, 3);
    assert_int_equal(s.edge.spawned, 3);
    ready(&s, extra, 100);
    ready(&s, s.edge.last, 100);
    crew_want(s.crew, 0, at_ms(3));
    give(&s, extra, NULL, 100);
    answered(&s, extra, NULL, CREW_ANSWER_OK, 5000);
    run_at(&s, 10100);
    assert_int_equal(crew_counts(s.crew).expired_overflow, 1);
    assert_int_equal(of(extra)->ends[CREW_END_SHUTDOWN], 0);
    run_at(&s, 15000);
    assert_int_equal(of(extra)->ends[CREW_END_SHUTDOWN], 1);
    assert_int_equal(crew_counts(s.crew).expired_overflow, 2);
    run_at(&s, 600000);
    assert_int_equal(s.edge.spawned, 3);
    stand_end(&s);
}

static void an_extra_worker_with_sessions_stays_until_they_expire(void **state)
{
    struct crew_options o = options(1);
    struct session *session_a;
    struct worker *extra;
    struct stand s;

    (void)state;
    o.overflow = 1;
    o.health.every_ns = 0;
    stand_init(&s, &o);
    all_ready(&s);
    give(&s, pick(&s, NULL), NULL, 0);
    crew_want(s.crew, 1, at_ms(0));
    run_at(&s, 0);
    crew_want(s.crew, 0, at_ms(0));
    extra = s.edge.last;
    ready(&s, extra, 0);
    session_a = session(&s, "a", 0);
    give(&s, extra, session_a, 0);
    answered(&s, extra, session_a, CREW_ANSWER_OK, 1000);
    leave(&s, session_a, 1000);
    for (int ms = 1000; ms < 301000; ms += 1000)
        run_at(&s, ms);
    assert_int_equal(of(extra)->ends[CREW_END_SHUTDOWN], 0);
    for (int ms = 301000; ms < 312000; ms += 1000)
        run_at(&s, ms);
    assert_int_equal(of(extra)->ends[CREW_END_SHUTDOWN], 1);
    stand_end(&s);
}

static void a_lazy_crew_starts_workers_for_tasks(void **state)
{
    struct crew_options o = options(3);
    struct stand s;

    (void)state;
    o.lazy = true;
    stand_init(&s, &o);
    assert_int_equal(run_at(&s, 0), -1);
    assert_int_equal(s.edge.spawned, 0);
    crew_want(s.crew, 2, at_ms(0));
    run_at(&s, 0);
    assert_int_equal(s.edge.spawned, 2);
    crew_want(s.crew, 9, at_ms(0));
    run_at(&s, 0);
    assert_int_equal(s.edge.spawned, 3);
    crew_want(s.crew, 0, at_ms(0));
    ready(&s, s.edge.last, 10);
    gone(&s, s.edge.last, 5000);
    run_at(&s, 5000);
    assert_int_equal(s.edge.spawned, 3); /* no task, no worker */
    assert_false(crew_all_affected(s.crew));
    stand_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_warm_crew_starts_all_its_workers_at_once),
        cmocka_unit_test(a_worker_is_ready_when_its_first_ping_is_answered),
        cmocka_unit_test(a_first_ping_has_init_timeout_and_not_the_checks_deadline),
        cmocka_unit_test(a_first_ping_answered_with_an_error_is_a_failed_start),
        cmocka_unit_test(pauses_grow_to_the_ceiling_and_a_ready_worker_resets_them),
        cmocka_unit_test(a_broken_program_is_not_started_once_for_each_place),
        cmocka_unit_test(starts_are_held_while_the_breaker_is_open),
        cmocka_unit_test(a_program_that_gets_ready_and_ends_at_once_is_not_started_without_a_pause),
        cmocka_unit_test(workers_that_answered_before_they_died_are_replaced_at_once),
        cmocka_unit_test(an_answer_of_an_old_worker_does_not_end_the_pause),
        cmocka_unit_test(a_lack_of_memory_is_a_failed_start),
        cmocka_unit_test(extra_workers_come_with_demand_and_go_when_they_are_idle),
        cmocka_unit_test(an_extra_worker_with_sessions_stays_until_they_expire),
        cmocka_unit_test(a_lazy_crew_starts_workers_for_tasks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
