/*
 * What is still to be written to one worker.
 *
 *     if (outbox_put(&o, &request, limit, &size)) ... o.queued is where its frame ends ...
 *     state = outbox_write(&o, fd);            // as much as the descriptor takes at once, in as few calls as can be
 *
 * Short requests are copied, one behind the other, so that many go out in one write. Args from
 * OUTBOX_SPLICE_BYTES on stay where they are and are written from there: they belong to the caller,
 * and must stay until their frame is written, or until the outbox is emptied. All bytes that were
 * ever put have a number, from 0: `queued` is behind the last one, `written` behind the last one
 * that the descriptor took. One owner.
 */
#ifndef EXEC_PROCESS_OUTBOX_H
#define EXEC_PROCESS_OUTBOX_H

#include "base/buf.h"
#include "exec/process/wire.h"

/* Args from this size on are not copied: copying less costs less than one part more in a write. */
#define OUTBOX_SPLICE_BYTES (UINT32_C(8) << 10)
/* Taken by one call of outbox_write() at most, so that a worker that reads fast does not hold up the others. */
#define OUTBOX_WRITE_BYTES_MAX (UINT32_C(1) << 20)

struct outbox_splice {
    size_t at; /* place in `bytes` that it comes before */
    struct slice args;
};

struct outbox {
    struct buf bytes; /* all but the splices */
    size_t pos;       /* of these, written */
    struct outbox_splice *splices;
    size_t first, count, cap; /* of splices: the first one not written, behind the last one, room */
    size_t first_written;     /* bytes written of the first one */
    uint64_t queued, written;
};

enum outbox_state {
    OUTBOX_EMPTY,
    OUTBOX_FULL, /* the descriptor takes no more now */
    OUTBOX_MORE, /* it may take more, after others have had their turn */
    OUTBOX_BROKEN,
};

/*
 * False: it was not put: *ret_size is over the limit, or memory ran out. *ret_size: the frame's
 * bytes behind its length.
 */
bool outbox_put(struct outbox *o, const struct wire_request *r, uint64_t limit, uint64_t *ret_size);
/*
 * The frame from `begin` to `end` is not to be written any more. False: some of it was. The numbers
 * of all bytes behind it are lower by end - begin from now on.
 */
bool outbox_take_back(struct outbox *o, uint64_t begin, uint64_t end);
enum outbox_state outbox_write(struct outbox *o, int fd);
static inline bool outbox_is_empty(const struct outbox *o)
{
    return o->written == o->queued;
}
/* Forgets what was not written, and frees all. */
void outbox_free(struct outbox *o);

#endif
