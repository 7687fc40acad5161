/*
 * Permits: taken against every limit at once or not at all, returned once (I1, P3). The burst's
 * place-seconds are compared with a slow sum in steps of a millisecond, and random lives with books
 * that are kept another way.
 */
#include "core/permits.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct permits all;
static struct permit_account account;

static void begin(size_t limit)
{
    permits_init(&all, PERMITS_UNLIMITED);
    permit_account_init(&account, &all, limit);
}

static bool take(struct permit *p)
{
    return permit_take(&account, NULL, p);
}

static struct instant at(double seconds)
{
    return instant_after((struct instant){NS_PER_S}, seconds);
}

static void a_pool_gives_out_as_many_as_its_size(void **state)
{
    struct permit p[3] = {0};

    (void)state;
    begin(2);
    assert_true(take(&p[0]));
    assert_true(take(&p[1]));
    assert_false(permit_available(&account));
    assert_int_equal(permit_check(&account, NULL), PERMIT_POOL);
    assert_false(take(&p[2]));
    assert_int_equal(account.running, 2);
    permit_return(&p[0]);
    assert_true(take(&p[2]));
    permit_return(&p[1]);
    permit_return(&p[2]);
    assert_int_equal(account.running + all.running, 0);
}

static void quotas_are_rounded_up(void **state)
{
    (void)state;
    assert_int_equal(permit_cpu_quota(0), 0);
    assert_int_equal(permit_cpu_quota(1e-9), 1);
    assert_int_equal(permit_cpu_quota(0.1 + 0.2), 300);
    assert_int_equal(permit_cpu_quota(1.0001), 1001);
    assert_int_equal(permit_memory_quota(0), 0);
    assert_int_equal(permit_memory_quota(1), 1);
    assert_int_equal(permit_memory_quota(1 << 20), 1);
    assert_int_equal(permit_memory_quota((1 << 20) + 1), 2);
}

/* A pool that is replaced while something runs there. */
static void one_that_follows_another_shares_its_limits_with_it(void **state)
{
    const struct permit_need low = {.priority = -1, .cpu_milli = 600, .memory_mib = 1};
    struct permit_account older = {0}, old = {0};
    struct permit p[4] = {0};

    (void)state;
    begin(3);
    permit_account_init(&older, &all, 9);
    permit_account_init(&old, &all, 9);
    old.before = &older;
    account.before = &old;
    assert_true(permit_take(&older, &low, &p[0]));
    assert_true(permit_take(&old, &low, &p[1]));
    assert_int_equal(permit_running(&account), 2);
    account.cpu_milli_limit = 1700;
    assert_int_equal(permit_check(&account, &low), PERMIT_CPU);
    account.cpu_milli_limit = 1800;
    account.memory_mib_limit = 2;
    assert_int_equal(permit_check(&account, &low), PERMIT_MEMORY);
    account.memory_mib_limit = 3;
    old.reserve = older.reserve = account.reserve = (struct permit_reserve){0, 0.5};
    assert_int_equal(permit_check(&account, &low), PERMIT_FREE);
    old.running_low = 1; /* as if it had been reserved then */
    assert_int_equal(permit_check(&account, &low), PERMIT_RESERVE);
    old.running_low = 0;
    assert_int_equal(permit_take_many(&account, 9), 1);
    permit_return_many(&account, 1);
    assert_true(take(&p[2]));
    assert_false(permit_available(&account));
    assert_false(take(&p[3]));
    assert_true(permit_available(&old)); /* whoever asks it: nobody does */
    permit_return(&p[0]);
    assert_true(take(&p[3]));
    for (size_t i = 1; i < 4; i++)
        permit_return(&p[i]);
    assert_int_equal(permit_running(&account) + all.running, 0);
}

