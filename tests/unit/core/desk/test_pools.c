/*
 * The desk's pools: what waits for a fallback, limits that are raised, pools that are replaced.
 */
#include "unit/core/desk/desk_test.h"

static struct desk_bench bench;

/* A pool "p" whose breaker is open, with fallback "f", which has a quota of cpu. */
static struct desk_pool *broken_pool_with_fallback(uint64_t cpu_milli, size_t places)
{
    struct desk_pool *f;
    uint32_t line;

    desk_bench_init(&bench, SCHEDULE_FIFO);
    (void)desk_bench_pool(&bench, "p",
                          &(struct bench_pool){.size = 4, .fallback = "f", .breaker = true});
    f = desk_bench_pool(&bench, "f", &(struct bench_pool){.size = places, .cpu_milli = cpu_milli});
    line = desk_bench_line(&bench, &(struct registry_line){.pool = SLICE("p")}, 1);
    desk_line_ready(bench.desk, line, bench.now);
    desk_bench_settle(&bench);
    bench.running[0]->answer.retryable = true;
    desk_bench_end_one(&bench, bench.running[0], WEIR_OUTCOME_FAILED);
    return f;
}

static void what_does_not_fit_into_a_fallback_blocks_nobody_behind_it(void **state)
{
    struct desk_pool *f = broken_pool_with_fallback(1000, 4);
    uint32_t large, small;

    (void)state;
    large = desk_bench_line(&bench, &(struct registry_line){.pool = SLICE("p"), .cpu_milli = 2000},
                            100);
    bench.lines[large - 1].next_rank = 10;
    small =
        desk_bench_line(&bench, &(struct registry_line){.pool = SLICE("p"), .cpu_milli = 100}, 2);
    desk_line_ready(bench.desk, large, bench.now);
    desk_line_ready(bench.desk, small, bench.now);
    desk_bench_settle(&bench);
    assert_int_equal(desk_bench_in(&bench, f), 2);
    desk_bench_free(&bench);
}

static void what_waits_for_room_in_a_fallback_goes_when_there_is_some(void **state)
{
    struct desk_pool *f = broken_pool_with_fallback(1000, 4);
    uint32_t line;

    (void)state;
    line =
        desk_bench_line(&bench, &(struct registry_line){.pool = SLICE("p"), .cpu_milli = 600}, 3);
    desk_line_ready(bench.desk, line, bench.now);
    desk_bench_settle(&bench);
    assert_int_equal(desk_bench_in(&bench, f), 1);
    desk_bench_end_one(&bench, bench.running[0], WEIR_OUTCOME_OK);
    assert_int_equal(desk_bench_in(&bench, f), 1); /* at once */
    desk_bench_end_one(&bench, bench.running[0], WEIR_OUTCOME_OK);
    assert_int_equal(desk_bench_in(&bench, f), 1);
    desk_bench_end_one(&bench, bench.running[0], WEIR_OUTCOME_OK);
    assert_int_equal(desk_bench_in(&bench, f), 0);
    desk_bench_free(&bench);
}

static void what_did_not_fit_goes_when_the_quota_is_raised(void **state)
{
    struct desk_pool *f = broken_pool_with_fallback(1000, 4);
    struct desk_pool_options o = *desk_pool_get_options(f);
    uint32_t line;

    (void)state;
    line =
        desk_bench_line(&bench, &(struct registry_line){.pool = SLICE("p"), .cpu_milli = 2000}, 1);
    desk_line_ready(bench.desk, line, bench.now);
    desk_bench_settle(&bench);
    assert_int_equal(desk_bench_in(&bench, f), 0);
    o.cpu_milli = 4000;
    assert_int_equal(desk_change_pool(bench.desk, f, &o, bench.now, NULL), WEIR_OK);
    desk_bench_advance(&bench, NS_PER_S);
    assert_int_equal(desk_bench_in(&bench, f), 1);
    desk_bench_free(&bench);
}

