/*
 * Opening a journal, and refusing what is none.
 *
 * Before SQLite is let near the file, its header is looked at, through SQLite's own descriptor (to
 * close one of our own would drop this process's locks on the file): a file that is no journal is
 * refused as it is, unlocked and unchanged. Then the exclusive lock is taken for good, the log of a
 * run that was killed is played back, and the tables are compared with what they should be.
 */
#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"
#include "store/check.h"
#include "store/sqlite/sqlite_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* https://www.sqlite.org/fileformat2.html, "The Database Header" */
#define HEADER_BYTES      100
#define HEADER_PAGE_AT    16
#define HEADER_VERSION_AT 60
#define HEADER_APP_ID_AT  68

/* Of a new journal. A page goes into the log by two writes and a checksum: with groups of many rows, pages of twice
 * SQLite's usual size cost a seventh less time, and half the calls into the system. */
#define PAGE_BYTES 8192

static const char header_magic[16] = "SQLite format 3";

/* What stands in the file before it is opened. */
struct journal_peek {
    int64_t size_bytes;
    bool is_sqlite;  /* begins as a database does, as far as it goes */
    bool has_header; /* ... and is long enough to say whose it is */
    bool has_log;    /* of a run that did not close it */
    uint32_t page_bytes, app_id, version;
};

static uint32_t big_endian_32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool file_has_bytes(const char *path)
{
    struct stat st;

    return path && stat(path, &st) == 0 && st.st_size > 0;
}

static enum weir_status peek(struct sqlite_store *js, struct journal_peek *ret,
                             struct weir_error *err)
{
    const char *name = sqlite3_db_filename(js->db, "main");
    struct stat st;
    unsigned char header[HEADER_BYTES] = {0};
    struct journal_peek p = {0};
    sqlite3_file *file = NULL;
    size_t len;
    int rc;

    /* A journal whose making was cut off: SQLite takes that back when it reads. */
    if (file_has_bytes(sqlite3_filename_journal(name)))
        sqlite3_exec(js->db, "SELECT 1 FROM sqlite_schema", NULL, NULL, NULL);
    sqlite3_file_control(js->db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (!file || !file->pMethods)
        return error_set(err, WEIR_E_INTERNAL, "journal %s: SQLite has no file for it", js->path);
    rc = file->pMethods->xRead(file, header, HEADER_BYTES, 0);
    if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ)
        return error_set(err, rc == SQLITE_NOMEM ? WEIR_E_NOMEM : WEIR_E_IO,
                         "journal %s cannot be read", js->path);
    /* Not xFileSize, which takes a file of one byte for an empty one. */
    if (stat(name, &st) != 0)
        return error_set_errno(err, WEIR_E_IO, errno, "journal %s cannot be read", js->path);
    p.size_bytes = st.st_size;
    len = p.size_bytes < HEADER_BYTES ? (size_t)p.size_bytes : HEADER_BYTES;
    p.is_sqlite =
        memcmp(header, header_magic, len < sizeof(header_magic) ? len : sizeof(header_magic)) == 0;
    p.has_header = p.is_sqlite && len == HEADER_BYTES;
    p.has_log = file_has_bytes(sqlite3_filename_wal(name));
    p.page_bytes = (uint32_t)header[HEADER_PAGE_AT] << 8 | header[HEADER_PAGE_AT + 1];
    p.version = big_endian_32(header + HEADER_VERSION_AT);
    p.app_id = big_endian_32(header + HEADER_APP_ID_AT);
    *ret = p;
    return WEIR_OK;
}

/* Whether the file may be taken for a journal at all, whatever its version and state. */
static enum weir_status check_is_journal(struct sqlite_store *js, const struct journal_peek *p,
                                         struct weir_error *err)
{
    if (!p->is_sqlite)
        return error_set(err, WEIR_E_FORMAT,
                         "%s is not a journal of weir (nor any SQLite database); name another file "
                         "with --journal, or remove it",
                         js->path);
    if (p->has_header && p->app_id != SQLITE_STORE_APPLICATION_ID)
        return error_set(err, WEIR_E_CONFLICT,
                         "%s is a database of another program (application id 0x%08" PRIx32
                         "); name another file with --journal",
                         js->path, p->app_id);
    return WEIR_OK;
}

