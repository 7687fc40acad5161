/*
 * Limits that change while attempts run, of pools and of all, and pools that are taken away. In
 * virtual time.
 */
#include "crew_test.h"

#include "base/error.h"

static struct bench bench;
static struct crew_bench crew_bench;
static const struct core_pool *gone;
static size_t gone_count;

static void on_gone(struct dispatcher_host *h, struct core_pool *p)
{
    (void)h;
    gone = p;
    gone_count++;
}

static struct core_batch *begin(size_t size, uint64_t rows)
{
    struct core_pool_options o;
    struct core_batch *batch;

    core_pool_options_init(&o);
    o.size = size;
    o.gate.throttle.kind = THROTTLE_AIMD;
    bench_init(&bench, &o, true);
    bench.host.pool_gone = on_gone;
    gone = NULL;
    gone_count = 0;
    batch = bench_open(&bench, NULL);
    bench_add_rows(&bench, batch, rows);
    bench_run(&bench);
    return batch;
}

static void end(struct core_batch *batch)
{
    bench_finish_all(&bench);
    bench_free(&bench, batch);
    bench_end(&bench);
}

static void set(size_t size)
{
    assert_int_equal(dispatcher_set_pool_limit(bench.d, bench.pool, size, bench.now, &bench.err),
                     WEIR_OK);
    bench_check(&bench);
    bench_run(&bench);
}

static void a_raised_limit_starts_more_at_once(void **state)
{
    struct core_batch *batch = begin(1, 5);

    (void)state;
    assert_int_equal(bench.running_count, 1);
    set(3);
    assert_int_equal(bench.running_count, 3);
    assert_int_equal(core_pool_get_options(bench.pool)->size, 3);
    assert_int_equal(bench_stats(batch).pool_size, 3);
    assert_int_equal(bench_pool_stats(&bench).pool_size, 3);
    end(batch);
    assert_int_equal(bench.result_count, 5);
}

static void a_lowered_limit_lets_finish_and_starts_none(void **state)
{
    struct core_batch *batch = begin(4, 10);

    (void)state;
    set(2);
    assert_int_equal(bench.running_count, 4);
    bench_ok(&bench, 0);
    assert_int_equal(bench.running_count, 3);
    bench_ok(&bench, 1);
    assert_int_equal(bench.running_count, 2);
    bench_ok(&bench, 2);
    assert_int_equal(bench.running_count, 2); /* there is room again */
    assert_int_equal(bench.started_count, 5);
    end(batch);
    assert_int_equal(bench.result_count, 10);
}

static void attempts_stay_where_they_are_when_there_are_to_be_more(void **state)
{
    struct core_batch *batch = begin(1, 200);
    struct core_attempt *first = bench_running(&bench, 0);

    (void)state;
    for (size_t size = 2; size <= 128; size *= 2)
        set(size);
    assert_int_equal(bench.running_count, 128);
    assert_ptr_equal(bench_running(&bench, 0), first);
    set(1);
    set(64); /* what there was is used again */
    end(batch);
    assert_int_equal(bench.result_count, 200);
}

static void the_limit_over_all_pools_changes(void **state)
{
    struct core_batch *batch = begin(4, 20);

    (void)state;
    dispatcher_set_global_limit(bench.d, 2);
    bench_run(&bench);
    assert_int_equal(dispatcher_permits(bench.d)->running, 4);
    for (uint64_t i = 0; i < 3; i++)
        bench_ok(&bench, i);
    assert_int_equal(bench.running_count, 2);
    dispatcher_set_global_limit(bench.d, 3);
    bench_run(&bench);
    assert_int_equal(bench.running_count, 3);
    dispatcher_set_global_limit(bench.d, 0);
    bench_run(&bench);
    assert_int_equal(bench.running_count, 4);
    end(batch);
}

static void a_limit_that_cannot_be_is_refused(void **state)
{
    struct core_batch *batch = begin(1, 2);

    (void)state;
    assert_int_equal(dispatcher_set_pool_limit(bench.d, bench.pool, 0, bench.now, &bench.err),
                     WEIR_E_INVALID);
    assert_int_equal(
        dispatcher_set_pool_limit(bench.d, bench.pool, POOL_SIZE_MAX + 1, bench.now, &bench.err),
        WEIR_E_INVALID);
    mem_fail_at(1);
    assert_int_equal(dispatcher_set_pool_limit(bench.d, bench.pool, 100, bench.now, &bench.err),
                     WEIR_E_NOMEM);
    mem_fail_at(0);
    bench_run(&bench);
    assert_int_equal(bench.running_count, 1);
    end(batch);
}

static size_t resized_to;

static enum weir_status resize(struct core_executor *ex, size_t size, struct weir_error *err)
{
    (void)ex;
    if (size > 4)
        return error_set(err, WEIR_E_INVALID, "at most 4");
    resized_to = size;
    return WEIR_OK;
}

