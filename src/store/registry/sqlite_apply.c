/*
 * A chain of ops as one transaction.
 *
 * What an op changes in memory (lines, names, what the engine has, counts, numbers given) is put
 * aside or found again by its number, so that a transaction that fails leaves nothing behind, and
 * the same chain may come again.
 */
#include "base/error.h"
#include "base/mem.h"
#include "store/registry/sqlite_inside.h"

#include <assert.h>
#include <string.h>

sqlite3_stmt *registry_statement(struct sqlite_registry *r, enum registry_statement st)
{
    if (!r->statements[st] &&
        sqlite3_prepare_v3(r->db, registry_sql[st], -1, SQLITE_PREPARE_PERSISTENT,
                           &r->statements[st], NULL) != SQLITE_OK)
        return NULL;
    return r->statements[st];
}

/* After some errors SQLite rolls back by itself, and what comes next would be committed statement by statement. */
static enum weir_status check_open(struct sqlite_registry *r, const char *doing,
                                   struct weir_error *err)
{
    int rc;

    if (!r->writing || !sqlite3_get_autocommit(r->db))
        return WEIR_OK;
    rc = sqlite3_errcode(r->db);
    if (rc != SQLITE_OK && rc != SQLITE_ROW && rc != SQLITE_DONE)
        return registry_fail(r, doing, err);
    return error_set(err, WEIR_E_IO, "registry %s: %s failed: SQLite took all of it back", r->path,
                     doing);
}

enum weir_status registry_run(struct sqlite_registry *r, sqlite3_stmt *stmt, const char *doing,
                              struct weir_error *err)
{
    enum weir_status status = check_open(r, doing, err);

    if (status == WEIR_OK && sqlite3_step(stmt) != SQLITE_DONE)
        status = registry_fail(r, doing, err);
    sqlite3_reset(stmt);
    return status;
}

enum weir_status registry_do(struct sqlite_registry *r, enum registry_statement st, int count,
                             const int64_t *numbers, const char *doing, struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, st);

    if (!stmt)
        return registry_fail(r, doing, err);
    for (int i = 0; i < count; i++)
        sqlite3_bind_int64(stmt, i + 1, numbers[i]);
    return registry_run(r, stmt, doing, err);
}

void registry_bind_text(sqlite3_stmt *stmt, int at, struct slice s)
{
    if (s.len)
        sqlite3_bind_text64(stmt, at, s.data, s.len, SQLITE_STATIC, SQLITE_UTF8);
    else
        sqlite3_bind_null(stmt, at);
}

void registry_bind_blob(sqlite3_stmt *stmt, int at, struct slice s)
{
    if (s.len)
        sqlite3_bind_blob64(stmt, at, s.data, s.len, SQLITE_STATIC);
    else
        sqlite3_bind_null(stmt, at);
}

struct slice registry_column(sqlite3_stmt *stmt, int at)
{
    const void *bytes = sqlite3_column_blob(stmt, at);
    int len = sqlite3_column_bytes(stmt, at);

    return bytes && len > 0 ? (struct slice){bytes, (size_t)len} : SLICE("");
}

/* ---- ops that need no file of their own ---- */

static enum weir_status op_batch_open(struct sqlite_registry *r, struct registry_op *op,
                                      struct weir_error *err)
{
    if (op->batch_open.name.len > REGISTRY_NAME_BYTES_MAX) {
        error_set(&op->err, WEIR_E_INVALID,
                  "the batch's name has %zu bytes; at most %d are allowed", op->batch_open.name.len,
                  REGISTRY_NAME_BYTES_MAX);
        return WEIR_OK;
    }
    return batch_open(r, op->batch_open.name, op->batch_open.passing, op->at_ns,
                      &op->batch_open.ret_id, err);
}

static enum weir_status op_batch_end(struct sqlite_registry *r, struct registry_op *op,
                                     struct weir_error *err)
{
    bool found;
    enum weir_status status = batch_close(r, op->batch_end.batch, &found, err);

    if (status == WEIR_OK && !found)
        error_set(&op->err, WEIR_E_END, "there is no batch %llu",
                  (unsigned long long)op->batch_end.batch);
    return status;
}

