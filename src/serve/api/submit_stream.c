/*
 * Submitting as a stream: NDJSON of any length, read in parts (internal.h, ndjson.h).
 *
 *     part of the body ──► gather ──► group ──► SUBMIT op ──► clerk ──► done: ids
 *            ▲                                                            │
 *            └───── suspended while GROUPS_MAX of them are under way ◄────┘
 *
 * So lines are read while the registry syncs, and a client is not read faster than the registry
 * takes its tasks. What has come so far is sent as it is: a slow client's tasks need not wait for
 * a full group, nor for what comes next.
 *
 * A stream is the request's and that of each op under way: a client may go while groups of it are
 * being written. What is written stays. A batch that the stream has made is ended when the stream
 * is over, however that comes; with ?open=true only when no answer has named it, for then nobody
 * else could.
 */
#include "serve/api/internal.h"

#include "base/mem.h"
#include "serve/api/ndjson.h"
#include "serve/api/ranges.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Groups under way at once. */
#define GROUPS_MAX 4
/* Ranges of ids in an answer that is sent while the client still sends; more are not told. */
#define RANGES_MAX_EARLY 1000

struct stream {
    struct api *api;
    struct http_request *req;
    struct ndjson in; /* the server's threads, one at a time */
    struct batch_use *use;
    uint64_t batch; /* 0: none */
    bool makes_batch, stays_open;
    bool wrong; /* a line was: nothing more is read */
    enum http_cut cut;

    pthread_mutex_t lock; /* of what follows */
    size_t users;         /* the request, and each op under way */
    size_t under_way;
    bool waiting;       /* the request is suspended until there is room */
    size_t room_wanted; /* how many may be under way then */
    uint64_t accepted, existing;
    struct ranges ids;
    struct ranges lines;                /* of what was accepted */
    bool failed;                        /* a group did: */
    uint64_t failed_first, failed_last; /* its lines */
    uint64_t failed_line;               /* the one at fault; 0: not known */
    struct weir_error err;
    struct registry_op batch_op; /* opens or ends the batch */
    bool opened, ended;          /* the batch, by us */
    bool settled;                /* its end has been sent, or is somebody else's */
    bool gone;                   /* the request is over */
    char *name;                  /* of the batch; NULL: none */
};

bool is_ndjson(const struct http_request *req)
{
    return http_content_is(req, "application/x-ndjson") ||
           http_content_is(req, "application/ndjson") || http_content_is(req, "application/jsonl");
}

static void stream_unref(struct stream *s)
{
    bool last;

    pthread_mutex_lock(&s->lock);
    last = --s->users == 0;
    pthread_mutex_unlock(&s->lock);
    if (!last)
        return;
    batch_use_leave(s->api, s->use);
    ndjson_free(&s->in);
    pthread_mutex_destroy(&s->lock);
    mem_free(s->name);
    ranges_free(&s->ids);
    ranges_free(&s->lines);
    mem_free(s);
}

/* ---- what was accepted ---- */

/* The registry names the task at fault by its place in the group, which nobody else knows: here it is named by its line. */
static void note_fault(struct stream *s, const struct ndjson_group *g)
{
    static const char prefix[] = "task ";
    char *text = s->err.message, *end;
    unsigned long long place;

    s->failed = true;
    s->err = g->op.err;
    s->failed_first = g->first_line;
    s->failed_last = g->last_line;
    if (strncmp(text, prefix, sizeof prefix - 1) != 0)
        return;
    place = strtoull(text + sizeof prefix - 1, &end, 10);
    if (strncmp(end, ": ", 2) != 0 || place >= g->count)
        return;
    s->failed_line = g->line_of[place];
    memmove(text, end + 2, strlen(end + 2) + 1);
}

static void note_group(struct stream *s, const struct ndjson_group *g)
{
    if (g->op.err.status != WEIR_OK) {
        if (!s->failed)
            note_fault(s, g);
        return;
    }
    s->accepted += g->count;
    ranges_add(&s->lines, g->first_line, g->last_line);
    for (size_t i = 0; i < g->count; i++) {
        s->existing += g->existing[i] ? 1 : 0;
        ranges_add(&s->ids, g->ids[i], g->ids[i]);
    }
}

