/*
 * Fair share: pools in virtual time, and what each tenant has had of them.
 */
#include "base/rng.h"
#include "schedule_test.h"

#include <stdio.h>

#define TENANTS 3
#define PLACES  64

static const char *const names[TENANTS] = {"one", "two", "seven"};

/* A pool whose attempts take their time. */
struct shop {
    struct world *w;
    struct rng rng;
    struct {
        struct schedule_task *task; /* NULL: the place is free */
        struct instant ends;
        duration_ns work_ns;
        int tenant;
    } places[PLACES];
    double had_s[TENANTS]; /* time on places since it was last zeroed */
};

static int tenant_of(const struct schedule_task *t)
{
    int i = 0;

    while (strcmp(t->line->queue->tenant->name, names[i]) != 0)
        i++;
    return i;
}

/* Long ones and short ones, of another mean for each tenant. */
static duration_ns work_of(struct shop *shop, int tenant)
{
    static const double mean_s[TENANTS] = {3, 0.2, 1};

    return duration_from_seconds(mean_s[tenant] * rng_exponential(&shop->rng));
}

static void start_all(struct shop *shop)
{
    struct schedule_pool *pool;
    struct schedule_task *t;
    struct permit_need need = {0};
    int at = 0;

    while (schedule_choose(shop->w->s, shop->w->now, &t, &pool)) {
        int tenant = tenant_of(t);

        while (shop->places[at].task)
            at++;
        assert_true(permit_take(schedule_pool_owner(pool), &need, &world_task(t)->permit));
        world_task(t)->pool = pool;
        schedule_start(shop->w->s, t, pool, shop->w->now);
        shop->places[at].task = t;
        shop->places[at].tenant = tenant;
        shop->places[at].work_ns = work_of(shop, tenant);
        shop->places[at].ends = instant_add(shop->w->now, shop->places[at].work_ns);
        /* Whoever has been served comes again: all have work at any time. */
        world_add_to(shop->w, t->line);
    }
}

static void end_next(struct shop *shop, struct instant until)
{
    struct instant next = until;
    int at = -1;

    for (int i = 0; i < PLACES; i++) {
        if (shop->places[i].task && instant_before(shop->places[i].ends, next)) {
            next = shop->places[i].ends;
            at = i;
        }
    }
    for (int i = 0; i < PLACES; i++) {
        if (shop->places[i].task)
            shop->had_s[shop->places[i].tenant] += instant_seconds(next, shop->w->now);
    }
    shop->w->now = next;
    if (at < 0)
        return;
    permit_return(&world_task(shop->places[at].task)->permit);
    schedule_end(shop->w->s, shop->places[at].task->line, world_task(shop->places[at].task)->pool,
                 shop->places[at].work_ns, next);
    free(world_task(shop->places[at].task));
    shop->places[at].task = NULL;
}

static void run_for(struct shop *shop, double seconds)
{
    struct instant until = instant_after(shop->w->now, seconds);

    memset(shop->had_s, 0, sizeof shop->had_s);
    start_all(shop);
    while (instant_before(shop->w->now, until)) {
        end_next(shop, until);
        start_all(shop);
    }
    world_is_sound(shop->w);
}

static void wants(struct shop *shop, int tenant, const char *pool, int count)
{
    struct registry_line l = {.tenant = slice_of(names[tenant]), .pool = slice_of(pool)};

    for (int i = 0; i < count; i++)
        world_add(shop->w, l);
}

static double share_of(const struct shop *shop, int tenant)
{
    double sum = 0;

    for (int i = 0; i < TENANTS; i++)
        sum += shop->had_s[i];
    return shop->had_s[tenant] / sum;
}

static void close_shop(struct shop *shop)
{
    /* The world's tasks are freed with it, whatever state they are in. */
    for (int i = 0; i < PLACES; i++) {
        if (shop->places[i].task)
            world_end(shop->w, shop->places[i].task, 0);
    }
    for (uint32_t i = 0; i < shop->w->line_count; i++) {
        struct schedule_line *l = schedule_find_line(shop->w->s, i + 1);

        while ((l = schedule_find_line(shop->w->s, i + 1)))
            world_take_off(shop->w, schedule_line_first(l));
    }
    world_free(shop->w);
}

static void open_shop(struct shop *shop, uint64_t seed)
{
    *shop = (struct shop){.w = world_new(SCHEDULE_FAIR_SHARE, 0)};
    rng_seed(&shop->rng, seed);
    assert_true(schedule_set_weight(shop->w->s, SLICE("one"), 1));
    assert_true(schedule_set_weight(shop->w->s, SLICE("two"), 2));
    assert_true(schedule_set_weight(shop->w->s, SLICE("seven"), 7));
}

static void shares_are_within_two_percent(const struct shop *shop)
{
    static const double right[TENANTS] = {0.1, 0.2, 0.7};

    for (int i = 0; i < TENANTS; i++) {
        double share = share_of(shop, i);

        if (share < right[i] * 0.98 || share > right[i] * 1.02)
            fail_msg("%s has had %.4f of the work, not %.1f", names[i], share, right[i]);
    }
}

