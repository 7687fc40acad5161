/*
 * What core/ports/store.h promises, tried on every store there is: each test runs once for each of
 * them. A store is closed and opened again wherever something must be durable; one that lives in
 * memory is what is durable, and is just kept.
 */
#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "store/check.h"
#include "store/memory/memory_store.h"
#include "store/sqlite/sqlite_store.h"
#include "support/testkit.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum kind { KIND_MEMORY, KIND_SQLITE };

struct fixture {
    enum kind kind;
    char *dir, *path;
    struct core_store *s;
    struct buf hold;
    struct weir_error err;
};

static enum kind kind_memory = KIND_MEMORY, kind_sqlite = KIND_SQLITE;

static void fixture_open(struct fixture *f)
{
    enum weir_status status = f->kind == KIND_MEMORY
                                  ? memory_store_new(&f->s, &f->err)
                                  : sqlite_store_open(f->path, SQLITE_STORE_CREATE, &f->s, &f->err);

    if (status != WEIR_OK)
        fail_msg("open: %s", f->err.message);
}

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof(*f));

    f->kind = *(enum kind *)*state;
    f->dir = testkit_dir_make();
    f->path = testkit_path(f->dir, "out.weir");
    fixture_open(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    mem_fail_at(0);
    if (f->s)
        f->s->ops->close(f->s);
    buf_free(&f->hold);
    testkit_free(f->path);
    testkit_dir_remove(f->dir);
    test_free(f);
    return 0;
}

/* As a process that ended and another that began would see it. */
static void reopen(struct fixture *f)
{
    if (f->kind == KIND_MEMORY)
        return;
    f->s->ops->close(f->s);
    f->s = NULL;
    fixture_open(f);
}

static struct store_row row_ok(uint64_t index, const char *output)
{
    return (struct store_row){.index = index,
                              .hash_hi = index * 7,
                              .hash_lo = ~index,
                              .key = SLICE("key"),
                              .outcome = WEIR_OUTCOME_OK,
                              .status = 200,
                              .has_output = output != NULL,
                              .output = slice_of(output),
                              .complete_index = index,
                              .attempts = 1};
}

static struct store_row row_failed(uint64_t index, uint32_t generation)
{
    struct store_row r = row_ok(index, "sorry");

    r.outcome = WEIR_OUTCOME_FAILED;
    r.reason = WEIR_REASON_HTTP_STATUS;
    r.status = 500;
    r.message = SLICE("the service failed");
    r.generation = generation;
    return r;
}

static void put(struct fixture *f, struct store_row r)
{
    if (f->s->ops->put(f->s, &r, 1, NULL, 0, &f->err) != WEIR_OK)
        fail_msg("put: %s", f->err.message);
}

static void mark(struct fixture *f, uint64_t next)
{
    struct store_mark m = {next, next * 10, next};

    if (f->s->ops->mark(f->s, &m, NULL, 0, &f->err) != WEIR_OK)
        fail_msg("mark: %s", f->err.message);
}

static enum weir_status get(struct fixture *f, uint64_t index, struct store_row *ret)
{
    return f->s->ops->get(f->s, index, ret, &f->hold, &f->err);
}

static struct store_summary summary(struct fixture *f)
{
    struct store_summary sum;

    assert_int_equal(f->s->ops->summary(f->s, &sum, &f->err), WEIR_OK);
    return sum;
}

static void assert_slice(struct slice got, struct slice want)
{
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.len ? got.data : "", want.len ? want.data : "", want.len);
}

static void assert_row(const struct store_row *got, const struct store_row *want)
{
    assert_int_equal(got->index, want->index);
    assert_int_equal(got->hash_hi, want->hash_hi);
    assert_int_equal(got->hash_lo, want->hash_lo);
    assert_slice(got->key, want->key);
    assert_int_equal(got->outcome, want->outcome);
    assert_int_equal(got->reason, want->reason);
    assert_int_equal(got->status, want->status);
    assert_slice(got->message, want->message);
    assert_slice(got->request_id, want->request_id);
    assert_int_equal(got->has_output, want->has_output);
    assert_slice(got->output, want->has_output ? want->output : SLICE(""));
    assert_slice(got->errput, want->has_output ? want->errput : SLICE(""));
    assert_int_equal(got->complete_index, want->complete_index);
    assert_int_equal(got->submit_ns, want->submit_ns);
    assert_int_equal(got->start_ns, want->start_ns);
    assert_int_equal(got->complete_ns, want->complete_ns);
    assert_int_equal(got->attempts, want->attempts);
    assert_int_equal(got->capacity_retries, want->capacity_retries);
    assert_int_equal(got->throttled_ns, want->throttled_ns);
    assert_int_equal(got->generation, want->generation);
}

static bool within(const struct buf *hold, struct slice s)
{
    return s.data >= hold->data && s.data + s.len <= hold->data + hold->len;
}

