/*
 * Readers: each has a connection of its own, which only reads, and holds no transaction open
 * between two calls: so the log can always be copied back. Lists of tasks are in
 * sqlite_read_tasks.c, the record in sqlite_read_events.c.
 */
#include "store/registry/sqlite_read.h"

#include "base/error.h"
#include "base/mem.h"
#include "store/registry/rules.h"
#include "store/registry/sqlite_moves.h"

#include <inttypes.h>

/* KiB of pages that a reader keeps. */
#define READER_CACHE_KIB 8192

#define BATCH_COLUMNS "id, name, opened, ended, closed, n0, n1, n2, n3, n4, n5, n6"

const char *const reader_sql[RD_COUNT] = {
    [RD_BEGIN] = "BEGIN",
    [RD_END] = "ROLLBACK",
    [RD_TASK] = "SELECT " VIEW_COLUMNS " FROM task WHERE id = ?1",
    [RD_PAYLOAD] = "SELECT bytes FROM payload WHERE id = ?1",
    [RD_RESULT] = "SELECT output, errput FROM result WHERE id = ?1",
    [RD_DEPS] = "SELECT " VIEW_COLUMNS " FROM dep CROSS JOIN task ON task.id = dep.on_task"
                " WHERE dep.task = ?1 ORDER BY dep.on_task",
    [RD_DEPS_UP] = "SELECT " VIEW_COLUMNS " FROM dep INDEXED BY dep_on"
                   " CROSS JOIN task ON task.id = dep.task"
                   " WHERE dep.on_task = ?1 ORDER BY dep.task",
    [RD_BATCH] = "SELECT " BATCH_COLUMNS " FROM batch WHERE id = ?1",
    [RD_BATCHES] = "SELECT " BATCH_COLUMNS " FROM batch WHERE id > ?1 ORDER BY id LIMIT ?2",
    [RD_RESULTS] = "SELECT " VIEW_COLUMNS " FROM task INDEXED BY task_batch WHERE batch = ?1"
                   " AND batch > 0 AND place >= ?2 ORDER BY place, id LIMIT ?3",
    [RD_TALLIES] = "SELECT target, n0, n1, n2, n3, n4, n5, n6 FROM tally ORDER BY target",
    [RD_READY_COUNT] = "SELECT total(n2) FROM tally",
    [RD_HISTORY] = "SELECT at, running, lim, utilisation, started, finished, failed FROM sample"
                   " WHERE resolution = ?1 AND pool = ?2 AND at >= ?3 AND at < ?4 ORDER BY at",
    [RD_FACT] = "SELECT value FROM fact WHERE name = ?1",
    /* From the row that the number may be in. */
    [RD_EVENTS] = "SELECT first, at, body FROM event WHERE first >= ifnull((SELECT first FROM event"
                  " WHERE first <= ?1 ORDER BY first DESC LIMIT 1), 0)"
                  " AND kinds & ?2 ORDER BY first",
    [RD_EVENTS_BACK] = "SELECT first, at, body FROM event WHERE first <= ?1 AND kinds & ?2"
                       " ORDER BY first DESC",
    [RD_EVENT_CHUNK] = "SELECT first, at, body, count FROM event WHERE first <= ?1"
                       " ORDER BY first DESC LIMIT 1",
    [RD_MARK] = "SELECT event, event_first FROM mark",
    [RD_LAST_OF] = "SELECT event FROM task WHERE id = ?1",
    [RD_LAST_OF_GONE] = "SELECT event FROM gone WHERE task = ?1",
};

sqlite3_stmt *reader_statement(struct sqlite_reader *rd, enum reader_statement st)
{
    if (!rd->statements[st] &&
        sqlite3_prepare_v3(rd->db, reader_sql[st], -1, SQLITE_PREPARE_PERSISTENT,
                           &rd->statements[st], NULL) != SQLITE_OK)
        return NULL;
    return rd->statements[st];
}

enum weir_status reader_fail(struct sqlite_reader *rd, const char *doing, struct weir_error *err)
{
    return registry_fail_db(rd->db, rd->r->path, doing, err);
}

/* ---- views ---- */

/* The row of another table that there must be. */
static enum weir_status read_more(struct sqlite_reader *rd, enum reader_statement st, uint64_t id,
                                  const char *doing, const char *missing, sqlite3_stmt **ret,
                                  struct weir_error *err)
{
    sqlite3_stmt *stmt = reader_statement(rd, st);
    int rc;