static void tenants_get_work_by_their_weights(void **state)
{
    struct shop shop;

    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        open_shop(&shop, seed);
        world_pool(shop.w, "p", 1 + seed * 3, NULL);
        for (int i = 0; i < TENANTS; i++)
            wants(&shop, i, NULL, 40);
        run_for(&shop, 100);
        run_for(&shop, 3000);
        shares_are_within_two_percent(&shop);
        close_shop(&shop);
    }
}

static void weights_hold_over_several_pools_that_share_tenants(void **state)
{
    struct shop shop;

    (void)state;
    open_shop(&shop, 1);
    world_pool(shop.w, "p", 10, NULL);
    world_pool(shop.w, "q", 20, NULL);
    for (int i = 0; i < TENANTS; i++) {
        wants(&shop, i, "p", 40);
        wants(&shop, i, "q", 40);
    }
    run_for(&shop, 100);
    run_for(&shop, 3000);
    shares_are_within_two_percent(&shop);
    close_shop(&shop);
}

static void equal_weights(struct shop *shop)
{
    for (int i = 0; i < TENANTS; i++)
        assert_true(schedule_set_weight(shop->w->s, slice_of(names[i]), 1));
}

static void a_tenant_that_was_idle_has_no_credit(void **state)
{
    struct shop shop;

    (void)state;
    open_shop(&shop, 2);
    equal_weights(&shop);
    world_pool(shop.w, "p", 10, NULL);
    wants(&shop, 0, NULL, 40);
    wants(&shop, 1, NULL, 40);
    run_for(&shop, 5000);
    /* It has had nothing for 5,000 s, in which the others had 25,000 s each. */
    wants(&shop, 2, NULL, 40);
    run_for(&shop, 10);
    run_for(&shop, 1000);
    for (int i = 0; i < TENANTS; i++)
        assert_true(share_of(&shop, i) > 0.31 && share_of(&shop, i) < 0.36);
    close_shop(&shop);
}

/* One waits for a pool that is disabled: who comes then is not level with it, but with who is served. */
static void a_tenant_that_is_stuck_gives_nobody_credit(void **state)
{
    struct shop shop;

    (void)state;
    open_shop(&shop, 3);
    equal_weights(&shop);
    world_pool(shop.w, "p", 10, NULL);
    schedule_enable_pool(shop.w->s, world_pool(shop.w, "off", 10, NULL), false);
    wants(&shop, 0, "off", 1);
    wants(&shop, 1, NULL, 40);
    run_for(&shop, 5000);
    wants(&shop, 2, NULL, 40);
    run_for(&shop, 10);
    run_for(&shop, 1000);
    assert_true(share_of(&shop, 1) > 0.48 && share_of(&shop, 2) > 0.48);
    close_shop(&shop);
}

/* Attempts that are over at once count for something, or the first tenant would have them all. */
static void work_that_takes_no_time_goes_round(void **state)
{
    struct world *w = world_new(SCHEDULE_FAIR_SHARE, 0);
    int times[2] = {0};

    (void)state;
    world_pool(w, "p", 1, NULL);
    for (int i = 0; i < 100; i++) {
        world_add(w, (struct registry_line){.tenant = SLICE("one")});
        world_add(w, (struct registry_line){.tenant = SLICE("two")});
    }
    for (int i = 0; i < 100; i++) {
        struct schedule_task *t = world_start(w);

        times[tenant_of(t)]++;
        world_end(w, t, 0);
    }
    assert_in_range(times[0], 48, 52);
    for (int i = 0; i < 100; i++)
        world_end(w, world_start(w), 0);
    world_free(w);
}

static int run_some(struct world *w, int count)
{
    int of_one = 0;

    for (int i = 0; i < count; i++) {
        struct schedule_task *t = world_start(w);

        of_one += tenant_of(t) == 0;
        world_end(w, t, NS_PER_S);
    }
    return of_one;
}

/* Of nine attempts, how many the first tenant has, when the other one has had ten while the first one's line was dry. */
static int of_nine_after_being_dry(bool expected)
{
    struct world *w = world_new(SCHEDULE_FAIR_SHARE, 0);
    struct schedule_line *l;
    struct schedule_task *t;
    int of_one;

    world_pool(w, "p", 1, NULL);
    world_add(w, (struct registry_line){.tenant = SLICE("one")});
    t = world_start(w);
    l = t->line;
    schedule_hold_line(w->s, l, true);
    schedule_expect_line(w->s, l, expected);
    world_end(w, t, NS_PER_S);
    for (int i = 0; i < 30; i++)
        world_add(w, (struct registry_line){.tenant = SLICE("two")});
    of_one = run_some(w, 10);
    assert_int_equal(of_one, 0);
    for (int i = 0; i < 20; i++)
        world_add(w, (struct registry_line){.tenant = SLICE("one")});
    schedule_expect_line(w->s, l, false);
    schedule_hold_line(w->s, l, false);
    of_one = run_some(w, 9);
    (void)run_some(w, 31);
    world_free(w);
    return of_one;
}

