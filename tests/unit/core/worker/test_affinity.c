/* Sessions: which worker has whose state, when that ends, and what a look-up costs. */
#include "crew_test.h"

#include "base/rng.h"

#include <stdlib.h>

struct book {
    struct affinity_options options;
    struct affinity *a;
    struct worker workers[3];
};

static void book_init(struct book *b, size_t bound_max, size_t lost_max)
{
    memset(b->workers, 0, sizeof b->workers);
    for (size_t i = 0; i < 3; i++)
        list_init(&b->workers[i].session_list);
    affinity_options_init(&b->options);
    b->options.seed = 4711;
    if (bound_max)
        b->options.bound_max = bound_max;
    if (lost_max)
        b->options.lost_max = lost_max;
    assert_int_equal(affinity_new(&b->options, at_s(0), &b->a, NULL), WEIR_OK);
}

static void check(const struct book *b)
{
    const char *wrong = affinity_check(b->a);

    if (wrong)
        fail_msg("%s", wrong);
}

static void book_end(struct book *b)
{
    check(b);
    b->a = affinity_free(b->a);
}

static struct session *find(struct book *b, const char *name, int64_t s)
{
    struct session *found = affinity_find(b->a, name, strlen(name), at_s(s));

    assert_non_null(found);
    return found;
}

static void leave_book(struct book *b, struct session *s, int64_t at)
{
    affinity_leave(b->a, s, at_s(at));
    check(b);
}

/* All that is due then, in as many steps as that takes. */
static void sweep(struct book *b, struct instant at)
{
    do
        affinity_sweep(b->a, at);
    while (!instant_before(at, affinity_when(b->a)));
}

/* Binds it if need be, as one task would; returns whether the task is told that it was lost. */
static bool task(struct book *b, const char *name, size_t worker, int64_t at)
{
    struct session *s = find(b, name, at);
    bool lost = false;

    if (s->worker) {
        affinity_use(b->a, s, true, at_s(at));
    } else {
        affinity_bind(b->a, s, &b->workers[worker], at_s(at));
        lost = affinity_take_lost(s);
    }
    check(b);
    leave_book(b, s, at);
    return lost;
}

static const struct worker *worker_of(struct book *b, const char *name, int64_t at)
{
    struct session *s = find(b, name, at);
    const struct worker *w = s->worker;

    leave_book(b, s, at);
    return w;
}

static void a_session_stays_with_the_worker_it_was_bound_to(void **state)
{
    struct affinity_counts n;
    struct book b;

    (void)state;
    book_init(&b, 0, 0);
    assert_false(task(&b, "a", 1, 0));
    assert_false(task(&b, "b", 2, 0));
    assert_false(task(&b, "a", 0, 1));
    assert_ptr_equal(worker_of(&b, "a", 1), &b.workers[1]);
    assert_ptr_equal(worker_of(&b, "b", 1), &b.workers[2]);
    assert_int_equal(b.workers[1].sessions, 1);
    n = affinity_counts(b.a);
    assert_int_equal(n.misses, 2);
    assert_int_equal(n.hits, 1);
    assert_int_equal(n.bound, 2);
    affinity_drop_worker(b.a, &b.workers[1], at_s(2));
    affinity_drop_worker(b.a, &b.workers[2], at_s(2));
    book_end(&b);
}

static void a_session_that_no_task_bound_is_not_kept(void **state)
{
    struct session *s;
    struct book b;

    (void)state;
    book_init(&b, 0, 0);
    s = find(&b, "a", 0);
    assert_ptr_equal(find(&b, "a", 0), s);
    assert_int_equal(s->users, 2);
    leave_book(&b, s, 0);
    assert_int_equal(affinity_counts(b.a).known, 1);
    leave_book(&b, s, 0);
    assert_int_equal(affinity_counts(b.a).known, 0);
    book_end(&b);
}

