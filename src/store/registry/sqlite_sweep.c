/*
 * What time brings: WAKE, and what goes after its time: PURGE. Each in small bites, through an
 * index.
 */
#include "base/error.h"
#include "store/registry/rules.h"
#include "store/registry/sqlite_moves.h"

#include <assert.h>

/* ---- WAKE ---- */

static enum weir_status wake_one(struct sqlite_registry *r, struct registry_op *op, uint64_t id,
                                 struct weir_error *err)
{
    struct task_row row;
    bool found;
    enum weir_status status = row_load(r, id, &row, &found, err);
    int64_t due = found ? row_due(&row, row.state) : 0;

    /* What was woken before it may have failed it. */
    if (status != WEIR_OK || due == 0 || due > op->at_ns)
        return status;
    op->wake.ret_count++;
    if (row.opts.deadline_ns > 0 && row.opts.deadline_ns <= op->at_ns)
        return move_fail(r, &row, WEIR_OUTCOME_TIMEOUT, WEIR_REASON_DEADLINE, SLICE(RULES_DEADLINE),
                         op->at_ns, err);
    return move_ready(r, &row, op->at_ns, err);
}

enum weir_status op_wake(struct sqlite_registry *r, struct registry_op *op, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    sqlite3_stmt *stmt;
    size_t looked_at = 1;
    int rc;

    while (status == WEIR_OK && looked_at > 0 && op->wake.ret_count < op->wake.max) {
        _cleanup_ids_ struct id_list ids = {0};

        stmt = registry_statement(r, RS_DUE);
        if (!stmt)
            return registry_fail(r, "waking tasks", err);
        sqlite3_bind_int64(stmt, 1, op->at_ns);
        sqlite3_bind_int64(stmt, 2, op->wake.max - op->wake.ret_count);
        status = id_list_read(r, stmt, 0, &ids, "waking tasks", err);
        looked_at = ids.count;
        for (size_t i = 0; i < ids.count && status == WEIR_OK; i++)
            status = wake_one(r, op, ids.ids[i], err);
    }
    stmt = registry_statement(r, RS_DUE_NEXT);
    if (status != WEIR_OK || !stmt)
        return status != WEIR_OK ? status : registry_fail(r, "waking tasks", err);
    rc = sqlite3_step(stmt);
    op->wake.ret_next_ns = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? WEIR_OK : registry_fail(r, "waking tasks", err);
}

/* ---- PURGE: tasks ---- */

/* An op looks at so many that have ended, gone or not; the next one goes on behind them. */
#define ENDED_LOOKS_MAX 5000
/*
 * None ends before it comes, and those behind it have come later: beyond so many, one behind the
 * other, that came too late to be old, nothing is. So many, for clocks are set back, and one that
 * has come at a time that is still to be says nothing.
 */
#define ENDED_YOUNG_MAX 250

/* Tasks that have ended, by id, through an index for each of the three states. */
struct ended {
    sqlite3_stmt *stmt;
    int64_t before_ns, now_ns;
    uint32_t young;
    struct task_row row; /* the next; id 0: there is none */
};

static enum weir_status ended_next(struct sqlite_registry *r, struct ended *e,
                                   struct weir_error *err)
{
    int rc = sqlite3_step(e->stmt);

    if (rc == SQLITE_ROW) {
        if (!row_read(e->stmt, &e->row))
            return registry_damaged(r->path, "a task cannot be read", err);
        if (e->row.submitted_ns < e->before_ns)
            e->young = 0;
        else if (e->row.submitted_ns <= e->now_ns)
            e->young++;
        if (e->young <= ENDED_YOUNG_MAX)
            return WEIR_OK;
        rc = SQLITE_DONE;
    }
    e->row.id = 0;
    sqlite3_reset(e->stmt);
    return rc == SQLITE_DONE ? WEIR_OK : registry_fail(r, "looking for what has ended", err);
}

static enum weir_status ended_begin(struct sqlite_registry *r, struct ended *e,
                                    enum registry_statement st, enum registry_state state,
                                    int64_t before_ns, struct weir_error *err)
{
    *e = (struct ended){.before_ns = before_ns, .now_ns = r->op->at_ns};
    if (before_ns == 0)
        return WEIR_OK;
    e->stmt = registry_statement(r, st);
    if (!e->stmt)
        return registry_fail(r, "looking for what has ended", err);
    sqlite3_bind_int(e->stmt, 1, (int)state);
    sqlite3_bind_int64(e->stmt, 2, (sqlite3_int64)r->purged_to);
    return ended_next(r, e, err);
}

#define ENDED_STATES 3

static struct ended *ended_first(struct ended of[ENDED_STATES])
{
    struct ended *first = NULL;

    for (int i = 0; i < ENDED_STATES; i++)
        if (of[i].row.id && (!first || of[i].row.id < first->row.id))
            first = &of[i];
    return first;
}

