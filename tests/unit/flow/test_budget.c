/* The budget per minute: evenly spent, and never over in any 60 s. */
#include "flow_test.h"

#include "base/rng.h"
#include "flow/budget.h"

static struct budget budget_of(int64_t limit)
{
    struct budget b;

    budget_init(&b, limit);
    return b;
}

/* Takes as soon as it may, and says when that was. */
static struct instant take_next(struct budget *b, struct instant now, int64_t cost)
{
    struct instant when = budget_when(b, now, cost);

    assert_false(instant_is_never(when));
    budget_take(b, when, cost);
    return when;
}

static void no_limit_never_holds_back(void **state)
{
    struct budget b = budget_of(0);

    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_true(budget_fits(&b, INT64_MAX));
        assert_int_equal(budget_when(&b, at_ms(3), INT64_MAX).ns, at_ms(3).ns);
        budget_take(&b, at_ms(3), INT64_MAX);
    }
}

static void only_a_row_above_the_whole_budget_never_fits(void **state)
{
    struct budget b = budget_of(100);

    (void)state;
    assert_true(budget_fits(&b, 100));
    assert_false(budget_fits(&b, 101));
    assert_true(instant_is_never(budget_when(&b, at_ms(0), 101)));
    assert_int_equal(budget_when(&b, at_ms(0), 100).ns, 0);
}

static void it_starts_without_a_burst(void **state)
{
    struct budget b = budget_of(600);

    (void)state;
    assert_int_equal(take_next(&b, at_ms(0), 1).ns, 0);
    for (int i = 1; i < 100; i++)
        assert_int_equal(take_next(&b, at_ms(0), 1).ns, at_ms(100 * i).ns);
}

static void after_idling_at_most_one_seconds_worth_goes_at_once(void **state)
{
    struct budget b = budget_of(600);
    int at_once = 0;

    (void)state;
    budget_take(&b, at_ms(0), 1);
    while (budget_when(&b, at_s(600), 1).ns == at_s(600).ns) {
        budget_take(&b, at_s(600), 1);
        at_once++;
    }
    assert_in_range(at_once, 10, 11);
}

static void large_row_goes_into_debt_and_the_next_pays(void **state)
{
    struct budget b = budget_of(6000);

    (void)state;
    assert_int_equal(take_next(&b, at_ms(0), 3000).ns, 0);
    assert_int_equal(take_next(&b, at_ms(0), 1).ns, at_s(30).ns);
}

static void whole_budget_at_once_frees_after_the_window(void **state)
{
    struct budget b = budget_of(100);
    struct instant when;

    (void)state;
    budget_take(&b, at_ms(50), 100);
    when = budget_when(&b, at_ms(50), 1);
    assert_true(instant_before(at_ms(60050), when));
    assert_true(when.ns <= at_ms(60050).ns + BUDGET_SLOT_NS);
    budget_take(&b, when, 1);
}

static void the_budget_is_nearly_used_up(void **state)
{
    const int64_t limits[] = {1, 7, 500, 60000, 90001};

    (void)state;
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct budget b = budget_of(limits[i]);
        struct instant now = at_ms(0);
        int64_t taken = 0;

        for (; instant_before(now, at_s(1200)); taken++)
            now = take_next(&b, now, 1);
        assert_true(taken >= limits[i] * 20 * 998 / 1000);
    }
}

static void settling_down_gives_back(void **state)
{
    struct budget b = budget_of(100);

    (void)state;
    budget_take(&b, at_ms(0), 100);
    budget_settle(&b, at_ms(0), 100, 10);
    assert_int_equal(budget_when(&b, at_ms(1), 90).ns, at_s(6).ns); /* 10 of 100 a minute */
    budget_take(&b, at_s(6), 90);
}

static void settling_up_makes_the_next_wait(void **state)
{
    struct budget b = budget_of(100);
    struct instant when;

    (void)state;
    budget_take(&b, at_ms(0), 1);
    budget_settle(&b, at_ms(0), 1, 80);
    when = budget_when(&b, at_ms(10), 21);
    assert_in_range(when.ns, at_s(60).ns, at_ms(60100).ns);
    assert_in_range(budget_when(&b, at_ms(10), 20).ns, at_s(47).ns, at_s(48).ns);
}

static void settling_above_the_limit_waits_one_window_at_most(void **state)
{
    struct budget b = budget_of(100);

    (void)state;
    budget_take(&b, at_ms(0), 1);
    budget_take(&b, at_ms(600), 1);
    budget_settle(&b, at_ms(0), 1, INT64_MAX);
    budget_settle(&b, at_ms(600), 1, 100000);
    assert_in_range(budget_when(&b, at_s(1), 1).ns, at_ms(60600).ns, at_ms(60800).ns);
    assert_in_range(budget_when(&b, at_s(1), 0).ns, at_ms(60000).ns, at_ms(60800).ns);
}

