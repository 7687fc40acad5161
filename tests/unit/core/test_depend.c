/*
 * Circles among tasks that are submitted together: found, told with their path, at any depth.
 */
#include "core/depend.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define TASKS 10000

static struct registry_spec specs[TASKS];
static struct registry_after links[TASKS];
static struct weir_error err;

static int setup(void **state)
{
    (void)state;
    memset(specs, 0, sizeof(specs));
    memset(links, 0, sizeof(links));
    memset(&err, 0, sizeof(err));
    mem_fail_at(0);
    return 0;
}

static void name(size_t i, const char *key)
{
    specs[i].key = slice_of(key);
}

/* One dependency each is enough for a circle. */
static void after(size_t i, uint32_t sibling)
{
    links[i] = (struct registry_after){.sibling = sibling};
    specs[i].after = &links[i];
    specs[i].after_count = 1;
}

static void nothing_depends_on_nothing(void **state)
{
    (void)state;
    assert_int_equal(depend_check(specs, 5, &err), WEIR_OK);
    assert_int_equal(depend_check(specs, 0, &err), WEIR_OK);
}

static void the_path_is_told_by_keys(void **state)
{
    (void)state;
    name(0, "start");
    name(1, "a");
    name(2, "b");
    name(3, "c");
    after(0, 1);
    after(1, 2);
    after(2, 3);
    after(3, 1);
    assert_int_equal(depend_check(specs, 4, &err), WEIR_E_CONFLICT);
    assert_non_null(strstr(err.message, ": a -> b -> c -> a;"));
    assert_null(strstr(err.message, "start"));
}

static void without_keys_the_path_is_told_by_places(void **state)
{
    (void)state;
    name(2, "b");
    after(1, 2);
    after(2, 1);
    assert_int_equal(depend_check(specs, 3, &err), WEIR_E_CONFLICT);
    assert_non_null(strstr(err.message, ": #1 -> b -> #1;"));
}

static void a_task_that_waits_for_itself_is_a_circle(void **state)
{
    (void)state;
    name(0, "me");
    after(0, 0);
    assert_int_equal(depend_check(specs, 1, &err), WEIR_E_CONFLICT);
    assert_non_null(strstr(err.message, ": me -> me;"));
}

static void a_diamond_is_no_circle(void **state)
{
    static const struct registry_after both[] = {{.sibling = 1}, {.sibling = 2}};

    (void)state;
    specs[0].after = both;
    specs[0].after_count = 2;
    after(1, 3);
    after(2, 3);
    assert_int_equal(depend_check(specs, 4, &err), WEIR_OK);
}

/* An id is that of a task that was there before, whatever the places are. */
static void other_tasks_close_no_circle(void **state)
{
    (void)state;
    after(0, 1);
    links[1] = (struct registry_after){.id = 1, .sibling = 0};
    specs[1].after = &links[1];
    specs[1].after_count = 1;
    assert_int_equal(depend_check(specs, 2, &err), WEIR_OK);
}

static void a_long_chain_is_walked_without_recursion(void **state)
{
    (void)state;
    for (uint32_t i = 0; i + 1 < TASKS; i++)
        after(i, i + 1);
    assert_int_equal(depend_check(specs, TASKS, &err), WEIR_OK);
    after(TASKS - 1, 0);
    assert_int_equal(depend_check(specs, TASKS, &err), WEIR_E_CONFLICT);
    assert_non_null(strstr(err.message, ": #0 -> #1 -> "));
    assert_non_null(strstr(err.message, "-> (9984 more) -> #9992 -> "));
    assert_non_null(strstr(err.message, " -> #9999 -> #0;"));
}

static void a_long_key_is_cut_between_characters(void **state)
{
    (void)state;
    name(0, "aaaaaaaaaaaaaaaaaaaaaaa\xC3\xA4nd so on");
    after(0, 0);
    assert_int_equal(depend_check(specs, 1, &err), WEIR_E_CONFLICT);
    assert_non_null(strstr(err.message, ": aaaaaaaaaaaaaaaaaaaaaaa -> "));
}

static void want_of_memory_is_told(void **state)
{
    (void)state;
    after(0, 1);
    for (unsigned long n = 1; n <= 2; n++) {
        mem_fail_at(n);
        assert_int_equal(depend_check(specs, 2, &err), WEIR_E_NOMEM);
    }
    mem_fail_at(3);
    assert_int_equal(depend_check(specs, 2, &err), WEIR_OK);
    mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_depends_on_nothing, setup),
        cmocka_unit_test_setup(the_path_is_told_by_keys, setup),
        cmocka_unit_test_setup(without_keys_the_path_is_told_by_places, setup),
        cmocka_unit_test_setup(a_task_that_waits_for_itself_is_a_circle, setup),
        cmocka_unit_test_setup(a_diamond_is_no_circle, setup),
        cmocka_unit_test_setup(other_tasks_close_no_circle, setup),
        cmocka_unit_test_setup(a_long_chain_is_walked_without_recursion, setup),
        cmocka_unit_test_setup(a_long_key_is_cut_between_characters, setup),
        cmocka_unit_test_setup(want_of_memory_is_told, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
