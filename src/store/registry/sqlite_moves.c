#include "store/registry/sqlite_moves.h"

#include "base/error.h"
#include "base/mem.h"
#include "store/registry/rules.h"

#include <assert.h>

/* ---- lists of ids ---- */

bool id_list_add(struct id_list *l, uint64_t id)
{
    if (l->count == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 32;
        uint64_t *p = mem_realloc(l->ids, cap * sizeof(*p));

        if (!p)
            return false;
        l->ids = p;
        l->cap = cap;
    }
    l->ids[l->count++] = id;
    return true;
}

enum weir_status id_list_read(struct sqlite_registry *r, sqlite3_stmt *stmt, size_t max,
                              struct id_list *l, const char *doing, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    int rc = SQLITE_DONE;

    while (status == WEIR_OK && (max == 0 || l->count < max) &&
           (rc = sqlite3_step(stmt)) == SQLITE_ROW)
        if (!id_list_add(l, (uint64_t)sqlite3_column_int64(stmt, 0)))
            status = error_nomem(err);
    if (status == WEIR_OK && rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = registry_fail(r, doing, err);
    sqlite3_reset(stmt);
    return status;
}

void id_list_free(struct id_list *l)
{
    l->ids = mem_free(l->ids);
    l->count = l->cap = 0;
}

/* ---- words and events ---- */

enum weir_status move_outcome(struct sqlite_registry *r, struct task_run *run,
                              enum weir_outcome outcome, enum weir_reason reason,
                              struct weir_error *err)
{
    uint32_t *o = &r->outcome_names[outcome <= WEIR_OUTCOME_CANCELLED ? outcome : 0];
    uint32_t *w = &r->reason_names[reason < WEIR_REASON_COUNT ? reason : 0];
    enum weir_status status = WEIR_OK;

    if (*o == 0)
        status = registry_name_id(r, slice_of(weir_outcome_name(outcome)), o, err);
    if (status == WEIR_OK && *w == 0)
        status = registry_name_id(r, slice_of(weir_reason_name(reason)), w, err);
    run->outcome = *o;
    run->reason = *w;
    return status;
}

enum weir_status move_tell(struct sqlite_registry *r, struct task_row *row,
                           enum registry_event_kind kind, int64_t at_ns, int64_t took_ns,
                           const struct buf *detail, struct weir_error *err)
{
    struct registry_event e = {
        .kind = kind, .at_ns = at_ns, .task = row->id, .duration_ns = took_ns > 0 ? took_ns : 0};

    if (detail && detail->failed)
        return error_nomem(err);
    if (detail)
        e.detail = buf_slice(detail);
    return event_put(r, &e, 0, &row->event, err);
}

/* ---- moves ---- */

enum weir_status move_ready(struct sqlite_registry *r, struct task_row *row, int64_t at_ns,
                            struct weir_error *err)
{
    enum weir_status status;

    assert(row->state != REGISTRY_READY && row->state != REGISTRY_RUNNING);
    row->rank = row_next_rank(r, at_ns);
    status = move_tell(r, row, REGISTRY_TASK_READY, at_ns, 0, NULL, err);
    if (status == WEIR_OK)
        status = row_set(r, row, row->line, REGISTRY_READY, NULL, err);
    if (status == WEIR_OK)
        status = hand_over(r, row, NULL, err);
    return status;
}

enum weir_status move_unblock(struct sqlite_registry *r, struct task_row *row, int64_t at_ns,
                              struct weir_error *err)
{
    assert(row->state == REGISTRY_BLOCKED && row->blocked == 0);
    if (row_not_before(row) <= at_ns)
        return move_ready(r, row, at_ns, err);
    if (r->op && (r->op->ret_due_ns == 0 || row_not_before(row) < r->op->ret_due_ns))
        r->op->ret_due_ns = row_not_before(row);
    return row_set(r, row, row->line, REGISTRY_SCHEDULED, NULL, err);
}

/* Without what follows. */
static enum weir_status fail_one(struct sqlite_registry *r, struct task_row *row,
                                 enum weir_outcome outcome, enum weir_reason reason,
                                 struct slice message, int64_t at_ns, struct weir_error *err)
{
    _cleanup_buf_ struct buf detail = {0};
    enum weir_status status = move_outcome(r, &row->run, outcome, reason, err);

    assert(rules_waiting(row->state));
    row->run.status = 0;
    row->run.ended_ns = at_ns;
    rules_detail_failed(&detail, reason, message);
    if (status == WEIR_OK)
        status =
            move_tell(r, row, REGISTRY_TASK_FAILED, at_ns, at_ns - row->submitted_ns, &detail, err);
    if (status == WEIR_OK)
        status = row_set(r, row, row->line, REGISTRY_FAILED, &message, err);
    return status;
}

static enum weir_status fail_one_behind(struct sqlite_registry *r, struct task_row *row,
                                        uint64_t on, int64_t at_ns, struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_TASK_FIELDS);
    enum weir_status status = rows_flush(r, err);
    _cleanup_buf_ struct buf say = {0};
    int rc;

    if (status != WEIR_OK)
        return status;
    if (!stmt)
        return registry_fail(r, "reading a task", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)on);
    rc = sqlite3_step(stmt);
    rules_say_dependency(&say, on,
                         rc == SQLITE_ROW ? registry_column(stmt, ROW_COLUMN_COUNT) : SLICE(""));
    sqlite3_reset(stmt);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return registry_fail(r, "reading a task", err);
    if (say.failed)
        return error_nomem(err);
    return fail_one(r, row, WEIR_OUTCOME_FAILED, WEIR_REASON_DEPENDENCY, buf_slice(&say), at_ns,
                    err);
}