    if (!stmt)
        return reader_fail(rd, doing, err);
    sqlite3_reset(stmt);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)id);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_DONE)
        return registry_damaged(rd->r->path, missing, err);
    *ret = stmt;
    return rc == SQLITE_ROW ? WEIR_OK : reader_fail(rd, doing, err);
}

/* Other tables' columns of a task, if they are asked for. */
static enum weir_status view_more(struct sqlite_reader *rd, const struct task_row *row,
                                  bool payload, bool result, struct registry_view *v,
                                  struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    sqlite3_stmt *stmt;

    if (payload && (row->flags & TASK_BIG)) {
        status = read_more(rd, RD_PAYLOAD, row->id, "reading a payload", "a payload is missing",
                           &stmt, err);
        if (status == WEIR_OK)
            v->payload = registry_column(stmt, 0);
    }
    v->has_result = result && row->run.result;
    if (status == WEIR_OK && v->has_result && (row->run.result & RESULT_ROW)) {
        status = read_more(rd, RD_RESULT, row->id, "reading a result", "a result is missing", &stmt,
                           err);
        if (status == WEIR_OK) {
            v->output = registry_column(stmt, 0);
            v->errput = registry_column(stmt, 1);
        }
    }
    return status;
}

static void view_more_end(struct sqlite_reader *rd)
{
    sqlite3_reset(rd->statements[RD_PAYLOAD]);
    sqlite3_reset(rd->statements[RD_RESULT]);
}

static int word(const struct sqlite_reader *rd, uint32_t id, bool outcome)
{
    const struct name_entry *n = (struct name_entry *)(void *)intern_get(&rd->r->names, id);
    int found = !n ? 0 : outcome ? n->outcome : n->reason;

    return found < 0 ? 0 : found;
}

enum weir_status reader_view(struct sqlite_reader *rd, sqlite3_stmt *stmt, bool payload,
                             bool result, struct registry_view *ret, struct weir_error *err)
{
    struct task_row row;
    const struct line_entry *line;

    if (!row_read(stmt, &row) || !(line = row_line(rd->r, row.line)))
        return registry_damaged(rd->r->path, "a task cannot be read", err);
    *ret = (struct registry_view){
        .id = row.id,
        .state = row.state,
        .line = line->line,
        .key = registry_column(stmt, ROW_COLUMN_COUNT),
        .idempotency_key = registry_column(stmt, ROW_COLUMN_COUNT + 1),
        .batch = row.batch,
        .place = row.place,
        .submitted_ns = row.submitted_ns,
        .ready_ns = row.rank,
        .not_before_ns = row_not_before(&row),
        .deadline_ns = row.opts.deadline_ns,
        .started_ns = row.run.first_start_ns,
        .ended_ns = row.run.ended_ns,
        .attempts = row.run.attempts,
        .failures = row.run.failures,
        .deaths = row.run.deaths,
        .max_attempts = row.opts.max_attempts,
        .capacity_retries = row.run.capacity_retries,
        .timeout_ns = row.opts.timeout_ns,
        .blocked_by = row.blocked,
        .run_after_failure = row.flags & TASK_RUN_AFTER_FAILURE,
        .stuck = row.flags & TASK_STUCK,
        .cancelling = row.flags & TASK_CANCELLING,
        .pool = registry_name_text(rd->r, row.run.pool),
        .outcome = (enum weir_outcome)word(rd, row.run.outcome, true),
        .reason = (enum weir_reason)word(rd, row.run.reason, false),
        .status = row.run.status,
        .message = registry_column(stmt, ROW_COLUMN_COUNT + 2),
        .payload = payload ? registry_column(stmt, ROW_COLUMN_COUNT + 3) : SLICE(""),
        .output = SLICE(""),
        .errput = SLICE(""),
    };
    return view_more(rd, &row, payload, result, ret, err);
}

