/*
 * The thread executor beyond what every executor promises (tests/contract/test_executor.c): how
 * many threads, in which order, and what happens when threads end or cannot be started.
 */
#include "exec/thread/thread.h"
#include "unit/engine/engine_test.h"

#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define ATTEMPTS_MAX 2000

struct stage {
    struct core_executor_host host; /* first */
    struct core_executor *ex;
    struct latch reported, inside, open;
    struct core_attempt attempts[ATTEMPTS_MAX];
    uint64_t begun[ATTEMPTS_MAX]; /* indexes, in the order in which they began */
    atomic_size_t begun_count;
    atomic_int running, peak;
    size_t used;
};

static void on_report(struct core_executor_host *host, struct core_attempt *chain)
{
    struct stage *s = (struct stage *)host;
    uint64_t count = 0;

    for (; chain; chain = chain->next)
        count++;
    latch_add(&s->reported, count);
}

static struct instant on_now(struct core_executor_host *host)
{
    static atomic_llong ticks;

    (void)host;
    return (struct instant){atomic_fetch_add(&ticks, 1) + 1};
}

/* The tasks of runs are the test's own; their rows count as attempts do. */
static void on_report_runs(struct core_executor_host *host, struct core_run *chain)
{
    struct stage *s = (struct stage *)host;

    for (; chain; chain = chain->next)
        latch_add(&s->reported, chain->rows);
}

static struct stage *stage_open(size_t threads, thread_work_fn work)
{
    struct stage *s = calloc(1, sizeof *s);
    struct thread_options o = {.threads = threads, .work = work, .ctx = s};

    assert_non_null(s);
    s->host = (struct core_executor_host){
        .report = on_report, .report_runs = on_report_runs, .now = on_now};
    s->reported = s->inside = s->open = (struct latch)LATCH_INIT;
    ok(thread_executor_new(&o, &s->host, &s->ex, &err));
    return s;
}

static void stage_close(struct stage *s)
{
    assert_true(latch_wait(&s->reported, s->used));
    s->ex->ops->close(s->ex);
    assert_int_equal(latch_count(&s->reported), s->used);
    for (size_t i = 0; i < s->used; i++)
        answer_clear(&s->attempts[i].answer);
    free(s);
}

static void start(struct stage *s, size_t count)
{
    for (; count > 0; count--) {
        struct core_attempt *a = &s->attempts[s->used];

        a->index = s->used++;
        answer_init(&a->answer);
        s->ex->ops->start(s->ex, a);
    }
    s->ex->ops->kick(s->ex);
}

static void say_ok(struct core_attempt *a)
{
    a->answer.outcome = WEIR_OUTCOME_OK;
    a->answer.reason = WEIR_REASON_NONE;
}

static void note(void *ctx, struct core_attempt *a)
{
    struct stage *s = ctx;
    int now = atomic_fetch_add(&s->running, 1) + 1, peak = atomic_load(&s->peak);

    s->begun[atomic_fetch_add(&s->begun_count, 1)] = a->index;
    while (now > peak && !atomic_compare_exchange_weak(&s->peak, &peak, now))
        ;
    if (a->index % 7 == 0)
        sched_yield();
    atomic_fetch_sub(&s->running, 1);
    say_ok(a);
}

static void attempts_begin_in_the_order_of_start(void **state)
{
    struct stage *s = stage_open(1, note);

    (void)state;
    start(s, 300);
    start(s, 300);
    assert_true(latch_wait(&s->reported, 600));
    for (size_t i = 0; i < 600; i++) {
        assert_int_equal(s->begun[i], i);
        if (i > 0) /* and one after the other */
            assert_true(s->attempts[i - 1].answer.ended_at.ns <
                        s->attempts[i].answer.started_at.ns);
    }
    stage_close(s);
}

/* P3 by itself: however many are handed over. */
static void never_more_callbacks_than_threads(void **state)
{
    struct stage *s = stage_open(3, note);

    (void)state;
    for (int i = 0; i < 20; i++)
        start(s, 100);
    assert_true(latch_wait(&s->reported, 2000));
    assert_true(atomic_load(&s->peak) >= 1 && atomic_load(&s->peak) <= 3);
    stage_close(s);
}

