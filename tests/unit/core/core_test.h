/*
 * A bench for the dispatcher: an executor that does only what the test says, and a host that keeps
 * what it is told.
 *
 *     struct bench b;
 *     bench_init(&b, NULL, true);                     // pool options or NULL; whether cancel ends at once
 *     struct core_batch *batch = bench_open(&b, NULL);
 *     bench_add_rows(&b, batch, 10);
 *     bench_run(&b);                                  // at b.now; the invariants are checked
 *     bench_ok(&b, 3);                                // row 3's attempt ends well
 *     bench_advance(&b, 50 * NS_PER_MS);              // as the loop would: at each time the dispatcher asked for
 *     bench_free(&b, batch); bench_end(&b);           // nothing may be left
 */
#ifndef CORE_TEST_H
#define CORE_TEST_H

#include "base/mem.h"
#include "core/dispatcher.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define BENCH_MAX 4096
#define MS(n)     ((n)*NS_PER_MS)

struct bench_result {
    struct core_batch *batch;
    uint64_t index, complete_index;
    enum weir_outcome outcome;
    enum weir_reason reason;
    int status;
    char message[200];
    uint32_t attempts, capacity_retries;
    duration_ns throttled_ns;
    struct instant submit_at, start_at, complete_at, deliver_at;
};

struct bench_start {
    struct core_batch *batch;
    uint64_t index;
    uint32_t number;
    struct instant at;
};

struct bench {
    struct dispatcher_host host; /* first */
    struct core_executor executor;
    struct core_observer observer;
    struct dispatcher *d;
    struct core_pool *pool;
    struct instant now, wake;

    struct core_attempt *running[BENCH_MAX]; /* started and not reported */
    size_t running_count, running_peak;
    struct core_attempt *cancelled[BENCH_MAX]; /* cancel() was called, report is due */
    size_t cancelled_count;
    bool cancel_is_mute; /* cancelled attempts wait for bench_report() */
    struct bench_start started[BENCH_MAX];
    size_t started_count;
    struct core_task *finished[BENCH_MAX]; /* of durable batches: to be committed */
    size_t finished_count;
    struct core_task *lent[BENCH_MAX];
    size_t lent_count;
    bool keep; /* delivered tasks are kept until bench_give_back() */
    struct bench_result results[BENCH_MAX];
    size_t result_count;
    size_t retrying, closed, released, closes;
    struct core_event events[BENCH_MAX]; /* without what they point to */
    size_t event_count;
    struct weir_error err;
};

/* The bench that an executor or observer stands in. */
#define BENCH_OF(member_ptr, member)                                                               \
    ((struct bench *)(void *)((char *)(member_ptr)-offsetof(struct bench, member)))

static void bench_start_attempt(struct core_executor *ex, struct core_attempt *a)
{
    struct bench *b = BENCH_OF(ex, executor);

    b->running[b->running_count++] = a;
    if (b->running_count > b->running_peak)
        b->running_peak = b->running_count;
    b->started[b->started_count++] = (struct bench_start){
        .batch = (struct core_batch *)(uintptr_t)a->payload,
        .index = a->index,
        .number = a->number,
        .at = b->now,
    };
}

static void bench_cancel(struct core_executor *ex, struct core_attempt *a)
{
    struct bench *b = BENCH_OF(ex, executor);

    assert_true(atomic_load(&a->cancelled));
    for (size_t i = 0; i < b->cancelled_count; i++)
        assert_ptr_not_equal(b->cancelled[i], a); /* once is enough */
    b->cancelled[b->cancelled_count++] = a;
}

static void bench_close(struct core_executor *ex)
{
    BENCH_OF(ex, executor)->closes++;
}

static const struct core_executor_ops bench_at_once = {.kind = "bench",
                                                       .cancels_at_once = true,
                                                       .start = bench_start_attempt,
                                                       .cancel = bench_cancel,
                                                       .close = bench_close};
static const struct core_executor_ops bench_asks = {.kind = "bench",
                                                    .cancels_at_once = false,
                                                    .start = bench_start_attempt,
                                                    .cancel = bench_cancel,
                                                    .close = bench_close};

static void bench_finished(struct dispatcher_host *h, struct core_batch *batch, struct core_task *t)
{
    struct bench *b = (struct bench *)(void *)h;

    (void)batch;
    b->finished[b->finished_count++] = t;
}

static void bench_retrying(struct dispatcher_host *h, struct core_batch *batch,
                           const struct core_task *t, duration_ns wait_ns)
{
    (void)batch;
    (void)t;
    assert_true(wait_ns >= 0);
    ((struct bench *)(void *)h)->retrying++;
}

