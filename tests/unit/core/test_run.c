/*
 * Rows that go in runs (src/core/run.c), in virtual time: when they do, what is counted and said of
 * each of them, and that whatever comes between leaves every row as if there were no runs.
 */
#include "base/rng.h"
#include "core/dispatcher.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SIZE     2
#define TASKS    4096
#define SHORT_NS (1 * NS_PER_US)
#define LONG_NS  (5 * NS_PER_MS)

/* The world: an executor with SIZE workers, which do what the test says, and a host that collects. */
static struct world {
    struct core_executor executor;
    struct core_executor_ops ops;
    struct core_attempt *single[TASKS]; /* attempts, in the order of start() */
    size_t singles;
    struct core_run *queue[TASKS]; /* runs that no worker has taken */
    size_t queued;
    struct core_run
        *at_hand[SIZE]; /* of each worker, from the row that is being worked on; or NULL */
    struct core_run *runs_back,
        **runs_tail; /* reports that the dispatcher has not been told of yet */
    struct core_attempt *back[TASKS];
    size_t backs;
    unsigned recalls;
    const struct core_batch *cancelled;

    struct dispatcher_host host;
    struct core_task tasks[TASKS];
    bool completed[TASKS]; /* complete_index was given */
    uint64_t delivered, in_runs, by_themselves, ok;

    struct dispatcher *d;
    struct core_pool *pool;
    struct core_batch *batch;
    struct instant now, wake;
    uint64_t submitted;
} w;

/* ---- the executor ---- */

static void ex_start(struct core_executor *ex, struct core_attempt *a)
{
    (void)ex;
    w.single[w.singles++] = a;
}

static void ex_start_run(struct core_executor *ex, struct core_run *r)
{
    (void)ex;
    assert_in_range(r->rows, 1, RUN_ROWS_MAX);
    w.queue[w.queued++] = r;
}

static void give_back(struct core_run *r, bool begun)
{
    r->begun = begun;
    r->next = NULL;
    *w.runs_tail = r;
    w.runs_tail = &r->next;
}

/* The rows behind the first `rows`, as a run of their own, or NULL. */
static struct core_run *cut(struct core_run *r, uint32_t rows)
{
    struct core_task *last = run_first(r), *next;
    struct core_run *rest;

    if (rows == r->rows)
        return NULL;
    for (uint32_t i = 1; i < rows; i++)
        last = last->next;
    next = last->next;
    rest = &next->run;
    *rest = *r;
    rest->rows = r->rows - rows;
    rest->ticket = gate_ticket_nth(&r->ticket, rows);
    next->submit_at = run_first(r)->submit_at;
    r->rows = rows;
    r->last = last;
    return rest;
}

static void ex_recall(struct core_executor *ex, const struct core_batch *cancelled)
{
    (void)ex;
    w.recalls++;
    if (cancelled)
        w.cancelled = cancelled;
    for (size_t i = 0; i < w.queued; i++)
        give_back(w.queue[i], false);
    w.queued = 0;
    for (size_t i = 0; i < SIZE; i++) {
        struct core_run *rest = w.at_hand[i] ? cut(w.at_hand[i], 1) : NULL;

        if (rest)
            give_back(rest, false);
    }
}

static void ex_cancel(struct core_executor *ex, struct core_attempt *a)
{
    (void)ex;
    (void)a;
}

static void ex_close(struct core_executor *ex)
{
    (void)ex;
}

/* ---- the host ---- */

static void on_finished(struct dispatcher_host *h, struct core_batch *b, struct core_task *t)
{
    (void)h;
    (void)b;
    (void)t;
}

static void on_retrying(struct dispatcher_host *h, struct core_batch *b, const struct core_task *t,
                        duration_ns wait_ns)
{
    (void)h;
    (void)b;
    (void)t;
    (void)wait_ns;
}

/* In order, each with a record of its own that is whole. */
static void collect(struct core_task *t)
{
    assert_int_equal(t->index, w.delivered++);
    assert_int_equal(t->state, TASK_DELIVERED);
    assert_in_range(t->complete_index, 0, TASKS - 1);
    assert_false(w.completed[t->complete_index]);
    w.completed[t->complete_index] = true;
    assert_false(instant_is_none(t->submit_at));
    assert_true(t->submit_at.ns <= t->complete_at.ns && t->complete_at.ns <= t->deliver_at.ns);
    if (t->attempts > 0)
        assert_true(t->submit_at.ns <= t->start_at.ns && t->start_at.ns <= t->complete_at.ns);
    w.ok += t->answer.outcome == WEIR_OUTCOME_OK;
}

