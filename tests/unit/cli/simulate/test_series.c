/* Sums over time: nothing is lost when spans are joined, and the memory does not grow. */
#include "cli/simulate/series.h"
#include "unit/cli/cli_test.h"

static struct series s;

static struct series_span sum_of(const struct series *of)
{
    struct series_span sum = {0};

    for (size_t i = 0; i < of->count; i++) {
        sum.seconds += of->spans[i].seconds;
        sum.accepted += of->spans[i].accepted;
        sum.refused += of->spans[i].refused;
        sum.capacity += of->spans[i].capacity;
    }
    return sum;
}

static void add_seconds(int count)
{
    struct series_span slice = {
        .seconds = 1, .capacity = 20, .capacity_limited_s = 1, .accepted = 3, .refused = 1};

    for (int i = 0; i < count; i++)
        series_add(&s, NS_PER_S, &slice);
}

static void slices_fall_into_spans(void **state)
{
    (void)state;
    series_init(&s, 2 * NS_PER_S);
    add_seconds(5);
    assert_int_equal(s.count, 3);
    assert_true(s.spans[0].accepted == 6 && s.spans[1].accepted == 6 && s.spans[2].accepted == 3);
    assert_int_equal(s.length_ns, 5 * NS_PER_S);
}

static void a_long_run_keeps_its_sums_in_the_same_memory(void **state)
{
    const int seconds = SERIES_SPANS_MAX * 37 + 11;
    struct series_span sum;

    (void)state;
    series_init(&s, NS_PER_S / 4);
    add_seconds(seconds);
    assert_true(s.count <= SERIES_SPANS_MAX && s.count > SERIES_SPANS_MAX / 2);
    sum = sum_of(&s);
    assert_true(sum.seconds == seconds && sum.accepted == 3.0 * seconds);
    assert_true(sum.refused == seconds && sum.capacity == 20.0 * seconds);
}

static void a_longer_slice_than_a_span_begins_in_one(void **state)
{
    (void)state;
    series_init(&s, NS_PER_S / 10);
    add_seconds(2);
    assert_int_equal(s.count, 11);
    assert_true(s.spans[0].seconds == 1 && s.spans[5].seconds == 0 && s.spans[10].seconds == 1);
}

static void folding_keeps_the_sums(void **state)
{
    (void)state;
    series_init(&s, NS_PER_S);
    add_seconds(1000);
    series_fold(&s, 300);
    assert_int_equal(s.count, 250);
    assert_int_equal(s.span_ns, 4 * NS_PER_S);
    assert_true(sum_of(&s).accepted == 3000);
    series_fold(&s, 300);
    assert_int_equal(s.count, 250);
    series_fold(&s, 1);
    assert_int_equal(s.count, 1);
    assert_true(s.spans[0].accepted == 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_fall_into_spans),
        cmocka_unit_test(a_long_run_keeps_its_sums_in_the_same_memory),
        cmocka_unit_test(a_longer_slice_than_a_span_begins_in_one),
        cmocka_unit_test(folding_keeps_the_sums),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