static void pools_share_the_global_limit(void **state)
{
    struct permit_account b;
    struct permit p[4] = {0};

    (void)state;
    permits_init(&all, 3);
    permit_account_init(&account, &all, 2);
    permit_account_init(&b, &all, 2);
    assert_true(take(&p[0]) && take(&p[1]));
    assert_true(permit_take(&b, NULL, &p[2]));
    assert_false(permit_take(&b, NULL, &p[3]));
    assert_int_equal(permit_check(&b, NULL), PERMIT_GLOBAL);
    assert_int_equal(b.running, 1);
    permit_return(&p[0]);
    assert_true(permit_take(&b, NULL, &p[3]));
    for (size_t i = 1; i < 4; i++)
        permit_return(&p[i]);
    assert_int_equal(all.running, 0);
}

static void the_peak_is_kept(void **state)
{
    struct permit p[5] = {0};

    (void)state;
    begin(10);
    for (size_t i = 0; i < 5; i++)
        assert_true(take(&p[i]));
    for (size_t i = 0; i < 5; i++)
        permit_return(&p[i]);
    assert_true(take(&p[0]));
    assert_int_equal(account.peak, 5);
    permit_return(&p[0]);
}

static void a_permit_is_returned_once(void **state)
{
    struct permit p = {0};

    (void)state;
    begin(1);
    assert_true(take(&p));
    permit_return(&p);
    assert_null(p.account); /* a second return would be asserted against */
    assert_true(take(&p));
    permit_return(&p);
}

static void a_lowered_limit_lets_finish_and_starts_none(void **state)
{
    struct permit p[5] = {0};

    (void)state;
    begin(4);
    for (size_t i = 0; i < 4; i++)
        assert_true(take(&p[i]));
    account.limit = 2;
    assert_false(take(&p[4]));
    permit_return(&p[0]);
    assert_false(take(&p[4]));
    permit_return(&p[1]);
    assert_false(take(&p[4])); /* two still run */
    permit_return(&p[2]);
    assert_true(take(&p[4]));
    assert_int_equal(account.running, 2);
    assert_true(account.running <= account.granted);
    permit_return(&p[3]);
    permit_return(&p[4]);
    account.limit = 0;
    assert_int_equal(permit_check(&account, NULL), PERMIT_POOL);
}

static void a_quota_counts_what_is_in_use(void **state)
{
    struct permit_need need = {.cpu_milli = 600, .memory_mib = 100};
    struct permit p[3] = {0};

    (void)state;
    begin(10);
    account.cpu_milli_limit = 1500;
    assert_true(permit_take(&account, &need, &p[0]));
    assert_true(permit_take(&account, &need, &p[1]));
    assert_int_equal(permit_check(&account, &need), PERMIT_CPU);
    assert_int_equal(permit_check(&account, NULL), PERMIT_FREE); /* it needs none */
    need.cpu_milli = 300;
    assert_int_equal(permit_check(&account, &need), PERMIT_FREE);
    account.memory_mib_limit = 250;
    assert_int_equal(permit_check(&account, &need), PERMIT_MEMORY);
    assert_false(permit_take(&account, &need, &p[2]));
    assert_int_equal(account.cpu_milli, 1200);
    assert_int_equal(account.memory_mib, 200);
    account.cpu_milli_limit = 1000; /* lowered below what is in use */
    assert_int_equal(permit_check(&account, &need), PERMIT_CPU);
    permit_return(&p[0]);
    assert_int_equal(permit_check(&account, &need), PERMIT_FREE);
    permit_return(&p[1]);
    assert_int_equal(account.cpu_milli + account.memory_mib, 0);
}

static void what_needs_more_than_a_whole_quota_never_runs(void **state)
{
    struct permit_need need = {.cpu_milli = 1001};
    struct permit_slots none;

    (void)state;
    begin(1);
    account.cpu_milli_limit = 1000;
    assert_int_equal(permit_check(&account, &need), PERMIT_NEVER);
    need.cpu_milli = 1000;
    assert_int_equal(permit_check(&account, &need), PERMIT_FREE);
    account.memory_mib_limit = 10;
    need.memory_mib = 11;
    assert_int_equal(permit_check(&account, &need), PERMIT_NEVER);
    need.memory_mib = 0;
    assert_true(permit_slots_init(&none, 0));
    need.slots[2] = &none;
    assert_int_equal(permit_check(&account, &need), PERMIT_UNKNOWN_SLOT);
    permit_slots_free(&none);
}

