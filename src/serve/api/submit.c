/*
 * Submitting tasks whose JSON is there whole: one, an array, a batch (internal.h). NDJSON is in
 * submit_stream.c.
 */
#include "serve/api/internal.h"
#include "serve/api/ranges.h"

/* ---- one task, or an array ---- */

/* Of the tasks of a SUBMIT, how many were known: their ids are those of before. */
static uint64_t count_existing(const struct registry_submit *submit)
{
    uint64_t existing = 0;

    for (size_t i = 0; i < submit->count; i++)
        existing += submit->ret_existing[i] ? 1 : 0;
    return existing;
}

static void reply_ids(struct http_request *req, const struct call *c)
{
    struct buf out = {0};
    struct out_object o = out_begin(&out);

    if (c->tasks.specs == &c->spec) {
        out_u64(&o, "id", c->op.submit.ret_ids[0]);
        out_bool(&o, "existing", c->op.submit.ret_existing[0]);
    } else {
        out_name(&o, "ids");
        for (size_t i = 0; i < c->tasks.count; i++) {
            buf_putc(&out, i == 0 ? '[' : ',');
            buf_put_u64(&out, c->op.submit.ret_ids[i]);
        }
        buf_putc(&out, ']');
        out_u64(&o, "existing", count_existing(&c->op.submit));
    }
    out_end(&o);
    http_reply_json(req, 201, &out);
    buf_free(&out);
}

static void submitted(struct http_request *req, void *ctx)
{
    struct call *c = http_state(req);

    (void)ctx;
    if (c->op.err.status != WEIR_OK)
        reply_refused(req, &c->op.err);
    else
        reply_ids(req, c);
}

/* c->op becomes the SUBMIT of c->tasks. False: answered. */
static bool prepare_submit(struct call *c)
{
    c->op.kind = REGISTRY_SUBMIT;
    c->op.submit = (struct registry_submit){
        .specs = c->tasks.specs,
        .count = c->tasks.count,
        .ret_ids = arena_alloc(&c->arena, c->tasks.count * sizeof(uint64_t)),
        .ret_existing = arena_alloc(&c->arena, c->tasks.count * sizeof(bool)),
    };
    if (c->op.submit.ret_ids && c->op.submit.ret_existing)
        return true;
    reply_nomem(c->req);
    return false;
}

/* Whether the first line is a value of its own, and there is more behind it. */
static bool is_lines(struct slice body)
{
    const char *end = body.len > 0 ? memchr(body.data, '\n', body.len) : NULL;
    struct slice first = {body.data, end ? (size_t)(end - body.data) : 0};

    return end && json_kind(first) == JSON_OBJECT && json_check(first, NULL) &&
           !json_check(body, NULL);
}

static bool read_tasks(struct call *c)
{
    struct slice body = http_body(c->req);
    bool ok = is_lines(body) ? body_fault(&c->in, NULL,
                                          "it is a value on each line; send that as "
                                          "Content-Type: application/x-ndjson")
                             : body_check(&c->in, NULL, body);

    if (ok && json_kind(body) == JSON_ARRAY)
        ok = tasks_in_array(&c->in, NULL, json_trim(body), &c->tasks);
    else if (ok)
        ok = task_in_one(&c->in, NULL, json_trim(body), &c->spec);
    if (ok && json_kind(body) != JSON_ARRAY)
        c->tasks = (struct tasks_in){&c->spec, 1};
    if (!ok)
        reply_faults(c->req, &c->in.faults);
    return ok;
}

void post_tasks(struct http_request *req, void *ctx)
{
    struct call *c;

    if (is_ndjson(req)) {
        end_stream(req, ctx);
        return;
    }
    c = call_new(ctx, req);
    if (c && read_tasks(c) && prepare_submit(c))
        call_send(c, submitted);
}

/* ---- more of a batch ---- */

bool batch_takes_tasks(struct api *a, struct http_request *req, uint64_t id)
{
    struct registry_reader *r = reader_take(a, req);
    struct registry_batch batch;
    struct weir_error err = {0};
    enum weir_status status;
    bool ended;

    if (!r)
        return false;
    status = r->ops->batch(r, id, &batch, &err);
    ended = status == WEIR_OK && batch.ended;
    reader_give(a, r);
    if (status != WEIR_OK)
        reply_failure(req, &err, "such batch");
    else if (ended)
        http_problem(req, 409, NULL, "the batch has been ended: it takes no more tasks");
    return status == WEIR_OK && !ended;
}

/* False: answered. */
static bool enter_batch(struct call *c, bool fresh)
{
    struct weir_error err;

    if (batch_use_enter(c->api, c->id, fresh, &c->use, &err) == WEIR_OK)
        return true;
    reply_failure(c->req, &err, "such batch");
    return false;
}

