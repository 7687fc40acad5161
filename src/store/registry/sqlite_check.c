/*
 * CHECK: tasks that can never run. Of those that are blocked, those live whose dependencies all live: from what can still
 * end, along dependencies. What is not reached so is stuck. Only blocked tasks and what they depend on are looked at, and
 * nothing at all if no dependency has changed since the last time.
 */
#include "base/error.h"
#include "base/mem.h"
#include "store/registry/rules.h"
#include "store/registry/sqlite_moves.h"

#include <stdlib.h>

struct blocked {
    uint64_t id;
    uint64_t
        dead; /* the first of its dependencies that is not blocked, and does not live; 0: none */
    uint32_t left; /* dependencies that do not live, as far as is known */
    uint32_t first_edge, edge_count;
    bool lives, was_stuck;
};

/* `on` holds up `up`; both are places. */
struct check_edge {
    uint32_t on, up;
};

struct check {
    struct sqlite_registry *r;
    struct blocked *of;
    size_t count, cap;
    struct check_edge *edges;
    size_t edge_count, edge_cap;
    struct idmap places; /* id -> its struct blocked, once there are all */
    uint32_t *queue;
};

static bool grow(void *array, size_t *cap, size_t count, size_t size)
{
    void **at = array;
    void *more;

    if (count < *cap)
        return true;
    more = mem_realloc(*at, (*cap ? *cap * 2 : 64) * size);
    if (!more)
        return false;
    *at = more;
    *cap = *cap ? *cap * 2 : 64;
    return true;
}

static enum weir_status gather(struct check *c, struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(c->r, RS_IN_STATE);
    enum weir_status status = WEIR_OK;
    int rc = SQLITE_DONE;

    if (!stmt)
        return registry_fail(c->r, "looking for deadlocks", err);
    sqlite3_bind_int(stmt, 1, REGISTRY_BLOCKED);
    sqlite3_bind_int64(stmt, 2, 0);
    while (status == WEIR_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct task_row row;

        if (!row_read(stmt, &row))
            status = registry_damaged(c->r->path, "a task cannot be read", err);
        else if (!grow(&c->of, &c->cap, c->count, sizeof(*c->of)))
            status = error_nomem(err);
        else
            c->of[c->count++] = (struct blocked){.id = row.id, .was_stuck = row.flags & TASK_STUCK};
    }
    if (status == WEIR_OK && rc != SQLITE_DONE)
        status = registry_fail(c->r, "looking for deadlocks", err);
    sqlite3_reset(stmt);
    for (size_t i = 0; i < c->count && status == WEIR_OK; i++)
        if (!idmap_put(&c->places, c->of[i].id, &c->of[i]))
            status = error_nomem(err);
    return status;
}

/* One that is not met. */
static enum weir_status look_at(struct check *c, size_t i, uint64_t on, struct weir_error *err)
{
    const struct blocked *other = idmap_get(&c->places, on);
    struct blocked *b = &c->of[i];
    struct task_row row;
    bool found;
    enum weir_status status;

    if (other) {
        if (!grow(&c->edges, &c->edge_cap, c->edge_count, sizeof(*c->edges)))
            return error_nomem(err);
        c->edges[c->edge_count++] = (struct check_edge){(uint32_t)(other - c->of), (uint32_t)i};
        b->left++;
        return WEIR_OK;
    }
    status = row_load(c->r, on, &row, &found, err);
    if (status == WEIR_OK && (!found || rules_ended(row.state))) {
        b->left++;
        if (b->dead == 0)
            b->dead = on;
    }
    return status;
}

static enum weir_status look_at_all(struct check *c, struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(c->r, RS_DEP_OF);
    enum weir_status status = WEIR_OK;

    if (!stmt)
        return registry_fail(c->r, "looking for deadlocks", err);
    for (size_t i = 0; i < c->count && status == WEIR_OK; i++) {
        int rc = SQLITE_DONE;

        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)c->of[i].id);
        while (status == WEIR_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
            if (!sqlite3_column_int(stmt, 1))
                status = look_at(c, i, (uint64_t)sqlite3_column_int64(stmt, 0), err);
        if (status == WEIR_OK && rc != SQLITE_DONE)
            status = registry_fail(c->r, "looking for deadlocks", err);
        sqlite3_reset(stmt);
    }
    return status;
}

static int compare_edges(const void *a, const void *b)
{
    const struct check_edge *x = a, *y = b;

    return (x->on > y->on) - (x->on < y->on);
}

