/*
 * Batches as their callers see them, with real threads: as many results as rows and in their order,
 * streamed as soon as their turn comes, a window that bounds them, and no batch that sees another's
 * rows (P2, P3, P6).
 */
#include "engine_test.h"

#include <sched.h>

static void results_are_rows_in_order(const struct weir_results *r, size_t count)
{
    assert_int_equal(r->count, count);
    for (size_t i = 0; i < count; i++) {
        const struct weir_result *one = &r->items[i];
        uint64_t n;

        assert_int_equal(one->submit_index, i);
        assert_int_equal(one->outcome, WEIR_OUTCOME_OK);
        assert_int_equal(one->output_len, sizeof n);
        memcpy(&n, one->output, sizeof n);
        assert_int_equal(n, i);
        assert_int_equal((uintptr_t)one->user, i);
    }
}

static void run_count(size_t count, uint64_t size)
{
    struct house h = house_open(size, echo, NULL);
    struct weir_row *rows = rows_make(count);
    struct weir_results *r;

    ok(weir_run(h.pool, rows, count, NULL, &r, &err));
    results_are_rows_in_order(r, count);
    assert_int_equal(r->stats.accepted, count);
    assert_int_equal(r->stats.finished, count);
    assert_int_equal(r->stats.delivered, count);
    assert_int_equal(r->stats.pending, 0);
    assert_int_equal(r->stats.attempts, count);
    assert_int_equal(r->stats.pool_stats.successes, count);
    assert_true(r->stats.pool_stats.max_concurrent_reached <= size);
    weir_results_free(r);
    free(rows);
    house_close(&h);
}

static void an_empty_batch_returns_at_once(void **state)
{
    struct house h = house_open(1, echo, NULL);
    const struct weir_result *one;
    struct weir_results *r;
    struct weir_batch *b;

    (void)state;
    ok(weir_run(h.pool, NULL, 0, NULL, &r, &err));
    assert_int_equal(r->count, 0);
    weir_results_free(r);
    ok(weir_batch_open(h.pool, NULL, &b, &err));
    ok(weir_batch_end(b, &err));
    says(WEIR_E_END, "no more", weir_batch_next(b, -1, &one, &err));
    weir_batch_close(b);
    house_close(&h);
}

static void one_row_has_one_result(void **state)
{
    (void)state;
    run_count(1, 1);
    run_count(1, 8);
}

static void a_hundred_thousand_rows_come_back_in_order(void **state)
{
    (void)state;
    run_count(100000, 4);
}

/* 0 to 20 yields, by the row's number: rows overtake one another. */
static void uneven(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    uint64_t n = row_number(row);

    (void)ctx;
    for (uint64_t i = 0; i < n * UINT64_C(0x9E3779B97F4A7C15) >> 59; i++)
        sched_yield();
    weir_answer_ok(answer, row->data, row->len);
}

static void the_record_of_each_row_is_whole_and_agrees(void **state)
{
    enum { COUNT = 5000 };
    struct house h = house_open(4, uneven, NULL);
    struct weir_row *rows = rows_make(COUNT);
    bool *seen = calloc(COUNT, sizeof *seen);
    struct weir_results *r;

    (void)state;
    assert_non_null(seen);
    ok(weir_run(h.pool, rows, COUNT, NULL, &r, &err));
    results_are_rows_in_order(r, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        const struct weir_result *one = &r->items[i];

        /* The order of completion is a permutation of the rows. */
        assert_true(one->complete_index < COUNT && !seen[one->complete_index]);
        seen[one->complete_index] = true;
        assert_true(one->submit_time_ns > INT64_C(1500000000) * 1000000000);
        assert_true(one->submit_time_ns <= one->start_time_ns);
        assert_true(one->start_time_ns <= one->complete_time_ns);
        assert_true(one->complete_time_ns <= one->deliver_time_ns);
        assert_int_equal(one->buffer_wait_ns, one->deliver_time_ns - one->complete_time_ns);
        assert_true(i == 0 || one->deliver_time_ns >= one[-1].deliver_time_ns);
        assert_int_equal(one->attempts, 1);
        assert_int_equal(one->capacity_retries, 0);
        assert_int_equal(one->throttled_ns, 0);
        assert_int_equal(one->reason, WEIR_REASON_NONE);
        assert_string_equal(one->message, "");
    }
    weir_results_free(r);
    free(seen);
    free(rows);
    house_close(&h);
}

