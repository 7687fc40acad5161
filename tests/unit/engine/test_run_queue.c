/* Queues of runs (src/engine/run_queue.h): what joins what, and that tasks leave in the order in which they came. */
#include "engine/run_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TASKS 1000

static struct core_task tasks[TASKS];

static struct core_task *task(uint64_t i)
{
    task_init(&tasks[i]);
    tasks[i].index = i;
    return &tasks[i];
}

static size_t runs_of(const struct run_queue *q)
{
    size_t n = 0;

    for (const struct core_run *r = q->first; r; r = r->next)
        n++;
    return n;
}

static void rows_join_the_run_before_them_up_to_its_size(void **state)
{
    struct run_queue q = {0};

    (void)state;
    for (uint64_t i = 0; i < 2 * RUN_ROWS_MAX + 1; i++)
        run_queue_add_row(&q, task(i));
    assert_int_equal(runs_of(&q), 3);
    assert_int_equal(q.first->rows, RUN_ROWS_MAX);
    assert_ptr_equal(q.first->last, &tasks[RUN_ROWS_MAX - 1]);
    assert_int_equal(q.last->rows, 1);
}

static void what_does_not_follow_or_goes_alone_begins_another(void **state)
{
    struct run_queue q = {0};

    (void)state;
    run_queue_add_row(&q, task(0));
    run_queue_add_row(&q, task(1));
    run_queue_add_row(&q, task(3)); /* 2 comes later */
    run_queue_add_row(&q, task(2));
    run_queue_add_single(&q, task(4));
    run_queue_add_row(&q, task(5));
    assert_int_equal(runs_of(&q), 5);
    assert_int_equal(q.first->rows, 2);
    assert_true(q.first->next->next->next->single);
    assert_false(q.last->single);
}

static void tasks_leave_in_the_order_in_which_they_came(void **state)
{
    struct run_queue q = {0}, other = {0};
    uint64_t out = 0;

    (void)state;
    for (uint64_t i = 0; i < TASKS; i++) {
        struct run_queue *to = i < TASKS / 2 ? &q : &other;

        if (i % 10 == 7)
            run_queue_add_single(to, task(i));
        else
            run_queue_add_row(to, task(i));
    }
    run_queue_join(&q, &other);
    assert_null(other.first);
    run_queue_join(&q, &other);
    while (q.first) {
        struct core_run *runs = run_queue_take_rows(&q, 25);
        uint64_t rows = 0;

        for (const struct core_run *r = runs; r; r = r->next)
            rows += r->rows;
        assert_in_range(rows, 1, 25);
        for (struct core_task *t = run_queue_spread(runs); t; t = t->next)
            assert_int_equal(t->index, out++);
    }
    assert_int_equal(out, TASKS);
}

static void a_run_that_is_larger_is_taken_whole(void **state)
{
    struct run_queue q = {0};

    (void)state;
    for (uint64_t i = 0; i < 100; i++)
        run_queue_add_row(&q, task(i));
    assert_int_equal(run_queue_take_rows(&q, 10)->rows, 100);
    assert_null(q.first);
    run_queue_add_row(&q, task(100)); /* not to what has left */
    assert_int_equal(run_queue_take(&q).first->rows, 1);
    assert_null(q.first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_join_the_run_before_them_up_to_its_size),
        cmocka_unit_test(what_does_not_follow_or_goes_alone_begins_another),
        cmocka_unit_test(tasks_leave_in_the_order_in_which_they_came),
        cmocka_unit_test(a_run_that_is_larger_is_taken_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
