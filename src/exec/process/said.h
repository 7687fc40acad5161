/*
 * What a worker writes to its standard error, as lines.
 *
 *     said_put(&s, bytes, tell, ctx);     // tell(ctx, line) for each line that is whole, or PROCESS_LINE_BYTES_MAX long
 *     said_end(&s, tell, ctx);            // for what is left without a line's end
 *     s.last                              // the last line with anything in it: its last words; cut, it ends in "..."
 *
 * A line is told as it is, without its end; bytes of 0 become spaces, for a line is a C string. One
 * owner.
 */
#ifndef EXEC_PROCESS_SAID_H
#define EXEC_PROCESS_SAID_H

#include "base/slice.h"
#include "exec/process/process.h"

#include <stdbool.h>

/* Last words are cut to this, with their NUL. */
#define SAID_LAST_BYTES 512

struct said {
    char *line; /* the beginning of a line that is not whole; NULL before the first one */
    size_t len;
    bool
        in_pieces; /* the line was too long, and a piece of it was told: its end alone is no line */
    char last[SAID_LAST_BYTES];
};

typedef void (*said_tell_fn)(void *ctx, const char *line);

void said_put(struct said *s, struct slice bytes, said_tell_fn tell, void *ctx);
void said_end(struct said *s, said_tell_fn tell, void *ctx);
void said_free(struct said *s);

#endif
