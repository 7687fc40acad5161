/*
 * A file layer for SQLite whose n-th change to a disk fails, and only that one.
 *
 *     faulty_vfs_install();                         // once; from then on it is the default
 *     faulty_vfs_fail_at(n, SQLITE_IOERR_FSYNC);    // 1 is the next write, truncate, sync or removal
 *     ... faulty_vfs_has_failed() ...
 *
 * One thread at a time.
 */
#ifndef TESTS_UNIT_STORE_FAULTY_VFS_H
#define TESTS_UNIT_STORE_FAULTY_VFS_H

#include <sqlite3.h>

#include <stdbool.h>
#include <string.h>

struct faulty_file {
    sqlite3_file base;
    sqlite3_file *real;
};

static sqlite3_vfs *faulty_real;
static unsigned long faulty_left;
static int faulty_code;
static bool faulty_happened;

static inline void faulty_vfs_fail_at(unsigned long n, int code)
{
    faulty_left = n;
    faulty_code = code;
    faulty_happened = false;
}

static inline bool faulty_vfs_has_failed(void)
{
    return faulty_happened;
}

static inline bool faulty_is_due(void)
{
    if (faulty_left == 0 || --faulty_left > 0)
        return false;
    faulty_happened = true;
    return true;
}

static inline sqlite3_file *faulty_file(sqlite3_file *f)
{
    return ((struct faulty_file *)(void *)f)->real;
}

static int faulty_close(sqlite3_file *f)
{
    return faulty_file(f)->pMethods->xClose(faulty_file(f));
}

static int faulty_read(sqlite3_file *f, void *to, int len, sqlite3_int64 at)
{
    return faulty_file(f)->pMethods->xRead(faulty_file(f), to, len, at);
}

/* Half of it is written, as a disk does that fills up. */
static int faulty_write(sqlite3_file *f, const void *from, int len, sqlite3_int64 at)
{
    if (faulty_is_due()) {
        faulty_file(f)->pMethods->xWrite(faulty_file(f), from, len / 2, at);
        return faulty_code == SQLITE_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    }
    return faulty_file(f)->pMethods->xWrite(faulty_file(f), from, len, at);
}

static int faulty_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    if (faulty_is_due())
        return SQLITE_IOERR_TRUNCATE;
    return faulty_file(f)->pMethods->xTruncate(faulty_file(f), size);
}

static int faulty_sync(sqlite3_file *f, int flags)
{
    if (faulty_is_due())
        return SQLITE_IOERR_FSYNC;
    return faulty_file(f)->pMethods->xSync(faulty_file(f), flags);
}

static int faulty_size(sqlite3_file *f, sqlite3_int64 *ret)
{
    return faulty_file(f)->pMethods->xFileSize(faulty_file(f), ret);
}

static int faulty_lock(sqlite3_file *f, int level)
{
    return faulty_file(f)->pMethods->xLock(faulty_file(f), level);
}

static int faulty_unlock(sqlite3_file *f, int level)
{
    return faulty_file(f)->pMethods->xUnlock(faulty_file(f), level);
}

static int faulty_is_reserved(sqlite3_file *f, int *ret)
{
    return faulty_file(f)->pMethods->xCheckReservedLock(faulty_file(f), ret);
}

static int faulty_control(sqlite3_file *f, int op, void *arg)
{
    return faulty_file(f)->pMethods->xFileControl(faulty_file(f), op, arg);
}

static int faulty_sector(sqlite3_file *f)
{
    return faulty_file(f)->pMethods->xSectorSize(faulty_file(f));
}

static int faulty_traits(sqlite3_file *f)
{
    return faulty_file(f)->pMethods->xDeviceCharacteristics(faulty_file(f));
}

/* Version 1: without shared memory, which an exclusive journal does not need. */
static const sqlite3_io_methods faulty_methods = {
    .iVersion = 1,
    .xClose = faulty_close,
    .xRead = faulty_read,
    .xWrite = faulty_write,
    .xTruncate = faulty_truncate,
    .xSync = faulty_sync,
    .xFileSize = faulty_size,
    .xLock = faulty_lock,
    .xUnlock = faulty_unlock,
    .xCheckReservedLock = faulty_is_reserved,
    .xFileControl = faulty_control,
    .xSectorSize = faulty_sector,
    .xDeviceCharacteristics = faulty_traits,
};

static int faulty_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *f, int flags,
                       int *ret_flags)
{
    struct faulty_file *file = (struct faulty_file *)(void *)f;
    int rc;

    (void)vfs;
    file->base.pMethods = NULL;
    file->real = (sqlite3_file *)(void *)(file + 1);
    rc = faulty_real->xOpen(faulty_real, name, file->real, flags, ret_flags);
    if (file->real->pMethods)
        file->base.pMethods = &faulty_methods;
    return rc;
}

static int faulty_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    (void)vfs;
    if (faulty_is_due())
        return SQLITE_IOERR_DELETE;
    return faulty_real->xDelete(faulty_real, name, sync);
}

static inline void faulty_vfs_install(void)
{
    static sqlite3_vfs vfs;

    faulty_real = sqlite3_vfs_find(NULL);
    vfs =
        *faulty_real; /* what is not replaced is the real one's, and does not look at its argument */
    vfs.zName = "faulty";
    vfs.szOsFile = (int)sizeof(struct faulty_file) + faulty_real->szOsFile;
    vfs.xOpen = faulty_open;
    vfs.xDelete = faulty_delete;
    sqlite3_vfs_register(&vfs, 1);
}

#endif
