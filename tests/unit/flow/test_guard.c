/* Fewer in flight where more only wait longer. */
#include "flow_test.h"

#include "flow/guard.h"

struct world {
    struct guard g;
    struct instant now;
    uint64_t sent;
};

static struct world world(void)
{
    struct world w = {.now = at_s(0)};

    guard_init(&w.g);
    return w;
}

/* A round trip of the whole window, at what a service of so many servers makes of it. */
static void round_trip(struct world *w, double servers, double service_s, size_t in_flight)
{
    double took_s = service_s * (in_flight > servers ? (double)in_flight / servers : 1);
    uint64_t first = w->sent + 1;

    for (size_t i = 0; i < in_flight; i++) {
        w->sent++;
        guard_sent(&w->g, i);
    }
    w->now = instant_after(w->now, took_s);
    for (size_t i = 0; i < in_flight; i++)
        guard_accepted(&w->g, w->now, first + i, w->sent, took_s);
}

static void latency_that_stays_lets_the_window_grow(void **state)
{
    struct world w = world();

    (void)state;
    for (int i = 0; i < 200; i++)
        round_trip(&w, 1e9, 1.0, (size_t)w.g.window);
    assert_true(w.g.window > 1000);
}

static void a_queue_makes_it_shrink_to_about_twice_the_base(void **state)
{
    struct world w = world();

    (void)state;
    for (size_t n = 1; n < 10; n++)
        round_trip(&w, 10, 1.0, n);
    for (int i = 0; i < 100; i++)
        round_trip(&w, 10, 1.0, (size_t)w.g.window);
    assert_true(w.g.window >= 10);
    assert_true(w.g.window <= 30);
    assert_true(guard_limits(&w.g));
}

static void latency_that_does_not_fall_with_the_window_is_not_our_queue(void **state)
{
    struct world w = world();

    (void)state;
    for (int i = 0; i < 10; i++)
        round_trip(&w, 1e9, 1.0, 40);
    for (int i = 0; i < 100; i++)
        round_trip(&w, 1e9, 5.0, w.g.window < 40 ? (size_t)w.g.window : 40);
    assert_true(w.g.window >= 40);
    assert_true(w.g.base_s > 4);
}

static void short_work_is_no_queue(void **state)
{
    struct world w = world();

    (void)state;
    for (size_t n = 1; n < 10; n++)
        round_trip(&w, 2, 1e-6, n);
    for (int i = 0; i < 1000; i++)
        round_trip(&w, 2, 1e-6, w.g.window < 200 ? (size_t)w.g.window : 200);
    assert_true(w.g.window >= 200);
}

static void a_window_that_is_not_used_does_not_grow(void **state)
{
    struct world w = world();

    (void)state;
    for (int i = 0; i < 200; i++)
        round_trip(&w, 1e9, 1.0, 8);
    assert_true(w.g.window == GUARD_WINDOW_START);
}

static void lost_answers_do_not_hold_up_a_measurement_for_ever(void **state)
{
    struct world w = world();

    (void)state;
    w.sent = 5000; /* those at the start never came back */
    for (int i = 0; i < 100; i++)
        round_trip(&w, 1e9, 1.0, (size_t)w.g.window);
    assert_true(w.g.window > GUARD_WINDOW_START);
}

static void a_refusal_spoils_a_measurement(void **state)
{
    struct world w = world();

    (void)state;
    assert_true(w.g.measure_first > 0);
    guard_refused(&w.g, 3);
    assert_true(w.g.measure_first == 0);
    assert_true(w.g.window == GUARD_WINDOW_START);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latency_that_stays_lets_the_window_grow),
        cmocka_unit_test(a_queue_makes_it_shrink_to_about_twice_the_base),
        cmocka_unit_test(latency_that_does_not_fall_with_the_window_is_not_our_queue),
        cmocka_unit_test(short_work_is_no_queue),
        cmocka_unit_test(a_window_that_is_not_used_does_not_grow),
        cmocka_unit_test(lost_answers_do_not_hold_up_a_measurement_for_ever),
        cmocka_unit_test(a_refusal_spoils_a_measurement),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
