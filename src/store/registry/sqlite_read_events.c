/*
 * Reading the record. In the order of numbers: row by row of the table, whose kinds say whether it
 * is worth unpacking. What happened to one task: along its chain, from its last event backwards.
 */
#include "store/registry/sqlite_read.h"

#include "base/error.h"
#include "store/registry/sqlite_moves.h"

struct record {
    uint64_t last, first; /* numbers that are there */
};

static enum weir_status read_record(struct sqlite_reader *rd, struct record *ret,
                                    struct weir_error *err)
{
    sqlite3_stmt *stmt = reader_statement(rd, RD_MARK);
    int rc;

    if (!stmt)
        return reader_fail(rd, "reading events", err);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *ret = (struct record){(uint64_t)sqlite3_column_int64(stmt, 0),
                               (uint64_t)sqlite3_column_int64(stmt, 1)};
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW ? WEIR_OK : reader_fail(rd, "reading events", err);
}

static bool event_passes(const struct registry_event *e, const struct registry_event_filter *f)
{
    return (f->task == 0 || f->task == e->task) && (f->worker == 0 || f->worker == e->worker) &&
           (f->kinds == 0 || (f->kinds >> e->kind & 1)) &&
           (f->pool.len == 0 || slice_equal(f->pool, e->pool));
}

struct page {
    struct sqlite_reader *rd;
    const struct registry_event_filter *f;
    struct record record;
    uint64_t after;
    uint32_t left;
    registry_event_fn fn;
    void *ctx;
};

/* False: enough. */
static bool page_give(struct page *p, struct registry_event *e, uint32_t pool)
{
    e->pool = registry_name_text(p->rd->r, pool);
    if (!event_passes(e, p->f))
        return true;
    p->left--;
    return p->fn(p->ctx, e) && p->left > 0;
}

/* ---- in the order of numbers ---- */

/* False in *ret_go_on: enough. */
static enum weir_status give_row(struct page *p, sqlite3_stmt *stmt, bool *ret_go_on,
                                 struct weir_error *err)
{
    struct event_walk w;
    struct registry_event e;

    event_walk_begin(&w, (uint64_t)sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1),
                     registry_column(stmt, 2));
    while (*ret_go_on && event_walk_next(&w, &e))
        if (e.seq > p->after && e.seq >= p->record.first)
            *ret_go_on = page_give(p, &e, w.pool);
    return w.at ? WEIR_OK : registry_damaged(p->rd->r->path, "an event cannot be read", err);
}

static enum weir_status give_row_backwards(struct page *p, sqlite3_stmt *stmt, bool *ret_go_on,
                                           struct weir_error *err)
{
    struct registry_event events[EVENT_CHUNK];
    uint32_t pools[EVENT_CHUNK];
    struct event_walk w;
    size_t count = 0;

    event_walk_begin(&w, (uint64_t)sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1),
                     registry_column(stmt, 2));
    while (count < EVENT_CHUNK && event_walk_next(&w, &events[count]))
        pools[count++] = w.pool;
    if (!w.at)
        return registry_damaged(p->rd->r->path, "an event cannot be read", err);
    while (*ret_go_on && count-- > 0)
        if ((p->after == 0 || events[count].seq < p->after) && events[count].seq >= p->record.first)
            *ret_go_on = page_give(p, &events[count], pools[count]);
    return WEIR_OK;
}

static enum weir_status give_all(struct page *p, struct weir_error *err)
{
    bool back = p->f->newest_first, go_on = p->left > 0;
    sqlite3_stmt *stmt = reader_statement(p->rd, back ? RD_EVENTS_BACK : RD_EVENTS);
    enum weir_status status = WEIR_OK;
    uint64_t from = back ? (p->after ? p->after - 1 : UINT64_MAX) : p->after + 1;
    int rc = SQLITE_DONE;

