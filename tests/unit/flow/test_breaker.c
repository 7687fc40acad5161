/* The breaker: its three states, what moves it, and that late news moves nothing. */
#include "flow_test.h"

#include "base/rng.h"
#include "flow/breaker.h"

static struct breaker breaker_on(void)
{
    struct breaker_options o;
    struct breaker b;

    breaker_options_init(&o);
    o.on = true;
    assert_int_equal(breaker_options_check(&o, NULL), WEIR_OK);
    breaker_init(&b, &o, at_s(0));
    return b;
}

static uint64_t take(struct breaker *b, struct instant now)
{
    assert_int_equal(breaker_when(b, now).ns, now.ns);
    return breaker_take(b, now);
}

static void fail_times(struct breaker *b, int n, struct instant now)
{
    for (int i = 0; i < n; i++)
        breaker_failed(b, take(b, now), now);
}

static struct breaker half_open(void)
{
    struct breaker b = breaker_on();

    fail_times(&b, 5, at_s(0));
    assert_int_equal(breaker_when(&b, at_s(60)).ns, at_s(60).ns);
    assert_int_equal(b.state, BREAKER_HALF_OPEN);
    return b;
}

static void five_failures_in_a_row_open_it_for_60_s(void **state)
{
    struct breaker b = breaker_on();

    (void)state;
    fail_times(&b, 4, at_s(0));
    assert_int_equal(b.state, BREAKER_CLOSED);
    fail_times(&b, 1, at_s(1));
    assert_int_equal(b.state, BREAKER_OPEN);
    assert_int_equal(b.since.ns, at_s(1).ns);
    assert_int_equal(b.opened, 1);
    assert_int_equal(breaker_when(&b, at_s(1)).ns, at_s(61).ns);
    assert_int_equal(breaker_when(&b, at_s(60)).ns, at_s(61).ns);
    assert_int_equal(b.state, BREAKER_OPEN);
    assert_int_equal(breaker_when(&b, at_s(61)).ns, at_s(61).ns);
    assert_int_equal(b.state, BREAKER_HALF_OPEN);
}

static void a_success_between_failures_keeps_it_closed(void **state)
{
    struct breaker b = breaker_on();

    (void)state;
    for (int i = 0; i < 20; i++) {
        fail_times(&b, 4, at_s(i));
        breaker_succeeded(&b, take(&b, at_s(i)), at_s(i));
    }
    assert_int_equal(b.state, BREAKER_CLOSED);
    assert_int_equal(b.opened, 0);
}

static void what_says_nothing_neither_opens_nor_closes(void **state)
{
    struct breaker b = breaker_on();

    (void)state;
    fail_times(&b, 4, at_s(0));
    for (int i = 0; i < 20; i++)
        breaker_dropped(&b, take(&b, at_s(0)), at_s(0));
    assert_int_equal(b.state, BREAKER_CLOSED);
    fail_times(&b, 1, at_s(0));
    assert_int_equal(b.state, BREAKER_OPEN);
}

static void half_open_lets_three_through_at_a_time(void **state)
{
    struct breaker b = half_open();
    uint64_t ticket[3];

    (void)state;
    for (int i = 0; i < 3; i++)
        ticket[i] = take(&b, at_s(60));
    assert_true(instant_is_never(breaker_when(&b, at_s(60))));
    breaker_dropped(&b, ticket[0], at_s(61)); /* it says nothing, and another may go */
    ticket[0] = take(&b, at_s(61));
    breaker_succeeded(&b, ticket[1], at_s(62));
    ticket[1] = take(&b, at_s(62));
    assert_true(instant_is_never(breaker_when(&b, at_s(62))));
    assert_int_equal(b.state, BREAKER_HALF_OPEN);
}

static void three_successes_close_it(void **state)
{
    struct breaker b = half_open();

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(b.state, BREAKER_HALF_OPEN);
        breaker_succeeded(&b, take(&b, at_s(61 + i)), at_s(61 + i));
    }
    assert_int_equal(b.state, BREAKER_CLOSED);
    fail_times(&b, 4, at_s(64)); /* and it counts from the beginning */
    assert_int_equal(b.state, BREAKER_CLOSED);
}

static void one_failure_while_half_open_opens_it_again(void **state)
{
    struct breaker b = half_open();

    (void)state;
    breaker_succeeded(&b, take(&b, at_s(61)), at_s(61));
    breaker_succeeded(&b, take(&b, at_s(61)), at_s(61));
    breaker_failed(&b, take(&b, at_s(62)), at_s(62));
    assert_int_equal(b.state, BREAKER_OPEN);
    assert_int_equal(b.opened, 2);
    assert_int_equal(breaker_when(&b, at_s(62)).ns, at_s(122).ns);
}

