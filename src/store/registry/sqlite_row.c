/*
 * A task's row: loaded, changed, written back. Whoever changes it changes its counts here too.
 */
#include "store/registry/sqlite_inside.h"

#include <assert.h>

bool row_read(sqlite3_stmt *stmt, struct task_row *ret)
{
    struct task_row row = {
        .id = (uint64_t)sqlite3_column_int64(stmt, 0),
        .line = (uint32_t)sqlite3_column_int64(stmt, 1),
        .state = (enum registry_state)sqlite3_column_int(stmt, 2),
        .rank = sqlite3_column_int64(stmt, 3),
        .batch = (uint64_t)sqlite3_column_int64(stmt, 4),
        .place = (uint64_t)sqlite3_column_int64(stmt, 5),
        .blocked = (uint32_t)sqlite3_column_int64(stmt, 6),
        .flags = (uint32_t)sqlite3_column_int64(stmt, 7),
        .event = (uint64_t)sqlite3_column_int64(stmt, 8),
        .submitted_ns = sqlite3_column_int64(stmt, 9),
    };
    struct slice opts = registry_column(stmt, 10), run = registry_column(stmt, 11);

    if ((unsigned)row.state >= REGISTRY_STATES ||
        !opts_unpack(opts.data, opts.len, row.submitted_ns, &row.opts) ||
        !run_unpack(run.data, run.len, row.submitted_ns, &row.run))
        return false;
    *ret = row;
    return true;
}

enum weir_status row_load(struct sqlite_registry *r, uint64_t id, struct task_row *ret,
                          bool *ret_found, struct weir_error *err)
{
    const struct task_row *known = rows_find(r, id);
    enum weir_status status = WEIR_OK;
    sqlite3_stmt *stmt;
    int rc;

    *ret_found = known != NULL;
    if (known)
        *ret = *known;
    if (known || id == 0 || id > INT64_MAX)
        return WEIR_OK;
    if (rows_is_coming(r, id))
        status = rows_flush(r, err);
    if (status != WEIR_OK)
        return status;
    stmt = registry_statement(r, RS_TASK_GET);
    if (!stmt)
        return registry_fail(r, "reading a task", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)id);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        *ret_found = row_read(stmt, ret) && row_line(r, ret->line);
        if (!*ret_found)
            status = registry_damaged(r->path, "a task cannot be read", err);
    } else if (rc != SQLITE_DONE) {
        status = registry_fail(r, "reading a task", err);
    }
    sqlite3_reset(stmt);
    return status;
}

struct line_entry *row_line(struct sqlite_registry *r, uint32_t id)
{
    return (struct line_entry *)(void *)intern_get(&r->lines, id);
}

int64_t row_next_rank(struct sqlite_registry *r, int64_t at_ns)
{
    r->mark.rank = at_ns > r->mark.rank ? at_ns : r->mark.rank + 1;
    return r->mark.rank;
}

int64_t row_due(const struct task_row *row, enum registry_state state)
{
    int64_t due = 0;

    if (state == REGISTRY_SCHEDULED)
        due = row->run.wake_ns ? row->run.wake_ns : row->opts.not_before_ns;
    if (state == REGISTRY_SCHEDULED && due <= 0)
        due = 1;
    if (state <= REGISTRY_READY && row->opts.deadline_ns > 0 &&
        (due == 0 || row->opts.deadline_ns < due))
        due = row->opts.deadline_ns;
    return due;
}

static enum weir_status count_change(struct sqlite_registry *r, struct task_row *row,
                                     uint32_t line_before, enum registry_state to,
                                     struct weir_error *err)
{
    struct line_entry *before = row_line(r, line_before), *after = row_line(r, row->line);
    enum registry_state from = row->state;
    enum weir_status status = WEIR_OK;

