/*
 * What the files of the SQLite store share: the open journal, its statements, and how an error of
 * SQLite becomes one of weir. Nobody outside this folder includes it.
 */
#ifndef STORE_SQLITE_SQLITE_INTERNAL_H
#define STORE_SQLITE_SQLITE_INTERNAL_H

#include "store/sqlite/sqlite_store.h"

#include <sqlite3.h>

#include <pthread.h>

/* Records that a statement of many takes. More would gain little: most of what each statement costs is shared then. */
#define JOURNAL_MANY 16

/* Prepared once: those before ST_READY when the journal is opened, the others when they are first used. */
enum journal_statement {
    ST_BEGIN,
    ST_COMMIT,
    ST_ROLLBACK,
    ST_ROW_PUT,
    ST_ROW_GET,
    ST_ROW_COUNT, /* of finished rows in [?1, ?2) */
    ST_PENDING_PUT,
    ST_PENDING_GET,
    ST_PENDING_DROP, /* before ?1 */
    ST_ATTEMPT_PUT,
    ST_PLACE_PUT,
    ST_PLACE_GET,
    ST_PLACE_DROP, /* in [?1, ?2) */
    ST_MARK_PUT,
    ST_MARK_GET,
    ST_SUMMARY,
    ST_REOPEN_KEEP, /* copies the failed rows to past_row */
    ST_REOPEN_PLACE,
    ST_REOPEN_PENDING,
    ST_REOPEN_DROP,
    ST_GENERATION,
    ST_FACT_PUT,
    ST_FACT_GET,
    ST_READY,
    ST_ROW_PUT_MANY = ST_READY,
    ST_PENDING_PUT_MANY,
    ST_PLACE_PUT_MANY,
    ST_COUNT,
};

struct sqlite_store {
    struct core_store base; /* first: the port casts */
    pthread_mutex_t lock;   /* held around everything below */
    sqlite3 *db;
    sqlite3_stmt *statements[ST_COUNT];
    unsigned char hashes[JOURNAL_MANY][16]; /* of the rows that are bound */
    char *path;                             /* as the user named it, for messages */
    uint64_t next;                          /* of the committed mark */
    enum weir_status broken;                /* not WEIR_OK: every call fails with it */
};

/* The tables, as sqlite_schema holds them; their texts are compared when a journal is opened. */
extern const char *const journal_tables[];
extern const size_t journal_table_count;
/* The SQL of each statement, by enum journal_statement. */
extern const char *const journal_sql[ST_COUNT];

/* What went wrong at `doing` ("writing rows"), from the state of js->db; marks the store broken
 * when it cannot go on. */
enum weir_status journal_fail(struct sqlite_store *js, const char *doing, struct weir_error *err);
/* The file holds what no journal holds. */
enum weir_status journal_damaged(struct sqlite_store *js, const char *what, struct weir_error *err);

/* The file or its folder is not ours to write. */
enum weir_status journal_unwritable(struct sqlite_store *js, struct weir_error *err);

/* Reads the committed mark. */
enum weir_status journal_mark_read(struct sqlite_store *js, struct store_mark *ret,
                                   struct weir_error *err);

/* The process that holds a lock on the file, so that nobody else can open it; 0: not known. */
long journal_holder(const char *path);

extern const struct core_store_ops sqlite_store_ops;

/* Closes and frees it all, half-made ones too. */
void journal_free(struct sqlite_store *js);

#endif