static void assert_mark(struct fixture *f, struct store_mark want)
{
    struct store_mark got = summary(f).mark;

    assert_memory_equal(&got, &want, sizeof(got));
}

/* put and get */

static void each_field_of_a_row_comes_back(void **state)
{
    struct fixture *f = *state;
    struct store_row want = {.index = 123456789012,
                             .hash_hi = UINT64_MAX,
                             .hash_lo = UINT64_C(0x8000000000000001),
                             .key = SLICE("a\0key \xff with any bytes"),
                             .outcome = WEIR_OUTCOME_TIMEOUT,
                             .reason = WEIR_REASON_DEADLINE,
                             .status = -7,
                             .message = SLICE("too late"),
                             .request_id = SLICE("req-\xc3\xa4"),
                             .has_output = true,
                             .output = SLICE("any\0bytes\xfe"),
                             .errput = SLICE("warned\0\xff\n"),
                             .complete_index = STORE_NUMBER_MAX,
                             .submit_ns = INT64_MAX,
                             .start_ns = -1,
                             .complete_ns = INT64_MIN,
                             .attempts = UINT32_MAX,
                             .capacity_retries = UINT32_MAX - 1,
                             .throttled_ns = 17,
                             .generation = UINT32_MAX};
    struct store_row got;

    put(f, want);
    reopen(f);
    buf_puts(&f->hold, "what stood here before");
    assert_int_equal(get(f, want.index, &got), WEIR_OK);
    assert_row(&got, &want);
    assert_true(within(&f->hold, got.key) && within(&f->hold, got.output));
    assert_true(within(&f->hold, got.message) && within(&f->hold, got.request_id));
    assert_int_equal(f->hold.len, want.key.len + want.message.len + want.request_id.len +
                                      want.output.len + want.errput.len);
}

static void what_was_written_beside_an_output_goes_with_it(void **state)
{
    struct fixture *f = *state;
    struct store_row got, r = row_ok(0, "");
    struct store_mark mark = {.next = 1};

    r.errput = SLICE("warned");
    put(f, r);
    put(f, row_ok(1, "x"));
    reopen(f);
    assert_int_equal(get(f, 0, &got), WEIR_OK);
    assert_row(&got, &r);
    assert_int_equal(get(f, 1, &got), WEIR_OK);
    assert_int_equal(got.errput.len, 0);
    assert_int_equal(f->s->ops->mark(f->s, &mark, NULL, 0, NULL), WEIR_OK);
    assert_int_equal(get(f, 0, &got), WEIR_OK);
    assert_false(got.has_output);
    assert_int_equal(got.errput.len, 0);
}

static void every_outcome_and_reason_comes_back(void **state)
{
    struct fixture *f = *state;
    struct store_row got, r;

    for (int i = 0; i < (int)WEIR_REASON_COUNT; i++) {
        r = row_ok((uint64_t)i, "x");
        r.reason = (enum weir_reason)i;
        r.outcome = (enum weir_outcome)(i % (WEIR_OUTCOME_CANCELLED + 1));
        put(f, r);
        assert_int_equal(get(f, r.index, &got), WEIR_OK);
        assert_row(&got, &r);
    }
}

static void an_empty_answer_is_not_no_answer(void **state)
{
    struct fixture *f = *state;
    struct store_row got;

    put(f, row_ok(0, ""));
    put(f, row_ok(1, NULL));
    reopen(f);
    assert_int_equal(get(f, 0, &got), WEIR_OK);
    assert_true(got.has_output);
    assert_int_equal(got.output.len, 0);
    assert_int_equal(get(f, 1, &got), WEIR_OK);
    assert_false(got.has_output);
}

static void a_row_that_has_not_finished_is_not_there(void **state)
{
    struct fixture *f = *state;
    struct store_row got = {.index = 42};

    put(f, row_ok(3, "x"));
    assert_int_equal(get(f, 2, &got), WEIR_E_END);
    assert_int_equal(get(f, UINT64_MAX, &got), WEIR_E_END);
    assert_int_equal(got.index, 42);
    assert_int_equal(f->hold.len, 0);
}

