#include "serve/api/task_in.h"

#include "serve/api/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIB ((uint64_t)1 << 20)

/* A task's fields, before they are put together. */
struct task_fields {
    struct slice key, pool, skill, tenant, session, name, idempotency_key;
    struct slice payload, payload_base64, after, resources, backoff;
    int64_t priority, max_attempts, timeout_ns, deadline_ns, not_before_ns;
    int on_failure;
};

static const char *const on_failure_words[] = {"fail", "run", NULL};

static const struct field task_table[] = {
    {FIELD(struct task_fields, payload, "payload", FIELD_VALUE)},
    {FIELD(struct task_fields, key, "key", FIELD_TEXT), .max = REGISTRY_KEY_BYTES_MAX},
    {FIELD(struct task_fields, pool, "pool", FIELD_NAME)},
    {FIELD(struct task_fields, priority, "priority", FIELD_INT), .min = REGISTRY_PRIORITY_MIN,
     .max = REGISTRY_PRIORITY_MAX},
    {FIELD(struct task_fields, tenant, "tenant", FIELD_NAME)},
    {FIELD(struct task_fields, session, "session", FIELD_NAME)},
    {FIELD(struct task_fields, name, "name", FIELD_NAME)},
    {FIELD(struct task_fields, after, "after", FIELD_VALUE)},
    {FIELD(struct task_fields, skill, "skill", FIELD_NAME)},
    {FIELD(struct task_fields, resources, "resources", FIELD_VALUE)},
    {FIELD(struct task_fields, idempotency_key, "idempotency_key", FIELD_NAME)},
    {FIELD(struct task_fields, max_attempts, "max_attempts", FIELD_INT), .min = 1,
     .max = TASK_ATTEMPTS_MAX},
    {FIELD(struct task_fields, timeout_ns, "timeout", FIELD_DURATION), .min = 0.001,
     .max = TASK_SECONDS_MAX},
    {FIELD(struct task_fields, backoff, "backoff", FIELD_VALUE)},
    {FIELD(struct task_fields, deadline_ns, "deadline", FIELD_TIME)},
    {FIELD(struct task_fields, not_before_ns, "not_before", FIELD_TIME)},
    {FIELD(struct task_fields, on_failure, "on_dependency_failure", FIELD_CHOICE),
     .choices = on_failure_words},
    {FIELD(struct task_fields, payload_base64, "payload_base64", FIELD_VALUE)},
};

struct resource_fields {
    double cpu;
    uint64_t memory_bytes;
    struct slice slots;
};

static const struct field resource_table[] = {
    {FIELD(struct resource_fields, cpu, "cpu", FIELD_NUMBER), .min = 0, .max = TASK_CPU_MAX},
    {FIELD(struct resource_fields, memory_bytes, "memory", FIELD_SIZE), .min = 0,
     .max = (double)(UINT32_MAX - 1) * (double)MIB},
    {FIELD(struct resource_fields, slots, "slots", FIELD_VALUE)},
};

static const struct field backoff_table[] = {
    {FIELD(struct registry_spec, backoff_initial_ns, "initial", FIELD_DURATION), .min = 0.001,
     .max = TASK_SECONDS_MAX},
    {FIELD(struct registry_spec, backoff_factor, "factor", FIELD_NUMBER), .min = 1,
     .max = TASK_BACKOFF_FACTOR_MAX},
    {FIELD(struct registry_spec, backoff_ceiling_ns, "ceiling", FIELD_DURATION), .min = 0.001,
     .max = TASK_SECONDS_MAX},
};

/* A name that is no member of an object: an element. */
static const struct field element_name = {.kind = FIELD_NAME};

static bool is_given(struct slice value)
{
    return value.len > 0 && json_kind(value) != JSON_NULL;
}

/* ---- the payload ---- */

static bool read_base64(struct body_in *in, const struct where *at, struct slice value,
                        struct slice *ret)
{
    struct where here = {.up = at, .name = SLICE("payload_base64")};
    struct slice text;
    size_t len;
    char *bytes;

