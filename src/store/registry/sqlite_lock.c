/*
 * One process at a time: locks of the system, which a process that dies lets go of.
 *
 * FILE-lock is locked first, beside the file itself and not beside a link to it; what stands in it
 * (a process id) is only for messages. It can be removed, and a hard link has another one: so the
 * file is locked too (flock, which SQLite's own locks, those of fcntl, have nothing to do with).
 */
#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"
#include "store/registry/sqlite_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* For the lock of a process that is gone: 2 s in all. */
#define LOCK_TRIES  200
#define LOCK_TRY_US 10000

/* Payloads and outputs are their owner's alone. SQLite gives what it makes beside the file its mode. */
#define FILE_MODE 0600

/* Newer than some systems' headers. */
#define CIFS_MAGIC 0xFF534D42
#define SMB2_MAGIC 0xFE534D42

enum weir_status registry_find_file(struct sqlite_registry *r, struct weir_error *err)
{
    char *real = realpath(r->path, NULL);
    struct buf name = {0};

    /* Made now, for only what is there has a real path: a link may lead to what is not there yet. */
    if (!real && errno == ENOENT) {
        int fd = open(r->path, O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);

        if (fd >= 0) {
            close(fd);
            real = realpath(r->path, NULL);
        }
    }
    /* Never ":memory:" or "file:...", which mean something to SQLite. What is not there is told by those that open it. */
    buf_printf(&name, "%s%s", real || r->path[0] == '/' ? "" : "./", real ? real : r->path);
    free(real);
    r->name = buf_steal(&name, NULL);
    return r->name ? WEIR_OK : error_nomem(err);
}

/* Whose it is, as it says itself; 0: it does not. */
static long holder_of(int fd)
{
    char text[32] = "";
    ssize_t len = pread(fd, text, sizeof(text) - 1, 0);

    text[len > 0 ? len : 0] = 0;
    return strtol(text, NULL, 10);
}

static bool lock_it(int fd)
{
    return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/*
 * A child that was just being started when its parent was killed has the lock until it runs its
 * program, or has seen that it is to end: that is waited for. One that is alive is not.
 */
static bool lock_of_the_dead(int fd)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        long pid = holder_of(fd);

        if (pid <= 0 || kill((pid_t)pid, 0) == 0 || errno != ESRCH)
            break;
        (void)usleep(LOCK_TRY_US);
        if (lock_it(fd))
            return true;
    }
    return lock_it(fd);
}

static enum weir_status fail_held(struct sqlite_registry *r, long pid, struct weir_error *err)
{
    if (pid == (long)getpid())
        return error_set(err, WEIR_E_BUSY, "registry %s is in use by this very process", r->path);
    if (pid > 0)
        return error_set(err, WEIR_E_BUSY,
                         "registry %s is in use by process %ld; end that first, or name another "
                         "registry in the configuration",
                         r->path, pid);
    return error_set(err, WEIR_E_BUSY,
                     "registry %s is in use by another process; end that first, or name another "
                     "registry in the configuration",
                     r->path);
}

/* For messages alone: a full disk is no hindrance. */
static void sign(int fd)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());

    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len)
        return;
}

enum weir_status registry_lock(struct sqlite_registry *r, struct weir_error *err)
{
    _cleanup_buf_ struct buf name = {0};
    int fd;

    buf_printf(&name, "%s-lock", r->name);
    if (name.failed)
        return error_nomem(err);
    fd = open(name.data, O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
    if (fd < 0)
        return error_set_errno(err, WEIR_E_IO, errno,
                               "cannot lock registry %s: make its folder, and make it writable; %s",
                               r->path, name.data);
    if (!lock_it(fd) && !lock_of_the_dead(fd)) {
        enum weir_status status =
            errno == EWOULDBLOCK
                ? fail_held(r, holder_of(fd), err)
                : error_set_errno(err, WEIR_E_IO, errno, "cannot lock %s", name.data);

        close(fd);
        return status;
    }
    r->lock_fd = fd;
    return WEIR_OK;
}

/* Another process whose SQLite has the file open; 0: none that can be seen. */
static long user_of(int fd)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    return fcntl(fd, F_GETLK, &all) == 0 && all.l_type != F_UNLCK ? (long)all.l_pid : 0;
}