static void a_finished_row_cannot_be_put_again(void **state)
{
    struct fixture *f = *state;
    struct store_row again = row_failed(1, 0), got, pair[2] = {row_ok(2, "x"), row_ok(1, "y")};
    struct store_row twice[2] = {row_ok(5, "a"), row_ok(5, "b")};

    put(f, row_ok(0, "null"));
    put(f, row_ok(1, "first"));
    assert_int_equal(f->s->ops->put(f->s, &again, 1, NULL, 0, &f->err), WEIR_E_CONFLICT);
    assert_non_null(strstr(f->err.message, "row 1"));
    /* Nor within a group, of which then nothing is there ... */
    assert_int_equal(f->s->ops->put(f->s, pair, 2, NULL, 0, &f->err), WEIR_E_CONFLICT);
    assert_int_equal(get(f, 2, &got), WEIR_E_END);
    assert_int_equal(f->s->ops->put(f->s, twice, 2, NULL, 0, &f->err), WEIR_E_CONFLICT);
    assert_int_equal(get(f, 5, &got), WEIR_E_END);
    /* ... nor when it has been delivered. */
    mark(f, 2);
    assert_int_equal(f->s->ops->put(f->s, &again, 1, NULL, 0, &f->err), WEIR_E_CONFLICT);
    assert_int_equal(get(f, 1, &got), WEIR_OK);
    assert_int_equal(got.outcome, WEIR_OUTCOME_OK);
    /* The error may be unwanted. */
    assert_int_equal(f->s->ops->put(f->s, &again, 1, NULL, 0, NULL), WEIR_E_CONFLICT);
    /* A failed call did not spoil the store. */
    put(f, row_ok(2, "x"));
}

static void rows_come_in_any_order_and_in_groups(void **state)
{
    struct fixture *f = *state;
    struct store_row rows[100], got;

    for (unsigned i = 0; i < 100; i++)
        rows[i] = row_ok((i * 37) % 100, "x");
    assert_int_equal(f->s->ops->put(f->s, rows, 100, NULL, 0, &f->err), WEIR_OK);
    reopen(f);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(get(f, rows[i].index, &got), WEIR_OK);
        assert_row(&got, &rows[i]);
    }
    assert_int_equal(f->s->ops->put(f->s, NULL, 0, NULL, 0, &f->err), WEIR_OK);
}

/* The row that is to blame is named, wherever in a large group it stands, and nothing of the group is there. */
static void a_row_that_is_there_spoils_all_of_its_group(void **state)
{
    struct fixture *f = *state;
    struct store_row rows[40], got;
    char name[32];

    put(f, row_ok(1000, "x"));
    for (uint64_t bad = 0; bad < 40; bad++) {
        for (uint64_t i = 0; i < 40; i++)
            rows[i] = row_ok(i == bad ? 1000 : 2000 + i, i % 3 ? "x" : NULL);
        assert_int_equal(f->s->ops->put(f->s, rows, 40, NULL, 0, &f->err), WEIR_E_CONFLICT);
        assert_non_null(strstr(f->err.message, "row 1000 "));
        rows[bad] = row_ok(2000 + (bad + 39) % 40, "again");
        snprintf(name, sizeof(name), "row %u ", (unsigned)rows[bad].index);
        assert_int_equal(f->s->ops->put(f->s, rows, 40, NULL, 0, &f->err), WEIR_E_CONFLICT);
        assert_non_null(strstr(f->err.message, name));
        assert_int_equal(summary(f).finished, 1);
    }
    rows[39] = row_ok(2039, "x");
    assert_int_equal(f->s->ops->put(f->s, rows, 40, NULL, 0, &f->err), WEIR_OK);
    reopen(f);
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(get(f, rows[i].index, &got), WEIR_OK);
        assert_row(&got, &rows[i]);
    }
}

static void many_places_come_back(void **state)
{
    struct fixture *f = *state;
    struct store_place places[40], got;

    for (uint64_t i = 0; i < 40; i++) {
        put(f, row_ok(i, "x"));
        places[i] = (struct store_place){
            .index = i, .in_errors = i % 2, .offset = i * 100, .len = 99, .deliver_ns = (int64_t)i};
    }
    assert_int_equal(f->s->ops->mark(f->s, &(struct store_mark){.next = 40, .output_bytes = 4000},
                                     places, 40, &f->err),
                     WEIR_OK);
    reopen(f);
    for (uint64_t i = 0; i < 40; i++) {
        assert_int_equal(f->s->ops->place(f->s, i, &got, &f->err), WEIR_OK);
        assert_int_equal(got.in_errors, places[i].in_errors);
        assert_int_equal(got.offset, places[i].offset);
        assert_int_equal(got.len, 99);
        assert_int_equal(got.deliver_ns, i);
    }
}

static void a_large_output_comes_back(void **state)
{
    struct fixture *f = *state;
    struct buf big = {0};
    struct store_row r = row_ok(0, ""), got;

    for (unsigned i = 0; i < 400000; i++)
        buf_printf(&big, "%u,", i);
    r.output = buf_slice(&big);
    put(f, r);
    reopen(f);
    assert_int_equal(get(f, 0, &got), WEIR_OK);
    assert_row(&got, &r);
    buf_free(&big);
}

