/*
 * The writer: each result exactly once, in order, whatever the moment of a crash (P1, P2, I3); a
 * full disk, a closed pipe and a changed file are errors that say what to do (P9).
 *
 * A crash is made by a store that stops working at its n-th call, before or after doing it, so that
 * every boundary between files and store is met; the next run starts from what is left, with a
 * random part of what was not yet marked lost from the files.
 *
 * run-tests: waits
 * run-tests: long
 */
#include "unit/cli/cli_test.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cli/output/outfile.h"
#include "cli/output/writer.h"
#include "store/memory/memory_store.h"
#include "store/sqlite/sqlite_store.h"
#include "support/testkit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROWS 20

/* ---- a store that crashes ---- */

struct crash_store {
    struct core_store base;
    struct core_store *inner;
    long calls_left; /* the call that finds 0 crashes; negative: none does */
    bool after;      /* does its work first */
    bool crashed;
};

static struct crash_store *crash_of(struct core_store *s)
{
    return (struct crash_store *)(void *)s;
}

#define THROUGH(call)                                                                              \
    do {                                                                                           \
        struct crash_store *c = crash_of(s);                                                       \
        enum weir_status status;                                                                   \
        bool now = !c->crashed && c->calls_left == 0;                                              \
        if (c->calls_left >= 0)                                                                    \
            c->calls_left--;                                                                       \
        if (c->crashed || (now && !c->after)) {                                                    \
            c->crashed = true;                                                                     \
            return WEIR_E_IO;                                                                      \
        }                                                                                          \
        status = c->inner->ops->call;                                                              \
        c->crashed = c->crashed || now;                                                            \
        return now ? WEIR_E_IO : status;                                                           \
    } while (0)

static enum weir_status c_put(struct core_store *s, const struct store_row *r, size_t n,
                              const struct store_attempt *a, size_t m, struct weir_error *err)
{
    THROUGH(put(c->inner, r, n, a, m, err));
}
static enum weir_status c_get(struct core_store *s, uint64_t i, struct store_row *ret,
                              struct buf *hold, struct weir_error *err)
{
    THROUGH(get(c->inner, i, ret, hold, err));
}
static enum weir_status c_mark(struct core_store *s, const struct store_mark *mark,
                               const struct store_place *p, size_t n, struct weir_error *err)
{
    THROUGH(mark(c->inner, mark, p, n, err));
}
static enum weir_status c_place(struct core_store *s, uint64_t i, struct store_place *ret,
                                struct weir_error *err)
{
    THROUGH(place(c->inner, i, ret, err));
}
static enum weir_status c_summary(struct core_store *s, struct store_summary *ret,
                                  struct weir_error *err)
{
    THROUGH(summary(c->inner, ret, err));
}
static enum weir_status c_reopen(struct core_store *s, uint64_t *ret, struct weir_error *err)
{
    THROUGH(reopen_failed(c->inner, ret, err));
}
static enum weir_status c_generation(struct core_store *s, uint64_t i, uint32_t *ret,
                                     struct weir_error *err)
{
    THROUGH(generation(c->inner, i, ret, err));
}
static enum weir_status c_set(struct core_store *s, const char *name, struct slice v,
                              struct weir_error *err)
{
    THROUGH(set(c->inner, name, v, err));
}
static enum weir_status c_fact(struct core_store *s, const char *name, struct buf *out,
                               struct weir_error *err)
{
    THROUGH(fact(c->inner, name, out, err));
}

static const struct core_store_ops crash_ops = {
    .name = "crash",
    .put = c_put,
    .get = c_get,
    .mark = c_mark,
    .place = c_place,
    .summary = c_summary,
    .reopen_failed = c_reopen,
    .generation = c_generation,
    .set = c_set,
    .fact = c_fact,
};

/* ---- a world: a folder with the files, and a store ---- */

static struct {
    char *dir, *output, *errors, *journal;
    struct core_store *store;
    struct crash_store crash;
    bool with_errors;
    bool sqlite;
    bool raw;
    uint32_t fails_below; /* rows 1, 4, 7 ... fail in generations below it */
} world;

static struct weir_error err;

static void world_open_store(void)
{
    if (world.sqlite) {
        if (sqlite_store_open(world.journal, SQLITE_STORE_CREATE, &world.store, &err) != WEIR_OK)
            fail_msg("%s", err.message);
    } else if (!world.store)
        assert_int_equal(memory_store_new(&world.store, &err), WEIR_OK);
}

