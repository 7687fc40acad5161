/*
 * An op of somebody else (a SUBMIT from the API) is theirs again as soon as it is durable; what it means for the desk is kept
 * apart: the tasks that it has made ready, and for those few ops that change a task which the desk may have, a note.
 */
#include "base/error.h"
#include "base/mem.h"
#include "engine/tasks_internal.h"

#include <assert.h>

/* What the engine's thread is to do before an op of somebody else is written, and after it. */
struct registry_note {
    struct mail mail; /* first: on the way to the engine's thread */
    struct engine_tasks *tasks;
    struct registry_op *op; /* on the way; the caller's afterwards */
    enum registry_op_kind kind;
    uint64_t task, batch; /* one of them, of CANCEL and EDIT */
    bool ran;             /* an attempt of it is being ended */
    /* Afterwards, in its place among the desk's own ops: what it has made ready. err.status is the op's. */
    struct registry_op left;
    int64_t wake_ns; /* 0: none */
};

/* ---- what is back from the clerk ---- */

/* What an op of somebody else means for the desk: first for what it had of the task, then what it is handed. */
static void settle(struct engine_tasks *t, struct registry_note *n)
{
    struct instant now = t->engine->now;
    enum weir_status status = n->left.err.status;
    /* One that runs was left as it was. */
    bool written = !n->left.untaken && status != WEIR_E_BUSY;

    if (n->batch != 0)
        desk_let_go_batch(t->desk, n->batch, written, now);
    else if (n->task != 0)
        desk_let_go(t->desk, n->task, written, now);
    /* What was on its way from the registry when it was cancelled, and runs. */
    if (n->task != 0 && n->kind == REGISTRY_CANCEL && status == WEIR_OK)
        desk_gone(t->desk, n->task, now);
    desk_made_ready(t->desk, &n->left, now);
    if (n->wake_ns != 0)
        desk_wake_by(t->desk, n->wake_ns);
    mem_free(n);
}

static void lines_told(struct engine_tasks *t, struct registry_op *op)
{
    bool again = op->untaken;

    desk_made_ready(t->desk, op, t->engine->now);
    mem_free(op);
    if (again)
        t->lines_at = instant_add(t->engine->now, TASKS_LINES_AGAIN_NS);
}

/* The desk has gone before it: the registry has it all. */
static void discard(struct registry_op *op)
{
    struct registry_op *left = op->note ? &op->note->left : op;

    while (left->ret_ready) {
        struct registry_task *r = left->ret_ready;

        left->ret_ready = r->next;
        mem_free(r);
    }
    mem_free(left->ret_lines);
    mem_free(op->note ? (void *)op->note : (void *)op);
}

void tasks_run_back(struct engine *e, struct mail *m)
{
    struct engine_tasks *t = list_entry(m, struct engine_tasks, mail);
    struct registry_op *ops;

    pthread_mutex_lock(&t->lock);
    ops = t->back.ops;
    t->back.ops = NULL;
    t->back.ops_tail = &t->back.ops;
    t->posted = false;
    pthread_mutex_unlock(&t->lock);
    while (ops) {
        struct registry_op *op = ops;

        ops = op->next;
        if (!t->desk)
            discard(op);
        else if (op->note)
            settle(t, op->note);
        else if (op->kind == REGISTRY_LINES)
            lines_told(t, op);
        else
            desk_written(t->desk, op, e->now);
    }
}

static void keep_time(struct registry_note *n, int64_t ns)
{
    if (ns != 0 && (n->wake_ns == 0 || ns < n->wake_ns))
        n->wake_ns = ns;
}

static void keep_times(struct registry_note *n, const struct registry_op *op)
{
    if (op->kind == REGISTRY_SUBMIT)
        for (size_t i = 0; i < op->submit.count; i++) {
            keep_time(n, op->submit.specs[i].not_before_ns);
            keep_time(n, op->submit.specs[i].deadline_ns);
        }
    else if (op->kind == REGISTRY_EDIT && op->edit.not_before_ns)
        keep_time(n, *op->edit.not_before_ns);
    else if (op->kind == REGISTRY_RETRY || op->kind == REGISTRY_RESOLVE)
        keep_time(n, op->at_ns); /* it may have a time of its own: a look tells */
}

/* What an op of somebody else means for the desk; the op is theirs again. */
static struct registry_op *keep(struct registry_op *op)
{
    struct registry_note *n = op->note;

