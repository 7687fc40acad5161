/* The bare start of a program (launch.h). The functions before launch_run() run in the new process. */
#include "exec/child/launch.h"

#include "exec/child/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Deep enough for a few frames that call the kernel. It is part of the launching thread's stack, which sleeps meanwhile. */
#define CHILD_STACK_BYTES 8192

/* The kernel's count of signals, and the size of its set of them: not those of the C library. */
#define KERNEL_SIGNALS       64
#define KERNEL_SIGNALS_BYTES (KERNEL_SIGNALS / 8)
/* At least what the kernel reads of a struct sigaction, on any machine. */
#define KERNEL_SIGACTION_WORDS 8

/* CLOSE_RANGE_CLOEXEC, since Linux 5.11. */
#define RANGE_CLOEXEC (1U << 2)
/* Where close_range() is not known (before Linux 5.9), descriptors up to here are closed one by one. */
#define CLOSE_ONE_BY_ONE_MAX 65536

/* What programs ignore or handle: HUP INT QUIT USR1 USR2 PIPE ALRM TERM CHLD TSTP TTIN TTOU XFSZ. */
#define BIT(sig) (UINT64_C(1) << ((sig)-1))
#define USUAL_SIGNALS                                                                              \
    (BIT(SIGHUP) | BIT(SIGINT) | BIT(SIGQUIT) | BIT(SIGUSR1) | BIT(SIGUSR2) | BIT(SIGPIPE) |       \
     BIT(SIGALRM) | BIT(SIGTERM) | BIT(SIGCHLD) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU) |     \
     BIT(SIGXFSZ))

LAUNCH_CHILD_SIDE static void fail(struct launch *l, enum launch_step step)
{
    l->step = step;
    l->errnum = errno;
    syscall(SYS_exit_group, 127);
    __builtin_unreachable();
}

/*
 * A signal that this process ignores would stay ignored in the program (SIGPIPE above all), and a
 * handler would run here in the memory of our parent. All signals are blocked until this is done.
 * Not all 64 of them: at a system call each that would be one part in a hundred of what /bin/true
 * takes.
 */
LAUNCH_CHILD_SIDE static void reset_signals(uint64_t signals)
{
    const uintptr_t by_default[KERNEL_SIGACTION_WORDS] = {0};

    for (; signals != 0; signals &= signals - 1)
        syscall(SYS_rt_sigaction, (long)__builtin_ctzll(signals) + 1, by_default, NULL,
                (long)KERNEL_SIGNALS_BYTES);
}

