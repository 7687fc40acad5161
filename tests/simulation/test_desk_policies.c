/*
 * Policies through the whole of it: registry, clerk, desk, schedule, permits, dispatcher, in
 * virtual time (desk/office.h). What each part does alone, its unit tests show; here they are
 * together, with queues that are longer than what the desk has in memory.
 */
#include "base/mem.h"
#include "simulation/desk/office.h"
#include "store/registry/memory_registry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TASKS_MAX 20001
#define GROUP     1000

/* What is known of a task, by its id. */
struct fact {
    duration_ns takes_ns;
    struct instant began_at, ended_at; /* NEVER: not yet */
    int tenant;
    uint64_t after[3];
};

struct shop {
    struct core_registry *registry;
    struct office *office;
    struct desk_pool_options desk;
    struct core_pool_options core;
    struct office_model model;
    struct rng rng;
    struct fact *facts;
    uint64_t tasks; /* submitted */
    size_t running, peak, begun, ended;
    size_t tried; /* tasks that have begun once */
    bool refuses;
    duration_ns work_ns[3];
    struct instant counted_at;
    double busy_s; /* running, over the time */
};

static struct fact *fact_of(struct shop *s, const struct core_attempt *a)
{
    uint64_t id = strtoull(a->key, NULL, 10);

    assert_in_range(id, 1, s->tasks);
    return &s->facts[id];
}

static void count_time(struct shop *s, struct instant now)
{
    s->busy_s += (double)s->running * instant_seconds(now, s->counted_at);
    s->counted_at = now;
}

static void began(void *ctx, const struct core_attempt *a, struct instant now)
{
    struct shop *s = ctx;
    struct fact *f = fact_of(s, a);

    count_time(s, now);
    assert_true(s->refuses || instant_is_never(f->began_at));
    s->tried += instant_is_never(f->began_at);
    for (size_t i = 0; i < 3; i++)
        assert_true(f->after[i] == 0 || !instant_is_never(s->facts[f->after[i]].ended_at));
    f->began_at = now;
    s->begun++;
    if (++s->running > s->peak)
        s->peak = s->running;
}

static void ended(void *ctx, const struct core_attempt *a, struct instant now)
{
    struct shop *s = ctx;
    struct fact *f = fact_of(s, a);

    count_time(s, now);
    f->ended_at = now;
    s->work_ns[f->tenant] += f->takes_ns;
    s->running--;
    s->ended++;
}

static duration_ns takes(void *ctx, const struct core_attempt *a)
{
    return fact_of(ctx, a)->takes_ns;
}

static const struct desk_pool_ops pool_ops = {0};

static void shop_open(struct shop *s, enum schedule_policy policy, double ageing)
{
    struct office_options o = {.seed = 7,
                               .schedule = {.policy = policy, .ageing = ageing},
                               .gather_max_ns = NS_PER_MS / 10,
                               .commit_max_ns = NS_PER_MS,
                               .mail_max_ns = NS_PER_MS / 10};

    *s = (struct shop){.counted_at = SIM_START};
    rng_seed(&s->rng, 11);
    s->facts = mem_calloc(TASKS_MAX, sizeof *s->facts);
    assert_non_null(s->facts);
    assert_int_equal(memory_registry_new(&s->registry, NULL), WEIR_OK);
    s->office = office_open(&o, s->registry, INT64_C(1700000000) * NS_PER_S);
    assert_non_null(s->office);
    s->model = (struct office_model){.seed = 1,
                                     .cancels_at_once = true,
                                     .ok_only = 1,
                                     .began = began,
                                     .ended = ended,
                                     .takes = takes,
                                     .ctx = s};
    core_pool_options_init(&s->core);
    s->core.gate.throttle.kind = THROTTLE_NONE;
    s->desk = (struct desk_pool_options){.ops = &pool_ops, .max_attempts = 1};
    s->desk.backoff = s->core.backoff;
}

static struct desk_pool *shop_pool(struct shop *s, const char *name, size_t size)
{
    struct desk_pool *p;

    s->core.name = name;
    s->core.size = size;
    p = office_add_pool(s->office, &s->core, &s->model, &s->desk, NULL);
    assert_non_null(p);
    return p;
}

static void shop_close(struct shop *s)
{
    s->office = office_close(s->office);
    s->registry->ops->close(s->registry);
    mem_free(s->facts);
}

static void shop_run(struct shop *s, duration_ns ns)
{
    sim_world_set_lodger(s->office->world, &s->office->lodger);
    (void)sim_world_run(s->office->world, instant_add(office_now(s->office), ns));
    assert_null(desk_check(s->office->desk));
    assert_null(memory_registry_check(s->registry));
}

static void submitted(struct registry_op *op)
{
    assert_int_equal(op->err.status, WEIR_OK);
    mem_free(op->user);
    mem_free(op);
}

