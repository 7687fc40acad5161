/*
 * A pool whose places are workers with a life of their own: nothing starts without a worker, and
 * what becomes of it when the worker cannot take it, dies, or is not there at all. With a real
 * crew, in virtual time.
 */
#include "crew_test.h"

#include "core/worker/recovery.h"

static struct crew_bench bench;

static struct core_batch *begin(struct crew_bench *cb, const struct crew_options *crew,
                                const struct core_pool_options *pool)
{
    crew_bench_init(cb, crew, pool);
    return bench_open(&cb->b, NULL);
}

static void end(struct crew_bench *cb, struct core_batch *batch)
{
    crew_bench_finish_all(cb);
    bench_free(&cb->b, batch);
    crew_bench_end(cb);
}

static void nothing_starts_before_there_is_a_worker_and_what_waits_holds_no_permit(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb, NULL, NULL);

    (void)state;
    cb->sleepy = true;
    bench_add_rows(&cb->b, batch, 3);
    crew_bench_run(cb);
    assert_int_equal(cb->b.running_count, 0);
    assert_int_equal(dispatcher_running(cb->b.d), 0);
    assert_int_equal(bench_stats(batch).ready, 3);
    cb->sleepy = false;
    crew_bench_run(cb);
    assert_int_equal(cb->b.running_count, 2);
    assert_int_equal(bench_running(&cb->b, 0)->worker->in_flight, 1);
    end(cb, batch);
    assert_int_equal(cb->b.result_count, 3);
}

static void what_its_worker_could_not_be_given_goes_to_another_and_does_not_count(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb, NULL, NULL);
    struct core_attempt *a;
    struct worker *w;

    (void)state;
    bench_add_rows(&cb->b, batch, 3);
    crew_bench_run(cb);
    a = bench_running(&cb->b, 0);
    w = a->worker;
    a->not_begun = true;
    crew_bench_report(cb, a, CREW_ANSWER_NONE);
    crew_bench_gone(cb, w, "its pipe is closed");
    crew_bench_run(cb);
    a = bench_running(&cb->b, 0); /* before row 2, which came later */
    assert_int_equal(a->number, 1);
    assert_ptr_equal(bench_running(&cb->b, 2), NULL);
    assert_int_equal(bench_count(&cb->b, EVENT_ATTEMPT_TAKEN_BACK), 1);
    assert_int_equal(bench_count(&cb->b, EVENT_ATTEMPT_ENDED), 0);
    assert_int_equal(bench_stats(batch).attempts, 2);
    crew_bench_ok(cb, 0);
    assert_int_equal(cb->b.results[0].attempts, 1);
    end(cb, batch);
    assert_int_equal(bench_count(&cb->b, EVENT_ATTEMPT_ENDED), 3);
}

static void a_retry_that_could_not_be_given_is_the_same_retry_again(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb, NULL, NULL);
    struct core_attempt *a;

    (void)state;
    bench_add_rows(&cb->b, batch, 1);
    crew_bench_run(cb);
    crew_bench_fail(cb, 0);
    crew_bench_advance(cb, NS_PER_S);
    a = bench_running(&cb->b, 0);
    assert_int_equal(a->number, 2);
    a->not_begun = true;
    crew_bench_report(cb, a, CREW_ANSWER_NONE);
    crew_bench_run(cb);
    assert_int_equal(bench_running(&cb->b, 0)->number, 2);
    end(cb, batch);
    assert_int_equal(cb->b.results[0].attempts, 2);
}

static void a_row_that_was_not_begun_of_a_stopped_batch_is_dropped(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb, NULL, NULL);
    struct core_attempt *a;

    (void)state;
    bench_add_rows(&cb->b, batch, 1);
    crew_bench_run(cb);
    dispatcher_stop(cb->b.d, batch, false, cb->b.now);
    a = bench_running(&cb->b, 0);
    a->not_begun = true;
    crew_bench_report(cb, a, CREW_ANSWER_NONE);
    crew_bench_run(cb);
    assert_int_equal(cb->b.closed, 1);
    assert_int_equal(cb->b.result_count, 0);
    end(cb, batch);
}

