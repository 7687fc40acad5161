/*
 * A task, a batch, an event as JSON: what the registry knows (out.h).
 */
#include "serve/api/out.h"

#include "base/json.h"
#include "serve/api/text.h"
#include "serve/api/utilisation.h"

#include <string.h>

void out_states(struct buf *buf, const uint64_t states[REGISTRY_STATES])
{
    struct out_object o = out_begin(buf);

    for (int s = 0; s < REGISTRY_STATES; s++)
        out_u64(&o, registry_state_name((enum registry_state)s), states[s]);
    out_end(&o);
}

static void put_slots(struct out_object *o, struct slice names)
{
    bool first = true;

    out_name(o, "slots");
    buf_putc(o->buf, '[');
    while (names.len > 0) {
        const char *comma = memchr(names.data, ',', names.len);
        size_t len = comma ? (size_t)(comma - names.data) : names.len;

        if (!first)
            buf_putc(o->buf, ',');
        first = false;
        json_put_string(o->buf, (struct slice){names.data, len});
        len += comma ? 1 : 0;
        names = (struct slice){names.data + len, names.len - len};
    }
    buf_putc(o->buf, ']');
}

static void put_resources(struct out_object *o, const struct registry_line *line)
{
    struct out_object r;

    if (line->cpu_milli == 0 && line->memory_mib == 0 && line->slots.len == 0)
        return;
    out_name(o, "resources");
    r = out_begin(o->buf);
    if (line->cpu_milli > 0)
        out_number(&r, "cpu", (double)line->cpu_milli / 1000);
    if (line->memory_mib > 0) {
        out_name(&r, "memory");
        buf_printf(o->buf, "\"%uMiB\"", line->memory_mib);
    }
    if (line->slots.len > 0)
        put_slots(&r, line->slots);
    out_end(&r);
}

static void put_what(struct out_object *o, const struct registry_view *v)
{
    out_u64(o, "id", v->id);
    out_text_if(o, "key", v->key);
    out_word(o, "state", registry_state_name(v->state));
    if (v->batch > 0) {
        out_u64(o, "batch", v->batch);
        out_u64(o, "place", v->place);
    }
    out_text_if(o, "pool", v->line.pool);
    out_text_if(o, "skill", v->line.skill);
    out_int(o, "priority", v->line.priority);
    out_text_if(o, "tenant", v->line.tenant);
    out_text_if(o, "session", v->line.session);
    out_text_if(o, "idempotency_key", v->idempotency_key);
}

static void put_when(struct out_object *o, const struct registry_view *v)
{
    out_time_if(o, "submitted_at", v->submitted_ns);
    out_time_if(o, "ready_at", v->ready_ns);
    out_time_if(o, "not_before", v->not_before_ns);
    out_time_if(o, "deadline", v->deadline_ns);
    out_time_if(o, "started_at", v->started_ns);
    out_time_if(o, "ended_at", v->ended_ns);
}

static void put_counts(struct out_object *o, const struct registry_view *v)
{
    out_u64(o, "attempts", v->attempts);
    out_u64(o, "failures", v->failures);
    out_u64(o, "deaths", v->deaths);
    out_u64_if(o, "max_attempts", v->max_attempts);
    out_u64(o, "capacity_retries", v->capacity_retries);
    out_seconds_if(o, "timeout_s", v->timeout_ns);
    out_u64_if(o, "blocked_by", v->blocked_by);
    if (v->run_after_failure)
        out_word(o, "on_dependency_failure", "run");
    if (v->stuck)
        out_bool(o, "stuck", true);
    if (v->cancelling)
        out_bool(o, "cancelling", true);
}

/* Of the last attempt that has ended, if one has; a task that ended without any (its deadline passed) has only a reason. Of
 * one that is tried again by hand nothing is told: what was is forgotten, and it is not done. */
static void put_outcome(struct out_object *o, const struct registry_view *v)
{
    if (v->state == REGISTRY_DONE || v->outcome != WEIR_OUTCOME_OK)
        out_word(o, "outcome", weir_outcome_name(v->outcome));
    if (v->reason != WEIR_REASON_NONE)
        out_word(o, "reason", weir_reason_name(v->reason));
    if (v->status != 0)
        out_int(o, "status", v->status);
    out_text_if(o, "message", v->message);
}

struct out_object out_task(struct buf *buf, const struct registry_view *v, unsigned what)
{
    struct out_object o = out_begin(buf);

    put_what(&o, v);
    put_when(&o, v);
    put_counts(&o, v);
    put_resources(&o, &v->line);
    out_text_if(&o, "ran_in", v->pool);
    put_outcome(&o, v);
    if (what & OUT_PAYLOAD)
        out_bytes(&o, "payload", "payload_base64", v->payload);
    if ((what & OUT_RESULT) && v->has_result) {
        out_bytes(&o, "output", "output_base64", v->output);
        if (v->errput.len > 0)
            out_text(&o, "errput", v->errput);
    }
    if (!(what & OUT_OPEN))
        out_end(&o);
    return o;
}

void out_event(struct buf *buf, const struct registry_event *e)
{
    struct out_object o = out_begin(buf);
    const char *kind = registry_event_name(e->kind);

    out_u64(&o, "seq", e->seq);
    out_time_if(&o, "at", e->at_ns);
    out_word(&o, "kind", kind ? kind : "unknown");
    out_u64_if(&o, "task", e->task);
    out_u64_if(&o, "attempt", e->attempt);
    out_text_if(&o, "pool", e->pool);
    out_u64_if(&o, "worker", e->worker);
    out_u64_if(&o, "slot", e->slot);
    out_seconds_if(&o, "duration_s", e->duration_ns);
    if (e->detail.len > 0 && json_check(e->detail, NULL)) {
        out_name(&o, "detail");
        json_put_oneline(buf, json_trim(e->detail));
    }
    out_end(&o);
}

void out_batch(struct buf *buf, const struct registry_batch *b)
{
    struct out_object o = out_begin(buf);
    uint64_t left = b->states[REGISTRY_BLOCKED] + b->states[REGISTRY_SCHEDULED] +
                    b->states[REGISTRY_READY] + b->states[REGISTRY_RUNNING];

    out_u64(&o, "id", b->id);
    out_text_if(&o, "name", b->name);
    out_time_if(&o, "opened_at", b->opened_ns);
    out_time_if(&o, "ended_at", b->ended_ns);
    out_bool(&o, "ended", b->ended);
    out_bool(&o, "finished", b->ended && left == 0);
    out_u64(&o, "total", b->total);
    out_name(&o, "tasks");
    out_states(buf, b->states);
    out_end(&o);
}

void out_sample(struct buf *buf, const struct registry_sample *s)
{
    struct out_object o = out_begin(buf);

    out_time_if(&o, "at", s->at_ns);
    out_text_if(&o, "pool", s->pool);
    out_number(&o, "running", s->running);
    out_number(&o, "limit", s->limit);
    out_number(&o, "utilisation",
               utilisation_of(s->utilisation, 1)); /* older daemons let it be more */
    out_u64(&o, "started", s->started);
    out_u64(&o, "finished", s->finished);
    out_u64(&o, "failed", s->failed);
    out_end(&o);
}
