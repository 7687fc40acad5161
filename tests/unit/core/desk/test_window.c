/*
 * The desk's window: lines for which there was no memory, many lines at once, and what their
 * tenants get.
 */
#include "unit/core/desk/desk_test.h"

static struct desk_bench bench;

/*
 * Ends all that runs, and lets the next start, until nothing does. Returns how many attempts there
 * were.
 */
static size_t run_all(void)
{
    size_t count = 0;

    while (bench.running_count > 0) {
        while (bench.running_count > 0) {
            desk_bench_report(&bench, bench.running[0], WEIR_OUTCOME_OK);
            count++;
        }
        desk_bench_settle(&bench);
    }
    return count;
}

static void without_memory_no_line_is_forgotten(void **state)
{
    unsigned long n = 1;
    size_t missed = 0;
    int failed;

    (void)state;
    do {
        uint32_t lines[2];

        desk_bench_init(&bench, SCHEDULE_FIFO);
        (void)desk_bench_pool(&bench, "p", &(struct bench_pool){.size = 2});
        lines[0] = desk_bench_line(
            &bench, &(struct registry_line){.session = SLICE("s"), .slots = SLICE("none")}, 0);
        lines[1] = desk_bench_line(&bench, &(struct registry_line){.tenant = SLICE("t")}, 3);
        mem_fail_at(n++);
        for (int i = 0; i < 2; i++)
            desk_line_ready(bench.desk, lines[i], bench.now);
        failed = mem_has_failed();
        mem_fail_at(0);
        desk_bench_settle(&bench);
        desk_bench_advance(&bench, 2 * NS_PER_S);
        if (desk_missed_lines(bench.desk)) {
            missed++;
            for (int i = 0; i < 2; i++)
                desk_line_ready(bench.desk, lines[i], bench.now);
            desk_bench_settle(&bench);
        }
        assert_false(desk_missed_lines(bench.desk));
        assert_int_equal(run_all(), 3);
        desk_bench_free(&bench);
    } while (failed);
    assert_true(n > 8 && missed > 0);
}

static void what_waits_for_memory_is_not_started_when_it_was_cancelled(void **state)
{
    struct desk_hold one = {0}, batch = {.batch = 7};
    struct registry_task *tasks[3];
    uint32_t line;

    (void)state;
    desk_bench_init(&bench, SCHEDULE_FIFO);
    (void)desk_bench_pool(&bench, "p", &(struct bench_pool){.size = 8});
    line = desk_bench_line(&bench, &(struct registry_line){.pool = SLICE("p")}, 0);
    for (int i = 0; i < 3; i++) {
        tasks[i] = desk_bench_task(&bench, line);
        tasks[i]->batch = i == 1 ? 7 : 0;
        mem_fail_at(1);
        desk_ready(bench.desk, tasks[i], bench.now);
        mem_fail_at(0);
    }
    one.task = tasks[0]->id;
    desk_hold(bench.desk, &one, bench.now);
    desk_hold(bench.desk, &batch, bench.now);
    desk_let_go(bench.desk, &one, true, bench.now);
    desk_let_go(bench.desk, &batch, true, bench.now);
    desk_bench_settle(&bench);
    assert_int_equal(run_all(), 1);
    desk_bench_free(&bench);
}

static void what_is_handed_over_anew_without_memory_starts_once_and_as_it_is_then(void **state)
{
    struct desk_pool *p;
    struct registry_task *old, *anew;
    enum permit_block block;
    uint32_t before, after;

    (void)state;
    desk_bench_init(&bench, SCHEDULE_FIFO);
    p = desk_bench_pool(&bench, "p", &(struct bench_pool){.size = 8});
    before = desk_bench_line(&bench, &(struct registry_line){.pool = SLICE("p")}, 0);
    after = desk_bench_line(&bench, &(struct registry_line){.pool = SLICE("p"), .priority = 5}, 0);
    desk_enable_pool(bench.desk, p, false, bench.now);
    old = desk_bench_task(&bench, before);
    anew = desk_bench_task(&bench, after);
    anew->id = old->id; /* 1 */
    desk_ready(bench.desk, old, bench.now);
    mem_fail_at(1);
    desk_ready(bench.desk, anew, bench.now);
    assert_true(mem_has_failed());
    mem_fail_at(0);
    assert_int_equal(desk_why(bench.desk, 1, &block), SCHEDULE_MAY_RUN); /* it is not there */
    desk_enable_pool(bench.desk, p, true, bench.now);
    desk_bench_settle(&bench);
    assert_int_equal(run_all(), 1);
    desk_bench_free(&bench);
}

/* So many lines, with so many tasks each, told one after the other. */
static void tell_lines(uint32_t lines, uint64_t tasks)
{
    for (uint32_t i = 0; i < lines; i++)
        (void)desk_bench_line(&bench, &(struct registry_line){.priority = (int32_t)(i % 3)}, tasks);
    for (uint32_t i = 1; i <= lines; i++)
        desk_line_ready(bench.desk, i, bench.now);
}

static void many_lines_are_asked_for_in_turn(void **state)
{
    size_t most = 0;

    (void)state;
    desk_bench_init(&bench, SCHEDULE_FIFO);
    (void)desk_bench_pool(&bench, "p", &(struct bench_pool){.size = 1});
    tell_lines(20000, 1000);
    while (bench.ops) {
        most = bench.take_count > most ? bench.take_count : most;
        desk_bench_write_one(&bench);
    }
    assert_int_equal(most, DESK_TAKES_MAX);
    for (uint32_t i = 0; i < bench.line_count; i++)
        assert_true(bench.lines[i].takes > 0);
    desk_bench_check(&bench);
    assert_in_range(bench.next_task, 20000, 20000 + DESK_WINDOW_TASKS);
    desk_bench_free(&bench);
}