static void key_back(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    (void)ctx;
    weir_answer_ok(answer, row->key, strlen(row->key));
}

static void keys_may_repeat_and_are_the_index_by_default(void **state)
{
    struct house h = house_open(2, key_back, NULL);
    struct weir_row rows[] = {{.key = "same"}, {.key = NULL}, {.key = "same"}, {.key = NULL}};
    static const char *const expected[] = {"same", "1", "same", "3"};
    struct weir_results *r;

    (void)state;
    ok(weir_run(h.pool, rows, 4, NULL, &r, &err));
    assert_int_equal(r->count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(r->items[i].key, expected[i]);
        assert_string_equal(r->items[i].output, expected[i]);
    }
    weir_results_free(r);
    house_close(&h);
}

/* Bytes are bytes: NULs, nothing at all, a megabyte. */
static void data_and_output_are_copied_whole(void **state)
{
    struct house h = house_open(2, echo, NULL);
    size_t big = 1 << 20;
    char *bytes = calloc(1, big);
    struct weir_row rows[] = {{.data = "a\0b", .len = 3}, {.len = 0}, {.data = bytes, .len = big}};
    struct weir_results *r;

    (void)state;
    assert_non_null(bytes);
    memset(bytes, 0xA5, big);
    ok(weir_run(h.pool, rows, 3, NULL, &r, &err));
    assert_int_equal(r->items[0].output_len, 3);
    assert_memory_equal(r->items[0].output, "a\0b\0", 4);
    assert_int_equal(r->items[1].output_len, 0);
    assert_string_equal(r->items[1].output, "");
    assert_int_equal(r->items[2].output_len, big);
    assert_memory_equal(r->items[2].output, bytes, big);
    weir_results_free(r);
    free(bytes);
    house_close(&h);
}

/* ---- many batches on one pool ---- */

struct tenant {
    struct weir_pool *pool;
    uint64_t id;
    size_t count;
    const char *wrong;
};

/* Every third row of an odd tenant fails: its neighbours must not notice. */
static void tenant_work(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    uint64_t n = row_number(row);

    (void)ctx;
    if (n >> 32 & 1 && n % 3 == 0)
        weir_answer_failed(answer, false, (int)(n >> 32), "no");
    else
        weir_answer_ok(answer, row->data, row->len);
}

static const char *check_tenant(const struct tenant *t, const struct weir_results *r)
{
    uint64_t bad = 0;

    if (r->count != t->count)
        return "another number of results than rows";
    for (size_t i = 0; i < r->count; i++) {
        const struct weir_result *one = &r->items[i];
        uint64_t n = t->id << 32 | i;
        bool fails = t->id & 1 && n % 3 == 0;

        bad += fails;
        if (one->submit_index != i)
            return "out of order";
        if (fails != (one->outcome == WEIR_OUTCOME_FAILED))
            return "a failure of somebody else";
        if (!fails && (one->output_len != sizeof n || memcmp(one->output, &n, sizeof n) != 0))
            return "a row of somebody else";
        if (one->user != t)
            return "a pointer of somebody else";
    }
    if (r->stats.accepted != t->count || r->stats.attempts != t->count ||
        r->stats.pool_stats.failures != bad || r->stats.pool_stats.successes != t->count - bad ||
        r->stats.pool_stats.capacity_retries != 0)
        return "statistics of somebody else";
    return NULL;
}