static void a_binding_ends_300_s_after_its_last_use_and_the_next_task_is_told_once(void **state)
{
    struct book b;

    (void)state;
    book_init(&b, 0, 0);
    assert_true(instant_is_never(affinity_when(b.a)));
    task(&b, "a", 0, 0);
    task(&b, "b", 0, 10);
    assert_int_equal(affinity_when(b.a).ns, at_s(300).ns);
    task(&b, "a", 0, 100);
    /* That "a" was used again is found out when its time would have come. */
    assert_int_equal(affinity_when(b.a).ns, at_s(300).ns);
    affinity_sweep(b.a, at_s(309));
    assert_int_equal(affinity_counts(b.a).bound, 2);
    assert_int_equal(affinity_when(b.a).ns, at_s(369).ns); /* a sweep each 60 s */
    affinity_sweep(b.a, at_s(369));
    check(&b);
    assert_int_equal(affinity_counts(b.a).expiries, 1);
    assert_int_equal(affinity_counts(b.a).lost, 1);
    assert_ptr_equal(worker_of(&b, "a", 370), &b.workers[0]);
    assert_true(task(&b, "b", 1, 371));
    assert_false(task(&b, "b", 1, 372));
    assert_int_equal(affinity_counts(b.a).rebinds, 1);
    assert_int_equal(affinity_counts(b.a).lost, 0);
    affinity_sweep(b.a, at_s(10000));
    book_end(&b);
}

static void a_session_with_tasks_does_not_expire(void **state)
{
    struct session *s;
    struct book b;

    (void)state;
    book_init(&b, 0, 0);
    s = find(&b, "a", 0);
    affinity_bind(b.a, s, &b.workers[0], at_s(0));
    assert_true(instant_is_never(affinity_when(b.a)));
    affinity_sweep(b.a, at_s(5000));
    assert_ptr_equal(s->worker, &b.workers[0]);
    leave_book(&b, s, 6000); /* its idle time begins now */
    affinity_sweep(b.a, at_s(6299));
    assert_int_equal(affinity_counts(b.a).bound, 1);
    affinity_sweep(b.a, at_s(6300));
    assert_int_equal(affinity_counts(b.a).bound, 0);
    book_end(&b);
}

static void a_released_session_is_lost_and_what_is_not_bound_cannot_be_released(void **state)
{
    char name[AFFINITY_NAME_BYTES_MAX + 1] = {0};
    struct book b;

    (void)state;
    book_init(&b, 0, 0);
    task(&b, "a", 0, 0);
    assert_false(affinity_release(b.a, "b", 1, at_s(1)));
    assert_false(affinity_release(b.a, "", 0, at_s(1)));
    assert_false(affinity_release(b.a, name, sizeof name, at_s(1)));
    assert_true(affinity_release(b.a, "a", 1, at_s(1)));
    check(&b);
    assert_false(affinity_release(b.a, "a", 1, at_s(1)));
    assert_int_equal(b.workers[0].sessions, 0);
    assert_int_equal(affinity_counts(b.a).releases, 1);
    assert_true(task(&b, "a", 2, 2));
    affinity_drop_worker(b.a, &b.workers[2], at_s(2));
    book_end(&b);
}

static void a_workers_end_ends_its_bindings_also_of_sessions_with_tasks(void **state)
{
    struct session *s;
    struct book b;

    (void)state;
    book_init(&b, 0, 0);
    task(&b, "a", 0, 0);
    task(&b, "b", 1, 0);
    s = find(&b, "c", 0);
    affinity_bind(b.a, s, &b.workers[0], at_s(0));
    affinity_drop_worker(b.a, &b.workers[0], at_s(1));
    check(&b);
    assert_null(s->worker);
    assert_true(s->lost);
    assert_int_equal(b.workers[0].sessions, 0);
    assert_int_equal(affinity_counts(b.a).worker_losses, 2);
    assert_int_equal(affinity_counts(b.a).bound, 1);
    affinity_bind(b.a, s, &b.workers[1], at_s(2));
    assert_true(affinity_take_lost(s));
    assert_false(affinity_take_lost(s));
    leave_book(&b, s, 2);
    assert_true(task(&b, "a", 1, 3));
    affinity_drop_worker(b.a, &b.workers[1], at_s(4));
    book_end(&b);
}

