#include "engine/spill.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* How far the file goes: bytes of whole lines, and the events in them. */
struct extent {
    off_t length;
    uint64_t events;
};

struct spill {
    int fd;
    char *path;
    char id[SPILL_ID_BYTES]; /* of what is in it; a new one once it is empty */
    struct extent written, synced;
    bool broken;    /* behind `written` is what could not be taken away: */
    uint64_t there; /* whole events in the file, those included */
    struct buf line;
};

static enum weir_status cannot(const struct spill *s, const char *what, struct weir_error *err)
{
    return error_set_errno(err, WEIR_E_IO, errno, "cannot %s the spill file %s", what, s->path);
}

enum weir_status spill_new(const char *path, struct spill **ret, struct weir_error *err)
{
    struct spill *s = mem_calloc(1, sizeof *s);
    enum weir_status status = WEIR_OK;
    off_t end;

    if (!s)
        return error_nomem(err);
    s->fd = -1;
    s->path = mem_strdup(path);
    if (!s->path) {
        spill_free(s);
        return error_nomem(err);
    }
    s->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    end = s->fd < 0 ? -1 : lseek(s->fd, 0, SEEK_END);
    if (end < 0)
        status = cannot(s, "open", err);
    else if (end > 0)
        status = error_set(err, WEIR_E_CONFLICT,
                           "the spill file %s is not empty; events in it that are not in the "
                           "store would be lost, so move it away if they do not matter",
                           path);
    if (status != WEIR_OK) {
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
        if (op->end.untried) /* as long as the store has not taken it, the task is ready */
            return false;
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

bool spill_tells(const struct registry_op *op)
{
    struct registry_event e;

    return event_of(op, &e);
}

/* Back to where it ended then. False: what is behind it is still there; errno says why. */
static bool cut(struct spill *s, struct extent to)
{
    s->written = to;
    s->broken = ftruncate(s->fd, to.length) != 0;
    if (!s->broken)
        s->there = to.events;
    return !s->broken;
}

/* s->line, whole or not at all. */
static bool write_line(struct spill *s, struct weir_error *err)
{
    if (s->line.failed) {
        (void)error_nomem(err);
        return false;
    }
    for (size_t done = 0; done < s->line.len;) {
        ssize_t n = write(s->fd, s->line.data + done, s->line.len - done);

        if (n < 0 && errno != EINTR) {
            (void)cannot(s, "write", err);
            if (done > 0)
                (void)cut(s, s->written);
            return false;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    s->written.length += (off_t)s->line.len;
    return true;
}

static bool write_head(struct spill *s, struct weir_error *err)
{
    (void)snprintf(s->id, sizeof s->id, "%016" PRIx64, loop_entropy());
    buf_clear(&s->line);
    buf_printf(&s->line, "{\"spill\":\"%s\"}\n", s->id);
    return write_line(s, err);
}

bool spill_write(struct spill *s, const struct registry_op *op, struct weir_error *err)
{
    struct registry_event e;

    if (!event_of(op, &e))
        return true;
    /* A line must not begin in half of another one. */
    if (s->broken && !cut(s, s->written)) {
        (void)cannot(s, "mend", err);
        return false;
    }
    if (s->written.length == 0 && !write_head(s, err))
        return false;
    buf_clear(&s->line);
    put_event(&s->line, &e);
    if (!write_line(s, err))
        return false;
    s->there = ++s->written.events;
    return true;
}

bool spill_sync(struct spill *s, struct weir_error *err)
{
    if (fdatasync(s->fd) == 0) {
        s->synced = s->written;
        return true;
    }
    (void)cannot(s, "sync", err);
    /* The kernel may take the pages for written from now on: what is to be on the disk has to be written anew. */
    (void)cut(s, s->synced);
    return false;
}

void spill_clear(struct spill *s)
{
    /* One that is whole may go on behind what is in it; of a broken one nothing is to be left. */
    if (s->broken) {
        s->synced = (struct extent){0};
        (void)cut(s, s->synced);
        return;
    }
    if (ftruncate(s->fd, 0) != 0)
        return;
    s->written = s->synced = (struct extent){0};
    s->there = 0;
}

bool spill_is_empty(const struct spill *s)
{
    return s->written.length == 0 && !s->broken;
}

uint64_t spill_events(const struct spill *s)
{
    return s->there;
}

uint64_t spill_doubtful(const struct spill *s)
{
    return s->there - s->written.events;
}

const char *spill_id(const struct spill *s)
{
    return s->id;
}

void spill_mark(const char *id, uint64_t events, struct spill_mark *ret)
{
    int n = snprintf(ret->value, sizeof ret->value, "{\"spill\":\"%s\",\"events\":%" PRIu64 "}", id,
                     events);

    ret->op = (struct registry_op){.kind = REGISTRY_SET, .set = {.name = SLICE(SPILL_FACT)}};
    ret->op.set.value = (struct slice){ret->value, (size_t)n};
}
