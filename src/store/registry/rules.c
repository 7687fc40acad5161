/*
 * Checks that need nothing but the op itself, and wording. No state.
 */
#include "store/registry/rules.h"

#include "base/error.h"
#include "base/json.h"
#include "core/depend.h"

#include <inttypes.h>
#include <string.h>

static enum weir_status check_name(const char *what, struct slice name, size_t max, size_t place,
                                   struct weir_error *err)
{
    if (name.len > max)
        return error_set(err, WEIR_E_INVALID,
                         "task %zu: its %s has %zu bytes; at most %zu are allowed", place, what,
                         name.len, max);
    if (name.len > 0 && memchr(name.data, 0, name.len))
        return error_set(err, WEIR_E_INVALID, "task %zu: its %s holds a NUL byte; take it out",
                         place, what);
    return WEIR_OK;
}

/* How many kinds there are; the names themselves are the caller's to sort. */
static enum weir_status check_slots(struct slice slots, size_t place, struct weir_error *err)
{
    size_t kinds = slots.len > 0;

    for (size_t i = 0; i < slots.len; i++)
        kinds += slots.data[i] == ',';
    if (kinds > REGISTRY_SLOTS_MAX)
        return error_set(err, WEIR_E_LIMIT,
                         "task %zu: it asks for %zu kinds of slots; at most %d are allowed", place,
                         kinds, REGISTRY_SLOTS_MAX);
    return WEIR_OK;
}

static enum weir_status check_names(const struct registry_spec *s, size_t place,
                                    struct weir_error *err)
{
    const struct {
        const char *what;
        struct slice name;
    } names[] = {
        {"pool", s->line.pool},
        {"skill", s->line.skill},
        {"tenant", s->line.tenant},
        {"session", s->line.session},
        {"idempotency key", s->idempotency_key},
    };
    enum weir_status status = check_slots(s->line.slots, place, err);

    if (status == WEIR_OK)
        status = check_name("key", s->key, REGISTRY_KEY_BYTES_MAX, place, err);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && status == WEIR_OK; i++)
        status = check_name(names[i].what, names[i].name, REGISTRY_NAME_BYTES_MAX, place, err);
    if (status == WEIR_OK && s->line.pool.len > 0 && s->line.skill.len > 0)
        status = error_set(err, WEIR_E_INVALID,
                           "task %zu: it names a pool and a skill; leave out one of them", place);
    return status;
}

static enum weir_status check_after(const struct registry_spec *s, size_t place, size_t count,
                                    struct weir_error *err)
{
    if (s->after_count > REGISTRY_AFTER_MAX)
        return error_set(err, WEIR_E_LIMIT,
                         "task %zu: it depends on %" PRIu32 " tasks; at most %d are allowed", place,
                         s->after_count, REGISTRY_AFTER_MAX);
    for (uint32_t i = 0; i < s->after_count; i++)
        if (s->after[i].id == 0 && s->after[i].sibling >= count)
            return error_set(err, WEIR_E_INVALID,
                             "task %zu: it depends on task %" PRIu32 " of %zu; they count from 0",
                             place, s->after[i].sibling, count);
    return WEIR_OK;
}

static enum weir_status check_spec(const struct registry_spec *s, size_t place, size_t count,
                                   struct weir_error *err)
{
    enum weir_status status = check_names(s, place, err);

    if (status == WEIR_OK &&
        (s->line.priority < REGISTRY_PRIORITY_MIN || s->line.priority > REGISTRY_PRIORITY_MAX))
        status = error_set(err, WEIR_E_INVALID,
                           "task %zu: its priority is %" PRId32 "; it must be %d to %d", place,
                           s->line.priority, REGISTRY_PRIORITY_MIN, REGISTRY_PRIORITY_MAX);
    if (status == WEIR_OK)
        status = check_after(s, place, count, err);
    if (status == WEIR_OK && s->payload.len > REGISTRY_PAYLOAD_BYTES_MAX)
        status = error_set(err, WEIR_E_LIMIT,
                           "task %zu: its payload has %zu bytes; at most %u are allowed", place,
                           s->payload.len, REGISTRY_PAYLOAD_BYTES_MAX);
    return status;
}

enum weir_status rules_check_submit(const struct registry_submit *s, struct weir_error *err)
{
    if (s->count == 0)
        return error_set(err, WEIR_E_INVALID, "there is no task in it; give one at least");
    if (s->count > REGISTRY_SUBMIT_MAX)
        return error_set(err, WEIR_E_LIMIT, "there are %zu tasks in it; submit at most %d at once",
                         s->count, REGISTRY_SUBMIT_MAX);
    for (size_t i = 0; i < s->count; i++) {
        enum weir_status status = check_spec(&s->specs[i], i, s->count, err);

        if (status != WEIR_OK)
            return status;
    }
    return depend_check(s->specs, s->count, err);
}

enum weir_status rules_check_edit(const struct registry_edit *e, struct weir_error *err)
{
    if (e->priority &&
        (*e->priority < REGISTRY_PRIORITY_MIN || *e->priority > REGISTRY_PRIORITY_MAX))
        return error_set(err, WEIR_E_INVALID, "the priority is %" PRId32 "; it must be %d to %d",
                         *e->priority, REGISTRY_PRIORITY_MIN, REGISTRY_PRIORITY_MAX);
    if (e->after_count > REGISTRY_AFTER_MAX)
        return error_set(err, WEIR_E_LIMIT,
                         "it would depend on %" PRIu32 " more tasks; at most %d are allowed",
                         e->after_count, REGISTRY_AFTER_MAX);
    for (uint32_t i = 0; i < e->after_count; i++)
        if (e->after[i].id == 0)
            return error_set(err, WEIR_E_INVALID,
                             "dependency %" PRIu32
                             " to be added has no id; siblings are told in a submission only",
                             i);
    return WEIR_OK;
}

