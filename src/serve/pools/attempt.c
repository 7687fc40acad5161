/*
 * What an attempt gets of its task: the executor's payload, and the environment. On the engine's
 * thread.
 *
 * The payload of a process pool's request stays the task's own memory, which the desk keeps until
 * discard(); those of the others are made by their recipes.
 */
#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "serve/pools/internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- environment ---- */

static void put_bytes(struct texts *t, const char *name, struct slice value)
{
    buf_puts(&t->bytes, name);
    buf_putc(&t->bytes, '=');
    /* A NUL ends it: no variable can hold one. */
    buf_put(&t->bytes, value.data, strnlen(value.data, value.len));
    buf_putc(&t->bytes, '\0');
    t->count++;
}

static void put_text(struct texts *t, const char *name, const char *value)
{
    put_bytes(t, name, slice_of(value));
}

static void put_slice(struct texts *t, const char *name, struct slice value)
{
    if (value.len > 0)
        put_bytes(t, name, value);
}

static void put_number(struct texts *t, const char *name, uint64_t n)
{
    char room[DECIMAL_BYTES];

    put_bytes(t, name, decimal_of(n, room));
}

/* "WEIR_SLOT_" and the name, in capitals. */
static void name_variable(const char *prefix, struct slice name, char *ret, size_t room)
{
    size_t len = strlen(prefix);

    (void)snprintf(ret, room, "%s%.*s", prefix, (int)name.len, name.data);
    for (char *c = ret + len; *c; c++)
        *c = isalnum((unsigned char)*c) ? (char)toupper((unsigned char)*c) : '_';
}

/* Under the lock. NULL: it has none. */
static const char *slot_path(const struct poolset *s, struct slice name, uint32_t number)
{
    for (size_t i = 0; i < s->slot_count; i++) {
        const struct config_slot *slot = &s->slots[i];

        if (slice_equal(slice_of(slot->name), name))
            return number >= 1 && number <= slot->paths.count ? slot->paths.items[number - 1]
                                                              : NULL;
    }
    return NULL;
}

static void put_slots(struct texts *t, struct poolset *s, const struct desk_attempt *a)
{
    struct slice rest = a->line->slots;
    char variable[REGISTRY_NAME_BYTES_MAX + 32];

    (void)pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < PERMIT_SLOTS_MAX && rest.len > 0; i++) {
        const char *comma = memchr(rest.data, ',', rest.len);
        struct slice name = {rest.data, comma ? (size_t)(comma - rest.data) : rest.len};
        const char *path = slot_path(s, name, a->slots[i]);

        if (a->slots[i] > 0) {
            if (i == 0)
                put_number(t, "WEIR_SLOT", a->slots[i]);
            name_variable("WEIR_SLOT_", name, variable, sizeof variable);
            put_number(t, variable, a->slots[i]);
        }
        if (path) {
            if (i == 0)
                put_text(t, "WEIR_SLOT_PATH", path);
            name_variable("WEIR_SLOT_PATH_", name, variable, sizeof variable);
            put_text(t, variable, path);
        }
        rest.data += name.len + (comma ? 1 : 0);
        rest.len -= name.len + (comma ? 1 : 0);
    }
    (void)pthread_mutex_unlock(&s->lock);
}

static void put_runner(struct texts *t, const struct pool_program *g, const struct desk_attempt *a)
{
    const struct poolset *s = g->pools;

    put_number(t, "WEIR_RUNNER", a->token);
    buf_puts(&t->bytes, "WEIR_TOKEN=");
    poolset_token_put(s, a->token, &t->bytes);
    buf_putc(&t->bytes, '\0');
    t->count++;
    if (s->api)
        put_text(t, "WEIR_API", s->api);
    /* Workers have a message for it. */
    if (g->kind == CONFIG_COMMAND && s->run_dir) {
        buf_puts(&t->bytes, "WEIR_HEARTBEAT=");
        (void)poolset_beat_path(s, a->token, &t->bytes);
        buf_putc(&t->bytes, '\0');
        t->count++;
    }
}

