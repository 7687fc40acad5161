/*
 * A trail through an input: what the pass that checks it leaves behind for the pass that sends it,
 * so that a file that was changed in between is noticed.
 *
 *     struct trail trail = {0};                      // first pass
 *     trail_add(&trail, line.hash, place, &err);     // ... for each line
 *     struct trail_walk walk = {0};                  // second pass
 *     if (!trail_step(&trail, &walk, line.hash)) ... // walk.from_place: changed at or after it
 *     if (!trail_ended(&trail, &walk)) ...           // lines are missing
 *     trail_free(&trail);
 *
 * Each line's hash goes into a chain; the state of the chain is kept at a bounded number of marks,
 * all `stride` lines. When there is no room for another mark, every second one is dropped and the
 * stride doubles. So an input of up to TRAIL_MARKS_MAX lines is compared line by line, before each
 * line is used, and a longer one block by block, at the end of each block. Memory is at most 1.5
 * MiB.
 *
 * Pure but for memory. One owner.
 */
#ifndef CLI_INPUT_TRAIL_H
#define CLI_INPUT_TRAIL_H

#include "store/fingerprint.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRAIL_MARKS_MAX ((size_t)1 << 16)

struct trail_mark {
    struct fingerprint state; /* of the chain after the mark's last line */
    uint64_t place;           /* of that line */
};

struct trail {
    struct trail_mark *marks; /* after lines stride, 2 * stride, ... */
    size_t mark_count, mark_cap;
    size_t marks_max; /* even; 0: TRAIL_MARKS_MAX. For tests */
    uint64_t stride;  /* a power of two */
    uint64_t lines;
    struct fingerprint state; /* of the chain so far: the digest of all lines */
};

/* Another line. `place` says where it is, for messages; any number. WEIR_E_NOMEM: not added. */
WEIR_MUST_CHECK enum weir_status trail_add(struct trail *t, struct fingerprint line, uint64_t place,
                                           struct weir_error *err);

struct trail_walk {
    uint64_t lines;
    struct fingerprint state;
    uint64_t good_lines; /* of the walk that are known to be as they were */
    uint64_t good_place; /* of the last of them; 0: none yet */
};

/*
 * Another line of the second pass. False: something at or before it, after walk->good_lines lines,
 * is not what it was, or the trail had no such line.
 */
bool trail_step(const struct trail *t, struct trail_walk *w, struct fingerprint line);
/* Whether the walk has come to the trail's end. False: lines are missing, or what came after the last
 * mark differs. */
bool trail_ended(const struct trail *t, const struct trail_walk *w);

void trail_free(struct trail *t);

/* The chain's step, for whoever only wants the digest of a stream of lines. Starts from {0, 0}. */
struct fingerprint trail_chain(struct fingerprint state, struct fingerprint line);

#endif
