/*
 * Attempts: START, END, and what a predecessor left running.
 *
 * An END that has its START with it is the usual one, and the one that has to be cheap: one look at
 * the row, one change of it, its events. Only an attempt that runs while a transaction ends has a
 * row in `runner`, by which a successor finds it.
 */
#include "base/error.h"
#include "store/registry/rules.h"
#include "store/registry/sqlite_moves.h"

#include <inttypes.h>

/* Of the attempt that events tell of. */
struct attempt {
    uint64_t token, worker;
    uint32_t number, slot;
    uint32_t pool; /* a name */
    int64_t started_ns;
};

static enum weir_status tell(struct sqlite_registry *r, struct task_row *row,
                             const struct attempt *a, enum registry_event_kind kind, int64_t at_ns,
                             int64_t took_ns, const struct buf *detail, struct weir_error *err)
{
    struct registry_event e = {.kind = kind,
                               .at_ns = at_ns,
                               .task = row->id,
                               .attempt = a->number,
                               .worker = a->worker,
                               .slot = a->slot,
                               .duration_ns = took_ns > 0 ? took_ns : 0};

    if (detail && detail->failed)
        return error_nomem(err);
    if (detail)
        e.detail = buf_slice(detail);
    return event_put(r, &e, a->pool, &row->event, err);
}

/* ---- START ---- */

/* Everything but the change of state. */
static enum weir_status begin(struct sqlite_registry *r, struct task_row *row,
                              const struct registry_start *s, int64_t at_ns, int64_t wait_ns,
                              struct attempt *ret, struct weir_error *err)
{
    _cleanup_buf_ struct buf detail = {0};
    enum weir_status status = registry_name_id(r, s->pool, &row->run.pool, err);

    *ret = (struct attempt){.token = s->token,
                            .number = s->attempt,
                            .worker = s->runner.worker,
                            .slot = s->runner.slots[0],
                            .pool = row->run.pool,
                            .started_ns = at_ns};
    row->run.attempts++;
    if (row->run.first_start_ns == 0)
        row->run.first_start_ns = at_ns;
    if (s->runner.pid || s->runner.slots[0])
        rules_detail_started(&detail, &s->runner, row_line(r, row->line)->line.slots);
    if (status == WEIR_OK)
        status = tell(r, row, ret, REGISTRY_TASK_ASSIGNED, at_ns, wait_ns, NULL, err);
    if (status == WEIR_OK)
        status = tell(r, row, ret, REGISTRY_RUNNER_STARTED, at_ns, 0, &detail, err);
    return status;
}

static enum weir_status runner_put(struct sqlite_registry *r, const struct registry_start *s,
                                   int64_t at_ns, struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_RUNNER_PUT);
    unsigned char slots[REGISTRY_SLOTS_MAX * 5], *end = slots;

    if (!stmt)
        return registry_fail(r, "starting a task", err);
    for (size_t i = 0; i < REGISTRY_SLOTS_MAX; i++)
        end = varint_put(end, s->runner.slots[i]);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)s->task);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)s->token);
    sqlite3_bind_int64(stmt, 3, s->attempt);
    sqlite3_bind_text(stmt, 4, s->pool.len ? s->pool.data : "", (int)s->pool.len, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 5, s->runner.pid);
    sqlite3_bind_int64(stmt, 6, (sqlite3_int64)s->runner.pid_start);
    sqlite3_bind_int64(stmt, 7, (sqlite3_int64)s->runner.worker);
    sqlite3_bind_blob(stmt, 8, slots, (int)(end - slots), SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 9, at_ns);
    return registry_run(r, stmt, "starting a task", err);
}

static void slots_read(struct slice from, uint32_t ret[REGISTRY_SLOTS_MAX])
{
    const unsigned char *at = (const unsigned char *)from.data, *end = at + from.len;

    for (size_t i = 0; i < REGISTRY_SLOTS_MAX; i++) {
        uint64_t n = 0;

        at = at ? varint_get(at, end, &n) : NULL;
        ret[i] = (uint32_t)n;
    }
}