static void at_the_bound_the_least_recently_used_idle_one_ends(void **state)
{
    struct session *held;
    struct book b;

    (void)state;
    book_init(&b, 3, 0);
    held = find(&b, "held", 0);
    affinity_bind(b.a, held, &b.workers[0], at_s(0));
    task(&b, "a", 0, 1);
    task(&b, "b", 0, 2);
    task(&b, "a", 0, 3);
    task(&b, "c", 0, 4);
    assert_int_equal(affinity_counts(b.a).evictions, 1);
    assert_int_equal(affinity_counts(b.a).bound, 3);
    assert_ptr_equal(worker_of(&b, "a", 4), &b.workers[0]);
    assert_null(worker_of(&b, "b", 4));
    assert_true(task(&b, "b", 0, 5));
    assert_ptr_equal(held->worker, &b.workers[0]);
    leave_book(&b, held, 5);
    affinity_drop_worker(b.a, &b.workers[0], at_s(6));
    book_end(&b);
}

static void when_none_is_idle_there_are_more_than_the_bound(void **state)
{
    struct session *s[3];
    struct book b;

    (void)state;
    book_init(&b, 1, 0);
    for (int i = 0; i < 3; i++) {
        char name[2] = {(char)('a' + i), 0};

        s[i] = find(&b, name, 0);
        affinity_bind(b.a, s[i], &b.workers[0], at_s(0));
    }
    assert_int_equal(affinity_counts(b.a).bound, 3);
    for (int i = 0; i < 3; i++)
        leave_book(&b, s[i], 1);
    task(&b, "d", 0, 2);
    assert_int_equal(affinity_counts(b.a).bound, 1);
    affinity_drop_worker(b.a, &b.workers[0], at_s(6));
    book_end(&b);
}

static void beyond_lost_max_the_oldest_lost_one_is_forgotten(void **state)
{
    struct book b;

    (void)state;
    book_init(&b, 0, 2);
    task(&b, "a", 0, 0);
    task(&b, "b", 0, 1);
    task(&b, "c", 0, 2);
    affinity_sweep(b.a, at_s(1000));
    check(&b);
    assert_int_equal(affinity_counts(b.a).lost, 2);
    assert_int_equal(affinity_counts(b.a).forgotten, 1);
    assert_false(task(&b, "a", 0, 1001));
    assert_true(task(&b, "b", 0, 1001));
    assert_true(task(&b, "c", 0, 1001));
    affinity_drop_worker(b.a, &b.workers[0], at_s(1002));
    book_end(&b);
}

static void names_are_bytes_of_any_kind_and_up_to_512_of_them(void **state)
{
    char name[AFFINITY_NAME_BYTES_MAX];
    struct session *s[AFFINITY_NAME_BYTES_MAX + 1];
    struct book b;

    (void)state;
    book_init(&b, 0, 0);
    memset(name, 0, sizeof name); /* zeroes of each length are names of their own */
    for (size_t len = 1; len <= AFFINITY_NAME_BYTES_MAX; len++)
        s[len] = affinity_find(b.a, name, len, at_s(0));
    assert_int_equal(affinity_counts(b.a).known, AFFINITY_NAME_BYTES_MAX);
    for (size_t len = 1; len <= AFFINITY_NAME_BYTES_MAX; len++) {
        assert_ptr_equal(affinity_find(b.a, name, len, at_s(0)), s[len]);
        affinity_leave(b.a, s[len], at_s(0));
        leave_book(&b, s[len], 0);
    }
    book_end(&b);
}

