/*
 * Results into files, so that a crash at any moment leaves what a later run can go on from.
 *
 *     writer_open(&options, &w, &err);           // opens and checks; changes nothing that is there
 *     writer_start(w, &start, &err);             // all checks passed: truncates, or cuts back
 *     for each chain of results, in order of index from start.mark.next:
 *         for each task:
 *             if (writer_keeps(w, task)) writer_copy(w, index, deliver_ns, &err);
 *             else { render_result(.., writer_line(w, in_errors)); writer_line_end(w, index, deliver_ns, &err); }
 *         writer_flush(w, now, &err);            // one write per file; now and then a sync and a mark
 *     writer_finish(w, complete, &err);          // sync, mark; when complete, the renames of a retry round
 *     w = writer_free(w);
 *
 * The order that matters: a line is written, then the files are synced, and only then does the
 * store hear of it (mark), because from then on the store gives the output away. After a crash the
 * files may hold more than the mark says, never less: the rest is cut off, and the rows behind it,
 * which the store still has, are written again.
 *
 * --retry-failed writes new files beside the old ones (FILE.weir-retry), copying the lines of rows
 * that were ok by their places, and puts them in place by rename at the end. How far such a round
 * is, is a fact in the store, WRITER_FACT_ROUND:
 *
 *     (none) --begin--> "begin" --reopen_failed--> "open" --all rows written--> "rename" --renamed--> ""
 *
 *   begin    nothing has changed yet if the mark is not at 0; else reopen_failed has been done
 *   open     the mark speaks of the new files, the places beyond it of the old ones
 *   rename   the new files are whole; whichever of them is still there is to be renamed
 *
 * Every state but "begin" is gone on with by the next run, whether --retry-failed is given again or
 * not.
 *
 * A raw output has whatever bytes a row has in place of its line, none perhaps; places and marks
 * say where they stand all the same.
 *
 * Owner and thread: one thread at a time uses a writer. The store stays the caller's. SIGPIPE and
 * SIGXFSZ must be ignored by the process; they arrive here as errors. After a failed write, sync or
 * mark the writer is broken: each later call gives the same error, and nothing more is marked.
 */
#ifndef CLI_OUTPUT_WRITER_H
#define CLI_OUTPUT_WRITER_H

#include "base/buf.h"
#include "base/time.h"
#include "core/ports/store.h"
#include "core/task.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Set once the output files are truncated and a run writes to them; its absence means a fresh start. */
#define WRITER_FACT_BEGUN "output.begun"
/* How far a --retry-failed round is; see above. */
#define WRITER_FACT_ROUND   "output.round"
#define WRITER_RETRY_SUFFIX ".weir-retry"

/* Synced and marked after this much time or this many bytes, whichever comes first. */
#define WRITER_SYNC_NS    NS_PER_S
#define WRITER_SYNC_BYTES (UINT64_C(8) << 20)

struct writer;

struct writer_options {
    const char *output;       /* NULL: standard output */
    const char *errors;       /* NULL: failed rows go to the output too */
    struct core_store *store; /* NULL: nothing is remembered */
    bool retry_failed; /* begin another round over the failed rows (unless one is under way) */
    bool overwrite; /* --fresh: an output that is not empty and belongs to no journal is replaced */
    bool raw;       /* what goes in are bytes, any number of them for a row, not one line */
    bool unordered; /* rows come in any order; there is no store then */
    /* Files that must not be written over: the inputs, the journal. May be NULL. */
    const char *const *not_these;
    size_t not_these_count;
};

/* Opens the files and checks them against the store: WEIR_E_CONFLICT when they are not what it
 * says, WEIR_E_IO when they cannot be opened, WEIR_E_INVALID when one of them is an input. Creates
 * missing files, empty, but changes no byte of a file that is there. */
WEIR_MUST_CHECK enum weir_status writer_open(const struct writer_options *o, struct writer **ret,
                                             struct weir_error *err);

struct writer_start {
    struct store_mark mark; /* where delivery goes on */
    bool resumed;           /* an earlier run had begun */
    bool retrying;          /* a round over failed rows is under way (new or gone on with) */
    uint64_t reopened;      /* rows that this call made not finished again */
};

/* Truncates or cuts back, and makes the store agree. Read store->summary() after it, not before. */
WEIR_MUST_CHECK enum weir_status writer_start(struct writer *w, struct writer_start *ret,
                                              struct weir_error *err);

/* Where to append the next line: the errors file's buffer if in_errors and there is one, else the
 * output's. Exactly one line, ended by writer_line_end. */
struct buf *writer_line(struct writer *w, bool in_errors);
/* Of a writer of raw bytes: appends to what writer_line() has begun, and writes out what is much already. */
WEIR_MUST_CHECK enum weir_status writer_put(struct writer *w, struct slice bytes,
                                            struct weir_error *err);
WEIR_MUST_CHECK enum weir_status writer_line_end(struct writer *w, uint64_t index,
                                                 int64_t deliver_ns, struct weir_error *err);

/* A row that has no line at all: the next one is expected in its place. Only without a store. */
void writer_pass_over(struct writer *w);

/* Whether the row's line is to be copied from the round before: it ended ok then, and the store no
 * longer has its output. */
bool writer_keeps(const struct writer *w, const struct core_task *task);
/* Copies it. */
WEIR_MUST_CHECK enum weir_status writer_copy(struct writer *w, uint64_t index, int64_t deliver_ns,
                                             struct weir_error *err);

/* Writes what is buffered; syncs and marks when that is due. Cheap when there is nothing to do: call
 * it on each turn, also without new lines. */
WEIR_MUST_CHECK enum weir_status writer_flush(struct writer *w, struct instant now,
                                              struct weir_error *err);

/* Writes, syncs and marks all. complete: every row of the batch is written, so a retry round ends. */
WEIR_MUST_CHECK enum weir_status writer_finish(struct writer *w, bool complete,
                                               struct weir_error *err);

/* Bytes written and buffered so far, of the output and the errors file. */
struct store_mark writer_position(const struct writer *w);

/* Closes without syncing. NULL-safe; returns NULL. */
struct writer *writer_free(struct writer *w);

#endif
