/*
 * Pools, workers, runners and the dispatcher as JSON: what the engine knows (out.h).
 */
#include "serve/api/out.h"

#include "base/json.h"

#include <inttypes.h>
#include <string.h>

#define MIB_BYTES 1048576.0

/* {"used":1.5,"limit":8}; without a quota only what is used. */
static void put_quota(struct out_object *o, const char *name, double used, double limit)
{
    struct out_object q;

    out_name(o, name);
    q = out_begin(o->buf);
    out_number(&q, "used", used);
    if (limit > 0)
        out_number(&q, "limit", limit);
    out_end(&q);
}

static void put_limits(struct out_object *o, const struct api_pool *p)
{
    struct out_object q;

    put_quota(o, "cpu", (double)p->cpu_milli / 1000, (double)p->cpu_milli_limit / 1000);
    /* In bytes, as a plain number is in a request. */
    put_quota(o, "memory", (double)p->memory_mib * MIB_BYTES,
              (double)p->memory_mib_limit * MIB_BYTES);
    if (p->reserve_share > 0) {
        out_name(o, "reserve");
        q = out_begin(o->buf);
        out_int(&q, "min_priority", p->reserve_min_priority);
        out_number(&q, "share", p->reserve_share);
        out_end(&q);
    }
    if (p->burst_places > 0) {
        out_name(o, "burst");
        q = out_begin(o->buf);
        out_u64(&q, "places", p->burst_places);
        out_number(&q, "seconds", p->burst_seconds);
        out_end(&q);
    }
}

static void put_flow(struct out_object *o, const struct api_pool *p)
{
    struct out_object q;

    if (p->throttle_kind) {
        out_name(o, "throttle");
        q = out_begin(o->buf);
        out_word(&q, "kind", p->throttle_kind);
        if (p->throttle_rate_per_s >= 0)
            out_number(&q, "rate_per_s", p->throttle_rate_per_s);
        if (p->throttle_delay_s > 0)
            out_number(&q, "delay_s", p->throttle_delay_s);
        if (p->throttle_limit >= 0)
            out_number(&q, "limit", p->throttle_limit);
        if (p->throttle_reason)
            out_word(&q, "reason", p->throttle_reason);
        out_end(&q);
    }
    if (p->breaker_state) {
        out_name(o, "breaker");
        q = out_begin(o->buf);
        out_word(&q, "state", p->breaker_state);
        out_end(&q);
    }
    if (p->held_s > 0)
        out_number(o, "held_s", p->held_s);
}

static void put_crew(struct out_object *o, const struct api_pool *p)
{
    struct out_object q;

    if (!p->has_workers)
        return;
    out_name(o, "workers");
    q = out_begin(o->buf);
    out_u64(&q, "total", p->workers_total);
    out_u64(&q, "idle", p->workers_idle);
    out_u64(&q, "busy", p->workers_busy);
    out_u64(&q, "starting", p->workers_starting);
    out_u64(&q, "unhealthy", p->workers_unhealthy);
    out_end(&q);
    out_name(o, "sessions");
    q = out_begin(o->buf);
    out_u64(&q, "bound", p->sessions_bound);
    out_u64(&q, "hits", p->session_hits);
    out_u64(&q, "misses", p->session_misses);
    out_u64(&q, "rebinds", p->session_rebinds);
    out_u64(&q, "expiries", p->session_expiries);
    out_end(&q);
}

static void put_attempts(struct out_object *o, const struct api_pool *p)
{
    struct out_object q;

    out_name(o, "attempts");
    q = out_begin(o->buf);
    for (int i = 0; i < API_OUTCOMES; i++)
        out_u64(&q, weir_outcome_name((enum weir_outcome)i), p->attempts[i]);
    out_end(&q);
}

void out_pool(struct buf *buf, const struct api_pool *p, const uint64_t queue[REGISTRY_STATES])
{
    struct out_object o = out_begin(buf);

    out_word(&o, "name", p->name);
    out_word(&o, "kind", p->kind);
    out_bool(&o, "enabled", p->enabled);
    out_bool(&o, "draining", p->draining);
    out_bool(&o, "default", p->is_default);
    out_u64(&o, "max_concurrency", p->max_concurrency);
    if (p->limit_by_hand)
        out_bool(&o, "limit_by_hand", true);
    out_u64(&o, "limit", p->limit);
    out_u64(&o, "running", p->running);
    out_number(&o, "utilisation", p->utilisation);
    out_name(&o, "skills");
    buf_putc(buf, '[');
    for (size_t i = 0; i < p->skill_count; i++) {
        if (i > 0)
            buf_putc(buf, ',');
        json_put_string(buf, slice_of(p->skills[i]));
    }
    buf_putc(buf, ']');
    put_limits(&o, p);
    put_flow(&o, p);
    put_crew(&o, p);
    out_name(&o, "queue");
    out_states(buf, queue);
    put_attempts(&o, p);
    out_end(&o);
}