enum weir_status reader_each(struct sqlite_reader *rd, sqlite3_stmt *stmt,
                             const struct reader_call *call, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    int rc = SQLITE_DONE;

    for (uint32_t n = 0; n < call->max && (rc = sqlite3_step(stmt)) == SQLITE_ROW; n++) {
        struct registry_view v;

        status = reader_view(rd, stmt, call->payload, call->result, &v, err);
        if (status != WEIR_OK || (call->only_ended && !rules_ended(v.state)) ||
            !call->fn(call->ctx, &v))
            break;
    }
    if (status == WEIR_OK && rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = reader_fail(rd, "reading tasks", err);
    sqlite3_reset(stmt);
    view_more_end(rd);
    return status;
}

static enum weir_status each_locked(struct sqlite_reader *rd, sqlite3_stmt *stmt,
                                    const struct reader_call *call, struct weir_error *err)
{
    enum weir_status status;

    reader_lock(rd);
    status = reader_each(rd, stmt, call, err);
    reader_unlock(rd);
    return status;
}

/* The slices of the view, made to point into the reader. */
static bool hold_view(struct sqlite_reader *rd, struct registry_view *v)
{
    struct slice *slices[] = {&v->key,         &v->idempotency_key, &v->message,   &v->payload,
                              &v->output,      &v->errput,          &v->line.pool, &v->line.skill,
                              &v->line.tenant, &v->line.session,    &v->line.slots};
    const char *at;

    buf_clear(&rd->hold);
    for (size_t i = 0; i < sizeof(slices) / sizeof(slices[0]); i++)
        buf_put_slice(&rd->hold, *slices[i]);
    if (rd->hold.failed)
        return false;
    at = buf_slice(&rd->hold).data;
    for (size_t i = 0; i < sizeof(slices) / sizeof(slices[0]); i++) {
        slices[i]->data = at;
        at += slices[i]->len;
    }
    return true;
}

static enum weir_status reader_task(struct registry_reader *r, uint64_t id, bool with,
                                    struct registry_view *ret, struct weir_error *err)
{
    struct sqlite_reader *rd = reader_self(r);
    sqlite3_stmt *stmt = reader_statement(rd, RD_TASK);
    enum weir_status status;
    struct registry_view v;
    int rc;

    if (!stmt)
        return reader_fail(rd, "reading a task", err);
    sqlite3_bind_int64(stmt, 1, id > INT64_MAX ? 0 : (sqlite3_int64)id);
    reader_lock(rd);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        status = reader_view(rd, stmt, with, with, &v, err);
    else if (rc == SQLITE_DONE)
        status = error_set(err, WEIR_E_END, "there is no task %" PRIu64, id);
    else
        status = reader_fail(rd, "reading a task", err);
    if (status == WEIR_OK && !hold_view(rd, &v))
        status = error_nomem(err);
    if (status == WEIR_OK)
        *ret = v;
    sqlite3_reset(stmt);
    view_more_end(rd);
    reader_unlock(rd);
    return status;
}

static enum weir_status reader_dependencies(struct registry_reader *r, uint64_t id, bool up,
                                            registry_task_fn fn, void *ctx, struct weir_error *err)
{
    struct sqlite_reader *rd = reader_self(r);
    sqlite3_stmt *stmt = reader_statement(rd, RD_LAST_OF);
    int64_t number = id > INT64_MAX ? 0 : (int64_t)id;
    int rc;

    if (!stmt)
        return reader_fail(rd, "reading a task", err);
    sqlite3_bind_int64(stmt, 1, number);
    rc = sqlite3_step(stmt);
    sqlite3_reset(stmt);
    if (rc == SQLITE_DONE)
        return error_set(err, WEIR_E_END, "there is no task %" PRIu64, id);
    stmt = reader_statement(rd, up ? RD_DEPS_UP : RD_DEPS);
    if (rc != SQLITE_ROW || !stmt)
        return reader_fail(rd, "reading a task", err);
    sqlite3_bind_int64(stmt, 1, number);
    return each_locked(rd, stmt, &(struct reader_call){.fn = fn, .ctx = ctx, .max = UINT32_MAX},
                       err);
}

/* ---- batches ---- */

static struct registry_batch read_batch(sqlite3_stmt *stmt)
{
    struct registry_batch b = {.id = (uint64_t)sqlite3_column_int64(stmt, 0),
                               .name = registry_column(stmt, 1),
                               .opened_ns = sqlite3_column_int64(stmt, 2),
                               .ended_ns = sqlite3_column_int64(stmt, 3),
                               .ended = sqlite3_column_int(stmt, 4) == BATCH_CLOSED};

    for (int i = 0; i < REGISTRY_STATES; i++) {
        b.states[i] = (uint64_t)sqlite3_column_int64(stmt, 5 + i);
        b.total += b.states[i];
    }
    return b;
}

static enum weir_status reader_batch(struct registry_reader *r, uint64_t id,
                                     struct registry_batch *ret, struct weir_error *err)
{
    struct sqlite_reader *rd = reader_self(r);
    sqlite3_stmt *stmt = reader_statement(rd, RD_BATCH);
    enum weir_status status = WEIR_OK;
    struct registry_batch b;
    int rc;

    if (!stmt)
        return reader_fail(rd, "reading a batch", err);
    sqlite3_bind_int64(stmt, 1, id > INT64_MAX ? 0 : (sqlite3_int64)id);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        b = read_batch(stmt);
        buf_clear(&rd->hold);
        buf_put_slice(&rd->hold, b.name);
        b.name = buf_slice(&rd->hold);
        if (rd->hold.failed)
            status = error_nomem(err);
        else
            *ret = b;
    } else {
        status = rc == SQLITE_DONE ? error_set(err, WEIR_E_END, "there is no batch %" PRIu64, id)
                                   : reader_fail(rd, "reading a batch", err);
    }
    sqlite3_reset(stmt);
    return status;
}

