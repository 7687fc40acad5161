/*
 * Rows of tasks on their way into the file.
 *
 * What a transaction puts in, or changes by an END, is gathered here and written by one statement
 * for all: to begin a statement, and to open its cursors on a table with seven indexes, costs as
 * much as to write a row. The statements take the rows of two virtual tables, `coming` and
 * `changed`, which are nothing but a way from these arrays into SQLite. Whatever else reads or
 * writes tasks has them written first (rows_flush()).
 *
 * Here the rows are remembered, too, that the engine was given and has not ended: START and END
 * find them without a look into the file. When a transaction is taken back, all of it is forgotten.
 */
#include "base/error.h"
#include "base/mem.h"
#include "store/registry/sqlite_inside.h"

#include <assert.h>

/* Rows that are remembered, beside those on their way. */
#define ROWS_KNOWN_MAX (2 * REGISTRY_HANDED_ALL_MAX)
/* Rows on their way. */
#define ROWS_MAX 2048

struct known_row {
    struct task_row row;
    bool pending; /* is on its way */
};

/* ---- the virtual tables ---- */

struct rows_table {
    sqlite3_vtab base; /* first: SQLite casts */
    const struct rows_way *way;
};

struct rows_cursor {
    sqlite3_vtab_cursor base; /* first: SQLite casts */
    size_t at;
};

static int table_connect(sqlite3 *db, void *aux, int argc, const char *const *argv,
                         sqlite3_vtab **ret, char **ret_err)
{
    struct rows_table *t = sqlite3_malloc64(sizeof(*t));
    int rc = sqlite3_declare_vtab(
        db, "CREATE TABLE x(id, line, state, rank, due, batch, place, blocked, flags, event,"
            " submitted, opts, run, key, idempotency, message, payload)");

    (void)argc, (void)argv, (void)ret_err;
    if (!t || rc != SQLITE_OK) {
        sqlite3_free(t);
        return t ? rc : SQLITE_NOMEM;
    }
    *t = (struct rows_table){.way = aux};
    *ret = &t->base;
    return SQLITE_OK;
}

static int table_disconnect(sqlite3_vtab *t)
{
    sqlite3_free(t);
    return SQLITE_OK;
}

static int table_best_index(sqlite3_vtab *t, sqlite3_index_info *info)
{
    (void)t;
    info->estimatedCost = ROWS_MAX;
    info->estimatedRows = ROWS_MAX;
    return SQLITE_OK;
}

static int cursor_open(sqlite3_vtab *t, sqlite3_vtab_cursor **ret)
{
    struct rows_cursor *c = sqlite3_malloc64(sizeof(*c));

    (void)t;
    if (!c)
        return SQLITE_NOMEM;
    *c = (struct rows_cursor){0};
    *ret = &c->base;
    return SQLITE_OK;
}

static int cursor_close(sqlite3_vtab_cursor *c)
{
    sqlite3_free(c);
    return SQLITE_OK;
}

static struct rows_cursor *cursor_self(sqlite3_vtab_cursor *c)
{
    return (struct rows_cursor *)(void *)c;
}

static const struct rows_way *cursor_way(sqlite3_vtab_cursor *c)
{
    return ((struct rows_table *)(void *)c->pVtab)->way;
}

static int cursor_filter(sqlite3_vtab_cursor *c, int number, const char *text, int argc,
                         sqlite3_value **argv)
{
    (void)number, (void)text, (void)argc, (void)argv;
    cursor_self(c)->at = 0;
    return SQLITE_OK;
}

static int cursor_next(sqlite3_vtab_cursor *c)
{
    cursor_self(c)->at++;
    return SQLITE_OK;
}

static int cursor_eof(sqlite3_vtab_cursor *c)
{
    return cursor_self(c)->at >= cursor_way(c)->count;
}

static int cursor_rowid(sqlite3_vtab_cursor *c, sqlite3_int64 *ret)
{
    *ret = (sqlite3_int64)cursor_way(c)->rows[cursor_self(c)->at].row.id;
    return SQLITE_OK;
}

static void result_blob(sqlite3_context *ctx, struct slice s)
{
    if (s.len)
        sqlite3_result_blob64(ctx, s.data, s.len, SQLITE_STATIC);
}

static void result_text(sqlite3_context *ctx, struct slice s)
{
    if (s.len)
        sqlite3_result_text64(ctx, s.data, s.len, SQLITE_STATIC, SQLITE_UTF8);
}

static void result_run(sqlite3_context *ctx, const struct rows_way *way, const struct task_row *row)
{
    size_t len = run_pack(&row->run, row->submitted_ns, way->run);

    sqlite3_result_blob64(ctx, way->run, len, SQLITE_STATIC);
}

static void result_opts(sqlite3_context *ctx, const struct rows_way *way,
                        const struct task_row *row)
{
    size_t len = opts_pack(&row->opts, row->submitted_ns, way->opts);

    result_blob(ctx, (struct slice){(const char *)way->opts, len});
}

/* Columns of a row that are numbers, in their order from the first. */
static int64_t row_number(const struct task_row *row, int column)
{
    switch (column) {
    case 0:
        return (int64_t)row->id;
    case 1:
        return row->line;
    case 2:
        return (int64_t)row->state;
    case 3:
        return row->rank;
    case 4:
        return row_due(row, row->state);
    case 5:
        return (int64_t)row->batch;
    case 6:
        return (int64_t)row->place;
    case 7:
        return row->blocked;
    case 8:
        return row->flags;
    case 9:
        return (int64_t)row->event;
    default:
        return row->submitted_ns;
    }
}

#define NUMBERS 11

