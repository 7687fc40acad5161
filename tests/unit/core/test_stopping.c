/*
 * What ends things before their time, line by line of design 3: timeouts, deadlines, callbacks that
 * cannot be ended, stop, abort, shutdown.
 */
#include "core_test.h"

static struct bench bench;

static struct core_pool_options pool_options(size_t size)
{
    struct core_pool_options o;

    core_pool_options_init(&o);
    o.size = size;
    o.backoff.jitter = 0;
    o.gate.throttle.kind = THROTTLE_AIMD; /* starts all it has at once, and a refused row waits */
    return o;
}

static struct core_batch_options batch_options(void)
{
    struct core_batch_options o;

    core_batch_options_init(&o);
    return o;
}

/* ---- timeouts ---- */

static void without_an_answer_in_time_the_attempt_is_cancelled_and_the_row_retried(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(1);
    struct core_batch *batch;

    (void)state;
    o.timeout_ns = 2 * NS_PER_S;
    o.max_attempts = 2;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    bench_advance(b, 2 * NS_PER_S - 1);
    assert_int_equal(b->running_count, 1);
    bench_advance(b, 1);
    assert_int_equal(b->running_count, 0);
    assert_int_equal(bench_stats(batch).waiting, 1);
    bench_advance(b, MS(550));
    assert_int_equal(bench_running(b, 0)->number, 2);
    bench_advance(b, 2 * NS_PER_S);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_TIMEOUT);
    assert_int_equal(b->results[0].reason, WEIR_REASON_TIMEOUT);
    assert_string_equal(b->results[0].message, "no answer within 2 s");
    assert_int_equal(b->results[0].attempts, 2);
    bench_free(b, batch);
    bench_end(b);
}

/* Lets row 0 time out, and its report come with this outcome all the same. */
static void report_after_timeout(struct bench *b, enum weir_outcome outcome)
{
    b->cancel_is_mute = true;
    bench_advance(b, NS_PER_S);
    assert_int_equal(b->cancelled_count, 1);
    assert_false(b->cancelled[0]->may_wind_up);
    b->cancelled_count = 0;
    bench_end_as(b, b->running[0], outcome, 0, true);
    b->cancel_is_mute = false;
}

static void a_whole_answer_that_came_just_then_is_the_result(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(1);
    struct core_batch *batch;

    (void)state;
    o.timeout_ns = NS_PER_S;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    report_after_timeout(b, WEIR_OUTCOME_OK);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_OK);
    bench_free(b, batch);
    bench_end(b);
}

static void a_refusal_that_came_just_then_uses_up_no_attempt(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(1);
    struct core_batch *batch;

    (void)state;
    o.timeout_ns = NS_PER_S;
    o.max_attempts = 1;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    report_after_timeout(b, WEIR_OUTCOME_CAPACITY);
    assert_int_equal(b->result_count, 0);
    assert_int_equal(bench_stats(batch).capacity_retries, 1);
    bench_advance(b, MS(55));
    bench_ok(b, 0);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_OK);
    bench_free(b, batch);
    bench_end(b);
}

static void a_failure_that_came_just_then_is_the_timeout(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(1);
    struct core_batch *batch;

    (void)state;
    o.timeout_ns = NS_PER_S;
    o.max_attempts = 1;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    report_after_timeout(b, WEIR_OUTCOME_LOST);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_TIMEOUT);
    bench_free(b, batch);
    bench_end(b);
}

/* ---- callbacks that cannot be ended ---- */

static void an_abandoned_callback_keeps_its_permit_until_it_returns(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(1);
    struct core_batch *batch;
    struct core_attempt *late;

    (void)state;
    o.timeout_ns = NS_PER_S;
    o.max_attempts = 1;
    bench_init(b, &o, false);
    b->cancel_is_mute = true;
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 2);
    bench_run(b);
    late = bench_running(b, 0);
    bench_advance(b, NS_PER_S);
    /* Its row has its result already. */
    assert_int_equal(b->result_count, 1);
    assert_int_equal(b->results[0].reason, WEIR_REASON_TIMEOUT);
    assert_true(atomic_load(&late->cancelled));
    /* But its permit is taken, and the row's payload is still there. */
    assert_int_equal(dispatcher_running(b->d), 1);
    assert_null(bench_running(b, 1));
    assert_int_equal(b->released, 0);
    bench_advance(b, 60 * NS_PER_S);
    assert_null(bench_running(b, 1));
    b->cancelled_count = 0;
    bench_report(b, late);
    bench_run(b);
    assert_int_equal(b->released, 1);
    assert_non_null(bench_running(b, 1));
    bench_ok(b, 1);
    bench_free(b, batch);
    bench_end(b);
}

