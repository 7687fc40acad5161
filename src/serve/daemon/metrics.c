#include "serve/daemon/metrics.h"

#include "base/error.h"
#include "base/locale_c.h"
#include "base/mem.h"
#include "core/worker/crew.h"
#include "observe/exposition.h"
#include "serve/api/utilisation.h"
#include "serve/pools/poolset.h"

#include <stdlib.h>
#include <string.h>

/* A pool as it was when it was asked for. */
struct pool_copy {
    char name[REGISTRY_NAME_BYTES_MAX + 1];
    struct desk_counts counts;
    size_t running, limit, max;
    uint64_t cpu_milli, cpu_milli_limit, memory_mib, memory_mib_limit;
    double rate, delay_s, window; /* of the throttle; negative: not limited so */
    bool throttled, has_breaker, enabled, has_crew;
    enum breaker_state breaker;
    uint64_t breaker_opened, late;
    struct crew_counts crew;
    struct affinity_counts sessions;
};

struct rendering {
    const struct metrics_sources *m;
    struct exposition x;
    struct pool_copy *pools;
    size_t pool_count, pool_cap;
    struct buf skill_names; /* that pools offer, each with a NUL behind it */
    const char **skills;    /* the same, sorted */
    size_t skill_count;
    uint64_t others[REGISTRY_STATES]; /* tasks that name what is none of these */
    size_t running, limit;
    size_t unwritten;
    uint64_t dropped;
    struct engine_tasks_stats stats;
    bool failed;
};

/* ---- reading ---- */

static void copy_throttle(struct pool_copy *p, const struct core_pool *core)
{
    const struct throttle_state *t = core_pool_throttle(core);

    p->throttled = core_pool_get_options(core)->gate.throttle.kind != THROTTLE_NONE;
    p->rate = t->rate_rps < 1e12 ? t->rate_rps : -1;
    p->delay_s = duration_seconds(t->delay_ns);
    p->window = t->window == SIZE_MAX ? -1 : (double)t->window;
}

/* Counters go on where those of pools that it has replaced have ended. */
static void add_before(struct pool_copy *p)
{
    p->late += p->counts.before.late_reports;
    p->breaker_opened += p->counts.before.breaker_opened;
    p->sessions.hits += p->counts.before.session_hits;
    p->sessions.misses += p->counts.before.session_misses;
    p->sessions.rebinds += p->counts.before.session_rebinds;
    p->sessions.expiries += p->counts.before.session_expiries;
    p->crew.lost += p->counts.before.workers_lost;
}

static void copy_pool(struct pool_copy *p, struct desk_pool *from)
{
    struct core_pool *core = desk_core_pool(from);
    const struct permit_account *a = core_pool_permits(core);
    struct crew *crew = core_pool_crew(core);
    struct core_stats stats;

    dispatcher_pool_stats(core, &stats);
    *p = (struct pool_copy){
        .counts = *desk_pool_counts(from),
        .running = a->running,
        .limit = permit_limit(a),
        .max = poolset_max_concurrency(desk_pool_get_options(from)->ctx, a->limit),
        .cpu_milli = a->cpu_milli,
        .cpu_milli_limit = a->cpu_milli_limit,
        .memory_mib = a->memory_mib,
        .memory_mib_limit = a->memory_mib_limit,
        .enabled = desk_pool_enabled(from),
        .has_breaker = core_pool_get_options(core)->breaker.on,
        .breaker = stats.breaker,
        .breaker_opened = stats.breaker_opened,
        .late = stats.late_reports,
        .has_crew = crew != NULL,
    };
    strncpy(p->name, core_pool_get_options(core)->name, sizeof p->name - 1);
    copy_throttle(p, core);
    if (crew) {
        p->crew = crew_counts(crew);
        p->sessions = affinity_counts(crew_affinity(crew));
    }
    add_before(p);
}

static struct pool_copy *find_pool(struct rendering *r, const char *name)
{
    for (size_t i = 0; i < r->pool_count; i++)
        if (strcmp(r->pools[i].name, name) == 0)
            return &r->pools[i];
    return NULL;
}

