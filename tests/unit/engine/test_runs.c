/*
 * Rows of very short work through the library: by the hundred thousand they go in runs
 * (src/core/run.c), and nobody can tell by the results. What a test does only to some rows it does
 * after so many quick ones that runs are under way.
 */
#include "base/mem.h"
#include "engine_test.h"

#include <inttypes.h>
#include <sched.h>

#define ROWS  100000
#define QUICK 20000 /* rows before the first that is not */

enum deed { QUICKLY, LONG, FAILS, FAILS_ONCE, FULL, SAYS_NOTHING, ENDS_THREAD, LARGE };

static struct {
    struct latch inside, open;
    enum deed (*deed_of)(uint64_t n);
    atomic_bool told_to_stop;
    atomic_uint attempts[ROWS]; /* of each row */
    atomic_int running, peak;
} w;

static enum deed quick(uint64_t n)
{
    (void)n;
    return QUICKLY;
}

static void say_large(struct weir_answer *answer, uint64_t n)
{
    char text[100];

    memset(text, 'x', sizeof text);
    memcpy(text, &n, sizeof n);
    weir_answer_ok(answer, text, sizeof text);
}

static void act(struct weir_answer *answer, uint64_t n, unsigned attempt)
{
    switch (w.deed_of(n)) {
    case LONG:
        latch_add(&w.inside, 1);
        while (!latch_count(&w.open) && !weir_answer_cancelled(answer))
            sched_yield();
        atomic_store(&w.told_to_stop, weir_answer_cancelled(answer));
        break;
    case FAILS:
        weir_answer_failed(answer, false, 7, "no");
        return;
    case FAILS_ONCE:
        if (attempt == 1) {
            weir_answer_failed(answer, true, 8, "not yet");
            return;
        }
        break;
    case FULL:
        if (attempt == 1) {
            weir_answer_capacity(answer, 429, "full");
            return;
        }
        break;
    case SAYS_NOTHING:
        if (attempt == 1)
            return;
        break;
    case ENDS_THREAD:
        if (attempt == 1) {
            atomic_fetch_sub(&w.running, 1);
            pthread_exit(NULL);
        }
        break;
    case LARGE:
        say_large(answer, n);
        return;
    case QUICKLY:
        break;
    }
    weir_answer_ok(answer, &n, sizeof n);
}

static void work(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    int running = atomic_fetch_add(&w.running, 1) + 1, peak = atomic_load(&w.peak);
    uint64_t n;

    (void)ctx;
    while (running > peak && !atomic_compare_exchange_weak(&w.peak, &peak, running))
        ;
    memcpy(&n, row->data, sizeof n);
    act(answer, n, atomic_fetch_add(&w.attempts[n], 1) + 1);
    atomic_fetch_sub(&w.running, 1);
}

struct stream {
    struct house house;
    struct weir_batch *batch;
    pthread_t adder;
    uint64_t rows;
};

static void *add_rows(void *arg)
{
    struct stream *s = arg;

    for (uint64_t n = 0; n < s->rows; n++) {
        struct weir_row row = {.data = &n, .len = sizeof n, .user = &w.attempts[n]};
        enum weir_status status = weir_batch_add(s->batch, &row, true, NULL);

        if (status != WEIR_OK)
            break; /* stopped */
    }
    weir_batch_end(s->batch, NULL);
    return NULL;
}

static struct stream stream_open(uint64_t threads, uint64_t rows, enum deed (*deed_of)(uint64_t n))
{
    struct weir_batch_options options;
    struct stream s = {.rows = rows};

    memset(&w, 0, sizeof w);
    w.inside = w.open = (struct latch)LATCH_INIT;
    w.deed_of = deed_of;
    s.house = house_open(threads, work, NULL);
    weir_batch_options_init(&options);
    options.window_rows = 4096;
    ok(weir_batch_open(s.house.pool, &options, &s.batch, &err));
    return s;
}

static void stream_start(struct stream *s)
{
    assert_int_equal(pthread_create(&s->adder, NULL, add_rows, s), 0);
}

static void stream_close(struct stream *s)
{
    pthread_join(s->adder, NULL);
    weir_batch_close(s->batch);
    house_close(&s->house);
}

