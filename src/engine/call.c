/*
 * Calls outside of a batch: one piece of work, and somebody who waits for it.
 *
 * All calls of a pool are rows of one batch that delivers in any order, and that is opened by the
 * first of them and closed with the engine. So they have their turn beside the pool's other
 * batches, and everything that holds for a row holds for them.
 *
 * A call belongs to two: its caller, until it has its reply, and the engine, until nothing refers
 * to the row any more. An attempt that cannot be ended from outside may still read the payload when
 * its caller has gone; release() comes after it.
 */
#include "base/error.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "engine/internal.h"

#include <assert.h>
#include <string.h>

/* The calls of one pool. */
struct engine_calls {
    struct engine_batch *batch;
    struct core_pool *pool;
    pthread_mutex_t lock; /* of all that follows, and of the calls' fields */
    uint64_t next_index;
    struct list link; /* in the engine's list */
};

struct call {
    struct core_task task; /* first */
    struct engine_calls *calls;
    void (*release)(void *user);
    void *user;
    char *key, *session;
    pthread_cond_t ended;
    unsigned owners;
    bool delivered;        /* it has its answer */
    bool done;             /* ... or will have none: status */
    struct weir_error why; /* without one: status OK */
    struct engine_reply reply;
};

static void free_call(struct call *c)
{
    task_clear(&c->task);
    answer_clear(&c->reply.answer);
    pthread_cond_destroy(&c->ended);
    mem_free(c->session);
    mem_free(c->key);
    mem_free(c);
}

/* Under the lock, which is let go. */
static void disown(struct call *c)
{
    bool last = --c->owners == 0;

    pthread_mutex_unlock(&c->calls->lock);
    if (last)
        free_call(c);
}

/* Nothing in the engine refers to the row any more; on its thread, or where it was never given to it. */
static void on_release(struct core_task *t)
{
    struct call *c = (struct call *)(void *)t;

    if (c->release)
        c->release(c->user);
    pthread_mutex_lock(&c->calls->lock);
    if (!c->delivered && c->why.status == WEIR_OK)
        (void)error_set(&c->why, WEIR_E_SHUTDOWN,
                        "the engine was shut down before the call was accepted");
    if (!c->delivered) {
        c->done = true;
        pthread_cond_signal(&c->ended);
    }
    disown(c);
}

void call_refused(struct core_task *t, enum weir_status status, const struct weir_error *why)
{
    struct call *c = (struct call *)(void *)t;

    if (status != WEIR_E_SHUTDOWN && status != WEIR_E_END)
        c->why = *why;
    t->release(t);
}

/* On the engine's thread. */
static void deliver_call(struct engine *e, struct core_task *t)
{
    struct call *c = (struct call *)(void *)t;
    struct engine_calls *calls = c->calls;

    c->delivered = true;
    c->reply = (struct engine_reply){
        .attempts = t->attempts,
        .worker = t->worker,
        .submit_at = t->submit_at,
        .start_at = t->start_at,
        .complete_at = t->complete_at,
    };
    pthread_mutex_lock(&calls->lock);
    c->owners++; /* giving it back may be the end of it */
    pthread_mutex_unlock(&calls->lock);
    dispatcher_give_back(e->dispatcher, t);
    pthread_mutex_lock(&calls->lock);
    answer_move(&c->reply.answer, &t->answer);
    c->done = true;
    pthread_cond_signal(&c->ended);
    disown(c);
}

void calls_flush(struct engine_batch *b)
{
    struct run_queue out = run_queue_take(&b->out);
    struct core_task *chain = out.first ? run_queue_spread(out.first) : NULL;
    uint64_t rows = 0, bytes = 0;

    while (chain) {
        struct core_task *t = chain;

        chain = t->next;
        rows++;
        bytes += t->payload_len + answer_bytes(&t->answer);
        deliver_call(b->engine, t);
    }
    pthread_mutex_lock(&b->lock);
    b->rows -= rows;
    b->bytes = b->bytes > bytes ? b->bytes - bytes : 0;
    pthread_mutex_unlock(&b->lock);
}

/* ---- any other thread ---- */