static void its_late_report_is_told_counted_and_changes_nothing(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(2);
    struct core_batch *batch;
    struct core_attempt *late;

    (void)state;
    o.timeout_ns = NS_PER_S;
    bench_init(b, &o, false);
    b->cancel_is_mute = true;
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    late = bench_running(b, 0);
    bench_advance(b, NS_PER_S + MS(550)); /* the second attempt runs beside it */
    assert_int_equal(b->running_count, 2);
    late->answer.outcome = WEIR_OUTCOME_FAILED;
    late->answer.status = 400;
    late->answer.message = mem_strdup("too late");
    bench_report(b, late);
    bench_run(b);
    assert_int_equal(b->result_count, 0);
    assert_int_equal(bench_stats(batch).late_reports, 1);
    assert_int_equal(bench_pool_stats(b).late_reports, 1);
    assert_int_equal(bench_count(b, EVENT_ATTEMPT_LATE), 1);
    assert_int_equal(b->events[b->event_count - 1].attempt, 1);
    b->cancelled_count = 0;
    bench_ok(b, 0);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_OK);
    assert_int_equal(b->results[0].attempts, 2);
    bench_free(b, batch);
    bench_end(b);
}

static void a_batch_is_idle_only_when_its_abandoned_callbacks_have_returned(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(1);
    struct core_batch *batch;

    (void)state;
    o.timeout_ns = NS_PER_S;
    o.max_attempts = 1;
    bench_init(b, &o, false);
    b->cancel_is_mute = true;
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    bench_advance(b, NS_PER_S);
    assert_true(dispatcher_batch_closed(batch));
    assert_false(dispatcher_batch_idle(batch));
    bench_report(b, b->running[0]);
    assert_true(dispatcher_batch_idle(batch));
    bench_free(b, batch);
    bench_end(b);
}

/* ---- deadlines ---- */

static void the_deadline_ends_a_waiting_row_at_once(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(1);
    struct core_batch_options bo = batch_options();
    struct core_batch *batch;

    (void)state;
    o.backoff.initial_ns = 20 * NS_PER_S;
    bo.deadline_ns = 3 * NS_PER_S;
    bench_init(b, &o, true);
    batch = bench_open(b, &bo);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    bench_fail(b, 0);
    bench_advance(b, 3 * NS_PER_S - 1);
    assert_int_equal(b->result_count, 0);
    bench_advance(b, 1);
    assert_int_equal(b->result_count, 1);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_TIMEOUT);
    assert_int_equal(b->results[0].reason, WEIR_REASON_DEADLINE);
    assert_int_equal(b->results[0].attempts, 1);
    bench_free(b, batch);
    bench_end(b);
}

static void the_deadline_ends_a_row_that_waits_for_a_permit(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch;
    struct core_task *t;

    (void)state;
    bench_init(b, NULL, true);
    batch = bench_open(b, NULL);
    bench_submit(b, batch, bench_row(batch, 0));
    t = bench_row(batch, 1);
    t->deadline_ns = MS(100);
    bench_submit(b, batch, t);
    dispatcher_end(b->d, batch, b->now);
    bench_run(b);
    bench_advance(b, MS(100));
    assert_int_equal(bench_stats(batch).ready, 0);
    assert_int_equal(bench_stats(batch).finished, 1);
    bench_ok(b, 0);
    assert_int_equal(b->results[1].reason, WEIR_REASON_DEADLINE);
    assert_int_equal(b->results[1].attempts, 0);
    assert_int_equal(b->started_count, 1);
    bench_free(b, batch);
    bench_end(b);
}

static void the_deadline_cancels_what_runs(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(1);
    struct core_batch_options bo = batch_options();
    struct core_batch *batch;

    (void)state;
    o.timeout_ns = 10 * NS_PER_S;
    bo.deadline_ns = NS_PER_S;
    bench_init(b, &o, true);
    batch = bench_open(b, &bo);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    bench_advance(b, NS_PER_S);
    assert_int_equal(b->running_count, 0);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_TIMEOUT);
    assert_int_equal(b->results[0].reason, WEIR_REASON_DEADLINE);
    assert_string_equal(b->results[0].message, "the deadline passed while attempt 1 was running");
    bench_free(b, batch);
    bench_end(b);
}

