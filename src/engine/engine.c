/*
 * The engine's thread, its mailbox, and pools. Batches are in batch.c.
 */
#include "engine/engine.h"

#include "base/error.h"
#include "base/mem.h"
#include "core/record.h"
#include "engine/internal.h"

#include <assert.h>
#include <string.h>

static bool on_own_thread(const struct engine *e)
{
    return pthread_equal(pthread_self(), e->thread);
}

/* Under the lock. The first one to find the engine asleep wakes it; on its own thread the turn looks again by itself. */
static void wake(struct engine *e)
{
    if (!e->asleep)
        return;
    e->asleep = false;
    if (!on_own_thread(e))
        loop_wake(e->loop);
}

void engine_post(struct engine *e, struct mail *m)
{
    pthread_mutex_lock(&e->lock);
    m->next = NULL;
    *e->mails_tail = m;
    e->mails_tail = &m->next;
    wake(e);
    pthread_mutex_unlock(&e->lock);
}

struct call {
    struct mail mail;
    void (*fn)(struct engine *e, void *ctx);
    void *ctx;
    bool done;
};

static void run_call(struct engine *e, struct mail *m)
{
    struct call *c = (struct call *)m;

    c->fn(e, c->ctx);
    pthread_mutex_lock(&e->lock);
    c->done = true;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

void engine_call(struct engine *e, void (*fn)(struct engine *e, void *ctx), void *ctx)
{
    struct call c = {.mail = {.run = run_call}, .fn = fn, .ctx = ctx};

    assert(!on_own_thread(e));
    engine_post(e, &c.mail);
    pthread_mutex_lock(&e->lock);
    while (!c.done)
        pthread_cond_wait(&e->changed, &e->lock);
    pthread_mutex_unlock(&e->lock);
}

static struct engine *of_executor_host(struct core_executor_host *h)
{
    return list_entry(h, struct engine, executor_host);
}

static void report(struct core_executor_host *h, struct core_attempt *chain)
{
    struct engine *e = of_executor_host(h);
    struct core_attempt *last = chain;

    while (last->next)
        last = last->next;
    pthread_mutex_lock(&e->lock);
    *e->reports_tail = chain;
    e->reports_tail = &last->next;
    wake(e);
    pthread_mutex_unlock(&e->lock);
}

static void report_runs(struct core_executor_host *h, struct core_run *chain)
{
    struct engine *e = of_executor_host(h);
    struct core_run *last = chain;

    while (last->next)
        last = last->next;
    pthread_mutex_lock(&e->lock);
    *e->runs_tail = chain;
    e->runs_tail = &last->next;
    wake(e);
    pthread_mutex_unlock(&e->lock);
}

static struct instant host_now(struct core_executor_host *h)
{
    (void)h;
    return loop_clock();
}

static void host_tell(struct core_executor_host *h, const struct core_event *ev)
{
    struct core_observer *o = of_executor_host(h)->edge_observer;

    if (o)
        o->ops->event(o, ev);
}

/* ---- signs of life ---- */

/* NULL: no memory; who says it may say it again. */
static struct sign *new_sign(bool is_beat, size_t text_len)
{
    struct sign *s = mem_alloc(sizeof *s + text_len);

    if (!s)
        return NULL;
    s->next = NULL;
    s->is_beat = is_beat;
    return s;
}

static void put_sign(struct engine *e, struct sign *s)
{
    pthread_mutex_lock(&e->lock);
    *e->signs_tail = s;
    e->signs_tail = &s->next;
    wake(e);
    pthread_mutex_unlock(&e->lock);
}

static void host_began(struct core_executor_host *h, const struct core_attempt_began *b)
{
    struct sign *s = new_sign(false, 0);

    if (!s)
        return;
    s->began = *b;
    put_sign(of_executor_host(h), s);
}

static void host_beat(struct core_executor_host *h, const struct core_heartbeat *b)
{
    struct sign *s = new_sign(true, b->text.len);

    if (!s)
        return;
    s->beat = *b;
    s->beat.text.data = s->text;
    if (b->text.len > 0)
        memcpy(s->text, b->text.data, b->text.len);
    put_sign(of_executor_host(h), s);
}

static void take_signs(struct engine *e, struct sign *signs)
{
    const struct engine_receiver *r = &e->receiver;

    while (signs) {
        struct sign *s = signs;

        signs = s->next;
        if (s->is_beat && r->beat)
            r->beat(r->ctx, &s->beat, e->now);
        else if (!s->is_beat && r->began)
            r->began(r->ctx, &s->began, e->now);
        mem_free(s);
    }
}

static void set_receiver(struct engine *e, void *ctx)
{
    const struct engine_receiver *r = ctx;

    e->receiver = r ? *r : (struct engine_receiver){0};
    e->executor_host.began = e->receiver.began ? host_began : NULL;
    e->executor_host.beat = e->receiver.beat ? host_beat : NULL;
}

void engine_set_receiver(struct engine *e, const struct engine_receiver *r)
{
    engine_call(e, set_receiver, (void *)(uintptr_t)r);
}

static struct engine_batch *batch_of(struct core_batch *b)
{
    return core_batch_owner(b);
}

static bool is_lodgers(struct dispatcher_host *h, const struct core_batch *b)
{
    struct engine_lodger *l = list_entry(h, struct engine, dispatcher_host)->lodger;

    return l && l->owns(l, b);
}

static void host_finished(struct dispatcher_host *h, struct core_batch *b, struct core_task *t)
{
    if (!is_lodgers(h, b))
        batch_finished(batch_of(b), t);
}

static void host_retrying(struct dispatcher_host *h, struct core_batch *b,
                          const struct core_task *t, duration_ns wait_ns)
{
    (void)h;
    batch_retrying(batch_of(b), t, wait_ns);
}

static void host_deliver(struct dispatcher_host *h, struct core_batch *b, struct core_task *t)
{
    struct engine_lodger *l = list_entry(h, struct engine, dispatcher_host)->lodger;

    if (is_lodgers(h, b))
        l->deliver(l, t);
    else
        batch_deliver(batch_of(b), t);
}

static void host_run_finished(struct dispatcher_host *h, struct core_batch *b, struct core_run *r)
{
    (void)h;
    batch_run_finished(batch_of(b), r);
}

static void host_deliver_run(struct dispatcher_host *h, struct core_batch *b, struct core_run *r)
{
    (void)h;
    batch_deliver_run(batch_of(b), r);
}

static void host_closed(struct dispatcher_host *h, struct core_batch *b)
{
    if (!is_lodgers(h, b))
        batch_closed(batch_of(b));
}

static void host_pool_gone(struct dispatcher_host *h, struct core_pool *p)
{
    struct engine_lodger *l = list_entry(h, struct engine, dispatcher_host)->lodger;

    if (l)
        l->pool_gone(l, p);
}

/* Takes all that has come since the last time; returns whether there was anything. */
static bool read_mailbox(struct engine *e)
{
    struct core_attempt *reports;
    struct core_run *runs;
    struct sign *signs;
    struct mail *mails;

    pthread_mutex_lock(&e->lock);
    mails = e->mails;
    reports = e->reports;
    runs = e->runs;
    signs = e->signs;
    e->mails = NULL;
    e->mails_tail = &e->mails;
    e->reports = NULL;
    e->reports_tail = &e->reports;
    e->runs = NULL;
    e->runs_tail = &e->runs;
    e->signs = NULL;
    e->signs_tail = &e->signs;
    e->asleep = false;
    pthread_mutex_unlock(&e->lock);
    if (!mails && !reports && !runs && !signs)
        return false;
    /* Read after taking: nothing that was taken happened later than `now`. */
    e->now = loop_clock();
    take_signs(e, signs);
    while (reports) {
        struct core_attempt *a = reports;

        reports = a->next;
        a->next = NULL;
        dispatcher_report(e->dispatcher, a, e->now);
    }
    if (runs)
        dispatcher_report_runs(e->dispatcher, runs, e->now);
    while (mails) {
        struct mail *m = mails;

        mails = m->next;
        m->run(e, m);
    }
    return true;
}

/* An attempt that was left behind may have been the last thing that a closing batch waited for. */
static void touch_closing(struct engine *e)
{
    if (e->closing == 0)
        return;
    list_foreach (node, &e->open) {
        struct engine_batch *b = list_entry(node, struct engine_batch, link);

        if (b->closing)
            engine_batch_touch(b);
    }
}

static void flush_touched(struct engine *e)
{
    touch_closing(e);
    while (e->touched) {
        struct engine_batch *b = e->touched;

        e->touched = b->next_touched;
        b->is_touched = false;
        batch_flush(b);
    }
}

static struct instant turn(void *ctx)
{
    struct engine *e = ctx;
    struct instant due;
    bool again;

    do {
        if (!read_mailbox(e))
            e->now = loop_clock();
        due = INSTANT_NEVER;
        if (e->lodger)
            due = e->lodger->turn(e->lodger, e->now);
        due = instant_min(due, dispatcher_run(e->dispatcher, e->now));
        flush_touched(e);
        pthread_mutex_lock(&e->lock);
        /* An executor may have reported from within start(). */
        again = e->mails || e->reports || e->runs || e->signs ||
                (e->lodger && e->lodger->is_due(e->lodger));
        e->asleep = !again;
        pthread_mutex_unlock(&e->lock);
    } while (again);
#ifdef WEIR_DEBUG
    assert(!dispatcher_check(e->dispatcher));
#endif
    if (e->lodger)
        e->lodger->idle(e->lodger);
    pthread_mutex_lock(&e->lock);
    e->running = dispatcher_running(e->dispatcher);
    if (e->shut_down)
        e->workers = dispatcher_workers(e->dispatcher);
    if (e->running == 0)
        pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
    return due;
}

static void *engine_main(void *arg)
{
    struct engine *e = arg;

    /* The creator holds the lock until e->thread is set. */
    pthread_mutex_lock(&e->lock);
    pthread_mutex_unlock(&e->lock);
    loop_run(e->loop);
    return NULL;
}

static void free_engine(struct engine *e)
{
    dispatcher_free(e->dispatcher);
    loop_free(e->loop);
    e->receiver = (struct engine_receiver){0};
    take_signs(e, e->signs); /* what nobody has taken */
    pthread_mutex_destroy(&e->calls_lock);
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
    mem_free(e);
}

static struct engine *allocate(const struct engine_options *o)
{
    struct engine *e = mem_calloc(1, sizeof *e);

    if (!e)
        return NULL;
    e->dispatcher_host = (struct dispatcher_host){.finished = host_finished,
                                                  .retrying = host_retrying,
                                                  .deliver = host_deliver,
                                                  .run_finished = host_run_finished,
                                                  .deliver_run = host_deliver_run,
                                                  .closed = host_closed,
                                                  .pool_gone = host_pool_gone};
    e->executor_host = (struct core_executor_host){
        .report = report, .report_runs = report_runs, .now = host_now, .tell = host_tell};
    e->observer = o->observer;
    e->edge_observer = o->observer ? o->observer : o->edge_observer;
    e->asleep = true;
    list_init(&e->open);
    list_init(&e->calls);
    pthread_mutex_init(&e->calls_lock, NULL);
    e->mails_tail = &e->mails;
    e->reports_tail = &e->reports;
    e->runs_tail = &e->runs;
    e->signs_tail = &e->signs;
    e->wall_offset_ns = loop_wall_clock_ns() - loop_clock().ns;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->changed, NULL);
    return e;
}