static void lines_that_come_one_by_one_leave_something_to_the_others(void **state)
{
    (void)state;
    desk_bench_init(&bench, SCHEDULE_FIFO);
    (void)desk_bench_pool(&bench, "p", &(struct bench_pool){.size = 1});
    for (uint32_t i = 1; i <= 4000; i++) {
        (void)desk_bench_line(&bench, &(struct registry_line){.priority = (int32_t)(i % 3)}, 1000);
        desk_line_ready(bench.desk, i, bench.now);
        desk_bench_write(&bench);
    }
    assert_in_range(bench.next_task, 4000, 4000 + DESK_WINDOW_TASKS);
    /* The last ones, too, have more than their first. */
    assert_in_range(bench.lines[3999].left, 0, 998);
    desk_bench_free(&bench);
}

static uint64_t last_started;

static void note_last(void *ctx, const struct desk_attempt *a)
{
    uint64_t *ret = ctx;

    *ret = (uint64_t)a->task->rank;
}

static void with_more_lines_than_tasks_in_memory_the_order_is_that_of_all(void **state)
{
    (void)state;
    desk_bench_init(&bench, SCHEDULE_FIFO);
    (void)desk_bench_pool(&bench, "p", &(struct bench_pool){.size = 1});
    for (uint32_t i = 0; i < 70000; i++) {
        (void)desk_bench_line(&bench, &(struct registry_line){.priority = (int32_t)(i % 3)}, 3);
        bench.lines[i].next_rank = 1000 + (int64_t)(i % 7) * 10;
    }
    for (uint32_t i = 1; i <= 70000; i++)
        desk_line_ready(bench.desk, i, bench.now);
    desk_bench_write(&bench);
    assert_in_range(bench.next_task, 70000, 75000); /* of most lines no more than the first */
    last_started = 0;
    for (int i = 0; i < 25000; i++) {
        uint64_t rank = 0;

        desk_bench_turn(&bench);
        desk_bench_write(&bench);
        assert_int_equal(bench.running_count, 1);
        desk_attempts(bench.desk, note_last, &rank);
        assert_true(rank >= last_started);
        last_started = rank;
        desk_bench_report(&bench, bench.running[0], WEIR_OUTCOME_OK);
    }
    assert_true(last_started > 1000); /* seconds and thirds of the first lines among them */
    desk_bench_settle(&bench);
    desk_bench_free(&bench);
}

static size_t of_first_tenant;

static void note_tenant(void *ctx, const struct desk_attempt *a)
{
    (void)ctx;
    of_first_tenant += slice_equal(a->line->tenant, SLICE("one"));
}

/* The first tenant's tasks, of so many that run one after the other, a second each. */
static size_t run_seconds(int seconds)
{
    of_first_tenant = 0;
    for (int i = 0; i < seconds; i++) {
        desk_bench_turn(&bench);
        assert_int_equal(bench.running_count, 1);
        desk_attempts(bench.desk, note_tenant, NULL);
        bench.now = instant_add(bench.now, NS_PER_S);
        desk_bench_report(&bench, bench.running[0], WEIR_OUTCOME_OK);
    }
    return of_first_tenant;
}

static void a_tenant_whose_first_tasks_are_long_on_their_way_is_owed_its_share(void **state)
{
    struct registry_op *op;
    uint32_t one, two;

    (void)state;
    desk_bench_init(&bench, SCHEDULE_FAIR_SHARE);
    (void)desk_bench_pool(&bench, "p", &(struct bench_pool){.size = 1});
    one = desk_bench_line(&bench, &(struct registry_line){.tenant = SLICE("one")}, 60);
    two = desk_bench_line(&bench, &(struct registry_line){.tenant = SLICE("two")}, 60);
    desk_line_ready(bench.desk, one, bench.now);
    desk_line_ready(bench.desk, two, bench.now);
    desk_bench_write_one(&bench);
    /* What the second tenant has is read only when the first one has had ten. */
    op = bench.ops;
    assert_true(op && op->kind == REGISTRY_TAKE && op->take.line == two);
    bench.ops = NULL;
    bench.ops_tail = &bench.ops;
    assert_int_equal(run_seconds(10), 10);
    desk_bench_settle(&bench);
    op->next = bench.ops;
    bench.ops = op;
    bench.ops_tail = &op->next;
    desk_bench_report(&bench, bench.running[0], WEIR_OUTCOME_OK);
    desk_bench_write(&bench);
    assert_in_range(run_seconds(10), 0, 1);
    assert_in_range(run_seconds(20), 9, 11);
    desk_bench_settle(&bench);
    desk_bench_free(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory_no_line_is_forgotten),
        cmocka_unit_test(what_waits_for_memory_is_not_started_when_it_was_cancelled),
        cmocka_unit_test(what_is_handed_over_anew_without_memory_starts_once_and_as_it_is_then),
        cmocka_unit_test(many_lines_are_asked_for_in_turn),
        cmocka_unit_test(lines_that_come_one_by_one_leave_something_to_the_others),
        cmocka_unit_test(with_more_lines_than_tasks_in_memory_the_order_is_that_of_all),
        cmocka_unit_test(a_tenant_whose_first_tasks_are_long_on_their_way_is_owed_its_share),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