static void meet(void *ctx, struct core_attempt *a)
{
    struct stage *s = ctx;

    latch_add(&s->inside, 1);
    if (latch_wait(&s->open, 1))
        say_ok(a);
}

/* One thread wakes the next: in the end all work, whether they were there before or not. */
static void all_threads_come_for_long_work(void **state)
{
    struct stage *s = stage_open(8, meet);

    (void)state;
    for (uint64_t round = 1; round <= 3; round++) {
        start(s, 8);
        assert_true(latch_wait(&s->inside, 8 * round));
        latch_add(&s->open, 1);
        assert_true(latch_wait(&s->reported, 8 * round));
        s->open.count = 0;
    }
    /* One by one as well. */
    for (uint64_t i = 1; i <= 8; i++) {
        start(s, 1);
        assert_true(latch_wait(&s->inside, 24 + i));
    }
    latch_add(&s->open, 1);
    stage_close(s);
}

static void end_thread(void *ctx, struct core_attempt *a)
{
    (void)ctx;
    if (a->index % 3 == 0)
        pthread_exit(NULL);
    say_ok(a);
}

/* Nobody kicks again, and still what is queued behind it is run. */
static void a_thread_that_ends_leaves_no_attempt_behind(void **state)
{
    (void)state;
    for (size_t threads = 1; threads <= 3; threads++) {
        struct stage *s = stage_open(threads, end_thread);

        start(s, 100);
        assert_true(latch_wait(&s->reported, 100));
        for (size_t i = 0; i < 100; i++) {
            const struct core_answer *a = &s->attempts[i].answer;

            assert_int_equal(a->outcome, i % 3 ? WEIR_OUTCOME_OK : WEIR_OUTCOME_LOST);
            assert_int_equal(a->reason, i % 3 ? WEIR_REASON_NONE : WEIR_REASON_CALLBACK_LOST);
            assert_true(a->started_at.ns < a->ended_at.ns);
        }
        stage_close(s);
    }
}

static void end_every_thread(void *ctx, struct core_attempt *a)
{
    (void)ctx;
    (void)a;
    pthread_exit(NULL);
}

/* Whatever moment of its going it is that the next attempt comes in. */
static void a_thread_that_goes_leaves_no_attempt_that_comes_meanwhile(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        struct stage *s = stage_open(1, end_every_thread);

        for (unsigned i = 0; i < ATTEMPTS_MAX; i++) {
            start(s, 1);
            /* Looking, and not waiting: who is woken comes too late. */
            for (unsigned n = 0; latch_count(&s->reported) <= i; n++)
                if (n == 1000000)
                    assert_true(latch_wait(&s->reported, i + 1));
            for (volatile unsigned n = (i + round) % 500; n > 0; n--)
                ;
        }
        stage_close(s);
    }
}

/* Index 0 waits, any other ends its thread. */
static void wait_or_end_thread(void *ctx, struct core_attempt *a)
{
    struct stage *s = ctx;

    if (a->index > 0)
        pthread_exit(NULL);
    latch_add(&s->inside, 1);
    if (latch_wait(&s->open, 1))
        say_ok(a);
}

/* Rows that are done wait for others to be reported with; not while an attempt runs, which may take long, or worse. */
static void a_thread_that_ends_takes_no_rows_with_it(void **state)
{
    struct stage *s = stage_open(1, wait_or_end_thread);
    struct core_task *t = calloc(1, sizeof *t);

    (void)state;
    assert_non_null(t);
    task_init(t);
    t->run = (struct core_run){.rows = 1, .last = t};
    s->ex->ops->start_run(s->ex, &t->run);
    s->ex->ops->kick(s->ex);
    assert_true(latch_wait(&s->inside, 1));
    s->used = 1; /* the row is number 0 */
    answer_init(&s->attempts[0].answer);
    start(s, 1);
    latch_add(&s->open, 1);
    assert_true(latch_wait(&s->reported, 2));
    assert_true(t->run.begun && t->run.clean);
    assert_int_equal(s->attempts[1].answer.reason, WEIR_REASON_CALLBACK_LOST);
    stage_close(s);
    task_clear(t);
    free(t);
}