/* `count` tasks alike, each of which takes so long (a random time of that mean, where it is negative). */
static void shop_submit(struct shop *s, struct registry_line line, int tenant, size_t count,
                        duration_ns takes_ns)
{
    while (count > 0) {
        size_t n = count < GROUP ? count : GROUP;
        struct registry_spec *specs = mem_calloc(n, sizeof *specs);
        struct registry_op *op = mem_calloc(1, sizeof *op);

        assert_true(specs && op && s->tasks + n < TASKS_MAX);
        for (size_t i = 0; i < n; i++) {
            struct fact *f = &s->facts[++s->tasks];

            specs[i].line = line;
            f->tenant = tenant;
            f->takes_ns = takes_ns < 0 ? rng_range(&s->rng, 0, -2 * takes_ns) : takes_ns;
            f->began_at = f->ended_at = INSTANT_NEVER;
        }
        op->kind = REGISTRY_SUBMIT;
        op->submit = (struct registry_submit){.specs = specs, .count = n};
        op->user = specs;
        op->done = submitted;
        office_send(s->office, op);
        count -= n;
    }
}

static double since_start(struct instant t)
{
    return instant_is_never(t) ? HUGE_VAL : instant_seconds(t, SIM_START);
}

/* ---- tests ---- */

static void
tenants_of_weights_1_2_7_have_that_much_of_the_time_within_two_in_a_hundred(void **state)
{
    static const char *const names[] = {"one", "two", "seven"};
    static const double weights[] = {1, 2, 7};
    struct shop s;
    double sum = 0;

    (void)state;
    shop_open(&s, SCHEDULE_FAIR_SHARE, 0);
    shop_pool(&s, "p", 8);
    assert_true(desk_set_default_pool(s.office->desk, "p"));
    for (int i = 0; i < 3; i++)
        assert_true(desk_set_weight(s.office->desk, slice_of(names[i]), weights[i]));
    for (int i = 0; i < 3; i++)
        shop_submit(&s, (struct registry_line){.tenant = slice_of(names[i])}, i,
                    i == 2 ? 10000 : 4000, -50 * NS_PER_MS * (i == 1 ? 3 : 1));
    /* All three are there when the first one starts: who is alone at first is charged by a guess. */
    shop_run(&s, NS_PER_S);
    office_begin(s.office);
    shop_run(&s, 60 * NS_PER_S);
    for (int i = 0; i < 3; i++)
        sum += (double)s.work_ns[i];
    for (int i = 0; i < 3; i++) {
        double share = (double)s.work_ns[i] / sum, due = weights[i] / 10;

        assert_true(share > due * 0.98 && share < due * 1.02);
    }
    /* Nobody has run dry, and no place was idle. */
    assert_true(s.ended < 17000 && s.busy_s > 8 * 59.5);
    shop_close(&s);
}

/* When the one of low priority begins, behind a stream of others for 40 s. */
static double low_begins_at(double ageing)
{
    struct shop s;
    double ret;

    shop_open(&s, SCHEDULE_PRIORITY, ageing);
    shop_pool(&s, "p", 1);
    assert_true(desk_set_default_pool(s.office->desk, "p"));
    office_begin(s.office);
    shop_submit(&s, (struct registry_line){.priority = 10}, 0, 2, 100 * NS_PER_MS);
    shop_run(&s, 10 * NS_PER_MS);
    shop_submit(&s, (struct registry_line){.priority = 0}, 1, 1, 100 * NS_PER_MS);
    for (int i = 0; i < 400; i++) {
        shop_run(&s, 100 * NS_PER_MS);
        shop_submit(&s, (struct registry_line){.priority = 10}, 0, 1, 100 * NS_PER_MS);
    }
    shop_run(&s, 10 * NS_PER_S);
    assert_int_equal(s.ended, s.tasks);
    ret = since_start(s.facts[3].began_at);
    shop_close(&s);
    return ret;
}

static void with_ageing_a_task_of_low_priority_has_its_turn_and_without_it_waits(void **state)
{
    double at = low_begins_at(60); /* one a second: it draws level after ten */

    (void)state;
    assert_true(at > 9 && at < 12);
    assert_true(low_begins_at(0) > 40);
}

