/* See life.h. */

#include "base/mem.h"
#include "simulation/desk/life_internal.h"
#include "store/registry/memory_registry.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void life_wrong(struct life *l, const char *what)
{
    if (!l->wrong[0])
        snprintf(l->wrong, sizeof l->wrong, "%.300s (at %.6f s)", what,
                 l->office ? duration_seconds(office_now(l->office).ns) - 1000 : -1.0);
}

int64_t life_wall(const struct life *l)
{
    return office_wall_ns(l->office);
}

/* ---- what the witness is told ---- */

static void tell_time(struct life *l)
{
    l->watch->now = office_now(l->office);
    l->watch->wall_ns = life_wall(l);
}

static enum weir_status prepare(void *ctx, const struct desk_attempt *a, struct core_task *t,
                                struct weir_error *err)
{
    struct life_pool *p = ctx;

    tell_time(p->life);
    if (a->task->payload_len == 3 && memcmp(a->task->payload, "bad", 3) == 0) {
        *err = (struct weir_error){.status = WEIR_E_INVALID, .message = "a bad payload"};
        return WEIR_E_INVALID;
    }
    t->payload = a->task->payload;
    watch_prepared(p->life->watch, a);
    if (a->token <= p->life->last_token && !p->life->watch->set_back)
        life_wrong(p->life, "a token was given twice");
    return WEIR_OK;
}

static void discard(void *ctx, struct core_task *t)
{
    (void)ctx;
    (void)t;
}

static const struct desk_pool_ops pool_ops = {.prepare = prepare, .discard = discard};

static void began(void *ctx, const struct core_attempt *a, struct instant now)
{
    struct watch_pool *w = ctx;
    struct life *l = (struct life *)(void *)w->life;

    (void)now;
    tell_time(l);
    watch_began(l->watch, w, a);
    l->last_token = a->token;
}

static void asked(void *ctx, const struct core_attempt *a, struct instant now)
{
    struct watch_pool *w = ctx;
    struct life *l = (struct life *)(void *)w->life;

    (void)now;
    tell_time(l);
    watch_asked(l->watch, a);
}

static void ended(void *ctx, const struct core_attempt *a, struct instant now)
{
    struct watch_pool *w = ctx;
    struct life *l = (struct life *)(void *)w->life;

    (void)now;
    tell_time(l);
    watch_ended(l->watch, a);
}

static void committed(void *ctx)
{
    struct life *l = ctx;
    const char *what;

    tell_time(l);
    watch_committed(l->watch);
    what = memory_registry_check(l->registry);
    if (what)
        life_wrong(l, what);
}

static void pool_gone(void *ctx, struct core_pool *p)
{
    struct life *l = ctx;

    for (size_t i = 0; i < l->watch->pool_count; i++) {
        struct watch_pool *w = &l->watch->pools[i];

        if (w->core != p)
            continue;
        w->core = NULL;
        l->tally->pools_gone++;
        if (w->running != 0)
            life_wrong(l, "I1: a pool is gone, and something of it runs");
    }
}

static bool after_step(void *ctx)
{
    struct life *l = ctx;
    const struct dispatcher *d = sim_world_dispatcher(l->office->world);
    const char *what = desk_check(l->office->desk);

    tell_time(l);
    if (!what)
        what = dispatcher_check(d);
    if (what)
        life_wrong(l, what);
    watch_step(l->watch);
    if (watch_wrong(l->watch))
        life_wrong(l, watch_wrong(l->watch));
    l->tally->steps++;
    return !l->wrong[0] && !l->crash && !l->stop;
}

/* ---- pools ---- */

static void draw_core(struct life *l, struct life_pool *p)
{
    struct core_pool_options *o = &p->core;
    struct rng *r = &l->rng;

    core_pool_options_init(o);
    o->name = p->name;
    o->size = 1 + below(l, one_in(l, 3) ? 12 : 4);
    o->gate.throttle.kind = (enum throttle_kind)below(l, THROTTLE_KINDS);
    if (one_in(l, 6))
        o->gate.rate_per_s = 1 + rng_unit(r) * 50;
    if (one_in(l, 2))
        o->timeout_ns = rng_range(r, 100 * NS_PER_MS, 5 * NS_PER_S);
    o->max_capacity_retry_ns = one_in(l, 4) ? rng_range(r, 1, NS_PER_S) : 30 * NS_PER_S;
    if (one_in(l, 3)) {
        o->breaker.on = true;
        o->breaker.failures = 1 + (uint32_t)below(l, 5);
        o->breaker.open_ns = rng_range(r, 1, 10 * NS_PER_S);
        o->breaker_fails = one_in(l, 3);
    }
    if (one_in(l, 4))
        o->recovery = recovery_table();
}