    if (json_kind(value) != JSON_STRING)
        return body_fault(in, &here, "it must be a string of base64 (RFC 4648)");
    if (!body_string(in, value, &text))
        return false;
    bytes = arena_alloc(in->arena, TEXT_BASE64_DECODED_MAX(text.len));
    if (!bytes)
        return body_nomem(in);
    if (!text_base64_decode(text, bytes, &len))
        return body_fault(in, &here, "it is not base64 (RFC 4648, the alphabet with + and /)");
    *ret = (struct slice){bytes, len};
    return true;
}

static bool read_payload(struct body_in *in, const struct where *at, const struct task_fields *f,
                         struct slice *ret)
{
    struct where here = {.up = at, .name = SLICE("payload")};

    if (f->payload.len > 0 && is_given(f->payload_base64))
        return body_fault(in, at, "payload and payload_base64 exclude each other");
    if (is_given(f->payload_base64)) {
        if (!read_base64(in, at, f->payload_base64, ret))
            return false;
    } else {
        *ret = f->payload;
    }
    if (ret->len > REGISTRY_PAYLOAD_BYTES_MAX)
        return body_fault(in, &here, "it has %zu bytes; at most %u are allowed", ret->len,
                          REGISTRY_PAYLOAD_BYTES_MAX);
    return true;
}

/* ---- resources ---- */

