/*
 * Events that the ring has no longer, out of the store, in blocks of text that followers share. Of
 * sse.c; see sse.h.
 *
 *     block = sse_past_get(&past, &filter, after);    // the next ones after that event; a holder more
 *     ... block->text, up to block->until ...
 *     sse_block_release(block);
 *
 * The latest blocks are kept, so that the store is read once for all who are behind by the same.
 * Blocks of all events (without a filter) end at multiples of a number: followers that fell behind
 * at different events come to ask for the same blocks. A block never changes; what it has may have
 * been deleted from the store since.
 */
#ifndef SERVE_HTTP_SSE_PAST_H
#define SERVE_HTTP_SSE_PAST_H

#include "base/list.h"
#include "serve/http/sse.h"

#include <pthread.h>
#include <stdatomic.h>

/* Kept for others; each has SSE_BLOCK_BYTES, or one event. */
#define SSE_BLOCKS_MAX  64
#define SSE_BLOCK_BYTES ((size_t)16 << 10)
/* Where blocks of all events end. */
#define SSE_BLOCK_EVENTS 64

struct sse_block {
    _Atomic unsigned holders;
    struct sse_filter filter;
    char pool[SSE_POOL_BYTES_MAX]; /* of the filter */
    uint64_t after, until;         /* until == after: the store has nothing later */
    struct buf text;
    uint64_t
        asked_at; /* of sse_past.times; the one that was asked for last the longest ago goes for a new one */
};

struct sse_past {
    sse_catch_up_fn catch_up;
    void *ctx;
    pthread_mutex_t lock; /* of what follows; the store is read without it */
    pthread_cond_t read;  /* one of them has been */
    struct list readings; /* of those who read the store; who asks for the same waits for them */
    struct sse_block *kept[SSE_BLOCKS_MAX];
    uint64_t times; /* that one was asked for */
};

/* False: no memory. */
WEIR_MUST_CHECK bool sse_past_init(struct sse_past *p, sse_catch_up_fn catch_up, void *ctx);
/* Waits for the store, but for no other read of it than one of the same. NULL: it failed, or there is no memory. Any thread. */
struct sse_block *sse_past_get(struct sse_past *p, const struct sse_filter *f, uint64_t after);
/* NULL-safe. Any thread. */
void sse_block_release(struct sse_block *b);
/* Blocks that somebody holds stay. */
void sse_past_free(struct sse_past *p);

#endif
