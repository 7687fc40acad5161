#include "base/idmap.h"

#include "base/mem.h"

#include <assert.h>

#define CAP_MIN 16

void idmap_init(struct idmap *m)
{
    *m = (struct idmap){0};
}

/* Ids are numbers in a row: a multiplication by an odd constant (2^64 / golden ratio, Knuth 6.4) spreads them. */
static size_t place_of(const struct idmap *m, uint64_t id)
{
    return (size_t)((id * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (m->cap - 1);
}

/* Where it is, or where it would go. */
static size_t find(const struct idmap *m, uint64_t id)
{
    size_t i = place_of(m, id);

    while (m->entries[i].id != 0 && m->entries[i].id != id)
        i = (i + 1) & (m->cap - 1);
    return i;
}

static bool grow(struct idmap *m)
{
    struct idmap bigger = {.cap = m->cap ? m->cap * 2 : CAP_MIN, .len = m->len};

    bigger.entries = mem_calloc(bigger.cap, sizeof *bigger.entries);
    if (!bigger.entries)
        return false;
    for (size_t i = 0; i < m->cap; i++)
        if (m->entries[i].id != 0)
            bigger.entries[find(&bigger, m->entries[i].id)] = m->entries[i];
    mem_free(m->entries);
    *m = bigger;
    return true;
}

bool idmap_put(struct idmap *m, uint64_t id, void *value)
{
    size_t i;

    assert(id != 0 && value);
    if ((m->len + 1) * 2 > m->cap && !grow(m))
        return false;
    i = find(m, id);
    m->len += m->entries[i].id == 0;
    m->entries[i] = (struct idmap_entry){id, value};
    return true;
}

void *idmap_get(const struct idmap *m, uint64_t id)
{
    return m->cap > 0 && id != 0 ? m->entries[find(m, id)].value : NULL;
}

/* Entries behind a hole, up to the next free place, belong further up when the hole is on their way from their own place. */
static void close_hole(struct idmap *m, size_t hole)
{
    size_t mask = m->cap - 1;

    for (size_t i = (hole + 1) & mask; m->entries[i].id != 0; i = (i + 1) & mask) {
        size_t home = place_of(m, m->entries[i].id);

        if (((i - home) & mask) < ((i - hole) & mask))
            continue;
        m->entries[hole] = m->entries[i];
        hole = i;
    }
    m->entries[hole] = (struct idmap_entry){0};
}

void *idmap_remove(struct idmap *m, uint64_t id)
{
    void *value;
    size_t i;

    if (m->cap == 0 || id == 0)
        return NULL;
    i = find(m, id);
    value = m->entries[i].value;
    if (m->entries[i].id == 0)
        return NULL;
    m->len--;
    close_hole(m, i);
    return value;
}

void *idmap_next(const struct idmap *m, size_t *i)
{
    for (; *i < m->cap; ++*i)
        if (m->entries[*i].id != 0)
            return m->entries[(*i)++].value;
    return NULL;
}

void idmap_free(struct idmap *m)
{
    mem_free(m->entries);
    idmap_init(m);
}