static void on_deliver(struct dispatcher_host *h, struct core_batch *b, struct core_task *t)
{
    (void)h;
    (void)b;
    collect(t);
    w.by_themselves++;
}

static void on_run_finished(struct dispatcher_host *h, struct core_batch *b, struct core_run *r)
{
    (void)h;
    assert_ptr_equal(r->batch, b);
    assert_true(r->clean);
}

static void on_deliver_run(struct dispatcher_host *h, struct core_batch *b, struct core_run *r)
{
    struct core_task *t = run_first(r);

    (void)h;
    (void)b;
    run_spread(r);
    for (uint32_t i = 0; i < r->rows; i++, t = t->next) {
        assert_true(t->in_run);
        assert_int_equal(t->attempts, 1);
        collect(t);
    }
    w.in_runs += r->rows;
}

static void on_closed(struct dispatcher_host *h, struct core_batch *b)
{
    (void)h;
    (void)b;
}

static void on_release(struct core_task *t)
{
    task_clear(t);
}

/* ---- the test's side ---- */

static void begin_with(const struct core_pool_options *o, const struct core_batch_options *batch)
{
    struct dispatcher_options d = {.seed = 1, .host = &w.host};

    memset(&w, 0, sizeof w);
    w.runs_tail = &w.runs_back;
    w.now = (struct instant){NS_PER_S};
    w.ops = (struct core_executor_ops){.kind = "fake",
                                       .start = ex_start,
                                       .start_run = ex_start_run,
                                       .recall = ex_recall,
                                       .cancel = ex_cancel,
                                       .close = ex_close};
    w.executor.ops = &w.ops;
    w.host = (struct dispatcher_host){.finished = on_finished,
                                      .retrying = on_retrying,
                                      .deliver = on_deliver,
                                      .run_finished = on_run_finished,
                                      .deliver_run = on_deliver_run,
                                      .closed = on_closed};
    assert_int_equal(dispatcher_new(&d, &w.d, NULL), WEIR_OK);
    assert_int_equal(dispatcher_add_pool(w.d, o, &w.executor, &w.pool, NULL), WEIR_OK);
    assert_int_equal(dispatcher_open_batch(w.d, w.pool, batch, NULL, w.now, &w.batch, NULL),
                     WEIR_OK);
}

static struct core_pool_options pool_options(void)
{
    struct core_pool_options o;

    core_pool_options_init(&o);
    o.size = SIZE;
    return o;
}

static void begin(void)
{
    struct core_pool_options o = pool_options();
    struct core_batch_options batch;

    core_batch_options_init(&batch);
    begin_with(&o, &batch);
}

static void check(void)
{
    const char *wrong = dispatcher_check(w.d);

    if (wrong)
        fail_msg("%s", wrong);
    assert_true(dispatcher_running(w.d) <= SIZE);
}

static void turn(void)
{
    while (w.backs > 0) {
        struct core_attempt *a = w.back[0];

        w.backs--;
        memmove(w.back, w.back + 1, w.backs * sizeof w.back[0]);
        dispatcher_report(w.d, a, w.now);
        check();
    }
    while (w.runs_back) {
        struct core_run *r = w.runs_back;

        w.runs_back = NULL;
        w.runs_tail = &w.runs_back;
        dispatcher_report_runs(w.d, r, w.now);
        check();
    }
    w.wake = dispatcher_run(w.d, w.now);
    check();
}

static struct core_task *next_task(void)
{
    struct core_task *t = &w.tasks[w.submitted];

    task_init(t);
    t->index = w.submitted++;
    t->key = "k";
    t->payload = "p";
    t->release = on_release;
    return t;
}

static enum weir_status submit_run(uint32_t rows)
{
    struct core_task *first = next_task(), *last = first;

    for (uint32_t i = 1; i < rows; i++) {
        last->next = next_task();
        last = last->next;
    }
    first->run = (struct core_run){.rows = rows, .last = last};
    return dispatcher_submit_run(w.d, w.batch, &first->run, w.now, NULL);
}