static void the_deadline_judges_a_callback_without_waiting_for_it(void **state)
{
    struct bench *b = &bench;
    struct core_batch_options bo = batch_options();
    struct core_batch *batch;

    (void)state;
    bo.deadline_ns = NS_PER_S;
    bench_init(b, NULL, false);
    b->cancel_is_mute = true;
    batch = bench_open(b, &bo);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    bench_advance(b, NS_PER_S);
    assert_int_equal(b->results[0].reason, WEIR_REASON_DEADLINE);
    assert_int_equal(b->running_count, 1);
    bench_report(b, b->running[0]);
    bench_free(b, batch);
    bench_end(b);
}

static void the_nearer_of_two_deadlines_counts_and_a_passed_one_at_once(void **state)
{
    struct bench *b = &bench;
    struct core_batch_options bo = batch_options();
    struct core_batch *batch;
    struct core_task *t;

    (void)state;
    bo.deadline_ns = NS_PER_S;
    bench_init(b, NULL, true);
    batch = bench_open(b, &bo);
    t = bench_row(batch, 0);
    t->deadline_ns = 5 * NS_PER_S;
    bench_submit(b, batch, t);
    bench_run(b);
    bench_advance(b, NS_PER_S);
    assert_int_equal(b->results[0].reason, WEIR_REASON_DEADLINE);
    bench_submit(b, batch, bench_row(batch, 1));
    assert_int_equal(b->result_count, 2);
    assert_int_equal(b->results[1].reason, WEIR_REASON_DEADLINE);
    assert_int_equal(b->started_count, 1);
    dispatcher_end(b->d, batch, b->now);
    bench_free(b, batch);
    bench_end(b);
}

/* ---- shutdown ---- */

static void shutdown_ends_waiting_rows_at_once_whatever_their_backoff(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(2);
    struct core_batch *batch;

    (void)state;
    o.backoff.initial_ns = 1000 * NS_PER_S;
    o.backoff.ceiling_ns = 1000 * NS_PER_S;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 5);
    bench_run(b);
    bench_fail(b, 1);
    bench_refuse(b, 0); /* 2 and 3 run, 4 is ready, 0 and 1 wait */
    dispatcher_shutdown(b->d, false, b->now);
    bench_run(b);
    assert_int_equal(bench_stats(batch).waiting + bench_stats(batch).ready, 0);
    assert_int_equal(b->result_count, 2);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_CANCELLED);
    assert_int_equal(b->results[0].reason, WEIR_REASON_SHUTDOWN_REQUESTED);
    assert_int_equal(b->results[1].outcome, WEIR_OUTCOME_CANCELLED);
    /* The running ones are let finish. */
    assert_int_equal(b->running_count, 2);
    bench_ok(b, 2);
    bench_ok(b, 3);
    assert_int_equal(b->result_count, 5);
    assert_int_equal(b->results[3].outcome, WEIR_OUTCOME_OK);
    assert_int_equal(b->results[4].outcome, WEIR_OUTCOME_CANCELLED);
    assert_int_equal(b->closed, 1);
    assert_int_equal(
        bench_pool_stats(b).running + bench_pool_stats(b).ready + bench_pool_stats(b).waiting, 0);
    bench_free(b, batch);
    bench_end(b);
}

static void shutdown_that_cancels_ends_running_rows_as_cancelled(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(2);
    struct core_batch *batch;

    (void)state;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 3);
    bench_run(b);
    dispatcher_shutdown(b->d, true, b->now);
    bench_run(b);
    assert_int_equal(b->result_count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(b->results[i].outcome, WEIR_OUTCOME_CANCELLED);
        assert_int_equal(b->results[i].reason, WEIR_REASON_SHUTDOWN_REQUESTED);
    }
    assert_string_equal(b->results[0].message,
                        "the engine was shut down while attempt 1 was running");
    assert_int_equal(dispatcher_running(b->d), 0);
    bench_free(b, batch);
    bench_end(b);
}

