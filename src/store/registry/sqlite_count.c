/*
 * Counts: how many tasks there are of each state, by target (tally) and by batch. A transaction
 * gathers what it changes, and writes each row once, so that nothing ever has to count tasks.
 *
 * Batches are kept as they are, those that were looked at lately; when a transaction is taken back,
 * all are let go.
 */
#include "base/error.h"
#include "base/mem.h"
#include "store/registry/sqlite_inside.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

static bool is_ended(int state)
{
    return state == REGISTRY_DONE || state == REGISTRY_FAILED || state == REGISTRY_CANCELLED;
}

void count_move(struct sqlite_registry *r, struct line_entry *line, int from, int to, int64_t n)
{
    struct target *t = line->target;

    if (from >= 0)
        t->n[from] -= n;
    if (to >= 0)
        t->n[to] += n;
    target_touch(r, t);
    if (from < 0 || to < 0)
        line_count(r, line, (to >= 0) * n - (from >= 0) * n);
}

static enum weir_status count_put(struct sqlite_registry *r, const struct target *t,
                                  struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, t->lines ? RS_TALLY_PUT : RS_TALLY_DROP);

    if (!stmt)
        return registry_fail(r, "counting", err);
    sqlite3_bind_text(stmt, 1, t->text, (int)t->len, SQLITE_STATIC);
    for (int i = 0; t->lines && i < REGISTRY_STATES; i++)
        sqlite3_bind_int64(stmt, 2 + i, t->n[i]);
    return registry_run(r, stmt, "counting", err);
}

static enum weir_status batch_put(struct sqlite_registry *r, const struct batch_entry *b,
                                  struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_BATCH_SET);

    if (!stmt)
        return registry_fail(r, "counting", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)b->id);
    sqlite3_bind_int64(stmt, 2, b->ended_ns);
    sqlite3_bind_int(stmt, 3, b->closed ? BATCH_CLOSED : b->passing ? BATCH_PASSING : BATCH_OPEN);
    sqlite3_bind_int(stmt, 4, b->told);
    sqlite3_bind_int64(stmt, 5, (sqlite3_int64)b->first);
    sqlite3_bind_int64(stmt, 6, (sqlite3_int64)b->last);
    for (int i = 0; i < REGISTRY_STATES; i++)
        sqlite3_bind_int64(stmt, 7 + i, b->n[i]);
    return registry_run(r, stmt, "counting", err);
}

enum weir_status count_write(struct sqlite_registry *r, struct weir_error *err)
{
    enum weir_status status = lineset_write(r, err);

    for (struct target *t = r->dirty_targets; t && status == WEIR_OK; t = t->next_dirty)
        status = count_put(r, t, err);
    return status == WEIR_OK ? count_write_batches(r, err) : status;
}

enum weir_status count_write_batches(struct sqlite_registry *r, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    for (size_t i = 0; i < r->changed_count && status == WEIR_OK; i++) {
        status = batch_put(r, r->changed[i], err);
        r->changed[i]->changed = 0;
    }
    r->changed_count = 0;
    return status;
}

enum weir_status batch_drop(struct sqlite_registry *r, uint64_t id, struct weir_error *err)
{
    mem_free(idmap_remove(&r->batches, id));
    return registry_do(r, RS_BATCH_DROP, 1, (int64_t[]){(int64_t)id}, "deleting a batch", err);
}

static void batches_free(struct sqlite_registry *r)
{
    size_t i = 0;
    void *b;

    while ((b = idmap_next(&r->batches, &i)))
        mem_free(b);
    idmap_free(&r->batches);
    idmap_init(&r->batches);
}

void count_forget(struct sqlite_registry *r, bool all)
{
    r->changed_count = r->touched_count = 0;
    if (all || r->batches.len > BATCH_ENTRIES)
        batches_free(r);
}

static bool list_add(struct batch_entry ***list, size_t *count, size_t *cap, struct batch_entry *b)
{
    if (*count == *cap) {
        size_t more = *cap ? *cap * 2 : 16;
        struct batch_entry **p = mem_realloc(*list, more * sizeof(*p));

        if (!p)
            return false;
        *list = p;
        *cap = more;
    }
    (*list)[(*count)++] = b;
    return true;
}

/* It is written with the transaction, and settled with the op. */
static enum weir_status batch_touch(struct sqlite_registry *r, struct batch_entry *b,
                                    struct weir_error *err)
{
    if (b->touched != r->op_number) {
        if (!list_add(&r->touched, &r->touched_count, &r->touched_cap, b))
            return error_nomem(err);
        b->touched = r->op_number;
    }
    if (b->changed != r->transaction) {
        if (!list_add(&r->changed, &r->changed_count, &r->changed_cap, b))
            return error_nomem(err);
        b->changed = r->transaction;
    }
    return WEIR_OK;
}

static enum weir_status batch_read(struct sqlite_registry *r, sqlite3_stmt *stmt, uint64_t id,
                                   struct batch_entry **ret, struct weir_error *err)
{
    struct batch_entry *b = mem_calloc(1, sizeof(*b));