static void a_request_that_timed_out_costs_its_worker_its_life_and_is_tried_again(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_pool_options o;
    struct core_batch *batch;
    uint64_t worker;

    (void)state;
    crew_bench_pool_options(&o, 2);
    o.timeout_ns = 60 * NS_PER_S;
    o.recovery = recovery_table();
    batch = begin(cb, NULL, &o);
    bench_add_rows(&cb->b, batch, 1);
    crew_bench_run(cb);
    worker = crew_bench_worker_of(cb, 0);
    crew_bench_advance(cb, 60 * NS_PER_S);
    assert_null(crew_find(cb->crew, worker));
    assert_int_equal(crew_counts(cb->crew).workers, 2);
    crew_bench_advance(cb, 3 * NS_PER_S - 1);
    assert_int_equal(cb->b.running_count, 0);
    crew_bench_advance(cb, NS_PER_S); /* by a tenth more at the most, by chance */
    assert_int_equal(bench_running(&cb->b, 0)->number, 2);
    end(cb, batch);
}

static void a_row_that_failed_at_a_worker_is_tried_at_another_where_there_is_one(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb, NULL, NULL);
    uint64_t worker;

    (void)state;
    crew_bench_run(cb);
    crew_bench_add(cb, batch, 0, NULL);
    crew_bench_add(cb, batch, 1, "a");
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_run(cb);
    worker = crew_bench_worker_of(cb, 0);
    crew_bench_ok(cb, 1);
    crew_bench_fail(cb, 0); /* its worker is the one that was idle last, and would be first */
    crew_bench_advance(cb, 2 * NS_PER_S);
    assert_int_not_equal(crew_bench_worker_of(cb, 0), worker);
    worker = crew_bench_worker_of(cb, 0);
    crew_bench_kill(cb, 3 - worker);
    crew_bench_fail(cb, 0);
    crew_bench_advance(cb, 5 * NS_PER_S);
    assert_int_not_equal(crew_bench_worker_of(cb, 0), 0);
    end(cb, batch);
}

