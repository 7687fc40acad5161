/*
 * Lists of tasks, page by page in the order of ids: each page starts where the one before ended, so
 * that its cost does not grow with what is before it. Where a filter has an index, that is
 * followed:
 *
 *     key             the index of keys               batch      ids from its first to its last
 *     stuck           the index of those              states     a list for each state, put together
 *
 * Pools, skills, tenants and sessions are asked of the lines, in memory; then each row's line is
 * one that passes or not.
 */
#include "store/registry/sqlite_read.h"

#include "base/error.h"
#include "base/mem.h"

#include <string.h>

/* Up to so many ready tasks they are sorted; more are found by looking along the ids. */
#define READY_SORTED_MAX 20000

static bool is_any(struct slice want, struct slice has)
{
    return want.len == 0 || slice_equal(want, has);
}

static enum weir_status run(struct sqlite_reader *rd, enum reader_statement st,
                            struct weir_error *err)
{
    sqlite3_stmt *stmt = reader_statement(rd, st);

    if (!stmt)
        return reader_fail(rd, "reading tasks", err);
    if (sqlite3_step(stmt) == SQLITE_DONE) {
        sqlite3_reset(stmt);
        return WEIR_OK;
    }
    sqlite3_reset(stmt);
    return reader_fail(rd, "reading tasks", err);
}

/*
 * Which lines pass. *ret_any false: none. The snapshot is there: what comes behind it is in none of
 * its rows, and a line whose tasks are in it is there. The other way round, a task of a line that
 * came in between would be left out, and a page might end behind it.
 */
static enum weir_status choose_lines(struct sqlite_reader *rd, const struct registry_filter *f,
                                     bool *ret_any, struct weir_error *err)
{
    uint32_t count = atomic_load_explicit(&rd->r->lines.count, memory_order_acquire);

    *ret_any = false;
    mem_free(rd->lines);
    rd->line_count = 0;
    rd->lines = mem_calloc((size_t)count + 1, 1);
    if (!rd->lines)
        return error_nomem(err);
    rd->line_count = (size_t)count + 1;
    for (uint32_t id = 1; id <= count; id++) {
        const struct line_entry *l = row_line(rd->r, id);

        if (!l || !is_any(f->pool, l->line.pool) || !is_any(f->skill, l->line.skill) ||
            !is_any(f->tenant, l->line.tenant) || !is_any(f->session, l->line.session))
            continue;
        rd->lines[id] = 1;
        *ret_any = true;
    }
    return WEIR_OK;
}

static enum weir_status count_ready(struct sqlite_reader *rd, double *ret, struct weir_error *err)
{
    sqlite3_stmt *stmt = reader_statement(rd, RD_READY_COUNT);
    int rc;

    if (!stmt)
        return reader_fail(rd, "reading counts", err);
    rc = sqlite3_step(stmt);
    *ret = rc == SQLITE_ROW ? sqlite3_column_double(stmt, 0) : 0;
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW ? WEIR_OK : reader_fail(rd, "reading counts", err);
}

struct query {
    const struct registry_filter *f;
    bool lines; /* some do not pass */
    struct buf sql;
};

#define BATCH_FIRST "(SELECT first FROM batch WHERE batch.id = ?3)"
#define BATCH_LAST  "(SELECT last FROM batch WHERE batch.id = ?3)"

/* What each list has in common: ?1 the page's beginning, ?2 its length, ?3 the batch, ?4 the key. */
static void put_conditions(struct query *q)
{
    const struct registry_filter *f = q->f;

    /* One bound on each side: of two, SQLite would follow the first and look at each row for the other. */
    if (!f->batch)
        buf_puts(&q->sql, f->newest_first ? " AND id < ?1" : " AND id > ?1");
    else if (f->newest_first)
        buf_puts(&q->sql,
                 " AND batch = ?3 AND id < min(?1, " BATCH_LAST " + 1) AND id >= " BATCH_FIRST);
    else
        buf_puts(&q->sql,
                 " AND batch = ?3 AND id > max(?1, " BATCH_FIRST " - 1) AND id <= " BATCH_LAST);
    if (f->key.len)
        buf_puts(&q->sql, " AND key = ?4");
    if (f->stuck)
        buf_puts(&q->sql, " AND flags & 2");
    if (q->lines)
        buf_puts(&q->sql, " AND line_passes(line)");
    buf_puts(&q->sql, f->newest_first ? " ORDER BY id DESC LIMIT ?2" : " ORDER BY id LIMIT ?2");
}

static void put_states(struct query *q)
{
    if (q->f->states == 0)
        return;
    buf_puts(&q->sql, " AND state IN (");
    for (unsigned s = 0, n = 0; s < REGISTRY_STATES; s++)
        if (q->f->states >> s & 1)
            buf_printf(&q->sql, n++ ? ",%u" : "%u", s);
    buf_puts(&q->sql, ")");
}