static enum weir_status op_set(struct sqlite_registry *r, struct registry_op *op,
                               struct weir_error *err)
{
    bool drop = op->set.value.len == 0;
    sqlite3_stmt *stmt = registry_statement(r, drop ? RS_FACT_DROP : RS_FACT_PUT);

    if (op->set.name.len == 0 || op->set.name.len > REGISTRY_NAME_BYTES_MAX) {
        error_set(&op->err, WEIR_E_INVALID, "a fact's name has 1 to %d bytes",
                  REGISTRY_NAME_BYTES_MAX);
        return WEIR_OK;
    }
    if (!stmt)
        return registry_fail(r, "keeping a fact", err);
    registry_bind_text(stmt, 1, op->set.name);
    if (!drop)
        registry_bind_blob(stmt, 2, op->set.value);
    return registry_run(r, stmt, "keeping a fact", err);
}

/* Those that are too old beside the newest go. */
static enum weir_status sample_trim(struct sqlite_registry *r, const struct registry_sample *s,
                                    struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_SAMPLE_NEWEST);
    int64_t newest = s->at_ns, span = (int64_t)REGISTRY_SAMPLES_MAX * s->resolution_s;
    int rc;

    if (!stmt)
        return registry_fail(r, "keeping a sample", err);
    sqlite3_bind_int64(stmt, 1, s->resolution_s);
    sqlite3_bind_text(stmt, 2, s->pool.len ? s->pool.data : "", (int)s->pool.len, SQLITE_STATIC);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        newest = sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return registry_fail(r, "keeping a sample", err);
    stmt = registry_statement(r, RS_SAMPLE_DROP);
    if (!stmt)
        return registry_fail(r, "keeping a sample", err);
    sqlite3_bind_int64(stmt, 1, s->resolution_s);
    sqlite3_bind_text(stmt, 2, s->pool.len ? s->pool.data : "", (int)s->pool.len, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 3, newest - span * NS_PER_S);
    return registry_run(r, stmt, "keeping a sample", err);
}

static enum weir_status op_sample(struct sqlite_registry *r, struct registry_op *op,
                                  struct weir_error *err)
{
    const struct registry_sample *s = &op->sample;
    sqlite3_stmt *stmt = registry_statement(r, RS_SAMPLE_PUT);
    enum weir_status status;

    if (s->pool.len > REGISTRY_NAME_BYTES_MAX) {
        error_set(&op->err, WEIR_E_INVALID, "the pool's name has %zu bytes; at most %d are allowed",
                  s->pool.len, REGISTRY_NAME_BYTES_MAX);
        return WEIR_OK;
    }
    if (!stmt)
        return registry_fail(r, "keeping a sample", err);
    sqlite3_bind_int64(stmt, 1, s->resolution_s);
    sqlite3_bind_text(stmt, 2, s->pool.len ? s->pool.data : "", (int)s->pool.len, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 3, s->at_ns);
    sqlite3_bind_double(stmt, 4, s->running);
    sqlite3_bind_double(stmt, 5, s->limit);
    sqlite3_bind_double(stmt, 6, s->utilisation);
    sqlite3_bind_int64(stmt, 7, (sqlite3_int64)s->started);
    sqlite3_bind_int64(stmt, 8, (sqlite3_int64)s->finished);
    sqlite3_bind_int64(stmt, 9, (sqlite3_int64)s->failed);
    status = registry_run(r, stmt, "keeping a sample", err);
    return status == WEIR_OK ? sample_trim(r, s, err) : status;
}

static enum weir_status (*const op_functions[REGISTRY_OP_KINDS])(struct sqlite_registry *,
                                                                 struct registry_op *,
                                                                 struct weir_error *) = {
    [REGISTRY_SUBMIT] = op_submit,       [REGISTRY_TAKE] = op_take,
    [REGISTRY_START] = op_start,         [REGISTRY_END] = op_end,
    [REGISTRY_CANCEL] = op_cancel,       [REGISTRY_RETRY] = op_retry,
    [REGISTRY_EDIT] = op_edit,           [REGISTRY_DELETE] = op_remove,
    [REGISTRY_RESOLVE] = op_resolve,     [REGISTRY_WAKE] = op_wake,
    [REGISTRY_TELL] = op_tell,           [REGISTRY_BATCH_OPEN] = op_batch_open,
    [REGISTRY_BATCH_END] = op_batch_end, [REGISTRY_CHECK] = op_check,
    [REGISTRY_PURGE] = op_purge,         [REGISTRY_SET] = op_set,
    [REGISTRY_SAMPLE] = op_sample,
};