static void world_close_store(bool for_good)
{
    if (world.store && (world.sqlite || for_good)) {
        world.store->ops->close(world.store);
        world.store = NULL;
    }
}

static int world_make(void **state)
{
    (void)state;
    memset(&world, 0, sizeof(world));
    memset(&err, 0, sizeof(err));
    world.dir = testkit_dir_make();
    world.output = testkit_path(world.dir, "out");
    world.errors = testkit_path(world.dir, "err");
    world.journal = testkit_path(world.dir, "out.weir");
    world.fails_below = 1;
    return 0;
}

static int world_end(void **state)
{
    (void)state;
    world_close_store(true);
    testkit_free(world.output);
    testkit_free(world.errors);
    testkit_free(world.journal);
    testkit_dir_remove(world.dir);
    return 0;
}

static void world_again(void)
{
    bool with_errors = world.with_errors, sqlite = world.sqlite, raw = world.raw;

    world_end(NULL);
    world_make(NULL);
    world.with_errors = with_errors;
    world.sqlite = sqlite;
    world.raw = raw;
}

static char *text_of(const char *path)
{
    return access(path, F_OK) == 0 ? testkit_file_read(path, NULL) : NULL;
}

/* ---- a run, as run.c makes one ---- */

static bool fails(uint64_t index, uint32_t generation)
{
    return index % 3 == 1 && generation < world.fails_below;
}

static void row_text(uint64_t index, uint32_t generation, struct buf *out)
{
    /* Bytes of a command: none, some without a line end, or several lines. */
    if (world.raw) {
        buf_puts(out, "");
        if (index % 5 > 0)
            buf_printf(out, "<%d.%u%s>%s", (int)index, generation,
                       fails(index, generation) ? " failed" : "", index % 2 ? "\n\n" : "");
        return;
    }
    buf_printf(out, "{\"index\":%d,\"gen\":%u,\"ok\":%s,\"pad\":\"%.*s\"}\n", (int)index,
               generation, fails(index, generation) ? "false" : "true", (int)(index * 7 % 13),
               "xxxxxxxxxxxxx");
}

static enum weir_status finish_row(struct core_store *store, uint64_t index)
{
    struct store_row row = {.index = index, .has_output = true, .complete_index = index};
    struct buf text = {0};
    uint32_t generation = 0;
    enum weir_status status = store->ops->generation(store, index, &generation, &err);

    if (status == WEIR_OK) {
        row_text(index, generation, &text);
        row.key = SLICE("k");
        row.output = buf_slice(&text);
        row.generation = generation;
        row.outcome = fails(index, generation) ? WEIR_OUTCOME_FAILED : WEIR_OUTCOME_OK;
        status = text.failed ? WEIR_E_NOMEM : store->ops->put(store, &row, 1, NULL, 0, &err);
    }
    buf_free(&text);
    return status;
}

static enum weir_status deliver_row(struct writer *w, struct core_store *store, uint64_t index)
{
    struct store_row row;
    struct core_task task = {.index = index};
    struct buf hold = {0};
    bool before = true;
    enum weir_status status = store->ops->get(store, index, &row, &hold, &err);

    if (status == WEIR_E_END) {
        before = false;
        status = finish_row(store, index);
        if (status == WEIR_OK)
            status = store->ops->get(store, index, &row, &hold, &err);
    }
    if (status != WEIR_OK)
        goto out;
    task.finished_before = before;
    task.answer.outcome = row.outcome;
    task.answer.output = row.has_output ? (char *)(uintptr_t)row.output.data : NULL;
    if (writer_keeps(w, &task)) {
        status = writer_copy(w, index, 1, &err);
    } else {
        assert_true(row.has_output);
        buf_put_slice(writer_line(w, row.outcome != WEIR_OUTCOME_OK), row.output);
        status = writer_line_end(w, index, 1, &err);
    }
out:
    buf_free(&hold);
    return status;
}

/* until: the row before which the run is interrupted; ROWS: it runs to its end. */
static enum weir_status run_on(struct core_store *store, bool retry_failed, uint64_t until)
{
    struct writer_options o = {
        .output = world.output,
        .errors = world.with_errors ? world.errors : NULL,
        .store = store,
        .retry_failed = retry_failed,
        .raw = world.raw,
    };
    struct writer *w = NULL;
    struct writer_start start;
    struct instant now = {0};
    enum weir_status status = writer_open(&o, &w, &err);

