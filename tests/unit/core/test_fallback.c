/*
 * The fallback pool: rows that fail over, and rows whose pool's breaker is open.
 */
#include "crew_test.h"

#include "core/worker/recovery.h"

static struct bench bench;
static struct core_executor other_executor;
static struct core_pool *other;

static void close_other(struct core_executor *ex)
{
    (void)ex;
}

/* Attempts of the other pool are the bench's too. */
static void start_other(struct core_executor *ex, struct core_attempt *a)
{
    (void)ex;
    bench_start_attempt(&bench.executor, a);
}

static void cancel_other(struct core_executor *ex, struct core_attempt *a)
{
    (void)ex;
    bench_cancel(&bench.executor, a);
}

static const struct core_executor_ops other_ops = {.kind = "other",
                                                   .cancels_at_once = true,
                                                   .start = start_other,
                                                   .cancel = cancel_other,
                                                   .close = close_other};

static struct core_pool_options options(size_t size)
{
    struct core_pool_options o;

    core_pool_options_init(&o);
    o.size = size;
    o.backoff.jitter = 0;
    o.gate.throttle.kind = THROTTLE_AIMD;
    o.recovery = recovery_table();
    return o;
}

static struct core_batch *begin(const struct core_pool_options *o,
                                const struct core_pool_options *of_other, uint64_t rows)
{
    struct bench *b = &bench;
    struct core_pool_options defaults = options(4);
    struct core_batch *batch;

    bench_init(b, o ? o : &defaults, true);
    other_executor = (struct core_executor){.ops = &other_ops};
    assert_int_equal(dispatcher_add_pool(b->d, of_other ? of_other : &defaults, &other_executor,
                                         &other, &b->err),
                     WEIR_OK);
    assert_int_equal(dispatcher_set_fallback(b->d, b->pool, other, &b->err), WEIR_OK);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, rows);
    bench_run(b);
    return batch;
}

static void end(struct core_batch *batch)
{
    bench_finish_all(&bench);
    bench_free(&bench, batch);
    bench_end(&bench);
}

static struct core_pool *pool_of(struct core_attempt *a)
{
    assert_non_null(a);
    return ((struct core_attempt_slot *)(void *)a)->pool;
}

static struct core_stats stats_of(struct core_pool *p)
{
    struct core_stats s;

    dispatcher_pool_stats(p, &s);
    return s;
}

static void fail_for_good(uint64_t index)
{
    bench_end_as(&bench, bench_running(&bench, index), WEIR_OUTCOME_FAILED, 400, false);
}

static void what_fails_for_good_has_one_attempt_in_the_fallback_pool(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch = begin(NULL, NULL, 2);

    (void)state;
    assert_ptr_equal(pool_of(bench_running(b, 0)), b->pool);
    fail_for_good(0);
    assert_ptr_equal(pool_of(bench_running(b, 0)), other);
    assert_int_equal(bench_running(b, 0)->number, 2);
    bench_ok(b, 0);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_OK);
    assert_int_equal(b->results[0].attempts, 2);
    assert_int_equal(stats_of(other).attempts, 1);
    assert_int_equal(stats_of(b->pool).attempts, 2);
    assert_int_equal(stats_of(b->pool).failed_over, 1);
    assert_int_equal(stats_of(b->pool).accepted, 2);
    assert_int_equal(stats_of(other).accepted, 0);
    assert_int_equal(bench_count(b, EVENT_TASK_FAILED_OVER), 1);
    bench_finish_all(b);
    assert_int_equal(stats_of(other).running, 0);
    end(batch);
}

static void its_end_there_is_the_result_whatever_it_is(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch = begin(NULL, NULL, 2);

    (void)state;
    fail_for_good(0);
    bench_fail(b, 0); /* that may pass; but it was the one attempt */
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(b->results[0].attempts, 2);
    fail_for_good(1);
    fail_for_good(1);
    assert_int_equal(b->results[1].attempts, 2);
    end(batch);
}

static void a_refusal_there_is_no_attempt_and_it_is_tried_there_again(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch = begin(NULL, NULL, 1);

    (void)state;
    fail_for_good(0);
    bench_refuse(b, 0);
    assert_int_equal(stats_of(other).refused, 1);
    assert_int_equal(stats_of(b->pool).refused, 0);
    bench_advance(b, NS_PER_S);
    assert_ptr_equal(pool_of(bench_running(b, 0)), other);
    bench_ok(b, 0);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_OK);
    end(batch);
}