static void a_task_that_cannot_run_blocks_none_behind_it(void **state)
{
    struct shop s;

    (void)state;
    shop_open(&s, SCHEDULE_PRIORITY, 0);
    shop_pool(&s, "a", 1);
    s.desk.cpu_milli = 1000;
    shop_pool(&s, "b", 4);
    assert_true(desk_set_default_pool(s.office->desk, "b"));
    office_begin(s.office);
    shop_submit(&s, (struct registry_line){.priority = 9, .pool = SLICE("a")}, 0, 3000,
                10 * NS_PER_S);
    shop_submit(&s, (struct registry_line){.priority = 8, .cpu_milli = 600}, 0, 2, 5 * NS_PER_S);
    shop_submit(&s, (struct registry_line){.priority = 1, .cpu_milli = 300}, 0, 1, NS_PER_S);
    shop_submit(&s, (struct registry_line){.priority = 0}, 0, 1, NS_PER_S);
    shop_run(&s, NS_PER_S / 2);
    assert_int_equal(s.running,
                     4); /* one in a, and of b the first of 600, that of 300, that of 0 */
    assert_true(since_start(s.facts[3001].began_at) < 0.1);
    assert_true(instant_is_never(s.facts[3002].began_at));
    assert_true(since_start(s.facts[3003].began_at) < 0.1);
    assert_true(since_start(s.facts[3004].began_at) < 0.1);
    shop_close(&s);
}

static void what_is_reserved_is_kept_for_those_of_high_priority(void **state)
{
    struct shop s;

    (void)state;
    shop_open(&s, SCHEDULE_PRIORITY, 0);
    s.desk.reserve = (struct permit_reserve){.min_priority = 50, .share = 0.4};
    shop_pool(&s, "p", 5);
    assert_true(desk_set_default_pool(s.office->desk, "p"));
    office_begin(s.office);
    shop_submit(&s, (struct registry_line){.priority = 49}, 0, 2000, 10 * NS_PER_S);
    shop_run(&s, NS_PER_S);
    assert_int_equal(s.running, 3);
    shop_submit(&s, (struct registry_line){.priority = 50}, 0, 3, 10 * NS_PER_S);
    shop_run(&s, NS_PER_S);
    assert_int_equal(s.running, 5);
    assert_true(since_start(s.facts[2001].began_at) < 1.1);
    assert_true(instant_is_never(s.facts[2003].began_at));
    shop_close(&s);
}

static void a_pool_that_bursts_pays_it_back(void **state)
{
    struct shop s;

    (void)state;
    shop_open(&s, SCHEDULE_FIFO, 0);
    s.desk.burst_places = 2;
    s.desk.burst_seconds = 2;
    shop_pool(&s, "p", 4);
    assert_true(desk_set_default_pool(s.office->desk, "p"));
    office_begin(s.office);
    shop_submit(&s, (struct registry_line){0}, 0, 10000, -20 * NS_PER_MS);
    shop_run(&s, NS_PER_S);
    assert_int_equal(s.running, 6);
    shop_run(&s, 39 * NS_PER_S);
    count_time(&s, office_now(s.office));
    assert_int_equal(s.peak, 6);
    assert_true(s.busy_s < 40 * 4 * 1.03 && s.busy_s > 40 * 4 * 0.95);
    shop_close(&s);
}

static void a_limit_that_is_lowered_lets_what_runs_end_and_starts_nothing(void **state)
{
    struct shop s;
    struct desk_pool *p;
    size_t begun;

    (void)state;
    shop_open(&s, SCHEDULE_FIFO, 0);
    p = shop_pool(&s, "p", 8);
    assert_true(desk_set_default_pool(s.office->desk, "p"));
    office_begin(s.office);
    shop_submit(&s, (struct registry_line){0}, 0, 5000, -NS_PER_S);
    shop_run(&s, 5 * NS_PER_S);
    assert_int_equal(s.running, 8);
    assert_int_equal(desk_set_limit(s.office->desk, p, 3, office_now(s.office), NULL), WEIR_OK);
    begun = s.begun;
    while (s.running > 3)
        shop_run(&s, NS_PER_MS);
    assert_true(s.begun <= begun + 1); /* the last one to end may have left a place in that time */
    s.peak = s.running;
    shop_run(&s, 20 * NS_PER_S);
    assert_int_equal(s.peak, 3);
    assert_int_equal(s.running, 3);
    desk_set_global_limit(s.office->desk, 2, office_now(s.office));
    shop_run(&s, 5 * NS_PER_S);
    s.peak = s.running;
    shop_run(&s, 20 * NS_PER_S);
    assert_int_equal(s.peak, 2);
    shop_close(&s);
}

static void while_a_service_is_full_new_tasks_are_held_back(void **state)
{
    struct shop s;

    (void)state;
    shop_open(&s, SCHEDULE_FIFO, 0);
    s.refuses = true;
    s.model.takes = NULL;
    s.model.ok_only = 0;
    s.model.refuses = 1000;
    s.model.most_ns = NS_PER_MS;
    shop_pool(&s, "p", 4);
    assert_true(desk_set_default_pool(s.office->desk, "p"));
    office_begin(s.office);
    shop_submit(&s, (struct registry_line){0}, 0, 2000, 0);
    shop_run(&s, 90 * NS_PER_MS); /* a refused one waits for 100 ms at least */
    assert_int_equal(s.tried, 4 + CROWDING_ROWS_MAX);
    shop_run(&s, 5 * NS_PER_S);
    assert_true(s.begun > 200);
    assert_true(s.tried < 200);
    shop_close(&s);
}

