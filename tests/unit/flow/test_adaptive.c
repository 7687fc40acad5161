/*
 * The adaptive throttle: what each situation makes of it. Properties that hold for any service are
 * in test_adaptive_properties.c.
 */
#include "flow_test.h"

#include "flow/adaptive.h"

#include <math.h>
#include <stdlib.h>

static const struct throttle_refusal plainly = {.held_until = INSTANT_NONE};

struct world {
    struct rng rng;
    struct adaptive a;
    struct instant now;
};

static void world_init(struct world *w)
{
    struct adaptive_options o;

    adaptive_options_init(&o);
    rng_seed(&w->rng, 1);
    adaptive_init(&w->a, &o, &w->rng);
    w->now = at_s(1);
}

static enum throttle_mode mode(const struct world *w)
{
    return w->a.state.mode;
}

static bool may_go(struct world *w, size_t in_flight)
{
    return adaptive_when(&w->a, w->now, in_flight, 1).ns == w->now.ns;
}

/* Goes as soon as it may; fails when that is not within a minute. */
static struct throttle_ticket go(struct world *w, size_t in_flight)
{
    for (int i = 0; !may_go(w, in_flight); i++) {
        struct instant when = adaptive_when(&w->a, w->now, in_flight, 1);

        assert_true(i < 100 && instant_seconds(when, w->now) < 60);
        w->now = when;
    }
    return adaptive_sent(&w->a, w->now, in_flight, 1);
}

static void refuse(struct world *w, const struct throttle_ticket *t)
{
    adaptive_refused(&w->a, w->now, t, &plainly);
}

/* In rate mode, after n successes one after the other. */
static void close_after(struct world *w, int n, double took_s)
{
    struct throttle_ticket t;

    for (int i = 0; i < n; i++) {
        t = go(w, 0);
        w->now = instant_after(w->now, took_s);
        adaptive_accepted(&w->a, w->now, &t);
    }
    t = go(w, 0);
    w->now = instant_after(w->now, took_s);
    refuse(w, &t);
    assert_int_equal(mode(w), THROTTLE_MODE_RATE);
}

static void waste_has_its_range(void **state)
{
    struct adaptive_options o;
    struct weir_error err;

    (void)state;
    adaptive_options_init(&o);
    assert_true(o.waste == 0.02);
    assert_int_equal(adaptive_options_check(&o, &err), WEIR_OK);
    o.waste = 0.3;
    assert_refused(adaptive_options_check(&o, &err), err, "waste is 0.3");
    o.waste = NAN;
    assert_refused(adaptive_options_check(&o, &err), err, "waste");
}

static void a_success_lets_two_more_go_while_nothing_is_refused(void **state)
{
    struct world w;
    struct throttle_ticket tickets[64];
    size_t window = 1;

    (void)state;
    world_init(&w);
    for (int round = 0; round < 6; round++) {
        for (size_t n = 0; n < window; n++)
            tickets[n] = go(&w, n);
        w.now = instant_add(w.now, NS_PER_MS);
        for (size_t n = 0; n < window; n++)
            adaptive_accepted(&w.a, w.now, &tickets[n]);
        assert_true(may_go(&w, 2 * window - 1));
        assert_int_equal(mode(&w), THROTTLE_MODE_OPEN);
        window *= 2;
    }
    assert_true(w.now.ns < at_ms(1020).ns);
}

static void before_the_first_answer_a_few_go_and_then_ever_more(void **state)
{
    struct world w;
    size_t in_flight = 0;

    (void)state;
    world_init(&w);
    while (w.now.ns < at_s(5).ns)
        go(&w, in_flight++);
    assert_in_range(in_flight, 32, 80); /* 4/s, doubling each second: a small batch is on its way */
    while (in_flight < 64)
        go(&w, in_flight++);
    assert_true(w.now.ns < at_s(7).ns);
}

