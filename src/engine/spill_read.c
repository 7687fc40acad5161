/*
 * Reading the spill file, and taking it in: events are gathered in chains, each with the mark that
 * says how far the registry has come with it (see spill.h). The file is read whole; slices of
 * events point into it.
 */
#include "engine/spill.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t number(struct slice object, const char *name)
{
    struct slice value;
    int64_t n = 0;

    return json_member(object, name, &value) && json_int64(value, &n) && n > 0 ? (uint64_t)n : 0;
}

/* Where reading is, in the whole text of the file. */
struct reading {
    const char *path;
    struct buf all, word;
    struct buf names; /* of pools, without escapes */
    struct slice rest;
    uint64_t line; /* that was read last, from 1 */
    char id[SPILL_ID_BYTES];
};

static void end_reading(struct reading *r)
{
    buf_free(&r->all);
    buf_free(&r->word);
    buf_free(&r->names);
}

#define _cleanup_reading_ __attribute__((cleanup(end_reading)))

/* The next whole line; false: there is none. */
static bool next_line(struct reading *r, struct slice *ret)
{
    const char *end = memchr(r->rest.data, '\n', r->rest.len);

    if (!end)
        return false;
    *ret = (struct slice){r->rest.data, (size_t)(end - r->rest.data)};
    r->rest.data += ret->len + 1;
    r->rest.len -= ret->len + 1;
    r->line++;
    return true;
}

static enum weir_status bad_line(const struct reading *r, const char *what, struct weir_error *err)
{
    if (r->word.failed || r->names.failed)
        return error_nomem(err);
    return error_set(err, WEIR_E_FORMAT,
                     "line %" PRIu64 " of the spill file %s is no %s; mend the line, or move "
                     "the file away to start without what it tells",
                     r->line, r->path, what);
}

/* Fills *ret; its slices point into the line, but for the pool's name: its bytes are the last ones of r->names. */
static bool parse(struct reading *r, struct slice line, struct registry_event *ret)
{
    struct slice value;
    size_t before = r->names.len;

    buf_clear(&r->word);
    *ret = (struct registry_event){0};
    if (!json_check(line, NULL) || json_kind(line) != JSON_OBJECT)
        return false;
    if (!json_member(line, "kind", &value))
        return false;
    json_unquote(value, &r->word);
    if (r->word.failed || !registry_event_from_name(buf_slice(&r->word), &ret->kind))
        return false;
    if (json_member(line, "pool", &value))
        json_unquote(value, &r->names);
    ret->pool.len = r->names.len - before;
    ret->at_ns = (int64_t)number(line, "at_ns");
    ret->task = number(line, "task");
    ret->attempt = (uint32_t)number(line, "attempt");
    ret->worker = number(line, "worker");
    ret->slot = (uint32_t)number(line, "slot");
    ret->duration_ns = (int64_t)number(line, "duration_ns");
    if (json_member(line, "detail", &value))
        ret->detail = value;
    return !r->names.failed;
}

/* The first line: whose events follow. */
static enum weir_status read_head(struct reading *r, struct weir_error *err)
{
    struct slice line, value;

    if (!next_line(r, &line))
        return WEIR_OK;
    if (!json_check(line, NULL) || !json_member(line, "spill", &value) ||
        json_kind(value) != JSON_STRING)
        return bad_line(r, "head", err);
    json_unquote(value, &r->word);
    if (r->word.failed || r->word.len == 0 || r->word.len >= sizeof r->id)
        return bad_line(r, "head", err);
    memcpy(r->id, r->word.data, r->word.len);
    return WEIR_OK;
}

/* The whole file; *ret is empty when there is none. */
static enum weir_status slurp(const char *path, struct buf *ret, struct weir_error *err)
{
    FILE *f = fopen(path, "re");
    struct stat st;
    char chunk[16384];
    size_t n;
    enum weir_status status = WEIR_OK;

    if (!f)
        return errno == ENOENT
                   ? WEIR_OK
                   : error_set_errno(err, WEIR_E_IO, errno, "cannot open the spill file %s", path);
    if (fstat(fileno(f), &st) == 0 && !S_ISREG(st.st_mode)) {
        fclose(f);
        return error_set(err, WEIR_E_INVALID, "the spill file %s is no regular file", path);
    }
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_put(ret, chunk, n);
    if (ferror(f))
        status = error_set_errno(err, WEIR_E_IO, errno, "cannot read the spill file %s", path);
    else if (ret->failed)
        status = error_nomem(err);
    fclose(f);
    return status;
}