static void a_reserve_is_kept_from_lower_priorities(void **state)
{
    struct permit_need low = {.priority = 49}, high = {.priority = 50};
    struct permit p[12] = {0};

    (void)state;
    begin(10);
    account.reserve = (struct permit_reserve){.min_priority = 50, .share = 0.2};
    for (size_t i = 0; i < 8; i++)
        assert_true(permit_take(&account, &low, &p[i]));
    assert_int_equal(permit_check(&account, &low), PERMIT_RESERVE);
    assert_true(permit_take(&account, &high, &p[8]));
    assert_true(take(&p[9])); /* rows of batches count as the highest */
    assert_int_equal(permit_check(&account, &high), PERMIT_POOL);
    permit_return(&p[8]);
    assert_int_equal(permit_check(&account, &low), PERMIT_RESERVE);
    permit_return(&p[0]);
    assert_true(permit_take(&account, &low, &p[0]));
    for (size_t i = 0; i < 10; i++)
        if (p[i].account)
            permit_return(&p[i]);
    assert_int_equal(account.running_low, 0);
}

static size_t low_places(size_t limit, double share)
{
    struct permit_need low = {.priority = -1};
    struct permit p[40] = {0};
    size_t n = 0;

    begin(limit);
    account.reserve = (struct permit_reserve){.min_priority = 0, .share = share};
    while (n < 40 && permit_take(&account, &low, &p[n]))
        n++;
    for (size_t i = 0; i < n; i++)
        permit_return(&p[i]);
    return n;
}

static void a_reserve_is_rounded_up_and_leaves_one_place(void **state)
{
    (void)state;
    assert_int_equal(low_places(10, 0.2), 8);
    assert_int_equal(low_places(10, 0.21), 7);
    assert_int_equal(low_places(30, 0.1), 27); /* 3.0000000000000004 in a double */
    assert_int_equal(low_places(1, 0.2), 1);
    assert_int_equal(low_places(2, 0.9), 1);
    assert_int_equal(low_places(4, 1), 0);
    assert_int_equal(low_places(4, 0), 4);
}

static void a_permit_stays_low_although_the_reserve_is_lifted(void **state)
{
    struct permit_need low = {.priority = 0};
    struct permit p = {0}, q = {0};

    (void)state;
    begin(4);
    account.reserve = (struct permit_reserve){.min_priority = 1, .share = 0.5};
    assert_true(permit_take(&account, &low, &p));
    account.reserve.share = 0;
    assert_true(permit_take(&account, &low, &q));
    assert_int_equal(account.running_low, 1);
    permit_return(&q);
    permit_return(&p);
    assert_int_equal(account.running_low, 0);
}

/* ---- slots ---- */

static void each_attempt_has_a_place_of_its_own(void **state)
{
    struct permit_slots dirs, gpu;
    struct permit_need need = {.slots = {&dirs, NULL, &gpu}};
    struct permit p[3] = {0};

    (void)state;
    begin(10);
    assert_true(permit_slots_init(&dirs, 3));
    assert_true(permit_slots_init(&gpu, 2));
    assert_true(permit_take(&account, &need, &p[0]));
    assert_true(permit_take(&account, &need, &p[1]));
    assert_int_equal(p[0].numbers[0], 1);
    assert_int_equal(p[1].numbers[0], 2);
    assert_int_equal(p[1].numbers[1], 0);
    assert_int_equal(p[1].numbers[2], 2);
    assert_int_equal(permit_check(&account, &need), PERMIT_SLOT);
    assert_false(permit_take(&account, &need, &p[2]));
    assert_int_equal(dirs.taken, 2); /* whole or not at all */
    assert_int_equal(permit_slots_next(&dirs), 3);
    permit_return(&p[0]);
    assert_true(permit_take(&account, &need, &p[2]));
    assert_int_equal(p[2].numbers[0], 1); /* the lowest that is free */
    permit_return(&p[1]);
    permit_return(&p[2]);
    permit_slots_free(&dirs);
    permit_slots_free(&gpu);
}