void out_worker(struct buf *buf, const struct api_worker *w)
{
    struct out_object o = out_begin(buf);

    out_u64(&o, "id", w->id);
    out_u64(&o, "place", w->place);
    out_bool(&o, "extra", w->extra);
    out_word(&o, "state", w->state);
    out_word(&o, "health", w->health);
    if (w->pid > 0)
        out_int(&o, "pid", w->pid);
    out_time_if(&o, "started_at", w->started_ns);
    out_u64(&o, "in_flight", w->in_flight);
    out_u64(&o, "requests", w->requests);
    out_u64(&o, "failed", w->failed);
    out_u64_if(&o, "memory_bytes", w->memory_bytes);
    out_u64(&o, "sessions", w->sessions);
    if (w->why)
        out_word(&o, "why", w->why);
    out_end(&o);
}

/* [{"name":"workdir","slot":3}] */
static void put_runner_slots(struct out_object *o, const struct api_runner *r)
{
    struct slice names = r->slot_names;
    const char *separator = "[";

    out_name(o, "slots");
    for (size_t i = 0; i < REGISTRY_SLOTS_MAX && names.len > 0; i++) {
        const char *comma = memchr(names.data, ',', names.len);
        size_t len = comma ? (size_t)(comma - names.data) : names.len;
        struct out_object s;

        buf_puts(o->buf, separator);
        s = out_begin(o->buf);
        out_text(&s, "name", (struct slice){names.data, len});
        out_u64(&s, "slot", r->slots[i]);
        out_end(&s);
        len += comma ? 1 : 0;
        names = (struct slice){names.data + len, names.len - len};
        separator = ",";
    }
    buf_putc(o->buf, ']');
}

void out_runner(struct buf *buf, const struct api_runner *r)
{
    struct out_object o = out_begin(buf);

    /* More digits than a JSON reader's double may hold. */
    out_name(&o, "id");
    buf_printf(buf, "\"%" PRIu64 "\"", r->token);
    out_u64(&o, "task", r->task);
    out_text_if(&o, "key", slice_of(r->key));
    out_u64(&o, "attempt", r->attempt);
    out_word(&o, "pool", r->pool);
    out_u64_if(&o, "worker", r->worker);
    if (r->pid > 0)
        out_int(&o, "pid", r->pid);
    if (r->slot_names.len > 0)
        put_runner_slots(&o, r);
    out_time_if(&o, "started_at", r->started_ns);
    out_number(&o, "run_s", r->run_s);
    out_time_if(&o, "heartbeat_at", r->heartbeat_ns);
    if (r->progress >= 0)
        out_number(&o, "progress", r->progress);
    if (r->text)
        out_text_if(&o, "text", slice_of(r->text));
    if (r->cancelling)
        out_bool(&o, "cancelling", true);
    out_end(&o);
}

void out_tenant(struct buf *buf, const struct api_tenant *t)
{
    struct out_object o = out_begin(buf);

    out_text(&o, "name", t->name);
    out_number(&o, "weight", t->weight);
    out_number(&o, "had", t->had);
    out_u64(&o, "ready", t->ready);
    out_u64(&o, "running", t->running);
    out_end(&o);
}

void out_slots(struct buf *buf, const struct api_slots *s)
{
    struct out_object o = out_begin(buf);

    out_word(&o, "name", s->name);
    out_u64(&o, "count", s->count);
    out_u64(&o, "taken", s->taken);
    out_end(&o);
}

void out_dispatcher(struct buf *buf, const struct api_dispatcher *d)
{
    struct out_object o = out_begin(buf);

    out_word(&o, "policy", d->policy);
    out_number(&o, "ageing", d->ageing);
    out_u64_if(&o, "max_global_concurrency", d->max_global_concurrency);
    out_end(&o);
}

struct out_object out_status(struct buf *buf, const struct api_status *s)
{
    struct out_object o = out_begin(buf);
    struct out_object store;

    out_word(&o, "version", WEIR_VERSION);
    out_word(&o, "state", s->stopping ? "stopping" : "running");
    out_time_if(&o, "started_at", s->started_ns);
    out_number(&o, "uptime_s", s->uptime_s);
    out_word(&o, "policy", s->dispatcher.policy);
    out_u64_if(&o, "max_global_concurrency", s->dispatcher.max_global_concurrency);
    out_u64(&o, "running", s->running);
    out_number(&o, "utilisation", s->utilisation);
    out_name(&o, "store");
    store = out_begin(buf);
    out_bool(&store, "failing", s->store_failing);
    if (s->store_failing)
        out_word(&store, "message", s->store_message);
    out_u64(&store, "waiting", s->store_waiting);
    out_number(&store, "commit_ms", s->commit_ms);
    out_end(&store);
    return o;
}
