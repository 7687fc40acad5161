/*
 * Who does what: the engine's thread runs the desk; the clerk's thread writes. What comes back from the clerk is gathered under
 * the lock and handed to the desk in one piece of mail. An op of somebody else (a SUBMIT from the API) is theirs again as soon as it is
 * durable; what it means for the desk is kept apart: the tasks that it has made ready, and for those few ops that
 * change a task which the desk may have, a note.
 */
#include "engine/tasks.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "engine/internal.h"
#include "engine/spill.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

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

/*
 * What has come back from the clerk, in the order in which it was written: what the desk has of a task is what the registry
 * had, step by step. Under the lock.
 */
struct back {
    struct registry_op *ops, **ops_tail; /* the desk's own, and `left` of notes */
};

struct engine_tasks {
    struct engine_lodger lodger; /* first */
    struct desk_host host;
    struct core_observer observer, edge;
    struct core_observer *before, *edge_before; /* who was told before; is told still */
    struct engine *engine;
    struct core_registry *registry;
    struct engine_tasks_options options;
    struct desk *desk;
    struct clerk *clerk;
    uint64_t put_back;

    atomic_bool refusing; /* submits */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* nothing runs, or nothing is unwritten, or somebody is in a hurry */
    struct back back;
    struct mail mail; /* "something is back" */
    bool posted;
    bool started, hurried;
    size_t running, unwritten, pools; /* at the end of the last turn */
    struct engine_tasks_stats stats;

    /* engine's thread only */
    bool out;                  /* move_out() has been; then the main thread's */
    struct instant lines_at;   /* then they are asked for (again); NEVER */
    struct instant due;        /* of the last turn */
    struct instant lag_since;  /* stats.lag_ns_max is from there on */
    duration_ns lag_before_ns; /* the longest of the minute before */
};

static struct engine_tasks *of_lodger(struct engine_lodger *l)
{
    return list_entry(l, struct engine_tasks, lodger);
}

static struct engine_tasks *of_host(struct desk_host *h)
{
    return list_entry(h, struct engine_tasks, host);
}

/* ---- the desk's host; on the engine's thread ---- */

static void host_write(struct desk_host *h, struct registry_op *op)
{
    struct engine_tasks *t = of_host(h);

    op->done = NULL;
    op->note = NULL;
    if (op->kind == REGISTRY_START || (op->kind == REGISTRY_END && op->end.started)) {
        t->stats.starts++;
        t->stats.last_claim_ns = op->at_ns;
    }
    clerk_send(t->clerk, op);
}

static const struct registry_line *host_line(struct desk_host *h, uint32_t id)
{
    struct engine_tasks *t = of_host(h);

    return t->registry->ops->line(t->registry, id);
}

static int64_t host_wall_ns(struct desk_host *h, struct instant now)
{
    (void)h;
    (void)now;
    return loop_wall_clock_ns();
}

/* What could not be asked is asked again after so long. */
#define LINES_AGAIN_NS NS_PER_S

/* Has the desk told of every line that has ready tasks, by the clerk. No memory: later. */
static void ask_for_lines(struct engine_tasks *t)
{
    struct registry_op *op = mem_calloc(1, sizeof *op);

    t->lines_at = op ? INSTANT_NEVER : instant_add(t->engine->now, LINES_AGAIN_NS);
    if (!op)
        return;
    op->kind = REGISTRY_LINES;
    clerk_send(t->clerk, op);
}

/* ---- the engine's lodger; on the engine's thread ---- */

/* Of the last one or two minutes, so that it does not matter who looks at it, and how often. */
#define LAG_WINDOW_NS (60 * NS_PER_S)

static void lag_roll(struct engine_tasks *t, struct instant now)
{
    duration_ns age_ns = instant_diff(now, t->lag_since);

    if (age_ns < LAG_WINDOW_NS)
        return;
    t->lag_before_ns = age_ns < 2 * LAG_WINDOW_NS ? t->stats.lag_ns_max : 0;
    t->stats.lag_ns_max = 0;
    t->lag_since = now;
}