enum weir_status engine_new(const struct engine_options *o, struct engine **ret,
                            struct weir_error *err)
{
    struct engine *e = allocate(o);
    struct dispatcher_options options;
    enum weir_status status;
    int rc;

    if (!e)
        return error_nomem(err);
    options = (struct dispatcher_options){.seed = o->seed ? o->seed : loop_entropy(),
                                          .observer = o->observer,
                                          .host = &e->dispatcher_host};
    status = dispatcher_new(&options, &e->dispatcher, err);
    if (status == WEIR_OK)
        status = loop_new(&e->loop, turn, e, err);
    if (status != WEIR_OK) {
        free_engine(e);
        return status;
    }
    pthread_mutex_lock(&e->lock);
    rc = pthread_create(&e->thread, NULL, engine_main, e);
    pthread_mutex_unlock(&e->lock);
    if (rc != 0) {
        free_engine(e);
        return error_set_errno(err, WEIR_E_NOMEM, rc, "cannot start the engine's thread");
    }
    *ret = e;
    return WEIR_OK;
}

struct add_pool {
    const struct core_pool_options *options;
    engine_executor_fn make;
    void *ctx;
    struct core_pool **ret;
    struct weir_error *err;
    enum weir_status status;
};

static void add_pool(struct engine *e, void *ctx)
{
    struct add_pool *a = ctx;
    struct core_executor *executor;

    if (e->shut_down) {
        a->status =
            error_set(a->err, WEIR_E_SHUTDOWN, "the engine is shut down; it takes no new pool");
        return;
    }
    a->status = a->make(a->ctx, a->options, loop_uv(e->loop), &e->executor_host, &executor, a->err);
    if (a->status != WEIR_OK)
        return;
    a->status = dispatcher_add_pool(e->dispatcher, a->options, executor, a->ret, a->err);
    if (a->status != WEIR_OK)
        executor->ops->close(executor);
}

