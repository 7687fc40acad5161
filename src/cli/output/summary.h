/*
 * What the run came to: a page for a person, and the same as JSON.
 *
 *     struct summary s = {0};
 *     for each result:  summary_count(&s, &task->answer);
 *     fill in the rest;
 *     summary_render_text(&s, &buf);   summary_render_json(&s, &buf);   summary_write(path, json, &err);
 *
 * Pure but for summary_write. Strings are the caller's.
 */
#ifndef CLI_OUTPUT_SUMMARY_H
#define CLI_OUTPUT_SUMMARY_H

#include "base/buf.h"
#include "core/answer.h"
#include "core/stats.h"
#include "weir/outcome.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stdint.h>

enum summary_end {
    SUMMARY_COMPLETE, /* every row has a result */
    SUMMARY_STOPPED,  /* a signal, or an error of the store or the output */
    SUMMARY_HALTED,   /* --halt */
};

/* Statuses of failed rows that are counted one by one; the rest together. */
#define SUMMARY_STATUSES_MAX 16
/* Bytes of the first message kept per reason. */
#define SUMMARY_MESSAGE_BYTES 160

struct summary_reason {
    uint64_t rows;
    char first[SUMMARY_MESSAGE_BYTES]; /* the first row's message; "" : none */
};

/* What became of worker processes, of all their pools. */
struct summary_workers {
    bool known; /* false: the run has none */
    uint64_t started, failed_starts, lost, killed, replaced, recycled;
    uint64_t breaker_opened, failed_over;
    uint64_t session_hits, session_misses, session_rebinds, session_expiries;
};

struct summary {
    enum summary_end end;
    const char *why;    /* one line, why it ended early; NULL: it did not */
    const char *resume; /* how to go on ("the same command"), NULL: nothing to resume */
    int exit_status;

    bool total_known;
    uint64_t rows_total; /* of the input, when known */
    uint64_t rows_ok, rows_failed;
    uint64_t rows_before; /* of these, finished by earlier runs */

    duration_ns elapsed_ns;
    int64_t started_ns;      /* wall clock */
    struct core_stats batch; /* this run's */
    const char *throttle;
    const char *attempts_are; /* "requests", "commands"; NULL: requests */
    struct summary_workers workers;
    const char *output, *errors, *journal; /* paths, or NULL */

    struct summary_reason reasons[WEIR_REASON_COUNT]; /* failed rows */
    struct {
        int status;
        uint64_t rows;
    } statuses[SUMMARY_STATUSES_MAX];
    uint64_t statuses_other;
};

/* Counts one row's result: rows_ok or rows_failed, its reason, its status. */
void summary_count(struct summary *s, const struct core_answer *answer);
/* Lines for standard error. */
void summary_render_text(const struct summary *s, struct buf *out);
/* One JSON object (docs/output.md), with a newline. */
void summary_render_json(const struct summary *s, struct buf *out);
/* Replaces the file as a whole: a temporary one beside it, synced, renamed. "-" and what is not a
 * regular file are written to directly. */
WEIR_MUST_CHECK enum weir_status summary_write(const char *path, struct slice json,
                                               struct weir_error *err);

#endif