/* What is ignored before an exec stays ignored after it: there is no moment at which the guard could be ended so. */
LAUNCH_CHILD_SIDE static void ignore_ends(void)
{
    static const int ends[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    const uintptr_t ignored[KERNEL_SIGACTION_WORDS] = {(uintptr_t)SIG_IGN};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        syscall(SYS_rt_sigaction, (long)ends[i], ignored, NULL, (long)KERNEL_SIGNALS_BYTES);
}

LAUNCH_CHILD_SIDE static void unblock_signals(void)
{
    const uint64_t none = 0;

    syscall(SYS_rt_sigprocmask, (long)SIG_SETMASK, &none, NULL, (long)KERNEL_SIGNALS_BYTES);
}

/* The exec closes them: so marking them is enough, which is one step however large the table of descriptors is. */
LAUNCH_CHILD_SIDE static void close_from(int first)
{
    struct rlimit limit = {.rlim_cur = CLOSE_ONE_BY_ONE_MAX};

#ifdef SYS_close_range
    if (syscall(SYS_close_range, (long)first, (long)UINT32_MAX, (long)RANGE_CLOEXEC) == 0 ||
        syscall(SYS_close_range, (long)first, (long)UINT32_MAX, 0L) == 0)
        return;
#endif
    syscall(SYS_prlimit64, 0L, (long)RLIMIT_NOFILE, NULL, &limit);
    for (long fd = first; fd < CLOSE_ONE_BY_ONE_MAX && fd < (long)limit.rlim_cur; fd++)
        syscall(SYS_close, fd);
}

/* Puts the descriptors where the program expects them, and closes all others, whoever left them open. */
LAUNCH_CHILD_SIDE static void place_fds(struct launch *l)
{
    /* One that stands where another one belongs goes out of its way first. */
    for (int i = 0; i < l->fds_count; i++)
        if (l->fds[i] < l->fds_count && l->fds[i] != i) {
            l->fds[i] = (int)syscall(SYS_fcntl, (long)l->fds[i], (long)F_DUPFD, (long)l->fds_count);
            if (l->fds[i] < 0)
                fail(l, LAUNCH_FDS);
        }
    for (int i = 0; i < l->fds_count; i++) {
        long rc = l->fds[i] == i ? syscall(SYS_fcntl, (long)i, (long)F_SETFD, 0L)
                                 : syscall(SYS_dup3, (long)l->fds[i], (long)i, 0L);

        if (rc < 0)
            fail(l, LAUNCH_FDS);
    }
    close_from(l->fds_count);
}

/* As execvp() does: a file that is no program and has no first line #! is a script of the shell. */
LAUNCH_CHILD_SIDE static void exec_by_shell(struct launch *l, const char *path)
{
    int n = 0;

    l->sh_argv[n++] = (char *)(uintptr_t) "/bin/sh";
    l->sh_argv[n++] = (char *)(uintptr_t)path;
    for (char *const *arg = l->argv; *arg && arg[1]; arg++)
        l->sh_argv[n++] = arg[1];
    l->sh_argv[n] = NULL;
    syscall(SYS_execve, l->sh_argv[0], l->sh_argv, l->envp);
}

LAUNCH_CHILD_SIDE static const char *behind(const char *text)
{
    while (*text)
        text++;
    return text + 1;
}

/* Goes on to the next candidate as execvp() does. */
LAUNCH_CHILD_SIDE static void exec_candidates(struct launch *l)
{
    bool denied = false;

    errno = ENOENT;
    for (const char *path = l->candidates; *path; path = behind(path)) {
        syscall(SYS_execve, path, l->argv, l->envp);
        if (errno == ENOEXEC && l->sh_argv)
            exec_by_shell(l, path);
        if (errno == EACCES)
            denied = true;
        else if (errno != ENOENT && errno != ENOTDIR && errno != ESTALE && errno != ENODEV &&
                 errno != ETIMEDOUT)
            fail(l, LAUNCH_EXEC);
    }
    if (denied)
        errno = EACCES;
    fail(l, LAUNCH_EXEC);
}

LAUNCH_CHILD_SIDE static int run_child(void *arg)
{
    struct launch *l = arg;

    if (l->session) {
        syscall(SYS_setsid);
    } else {
        syscall(SYS_prctl, (long)PR_SET_PDEATHSIG, (long)SIGKILL, 0L, 0L, 0L);
        /* The parent may have died before that. */
        if (syscall(SYS_getppid) != l->parent)
            syscall(SYS_exit_group, 127);
        syscall(SYS_setpgid, 0L, 0L);
    }
    reset_signals(l->signals);
    if (l->session)
        ignore_ends();
    place_fds(l);
    if (l->dir && syscall(SYS_chdir, l->dir) != 0)
        fail(l, LAUNCH_DIR);
    if (l->line)
        guard_line_write(l->line, (pid_t)syscall(SYS_getpid));
    unblock_signals();
    exec_candidates(l);
    return 127;
}

/* ---- in this process ---- */

#ifdef __SANITIZE_THREAD__
/* The sanitizer takes any clone() for a fork, after which it changes what it knows of us; by this name it does not see it. */
extern int __clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);
#define clone __clone
#endif

/* The kernel is asked, for the C library says nothing of those that it keeps for itself; whoever started us may have had
 * them ignored. */
uint64_t launch_signals(void)
{
    uint64_t signals = USUAL_SIGNALS;
    uintptr_t action[KERNEL_SIGACTION_WORDS];

    for (int sig = 1; sig <= KERNEL_SIGNALS; sig++)
        if (sig != SIGKILL && sig != SIGSTOP &&
            syscall(SYS_rt_sigaction, (long)sig, NULL, action, (long)KERNEL_SIGNALS_BYTES) == 0 &&
            action[0] != (uintptr_t)SIG_DFL)
            signals |= BIT(sig);
    return signals;
}

static void reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

bool launch_run(struct launch *l)
{
    char stack[CHILD_STACK_BYTES] __attribute__((aligned(16)));
    sigset_t all, before;

    l->errnum = 0;
    l->step = LAUNCH_CLONE;
    l->pidfd = -1;
    sigfillset(&all);
    /*
     * A short program may end before this thread runs again. Where SIGCHLD is ignored, as it is by
     * default, the kernel drops it at once; but if the parent blocks it just then, some other
     * thread of the host is woken for nothing.
     */
    sigdelset(&all, SIGCHLD);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    l->pid = clone(run_child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD,
                   l, &l->pidfd);
    if (l->pid < 0)
        l->errnum = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (l->pid < 0)
        return false;
    if (l->errnum != 0) {
        reap(l->pid);
        close(l->pidfd);
        l->pidfd = -1;
        return false;
    }
    return true;
}
