#include "serve/api/ndjson.h"

#include "base/mem.h"

#include <string.h>

void ndjson_group_free(struct ndjson_group *g)
{
    if (!g)
        return;
    buf_free(&g->text);
    arena_free(&g->arena);
    mem_free(g);
}

void ndjson_init(struct ndjson *n, const struct ndjson_options *o)
{
    *n = (struct ndjson){.options = *o};
}

void ndjson_free(struct ndjson *n)
{
    ndjson_group_free(n->open);
    faults_free(&n->in.faults);
    n->open = NULL;
}

static enum weir_status no_memory(struct ndjson *n)
{
    n->in.faults.nomem = true;
    return WEIR_E_NOMEM;
}

static bool open_group(struct ndjson *n)
{
    if (!n->open)
        n->open = mem_calloc(1, sizeof(*n->open));
    return n->open != NULL;
}

/* ---- reading the lines of a group ---- */

static bool make_room(struct ndjson_group *g)
{
    g->specs = arena_alloc(&g->arena, g->lines * sizeof(*g->specs));
    g->ids = arena_alloc(&g->arena, g->lines * sizeof(*g->ids));
    g->existing = arena_alloc(&g->arena, g->lines * sizeof(*g->existing));
    g->line_of = arena_alloc(&g->arena, g->lines * sizeof(*g->line_of));
    return g->specs && g->ids && g->existing && g->line_of;
}

static enum weir_status read_line(struct ndjson *n, struct ndjson_group *g, struct slice line)
{
    struct registry_spec *spec = &g->specs[g->count];

    line = json_trim(line);
    if (line.len == 0)
        return WEIR_OK;
    n->in.arena = &g->arena;
    if (!body_check(&n->in, NULL, line) || !task_in_one(&n->in, NULL, line, spec))
        return n->in.faults.nomem ? WEIR_E_NOMEM : WEIR_E_FORMAT;
    spec->batch = n->options.batch;
    spec->place = n->options.place + n->tasks;
    g->ids[g->count] = 0;
    g->existing[g->count] = false;
    g->line_of[g->count] = n->line;
    if (g->count == 0)
        g->first_line = n->line;
    g->last_line = n->line;
    g->count++;
    n->tasks++;
    return WEIR_OK;
}

/* The group's lines become its tasks, up to the first that is wrong. One without tasks is freed. */
static enum weir_status close_group(struct ndjson *n, struct ndjson_group **ret)
{
    struct ndjson_group *g = n->open;
    const char *p = buf_slice(&g->text).data;
    const char *end = p + g->text.len;
    enum weir_status status = WEIR_OK;

    n->open = NULL;
    if (!make_room(g)) {
        ndjson_group_free(g);
        return no_memory(n);
    }
    while (p < end && status == WEIR_OK) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));

        if (!line_end)
            line_end = end;
        n->line++;
        status = read_line(n, g, (struct slice){p, (size_t)(line_end - p)});
        p = line_end + 1;
    }
    if (g->count > 0)
        *ret = g;
    else
        ndjson_group_free(g);
    return status;
}

/* ---- gathering ---- */

static bool is_full(const struct ndjson_group *g)
{
    return g->lines >= NDJSON_GROUP_TASKS || g->text.len >= NDJSON_GROUP_BYTES;
}

static enum weir_status line_too_long(struct ndjson *n, struct ndjson_group **ret)
{
    enum weir_status status;

    /* The lines before it are good. */
    status = ndjson_flush(n, ret);
    if (status != WEIR_OK)
        return status;
    n->line++;
    body_fault(&n->in, NULL, "it is longer than %zu bytes", NDJSON_LINE_BYTES_MAX);
    return n->in.faults.nomem ? WEIR_E_NOMEM : WEIR_E_FORMAT;
}

/* How many bytes stand behind the last line break. */
static size_t tail_bytes(const struct ndjson_group *g)
{
    const char *last = g->text.len > 0 ? memrchr(g->text.data, '\n', g->text.len) : NULL;

    return last ? (size_t)(g->text.data + g->text.len - last) - 1 : g->text.len;
}

enum weir_status ndjson_feed(struct ndjson *n, const char *data, size_t len, size_t *ret_taken,
                             struct ndjson_group **ret_group)
{
    struct ndjson_group *g;
    size_t pos = 0;

    *ret_group = NULL;
    *ret_taken = 0;
    if (!open_group(n))
        return no_memory(n);
    g = n->open;
    /* A group ends with a line. */
    while (pos < len) {
        const char *found = memchr(data + pos, '\n', len - pos);
        size_t run = found ? (size_t)(found - (data + pos)) + 1 : len - pos;

        buf_put(&g->text, data + pos, run);
        if (g->text.failed)
            return no_memory(n);
        pos += run;
        if (!found)
            break;
        g->lines++;
        if (is_full(g))
            break;
    }
    *ret_taken = pos;
    if (is_full(g) && g->text.data[g->text.len - 1] == '\n')
        return close_group(n, ret_group);
    if (g->text.len > NDJSON_LINE_BYTES_MAX && tail_bytes(g) > NDJSON_LINE_BYTES_MAX)
        return line_too_long(n, ret_group);
    return WEIR_OK;
}

enum weir_status ndjson_flush(struct ndjson *n, struct ndjson_group **ret_group)
{
    struct ndjson_group *g = n->open, *rest = NULL;
    enum weir_status status;
    size_t tail;

    *ret_group = NULL;
    if (!g || g->lines == 0)
        return WEIR_OK;
    tail = tail_bytes(g);
    if (tail > 0) {
        rest = mem_calloc(1, sizeof(*rest));
        if (rest)
            buf_put(&rest->text, g->text.data + g->text.len - tail, tail);
        if (!rest || rest->text.failed) {
            ndjson_group_free(rest);
            return no_memory(n);
        }
        g->text.len -= tail;
    }
    status = close_group(n, ret_group);
    n->open = rest;
    return status;
}

enum weir_status ndjson_end(struct ndjson *n, struct ndjson_group **ret_group)
{
    *ret_group = NULL;
    if (!n->open || n->open->text.len == 0)
        return WEIR_OK;
    n->open->lines++;
    return close_group(n, ret_group);
}