static unsigned share(struct life *l, unsigned most)
{
    return one_in(l, 2) ? (unsigned)below(l, most + 1) : 0;
}

static void draw_model(struct life *l, struct life_pool *p)
{
    struct office_model *m = &p->model;

    *m = (struct office_model){.seed = rng_u64(&l->rng),
                               .cancels_at_once = one_in(l, 2),
                               .refuses = share(l, 400),
                               .advises = share(l, 600),
                               .fails = share(l, 300),
                               .forbids = share(l, 50),
                               .loses = share(l, 100),
                               .dies = share(l, 100),
                               .silent = p->core.timeout_ns > 0 ? share(l, 100) : 0,
                               .twice = share(l, 50),
                               .obeys = (unsigned)below(l, 1001),
                               .beats = share(l, 500),
                               .began = began,
                               .cancelled = asked,
                               .ended = ended};
    m->most_ns = 1 + (duration_ns)below(l, UINT64_C(1) << below(l, 33));
}

static void draw_crew(struct life *l, struct life_pool *p)
{
    struct crew_options *o = &p->workers.crew;
    struct rng *r = &l->rng;

    sim_workers_options_init(&p->workers);
    o->pool = p->name;
    o->size = p->core.size;
    o->overflow = one_in(l, 3) ? below(l, 3) : 0;
    o->lazy = one_in(l, 2);
    o->max_in_flight = one_in(l, 3) ? 1 + (uint32_t)below(l, 3) : 1;
    o->recycle_requests = one_in(l, 4) ? 1 + below(l, 20) : 0;
    o->affinity.seed = rng_u64(r);
    p->core.size = (o->size + o->overflow) * o->max_in_flight;
    p->core.checkout_timeout_ns =
        one_in(l, 3) ? 0 : 1 + (duration_ns)below(l, UINT64_C(1) << below(l, 28));
    p->workers.seed = rng_u64(r);
    p->workers.never_allowed = p->core.timeout_ns > 0;
    p->workers.good = one_in(l, 3);
    p->workers.given = began;
    p->workers.ended = ended;
}

void life_draw_limits(struct life *l, struct life_pool *p)
{
    struct desk_pool_options *d = &p->desk;

    d->cpu_milli = one_in(l, 3) ? 1000 + below(l, 4000) : 0;
    d->memory_mib = one_in(l, 4) ? 100 + below(l, 400) : 0;
    d->reserve = (struct permit_reserve){0};
    if (one_in(l, 3))
        d->reserve = (struct permit_reserve){.min_priority = 1, .share = rng_unit(&l->rng)};
    d->burst_places = one_in(l, 4) && !p->crew ? 1 + below(l, 3) : 0;
    d->burst_seconds = d->burst_places > 0 ? 0.1 + rng_unit(&l->rng) * 5 : 0;
    d->max_attempts = 1 + (uint32_t)below(l, 4);
    d->max_attempts_given = one_in(l, 2);
    d->backoff_given = one_in(l, 2);
    d->tells_began = !p->crew && one_in(l, 3);
    p->model.tells_began = d->tells_began;
    d->heartbeat_timeout_ns = one_in(l, 2) ? rng_range(&l->rng, NS_PER_MS, 3 * NS_PER_S) : 0;
}

