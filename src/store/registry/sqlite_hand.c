/*
 * What a person does to tasks: CANCEL, RETRY, EDIT, DELETE, RESOLVE. Each looks before it writes:
 * what is refused has no effect.
 */
#include "base/error.h"
#include "base/mem.h"
#include "core/depend.h"
#include "store/registry/rules.h"
#include "store/registry/sqlite_moves.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void refuse(struct registry_op *op, enum weir_status status, const struct task_row *row,
                   const char *remedy)
{
    error_set(&op->err, status, "task %" PRIu64 " is %s; %s", row->id,
              registry_state_name(row->state), remedy);
}

/* The task that the op is about; false in *ret_found: there is none, the op is refused. */
static enum weir_status need(struct sqlite_registry *r, struct registry_op *op, uint64_t id,
                             struct task_row *ret, bool *ret_found, struct weir_error *err)
{
    enum weir_status status = row_load(r, id, ret, ret_found, err);

    if (status == WEIR_OK && !*ret_found)
        error_set(&op->err, WEIR_E_END, "there is no task %" PRIu64, id);
    return status;
}

static enum weir_status tell_changed(struct sqlite_registry *r, struct task_row *row,
                                     const char *what, int64_t at_ns, struct weir_error *err)
{
    return event_task(r, REGISTRY_TASK_CHANGED, row, at_ns, slice_of(what), err);
}

/* What could never be met may be met, or is not waited for any more. */
static void graph_helped(struct sqlite_registry *r)
{
    r->graph_same = false;
    r->graph_helped = true;
}

/* ---- batches as one ---- */

/* Ids of its tasks, in order. */
static enum weir_status batch_ids(struct sqlite_registry *r, struct registry_op *op, uint64_t id,
                                  struct id_list *ret, struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_BATCH_TASKS);
    struct batch_entry *b;
    enum weir_status status = batch_load(r, id, &b, err);

    if (status != WEIR_OK)
        return status;
    if (!b) {
        error_set(&op->err, WEIR_E_END, "there is no batch %" PRIu64, id);
        return WEIR_OK;
    }
    if (!stmt)
        return registry_fail(r, "reading a batch", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)id);
    return id_list_read(r, stmt, 0, ret, "reading a batch", err);
}

/* Waits or runs. */
static enum weir_status cancel_one(struct sqlite_registry *r, struct registry_op *op,
                                   struct task_row *row, struct weir_error *err)
{
    enum weir_status status;

    if (row->state != REGISTRY_RUNNING) {
        op->cancel.ret_count++;
        return move_cancel(r, row, op->at_ns, err);
    }
    op->cancel.ret_running++;
    if (row->flags & TASK_CANCELLING)
        return WEIR_OK;
    row->flags |= TASK_CANCELLING;
    status = tell_changed(r, row, RULES_CANCEL, op->at_ns, err);
    return status == WEIR_OK ? row_set(r, row, row->line, row->state, NULL, err) : status;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Ids of the next ones, in order. */
static enum weir_status cancel_piece(struct sqlite_registry *r, struct registry_cancel *c,
                                     struct id_list *ret, struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_BATCH_PIECE);
    enum weir_status status = WEIR_OK;
    int rc = SQLITE_DONE;

    if (!stmt)
        return registry_fail(r, "reading a batch", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)c->batch);
    sqlite3_bind_int64(stmt, 2, c->from_task ? (sqlite3_int64)c->from_place : -1);
    sqlite3_bind_int64(stmt, 3, (sqlite3_int64)c->from_task);
    sqlite3_bind_int64(stmt, 4, c->max ? (sqlite3_int64)c->max + 1 : -1);
    while (status == WEIR_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        c->ret_more = c->max && ret->count == c->max;
        if (c->ret_more)
            break;
        c->to_task = (uint64_t)sqlite3_column_int64(stmt, 0);
        c->to_place = (uint64_t)sqlite3_column_int64(stmt, 1);
        if (!id_list_add(ret, c->to_task))
            status = error_nomem(err);
    }
    if (status == WEIR_OK && rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = registry_fail(r, "reading a batch", err);
    sqlite3_reset(stmt);
    if (ret->count)
        qsort(ret->ids, ret->count, sizeof(*ret->ids), compare_ids);
    return status;
}

