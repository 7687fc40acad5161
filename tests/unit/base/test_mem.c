/*
 * Memory: the switch that makes it fail, on which every other fault sweep stands.
 */
#include "base/mem.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void only_the_armed_allocation_fails(void **state)
{
    (void)state;
    for (unsigned long n = 1; n <= 5; n++) {
        mem_fail_at(n);
        for (unsigned long i = 1; i <= 6; i++) {
            void *p = i % 2 ? mem_alloc(8) : mem_calloc(2, 4);

            assert_int_equal(p == NULL, i == n);
            assert_int_equal(mem_has_failed(), i >= n);
            mem_free(p);
        }
    }
    mem_fail_at(0);
}

static void zero_disarms(void **state)
{
    void *p;

    (void)state;
    mem_fail_at(1);
    mem_fail_at(0);
    p = mem_alloc(1);
    assert_non_null(p);
    assert_false(mem_has_failed());
    assert_null(mem_free(p));
}

static void a_failed_realloc_leaves_the_old_memory(void **state)
{
    char *p = mem_strdup("kept");

    (void)state;
    assert_non_null(p);
    mem_fail_at(1);
    assert_null(mem_realloc(p, 100));
    assert_string_equal(p, "kept");
    p = mem_realloc(p, 100);
    assert_non_null(p);
    assert_string_equal(p, "kept");
    mem_free(p);
}

static void nothing_at_all_is_still_a_pointer(void **state)
{
    void *a = mem_alloc(0);
    void *b = mem_calloc(0, 8);
    void *c = mem_realloc(NULL, 0);
    char *d = mem_copy(NULL, 0);

    (void)state;
    assert_true(a && b && c && d);
    assert_string_equal(d, "");
    mem_free(a);
    mem_free(b);
    mem_free(c);
    mem_free(d);
}

static void copies_keep_nuls_and_end_in_one(void **state)
{
    _cleanup_mem_ char *copy = mem_copy("a\0b", 3);

    (void)state;
    assert_non_null(copy);
    assert_memory_equal(copy, "a\0b\0", 4);
}

static void sizes_that_overflow_are_refused(void **state)
{
    volatile size_t huge = SIZE_MAX;

    (void)state;
    assert_null(mem_calloc(huge, 2));
    assert_null(mem_copy("", huge));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_armed_allocation_fails),
        cmocka_unit_test(zero_disarms),
        cmocka_unit_test(a_failed_realloc_leaves_the_old_memory),
        cmocka_unit_test(nothing_at_all_is_still_a_pointer),
        cmocka_unit_test(copies_keep_nuls_and_end_in_one),
        cmocka_unit_test(sizes_that_overflow_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