static void the_first_refusal_makes_a_rate_of_what_was_delivered(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    close_after(&w, 50, 0.05);
    assert_true(w.a.search.rate_rps > 15 && w.a.search.rate_rps < 25);
    assert_int_equal(w.a.state.reason, THROTTLE_REASON_FIRST_REFUSAL);
    assert_int_equal(w.a.state.mode_before, THROTTLE_MODE_OPEN);
}

/* Else one refusal at the start would cost ten seconds. */
static void a_first_answer_that_is_a_refusal_does_not_bring_it_to_a_stop(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    close_after(&w, 0, 0.05);
    assert_true(w.a.state.rate_rps >= 1);
    (void)go(&w, 0);
    assert_true(w.now.ns <= at_ms(2000).ns);
}

static void what_is_told_is_the_rate_in_force(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    close_after(&w, 20, 0.05);
    for (int i = 0; i < 200; i++) {
        struct throttle_ticket t = go(&w, 0);

        w.now = instant_after(w.now, 0.05);
        adaptive_accepted(&w.a, w.now, &t);
        assert_true(w.a.state.mode != THROTTLE_MODE_RATE ||
                    w.a.state.rate_rps == w.a.search.rate_rps);
    }
}

static void dispatches_are_spaced_at_the_rate_and_time_is_not_saved_up(void **state)
{
    struct world w;
    struct instant last;

    (void)state;
    world_init(&w);
    close_after(&w, 50, 0.05);
    go(&w, 0);
    last = w.now;
    w.now = instant_add(w.now, 10 * NS_PER_S);
    go(&w, 1);
    last = w.now;
    go(&w, 2);
    assert_true(instant_seconds(w.now, last) >= 0.9 / w.a.search.rate_rps);
}

static void a_costly_row_waits_in_proportion(void **state)
{
    struct world w;
    duration_ns one, three;

    (void)state;
    world_init(&w);
    close_after(&w, 50, 0.05);
    go(&w, 0);
    one = instant_diff(adaptive_when(&w.a, w.now, 1, 1), w.now);
    three = instant_diff(adaptive_when(&w.a, w.now, 1, 3), w.now);
    assert_true(one > 0);
    assert_true(llabs(three - 3 * one) < 10);
}

static void refusals_close_together_cut_the_rate_once(void **state)
{
    struct world w;
    struct throttle_ticket t[4];
    double rate;

    (void)state;
    world_init(&w);
    close_after(&w, 50, 0.05);
    for (int i = 0; i < 40; i++) { /* until the search has nothing on its way */
        t[0] = go(&w, 0);
        w.now = instant_after(w.now, 0.02);
        adaptive_accepted(&w.a, w.now, &t[0]);
    }
    w.a.search.trial.rate_rps = 0;
    w.a.search.searching = false;
    w.a.search.probe_at = INSTANT_NEVER;
    for (int i = 0; i < 4; i++)
        t[i] = go(&w, (size_t)i);
    rate = w.a.search.rate_rps;
    refuse(&w, &t[0]);
    refuse(&w, &t[1]);
    assert_int_equal(w.a.state.reason, THROTTLE_REASON_CAPACITY_FELL);
    assert_true(w.a.search.rate_rps < 0.55 * rate);
    rate = w.a.search.rate_rps;
    refuse(&w, &t[2]); /* sent before the cut: it knows nothing of it */
    refuse(&w, &t[3]);
    assert_true(w.a.search.rate_rps == rate);
}

static void what_the_service_asks_for_is_no_evidence_and_ends_in_no_herd(void **state)
{
    struct world w;
    struct throttle_ticket t[20];
    struct throttle_refusal held;
    double rate;
    struct instant first = INSTANT_NONE;

    (void)state;
    world_init(&w);
    close_after(&w, 100, 0.05);
    rate = w.a.search.rate_rps;
    for (int i = 0; i < 20; i++)
        t[i] = go(&w, (size_t)i);
    held = (struct throttle_refusal){.held_until = instant_add(w.now, 10 * NS_PER_S)};
    for (int i = 0; i < 20; i++)
        assert_int_equal(adaptive_refused(&w.a, w.now, &t[i], &held), 0);
    assert_int_equal(mode(&w), THROTTLE_MODE_RATE);
    assert_true(w.a.search.rate_rps >= rate);
    for (int i = 0; i < 10; i++) {
        go(&w, (size_t)i);
        if (i == 0)
            first = w.now;
    }
    assert_true(first.ns >= held.held_until.ns);
    assert_true(instant_seconds(w.now, first) > 4 / w.a.search.rate_rps);
}

