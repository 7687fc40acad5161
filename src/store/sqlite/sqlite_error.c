/*
 * From what SQLite says to what the user is told: the file, what is wrong with it, and what to do.
 */
#include "base/error.h"
#include "store/sqlite/sqlite_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/*
 * The process that a line of /proc/locks names as the holder of the file, or 0. A line reads
 *     1: POSIX  ADVISORY  WRITE 713 08:01:131242 0 EOF
 * with the process in the fifth field, and the device (in hexadecimal) and inode in the sixth.
 */
static long holder_in_line(char *line, const struct stat *st)
{
    char *fields[6], *at = line, *rest;
    unsigned long major_no, minor_no, inode;

    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
        fields[i] = strtok_r(i == 0 ? line : NULL, " ", &at);
        if (!fields[i])
            return 0;
    }
    major_no = strtoul(fields[5], &rest, 16);
    minor_no = *rest == ':' ? strtoul(rest + 1, &rest, 16) : 0;
    inode = *rest == ':' ? strtoul(rest + 1, NULL, 10) : 0;
    if (strcmp(fields[1], "POSIX") != 0 || inode != st->st_ino || major_no != major(st->st_dev) ||
        minor_no != minor(st->st_dev))
        return 0;
    return strtol(fields[4], NULL, 10);
}

/* From /proc/locks: to ask with fcntl() would take a descriptor, and closing that would drop every
 * lock that this process has on the file. */
long journal_holder(const char *path)
{
    char line[256];
    struct stat st;
    long found = 0;
    FILE *f;

    if (stat(path, &st) != 0)
        return 0;
    f = fopen("/proc/locks", "re");
    if (!f)
        return 0;
    while (!found && fgets(line, sizeof(line), f))
        found = holder_in_line(line, &st);
    fclose(f);
    return found;
}

static enum weir_status fail_busy(struct sqlite_store *js, struct weir_error *err)
{
    long pid = journal_holder(js->path);

    if (pid == (long)getpid())
        return error_set(err, WEIR_E_BUSY, "journal %s is in use by this very process", js->path);
    if (pid)
        return error_set(err, WEIR_E_BUSY,
                         "journal %s is in use by process %ld; wait until that has ended, or name "
                         "another one with --journal",
                         js->path, pid);
    return error_set(err, WEIR_E_BUSY,
                     "journal %s is in use by another process; wait until that has ended, or name "
                     "another one with --journal",
                     js->path);
}

enum weir_status journal_unwritable(struct sqlite_store *js, struct weir_error *err)
{
    return error_set(err, WEIR_E_IO,
                     "journal %s cannot be written: make it and its folder writable, or name "
                     "another one with --journal",
                     js->path);
}

/* The system's reason. SQLite forgets it when a commit fails; the files, the log first, do not. */
static int last_errno(struct sqlite_store *js)
{
    static const int pointers[] = {SQLITE_FCNTL_JOURNAL_POINTER, SQLITE_FCNTL_FILE_POINTER};
    int errnum = sqlite3_system_errno(js->db);

    for (size_t i = 0; i < sizeof(pointers) / sizeof(pointers[0]) && !errnum; i++) {
        sqlite3_file *file = NULL;

        sqlite3_file_control(js->db, "main", pointers[i], &file);
        if (file && file->pMethods)
            file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &errnum);
    }
    return errnum;
}

static enum weir_status fail_io(struct sqlite_store *js, int rc, const char *doing,
                                struct weir_error *err)
{
    int errnum = last_errno(js);

    /* Past the sync that failed, what is on the disk is anybody's guess (and a sync that is tried
     * again may well succeed without it). */
    if (rc == SQLITE_IOERR_FSYNC || rc == SQLITE_IOERR_DIR_FSYNC)
        js->broken = WEIR_E_IO;
    if (errnum == EACCES || errnum == EPERM || errnum == EROFS)
        return journal_unwritable(js, err);
    if (errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG)
        return error_set_errno(err, WEIR_E_IO, errnum,
                               "journal %s: no room for it (%s); free space and run the same "
                               "command again",
                               js->path, doing);
    if (errnum)
        return error_set_errno(err, WEIR_E_IO, errnum,
                               "journal %s: %s failed; run the same command again when that is "
                               "mended",
                               js->path, doing);
    return error_set(err, WEIR_E_IO,
                     "journal %s: %s failed: %s; run the same command again when that is mended",
                     js->path, doing, sqlite3_errmsg(js->db));
}

enum weir_status journal_damaged(struct sqlite_store *js, const char *what, struct weir_error *err)
{
    js->broken = WEIR_E_FORMAT;
    return error_set(err, WEIR_E_FORMAT,
                     "journal %s is damaged (%s); put back a copy of it, or start over with "
                     "--fresh",
                     js->path, what);
}

enum weir_status journal_fail(struct sqlite_store *js, const char *doing, struct weir_error *err)
{
    int rc = js->db ? sqlite3_extended_errcode(js->db) : SQLITE_NOMEM;

    if (rc == SQLITE_IOERR_NOMEM)
        return error_nomem(err);
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return error_nomem(err);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return fail_busy(js, err);
    case SQLITE_FULL:
        return error_set(err, WEIR_E_IO,
                         "journal %s: the disk is full (%s); free space and run the same command "
                         "again",
                         js->path, doing);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return journal_unwritable(js, err);
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
        return fail_io(js, rc, doing, err);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
    case SQLITE_CONSTRAINT: /* what put() cannot cause and has not caught */
    case SQLITE_MISMATCH:
    case SQLITE_SCHEMA:
        return journal_damaged(js, sqlite3_errmsg(js->db), err);
    case SQLITE_TOOBIG:
        return error_set(err, WEIR_E_LIMIT,
                         "journal %s: a value is over SQLite's limit of %d bytes (%s)", js->path,
                         sqlite3_limit(js->db, SQLITE_LIMIT_LENGTH, -1), doing);
    default:
        return error_set(err, WEIR_E_INTERNAL, "journal %s: %s: %s", js->path, doing,
                         sqlite3_errmsg(js->db));
    }
}