enum weir_status op_start(struct sqlite_registry *r, struct registry_op *op, struct weir_error *err)
{
    struct attempt a;
    struct task_row row;
    bool found;
    enum weir_status status = row_load(r, op->start.task, &row, &found, err);

    if (status != WEIR_OK)
        return status;
    if (!found) {
        error_set(&op->err, WEIR_E_END, "there is no task %" PRIu64, op->start.task);
        return WEIR_OK;
    }
    if (row.state != REGISTRY_READY) {
        error_set(&op->err, WEIR_E_CONFLICT, "task %" PRIu64 " is %s; only a ready one is started",
                  row.id, registry_state_name(row.state));
        return WEIR_OK;
    }
    status = begin(r, &row, &op->start, op->at_ns, op->at_ns - row.rank, &a, err);
    if (status == WEIR_OK)
        status = runner_put(r, &op->start, op->at_ns, err);
    /* Its message stays that of the attempt before. */
    if (status == WEIR_OK)
        status = row_set(r, &row, row.line, REGISTRY_RUNNING, NULL, err);
    if (status == WEIR_OK)
        rows_remember(r, &row);
    return status;
}

/* ---- END ---- */

/* The attempt that runs; *ret_found false: there is none. */
static enum weir_status runner_get(struct sqlite_registry *r, uint64_t task, struct attempt *ret,
                                   bool *ret_found, struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_RUNNER_GET);
    uint32_t slots[REGISTRY_SLOTS_MAX];
    enum weir_status status = WEIR_OK;
    int rc;

    *ret_found = false;
    if (!stmt)
        return registry_fail(r, "ending an attempt", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)task);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        slots_read(registry_column(stmt, 4), slots);
        *ret = (struct attempt){.token = (uint64_t)sqlite3_column_int64(stmt, 0),
                                .number = (uint32_t)sqlite3_column_int64(stmt, 1),
                                .worker = (uint64_t)sqlite3_column_int64(stmt, 3),
                                .slot = slots[0],
                                .started_ns = sqlite3_column_int64(stmt, 5)};
        status = registry_name_id(r, registry_column(stmt, 2), &ret->pool, err);
        *ret_found = true;
    } else if (rc != SQLITE_DONE) {
        status = registry_fail(r, "ending an attempt", err);
    }
    sqlite3_reset(stmt);
    return status;
}

/* Recorded, and nothing else. */
static enum weir_status late(struct sqlite_registry *r, struct registry_op *op,
                             struct weir_error *err)
{
    const struct registry_end *e = &op->end;
    _cleanup_buf_ struct buf detail = {0};
    enum weir_status status;

    rules_detail_late(&detail, e->outcome);
    if (detail.failed)
        return error_nomem(err);
    status = event_tell(r,
                        &(struct registry_event){.kind = REGISTRY_RUNNER_LATE,
                                                 .at_ns = op->at_ns,
                                                 .task = e->task,
                                                 .attempt = e->attempt,
                                                 .pool = e->pool,
                                                 .worker = e->worker,
                                                 .duration_ns = e->run_ns,
                                                 .detail = buf_slice(&detail)},
                        err);
    error_set(&op->err, WEIR_E_CONFLICT,
              "no attempt with this token runs for task %" PRIu64 ": it has been judged before",
              e->task);
    return status;
}

static enum weir_status tell_runner(struct sqlite_registry *r, struct task_row *row,
                                    const struct attempt *a, const struct registry_end *e,
                                    int64_t at_ns, struct weir_error *err)
{
    _cleanup_buf_ struct buf detail = {0};

    rules_detail_runner(&detail, e->outcome, e->reason, e->status, e->message);
    return tell(r, row, a, rules_runner_event(e->outcome), at_ns, e->run_ns, &detail, err);
}

static enum weir_status tell_failed(struct sqlite_registry *r, struct task_row *row,
                                    const struct attempt *a, bool quarantined,
                                    enum weir_reason reason, struct slice message, int64_t at_ns,
                                    struct weir_error *err)
{
    _cleanup_buf_ struct buf detail = {0};
    enum weir_status status = WEIR_OK;

