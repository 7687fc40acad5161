/*
 * CHECK: tasks that can never run. Of those that are blocked, those live whose dependencies all
 * live: from what can still end, along dependencies. What is not reached so is stuck. Only blocked
 * tasks and what they depend on are looked at, and nothing at all if no dependency has changed
 * since the last time.
 *
 *      gather (which are blocked) ──► look (at what each depends on) ──► find (which live) ──► mark (and tell)
 *
 * With many of them that takes longer than the writer may be held up: it is done in pieces, one an
 * op, and what is known so far is kept in between. Other ops come between the pieces. Most of what
 * they change is no harm: what lived may not do so any more, which the next check finds, for the
 * graph is not the same; what has ended or left its place is looked at again before it is told.
 *
 * But what was found dead may come to life: a task is retried or resolved, or one that is blocked
 * fails, and another was to run after its failure. Then what is behind it may live, too, however
 * far, so the check begins anew, and has told only what was so. After some times of that it is done
 * in one piece. With a transaction that fails, the check begins anew as well.
 */
#include "base/error.h"
#include "base/mem.h"
#include "store/registry/rules.h"
#include "store/registry/sqlite_moves.h"

/* What a step costs, in tasks that are looked at. */
#define FOUND_FOR_ONE 32 /* so many are found to live */
#define MARK_COST     4

/* After so many beginnings in vain: in one piece. */
#define BEGINNINGS_MAX 4

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

enum check_step { GATHER, LOOK, FIND, MARK, THROUGH };

struct check {
    struct sqlite_registry *r;
    enum check_step step;
    uint32_t beginnings;
    size_t at;     /* how far the step is */
    uint64_t last; /* GATHER: the last id */
    struct blocked *of;
    size_t count, cap;
    struct check_edge *edges;
    size_t edge_count, edge_cap;
    uint32_t *ups;       /* of all, one after the other: first_edge, edge_count */
    struct idmap places; /* id -> its place + 1, as if it were a pointer */
    uint32_t *queue;
    size_t queued;
    uint64_t stuck;
    uint64_t left; /* of this op: what it may still look at */
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

static struct blocked *find(const struct check *c, uint64_t id)
{
    uintptr_t place = (uintptr_t)idmap_get(&c->places, id);

    return place ? &c->of[place - 1] : NULL;
}

static void next_step(struct check *c)
{
    c->step++;
    c->at = 0;
}

static void spend(struct check *c, uint64_t cost)
{
    c->left -= cost < c->left ? cost : c->left;
}

/* ---- gather ---- */

static enum weir_status add(struct check *c, const struct task_row *row, struct weir_error *err)
{
    if (!grow(&c->of, &c->cap, c->count, sizeof(*c->of)) ||
        !idmap_put(&c->places, row->id, (void *)(uintptr_t)(c->count + 1)))
        return error_nomem(err);
    c->of[c->count++] =
        (struct blocked){.id = row->id, .was_stuck = (row->flags & TASK_STUCK) != 0};
    c->last = row->id;
    return WEIR_OK;
}

static enum weir_status gather(struct check *c, struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(c->r, RS_IN_STATE);
    enum weir_status status = WEIR_OK;
    int rc = SQLITE_ROW;

    if (!stmt)
        return registry_fail(c->r, "looking for deadlocks", err);
    sqlite3_bind_int(stmt, 1, REGISTRY_BLOCKED);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)c->last);
    while (status == WEIR_OK && c->left > 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct task_row row;

        spend(c, 1);

        if (row_read(stmt, &row))
            status = add(c, &row, err);
        else
            status = registry_damaged(c->r->path, "a task cannot be read", err);
    }
    if (status == WEIR_OK && rc != SQLITE_DONE && rc != SQLITE_ROW)
        status = registry_fail(c->r, "looking for deadlocks", err);
    sqlite3_reset(stmt);
    if (rc == SQLITE_DONE)
        next_step(c);
    return status;
}

/* ---- look ---- */