static void what_no_store_takes_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store_row r = row_ok(STORE_NUMBER_MAX + 1, "x");
    struct store_attempt a = {.index = UINT64_MAX};

    assert_int_equal(f->s->ops->put(f->s, &r, 1, NULL, 0, &f->err), WEIR_E_INVALID);
    r = row_ok(0, "x");
    r.complete_index = UINT64_MAX;
    assert_int_equal(f->s->ops->put(f->s, &r, 1, NULL, 0, &f->err), WEIR_E_INVALID);
    r = row_ok(0, "x");
    r.reason = WEIR_REASON_COUNT;
    assert_int_equal(f->s->ops->put(f->s, &r, 1, NULL, 0, &f->err), WEIR_E_INVALID);
    assert_int_equal(f->s->ops->put(f->s, NULL, 0, &a, 1, &f->err), WEIR_E_INVALID);
    a = (struct store_attempt){.outcome = (enum weir_outcome)99};
    assert_int_equal(f->s->ops->put(f->s, NULL, 0, &a, 1, &f->err), WEIR_E_INVALID);
    assert_int_equal(summary(f).finished, 0);
}

static void the_same_attempt_may_be_recorded_again_after_a_crash(void **state)
{
    struct fixture *f = *state;
    struct store_attempt a = {.index = 3,
                              .number = 1,
                              .outcome = WEIR_OUTCOME_CAPACITY,
                              .reason = WEIR_REASON_HTTP_STATUS,
                              .status = 429,
                              .message = SLICE("slow down"),
                              .start_ns = 10,
                              .end_ns = 20};
    struct store_row got;

    /* Its row has not finished: the next run tries it again, from the first attempt on. */
    assert_int_equal(f->s->ops->put(f->s, NULL, 0, &a, 1, &f->err), WEIR_OK);
    assert_int_equal(get(f, 3, &got), WEIR_E_END);
    reopen(f);
    assert_int_equal(f->s->ops->put(f->s, NULL, 0, &a, 1, &f->err), WEIR_OK);
    a.start_ns = 30;
    assert_int_equal(f->s->ops->put(f->s, NULL, 0, &a, 1, &f->err), WEIR_OK);
}

/* mark and place */

static void a_delivered_row_keeps_its_record_without_output(void **state)
{
    struct fixture *f = *state;
    struct store_row got, want = row_failed(0, 0);

    put(f, want);
    put(f, row_ok(1, "next"));
    mark(f, 1);
    reopen(f);
    want.has_output = false;
    assert_int_equal(get(f, 0, &got), WEIR_OK);
    assert_row(&got, &want);
    assert_int_equal(get(f, 1, &got), WEIR_OK);
    assert_true(got.has_output);
}

static void the_mark_stays_and_never_goes_back(void **state)
{
    struct fixture *f = *state;
    struct store_mark m = {2, 77, 5};

    for (unsigned i = 0; i < 4; i++)
        put(f, row_ok(i, "x"));
    assert_int_equal(f->s->ops->mark(f->s, &m, NULL, 0, &f->err), WEIR_OK);
    reopen(f);
    assert_mark(f, m);
    m = (struct store_mark){1, 30, 0};
    assert_int_equal(f->s->ops->mark(f->s, &m, NULL, 0, &f->err), WEIR_E_INVALID);
    assert_int_equal(summary(f).mark.next, 2);
    assert_int_equal(summary(f).mark.output_bytes, 77);
    /* To stay where it is is not to go back. */
    m = (struct store_mark){2, 78, 6};
    assert_int_equal(f->s->ops->mark(f->s, &m, NULL, 0, &f->err), WEIR_OK);
    assert_mark(f, m);
}

static void the_mark_does_not_pass_a_row_that_has_not_finished(void **state)
{
    struct fixture *f = *state;
    struct store_mark m = {4, 0, 0};
    struct store_row got;

    put(f, row_ok(0, "x"));
    put(f, row_ok(1, "x"));
    put(f, row_ok(3, "x"));
    assert_int_equal(f->s->ops->mark(f->s, &m, NULL, 0, &f->err), WEIR_E_INVALID);
    m.next = UINT64_MAX;
    assert_int_equal(f->s->ops->mark(f->s, &m, NULL, 0, &f->err), WEIR_E_INVALID);
    assert_int_equal(summary(f).mark.next, 0);
    assert_int_equal(get(f, 0, &got), WEIR_OK);
    assert_true(got.has_output);
    mark(f, 2);
}

static void a_place_is_found_again(void **state)
{
    struct fixture *f = *state;
    struct store_place got = {.index = 42};
    const struct store_place places[2] = {
        {.index = 0, .offset = 0, .len = 10, .deliver_ns = 99},
        {.index = 2, .in_errors = true, .offset = STORE_NUMBER_MAX, .len = STORE_NUMBER_MAX}};
    struct store_mark m = {3, 20, 30};

    for (unsigned i = 0; i < 4; i++)
        put(f, row_ok(i, "x"));
    assert_int_equal(f->s->ops->mark(f->s, &m, places, 2, &f->err), WEIR_OK);
    reopen(f);
    assert_int_equal(f->s->ops->place(f->s, 1, &got, &f->err), WEIR_E_END);
    assert_int_equal(f->s->ops->place(f->s, 3, &got, &f->err), WEIR_E_END);
    assert_int_equal(f->s->ops->place(f->s, UINT64_MAX, &got, &f->err), WEIR_E_END);
    assert_int_equal(got.index, 42);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(f->s->ops->place(f->s, places[i].index, &got, &f->err), WEIR_OK);
        assert_int_equal(got.index, places[i].index);
        assert_int_equal(got.in_errors, places[i].in_errors);
        assert_int_equal(got.offset, places[i].offset);
        assert_int_equal(got.len, places[i].len);
        assert_int_equal(got.deliver_ns, places[i].deliver_ns);
    }
}