static void bench_deliver(struct dispatcher_host *h, struct core_batch *batch, struct core_task *t)
{
    struct bench *b = (struct bench *)(void *)h;
    struct bench_result *r = &b->results[b->result_count++];

    *r = (struct bench_result){
        .batch = batch,
        .index = t->index,
        .complete_index = t->complete_index,
        .outcome = t->answer.outcome,
        .reason = t->answer.reason,
        .status = t->answer.status,
        .attempts = t->attempts,
        .capacity_retries = t->capacity_retries,
        .throttled_ns = t->throttled_ns,
        .submit_at = t->submit_at,
        .start_at = t->start_at,
        .complete_at = t->complete_at,
        .deliver_at = t->deliver_at,
    };
    snprintf(r->message, sizeof r->message, "%s", t->answer.message ? t->answer.message : "");
    b->lent[b->lent_count++] = t;
}

static void bench_closed(struct dispatcher_host *h, struct core_batch *batch)
{
    (void)batch;
    ((struct bench *)(void *)h)->closed++;
}

static void bench_event(struct core_observer *o, const struct core_event *ev)
{
    struct bench *b = BENCH_OF(o, observer);

    if (b->event_count == BENCH_MAX)
        return;
    b->events[b->event_count] = *ev;
    b->events[b->event_count].answer = NULL;
    b->event_count++;
}

static const struct core_observer_ops bench_observer_ops = {.event = bench_event};

static inline void bench_check(struct bench *b)
{
    const char *wrong = dispatcher_check(b->d);

    if (wrong)
        print_error("%s\n", wrong);
    assert_null(wrong);
}

/* With a limit over all pools; the pool is added by bench_init(). */
static inline void bench_init_limited(struct bench *b, const struct core_pool_options *o,
                                      bool cancels_at_once, size_t global_limit)
{
    struct core_pool_options defaults;
    struct dispatcher_options d = {.seed = 7, .global_limit = global_limit};

    memset(b, 0, sizeof *b);
    b->host = (struct dispatcher_host){.finished = bench_finished,
                                       .retrying = bench_retrying,
                                       .deliver = bench_deliver,
                                       .closed = bench_closed};
    b->observer.ops = &bench_observer_ops;
    b->executor.ops = cancels_at_once ? &bench_at_once : &bench_asks;
    b->now = (struct instant){1000 * NS_PER_S};
    d.host = &b->host;
    d.observer = &b->observer;
    core_pool_options_init(&defaults);
    defaults.gate.throttle.kind = THROTTLE_AIMD; /* waits that can be said beforehand */
    assert_int_equal(dispatcher_new(&d, &b->d, &b->err), WEIR_OK);
    assert_int_equal(dispatcher_add_pool(b->d, o ? o : &defaults, &b->executor, &b->pool, &b->err),
                     WEIR_OK);
}

static inline void bench_init(struct bench *b, const struct core_pool_options *o,
                              bool cancels_at_once)
{
    bench_init_limited(b, o, cancels_at_once, 0);
}

static inline struct core_batch *bench_open_in(struct bench *b, struct core_pool *pool,
                                               const struct core_batch_options *o)
{
    struct core_batch_options defaults;
    struct core_batch *batch;

    core_batch_options_init(&defaults);
    assert_int_equal(
        dispatcher_open_batch(b->d, pool, o ? o : &defaults, b, b->now, &batch, &b->err), WEIR_OK);
    return batch;
}

static inline struct core_batch *bench_open(struct bench *b, const struct core_batch_options *o)
{
    return bench_open_in(b, b->pool, o);
}

static void bench_release(struct core_task *t)
{
    struct bench *b = core_batch_owner(t->batch);

    b->released++;
    task_clear(t);
    mem_free(t);
}

static inline struct core_task *bench_row(struct core_batch *batch, uint64_t index)
{
    struct core_task *t = mem_alloc(sizeof *t);

    assert_non_null(t);
    task_init(t);
    t->index = index;
    t->key = "key";
    t->payload = batch; /* so that a start tells whose it is */
    t->release = bench_release;
    return t;
}

static inline void bench_submit(struct bench *b, struct core_batch *batch, struct core_task *t)
{
    assert_int_equal(dispatcher_submit(b->d, batch, t, b->now, &b->err), WEIR_OK);
}

/* Rows 0 to n - 1, and the end. */
static inline void bench_add_rows(struct bench *b, struct core_batch *batch, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        bench_submit(b, batch, bench_row(batch, i));
    dispatcher_end(b->d, batch, b->now);
}