    if (quarantined)
        status = tell(r, row, a, REGISTRY_TASK_QUARANTINED, at_ns, 0, NULL, err);
    rules_detail_failed(&detail, reason, message);
    if (status == WEIR_OK)
        status =
            tell(r, row, a, REGISTRY_TASK_FAILED, at_ns, at_ns - row->submitted_ns, &detail, err);
    return status;
}

/* task.done | failed | cancelled | ready | retry_scheduled */
static enum weir_status tell_next(struct sqlite_registry *r, struct task_row *row,
                                  const struct attempt *a, const struct registry_end *e,
                                  int64_t at_ns, struct weir_error *err)
{
    int64_t life_ns = at_ns - row->submitted_ns;
    enum weir_status status = WEIR_OK;

    switch (e->next) {
    case REGISTRY_DONE:
        return tell(r, row, a, REGISTRY_TASK_DONE, at_ns, life_ns, NULL, err);
    case REGISTRY_CANCELLED:
        return tell(r, row, a, REGISTRY_TASK_CANCELLED, at_ns, life_ns, NULL, err);
    case REGISTRY_READY:
        if (e->wake_ns != 0)
            status = tell(r, row, a, REGISTRY_TASK_RETRY_SCHEDULED, at_ns, e->wake_ns - at_ns, NULL,
                          err);
        return status == WEIR_OK ? tell(r, row, a, REGISTRY_TASK_READY, at_ns, 0, NULL, err)
                                 : status;
    case REGISTRY_SCHEDULED:
        return tell(r, row, a, REGISTRY_TASK_RETRY_SCHEDULED, at_ns, e->wake_ns - at_ns, NULL, err);
    default:
        return tell_failed(r, row, a, e->quarantined, e->reason, e->message, at_ns, err);
    }
}

static enum weir_status result_put(struct sqlite_registry *r, struct task_row *row,
                                   const struct registry_end *e, struct weir_error *err)
{
    sqlite3_stmt *stmt;

    row->run.result = RESULT_ENDED;
    if (e->output.len == 0 && e->errput.len == 0)
        return WEIR_OK;
    row->run.result |= RESULT_ROW;
    stmt = registry_statement(r, RS_RESULT_PUT);
    if (!stmt)
        return registry_fail(r, "writing a result", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)row->id);
    registry_bind_blob(stmt, 2, e->output);
    registry_bind_blob(stmt, 3, e->errput);
    return registry_run(r, stmt, "writing a result", err);
}

/* What the attempt leaves in its task. */
static enum weir_status note(struct sqlite_registry *r, struct task_row *row,
                             const struct registry_end *e, int64_t at_ns, struct weir_error *err)
{
    bool ended = rules_ended(e->next);
    enum weir_status status = move_outcome(r, &row->run, e->outcome, e->reason, err);

    row->run.result = 0;
    if (ended && status == WEIR_OK)
        status = result_put(r, row, e, err);
    row->run.ended_ns = ended ? at_ns : 0;
    row->run.status = e->status;
    row->run.failures += e->counts;
    row->run.deaths += e->death;
    row->run.capacity_retries += e->outcome == WEIR_OUTCOME_CAPACITY;
    if (!ended && e->wake_ns != 0) {
        row->run.wake_ns = e->wake_ns;
        row->run.last_wait_ns = e->wake_ns > at_ns ? e->wake_ns - at_ns : 0;
    }
    return status;
}

static enum weir_status end(struct sqlite_registry *r, const struct registry_op *op,
                            const struct registry_end *e, struct task_row *row, struct attempt *a,
                            struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    if (e->started)
        status =
            begin(r, row, &e->start, e->started_ns ? e->started_ns : op->at_ns, e->wait_ns, a, err);
    else
        status = registry_do(r, RS_RUNNER_DROP, 1, (int64_t[]){(int64_t)row->id},
                             "ending an attempt", err);
    if (status == WEIR_OK)
        status = tell_runner(r, row, a, e, op->at_ns, err);
    if (status == WEIR_OK)
        status = note(r, row, e, op->at_ns, err);
    if (status == WEIR_OK)
        status = tell_next(r, row, a, e, op->at_ns, err);
    if (status == WEIR_OK)
        status = row_move(r, row, e->next, e->message, err);
    if (status == WEIR_OK && (e->next == REGISTRY_DONE || e->next == REGISTRY_FAILED))
        status = move_spread(r, row, op->at_ns, err);
    return status;
}

