/*
 * An answer that many ask for: made by one of them, and given to the others as well.
 *
 *     snapshot_init(&s, &rules)
 *     status = snapshot_get(&s, loop_clock(), changes, make, ctx, &out, &err);
 *     snapshot_free(&s);
 *
 * As long as it is asked for seldom, each request has it made anew: `burst` times at once, and
 * every `every_ns` in the long run. Who asks more often gets what there is. One at a time makes it;
 * whoever asks meanwhile gets the one before, or waits where that is too old, or was made before
 * the last change.
 *
 * `changes` counts what has been changed by requests, as the caller knows it: who has changed
 * something is never given an answer whose making began before that. It is a number that never
 * falls.
 */
#ifndef SERVE_API_SNAPSHOT_H
#define SERVE_API_SNAPSHOT_H

#include "base/buf.h"
#include "base/error.h"
#include "base/time.h"

#include <pthread.h>

struct snapshot_rules {
    duration_ns every_ns;   /* above 0 */
    unsigned burst;         /* at least 1 */
    duration_ns age_max_ns; /* older ones are given to nobody; not below every_ns */
};

struct snapshot {
    struct snapshot_rules rules;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t made;
    struct buf text;
    bool has_text, being_made;
    uint64_t changes;        /* of the one whom the text was made for */
    struct instant begun_at; /* the making of the text */
    struct instant paid_to;  /* the makings that there were are paid for up to then */
};

/* Appends the answer. On the thread of one who asks, without a lock. What it sees is as of then, or later. */
typedef enum weir_status (*snapshot_fn)(void *ctx, struct buf *out, struct weir_error *err);

/* False: it cannot be made. */
WEIR_MUST_CHECK bool snapshot_init(struct snapshot *s, const struct snapshot_rules *rules);
/*
 * Appends it to `out`, which fails when there is no memory for it. An error is make()'s; nobody
 * else gets it. Any thread; may wait for another one's make(). now: loop_clock(), not before the
 * call.
 */
WEIR_MUST_CHECK enum weir_status snapshot_get(struct snapshot *s, struct instant now,
                                              uint64_t changes, snapshot_fn make, void *ctx,
                                              struct buf *out, struct weir_error *err);
void snapshot_free(struct snapshot *s);

#endif