    if (status == WEIR_OK)
        status = writer_start(w, &start, &err);
    for (uint64_t k = status == WEIR_OK ? start.mark.next : ROWS; k < until && status == WEIR_OK;
         k++) {
        status = deliver_row(w, store, k);
        now.ns += 400 * NS_PER_MS;
        if (status == WEIR_OK && k % 4 > 1) /* in chains of one to three lines */
            status = writer_flush(w, now, &err);
    }
    if (status == WEIR_OK)
        status = writer_finish(w, until == ROWS, &err);
    writer_free(w);
    return status;
}

static enum weir_status run(bool retry_failed, uint64_t until)
{
    enum weir_status status;

    world_open_store();
    status = run_on(world.store, retry_failed, until);
    world_close_store(false);
    return status;
}

static void expect_text(const char *path, bool all, bool failed, uint32_t generation)
{
    struct buf expected = {0};
    char *text = text_of(path);

    for (uint64_t k = 0; k < ROWS; k++) {
        uint32_t g = k % 3 == 1 ? generation : 0;

        if (all || fails(k, g) == failed)
            row_text(k, g, &expected);
    }
    assert_non_null(text);
    assert_string_equal(text, expected.data ? expected.data : "");
    testkit_free(text);
    buf_free(&expected);
}

/* Every row once, in order, in the file where it belongs, and nothing left beside. */
static void expect_files(uint32_t generation)
{
    char *beside = testkit_path(world.dir, "out" WRITER_RETRY_SUFFIX);

    expect_text(world.output, !world.with_errors, false, generation);
    if (world.with_errors)
        expect_text(world.errors, false, true, generation);
    assert_null(text_of(beside));
    testkit_free(beside);
}

/* What a power cut may do: what was not yet marked goes, from the end, as far as chance takes it. */
static void lose_unmarked(const char *path, uint64_t marked, struct rng *rng)
{
    struct stat st;

    if (stat(path, &st) != 0 || (uint64_t)st.st_size <= marked)
        return;
    assert_int_equal(
        truncate(path, (off_t)(marked + rng_below(rng, (uint64_t)st.st_size - marked + 1))), 0);
}

static void lose_something(struct rng *rng)
{
    struct store_summary sum;
    struct buf round = {0};
    char *beside = testkit_path(world.dir, "out" WRITER_RETRY_SUFFIX);
    char *errors_beside = testkit_path(world.dir, "err" WRITER_RETRY_SUFFIX);

    assert_int_equal(world.store->ops->summary(world.store, &sum, &err), WEIR_OK);
    (void)!world.store->ops->fact(world.store, WRITER_FACT_ROUND, &round, &err);
    if (slice_equal(buf_slice(&round), SLICE("open"))) {
        lose_unmarked(beside, sum.mark.output_bytes, rng);
        lose_unmarked(errors_beside, sum.mark.errors_bytes, rng);
    } else if (round.len == 0) {
        lose_unmarked(world.output, sum.mark.output_bytes, rng);
        lose_unmarked(world.errors, sum.mark.errors_bytes, rng);
    }
    buf_free(&round);
    testkit_free(beside);
    testkit_free(errors_beside);
}

/* ---- the tests ---- */

static void rows_stand_once_and_in_order(void **state)
{
    (void)state;
    assert_int_equal(run(false, ROWS), WEIR_OK);
    expect_files(0);
    world_again();
    world.with_errors = true;
    assert_int_equal(run(false, ROWS), WEIR_OK);
    expect_files(0);
}

static void a_stopped_run_goes_on_where_it_stopped(void **state)
{
    (void)state;
    world.with_errors = true;
    assert_int_equal(run(false, 7), WEIR_OK);
    assert_int_equal(run(false, 7), WEIR_OK);
    assert_int_equal(run(false, 11), WEIR_OK);
    assert_int_equal(run(false, ROWS), WEIR_OK);
    expect_files(0);
    assert_int_equal(run(false, ROWS), WEIR_OK); /* nothing left to do: nothing changes */
    expect_files(0);
}

