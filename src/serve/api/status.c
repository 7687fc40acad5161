/*
 * The dispatcher as a whole: status, history, health, configuration, its end; and files
 * (internal.h).
 */
#include "serve/api/internal.h"

/* ---- status ---- */

static bool add_states(void *ctx, const struct registry_tally *t)
{
    uint64_t *states = ctx;

    for (int s = 0; s < REGISTRY_STATES; s++)
        states[s] += t->states[s];
    return true;
}

static enum weir_status put_status(struct api *a, struct registry_reader *r, struct buf *out,
                                   struct weir_error *err)
{
    struct api_status status = {0};
    uint64_t states[REGISTRY_STATES] = {0};
    _cleanup_buf_ struct buf pools = {0};
    struct out_object o;
    enum weir_status result = r->ops->tallies(r, add_states, states, err);

    if (result == WEIR_OK)
        result = put_pools(a, r, NULL, &pools, &status, err);
    if (result != WEIR_OK)
        return result;
    o = out_status(out, &status);
    out_name(&o, "tasks");
    out_states(out, states);
    out_name(&o, "pools");
    buf_putc(out, '[');
    buf_put_slice(out, buf_slice(&pools));
    buf_putc(out, ']');
    out->failed |= pools.failed;
    out_u64(&o, "last_event", a->backend->ops->last_event(a->backend));
    out_end(&o);
    return WEIR_OK;
}

static enum weir_status make_status(void *ctx, struct buf *out, struct weir_error *err)
{
    struct api *a = ctx;
    struct registry_reader *r;
    enum weir_status status = a->backend->ops->take_reader(a->backend, &r, err);

    if (status != WEIR_OK)
        return status;
    status = put_status(a, r, out, err);
    reader_give(a, r);
    return status;
}

void get_status(struct http_request *req, void *ctx)
{
    struct weir_error err = {0};
    struct buf out = {0};

    if (api_snapshot(ctx, SNAPSHOT_STATUS, make_status, &out, &err) == WEIR_OK)
        http_reply_json(req, 200, &out);
    else
        reply_failure(req, &err, "status");
    buf_free(&out);
}

void get_healthz(struct http_request *req, void *ctx)
{
    struct buf out = {0};

    (void)ctx;
    buf_puts(&out, "{\"status\":\"ok\"}");
    http_reply_json(req, 200, &out);
    buf_free(&out);
}

void get_readyz(struct http_request *req, void *ctx)
{
    struct api_backend *b = ((struct api *)ctx)->backend;
    struct api_status status = {0};
    struct buf out = {0};

    b->ops->status(b, &status);
    if (status.stopping) {
        http_problem(req, 503, NULL, "the dispatcher is stopping");
    } else if (status.store_failing) {
        http_problem(req, 503, NULL, "the store takes nothing: %s", status.store_message);
    } else {
        buf_puts(&out, "{\"status\":\"ready\"}");
        http_reply_json(req, 200, &out);
        buf_free(&out);
    }
}

/* ---- history ---- */

static bool put_sample(void *ctx, const struct registry_sample *s)
{
    struct buf *out = ctx;

    if (out->len > 1)
        buf_putc(out, ',');
    out_sample(out, s);
    return !out->failed && out->len < LIST_BYTES_MAX;
}

/* Without `from` the last 360 samples: an hour of the finest. */
#define HISTORY_SAMPLES 360

static bool read_history(struct http_request *req, int64_t now_ns, uint64_t *ret_resolution_s,
                         int64_t *ret_from_ns, int64_t *ret_to_ns)
{
    *ret_resolution_s = 10;
    *ret_to_ns = now_ns;
    if (!query_u64(req, "resolution", 1, 3600, ret_resolution_s))
        return false;
    if (*ret_resolution_s != 10 && *ret_resolution_s != 300 && *ret_resolution_s != 3600) {
        http_problem(req, 400, NULL,
                     "the query parameter resolution: it must be 10, 300 or 3600 (seconds)");
        http_problem_add(req, "resolution", "it must be 10, 300 or 3600");
        return false;
    }
    *ret_from_ns = now_ns - (int64_t)*ret_resolution_s * HISTORY_SAMPLES * NS_PER_S;
    return query_time(req, "from", now_ns, ret_from_ns) && query_time(req, "to", now_ns, ret_to_ns);
}

void get_history(struct http_request *req, void *ctx)
{
    struct api *a = ctx;
    struct slice pool = {0};
    struct registry_reader *r;
    struct weir_error err = {0};
    struct buf out = {0};
    enum weir_status status;
    uint64_t resolution_s;
    int64_t from_ns, to_ns;

    if (!query_text(req, "pool", &pool) ||
        !read_history(req, a->backend->ops->now_ns(a->backend), &resolution_s, &from_ns, &to_ns))
        return;
    r = reader_take(a, req);
    if (!r)
        return;
    buf_putc(&out, '[');
    status = r->ops->history(r, pool.data, (uint32_t)resolution_s, from_ns, to_ns, put_sample, &out,
                             &err);
    reader_give(a, r);
    buf_putc(&out, ']');
    if (status == WEIR_OK)
        http_reply_json(req, 200, &out);
    else
        reply_failure(req, &err, "history");
    buf_free(&out);
}