/* `to` is a pool that was replaced, and still runs something: its name stands once, with what both have. */
static void succeed(struct pool_copy *to, struct desk_pool *from)
{
    struct pool_copy old = *to;

    copy_pool(to, from);
    to->running += old.running;
    to->cpu_milli += old.cpu_milli;
    to->memory_mib += old.memory_mib;
    to->late += old.late;
    to->breaker_opened += old.breaker_opened;
    to->sessions.hits += old.sessions.hits;
    to->sessions.misses += old.sessions.misses;
    to->sessions.rebinds += old.sessions.rebinds;
    to->sessions.expiries += old.sessions.expiries;
    to->crew.lost += old.crew.lost;
    to->crew.killed += old.crew.killed;
    desk_counts_add(&to->counts, &old.counts);
}

static void copy_skills(struct rendering *r, const struct desk_pool_options *o)
{
    for (size_t i = 0; i < o->skill_count; i++)
        buf_put(&r->skill_names, o->skills[i], strlen(o->skills[i]) + 1);
    r->skill_count += o->skill_count;
    r->failed |= r->skill_names.failed;
}

static void on_pool(void *ctx, struct desk_pool *from)
{
    struct rendering *r = ctx;
    struct pool_copy *to;

    if (!desk_core_pool(from) || r->failed)
        return;
    copy_skills(r, desk_pool_get_options(from));
    if (r->pool_count == r->pool_cap) {
        size_t cap = r->pool_cap ? r->pool_cap * 2 : 8;
        struct pool_copy *pools = mem_realloc(r->pools, cap * sizeof *pools);

        if (!pools) {
            r->failed = true;
            return;
        }
        r->pools = pools;
        r->pool_cap = cap;
    }
    to = find_pool(r, core_pool_get_options(desk_core_pool(from))->name);
    if (!to)
        copy_pool(&r->pools[r->pool_count++], from);
    else
        succeed(to, from);
}

static void look(struct desk *d, struct instant now, void *ctx)
{
    struct rendering *r = ctx;
    const struct permits *p = desk_permits(d);

    (void)now;
    r->running = p->running;
    r->limit = p->limit == PERMITS_UNLIMITED ? 0 : p->limit;
    r->unwritten = desk_unwritten(d);
    r->dropped = desk_dropped(d);
    desk_pools(d, on_pool, r);
}

/* ---- what is over all ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void sort_skills(struct rendering *r)
{
    const char *name = r->skill_names.data;

    if (r->skill_count == 0 || r->failed)
        return;
    r->skills = mem_calloc(r->skill_count, sizeof *r->skills);
    if (!r->skills) {
        r->failed = true;
        return;
    }
    for (size_t i = 0; i < r->skill_count; i++, name += strlen(name) + 1)
        r->skills[i] = name;
    qsort(r->skills, r->skill_count, sizeof *r->skills, compare_names);
}

/* A pool that there is, a skill that one offers, or nothing: the default pool. */
static bool is_known(struct rendering *r, const char *target, bool is_skill)
{
    if (!is_skill)
        return !*target || find_pool(r, target);
    return r->skills &&
           bsearch(&target, r->skills, r->skill_count, sizeof *r->skills, compare_names);
}

/* Whoever may submit may write any name, so only those that the configuration has get values of their own. */
static bool put_tally(void *ctx, const struct registry_tally *t)
{
    struct rendering *r = ctx;
    char target[REGISTRY_NAME_BYTES_MAX + 16];
    bool is_skill = t->target.len > 6 && memcmp(t->target.data, "skill:", 6) == 0;
    size_t from = is_skill ? 6 : 0, len = t->target.len - from;

    if (len >= sizeof target)
        len = sizeof target - 1;
    memcpy(target, t->target.data + from, len);
    target[len] = '\0';
    if (!is_known(r, target, is_skill)) {
        for (int s = 0; s < REGISTRY_STATES; s++)
            r->others[s] += t->states[s];
        return true;
    }
    for (int s = 0; s < REGISTRY_STATES; s++)
        exposition_value(&r->x, (double)t->states[s], "state",
                         registry_state_name((enum registry_state)s), "pool",
                         is_skill ? "" : target, "skill", is_skill ? target : "", NULL);
    return true;
}

/* A label of its own: no name can be taken for it. */
static void put_others(struct rendering *r)
{
    for (int s = 0; s < REGISTRY_STATES; s++)
        if (r->others[s] > 0)
            exposition_value(&r->x, (double)r->others[s], "state",
                             registry_state_name((enum registry_state)s), "pool", "", "skill", "",
                             "other", "true", NULL);
}