/* It fails without having been started. */
static enum weir_status end_untried(struct sqlite_registry *r, struct registry_op *op,
                                    struct weir_error *err)
{
    const struct registry_end *e = &op->end;
    struct task_row row;
    bool found;
    enum weir_status status = row_load(r, e->task, &row, &found, err);

    if (status != WEIR_OK)
        return status;
    if (!found || row.state != REGISTRY_READY) {
        error_set(&op->err, WEIR_E_CONFLICT, RULES_NOT_READY, e->task);
        return WEIR_OK;
    }
    return move_fail(r, &row, e->outcome, e->reason, e->message, op->at_ns, err);
}

enum weir_status op_end(struct sqlite_registry *r, struct registry_op *op, struct weir_error *err)
{
    const struct registry_end *e = &op->end;
    struct registry_end as_wished;
    struct attempt a = {0};
    struct task_row row;
    bool found, runs = false;
    enum weir_status status;

    op->end.ret_cancelled = false;
    if (!rules_ended(e->next) && e->next != REGISTRY_READY && e->next != REGISTRY_SCHEDULED) {
        error_set(&op->err, WEIR_E_INVALID, "an attempt does not leave its task %s",
                  registry_state_name(e->next));
        return WEIR_OK;
    }
    if (e->untried)
        return end_untried(r, op, err);
    status = row_load(r, e->task, &row, &found, err);
    if (status == WEIR_OK && found && !e->started && row.state == REGISTRY_RUNNING)
        status = runner_get(r, e->task, &a, &runs, err);
    if (status != WEIR_OK)
        return status;
    if (!found || (e->started ? row.state != REGISTRY_READY
                              : row.state != REGISTRY_RUNNING || !runs || a.token != e->token))
        return late(r, op, err);
    if (rules_next(e->next, row.flags & TASK_CANCELLING) == e->next)
        return end(r, op, e, &row, &a, err);
    as_wished = *e;
    as_wished.next = REGISTRY_CANCELLED;
    op->end.ret_cancelled = true;
    return end(r, op, &as_wished, &row, &a, err);
}

/* ---- after a crash ---- */

enum weir_status registry_left_running(struct core_registry *base, registry_left_fn fn, void *ctx,
                                       struct weir_error *err)
{
    struct sqlite_registry *r = registry_self(base);
    sqlite3_stmt *stmt = registry_statement(r, RS_RUNNER_ALL);
    enum weir_status status = WEIR_OK;
    int rc = SQLITE_DONE;

    if (!stmt)
        return registry_fail(r, "reading what ran", err);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct registry_left left = {
            .task = (uint64_t)sqlite3_column_int64(stmt, 0),
            .token = (uint64_t)sqlite3_column_int64(stmt, 1),
            .attempt = (uint32_t)sqlite3_column_int64(stmt, 2),
            .pool = registry_column(stmt, 3),
            .runner = {.pid = sqlite3_column_int64(stmt, 4),
                       .pid_start = (uint64_t)sqlite3_column_int64(stmt, 5),
                       .worker = (uint64_t)sqlite3_column_int64(stmt, 6)},
            .started_ns = sqlite3_column_int64(stmt, 8),
        };

        slots_read(registry_column(stmt, 7), left.runner.slots);
        if (!fn(ctx, &left))
            break;
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = registry_fail(r, "reading what ran", err);
    sqlite3_reset(stmt);
    return status;
}

static enum weir_status quarantine(struct sqlite_registry *r, struct task_row *row,
                                   const struct attempt *a, int64_t now_ns, struct weir_error *err)
{
    struct slice message = SLICE(RULES_QUARANTINED);
    enum weir_status status =
        move_outcome(r, &row->run, WEIR_OUTCOME_LOST, WEIR_REASON_QUARANTINED, err);

    row->run.ended_ns = now_ns;
    row->run.result = RESULT_ENDED;
    if (status == WEIR_OK)
        status = tell_failed(r, row, a, true, WEIR_REASON_QUARANTINED, message, now_ns, err);
    if (status == WEIR_OK)
        status = row_move(r, row, REGISTRY_FAILED, message, err);
    return status == WEIR_OK ? move_spread(r, row, now_ns, err) : status;
}