static enum weir_status check_version(struct sqlite_store *js, const struct journal_peek *p,
                                      struct weir_error *err)
{
    /* With a log, the end of the file may be one that was being written back from it. */
    if (!p->has_header || (!p->has_log && p->page_bytes && p->size_bytes % p->page_bytes))
        return journal_damaged(js, "it is cut short", err);
    if (p->version == SQLITE_STORE_VERSION)
        return WEIR_OK;
    return error_set(err, WEIR_E_CONFLICT,
                     "journal %s is of version %" PRIu32 ", %s weir's; this one reads version %d: "
                     "go on with that weir, or start over with --fresh",
                     js->path, p->version,
                     p->version > SQLITE_STORE_VERSION ? "a newer" : "an older",
                     SQLITE_STORE_VERSION);
}

/* sqlite3_exec with our errors. */
static enum weir_status execute(struct sqlite_store *js, const char *sql, const char *doing,
                                struct weir_error *err)
{
    if (sqlite3_exec(js->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return journal_fail(js, doing, err);
    return WEIR_OK;
}

/* Settings of a connection, whose lock, once taken, is kept. */
static enum weir_status configure(struct sqlite_store *js, struct weir_error *err)
{
    static const char settings[] =
        "PRAGMA trusted_schema = OFF;"
        "PRAGMA cell_size_check = ON;"
        "PRAGMA mmap_size = 0;"
        "PRAGMA synchronous = FULL;"
        /* 4 MiB of pages, 16 of log before it is copied back: outputs come and go within that,
         * and most never reach the file itself. */
        "PRAGMA cache_size = -4096;"
        "PRAGMA wal_autocheckpoint = 2048;";

    sqlite3_db_config(js->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    return execute(js, settings, "opening it", err);
}

/* All of a new journal, in one transaction of the kind that leaves an empty file when it is cut
 * off; the switch to the write-ahead log comes after. */
static enum weir_status create_tables(struct sqlite_store *js, struct weir_error *err)
{
    static const char doing[] = "making it";
    enum weir_status status;
    _cleanup_buf_ struct buf sql = {0};

    buf_printf(&sql, "PRAGMA page_size = %d;", PAGE_BYTES);
    buf_printf(&sql, "BEGIN EXCLUSIVE; PRAGMA application_id = %d; PRAGMA user_version = %d;",
               SQLITE_STORE_APPLICATION_ID, SQLITE_STORE_VERSION);
    for (size_t i = 0; i < journal_table_count; i++)
        buf_printf(&sql, "%s;", journal_tables[i]);
    buf_puts(&sql, "INSERT INTO mark VALUES (0, 0, 0, 0); COMMIT");
    if (sql.failed)
        return error_nomem(err);
    status = execute(js, sql.data, doing, err);
    if (status != WEIR_OK && !sqlite3_get_autocommit(js->db))
        sqlite3_exec(js->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

/* Runs a query that gives one row with one text, and compares it. `otherwise` is what to say when
 * it differs; NULL: the text says it. */
static enum weir_status check_query(struct sqlite_store *js, const char *sql, const char *want,
                                    const char *otherwise, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    sqlite3_stmt *stmt = NULL;
    const char *text;

    if (sqlite3_prepare_v2(js->db, sql, -1, &stmt, NULL) != SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_ROW) {
        status = journal_fail(js, "checking it", err);
        goto out;
    }
    text = (const char *)sqlite3_column_text(stmt, 0);
    if (!text && sqlite3_errcode(js->db) == SQLITE_NOMEM)
        status = error_nomem(err);
    else if (!text || strcmp(text, want) != 0)
        status = journal_damaged(js, otherwise ? otherwise : text ? text : "?", err);
out:
    sqlite3_finalize(stmt);
    return status;
}

/* No table, index, trigger or view but ours, and ours as we make them: so nothing in the file can
 * make our statements do what they do not say. */
static enum weir_status check_tables(struct sqlite_store *js, struct weir_error *err)
{
    _cleanup_buf_ struct buf want = {0};

    for (size_t i = 0; i < journal_table_count; i++)
        buf_printf(&want, "%s;", journal_tables[i]);
    if (want.failed)
        return error_nomem(err);
    return check_query(js,
                       "SELECT group_concat(sql, ';') || ';' FROM"
                       " (SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid)",
                       want.data, "its tables are not as weir makes them", err);
}

/* Reads all of it: the pages, and what must hold between the tables (docs/journal.md). */
static enum weir_status check_content(struct sqlite_store *js, struct weir_error *err)
{
    static const char invariants[] =
        "SELECT (SELECT count(*) FROM mark) = 1"
        " AND (SELECT count(*) FROM row WHERE idx >= 0 AND idx < (SELECT next FROM mark))"
        "   = (SELECT next FROM mark)"
        " AND NOT EXISTS (SELECT 1 FROM row WHERE idx < 0)"
        " AND NOT EXISTS (SELECT 1 FROM pending WHERE idx < (SELECT next FROM mark)"
        "   OR idx NOT IN (SELECT idx FROM row))"
        " AND NOT EXISTS (SELECT 1 FROM place WHERE idx NOT IN (SELECT idx FROM row))";
    enum weir_status status;

    status = check_query(js, "PRAGMA quick_check(1)", "ok", NULL, err);
    if (status == WEIR_OK)
        status = check_query(js, invariants, "1", "its tables contradict each other", err);
    return status;
}

static enum weir_status prepare_all(struct sqlite_store *js, struct weir_error *err)
{
    for (int i = 0; i < ST_READY; i++)
        if (sqlite3_prepare_v3(js->db, journal_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &js->statements[i], NULL) != SQLITE_OK)
            return journal_fail(js, "opening it", err);
    return WEIR_OK;
}

/* Refuses what is no file before SQLite opens (and so makes, or hangs on) it. */
static enum weir_status check_path(struct sqlite_store *js, enum sqlite_store_mode mode,
                                   struct weir_error *err)
{
    struct stat st;

    if (!js->path[0])
        return error_set(err, WEIR_E_INVALID, "the journal's name is empty");
    if (stat(js->path, &st) == 0) {
        if (!S_ISREG(st.st_mode))
            return error_set(err, WEIR_E_INVALID,
                             "%s is not a regular file; name another one with --journal", js->path);
        return WEIR_OK;
    }
    if (errno != ENOENT)
        return error_set_errno(err, WEIR_E_IO, errno, "cannot open journal %s", js->path);
    if (mode == SQLITE_STORE_MUST_EXIST)
        return error_set(err, WEIR_E_END, "there is no journal %s", js->path);
    return WEIR_OK;
}

static enum weir_status connect_file(struct sqlite_store *js, enum sqlite_store_mode mode,
                                     struct weir_error *err)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    _cleanup_buf_ struct buf name = {0};

    if (mode != SQLITE_STORE_MUST_EXIST)
        flags |= SQLITE_OPEN_CREATE;
    /* So that no name means something to SQLite, as ":memory:" and "file:..." do. */
    buf_printf(&name, "%s%s", js->path[0] == '/' ? "" : "./", js->path);
    if (name.failed)
        return error_nomem(err);
    if (sqlite3_open_v2(name.data, &js->db, flags, NULL) != SQLITE_OK) {
        /* SQLite tells only of its second try, to open what is not there for reading. */
        *strrchr(name.data, '/') = '\0';
        if (access(name.data[0] ? name.data : "/", W_OK) != 0 && errno != ENOENT)
            return journal_unwritable(js, err);
        return journal_fail(js, "opening it", err);
    }
    if (sqlite3_db_readonly(js->db, "main") == 1)
        return error_set(err, WEIR_E_IO,
                         "journal %s cannot be written: make it and its folder writable, or name "
                         "another one with --journal",
                         js->path);
    return execute(js, "PRAGMA locking_mode = EXCLUSIVE", "opening it", err);
}

/* Removes a journal with what belongs to it, under its lock, and closes it. The file itself goes
 * first: SQLite never reads a log that has no file. */
static enum weir_status remove_file(struct sqlite_store *js, struct weir_error *err)
{
    const char *name = sqlite3_db_filename(js->db, "main");
    const char *names[] = {name, sqlite3_filename_wal(name), sqlite3_filename_journal(name)};
    int rc = sqlite3_exec(js->db, "BEGIN EXCLUSIVE", NULL, NULL, NULL) & 0xff;

    /* Damage is no hindrance here. */
    if (rc == SQLITE_BUSY || rc == SQLITE_LOCKED || rc == SQLITE_NOMEM)
        return journal_fail(js, "opening it", err);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (unlink(names[i]) != 0 && errno != ENOENT)
            return error_set_errno(err, WEIR_E_IO, errno, "cannot remove %s", names[i]);
    sqlite3_close(js->db);
    js->db = NULL;
    return WEIR_OK;
}

/* Opens the file and finds out what it is; *ret_is_new: it is an empty one. */
static enum weir_status connect_journal(struct sqlite_store *js, enum sqlite_store_mode mode,
                                        struct journal_peek *ret_peek, struct weir_error *err)
{
    enum weir_status status = check_path(js, mode, err);

    if (status == WEIR_OK)
        status = connect_file(js, mode, err);
    if (status == WEIR_OK)
        status = peek(js, ret_peek, err);
    if (status != WEIR_OK)
        return status;
    if (ret_peek->size_bytes == 0) {
        /* Made a moment ago or never finished; but what had a log has been something once. */
        if (mode == SQLITE_STORE_MUST_EXIST || (mode == SQLITE_STORE_CREATE && ret_peek->has_log))
            return journal_damaged(js, "it is empty", err);
        return WEIR_OK;
    }
    status = check_is_journal(js, ret_peek, err);
    if (status != WEIR_OK || mode == SQLITE_STORE_FRESH)
        return status;
    return check_version(js, ret_peek, err);
}

static enum weir_status open_journal(struct sqlite_store *js, enum sqlite_store_mode mode,
                                     struct weir_error *err)
{
    enum weir_status status;
    struct journal_peek p;
    struct store_mark mark;

    status = connect_journal(js, mode, &p, err);
    if (status == WEIR_OK && mode == SQLITE_STORE_FRESH && (p.size_bytes || p.has_log)) {
        status = remove_file(js, err);
        if (status == WEIR_OK)
            status = connect_journal(js, SQLITE_STORE_CREATE, &p, err);
    }
    if (status == WEIR_OK)
        status = configure(js, err);
    if (status == WEIR_OK && p.size_bytes == 0)
        status = create_tables(js, err);
    /* On a journal that was there, this takes the lock and plays back the log. */
    if (status == WEIR_OK)
        status = check_query(js, "PRAGMA journal_mode = WAL", "wal",
                             "it cannot have a write-ahead log", err);
    if (status == WEIR_OK)
        status = check_tables(js, err);
    if (status == WEIR_OK && (p.has_log || p.size_bytes <= SQLITE_STORE_CHECK_BYTES))
        status = check_content(js, err);
    if (status == WEIR_OK)
        status = prepare_all(js, err);
    if (status == WEIR_OK)
        status = journal_mark_read(js, &mark, err);
    /* A write, so that what cannot be written is found now and not with the first result. */
    if (status == WEIR_OK)
        status = execute(js, "BEGIN IMMEDIATE; UPDATE mark SET next = next; COMMIT",
                         "opening it for writing", err);
    if (status == WEIR_OK)
        js->next = mark.next;
    return status;
}

void journal_free(struct sqlite_store *js)
{
    for (int i = 0; i < ST_COUNT; i++)
        sqlite3_finalize(js->statements[i]);
    /* The last to close copies the log back and removes it; when it cannot, the log stays, and is
     * played back by the next to open. */
    sqlite3_close(js->db);
    pthread_mutex_destroy(&js->lock);
    mem_free(js->path);
    mem_free(js);
}

enum weir_status sqlite_store_open(const char *path, enum sqlite_store_mode mode,
                                   struct core_store **ret, struct weir_error *err)
{
    struct sqlite_store *js = mem_calloc(1, sizeof(*js));
    enum weir_status status;
    int rc;

    if (!js)
        return error_nomem(err);
    rc = pthread_mutex_init(&js->lock, NULL);
    if (rc != 0) {
        mem_free(js);
        return error_set_errno(err, WEIR_E_NOMEM, rc, "cannot make a lock");
    }
    js->base.ops = &sqlite_store_ops;
    js->path = mem_strdup(path);
    status = js->path ? open_journal(js, mode, err) : error_nomem(err);
    if (status != WEIR_OK) {
        journal_free(js);
        return status;
    }
    *ret = &js->base;
    return WEIR_OK;
}