static void submit(uint32_t rows)
{
    while (rows > 0) {
        uint32_t n = rows < RUN_ROWS_MAX ? rows : RUN_ROWS_MAX;

        assert_int_equal(submit_run(n), WEIR_OK);
        rows -= n;
    }
    turn();
}

static void say(struct core_answer *a, duration_ns ran, enum weir_outcome outcome)
{
    a->outcome = outcome;
    a->reason = outcome == WEIR_OUTCOME_OK ? WEIR_REASON_NONE : WEIR_REASON_CALLBACK;
    a->retryable = outcome == WEIR_OUTCOME_FAILED;
    a->started_at = w.now;
    w.now = instant_add(w.now, ran);
    a->ended_at = w.now;
}

/* The attempt at this place of the singles ends. */
static void end_single(size_t i, duration_ns ran, enum weir_outcome outcome)
{
    struct core_attempt *a = w.single[i];

    assert_true(i < w.singles);
    w.singles--;
    memmove(&w.single[i], &w.single[i + 1], (w.singles - i) * sizeof w.single[0]);
    say(&a->answer, ran, outcome);
    w.back[w.backs++] = a;
    turn();
}

static bool take(size_t worker)
{
    if (!w.at_hand[worker] && w.queued > 0) {
        w.at_hand[worker] = w.queue[0];
        w.queued--;
        memmove(w.queue, w.queue + 1, w.queued * sizeof w.queue[0]);
    }
    return w.at_hand[worker] != NULL;
}

/* The first rows of what a worker has at hand are done well. */
static void end_rows(size_t worker, uint32_t rows, duration_ns each)
{
    struct core_run *r = w.at_hand[worker];
    struct core_task *first = run_first(r), *t = first;

    w.at_hand[worker] = cut(r, rows);
    r->clean = true;
    r->output_bytes = 0;
    r->after_first_ns = 0;
    r->work_ns = each;
    for (uint32_t i = 0; i < rows; i++, t = t->next) {
        say(&t->answer, each, WEIR_OUTCOME_OK);
        r->after_first_ns += instant_diff(t->answer.ended_at, first->answer.ended_at);
    }
    give_back(r, true);
}

/* The row that a worker is at ends, and not well. */
static void end_badly(size_t worker, duration_ns ran, enum weir_outcome outcome)
{
    struct core_run *r = w.at_hand[worker];

    w.at_hand[worker] = cut(r, 1);
    r->clean = false;
    r->output_bytes = 0;
    r->work_ns = ran;
    say(&run_first(r)->answer, ran, outcome);
    give_back(r, true);
}

/* Enough attempts for the pool to know that they are short, and some rows left. */
static void warm_up(uint32_t rows)
{
    submit(rows);
    for (int i = 0; i < 80; i++) {
        assert_true(w.singles > 0 || w.queued > 0);
        if (w.singles > 0)
            end_single(0, SHORT_NS, WEIR_OUTCOME_OK);
    }
    assert_int_equal(w.singles, 0);
    assert_true(w.queued > 0);
}

/* Does everything that is left, and takes it all apart. */
static void finish(void)
{
    dispatcher_end(w.d, w.batch, w.now);
    for (int i = 0; i < 4 * TASKS && !dispatcher_batch_idle(w.batch); i++) {
        for (size_t k = 0; k < SIZE; k++)
            if (take(k))
                end_rows(k, w.at_hand[k]->rows, SHORT_NS);
        if (w.singles > 0)
            end_single(0, SHORT_NS, WEIR_OUTCOME_OK);
        turn();
        if (dispatcher_batch_closed(w.batch)) {
            /* What was delivered is given back; the rows of runs need not be told one by one. */
            dispatcher_give_back_run(w.d, w.batch, w.in_runs, 0);
            for (uint64_t t = 0; t < w.delivered; t++)
                if (w.tasks[t].in_run)
                    task_clear(&w.tasks[t]);
                else
                    dispatcher_give_back(w.d, &w.tasks[t]);
            w.in_runs = 0;
            w.delivered = 0;
            continue;
        }
        w.now = instant_add(w.now, NS_PER_S); /* what waits is ready again */
        turn();
    }
    assert_true(dispatcher_batch_closed(w.batch));
    assert_int_equal(dispatcher_running(w.d), 0);
    dispatcher_free_batch(w.d, w.batch);
    dispatcher_free(w.d);
}