static struct instant lodger_turn(struct engine_lodger *l, struct instant now)
{
    struct engine_tasks *t = of_lodger(l);

    if (!instant_is_never(t->due) && instant_before(t->due, now)) {
        duration_ns lag_ns = instant_diff(now, t->due);

        lag_roll(t, now);
        if (lag_ns > t->stats.lag_ns_max)
            t->stats.lag_ns_max = lag_ns;
    }
    t->stats.turns++;
    if (!instant_before(now, t->lines_at))
        ask_for_lines(t);
    desk_pause(t->desk, clerk_is_failing(t->clerk));
    t->due = t->started ? desk_run(t->desk, now) : INSTANT_NEVER;
    t->due = instant_min(t->due, t->lines_at);
    return t->due;
}

static bool lodger_is_due(struct engine_lodger *l)
{
    return desk_is_due(of_lodger(l)->desk);
}

static bool lodger_owns(struct engine_lodger *l, const struct core_batch *b)
{
    return desk_owns(of_lodger(l)->desk, b);
}

static void lodger_deliver(struct engine_lodger *l, struct core_task *task)
{
    desk_finished(of_lodger(l)->desk, task);
}

static void lodger_pool_gone(struct engine_lodger *l, const struct core_pool *p)
{
    struct engine_tasks *t = of_lodger(l);

    desk_pool_gone(t->desk, p, t->engine->now);
}

static void lodger_idle(struct engine_lodger *l)
{
    struct engine_tasks *t = of_lodger(l);

#ifdef WEIR_DEBUG
    assert(!desk_check(t->desk));
#endif
    pthread_mutex_lock(&t->lock);
    t->running = desk_running(t->desk);
    t->unwritten = desk_unwritten(t->desk);
    t->pools = desk_pool_count(t->desk);
    if (t->running == 0 || t->unwritten == 0 || t->pools == 0)
        pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

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
        t->lines_at = instant_add(t->engine->now, LINES_AGAIN_NS);
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
    if (left->kind == REGISTRY_PURGE)
        mem_free(left->purge.ret_lines_gone);
    mem_free(op->note ? (void *)op->note : (void *)op);
}

static void run_back(struct engine *e, struct mail *m)
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
    if (op->kind == REGISTRY_PURGE) {
        n->left.purge = op->purge;
        op->purge.ret_lines_gone = NULL;
        op->purge.ret_lines_gone_count = 0;
    }
    op->note = NULL;
    if (op->err.status == WEIR_OK)
        keep_times(n, op);
    /* An attempt is being ended, as was asked; or it has ended by itself just before. */
    if (n->ran && (op->err.status == WEIR_E_BUSY || op->err.status == WEIR_E_CONFLICT))
        op->err = (struct weir_error){0};
    return &n->left;
}

/* On the clerk's thread. */
static void clerk_done(void *ctx, struct registry_op *chain)
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

static void clerk_committed(void *ctx, uint64_t last_event)
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

    if (op->kind == REGISTRY_PURGE) {
        /* What the one before told has been told to the desk: mail comes in order. */
        op->purge.keep_lines = desk_lines_gone(t->desk) > 0;
        clerk_send(t->clerk, op);
        return;
    }
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
    if (op->kind == REGISTRY_CANCEL || op->kind == REGISTRY_EDIT || op->kind == REGISTRY_PURGE)
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

/* ---- calls ---- */

struct tasks_call {
    struct engine_tasks *tasks;
    engine_tasks_fn fn;
    void *ctx;
};

static void run_tasks_call(struct engine *e, void *ctx)
{
    struct tasks_call *c = ctx;

    c->fn(c->tasks->desk, e->now, c->ctx);
}

