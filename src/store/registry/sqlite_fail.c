/*
 * From what SQLite says to what a person is told: the file, what is wrong with it, and what to do.
 */
#include "base/error.h"
#include "store/registry/sqlite_inside.h"

#include <errno.h>

/* The system's reason. SQLite forgets it when a commit fails; the files, the log first, do not. */
static int last_errno(sqlite3 *db)
{
    static const int pointers[] = {SQLITE_FCNTL_JOURNAL_POINTER, SQLITE_FCNTL_FILE_POINTER};
    int errnum = sqlite3_system_errno(db);

    for (size_t i = 0; i < sizeof(pointers) / sizeof(pointers[0]) && !errnum; i++) {
        sqlite3_file *file = NULL;

        sqlite3_file_control(db, "main", pointers[i], &file);
        if (file && file->pMethods)
            file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &errnum);
    }
    return errnum;
}

static enum weir_status fail_unwritable(const char *path, struct weir_error *err)
{
    return error_set(err, WEIR_E_IO,
                     "registry %s cannot be written: make it and its folder writable, or name "
                     "another one in the configuration",
                     path);
}

static enum weir_status fail_full(const char *path, const char *doing, struct weir_error *err)
{
    return error_set(err, WEIR_E_IO, "registry %s: no room for it (%s); free space on its disk",
                     path, doing);
}

static enum weir_status fail_io(sqlite3 *db, const char *path, const char *doing,
                                struct weir_error *err)
{
    int errnum = last_errno(db);

    if (errnum == EACCES || errnum == EPERM || errnum == EROFS)
        return fail_unwritable(path, err);
    if (errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG)
        return fail_full(path, doing, err);
    if (errnum)
        return error_set_errno(err, WEIR_E_IO, errnum, "registry %s: %s failed; look at its disk",
                               path, doing);
    return error_set(err, WEIR_E_IO, "registry %s: %s failed: %s; look at its disk", path, doing,
                     sqlite3_errmsg(db));
}

enum weir_status registry_damaged(const char *path, const char *what, struct weir_error *err)
{
    return error_set(err, WEIR_E_FORMAT,
                     "registry %s is damaged (%s); put back a copy of it, or name another one in "
                     "the configuration",
                     path, what);
}

enum weir_status registry_fail_db(sqlite3 *db, const char *path, const char *doing,
                                  struct weir_error *err)
{
    int rc = db ? sqlite3_extended_errcode(db) : SQLITE_NOMEM;

    if (rc == SQLITE_IOERR_NOMEM)
        return error_nomem(err);
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return error_nomem(err);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return error_set(err, WEIR_E_BUSY,
                         "registry %s is locked by another program (%s); end what has it open: "
                         "`fuser %s` names it",
                         path, doing, path);
    case SQLITE_FULL:
        return fail_full(path, doing, err);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return fail_unwritable(path, err);
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
        return fail_io(db, path, doing, err);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
    case SQLITE_CONSTRAINT: /* what no op can cause and has not caught */
    case SQLITE_MISMATCH:
    case SQLITE_SCHEMA:
        return registry_damaged(path, sqlite3_errmsg(db), err);
    case SQLITE_TOOBIG:
        return error_set(err, WEIR_E_LIMIT,
                         "registry %s: a value is over SQLite's limit of %d bytes (%s)", path,
                         sqlite3_limit(db, SQLITE_LIMIT_LENGTH, -1), doing);
    default:
        return error_set(err, WEIR_E_INTERNAL, "registry %s: %s: %s", path, doing,
                         sqlite3_errmsg(db));
    }
}

enum weir_status registry_fail(struct sqlite_registry *r, const char *doing, struct weir_error *err)
{
    return registry_fail_db(r->db, r->path, doing, err);
}