/* A dependency that is not met. */
static enum weir_status look_at_edge(struct check *c, size_t i, uint64_t on, struct weir_error *err)
{
    const struct blocked *other = find(c, on);
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

static enum weir_status look_at_one(struct check *c, size_t i, sqlite3_stmt *stmt,
                                    struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    int rc = SQLITE_DONE;

    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)c->of[i].id);
    while (status == WEIR_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
        if (!sqlite3_column_int(stmt, 1)) {
            status = look_at_edge(c, i, (uint64_t)sqlite3_column_int64(stmt, 0), err);
            spend(c, 1);
        }
    if (status == WEIR_OK && rc != SQLITE_DONE)
        status = registry_fail(c->r, "looking for deadlocks", err);
    sqlite3_reset(stmt);
    return status;
}

static enum weir_status look(struct check *c, struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(c->r, RS_DEP_OF);
    enum weir_status status = WEIR_OK;

    if (!stmt)
        return registry_fail(c->r, "looking for deadlocks", err);
    while (c->at < c->count && status == WEIR_OK && c->left > 0)
        status = look_at_one(c, c->at++, stmt, err);
    if (status == WEIR_OK && c->at == c->count)
        next_step(c);
    return status;
}

/* ---- find ---- */

/* Those that each holds up, side by side; and those that nothing holds up are the first to live. */
static bool find_begin(struct check *c)
{
    uint32_t first = 0;

    c->ups = mem_calloc(c->edge_count + 1, sizeof(*c->ups));
    c->queue = mem_calloc(c->count + 1, sizeof(*c->queue));
    if (!c->ups || !c->queue)
        return false;
    for (size_t i = 0; i < c->edge_count; i++)
        c->of[c->edges[i].on].edge_count++;
    for (size_t i = 0; i < c->count; i++) {
        c->of[i].first_edge = first;
        first += c->of[i].edge_count;
        c->of[i].edge_count = 0;
        if (c->of[i].left == 0)
            c->queue[c->queued++] = (uint32_t)i;
    }
    for (size_t i = 0; i < c->edge_count; i++) {
        struct blocked *on = &c->of[c->edges[i].on];

        c->ups[on->first_edge + on->edge_count++] = c->edges[i].up;
    }
    spend(c, 1 + (c->count + c->edge_count) / FOUND_FOR_ONE);
    c->edges = mem_free(c->edges);
    return true;
}

static enum weir_status find_living(struct check *c, struct weir_error *err)
{
    if (!c->queue && !find_begin(c))
        return error_nomem(err);
    while (c->at < c->queued && c->left > 0) {
        struct blocked *b = &c->of[c->queue[c->at++]];

        b->lives = true;
        spend(c, c->at % FOUND_FOR_ONE == 0);
        for (uint32_t k = 0; k < b->edge_count; k++) {
            uint32_t up = c->ups[b->first_edge + k];

            if (--c->of[up].left == 0)
                c->queue[c->queued++] = up;
        }
    }
    if (c->at == c->queued)
        next_step(c);
    return WEIR_OK;
}

/* ---- mark ---- */

/* The first of its dependencies, by id, that can never be met; 0: none any more. */
static enum weir_status first_dead(struct check *c, const struct blocked *b, uint64_t *ret,
                                   struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(c->r, RS_DEP_OF);
    int rc;

    *ret = 0;
    if (!stmt)
        return registry_fail(c->r, "looking for deadlocks", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)b->id);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        uint64_t on = (uint64_t)sqlite3_column_int64(stmt, 0);
        const struct blocked *other = find(c, on);

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

static enum weir_status tell_stuck(struct check *c, struct task_row *row, uint64_t dead,
                                   const char *state, int64_t at_ns, struct weir_error *err)
{
    _cleanup_buf_ struct buf detail = {0};

    rules_detail_stuck(&detail, dead, state);
    return detail.failed
               ? error_nomem(err)
               : event_task(c->r, REGISTRY_DEADLOCK_DETECTED, row, at_ns, buf_slice(&detail), err);
}