/* The record of a row is whole, whichever way it went. */
static void check_result(const struct weir_result *r, uint64_t index)
{
    char key[24];

    assert_int_equal(r->submit_index, index);
    snprintf(key, sizeof key, "%" PRIu64, index);
    assert_string_equal(r->key, key);
    assert_ptr_equal(r->user, &w.attempts[index]);
    assert_int_equal(r->attempts, atomic_load(&w.attempts[index]));
    assert_true(r->submit_time_ns <= r->start_time_ns);
    assert_true(r->start_time_ns <= r->complete_time_ns);
    assert_true(r->complete_time_ns <= r->deliver_time_ns);
    assert_int_equal(r->buffer_wait_ns, r->deliver_time_ns - r->complete_time_ns);
}

static void check_ok(const struct weir_result *r, uint64_t index)
{
    uint64_t n;

    check_result(r, index);
    assert_int_equal(r->outcome, WEIR_OUTCOME_OK);
    assert_true(r->output_len >= sizeof n);
    memcpy(&n, r->output, sizeof n);
    assert_int_equal(n, index);
    assert_int_equal(((const char *)r->output)[r->output_len], '\0');
    assert_string_equal(r->message, "");
}

/* Takes results up to this one; the largest complete_index of them must be one less than they are, or more. */
static void take_ok(struct stream *s, uint64_t from, uint64_t to)
{
    const struct weir_result *r;

    for (uint64_t i = from; i < to; i++) {
        ok(weir_batch_next(s->batch, DEADLINE_S * 1000, &r, &err));
        check_ok(r, i);
    }
}

static void take_end(struct stream *s)
{
    const struct weir_result *r;

    says(WEIR_E_END, "no more", weir_batch_next(s->batch, DEADLINE_S * 1000, &r, &err));
}

static void check_stats(struct stream *s, uint64_t rows, uint64_t attempts)
{
    struct weir_stats t;

    ok(weir_batch_stats(s->batch, &t, &err));
    assert_int_equal(t.accepted, rows);
    assert_int_equal(t.finished, rows);
    assert_int_equal(t.delivered, rows);
    assert_int_equal(t.attempts, attempts);
    assert_int_equal(t.pending, 0);
    assert_true(t.pool_stats.max_concurrent_reached <= t.pool_config.pool_size);
    assert_true(atomic_load(&w.peak) <= (int)t.pool_config.pool_size);
}

static void each_of_many_quick_rows_has_its_own_record(void **state)
{
    (void)state;
    for (uint64_t threads = 1; threads <= 3; threads++) {
        struct stream s = stream_open(threads, ROWS, quick);

        stream_start(&s);
        take_ok(&s, 0, ROWS);
        take_end(&s);
        check_stats(&s, ROWS, ROWS);
        stream_close(&s);
    }
}

static void complete_indexes_are_a_permutation(void **state)
{
    static bool seen[ROWS];
    struct stream s = stream_open(2, ROWS, quick);
    const struct weir_result *r;

    (void)state;
    memset(seen, 0, sizeof seen);
    stream_start(&s);
    for (uint64_t i = 0; i < ROWS; i++) {
        ok(weir_batch_next(s.batch, DEADLINE_S * 1000, &r, &err));
        assert_true(r->complete_index < ROWS && !seen[r->complete_index]);
        seen[r->complete_index] = true;
    }
    stream_close(&s);
}

static enum deed large_outputs(uint64_t n)
{
    return n % 3 == 0 ? LARGE : QUICKLY;
}

static void large_outputs_come_whole(void **state)
{
    struct stream s = stream_open(2, ROWS, large_outputs);

    (void)state;
    stream_start(&s);
    take_ok(&s, 0, ROWS);
    take_end(&s);
    check_stats(&s, ROWS, ROWS);
    stream_close(&s);
}

static enum deed long_after_quick(uint64_t n)
{
    return n == QUICK + 77 ? LONG : QUICKLY;
}

/* Neither those before it in its run, nor, where there is another thread, those behind it. */
static void a_callback_that_takes_long_after_all_holds_up_no_other_row(void **state)
{
    (void)state;
    for (uint64_t threads = 1; threads <= 2; threads++) {
        struct stream s = stream_open(threads, QUICK + 1000, long_after_quick);
        struct weir_stats t;

        stream_start(&s);
        take_ok(&s, 0, QUICK + 77);
        assert_true(latch_wait(&w.inside, 1));
        do
            ok(weir_batch_stats(s.batch, &t, &err));
        while (threads > 1 && t.finished < QUICK + 999);
        assert_int_equal(t.delivered, QUICK + 77);
        latch_add(&w.open, 1);
        take_ok(&s, QUICK + 77, QUICK + 1000);
        take_end(&s);
        check_stats(&s, QUICK + 1000, QUICK + 1000);
        stream_close(&s);
    }
}