static enum weir_status put_tasks(struct rendering *r, struct weir_error *err)
{
    struct api_backend *b = r->m->backend;
    struct registry_reader *reader;
    enum weir_status status = b->ops->take_reader(b, &reader, err);

    if (status != WEIR_OK)
        return status;
    exposition_family(&r->x, "weir_tasks", EXPOSITION_GAUGE,
                      "Tasks in the registry, by state and by the pool or skill that they name; "
                      "those that name none of the configuration's together, as other.");
    sort_skills(r);
    status = reader->ops->tallies(reader, put_tally, r, err);
    b->ops->give_reader(b, reader);
    put_others(r);
    return status;
}

static void put_gauge(struct rendering *r, const char *name, const char *help, double value)
{
    exposition_family(&r->x, name, EXPOSITION_GAUGE, help);
    exposition_value(&r->x, value, NULL);
}

static void put_counter(struct rendering *r, const char *name, const char *help, double value)
{
    exposition_family(&r->x, name, EXPOSITION_COUNTER, help);
    exposition_value(&r->x, value, NULL);
}

static void put_dispatcher(struct rendering *r)
{
    const struct engine_tasks_stats *s = &r->stats;

    put_gauge(r, "weir_running", "Attempts that run now, over all pools.", (double)r->running);
    put_gauge(r, "weir_max_global_concurrency",
              "Attempts that may run at once, over all pools; 0: no limit.", (double)r->limit);
    put_gauge(r, "weir_utilisation_ratio",
              "Attempts that run for those that may, over all pools; 0 to 1.",
              utilisation_of((double)r->running, (double)r->limit));
    put_counter(r, "weir_attempts_started", "Attempts that were started.", (double)s->starts);
    put_gauge(r, "weir_last_start_timestamp_seconds",
              "When an attempt was last started; 0: not yet.", (double)s->last_claim_ns / 1e9);
    put_gauge(r, "weir_loop_lag_seconds",
              "The longest that a turn of the engine came late in the last minute or two.",
              duration_seconds(s->lag_ns_max));
    put_counter(r, "weir_loop_turns", "Turns of the engine's loop.", (double)s->turns);
    put_gauge(r, "weir_deadlocked_tasks",
              "Tasks that can never run, as the last check has found them.",
              (double)r->m->deadlocks);
    put_counter(r, "weir_config_reloads", "Times that the configuration was read anew and applied.",
                (double)r->m->reloads);
    put_counter(r, "weir_config_reload_failures", "Times that it was refused.",
                (double)r->m->reload_failures);
}

static void put_start(struct rendering *r)
{
    struct api_status s = {0};

    r->m->backend->ops->status(r->m->backend, &s);
    put_gauge(r, "weir_start_timestamp_seconds", "When the daemon was started.",
              (double)s.started_ns / 1e9);
    put_gauge(r, "weir_stopping", "1 while it is stopping and starts nothing.", s.stopping);
}

#define COMMIT_BOUNDS 15

static void put_store(struct rendering *r)
{
    const struct clerk_stats *c = &r->stats.clerk;
    struct core_registry *registry = engine_tasks_registry(r->m->tasks);
    double bounds[COMMIT_BOUNDS];

    for (size_t i = 0; i < COMMIT_BOUNDS; i++)
        bounds[i] = 64e-6 * (double)(1 << i);
    exposition_family(&r->x, "weir_store_commit_seconds", EXPOSITION_HISTOGRAM,
                      "How long a transaction of the registry took.");
    exposition_histogram(&r->x,
                         &(struct exposition_histogram){.bounds = bounds,
                                                        .counts = c->commit_buckets,
                                                        .bound_count = COMMIT_BOUNDS,
                                                        .sum = duration_seconds(c->commit_ns)},
                         NULL);
    put_counter(r, "weir_store_operations", "Steps that were written.", (double)c->ops);
    put_counter(r, "weir_store_failures", "Transactions that failed.", (double)c->failures);
    put_gauge(r, "weir_store_failing", "1 while the registry takes nothing.", c->failing);
    put_gauge(r, "weir_store_waiting_operations", "Steps that are not durable yet.",
              (double)c->waiting);
    put_counter(r, "weir_events_written", "Events in the record, over all starts.",
                (double)registry->ops->last_event(registry));
    put_counter(r, "weir_events_spilled",
                "Events that went to the spill file because the registry did not take them.",
                (double)c->events_spilled);
    put_counter(r, "weir_events_dropped",
                "Events of pools, workers and heartbeats for which there was no room.",
                (double)r->dropped);
    put_gauge(r, "weir_events_at_risk",
              "Events that are only in memory, for the spill file failed too.",
              (double)c->events_at_risk);
}

