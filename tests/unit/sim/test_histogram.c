/* Percentiles from buckets: within 1 % of those that an ordered list would give. */
#include "base/rng.h"
#include "sim/histogram.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define VALUES 20000

static struct histogram h; /* too large for the stack */
static duration_ns values[VALUES];

static int ascending(const void *a, const void *b)
{
    duration_ns x = *(const duration_ns *)a, y = *(const duration_ns *)b;

    return x < y ? -1 : x > y;
}

static void nothing_gives_zero(void **state)
{
    (void)state;
    histogram_clear(&h);
    assert_int_equal(histogram_percentile_ns(&h, 0.5), 0);
    assert_true(histogram_mean_s(&h) == 0);
    assert_int_equal(h.most_ns, 0);
}

static void one_value_is_every_percentile_exactly(void **state)
{
    static const duration_ns some[] = {0, 1, 127, 128, 255, 256, 12345678901, INT64_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        histogram_clear(&h);
        histogram_add(&h, some[i]);
        assert_int_equal(histogram_percentile_ns(&h, 0), some[i]);
        assert_int_equal(histogram_percentile_ns(&h, 0.5), some[i]);
        assert_int_equal(histogram_percentile_ns(&h, 1), some[i]);
    }
}

static void below_zero_counts_as_zero(void **state)
{
    (void)state;
    histogram_clear(&h);
    histogram_add(&h, -5);
    assert_int_equal(histogram_percentile_ns(&h, 0.5), 0);
    assert_int_equal(h.count, 1);
}

/* Lognormal over twelve powers of ten, and all lengths of lists. */
static void any_percentile_is_within_one_percent_of_the_ordered_list(void **state)
{
    static const double shares[] = {0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1};
    static const size_t counts[] = {1, 2, 3, 100, VALUES};
    struct rng r;

    (void)state;
    rng_seed(&r, 3);
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        double sum = 0;

        histogram_clear(&h);
        for (size_t i = 0; i < counts[c]; i++) {
            values[i] = (duration_ns)exp(rng_unit(&r) * 28);
            sum += (double)values[i] / 1e9;
            histogram_add(&h, values[i]);
        }
        qsort(values, counts[c], sizeof *values, ascending);
        for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
            size_t at = (size_t)(shares[i] * (double)counts[c]);
            double exact = (double)values[at < counts[c] ? at : counts[c] - 1];
            double got = (double)histogram_percentile_ns(&h, shares[i]);

            assert_true(fabs(got - exact) <= 0.01 * exact);
        }
        assert_int_equal(h.least_ns, values[0]);
        assert_int_equal(h.most_ns, values[counts[c] - 1]);
        assert_true(fabs(histogram_mean_s(&h) - sum / (double)counts[c]) <= 1e-9 * (1 + sum));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_gives_zero),
        cmocka_unit_test(one_value_is_every_percentile_exactly),
        cmocka_unit_test(below_zero_counts_as_zero),
        cmocka_unit_test(any_percentile_is_within_one_percent_of_the_ordered_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
