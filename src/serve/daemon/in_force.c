/* The configuration as it is in force: as it was loaded, with what was changed by hand put in. */
#include "base/error.h"
#include "base/mem.h"
#include "core/pool.h"
#include "serve/daemon/house.h"

#include <string.h>

struct in_force {
    struct config config; /* its pools are our own memory; all they point to is the house's */
    struct buf changed;   /* by hand: "policy, pools.a.cpu" */
    bool without_limit;   /* of all pools together */
};

static void note(struct in_force *f, const char *pool, const char *field)
{
    buf_puts(&f->changed, f->changed.len > 0 ? ", " : "");
    if (pool)
        buf_printf(&f->changed, "pools.%s.", pool);
    buf_puts(&f->changed, field);
}

static void fill_dispatcher(struct in_force *f, struct desk *d)
{
    const struct schedule_options *o = desk_get_schedule(d);
    size_t limit = desk_permits(d)->limit;
    struct config *c = &f->config;

    if ((int)o->policy != c->policy) {
        c->policy = (int)o->policy;
        note(f, NULL, "policy");
    }
    if (o->ageing < c->ageing || o->ageing > c->ageing) {
        c->ageing = o->ageing;
        note(f, NULL, "ageing");
    }
    if (limit != (size_t)c->max_global_concurrency) {
        /* A file cannot say that there is none. */
        f->without_limit = limit > POOL_SIZE_MAX;
        c->max_global_concurrency = f->without_limit ? POOL_SIZE_MAX : (int64_t)limit;
        note(f, NULL, "max_global_concurrency");
    }
}

static void fill_quotas(struct in_force *f, struct config_pool *c, const struct permit_account *a)
{
    if (permit_cpu_quota(c->cpu) != a->cpu_milli_limit) {
        c->cpu = (double)a->cpu_milli_limit / 1000;
        note(f, c->name, "cpu");
    }
    if (permit_memory_quota((uint64_t)c->memory_bytes) != a->memory_mib_limit) {
        c->memory_bytes = (int64_t)(a->memory_mib_limit << 20);
        note(f, c->name, "memory");
    }
}

static void fill_pool(struct in_force *f, struct config_pool *c, const struct desk_pool *p)
{
    const struct pool_program *program = desk_pool_get_options(p)->ctx;
    const struct permit_account *a = core_pool_permits(desk_core_pool(p));
    double before = duration_seconds(c->burst.time_ns);
    bool bursts = a->burst.places > 0 && a->burst.seconds > 0;

    if (desk_pool_enabled(p) != c->enabled) {
        c->enabled = !c->enabled;
        note(f, c->name, "enabled");
    }
    if (poolset_by_hand(program)) {
        c->max_concurrency = (int64_t)poolset_max_concurrency(program, a->limit);
        note(f, c->name, "max_concurrency");
    }
    fill_quotas(f, c, a);
    if (a->reserve.min_priority != c->reserve.min_priority || a->reserve.share < c->reserve.share ||
        a->reserve.share > c->reserve.share) {
        c->reserve = (struct config_reserve){a->reserve.min_priority, a->reserve.share};
        note(f, c->name, "reserve");
    }
    if (a->burst.places != (size_t)c->burst.places || a->burst.seconds < before ||
        a->burst.seconds > before) {
        c->burst = (struct config_burst){bursts ? (int64_t)a->burst.places : 0,
                                         bursts ? duration_from_seconds(a->burst.seconds) : 0};
        note(f, c->name, "burst");
    }
}

static void fill(struct desk *d, struct instant now, void *ctx)
{
    struct in_force *f = ctx;

    (void)now;
    fill_dispatcher(f, d);
    for (size_t i = 0; i < f->config.pools.count; i++) {
        const struct desk_pool *p = desk_find_pool(d, f->config.pools.items[i].name);

        if (p)
            fill_pool(f, &f->config.pools.items[i], p);
    }
}

/* Under the lock. */
static void show(struct house *h, struct in_force *f, struct buf *out)
{
    engine_tasks_call(h->tasks, fill, f);
    if (f->changed.len > 0) {
        buf_puts(out, "# changed by hand: ");
        buf_put_slice(out, buf_slice(&f->changed));
        buf_putc(out, '\n');
    }
    if (f->without_limit)
        buf_puts(out, "# max_global_concurrency is none; a file says the greatest that it can\n");
    config_show(&f->config, out);
}

enum weir_status house_show(struct house *h, struct buf *out, struct weir_error *err)
{
    struct in_force f = {0};
    enum weir_status status = WEIR_OK;
    struct config_pool *pools;

    pthread_mutex_lock(&h->config_lock);
    f.config = *h->config;
    pools = mem_calloc(f.config.pools.count + 1, sizeof *pools);
    if (pools) {
        memcpy(pools, f.config.pools.items, f.config.pools.count * sizeof *pools);
        f.config.pools.items = pools;
        show(h, &f, out);
    }
    pthread_mutex_unlock(&h->config_lock);
    if (!pools || f.changed.failed || out->failed)
        status = error_nomem(err);
    mem_free(pools);
    buf_free(&f.changed);
    return status;
}

struct question {
    const struct config *config;
    const char *pool;
    bool yes;
};

static void look(struct desk *d, struct instant now, void *ctx)
{
    struct question *q = ctx;
    struct in_force f = {.config = *q->config};
    const struct desk_pool *p = q->pool ? desk_find_pool(d, q->pool) : NULL;

    (void)now;
    if (!q->pool)
        fill_dispatcher(&f, d);
    for (size_t i = 0; p && i < q->config->pools.count; i++) {
        struct config_pool pool = q->config->pools.items[i];

        if (strcmp(pool.name, q->pool) == 0)
            fill_pool(&f, &pool, p);
    }
    q->yes = f.changed.len > 0;
    buf_free(&f.changed);
}

bool house_is_by_hand(struct house *h, const char *pool)
{
    struct question q = {.config = h->config, .pool = pool};

    engine_tasks_call(h->tasks, look, &q);
    return q.yes;
}