/* The first table of design 5, and the other: what failed, how soon and how often it is tried again. */
static void a_failure_is_tried_again_as_the_recovery_table_says(void **state)
{
    static const struct {
        enum weir_outcome outcome;
        enum weir_reason reason;
        bool retryable;
        uint32_t attempts; /* in all, with many allowed */
        duration_ns first_wait_ns;
    } cases[] = {
        {WEIR_OUTCOME_LOST, WEIR_REASON_CONNECTION_LOST, false, 6, 0},
        {WEIR_OUTCOME_FAILED, WEIR_REASON_CALLBACK, true, 0, NS_PER_S},
        {WEIR_OUTCOME_FAILED, WEIR_REASON_CALLBACK, false, 1, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct core_answer a = {.outcome = cases[i].outcome,
                                .reason = cases[i].reason,
                                .retryable = cases[i].retryable};
        struct crew_bench *cb = &bench;
        struct core_pool_options o;
        struct core_batch *batch;
        struct instant at;
        uint32_t attempts = 1;

        crew_bench_pool_options(&o, 2);
        o.max_attempts = 100;
        o.recovery = recovery_table();
        batch = begin(cb, NULL, &o);
        bench_add_rows(&cb->b, batch, 1);
        crew_bench_run(cb);
        at = cb->b.now;
        while (cb->b.running_count > 0) {
            struct core_attempt *attempt = cb->b.running[0];

            attempts = attempt->number;
            attempt->answer.outcome = a.outcome;
            attempt->answer.reason = a.reason;
            attempt->answer.retryable = a.retryable;
            crew_bench_report(cb, attempt, CREW_ANSWER_ERROR);
            crew_bench_run(cb);
            while (cb->b.running_count == 0 && bench_stats(batch).waiting > 0) {
                cb->b.now = cb->b.wake;
                crew_bench_run(cb);
            }
            if (attempts == 1 && cases[i].attempts != 1) {
                duration_ns waited = instant_diff(cb->b.now, at);

                assert_true(waited >= cases[i].first_wait_ns &&
                            waited <= cases[i].first_wait_ns + cases[i].first_wait_ns / 10);
            }
        }
        if (cases[i].attempts > 0)
            assert_int_equal(attempts, cases[i].attempts);
        else
            assert_true(attempts > 1 && attempts < 10);
        end(cb, batch);
    }
}

static void there_are_never_more_attempts_than_max_attempts_whatever_the_table_says(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_pool_options o;
    struct core_batch *batch;

    (void)state;
    crew_bench_pool_options(&o, 2);
    o.max_attempts = 2;
    o.recovery = recovery_table();
    batch = begin(cb, NULL, &o);
    bench_add_rows(&cb->b, batch, 1);
    crew_bench_run(cb);
    crew_bench_kill(cb, crew_bench_worker_of(cb, 0));
    assert_int_equal(bench_running(&cb->b, 0)->number, 2);
    crew_bench_kill(cb, crew_bench_worker_of(cb, 0));
    assert_int_equal(cb->b.results[0].outcome, WEIR_OUTCOME_LOST);
    assert_int_equal(cb->b.results[0].attempts, 2);
    end(cb, batch);
}

static void lose_as_bystander(struct crew_bench *cb)
{
    struct core_attempt *a = bench_running(&cb->b, 0);

    a->answer.outcome = WEIR_OUTCOME_LOST;
    a->answer.reason = WEIR_REASON_WORKER_LOST;
    a->answer.bystander = true;
    crew_bench_report(cb, a, CREW_ANSWER_NONE);
    crew_bench_run(cb);
}

static void what_is_lost_because_of_another_row_does_not_count_but_not_without_end(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_pool_options o;
    struct core_batch *batch;

    (void)state;
    crew_bench_pool_options(&o, 1);
    o.max_attempts = 2;
    batch = begin(cb, NULL, &o);
    bench_add_rows(&cb->b, batch, 1);
    crew_bench_run(cb);
    for (uint32_t i = 0; i < TASK_SPARED_MAX; i++) {
        lose_as_bystander(cb);
        assert_int_equal(bench_running(&cb->b, 0)->number, i + 2); /* at once */
    }
    lose_as_bystander(cb);
    assert_int_equal(cb->b.running_count, 0); /* it waits, as after any failure */
    crew_bench_advance(cb, 10 * NS_PER_S);
    lose_as_bystander(cb);
    assert_int_equal(cb->b.results[0].outcome, WEIR_OUTCOME_LOST);
    assert_int_equal(cb->b.results[0].attempts, TASK_SPARED_MAX + 2);
    end(cb, batch);
}

static void a_worker_that_takes_several_at_once_gets_them(void **state)
{
    struct crew_bench *cb = &bench;
    struct crew_options crew;
    struct core_pool_options o;
    struct core_batch *batch;

    (void)state;
    crew_bench_crew_options(&crew, 1);
    crew.max_in_flight = 4;
    crew_bench_pool_options(&o, 4);
    batch = begin(cb, &crew, &o);
    cb->says_takes = 3;
    bench_add_rows(&cb->b, batch, 8);
    crew_bench_run(cb);
    assert_int_equal(cb->b.running_count, 3);
    end(cb, batch);
    assert_int_equal(cb->b.running_peak, 3);
    assert_int_equal(cb->b.result_count, 8);
}

static void one_that_leaves_several_without_an_answer_goes_with_the_last(void **state)
{
    struct crew_bench *cb = &bench;
    struct crew_options crew;
    struct core_pool_options o;
    struct core_batch *batch;

    (void)state;
    crew_bench_crew_options(&crew, 1);
    crew.max_in_flight = 2;
    crew_bench_pool_options(&o, 2);
    batch = begin(cb, &crew, &o);
    cb->says_takes = 2;
    bench_add_rows(&cb->b, batch, 2);
    crew_bench_run(cb);
    for (uint64_t i = 0; i < 2; i++) {
        struct core_attempt *a = bench_running(&cb->b, i);

        a->answer.outcome = WEIR_OUTCOME_LOST;
        crew_bench_report(cb, a, CREW_ANSWER_NONE);
    }
    crew_bench_run(cb);
    assert_null(crew_find(cb->crew, 1));
    crew_bench_advance(cb, 2 * NS_PER_S);
    end(cb, batch);
}

static void overflow_workers_come_for_rows_that_wait_for_one_and_go_again(void **state)
{
    struct crew_bench *cb = &bench;
    struct crew_options crew;
    struct core_pool_options o;
    struct core_batch *batch;

    (void)state;
    crew_bench_crew_options(&crew, 1);
    crew.overflow = 2;
    crew_bench_pool_options(&o, 3);
    batch = begin(cb, &crew, &o);
    bench_add_rows(&cb->b, batch, 8);
    crew_bench_run(cb);
    assert_int_equal(cb->b.running_count, 3);
    assert_int_equal(crew_counts(cb->crew).workers, 3);
    crew_bench_finish_all(cb);
    crew_bench_advance(cb, 11 * NS_PER_S);
    assert_int_equal(crew_counts(cb->crew).workers, 1);
    end(cb, batch);
}

static void no_extra_worker_comes_where_the_pace_is_what_rows_wait_for(void **state)
{
    struct crew_bench *cb = &bench;
    struct crew_options crew;
    struct core_pool_options o;
    struct core_batch *batch;

    (void)state;
    crew_bench_crew_options(&crew, 1);
    crew.overflow = 5;
    crew_bench_pool_options(&o, 6);
    o.gate.min_dispatch_delay_ns = NS_PER_S;
    batch = begin(cb, &crew, &o);
    crew_bench_run(cb);
    bench_add_rows(&cb->b, batch, 4);
    crew_bench_run(cb);
    for (uint64_t i = 0; i < 4; i++) {
        crew_bench_ok(cb, i);
        crew_bench_advance(cb, NS_PER_S);
    }
    assert_int_equal(crew_counts(cb->crew).started, 1);
    end(cb, batch);
}

static void a_lazy_pool_has_no_worker_before_its_first_row(void **state)
{
    struct crew_bench *cb = &bench;
    struct crew_options crew;
    struct core_batch *batch;

    (void)state;
    crew_bench_crew_options(&crew, 2);
    crew.lazy = true;
    batch = begin(cb, &crew, NULL);
    crew_bench_run(cb);
    assert_int_equal(cb->spawns, 0);
    bench_add_rows(&cb->b, batch, 1);
    crew_bench_run(cb);
    assert_int_equal(cb->spawns, 1);
    end(cb, batch);
    assert_int_equal(cb->b.result_count, 1);
}

static void
workers_that_cannot_start_open_the_breaker_and_none_is_started_while_it_is_open(void **state)
{
    struct crew_bench *cb = &bench;
    struct crew_options crew;
    struct core_pool_options o;
    struct core_batch *batch;
    struct core_stats stats;
    uint64_t spawns;

    (void)state;
    crew_bench_crew_options(&crew, 1);
    crew_bench_pool_options(&o, 1);
    o.breaker.on = true;
    batch = begin(cb, &crew, &o);
    cb->broken = true;
    bench_add_rows(&cb->b, batch, 1);
    crew_bench_run(cb);
    crew_bench_advance(cb, (1 + 2 + 4) * NS_PER_S);
    assert_int_equal(cb->spawns, 4);
    assert_int_equal(bench_pool_stats(&cb->b).breaker, BREAKER_CLOSED);
    crew_bench_advance(cb, 8 * NS_PER_S);
    stats = bench_pool_stats(&cb->b);
    assert_int_equal(stats.breaker, BREAKER_OPEN);
    assert_int_equal(bench_count(&cb->b, EVENT_BREAKER_CHANGED), 1);
    spawns = cb->spawns;
    crew_bench_advance(cb, 60 * NS_PER_S - 1);
    assert_int_equal(cb->spawns, spawns);
    cb->broken = false;
    crew_bench_advance(cb, 10 * NS_PER_S);
    assert_int_equal(cb->b.running_count, 1);
    end(cb, batch);
}

static void a_program_that_stays_broken_opens_it_again_and_again(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_pool_options o;
    struct core_batch *batch;

    (void)state;
    crew_bench_pool_options(&o, 2);
    o.breaker.on = true;
    batch = begin(cb, NULL, &o);
    cb->broken = true;
    bench_add_rows(&cb->b, batch, 1);
    crew_bench_run(cb);
    crew_bench_advance(cb, 3600 * NS_PER_S);
    assert_true(bench_pool_stats(&cb->b).breaker_opened > 30);
    assert_true(cb->spawns < 100);
    cb->broken = false;
    crew_bench_advance(cb, 100 * NS_PER_S);
    end(cb, batch);
}

static void events_of_attempts_name_their_worker(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb, NULL, NULL);
    uint64_t worker, named = 0;

    (void)state;
    bench_add_rows(&cb->b, batch, 1);
    crew_bench_run(cb);
    worker = crew_bench_worker_of(cb, 0);
    crew_bench_ok(cb, 0);
    for (size_t i = 0; i < cb->b.event_count; i++) {
        const struct core_event *ev = &cb->b.events[i];

        if (ev->kind == EVENT_ATTEMPT_STARTED || ev->kind == EVENT_ATTEMPT_ENDED) {
            assert_int_equal(ev->worker, worker);
            named++;
        } else {
            assert_int_equal(ev->worker, 0);
        }
    }
    assert_int_equal(named, 2);
    end(cb, batch);
}