    if (!stmt)
        return reader_fail(p->rd, "reading events", err);
    sqlite3_bind_int64(stmt, 1, from > INT64_MAX ? INT64_MAX : (sqlite3_int64)from);
    sqlite3_bind_int64(stmt, 2, p->f->kinds ? (sqlite3_int64)p->f->kinds : -1);
    while (status == WEIR_OK && go_on && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
        status = back ? give_row_backwards(p, stmt, &go_on, err) : give_row(p, stmt, &go_on, err);
    if (status == WEIR_OK && rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = reader_fail(p->rd, "reading events", err);
    sqlite3_reset(stmt);
    return status;
}

/* ---- of one task ---- */

static enum weir_status last_of(struct sqlite_reader *rd, enum reader_statement st, uint64_t task,
                                uint64_t *ret, struct weir_error *err)
{
    sqlite3_stmt *stmt = reader_statement(rd, st);
    int rc;

    if (!stmt)
        return reader_fail(rd, "reading events", err);
    sqlite3_bind_int64(stmt, 1, task > INT64_MAX ? 0 : (sqlite3_int64)task);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *ret = (uint64_t)sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? WEIR_OK : reader_fail(rd, "reading events", err);
}

/* Reads the row of the table that the event is in, unless it is the one that was read last. */
static enum weir_status load_chunk(struct sqlite_reader *rd, uint64_t seq, struct weir_error *err)
{
    sqlite3_stmt *stmt = reader_statement(rd, RD_EVENT_CHUNK);
    enum weir_status status = WEIR_OK;
    int rc;

    if (seq >= rd->chunk_first && seq < rd->chunk_first + rd->chunk_count)
        return WEIR_OK;
    rd->chunk_count = 0;
    if (!stmt)
        return reader_fail(rd, "reading events", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)seq);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        buf_clear(&rd->chunk);
        buf_put_slice(&rd->chunk, registry_column(stmt, 2));
        rd->chunk_first = (uint64_t)sqlite3_column_int64(stmt, 0);
        rd->chunk_at_ns = sqlite3_column_int64(stmt, 1);
        rd->chunk_count = rd->chunk.failed ? 0 : (uint64_t)sqlite3_column_int64(stmt, 3);
        if (rd->chunk.failed)
            status = error_nomem(err);
    } else if (rc != SQLITE_DONE) {
        status = reader_fail(rd, "reading events", err);
    }
    sqlite3_reset(stmt);
    return status;
}

/* *ret_found false: it has been purged meanwhile. */
static enum weir_status find_event(struct sqlite_reader *rd, uint64_t seq,
                                   struct registry_event *ret, struct event_walk *w,
                                   bool *ret_found, struct weir_error *err)
{
    enum weir_status status = load_chunk(rd, seq, err);

    *ret_found = false;
    if (status != WEIR_OK || rd->chunk_count == 0 || seq >= rd->chunk_first + rd->chunk_count)
        return status;
    event_walk_begin(w, rd->chunk_first, rd->chunk_at_ns, buf_slice(&rd->chunk));
    while (!*ret_found && event_walk_next(w, ret))
        *ret_found = ret->seq == seq;
    return w->at ? WEIR_OK : registry_damaged(rd->r->path, "an event cannot be read", err);
}

/* Numbers of its events, newest first, within the page. */
static enum weir_status walk_chain(struct page *p, uint64_t at, struct id_list *ids,
                                   struct weir_error *err)
{
    bool back = p->f->newest_first;

    while (at >= p->record.first && at != 0 && (back || at > p->after)) {
        struct registry_event e;
        struct event_walk w;
        bool found;
        enum weir_status status = find_event(p->rd, at, &e, &w, &found, err);

        if (status != WEIR_OK || !found)
            return status;
        if ((!back || p->after == 0 || at < p->after) && !id_list_add(ids, at))
            return error_nomem(err);
        at = w.prev;
    }
    return WEIR_OK;
}

static enum weir_status give_task(struct page *p, struct weir_error *err)
{
    _cleanup_ids_ struct id_list ids = {0};
    bool go_on = p->left > 0;
    uint64_t last = 0;
    enum weir_status status = last_of(p->rd, RD_LAST_OF, p->f->task, &last, err);

    if (status == WEIR_OK && last == 0)
        status = last_of(p->rd, RD_LAST_OF_GONE, p->f->task, &last, err);
    p->rd->chunk_count = 0;
    if (status == WEIR_OK)
        status = walk_chain(p, last, &ids, err);
    for (size_t i = 0; i < ids.count && status == WEIR_OK && go_on; i++) {
        uint64_t seq = ids.ids[p->f->newest_first ? i : ids.count - 1 - i];
        struct registry_event e;
        struct event_walk w;
        bool found;

        status = find_event(p->rd, seq, &e, &w, &found, err);
        if (status == WEIR_OK && found)
            go_on = page_give(p, &e, w.pool);
    }
    return status;
}

enum weir_status reader_events(struct registry_reader *r, const struct registry_event_filter *f,
                               uint64_t after, uint32_t max, registry_event_fn fn, void *ctx,
                               struct weir_error *err)
{
    struct page p = {
        .rd = reader_self(r), .f = f, .after = after, .left = max, .fn = fn, .ctx = ctx};
    enum weir_status status = read_record(p.rd, &p.record, err);

    if (status != WEIR_OK)
        return status;
    return f->task ? give_task(&p, err) : give_all(&p, err);
}
