/*
 * With n chains, 2^k <= n < 2^(k+1), the chain of a hash is its lower k + 1 bits where there is
 * such a chain, else its lower k bits. The next chain, number n, is split off from the one at n -
 * 2^k.
 */
#include "base/map.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>
#include <xxhash.h>

void map_init(struct map *m)
{
    *m = (struct map){.len = MAP_FIRST, .cap = MAP_FIRST};
    m->chains = m->first;
}

void map_free(struct map *m)
{
    if (m->chains != m->first)
        mem_free(m->chains);
    map_init(m);
}

uint64_t map_hash(const void *bytes, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(len ? bytes : "", len, seed);
}

/* The largest power of two that is not above n. */
static size_t power_below(size_t n)
{
    return (size_t)1 << (63 - __builtin_clzll(n));
}

static size_t chain_of(const struct map *m, uint64_t hash)
{
    size_t low = power_below(m->len);
    size_t at = (size_t)hash & (2 * low - 1);

    return at < m->len ? at : at & (low - 1);
}

static bool have_room(struct map *m)
{
    struct map_node **chains;

    if (m->len < m->cap)
        return true;
    if (m->chains == m->first) {
        chains = mem_alloc(2 * m->cap * sizeof(struct map_node *));
        if (chains)
            memcpy(chains, m->first, sizeof m->first);
    } else {
        chains = mem_realloc(m->chains, 2 * m->cap * sizeof(struct map_node *));
    }
    if (!chains)
        return false;
    m->chains = chains;
    m->cap *= 2;
    return true;
}

/* One chain more. */
static void grow(struct map *m)
{
    size_t low = power_below(m->len), from = m->len - low;
    struct map_node **stays = &m->chains[from], **goes = &m->chains[m->len], *next;

    for (struct map_node *n = m->chains[from]; n; n = next) {
        next = n->next;
        if (n->hash & low) {
            *goes = n;
            goes = &n->next;
        } else {
            *stays = n;
            stays = &n->next;
        }
    }
    *stays = NULL;
    *goes = NULL;
    m->len++;
}

void map_put(struct map *m, struct map_node *n, uint64_t hash)
{
    size_t at;

    if (m->count >= m->len && have_room(m))
        grow(m);
    at = chain_of(m, hash);
    n->hash = hash;
    n->next = m->chains[at];
    m->chains[at] = n;
    m->count++;
}

void map_remove(struct map *m, struct map_node *n)
{
    struct map_node **p = &m->chains[chain_of(m, n->hash)];

    while (*p && *p != n)
        p = &(*p)->next;
    assert(*p == n);
    *p = n->next;
    n->next = NULL;
    m->count--;
}

struct map_node *map_find(const struct map *m, uint64_t hash)
{
    struct map_node *n = m->chains[chain_of(m, hash)];

    while (n && n->hash != hash)
        n = n->next;
    return n;
}

struct map_node *map_again(const struct map_node *n)
{
    struct map_node *next = n->next;

    while (next && next->hash != n->hash)
        next = next->next;
    return next;
}

static struct map_node *first_from(const struct map *m, size_t at)
{
    while (at < m->len && !m->chains[at])
        at++;
    return at < m->len ? m->chains[at] : NULL;
}

struct map_node *map_begin(const struct map *m)
{
    return first_from(m, 0);
}

struct map_node *map_after(const struct map *m, const struct map_node *n)
{
    return n->next ? n->next : first_from(m, chain_of(m, n->hash) + 1);
}

bool map_chain(const struct map *m, size_t at, const struct map_node **ret)
{
    if (at >= m->len)
        return false;
    *ret = m->chains[at];
    return true;
}
