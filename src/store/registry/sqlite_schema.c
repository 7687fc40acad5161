/*
 * The registry's tables and the statements over them. docs/registry.md tells what is in them; a
 * change here is a change there, and raises SQLITE_REGISTRY_VERSION.
 *
 * What is written for each task is kept short, for each column costs each time: what a task asks
 * for beside its line, and what has come of its attempts, are packed (sqlite_pack.c); events of a
 * transaction stand together (sqlite_event.c).
 */
#include "store/registry/sqlite_inside.h"

/* Numbers of enum registry_state, in the conditions of indexes: a condition is only used when a statement says the same. */
_Static_assert(REGISTRY_SCHEDULED == 1 && REGISTRY_READY == 2 && REGISTRY_RUNNING == 3,
               "the indexes below say so");

const char *const registry_tables[] = {
    "CREATE TABLE mark (id INTEGER PRIMARY KEY CHECK (id = 0), task INTEGER NOT NULL,"
    " batch INTEGER NOT NULL, event INTEGER NOT NULL, event_first INTEGER NOT NULL,"
    " rank INTEGER NOT NULL) STRICT",
    "CREATE TABLE name (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT",
    "CREATE TABLE line (id INTEGER PRIMARY KEY, priority INTEGER NOT NULL, cpu INTEGER NOT NULL,"
    " memory INTEGER NOT NULL, pool TEXT NOT NULL, skill TEXT NOT NULL, tenant TEXT NOT NULL,"
    " session TEXT NOT NULL, slots TEXT NOT NULL, tasks INTEGER NOT NULL) STRICT",
    "CREATE TABLE task (id INTEGER PRIMARY KEY, line INTEGER NOT NULL, state INTEGER NOT NULL,"
    " rank INTEGER NOT NULL, due INTEGER NOT NULL, batch INTEGER NOT NULL, place INTEGER NOT NULL,"
    " blocked INTEGER NOT NULL, flags INTEGER NOT NULL, event INTEGER NOT NULL,"
    " submitted INTEGER NOT NULL, opts BLOB, run BLOB, key TEXT, idempotency TEXT, message TEXT,"
    " payload BLOB)",
    "CREATE INDEX task_ready ON task (line, rank) WHERE state = 2",
    /* By id within each state, but for those in which tasks come and go. */
    "CREATE INDEX task_state ON task (state) WHERE state NOT IN (2, 3)",
    "CREATE INDEX task_due ON task (due) WHERE due > 0",
    "CREATE INDEX task_batch ON task (batch, place) WHERE batch > 0",
    "CREATE INDEX task_key ON task (key) WHERE key IS NOT NULL",
    "CREATE UNIQUE INDEX task_idempotency ON task (idempotency) WHERE idempotency IS NOT NULL",
    "CREATE INDEX task_stuck ON task (id) WHERE flags & 2",
    "CREATE TABLE payload (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT",
    "CREATE TABLE result (id INTEGER PRIMARY KEY, output BLOB, errput BLOB) STRICT",
    "CREATE TABLE dep (task INTEGER NOT NULL, on_task INTEGER NOT NULL, met INTEGER NOT NULL,"
    " PRIMARY KEY (task, on_task)) STRICT, WITHOUT ROWID",
    "CREATE INDEX dep_on ON dep (on_task)",
    "CREATE TABLE runner (task INTEGER PRIMARY KEY, token INTEGER NOT NULL,"
    " attempt INTEGER NOT NULL, pool TEXT NOT NULL, pid INTEGER NOT NULL,"
    " pid_start INTEGER NOT NULL, worker INTEGER NOT NULL, slots BLOB, started INTEGER NOT NULL)"
    " STRICT",
    "CREATE TABLE batch (id INTEGER PRIMARY KEY, name TEXT NOT NULL, opened INTEGER NOT NULL,"
    " ended INTEGER NOT NULL, closed INTEGER NOT NULL, told INTEGER NOT NULL,"
    " first INTEGER NOT NULL, last INTEGER NOT NULL, n0 INTEGER NOT NULL,"
    " n1 INTEGER NOT NULL, n2 INTEGER NOT NULL, n3 INTEGER NOT NULL, n4 INTEGER NOT NULL,"
    " n5 INTEGER NOT NULL, n6 INTEGER NOT NULL) STRICT",
    "CREATE INDEX batch_ended ON batch (ended) WHERE told = 1",
    "CREATE INDEX batch_passing ON batch (id) WHERE closed = 2",
    "CREATE TABLE tally (target TEXT NOT NULL PRIMARY KEY, n0 INTEGER NOT NULL,"
    " n1 INTEGER NOT NULL, n2 INTEGER NOT NULL, n3 INTEGER NOT NULL, n4 INTEGER NOT NULL,"
    " n5 INTEGER NOT NULL, n6 INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE event (first INTEGER PRIMARY KEY, count INTEGER NOT NULL, at INTEGER NOT NULL,"
    " kinds INTEGER NOT NULL, body BLOB NOT NULL) STRICT",
    /* The last event of tasks that are gone, as long as it is there. */
    "CREATE TABLE gone (task INTEGER PRIMARY KEY, event INTEGER NOT NULL) STRICT",
    "CREATE INDEX gone_event ON gone (event)",
    "CREATE TABLE fact (name TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE sample (resolution INTEGER NOT NULL, pool TEXT NOT NULL, at INTEGER NOT NULL,"
    " running REAL NOT NULL, lim REAL NOT NULL, utilisation REAL NOT NULL,"
    " started INTEGER NOT NULL, finished INTEGER NOT NULL, failed INTEGER NOT NULL,"
    " PRIMARY KEY (resolution, pool, at)) STRICT, WITHOUT ROWID",
};

