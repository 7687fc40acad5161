/*
 * What a reload would do: two configurations, field by field, by the schema. Two values are the
 * same when they are written the same.
 */
#include "base/error.h"
#include "base/mem.h"
#include "serve/config/config.h"
#include "serve/config/show.h"

#include <string.h>

struct diff {
    struct config_changes *changes;
    struct buf old, now; /* the field at hand, written */
    bool nomem;
};

static void add(struct diff *d, enum config_how how, const char *what, const char *fields)
{
    struct config_changes *c = d->changes;
    struct config_change change = {
        .how = how, .what = mem_strdup(what), .fields = fields ? mem_strdup(fields) : NULL};
    struct config_change *items = mem_realloc(c->items, (c->count + 1) * sizeof *items);

    if (items)
        c->items = items;
    if (!items || !change.what || (fields && !change.fields)) {
        mem_free(change.what);
        mem_free(change.fields);
        d->nomem = true;
        return;
    }
    items[c->count++] = change;
}

static bool differs(struct diff *d, const struct config_group *g, const struct config_field *f,
                    const void *old, const void *now)
{
    buf_clear(&d->old);
    buf_clear(&d->now);
    show_field(g, f, old, 0, false, &d->old);
    show_field(g, f, now, 0, false, &d->now);
    d->nomem = d->nomem || d->old.failed || d->now.failed;
    return !slice_equal(buf_slice(&d->old), buf_slice(&d->now));
}

/* ---- pools ---- */

static const struct config_pool *find_pool(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->pools.count; i++) {
        if (strcmp(c->pools.items[i].name, name) == 0)
            return &c->pools.items[i];
    }
    return NULL;
}

static void diff_pool(struct diff *d, const struct config_pool *old, const struct config_pool *now)
{
    const struct config_group *g = &config_pool_schema;
    struct buf fields = {0};
    bool replaced = false;

    for (size_t i = 0; i < g->count; i++) {
        const struct config_field *f = &g->fields[i];

        if (!differs(d, g, f, old, now))
            continue;
        replaced = replaced || f->change == CHANGE_REPLACES;
        buf_printf(&fields, "%s%s", fields.len > 0 ? ", " : "", f->key);
    }
    d->nomem = d->nomem || fields.failed;
    if (fields.len > 0)
        add(d, replaced ? CONFIG_POOL_REPLACED : CONFIG_POOL_CHANGED, now->name, fields.data);
    buf_free(&fields);
}

static void diff_pools(struct diff *d, const struct config *old, const struct config *now)
{
    for (size_t i = 0; i < old->pools.count; i++) {
        const struct config_pool *p = &old->pools.items[i];
        const struct config_pool *other = find_pool(now, p->name);

        if (other)
            diff_pool(d, p, other);
        else
            add(d, CONFIG_POOL_REMOVED, p->name, NULL);
    }
    for (size_t i = 0; i < now->pools.count; i++) {
        if (!find_pool(old, now->pools.items[i].name))
            add(d, CONFIG_POOL_ADDED, now->pools.items[i].name, NULL);
    }
}

/* ---- the whole ---- */

/* A token's secret may have changed where its file has not. */
static bool secrets_differ(const struct config *old, const struct config *now)
{
    for (size_t i = 0; i < old->tokens.count && i < now->tokens.count; i++) {
        const char *a = old->tokens.items[i].secret, *b = now->tokens.items[i].secret;

        if (!a != !b || (a && strcmp(a, b) != 0))
            return true;
    }
    return false;
}

static void diff_within(struct diff *d, const struct config_field *f, const void *old,
                        const void *now)
{
    const struct config_group *g = f->group;

    for (size_t i = 0; i < g->count; i++) {
        const struct config_field *in = &g->fields[i];
        struct buf name = {0};

        if (!differs(d, g, in, (const char *)old + f->offset, (const char *)now + f->offset))
            continue;
        buf_printf(&name, "%s.%s", f->key, in->key);
        d->nomem = d->nomem || name.failed;
        add(d, in->change == CHANGE_RESTARTS ? CONFIG_RESTART : CONFIG_APPLY, buf_slice(&name).data,
            NULL);
        buf_free(&name);
    }
}

enum weir_status config_diff(const struct config *old, const struct config *now,
                             struct config_changes *ret, struct weir_error *err)
{
    const struct config_group *g = &config_schema;
    struct diff d = {.changes = ret};

    for (size_t i = 0; i < g->count; i++) {
        const struct config_field *f = &g->fields[i];

        if (f->change == CHANGE_POOLS)
            diff_pools(&d, old, now);
        else if (f->change == CHANGE_WITHIN)
            diff_within(&d, f, old, now);
        else if (f->change != CHANGE_SHOWS && differs(&d, g, f, old, now))
            add(&d, f->change == CHANGE_RESTARTS ? CONFIG_RESTART : CONFIG_APPLY, f->key, NULL);
    }
    if (secrets_differ(old, now) && !config_changes_has(ret, CONFIG_APPLY, "tokens"))
        add(&d, CONFIG_APPLY, "tokens", NULL);
    /* Both hold secrets. */
    if (d.old.data)
        explicit_bzero(d.old.data, d.old.cap);
    if (d.now.data)
        explicit_bzero(d.now.data, d.now.cap);
    buf_free(&d.old);
    buf_free(&d.now);
    return d.nomem ? error_nomem(err) : WEIR_OK;
}

bool config_changes_has(const struct config_changes *c, enum config_how how, const char *what)
{
    for (size_t i = 0; i < c->count; i++) {
        if (c->items[i].how == how && (!what || strcmp(c->items[i].what, what) == 0))
            return true;
    }
    return false;
}

void config_change_put(const struct config_change *c, struct buf *out)
{
    static const char *const how[] = {
        [CONFIG_APPLY] = "changed",
        [CONFIG_RESTART] = "changed in the file, and needs a restart",
        [CONFIG_POOL_ADDED] = "added",
        [CONFIG_POOL_REMOVED] = "removed; what runs there ends first",
        [CONFIG_POOL_CHANGED] = "changed while it runs",
        [CONFIG_POOL_REPLACED] = "replaced; what runs there ends in the old one",
    };

    buf_printf(out, "%s%s: %s%s%s", c->how >= CONFIG_POOL_ADDED ? "pool " : "", c->what,
               c->fields ? c->fields : "", c->fields ? ": " : "", how[c->how]);
    if (c->undoes)
        buf_printf(out, "; what was changed by hand of %s is undone",
                   c->how == CONFIG_APPLY ? "policy, ageing and max_global_concurrency" : "it");
}

void config_changes_put(const struct config_changes *c, struct buf *out)
{
    for (size_t i = 0; i < c->count; i++) {
        if (c->items[i].failed)
            continue;
        config_change_put(&c->items[i], out);
        buf_putc(out, '\n');
    }
}

void config_changes_free(struct config_changes *c)
{
    for (size_t i = 0; i < c->count; i++) {
        mem_free(c->items[i].what);
        mem_free(c->items[i].fields);
    }
    mem_free(c->items);
    *c = (struct config_changes){0};
}
