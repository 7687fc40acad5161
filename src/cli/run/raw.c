/*
 * Results of commands as the bytes that they wrote: standard output into the output, and standard
 * error to ours, each row's when its turn has come, with nothing of another row's in between.
 */
#include "base/error.h"
#include "cli/output/tagged.h"
#include "cli/run/run.h"

/* What --tag puts before each line of the row. */
static enum weir_status make_tag(struct run *r, const struct command_row *row, struct buf *ret,
                                 struct weir_error *err)
{
    struct template_row put;

    command_template_row(row, &put);
    return template_put(r->tag, &put, ret, err);
}

/* After what the row and those before it wrote to standard output: whoever sees both sees them in this order. */
static enum weir_status write_errput(struct run *r, struct slice tag, const struct core_answer *a,
                                     struct weir_error *err)
{
    _cleanup_buf_ struct buf tagged = {0};
    struct slice bytes = {a->errput, a->errput_len};
    enum weir_status status;

    if (a->errput_len == 0)
        return WEIR_OK;
    status = writer_flush(r->writer, engine_now(r->engine), err);
    if (status != WEIR_OK)
        return status;
    if (r->tag) {
        tagged_put(&tagged, tag, bytes);
        if (tagged.failed)
            return error_nomem(err);
        bytes = buf_slice(&tagged);
    }
    run_aside(r, bytes);
    return WEIR_OK;
}

enum weir_status raw_write(struct run *r, struct core_task *t, int64_t deliver_ns,
                           struct weir_error *err)
{
    const struct core_answer *a = &t->answer;
    struct command_row *row = row_command(row_of(t));
    _cleanup_buf_ struct buf tag = {0};
    struct buf *out = writer_line(r->writer, false);
    enum weir_status status = WEIR_OK;

    if (r->tag && row)
        status = make_tag(r, row, &tag, err);
    if (status != WEIR_OK)
        return status;
    if (r->tag)
        tagged_put(out, buf_slice(&tag), (struct slice){a->output, a->output_len});
    else if (a->output_len > 0)
        status = writer_put(r->writer, (struct slice){a->output, a->output_len}, err);
    if (status == WEIR_OK)
        status = writer_line_end(r->writer, t->index, deliver_ns, err);
    return status == WEIR_OK ? write_errput(r, buf_slice(&tag), a, err) : status;
}