    assert(before && after);
    if (before != after) {
        count_move(r, before, (int)from, -1, 1);
        count_move(r, after, -1, (int)to, 1);
    } else if (from != to) {
        count_move(r, after, (int)from, (int)to, 1);
    }
    if (from == REGISTRY_READY && (to != REGISTRY_READY || before != after))
        status = line_count_ready(r, before, row->rank, false, err);
    if (status == WEIR_OK && to == REGISTRY_READY && (from != REGISTRY_READY || before != after))
        status = line_count_ready(r, after, row->rank, true, err);
    if (status != WEIR_OK)
        return status;
    if (from != to &&
        ((row->flags & TASK_NEEDED) || from == REGISTRY_BLOCKED || to == REGISTRY_BLOCKED))
        r->graph_same = false;
    /* Others may run after its failure. */
    if (from == REGISTRY_BLOCKED && to == REGISTRY_FAILED && (row->flags & TASK_NEEDED))
        r->graph_helped = true;
    row->state = to;
    return row->batch && from != to ? batch_move(r, row->batch, (int)from, (int)to, 1, err)
                                    : WEIR_OK;
}

static void bind_message(sqlite3_stmt *stmt, int at, const struct slice *message)
{
    if (message && message->len)
        sqlite3_bind_text(stmt, at, message->data, (int)message->len, SQLITE_STATIC);
    else
        sqlite3_bind_null(stmt, at);
}

enum weir_status row_move(struct sqlite_registry *r, struct task_row *row, enum registry_state to,
                          struct slice message, struct weir_error *err)
{
    struct row_on_way w = {.message = message};
    enum weir_status status;

    /* The usual way leaves the flags as they are. */
    if (row->flags & (TASK_CANCELLING | TASK_END_TOLD))
        return row_set(r, row, row->line, to, &message, err);
    status = count_change(r, row, row->line, to, err);
    w.row = *row;
    return status == WEIR_OK ? rows_move(r, &w, err) : status;
}

enum weir_status row_set(struct sqlite_registry *r, struct task_row *row, uint32_t line_before,
                         enum registry_state to, const struct slice *message,
                         struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_TASK_SET);
    enum weir_status status = rows_flush(r, err);
    size_t run_len, opts_len;

    if (status != WEIR_OK)
        return status;
    if (!stmt)
        return registry_fail(r, "changing a task", err);
    rows_forget(r, row->id);
    if (to != REGISTRY_BLOCKED)
        row->flags &= ~TASK_STUCK;
    if (to != REGISTRY_RUNNING)
        row->flags &= ~(TASK_CANCELLING | TASK_END_TOLD);
    run_len = run_pack(&row->run, row->submitted_ns, r->run);
    opts_len = opts_pack(&row->opts, row->submitted_ns, r->opts);
    sqlite3_bind_int(stmt, 1, (int)to);
    sqlite3_bind_int64(stmt, 2, row->rank);
    sqlite3_bind_int64(stmt, 3, row_due(row, to));
    sqlite3_bind_int64(stmt, 4, (sqlite3_int64)row->event);
    registry_bind_blob(stmt, 5, (struct slice){(const char *)r->run, run_len});
    bind_message(stmt, 6, message);
    sqlite3_bind_int64(stmt, 7, (sqlite3_int64)row->id);
    sqlite3_bind_int64(stmt, 8, row->line);
    sqlite3_bind_int64(stmt, 9, row->blocked);
    sqlite3_bind_int64(stmt, 10, row->flags);
    registry_bind_blob(stmt, 11, (struct slice){(const char *)r->opts, opts_len});
    sqlite3_bind_int(stmt, 12, message != NULL);
    status = registry_run(r, stmt, "changing a task", err);
    if (status == WEIR_OK)
        status = count_change(r, row, line_before, to, err);
    return status;
}

enum weir_status row_flag_needed(struct sqlite_registry *r, uint64_t id, struct weir_error *err)
{
    enum weir_status status = rows_flush(r, err);

    if (status != WEIR_OK)
        return status;
    rows_forget(r, id);
    return registry_do(r, RS_TASK_FLAG, 2, (int64_t[]){TASK_NEEDED, (int64_t)id},
                       "writing a dependency", err);
}
