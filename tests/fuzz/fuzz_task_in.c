/*
 * Any bytes as tasks: as one, as an array, and as lines (libFuzzer; corpus/task_in). What is
 * accepted keeps the limits of the registry, whatever it is; and lines give the same tasks however
 * they are cut.
 */
#include "serve/api/ndjson.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void name_is_sound(struct slice name)
{
    require(name.len <= REGISTRY_NAME_BYTES_MAX);
    for (size_t i = 0; i < name.len; i++)
        require((unsigned char)name.data[i] >= 0x20 && name.data[i] != 0x7F);
}

static volatile unsigned sum;

static void spec_is_sound(const struct registry_spec *s, size_t siblings)
{
    name_is_sound(s->line.pool);
    name_is_sound(s->line.skill);
    name_is_sound(s->line.tenant);
    name_is_sound(s->line.session);
    name_is_sound(s->line.slots);
    name_is_sound(s->idempotency_key);
    require(s->line.pool.len == 0 || s->line.skill.len == 0);
    require(s->line.priority >= REGISTRY_PRIORITY_MIN && s->line.priority <= REGISTRY_PRIORITY_MAX);
    require(s->payload.len <= REGISTRY_PAYLOAD_BYTES_MAX && s->after_count <= REGISTRY_AFTER_MAX);
    require(s->timeout_ns >= 0 && s->deadline_ns >= 0 && s->not_before_ns >= 0);
    require(s->backoff_initial_ns >= 0 && s->backoff_ceiling_ns >= 0);
    for (uint32_t i = 0; i < s->after_count; i++)
        require(s->after[i].id > 0 || s->after[i].sibling < siblings);
    /* Every byte of it can be read. */
    for (size_t i = 0; i < s->payload.len; i++)
        sum += (unsigned char)s->payload.data[i];
}

static void as_json(struct slice text)
{
    struct arena arena = {0};
    struct body_in in = {.arena = &arena, .now_ns = 1};
    struct registry_spec one;
    struct tasks_in tasks;

    if (body_check(&in, NULL, text) && json_kind(text) == JSON_ARRAY) {
        if (tasks_in_array(&in, NULL, json_trim(text), &tasks)) {
            for (size_t i = 0; i < tasks.count; i++)
                spec_is_sound(&tasks.specs[i], tasks.count);
        } else {
            require(in.faults.count > 0);
        }
    } else if (in.faults.count == 0) {
        if (task_in_one(&in, NULL, json_trim(text), &one))
            spec_is_sound(&one, 0);
        else
            require(in.faults.count > 0);
    }
    faults_free(&in.faults);
    arena_free(&arena);
}

struct heard {
    uint64_t tasks, line;
    size_t key_bytes;
    enum weir_status status;
};

static void hear_group(struct heard *h, struct ndjson_group *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->count; i++) {
        spec_is_sound(&g->specs[i], 0);
        h->key_bytes += g->specs[i].key.len;
    }
    h->tasks += g->count;
    ndjson_group_free(g);
}

static struct heard as_lines(struct slice text, size_t piece, bool flush)
{
    struct heard h = {0};
    struct ndjson_group *g;
    struct ndjson n;
    size_t taken;

    ndjson_init(&n, &(struct ndjson_options){.batch = 1});
    for (size_t pos = 0; pos < text.len && h.status == WEIR_OK; pos += taken) {
        h.status = ndjson_feed(&n, text.data + pos, text.len - pos < piece ? text.len - pos : piece,
                               &taken, &g);
        hear_group(&h, g);
        if (flush && h.status == WEIR_OK) {
            h.status = ndjson_flush(&n, &g);
            hear_group(&h, g);
        }
    }
    if (h.status == WEIR_OK) {
        h.status = ndjson_end(&n, &g);
        hear_group(&h, g);
    }
    h.line = n.line;
    ndjson_free(&n);
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    struct heard whole, cut;

    as_json(text);
    whole = as_lines(text, SIZE_MAX, false);
    cut = as_lines(text, size % 7 + 1, size % 2 == 0);
    require(whole.status == cut.status && whole.tasks == cut.tasks &&
            whole.key_bytes == cut.key_bytes);
    require(whole.line == cut.line);
    return 0;
}
