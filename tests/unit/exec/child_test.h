/*
 * What tests with real processes look at: descriptors and children of their own, and whether
 * processes are gone.
 */
#ifndef EXEC_CHILD_TEST_H
#define EXEC_CHILD_TEST_H

#include "support/testkit.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Within this time everything is gone when weir is killed: so it is promised. */
#define GONE_MS          1000
#define PIDS_DEADLINE_MS 60000

static inline size_t fds_open(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static inline void assert_no_children(void)
{
    siginfo_t info;

    assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT), -1);
    assert_int_equal(errno, ECHILD);
}

/* A process that is a zombie has ended; whoever has to reap it does so in its own time. */
static inline bool is_gone(pid_t pid)
{
    char path[64], text[512], *end;
    FILE *f;
    size_t n;

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    f = fopen(path, "re");
    if (!f)
        return true;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    end = strrchr(text, ')');
    return !end || end[2] == 'Z' || end[2] == 'X';
}

static inline bool are_gone(void *arg)
{
    for (const pid_t *pid = arg; *pid; pid++)
        if (!is_gone(*pid))
            return false;
    return true;
}

/* Reads n process ids, one a line; with a 0 behind them. */
static inline void read_pids(int fd, pid_t *ret, size_t n)
{
    char text[512];
    size_t len = 0, lines = 0;
    const char *p = text;

    while (lines < n) {
        ssize_t got;

        assert_true(testkit_fd_wait(fd, POLLIN, PIDS_DEADLINE_MS));
        got = read(fd, text + len, sizeof text - 1 - len);
        assert_true(got > 0);
        for (ssize_t i = 0; i < got; i++)
            lines += text[len + (size_t)i] == '\n';
        len += (size_t)got;
    }
    text[len] = '\0';
    for (size_t i = 0; i < n; i++) {
        char *end;

        ret[i] = (pid_t)strtol(p, &end, 10);
        assert_true(ret[i] > 1);
        p = end;
    }
    ret[n] = 0;
}

#endif
