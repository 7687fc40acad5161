/*
 * Limits that follow the machine or a queue, in virtual time.
 */
#include "core/follow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct instant at(double seconds)
{
    return instant_after((struct instant){0}, seconds);
}

static struct follow following(enum follow_what what, double target, size_t min, size_t max)
{
    struct follow f;

    follow_init(&f, &(struct follow_options){what, target, min, max});
    return f;
}

/* All places are taken, and more tasks wait. */
static size_t step_full(struct follow *f, double seconds, double value)
{
    return follow_step(f, at(seconds),
                       &(struct follow_reading){value, .running = f->limit, .queued = 1000});
}

static void too_much_load_takes_a_quarter_down_to_the_least(void **state)
{
    struct follow f = following(FOLLOW_LOAD, 1.0, 3, 16);

    (void)state;
    assert_int_equal(f.limit, 16);
    assert_int_equal(step_full(&f, 1, 2.0), 12);
    assert_int_equal(step_full(&f, 3, 2.0), 12); /* the reading cannot know yet */
    assert_int_equal(step_full(&f, 6, 2.0), 9);
    assert_int_equal(step_full(&f, 11, 2.0), 7);
    assert_int_equal(step_full(&f, 16, 2.0), 6);
    assert_int_equal(step_full(&f, 21, 2.0), 5);
    assert_int_equal(step_full(&f, 26, 2.0), 4);
    assert_int_equal(step_full(&f, 31, 2.0), 3);
    assert_int_equal(step_full(&f, 36, 2.0), 3);
}

static void within_the_band_nothing_changes(void **state)
{
    struct follow f = following(FOLLOW_LOAD, 0.8, 1, 16);

    (void)state;
    assert_int_equal(step_full(&f, 0, 1.6), 12);
    for (int s = 1; s < 1000; s++)
        assert_int_equal(step_full(&f, s, s % 2 ? 0.87 : 0.73), 12);
}

static void slack_gives_back_an_eighth_when_the_limit_holds_work_up(void **state)
{
    struct follow f = following(FOLLOW_LOAD, 1.0, 1, 16);

    (void)state;
    f.limit = 8;
    /* Places are free, or nobody waits: a higher limit would change nothing. */
    assert_int_equal(follow_step(&f, at(0), &(struct follow_reading){0.1, 7, 100}), 8);
    assert_int_equal(follow_step(&f, at(1), &(struct follow_reading){0.1, 8, 0}), 8);
    assert_int_equal(step_full(&f, 2, 0.1), 9);
    assert_int_equal(step_full(&f, 11, 0.1), 9); /* not before ten seconds */
    assert_int_equal(step_full(&f, 12, 0.1), 10);
    f.limit = 16;
    assert_int_equal(step_full(&f, 30, 0.1), 16);
}

static void after_it_was_lowered_it_is_not_raised_at_once(void **state)
{
    struct follow f = following(FOLLOW_LOAD, 1.0, 1, 16);

    (void)state;
    assert_int_equal(step_full(&f, 0, 3.0), 12);
    assert_int_equal(step_full(&f, 9, 0.1), 12);
    assert_int_equal(step_full(&f, 10, 0.1), 13);
}

static void places_that_nothing_uses_are_no_help(void **state)
{
    struct follow f = following(FOLLOW_LOAD, 1.0, 1, 100);

    (void)state;
    /* Eight run of a hundred: taking a quarter of the hundred would end nothing. */
    assert_int_equal(follow_step(&f, at(0), &(struct follow_reading){2.0, 8, 0}), 6);
}

static void little_free_memory_lowers_and_much_raises(void **state)
{
    struct follow f = following(FOLLOW_MEMORY, 1000, 1, 8);

    (void)state;
    assert_int_equal(step_full(&f, 0, 950), 8); /* in the band */
    assert_int_equal(step_full(&f, 1, 500), 6);
    assert_int_equal(step_full(&f, 6, 0), 5);
    assert_int_equal(step_full(&f, 20, 4000), 6);
    assert_int_equal(step_full(&f, 40, 1050), 6);
}

static void what_cannot_be_read_changes_nothing(void **state)
{
    struct follow f = following(FOLLOW_MEMORY, 1000, 1, 8);

    (void)state;
    f.limit = 5;
    assert_int_equal(step_full(&f, 0, -1), 5);
    f = following(FOLLOW_LOAD, 1, 1, 8);
    f.limit = 5;
    assert_int_equal(step_full(&f, 100, -1), 5);
}

static size_t step_queue(struct follow *f, double seconds, size_t running, size_t queued)
{
    return follow_step(f, at(seconds), &(struct follow_reading){-1, running, queued});
}

