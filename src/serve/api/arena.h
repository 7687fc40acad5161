/*
 * Memory that is given back all at once: what is read out of one request, or one group of a stream.
 *
 *     struct arena a = {0};
 *     spec = arena_alloc(&a, count * sizeof(*spec));
 *     arena_free(&a);
 *
 * Pieces are aligned for anything. One owner; not thread-safe.
 */
#ifndef SERVE_API_ARENA_H
#define SERVE_API_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks;
    char *at;
    size_t left;
    size_t used_bytes; /* in all blocks */
};

/* NULL: no memory. Not zeroed. */
void *arena_alloc(struct arena *a, size_t size) __attribute__((malloc, alloc_size(2)));
/* A copy with a NUL behind it; NULL: no memory. */
char *arena_copy(struct arena *a, const void *bytes, size_t len);
/* All of it; the arena is as new. */
void arena_free(struct arena *a);

#endif
