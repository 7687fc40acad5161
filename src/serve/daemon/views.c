/*
 * What somebody wants to see: copied on the engine's thread into memory of the call, then handed to
 * the caller.
 */
#include "base/error.h"
#include "base/mem.h"
#include "core/worker/crew.h"
#include "loop/loop.h"
#include "serve/api/arena.h"
#include "serve/api/utilisation.h"
#include "serve/daemon/internal.h"
#include "serve/pools/poolset.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* A list that grows in an arena: chunks are not moved, so that nothing has to be known beforehand. */
struct copies {
    struct engine_tasks *tasks;
    struct arena arena;
    struct copy *first, **tail;
    bool failed;      /* no memory */
    const char *only; /* a pool's name; NULL: all */
    char *default_pool;
};

struct copy {
    struct copy *next;
    union {
        struct api_pool pool;
        struct api_worker worker;
        struct api_runner runner;
        struct api_slots slots;
    };
};

static struct copy *add(struct copies *c)
{
    struct copy *copy = arena_alloc(&c->arena, sizeof *copy);

    if (!copy) {
        c->failed = true;
        return NULL;
    }
    memset(copy, 0, sizeof *copy);
    *c->tail = copy;
    c->tail = &copy->next;
    return copy;
}

static const char *text(struct copies *c, const char *s)
{
    char *copy = arena_copy(&c->arena, s, strlen(s));

    c->failed |= !copy;
    return copy ? copy : "";
}

static struct slice text_slice(struct copies *c, struct slice s)
{
    char *copy = arena_copy(&c->arena, s.data, s.len);

    c->failed |= !copy;
    return copy ? (struct slice){copy, s.len} : (struct slice){"", 0};
}

static void begin(struct copies *c, struct api_backend *b)
{
    *c = (struct copies){.tasks = backend_of(b)->tasks};
    c->tail = &c->first;
}

static enum weir_status end(struct copies *c, enum weir_status status, struct weir_error *err)
{
    arena_free(&c->arena);
    return c->failed ? error_nomem(err) : status;
}

static int64_t wall_of(struct instant t, struct instant now)
{
    return instant_is_none(t) ? 0 : loop_wall_clock_ns() - instant_diff(now, t);
}

/* ---- pools ---- */

static void copy_flow(struct copies *c, struct api_pool *to, const struct core_pool *core,
                      struct instant now)
{
    const struct throttle_state *t = core_pool_throttle(core);
    const struct core_pool_options *o = core_pool_get_options(core);
    struct instant held = core_pool_held_until(core);
    struct core_stats stats;

    (void)c;
    dispatcher_pool_stats(core, &stats);
    if (o->gate.throttle.kind != THROTTLE_NONE) {
        to->throttle_kind = throttle_kind_name(o->gate.throttle.kind);
        to->throttle_rate_per_s = isfinite(t->rate_rps) ? t->rate_rps : -1;
        to->throttle_delay_s = duration_seconds(t->delay_ns);
        to->throttle_limit = t->window == SIZE_MAX ? -1 : (double)t->window;
        to->throttle_reason = throttle_reason_name(t->reason);
    }
    if (o->breaker.on)
        to->breaker_state = breaker_state_name(stats.breaker);
    to->held_s = instant_before(now, held) ? instant_seconds(held, now) : 0;
}

static void copy_sessions(struct api_pool *to, struct crew *crew, const struct desk_counts *counts,
                          const struct api_pool *old)
{
    struct affinity_counts a = affinity_counts(crew_affinity(crew));

    to->sessions_bound = a.bound;
    to->session_hits = a.hits + counts->before.session_hits + old->session_hits;
    to->session_misses = a.misses + counts->before.session_misses + old->session_misses;
    to->session_rebinds = a.rebinds + counts->before.session_rebinds + old->session_rebinds;
    to->session_expiries = a.expiries + counts->before.session_expiries + old->session_expiries;
}

static void copy_crew(struct api_pool *to, struct crew *crew)
{
    struct crew_counts n = crew_counts(crew);

    to->has_workers = true;
    to->workers_total = n.workers;
    to->workers_idle = n.by_state[WORKER_READY];
    to->workers_busy = n.by_state[WORKER_BUSY];
    to->workers_starting = n.by_state[WORKER_INITIALIZING];
    to->workers_unhealthy = n.by_health[HEALTH_UNHEALTHY];
}