enum weir_status move_fail(struct sqlite_registry *r, struct task_row *row,
                           enum weir_outcome outcome, enum weir_reason reason, struct slice message,
                           int64_t at_ns, struct weir_error *err)
{
    enum weir_status status = fail_one(r, row, outcome, reason, message, at_ns, err);

    return status == WEIR_OK ? move_spread(r, row, at_ns, err) : status;
}

enum weir_status move_fail_behind(struct sqlite_registry *r, struct task_row *row, uint64_t on,
                                  int64_t at_ns, struct weir_error *err)
{
    enum weir_status status = fail_one_behind(r, row, on, at_ns, err);

    return status == WEIR_OK ? move_spread(r, row, at_ns, err) : status;
}

enum weir_status move_cancel(struct sqlite_registry *r, struct task_row *row, int64_t at_ns,
                             struct weir_error *err)
{
    enum weir_status status =
        move_outcome(r, &row->run, WEIR_OUTCOME_CANCELLED, WEIR_REASON_CANCELLED, err);

    assert(rules_waiting(row->state));
    row->run.status = 0;
    row->run.ended_ns = at_ns;
    if (status == WEIR_OK)
        status =
            move_tell(r, row, REGISTRY_TASK_CANCELLED, at_ns, at_ns - row->submitted_ns, NULL, err);
    if (status == WEIR_OK)
        status = row_set(r, row, row->line, REGISTRY_CANCELLED, &SLICE(""), err);
    return status;
}

enum weir_status move_remove(struct sqlite_registry *r, struct task_row *row,
                             struct weir_error *err)
{
    const int64_t id[] = {(int64_t)row->id};
    enum weir_status status = rows_flush(r, err);

    if (status != WEIR_OK)
        return status;
    rows_forget(r, row->id);
    status = registry_do(r, RS_TASK_DROP, 1, id, "deleting a task", err);
    if (status == WEIR_OK)
        status = registry_do(r, RS_DEP_DROP, 1, id, "deleting a task", err);
    if (status == WEIR_OK && (row->flags & TASK_BIG))
        status = registry_do(r, RS_PAYLOAD_DROP, 1, id, "deleting a task", err);
    if (status == WEIR_OK && (row->run.result & RESULT_ROW))
        status = registry_do(r, RS_RESULT_DROP, 1, id, "deleting a task", err);
    if (status == WEIR_OK && row->event >= r->mark.event_first)
        status = event_gone(r, row->id, row->event, err);
    r->graph_same = r->graph_same && !(row->flags & TASK_NEEDED);
    count_move(r, row_line(r, row->line), (int)row->state, -1, 1);
    if (status == WEIR_OK && row->batch)
        status = batch_move(r, row->batch, (int)row->state, -1, 1, err);
    return status;
}

/* ---- what follows for dependents ---- */

struct spread {
    struct id_list queue; /* those that have failed in the train of it */
    bool failed;          /* the one whose dependents are looked at */
    uint64_t on;
    int64_t at_ns;
};

static enum weir_status follow(struct sqlite_registry *r, struct spread *s, uint64_t id,
                               struct weir_error *err)
{
    struct task_row row;
    bool found;
    enum weir_status status = row_load(r, id, &row, &found, err);

    if (status != WEIR_OK || !found)
        return status;
    if (s->failed && !(row.flags & TASK_RUN_AFTER_FAILURE)) {
        if (row.state != REGISTRY_BLOCKED)
            return WEIR_OK;
        status = fail_one_behind(r, &row, s->on, s->at_ns, err);
        if (status == WEIR_OK && (row.flags & TASK_NEEDED) && !id_list_add(&s->queue, id))
            status = error_nomem(err);
        return status;
    }
    status = registry_do(r, RS_DEP_MET, 2, (int64_t[]){(int64_t)id, (int64_t)s->on},
                         "writing a dependency", err);
    if (status != WEIR_OK)
        return status;
    row.blocked -= row.blocked > 0;
    if (row.state == REGISTRY_BLOCKED && row.blocked == 0)
        return move_unblock(r, &row, s->at_ns, err);
    return row_set(r, &row, row.line, row.state, NULL, err);
}

static enum weir_status spread_one(struct sqlite_registry *r, struct spread *s,
                                   struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_DEP_ON);
    _cleanup_ids_ struct id_list ids = {0};
    enum weir_status status;

    if (!stmt)
        return registry_fail(r, "reading dependencies", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)s->on);
    status = id_list_read(r, stmt, 0, &ids, "reading dependencies", err);
    for (size_t i = 0; i < ids.count && status == WEIR_OK; i++)
        status = follow(r, s, ids.ids[i], err);
    return status;
}

enum weir_status move_spread(struct sqlite_registry *r, const struct task_row *row, int64_t at_ns,
                             struct weir_error *err)
{
    struct spread s = {.failed = row->state == REGISTRY_FAILED, .on = row->id, .at_ns = at_ns};
    enum weir_status status;

    if (!(row->flags & TASK_NEEDED))
        return WEIR_OK;
    status = spread_one(r, &s, err);
    s.failed = true;
    for (size_t i = 0; i < s.queue.count && status == WEIR_OK; i++) {
        s.on = s.queue.ids[i];
        status = spread_one(r, &s, err);
    }
    id_list_free(&s.queue);
    return status;
}
