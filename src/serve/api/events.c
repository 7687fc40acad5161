/*
 * The record of events: listed, and followed (internal.h).
 */
#include "serve/api/internal.h"

#include <inttypes.h>

/* ---- filters ---- */

static bool add_kind(void *ctx, struct slice word)
{
    uint64_t *kinds = ctx;
    enum registry_event_kind kind;

    if (!registry_event_from_name(word, &kind))
        return false;
    *kinds |= UINT64_C(1) << kind;
    return true;
}

static bool read_filter(struct http_request *req, struct registry_event_filter *f)
{
    return query_text(req, "pool", &f->pool) && query_u64(req, "task", 1, UINT64_MAX, &f->task) &&
           query_u64(req, "worker", 1, UINT64_MAX, &f->worker) &&
           query_words(req, "kind",
                       "task.submitted, task.done, runner.started and others, as events have them",
                       add_kind, &f->kinds);
}

/* ---- lists ---- */

struct page {
    struct buf out;
    uint64_t limit, count, last;
    bool more;
};

static bool put_listed(void *ctx, const struct registry_event *e)
{
    struct page *p = ctx;

    if (p->count == p->limit || p->out.len >= LIST_BYTES_MAX) {
        p->more = true;
        return false;
    }
    if (p->count++ > 0)
        buf_putc(&p->out, ',');
    out_event(&p->out, e);
    p->last = e->seq;
    return !p->out.failed;
}

static void reply_events(struct api *a, struct http_request *req,
                         struct registry_event_filter *filter)
{
    struct page p = {.limit = LIST_LIMIT};
    struct registry_reader *r;
    struct out_object o;
    struct weir_error err;
    enum weir_status status;
    uint64_t after = 0;

    if (!query_order(req, &filter->newest_first) ||
        !query_u64(req, "limit", 1, LIST_LIMIT_MAX, &p.limit) ||
        !query_u64(req, "after", 0, UINT64_MAX, &after))
        return;
    r = reader_take(a, req);
    if (!r)
        return;
    o = out_begin(&p.out);
    out_name(&o, "events");
    buf_putc(&p.out, '[');
    status = r->ops->events(r, filter, after, (uint32_t)p.limit + 1, put_listed, &p, &err);
    reader_give(a, r);
    buf_putc(&p.out, ']');
    out_name(&o, "next");
    if (p.more)
        buf_printf(&p.out, "\"%" PRIu64 "\"", p.last);
    else
        buf_puts(&p.out, "null");
    out_end(&o);
    if (status == WEIR_OK)
        http_reply_json(req, 200, &p.out);
    else
        reply_failure(req, &err, "event");
    buf_free(&p.out);
}

void get_events(struct http_request *req, void *ctx)
{
    struct registry_event_filter filter = {0};

    if (read_filter(req, &filter))
        reply_events(ctx, req, &filter);
}

static bool stop_at_first(void *ctx, const struct registry_event *e)
{
    (void)e;
    *(bool *)ctx = true;
    return false;
}

/* Of a task that has been deleted there may be events still. False: answered. */
static bool task_was_there(struct api *a, struct http_request *req, uint64_t id)
{
    struct registry_event_filter filter = {.task = id};
    struct registry_reader *r = reader_take(a, req);
    struct registry_view v;
    struct weir_error err = {0};
    enum weir_status status;
    bool any = false;

    if (!r)
        return false;
    status = r->ops->task(r, id, false, &v, &err);
    if (status == WEIR_E_END &&
        r->ops->events(r, &filter, 0, 1, stop_at_first, &any, NULL) == WEIR_OK && any)
        status = WEIR_OK;
    reader_give(a, r);
    if (status != WEIR_OK)
        reply_failure(req, &err, "such task");
    return status == WEIR_OK;
}

void get_task_events(struct http_request *req, void *ctx)
{
    struct registry_event_filter filter = {0};

    if (request_id(req, "task", &filter.task) && task_was_there(ctx, req, filter.task))
        reply_events(ctx, req, &filter);
}

/* ---- following ---- */

static bool keep_seq(void *ctx, const struct registry_event *e)
{
    *(uint64_t *)ctx = e->seq;
    return false;
}

/*
 * The last event that a client may know: not what the feeder has published so far, for a list or
 * the status has told of more; and what is in the store may be read before last_event() says so.
 */
static uint64_t newest_event(struct api *a)
{
    const struct registry_event_filter filter = {.newest_first = true};
    uint64_t last = a->backend->ops->last_event(a->backend), stored = 0;
    struct registry_reader *r;

    if (a->backend->ops->take_reader(a->backend, &r, NULL) == WEIR_OK) {
        (void)r->ops->events(r, &filter, 0, 1, keep_seq, &stored, NULL);
        reader_give(a, r);
    }
    return stored > last ? stored : last;
}

void get_events_follow(struct http_request *req, void *ctx)
{
    struct api *a = ctx;
    struct registry_event_filter f = {0};
    struct sse_filter filter;
    uint64_t after = SSE_NOW;

    if (!read_filter(req, &f) || !query_u64(req, "after", 0, UINT64_MAX, &after))
        return;
    if (f.pool.len >= SSE_POOL_BYTES_MAX) {
        http_problem(req, 400, NULL, "the query parameter pool: it is longer than a name may be");
        return;
    }
    filter =
        (struct sse_filter){.task = f.task, .worker = f.worker, .pool = f.pool, .kinds = f.kinds};
    sse_hub_follow(a->hub, req, &filter, after, newest_event(a));
}
