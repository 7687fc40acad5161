#include "core/errand.h"

#include "base/mem.h"

bool errand_has_to_begin(const struct registry_op *op)
{
    return op->kind == REGISTRY_CANCEL || op->kind == REGISTRY_EDIT || op->kind == REGISTRY_PURGE;
}

void errand_begin(struct errand *e, struct desk *d, struct registry_op *op, struct instant now)
{
    if (op->kind == REGISTRY_PURGE) {
        /* What the one before told has been told to the desk: errands are settled in their order. */
        op->purge.keep_lines = desk_lines_gone(d) > 0;
        return;
    }
    if (op->kind == REGISTRY_EDIT)
        e->hold.task = op->edit.task;
    else if (op->cancel.task != 0)
        e->hold.task = op->cancel.task;
    else
        e->hold.batch = op->cancel.batch;
    e->holds = true;
    desk_hold(d, &e->hold, now);
}

/* ---- what is kept of it ---- */

static void keep_time(struct errand *e, int64_t ns)
{
    if (ns != 0 && (e->wake_ns == 0 || ns < e->wake_ns))
        e->wake_ns = ns;
}

static void keep_times(struct errand *e, const struct registry_op *op)
{
    if (op->kind == REGISTRY_SUBMIT)
        for (size_t i = 0; i < op->submit.count; i++) {
            keep_time(e, op->submit.specs[i].not_before_ns);
            keep_time(e, op->submit.specs[i].deadline_ns);
        }
    else if (op->kind == REGISTRY_EDIT && op->edit.not_before_ns)
        keep_time(e, *op->edit.not_before_ns);
    else if (op->kind == REGISTRY_RETRY || op->kind == REGISTRY_RESOLVE)
        keep_time(e, op->at_ns); /* it may have a time of its own: a look tells */
}

void errand_keep(struct errand *e, struct registry_op *op)
{
    e->kind = op->kind;
    e->left = (struct registry_op){.kind = op->kind,
                                   .untaken = op->untaken,
                                   .ret_ready = op->ret_ready,
                                   .ret_lines = op->ret_lines,
                                   .ret_line_count = op->ret_line_count,
                                   .ret_due_ns = op->ret_due_ns};
    e->left.err.status = op->err.status;
    op->ret_ready = NULL;
    op->ret_lines = NULL;
    op->ret_line_count = 0;
    if (op->kind == REGISTRY_PURGE) {
        e->left.purge = op->purge;
        op->purge.ret_lines_gone = NULL;
        op->purge.ret_lines_gone_count = 0;
    }
    if (op->err.status == WEIR_OK)
        keep_times(e, op);
}

/* ---- what it means for the desk ---- */

/* What runs of it ran when the op was written: nothing has started since. */
static void end_attempts(const struct errand *e, struct desk *d, struct instant now)
{
    if (e->hold.task != 0)
        (void)desk_cancel(d, e->hold.task, "the task was cancelled", now);
    else
        (void)desk_cancel_batch(d, e->hold.batch, "its batch was cancelled", now);
}

void errand_settle(struct errand *e, struct desk *d, struct instant now)
{
    enum weir_status status = e->left.err.status;
    /* One that runs was left as it was. */
    bool written = !e->left.untaken && status != WEIR_E_BUSY;

    if (e->holds)
        desk_let_go(d, &e->hold, written, now);
    if (e->holds && e->kind == REGISTRY_CANCEL && status == WEIR_OK)
        end_attempts(e, d, now);
    e->holds = false;
    desk_made_ready(d, &e->left, now);
    if (e->wake_ns != 0)
        desk_wake_by(d, e->wake_ns);
}

void errand_drop(struct registry_op *left)
{
    while (left->ret_ready) {
        struct registry_task *r = left->ret_ready;

        left->ret_ready = r->next;
        mem_free(r);
    }
    if (left->kind == REGISTRY_PURGE)
        left->purge.ret_lines_gone = mem_free(left->purge.ret_lines_gone);
    left->ret_lines = mem_free(left->ret_lines);
    left->ret_line_count = 0;
}
