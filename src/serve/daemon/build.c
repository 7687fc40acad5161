/*
 * The daemon's parts, from the bottom to the top: registry, engine, tasks, pools, backend, API,
 * server; and back.
 */
#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "core/worker/life.h"
#include "loop/loop.h"
#include "serve/daemon/house.h"
#include "serve/daemon/left.h"
#include "serve/daemon/notify.h"
#include "serve/web/web.h"
#include "store/registry/sqlite_registry.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Requests that are under way when the server stops have so long to end. */
#define SERVER_STOP_NS (5 * NS_PER_S)

/* ---- events of the daemon itself ---- */

struct telling {
    struct registry_op op; /* first */
    struct house *house;
    char detail[];
};

static void told(struct registry_op *op)
{
    struct house *h = ((struct telling *)(void *)op)->house;

    if (op->tell.kind == REGISTRY_DISPATCHER_STOPPED)
        atomic_store(&h->last_told, true);
    mem_free(op);
    house_wake(h);
}

void house_tell(struct house *h, enum registry_event_kind kind, const char *detail)
{
    size_t len = detail ? strlen(detail) : 0;
    struct telling *t = mem_calloc(1, sizeof *t + len + 1);

    if (!t)
        return;
    t->house = h;
    t->op.kind = REGISTRY_TELL;
    t->op.tell.kind = kind;
    if (len > 0)
        memcpy(t->detail, detail, len);
    t->op.tell.detail = (struct slice){t->detail, len};
    t->op.done = told;
    engine_tasks_send(h->tasks, &t->op);
}

void house_stop_within(struct house *h, duration_ns grace_ns)
{
    long long known_ns = atomic_load(&h->end_by_ns), end_ns;

    if (grace_ns < 0) {
        pthread_mutex_lock(&h->config_lock); /* a reload may come from the API at any time */
        grace_ns = h->config->shutdown.grace_ns;
        pthread_mutex_unlock(&h->config_lock);
    }
    end_ns = instant_add(loop_clock(), grace_ns).ns;
    while (end_ns < known_ns && !atomic_compare_exchange_weak(&h->end_by_ns, &known_ns, end_ns))
        ;
    atomic_store(&h->stop_wished, true);
    house_wake(h);
}

void house_wake(struct house *h)
{
    uint64_t one = 1;

    if (write(h->wish, &one, sizeof one) < 0)
        (void)0; /* it is full: the main thread will look anyway */
}

/* ---- registry, engine, tasks ---- */

static void on_commit(void *ctx, uint64_t last_event)
{
    struct house *h = ctx;
    struct api *api = atomic_load(&h->api);

    if (api)
        api_committed(api, last_event);
}

static void on_left(void *ctx, const struct registry_left *l)
{
    struct house *h = ctx;
    enum left_what what = left_end(&l->runner);

    if (what == LEFT_STAYS)
        daemon_log(
            h->log, CONFIG_WARNING,
            "attempt %u of task %llu was left running by a killed predecessor as pid %lld, and "
            "could not be ended: it may still do something",
            l->attempt, (unsigned long long)l->task, (long long)l->runner.pid);
    else
        daemon_log(h->log, CONFIG_INFO, "attempt %u of task %llu was left by a predecessor%s",
                   l->attempt, (unsigned long long)l->task,
                   what == LEFT_KILLED ? ": its process was ended" : "");
}

static void on_worker(void *ctx, const struct core_event *ev)
{
    struct house *h = ctx;
    const struct worker_transition *t = ev->transition;
    const char *more = ev->more ? ev->more : t ? t->detail : "";

    if (ev->kind == EVENT_WORKER_SAID)
        daemon_log_later(h->log, CONFIG_INFO, "pool %s, worker %llu: %s", ev->pool,
                         (unsigned long long)ev->worker, ev->detail);
    else if (t && t->from == WORKER_INITIALIZING && t->to == WORKER_TERMINATED &&
             !atomic_load(&h->stopping))
        daemon_log_later(h->log, CONFIG_WARNING, "pool %s, worker %llu has not started: %s%s%s",
                         ev->pool, (unsigned long long)ev->worker, t->reason, more[0] ? ": " : "",
                         more);
}

