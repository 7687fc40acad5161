/* Announced quotas: a cap that lasts until its reset, told by answers in any order. */
#include "flow_test.h"

#include "flow/quota.h"

static const duration_ns CEILING = 120 * NS_PER_S;

struct service {
    struct quota q;
    struct rng rng;
};

static struct service service(void)
{
    struct service s;

    quota_init(&s.q);
    rng_seed(&s.rng, 5);
    return s;
}

static void tell(struct service *s, struct instant now, int64_t mark, int64_t remaining,
                 duration_ns reset_ns)
{
    struct flow_quota told = {.limit = 100, .remaining = remaining, .reset_ns = reset_ns};

    quota_told(&s->q, now, mark, &told, CEILING, &s->rng);
}

static bool is_open(const struct service *s, struct instant now, int64_t cost)
{
    return quota_when(&s->q, now, cost).ns == now.ns;
}

static void unknown_quota_caps_nothing(void **state)
{
    struct service s = service();

    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_true(is_open(&s, at_ms(0), 1 << 20));
        quota_take(&s.q, at_s(0), 1 << 20);
    }
    assert_true(instant_is_none(quota_held_until(&s.q)));
}

/* Dispatches as soon as each may go, until `end`; returns how many. */
static int spend(struct service *s, struct instant now, struct instant end)
{
    int sent = 0;

    for (;;) {
        now = quota_when(&s->q, now, 1);
        if (!instant_before(now, end))
            return sent;
        quota_take(&s->q, now, 1);
        assert_true(++sent < 100000);
    }
}

static void what_remains_may_go_and_no_more_until_the_reset(void **state)
{
    struct service s = service();
    int64_t mark = quota_take(&s.q, at_s(0), 1);
    struct instant when;

    (void)state;
    tell(&s, at_s(1), mark, 3, 10 * NS_PER_S);
    assert_int_equal(spend(&s, at_s(1), at_s(11)), 3);
    when = quota_when(&s.q, at_s(10), 1);
    assert_in_range(when.ns, at_s(11).ns, at_s(11).ns + FLOW_JITTER_MAX_NS);
    assert_int_equal(quota_held_until(&s.q).ns, when.ns);
}

static void what_remains_is_spent_evenly_a_little_faster_while_it_is_much(void **state)
{
    struct service s = service();
    int sixth[6];

    (void)state;
    tell(&s, at_s(0), quota_take(&s.q, at_s(0), 1), 99, 60 * NS_PER_S);
    for (int i = 0; i < 6; i++)
        sixth[i] = spend(&s, at_s(10L * i), at_s(10L * (i + 1)));
    assert_in_range(sixth[0], 30, 50); /* evenly: 16 */
    for (int i = 1; i < 4; i++) {
        assert_in_range(sixth[i], 10, sixth[i - 1] + 1);
    }
}

static void a_small_rest_does_not_stop_what_refills_all_the_time(void **state)
{
    struct service s = service();

    (void)state;
    tell(&s, at_s(0), quota_take(&s.q, at_s(0), 1), 2, 59 * NS_PER_S);
    assert_true(instant_seconds(quota_when(&s.q, at_s(0), 1), at_s(0)) <= 0.6);
}

static void nothing_remaining_holds_until_the_reset(void **state)
{
    struct service s = service();
    struct instant when;

    (void)state;
    tell(&s, at_s(1), quota_take(&s.q, at_s(0), 1), 0, 4 * NS_PER_S);
    when = quota_when(&s.q, at_s(1), 1);
    assert_in_range(when.ns, at_s(5).ns, at_ms(5400).ns);
    assert_false(is_open(&s, at_s(1), 0));
}

static void large_row_waits_while_a_small_one_may_go(void **state)
{
    struct service s = service();

    (void)state;
    tell(&s, at_s(0), quota_take(&s.q, at_s(0), 1), 50, 4 * NS_PER_S);
    assert_false(is_open(&s, at_s(3), 51));
    assert_true(is_open(&s, at_s(3), 50));
    assert_true(instant_is_none(quota_held_until(&s.q)));
}

static void stale_figure_does_not_pin_the_rate(void **state)
{
    struct service s = service();
    int sent;

    (void)state;
    tell(&s, at_s(0), quota_take(&s.q, at_s(0), 1), 1, 10 * NS_PER_S);
    quota_take(&s.q, at_s(0), 1);
    assert_false(is_open(&s, at_s(9), 1));
    /* No answer brings a newer figure: at first the limit by the minute, then nothing caps it. */
    sent = spend(&s, at_s(11), at_s(70));
    assert_in_range(sent, 93, 100);
    for (int i = 0; i < 1000; i++) {
        assert_true(is_open(&s, at_s(72), 1));
        quota_take(&s.q, at_s(72), 1);
    }
}

/* A window that slides frees one place at its reset, not all of them. */
static void a_reset_that_has_passed_is_no_licence_for_a_flood(void **state)
{
    struct service s = service();

    (void)state;
    tell(&s, at_s(0), quota_take(&s.q, at_s(0), 1), 0, 100 * NS_PER_MS);
    assert_in_range(spend(&s, at_s(0), at_s(2)), 2, 4);
}

