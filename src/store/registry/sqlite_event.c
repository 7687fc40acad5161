/*
 * The record. Events of one transaction stand together in one row of the table (several when there
 * are many), as bytes: a row, and an entry in an index, for each event would cost more than all
 * that it tells of. So
 *
 *     event(first, count, at, kinds, body)      numbers first .. first + count - 1; which kinds are among them
 *
 * and a body is, for each event: its kind, a byte of bits that says which fields follow, and these,
 * as varints. Times are the distance from the event before, tasks too.
 *
 * What happened to one task is found without an index: its row knows its last event, and each event
 * of a task how far back the one before it is. For tasks that are gone, `gone` knows the last.
 */
#include "base/error.h"
#include "store/registry/rules.h"
#include "store/registry/sqlite_inside.h"

#include <assert.h>

/* Stored. */
#define HAS_TASK     1u
#define HAS_ATTEMPT  2u
#define HAS_POOL     4u
#define HAS_WORKER   8u
#define HAS_SLOT     16u
#define HAS_DURATION 32u
#define HAS_DETAIL   64u
#define HAS_TIME     128u

/* Bytes of an event without its detail, at most: kind and bits, eight varints, and the length of the detail. */
#define EVENT_BYTES_MAX (2 + 9 * 10)

enum weir_status event_gone(struct sqlite_registry *r, uint64_t task, uint64_t event,
                            struct weir_error *err)
{
    return registry_do(r, RS_GONE_PUT, 2, (int64_t[]){(int64_t)task, (int64_t)event},
                       "writing the record", err);
}

enum weir_status event_flush(struct sqlite_registry *r, struct weir_error *err)
{
    struct event_pen *pen = &r->pen;
    enum weir_status status;
    sqlite3_stmt *stmt;

    if (pen->count == 0)
        return WEIR_OK;
    stmt = registry_statement(r, RS_EVENT_PUT);
    if (!stmt)
        return registry_fail(r, "writing the record", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)pen->first);
    sqlite3_bind_int64(stmt, 2, pen->count);
    sqlite3_bind_int64(stmt, 3, pen->at_ns);
    sqlite3_bind_int64(stmt, 4, (sqlite3_int64)pen->kinds);
    sqlite3_bind_blob64(stmt, 5, pen->body.data, pen->body.len, SQLITE_STATIC);
    status = registry_run(r, stmt, "writing the record", err);
    pen->count = 0;
    return status;
}

static unsigned event_bits(const struct registry_event *e, uint32_t pool, bool has_time)
{
    return (e->task ? HAS_TASK : 0) | (e->attempt ? HAS_ATTEMPT : 0) | (pool ? HAS_POOL : 0) |
           (e->worker ? HAS_WORKER : 0) | (e->slot ? HAS_SLOT : 0) |
           (e->duration_ns ? HAS_DURATION : 0) | (e->detail.len ? HAS_DETAIL : 0) |
           (has_time ? HAS_TIME : 0);
}

static unsigned char *event_encode(struct event_pen *pen, unsigned char *at,
                                   const struct registry_event *e, uint32_t pool, uint64_t seq,
                                   uint64_t prev)
{
    unsigned bits = event_bits(e, pool, e->at_ns != pen->last_at_ns);

    *at++ = (unsigned char)e->kind;
    *at++ = (unsigned char)bits;
    if (bits & HAS_TIME)
        at = varint_put(at, zigzag((int64_t)((uint64_t)e->at_ns - (uint64_t)pen->last_at_ns)));
    if (bits & HAS_TASK) {
        at = varint_put(at, zigzag((int64_t)(e->task - pen->last_task)));
        at = varint_put(at, prev ? seq - prev : 0);
        pen->last_task = e->task;
    }
    if (bits & HAS_ATTEMPT)
        at = varint_put(at, e->attempt);
    if (bits & HAS_POOL)
        at = varint_put(at, pool);
    if (bits & HAS_WORKER)
        at = varint_put(at, e->worker);
    if (bits & HAS_SLOT)
        at = varint_put(at, e->slot);
    if (bits & HAS_DURATION)
        at = varint_put(at, zigzag(e->duration_ns));
    if (bits & HAS_DETAIL)
        at = varint_put(at, e->detail.len);
    pen->last_at_ns = e->at_ns;
    return at;
}

enum weir_status event_put(struct sqlite_registry *r, const struct registry_event *e, uint32_t pool,
                           uint64_t *prev, struct weir_error *err)
{
    struct event_pen *pen = &r->pen;
    uint64_t seq = r->mark.event + 1;
    enum weir_status status = WEIR_OK;
    unsigned char *at;

    assert(e->kind > 0 && e->kind < REGISTRY_EVENT_KINDS);
    if (pen->count == EVENT_CHUNK || (pen->count && pen->body.len >= EVENT_CHUNK_BYTES))
        status = event_flush(r, err);
    if (status != WEIR_OK)
        return status;
    if (pen->count == 0) {
        buf_clear(&pen->body);
        pen->first = seq;
        pen->at_ns = pen->last_at_ns = e->at_ns;
        pen->last_task = pen->kinds = 0;
    }
    at = (unsigned char *)buf_reserve(&pen->body, EVENT_BYTES_MAX);
    if (!at)
        return error_nomem(err);
    pen->body.len =
        (size_t)((char *)event_encode(pen, at, e, pool, seq, prev ? *prev : 0) - pen->body.data);
    buf_put_slice(&pen->body, e->detail);
    if (pen->body.failed)
        return error_nomem(err);
    pen->kinds |= UINT64_C(1) << e->kind;
    pen->count++;
    r->mark.event = seq;
    if (prev)
        *prev = seq;
    return WEIR_OK;
}

