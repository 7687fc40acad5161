/*
 * The choice: orders, pools, and that nothing that cannot run holds up what can.
 */
#include "schedule_test.h"

#define LINE(...) ((struct registry_line){__VA_ARGS__})

static void starts(struct world *w, struct schedule_task *t)
{
    struct schedule_task *started = world_start(w);

    if (started != t)
        fail_msg("task %lu was started, and not %lu", started ? (unsigned long)started->id : 0UL,
                 t ? (unsigned long)t->id : 0UL);
}

/* ---- orders ---- */

static void fifo_takes_the_oldest_whatever_its_priority(void **state)
{
    struct world *w = world_new(SCHEDULE_FIFO, 0);
    struct schedule_task *a, *b, *c;

    (void)state;
    world_pool(w, "p", 9, NULL);
    a = world_add(w, LINE(.priority = 1));
    b = world_add(w, LINE(.priority = 1000, .tenant = SLICE("x")));
    c = world_add(w, LINE(.priority = 1));
    starts(w, a);
    starts(w, b);
    starts(w, c);
    starts(w, NULL);
    for (struct schedule_task **t = (struct schedule_task *[]){a, b, c, NULL}; *t; t++)
        world_end(w, *t, 0);
    world_free(w);
}

static void priority_takes_the_highest_and_of_equal_ones_the_oldest(void **state)
{
    struct world *w = world_new(SCHEDULE_PRIORITY, 0);
    struct schedule_task *low, *old, *young;

    (void)state;
    world_pool(w, "p", 9, NULL);
    low = world_add(w, LINE(.priority = -5));
    old = world_add(w, LINE(.priority = 5, .tenant = SLICE("x")));
    young = world_add(w, LINE(.priority = 5));
    starts(w, old);
    starts(w, young);
    starts(w, low);
    world_end(w, old, 0);
    world_end(w, young, 0);
    world_end(w, low, 0);
    world_free(w);
}

static void a_task_that_comes_back_is_at_its_old_place(void **state)
{
    struct world *w = world_new(SCHEDULE_PRIORITY, 0);
    struct schedule_line *l;
    struct schedule_task *a, *b, *c;

    (void)state;
    world_pool(w, "p", 1, NULL);
    l = world_line_with(w, LINE(.priority = 0), NULL);
    schedule_hold_line(w->s, l, true);
    a = world_add_to(w, l);
    b = world_add_to(w, l);
    c = world_add_to(w, l);
    schedule_remove(w->s, b, w->now);
    schedule_add(w->s, l, b, w->now);
    starts(w, a);
    world_end(w, a, 0);
    starts(w, b);
    world_end(w, b, 0);
    starts(w, c);
    world_end(w, c, 0);
    world_free(w);
}

/* One priority each minute: after ten the low one is before what has come since. */
static void with_ageing_the_lowest_priority_does_not_starve(void **state)
{
    struct world *w = world_new(SCHEDULE_PRIORITY, 1);
    struct schedule_task *low, *t = NULL;
    int highs = 0;

    (void)state;
    world_pool(w, "p", 1, NULL);
    low = world_add(w, LINE(.priority = 0, .tenant = SLICE("meek")));
    for (;;) {
        world_add(w, LINE(.priority = 10));
        world_add(w, LINE(.priority = 10)); /* twice as many as there is room for */
        t = world_start(w);
        if (t == low)
            break;
        assert_true(++highs < 1000);
        world_end(w, t, NS_PER_S);
    }
    /* Two seconds of ranks a turn; the queue is as long as what has not been started. */
    assert_in_range(highs, 300, 601);
    world_end(w, low, 0);
    schedule_set_policy(w->s, &(struct schedule_options){SCHEDULE_PRIORITY, 0});
    low = world_add(w, LINE(.priority = 0, .tenant = SLICE("meek")));
    while (schedule_line_count(schedule_find_line(w->s, 2)) > 1) {
        t = world_start(w);
        assert_ptr_not_equal(t, low);
        world_end(w, t, NS_PER_S);
    }
    world_take_off(w, low);
    world_end(w, world_start(w), 0);
    world_free(w);
}