static void without_a_thread_attempts_are_reported_as_lost(void **state)
{
    struct rlimit before, none;
    struct stage *s = stage_open(4, note);

    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    (void)before;
    (void)none; /* they need all the address space there is */
#else
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long pages;

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu", &pages), 1);
    fclose(f);
    getrlimit(RLIMIT_AS, &before);
    none = before;
    /* Less than a stack. Stacks that earlier threads have left are kept for reuse: threads may start. */
    none.rlim_cur = pages * (unsigned long)sysconf(_SC_PAGESIZE) + (1 << 20);
    setrlimit(RLIMIT_AS, &none);
    start(s, 10);
    assert_true(latch_wait(&s->reported, 10));
    setrlimit(RLIMIT_AS, &before);
    for (size_t i = 0; i < 10; i++) {
        if (s->attempts[i].answer.outcome == WEIR_OUTCOME_OK)
            continue;
        assert_int_equal(s->attempts[i].answer.outcome, WEIR_OUTCOME_LOST);
        assert_int_equal(s->attempts[i].answer.reason, WEIR_REASON_INTERNAL);
        assert_non_null(strstr(s->attempts[i].answer.message, "no thread could be started"));
    }
    start(s, 1); /* and it works again */
    assert_true(latch_wait(&s->reported, 11));
    assert_int_equal(s->attempts[10].answer.outcome, WEIR_OUTCOME_OK);
#endif
    stage_close(s);
}

/* Those that wait already have the threads at once; those that are too many end, and no callback with them. */
static void threads_come_and_go_with_the_size(void **state)
{
    struct stage *s = stage_open(1, meet);

    (void)state;
    start(s, 4);
    assert_true(latch_wait(&s->inside, 1));
    ok(s->ex->ops->resize(s->ex, 4, &err));
    assert_true(latch_wait(&s->inside, 4));
    ok(s->ex->ops->resize(s->ex, 2, &err)); /* all are busy */
    latch_add(&s->open, 1);
    assert_true(latch_wait(&s->reported, 4));
    stage_close(s);
}

static void fewer_threads_run_fewer_callbacks(void **state)
{
    struct stage *s = stage_open(4, note);

    (void)state;
    for (int round = 0; round < 10; round++) {
        size_t threads = round % 2 ? 1 : 4;

        ok(s->ex->ops->resize(s->ex, threads, &err));
        atomic_store(&s->peak, 0);
        start(s, 150);
        assert_true(latch_wait(&s->reported, s->used));
        assert_in_range(atomic_load(&s->peak), 1, threads);
    }
    stage_close(s);
}

static void options_are_checked(void **state)
{
    struct core_executor *ex = NULL;
    struct thread_options o = {.threads = 0, .work = note};

    (void)state;
    says(WEIR_E_INVALID, "at least 1 thread", thread_executor_new(&o, NULL, &ex, &err));
    o = (struct thread_options){.threads = 1};
    says(WEIR_E_INVALID, "needs a callback", thread_executor_new(&o, NULL, &ex, &err));
    assert_null(ex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_thread_attempts_are_reported_as_lost), /* first: no old stacks */
        cmocka_unit_test(attempts_begin_in_the_order_of_start),
        cmocka_unit_test(never_more_callbacks_than_threads),
        cmocka_unit_test(all_threads_come_for_long_work),
        cmocka_unit_test(a_thread_that_ends_leaves_no_attempt_behind),
        cmocka_unit_test(a_thread_that_goes_leaves_no_attempt_that_comes_meanwhile),
        cmocka_unit_test(a_thread_that_ends_takes_no_rows_with_it),
        cmocka_unit_test(threads_come_and_go_with_the_size),
        cmocka_unit_test(fewer_threads_run_fewer_callbacks),
        cmocka_unit_test(options_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
