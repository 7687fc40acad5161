/*
 * Starting and ending children (child.h). What a program needs (its environment, the paths to try)
 * is laid out here in one piece of memory; launch.c then starts it without allocating.
 */
#include "exec/child/child.h"

#include "base/error.h"
#include "base/mem.h"
#include "exec/child/guard.h"
#include "exec/child/launch.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where programs are looked for when the environment does not say. */
#define PATH_DEFAULT "/usr/local/bin:/usr/bin:/bin"

/* A second in all: a tracer that holds on for longer must not hold up everything else. */
#define TRACED_TRIES   1000
#define TRACED_LOOK_MS 1

/* Of pidfd_send_signal(), since Linux 6.9; older headers do not have it. */
#define SIGNAL_PROCESS_GROUP (1U << 2)

/* ---- what the program gets ---- */

static size_t count(char *const *texts)
{
    size_t n = 0;

    while (texts && texts[n])
        n++;
    return n;
}

/* Of "NAME=value", or of "NAME": the order of names. */
static int compare_names(const char *a, const char *b)
{
    while (*a == *b && *a && *a != '=') {
        a++;
        b++;
    }
    return (*a == '=' ? 0 : (unsigned char)*a) - (*b == '=' ? 0 : (unsigned char)*b);
}

static bool is_named(char *const *texts, const char *name)
{
    for (; texts && *texts; texts++)
        if (compare_names(*texts, name) == 0)
            return true;
    return false;
}

/* Additions by name; those of one name in the order in which they were given. */
static int compare_additions(const void *a, const void *b)
{
    char *const *x = *(char *const *const *)a, *const *y = *(char *const *const *)b;
    int order = compare_names(*x, *y);

    return order ? order : (x > y) - (x < y);
}

/* The last addition with the name; NULL: there is none. */
static char *const *last_named(char *const *const *sorted, size_t n, const char *name)
{
    size_t low = 0, high = n; /* the first that is beyond the name is from low to high */

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare_names(*sorted[middle], name) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && compare_names(*sorted[low - 1], name) == 0 ? sorted[low - 1] : NULL;
}

/* Room for all of both is there, and in `sorted` for the additions: a row of many fields makes many thousands. Of additions
 * with the same name the last one counts. */
static void merge_env(char *const *additions, char *const **sorted, char **ret)
{
    size_t n = count(additions);

    for (size_t i = 0; i < n; i++)
        sorted[i] = additions + i;
    if (n > 1)
        qsort(sorted, n, sizeof *sorted, compare_additions);
    for (char *const *e = environ; e && *e; e++)
        if (!last_named(sorted, n, *e))
            *ret++ = *e;
    for (char *const *a = additions; a && *a; a++)
        if (strchr(*a, '=') && last_named(sorted, n, *a) == a)
            *ret++ = *a;
    *ret = NULL;
}