/* The first `room` of them that are old, by id, and whether there may be more. */
static enum weir_status ended_choose(struct sqlite_registry *r, struct ended of[ENDED_STATES],
                                     struct registry_purge *p, uint32_t room, struct id_list *ids,
                                     struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    uint64_t last = r->purged_to;

    for (uint32_t looks = 0; status == WEIR_OK; looks++) {
        struct ended *e = ended_first(of);
        bool old = e && e->row.run.ended_ns < e->before_ns;

        p->ret_more = e && (looks == ENDED_LOOKS_MAX || (old && ids->count == room));
        /* Short of that many, it begins where it began: those that it left may be old by then. */
        if (!e || looks == ENDED_LOOKS_MAX)
            r->purged_to = e ? last : 0;
        if (!e || p->ret_more)
            break;
        last = e->row.id;
        if (old && !id_list_add(ids, last))
            return error_nomem(err);
        status = ended_next(r, e, err);
    }
    return status;
}

static enum weir_status ended_gather(struct sqlite_registry *r, struct registry_purge *p,
                                     uint32_t room, struct id_list *ids, struct weir_error *err)
{
    struct ended of[ENDED_STATES] = {0};
    enum weir_status status =
        ended_begin(r, &of[0], RS_ENDED_DONE, REGISTRY_DONE, p->tasks_before_ns, err);

    if (status == WEIR_OK)
        status = ended_begin(r, &of[1], RS_ENDED_FAILED, REGISTRY_FAILED, p->failed_before_ns, err);
    if (status == WEIR_OK)
        status =
            ended_begin(r, &of[2], RS_ENDED_CANCELLED, REGISTRY_CANCELLED, p->tasks_before_ns, err);
    if (status == WEIR_OK)
        status = ended_choose(r, of, p, room, ids, err);
    for (int i = 0; i < ENDED_STATES; i++)
        if (of[i].stmt)
            sqlite3_reset(of[i].stmt);
    return status;
}

static enum weir_status purge_tasks(struct sqlite_registry *r, struct registry_purge *p,
                                    uint32_t *room, struct weir_error *err)
{
    _cleanup_ids_ struct id_list ids = {0};
    enum weir_status status = ended_gather(r, p, *room, &ids, err);

    for (size_t i = 0; i < ids.count && status == WEIR_OK; i++) {
        struct task_row row;
        bool found;

        status = row_load(r, ids.ids[i], &row, &found, err);
        if (status == WEIR_OK && found)
            status = move_remove(r, &row, err);
    }
    *room -= (uint32_t)ids.count;
    return status;
}

/* ---- PURGE: events ---- */

/* Rows of the record that an op looks at to see what is behind events of a clock that was ahead. */
#define AHEAD_LOOKS_MAX 1000

struct old_events {
    uint64_t first, end; /* numbers in the row; end: one beyond */
    uint64_t keep_from;  /* the first that stays */
    uint64_t ahead_to;   /* behind keep_from: of a time that is still to be, up to there */
};

/* Of the record's first row: what is old, and what is of a time that is still to be. */
static struct old_events walk_first(const struct sqlite_registry *r, const struct registry_purge *p,
                                    uint32_t room, sqlite3_stmt *stmt)
{
    struct old_events o = {.first = (uint64_t)sqlite3_column_int64(stmt, 0)};
    struct event_walk walk;
    struct registry_event e;

    o.end = o.first + (uint64_t)sqlite3_column_int64(stmt, 1);
    o.keep_from = o.ahead_to = o.first;
    event_walk_begin(&walk, o.first, sqlite3_column_int64(stmt, 2), registry_column(stmt, 3));
    while (event_walk_next(&walk, &e)) {
        bool many = p->events_max != 0 && r->mark.event - e.seq + 1 > p->events_max;
        bool gone = e.seq < r->mark.event_first;
        bool old = many || (p->events_before_ns != 0 && e.at_ns < p->events_before_ns);

        if (!gone && room == 0)
            break;
        if (!gone && !old && (p->events_before_ns == 0 || e.at_ns <= r->op->at_ns)) {
            o.ahead_to = o.keep_from; /* what is behind them is young */
            break;
        }
        room -= !gone;
        o.ahead_to = e.seq + 1;
        if (gone || old)
            o.keep_from = o.ahead_to;
    }
    return o;
}