const size_t registry_table_count = sizeof(registry_tables) / sizeof(registry_tables[0]);

/* REGISTRY_STATES numbers of a tally, and how they are added to what is there. */
#define IN_STATE                                                                                   \
    "SELECT " ROW_COLUMNS " FROM task INDEXED BY task_state"                                       \
    " WHERE state NOT IN (2, 3) AND state = ?1 AND id > ?2 ORDER BY id"
#define TALLY_COLUMNS "n0, n1, n2, n3, n4, n5, n6"

const char *const registry_sql[RS_COUNT] = {
    [RS_BEGIN] = "BEGIN IMMEDIATE",
    [RS_COMMIT] = "COMMIT",
    [RS_ROLLBACK] = "ROLLBACK",
    [RS_MARK_PUT] = "UPDATE mark SET task = ?1, batch = ?2, event = ?3, event_first = ?4, rank = ?5"
                    " WHERE id = 0",
    [RS_NAME_PUT] = "INSERT INTO name VALUES (?1, ?2)",
    [RS_LINE_PUT] = "INSERT INTO line VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    [RS_LINE_COUNT] = "UPDATE line SET tasks = ?2 WHERE id = ?1",
    [RS_LINE_DROP] = "DELETE FROM line WHERE id = ?1",
    [RS_TASKS_PUT] = "INSERT OR FAIL INTO task SELECT * FROM coming",
    [RS_TASKS_MOVE] = "INSERT INTO task (id, line, state, rank, due, batch, place, blocked, flags,"
                      " event, submitted, run, message) SELECT id, line, state, rank, due, batch,"
                      " place, blocked, flags, event, submitted, run, message FROM changed"
                      " WHERE true ON CONFLICT (id) DO UPDATE SET state = excluded.state,"
                      " rank = excluded.rank, due = excluded.due, event = excluded.event,"
                      " run = excluded.run, message = excluded.message",
    [RS_TASK_GET] = "SELECT " ROW_COLUMNS " FROM task WHERE id = ?1",
    [RS_TASK_SET] = "UPDATE OR FAIL task SET state = ?1, rank = ?2, due = ?3, event = ?4, run = ?5,"
                    " message = iif(?12, ?6, message), line = ?8, blocked = ?9, flags = ?10,"
                    " opts = ?11 WHERE id = ?7",
    [RS_TASK_EVENT] = "UPDATE task SET event = ?1 WHERE id = ?2",
    [RS_TASK_FLAG] = "UPDATE task SET flags = flags | ?1 WHERE id = ?2",
    [RS_TASK_DROP] = "DELETE FROM task WHERE id = ?1",
    [RS_TASK_BY_KEY] = "SELECT id FROM task WHERE idempotency = ?1",
    [RS_TASK_FIELDS] = "SELECT " ROW_COLUMNS ", key, payload, message FROM task WHERE id = ?1",
    [RS_TAKE] = "SELECT " ROW_COLUMNS ", key, payload FROM task INDEXED BY task_ready"
                " WHERE line = ?1 AND state = 2 AND rank > ?2 ORDER BY rank LIMIT ?3",
    [RS_READY_BEFORE] = "SELECT 1 FROM task INDEXED BY task_ready WHERE line = ?1 AND state = 2"
                        " AND rank > ?2 AND rank < ?3 LIMIT 1",
    [RS_READY_SOME] = "SELECT count(*) FROM (SELECT 1 FROM task INDEXED BY task_ready"
                      " WHERE line = ?1 AND state = 2 LIMIT ?2)",
    [RS_READY_BETWEEN] = "SELECT count(*) FROM task INDEXED BY task_ready WHERE line = ?1"
                         " AND state = 2 AND rank > ?2 AND rank <= ?3",
    [RS_PAYLOAD_PUT] = "INSERT INTO payload VALUES (?1, ?2)",
    [RS_PAYLOAD_GET] = "SELECT bytes FROM payload WHERE id = ?1",
    [RS_PAYLOAD_DROP] = "DELETE FROM payload WHERE id = ?1",
    [RS_RESULT_PUT] = "INSERT OR REPLACE INTO result VALUES (?1, ?2, ?3)",
    [RS_RESULT_DROP] = "DELETE FROM result WHERE id = ?1",
    [RS_DEP_PUT] = "INSERT INTO dep VALUES (?1, ?2, ?3)",
    [RS_DEP_HAS] = "SELECT met FROM dep WHERE task = ?1 AND on_task = ?2",
    [RS_DEP_OF] = "SELECT on_task, met FROM dep WHERE task = ?1 ORDER BY on_task",
    [RS_DEP_ON] = "SELECT task FROM dep INDEXED BY dep_on WHERE on_task = ?1 AND met = 0"
                  " ORDER BY task",
    [RS_DEP_MET] = "UPDATE dep SET met = 1 WHERE task = ?1 AND on_task = ?2 AND met = 0",
    [RS_DEP_DROP] = "DELETE FROM dep WHERE task = ?1",
    [RS_DEP_DROP_UNMET] = "DELETE FROM dep WHERE task = ?1 AND met = 0",
    [RS_RUNNER_PUT] = "INSERT OR REPLACE INTO runner VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [RS_RUNNER_GET] = "SELECT token, attempt, pool, worker, slots, started FROM runner"
                      " WHERE task = ?1",
    [RS_RUNNER_DROP] = "DELETE FROM runner WHERE task = ?1",
    [RS_RUNNER_ALL] = "SELECT task, token, attempt, pool, pid, pid_start, worker, slots, started"
                      " FROM runner ORDER BY task",
    [RS_BATCH_PUT] = "INSERT INTO batch VALUES (?1, ?2, ?3, 0, ?4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
    [RS_BATCH_GET] =
        "SELECT ended, closed, told, first, last, " TALLY_COLUMNS " FROM batch WHERE id = ?1",
    [RS_BATCH_SET] = "UPDATE batch SET ended = ?2, closed = ?3, told = ?4, first = ?5, last = ?6,"
                     " n0 = ?7, n1 = ?8, n2 = ?9, n3 = ?10, n4 = ?11, n5 = ?12, n6 = ?13"
                     " WHERE id = ?1",
    [RS_BATCH_PASSING] = "SELECT id FROM batch WHERE closed = 2 ORDER BY id",
    [RS_BATCH_DROP] = "DELETE FROM batch WHERE id = ?1",
    [RS_BATCH_TASKS] = "SELECT id FROM task INDEXED BY task_batch WHERE batch = ?1 AND batch > 0"
                       " ORDER BY id",
    [RS_BATCH_PIECE] = "SELECT id, place FROM task INDEXED BY task_batch WHERE batch = ?1"
                       " AND batch > 0 AND (place, id) > (?2, ?3) ORDER BY place, id LIMIT ?4",
    [RS_TALLY_PUT] = "INSERT INTO tally VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
                     " ON CONFLICT (target) DO UPDATE SET n0 = n0 + ?2, n1 = n1 + ?3, n2 = n2 + ?4,"
                     " n3 = n3 + ?5, n4 = n4 + ?6, n5 = n5 + ?7, n6 = n6 + ?8",
    [RS_TALLY_DROP] = "DELETE FROM tally WHERE target = ?1",
    [RS_EVENT_PUT] = "INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5)",
    [RS_EVENT_FIRST] = "SELECT first, count, at, body FROM event ORDER BY first LIMIT 1",
    [RS_EVENT_BEHIND] = "SELECT first, at FROM event WHERE first > ?1 ORDER BY first",
    [RS_EVENT_DROP] = "DELETE FROM event WHERE first = ?1",
    [RS_GONE_PUT] = "INSERT OR REPLACE INTO gone VALUES (?1, ?2)",
    [RS_GONE_GET] = "SELECT event FROM gone WHERE task = ?1",
    [RS_GONE_DROP] = "DELETE FROM gone WHERE task IN (SELECT task FROM gone WHERE event < ?1"
                     " ORDER BY event LIMIT ?2)",
    [RS_FACT_PUT] = "INSERT OR REPLACE INTO fact VALUES (?1, ?2)",
    [RS_FACT_DROP] = "DELETE FROM fact WHERE name = ?1",
    [RS_SAMPLE_PUT] = "INSERT OR REPLACE INTO sample VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [RS_SAMPLE_NEWEST] = "SELECT max(at) FROM sample WHERE resolution = ?1 AND pool = ?2",
    [RS_SAMPLE_DROP] = "DELETE FROM sample WHERE resolution = ?1 AND pool = ?2 AND at <= ?3",
    [RS_DUE] = "SELECT " ROW_COLUMNS " FROM task INDEXED BY task_due WHERE due > 0 AND due <= ?1"
               " ORDER BY due, id LIMIT ?2",
    [RS_DUE_NEXT] = "SELECT due FROM task INDEXED BY task_due WHERE due > 0 ORDER BY due LIMIT 1",
    [RS_IN_STATE] = IN_STATE,
    [RS_ENDED_DONE] = IN_STATE,
    [RS_ENDED_FAILED] = IN_STATE,
    [RS_ENDED_CANCELLED] = IN_STATE,
    [RS_STUCK] = "SELECT id FROM task INDEXED BY task_stuck WHERE flags & 2 ORDER BY id",
    /* From one line that has ready tasks to the next, without looking at the tasks between. */
    [RS_LINE_READY] = "SELECT line FROM task INDEXED BY task_ready WHERE state = 2 AND line > ?1"
                      " ORDER BY line LIMIT 1",
    [RS_BATCHES_ENDED] = "SELECT id FROM batch INDEXED BY batch_ended WHERE told = 1 AND ended < ?1"
                         " AND n0 + n1 + n2 + n3 + n4 + n5 + n6 = 0 LIMIT ?2",
};
