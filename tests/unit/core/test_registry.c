/*
 * Names of states and events: each has one of its own, and is found by it.
 */
#include "core/ports/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void each_state_is_found_by_its_name(void **state)
{
    (void)state;
    for (unsigned i = 0; i < REGISTRY_STATES; i++) {
        enum registry_state found = REGISTRY_STATES;
        const char *name = registry_state_name((enum registry_state)i);

        assert_true(registry_state_from_name(slice_of(name), &found));
        assert_int_equal(found, i);
    }
    assert_string_equal(registry_state_name(REGISTRY_BLOCKED), "blocked");
    assert_string_equal(registry_state_name(REGISTRY_CANCELLED), "cancelled");
}

static void each_event_is_found_by_its_name(void **state)
{
    (void)state;
    for (unsigned i = 1; i < REGISTRY_EVENT_KINDS; i++) {
        enum registry_event_kind found = 0;
        const char *name = registry_event_name((enum registry_event_kind)i);

        assert_non_null(name);
        assert_true(registry_event_from_name(slice_of(name), &found));
        assert_int_equal(found, i);
    }
}

/* Registries that were written hold these numbers. */
static void numbers_of_events_stay(void **state)
{
    (void)state;
    assert_string_equal(registry_event_name(1), "task.submitted");
    assert_string_equal(registry_event_name(12), "runner.late");
    assert_string_equal(registry_event_name(20), "pool.changed");
    assert_string_equal(registry_event_name(31), "batch.ended");
}

static void what_is_no_state_or_event_has_no_name(void **state)
{
    enum registry_state s = REGISTRY_DONE;
    enum registry_event_kind e = REGISTRY_TASK_DONE;

    (void)state;
    assert_null(registry_event_name(0));
    assert_null(registry_event_name(REGISTRY_EVENT_KINDS));
    assert_null(registry_event_name((enum registry_event_kind) - 1));
    assert_string_equal(registry_state_name(REGISTRY_STATES), "unknown");
    assert_string_equal(registry_state_name((enum registry_state) - 1), "unknown");
    assert_false(registry_state_from_name(SLICE("Ready"), &s));
    assert_false(registry_state_from_name(SLICE("read"), &s));
    assert_false(registry_state_from_name((struct slice){NULL, 0}, &s));
    assert_int_equal(s, REGISTRY_DONE);
    assert_false(registry_event_from_name(SLICE("task.don"), &e));
    assert_false(registry_event_from_name((struct slice){NULL, 0}, &e));
    assert_int_equal(e, REGISTRY_TASK_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_state_is_found_by_its_name),
        cmocka_unit_test(each_event_is_found_by_its_name),
        cmocka_unit_test(numbers_of_events_stay),
        cmocka_unit_test(what_is_no_state_or_event_has_no_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