static void copy_skills(struct copies *c, struct api_pool *to, const struct desk_pool_options *o)
{
    const char **skills = arena_alloc(&c->arena, (o->skill_count + 1) * sizeof *skills);

    if (!skills) {
        c->failed = true;
        return;
    }
    for (size_t i = 0; i < o->skill_count; i++)
        skills[i] = text(c, o->skills[i]);
    to->skills = skills;
    to->skill_count = o->skill_count;
}

/* The pool of that name that was replaced and still runs something: the name stands once, with what both have. */
static struct copy *find_copy(struct copies *c, const char *name)
{
    for (struct copy *copy = c->first; copy; copy = copy->next)
        if (strcmp(copy->pool.name, name) == 0)
            return copy;
    return NULL;
}

static void copy_pool(struct copies *c, struct desk_pool *p, struct instant now)
{
    struct core_pool *core = desk_core_pool(p);
    const struct desk_pool_options *o = desk_pool_get_options(p);
    const struct permit_account *a;
    struct copy *copy;
    struct api_pool *to, old = {0};

    if (!core || (c->only && strcmp(core_pool_get_options(core)->name, c->only) != 0))
        return;
    copy = find_copy(c, core_pool_get_options(core)->name);
    if (copy)
        old = copy->pool;
    else if (!(copy = add(c)))
        return;
    to = &copy->pool;
    *to = (struct api_pool){0};
    a = core_pool_permits(core);
    to->name = text(c, core_pool_get_options(core)->name);
    to->kind = core_pool_kind(core);
    to->enabled = desk_pool_enabled(p) && !desk_pool_leaves(p);
    to->draining = !to->enabled && a->running > 0;
    to->is_default = c->default_pool && strcmp(c->default_pool, to->name) == 0;
    to->max_concurrency = poolset_max_concurrency(o->ctx, a->limit);
    to->limit_by_hand = poolset_by_hand(o->ctx);
    to->limit = permit_limit(a);
    to->running = a->running + old.running;
    to->utilisation = utilisation_of((double)to->running, (double)to->limit);
    to->cpu_milli = a->cpu_milli + old.cpu_milli;
    to->cpu_milli_limit = a->cpu_milli_limit;
    to->memory_mib = a->memory_mib + old.memory_mib;
    to->memory_mib_limit = a->memory_mib_limit;
    to->reserve_min_priority = a->reserve.min_priority;
    to->reserve_share = a->reserve.share;
    to->burst_places = a->burst.places;
    to->burst_seconds = a->burst.seconds;
    copy_skills(c, to, o);
    copy_flow(c, to, core, now);
    if (core_pool_crew(core)) {
        copy_crew(to, core_pool_crew(core));
        copy_sessions(to, core_pool_crew(core), desk_pool_counts(p), &old);
    }
    for (size_t i = 0; i < API_OUTCOMES; i++)
        to->attempts[i] = desk_pool_counts(p)->outcomes[i] + old.attempts[i];
}

struct pools_look {
    struct copies *copies;
    struct instant now;
};

static void on_pool(void *ctx, struct desk_pool *p)
{
    struct pools_look *l = ctx;

    copy_pool(l->copies, p, l->now);
}

struct status_look {
    struct backend *backend;
    struct api_status *ret;
};

static void look_at_status(struct desk *d, struct instant now, void *ctx)
{
    struct status_look *l = ctx;
    const struct schedule_options *o = desk_get_schedule(d);
    const struct permits *p = desk_permits(d);
    struct api_status *to = l->ret;

    to->uptime_s = instant_seconds(now, l->backend->started_at);
    to->dispatcher = (struct api_dispatcher){
        .policy = schedule_policy_name(o->policy),
        .ageing = o->ageing,
        .max_global_concurrency = p->limit == PERMITS_UNLIMITED ? 0 : p->limit,
    };
    to->running = p->running;
    to->utilisation =
        utilisation_of((double)p->running, (double)to->dispatcher.max_global_concurrency);
}

