/*
 * The journal's tables and the statements over them. docs/journal.md tells what each column means
 * and what always holds; a change here is a change there, and raises SQLITE_STORE_VERSION.
 */
#include "store/sqlite/sqlite_internal.h"

/* What row and past_row have in common, in this order, because rows are copied from one to the
 * other. Columns of a key come first: SQLite 3.40's own check is wrong about other tables without
 * rowid. Words instead of numbers for outcome and reason: they are
 * what an auditor reads, and the numbers are not stable. */
#define ROW_COLUMNS_SQL                                                                            \
    " generation INTEGER NOT NULL,"                                                                \
    " hash BLOB NOT NULL,"                                                                         \
    " key TEXT NOT NULL,"                                                                          \
    " outcome TEXT NOT NULL,"                                                                      \
    " reason TEXT NOT NULL,"                                                                       \
    " status INTEGER NOT NULL,"                                                                    \
    " message TEXT,"                                                                               \
    " request_id TEXT,"                                                                            \
    " complete_index INTEGER NOT NULL,"                                                            \
    " submit_ns INTEGER NOT NULL,"                                                                 \
    " start_ns INTEGER NOT NULL,"                                                                  \
    " complete_ns INTEGER NOT NULL,"                                                               \
    " attempts INTEGER NOT NULL,"                                                                  \
    " capacity_retries INTEGER NOT NULL,"                                                          \
    " throttled_ns INTEGER NOT NULL"

const char *const journal_tables[] = {
    "CREATE TABLE fact (name TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT",
    "CREATE TABLE mark (id INTEGER PRIMARY KEY CHECK (id = 0), next INTEGER NOT NULL,"
    " output_bytes INTEGER NOT NULL, errors_bytes INTEGER NOT NULL) STRICT",
    "CREATE TABLE row (idx INTEGER PRIMARY KEY," ROW_COLUMNS_SQL ") STRICT",
    "CREATE TABLE pending (idx INTEGER PRIMARY KEY, output BLOB NOT NULL, errput BLOB) STRICT",
    /* The start is in the key because a run that was killed may try the same attempt again. */
    "CREATE TABLE attempt (idx INTEGER NOT NULL, generation INTEGER NOT NULL,"
    " number INTEGER NOT NULL, start_ns INTEGER NOT NULL, outcome TEXT NOT NULL,"
    " reason TEXT NOT NULL, status INTEGER NOT NULL, message TEXT, end_ns INTEGER NOT NULL,"
    " wait_ns INTEGER NOT NULL,"
    " PRIMARY KEY (idx, generation, number, start_ns)) STRICT, WITHOUT ROWID",
    "CREATE TABLE place (idx INTEGER PRIMARY KEY, in_errors INTEGER NOT NULL,"
    " offset INTEGER NOT NULL, len INTEGER NOT NULL, deliver_ns INTEGER NOT NULL) STRICT",
    "CREATE TABLE past_row (idx INTEGER NOT NULL," ROW_COLUMNS_SQL
    ", PRIMARY KEY (idx, generation)) STRICT, WITHOUT ROWID",
};

const size_t journal_table_count = sizeof(journal_tables) / sizeof(journal_tables[0]);

/* JOURNAL_MANY of them, with commas between. */
#define FOUR(text) text "," text "," text "," text
#define MANY(text) FOUR(FOUR(text))

#define ROW_VALUES     "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
#define PENDING_VALUES "(?,?,?)"
#define PLACE_VALUES   "(?,?,?,?,?)"

/*
 * Of the statements of many: OR FAIL, for what fails is taken back with the whole transaction, and
 * so SQLite need not be ready to take back a statement alone, which costs a copy of each page.
 */
const char *const journal_sql[ST_COUNT] = {
    [ST_BEGIN] = "BEGIN IMMEDIATE",
    [ST_COMMIT] = "COMMIT",
    [ST_ROLLBACK] = "ROLLBACK",
    [ST_ROW_PUT] = "INSERT INTO row VALUES " ROW_VALUES,
    [ST_ROW_PUT_MANY] = "INSERT OR FAIL INTO row VALUES " MANY(ROW_VALUES),
    [ST_ROW_GET] = "SELECT * FROM row WHERE idx = ?1",
    [ST_ROW_COUNT] = "SELECT count(*) FROM row WHERE idx >= ?1 AND idx < ?2",
    [ST_PENDING_PUT] = "INSERT INTO pending VALUES " PENDING_VALUES,
    [ST_PENDING_PUT_MANY] = "INSERT OR FAIL INTO pending VALUES " MANY(PENDING_VALUES),
    [ST_PENDING_GET] = "SELECT output, errput FROM pending WHERE idx = ?1",
    [ST_PENDING_DROP] = "DELETE FROM pending WHERE idx < ?1",
    [ST_ATTEMPT_PUT] = "INSERT OR REPLACE INTO attempt VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
                       " ?10)",
    [ST_PLACE_PUT] = "INSERT OR REPLACE INTO place VALUES " PLACE_VALUES,
    [ST_PLACE_PUT_MANY] = "INSERT OR REPLACE INTO place VALUES " MANY(PLACE_VALUES),
    [ST_PLACE_GET] = "SELECT in_errors, offset, len, deliver_ns FROM place WHERE idx = ?1",
    [ST_PLACE_DROP] = "DELETE FROM place WHERE idx >= ?1 AND idx < ?2",
    [ST_MARK_PUT] = "UPDATE mark SET next = ?1, output_bytes = ?2, errors_bytes = ?3",
    [ST_MARK_GET] = "SELECT next, output_bytes, errors_bytes FROM mark",
    [ST_SUMMARY] = "SELECT count(*), total(outcome <> 'ok'), max(complete_index),"
                   " total(capacity_retries), total(attempts) FROM row",
    [ST_REOPEN_KEEP] = "INSERT OR REPLACE INTO past_row SELECT * FROM row WHERE outcome <> 'ok'",
    [ST_REOPEN_PLACE] =
        "DELETE FROM place WHERE idx IN (SELECT idx FROM row WHERE outcome <> 'ok')",
    [ST_REOPEN_PENDING] =
        "DELETE FROM pending WHERE idx IN (SELECT idx FROM row WHERE outcome <> 'ok')",
    [ST_REOPEN_DROP] = "DELETE FROM row WHERE outcome <> 'ok'",
    [ST_GENERATION] = "SELECT max(generation) FROM past_row WHERE idx = ?1",
    [ST_FACT_PUT] = "INSERT INTO fact VALUES (?1, ?2)"
                    " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    [ST_FACT_GET] = "SELECT value FROM fact WHERE name = ?1",
};