/* A killed predecessor has left them; no attempt of ours has its files there yet. */
static void remove_beats(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *e;

    while (dir && (e = readdir(dir)))
        if (strncmp(e->d_name, "beat.", 5) == 0)
            (void)unlinkat(dirfd(dir), e->d_name, 0);
    if (dir)
        closedir(dir);
}

static enum weir_status make_run_dir(struct house *h, struct weir_error *err)
{
    const char *given = getenv("RUNTIME_DIRECTORY");
    char path[PATH_MAX];

    if (given && given[0] == '/' && !strchr(given, ':'))
        snprintf(path, sizeof path, "%s", given);
    else
        snprintf(path, sizeof path, "%s.run", h->config->store);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return error_set_errno(err, WEIR_E_IO, errno, "cannot make the directory %s for heartbeats",
                               path);
    h->run_dir = realpath(path, NULL);
    return h->run_dir ? WEIR_OK : error_nomem(err);
}

/* The store is ours alone, so whoever works for it has been left by a predecessor. */
static void end_left(struct house *h)
{
    size_t count = 0;
    enum left_what what = h->mark ? left_sweep(h->mark, &count) : LEFT_NONE;

    if (count > 0)
        daemon_log(h->log, CONFIG_INFO, "%zu processes were left by a killed predecessor: ended",
                   count);
    if (what == LEFT_STAYS)
        daemon_log(h->log, CONFIG_WARNING,
                   "a process that was left by a killed predecessor could not be ended: it may "
                   "still do something");
}

static enum weir_status build_tasks(struct house *h, struct weir_error *err)
{
    const struct config *c = h->config;
    struct engine_tasks_options o = {
        .schedule = {.policy = (enum schedule_policy)c->policy, .ageing = c->ageing},
        .global_limit = (size_t)c->max_global_concurrency,
        .deaths_max = (uint32_t)c->deaths_max,
        .spill_path = c->spill,
        .committed = on_commit,
        .left = on_left,
        .worker = on_worker,
        .ctx = h,
    };
    enum weir_status status =
        sqlite_registry_open(c->store, &(struct sqlite_registry_options){0}, &h->registry, err);

    if (status == WEIR_OK) {
        h->mark = realpath(c->store, NULL);
        end_left(h);
        remove_beats(h->run_dir);
        clock_begin(h);
        status = engine_new(&(struct engine_options){0}, &h->engine, err);
    }
    if (status == WEIR_OK)
        status = engine_tasks_open(h->engine, h->registry, &o, &h->tasks, err);
    if (status == WEIR_OK && engine_tasks_put_back(h->tasks) > 0)
        daemon_log(h->log, CONFIG_WARNING,
                   "%llu tasks ran when the predecessor ended; they are ready again",
                   (unsigned long long)engine_tasks_put_back(h->tasks));
    return status;
}

/* ---- pools, and what is beside them ---- */

enum weir_status house_add_pool(struct house *h, const struct config_pool *p,
                                struct poolset_plan *plan, struct weir_error *err)
{
    struct house_pool *planned = mem_realloc(h->planned, (h->planned_count + 1) * sizeof *planned);
    struct house_pool to = {.name = mem_strdup(p->name), .plan = *plan};
    struct follow_options follow;
    enum weir_status status;

    if (planned)
        h->planned = planned;
    status = planned && to.name ? engine_tasks_add_pool(h->tasks, &to.plan.core, to.plan.make,
                                                        to.plan.desk.ctx, &to.plan.desk, err)
                                : error_nomem(err);
    if (status != WEIR_OK) {
        poolset_forget(plan);
        mem_free(to.name);
        return status;
    }
    *plan = (struct poolset_plan){0};
    to.follows = poolset_follow_options(p, &follow);
    if (to.follows)
        follow_init(&to.follow, &follow);
    h->planned[h->planned_count++] = to;
    return WEIR_OK;
}

struct applying {
    const struct config *config, *before; /* before: the one in force; it may be the same */
    bool all;                             /* of house_apply() */
    struct weir_error *err;
    enum weir_status status;
};

static bool has_slot(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->slots.count; i++)
        if (strcmp(c->slots.items[i].name, name) == 0)
            return true;
    return false;
}

static bool has_tenant(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->tenants.count; i++)
        if (strcmp(c->tenants.items[i].name, name) == 0)
            return true;
    return false;
}

