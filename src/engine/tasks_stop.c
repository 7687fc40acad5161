/* The end, step by step: nothing starts, what runs ends, the pools go, what is unwritten is written, the desk moves out. */
#include "engine/tasks_internal.h"

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

static struct timespec timespec_of(struct instant at)
{
    return (struct timespec){.tv_sec = at.ns / NS_PER_S, .tv_nsec = at.ns % NS_PER_S};
}

static struct timespec until(duration_ns wait_ns)
{
    return timespec_of(instant_add(loop_clock(), wait_ns));
}

/* Until nothing runs; false: the time is up. hurries: that may be earlier than was said. */
static bool wait_running(struct engine_tasks *t, duration_ns wait_ns, bool hurries)
{
    struct instant end = instant_add(loop_clock(), wait_ns), at = end;
    bool none;

    pthread_mutex_lock(&t->lock);
    while (t->running > 0 && instant_before(loop_clock(), at)) {
        struct timespec ts;

        at = hurries ? instant_min(end, t->end_by) : end;
        ts = timespec_of(at);
        (void)pthread_cond_timedwait(&t->changed, &t->lock, &ts);
    }
    none = t->running == 0;
    pthread_mutex_unlock(&t->lock);
    return none;
}

void engine_tasks_stop_starts(struct engine_tasks *t)
{
    engine_tasks_call(t, stop_desk, t);
}

void engine_tasks_stop(struct engine_tasks *t, duration_ns grace_ns, duration_ns kill_ns,
                       bool refuse, uint64_t *ret_left)
{
    *ret_left = 0;
    atomic_store(&t->refusing, refuse);
    engine_tasks_stop_starts(t);
    if (wait_running(t, grace_ns, true))
        return;
    engine_tasks_call(t, end_running, ret_left);
    (void)wait_running(t, kill_ns, false);
}

void engine_tasks_refuse(struct engine_tasks *t)
{
    atomic_store(&t->refusing, true);
}

void engine_tasks_end_by(struct engine_tasks *t, struct instant then)
{
    pthread_mutex_lock(&t->lock);
    t->end_by = instant_min(t->end_by, then);
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
    if (!wait_written(t)) {
        clerk_give_up(t->clerk); /* what a pool has to write keeps it, too */
        (void)wait_written(t);   /* what was given up on is counted */
    }
    wait_pools(t);
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
    tasks_free(t);
}