/* ---- ops under way ---- */

/* One op is done: whoever waits for room goes on. Lets the lock and the stream go. */
static void op_ended(struct stream *s)
{
    bool resume;

    s->under_way--;
    resume = s->waiting && s->under_way <= s->room_wanted;
    if (resume)
        s->waiting = false;
    pthread_mutex_unlock(&s->lock);
    /* A suspended request is there, and so is its share of the stream; ours goes first, so that it is never the last. */
    if (resume) {
        struct http_request *req = s->req;

        stream_unref(s);
        http_resume(req);
    } else {
        stream_unref(s);
    }
}

/* On the clerk's thread. */
static void group_done(struct registry_op *op)
{
    struct ndjson_group *g = op->user;
    struct stream *s = g->user;

    pthread_mutex_lock(&s->lock);
    note_group(s, g);
    ndjson_group_free(g);
    op_ended(s);
}

static void begin_op(struct stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->under_way++;
    s->users++;
    pthread_mutex_unlock(&s->lock);
}

static void send_group(struct stream *s, struct ndjson_group *g)
{
    struct api_backend *b = s->api->backend;

    g->user = s;
    g->op = (struct registry_op){
        .kind = REGISTRY_SUBMIT,
        .at_ns = b->ops->now_ns(b),
        .submit = {.specs = g->specs,
                   .count = g->count,
                   .ret_ids = g->ids,
                   .ret_existing = g->existing},
        .done = group_done,
        .user = g,
    };
    begin_op(s);
    if (s->use)
        batch_use_send(s->api, s->use, g->specs, g->count, &g->op);
    else
        b->ops->send(b, &g->op);
}

static void batch_done(struct registry_op *op);

static void send_batch_op(struct stream *s, const struct registry_op *op)
{
    struct api_backend *b = s->api->backend;

    s->batch_op = *op;
    s->batch_op.at_ns = b->ops->now_ns(b);
    s->batch_op.done = batch_done;
    s->batch_op.user = s;
    begin_op(s);
    b->ops->send(b, &s->batch_op);
}

static void send_batch_end(struct stream *s)
{
    send_batch_op(s,
                  &(struct registry_op){.kind = REGISTRY_BATCH_END, .batch_end.batch = s->batch});
}

/* With the lock. Whether the batch's end is to be sent, and by whoever asks. */
static bool must_end_batch(struct stream *s)
{
    bool must = s->opened && !s->settled && (s->gone || !s->stays_open);

    s->settled = s->settled || must;
    return must;
}

/* On the clerk's thread. */
static void batch_done(struct registry_op *op)
{
    struct stream *s = op->user;
    bool end;

    pthread_mutex_lock(&s->lock);
    if (op->err.status != WEIR_OK && !s->failed) {
        s->failed = true;
        s->err = op->err;
    }
    if (op->err.status == WEIR_OK && op->kind == REGISTRY_BATCH_END)
        s->ended = true;
    if (op->err.status == WEIR_OK && op->kind == REGISTRY_BATCH_OPEN) {
        s->opened = true;
        s->batch = op->batch_open.ret_id;
    }
    end = s->gone && must_end_batch(s);
    s->users += end;
    op_ended(s);
    if (end) {
        send_batch_end(s);
        stream_unref(s);
    }
}

/* Groups that are under way go before the end of their batch, for they were sent before. */
static void stream_gone(void *state)
{
    struct stream *s = state;
    bool end;

    pthread_mutex_lock(&s->lock);
    s->gone = true;
    end = must_end_batch(s);
    pthread_mutex_unlock(&s->lock);
    if (end)
        send_batch_end(s);
    stream_unref(s);
}