static void what_was_sent_behind_a_request_is_taken_off_its_figure(void **state)
{
    struct service s = service();
    int64_t first = quota_take(&s.q, at_s(0), 1);

    (void)state;
    for (int i = 0; i < 7; i++)
        quota_take(&s.q, at_s(0), 1);
    tell(&s, at_s(1), first, 10, 60 * NS_PER_S);
    assert_true(is_open(&s, at_s(50), 3));
    assert_false(is_open(&s, at_s(50), 4));
}

static void an_older_requests_answer_raises_nothing(void **state)
{
    struct service s = service();
    int64_t first = quota_take(&s.q, at_s(0), 1), second = quota_take(&s.q, at_s(0), 1);

    (void)state;
    tell(&s, at_s(1), second, 0, 60 * NS_PER_S);
    tell(&s, at_s(2), first, 90, 1 * NS_PER_S); /* overtaken */
    assert_false(is_open(&s, at_s(4), 1));
    assert_false(is_open(&s, at_s(60), 1));
}

static void order_of_answers_does_not_matter(void **state)
{
    struct service there = service(), back = service();
    int64_t marks[5];

    (void)state;
    for (int i = 0; i < 5; i++)
        marks[i] = quota_take(&there.q, at_s(0), 1);
    for (int i = 0; i < 5; i++)
        marks[i] = quota_take(&back.q, at_s(0), 1);
    for (int i = 0; i < 5; i++)
        tell(&there, at_s(1), marks[i], 10 - i, 0);
    for (int i = 5; i-- > 0;)
        tell(&back, at_s(1), marks[i], 10 - i, 0);
    assert_memory_equal(&there.q, &back.q, sizeof(there.q));
    assert_int_equal(there.q.left, 6);
}

static void reset_is_believed_up_to_the_ceiling(void **state)
{
    struct service s = service();

    (void)state;
    tell(&s, at_s(0), quota_take(&s.q, at_s(0), 1), 0, INT64_MAX);
    assert_in_range(quota_when(&s.q, at_s(0), 1).ns, CEILING, CEILING + FLOW_JITTER_MAX_NS);
}

static void garbage_is_ignored(void **state)
{
    const struct flow_quota garbage[] = {
        {-1, -1, -1},
        {100, -1, NS_PER_S},
        {100, 0, -1},
        {100, 101, NS_PER_S},
        {0, 0, NS_PER_S},
        {-7, 0, NS_PER_S},
        {INT64_MIN, INT64_MIN, INT64_MIN},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        struct service s = service();
        int64_t mark = quota_take(&s.q, at_s(0), 1);

        quota_told(&s.q, at_s(0), mark, &garbage[i], CEILING, &s.rng);
        assert_true(is_open(&s, at_s(0), 1));
        assert_true(is_open(&s, at_s(0), 1 << 20));
        tell(&s, at_s(0), mark, 0, NS_PER_S); /* nor does it stand in the way of sense */
        assert_false(is_open(&s, at_s(0), 1));
    }
}

static void limit_need_not_be_told(void **state)
{
    const struct flow_quota told = {-1, 0, NS_PER_S};
    struct service s = service();

    (void)state;
    quota_told(&s.q, at_s(0), quota_take(&s.q, at_s(0), 1), &told, CEILING, &s.rng);
    assert_false(is_open(&s, at_s(0), 1));
}

static void jitter_is_a_tenth_and_half_a_second_at_most(void **state)
{
    struct rng rng;
    duration_ns most_short = 0, most_long = 0;

    (void)state;
    rng_seed(&rng, 9);
    for (int i = 0; i < 2000; i++) {
        duration_ns a = flow_jitter(NS_PER_S, &rng), b = flow_jitter(100 * NS_PER_S, &rng);

        assert_in_range(a, 0, 100 * NS_PER_MS);
        assert_in_range(b, 0, FLOW_JITTER_MAX_NS);
        most_short = a > most_short ? a : most_short;
        most_long = b > most_long ? b : most_long;
    }
    assert_true(most_short > 95 * NS_PER_MS);
    assert_true(most_long > 475 * NS_PER_MS);
    assert_int_equal(flow_jitter(0, &rng), 0);
    assert_int_equal(flow_jitter(-5, &rng), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_quota_caps_nothing),
        cmocka_unit_test(what_remains_may_go_and_no_more_until_the_reset),
        cmocka_unit_test(what_remains_is_spent_evenly_a_little_faster_while_it_is_much),
        cmocka_unit_test(a_small_rest_does_not_stop_what_refills_all_the_time),
        cmocka_unit_test(nothing_remaining_holds_until_the_reset),
        cmocka_unit_test(large_row_waits_while_a_small_one_may_go),
        cmocka_unit_test(stale_figure_does_not_pin_the_rate),
        cmocka_unit_test(a_reset_that_has_passed_is_no_licence_for_a_flood),
        cmocka_unit_test(what_was_sent_behind_a_request_is_taken_off_its_figure),
        cmocka_unit_test(an_older_requests_answer_raises_nothing),
        cmocka_unit_test(order_of_answers_does_not_matter),
        cmocka_unit_test(reset_is_believed_up_to_the_ceiling),
        cmocka_unit_test(garbage_is_ignored),
        cmocka_unit_test(limit_need_not_be_told),
        cmocka_unit_test(jitter_is_a_tenth_and_half_a_second_at_most),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
