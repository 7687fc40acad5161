/*
 * How long a task of the desk waits for the worker that holds its session: a pool of two workers
 * that do only what the test says.
 */
#include "core/worker/crew.h"
#include "unit/core/desk/desk_test.h"

#define WORKERS 2
#define TIMEOUT (5 * NS_PER_S)

static struct desk_bench bench;
static struct desk_pool *pool;

static struct {
    struct crew_edge edge; /* first */
    struct crew *crew;
    struct worker *spawning[8], *pinged[8], *ending[8];
    size_t spawning_count, pinged_count, ending_count;
    int64_t last_pid;
} crew;

static void spawn(struct crew_edge *e, struct worker *w)
{
    (void)e;
    crew.spawning[crew.spawning_count++] = w;
}

static void ping(struct crew_edge *e, struct worker *w)
{
    (void)e;
    crew.pinged[crew.pinged_count++] = w;
}

static void end(struct crew_edge *e, struct worker *w, enum crew_end how)
{
    (void)e;
    (void)how;
    for (size_t i = 0; i < crew.ending_count; i++)
        if (crew.ending[i] == w)
            return;
    crew.ending[crew.ending_count++] = w;
}

/* What the edge was told to do is done, and what follows from it. */
static void settle(void)
{
    do {
        while (crew.spawning_count > 0)
            crew_spawned(crew.crew, crew.spawning[--crew.spawning_count], ++crew.last_pid,
                         bench.now);
        while (crew.pinged_count > 0)
            crew_pong(crew.crew, crew.pinged[--crew.pinged_count], true, NULL, 1, bench.now);
        while (crew.ending_count > 0)
            crew_gone(crew.crew, crew.ending[--crew.ending_count], "exited", NULL, bench.now);
        desk_bench_settle(&bench);
    } while (crew.spawning_count + crew.pinged_count + crew.ending_count > 0);
}

static void advance(duration_ns by)
{
    desk_bench_advance(&bench, by);
    settle();
}

static void open_bench(duration_ns timeout_ns)
{
    struct desk_bench_edge *e = &bench.edges[0];
    struct desk_pool_options o = {.ops = &desk_bench_pool_ops, .max_attempts = 1};
    struct crew_options c;
    struct core_pool_options core;
    struct core_pool *p;

    desk_bench_init(&bench, SCHEDULE_FIFO);
    memset(&crew, 0, sizeof crew);
    crew.edge = (struct crew_edge){.spawn = spawn, .ping = ping, .end = end};
    crew_options_init(&c);
    c.pool = "p";
    c.size = WORKERS;
    assert_int_equal(crew_new(&c, &crew.edge, NULL, bench.now, &crew.crew, NULL), WEIR_OK);
    core_pool_options_init(&core);
    core.name = "p";
    core.size = WORKERS;
    core.gate.throttle.kind = THROTTLE_NONE;
    core.checkout_timeout_ns = timeout_ns;
    o.backoff = core.backoff;
    e->port.ops = &desk_bench_executor;
    e->port.crew = crew.crew;
    e->bench = &bench;
    bench.edge_count = 1;
    assert_int_equal(dispatcher_add_pool(bench.d, &core, &e->port, &p, NULL), WEIR_OK);
    assert_int_equal(desk_add_pool(bench.desk, p, &o, bench.now, &pool, NULL), WEIR_OK);
    (void)desk_set_default_pool(bench.desk, "p");
    settle();
}

static void end_one(struct core_attempt *a)
{
    crew_answered(crew.crew, a->worker, a->session, CREW_ANSWER_OK, bench.now);
    desk_bench_end_one(&bench, a, WEIR_OUTCOME_OK);
    settle();
}

static void close_bench(void)
{
    desk_stop(bench.desk);
    while (bench.running_count > 0)
        end_one(bench.running[0]);
    desk_remove_pools(bench.desk, bench.now);
    settle();
    desk_bench_free(&bench);
    crew_free(crew.crew);
}

/* Its one task comes. */
static void submit(struct slice session)
{
    uint32_t line = desk_bench_line(&bench, &(struct registry_line){.session = session}, 1);

    bench.lines[line - 1].next_rank = 1000 + line;
    desk_line_ready(bench.desk, line, bench.now);
    settle();
}

/*
 * Sessions "a" and "b" have a worker each, and one of these is busy with task 3. Task 4 is of the
 * session of that one, and waits.
 */
static struct core_attempt *keep_one_waiting(void)
{
    static const struct slice names[] = {SLICE("a"), SLICE("b")};
    uint64_t of_a;

    submit(names[0]);
    of_a = bench.running[0]->worker->id;
    submit(names[1]);
    assert_int_equal(bench.running_count, 2);
    while (bench.running_count > 0)
        end_one(bench.running[0]);
    submit(SLICE("slow"));
    submit(names[bench.running[0]->worker->id != of_a]);
    assert_int_equal(bench.running_count, 1);
    return bench.running[0];
}