static enum weir_status cancel_batch(struct sqlite_registry *r, struct registry_op *op,
                                     struct weir_error *err)
{
    _cleanup_ids_ struct id_list ids = {0};
    struct batch_entry *b;
    enum weir_status status = batch_load(r, op->cancel.batch, &b, err);

    if (status != WEIR_OK)
        return status;
    /* Between two pieces it may have gone with the last of its tasks. */
    if (!b && op->cancel.from_task == 0)
        error_set(&op->err, WEIR_E_END, "there is no batch %" PRIu64, op->cancel.batch);
    if (!b)
        return WEIR_OK;
    status = cancel_piece(r, &op->cancel, &ids, err);

    for (size_t i = 0; i < ids.count && status == WEIR_OK; i++) {
        struct task_row row;
        bool found;

        status = row_load(r, ids.ids[i], &row, &found, err);
        if (status == WEIR_OK && found && !rules_ended(row.state))
            status = cancel_one(r, op, &row, err);
    }
    return status;
}

enum weir_status op_cancel(struct sqlite_registry *r, struct registry_op *op,
                           struct weir_error *err)
{
    struct task_row row;
    enum weir_status status;
    bool found;

    if (op->cancel.task == 0)
        return cancel_batch(r, op, err);
    status = need(r, op, op->cancel.task, &row, &found, err);
    if (status != WEIR_OK || !found)
        return status;
    if (rules_ended(row.state)) {
        refuse(op, WEIR_E_CONFLICT, &row, "there is nothing left to cancel");
        return WEIR_OK;
    }
    return cancel_one(r, op, &row, err);
}

/* ---- retrying ---- */

/* BLOCKED, as if it had just come; what follows comes later. */
static enum weir_status begin_anew(struct sqlite_registry *r, struct task_row *row, int64_t at_ns,
                                   struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    struct task_run run = {.attempts = row->run.attempts, .pool = row->run.pool};

    if (row->run.result & RESULT_ROW)
        status = registry_do(r, RS_RESULT_DROP, 1, (int64_t[]){(int64_t)row->id}, "retrying", err);
    if (run.attempts > 0)
        row->opts.not_before_ns = 0; /* it was a wait between attempts */
    row->run = run;
    graph_helped(r);
    if (status == WEIR_OK)
        status = tell_changed(r, row, "{\"retry\":true}", at_ns, err);
    if (status == WEIR_OK)
        status = row_set(r, row, row->line, REGISTRY_BLOCKED, &SLICE(""), err);
    return status;
}

/* BLOCKED by nothing. */
static enum weir_status go_on(struct sqlite_registry *r, struct task_row *row, int64_t at_ns,
                              struct weir_error *err)
{
    if (row->state != REGISTRY_BLOCKED || row->blocked > 0)
        return WEIR_OK;
    return move_unblock(r, row, at_ns, err);
}

static enum weir_status retry_batch(struct sqlite_registry *r, struct registry_op *op,
                                    struct weir_error *err)
{
    _cleanup_ids_ struct id_list ids = {0};
    enum weir_status status = batch_ids(r, op, op->retry.batch, &ids, err);
    struct task_row row;
    bool found;

    for (size_t i = 0; i < ids.count && status == WEIR_OK; i++) {
        status = row_load(r, ids.ids[i], &row, &found, err);
        if (status != WEIR_OK)
            return status;
        if (!found || row.state != REGISTRY_FAILED) {
            ids.ids[i] = 0;
            continue;
        }
        status = begin_anew(r, &row, op->at_ns, err);
        op->retry.ret_count++;
    }
    for (size_t i = 0; i < ids.count && status == WEIR_OK; i++) {
        if (ids.ids[i] == 0)
            continue;
        status = row_load(r, ids.ids[i], &row, &found, err);
        if (status == WEIR_OK && found)
            status = go_on(r, &row, op->at_ns, err);
    }
    return status;
}

