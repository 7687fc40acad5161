/*
 * What must hold in the registry, looked at from outside of what makes it so. For tests: it reads
 * everything.
 */
#include "base/mem.h"
#include "store/registry/sqlite_inside.h"

void sqlite_registry_fail_next(struct core_registry *base, uint64_t n)
{
    registry_self(base)->fail_next = n;
}

void sqlite_registry_limit_lines(struct core_registry *base, uint32_t max)
{
    registry_self(base)->lines_max = max;
}

/* Each gives a row where something is wrong. */
static const struct {
    const char *wrong, *sql;
} queries[] = {
    {"a task's dependencies are not counted right",
     "SELECT 1 FROM task WHERE blocked <> (SELECT count(*) FROM dep WHERE dep.task = task.id"
     " AND met = 0)"},
    {"a dependency has no task", "SELECT 1 FROM dep WHERE task NOT IN (SELECT id FROM task)"},
    {"a task that others wait for does not know it",
     "SELECT 1 FROM dep JOIN task ON task.id = dep.on_task WHERE met = 0 AND NOT task.flags & 4"},
    {"a task waits for nothing, or does not wait",
     "SELECT 1 FROM task WHERE state < 4 AND (state = 0) <> (blocked > 0)"},
    {"a stuck task is not blocked", "SELECT 1 FROM task WHERE flags & 2 AND state <> 0"},
    {"a task that is to be cancelled does not run",
     "SELECT 1 FROM task WHERE flags & 16 AND state <> 3"},
    {"a task whose attempt's end is told does not run",
     "SELECT 1 FROM task WHERE flags & 32 AND state <> 3"},
    {"a batch counts wrong",
     "SELECT 1 FROM batch b WHERE n0 <> (SELECT count(*) FROM task WHERE batch = b.id AND state = "
     "0)"
     " OR n1 <> (SELECT count(*) FROM task WHERE batch = b.id AND state = 1)"
     " OR n2 <> (SELECT count(*) FROM task WHERE batch = b.id AND state = 2)"
     " OR n3 <> (SELECT count(*) FROM task WHERE batch = b.id AND state = 3)"
     " OR n4 <> (SELECT count(*) FROM task WHERE batch = b.id AND state = 4)"
     " OR n5 <> (SELECT count(*) FROM task WHERE batch = b.id AND state = 5)"
     " OR n6 <> (SELECT count(*) FROM task WHERE batch = b.id AND state = 6)"},
    {"the tally counts wrong",
     "WITH t AS (SELECT iif(pool <> '' OR skill = '', pool, 'skill:' || skill) AS target, state"
     " FROM task JOIN line ON line.id = task.line),"
     " c AS (SELECT target, sum(state = 0) AS c0, sum(state = 1) AS c1, sum(state = 2) AS c2,"
     " sum(state = 3) AS c3, sum(state = 4) AS c4, sum(state = 5) AS c5, sum(state = 6) AS c6"
     " FROM t GROUP BY target)"
     " SELECT 1 FROM tally LEFT JOIN c USING (target)"
     " WHERE n0 <> ifnull(c0, 0) OR n1 <> ifnull(c1, 0) OR n2 <> ifnull(c2, 0) OR"
     " n3 <> ifnull(c3, 0) OR n4 <> ifnull(c4, 0) OR n5 <> ifnull(c5, 0) OR n6 <> ifnull(c6, 0)"
     " UNION ALL SELECT 1 FROM c WHERE target NOT IN (SELECT target FROM tally)"},
    {"a line counts wrong",
     "WITH c AS (SELECT line, count(*) AS n FROM task GROUP BY line)"
     " SELECT 1 FROM line LEFT JOIN c ON c.line = line.id WHERE tasks <> ifnull(n, 0)"
     " UNION ALL SELECT 1 FROM task WHERE line NOT IN (SELECT id FROM line)"},
    {"the tally counts what no line stands for",
     "SELECT 1 FROM tally WHERE target NOT IN"
     " (SELECT iif(pool <> '' OR skill = '', pool, 'skill:' || skill) FROM line)"},
    {"a running task has no runner, or another one has",
     "SELECT 1 FROM task WHERE (state = 3) <> (id IN (SELECT task FROM runner))"},
    {"a large payload is missing, or nobody's",
     "SELECT 1 FROM task WHERE (flags & 8 <> 0) <> (id IN (SELECT id FROM payload))"
     " UNION ALL SELECT 1 FROM payload WHERE id NOT IN (SELECT id FROM task)"},
    {"a result is nobody's", "SELECT 1 FROM result WHERE id NOT IN (SELECT id FROM task)"},
    {"the record has a gap", "SELECT 1 FROM event a WHERE first + count <>"
                             " ifnull((SELECT min(first) FROM event b WHERE b.first > a.first),"
                             " (SELECT event + 1 FROM mark))"},
};

