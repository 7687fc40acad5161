/*
 * Whether many rows of a batch fail the same way.
 *
 *     if ((k = alike_failed(&a, &task->answer, task->index))) ... say so: k->count of them, the first are k->first
 *     alike_succeeded(&a);
 *
 * The same way: the same outcome and reason, the same status, and the same beginning of the
 * message, in which every number counts as the same. Many: ALIKE_IN_A_ROW in the order of finishing
 * with nothing in between, or ALIKE_IN_ALL. From then on a kind is told again each time that its
 * count has doubled, so that a million failures are some twenty words.
 *
 * Limits (I8): ALIKE_KINDS kinds are counted; another one takes the place of the one with the least
 * count. Pure, fixed size.
 */
#ifndef CORE_ALIKE_H
#define CORE_ALIKE_H

#include "core/answer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ALIKE_IN_A_ROW      5
#define ALIKE_IN_ALL        10
#define ALIKE_KINDS         16
#define ALIKE_FIRST_ROWS    5  /* indexes kept of each kind */
#define ALIKE_MESSAGE_BYTES 64 /* of a message that are compared, with a NUL */

struct alike_kind {
    enum weir_outcome outcome;
    enum weir_reason reason;
    int status;
    char message[ALIKE_MESSAGE_BYTES]; /* its beginning; "#" for each number */
    uint64_t count;
    uint64_t tell_at; /* the count at which it is told next; 0: not told yet */
    uint64_t first[ALIKE_FIRST_ROWS];
};

struct alike {
    struct alike_kind kinds[ALIKE_KINDS];
    size_t kind_count;
    size_t last;     /* the kind of the last failure */
    uint64_t in_row; /* of that kind, with nothing in between; 0: a success came, or nothing yet */
    uint64_t told;   /* failures of kinds that were told */
};

void alike_init(struct alike *a);
void alike_succeeded(struct alike *a);
/* A row has failed. Its kind, when that is to be told now; else NULL. */
const struct alike_kind *alike_failed(struct alike *a, const struct core_answer *answer,
                                      uint64_t index);
/* One line for a person: how many, how, and the first rows. Returns buf. */
const char *alike_describe(const struct alike_kind *k, char *buf, size_t bytes);

#endif