enum weir_status op_retry(struct sqlite_registry *r, struct registry_op *op, struct weir_error *err)
{
    struct task_row row;
    enum weir_status status;
    bool found;

    if (op->retry.task == 0)
        return retry_batch(r, op, err);
    status = need(r, op, op->retry.task, &row, &found, err);
    if (status != WEIR_OK || !found)
        return status;
    if (row.state != REGISTRY_FAILED && row.state != REGISTRY_CANCELLED) {
        refuse(op, WEIR_E_CONFLICT, &row, "only failed and cancelled ones are retried");
        return WEIR_OK;
    }
    op->retry.ret_count = 1;
    status = begin_anew(r, &row, op->at_ns, err);
    return status == WEIR_OK ? go_on(r, &row, op->at_ns, err) : status;
}

/* ---- editing: dependencies that are added ---- */

struct edge {
    uint64_t on;
    bool met, known; /* known: it depends on it already */
};

struct edges {
    struct edge *of;
    size_t count;
    uint64_t failed; /* 0: none */
};

static int compare_edges(const void *a, const void *b)
{
    uint64_t x = ((const struct edge *)a)->on, y = ((const struct edge *)b)->on;

    return (x > y) - (x < y);
}

static void edges_sort(struct edges *e)
{
    size_t kept = 0;

    qsort(e->of, e->count, sizeof(*e->of), compare_edges);
    for (size_t i = 0; i < e->count; i++)
        if (kept == 0 || e->of[kept - 1].on != e->of[i].on)
            e->of[kept++] = e->of[i];
    e->count = kept;
}

static enum weir_status edge_is_known(struct sqlite_registry *r, uint64_t task, struct edge *e,
                                      struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_DEP_HAS);
    int rc;

    if (!stmt)
        return registry_fail(r, "reading dependencies", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)task);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)e->on);
    rc = sqlite3_step(stmt);
    e->known = rc == SQLITE_ROW;
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? WEIR_OK
                                                 : registry_fail(r, "reading dependencies", err);
}

/* In the order in which they are named. */
static enum weir_status edges_find(struct sqlite_registry *r, struct registry_op *op,
                                   const struct edges *e, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    for (size_t i = 0; i < e->count && status == WEIR_OK && op->err.status == WEIR_OK; i++) {
        struct task_row on;
        bool found;

        status = row_load(r, e->of[i].on, &on, &found, err);
        if (status == WEIR_OK && !found)
            error_set(&op->err, WEIR_E_END,
                      "it would depend on task %" PRIu64 ", which is not there", e->of[i].on);
    }
    return status;
}

/* What each stands for now; refuses those that make no sense. */
static enum weir_status edges_look(struct sqlite_registry *r, struct registry_op *op,
                                   const struct task_row *row, struct edges *e,
                                   struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    for (size_t i = 0; i < e->count && op->err.status == WEIR_OK; i++) {
        struct task_row on;
        bool found, lets_run;

        status = row_load(r, e->of[i].on, &on, &found, err);
        if (status == WEIR_OK)
            status = edge_is_known(r, row->id, &e->of[i], err);
        if (status != WEIR_OK)
            return status;
        if (!found)
            break;
        lets_run = on.state == REGISTRY_FAILED && (row->flags & TASK_RUN_AFTER_FAILURE);
        e->of[i].met = on.state == REGISTRY_DONE || lets_run;
        if (on.state == REGISTRY_CANCELLED)
            error_set(&op->err, WEIR_E_CONFLICT,
                      "it would depend on task %" PRIu64
                      ", which is cancelled; retry that first, or leave it out",
                      on.id);
        else if (on.state == REGISTRY_FAILED && !lets_run && e->failed == 0)
            e->failed = on.id;
    }
    return status;
}

/* ---- editing: circles ---- */

