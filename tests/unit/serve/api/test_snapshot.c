/*
 * Answers that are made once for many: how often, how old, one at a time, and never from before a
 * change.
 */
#include "base/mem.h"
#include "serve/api/snapshot.h"
#include "support/testkit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define DEADLINE_MS 20000
#define EVERY_MS    20
#define BURST       3
#define AGE_MAX_MS  50
#define ASKERS      8

static struct world {
    struct snapshot s;
    atomic_int begun, made; /* makings */
    atomic_bool held;       /* they wait while this is set */
    bool fails;
} w;

static struct instant at_ms(int64_t ms)
{
    return (struct instant){NS_PER_S + ms * NS_PER_MS};
}

static bool is_let_go(void *arg)
{
    (void)arg;
    return !atomic_load(&w.held);
}

/* Says the how manieth it is. */
static enum weir_status make(void *ctx, struct buf *out, struct weir_error *err)
{
    int n = atomic_fetch_add(&w.begun, 1) + 1;

    assert_ptr_equal(ctx, &w);
    (void)testkit_until(is_let_go, NULL, DEADLINE_MS);
    if (w.fails)
        return error_set(err, WEIR_E_IO, "no %d", n);
    buf_printf(out, "%d", n);
    atomic_fetch_add(&w.made, 1);
    return WEIR_OK;
}

static void open_world(void)
{
    static const struct snapshot_rules rules = {EVERY_MS * NS_PER_MS, BURST,
                                                AGE_MAX_MS * NS_PER_MS};

    w = (struct world){0};
    assert_true(snapshot_init(&w.s, &rules));
}

/* Which one it gets; 0: a failure. */
static int ask(int64_t ms, uint64_t changes)
{
    struct weir_error err;
    struct buf out = {0};
    int n = 0;

    if (snapshot_get(&w.s, at_ms(ms), changes, make, &w, &out, &err) == WEIR_OK)
        n = out.failed ? -1 : atoi(buf_slice(&out).data);
    buf_free(&out);
    return n;
}

/* ---- askers on threads of their own ---- */

struct asker {
    pthread_t thread;
    int64_t ms;
    uint64_t changes;
    int got;
    atomic_bool done;
};

static void *run_asker(void *arg)
{
    struct asker *a = arg;

    a->got = ask(a->ms, a->changes);
    atomic_store(&a->done, true);
    return NULL;
}

static void start(struct asker *a, int64_t ms, uint64_t changes)
{
    a->ms = ms;
    a->changes = changes;
    a->got = -1;
    atomic_store(&a->done, false);
    assert_int_equal(pthread_create(&a->thread, NULL, run_asker, a), 0);
}

static int end(struct asker *a)
{
    pthread_join(a->thread, NULL);
    return a->got;
}

static bool has_begun(void *count)
{
    return atomic_load(&w.begun) >= *(int *)count;
}

static void wait_begun(int count)
{
    assert_true(testkit_until(has_begun, &count, DEADLINE_MS));
}

/* ---- the tests ---- */

static void asked_for_seldom_it_is_made_anew_each_time(void **state)
{
    (void)state;
    open_world();
    for (int i = 0; i < 100; i++)
        assert_int_equal(ask(i * EVERY_MS, 0), i + 1);
    snapshot_free(&w.s);
}

static void asked_for_often_it_is_made_no_more_often_than_may_be_and_is_not_old(void **state)
{
    int seen_at[1 + BURST + 1000 / EVERY_MS + 1] = {0};
    int last = 0;

    (void)state;
    open_world();
    for (int ms = 0; ms < 1000; ms++) {
        for (int i = 0; i < 5; i++) {
            int n = ask(ms, 0);

            assert_in_range(n, last, BURST + 1000 / EVERY_MS);
            if (n != last)
                seen_at[n] = ms;
            assert_true(ms - seen_at[n] < EVERY_MS);
            last = n;
        }
    }
    assert_in_range(w.made, 1000 / EVERY_MS, BURST + 1000 / EVERY_MS);
    snapshot_free(&w.s);
}