void post_batch_tasks(struct http_request *req, void *ctx)
{
    struct call *c;
    uint64_t id;

    if (is_ndjson(req)) {
        end_stream(req, ctx);
        return;
    }
    if (!request_id(req, "batch", &id) || !batch_takes_tasks(ctx, req, id))
        return;
    c = call_new(ctx, req);
    if (!c)
        return;
    c->id = id;
    if (read_tasks(c) && prepare_submit(c) && enter_batch(c, false))
        call_send(c, submitted);
}

/* ---- a batch: opened, filled, ended ---- */

struct batch_fields {
    struct slice name, tasks;
};

static bool read_batch(struct call *c)
{
    static const struct field table[] = {
        {FIELD(struct batch_fields, name, "name", FIELD_NAME)},
        {FIELD(struct batch_fields, tasks, "tasks", FIELD_VALUE)},
    };
    static const struct where tasks = {.name = {"tasks", 5}};
    struct batch_fields f = {0};

    if (!query_bool(c->req, "open", &c->open) ||
        !request_fields(c->req, &c->in, table, COUNT_OF(table), &f, NULL))
        return false;
    c->name = f.name;
    if (f.name.len == 0 && !query_name(c->req, "name", &c->name))
        return false;
    if (f.tasks.len == 0 || json_kind(f.tasks) == JSON_NULL) {
        if (c->open)
            return true;
        http_problem(c->req, 400, NULL,
                     "a batch needs tasks, unless it is opened with ?open=true to take them later");
        return false;
    }
    if (tasks_in_array(&c->in, &tasks, f.tasks, &c->tasks))
        return true;
    reply_faults(c->req, &c->in.faults);
    return false;
}

static void put_submitted(struct out_object *o, const struct registry_submit *submit)
{
    struct ranges ids = {0};

    for (size_t i = 0; i < submit->count; i++)
        ranges_add(&ids, submit->ret_ids[i], submit->ret_ids[i]);
    out_u64(o, "accepted", submit->count);
    out_u64(o, "existing", count_existing(submit));
    out_name(o, "ranges");
    ranges_put(o->buf, &ids, RANGES_MAX);
    if (ids.cut)
        out_bool(o, "ranges_cut", true);
    ranges_free(&ids);
}

static void reply_batch(struct http_request *req, void *ctx)
{
    struct call *c = http_state(req);
    struct buf out = {0};
    struct out_object o;

    (void)ctx;
    if (c->failed) {
        reply_refused(req, &c->err);
        return;
    }
    if (call_failed(c, "such batch"))
        return;
    o = out_begin(&out);
    out_u64(&o, "id", c->id);
    put_submitted(&o, &c->submit);
    out_end(&o);
    http_reply_json(req, 201, &out);
    buf_free(&out);
}

/* What has gone wrong first is what is told. */
static void note_failure(struct call *c, const struct weir_error *err)
{
    if (c->failed)
        return;
    c->failed = true;
    c->err = *err;
}

/* A batch that could not be filled is ended too: nobody knows its number. */
static void batch_filled(struct call *c)
{
    if (c->op.err.status != WEIR_OK)
        note_failure(c, &c->op.err);
    if (c->open && !c->failed) {
        http_resume(c->req);
        return;
    }
    c->op = (struct registry_op){.kind = REGISTRY_BATCH_END, .batch_end.batch = c->id};
    call_continue(c, NULL);
}

/* The steps follow each other on the clerk's thread, so that a batch is filled and ended although the client has gone. */
static void batch_opened(struct call *c)
{
    struct registry_submit submit = c->submit;
    struct weir_error err;

    if (c->op.err.status != WEIR_OK) {
        note_failure(c, &c->op.err);
        http_resume(c->req);
        return;
    }
    c->id = c->op.batch_open.ret_id;
    c->op = (struct registry_op){.kind = REGISTRY_SUBMIT, .submit = submit};
    if (c->tasks.count == 0) {
        batch_filled(c);
        return;
    }
    if (batch_use_enter(c->api, c->id, true, &c->use, &err) != WEIR_OK) {
        note_failure(c, &err);
        batch_filled(c);
        return;
    }
    call_continue(c, batch_filled);
}

void post_batches(struct http_request *req, void *ctx)
{
    struct call *c;

    if (is_ndjson(req)) {
        end_stream(req, ctx);
        return;
    }
    c = call_new(ctx, req);
    if (!c || !read_batch(c) || (c->tasks.count > 0 && !prepare_submit(c)))
        return;
    c->submit = c->op.submit;
    c->op = (struct registry_op){.kind = REGISTRY_BATCH_OPEN,
                                 .batch_open = {.name = c->name, .passing = !c->open}};
    c->step = batch_opened;
    call_send(c, reply_batch);
}
