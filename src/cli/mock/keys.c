/* See keys.h. */
#include "cli/mock/keys.h"

#include "base/mem.h"

#include <stdbool.h>
#include <string.h>

#define PLACES_FIRST 1024

/* The place of the hash: where it stands, or the empty one where it belongs. */
static uint64_t *place_of(uint64_t *table, size_t places, uint64_t hash)
{
    size_t at = (size_t)hash & (places - 1);

    while (table[at] != 0 && table[at] != hash)
        at = (at + 1) & (places - 1);
    return &table[at];
}

static bool grow(struct mock_keys *k)
{
    size_t places = k->places == 0 ? PLACES_FIRST : 2 * k->places;
    uint64_t *table = mem_calloc(places, sizeof *table);

    if (!table)
        return false;
    for (size_t i = 0; i < k->places; i++) {
        if (k->table[i] != 0)
            *place_of(table, places, k->table[i]) = k->table[i];
    }
    mem_free(k->table);
    k->table = table;
    k->places = places;
    return true;
}

void mock_keys_see(struct mock_keys *k, uint64_t hash)
{
    uint64_t mark = hash == 0 ? 1 : hash; /* 0 means empty */
    uint64_t *place = NULL;

    k->given++;
    if (k->places > 0)
        place = place_of(k->table, k->places, mark);
    if (place && *place == mark) {
        k->repeated++;
        return;
    }
    /* At most half full: so a search ends soon, and ends at all. */
    if (2 * (k->distinct + 1) > k->places) {
        if (k->distinct >= MOCK_KEYS_MAX || !grow(k)) {
            k->untracked++;
            return;
        }
        place = place_of(k->table, k->places, mark);
    }
    *place = mark;
    k->distinct++;
}

void mock_keys_free(struct mock_keys *k)
{
    mem_free(k->table);
    memset(k, 0, sizeof *k);
}