static void a_place_that_the_mark_does_not_cover_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store_place p = {.index = 1, .len = 1};
    struct store_mark m = {1, 0, 0};

    put(f, row_ok(0, "x"));
    put(f, row_ok(1, "x"));
    assert_int_equal(f->s->ops->mark(f->s, &m, &p, 1, &f->err), WEIR_E_INVALID);
    p = (struct store_place){.index = 0, .offset = UINT64_MAX};
    assert_int_equal(f->s->ops->mark(f->s, &m, &p, 1, &f->err), WEIR_E_INVALID);
    assert_int_equal(summary(f).mark.next, 0);
}

/* summary */

static void the_summary_counts_what_has_finished(void **state)
{
    struct fixture *f = *state;
    struct store_row r;
    struct store_summary sum = summary(f);

    assert_memory_equal(&sum, &(struct store_summary){0}, sizeof(sum));
    r = row_ok(0, "x");
    r.complete_index = 5;
    r.attempts = 3;
    r.capacity_retries = 2;
    put(f, r);
    r = row_failed(7, 0);
    r.complete_index = 2;
    r.attempts = 4;
    put(f, r);
    mark(f, 1);
    reopen(f);
    sum = summary(f);
    assert_int_equal(sum.finished, 2);
    assert_int_equal(sum.failed, 1);
    assert_int_equal(sum.complete_index, 6);
    assert_int_equal(sum.attempts, 7);
    assert_int_equal(sum.capacity_retries, 2);
    assert_int_equal(sum.mark.next, 1);
    assert_int_equal(sum.mark.output_bytes, 10);
}

/* reopen_failed and generation */

static void failed_rows_are_reopened_and_good_ones_stay(void **state)
{
    struct fixture *f = *state;
    struct store_place places[3] = {{.index = 0, .len = 5},
                                    {.index = 1, .in_errors = true, .len = 6},
                                    {.index = 2, .offset = 5, .len = 7}},
                       got_place;
    struct store_mark m = {3, 12, 6};
    struct store_row got;
    uint64_t rows = 0;
    uint32_t generation = 99;

    put(f, row_ok(0, "x"));
    put(f, row_failed(1, 0));
    put(f, row_ok(2, "z"));
    assert_int_equal(f->s->ops->mark(f->s, &m, places, 3, &f->err), WEIR_OK);
    put(f, row_ok(3, "not delivered"));
    put(f, row_failed(4, 0));
    assert_int_equal(f->s->ops->reopen_failed(f->s, &rows, &f->err), WEIR_OK);
    assert_int_equal(rows, 2);
    reopen(f);
    assert_int_equal(summary(f).finished, 3);
    assert_int_equal(summary(f).failed, 0);
    assert_mark(f, (struct store_mark){0});
    /* The failed ones are to be run, as another generation; where they stood is forgotten. */
    assert_int_equal(get(f, 1, &got), WEIR_E_END);
    assert_int_equal(get(f, 4, &got), WEIR_E_END);
    assert_int_equal(f->s->ops->generation(f->s, 1, &generation, &f->err), WEIR_OK);
    assert_int_equal(generation, 1);
    assert_int_equal(f->s->ops->place(f->s, 1, &got_place, &f->err), WEIR_E_END);
    /* The good ones are there, without output once delivered, with their places. */
    assert_int_equal(get(f, 2, &got), WEIR_OK);
    assert_false(got.has_output);
    assert_int_equal(f->s->ops->place(f->s, 2, &got_place, &f->err), WEIR_OK);
    assert_int_equal(got_place.len, 7);
    /* One that was never delivered has its output only here: it is kept. */
    assert_int_equal(get(f, 3, &got), WEIR_OK);
    assert_slice(got.output, SLICE("not delivered"));
}

