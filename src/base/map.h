/*
 * A hash map of nodes that live in their elements.
 *
 *     map_init(&m);
 *     map_put(&m, &line->node, map_hash(&id, sizeof id, seed));      // cannot fail
 *     for (n = map_find(&m, hash); n; n = map_again(n))                // those of that hash: the caller compares
 *         ...
 *     map_remove(&m, &line->node);
 *
 * It grows by linear hashing (Litwin 1980): with each node that is put one chain is split in two,
 * so that no call pays for the growth of the whole, but for a copy of the array of chains (8 bytes
 * for each node) when that has doubled. Where there is no memory for it chains become longer;
 * nothing fails. A map must not be moved in memory.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAP_FIRST 8 /* chains that need no memory of their own */

struct map_node {
    struct map_node *next;
    uint64_t hash;
};

struct map {
    struct map_node **chains;
    size_t len; /* chains in use, MAP_FIRST or more */
    size_t cap;
    size_t count; /* nodes */
    struct map_node *first[MAP_FIRST];
};

#define map_entry(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

void map_init(struct map *m);
/* Frees its own memory, not the nodes'. Those are in no map any more. */
void map_free(struct map *m);
uint64_t map_hash(const void *bytes, size_t len, uint64_t seed);
void map_put(struct map *m, struct map_node *n, uint64_t hash);
/* The node is in the map (asserted). */
void map_remove(struct map *m, struct map_node *n);
/* The first of those with that hash, and the one behind it; NULL: no more. */
struct map_node *map_find(const struct map *m, uint64_t hash);
struct map_node *map_again(const struct map_node *n);
/* All, in any order; the one that was told may be removed when the next one is asked for before. NULL: no more. */
struct map_node *map_begin(const struct map *m);
struct map_node *map_after(const struct map *m, const struct map_node *n);
/*
 * All in parts, while nodes come and go between: the first of chain number `at` (from 0; NULL: it
 * is empty), with those behind it by `next`. Nodes that are there all the while are found, and
 * perhaps twice: chains move only to the end. False: there is no such chain.
 */
bool map_chain(const struct map *m, size_t at, const struct map_node **ret);

#endif
