#include "engine/spill.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct spill {
    int fd;
    char *path;
    off_t length; /* of whole lines */
    bool broken;  /* half a line is behind them, and could not be taken away */
    struct buf line;
};

static enum weir_status cannot(const struct spill *s, const char *what, struct weir_error *err)
{
    return error_set_errno(err, WEIR_E_IO, errno, "cannot %s the spill file %s", what, s->path);
}

/* A line that was being written in a crash goes, so that the next one does not begin in it. False: errno says why. */
static bool cut_last(struct spill *s)
{
    char c = '\n';

    s->length = lseek(s->fd, 0, SEEK_END);
    while (s->length > 0 && pread(s->fd, &c, 1, s->length - 1) == 1 && c != '\n')
        s->length--;
    return s->length >= 0 && (c == '\n' || s->length == 0) && ftruncate(s->fd, s->length) == 0;
}

enum weir_status spill_new(const char *path, struct spill **ret, struct weir_error *err)
{
    struct spill *s = mem_calloc(1, sizeof *s);
    enum weir_status status;

    if (!s)
        return error_nomem(err);
    s->fd = -1;
    s->path = mem_strdup(path);
    if (!s->path) {
        spill_free(s);
        return error_nomem(err);
    }
    s->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (s->fd < 0 || !cut_last(s)) {
        status = cannot(s, "open", err);
        spill_free(s);
        return status;
    }
    *ret = s;
    return WEIR_OK;
}

void spill_free(struct spill *s)
{
    if (!s)
        return;
    if (s->fd >= 0)
        close(s->fd);
    buf_free(&s->line);
    mem_free(s->path);
    mem_free(s);
}

/* ---- writing ---- */

static enum registry_event_kind kind_of(const struct registry_end *e)
{
    switch (e->outcome) {
    case WEIR_OUTCOME_OK:
        return REGISTRY_RUNNER_COMPLETED;
    case WEIR_OUTCOME_CAPACITY:
        return REGISTRY_RUNNER_CAPACITY;
    case WEIR_OUTCOME_TIMEOUT:
        return REGISTRY_RUNNER_TIMEOUT;
    case WEIR_OUTCOME_LOST:
        return REGISTRY_RUNNER_LOST;
    case WEIR_OUTCOME_CANCELLED:
        return REGISTRY_RUNNER_CANCELLED;
    default:
        return REGISTRY_RUNNER_FAILED;
    }
}

/* What an op tells, as one event; false: nothing. */
static bool event_of(const struct registry_op *op, struct registry_event *ret)
{
    switch (op->kind) {
    case REGISTRY_TELL:
        *ret = op->tell;
        break;
    case REGISTRY_START:
        *ret = (struct registry_event){.kind = REGISTRY_RUNNER_STARTED,
                                       .task = op->start.task,
                                       .attempt = op->start.attempt,
                                       .pool = op->start.pool,
                                       .worker = op->start.runner.worker,
                                       .slot = op->start.runner.slots[0]};
        break;
    case REGISTRY_END:
        *ret = (struct registry_event){.kind = kind_of(&op->end),
                                       .task = op->end.task,
                                       .attempt = op->end.attempt,
                                       .pool = op->end.pool,
                                       .worker = op->end.worker,
                                       .duration_ns = op->end.run_ns};
        break;
    default:
        return false;
    }
    ret->at_ns = op->at_ns;
    return true;
}

static void put_event(struct buf *out, const struct registry_event *e)
{
    buf_printf(out, "{\"at_ns\":%lld,\"kind\":\"%s\"", (long long)e->at_ns,
               registry_event_name(e->kind));
    if (e->task)
        buf_printf(out, ",\"task\":%llu", (unsigned long long)e->task);
    if (e->attempt)
        buf_printf(out, ",\"attempt\":%u", e->attempt);
    if (e->pool.len > 0) {
        buf_puts(out, ",\"pool\":");
        json_put_string(out, e->pool);
    }
    if (e->worker)
        buf_printf(out, ",\"worker\":%llu", (unsigned long long)e->worker);
    if (e->slot)
        buf_printf(out, ",\"slot\":%u", e->slot);
    if (e->duration_ns)
        buf_printf(out, ",\"duration_ns\":%lld", (long long)e->duration_ns);
    if (e->detail.len > 0) {
        buf_puts(out, ",\"detail\":");
        json_put_oneline(out, e->detail);
    }
    buf_puts(out, "}\n");
}

