/* See life.h. */
#include "simulation/desk/life.h"

#include "base/mem.h"
#include "core/worker/recovery.h"
#include "simulation/desk/office.h"
#include "simulation/desk/watch.h"
#include "store/registry/memory_registry.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define POOLS   4
#define SPECS   6
#define AFTER   3
#define TENANTS 3

struct life;

/* A pool as it is to be made again after a restart. */
struct life_pool {
    struct life *life;
    char name[4];
    bool there, crew;
    struct core_pool_options core;
    struct desk_pool_options desk;
    struct office_model model;
    struct sim_workers_options workers;
    struct watch_pool *watch; /* of the one that is there now */
};

struct life {
    struct life_options options;
    struct rng rng;
    struct life_tally *tally;
    struct core_registry *registry;
    struct office *office;
    struct watch *watch;
    struct office_watcher watcher;
    struct office_options office_options;
    struct life_pool pools[POOLS];
    struct sim_event walk;
    uint64_t done, batches;
    uint64_t last_token;
    bool crash, stop;
    char wrong[LIFE_WRONG_BYTES];
};

/* An op of a user with all that it points to. */
struct order {
    struct registry_op op;
    struct life *life;
    struct registry_spec specs[SPECS];
    struct registry_after after[SPECS][AFTER];
    char keys[SPECS][24], payloads[SPECS][8];
    uint64_t ids[SPECS];
    bool existing[SPECS];
    int32_t priority;
    int64_t when;
    uint64_t batch_last; /* the last task when it was sent */
};

static uint64_t below(struct life *l, uint64_t n)
{
    return rng_below(&l->rng, n);
}

static bool one_in(struct life *l, uint64_t n)
{
    return below(l, n) == 0;
}

static void wrong(struct life *l, const char *what)
{
    if (!l->wrong[0])
        snprintf(l->wrong, sizeof l->wrong, "%.300s (at %.6f s)", what,
                 l->office ? duration_seconds(office_now(l->office).ns) - 1000 : -1.0);
}

static int64_t wall(const struct life *l)
{
    return office_wall_ns(l->office);
}

/* ---- what the witness is told ---- */

static void tell_time(struct life *l)
{
    l->watch->now = office_now(l->office);
    l->watch->wall_ns = wall(l);
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
        wrong(p->life, "a token was given twice");
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
        wrong(l, what);
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
            wrong(l, "I1: a pool is gone, and something of it runs");
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
        wrong(l, what);
    watch_step(l->watch);
    if (watch_wrong(l->watch))
        wrong(l, watch_wrong(l->watch));
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
    p->workers.seed = rng_u64(r);
    p->workers.never_allowed = p->core.timeout_ns > 0;
    p->workers.good = one_in(l, 3);
    p->workers.given = began;
    p->workers.ended = ended;
}

static void draw_limits(struct life *l, struct life_pool *p)
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
    d->tells_began = !p->crew && one_in(l, 3);
    p->model.tells_began = d->tells_began;
    d->heartbeat_timeout_ns = one_in(l, 2) ? rng_range(&l->rng, NS_PER_MS, 3 * NS_PER_S) : 0;
}

static void draw_pool(struct life *l, size_t i)
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
    draw_limits(l, p);
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

static void add_pool(struct life *l, struct life_pool *p)
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
        wrong(l, err.message);
        return;
    }
    p->watch->desk = d;
    p->watch->core = desk_core_pool(d);
    p->there = true;
}

/* ---- offices, one after the other ---- */

static void walk(struct sim_world *w, struct sim_event *ev);

static void plan_walk(struct life *l)
{
    duration_ns most =
        one_in(l, 2) ? 0 : (duration_ns)below(l, UINT64_C(1) << (10 + below(l, 22)));

    sim_world_plan(l->office->world, &l->walk, instant_add(office_now(l->office), most));
}

static void set_slots(struct life *l, size_t kind, uint32_t count)
{
    char name[4];

    snprintf(name, sizeof name, "s%zu", kind);
    if (desk_set_slots(l->office->desk, name, count, NULL) != WEIR_OK)
        wrong(l, "slots could not be set");
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
            add_pool(l, &l->pools[i]);
    (void)desk_set_default_pool(l->office->desk, "p0");
    for (size_t i = 0; i < WATCH_SLOTS; i++)
        set_slots(l, i, l->watch->slots[i]);
    for (size_t i = 0; i < TENANTS; i++)
        (void)desk_set_weight(l->office->desk, slice_of(tenants[i]), 1 + (double)below(l, 7));
    sim_event_init(&l->walk, walk);
    office_begin(l->office);
}

