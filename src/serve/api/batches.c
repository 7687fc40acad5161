/*
 * Batches: listed, looked at, ended, cancelled, tried again (internal.h).
 */
#include "serve/api/internal.h"

struct page {
    struct buf out;
    uint64_t limit, count, last;
    bool more;
};

static bool put_listed(void *ctx, const struct registry_batch *b)
{
    struct page *p = ctx;

    if (p->count == p->limit) {
        p->more = true;
        return false;
    }
    if (p->count++ > 0)
        buf_putc(&p->out, ',');
    out_batch(&p->out, b);
    p->last = b->id;
    return !p->out.failed;
}

void get_batches(struct http_request *req, void *ctx)
{
    struct api *a = ctx;
    struct page p = {.limit = LIST_LIMIT};
    struct registry_reader *r;
    struct out_object o;
    struct weir_error err;
    enum weir_status status;
    uint64_t after = 0;

    if (!query_u64(req, "limit", 1, LIST_LIMIT_MAX, &p.limit) || !query_cursor(req, false, &after))
        return;
    r = reader_take(a, req);
    if (!r)
        return;
    o = out_begin(&p.out);
    out_name(&o, "batches");
    buf_putc(&p.out, '[');
    status = r->ops->batches(r, after, (uint32_t)p.limit + 1, put_listed, &p, &err);
    reader_give(a, r);
    buf_putc(&p.out, ']');
    put_cursor(&o, false, p.more ? p.last : 0);
    out_end(&o);
    if (status == WEIR_OK)
        http_reply_json(req, 200, &p.out);
    else
        reply_failure(req, &err, "batch");
    buf_free(&p.out);
}

static void reply_batch(struct api *a, struct http_request *req, uint64_t id)
{
    struct registry_reader *r = reader_take(a, req);
    struct registry_batch batch;
    struct weir_error err = {0};
    struct buf out = {0};

    if (!r)
        return;
    if (r->ops->batch(r, id, &batch, &err) == WEIR_OK) {
        out_batch(&out, &batch);
        http_reply_json(req, 200, &out);
    } else {
        reply_failure(req, &err, "such batch");
    }
    reader_give(a, r);
    buf_free(&out);
}

void get_batch(struct http_request *req, void *ctx)
{
    uint64_t id;

    if (request_id(req, "batch", &id))
        reply_batch(ctx, req, id);
}

/* ---- changes ---- */

/* A call about a batch that is there. NULL: answered. */
static struct call *call_for_batch(struct http_request *req, void *ctx)
{
    struct api *a = ctx;
    struct registry_reader *r;
    struct registry_batch batch;
    struct weir_error err = {0};
    enum weir_status status;
    struct call *c;
    uint64_t id;

    if (!request_id(req, "batch", &id))
        return NULL;
    r = reader_take(a, req);
    if (!r)
        return NULL;
    status = r->ops->batch(r, id, &batch, &err);
    reader_give(a, r);
    if (status != WEIR_OK) {
        reply_failure(req, &err, "such batch");
        return NULL;
    }
    c = call_new(a, req);
    if (!c || !request_fields(req, &c->in, NULL, 0, NULL, NULL))
        return NULL;
    c->id = id;
    return c;
}

static void ended(struct http_request *req, void *ctx)
{
    struct call *c = http_state(req);

    if (!call_failed(c, "such batch"))
        reply_batch(ctx, req, c->id);
}

void post_batch_end(struct http_request *req, void *ctx)
{
    struct call *c = call_for_batch(req, ctx);

    if (!c)
        return;
    c->op.kind = REGISTRY_BATCH_END;
    c->op.batch_end.batch = c->id;
    call_send(c, ended);
}

static void cancelled(struct http_request *req, void *ctx)
{
    struct call *c = http_state(req);
    struct buf out = {0};
    struct out_object o;

    (void)ctx;
    if (call_failed(c, "such batch"))
        return;
    o = out_begin(&out);
    out_u64(&o, "cancelled", c->op.cancel.ret_count);
    out_u64(&o, "cancelling", c->op.cancel.ret_running);
    out_end(&o);
    http_reply_json(req, 200, &out);
    buf_free(&out);
}

void post_batch_cancel(struct http_request *req, void *ctx)
{
    struct call *c = call_for_batch(req, ctx);

    if (!c)
        return;
    c->op.kind = REGISTRY_CANCEL;
    c->op.cancel.batch = c->id;
    call_send(c, cancelled);
}

static void retried(struct http_request *req, void *ctx)
{
    struct call *c = http_state(req);
    struct buf out = {0};
    struct out_object o;

    (void)ctx;
    if (call_failed(c, "such batch"))
        return;
    o = out_begin(&out);
    out_u64(&o, "retried", c->op.retry.ret_count);
    out_end(&o);
    http_reply_json(req, 200, &out);
    buf_free(&out);
}

void post_batch_retry(struct http_request *req, void *ctx)
{
    struct call *c = call_for_batch(req, ctx);

    if (!c)
        return;
    c->op.kind = REGISTRY_RETRY;
    c->op.retry.batch = c->id;
    call_send(c, retried);
}
