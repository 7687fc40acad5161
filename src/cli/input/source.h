/*
 * The input of a run: its rows, one after the other, checked.
 *
 *     source_open(&(struct source_options){...}, &source, &err);
 *     source_check(source, &report, &err);                // files, whole, before anything is sent
 *     source_skip(source, delivered, compare, ctx, &err); // a resumed run: rows that are done
 *     while ((status = source_next(source, &row, &err)) == WEIR_OK)
 *         ... engine_batch_add(batch, &row->task, ...)    // row->bad: its result is there already
 *     source_close(source);                               // rows may live on
 *
 * A file is read twice: by source_check, which refuses it with the faults of all its rows, and by
 * source_next, which notices when it is not the same file any more (trail.h). What is no regular
 * file (standard input, a FIFO) is read once, and checked as it comes.
 *
 * With skip_bad nothing is refused: a row that is bad, or whose key was there before, is handed out
 * as a bad row in its place. Without it the first bad row of a stream ends the reading.
 *
 * Indexes count the lines that are not blank, over all files, from 0, bad ones included; they
 * depend on the content alone, and so do hashes.
 *
 * Threads: one at a time (source_check on the main thread, then source_next on a reader thread).
 * Owner: the options' strings must outlive the source and all its rows.
 */
#ifndef CLI_INPUT_SOURCE_H
#define CLI_INPUT_SOURCE_H

#include "cli/input/check.h"
#include "cli/input/lines.h"
#include "cli/input/row.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct source_options {
    struct lines_options lines; /* stdin_fd 0 and stop_fd -1 are the usual ones */
    struct row_options rows;
    bool skip_bad;
    size_t memory_keys; /* see check.h; 0: the default */
    size_t marks_max;   /* see trail.h; 0: the default */
};

struct source;

/*
 * Looks whether all files are there and compiles the expressions; reads nothing. WEIR_E_IO,
 * WEIR_E_INVALID or WEIR_E_NOMEM.
 */
WEIR_MUST_CHECK enum weir_status source_open(const struct source_options *o, struct source **ret,
                                             struct weir_error *err);

/*
 * Checks all regular files. At most once, before source_skip and source_next. WEIR_E_FORMAT: rows
 * are bad and skip_bad is not set; the message has their number, the report the first of them. The
 * report is filled in for WEIR_OK and WEIR_E_FORMAT. With skip_bad, double keys are not counted
 * here but found by source_next. Without this call, files are read as streams are.
 */
WEIR_MUST_CHECK enum weir_status source_check(struct source *s, struct check_report *ret,
                                              struct weir_error *err);

/*
 * The next row, built; the caller's (row_free, or through its task's release). WEIR_E_END: there
 * are no more. WEIR_E_FORMAT: a bad row in a stream. WEIR_E_CONFLICT: a file is not the one that
 * was checked; what was handed out before stands. WEIR_E_SHUTDOWN: lines.stop_fd became readable.
 * WEIR_E_IO, WEIR_E_NOMEM. After anything but WEIR_OK it says the same again.
 */
WEIR_MUST_CHECK enum weir_status source_next(struct source *s, struct run_row **ret,
                                             struct weir_error *err);

/* Told of each line passed over: line->hash is what the row's task would carry. Anything but WEIR_OK
 * ends source_skip, which returns it. */
typedef enum weir_status (*source_line_fn)(void *ctx, uint64_t index, const struct line *line,
                                           struct weir_error *err);

/*
 * Passes over the next `count` rows without building them (but for their keys, where these must be
 * known). each may be NULL. WEIR_E_END: there are fewer rows; the message says how many. Else as
 * source_next.
 */
WEIR_MUST_CHECK enum weir_status source_skip(struct source *s, uint64_t count, source_line_fn each,
                                             void *ctx, struct weir_error *err);

/* Rows handed out and passed over so far: the index of the next one. */
uint64_t source_index(const struct source *s);
/* Digest of their content, in order; equals the report's digest at the end of checked files. */
struct fingerprint source_digest(const struct source *s);
/* How many rows there are in all. False: not known (a stream, or not checked). */
bool source_rows_known(const struct source *s, uint64_t *ret_rows);

/* NULL-safe. */
void source_close(struct source *s);

#endif