static void worker_began(void *ctx, const struct core_attempt *a, struct instant now)
{
    struct shop *s = ctx;

    (void)a;
    count_time(s, now);
    s->begun++;
    if (++s->running > s->peak)
        s->peak = s->running;
}

static void worker_ended(void *ctx, const struct core_attempt *a, struct instant now)
{
    struct shop *s = ctx;

    (void)a;
    count_time(s, now);
    s->running--;
    s->ended++;
}

static void lazy_workers_are_started_for_all_that_wait_at_once(void **state)
{
    struct sim_workers_options o;
    struct shop s;

    (void)state;
    shop_open(&s, SCHEDULE_FIFO, 0);
    sim_workers_options_init(&o);
    o.crew.pool = s.core.name = "p";
    o.crew.size = s.core.size = 8;
    o.crew.lazy = o.good = true;
    o.seed = 5;
    o.given = worker_began;
    o.ended = worker_ended;
    o.ctx = &s;
    assert_non_null(office_add_crew(s.office, &s.core, &o, &s.desk, NULL));
    assert_true(desk_set_default_pool(s.office->desk, "p"));
    office_begin(s.office);
    shop_run(&s, NS_PER_S);
    assert_int_equal(dispatcher_workers(sim_world_dispatcher(s.office->world)), 0);
    shop_submit(&s, (struct registry_line){0}, 0, 6, 0);
    shop_run(&s, 10 * NS_PER_MS); /* none is ready yet */
    assert_int_equal(dispatcher_workers(sim_world_dispatcher(s.office->world)), 6);
    shop_run(&s, 100 * NS_PER_S);
    assert_int_equal(s.ended, 6);
    shop_close(&s);
}

static void submit_graph(struct shop *s, size_t count)
{
    struct registry_spec *specs = mem_calloc(count, sizeof *specs);
    struct registry_after(*after)[3] = mem_calloc(count, sizeof *after);
    struct registry_op *op = mem_calloc(1, sizeof *op);

    assert_true(specs && after && op);
    for (size_t i = 0; i < count; i++) {
        struct fact *f = &s->facts[s->tasks + 1 + i];

        f->takes_ns = rng_range(&s->rng, 0, 20 * NS_PER_MS);
        f->began_at = f->ended_at = INSTANT_NEVER;
        specs[i].after = after[i];
        for (size_t n = rng_below(&s->rng, 4); n > 0 && i > 0; n--) {
            uint32_t sibling = (uint32_t)(i - 1 - rng_below(&s->rng, i < 200 ? i : 200));

            f->after[specs[i].after_count] = s->tasks + 1 + sibling;
            after[i][specs[i].after_count++].sibling = sibling;
        }
    }
    s->tasks += count;
    op->kind = REGISTRY_SUBMIT;
    op->submit = (struct registry_submit){.specs = specs, .count = count};
    op->user = specs;
    op->done = submitted;
    office_send(s->office, op);
    shop_run(s, 5 * NS_PER_MS);
    mem_free(after);
}

static void a_random_graph_of_ten_thousand_tasks_runs_in_a_valid_order(void **state)
{
    struct shop s;

    (void)state;
    shop_open(&s, SCHEDULE_PRIORITY, 0);
    shop_pool(&s, "p", 50);
    assert_true(desk_set_default_pool(s.office->desk, "p"));
    office_begin(s.office);
    submit_graph(&s, 10000); /* began() looks at each one's dependencies */
    shop_run(&s, 1000 * NS_PER_S);
    assert_int_equal(s.ended, 10000);
    assert_int_equal(desk_running(s.office->desk), 0);
    shop_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            tenants_of_weights_1_2_7_have_that_much_of_the_time_within_two_in_a_hundred),
        cmocka_unit_test(with_ageing_a_task_of_low_priority_has_its_turn_and_without_it_waits),
        cmocka_unit_test(a_task_that_cannot_run_blocks_none_behind_it),
        cmocka_unit_test(what_is_reserved_is_kept_for_those_of_high_priority),
        cmocka_unit_test(a_pool_that_bursts_pays_it_back),
        cmocka_unit_test(a_limit_that_is_lowered_lets_what_runs_end_and_starts_nothing),
        cmocka_unit_test(while_a_service_is_full_new_tasks_are_held_back),
        cmocka_unit_test(lazy_workers_are_started_for_all_that_wait_at_once),
        cmocka_unit_test(a_random_graph_of_ten_thousand_tasks_runs_in_a_valid_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