static void another_policy_takes_effect_at_once(void **state)
{
    struct world *w = world_new(SCHEDULE_FIFO, 0);
    struct schedule_task *old, *high;
    struct schedule_pool *p;

    (void)state;
    world_pool(w, "p", 9, NULL);
    old = world_add(w, LINE(.priority = 0));
    high = world_add(w, LINE(.priority = 1));
    assert_ptr_equal(world_next(w, &p), old);
    schedule_set_policy(w->s, &(struct schedule_options){SCHEDULE_SKILL, 0});
    assert_ptr_equal(world_next(w, &p), high);
    world_take_off(w, old);
    world_take_off(w, high);
    world_free(w);
}

/* ---- pools and skills ---- */

static void a_skill_goes_to_the_least_utilised_pool_that_offers_it(void **state)
{
    struct world *w = world_new(SCHEDULE_SKILL, 0);
    struct schedule_pool *small, *large;
    struct schedule_task *t[4];
    /* 0/2, 0/4; 1/2, 0/4; 1/2, 1/4; 1/2, 2/4: the same, and the first one was added first. */
    struct schedule_pool *right[4];

    (void)state;
    world_pool(w, "other", 9, NULL);
    small = world_pool(w, "small", 2, "cut");
    large = world_pool(w, "large", 4, "cut");
    memcpy(right, (struct schedule_pool *[]){small, large, large, small}, sizeof right);
    for (int i = 0; i < 4; i++) {
        t[i] = world_add(w, LINE(.skill = SLICE("cut")));
        starts(w, t[i]);
        assert_ptr_equal(world_task(t[i])->pool, right[i]);
    }
    for (int i = 0; i < 4; i++)
        world_end(w, t[i], 0);
    world_free(w);
}

static void a_skill_that_nobody_offers_goes_to_the_default_pool(void **state)
{
    struct world *w = world_new(SCHEDULE_SKILL, 0);
    struct schedule_pool *fallback = world_pool(w, "default", 1, NULL);
    struct schedule_task *a, *b;
    const char *skill = "fly";

    (void)state;
    a = world_add(w, LINE(.skill = SLICE("fly")));
    b = world_add(w, LINE(.skill = SLICE("fly")));
    starts(w, a);
    assert_ptr_equal(world_task(a)->pool, fallback);
    starts(w, NULL);
    assert_null(schedule_take_unoffered(w->s));
    /* As soon as one offers it, only that one will do. */
    assert_true(schedule_set_skills(w->s, world_pool(w, "bird", 1, NULL), &skill, 1));
    starts(w, b);
    assert_string_equal(world_task(b)->pool->target->name, "bird");
    world_end(w, a, 0);
    world_end(w, b, 0);
    world_free(w);
}

static void a_skill_without_any_pool_is_told_once_until_it_is_offered(void **state)
{
    struct world *w = world_new(SCHEDULE_SKILL, 0);
    struct schedule_pool *p = world_pool(w, "p", 1, NULL);
    struct schedule_task *t;
    const char *skill = "fly";

    (void)state;
    schedule_set_default_pool(w->s, NULL);
    assert_null(schedule_take_unoffered(w->s));
    t = world_add(w, LINE(.skill = SLICE("fly")));
    starts(w, NULL);
    assert_string_equal(schedule_take_unoffered(w->s), "fly");
    assert_null(schedule_take_unoffered(w->s));
    world_take_off(w, t);
    t = world_add(w, LINE(.skill = SLICE("fly")));
    assert_null(schedule_take_unoffered(w->s));
    assert_true(schedule_set_skills(w->s, p, &skill, 1));
    assert_null(schedule_take_unoffered(w->s));
    assert_true(schedule_set_skills(w->s, p, NULL, 0));
    assert_string_equal(schedule_take_unoffered(w->s), "fly");
    world_take_off(w, t);
    world_free(w);
}

static void a_task_that_names_a_pool_waits_until_it_is_there(void **state)
{
    struct world *w = world_new(SCHEDULE_FIFO, 0);
    struct schedule_task *t;
    struct schedule_pool *p;

    (void)state;
    world_pool(w, "p", 1, NULL);
    t = world_add(w, LINE(.pool = SLICE("late")));
    starts(w, NULL);
    p = world_pool(w, "late", 1, NULL);
    starts(w, t);
    world_end(w, t, 0);
    t = world_add(w, LINE(.pool = SLICE("late")));
    schedule_remove_pool(w->s, p);
    starts(w, NULL);
    world_take_off(w, t);
    world_free(w);
}