static void finish_all(uint64_t ok)
{
    finish();
    assert_int_equal(w.ok, ok);
    for (uint64_t i = 0; i < w.submitted; i++)
        assert_true(w.completed[i]);
}

static struct core_stats stats(void)
{
    struct core_stats s;

    dispatcher_batch_stats(w.batch, &s);
    return s;
}

/* ---- when ---- */

static void attempts_that_are_not_known_to_be_short_go_by_themselves(void **state)
{
    (void)state;
    begin();
    submit(300);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(w.queued, 0);
        assert_int_equal(w.singles, SIZE);
        end_single(0, LONG_NS, WEIR_OUTCOME_OK);
    }
    finish_all(300);
}

static void short_ones_go_in_runs_with_as_many_permits_as_there_are(void **state)
{
    struct core_stats s;

    (void)state;
    begin();
    warm_up(1000);
    assert_int_equal(dispatcher_running(w.d), SIZE);
    assert_true(w.queued > SIZE);
    s = stats();
    assert_int_equal(s.ready + s.running, 1000 - s.finished);
    assert_true(s.running > SIZE); /* handed over */
    assert_int_equal(s.attempts, s.finished + s.running);
    while (w.queued > 0 || w.at_hand[0]) {
        assert_true(take(0));
        end_rows(0, w.at_hand[0]->rows, SHORT_NS);
        turn();
    }
    s = stats();
    assert_int_equal(s.delivered, 1000);
    assert_int_equal(s.successes, 1000);
    assert_int_equal(s.attempts, 1000);
    assert_int_equal(s.max_concurrent_reached, SIZE);
    assert_true(w.in_runs > 800);
    finish_all(1000);
}

static void what_has_to_be_known_of_each_row_keeps_it_out_of_runs(void **state)
{
    struct core_pool_options pool[4];
    struct core_batch_options batch;

    (void)state;
    for (int i = 0; i < 4; i++)
        pool[i] = pool_options();
    pool[0].timeout_ns = NS_PER_S;
    pool[1].gate.min_dispatch_delay_ns = 1;
    pool[2].gate.rate_per_s = 1e9;
    pool[3].gate.requests_per_minute = 1000000;
    for (int i = 0; i < 6; i++) {
        struct core_pool_options plain = pool_options();

        core_batch_options_init(&batch);
        batch.deadline_ns = i == 4 ? NS_PER_S : 0;
        batch.durable = i == 5;
        begin_with(i < 4 ? &pool[i] : &plain, &batch);
        assert_false(dispatcher_takes_runs(w.batch));
        finish();
    }
    begin();
    assert_true(dispatcher_takes_runs(w.batch));
    finish();
}

/* ---- order ---- */

static void parts_may_be_reported_in_any_order(void **state)
{
    (void)state;
    begin();
    warm_up(600);
    assert_true(take(0) && take(1));
    end_rows(1, 5, SHORT_NS);
    turn();
    end_rows(1, w.at_hand[1]->rows, SHORT_NS);
    turn();
    assert_true(w.delivered <= run_first(w.at_hand[0])->index);
    end_rows(0, 1, SHORT_NS);
    end_rows(0, w.at_hand[0]->rows, SHORT_NS);
    turn();
    assert_int_equal(w.delivered, w.ok);
    finish_all(600);
}

static void a_row_that_must_go_by_itself_keeps_its_place(void **state)
{
    struct core_task *t;

    (void)state;
    begin();
    warm_up(3000); /* more than the executor has at once */
    t = next_task();
    t->tokens = 5;
    assert_int_equal(dispatcher_submit(w.d, w.batch, t, w.now, NULL), WEIR_OK);
    submit(300);
    while (w.singles == 0) {
        assert_true(take(0));
        end_rows(0, w.at_hand[0]->rows, SHORT_NS);
        turn();
    }
    assert_true(w.single[0]->index < t->index);
    finish_all(3301);
}