static void with_one_attempt_allowed_there_is_no_second_anywhere(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = options(4);
    struct core_batch *batch;

    (void)state;
    o.max_attempts = 1;
    batch = begin(&o, NULL, 1);
    fail_for_good(0);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_FAILED);
    end(batch);
}

static void without_a_fallback_pool_it_fails(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = options(1);
    struct core_batch *batch;

    (void)state;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    fail_for_good(0);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_FAILED);
    end(batch);
}

static void what_may_pass_is_retried_in_its_own_pool(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch = begin(NULL, NULL, 1);

    (void)state;
    bench_fail(b, 0);
    bench_advance(b, 2 * NS_PER_S);
    assert_ptr_equal(pool_of(bench_running(b, 0)), b->pool);
    end(batch);
}

static void a_row_that_could_never_run_there_stays(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options of_other = options(1);
    struct core_batch *batch;
    struct core_task *t;

    (void)state;
    of_other.gate.tokens_per_minute = 10;
    batch = begin(NULL, &of_other, 0);
    bench_free(b, batch);
    batch = bench_open(b, NULL);
    t = bench_row(batch, 0);
    t->tokens = 11;
    bench_submit(b, batch, t);
    dispatcher_end(b->d, batch, b->now);
    bench_run(b);
    fail_for_good(0);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_FAILED);
    end(batch);
}

/* The pool's breaker is open. */
static struct core_batch *begin_open(const struct core_pool_options *of_other, uint64_t rows)
{
    struct bench *b = &bench;
    struct core_pool_options o = options(4);
    struct core_batch *batch;

    o.breaker.on = true;
    o.max_attempts = 1;
    batch = begin(&o, of_other, rows);
    for (uint64_t i = 0; i < 5; i++)
        bench_fail(b, i);
    assert_int_equal(stats_of(b->pool).breaker, BREAKER_OPEN);
    return batch;
}

static void while_the_breaker_is_open_ready_rows_go_there_in_order(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch = begin_open(NULL, 20);

    (void)state;
    for (uint64_t i = 5; i < 8; i++)
        bench_ok(b, i);
    assert_int_equal(b->running_count, 4);
    for (uint64_t i = 8; i < 12; i++)
        assert_ptr_equal(pool_of(bench_running(b, i)), other);
    assert_int_equal(bench_stats(batch).failed_over, 12);
    for (uint64_t i = 8; i < 20; i++)
        bench_ok(b, i);
    assert_int_equal(b->result_count, 20);
    assert_int_equal(stats_of(other).attempts, 12);
    end(batch);
}

static void rows_of_both_pools_go_in_turn_there(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options of_other = options(1);
    struct core_batch *batch = begin_open(&of_other, 20), *own;
    size_t from, of_own = 0;

    (void)state;
    own = bench_open_in(b, other, NULL);
    bench_add_rows(b, own, 6);
    bench_run(b);
    for (uint64_t i = 5; i < 8; i++)
        bench_end_as(b, bench_running(b, i), WEIR_OUTCOME_OK, 200, false);
    from = b->started_count;
    for (int i = 0; i < 8; i++)
        bench_end_as(b, b->running[0], WEIR_OUTCOME_OK, 200, false);
    for (size_t i = from; i < b->started_count; i++)
        of_own += b->started[i].batch == own;
    assert_int_equal(b->started_count - from, 8);
    assert_int_equal(of_own, 4);
    bench_finish_all(b);
    bench_free(b, own);
    end(batch);
}

static void where_that_breaker_is_open_too_rows_wait_or_fail(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options of_other = options(4);
    struct core_batch *batch;

    (void)state;
    of_other.breaker.on = true;
    of_other.max_attempts = 1;
    batch = begin_open(&of_other, 20);
    for (uint64_t i = 5; i < 8; i++)
        bench_ok(b, i);
    for (uint64_t i = 8; i < 13; i++)
        bench_fail(b, i);
    assert_int_equal(stats_of(other).breaker, BREAKER_OPEN);
    assert_int_equal(b->running_count, 3);
    for (uint64_t i = 13; i < 16; i++)
        bench_ok(b, i);
    assert_int_equal(b->running_count, 0);
    assert_int_equal(bench_stats(batch).ready, 4);
    end(batch);
    assert_int_equal(b->result_count, 20);
}

