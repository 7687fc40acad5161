/*
 * One file that results go to: opened without harm, cut to a size, appended to in groups, synced.
 *
 *     outfile_init(&f);
 *     outfile_open(&f, "results.jsonl", &err);      // NULL: standard output
 *     outfile_cut(&f, size, &err);
 *     buf_put(&f.pending, ...);
 *     outfile_write(&f, &err);
 *     outfile_sync(&f, &err);
 *     outfile_close(&f);
 *
 * Every error names the file, the system's reason, and what to do. Owner: writer.c; one thread.
 */
#ifndef CLI_OUTPUT_OUTFILE_H
#define CLI_OUTPUT_OUTFILE_H

#include "base/buf.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct outfile {
    char *path;       /* NULL: standard output, or not open */
    int fd;           /* -1: not open */
    bool regular;     /* has a size, can be cut and synced */
    bool resumable;   /* a later run can go on: errors say so */
    uint64_t written; /* bytes in the file (of this run, if it is no regular file) */
    struct buf pending;
};

void outfile_init(struct outfile *f);
/* Creates the file if it is missing; changes no byte of one that is there. written is its size. */
WEIR_MUST_CHECK enum weir_status outfile_open(struct outfile *f, const char *path,
                                              struct weir_error *err);
const char *outfile_name(const struct outfile *f);
/* Keeps other runs out of a regular file until it is closed. WEIR_E_BUSY: one is in it. */
WEIR_MUST_CHECK enum weir_status outfile_lock(const struct outfile *f, struct weir_error *err);
/* Makes a regular file `size` bytes long (it has at least as many), and goes on from there. */
WEIR_MUST_CHECK enum weir_status outfile_cut(struct outfile *f, uint64_t size,
                                             struct weir_error *err);
/* Writes all that is pending. On failure the rest stays pending, and written says how far it came. */
WEIR_MUST_CHECK enum weir_status outfile_write(struct outfile *f, struct weir_error *err);
/* Makes what is written durable; nothing to do for what is no regular file. */
WEIR_MUST_CHECK enum weir_status outfile_sync(struct outfile *f, struct weir_error *err);
/* Whether a file ends a line at `size`: true also when that cannot be found out. */
bool outfile_ends_line(const char *path, uint64_t size);
/* Makes the entry of a file in its folder durable. */
WEIR_MUST_CHECK enum weir_status outfile_sync_folder(const char *path, struct weir_error *err);
/* Forgets what is pending. Leaves standard output open. */
void outfile_close(struct outfile *f);

#endif