static void *tenant_main(void *arg)
{
    struct tenant *t = arg;
    struct weir_row *rows = calloc(t->count, sizeof *rows);
    uint64_t *numbers = calloc(t->count, sizeof *numbers);
    struct weir_results *r;

    for (size_t i = 0; i < t->count; i++) {
        numbers[i] = t->id << 32 | i;
        rows[i] = (struct weir_row){.data = &numbers[i], .len = sizeof numbers[i], .user = t};
    }
    for (int round = 0; round < 3 && !t->wrong; round++) {
        struct weir_error err;

        if (weir_run(t->pool, rows, t->count, NULL, &r, &err) != WEIR_OK) {
            t->wrong = "an error";
            break;
        }
        t->wrong = check_tenant(t, r);
        weir_results_free(r);
    }
    free(numbers);
    free(rows);
    return NULL;
}

static void batches_of_eight_threads_do_not_see_each_other(void **state)
{
    struct house h = house_open(3, tenant_work, NULL);
    struct tenant tenants[8];
    pthread_t threads[8];
    struct weir_stats s;
    uint64_t rows = 0;

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        tenants[i] = (struct tenant){.pool = h.pool, .id = i, .count = 200 + 700 * i};
        rows += 3 * tenants[i].count;
        assert_int_equal(pthread_create(&threads[i], NULL, tenant_main, &tenants[i]), 0);
    }
    for (size_t i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < 8; i++)
        if (tenants[i].wrong)
            fail_msg("tenant %zu: %s", i, tenants[i].wrong);
    ok(weir_pool_stats(h.pool, &s, &err));
    assert_int_equal(s.attempts, rows);
    assert_true(s.pool_stats.max_concurrent_reached <= 3);
    house_close(&h);
}

struct meter {
    atomic_int inside, peak;
};

static void measured(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    struct meter *m = ctx;
    int now = atomic_fetch_add(&m->inside, 1) + 1;
    int peak = atomic_load(&m->peak);

    while (now > peak && !atomic_compare_exchange_weak(&m->peak, &peak, now))
        ;
    uneven(NULL, row, answer);
    atomic_fetch_sub(&m->inside, 1);
}

/* P3, measured where it counts: within the callback. */
static void never_more_callbacks_than_places(void **state)
{
    struct meter m = {0};
    struct house h = house_open(3, measured, &m);
    struct weir_row *rows = rows_make(20000);
    struct weir_results *r;

    (void)state;
    ok(weir_run(h.pool, rows, 20000, NULL, &r, &err));
    results_are_rows_in_order(r, 20000);
    assert_true(atomic_load(&m.peak) <= 3);
    assert_true(r->stats.pool_stats.max_concurrent_reached <= 3);
    assert_true(r->stats.pool_stats.max_concurrent_reached >= 1);
    weir_results_free(r);
    free(rows);
    house_close(&h);
}

struct stand {
    struct latch inside, open;
};

static void held(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    struct stand *s = ctx;

    latch_add(&s->inside, 1);
    if (latch_wait(&s->open, 1))
        weir_answer_ok(answer, row->data, row->len);
}

/* Work that is there is spread over all places, not queued behind one. */
static void all_places_are_used(void **state)
{
    struct stand s = {LATCH_INIT, LATCH_INIT};
    struct house h = house_open(5, held, &s);
    struct weir_row *rows = rows_make(50);
    const struct weir_result *one;
    struct weir_stats stats;
    struct weir_batch *b;

    (void)state;
    ok(weir_batch_open(h.pool, NULL, &b, &err));
    add_all(b, rows, 50);
    assert_true(latch_wait(&s.inside, 5));
    ok(weir_batch_stats(b, &stats, &err));
    assert_int_equal(stats.accepted, 50);
    assert_int_equal(stats.pending, 50);
    assert_int_equal(stats.finished, 0);
    assert_int_equal(stats.pool_stats.max_concurrent_reached, 5);
    ok(weir_pool_stats(h.pool, &stats, &err));
    assert_int_equal(stats.pending, 50);
    latch_add(&s.open, 1);
    for (int i = 0; i < 50; i++)
        ok(weir_batch_next(b, -1, &one, &err));
    weir_batch_close(b);
    free(rows);
    house_close(&h);
}

/* ---- streaming ---- */

