/*
 * Another configuration, while it runs: what can be changed is, and no task is lost by it. What
 * needs a restart is told by name, and everything else of the file is applied. A file that is wrong
 * changes nothing.
 *
 *     read, compare ──► prepare ──────────────► switch ───────────► keep
 *                       pools planned,          pool by pool:       what needs a restart, and what
 *                       slots, weights,         executors made,     could not be switched, stays in
 *                       tokens: all or          limits              the configuration as it was
 *                       nothing
 *
 * So the configuration that is kept is what is in force: it is shown, and the next reload is
 * compared with it.
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
    const struct config_pool *config;
    struct house_pool *pool;
    const struct follow *follow; /* its limit goes on from where it is; NULL: it does not follow */
    struct weir_error *err;
    enum weir_status status;
};

static void change_in_desk(struct desk *d, struct instant now, void *ctx)
{
    struct pool_change *c = ctx;
    struct desk_pool *p = desk_find_pool(d, c->name);
    size_t before, limit;

    c->status = WEIR_OK;
    if (!p)
        return;
    before = core_pool_permits(desk_core_pool(p))->limit;
    limit = c->pool->plan.core.size;
    if (c->follow)
        limit = poolset_limit(desk_pool_get_options(p)->ctx, c->follow->limit);
    c->status = desk_set_limit(d, p, limit, now, c->err);
    if (c->status == WEIR_OK)
        c->status = desk_change_pool(d, p, &c->pool->plan.desk, now, c->err);
    if (c->status == WEIR_OK) {
        desk_enable_pool(d, p, c->config->enabled, now);
        poolset_set_configured(c->pool->plan.program, c->config);
    } else if (desk_set_limit(d, p, before, now, NULL) != WEIR_OK) {
        return; /* all of it, or nothing; it was there before, so this does not fail */
    }
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
        .name = p->name, .config = p, .pool = find_planned(h, p->name), .err = err};
    struct follow_options options;
    struct follow follow;

    if (!c.pool)
        return WEIR_OK;
    poolset_replan(&c.pool->plan, p);
    follow = c.pool->follow;
    if (poolset_follow_options(p, &options)) {
        if (c.pool->follows)
            follow_reconfigure(&follow, &options);
        else
            follow_init(&follow, &options);
        c.follow = &follow;
    }
    engine_tasks_call(h->tasks, change_in_desk, &c);
    if (c.status != WEIR_OK)
        return c.status;
    c.pool->follows = c.follow != NULL;
    c.pool->follow = follow;
    return WEIR_OK;
}

/* ---- one reload ---- */

struct reload {
    struct house *house;
    struct config *old, *now; /* of the second what is in force, at the end */
    struct config_changes changes;
    struct poolset_plan *plans; /* of each change that makes a pool; else zeroed */
    struct backend_forgets *forgets;
    struct buf failed; /* "what: why" of each part, as JSON, commas between */
    size_t failures;
    struct weir_error *err; /* the first of them */
    bool stays;             /* what that is of is as it was */
};

static bool makes_pool(const struct config_change *c)
{
    return c->how == CONFIG_POOL_ADDED || c->how == CONFIG_POOL_REPLACED;
}

static bool is_of_schedule(const struct config_change *c)
{
    return c->how == CONFIG_APPLY &&
           (strcmp(c->what, "policy") == 0 || strcmp(c->what, "ageing") == 0 ||
            strcmp(c->what, "max_global_concurrency") == 0);
}

static bool touches_schedule(const struct config_changes *c)
{
    for (size_t i = 0; i < c->count; i++)
        if (is_of_schedule(&c->items[i]))
            return true;
    return false;
}

/* What of it was changed by hand is begun anew, all of a pool or of the dispatcher. */
static void note_undone(struct reload *r)
{
    for (size_t i = 0; i < r->changes.count; i++) {
        struct config_change *c = &r->changes.items[i];

        if (is_of_schedule(c))
            c->undoes = house_is_by_hand(r->house, NULL);
        else if (c->how == CONFIG_POOL_CHANGED || c->how == CONFIG_POOL_REPLACED)
            c->undoes = house_is_by_hand(r->house, c->what);
    }
}