    if (!b)
        return error_nomem(err);
    b->id = id;
    b->ended_ns = sqlite3_column_int64(stmt, 0);
    b->closed = sqlite3_column_int(stmt, 1) == BATCH_CLOSED;
    b->passing = sqlite3_column_int(stmt, 1) == BATCH_PASSING;
    b->told = sqlite3_column_int(stmt, 2);
    b->first = (uint64_t)sqlite3_column_int64(stmt, 3);
    b->last = (uint64_t)sqlite3_column_int64(stmt, 4);
    for (int i = 0; i < REGISTRY_STATES; i++)
        b->n[i] = sqlite3_column_int64(stmt, 5 + i);
    if (!idmap_put(&r->batches, id, b)) {
        mem_free(b);
        return error_nomem(err);
    }
    *ret = b;
    return WEIR_OK;
}

enum weir_status batch_load(struct sqlite_registry *r, uint64_t id, struct batch_entry **ret,
                            struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    sqlite3_stmt *stmt;
    int rc;

    *ret = id && id <= INT64_MAX ? idmap_get(&r->batches, id) : NULL;
    if (*ret || id == 0 || id > INT64_MAX)
        return WEIR_OK;
    stmt = registry_statement(r, RS_BATCH_GET);
    if (!stmt)
        return registry_fail(r, "reading a batch", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)id);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        status = batch_read(r, stmt, id, ret, err);
    else if (rc != SQLITE_DONE)
        status = registry_fail(r, "reading a batch", err);
    sqlite3_reset(stmt);
    return status;
}

enum weir_status batch_close(struct sqlite_registry *r, uint64_t id, bool *ret_found,
                             struct weir_error *err)
{
    struct batch_entry *b;
    enum weir_status status = batch_load(r, id, &b, err);

    if (status != WEIR_OK)
        return status;
    *ret_found = b != NULL;
    if (!b || b->closed)
        return WEIR_OK;
    b->closed = true;
    return batch_touch(r, b, err);
}

enum weir_status batch_move(struct sqlite_registry *r, uint64_t batch, int from, int to, int64_t n,
                            struct weir_error *err)
{
    struct batch_entry *b;
    enum weir_status status = batch_load(r, batch, &b, err);

    if (status != WEIR_OK)
        return status;
    if (!b)
        return registry_damaged(r->path, "a batch is missing", err);
    if (from >= 0)
        b->n[from] -= n;
    if (to >= 0)
        b->n[to] += n;
    return batch_touch(r, b, err);
}

enum weir_status batch_join(struct sqlite_registry *r, uint64_t batch, uint64_t task,
                            enum registry_state state, struct weir_error *err)
{
    enum weir_status status = batch_move(r, batch, -1, (int)state, 1, err);
    struct batch_entry *b = idmap_get(&r->batches, batch);

    if (status != WEIR_OK || !b)
        return status;
    b->first = b->first == 0 ? task : b->first;
    b->last = task;
    return WEIR_OK;
}

enum weir_status batch_open(struct sqlite_registry *r, struct slice name, bool passing,
                            int64_t at_ns, uint64_t *ret_id, struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_BATCH_PUT);

    if (!stmt)
        return registry_fail(r, "opening a batch", err);
    *ret_id = ++r->mark.batch;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)*ret_id);
    sqlite3_bind_text(stmt, 2, name.len ? name.data : "", (int)name.len, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 3, at_ns);
    sqlite3_bind_int(stmt, 4, passing ? BATCH_PASSING : BATCH_OPEN);
    return registry_run(r, stmt, "opening a batch", err);
}

static bool batch_is_open(const struct batch_entry *b)
{
    for (int i = 0; i < REGISTRY_STATES; i++)
        if (!is_ended(i) && b->n[i] > 0)
            return true;
    return false;
}

static enum weir_status batch_tell(struct sqlite_registry *r, struct batch_entry *b, int64_t at_ns,
                                   struct weir_error *err)
{
    struct registry_event e = {.kind = REGISTRY_BATCH_ENDED, .at_ns = at_ns};
    _cleanup_buf_ struct buf detail = {0};

    buf_printf(&detail,
               "{\"batch\":%" PRIu64 ",\"done\":%" PRId64 ",\"failed\":%" PRId64
               ",\"cancelled\":%" PRId64 "}",
               b->id, b->n[REGISTRY_DONE], b->n[REGISTRY_FAILED], b->n[REGISTRY_CANCELLED]);
    if (detail.failed)
        return error_nomem(err);
    e.detail = buf_slice(&detail);
    return event_put(r, &e, 0, NULL, err);
}

static int compare_batches(const void *a, const void *b)
{
    uint64_t x = (*(struct batch_entry *const *)a)->id, y = (*(struct batch_entry *const *)b)->id;

    return (x > y) - (x < y);
}

enum weir_status batch_settle(struct sqlite_registry *r, int64_t at_ns, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    if (r->touched_count > 1)
        qsort(r->touched, r->touched_count, sizeof(*r->touched), compare_batches);
    for (size_t i = 0; i < r->touched_count && status == WEIR_OK; i++) {
        struct batch_entry *b = r->touched[i];
        bool over = b->closed && !batch_is_open(b);

        if (over == b->told)
            continue;
        b->told = over;
        b->ended_ns = over ? at_ns : 0;
        if (over)
            status = batch_tell(r, b, at_ns, err);
    }
    r->touched_count = 0;
    return status;
}