static void a_pool_that_leaves_gives_up_its_name_while_something_runs_there(void **state)
{
    struct world *w = world_new(SCHEDULE_FIFO, 0);
    struct schedule_task *old, *next;
    struct schedule_pool *leaves, *now;

    (void)state;
    leaves = world_pool(w, "p", 1, "x");
    old = world_add(w, LINE(.pool = SLICE("p")));
    starts(w, old);
    next = world_add(w, LINE(.pool = SLICE("p")));
    schedule_leave_pool(w->s, leaves);
    schedule_leave_pool(w->s, leaves);
    starts(w, NULL);
    now = world_pool(w, "p", 1, "x");
    starts(w, next);
    assert_ptr_equal(world_task(next)->pool, now);
    world_is_sound(w);
    schedule_pool_changed(w->s, leaves);
    world_end(w, old, NS_PER_S);
    schedule_remove_pool(w->s, leaves);
    world_is_sound(w);
    world_end(w, next, 0);
    world_free(w);
}

/* ---- what waits holds up nothing ---- */

static void a_full_pool_does_not_block_what_is_for_another(void **state)
{
    struct world *w = world_new(SCHEDULE_PRIORITY, 0);
    struct schedule_task *first, *second, *other;

    (void)state;
    world_pool(w, "p", 1, NULL);
    world_pool(w, "q", 1, NULL);
    first = world_add(w, LINE(.priority = 9));
    second = world_add(w, LINE(.priority = 9));
    other = world_add(w, LINE(.pool = SLICE("q")));
    starts(w, first);
    starts(w, other);
    starts(w, NULL);
    world_end(w, first, 0);
    starts(w, second);
    world_end(w, second, 0);
    world_end(w, other, 0);
    world_free(w);
}

static void a_quota_that_is_used_up_blocks_only_what_needs_it(void **state)
{
    struct world *w = world_new(SCHEDULE_PRIORITY, 0);
    struct schedule_task *big, *second, *small;

    (void)state;
    world_pool(w, "p", 9, NULL);
    w->accounts[0].cpu_milli_limit = 1000;
    big = world_add(w, LINE(.priority = 9, .cpu_milli = 600));
    second = world_add(w, LINE(.priority = 9, .cpu_milli = 600));
    small = world_add(w, LINE(.cpu_milli = 400));
    starts(w, big);
    starts(w, small);
    world_end(w, small, 0);
    starts(w, NULL);
    world_end(w, big, 0);
    starts(w, second);
    world_end(w, second, 0);
    world_free(w);
}

static void a_slot_that_is_given_back_is_for_any_pool(void **state)
{
    struct world *w = world_new(SCHEDULE_FIFO, 0);
    struct permit_slots slots;
    struct schedule_task *a, *b, *c;

    (void)state;
    assert_true(permit_slots_init(&slots, 1));
    world_pool(w, "p", 9, NULL);
    world_pool(w, "q", 9, NULL);
    a = world_add_to(w, world_line_with(w, LINE(.priority = 0), &slots));
    b = world_add_to(w, world_line_with(w, LINE(.pool = SLICE("q")), &slots));
    c = world_add(w, LINE(.pool = SLICE("q")));
    starts(w, a);
    starts(w, c);
    starts(w, NULL);
    world_end(w, c, 0);
    starts(w, NULL);
    world_end(w, a, 0);
    starts(w, b);
    world_end(w, b, 0);
    world_free(w);
    permit_slots_free(&slots);
}

static void the_global_limit_is_seen_by_every_pool(void **state)
{
    struct world *w = world_new(SCHEDULE_FIFO, 0);
    struct schedule_task *a, *b;

    (void)state;
    world_pool(w, "p", 9, NULL);
    world_pool(w, "q", 9, NULL);
    w->all.limit = 1;
    a = world_add(w, LINE(.pool = SLICE("p")));
    b = world_add(w, LINE(.pool = SLICE("q")));
    starts(w, a);
    starts(w, NULL);
    world_end(w, a, 0);
    starts(w, b);
    world_end(w, b, 0);
    world_free(w);
}

