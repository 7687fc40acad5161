/*
 * What a command writes to one of its streams: collected from a pipe, in memory as long as it is
 * small, else in a file without a name, which is mapped in the end; the kernel then keeps of it in
 * memory what there is room for. Inside exec/command only.
 *
 *     capture_open(&c, &write_end)                       // the command gets write_end
 *     while (capture_read(&c, &limits, scratch) == CAPTURE_MORE) ... wait until c.fd is readable ...
 *     capture_drain(&c, &limits, scratch)                // what is there now, but not what may still come
 *     capture_output(&c, answer)
 *
 * Nothing here blocks but the writing of the file: nobody else reads from the pipe, so that what is
 * said to be there is. Owner: the capture owns its descriptors and memory. One thread.
 */
#ifndef EXEC_COMMAND_CAPTURE_H
#define EXEC_COMMAND_CAPTURE_H

#include "base/buf.h"
#include "core/answer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is read at once: all that a pipe holds, as it is made. */
#define CAPTURE_SCRATCH_BYTES 65536

struct capture_limits {
    uint64_t bytes_max;
    size_t spill_bytes;
    const char *spill_dir;
};

enum capture_state {
    CAPTURE_MORE, /* all that was there is read */
    CAPTURE_END,  /* all writers have gone */
    CAPTURE_TOO_LARGE, /* more than bytes_max; these and those that follow: there is no sense in reading on */
    CAPTURE_NO_MEMORY,
    CAPTURE_NO_FILE, /* `errnum` says why */
};

struct capture {
    int fd;         /* our end of the pipe; -1: there is none */
    int file;       /* -1: all is in memory */
    struct buf mem; /* kept from one command to the next */
    uint64_t len;   /* in all */
    int errnum;
};

void capture_init(struct capture *c);
/* Makes the pipe. *ret_writer, close-on-exec and blocking, is the caller's. False: errno says why. */
bool capture_open(struct capture *c, int *ret_writer);
/* When its fd is readable: reads what is there, as much as fits into scratch. */
enum capture_state capture_read(struct capture *c, const struct capture_limits *limits,
                                char scratch[CAPTURE_SCRATCH_BYTES]);
void capture_close(struct capture *c);
/* Reads what is there, and closes the pipe whoever else holds it. */
enum capture_state capture_drain(struct capture *c, const struct capture_limits *limits,
                                 char scratch[CAPTURE_SCRATCH_BYTES]);
/* Makes it the answer's output, or errput (none if there are no bytes). False: its file cannot be kept
 * (`errnum` says why), or, with an `errnum` of 0, no memory; the answer has not changed. */
bool capture_output(struct capture *c, struct core_answer *answer);
bool capture_errput(struct capture *c, struct core_answer *answer);
/* The last line that has more than blanks in it, at most `max` bytes of its beginning; empty: there is none. */
struct slice capture_last_line(const char *text, size_t len, size_t max);
/* Forgets what was read; keeps some memory for the next command. */
void capture_reset(struct capture *c);
void capture_free(struct capture *c);

#endif