static void begin_status(const struct backend *b, struct api_status *ret)
{
    *ret = (struct api_status){.stopping = atomic_load(&b->stopping), .started_ns = b->started_ns};
}

static void look_at_store(struct backend *b, struct api_status *ret)
{
    struct engine_tasks_stats stats;

    engine_tasks_get_stats(b->tasks, &stats);
    ret->store_failing = stats.clerk.failing;
    memcpy(ret->store_message, stats.clerk.message, sizeof ret->store_message);
    ret->store_waiting = stats.clerk.waiting;
    if (stats.clerk.groups > 0)
        ret->commit_ms = duration_ms(stats.clerk.commit_ns) / (double)stats.clerk.groups;
}

struct all_look {
    struct copies *copies;
    struct status_look status; /* ret NULL: not asked for */
};

static void look_at_pools(struct desk *d, struct instant now, void *ctx)
{
    struct all_look *l = ctx;

    if (l->status.ret)
        look_at_status(d, now, &l->status);
    desk_pools(d, on_pool, &(struct pools_look){l->copies, now});
}

enum weir_status view_pools(struct api_backend *b, const char *name, api_pool_fn fn, void *ctx,
                            struct api_status *ret_status, struct weir_error *err)
{
    struct copies c;
    char *default_pool;

    begin(&c, b);
    c.only = name;
    pthread_mutex_lock(&backend_of(b)->lock);
    default_pool = backend_of(b)->default_pool ? mem_strdup(backend_of(b)->default_pool) : NULL;
    pthread_mutex_unlock(&backend_of(b)->lock);
    c.default_pool = default_pool;
    if (ret_status)
        begin_status(backend_of(b), ret_status);
    engine_tasks_call(c.tasks, look_at_pools, &(struct all_look){&c, {backend_of(b), ret_status}});
    if (ret_status)
        look_at_store(backend_of(b), ret_status);
    mem_free(default_pool);
    if (!c.failed && name && !c.first)
        return end(&c, error_set(err, WEIR_E_END, "there is no pool \"%s\"", name), err);
    for (struct copy *p = c.first; p && !c.failed; p = p->next)
        fn(ctx, &p->pool);
    return end(&c, WEIR_OK, err);
}

/* ---- workers ---- */

struct workers_look {
    struct copies *copies;
    struct instant now;
    struct weir_error *err;
    enum weir_status status;
};

static void on_worker(void *ctx, const struct worker *w)
{
    struct workers_look *l = ctx;
    struct copy *copy = add(l->copies);

    if (!copy)
        return;
    copy->worker = (struct api_worker){
        .id = w->id,
        .place = w->place,
        .extra = w->extra,
        .state = worker_state_name(w->life.state),
        .health = worker_health_name(w->health.health),
        .pid = w->pid,
        .started_ns = wall_of(w->started_at, l->now),
        .in_flight = w->in_flight,
        .requests = w->requests,
        .failed = w->failed,
        .memory_bytes = w->memory_bytes,
        .sessions = w->sessions,
        .why = w->why,
    };
}

static void look_at_workers(struct desk *d, struct instant now, void *ctx)
{
    struct workers_look *l = ctx;
    struct desk_pool *p = desk_find_pool(d, l->copies->only);
    struct crew *crew = p ? core_pool_crew(desk_core_pool(p)) : NULL;

    l->now = now;
    l->status = WEIR_OK;
    if (!p)
        l->status = error_set(l->err, WEIR_E_END, "there is no pool \"%s\"", l->copies->only);
    else if (crew)
        crew_each(crew, on_worker, l);
}

enum weir_status view_workers(struct api_backend *b, const char *pool, api_worker_fn fn, void *ctx,
                              struct weir_error *err)
{
    struct copies c;
    struct workers_look l = {.copies = &c, .err = err};

    begin(&c, b);
    c.only = pool;
    engine_tasks_call(c.tasks, look_at_workers, &l);
    for (struct copy *w = c.first; w && !c.failed; w = w->next)
        fn(ctx, &w->worker);
    return end(&c, l.status, err);
}

/* ---- runners ---- */