static void places_above_a_lowered_count_are_given_back_and_not_given_out(void **state)
{
    struct permit_slots s;
    struct permit_need need = {.slots = {&s}};
    struct permit p[70] = {0};

    (void)state;
    begin(100);
    assert_true(permit_slots_init(&s, 64));
    for (size_t i = 0; i < 64; i++)
        assert_true(permit_take(&account, &need, &p[i]));
    assert_true(permit_slots_resize(&s, 66)); /* into another word */
    assert_true(permit_take(&account, &need, &p[64]));
    assert_int_equal(p[64].numbers[0], 65);
    assert_true(permit_slots_resize(&s, 2));
    permit_return(&p[10]);
    permit_return(&p[64]);
    assert_int_equal(permit_check(&account, &need), PERMIT_SLOT);
    permit_return(&p[1]);
    assert_true(permit_take(&account, &need, &p[1]));
    assert_int_equal(p[1].numbers[0], 2);
    assert_int_equal(permit_check(&account, &need), PERMIT_SLOT);
    assert_true(permit_slots_resize(&s, 64));
    assert_int_equal(permit_slots_next(&s),
                     11); /* those that stayed taken are not given out twice */
    for (size_t i = 0; i < 65; i++)
        if (p[i].account)
            permit_return(&p[i]);
    assert_int_equal(s.taken, 0);
    permit_slots_free(&s);
}

static void slots_without_memory_stay_as_they_were(void **state)
{
    struct permit_slots s;

    (void)state;
    mem_fail_at(1);
    assert_false(permit_slots_init(&s, 1));
    mem_fail_at(0);
    assert_true(permit_slots_init(&s, 10));
    mem_fail_at(1);
    assert_false(permit_slots_resize(&s, 1000));
    mem_fail_at(0);
    assert_int_equal(s.count, 10);
    assert_true(permit_slots_resize(&s, 1000));
    assert_int_equal(permit_slots_next(&s), 1);
    permit_slots_free(&s);
}

/* ---- permits that pass on, and by number ---- */

static void a_permit_that_passes_on_leaves_what_it_had_beside_its_place(void **state)
{
    struct permit_slots s;
    struct permit_need need = {.priority = -1, .cpu_milli = 5, .memory_mib = 6, .slots = {&s}};
    struct permit from = {0}, to = {0};

    (void)state;
    begin(2);
    account.reserve = (struct permit_reserve){.min_priority = 0, .share = 0.5};
    assert_true(permit_slots_init(&s, 1));
    assert_true(permit_take(&account, &need, &from));
    permit_pass(&from, &to);
    assert_null(from.account);
    assert_int_equal(account.running, 1);
    assert_int_equal(account.cpu_milli + account.memory_mib + account.running_low + s.taken, 0);
    permit_return(&to);
    assert_int_equal(account.running, 0);
    permit_slots_free(&s);
}

static void many_are_taken_as_far_as_there_are(void **state)
{
    struct permit p = {0};

    (void)state;
    permits_init(&all, 5);
    permit_account_init(&account, &all, 8);
    assert_true(take(&p));
    assert_int_equal(permit_take_many(&account, 3), 3);
    assert_int_equal(permit_take_many(&account, 100), 1); /* the global limit */
    assert_int_equal(permit_take_many(&account, 100), 0);
    all.limit = PERMITS_UNLIMITED;
    assert_int_equal(permit_take_many(&account, 100), 3);
    account.limit = 2;
    assert_int_equal(permit_take_many(&account, 100), 0);
    permit_return_many(&account, 7);
    assert_int_equal(account.running, 1);
    assert_true(permit_account_agrees(&account, (const struct permit *const[]){&p}, 1));
    permit_return(&p);
}