static enum weir_status reader_batches(struct registry_reader *r, uint64_t after, uint32_t max,
                                       registry_batch_fn fn, void *ctx, struct weir_error *err)
{
    struct sqlite_reader *rd = reader_self(r);
    sqlite3_stmt *stmt = reader_statement(rd, RD_BATCHES);
    enum weir_status status = WEIR_OK;
    int rc;

    if (!stmt)
        return reader_fail(rd, "reading batches", err);
    sqlite3_bind_int64(stmt, 1, after > INT64_MAX ? INT64_MAX : (sqlite3_int64)after);
    sqlite3_bind_int64(stmt, 2, max);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct registry_batch b = read_batch(stmt);

        if (!fn(ctx, &b))
            break;
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = reader_fail(rd, "reading batches", err);
    sqlite3_reset(stmt);
    return status;
}

static enum weir_status reader_results(struct registry_reader *r, uint64_t batch, uint64_t from,
                                       uint32_t max, bool with_payload, registry_task_fn fn,
                                       void *ctx, struct weir_error *err)
{
    struct sqlite_reader *rd = reader_self(r);
    struct registry_batch b;
    enum weir_status status = reader_batch(r, batch, &b, err);
    sqlite3_stmt *stmt;

    if (status != WEIR_OK)
        return status;
    stmt = reader_statement(rd, RD_RESULTS);
    if (!stmt)
        return reader_fail(rd, "reading results", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)batch);
    sqlite3_bind_int64(stmt, 2, from > INT64_MAX ? INT64_MAX : (sqlite3_int64)from);
    sqlite3_bind_int64(stmt, 3, max);
    return each_locked(rd, stmt,
                       &(struct reader_call){.fn = fn,
                                             .ctx = ctx,
                                             .max = max,
                                             .payload = with_payload,
                                             .result = true,
                                             .only_ended = true},
                       err);
}

/* ---- counts, history, facts ---- */

static enum weir_status reader_tallies(struct registry_reader *r, registry_tally_fn fn, void *ctx,
                                       struct weir_error *err)
{
    struct sqlite_reader *rd = reader_self(r);
    sqlite3_stmt *stmt = reader_statement(rd, RD_TALLIES);
    enum weir_status status = WEIR_OK;
    int rc;

    if (!stmt)
        return reader_fail(rd, "reading counts", err);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct registry_tally t = {.target = registry_column(stmt, 0)};
        uint64_t all = 0;

        for (int i = 0; i < REGISTRY_STATES; i++) {
            t.states[i] = (uint64_t)sqlite3_column_int64(stmt, 1 + i);
            all |= t.states[i];
        }
        if (all && !fn(ctx, &t))
            break;
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = reader_fail(rd, "reading counts", err);
    sqlite3_reset(stmt);
    return status;
}

