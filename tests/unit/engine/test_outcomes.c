/*
 * What a callback may say or do, with real threads, and what its row becomes: refusals, failures,
 * silence, a thread that ends, time that runs out (P1, P4, P7). Every row has its result.
 */
#include "engine_test.h"

/* A callback that follows a script: how often each row is refused, fails or says nothing before it is ok. */
struct script {
    void (*say)(struct weir_answer *answer);
    uint32_t times;        /* so many attempts of each row */
    uint64_t only;         /* this row alone; UINT64_MAX: all */
    atomic_uint calls[64]; /* by row */
};

static void follow(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    struct script *s = ctx;
    uint64_t n = row_number(row);
    unsigned before = atomic_fetch_add(&s->calls[n], 1);

    if (before < s->times && (s->only == UINT64_MAX || s->only == n))
        s->say(answer);
    else
        weir_answer_ok(answer, row->data, row->len);
}

static struct weir_results *run_script(struct house *h, size_t count)
{
    struct weir_row *rows = rows_make(count);
    struct weir_results *r = NULL;

    ok(weir_run(h->pool, rows, count, NULL, &r, &err));
    assert_int_equal(r->count, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(r->items[i].submit_index, i);
    assert_int_equal(r->stats.pending, 0);
    assert_int_equal(r->stats.delivered, count);
    free(rows);
    return r;
}

static void say_full(struct weir_answer *a)
{
    weir_answer_capacity(a, 529, "overloaded");
}

static void say_retry(struct weir_answer *a)
{
    weir_answer_failed(a, true, 502, "bad gateway");
}

static void say_never(struct weir_answer *a)
{
    weir_answer_failed(a, false, 400, "bad row");
}

static void say_nothing(struct weir_answer *a)
{
    (void)a;
}

static void end_thread(struct weir_answer *a)
{
    (void)a;
    pthread_exit(NULL);
}

static void change_mind(struct weir_answer *a)
{
    weir_answer_failed(a, false, 400, "first");
    weir_answer_capacity(a, 429, NULL);
    weir_answer_ok(a, "early", 5);
    weir_answer_failed(a, false, 422, "the last word counts");
}

/* P4, P5: pool size 2, every first attempt of ten rows refused: all ten still finish, and none has failed. */
static void full_is_not_failure(void **state)
{
    struct script s = {.say = say_full, .times = 1, .only = UINT64_MAX};
    struct weir_pool_options o = quick_options(2);
    struct weir_results *r;
    struct house h;

    (void)state;
    o.max_attempts = 1; /* refusals do not count */
    h = house_open_with(&o, follow, &s);
    r = run_script(&h, 10);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(r->items[i].outcome, WEIR_OUTCOME_OK);
        assert_int_equal(r->items[i].attempts, 2);
        assert_int_equal(r->items[i].capacity_retries, 1);
        assert_true(r->items[i].throttled_ns >= 1000000);
        assert_int_equal(r->items[i].status, 0);
    }
    assert_int_equal(r->stats.attempts, 20);
    assert_int_equal(r->stats.pool_stats.capacity_retries, 10);
    assert_int_equal(r->stats.pool_stats.successes, 10);
    assert_int_equal(r->stats.pool_stats.failures, 0);
    assert_true(r->stats.pool_stats.peak_delay_ms >= 1 && r->stats.pool_stats.peak_delay_ms <= 4);
    assert_true(r->stats.pool_stats.total_throttle_time_ms >= 10);
    weir_results_free(r);
    house_close(&h);
}

/* Without a throttle a refused row is still tried again, and again. */
static void without_a_throttle_full_is_not_failure_either(void **state)
{
    struct script s = {.say = say_full, .times = 30, .only = UINT64_MAX};
    struct weir_pool_options o = quick_options(2);
    struct weir_results *r;
    struct house h;

    (void)state;
    o.throttle = WEIR_THROTTLE_NONE;
    h = house_open_with(&o, follow, &s);
    r = run_script(&h, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(r->items[i].outcome, WEIR_OUTCOME_OK);
        assert_int_equal(r->items[i].capacity_retries, 30);
    }
    weir_results_free(r);
    house_close(&h);
}