/* ---- configuration, and the end ---- */

void get_config(struct http_request *req, void *ctx)
{
    const struct api_options *o = &((struct api *)ctx)->options;
    struct weir_error err = {0};
    struct buf out = {0};

    if (!o->config_show)
        reply_absent(req, "configuration here");
    else if (o->config_show(o->ctx, &out, &err) == WEIR_OK)
        http_reply_json(req, 200, &out);
    else
        reply_failure(req, &err, "configuration");
    buf_free(&out);
}

/* A reload that failed in part says what was changed, and what was not. */
static void problem_put_member(struct http_request *req, struct slice object, const char *name)
{
    struct slice value;

    if (json_member(object, name, &value))
        http_problem_put(req, name, value);
}

static void reload(struct http_request *req, void *ctx)
{
    const struct api_options *o = &((struct api *)ctx)->options;
    struct weir_error err = {0};
    struct buf out = {0};

    if (!o->config_reload) {
        reply_absent(req, "configuration here");
    } else if (o->config_reload(o->ctx, &out, &err) == WEIR_OK) {
        http_reply_json(req, 200, &out);
    } else {
        reply_failure(req, &err, "configuration");
        problem_put_member(req, buf_slice(&out), "changed");
        problem_put_member(req, buf_slice(&out), "failed");
    }
    buf_free(&out);
}

void post_config_reload(struct http_request *req, void *ctx)
{
    apart(ctx, req, reload);
}

#define GRACE_SECONDS_MAX 86400

struct shutdown_fields {
    int64_t grace_ns;
};

void post_shutdown(struct http_request *req, void *ctx)
{
    static const struct field table[] = {
        {FIELD(struct shutdown_fields, grace_ns, "grace", FIELD_DURATION),
         .max = GRACE_SECONDS_MAX}};
    struct api_backend *b = ((struct api *)ctx)->backend;
    struct arena arena = {0};
    struct body_in in = {.arena = &arena};
    struct shutdown_fields f = {.grace_ns = -1}; /* as configured */
    struct buf out = {0};

    if (request_fields(req, &in, table, COUNT_OF(table), &f, NULL)) {
        b->ops->shut_down(b, f.grace_ns);
        buf_puts(&out, "{\"state\":\"stopping\"}");
        http_reply_json(req, 202, &out);
    }
    buf_free(&out);
    faults_free(&in.faults);
    arena_free(&arena);
}

/* ---- files ---- */

static enum weir_status make_metrics(void *ctx, struct buf *out, struct weir_error *err)
{
    const struct api_options *o = &((struct api *)ctx)->options;

    return o->metrics_render(o->ctx, out, false, err);
}

static enum weir_status make_openmetrics(void *ctx, struct buf *out, struct weir_error *err)
{
    const struct api_options *o = &((struct api *)ctx)->options;

    return o->metrics_render(o->ctx, out, true, err);
}

void get_metrics(struct http_request *req, void *ctx)
{
    struct api *a = ctx;
    bool openmetrics = http_accepts(req, "application/openmetrics-text");
    enum api_snapshot which = openmetrics ? SNAPSHOT_OPENMETRICS : SNAPSHOT_METRICS;
    struct weir_error err = {0};
    struct buf out = {0};

    if (!a->options.metrics_render)
        reply_absent(req, "metrics here");
    else if (api_snapshot(a, which, openmetrics ? make_openmetrics : make_metrics, &out, &err) ==
             WEIR_OK)
        http_reply_text(req, 200,
                        openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                    : "text/plain; version=0.0.4; charset=utf-8",
                        &out);
    else
        reply_failure(req, &err, "metrics");
    buf_free(&out);
}

void get_openapi(struct http_request *req, void *ctx)
{
    (void)ctx;
    http_reply_static(req, 200, "application/yaml", api_openapi(), NULL);
}

/*
 * The page loads its own three files and asks this server, and nothing else; no other page may show
 * it in a frame. With trusted types a browser refuses to make markup of text at all, so that what a
 * task says cannot become any.
 */
static const char page_policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'";

void get_web(struct http_request *req, void *ctx)
{
    const struct api_options *o = &((struct api *)ctx)->options;
    const struct api_file *file = o->web_find ? o->web_find(o->ctx, http_path(req)) : NULL;

    if (!file) {
        reply_absent(req, "such file");
        return;
    }
    http_reply_static(req, 200, file->content_type, file->bytes, file->etag);
    http_reply_header(req, "Content-Security-Policy", page_policy);
    http_reply_header(req, "Referrer-Policy", "no-referrer");
    http_reply_header(req, "Cross-Origin-Resource-Policy", "same-origin");
    http_reply_header(req, "Cross-Origin-Opener-Policy", "same-origin");
}