static void an_executor_is_told_and_may_refuse(void **state)
{
    struct core_batch *batch = begin(1, 9);
    struct core_executor_ops ops = *bench.executor.ops;

    (void)state;
    ops.resize = resize;
    bench.executor.ops = &ops;
    set(4);
    assert_int_equal(resized_to, 4);
    assert_int_equal(dispatcher_set_pool_limit(bench.d, bench.pool, 5, bench.now, &bench.err),
                     WEIR_E_INVALID);
    assert_string_equal(bench.err.message, "at most 4");
    bench_run(&bench);
    assert_int_equal(bench.running_count, 4);
    end(batch);
}

static void a_pool_may_burst_and_pays_back(void **state)
{
    struct core_batch *batch = begin(2, 100);
    struct permit_account *account = core_pool_permits(bench.pool);

    (void)state;
    permit_settle(account, bench.now);
    account->burst.places = 1;
    account->burst.seconds = 10;
    bench_run(&bench);
    assert_int_equal(bench.running_count, 3); /* more than there were slots for */
    assert_int_equal(bench.wake.ns, instant_add(bench.now, 10 * NS_PER_S).ns);
    bench_advance(&bench, 10 * NS_PER_S);
    bench_ok(&bench, 0);
    bench_ok(&bench, 1);
    assert_int_equal(bench.running_count, 1);
    bench_advance(&bench, 10 * NS_PER_S + NS_PER_MS);
    assert_int_equal(bench.running_count, 3);
    account->burst.places = 0;
    end(batch);
}

/* ---- pools of workers ---- */

static void begin_crew(size_t size, size_t overflow, uint32_t in_flight)
{
    struct crew_options crew;
    struct core_pool_options pool;

    crew_bench_crew_options(&crew, size);
    crew.overflow = overflow;
    crew.max_in_flight = in_flight;
    crew_bench_pool_options(&pool, (size + overflow) * in_flight);
    crew_bench_init(&crew_bench, &crew, &pool);
    crew_bench.says_takes = in_flight;
    crew_bench.b.host.pool_gone = on_gone;
    gone = NULL;
    gone_count = 0;
    crew_bench_run(&crew_bench);
}

static void set_crew(size_t size)
{
    struct bench *b = &crew_bench.b;

    assert_int_equal(dispatcher_set_pool_limit(b->d, b->pool, size, b->now, &b->err), WEIR_OK);
    bench_check(b);
    crew_bench_run(&crew_bench);
}

static void the_workers_follow_the_limit(void **state)
{
    struct core_batch *batch;

    (void)state;
    begin_crew(2, 0, 1);
    batch = bench_open(&crew_bench.b, NULL);
    bench_add_rows(&crew_bench.b, batch, 30);
    crew_bench_run(&crew_bench);
    assert_int_equal(crew_bench.b.running_count, 2);
    set_crew(5);
    assert_int_equal(crew_bench.b.running_count, 5);
    assert_int_equal(crew_counts(crew_bench.crew).workers, 5);
    set_crew(1);
    assert_int_equal(crew_bench.b.running_count, 5); /* busy ones go on */
    for (uint64_t i = 0; i < 5; i++)
        crew_bench_ok(&crew_bench, i);
    assert_int_equal(crew_bench.b.running_count, 1);
    assert_int_equal(crew_counts(crew_bench.crew).workers, 1);
    crew_bench_finish_all(&crew_bench);
    assert_int_equal(crew_bench.b.result_count, 30);
    bench_free(&crew_bench.b, batch);
    crew_bench_end(&crew_bench);
}

static void workers_are_as_many_as_the_requests_need_less_the_extra_ones(void **state)
{
    (void)state;
    begin_crew(2, 1, 4);
    set_crew(13); /* four workers, one of them extra */
    assert_int_equal(crew_get_options(crew_bench.crew)->size, 3);
    set_crew(12);
    assert_int_equal(crew_get_options(crew_bench.crew)->size, 2);
    set_crew(1);
    assert_int_equal(crew_get_options(crew_bench.crew)->size, 1);
    assert_int_equal(dispatcher_set_pool_limit(crew_bench.b.d, crew_bench.b.pool,
                                               (size_t)4 * CREW_WORKERS_MAX + 1, crew_bench.b.now,
                                               &crew_bench.b.err),
                     WEIR_E_INVALID);
    crew_bench_end(&crew_bench);
}

/* ---- pools that go ---- */

static void remove_it(struct bench *b)
{
    dispatcher_remove_pool(b->d, b->pool, b->now);
    bench_check(b);
}

static void an_idle_pool_goes_at_once(void **state)
{
    struct core_batch *batch = begin(2, 1);
    struct core_pool *pool = bench.pool;

    (void)state;
    bench_ok(&bench, 0);
    bench_free(&bench, batch);
    remove_it(&bench);
    remove_it(&bench);
    bench_run(&bench);
    assert_ptr_equal(gone, pool);
    assert_int_equal(gone_count, 1);
    assert_int_equal(bench.closes, 1);
    bench_run(&bench);
    dispatcher_free(bench.d);
    assert_int_equal(bench.closes, 1);
}