static void untold_use_and_old_news_change_nothing(void **state)
{
    struct budget b = budget_of(100), before;

    (void)state;
    budget_take(&b, at_ms(0), 60);
    before = b;
    budget_settle(&b, at_ms(0), 60, -1);
    budget_settle(&b, at_s(-3600), 60, 1000);
    budget_settle(&b, at_s(3600), 60, 1000);
    assert_memory_equal(&b, &before, sizeof(b));
    budget_take(&b, at_s(3600), 60);
    before = b;
    budget_settle(&b, at_ms(0), 60, 0); /* its slot is another minute's now */
    assert_memory_equal(&b, &before, sizeof(b));
}

static void count_never_goes_below_0(void **state)
{
    struct budget b = budget_of(100);

    (void)state;
    budget_take(&b, at_ms(0), 10);
    for (int i = 0; i < 5; i++)
        budget_settle(&b, at_ms(0), 10, 0);
    assert_int_equal(b.total, 0);
}

static void instants_before_the_clocks_start_will_do(void **state)
{
    struct budget b = budget_of(60);
    struct instant now = at_s(-125);

    (void)state;
    for (int i = 0; i < 200; i++)
        now = take_next(&b, now, 1);
    assert_in_range(now.ns, at_s(73).ns, at_s(76).ns);
}

struct entry {
    struct instant at;
    int64_t estimated, cost;
    bool settled;
};

enum { STEPS = 2000 };

/* The sum of what was taken in the closed 60 s that end at `now`, looked up in the exact log. */
static int64_t window_sum(const struct entry *log, int len, struct instant now)
{
    int64_t sum = 0;

    for (int i = len; i-- > 0 && instant_diff(now, log[i].at) <= BUDGET_WINDOW_NS;)
        sum += log[i].cost;
    return sum;
}

static duration_ns random_step(struct rng *rng)
{
    switch (rng_below(rng, 12)) {
    case 0:
        return rng_range(rng, 0, 70 * NS_PER_S);
    case 1:
        return rng_below(rng, 20) == 0 ? rng_range(rng, 1, 100) * 3600 * NS_PER_S : 0;
    case 2:
        return BUDGET_SLOT_NS * rng_range(rng, 0, 10);
    case 3:
        return 60 * NS_PER_S + rng_range(rng, -1, 1); /* at the window's very edge */
    default:
        return rng_range(rng, 0, NS_PER_S);
    }
}

/* One random life of a budget against its log. settle_up: real costs may exceed the estimates. */
static void random_life(uint64_t seed, bool settle_up)
{
    static struct entry log[STEPS];
    struct rng rng;
    struct budget b;
    struct instant now = {0};
    int len = 0;

    rng_seed(&rng, seed);
    budget_init(&b, rng_below(&rng, 2) ? rng_range(&rng, 1, 50) : rng_range(&rng, 100, 100000));
    for (int i = 0; i < STEPS; i++) {
        int64_t cost = rng_range(&rng, 0, rng_below(&rng, 8) ? b.limit / 20 + 1 : b.limit);
        struct instant when = budget_when(&b, now, cost);

        assert_false(instant_is_never(when));
        assert_false(instant_before(when, now));
        assert_true(instant_diff(when, now) <= BUDGET_WINDOW_NS + NS_PER_S + BUDGET_SLOT_NS);
        if (rng_below(&rng, 2))
            now = when; /* as early as may be: the worst case */
        if (!instant_before(now, when)) {
            budget_take(&b, now, cost);
            log[len++] = (struct entry){now, cost, cost, false};
            /* What is known of any window that ends here; so of any window at all. */
            assert_true(window_sum(log, len, now) <= b.limit);
        }
        if (len > 0 && rng_below(&rng, 3) == 0) {
            struct entry *e = &log[len - 1 - (int)rng_below(&rng, (uint64_t)(len < 9 ? len : 9))];

            if (!e->settled) {
                e->settled = true;
                e->cost = rng_range(&rng, 0, settle_up ? b.limit : e->estimated);
                budget_settle(&b, e->at, e->estimated, e->cost);
            }
        }
        now = instant_add(now, random_step(&rng));
    }
    assert_true(len > STEPS / 20);
}

static void no_60_s_ever_hold_more_than_the_limit(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++)
        random_life(seed, false);
}

static void nothing_goes_while_what_is_known_is_over_the_limit(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++)
        random_life(seed, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_limit_never_holds_back),
        cmocka_unit_test(only_a_row_above_the_whole_budget_never_fits),
        cmocka_unit_test(it_starts_without_a_burst),
        cmocka_unit_test(after_idling_at_most_one_seconds_worth_goes_at_once),
        cmocka_unit_test(large_row_goes_into_debt_and_the_next_pays),
        cmocka_unit_test(whole_budget_at_once_frees_after_the_window),
        cmocka_unit_test(the_budget_is_nearly_used_up),
        cmocka_unit_test(settling_down_gives_back),
        cmocka_unit_test(settling_up_makes_the_next_wait),
        cmocka_unit_test(settling_above_the_limit_waits_one_window_at_most),
        cmocka_unit_test(untold_use_and_old_news_change_nothing),
        cmocka_unit_test(count_never_goes_below_0),
        cmocka_unit_test(instants_before_the_clocks_start_will_do),
        cmocka_unit_test(no_60_s_ever_hold_more_than_the_limit),
        cmocka_unit_test(nothing_goes_while_what_is_known_is_over_the_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