static void a_shut_down_pool_lets_its_workers_go(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb, NULL, NULL);

    (void)state;
    bench_add_rows(&cb->b, batch, 3);
    crew_bench_run(cb);
    dispatcher_shutdown(cb->b.d, false, cb->b.now);
    crew_bench_run(cb);
    assert_int_equal(dispatcher_workers(cb->b.d), 2);
    crew_bench_ok(cb, 0);
    assert_int_equal(dispatcher_workers(cb->b.d), 1);
    crew_bench_ok(cb, 1);
    assert_int_equal(dispatcher_workers(cb->b.d), 0);
    end(cb, batch);
    assert_int_equal(cb->b.result_count, 3);
}

static void a_held_pool_starts_nothing_until_it_is_let_go(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb, NULL, NULL);

    (void)state;
    crew_bench_run(cb);
    dispatcher_hold_pool(cb->b.pool, true, cb->b.now);
    bench_add_rows(&cb->b, batch, 2);
    crew_bench_run(cb);
    crew_bench_advance(cb, NS_PER_S);
    assert_int_equal(cb->b.running_count, 0);
    dispatcher_hold_pool(cb->b.pool, false, cb->b.now);
    crew_bench_run(cb);
    assert_int_equal(cb->b.running_count, 2);
    dispatcher_hold_pool(cb->b.pool, true, cb->b.now); /* what runs goes on */
    end(cb, batch);
    assert_int_equal(cb->b.result_count, 2);
}