/* ---- pools ---- */

static void pool_family(struct rendering *r, const char *name, enum exposition_type type,
                        const char *help, double (*value)(const struct pool_copy *p),
                        bool (*has)(const struct pool_copy *p))
{
    exposition_family(&r->x, name, type, help);
    for (size_t i = 0; i < r->pool_count; i++)
        if (!has || has(&r->pools[i]))
            exposition_value(&r->x, value(&r->pools[i]), "pool", r->pools[i].name, NULL);
}

static double running(const struct pool_copy *p)
{
    return (double)p->running;
}
static double limit(const struct pool_copy *p)
{
    return (double)p->limit;
}
static double max_concurrency(const struct pool_copy *p)
{
    return (double)p->max;
}
static double enabled(const struct pool_copy *p)
{
    return p->enabled;
}
static double cpu(const struct pool_copy *p)
{
    return (double)p->cpu_milli / 1000;
}
static double cpu_limit(const struct pool_copy *p)
{
    return (double)p->cpu_milli_limit / 1000;
}
static double memory(const struct pool_copy *p)
{
    return (double)p->memory_mib * 1048576;
}
static double memory_limit(const struct pool_copy *p)
{
    return (double)p->memory_mib_limit * 1048576;
}
static double rate(const struct pool_copy *p)
{
    return p->rate;
}
static double delay(const struct pool_copy *p)
{
    return p->delay_s;
}
static double window(const struct pool_copy *p)
{
    return p->window;
}
static double opened(const struct pool_copy *p)
{
    return (double)p->breaker_opened;
}
static double late(const struct pool_copy *p)
{
    return (double)p->late;
}
static double retries(const struct pool_copy *p)
{
    return (double)p->counts.retries;
}
static double capacity(const struct pool_copy *p)
{
    return (double)p->counts.outcomes[WEIR_OUTCOME_CAPACITY];
}
static double quarantined(const struct pool_copy *p)
{
    return (double)p->counts.quarantined;
}
static double heartbeats(const struct pool_copy *p)
{
    return (double)p->counts.heartbeats;
}
static double hits(const struct pool_copy *p)
{
    return (double)p->sessions.hits;
}
static double misses(const struct pool_copy *p)
{
    return (double)p->sessions.misses;
}
static double rebinds(const struct pool_copy *p)
{
    return (double)p->sessions.rebinds;
}
static double expiries(const struct pool_copy *p)
{
    return (double)p->sessions.expiries;
}
static double bound(const struct pool_copy *p)
{
    return (double)p->sessions.bound;
}
static double lost(const struct pool_copy *p)
{
    return (double)(p->crew.lost + p->crew.killed);
}

static double utilisation(const struct pool_copy *p)
{
    return utilisation_of((double)p->running, (double)p->limit);
}

static bool has_rate(const struct pool_copy *p)
{
    return p->throttled && p->rate >= 0;
}
static bool has_window(const struct pool_copy *p)
{
    return p->throttled && p->window >= 0;
}
static bool is_throttled(const struct pool_copy *p)
{
    return p->throttled;
}
static bool has_breaker(const struct pool_copy *p)
{
    return p->has_breaker;
}
static bool has_crew(const struct pool_copy *p)
{
    return p->has_crew;
}
static bool has_cpu(const struct pool_copy *p)
{
    return p->cpu_milli_limit > 0;
}
static bool has_memory(const struct pool_copy *p)
{
    return p->memory_mib_limit > 0;
}

#define GAUGE   EXPOSITION_GAUGE
#define COUNTER EXPOSITION_COUNTER

