/*
 * Tasks: listed, looked at, changed (internal.h).
 */
#include "serve/api/internal.h"

#include <stdio.h>
#include <string.h>

/* ---- the list ---- */

/* A page that is being written. */
struct page {
    struct buf out;
    unsigned what;
    uint64_t limit, count, last;
    bool more;
};

static bool put_listed(void *ctx, const struct registry_view *v)
{
    struct page *p = ctx;

    if (p->count == p->limit || p->out.len >= LIST_BYTES_MAX) {
        p->more = true;
        return false;
    }
    if (p->count++ > 0)
        buf_putc(&p->out, ',');
    out_task(&p->out, v, p->what);
    p->last = v->id;
    return !p->out.failed;
}

static bool add_state(void *ctx, struct slice word)
{
    struct registry_filter *f = ctx;
    enum registry_state state;

    if (!registry_state_from_name(word, &state))
        return false;
    f->states |= 1u << state;
    return true;
}

static bool add_with(void *ctx, struct slice word)
{
    struct registry_filter *f = ctx;

    if (slice_equal(word, SLICE("payload")))
        f->with_payload = true;
    else if (slice_equal(word, SLICE("result")))
        f->with_result = true;
    else
        return false;
    return true;
}

static bool read_filter(struct http_request *req, struct registry_filter *f, struct page *p,
                        uint64_t *ret_after)
{
    return query_text(req, "pool", &f->pool) && query_text(req, "skill", &f->skill) &&
           query_text(req, "tenant", &f->tenant) && query_text(req, "session", &f->session) &&
           query_text(req, "key", &f->key) &&
           query_words(req, "state", "blocked, scheduled, ready, running, done, failed, cancelled",
                       add_state, f) &&
           query_words(req, "with", "payload and result", add_with, f) &&
           query_u64(req, "batch", 1, UINT64_MAX, &f->batch) &&
           query_bool(req, "stuck", &f->stuck) && query_order(req, &f->newest_first) &&
           query_u64(req, "limit", 1, LIST_LIMIT_MAX, &p->limit) &&
           query_cursor(req, f->newest_first, ret_after);
}

void get_tasks(struct http_request *req, void *ctx)
{
    struct api *a = ctx;
    struct page p = {.limit = LIST_LIMIT};
    struct registry_filter filter = {0};
    struct registry_reader *r;
    struct out_object o;
    struct weir_error err;
    enum weir_status status;
    uint64_t after = 0;

    if (!read_filter(req, &filter, &p, &after))
        return;
    r = reader_take(a, req);
    if (!r)
        return;
    p.what = (filter.with_payload ? OUT_PAYLOAD : 0u) | (filter.with_result ? OUT_RESULT : 0u);
    o = out_begin(&p.out);
    out_name(&o, "tasks");
    buf_putc(&p.out, '[');
    /* One more than asked for shows whether there is more. */
    status = r->ops->tasks(r, &filter, after, (uint32_t)p.limit + 1, put_listed, &p, &err);
    reader_give(a, r);
    buf_putc(&p.out, ']');
    put_cursor(&o, filter.newest_first, p.more ? p.last : 0);
    out_end(&o);
    if (status == WEIR_OK)
        http_reply_json(req, 200, &p.out);
    else
        reply_failure(req, &err, "task");
    buf_free(&p.out);
}

/* ---- one task ---- */

static bool put_id(void *ctx, const struct registry_view *v)
{
    struct buf *out = ctx;

    if (out->data[out->len - 1] != '[')
        buf_putc(out, ',');
    buf_put_u64(out, v->id);
    return !out->failed;
}

/* The backend knows the schedule; what the task names is in the record. */
static void name_what_is_missing(const struct registry_view *v, struct api_why *ret)
{
    struct slice pool = v->line.pool, skill = v->line.skill;

    if (pool.len > 0)
        (void)snprintf(
            ret->detail, sizeof(ret->detail),
            "no pool has the name \"%.*s\" that it asks for, until the configuration has "
            "one",
            (int)pool.len, pool.data);
    else if (skill.len > 0)
        (void)snprintf(ret->detail, sizeof(ret->detail),
                       "no pool offers the skill \"%.*s\" that it asks for, and there is no "
                       "default pool",
                       (int)skill.len, skill.data);
    else
        (void)snprintf(ret->detail, sizeof(ret->detail),
                       "it names neither a pool nor a skill, and there is no default pool");
}