void life_draw_pool(struct life *l, size_t i)
{
    static const char *const skills[][2] = {{"gpu", "net"}, {"gpu", NULL}, {"net", NULL}};
    struct life_pool *p = &l->pools[i];

    p->life = l;
    snprintf(p->name, sizeof p->name, "p%zu", i);
    draw_core(l, p);
    p->crew = i == 3 || one_in(l, 6);
    draw_model(l, p);
    if (p->crew)
        draw_crew(l, p);
    p->desk = (struct desk_pool_options){.ops = &pool_ops, .ctx = p};
    p->desk.backoff = p->core.backoff;
    p->desk.backoff.initial_ns = rng_range(&l->rng, 1, NS_PER_S);
    p->desk.backoff.ceiling_ns = 5 * NS_PER_S;
    life_draw_limits(l, p);
    if (one_in(l, 2))
        p->desk.fallback = l->pools[(i + 1 + below(l, POOLS - 1)) % POOLS].name;
    if (one_in(l, 2)) {
        const char *const *s = skills[below(l, 3)];

        p->desk.skills = s;
        p->desk.skill_count = s[1] ? 2 : 1;
    }
}

static void watch_limits(struct life_pool *p)
{
    struct watch_pool *w = p->watch;

    w->limit = p->core.size;
    w->burst_places = p->desk.burst_places;
    w->cpu_milli = p->desk.cpu_milli;
    w->memory_mib = p->desk.memory_mib;
    w->reserve = p->desk.reserve;
}

void life_add_pool(struct life *l, struct life_pool *p)
{
    struct weir_error err = {0};
    struct desk_pool *d;

    if (l->watch->pool_count == WATCH_POOLS)
        return;
    p->watch = watch_add_pool(l->watch, p->name);
    p->watch->life = l;
    p->watch->at_once = p->crew || p->model.cancels_at_once;
    p->model.ctx = p->workers.ctx = p->watch;
    watch_limits(p);
    d = p->crew ? office_add_crew(l->office, &p->core, &p->workers, &p->desk, &err)
                : office_add_pool(l->office, &p->core, &p->model, &p->desk, &err);
    if (!d) {
        life_wrong(l, err.message);
        return;
    }
    p->watch->desk = d;
    p->watch->core = desk_core_pool(d);
    p->there = true;
}

void life_replace_pool(struct life *l, struct life_pool *p)
{
    struct watch_pool *before = p->watch;

    if (l->watch->pool_count == WATCH_POOLS)
        return;
    before->leaving = true;
    p->there = false;
    life_add_pool(l, p);
}

/* ---- offices, one after the other ---- */

static void walk(struct sim_world *w, struct sim_event *ev);

static void plan_walk(struct life *l)
{
    duration_ns most = one_in(l, 2) ? 0 : (duration_ns)below(l, UINT64_C(1) << (10 + below(l, 22)));

    sim_world_plan(l->office->world, &l->walk, instant_add(office_now(l->office), most));
}

void life_set_slots(struct life *l, size_t kind, uint32_t count)
{
    char name[4];

    snprintf(name, sizeof name, "s%zu", kind);
    if (desk_set_slots(l->office->desk, name, count, NULL) != WEIR_OK)
        life_wrong(l, "slots could not be set");
    l->watch->slots[kind] = count;
}

static void open_office(struct life *l, int64_t wall_ns)
{
    static const char *const tenants[TENANTS] = {"x", "y", "z"};

    l->office_options.seed = rng_u64(&l->rng);
    l->office = office_open(&l->office_options, l->registry, wall_ns);
    assert(l->office);
    l->tally->put_back += l->office->put_back;
    l->watch->global_limit = l->office_options.global_limit;
    l->watch->mail_max_ns = l->office_options.mail_max_ns;
    l->last_token = 0;
    committed(l);
    for (size_t i = 0; i < POOLS; i++)
        if (l->pools[i].there)
            life_add_pool(l, &l->pools[i]);
    (void)desk_set_default_pool(l->office->desk, "p0");
    for (size_t i = 0; i < WATCH_SLOTS; i++)
        life_set_slots(l, i, l->watch->slots[i]);
    for (size_t i = 0; i < TENANTS; i++)
        (void)desk_set_weight(l->office->desk, slice_of(tenants[i]), 1 + (double)below(l, 7));
    sim_event_init(&l->walk, walk);
    office_begin(l->office);
}

static void close_office(struct life *l)
{
    l->tally->folds += l->office->folds;
    l->tally->lines_gone += l->office->lines_gone;
    l->tally->missed += l->office->missed;
    l->tally->write_failures += l->office->failures;
    l->office = office_close(l->office);
    watch_restarted(l->watch);
}