static void on_attempt(void *ctx, const struct desk_attempt *a)
{
    struct pools_look *l = ctx;
    struct copy *copy = add(l->copies);
    struct api_runner *to;

    if (!copy)
        return;
    to = &copy->runner;
    *to = (struct api_runner){
        .token = a->token,
        .task = a->task->id,
        .key = text(l->copies, a->task->key),
        .attempt = a->number,
        .pool = text(l->copies, core_pool_get_options(desk_core_pool(a->pool))->name),
        .worker = a->runner.worker,
        .pid = a->runner.pid,
        .slot_names = text_slice(l->copies, a->line->slots),
        .started_ns = wall_of(a->started_at, l->now),
        .run_s = instant_seconds(l->now, a->started_at),
        .heartbeat_ns = wall_of(a->beat_at, l->now),
        .progress = a->progress,
        .text = a->progress_text ? text(l->copies, a->progress_text) : NULL,
        .cancelling = a->cancelling,
    };
    memcpy(to->slots, a->slots, sizeof to->slots);
}

static void look_at_attempts(struct desk *d, struct instant now, void *ctx)
{
    desk_attempts(d, on_attempt, &(struct pools_look){ctx, now});
}

enum weir_status view_runners(struct api_backend *b, api_runner_fn fn, void *ctx,
                              struct weir_error *err)
{
    struct copies c;

    begin(&c, b);
    engine_tasks_call(c.tasks, look_at_attempts, &c);
    for (struct copy *r = c.first; r && !c.failed; r = r->next)
        fn(ctx, &r->runner);
    return end(&c, WEIR_OK, err);
}

/* ---- tenants and slots ---- */

/* Tenants that one call looks at: there may be very many, and the engine waits as long. */
#define TENANTS_AT_ONCE 1000

struct tenant_copy {
    struct api_tenant tenant;
    char name[REGISTRY_NAME_BYTES_MAX];
};

/* The first `max` behind `after`, of those that have been looked at. */
struct tenants_page {
    const char *after; /* NULL: from the first */
    struct tenant_copy *copies;
    struct tenant_copy **sorted; /* all of them; the first `count` by name, the rest unused */
    size_t count, max;
    size_t place; /* of what comes next */
    bool more;
};

static int compare_names(struct slice a, struct slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.data, b.data, len) : 0;

    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* Where the name stands, or belongs. */
