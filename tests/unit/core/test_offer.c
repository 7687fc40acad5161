/*
 * Rows that are offered: each runs at once or is given back as it came, is one attempt whatever its
 * outcome, and has its permit back before anybody is told. In virtual time; of pools with and
 * without workers.
 */
#include "crew_test.h"

#include "base/error.h"

static struct bench bench;
static struct crew_bench crew_bench;
static struct core_offer offer;
/* What on_finished() saw: attempts that held a permit. */
static size_t running_when_finished;

static void on_finished(struct dispatcher_host *h, struct core_batch *b, struct core_task *t)
{
    running_when_finished = dispatcher_running(((struct bench *)(void *)h)->d);
    bench_finished(h, b, t);
}

static void single_options(struct core_batch_options *o)
{
    core_batch_options_init(o);
    o->single = o->unordered = true;
    o->window_rows = 64;
}

static void pool_options(struct core_pool_options *o, size_t size)
{
    core_pool_options_init(o);
    o->size = size;
    o->gate.throttle.kind = THROTTLE_AIMD;
}

static struct core_batch *begin(const struct core_pool_options *o, bool cancels_at_once)
{
    struct core_batch_options single;

    bench_init(&bench, o, cancels_at_once);
    bench.host.finished = on_finished;
    running_when_finished = 99;
    single_options(&single);
    return bench_open(&bench, &single);
}

static enum core_offer_result give(struct bench *b, struct core_batch *batch, struct core_task *t,
                                   const struct permit_need *need)
{
    memset(&offer, 0, sizeof offer);
    assert_int_equal(dispatcher_offer(b->d, batch, t, need, b->now, &offer, &b->err), WEIR_OK);
    bench_check(b);
    if (offer.result == OFFER_STARTED)
        assert_int_equal(t->state, TASK_RUNNING);
    else
        assert_int_equal(t->state, TASK_NEW);
    return offer.result;
}

static enum core_offer_result offer_row(struct core_batch *batch, uint64_t index)
{
    struct core_task *t = bench_row(batch, index);
    enum core_offer_result result = give(&bench, batch, t, NULL);

    if (result != OFFER_STARTED)
        mem_free(t);
    return result;
}

static void end(struct core_batch *batch)
{
    dispatcher_end(bench.d, batch, bench.now);
    bench_run(&bench);
    bench_free(&bench, batch);
    bench_end(&bench);
}

static struct core_attempt *runs(uint64_t index)
{
    struct core_attempt *a = bench_running(&bench, index);

    assert_non_null(a);
    return a;
}

static void an_offered_row_runs_at_once_and_ends_with_its_answer(void **state)
{
    struct core_batch *batch = begin(NULL, true);

    (void)state;
    assert_int_equal(offer_row(batch, 7), OFFER_STARTED);
    assert_int_equal(bench.running_count, 1); /* without a run of the dispatcher */
    bench_run(&bench);
    bench_ok(&bench, 7);
    assert_int_equal(running_when_finished, 0);
    assert_int_equal(bench.result_count, 1);
    assert_int_equal(bench.results[0].outcome, WEIR_OUTCOME_OK);
    assert_int_equal(bench.results[0].index, 7);
    assert_int_equal(bench.results[0].attempts, 1);
    end(batch);
    assert_int_equal(bench.released, 1);
}

static void what_has_no_place_is_given_back_untouched(void **state)
{
    struct core_batch *batch = begin(NULL, true);
    struct core_task *t = bench_row(batch, 1);

    (void)state;
    assert_int_equal(offer_row(batch, 0), OFFER_STARTED);
    assert_int_equal(give(&bench, batch, t, NULL), OFFER_LIMIT);
    assert_int_equal(offer.block, PERMIT_POOL);
    assert_int_equal(bench_stats(batch).accepted, 1);
    assert_int_equal(bench_count(&bench, EVENT_TASK_ACCEPTED), 1);
    bench_ok(&bench, 0);
    assert_int_equal(give(&bench, batch, t, NULL), OFFER_STARTED);
    bench_run(&bench);
    bench_ok(&bench, 1);
    end(batch);
}