static void after_a_shutdown_everything_is_refused_and_it_can_be_repeated(void **state)
{
    struct bench *b = &bench;
    struct core_batch_options bo = batch_options();
    struct core_batch *batch, *other = NULL;
    struct core_task *t;

    (void)state;
    bench_init(b, NULL, true);
    batch = bench_open(b, NULL);
    bench_submit(b, batch, bench_row(batch, 0));
    bench_run(b);
    dispatcher_shutdown(b->d, false, b->now);
    t = bench_row(batch, 1);
    assert_int_equal(dispatcher_submit(b->d, batch, t, b->now, &b->err), WEIR_E_SHUTDOWN);
    assert_non_null(strstr(b->err.message, "shut down"));
    mem_free(t);
    assert_int_equal(dispatcher_open_batch(b->d, b->pool, &bo, b, b->now, &other, &b->err),
                     WEIR_E_SHUTDOWN);
    assert_null(other);
    dispatcher_shutdown(b->d, true, b->now); /* and now harder */
    bench_run(b);
    dispatcher_shutdown(b->d, true, b->now);
    bench_run(b);
    assert_int_equal(b->result_count, 1);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_CANCELLED);
    assert_int_equal(b->closed, 1);
    bench_free(b, batch);
    bench_end(b);
}

static void a_row_that_would_be_tried_again_after_a_shutdown_is_cancelled_and_recorded(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(3);
    struct core_batch *batch;

    (void)state;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 3);
    bench_run(b);
    dispatcher_shutdown(b->d, false, b->now);
    bench_refuse(b, 0);
    bench_fail(b, 1);
    bench_end_as(b, bench_running(b, 2), WEIR_OUTCOME_FAILED, 400, false);
    assert_int_equal(b->results[0].outcome, WEIR_OUTCOME_CANCELLED);
    assert_int_equal(b->results[1].outcome, WEIR_OUTCOME_CANCELLED);
    assert_int_equal(b->results[2].outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(b->retrying, 2); /* the attempts that were not the results */
    assert_int_equal(bench_stats(batch).refused, 1);
    bench_free(b, batch);
    bench_end(b);
}

/* ---- stop ---- */

static void stop_drops_what_waits_and_lets_what_runs_finish(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(2);
    struct core_batch *batch, *other;
    struct core_task *t;

    (void)state;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 5);
    bench_run(b);
    bench_fail(b, 0); /* waits; 1 and 2 run */
    other = bench_open(b, NULL);
    bench_add_rows(b, other, 1);
    dispatcher_stop(b->d, batch, false, b->now);
    bench_run(b);
    t = bench_row(batch, 5);
    assert_int_equal(dispatcher_submit(b->d, batch, t, b->now, &b->err), WEIR_E_END);
    mem_free(t);
    assert_int_equal(bench_stats(batch).waiting + bench_stats(batch).ready, 0);
    assert_int_equal(b->closed, 0);
    bench_ok(b, 1);
    bench_ok(b, 2);
    /* Row 0 has no result, so what is behind it is not delivered. */
    assert_int_equal(b->result_count, 0);
    assert_int_equal(b->closed, 1);
    assert_int_equal(bench_stats(batch).finished, 2);
    /* The other batch goes on. */
    bench_ok(b, 0);
    assert_int_equal(b->result_count, 1);
    bench_free(b, batch);
    assert_int_equal(b->released, 6);
    bench_free(b, other);
    bench_end(b);
}

static void stop_delivers_what_is_finished_and_next_in_order(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(3);
    struct core_batch *batch;

    (void)state;
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 5);
    bench_run(b);
    bench_ok(b, 1);
    dispatcher_stop(b->d, batch, false, b->now);
    bench_ok(b, 0);
    assert_int_equal(b->result_count, 2);
    bench_ok(b, 2);
    bench_finish_all(b);
    assert_true(b->result_count >= 3);
    assert_int_equal(b->closed, 1);
    bench_free(b, batch);
    bench_end(b);
}

static void stop_now_cancels_what_runs_and_drops_it_but_for_whole_answers(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(2);
    struct core_batch *batch;

    (void)state;
    bench_init(b, &o, true);
    b->cancel_is_mute = true;
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 3);
    bench_run(b);
    dispatcher_stop(b->d, batch, true, b->now);
    assert_int_equal(b->cancelled_count, 2);
    assert_true(b->cancelled[0]->may_wind_up && b->cancelled[1]->may_wind_up);
    b->cancelled_count = 0;
    bench_ok(b, 0); /* had come after all */
    assert_int_equal(b->result_count, 1);
    bench_report(b, bench_running(b, 1));
    bench_run(b);
    assert_int_equal(b->result_count, 1);
    assert_int_equal(b->closed, 1);
    assert_int_equal(bench_stats(batch).failures, 0);
    bench_free(b, batch);
    bench_end(b);
}

