/* The search for the highest rate that is borne. */
#include "flow_test.h"

#include "flow/search.h"

#include <math.h>

struct world {
    struct search s;
    struct allowance a;
    struct instant now;
    uint64_t sent;
    int refused;
};

static struct world world_at(double rate_rps)
{
    struct world w = {.now = at_s(0)};

    allowance_init(&w.a, 0.02);
    search_init(&w.s, rate_rps);
    return w;
}

/* One regular dispatch, and a whole trial if one is wanted, with its verdict by what the service bears. */
static bool step(struct world *w, double bears_rps)
{
    w->now = instant_after(w->now, 1 / w->s.rate_rps);
    w->sent++;
    if (!search_wants_trial(&w->s, w->now, w->sent + 1, &w->a, HUGE_VAL))
        return false;
    while (w->s.trial.left > 0)
        search_trial_sent(&w->s, w->now, ++w->sent, 0.5);
    w->now = w->s.trial.due;
    if (w->s.trial.rate_rps > bears_rps) {
        w->refused++;
        search_trial_refused(&w->s, w->now, &w->a);
    } else {
        search_trial_borne(&w->s, w->now, w->sent, &w->a);
    }
    return true;
}

/* Until the rate is held. */
static void find(struct world *w, double bears_rps)
{
    int steps = 0;

    do {
        step(w, bears_rps);
        assert_true(++steps < 20000); /* at 5,000/s, 500 dispatches lie between two trials */
    } while (w->s.searching);
}

static void it_doubles_then_bisects_to_within_five_percent(void **state)
{
    (void)state;
    for (double bears = 4.5; bears < 5000; bears *= 1.37) {
        struct world w = world_at(4);

        find(&w, bears);
        assert_true(w.s.rate_rps <= bears);
        assert_true(w.s.rate_rps * 1.05 > bears);
        assert_true(w.refused <=
                    6); /* doubling overshoots once, bisection from 2 to 1.05 takes 4 */
    }
}

static void a_doubling_step_is_one_dispatch_a_small_one_several(void **state)
{
    struct world w = world_at(8);

    (void)state;
    assert_true(search_wants_trial(&w.s, at_s(1), 1, &w.a, HUGE_VAL));
    assert_int_equal(w.s.trial.sends, 1);
    assert_true(w.s.trial.rate_rps == 16);
    search_trial_refused(&w.s, at_s(1), &w.a);
    assert_true(search_wants_trial(&w.s, at_s(1), 2, &w.a, HUGE_VAL));
    assert_true(w.s.trial.sends >= 2);
}

static void whoever_is_in_debt_looks_longer(void **state)
{
    struct world w = world_at(8);

    (void)state;
    for (int i = 0; i < 10; i++)
        allowance_pay(&w.a);
    assert_true(search_wants_trial(&w.s, at_s(1), 1, &w.a, HUGE_VAL));
    assert_int_equal(w.s.trial.sends, 8);
}

static void a_cut_searches_between_what_is_left_and_what_was_refused(void **state)
{
    struct world w = world_at(20);

    (void)state;
    search_cut(&w.s, at_s(0), 0.5);
    assert_true(w.s.rate_rps == 10);
    w.now = at_s(1);
    find(&w, 15);
    assert_true(w.s.rate_rps > 14 && w.s.rate_rps <= 15);
}

static void an_old_refusal_no_longer_bounds_the_search(void **state)
{
    struct world w = world_at(20);

    (void)state;
    search_cut(&w.s, at_s(0), 0.5);
    assert_true(search_wants_trial(&w.s, at_s(16), 1, &w.a, HUGE_VAL));
    assert_true(w.s.trial.rate_rps == 20);
}

static void probes_come_after_their_interval_and_not_before(void **state)
{
    struct world w = world_at(4);
    struct instant held;

    (void)state;
    find(&w, 10);
    held = w.now;
    assert_true(search_interval_s(&w.s, &w.a) >= 1);
    while (!step(&w, 10))
        assert_true(instant_seconds(w.now, held) < 20);
    assert_true(instant_seconds(w.now, held) > 1);
}

