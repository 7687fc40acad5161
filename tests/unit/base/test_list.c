/*
 * The list: order, and removal while walking.
 */
#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct thing {
    int value;
    struct list link;
};

static void things_come_out_in_order(void **state)
{
    struct list head = LIST_INIT(head);
    struct thing things[3] = {{.value = 0}, {.value = 1}, {.value = 2}};

    (void)state;
    assert_true(list_empty(&head));
    assert_null(list_front(&head));
    assert_null(list_pop_front(&head));
    list_push_back(&head, &things[1].link);
    list_push_back(&head, &things[2].link);
    list_push_front(&head, &things[0].link);
    for (int i = 0; i < 3; i++) {
        struct list *node = list_pop_front(&head);

        assert_non_null(node);
        assert_int_equal(list_entry(node, struct thing, link)->value, i);
        assert_true(list_empty(node));
    }
    assert_true(list_empty(&head));
}

static void removing_twice_and_while_walking_does_no_harm(void **state)
{
    struct list head = LIST_INIT(head);
    struct thing things[5];
    int left = 0;

    (void)state;
    for (int i = 0; i < 5; i++) {
        things[i].value = i;
        list_push_back(&head, &things[i].link);
    }
    list_foreach_safe (node, &head) {
        if (list_entry(node, struct thing, link)->value % 2 == 0) {
            list_remove(node);
            list_remove(node);
        }
    }
    list_foreach (node, &head) {
        assert_int_equal(list_entry(node, struct thing, link)->value % 2, 1);
        left++;
    }
    assert_int_equal(left, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(things_come_out_in_order),
        cmocka_unit_test(removing_twice_and_while_walking_does_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