void engine_tasks_call(struct engine_tasks *t, engine_tasks_fn fn, void *ctx)
{
    struct tasks_call c = {t, fn, ctx};

    engine_call(t->engine, run_tasks_call, &c);
}

struct core_registry *engine_tasks_registry(struct engine_tasks *t)
{
    return t->registry;
}

struct engine *engine_tasks_engine(struct engine_tasks *t)
{
    return t->engine;
}

static void look_at_stats(struct desk *d, struct instant now, void *ctx)
{
    struct engine_tasks *t = ((void **)ctx)[0];
    struct engine_tasks_stats *ret = ((void **)ctx)[1];

    (void)d;
    lag_roll(t, now);
    *ret = t->stats;
    if (t->lag_before_ns > ret->lag_ns_max)
        ret->lag_ns_max = t->lag_before_ns;
}

void engine_tasks_get_stats(struct engine_tasks *t, struct engine_tasks_stats *ret)
{
    void *ctx[] = {t, ret};

    engine_tasks_call(t, look_at_stats, ctx);
    clerk_get_stats(t->clerk, &ret->clerk);
}

/* ---- what pools tell of themselves ---- */

static void tell_breaker(struct engine_tasks *t, const struct core_event *ev, struct desk_pool *p)
{
    struct buf detail = {0};

    /* That some are let through is neither: what comes of it is told. */
    if (ev->breaker->to == BREAKER_HALF_OPEN)
        return;
    buf_puts(&detail, "{\"from\":");
    json_put_string(&detail, slice_of(breaker_state_name(ev->breaker->from)));
    buf_puts(&detail, ",\"to\":");
    json_put_string(&detail, slice_of(breaker_state_name(ev->breaker->to)));
    if (ev->detail) {
        buf_puts(&detail, ",\"why\":");
        json_put_string(&detail, slice_of(ev->detail));
    }
    buf_putc(&detail, '}');
    if (!detail.failed)
        desk_record(t->desk,
                    &(struct registry_event){.kind = ev->breaker->to == BREAKER_CLOSED
                                                         ? REGISTRY_BREAKER_CLOSED
                                                         : REGISTRY_BREAKER_OPENED,
                                             .duration_ns = ev->breaker->lasted_ns,
                                             .detail = buf_slice(&detail)},
                    p, ev->at);
    buf_free(&detail);
}

static void tell_worker(struct engine_tasks *t, const struct core_event *ev, struct desk_pool *p)
{
    const struct worker_transition *w = ev->transition;
    struct buf detail = {0};

    buf_printf(&detail, "{\"from\":\"%s\",\"to\":\"%s\",\"why\":\"%s\"", worker_state_name(w->from),
               worker_state_name(w->to), w->reason);
    if (w->detail[0]) {
        buf_puts(&detail, ",\"detail\":");
        json_put_string(&detail, slice_of(w->detail));
    }
    buf_putc(&detail, '}');
    if (!detail.failed)
        desk_record(t->desk,
                    &(struct registry_event){.kind = REGISTRY_WORKER_TRANSITION,
                                             .worker = ev->worker,
                                             .detail = buf_slice(&detail)},
                    p, ev->at);
    buf_free(&detail);
}

static void pass_on(struct core_observer *o, const struct core_event *ev)
{
    if (o)
        o->ops->event(o, ev);
}

/* What the dispatcher tells: breakers, and what has come too late. */
static void on_event(struct core_observer *o, const struct core_event *ev)
{
    struct engine_tasks *t = list_entry(o, struct engine_tasks, observer);

    if (ev->kind == EVENT_BREAKER_CHANGED)
        tell_breaker(t, ev, ev->pool ? desk_find_pool(t->desk, ev->pool) : NULL);
    if (ev->kind == EVENT_ATTEMPT_LATE && ev->task && ev->answer &&
        desk_owns(t->desk, ev->task->batch))
        desk_late(t->desk, ev->task, ev->answer->outcome, ev->at);
    pass_on(t->before, ev);
}