static void a_held_pool_starts_nothing(void **state)
{
    struct core_batch *batch = begin(NULL, true);

    (void)state;
    dispatcher_hold_pool(bench.pool, true, bench.now);
    assert_int_equal(offer_row(batch, 0), OFFER_HELD);
    dispatcher_hold_pool(bench.pool, false, bench.now);
    assert_int_equal(offer_row(batch, 0), OFFER_STARTED);
    bench_run(&bench);
    bench_ok(&bench, 0);
    end(batch);
}

static void what_a_task_needs_is_part_of_its_permit(void **state)
{
    struct core_pool_options o;
    struct permit_account *account;
    struct permit_need need = {.cpu_milli = 700, .priority = 0};
    struct core_batch *batch;
    struct core_task *t;

    (void)state;
    pool_options(&o, 4);
    batch = begin(&o, true);
    account = core_pool_permits(bench.pool);
    account->cpu_milli_limit = 1000;
    assert_int_equal(give(&bench, batch, bench_row(batch, 0), &need), OFFER_STARTED);
    t = bench_row(batch, 1);
    assert_int_equal(give(&bench, batch, t, &need), OFFER_LIMIT);
    assert_int_equal(offer.block, PERMIT_CPU);
    need.cpu_milli = 2000;
    assert_int_equal(give(&bench, batch, t, &need), OFFER_LIMIT);
    assert_int_equal(offer.block, PERMIT_NEVER);
    bench_run(&bench);
    assert_int_equal(account->cpu_milli, 700);
    bench_ok(&bench, 0);
    assert_int_equal(account->cpu_milli, 0);
    mem_free(t);
    end(batch);
}

