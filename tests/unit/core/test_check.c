/*
 * The check of the invariants notices each of them when it is broken. For this the inside of the
 * dispatcher is disturbed by hand, looked at, and put right again.
 */
#include "core_test.h"

#include "core/internal.h"

static struct bench bench;

/* One runs, one waits, the others are ready. */
static struct core_batch *begin(struct bench *b)
{
    struct core_pool_options o;
    struct core_batch *batch;

    core_pool_options_init(&o);
    o.size = 1;
    o.gate.throttle.kind = THROTTLE_AIMD; /* a refused row waits */
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 5);
    bench_run(b);
    bench_refuse(b, 0);
    assert_int_equal(bench_stats(batch).waiting, 1);
    return batch;
}

static void end(struct bench *b, struct core_batch *batch)
{
    bench_check(b);
    bench_finish_all(b);
    bench_free(b, batch);
    bench_end(b);
}

/* Breaks one thing, sees that `rule` is named, and mends it. */
#define NOTICES(rule, disturb, mend)                                                               \
    do {                                                                                           \
        const char *found;                                                                         \
        disturb;                                                                                   \
        found = dispatcher_check(b->d);                                                            \
        mend;                                                                                      \
        assert_non_null(found);                                                                    \
        assert_memory_equal(found, rule, strlen(rule));                                            \
        assert_null(dispatcher_check(b->d));                                                       \
    } while (0)

static void counts_that_differ_from_what_runs_are_noticed(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch = begin(b);
    struct core_pool *p = b->pool;

    (void)state;
    NOTICES("I1", p->permits.running++, p->permits.running--);
    NOTICES("I1", p->permits.running--, p->permits.running++);
    NOTICES("I1", b->d->permits.running++, b->d->permits.running--);
    NOTICES("P3", p->options.size++, p->options.size--);
    NOTICES("P3", b->d->permits.granted = 0, b->d->permits.granted = PERMITS_UNLIMITED);
    NOTICES("I1", p->permits.cpu_milli++, p->permits.cpu_milli--);
    NOTICES("I1", p->permits.memory_mib++, p->permits.memory_mib--);
    NOTICES("I1", p->permits.running_low++, p->permits.running_low--);
    NOTICES("I1", p->permits.unheld++, p->permits.unheld--);
    NOTICES("P3", p->permits.granted = 0, p->permits.granted = 1);
    NOTICES("I4", batch->options.single = true, batch->options.single = false);
    NOTICES("I5", batch->abandoned++, batch->abandoned--);
    end(b, batch);
}

static void a_task_in_two_places_or_none_is_noticed(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch = begin(b);
    struct core_task *waits = list_entry(list_front(&batch->waiting), struct core_task, link);
    struct core_task *ready = list_entry(list_front(&batch->fresh), struct core_task, link);

    (void)state;
    NOTICES("I2", waits->state = TASK_READY, waits->state = TASK_WAITING);
    NOTICES("I2", ready->state = TASK_FINISHED, ready->state = TASK_READY);
    NOTICES("I2", batch->stats.ready++, batch->stats.ready--);
    NOTICES("I2", batch->stats.waiting--, batch->stats.waiting++);
    NOTICES("I2", b->d->live++, b->d->live--);
    NOTICES("I2", list_remove(&ready->link), list_push_front(&batch->fresh, &ready->link));
    end(b, batch);
}

static void a_waiting_task_with_a_place_is_noticed(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch = begin(b);
    struct core_task *waits = list_entry(list_front(&batch->waiting), struct core_task, link);

    (void)state;
    NOTICES("I4", waits->slot = b->pool->chunks->slots, waits->slot = NULL);
    end(b, batch);
}

static void an_order_that_moved_or_lost_a_row_is_noticed(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch = begin(b);

    (void)state;
    NOTICES("P2", batch->stats.delivered++, batch->stats.delivered--);
    NOTICES("P2", batch->stats.accepted++, batch->stats.accepted--);
    NOTICES("I3", batch->uncommitted++, batch->uncommitted--);
    NOTICES("P5", list_remove(&batch->turn), list_push_back(&b->pool->turn, &batch->turn));
    end(b, batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_that_differ_from_what_runs_are_noticed),
        cmocka_unit_test(a_task_in_two_places_or_none_is_noticed),
        cmocka_unit_test(a_waiting_task_with_a_place_is_noticed),
        cmocka_unit_test(an_order_that_moved_or_lost_a_row_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
