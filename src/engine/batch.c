/*
 * A batch seen from outside: adding rows, taking results, and the lock between those threads and
 * the engine's.
 *
 * Tasks travel in runs: adders append to `staged` and post one mail, however many rows come before
 * the engine reads it; the engine gathers a turn's results in `out` and hands them over at once. So
 * the cost of a lock and of waking a thread is shared by as many rows as there are. Rows of which
 * nothing special is known join the run before them, and where the core takes it, they stay
 * together to the end (core/run.c); what it delivers so is not touched here, but by whoever takes
 * it.
 */
#include "base/error.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "engine/internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#define WINDOW_BYTES_DEFAULT (UINT64_C(256) << 20)
/* So many rows that did not go in runs are given back before the engine is woken for them: it has only to let them go. */
#define OTHERS_ROWS_TOLD 64

static void chain_append(struct core_task ***tail, struct core_task *first)
{
    **tail = first;
    while (first->next)
        first = first->next;
    *tail = &first->next;
}

static struct core_task *chain_take(struct core_task **head, struct core_task ***tail)
{
    struct core_task *first = *head;

    *head = NULL;
    *tail = head;
    return first;
}

/* Under the batch's lock. */
static void post_once(struct engine_batch *b)
{
    if (b->posted)
        return;
    b->posted = true;
    engine_post(b->engine, &b->mail);
}

/* Under the batch's lock: no more rows, for this reason. */
static void refuse(struct engine_batch *b, enum weir_status why)
{
    if (!b->refusing)
        b->refusal = why;
    b->refusing = true;
    pthread_cond_broadcast(&b->room);
}

/* ---- engine's thread ---- */

void engine_batch_touch(struct engine_batch *b)
{
    if (b->is_touched)
        return;
    b->is_touched = true;
    b->next_touched = b->engine->touched;
    b->engine->touched = b;
}

/* A row that the core would not take: the batch was stopped, or shut down, between its adding and now. */
static void submit_failed(struct engine_batch *b, struct core_task *t, enum weir_status status,
                          const struct weir_error *err)
{
    pthread_mutex_lock(&b->lock);
    b->rows--;
    b->bytes -= t->payload_len;
    if (b->calls) { /* one says nothing of the next */
        pthread_mutex_unlock(&b->lock);
        call_refused(t, status, err);
        return;
    }
    if (status != WEIR_E_SHUTDOWN && status != WEIR_E_END && b->failure.status == WEIR_OK)
        b->failure = *err;
    refuse(b, status);
    pthread_mutex_unlock(&b->lock);
    t->release(t);
    if (status != WEIR_E_SHUTDOWN && status != WEIR_E_END)
        dispatcher_stop(b->engine->dispatcher, b->core, false, b->engine->now);
}

static void submit_singly(struct engine_batch *b, struct core_run *r)
{
    struct core_task *t = run_first(r);

    for (uint32_t rows = r->rows; rows > 0; rows--) {
        struct core_task *next = t->next;
        struct weir_error err;
        enum weir_status status;

        t->next = NULL;
        t->run.rows = 0;
        status = dispatcher_submit(b->engine->dispatcher, b->core, t, b->engine->now, &err);
        if (status != WEIR_OK)
            submit_failed(b, t, status, &err);
        t = next;
    }
}

static void submit(struct engine_batch *b, struct run_queue q)
{
    struct core_run *r = q.first;

    while (r) {
        struct core_run *next = r->next;

        r->next = NULL;
        r->last->next = NULL;
        /* One that does not go in one piece goes row by row, and each finds out why not. */
        if (r->single || !dispatcher_takes_runs(b->core) ||
            dispatcher_submit_run(b->engine->dispatcher, b->core, r, b->engine->now, NULL) !=
                WEIR_OK)
            submit_singly(b, r);
        r = next;
    }
}

void batch_shut_down(struct engine_batch *b)
{
    struct run_queue staged;

    pthread_mutex_lock(&b->lock);
    refuse(b, WEIR_E_SHUTDOWN);
    staged = run_queue_take(&b->staged);
    pthread_mutex_unlock(&b->lock);
    submit(b, staged);
}

