/*
 * Durable tasks in a bare SQLite table: WAL, synchronous=FULL, so many a transaction.
 *
 *     tasks_sqlite FOLDER TASKS TASKS_PER_TRANSACTION
 *
 * What somebody writes who needs a queue and nothing else: put in; claimed, so many at a time (a
 * SELECT and then an UPDATE of each, in one transaction, which is four times as fast as an UPDATE
 * with a subquery); finished, in another one. No events, no attempts, no lines.
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

static sqlite3 *open_db(const char *path)
{
    sqlite3 *db;

    if (sqlite3_open(path, &db) != SQLITE_OK)
        bench_die(sqlite3_errmsg(db));
    must(db,
         sqlite3_exec(db,
                      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                      "CREATE TABLE task (id INTEGER PRIMARY KEY, state INT NOT NULL DEFAULT 0,"
                      " attempt INT NOT NULL DEFAULT 0, claimed_at INT, payload BLOB);"
                      "CREATE INDEX task_waiting ON task (id) WHERE state = 0;",
                      NULL, NULL, NULL),
         SQLITE_OK);
    return db;
}

static void put_all(sqlite3 *db, uint64_t tasks, uint64_t group)
{
    sqlite3_stmt *begin = prepare(db, "BEGIN IMMEDIATE"), *commit = prepare(db, "COMMIT");
    sqlite3_stmt *put = prepare(db, "INSERT INTO task (payload) VALUES (?)");
    char payload[PAYLOAD_BYTES];

    memset(payload, 'x', sizeof payload);
    for (uint64_t done = 0; done < tasks;) {
        step(db, begin);
        for (uint64_t end = done + group; done < tasks && done < end; done++) {
            must(db, sqlite3_bind_blob(put, 1, payload, sizeof payload, SQLITE_STATIC), SQLITE_OK);
            step(db, put);
        }
        step(db, commit);
    }
    sqlite3_finalize(begin);
    sqlite3_finalize(put);
    sqlite3_finalize(commit);
}

static void update_all(sqlite3 *db, sqlite3_stmt *update, const sqlite3_int64 *ids, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        must(db, sqlite3_bind_int64(update, 1, ids[i]), SQLITE_OK);
        step(db, update);
    }
}

static uint64_t run_all(sqlite3 *db, uint64_t group)
{
    sqlite3_stmt *begin = prepare(db, "BEGIN IMMEDIATE"), *commit = prepare(db, "COMMIT");
    sqlite3_stmt *find =
        prepare(db, "SELECT id, payload FROM task WHERE state = 0 ORDER BY id LIMIT ?");
    sqlite3_stmt *claim = prepare(db, "UPDATE task SET state = 1, attempt = attempt + 1,"
                                      " claimed_at = unixepoch() WHERE id = ?");
    sqlite3_stmt *finish = prepare(db, "UPDATE task SET state = 2 WHERE id = ? AND state = 1");
    sqlite3_int64 *ids = calloc(group, sizeof(*ids));
    uint64_t done = 0, count;

    if (!ids)
        bench_die("no memory");
    do {
        count = 0;
        step(db, begin);
        must(db, sqlite3_bind_int64(find, 1, (sqlite3_int64)group), SQLITE_OK);
        while (sqlite3_step(find) == SQLITE_ROW)
            ids[count++] = sqlite3_column_int64(find, 0);
        must(db, sqlite3_reset(find), SQLITE_OK);
        update_all(db, claim, ids, count);
        step(db, commit);
        step(db, begin);
        update_all(db, finish, ids, count);
        step(db, commit);
        done += count;
    } while (count > 0);
    free(ids);
    sqlite3_finalize(begin);
    sqlite3_finalize(find);
    sqlite3_finalize(claim);
    sqlite3_finalize(finish);
    sqlite3_finalize(commit);
    return done;
}

int main(int argc, char **argv)
{
    uint64_t tasks = bench_number(argc, argv, 2), group = bench_number(argc, argv, 3);
    char path[4096];
    double start_s;
    sqlite3 *db;

    snprintf(path, sizeof path, "%s/raw.db", bench_text(argc, argv, 1));
    unlink(path);
    db = open_db(path);
    start_s = bench_now_s();
    put_all(db, tasks, group);
    bench_tell("submitted_per_s", (double)tasks / (bench_now_s() - start_s));
    start_s = bench_now_s();
    if (run_all(db, group) != tasks)
        bench_die("tasks are missing");
    bench_tell("ended_per_s", (double)tasks / (bench_now_s() - start_s));
    must(db, sqlite3_close(db), SQLITE_OK);
    unlink(path);
    return 0;
}
