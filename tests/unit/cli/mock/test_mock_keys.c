/* Distinct and repeated keys, in bounded memory. */
#include "base/mem.h"
#include "base/rng.h"
#include "cli/mock/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void keys_are_counted_once_and_again(void **state)
{
    struct mock_keys k = {0};
    struct rng r;

    (void)state;
    for (int round = 0; round < 3; round++) {
        rng_seed(&r, 1);
        for (int i = 0; i < 50000; i++)
            mock_keys_see(&k, rng_u64(&r));
    }
    assert_int_equal(k.given, 150000);
    assert_int_equal(k.distinct, 50000);
    assert_int_equal(k.repeated, 100000);
    assert_int_equal(k.untracked, 0);
    mock_keys_free(&k);
}

static void keys_that_fall_on_one_place_are_told_apart(void **state)
{
    struct mock_keys k = {0};

    (void)state;
    for (uint64_t i = 1; i <= 300; i++)
        mock_keys_see(&k, i << 32);
    mock_keys_see(&k, 0);
    mock_keys_see(&k, 0);
    mock_keys_see(&k, UINT64_C(7) << 32);
    assert_int_equal(k.distinct, 301);
    assert_int_equal(k.repeated, 2);
    mock_keys_free(&k);
}

static void the_memory_is_bounded(void **state)
{
    struct mock_keys k = {0};
    struct rng r;

    (void)state;
    rng_seed(&r, 2);
    for (uint64_t i = 0; i < MOCK_KEYS_MAX + 1000; i++)
        mock_keys_see(&k, rng_u64(&r));
    assert_int_equal(k.distinct, MOCK_KEYS_MAX);
    assert_int_equal(k.untracked, 1000);
    assert_true(k.places * sizeof *k.table <= 32u << 20);
    rng_seed(&r, 2);
    mock_keys_see(&k, rng_u64(&r));
    assert_int_equal(k.repeated, 1);
    mock_keys_free(&k);
}

static void without_memory_a_key_is_untracked(void **state)
{
    struct mock_keys k = {0};

    (void)state;
    mem_fail_at(1);
    mock_keys_see(&k, 5);
    mem_fail_at(0);
    assert_int_equal(k.untracked, 1);
    mock_keys_see(&k, 5);
    assert_int_equal(k.distinct, 1);
    mock_keys_free(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_counted_once_and_again),
        cmocka_unit_test(keys_that_fall_on_one_place_are_told_apart),
        cmocka_unit_test(the_memory_is_bounded),
        cmocka_unit_test(without_memory_a_key_is_untracked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