static void news_about_dispatches_of_before_the_last_transition_moves_nothing(void **state)
{
    struct breaker b = breaker_on();
    uint64_t old[8], trial;

    (void)state;
    for (int i = 0; i < 8; i++)
        old[i] = take(&b, at_s(0));
    for (int i = 0; i < 5; i++)
        breaker_failed(&b, old[i], at_s(1));
    assert_int_equal(b.state, BREAKER_OPEN);
    breaker_succeeded(&b, old[5], at_s(2));
    breaker_when(&b, at_s(61));
    trial = take(&b, at_s(61));
    breaker_failed(&b, old[6], at_s(62));
    breaker_dropped(&b, old[7], at_s(62));
    assert_int_equal(b.state, BREAKER_HALF_OPEN);
    assert_int_equal(b.in_flight, 1);
    for (int i = 0; i < 3; i++) {
        breaker_succeeded(&b, trial, at_s(63));
        trial = i < 2 ? take(&b, at_s(63)) : trial;
    }
    assert_int_equal(b.state, BREAKER_CLOSED);
    breaker_failed(&b, trial, at_s(64));
    assert_int_equal(b.failed_in_row, 0);
}

static void workers_that_cannot_start_strike(void **state)
{
    struct breaker b = breaker_on();

    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(b.state, BREAKER_CLOSED);
        breaker_struck(&b, at_s(i));
    }
    assert_int_equal(b.state, BREAKER_OPEN);
    breaker_struck(&b, at_s(20)); /* it is open already: not longer for that */
    assert_int_equal(breaker_when(&b, at_s(20)).ns, at_s(64).ns);
    breaker_when(&b, at_s(64));
    breaker_struck(&b, at_s(65));
    assert_int_equal(b.state, BREAKER_OPEN);
}

static void it_can_be_tripped_by_a_single_failure(void **state)
{
    struct breaker_options o;
    struct breaker b;
    uint64_t ticket;

    (void)state;
    breaker_options_init(&o);
    o.on = true;
    o.failures = UINT32_MAX;
    breaker_init(&b, &o, at_s(0));
    ticket = breaker_take(&b, at_s(0));
    breaker_trip(&b, at_s(1));
    assert_int_equal(b.state, BREAKER_OPEN);
    breaker_trip(&b, at_s(2));
    assert_int_equal(breaker_when(&b, at_s(2)).ns, at_s(61).ns);
    breaker_succeeded(&b, ticket, at_s(3));
    assert_int_equal(breaker_when(&b, at_s(61)).ns, at_s(61).ns);
    breaker_trip(&b, at_s(62));
    assert_int_equal(b.state, BREAKER_OPEN);
    assert_int_equal(b.opened, 2);
}

static void it_is_closed_by_hand_from_any_state(void **state)
{
    struct breaker b = breaker_on();
    uint64_t ticket;

    (void)state;
    fail_times(&b, 4, at_s(0));
    breaker_reset(&b, at_s(0));
    fail_times(&b, 4, at_s(0));
    assert_int_equal(b.state, BREAKER_CLOSED);
    fail_times(&b, 1, at_s(0));
    breaker_reset(&b, at_s(1));
    assert_int_equal(b.state, BREAKER_CLOSED);
    assert_int_equal(breaker_when(&b, at_s(1)).ns, at_s(1).ns);
    b = half_open();
    ticket = take(&b, at_s(60));
    breaker_reset(&b, at_s(61));
    assert_int_equal(b.state, BREAKER_CLOSED);
    breaker_failed(&b, ticket, at_s(62));
    assert_int_equal(b.failed_in_row, 0);
}

static void off_it_never_opens(void **state)
{
    struct breaker_options o;
    struct breaker b;

    (void)state;
    breaker_options_init(&o);
    assert_false(o.on);
    breaker_init(&b, &o, at_s(0));
    fail_times(&b, 1000, at_s(0));
    breaker_struck(&b, at_s(0));
    assert_int_equal(b.state, BREAKER_CLOSED);
}

static void its_moves_are_those_of_the_drawing(void **state)
{
    static const bool drawn[BREAKER_STATES][BREAKER_STATES] = {
        [BREAKER_CLOSED][BREAKER_OPEN] = true,    [BREAKER_OPEN][BREAKER_HALF_OPEN] = true,
        [BREAKER_OPEN][BREAKER_CLOSED] = true,    [BREAKER_HALF_OPEN][BREAKER_CLOSED] = true,
        [BREAKER_HALF_OPEN][BREAKER_OPEN] = true,
    };

    (void)state;
    for (int from = 0; from <= BREAKER_STATES; from++) {
        for (int to = 0; to <= BREAKER_STATES; to++) {
            bool inside = from < BREAKER_STATES && to < BREAKER_STATES;

            assert_int_equal(breaker_may_move((enum breaker_state)from, (enum breaker_state)to),
                             inside && drawn[from][to]);
        }
    }
    assert_string_equal(breaker_state_name(BREAKER_CLOSED), "closed");
    assert_string_equal(breaker_state_name(BREAKER_OPEN), "open");
    assert_string_equal(breaker_state_name(BREAKER_HALF_OPEN), "half_open");
    assert_string_equal(breaker_state_name(BREAKER_STATES), "unknown");
}

