/*
 * Who does what: the engine's thread runs the desk; the clerk's thread writes. What comes back from
 * the clerk is gathered under the lock and handed to the desk in one piece of mail (tasks_ops.c).
 */
#include "engine/tasks.h"

#include "base/error.h"
#include "base/mem.h"
#include "engine/spill.h"
#include "engine/tasks_internal.h"

#include <assert.h>
#include <stdlib.h>

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

/*
 * Has the desk told of every line that has ready tasks, by the clerk. No memory, here or for a line
 * at the desk: later.
 */
static void ask_for_lines(struct engine_tasks *t)
{
    struct registry_op *op = mem_calloc(1, sizeof *op);

    t->lines_at = op ? INSTANT_NEVER : instant_add(t->engine->now, TASKS_LINES_AGAIN_NS);
    if (!op)
        return;
    op->kind = REGISTRY_LINES;
    clerk_send(t->clerk, op);
}

/* ---- the engine's lodger; on the engine's thread ---- */

/* Of the last one or two minutes, so that it does not matter who looks at it, and how often. */
#define LAG_WINDOW_NS (60 * NS_PER_S)

/* At least so often there is a turn. */
#define LAG_LOOK_NS NS_PER_S

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
    if (desk_missed_lines(t->desk))
        t->lines_at = instant_min(t->lines_at, instant_add(now, TASKS_LINES_AGAIN_NS));
    t->due = instant_min(t->due, t->lines_at);
    /* So that there is something to be late for, whatever else is awaited (a child, a reply, an op). */
    t->due = instant_min(t->due, instant_add(now, LAG_LOOK_NS));
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
    if (p == t->unwanted) {
        pthread_mutex_lock(&t->lock);
        t->unwanted = NULL;
        pthread_cond_broadcast(&t->changed);
        pthread_mutex_unlock(&t->lock);
    }
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

void engine_tasks_look(struct engine_tasks *t)
{
    clerk_look(t->clerk);
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
    struct engine_tasks *t = a->tasks;
    struct desk_pool *p;

    a->status = desk_add_pool(d, a->pool, a->options, now, &p, a->err);
    if (a->status == WEIR_OK)
        return;
    pthread_mutex_lock(&t->lock);
    t->unwanted = a->pool;
    pthread_mutex_unlock(&t->lock);
    dispatcher_remove_pool(t->engine->dispatcher, a->pool, now);
}

