/* A crew: how its workers are given work, end, are recycled, and are listed. */
#include "crew_test.h"

/* ---- work ---- */

static void with_one_in_flight_a_worker_is_busy_and_ready_in_turn(void **state)
{
    struct crew_options o = options(1);
    struct worker *w;
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    all_ready(&s);
    w = pick(&s, NULL);
    for (int i = 0; i < 3; i++) {
        assert_ptr_equal(pick(&s, NULL), w);
        assert_false(give(&s, w, NULL, i));
        assert_int_equal(w->life.state, WORKER_BUSY);
        assert_null(pick(&s, NULL));
        answered(&s, w, NULL, i == 2 ? CREW_ANSWER_CAPACITY : CREW_ANSWER_OK, i);
        assert_int_equal(w->life.state, WORKER_READY);
    }
    assert_int_equal(w->requests, 3);
    assert_int_equal(w->ok, 2);
    assert_int_equal(w->failed, 0);
    assert_int_equal(of(w)->pings, 1); /* being full is no failure */
    assert_int_equal(s.host.told, 1 + 6);
    stand_end(&s);
}

static void idle_workers_go_last_in_first_out_or_first_in_first_out(void **state)
{
    struct crew_options o = options(3);
    struct worker *w[3];
    struct stand s;

    (void)state;
    for (int order = CREW_LIFO; order <= CREW_FIFO; order++) {
        o.order = (enum crew_order)order;
        stand_init(&s, &o);
        all_ready(&s);
        for (int i = 0; i < 3; i++) {
            w[i] = pick(&s, NULL);
            give(&s, w[i], NULL, 0);
        }
        assert_null(pick(&s, NULL));
        answered(&s, w[1], NULL, CREW_ANSWER_OK, 1);
        answered(&s, w[0], NULL, CREW_ANSWER_OK, 2);
        answered(&s, w[2], NULL, CREW_ANSWER_OK, 3);
        assert_ptr_equal(pick(&s, NULL), order == CREW_LIFO ? w[2] : w[1]);
        stand_end(&s);
    }
}

static void a_worker_that_says_it_can_has_many_in_flight(void **state)
{
    struct crew_options o = options(2);
    struct worker *a, *b;
    struct stand s;

    (void)state;
    o.max_in_flight = 3;
    stand_init(&s, &o);
    run_at(&s, 0);
    a = nth(&s, 0);
    b = nth(&s, 1);
    crew_spawned(s.crew, a, 1, at_ms(0));
    crew_spawned(s.crew, b, 2, at_ms(0));
    crew_pong(s.crew, a, true, NULL, 100, at_ms(0)); /* no more than the pool allows */
    crew_pong(s.crew, b, true, NULL, 0, at_ms(0));   /* it says nothing: one */
    assert_int_equal(a->max_in_flight, 3);
    assert_int_equal(b->max_in_flight, 1);
    for (int i = 0; i < 4; i++)
        give(&s, pick(&s, NULL), NULL, 0);
    assert_null(pick(&s, NULL));
    assert_int_equal(a->in_flight, 3);
    assert_int_equal(b->in_flight, 1);
    answered(&s, a, NULL, CREW_ANSWER_OK, 1);
    assert_int_equal(a->life.state, WORKER_BUSY);
    assert_ptr_equal(pick(&s, NULL), a);
    answered(&s, a, NULL, CREW_ANSWER_OK, 1);
    answered(&s, a, NULL, CREW_ANSWER_OK, 1);
    assert_int_equal(a->life.state, WORKER_READY);
    stand_end(&s);
}

static void idle_workers_come_first_and_the_others_in_turn(void **state)
{
    struct crew_options o = options(3);
    struct stand s;

    (void)state;
    o.max_in_flight = 4;
    stand_init(&s, &o);
    all_ready(&s);
    for (uint32_t round = 1; round <= 4; round++) {
        for (int i = 0; i < 3; i++)
            give(&s, pick(&s, NULL), NULL, 0);
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(nth(&s, i)->in_flight, round);
    }
    stand_end(&s);
}

/* ---- ends ---- */

static void a_killed_workers_place_is_filled_at_once(void **state)
{
    struct crew_options o = options(1);
    struct worker *w;
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    all_ready(&s);
    w = nth(&s, 0);
    give(&s, w, NULL, 10);
    answered(&s, w, NULL, CREW_ANSWER_NONE, 20);
    assert_null(pick(&s, NULL));
    gone(&s, w, 20);
    run_at(&s, 20);
    assert_int_equal(s.edge.spawned, 2);
    assert_int_equal(crew_counts(s.crew).lost, 1);
    assert_int_equal(crew_take_strikes(s.crew), 0);
    assert_false(crew_all_affected(s.crew));
    assert_string_equal(s.host.last, "terminating -> terminated: exited: status 1 (after 0 s)");
    stand_end(&s);
}