/* Row n waits until the test has opened gate n. */
struct gates {
    struct latch gate[4];
};

static void gated(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    struct gates *g = ctx;

    if (latch_wait(&g->gate[row_number(row)], 1))
        weir_answer_ok(answer, row->data, row->len);
}

static void a_result_comes_as_soon_as_it_and_all_before_it_are_done(void **state)
{
    struct gates g = {{LATCH_INIT, LATCH_INIT, LATCH_INIT, LATCH_INIT}};
    struct house h = house_open(4, gated, &g);
    struct weir_row *rows = rows_make(4);
    const struct weir_result *r;
    struct weir_batch *b;

    (void)state;
    ok(weir_batch_open(h.pool, NULL, &b, &err));
    for (int i = 0; i < 4; i++)
        ok(weir_batch_add(b, &rows[i], false, &err));
    says(WEIR_E_AGAIN, "in time", weir_batch_next(b, 0, &r, &err));
    /* Row 0 alone: it is there although nothing else is, and although the batch has not been ended. */
    latch_add(&g.gate[0], 1);
    ok(weir_batch_next(b, -1, &r, &err));
    assert_int_equal(r->submit_index, 0);
    /* Row 2 is done, but it is not its turn. */
    latch_add(&g.gate[2], 1);
    says(WEIR_E_AGAIN, "in time", weir_batch_next(b, 10, &r, &err));
    latch_add(&g.gate[1], 1);
    ok(weir_batch_next(b, -1, &r, &err));
    assert_int_equal(r->submit_index, 1);
    ok(weir_batch_next(b, -1, &r, &err));
    assert_int_equal(r->submit_index, 2);
    assert_int_equal(r->complete_index, 1); /* it was done before row 1 */
    latch_add(&g.gate[3], 1);
    ok(weir_batch_next(b, -1, &r, &err));
    says(WEIR_E_AGAIN, "in time", weir_batch_next(b, 0, &r, &err));
    ok(weir_batch_end(b, &err));
    says(WEIR_E_END, "no more", weir_batch_next(b, -1, &r, &err));
    says(WEIR_E_END, "no more", weir_batch_next(b, -1, &r, &err));
    weir_batch_close(b);
    free(rows);
    house_close(&h);
}

/* ---- the window ---- */

struct adder {
    struct weir_batch *batch;
    struct weir_row *rows;
    size_t count;
    enum weir_status status;
    struct weir_error err;
};

static void *add_waiting(void *arg)
{
    struct adder *a = arg;

    for (size_t i = 0; i < a->count && a->status == WEIR_OK; i++)
        a->status = weir_batch_add(a->batch, &a->rows[i], true, &a->err);
    if (a->status == WEIR_OK)
        weir_batch_end(a->batch, NULL);
    return NULL;
}

static void a_window_of_one_row_passes_them_all(void **state)
{
    enum { COUNT = 500 };
    struct house h = house_open(2, echo, NULL);
    struct weir_batch_options o;
    struct adder a = {.rows = rows_make(COUNT), .count = COUNT};
    const struct weir_result *r;
    pthread_t thread;
    uint64_t n = 0;

    (void)state;
    weir_batch_options_init(&o);
    o.window_rows = 1;
    ok(weir_batch_open(h.pool, &o, &a.batch, &err));
    assert_int_equal(pthread_create(&thread, NULL, add_waiting, &a), 0);
    while (weir_batch_next(a.batch, -1, &r, NULL) == WEIR_OK)
        assert_int_equal(r->submit_index, n++);
    pthread_join(thread, NULL);
    assert_int_equal(a.status, WEIR_OK);
    assert_int_equal(n, COUNT);
    weir_batch_close(a.batch);
    free(a.rows);
    house_close(&h);
}

