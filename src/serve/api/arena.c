#include "serve/api/arena.h"

#include "base/mem.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

/* The first block; later ones are as large as all before them, up to the most. */
#define BLOCK_BYTES_MIN ((size_t)4096)
#define BLOCK_BYTES_MAX ((size_t)1 << 20)

struct arena_block {
    struct arena_block *next;
    alignas(max_align_t) char bytes[];
};

static char *add_block(struct arena *a, size_t size)
{
    struct arena_block *b;

    if (size > SIZE_MAX - sizeof(*b))
        return NULL;
    b = mem_alloc(sizeof(*b) + size);
    if (!b)
        return NULL;
    b->next = a->blocks;
    a->blocks = b;
    a->used_bytes += size;
    return b->bytes;
}

void *arena_alloc(struct arena *a, size_t size)
{
    size_t step = alignof(max_align_t);
    size_t block;
    char *piece;

    if (size > SIZE_MAX - step)
        return NULL;
    size = size ? (size + step - 1) / step * step : step;
    if (size <= a->left) {
        piece = a->at;
        a->at += size;
        a->left -= size;
        return piece;
    }
    block = a->used_bytes < BLOCK_BYTES_MIN   ? BLOCK_BYTES_MIN
            : a->used_bytes < BLOCK_BYTES_MAX ? a->used_bytes
                                              : BLOCK_BYTES_MAX;
    /* What is large has a block to itself, and the one that is begun goes on. */
    if (size > block / 4)
        return add_block(a, size);
    piece = add_block(a, block);
    if (!piece)
        return NULL;
    a->at = piece + size;
    a->left = block - size;
    return piece;
}

char *arena_copy(struct arena *a, const void *bytes, size_t len)
{
    char *copy = len == SIZE_MAX ? NULL : arena_alloc(a, len + 1);

    if (!copy)
        return NULL;
    if (len > 0)
        memcpy(copy, bytes, len);
    copy[len] = '\0';
    return copy;
}

void arena_free(struct arena *a)
{
    struct arena_block *next;

    for (struct arena_block *b = a->blocks; b; b = next) {
        next = b->next;
        mem_free(b);
    }
    *a = (struct arena){0};
}