/* Suspends until at most `room` ops are under way. False: that is so already. then: as http_suspend() has it. */
static bool wait_for_room(struct stream *s, size_t room, http_handler_fn then)
{
    bool wait;

    pthread_mutex_lock(&s->lock);
    wait = s->under_way > room;
    if (wait) {
        s->waiting = true;
        s->room_wanted = room;
        /* Before the lock goes: whoever resumes must find it suspended. */
        http_suspend(s->req, then);
    }
    pthread_mutex_unlock(&s->lock);
    return wait;
}

static bool has_failed(struct stream *s)
{
    bool failed;

    pthread_mutex_lock(&s->lock);
    failed = s->failed;
    pthread_mutex_unlock(&s->lock);
    return failed;
}

/* ---- the answer ---- */

static void problem_put_u64(struct http_request *req, const char *name, uint64_t n)
{
    char room[DECIMAL_BYTES];

    http_problem_put(req, name, decimal_of(n, room));
}

/* Somebody else may have ended it meanwhile. */
static bool batch_is_open(struct stream *s)
{
    struct api_backend *b = s->api->backend;
    struct registry_batch batch;
    struct registry_reader *r;

    if (s->ended || b->ops->take_reader(b, &r, NULL) != WEIR_OK)
        return !s->ended;
    if (r->ops->batch(r, s->batch, &batch, NULL) == WEIR_OK)
        s->ended = batch.ended;
    reader_give(s->api, r);
    return !s->ended;
}

/* What was accepted although something went wrong, so that the client can go on behind it. */
static void problem_put_accepted(struct stream *s)
{
    _cleanup_buf_ struct buf ids = {0}, lines = {0};
    size_t max = s->cut ? RANGES_MAX_EARLY : RANGES_MAX;

    ranges_put(&ids, &s->ids, max);
    ranges_put(&lines, &s->lines, max);
    problem_put_u64(s->req, "accepted", s->accepted);
    if (s->batch > 0) {
        problem_put_u64(s->req, "batch", s->batch);
        http_problem_put(s->req, "batch_open", batch_is_open(s) ? SLICE("true") : SLICE("false"));
    }
    if (!ids.failed)
        http_problem_put(s->req, "ranges", buf_slice(&ids));
    if (!lines.failed)
        http_problem_put(s->req, "lines", buf_slice(&lines));
    if (s->ids.cut || s->lines.cut || s->ids.count > max || s->lines.count > max)
        http_problem_put(s->req, "ranges_cut", SLICE("true"));
}

static void reply_wrong_line(struct stream *s)
{
    struct faults *f = &s->in.in.faults;
    _cleanup_buf_ struct buf where = {0};

    if (f->nomem) {
        reply_nomem(s->req);
    } else {
        buf_printf(&where, "line %llu: %s", (unsigned long long)s->in.line,
                   buf_slice(&f->first).data);
        buf_clear(&f->first);
        buf_put_slice(&f->first, buf_slice(&where));
        reply_faults(s->req, f);
    }
    problem_put_u64(s->req, "line", s->in.line);
    problem_put_accepted(s);
}

static void reply_failed_group(struct stream *s)
{
    struct weir_error err = s->err;

    if (s->failed_first > 0) {
        const char *why = s->err.message[0] ? s->err.message : weir_status_name(s->err.status);

        if (s->failed_line > 0)
            (void)snprintf(err.message, sizeof(err.message),
                           "line %llu: %.400s; none of the lines %llu to %llu is accepted",
                           (unsigned long long)s->failed_line, why,
                           (unsigned long long)s->failed_first, (unsigned long long)s->failed_last);
        else
            (void)snprintf(err.message, sizeof(err.message), "lines %llu to %llu: %.400s",
                           (unsigned long long)s->failed_first, (unsigned long long)s->failed_last,
                           why);
        reply_refused(s->req, &err);
        problem_put_u64(s->req, "line", s->failed_line > 0 ? s->failed_line : s->failed_first);
    } else {
        reply_failure(s->req, &err, "batch");
    }
    problem_put_accepted(s);
}

