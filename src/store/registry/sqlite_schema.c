/*
 * The registry's tables and the statements over them. docs/registry.md tells what is in them; a change here is a change
 * there, and raises SQLITE_REGISTRY_VERSION.
 *
 * What is written for each task is kept short, for each column costs each time: what a task asks for beside its line, and
 * what has come of its attempts, are packed (sqlite_pack.c); events of a transaction stand together (sqlite_event.c).
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
    " session TEXT NOT NULL, slots TEXT NOT NULL) STRICT",
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
    " ended INTEGER NOT NULL, closed INTEGER NOT NULL, told INTEGER NOT NULL, n0 INTEGER NOT NULL,"
    " n1 INTEGER NOT NULL, n2 INTEGER NOT NULL, n3 INTEGER NOT NULL, n4 INTEGER NOT NULL,"
    " n5 INTEGER NOT NULL, n6 INTEGER NOT NULL) STRICT",
    "CREATE TABLE tally (target TEXT NOT NULL PRIMARY KEY, n0 INTEGER NOT NULL,"
    " n1 INTEGER NOT NULL, n2 INTEGER NOT NULL, n3 INTEGER NOT NULL, n4 INTEGER NOT NULL,"
    " n5 INTEGER NOT NULL, n6 INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE event (first INTEGER PRIMARY KEY, count INTEGER NOT NULL, at INTEGER NOT NULL,"
    " kinds INTEGER NOT NULL, body BLOB NOT NULL) STRICT",
    /* The last event of tasks that are gone, as long as it is there. */
    "CREATE TABLE gone (task INTEGER PRIMARY KEY, event INTEGER NOT NULL) STRICT",
    "CREATE TABLE fact (name TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE sample (resolution INTEGER NOT NULL, pool TEXT NOT NULL, at INTEGER NOT NULL,"
    " running REAL NOT NULL, lim REAL NOT NULL, utilisation REAL NOT NULL,"
    " started INTEGER NOT NULL, finished INTEGER NOT NULL, failed INTEGER NOT NULL,"
    " PRIMARY KEY (resolution, pool, at)) STRICT, WITHOUT ROWID",
};

const size_t registry_table_count = sizeof(registry_tables) / sizeof(registry_tables[0]);
