/* See leftovers.h. */
#include "cli/worker/leftovers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define STAT_BYTES 512
#define NAMED_MAX  3
/* Rounds of killing: what is killed may leave children of its own, which come to us then. */
#define KILL_ROUNDS  20
#define KILL_LOOK_MS 5

struct process {
    pid_t pid, parent, group;
    char state;
    char name[32];
};

static pid_t known[LEFTOVERS_KNOWN_MAX];
static size_t known_count;

/* /proc/PID/stat: "PID (NAME) STATE PARENT GROUP ...", and the name may hold anything. */
static bool read_process(const char *pid, struct process *ret)
{
    char path[64], text[STAT_BYTES];
    char *open_at, *close_at, *after;
    size_t name_len;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    open_at = strchr(text, '(');
    close_at = strrchr(text, ')');
    if (!open_at || !close_at || close_at < open_at || strlen(close_at) < 5)
        return false;
    ret->pid = (pid_t)strtol(text, NULL, 10);
    ret->state = close_at[2];
    ret->parent = (pid_t)strtol(close_at + 3, &after, 10);
    ret->group = (pid_t)strtol(after, NULL, 10);
    name_len = (size_t)(close_at - open_at) - 1;
    if (name_len >= sizeof ret->name)
        name_len = sizeof ret->name - 1;
    memcpy(ret->name, open_at + 1, name_len);
    ret->name[name_len] = '\0';
    return true;
}

/* Calls fn for each process there is. */
static void each_process(void (*fn)(void *ctx, const struct process *p), void *ctx)
{
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    struct process p;

    if (!dir)
        return;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && read_process(entry->d_name, &p))
            fn(ctx, &p);
    }
    closedir(dir);
}

static bool is_known(pid_t pid)
{
    for (size_t i = 0; i < known_count; i++) {
        if (known[i] == pid)
            return true;
    }
    return false;
}

static void note_child(void *ctx, const struct process *p)
{
    (void)ctx;
    if (p->parent == getpid() && known_count < LEFTOVERS_KNOWN_MAX)
        known[known_count++] = p->pid;
}

void leftovers_adopt(void)
{
    known_count = 0;
    each_process(note_child, NULL);
    /* Where it fails, what has left its group is not found: only the report is less complete. */
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

struct look {
    pid_t group;
    struct buf *out;
    size_t count;
};

static void look_at(void *ctx, const struct process *p)
{
    struct look *l = ctx;
    bool orphan = p->parent == getpid() && p->pid != l->group && !is_known(p->pid);

    if (p->state == 'Z' || p->state == 'X' ||
        (!orphan && (p->group != l->group || p->pid == l->group)))
        return;
    l->count++;
    if (!l->out || l->count > NAMED_MAX + 1)
        return;
    if (l->count > NAMED_MAX)
        buf_puts(l->out, " and more");
    else
        buf_printf(l->out, "%s%s (pid %d)", l->count > 1 ? ", " : "", p->name, (int)p->pid);
}

size_t leftovers_put(pid_t group, struct buf *out)
{
    struct look l = {.group = group, .out = out};

    each_process(look_at, &l);
    return l.count;
}

static void kill_orphan(void *ctx, const struct process *p)
{
    size_t *count = ctx;

    if (p->parent != getpid() || is_known(p->pid))
        return;
    ++*count;
    kill(p->pid, SIGKILL);
    while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

void leftovers_kill(void)
{
    for (int i = 0; i < KILL_ROUNDS; i++) {
        size_t count = 0;

        each_process(kill_orphan, &count);
        if (count == 0)
            return;
        poll(NULL, 0, KILL_LOOK_MS);
    }
}