static void a_sum_that_differs_is_noticed(void **state)
{
    struct permit_slots s;
    struct permit_need need = {.priority = -1, .cpu_milli = 5, .memory_mib = 6, .slots = {&s}};
    struct permit p = {0};
    const struct permit *const out[] = {&p};

    (void)state;
    begin(2);
    account.reserve = (struct permit_reserve){.min_priority = 0, .share = 0.5};
    assert_true(permit_slots_init(&s, 1));
    assert_true(permit_take(&account, &need, &p));
    assert_true(permit_account_agrees(&account, out, 1));
    assert_false(permit_account_agrees(&account, out, 0));
    account.running++;
    assert_false(permit_account_agrees(&account, out, 1));
    account.running--;
    account.cpu_milli++;
    assert_false(permit_account_agrees(&account, out, 1));
    account.cpu_milli--;
    account.memory_mib++;
    assert_false(permit_account_agrees(&account, out, 1));
    account.memory_mib--;
    account.running_low = 0;
    assert_false(permit_account_agrees(&account, out, 1));
    account.running_low = 1;
    s.used[0] = 0;
    assert_false(permit_account_agrees(&account, out, 1));
    s.used[0] = 1;
    assert_true(permit_account_agrees(&account, out, 1));
    permit_return(&p);
    permit_slots_free(&s);
}

/* ---- the burst ---- */

static void begin_burst(size_t limit, size_t places, double seconds)
{
    begin(limit);
    account.burst.places = places;
    account.burst.seconds = seconds;
    permit_settle(&account, at(0));
}

static void a_burst_goes_over_the_limit_and_pays_back(void **state)
{
    struct permit p[12] = {0};

    (void)state;
    begin_burst(4, 2, 10);
    for (size_t i = 0; i < 6; i++)
        assert_true(take(&p[i]));
    assert_false(take(&p[6]));
    assert_int_equal(permit_settles_at(&account, at(0)).ns, at(10).ns);
    permit_settle(&account, at(9.5));
    assert_int_equal(permit_limit(&account), 6);
    permit_settle(&account, at(10));
    assert_int_equal(permit_limit(&account), 2);
    /* What runs goes on, and owes more. */
    assert_true(instant_is_never(permit_settles_at(&account, at(10))));
    permit_settle(&account, at(12));
    assert_float_equal(account.burst.used, 24, 1e-6);
    for (size_t i = 0; i < 4; i++)
        permit_return(&p[i]);
    assert_false(take(&p[6])); /* two run */
    assert_int_equal(permit_settles_at(&account, at(12)).ns, at(24).ns);
    permit_settle(&account, at(23.9));
    assert_int_equal(permit_limit(&account), 2);
    permit_settle(&account, at(24));
    assert_int_equal(permit_limit(&account), 6);
    assert_float_equal(account.burst.used, 0, 1e-9);
    permit_return(&p[4]);
    permit_return(&p[5]);
}

static void a_burst_that_pays_leaves_one_place(void **state)
{
    struct permit p[5] = {0};

    (void)state;
    begin_burst(2, 3, 1);
    for (size_t i = 0; i < 5; i++)
        assert_true(take(&p[i]));
    permit_settle(&account, at(5));
    assert_true(account.burst.paying);
    assert_int_equal(permit_limit(&account), 1);
    for (size_t i = 0; i < 5; i++)
        permit_return(&p[i]);
}

static void what_was_used_in_part_is_forgotten_when_idle(void **state)
{
    struct permit p[6] = {0};

    (void)state;
    begin_burst(4, 2, 10);
    for (size_t i = 0; i < 6; i++)
        assert_true(take(&p[i]));
    permit_settle(&account, at(5));
    for (size_t i = 0; i < 6; i++)
        permit_return(&p[i]);
    permit_settle(&account, at(100));
    assert_float_equal(account.burst.used, 0, 0);
    assert_false(account.burst.paying);
}

static void a_clock_that_goes_back_counts_as_no_time(void **state)
{
    struct permit p[6] = {0};

    (void)state;
    begin_burst(4, 2, 10);
    for (size_t i = 0; i < 6; i++)
        assert_true(take(&p[i]));
    permit_settle(&account, at(5));
    permit_settle(&account, at(1));
    permit_settle(&account, at(5));
    assert_float_equal(account.burst.used, 10, 1e-9);
    for (size_t i = 0; i < 6; i++)
        permit_return(&p[i]);
}

