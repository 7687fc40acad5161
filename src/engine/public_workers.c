/*
 * The public face (include/weir/workers.h): calls outside of a batch, and looking at a pool's
 * workers.
 */
#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "core/dispatcher.h"
#include "core/worker/affinity.h"
#include "engine/public.h"
#include "exec/process/process.h"
#include "weir/workers.h"

#include <inttypes.h>
#include <string.h>

static enum weir_status wants_workers(const struct weir_pool *pool, const char *what,
                                      const void *needed, struct weir_error *err)
{
    if (!pool || !needed)
        return public_null(err, pool ? what : "pool");
    if (!pool->worker_rows)
        return error_set(err, WEIR_E_INVALID,
                         "the pool has no workers; open one with weir_pool_open_process()");
    return WEIR_OK;
}

/* ---- calls ---- */

struct reply {
    struct weir_reply public;
    struct engine_reply inside; /* owns the texts */
};

/* The request, and the copies that it points to: whoever called may be gone before it is read. */
struct call_payload {
    struct process_request request;
    char bytes[];
};

static enum weir_status check_call(const struct weir_call *call, struct weir_error *err)
{
    enum weir_status status;
    struct json_fault fault;

    if (!call->args && call->args_len > 0)
        return error_set(err, WEIR_E_INVALID, "args is NULL but args_len is %zu", call->args_len);
    if (call->args_len > 0 && !json_check((struct slice){call->args, call->args_len}, &fault))
        return error_set(err, WEIR_E_INVALID, "args are not JSON: at byte %zu: %s", fault.offset,
                         fault.what);
    status = public_session_check(call->session, "the call's", err);
    if (status != WEIR_OK)
        return status;
    return public_waits_check(&(struct public_wait){"timeout_ms", call->timeout_ms, 0}, 1, err);
}

static struct call_payload *copy_call(const struct weir_pool *pool, const struct weir_call *call)
{
    const char *command = call->command ? call->command : pool->worker_rows->command;
    size_t command_bytes = command ? strlen(command) + 1 : 0;
    struct call_payload *p;

    if (call->args_len > SIZE_MAX - sizeof *p - command_bytes)
        return NULL;
    p = mem_alloc(sizeof *p + command_bytes + call->args_len);
    if (!p)
        return NULL;
    p->request = (struct process_request){.args = {p->bytes + command_bytes, call->args_len}};
    if (command)
        p->request.command = memcpy(p->bytes, command, command_bytes);
    if (call->args_len > 0)
        memcpy(p->bytes + command_bytes, call->args, call->args_len);
    return p;
}

static void release_call(void *payload)
{
    mem_free(payload);
}

static void fill_reply(struct reply *r)
{
    const struct core_answer *a = &r->inside.answer;

    r->public = (struct weir_reply){
        .outcome = a->outcome,
        .reason = a->reason,
        .status = a->status,
        .message = a->message ? a->message : "",
        .output = a->output ? a->output : "",
        .output_len = a->output_len,
        .attempts = r->inside.attempts,
        .worker = r->inside.worker,
    };
    if (instant_is_none(r->inside.start_at)) {
        r->public.waited_ns = instant_diff(r->inside.complete_at, r->inside.submit_at);
        return;
    }
    r->public.waited_ns = instant_diff(r->inside.start_at, r->inside.submit_at);
    r->public.took_ns = instant_diff(r->inside.complete_at, r->inside.start_at);
}

enum weir_status weir_call(struct weir_pool *pool, const struct weir_call *call,
                           struct weir_reply **ret, struct weir_error *err)
{
    enum weir_status status =
        wants_workers(pool, call ? "ret" : "call", call ? (void *)ret : NULL, err);
    struct engine_request request = {.release = release_call};
    struct call_payload *payload;
    struct reply *r;

    if (status == WEIR_OK)
        status = check_call(call, err);
    if (status != WEIR_OK)
        return status;
    r = mem_calloc(1, sizeof *r);
    payload = copy_call(pool, call);
    if (!r || !payload) {
        mem_free(r);
        mem_free(payload);
        return error_nomem(err);
    }
    answer_init(&r->inside.answer);
    request.payload = &payload->request;
    request.payload_len = sizeof *payload + call->args_len;
    request.user = payload;
    request.session = call->session;
    request.timeout_ns = duration_from_ms(call->timeout_ms);
    status = engine_call_pool(pool->owner->engine, pool->core, &request, &r->inside, err);
    if (status != WEIR_OK) {
        mem_free(r);
        return status;
    }
    fill_reply(r);
    *ret = &r->public;
    return WEIR_OK;
}

void weir_reply_free(struct weir_reply *reply)
{
    struct reply *r = (struct reply *)reply;

    if (!r)
        return;
    answer_clear(&r->inside.answer);
    mem_free(r);
}