static void a_full_window_says_again_and_takes_the_row_later(void **state)
{
    struct stand s = {LATCH_INIT, LATCH_INIT};
    struct house h = house_open(1, held, &s);
    struct weir_row *rows = rows_make(3);
    struct weir_batch_options o;
    const struct weir_result *r;
    struct weir_batch *b;

    (void)state;
    weir_batch_options_init(&o);
    o.window_rows = 2;
    ok(weir_batch_open(h.pool, &o, &b, &err));
    ok(weir_batch_add(b, &rows[0], false, &err));
    ok(weir_batch_add(b, &rows[1], false, &err));
    says(WEIR_E_AGAIN, "window is full", weir_batch_add(b, &rows[2], false, &err));
    latch_add(&s.open, 1);
    ok(weir_batch_next(b, -1, &r, &err));
    /* The result is lent until the next call; only then is there room. */
    ok(weir_batch_next(b, -1, &r, &err));
    while (weir_batch_add(b, &rows[2], false, NULL) == WEIR_E_AGAIN)
        (void)!weir_batch_next(b, 0, &r, NULL);
    ok(weir_batch_end(b, &err));
    ok(weir_batch_next(b, -1, &r, &err));
    assert_int_equal(r->submit_index, 2);
    weir_batch_close(b);
    free(rows);
    house_close(&h);
}

static void large_rows_fill_the_window_by_their_bytes(void **state)
{
    struct stand s = {LATCH_INIT, LATCH_INIT};
    struct house h = house_open(1, held, &s);
    struct weir_row *rows = rows_make(10);
    struct weir_batch_options o;
    const struct weir_result *r;
    struct weir_batch *b;

    (void)state;
    weir_batch_options_init(&o);
    o.window_bytes = 20; /* a row has 8 */
    ok(weir_batch_open(h.pool, &o, &b, &err));
    for (int i = 0; i < 3; i++)
        ok(weir_batch_add(b, &rows[i], false, &err));
    says(WEIR_E_AGAIN, "window is full", weir_batch_add(b, &rows[3], false, &err));
    latch_add(&s.open, 1);
    ok(weir_batch_end(b, &err));
    for (int i = 0; i < 3; i++)
        ok(weir_batch_next(b, -1, &r, &err));
    says(WEIR_E_END, "no more", weir_batch_next(b, -1, &r, &err));
    weir_batch_close(b);
    /* One row that is larger than all of it still passes. */
    o.window_bytes = 1;
    ok(weir_batch_open(h.pool, &o, &b, &err));
    ok(weir_batch_add(b, &rows[0], false, &err));
    ok(weir_batch_end(b, &err));
    ok(weir_batch_next(b, -1, &r, &err));
    weir_batch_close(b);
    free(rows);
    house_close(&h);
}

/* Somebody who waits for room holds up nobody who does not want to wait. */
static void who_waits_for_room_is_not_in_the_way(void **state)
{
    struct stand s = {LATCH_INIT, LATCH_INIT};
    struct house h = house_open(1, held, &s);
    struct weir_batch_options o;
    struct adder a = {.rows = rows_make(2), .count = 2};
    struct weir_row *mine = rows_make(1);
    const struct weir_result *r;
    pthread_t thread;

    (void)state;
    weir_batch_options_init(&o);
    o.window_rows = 1;
    ok(weir_batch_open(h.pool, &o, &a.batch, &err));
    assert_int_equal(pthread_create(&thread, NULL, add_waiting, &a), 0);
    assert_true(
        latch_wait(&s.inside, 1)); /* its first row runs, so it waits with the second, or will */
    for (int i = 0; i < 1000; i++)
        says(WEIR_E_AGAIN, "window is full", weir_batch_add(a.batch, mine, false, &err));
    latch_add(&s.open, 1);
    for (int i = 0; i < 2; i++)
        ok(weir_batch_next(a.batch, -1, &r, &err));
    pthread_join(thread, NULL);
    assert_int_equal(a.status, WEIR_OK);
    weir_batch_close(a.batch);
    free(mine);
    free(a.rows);
    house_close(&h);
}