static void a_burst_that_is_taken_away_owes_nothing(void **state)
{
    struct permit p[6] = {0};

    (void)state;
    begin_burst(4, 2, 1);
    for (size_t i = 0; i < 6; i++)
        assert_true(take(&p[i]));
    permit_settle(&account, at(5));
    assert_true(account.burst.paying);
    account.burst.places = 0;
    permit_settle(&account, at(6));
    assert_int_equal(permit_limit(&account), 4);
    assert_true(instant_is_never(permit_settles_at(&account, at(6))));
    account.burst.places = 1; /* from now on, and not since the beginning */
    permit_settle(&account, at(6.25));
    assert_false(account.burst.paying);
    for (size_t i = 0; i < 6; i++)
        permit_return(&p[i]);
}

/* The same in steps of a millisecond. */
struct slow {
    double limit, places, seconds, used;
    bool paying;
};

static void slow_step(struct slow *s, double running)
{
    s->used += (running - s->limit) * 0.001;
    if (s->used < 0)
        s->used = 0;
    if (!s->paying && running > s->limit && s->used >= s->places * s->seconds - 1e-7)
        s->paying = true;
    else if (s->paying && running < s->limit && s->used <= 1e-7)
        s->paying = false;
}

static size_t slow_limit(const struct slow *s)
{
    double limit = s->paying ? s->limit - s->places : s->limit + s->places;

    return limit < 1 ? 1 : (size_t)limit;
}

static void a_burst_is_what_a_slow_sum_says(void **state)
{
    struct rng rng;

    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct permit p[40] = {0};
        struct slow slow;
        size_t out = 0;
        int64_t ms = 0;

        rng_seed(&rng, seed);
        slow = (struct slow){.limit = 1.0 + (double)(rng_u64(&rng) % 8),
                             .places = 1.0 + (double)(rng_u64(&rng) % 4),
                             .seconds = 0.1 * (1.0 + (double)(rng_u64(&rng) % 20))};
        begin_burst((size_t)slow.limit, (size_t)slow.places, slow.seconds);
        for (int turn = 0; turn < 300; turn++) {
            int64_t steps = 1 + (int64_t)(rng_u64(&rng) % 200);

            for (int64_t i = 0; i < steps; i++)
                slow_step(&slow, (double)out);
            ms += steps;
            permit_settle(&account, at((double)ms * 0.001));
            assert_float_equal(account.burst.used, slow.used, 1e-4);
            assert_int_equal(account.burst.paying, slow.paying);
            assert_int_equal(permit_limit(&account), slow_limit(&slow));
            if (rng_u64(&rng) % 3 && out > 0)
                permit_return(&p[--out]);
            else
                while (rng_u64(&rng) % 4 && take(&p[out]))
                    out++;
            assert_true(out <= (size_t)(slow.limit + slow.places));
        }
        while (out > 0)
            permit_return(&p[--out]);
    }
}

/* When it says that the limit changes, it does, and not before. */
static void the_limit_changes_when_it_was_said(void **state)
{
    struct rng rng;

    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct permit p[40] = {0};
        struct instant now = at(0);
        size_t out = 0;

        rng_seed(&rng, seed);
        begin_burst(1 + rng_u64(&rng) % 10, 1 + rng_u64(&rng) % 5, 0.001 + 7 * rng_unit(&rng));
        for (int turn = 0; turn < 100; turn++) {
            struct instant when;

            while (rng_u64(&rng) % 3 && take(&p[out]))
                out++;
            while (rng_u64(&rng) % 3 && out > 0)
                permit_return(&p[--out]);
            when = permit_settles_at(&account, now);
            assert_true(instant_before(now, when));
            if (instant_is_never(when)) {
                now = instant_add(now, NS_PER_MS);
            } else {
                bool paying = account.burst.paying;

                permit_settle(&account, instant_add(when, -1000));
                if (instant_before(now, instant_add(when, -1000)))
                    assert_int_equal(account.burst.paying, paying);
                permit_settle(&account, when);
                assert_int_not_equal(account.burst.paying, paying);
                now = when;
            }
            permit_settle(&account, now);
        }
        while (out > 0)
            permit_return(&p[--out]);
    }
}

/* ---- random lives ---- */

#define LIFE_PERMITS 64
#define LIFE_SLOTS   3
#define LIFE_PLACES  200