static void close_office(struct life *l)
{
    l->tally->folds += l->office->folds;
    l->tally->write_failures += l->office->failures;
    l->office = office_close(l->office);
    watch_restarted(l->watch);
}

/* ---- orders ---- */

static void order_done(struct registry_op *op)
{
    struct order *o = (struct order *)(void *)op;
    struct life *l = o->life;
    bool ok = op->err.status == WEIR_OK;

    switch (op->kind) {
    case REGISTRY_SUBMIT:
        l->tally->refused_submits += !ok;
        for (size_t i = 0; ok && i < op->submit.count; i++) {
            l->tally->submitted += !o->existing[i];
            l->tally->existing += o->existing[i];
            if (!o->existing[i])
                watch_submitted(l->watch, o->ids[i], &o->specs[i], o->ids);
        }
        break;
    case REGISTRY_CANCEL:
        if (!ok)
            break;
        l->tally->cancels_acked++;
        if (op->cancel.task != 0)
            watch_cancelled(l->watch, op->cancel.task, false);
        for (uint64_t id = 1; op->cancel.batch != 0 && id <= o->batch_last; id++)
            if (watch_task(l->watch, id)->batch == op->cancel.batch)
                watch_cancelled(l->watch, id, true);
        break;
    case REGISTRY_EDIT:
        l->tally->edits_done += ok;
        if (ok)
            watch_edited(l->watch, op->edit.task, &op->edit);
        break;
    case REGISTRY_RETRY:
        l->tally->retries_done += ok;
        break;
    case REGISTRY_RESOLVE:
        l->tally->resolved += ok;
        if (ok && op->resolve.how == REGISTRY_RESOLVE_RUN)
            watch_resolved(l->watch, op->resolve.task);
        break;
    case REGISTRY_BATCH_OPEN:
        if (ok)
            l->batches = op->batch_open.ret_id;
        break;
    default:
        break;
    }
    mem_free(op->ret_ready);
    mem_free(op->ret_lines);
    mem_free(o);
}

static struct order *new_order(struct life *l, enum registry_op_kind kind)
{
    struct order *o = mem_calloc(1, sizeof *o);

    assert(o);
    o->life = l;
    o->op.kind = kind;
    o->op.done = order_done;
    o->batch_last = l->watch->task_last;
    return o;
}

static void send(struct order *o)
{
    if (o->life->options.loud)
        fprintf(stderr, "%12.6f sends op %d task %llu\n",
                duration_seconds(office_now(o->life->office).ns) - 1000, (int)o->op.kind,
                (unsigned long long)(o->op.kind == REGISTRY_CANCEL   ? o->op.cancel.task
                                     : o->op.kind == REGISTRY_RETRY  ? o->op.retry.task
                                     : o->op.kind == REGISTRY_EDIT   ? o->op.edit.task
                                     : o->op.kind == REGISTRY_DELETE ? o->op.remove.task
                                     : o->op.kind == REGISTRY_RESOLVE
                                         ? o->op.resolve.task
                                         : 0));
    office_send(o->life->office, &o->op);
}

static uint64_t some_task(struct life *l)
{
    uint64_t last = l->watch->task_last;

    if (last == 0)
        return 1;
    return one_in(l, 2) ? 1 + below(l, last + 1) : last - below(l, last < 10 ? last : 10);
}

static int64_t some_time(struct life *l, duration_ns most)
{
    return wall(l) + (int64_t)below(l, (uint64_t)most) - most / 8;
}