static void a_failure_is_not_tried_again(void **state)
{
    struct core_batch *batch = begin(NULL, true);

    (void)state;
    assert_int_equal(offer_row(batch, 0), OFFER_STARTED);
    bench_run(&bench);
    bench_fail(&bench, 0);
    assert_int_equal(bench.retrying, 0);
    assert_int_equal(bench.result_count, 1);
    assert_int_equal(bench.results[0].outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(bench.results[0].status, 500);
    end(batch);
}

static void a_refusal_ends_the_row_and_says_how_long_it_would_wait(void **state)
{
    struct core_batch *batch = begin(NULL, true);

    (void)state;
    bench.keep = true;
    assert_int_equal(offer_row(batch, 0), OFFER_STARTED);
    bench_run(&bench);
    bench_refuse(&bench, 0);
    assert_int_equal(bench.results[0].outcome, WEIR_OUTCOME_CAPACITY);
    assert_int_equal(bench.lent[0]->failures, 0);
    assert_true(bench.lent[0]->advised_ns > 0);
    assert_int_equal(running_when_finished, 0);
    assert_int_equal(bench_stats(batch).waiting, 0);
    assert_int_equal(bench_stats(batch).refused, 1);
    end(batch);
}

static void refusals_before_make_the_wait_longer(void **state)
{
    struct core_batch *batch = begin(NULL, true);
    struct core_task *t = bench_row(batch, 1);
    duration_ns first;

    (void)state;
    bench.keep = true;
    assert_int_equal(offer_row(batch, 0), OFFER_STARTED);
    bench_run(&bench);
    bench_refuse(&bench, 0);
    first = bench.lent[0]->advised_ns;
    t->capacity_retries = 5;
    bench_advance(&bench, 10 * NS_PER_S);
    assert_int_equal(give(&bench, batch, t, NULL), OFFER_STARTED);
    bench_run(&bench);
    bench_refuse(&bench, 1);
    assert_true(bench.lent[1]->advised_ns > first);
    end(batch);
}

static void a_service_that_asks_for_a_pause_holds_the_pool(void **state)
{
    struct core_pool_options o;
    struct core_batch *batch;
    struct core_attempt *a;

    (void)state;
    pool_options(&o, 2);
    batch = begin(&o, true);
    assert_int_equal(offer_row(batch, 0), OFFER_STARTED);
    bench_run(&bench);
    a = runs(0);
    a->answer.advice.retry_after_ns = 5 * NS_PER_S;
    bench_end_as(&bench, a, WEIR_OUTCOME_CAPACITY, 429, false);
    assert_int_equal(offer_row(batch, 1), OFFER_GATE);
    assert_true(offer.when.ns >= instant_add(bench.now, 5 * NS_PER_S).ns);
    bench.now = offer.when;
    bench_run(&bench);
    assert_int_equal(offer_row(batch, 1), OFFER_STARTED);
    bench_run(&bench);
    bench_ok(&bench, 1);
    end(batch);
}

static enum weir_status refuse_to_prepare(void *ctx, struct core_task *t, const uint32_t numbers[],
                                          struct weir_error *err)
{
    (void)ctx;
    (void)t;
    (void)numbers;
    return error_set(err, WEIR_E_INVALID, "no");
}

/* A batch of the same pool in which no row can be prepared: each offer of it fails as late as one can. */
static struct core_batch *open_unpreparable(void)
{
    struct core_batch_options o;

    single_options(&o);
    o.prepare = refuse_to_prepare;
    return bench_open(&bench, &o);
}

static void an_offer_that_fails_uses_up_no_budget(void **state)
{
    struct core_pool_options o;
    struct core_batch *batch, *bad;

    (void)state;
    pool_options(&o, 4);
    o.gate.requests_per_minute = 2;
    batch = begin(&o, true);
    bad = open_unpreparable();
    for (int i = 0; i < 50; i++)
        assert_int_equal(offer_row(bad, 9), OFFER_NEVER);
    assert_int_equal(dispatcher_running(bench.d), 0);
    assert_int_equal(offer_row(batch, 0), OFFER_STARTED);
    bench_advance(&bench, 31 * NS_PER_S); /* a budget spreads its requests */
    for (int i = 0; i < 50; i++)
        assert_int_equal(offer_row(bad, 9), OFFER_NEVER);
    assert_int_equal(offer_row(batch, 1), OFFER_STARTED);
    bench_run(&bench);
    bench_ok(&bench, 0);
    bench_ok(&bench, 1);
    dispatcher_end(bench.d, bad, bench.now);
    bench_free(&bench, bad);
    end(batch);
}

static void an_offer_that_fails_uses_up_no_trial_of_the_breaker(void **state)
{
    struct core_pool_options o;
    struct core_batch *batch, *bad;

    (void)state;
    pool_options(&o, 4);
    o.breaker.on = true;
    o.breaker.failures = 1;
    o.breaker.trials = 1;
    o.breaker.successes = 1;
    batch = begin(&o, true);
    bad = open_unpreparable();
    assert_int_equal(offer_row(batch, 0), OFFER_STARTED);
    bench_run(&bench);
    bench_fail(&bench, 0);
    assert_int_equal(offer_row(batch, 1), OFFER_GATE); /* open */
    bench.now = offer.when;
    for (int i = 0; i < 20; i++)
        assert_int_equal(offer_row(bad, 9), OFFER_NEVER);
    assert_int_equal(offer_row(batch, 1), OFFER_STARTED); /* the trial */
    assert_int_equal(offer_row(batch, 2), OFFER_GATE);
    assert_true(instant_is_never(offer.when));
    bench_run(&bench);
    bench_ok(&bench, 1);
    assert_int_equal(offer_row(batch, 2), OFFER_STARTED);
    bench_run(&bench);
    bench_ok(&bench, 2);
    dispatcher_end(bench.d, bad, bench.now);
    bench_free(&bench, bad);
    end(batch);
}

static void what_is_larger_than_a_budget_never_runs(void **state)
{
    struct core_pool_options o;
    struct core_batch *batch;
    struct core_task *t;

    (void)state;
    pool_options(&o, 1);
    o.gate.tokens_per_minute = 100;
    batch = begin(&o, true);
    t = bench_row(batch, 0);
    t->tokens = 101;
    assert_int_equal(give(&bench, batch, t, NULL), OFFER_NEVER);
    assert_non_null(strstr(bench.err.message, "101"));
    mem_free(t);
    end(batch);
}

static uint32_t told[PERMIT_SLOTS_MAX];

static enum weir_status prepare(void *ctx, struct core_task *t, const uint32_t numbers[],
                                struct weir_error *err)
{
    static const char *const env[] = {"WEIR_SLOT=1", NULL};

    (void)err;
    assert_ptr_equal(ctx, told);
    memcpy(told, numbers, sizeof told);
    t->env = env;
    return WEIR_OK;
}

static void the_numbers_of_its_slots_are_known_before_it_starts(void **state)
{
    struct core_batch_options single;
    struct permit_slots dirs;
    struct permit_need need = {.slots = {NULL, &dirs}};
    struct core_pool_options o;
    struct core_batch *batch;
    struct core_task *t;

    (void)state;
    pool_options(&o, 4);
    bench_init(&bench, &o, true);
    single_options(&single);
    single.prepare = prepare;
    single.prepare_ctx = told;
    batch = bench_open(&bench, &single);
    assert_true(permit_slots_init(&dirs, 2));
    assert_int_equal(give(&bench, batch, bench_row(batch, 0), &need), OFFER_STARTED);
    assert_int_equal(told[1], 1);
    assert_string_equal(runs(0)->env[0], "WEIR_SLOT=1");
    assert_int_equal(give(&bench, batch, bench_row(batch, 1), &need), OFFER_STARTED);
    assert_int_equal(told[1], 2);
    assert_int_equal(told[0] + told[2] + told[3], 0);
    t = bench_row(batch, 2);
    assert_int_equal(give(&bench, batch, t, &need), OFFER_LIMIT);
    assert_int_equal(offer.block, PERMIT_SLOT);
    bench_run(&bench);
    bench_ok(&bench, 0);
    assert_int_equal(give(&bench, batch, t, &need), OFFER_STARTED);
    assert_int_equal(told[1], 1);
    bench_run(&bench);
    bench_finish_all(&bench);
    assert_int_equal(dirs.taken, 0);
    permit_slots_free(&dirs);
    end(batch);
}

static void a_row_has_a_timeout_of_its_own(void **state)
{
    struct core_pool_options o;
    struct core_batch *batch;
    struct core_task *t;

    (void)state;
    pool_options(&o, 2);
    o.timeout_ns = 60 * NS_PER_S;
    batch = begin(&o, true);
    t = bench_row(batch, 0);
    t->timeout_ns = 2 * NS_PER_S;
    assert_int_equal(give(&bench, batch, t, NULL), OFFER_STARTED);
    assert_int_equal(offer_row(batch, 1), OFFER_STARTED);
    bench_run(&bench);
    bench_advance(&bench, 2 * NS_PER_S - 1);
    assert_int_equal(bench.result_count, 0);
    bench_advance(&bench, 1);
    assert_int_equal(bench.result_count, 1);
    assert_int_equal(bench.results[0].outcome, WEIR_OUTCOME_TIMEOUT);
    assert_int_equal(bench.results[0].reason, WEIR_REASON_TIMEOUT);
    bench_advance(&bench, 58 * NS_PER_S);
    assert_int_equal(bench.results[1].outcome, WEIR_OUTCOME_TIMEOUT);
    end(batch);
}

static void an_attempt_that_is_ended_by_hand_has_that_answer_whatever_it_says(void **state)
{
    struct core_batch *batch = begin(NULL, true);
    struct core_task *t = bench_row(batch, 0);

    (void)state;
    bench.cancel_is_mute = true;
    assert_int_equal(give(&bench, batch, t, NULL), OFFER_STARTED);
    bench_run(&bench);
    assert_true(dispatcher_end_attempt(bench.d, t, WEIR_OUTCOME_LOST, WEIR_REASON_NO_OUTCOME,
                                       "its heartbeats have stopped", bench.now));
    assert_false(dispatcher_end_attempt(bench.d, t, WEIR_OUTCOME_CANCELLED, WEIR_REASON_NONE,
                                        "again", bench.now));
    bench_run(&bench);
    assert_int_equal(bench.cancelled_count, 1);
    assert_int_equal(bench.result_count, 0); /* its process may be there still */
    assert_int_equal(dispatcher_running(bench.d), 1);
    bench_ok(&bench, 0);
    assert_int_equal(running_when_finished, 0);
    assert_int_equal(bench.results[0].outcome, WEIR_OUTCOME_LOST);
    assert_string_equal(bench.results[0].message, "its heartbeats have stopped");
    assert_int_equal(bench_stats(batch).late_reports, 1);
    assert_int_equal(bench_count(&bench, EVENT_ATTEMPT_LATE), 1);
    end(batch);
}

static void what_was_lost_may_tell_late_how_it_failed_and_what_was_cancelled_not(void **state)
{
    static const struct {
        enum weir_outcome judged, said;
        int counted, told;
    } cases[] = {
        {WEIR_OUTCOME_LOST, WEIR_OUTCOME_FAILED, 1, 1},
        {WEIR_OUTCOME_LOST, WEIR_OUTCOME_CAPACITY, 1, 1},
        {WEIR_OUTCOME_TIMEOUT, WEIR_OUTCOME_FAILED, 1, 1},
        {WEIR_OUTCOME_LOST, WEIR_OUTCOME_LOST, 1, 0}, /* says no more than is known */
        {WEIR_OUTCOME_LOST, WEIR_OUTCOME_CANCELLED, 0, 0},
        {WEIR_OUTCOME_CANCELLED, WEIR_OUTCOME_FAILED, 1, 0},
        {WEIR_OUTCOME_CANCELLED, WEIR_OUTCOME_OK, 1, 1}, /* it was done after all */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct core_batch *batch = begin(NULL, true);
        struct core_task *t = bench_row(batch, 0);

        bench.cancel_is_mute = true;
        assert_int_equal(give(&bench, batch, t, NULL), OFFER_STARTED);
        bench_run(&bench);
        assert_true(dispatcher_end_attempt(bench.d, t, cases[i].judged, WEIR_REASON_NO_HEARTBEAT,
                                           "by hand", bench.now));
        bench_end_as(&bench, bench_running(&bench, 0), cases[i].said, 0, false);
        assert_int_equal(bench.results[0].outcome, cases[i].judged);
        assert_int_equal(bench_stats(batch).late_reports, cases[i].counted);
        assert_int_equal(bench_count(&bench, EVENT_ATTEMPT_LATE), cases[i].told);
        end(batch);
    }
}

static void a_callback_that_is_ended_by_hand_keeps_its_permit_until_it_returns(void **state)
{
    struct core_batch *batch = begin(NULL, false);
    struct core_task *t = bench_row(batch, 0);

    (void)state;
    bench.cancel_is_mute = true;
    assert_int_equal(give(&bench, batch, t, NULL), OFFER_STARTED);
    bench_run(&bench);
    assert_true(dispatcher_end_attempt(bench.d, t, WEIR_OUTCOME_CANCELLED, WEIR_REASON_NONE,
                                       "by hand", bench.now));
    assert_int_equal(bench.result_count, 1);
    assert_int_equal(bench.results[0].outcome, WEIR_OUTCOME_CANCELLED);
    bench_run(&bench);
    assert_int_equal(bench.released, 0); /* the callback still reads the payload */
    assert_int_equal(offer_row(batch, 1), OFFER_LIMIT);
    bench_ok(&bench, 0);
    assert_int_equal(bench.result_count, 1);
    assert_int_equal(bench.released, 1);
    assert_int_equal(bench_stats(batch).late_reports, 1);
    assert_int_equal(offer_row(batch, 1), OFFER_STARTED);
    bench_run(&bench);
    bench_ok(&bench, 1);
    end(batch);
}

static void what_ends_by_hand_after_its_time_was_up_is_ended_already(void **state)
{
    struct core_pool_options o;
    struct core_batch *batch;
    struct core_task *t;

    (void)state;
    pool_options(&o, 1);
    o.timeout_ns = NS_PER_S;
    batch = begin(&o, true);
    bench.cancel_is_mute = true;
    t = bench_row(batch, 0);
    assert_int_equal(give(&bench, batch, t, NULL), OFFER_STARTED);
    bench_run(&bench);
    bench_advance(&bench, NS_PER_S);
    assert_int_equal(bench.cancelled_count, 1);
    assert_false(
        dispatcher_end_attempt(bench.d, t, WEIR_OUTCOME_LOST, WEIR_REASON_NONE, "late", bench.now));
    bench.cancelled_count = 0;
    bench_end_as(&bench, runs(0), WEIR_OUTCOME_CANCELLED, 0, false);
    assert_int_equal(bench.results[0].reason, WEIR_REASON_TIMEOUT);
    end(batch);
}

static void a_shutdown_takes_no_offer_and_ends_what_runs(void **state)
{
    struct core_batch *batch = begin(NULL, true);
    struct core_task *t = bench_row(batch, 1);

    (void)state;
    assert_int_equal(offer_row(batch, 0), OFFER_STARTED);
    bench_run(&bench);
    dispatcher_shutdown(bench.d, true, bench.now);
    assert_int_equal(dispatcher_offer(bench.d, batch, t, NULL, bench.now, &offer, &bench.err),
                     WEIR_E_SHUTDOWN);
    mem_free(t);
    bench_run(&bench);
    assert_int_equal(bench.results[0].outcome, WEIR_OUTCOME_CANCELLED);
    assert_int_equal(bench.results[0].reason, WEIR_REASON_SHUTDOWN_REQUESTED);
    bench_free(&bench, batch);
    bench_end(&bench);
}

static void without_memory_nothing_has_happened(void **state)
{
    (void)state;
    for (unsigned long n = 1;; n++) {
        struct core_batch *batch = begin(NULL, true);
        struct core_task *t = bench_row(batch, 0);
        enum weir_status status;
        bool failed;

        mem_fail_at(n);
        status = dispatcher_offer(bench.d, batch, t, NULL, bench.now, &offer, &bench.err);
        failed = mem_has_failed();
        mem_fail_at(0);
        bench_check(&bench);
        assert_int_equal(status, failed ? WEIR_E_NOMEM : WEIR_OK);
        if (failed) {
            assert_int_equal(dispatcher_running(bench.d), 0);
            mem_free(t);
        } else {
            bench_run(&bench);
            bench_ok(&bench, 0);
        }
        end(batch);
        if (!failed)
            return;
    }
}

static void a_window_that_is_full_says_so(void **state)
{
    struct core_batch_options single;
    struct core_pool_options o;
    struct core_batch *batch;
    struct core_task *t;

    (void)state;
    pool_options(&o, 4);
    bench_init(&bench, &o, true);
    single_options(&single);
    single.window_rows = 1;
    batch = bench_open(&bench, &single);
    assert_int_equal(offer_row(batch, 0), OFFER_STARTED);
    t = bench_row(batch, 1);
    assert_int_equal(dispatcher_offer(bench.d, batch, t, NULL, bench.now, &offer, &bench.err),
                     WEIR_E_LIMIT);
    mem_free(t);
    bench_run(&bench);
    bench_ok(&bench, 0);
    end(batch);
}

static void single_batches_are_unordered_and_have_no_deadline(void **state)
{
    struct core_batch_options o;
    struct weir_error err;

    (void)state;
    single_options(&o);
    assert_int_equal(core_batch_options_check(&o, &err), WEIR_OK);
    o.deadline_ns = 1;
    assert_int_equal(core_batch_options_check(&o, &err), WEIR_E_INVALID);
    o.deadline_ns = 0;
    o.unordered = false;
    assert_int_equal(core_batch_options_check(&o, &err), WEIR_E_INVALID);
}

/* ---- of pools of workers ---- */

static struct core_batch *begin_crew(const struct crew_options *o)
{
    struct core_batch_options single;

    crew_bench_init(&crew_bench, o, NULL);
    single_options(&single);
    return bench_open(&crew_bench.b, &single);
}

static enum core_offer_result offer_session(struct core_batch *batch, uint64_t index,
                                            const char *session)
{
    struct core_task *t = bench_row(batch, index);
    enum core_offer_result result;

    t->session = session;
    result = give(&crew_bench.b, batch, t, NULL);
    if (result != OFFER_STARTED)
        mem_free(t);
    return result;
}

static void end_crew(struct core_batch *batch)
{
    crew_bench_finish_all(&crew_bench);
    dispatcher_end(crew_bench.b.d, batch, crew_bench.b.now);
    crew_bench_run(&crew_bench);
    bench_free(&crew_bench.b, batch);
    crew_bench_end(&crew_bench);
}

static void without_a_worker_nothing_starts_and_no_session_is_left_behind(void **state)
{
    struct core_batch *batch = begin_crew(NULL);

    (void)state;
    for (int i = 0; i < 10; i++)
        assert_int_equal(offer_session(batch, 0, "s"), OFFER_NO_WORKER);
    assert_int_equal(affinity_counts(crew_affinity(crew_bench.crew)).known, 0);
    crew_bench_run(&crew_bench);
    assert_int_equal(offer_session(batch, 0, "s"), OFFER_STARTED);
    assert_int_equal(affinity_counts(crew_affinity(crew_bench.crew)).bound, 1);
    end_crew(batch);
}

static void a_session_goes_to_its_worker_or_waits_for_it_elsewhere(void **state)
{
    struct core_batch *batch = begin_crew(NULL);
    uint64_t worker;

    (void)state;
    crew_bench_run(&crew_bench);
    assert_int_equal(offer_session(batch, 0, "s"), OFFER_STARTED);
    worker = crew_bench_worker_of(&crew_bench, 0);
    assert_int_equal(offer_session(batch, 1, "s"), OFFER_WORKER); /* under way */
    assert_int_equal(offer.worker, worker);
    crew_bench_ok(&crew_bench, 0);
    /* Now another row has its worker; the second worker is free. */
    assert_int_equal(offer_session(batch, 2, NULL), OFFER_STARTED);
    if (crew_bench_worker_of(&crew_bench, 2) != worker) {
        assert_int_equal(offer_session(batch, 3, NULL), OFFER_STARTED);
        assert_int_equal(crew_bench_worker_of(&crew_bench, 3), worker);
        crew_bench_run(&crew_bench);
        crew_bench_ok(&crew_bench, 2);
    }
    assert_int_equal(offer_session(batch, 1, "s"), OFFER_WORKER);
    assert_int_equal(offer.worker, worker);
    assert_true(list_empty(&crew_find(crew_bench.crew, worker)->parked));
    assert_int_equal(offer_session(batch, 4, "other"), OFFER_STARTED);
    crew_bench_run(&crew_bench);
    crew_bench_finish_all(&crew_bench);
    assert_int_equal(offer_session(batch, 1, "s"), OFFER_STARTED);
    assert_int_equal(crew_bench_worker_of(&crew_bench, 1), worker);
    end_crew(batch);
}

static void a_session_with_a_name_that_is_too_long_never_runs(void **state)
{
    struct core_batch *batch = begin_crew(NULL);
    char name[AFFINITY_NAME_BYTES_MAX + 2];

    (void)state;
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    crew_bench_run(&crew_bench);
    assert_int_equal(offer_session(batch, 0, name), OFFER_NEVER);
    end_crew(batch);
}

static void workers_that_are_lazy_start_for_what_waits_elsewhere(void **state)
{
    struct crew_options o;
    struct core_pool_options pool;
    struct core_batch_options single;
    struct core_batch *batch;

    (void)state;
    crew_bench_crew_options(&o, 3);
    o.lazy = true;
    crew_bench_pool_options(&pool, 3);
    crew_bench_init(&crew_bench, &o, &pool);
    single_options(&single);
    batch = bench_open(&crew_bench.b, &single);
    crew_bench_run(&crew_bench);
    assert_int_equal(crew_bench.spawns, 0);
    assert_int_equal(offer_session(batch, 0, NULL), OFFER_NO_WORKER);
    crew_bench_run(&crew_bench);
    assert_int_equal(crew_bench.spawns, 1); /* that one was seen */
    dispatcher_want_workers(crew_bench.b.pool, 2);
    crew_bench_run(&crew_bench);
    assert_int_equal(crew_bench.spawns, 2);
    assert_int_equal(offer_session(batch, 0, NULL), OFFER_STARTED);
    assert_int_equal(offer_session(batch, 1, NULL), OFFER_STARTED);
    crew_bench_run(&crew_bench);
    assert_int_equal(crew_bench.spawns, 2); /* nothing waits any more */
    end_crew(batch);
}

static void what_its_worker_could_not_be_given_ends_as_not_begun(void **state)
{
    struct core_batch *batch = begin_crew(NULL);
    struct core_attempt *a;
    struct worker *w;

    (void)state;
    crew_bench.b.keep = true;
    crew_bench_run(&crew_bench);
    assert_int_equal(offer_session(batch, 0, "s"), OFFER_STARTED);
    a = bench_running(&crew_bench.b, 0);
    w = a->worker;
    a->not_begun = true;
    crew_bench_report(&crew_bench, a, CREW_ANSWER_NONE);
    crew_bench_gone(&crew_bench, w, "its pipe is closed");
    crew_bench_run(&crew_bench);
    assert_int_equal(crew_bench.b.result_count, 1);
    assert_int_equal(crew_bench.b.results[0].outcome, WEIR_OUTCOME_LOST);
    assert_int_equal(crew_bench.b.results[0].attempts, 0);
    assert_true(crew_bench.b.lent[0]->answer.bystander);
    assert_int_equal(bench_stats(batch).ready, 0);
    end_crew(batch);
}

static void a_lost_worker_ends_the_row_it_had(void **state)
{
    struct core_batch *batch = begin_crew(NULL);

    (void)state;
    crew_bench_run(&crew_bench);
    assert_int_equal(offer_session(batch, 0, "s"), OFFER_STARTED);
    crew_bench_kill(&crew_bench, crew_bench_worker_of(&crew_bench, 0));
    assert_int_equal(crew_bench.b.results[0].outcome, WEIR_OUTCOME_LOST);
    assert_int_equal(offer_session(batch, 1, "s"), OFFER_STARTED);
    assert_true(bench_running(&crew_bench.b, 1)->session_lost);
    end_crew(batch);
}

static void a_row_goes_to_another_worker_than_it_has_failed_with(void **state)
{
    struct core_batch *batch = begin_crew(NULL);
    uint64_t worker;

    (void)state;
    crew_bench_run(&crew_bench);
    assert_int_equal(offer_session(batch, 0, NULL), OFFER_STARTED);
    worker = crew_bench_worker_of(&crew_bench, 0);
    crew_bench_fail(&crew_bench, 0);
    for (uint64_t i = 1; i < 4; i++) {
        struct core_task *t = bench_row(batch, i);

        t->worker = worker;
        assert_int_equal(give(&crew_bench.b, batch, t, NULL), OFFER_STARTED);
        assert_int_not_equal(crew_bench_worker_of(&crew_bench, i), worker);
        crew_bench_ok(&crew_bench, i);
    }
    end_crew(batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_offered_row_runs_at_once_and_ends_with_its_answer),
        cmocka_unit_test(what_has_no_place_is_given_back_untouched),
        cmocka_unit_test(a_held_pool_starts_nothing),
        cmocka_unit_test(what_a_task_needs_is_part_of_its_permit),
        cmocka_unit_test(a_failure_is_not_tried_again),
        cmocka_unit_test(a_refusal_ends_the_row_and_says_how_long_it_would_wait),
        cmocka_unit_test(refusals_before_make_the_wait_longer),
        cmocka_unit_test(a_service_that_asks_for_a_pause_holds_the_pool),
        cmocka_unit_test(an_offer_that_fails_uses_up_no_budget),
        cmocka_unit_test(an_offer_that_fails_uses_up_no_trial_of_the_breaker),
        cmocka_unit_test(what_is_larger_than_a_budget_never_runs),
        cmocka_unit_test(the_numbers_of_its_slots_are_known_before_it_starts),
        cmocka_unit_test(a_row_has_a_timeout_of_its_own),
        cmocka_unit_test(an_attempt_that_is_ended_by_hand_has_that_answer_whatever_it_says),
        cmocka_unit_test(what_was_lost_may_tell_late_how_it_failed_and_what_was_cancelled_not),
        cmocka_unit_test(a_callback_that_is_ended_by_hand_keeps_its_permit_until_it_returns),
        cmocka_unit_test(what_ends_by_hand_after_its_time_was_up_is_ended_already),
        cmocka_unit_test(a_shutdown_takes_no_offer_and_ends_what_runs),
        cmocka_unit_test(without_memory_nothing_has_happened),
        cmocka_unit_test(a_window_that_is_full_says_so),
        cmocka_unit_test(single_batches_are_unordered_and_have_no_deadline),
        cmocka_unit_test(without_a_worker_nothing_starts_and_no_session_is_left_behind),
        cmocka_unit_test(a_session_goes_to_its_worker_or_waits_for_it_elsewhere),
        cmocka_unit_test(a_session_with_a_name_that_is_too_long_never_runs),
        cmocka_unit_test(workers_that_are_lazy_start_for_what_waits_elsewhere),
        cmocka_unit_test(what_its_worker_could_not_be_given_ends_as_not_begun),
        cmocka_unit_test(a_lost_worker_ends_the_row_it_had),
        cmocka_unit_test(a_row_goes_to_another_worker_than_it_has_failed_with),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