static void full_for_too_long_ends_at_the_rows_own_limit(void **state)
{
    struct script s = {.say = say_full, .times = UINT32_MAX, .only = 1};
    struct weir_pool_options o = quick_options(2);
    const struct weir_result *one;
    struct weir_results *r;
    struct house h;

    (void)state;
    o.max_capacity_retry_seconds = 0.03;
    h = house_open_with(&o, follow, &s);
    r = run_script(&h, 3);
    one = &r->items[1];
    assert_int_equal(one->outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(one->reason, WEIR_REASON_RETRY_TIMEOUT);
    assert_int_equal(one->status, 529);
    assert_non_null(strstr(one->message, "529"));
    assert_non_null(strstr(one->message, "limit is 0.0 s"));
    /* complete_time is when the callback ended; the limit is tested a little later, when its report is read */
    assert_true(one->deliver_time_ns - one->start_time_ns >= 30000000);
    assert_int_equal(r->items[0].outcome, WEIR_OUTCOME_OK);
    assert_int_equal(r->items[2].outcome, WEIR_OUTCOME_OK);
    weir_results_free(r);
    house_close(&h);
}

static void say_full_for_40_ms(struct weir_answer *a)
{
    weir_answer_capacity(a, 429, NULL);
    weir_answer_retry_after(a, 40);
}

static void a_pause_that_is_asked_for_holds_the_whole_pool(void **state)
{
    struct script s = {.say = say_full_for_40_ms, .times = 1, .only = 0};
    struct house h = house_open(1, follow, &s);
    struct weir_results *r = run_script(&h, 4);

    (void)state;
    /* The first row is refused and asks for 40 ms; so no other row begins before, however fast it would be. */
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(r->items[i].outcome, WEIR_OUTCOME_OK);
        assert_true(r->items[i].complete_time_ns - r->items[0].start_time_ns >= 40 * 1000000);
    }
    weir_results_free(r);
    house_close(&h);
}

static void say_full_for_a_day(struct weir_answer *a)
{
    weir_answer_capacity(a, 429, NULL);
    weir_answer_retry_after(a, INT64_C(86400) * 1000);
    weir_answer_retry_after(a, -1); /* means nothing, and is not taken */
}