static void places_of_the_round_before_go_when_their_rows_are_marked_again(void **state)
{
    struct fixture *f = *state;
    struct store_place places[2] = {{.index = 0, .len = 5}, {.index = 1, .offset = 5, .len = 6}};
    struct store_place fresh = {.index = 0, .offset = 100, .len = 5}, got;
    struct store_mark m = {2, 11, 0};
    uint64_t rows;

    put(f, row_ok(0, "x"));
    put(f, row_ok(1, "x"));
    assert_int_equal(f->s->ops->mark(f->s, &m, places, 2, &f->err), WEIR_OK);
    assert_int_equal(f->s->ops->reopen_failed(f->s, &rows, &f->err), WEIR_OK);
    assert_int_equal(rows, 0);
    m = (struct store_mark){1, 5, 0};
    assert_int_equal(f->s->ops->mark(f->s, &m, &fresh, 1, &f->err), WEIR_OK);
    assert_int_equal(f->s->ops->place(f->s, 0, &got, &f->err), WEIR_OK);
    assert_int_equal(got.offset, 100);
    assert_int_equal(f->s->ops->place(f->s, 1, &got, &f->err), WEIR_OK);
    assert_int_equal(got.offset, 5);
    m = (struct store_mark){2, 11, 0};
    assert_int_equal(f->s->ops->mark(f->s, &m, NULL, 0, &f->err), WEIR_OK);
    assert_int_equal(f->s->ops->place(f->s, 1, &got, &f->err), WEIR_E_END);
}

static void each_round_raises_the_generation(void **state)
{
    struct fixture *f = *state;
    uint32_t generation = 99;
    uint64_t rows;
    struct store_row got;

    assert_int_equal(f->s->ops->generation(f->s, 0, &generation, &f->err), WEIR_OK);
    assert_int_equal(generation, 0);
    for (uint32_t round = 0; round < 3; round++) {
        put(f, row_failed(0, round));
        put(f, row_ok(10 + round, "x"));
        assert_int_equal(f->s->ops->reopen_failed(f->s, &rows, &f->err), WEIR_OK);
        assert_int_equal(rows, 1);
        reopen(f);
        assert_int_equal(f->s->ops->generation(f->s, 0, &generation, &f->err), WEIR_OK);
        assert_int_equal(generation, round + 1);
    }
    put(f, row_failed(0, generation));
    assert_int_equal(get(f, 0, &got), WEIR_OK);
    assert_int_equal(got.generation, 3);
    assert_int_equal(f->s->ops->generation(f->s, 10, &generation, &f->err), WEIR_OK);
    assert_int_equal(generation, 0);
}

/* facts */

static void facts_are_kept_by_name(void **state)
{
    struct fixture *f = *state;
    struct buf out = {0};

    assert_int_equal(f->s->ops->fact(f->s, "input", &out, &f->err), WEIR_E_END);
    assert_non_null(strstr(f->err.message, "input"));
    assert_int_equal(f->s->ops->set(f->s, "input", SLICE("first"), &f->err), WEIR_OK);
    assert_int_equal(f->s->ops->set(f->s, "input", SLICE("a\0b\xff"), &f->err), WEIR_OK);
    assert_int_equal(f->s->ops->set(f->s, "empty", (struct slice){NULL, 0}, &f->err), WEIR_OK);
    reopen(f);
    buf_puts(&out, "it is ");
    assert_int_equal(f->s->ops->fact(f->s, "input", &out, &f->err), WEIR_OK);
    assert_slice(buf_slice(&out), SLICE("it is a\0b\xff"));
    assert_int_equal(f->s->ops->fact(f->s, "empty", &out, &f->err), WEIR_OK);
    assert_int_equal(out.len, 10);
    buf_free(&out);
}

/* Failures */

/* Each allocation of our own fails in turn: the call says so, and has changed nothing. */
static void a_call_without_memory_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct store_row rows[3] = {row_ok(0, "a"), row_failed(1, 0), row_ok(2, "c")}, got;
    struct store_attempt a = {.index = 1, .number = 1, .message = SLICE("once more")};
    enum weir_status status;

    for (unsigned long n = 1;; n++) {
        mem_fail_at(n);
        status = f->s->ops->put(f->s, rows, 3, &a, 1, &f->err);
        mem_fail_at(0);
        if (status == WEIR_OK)
            break;
        assert_int_equal(status, WEIR_E_NOMEM);
        assert_int_equal(summary(f).finished, 0);
    }
    for (unsigned long n = 1;; n++) {
        buf_free(&f->hold);
        mem_fail_at(n);
        status = get(f, 1, &got);
        mem_fail_at(0);
        if (status == WEIR_OK)
            break;
        assert_int_equal(status, WEIR_E_NOMEM);
    }
    assert_row(&got, &rows[1]);
    for (unsigned long n = 1;; n++) {
        mem_fail_at(n);
        status = f->s->ops->set(f->s, "name", SLICE("value"), &f->err);
        mem_fail_at(0);
        if (status == WEIR_OK)
            break;
        assert_int_equal(status, WEIR_E_NOMEM);
        assert_int_equal(f->s->ops->fact(f->s, "name", &f->hold, &f->err), WEIR_E_END);
    }
}

/* A model so naive that it can be seen to be right: arrays, and nothing shared with the stores. */

#define MODEL_ROWS 24

struct model_row {
    bool finished, has_place, has_output;
    uint32_t next_generation;
    struct store_row row;
    char output[40], message[24];
    struct store_place place;
};