static void draw_line(struct life *l, struct registry_line *line)
{
    static const char *const pools[] = {"p0", "p1", "p2", "p3", "nowhere"};
    static const char *const skills[] = {"gpu", "net", "none"};
    static const char *const tenants[TENANTS] = {"x", "y", "z"};
    static const char *const sessions[] = {"a", "b", "c", "d"};
    static const char *const slots[] = {"s0", "s1", "s0,s1", "s2", "s1,s2,s3", "s3"};

    line->priority = one_in(l, 2) ? 0 : (int32_t)below(l, 5) - 2;
    if (one_in(l, 2))
        line->pool = slice_of(pools[below(l, one_in(l, 20) ? 5 : 4)]);
    else if (one_in(l, 3))
        line->skill = slice_of(skills[below(l, one_in(l, 10) ? 3 : 2)]);
    if (one_in(l, 2))
        line->tenant = slice_of(tenants[below(l, TENANTS)]);
    if (one_in(l, 4))
        line->session = slice_of(sessions[below(l, 4)]);
    if (one_in(l, 5))
        line->slots = slice_of(slots[below(l, 6)]);
    line->cpu_milli = one_in(l, 4) ? (uint32_t)below(l, 1500) : 0;
    line->memory_mib = one_in(l, 6) ? (uint32_t)below(l, 150) : 0;
}

static void draw_spec(struct life *l, struct order *o, size_t i, size_t count)
{
    struct registry_spec *s = &o->specs[i];

    draw_line(l, &s->line);
    snprintf(o->payloads[i], sizeof o->payloads[i], one_in(l, 100) ? "bad" : "work");
    s->payload = slice_of(o->payloads[i]);
    if (one_in(l, 6)) {
        snprintf(o->keys[i], sizeof o->keys[i], "i%u", (unsigned)below(l, 40));
        s->idempotency_key = slice_of(o->keys[i]);
    }
    if (l->batches > 0 && one_in(l, 3)) {
        s->batch = 1 + below(l, l->batches);
        s->place = below(l, 100);
    }
    s->after = o->after[i];
    s->after_count = one_in(l, 4) ? (uint32_t)below(l, AFTER + 1) : 0;
    for (uint32_t n = 0; n < s->after_count; n++)
        o->after[i][n] = one_in(l, 2) && count > 1
                             ? (struct registry_after){.sibling = (uint32_t)below(l, count)}
                             : (struct registry_after){.id = some_task(l)};
    s->run_after_failure = one_in(l, 2);
    s->max_attempts = one_in(l, 3) ? 1 + (uint32_t)below(l, 3) : 0;
    s->timeout_ns = one_in(l, 6) ? rng_range(&l->rng, 1, 2 * NS_PER_S) : 0;
    if (one_in(l, 8))
        s->not_before_ns = some_time(l, 8 * NS_PER_S);
    if (one_in(l, 8))
        s->deadline_ns = some_time(l, 20 * NS_PER_S);
}

static void do_submit(struct life *l)
{
    struct order *o = new_order(l, REGISTRY_SUBMIT);
    size_t count = one_in(l, 2) ? 1 : 1 + below(l, SPECS);

    for (size_t i = 0; i < count; i++)
        draw_spec(l, o, i, count);
    o->op.submit = (struct registry_submit){
        .specs = o->specs, .count = count, .ret_ids = o->ids, .ret_existing = o->existing};
    send(o);
}

static void cancel(struct life *l, uint64_t id)
{
    struct order *o = new_order(l, REGISTRY_CANCEL);

    o->op.cancel.task = id;
    send(o);
}

static void do_cancel(struct life *l)
{
    struct order *o;

    if (l->batches == 0 || !one_in(l, 6)) {
        cancel(l, some_task(l));
        return;
    }
    o = new_order(l, REGISTRY_CANCEL);
    o->op.cancel.batch = 1 + below(l, l->batches);
    send(o);
}

static void do_retry(struct life *l)
{
    struct order *o = new_order(l, REGISTRY_RETRY);

    if (l->batches > 0 && one_in(l, 6))
        o->op.retry.batch = 1 + below(l, l->batches);
    else
        o->op.retry.task = some_task(l);
    send(o);
}

static void do_edit(struct life *l)
{
    struct order *o = new_order(l, REGISTRY_EDIT);
    struct registry_edit *e = &o->op.edit;

    e->task = some_task(l);
    if (one_in(l, 2)) {
        o->priority = (int32_t)below(l, 7) - 3;
        e->priority = &o->priority;
    }
    if (one_in(l, 4)) {
        o->when = some_time(l, 8 * NS_PER_S);
        e->not_before_ns = &o->when;
    }
    if (one_in(l, 4)) {
        o->after[0][0].id = some_task(l);
        e->after = o->after[0];
        e->after_count = 1;
    }
    send(o);
}

static void do_remove(struct life *l)
{
    struct order *o = new_order(l, REGISTRY_DELETE);

    o->op.remove.task = some_task(l);
    send(o);
}

