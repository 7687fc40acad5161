/*
 * Rows into a bare SQLite table: WAL, synchronous=FULL, so many rows a transaction.
 *
 *     journal_sqlite FOLDER ROWS ROWS_PER_TRANSACTION
 *
 * The least that a durable record of a row costs with SQLite: a number and 100 bytes. What weir
 * keeps of a row is more; the goal says how much slower it may be for that.
 */
#include "benchkit.h"

#include <sqlite3.h>
#include <unistd.h>

#define PAYLOAD_BYTES 100

static void must(sqlite3 *db, int status, int wanted)
{
    if (status != wanted)
        bench_die(sqlite3_errmsg(db));
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement;

    must(db, sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    return statement;
}

static void step(sqlite3 *db, sqlite3_stmt *statement)
{
    must(db, sqlite3_step(statement), SQLITE_DONE);
    must(db, sqlite3_reset(statement), SQLITE_OK);
}

int main(int argc, char **argv)
{
    const char *folder = bench_text(argc, argv, 1);
    uint64_t rows = bench_number(argc, argv, 2), group = bench_number(argc, argv, 3), done = 0;
    sqlite3_stmt *begin, *put, *commit;
    char path[4096], payload[PAYLOAD_BYTES];
    double start_s;
    sqlite3 *db;

    snprintf(path, sizeof path, "%s/raw.db", folder);
    unlink(path);
    if (sqlite3_open(path, &db) != SQLITE_OK)
        bench_die(sqlite3_errmsg(db));
    must(db,
         sqlite3_exec(db,
                      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                      "CREATE TABLE row (id INTEGER PRIMARY KEY, payload BLOB NOT NULL);",
                      NULL, NULL, NULL),
         SQLITE_OK);
    begin = prepare(db, "BEGIN IMMEDIATE");
    put = prepare(db, "INSERT INTO row (id, payload) VALUES (?, ?)");
    commit = prepare(db, "COMMIT");
    memset(payload, 'x', sizeof payload);
    start_s = bench_now_s();
    while (done < rows) {
        step(db, begin);
        for (uint64_t end = done + group; done < rows && done < end; done++) {
            must(db, sqlite3_bind_int64(put, 1, (sqlite3_int64)done), SQLITE_OK);
            must(db, sqlite3_bind_blob(put, 2, payload, sizeof payload, SQLITE_STATIC), SQLITE_OK);
            step(db, put);
        }
        step(db, commit);
    }
    bench_tell("rows_per_s", (double)rows / (bench_now_s() - start_s));
    sqlite3_finalize(begin);
    sqlite3_finalize(put);
    sqlite3_finalize(commit);
    must(db, sqlite3_close(db), SQLITE_OK);
    unlink(path);
    return 0;
}