struct model {
    struct model_row rows[MODEL_ROWS];
    struct store_mark mark;
};

static void model_row_random(struct model_row *m, struct rng *rng, uint64_t index)
{
    struct store_row *r = &m->row;

    *r = row_ok(index, NULL);
    r->hash_hi = rng_u64(rng);
    r->hash_lo = rng_u64(rng);
    if (rng_below(rng, 3) == 0)
        r->outcome = (enum weir_outcome)rng_below(rng, WEIR_OUTCOME_CANCELLED + 1);
    r->reason = (enum weir_reason)rng_below(rng, WEIR_REASON_COUNT);
    r->status = (int)rng_range(rng, -5, 600);
    r->complete_index = rng_below(rng, 1000);
    r->start_ns = rng_range(rng, 0, INT64_MAX);
    r->attempts = (uint32_t)rng_below(rng, 10);
    r->capacity_retries = (uint32_t)rng_below(rng, 10);
    r->generation = m->next_generation;
    r->message.len = rng_below(rng, sizeof(m->message));
    r->message.data = m->message;
    for (size_t i = 0; i < sizeof(m->message); i++)
        m->message[i] = (char)rng_below(rng, 256);
    m->has_output = r->has_output = rng_below(rng, 4) != 0;
    r->output.len = r->has_output ? rng_below(rng, sizeof(m->output)) : 0;
    r->output.data = m->output;
    for (size_t i = 0; i < sizeof(m->output); i++)
        m->output[i] = (char)rng_below(rng, 256);
}

static void step_put(struct fixture *f, struct model *m, struct rng *rng)
{
    struct model next = *m;
    struct store_row rows[4];
    size_t count = 1 + rng_below(rng, 4);
    bool is_conflict = false;

    for (size_t i = 0; i < count; i++) {
        struct model_row *r = &next.rows[rng_below(rng, MODEL_ROWS)];
        uint64_t index = (uint64_t)(r - next.rows);

        if (r->finished) {
            is_conflict = true;
            rows[i] = row_ok(index, "again");
            continue;
        }
        model_row_random(r, rng, index);
        r->finished = true;
        rows[i] = r->row;
    }
    assert_int_equal(f->s->ops->put(f->s, rows, count, NULL, 0, &f->err),
                     is_conflict ? WEIR_E_CONFLICT : WEIR_OK);
    if (is_conflict)
        return;
    *m = next;
    for (size_t i = 0; i < MODEL_ROWS; i++) { /* they moved with the model */
        m->rows[i].row.message.data = m->rows[i].message;
        m->rows[i].row.output.data = m->rows[i].output;
    }
}

static void step_mark(struct fixture *f, struct model *m, struct rng *rng)
{
    struct store_mark to = {rng_below(rng, MODEL_ROWS + 1), rng_below(rng, 1000), 7};
    struct store_place places[MODEL_ROWS];
    size_t count = 0;
    bool is_good = to.next >= m->mark.next;

    if (rng_below(rng, 2)) /* else seldom one that succeeds */
        for (to.next = m->mark.next; to.next < MODEL_ROWS && m->rows[to.next].finished;)
            to.next++;
    is_good = to.next >= m->mark.next;
    for (uint64_t k = 0; is_good && k < to.next; k++)
        is_good = m->rows[k].finished;
    for (uint64_t k = 0; k < to.next; k++)
        if (rng_below(rng, 2))
            places[count++] = (struct store_place){.index = k, .offset = rng_below(rng, 1000)};
    assert_int_equal(f->s->ops->mark(f->s, &to, places, count, &f->err),
                     is_good ? WEIR_OK : WEIR_E_INVALID);
    if (!is_good)
        return;
    for (uint64_t k = m->mark.next; k < to.next; k++)
        m->rows[k].has_place = m->rows[k].has_output = false;
    for (size_t i = 0; i < count; i++) {
        m->rows[places[i].index].has_place = true;
        m->rows[places[i].index].place = places[i];
    }
    m->mark = to;
}

static void step_reopen(struct fixture *f, struct model *m)
{
    uint64_t rows, want = 0;

    assert_int_equal(f->s->ops->reopen_failed(f->s, &rows, &f->err), WEIR_OK);
    for (size_t k = 0; k < MODEL_ROWS; k++) {
        if (!m->rows[k].finished || m->rows[k].row.outcome == WEIR_OUTCOME_OK)
            continue;
        m->rows[k].finished = m->rows[k].has_place = false;
        m->rows[k].next_generation++;
        want++;
    }
    m->mark = (struct store_mark){0};
    assert_int_equal(rows, want);
}