/* A walk in breadth along dependencies that are not met; where each was come from stands beside it. */
struct walk {
    struct id_list ids, from; /* from: place in ids; the first ones: their own */
    struct idmap seen;
};

static bool walk_add(struct walk *w, uint64_t id, size_t from)
{
    if (idmap_get(&w->seen, id))
        return true;
    return idmap_put(&w->seen, id, w) && id_list_add(&w->ids, id) && id_list_add(&w->from, from);
}

/* Keys, one behind the other; ends: where each ends. */
struct circle {
    const uint64_t *ids;
    struct id_list ends;
    struct buf keys;
};

static struct slice circle_name(void *ctx, size_t i, char room[DEPEND_NAME_BYTES])
{
    const struct circle *c = ctx;
    uint64_t from = i ? c->ends.ids[i - 1] : 0;

    if (c->ends.ids[i] > from)
        return (struct slice){c->keys.data + from, (size_t)(c->ends.ids[i] - from)};
    snprintf(room, DEPEND_NAME_BYTES, "%" PRIu64, c->ids[i]);
    return slice_of(room);
}

static enum weir_status circle_keys(struct sqlite_registry *r, struct circle *c, size_t count,
                                    struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_TASK_FIELDS);
    int rc;

    if (!stmt)
        return registry_fail(r, "reading a task", err);
    for (size_t i = 0; i < count; i++) {
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)c->ids[i]);
        rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW)
            buf_put_slice(&c->keys, registry_column(stmt, ROW_COLUMN_COUNT));
        sqlite3_reset(stmt);
        if (rc != SQLITE_ROW && rc != SQLITE_DONE)
            return registry_fail(r, "reading a task", err);
        if (c->keys.failed || !id_list_add(&c->ends, c->keys.len))
            return error_nomem(err);
    }
    return WEIR_OK;
}

/* task waits for ... waits for the one at place `last`, which waits for it. */
static enum weir_status refuse_circle(struct sqlite_registry *r, const struct walk *w,
                                      uint64_t task, size_t last, bool itself,
                                      struct registry_op *op, struct weir_error *err)
{
    _cleanup_ids_ struct id_list path = {0};
    struct circle c = {0};
    enum weir_status status;

    for (size_t at = last; !itself; at = w->from.ids[at]) {
        if (!id_list_add(&path, w->ids.ids[at]))
            return error_nomem(err);
        if (w->from.ids[at] == at)
            break;
    }
    if (!id_list_add(&path, task))
        return error_nomem(err);
    for (size_t i = 0; i < path.count / 2; i++) {
        uint64_t other = path.ids[path.count - 1 - i];

        path.ids[path.count - 1 - i] = path.ids[i];
        path.ids[i] = other;
    }
    c.ids = path.ids;
    status = circle_keys(r, &c, path.count, err);
    if (status == WEIR_OK)
        depend_refuse(path.count, circle_name, &c, &op->err);
    id_list_free(&c.ends);
    buf_free(&c.keys);
    return status;
}

static enum weir_status walk_on(struct sqlite_registry *r, struct walk *w, size_t at, uint64_t task,
                                bool *ret_closed, struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_DEP_OF);
    enum weir_status status = WEIR_OK;
    int rc = SQLITE_DONE;

    if (!stmt)
        return registry_fail(r, "reading dependencies", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)w->ids.ids[at]);
    while (status == WEIR_OK && !*ret_closed && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        uint64_t on = (uint64_t)sqlite3_column_int64(stmt, 0);

        if (sqlite3_column_int(stmt, 1))
            continue;
        if (on == task)
            *ret_closed = true;
        else if (!walk_add(w, on, at))
            status = error_nomem(err);
    }
    if (status == WEIR_OK && rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = registry_fail(r, "reading dependencies", err);
    sqlite3_reset(stmt);
    return status;
}

