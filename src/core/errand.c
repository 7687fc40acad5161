#include "core/errand.h"

#include "base/mem.h"

bool errand_has_to_begin(const struct registry_op *op)
{
    return op->kind == REGISTRY_CANCEL || op->kind == REGISTRY_EDIT;
}

void errand_begin(struct errand *e, struct desk *d, const struct registry_op *op,
                  struct instant now)
{
    e->task = op->kind == REGISTRY_CANCEL ? op->cancel.task : op->edit.task;
    if (op->kind == REGISTRY_CANCEL && op->cancel.task == 0) {
        e->batch = op->cancel.batch;
        desk_hold_batch(d, e->batch, now);
        e->ran = desk_cancel_batch(d, e->batch, "its batch was cancelled", now) > 0;
    } else if (desk_hold(d, e->task, now) == DESK_RUNS && op->kind == REGISTRY_CANCEL) {
        e->ran = desk_cancel(d, e->task, "the task was cancelled", now);
    }
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
    if (op->err.status == WEIR_OK)
        keep_times(e, op);
    /* An attempt is being ended, as was asked; or it has ended by itself just before. */
    if (e->ran && (op->err.status == WEIR_E_BUSY || op->err.status == WEIR_E_CONFLICT))
        op->err = (struct weir_error){0};
}

/* ---- what it means for the desk ---- */

void errand_settle(struct errand *e, struct desk *d, struct instant now)
{
    enum weir_status status = e->left.err.status;
    /* One that runs was left as it was. */
    bool written = !e->left.untaken && status != WEIR_E_BUSY;

    if (e->batch != 0)
        desk_let_go_batch(d, e->batch, written, now);
    else if (e->task != 0)
        desk_let_go(d, e->task, written, now);
    /* What was on its way from the registry when it was cancelled, and runs. */
    if (e->task != 0 && e->kind == REGISTRY_CANCEL && status == WEIR_OK)
        desk_gone(d, e->task, now);
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
    left->ret_lines = mem_free(left->ret_lines);
    left->ret_line_count = 0;
}