static void stop_and_deadline_reach_what_is_away(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch = begin_open(NULL, 20);

    (void)state;
    assert_int_equal(b->running_count, 7);
    dispatcher_stop(b->d, batch, true, b->now);
    bench_run(b);
    assert_int_equal(b->running_count, 0);
    assert_int_equal(b->closed, 1);
    end(batch);
}

static void a_pool_is_not_its_own_fallback_nor_is_it_changed_under_a_batch(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch = begin(NULL, NULL, 1);

    (void)state;
    assert_int_equal(dispatcher_set_fallback(b->d, b->pool, b->pool, &b->err), WEIR_E_INVALID);
    assert_int_equal(dispatcher_set_fallback(b->d, b->pool, NULL, &b->err), WEIR_E_BUSY);
    bench_ok(b, 0);
    bench_free(b, batch);
    assert_int_equal(dispatcher_set_fallback(b->d, b->pool, NULL, &b->err), WEIR_OK);
    bench_end(b);
}

/* ---- with workers: a row keeps its session at home while it is away ---- */

static struct crew_bench crew_bench;

static void a_row_that_is_away_keeps_the_next_of_its_session_waiting(void **state)
{
    struct crew_bench *cb = &crew_bench;
    struct core_pool_options o;
    struct core_batch *batch;

    (void)state;
    crew_bench_pool_options(&o, 4);
    o.recovery = recovery_table();
    crew_bench_init(cb, NULL, &o);
    memset(&bench, 0, sizeof bench);
    bench.now = cb->b.now;
    other_executor = (struct core_executor){.ops = &other_ops};
    assert_int_equal(dispatcher_add_pool(cb->b.d, &o, &other_executor, &other, &cb->b.err),
                     WEIR_OK);
    assert_int_equal(dispatcher_set_fallback(cb->b.d, cb->b.pool, other, &cb->b.err), WEIR_OK);
    batch = bench_open(&cb->b, NULL);
    crew_bench_add(cb, batch, 0, "a");
    crew_bench_add(cb, batch, 1, "a");
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_run(cb);
    crew_bench_end_as(cb, bench_running(&cb->b, 0), WEIR_OUTCOME_FAILED, false);
    assert_int_equal(bench.running_count, 1); /* in the pool without workers */
    assert_null(bench.running[0]->worker);
    assert_int_equal(cb->b.running_count, 0);
    assert_int_equal(bench_stats(batch).queued, 1);
    bench.running[0]->answer.outcome = WEIR_OUTCOME_OK;
    dispatcher_report(cb->b.d, bench.running[0], cb->b.now);
    crew_bench_run(cb);
    assert_non_null(bench_running(&cb->b, 1));
    crew_bench_finish_all(cb);
    bench_free(&cb->b, batch);
    crew_bench_end(cb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fails_for_good_has_one_attempt_in_the_fallback_pool),
        cmocka_unit_test(its_end_there_is_the_result_whatever_it_is),
        cmocka_unit_test(a_refusal_there_is_no_attempt_and_it_is_tried_there_again),
        cmocka_unit_test(with_one_attempt_allowed_there_is_no_second_anywhere),
        cmocka_unit_test(without_a_fallback_pool_it_fails),
        cmocka_unit_test(what_may_pass_is_retried_in_its_own_pool),
        cmocka_unit_test(a_row_that_could_never_run_there_stays),
        cmocka_unit_test(while_the_breaker_is_open_ready_rows_go_there_in_order),
        cmocka_unit_test(rows_of_both_pools_go_in_turn_there),
        cmocka_unit_test(where_that_breaker_is_open_too_rows_wait_or_fail),
        cmocka_unit_test(stop_and_deadline_reach_what_is_away),
        cmocka_unit_test(a_pool_is_not_its_own_fallback_nor_is_it_changed_under_a_batch),
        cmocka_unit_test(a_row_that_is_away_keeps_the_next_of_its_session_waiting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
