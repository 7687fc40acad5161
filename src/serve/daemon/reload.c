/*
 * Another configuration, while it runs: what can be changed is, and no task is lost by it. What needs a restart is told by
 * name, and everything else of the file is applied. A file that is wrong changes nothing.
 */
#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "serve/daemon/house.h"
#include "serve/daemon/notify.h"

#include <stdio.h>
#include <string.h>

static const struct config_pool *find_config(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->pools.count; i++)
        if (strcmp(c->pools.items[i].name, name) == 0)
            return &c->pools.items[i];
    return NULL;
}

static struct house_pool *find_planned(struct house *h, const char *name)
{
    for (size_t i = 0; i < h->planned_count; i++)
        if (strcmp(h->planned[i].name, name) == 0)
            return &h->planned[i];
    return NULL;
}

struct pool_change {
    const char *name;
    struct house_pool *pool;
    bool enabled;
    struct weir_error *err;
    enum weir_status status;
};

static void change_in_desk(struct desk *d, struct instant now, void *ctx)
{
    struct pool_change *c = ctx;
    struct desk_pool *p = desk_find_pool(d, c->name);
    size_t limit;

    c->status = WEIR_OK;
    if (!p)
        return;
    c->status = desk_change_pool(d, p, &c->pool->plan.desk, now, c->err);
    limit = c->pool->plan.core.size;
    if (c->pool->follows) /* it goes on from where it is */
        limit = poolset_limit(desk_pool_get_options(p)->ctx, c->pool->follow.limit);
    if (c->status == WEIR_OK)
        c->status = desk_set_limit(d, p, limit, now, c->err);
    desk_enable_pool(d, p, c->enabled, now);
}

static void remove_in_desk(struct desk *d, struct instant now, void *ctx)
{
    struct desk_pool *p = desk_find_pool(d, ctx);

    if (p)
        desk_remove_pool(d, p, now);
}

static void drop_planned(struct house *h, const char *name)
{
    struct house_pool *p = find_planned(h, name);

    if (!p)
        return;
    mem_free(p->name);
    *p = h->planned[--h->planned_count];
}

static enum weir_status change_pool_of(struct house *h, const struct config_pool *p,
                                       struct weir_error *err)
{
    struct pool_change c = {
        .name = p->name, .pool = find_planned(h, p->name), .enabled = p->enabled, .err = err};
    struct follow_options follow;

    if (!c.pool)
        return WEIR_OK;
    poolset_replan(&c.pool->plan, p);
    if (poolset_follow_options(p, &follow)) {
        if (c.pool->follows)
            follow_reconfigure(&c.pool->follow, &follow);
        else
            follow_init(&c.pool->follow, &follow);
        c.pool->follows = true;
    } else {
        c.pool->follows = false;
    }
    engine_tasks_call(h->tasks, change_in_desk, &c);
    return c.status == WEIR_OK ? backend_forget(h->backend, p->name, err) : c.status;
}

static enum weir_status apply_change(struct house *h, const struct config *now,
                                     const struct config_change *change, struct weir_error *err)
{
    const struct config_pool *p;
    enum weir_status status;

    switch (change->how) {
    case CONFIG_POOL_REMOVED:
        engine_tasks_call(h->tasks, remove_in_desk, change->what);
        drop_planned(h, change->what);
        return backend_forget(h->backend, change->what, err);
    case CONFIG_POOL_REPLACED:
        drop_planned(h, change->what); /* the other one takes its place */
        break;
    case CONFIG_POOL_ADDED:
        break;
    case CONFIG_POOL_CHANGED:
        p = find_config(now, change->what);
        return p ? change_pool_of(h, p, err) : WEIR_OK;
    default:
        return WEIR_OK;
    }
    p = find_config(now, change->what);
    status = p ? house_add_pool(h, p, err) : WEIR_OK;
    /* It begins as the file says, also after the next start. */
    if (status == WEIR_OK && change->how == CONFIG_POOL_REPLACED)
        status = backend_forget(h->backend, change->what, err);
    return status;
}

static bool touches_schedule(const struct config_changes *c)
{
    return config_changes_has(c, CONFIG_APPLY, "policy") ||
           config_changes_has(c, CONFIG_APPLY, "ageing") ||
           config_changes_has(c, CONFIG_APPLY, "max_global_concurrency");
}