static void a_request_that_timed_out_kills_its_worker(void **state)
{
    struct crew_options o = options(1);
    struct worker *w;
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    all_ready(&s);
    w = nth(&s, 0);
    give(&s, w, NULL, 10);
    crew_kill(s.crew, w, "a request timed out", "after 60 s", at_ms(60010));
    assert_int_equal(of(w)->ends[CREW_END_KILL], 1);
    assert_int_equal(w->life.state, WORKER_TERMINATING);
    answered(&s, w, NULL, CREW_ANSWER_NONE, 60010);
    run_at(&s, 60010);
    assert_int_equal(s.edge.spawned, 2); /* it need not be gone for that */
    crew_kill(s.crew, w, "once more", NULL, at_ms(60011));
    assert_int_equal(of(w)->ends[CREW_END_KILL], 1);
    assert_int_equal(of(w)->ends[CREW_END_SHUTDOWN], 0);
    gone(&s, w, 60012);
    assert_int_equal(crew_counts(s.crew).killed, 1);
    assert_int_equal(crew_counts(s.crew).lost, 0);
    stand_end(&s);
}

static void a_worker_that_left_a_request_without_an_answer_does_not_stay(void **state)
{
    struct crew_options o = options(1);
    struct worker *w;
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    all_ready(&s);
    w = nth(&s, 0);
    give(&s, w, NULL, 10);
    answered(&s, w, NULL, CREW_ANSWER_NONE, 20);
    run_at(&s, 20); /* and nobody has killed it */
    assert_int_equal(of(w)->ends[CREW_END_SHUTDOWN], 1);
    assert_int_equal(s.edge.spawned, 2);
    stand_end(&s);
}

static void a_retiring_worker_ends_though_its_last_request_got_no_answer(void **state)
{
    struct crew_options o = options(1);
    struct worker *w;
    struct stand s;

    (void)state;
    o.max_in_flight = 2;
    stand_init(&s, &o);
    all_ready(&s);
    w = nth(&s, 0);
    give(&s, w, NULL, 0);
    give(&s, w, NULL, 0);
    answered(&s, w, NULL, CREW_ANSWER_NONE, 1);
    run_at(&s, 1);
    assert_int_equal(of(w)->ends[CREW_END_SHUTDOWN], 0);
    answered(&s, w, NULL, CREW_ANSWER_NONE, 2);
    run_at(&s, 2);
    assert_int_equal(of(w)->ends[CREW_END_SHUTDOWN], 1);
    stand_end(&s);
}

static void only_one_process_more_than_places_is_there_while_workers_end(void **state)
{
    struct crew_options o = options(3);
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    all_ready(&s);
    for (size_t i = 0; i < 3; i++)
        crew_kill(s.crew, nth(&s, i), "it hangs", NULL, at_ms(5000));
    run_at(&s, 5000);
    assert_int_equal(s.edge.spawned, 3 + CREW_SPARE);
    gone(&s, nth(&s, 1), 5001);
    run_at(&s, 5001);
    assert_int_equal(s.edge.spawned, 4 + CREW_SPARE);
    gone(&s, nth(&s, 0), 5001);
    gone(&s, nth(&s, 2), 5001);
    run_at(&s, 5001);
    assert_int_equal(s.edge.spawned, 6);
    stand_end(&s);
}

static void a_worker_is_asked_to_end_and_then_made_to(void **state)
{
    struct crew_options o = options(1);
    struct edge_worker *e;
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    all_ready(&s);
    e = of(nth(&s, 0));
    crew_shut_down(s.crew, false, at_ms(100));
    assert_int_equal(run_at(&s, 100), 5100);
    assert_int_equal(e->ends[CREW_END_SHUTDOWN], 1);
    run_at(&s, 5099);
    assert_int_equal(e->ends[CREW_END_TERM], 0);
    assert_int_equal(run_at(&s, 5100), 10100);
    assert_int_equal(e->ends[CREW_END_TERM], 1);
    run_at(&s, 10099);
    assert_int_equal(e->ends[CREW_END_KILL], 0);
    assert_int_equal(run_at(&s, 10100), -1);
    assert_int_equal(e->ends[CREW_END_KILL], 1);
    assert_false(crew_is_empty(s.crew));
    gone(&s, nth(&s, 0), 10200);
    assert_true(crew_is_empty(s.crew));
    assert_int_equal(s.edge.spawned, 1); /* nothing starts any more */
    stand_end(&s);
}

