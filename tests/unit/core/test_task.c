/*
 * The life of a task is a table of allowed moves (I6).
 */
#include "core/task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define STATES TASK_STATES

static void a_task_moves_only_as_it_is_drawn(void **state)
{
    static const struct {
        enum task_state from, to;
    } drawn[] = {
        {TASK_NEW, TASK_READY},        {TASK_NEW, TASK_COMMITTED},
        {TASK_NEW, TASK_FINISHED},     {TASK_READY, TASK_RUNNING},
        {TASK_READY, TASK_FINISHED},   {TASK_READY, TASK_DROPPED},
        {TASK_WAITING, TASK_READY},    {TASK_WAITING, TASK_FINISHED},
        {TASK_WAITING, TASK_DROPPED},  {TASK_RUNNING, TASK_WAITING},
        {TASK_RUNNING, TASK_READY},    {TASK_RUNNING, TASK_FINISHED},
        {TASK_RUNNING, TASK_DROPPED},  {TASK_FINISHED, TASK_COMMITTED},
        {TASK_FINISHED, TASK_DROPPED}, {TASK_COMMITTED, TASK_DELIVERED},
        {TASK_NEW, TASK_QUEUED},       {TASK_READY, TASK_QUEUED},
        {TASK_WAITING, TASK_QUEUED},   {TASK_RUNNING, TASK_QUEUED},
        {TASK_QUEUED, TASK_READY},     {TASK_QUEUED, TASK_FINISHED},
        {TASK_QUEUED, TASK_DROPPED},
    };
    unsigned allowed = 0;

    (void)state;
    for (size_t i = 0; i < sizeof drawn / sizeof *drawn; i++)
        assert_true(task_may_move(drawn[i].from, drawn[i].to));
    for (int from = 0; from < STATES; from++) {
        for (int to = 0; to < STATES; to++)
            allowed += task_may_move((enum task_state)from, (enum task_state)to);
    }
    assert_int_equal(allowed, sizeof drawn / sizeof *drawn);
}

static void a_result_is_never_taken_back(void **state)
{
    (void)state;
    for (int to = 0; to < STATES; to++) {
        assert_false(task_may_move(TASK_DELIVERED, (enum task_state)to));
        assert_false(task_may_move(TASK_DROPPED, (enum task_state)to));
    }
    assert_false(task_may_move(TASK_FINISHED, TASK_READY));
    assert_false(task_may_move((enum task_state)STATES, TASK_READY));
    assert_false(task_may_move(TASK_NEW, (enum task_state)STATES));
}

static void each_state_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(task_state_name(TASK_NEW), "new");
    assert_string_equal(task_state_name(TASK_DROPPED), "dropped");
    assert_string_equal(task_state_name((enum task_state)STATES), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_moves_only_as_it_is_drawn),
        cmocka_unit_test(a_result_is_never_taken_back),
        cmocka_unit_test(each_state_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