/* What went wrong with one of them does not keep the others from being applied. stays: it is as it was. */
static void note_failure(struct reload *r, const char *kind, const char *what, bool stays,
                         const struct weir_error *why)
{
    _cleanup_buf_ struct buf text = {0};

    daemon_log(r->house->log, CONFIG_ERROR, "reload: %s%s: %s", kind, what, why->message);
    buf_printf(&text, "%s%s: %s", kind, what, why->message);
    buf_puts(&r->failed, r->failures > 0 ? "," : "");
    json_put_string(&r->failed, buf_slice(&text));
    if (r->failures++ > 0)
        return;
    r->stays = stays;
    (void)error_set(r->err, why->status, "%s%s: %s", kind, what, why->message);
}

/* ---- what is made before anything is switched ---- */

static void forget_plans(struct reload *r)
{
    for (size_t i = 0; r->plans && i < r->changes.count; i++)
        if (r->plans[i].program)
            poolset_forget(&r->plans[i]);
    r->plans = mem_free(r->plans);
}

static enum weir_status plan_pools(struct reload *r)
{
    enum weir_status status = config_keep_room(r->old, r->now, r->err);

    r->plans = mem_calloc(r->changes.count + 1, sizeof *r->plans);
    if (!r->plans)
        return error_nomem(r->err);
    for (size_t i = 0; status == WEIR_OK && i < r->changes.count; i++) {
        const struct config_pool *p =
            makes_pool(&r->changes.items[i]) ? find_config(r->now, r->changes.items[i].what) : NULL;

        if (p)
            status = poolset_plan(r->house->pools, p, &r->plans[i], r->err);
    }
    return status;
}

/* Whatever fails here: all is as it was. */
static enum weir_status prepare(struct reload *r)
{
    struct house *h = r->house;
    enum weir_status status = plan_pools(r), back = WEIR_OK;

    if (status == WEIR_OK)
        status = poolset_set_config(h->pools, r->now, r->err);
    if (status != WEIR_OK)
        return status;
    status = house_share(h, r->old, r->now, r->err);
    if (status == WEIR_OK) {
        /* A listener that is open beyond loopback may refuse to be without any. */
        status = house_set_tokens(h, r->now, r->err);
        if (status != WEIR_OK)
            back = house_share(h, r->now, r->old, NULL);
    }
    if (status != WEIR_OK && back == WEIR_OK)
        back = poolset_set_config(h->pools, r->old, NULL);
    if (back != WEIR_OK)
        daemon_log(h->log, CONFIG_ERROR,
                   "reload: there was no memory to go back to the slots that were: their counts "
                   "and paths are in part those of the file; reload it again");
    return status;
}

/* ---- pools ---- */

/* The file's default pool could not be made. */
static bool default_is_missing(const struct reload *r)
{
    return r->now->default_pool && !find_config(r->now, r->now->default_pool);
}

static bool is_default(const struct config *c, const char *name)
{
    return c->default_pool && strcmp(c->default_pool, name) == 0;
}

static enum weir_status apply_change(struct reload *r, size_t i, struct weir_error *err)
{
    struct house *h = r->house;
    const struct config_change *change = &r->changes.items[i];
    const struct config_pool *p = find_config(r->now, change->what);
    enum weir_status status;

    switch (change->how) {
    case CONFIG_POOL_REMOVED:
        /* Somebody must be where tasks go that name no pool. */
        if (is_default(r->old, change->what) && default_is_missing(r))
            return error_set(err, WEIR_E_BUSY, "it is the default pool until pool %s can be made",
                             r->now->default_pool);
        engine_tasks_call(h->tasks, remove_in_desk, change->what);
        drop_planned(h, change->what);
        return WEIR_OK;
    case CONFIG_POOL_CHANGED:
        return p ? change_pool_of(h, p, err) : WEIR_OK;
    case CONFIG_POOL_ADDED:
    case CONFIG_POOL_REPLACED:
        status = p ? house_add_pool(h, p, &r->plans[i], err) : WEIR_OK;
        if (status == WEIR_OK && change->how == CONFIG_POOL_REPLACED)
            drop_planned(h, change->what); /* the first of that name: the other took its place */
        return status;
    case CONFIG_APPLY:
    case CONFIG_RESTART:
        break;
    }
    return WEIR_OK;
}