/* Why it does not run, in a word and a sentence. False: it runs, or has ended. */
static bool find_why(struct api *a, const struct registry_view *v, struct api_why *ret)
{
    *ret = (struct api_why){0};
    switch (v->state) {
    case REGISTRY_BLOCKED:
        ret->why = v->stuck ? "stuck" : "dependencies";
        (void)snprintf(ret->detail, sizeof(ret->detail),
                       v->stuck ? "what it waits for can never be; resolve it, or cancel it"
                                : "%u of the tasks that it depends on are not done",
                       v->blocked_by);
        return true;
    case REGISTRY_SCHEDULED:
        ret->why = "time";
        (void)snprintf(ret->detail, sizeof(ret->detail), "%s",
                       v->attempts > 0 ? "it waits before its next attempt"
                                       : "its time has not come");
        return true;
    case REGISTRY_READY:
        a->backend->ops->why(a->backend, v->id, ret);
        if (ret->why && strcmp(ret->why, "no_pool") == 0)
            name_what_is_missing(v, ret);
        return ret->why != NULL;
    default:
        return false;
    }
}

static void put_why(struct api *a, struct out_object *o, const struct registry_view *v)
{
    struct api_why why;
    struct out_object w;

    if (!find_why(a, v, &why))
        return;
    out_name(o, "waits_for");
    w = out_begin(o->buf);
    out_word(&w, "why", why.why);
    if (why.detail[0])
        out_word(&w, "detail", why.detail);
    out_end(&w);
}

static enum weir_status put_whole_task(struct api *a, struct registry_reader *r, uint64_t id,
                                       struct buf *out, struct weir_error *err)
{
    struct registry_view v;
    struct out_object o;
    enum weir_status status = r->ops->task(r, id, true, &v, err);

    if (status != WEIR_OK)
        return status;
    /* The view's texts are gone with the next call. */
    o = out_task(out, &v, OUT_PAYLOAD | OUT_RESULT | OUT_OPEN);
    put_why(a, &o, &v);
    out_name(&o, "after");
    buf_putc(out, '[');
    if (!out->failed)
        status = r->ops->dependencies(r, id, false, put_id, out, err);
    buf_putc(out, ']');
    out_end(&o);
    return status;
}

void reply_task(struct api *a, struct http_request *req, uint64_t id)
{
    struct registry_reader *r = reader_take(a, req);
    struct buf out = {0};
    struct weir_error err = {0};

    if (!r)
        return;
    if (put_whole_task(a, r, id, &out, &err) == WEIR_OK)
        http_reply_json(req, 200, &out);
    else
        reply_failure(req, &err, "such task");
    reader_give(a, r);
    buf_free(&out);
}

void get_task(struct http_request *req, void *ctx)
{
    uint64_t id;

    if (request_id(req, "task", &id))
        reply_task(ctx, req, id);
}

/* ---- changes ---- */

static struct call *call_for_task(struct http_request *req, void *ctx)
{
    struct call *c;
    uint64_t id;

    if (!request_id(req, "task", &id))
        return NULL;
    c = call_new(ctx, req);
    if (c)
        c->id = id;
    return c;
}

/* The op about a task is done: the task as it is now. */
static void changed(struct http_request *req, void *ctx)
{
    struct call *c = http_state(req);

    if (!call_failed(c, "such task"))
        reply_task(ctx, req, c->id);
}

struct change_fields {
    int64_t priority, not_before_ns;
    struct slice after;
};

void patch_task(struct http_request *req, void *ctx)
{
    static const struct field table[] = {
        {FIELD(struct change_fields, priority, "priority", FIELD_INT), .min = REGISTRY_PRIORITY_MIN,
         .max = REGISTRY_PRIORITY_MAX},
        {FIELD(struct change_fields, not_before_ns, "not_before", FIELD_TIME)},
        {FIELD(struct change_fields, after, "after", FIELD_VALUE)},
    };
    static const struct where after = {.name = {"after", 5}};
    struct call *c = call_for_task(req, ctx);
    struct change_fields f = {0};
    uint64_t given;

    if (!c || !request_fields(req, &c->in, table, COUNT_OF(table), &f, &given))
        return;
    c->op.kind = REGISTRY_EDIT;
    c->op.edit.task = c->id;
    c->priority = (int32_t)f.priority;
    c->not_before_ns = f.not_before_ns;
    if (given & 1)
        c->op.edit.priority = &c->priority;
    if (given & 2)
        c->op.edit.not_before_ns = &c->not_before_ns;
    if ((given & 4) && json_kind(f.after) != JSON_NULL &&
        !task_in_after(&c->in, &after, f.after, &c->op.edit.after, &c->op.edit.after_count)) {
        reply_faults(req, &c->in.faults);
        return;
    }
    if (given == 0)
        http_problem(req, 400, NULL,
                     "nothing is to be changed: give priority, not_before or after");
    else
        call_send(c, changed);
}