/* Whether the store says that a round is under way, so that nobody has to ask for it again. */
static bool round_is_under_way(void)
{
    struct store_summary sum;
    struct buf round = {0};
    bool under_way;

    world_open_store();
    assert_int_equal(world.store->ops->summary(world.store, &sum, &err), WEIR_OK);
    (void)!world.store->ops->fact(world.store, WRITER_FACT_ROUND, &round, &err);
    under_way =
        round.len > 0 && !(slice_equal(buf_slice(&round), SLICE("begin")) && sum.mark.next > 0);
    buf_free(&round);
    world_close_store(false);
    return under_way;
}

/* Crashes at each call of the store in turn; goes on, possibly through more crashes; compares. */
static void crash_everywhere(bool retry, bool after)
{
    struct rng rng;
    bool crashed = true;

    rng_seed(&rng, 7);
    for (long n = 0; crashed; n++) {
        enum weir_status status;

        world_again();
        if (retry) {
            assert_int_equal(run(false, ROWS), WEIR_OK);
            world.fails_below = 1;
        }
        world_open_store();
        world.crash = (struct crash_store){
            .base = {&crash_ops}, .inner = world.store, .calls_left = n, .after = after};
        status = run_on(&world.crash.base, retry, ROWS);
        crashed = world.crash.crashed;
        assert_int_equal(status, crashed ? WEIR_E_IO : WEIR_OK);
        if (crashed)
            lose_something(&rng);
        world_close_store(false);
        if (crashed) {
            /* The round may not have begun, or be over: then this begins one (more). */
            assert_int_equal(run(retry && !round_is_under_way(), 13), WEIR_OK);
            assert_int_equal(run(false, ROWS), WEIR_OK);
        }
        expect_files(retry ? 1 : 0);
    }
}

static void a_crash_anywhere_loses_and_doubles_nothing(void **state)
{
    (void)state;
    world.with_errors = true;
    crash_everywhere(false, false);
    crash_everywhere(false, true);
}

static void a_crash_anywhere_in_a_retry_round_loses_and_doubles_nothing(void **state)
{
    (void)state;
    world.with_errors = true;
    crash_everywhere(true, false);
}

static void nor_does_one_after_a_call_that_had_its_effect(void **state)
{
    (void)state;
    world.with_errors = true;
    crash_everywhere(true, true);
}

static void nor_does_one_of_a_run_whose_output_is_bytes(void **state)
{
    (void)state;
    world.raw = true;
    crash_everywhere(false, false);
    crash_everywhere(false, true);
    crash_everywhere(true, false);
    crash_everywhere(true, true);
}

static void rows_in_any_order_and_rows_without_a_line_are_taken_without_a_store(void **state)
{
    struct writer_options o = {.output = world.output, .unordered = true};
    struct writer *w = NULL;
    struct writer_start start;
    char *text;

    (void)state;
    assert_int_equal(writer_open(&o, &w, &err), WEIR_OK);
    assert_int_equal(writer_start(w, &start, &err), WEIR_OK);
    buf_puts(writer_line(w, false), "two\n");
    assert_int_equal(writer_line_end(w, 2, 1, &err), WEIR_OK);
    buf_puts(writer_line(w, false), "none\n");
    assert_int_equal(writer_line_end(w, 0, 1, &err), WEIR_OK);
    writer_pass_over(w);
    assert_int_equal(writer_finish(w, true, &err), WEIR_OK);
    assert_int_equal(writer_position(w).next, 3);
    writer_free(w);
    text = text_of(world.output);
    assert_string_equal(text, "two\nnone\n");
    testkit_free(text);
}

static void a_retry_round_works_on_the_journal_too(void **state)
{
    (void)state;
    world.sqlite = true;
    world.with_errors = true;
    assert_int_equal(run(false, 9), WEIR_OK);
    assert_int_equal(run(false, ROWS), WEIR_OK);
    expect_files(0);
    assert_int_equal(run(true, 5), WEIR_OK);
    assert_int_equal(run(true, 12), WEIR_OK); /* the same round, asked for again */
    assert_int_equal(run(false, ROWS), WEIR_OK);
    expect_files(1);
    assert_int_equal(run(true, ROWS), WEIR_OK); /* nothing failed: a round that copies all */
    expect_files(1);
}

static void a_round_that_changed_nothing_yet_can_be_let_be(void **state)
{
    (void)state;
    assert_int_equal(run(false, ROWS), WEIR_OK);
    world.crash = (struct crash_store){.base = {&crash_ops}, .inner = world.store, .after = true};
    world.crash.calls_left = 3; /* fact, fact, summary, set "begin" */
    assert_int_equal(run_on(&world.crash.base, true, ROWS), WEIR_E_IO);
    assert_false(round_is_under_way());
    assert_int_equal(run(false, ROWS), WEIR_OK);
    expect_files(0);
}