static void without_grace_the_ends_follow_at_once(void **state)
{
    struct crew_options o = options(1);
    struct edge_worker *e;
    struct stand s;

    (void)state;
    o.shutdown_grace_ns = o.term_grace_ns = 0;
    stand_init(&s, &o);
    all_ready(&s);
    e = of(nth(&s, 0));
    crew_shut_down(s.crew, false, at_ms(100));
    assert_int_equal(run_at(&s, 100), -1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(e->ends[i], 1);
    stand_end(&s);
}

static void one_that_gets_ready_while_all_is_shut_down_is_asked_to_end(void **state)
{
    struct crew_options o = options(1);
    struct worker *w;
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    run_at(&s, 0);
    w = nth(&s, 0);
    crew_spawned(s.crew, w, 1, at_ms(10));
    crew_shut_down(s.crew, false, at_ms(20));
    crew_pong(s.crew, w, true, NULL, 0, at_ms(20)); /* it was on its way */
    sound(&s);
    run_at(&s, 20);
    assert_int_equal(of(w)->ends[CREW_END_SHUTDOWN], 1);
    stand_end(&s);
}

static void a_shut_down_lets_busy_workers_finish_unless_at_once(void **state)
{
    struct crew_options o = options(3);
    struct worker *starting, *busy, *idle;
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    run_at(&s, 0);
    starting = nth(&s, 0);
    busy = nth(&s, 1);
    idle = nth(&s, 2);
    ready(&s, busy, 0);
    give(&s, busy, NULL, 0);
    ready(&s, idle, 0);
    crew_shut_down(s.crew, false, at_ms(100));
    sound(&s);
    run_at(&s, 100);
    assert_int_equal(of(starting)->ends[CREW_END_TERM], 1);
    assert_int_equal(of(idle)->ends[CREW_END_SHUTDOWN], 1);
    assert_int_equal(busy->life.state, WORKER_BUSY);
    assert_null(pick(&s, NULL));
    crew_spawned(s.crew, starting, 1, at_ms(101)); /* told late: nothing is asked of it */
    assert_int_equal(of(starting)->pings, 0);
    crew_shut_down(s.crew, true, at_ms(200));
    sound(&s);
    assert_int_equal(of(busy)->ends[CREW_END_TERM], 1);
    assert_int_equal(of(busy)->ends[CREW_END_SHUTDOWN], 0);
    assert_int_equal(busy->life.state, WORKER_TERMINATING);
    answered(&s, busy, NULL, CREW_ANSWER_OK, 201);
    gone(&s, starting, 300);
    assert_int_equal(crew_counts(s.crew).failed_starts, 0);
    stand_end(&s);
}

/* ---- recycling ---- */

static void a_worker_is_recycled_after_so_many_requests(void **state)
{
    struct crew_options o = options(1);
    struct worker *w;
    struct stand s;

    (void)state;
    o.recycle_requests = 2;
    stand_init(&s, &o);
    all_ready(&s);
    w = nth(&s, 0);
    give(&s, w, NULL, 0);
    answered(&s, w, NULL, CREW_ANSWER_OK, 1);
    assert_ptr_equal(pick(&s, NULL), w);
    give(&s, w, NULL, 2);
    answered(&s, w, NULL, CREW_ANSWER_OK, 3);
    assert_null(pick(&s, NULL));
    run_at(&s, 3);
    assert_int_equal(of(w)->ends[CREW_END_SHUTDOWN], 1);
    assert_int_equal(s.edge.spawned, 2); /* its replacement does not wait for its end */
    assert_int_equal(crew_counts(s.crew).recycled, 1);
    ready(&s, s.edge.last, 4);
    gone(&s, w, 5);
    run_at(&s, 5);
    assert_int_equal(s.edge.spawned, 2);
    stand_end(&s);
}

static void a_worker_with_many_in_flight_is_not_given_more_than_it_may_have_in_all(void **state)
{
    struct crew_options o = options(1);
    struct worker *w;
    struct stand s;

    (void)state;
    o.recycle_requests = 5;
    o.max_in_flight = 4;
    stand_init(&s, &o);
    all_ready(&s);
    w = nth(&s, 0);
    for (int i = 0; i < 3; i++)
        give(&s, w, NULL, 0);
    answered(&s, w, NULL, CREW_ANSWER_OK, 1);
    for (int i = 0; i < 2; i++)
        give(&s, w, NULL, 0);
    assert_null(pick(&s, NULL));
    for (int i = 0; i < 4; i++) {
        run_at(&s, 2 + i);
        assert_int_equal(w->ending, CREW_ENDING_NOT);
        answered(&s, w, NULL, CREW_ANSWER_OK, 2 + i);
    }
    run_at(&s, 10);
    assert_int_equal(of(w)->ends[CREW_END_SHUTDOWN], 1);
    stand_end(&s);
}

static void a_worker_is_recycled_by_age_between_requests(void **state)
{
    struct crew_options o = options(2);
    struct worker *busy, *idle;
    struct stand s;

    (void)state;
    o.recycle_age_ns = 10 * NS_PER_S;
    stand_init(&s, &o);
    all_ready(&s);
    busy = pick(&s, NULL);
    give(&s, busy, NULL, 9000);
    idle = pick(&s, NULL);
    assert_int_equal(run_at(&s, 9000), 10000);
    run_at(&s, 10000);
    assert_int_equal(of(idle)->ends[CREW_END_SHUTDOWN], 1);
    assert_int_equal(busy->life.state, WORKER_BUSY);
    assert_int_equal(of(busy)->ends[CREW_END_SHUTDOWN], 0);
    gone(&s, idle, 10100);
    run_at(&s, 11000);
    assert_false(busy->retiring); /* one at a time */
    ready(&s, s.edge.last, 11500);
    run_at(&s, 12000);
    assert_true(busy->retiring);
    assert_int_equal(of(busy)->ends[CREW_END_SHUTDOWN], 0);
    answered(&s, busy, NULL, CREW_ANSWER_OK, 13000);
    run_at(&s, 13000);
    assert_int_equal(of(busy)->ends[CREW_END_SHUTDOWN], 1);
    assert_int_equal(crew_counts(s.crew).recycled, 2);
    stand_end(&s);
}

static void a_worker_is_recycled_by_its_memory_which_is_looked_at_once_a_second(void **state)
{
    struct crew_options o = options(1);
    struct worker *w;
    struct stand s;

    (void)state;
    o.recycle_memory_bytes = 1000;
    stand_init(&s, &o);
    all_ready(&s);
    w = nth(&s, 0);
    s.edge.memory_bytes = 1000;
    for (int i = 0; i < 5; i++) {
        give(&s, w, NULL, i);
        answered(&s, w, NULL, CREW_ANSWER_OK, i);
    }
    assert_int_equal(s.edge.memory_asked, 1);
    assert_int_equal(w->memory_bytes, 1000);
    s.edge.memory_bytes = 1001;
    give(&s, w, NULL, 999);
    answered(&s, w, NULL, CREW_ANSWER_OK, 999);
    assert_ptr_equal(pick(&s, NULL), w);
    give(&s, w, NULL, 999);
    answered(&s, w, NULL, CREW_ANSWER_OK, 1000);
    assert_int_equal(s.edge.memory_asked, 2);
    assert_null(pick(&s, NULL));
    run_at(&s, 1000);
    assert_int_equal(of(w)->ends[CREW_END_SHUTDOWN], 1);
    assert_string_equal(s.host.last,
                        "ready -> terminating: uses more memory than it may (after 0 s)");
    stand_end(&s);
}

/* ---- looking ---- */

struct listed {
    size_t n;
    size_t places[8];
    bool placed[8];
};

static void list_worker(void *ctx, const struct worker *w)
{
    struct listed *l = ctx;

    l->places[l->n] = w->place;
    l->placed[l->n++] = w->placed;
}

static void workers_are_listed_by_place_and_counted_by_state(void **state)
{
    struct crew_options o = options(3);
    struct crew_counts counts;
    struct listed l = {0};
    struct stand s;

    (void)state;
    stand_init(&s, &o);
    all_ready(&s);
    give(&s, nth(&s, 2), NULL, 0);
    crew_kill(s.crew, nth(&s, 0), "it hangs", NULL, at_ms(1));
    run_at(&s, 1);
    crew_each(s.crew, list_worker, &l);
    assert_int_equal(l.n, 4);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(l.places[i], i + 1);
        assert_true(l.placed[i]);
    }
    assert_false(l.placed[3]);
    counts = crew_counts(s.crew);
    assert_int_equal(counts.workers, 4);
    assert_int_equal(counts.by_state[WORKER_INITIALIZING], 1);
    assert_int_equal(counts.by_state[WORKER_READY], 1);
    assert_int_equal(counts.by_state[WORKER_BUSY], 1);
    assert_int_equal(counts.by_state[WORKER_TERMINATING], 1);
    assert_int_equal(counts.by_health[HEALTH_UNKNOWN], 1);
    assert_ptr_equal(crew_find(s.crew, 2), nth(&s, 1));
    assert_null(crew_find(s.crew, 99));
    stand_end(&s);
}

