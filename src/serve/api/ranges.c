/* See ranges.h. */
#include "serve/api/ranges.h"

#include "base/mem.h"

void ranges_add(struct ranges *r, uint64_t first, uint64_t last)
{
    if (r->cut)
        return;
    if (r->count > 0 && r->of[r->count - 1].last + 1 == first) {
        r->of[r->count - 1].last = last;
        return;
    }
    if (r->count == RANGES_MAX) {
        r->cut = true;
        return;
    }
    if (r->count == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 16;
        struct range *of = mem_realloc(r->of, cap * sizeof(*of));

        if (!of) {
            r->cut = true;
            return;
        }
        r->of = of;
        r->cap = cap;
    }
    r->of[r->count++] = (struct range){first, last};
}

void ranges_put(struct buf *out, const struct ranges *r, size_t max)
{
    buf_putc(out, '[');
    for (size_t i = 0; i < r->count && i < max; i++) {
        if (i > 0)
            buf_putc(out, ',');
        buf_putc(out, '[');
        buf_put_u64(out, r->of[i].first);
        buf_putc(out, ',');
        buf_put_u64(out, r->of[i].last);
        buf_putc(out, ']');
    }
    buf_putc(out, ']');
}

void ranges_free(struct ranges *r)
{
    mem_free(r->of);
    *r = (struct ranges){0};
}