enum registry_event_kind rules_runner_event(enum weir_outcome outcome)
{
    switch (outcome) {
    case WEIR_OUTCOME_OK:
        return REGISTRY_RUNNER_COMPLETED;
    case WEIR_OUTCOME_CAPACITY:
        return REGISTRY_RUNNER_CAPACITY;
    case WEIR_OUTCOME_FAILED:
        return REGISTRY_RUNNER_FAILED;
    case WEIR_OUTCOME_TIMEOUT:
        return REGISTRY_RUNNER_TIMEOUT;
    case WEIR_OUTCOME_LOST:
        return REGISTRY_RUNNER_LOST;
    case WEIR_OUTCOME_CANCELLED:
        return REGISTRY_RUNNER_CANCELLED;
    }
    return REGISTRY_RUNNER_FAILED;
}

bool rules_is_end(enum registry_event_kind kind)
{
    return kind == REGISTRY_RUNNER_COMPLETED || kind == REGISTRY_RUNNER_FAILED ||
           kind == REGISTRY_RUNNER_TIMEOUT || kind == REGISTRY_RUNNER_CANCELLED ||
           kind == REGISTRY_RUNNER_CAPACITY;
}

/* An object is written member by member; without any it is empty. */
static void member(struct buf *out, size_t from, const char *name)
{
    buf_puts(out, out->len == from ? "{\"" : ",\"");
    buf_puts(out, name);
    buf_puts(out, "\":");
}

static void close_object(struct buf *out, size_t from)
{
    if (out->len > from)
        buf_putc(out, '}');
}

/* Of each kind the name, and which one it is. */
static void put_slots(struct buf *out, const struct registry_runner *r, struct slice names)
{
    for (size_t i = 0; i < REGISTRY_SLOTS_MAX && names.len > 0; i++) {
        const char *comma = memchr(names.data, ',', names.len);
        struct slice name = {names.data, comma ? (size_t)(comma - names.data) : names.len};

        names.data += name.len + (comma ? 1 : 0);
        names.len -= name.len + (comma ? 1 : 0);
        buf_puts(out, i == 0 ? "[{\"name\":" : ",{\"name\":");
        json_put_string(out, name);
        buf_printf(out, ",\"slot\":%" PRIu32 "}", r->slots[i]);
    }
    buf_putc(out, ']');
}

void rules_detail_started(struct buf *out, const struct registry_runner *r, struct slice slots)
{
    size_t from = out->len;

    if (r->pid != 0) {
        member(out, from, "pid");
        buf_printf(out, "%" PRId64, r->pid);
    }
    if (r->slots[0] != 0 && slots.len > 0) {
        member(out, from, "slots");
        put_slots(out, r, slots);
    }
    close_object(out, from);
}

static void put_failure(struct buf *out, enum weir_reason reason, int status, struct slice message)
{
    size_t from = out->len;

    if (reason != WEIR_REASON_NONE) {
        member(out, from, "reason");
        buf_printf(out, "\"%s\"", weir_reason_name(reason));
    }
    if (status != 0) {
        member(out, from, "status");
        buf_printf(out, "%d", status);
    }
    if (message.len > 0) {
        member(out, from, "message");
        json_put_string(out, message);
    }
    close_object(out, from);
}

void rules_detail_runner(struct buf *out, enum weir_outcome outcome, enum weir_reason reason,
                         int status, struct slice message)
{
    if (outcome != WEIR_OUTCOME_OK)
        put_failure(out, reason, status, message);
}

void rules_detail_late(struct buf *out, enum weir_outcome outcome)
{
    buf_printf(out, "{\"outcome\":\"%s\"}", weir_outcome_name(outcome));
}

void rules_detail_failed(struct buf *out, enum weir_reason reason, struct slice message)
{
    put_failure(out, reason, 0, message);
}

void rules_detail_edit(struct buf *out, const struct registry_edit *e)
{
    size_t from = out->len;

    if (e->priority) {
        member(out, from, "priority");
        buf_printf(out, "%" PRId32, *e->priority);
    }
    if (e->not_before_ns) {
        member(out, from, "not_before_ns");
        buf_printf(out, "%" PRId64, *e->not_before_ns);
    }
    if (e->after_count > 0) {
        member(out, from, "after");
        for (uint32_t i = 0; i < e->after_count; i++)
            buf_printf(out, "%c%" PRIu64, i == 0 ? '[' : ',', e->after[i].id);
        buf_putc(out, ']');
    }
    close_object(out, from);
}

void rules_detail_stuck(struct buf *out, uint64_t waits_for, const char *why)
{
    buf_printf(out, "{\"waits_for\":%" PRIu64 ",\"why\":\"%s\"}", waits_for, why);
}

void rules_detail_batch(struct buf *out, const struct registry_batch *b)
{
    buf_printf(out,
               "{\"batch\":%" PRIu64 ",\"done\":%" PRIu64 ",\"failed\":%" PRIu64
               ",\"cancelled\":%" PRIu64 "}",
               b->id, b->states[REGISTRY_DONE], b->states[REGISTRY_FAILED],
               b->states[REGISTRY_CANCELLED]);
}

void rules_say_dependency(struct buf *out, uint64_t id, struct slice key)
{
    buf_printf(out, "task %" PRIu64, id);
    if (key.len > 0)
        buf_printf(out, " (%.*s)", (int)key.len, key.data);
    buf_puts(out, ", which it depends on, has failed");
}