static enum weir_status check_circle(struct sqlite_registry *r, struct registry_op *op,
                                     uint64_t task, const struct edges *e, struct weir_error *err)
{
    struct walk w = {0};
    enum weir_status status = WEIR_OK;
    bool closed = false;

    idmap_init(&w.seen);
    for (size_t i = 0; i < e->count && status == WEIR_OK && !closed; i++) {
        if (e->of[i].on == task) {
            closed = true;
            status = refuse_circle(r, &w, task, 0, true, op, err);
        } else if (!e->of[i].met && !walk_add(&w, e->of[i].on, w.ids.count)) {
            status = error_nomem(err);
        }
    }
    for (size_t at = 0; at < w.ids.count && status == WEIR_OK && !closed; at++) {
        status = walk_on(r, &w, at, task, &closed, err);
        if (status == WEIR_OK && closed)
            status = refuse_circle(r, &w, task, at, false, op, err);
    }
    id_list_free(&w.ids);
    id_list_free(&w.from);
    idmap_free(&w.seen);
    return status;
}

/* ---- editing ---- */

static enum weir_status edges_write(struct sqlite_registry *r, struct task_row *row,
                                    const struct edges *e, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    for (size_t i = 0; i < e->count && status == WEIR_OK; i++) {
        const struct edge *edge = &e->of[i];

        if (edge->known)
            continue;
        status = registry_do(r, RS_DEP_PUT, 3,
                             (int64_t[]){(int64_t)row->id, (int64_t)edge->on, edge->met},
                             "writing a dependency", err);
        if (edge->met || status != WEIR_OK)
            continue;
        row->blocked++;
        status = row_flag_needed(r, edge->on, err);
    }
    return status;
}

/* The state that follows from what it waits for now. */
static enum weir_status resettle(struct sqlite_registry *r, struct registry_op *op,
                                 struct task_row *row, uint32_t line_before, struct weir_error *err)
{
    bool timed = op->edit.not_before_ns != NULL;
    enum registry_state to = row->state;
    enum weir_status status;

    if (row->blocked > 0)
        to = REGISTRY_BLOCKED;
    else if (timed && row_not_before(row) > op->at_ns)
        to = REGISTRY_SCHEDULED;
    status = row_set(r, row, line_before, to, NULL, err);
    if (status == WEIR_OK && to == REGISTRY_SCHEDULED && timed && row_not_before(row) <= op->at_ns)
        status = move_ready(r, row, op->at_ns, err);
    return status;
}

static enum weir_status edit_write(struct sqlite_registry *r, struct registry_op *op,
                                   struct task_row *row, uint32_t line, const struct edges *edges,
                                   struct weir_error *err)
{
    const struct registry_edit *e = &op->edit;
    _cleanup_buf_ struct buf detail = {0};
    uint32_t line_before = row->line;
    enum weir_status status = WEIR_OK;

    rules_detail_edit(&detail, e);
    if (detail.failed)
        return error_nomem(err);
    if (detail.len)
        status = event_task(r, REGISTRY_TASK_CHANGED, row, op->at_ns, buf_slice(&detail), err);
    if (status == WEIR_OK)
        status = edges_write(r, row, edges, err);
    if (e->after_count)
        r->graph_same = false;
    if (e->not_before_ns) {
        row->opts.not_before_ns = *e->not_before_ns;
        row->run.wake_ns = 0;
    }
    row->line = line;
    if (status == WEIR_OK && edges->failed) {
        status = row_set(r, row, line_before, row->state, NULL, err);
        return status == WEIR_OK ? move_fail_behind(r, row, edges->failed, op->at_ns, err) : status;
    }
    return status == WEIR_OK ? resettle(r, op, row, line_before, err) : status;
}

/* The one that it will stand in, if that is another one. No number for it: the op is refused. */
static enum weir_status edit_line(struct sqlite_registry *r, struct registry_op *op,
                                  const struct task_row *row, uint32_t *ret, struct weir_error *err)
{
    struct registry_line needs = row_line(r, row->line)->line;
    struct line_entry *line = NULL;
    enum weir_status status;

    if (!op->edit.priority)
        return WEIR_OK;
    needs.priority = *op->edit.priority;
    status = registry_line(r, &needs, &line, &op->err);
    if (status == WEIR_OK)
        *ret = line->in.id;
    if (status == WEIR_OK || status == WEIR_E_LIMIT)
        return WEIR_OK;
    op->err.status = WEIR_OK;
    return error_nomem(err);
}