static enum weir_status mark_one(struct check *c, struct registry_op *op, const struct blocked *b,
                                 struct weir_error *err)
{
    bool found, on_found = false, stuck = !b->lives;
    struct task_row row, on = {0};
    uint64_t dead = 0;
    enum weir_status status = row_load(c->r, b->id, &row, &found, err);

    if (status != WEIR_OK || !found || row.state != REGISTRY_BLOCKED)
        return status;
    if (stuck)
        status = first_dead(c, b, &dead, err);
    if (status == WEIR_OK && dead != 0)
        status = row_load(c->r, dead, &on, &on_found, err);
    if (status != WEIR_OK)
        return status;
    if (stuck &&
        (dead == 0 || (on_found && on.state != REGISTRY_BLOCKED && !rules_ended(on.state))))
        return WEIR_OK; /* somebody has helped meanwhile */
    c->stuck += stuck;
    row.flags = stuck ? row.flags | TASK_STUCK : row.flags & ~TASK_STUCK;
    op->check.ret_new += stuck;
    if (stuck)
        status = tell_stuck(c, &row, dead, on_found ? registry_state_name(on.state) : "gone",
                            op->at_ns, err);
    return status == WEIR_OK ? row_set(c->r, &row, row.line, row.state, NULL, err) : status;
}

static enum weir_status mark(struct check *c, struct registry_op *op, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    while (c->at < c->count && status == WEIR_OK && c->left > 0) {
        const struct blocked *b = &c->of[c->at++];

        spend(c, c->at % FOUND_FOR_ONE == 0);
        c->stuck += b->was_stuck && !b->lives;
        if (b->was_stuck != b->lives)
            continue;
        spend(c, MARK_COST);
        status = mark_one(c, op, b, err);
    }
    if (status == WEIR_OK && c->at == c->count)
        next_step(c);
    return status;
}

/* ---- the whole ---- */

struct check *check_free(struct check *c)
{
    if (!c)
        return NULL;
    idmap_free(&c->places);
    mem_free(c->of);
    mem_free(c->edges);
    mem_free(c->ups);
    mem_free(c->queue);
    return mem_free(c);
}

static enum weir_status go_on(struct check *c, struct registry_op *op, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    while (status == WEIR_OK && c->step != THROUGH && c->left > 0)
        switch (c->step) {
        case GATHER:
            status = gather(c, err);
            break;
        case LOOK:
            status = look(c, err);
            break;
        case FIND:
            status = find_living(c, err);
            break;
        default:
            status = mark(c, op, err);
            break;
        }
    return status;
}

/* Instead of one that is under way. */
static bool begin(struct sqlite_registry *r)
{
    uint32_t beginnings = r->check ? r->check->beginnings : 0;

    r->check = check_free(r->check);
    r->check = mem_calloc(1, sizeof(*r->check));
    if (!r->check)
        return false;
    r->check->r = r;
    r->check->beginnings = beginnings + 1;
    idmap_init(&r->check->places);
    r->graph_same = true; /* until something changes it, from here on */
    r->graph_helped = false;
    return true;
}

/* What there is of one that is under way is dropped by registry_undo(), when the transaction fails. */
enum weir_status op_check(struct sqlite_registry *r, struct registry_op *op, struct weir_error *err)
{
    enum weir_status status;

    if (r->graph_same && !r->check) {
        op->check.ret_stuck = r->stuck;
        return WEIR_OK;
    }
    if ((!r->check || r->graph_helped) && !begin(r))
        return error_nomem(err);
    r->check->left =
        op->check.max && r->check->beginnings < BEGINNINGS_MAX ? op->check.max : UINT64_MAX;
    status = go_on(r->check, op, err);
    op->check.ret_more = r->check->step != THROUGH;
    if (status != WEIR_OK || op->check.ret_more)
        return status;
    r->stuck = op->check.ret_stuck = r->check->stuck;
    r->check = check_free(r->check);
    return WEIR_OK;
}