/* ---- the transaction ---- */

/* Results of an op, as before it. */
static void op_clear(struct registry_op *op)
{
    op->err.status = WEIR_OK;
    op->err.message[0] = 0;
    task_chain_free(op->ret_ready);
    op->ret_ready = NULL;
    op->ret_lines = mem_free(op->ret_lines);
    op->ret_line_count = 0;
    op->ret_due_ns = 0;
    switch (op->kind) {
    case REGISTRY_TAKE:
        task_chain_free(op->take.ret_tasks);
        op->take.ret_tasks = NULL;
        op->take.ret_more = false;
        break;
    case REGISTRY_CANCEL:
        op->cancel.ret_count = op->cancel.count_before;
        op->cancel.ret_running = op->cancel.running_before;
        op->cancel.ret_more = false;
        break;
    case REGISTRY_RETRY:
        op->retry.ret_count = 0;
        break;
    case REGISTRY_WAKE:
        op->wake.ret_count = 0;
        op->wake.ret_next_ns = 0;
        break;
    case REGISTRY_CHECK:
        op->check.ret_stuck = op->check.ret_new = 0;
        op->check.ret_more = false;
        break;
    case REGISTRY_PURGE:
        op->purge.ret_more = false;
        op->purge.ret_lines_gone = mem_free(op->purge.ret_lines_gone);
        op->purge.ret_lines_gone_count = 0;
        break;
    default:
        break;
    }
}

/* Takes back in memory what SQLite takes back in the file. */
static void registry_undo(struct sqlite_registry *r)
{
    rows_forget_all(r);
    for (size_t i = r->undo_count; i-- > 0;) {
        struct line_entry *l = r->undo[i].line;

        l->passed = r->undo[i].passed;
        l->held = r->undo[i].held;
        l->behind = r->undo[i].behind;
        l->touched = 0;
    }
    r->undo_count = 0;
    lineset_settle(r, false);
    lineset_take_back(r, 0);
    targets_settle(r);
    count_forget(r, true);
    r->held = r->held_durable;
    r->mark = r->durable;
    r->pen.count = 0;
    r->graph_same = false;
    r->check = check_free(r->check);
    r->purged_to = r->ahead_to = 0;
    intern_cut(&r->names, r->names_durable);
    memset(r->outcome_names, 0, sizeof(r->outcome_names));
    memset(r->reason_names, 0, sizeof(r->reason_names));
}

/* All of it is durable. */
static void registry_keep(struct sqlite_registry *r)
{
    lineset_settle(r, true);
    lineset_keep(r);
    targets_settle(r);
    count_forget(r, false);
    r->undo_count = 0;
    r->held_durable = r->held;
    r->durable = r->mark;
    r->names_durable = atomic_load_explicit(&r->names.count, memory_order_relaxed);
    atomic_store_explicit(&r->last_event, r->mark.event, memory_order_release);
}

enum weir_status registry_begin(struct sqlite_registry *r, struct weir_error *err)
{
    enum weir_status status = registry_check_files(r, err);

    if (status != WEIR_OK)
        return status;
    r->transaction++;
    status = registry_do(r, RS_BEGIN, 0, NULL, "beginning to write", err);
    r->writing = status == WEIR_OK;
    return status;
}

static enum weir_status mark_put(struct sqlite_registry *r, struct weir_error *err)
{
    const struct registry_mark *m = &r->mark;

    if (memcmp(m, &r->durable, sizeof(*m)) == 0)
        return WEIR_OK;
    return registry_do(r, RS_MARK_PUT, 5,
                       (int64_t[]){(int64_t)m->task, (int64_t)m->batch, (int64_t)m->event,
                                   (int64_t)m->event_first, m->rank},
                       "writing", err);
}