static void a_pause_above_the_ceiling_fails_the_row_and_says_so(void **state)
{
    struct script s = {.say = say_full_for_a_day, .times = 1, .only = 0};
    struct house h = house_open(1, follow, &s);
    struct weir_results *r = run_script(&h, 2);

    (void)state;
    assert_int_equal(r->items[0].outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(r->items[0].reason, WEIR_REASON_RETRY_AFTER_TOO_LONG);
    assert_non_null(strstr(r->items[0].message, "86400.0 s"));
    assert_int_equal(r->items[1].outcome, WEIR_OUTCOME_OK);
    weir_results_free(r);
    house_close(&h);
}

static void a_retryable_failure_is_tried_again_up_to_a_limit(void **state)
{
    (void)state;
    for (uint32_t times = 2; times <= 3; times++) {
        struct script s = {.say = say_retry, .times = times, .only = 2};
        struct house h = house_open(2, follow, &s); /* max_attempts is 3 */
        struct weir_results *r = run_script(&h, 4);
        const struct weir_result *one = &r->items[2];

        assert_int_equal(one->attempts, 3);
        assert_int_equal(one->outcome, times == 2 ? WEIR_OUTCOME_OK : WEIR_OUTCOME_FAILED);
        assert_int_equal(one->reason, times == 2 ? WEIR_REASON_NONE : WEIR_REASON_CALLBACK);
        assert_int_equal(one->status, times == 2 ? 0 : 502);
        assert_string_equal(one->message, times == 2 ? "" : "bad gateway");
        assert_int_equal(r->stats.pool_stats.failures, times == 2 ? 0 : 1);
        weir_results_free(r);
        house_close(&h);
    }
}

static void a_permanent_failure_ends_its_row_at_once(void **state)
{
    struct script s = {.say = say_never, .times = UINT32_MAX, .only = 2};
    struct house h = house_open(2, follow, &s);
    struct weir_results *r = run_script(&h, 4);

    (void)state;
    assert_int_equal(r->items[2].outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(r->items[2].attempts, 1);
    assert_int_equal(r->items[2].status, 400);
    assert_string_equal(r->items[2].message, "bad row");
    assert_int_equal(r->items[2].output_len, 0);
    assert_int_equal(r->stats.pool_stats.failures, 1);
    assert_int_equal(r->stats.pool_stats.successes, 3);
    weir_results_free(r);
    house_close(&h);
}

static void the_last_word_of_a_callback_counts(void **state)
{
    struct script s = {.say = change_mind, .times = UINT32_MAX, .only = 0};
    struct house h = house_open(1, follow, &s);
    struct weir_results *r = run_script(&h, 1);

    (void)state;
    assert_int_equal(r->items[0].outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(r->items[0].status, 422);
    assert_string_equal(r->items[0].message, "the last word counts");
    assert_int_equal(r->items[0].output_len, 0);
    weir_results_free(r);
    house_close(&h);
}

static void no_output_with_a_length(struct weir_answer *a)
{
    assert_false(weir_answer_ok(a, NULL, 3));
}

static void an_output_that_is_null_is_the_rows_failure(void **state)
{
    struct script s = {.say = no_output_with_a_length, .times = UINT32_MAX, .only = 0};
    struct house h = house_open(1, follow, &s);
    struct weir_results *r = run_script(&h, 1);

    (void)state;
    assert_int_equal(r->items[0].outcome, WEIR_OUTCOME_FAILED);
    assert_non_null(strstr(r->items[0].message, "output is NULL"));
    weir_results_free(r);
    house_close(&h);
}

static void a_callback_that_says_nothing_is_lost_and_tried_again(void **state)
{
    (void)state;
    for (uint32_t times = 1; times <= 3; times += 2) {
        struct script s = {.say = say_nothing, .times = times, .only = 1};
        struct house h = house_open(2, follow, &s);
        struct weir_results *r = run_script(&h, 3);
        const struct weir_result *one = &r->items[1];

        assert_int_equal(one->outcome, times == 3 ? WEIR_OUTCOME_LOST : WEIR_OUTCOME_OK);
        assert_int_equal(one->reason, times == 3 ? WEIR_REASON_NO_OUTCOME : WEIR_REASON_NONE);
        assert_int_equal(one->attempts, times == 3 ? 3 : 2);
        weir_results_free(r);
        house_close(&h);
    }
}

/* It costs that row, and no other; the pool starts a thread in its place. */
static void a_callback_that_ends_its_thread_costs_its_row_only(void **state)
{
    struct weir_pool_options o = quick_options(1);

    (void)state;
    for (uint64_t size = 1; size <= 3; size += 2) {
        struct script s = {.say = end_thread, .times = UINT32_MAX, .only = 5};
        struct house h;
        struct weir_results *r;

        o.size = size;
        h = house_open_with(&o, follow, &s);
        r = run_script(&h, 50);
        for (size_t i = 0; i < 50; i++)
            assert_int_equal(r->items[i].outcome, i == 5 ? WEIR_OUTCOME_LOST : WEIR_OUTCOME_OK);
        assert_int_equal(r->items[5].reason, WEIR_REASON_CALLBACK_LOST);
        assert_int_equal(r->items[5].attempts, 3);
        assert_string_equal(r->items[5].message, "the callback ended its thread");
        weir_results_free(r);
        house_close(&h);
    }
}

static void even_if_every_callback_ends_its_thread_all_rows_end(void **state)
{
    struct script s = {.say = end_thread, .times = UINT32_MAX, .only = UINT64_MAX};
    struct house h = house_open(3, follow, &s);
    struct weir_results *r = run_script(&h, 40);

    (void)state;
    for (size_t i = 0; i < 40; i++)
        assert_int_equal(r->items[i].outcome, WEIR_OUTCOME_LOST);
    assert_int_equal(r->stats.pool_stats.failures, 40);
    assert_int_equal(r->stats.attempts, 120);
    weir_results_free(r);
    house_close(&h);
}

/* ---- time ---- */

struct stubborn {
    struct latch inside, open, out;
    atomic_int running, peak;
    atomic_bool saw_cancel;
    uint64_t only;
};

#define STUBBORN_INIT(row)                                                                         \
    {                                                                                              \
        LATCH_INIT, LATCH_INIT, LATCH_INIT, 0, 0, false, row                                       \
    }

/* Row `only` ignores that nobody waits for it any more, in its first attempt. */
static void stay(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    struct stubborn *s = ctx;
    int now = atomic_fetch_add(&s->running, 1) + 1;

    if (now > atomic_load(&s->peak))
        atomic_store(&s->peak, now);
    if (row_number(row) == s->only && latch_count(&s->inside) == 0) {
        latch_add(&s->inside, 1);
        (void)latch_wait(&s->open, 1);
        if (weir_answer_cancelled(answer))
            atomic_store(&s->saw_cancel, true);
        latch_add(&s->out, 1);
    }
    weir_answer_ok(answer, row->data, row->len);
    atomic_fetch_sub(&s->running, 1);
}

/*
 * The row is tried again and has its result, while the first attempt still runs. The permit stays
 * with that attempt: of two places one is left, and so both are never exceeded (P3).
 */
static void a_callback_over_its_time_keeps_its_place_until_it_returns(void **state)
{
    struct stubborn s = STUBBORN_INIT(0);
    struct weir_pool_options o = quick_options(2);
    struct weir_row *rows = rows_make(20);
    const struct weir_result *r;
    struct weir_stats stats;
    struct weir_batch *b;
    struct house h;

    (void)state;
    o.timeout_ms = 150; /* long enough for what is not held up, on a machine that is busy */
    h = house_open_with(&o, stay, &s);
    ok(weir_batch_open(h.pool, NULL, &b, &err));
    add_all(b, rows, 20);
    for (uint64_t i = 0; i < 20; i++) {
        ok(weir_batch_next(b, -1, &r, &err));
        assert_int_equal(r->submit_index, i);
        assert_int_equal(r->outcome, WEIR_OUTCOME_OK);
        assert_true(r->attempts >= (i == 0 ? 2 : 1));
    }
    says(WEIR_E_END, "no more", weir_batch_next(b, -1, &r, &err));
    assert_int_equal(latch_count(&s.out), 0); /* it is still inside */
    ok(weir_pool_stats(h.pool, &stats, &err));
    assert_int_equal(stats.pending, 1); /* and counted */
    latch_add(&s.open, 1);
    weir_batch_close(b);
    assert_int_equal(latch_count(&s.out), 1); /* close has waited for it */
    assert_true(atomic_load(&s.saw_cancel));
    assert_true(atomic_load(&s.peak) <= 2);
    free(rows);
    house_close(&h);
}

static void *open_later(void *arg)
{
    struct stubborn *s = arg;

    /* The row has been judged without it by now; whoever closes waits, or soon will. */
    latch_add(&s->open, 1);
    return NULL;
}

static void closing_waits_for_a_callback_that_was_left_behind(void **state)
{
    struct stubborn s = STUBBORN_INIT(0);
    struct weir_pool_options o = quick_options(1);
    struct weir_row *rows = rows_make(1);
    const struct weir_result *r;
    struct weir_batch *b;
    pthread_t thread;
    struct house h;

    (void)state;
    o.timeout_ms = 10;
    o.max_attempts = 1;
    h = house_open_with(&o, stay, &s);
    ok(weir_batch_open(h.pool, NULL, &b, &err));
    add_all(b, rows, 1);
    ok(weir_batch_next(b, -1, &r, &err));
    assert_int_equal(r->outcome, WEIR_OUTCOME_TIMEOUT);
    assert_int_equal(r->reason, WEIR_REASON_TIMEOUT);
    assert_non_null(strstr(r->message, "no answer within 0.01 s"));
    assert_int_equal(pthread_create(&thread, NULL, open_later, &s), 0);
    weir_batch_close(b);
    assert_int_equal(latch_count(&s.out), 1);
    pthread_join(thread, NULL);
    free(rows);
    house_close(&h);
}

static void a_batchs_deadline_ends_all_its_rows(void **state)
{
    struct stubborn s = STUBBORN_INIT(0);
    struct house h = house_open(1, stay, &s);
    struct weir_row *rows = rows_make(5);
    struct weir_batch_options o;
    const struct weir_result *r;
    struct weir_batch *b;

    (void)state;
    weir_batch_options_init(&o);
    o.deadline_ms = 150;
    ok(weir_batch_open(h.pool, &o, &b, &err));
    add_all(b, rows, 5);
    for (int i = 0; i < 5; i++) {
        ok(weir_batch_next(b, -1, &r, &err));
        assert_int_equal(r->outcome, WEIR_OUTCOME_TIMEOUT);
        assert_int_equal(r->reason, WEIR_REASON_DEADLINE);
        assert_int_equal(r->attempts, i == 0 ? 1 : 0);
        assert_int_equal(r->start_time_ns != 0, i == 0);
        assert_non_null(strstr(r->message, "deadline"));
    }
    latch_add(&s.open, 1);
    weir_batch_close(b);
    free(rows);
    house_close(&h);
}

static void a_rows_deadline_is_its_own(void **state)
{
    struct stubborn s = STUBBORN_INIT(0);
    struct house h = house_open(1, stay, &s);
    struct weir_row *rows = rows_make(3);
    const struct weir_result *r;
    struct weir_batch *b;

    (void)state;
    rows[1].deadline_ms = 20; /* it waits behind row 0 */
    ok(weir_batch_open(h.pool, NULL, &b, &err));
    add_all(b, rows, 3);
    assert_true(latch_wait(&s.inside, 1));
    says(WEIR_E_AGAIN, "in time", weir_batch_next(b, 60, &r, &err));
    latch_add(&s.open, 1);
    for (int i = 0; i < 3; i++) {
        ok(weir_batch_next(b, -1, &r, &err));
        assert_int_equal(r->outcome, i == 1 ? WEIR_OUTCOME_TIMEOUT : WEIR_OUTCOME_OK);
        assert_int_equal(r->reason, i == 1 ? WEIR_REASON_DEADLINE : WEIR_REASON_NONE);
    }
    weir_batch_close(b);
    free(rows);
    house_close(&h);
}

/* The pacer holds for every dispatch of the pool: two are never nearer than the delay. */
static void dispatches_are_spaced(void **state)
{
    struct weir_pool_options o = quick_options(4);
    struct weir_row *rows = rows_make(8);
    struct weir_results *r;
    struct house h;

    (void)state;
    o.min_dispatch_delay_ms = 4;
    h = house_open_with(&o, echo, NULL);
    ok(weir_run(h.pool, rows, 8, NULL, &r, &err));
    assert_true(r->items[7].complete_time_ns - r->items[0].submit_time_ns >= 7 * 4 * 1000000);
    assert_true(r->stats.pool_stats.current_delay_ms <= 4);
    weir_results_free(r);
    free(rows);
    house_close(&h);
}

static void statistics_have_the_names_and_values_of_the_design(void **state)
{
    struct script s = {.say = say_full, .times = 2, .only = 0};
    struct weir_pool_options o = quick_options(3);
    struct weir_results *r;
    struct weir_stats pool;
    struct house h;

    (void)state;
    o.max_capacity_retry_seconds = 77.5;
    o.max_dispatch_delay_ms = 5000;
    o.recovery_step_ms = 8;
    h = house_open_with(&o, follow, &s);
    r = run_script(&h, 1);
    assert_int_equal(r->stats.pool_config.pool_size, 3);
    assert_true(r->stats.pool_config.max_capacity_retry_seconds == 77.5);
    /* 8, then 16 at the second refusal; the success takes 8 off again. */
    assert_true(r->stats.pool_stats.peak_delay_ms == 16);
    assert_true(r->stats.pool_stats.total_throttle_time_ms == 24);
    assert_true(r->stats.pool_stats.current_delay_ms == 8);
    assert_true(r->stats.pool_config.dispatch_delay_at_completion_ms == 8);
    assert_int_equal(r->stats.pool_stats.capacity_retries, 2);
    assert_int_equal(r->stats.pool_stats.successes, 1);
    assert_int_equal(r->stats.pool_stats.failures, 0);
    assert_int_equal(r->stats.pool_stats.max_concurrent_reached, 1);
    weir_results_free(r);
    /* The delay is the pool's; the counters are the batch's. */
    s.times = 0;
    r = run_script(&h, 1);
    assert_true(r->stats.pool_stats.peak_delay_ms == 8);
    assert_int_equal(r->stats.pool_stats.capacity_retries, 0);
    assert_true(r->stats.pool_stats.total_throttle_time_ms == 0);
    assert_true(r->stats.pool_stats.current_delay_ms == 0);
    weir_results_free(r);
    ok(weir_pool_stats(h.pool, &pool, &err));
    assert_true(pool.pool_stats.peak_delay_ms == 16);
    assert_int_equal(pool.pool_stats.capacity_retries, 2);
    assert_int_equal(pool.pool_stats.successes, 2);
    assert_int_equal(pool.attempts, 4);
    house_close(&h);
}

/* The default throttle tells what it did, in words and numbers that stay. */
static void statistics_say_how_the_throttle_runs(void **state)
{
    struct script s = {.say = say_full, .times = 1, .only = 5};
    struct weir_pool_options o;
    struct weir_results *r;
    struct weir_stats pool;
    uint64_t sum = 0;
    struct house h;

    (void)state;
    weir_pool_options_init(&o);
    assert_int_equal(o.throttle, WEIR_THROTTLE_ADAPTIVE);
    assert_true(o.waste == 0.02);
    h = house_open_with(&o, follow, &s);
    r = run_script(&h, 4);
    assert_string_equal(r->stats.throttle.kind, "adaptive");
    assert_string_equal(r->stats.throttle.mode, "open");
    assert_int_equal(r->stats.throttle.changes, 0);
    assert_true(r->stats.throttle.rate_per_second == 0 && r->stats.throttle.window == 0);
    assert_int_equal(r->stats.refused, 0);
    weir_results_free(r);
    s.only = 2;
    s.times = 2; /* the batch before counts */
    r = run_script(&h, 4);
    assert_int_equal(r->items[2].attempts, 2);
    assert_int_equal(r->stats.refused, 1);
    assert_string_equal(r->stats.throttle.mode, "rate");
    assert_true(r->stats.throttle.rate_per_second > 0);
    assert_true(r->stats.throttle.rate_min_per_second > 0);
    for (unsigned i = 0; i < WEIR_THROTTLE_REASONS; i++) {
        sum += r->stats.throttle.changes_by_reason[i];
        if (r->stats.throttle.changes_by_reason[i] > 0)
            assert_non_null(weir_throttle_reason_name(i));
    }
    assert_true(sum > 0);
    assert_int_equal(r->stats.throttle.changes, sum);
    assert_non_null(weir_throttle_reason_text(r->stats.throttle.reason));
    weir_results_free(r);
    ok(weir_pool_stats(h.pool, &pool, &err));
    assert_int_equal(pool.throttle.changes, sum);
    assert_string_equal(weir_throttle_reason_name(0), "start");
    assert_null(weir_throttle_reason_name(WEIR_THROTTLE_REASONS - 1));
    assert_null(weir_throttle_reason_text(UINT32_MAX));
    house_close(&h);
}

static void refuse_all(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    (void)ctx;
    (void)row;
    say_never(answer);
}

/* More rows than are ever handed over before the first of them is reported. */
#define ROWS 2000
static void a_batch_may_stop_when_rows_fail_alike(void **state)
{
    struct house h = house_open(1, refuse_all, NULL);
    struct weir_row *rows = rows_make(ROWS);
    struct weir_batch_options o;
    struct weir_results *r = NULL;

    (void)state;
    weir_batch_options_init(&o);
    o.when_alike = WEIR_ALIKE_STOP;
    ok(weir_run(h.pool, rows, ROWS, &o, &r, &err));
    assert_int_equal(r->count, ROWS);
    assert_int_equal(r->items[0].reason, WEIR_REASON_CALLBACK);
    assert_int_equal(r->items[ROWS - 1].outcome, WEIR_OUTCOME_CANCELLED);
    assert_string_equal(r->items[ROWS - 1].message,
                        "the batch was stopped before the row could run");
    assert_int_equal(r->items[ROWS - 1].attempts, 0);
    weir_results_free(r);
    o.when_alike = WEIR_ALIKE_GO_ON;
    ok(weir_run(h.pool, rows, ROWS, &o, &r, &err));
    assert_int_equal(r->items[ROWS - 1].reason, WEIR_REASON_CALLBACK);
    weir_results_free(r);
    o.when_alike = WEIR_ALIKE_STOP_AFTER_SHARE;
    says(WEIR_E_INVALID, "alike_share is 0; it must be more than 0, and 1 at most",
         weir_run(h.pool, rows, ROWS, &o, &r, &err));
    o.alike_share = 1;
    ok(weir_run(h.pool, rows, ROWS, &o, &r, &err));
    assert_int_equal(r->items[ROWS - 1].outcome, WEIR_OUTCOME_CANCELLED);
    weir_results_free(r);
    o.unordered = true;
    says(WEIR_E_INVALID, "for unordered ones open a batch",
         weir_run(h.pool, rows, ROWS, &o, &r, &err));
    free(rows);
    house_close(&h);
}

#undef ROWS

static void an_unordered_batch_gives_results_as_they_come(void **state)
{
    struct script script = {.say = say_retry, .times = 2, .only = 0};
    struct house h = house_open(1, follow, &script);
    struct weir_row *rows = rows_make(3);
    const struct weir_result *one;
    struct weir_batch_options o;
    struct weir_batch *b;

    (void)state;
    weir_batch_options_init(&o);
    o.unordered = true;
    ok(weir_batch_open(h.pool, &o, &b, &err));
    ok(weir_batch_add_many(b, rows, 3, true, NULL, &err));
    ok(weir_batch_end(b, &err));
    ok(weir_batch_next(b, -1, &one, &err));
    assert_int_equal(one->submit_index, 1); /* the first row is tried again meanwhile */
    ok(weir_batch_next(b, -1, &one, &err));
    assert_int_equal(one->submit_index, 2);
    ok(weir_batch_next(b, -1, &one, &err));
    assert_int_equal(one->submit_index, 0);
    assert_int_equal(one->attempts, 3);
    assert_int_equal(weir_batch_next(b, -1, &one, NULL), WEIR_E_END);
    weir_batch_close(b);
    free(rows);
    house_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_is_not_failure),
        cmocka_unit_test(without_a_throttle_full_is_not_failure_either),
        cmocka_unit_test(full_for_too_long_ends_at_the_rows_own_limit),
        cmocka_unit_test(a_pause_that_is_asked_for_holds_the_whole_pool),
        cmocka_unit_test(a_pause_above_the_ceiling_fails_the_row_and_says_so),
        cmocka_unit_test(a_retryable_failure_is_tried_again_up_to_a_limit),
        cmocka_unit_test(a_permanent_failure_ends_its_row_at_once),
        cmocka_unit_test(the_last_word_of_a_callback_counts),
        cmocka_unit_test(an_output_that_is_null_is_the_rows_failure),
        cmocka_unit_test(a_callback_that_says_nothing_is_lost_and_tried_again),
        cmocka_unit_test(a_callback_that_ends_its_thread_costs_its_row_only),
        cmocka_unit_test(even_if_every_callback_ends_its_thread_all_rows_end),
        cmocka_unit_test(a_callback_over_its_time_keeps_its_place_until_it_returns),
        cmocka_unit_test(closing_waits_for_a_callback_that_was_left_behind),
        cmocka_unit_test(a_batchs_deadline_ends_all_its_rows),
        cmocka_unit_test(a_rows_deadline_is_its_own),
        cmocka_unit_test(a_batch_may_stop_when_rows_fail_alike),
        cmocka_unit_test(an_unordered_batch_gives_results_as_they_come),
        cmocka_unit_test(dispatches_are_spaced),
        cmocka_unit_test(statistics_say_how_the_throttle_runs),
        cmocka_unit_test(statistics_have_the_names_and_values_of_the_design),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