static void rows_beyond_the_window_are_refused_whole(void **state)
{
    struct core_pool_options o = pool_options();
    struct core_batch_options batch;

    (void)state;
    core_batch_options_init(&batch);
    batch.window_rows = 100;
    begin_with(&o, &batch);
    assert_int_equal(submit_run(60), WEIR_OK);
    assert_int_equal(submit_run(41), WEIR_E_LIMIT);
    w.submitted -= 41;
    assert_int_equal(submit_run(40), WEIR_OK);
    turn();
    w.submitted++;
    assert_int_equal(submit_run(10), WEIR_E_LIMIT); /* a gap */
    w.submitted -= 11;
    finish_all(100);
}

/* ---- what may happen on the way ---- */

static void a_row_that_fails_is_tried_again_by_itself(void **state)
{
    uint64_t failed;

    (void)state;
    begin();
    warm_up(600);
    assert_true(take(0));
    end_rows(0, 3, SHORT_NS);
    failed = run_first(w.at_hand[0])->index;
    end_badly(0, SHORT_NS, WEIR_OUTCOME_FAILED);
    turn();
    assert_int_equal(w.tasks[failed].state, TASK_WAITING);
    assert_int_equal(w.tasks[failed].attempts, 1);
    assert_int_equal(stats().waiting, 1);
    assert_int_equal(w.delivered, failed);
    finish_all(600);
    assert_int_equal(w.tasks[failed].attempts, 2);
}

/* The throttle is told of the refusal, and what has not begun is held back like any new row. */
static void a_refusal_calls_back_what_has_not_begun(void **state)
{
    struct core_stats s;

    (void)state;
    begin();
    warm_up(600);
    assert_true(take(0) && take(1));
    end_badly(0, SHORT_NS, WEIR_OUTCOME_CAPACITY);
    turn();
    turn();
    assert_int_equal(w.recalls, 1);
    s = stats();
    assert_int_equal(s.refused, 1);
    assert_int_equal(s.capacity_retries, 1);
    assert_int_equal(w.queued, 0);
    assert_int_equal(s.attempts, s.finished + s.refused + s.running);
    assert_int_equal(s.running, 2 + w.singles); /* the rows at both workers, and what went since */
    finish_all(600);
}

/* Goes to the next look of the dispatcher. */
static void look(void)
{
    assert_true(w.wake.ns <= w.now.ns + LONG_NS);
    w.now = w.wake;
    turn();
}

/* I4, P5: what was thought to be short holds up nothing. */
static void silence_calls_back_what_has_not_begun(void **state)
{
    uint64_t first;

    (void)state;
    begin();
    warm_up(600);
    assert_true(take(0) && take(1));
    first = run_first(w.at_hand[0])->index;
    look(); /* they have just been started */
    assert_int_equal(w.recalls, 0);
    look();
    turn();
    assert_int_equal(w.recalls, 1);
    assert_int_equal(w.at_hand[0]->rows, 1);
    assert_int_equal(stats().running, 2);
    assert_int_equal(w.tasks[first + 1].attempts, 0);
    /* It is not asked again and again. */
    w.now = instant_add(w.now, NS_PER_S);
    turn();
    assert_int_equal(w.recalls, 1);
    /* Both places are taken by what is being worked on. */
    assert_int_equal(w.singles + w.queued, 0);
    end_rows(0, 1, NS_PER_S);
    turn();
    assert_int_equal(w.singles + w.queued, 1);
    finish_all(600);
}

/* The same while the other worker reports all the time. */
static void one_long_row_among_many_reports_holds_up_nothing(void **state)
{
    struct instant until;

    (void)state;
    begin();
    warm_up(TASKS);
    assert_true(take(0));
    until = instant_add(w.now, LONG_NS);
    while (w.at_hand[0]->rows > 1 && instant_before(w.now, until)) {
        w.now = instant_add(w.now, 100 * NS_PER_US);
        if (take(1))
            end_rows(1, 1, SHORT_NS);
        turn();
    }
    assert_int_equal(w.at_hand[0]->rows, 1);
    end_rows(0, 1, LONG_NS);
    finish_all(TASKS);
}

static void work_that_has_become_long_ends_runs(void **state)
{
    (void)state;
    begin();
    warm_up(2000);
    for (int i = 0; i < 4; i++) {
        if (take(0))
            end_rows(0, w.at_hand[0]->rows, 100 * NS_PER_US);
        turn();
    }
    assert_true(w.recalls > 0);
    turn();
    assert_int_equal(w.queued, 0);
    finish_all(2000);
}