/* Tasks of one state, by the way that is short for it. */
static void put_state(struct query *q, enum registry_state state, bool ready_sorted)
{
    static const char from[] = "SELECT " VIEW_COLUMNS " FROM ";

    buf_puts(&q->sql, from);
    if (state == REGISTRY_RUNNING)
        buf_puts(&q->sql, "runner CROSS JOIN task ON task.id = runner.task WHERE state = 3");
    else if (state == REGISTRY_READY && ready_sorted)
        buf_puts(&q->sql, "task INDEXED BY task_ready WHERE state = 2");
    else if (state == REGISTRY_READY)
        buf_puts(&q->sql, "task NOT INDEXED WHERE state = 2");
    else
        buf_printf(&q->sql, "task INDEXED BY task_state WHERE state NOT IN (2, 3) AND state = %d",
                   (int)state);
    put_conditions(q);
}

static void put_query(struct query *q, bool ready_sorted)
{
    const struct registry_filter *f = q->f;
    unsigned lists = 0;

    if (f->key.len || f->stuck || f->batch || f->states == 0) {
        buf_puts(&q->sql, "SELECT " VIEW_COLUMNS " FROM task ");
        buf_puts(&q->sql, f->key.len ? "INDEXED BY task_key WHERE key IS NOT NULL"
                          : f->stuck ? "INDEXED BY task_stuck WHERE flags & 2"
                                     : "NOT INDEXED WHERE 1");
        put_states(q);
        put_conditions(q);
        return;
    }
    for (unsigned s = 0; s < REGISTRY_STATES; s++) {
        if (!(f->states >> s & 1))
            continue;
        buf_puts(&q->sql, lists++ ? " UNION ALL SELECT * FROM (" : "SELECT * FROM (");
        put_state(q, (enum registry_state)s, ready_sorted);
        buf_putc(&q->sql, ')');
    }
    if (lists > 1)
        buf_puts(&q->sql, f->newest_first ? " ORDER BY id DESC LIMIT ?2" : " ORDER BY id LIMIT ?2");
}

static enum weir_status give_tasks(struct sqlite_reader *rd, const struct registry_filter *f,
                                   uint64_t after, uint32_t max, registry_task_fn fn, void *ctx,
                                   struct weir_error *err)
{
    struct query q = {.f = f,
                      .lines = f->pool.len || f->skill.len || f->tenant.len || f->session.len};
    double ready = 0;
    enum weir_status status = count_ready(rd, &ready, err); /* takes the snapshot */
    sqlite3_stmt *stmt = NULL;
    bool any = true;

    if (status == WEIR_OK && q.lines)
        status = choose_lines(rd, f, &any, err);
    if (status != WEIR_OK || !any || (f->states && !(f->states & ((1u << REGISTRY_STATES) - 1))))
        return status;
    put_query(&q, ready <= READY_SORTED_MAX);
    if (q.sql.failed)
        status = error_nomem(err);
    else if (sqlite3_prepare_v2(rd->db, q.sql.data, -1, &stmt, NULL) != SQLITE_OK)
        status = reader_fail(rd, "reading tasks", err);
    buf_free(&q.sql);
    if (status != WEIR_OK)
        return status;
    sqlite3_bind_int64(stmt, 1,
                       (f->newest_first && after == 0) || after > INT64_MAX ? INT64_MAX
                                                                            : (sqlite3_int64)after);
    sqlite3_bind_int64(stmt, 2, max);
    sqlite3_bind_int64(stmt, 3, f->batch > INT64_MAX ? 0 : (sqlite3_int64)f->batch);
    registry_bind_text(stmt, 4, f->key);
    status = reader_each(
        rd, stmt,
        &(struct reader_call){
            .fn = fn, .ctx = ctx, .max = max, .payload = f->with_payload, .result = f->with_result},
        err);
    sqlite3_finalize(stmt);
    return status;
}

enum weir_status reader_tasks(struct registry_reader *r, const struct registry_filter *f,
                              uint64_t after, uint32_t max, registry_task_fn fn, void *ctx,
                              struct weir_error *err)
{
    struct sqlite_reader *rd = reader_self(r);
    enum weir_status status;

    /* From the choice of lines to the last row, a number is that of one line. */
    reader_lock(rd);
    /* Prepared first, so that what is begun can be ended. */
    status = reader_statement(rd, RD_END) ? run(rd, RD_BEGIN, err)
                                          : reader_fail(rd, "reading tasks", err);
    if (status == WEIR_OK) {
        enum weir_status ended;

        status = give_tasks(rd, f, after, max, fn, ctx, err);
        ended = run(rd, RD_END, status == WEIR_OK ? err : NULL);
        status = status == WEIR_OK ? ended : status;
    }
    reader_unlock(rd);
    return status;
}