static void being_held_at_first_ends_in_no_herd_either(void **state)
{
    struct world w;
    struct throttle_ticket t;
    struct throttle_refusal held;

    (void)state;
    world_init(&w);
    for (int i = 0; i < 100; i++) {
        t = go(&w, 0);
        w.now = instant_add(w.now, 50 * NS_PER_MS);
        adaptive_accepted(&w.a, w.now, &t);
    }
    t = go(&w, 0);
    held = (struct throttle_refusal){.held_until = instant_add(w.now, 10 * NS_PER_S)};
    adaptive_refused(&w.a, w.now, &t, &held);
    w.now = held.held_until;
    go(&w, 0);
    assert_false(may_go(&w, 1));
}

static void six_in_a_row_stop_it_and_one_success_resumes(void **state)
{
    struct world w;
    struct throttle_ticket t;
    struct instant stopped;

    (void)state;
    world_init(&w);
    close_after(&w, 50, 0.05);
    for (int i = 0; mode(&w) != THROTTLE_MODE_OUTAGE; i++) {
        assert_true(i < 24); /* in a row, and for a quarter of a second */
        t = go(&w, 0);
        w.now = instant_after(w.now, 0.01);
        refuse(&w, &t);
    }
    stopped = w.now;
    t = go(&w, 0);
    assert_true(instant_seconds(w.now, stopped) >= 0.25);
    assert_false(may_go(&w, 1)); /* one at a time */
    w.now = instant_after(w.now, 0.05);
    adaptive_accepted(&w.a, w.now, &t);
    assert_int_equal(mode(&w), THROTTLE_MODE_RATE);
    assert_int_equal(w.a.state.reason, THROTTLE_REASON_OUTAGE_OVER);
    assert_true(fabs(w.a.search.rate_rps - fmax(1, w.a.parked_rps / 4)) < 0.01);
}

/* A row that is too large for the service, say, is refused again and again; the others are not. */
static void a_row_that_is_never_taken_slows_nobody_else(void **state)
{
    static const struct throttle_refusal fourth = {.row_refusals = 3, .held_until = {INT64_MIN}};
    struct world w;
    struct throttle_ticket t;
    uint64_t changes;
    double rate;

    (void)state;
    world_init(&w);
    close_after(&w, 50, 0.05);
    for (int i = 0; i < 30; i++) {
        t = go(&w, 0);
        w.now = instant_after(w.now, 0.05);
        adaptive_accepted(&w.a, w.now, &t);
    }
    t = go(&w, 0);
    rate = w.a.search.rate_rps;
    changes = w.a.state.changes;
    w.now = instant_after(w.now, 0.05);
    assert_true(adaptive_refused(&w.a, w.now, &t, &fourth) > 0); /* it waits by itself */
    assert_true(w.a.search.rate_rps >= rate && w.a.state.changes == changes);
}

static void a_lost_answer_changes_nothing(void **state)
{
    struct world w;
    struct throttle_ticket t;
    struct adaptive before;

    (void)state;
    world_init(&w);
    close_after(&w, 50, 0.05);
    t = go(&w, 0);
    before = w.a;
    adaptive_lost(&w.a, instant_add(w.now, NS_PER_S), &t);
    assert_memory_equal(&before, &w.a, sizeof before);
}