static void a_lowered_limit_calls_back_what_has_not_begun(void **state)
{
    (void)state;
    begin();
    warm_up(1000);
    assert_true(take(0));
    assert_int_equal(dispatcher_set_pool_limit(w.d, w.pool, 1, w.now, NULL), WEIR_OK);
    check();
    assert_int_equal(w.recalls, 1);
    turn();
    assert_int_equal(dispatcher_running(w.d), 1);
    finish_all(1000);
}

static void with_a_limit_over_all_pools_rows_do_not_go_in_runs(void **state)
{
    uint64_t in_runs;

    (void)state;
    begin();
    warm_up(1000);
    dispatcher_set_global_limit(w.d, 1);
    check();
    turn();
    assert_int_equal(w.queued, 0);
    assert_int_equal(w.singles, 1);
    assert_false(dispatcher_takes_runs(w.batch));
    in_runs = w.in_runs;
    for (int i = 0; i < 200; i++)
        end_single(0, SHORT_NS, WEIR_OUTCOME_OK);
    assert_int_equal(w.in_runs, in_runs);
    dispatcher_set_global_limit(w.d, 0);
    turn();
    assert_true(dispatcher_takes_runs(w.batch));
    finish_all(1000);
}

static void a_shutdown_ends_what_has_not_begun_as_waiting(void **state)
{
    (void)state;
    for (int cancel = 0; cancel < 2; cancel++) {
        uint64_t a, b;

        begin();
        warm_up(600);
        assert_true(take(0) && take(1));
        a = run_first(w.at_hand[0])->index;
        b = run_first(w.at_hand[1])->index;
        dispatcher_shutdown(w.d, cancel, w.now);
        check();
        turn();
        assert_true((w.cancelled == w.batch) == cancel);
        end_badly(0, SHORT_NS, WEIR_OUTCOME_LOST); /* it says nothing, for it was told to stop */
        end_rows(1, 1, SHORT_NS);
        turn();
        for (uint64_t i = a; i < 600; i++) {
            const struct core_task *t = &w.tasks[i];

            if (i == b)
                continue;
            assert_int_equal(t->answer.outcome, WEIR_OUTCOME_CANCELLED);
            assert_int_equal(t->answer.reason, WEIR_REASON_SHUTDOWN_REQUESTED);
            assert_int_equal(t->attempts, i == a);
        }
        finish_all(a + 1);
    }
}

static void a_stop_drops_what_has_not_begun(void **state)
{
    (void)state;
    for (int cancel = 0; cancel < 2; cancel++) {
        uint64_t a;

        begin();
        warm_up(600);
        assert_true(take(0));
        a = run_first(w.at_hand[0])->index;
        dispatcher_stop(w.d, w.batch, cancel, w.now);
        check();
        turn();
        assert_int_equal(w.queued, 0);
        assert_int_equal(stats().running, 1);
        end_rows(0, 1, SHORT_NS);
        turn();
        finish();
        assert_int_equal(w.ok, a + 1);
    }
}

/* Outputs that nobody has taken: only the row whose turn it is starts (I8), and that one by itself. */
static void outputs_beyond_the_limit_hold_runs_back(void **state)
{
    struct core_pool_options o = pool_options();
    struct core_batch_options batch;

    (void)state;
    core_batch_options_init(&batch);
    batch.output_bytes = 1000;
    begin_with(&o, &batch);
    warm_up(600);
    assert_true(take(0) && take(1));
    end_rows(1, w.at_hand[1]->rows, SHORT_NS);
    for (struct core_run *r = w.runs_back; r; r = r->next) {
        struct core_task *t = run_first(r);

        assert_true(answer_set_output(&t->answer, "0123456789abcdef0123456789abcdef", 32));
        t->answer.output_len = 2000; /* as if */
        r->output_bytes = 2000;
    }
    turn();
    while (w.queued > 0) {
        struct core_run *r = w.queue[--w.queued];

        give_back(r, false);
    }
    turn();
    assert_int_equal(w.queued, 0);
    assert_int_equal(w.singles, 0);
    end_rows(0, w.at_hand[0]->rows, SHORT_NS);
    turn(); /* all is delivered, and not given back: the next row in turn starts */
    assert_int_equal(w.queued, 0);
    assert_int_equal(w.singles, 1);
    assert_int_equal(w.single[0]->index, w.delivered);
    dispatcher_give_back_run(w.d, w.batch, 0, 2000);
    finish_all(600);
}