static void a_call_waits_no_longer_than_the_checkout_timeout_for_any_worker(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_pool_options o;
    struct core_batch *batch;
    struct core_task *t;

    (void)state;
    crew_bench_pool_options(&o, 2);
    o.call_checkout_timeout_ns = 5 * NS_PER_S;
    batch = begin(cb, NULL, &o);
    for (uint64_t i = 0; i < 3; i++) {
        t = bench_row(batch, i);
        t->is_call = true;
        bench_submit(&cb->b, batch, t);
    }
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_run(cb);
    crew_bench_advance(cb, 5 * NS_PER_S);
    assert_int_equal(bench_stats(batch).finished, 1); /* those that run have no such limit */
    crew_bench_finish_all(cb);
    assert_int_equal(cb->b.results[2].reason, WEIR_REASON_CHECKOUT_TIMEOUT);
    assert_string_equal(cb->b.results[2].message,
                        "no worker was free within 5 s: 2 attempts run on 2 workers");
    end(cb, batch);
}

/* Its worker died before it read the request: the call waits for another one, and no longer than for the first. */
static void a_call_that_could_not_be_given_waits_no_longer_either(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_pool_options o;
    struct core_attempt *a;
    struct core_batch *batch;
    struct core_task *t;
    struct worker *w;

    (void)state;
    crew_bench_pool_options(&o, 2);
    o.call_checkout_timeout_ns = 5 * NS_PER_S;
    batch = begin(cb, NULL, &o);
    for (uint64_t i = 0; i < 2; i++) {
        t = bench_row(batch, i);
        t->is_call = true;
        bench_submit(&cb->b, batch, t);
    }
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_run(cb);
    a = bench_running(&cb->b, 1);
    w = a->worker;
    cb->sleepy = true;
    a->not_begun = true;
    crew_bench_report(cb, a, CREW_ANSWER_NONE);
    crew_bench_gone(cb, w, "its pipe is closed");
    crew_bench_run(cb);
    assert_int_equal(bench_count(&cb->b, EVENT_ATTEMPT_TAKEN_BACK), 1);
    crew_bench_advance(cb, 5 * NS_PER_S);
    assert_int_equal(bench_stats(batch).finished, 1); /* the one that runs has no such limit */
    cb->sleepy = false;
    crew_bench_finish_all(cb);
    assert_int_equal(cb->b.results[1].reason, WEIR_REASON_CHECKOUT_TIMEOUT);
    end(cb, batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_starts_before_there_is_a_worker_and_what_waits_holds_no_permit),
        cmocka_unit_test(what_its_worker_could_not_be_given_goes_to_another_and_does_not_count),
        cmocka_unit_test(a_retry_that_could_not_be_given_is_the_same_retry_again),
        cmocka_unit_test(a_row_that_was_not_begun_of_a_stopped_batch_is_dropped),
        cmocka_unit_test(a_request_that_timed_out_costs_its_worker_its_life_and_is_tried_again),
        cmocka_unit_test(a_row_that_failed_at_a_worker_is_tried_at_another_where_there_is_one),
        cmocka_unit_test(a_failure_is_tried_again_as_the_recovery_table_says),
        cmocka_unit_test(there_are_never_more_attempts_than_max_attempts_whatever_the_table_says),
        cmocka_unit_test(what_is_lost_because_of_another_row_does_not_count_but_not_without_end),
        cmocka_unit_test(a_worker_that_takes_several_at_once_gets_them),
        cmocka_unit_test(one_that_leaves_several_without_an_answer_goes_with_the_last),
        cmocka_unit_test(overflow_workers_come_for_rows_that_wait_for_one_and_go_again),
        cmocka_unit_test(no_extra_worker_comes_where_the_pace_is_what_rows_wait_for),
        cmocka_unit_test(a_lazy_pool_has_no_worker_before_its_first_row),
        cmocka_unit_test(
            workers_that_cannot_start_open_the_breaker_and_none_is_started_while_it_is_open),
        cmocka_unit_test(a_program_that_stays_broken_opens_it_again_and_again),
        cmocka_unit_test(events_of_attempts_name_their_worker),
        cmocka_unit_test(a_shut_down_pool_lets_its_workers_go),
        cmocka_unit_test(a_held_pool_starts_nothing_until_it_is_let_go),
        cmocka_unit_test(a_call_waits_no_longer_than_the_checkout_timeout_for_any_worker),
        cmocka_unit_test(a_call_that_could_not_be_given_waits_no_longer_either),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