static void a_probe_that_is_lost_is_followed_by_another(void **state)
{
    struct world w;
    struct throttle_ticket t;

    (void)state;
    world_init(&w);
    close_after(&w, 50, 0.05);
    while (mode(&w) != THROTTLE_MODE_OUTAGE) {
        t = go(&w, 0);
        refuse(&w, &t);
    }
    for (int i = 0; i < 20; i++) {
        t = go(&w, 0);
        adaptive_lost(&w.a, w.now, &t);
        assert_int_equal(mode(&w), THROTTLE_MODE_OUTAGE);
    }
}

static void a_rate_that_holds_nothing_up_for_long_is_given_up(void **state)
{
    struct world w;
    struct throttle_ticket t;

    (void)state;
    world_init(&w);
    close_after(&w, 50, 0.01);
    for (int i = 0; i < 500 && mode(&w) == THROTTLE_MODE_RATE; i++) {
        w.now = instant_add(w.now, 500 * NS_PER_MS);
        t = go(&w, 0);
        adaptive_accepted(&w.a, instant_add(w.now, 10 * NS_PER_MS), &t);
    }
    assert_int_equal(mode(&w), THROTTLE_MODE_OPEN);
    assert_int_equal(w.a.state.reason, THROTTLE_REASON_REOPENED);
    assert_true(w.now.ns > at_s(30).ns);
}

static void other_options_hold_at_once(void **state)
{
    struct world w;
    struct adaptive_options o;
    struct instant last;

    (void)state;
    world_init(&w);
    close_after(&w, 50, 0.05);
    adaptive_options_init(&o);
    o.rate_max_rps = 2;
    adaptive_reconfigure(&w.a, &o);
    go(&w, 0);
    for (int i = 1; i < 20; i++) {
        last = w.now;
        go(&w, (size_t)i);
        assert_true(instant_seconds(w.now, last) >= 0.499);
    }
}

/* A rate of one dispatch in a fraction of a millisecond is kept although whoever waits wakes up late. */
static void a_high_rate_is_kept_on_average_by_a_slow_timer(void **state)
{
    struct world w;
    int sent = 0;

    (void)state;
    world_init(&w);
    close_after(&w, 200, 0.05);
    w.a.search.rate_rps = 4000;
    w.a.search.searching = false;
    w.a.search.probe_at = INSTANT_NEVER;
    go(&w, 0);
    for (int ms = 0; ms < 1000; ms++) {
        w.now = instant_add(w.now, NS_PER_MS);
        while (may_go(&w, 1)) {
            adaptive_sent(&w.a, w.now, 1, 1);
            sent++;
        }
    }
    assert_in_range(sent, 3900, 4100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waste_has_its_range),
        cmocka_unit_test(a_success_lets_two_more_go_while_nothing_is_refused),
        cmocka_unit_test(before_the_first_answer_a_few_go_and_then_ever_more),
        cmocka_unit_test(the_first_refusal_makes_a_rate_of_what_was_delivered),
        cmocka_unit_test(a_first_answer_that_is_a_refusal_does_not_bring_it_to_a_stop),
        cmocka_unit_test(what_is_told_is_the_rate_in_force),
        cmocka_unit_test(dispatches_are_spaced_at_the_rate_and_time_is_not_saved_up),
        cmocka_unit_test(a_costly_row_waits_in_proportion),
        cmocka_unit_test(refusals_close_together_cut_the_rate_once),
        cmocka_unit_test(what_the_service_asks_for_is_no_evidence_and_ends_in_no_herd),
        cmocka_unit_test(being_held_at_first_ends_in_no_herd_either),
        cmocka_unit_test(six_in_a_row_stop_it_and_one_success_resumes),
        cmocka_unit_test(a_row_that_is_never_taken_slows_nobody_else),
        cmocka_unit_test(a_lost_answer_changes_nothing),
        cmocka_unit_test(a_probe_that_is_lost_is_followed_by_another),
        cmocka_unit_test(a_rate_that_holds_nothing_up_for_long_is_given_up),
        cmocka_unit_test(other_options_hold_at_once),
        cmocka_unit_test(a_high_rate_is_kept_on_average_by_a_slow_timer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