static void resolve(struct life *l, uint64_t id, enum registry_resolve how)
{
    struct order *o = new_order(l, REGISTRY_RESOLVE);

    o->op.resolve.task = id;
    o->op.resolve.how = how;
    send(o);
}

static void do_resolve(struct life *l)
{
    resolve(l, some_task(l), one_in(l, 2) ? REGISTRY_RESOLVE_RUN : REGISTRY_RESOLVE_CANCEL);
}

static void do_batch(struct life *l)
{
    struct order *o;

    if (l->batches > 0 && one_in(l, 3)) {
        o = new_order(l, REGISTRY_BATCH_END);
        o->op.batch_end.batch = 1 + below(l, l->batches);
    } else if (l->batches < 6) {
        o = new_order(l, REGISTRY_BATCH_OPEN);
        o->op.batch_open.name = SLICE("batch");
    } else {
        o = new_order(l, REGISTRY_CHECK);
    }
    send(o);
}

/* ---- what is done to the desk ---- */

struct pick {
    struct life *life;
    uint64_t token, seen;
};

static void pick_one(void *ctx, const struct desk_attempt *a)
{
    struct pick *p = ctx;

    if (below(p->life, ++p->seen) == 0)
        p->token = a->token;
}

static void do_kill(struct life *l)
{
    struct pick p = {.life = l};

    desk_attempts(l->office->desk, pick_one, &p);
    if (p.token == 0)
        return;
    l->tally->kills++;
    if (!desk_kill(l->office->desk, p.token, "killed by hand", office_now(l->office)))
        wrong(l, "an attempt that runs is not there");
}

static void do_beat(struct life *l)
{
    struct pick p = {.life = l};

    desk_attempts(l->office->desk, pick_one, &p);
    if (p.token != 0)
        (void)desk_beat(l->office->desk,
                        &(struct core_heartbeat){.token = p.token, .progress = rng_unit(&l->rng)},
                        office_now(l->office));
}

static struct life_pool *some_pool(struct life *l)
{
    struct life_pool *p = &l->pools[below(l, POOLS)];

    return p->there ? p : NULL;
}

static void enable(struct life *l, struct life_pool *p, bool enabled)
{
    desk_enable_pool(l->office->desk, p->watch->desk, enabled, office_now(l->office));
    p->watch->enabled = enabled;
}

static void do_enable(struct life *l)
{
    struct life_pool *p = some_pool(l);

    if (p)
        enable(l, p, one_in(l, 2));
}

static void do_limit(struct life *l)
{
    struct life_pool *p = some_pool(l);
    size_t limit = 1 + below(l, 8);

    if (one_in(l, 3)) {
        l->office_options.global_limit = one_in(l, 4) ? 0 : 1 + below(l, 12);
        desk_set_global_limit(l->office->desk, l->office_options.global_limit,
                              office_now(l->office));
        l->watch->global_limit = l->office_options.global_limit;
        return;
    }
    /* A modelled crew has as many processes as it was made with. */
    if (!p || (p->crew && limit > p->core.size))
        return;
    if (desk_set_limit(l->office->desk, p->watch->desk, limit, office_now(l->office), NULL) !=
        WEIR_OK)
        wrong(l, "a limit could not be set");
    p->watch->limit = limit;
    if (!p->crew)
        p->core.size = limit;
}

static void change(struct life *l, struct life_pool *p)
{
    if (desk_change_pool(l->office->desk, p->watch->desk, &p->desk, office_now(l->office), NULL) !=
        WEIR_OK)
        wrong(l, "a pool could not be changed");
    p->watch->burst_places = p->desk.burst_places;
    p->watch->cpu_milli = p->desk.cpu_milli;
    p->watch->memory_mib = p->desk.memory_mib;
    p->watch->reserve = p->desk.reserve;
}

static void do_change(struct life *l)
{
    struct life_pool *p = some_pool(l);

    if (!p)
        return;
    draw_limits(l, p);
    change(l, p);
}

static void do_pool(struct life *l)
{
    struct life_pool *p = &l->pools[below(l, POOLS)];

    if (p->there) {
        if (!one_in(l, 3))
            return;
        p->there = false;
        p->watch->leaving = true;
        desk_remove_pool(l->office->desk, p->watch->desk, office_now(l->office));
    } else {
        if (one_in(l, 2))
            draw_pool(l, (size_t)(p - l->pools));
        add_pool(l, p);
        (void)desk_set_default_pool(l->office->desk, "p0");
    }
}