static void a_queue_gets_workers_at_once_and_loses_them_late(void **state)
{
    struct follow f = following(FOLLOW_QUEUE, 10, 2, 8);

    (void)state;
    assert_int_equal(f.limit, 2);
    assert_int_equal(step_queue(&f, 0, 2, 9), 2);
    assert_int_equal(step_queue(&f, 1, 2, 39), 5); /* 41 tasks, ten for each */
    assert_int_equal(step_queue(&f, 2, 5, 100000), 8);
    assert_int_equal(step_queue(&f, 3, 8, 10), 8);
    assert_int_equal(step_queue(&f, 20, 8, 32), 8); /* four would do: the most that it took */
    assert_int_equal(step_queue(&f, 32, 8, 0), 8);
    assert_int_equal(step_queue(&f, 33, 8, 0), 4);
    assert_int_equal(step_queue(&f, 34, 4, 0), 4);
    assert_int_equal(step_queue(&f, 64, 0, 0), 2);
}

static void a_short_lull_ends_no_worker(void **state)
{
    struct follow f = following(FOLLOW_QUEUE, 1, 1, 8);

    (void)state;
    for (int s = 0; s < 300; s++)
        assert_int_equal(step_queue(&f, s, 0, s % 20 == 0 ? 8 : 0), 8);
}

static void other_options_take_hold_at_once(void **state)
{
    struct follow f = following(FOLLOW_LOAD, 1.0, 1, 16);

    (void)state;
    follow_reconfigure(&f, &(struct follow_options){FOLLOW_LOAD, 1.0, 1, 4});
    assert_int_equal(f.limit, 4);
    follow_reconfigure(&f, &(struct follow_options){FOLLOW_QUEUE, 1.0, 6, 10});
    assert_int_equal(f.limit, 6);
    assert_int_equal(step_queue(&f, 0, 0, 9), 9);
}

static void time_that_goes_back_is_no_time(void **state)
{
    struct follow f = following(FOLLOW_LOAD, 1.0, 1, 16);

    (void)state;
    assert_int_equal(step_full(&f, 100, 2.0), 12);
    assert_int_equal(step_full(&f, 50, 2.0), 12);
    assert_int_equal(step_full(&f, 105, 2.0), 9);
}

/* A machine on which each attempt is a load of one, told as the mean over a minute: the limit must settle. */
static void it_settles_on_a_machine_whose_load_lags(void **state)
{
    struct follow f = following(FOLLOW_LOAD, 1.0, 1, 64);
    double load = 0;
    size_t low = SIZE_MAX, high = 0;

    (void)state;
    for (int s = 0; s < 3600; s++) {
        load += ((double)f.limit / 16 - load) / 60;
        (void)step_full(&f, s, load);
        if (s > 1800) {
            low = f.limit < low ? f.limit : low;
            high = f.limit > high ? f.limit : high;
        }
    }
    assert_in_range(low, 10, 17);
    assert_in_range(high, 15, 21);
}

static void wrong_options_are_told(void **state)
{
    const struct follow_options wrong[] = {
        {FOLLOW_NOTHING, 1, 1, 2}, {FOLLOW_LOAD, 0, 1, 2}, {FOLLOW_LOAD, -1, 1, 2},
        {FOLLOW_LOAD, 1, 0, 2},    {FOLLOW_LOAD, 1, 3, 2}, {(enum follow_what)9, 1, 1, 2},
    };
    struct weir_error err;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(follow_options_check(&wrong[i], &err), WEIR_E_INVALID);
    assert_string_equal(follow_what_name(FOLLOW_QUEUE), "queue");
    assert_string_equal(follow_what_name((enum follow_what)77), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(too_much_load_takes_a_quarter_down_to_the_least),
        cmocka_unit_test(within_the_band_nothing_changes),
        cmocka_unit_test(slack_gives_back_an_eighth_when_the_limit_holds_work_up),
        cmocka_unit_test(after_it_was_lowered_it_is_not_raised_at_once),
        cmocka_unit_test(places_that_nothing_uses_are_no_help),
        cmocka_unit_test(little_free_memory_lowers_and_much_raises),
        cmocka_unit_test(what_cannot_be_read_changes_nothing),
        cmocka_unit_test(a_queue_gets_workers_at_once_and_loses_them_late),
        cmocka_unit_test(a_short_lull_ends_no_worker),
        cmocka_unit_test(other_options_take_hold_at_once),
        cmocka_unit_test(time_that_goes_back_is_no_time),
        cmocka_unit_test(it_settles_on_a_machine_whose_load_lags),
        cmocka_unit_test(wrong_options_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
