/*
 * The feeding thread: rows from the source into the engine, and what an earlier run knows of them.
 *
 * With a journal, a row that has finished before is not sent again: its result comes from the
 * journal. That holds only if it is the same row, so the content of each is compared by its
 * fingerprint.
 */
#include "base/error.h"
#include "cli/run/run.h"
#include "core/record.h"

#include <inttypes.h>

/*
 * Rows that are read before it is their turn: enough that the engine never waits for the reader,
 * and few enough that they are still in the processor's cache when they are sent, and that the
 * window's memory is left to the rows that need it, those that have been sent.
 */
#define AHEAD_ROWS_PER_JOB 4
#define AHEAD_ROWS_MIN     512

struct feeding {
    struct run *run;
    uint64_t known_left; /* rows that the journal has a result for and that have not come by yet */
    uint64_t ahead;      /* rows fed before it is their turn */
    uint64_t to_begin;   /* rows fed that had not finished before */
    struct buf hold;
};

static enum weir_status changed(const struct feeding *f, uint64_t index, const char *file,
                                uint64_t line, struct weir_error *err)
{
    return error_set(err, WEIR_E_CONFLICT,
                     "%s:%" PRIu64 ": row %" PRIu64
                     " is not the row that was run before: %s knows another "
                     "content; give it the same input, or start over with --fresh",
                     file, line, index, f->run->options.journal);
}

/* WEIR_E_END: the journal knows nothing of the row. */
static enum weir_status look_up(struct feeding *f, uint64_t index, struct store_row *ret,
                                struct weir_error *err)
{
    struct core_store *store = f->run->store;
    enum weir_status status;

    if (!store || f->known_left == 0)
        return WEIR_E_END;
    status = store->ops->get(store, index, ret, &f->hold, err);
    if (status == WEIR_OK)
        f->known_left--;
    return status;
}

static enum weir_status compare_skipped(void *ctx, uint64_t index, const struct line *line,
                                        struct weir_error *err)
{
    struct feeding *f = ctx;
    struct store_row known;
    enum weir_status status = look_up(f, index, &known, err);

    if (status == WEIR_E_END)
        return WEIR_OK;
    if (status != WEIR_OK)
        return status;
    if (known.hash_hi != line->hash.hi || known.hash_lo != line->hash.lo)
        return changed(f, index, line->file, line->number, err);
    return WEIR_OK;
}

/* What the journal knows of the row, put into it. */
static enum weir_status recall(struct feeding *f, struct run_row *row, struct weir_error *err)
{
    struct run *r = f->run;
    struct core_task *t = &row->task;
    struct store_row known;
    uint32_t generation = 0;
    enum weir_status status = look_up(f, t->index, &known, err);

    if (status == WEIR_OK) {
        if (known.hash_hi != t->hash_hi || known.hash_lo != t->hash_lo)
            return changed(f, t->index, row->file, row->line, err);
        return record_restore(&known, engine_wall_offset_ns(r->engine), t) ? WEIR_OK
                                                                           : error_nomem(err);
    }
    if (status != WEIR_E_END)
        return status;
    if (r->start.retrying) {
        status = r->store->ops->generation(r->store, t->index, &generation, err);
        if (status != WEIR_OK)
            return status;
    }
    row_set_idempotency(row, buf_slice(&r->run_id), generation);
    t->generation = generation;
    return WEIR_OK;
}

/* --resume: a row that the job log has is passed over. It has its place in the batch, and no result. */
static void pass_over(struct run *r, struct run_row *row)
{
    if (!joblog_done_has(&r->joblog.done, row->task.index + 1))
        return;
    row->passed_over = true;
    row->task.refused = false;
    row->task.finished_before = true;
    answer_clear(&row->task.answer);
    row->task.answer.outcome = WEIR_OUTCOME_OK;
    atomic_fetch_add(&r->passed_over, 1);
}

/* WEIR_E_END: the batch takes no more. */
static enum weir_status feed_row(struct feeding *f, struct run_row *row, struct weir_error *err)
{
    struct run *r = f->run;
    const struct worker_row *w = row_worker(row);
    enum weir_status status = recall(f, row, err);

    if (w)
        row->task.session = w->session;
    pass_over(r, row);
    if (status == WEIR_OK && !row->task.finished_before)
        watch_wait_begun(&r->watch, f->to_begin++, f->ahead, r->stop_fd);
    if (status == WEIR_OK)
        status = engine_batch_add(r->batch, &row->task, true, err);
    if (status != WEIR_OK)
        row_free(row);
    else
        atomic_fetch_add(&r->rows_fed, 1);
    return status;
}

static enum weir_status too_few(const struct feeding *f, uint64_t rows, struct weir_error *err)
{
    return error_set(err, WEIR_E_CONFLICT,
                     "the input has fewer rows than %s has results for (%" PRIu64
                     "); give it the same input, or start over with --fresh",
                     f->run->options.journal, rows);
}

static enum weir_status feed(struct feeding *f, struct weir_error *err)
{
    struct run *r = f->run;
    enum weir_status status = WEIR_OK;

    if (r->start.mark.next > 0) {
        status = source_skip(r->source, r->start.mark.next, compare_skipped, f, err);
        if (status == WEIR_E_END)
            return too_few(f, r->start.mark.next, err);
    }
    while (status == WEIR_OK) {
        struct run_row *row;

        status = source_next(r->source, &row, err);
        if (status == WEIR_E_END && f->known_left > 0)
            return too_few(f, r->before.finished, err);
        if (status == WEIR_E_END) {
            atomic_store(&r->all_fed, true);
            return WEIR_OK;
        }
        if (status == WEIR_OK)
            status = feed_row(f, row, err);
    }
    return status;
}

void *feed_main(void *run)
{
    struct run *r = run;
    struct feeding f = {.run = r, .known_left = r->before.finished};

    f.ahead = AHEAD_ROWS_PER_JOB * (uint64_t)r->options.flow.jobs;
    if (f.ahead < AHEAD_ROWS_MIN)
        f.ahead = AHEAD_ROWS_MIN;

    r->fed.status = feed(&f, &r->fed.err);
    buf_free(&f.hold);
    /* What was accepted goes on to its end, whatever stopped the reading. */
    engine_batch_end(r->batch);
    return NULL;
}