struct held {
    struct permit permit;
    struct permit_need need;
};

static void check_against_the_books(const struct held *held, const struct permit_slots *slots)
{
    const struct permit *out[LIFE_PERMITS];
    uint64_t cpu = 0, memory = 0;
    size_t running = 0;
    uint32_t taken[LIFE_SLOTS] = {0};
    bool seen[LIFE_SLOTS][LIFE_PLACES + 1] = {0};

    for (size_t i = 0; i < LIFE_PERMITS; i++) {
        if (!held[i].permit.account)
            continue;
        out[running++] = &held[i].permit;
        cpu += held[i].need.cpu_milli;
        memory += held[i].need.memory_mib;
        for (size_t k = 0; k < PERMIT_SLOTS_MAX; k++) {
            const struct permit_slots *s = held[i].need.slots[k];
            uint32_t number = held[i].permit.numbers[k];

            if (!s)
                continue;
            assert_in_range(number, 1, LIFE_PLACES);
            assert_false(seen[s - slots][number]);
            seen[s - slots][number] = true;
            taken[s - slots]++;
        }
    }
    assert_int_equal(account.running, running);
    assert_int_equal(all.running, running);
    assert_int_equal(account.cpu_milli, cpu);
    assert_int_equal(account.memory_mib, memory);
    for (size_t i = 0; i < LIFE_SLOTS; i++)
        assert_int_equal(slots[i].taken, taken[i]);
    assert_true(permit_account_agrees(&account, out, running));
}

/* Whether it may be had, said in another way than permit_check() does. */
static bool may_have(const struct permit_need *n)
{
    if (all.running >= all.limit || account.running >= account.limit)
        return false;
    if (n->priority < account.reserve.min_priority && account.reserve.share > 0) {
        double kept = ceil((double)account.limit * account.reserve.share - 1e-9);

        if (account.limit > 1 && kept > (double)account.limit - 1)
            kept = (double)account.limit - 1;
        if (account.limit == 1)
            kept = 0;
        if ((double)account.running_low + kept >= (double)account.limit)
            return false;
    }
    if (n->cpu_milli && account.cpu_milli_limit &&
        account.cpu_milli + n->cpu_milli > account.cpu_milli_limit)
        return false;
    if (n->memory_mib && account.memory_mib_limit &&
        account.memory_mib + n->memory_mib > account.memory_mib_limit)
        return false;
    for (size_t i = 0; i < PERMIT_SLOTS_MAX; i++) {
        bool free_one = false;

        for (uint32_t number = 1; n->slots[i] && number <= n->slots[i]->count; number++)
            free_one |= !((n->slots[i]->used[(number - 1) / 64] >> ((number - 1) % 64)) & 1);
        if (n->slots[i] && !free_one)
            return false;
    }
    return true;
}

static void make_need(struct permit_need *n, struct permit_slots *slots, struct rng *rng)
{
    *n = (struct permit_need){.priority = (int32_t)(rng_u64(rng) % 100),
                              .cpu_milli = (uint32_t)(rng_u64(rng) % 3 * 500),
                              .memory_mib = (uint32_t)(rng_u64(rng) % 3 * 64)};
    for (size_t i = 0; i < LIFE_SLOTS; i++)
        if (rng_u64(rng) % 3 == 0)
            n->slots[(i + n->cpu_milli) % PERMIT_SLOTS_MAX] = &slots[i];
}

static void change_a_limit(struct permit_slots *slots, struct rng *rng)
{
    switch (rng_u64(rng) % 6) {
    case 0:
        account.limit = 1 + rng_u64(rng) % LIFE_PERMITS;
        break;
    case 1:
        all.limit = 1 + rng_u64(rng) % LIFE_PERMITS;
        break;
    case 2:
        account.cpu_milli_limit = rng_u64(rng) % 4 * 4000;
        break;
    case 3:
        account.memory_mib_limit = rng_u64(rng) % 4 * 500;
        break;
    case 4:
        account.reserve = (struct permit_reserve){(int32_t)(rng_u64(rng) % 100),
                                                  (double)(rng_u64(rng) % 10) / 10};
        break;
    default:
        assert_true(permit_slots_resize(&slots[rng_u64(rng) % LIFE_SLOTS],
                                        (uint32_t)(rng_u64(rng) % LIFE_PLACES)));
        break;
    }
}

