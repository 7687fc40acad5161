/*
 * What a reload could not do stays as it was, also in the configuration: values of the two are exchanged, so that each is freed
 * with the other one.
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

enum weir_status config_keep_room(struct config *old, const struct config *now,
                                  struct weir_error *err)
{
    struct config_pool *items =
        mem_realloc(old->pools.items, (old->pools.count + now->pools.count + 1) * sizeof *items);

    if (!items)
        return error_nomem(err);
    old->pools.items = items;
    return WEIR_OK;
}

static struct config_pool *find(struct config *c, const char *name)
{
    for (size_t i = 0; i < c->pools.count; i++)
        if (strcmp(c->pools.items[i].name, name) == 0)
            return &c->pools.items[i];
    return NULL;
}

void config_keep_pool(struct config *now, struct config *old, const char *name)
{
    struct config_pool *p = find(now, name), *before = find(old, name), *last;

    if (!p)
        return;
    if (before) {
        exchange(p, before, sizeof *p);
        return;
    }
    /* It is not there: it goes with what is not in force any more. */
    old->pools.items[old->pools.count++] = *p;
    last = &now->pools.items[--now->pools.count];
    memmove(p, p + 1, (size_t)(last - p) * sizeof *p);
}
