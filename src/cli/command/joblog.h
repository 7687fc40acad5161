/*
 * The job log, in GNU parallel's columns: a line for each row that has ended, in the order in which
 * they ended.
 *
 *     Seq  Host  Starttime  JobRuntime  Send  Receive  Exitval  Signal  Command        (a tab between)
 *
 *     joblog_put_head(&buf);   joblog_put(&buf, &entry);                   // the text
 *     joblog_done_read(&done, text, failed_too, &err);                     // which rows are not to be run again
 *     if (joblog_done_has(&done, seq)) ...
 *     joblog_done_free(&done);
 *
 * Seq is the row's number from 1. Exitval is -1 and Signal 0 where the command did not run to its
 * end (it could not be started, or was given up at its time limit). A later line of a row stands
 * for the earlier ones. Pure; one owner.
 */
#ifndef CLI_COMMAND_JOBLOG_H
#define CLI_COMMAND_JOBLOG_H

#include "base/buf.h"
#include "base/slice.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The largest Seq that is taken from a log: what a bit for each row takes is 64 MiB then. */
#define JOBLOG_SEQ_MAX (UINT64_C(1) << 29)

struct joblog_entry {
    uint64_t seq;
    int64_t start_ns; /* wall clock; 0: it was not started */
    int64_t run_ns;
    uint64_t sent_bytes, received_bytes; /* of standard input and output */
    int exit_code, signal;
    struct slice command; /* on one line: line ends and tabs become spaces */
};

void joblog_put_head(struct buf *out);
void joblog_put(struct buf *out, const struct joblog_entry *entry);

/* Rows by their Seq. */
struct joblog_done {
    uint8_t *bits;
    uint64_t bytes; /* of bits */
    uint64_t rows;  /* that are set */
};

/*
 * The rows that a log says have ended: all of them, or with ok_only those that ended with exit code
 * 0. What stands behind the last line end, which a crash left, is not looked at; ret_bytes is where
 * it begins. WEIR_E_FORMAT: the text is no job log; the message has the line. WEIR_E_NOMEM.
 */
WEIR_MUST_CHECK enum weir_status joblog_done_read(struct joblog_done *ret, struct slice text,
                                                  bool ok_only, uint64_t *ret_bytes,
                                                  struct weir_error *err);
bool joblog_done_has(const struct joblog_done *done, uint64_t seq);
void joblog_done_free(struct joblog_done *done);

/* Whether a text is a job log as far as it goes: empty, or with the head as its first line. */
bool joblog_is_one(struct slice text);

#endif