static void a_row_of_a_stopped_batch_that_is_refused_is_dropped_and_recorded(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch;

    (void)state;
    bench_init(b, NULL, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 1);
    bench_run(b);
    dispatcher_stop(b->d, batch, false, b->now);
    bench_refuse(b, 0);
    assert_int_equal(b->result_count, 0);
    assert_int_equal(b->retrying, 1);
    assert_int_equal(bench_stats(batch).refused, 1);
    assert_int_equal(b->closed, 1);
    bench_free(b, batch);
    bench_end(b);
}

static void stopping_twice_or_after_the_end_is_harmless(void **state)
{
    struct bench *b = &bench;
    struct core_batch *batch;

    (void)state;
    bench_init(b, NULL, true);
    batch = bench_open(b, NULL);
    bench_add_rows(b, batch, 2);
    bench_run(b);
    dispatcher_stop(b->d, batch, false, b->now);
    dispatcher_stop(b->d, batch, true, b->now);
    dispatcher_stop(b->d, batch, true, b->now); /* what runs is cancelled once */
    assert_int_equal(b->cancelled_count, 1);
    bench_run(b);
    dispatcher_stop(b->d, batch, true, b->now);
    assert_int_equal(b->closed, 1);
    bench_free(b, batch);
    bench_end(b);
}

/* ---- the store has failed ---- */

static void what_the_store_could_not_take_is_never_delivered(void **state)
{
    struct bench *b = &bench;
    struct core_pool_options o = pool_options(3);
    struct core_batch_options bo = batch_options();
    struct core_batch *batch;

    (void)state;
    bo.durable = true;
    bench_init(b, &o, true);
    batch = bench_open(b, &bo);
    bench_add_rows(b, batch, 4);
    bench_run(b);
    bench_ok(b, 0);
    bench_ok(b, 1);
    bench_commit(b, b->finished[0]);
    assert_int_equal(b->result_count, 1);
    dispatcher_abort(b->d, batch, b->now);
    dispatcher_uncommitted(b->d, b->finished[1]);
    bench_run(b);
    assert_int_equal(b->running_count, 0);
    assert_int_equal(b->result_count, 1);
    assert_int_equal(b->closed, 1);
    assert_int_equal(b->released, 1);
    bench_free(b, batch);
    assert_int_equal(b->released, 4);
    bench_end(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_an_answer_in_time_the_attempt_is_cancelled_and_the_row_retried),
        cmocka_unit_test(a_whole_answer_that_came_just_then_is_the_result),
        cmocka_unit_test(a_refusal_that_came_just_then_uses_up_no_attempt),
        cmocka_unit_test(a_failure_that_came_just_then_is_the_timeout),
        cmocka_unit_test(an_abandoned_callback_keeps_its_permit_until_it_returns),
        cmocka_unit_test(its_late_report_is_told_counted_and_changes_nothing),
        cmocka_unit_test(a_batch_is_idle_only_when_its_abandoned_callbacks_have_returned),
        cmocka_unit_test(the_deadline_ends_a_waiting_row_at_once),
        cmocka_unit_test(the_deadline_ends_a_row_that_waits_for_a_permit),
        cmocka_unit_test(the_deadline_cancels_what_runs),
        cmocka_unit_test(the_deadline_judges_a_callback_without_waiting_for_it),
        cmocka_unit_test(the_nearer_of_two_deadlines_counts_and_a_passed_one_at_once),
        cmocka_unit_test(shutdown_ends_waiting_rows_at_once_whatever_their_backoff),
        cmocka_unit_test(shutdown_that_cancels_ends_running_rows_as_cancelled),
        cmocka_unit_test(after_a_shutdown_everything_is_refused_and_it_can_be_repeated),
        cmocka_unit_test(
            a_row_that_would_be_tried_again_after_a_shutdown_is_cancelled_and_recorded),
        cmocka_unit_test(stop_drops_what_waits_and_lets_what_runs_finish),
        cmocka_unit_test(stop_delivers_what_is_finished_and_next_in_order),
        cmocka_unit_test(stop_now_cancels_what_runs_and_drops_it_but_for_whole_answers),
        cmocka_unit_test(a_row_of_a_stopped_batch_that_is_refused_is_dropped_and_recorded),
        cmocka_unit_test(stopping_twice_or_after_the_end_is_harmless),
        cmocka_unit_test(what_the_store_could_not_take_is_never_delivered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
