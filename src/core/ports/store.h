/*
 * Port: what remembers a batch.
 *
 * A store keeps, for one batch, a record of each row that has finished, its output until it has
 * been delivered, and each attempt that was not the last. It is what makes a batch resumable: after
 * a crash, what put() returned OK for is there, whole, and nothing else is.
 *
 * The life of row k:   (nothing) --put--> finished --mark(next > k)--> delivered
 *
 * A finished row has its output in the store; a delivered one has given it away (to the output
 * file), and only its record stays, for the auditor. mark() moves the boundary: all rows before
 * `next` are delivered. Rows are numbered by their place in the batch, from 0. put() of a row that
 * is already finished or delivered is WEIR_E_CONFLICT.
 *
 * Calls block (they may sync a disk): only an edge thread makes them, never the engine's. A store
 * serialises its callers itself, so any thread may call it. A failed call changes nothing that was
 * durable before.
 */
#ifndef CORE_PORTS_STORE_H
#define CORE_PORTS_STORE_H

#include "base/buf.h"
#include "base/slice.h"
#include "weir/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Wall-clock times are nanoseconds since the Unix epoch; 0: it did not come to that. */

struct store_row {
    uint64_t index;
    uint64_t hash_hi, hash_lo; /* fingerprint of the row's bytes in the input (XXH3, 128 bits) */
    struct slice key;
    enum weir_outcome outcome;
    enum weir_reason reason;
    int status;
    struct slice message;
    struct slice request_id;
    bool has_output; /* false: no answer came; an empty answer has an output of 0 bytes */
    struct slice output;
    struct slice
        errput; /* written beside the output (standard error); goes with it, and is empty without */
    uint64_t complete_index;
    int64_t submit_ns, start_ns, complete_ns; /* start: of the first attempt */
    uint32_t attempts;
    uint32_t capacity_retries;
    int64_t throttled_ns; /* a duration */
    uint32_t generation;  /* 0; one more each time --retry-failed has run the row again */
};

/* An attempt that was followed by another one. The last attempt of a row is in its store_row. */
struct store_attempt {
    uint64_t index;
    uint32_t number;
    uint32_t generation;
    enum weir_outcome outcome;
    enum weir_reason reason;
    int status;
    struct slice message;
    int64_t start_ns, end_ns;
    int64_t wait_ns; /* a duration: how long the row then waited, at least */
};

/* Where a row's line stands in the output (or errors) file; for --retry-failed, which copies what
 * was good. */
struct store_place {
    uint64_t index;
    bool in_errors; /* the line went to the errors file */
    uint64_t offset, len;
    int64_t deliver_ns;
};

/* How far delivery has come. All rows before `next` are delivered, in files of these sizes. */
struct store_mark {
    uint64_t next;
    uint64_t output_bytes;
    uint64_t errors_bytes;
};

/* What a batch left behind, read when it is opened again. */
struct store_summary {
    struct store_mark mark;
    uint64_t finished;                   /* rows put, delivered ones included */
    uint64_t failed;                     /* of these, with an outcome other than ok */
    uint64_t complete_index;             /* one more than the largest; 0 when none finished */
    uint64_t capacity_retries, attempts; /* sums over the finished rows */
};

struct core_store;

struct core_store_ops {
    const char *name; /* "memory", "sqlite" */

    /* One transaction: all of it is durable when this returns OK, none of it otherwise. */
    enum weir_status (*put)(struct core_store *s, const struct store_row *rows, size_t row_count,
                            const struct store_attempt *attempts, size_t attempt_count,
                            struct weir_error *err);
    /*
     * Fills `ret` with the record of a row; its slices point into `hold`, which is cleared first.
     * has_output is false for a delivered row. WEIR_E_END: the row has not finished.
     */
    enum weir_status (*get)(struct core_store *s, uint64_t index, struct store_row *ret,
                            struct buf *hold, struct weir_error *err);
    /* One transaction. mark->next never goes back; places (of rows before it) may be empty. */
    enum weir_status (*mark)(struct core_store *s, const struct store_mark *mark,
                             const struct store_place *places, size_t place_count,
                             struct weir_error *err);
    /* Where a delivered row's line stands. WEIR_E_END: it has none. */
    enum weir_status (*place)(struct core_store *s, uint64_t index, struct store_place *ret,
                              struct weir_error *err);
    enum weir_status (*summary)(struct core_store *s, struct store_summary *ret,
                                struct weir_error *err);
    /*
     * Begins another round over the failed rows, in one transaction: each row that did not end ok
     * becomes not finished again, with its generation raised, and the mark goes back to 0 with
     * files of 0 bytes. Rows that ended ok stay, without output; their places (of the round before)
     * stay readable until they are marked again.
     */
    enum weir_status (*reopen_failed)(struct core_store *s, uint64_t *ret_rows,
                                      struct weir_error *err);
    /* The generation that a row not yet finished is to run with: 0, or as reopen_failed left it. */
    enum weir_status (*generation)(struct core_store *s, uint64_t index, uint32_t *ret,
                                   struct weir_error *err);

    /* Facts about the batch by name (identity of the input, options in force, run id); durable when
     * it returns. */
    enum weir_status (*set)(struct core_store *s, const char *name, struct slice value,
                            struct weir_error *err);
    /* Appends to out. WEIR_E_END: no such fact. */
    enum weir_status (*fact)(struct core_store *s, const char *name, struct buf *out,
                             struct weir_error *err);

    /* NULL-safe is the caller's business; frees everything. Nothing is lost by not calling it. */
    void (*close)(struct core_store *s);
};

/* First member of every store. */
struct core_store {
    const struct core_store_ops *ops;
};

#endif
