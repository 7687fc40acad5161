/*
 * What the files of the readers share: a connection of its own, its statements, and a task's row as
 * a view.
 */
#ifndef STORE_REGISTRY_SQLITE_READ_H
#define STORE_REGISTRY_SQLITE_READ_H

#include "store/registry/sqlite_inside.h"

enum reader_statement {
    RD_BEGIN,
    RD_END,
    RD_TASK,
    RD_PAYLOAD,
    RD_RESULT,
    RD_DEPS,
    RD_DEPS_UP,
    RD_BATCH,
    RD_BATCHES,
    RD_RESULTS,
    RD_TALLIES,
    RD_READY_COUNT,
    RD_HISTORY,
    RD_FACT,
    RD_EVENTS,
    RD_EVENTS_BACK,
    RD_EVENT_CHUNK,
    RD_MARK,
    RD_LAST_OF,
    RD_LAST_OF_GONE,
    RD_COUNT
};

struct sqlite_reader {
    struct registry_reader base; /* first: the port casts */
    struct sqlite_registry *r;
    sqlite3 *db;
    sqlite3_stmt *statements[RD_COUNT];
    struct buf hold;  /* what a view of one task points to */
    struct buf chunk; /* of the record: the row that was read last */
    uint64_t chunk_first, chunk_count;
    int64_t chunk_at_ns;
    unsigned char *lines; /* whether each passes the filter, by id */
    size_t line_count;
};

static inline struct sqlite_reader *reader_self(struct registry_reader *r)
{
    return (struct sqlite_reader *)(void *)r;
}

/*
 * Around each call that looks at lines, from before its snapshot is taken until it is let go of:
 * what it finds there stays. Not to be nested: behind a writer that waits, the second would wait
 * for the first.
 */
static inline void reader_lock(struct sqlite_reader *rd)
{
    pthread_rwlock_rdlock(&rd->r->reading);
}

static inline void reader_unlock(struct sqlite_reader *rd)
{
    pthread_rwlock_unlock(&rd->r->reading);
}

/* Columns of a view, as reader_view() reads them. */
#define VIEW_COLUMNS ROW_COLUMNS ", key, idempotency, message, payload"

extern const char *const reader_sql[RD_COUNT];

/* Prepared when it is first asked for. NULL: reader_fail() says why. */
sqlite3_stmt *reader_statement(struct sqlite_reader *rd, enum reader_statement st);
enum weir_status reader_fail(struct sqlite_reader *rd, const char *doing, struct weir_error *err);
/* The row that the statement stands on. Slices live until it, or the statements for payloads and results, go on. */
enum weir_status reader_view(struct sqlite_reader *rd, sqlite3_stmt *stmt, bool payload,
                             bool result, struct registry_view *ret, struct weir_error *err);
/* fn for each row of the statement, at most max; results: up to the first that has not ended. It is reset. Under reader_lock(). */
struct reader_call {
    registry_task_fn fn;
    void *ctx;
    uint32_t max;
    bool payload, result, only_ended;
};
enum weir_status reader_each(struct sqlite_reader *rd, sqlite3_stmt *stmt,
                             const struct reader_call *call, struct weir_error *err);

enum weir_status reader_tasks(struct registry_reader *r, const struct registry_filter *f,
                              uint64_t after, uint32_t max, registry_task_fn fn, void *ctx,
                              struct weir_error *err);
enum weir_status reader_events(struct registry_reader *r, const struct registry_event_filter *f,
                               uint64_t after, uint32_t max, registry_event_fn fn, void *ctx,
                               struct weir_error *err);

#endif