static void apply_pool(struct reload *r, size_t i)
{
    struct config_change *change = &r->changes.items[i];
    struct weir_error err = {0};

    if (apply_change(r, i, &err) != WEIR_OK) {
        change->failed = true;
        config_keep_pool(r->now, r->old, change->what);
        note_failure(r, "pool ", change->what, true, &err);
        return;
    }
    /* It begins as the file says, also after the next start. */
    if (change->how != CONFIG_POOL_ADDED)
        backend_forget(r->house->backend, change->what, &r->forgets);
}

static void apply_pools(struct reload *r)
{
    size_t last = r->changes.count;

    for (size_t i = 0; i < r->changes.count; i++) {
        const struct config_change *c = &r->changes.items[i];

        if (c->how == CONFIG_POOL_REMOVED && is_default(r->old, c->what))
            last = i; /* when it is known whether there is another */
        else if (c->how >= CONFIG_POOL_ADDED)
            apply_pool(r, i);
    }
    if (last < r->changes.count)
        apply_pool(r, last);
}

static void keep_default(struct reload *r, const struct weir_error *why)
{
    config_keep_field(r->now, r->old, "default_pool");
    for (size_t i = 0; i < r->changes.count; i++)
        if (r->changes.items[i].how == CONFIG_APPLY &&
            strcmp(r->changes.items[i].what, "default_pool") == 0)
            r->changes.items[i].failed = true;
    note_failure(r, "default_pool", "", true, why);
}

static void apply_rest(struct reload *r)
{
    struct house *h = r->house;
    bool all = touches_schedule(&r->changes);
    struct weir_error err = {0};

    if (default_is_missing(r)) {
        (void)error_set(&err, WEIR_E_BUSY, "pool %s could not be made", r->now->default_pool);
        keep_default(r, &err);
    } else if (backend_set_default(h->backend, r->now->default_pool, &err) != WEIR_OK) {
        keep_default(r, &err);
    }
    if (!house_apply(h, r->now, all)) {
        (void)error_set(&err, WEIR_E_INVALID,
                        "there is no pool %s, so tasks that name no pool wait; name one that is",
                        r->now->default_pool);
        note_failure(r, "default_pool", "", false, &err);
    }
    if (all)
        backend_forget(h->backend, NULL, &r->forgets);
    daemon_log_level(h->log, (enum config_level)r->now->log.level);
}

static void not_forgotten(void *ctx, const char *pool, const struct weir_error *err)
{
    note_failure(ctx, pool ? "pool " : "policy, ageing, max_global_concurrency", pool ? pool : "",
                 false, err);
}

/* Plans point into the configuration that they are of. */
static void replan(struct house *h)
{
    for (size_t i = 0; i < h->planned_count; i++) {
        const struct config_pool *p = find_config(h->config, h->planned[i].name);

        if (p)
            poolset_replan(&h->planned[i].plan, p);
    }
}

/* ---- what is told ---- */