static int cursor_column(sqlite3_vtab_cursor *c, sqlite3_context *ctx, int column)
{
    const struct rows_way *way = cursor_way(c);
    const struct row_on_way *w = &way->rows[cursor_self(c)->at];

    if (column < NUMBERS) {
        sqlite3_result_int64(ctx, row_number(&w->row, column));
        return SQLITE_OK;
    }
    switch (column) {
    case NUMBERS:
        result_opts(ctx, way, &w->row);
        break;
    case NUMBERS + 1:
        result_run(ctx, way, &w->row);
        break;
    case NUMBERS + 2:
        result_text(ctx, w->key);
        break;
    case NUMBERS + 3:
        result_text(ctx, w->idempotency_key);
        break;
    case NUMBERS + 4:
        result_text(ctx, w->message);
        break;
    default:
        result_blob(ctx, w->payload);
        break;
    }
    return SQLITE_OK;
}

static const sqlite3_module rows_module = {
    .xConnect = table_connect,
    .xBestIndex = table_best_index,
    .xDisconnect = table_disconnect,
    .xOpen = cursor_open,
    .xClose = cursor_close,
    .xFilter = cursor_filter,
    .xNext = cursor_next,
    .xEof = cursor_eof,
    .xColumn = cursor_column,
    .xRowid = cursor_rowid,
};

enum weir_status rows_open(struct sqlite_registry *r, struct weir_error *err)
{
    r->coming.opts = r->changed_rows.opts = r->opts;
    r->coming.run = r->changed_rows.run = r->run;
    if (sqlite3_create_module(r->db, "coming", &rows_module, &r->coming) != SQLITE_OK ||
        sqlite3_create_module(r->db, "changed", &rows_module, &r->changed_rows) != SQLITE_OK)
        return registry_fail(r, "opening it", err);
    return WEIR_OK;
}

/* ---- rows that are remembered ---- */

static struct known_row *known_get(const struct sqlite_registry *r, uint64_t id)
{
    return idmap_get(&r->known, id);
}

static struct known_row *known_make(struct sqlite_registry *r, const struct task_row *row)
{
    struct known_row *k = known_get(r, row->id);

    if (!k) {
        k = mem_calloc(1, sizeof(*k));
        if (!k || !idmap_put(&r->known, row->id, k))
            return mem_free(k);
    }
    k->row = *row;
    return k;
}

void rows_remember(struct sqlite_registry *r, const struct task_row *row)
{
    if (r->known.len < ROWS_KNOWN_MAX)
        known_make(r, row);
}

void rows_forget(struct sqlite_registry *r, uint64_t id)
{
    assert(!known_get(r, id) || !known_get(r, id)->pending);
    mem_free(idmap_remove(&r->known, id));
}

const struct task_row *rows_find(const struct sqlite_registry *r, uint64_t id)
{
    const struct known_row *k = known_get(r, id);

    return k ? &k->row : NULL;
}

bool rows_is_coming(const struct sqlite_registry *r, uint64_t id)
{
    return r->coming.count && id >= r->coming.rows[0].row.id;
}

void rows_forget_all(struct sqlite_registry *r)
{
    size_t i = 0;
    void *k;

    while ((k = idmap_next(&r->known, &i)))
        mem_free(k);
    idmap_free(&r->known);
    idmap_init(&r->known);
    r->coming.count = r->changed_rows.count = 0;
}

void rows_close(struct sqlite_registry *r)
{
    rows_forget_all(r);
    mem_free(r->coming.rows);
    mem_free(r->changed_rows.rows);
}

/* ---- on their way ---- */

static bool way_add(struct rows_way *way, const struct row_on_way *w)
{
    if (way->count == way->cap) {
        size_t cap = way->cap ? way->cap * 2 : 64;
        struct row_on_way *p = mem_realloc(way->rows, cap * sizeof(*p));

        if (!p)
            return false;
        way->rows = p;
        way->cap = cap;
    }
    way->rows[way->count++] = *w;
    return true;
}

static enum weir_status flush_coming(struct sqlite_registry *r, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    if (r->coming.count)
        status = registry_do(r, RS_TASKS_PUT, 0, NULL, "writing tasks", err);
    r->coming.count = 0;
    return status;
}

static enum weir_status flush_changed(struct sqlite_registry *r, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    if (r->changed_rows.count)
        status = registry_do(r, RS_TASKS_MOVE, 0, NULL, "changing tasks", err);
    for (size_t i = 0; i < r->changed_rows.count; i++) {
        struct known_row *k = known_get(r, r->changed_rows.rows[i].row.id);

        if (!k)
            continue;
        k->pending = false;
        if (k->row.state != REGISTRY_READY && k->row.state != REGISTRY_RUNNING)
            rows_forget(r, k->row.id);
    }
    r->changed_rows.count = 0;
    return status;
}

enum weir_status rows_flush(struct sqlite_registry *r, struct weir_error *err)
{
    enum weir_status status = flush_coming(r, err);

    return status == WEIR_OK ? flush_changed(r, err) : status;
}

enum weir_status rows_put(struct sqlite_registry *r, const struct row_on_way *w,
                          struct weir_error *err)
{
    if (!way_add(&r->coming, w))
        return error_nomem(err);
    return r->coming.count >= ROWS_MAX ? flush_coming(r, err) : WEIR_OK;
}

enum weir_status rows_move(struct sqlite_registry *r, const struct row_on_way *w,
                           struct weir_error *err)
{
    struct known_row *k = known_get(r, w->row.id);
    enum weir_status status = WEIR_OK;

    if (rows_is_coming(r, w->row.id) || (k && k->pending) || r->changed_rows.count >= ROWS_MAX)
        status = rows_flush(r, err);
    if (status != WEIR_OK)
        return status;
    k = known_make(r, &w->row);
    if (!k || !way_add(&r->changed_rows, w))
        return error_nomem(err);
    k->pending = true;
    return WEIR_OK;
}
