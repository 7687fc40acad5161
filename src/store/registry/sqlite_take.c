/*
 * What the engine has of a line. It has every ready task of it up to a rank (`passed`), because
 * these were taken or handed over; whether there may be others behind, `behind` says. So what
 * becomes ready is handed over at once when it is next in its line, and the engine has room for it;
 * else only its line is told, and the engine takes from there when it wants.
 */
#include "base/error.h"
#include "base/mem.h"
#include "store/registry/sqlite_inside.h"

#include <assert.h>
#include <string.h>

void task_chain_free(struct registry_task *chain)
{
    while (chain) {
        struct registry_task *next = chain->next;

        mem_free(chain);
        chain = next;
    }
}

enum weir_status line_touch(struct sqlite_registry *r, struct line_entry *l, struct weir_error *err)
{
    if (l->touched == r->transaction)
        return WEIR_OK;
    if (r->undo_count == r->undo_cap) {
        size_t cap = r->undo_cap ? r->undo_cap * 2 : 64;
        struct line_before *p = mem_realloc(r->undo, cap * sizeof(*p));

        if (!p)
            return error_nomem(err);
        r->undo = p;
        r->undo_cap = cap;
    }
    r->undo[r->undo_count++] = (struct line_before){l, l->passed, l->held, l->behind};
    l->touched = r->transaction;
    return WEIR_OK;
}

static struct registry_task *task_new(const struct task_row *row, struct slice key,
                                      struct slice payload)
{
    struct registry_task *t = mem_alloc(sizeof(*t) + key.len + payload.len + 2);
    char *at;

    if (!t)
        return NULL;
    at = (char *)(t + 1);
    *t = (struct registry_task){
        .id = row->id,
        .line = row->line,
        .rank = row->rank,
        .batch = row->batch,
        .place = row->place,
        .attempts = row->run.attempts,
        .failures = row->run.failures,
        .deaths = row->run.deaths,
        .max_attempts = row->opts.max_attempts,
        .capacity_retries = row->run.capacity_retries,
        .first_start_ns = row->run.first_start_ns,
        .timeout_ns = row->opts.timeout_ns,
        .backoff_initial_ns = row->opts.backoff_initial_ns,
        .backoff_ceiling_ns = row->opts.backoff_ceiling_ns,
        .last_wait_ns = row->run.last_wait_ns,
        .backoff_factor = row->opts.backoff_factor,
        .deadline_ns = row->opts.deadline_ns,
        .key = at + payload.len + 1,
        .payload = at,
        .payload_len = payload.len,
    };
    if (payload.len)
        memcpy(at, payload.data, payload.len);
    at[payload.len] = 0;
    at += payload.len + 1;
    if (key.len)
        memcpy(at, key.data, key.len);
    at[key.len] = 0;
    return t;
}

/* The columns behind those of the row: key, payload; a large payload is fetched. */
static enum weir_status task_read(struct sqlite_registry *r, sqlite3_stmt *stmt,
                                  const struct task_row *row, struct registry_task **ret,
                                  struct weir_error *err)
{
    struct slice key = registry_column(stmt, ROW_COLUMN_COUNT);
    struct slice payload = registry_column(stmt, ROW_COLUMN_COUNT + 1);
    enum weir_status status = WEIR_OK;
    sqlite3_stmt *big = NULL;

    if (row->flags & TASK_BIG) {
        big = registry_statement(r, RS_PAYLOAD_GET);
        if (!big)
            return registry_fail(r, "reading a payload", err);
        sqlite3_bind_int64(big, 1, (sqlite3_int64)row->id);
        if (sqlite3_step(big) != SQLITE_ROW)
            status = sqlite3_errcode(r->db) == SQLITE_DONE
                         ? registry_damaged(r->path, "a payload is missing", err)
                         : registry_fail(r, "reading a payload", err);
        else
            payload = registry_column(big, 0);
    }
    if (status == WEIR_OK) {
        *ret = task_new(row, key, payload);
        if (!*ret)
            status = error_nomem(err);
    }
    if (big)
        sqlite3_reset(big);
    return status;
}

static enum weir_status tell_line(struct sqlite_registry *r, struct line_entry *l,
                                  struct weir_error *err)
{
    struct registry_op *op = r->op;

    if (l->told == r->op_number)
        return WEIR_OK;
    if (op->ret_line_count == r->line_cap) {
        size_t cap = r->line_cap ? r->line_cap * 2 : 4;
        uint32_t *p = mem_realloc(op->ret_lines, cap * sizeof(*p));

        if (!p)
            return error_nomem(err);
        op->ret_lines = p;
        r->line_cap = cap;
    }
    op->ret_lines[op->ret_line_count++] = l->in.id;
    l->told = r->op_number;
    return WEIR_OK;
}

static enum weir_status read_one(struct sqlite_registry *r, const struct task_row *row,
                                 struct registry_task **ret, struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_TASK_FIELDS);
    enum weir_status status = rows_flush(r, err);

    if (status != WEIR_OK)
        return status;
    if (!stmt)
        return registry_fail(r, "reading a task", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)row->id);
    if (sqlite3_step(stmt) == SQLITE_ROW)
        status = task_read(r, stmt, row, ret, err);
    else
        status = registry_fail(r, "reading a task", err);
    sqlite3_reset(stmt);
    return status;
}

