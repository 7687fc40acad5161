/* The kinds of throttle behind their common calls. */
#include "flow_test.h"

#include "flow/throttle.h"

static const struct throttle_ticket ticket = {0};
static const struct throttle_refusal refusal = {.held_until = INSTANT_NONE};

static struct throttle throttle_of(enum throttle_kind kind, struct rng *rng)
{
    struct throttle_options o;
    struct throttle t;

    throttle_options_init(&o);
    o.kind = kind;
    assert_int_equal(throttle_options_check(&o, NULL), WEIR_OK);
    rng_seed(rng, 7);
    throttle_init(&t, &o, rng);
    return t;
}

static void names_lead_there_and_back(void **state)
{
    (void)state;
    for (int i = 0; i < THROTTLE_KINDS; i++) {
        enum throttle_kind kind = THROTTLE_KINDS;

        assert_true(throttle_kind_from_name(throttle_kind_name((enum throttle_kind)i), &kind));
        assert_int_equal(kind, i);
    }
    assert_string_equal(throttle_kind_name(THROTTLE_KINDS), "unknown");
    assert_string_equal(throttle_kind_name((enum throttle_kind) - 1), "unknown");
}

static void unknown_name_leaves_the_output_alone(void **state)
{
    enum throttle_kind kind = THROTTLE_AIMD;

    (void)state;
    assert_false(throttle_kind_from_name("fast", &kind));
    assert_false(throttle_kind_from_name("", &kind));
    assert_false(throttle_kind_from_name("AIMD", &kind));
    assert_int_equal(kind, THROTTLE_AIMD);
}

static void default_is_adaptive(void **state)
{
    struct throttle_options o;

    (void)state;
    throttle_options_init(&o);
    assert_int_equal(o.kind, THROTTLE_ADAPTIVE);
    assert_int_equal(throttle_options_check(&o, NULL), WEIR_OK);
}

static void unknown_kind_is_refused(void **state)
{
    struct throttle_options o;
    struct weir_error err;

    (void)state;
    throttle_options_init(&o);
    o.kind = THROTTLE_KINDS;
    assert_refused(throttle_options_check(&o, &err), err, "throttle");
    o.kind = (enum throttle_kind) - 1;
    assert_refused(throttle_options_check(&o, &err), err, "throttle");
}

static void aimd_options_matter_to_aimd_only(void **state)
{
    struct throttle_options o;
    struct weir_error err;

    (void)state;
    throttle_options_init(&o);
    o.kind = THROTTLE_AIMD;
    o.aimd.multiplier = 1;
    assert_refused(throttle_options_check(&o, &err), err, "backoff_multiplier");
    o.kind = THROTTLE_NONE;
    assert_int_equal(throttle_options_check(&o, &err), WEIR_OK);
}

static void none_and_aimd_let_other_rows_pass_after_refusals(void **state)
{
    (void)state;
    for (int i = THROTTLE_NONE; i <= THROTTLE_AIMD; i++) {
        struct rng rng;
        struct throttle t = throttle_of((enum throttle_kind)i, &rng);

        for (int k = 0; k < 20; k++) {
            struct throttle_ticket sent = throttle_sent(&t, at_ms(k), 1000, 1);

            throttle_refused(&t, at_ms(k), &sent, &refusal);
        }
        assert_int_equal(throttle_when(&t, at_ms(20), 1000, 1).ns, at_ms(20).ns);
    }
}

static void none_makes_a_refused_row_wait_its_floor_with_jitter(void **state)
{
    struct rng rng;
    struct throttle t = throttle_of(THROTTLE_NONE, &rng);
    duration_ns least = INT64_MAX, most = 0;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        duration_ns wait = throttle_refused(&t, at_ms(i), &ticket, &refusal);

        least = wait < least ? wait : least;
        most = wait > most ? wait : most;
    }
    assert_in_range(least, THROTTLE_NONE_WAIT_NS, THROTTLE_NONE_WAIT_NS * 11 / 10);
    assert_in_range(most, THROTTLE_NONE_WAIT_NS * 19 / 10, THROTTLE_NONE_WAIT_NS * 2);
    assert_int_equal(throttle_state(&t)->delay_ns, 0);
}

static void aimd_waits_its_delay_and_tells_it(void **state)
{
    struct rng rng;
    struct throttle t = throttle_of(THROTTLE_AIMD, &rng);

    (void)state;
    assert_int_equal(throttle_state(&t)->delay_ns, 0);
    assert_int_equal(throttle_refused(&t, at_ms(0), &ticket, &refusal), 50 * NS_PER_MS);
    assert_int_equal(throttle_refused(&t, at_ms(0), &ticket, &refusal), 100 * NS_PER_MS);
    throttle_accepted(&t, at_ms(1), &ticket);
    assert_int_equal(throttle_state(&t)->delay_ns, 50 * NS_PER_MS);
}

static void aimd_says_how_and_why_its_delay_moved(void **state)
{
    struct rng rng;
    struct throttle t = throttle_of(THROTTLE_AIMD, &rng);
    const struct throttle_state *s = throttle_state(&t);
    char text[96];

    (void)state;
    throttle_accepted(&t, at_ms(0), &ticket);
    assert_int_equal(s->changes, 0); /* the delay was 0 and stayed so: no decision */
    throttle_refused(&t, at_ms(1), &ticket, &refusal);
    assert_int_equal(s->changes, 1);
    assert_string_equal(throttle_describe(s, text, sizeof text), "delay 0 ms -> 50 ms: refused");
    throttle_refused(&t, at_ms(1), &ticket, &refusal);
    throttle_accepted(&t, at_ms(2), &ticket);
    assert_string_equal(throttle_describe(s, text, sizeof text), "delay 100 ms -> 50 ms: accepted");
    assert_int_equal(s->by_reason[THROTTLE_REASON_REFUSED], 2);
    assert_int_equal(s->by_reason[THROTTLE_REASON_ACCEPTED], 1);
    assert_int_equal(s->changed_at.ns, at_ms(2).ns);
}