/* {"changed":["..."],"failed":["..."]}, the second where there are some. */
static void put_changes(const struct reload *r, struct buf *out)
{
    _cleanup_buf_ struct buf lines = {0};
    const char *at, *end;

    config_changes_put(&r->changes, &lines);
    buf_puts(out, "{\"changed\":[");
    for (at = lines.data ? lines.data : ""; (end = strchr(at, '\n')); at = end + 1) {
        if (at != lines.data)
            buf_putc(out, ',');
        json_put_string(out, (struct slice){at, (size_t)(end - at)});
    }
    buf_putc(out, ']');
    if (r->failures > 0) {
        buf_puts(out, ",\"failed\":[");
        buf_put_slice(out, buf_slice(&r->failed));
        buf_putc(out, ']');
    }
    buf_putc(out, '}');
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

/* Who sends a signal has no other answer. */
static void log_changes(const struct reload *r)
{
    for (size_t i = 0; i < r->changes.count; i++) {
        const struct config_change *c = &r->changes.items[i];
        _cleanup_buf_ struct buf line = {0};

        config_change_put(c, &line);
        if (!c->failed && !line.failed)
            daemon_log(r->house->log,
                       c->how == CONFIG_RESTART || c->undoes ? CONFIG_WARNING : CONFIG_INFO,
                       "reload: %s", line.data);
    }
}

static enum weir_status tell_changes(struct reload *r, struct buf *out)
{
    _cleanup_buf_ struct buf detail = {0};
    size_t len;

    log_changes(r);
    put_changes(r, &detail);
    if (out)
        buf_put_slice(out, buf_slice(&detail));
    if (r->changes.count > 0 && !detail.failed)
        house_tell(r->house, REGISTRY_CONFIG_CHANGED, detail.data);
    if (r->failures == 0)
        return WEIR_OK;
    len = strlen(r->err->message);
    if (r->failures > 1)
        (void)snprintf(r->err->message + len, sizeof r->err->message - len,
                       " (and %zu more, see the log)", r->failures - 1);
    len = strlen(r->err->message);
    (void)snprintf(r->err->message + len, sizeof r->err->message - len,
                   r->stays ? "; that stays as it was, and all else is applied"
                            : "; all else is applied");
    return r->err->status;
}

/* Under the lock. *ret_applied: at least in part. */
static enum weir_status reload(struct house *h, struct buf *out, bool *ret_applied,
                               struct weir_error *err)
{
    struct config_faults faults = {0};
    struct reload r = {.house = h, .old = h->config, .err = err};
    enum weir_status status = config_load(h->config_path, &r.now, &faults, err);

    if (status == WEIR_E_INVALID)
        tell_faults(h, &faults, err);
    if (status == WEIR_OK)
        status = config_diff(r.old, r.now, &r.changes, err);
    if (status == WEIR_OK)
        status = prepare(&r);
    *ret_applied = status == WEIR_OK;
    if (*ret_applied) {
        note_undone(&r);
        apply_pools(&r);
        apply_rest(&r);
        backend_forget_end(&r.forgets, not_forgotten, &r);
        config_keep_restarts(r.now, r.old);
        h->config = r.now;
        replan(h);
        status = tell_changes(&r, out);
    }
    config_free(*ret_applied ? r.old : r.now);
    forget_plans(&r);
    config_changes_free(&r.changes);
    config_faults_free(&faults);
    buf_free(&r.failed);
    return status;
}

enum weir_status house_reload(struct house *h, struct buf *out, struct weir_error *err)
{
    struct weir_error why = {0};
    enum weir_status status;
    bool applied;

    if (atomic_load(&h->stopping))
        return error_set(err, WEIR_E_SHUTDOWN,
                         "the dispatcher is stopping; it reads no configuration any more");
    notify_reloading();
    if (daemon_log_reopen(h->log, &why) != WEIR_OK)
        daemon_log(h->log, CONFIG_ERROR, "%s; the old one is written on", why.message);
    backend_hold_changes(h->backend);
    pthread_mutex_lock(&h->config_lock);
    status = reload(h, out, &applied, &why);
    pthread_mutex_unlock(&h->config_lock);
    backend_allow_changes(h->backend);
    if (status == WEIR_OK) {
        atomic_fetch_add(&h->reloads, 1);
        daemon_log(h->log, CONFIG_INFO, "the configuration was read anew");
    } else {
        atomic_fetch_add(&h->reload_failures, 1);
        daemon_log(h->log, CONFIG_ERROR, "the configuration was %s: %s",
                   applied ? "applied in part" : "not applied", why.message);
        if (err)
            *err = why;
    }
    notify_ready();
    return status;
}
