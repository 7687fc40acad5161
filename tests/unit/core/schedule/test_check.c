/*
 * schedule_check() notices what does not hold: each thing is disturbed by hand, seen, and put back.
 */
#include "schedule_test.h"

static struct world *lively_world(struct schedule_task **ret_runs, struct schedule_task **ret_waits)
{
    struct world *w = world_new(SCHEDULE_FAIR_SHARE, 0);

    world_pool(w, "p", 1, "cut");
    *ret_runs = world_add(w, (struct registry_line){.session = SLICE("s"), .tenant = SLICE("x")});
    assert_ptr_equal(world_start(w), *ret_runs);
    *ret_waits = world_add(w, (struct registry_line){.skill = SLICE("cut"), .tenant = SLICE("y")});
    world_add(w, (struct registry_line){.skill = SLICE("cut"), .tenant = SLICE("y")});
    return w;
}

/* One thing is another value for as long as somebody looks. */
#define NOTICES(thing, other)                                                                      \
    do {                                                                                           \
        __typeof__(thing) was = (thing);                                                           \
                                                                                                   \
        assert_null(schedule_check(w->s));                                                         \
        (thing) = (other);                                                                         \
        if (!schedule_check(w->s))                                                                 \
            fail_msg("%s is not noticed", #thing " = " #other);                                    \
        (thing) = was;                                                                             \
    } while (0)

static void each_disturbance_is_noticed(void **state)
{
    struct schedule_task *runs, *waits;
    struct world *w = lively_world(&runs, &waits);
    struct schedule_line *l = waits->line;
    struct queue *q = l->queue;
    struct kind *k = q->kind;

    (void)state;
    NOTICES(waits->line, runs->line);
    NOTICES(waits->aside, true);
    NOTICES(waits->rank, waits->rank + 100 * NS_PER_S);
    NOTICES(l->count, 7);
    NOTICES(l->last_rank, 0);
    NOTICES(q->lines.entries[0].key.second, 1);
    NOTICES(l->item.at, 9);
    NOTICES(q->line_count, 0);
    NOTICES(q->item.at, ORDER_ABSENT);
    NOTICES(q->item.at, 9);
    NOTICES(q->tenant->had, 77.0);
    NOTICES(q->tenant->ready, 3);
    NOTICES(q->tenant->lines, 0);
    NOTICES(k->blocked, true);
    NOTICES(k->queue_count, 0);
    NOTICES(k->active_at, NOT_ACTIVE);
    NOTICES(k->target->ready, 9);
    NOTICES(k->target->count, 0);
    NOTICES(runs->line->session->running, 0);
    NOTICES(runs->line->queue->tenant->running, 2);
    NOTICES(runs->line->queue->tenant->had, -1.0);
    world_take_off(w, waits);
    world_take_off(w, schedule_line_first(l));
    world_end(w, runs, 0);
    world_free(w);
}

static void a_kind_that_is_taken_for_blocked_and_could_run_is_noticed(void **state)
{
    struct schedule_task *runs, *waits;
    struct world *w = lively_world(&runs, &waits);

    (void)state;
    assert_null(world_start(w));
    assert_null(schedule_check_waiting(w->s));
    w->accounts[0].limit = 2; /* and nobody tells */
    assert_non_null(schedule_check_waiting(w->s));
    w->accounts[0].limit = 1;
    world_end(w, runs, 0);
    world_take_off(w, waits);
    world_end(w, world_start(w), 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_disturbance_is_noticed),
        cmocka_unit_test(a_kind_that_is_taken_for_blocked_and_could_run_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