bool spill_write(struct spill *s, const struct registry_op *op, struct weir_error *err)
{
    struct registry_event e;

    if (!event_of(op, &e))
        return true;
    if (s->broken) {
        if (ftruncate(s->fd, s->length) != 0) {
            (void)cannot(s, "mend", err);
            return false;
        }
        s->broken = false;
    }
    buf_clear(&s->line);
    put_event(&s->line, &e);
    if (s->line.failed) {
        (void)error_nomem(err);
        return false;
    }
    for (size_t done = 0; done < s->line.len;) {
        ssize_t n = write(s->fd, s->line.data + done, s->line.len - done);

        if (n < 0 && errno != EINTR) {
            (void)cannot(s, "write", err);
            /* No half line: a longer one would begin in it. If that fails, too, there is none behind it. */
            if (done > 0 && ftruncate(s->fd, s->length) != 0)
                s->broken = true;
            return false;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    s->length += (off_t)s->line.len;
    return true;
}

bool spill_sync(struct spill *s, struct weir_error *err)
{
    if (fdatasync(s->fd) == 0)
        return true;
    (void)cannot(s, "sync", err);
    return false;
}

void spill_clear(struct spill *s)
{
    if (ftruncate(s->fd, 0) != 0)
        return;
    s->length = 0;
    s->broken = false;
}

bool spill_is_empty(const struct spill *s)
{
    return s->length == 0 && !s->broken;
}

/* ---- reading ---- */

static uint64_t number(struct slice object, const char *name)
{
    struct slice value;
    int64_t n = 0;

    return json_member(object, name, &value) && json_int64(value, &n) && n > 0 ? (uint64_t)n : 0;
}

/* Fills *ret; its slices point into the line and into hold. */
static bool parse(struct slice line, struct buf *hold, struct registry_event *ret)
{
    struct slice value;

    buf_clear(hold);
    *ret = (struct registry_event){0};
    if (!json_check(line, NULL) || json_kind(line) != JSON_OBJECT)
        return false;
    if (!json_member(line, "kind", &value))
        return false;
    json_unquote(value, hold);
    if (hold->failed || !registry_event_from_name(buf_slice(hold), &ret->kind))
        return false;
    buf_clear(hold);
    if (json_member(line, "pool", &value))
        json_unquote(value, hold);
    ret->pool = buf_slice(hold);
    ret->at_ns = (int64_t)number(line, "at_ns");
    ret->task = number(line, "task");
    ret->attempt = (uint32_t)number(line, "attempt");
    ret->worker = number(line, "worker");
    ret->slot = (uint32_t)number(line, "slot");
    ret->duration_ns = (int64_t)number(line, "duration_ns");
    if (json_member(line, "detail", &value))
        ret->detail = value;
    return !hold->failed;
}

/* The whole file; *ret is empty when there is none. */
static enum weir_status slurp(const char *path, struct buf *ret, struct weir_error *err)
{
    FILE *f = fopen(path, "re");
    char chunk[16384];
    size_t n;
    enum weir_status status = WEIR_OK;

    if (!f)
        return errno == ENOENT
                   ? WEIR_OK
                   : error_set_errno(err, WEIR_E_IO, errno, "cannot open the spill file %s", path);
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_put(ret, chunk, n);
    if (ferror(f))
        status = error_set_errno(err, WEIR_E_IO, errno, "cannot read the spill file %s", path);
    else if (ret->failed)
        status = error_nomem(err);
    fclose(f);
    return status;
}

enum weir_status spill_read(const char *path, bool (*fn)(void *ctx, const struct registry_event *e),
                            void *ctx, struct weir_error *err)
{
    _cleanup_buf_ struct buf all = {0}, hold = {0};
    enum weir_status status = slurp(path, &all, err);
    struct slice rest = buf_slice(&all);
    const char *end;

    for (size_t line = 1; status == WEIR_OK && (end = memchr(rest.data, '\n', rest.len)); line++) {
        struct slice text = {rest.data, (size_t)(end - rest.data)};
        struct registry_event e;

        if (!parse(text, &hold, &e))
            return error_set(err, WEIR_E_FORMAT,
                             "line %zu of the spill file %s is no event; mend the line, or move "
                             "the file away to start without what it tells",
                             line, path);
        if (!fn(ctx, &e))
            break;
        rest.data += text.len + 1;
        rest.len -= text.len + 1;
    }
    return status;
}
