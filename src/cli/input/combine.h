/*
 * Rows that are made of lists of values: what stands behind ::: on a command line.
 *
 *     ::: a b ::: 1 2        a 1, a 2, b 1, b 2: all combinations, the last list the fastest
 *     ::: a b :::+ 1 2       a 1, b 2: linked to the list before, as long as the shorter one
 *     :::: FILE ...          lists that are the lines of files, one list for each; ::::+ linked
 *
 *     combine_new(&(struct combine_options){.words = words, .count = n}, &c, &err);
 *     for (i = 0; i < combine_rows(c); i++)
 *         combine_row(c, i, &out);               // the row's values, with a NUL between them
 *     c = combine_free(c);
 *
 * A list without values makes no rows. With max_args N there must be one list, and N of its values
 * are a row.
 *
 * Files are read whole, and held; their lines are as of lines.h. Owner: the caller. What is made
 * does not change: threads may share it.
 */
#ifndef CLI_INPUT_COMBINE_H
#define CLI_INPUT_COMBINE_H

#include "base/buf.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of all values together: more are refused, for they are held in memory. */
#define COMBINE_BYTES_MAX (UINT64_C(1) << 28)
#define COMBINE_LISTS_MAX 1000
#define COMBINE_ROWS_MAX  (UINT64_C(1) << 53)

struct combine_options {
    const char *const *words; /* the first is a mark (:::, :::+, ::::, ::::+); outlive it */
    size_t count;
    uint64_t max_args; /* values of one list that are one row; 0: 1 */
    bool nul;          /* values in files end at a NUL byte */
    int stdin_fd;      /* what the file "-" is */
};

struct combine;

bool combine_is_mark(const char *word);
/* WEIR_E_INVALID: a list that is linked to none, more than one with max_args, no file behind ::::. WEIR_E_IO: a file cannot
 * be read. WEIR_E_LIMIT: too much of it. WEIR_E_NOMEM. */
WEIR_MUST_CHECK enum weir_status combine_new(const struct combine_options *o, struct combine **ret,
                                             struct weir_error *err);
uint64_t combine_rows(const struct combine *c);
/* Appends a row's values. */
void combine_row(const struct combine *c, uint64_t row, struct buf *out);
/* NULL-safe; returns NULL. */
struct combine *combine_free(struct combine *c);

#endif
