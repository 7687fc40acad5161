/*
 * The delivering thread: results in order, from the engine into the files.
 *
 * When the files cannot be written, nothing more is started; what runs finishes and is kept by the
 * journal, so that a later run writes it.
 */
#include "base/mem.h"
#include "cli/output/render.h"
#include "cli/run/run.h"

#include <stdio.h>

/* How long the thread waits for a result before it looks whether a sync is due. */
#define DELIVER_LOOK_NS (250 * NS_PER_MS)

static int64_t wall(void *ctx, struct instant t)
{
    return engine_wall_ns(ctx, t);
}

static void copy_cut(char *to, size_t bytes, const char *text)
{
    (void)snprintf(to, bytes, "%s", text ? text : "");
}

static void note_failure(struct run *r, const struct core_task *t)
{
    struct first_failure *f = &r->first_failure;

    if (f->any || t->answer.outcome == WEIR_OUTCOME_OK)
        return;
    f->any = true;
    f->index = t->index;
    copy_cut(f->key, sizeof f->key, t->key);
    copy_cut(f->message, sizeof f->message,
             t->answer.message && *t->answer.message ? t->answer.message
                                                     : weir_reason_name(t->answer.reason));
}

static enum weir_status write_one(struct run *r, struct core_task *t, struct weir_error *err)
{
    struct render_options how = {.meta = r->options.meta,
                                 .command = r->options.kind == RUN_COMMAND,
                                 .wall_ns = wall,
                                 .wall_ctx = r->engine};
    int64_t deliver_ns = engine_wall_ns(r->engine, t->deliver_at);
    bool failed = t->answer.outcome != WEIR_OUTCOME_OK;
    const struct run_row *row = row_of(t);

    if (writer_keeps(r->writer, t))
        return writer_copy(r->writer, t->index, deliver_ns, err);
    if (row->passed_over) {
        writer_pass_over(r->writer);
        return WEIR_OK;
    }
    note_failure(r, t);
    if (run_options_raw(&r->options))
        return raw_write(r, t, deliver_ns, err);
    how.indexed = failed && r->options.errors;
    render_result(&how, row->kind == ROW_BATCH ? RENDER_BATCH : RENDER_PLAIN, t,
                  writer_line(r->writer, failed));
    return writer_line_end(r->writer, t->index, deliver_ns, err);
}

static enum weir_status write_chain(struct run *r, struct core_task *chain, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    for (struct core_task *t = chain; t && status == WEIR_OK; t = t->next) {
        /* What finished before was counted then. */
        if (!t->finished_before)
            summary_count(&r->summary, &t->answer);
        status = write_one(r, t, err);
        atomic_fetch_add(&r->rows_delivered, 1);
    }
    if (status == WEIR_OK)
        status = writer_flush(r->writer, engine_now(r->engine), err);
    return status;
}

/* The files have failed: take and drop what still comes, until nothing does. */
static void drain(struct run *r)
{
    struct core_task *chain;

    engine_batch_stop(r->batch, false);
    while (engine_batch_next(r->batch, -1, &chain, NULL) == WEIR_OK)
        engine_batch_give_back(r->batch, chain);
}

static enum weir_status deliver(struct run *r, struct weir_error *err)
{
    for (;;) {
        struct core_task *chain;
        enum weir_status status = engine_batch_next(r->batch, DELIVER_LOOK_NS, &chain, err);

        if (status == WEIR_E_END)
            return WEIR_OK;
        if (status == WEIR_E_AGAIN) {
            status = writer_flush(r->writer, engine_now(r->engine), err);
        } else if (status == WEIR_OK) {
            status = write_chain(r, chain, err);
            engine_batch_give_back(r->batch, chain);
        } else {
            return status; /* the store has failed; the engine has stopped the batch */
        }
        if (status != WEIR_OK) {
            drain(r);
            return status;
        }
    }
}

void *deliver_main(void *run)
{
    struct run *r = run;

    r->delivered.status = deliver(r, &r->delivered.err);
    atomic_store(&r->deliverer_done, true);
    /* A source that waits for input must not keep the run from its end. */
    if (r->delivered.status != WEIR_OK)
        run_signal_fd(r->stop_fd);
    run_signal_fd(r->wake_fd);
    return NULL;
}