/* What executors tell: workers. */
static void on_edge_event(struct core_observer *o, const struct core_event *ev)
{
    struct engine_tasks *t = list_entry(o, struct engine_tasks, edge);

    if (ev->kind == EVENT_WORKER_TRANSITION)
        tell_worker(t, ev, ev->pool ? desk_find_pool(t->desk, ev->pool) : NULL);
    pass_on(t->edge_before, ev);
}

static const struct core_observer_ops observer_ops = {.event = on_event};
static const struct core_observer_ops edge_ops = {.event = on_edge_event};

static void began(void *ctx, const struct core_attempt_began *b, struct instant now)
{
    desk_began(((struct engine_tasks *)ctx)->desk, b, now);
}

static void beat(void *ctx, const struct core_heartbeat *b, struct instant now)
{
    (void)desk_beat(((struct engine_tasks *)ctx)->desk, b, now);
}

/* ---- pools ---- */

struct add {
    struct engine_tasks *tasks;
    struct core_pool *pool;
    const struct desk_pool_options *options;
    struct weir_error *err;
    enum weir_status status;
};

static void add_to_desk(struct desk *d, struct instant now, void *ctx)
{
    struct add *a = ctx;
    struct desk_pool *p;

    a->status = desk_add_pool(d, a->pool, a->options, now, &p, a->err);
    if (a->status != WEIR_OK)
        dispatcher_remove_pool(a->tasks->engine->dispatcher, a->pool, now);
}

enum weir_status engine_tasks_add_pool(struct engine_tasks *t, const struct core_pool_options *o,
                                       engine_executor_fn make, void *ctx,
                                       const struct desk_pool_options *desk, struct weir_error *err)
{
    struct add a = {.tasks = t, .options = desk, .err = err};
    enum weir_status status = engine_add_pool(t->engine, o, make, ctx, &a.pool, err);

    if (status != WEIR_OK)
        return status;
    engine_tasks_call(t, add_to_desk, &a);
    return a.status;
}

/* ---- opening ---- */

static bool tell_left(void *ctx, const struct registry_left *l)
{
    struct engine_tasks *t = ctx;

    if (t->options.left)
        t->options.left(t->options.ctx, l);
    return true;
}

/* What a predecessor could not tell the store goes in first. */
struct importing {
    struct core_registry *registry;
    struct weir_error *err;
    enum weir_status status;
};

static bool import(void *ctx, const struct registry_event *e)
{
    struct importing *i = ctx;
    struct registry_op op = {.kind = REGISTRY_TELL, .at_ns = e->at_ns, .tell = *e};

    i->status = i->registry->ops->apply(i->registry, &op, i->err);
    return i->status == WEIR_OK;
}

static enum weir_status take_over(struct engine_tasks *t, struct weir_error *err)
{
    const struct core_registry_ops *ops = t->registry->ops;
    enum weir_status status = WEIR_OK;

    if (t->options.spill_path) {
        struct importing i = {.registry = t->registry, .err = err, .status = WEIR_OK};

        status = spill_read(t->options.spill_path, import, &i, err);
        if (status == WEIR_OK)
            status = i.status;
    }
    if (status == WEIR_OK)
        status = ops->left_running(t->registry, tell_left, t, err);
    if (status == WEIR_OK)
        status = ops->put_back(t->registry, loop_wall_clock_ns(), t->options.deaths_max,
                               &t->put_back, err);
    return status;
}

static void free_tasks(struct engine_tasks *t)
{
    desk_free(t->desk);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    mem_free(t);
}