/* What has one value for each pool. */
static const struct {
    const char *name;
    enum exposition_type type;
    const char *help;
    double (*value)(const struct pool_copy *p);
    bool (*has)(const struct pool_copy *p); /* NULL: every pool */
} simple[] = {
    {"weir_pool_running", GAUGE, "Attempts that run now.", running, NULL},
    {"weir_pool_max_concurrency", GAUGE, "Attempts that may run at once, as it is set.",
     max_concurrency, NULL},
    {"weir_pool_limit", GAUGE,
     "Attempts that may run at once just now: with what a burst adds or takes.", limit, NULL},
    {"weir_pool_utilisation_ratio", GAUGE, "Attempts that run for those that may; 0 to 1.",
     utilisation, NULL},
    {"weir_pool_enabled", GAUGE, "1 while the pool takes tasks.", enabled, NULL},
    {"weir_pool_cpu_cores", GAUGE, "Cores of the quota that are in use.", cpu, has_cpu},
    {"weir_pool_cpu_limit_cores", GAUGE, "The quota of cores.", cpu_limit, has_cpu},
    {"weir_pool_memory_bytes", GAUGE, "Memory of the quota that is in use.", memory, has_memory},
    {"weir_pool_memory_limit_bytes", GAUGE, "The quota of memory.", memory_limit, has_memory},
    {"weir_throttle_rate_per_second", GAUGE, "Dispatches a second that the throttle allows.", rate,
     has_rate},
    {"weir_throttle_delay_seconds", GAUGE, "Least time between dispatches, of the AIMD throttle.",
     delay, is_throttled},
    {"weir_throttle_window", GAUGE, "Attempts in flight that the throttle allows.", window,
     has_window},
    {"weir_capacity_retries", COUNTER, "Attempts that were refused for lack of capacity.", capacity,
     NULL},
    {"weir_task_retries", COUNTER, "Attempts after which the task is tried again later.", retries,
     NULL},
    {"weir_tasks_quarantined", COUNTER, "Tasks that have killed too many workers.", quarantined,
     NULL},
    {"weir_heartbeats", COUNTER, "Heartbeats of attempts.", heartbeats, NULL},
    {"weir_late_reports", COUNTER, "Reports of attempts that had been judged before; ignored.",
     late, NULL},
    {"weir_breaker_opened", COUNTER, "Times that the breaker has opened.", opened, has_breaker},
    {"weir_session_hits", COUNTER, "Tasks whose session was bound to a worker.", hits, has_crew},
    {"weir_session_misses", COUNTER, "Tasks that have bound a new session.", misses, has_crew},
    {"weir_session_rebinds", COUNTER,
     "Tasks that have bound a session anew which had lost its worker.", rebinds, has_crew},
    {"weir_session_expiries", COUNTER, "Sessions that ended because they were not used.", expiries,
     has_crew},
    {"weir_sessions_bound", GAUGE, "Sessions that are bound to workers.", bound, has_crew},
    {"weir_workers_lost", COUNTER, "Workers that ended by themselves, or were killed.", lost,
     has_crew},
};

static void put_outcomes(struct rendering *r)
{
    exposition_family(&r->x, "weir_attempts", EXPOSITION_COUNTER,
                      "Attempts that have ended, by outcome.");
    for (size_t i = 0; i < r->pool_count; i++)
        for (int o = WEIR_OUTCOME_OK; o <= WEIR_OUTCOME_CANCELLED; o++)
            exposition_value(&r->x, (double)r->pools[i].counts.outcomes[o], "pool",
                             r->pools[i].name, "outcome", weir_outcome_name((enum weir_outcome)o),
                             NULL);
    exposition_family(&r->x, "weir_tasks_ended", EXPOSITION_COUNTER,
                      "Tasks that have ended by an attempt, by state.");
    for (size_t i = 0; i < r->pool_count; i++) {
        exposition_value(&r->x, (double)r->pools[i].counts.done, "pool", r->pools[i].name, "state",
                         "done", NULL);
        exposition_value(&r->x, (double)r->pools[i].counts.failed, "pool", r->pools[i].name,
                         "state", "failed", NULL);
    }
}

static void put_times(struct rendering *r, const char *name, const char *help, bool wait)
{
    exposition_family(&r->x, name, EXPOSITION_HISTOGRAM, help);
    for (size_t i = 0; i < r->pool_count; i++) {
        const struct desk_times *t = wait ? &r->pools[i].counts.wait : &r->pools[i].counts.run;

        exposition_histogram(&r->x,
                             &(struct exposition_histogram){.bounds = desk_time_bounds_s,
                                                            .counts = t->counts,
                                                            .bound_count = DESK_TIME_BOUNDS,
                                                            .sum = t->sum_s},
                             "pool", r->pools[i].name, NULL);
    }
}