static void a_level_that_came_back_is_tried_at_once(void **state)
{
    struct world w = world_at(5);

    (void)state;
    levels_remember(&w.s.levels, 18);
    levels_remember(&w.s.levels, 18);
    search_trial_void(&w.s, at_s(0), &w.a); /* holds 5/s */
    w.now = at_s(60);
    while (!step(&w, 20))
        ;
    if (w.s.rate_rps < 17) /* the first probe is a small one */
        while (!step(&w, 20) || w.s.rate_rps < 17)
            assert_true(instant_seconds(w.now, at_s(60)) < 60);
    assert_true(w.s.rate_rps == 18);
    assert_false(w.s.searching);
    assert_true(w.s.check_above); /* and whether there is more */
}

static void what_was_held_for_a_while_is_remembered(void **state)
{
    struct world w = world_at(4);

    (void)state;
    for (int i = 0; i < 2; i++) {
        find(&w, 10);
        for (uint64_t n = 1; n < 40; n++)
            search_held(&w.s, instant_add(w.now, 6 * NS_PER_S), w.sent + n, 0, HUGE_VAL);
        search_cut(&w.s, w.now, 0.5);
        w.now = instant_add(w.now, 20 * NS_PER_S);
    }
    assert_int_equal(levels_seen(&w.s.levels, 10), 2);
}

static void successes_raise_a_held_rate_a_little_and_never_above_the_most(void **state)
{
    struct world w = world_at(4);
    double rate;

    (void)state;
    find(&w, 10);
    rate = w.s.rate_rps;
    search_held(&w.s, w.now, w.sent, 1, HUGE_VAL);
    assert_true(w.s.rate_rps > rate && w.s.rate_rps < 1.001 * rate);
    for (int i = 0; i < 100000; i++)
        search_held(&w.s, w.now, w.sent, 1, 12);
    assert_true(w.s.rate_rps == 12);
}

static void a_stray_refusal_after_many_dispatches_costs_less(void **state)
{
    struct world few = world_at(10), many = world_at(10);

    (void)state;
    search_notch(&few.s, at_s(0), 1, &few.a);
    search_notch(&many.s, at_s(0), 1000, &many.a);
    assert_true(few.s.rate_rps == 9);
    assert_true(many.s.rate_rps > 9.9 && many.s.rate_rps < 10);
}

static void no_trial_exceeds_the_most(void **state)
{
    struct world w = world_at(10);

    (void)state;
    assert_true(search_wants_trial(&w.s, at_s(1), 1, &w.a, 11));
    assert_true(w.s.trial.rate_rps == 11);
    search_trial_borne(&w.s, at_s(2), 2, &w.a);
    assert_false(search_wants_trial(&w.s, at_s(100), 3, &w.a, 11));
    assert_false(search_wants_trial(&w.s, at_s(101), 3, &w.a, 7)); /* it was lowered meanwhile */
    assert_true(w.s.rate_rps == 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_doubles_then_bisects_to_within_five_percent),
        cmocka_unit_test(a_doubling_step_is_one_dispatch_a_small_one_several),
        cmocka_unit_test(whoever_is_in_debt_looks_longer),
        cmocka_unit_test(a_cut_searches_between_what_is_left_and_what_was_refused),
        cmocka_unit_test(an_old_refusal_no_longer_bounds_the_search),
        cmocka_unit_test(probes_come_after_their_interval_and_not_before),
        cmocka_unit_test(a_level_that_came_back_is_tried_at_once),
        cmocka_unit_test(what_was_held_for_a_while_is_remembered),
        cmocka_unit_test(successes_raise_a_held_rate_a_little_and_never_above_the_most),
        cmocka_unit_test(a_stray_refusal_after_many_dispatches_costs_less),
        cmocka_unit_test(no_trial_exceeds_the_most),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