static size_t place_of(const struct tenants_page *p, struct slice name, bool *ret_found)
{
    size_t low = 0, high = p->count;

    *ret_found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_names(p->sorted[middle]->tenant.name, name);

        *ret_found |= order == 0;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void on_share(void *ctx, const struct schedule_share *s)
{
    struct tenants_page *p = ctx;
    struct tenant_copy *copy;
    bool found;
    size_t at;

    if (p->after && compare_names(s->tenant, slice_of(p->after)) <= 0)
        return;
    at = place_of(p, s->tenant, &found);
    if (at == p->max)
        return;
    if (!found) {
        /* The last one goes, or one that has not been used. */
        copy = p->sorted[p->count < p->max ? p->count++ : p->max - 1];
        memmove(&p->sorted[at + 1], &p->sorted[at], (p->count - 1 - at) * sizeof(copy));
        p->sorted[at] = copy;
    }
    copy = p->sorted[at];
    assert(s->tenant.len <= sizeof copy->name);
    if (s->tenant.len > 0)
        memcpy(copy->name, s->tenant.data, s->tenant.len);
    copy->tenant =
        (struct api_tenant){{copy->name, s->tenant.len}, s->weight, s->had, s->ready, s->running};
}

static void look_at_shares(struct desk *d, struct instant now, void *ctx)
{
    struct tenants_page *p = ctx;

    (void)now;
    p->more = schedule_some_shares(desk_schedule(d), &p->place, TENANTS_AT_ONCE, on_share, p);
}

enum weir_status view_tenants(struct api_backend *b, const char *after, size_t max,
                              api_tenant_fn fn, void *ctx, struct weir_error *err)
{
    struct tenants_page p = {
        .after = after,
        .max = max,
        .copies = mem_calloc(max, sizeof *p.copies),
        .sorted = mem_calloc(max, sizeof *p.sorted),
    };
    enum weir_status status = p.copies && p.sorted ? WEIR_OK : error_nomem(err);

    for (size_t i = 0; i < max && status == WEIR_OK; i++)
        p.sorted[i] = &p.copies[i];
    if (status == WEIR_OK)
        do
            engine_tasks_call(backend_of(b)->tasks, look_at_shares, &p);
        while (p.more);
    for (size_t i = 0; i < p.count; i++)
        fn(ctx, &p.sorted[i]->tenant);
    mem_free(p.sorted);
    mem_free(p.copies);
    return status;
}

static void look_at_slots(struct desk *d, struct instant now, void *ctx)
{
    struct copies *c = ctx;
    struct desk_slots all[DESK_SLOTS_MAX];
    size_t count = desk_slots(d, all, DESK_SLOTS_MAX);

    (void)now;
    for (size_t i = 0; i < count; i++) {
        struct copy *copy = add(c);

        if (copy)
            copy->slots = (struct api_slots){text(c, all[i].name), all[i].count, all[i].taken};
    }
}

enum weir_status view_slots(struct api_backend *b, api_slots_fn fn, void *ctx,
                            struct weir_error *err)
{
    struct copies c;

    begin(&c, b);
    engine_tasks_call(c.tasks, look_at_slots, &c);
    for (struct copy *s = c.first; s && !c.failed; s = s->next)
        fn(ctx, &s->slots);
    return end(&c, WEIR_OK, err);
}

/* ---- status ---- */

void view_status(struct api_backend *api, struct api_status *ret)
{
    struct backend *b = backend_of(api);

    begin_status(b, ret);
    engine_tasks_call(b->tasks, look_at_status, &(struct status_look){b, ret});
    look_at_store(b, ret);
}

/* ---- why a task waits ---- */

struct why_look {
    uint64_t task;
    struct api_why *ret;
};

/* The word for programs, and the words for people. */
static const struct {
    const char *why, *detail;
} whys[] = {
    [SCHEDULE_MAY_RUN] = {NULL, ""},
    [SCHEDULE_NO_POOL] =
        {"no_pool", "no pool has the name or the skill that it asks for; or it names neither, "
                    "and there is no default pool"},
    [SCHEDULE_POOL_DISABLED] = {"pool_disabled", "its pool is disabled"},
    [SCHEDULE_POOL_CLOSED] =
        {"pool_closed",
         "its pool takes nothing just now: throttle, budget, breaker or no free worker"},
    [SCHEDULE_LIMIT] = {"limit", ""},
    [SCHEDULE_SESSION_TAKEN] = {"session_taken", "another task of its session runs"},
    [SCHEDULE_ASIDE] = {"waits",
                        "it waits after a refusal, or for the worker that holds its session"},
};

static const char *const limits[PERMIT_BLOCKS] = {
    [PERMIT_GLOBAL] = "as many attempts run as may in all",
    [PERMIT_POOL] = "as many attempts run as may in its pool",
    [PERMIT_RESERVE] = "what is free in its pool is reserved for higher priorities",
    [PERMIT_CPU] = "its pool's cpu quota is in use",
    [PERMIT_MEMORY] = "its pool's memory quota is in use",
    [PERMIT_SLOT] = "a slot that it needs is taken",
    [PERMIT_NEVER] = "it needs more than its pool has at all",
    [PERMIT_UNKNOWN_SLOT] = "it needs a slot that is not configured",
};

static void look_why(struct desk *d, struct instant now, void *ctx)
{
    struct why_look *l = ctx;
    enum permit_block block;
    enum schedule_why why = desk_why(d, l->task, &block);

    (void)now;
    l->ret->why = why == SCHEDULE_LIMIT ? permit_block_name(block) : whys[why].why;
    snprintf(l->ret->detail, sizeof l->ret->detail, "%s",
             why == SCHEDULE_LIMIT && limits[block] ? limits[block] : whys[why].detail);
}

void view_why(struct api_backend *b, uint64_t task, struct api_why *ret)
{
    *ret = (struct api_why){0};
    engine_tasks_call(backend_of(b)->tasks, look_why, &(struct why_look){task, ret});
}