static void each_option_has_its_range(void **state)
{
    struct weir_error err;
    struct crew_options o;

#define REFUSED(field, value, name)                                                                \
    do {                                                                                           \
        crew_options_init(&o);                                                                     \
        assert_int_equal(crew_options_check(&o, &err), WEIR_OK);                                   \
        o.field = (value);                                                                         \
        assert_int_equal(crew_options_check(&o, &err), WEIR_E_INVALID);                            \
        if (!strstr(err.message, name))                                                            \
            fail_msg("the message does not name %s: %s", name, err.message);                       \
    } while (0)

    (void)state;
    REFUSED(size, 0, "size");
    REFUSED(size, CREW_WORKERS_MAX + 1, "size");
    REFUSED(overflow, CREW_WORKERS_MAX, "overflow");
    REFUSED(overflow, SIZE_MAX, "overflow");
    REFUSED(max_in_flight, 0, "max_in_flight");
    REFUSED(max_in_flight, CREW_IN_FLIGHT_MAX + 1, "max_in_flight");
    REFUSED(order, (enum crew_order)2, "order");
    REFUSED(init_timeout_ns, 0, "init_timeout");
    REFUSED(overflow_idle_ns, 0, "overflow_idle");
    REFUSED(recycle_age_ns, -1, "recycle_age");
    REFUSED(shutdown_grace_ns, -1, "shutdown_grace");
    REFUSED(term_grace_ns, -1, "term_grace");
    REFUSED(health.failures, 0, "health_failures");
    REFUSED(restart.factor, 0.5, "backoff_factor");
    REFUSED(affinity.idle_ns, 0, "session_idle");
#undef REFUSED
}

