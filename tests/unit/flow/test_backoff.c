/* The waits between attempts. */
#include "flow_test.h"

#include "flow/backoff.h"

#include <limits.h>
#include <math.h>

static struct backoff_options plain(enum backoff_kind kind)
{
    struct backoff_options o;

    backoff_options_init(&o);
    o.kind = kind;
    o.initial_ns = NS_PER_S;
    o.jitter = 0;
    return o;
}

static void assert_waits_s(enum backoff_kind kind, const int *expected, unsigned count)
{
    struct backoff_options o = plain(kind);
    struct rng rng;

    rng_seed(&rng, 1);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(backoff_wait(&o, i + 1, 0, &rng), expected[i] * NS_PER_S);
}

static void names_lead_there_and_back(void **state)
{
    enum backoff_kind kind = BACKOFF_KINDS;

    (void)state;
    for (int i = 0; i < BACKOFF_KINDS; i++) {
        assert_true(backoff_kind_from_name(backoff_kind_name((enum backoff_kind)i), &kind));
        assert_int_equal(kind, i);
    }
    assert_false(backoff_kind_from_name("quadratic", &kind));
    assert_int_equal(kind, BACKOFF_KINDS - 1);
    assert_string_equal(backoff_kind_name(BACKOFF_KINDS), "unknown");
}

static void each_option_has_its_range(void **state)
{
    struct weir_error err;
    struct backoff_options o;

#define REFUSED(field, value, name)                                                                \
    do {                                                                                           \
        backoff_options_init(&o);                                                                  \
        assert_int_equal(backoff_options_check(&o, &err), WEIR_OK);                                \
        o.field = (value);                                                                         \
        assert_refused(backoff_options_check(&o, &err), err, name);                                \
    } while (0)

    (void)state;
    REFUSED(kind, BACKOFF_KINDS, "backoff is");
    REFUSED(kind, (enum backoff_kind) - 1, "backoff is");
    REFUSED(initial_ns, 0, "backoff_initial");
    REFUSED(initial_ns, -1, "backoff_initial");
    REFUSED(factor, 0.99, "backoff_factor");
    REFUSED(factor, NAN, "backoff_factor");
    REFUSED(factor, INFINITY, "backoff_factor");
    REFUSED(ceiling_ns, 499 * NS_PER_MS, "backoff_ceiling");
    REFUSED(jitter, -0.1, "backoff_jitter");
    REFUSED(jitter, 1.1, "backoff_jitter");
    REFUSED(jitter, NAN, "backoff_jitter");
#undef REFUSED
}

static void linear_grows_by_the_initial_wait(void **state)
{
    (void)state;
    assert_waits_s(BACKOFF_LINEAR, (int[]){1, 2, 3, 4, 5}, 5);
}

static void exponential_doubles_up_to_the_ceiling(void **state)
{
    (void)state;
    assert_waits_s(BACKOFF_EXPONENTIAL, (int[]){1, 2, 4, 8, 16, 30, 30}, 7);
}

static void fibonacci_adds_the_last_two(void **state)
{
    (void)state;
    assert_waits_s(BACKOFF_FIBONACCI, (int[]){1, 1, 2, 3, 5, 8, 13, 21, 30}, 9);
}

static void endless_failures_wait_the_ceiling(void **state)
{
    struct rng rng;

    (void)state;
    rng_seed(&rng, 1);
    for (int i = 0; i < BACKOFF_DECORRELATED; i++) {
        struct backoff_options o = plain((enum backoff_kind)i);

        assert_int_equal(backoff_wait(&o, UINT_MAX, 0, &rng), o.ceiling_ns);
        o.ceiling_ns = INT64_MAX;
        assert_true(backoff_wait(&o, UINT_MAX, 0, &rng) > 0);
    }
}

static void jitter_leaves_its_share_to_chance(void **state)
{
    struct backoff_options o = plain(BACKOFF_LINEAR);
    duration_ns least = INT64_MAX, most = 0;
    struct rng rng;

    (void)state;
    rng_seed(&rng, 1);
    o.jitter = 0.5;
    for (int i = 0; i < 2000; i++) {
        duration_ns wait = backoff_wait(&o, 1, 0, &rng);

        least = wait < least ? wait : least;
        most = wait > most ? wait : most;
    }
    assert_in_range(least, 500 * NS_PER_MS, 510 * NS_PER_MS);
    assert_in_range(most, 990 * NS_PER_MS, 1000 * NS_PER_MS);
}

static void decorrelated_lies_between_initial_and_three_times_the_last(void **state)
{
    struct backoff_options o = plain(BACKOFF_DECORRELATED);
    duration_ns wait = 0, most = 0;
    bool tripled = false;
    struct rng rng;

    (void)state;
    rng_seed(&rng, 1);
    for (unsigned i = 1; i < 5000; i++) {
        duration_ns last = wait > o.initial_ns ? wait : o.initial_ns;
        duration_ns bound = 3 * last < o.ceiling_ns ? 3 * last : o.ceiling_ns;

        wait = backoff_wait(&o, i, wait, &rng);
        assert_in_range(wait, o.initial_ns, bound);
        tripled = tripled || wait > last * 28 / 10;
        most = wait > most ? wait : most;
    }
    assert_true(most > 29 * NS_PER_S);
    assert_true(tripled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_lead_there_and_back),
        cmocka_unit_test(each_option_has_its_range),
        cmocka_unit_test(linear_grows_by_the_initial_wait),
        cmocka_unit_test(exponential_doubles_up_to_the_ceiling),
        cmocka_unit_test(fibonacci_adds_the_last_two),
        cmocka_unit_test(endless_failures_wait_the_ceiling),
        cmocka_unit_test(jitter_leaves_its_share_to_chance),
        cmocka_unit_test(decorrelated_lies_between_initial_and_three_times_the_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