static bool find_living(struct check *c)
{
    size_t head = 0, tail = 0;

    if (c->edge_count > 1)
        qsort(c->edges, c->edge_count, sizeof(*c->edges), compare_edges);
    for (size_t i = c->edge_count; i-- > 0;) {
        c->of[c->edges[i].on].first_edge = (uint32_t)i;
        c->of[c->edges[i].on].edge_count++;
    }
    c->queue = mem_calloc(c->count + 1, sizeof(*c->queue));
    if (!c->queue)
        return false;
    for (size_t i = 0; i < c->count; i++)
        if (c->of[i].left == 0)
            c->queue[tail++] = (uint32_t)i;
    while (head < tail) {
        struct blocked *b = &c->of[c->queue[head++]];

        b->lives = true;
        for (uint32_t k = 0; k < b->edge_count; k++) {
            uint32_t up = c->edges[b->first_edge + k].up;

            if (--c->of[up].left == 0)
                c->queue[tail++] = up;
        }
    }
    return true;
}

/* The first of its dependencies, by id, that can never be met. */
static enum weir_status first_dead(struct check *c, const struct blocked *b, uint64_t *ret,
                                   struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(c->r, RS_DEP_OF);
    int rc;

    *ret = b->dead;
    if (!stmt)
        return registry_fail(c->r, "looking for deadlocks", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)b->id);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        uint64_t on = (uint64_t)sqlite3_column_int64(stmt, 0);
        const struct blocked *other = idmap_get(&c->places, on);

        if (!sqlite3_column_int(stmt, 1) && (on == b->dead || (other && !other->lives))) {
            *ret = on;
            break;
        }
    }
    sqlite3_reset(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE
               ? WEIR_OK
               : registry_fail(c->r, "looking for deadlocks", err);
}

static enum weir_status tell_stuck(struct check *c, const struct blocked *b, struct task_row *row,
                                   int64_t at_ns, struct weir_error *err)
{
    _cleanup_buf_ struct buf detail = {0};
    struct task_row on = {0};
    uint64_t dead;
    bool found = false;
    enum weir_status status = first_dead(c, b, &dead, err);

    if (status == WEIR_OK)
        status = row_load(c->r, dead, &on, &found, err);
    if (status != WEIR_OK)
        return status;
    rules_detail_stuck(&detail, dead, found ? registry_state_name(on.state) : "gone");
    return detail.failed
               ? error_nomem(err)
               : event_task(c->r, REGISTRY_DEADLOCK_DETECTED, row, at_ns, buf_slice(&detail), err);
}

static enum weir_status mark(struct check *c, struct registry_op *op, const struct blocked *b,
                             struct weir_error *err)
{
    bool found, stuck = !b->lives;
    struct task_row row;
    enum weir_status status = row_load(c->r, b->id, &row, &found, err);

    if (status != WEIR_OK || !found)
        return status;
    row.flags = stuck ? row.flags | TASK_STUCK : row.flags & ~TASK_STUCK;
    op->check.ret_new += stuck;
    if (stuck)
        status = tell_stuck(c, b, &row, op->at_ns, err);
    return status == WEIR_OK ? row_set(c->r, &row, row.line, row.state, NULL, err) : status;
}

static enum weir_status check(struct check *c, struct registry_op *op, struct weir_error *err)
{
    enum weir_status status = gather(c, err);

    if (status == WEIR_OK)
        status = look_at_all(c, err);
    if (status == WEIR_OK && !find_living(c))
        status = error_nomem(err);
    for (size_t i = 0; i < c->count && status == WEIR_OK; i++) {
        op->check.ret_stuck += !c->of[i].lives;
        if (c->of[i].was_stuck == c->of[i].lives)
            status = mark(c, op, &c->of[i], err);
    }
    return status;
}

enum weir_status op_check(struct sqlite_registry *r, struct registry_op *op, struct weir_error *err)
{
    struct check c = {.r = r};
    enum weir_status status;

    if (r->graph_same) {
        op->check.ret_stuck = r->stuck;
        return WEIR_OK;
    }
    idmap_init(&c.places);
    status = check(&c, op, err);
    idmap_free(&c.places);
    mem_free(c.of);
    mem_free(c.edges);
    mem_free(c.queue);
    if (status == WEIR_OK) {
        r->graph_same = true;
        r->stuck = op->check.ret_stuck;
    }
    return status;
}
