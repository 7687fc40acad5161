/*
 * The latest events as text, in a bounded number of bytes. Of sse.c; see sse.h.
 *
 *     sse_ring_init(&ring, bytes);
 *     sse_ring_put(&ring, &fields, text);              // the oldest go for it
 *     for (i = sse_ring_after(&ring, seq); i < ring.count; i++)  e = sse_ring_at(&ring, i);
 *
 * A text lies in one piece, behind the name of its pool; one that does not fit before the end
 * begins at the start again, and what is left there lies fallow. `floor` is the largest number that
 * is not in the ring (any more): whoever has dealt with it, or a later one, lacks nothing. Not
 * thread-safe.
 */
#ifndef SERVE_HTTP_SSE_RING_H
#define SERVE_HTTP_SSE_RING_H

#include "serve/http/sse.h"

struct sse_entry {
    uint64_t seq, task, worker;
    size_t at; /* of the pool's name; the text is behind it */
    uint32_t pool_len, text_len;
    unsigned kind;
};

struct sse_ring {
    char *bytes;
    size_t cap;
    size_t head;               /* where the next text goes */
    struct sse_entry *entries; /* a ring too; its size is a power of two */
    size_t entry_cap, first, count;
    uint64_t floor;
};

/* False: no memory. */
bool sse_ring_init(struct sse_ring *r, size_t bytes);
/* False: there was no room for it, and the ring is empty; floor is at its number. */
bool sse_ring_put(struct sse_ring *r, const struct sse_fields *f, struct slice text);
static inline const struct sse_entry *sse_ring_at(const struct sse_ring *r, size_t i)
{
    return &r->entries[(r->first + i) & (r->entry_cap - 1)];
}
/* All go; the next to come is later than `floor`. */
void sse_ring_drop(struct sse_ring *r, uint64_t floor);
/* Index of the first entry with a larger number; `count` when there is none. */
size_t sse_ring_after(const struct sse_ring *r, uint64_t seq);
struct sse_fields sse_ring_fields(const struct sse_ring *r, const struct sse_entry *e);
struct slice sse_ring_text(const struct sse_ring *r, const struct sse_entry *e);
void sse_ring_free(struct sse_ring *r);

#endif
