/* See sse_past.h. */
#include "serve/http/sse_past.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

/* On the stack of whoever reads. */
struct reading {
    struct list link;
    const struct sse_filter *filter;
    uint64_t after;
};

bool sse_past_init(struct sse_past *p, sse_catch_up_fn catch_up, void *ctx)
{
    *p = (struct sse_past){.catch_up = catch_up, .ctx = ctx};
    list_init(&p->readings);
    if (pthread_mutex_init(&p->lock, NULL) != 0)
        return false;
    if (pthread_cond_init(&p->read, NULL) == 0)
        return true;
    pthread_mutex_destroy(&p->lock);
    return false;
}

static bool is_same(const struct sse_filter *a, const struct sse_filter *b)
{
    return a->task == b->task && a->worker == b->worker && a->kinds == b->kinds &&
           slice_equal(a->pool, b->pool);
}

/* How far a block goes at most. */
static uint64_t end_after(const struct sse_filter *f, uint64_t after)
{
    if (!is_same(f, &(struct sse_filter){0}))
        return UINT64_MAX;
    return after - after % SSE_BLOCK_EVENTS + SSE_BLOCK_EVENTS;
}

static struct sse_block *block_new(const struct sse_filter *f, uint64_t after)
{
    struct sse_block *b = mem_calloc(1, sizeof *b);

    if (!b)
        return NULL;
    atomic_init(&b->holders, 1);
    b->filter = *f;
    if (f->pool.len)
        memcpy(b->pool, f->pool.data, f->pool.len);
    b->filter.pool.data = b->pool;
    b->after = b->until = after;
    return b;
}

void sse_block_release(struct sse_block *b)
{
    if (!b || atomic_fetch_sub(&b->holders, 1) != 1)
        return;
    buf_free(&b->text);
    mem_free(b);
}

/* A block that is held from here on; under the lock, as what follows. */
static struct sse_block *find(struct sse_past *p, const struct sse_filter *f, uint64_t after)
{
    for (size_t i = 0; i < SSE_BLOCKS_MAX; i++) {
        struct sse_block *b = p->kept[i];

        if (b && b->after == after && is_same(&b->filter, f)) {
            atomic_fetch_add(&b->holders, 1);
            b->asked_at = ++p->times;
            return b;
        }
    }
    return NULL;
}

static struct sse_block *read_block(struct sse_past *p, const struct sse_filter *f, uint64_t after)
{
    struct sse_block *b = block_new(f, after);
    uint64_t seen = after;

    if (!b)
        return NULL;
    if (!p->catch_up(p->ctx, f, after, end_after(f, after), &b->text, SSE_BLOCK_BYTES, &seen) ||
        b->text.failed) {
        sse_block_release(b);
        return NULL;
    }
    assert(seen >= after);
    b->until = seen;
    return b;
}

static void keep(struct sse_past *p, struct sse_block *b)
{
    size_t at = 0;

    for (size_t i = 0; i < SSE_BLOCKS_MAX && p->kept[at]; i++)
        if (!p->kept[i] || p->kept[i]->asked_at < p->kept[at]->asked_at)
            at = i;
    sse_block_release(p->kept[at]);
    p->kept[at] = b;
    b->asked_at = ++p->times;
    atomic_fetch_add(&b->holders, 1);
}

static bool is_being_read(struct sse_past *p, const struct sse_filter *f, uint64_t after)
{
    list_foreach (node, &p->readings) {
        const struct reading *r = list_entry(node, struct reading, link);

        if (r->after == after && is_same(r->filter, f))
            return true;
    }
    return false;
}

/* Leaves the lock while it does. */
static struct sse_block *read_for_all(struct sse_past *p, const struct sse_filter *f,
                                      uint64_t after)
{
    struct reading here = {.filter = f, .after = after};
    struct sse_block *b;

    list_push_back(&p->readings, &here.link);
    pthread_mutex_unlock(&p->lock);
    b = read_block(p, f, after);
    pthread_mutex_lock(&p->lock);
    list_remove(&here.link);
    if (b && b->until > after)
        keep(p, b);
    pthread_cond_broadcast(&p->read);
    return b;
}

struct sse_block *sse_past_get(struct sse_past *p, const struct sse_filter *f, uint64_t after)
{
    struct sse_block *b;

    pthread_mutex_lock(&p->lock);
    while (!(b = find(p, f, after)) && is_being_read(p, f, after))
        pthread_cond_wait(&p->read, &p->lock);
    if (!b)
        b = read_for_all(p, f, after);
    pthread_mutex_unlock(&p->lock);
    return b;
}

void sse_past_free(struct sse_past *p)
{
    for (size_t i = 0; i < SSE_BLOCKS_MAX; i++)
        sse_block_release(p->kept[i]);
    pthread_cond_destroy(&p->read);
    pthread_mutex_destroy(&p->lock);
}