/* The last one counts, as in merge_env(). */
static const char *path_of(char *const *env)
{
    const char *path = PATH_DEFAULT;

    for (; env && *env; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            path = *env + 5;
    return path;
}

/* The files to try, each with its NUL, and an empty one. An empty folder in PATH is the current one. */
static void lay_candidates(const char *file, const char *path, char *ret)
{
    size_t file_bytes = strlen(file) + 1;

    if (strchr(file, '/') || !*file)
        path = NULL;
    while (path) {
        const char *end = strchrnul(path, ':');
        size_t len = (size_t)(end - path);

        memcpy(ret, path, len);
        ret += len;
        if (len > 0)
            *ret++ = '/';
        memcpy(ret, file, file_bytes);
        ret += file_bytes;
        path = *end ? end + 1 : NULL;
        if (!path) {
            *ret = '\0';
            return;
        }
    }
    memcpy(ret, file, file_bytes);
    ret[file_bytes] = '\0';
}

static size_t candidates_bytes(const char *file, const char *path)
{
    size_t folders = 1, bytes = strlen(path);

    for (const char *p = path; *p; p++)
        folders += *p == ':';
    return bytes + folders * (strlen(file) + 2) + 1;
}

/* Lays out environment, arguments for a shell and candidates in one piece, which the caller frees. NULL: no memory. */
static void *lay_out(const struct child_options *o, struct launch *l)
{
    size_t additions = count(o->env), env_count = count(environ) + additions + 1;
    size_t argv_count = count(o->argv) + 3;
    const char *path = path_of(is_named(o->env, "PATH") ? o->env : environ);
    size_t pointers = (env_count + argv_count + additions) * sizeof(char *);
    char **block = mem_alloc(pointers + candidates_bytes(o->file, path));

    if (!block)
        return NULL;
    merge_env(o->env, (char *const **)(block + env_count + argv_count), block);
    lay_candidates(o->file, path, (char *)block + pointers);
    l->envp = block;
    l->sh_argv = block + env_count;
    l->candidates = (char *)block + pointers;
    return block;
}

/* ---- why it could not be started ---- */

static bool is_transient(int errnum)
{
    switch (errnum) {
    case EAGAIN:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EINTR:
        return true;
    default:
        return false;
    }
}

static const char *remedy(const struct launch *l)
{
    switch (l->errnum) {
    case ENOENT:
        return strchr(l->file, '/')
                   ? "check the path, and the program named in the file's first line (#!)"
                   : "it is in no folder of PATH: install it, or give its path";
    case EACCES:
    case EPERM:
        return "it must be a file that may be executed (chmod +x), on a file system that allows it";
    case E2BIG:
        return "give it less in its arguments and environment, for instance on its standard input";
    case EAGAIN:
        return "there may be no more processes (see ulimit -u): run fewer at once";
    case ENOMEM:
        return "memory ran out: run fewer at once";
    case EMFILE:
    case ENFILE:
        return "too many files are open (see ulimit -n): run fewer at once";
    case ETXTBSY:
        return "the file is still being written";
    default:
        return "try it by hand";
    }
}

static enum weir_status explain(const struct launch *l, struct weir_error *err)
{
    enum weir_status status = l->errnum == ETXTBSY      ? WEIR_E_BUSY
                              : is_transient(l->errnum) ? WEIR_E_AGAIN
                                                        : WEIR_E_INVALID;
    char reason[128];
    const char *text = strerror_r(l->errnum, reason, sizeof reason);

    if (l->step == LAUNCH_DIR)
        return error_set(err, status,
                         "cannot run '%s' in the folder '%s': %s; check that it is there and may "
                         "be entered",
                         l->file, l->dir, text);
    if (l->step == LAUNCH_FDS)
        return error_set(err, status, "cannot give '%s' its descriptors: %s", l->file, text);
    return error_set(err, status, "cannot run '%s': %s; %s", l->file, text, remedy(l));
}

/* ---- launching ---- */

enum weir_status child_launch(struct child_guard *guard, const struct child_options *o,
                              struct child *ret, struct weir_error *err)
{
    struct launch l = {.file = o->file, .argv = o->argv, .dir = o->dir, .fds_count = 3};
    enum weir_status status;
    uint32_t slot;
    void *block;

    assert(guard && o->file && o->argv && o->argv[0]);
    status = guard_take_slot(guard, &slot, err);
    if (status != WEIR_OK)
        return status;
    block = lay_out(o, &l);
    if (!block) {
        guard_give_slot(guard, slot);
        return error_nomem(err);
    }
    for (int i = 0; i < 3; i++)
        l.fds[i] = o->fds[i] >= 0 ? o->fds[i] : guard->null_fd;
    l.line = guard_line(guard, slot);
    l.parent = getpid();
    l.signals = guard->signals;
    if (launch_run(&l)) {
        *ret = (struct child){.pid = l.pid, .pidfd = l.pidfd, .slot = slot, .guard = guard};
        status = WEIR_OK;
    } else {
        status = explain(&l, err);
        guard_give_slot(guard, slot);
    }
    mem_free(block);
    return status;
}

/* ---- looking ---- */

uint64_t child_stat(pid_t pid, int field)
{
    char path[64], text[1024], *at;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    /* The second field, the program's name, may hold anything, and ends with the last bracket. */
    at = strrchr(text, ')');
    for (int i = 2; at && i < field; i++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at, NULL, 10) : 0;
}

/* ---- ending ---- */

static void signal_itself(const struct child *c, int sig)
{
    syscall(SYS_pidfd_send_signal, (long)c->pidfd, (long)sig, NULL, 0L);
}

/* For a group whose number may be another one's by now. Kernels that do not know it leave that group alone. */
static void signal_group_by_fd(const struct child *c, int sig)
{
    syscall(SYS_pidfd_send_signal, (long)c->pidfd, (long)sig, NULL, (long)SIGNAL_PROCESS_GROUP);
}

void child_signal(const struct child *c, int sig)
{
    /* Its number is its own until it is reaped. A child that has left its own group gets the signal too. */
    if (c->pid > 1 && kill(-c->pid, sig) != 0)
        signal_itself(c, sig);
}

static duration_ns of_timeval(struct timeval t)
{
    return (duration_ns)t.tv_sec * NS_PER_S + (duration_ns)t.tv_usec * NS_PER_US;
}

/* Waiting for a descriptor that does not block (a loop may have made it so) does not wait either. */
static void wait_until_ended(const struct child *c)
{
    struct pollfd look = {.fd = c->pidfd, .events = POLLIN};

    while (poll(&look, 1, -1) < 0 && errno == EINTR)
        ;
}

/* By its descriptor, which cannot be mistaken for another process. False: it was reaped by somebody else, or errno is
 * EAGAIN: it cannot be yet. */
static bool wait_for(const struct child *c, int options, siginfo_t *ret_info,
                     struct rusage *ret_usage)
{
    long rc;

    ret_info->si_pid = 0;
    do {
        rc = syscall(SYS_waitid, (long)P_PIDFD, (long)c->pidfd, ret_info, (long)(WEXITED | options),
                     ret_usage);
    } while (rc != 0 && errno == EINTR);
    return rc == 0;
}

/*
 * One that somebody traces has ended for its tracer alone until that lets go of it, although its
 * descriptor says that it has (ptrace(2)): a debugger, or a leak checker in the program itself. A
 * descriptor that does not block does not wait for that either.
 */
static bool wait_for_end(const struct child *c, siginfo_t *ret_info, struct rusage *ret_usage)
{
    for (int i = 0; i < TRACED_TRIES; i++) {
        if (wait_for(c, 0, ret_info, ret_usage))
            return true;
        if (errno != EAGAIN)
            return false;
        (void)poll(NULL, 0, TRACED_LOOK_MS);
    }
    return false;
}

/* The process itself has ended, or is about to. */
static void end_and_reap(struct child *c, struct child_end *ret)
{
    struct rusage usage = {0};
    siginfo_t info;

    guard_give_slot(c->guard, c->slot);
    *ret = (struct child_end){.unknown = !wait_for_end(c, &info, &usage)};
    if (!ret->unknown) {
        ret->code = info.si_code == CLD_EXITED ? info.si_status : 0;
        ret->signal = info.si_code == CLD_EXITED ? 0 : info.si_status;
        ret->dumped = info.si_code == CLD_DUMPED;
        ret->rss_bytes = (uint64_t)usage.ru_maxrss * 1024;
        ret->user_ns = of_timeval(usage.ru_utime);
        ret->system_ns = of_timeval(usage.ru_stime);
    }
    close(c->pidfd);
    *c = CHILD_NONE;
}

bool child_reap(struct child *c, struct child_end *ret)
{
    siginfo_t info;

    assert(c->pid > 1);
    /* Looks without reaping: until the group is killed its number must stay taken. */
    if (!wait_for(c, WNOHANG | WNOWAIT, &info, NULL))
        signal_group_by_fd(c, SIGKILL);
    else if (info.si_pid != 0)
        kill(-c->pid, SIGKILL);
    else
        return false;
    end_and_reap(c, ret);
    return true;
}

void child_kill(struct child *c, struct child_end *ret)
{
    assert(c->pid > 1);
    child_signal(c, SIGKILL);
    signal_itself(c, SIGKILL);
    wait_until_ended(c);
    end_and_reap(c, ret);
}