static void apply_commits(struct engine_batch *b, struct core_task *t, bool failed)
{
    struct engine *e = b->engine;

    if (failed)
        dispatcher_abort(e->dispatcher, b->core, e->now);
    while (t) {
        struct core_task *next = t->next;

        t->next = NULL;
        if (failed)
            dispatcher_uncommitted(e->dispatcher, t);
        else
            dispatcher_committed(e->dispatcher, t, e->now);
        t = next;
    }
}

void batch_run_mail(struct engine *e, struct mail *m)
{
    struct engine_batch *b = list_entry(m, struct engine_batch, mail);
    struct core_task *returned, *committed;
    uint64_t returned_rows, returned_bytes;
    struct run_queue staged;
    bool ended, failed;

    pthread_mutex_lock(&b->lock);
    b->posted = false;
    staged = run_queue_take(&b->staged);
    returned_rows = b->returned_rows;
    returned_bytes = b->returned_bytes;
    b->returned_rows = b->returned_bytes = 0;
    b->others_rows = b->others_bytes = 0;
    returned = chain_take(&b->returned, &b->returned_tail);
    committed = chain_take(&b->committed, &b->committed_tail);
    ended = b->ended;
    failed = b->commit_failed;
    pthread_mutex_unlock(&b->lock);

    dispatcher_give_back_run(e->dispatcher, b->core, returned_rows, returned_bytes);
    while (returned) {
        struct core_task *next = returned->next;

        dispatcher_give_back(e->dispatcher, returned);
        returned = next;
    }
    if (committed || failed)
        apply_commits(b, committed, failed);
    submit(b, staged);
    if (ended && !b->end_told) {
        b->end_told = true;
        dispatcher_end(e->dispatcher, b->core, e->now);
    }
    engine_batch_touch(b);
}

void batch_finished(struct engine_batch *b, struct core_task *t)
{
    b->finished_bytes += answer_bytes(&t->answer);
    if (b->committer)
        committer_put(b->committer, t);
    engine_batch_touch(b);
}

void batch_retrying(struct engine_batch *b, const struct core_task *t, duration_ns wait_ns)
{
    if (!b->committer)
        return;
    committer_attempt(b->committer, t, wait_ns);
    engine_batch_touch(b);
}

void batch_deliver(struct engine_batch *b, struct core_task *t)
{
    run_queue_add_single(&b->out, t);
    engine_batch_touch(b);
}

void batch_run_finished(struct engine_batch *b, const struct core_run *r)
{
    b->finished_bytes += r->output_bytes;
    engine_batch_touch(b);
}

void batch_deliver_run(struct engine_batch *b, struct core_run *r)
{
    r->single = false;
    run_queue_add(&b->out, r);
    engine_batch_touch(b);
}

void batch_closed(struct engine_batch *b)
{
    pthread_mutex_lock(&b->lock);
    refuse(b, b->engine->shut_down ? WEIR_E_SHUTDOWN : WEIR_E_END);
    pthread_mutex_unlock(&b->lock);
    engine_batch_touch(b);
}

/*
 * Under the lock. The core's side can go when whoever is outside has said close, nothing of it is
 * anywhere else, and no mail about it is on its way.
 */
static void free_if_idle(struct engine_batch *b)
{
    if (!b->closing || b->posted || !dispatcher_batch_idle(b->core))
        return;
    dispatcher_free_batch(b->engine->dispatcher, b->core);
    b->core = NULL;
    list_remove(&b->link);
    b->engine->closing--;
    b->freed = true;
}

void batch_flush(struct engine_batch *b)
{
    bool closed, wake, out = b->out.first != NULL;

    if (b->committer)
        committer_kick(b->committer);
    if (b->calls)
        calls_flush(b);
    closed = dispatcher_batch_closed(b->core);
    pthread_mutex_lock(&b->lock);
    b->bytes += b->finished_bytes;
    b->finished_bytes = 0;
    run_queue_join(&b->results, &b->out);
    free_if_idle(b);
    wake = out || (closed && !b->closed);
    b->closed = b->closed || closed;
    if (b->freed) {
        /* Unlocked last: whoever closes may take it away then. */
        pthread_cond_broadcast(&b->ready);
        pthread_mutex_unlock(&b->lock);
        return;
    }
    /* Unlocked first: whoever is woken needs the lock at once. */
    pthread_mutex_unlock(&b->lock);
    if (wake)
        pthread_cond_broadcast(&b->ready);
}

