/*
 * The heartbeat file of one attempt: the command touches it to say that it is alive, and may write
 * into it how far it is. Inside exec/command only.
 *
 *     heartbeat_init(&h, attempt->env);                    // WEIR_HEARTBEAT=PATH; without it there is nothing to look at
 *     while it runs, now and then: if (heartbeat_look(&h, room, &beat)) ... it was touched since the last look ...
 *     heartbeat_remove(&h);                                // when no process of it is left
 *
 * The path is of the attempt's own environment, which whoever runs weir makes, never of what a
 * payload asks for: the file is read and removed. Nobody here creates it: until the command does
 * there is no heartbeat. What is no plain file (a link, a FIFO) is none. Owner: the path stays the
 * attempt's. One thread.
 */
#ifndef EXEC_COMMAND_HEARTBEAT_H
#define EXEC_COMMAND_HEARTBEAT_H

#include "core/ports/executor.h"

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#define HEARTBEAT_VARIABLE "WEIR_HEARTBEAT"
/* Read of the file: its first line, and of that no more than a text can have. */
#define HEARTBEAT_READ_BYTES (CORE_HEARTBEAT_TEXT_MAX + 64)

struct heartbeat {
    const char *path; /* NULL: the attempt has none */
    bool seen;        /* the rest is of the last look that found it */
    struct timespec touched;
    ino_t inode;
    off_t size;
};

/* env: NULL-terminated, "NAME=value"; may be NULL. */
void heartbeat_init(struct heartbeat *h, const char *const *env);
/* False: there is no file, or it is as it was. *ret's text is in room; its token is left alone. */
bool heartbeat_look(struct heartbeat *h, char room[HEARTBEAT_READ_BYTES],
                    struct core_heartbeat *ret);
/* "0.42 some text", "0.42", or only a text: what an attempt says of how far it is. line has no end. */
void heartbeat_read(struct slice line, struct core_heartbeat *ret);
void heartbeat_remove(struct heartbeat *h);

#endif
