/*
 * Opening a registry, and refusing what is none.
 *
 * First it is locked (sqlite_lock), for as long as it is open. In between the header of the file
 * itself is looked at, before SQLite changes anything: what is no registry is left as it is. Then
 * the tables are compared with what they should be, the log of a run that was killed is played
 * back, and what is kept in memory is read: names, lines, numbers.
 */
#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"
#include "store/registry/sqlite_inside.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* https://www.sqlite.org/fileformat2.html, "The Database Header" */
#define HEADER_BYTES      100
#define HEADER_VERSION_AT 60
#define HEADER_APP_ID_AT  68

/* Less than what the clerk takes for a disk that hangs (CLERK_SLOW_NS): a lock is told as one. */
#define BUSY_MS_DEFAULT    4000
#define CACHE_KIB_DEFAULT  65536
#define PAGE_BYTES_DEFAULT 4096
#define LOG_PAGES_DEFAULT  2000
/* The log shrinks to that after a large transaction. */
#define LOG_BYTES_KEPT (64 << 20)

/* Ready tasks of a line that are counted at the start. */
#define LINE_COUNTED_MAX 1000

static const char header_magic[16] = "SQLite format 3";

static uint32_t big_endian_32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* ---- the file ---- */

static enum weir_status check_path(struct sqlite_registry *r, struct weir_error *err)
{
    struct stat st;

    if (!r->path[0])
        return error_set(err, WEIR_E_INVALID, "the registry's name is empty");
    if (stat(r->path, &st) == 0 && !S_ISREG(st.st_mode))
        return error_set(err, WEIR_E_INVALID,
                         "%s is not a regular file; name another registry in the configuration",
                         r->path);
    return WEIR_OK;
}

