/*
 * System calls on one output file; outfile.h has the rules.
 */
#include "cli/output/outfile.h"

#include "base/error.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

void outfile_init(struct outfile *f)
{
    *f = (struct outfile){.fd = -1};
}

const char *outfile_name(const struct outfile *f)
{
    return f->path ? f->path : "standard output";
}

static enum weir_status look(struct outfile *f, struct weir_error *err)
{
    struct stat st;

    if (fstat(f->fd, &st) != 0)
        return error_set_errno(err, WEIR_E_IO, errno, "%s", outfile_name(f));
    f->regular = f->path && S_ISREG(st.st_mode);
    f->written = f->regular ? (uint64_t)st.st_size : 0;
    return WEIR_OK;
}

enum weir_status outfile_open(struct outfile *f, const char *path, struct weir_error *err)
{
    if (path) {
        f->path = mem_strdup(path);
        if (!f->path)
            return error_nomem(err);
        do {
            f->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
        } while (f->fd < 0 && errno == EINTR);
        if (f->fd < 0)
            return error_set_errno(err, WEIR_E_IO, errno, "%s cannot be opened for writing", path);
    } else {
        f->fd = STDOUT_FILENO;
    }
    return look(f, err);
}

/* Some file systems have no locks: there, this is no error. */
enum weir_status outfile_lock(const struct outfile *f, struct weir_error *err)
{
    if (f->regular && flock(f->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return error_set(err, WEIR_E_BUSY,
                         "%s is being written to by another run; wait until that has ended, or "
                         "give another name",
                         outfile_name(f));
    return WEIR_OK;
}

enum weir_status outfile_cut(struct outfile *f, uint64_t size, struct weir_error *err)
{
    int rc;

    if (!f->regular) {
        f->written = 0;
        return WEIR_OK;
    }
    do {
        rc = ftruncate(f->fd, (off_t)size);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0)
        return error_set_errno(err, WEIR_E_IO, errno, "%s cannot be cut to %llu bytes",
                               outfile_name(f), (unsigned long long)size);
    if (lseek(f->fd, (off_t)size, SEEK_SET) < 0)
        return error_set_errno(err, WEIR_E_IO, errno, "%s", outfile_name(f));
    f->written = size;
    return WEIR_OK;
}

static enum weir_status write_error(const struct outfile *f, int errnum, struct weir_error *err)
{
    const char *again =
        f->resumable ? "; then run the same command again: it goes on where it stopped" : "";

    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return error_set(err, WEIR_E_IO, "%s: %s; make room%s", outfile_name(f), strerror(errnum),
                         again);
    case EFBIG:
        return error_set(err, WEIR_E_IO, "%s: %s; raise the limit (ulimit -f)%s", outfile_name(f),
                         strerror(errnum), again);
    case EPIPE:
        return error_set(err, WEIR_E_IO, "%s: whoever read it has gone away (%s)%s",
                         outfile_name(f), strerror(errnum), again);
    default:
        return error_set(err, WEIR_E_IO, "%s cannot be written: %s%s", outfile_name(f),
                         strerror(errnum), again);
    }
}

/* Somebody else may have made standard output non-blocking: it is shared. */
static void wait_writable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    (void)poll(&p, 1, 1000);
}

enum weir_status outfile_write(struct outfile *f, struct weir_error *err)
{
    size_t done = 0;
    enum weir_status status = WEIR_OK;

    while (done < f->pending.len) {
        ssize_t n = write(f->fd, f->pending.data + done, f->pending.len - done);

        if (n > 0) {
            done += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            wait_writable(f->fd);
        } else if (n == 0 || errno != EINTR) {
            status = write_error(f, n == 0 ? ENOSPC : errno, err);
            break;
        }
    }
    f->written += done;
    if (done > 0) {
        memmove(f->pending.data, f->pending.data + done, f->pending.len - done);
        f->pending.len -= done;
        f->pending.data[f->pending.len] = '\0';
    }
    return status;
}

enum weir_status outfile_sync(struct outfile *f, struct weir_error *err)
{
    int rc;

    if (f->fd < 0 || !f->regular)
        return WEIR_OK;
    do {
        rc = fdatasync(f->fd);
    } while (rc != 0 && errno == EINTR);
    /* After a failed sync the pages may be gone: it is an error for good, never tried again. */
    return rc == 0 ? WEIR_OK : write_error(f, errno, err);
}

bool outfile_ends_line(const char *path, uint64_t size)
{
    char last = '\n';
    int fd;

    if (size == 0)
        return true;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return true;
    if (pread(fd, &last, 1, (off_t)(size - 1)) != 1)
        last = '\n';
    close(fd);
    return last == '\n';
}

enum weir_status outfile_sync_folder(const char *path, struct weir_error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder;
    enum weir_status status = WEIR_OK;
    int fd;

    if (!slash)
        folder = mem_strdup(".");
    else
        folder = mem_copy(path, slash == path ? 1 : (size_t)(slash - path));
    if (!folder)
        return error_nomem(err);
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* A folder that may be written to but not read cannot be synced; nor can some file systems. */
    if (fd < 0 && errno != EACCES)
        status = error_set_errno(err, WEIR_E_IO, errno, "%s", folder);
    else if (fd >= 0 && fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP)
        status = error_set_errno(err, WEIR_E_IO, errno, "%s cannot be synced", folder);
    if (fd >= 0)
        close(fd);
    mem_free(folder);
    return status;
}

void outfile_close(struct outfile *f)
{
    if (f->fd >= 0 && f->path)
        close(f->fd);
    mem_free(f->path);
    buf_free(&f->pending);
    outfile_init(f);
}
