/*
 * Random numbers: the same from the same seed, inside their bounds, and with the moments that their
 * distributions have. The seeds are fixed, so none of this is left to chance.
 */
#include "base/rng.h"

#include <math.h>
#include <stdbool.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DRAWS 200000

static void the_generator_gives_the_published_sequence(void **state)
{
    /* From the authors' definition, by hand, for the state 1, 2, 3, 4. */
    struct rng r = {{1, 2, 3, 4}};

    (void)state;
    assert_true(rng_u64(&r) == 11520);
    assert_true(rng_u64(&r) == 0);
    assert_true(rng_u64(&r) == 1509978240);
    assert_true(rng_u64(&r) == UINT64_C(1215971899390074240));
}

static void the_seed_decides_everything(void **state)
{
    struct rng a;
    struct rng b;
    struct rng c;
    int same = 0;

    (void)state;
    rng_seed(&a, 42);
    rng_seed(&b, 42);
    rng_seed(&c, 43);
    for (int i = 0; i < 1000; i++) {
        uint64_t x = rng_u64(&a);

        assert_true(x == rng_u64(&b));
        same += x == rng_u64(&c);
    }
    assert_int_equal(same, 0);
    /* The well-known first output of splitmix64 from 0. */
    rng_seed(&a, 0);
    assert_true(a.s[0] == UINT64_C(0xE220A8397B1DCDAF));
}

static void below_stays_below_and_reaches_everything(void **state)
{
    static const uint64_t bounds[] = {1, 2, 3, 7, 10, UINT64_C(1) << 63, UINT64_MAX};
    struct rng r;
    int counts[10] = {0};

    (void)state;
    rng_seed(&r, 1);
    assert_true(rng_below(&r, 0) == 0);
    for (size_t b = 0; b < sizeof(bounds) / sizeof(bounds[0]); b++) {
        for (int i = 0; i < 1000; i++)
            assert_true(rng_below(&r, bounds[b]) < bounds[b]);
    }
    for (int i = 0; i < DRAWS; i++)
        counts[rng_below(&r, 10)]++;
    for (int i = 0; i < 10; i++)
        assert_in_range(counts[i], DRAWS / 10 - 800, DRAWS / 10 + 800);
}

/* With a bound of 3/4 of the range, scaling without drawing again gives every third number twice as
 * often as the others. */
static void below_is_without_bias(void **state)
{
    uint64_t bound = UINT64_C(3) << 62;
    struct rng r;
    int thirds = 0;
    int low = 0;

    (void)state;
    rng_seed(&r, 5);
    for (int i = 0; i < DRAWS; i++) {
        uint64_t x = rng_below(&r, bound);

        thirds += x % 3 == 0;
        low += x < bound / 3;
    }
    assert_in_range(thirds, DRAWS / 3 - 1000, DRAWS / 3 + 1000);
    assert_in_range(low, DRAWS / 3 - 1000, DRAWS / 3 + 1000);
}

static void ranges_include_both_ends(void **state)
{
    struct rng r;
    bool lo = false;
    bool hi = false;

    (void)state;
    rng_seed(&r, 2);
    for (int i = 0; i < 1000; i++) {
        int64_t x = rng_range(&r, -2, 3);

        assert_true(x >= -2 && x <= 3);
        lo = lo || x == -2;
        hi = hi || x == 3;
        x = rng_range(&r, INT64_MAX - 1, INT64_MAX);
        assert_true(x >= INT64_MAX - 1);
        (void)rng_range(&r, INT64_MIN, INT64_MAX);
    }
    assert_true(lo && hi);
    assert_true(rng_range(&r, 9, 9) == 9);
}

static void distributions_have_their_moments(void **state)
{
    double unit = 0;
    double normal = 0;
    double square = 0;
    double exponential = 0;
    struct rng r;

    (void)state;
    rng_seed(&r, 3);
    for (int i = 0; i < DRAWS; i++) {
        double u = rng_unit(&r);
        double n = rng_normal(&r);
        double e = rng_exponential(&r);

        assert_true(u >= 0 && u < 1);
        assert_true(isfinite(n));
        assert_true(isfinite(e) && e >= 0);
        unit += u;
        normal += n;
        square += n * n;
        exponential += e;
    }
    assert_true(fabs(unit / DRAWS - 0.5) < 0.01);
    assert_true(fabs(normal / DRAWS) < 0.01);
    assert_true(fabs(square / DRAWS - 1) < 0.02);
    assert_true(fabs(exponential / DRAWS - 1) < 0.01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_generator_gives_the_published_sequence),
        cmocka_unit_test(the_seed_decides_everything),
        cmocka_unit_test(below_stays_below_and_reaches_everything),
        cmocka_unit_test(below_is_without_bias),
        cmocka_unit_test(ranges_include_both_ends),
        cmocka_unit_test(distributions_have_their_moments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