static enum weir_status reader_history(struct registry_reader *r, const char *pool,
                                       uint32_t resolution_s, int64_t from_ns, int64_t to_ns,
                                       registry_sample_fn fn, void *ctx, struct weir_error *err)
{
    struct sqlite_reader *rd = reader_self(r);
    sqlite3_stmt *stmt = reader_statement(rd, RD_HISTORY);
    enum weir_status status = WEIR_OK;
    int rc;

    if (!stmt)
        return reader_fail(rd, "reading the history", err);
    sqlite3_bind_int64(stmt, 1, resolution_s);
    sqlite3_bind_text(stmt, 2, pool ? pool : "", -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 3, from_ns);
    sqlite3_bind_int64(stmt, 4, to_ns);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct registry_sample s = {.at_ns = sqlite3_column_int64(stmt, 0),
                                    .resolution_s = resolution_s,
                                    .pool = slice_of(pool ? pool : ""),
                                    .running = sqlite3_column_double(stmt, 1),
                                    .limit = sqlite3_column_double(stmt, 2),
                                    .utilisation = sqlite3_column_double(stmt, 3),
                                    .started = (uint64_t)sqlite3_column_int64(stmt, 4),
                                    .finished = (uint64_t)sqlite3_column_int64(stmt, 5),
                                    .failed = (uint64_t)sqlite3_column_int64(stmt, 6)};

        if (!fn(ctx, &s))
            break;
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = reader_fail(rd, "reading the history", err);
    sqlite3_reset(stmt);
    return status;
}

static enum weir_status reader_fact(struct registry_reader *r, struct slice name, struct buf *out,
                                    struct weir_error *err)
{
    struct sqlite_reader *rd = reader_self(r);
    sqlite3_stmt *stmt = reader_statement(rd, RD_FACT);
    enum weir_status status = WEIR_OK;
    int rc;

    if (!stmt)
        return reader_fail(rd, "reading a fact", err);
    registry_bind_text(stmt, 1, name);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        buf_put_slice(out, registry_column(stmt, 0));
        status = out->failed ? error_nomem(err) : WEIR_OK;
    } else {
        status = rc == SQLITE_DONE
                     ? error_set(err, WEIR_E_END, "there is no fact %.*s", (int)name.len, name.data)
                     : reader_fail(rd, "reading a fact", err);
    }
    sqlite3_reset(stmt);
    return status;
}

/* ---- open and close ---- */

static void reader_close(struct registry_reader *r)
{
    struct sqlite_reader *rd = reader_self(r);

    for (int i = 0; i < RD_COUNT; i++)
        sqlite3_finalize(rd->statements[i]);
    sqlite3_close(rd->db);
    buf_free(&rd->hold);
    buf_free(&rd->chunk);
    mem_free(rd->lines);
    mem_free(rd);
}

static const struct registry_reader_ops sqlite_reader_ops = {
    .task = reader_task,
    .tasks = reader_tasks,
    .dependencies = reader_dependencies,
    .events = reader_events,
    .batch = reader_batch,
    .batches = reader_batches,
    .results = reader_results,
    .tallies = reader_tallies,
    .history = reader_history,
    .fact = reader_fact,
    .close = reader_close,
};

/* Whether a row's line passes the filter of the call. */
static void sql_line_passes(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    const struct sqlite_reader *rd = sqlite3_user_data(ctx);
    sqlite3_int64 line = sqlite3_value_int64(argv[0]);

    (void)argc;
    sqlite3_result_int(ctx, line >= 0 && (size_t)line < rd->line_count && rd->lines[line]);
}

enum weir_status registry_reader_open(struct core_registry *base, struct registry_reader **ret,
                                      struct weir_error *err)
{
    struct sqlite_registry *r = registry_self(base);
    struct sqlite_reader *rd = mem_calloc(1, sizeof(*rd));
    int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    enum weir_status status = WEIR_OK;
    char settings[128];

    if (!rd)
        return error_nomem(err);
    rd->base.ops = &sqlite_reader_ops;
    rd->r = r;
    sqlite3_snprintf(sizeof(settings), settings,
                     "PRAGMA trusted_schema = OFF; PRAGMA cache_size = -%d", READER_CACHE_KIB);
    if (sqlite3_open_v2(r->name, &rd->db, flags, NULL) != SQLITE_OK ||
        sqlite3_busy_timeout(rd->db, (int)r->busy_ms) != SQLITE_OK ||
        sqlite3_exec(rd->db, settings, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_create_function(rd->db, "line_passes", 1, SQLITE_UTF8 | SQLITE_DIRECTONLY, rd,
                                sql_line_passes, NULL, NULL) != SQLITE_OK)
        status = reader_fail(rd, "opening it to read", err);
    if (status != WEIR_OK) {
        reader_close(&rd->base);
        return status;
    }
    *ret = &rd->base;
    return WEIR_OK;
}