static enum weir_status begin_reading(struct reading *r, const char *path, struct weir_error *err)
{
    enum weir_status status;

    r->path = path;
    status = slurp(path, &r->all, err);
    r->rest = buf_slice(&r->all);
    return status == WEIR_OK ? read_head(r, err) : status;
}

enum weir_status spill_read(const char *path, bool (*fn)(void *ctx, const struct registry_event *e),
                            void *ctx, struct weir_error *err)
{
    _cleanup_reading_ struct reading r = {0};
    enum weir_status status = begin_reading(&r, path, err);
    struct slice line;

    while (status == WEIR_OK && next_line(&r, &line)) {
        struct registry_event e;

        buf_clear(&r.names);
        if (!parse(&r, line, &e))
            return bad_line(&r, "event", err);
        e.pool.data = buf_slice(&r.names).data;
        if (!fn(ctx, &e))
            break;
    }
    return status;
}

/* ---- taking in ---- */

/* How many events of the file with that id are in the registry. */
static enum weir_status look_up(struct core_registry *registry, const char *id, uint64_t *ret,
                                struct weir_error *err)
{
    _cleanup_buf_ struct buf fact = {0};
    struct registry_reader *reader;
    struct slice value;
    enum weir_status status = registry->ops->reader(registry, &reader, err);

    *ret = 0;
    if (status != WEIR_OK)
        return status;
    status = reader->ops->fact(reader, SLICE(SPILL_FACT), &fact, err);
    reader->ops->close(reader);
    if (status == WEIR_E_END)
        return WEIR_OK;
    if (status == WEIR_OK && fact.failed)
        return error_nomem(err);
    if (status == WEIR_OK && json_member(buf_slice(&fact), "spill", &value) &&
        json_string_equals(value, slice_of(id)))
        *ret = number(buf_slice(&fact), "events");
    return status;
}

/* Reads at most SPILL_IMPORT_OPS events into ops, as a chain with room for one more. */
static enum weir_status read_some(struct reading *r, struct registry_op *ops, size_t *ret_count,
                                  struct weir_error *err)
{
    struct slice line;
    const char *name;
    size_t n = 0;

    buf_clear(&r->names);
    while (n < SPILL_IMPORT_OPS && next_line(r, &line)) {
        ops[n] = (struct registry_op){.kind = REGISTRY_TELL, .next = &ops[n + 1]};
        if (!parse(r, line, &ops[n].tell))
            return bad_line(r, "event", err);
        ops[n].at_ns = ops[n].tell.at_ns;
        n++;
    }
    name = buf_slice(&r->names).data;
    for (size_t i = 0; i < n; name += ops[i++].tell.pool.len)
        ops[i].tell.pool.data = name;
    *ret_count = n;
    return WEIR_OK;
}

static enum weir_status take_in(struct reading *r, struct core_registry *registry,
                                uint64_t *ret_count, struct weir_error *err)
{
    struct registry_op *ops = mem_calloc(SPILL_IMPORT_OPS + 1, sizeof *ops);
    struct spill_mark mark;
    uint64_t done = 0;
    struct slice line;
    size_t n = 0;
    enum weir_status status = ops ? look_up(registry, r->id, &done, err) : error_nomem(err);

    for (uint64_t i = 0; status == WEIR_OK && i < done && next_line(r, &line); i++)
        ;
    while (status == WEIR_OK) {
        status = read_some(r, ops, &n, err);
        if (status != WEIR_OK || n == 0)
            break;
        spill_mark(r->id, done + n, &mark);
        ops[n] = mark.op;
        status = registry->ops->apply(registry, ops, err);
        if (status == WEIR_OK) {
            done += n;
            *ret_count += n;
        }
    }
    mem_free(ops);
    return status;
}

enum weir_status spill_import(const char *path, struct core_registry *registry, uint64_t *ret_count,
                              struct weir_error *err)
{
    _cleanup_reading_ struct reading r = {0};
    enum weir_status status = begin_reading(&r, path, err);

    *ret_count = 0;
    if (status == WEIR_OK && r.id[0])
        status = take_in(&r, registry, ret_count, err);
    if (status != WEIR_OK)
        return status;
    if (r.all.len > 0 && truncate(path, 0) != 0)
        return error_set_errno(err, WEIR_E_IO, errno,
                               "cannot empty the spill file %s, which has been taken in", path);
    return WEIR_OK;
}