/* What is in the configuration no more: no places, and the weight of those that it does not name. */
static enum weir_status take_away(struct desk *d, const struct config *before,
                                  const struct config *c, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    for (size_t i = 0; status == WEIR_OK && i < before->slots.count; i++)
        if (!has_slot(c, before->slots.items[i].name))
            status = desk_set_slots(d, before->slots.items[i].name, 0, err);
    for (size_t i = 0; i < before->tenants.count; i++)
        if (!has_tenant(c, before->tenants.items[i].name))
            (void)desk_set_weight(d, slice_of(before->tenants.items[i].name), 1);
    return status;
}

static enum weir_status share_in_desk(struct desk *d, const struct config *before,
                                      const struct config *c, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    for (size_t i = 0; status == WEIR_OK && i < c->slots.count; i++)
        status = desk_set_slots(d, c->slots.items[i].name, (uint32_t)c->slots.items[i].count, err);
    for (size_t i = 0; status == WEIR_OK && i < c->tenants.count; i++)
        if (!desk_set_weight(d, slice_of(c->tenants.items[i].name), c->tenants.items[i].weight))
            status = error_nomem(err);
    return status == WEIR_OK ? take_away(d, before, c, err) : status;
}

static void share(struct desk *d, struct instant now, void *ctx)
{
    struct applying *a = ctx;

    (void)now;
    a->status = share_in_desk(d, a->before, a->config, a->err);
    /* Back again: all of that is there already, so nothing is in want of memory. */
    if (a->status != WEIR_OK && a->before != a->config)
        (void)share_in_desk(d, a->config, a->before, NULL);
}

enum weir_status house_share(struct house *h, const struct config *before, const struct config *c,
                             struct weir_error *err)
{
    struct applying a = {.config = c, .before = before, .err = err};

    engine_tasks_call(h->tasks, share, &a);
    return a.status;
}

static void apply_in_desk(struct desk *d, struct instant now, void *ctx)
{
    struct applying *a = ctx;
    const struct config *c = a->config;

    desk_set_deaths_max(d, (uint32_t)c->deaths_max);
    /* None: tasks that name no pool wait. */
    if (!desk_set_default_pool(d, c->default_pool) && c->default_pool)
        a->status = WEIR_E_END;
    if (!a->all)
        return;
    desk_set_schedule(
        d,
        &(struct schedule_options){.policy = (enum schedule_policy)c->policy, .ageing = c->ageing},
        now);
    desk_set_global_limit(d, (size_t)c->max_global_concurrency, now);
}

bool house_apply(struct house *h, const struct config *c, bool all)
{
    struct applying a = {.config = c, .all = all};

    engine_tasks_call(h->tasks, apply_in_desk, &a);
    return a.status == WEIR_OK;
}

static enum weir_status build_pool(struct house *h, const struct config_pool *p,
                                   struct weir_error *err)
{
    struct poolset_plan plan;
    enum weir_status status = poolset_plan(h->pools, p, &plan, err);

    if (status != WEIR_OK)
        return status;
    status = house_add_pool(h, p, &plan, err);
    if (status != WEIR_OK)
        (void)error_prefix(err, "pools[%s]", p->name);
    return status;
}

static enum weir_status build_pools(struct house *h, struct weir_error *err)
{
    const struct config *c = h->config;
    enum weir_status status = poolset_new(
        &(struct poolset_options){
            .config = c, .run_dir = h->run_dir, .api = h->api_address, .mark = h->mark},
        &h->pools, err);

    for (size_t i = 0; status == WEIR_OK && i < c->pools.count; i++)
        status = build_pool(h, &c->pools.items[i], err);
    return status;
}

/* ---- backend, API, server ---- */

static void on_shut_down(void *ctx, duration_ns grace_ns)
{
    house_stop_within(ctx, grace_ns);
}

static bool knows_secret(void *ctx, uint64_t token, const char *secret)
{
    return poolset_token_check(((struct house *)ctx)->pools, token, slice_of(secret));
}