/* Whether the first row behind it that is of no time to come is old; then what is before it is, whatever it says. */
static enum weir_status is_old_behind(struct sqlite_registry *r, struct registry_purge *p,
                                      uint64_t first, bool *ret, struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_EVENT_BEHIND);
    int rc = SQLITE_DONE;

    *ret = false;
    if (!stmt)
        return registry_fail(r, "shortening the record", err);
    if (r->ahead_to < first)
        r->ahead_to = first;
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)r->ahead_to);
    for (int looks = 0; (rc = sqlite3_step(stmt)) == SQLITE_ROW; looks++) {
        int64_t at_ns = sqlite3_column_int64(stmt, 1);

        p->ret_more |= looks == AHEAD_LOOKS_MAX;
        *ret = at_ns < p->events_before_ns;
        if (*ret || at_ns <= r->op->at_ns || looks == AHEAD_LOOKS_MAX)
            break;
        r->ahead_to = (uint64_t)sqlite3_column_int64(stmt, 0);
    }
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? WEIR_OK
                                                 : registry_fail(r, "shortening the record", err);
}

/* How many at the beginning of the record's first row go; all of them: the row goes. */
static enum weir_status look_at_first(struct sqlite_registry *r, struct registry_purge *p,
                                      uint32_t room, struct old_events *ret, struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_EVENT_FIRST);
    enum weir_status status;
    bool old;
    int rc;

    if (!stmt)
        return registry_fail(r, "shortening the record", err);
    *ret = (struct old_events){0};
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *ret = walk_first(r, p, room, stmt);
    sqlite3_reset(stmt);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return registry_fail(r, "shortening the record", err);
    if (ret->ahead_to == ret->keep_from)
        return WEIR_OK;
    status = is_old_behind(r, p, ret->first, &old, err);
    if (status == WEIR_OK && old)
        ret->keep_from = ret->ahead_to;
    return status;
}

/* Whether there is one left that should go. */
static enum weir_status more_events(struct sqlite_registry *r, struct registry_purge *p,
                                    struct weir_error *err)
{
    struct old_events old;
    enum weir_status status = look_at_first(r, p, 1, &old, err);

    if (status == WEIR_OK && old.keep_from > r->mark.event_first)
        p->ret_more = true;
    return status;
}

static enum weir_status purge_events(struct sqlite_registry *r, struct registry_purge *p,
                                     uint32_t *room, struct weir_error *err)
{
    if (p->events_max == 0 && p->events_before_ns == 0)
        return WEIR_OK;
    while (*room > 0) {
        struct old_events old;
        uint64_t from = r->mark.event_first;
        enum weir_status status;

        /* What the transaction has told so far is only on the way there. */
        status = event_flush(r, err);
        if (status == WEIR_OK)
            status = look_at_first(r, p, *room, &old, err);
        if (status != WEIR_OK || old.end == 0)
            return status;
        if (old.keep_from > from) {
            *room -= (uint32_t)(old.keep_from - from);
            r->mark.event_first = old.keep_from;
        }
        if (old.keep_from < old.end)
            return *room == 0 ? more_events(r, p, err) : WEIR_OK;
        status = registry_do(r, RS_EVENT_DROP, 1, (int64_t[]){(int64_t)old.first},
                             "shortening the record", err);
        if (status != WEIR_OK)
            return status;
    }
    return more_events(r, p, err);
}

/* ---- PURGE ---- */

static enum weir_status purge_batches(struct sqlite_registry *r, struct registry_purge *p,
                                      struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_BATCHES_ENDED);
    _cleanup_ids_ struct id_list ids = {0};
    enum weir_status status;

    if (p->tasks_before_ns == 0)
        return WEIR_OK;
    /* Their counts are in memory until the end. */
    status = batch_settle(r, r->op->at_ns, err);
    if (status == WEIR_OK)
        status = count_write_batches(r, err);
    if (status != WEIR_OK)
        return status;
    if (!stmt)
        return registry_fail(r, "looking for batches that have ended", err);
    sqlite3_bind_int64(stmt, 1, p->tasks_before_ns);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)p->max + 1);
    status = id_list_read(r, stmt, 0, &ids, "looking for batches that have ended", err);
    for (size_t i = 0; i < ids.count && i < p->max && status == WEIR_OK; i++)
        status = batch_drop(r, ids.ids[i], err);
    p->ret_more |= ids.count > p->max;
    return status;
}

static enum weir_status purge_gone(struct sqlite_registry *r, uint32_t max, struct weir_error *err)
{
    return registry_do(r, RS_GONE_DROP, 2, (int64_t[]){(int64_t)r->mark.event_first, max},
                       "shortening the record", err);
}

enum weir_status op_purge(struct sqlite_registry *r, struct registry_op *op, struct weir_error *err)
{
    struct registry_purge *p = &op->purge;
    uint32_t room = p->max;
    enum weir_status status = purge_tasks(r, p, &room, err);

    if (status == WEIR_OK)
        status = purge_events(r, p, &room, err);
    if (status == WEIR_OK)
        status = purge_batches(r, p, err);
    if (status == WEIR_OK)
        status = lineset_purge(r, p, err);
    if (status == WEIR_OK)
        status = purge_gone(r, p->max, err);
    return status;
}
