/* A crew: when its workers are asked how they are, and what follows. */
#include "crew_test.h"

static void an_idle_worker_is_asked_and_a_busy_one_is_not(void **state)
{
    struct crew_options o = options(1);
    struct worker *w;
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    all_ready(&s);
    w = pick(&s, NULL);
    assert_int_equal(run_at(&s, 29999), 30000);
    assert_int_equal(of(w)->pings, 1);
    assert_int_equal(run_at(&s, 30000), 35000);
    assert_int_equal(of(w)->pings, 2);
    pong(&s, w, true, 30500);
    assert_int_equal(run_at(&s, 35000), 60500);
    give(&s, w, NULL, 60000);
    run_at(&s, 60500);
    run_at(&s, 200000);
    assert_int_equal(of(w)->pings, 2);
    answered(&s, w, NULL, CREW_ANSWER_OK, 200000);
    assert_int_equal(run_at(&s, 200000), 230000);
    assert_int_equal(run_at(&s, 230000), 235000);
    assert_int_equal(of(w)->pings, 3);
    stand_end(&s);
}

static void a_failed_check_degrades_and_a_passed_one_restores(void **state)
{
    struct crew_options o = options(2);
    struct worker *w, *other;
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    all_ready(&s);
    w = nth(&s, 0);
    other = nth(&s, 1);
    run_at(&s, 30000);
    pong(&s, other, true, 30001);
    run_at(&s, 35000);
    assert_int_equal(w->life.state, WORKER_DEGRADED);
    assert_int_equal(w->health.health, HEALTH_UNHEALTHY);
    assert_ptr_equal(pick(&s, NULL), other); /* nobody else is delayed */
    give(&s, other, NULL, 35000);
    assert_null(pick(&s, NULL));
    assert_false(crew_all_affected(s.crew));
    pong(&s, w, true, 36000); /* too late: it says nothing */
    assert_int_equal(w->life.state, WORKER_DEGRADED);
    run_at(&s, 39999);
    assert_int_equal(of(w)->pings, 2);
    run_at(&s, 40000);
    assert_int_equal(of(w)->pings, 3);
    pong(&s, w, true, 40100);
    assert_int_equal(w->life.state, WORKER_READY);
    assert_ptr_equal(pick(&s, NULL), w);
    assert_int_equal(w->health.failures, 0);
    stand_end(&s);
}

static void three_failed_checks_in_a_row_end_a_worker_and_another_starts(void **state)
{
    struct crew_options o = options(1);
    struct worker *w;
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    all_ready(&s);
    w = nth(&s, 0);
    run_at(&s, 30000);
    run_at(&s, 35000);
    assert_true(crew_all_affected(s.crew));
    run_at(&s, 40000);
    pong(&s, w, false, 40001); /* an error is a failure too */
    run_at(&s, 40001);
    assert_int_equal(s.edge.spawned, 1);
    assert_int_equal(of(w)->ends[CREW_END_KILL], 0);
    run_at(&s, 45001);
    run_at(&s, 50001);
    assert_int_equal(w->life.state, WORKER_TERMINATING);
    assert_int_equal(of(w)->ends[CREW_END_KILL], 1);
    assert_int_equal(s.edge.spawned, 2);
    gone(&s, w, 50002);
    assert_int_equal(crew_counts(s.crew).killed, 1);
    assert_int_equal(crew_counts(s.crew).replaced, 1);
    stand_end(&s);
}

static void an_error_answer_is_followed_by_a_ping_before_the_next_request(void **state)
{
    struct crew_options o = options(1);
    struct worker *w;
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    all_ready(&s);
    w = nth(&s, 0);
    give(&s, w, NULL, 100);
    answered(&s, w, NULL, CREW_ANSWER_ERROR, 200);
    assert_int_equal(of(w)->pings, 2);
    assert_int_equal(w->failed, 1);
    assert_ptr_equal(pick(&s, NULL), w); /* it goes on meanwhile */
    give(&s, w, NULL, 300);
    assert_int_equal(run_at(&s, 300), 5200);
    run_at(&s, 5200); /* the request behind the ping does not excuse it */
    assert_int_equal(w->life.state, WORKER_DEGRADED);
    assert_int_equal(w->in_flight, 1);
    answered(&s, w, NULL, CREW_ANSWER_OK, 6000);
    assert_int_equal(w->life.state, WORKER_DEGRADED);
    assert_null(pick(&s, NULL));
    stand_end(&s);
}

static void a_ping_behind_requests_waits_for_them(void **state)
{
    struct crew_options o = options(1);
    struct worker *w;
    struct stand s;

    (void)state;
    o.max_in_flight = 3;
    stand_init(&s, &o);
    all_ready(&s);
    w = nth(&s, 0);
    for (int i = 0; i < 3; i++)
        give(&s, w, NULL, 0);
    answered(&s, w, NULL, CREW_ANSWER_ERROR, 1000);
    assert_int_equal(of(w)->pings, 2);
    run_at(&s, 60000);
    answered(&s, w, NULL, CREW_ANSWER_OK, 61000);
    run_at(&s, 80000);
    answered(&s, w, NULL, CREW_ANSWER_OK, 81000);
    assert_int_equal(w->life.state, WORKER_READY);
    assert_int_equal(run_at(&s, 81000), 86000);
    run_at(&s, 86000);
    assert_int_equal(w->life.state, WORKER_DEGRADED);
    stand_end(&s);
}

static void a_degraded_worker_with_a_request_in_hand_is_busy_again_when_it_passes(void **state)
{
    struct crew_options o = options(1);
    struct worker *w;
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    all_ready(&s);
    w = nth(&s, 0);
    run_at(&s, 30000);
    give(&s, w, NULL, 30001);
    run_at(&s, 35000);
    assert_int_equal(w->life.state, WORKER_DEGRADED);
    run_at(&s, 40000);
    pong(&s, w, true, 40001);
    assert_int_equal(w->life.state, WORKER_BUSY);
    answered(&s, w, NULL, CREW_ANSWER_OK, 40002);
    assert_ptr_equal(pick(&s, NULL), w);
    stand_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_worker_is_asked_and_a_busy_one_is_not),
        cmocka_unit_test(a_failed_check_degrades_and_a_passed_one_restores),
        cmocka_unit_test(three_failed_checks_in_a_row_end_a_worker_and_another_starts),
        cmocka_unit_test(an_error_answer_is_followed_by_a_ping_before_the_next_request),
        cmocka_unit_test(a_ping_behind_requests_waits_for_them),
        cmocka_unit_test(a_degraded_worker_with_a_request_in_hand_is_busy_again_when_it_passes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