/* One piece of memory: the pointers, then the texts. NULL: no memory. */
static const char *const *make_env(const struct pool_program *g, const struct desk_attempt *a)
{
    const struct registry_task *task = a->task;
    struct texts t = {0};
    size_t pointers;
    char *all = NULL, *at;

    put_number(&t, "WEIR_TASK", task->id);
    put_text(&t, "WEIR_KEY", task->key);
    put_number(&t, "WEIR_ATTEMPT", a->number);
    put_text(&t, "WEIR_POOL", g->name);
    if (task->batch > 0)
        put_number(&t, "WEIR_BATCH", task->batch);
    put_slice(&t, "WEIR_TENANT", a->line->tenant);
    put_slice(&t, "WEIR_SESSION", a->line->session);
    put_slots(&t, g->pools, a);
    put_runner(&t, g, a);
    pointers = (t.count + 1) * sizeof(char *);
    if (!t.bytes.failed)
        all = mem_alloc(pointers + t.bytes.len);
    if (all) {
        at = memcpy(all + pointers, t.bytes.data, t.bytes.len);
        for (size_t i = 0; i < t.count; i++) {
            ((char **)(void *)all)[i] = at;
            at += strlen(at) + 1;
        }
        ((char **)(void *)all)[t.count] = NULL;
    }
    texts_free(&t);
    return (const char *const *)(const void *)all;
}

/* ---- payload ---- */

static enum weir_status make_request(const struct pool_program *g, const struct registry_task *task,
                                     void **ret, struct weir_error *err)
{
    struct process_request *r;
    struct slice payload = {task->payload, task->payload_len};
    struct json_fault fault;

    if (payload.len > 0 && !json_check(payload, &fault))
        return error_set(
            err, WEIR_E_FORMAT,
            "the payload is not JSON (byte %zu: %s), which is all that a worker can be "
            "given",
            fault.offset, fault.what);
    r = mem_alloc(sizeof *r);
    if (!r)
        return error_nomem(err);
    *r = (struct process_request){.command = g->request, .args = payload};
    *ret = r;
    return WEIR_OK;
}

static enum weir_status make_payload(const struct pool_program *g, const struct desk_attempt *a,
                                     void **ret, struct weir_error *err)
{
    const struct registry_task *task = a->task;
    struct slice payload = {task->payload, task->payload_len};
    struct command_launch *launch = NULL;
    struct http_request *request = NULL;
    enum weir_status status;
    char key[64];

    switch (g->kind) {
    case CONFIG_COMMAND:
        status = command_recipe_make(g->command, payload, task->id, &launch, err);
        *ret = launch;
        return status;
    case CONFIG_PROCESS:
        return make_request(g, task, ret, err);
    case CONFIG_HTTP:
        break;
    }
    /* One for all attempts of a task, and for no other task: a task's key need not be its own. */
    (void)snprintf(key, sizeof key, "weir-task-%" PRIu64, task->id);
    status = http_recipe_make(g->http, payload, key, &request, err);
    *ret = request;
    return status;
}

static enum weir_status prepare(void *ctx, const struct desk_attempt *a, struct core_task *t,
                                struct weir_error *err)
{
    struct pool_program *g = ctx;
    void *payload = NULL;
    const char *const *env = NULL;
    enum weir_status status = make_payload(g, a, &payload, err);

    if (status != WEIR_OK)
        return status;
    if (g->kind != CONFIG_HTTP) {
        env = make_env(g, a);
        if (!env) {
            mem_free(payload);
            return error_nomem(err);
        }
    }
    t->payload = payload;
    t->payload_len = a->task->payload_len;
    t->env = env;
    return WEIR_OK;
}

static void discard(void *ctx, struct core_task *t)
{
    (void)ctx;
    mem_free((void *)(uintptr_t)t->payload);
    mem_free((void *)(uintptr_t)t->env);
    t->payload = NULL;
    t->env = NULL;
}

static void gone(void *ctx)
{
    pool_program_free(ctx);
}

const struct desk_pool_ops pool_program_ops = {
    .prepare = prepare, .discard = discard, .gone = gone};
