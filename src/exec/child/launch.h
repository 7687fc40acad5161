/*
 * The bare start of a program: everything is prepared, nothing is allocated, no thread sees it half
 * done. Inside exec/child only.
 *
 * The new process shares this one's memory until its exec (CLONE_VM | CLONE_VFORK), which is what
 * makes starting cheap whatever this process's size, and lets it say in `errnum` why it could not
 * run. Until then it may call nothing but the kernel: it runs on a stack of its own, but with the
 * locks, the thread's data and the signal handlers of its parent.
 */
#ifndef EXEC_CHILD_LAUNCH_H
#define EXEC_CHILD_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What runs in the new process: sanitizers would look after memory there that is not theirs. */
#define LAUNCH_CHILD_SIDE __attribute__((no_sanitize("address", "thread", "undefined")))

#define LAUNCH_FDS_MAX 4

enum launch_step {
    LAUNCH_CLONE, /* there is no process */
    LAUNCH_FDS,
    LAUNCH_DIR,
    LAUNCH_EXEC,
};

struct launch {
    const char *file;       /* as the caller named it */
    const char *candidates; /* paths to try, each with its NUL, and an empty one at the end */
    char *const *argv;
    char **
        sh_argv; /* room for argv and two more, for a file without a first line #!; NULL: is not tried */
    char *const *envp;
    const char *dir;
    int fds[LAUNCH_FDS_MAX]; /* none is negative; changed by the child */
    int fds_count;
    bool
        session; /* a session of its own that outlives us, and HUP, INT, QUIT and TERM; else a group that does not */
    char *line; /* in the guard's table; NULL: none */
    pid_t parent;
    uint64_t signals; /* to be set to their defaults: launch_signals() */

    /* how it went */
    pid_t pid;
    int pidfd;
    volatile int errnum; /* 0: it runs */
    volatile enum launch_step step;
};

/* A bit for each signal, the first one for signal 1: those that are ignored or handled now, and those that usually are. */
uint64_t launch_signals(void);
/* False: errnum and step say why; nothing is left of it. */
bool launch_run(struct launch *l);

#endif