    n->left = (struct registry_op){.kind = op->kind,
                                   .untaken = op->untaken,
                                   .ret_ready = op->ret_ready,
                                   .ret_lines = op->ret_lines,
                                   .ret_line_count = op->ret_line_count,
                                   .ret_due_ns = op->ret_due_ns,
                                   .note = n};
    n->left.err.status = op->err.status;
    op->ret_ready = NULL;
    op->ret_lines = NULL;
    op->ret_line_count = 0;
    op->note = NULL;
    if (op->err.status == WEIR_OK)
        keep_times(n, op);
    /* An attempt is being ended, as was asked; or it has ended by itself just before. */
    if (n->ran && (op->err.status == WEIR_E_BUSY || op->err.status == WEIR_E_CONFLICT))
        op->err = (struct weir_error){0};
    return &n->left;
}

/* On the clerk's thread. */
void tasks_clerk_done(void *ctx, struct registry_op *chain)
{
    struct engine_tasks *t = ctx;
    struct registry_op *theirs = NULL, **tail = &theirs;
    struct registry_op *back = NULL, **back_tail = &back;
    bool post;

    while (chain) {
        struct registry_op *op = chain;

        chain = op->next;
        op->next = NULL;
        if (op->done) {
            *tail = op;
            tail = &op->next;
            op = keep(op);
        }
        *back_tail = op;
        back_tail = &op->next;
    }
    if (!back)
        return;
    pthread_mutex_lock(&t->lock);
    *t->back.ops_tail = back;
    t->back.ops_tail = back_tail;
    post = !t->posted;
    t->posted = true;
    pthread_mutex_unlock(&t->lock);
    if (post)
        engine_post(t->engine, &t->mail);
    while (theirs) {
        struct registry_op *op = theirs;

        theirs = op->next;
        op->done(op);
    }
}

void tasks_clerk_committed(void *ctx, uint64_t last_event)
{
    struct engine_tasks *t = ctx;

    if (t->options.committed)
        t->options.committed(t->options.ctx, last_event);
}

/* ---- ops of others; any thread ---- */

/* Before it is written, on the engine's thread: what is here of the task must not go on as if nothing had been. */
static void run_note(struct engine *e, struct mail *m)
{
    struct registry_note *n = (struct registry_note *)(void *)m;
    struct engine_tasks *t = n->tasks;
    struct registry_op *op = n->op;

    n->task = op->kind == REGISTRY_CANCEL ? op->cancel.task : op->edit.task;
    if (op->kind == REGISTRY_CANCEL && op->cancel.task == 0) {
        n->batch = op->cancel.batch;
        desk_hold_batch(t->desk, n->batch, e->now);
        n->ran = desk_cancel_batch(t->desk, n->batch, "its batch was cancelled", e->now) > 0;
    } else if (desk_hold(t->desk, n->task, e->now) == DESK_RUNS && op->kind == REGISTRY_CANCEL) {
        n->ran = desk_cancel(t->desk, n->task, "the task was cancelled", e->now);
    }
    clerk_send(t->clerk, op);
}

void engine_tasks_send(struct engine_tasks *t, struct registry_op *op)
{
    struct registry_note *n;

    assert(op->done);
    op->note = NULL;
    op->err = (struct weir_error){0};
    if (op->at_ns == 0)
        op->at_ns = loop_wall_clock_ns();
    if (op->kind == REGISTRY_SUBMIT && atomic_load(&t->refusing)) {
        (void)error_set(&op->err, WEIR_E_SHUTDOWN,
                        "the dispatcher is stopping; it takes no more tasks");
        op->done(op);
        return;
    }
    n = mem_calloc(1, sizeof *n);
    if (!n) {
        (void)error_nomem(&op->err);
        op->done(op);
        return;
    }
    n->mail.run = run_note;
    n->tasks = t;
    n->op = op;
    n->kind = op->kind;
    op->note = n;
    if (op->kind == REGISTRY_CANCEL || op->kind == REGISTRY_EDIT)
        engine_post(t->engine, &n->mail);
    else
        clerk_send(t->clerk, op);
}

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool is_done;
};

static void wake_waiter(struct registry_op *op)
{
    struct waiter *w = op->user;

    pthread_mutex_lock(&w->lock);
    w->is_done = true;
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
}

enum weir_status engine_tasks_apply(struct engine_tasks *t, struct registry_op *op,
                                    struct weir_error *err)
{
    struct waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

    op->done = wake_waiter;
    op->user = &w;
    engine_tasks_send(t, op);
    pthread_mutex_lock(&w.lock);
    while (!w.is_done)
        pthread_cond_wait(&w.done, &w.lock);
    pthread_mutex_unlock(&w.lock);
    pthread_cond_destroy(&w.done);
    pthread_mutex_destroy(&w.lock);
    if (op->err.status != WEIR_OK && err)
        *err = op->err;
    return op->err.status;
}
