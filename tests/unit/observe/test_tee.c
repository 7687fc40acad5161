/*
 * The tee: each observer is told everything, in the order in which they were added.
 */
#include "observe/tee.h"

#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct listener {
    struct core_observer base;
    int *clock;
    int told, last_at;
    const struct core_event *last;
};

static void heard(struct core_observer *o, const struct core_event *ev)
{
    struct listener *l = list_entry(o, struct listener, base);

    l->told++;
    l->last_at = ++*l->clock;
    l->last = ev;
}

static const struct core_observer_ops listener_ops = {.event = heard};

static void each_observer_is_told_in_turn(void **state)
{
    int clock = 0;
    struct listener a = {.base = {&listener_ops}, .clock = &clock}, b = a;
    struct core_event ev = {.kind = EVENT_TASK_FINISHED};
    struct tee t;

    (void)state;
    tee_init(&t);
    assert_true(tee_add(&t, &a.base));
    assert_true(tee_add(&t, &b.base));
    t.base.ops->event(&t.base, &ev);
    t.base.ops->event(&t.base, &ev);
    assert_int_equal(a.told, 2);
    assert_int_equal(b.told, 2);
    assert_ptr_equal(b.last, &ev);
    assert_true(a.last_at < b.last_at);
}

static void an_observer_that_is_not_wanted_is_passed_over(void **state)
{
    struct core_event ev = {.kind = EVENT_TASK_FINISHED};
    struct tee t;

    (void)state;
    tee_init(&t);
    assert_true(tee_add(&t, NULL));
    t.base.ops->event(&t.base, &ev);
    assert_int_equal(t.count, 0);
}

static void one_observer_too_many_is_refused(void **state)
{
    int clock = 0;
    struct listener a = {.base = {&listener_ops}, .clock = &clock};
    struct core_event ev = {.kind = EVENT_TASK_FINISHED};
    struct tee t;

    (void)state;
    tee_init(&t);
    for (int i = 0; i < TEE_OBSERVERS_MAX; i++)
        assert_true(tee_add(&t, &a.base));
    assert_false(tee_add(&t, &a.base));
    t.base.ops->event(&t.base, &ev);
    assert_int_equal(a.told, TEE_OBSERVERS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_observer_is_told_in_turn),
        cmocka_unit_test(an_observer_that_is_not_wanted_is_passed_over),
        cmocka_unit_test(one_observer_too_many_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