static struct engine_tasks *allocate_tasks(struct engine *e, struct core_registry *r,
                                           const struct engine_tasks_options *o)
{
    struct engine_tasks *t = mem_calloc(1, sizeof *t);
    pthread_condattr_t attr;

    if (!t)
        return NULL;
    t->lodger = (struct engine_lodger){.turn = lodger_turn,
                                       .is_due = lodger_is_due,
                                       .owns = lodger_owns,
                                       .deliver = lodger_deliver,
                                       .pool_gone = lodger_pool_gone,
                                       .idle = lodger_idle};
    t->host = (struct desk_host){.write = host_write, .line = host_line, .wall_ns = host_wall_ns};
    t->observer.ops = &observer_ops;
    t->edge.ops = &edge_ops;
    t->engine = e;
    t->registry = r;
    t->options = *o;
    t->back.ops_tail = &t->back.ops;
    t->mail.run = run_back;
    t->due = t->lines_at = INSTANT_NEVER;
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->changed, &attr);
    pthread_condattr_destroy(&attr);
    return t;
}

static void move_in(struct engine *e, void *ctx)
{
    struct engine_tasks *t = ctx;

    e->lodger = &t->lodger;
    t->before = e->observer;
    t->edge_before = e->edge_observer;
    dispatcher_set_observer(e->dispatcher, &t->observer);
    e->edge_observer = &t->edge;
    dispatcher_set_global_limit(e->dispatcher, t->options.global_limit);
}

static void move_out(struct engine *e, void *ctx)
{
    struct engine_tasks *t = ctx;

    pthread_mutex_lock(&t->lock);
    t->unwritten = desk_unwritten(t->desk);
    pthread_mutex_unlock(&t->lock);
    if (t->unwritten > 0)
        return;
    t->out = true;
    desk_free(t->desk);
    t->desk = NULL;
    e->lodger = NULL;
    dispatcher_set_observer(e->dispatcher, t->before);
    e->edge_observer = t->edge_before;
}

enum weir_status engine_tasks_open(struct engine *e, struct core_registry *r,
                                   const struct engine_tasks_options *o, struct engine_tasks **ret,
                                   struct weir_error *err)
{
    struct engine_tasks *t = allocate_tasks(e, r, o);
    struct desk_options d = {.dispatcher = e->dispatcher,
                             .schedule = o->schedule,
                             .seed = loop_entropy(),
                             .deaths_max = o->deaths_max};
    struct clerk_options c = {
        .spill_path = o->spill_path, .committed = clerk_committed, .done = clerk_done, .ctx = t};
    enum weir_status status;

    if (!t)
        return error_nomem(err);
    d.host = &t->host;
    /* Above all that a predecessor has given: none started an attempt in each nanosecond of its life. */
    d.first_token = (uint64_t)loop_wall_clock_ns();
    status = desk_new(&d, &t->desk, err);
    if (status == WEIR_OK)
        status = take_over(t, err);
    if (status == WEIR_OK)
        status = clerk_new(r, &c, &t->clerk, err);
    if (status != WEIR_OK) {
        free_tasks(t);
        return status;
    }
    engine_call(e, move_in, t);
    engine_set_receiver(e, &(struct engine_receiver){.began = began, .beat = beat, .ctx = t});
    *ret = t;
    return WEIR_OK;
}

uint64_t engine_tasks_put_back(const struct engine_tasks *t)
{
    return t->put_back;
}

static void start(struct desk *d, struct instant now, void *ctx)
{
    struct engine_tasks *t = ctx;

    (void)now;
    t->started = true;
    desk_wake_by(d, 1); /* what was due meanwhile */
    ask_for_lines(t);
}

void engine_tasks_start(struct engine_tasks *t)
{
    engine_tasks_call(t, start, t);
}

/* ---- stopping ---- */

static void stop_desk(struct desk *d, struct instant now, void *ctx)
{
    struct engine_tasks *t = ctx;

    (void)now;
    desk_stop(d);
    /* What was started earlier in this turn counts. */
    pthread_mutex_lock(&t->lock);
    t->running = desk_running(d);
    pthread_mutex_unlock(&t->lock);
}