/* Whether there are ready tasks between what the engine has of the line and this one, which is counted. */
static enum weir_status is_behind(struct sqlite_registry *r, const struct line_entry *l,
                                  const struct task_row *row, bool *ret, struct weir_error *err)
{
    enum weir_status status;
    sqlite3_stmt *stmt;
    int rc;

    *ret = l->behind > 1;
    /* The newest is behind all others. */
    if (!*ret || row->rank == r->mark.rank)
        return WEIR_OK;
    status = rows_flush(r, err);
    if (status != WEIR_OK)
        return status;
    stmt = registry_statement(r, RS_READY_BEFORE);
    if (!stmt)
        return registry_fail(r, "reading a line", err);
    sqlite3_bind_int64(stmt, 1, l->in.id);
    sqlite3_bind_int64(stmt, 2, l->passed);
    sqlite3_bind_int64(stmt, 3, row->rank);
    rc = sqlite3_step(stmt);
    *ret = rc == SQLITE_ROW;
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? WEIR_OK
                                                 : registry_fail(r, "reading a line", err);
}

enum weir_status hand_over(struct sqlite_registry *r, const struct task_row *row,
                           const struct registry_spec *spec, struct weir_error *err)
{
    struct line_entry *l = row_line(r, row->line);
    struct registry_task *t = NULL;
    enum weir_status status = line_touch(r, l, err);

    if (status != WEIR_OK || !r->op) /* put back: nobody is there yet */
        return status;
    if (row->rank > l->passed) {
        bool behind;

        status = is_behind(r, l, row, &behind, err);
        if (status != WEIR_OK)
            return status;
        if (behind || l->held >= REGISTRY_HANDED_MAX || r->held >= REGISTRY_HANDED_ALL_MAX)
            return tell_line(r, l, err);
    }
    if (spec) {
        t = task_new(row, spec->key, spec->payload);
        if (!t)
            return error_nomem(err);
    } else {
        status = read_one(r, row, &t, err);
        if (status != WEIR_OK)
            return status;
    }
    *r->ready_end = t;
    r->ready_end = &t->next;
    rows_remember(r, row);
    if (row->rank > l->passed) {
        l->passed = row->rank;
        l->behind--;
        l->held++;
        r->held++;
    }
    return WEIR_OK;
}

enum weir_status line_count_ready(struct sqlite_registry *r, struct line_entry *l, int64_t rank,
                                  bool ready, struct weir_error *err)
{
    enum weir_status status = line_touch(r, l, err);

    if (status != WEIR_OK)
        return status;
    if (rank > l->passed) {
        l->behind += ready ? 1 : (uint64_t)-1;
        return WEIR_OK;
    }
    l->held += ready ? 1 : (uint64_t)-1;
    r->held += ready ? 1 : (uint64_t)-1;
    return WEIR_OK;
}

static enum weir_status take_rows(struct sqlite_registry *r, struct registry_take *t,
                                  struct line_entry *l, sqlite3_stmt *stmt, struct weir_error *err)
{
    struct registry_task **end = &t->ret_tasks;
    uint64_t bytes = 0;
    uint32_t count = 0;
    int rc;

    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct registry_task *task = NULL;
        struct task_row row;
        enum weir_status status;

        if (!row_read(stmt, &row))
            return registry_damaged(r->path, "a task cannot be read", err);
        if (count == t->max) {
            t->ret_more = true;
            break;
        }
        status = task_read(r, stmt, &row, &task, err);
        if (status != WEIR_OK)
            return status;
        if (count && bytes + task->payload_len > t->max_bytes) {
            mem_free(task);
            t->ret_more = true;
            break;
        }
        rows_remember(r, &row);
        bytes += task->payload_len;
        *end = task;
        end = &task->next;
        l->passed = row.rank;
        l->behind--;
        l->held++;
        r->held++;
        count++;
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return registry_fail(r, "taking tasks", err);
    if (!t->ret_more)
        l->behind = 0;
    return WEIR_OK;
}

/* The engine says that it has everything up to there: as a rule no more than is known. */
static enum weir_status pass_to(struct sqlite_registry *r, struct line_entry *l, int64_t rank,
                                struct weir_error *err)
{
    sqlite3_stmt *stmt;
    uint64_t count = 0;
    int rc;

    if (rank <= l->passed)
        return WEIR_OK;
    stmt = registry_statement(r, RS_READY_BETWEEN);
    if (!stmt)
        return registry_fail(r, "taking tasks", err);
    sqlite3_bind_int64(stmt, 1, l->in.id);
    sqlite3_bind_int64(stmt, 2, l->passed);
    sqlite3_bind_int64(stmt, 3, rank);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        count = (uint64_t)sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    if (rc != SQLITE_ROW)
        return registry_fail(r, "taking tasks", err);
    l->passed = rank;
    l->behind -= count;
    l->held += count;
    r->held += count;
    return WEIR_OK;
}

enum weir_status op_take(struct sqlite_registry *r, struct registry_op *op, struct weir_error *err)
{
    struct registry_take *t = &op->take;
    struct line_entry *l = row_line(r, t->line);
    sqlite3_stmt *stmt = registry_statement(r, RS_TAKE);
    enum weir_status status;

    if (!stmt)
        return registry_fail(r, "taking tasks", err);
    if (!l || l->gone) {
        error_set(&op->err, WEIR_E_END, "there is no line %u", t->line);
        return WEIR_OK;
    }
    status = line_touch(r, l, err);
    if (status != WEIR_OK)
        return status;
    status = pass_to(r, l, t->after_rank, err);
    if (status != WEIR_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, l->in.id);
    sqlite3_bind_int64(stmt, 2, l->passed);
    sqlite3_bind_int64(stmt, 3, (sqlite3_int64)t->max + 1);
    status = take_rows(r, t, l, stmt, err);
    sqlite3_reset(stmt);
    return status;
}