static void a_reserve_is_kept_for_high_priorities(void **state)
{
    struct world *w = world_new(SCHEDULE_FIFO, 0);
    struct schedule_pool *p = world_pool(w, "p", 2, NULL);
    struct schedule_task *low, *low_too, *high;

    (void)state;
    low = world_add(w, LINE(.priority = 49));
    low_too = world_add(w, LINE(.priority = 49));
    high = world_add(w, LINE(.priority = 50));
    w->accounts[0].reserve = (struct permit_reserve){50, 0.5};
    schedule_pool_changed(w->s, p);
    starts(w, low);
    starts(w, high);
    world_end(w, high, 0);
    starts(w, NULL);
    w->accounts[0].reserve.share = 0;
    schedule_pool_changed(w->s, p);
    starts(w, low_too);
    world_end(w, low, 0);
    world_end(w, low_too, 0);
    world_free(w);
}

static void disabled_and_closed_pools_take_nothing(void **state)
{
    struct world *w = world_new(SCHEDULE_FIFO, 0);
    struct schedule_pool *p = world_pool(w, "p", 1, NULL);
    struct schedule_task *t = world_add(w, LINE(.priority = 0));

    (void)state;
    schedule_enable_pool(w->s, p, false);
    starts(w, NULL);
    schedule_close_pool(w->s, p);
    schedule_enable_pool(w->s, p, true);
    starts(w, NULL);
    schedule_open_pool(w->s, p);
    starts(w, t);
    world_end(w, t, 0);
    world_free(w);
}

static void a_burst_that_ends_its_payback_is_seen_by_the_next_choice(void **state)
{
    struct world *w = world_new(SCHEDULE_FIFO, 0);
    struct schedule_pool *p = world_pool(w, "p", 2, NULL);
    struct schedule_task *a, *b;

    (void)state;
    w->accounts[0].burst =
        (struct permit_burst){.places = 1, .seconds = 10, .used = 5, .paying = true};
    w->accounts[0].burst.since = w->now;
    schedule_pool_changed(w->s, p);
    a = world_add(w, LINE(.priority = 0));
    b = world_add(w, LINE(.priority = 0));
    starts(w, a);
    starts(w, NULL);
    w->now = instant_after(w->now, 5); /* one place stayed free: paid back */
    starts(w, b);
    world_end(w, a, 0);
    world_end(w, b, 0);
    world_free(w);
}

/* ---- sessions, and tasks that are set aside ---- */

static void of_a_session_one_task_runs_at_a_time(void **state)
{
    struct world *w = world_new(SCHEDULE_PRIORITY, 0);
    struct schedule_task *a, *b, *other;

    (void)state;
    world_pool(w, "p", 9, NULL);
    world_pool(w, "q", 9, NULL);
    a = world_add(w, LINE(.priority = 5, .session = SLICE("s")));
    b = world_add(w, LINE(.priority = 4, .pool = SLICE("q"), .session = SLICE("s")));
    other = world_add(w, LINE(.priority = 0, .session = SLICE("t")));
    starts(w, a);
    starts(w, other);
    starts(w, NULL);
    world_end(w, a, 0);
    starts(w, b);
    world_end(w, b, 0);
    world_end(w, other, 0);
    world_free(w);
}

static void a_task_that_is_set_aside_lets_the_next_of_its_line_pass(void **state)
{
    struct world *w = world_new(SCHEDULE_FIFO, 0);
    struct schedule_task *a, *b, *c;

    (void)state;
    world_pool(w, "p", 9, NULL);
    a = world_add(w, LINE(.priority = 0));
    b = world_add(w, LINE(.priority = 0));
    c = world_add(w, LINE(.priority = 0));
    schedule_set_aside(w->s, a);
    starts(w, b);
    schedule_bring_back(w->s, a, w->now);
    starts(w, a);
    starts(w, c);
    world_end(w, a, 0);
    world_end(w, b, 0);
    world_end(w, c, 0);
    world_free(w);
}

static void of_a_session_the_others_wait_with_the_one_that_is_set_aside(void **state)
{
    struct world *w = world_new(SCHEDULE_FIFO, 0);
    struct schedule_task *a, *b, *c;

    (void)state;
    world_pool(w, "p", 9, NULL);
    a = world_add(w, LINE(.session = SLICE("s")));
    b = world_add(w, LINE(.session = SLICE("s"), .priority = 9));
    c = world_add(w, LINE(.priority = 0));
    schedule_set_aside(w->s, a);
    starts(w, c);
    starts(w, NULL);
    world_take_off(w, a);
    starts(w, b);
    world_end(w, b, 0);
    world_end(w, c, 0);
    world_free(w);
}

/* ---- lines ---- */