/* ---- committer's thread ---- */

static void on_committed(void *ctx, struct core_task *chain, enum weir_status status,
                         const struct weir_error *err)
{
    struct engine_batch *b = ctx;

    pthread_mutex_lock(&b->lock);
    if (chain)
        chain_append(&b->committed_tail, chain);
    if (status != WEIR_OK) {
        if (b->failure.status == WEIR_OK)
            b->failure = *err;
        b->commit_failed = true;
        refuse(b, WEIR_E_END);
    }
    if (!b->freed)
        post_once(b);
    pthread_mutex_unlock(&b->lock);
}

/* ---- any other thread ---- */

struct open_batch {
    struct engine_batch *b;
    struct core_pool *pool;
    const struct engine_batch_options *options;
    struct weir_error *err;
    enum weir_status status;
};

static void open_batch(struct engine *e, void *ctx)
{
    struct open_batch *o = ctx;
    struct core_batch_options core = o->options->core;

    core.durable = o->options->store != NULL;
    /* What ends goes out in the same turn: nothing of it is held, and nobody would look again when it is gone. */
    core.output_bytes = o->b->calls ? 0 : o->b->window_bytes;
    o->status =
        dispatcher_open_batch(e->dispatcher, o->pool, &core, o->b, e->now, &o->b->core, o->err);
    if (o->status != WEIR_OK)
        return;
    o->b->runs = dispatcher_takes_runs(o->b->core);
    list_push_back(&e->open, &o->b->link);
}

static struct engine_batch *allocate(struct engine *e, const struct engine_batch_options *o)
{
    struct engine_batch *b = mem_calloc(1, sizeof *b);
    pthread_condattr_t monotonic;

    if (!b)
        return NULL;
    b->engine = e;
    b->window_rows = o->core.window_rows;
    b->calls = o->calls;
    b->window_bytes = o->window_bytes ? o->window_bytes : WINDOW_BYTES_DEFAULT;
    b->mail.run = batch_run_mail;
    b->returned_tail = &b->returned;
    b->committed_tail = &b->committed;
    pthread_mutex_init(&b->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&b->room, &monotonic);
    pthread_cond_init(&b->ready, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return b;
}

static void free_batch(struct engine_batch *b)
{
    committer_free(b->committer);
    pthread_cond_destroy(&b->ready);
    pthread_cond_destroy(&b->room);
    pthread_mutex_destroy(&b->lock);
    mem_free(b);
}

enum weir_status engine_open_batch(struct engine *e, struct core_pool *pool,
                                   const struct engine_batch_options *o, struct engine_batch **ret,
                                   struct weir_error *err)
{
    struct open_batch open = {.pool = pool, .options = o, .err = err};
    enum weir_status status = core_batch_options_check(&o->core, err);

