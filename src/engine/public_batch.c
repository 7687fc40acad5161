/*
 * The public face (include/weir/weir.h): batches and results.
 */
#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "engine/public.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Rows that are looked at before the first of them is added. */
#define ADD_ROWS 128

struct weir_batch {
    struct weir_engine *owner;
    struct engine_batch *batch;
    int64_t wall_offset_ns;
    /* the adders', under the engine batch's lock (make_task) */
    uint64_t next_index;
    struct row_store rows;
    /* the taking thread's: the chain at hand, the task whose result is lent, and what is used up */
    struct core_task *chain, *lent;
    struct core_task *clean, *clean_last; /* that went in runs */
    struct core_task *used, **used_tail;  /* the others */
    struct engine_batch_returned returned;
    struct weir_result result;
};

void weir_batch_options_init(struct weir_batch_options *options)
{
    struct core_batch_options core;

    if (!options)
        return;
    core_batch_options_init(&core);
    *options = (struct weir_batch_options){.window_rows = core.window_rows,
                                           .window_bytes = UINT64_C(256) << 20};
}

static enum weir_status check_options(const struct weir_batch_options *o, struct weir_error *err)
{
    if (o->window_rows < 1 || o->window_rows > BATCH_WINDOW_ROWS_MAX)
        return error_set(err, WEIR_E_INVALID,
                         "window_rows is %" PRIu32 "; it must be 1 to %" PRIu32, o->window_rows,
                         BATCH_WINDOW_ROWS_MAX);
    if (o->window_bytes < 1)
        return error_set(err, WEIR_E_INVALID, "window_bytes is 0; it must be 1 or more");
    if (o->deadline_ms < 0)
        return error_set(err, WEIR_E_INVALID,
                         "deadline_ms is %" PRId64 "; it must be 0 (none) or more", o->deadline_ms);
    if ((unsigned)o->when_alike > WEIR_ALIKE_STOP_AFTER_SHARE)
        return error_set(err, WEIR_E_INVALID, "when_alike is %d; it must be one of enum weir_alike",
                         (int)o->when_alike);
    if (o->when_alike == WEIR_ALIKE_STOP_AFTER_SHARE &&
        !(o->alike_share > 0 && o->alike_share <= 1))
        return error_set(err, WEIR_E_INVALID,
                         "alike_share is %g; it must be more than 0, and 1 at most",
                         o->alike_share);
    return WEIR_OK;
}

enum weir_status weir_batch_open(struct weir_pool *pool, const struct weir_batch_options *options,
                                 struct weir_batch **ret, struct weir_error *err)
{
    struct weir_batch_options defaults;
    struct engine_batch_options o = {0};
    struct weir_batch *b;
    enum weir_status status;

    if (!pool || !ret)
        return public_null(err, pool ? "ret" : "pool");
    weir_batch_options_init(&defaults);
    if (!options)
        options = &defaults;
    status = check_options(options, err);
    if (status != WEIR_OK)
        return status;
    core_batch_options_init(&o.core);
    o.core.window_rows = options->window_rows;
    o.core.deadline_ns = duration_from_ms(options->deadline_ms);
    o.core.unordered = options->unordered;
    o.core.on_failures = (enum core_failure_policy)options->when_alike;
    o.core.failure_share = options->alike_share;
    o.window_bytes = options->window_bytes;
    b = mem_calloc(1, sizeof *b);
    if (!b)
        return error_nomem(err);
    b->owner = pool->owner;
    b->wall_offset_ns = engine_wall_offset_ns(b->owner->engine);
    b->used_tail = &b->used;
    status = engine_open_batch(pool->owner->engine, pool->core, &o, &b->batch, err);
    if (status != WEIR_OK) {
        mem_free(b);
        return status;
    }
    row_store_init(&b->rows, pool->worker_rows);
    pthread_mutex_lock(&b->owner->lock);
    b->owner->open_batches++;
    pthread_mutex_unlock(&b->owner->lock);
    *ret = b;
    return WEIR_OK;
}

/* What a worker gets is JSON, and is looked at here, on the caller's thread. */
static enum weir_status check_worker_row(const struct weir_row *row, struct weir_error *err)
{
    struct json_fault fault;

    if (row->len > 0 && !json_check((struct slice){row->data, row->len}, &fault))
        return error_set(err, WEIR_E_INVALID,
                         "the row's data is not JSON: at byte %zu: %s; a worker gets it as `args`",
                         fault.offset, fault.what);
    return public_session_check(row->session, "the row's", err);
}