static void a_line_without_tasks_is_kept_only_while_something_needs_it(void **state)
{
    struct world *w = world_new(SCHEDULE_FIFO, 0);
    struct schedule_line *l;
    struct schedule_task *t;

    (void)state;
    world_pool(w, "p", 9, NULL);
    t = world_add(w, LINE(.tenant = SLICE("x"), .session = SLICE("s")));
    l = schedule_find_line(w->s, 1);
    assert_int_equal(schedule_line_count(l), 1);
    assert_int_equal(schedule_line_id(l), 1);
    schedule_line_supply(l)->window = 64;
    starts(w, t);
    assert_int_equal(schedule_line_count(l), 0);
    assert_ptr_equal(schedule_find_line(w->s, 1), l);
    schedule_hold_line(w->s, l, true);
    world_end(w, t, 0);
    assert_ptr_equal(schedule_find_line(w->s, 1), l);
    assert_int_equal(schedule_line_supply(l)->window, 64);
    schedule_hold_line(w->s, l, true); /* twice is held twice */
    schedule_hold_line(w->s, l, false);
    assert_ptr_equal(schedule_find_line(w->s, 1), l);
    schedule_hold_line(w->s, l, false);
    assert_null(schedule_find_line(w->s, 1));
    world_free(w);
}

static void more_lines_than_the_limit_are_refused_with_a_remedy(void **state)
{
    struct world *w = world_new(SCHEDULE_FIFO, 0);
    struct registry_line r = {.id = 7};
    struct schedule_line *l = NULL;
    struct weir_error err;
    size_t were = w->s->lines.count;

    (void)state;
    w->s->lines.count = SCHEDULE_LINES_MAX;
    assert_int_equal(schedule_line(w->s, &r, NULL, &l, &err), WEIR_E_LIMIT);
    assert_non_null(strstr(err.message, "use fewer"));
    assert_null(l);
    w->s->lines.count = were;
    assert_int_equal(schedule_line(w->s, &r, NULL, &l, &err), WEIR_OK);
    assert_null(schedule_line_first(l));
    world_free(w);
}

static void why_names_what_is_in_the_way(void **state)
{
    struct world *w = world_new(SCHEDULE_FIFO, 0);
    struct schedule_pool *p = world_pool(w, "p", 1, NULL);
    struct schedule_task *a, *b, *c;
    enum permit_block block;

    (void)state;
    c = world_add(w, LINE(.pool = SLICE("none")));
    assert_int_equal(schedule_why(w->s, c->line, &block), SCHEDULE_NO_POOL);
    a = world_add(w, LINE(.session = SLICE("s")));
    b = world_add(w, LINE(.session = SLICE("s")));
    assert_int_equal(schedule_why(w->s, a->line, &block), SCHEDULE_MAY_RUN);
    starts(w, a);
    assert_int_equal(schedule_why(w->s, b->line, &block), SCHEDULE_LIMIT);
    assert_int_equal(block, PERMIT_POOL);
    w->accounts[0].limit = 2;
    schedule_pool_changed(w->s, p);
    assert_int_equal(schedule_why(w->s, b->line, &block), SCHEDULE_SESSION_TAKEN);
    assert_int_equal(block, PERMIT_FREE);
    world_end(w, a, 0);
    schedule_set_aside(w->s, b);
    assert_int_equal(schedule_why(w->s, b->line, &block), SCHEDULE_ASIDE);
    schedule_close_pool(w->s, p);
    assert_int_equal(schedule_why(w->s, b->line, &block), SCHEDULE_POOL_CLOSED);
    schedule_enable_pool(w->s, p, false);
    assert_int_equal(schedule_why(w->s, b->line, &block), SCHEDULE_POOL_DISABLED);
    world_take_off(w, b);
    world_take_off(w, c);
    world_free(w);
}

static void policies_have_names(void **state)
{
    enum schedule_policy p = SCHEDULE_SKILL;

    (void)state;
    for (int i = 0; i < SCHEDULE_POLICIES; i++) {
        assert_true(schedule_policy_from_name(schedule_policy_name((enum schedule_policy)i), &p));
        assert_int_equal(p, i);
    }
    assert_false(schedule_policy_from_name("lottery", &p));
    assert_int_equal(p, SCHEDULE_FAIR_SHARE);
    assert_string_equal(schedule_policy_name(SCHEDULE_POLICIES), "unknown");
}