static void reply_cut(struct stream *s)
{
    if (s->cut == HTTP_CUT_LATE) {
        http_problem(s->req, 408, NULL,
                     "nothing has come for too long, and no more is read; what was accepted "
                     "stays: send what is behind it");
    } else if (s->cut == HTTP_CUT_TOKEN) {
        http_problem(s->req, 403, NULL,
                     "the token may not submit any more, and no more is read; what was accepted "
                     "stays");
    } else {
        http_problem(s->req, 503, NULL,
                     "the dispatcher is stopping, and reads no more; what was accepted stays: send "
                     "what is behind it when it runs again");
        http_reply_header(s->req, "Retry-After", "1");
    }
    problem_put_accepted(s);
}

static void reply_accepted(struct stream *s)
{
    struct buf out = {0};
    struct out_object o = out_begin(&out);

    if (s->makes_batch)
        out_u64(&o, "id", s->batch);
    out_u64(&o, "accepted", s->accepted);
    out_u64(&o, "existing", s->existing);
    out_name(&o, "ranges");
    ranges_put(&out, &s->ids, RANGES_MAX);
    if (s->ids.cut)
        out_bool(&o, "ranges_cut", true);
    out_end(&o);
    http_reply_json(s->req, 201, &out);
    buf_free(&out);
}

/* Nothing is under way, and the batch is settled. */
static void reply_stream(struct stream *s)
{
    if (s->failed)
        reply_failed_group(s);
    else if (s->wrong)
        reply_wrong_line(s);
    else if (s->cut)
        reply_cut(s);
    else
        reply_accepted(s);
}

/* ---- reading ---- */

/* Sends what ndjson gave. False: it was wrong. */
static bool take_group(struct stream *s, enum weir_status status, struct ndjson_group *g)
{
    if (g)
        send_group(s, g);
    if (status != WEIR_OK)
        s->wrong = true;
    return status == WEIR_OK;
}

/* If there is to be a batch: it has been opened, nothing is under way; from here on its number is known. False: it could
 * not be. */
static bool take_batch(struct stream *s)
{
    struct weir_error err;

    if (!s->makes_batch || s->use)
        return true;
    if (has_failed(s))
        return false;
    if (batch_use_enter(s->api, s->batch, true, &s->use, &err) == WEIR_OK)
        return true;
    s->failed = true;
    s->err = err;
    return false;
}

/* Nothing is under way: has the batch ended, or leaves it to the client that the answer names it to. Whether it has suspended
 * until that is done; then: as http_suspend() has it. */
static bool settle_batch(struct stream *s, http_handler_fn then)
{
    bool end;

    pthread_mutex_lock(&s->lock);
    end = must_end_batch(s);
    s->settled = true;
    pthread_mutex_unlock(&s->lock);
    if (end)
        send_batch_end(s);
    return end && wait_for_room(s, 0, then);
}

/* Something is wrong: what is under way ends, and the batch; then the answer. Returns what on_data() returns. */
static size_t stop_reading(struct stream *s, size_t len)
{
    /* Not all of it, so that we are called again. */
    if (wait_for_room(s, 0, NULL) || settle_batch(s, NULL))
        return 0;
    reply_stream(s);
    return len;
}

static size_t on_data(struct http_request *req, void *ctx, const char *data, size_t len)
{
    struct stream *s = http_state(req);
    struct ndjson_group *g;
    size_t pos = 0, taken;
    enum weir_status status;

    (void)ctx;
    if (s->wrong || has_failed(s))
        return stop_reading(s, len);
    /* The batch's number is needed first. */
    if (s->makes_batch && !s->use && wait_for_room(s, 0, NULL))
        return 0;
    if (!take_batch(s))
        return stop_reading(s, len);
    s->in.in.now_ns = s->api->backend->ops->now_ns(s->api->backend);
    while (pos < len) {
        if (wait_for_room(s, GROUPS_MAX - 1, NULL))
            return pos;
        status = ndjson_feed(&s->in, data + pos, len - pos, &taken, &g);
        if (!take_group(s, status, g)) {
            size_t rest = stop_reading(s, len - pos);

            return rest == 0 ? pos : len;
        }
        pos += taken;
    }
    /* Nobody knows when more comes. There is room for it; the clerk writes several in one transaction. */
    status = ndjson_flush(&s->in, &g);
    (void)take_group(s, status, g);
    return len;
}