enum weir_status engine_add_pool(struct engine *e, const struct core_pool_options *o,
                                 engine_executor_fn make, void *ctx, struct core_pool **ret,
                                 struct weir_error *err)
{
    struct add_pool a = {.options = o, .make = make, .ctx = ctx, .ret = ret, .err = err};
    enum weir_status status = core_pool_options_check(o, err);

    if (status != WEIR_OK)
        return status;
    engine_call(e, add_pool, &a);
    return a.status;
}

struct pool_stats {
    struct core_pool *pool;
    struct core_stats *ret;
};

static void pool_stats(struct engine *e, void *ctx)
{
    struct pool_stats *s = ctx;

    (void)e;
    dispatcher_pool_stats(s->pool, s->ret);
}

void engine_pool_stats(struct engine *e, struct core_pool *pool, struct core_stats *ret)
{
    struct pool_stats s = {pool, ret};

    engine_call(e, pool_stats, &s);
}

struct pool_state {
    struct core_pool *pool;
    struct engine_pool_state *ret;
};

static void pool_state(struct engine *e, void *ctx)
{
    struct pool_state *s = ctx;
    struct instant until = core_pool_held_until(s->pool);

    s->ret->held_ns = instant_before(e->now, until) ? instant_diff(until, e->now) : 0;
}

