/*
 * The set of keys finds each duplicate and nothing else, also when nearly all of it is on disk.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "faulty_vfs.h"
#include "store/sqlite/keyset.h"
#include "support/testkit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct weir_error error;

static struct keyset *make(size_t memory_keys)
{
    struct keyset *ks = NULL;

    assert_int_equal(keyset_new(memory_keys, &ks, &error), WEIR_OK);
    return ks;
}

/* The row that the key came with first, and whether it had come before. */
static bool add(struct keyset *ks, uint64_t hi, uint64_t lo, uint64_t row, uint64_t *ret_first)
{
    bool is_duplicate = true;

    if (keyset_add(ks, hi, lo, row, &is_duplicate, ret_first, &error) != WEIR_OK)
        fail_msg("%s", error.message);
    return is_duplicate;
}

static void a_duplicate_is_found_with_the_row_it_came_with_first(void **state)
{
    struct keyset *ks = make(0);
    uint64_t first = 99;

    (void)state;
    assert_false(add(ks, 1, 2, 10, &first));
    assert_int_equal(first, 10);
    assert_false(add(ks, 2, 1, 11, &first));
    assert_false(add(ks, 1, 3, 12, &first));
    assert_false(add(ks, 0, 0, 0, &first));
    assert_true(add(ks, 1, 2, 13, &first));
    assert_int_equal(first, 10);
    assert_true(add(ks, 0, 0, 14, &first));
    assert_int_equal(first, 0);
    assert_true(add(ks, 1, 2, 15, &first));
    assert_int_equal(first, 10);
    assert_null(keyset_free(ks));
    assert_null(keyset_free(NULL));
}

static void what_is_on_disk_is_found_too(void **state)
{
    struct keyset *ks = make(5);
    uint64_t first = 0;

    (void)state;
    /* Ends of the range and neighbours, that hash alike. */
    for (uint64_t i = 0; i < 100; i++)
        assert_false(add(ks, i % 2 ? ~i : i, i % 3 ? ~i : i, i, &first));
    assert_int_equal(keyset_spill_count(ks), 19);
    for (uint64_t i = 0; i < 100; i++) {
        assert_true(add(ks, i % 2 ? ~i : i, i % 3 ? ~i : i, 1000 + i, &first));
        assert_int_equal(first, i);
    }
    assert_int_equal(keyset_spill_count(ks), 19); /* duplicates take no room */
    keyset_free(ks);
}

#define MODEL_KEYS 500

static void random_keys_as_a_naive_model_has_them(void **state)
{
    uint64_t *first_of = test_malloc(MODEL_KEYS * sizeof(*first_of));

    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct keyset *ks = make(1 + seed * seed);
        struct rng rng;

        rng_seed(&rng, seed);
        memset(first_of, 0xff, MODEL_KEYS * sizeof(*first_of));
        for (uint64_t row = 0; row < 2000; row++) {
            uint64_t key = rng_below(&rng, MODEL_KEYS), first = 0;
            /* Spread like hashes, or all in a heap. */
            uint64_t hi = seed % 2 ? key * UINT64_C(0x9E3779B97F4A7C15) : key / 20;
            uint64_t lo = seed % 2 ? ~hi * 31 : key % 20;
            bool is_duplicate = add(ks, hi, lo, row, &first);

            assert_int_equal(is_duplicate, first_of[key] != UINT64_MAX);
            if (!is_duplicate)
                first_of[key] = row;
            assert_int_equal(first, first_of[key]);
        }
        keyset_free(ks);
    }
    test_free(first_of);
}

static void a_million_keys_with_the_memory_for_a_hundred_thousand(void **state)
{
    struct keyset *ks = make(100000);
    uint64_t first = 0;

    (void)state;
    for (uint64_t row = 0; row < 1000000; row++) {
        uint64_t hi = row * UINT64_C(0x9E3779B97F4A7C15);

        if (add(ks, hi, hi ^ (hi >> 29), row, &first))
            fail_msg("row %lu is no duplicate", (unsigned long)row);
    }
    assert_int_equal(keyset_spill_count(ks), 9);
    for (uint64_t row = 0; row < 1000000; row += 997) {
        uint64_t hi = row * UINT64_C(0x9E3779B97F4A7C15);

        assert_true(add(ks, hi, hi ^ (hi >> 29), 5000000, &first));
        assert_int_equal(first, row);
    }
    keyset_free(ks);
}

static void without_memory_a_key_is_not_added(void **state)
{
    (void)state;
    for (unsigned long n = 1;; n++) {
        struct keyset *ks = NULL;
        enum weir_status status;
        bool has_failed;
        uint64_t row = 0;

        mem_fail_at(n);
        status = keyset_new(10, &ks, &error);
        for (; status == WEIR_OK && row < 25; row++) {
            bool is_duplicate = true;
            uint64_t first = 0;

            status = keyset_add(ks, row, row, row, &is_duplicate, &first, &error);
            if (status != WEIR_OK)
                break;
            assert_false(is_duplicate);
        }
        has_failed = mem_has_failed();
        mem_fail_at(0);
        if (has_failed)
            assert_int_equal(status, WEIR_E_NOMEM);
        else
            assert_int_equal(row, 25);
        if (ks && status != WEIR_OK) { /* the next try may succeed */
            uint64_t first;

            assert_false(add(ks, row, row, row, &first));
        }
        keyset_free(ks);
        if (!has_failed)
            return;
    }
}

/* The temporary file is written when more than its cache is spilled. */
static void a_full_temporary_folder_is_told(void **state)
{
    struct keyset *ks = make(100000);
    enum weir_status status = WEIR_OK;
    bool is_duplicate;
    uint64_t first;

    (void)state;
    faulty_vfs_fail_at(1, SQLITE_FULL);
    for (uint64_t row = 0; row < 3000000 && status == WEIR_OK; row++)
        status = keyset_add(ks, row * UINT64_C(0x9E3779B97F4A7C15), row, row, &is_duplicate, &first,
                            &error);
    faulty_vfs_fail_at(0, 0);
    assert_int_equal(status, WEIR_E_IO);
    assert_non_null(strstr(error.message, "TMPDIR"));
    /* It does not go on as if nothing had been. */
    assert_int_equal(keyset_add(ks, 1, 1, 1, &is_duplicate, &first, &error), WEIR_E_IO);
    keyset_free(ks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_duplicate_is_found_with_the_row_it_came_with_first),
        cmocka_unit_test(what_is_on_disk_is_found_too),
        cmocka_unit_test(random_keys_as_a_naive_model_has_them),
        cmocka_unit_test(a_million_keys_with_the_memory_for_a_hundred_thousand),
        cmocka_unit_test(without_memory_a_key_is_not_added),
        cmocka_unit_test(a_full_temporary_folder_is_told),
    };

    faulty_vfs_install();
    return cmocka_run_group_tests_name("keyset", tests, NULL, NULL);
}