static void a_limit_that_is_raised_far_is_used_up(void **state)
{
    struct desk_pool *p;
    uint32_t line;

    (void)state;
    desk_bench_init(&bench, SCHEDULE_FIFO);
    p = desk_bench_pool(&bench, "p", &(struct bench_pool){.size = 1});
    line = desk_bench_line(&bench, &(struct registry_line){.pool = SLICE("p")}, 21000);
    desk_line_ready(bench.desk, line, bench.now);
    desk_bench_settle(&bench);
    assert_int_equal(desk_set_limit(bench.desk, p, 20000, bench.now, NULL), WEIR_OK);
    desk_bench_settle(&bench);
    assert_int_equal(desk_bench_in(&bench, p), 20000);
    desk_bench_free(&bench);
}

static void a_burst_that_is_added_far_is_used_up(void **state)
{
    struct desk_pool_options o;
    struct desk_pool *p;
    uint32_t line;

    (void)state;
    desk_bench_init(&bench, SCHEDULE_FIFO);
    p = desk_bench_pool(&bench, "p", &(struct bench_pool){.size = 1});
    line = desk_bench_line(&bench, &(struct registry_line){.pool = SLICE("p")}, 21000);
    desk_line_ready(bench.desk, line, bench.now);
    o = *desk_pool_get_options(p);
    o.burst_places = 20000;
    o.burst_seconds = 10;
    assert_int_equal(desk_change_pool(bench.desk, p, &o, bench.now, NULL), WEIR_OK);
    desk_bench_settle(&bench);
    assert_int_equal(desk_bench_in(&bench, p), 20001);
    desk_bench_free(&bench);
}

static void nothing_starts_in_a_pool_that_is_added_disabled(void **state)
{
    struct desk_pool *p;
    uint32_t named, any;

    (void)state;
    desk_bench_init(&bench, SCHEDULE_FIFO);
    (void)desk_bench_pool(&bench, "p", &(struct bench_pool){.size = 1});
    named = desk_bench_line(&bench, &(struct registry_line){.pool = SLICE("q")}, 3);
    any = desk_bench_line(&bench, &(struct registry_line){.pool = SLICE("p")}, 3);
    desk_line_ready(bench.desk, named, bench.now);
    desk_line_ready(bench.desk, any, bench.now);
    desk_bench_settle(&bench);
    assert_int_equal(bench.running_count, 1);
    p = desk_bench_pool(&bench, "q", &(struct bench_pool){.size = 4, .disabled = true});
    desk_bench_settle(&bench);
    assert_int_equal(desk_bench_in(&bench, p), 0);
    /* In the place of one that runs something. */
    p = desk_bench_pool(&bench, "p", &(struct bench_pool){.size = 4, .disabled = true});
    desk_bench_settle(&bench);
    assert_int_equal(desk_bench_in(&bench, p), 0);
    assert_int_equal(bench.running_count, 1);
    desk_enable_pool(bench.desk, p, true, bench.now);
    desk_bench_settle(&bench);
    assert_int_equal(desk_bench_in(&bench, p), 2);
    desk_bench_free(&bench);
}