static uint64_t probes_per_look_up(size_t sessions, unsigned rounds)
{
    char name[32];
    struct book b;
    uint64_t before;

    book_init(&b, 0, 0);
    for (size_t i = 0; i < sessions; i++) {
        struct session *s;

        snprintf(name, sizeof name, "session-%zu", i);
        s = affinity_find(b.a, name, strlen(name), at_s(0));
        affinity_bind(b.a, s, &b.workers[0], at_s(0));
        affinity_leave(b.a, s, at_s(0));
    }
    check(&b);
    before = affinity_counts(b.a).probes;
    for (unsigned round = 0; round < rounds; round++) {
        for (size_t i = 0; i < sessions; i++) {
            struct session *s;

            snprintf(name, sizeof name, "session-%zu", i);
            s = affinity_find(b.a, name, strlen(name), at_s(0));
            affinity_leave(b.a, s, at_s(0));
        }
    }
    before = affinity_counts(b.a).probes - before;
    affinity_drop_worker(b.a, &b.workers[0], at_s(0));
    book_end(&b);
    return before * 100 / (sessions * rounds);
}

/* In hundredths of a session that is compared: its own, and hardly any other. */
static void a_look_up_costs_the_same_with_ten_sessions_and_with_100000(void **state)
{
    uint64_t few = probes_per_look_up(10, 100), many = probes_per_look_up(100000, 1);

    (void)state;
    assert_int_equal(few, 100);
    assert_in_range(many, 100, 101);
}

static void bind_each_ms(struct book *b, int sessions)
{
    char name[32];

    for (int i = 0; i < sessions; i++) {
        struct session *s;

        snprintf(name, sizeof name, "session-%d", i);
        s = affinity_find(b->a, name, strlen(name), at_ms(i));
        affinity_bind(b->a, s, &b->workers[0], at_ms(i));
        affinity_leave(b->a, s, at_ms(i));
    }
}

static void a_sweep_looks_only_at_what_expires(void **state)
{
    struct book b;

    (void)state;
    book_init(&b, 0, 0);
    bind_each_ms(&b, 100000);
    sweep(&b, at_ms(300000 + 20000));
    assert_int_equal(affinity_counts(b.a).expiries, 20001);
    assert_int_equal(affinity_counts(b.a).bound, 79999);
    assert_int_equal(affinity_when(b.a).ns, at_ms(380000).ns);
    check(&b);
    /* Each once for each digit until it is in front, and those that are in the same slot as the last ones. */
    assert_in_range(affinity_counts(b.a).looks, 20001, 3 * 20001 + 4300);
    sweep(&b, at_ms(400000));
    assert_int_equal(affinity_counts(b.a).bound, 0);
    assert_true(instant_is_never(affinity_when(b.a)));
    book_end(&b);
}

static void a_sweep_of_many_is_in_steps_that_are_due_at_once(void **state)
{
    struct book b;
    int steps = 0;

    (void)state;
    book_init(&b, 0, 0);
    bind_each_ms(&b, 20000);
    while (affinity_counts(b.a).bound > 0) {
        uint64_t looks = affinity_counts(b.a).looks;

        assert_true(affinity_when(b.a).ns <= at_s(320).ns);
        affinity_sweep(b.a, at_s(320));
        check(&b);
        assert_true(affinity_counts(b.a).looks - looks <= AFFINITY_SWEEP_LOOKS);
        steps++;
    }
    assert_in_range(steps, 20, 100);
    assert_int_equal(affinity_counts(b.a).expiries, 20000);
    book_end(&b);
}

/* Who is bound, and since when unused, in a plain array; times are milliseconds of which each is a tick of the order's. */
enum { PLAIN = 300, PLAIN_STEP_MS = 2 };

struct plain {
    struct session *held;
    int64_t used_ms;
    bool bound;
};

static int plain_oldest(const struct plain *p)
{
    int oldest = -1;

    for (int i = 0; i < PLAIN; i++) {
        if (p[i].bound && !p[i].held && (oldest < 0 || p[i].used_ms < p[oldest].used_ms))
            oldest = i;
    }
    return oldest;
}

static size_t plain_bound(const struct plain *p)
{
    size_t n = 0;

    for (int i = 0; i < PLAIN; i++)
        n += p[i].bound;
    return n;
}

