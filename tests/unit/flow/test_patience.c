/* How long a refused row waits by itself. */
#include "flow_test.h"

#include "flow/patience.h"

static void the_first_three_refusals_cost_no_wait(void **state)
{
    struct rng rng;

    (void)state;
    rng_seed(&rng, 1);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(patience_wait_ns(i, &rng), 0);
}

static void from_the_fourth_on_it_doubles_to_five_seconds_with_jitter(void **state)
{
    struct rng rng;
    duration_ns wait = 100 * NS_PER_MS;

    (void)state;
    rng_seed(&rng, 1);
    for (uint32_t refusals = 3; refusals < 200; refusals++) {
        duration_ns least = INT64_MAX, most = 0;

        for (int i = 0; i < 200; i++) {
            duration_ns w = patience_wait_ns(refusals, &rng);

            least = w < least ? w : least;
            most = w > most ? w : most;
        }
        assert_in_range(least, wait / 2, wait * 6 / 10);
        assert_in_range(most, wait * 14 / 10, wait * 15 / 10);
        wait = wait < 2500 * NS_PER_MS ? 2 * wait : 5 * NS_PER_S;
    }
    assert_true(patience_wait_ns(UINT32_MAX, &rng) <= 7500 * NS_PER_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_three_refusals_cost_no_wait),
        cmocka_unit_test(from_the_fourth_on_it_doubles_to_five_seconds_with_jitter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