/* The executor that was made for it has what is the caller's. */
static void wait_unwanted(struct engine_tasks *t)
{
    pthread_mutex_lock(&t->lock);
    while (t->unwanted)
        pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

enum weir_status engine_tasks_add_pool(struct engine_tasks *t, const struct core_pool_options *o,
                                       engine_executor_fn make, void *ctx,
                                       const struct desk_pool_options *desk, struct weir_error *err)
{
    struct add a = {.tasks = t, .options = desk, .err = err};

    pthread_mutex_lock(&t->adding);
    a.status = engine_add_pool(t->engine, o, make, ctx, &a.pool, err);
    if (a.status == WEIR_OK) {
        engine_tasks_call(t, add_to_desk, &a);
        if (a.status != WEIR_OK)
            wait_unwanted(t);
    }
    pthread_mutex_unlock(&t->adding);
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
static enum weir_status take_over(struct engine_tasks *t, struct weir_error *err)
{
    const struct core_registry_ops *ops = t->registry->ops;
    enum weir_status status = WEIR_OK;
    uint64_t imported;

    if (t->options.spill_path)
        status = spill_import(t->options.spill_path, t->registry, &imported, err);
    if (status == WEIR_OK)
        status = ops->left_running(t->registry, tell_left, t, err);
    if (status == WEIR_OK)
        status = ops->put_back(t->registry, loop_wall_clock_ns(), t->options.deaths_max,
                               &t->put_back, err);
    return status;
}

/*
 * The first token of the last start. A run gives a new token to each attempt, one after the other,
 * and never as many as the reserve; so each start begins above all that were given before it,
 * whatever the wall clock says meanwhile.
 */
#define TOKEN_FACT    "token"
#define TOKEN_RESERVE (UINT64_C(1) << 40)

/* 0: there is none, or none that could be one. */
static enum weir_status read_token(struct core_registry *registry, uint64_t *ret,
                                   struct weir_error *err)
{
    _cleanup_buf_ struct buf text = {0};
    struct registry_reader *r;
    enum weir_status status = registry->ops->reader(registry, &r, err);

    if (status != WEIR_OK)
        return status;
    *ret = 0;
    status = r->ops->fact(r, SLICE(TOKEN_FACT), &text, err);
    r->ops->close(r);
    if (status == WEIR_OK && text.failed)
        return error_nomem(err);
    if (status == WEIR_OK)
        *ret = strtoull(buf_slice(&text).data, NULL, 10);
    if (*ret > INT64_MAX - 2 * TOKEN_RESERVE)
        *ret = 0;
    return status == WEIR_E_END ? WEIR_OK : status;
}

/* The first token of this start: that of the wall clock, which is above those of a registry without the fact. */
static enum weir_status take_token(struct core_registry *registry, uint64_t *ret,
                                   struct weir_error *err)
{
    struct registry_op op = {.kind = REGISTRY_SET, .set.name = SLICE(TOKEN_FACT)};
    uint64_t token = (uint64_t)loop_wall_clock_ns(), last;
    char room[DECIMAL_BYTES];
    enum weir_status status = read_token(registry, &last, err);

    if (status != WEIR_OK)
        return status;
    if (token < last + TOKEN_RESERVE && last > 0)
        token = last + TOKEN_RESERVE;
    op.set.value = decimal_of(token, room);
    status = registry->ops->apply(registry, &op, err);
    if (status == WEIR_OK && op.err.status != WEIR_OK) {
        if (err)
            *err = op.err;
        status = op.err.status;
    }
    *ret = token;
    return status;
}

void tasks_free(struct engine_tasks *t)
{
    desk_free(t->desk);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->adding);
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
    t->observer.ops = &tasks_observer_ops;
    t->edge.ops = &tasks_edge_ops;
    t->engine = e;
    t->end_by = INSTANT_NEVER;
    t->registry = r;
    t->options = *o;
    t->back.ops_tail = &t->back.ops;
    t->mail.run = tasks_run_back;
    t->due = t->lines_at = INSTANT_NEVER;
    pthread_mutex_init(&t->lock, NULL);
    pthread_mutex_init(&t->adding, NULL);
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

enum weir_status engine_tasks_open(struct engine *e, struct core_registry *r,
                                   const struct engine_tasks_options *o, struct engine_tasks **ret,
                                   struct weir_error *err)
{
    struct engine_tasks *t = allocate_tasks(e, r, o);
    struct desk_options d = {.dispatcher = e->dispatcher,
                             .schedule = o->schedule,
                             .seed = loop_entropy(),
                             .deaths_max = o->deaths_max};
    struct clerk_options c = {.spill_path = o->spill_path,
                              .committed = tasks_clerk_committed,
                              .done = tasks_clerk_done,
                              .ctx = t};
    enum weir_status status;

    if (!t)
        return error_nomem(err);
    d.host = &t->host;
    status = take_over(t, err);
    if (status == WEIR_OK)
        status = take_token(r, &d.first_token, err);
    if (status == WEIR_OK)
        status = desk_new(&d, &t->desk, err);
    if (status == WEIR_OK)
        status = clerk_new(r, &c, &t->clerk, err);
    if (status != WEIR_OK) {
        tasks_free(t);
        return status;
    }
    engine_call(e, move_in, t);
    engine_set_receiver(
        e, &(struct engine_receiver){.began = tasks_began, .beat = tasks_beat, .ctx = t});
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