static enum weir_status check_row(const struct weir_batch *b, const struct weir_row *row,
                                  struct weir_error *err)
{
    if (!row->data && row->len > 0)
        return error_set(err, WEIR_E_INVALID, "the row's data is NULL but its len is %zu",
                         row->len);
    if (row->key && !row->key[0])
        return error_set(err, WEIR_E_INVALID, "the row's key is empty; give it a name, or NULL");
    if (row->deadline_ms < 0)
        return error_set(err, WEIR_E_INVALID,
                         "the row's deadline_ms is %" PRId64 "; it must be 0 (none) or more",
                         row->deadline_ms);
    return b->rows.worker ? check_worker_row(row, err) : WEIR_OK;
}

struct added_rows {
    struct weir_batch *batch;
    const struct weir_row *next;
    char *large; /* of the first one, when it needs it */
};

/* Under the engine batch's lock, which makes the order of adding the order of the indexes. */
static struct core_task *make_task(void *ctx)
{
    struct added_rows *a = ctx;
    struct weir_batch *b = a->batch;
    struct public_row *r = row_store_take(&b->rows, a->next, a->large);

    if (!r)
        return NULL;
    r->task.index = b->next_index++;
    row_store_count(&b->rows);
    a->next++;
    return &r->task;
}

/* Adds a row that needs memory of its own; or else as many as can be had without. */
static enum weir_status add_some(struct weir_batch *b, const struct weir_row *rows, size_t count,
                                 bool wait, size_t *ret_added, struct weir_error *err)
{
    struct added_rows added = {.batch = b, .next = rows};
    enum weir_status status = WEIR_OK;
    size_t n = 0;

    while (n < count && !row_store_needs_large(&b->rows, &rows[n]) &&
           (status = check_row(b, &rows[n], err)) == WEIR_OK)
        n++;
    if (n > 0)
        return engine_batch_add_made(b->batch, make_task, &added, n, wait, ret_added, err);
    *ret_added = 0;
    if (status == WEIR_OK)
        status = check_row(b, &rows[0], err);
    if (status != WEIR_OK)
        return status;
    added.large = row_store_large(&b->rows, &rows[0]);
    if (!added.large)
        return error_nomem(err);
    status = engine_batch_add_made(b->batch, make_task, &added, 1, wait, ret_added, err);
    if (status != WEIR_OK)
        mem_free(added.large);
    return status;
}

static enum weir_status add_rows(struct weir_batch *b, const struct weir_row *rows, size_t count,
                                 bool wait, size_t *ret_added, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    size_t n;

    for (*ret_added = 0; *ret_added < count && status == WEIR_OK; *ret_added += n) {
        size_t left = count - *ret_added;

        status = add_some(b, &rows[*ret_added], left < ADD_ROWS ? left : ADD_ROWS, wait, &n, err);
    }
    return status;
}

enum weir_status weir_batch_add(struct weir_batch *batch, const struct weir_row *row, bool wait,
                                struct weir_error *err)
{
    size_t added;

    if (!batch || !row)
        return public_null(err, batch ? "row" : "batch");
    return add_some(batch, row, 1, wait, &added, err);
}

enum weir_status weir_batch_add_many(struct weir_batch *batch, const struct weir_row *rows,
                                     size_t count, bool wait, size_t *ret_added,
                                     struct weir_error *err)
{
    enum weir_status status;
    size_t added = 0;

    if (!batch || (!rows && count > 0))
        return public_null(err, batch ? "rows" : "batch");
    status = add_rows(batch, rows, count, wait, &added, err);
    if (status == WEIR_E_INVALID)
        status = error_prefix(err, "row %zu", added);
    if (ret_added)
        *ret_added = added;
    return status;
}

enum weir_status weir_batch_end(struct weir_batch *batch, struct weir_error *err)
{
    if (!batch)
        return public_null(err, "batch");
    engine_batch_end(batch->batch);
    return WEIR_OK;
}

/* 0: it did not come to that. */
static inline int64_t wall_ns(const struct weir_batch *b, struct instant t)
{
    return instant_is_none(t) ? 0 : t.ns + b->wall_offset_ns;
}

static void fill_result(const struct weir_batch *b, const struct core_task *t,
                        struct weir_result *r)
{
    const struct core_answer *a = &t->answer;

