/*
 * The results of a batch as NDJSON, in the order of places, while it runs (internal.h).
 *
 * A stream holds a place and some rendered rows. When these are sent it reads the next from the
 * registry; when there are none yet, and it is to follow, it waits for the feeder, which wakes all
 * of them after each commit with an end of a task in it. A slow client costs its rows of one read
 * and no more.
 */
#include "serve/api/internal.h"

#include "base/mem.h"

#include <string.h>

/* Rows of one look into the registry, and bytes at which it ends. */
#define ROWS_MAX      256
#define ROW_BYTES_MAX ((size_t)256 << 10)

struct results_stream {
    struct list link;         /* of api->followers; with its lock, and so is: */
    struct http_stream *http; /* NULL: not yet */
    struct api *api;
    uint64_t batch, from;
    bool follow, with_payload;
    struct buf rows;
    size_t sent; /* of rows */
};

bool results_wake(struct api *a)
{
    bool any;

    pthread_mutex_lock(&a->lock);
    any = !list_empty(&a->followers);
    list_foreach (node, &a->followers) {
        http_wake(list_entry(node, struct results_stream, link)->http);
    }
    pthread_mutex_unlock(&a->lock);
    return any;
}

static bool put_row(void *ctx, const struct registry_view *v)
{
    struct results_stream *s = ctx;

    out_task(&s->rows, v, OUT_RESULT | (s->with_payload ? OUT_PAYLOAD : 0u));
    buf_putc(&s->rows, '\n');
    s->from = v->place + 1;
    return !s->rows.failed && s->rows.len < ROW_BYTES_MAX;
}

/* The next rows. *ret_last: nothing will come behind them. */
static enum weir_status read_rows(struct results_stream *s, bool *ret_last)
{
    struct api_backend *b = s->api->backend;
    struct registry_reader *r;
    struct registry_batch batch;
    struct weir_error err;
    enum weir_status status = b->ops->take_reader(b, &r, &err);
    uint64_t left;

    if (status != WEIR_OK)
        return status;
    buf_clear(&s->rows);
    s->sent = 0;
    /* First whether it has ended, then its rows: so that a row which ends in between is not missed. */
    status = r->ops->batch(r, s->batch, &batch, &err);
    if (status == WEIR_OK) {
        left = batch.states[REGISTRY_BLOCKED] + batch.states[REGISTRY_SCHEDULED] +
               batch.states[REGISTRY_READY] + batch.states[REGISTRY_RUNNING];
        *ret_last = !s->follow || (batch.ended && left == 0);
        status = r->ops->results(r, s->batch, s->from, ROWS_MAX, s->with_payload, put_row, s, &err);
    }
    reader_give(s->api, r);
    return s->rows.failed ? WEIR_E_NOMEM : status;
}

static ssize_t read_stream(void *ctx, char *to, size_t max)
{
    struct results_stream *s = ctx;
    size_t len;
    bool last = false;

    if (s->sent == s->rows.len) {
        if (read_rows(s, &last) != WEIR_OK)
            return HTTP_STREAM_BROKEN;
        if (s->rows.len == 0)
            return last ? HTTP_STREAM_END : HTTP_STREAM_WAIT;
    }
    len = s->rows.len - s->sent;
    if (len > max)
        len = max;
    memcpy(to, s->rows.data + s->sent, len);
    s->sent += len;
    return (ssize_t)len;
}

static void close_stream(void *ctx)
{
    struct results_stream *s = ctx;

    pthread_mutex_lock(&s->api->lock);
    list_remove(&s->link);
    pthread_mutex_unlock(&s->api->lock);
    buf_free(&s->rows);
    mem_free(s);
}

static void start_stream(struct api *a, struct http_request *req, const struct results_stream *how)
{
    static const struct http_stream_ops ops = {.read = read_stream, .closed = close_stream};
    struct results_stream *s = mem_alloc(sizeof(*s));
    struct http_stream *http;

    if (!s) {
        reply_nomem(req);
        return;
    }
    *s = *how;
    s->api = a;
    list_init(&s->link);
    http = http_reply_stream(req, 200, "application/x-ndjson", &ops, s);
    if (!http)
        return;
    /* Its first look comes later than this, or else a wake does. */
    pthread_mutex_lock(&a->lock);
    s->http = http;
    list_push_back(&a->followers, &s->link);
    pthread_mutex_unlock(&a->lock);
    http_wake(http);
}

static bool add_with(void *ctx, struct slice word)
{
    struct results_stream *how = ctx;

    if (!slice_equal(word, SLICE("payload")))
        return false;
    how->with_payload = true;
    return true;
}

void get_batch_results(struct http_request *req, void *ctx)
{
    struct api *a = ctx;
    struct results_stream how = {0};
    struct registry_reader *r;
    struct registry_batch batch;
    struct weir_error err = {0};
    enum weir_status status;

    if (!request_id(req, "batch", &how.batch) ||
        !query_u64(req, "from", 0, UINT64_MAX / 4, &how.from) ||
        !query_bool(req, "follow", &how.follow) ||
        !query_words(req, "with", "payload", add_with, &how))
        return;
    r = reader_take(a, req);
    if (!r)
        return;
    status = r->ops->batch(r, how.batch, &batch, &err);
    reader_give(a, r);
    if (status == WEIR_OK)
        start_stream(a, req, &how);
    else
        reply_failure(req, &err, "such batch");
}