static void a_tenant_whose_line_was_dry_is_not_taken_for_idle(void **state)
{
    (void)state;
    assert_in_range(of_nine_after_being_dry(true), 8, 9);
    assert_in_range(of_nine_after_being_dry(false), 4, 5);
}

static void within_a_tenant_priority_decides(void **state)
{
    struct world *w = world_new(SCHEDULE_FAIR_SHARE, 0);
    uint64_t low, high, other, order[3];

    (void)state;
    world_pool(w, "p", 1, NULL);
    low = world_add(w, (struct registry_line){.tenant = SLICE("one")})->id;
    high = world_add(w, (struct registry_line){.tenant = SLICE("one"), .priority = 1})->id;
    other = world_add(w, (struct registry_line){.tenant = SLICE("two"), .priority = -9})->id;
    for (int i = 0; i < 3; i++) {
        struct schedule_task *t = world_start(w);

        order[i] = t->id;
        world_end(w, t, NS_PER_S);
    }
    assert_true(order[0] == high && order[1] == other && order[2] == low);
    world_free(w);
}

static void count_it(void *ctx, const struct schedule_share *share)
{
    (void)share;
    ++*(size_t *)ctx;
}

static size_t known(const struct world *w)
{
    size_t count = 0;

    schedule_shares(w->s, count_it, &count);
    return count;
}

#define SEEN_MAX 400

struct seen {
    uint8_t of[SEEN_MAX];
    size_t told;
};

static void see(void *ctx, const struct schedule_share *share)
{
    struct seen *seen = ctx;
    size_t n = strtoul(share->tenant.data + 1, NULL, 10);

    assert_true(n < SEEN_MAX);
    seen->told++;
    seen->of[n]++;
}

/* By name t0, t1, ... */
static void add_tenants(struct world *w, size_t from, size_t count)
{
    char name[16];

    for (size_t i = from; i < from + count; i++) {
        snprintf(name, sizeof name, "t%zu", i);
        assert_true(schedule_set_weight(w->s, slice_of(name), 2));
    }
}

static void tenants_are_told_in_parts_while_others_come(void **state)
{
    struct world *w = world_new(SCHEDULE_FAIR_SHARE, 0);
    struct seen seen = {0};
    size_t place = 0, parts = 0, came = 200;
    bool more;

    (void)state;
    assert_false(schedule_some_shares(w->s, &place, 100, see, &seen));
    assert_int_equal(seen.told, 0);
    add_tenants(w, 0, came);
    place = 0;
    do {
        size_t before = seen.told;

        more = schedule_some_shares(w->s, &place, 10, see, &seen);
        assert_true(seen.told < before + 10 + 20); /* the last chain is told whole */
        parts++;
        if (came < SEEN_MAX)
            add_tenants(w, came, 5);
        came += came < SEEN_MAX ? 5 : 0;
    } while (more);
    assert_true(parts > 10);
    for (size_t i = 0; i < 200; i++)
        assert_true(seen.of[i] > 0);
    world_free(w);
}

static void tenants_that_are_gone_are_forgotten_in_the_end(void **state)
{
    struct world *w = world_new(SCHEDULE_FAIR_SHARE, 0);
    struct permit_slots *none[PERMIT_SLOTS_MAX] = {NULL};
    struct schedule_line *l;
    char name[32];

    (void)state;
    world_pool(w, "p", 1, NULL);
    assert_true(schedule_set_weight(w->s, SLICE("heavy"), 3));
    for (uint32_t i = 1; i <= SCHEDULE_TENANTS_GONE_MAX + 1000; i++) {
        struct registry_line r = {.id = i};

        r.tenant = (struct slice){name, (size_t)snprintf(name, sizeof name, "t%u", (unsigned)i)};
        assert_int_equal(schedule_line(w->s, &r, none, &l, NULL), WEIR_OK);
        schedule_hold_line(w->s, l, true);
        schedule_hold_line(w->s, l, false);
    }
    assert_int_equal(known(w), SCHEDULE_TENANTS_GONE_MAX + 1);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tenants_get_work_by_their_weights),
        cmocka_unit_test(weights_hold_over_several_pools_that_share_tenants),
        cmocka_unit_test(a_tenant_that_was_idle_has_no_credit),
        cmocka_unit_test(a_tenant_that_is_stuck_gives_nobody_credit),
        cmocka_unit_test(work_that_takes_no_time_goes_round),
        cmocka_unit_test(a_tenant_whose_line_was_dry_is_not_taken_for_idle),
        cmocka_unit_test(within_a_tenant_priority_decides),
        cmocka_unit_test(tenants_are_told_in_parts_while_others_come),
        cmocka_unit_test(tenants_that_are_gone_are_forgotten_in_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