static void a_pool_goes_when_nothing_of_it_runs_and_its_batches_are_freed(void **state)
{
    struct core_batch *batch = begin(1, 3), *other;

    (void)state;
    remove_it(&bench);
    assert_int_equal(dispatcher_open_batch(bench.d, bench.pool, &batch->options, NULL, bench.now,
                                           &other, &bench.err),
                     WEIR_E_SHUTDOWN);
    assert_int_equal(dispatcher_set_pool_limit(bench.d, bench.pool, 2, bench.now, &bench.err),
                     WEIR_E_SHUTDOWN);
    bench_ok(&bench, 0);
    assert_int_equal(bench.running_count, 0); /* nothing more starts */
    assert_int_equal(gone_count, 0);
    dispatcher_stop(bench.d, batch, false, bench.now);
    bench_run(&bench);
    assert_int_equal(gone_count, 0);
    bench_free(&bench, batch);
    bench_run(&bench);
    assert_int_equal(gone_count, 1);
    dispatcher_free(bench.d);
}

static void offers_to_a_pool_that_goes_are_held(void **state)
{
    struct core_batch_options o;
    struct core_offer offer;
    struct core_batch *batch = begin(1, 0), *single;
    struct core_task *t;

    (void)state;
    core_batch_options_init(&o);
    o.single = o.unordered = true;
    single = bench_open(&bench, &o);
    remove_it(&bench);
    t = bench_row(single, 0);
    assert_int_equal(dispatcher_offer(bench.d, single, t, NULL, bench.now, &offer, &bench.err),
                     WEIR_OK);
    assert_int_equal(offer.result, OFFER_HELD);
    mem_free(t);
    dispatcher_end(bench.d, single, bench.now);
    bench_free(&bench, single);
    bench_free(&bench, batch);
    bench_run(&bench);
    assert_int_equal(gone_count, 1);
    dispatcher_free(bench.d);
}

static void a_pool_of_workers_goes_when_they_are_gone(void **state)
{
    struct bench *b = &crew_bench.b;
    struct core_batch *batch;
    struct core_attempt *a;

    (void)state;
    begin_crew(3, 0, 1);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    crew_bench_run(&crew_bench);
    remove_it(b);
    bench_run(b);
    assert_int_equal(crew_bench.ending_count, 2); /* not the one that is busy */
    a = bench_running(b, 0);
    a->answer.outcome = WEIR_OUTCOME_OK;
    crew_bench_report(&crew_bench, a, CREW_ANSWER_OK);
    bench_free(b, batch);
    bench_run(b);
    assert_int_equal(crew_bench.ending_count, 3);
    assert_int_equal(gone_count, 0);
    assert_true(crew_bench_work(&crew_bench));
    bench_run(b);
    assert_int_equal(gone_count, 1);
    assert_int_equal(dispatcher_workers(b->d), 0);
    assert_true(crew_is_empty(crew_bench.crew));
    dispatcher_free(b->d);
    crew_free(crew_bench.crew);
}

static void a_fallback_that_goes_takes_no_more_rows(void **state)
{
    struct core_batch *batch = begin(1, 0), *last;
    struct core_pool_options o = *core_pool_get_options(bench.pool);
    struct core_pool *own;

    (void)state;
    o.name = "own";
    o.breaker.on = true;
    o.breaker.failures = 1;
    assert_int_equal(dispatcher_add_pool(bench.d, &o, &bench.executor, &own, &bench.err), WEIR_OK);
    assert_int_equal(dispatcher_set_fallback(bench.d, own, bench.pool, &bench.err), WEIR_OK);
    last = bench_open_in(&bench, own, NULL);
    bench_add_rows(&bench, last, 2);
    bench_run(&bench);
    remove_it(&bench);
    bench_fail(&bench, 0); /* the breaker opens */
    assert_int_equal(bench_stats(last).failed_over, 0);
    bench_free(&bench, batch);
    bench_run(&bench);
    assert_int_equal(gone_count, 0); /* a batch may have rows there */
    bench_finish_all(&bench);
    bench_free(&bench, last);
    bench_run(&bench);
    assert_int_equal(gone_count, 1);
    assert_int_equal(dispatcher_set_fallback(bench.d, own, NULL, &bench.err), WEIR_OK);
    dispatcher_free(bench.d);
    assert_int_equal(bench.closes, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_raised_limit_starts_more_at_once),
        cmocka_unit_test(a_lowered_limit_lets_finish_and_starts_none),
        cmocka_unit_test(attempts_stay_where_they_are_when_there_are_to_be_more),
        cmocka_unit_test(the_limit_over_all_pools_changes),
        cmocka_unit_test(a_limit_that_cannot_be_is_refused),
        cmocka_unit_test(an_executor_is_told_and_may_refuse),
        cmocka_unit_test(a_pool_may_burst_and_pays_back),
        cmocka_unit_test(the_workers_follow_the_limit),
        cmocka_unit_test(workers_are_as_many_as_the_requests_need_less_the_extra_ones),
        cmocka_unit_test(an_idle_pool_goes_at_once),
        cmocka_unit_test(a_pool_goes_when_nothing_of_it_runs_and_its_batches_are_freed),
        cmocka_unit_test(offers_to_a_pool_that_goes_are_held),
        cmocka_unit_test(a_pool_of_workers_goes_when_they_are_gone),
        cmocka_unit_test(a_fallback_that_goes_takes_no_more_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