/* A task of it begins, and ends unless it is to be held until the next one would. */
static void plain_task(struct book *b, struct plain *p, int i, bool hold, int64_t ms)
{
    char name[16];

    snprintf(name, sizeof name, "%d", i);
    if (!p[i].held) {
        p[i].held = affinity_find(b->a, name, strlen(name), at_ms(ms));
        assert_int_equal(p[i].held->worker != NULL, p[i].bound);
        while (!p[i].bound && plain_bound(p) >= b->options.bound_max && plain_oldest(p) >= 0)
            p[plain_oldest(p)].bound = false;
        if (!p[i].bound)
            affinity_bind(b->a, p[i].held, &b->workers[0], at_ms(ms));
        (void)affinity_take_lost(p[i].held);
        p[i].bound = true;
    }
    if (hold)
        return;
    affinity_leave(b->a, p[i].held, at_ms(ms));
    p[i].held = NULL;
    p[i].used_ms = ms;
}

/*
 * Uses are not put in order when they are made, so nothing but this shows that the order is right:
 * sessions, of which a part is used far more than the others and some are held, at a bound, swept
 * now and then.
 */
static void random_use_ends_the_same_sessions_as_a_plain_array(void **state)
{
    struct plain p[PLAIN] = {{0}};
    struct rng rng;
    struct book b;
    int64_t ms = 0;

    (void)state;
    book_init(&b, 100, 0);
    rng_seed(&rng, 99);
    for (int step = 0; step < 30000; step++) {
        bool quiet = rng_below(&rng, 200) == 0;

        ms += PLAIN_STEP_MS * (int64_t)(1 + rng_below(&rng, quiet ? 150000 : 200));
        plain_task(&b, p, (int)rng_below(&rng, rng_below(&rng, 2) ? 40 : PLAIN),
                   rng_below(&rng, 5) == 0, ms);
        if (quiet || rng_below(&rng, 50) == 0) {
            sweep(&b, at_ms(ms));
            for (int i = 0; i < PLAIN; i++)
                p[i].bound = p[i].bound && (p[i].held || ms - p[i].used_ms < 300000);
        }
        if (step % 16 == 0)
            check(&b);
        assert_int_equal(affinity_counts(b.a).bound, plain_bound(p));
    }
    assert_true(affinity_counts(b.a).evictions > 1000);
    assert_true(affinity_counts(b.a).expiries > 500);
    for (int i = 0; i < PLAIN; i++) {
        if (p[i].held)
            plain_task(&b, p, i, false, ms);
    }
    affinity_drop_worker(b.a, &b.workers[0], at_ms(ms));
    book_end(&b);
}

static void a_clock_that_went_back_does_no_harm(void **state)
{
    struct session *s;
    struct book b;

    (void)state;
    book_init(&b, 0, 0);
    task(&b, "a", 0, 1000);
    sweep(&b, at_s(1200));
    s = affinity_find(b.a, "b", 1, at_s(10));
    affinity_bind(b.a, s, &b.workers[0], at_s(10));
    affinity_leave(b.a, s, at_s(10));
    sweep(&b, at_s(2000));
    assert_int_equal(affinity_counts(b.a).expiries, 2);
    book_end(&b);
}

static void a_lack_of_memory_is_told_and_the_table_works_without_growing(void **state)
{
    struct session *s[64];
    struct affinity *a = NULL;
    struct weir_error err;
    char name[16];
    struct book b;

    (void)state;
    book_init(&b, 0, 0);
    for (unsigned long n = 1; n <= 2; n++) {
        mem_fail_at(n);
        assert_int_equal(affinity_new(&b.options, at_s(0), &a, &err), WEIR_E_NOMEM);
    }
    mem_fail_at(1);
    assert_null(affinity_find(b.a, "a", 1, at_s(0)));
    mem_fail_at(0);
    assert_int_equal(affinity_counts(b.a).known, 0);
    for (int i = 0; i < 64; i++) {
        snprintf(name, sizeof name, "%d", i);
        mem_fail_at(2); /* the table's, when it is to grow */
        s[i] = affinity_find(b.a, name, strlen(name), at_s(0));
        mem_fail_at(0);
        assert_non_null(s[i]);
        check(&b);
    }
    for (int i = 0; i < 64; i++)
        leave_book(&b, s[i], 0);
    book_end(&b);
}