static enum weir_status edit(struct sqlite_registry *r, struct registry_op *op,
                             struct task_row *row, struct edges *edges, struct weir_error *err)
{
    enum weir_status status;
    uint32_t line = row->line;

    for (uint32_t i = 0; i < op->edit.after_count; i++)
        edges->of[edges->count++] = (struct edge){.on = op->edit.after[i].id};
    status = edges_find(r, op, edges, err);
    edges_sort(edges);
    if (status == WEIR_OK)
        status = edges_look(r, op, row, edges, err);
    if (status == WEIR_OK && op->err.status == WEIR_OK)
        status = check_circle(r, op, row->id, edges, err);
    if (status == WEIR_OK && op->err.status == WEIR_OK)
        status = edit_line(r, op, row, &line, err);
    if (status != WEIR_OK || op->err.status != WEIR_OK)
        return status;
    return edit_write(r, op, row, line, edges, err);
}

enum weir_status op_edit(struct sqlite_registry *r, struct registry_op *op, struct weir_error *err)
{
    struct edges edges = {0};
    struct task_row row;
    bool found;
    enum weir_status status = need(r, op, op->edit.task, &row, &found, err);

    if (status != WEIR_OK || !found)
        return status;
    if (row.state == REGISTRY_RUNNING)
        refuse(op, WEIR_E_BUSY, &row, "it can be changed when its attempt has ended");
    else if (rules_ended(row.state))
        refuse(op, WEIR_E_CONFLICT, &row, "only one that waits can be changed");
    else if (rules_check_edit(&op->edit, &op->err) != WEIR_OK)
        return WEIR_OK;
    if (op->err.status != WEIR_OK)
        return WEIR_OK;
    edges.of = mem_calloc(op->edit.after_count + 1, sizeof(*edges.of));
    status = edges.of ? edit(r, op, &row, &edges, err) : error_nomem(err);
    mem_free(edges.of);
    return status;
}

/* ---- deleting, resolving ---- */

enum weir_status op_remove(struct sqlite_registry *r, struct registry_op *op,
                           struct weir_error *err)
{
    struct task_row row;
    bool found;
    enum weir_status status = need(r, op, op->remove.task, &row, &found, err);

    if (status != WEIR_OK || !found)
        return status;
    if (!rules_ended(row.state)) {
        refuse(op, WEIR_E_BUSY, &row, "cancel it first");
        return WEIR_OK;
    }
    status = event_task(r, REGISTRY_TASK_DELETED, &row, op->at_ns, SLICE(""), err);
    return status == WEIR_OK ? move_remove(r, &row, err) : status;
}

enum weir_status op_resolve(struct sqlite_registry *r, struct registry_op *op,
                            struct weir_error *err)
{
    struct task_row row;
    bool found;
    enum weir_status status = need(r, op, op->resolve.task, &row, &found, err);

    if (status != WEIR_OK || !found)
        return status;
    if (row.state != REGISTRY_BLOCKED) {
        refuse(op, WEIR_E_CONFLICT, &row, "only a blocked one can be resolved");
        return WEIR_OK;
    }
    graph_helped(r);
    if (op->resolve.how == REGISTRY_RESOLVE_CANCEL) {
        status = tell_changed(r, &row, "{\"resolve\":\"cancel\"}", op->at_ns, err);
        return status == WEIR_OK ? move_cancel(r, &row, op->at_ns, err) : status;
    }
    status = tell_changed(r, &row, "{\"resolve\":\"run\"}", op->at_ns, err);
    if (status == WEIR_OK)
        status = registry_do(r, RS_DEP_DROP_UNMET, 1, (int64_t[]){(int64_t)row.id},
                             "dropping dependencies", err);
    row.blocked = 0;
    return status == WEIR_OK ? move_unblock(r, &row, op->at_ns, err) : status;
}
