/*
 * What the tests of the public API share: an engine with one pool, and a counter that threads wait
 * for.
 *
 * Nothing here sleeps: a latch waits for an event with a deadline, and a callback that is to be
 * "running" waits at a latch until the test opens it.
 */
#ifndef ENGINE_TEST_H
#define ENGINE_TEST_H

#include "weir/weir.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DEADLINE_S 60

/* A number that only grows, and threads that wait until it is large enough. */
struct latch {
    pthread_mutex_t lock;
    pthread_cond_t grown;
    uint64_t count;
};

#define LATCH_INIT                                                                                 \
    {                                                                                              \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0                                     \
    }

static inline void latch_add(struct latch *l, uint64_t n)
{
    pthread_mutex_lock(&l->lock);
    l->count += n;
    pthread_cond_broadcast(&l->grown);
    pthread_mutex_unlock(&l->lock);
}

/* False: the deadline passed first. Any thread. */
static inline bool latch_wait(struct latch *l, uint64_t least)
{
    struct timespec until;
    bool reached;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DEADLINE_S;
    pthread_mutex_lock(&l->lock);
    while (l->count < least)
        if (pthread_cond_timedwait(&l->grown, &l->lock, &until) == ETIMEDOUT)
            break;
    reached = l->count >= least;
    pthread_mutex_unlock(&l->lock);
    return reached;
}

static inline uint64_t latch_count(struct latch *l)
{
    uint64_t count;

    pthread_mutex_lock(&l->lock);
    count = l->count;
    pthread_mutex_unlock(&l->lock);
    return count;
}

/* On the test's thread: any other status than OK fails the test with the message. */
#define ok(call)                                                                                   \
    do {                                                                                           \
        struct weir_error err = {0};                                                               \
        enum weir_status status_ = (call);                                                         \
        if (status_ != WEIR_OK)                                                                    \
            fail_msg("%s: %s: %s", #call, weir_status_name(status_), err.message);                 \
    } while (0)

/* The call says this status, with a message that holds `part`. */
#define says(expected, part, call)                                                                 \
    do {                                                                                           \
        struct weir_error err = {0};                                                               \
        enum weir_status status_ = (call);                                                         \
        assert_string_equal(weir_status_name(status_), weir_status_name(expected));                \
        assert_int_equal(err.status, expected);                                                    \
        if (!strstr(err.message, part))                                                            \
            fail_msg("the message \"%s\" does not hold \"%s\"", err.message, part);                \
    } while (0)

struct house {
    struct weir_engine *engine;
    struct weir_pool *pool;
};

/* Retries come at once, so that no test waits for them: AIMD, whose waits can be set. */
static inline struct weir_pool_options quick_options(uint64_t size)
{
    struct weir_pool_options o;

    weir_pool_options_init(&o);
    o.size = size;
    o.retry_delay_ms = 1;
    o.throttle = WEIR_THROTTLE_AIMD;
    o.recovery_step_ms = 1;
    o.max_dispatch_delay_ms = 4;
    return o;
}

static inline struct house house_open_with(const struct weir_pool_options *o, weir_work_fn work,
                                           void *ctx)
{
    struct house h = {0};

    ok(weir_open(&(struct weir_options){.seed = 1}, &h.engine, &err));
    ok(weir_pool_open_thread(h.engine, o, work, ctx, &h.pool, &err));
    return h;
}

static inline struct house house_open(uint64_t size, weir_work_fn work, void *ctx)
{
    struct weir_pool_options o = quick_options(size);

    return house_open_with(&o, work, ctx);
}

/* Everything has come to rest: no attempt, no row. */
static inline void house_close(struct house *h)
{
    struct weir_stats s;

    ok(weir_pool_stats(h->pool, &s, &err));
    assert_int_equal(s.pending, 0);
    ok(weir_close(h->engine, &err));
}

/* Rows "0", "1", ... whose data is their number; to be freed. user is the row's place. */
static inline struct weir_row *rows_make(size_t count)
{
    struct weir_row *rows = calloc(count ? count : 1, sizeof *rows + sizeof(uint64_t));
    uint64_t *numbers = (uint64_t *)(void *)(rows + count);

    assert_non_null(rows);
    for (size_t i = 0; i < count; i++) {
        numbers[i] = i;
        rows[i].data = &numbers[i];
        rows[i].len = sizeof numbers[i];
        rows[i].user = (void *)(uintptr_t)i;
    }
    return rows;
}

static inline uint64_t row_number(const struct weir_row *row)
{
    uint64_t n;

    memcpy(&n, row->data, sizeof n);
    return n;
}

/* A callback that gives its row back. */
static inline void echo(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    (void)ctx;
    weir_answer_ok(answer, row->data, row->len);
}

/* Adds count rows without waiting, and ends the batch. */
static inline void add_all(struct weir_batch *b, const struct weir_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ok(weir_batch_add(b, &rows[i], false, &err));
    ok(weir_batch_end(b, &err));
}

#endif