static void a_pool_is_changed_as_a_whole_or_not_at_all(void **state)
{
    static const char *const skills[] = {"one", "two"};
    struct desk_pool_options o;
    enum weir_status status = WEIR_E_NOMEM;
    const struct permit_account *a;
    struct desk_pool *p;
    unsigned long n = 0;
    uint32_t line;

    (void)state;
    desk_bench_init(&bench, SCHEDULE_FIFO);
    p = desk_bench_pool(&bench, "p", &(struct bench_pool){.size = 1, .burst_places = 1});
    (void)desk_set_default_pool(bench.desk, NULL);
    line = desk_bench_line(&bench, &(struct registry_line){.skill = SLICE("two")}, 100);
    desk_line_ready(bench.desk, line, bench.now);
    desk_bench_settle(&bench);
    a = core_pool_permits(desk_core_pool(p));
    o = *desk_pool_get_options(p);
    o.skills = skills;
    o.skill_count = 2;
    o.fallback = "f";
    o.cpu_milli = 100000;
    o.burst_places = 50;
    o.burst_seconds = 7;
    while (status != WEIR_OK) {
        assert_int_equal(a->burst.places, 1);
        assert_true(a->burst.seconds == 1);
        assert_int_equal(a->cpu_milli_limit, 0);
        assert_int_equal(desk_pool_get_options(p)->skill_count, 0);
        assert_null(desk_pool_get_options(p)->fallback);
        desk_bench_settle(&bench);
        assert_int_equal(bench.running_count, 0);
        mem_fail_at(++n);
        status = desk_change_pool(bench.desk, p, &o, bench.now, NULL);
        mem_fail_at(0);
        assert_true(status == WEIR_OK || status == WEIR_E_NOMEM);
    }
    assert_true(n > 5);
    assert_int_equal(a->burst.places, 50);
    assert_int_equal(a->cpu_milli_limit, 100000);
    desk_bench_settle(&bench);
    assert_true(desk_bench_in(&bench, p) > 1);
    o.burst_places = SIZE_MAX / 2;
    assert_int_equal(desk_change_pool(bench.desk, p, &o, bench.now, NULL), WEIR_E_INVALID);
    assert_int_equal(a->burst.places, 50);
    desk_bench_free(&bench);
}

/* Attempts of all pools of that name that are still counted, as metrics sum them. */
struct sum {
    const char *name;
    uint64_t started, done, ran;
};

static void add_counts(void *ctx, struct desk_pool *p)
{
    struct sum *s = ctx;
    const struct desk_counts *c = desk_pool_counts(p);

    if (!desk_core_pool(p) || strcmp(core_pool_get_options(desk_core_pool(p))->name, s->name) != 0)
        return;
    s->started += c->started;
    s->done += c->done;
    for (size_t i = 0; i <= DESK_TIME_BOUNDS; i++)
        s->ran += c->run.counts[i];
}

static struct sum counts_of(const char *name)
{
    struct sum s = {.name = name};

    desk_pools(bench.desk, add_counts, &s);
    return s;
}

static void counts_go_on_when_a_pool_is_replaced(void **state)
{
    uint32_t line;

    (void)state;
    desk_bench_init(&bench, SCHEDULE_FIFO);
    (void)desk_bench_pool(&bench, "p", &(struct bench_pool){.size = 1});
    line = desk_bench_line(&bench, &(struct registry_line){.pool = SLICE("p")}, 4);
    desk_line_ready(bench.desk, line, bench.now);
    desk_bench_settle(&bench);
    desk_bench_end_one(&bench, bench.running[0], WEIR_OUTCOME_OK);
    desk_bench_settle(&bench);
    assert_int_equal(counts_of("p").started, 2);
    assert_int_equal(counts_of("p").done, 1);
    (void)desk_bench_pool(&bench, "p", &(struct bench_pool){.size = 2}); /* one runs still */
    desk_bench_settle(&bench);
    assert_int_equal(counts_of("p").started, 3);
    desk_bench_end_one(&bench, bench.running[0], WEIR_OUTCOME_OK);
    desk_bench_end_one(&bench, bench.running[0], WEIR_OUTCOME_OK);
    desk_bench_end_one(&bench, bench.running[0], WEIR_OUTCOME_OK);
    assert_int_equal(desk_pool_count(bench.desk), 1);
    assert_int_equal(counts_of("p").started, 4);
    desk_bench_settle(&bench);
    (void)desk_bench_pool(&bench, "p", &(struct bench_pool){.size = 1}); /* nothing runs */
    desk_bench_settle(&bench);
    assert_int_equal(desk_pool_count(bench.desk), 1);
    assert_int_equal(counts_of("p").started, 4);
    assert_int_equal(counts_of("p").done, 4);
    assert_int_equal(counts_of("p").ran, 4);
    desk_bench_free(&bench);
}