static void compare(struct fixture *f, const struct model *m)
{
    struct store_summary want = {.mark = m->mark}, got_sum = summary(f);
    struct store_row got;
    struct store_place place;
    uint32_t generation;

    for (size_t k = 0; k < MODEL_ROWS; k++) {
        const struct model_row *r = &m->rows[k];
        struct store_row expected = r->row;

        assert_int_equal(f->s->ops->generation(f->s, k, &generation, &f->err), WEIR_OK);
        assert_int_equal(generation, r->next_generation);
        assert_int_equal(f->s->ops->place(f->s, k, &place, &f->err),
                         r->has_place ? WEIR_OK : WEIR_E_END);
        if (r->has_place)
            assert_int_equal(place.offset, r->place.offset);
        assert_int_equal(get(f, k, &got), r->finished ? WEIR_OK : WEIR_E_END);
        if (!r->finished)
            continue;
        expected.has_output = r->has_output;
        assert_row(&got, &expected);
        want.finished++;
        want.failed += r->row.outcome != WEIR_OUTCOME_OK;
        want.attempts += r->row.attempts;
        want.capacity_retries += r->row.capacity_retries;
        if (r->row.complete_index + 1 > want.complete_index)
            want.complete_index = r->row.complete_index + 1;
    }
    assert_memory_equal(&got_sum, &want, sizeof(want));
}

static void random_calls_do_what_a_naive_model_does(void **state)
{
    struct fixture *f = *state;

    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct model *m = test_calloc(1, sizeof(*m));
        struct rng rng;

        rng_seed(&rng, seed);
        for (unsigned step = 0; step < 80; step++) {
            uint64_t choice = rng_below(&rng, 20);

            if (choice < 12)
                step_put(f, m, &rng);
            else if (choice < 18)
                step_mark(f, m, &rng);
            else if (choice == 18)
                step_reopen(f, m);
            else
                reopen(f);
            if (step % 8 == 7)
                compare(f, m);
        }
        test_free(m);
        f->s->ops->close(f->s); /* and another one, empty */
        f->s = NULL;
        remove(f->path);
        fixture_open(f);
    }
}

struct caller {
    struct core_store *s;
    uint64_t first;
    bool is_good;
};

static void *put_and_get_every_fourth(void *arg)
{
    struct caller *c = arg;
    struct buf hold = {0};

    c->is_good = true;
    for (uint64_t k = c->first; c->is_good && k < 200; k += 4) {
        struct store_row r = row_ok(k, "output"), got;

        c->is_good = c->s->ops->put(c->s, &r, 1, NULL, 0, NULL) == WEIR_OK &&
                     c->s->ops->get(c->s, k, &got, &hold, NULL) == WEIR_OK && got.index == k &&
                     slice_equal(got.output, r.output);
    }
    buf_free(&hold);
    return NULL;
}

static void any_thread_may_call(void **state)
{
    struct fixture *f = *state;
    struct caller callers[4];
    pthread_t threads[4];

    for (unsigned i = 0; i < 4; i++) {
        callers[i] = (struct caller){f->s, i, false};
        assert_int_equal(pthread_create(&threads[i], NULL, put_and_get_every_fourth, &callers[i]),
                         0);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(callers[i].is_good);
    }
    mark(f, 200);
    assert_int_equal(summary(f).finished, 200);
}

static void a_store_has_a_name(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(f->s->ops->name, f->kind == KIND_MEMORY ? "memory" : "sqlite");
}

#define BOTH(test)                                                                                 \
    {"memory: " #test, test, setup, teardown, &kind_memory},                                       \
    {                                                                                              \
        "sqlite: " #test, test, setup, teardown, &kind_sqlite                                      \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_store_has_a_name),
        BOTH(each_field_of_a_row_comes_back),
        BOTH(what_was_written_beside_an_output_goes_with_it),
        BOTH(every_outcome_and_reason_comes_back),
        BOTH(an_empty_answer_is_not_no_answer),
        BOTH(a_row_that_has_not_finished_is_not_there),
        BOTH(a_finished_row_cannot_be_put_again),
        BOTH(rows_come_in_any_order_and_in_groups),
        BOTH(a_row_that_is_there_spoils_all_of_its_group),
        BOTH(many_places_come_back),
        BOTH(a_large_output_comes_back),
        BOTH(what_no_store_takes_is_refused),
        BOTH(the_same_attempt_may_be_recorded_again_after_a_crash),
        BOTH(a_delivered_row_keeps_its_record_without_output),
        BOTH(the_mark_stays_and_never_goes_back),
        BOTH(the_mark_does_not_pass_a_row_that_has_not_finished),
        BOTH(a_place_is_found_again),
        BOTH(a_place_that_the_mark_does_not_cover_is_refused),
        BOTH(the_summary_counts_what_has_finished),
        BOTH(failed_rows_are_reopened_and_good_ones_stay),
        BOTH(places_of_the_round_before_go_when_their_rows_are_marked_again),
        BOTH(each_round_raises_the_generation),
        BOTH(facts_are_kept_by_name),
        BOTH(a_call_without_memory_changes_nothing),
        BOTH(any_thread_may_call),
        BOTH(random_calls_do_what_a_naive_model_does),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