static void put_breakers(struct rendering *r)
{
    exposition_family(&r->x, "weir_breaker_state", EXPOSITION_GAUGE,
                      "1 for the state that the breaker is in.");
    for (size_t i = 0; i < r->pool_count; i++)
        for (int s = 0; s < BREAKER_STATES && r->pools[i].has_breaker; s++)
            exposition_value(&r->x, r->pools[i].breaker == (enum breaker_state)s, "pool",
                             r->pools[i].name, "state", breaker_state_name((enum breaker_state)s),
                             NULL);
}

static void put_workers(struct rendering *r)
{
    exposition_family(&r->x, "weir_workers", EXPOSITION_GAUGE, "Workers, by state.");
    for (size_t i = 0; i < r->pool_count; i++)
        for (int s = 0; s < WORKER_STATES && r->pools[i].has_crew; s++)
            exposition_value(&r->x, (double)r->pools[i].crew.by_state[s], "pool", r->pools[i].name,
                             "state", worker_state_name((enum worker_state)s), NULL);
    exposition_family(&r->x, "weir_workers_health", EXPOSITION_GAUGE, "Workers, by health.");
    for (size_t i = 0; i < r->pool_count; i++)
        for (int h = 0; h < HEALTH_KINDS && r->pools[i].has_crew; h++)
            exposition_value(&r->x, (double)r->pools[i].crew.by_health[h], "pool", r->pools[i].name,
                             "health", worker_health_name((enum worker_health)h), NULL);
}

static void put_pools(struct rendering *r)
{
    for (size_t i = 0; i < sizeof simple / sizeof *simple; i++)
        pool_family(r, simple[i].name, simple[i].type, simple[i].help, simple[i].value,
                    simple[i].has);
    put_outcomes(r);
    put_times(r, "weir_wait_seconds", "How long a task was ready before an attempt at it started.",
              true);
    put_times(r, "weir_run_seconds", "How long attempts ran.", false);
    put_breakers(r);
    put_workers(r);
}

/* ---- the API ---- */

static void put_api(struct rendering *r)
{
    struct http_stats h;
    struct sse_stats s;

    if (r->m->server) {
        http_server_get_stats(r->m->server, &h);
        put_counter(r, "weir_http_requests", "Requests that the API has had.", (double)h.requests);
        put_gauge(r, "weir_http_connections", "Connections that are open.",
                  (double)h.connections_open);
        put_counter(r, "weir_http_refused_connections", "Connections that were turned away.",
                    (double)h.connections_refused);
        put_counter(r, "weir_http_refused_by_rate", "Requests over the rate limit.",
                    (double)h.refused_by_rate);
        put_gauge(r, "weir_http_memory_bytes", "Bodies and answers in memory.",
                  (double)h.memory_bytes);
    }
    if (r->m->api) {
        api_event_stats(r->m->api, &s);
        put_gauge(r, "weir_event_followers", "Clients that follow events.", (double)s.followers);
        put_counter(r, "weir_event_catch_ups",
                    "Times that a follower was so far behind that it read from the registry.",
                    (double)s.catch_ups);
    }
}

enum weir_status metrics_render(const struct metrics_sources *m, struct buf *out, bool openmetrics,
                                struct weir_error *err)
{
    struct rendering r = {.m = m};
    locale_t before = locale_c_enter();
    enum weir_status status;

    engine_tasks_call(m->tasks, look, &r);
    engine_tasks_get_stats(m->tasks, &r.stats);
    exposition_begin(&r.x, out, openmetrics);
    exposition_family(&r.x, "weir_build_info", EXPOSITION_GAUGE,
                      "Always 1; the version is its label.");
    exposition_value(&r.x, 1, "version", WEIR_VERSION, NULL);
    put_start(&r);
    put_dispatcher(&r);
    status = put_tasks(&r, err);
    put_pools(&r);
    put_store(&r);
    put_api(&r);
    exposition_end(&r.x);
    locale_c_leave(before);
    mem_free(r.pools);
    mem_free(r.skills);
    buf_free(&r.skill_names);
    if (r.failed || out->failed)
        return error_nomem(err);
    return status;
}
