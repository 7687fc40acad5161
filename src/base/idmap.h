/*
 * A map from numbers (not 0) to pointers: the task of an id, the attempt of a token.
 *
 *     idmap_init(&map);
 *     if (!idmap_put(&map, id, thing)) ...no memory...
 *     thing = idmap_get(&map, id);
 *     idmap_remove(&map, id);
 *     idmap_free(&map);
 *
 * Open addressing with linear probing, at most half full; what is removed leaves no tombstone (the
 * entries behind it move up), so its cost does not grow with what has come and gone. The map does
 * not own what it points to.
 */
#ifndef BASE_IDMAP_H
#define BASE_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct idmap_entry {
    uint64_t id; /* 0: free */
    void *value;
};

struct idmap {
    struct idmap_entry *entries;
    size_t cap; /* a power of two, or 0 */
    size_t len;
};

void idmap_init(struct idmap *m);
/* False: no memory, nothing has changed. An id that is there gets the new value. */
bool idmap_put(struct idmap *m, uint64_t id, void *value);
/* NULL: it is not there. */
void *idmap_get(const struct idmap *m, uint64_t id);
/* Returns what was there; NULL: nothing. */
void *idmap_remove(struct idmap *m, uint64_t id);
/*
 * Walks over all, in no order: i = 0 at first; NULL: there are no more. Nothing is put meanwhile;
 * what it has just returned may be removed, if i is counted back by one then. One may be returned
 * twice so.
 */
void *idmap_next(const struct idmap *m, size_t *i);
void idmap_free(struct idmap *m);

#endif