static bool finds_none(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    bool none = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK &&
                sqlite3_step(stmt) == SQLITE_DONE;

    sqlite3_finalize(stmt);
    return none;
}

/* What is counted of a line, beside what is there. */
static bool line_agrees(struct sqlite_registry *r, const struct line_entry *l)
{
    sqlite3_stmt *stmt = NULL;
    bool agrees = false;

    if (sqlite3_prepare_v2(r->db,
                           "SELECT total(rank <= ?2), total(rank > ?2) FROM task WHERE line = ?1"
                           " AND state = 2",
                           -1, &stmt, NULL) == SQLITE_OK) {
        sqlite3_bind_int64(stmt, 1, l->in.id);
        sqlite3_bind_int64(stmt, 2, l->passed);
        if (sqlite3_step(stmt) == SQLITE_ROW)
            agrees = l->held == (uint64_t)sqlite3_column_int64(stmt, 0) &&
                     (l->behind >= LINE_BEHIND_UNKNOWN / 2 ||
                      l->behind == (uint64_t)sqlite3_column_int64(stmt, 1));
    }
    sqlite3_finalize(stmt);
    return agrees;
}

/* What is counted of it, and where it is to be found. */
static bool line_has_row(struct sqlite_registry *r, const struct line_entry *l)
{
    sqlite3_stmt *stmt = NULL;
    bool agrees = false;

    if (sqlite3_prepare_v2(r->db, "SELECT tasks, priority FROM line WHERE id = ?1", -1, &stmt,
                           NULL) == SQLITE_OK) {
        sqlite3_bind_int64(stmt, 1, l->in.id);
        if (sqlite3_step(stmt) == SQLITE_ROW)
            agrees = l->tasks == (uint64_t)sqlite3_column_int64(stmt, 0) &&
                     l->line.priority == sqlite3_column_int(stmt, 1);
    }
    sqlite3_finalize(stmt);
    return agrees && !l->dirty && l->has_row && list_empty(&l->empty_link) == (l->tasks > 0) &&
           intern_find(&r->lines, l->in.key, l->in.hash) == &l->in;
}

static uint64_t count_rows(sqlite3 *db, const char *table)
{
    sqlite3_stmt *stmt = NULL;
    uint64_t count = UINT64_MAX;
    char sql[64];

    sqlite3_snprintf(sizeof(sql), sql, "SELECT count(*) FROM %s", table);
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        count = (uint64_t)sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return count;
}

const char *sqlite_registry_check(struct core_registry *base)
{
    struct sqlite_registry *r = registry_self(base);
    uint64_t held = 0, lines = 0;

    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++)
        if (!finds_none(r->db, queries[i].sql))
            return queries[i].wrong;
    for (uint32_t id = 1; id <= atomic_load(&r->lines.count); id++) {
        struct line_entry *l = row_line(r, id);

        if (!l || l->gone)
            continue;
        if (!line_agrees(r, l))
            return "a line does not know what the engine has of it";
        if (!line_has_row(r, l))
            return "a line does not stand in the file as it is";
        held += l->held;
        lines++;
    }
    if (lines != count_rows(r->db, "line"))
        return "a line is in the file that is not there";
    if (r->targets.count != count_rows(r->db, "tally"))
        return "a target is in the file that is not there, or the other way round";
    return held == r->held ? NULL : "the engine has more or less than is counted";
}
