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

static void what_remains_may_go_and_no_more_until_the_reset(void **state)
{
    struct service s = service();
    int64_t mark = quota_take(&s.q, at_s(0), 1);
    struct instant when;

    (void)state;
    tell(&s, at_s(1), mark, 3, 10 * NS_PER_S);
    for (int i = 0; i < 3; i++) {
        assert_true(is_open(&s, at_s(2), 1));
        quota_take(&s.q, at_s(0), 1);
    }
    when = quota_when(&s.q, at_s(2), 1);
    assert_in_range(when.ns, at_s(11).ns, at_s(11).ns + FLOW_JITTER_MAX_NS);
    assert_int_equal(quota_held_until(&s.q).ns, when.ns);
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
    assert_false(is_open(&s, at_s(1), 51));
    assert_true(is_open(&s, at_s(1), 50));
    assert_true(instant_is_none(quota_held_until(&s.q)));
    assert_true(is_open(&s, at_s(5), 51)); /* and when nothing is known any more it goes */
}

static void stale_figure_does_not_pin_the_rate(void **state)
{
    struct service s = service();

    (void)state;
    tell(&s, at_s(0), quota_take(&s.q, at_s(0), 1), 1, 10 * NS_PER_S);
    quota_take(&s.q, at_s(0), 1);
    assert_false(is_open(&s, at_s(9), 1));
    for (int i = 0; i < 100; i++) { /* no answer brings a newer figure */
        assert_true(is_open(&s, at_s(11), 1));
        quota_take(&s.q, at_s(0), 1);
    }
}

static void quota_that_refills_under_way_is_not_counted_down_to_0(void **state)
{
    struct service s = service();

    (void)state;
    /* Each answer says that 2 are left, and that all is whole again in a minute. */
    for (int i = 0; i < 1000; i++) {
        assert_true(is_open(&s, at_ms(i), 1));
        tell(&s, at_ms(i), quota_take(&s.q, at_s(0), 1), 2, 60 * NS_PER_S);
    }
}

static void what_was_sent_behind_a_request_is_taken_off_its_figure(void **state)
{
    struct service s = service();
    int64_t first = quota_take(&s.q, at_s(0), 1);

    (void)state;
    for (int i = 0; i < 7; i++)
        quota_take(&s.q, at_s(0), 1);
    tell(&s, at_s(1), first, 10, 60 * NS_PER_S);
    assert_true(is_open(&s, at_s(1), 3));
    assert_false(is_open(&s, at_s(1), 4));
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
        marks[i] = quota_take(&there.q, 1);
    for (int i = 0; i < 5; i++)
        marks[i] = quota_take(&back.q, 1);
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
        cmocka_unit_test(nothing_remaining_holds_until_the_reset),
        cmocka_unit_test(large_row_waits_while_a_small_one_may_go),
        cmocka_unit_test(stale_figure_does_not_pin_the_rate),
        cmocka_unit_test(quota_that_refills_under_way_is_not_counted_down_to_0),
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
