/*
 * A crash at each commit boundary: a run over a store is cut right before and right after each put
 * and each mark, and at each step in between; all but the store and the output file is forgotten;
 * then it is resumed as `weir run` does it, and may be cut again. At the end the output is that of
 * an undisturbed run, byte for byte (P1, P2), and no row whose result was in the store was sent
 * again.
 *
 * The file is a buffer. What a crash may take from it is what no mark has told of: it is cut back
 * to the last mark.
 */
#include "base/buf.h"
#include "base/mem.h"
#include "sim/world.h"
#include "store/memory/memory_store.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ROWS         26
#define MAX_ATTEMPTS 3

struct crash_row {
    struct core_task task;
    char key[16];
    struct buf hold; /* of a row that comes from the store */
};

/* What survives a crash, and the run that is under way. */
struct crash {
    struct sim_model model;
    struct sim_source source;
    struct sim_sink sink;
    struct core_store cutter; /* in front of `journal`: cuts the world at a boundary */
    struct core_store *journal;
    struct buf file;

    struct sim_world *world;
    uint64_t seed;
    uint64_t next;             /* of the source */
    uint64_t written, marked;  /* rows in the file, and of those told to the store */
    uint64_t mark_every;       /* rows */
    uint64_t boundary, cut_at; /* boundaries passed in this run; 0: it is not cut */
    uint64_t steps, halt_at;   /* the same in steps */
    uint64_t live;             /* rows that are not released yet */
    uint64_t sent_again;
};

/* ---- what each row comes to, whenever it runs ---- */

static bool is_forbidden(uint64_t i)
{
    return i % 7 == 3;
}

static bool is_hopeless(uint64_t i)
{
    return i % 11 == 4;
}

static void expected_line(struct buf *out, uint64_t i)
{
    if (is_forbidden(i))
        buf_printf(out, "%u k%u failed 400 -\n", (unsigned)i, (unsigned)i);
    else if (is_hopeless(i))
        buf_printf(out, "%u k%u failed 500 -\n", (unsigned)i, (unsigned)i);
    else
        buf_printf(out, "%u k%u ok 200 answer %u\n", (unsigned)i, (unsigned)i, (unsigned)i);
}

static struct crash *crash_of(const void *member, size_t offset)
{
    return (struct crash *)(void *)((char *)(uintptr_t)member - offset);
}

static duration_ns begin(struct sim_model *m, const struct core_attempt *a, struct instant now,
                         struct core_answer *ret)
{
    struct crash *c = crash_of(m, offsetof(struct crash, model));
    _cleanup_buf_ struct buf hold = {0};
    struct store_row row;
    char text[32];

    (void)now;
    if (c->journal->ops->get(c->journal, a->index, &row, &hold, NULL) != WEIR_E_END)
        c->sent_again++;
    ret->reason = WEIR_REASON_HTTP_STATUS;
    if (is_forbidden(a->index)) {
        ret->outcome = WEIR_OUTCOME_FAILED;
        ret->status = 400;
    } else if (is_hopeless(a->index)) {
        ret->outcome = WEIR_OUTCOME_FAILED;
        ret->retryable = true;
        ret->status = 500;
    } else if (a->index % 5 == 1 && a->number < 3) {
        ret->outcome = WEIR_OUTCOME_CAPACITY;
        ret->status = 429;
    } else {
        ret->outcome = WEIR_OUTCOME_OK;
        ret->reason = WEIR_REASON_NONE;
        ret->status = 200;
        snprintf(text, sizeof text, "answer %u", (unsigned)a->index);
        ret->output = mem_strdup(text);
        ret->output_len = strlen(text);
    }
    /* Odd enough that rows end in another order than they began. */
    return (duration_ns)((a->index * 7919 + c->seed * 104729 + a->number * 31) % 97) * NS_PER_MS;
}

static const struct sim_model_ops model_ops = {.cancels_at_once = true, .begin = begin};

/* ---- rows: from the store when it has them ---- */

static void release(struct core_task *t)
{
    struct crash_row *r = (struct crash_row *)(void *)t;
    struct crash *c = (struct crash *)(uintptr_t)t->payload;

    c->live--;
    task_clear(t);
    buf_free(&r->hold);
    mem_free(r);
}

static void fill_from_store(struct core_task *t, const struct store_row *row)
{
    t->finished_before = true;
    t->complete_index = row->complete_index;
    t->attempts = row->attempts;
    t->capacity_retries = row->capacity_retries;
    t->answer.outcome = row->outcome;
    t->answer.reason = row->reason;
    t->answer.status = row->status;
    if (row->has_output) {
        t->answer.output = mem_copy(row->output.data, row->output.len);
        t->answer.output_len = row->output.len;
    }
}

static enum weir_status next(struct sim_source *s, struct core_task **ret)
{
    struct crash *c = crash_of(s, offsetof(struct crash, source));
    struct crash_row *r;
    struct store_row row;
    enum weir_status status;

