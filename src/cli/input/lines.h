/*
 * Lines from files and from standard input, one after the other, in bounded memory.
 *
 *     lines_open(&(struct lines_options){.files = names, .file_count = 2}, &lines, &err);
 *     while ((status = lines_next(lines, &line, &err)) == WEIR_OK)
 *         ... line.text, line.file, line.number
 *     lines_close(lines);
 *
 * A line ends at a newline, at a CR and a newline, or at the end of its file. Blank lines (white
 * space only) are not handed out but counted, so that line numbers are those of an editor; each
 * file counts from 1. A UTF-8 byte order mark at the start of a file is skipped. A line over the
 * limit is not held: it is handed out without text, with its length and its hash, and costs no more
 * memory than the limit itself. Bytes are not judged here: NULs and bad UTF-8 are passed on.
 *
 * With `nul` lines end at a NUL byte, blank ones are lines too, and nothing is stripped. With
 * `per_row` N the lines that are handed out are made of N lines of a file (its last one of what is
 * left), with a NUL between them; the number is that of the first. With `combine` there are no
 * files: a line is a row of values (combine.h).
 *
 * Calls block in read(). For what is no regular file the wait ends early when `stop_fd` becomes
 * readable, so that a reader thread can be told to end. One owner, one thread at a time.
 */
#ifndef CLI_INPUT_LINES_H
#define CLI_INPUT_LINES_H

#include "base/slice.h"
#include "store/fingerprint.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longest line unless said otherwise, without its line end. */
#define LINES_LINE_BYTES_DEFAULT (UINT64_C(16) << 20)
/* The most that may be asked for: the line must fit in memory several times over. */
#define LINES_LINE_BYTES_MAX (UINT64_C(1) << 30)
/* Files in one run. With this limit a file's number and a line's fit into 63 bits together. */
#define LINES_FILES_MAX (UINT32_C(1) << 20)

struct combine;

struct lines_options {
    const char *const *files;      /* "-" is standard input. The names must outlive the reader */
    size_t file_count;             /* 0: standard input alone */
    uint64_t line_max_bytes;       /* 0: LINES_LINE_BYTES_DEFAULT */
    size_t buffer_bytes;           /* of a read; 0: 256 KiB */
    int stdin_fd;                  /* what "-" reads; never closed here */
    int stop_fd;                   /* -1: none */
    bool regular_only;             /* passes over standard input and what is no regular file */
    bool nul;                      /* see above; and below */
    uint64_t per_row;              /* 0: 1 */
    const struct combine *combine; /* NULL: none. Outlives the reader */
};

struct line {
    struct slice text;       /* without line end; valid until the next call. Empty when too_long */
    bool too_long;           /* over line_max_bytes */
    bool streamed;           /* from standard input, or from what is no regular file */
    uint64_t length;         /* bytes of the line; for one that is too long with its CR, if any */
    uint64_t number;         /* in its file, from 1 */
    const char *file;        /* its name for a person; lives as long as the names given */
    uint32_t file_index;     /* in the options' files */
    struct fingerprint hash; /* of the line's bytes */
};

/* What the rows of `combine` are said to come from. */
#define LINES_COMBINED "combination"

/* What tells whether a file is still the one that it was. */
struct lines_identity {
    uint64_t device, inode, size;
    int64_t changed_ns; /* time of the last modification, since the Unix epoch */
};

struct lines;

/*
 * Opens nothing yet but looks whether each file is there: WEIR_E_IO names the one that is not, or
 * that is a directory. WEIR_E_INVALID: "-" more than once, or a limit out of range.
 */
WEIR_MUST_CHECK enum weir_status lines_open(const struct lines_options *o, struct lines **ret,
                                            struct weir_error *err);

/*
 * The next line that is not blank. WEIR_E_END: there is none. WEIR_E_IO: a file cannot be read; the
 * message names it. WEIR_E_SHUTDOWN: stop_fd became readable. WEIR_E_NOMEM. After anything but
 * WEIR_OK it says the same again.
 */
WEIR_MUST_CHECK enum weir_status lines_next(struct lines *l, struct line *ret,
                                            struct weir_error *err);

/* Of the file that the last line came from, as it was when it was opened. */
struct lines_identity lines_identity(const struct lines *l);
/* Bytes taken so far, of all files; and bytes there are, as far as known (regular files). */
uint64_t lines_bytes_taken(const struct lines *l);
uint64_t lines_bytes_known(const struct lines *l);
/* Whether some input is a stream, so that bytes_known is not all. */
bool lines_any_stream(const struct lines *l);

/* NULL-safe. */
void lines_close(struct lines *l);

/* "standard input" for "-", else the name itself. */
const char *lines_name(const char *file);

/*
 * "FILE:LINE" for a message, cut at the front to what a message has room for. Returns `out`.
 */
#define LINES_PLACE_BYTES 192
const char *lines_place(char out[LINES_PLACE_BYTES], const char *file, uint64_t number);

#endif
