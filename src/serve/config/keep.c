/*
 * What a reload could not do stays as it was, also in the configuration: values of the two are
 * exchanged, so that each is freed with the other one.
 */
#include "base/error.h"
#include "base/mem.h"
#include "serve/config/config.h"
#include "serve/config/schema.h"

#include <string.h>

static size_t bytes_of(const struct config_field *f)
{
    switch (f->type) {
    case CONFIG_TEXT:
        return sizeof(char *);
    case CONFIG_FLAG:
        return sizeof(bool);
    case CONFIG_COUNT:
    case CONFIG_DURATION:
    case CONFIG_SIZE:
        return sizeof(int64_t);
    case CONFIG_NUMBER:
    case CONFIG_SHARE:
        return sizeof(double);
    case CONFIG_MODE:
    case CONFIG_CHOICE:
        return sizeof(int);
    case CONFIG_GROUP:
        return f->group->size;
    case CONFIG_WORDS:
    case CONFIG_LINE:
    case CONFIG_NUMBERS:
    case CONFIG_PAIRS:
    case CONFIG_GROUPS: /* all lists are alike */
        break;
    }
    return sizeof(struct config_words);
}

static void exchange(void *a, void *b, size_t bytes)
{
    char *left = a, *right = b, one;

    for (size_t i = 0; i < bytes; i++) {
        one = left[i];
        left[i] = right[i];
        right[i] = one;
    }
}

static void exchange_field(const struct config_field *f, void *a, void *b)
{
    exchange((char *)a + f->offset, (char *)b + f->offset, bytes_of(f));
}

void config_keep_field(struct config *now, struct config *old, const char *key)
{
    const struct config_field *f = config_field_find(&config_schema, key);

    if (f)
        exchange_field(f, now, old);
}

void config_keep_restarts(struct config *now, struct config *old)
{
    for (size_t i = 0; i < config_schema.count; i++) {
        const struct config_field *f = &config_schema.fields[i];

        if (f->change == CHANGE_RESTARTS)
            exchange_field(f, now, old);
        for (size_t k = 0; f->change == CHANGE_WITHIN && k < f->group->count; k++)
            if (f->group->fields[k].change == CHANGE_RESTARTS)
                exchange_field(&f->group->fields[k], (char *)now + f->offset,
                               (char *)old + f->offset);
    }
}

static bool make_room(struct config *c, size_t count)
{
    struct config_pool *items = mem_realloc(c->pools.items, count * sizeof *items);

    if (items)
        c->pools.items = items;
    return items != NULL;
}

enum weir_status config_keep_room(struct config *old, struct config *now, struct weir_error *err)
{
    size_t count = old->pools.count + now->pools.count + 1;

    return make_room(old, count) && make_room(now, count) ? WEIR_OK : error_nomem(err);
}

static struct config_pool *find(struct config *c, const char *name)
{
    for (size_t i = 0; i < c->pools.count; i++)
        if (strcmp(c->pools.items[i].name, name) == 0)
            return &c->pools.items[i];
    return NULL;
}

/* One of `from`, to the end of `to`, which has room. */
static void move_pool(struct config *to, struct config *from, struct config_pool *p)
{
    struct config_pool *last = &from->pools.items[from->pools.count - 1];

    to->pools.items[to->pools.count++] = *p;
    memmove(p, p + 1, (size_t)(last - p) * sizeof *p);
    from->pools.count--;
}

void config_keep_pool(struct config *now, struct config *old, const char *name)
{
    struct config_pool *p = find(now, name), *before = find(old, name);

    if (p && before)
        exchange(p, before, sizeof *p);
    else if (p)
        move_pool(old, now, p);
    else if (before)
        move_pool(now, old, before);
}