/* ---- any life ---- */

static void step(struct rng *rng, uint64_t rows)
{
    size_t k = rng_below(rng, SIZE);
    enum weir_outcome outcome = rng_below(rng, 4)   ? WEIR_OUTCOME_OK
                                : rng_below(rng, 2) ? WEIR_OUTCOME_FAILED
                                                    : WEIR_OUTCOME_CAPACITY;

    switch (rng_below(rng, 8)) {
    case 0:
        if (w.submitted + RUN_ROWS_MAX <= rows)
            submit((uint32_t)rng_below(rng, RUN_ROWS_MAX) + 1);
        break;
    case 1:
        if (w.submitted < rows && rng_below(rng, 20) == 0) {
            assert_int_equal(dispatcher_submit(w.d, w.batch, next_task(), w.now, NULL), WEIR_OK);
            turn();
        }
        break;
    case 2:
        w.now = instant_add(w.now, (duration_ns)rng_below(rng, 3 * NS_PER_MS));
        turn();
        break;
    case 3:
        if (rng_below(rng, 40) == 0 && take(k))
            end_badly(k, SHORT_NS, outcome);
        break;
    case 4:
        if (w.singles > 0 && rng_below(rng, 20) == 0)
            end_single(rng_below(rng, w.singles), SHORT_NS, outcome);
        break;
    case 5:
        turn();
        break;
    default:
        if (w.singles > 0)
            end_single(0, SHORT_NS, WEIR_OUTCOME_OK);
        if (take(k))
            end_rows(k, (uint32_t)rng_below(rng, w.at_hand[k]->rows) + 1, SHORT_NS);
        break;
    }
}

static void in_any_life_each_row_has_one_result_in_order(void **state)
{
    uint64_t in_runs = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct core_pool_options o = pool_options();
        struct core_batch_options batch;
        struct rng rng;
        uint64_t rows;

        rng_seed(&rng, seed);
        o.max_attempts = 1000;
        core_batch_options_init(&batch);
        begin_with(&o, &batch);
        rows = 200 + rng_below(&rng, TASKS - 200);
        for (int i = 0; i < 600; i++)
            step(&rng, rows);
        in_runs += w.in_runs;
        if (seed % 4 == 0) {
            dispatcher_shutdown(w.d, seed % 8 == 0, w.now);
            check();
            turn();
        } else if (seed % 4 == 1) {
            dispatcher_stop(w.d, w.batch, seed % 8 == 1, w.now);
            check();
            turn();
            finish();
            continue;
        }
        finish();
        for (uint64_t i = 0; i < w.submitted; i++)
            assert_true(w.completed[i]);
        if (seed % 4 != 0)
            assert_int_equal(w.ok, w.submitted);
    }
    assert_true(in_runs > 10000); /* or this test is about something else */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attempts_that_are_not_known_to_be_short_go_by_themselves),
        cmocka_unit_test(short_ones_go_in_runs_with_as_many_permits_as_there_are),
        cmocka_unit_test(what_has_to_be_known_of_each_row_keeps_it_out_of_runs),
        cmocka_unit_test(parts_may_be_reported_in_any_order),
        cmocka_unit_test(a_row_that_must_go_by_itself_keeps_its_place),
        cmocka_unit_test(rows_beyond_the_window_are_refused_whole),
        cmocka_unit_test(a_row_that_fails_is_tried_again_by_itself),
        cmocka_unit_test(a_refusal_calls_back_what_has_not_begun),
        cmocka_unit_test(silence_calls_back_what_has_not_begun),
        cmocka_unit_test(one_long_row_among_many_reports_holds_up_nothing),
        cmocka_unit_test(work_that_has_become_long_ends_runs),
        cmocka_unit_test(a_lowered_limit_calls_back_what_has_not_begun),
        cmocka_unit_test(with_a_limit_over_all_pools_rows_do_not_go_in_runs),
        cmocka_unit_test(a_shutdown_ends_what_has_not_begun_as_waiting),
        cmocka_unit_test(a_stop_drops_what_has_not_begun),
        cmocka_unit_test(outputs_beyond_the_limit_hold_runs_back),
        cmocka_unit_test(in_any_life_each_row_has_one_result_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
