/*
 * The public API as something that is misused: NULLs, options out of their range, calls in the
 * wrong state, no memory. Each gets an error with a message that says what is wrong, and nothing
 * else happens.
 */
#include "engine_test.h"

#include "base/mem.h"

#include <math.h>

static void a_null_is_an_error_with_its_name(void **state)
{
    struct house h = house_open(1, echo, NULL);
    struct weir_pool_options o = quick_options(1);
    const struct weir_result *result = NULL;
    struct weir_results *results = NULL;
    struct weir_engine *engine = NULL;
    struct weir_batch *batch = NULL;
    struct weir_pool *pool = NULL;
    struct weir_row row = {0};
    struct weir_stats stats;

    (void)state;
    says(WEIR_E_INVALID, "ret is NULL", weir_open(NULL, NULL, &err));
    says(WEIR_E_INVALID, "engine is NULL", weir_shutdown(NULL, true, &err));
    assert_int_equal(weir_close(NULL, NULL), WEIR_OK);
    weir_pool_options_init(NULL);
    weir_batch_options_init(NULL);
    says(WEIR_E_INVALID, "engine is NULL", weir_pool_open_thread(NULL, &o, echo, 0, &pool, &err));
    says(WEIR_E_INVALID, "options is NULL",
         weir_pool_open_thread(h.engine, NULL, echo, NULL, &pool, &err));
    says(WEIR_E_INVALID, "work is NULL",
         weir_pool_open_thread(h.engine, &o, NULL, NULL, &pool, &err));
    says(WEIR_E_INVALID, "ret is NULL",
         weir_pool_open_thread(h.engine, &o, echo, NULL, NULL, &err));
    says(WEIR_E_INVALID, "pool is NULL", weir_pool_stats(NULL, &stats, &err));
    says(WEIR_E_INVALID, "ret is NULL", weir_pool_stats(h.pool, NULL, &err));
    says(WEIR_E_INVALID, "pool is NULL", weir_run(NULL, &row, 1, NULL, &results, &err));
    says(WEIR_E_INVALID, "rows is NULL", weir_run(h.pool, NULL, 1, NULL, &results, &err));
    says(WEIR_E_INVALID, "ret is NULL", weir_run(h.pool, &row, 1, NULL, NULL, &err));
    weir_results_free(NULL);
    says(WEIR_E_INVALID, "pool is NULL", weir_batch_open(NULL, NULL, &batch, &err));
    says(WEIR_E_INVALID, "ret is NULL", weir_batch_open(h.pool, NULL, NULL, &err));
    says(WEIR_E_INVALID, "batch is NULL", weir_batch_add(NULL, &row, false, &err));
    says(WEIR_E_INVALID, "batch is NULL", weir_batch_end(NULL, &err));
    says(WEIR_E_INVALID, "batch is NULL", weir_batch_next(NULL, 0, &result, &err));
    says(WEIR_E_INVALID, "batch is NULL", weir_batch_stop(NULL, true, &err));
    says(WEIR_E_INVALID, "batch is NULL", weir_batch_stats(NULL, &stats, &err));
    weir_batch_close(NULL);
    ok(weir_batch_open(h.pool, NULL, &batch, &err));
    says(WEIR_E_INVALID, "row is NULL", weir_batch_add(batch, NULL, false, &err));
    says(WEIR_E_INVALID, "ret is NULL", weir_batch_next(batch, 0, NULL, &err));
    says(WEIR_E_INVALID, "ret is NULL", weir_batch_stats(batch, NULL, &err));
    weir_batch_close(batch);
    assert_true(!engine && !pool && !results && !result); /* untouched */
    house_close(&h);
}

static void an_answer_that_is_null_is_ignored(void **state)
{
    (void)state;
    assert_false(weir_answer_ok(NULL, "x", 1));
    weir_answer_capacity(NULL, 429, "full");
    weir_answer_retry_after(NULL, 5);
    weir_answer_failed(NULL, true, 1, "m");
    assert_true(weir_answer_cancelled(NULL));
}