/* In no words for anybody: it is only compared. */
static void configured(void *ctx, const char *pool, struct buf *out)
{
    struct house *h = ctx;
    const struct config *c;

    pthread_mutex_lock(&h->config_lock);
    c = h->config;
    if (!pool)
        buf_printf(out, "%d %.17g %lld", c->policy, c->ageing,
                   (long long)c->max_global_concurrency);
    for (size_t i = 0; pool && i < c->pools.count; i++) {
        const struct config_pool *p = &c->pools.items[i];

        if (strcmp(p->name, pool) == 0)
            buf_printf(out, "%d %lld %.17g %lld %lld %.17g %lld %lld %d %.17g %lld %lld",
                       p->enabled, (long long)p->max_concurrency, p->cpu,
                       (long long)p->memory_bytes, (long long)p->reserve.min_priority,
                       p->reserve.share, (long long)p->burst.places, (long long)p->burst.time_ns,
                       p->follow.what, p->follow.target, (long long)p->follow.min,
                       (long long)p->follow.max);
    }
    pthread_mutex_unlock(&h->config_lock);
}

/* {"config": "the YAML, as text"} */
static enum weir_status show_config(void *ctx, struct buf *out, struct weir_error *err)
{
    struct house *h = ctx;
    _cleanup_buf_ struct buf yaml = {0};

    if (house_show(h, &yaml, err) != WEIR_OK)
        return err->status;
    buf_puts(out, "{\"config\":");
    json_put_string(out, buf_slice(&yaml));
    buf_putc(out, '}');
    return out->failed ? error_nomem(err) : WEIR_OK;
}

static enum weir_status reload_config(void *ctx, struct buf *out, struct weir_error *err)
{
    return house_reload(ctx, out, err);
}

static enum weir_status render_metrics(void *ctx, struct buf *out, bool openmetrics,
                                       struct weir_error *err)
{
    struct house *h = ctx;
    struct metrics_sources m = {
        .tasks = h->tasks,
        .backend = backend_api(h->backend),
        .api = atomic_load(&h->api),
        .server = h->server,
        .deadlocks = atomic_load(&h->deadlocks),
        .reloads = atomic_load(&h->reloads),
        .reload_failures = atomic_load(&h->reload_failures),
    };

    return metrics_render(&m, out, openmetrics, err);
}

static enum weir_status build_api(struct house *h, struct weir_error *err)
{
    struct api_options o = {
        .ctx = h,
        .config_show = show_config,
        .config_reload = reload_config,
        .metrics_render = render_metrics,
        .web_find = web_find,
    };
    struct api *api;
    enum weir_status status =
        backend_new(h->tasks,
                    &(struct backend_options){.shut_down = on_shut_down,
                                              .knows_secret = knows_secret,
                                              .configured = configured,
                                              .ctx = h,
                                              .default_pool = h->config->default_pool},
                    &h->backend, err);

    if (status != WEIR_OK)
        return status;
    o.backend = backend_api(h->backend);
    status = api_new(&o, &api, err);
    if (status == WEIR_OK)
        atomic_store(&h->api, api);
    return status;
}

enum weir_status house_set_tokens(struct house *h, const struct config *c, struct weir_error *err)
{
    struct http_token *tokens = mem_calloc(c->tokens.count + 1, sizeof *tokens);
    enum weir_status status;

    if (!tokens)
        return error_nomem(err);
    for (size_t i = 0; i < c->tokens.count; i++)
        tokens[i] = (struct http_token){
            .secret = c->tokens.items[i].secret,
            .sha256 = c->tokens.items[i].sha256,
            .role = c->tokens.items[i].role == CONFIG_READ     ? HTTP_ROLE_READ
                    : c->tokens.items[i].role == CONFIG_SUBMIT ? HTTP_ROLE_SUBMIT
                                                               : HTTP_ROLE_OPERATE,
            .name = c->tokens.items[i].name,
        };
    status = http_server_set_tokens(h->server, tokens, c->tokens.count, err);
    mem_free(tokens);
    return status;
}

/* "unix:PATH", "HOST:PORT", "[::1]:PORT" */
static enum weir_status listen_at(struct house *h, const char *where, struct weir_error *err)
{
    const char *colon = strrchr(where, ':');
    char host[256];
    uint16_t port;
    enum weir_status status;
    size_t len;

