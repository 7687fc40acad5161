#include "serve/daemon/left.h"

#include "loop/loop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Field 22 of /proc/PID/stat, behind the name in parentheses, which may hold anything; 0: there is no such process, or it is
 * only a zombie. */
static uint64_t start_of(int64_t pid)
{
    char path[64], text[1024];
    unsigned long long start;
    char state, *at;
    FILE *f;
    size_t n;

    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    f = fopen(path, "re");
    if (!f)
        return 0;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    at = strrchr(text, ')');
    if (!at || sscanf(at + 1,
                      " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                      "%*s %llu",
                      &state, &start) != 2)
        return 0;
    return state == 'Z' ? 0 : start;
}

/* Waits for the end of the process behind the descriptor. */
static bool wait_for(int pidfd, struct instant until)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    for (;;) {
        duration_ns left_ns = instant_diff(until, loop_clock());
        int n;

        if (left_ns <= 0)
            return false;
        n = poll(&p, 1, (int)(left_ns / NS_PER_MS) + 1);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
}

enum left_what left_end(const struct registry_runner *r)
{
    bool gone;
    int pidfd;

    if (r->pid <= 1 || r->pid_start == 0)
        return LEFT_NONE;
    /* First the descriptor, then the look: from here on the id is that process's. */
    pidfd = (int)syscall(SYS_pidfd_open, (pid_t)r->pid, 0);
    if (pidfd < 0)
        return LEFT_NONE;
    if (start_of(r->pid) != r->pid_start) {
        close(pidfd);
        return LEFT_NONE;
    }
    if (getpgid((pid_t)r->pid) == (pid_t)r->pid)
        (void)kill(-(pid_t)r->pid, SIGKILL);
    (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    gone = wait_for(pidfd, instant_add(loop_clock(), LEFT_WAIT_NS));
    close(pidfd);
    return gone ? LEFT_KILLED : LEFT_STAYS;
}
