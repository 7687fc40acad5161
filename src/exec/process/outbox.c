/*
 * See outbox.h. The bytes are one buffer that is emptied when all of it is written; the splices say
 * where in it foreign bytes belong. A write gathers both in their order.
 */
#include "exec/process/outbox.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Parts of one write. */
#define PARTS_MAX 64
/* An empty buffer keeps this much, and one that never gets empty is moved up after this much. */
#define KEPT_BYTES      (UINT32_C(64) << 10)
#define SPLICES_CAP_MIN 4

static bool add_splice(struct outbox *o, struct slice args)
{
    if (o->count == o->cap) {
        size_t cap = o->cap ? o->cap * 2 : SPLICES_CAP_MIN;
        struct outbox_splice *splices = mem_realloc(o->splices, cap * sizeof *splices);

        if (!splices)
            return false;
        o->splices = splices;
        o->cap = cap;
    }
    o->splices[o->count++] = (struct outbox_splice){o->bytes.len, args};
    return true;
}

static bool undo(struct outbox *o, size_t len, size_t count)
{
    o->bytes.len = len;
    o->bytes.failed = false;
    o->count = count;
    return false;
}

bool outbox_put(struct outbox *o, const struct wire_request *r, uint64_t limit, uint64_t *ret_size)
{
    size_t len = o->bytes.len, count = o->count;
    struct slice args = wire_args(r);
    bool splices = args.len >= OUTBOX_SPLICE_BYTES;
    uint64_t size = wire_put_head(&o->bytes, r);

    *ret_size = size;
    if (size > limit || o->bytes.failed)
        return undo(o, len, count);
    if (!splices)
        buf_put_slice(&o->bytes, args);
    else if (!add_splice(o, args))
        return undo(o, len, count);
    buf_put_slice(&o->bytes, WIRE_TAIL);
    if (o->bytes.failed)
        return undo(o, len, count);
    o->queued += size + WIRE_LENGTH_BYTES;
    return true;
}

/* The place in `bytes` of the byte with that number, which is not written and at the edge of a frame: never at a splice.
 * *ret_splice: the first one behind it. */
static size_t place_of(const struct outbox *o, uint64_t number, size_t *ret_splice)
{
    uint64_t at = o->written;
    size_t pos = o->pos, skip = o->first_written, i = o->first;

    for (; i < o->count && at + (o->splices[i].at - pos) < number; i++) {
        at += o->splices[i].at - pos + o->splices[i].args.len - skip;
        pos = o->splices[i].at;
        skip = 0;
    }
    *ret_splice = i;
    return pos + (size_t)(number - at);
}

bool outbox_take_back(struct outbox *o, uint64_t begin, uint64_t end)
{
    size_t from, upto, first, behind;

    if (begin < o->written)
        return false;
    from = place_of(o, begin, &first);
    upto = place_of(o, end, &behind);
    memmove(o->bytes.data + from, o->bytes.data + upto, o->bytes.len - upto);
    o->bytes.len -= upto - from;
    for (size_t i = behind; i < o->count; i++) {
        o->splices[first + (i - behind)] = o->splices[i];
        o->splices[first + (i - behind)].at -= upto - from;
    }
    o->count -= behind - first;
    o->queued -= end - begin;
    return true;
}

/* The next parts, as they follow each other; returns how many. */
static int gather(const struct outbox *o, struct iovec parts[PARTS_MAX])
{
    size_t pos = o->pos, skip = o->first_written, room = OUTBOX_WRITE_BYTES_MAX;
    int n = 0;

    for (size_t i = o->first; n + 1 < PARTS_MAX && room > 0; i++) {
        size_t upto = i < o->count ? o->splices[i].at : o->bytes.len;
        size_t len = upto - pos < room ? upto - pos : room;

        if (len > 0)
            parts[n++] = (struct iovec){o->bytes.data + pos, len};
        room -= len;
        pos = upto;
        if (i == o->count)
            break;
        len = o->splices[i].args.len - skip;
        len = len < room ? len : room;
        if (len > 0)
            parts[n++] = (struct iovec){(void *)(uintptr_t)(o->splices[i].args.data + skip), len};
        room -= len;
        skip = 0;
    }
    return n;
}

static void advance(struct outbox *o, size_t n)
{
    o->written += n;
    while (n > 0) {
        bool has_splice = o->first < o->count;
        size_t upto = has_splice ? o->splices[o->first].at : o->bytes.len;
        size_t here = upto - o->pos < n ? upto - o->pos : n;

        o->pos += here;
        n -= here;
        if (n == 0 || !has_splice)
            break;
        here = o->splices[o->first].args.len - o->first_written;
        here = here < n ? here : n;
        o->first_written += here;
        n -= here;
        if (o->first_written == o->splices[o->first].args.len) {
            o->first++;
            o->first_written = 0;
        }
    }
    assert(n == 0);
}

/* Gives back what is written. */
static void tidy(struct outbox *o)
{
    if (outbox_is_empty(o)) {
        o->pos = o->first = o->count = 0;
        if (o->bytes.cap > 2 * KEPT_BYTES)
            buf_free(&o->bytes);
        else
            buf_clear(&o->bytes);
    } else if (o->pos >= KEPT_BYTES && o->pos >= o->bytes.len / 2) {
        memmove(o->bytes.data, o->bytes.data + o->pos, o->bytes.len - o->pos);
        o->bytes.len -= o->pos;
        memmove(o->splices, o->splices + o->first, (o->count - o->first) * sizeof *o->splices);
        o->count -= o->first;
        o->first = 0;
        for (size_t i = 0; i < o->count; i++)
            o->splices[i].at -= o->pos;
        o->pos = 0;
    }
}

enum outbox_state outbox_write(struct outbox *o, int fd)
{
    enum outbox_state state = OUTBOX_EMPTY;
    size_t taken = 0;

    while (!outbox_is_empty(o)) {
        struct iovec parts[PARTS_MAX];
        int count = gather(o, parts);
        ssize_t n;

        if (taken >= OUTBOX_WRITE_BYTES_MAX) {
            state = OUTBOX_MORE;
            break;
        }
        n = count == 1 ? write(fd, parts[0].iov_base, parts[0].iov_len) : writev(fd, parts, count);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            state = errno == EAGAIN ? OUTBOX_FULL : OUTBOX_BROKEN;
            break;
        }
        advance(o, (size_t)n);
        taken += (size_t)n;
    }
    tidy(o);
    return state;
}

void outbox_free(struct outbox *o)
{
    buf_free(&o->bytes);
    mem_free(o->splices);
    *o = (struct outbox){.queued = o->queued, .written = o->written};
}