/* Without a place for the message nothing is different. */
static void an_error_needs_no_place(void **state)
{
    struct house h = house_open(1, echo, NULL);
    struct weir_batch *batch;

    (void)state;
    assert_int_equal(weir_batch_open(NULL, NULL, &batch, NULL), WEIR_E_INVALID);
    assert_int_equal(weir_batch_open(h.pool, NULL, &batch, NULL), WEIR_OK);
    assert_int_equal(weir_batch_add(batch, &(struct weir_row){.key = ""}, false, NULL),
                     WEIR_E_INVALID);
    assert_int_equal(weir_batch_end(batch, NULL), WEIR_OK);
    assert_int_equal(weir_batch_next(batch, -1, &(const struct weir_result *){0}, NULL),
                     WEIR_E_END);
    weir_batch_close(batch);
    house_close(&h);
}

/* One wrong option after the other, each beside defaults; the message names it. */
static void a_pool_option_out_of_range_is_named(void **state)
{
    struct house h = house_open(1, echo, NULL);
    struct weir_pool *pool = NULL;

    (void)state;
#define REFUSED(field, value) REFUSED_OF(WEIR_THROTTLE_ADAPTIVE, field, value)
#define REFUSED_OF(kind, field, value)                                                             \
    do {                                                                                           \
        struct weir_pool_options o;                                                                \
        weir_pool_options_init(&o);                                                                \
        o.throttle = kind;                                                                         \
        o.field = value;                                                                           \
        says(WEIR_E_INVALID, #field, weir_pool_open_thread(h.engine, &o, echo, 0, &pool, &err));   \
        assert_null(pool);                                                                         \
    } while (0)
    REFUSED(size, 0);
    REFUSED(size, 1000001);
    REFUSED(size, UINT64_MAX);
    REFUSED(throttle, (enum weir_throttle)7);
    REFUSED(waste, 0);
    REFUSED(waste, 0.3);
    REFUSED(waste, (double)NAN);
    REFUSED(min_dispatch_delay_ms, -1);
    REFUSED(min_dispatch_delay_ms, INT64_MAX);
    REFUSED_OF(WEIR_THROTTLE_AIMD, min_dispatch_delay_ms, 5001); /* above max_dispatch_delay_ms */
    REFUSED(max_dispatch_delay_ms, 0);
    REFUSED(max_dispatch_delay_ms, -1);
    REFUSED(max_dispatch_delay_ms, INT64_MAX);
    REFUSED_OF(WEIR_THROTTLE_AIMD, backoff_multiplier, 1.0);
    REFUSED_OF(WEIR_THROTTLE_AIMD, backoff_multiplier, 0.5);
    REFUSED_OF(WEIR_THROTTLE_AIMD, backoff_multiplier, (double)NAN);
    REFUSED_OF(WEIR_THROTTLE_AIMD, backoff_multiplier, (double)INFINITY);
    REFUSED(recovery_step_ms, -1);
    REFUSED_OF(WEIR_THROTTLE_AIMD, recovery_step_ms, 0); /* and min_dispatch_delay_ms is 0 too */
    REFUSED(max_capacity_retry_seconds, 0);
    REFUSED(max_capacity_retry_seconds, -3);
    REFUSED(max_capacity_retry_seconds, (double)NAN);
    REFUSED(max_capacity_retry_seconds, (double)INFINITY);
    REFUSED(rate_per_second, -1);
    REFUSED(rate_per_second, (double)NAN);
    REFUSED(rate_per_second, (double)INFINITY);
    REFUSED(requests_per_minute, -1);
    REFUSED(max_attempts, 0);
    REFUSED(retry_delay_ms, 0);
    REFUSED(retry_delay_ms, -1);
    REFUSED(retry_delay_ms, INT64_MAX);
    REFUSED(timeout_ms, -1);
    REFUSED(timeout_ms, INT64_MAX);
#undef REFUSED
#undef REFUSED_OF
    house_close(&h);
}

/* The ends of the ranges themselves are good. */
static void a_pool_option_at_the_end_of_its_range_is_taken(void **state)
{
    struct house h = house_open(1, echo, NULL);
    struct weir_pool_options o = quick_options(1);
    struct weir_pool *pool;

    (void)state;
    o.recovery_step_ms = 0;
    o.min_dispatch_delay_ms = o.max_dispatch_delay_ms = 1;
    o.backoff_multiplier = 1.0000001;
    o.max_capacity_retry_seconds = 1e300;
    o.max_attempts = 1;
    o.name = "named";
    ok(weir_pool_open_thread(h.engine, &o, echo, NULL, &pool, &err));
    o = quick_options(1000);
    o.throttle = WEIR_THROTTLE_NONE;
    o.recovery_step_ms = 0;
    o.min_dispatch_delay_ms = 0;
    o.max_attempts = UINT32_MAX;
    o.retry_delay_ms = INT64_C(365) * 86400 * 1000;
    o.timeout_ms = o.retry_delay_ms;
    if (weir_pool_open_thread(h.engine, &o, echo, NULL, &pool, NULL) != WEIR_OK) {
        o.recovery_step_ms = 1; /* with throttle none the step does not matter, but it is checked */
        ok(weir_pool_open_thread(h.engine, &o, echo, NULL, &pool, &err));
    }
    house_close(&h);
}

static void a_batch_option_out_of_range_is_named(void **state)
{
    struct house h = house_open(1, echo, NULL);
    struct weir_results *results = NULL;
    struct weir_batch *batch = NULL;
    struct weir_row row = {0};

    (void)state;
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        struct weir_batch_options o;                                                               \
        weir_batch_options_init(&o);                                                               \
        o.field = value;                                                                           \
        says(WEIR_E_INVALID, #field, weir_batch_open(h.pool, &o, &batch, &err));                   \
        says(WEIR_E_INVALID, #field, weir_run(h.pool, &row, 1, &o, &results, &err));               \
        assert_true(!batch && !results);                                                           \
    } while (0)
    REFUSED(window_rows, 0);
    REFUSED(window_rows, (UINT32_C(1) << 24) + 1);
    REFUSED(window_rows, UINT32_MAX);
    REFUSED(window_bytes, 0);
    REFUSED(deadline_ms, -1);
#undef REFUSED
#undef REFUSED_OF
    house_close(&h);
}

static void a_bad_row_costs_nothing_that_was_accepted(void **state)
{
    struct house h = house_open(1, echo, NULL);
    const struct weir_row bad[] = {{.data = NULL, .len = 3}, {.key = ""}, {.deadline_ms = -1}};
    static const char *const named[] = {"len is 3", "key is empty", "deadline_ms is -1"};
    struct weir_results *results = NULL;
    const struct weir_result *r;
    struct weir_batch *b;

    (void)state;
    ok(weir_batch_open(h.pool, NULL, &b, &err));
    ok(weir_batch_add(b, &(struct weir_row){.data = "a", .len = 1}, false, &err));
    for (size_t i = 0; i < 3; i++) {
        struct weir_row rows[] = {{.data = "x", .len = 1}, bad[i]};

        says(WEIR_E_INVALID, named[i], weir_batch_add(b, &bad[i], false, &err));
        says(WEIR_E_INVALID, named[i], weir_run(h.pool, rows, 2, NULL, &results, &err));
        says(WEIR_E_INVALID, "row 1: ", weir_run(h.pool, rows, 2, NULL, &results, &err));
    }
    ok(weir_batch_add(b, &(struct weir_row){.data = "b", .len = 1}, false, &err));
    ok(weir_batch_end(b, &err));
    ok(weir_batch_next(b, -1, &r, &err));
    assert_string_equal(r->output, "a");
    ok(weir_batch_next(b, -1, &r, &err));
    assert_string_equal(r->output, "b");
    assert_int_equal(r->submit_index, 1);
    says(WEIR_E_END, "no more results", weir_batch_next(b, -1, &r, &err));
    says(WEIR_E_END, "ended", weir_batch_add(b, &(struct weir_row){0}, true, &err));
    weir_batch_close(b);
    house_close(&h);
}

static void an_impossible_number_of_rows_is_refused(void **state)
{
    struct house h = house_open(1, echo, NULL);
    struct weir_results *results = NULL;
    struct weir_row row = {0};

    (void)state;
    says(WEIR_E_NOMEM, "memory", weir_run(h.pool, &row, SIZE_MAX / 8, NULL, &results, &err));
    assert_null(results);
    house_close(&h);
}

static void an_engine_with_an_open_batch_is_busy(void **state)
{
    struct house h = house_open(1, echo, NULL);
    struct weir_results *results;
    struct weir_row *rows = rows_make(3);
    struct weir_batch *b;

    (void)state;
    ok(weir_batch_open(h.pool, NULL, &b, &err));
    says(WEIR_E_BUSY, "1 batch", weir_close(h.engine, &err));
    /* Nothing was done: it still works. */
    ok(weir_run(h.pool, rows, 3, NULL, &results, &err));
    assert_int_equal(results->count, 3);
    weir_results_free(results);
    weir_batch_close(b);
    house_close(&h);
    free(rows);
}

static void everything_has_a_name_and_a_version(void **state)
{
    (void)state;
    assert_string_equal(weir_version(), WEIR_VERSION);
    assert_string_equal(weir_outcome_name(WEIR_OUTCOME_CAPACITY), "capacity");
    assert_string_equal(weir_reason_name(WEIR_REASON_RETRY_TIMEOUT), "retry_timeout");
    assert_string_equal(weir_status_name(WEIR_E_BUSY), "busy");
    assert_string_equal(weir_outcome_name((enum weir_outcome)99), "unknown");
}

/* One life of the library; false: some call said that there is no memory. Any other error fails the test. */
static bool one_life(void)
{
    struct weir_options options = {.seed = 1};
    struct weir_pool_options o = quick_options(2);
    struct weir_row *rows = rows_make(20);
    struct weir_results *results;
    struct weir_engine *engine;
    enum weir_status status;
    struct weir_pool *pool;
    struct weir_error err;

    status = weir_open(&options, &engine, &err);
    if (status == WEIR_OK) {
        status = weir_pool_open_thread(engine, &o, echo, NULL, &pool, &err);
        if (status == WEIR_OK)
            status = weir_run(pool, rows, 20, NULL, &results, &err);
        if (status == WEIR_OK) {
            assert_int_equal(results->count, 20);
            for (size_t i = 0; i < results->count; i++)
                assert_int_equal(results->items[i].submit_index, i);
            weir_results_free(results);
        }
        assert_int_equal(weir_close(engine, NULL), WEIR_OK);
    }
    free(rows);
    if (status != WEIR_OK)
        assert_int_equal(status, WEIR_E_NOMEM);
    return status == WEIR_OK;
}

/* Each allocation in turn fails, once: an error or a failed row, never a crash, a hang or a leak. */
static void any_allocation_may_fail(void **state)
{
    (void)state;
    for (unsigned long n = 1;; n++) {
        int failed;

        mem_fail_at(n);
        (void)one_life();
        failed = mem_has_failed();
        mem_fail_at(0);
        if (!failed)
            break;
        assert_true(n < 10000);
    }
    assert_true(one_life());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_null_is_an_error_with_its_name),
        cmocka_unit_test(an_answer_that_is_null_is_ignored),
        cmocka_unit_test(an_error_needs_no_place),
        cmocka_unit_test(a_pool_option_out_of_range_is_named),
        cmocka_unit_test(a_pool_option_at_the_end_of_its_range_is_taken),
        cmocka_unit_test(a_batch_option_out_of_range_is_named),
        cmocka_unit_test(a_bad_row_costs_nothing_that_was_accepted),
        cmocka_unit_test(an_impossible_number_of_rows_is_refused),
        cmocka_unit_test(an_engine_with_an_open_batch_is_busy),
        cmocka_unit_test(everything_has_a_name_and_a_version),
        cmocka_unit_test(any_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
