/*
 * Each allocation fails once, while pools, skills and lines are made and a reserve is changed: what
 * could not be done has changed nothing, and what goes on needs no memory.
 */
#include "schedule_test.h"

#include "base/mem.h"

#define FAILS_MAX 500

static const char *const skills[] = {"cut", "weld", "cut"};

static bool make_pools(struct world *w, struct schedule_pool *p[3])
{
    static const char *const pool_names[] = {"a", "b", "c"};

    for (int i = 0; i < 3; i++) {
        permit_account_init(&w->accounts[i], &w->all, 2);
        p[i] = schedule_add_pool(w->s, pool_names[i], &w->accounts[i], skills, (size_t)i + 1, NULL);
        if (!p[i])
            return false;
    }
    schedule_set_default_pool(w->s, p[0]);
    return true;
}

/* Of several kinds, tenants and sessions. The number of lines that were made. */
static int make_lines(struct world *w, struct schedule_line *lines[], int count)
{
    static const struct slice tenants[] = {SLICE("x"), SLICE("y"), SLICE("z")};
    struct permit_slots *none[PERMIT_SLOTS_MAX] = {NULL};
    struct weir_error err;

    for (int i = 0; i < count; i++) {
        struct registry_line l = {.id = (uint32_t)i + 1, .priority = i, .tenant = tenants[i % 3]};
        enum weir_status status;

        if (i % 4 == 1)
            l.session = SLICE("s");
        if (i % 4 == 2)
            l.pool = SLICE("b");
        if (i % 4 == 3)
            l.skill = i % 8 == 3 ? SLICE("weld") : SLICE("fly");
        status = schedule_line(w->s, &l, none, &lines[i], &err);
        if (status != WEIR_OK) {
            assert_int_equal(status, WEIR_E_NOMEM);
            assert_int_equal(err.status, WEIR_E_NOMEM);
            assert_null(schedule_find_line(w->s, l.id));
            return i;
        }
        schedule_hold_line(w->s, lines[i], true);
    }
    return count;
}

/* All that is there runs, one after the other, while no memory is to be had. */
static void run_all(struct world *w, struct schedule_line *lines[], int count)
{
    struct schedule_task tasks[16] = {{0}}, *t;
    struct schedule_pool *p;
    int runs = 0;

    for (int i = 0; i < count; i++) {
        tasks[i] = (struct schedule_task){.id = (uint64_t)i + 1, .rank = 100 - i};
        list_init(&tasks[i].link);
        schedule_add(w->s, lines[i], &tasks[i], w->now);
    }
    world_is_sound(w);
    while (schedule_choose(w->s, w->now, &t, &p)) {
        schedule_start(w->s, t, p, w->now);
        schedule_end(w->s, t->line, p, NS_PER_S, w->now);
        runs++;
    }
    assert_int_equal(runs, count);
}

static bool live(unsigned long fail_at)
{
    struct world *w = calloc(1, sizeof *w);
    struct schedule_pool *p[3] = {NULL};
    struct schedule_line *lines[16];
    int made = 0;
    bool failed;

    assert_non_null(w);
    permits_init(&w->all, PERMITS_UNLIMITED);
    mem_fail_at(fail_at);
    w->s = schedule_new(&(struct schedule_options){SCHEDULE_FAIR_SHARE, 0});
    if (w->s && make_pools(w, p)) {
        bool weighted = schedule_set_weight(w->s, SLICE("w"), 2);
        bool changed = schedule_set_skills(w->s, p[1], skills, 1);

        made = make_lines(w, lines, 16);
        w->accounts[0].reserve = (struct permit_reserve){8, 0.5};
        schedule_pool_changed(w->s, p[0]);
        assert_true((weighted && changed && made == 16) || mem_has_failed());
    }
    failed = mem_has_failed();
    mem_fail_at(0);
    if (w->s) {
        world_is_sound(w);
        mem_fail_at(1);
        if (p[0] && p[2])
            run_all(w, lines, made);
        /* A line that could not follow its reserve has done so by the first choice, with memory. */
        if (!failed)
            assert_false(mem_has_failed());
        mem_fail_at(0);
        world_is_sound(w);
    }
    world_free(w);
    return failed;
}

static void each_allocation_can_fail(void **state)
{
    unsigned long n = 1;

    (void)state;
    while (live(n))
        assert_true(++n < FAILS_MAX);
    assert_true(n > 40);
}

/* Where there is no memory for a line to follow a new reserve, it is only not given what is reserved; and later it is. */
static void a_line_that_cannot_follow_a_reserve_is_safe_and_follows_later(void **state)
{
    struct world *w = world_new(SCHEDULE_FIFO, 0);
    struct schedule_pool *p = world_pool(w, "p", 2, NULL);
    struct schedule_task *low, *high;

    (void)state;
    low = world_add(w, (struct registry_line){.priority = 0});
    assert_ptr_equal(world_start(w), low);
    high = world_add(w, (struct registry_line){.priority = 60});
    w->accounts[0].reserve = (struct permit_reserve){50, 0.5};
    mem_fail_at(1);
    schedule_pool_changed(w->s, p);
    assert_true(mem_has_failed());
    mem_fail_at(0);
    assert_int_equal(high->line->queue->kind->need.priority, FLOOR_NONE);
    world_is_sound(w);
    assert_ptr_equal(world_start(w), high);
    assert_int_equal(high->line->queue->kind->need.priority, 50);
    world_end(w, low, 0);
    world_end(w, high, 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_can_fail),
        cmocka_unit_test(a_line_that_cannot_follow_a_reserve_is_safe_and_follows_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
