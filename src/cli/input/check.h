/*
 * The look at whole files before anything is sent: every row is built, with its body and its key,
 * and thrown away; every key is looked up; what is wrong is collected.
 *
 *     struct check_keys keys = {.files = names};
 *     status = check_run(&(struct check_options){.lines = &lines_options, .rows = rows, .keys = &keys,
 *                                                .trail = &trail, .identities = ids}, &report, &err);
 *     // report.bad rows are bad; report.faults has the first of them in full
 *     check_keys_free(&keys);
 *
 * Only regular files are looked at; what is a stream is checked as it is read (source.h). Memory is
 * bounded whatever the size of the input: one line, the keys in memory (keyset.h), the trail
 * (trail.h) and CHECK_FAULTS_MAX messages.
 *
 * Blocks on reading. One thread at a time; the caller owns everything.
 */
#ifndef CLI_INPUT_CHECK_H
#define CLI_INPUT_CHECK_H

#include "cli/input/lines.h"
#include "cli/input/row.h"
#include "cli/input/trail.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bad rows that are told in full; the others are counted. */
#define CHECK_FAULTS_MAX 20

struct check_report {
    uint64_t rows;  /* bad ones included */
    uint64_t bytes; /* of the files that were read */
    uint64_t bad;   /* rows that cannot be sent; doubles of a key count when keys are checked */
    struct fingerprint digest; /* of all lines, in order: the identity of the content */
    bool any_good;             /* first_kind is that of the first row that is not bad */
    enum row_kind first_kind;
    size_t fault_count; /* filled in below */
    char faults[CHECK_FAULTS_MAX][WEIR_ERROR_MESSAGE_BYTES];
};

struct keyset;

/* Keys seen so far, each with the place where it was seen. Zeroed but for the first two; nothing is
 * allocated before the first key comes. */
struct check_keys {
    const char *const
        *files;         /* the names that line.file_index counts; NULL: standard input alone */
    size_t memory_keys; /* held in memory; 0: keyset.h's default */
    struct keyset *set;
};

/*
 * Adds the key of a row that has one of its own (row->keyed). WEIR_E_FORMAT: it was there before;
 * the message names both places. WEIR_E_NOMEM, WEIR_E_IO: the set cannot take it.
 */
WEIR_MUST_CHECK enum weir_status check_key(struct check_keys *k, const struct run_row *row,
                                           const struct line *line, struct weir_error *err);
void check_keys_free(struct check_keys *k);

/* A line's place as one number (LINES_FILES_MAX files and 2^43 lines fit), and back. */
uint64_t check_place(const struct line *line);
void check_place_split(uint64_t place, uint32_t *ret_file_index, uint64_t *ret_number);

struct check_options {
    const struct lines_options *lines;
    struct rows *rows;
    struct check_keys *keys;           /* NULL: doubles are not looked for */
    struct trail *trail;               /* NULL: none is wanted */
    struct lines_identity *identities; /* by file index, those that were read; NULL: not wanted */
};

/*
 * WEIR_OK: all files were read to their end, and the report is filled in, bad rows or not. Else
 * reading failed (WEIR_E_IO), or memory or disk for the keys did.
 */
WEIR_MUST_CHECK enum weir_status check_run(const struct check_options *o, struct check_report *ret,
                                           struct weir_error *err);

#endif