/* Random tasks of few sessions on few workers, with ends of all kinds, against a plain list of who is where. */
static void random_use_agrees_with_a_plain_list(void **state)
{
    enum { NAMES = 40 };
    struct {
        const struct worker *worker;
        bool lost;
    } model[NAMES] = {0};
    struct rng rng;
    struct book b;

    (void)state;
    book_init(&b, 0, 0);
    rng_seed(&rng, 7);
    for (int step = 0; step < 20000; step++) {
        size_t i = rng_below(&rng, NAMES), worker = rng_below(&rng, 3);
        char name[16];

        snprintf(name, sizeof name, "%zu", i);
        switch (rng_below(&rng, 20)) {
        case 0:
            affinity_drop_worker(b.a, &b.workers[worker], at_s(step));
            for (size_t k = 0; k < NAMES; k++) {
                if (model[k].worker != &b.workers[worker])
                    continue;
                model[k].worker = NULL;
                model[k].lost = true;
            }
            break;
        case 1:
            assert_int_equal(affinity_release(b.a, name, strlen(name), at_s(step)),
                             model[i].worker != NULL);
            model[i].lost |= model[i].worker != NULL;
            model[i].worker = NULL;
            break;
        default:
            assert_int_equal(task(&b, name, worker, step), model[i].lost);
            if (!model[i].worker)
                model[i].worker = &b.workers[worker];
            model[i].lost = false;
            assert_ptr_equal(worker_of(&b, name, step), model[i].worker);
        }
        check(&b);
    }
    for (size_t i = 0; i < 3; i++)
        affinity_drop_worker(b.a, &b.workers[i], at_s(20000));
    book_end(&b);
}

static void each_option_has_its_range(void **state)
{
    struct affinity_options o;
    struct weir_error err;

#define REFUSED(field, name)                                                                       \
    do {                                                                                           \
        affinity_options_init(&o);                                                                 \
        assert_int_equal(affinity_options_check(&o, &err), WEIR_OK);                               \
        o.field = 0;                                                                               \
        assert_int_equal(affinity_options_check(&o, &err), WEIR_E_INVALID);                        \
        assert_non_null(strstr(err.message, name));                                                \
    } while (0)

    (void)state;
    REFUSED(idle_ns, "session_idle");
    REFUSED(sweep_ns, "session_sweep");
    REFUSED(bound_max, "sessions_max");
#undef REFUSED
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_stays_with_the_worker_it_was_bound_to),
        cmocka_unit_test(a_session_that_no_task_bound_is_not_kept),
        cmocka_unit_test(a_binding_ends_300_s_after_its_last_use_and_the_next_task_is_told_once),
        cmocka_unit_test(a_session_with_tasks_does_not_expire),
        cmocka_unit_test(a_released_session_is_lost_and_what_is_not_bound_cannot_be_released),
        cmocka_unit_test(a_workers_end_ends_its_bindings_also_of_sessions_with_tasks),
        cmocka_unit_test(at_the_bound_the_least_recently_used_idle_one_ends),
        cmocka_unit_test(when_none_is_idle_there_are_more_than_the_bound),
        cmocka_unit_test(beyond_lost_max_the_oldest_lost_one_is_forgotten),
        cmocka_unit_test(names_are_bytes_of_any_kind_and_up_to_512_of_them),
        cmocka_unit_test(a_look_up_costs_the_same_with_ten_sessions_and_with_100000),
        cmocka_unit_test(a_sweep_looks_only_at_what_expires),
        cmocka_unit_test(a_sweep_of_many_is_in_steps_that_are_due_at_once),
        cmocka_unit_test(random_use_ends_the_same_sessions_as_a_plain_array),
        cmocka_unit_test(a_clock_that_went_back_does_no_harm),
        cmocka_unit_test(a_lack_of_memory_is_told_and_the_table_works_without_growing),
        cmocka_unit_test(random_use_agrees_with_a_plain_list),
        cmocka_unit_test(each_option_has_its_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