enum weir_status registry_end(struct sqlite_registry *r, enum weir_status status,
                              struct weir_error *err)
{
    if (status == WEIR_OK)
        status = rows_flush(r, err);
    if (status == WEIR_OK)
        status = event_flush(r, err);
    if (status == WEIR_OK)
        status = count_write(r, err);
    if (status == WEIR_OK)
        status = mark_put(r, err);
    if (status == WEIR_OK && r->fail_next > 0) {
        r->fail_next--;
        status = error_set(err, WEIR_E_IO, "registry %s was told to fail", r->path);
    }
    if (status == WEIR_OK)
        status = registry_do(r, RS_COMMIT, 0, NULL, "writing", err);
    r->writing = false;
    if (status == WEIR_OK) {
        registry_keep(r);
        return WEIR_OK;
    }
    if (!sqlite3_get_autocommit(r->db)) {
        sqlite3_step(r->statements[RS_ROLLBACK]);
        sqlite3_reset(r->statements[RS_ROLLBACK]);
    }
    registry_undo(r);
    return status;
}

/* The one task that the op is about, for those that a person asks for; 0: another op. */
static uint64_t asked_for(const struct registry_op *op)
{
    switch (op->kind) {
    case REGISTRY_CANCEL:
        return op->cancel.task;
    case REGISTRY_RETRY:
        return op->retry.task;
    case REGISTRY_EDIT:
        return op->edit.task;
    case REGISTRY_DELETE:
        return op->remove.task;
    case REGISTRY_RESOLVE:
        return op->resolve.task;
    default:
        return 0;
    }
}

/* Whoever asked has let go of it: it is handed over again, if this op has not done so. */
static enum weir_status hand_back(struct sqlite_registry *r, struct registry_op *op,
                                  struct weir_error *err)
{
    uint64_t id = asked_for(op);
    struct task_row row;
    bool found;
    enum weir_status status;

    if (id == 0 || op->ret_ready || op->ret_line_count > 0)
        return WEIR_OK;
    status = row_load(r, id, &row, &found, err);
    if (status != WEIR_OK || !found || row.state != REGISTRY_READY)
        return status;
    return hand_over(r, &row, NULL, err);
}

static enum weir_status apply_one(struct sqlite_registry *r, struct registry_op *op,
                                  struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    r->op = op;
    r->op_number++;
    r->ready_end = &op->ret_ready;
    r->line_cap = 0;
    if ((unsigned)op->kind >= REGISTRY_OP_KINDS) {
        error_set(&op->err, WEIR_E_INVALID, "there is no op of kind %d", (int)op->kind);
        return WEIR_OK;
    }
    /* These look out for rows that are on their way by themselves. */
    if (op->kind != REGISTRY_SUBMIT && op->kind != REGISTRY_START && op->kind != REGISTRY_END &&
        op->kind != REGISTRY_TELL)
        status = rows_flush(r, err);
    if (status == WEIR_OK)
        status = op_functions[op->kind](r, op, err);
    if (status == WEIR_OK)
        status = batch_settle(r, op->at_ns, err);
    if (status == WEIR_OK)
        status = hand_back(r, op, err);
    if (status == WEIR_OK)
        status = check_open(r, "writing", err);
    r->op = NULL;
    return status;
}

enum weir_status registry_apply(struct core_registry *base, struct registry_op *chain,
                                struct weir_error *err)
{
    struct sqlite_registry *r = registry_self(base);
    struct weir_error local = {.status = WEIR_OK};
    enum weir_status status;

    for (struct registry_op *op = chain; op; op = op->next) {
        op->ret_ready = NULL;
        op->ret_lines = NULL;
        if (op->kind == REGISTRY_TAKE)
            op->take.ret_tasks = NULL;
        if (op->kind == REGISTRY_PURGE)
            op->purge.ret_lines_gone = NULL;
        op_clear(op);
    }
    status = registry_begin(r, &local);
    if (status == WEIR_OK) {
        for (struct registry_op *op = chain; op && status == WEIR_OK; op = op->next)
            status = apply_one(r, op, &local);
        status = registry_end(r, status, &local);
    }
    if (status == WEIR_OK)
        return WEIR_OK;
    for (struct registry_op *op = chain; op; op = op->next) {
        op_clear(op);
        op->err = local;
    }
    if (err)
        *err = local;
    return status;
}