static int slice_order(const void *a, const void *b)
{
    const struct slice *x = a, *y = b;
    size_t len = x->len < y->len ? x->len : y->len;
    int order = memcmp(x->data, y->data, len);

    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* Names in order with commas between, as the registry has them. */
static bool join_slots(struct body_in *in, const struct where *at, struct slice *names,
                       size_t count, struct slice *ret)
{
    size_t len = 0;
    char *text, *p;

    qsort(names, count, sizeof(*names), slice_order);
    for (size_t i = 0; i < count; i++) {
        len += names[i].len + 1;
        if (i > 0 && slice_equal(names[i], names[i - 1]))
            return body_fault(in, at, "\"%.*s\" is named twice", (int)names[i].len, names[i].data);
    }
    if (len > REGISTRY_NAME_BYTES_MAX + 1)
        return body_fault(in, at, "the names have %zu bytes together; at most %d are allowed",
                          len - 1, REGISTRY_NAME_BYTES_MAX);
    text = p = arena_alloc(in->arena, len + 1);
    if (!text)
        return body_nomem(in);
    for (size_t i = 0; i < count; i++) {
        memcpy(p, names[i].data, names[i].len);
        p += names[i].len;
        *p++ = ',';
    }
    *ret = (struct slice){text, count > 0 ? len - 1 : 0};
    return true;
}

static bool read_slots(struct body_in *in, const struct where *at, struct slice array,
                       struct slice *ret)
{
    struct where slots = {.up = at, .name = SLICE("slots")};
    struct where here = {.up = &slots};
    struct slice names[REGISTRY_SLOTS_MAX];
    struct json_iter it;
    struct slice value;
    size_t count = 0;

    if (json_kind(array) != JSON_ARRAY)
        return body_fault(in, &slots, "it must be an array of names");
    json_iter_init(&it, array);
    for (; json_iter_next(&it, NULL, &value); here.index++) {
        if (count == REGISTRY_SLOTS_MAX)
            return body_fault(in, &slots, "a task may ask for at most %d kinds of slots",
                              REGISTRY_SLOTS_MAX);
        if (!body_value(in, &here, value, &element_name, &names[count]))
            return false;
        if (memchr(names[count].data, ',', names[count].len))
            return body_fault(in, &here, "a name of slots has no comma in it");
        count++;
    }
    return join_slots(in, &slots, names, count, ret);
}

static bool read_resources(struct body_in *in, const struct where *at, struct slice value,
                           struct registry_line *line)
{
    struct where here = {.up = at, .name = SLICE("resources")};
    struct resource_fields f = {0};

    if (!body_fields(in, &here, value, resource_table, COUNT_OF(resource_table), &f, NULL))
        return false;
    /* What is asked for is rounded up, so that a task never has less than it said. */
    line->cpu_milli = (uint32_t)ceil(f.cpu * 1000 - 1e-6);
    line->memory_mib = (uint32_t)((f.memory_bytes + MIB - 1) / MIB);
    return !is_given(f.slots) || read_slots(in, &here, f.slots, &line->slots);
}

/* ---- dependencies ---- */

static size_t count_elements(struct slice array)
{
    struct json_iter it;
    struct slice value;
    size_t count = 0;

    json_iter_init(&it, array);
    while (json_iter_next(&it, NULL, &value))
        count++;
    return count;
}

/* Ids and, where `names` is not NULL, names of siblings: they are left for resolve_names(), in the same places, with id 0. */
static bool read_after(struct body_in *in, const struct where *at, struct slice array, bool names,
                       const struct registry_after **ret, uint32_t *ret_count)
{
    struct where here = {.up = at};
    struct registry_after *after;
    struct json_iter it;
    struct slice value;
    size_t count = 0;
    int64_t id;

    if (json_kind(array) != JSON_ARRAY)
        return body_fault(in, at, "it must be an array of ids%s",
                          names ? " or names of siblings" : "");
    count = count_elements(array);
    if (count > REGISTRY_AFTER_MAX)
        return body_fault(in, at, "a task may depend on at most %d others; these are %zu",
                          REGISTRY_AFTER_MAX, count);
    after = arena_alloc(in->arena, count * sizeof(*after));
    if (!after)
        return body_nomem(in);
    json_iter_init(&it, array);
    for (; json_iter_next(&it, NULL, &value); here.index++) {
        after[here.index] = (struct registry_after){0};
        if (json_kind(value) == JSON_STRING && names)
            continue;
        if (json_kind(value) == JSON_STRING)
            return body_fault(in, &here,
                              "a name stands only for another task of the same array; give an id");
        if (!json_int64(value, &id) || id <= 0)
            return body_fault(in, &here, "it must be the id of a task%s",
                              names ? ", or the name of one in the same array" : "");
        after[here.index].id = (uint64_t)id;
    }
    *ret = after;
    *ret_count = (uint32_t)count;
    return true;
}

bool task_in_after(struct body_in *in, const struct where *at, struct slice array,
                   const struct registry_after **ret, uint32_t *ret_count)
{
    return read_after(in, at, array, false, ret, ret_count);
}

/* ---- one task ---- */

/* A task and what is still to be resolved of it. */
struct task_read {
    struct slice name;  /* empty: none */
    struct slice after; /* the array's text */
};

static bool read_parts(struct body_in *in, const struct where *at, const struct task_fields *f,
                       bool siblings, struct registry_spec *ret)
{
    struct where backoff = {.up = at, .name = SLICE("backoff")};
    struct where after = {.up = at, .name = SLICE("after")};
    bool ok = read_payload(in, at, f, &ret->payload);

    if (is_given(f->resources))
        ok &= read_resources(in, at, f->resources, &ret->line);
    if (is_given(f->backoff))
        ok &= body_fields(in, &backoff, f->backoff, backoff_table, COUNT_OF(backoff_table), ret,
                          NULL);
    if (ret->backoff_ceiling_ns > 0 && ret->backoff_initial_ns > ret->backoff_ceiling_ns)
        ok = body_fault(in, &backoff, "its ceiling is below what it begins with");
    if (is_given(f->after))
        ok &= read_after(in, &after, f->after, siblings, &ret->after, &ret->after_count);
    if (f->pool.len > 0 && f->skill.len > 0)
        ok = body_fault(in, at, "pool and skill exclude each other");
    return ok;
}

static bool read_task(struct body_in *in, const struct where *at, struct slice value, bool siblings,
                      struct registry_spec *ret, struct task_read *ret_read)
{
    struct task_fields f = {0};
    bool ok = body_fields(in, at, value, task_table, COUNT_OF(task_table), &f, NULL);

    *ret = (struct registry_spec){
        .line = {.priority = (int32_t)f.priority,
                 .pool = f.pool,
                 .skill = f.skill,
                 .tenant = f.tenant,
                 .session = f.session},
        .key = f.key,
        .idempotency_key = f.idempotency_key,
        .run_after_failure = f.on_failure == 1,
        .max_attempts = (uint32_t)f.max_attempts,
        .timeout_ns = f.timeout_ns,
        .deadline_ns = f.deadline_ns,
        .not_before_ns = f.not_before_ns,
    };
    *ret_read = (struct task_read){f.name, f.after};
    return read_parts(in, at, &f, siblings, ret) && ok;
}

bool task_in_one(struct body_in *in, const struct where *at, struct slice value,
                 struct registry_spec *ret)
{
    struct task_read read;

    return read_task(in, at, value, false, ret, &read);
}

/* ---- siblings ---- */

struct sibling {
    struct slice name;
    uint32_t place;
};

static int sibling_order(const void *a, const void *b)
{
    return slice_order(&((const struct sibling *)a)->name, &((const struct sibling *)b)->name);
}

static bool sort_siblings(struct body_in *in, const struct where *at, const struct task_read *reads,
                          size_t count, struct sibling **ret, size_t *ret_named)
{
    struct sibling *named;
    size_t n = 0;

    named = arena_alloc(in->arena, count * sizeof(*named));
    if (!named)
        return body_nomem(in);
    for (size_t i = 0; i < count; i++) {
        if (reads[i].name.len > 0)
            named[n++] = (struct sibling){reads[i].name, (uint32_t)i};
    }
    qsort(named, n, sizeof(*named), sibling_order);
    for (size_t i = 1; i < n; i++) {
        if (slice_equal(named[i].name, named[i - 1].name)) {
            struct where task = {.up = at, .index = named[i].place};
            struct where here = {.up = &task, .name = SLICE("name")};

            return body_fault(in, &here, "two tasks have the name \"%.*s\"", (int)named[i].name.len,
                              named[i].name.data);
        }
    }
    *ret = named;
    *ret_named = n;
    return true;
}

/* The names in the `after` of one task become places. */
static bool resolve_names(struct body_in *in, const struct where *task, struct slice array,
                          const struct sibling *named, size_t count, struct registry_after *after)
{
    struct where list = {.up = task, .name = SLICE("after")};
    struct where here = {.up = &list};
    struct json_iter it;
    struct slice value;
    bool ok = true;

    json_iter_init(&it, array);
    for (; json_iter_next(&it, NULL, &value); here.index++) {
        struct sibling wanted = {0};
        const struct sibling *found;

        if (json_kind(value) != JSON_STRING)
            continue;
        if (!body_string(in, value, &wanted.name))
            return false;
        found = count > 0 ? bsearch(&wanted, named, count, sizeof(*named), sibling_order) : NULL;
        if (found)
            after[here.index].sibling = found->place;
        else
            ok = body_fault(in, &here,
                            "no task here has the name \"%.*s\"; give a \"name\" to it, or its id",
                            (int)(wanted.name.len < 64 ? wanted.name.len : 64), wanted.name.data);
    }
    return ok;
}

bool tasks_in_array(struct body_in *in, const struct where *at, struct slice array,
                    struct tasks_in *ret)
{
    size_t count = json_kind(array) == JSON_ARRAY ? count_elements(array) : 0;
    struct where here = {.up = at};
    struct registry_spec *specs;
    struct task_read *reads;
    struct sibling *named = NULL;
    struct json_iter it;
    struct slice value;
    size_t names = 0;
    bool ok = true;

    if (json_kind(array) != JSON_ARRAY)
        return body_fault(in, at, "it must be an array of tasks");
    if (count == 0 || count > REGISTRY_SUBMIT_MAX)
        return body_fault(in, at, "it has %zu tasks; 1 to %d may be submitted at once%s", count,
                          REGISTRY_SUBMIT_MAX, count > 0 ? ", and any number as NDJSON" : "");
    specs = arena_alloc(in->arena, count * sizeof(*specs));
    reads = arena_alloc(in->arena, count * sizeof(*reads));
    if (!specs || !reads)
        return body_nomem(in);
    json_iter_init(&it, array);
    for (; json_iter_next(&it, NULL, &value); here.index++)
        ok &= read_task(in, &here, value, true, &specs[here.index], &reads[here.index]);
    if (!ok || !sort_siblings(in, at, reads, count, &named, &names))
        return false;
    for (here.index = 0; here.index < count; here.index++) {
        /* They are the arena's, and written here only. */
        if (specs[here.index].after_count > 0)
            ok &= resolve_names(in, &here, reads[here.index].after, named, names,
                                (struct registry_after *)(uintptr_t)specs[here.index].after);
    }
    *ret = (struct tasks_in){specs, count};
    return ok;
}