static void what_is_too_old_is_given_to_nobody(void **state)
{
    struct asker maker, late;

    (void)state;
    open_world();
    assert_int_equal(ask(0, 0), 1);
    atomic_store(&w.held, true);
    start(&maker, AGE_MAX_MS, 0);
    wait_begun(2);
    /* While the next one is being made this one will do, up to its age. */
    assert_int_equal(ask(AGE_MAX_MS, 0), 1);
    start(&late, AGE_MAX_MS + 1, 0);
    assert_false(atomic_load(&late.done));
    atomic_store(&w.held, false);
    assert_int_equal(end(&maker), 2);
    assert_in_range(end(&late), 2, 3); /* 3: it began when that was done */
    snapshot_free(&w.s);
}

static void one_makes_it_for_all_who_wait(void **state)
{
    struct asker all[ASKERS];

    (void)state;
    open_world();
    atomic_store(&w.held, true);
    for (int i = 0; i < ASKERS; i++)
        start(&all[i], 0, 0);
    wait_begun(1);
    atomic_store(&w.held, false);
    for (int i = 0; i < ASKERS; i++)
        /* One that came late may have had another made. */
        assert_in_range(end(&all[i]), 1, BURST);
    assert_in_range(w.made, 1, BURST);
    snapshot_free(&w.s);
}

static void who_has_changed_something_sees_it(void **state)
{
    struct asker before, after;

    (void)state;
    open_world();
    for (int i = 1; i <= BURST; i++)
        assert_int_equal(ask(0, 0), i);
    assert_int_equal(ask(0, 0), BURST);
    /* However often there is a change. */
    for (int i = 1; i <= 10; i++)
        assert_int_equal(ask(0, (uint64_t)i), BURST + i);
    /* One who knows less gets it too; and what the changes have cost is forgotten soon. */
    assert_int_equal(ask(0, 3), BURST + 10);
    assert_int_equal(ask(EVERY_MS, 0), BURST + 11);
    snapshot_free(&w.s);

    open_world();
    atomic_store(&w.held, true);
    start(&before, 0, 7);
    wait_begun(1);
    start(&after, 0, 8); /* the change came while it was being made */
    atomic_store(&w.held, false);
    assert_int_equal(end(&before), 1);
    assert_int_equal(end(&after), 2);
    snapshot_free(&w.s);
}

static void a_failure_is_for_the_one_who_asked(void **state)
{
    (void)state;
    open_world();
    assert_int_equal(ask(0, 0), 1);
    w.fails = true;
    assert_int_equal(ask(0, 0), 0);
    assert_int_equal(ask(0, 0), 0);
    /* What there is serves until it is too old. */
    assert_int_equal(ask(0, 0), 1);
    assert_int_equal(ask(AGE_MAX_MS + 1, 0), 0);
    assert_int_equal(ask(AGE_MAX_MS + 1, 0), 0);
    w.fails = false;
    assert_int_equal(ask(AGE_MAX_MS + 1, 0), 6);
    snapshot_free(&w.s);
}

static void without_memory_the_answer_fails_and_the_next_does_not(void **state)
{
    (void)state;
    open_world();
    for (unsigned long n = 1; n <= 2; n++) { /* its text, and the copy */
        mem_fail_at(n);
        assert_int_equal(ask((int64_t)n * 1000, 0), -1);
        assert_true(mem_has_failed());
        mem_fail_at(0);
    }
    assert_true(ask(3000, 0) > 0);
    snapshot_free(&w.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asked_for_seldom_it_is_made_anew_each_time),
        cmocka_unit_test(asked_for_often_it_is_made_no_more_often_than_may_be_and_is_not_old),
        cmocka_unit_test(what_is_too_old_is_given_to_nobody),
        cmocka_unit_test(one_makes_it_for_all_who_wait),
        cmocka_unit_test(who_has_changed_something_sees_it),
        cmocka_unit_test(a_failure_is_for_the_one_who_asked),
        cmocka_unit_test(without_memory_the_answer_fails_and_the_next_does_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