static enum deed odd_ones(uint64_t n)
{
    static const enum deed deeds[] = {FAILS, FAILS_ONCE, FULL, SAYS_NOTHING, ENDS_THREAD};

    return n >= QUICK && n % 5000 == 3 ? deeds[n / 5000 % 5] : QUICKLY;
}

static void a_row_that_does_not_end_well_goes_its_own_way(void **state)
{
    struct stream s = stream_open(2, ROWS, odd_ones);
    const struct weir_result *r;
    uint64_t attempts = 0;

    (void)state;
    stream_start(&s);
    for (uint64_t i = 0; i < ROWS; i++) {
        enum deed deed = odd_ones(i);

        ok(weir_batch_next(s.batch, DEADLINE_S * 1000, &r, &err));
        attempts += r->attempts;
        if (deed != FAILS) {
            check_ok(r, i);
            assert_int_equal(r->attempts, deed == QUICKLY ? 1 : 2);
            assert_int_equal(r->capacity_retries, deed == FULL);
            continue;
        }
        check_result(r, i);
        assert_int_equal(r->outcome, WEIR_OUTCOME_FAILED);
        assert_int_equal(r->status, 7);
        assert_string_equal(r->message, "no");
    }
    take_end(&s);
    check_stats(&s, ROWS, attempts);
    stream_close(&s);
}

static enum deed long_always_at_the_end(uint64_t n)
{
    return n >= QUICK ? LONG : QUICKLY;
}

/* P8: a callback that is in a run is told to stop like any other, and rows behind it end as cancelled. */
static void a_shutdown_tells_a_callback_in_a_run_to_stop(void **state)
{
    struct stream s = stream_open(2, QUICK + 500, long_always_at_the_end);
    const struct weir_result *r;
    uint64_t cancelled = 0, rows = QUICK;

    (void)state;
    stream_start(&s);
    take_ok(&s, 0, QUICK);
    assert_true(latch_wait(&w.inside, 1));
    ok(weir_shutdown(s.house.engine, false, &err));
    while (weir_batch_next(s.batch, DEADLINE_S * 1000, &r, NULL) == WEIR_OK) {
        assert_int_equal(r->submit_index, rows++);
        cancelled += r->outcome == WEIR_OUTCOME_CANCELLED;
    }
    assert_true(atomic_load(&w.told_to_stop));
    assert_true(cancelled + 2 >= rows - QUICK);
    stream_close(&s);
}

static void closing_in_the_middle_leaves_nothing_behind(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct stream s = stream_open(2, ROWS, i % 2 ? odd_ones : large_outputs);

        stream_start(&s);
        take_ok(&s, 0, (uint64_t)i * 900);
        ok(weir_batch_stop(s.batch, i % 3 == 0, &err));
        stream_close(&s);
    }
}

/* ---- many rows in one call ---- */

static void an_array_of_rows_is_added_as_if_one_by_one(void **state)
{
    static struct weir_row rows[1000];
    static uint64_t numbers[1000];
    static char large[1000][200];
    struct stream s = stream_open(2, 0, quick);
    const struct weir_result *r;
    size_t added = 0;

    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        numbers[i] = i;
        memcpy(large[i], &i, sizeof i);
        rows[i] = (struct weir_row){.data = &numbers[i], .len = sizeof numbers[i]};
        if (i % 7 == 0) /* needs memory of its own */
            rows[i] = (struct weir_row){.data = large[i], .len = sizeof large[i], .key = "large"};
    }
    ok(weir_batch_add_many(s.batch, rows, 1000, true, &added, &err));
    assert_int_equal(added, 1000);
    ok(weir_batch_add_many(s.batch, rows, 0, true, NULL, &err));
    ok(weir_batch_end(s.batch, &err));
    for (uint64_t i = 0; i < 1000; i++) {
        char key[24];

        ok(weir_batch_next(s.batch, DEADLINE_S * 1000, &r, &err));
        assert_int_equal(r->submit_index, i);
        assert_memory_equal(r->output, &i, sizeof i);
        snprintf(key, sizeof key, "%" PRIu64, i);
        assert_string_equal(r->key, i % 7 ? key : "large");
    }
    weir_batch_close(s.batch);
    house_close(&s.house);
}