    *r = (struct weir_result){
        .submit_index = t->index,
        .complete_index = t->complete_index,
        .submit_time_ns = wall_ns(b, t->submit_at),
        .start_time_ns = wall_ns(b, t->start_at),
        .complete_time_ns = wall_ns(b, t->complete_at),
        .deliver_time_ns = wall_ns(b, t->deliver_at),
        .buffer_wait_ns = instant_diff(t->deliver_at, t->complete_at),
        .attempts = t->attempts,
        .capacity_retries = t->capacity_retries,
        .throttled_ns = t->capacity_retries > 0 ? t->throttled_ns : 0,
        .outcome = a->outcome,
        .reason = a->reason,
        .status = a->status,
        .message = a->message ? a->message : "",
        .key = t->key,
        .output = a->output ? a->output : "",
        .output_len = a->output_len,
        .user = t->user,
        .error_output = a->errput ? a->errput : "",
        .error_output_len = a->errput_len,
    };
}

/* The result that was lent is done with. */
static void end_loan(struct weir_batch *b)
{
    struct core_task *t = b->lent;

    if (!t)
        return;
    b->lent = NULL;
    b->returned.rows++;
    b->returned.bytes += t->payload_len + answer_bytes(&t->answer);
    if (!t->in_run) {
        *b->used_tail = t;
        b->used_tail = &t->next;
        t->next = NULL;
        return;
    }
    b->returned.run_rows++;
    b->returned.run_bytes += t->answer.output_len;
    row_store_clean(t);
    if (!b->clean)
        b->clean_last = t;
    t->next = b->clean;
    b->clean = t;
}

/* Makes room for as many rows as are used up. */
static void give_back_used(struct weir_batch *b)
{
    if (b->returned.rows == 0)
        return;
    if (b->clean)
        row_store_recycle(&b->rows, b->clean, b->clean_last);
    engine_batch_returned(b->batch, &b->returned, b->used);
    b->clean = b->used = NULL;
    b->used_tail = &b->used;
    b->returned = (struct engine_batch_returned){0};
}

enum weir_status weir_batch_next(struct weir_batch *batch, int64_t timeout_ms,
                                 const struct weir_result **ret, struct weir_error *err)
{
    struct core_task *t;

    if (!batch || !ret)
        return public_null(err, batch ? "ret" : "batch");
    end_loan(batch);
    if (!batch->chain) {
        enum weir_status status;

        give_back_used(batch);
        status = engine_batch_next(batch->batch, timeout_ms < 0 ? -1 : duration_from_ms(timeout_ms),
                                   &batch->chain, err);
        if (status == WEIR_E_AGAIN)
            return error_set(err, status, "no result came in time");
        if (status == WEIR_E_END)
            return error_set(err, status, "there are no more results");
        if (status != WEIR_OK)
            return status;
    }
    t = batch->chain;
    batch->chain = t->next;
    t->next = NULL;
    batch->lent = t;
    fill_result(batch, t, &batch->result);
    /* All that is at hand is taken: room for others, before the caller finds that there is none. */
    if (!batch->chain)
        give_back_used(batch);
    *ret = &batch->result;
    return WEIR_OK;
}

enum weir_status weir_batch_stop(struct weir_batch *batch, bool cancel_running,
                                 struct weir_error *err)
{
    if (!batch)
        return public_null(err, "batch");
    engine_batch_stop(batch->batch, cancel_running);
    return WEIR_OK;
}

enum weir_status weir_batch_stats(struct weir_batch *batch, struct weir_stats *ret,
                                  struct weir_error *err)
{
    struct core_stats stats;

    if (!batch || !ret)
        return public_null(err, batch ? "ret" : "batch");
    engine_batch_stats(batch->batch, &stats);
    public_stats(&stats, ret);
    return WEIR_OK;
}

void weir_batch_close(struct weir_batch *batch)
{
    if (!batch)
        return;
    end_loan(batch);
    give_back_used(batch);
    engine_batch_give_back(batch->batch, batch->chain);
    engine_batch_close(batch->batch);
    row_store_free(&batch->rows);
    pthread_mutex_lock(&batch->owner->lock);
    batch->owner->open_batches--;
    pthread_mutex_unlock(&batch->owner->lock);
    mem_free(batch);
}

/* What weir_run gives back: one allocation for the list, one for the bytes of each result. */
struct run_results {
    struct weir_results public;
    struct weir_result items[];
};

static enum weir_status keep(struct run_results *r, const struct weir_result *one,
                             struct weir_error *err)
{
    struct weir_result *to = &r->items[r->public.count];
    size_t output_bytes = one->output_len + 1, message_bytes = strlen(one->message) + 1;
    size_t key_bytes = strlen(one->key) + 1, error_bytes = one->error_output_len + 1;
    char *p = mem_alloc(output_bytes + message_bytes + key_bytes + error_bytes);