static void every_lack_of_memory_in_making_is_told(void **state)
{
    struct fake_edge edge = {0};
    struct crew_options o = options(4);
    struct crew *c = NULL;
    struct weir_error err;
    unsigned long n;

    (void)state;
    for (n = 1;; n++) {
        enum weir_status status;

        mem_fail_at(n);
        status = crew_new(&o, &edge.edge, NULL, at_ms(0), &c, &err);
        if (!mem_has_failed()) {
            mem_fail_at(0);
            assert_int_equal(status, WEIR_OK);
            break;
        }
        assert_int_equal(status, WEIR_E_NOMEM);
        assert_null(c);
    }
    mem_fail_at(0);
    assert_int_equal(n, 6);
    crew_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_one_in_flight_a_worker_is_busy_and_ready_in_turn),
        cmocka_unit_test(idle_workers_go_last_in_first_out_or_first_in_first_out),
        cmocka_unit_test(a_worker_that_says_it_can_has_many_in_flight),
        cmocka_unit_test(idle_workers_come_first_and_the_others_in_turn),
        cmocka_unit_test(a_killed_workers_place_is_filled_at_once),
        cmocka_unit_test(a_request_that_timed_out_kills_its_worker),
        cmocka_unit_test(a_worker_that_left_a_request_without_an_answer_does_not_stay),
        cmocka_unit_test(a_retiring_worker_ends_though_its_last_request_got_no_answer),
        cmocka_unit_test(only_one_process_more_than_places_is_there_while_workers_end),
        cmocka_unit_test(a_worker_is_asked_to_end_and_then_made_to),
        cmocka_unit_test(without_grace_the_ends_follow_at_once),
        cmocka_unit_test(one_that_gets_ready_while_all_is_shut_down_is_asked_to_end),
        cmocka_unit_test(a_shut_down_lets_busy_workers_finish_unless_at_once),
        cmocka_unit_test(a_worker_is_recycled_after_so_many_requests),
        cmocka_unit_test(a_worker_with_many_in_flight_is_not_given_more_than_it_may_have_in_all),
        cmocka_unit_test(a_worker_is_recycled_by_age_between_requests),
        cmocka_unit_test(a_worker_is_recycled_by_its_memory_which_is_looked_at_once_a_second),
        cmocka_unit_test(workers_are_listed_by_place_and_counted_by_state),
        cmocka_unit_test(each_option_has_its_range),
        cmocka_unit_test(every_lack_of_memory_in_making_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