static void end_running(struct desk *d, struct instant now, void *ctx)
{
    *(uint64_t *)ctx = desk_running(d);
    desk_end_running(d, now);
}

static struct timespec until(duration_ns wait_ns)
{
    int64_t at_ns = instant_add(loop_clock(), wait_ns).ns;

    return (struct timespec){.tv_sec = at_ns / NS_PER_S, .tv_nsec = at_ns % NS_PER_S};
}

/* Until nothing runs; false: the time is up, or somebody is in a hurry. */
static bool wait_running(struct engine_tasks *t, duration_ns wait_ns, bool hurries)
{
    struct timespec at = until(wait_ns);
    bool none;

    pthread_mutex_lock(&t->lock);
    while (t->running > 0 && !(hurries && t->hurried) &&
           pthread_cond_timedwait(&t->changed, &t->lock, &at) == 0)
        ;
    none = t->running == 0;
    pthread_mutex_unlock(&t->lock);
    return none;
}

void engine_tasks_stop(struct engine_tasks *t, duration_ns grace_ns, duration_ns kill_ns,
                       bool refuse, uint64_t *ret_left)
{
    *ret_left = 0;
    atomic_store(&t->refusing, refuse);
    engine_tasks_call(t, stop_desk, t);
    if (wait_running(t, grace_ns, true))
        return;
    engine_tasks_call(t, end_running, ret_left);
    (void)wait_running(t, kill_ns, false);
}

void engine_tasks_refuse(struct engine_tasks *t)
{
    atomic_store(&t->refusing, true);
}

void engine_tasks_hurry(struct engine_tasks *t)
{
    pthread_mutex_lock(&t->lock);
    t->hurried = true;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

/* What is not written yet gets some seconds; a store that does not work must not keep us for ever. */
#define CLOSE_NS (10 * NS_PER_S)

static bool wait_written(struct engine_tasks *t)
{
    struct timespec at = until(CLOSE_NS);
    bool none;

    pthread_mutex_lock(&t->lock);
    while (t->unwritten > 0 && pthread_cond_timedwait(&t->changed, &t->lock, &at) == 0)
        ;
    none = t->unwritten == 0;
    pthread_mutex_unlock(&t->lock);
    return none;
}

static void remove_pools(struct desk *d, struct instant now, void *ctx)
{
    struct engine_tasks *t = ctx;

    t->started = true; /* pools go by the desk's turn */
    desk_remove_pools(d, now);
    pthread_mutex_lock(&t->lock);
    t->unwritten = desk_unwritten(d);
    t->pools = desk_pool_count(d);
    pthread_mutex_unlock(&t->lock);
}

/* Callbacks that cannot be ended are waited for, for their results are ours; and workers, which end in their graces. */
static void wait_pools(struct engine_tasks *t)
{
    pthread_mutex_lock(&t->lock);
    while (t->pools > 0)
        pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

void engine_tasks_end_pools(struct engine_tasks *t)
{
    engine_tasks_call(t, remove_pools, t);
    if (!wait_written(t))
        clerk_give_up(t->clerk); /* what a pool has to write keeps it, too */
    wait_pools(t);
}

/* What came back while the clerk ended has been read. */
static void flush(struct engine *e, void *ctx)
{
    (void)e;
    (void)ctx;
}

void engine_tasks_close(struct engine_tasks *t)
{
    if (!t)
        return;
    atomic_store(&t->refusing, true);
    engine_tasks_call(t, stop_desk, t);
    engine_tasks_call(t, end_running, &(uint64_t){0});
    engine_tasks_end_pools(t);
    engine_set_receiver(t->engine, NULL);
    while (!t->out) {
        if (!wait_written(t))
            clerk_give_up(t->clerk);
        engine_call(t->engine, move_out, t);
    }
    clerk_free(t->clerk);
    engine_call(t->engine, flush, NULL);
    free_tasks(t);
}