static void a_change_is_told_with_what_limits_beside(void **state)
{
    struct throttle_state s, to;
    struct throttle_limit limit;
    char text[160];

    (void)state;
    throttle_state_init(&s, THROTTLE_MODE_OPEN);
    limit = throttle_limit_of(&s);
    assert_int_equal(limit.mode, THROTTLE_MODE_OPEN);
    assert_int_equal(limit.window, UINT32_MAX);
    to = s;
    to.mode = THROTTLE_MODE_RATE;
    to.rate_rps = 19.56;
    throttle_state_change(&s, at_ms(1), THROTTLE_REASON_FIRST_REFUSAL, &to);
    assert_string_equal(throttle_describe(&s, text, sizeof text),
                        "open -> rate 19.6/s: the first refusal: paced from now on");
    to.rate_rps = 1234.4;
    to.window = 32;
    throttle_state_change(&s, at_ms(1), THROTTLE_REASON_LATENCY, &to);
    assert_string_equal(throttle_describe(&s, text, sizeof text),
                        "rate 19.6/s -> 1234/s with 32 in flight: latency grew with the load");
    limit = throttle_limit_of(&s);
    assert_true(limit.rate_rps == 1234.4);
    assert_int_equal(limit.window, 32);
    assert_int_equal(limit.reason, THROTTLE_REASON_LATENCY);
    to.mode = THROTTLE_MODE_WINDOW;
    throttle_state_change(&s, at_ms(1), THROTTLE_REASON_CONCURRENCY, &to);
    assert_string_equal(
        throttle_describe(&s, text, sizeof text),
        "rate 1234/s with 32 in flight -> window 32: refusals go with the number in "
        "flight");
}

static void the_last_changes_can_be_told_one_by_one(void **state)
{
    struct throttle_state s, then;

    (void)state;
    throttle_state_init(&s, THROTTLE_MODE_OPEN);
    assert_false(throttle_state_at(&s, 0, &then));
    assert_false(throttle_state_at(&s, 1, &then));
    for (int i = 1; i <= 10; i++) {
        struct throttle_state to = s;

        to.mode = THROTTLE_MODE_RATE;
        to.rate_rps = i;
        throttle_state_change(&s, at_ms(i), i % 2 ? THROTTLE_REASON_BORNE : THROTTLE_REASON_OUTAGE,
                              &to);
    }
    assert_false(throttle_state_at(&s, 10 - THROTTLE_RECENT, &then));
    for (uint64_t i = 10 - THROTTLE_RECENT + 1; i <= 10; i++) {
        assert_true(throttle_state_at(&s, i, &then));
        assert_int_equal(then.changes, i);
        assert_true(then.rate_rps == (double)i && then.rate_before_rps == (double)(i - 1));
        assert_int_equal(then.changed_at.ns, at_ms((int)i).ns);
        assert_int_equal(then.reason, i % 2 ? THROTTLE_REASON_BORNE : THROTTLE_REASON_OUTAGE);
    }
    assert_false(throttle_state_at(&s, 11, &then));
}

static void counters_can_be_taken_since_an_earlier_state(void **state)
{
    struct throttle_state s, before;

    (void)state;
    throttle_state_init(&s, THROTTLE_MODE_OPEN);
    throttle_state_change(&s, at_ms(1), THROTTLE_REASON_BORNE, &s);
    before = s;
    throttle_state_change(&s, at_ms(2), THROTTLE_REASON_BORNE, &s);
    throttle_state_change(&s, at_ms(3), THROTTLE_REASON_OUTAGE, &s);
    throttle_state_since(&s, &before);
    assert_int_equal(s.changes, 2);
    assert_int_equal(s.by_reason[THROTTLE_REASON_BORNE], 1);
    assert_int_equal(s.by_reason[THROTTLE_REASON_OUTAGE], 1);
    assert_int_equal(s.reason, THROTTLE_REASON_OUTAGE);
}

static void every_mode_and_reason_has_its_words(void **state)
{
    (void)state;
    for (int i = 0; i < THROTTLE_MODES; i++)
        assert_string_not_equal(throttle_mode_name((enum throttle_mode)i), "unknown");
    for (int i = 0; i < THROTTLE_REASONS; i++) {
        assert_non_null(throttle_reason_name((enum throttle_reason)i));
        assert_non_null(throttle_reason_text((enum throttle_reason)i));
    }
    assert_string_equal(throttle_mode_name(THROTTLE_MODES), "unknown");
    assert_string_equal(throttle_reason_name(THROTTLE_REASONS), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_lead_there_and_back),
        cmocka_unit_test(unknown_name_leaves_the_output_alone),
        cmocka_unit_test(default_is_adaptive),
        cmocka_unit_test(unknown_kind_is_refused),
        cmocka_unit_test(aimd_options_matter_to_aimd_only),
        cmocka_unit_test(none_and_aimd_let_other_rows_pass_after_refusals),
        cmocka_unit_test(none_makes_a_refused_row_wait_its_floor_with_jitter),
        cmocka_unit_test(aimd_waits_its_delay_and_tells_it),
        cmocka_unit_test(aimd_says_how_and_why_its_delay_moved),
        cmocka_unit_test(a_change_is_told_with_what_limits_beside),
        cmocka_unit_test(the_last_changes_can_be_told_one_by_one),
        cmocka_unit_test(counters_can_be_taken_since_an_earlier_state),
        cmocka_unit_test(every_mode_and_reason_has_its_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