static void deleted(struct http_request *req, void *ctx)
{
    (void)ctx;
    if (!call_failed(http_state(req), "such task"))
        http_reply_empty(req);
}

void delete_task(struct http_request *req, void *ctx)
{
    struct call *c = call_for_task(req, ctx);

    if (!c)
        return;
    c->op.kind = REGISTRY_DELETE;
    c->op.remove.task = c->id;
    call_send(c, deleted);
}

void post_task_cancel(struct http_request *req, void *ctx)
{
    struct call *c = call_for_task(req, ctx);

    if (!c || !request_fields(req, &c->in, NULL, 0, NULL, NULL))
        return;
    c->op.kind = REGISTRY_CANCEL;
    c->op.cancel.task = c->id;
    call_send(c, changed);
}

void post_task_retry(struct http_request *req, void *ctx)
{
    struct call *c = call_for_task(req, ctx);

    if (!c || !request_fields(req, &c->in, NULL, 0, NULL, NULL))
        return;
    c->op.kind = REGISTRY_RETRY;
    c->op.retry.task = c->id;
    call_send(c, changed);
}

static bool count_living(void *ctx, const struct registry_view *v)
{
    *(uint32_t *)ctx += v->state <= REGISTRY_RUNNING ? 1 : 0;
    return true;
}

/*
 * Whether all that a blocked task waits for can still be done, as far as is known: the last check
 * has not found it stuck, and nothing of that is cancelled, has failed or is gone.
 */
static bool waits_for_the_living(struct registry_reader *r, const struct registry_view *v)
{
    uint32_t living = 0;

    return v->state == REGISTRY_BLOCKED && !v->stuck &&
           r->ops->dependencies(r, v->id, false, count_living, &living, NULL) == WEIR_OK &&
           living >= v->blocked_by;
}

/* False: answered. */
static bool may_be_run(struct api *a, struct http_request *req, uint64_t id)
{
    struct registry_reader *r = reader_take(a, req);
    struct weir_error err = {0};
    struct registry_view v;
    enum weir_status status;
    bool waits;

    if (!r)
        return false;
    status = r->ops->task(r, id, false, &v, &err);
    waits = status == WEIR_OK && waits_for_the_living(r, &v);
    reader_give(a, r);
    if (status != WEIR_OK)
        reply_failure(req, &err, "such task");
    else if (waits)
        http_problem(req, 409, NULL,
                     "what task %llu waits for can still be done; only one that waits for what can "
                     "never be is run without it",
                     (unsigned long long)id);
    return status == WEIR_OK && !waits;
}

struct resolve_fields {
    int how;
};

void post_task_resolve(struct http_request *req, void *ctx)
{
    static const char *const hows[] = {"run", "cancel", NULL};
    static const struct field table[] = {
        {FIELD(struct resolve_fields, how, "how", FIELD_CHOICE), .choices = hows}};
    struct call *c = call_for_task(req, ctx);
    struct resolve_fields f = {0};
    uint64_t given;

    if (!c || !request_fields(req, &c->in, table, COUNT_OF(table), &f, &given))
        return;
    if (!given) {
        http_problem(req, 400, NULL,
                     "how is it to be resolved? Give {\"how\":\"run\"} or {\"how\":\"cancel\"}");
        return;
    }
    if (f.how == 0 && !may_be_run(ctx, req, c->id))
        return;
    c->op.kind = REGISTRY_RESOLVE;
    c->op.resolve.task = c->id;
    c->op.resolve.how = f.how == 0 ? REGISTRY_RESOLVE_RUN : REGISTRY_RESOLVE_CANCEL;
    call_send(c, changed);
}