    if (!p)
        return error_nomem(err);
    *to = *one;
    if (one->output_len > 0)
        memcpy(p, one->output, one->output_len);
    p[one->output_len] = '\0';
    to->output = p;
    to->message = memcpy(p + output_bytes, one->message, message_bytes);
    to->key = memcpy(p + output_bytes + message_bytes, one->key, key_bytes);
    /* A NUL is behind it. */
    to->error_output =
        memcpy(p + output_bytes + message_bytes + key_bytes, one->error_output, error_bytes);
    r->public.count++;
    return WEIR_OK;
}

/* Takes all results that are there; waits for the first (wait), or for all of them (to_end). */
static enum weir_status collect(struct weir_batch *b, struct run_results *r, bool wait, bool to_end,
                                struct weir_error *err)
{
    const struct weir_result *one;
    enum weir_status status;

    while ((status = weir_batch_next(b, wait ? -1 : 0, &one, err)) == WEIR_OK) {
        status = keep(r, one, err);
        if (status != WEIR_OK)
            return status;
        wait = to_end;
    }
    return status == WEIR_E_AGAIN || status == WEIR_E_END ? WEIR_OK : status;
}

/* The engine was shut down, or the batch stopped, before these rows could run: that is their result. */
static enum weir_status keep_refused(struct run_results *r, const struct weir_row *rows,
                                     size_t count, bool stopped, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    while (r->public.count < count && status == WEIR_OK) {
        const struct weir_row *row = &rows[r->public.count];
        char index[ROW_INDEX_TEXT_BYTES];
        struct weir_result refused = {
            .submit_index = r->public.count,
            .complete_index = r->public.count,
            .outcome = WEIR_OUTCOME_CANCELLED,
            .reason = WEIR_REASON_SHUTDOWN_REQUESTED,
            .message = stopped ? "the batch was stopped before the row could run"
                               : "the engine was shut down before the row could be added",
            .key = row->key ? row->key : index,
            .output = "",
            .error_output = "",
            .user = row->user,
        };

        snprintf(index, sizeof index, "%zu", r->public.count);
        status = keep(r, &refused, err);
    }
    return status;
}

static enum weir_status run_rows(struct weir_batch *b, const struct weir_row *rows, size_t count,
                                 struct run_results *r, struct weir_error *err)
{
    enum weir_status status = WEIR_OK, ended;
    size_t added = 0;

    while (added < count && status == WEIR_OK) {
        size_t n;

        status = add_rows(b, &rows[added], count - added, false, &n, err);
        added += n;
        if (status == WEIR_E_AGAIN) /* the window is full, so a result must come */
            status = collect(b, r, true, false, err);
        else if (status == WEIR_E_INVALID)
            status = error_prefix(err, "row %zu", added);
    }
    /* At an end that was not asked for the batch has failed; taking results says why. */
    if (status != WEIR_OK && status != WEIR_E_SHUTDOWN && status != WEIR_E_END)
        return status;
    ended = status;
    engine_batch_end(b->batch);
    status = collect(b, r, true, true, err);
    return status == WEIR_OK ? keep_refused(r, rows, count, ended != WEIR_E_SHUTDOWN, err) : status;
}

enum weir_status weir_run(struct weir_pool *pool, const struct weir_row *rows, size_t count,
                          const struct weir_batch_options *options, struct weir_results **ret,
                          struct weir_error *err)
{
    struct run_results *r;
    struct weir_batch *b;
    enum weir_status status;

    if (!pool || !ret || (!rows && count > 0))
        return public_null(err, !pool ? "pool" : !ret ? "ret" : "rows");
    if (options && options->unordered)
        return error_set(
            err, WEIR_E_INVALID,
            "weir_run() gives results in the order of the rows; for unordered ones open a batch");
    if (count > (SIZE_MAX - sizeof *r) / sizeof r->items[0])
        return error_nomem(err);
    r = mem_calloc(1, sizeof *r + count * sizeof r->items[0]);
    if (!r)
        return error_nomem(err);
    r->public.items = r->items;
    status = weir_batch_open(pool, options, &b, err);
    if (status == WEIR_OK) {
        status = run_rows(b, rows, count, r, err);
        if (status == WEIR_OK)
            status = weir_batch_stats(b, &r->public.stats, err);
        weir_batch_close(b);
    }
    if (status != WEIR_OK) {
        weir_results_free(&r->public);
        return status;
    }
    *ret = &r->public;
    return WEIR_OK;
}

void weir_results_free(struct weir_results *results)
{
    if (!results)
        return;
    for (size_t i = 0; i < results->count; i++)
        mem_free((void *)(uintptr_t)results->items[i].output);
    mem_free(results);
}