static enum weir_status put_back_one(struct sqlite_registry *r, uint64_t task, int64_t now_ns,
                                     uint32_t deaths_max, struct weir_error *err)
{
    struct registry_end lost = {.outcome = WEIR_OUTCOME_LOST,
                                .reason = WEIR_REASON_DISPATCHER_LOST,
                                .message = SLICE(RULES_DISPATCHER_LOST)};
    struct attempt a = {0};
    struct task_row row;
    bool found, runs = false;
    enum weir_status status = row_load(r, task, &row, &found, err);

    if (status == WEIR_OK)
        status = runner_get(r, task, &a, &runs, err);
    if (status == WEIR_OK)
        status = registry_do(r, RS_RUNNER_DROP, 1, (int64_t[]){(int64_t)task},
                             "putting a task back", err);
    if (status != WEIR_OK || !found || !runs || row.state != REGISTRY_RUNNING)
        return status;
    lost.death = !(row.flags & TASK_END_TOLD);
    lost.run_ns = now_ns - a.started_ns;
    lost.next = rules_next(REGISTRY_READY, row.flags & TASK_CANCELLING);
    status = tell_runner(r, &row, &a, &lost, now_ns, err);
    if (status == WEIR_OK)
        status = note(r, &row, &lost, now_ns, err);
    if (status == WEIR_OK && lost.next == REGISTRY_READY && deaths_max > 0 &&
        row.run.deaths >= deaths_max)
        return quarantine(r, &row, &a, now_ns, err);
    if (status == WEIR_OK)
        status = tell_next(r, &row, &a, &lost, now_ns, err);
    if (status == WEIR_OK)
        status = row_move(r, &row, lost.next, lost.message, err);
    return status;
}

/* Those who filled them went with the predecessor. */
static enum weir_status end_passing(struct sqlite_registry *r, struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_BATCH_PASSING);
    _cleanup_ids_ struct id_list ids = {0};
    enum weir_status status;
    bool found;

    if (!stmt)
        return registry_fail(r, "ending batches", err);
    status = id_list_read(r, stmt, 0, &ids, "ending batches", err);
    for (size_t i = 0; i < ids.count && status == WEIR_OK; i++)
        status = batch_close(r, ids.ids[i], &found, err);
    return status;
}

static enum weir_status put_back_all(struct sqlite_registry *r, int64_t now_ns, uint32_t deaths_max,
                                     uint64_t *ret_count, struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_RUNNER_ALL);
    _cleanup_ids_ struct id_list ids = {0};
    enum weir_status status;

    if (!stmt)
        return registry_fail(r, "putting tasks back", err);
    status = id_list_read(r, stmt, 0, &ids, "putting tasks back", err);
    for (size_t i = 0; i < ids.count && status == WEIR_OK; i++)
        status = put_back_one(r, ids.ids[i], now_ns, deaths_max, err);
    if (status == WEIR_OK)
        status = end_passing(r, err);
    if (status == WEIR_OK)
        status = batch_settle(r, now_ns, err);
    *ret_count = ids.count;
    return status;
}

enum weir_status registry_put_back(struct core_registry *base, int64_t now_ns, uint32_t deaths_max,
                                   uint64_t *ret_count, struct weir_error *err)
{
    struct sqlite_registry *r = registry_self(base);
    enum weir_status status = registry_begin(r, err);
    uint64_t count = 0;

    if (status != WEIR_OK)
        return status;
    r->op_number++;
    status = put_back_all(r, now_ns, deaths_max, &count, err);
    status = registry_end(r, status, err);
    if (status != WEIR_OK)
        return status;
    *ret_count = count;
    /* Nobody has anything yet: it is found by its line. */
    for (uint32_t id = 1; id <= atomic_load(&r->lines.count); id++) {
        struct line_entry *l = row_line(r, id);

        if (!l)
            continue;
        l->behind += l->held;
        l->held = 0;
        l->passed = INT64_MIN;
    }
    r->held = r->held_durable = 0;
    return WEIR_OK;
}