/* ---- the end ---- */

static void answer(struct http_request *req, void *ctx)
{
    (void)ctx;
    reply_stream(http_state(req));
}

static void all_written(struct http_request *req, void *ctx)
{
    struct stream *s = http_state(req);

    (void)ctx;
    if (!settle_batch(s, answer))
        reply_stream(s);
}

static void send_rest(struct http_request *req, void *ctx)
{
    struct stream *s = http_state(req);
    struct ndjson_group *g;
    enum weir_status status;

    if (!s->wrong && !has_failed(s) && take_batch(s)) {
        status = ndjson_end(&s->in, &g);
        (void)take_group(s, status, g);
    }
    if (!wait_for_room(s, 0, all_written))
        all_written(req, ctx);
}

void end_stream(struct http_request *req, void *ctx)
{
    struct stream *s = http_state(req);

    if (!s->makes_batch || s->use || !wait_for_room(s, 0, send_rest))
        send_rest(req, ctx);
}

/* Whole lines that have come go with the rest; no batch that is not open yet has any. */
static void end_early(struct http_request *req, void *ctx, enum http_cut why)
{
    struct stream *s = http_state(req);
    struct ndjson_group *g;
    enum weir_status status;

    s->cut = why;
    if (!s->wrong && !has_failed(s)) {
        status = ndjson_flush(&s->in, &g);
        (void)take_group(s, status, g);
    }
    if (!wait_for_room(s, 0, all_written))
        all_written(req, ctx);
}

/* ---- the beginning ---- */

static struct stream *stream_begin(struct api *a, struct http_request *req)
{
    struct stream *s = mem_calloc(1, sizeof(*s));

    if (!s) {
        reply_nomem(req);
        return NULL;
    }
    s->api = a;
    s->req = req;
    s->users = 1;
    pthread_mutex_init(&s->lock, NULL);
    ndjson_init(&s->in, &(struct ndjson_options){0});
    s->in.in.now_ns = a->backend->ops->now_ns(a->backend);
    http_set_state(req, s, stream_gone);
    http_take_body(req, on_data);
    http_take_cut(req, end_early);
    return s;
}

void begin_tasks(struct http_request *req, void *ctx)
{
    if (is_ndjson(req))
        (void)stream_begin(ctx, req);
}

void begin_batch_tasks(struct http_request *req, void *ctx)
{
    struct stream *s;
    struct weir_error err;
    uint64_t id;

    if (!is_ndjson(req) || !request_id(req, "batch", &id) || !batch_takes_tasks(ctx, req, id))
        return;
    s = stream_begin(ctx, req);
    if (!s)
        return;
    s->batch = id;
    if (batch_use_enter(s->api, id, false, &s->use, &err) != WEIR_OK)
        reply_failure(req, &err, "such batch");
}

/* The op may outlive the request and its query. False: answered. */
static bool copy_name(struct stream *s)
{
    struct slice name = {0};

    if (!query_name(s->req, "name", &name))
        return false;
    if (name.len == 0)
        return true;
    s->name = mem_copy(name.data, name.len);
    if (!s->name)
        reply_nomem(s->req);
    return s->name != NULL;
}

void begin_batches(struct http_request *req, void *ctx)
{
    struct stream *s;
    bool open = false;

    if (!is_ndjson(req) || !query_bool(req, "open", &open))
        return;
    s = stream_begin(ctx, req);
    if (!s || !copy_name(s))
        return;
    s->makes_batch = true;
    s->stays_open = open;
    send_batch_op(s, &(struct registry_op){
                         .kind = REGISTRY_BATCH_OPEN,
                         .batch_open = {.name = slice_of(s->name), .passing = !s->stays_open}});
}