static void rows_that_fail_again_can_be_retried_again(void **state)
{
    (void)state;
    world.fails_below = 2;
    assert_int_equal(run(false, ROWS), WEIR_OK);
    expect_files(0);
    assert_int_equal(run(true, ROWS), WEIR_OK);
    expect_files(1);
    assert_int_equal(run(true, ROWS), WEIR_OK);
    expect_files(2);
}

static void the_results_so_far_stay_in_place_until_a_round_ends(void **state)
{
    struct stat st;

    (void)state;
    assert_int_equal(run(false, ROWS), WEIR_OK);
    assert_int_equal(chmod(world.output, 0640), 0);
    assert_int_equal(run(true, 12), WEIR_OK);
    expect_text(world.output, true, false, 0);
    assert_int_equal(run(false, ROWS), WEIR_OK);
    expect_files(1);
    assert_int_equal(stat(world.output, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
}

static void a_crash_between_the_two_renames_is_finished(void **state)
{
    char *beside = testkit_path(world.dir, "err" WRITER_RETRY_SUFFIX);

    (void)state;
    world.with_errors = true;
    world.fails_below = 2;
    assert_int_equal(run(false, ROWS), WEIR_OK);
    assert_int_equal(run(true, ROWS), WEIR_OK);
    /* As if the machine had stopped after the first rename. */
    assert_int_equal(rename(world.errors, beside), 0);
    testkit_file_write(world.errors, "old\n", 4);
    assert_int_equal(world.store->ops->set(world.store, WRITER_FACT_ROUND, SLICE("rename"), &err),
                     WEIR_OK);
    assert_int_equal(run(false, ROWS), WEIR_OK);
    expect_files(1);
    testkit_free(beside);
}

static void a_changed_output_is_refused_and_left_alone(void **state)
{
    static const char *const files[] = {
        "", "short\n", "long enough, but with no line end .............................."};

    (void)state;
    assert_int_equal(run(false, 3), WEIR_OK);
    for (size_t i = 0; i < 3; i++) {
        char *text;

        testkit_file_write(world.output, files[i], strlen(files[i]));
        assert_int_equal(run(false, ROWS), WEIR_E_CONFLICT);
        assert_contains(err.message, "was changed since");
        assert_contains(err.message, "--fresh");
        text = text_of(world.output);
        assert_string_equal(text, files[i]);
        testkit_free(text);
    }
    assert_int_equal(unlink(world.output), 0);
    assert_int_equal(run(false, ROWS), WEIR_E_CONFLICT);
    assert_contains(err.message, "is gone");
}

static void somebody_elses_file_is_not_overwritten(void **state)
{
    struct writer_options o = {.output = world.output};
    struct writer_start start;
    struct writer *w = NULL;
    struct weir_error e = {0};
    char *text;

    (void)state;
    testkit_file_write(world.output, "precious\n", 9);
    assert_int_equal(run(false, ROWS), WEIR_E_CONFLICT);
    assert_contains(err.message, "--fresh to replace it");
    text = text_of(world.output);
    assert_string_equal(text, "precious\n");
    testkit_free(text);

    o.store = world.store;
    o.overwrite = true;
    assert_int_equal(writer_open(&o, &w, &e), WEIR_OK);
    text = text_of(world.output);
    assert_string_equal(text, "precious\n"); /* not before all checks have passed */
    testkit_free(text);
    assert_int_equal(writer_start(w, &start, &e), WEIR_OK);
    assert_false(start.resumed);
    text = text_of(world.output);
    assert_string_equal(text, "");
    testkit_free(text);
    writer_free(w);
}

static void an_input_is_never_written_over(void **state)
{
    char *link_name = testkit_path(world.dir, "link");
    const char *inputs[] = {"-", link_name};
    struct writer_options o = {
        .output = world.output, .overwrite = true, .not_these = inputs, .not_these_count = 2};
    struct writer *w = NULL;

    (void)state;
    testkit_file_write(world.output, "{}\n", 3);
    assert_int_equal(symlink(world.output, link_name), 0);
    assert_int_equal(writer_open(&o, &w, &err), WEIR_E_INVALID);
    assert_contains(err.message, "is also");
    o = (struct writer_options){.output = world.output, .errors = link_name, .overwrite = true};
    assert_int_equal(writer_open(&o, &w, &err), WEIR_E_INVALID);
    assert_contains(err.message, "are the same");
    assert_int_equal(unlink(link_name), 0);
    testkit_free(link_name);
}

static void a_retry_needs_a_run_before(void **state)
{
    (void)state;
    assert_int_equal(run(true, ROWS), WEIR_E_CONFLICT);
    assert_contains(err.message, "without --retry-failed first");
}

static void an_unknown_round_is_refused(void **state)
{
    (void)state;
    assert_int_equal(run(false, 3), WEIR_OK);
    assert_int_equal(world.store->ops->set(world.store, WRITER_FACT_ROUND, SLICE("later"), &err),
                     WEIR_OK);
    assert_int_equal(run(false, ROWS), WEIR_E_CONFLICT);
}

static void the_store_hears_of_lines_once_a_second_or_when_much_is_written(void **state)
{
    struct writer_options o = {.output = world.output};
    struct writer_start start;
    struct store_summary sum;
    struct writer *w = NULL;
    struct instant now = {0};
    static char pad[3 << 20];

    (void)state;
    world_open_store();
    o.store = world.store;
    assert_int_equal(writer_open(&o, &w, &err), WEIR_OK);
    assert_int_equal(writer_start(w, &start, &err), WEIR_OK);
    memset(pad, 'x', sizeof(pad));
    for (uint64_t k = 0; k < 5; k++) {
        struct buf *line;

        assert_int_equal(finish_row(world.store, k), WEIR_OK);
        line = writer_line(w, false);
        if (k >= 2)
            buf_put(line, pad, sizeof(pad));
        buf_puts(line, "\n");
        assert_int_equal(writer_line_end(w, k, 1, &err), WEIR_OK);
        assert_int_equal(writer_flush(w, now, &err), WEIR_OK);
        assert_int_equal(world.store->ops->summary(world.store, &sum, &err), WEIR_OK);
        /* The first second begins with the first line; 9 MiB are more than 8. */
        assert_int_equal(sum.mark.next, k < 1 ? 0 : k < 4 ? 2 : 5);
        now.ns += k == 0 ? NS_PER_S : 1;
    }
    writer_free(w);
}

static void a_failed_mark_breaks_the_writer_for_good(void **state)
{
    struct writer_options o = {.output = world.output};
    struct writer_start start;
    struct writer *w = NULL;
    struct store_summary sum;

    (void)state;
    world_open_store();
    o.store = world.store;
    assert_int_equal(writer_open(&o, &w, &err), WEIR_OK);
    assert_int_equal(writer_start(w, &start, &err), WEIR_OK);
    assert_int_equal(finish_row(world.store, 0), WEIR_OK);
    buf_puts(writer_line(w, false), "x\n");
    assert_int_equal(writer_line_end(w, 0, 1, &err), WEIR_OK);
    memory_store_fail_mark_at(world.store, 1);
    assert_int_equal(writer_finish(w, false, &err), WEIR_E_IO);
    assert_int_equal(writer_flush(w, (struct instant){0}, &err), WEIR_E_IO);
    assert_int_equal(writer_finish(w, true, &err), WEIR_E_IO);
    assert_int_equal(world.store->ops->summary(world.store, &sum, &err), WEIR_OK);
    assert_int_equal(sum.mark.next, 0);
    writer_free(w);
}

static enum weir_status write_to(const char *path, size_t bytes)
{
    struct writer_options o = {.output = path, .overwrite = true};
    struct writer_start start;
    struct writer *w = NULL;
    enum weir_status status = writer_open(&o, &w, &err);
    struct buf *line;

    assert_int_equal(status, WEIR_OK);
    assert_int_equal(writer_start(w, &start, &err), WEIR_OK);
    line = writer_line(w, false);
    for (size_t i = 0; i + 1 < bytes; i++)
        buf_putc(line, 'y');
    buf_putc(line, '\n');
    status = writer_line_end(w, 0, 1, &err);
    if (status == WEIR_OK)
        status = writer_finish(w, true, &err);
    writer_free(w);
    return status;
}

static void a_full_disk_is_told_with_the_remedy(void **state)
{
    struct rlimit limit, small;

    (void)state;
    assert_int_equal(write_to("/dev/full", 100), WEIR_E_IO);
    assert_contains(err.message, "/dev/full: No space left on device; make room");

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(write_to(world.output, 9000), WEIR_E_IO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_contains(err.message, "File too large; raise the limit");
}

static void a_run_on_a_full_disk_goes_on_when_there_is_room(void **state)
{
    struct rlimit limit, small;
    enum weir_status status;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    for (rlim_t size = 1; size < 1500; size += 97) {
        world_again();
        world_open_store();
        small.rlim_cur = size;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        status = run_on(world.store, false, ROWS);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        if (status != WEIR_OK)
            assert_contains(err.message, "run the same command again");
        assert_int_equal(run(false, ROWS), WEIR_OK);
        expect_files(0);
    }
}

static void a_reader_that_went_away_is_told(void **state)
{
    char *fifo = testkit_path(world.dir, "fifo");
    int reader;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    reader = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(reader >= 0);
    assert_int_equal(write_to(fifo, 100), WEIR_OK);
    {
        struct writer_options o = {.output = fifo};
        struct writer_start start;
        struct writer *w = NULL;

        assert_int_equal(writer_open(&o, &w, &err), WEIR_OK);
        assert_int_equal(writer_start(w, &start, &err), WEIR_OK);
        close(reader);
        buf_puts(writer_line(w, false), "x\n");
        assert_int_equal(writer_line_end(w, 0, 1, &err), WEIR_OK);
        assert_int_equal(writer_flush(w, (struct instant){0}, &err), WEIR_E_IO);
        assert_contains(err.message, "gone away");
        writer_free(w);
    }
    testkit_free(fifo);
}

static void what_cannot_be_opened_is_named(void **state)
{
    char *deep = testkit_path(world.dir, "no/such/folder");
    struct writer_options o = {.output = deep};
    struct writer *w = NULL;

    (void)state;
    assert_int_equal(writer_open(&o, &w, &err), WEIR_E_IO);
    assert_contains(err.message, deep);
    assert_contains(err.message, "No such file");
    o.output = world.dir;
    assert_int_equal(writer_open(&o, &w, &err), WEIR_E_IO);
    assert_contains(err.message, "s a directory");
    testkit_free(deep);
}

static void a_lack_of_memory_stops_it_and_a_later_run_goes_on(void **state)
{
    bool failed = true;

    (void)state;
    world.with_errors = true;
    for (unsigned long n = 1; failed; n++) {
        enum weir_status status;

        world_again();
        world_open_store();
        mem_fail_at(n);
        status = run_on(world.store, false, ROWS);
        failed = mem_has_failed();
        mem_fail_at(0);
        assert_true(status == WEIR_OK || failed);
        if (status != WEIR_OK) {
            assert_int_equal(status, WEIR_E_NOMEM);
            assert_int_equal(run(false, ROWS), WEIR_OK);
        }
        expect_files(0);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_make, world_end)
    const struct CMUnitTest tests[] = {
        TEST(rows_stand_once_and_in_order),
        TEST(a_stopped_run_goes_on_where_it_stopped),
        TEST(a_crash_anywhere_loses_and_doubles_nothing),
        TEST(a_crash_anywhere_in_a_retry_round_loses_and_doubles_nothing),
        TEST(nor_does_one_after_a_call_that_had_its_effect),
        TEST(nor_does_one_of_a_run_whose_output_is_bytes),
        TEST(rows_in_any_order_and_rows_without_a_line_are_taken_without_a_store),
        TEST(a_retry_round_works_on_the_journal_too),
        TEST(a_round_that_changed_nothing_yet_can_be_let_be),
        TEST(rows_that_fail_again_can_be_retried_again),
        TEST(the_results_so_far_stay_in_place_until_a_round_ends),
        TEST(a_crash_between_the_two_renames_is_finished),
        TEST(a_changed_output_is_refused_and_left_alone),
        TEST(somebody_elses_file_is_not_overwritten),
        TEST(an_input_is_never_written_over),
        TEST(a_retry_needs_a_run_before),
        TEST(an_unknown_round_is_refused),
        TEST(the_store_hears_of_lines_once_a_second_or_when_much_is_written),
        TEST(a_failed_mark_breaks_the_writer_for_good),
        TEST(a_full_disk_is_told_with_the_remedy),
        TEST(a_run_on_a_full_disk_goes_on_when_there_is_room),
        TEST(a_reader_that_went_away_is_told),
        TEST(what_cannot_be_opened_is_named),
        TEST(a_lack_of_memory_stops_it_and_a_later_run_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