    if (c->next == ROWS)
        return WEIR_E_END;
    r = mem_calloc(1, sizeof *r);
    assert_non_null(r);
    task_init(&r->task);
    snprintf(r->key, sizeof r->key, "k%u", (unsigned)c->next);
    r->task.key = r->key;
    r->task.payload = c;
    r->task.release = release;
    r->task.index = c->next++;
    status = c->journal->ops->get(c->journal, r->task.index, &row, &r->hold, NULL);
    if (status == WEIR_OK)
        fill_from_store(&r->task, &row);
    else
        assert_int_equal(status, WEIR_E_END);
    c->live++;
    *ret = &r->task;
    return WEIR_OK;
}

static const struct sim_source_ops source_ops = {.next = next};

/* ---- boundaries ---- */

/* False: the world ends here. */
static bool passes(struct crash *c)
{
    if (++c->boundary != c->cut_at)
        return true;
    sim_world_cut(c->world);
    return false;
}

static enum weir_status cutting_put(struct core_store *s, const struct store_row *rows, size_t n,
                                    const struct store_attempt *attempts, size_t m,
                                    struct weir_error *err)
{
    struct crash *c = crash_of(s, offsetof(struct crash, cutter));
    enum weir_status status;

    if (!passes(c))
        return WEIR_E_IO;
    status = c->journal->ops->put(c->journal, rows, n, attempts, m, err);
    (void)passes(c);
    return status;
}

static const struct core_store_ops cutter_ops = {.name = "cutter", .put = cutting_put};

/* Tells the store how far the file is. False: the world has ended. */
static bool mark(struct crash *c)
{
    const struct store_mark m = {.next = c->written, .output_bytes = c->file.len};

    if (!passes(c))
        return false;
    if (c->journal->ops->mark(c->journal, &m, NULL, 0, NULL) != WEIR_OK) {
        sim_world_cut(c->world);
        return false;
    }
    c->marked = c->written;
    return passes(c);
}

static void take(struct sim_sink *s, const struct core_task *t, struct instant now)
{
    struct crash *c = crash_of(s, offsetof(struct crash, sink));
    const struct core_answer *a = &t->answer;

    (void)now;
    buf_printf(&c->file, "%u %s %s %d %s\n", (unsigned)t->index, t->key,
               weir_outcome_name(a->outcome), a->status, a->output ? a->output : "-");
    c->written++;
    if (c->written - c->marked >= c->mark_every)
        (void)mark(c);
}

static duration_ns delay(struct sim_sink *s)
{
    struct crash *c = crash_of(s, offsetof(struct crash, sink));

    return (duration_ns)(c->written % 3) * 5 * NS_PER_MS;
}

static const struct sim_sink_ops sink_ops = {.delay = delay, .take = take};

/* ---- one run, as far as it comes ---- */

static bool after_step(void *ctx, struct sim_world *w)
{
    struct crash *c = ctx;

    assert_null(dispatcher_check(sim_world_dispatcher(w)));
    return ++c->steps != c->halt_at;
}

/* What `weir run` does first: the file is cut back to where the store knows it. */
static void resume(struct crash *c, struct core_batch_options *batch)
{
    struct store_summary s;

    assert_int_equal(c->journal->ops->summary(c->journal, &s, NULL), WEIR_OK);
    assert_true(c->file.len >= s.mark.output_bytes);
    c->file.len = s.mark.output_bytes;
    c->next = c->written = c->marked = s.mark.next;
    batch->first_index = s.mark.next;
    batch->first_complete_index = s.complete_index;
}

/* True: it came to its end. */
static bool run(struct crash *c, uint64_t cut_at, uint64_t halt_at)
{
    const struct sim_world_options world = {.seed = c->seed, .step = after_step, .ctx = c};
    struct sim_batch_options batch = {.source = &c->source,
                                      .sink = &c->sink,
                                      .store = &c->cutter,
                                      .commit_max_ns = 20 * NS_PER_MS};
    struct core_pool_options pool;
    struct core_pool *p;
    struct sim_batch *b;
    enum sim_end end;
    bool failed;

    c->boundary = c->steps = 0;
    c->cut_at = cut_at;
    c->halt_at = halt_at;
    core_pool_options_init(&pool);
    pool.size = 3;
    pool.max_attempts = MAX_ATTEMPTS;
    core_batch_options_init(&batch.core);
    batch.core.window_rows = 8;
    resume(c, &batch.core);
    assert_int_equal(sim_world_new(&world, &c->world, NULL), WEIR_OK);
    assert_int_equal(sim_world_add_pool(c->world, &pool, &c->model, &p, NULL), WEIR_OK);
    assert_int_equal(sim_world_open(c->world, p, &batch, &b, NULL), WEIR_OK);
    end = sim_world_run(c->world, INSTANT_NEVER);
    failed = sim_batch_has_failed(b);
    assert_true(end == SIM_DONE || end == SIM_CUT || end == SIM_HALTED);
    end = end == SIM_DONE && !failed && !mark(c) ? SIM_CUT : end;
    sim_world_free(c->world);
    assert_int_equal(c->live, 0);
    return end == SIM_DONE && !failed;
}