static enum weir_status open_calls(struct engine *e, struct core_pool *pool,
                                   struct engine_calls **ret, struct weir_error *err)
{
    struct engine_calls *c = mem_calloc(1, sizeof *c);
    struct engine_batch_options o = {.calls = true};
    enum weir_status status;

    if (!c)
        return error_nomem(err);
    core_batch_options_init(&o.core);
    o.core.window_rows = CALLS_MAX;
    o.core.unordered = true;
    status = engine_open_batch(e, pool, &o, &c->batch, err);
    if (status != WEIR_OK) {
        mem_free(c);
        return status;
    }
    c->pool = pool;
    pthread_mutex_init(&c->lock, NULL);
    list_push_back(&e->calls, &c->link);
    *ret = c;
    return WEIR_OK;
}

static enum weir_status calls_of(struct engine *e, struct core_pool *pool,
                                 struct engine_calls **ret, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    struct engine_calls *found = NULL;

    pthread_mutex_lock(&e->calls_lock);
    list_foreach (node, &e->calls) {
        struct engine_calls *c = list_entry(node, struct engine_calls, link);

        if (c->pool == pool)
            found = c;
    }
    if (!found)
        status = open_calls(e, pool, &found, err);
    pthread_mutex_unlock(&e->calls_lock);
    if (status == WEIR_OK)
        *ret = found;
    return status;
}

void calls_close(struct engine *e)
{
    struct list *node;

    while ((node = list_pop_front(&e->calls))) {
        struct engine_calls *c = list_entry(node, struct engine_calls, link);

        engine_batch_close(c->batch);
        pthread_mutex_destroy(&c->lock);
        mem_free(c);
    }
}

static struct call *make_call(struct engine_calls *calls, const struct engine_request *r)
{
    struct call *c = mem_calloc(1, sizeof *c);

    if (!c)
        return NULL;
    task_init(&c->task);
    answer_init(&c->reply.answer);
    pthread_cond_init(&c->ended, NULL);
    c->calls = calls;
    c->release = r->release;
    c->user = r->user;
    c->owners = 2;
    c->key = mem_strdup(r->key ? r->key : "call");
    c->session = r->session ? mem_strdup(r->session) : NULL;
    if (!c->key || (r->session && !c->session)) {
        free_call(c);
        return NULL;
    }
    c->task.payload = r->payload;
    c->task.payload_len = r->payload_len;
    c->task.key = c->key;
    c->task.session = c->session;
    c->task.tokens = r->tokens;
    c->task.deadline_ns = r->timeout_ns;
    c->task.is_call = true;
    c->task.release = on_release;
    return c;
}

static enum weir_status refuse(const struct engine_request *r, enum weir_status status)
{
    if (r->release)
        r->release(r->user);
    return status;
}

/* Waits for the reply, and lets the call go. */
static enum weir_status await(struct call *c, struct engine_reply *ret, struct weir_error *err)
{
    enum weir_status status;

    pthread_mutex_lock(&c->calls->lock);
    while (!c->done)
        pthread_cond_wait(&c->ended, &c->calls->lock);
    status = c->why.status;
    if (status == WEIR_OK) {
        *ret = c->reply;
        answer_init(&ret->answer);
        answer_move(&ret->answer, &c->reply.answer);
    } else if (err) {
        *err = c->why;
    }
    disown(c);
    return status;
}

enum weir_status engine_call_pool(struct engine *e, struct core_pool *pool,
                                  const struct engine_request *r, struct engine_reply *ret,
                                  struct weir_error *err)
{
    struct engine_calls *calls;
    enum weir_status status;
    struct call *c;

    if (r->timeout_ns < 0)
        return refuse(
            r, error_set(err, WEIR_E_INVALID, "timeout is negative; it must be 0 (none) or more"));
    status = calls_of(e, pool, &calls, err);
    if (status != WEIR_OK)
        return refuse(r, status);
    c = make_call(calls, r);
    if (!c)
        return refuse(r, error_nomem(err));
    pthread_mutex_lock(&calls->lock);
    c->task.index = calls->next_index++;
    pthread_mutex_unlock(&calls->lock);
    status = engine_batch_add(calls->batch, &c->task, false, err);
    if (status != WEIR_OK) {
        free_call(c);
        return refuse(r, status);
    }
    return await(c, ret, err);
}
