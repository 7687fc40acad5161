/*
 * The guard: what ends process trees when this process is killed and can do nothing any more.
 * Inside exec/child only.
 *
 * It is a shell that waits for the end of a pipe whose other end only this process holds: when this
 * process goes, however it goes, the pipe ends. The shell then reads the table of process groups
 * and sends SIGKILL to each.
 *
 * The table is memory that the shell sees as a file: one line of GUARD_LINE_BYTES for each child.
 * The new child itself, which shares this memory until it runs its program, writes its number
 * there, so that there is no moment at which it could have started anything and is not in the
 * table; and it costs no system call. A line counts only with its mark, which is written last and
 * taken away first: whenever this process dies, no line is read that is half of another number.
 *
 * What it cannot do: see a group that a program has left (setsid); notice our end while a copy of
 * us lives that the host has made by fork() alone, for that has the pipe as well; work when it was
 * killed itself. The parent-death signal works in each of these cases, for the commands themselves.
 *
 * Threads: slots are taken and given from any. Everything else on one.
 */
#ifndef EXEC_CHILD_GUARD_H
#define EXEC_CHILD_GUARD_H

#include "exec/child/child.h"

#include <pthread.h>

#define GUARD_DIGITS     10
#define GUARD_LINE_BYTES (GUARD_DIGITS + 2) /* the number, the mark, a newline */
#define GUARD_MARK       'k'

struct child_guard {
    uint64_t signals; /* that children are to have at their defaults */
    int null_fd;      /* /dev/null, for children */
    pid_t helper;     /* the shell; 0: there is none */
    int helper_fd;    /* its pidfd */
    int end_fd;       /* the pipe's end that keeps the shell waiting; -1 */
    int table_fd;     /* -1: no table */
    char *table;      /* CHILD_GUARDED_MAX lines of address space */

    pthread_mutex_t lock; /* of what follows */
    uint32_t *free_slots; /* stack of slots that were given back */
    uint32_t free_count;
    uint32_t used;  /* slots below this were taken at least once */
    uint32_t ready; /* slots that have their lines */
};

WEIR_MUST_CHECK enum weir_status guard_take_slot(struct child_guard *g, uint32_t *ret,
                                                 struct weir_error *err);
/* The group is gone, or will never be. */
void guard_give_slot(struct child_guard *g, uint32_t slot);
/* The slot's line; NULL: there is no table, and nothing to write. */
char *guard_line(struct child_guard *g, uint32_t slot);
/* Writes the number into a line. Calls nothing, for it runs in a child before its exec. */
void guard_line_write(char *line, pid_t pid);

#endif
