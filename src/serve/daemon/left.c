#include "serve/daemon/left.h"

#include "base/buf.h"
#include "loop/loop.h"
#include "serve/pools/poolset.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Environments may be as long as the kernel lets them. */
#define ENVIRONMENT_BYTES_MAX (4u << 20)
/* What is killed may just have started something: it is looked for again, so often. */
#define SWEEPS 5

/* What /proc/PID/stat tells. */
struct process_stat {
    char state;
    long long group, session;
    unsigned long long start; /* 0: there is no such process */
};

/* Fields of /proc/PID/stat, counted from the state, which is the third of them (proc(5)). */
enum stat_field { FIELD_STATE = 0, FIELD_GROUP = 2, FIELD_SESSION = 3, FIELD_START = 19 };

/* Zeroed: it is a zombie, or the text is not what it should be. */
static struct process_stat read_fields(char *text)
{
    struct process_stat s = {0};
    char *rest = NULL;
    int field = FIELD_STATE;

    for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        if (field == FIELD_STATE)
            s.state = word[0];
        else if (field == FIELD_GROUP)
            s.group = strtoll(word, NULL, 10);
        else if (field == FIELD_SESSION)
            s.session = strtoll(word, NULL, 10);
        else if (field == FIELD_START)
            s.start = strtoull(word, NULL, 10);
        field++;
    }
    if (field <= FIELD_START || s.state == 'Z' || s.state == 'X')
        return (struct process_stat){0};
    return s;
}

/* The fields are behind the name in parentheses, which may hold anything. A zombie is gone. */
static struct process_stat stat_of(int64_t pid)
{
    char path[64], text[1024];
    char *at;
    FILE *f;
    size_t n;

    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    f = fopen(path, "re");
    if (!f)
        return (struct process_stat){0};
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    at = strrchr(text, ')');
    return at ? read_fields(at + 1) : (struct process_stat){0};
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
    if (stat_of(r->pid).start != r->pid_start) {
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

/* ---- those that are marked ---- */

static bool is_marked(int64_t pid, const char *mark, struct buf *room)
{
    static const char name[] = LEFT_VARIABLE "=";
    char path[64];
    const char *at;
    int fd;
    ssize_t n = 0;

    snprintf(path, sizeof path, "/proc/%lld/environ", (long long)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    buf_clear(room);
    while (room->len < ENVIRONMENT_BYTES_MAX) {
        char chunk[16384];

        n = read(fd, chunk, sizeof chunk);
        if (n <= 0)
            break;
        buf_put(room, chunk, (size_t)n);
    }
    close(fd);
    buf_putc(room, '\0');
    if (room->failed)
        return false;
    for (at = room->data; at < room->data + room->len; at += strlen(at) + 1)
        if (strncmp(at, name, sizeof name - 1) == 0 && strcmp(at + sizeof name - 1, mark) == 0)
            return true;
    return false;
}

/* Ends that one, and is told when it has gone. False: it stays. */
static bool end_marked(int64_t pid, const char *mark, struct buf *room, size_t *killed)
{
    struct process_stat s;
    bool gone = true;
    /* First the descriptor, then the look: from here on the id is that process's. */
    int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);

    if (pidfd < 0)
        return true;
    s = stat_of(pid);
    if (s.start != 0 && s.group != s.session && s.group != getpgrp() &&
        is_marked(pid, mark, room)) {
        /* All at once, so that a shell does not go on when what it waits for has gone. */
        (void)kill(-(pid_t)s.group, SIGKILL);
        (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
        gone = wait_for(pidfd, instant_add(loop_clock(), LEFT_WAIT_NS));
        *killed += gone;
    }
    close(pidfd);
    return gone;
}

enum left_what left_sweep(const char *mark, size_t *ret_killed)
{
    _cleanup_buf_ struct buf room = {0};
    bool stays = false;

    *ret_killed = 0;
    for (int i = 0; i < SWEEPS && !stays; i++) {
        size_t before = *ret_killed;
        DIR *proc = opendir("/proc");
        struct dirent *e;

        while (proc && (e = readdir(proc)))
            if (isdigit((unsigned char)e->d_name[0]) && strtoll(e->d_name, NULL, 10) != getpid())
                stays |= !end_marked(strtoll(e->d_name, NULL, 10), mark, &room, ret_killed);
        if (proc)
            closedir(proc);
        if (*ret_killed == before)
            break;
    }
    if (stays)
        return LEFT_STAYS;
    return *ret_killed > 0 ? LEFT_KILLED : LEFT_NONE;
}