static void walk(struct sim_world *w, struct sim_event *ev)
{
    struct life *l = list_entry(ev, struct life, walk);

    (void)w;
    tell_time(l);
    life_do_something(l);
    l->done++;
    l->tally->operations++;
    if (!l->crash && !l->stop && l->done < l->options.operations)
        plan_walk(l);
}

/* ---- the run of a life ---- */

/* Nothing runs, and all is written. */
static bool is_still(const struct life *l)
{
    return desk_running(l->office->desk) == 0 && office_is_idle(l->office);
}

/* Between two runs of the world nobody else has the desk run. */
static void nudge(struct life *l)
{
    sim_world_set_lodger(l->office->world, &l->office->lodger);
}

static void run(struct life *l, duration_ns ns)
{
    nudge(l);
    if (sim_world_run(l->office->world, instant_add(office_now(l->office), ns)) == SIM_STUCK)
        life_wrong(l, "P5: the world is stuck");
}

/* With grace, then forced, then until all is written. */
static void stop_gracefully(struct life *l)
{
    l->tally->stops++;
    run(l, rng_range(&l->rng, 0, 5 * NS_PER_S));
    desk_end_running(l->office->desk, office_now(l->office));
    for (int i = 0; i < 1000 && !l->wrong[0] && !is_still(l); i++)
        run(l, NS_PER_S);
    if (!l->wrong[0] && !is_still(l))
        life_wrong(l, "P8: it does not stop");
}

static void restart(struct life *l)
{
    bool stopped = l->stop;
    int64_t wall_ns;

    l->crash = l->stop = false;
    if (stopped)
        stop_gracefully(l);
    else
        l->tally->crashes++;
    if (l->wrong[0])
        return;
    wall_ns = life_wall(l) + (int64_t)below(l, one_in(l, 2) ? NS_PER_MS : 10 * NS_PER_S);
    close_office(l);
    open_office(l, wall_ns);
    if (stopped && l->office->put_back > 0)
        life_wrong(l, "P8: something is left running after a stop");
    if (l->done < l->options.operations)
        plan_walk(l);
}

/* Takes out of the way what is in it. */
static void clear_the_way(struct life *l)
{
    struct instant now = office_now(l->office);

    tell_time(l);
    memory_registry_fail_next(l->registry, 0);
    desk_set_global_limit(l->office->desk, 0, now);
    l->watch->global_limit = 0;
    for (size_t i = 0; i < WATCH_SLOTS; i++)
        life_set_slots(l, i, 4);
    for (size_t i = 0; i < POOLS && !l->wrong[0]; i++) {
        struct life_pool *p = &l->pools[i];

        if (!p->there)
            life_add_pool(l, p);
        if (!p->there)
            continue; /* the witness knows enough pools */
        life_enable(l, p, true);
        p->desk.cpu_milli = p->desk.memory_mib = 0;
        p->desk.reserve = (struct permit_reserve){0};
        life_change(l, p);
    }
    (void)desk_set_default_pool(l->office->desk, "p0");
}

/* Tasks that have not ended. What waits for what can never be is ended, as a person would. */
static size_t help(struct life *l, bool all)
{
    struct registry_reader *r = l->watch->reader;
    size_t left = 0;

    tell_time(l);
    for (uint64_t id = 1; id <= l->watch->task_last; id++) {
        struct registry_view v;

        if (watch_task(l->watch, id)->state >= WATCH_DONE ||
            r->ops->task(r, id, false, &v, NULL) != WEIR_OK)
            continue;
        left++;
        if (all && v.state == REGISTRY_BLOCKED)
            life_resolve(l, id, REGISTRY_RESOLVE_CANCEL);
        else if (all && v.state == REGISTRY_READY && slice_equal(v.line.pool, SLICE("nowhere")))
            life_cancel(l, id);
    }
    return left;
}

static void say_what_is_left(struct life *l)
{
    for (uint64_t id = 1; id <= l->watch->task_last && !l->wrong[0]; id++) {
        enum permit_block block;
        char text[160];

        if (watch_task(l->watch, id)->state >= WATCH_DONE)
            continue;
        snprintf(text, sizeof text, "P1: task %llu has not ended; state %d, why %d",
                 (unsigned long long)id, (int)watch_task(l->watch, id)->state,
                 (int)desk_why(l->office->desk, id, &block));
        life_wrong(l, text);
    }
}