/* There flock() is made of fcntl()'s locks, and would keep SQLite out. */
static bool is_far(int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) != 0)
        return false;
    switch ((unsigned long)fs.f_type & 0xFFFFFFFF) {
    case NFS_SUPER_MAGIC:
    case SMB_SUPER_MAGIC:
    case CIFS_MAGIC:
    case SMB2_MAGIC:
        return true;
    default:
        return false;
    }
}

enum weir_status registry_lock_file(struct sqlite_registry *r, struct weir_error *err)
{
    int fd = open(r->name, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return error_set_errno(err, WEIR_E_IO, errno, "registry %s cannot be read", r->path);
    /* Who is dead has it for a moment (lock_of_the_dead); who has just come is not seen yet. */
    for (int i = 0; !is_far(fd) && !lock_it(fd); i++) {
        long pid = errno == EWOULDBLOCK ? user_of(fd) : 0;

        if (errno != EWOULDBLOCK && errno != EINTR) {
            (void)error_set_errno(err, WEIR_E_IO, errno, "cannot lock %s", r->name);
            close(fd);
            return WEIR_E_IO;
        }
        if (pid == 0 && i < LOCK_TRIES) {
            (void)usleep(LOCK_TRY_US);
            continue;
        }
        /* If it is this process that has it, a close() would let go of its SQLite's locks: rather one descriptor too many. */
        if (pid > 0)
            close(fd);
        return fail_held(r, pid, err);
    }
    r->file_fd = fd;
    sign(r->lock_fd);
    return WEIR_OK;
}

enum weir_status registry_note_files(struct sqlite_registry *r, struct weir_error *err)
{
    _cleanup_buf_ struct buf name = {0};

    buf_printf(&name, "%s-wal", r->name);
    r->log_name = buf_steal(&name, NULL);
    if (!r->log_name)
        return error_nomem(err);
    if (fstat(r->file_fd, &r->file) != 0 || stat(r->log_name, &r->log) != 0)
        return error_set_errno(err, WEIR_E_IO, errno, "registry %s cannot be read", r->path);
    return WEIR_OK;
}

/* False: there is none of that name, or another file. */
static bool is_there(const char *name, const struct stat *file)
{
    struct stat now;

    if (stat(name, &now) != 0)
        return errno != ENOENT && errno != ENOTDIR;
    return now.st_dev == file->st_dev && now.st_ino == file->st_ino;
}

enum weir_status registry_check_files(const struct sqlite_registry *r, struct weir_error *err)
{
    if (!is_there(r->name, &r->file))
        return error_set(err, WEIR_E_IO,
                         "registry %s was removed or replaced while it is in use; put that very "
                         "file back, or stop weir and put back a copy of it",
                         r->path);
    if (!is_there(r->log_name, &r->log))
        return error_set(err, WEIR_E_IO,
                         "%s, the log of registry %s, was removed or replaced while it is in use; "
                         "restart weir, which writes what was in it into the registry",
                         r->log_name, r->path);
    return WEIR_OK;
}

/* Makes a lock file that was removed anew, so that the next one to come finds whose the registry is. */
static void keep_lock(struct sqlite_registry *r)
{
    _cleanup_buf_ struct buf name = {0};
    struct stat ours;
    int fd;

    buf_printf(&name, "%s-lock", r->name);
    if (name.failed || fstat(r->lock_fd, &ours) != 0 || is_there(name.data, &ours))
        return;
    fd = open(name.data, O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
    if (fd < 0)
        return;
    if (!lock_it(fd)) {
        /* Who has just come finds the file itself locked, and goes. */
        close(fd);
        return;
    }
    close(r->lock_fd);
    r->lock_fd = fd;
    sign(fd);
}

enum weir_status registry_look(struct core_registry *base, struct weir_error *err)
{
    keep_lock(registry_self(base));
    return registry_check_files(registry_self(base), err);
}

void registry_unlock(struct sqlite_registry *r)
{
    if (r->file_fd >= 0)
        close(r->file_fd);
    if (r->lock_fd >= 0)
        close(r->lock_fd);
    r->file_fd = r->lock_fd = -1;
}