    if (strncmp(where, "unix:", 5) == 0) {
        status = http_server_listen_unix(h->server, where + 5, (mode_t)h->config->unix_mode, err);
        if (status == WEIR_OK)
            daemon_log(h->log, CONFIG_INFO, "listens on %s", where);
        return status;
    }
    len = (size_t)(colon - where);
    if (where[0] == '[' && len >= 2) {
        where++;
        len -= 2;
    }
    snprintf(host, sizeof host, "%.*s", (int)len, where);
    status =
        http_server_listen_tcp(h->server, host, (uint16_t)strtoul(colon + 1, NULL, 10), &port, err);
    if (status == WEIR_OK)
        daemon_log(h->log, CONFIG_INFO, "listens on %s:%u", host, port);
    return status;
}

static enum weir_status build_server(struct house *h, struct weir_error *err)
{
    const struct config *c = h->config;
    struct http_server_options o = {
        .ctx = atomic_load(&h->api),
        .connections_max = (unsigned)c->limits.connections,
        .body_bytes_max = (uint64_t)c->limits.request_bytes,
        .rate_per_s = c->limits.requests_per_second,
    };
    enum weir_status status;
    int sockets = notify_sockets();

    o.routes = api_routes(&o.route_count);
    o.answers = api_answers;
    status = http_server_new(&o, &h->server, err);
    if (status == WEIR_OK)
        status = house_set_tokens(h, c, err);
    for (int i = 0; status == WEIR_OK && i < sockets; i++)
        status = http_server_listen_fd(h->server, 3 + i, err);
    for (size_t i = 0; status == WEIR_OK && sockets == 0 && i < c->listen.count; i++)
        status = listen_at(h, c->listen.items[i], err);
    return status;
}

/* From the root on, for an attempt may work in another folder; as it stands, when that is too long for a socket. */
static void put_socket(const char *path, struct buf *out)
{
    char *folder = path[0] == '/' ? NULL : getcwd(NULL, 0);

    buf_puts(out, "unix:");
    if (folder && strlen(folder) + 1 + strlen(path) < sizeof((struct sockaddr_un){0}).sun_path)
        buf_printf(out, "%s/", folder);
    buf_puts(out, path);
    free(folder);
}

static enum weir_status name_address(struct house *h, struct weir_error *err)
{
    const struct config *c = h->config;
    _cleanup_buf_ struct buf address = {0};
    size_t len;

    if (c->listen.count == 0)
        return WEIR_OK;
    if (strncmp(c->listen.items[0], "unix:", 5) == 0)
        put_socket(c->listen.items[0] + 5, &address);
    else
        buf_printf(&address, "http://%s", c->listen.items[0]);
    h->api_address = buf_steal(&address, &len);
    return h->api_address ? WEIR_OK : error_nomem(err);
}

enum weir_status house_build(struct house *h, struct weir_error *err)
{
    enum weir_status status = make_run_dir(h, err);

    h->history = history_new();
    if (status == WEIR_OK && !h->history)
        status = error_nomem(err);
    if (status == WEIR_OK)
        status = name_address(h, err);
    if (status == WEIR_OK)
        status = build_tasks(h, err);
    if (status == WEIR_OK)
        status = build_pools(h, err);
    if (status == WEIR_OK)
        status = build_api(h, err);
    if (status == WEIR_OK)
        status = house_share(h, h->config, h->config, err);
    if (status == WEIR_OK && !house_apply(h, h->config, true))
        status = error_set(err, WEIR_E_INVALID, "default_pool: there is no pool %s",
                           h->config->default_pool);
    if (status == WEIR_OK)
        status = backend_restore(h->backend, err);
    if (status == WEIR_OK)
        chores_begin(h);
    if (status == WEIR_OK)
        status = build_server(h, err);
    return status;
}

/* From the top to the bottom, whatever of it is there. */
void house_take_down(struct house *h)
{
    struct api *api = atomic_load(&h->api);

    if (h->server)
        http_server_stop(h->server, SERVER_STOP_NS);
    http_server_free(h->server);
    h->server = NULL;
    /* Its thread reads the registry through the tasks; the clerk tells it of commits until these are closed. */
    api_stop(api);
    engine_tasks_close(h->tasks);
    atomic_store(&h->api, NULL);
    api_free(api);
    backend_free(h->backend);
    engine_free(h->engine);
    poolset_free(h->pools);
    if (h->registry)
        h->registry->ops->close(h->registry);
    for (size_t i = 0; i < h->planned_count; i++)
        mem_free(h->planned[i].name);
    mem_free(h->planned);
    history_free(h->history);
    free(h->run_dir);
    free(h->mark);
    mem_free(h->api_address);
}
