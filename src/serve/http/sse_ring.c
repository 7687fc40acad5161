/* See sse_ring.h. */
#include "serve/http/sse_ring.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

#define ENTRIES_FIRST 256

bool sse_ring_init(struct sse_ring *r, size_t bytes)
{
    *r = (struct sse_ring){.cap = bytes, .entry_cap = ENTRIES_FIRST};
    r->bytes = mem_alloc(bytes);
    r->entries = mem_alloc(ENTRIES_FIRST * sizeof *r->entries);
    if (r->bytes && r->entries)
        return true;
    sse_ring_free(r);
    return false;
}

static void drop_first(struct sse_ring *r)
{
    r->floor = sse_ring_at(r, 0)->seq;
    r->first = (r->first + 1) & (r->entry_cap - 1);
    r->count--;
}

void sse_ring_drop(struct sse_ring *r, uint64_t floor)
{
    r->count = 0;
    r->head = 0;
    r->floor = floor;
}

/* Where the oldest text begins: what is written must not reach it. */
static size_t tail(const struct sse_ring *r)
{
    return sse_ring_at(r, 0)->at;
}

/* A place for `len` bytes in one piece; the oldest go until there is one. */
static size_t make_room(struct sse_ring *r, size_t len)
{
    for (;;) {
        if (r->count == 0) {
            r->head = 0;
            return 0;
        }
        if (r->head > tail(r)) {
            if (len <= r->cap - r->head)
                return r->head;
            if (len < tail(r)) /* not up to it: equal would read as empty */
                return 0;
        } else if (len < tail(r) - r->head) {
            return r->head;
        }
        drop_first(r);
    }
}

/* The entries in order in new memory; false: there is none, nothing has changed. */
static bool grow(struct sse_ring *r)
{
    struct sse_entry *grown = mem_alloc(2 * r->entry_cap * sizeof *grown);

    if (!grown)
        return false;
    for (size_t i = 0; i < r->count; i++)
        grown[i] = *sse_ring_at(r, i);
    mem_free(r->entries);
    r->entries = grown;
    r->entry_cap *= 2;
    r->first = 0;
    return true;
}

bool sse_ring_put(struct sse_ring *r, const struct sse_fields *f, struct slice text)
{
    size_t len = f->pool.len + text.len;
    struct sse_entry *e;
    size_t at;

    if (len > r->cap / 2 || len > UINT32_MAX) {
        sse_ring_drop(r, f->seq);
        return false;
    }
    at = make_room(r, len);
    if (r->count == r->entry_cap && !grow(r))
        drop_first(r); /* its bytes stay as they are until the next one goes */
    e = &r->entries[(r->first + r->count) & (r->entry_cap - 1)];
    *e = (struct sse_entry){
        .seq = f->seq,
        .task = f->task,
        .worker = f->worker,
        .at = at,
        .pool_len = (uint32_t)f->pool.len,
        .text_len = (uint32_t)text.len,
        .kind = f->kind,
    };
    memcpy(r->bytes + at, f->pool.len ? f->pool.data : "", f->pool.len);
    memcpy(r->bytes + at + f->pool.len, text.data, text.len);
    r->head = at + len;
    r->count++;
    return true;
}

size_t sse_ring_after(const struct sse_ring *r, uint64_t seq)
{
    size_t low = 0, high = r->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (sse_ring_at(r, middle)->seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct sse_fields sse_ring_fields(const struct sse_ring *r, const struct sse_entry *e)
{
    return (struct sse_fields){
        .seq = e->seq,
        .task = e->task,
        .worker = e->worker,
        .pool = {r->bytes + e->at, e->pool_len},
        .kind = e->kind,
    };
}

struct slice sse_ring_text(const struct sse_ring *r, const struct sse_entry *e)
{
    return (struct slice){r->bytes + e->at + e->pool_len, e->text_len};
}

void sse_ring_free(struct sse_ring *r)
{
    r->bytes = mem_free(r->bytes);
    r->entries = mem_free(r->entries);
    r->count = 0;
}