static void an_array_is_added_as_far_as_it_goes(void **state)
{
    uint64_t n = 1;
    struct weir_row rows[6000];
    struct stream s = stream_open(1, 0, quick);
    const struct weir_result *r;
    size_t added;

    (void)state;
    for (size_t i = 0; i < 6000; i++)
        rows[i] = (struct weir_row){.data = &n, .len = sizeof n};
    rows[20].key = "";
    says(WEIR_E_INVALID, "row 20: ", weir_batch_add_many(s.batch, rows, 50, true, &added, &err));
    assert_int_equal(added, 20);
    rows[20].key = NULL;
    says(WEIR_E_AGAIN, "full", weir_batch_add_many(s.batch, rows, 6000, false, &added, &err));
    assert_int_equal(added, 4096 - 20);
    for (int i = 0; i < 4096; i++)
        ok(weir_batch_next(s.batch, DEADLINE_S * 1000, &r, &err));
    ok(weir_batch_add_many(s.batch, rows, 10, false, &added, &err));
    ok(weir_batch_end(s.batch, &err));
    says(WEIR_E_END, "ended", weir_batch_add_many(s.batch, rows, 10, true, &added, &err));
    assert_int_equal(added, 0);
    weir_batch_close(s.batch);
    house_close(&s.house);
}

/* ---- memory ---- */

#define SCARCE_ROWS 6000

static enum deed some_large_outputs(uint64_t n)
{
    return n % 100 == 0 ? LARGE : QUICKLY;
}

/* Adds and takes by turns; what comes is in order, and each is done or says what it lacked. */
static enum weir_status one_life_with(struct weir_batch *b)
{
    enum weir_status status = WEIR_OK;
    const struct weir_result *r;
    uint64_t added = 0, taken = 0;

    while (status == WEIR_OK || status == WEIR_E_AGAIN) {
        char data[100];
        struct weir_row row = {.data = data, .len = added % 300 ? sizeof added : sizeof data};

        memcpy(data, &added, sizeof added);
        status = added < SCARCE_ROWS ? weir_batch_add(b, &row, false, NULL) : WEIR_E_AGAIN;
        if (status == WEIR_OK) {
            added++;
        } else if (status == WEIR_E_AGAIN) {
            if (added == SCARCE_ROWS)
                weir_batch_end(b, NULL);
            status = weir_batch_next(b, DEADLINE_S * 1000, &r, NULL);
            if (status != WEIR_OK)
                break;
            assert_int_equal(r->submit_index, taken++);
            assert_true(r->outcome == WEIR_OUTCOME_OK || r->outcome == WEIR_OUTCOME_FAILED);
        }
    }
    if (status == WEIR_E_END)
        assert_int_equal(taken, SCARCE_ROWS);
    return status;
}

static void any_allocation_may_fail_while_rows_go_in_runs(void **state)
{
    bool failed = true;

    (void)state;
    for (unsigned long n = 1; failed; n++) {
        struct weir_batch_options options;
        struct stream s = stream_open(2, 0, some_large_outputs);
        enum weir_status status;

        weir_batch_close(s.batch);
        weir_batch_options_init(&options);
        options.window_rows = 1000;
        mem_fail_at(n);
        status = weir_batch_open(s.house.pool, &options, &s.batch, NULL);
        if (status == WEIR_OK) {
            status = one_life_with(s.batch);
            weir_batch_close(s.batch);
        }
        failed = mem_has_failed();
        mem_fail_at(0);
        assert_true(status == WEIR_E_END || (failed && status == WEIR_E_NOMEM));
        house_close(&s.house);
        assert_true(n < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_of_many_quick_rows_has_its_own_record),
        cmocka_unit_test(complete_indexes_are_a_permutation),
        cmocka_unit_test(large_outputs_come_whole),
        cmocka_unit_test(a_callback_that_takes_long_after_all_holds_up_no_other_row),
        cmocka_unit_test(a_row_that_does_not_end_well_goes_its_own_way),
        cmocka_unit_test(a_shutdown_tells_a_callback_in_a_run_to_stop),
        cmocka_unit_test(closing_in_the_middle_leaves_nothing_behind),
        cmocka_unit_test(an_array_of_rows_is_added_as_if_one_by_one),
        cmocka_unit_test(an_array_is_added_as_far_as_it_goes),
        cmocka_unit_test(any_allocation_may_fail_while_rows_go_in_runs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