void engine_pool_state(struct engine *e, struct core_pool *pool, struct engine_pool_state *ret)
{
    struct pool_state s = {pool, ret};

    engine_call(e, pool_state, &s);
}

static void shut_down(struct engine *e, void *ctx)
{
    e->shut_down = true;
    list_foreach (node, &e->open)
        batch_shut_down(list_entry(node, struct engine_batch, link));
    dispatcher_shutdown(e->dispatcher, *(bool *)ctx, e->now);
    pthread_mutex_lock(&e->lock);
    e->running = dispatcher_running(e->dispatcher);
    e->workers = dispatcher_workers(e->dispatcher);
    pthread_mutex_unlock(&e->lock);
}

void engine_shutdown(struct engine *e, bool wait)
{
    bool cancel = !wait;

    engine_call(e, shut_down, &cancel);
    pthread_mutex_lock(&e->lock);
    while (e->running > 0)
        pthread_cond_wait(&e->changed, &e->lock);
    pthread_mutex_unlock(&e->lock);
}

static void quit(struct engine *e, void *ctx)
{
    (void)ctx;
    loop_stop(e->loop);
}

/* They end by themselves or are made to: no longer than the graces of their crews. */
static void wait_for_workers(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    while (e->workers > 0)
        pthread_cond_wait(&e->changed, &e->lock);
    pthread_mutex_unlock(&e->lock);
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    engine_shutdown(e, false);
    calls_close(e);
    wait_for_workers(e);
    engine_call(e, quit, NULL);
    pthread_join(e->thread, NULL);
    free_engine(e);
}

int64_t engine_wall_ns(const struct engine *e, struct instant t)
{
    return record_wall_ns(t, e->wall_offset_ns);
}

int64_t engine_wall_offset_ns(const struct engine *e)
{
    return e->wall_offset_ns;
}

struct instant engine_now(const struct engine *e)
{
    (void)e;
    return loop_clock();
}