enum weir_status event_task(struct sqlite_registry *r, enum registry_event_kind kind,
                            struct task_row *row, int64_t at_ns, struct slice detail,
                            struct weir_error *err)
{
    struct registry_event e = {.kind = kind, .at_ns = at_ns, .task = row->id, .detail = detail};

    return event_put(r, &e, 0, &row->event, err);
}

/* The last event of a task that may be gone. */
static enum weir_status gone_get(struct sqlite_registry *r, uint64_t task, uint64_t *ret,
                                 struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_GONE_GET);
    enum weir_status status = WEIR_OK;
    int rc;

    if (!stmt)
        return registry_fail(r, "reading the record", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)task);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *ret = (uint64_t)sqlite3_column_int64(stmt, 0);
    else if (rc != SQLITE_DONE)
        status = registry_fail(r, "reading the record", err);
    sqlite3_reset(stmt);
    return status;
}

enum weir_status event_tell(struct sqlite_registry *r, const struct registry_event *e,
                            struct weir_error *err)
{
    struct task_row row = {0};
    enum weir_status status;
    uint64_t prev = 0;
    bool found = false;
    uint32_t pool = 0;

    status = registry_name_id(r, e->pool, &pool, err);
    if (status == WEIR_OK && e->task)
        status = row_load(r, e->task, &row, &found, err);
    if (status == WEIR_OK && e->task && !found)
        status = gone_get(r, e->task, &prev, err);
    if (found)
        prev = row.event;
    if (status == WEIR_OK)
        status = event_put(r, e, pool, &prev, err);
    if (status == WEIR_OK && found)
        status = rows_flush(r, err);
    if (status == WEIR_OK && found)
        rows_forget(r, e->task);
    if (status == WEIR_OK && found)
        status = registry_do(r, RS_TASK_EVENT, 2, (int64_t[]){(int64_t)prev, (int64_t)e->task},
                             "writing the record", err);
    else if (status == WEIR_OK && e->task)
        status = event_gone(r, e->task, prev, err);
    if (status == WEIR_OK && found && row.state == REGISTRY_RUNNING &&
        e->attempt == row.run.attempts && rules_is_end(e->kind))
        status = registry_do(r, RS_TASK_FLAG, 2, (int64_t[]){TASK_END_TOLD, (int64_t)e->task},
                             "writing the record", err);
    return status;
}

enum weir_status op_tell(struct sqlite_registry *r, struct registry_op *op, struct weir_error *err)
{
    struct registry_event e = op->tell;

    if (e.kind <= 0 || e.kind >= REGISTRY_EVENT_KINDS || e.pool.len > REGISTRY_NAME_BYTES_MAX ||
        e.task > INT64_MAX) {
        error_set(&op->err, WEIR_E_INVALID,
                  "there is no event of kind %d, or what it is about is out of range", (int)e.kind);
        return WEIR_OK;
    }
    if (e.at_ns == 0)
        e.at_ns = op->at_ns;
    return event_tell(r, &e, err);
}

/* ---- reading ---- */

void event_walk_begin(struct event_walk *w, uint64_t first, int64_t at_ns, struct slice body)
{
    *w = (struct event_walk){.at = (const unsigned char *)body.data,
                             .end = (const unsigned char *)body.data + body.len,
                             .seq = first,
                             .at_ns = at_ns};
}

static void walk_number(struct event_walk *w, bool is_there, uint64_t *ret)
{
    *ret = 0;
    if (is_there && w->at)
        w->at = varint_get(w->at, w->end, ret);
}

bool event_walk_next(struct event_walk *w, struct registry_event *ret)
{
    uint64_t time, task, back, attempt, worker, slot, duration, detail, pool;
    unsigned kind, bits;

    if (!w->at || w->at == w->end)
        return false;
    if (w->end - w->at < 2) {
        w->at = NULL;
        return false;
    }
    kind = *w->at++;
    bits = *w->at++;
    walk_number(w, bits & HAS_TIME, &time);
    walk_number(w, bits & HAS_TASK, &task);
    walk_number(w, bits & HAS_TASK, &back);
    walk_number(w, bits & HAS_ATTEMPT, &attempt);
    walk_number(w, bits & HAS_POOL, &pool);
    walk_number(w, bits & HAS_WORKER, &worker);
    walk_number(w, bits & HAS_SLOT, &slot);
    walk_number(w, bits & HAS_DURATION, &duration);
    walk_number(w, bits & HAS_DETAIL, &detail);
    if (!w->at || kind == 0 || kind >= REGISTRY_EVENT_KINDS || detail > (size_t)(w->end - w->at)) {
        w->at = NULL;
        return false;
    }
    w->at_ns = (int64_t)((uint64_t)w->at_ns + (uint64_t)unzigzag(time));
    if (bits & HAS_TASK)
        w->task += (uint64_t)unzigzag(task);
    w->prev = back ? w->seq - back : 0;
    w->pool = (uint32_t)pool;
    *ret = (struct registry_event){.seq = w->seq++,
                                   .at_ns = w->at_ns,
                                   .kind = (enum registry_event_kind)kind,
                                   .task = bits & HAS_TASK ? w->task : 0,
                                   .attempt = (uint32_t)attempt,
                                   .worker = worker,
                                   .slot = (uint32_t)slot,
                                   .duration_ns = unzigzag(duration),
                                   .detail = {(const char *)w->at, (size_t)detail}};
    w->at += detail;
    return true;
}