    if (status != WEIR_OK)
        return status;
    open.b = allocate(e, o);
    if (!open.b)
        return error_nomem(err);
    if (o->store)
        status = committer_new(o->store, e->wall_offset_ns, on_committed, open.b,
                               &open.b->committer, err);
    if (status == WEIR_OK) {
        engine_call(e, open_batch, &open);
        status = open.status;
    }
    if (status != WEIR_OK) {
        free_batch(open.b);
        return status;
    }
    *ret = open.b;
    return WEIR_OK;
}

/* Under the lock. */
static bool has_room(const struct engine_batch *b)
{
    return b->rows < b->window_rows && (b->bytes < b->window_bytes || b->rows == 0);
}

static enum weir_status refused(const struct engine_batch *b, struct weir_error *err)
{
    if (b->refusal == WEIR_E_SHUTDOWN)
        return error_set(err, WEIR_E_SHUTDOWN, "the engine is shut down; it takes no more rows");
    if (b->failure.status != WEIR_OK)
        return error_set(err, WEIR_E_END, "the batch has failed: %s", b->failure.message);
    return error_set(err, WEIR_E_END, "the batch takes no more rows: it was ended or stopped");
}

void engine_batch_wait_room(struct engine_batch *b)
{
    pthread_mutex_lock(&b->lock);
    while (!b->refusing && !b->ended && !has_room(b))
        pthread_cond_wait(&b->room, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

/* Whether the row may go in a run: nothing but its work is to be done. */
static bool is_plain(const struct engine_batch *b, const struct core_task *t)
{
    return b->runs && t->deadline_ns == 0 && t->tokens == 0 && !t->refused && !t->finished_before &&
           !t->session;
}

/* Under the lock, which waiting lets go. */
static enum weir_status get_room(struct engine_batch *b, bool block, struct weir_error *err)
{
    enum weir_status status;

    while (block && !b->refusing && !b->ended && !has_room(b))
        pthread_cond_wait(&b->room, &b->lock);
    if (b->refusing || b->ended) {
        status = refused(b, err);
    } else if (!has_room(b)) {
        status = error_set(err, WEIR_E_AGAIN,
                           "the window is full (%llu rows): take results before adding more",
                           (unsigned long long)b->rows);
    } else {
        status = WEIR_OK;
    }
    return status;
}

/* Under the lock. */
static void stage(struct engine_batch *b, struct core_task *task)
{
    task->next = NULL;
    if (is_plain(b, task))
        run_queue_add_row(&b->staged, task);
    else
        run_queue_add_single(&b->staged, task);
    b->rows++;
    b->bytes += task->payload_len + answer_bytes(&task->answer);
    post_once(b);
}

enum weir_status engine_batch_add(struct engine_batch *b, struct core_task *task, bool block,
                                  struct weir_error *err)
{
    enum weir_status status;

    pthread_mutex_lock(&b->lock);
    status = get_room(b, block, err);
    if (status == WEIR_OK)
        stage(b, task);
    pthread_mutex_unlock(&b->lock);
    return status;
}

enum weir_status engine_batch_add_made(struct engine_batch *b, engine_make_fn make, void *ctx,
                                       size_t count, bool block, size_t *ret_added,
                                       struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    struct core_task *task;
    size_t added = 0;

    while (added < count && status == WEIR_OK) {
        /* Now and then others have their turn at the lock. */
        pthread_mutex_lock(&b->lock);
        do {
            if (b->refusing || b->ended || !has_room(b))
                status = get_room(b, block, err);
            task = status == WEIR_OK ? make(ctx) : NULL;
            if (!task)
                break;
            stage(b, task);
            added++;
        } while (added < count && added % RUN_ROWS_MAX > 0);
        pthread_mutex_unlock(&b->lock);
        if (!task && status == WEIR_OK)
            status = error_nomem(err);
    }
    *ret_added = added;
    return status;
}

void engine_batch_end(struct engine_batch *b)
{
    pthread_mutex_lock(&b->lock);
    b->ended = true;
    pthread_cond_broadcast(&b->room);
    post_once(b);
    pthread_mutex_unlock(&b->lock);
}

/* Under the lock: waits for a result or the end. False: the time is up. */
static bool wait_ready(struct engine_batch *b, duration_ns timeout_ns)
{
    struct instant until = instant_add(loop_clock(), timeout_ns);
    struct timespec ts = {.tv_sec = until.ns / NS_PER_S, .tv_nsec = until.ns % NS_PER_S};

    while (!b->results.first && !b->closed) {
        if (timeout_ns < 0)
            pthread_cond_wait(&b->ready, &b->lock);
        else if (pthread_cond_timedwait(&b->ready, &b->lock, &ts) == ETIMEDOUT)
            return b->results.first || b->closed;
    }
    return true;
}

enum weir_status engine_batch_next(struct engine_batch *b, duration_ns timeout_ns,
                                   struct core_task **ret_chain, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    struct core_run *runs = NULL;

    pthread_mutex_lock(&b->lock);
    if (!wait_ready(b, timeout_ns)) {
        status = WEIR_E_AGAIN;
    } else if (b->results.first) {
        runs = run_queue_take_rows(&b->results, RUN_ROWS_MAX);
    } else if (b->failure.status != WEIR_OK) {
        status = b->failure.status;
        if (err)
            *err = b->failure;
    } else {
        status = WEIR_E_END;
    }
    pthread_mutex_unlock(&b->lock);
    if (runs)
        *ret_chain = run_queue_spread(runs);
    return status;
}

/* Rows that went in a run are nobody's any more: they are released here, and the engine is told how many. */
static struct core_task *release_rows(struct core_task *chain, struct engine_batch_returned *ret)
{
    struct core_task *others = NULL, **tail = &others;

    while (chain) {
        struct core_task *t = chain;

        chain = t->next;
        t->next = NULL;
        ret->bytes += t->payload_len + answer_bytes(&t->answer);
        ret->rows++;
        if (t->in_run) {
            ret->run_rows++;
            ret->run_bytes += t->answer.output_len;
            t->release(t);
        } else {
            *tail = t;
            tail = &t->next;
        }
    }
    return others;
}

void engine_batch_returned(struct engine_batch *b, const struct engine_batch_returned *r,
                           struct core_task *others)
{
    pthread_mutex_lock(&b->lock);
    if (others)
        chain_append(&b->returned_tail, others);
    b->returned_rows += r->run_rows;
    b->returned_bytes += r->run_bytes;
    b->rows -= r->rows;
    b->bytes = b->bytes > r->bytes ? b->bytes - r->bytes : 0;
    b->others_rows += r->rows - r->run_rows;
    b->others_bytes += r->bytes - r->run_bytes;
    /* Whoever waits for room is not woken for each little bit of it, the less so while more is sure to come. */
    if (b->rows <= b->window_rows - b->window_rows / (b->results.first ? 4 : 64))
        pthread_cond_broadcast(&b->room);
    /* Nor is the engine for rows that it only counts and lets go. */
    if (b->leaving || b->others_rows >= OTHERS_ROWS_TOLD || b->others_rows >= b->window_rows / 8 ||
        b->returned_bytes + b->others_bytes >= b->window_bytes / 8)
        post_once(b);
    pthread_mutex_unlock(&b->lock);
}

void engine_batch_give_back(struct engine_batch *b, struct core_task *chain)
{
    struct engine_batch_returned r = {0};

    if (!chain)
        return;
    chain = release_rows(chain, &r);
    engine_batch_returned(b, &r, chain);
}

struct stop_batch {
    struct engine_batch *b;
    bool cancel_running;
};

static void stop_batch(struct engine *e, void *ctx)
{
    struct stop_batch *s = ctx;

    dispatcher_stop(e->dispatcher, s->b->core, s->cancel_running, e->now);
    engine_batch_touch(s->b);
}

void engine_batch_stop(struct engine_batch *b, bool cancel_running)
{
    struct stop_batch s = {b, cancel_running};

    pthread_mutex_lock(&b->lock);
    refuse(b, WEIR_E_END);
    pthread_mutex_unlock(&b->lock);
    engine_call(b->engine, stop_batch, &s);
}

struct batch_stats {
    struct engine_batch *b;
    struct core_stats *ret;
};

static void batch_stats(struct engine *e, void *ctx)
{
    struct batch_stats *s = ctx;

    (void)e;
    dispatcher_batch_stats(s->b->core, s->ret);
    if (s->b->committer)
        s->ret->unrecorded = committer_unrecorded(s->b->committer);
}

void engine_batch_stats(struct engine_batch *b, struct core_stats *ret)
{
    struct batch_stats s = {b, ret};

    engine_call(b->engine, batch_stats, &s);
}

static void close_batch(struct engine *e, void *ctx)
{
    struct engine_batch *b = ctx;

    b->closing = true;
    e->closing++;
    engine_batch_touch(b);
}

void engine_batch_close(struct engine_batch *b)
{
    if (!b)
        return;
    engine_batch_stop(b, true);
    engine_call(b->engine, close_batch, b);
    pthread_mutex_lock(&b->lock);
    b->leaving = true;
    if (!b->freed)
        post_once(b);
    while (!b->freed) {
        struct run_queue unread = run_queue_take(&b->results);

        if (!unread.first) {
            pthread_cond_wait(&b->ready, &b->lock);
            continue;
        }
        pthread_mutex_unlock(&b->lock);
        engine_batch_give_back(b, run_queue_spread(unread.first));
        pthread_mutex_lock(&b->lock);
    }
    pthread_mutex_unlock(&b->lock);
    free_batch(b);
}