static inline void bench_give_back(struct bench *b)
{
    for (size_t i = 0; i < b->lent_count; i++)
        dispatcher_give_back(b->d, b->lent[i]);
    b->lent_count = 0;
}

/* Hands an attempt back; a->answer is filled in. */
static inline void bench_report(struct bench *b, struct core_attempt *a)
{
    for (size_t i = 0; i < b->running_count; i++) {
        if (b->running[i] == a) {
            b->running[i] = b->running[--b->running_count];
            break;
        }
    }
    dispatcher_report(b->d, a, b->now);
}

/* A turn of the loop. */
static inline void bench_run(struct bench *b)
{
    for (;;) {
        b->wake = dispatcher_run(b->d, b->now);
        bench_check(b);
        if (b->cancelled_count == 0 || b->cancel_is_mute)
            break;
        while (b->cancelled_count > 0)
            bench_report(b, b->cancelled[--b->cancelled_count]);
    }
    assert_true(instant_before(b->now, b->wake));
    if (!b->keep)
        bench_give_back(b);
}

static inline void bench_advance(struct bench *b, duration_ns by)
{
    struct instant until = instant_add(b->now, by);

    while (!instant_before(until, b->wake)) {
        b->now = b->wake;
        bench_run(b);
    }
    b->now = until;
    bench_run(b);
}

/* The attempt of a row that runs, or NULL. Of the batch that was opened first, when several have the row. */
static inline struct core_attempt *bench_running(struct bench *b, uint64_t index)
{
    for (size_t i = 0; i < b->running_count; i++) {
        if (b->running[i]->index == index)
            return b->running[i];
    }
    return NULL;
}

static inline void bench_end_as(struct bench *b, struct core_attempt *a, enum weir_outcome outcome,
                                int status, bool retryable)
{
    assert_non_null(a);
    a->answer.outcome = outcome;
    a->answer.reason = outcome == WEIR_OUTCOME_OK ? WEIR_REASON_NONE : WEIR_REASON_HTTP_STATUS;
    a->answer.status = status;
    a->answer.retryable = retryable;
    bench_report(b, a);
    bench_run(b);
}

static inline void bench_ok(struct bench *b, uint64_t index)
{
    bench_end_as(b, bench_running(b, index), WEIR_OUTCOME_OK, 200, false);
}

static inline void bench_refuse(struct bench *b, uint64_t index)
{
    bench_end_as(b, bench_running(b, index), WEIR_OUTCOME_CAPACITY, 429, false);
}

static inline void bench_fail(struct bench *b, uint64_t index)
{
    bench_end_as(b, bench_running(b, index), WEIR_OUTCOME_FAILED, 500, true);
}

static inline void bench_commit(struct bench *b, struct core_task *t)
{
    dispatcher_committed(b->d, t, b->now);
    bench_run(b);
}

/* Everything that runs ends well, until nothing does. */
static inline void bench_finish_all(struct bench *b)
{
    for (int turn = 0; turn < 100000; turn++) {
        while (b->running_count > 0)
            bench_end_as(b, b->running[0], WEIR_OUTCOME_OK, 200, false);
        if (instant_is_never(b->wake))
            return;
        b->now = b->wake;
        bench_run(b);
    }
    fail();
}

static inline struct core_stats bench_stats(const struct core_batch *batch)
{
    struct core_stats s;

    dispatcher_batch_stats(batch, &s);
    return s;
}

static inline struct core_stats bench_pool_stats(const struct bench *b)
{
    struct core_stats s;

    dispatcher_pool_stats(b->pool, &s);
    return s;
}

static inline size_t bench_count(const struct bench *b, enum core_event_kind kind)
{
    size_t n = 0;

    for (size_t i = 0; i < b->event_count; i++)
        n += b->events[i].kind == kind;
    return n;
}

/* Frees a batch that is through. */
static inline void bench_free(struct bench *b, struct core_batch *batch)
{
    if (b->d && batch) {
        bench_give_back(b);
        assert_true(dispatcher_batch_closed(batch));
        assert_true(dispatcher_batch_idle(batch));
        dispatcher_free_batch(b->d, batch);
    }
}

static inline void bench_end(struct bench *b)
{
    assert_int_equal(b->running_count, 0);
    assert_int_equal(dispatcher_running(b->d), 0);
    dispatcher_free(b->d);
    assert_int_equal(b->closes, 1);
    b->d = NULL;
}

#endif
