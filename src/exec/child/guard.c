/* The guard (guard.h): the table of groups, the shell that reads it, and their ends. */
#include "exec/child/guard.h"

#include "base/error.h"
#include "base/mem.h"
#include "exec/child/launch.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Slots that get their lines at once: 48 KiB of them. */
#define SLOTS_STEP 4096

/*
 * Its first words are for whoever finds it in a list of processes. It has 0: the pipe, 3: the
 * table. It ignores the signals that end weir (launch.c), for that is just when it is needed. No
 * `--` before the group: not every shell's kill knows it.
 */
static const char script[] =
    ": weir guard: when weir is gone, ends what weir started; "
    "read -r p; "
    "while read -r p; do case $p in [1-9]*k) kill -9 \"-${p%k}\";; esac; done <&3";

_Static_assert(SLOTS_STEP *GUARD_LINE_BYTES % 4096 == 0, "lines are made by whole pages");

/* ---- the table ---- */

static void open_table(struct child_guard *g)
{
    g->table_fd = memfd_create("weir-guard", MFD_CLOEXEC);
    if (g->table_fd < 0)
        return;
    g->table = mmap(NULL, (size_t)CHILD_GUARDED_MAX * GUARD_LINE_BYTES, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_NORESERVE, g->table_fd, 0);
    if (g->table == MAP_FAILED) {
        g->table = NULL;
        close(g->table_fd);
        g->table_fd = -1;
    }
}

static void close_table(struct child_guard *g)
{
    if (g->table)
        munmap(g->table, (size_t)CHILD_GUARDED_MAX * GUARD_LINE_BYTES);
    if (g->table_fd >= 0)
        close(g->table_fd);
    g->table = NULL;
    g->table_fd = -1;
}

/* Under the lock. The file grows with the lines, so that the shell reads no more than there are. */
static enum weir_status add_lines(struct child_guard *g, struct weir_error *err)
{
    uint32_t count = g->ready + SLOTS_STEP;
    uint32_t *slots = mem_realloc(g->free_slots, count * sizeof *slots);
    off_t from = (off_t)g->ready * GUARD_LINE_BYTES, bytes = (off_t)SLOTS_STEP * GUARD_LINE_BYTES;

    if (!slots)
        return error_nomem(err);
    g->free_slots = slots;
    if (g->table) {
        /* Not ftruncate(): the memory must be there before it is written to. */
        if (fallocate(g->table_fd, 0, from, bytes) != 0)
            return error_set_errno(err, WEIR_E_AGAIN, errno,
                                   "cannot enlarge the table of child processes");
        memset(g->table + from, ' ', (size_t)bytes);
        for (uint32_t i = g->ready; i < count; i++)
            guard_line(g, i)[GUARD_LINE_BYTES - 1] = '\n';
    }
    g->ready = count;
    return WEIR_OK;
}

enum weir_status guard_take_slot(struct child_guard *g, uint32_t *ret, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    pthread_mutex_lock(&g->lock);
    if (g->free_count > 0) {
        *ret = g->free_slots[--g->free_count];
    } else if (g->used >= CHILD_GUARDED_MAX) {
        status =
            error_set(err, WEIR_E_LIMIT, "%d child processes run already, the most there may be",
                      CHILD_GUARDED_MAX);
    } else {
        if (g->used == g->ready)
            status = add_lines(g, err);
        if (status == WEIR_OK)
            *ret = g->used++;
    }
    pthread_mutex_unlock(&g->lock);
    return status;
}

char *guard_line(struct child_guard *g, uint32_t slot)
{
    return g->table ? g->table + (size_t)slot * GUARD_LINE_BYTES : NULL;
}

void guard_give_slot(struct child_guard *g, uint32_t slot)
{
    char *line = guard_line(g, slot);

    if (line)
        __atomic_store_n(line + GUARD_DIGITS, ' ', __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&g->lock);
    assert(g->free_count < g->used);
    g->free_slots[g->free_count++] = slot;
    pthread_mutex_unlock(&g->lock);
}

LAUNCH_CHILD_SIDE void guard_line_write(char *line, pid_t pid)
{
    /* To the right, as printf's %10d. */
    for (int i = GUARD_DIGITS - 1; i >= 0; i--) {
        line[i] = pid > 0 ? (char)('0' + pid % 10) : ' ';
        pid /= 10;
    }
    __atomic_store_n(line + GUARD_DIGITS, GUARD_MARK, __ATOMIC_SEQ_CST);
}

/* ---- the shell ---- */

static void start_helper(struct child_guard *g)
{
    char *argv[] = {(char[]){"sh"}, (char[]){"-c"}, (char *)(uintptr_t)script, NULL};
    char *env[] = {NULL};
    int ends[2];
    struct launch l = {.argv = argv,
                       .envp = env,
                       .session = true,
                       .fds_count = 4,
                       .signals = g->signals,
                       .pidfd = -1};

    if (!g->table || pipe2(ends, O_CLOEXEC) != 0)
        return;
    l.fds[0] = ends[0];
    l.fds[1] = l.fds[2] = g->null_fd;
    l.fds[3] = g->table_fd;
    l.file = "/bin/sh";
    l.candidates = "/bin/sh\0";
    if (launch_run(&l)) {
        g->helper = l.pid;
        g->helper_fd = l.pidfd;
        g->end_fd = ends[1];
    } else {
        close(ends[1]);
    }
    close(ends[0]);
}

static void end_helper(struct child_guard *g)
{
    if (g->helper > 0) {
        /* Nothing is left for it to do, and it would take a while to see that. By its descriptor: its number may be
           another's, where the host reaps what is not its own. */
        syscall(SYS_pidfd_send_signal, (long)g->helper_fd, (long)SIGKILL, NULL, 0L);
        while (syscall(SYS_waitid, (long)P_PIDFD, (long)g->helper_fd, NULL, (long)WEXITED, NULL) <
                   0 &&
               errno == EINTR)
            ;
        close(g->helper_fd);
    }
    g->helper = 0;
    if (g->end_fd >= 0)
        close(g->end_fd);
    g->end_fd = -1;
}

/* ---- life ---- */

enum weir_status child_guard_new(struct child_guard **ret, struct weir_error *err)
{
    struct child_guard *g = mem_calloc(1, sizeof *g);
    enum weir_status status;

    if (!g)
        return error_nomem(err);
    g->end_fd = g->table_fd = -1;
    g->signals = launch_signals();
    pthread_mutex_init(&g->lock, NULL);
    g->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (g->null_fd < 0) {
        status = error_set_errno(err, WEIR_E_IO, errno, "cannot open /dev/null");
        child_guard_free(g);
        return status;
    }
    open_table(g);
    status = add_lines(g, err);
    if (status != WEIR_OK) {
        child_guard_free(g);
        return status;
    }
    start_helper(g);
    *ret = g;
    return WEIR_OK;
}

struct child_guard *child_guard_free(struct child_guard *g)
{
    if (!g)
        return NULL;
    assert(g->free_count == g->used);
    end_helper(g);
    close_table(g);
    if (g->null_fd >= 0)
        close(g->null_fd);
    pthread_mutex_destroy(&g->lock);
    mem_free(g->free_slots);
    return mem_free(g);
}

bool child_guard_is_up(const struct child_guard *g)
{
    return g->helper > 0;
}
