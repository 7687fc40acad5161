/*
 * Child processes: starting them, ending them with all that they started, and leaving none behind.
 *
 *     child_guard_new(&guard, err);                      // once for an executor
 *     child_launch(guard, &options, &child, err);        // runs when this returns: the exec has gone through
 *     ... poll child.pidfd for UV_READABLE: the process itself has ended ...
 *     if (child_reap(&child, &end)) ...                  // what was left of its group is gone too
 *     child_guard_free(guard);                           // after all children were reaped
 *
 * Each child leads a process group of its own. What it starts belongs to the group, unless it
 * leaves it (setsid, an interactive shell); signals go to the whole group, and when the child
 * itself has ended the rest of its group is killed.
 *
 * A library may not disturb its host: there is no SIGCHLD handler, nobody waits for "any child",
 * and a child is reaped by its own number. A host that reaps children which are not its own
 * (waitpid(-1), SIGCHLD ignored) takes their exit status away; child_reap() then says `unknown`.
 *
 * When this process is killed, nobody is left to end the children. Two things do: each child's
 * parent-death signal (SIGKILL), and the guard, a small process of its own (guard.h) that then
 * kills every group, so that grandchildren go too. The parent-death signal is tied to the *thread*
 * that called child_launch(): it fires when that thread ends. So launch on a thread that lives at
 * least as long as the children.
 *
 * Needs Linux 5.4 (pidfd). Threads: child_launch() may be called from several at once with one
 * guard; a child belongs to one thread at a time. Launching holds up the calling thread until the
 * exec is through (vfork), about as long as loading the program takes.
 */
#ifndef EXEC_CHILD_CHILD_H
#define EXEC_CHILD_CHILD_H

#include "base/time.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct child_guard;

/*
 * Starts the guard. Where that cannot be done (there is no /bin/sh) the parent-death signal is all
 * there is, and child_guard_is_up() says so; that is no error. WEIR_E_NOMEM, WEIR_E_IO: no
 * descriptors, no memory.
 */
WEIR_MUST_CHECK enum weir_status child_guard_new(struct child_guard **ret, struct weir_error *err);
/* Ends the guard and reaps it. All its children must have been reaped. NULL-safe. */
struct child_guard *child_guard_free(struct child_guard *guard);
bool child_guard_is_up(const struct child_guard *guard);

/* Children under one guard at a time; one more is refused with WEIR_E_LIMIT. As many as a pool can have. */
#define CHILD_GUARDED_MAX (1 << 20)

struct child_options {
    const char *
        file; /* with a slash: this file; else looked up in PATH, of the environment that the child gets */
    char *const *argv; /* argv[0] to NULL */
    /* Additions to this process's environment, "NAME=value" each, NULL at the end; they replace what has the same name,
       and a "NAME" alone takes it away. NULL: none. */
    char *const *env;
    const char *
        dir; /* to run in; NULL: this process's. A relative `file` with a slash is seen from there */
    int fds
        [3]; /* become its descriptors 0, 1, 2; -1: /dev/null. They stay the caller's. It has no others */
};

/* A child that runs, or has ended and was not reaped. */
struct child {
    pid_t pid; /* of the process and of its group; 0: there is none */
    int pidfd; /* readable once the process itself has ended; close-on-exec; child_reap() closes it */
    uint32_t slot; /* in the guard's table */
    struct child_guard *guard;
};

#define CHILD_NONE ((struct child){.pidfd = -1})

/*
 * Starts a program. None of the child's signals is blocked, and they are at their defaults; what
 * this process began to ignore after the guard was made stays ignored, the usual ones (launch.c)
 * excepted.
 *
 * The errors, whose message names the program and the remedy: WEIR_E_INVALID: it cannot be run, now
 * or later (there is no such file, it is not executable, the arguments are too long); WEIR_E_AGAIN:
 * for lack of processes, memory or descriptors, so that it may work later; WEIR_E_BUSY: somebody is
 * still writing the program; WEIR_E_LIMIT: CHILD_GUARDED_MAX; WEIR_E_NOMEM.
 */
WEIR_MUST_CHECK enum weir_status child_launch(struct child_guard *guard,
                                              const struct child_options *options,
                                              struct child *ret, struct weir_error *err);

/*
 * A number of /proc/PID/stat, by its field as proc(5) counts them, from 4 on; 0: it is not to be
 * had. The time of the start, in the kernel's ticks, tells a process from a later one with its
 * number.
 */
#define CHILD_STAT_FLAGS 9
#define CHILD_STAT_START 22
uint64_t child_stat(pid_t pid, int field);

/* Sends a signal to the whole group. Nothing happens when all have ended, or there is no child. */
void child_signal(const struct child *child, int sig);

/* How a child ended, and what it cost with the children that it waited for itself. */
struct child_end {
    bool unknown; /* somebody else has reaped it: nothing else is known */
    int code;     /* exit status, 0 to 255; 0 when a signal ended it */
    int signal;   /* that ended it; 0: none did */
    bool dumped;  /* a core file was written */
    uint64_t rss_bytes;
    duration_ns user_ns, system_ns;
};

/*
 * False: the process itself has not ended yet. True: it had ended; what was left of its group was
 * killed, it is reaped, and *child is CHILD_NONE. Does not block.
 */
bool child_reap(struct child *child, struct child_end *ret);
/* Kills the group and reaps the child, whatever state it is in; blocks until it has gone. For giving up. */
void child_kill(struct child *child, struct child_end *ret);

#endif