/* What went wrong with one of them does not keep the others from being applied. */
static enum weir_status apply(struct house *h, const struct config *now,
                              const struct config_changes *c, struct weir_error *err)
{
    struct weir_error one;
    enum weir_status status = poolset_set_config(h->pools, now, err);

    if (status != WEIR_OK)
        return status;
    for (size_t i = 0; i < c->count; i++)
        if (apply_change(h, now, &c->items[i], &one) != WEIR_OK) {
            daemon_log(h->log, CONFIG_ERROR, "reload: %s: %s", c->items[i].what, one.message);
            if (status == WEIR_OK && err)
                *err = one;
            status = one.status;
        }
    if (house_apply(h, now, touches_schedule(c), &one) != WEIR_OK ||
        (touches_schedule(c) && backend_forget(h->backend, NULL, &one) != WEIR_OK)) {
        daemon_log(h->log, CONFIG_ERROR, "reload: %s", one.message);
        if (err)
            *err = one;
        status = one.status;
    }
    /* Plans point into the configuration that they are of. */
    for (size_t i = 0; i < h->planned_count; i++)
        poolset_replan(&h->planned[i].plan, find_config(now, h->planned[i].name));
    daemon_log_level(h->log, (enum config_level)now->log.level);
    return status;
}

/* {"changed":["..."]} */
static void put_changes(const struct config_changes *c, struct buf *out)
{
    _cleanup_buf_ struct buf lines = {0};
    const char *at, *end;

    config_changes_put(c, &lines);
    buf_puts(out, "{\"changed\":[");
    for (at = lines.data ? lines.data : ""; (end = strchr(at, '\n')); at = end + 1) {
        if (at != lines.data)
            buf_putc(out, ',');
        json_put_string(out, (struct slice){at, (size_t)(end - at)});
    }
    buf_puts(out, "]}");
}

/* All that is wrong, in the log; the error says the first of it, and how much more there is. */
static void tell_faults(struct house *h, const struct config_faults *faults, struct weir_error *err)
{
    size_t len = strlen(err->message);

    for (size_t i = 1; i < faults->count; i++)
        daemon_log(h->log, CONFIG_ERROR, "%s:%zu: %s%s%s", faults->file, faults->items[i].line,
                   faults->items[i].where, *faults->items[i].where ? ": " : "",
                   faults->items[i].what);
    if (faults->count > 1)
        (void)snprintf(err->message + len, sizeof err->message - len,
                       " (and %zu more%s, see the log)", faults->count - 1,
                       faults->more ? " at least" : "");
}

/* Under the lock. */
static enum weir_status reload(struct house *h, struct buf *out, struct weir_error *err)
{
    struct config_faults faults = {0};
    struct config_changes changes = {0};
    struct config *now = NULL;
    _cleanup_buf_ struct buf detail = {0};
    enum weir_status status = config_load(h->config_path, &now, &faults, err);

    if (status == WEIR_E_INVALID)
        tell_faults(h, &faults, err);
    if (status == WEIR_OK)
        status = config_diff(h->config, now, &changes, err);
    /* Before all else: a listener that is open beyond loopback may refuse to be without any. */
    if (status == WEIR_OK)
        status = house_set_tokens(h, now, err);
    if (status == WEIR_OK)
        status = apply(h, now, &changes, err);
    else
        now = (config_free(now), NULL);
    if (now) {
        put_changes(&changes, &detail);
        if (out)
            buf_put_slice(out, buf_slice(&detail));
        if (changes.count > 0 && !detail.failed)
            house_tell(h, REGISTRY_CONFIG_CHANGED, detail.data);
        config_free(h->config);
        h->config = now;
    }
    config_changes_free(&changes);
    config_faults_free(&faults);
    return status;
}

enum weir_status house_reload(struct house *h, struct buf *out, struct weir_error *err)
{
    struct weir_error why = {0};
    enum weir_status status;

    if (atomic_load(&h->stopping))
        return error_set(err, WEIR_E_SHUTDOWN,
                         "the dispatcher is stopping; it reads no configuration any more");
    notify_reloading();
    if (daemon_log_reopen(h->log, &why) != WEIR_OK)
        daemon_log(h->log, CONFIG_ERROR, "%s; the old one is written on", why.message);
    pthread_mutex_lock(&h->config_lock);
    status = reload(h, out, &why);
    pthread_mutex_unlock(&h->config_lock);
    if (status == WEIR_OK) {
        atomic_fetch_add(&h->reloads, 1);
        daemon_log(h->log, CONFIG_INFO, "the configuration was read anew");
    } else {
        atomic_fetch_add(&h->reload_failures, 1);
        daemon_log(h->log, CONFIG_ERROR, "the configuration was not applied: %s", why.message);
        if (err)
            *err = why;
    }
    notify_ready();
    return status;
}