static void run_out(struct life *l)
{
    clear_the_way(l);
    for (int i = 0; i < 400 && !l->wrong[0]; i++) {
        run(l, 20 * NS_PER_S);
        if (help(l, i >= 10) == 0 && is_still(l))
            break;
    }
    if (l->wrong[0])
        return;
    say_what_is_left(l);
    if (!is_still(l))
        life_wrong(l, "I1: something runs, or is not written, after the end");
    watch_over(l->watch);
    if (watch_wrong(l->watch))
        life_wrong(l, watch_wrong(l->watch));
}

/* Each task that is done has the output of an attempt of its own. */
static void check_results(struct life *l)
{
    struct registry_reader *r = l->watch->reader;

    for (uint64_t id = 1; id <= l->watch->task_last && !l->wrong[0]; id++) {
        struct registry_view v;

        if (r->ops->task(r, id, true, &v, NULL) != WEIR_OK)
            continue;
        if (v.attempts != watch_task(l->watch, id)->attempts)
            life_wrong(l, "I5: a task has another number of attempts than were recorded");
        if (v.state == REGISTRY_DONE && !v.has_result)
            life_wrong(l, "I5: a task is done, and has no result");
    }
}

static void begin(struct life *l)
{
    struct office_options *o = &l->office_options;

    rng_seed(&l->rng, l->options.seed);
    if (memory_registry_new(&l->registry, NULL) != WEIR_OK)
        assert(!"no registry");
    l->watch = watch_new(l->registry);
    l->watch->loud = l->options.loud;
    l->watcher = (struct office_watcher){
        .committed = committed, .step = after_step, .pool_gone = pool_gone, .ctx = l};
    o->watcher = &l->watcher;
    o->loud = l->options.loud;
    o->schedule.policy = (enum schedule_policy)below(l, SCHEDULE_POLICIES);
    o->schedule.ageing = one_in(l, 2) ? 0 : rng_unit(&l->rng) * 100;
    o->global_limit = one_in(l, 2) ? 1 + below(l, 12) : 0;
    o->deaths_max = one_in(l, 2) ? 1 + (uint32_t)below(l, 3) : 0;
    o->gather_max_ns = (duration_ns)below(l, UINT64_C(1) << below(l, 28));
    o->commit_max_ns = (duration_ns)below(l, UINT64_C(1) << below(l, 30));
    o->mail_max_ns = (duration_ns)below(l, UINT64_C(1) << below(l, 28));
    o->short_of_memory = one_in(l, 3) ? (unsigned)below(l, 300) : 0;
    for (size_t i = 0; i < POOLS; i++) {
        life_draw_pool(l, i);
        l->pools[i].there = i < 1 + below(l, POOLS);
    }
    for (size_t i = 0; i < WATCH_SLOTS; i++)
        l->watch->slots[i] = (uint32_t)below(l, 4);
    open_office(l, INT64_C(1700000000) * NS_PER_S);
    plan_walk(l);
}

bool life_live(const struct life_options *o, struct life_tally *tally, uint64_t *ret_hash,
               char ret_wrong[LIFE_WRONG_BYTES])
{
    struct life *l = mem_calloc(1, sizeof *l);
    bool ok;

    assert(l);
    l->options = *o;
    l->tally = tally;
    begin(l);
    while (l->done < o->operations && !l->wrong[0]) {
        run(l, 1000 * NS_PER_S);
        if (!l->wrong[0] && (l->crash || l->stop))
            restart(l);
    }
    if (!l->wrong[0])
        run_out(l);
    check_results(l);
    tally->begun += l->watch->begun;
    tally->abandoned += l->watch->abandoned;
    tally->strays += l->watch->strays;
    tally->lates_of_lost += l->watch->lates_of_lost;
    tally->broken += l->watch->broken;
    tally->kept_waiting += l->watch->kept_waiting;
    for (size_t i = 0; i < REGISTRY_EVENT_KINDS; i++)
        tally->kinds[i] += l->watch->kinds[i];
    *ret_hash = l->watch->hash;
    ok = !l->wrong[0];
    memcpy(ret_wrong, l->wrong, sizeof l->wrong);
    close_office(l);
    watch_free(l->watch);
    l->registry->ops->close(l->registry);
    mem_free(l);
    return ok;
}