/* ---- looking at workers ---- */

struct workers {
    struct weir_workers public;
    struct engine_workers inside; /* owns what the histories point to */
    struct weir_worker *items;
    struct weir_worker_change *changes;
};

static void fill_worker(const struct engine *e, const struct engine_worker *from,
                        struct weir_worker *to, struct weir_worker_change *changes)
{
    *to = (struct weir_worker){
        .id = from->id,
        .place = from->place,
        .pid = from->pid,
        .state = worker_state_name(from->state),
        .health = worker_health_name(from->health),
        .in_flight = from->in_flight,
        .sessions = from->sessions,
        .requests = from->requests,
        .ok = from->ok,
        .failed = from->failed,
        .failed_checks = from->failed_checks,
        .memory_bytes = from->memory_bytes,
        .started_ns = engine_wall_ns(e, from->started_at),
        .history = changes,
        .history_count = from->move_count,
    };
    for (size_t i = 0; i < from->move_count; i++) {
        const struct worker_transition *t = &from->moves[i];

        changes[i] = (struct weir_worker_change){
            .from = worker_state_name(t->from),
            .to = worker_state_name(t->to),
            .at_ns = engine_wall_ns(e, t->at),
            .lasted_ns = t->lasted_ns,
            .reason = t->reason,
            .detail = t->detail,
        };
    }
}

static void fill_totals(struct workers *w, const struct core_stats *stats, bool has_breaker)
{
    const struct crew_counts *c = &w->inside.counts;
    const struct affinity_counts *s = &w->inside.sessions;

    w->public = (struct weir_workers){
        .count = w->inside.count,
        .items = w->items,
        .started = c->started,
        .failed_starts = c->failed_starts,
        .lost = c->lost,
        .killed = c->killed,
        .recycled = c->recycled,
        .session_hits = s->hits,
        .session_misses = s->misses,
        .session_rebinds = s->rebinds,
        .session_expiries = s->expiries,
        .sessions = s->bound,
        .breaker = has_breaker ? breaker_state_name(stats->breaker) : "off",
        .breaker_opened = stats->breaker_opened,
    };
}

static enum weir_status fill_workers(const struct weir_pool *pool, struct workers *w,
                                     struct weir_error *err)
{
    struct engine *e = pool->owner->engine;
    struct weir_worker_change *changes;
    size_t moves = 0;

    for (size_t i = 0; i < w->inside.count; i++)
        moves += w->inside.workers[i].move_count;
    w->items = mem_calloc(w->inside.count + 1, sizeof *w->items);
    w->changes = changes = mem_calloc(moves + 1, sizeof *changes);
    if (!w->items || !changes)
        return error_nomem(err);
    for (size_t i = 0; i < w->inside.count; i++) {
        fill_worker(e, &w->inside.workers[i], &w->items[i], changes);
        changes += w->inside.workers[i].move_count;
    }
    return WEIR_OK;
}

static void free_workers(struct workers *w)
{
    engine_workers_free(&w->inside);
    mem_free(w->items);
    mem_free(w->changes);
    mem_free(w);
}

enum weir_status weir_pool_workers(struct weir_pool *pool, struct weir_workers **ret,
                                   struct weir_error *err)
{
    enum weir_status status = wants_workers(pool, "ret", ret, err);
    struct core_stats stats;
    struct workers *w;

    if (status != WEIR_OK)
        return status;
    w = mem_calloc(1, sizeof *w);
    if (!w)
        return error_nomem(err);
    status = engine_pool_workers(pool->owner->engine, pool->core, &w->inside, err);
    if (status != WEIR_OK) {
        mem_free(w);
        return status;
    }
    status = fill_workers(pool, w, err);
    if (status != WEIR_OK) {
        free_workers(w);
        return status;
    }
    engine_pool_stats(pool->owner->engine, pool->core, &stats);
    fill_totals(w, &stats, core_pool_get_options(pool->core)->breaker.on);
    *ret = &w->public;
    return WEIR_OK;
}

void weir_workers_free(struct weir_workers *workers)
{
    if (workers)
        free_workers((struct workers *)workers);
}

enum weir_status weir_session_release(struct weir_pool *pool, const char *session,
                                      struct weir_error *err)
{
    enum weir_status status = wants_workers(pool, "session", session, err);

    if (status != WEIR_OK)
        return status;
    if (!engine_pool_release_session(pool->owner->engine, pool->core, session))
        return error_set(err, WEIR_E_END, "no worker of the pool holds the session %.100s",
                         session);
    return WEIR_OK;
}

enum weir_status weir_breaker_reset(struct weir_pool *pool, struct weir_error *err)
{
    if (!pool)
        return public_null(err, "pool");
    engine_pool_reset_breaker(pool->owner->engine, pool->core);
    return WEIR_OK;
}