static void whoever_waits_for_room_is_woken_by_the_end(void **state)
{
    struct stand s = {LATCH_INIT, LATCH_INIT};

    (void)state;
    for (int how = 0; how < 3; how++) {
        struct house h = house_open(1, held, &s);
        struct weir_batch_options o;
        struct adder a = {.rows = rows_make(3), .count = 3};
        uint64_t before = latch_count(&s.inside);
        pthread_t thread;

        weir_batch_options_init(&o);
        o.window_rows = 1;
        s.open.count = 0;
        ok(weir_batch_open(h.pool, &o, &a.batch, &err));
        assert_int_equal(pthread_create(&thread, NULL, add_waiting, &a), 0);
        assert_true(latch_wait(&s.inside, before + 1));
        if (how == 0)
            ok(weir_batch_stop(a.batch, false, &err));
        else if (how == 1)
            ok(weir_batch_end(a.batch, &err));
        latch_add(&s.open, how == 2 ? 1 : 0);
        if (how == 2)
            ok(weir_shutdown(h.engine, true, &err));
        pthread_join(thread, NULL);
        assert_int_equal(a.status, how == 2 ? WEIR_E_SHUTDOWN : WEIR_E_END);
        latch_add(&s.open, 1);
        weir_batch_close(a.batch);
        free(a.rows);
        house_close(&h);
    }
}

struct many {
    struct weir_batch *batch;
    uint64_t id;
    bool failed;
};

enum { ADDERS = 4, EACH = 3000 };

static void *add_many(void *arg)
{
    struct many *m = arg;

    for (uint64_t i = 0; i < EACH && !m->failed; i++) {
        uint64_t n = m->id << 32 | i;
        struct weir_row row = {.data = &n, .len = sizeof n};

        m->failed = weir_batch_add(m->batch, &row, true, NULL) != WEIR_OK;
    }
    return NULL;
}

/* The rows of each adding thread keep their order, whatever comes between them. */
static void many_threads_may_add_to_one_batch(void **state)
{
    struct house h = house_open(2, echo, NULL);
    struct weir_batch_options o;
    const struct weir_result *r;
    struct weir_batch *b;
    struct many many[ADDERS];
    pthread_t threads[ADDERS];
    uint64_t next[ADDERS] = {0};

    (void)state;
    weir_batch_options_init(&o);
    o.window_rows = 64;
    ok(weir_batch_open(h.pool, &o, &b, &err));
    for (uint64_t i = 0; i < ADDERS; i++) {
        many[i] = (struct many){.batch = b, .id = i};
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, &many[i]), 0);
    }
    for (uint64_t i = 0; i < ADDERS * EACH; i++) {
        uint64_t n;

        ok(weir_batch_next(b, -1, &r, &err));
        assert_int_equal(r->submit_index, i);
        memcpy(&n, r->output, sizeof n);
        assert_int_equal(n & UINT32_MAX, next[n >> 32]++);
    }
    for (size_t i = 0; i < ADDERS; i++) {
        pthread_join(threads[i], NULL);
        assert_false(many[i].failed);
    }
    weir_batch_close(b);
    house_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_batch_returns_at_once),
        cmocka_unit_test(one_row_has_one_result),
        cmocka_unit_test(a_hundred_thousand_rows_come_back_in_order),
        cmocka_unit_test(the_record_of_each_row_is_whole_and_agrees),
        cmocka_unit_test(keys_may_repeat_and_are_the_index_by_default),
        cmocka_unit_test(data_and_output_are_copied_whole),
        cmocka_unit_test(batches_of_eight_threads_do_not_see_each_other),
        cmocka_unit_test(never_more_callbacks_than_places),
        cmocka_unit_test(all_places_are_used),
        cmocka_unit_test(a_result_comes_as_soon_as_it_and_all_before_it_are_done),
        cmocka_unit_test(a_window_of_one_row_passes_them_all),
        cmocka_unit_test(a_full_window_says_again_and_takes_the_row_later),
        cmocka_unit_test(large_rows_fill_the_window_by_their_bytes),
        cmocka_unit_test(who_waits_for_room_is_not_in_the_way),
        cmocka_unit_test(whoever_waits_for_room_is_woken_by_the_end),
        cmocka_unit_test(many_threads_may_add_to_one_batch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
