/*
 * The dispatcher's policy, tenants, slots, and what runs (internal.h).
 */
#include "serve/api/internal.h"

/* ---- policy ---- */

static void reply_dispatcher(struct api *a, struct http_request *req)
{
    struct api_status status = {0};
    struct buf out = {0};

    a->backend->ops->status(a->backend, &status);
    out_dispatcher(&out, &status.dispatcher);
    http_reply_json(req, 200, &out);
    buf_free(&out);
}

void get_dispatcher(struct http_request *req, void *ctx)
{
    reply_dispatcher(ctx, req);
}

struct dispatcher_fields {
    int policy;
    double ageing;
    int64_t max_global_concurrency;
};

static const char *const policies[] = {"fifo", "priority", "skill", "fair-share", NULL};

static const struct field dispatcher_table[] = {
    {FIELD(struct dispatcher_fields, policy, "policy", FIELD_CHOICE), .choices = policies},
    {FIELD(struct dispatcher_fields, ageing, "ageing", FIELD_NUMBER), .min = 0, .max = 1000},
    {FIELD(struct dispatcher_fields, max_global_concurrency, "max_global_concurrency", FIELD_INT),
     .min = 0, .max = 1000000},
};

static void change_dispatcher(struct api *a, struct http_request *req,
                              const struct dispatcher_fields *f, uint64_t given)
{
    size_t max = (size_t)f->max_global_concurrency;
    struct api_dispatcher_change c = {
        .policy = given & 1 ? policies[f->policy] : NULL,
        .ageing = given & 2 ? &f->ageing : NULL,
        .max_global_concurrency = given & 4 ? &max : NULL,
    };
    struct weir_error err = {0};

    if (a->backend->ops->change_dispatcher(a->backend, &c, &err) == WEIR_OK)
        reply_dispatcher(a, req);
    else
        reply_failure(req, &err, "dispatcher");
}

static void patch(struct http_request *req, void *ctx)
{
    struct arena arena = {0};
    struct body_in in = {.arena = &arena};
    struct dispatcher_fields f = {0};
    uint64_t given;

    if (request_fields(req, &in, dispatcher_table, COUNT_OF(dispatcher_table), &f, &given)) {
        if (given == 0)
            http_problem(req, 400, NULL,
                         "nothing is to be changed: give policy, ageing or max_global_concurrency");
        else
            change_dispatcher(ctx, req, &f, given);
    }
    faults_free(&in.faults);
    arena_free(&arena);
}

void patch_dispatcher(struct http_request *req, void *ctx)
{
    apart(ctx, req, patch);
}

/* ---- lists ---- */

static void next_element(struct buf *out)
{
    if (out->len > 1)
        buf_putc(out, ',');
}

static void put_slots(void *ctx, const struct api_slots *s)
{
    next_element(ctx);
    out_slots(ctx, s);
}

static void put_runner(void *ctx, const struct api_runner *r)
{
    next_element(ctx);
    out_runner(ctx, r);
}

static void reply_list(struct http_request *req, enum weir_status status, struct buf *out,
                       const struct weir_error *err)
{
    buf_putc(out, ']');
    if (status == WEIR_OK)
        http_reply_json(req, 200, out);
    else
        reply_failure(req, err, "list");
    buf_free(out);
}

struct tenants_page {
    struct buf out, last; /* last: the last name */
    uint64_t limit, count;
    bool more;
};

static void put_tenant(void *ctx, const struct api_tenant *t)
{
    struct tenants_page *p = ctx;

    if (p->count == p->limit) {
        p->more = true;
        return;
    }
    if (p->count++ > 0)
        buf_putc(&p->out, ',');
    out_tenant(&p->out, t);
    if (p->count == p->limit)
        buf_put_slice(&p->last, t->name);
}

static void reply_tenants(struct http_request *req, struct api_backend *b, const char *after,
                          struct tenants_page *p)
{
    struct out_object o = out_begin(&p->out);
    struct weir_error err = {0};
    enum weir_status status;

    out_name(&o, "tenants");
    buf_putc(&p->out, '[');
    status = b->ops->tenants(b, after, p->limit + 1, put_tenant, p, &err);
    buf_putc(&p->out, ']');
    put_name_cursor(&o, p->more, buf_slice(&p->last));
    out_end(&o);
    p->out.failed |= p->last.failed;
    if (status == WEIR_OK)
        http_reply_json(req, 200, &p->out);
    else
        reply_failure(req, &err, "list");
}

void get_tenants(struct http_request *req, void *ctx)
{
    struct tenants_page p = {.limit = LIST_LIMIT};
    const char *after = NULL;

    if (!query_u64(req, "limit", 1, LIST_LIMIT_MAX, &p.limit) || !query_name_cursor(req, &after))
        return;
    reply_tenants(req, ((struct api *)ctx)->backend, after, &p);
    buf_free(&p.out);
    buf_free(&p.last);
}

void get_slots(struct http_request *req, void *ctx)
{
    struct api_backend *b = ((struct api *)ctx)->backend;
    struct weir_error err = {0};
    struct buf out = {0};

    buf_putc(&out, '[');
    reply_list(req, b->ops->slots(b, put_slots, &out, &err), &out, &err);
}

void get_runners(struct http_request *req, void *ctx)
{
    struct api_backend *b = ((struct api *)ctx)->backend;
    struct weir_error err = {0};
    struct buf out = {0};

    buf_putc(&out, '[');
    reply_list(req, b->ops->runners(b, put_runner, &out, &err), &out, &err);
}

/* ---- one runner ---- */

void post_runner_kill(struct http_request *req, void *ctx)
{
    struct api_backend *b = ((struct api *)ctx)->backend;
    struct weir_error err = {0};
    uint64_t token;

    if (!request_id(req, "runner", &token))
        return;
    if (b->ops->kill(b, token, &err) == WEIR_OK)
        http_reply_empty(req);
    else
        reply_failure(req, &err, "such runner");
}

#define PROGRESS_TEXT_BYTES_MAX 1024

struct heartbeat_fields {
    double progress;
    struct slice text;
};

static void beat(struct api_backend *b, struct http_request *req, uint64_t token,
                 const struct heartbeat_fields *f)
{
    const char *secret = http_bearer(req);
    struct weir_error err = {0};
    enum weir_status status;

    if (!secret) {
        http_reply_header(req, "WWW-Authenticate", "Bearer");
        http_problem(req, 401, NULL,
                     "a heartbeat needs the attempt's own token, WEIR_TOKEN of its environment");
        return;
    }
    status = b->ops->beat(b, token, secret, f->progress, f->text, &err);
    if (status == WEIR_OK)
        http_reply_empty(req);
    else if (status == WEIR_E_CONFLICT)
        http_problem(req, 403, NULL, "the token is not that of this attempt");
    else
        reply_failure(req, &err, "such runner");
}

void post_runner_heartbeat(struct http_request *req, void *ctx)
{
    static const struct field table[] = {
        {FIELD(struct heartbeat_fields, progress, "progress", FIELD_NUMBER), .min = 0, .max = 1},
        {FIELD(struct heartbeat_fields, text, "text", FIELD_TEXT), .max = PROGRESS_TEXT_BYTES_MAX},
    };
    struct arena arena = {0};
    struct body_in in = {.arena = &arena};
    struct heartbeat_fields f = {.progress = -1};
    uint64_t token;

    if (request_id(req, "runner", &token) &&
        request_fields(req, &in, table, COUNT_OF(table), &f, NULL))
        beat(((struct api *)ctx)->backend, req, token, &f);
    faults_free(&in.faults);
    arena_free(&arena);
}
