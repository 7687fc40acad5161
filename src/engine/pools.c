/*
 * What is asked and told of a pool beside its batches: holding it, its breaker, its fallback pool,
 * its workers. Each call is one on the engine's thread, and what it gives is a copy.
 */
#include "base/error.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "engine/internal.h"

#include <string.h>

struct fallback {
    struct core_pool *pool, *other;
    struct weir_error *err;
    enum weir_status status;
};

static void set_fallback(struct engine *e, void *ctx)
{
    struct fallback *f = ctx;

    f->status = dispatcher_set_fallback(e->dispatcher, f->pool, f->other, f->err);
}

enum weir_status engine_set_fallback(struct engine *e, struct core_pool *pool,
                                     struct core_pool *other, struct weir_error *err)
{
    struct fallback f = {.pool = pool, .other = other, .err = err};

    engine_call(e, set_fallback, &f);
    return f.status;
}

struct hold {
    struct core_pool *pool;
    bool held;
};

static void hold(struct engine *e, void *ctx)
{
    const struct hold *h = ctx;

    dispatcher_hold_pool(h->pool, h->held, e->now);
}

void engine_pool_hold(struct engine *e, struct core_pool *pool, bool held)
{
    struct hold h = {pool, held};

    engine_call(e, hold, &h);
}

static void reset_breaker(struct engine *e, void *ctx)
{
    dispatcher_reset_breaker(ctx, e->now);
}

void engine_pool_reset_breaker(struct engine *e, struct core_pool *pool)
{
    engine_call(e, reset_breaker, pool);
}

struct release {
    struct core_pool *pool;
    const char *name;
    bool done;
};

static void release_session(struct engine *e, void *ctx)
{
    struct release *r = ctx;

    r->done = dispatcher_release_session(r->pool, r->name, e->now);
}

bool engine_pool_release_session(struct engine *e, struct core_pool *pool, const char *name)
{
    struct release r = {.pool = pool, .name = name};

    engine_call(e, release_session, &r);
    return r.done;
}

/* ---- workers ---- */

struct listing {
    struct core_pool *pool;
    struct engine_workers *ret;
    struct weir_error *err;
    enum weir_status status;
    struct engine_worker *next_worker;
    struct worker_transition *next_move;
};

static void copy_worker(void *ctx, const struct worker *w)
{
    struct listing *l = ctx;
    struct engine_worker *to = l->next_worker++;
    const struct worker_transition *t;

    *to = (struct engine_worker){
        .id = w->id,
        .place = w->place,
        .extra = w->extra,
        .pid = w->pid,
        .state = w->life.state,
        .since = w->life.since,
        .health = w->health.health,
        .failed_checks = w->health.failures,
        .started_at = w->started_at,
        .in_flight = w->in_flight,
        .max_in_flight = w->max_in_flight,
        .requests = w->requests,
        .ok = w->ok,
        .failed = w->failed,
        .memory_bytes = w->memory_bytes,
        .sessions = w->sessions,
        .moves = l->next_move,
    };
    while ((t = life_last(&w->life, to->move_count))) {
        *l->next_move++ = *t;
        to->move_count++;
    }
}

static void count_moves(void *ctx, const struct worker *w)
{
    *(size_t *)ctx += w->life.moves < WORKER_HISTORY ? (size_t)w->life.moves : WORKER_HISTORY;
}

static void list_workers(struct engine *e, void *ctx)
{
    struct listing *l = ctx;
    struct crew *crew = core_pool_crew(l->pool);
    struct engine_workers ret = {0};
    size_t moves = 0;

    (void)e;
    if (!crew) {
        l->status =
            error_set(l->err, WEIR_E_INVALID, "pool \"%s\" has no workers: it is of another kind",
                      core_pool_get_options(l->pool)->name);
        return;
    }
    ret.counts = crew_counts(crew);
    ret.sessions = affinity_counts(crew_affinity(crew));
    ret.count = ret.counts.workers;
    crew_each(crew, count_moves, &moves);
    ret.memory = mem_alloc(ret.count * sizeof *ret.workers + moves * sizeof *l->next_move + 1);
    if (!ret.memory) {
        l->status = error_nomem(l->err);
        return;
    }
    ret.workers = l->next_worker = ret.memory;
    l->next_move = (struct worker_transition *)(void *)(ret.workers + ret.count);
    crew_each(crew, copy_worker, l);
    *l->ret = ret;
    l->status = WEIR_OK;
}

enum weir_status engine_pool_workers(struct engine *e, struct core_pool *pool,
                                     struct engine_workers *ret, struct weir_error *err)
{
    struct listing l = {.pool = pool, .ret = ret, .err = err};

    engine_call(e, list_workers, &l);
    return l.status;
}

void engine_workers_free(struct engine_workers *w)
{
    mem_free(w->memory);
    *w = (struct engine_workers){0};
}