static void what_is_barred_from_a_pool_blocks_only_what_needs_the_same(void **state)
{
    struct world *w = world_new(SCHEDULE_FIFO, 0);
    struct schedule_pool *p = world_pool(w, "p", 2, NULL), *ret;
    struct schedule_task *large = world_add(w, (struct registry_line){.cpu_milli = 2});
    struct schedule_task *small = world_add(w, (struct registry_line){.cpu_milli = 1});
    enum permit_block block;

    (void)state;
    assert_ptr_equal(world_next(w, &ret), large);
    assert_true(schedule_bar(w->s, large, p));
    assert_int_equal(schedule_why(w->s, large->line, &block), SCHEDULE_POOL_CLOSED);
    assert_ptr_equal(world_start(w), small);
    assert_null(world_next(w, &ret));
    schedule_unbar(w->s);
    assert_ptr_equal(world_start(w), large);
    world_end(w, small, 0);
    world_end(w, large, 0);
    world_free(w);
}

static void what_is_barred_from_one_pool_goes_to_another_that_offers_its_skill(void **state)
{
    struct world *w = world_new(SCHEDULE_SKILL, 0);
    struct schedule_pool *p = world_pool(w, "p", 2, "gpu"), *q = world_pool(w, "q", 2, "gpu");
    struct schedule_task *t = world_add(w, (struct registry_line){.skill = SLICE("gpu")});
    struct schedule_pool *ret;

    (void)state;
    assert_ptr_equal(world_next(w, &ret), t);
    assert_ptr_equal(ret, p);
    assert_true(schedule_bar(w->s, t, p));
    assert_ptr_equal(world_next(w, &ret), t);
    assert_ptr_equal(ret, q);
    assert_false(schedule_bar(w->s, t, q)); /* one at a time */
    schedule_remove_pool(w->s, p);
    assert_true(schedule_bar(w->s, t, q));
    assert_null(world_next(w, &ret));
    schedule_unbar(w->s);
    assert_ptr_equal(world_next(w, &ret), t);
    world_take_off(w, t);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fifo_takes_the_oldest_whatever_its_priority),
        cmocka_unit_test(priority_takes_the_highest_and_of_equal_ones_the_oldest),
        cmocka_unit_test(a_task_that_comes_back_is_at_its_old_place),
        cmocka_unit_test(with_ageing_the_lowest_priority_does_not_starve),
        cmocka_unit_test(another_policy_takes_effect_at_once),
        cmocka_unit_test(a_skill_goes_to_the_least_utilised_pool_that_offers_it),
        cmocka_unit_test(a_skill_that_nobody_offers_goes_to_the_default_pool),
        cmocka_unit_test(a_skill_without_any_pool_is_told_once_until_it_is_offered),
        cmocka_unit_test(a_task_that_names_a_pool_waits_until_it_is_there),
        cmocka_unit_test(a_pool_that_leaves_gives_up_its_name_while_something_runs_there),
        cmocka_unit_test(a_full_pool_does_not_block_what_is_for_another),
        cmocka_unit_test(a_quota_that_is_used_up_blocks_only_what_needs_it),
        cmocka_unit_test(a_slot_that_is_given_back_is_for_any_pool),
        cmocka_unit_test(the_global_limit_is_seen_by_every_pool),
        cmocka_unit_test(a_reserve_is_kept_for_high_priorities),
        cmocka_unit_test(disabled_and_closed_pools_take_nothing),
        cmocka_unit_test(a_burst_that_ends_its_payback_is_seen_by_the_next_choice),
        cmocka_unit_test(of_a_session_one_task_runs_at_a_time),
        cmocka_unit_test(a_task_that_is_set_aside_lets_the_next_of_its_line_pass),
        cmocka_unit_test(of_a_session_the_others_wait_with_the_one_that_is_set_aside),
        cmocka_unit_test(a_line_without_tasks_is_kept_only_while_something_needs_it),
        cmocka_unit_test(more_lines_than_the_limit_are_refused_with_a_remedy),
        cmocka_unit_test(why_names_what_is_in_the_way),
        cmocka_unit_test(policies_have_names),
        cmocka_unit_test(what_is_barred_from_a_pool_blocks_only_what_needs_the_same),
        cmocka_unit_test(what_is_barred_from_one_pool_goes_to_another_that_offers_its_skill),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
