/*
 * An op of somebody else (a SUBMIT from the API) is theirs again as soon as it is durable; what it
 * means for the desk is kept in a note, and told to the desk in its place among the desk's own ops
 * (core/errand.h).
 */
#include "base/error.h"
#include "base/mem.h"
#include "core/errand.h"
#include "engine/tasks_internal.h"

#include <assert.h>

/* The way of such an op. */
struct registry_note {
    struct mail mail; /* first: on the way to the engine's thread */
    struct engine_tasks *tasks;
    struct registry_op *op; /* on the way; the caller's afterwards */
    struct errand errand;
};

/* ---- what is back from the clerk ---- */

static void settle(struct engine_tasks *t, struct registry_note *n)
{
    errand_settle(&n->errand, t->desk, t->engine->now);
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
    struct registry_note *n = op->note;

    errand_drop(op);
    mem_free(n ? (void *)n : (void *)op);
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

/* The op is theirs again. */
static struct registry_op *keep(struct registry_op *op)
{
    struct registry_note *n = op->note;

    errand_keep(&n->errand, op);
    op->note = NULL;
    n->errand.left.note = n;
    return &n->errand.left;
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

/* Before it is written, on the engine's thread. */
static void run_note(struct engine *e, struct mail *m)
{
    struct registry_note *n = (struct registry_note *)(void *)m;

    errand_begin(&n->errand, n->tasks->desk, n->op, e->now);
    clerk_send(n->tasks->clerk, n->op);
}

void engine_tasks_send(struct engine_tasks *t, struct registry_op *op)
{
    struct registry_note *n;

    assert(op->done);
    op->note = NULL;
    op->err = (struct weir_error){0};
    if (op->at_ns == 0)
        op->at_ns = loop_wall_clock_ns();
    if (op->kind == REGISTRY_CANCEL && op->cancel.batch != 0 && op->cancel.max == 0)
        op->cancel.max = TASKS_PIECE;
    if ((op->kind == REGISTRY_SUBMIT || op->kind == REGISTRY_BATCH_OPEN) &&
        atomic_load(&t->refusing)) {
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
    op->note = n;
    if (errand_has_to_begin(op))
        engine_post(t->engine, &n->mail);
    else
        clerk_send(t->clerk, op);
}

static void wake_waiter(struct registry_op *op)
{
    struct engine_tasks_wait *w = op->user;

    pthread_mutex_lock(&w->lock);
    w->is_done = true;
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
}

void engine_tasks_apply_begin(struct engine_tasks *t, struct registry_op *op,
                              struct engine_tasks_wait *w)
{
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->done, NULL);
    w->is_done = false;
    op->done = wake_waiter;
    op->user = w;
    engine_tasks_send(t, op);
}

enum weir_status engine_tasks_apply_end(struct engine_tasks_wait *w, struct registry_op *op,
                                        struct weir_error *err)
{
    pthread_mutex_lock(&w->lock);
    while (!w->is_done)
        pthread_cond_wait(&w->done, &w->lock);
    pthread_mutex_unlock(&w->lock);
    pthread_cond_destroy(&w->done);
    pthread_mutex_destroy(&w->lock);
    if (op->err.status != WEIR_OK && err)
        *err = op->err;
    return op->err.status;
}

enum weir_status engine_tasks_apply(struct engine_tasks *t, struct registry_op *op,
                                    struct weir_error *err)
{
    struct engine_tasks_wait w;

    engine_tasks_apply_begin(t, op, &w);
    return engine_tasks_apply_end(&w, op, err);
}