static void crash_begin(struct crash *c, uint64_t seed)
{
    *c = (struct crash){.seed = seed, .mark_every = 1 + seed % 4};
    c->model.ops = &model_ops;
    c->source.ops = &source_ops;
    c->sink.ops = &sink_ops;
    c->cutter.ops = &cutter_ops;
    assert_int_equal(memory_store_new(&c->journal, NULL), WEIR_OK);
}

/* The file and the store are what an undisturbed run would have left. */
static void crash_end(struct crash *c)
{
    _cleanup_buf_ struct buf expected = {0};
    bool seen[ROWS] = {false};
    struct store_summary s;

    for (uint64_t i = 0; i < ROWS; i++)
        expected_line(&expected, i);
    assert_int_equal(c->file.len, expected.len);
    assert_memory_equal(c->file.data, expected.data, expected.len);
    assert_int_equal(c->journal->ops->summary(c->journal, &s, NULL), WEIR_OK);
    assert_int_equal(s.finished, ROWS);
    assert_int_equal(s.mark.next, ROWS);
    assert_int_equal(s.mark.output_bytes, expected.len);
    for (uint64_t i = 0; i < ROWS; i++) {
        _cleanup_buf_ struct buf hold = {0};
        struct store_row row;

        assert_int_equal(c->journal->ops->get(c->journal, i, &row, &hold, NULL), WEIR_OK);
        assert_true(row.complete_index < ROWS && !seen[row.complete_index]);
        seen[row.complete_index] = true;
    }
    assert_int_equal(c->sent_again, 0);
    buf_free(&c->file);
    c->journal->ops->close(c->journal);
}

/* ---- tests ---- */

static void an_undisturbed_run_writes_each_row_once_in_order(void **state)
{
    struct crash c;

    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        crash_begin(&c, seed);
        assert_true(run(&c, 0, 0));
        crash_end(&c);
    }
}

static void cut_at_any_commit_boundary_a_run_resumes_to_the_same_bytes(void **state)
{
    struct crash c;
    uint64_t cuts = 0;
    bool over;

    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        for (uint64_t at = 1;; at++) {
            crash_begin(&c, seed);
            over = run(&c, at, 0);
            if (!over)
                assert_true(run(&c, 0, 0));
            crash_end(&c);
            if (over)
                break;
            cuts++;
        }
    }
    print_message("%llu crashes\n", (unsigned long long)cuts);
    assert_true(cuts > 8 * 2 * 8);
}

static void cut_twice_a_run_still_resumes_to_the_same_bytes(void **state)
{
    struct crash c;

    (void)state;
    for (uint64_t at = 1; at < 60; at++) {
        for (uint64_t again = 1; again < 60; again += 1 + at % 3) {
            crash_begin(&c, 3);
            if (!run(&c, at, 0) && !run(&c, again, 0))
                assert_true(run(&c, 0, 0));
            crash_end(&c);
        }
    }
}

static void cut_at_every_boundary_in_a_row_a_run_comes_to_its_end(void **state)
{
    struct crash c;
    unsigned runs = 0;

    (void)state;
    crash_begin(&c, 5);
    /* The fourth boundary: one put and one mark at least have passed, so each run gets further. */
    while (!run(&c, 4, 0))
        assert_true(++runs < 10 * ROWS);
    assert_true(runs > 3);
    crash_end(&c);
}

static void cut_after_any_step_a_run_resumes_to_the_same_bytes(void **state)
{
    struct crash c;
    bool over = false;

    (void)state;
    for (uint64_t at = 1; !over; at++) {
        crash_begin(&c, 2);
        over = run(&c, 0, at);
        if (!over)
            assert_true(run(&c, 0, 0));
        crash_end(&c);
    }
}

static void a_full_disk_ends_a_run_and_the_next_one_resumes_it(void **state)
{
    struct crash c;
    bool over = false;

    (void)state;
    for (uint64_t at = 1; !over; at++) {
        crash_begin(&c, 4);
        memory_store_fail_put_at(c.journal, at);
        over = run(&c, 0, 0);
        memory_store_fail_put_at(c.journal, 0);
        if (!over)
            assert_true(run(&c, 0, 0));
        crash_end(&c);
    }
    over = false;
    for (uint64_t at = 1; !over; at++) {
        crash_begin(&c, 4);
        memory_store_fail_mark_at(c.journal, at);
        over = run(&c, 0, 0);
        memory_store_fail_mark_at(c.journal, 0);
        if (!over)
            assert_true(run(&c, 0, 0));
        crash_end(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_undisturbed_run_writes_each_row_once_in_order),
        cmocka_unit_test(cut_at_any_commit_boundary_a_run_resumes_to_the_same_bytes),
        cmocka_unit_test(cut_twice_a_run_still_resumes_to_the_same_bytes),
        cmocka_unit_test(cut_at_every_boundary_in_a_row_a_run_comes_to_its_end),
        cmocka_unit_test(cut_after_any_step_a_run_resumes_to_the_same_bytes),
        cmocka_unit_test(a_full_disk_ends_a_run_and_the_next_one_resumes_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
