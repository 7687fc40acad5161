/*
 * Processes that a worker has left behind: those of its group, and those that have left it.
 *
 *     leftovers_adopt()                         // once, before the first worker: orphans become children of ours
 *     count = leftovers_put(group, &names)      // while the worker is not reaped yet
 *     leftovers_kill()                          // orphans; the group is killed with the worker (child.h)
 *
 * For a command of its own only: it reaps children of this process that it does not know, and never
 * the ones that were there when leftovers_adopt() was called. One thread.
 */
#ifndef CLI_WORKER_LEFTOVERS_H
#define CLI_WORKER_LEFTOVERS_H

#include "base/buf.h"

#include <stddef.h>
#include <sys/types.h>

/* Children that may be there beforehand: the guard's process, and what a caller that became us had. */
#define LEFTOVERS_KNOWN_MAX 64

void leftovers_adopt(void);
/* How many run that belong to the group, its leader not counted, or are orphans that came to us. With `out`: appends
 * their names, up to three. */
size_t leftovers_put(pid_t group, struct buf *out);
void leftovers_kill(void);

#endif