static void random_lives_keep_their_books(void **state)
{
    struct rng rng;

    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct held held[LIFE_PERMITS];
        struct permit_slots slots[LIFE_SLOTS];

        memset(held, 0, sizeof held);
        rng_seed(&rng, seed);
        begin(10);
        for (size_t i = 0; i < LIFE_SLOTS; i++)
            assert_true(permit_slots_init(&slots[i], 5));
        for (int step = 0; step < 600; step++) {
            struct held *h = &held[rng_u64(&rng) % LIFE_PERMITS];

            if (rng_u64(&rng) % 20 == 0)
                change_a_limit(slots, &rng);
            if (h->permit.account) {
                permit_return(&h->permit);
            } else {
                bool may;

                make_need(&h->need, slots, &rng);
                may = may_have(&h->need);
                assert_int_equal(permit_check(&account, &h->need) == PERMIT_FREE, may);
                assert_int_equal(permit_take(&account, &h->need, &h->permit), may);
            }
            check_against_the_books(held, slots);
        }
        for (size_t i = 0; i < LIFE_PERMITS; i++)
            if (held[i].permit.account)
                permit_return(&held[i].permit);
        check_against_the_books(held, slots);
        assert_int_equal(account.running_low, 0);
        for (size_t i = 0; i < LIFE_SLOTS; i++)
            permit_slots_free(&slots[i]);
    }
}

static void each_reason_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(permit_block_name(PERMIT_FREE), "free");
    assert_string_equal(permit_block_name(PERMIT_GLOBAL), "global_limit");
    assert_string_equal(permit_block_name(PERMIT_NEVER), "never");
    assert_string_equal(permit_block_name(PERMIT_BLOCKS), "unknown");
    for (unsigned i = 0; i < PERMIT_BLOCKS; i++)
        assert_non_null(permit_block_name((enum permit_block)i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_gives_out_as_many_as_its_size),
        cmocka_unit_test(pools_share_the_global_limit),
        cmocka_unit_test(the_peak_is_kept),
        cmocka_unit_test(a_permit_is_returned_once),
        cmocka_unit_test(a_lowered_limit_lets_finish_and_starts_none),
        cmocka_unit_test(a_quota_counts_what_is_in_use),
        cmocka_unit_test(what_needs_more_than_a_whole_quota_never_runs),
        cmocka_unit_test(a_reserve_is_kept_from_lower_priorities),
        cmocka_unit_test(a_reserve_is_rounded_up_and_leaves_one_place),
        cmocka_unit_test(a_permit_stays_low_although_the_reserve_is_lifted),
        cmocka_unit_test(each_attempt_has_a_place_of_its_own),
        cmocka_unit_test(places_above_a_lowered_count_are_given_back_and_not_given_out),
        cmocka_unit_test(slots_without_memory_stay_as_they_were),
        cmocka_unit_test(a_permit_that_passes_on_leaves_what_it_had_beside_its_place),
        cmocka_unit_test(many_are_taken_as_far_as_there_are),
        cmocka_unit_test(a_sum_that_differs_is_noticed),
        cmocka_unit_test(a_burst_goes_over_the_limit_and_pays_back),
        cmocka_unit_test(a_burst_that_pays_leaves_one_place),
        cmocka_unit_test(what_was_used_in_part_is_forgotten_when_idle),
        cmocka_unit_test(a_clock_that_goes_back_counts_as_no_time),
        cmocka_unit_test(quotas_are_rounded_up),
        cmocka_unit_test(one_that_follows_another_shares_its_limits_with_it),
        cmocka_unit_test(a_burst_that_is_taken_away_owes_nothing),
        cmocka_unit_test(a_burst_is_what_a_slow_sum_says),
        cmocka_unit_test(the_limit_changes_when_it_was_said),
        cmocka_unit_test(random_lives_keep_their_books),
        cmocka_unit_test(each_reason_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