static void do_policy(struct life *l)
{
    static const char *const tenants[TENANTS] = {"x", "y", "z"};
    struct schedule_options *o = &l->office_options.schedule;

    if (one_in(l, 3)) {
        (void)desk_set_weight(l->office->desk, slice_of(tenants[below(l, TENANTS)]),
                              0.5 + rng_unit(&l->rng) * 8);
        return;
    }
    o->policy = (enum schedule_policy)below(l, SCHEDULE_POLICIES);
    o->ageing = one_in(l, 2) ? 0 : rng_unit(&l->rng) * 100;
    desk_set_schedule(l->office->desk, o, office_now(l->office));
}

static void do_slots(struct life *l)
{
    set_slots(l, below(l, WATCH_SLOTS), (uint32_t)below(l, 5));
}

static void do_fail(struct life *l)
{
    memory_registry_fail_next(l->registry, 1 + below(l, one_in(l, 4) ? 8 : 2));
}

static void do_clock(struct life *l)
{
    int64_t by_ns = rng_range(&l->rng, -20 * NS_PER_S, 20 * NS_PER_S);

    l->office->wall_offset_ns += by_ns;
    l->watch->set_back |= by_ns < 0;
    l->tally->clock_set++;
}

static void do_crash(struct life *l)
{
    l->crash = true;
}

static void do_stop(struct life *l)
{
    l->stop = true;
    l->watch->stopped = true;
    desk_stop(l->office->desk);
}

static const struct {
    unsigned share;
    void (*run)(struct life *l);
} deeds[] = {
    {400, do_submit}, {100, do_cancel}, {80, do_retry},  {90, do_edit},  {20, do_remove},
    {20, do_resolve}, {30, do_batch},   {60, do_kill},   {40, do_beat},  {30, do_enable},
    {40, do_limit},   {30, do_change},  {15, do_pool},   {15, do_policy}, {20, do_slots},
    {20, do_fail},    {5, do_clock},    {6, do_crash},   {4, do_stop},
};

static void do_something(struct life *l)
{
    unsigned sum = 0, at;

    for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++)
        sum += deeds[i].share;
    at = (unsigned)below(l, sum);
    for (size_t i = 0;; i++) {
        if (at < deeds[i].share) {
            deeds[i].run(l);
            return;
        }
        at -= deeds[i].share;
    }
}

static void walk(struct sim_world *w, struct sim_event *ev)
{
    struct life *l = list_entry(ev, struct life, walk);

    (void)w;
    tell_time(l);
    do_something(l);
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
        wrong(l, "P5: the world is stuck");
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
        wrong(l, "P8: it does not stop");
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
    wall_ns = wall(l) + (int64_t)below(l, one_in(l, 2) ? NS_PER_MS : 10 * NS_PER_S);
    close_office(l);
    open_office(l, wall_ns);
    if (stopped && l->office->put_back > 0)
        wrong(l, "P8: something is left running after a stop");
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
        set_slots(l, i, 4);
    for (size_t i = 0; i < POOLS && !l->wrong[0]; i++) {
        struct life_pool *p = &l->pools[i];

        if (!p->there)
            add_pool(l, p);
        enable(l, p, true);
        p->desk.cpu_milli = p->desk.memory_mib = 0;
        p->desk.reserve = (struct permit_reserve){0};
        change(l, p);
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
            resolve(l, id, REGISTRY_RESOLVE_CANCEL);
        else if (all && v.state == REGISTRY_READY && slice_equal(v.line.pool, SLICE("nowhere")))
            cancel(l, id);
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
        snprintf(text, sizeof text, "P1: task %llu has not ended; state %d, why %d", (unsigned long long)id,
                 (int)watch_task(l->watch, id)->state,
                 (int)desk_why(l->office->desk, id, &block));
        wrong(l, text);
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
        wrong(l, "I1: something runs, or is not written, after the end");
    watch_over(l->watch);
    if (watch_wrong(l->watch))
        wrong(l, watch_wrong(l->watch));
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
            wrong(l, "I5: a task has another number of attempts than were recorded");
        if (v.state == REGISTRY_DONE && !v.has_result)
            wrong(l, "I5: a task is done, and has no result");
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
    for (size_t i = 0; i < POOLS; i++) {
        draw_pool(l, i);
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