static void assert_kept_too_long(const struct core_attempt *slow)
{
    char who[160];

    assert_int_equal(bench.untried, 1);
    assert_int_equal(bench.untried_as.task, 4);
    assert_int_equal(bench.untried_as.next, REGISTRY_FAILED);
    assert_int_equal(bench.untried_as.outcome, WEIR_OUTCOME_TIMEOUT);
    assert_int_equal(bench.untried_as.reason, WEIR_REASON_CHECKOUT_TIMEOUT);
    snprintf(who, sizeof who, "worker %llu (pid %lld), which holds the session",
             (unsigned long long)slow->worker->id, (long long)slow->worker->pid);
    assert_non_null(strstr(bench.untried_said, who));
    assert_non_null(strstr(bench.untried_said, "was not free within 5 s: it is busy with task 3"));
}

static void a_task_fails_when_its_worker_was_not_free_in_time(void **state)
{
    struct core_attempt *slow;

    (void)state;
    open_bench(TIMEOUT);
    slow = keep_one_waiting();
    advance(TIMEOUT - NS_PER_MS); /* it is looked at each second */
    assert_int_equal(bench.untried, 0);
    advance(NS_PER_MS);
    assert_kept_too_long(slow);
    end_one(slow);
    assert_int_equal(bench.running_count, 0);
    close_bench();
}

static void without_a_timeout_it_waits_for_as_long_as_it_takes(void **state)
{
    struct core_attempt *slow;

    (void)state;
    open_bench(0);
    slow = keep_one_waiting();
    advance(1000 * NS_PER_S);
    assert_int_equal(bench.untried, 0);
    end_one(slow);
    assert_int_equal(bench.running_count, 1);
    close_bench();
}

static void one_whose_worker_is_free_in_time_runs(void **state)
{
    struct core_attempt *slow;

    (void)state;
    open_bench(TIMEOUT);
    slow = keep_one_waiting();
    advance(TIMEOUT - NS_PER_MS);
    end_one(slow);
    assert_int_equal(bench.running_count, 1);
    advance(2 * TIMEOUT);
    assert_int_equal(bench.untried, 0);
    assert_int_equal(bench.running_count, 1);
    close_bench();
}

static void that_its_pool_is_full_meanwhile_changes_nothing(void **state)
{
    struct core_attempt *slow;

    (void)state;
    open_bench(TIMEOUT);
    slow = keep_one_waiting();
    submit(SLICE("other")); /* it has the worker that is free */
    assert_int_equal(bench.running_count, 2);
    advance(TIMEOUT);
    assert_kept_too_long(slow);
    close_bench();
}

static void one_that_an_op_may_change_fails_only_behind_it(void **state)
{
    struct desk_hold hold = {.task = 4};
    struct core_attempt *slow;

    (void)state;
    open_bench(TIMEOUT);
    slow = keep_one_waiting();
    advance(TIMEOUT - NS_PER_MS);
    desk_hold(bench.desk, &hold, bench.now);
    advance(TIMEOUT);
    assert_int_equal(bench.untried, 0);
    desk_let_go(bench.desk, &hold, false, bench.now);
    advance(2 * NS_PER_S);
    assert_kept_too_long(slow);
    close_bench();
}

static void one_whose_worker_ends_goes_to_another(void **state)
{
    struct core_attempt *slow;
    struct worker *w;

    (void)state;
    open_bench(TIMEOUT);
    slow = keep_one_waiting();
    advance(TIMEOUT - NS_PER_MS);
    w = slow->worker;
    crew_answered(crew.crew, w, slow->session, CREW_ANSWER_NONE, bench.now);
    desk_bench_report(&bench, slow, WEIR_OUTCOME_LOST);
    crew_gone(crew.crew, w, "killed", NULL, bench.now);
    settle();
    advance(TIMEOUT);
    assert_int_equal(bench.untried, 0);
    assert_int_equal(bench.running_count, 1);
    close_bench();
}

static void what_waits_for_its_pool_is_not_kept_waiting_by_its_worker(void **state)
{
    struct core_attempt *slow;

    (void)state;
    open_bench(TIMEOUT);
    slow = keep_one_waiting();
    desk_enable_pool(bench.desk, pool, false, bench.now);
    end_one(slow);
    advance(2 * TIMEOUT);
    assert_int_equal(bench.untried, 0);
    assert_int_equal(bench.running_count, 0);
    desk_enable_pool(bench.desk, pool, true, bench.now);
    settle();
    assert_int_equal(bench.running_count, 1);
    close_bench();
}

static void in_a_pool_that_leaves_nobody_is_kept_waiting(void **state)
{
    (void)state;
    open_bench(TIMEOUT);
    (void)keep_one_waiting();
    desk_remove_pool(bench.desk, pool, bench.now);
    advance(2 * TIMEOUT);
    assert_int_equal(bench.untried, 0);
    close_bench();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_fails_when_its_worker_was_not_free_in_time),
        cmocka_unit_test(without_a_timeout_it_waits_for_as_long_as_it_takes),
        cmocka_unit_test(one_whose_worker_is_free_in_time_runs),
        cmocka_unit_test(that_its_pool_is_full_meanwhile_changes_nothing),
        cmocka_unit_test(one_that_an_op_may_change_fails_only_behind_it),
        cmocka_unit_test(one_whose_worker_ends_goes_to_another),
        cmocka_unit_test(what_waits_for_its_pool_is_not_kept_waiting_by_its_worker),
        cmocka_unit_test(in_a_pool_that_leaves_nobody_is_kept_waiting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