static void each_option_has_its_range(void **state)
{
    struct breaker_options o;
    struct weir_error err;

#define REFUSED(field, value, name)                                                                \
    do {                                                                                           \
        breaker_options_init(&o);                                                                  \
        assert_int_equal(breaker_options_check(&o, &err), WEIR_OK);                                \
        o.field = (value);                                                                         \
        assert_refused(breaker_options_check(&o, &err), err, name);                                \
    } while (0)

    (void)state;
    REFUSED(failures, 0, "breaker_failures");
    REFUSED(open_ns, 0, "breaker_open");
    REFUSED(open_ns, INT64_MAX, "breaker_open");
    REFUSED(trials, 0, "breaker_trials");
    REFUSED(successes, 0, "breaker_successes");
#undef REFUSED
}

/* One random life: dispatches whenever it lets them, news in any order, late, or never. */
static void live(uint64_t seed)
{
    enum { FLIGHT = 20 };
    struct breaker b = breaker_on();
    uint64_t flight[FLIGHT];
    size_t in_flight = 0;
    struct instant now = at_s(0);
    struct rng rng;

    rng_seed(&rng, seed);
    b.options.failures = 1 + (uint32_t)rng_below(&rng, 6);
    b.options.trials = 1 + (uint32_t)rng_below(&rng, 4);
    b.options.successes = 1 + (uint32_t)rng_below(&rng, 4);
    for (int step = 0; step < 2000; step++) {
        enum breaker_state before = b.state;
        uint64_t epoch = b.epoch;
        struct instant when;
        size_t at;

        now = instant_add(now, rng_range(&rng, 0, 10 * NS_PER_S));
        when = breaker_when(&b, now);
        assert_true(before != BREAKER_OPEN || b.state != BREAKER_OPEN ||
                    when.ns - b.since.ns == b.options.open_ns);
        if (!instant_before(now, when) && in_flight < FLIGHT)
            flight[in_flight++] = breaker_take(&b, now);
        assert_true(b.state != BREAKER_HALF_OPEN || b.in_flight <= b.options.trials);
        if (in_flight > 0 && rng_below(&rng, 2)) {
            bool current;

            at = rng_below(&rng, in_flight);
            current = flight[at] == b.epoch;
            before = b.state;
            epoch = b.epoch;
            switch (rng_below(&rng, 3)) {
            case 0:
                breaker_succeeded(&b, flight[at], now);
                assert_true(b.state == before || b.state == BREAKER_CLOSED);
                break;
            case 1:
                breaker_failed(&b, flight[at], now);
                assert_true(b.state == before || b.state == BREAKER_OPEN);
                assert_true(!current || before != BREAKER_HALF_OPEN || b.state == BREAKER_OPEN);
                break;
            default:
                breaker_dropped(&b, flight[at], now);
                assert_int_equal(b.state, before);
            }
            assert_true(current || b.state == before);
            assert_int_equal(b.epoch - epoch, b.state != before);
            flight[at] = flight[--in_flight];
        }
    }
    assert_true(b.opened > 0 || b.options.failures > 3);
}

static void no_sequence_of_news_breaks_its_rules(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++)
        live(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_failures_in_a_row_open_it_for_60_s),
        cmocka_unit_test(a_success_between_failures_keeps_it_closed),
        cmocka_unit_test(what_says_nothing_neither_opens_nor_closes),
        cmocka_unit_test(half_open_lets_three_through_at_a_time),
        cmocka_unit_test(three_successes_close_it),
        cmocka_unit_test(one_failure_while_half_open_opens_it_again),
        cmocka_unit_test(news_about_dispatches_of_before_the_last_transition_moves_nothing),
        cmocka_unit_test(workers_that_cannot_start_strike),
        cmocka_unit_test(it_can_be_tripped_by_a_single_failure),
        cmocka_unit_test(it_is_closed_by_hand_from_any_state),
        cmocka_unit_test(off_it_never_opens),
        cmocka_unit_test(its_moves_are_those_of_the_drawing),
        cmocka_unit_test(each_option_has_its_range),
        cmocka_unit_test(no_sequence_of_news_breaks_its_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