static enum weir_status execute(struct sqlite_registry *r, const char *sql, const char *doing,
                                struct weir_error *err)
{
    if (sqlite3_exec(r->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return registry_fail(r, doing, err);
    return WEIR_OK;
}

static enum weir_status connect_file(struct sqlite_registry *r, struct weir_error *err)
{
    int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;

    if (sqlite3_open_v2(r->name, &r->db, flags, NULL) != SQLITE_OK)
        return registry_fail(r, "opening it", err);
    if (sqlite3_db_readonly(r->db, "main") == 1)
        return error_set(err, WEIR_E_IO,
                         "registry %s cannot be written: make it and its folder writable, or name "
                         "another one in the configuration",
                         r->path);
    sqlite3_busy_timeout(r->db, (int)r->busy_ms);
    return WEIR_OK;
}

/* What stands in the file, read through SQLite's own descriptor: to close one of ours would let go of its locks. */
static enum weir_status peek(struct sqlite_registry *r, bool *ret_is_new, struct weir_error *err)
{
    unsigned char header[HEADER_BYTES] = {0};
    sqlite3_file *file = NULL;
    struct stat st;
    uint32_t version, app_id;
    int rc;

    sqlite3_file_control(r->db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (!file || !file->pMethods)
        return error_set(err, WEIR_E_INTERNAL, "registry %s: SQLite has no file for it", r->path);
    if (stat(r->name, &st) != 0)
        return error_set_errno(err, WEIR_E_IO, errno, "registry %s cannot be read", r->path);
    *ret_is_new = st.st_size == 0;
    if (*ret_is_new)
        return WEIR_OK;
    rc = file->pMethods->xRead(file, header, HEADER_BYTES, 0);
    if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ)
        return error_set(err, WEIR_E_IO, "registry %s cannot be read", r->path);
    if (memcmp(header, header_magic, sizeof(header_magic)) != 0)
        return error_set(err, WEIR_E_FORMAT,
                         "%s is not a registry of weir (nor any SQLite database); name another "
                         "file in the configuration, or remove it",
                         r->path);
    app_id = big_endian_32(header + HEADER_APP_ID_AT);
    version = big_endian_32(header + HEADER_VERSION_AT);
    if (app_id != SQLITE_REGISTRY_APPLICATION_ID)
        return error_set(err, WEIR_E_CONFLICT,
                         "%s is a database of another program (application id 0x%08" PRIx32
                         "); name another file in the configuration",
                         r->path, app_id);
    if (version != SQLITE_REGISTRY_VERSION)
        return error_set(err, WEIR_E_CONFLICT,
                         "registry %s is of version %" PRIu32 ", %s weir's; this one reads "
                         "version %d: go on with that weir, or name another registry",
                         r->path, version,
                         version > SQLITE_REGISTRY_VERSION ? "a newer" : "an older",
                         SQLITE_REGISTRY_VERSION);
    return WEIR_OK;
}

static enum weir_status configure(struct sqlite_registry *r,
                                  const struct sqlite_registry_options *o, struct weir_error *err)
{
    static const char *const syncs[] = {"FULL", "NORMAL", "OFF"};
    _cleanup_buf_ struct buf sql = {0};

    sqlite3_db_config(r->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    buf_printf(&sql,
               "PRAGMA trusted_schema = OFF; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;"
               "PRAGMA synchronous = %s; PRAGMA cache_size = -%" PRIu32
               "; PRAGMA wal_autocheckpoint = %" PRIu32 "; PRAGMA journal_size_limit = %d;",
               syncs[o->sync], o->cache_kib ? o->cache_kib : CACHE_KIB_DEFAULT,
               o->log_pages ? o->log_pages : LOG_PAGES_DEFAULT, LOG_BYTES_KEPT);
    if (o->file_pages_max)
        buf_printf(&sql, "PRAGMA max_page_count = %" PRIu32 ";", o->file_pages_max);
    if (sql.failed)
        return error_nomem(err);
    return execute(r, sql.data, "opening it", err);
}

/* All of a new registry, in one transaction of the kind that leaves an empty file when it is cut off; the switch to the
 * write-ahead log comes after. */
static enum weir_status create_tables(struct sqlite_registry *r, uint32_t page_bytes,
                                      struct weir_error *err)
{
    enum weir_status status;
    _cleanup_buf_ struct buf sql = {0};

    buf_printf(&sql, "PRAGMA page_size = %" PRIu32 ";",
               page_bytes ? page_bytes : PAGE_BYTES_DEFAULT);
    buf_printf(&sql, "BEGIN EXCLUSIVE; PRAGMA application_id = %d; PRAGMA user_version = %d;",
               SQLITE_REGISTRY_APPLICATION_ID, SQLITE_REGISTRY_VERSION);
    for (size_t i = 0; i < registry_table_count; i++)
        buf_printf(&sql, "%s;", registry_tables[i]);
    buf_puts(&sql, "INSERT INTO mark VALUES (0, 0, 0, 0, 1, 0); COMMIT");
    if (sql.failed)
        return error_nomem(err);
    status = execute(r, sql.data, "making it", err);
    if (status != WEIR_OK && !sqlite3_get_autocommit(r->db))
        sqlite3_exec(r->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

/* Runs a query that gives one row with one text, and compares it. */
static enum weir_status check_query(struct sqlite_registry *r, const char *sql, const char *want,
                                    const char *otherwise, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    sqlite3_stmt *stmt = NULL;
    const char *text;

    if (sqlite3_prepare_v2(r->db, sql, -1, &stmt, NULL) != SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_ROW) {
        status = registry_fail(r, "checking it", err);
    } else {
        text = (const char *)sqlite3_column_text(stmt, 0);
        if (!text && sqlite3_errcode(r->db) == SQLITE_NOMEM)
            status = error_nomem(err);
        else if (!text || strcmp(text, want) != 0)
            status = registry_damaged(r->path, otherwise, err);
    }
    sqlite3_finalize(stmt);
    return status;
}

/* No table, index, trigger or view but ours, and ours as we make them. */
static enum weir_status check_tables(struct sqlite_registry *r, struct weir_error *err)
{
    _cleanup_buf_ struct buf want = {0};

    for (size_t i = 0; i < registry_table_count; i++)
        buf_printf(&want, "%s;", registry_tables[i]);
    if (want.failed)
        return error_nomem(err);
    return check_query(r,
                       "SELECT group_concat(sql, ';') || ';' FROM"
                       " (SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid)",
                       want.data, "its tables are not as weir makes them", err);
}

/* ---- what is kept in memory ---- */

static enum weir_status read_mark(struct sqlite_registry *r, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(r->db, "SELECT task, batch, event, event_first, rank FROM mark", -1,
                                &stmt, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        r->mark = (struct registry_mark){.task = (uint64_t)sqlite3_column_int64(stmt, 0),
                                         .batch = (uint64_t)sqlite3_column_int64(stmt, 1),
                                         .event = (uint64_t)sqlite3_column_int64(stmt, 2),
                                         .event_first = (uint64_t)sqlite3_column_int64(stmt, 3),
                                         .rank = sqlite3_column_int64(stmt, 4)};
    else
        status = rc == SQLITE_DONE ? registry_damaged(r->path, "its numbers are missing", err)
                                   : registry_fail(r, "opening it", err);
    sqlite3_finalize(stmt);
    r->durable = r->mark;
    atomic_store(&r->last_event, r->mark.event);
    return status;
}

typedef enum weir_status (*line_fn)(void *ctx, struct line_entry *l);

/* Each line with ready tasks: a look-up for each, however many tasks there are. */
static enum weir_status each_ready_line(struct sqlite_registry *r, line_fn fn, void *ctx,
                                        struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_LINE_READY);
    enum weir_status status = WEIR_OK;
    int64_t at = 0;
    int rc;

    if (!stmt)
        return registry_fail(r, "reading its lines", err);
    for (;;) {
        struct line_entry *l;

        sqlite3_bind_int64(stmt, 1, at);
        rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW)
            at = sqlite3_column_int64(stmt, 0);
        sqlite3_reset(stmt);
        if (rc == SQLITE_DONE)
            return WEIR_OK;
        if (rc != SQLITE_ROW)
            return registry_fail(r, "reading its lines", err);
        l = at > 0 && at <= UINT32_MAX ? row_line(r, (uint32_t)at) : NULL;
        if (!l)
            return registry_damaged(r->path, "a line is missing", err);
        status = fn(ctx, l);
        if (status == WEIR_E_END)
            return WEIR_OK;
        if (status != WEIR_OK)
            return registry_fail(r, "reading its lines", err);
    }
}

/* How many are ready in a line, if it is not many: nobody counts ten million of them. */
static enum weir_status count_behind(void *ctx, struct line_entry *l)
{
    struct sqlite_registry *r = ctx;
    sqlite3_stmt *stmt = registry_statement(r, RS_READY_SOME);
    int rc;

    if (!stmt)
        return WEIR_E_IO;
    sqlite3_bind_int64(stmt, 1, l->in.id);
    sqlite3_bind_int64(stmt, 2, LINE_COUNTED_MAX);
    rc = sqlite3_step(stmt);
    l->behind = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(stmt, 0) : 0;
    if (l->behind == LINE_COUNTED_MAX)
        l->behind = LINE_BEHIND_UNKNOWN;
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW ? WEIR_OK : WEIR_E_IO;
}

struct lines_call {
    registry_line_fn fn;
    void *ctx;
};

static enum weir_status call_line(void *ctx, struct line_entry *l)
{
    struct lines_call *c = ctx;

    return c->fn(c->ctx, &l->line) ? WEIR_OK : WEIR_E_END;
}

static enum weir_status registry_lines(struct core_registry *base, registry_line_fn fn, void *ctx,
                                       struct weir_error *err)
{
    return each_ready_line(registry_self(base), call_line, &(struct lines_call){fn, ctx}, err);
}

static const struct registry_line *registry_find_line(struct core_registry *base, uint32_t id)
{
    const struct line_entry *l = row_line(registry_self(base), id);

    return l ? &l->line : NULL;
}

static uint64_t registry_last_event(struct core_registry *base)
{
    return atomic_load_explicit(&registry_self(base)->last_event, memory_order_acquire);
}

/* ---- the whole ---- */

static void registry_close(struct core_registry *base)
{
    struct sqlite_registry *r = registry_self(base);

    count_forget(r, true);
    for (int i = 0; i < RS_COUNT; i++)
        sqlite3_finalize(r->statements[i]);
    /* The last to close copies the log back and removes it; when it cannot, the log stays, and is played back by the
     * next to open. */
    sqlite3_close(r->db);
    registry_unlock(r);
    lineset_close(r);
    check_free(r->check);
    intern_free(&r->names);
    idmap_free(&r->batches);
    rows_close(r);
    buf_free(&r->pen.body);
    mem_free(r->touched);
    mem_free(r->changed);
    mem_free(r->undo);
    mem_free(r->path);
    mem_free(r->name);
    mem_free(r->log_name);
    mem_free(r);
}

static const struct core_registry_ops sqlite_registry_ops = {
    .name = "sqlite",
    .apply = registry_apply,
    .left_running = registry_left_running,
    .put_back = registry_put_back,
    .lines = registry_lines,
    .line = registry_find_line,
    .last_event = registry_last_event,
    .reader = registry_reader_open,
    .look = registry_look,
    .close = registry_close,
};

static enum weir_status open_registry(struct sqlite_registry *r,
                                      const struct sqlite_registry_options *o,
                                      struct weir_error *err)
{
    enum weir_status status = check_path(r, err);
    bool is_new = false;

    if (status == WEIR_OK)
        status = registry_find_file(r, err);
    if (status == WEIR_OK)
        status = registry_lock(r, err);
    if (status == WEIR_OK)
        status = connect_file(r, err);
    if (status == WEIR_OK)
        status = peek(r, &is_new, err);
    /* Not sooner: what is no registry may be open in this process, and to close it would let go of its locks. */
    if (status == WEIR_OK)
        status = registry_lock_file(r, err);
    if (status == WEIR_OK)
        status = configure(r, o, err);
    if (status == WEIR_OK && is_new)
        status = create_tables(r, o->page_bytes, err);
    /* On one that was there, this plays back the log. */
    if (status == WEIR_OK)
        status = check_query(r, "PRAGMA journal_mode = WAL", "wal",
                             "it cannot have a write-ahead log", err);
    if (status == WEIR_OK)
        status = check_tables(r, err);
    if (status == WEIR_OK)
        status = rows_open(r, err);
    /* To take back is not to need memory. */
    if (status == WEIR_OK && !registry_statement(r, RS_ROLLBACK))
        status = registry_fail(r, "opening it", err);
    if (status == WEIR_OK)
        status = read_mark(r, err);
    if (status == WEIR_OK)
        status = registry_load_names(r, err);
    if (status == WEIR_OK)
        status = lineset_load(r, err);
    if (status == WEIR_OK)
        status = each_ready_line(r, count_behind, r, err);
    /* A write, so that what cannot be written is found now and not with the first task. */
    if (status == WEIR_OK)
        status = execute(r, "BEGIN IMMEDIATE; UPDATE mark SET task = task; COMMIT",
                         "opening it for writing", err);
    if (status == WEIR_OK)
        status = registry_note_files(r, err);
    return status;
}

enum weir_status sqlite_registry_open(const char *path, const struct sqlite_registry_options *o,
                                      struct core_registry **ret, struct weir_error *err)
{
    struct sqlite_registry *r = mem_calloc(1, sizeof(*r));
    enum weir_status status;

    if (!r)
        return error_nomem(err);
    r->base.ops = &sqlite_registry_ops;
    r->lock_fd = r->file_fd = -1;
    r->busy_ms = o->busy_ms ? o->busy_ms : BUSY_MS_DEFAULT;
    idmap_init(&r->batches);
    idmap_init(&r->known);
    status = lineset_init(r, err);
    r->path = mem_strdup(path);
    if (status == WEIR_OK)
        status = r->path ? open_registry(r, o, err) : error_nomem(err);
    if (status != WEIR_OK) {
        registry_close(&r->base);
        return status;
    }
    *ret = &r->base;
    return WEIR_OK;
}