static void an_event_may_have_the_name_of_a_pool_that_is_gone(void **state)
{
    char name[] = "gone";

    (void)state;
    desk_bench_init(&bench, SCHEDULE_FIFO);
    desk_record(bench.desk,
                &(struct registry_event){.kind = REGISTRY_WORKER_TRANSITION,
                                         .pool = slice_of(name),
                                         .detail = SLICE("{\"to\":\"terminated\"}")},
                NULL, bench.now);
    memset(name, 'x', 4); /* the caller's again */
    desk_bench_settle(&bench);
    assert_int_equal(bench.told, 1);
    assert_string_equal(bench.told_pool[REGISTRY_WORKER_TRANSITION], "gone");
    desk_bench_free(&bench);
}

/* As somebody's CANCEL of one that waits. */
static void cancel(uint64_t task)
{
    struct desk_hold h = {.task = task};

    desk_hold(bench.desk, &h, bench.now);
    desk_let_go(bench.desk, &h, true, bench.now);
    desk_bench_settle(&bench);
}

static void names_that_only_tasks_have_leave_room_for_those_that_are_configured(void **state)
{
    static char names[2000][16];
    struct desk_slots told[4];
    enum permit_block block;
    uint32_t line;
    uint64_t first;

    (void)state;
    desk_bench_init(&bench, SCHEDULE_FIFO);
    (void)desk_bench_pool(&bench, "p", &(struct bench_pool){.size = 4});
    for (int i = 0; i < 2000; i++) {
        snprintf(names[i], sizeof names[i], "n%d", i);
        line = desk_bench_line(&bench, &(struct registry_line){.slots = slice_of(names[i])}, 1);
        desk_line_ready(bench.desk, line, bench.now);
        desk_bench_settle(&bench);
        if (i % 2 == 0)
            cancel(bench.next_task);
    }
    first = 2; /* of names[1] */
    assert_int_equal(desk_why(bench.desk, first, &block), SCHEDULE_LIMIT);
    assert_int_equal(block, PERMIT_UNKNOWN_SLOT);
    for (int i = 0; i < DESK_SLOTS_MAX; i++) {
        char name[16];

        snprintf(name, sizeof name, "c%d", i);
        assert_int_equal(desk_set_slots(bench.desk, i == 0 ? "n1" : name, 1, NULL), WEIR_OK);
    }
    assert_int_equal(desk_set_slots(bench.desk, "more", 1, NULL), WEIR_E_LIMIT);
    assert_int_equal(desk_set_slots(bench.desk, "c7", 0, NULL), WEIR_OK);
    assert_int_equal(desk_set_slots(bench.desk, "more", 1, NULL), WEIR_OK);
    desk_bench_settle(&bench);
    assert_int_equal(bench.running_count, 1); /* that of n1 */
    assert_int_equal(desk_slots(bench.desk, told, 4), 4);
    desk_bench_free(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_fit_into_a_fallback_blocks_nobody_behind_it),
        cmocka_unit_test(what_waits_for_room_in_a_fallback_goes_when_there_is_some),
        cmocka_unit_test(what_did_not_fit_goes_when_the_quota_is_raised),
        cmocka_unit_test(a_limit_that_is_raised_far_is_used_up),
        cmocka_unit_test(a_burst_that_is_added_far_is_used_up),
        cmocka_unit_test(nothing_starts_in_a_pool_that_is_added_disabled),
        cmocka_unit_test(a_pool_is_changed_as_a_whole_or_not_at_all),
        cmocka_unit_test(counts_go_on_when_a_pool_is_replaced),
        cmocka_unit_test(names_that_only_tasks_have_leave_room_for_those_that_are_configured),
        cmocka_unit_test(an_event_may_have_the_name_of_a_pool_that_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
