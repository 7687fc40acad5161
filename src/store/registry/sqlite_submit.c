/*
 * SUBMIT. First everything is looked at (batches, idempotency keys, dependencies), and the op is
 * refused as a whole or not at all; then rows are written. In the usual case each row is written
 * once, as what it becomes, for its numbers (of its events, its rank) are known before. Where a
 * task fails at once (because of a dependency), which brings others in its train, all are written
 * as blocked, and then moved in their order.
 */
#include "base/error.h"
#include "base/mem.h"
#include "store/registry/rules.h"
#include "store/registry/sqlite_inside.h"
#include "store/registry/sqlite_moves.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct plan_dep {
    uint64_t on;
    bool met;
};

/* What is known of a spec before anything is written. */
struct plan {
    uint64_t id;   /* of the task that it is */
    size_t owner;  /* the first spec that is that task; its own place, as a rule */
    bool existing; /* its key was known */
    bool needed;   /* a sibling depends on it */
    bool fails;    /* because of `failed` */
    uint64_t failed;
    uint32_t unmet;
    size_t dep_from, dep_count; /* in submission.deps */
    struct line_entry *line;
};

struct submission {
    struct sqlite_registry *r;
    struct registry_op *op;
    const struct registry_spec *specs;
    size_t count;
    struct plan *plans;
    uint32_t *places; /* of specs with a key, by its hash: place + 1 */
    size_t place_count;
    struct plan_dep *deps;
    size_t dep_count, dep_cap;
    uint64_t first_new, new_count;
    bool fails;
};

static bool refuse(struct submission *s)
{
    return s->op->err.status != WEIR_OK;
}

/* ---- looking ---- */

/* An earlier spec of the op with the same key; count: none, and this one is known from now on. */
static size_t known_sibling(struct submission *s, size_t i)
{
    struct slice key = s->specs[i].idempotency_key;
    uint64_t at = intern_hash(key);

    for (;; at++) {
        uint32_t *place = &s->places[at & (s->place_count - 1)];

        if (*place == 0) {
            *place = (uint32_t)i + 1;
            return s->count;
        }
        if (slice_equal(s->specs[*place - 1].idempotency_key, key))
            return *place - 1;
    }
}

static enum weir_status find_key(struct submission *s, struct slice key, uint64_t *ret,
                                 struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(s->r, RS_TASK_BY_KEY);
    enum weir_status status = WEIR_OK;
    int rc;

    *ret = 0;
    if (!stmt)
        return registry_fail(s->r, "looking for a key", err);
    status = rows_flush(s->r, err);
    if (status != WEIR_OK)
        return status;
    registry_bind_text(stmt, 1, key);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *ret = (uint64_t)sqlite3_column_int64(stmt, 0);
    else if (rc != SQLITE_DONE)
        status = registry_fail(s->r, "looking for a key", err);
    sqlite3_reset(stmt);
    return status;
}

/* Which are known already; gives the others their ids. */
static enum weir_status plan_ids(struct submission *s, struct weir_error *err)
{
    for (size_t i = 0; i < s->count; i++) {
        struct plan *p = &s->plans[i];
        struct slice key = s->specs[i].idempotency_key;

        p->owner = i;
        if (key.len) {
            size_t sibling = known_sibling(s, i);
            enum weir_status status = WEIR_OK;

            if (sibling < s->count) {
                p->id = s->plans[sibling].id;
                p->owner = sibling;
            } else {
                status = find_key(s, key, &p->id, err);
            }
            if (status != WEIR_OK)
                return status;
            p->existing = p->id != 0;
        }
        if (!p->existing)
            p->id = s->r->mark.task + ++s->new_count;
    }
    return WEIR_OK;
}

static enum weir_status plan_batches(struct submission *s, struct weir_error *err)
{
    uint64_t looked_at = 0;

    for (size_t i = 0; i < s->count && !refuse(s); i++) {
        struct batch_entry *b = NULL;
        enum weir_status status;

        if (s->plans[i].existing || !s->specs[i].batch || s->specs[i].batch == looked_at)
            continue;
        looked_at = s->specs[i].batch;
        status = batch_load(s->r, looked_at, &b, err);
        if (status != WEIR_OK)
            return status;
        if (!b)
            error_set(&s->op->err, WEIR_E_END, "task %zu: there is no batch %" PRIu64, i,
                      looked_at);
        else if (b->closed)
            error_set(&s->op->err, WEIR_E_CONFLICT,
                      "task %zu: batch %" PRIu64
                      " has been ended, and takes no more tasks; open another one",
                      i, looked_at);
    }
    return WEIR_OK;
}

static int compare_deps(const void *a, const void *b)
{
    uint64_t x = ((const struct plan_dep *)a)->on, y = ((const struct plan_dep *)b)->on;

    return (x > y) - (x < y);
}

/* All dependencies of a spec as ids, in order, each once. */
static bool gather_deps(struct submission *s, size_t i)
{
    const struct registry_spec *spec = &s->specs[i];
    struct plan *p = &s->plans[i];
    size_t kept = 0;

    p->dep_from = s->dep_count;
    if (s->dep_count + spec->after_count > s->dep_cap) {
        size_t cap = (s->dep_count + spec->after_count) * 2;
        struct plan_dep *more = mem_realloc(s->deps, cap * sizeof(*more));

        if (!more)
            return false;
        s->deps = more;
        s->dep_cap = cap;
    }
    for (uint32_t k = 0; k < spec->after_count; k++) {
        const struct registry_after *a = &spec->after[k];

        s->deps[s->dep_count + k] =
            (struct plan_dep){.on = a->id ? a->id : s->plans[a->sibling].id};
    }
    qsort(s->deps + s->dep_count, spec->after_count, sizeof(*s->deps), compare_deps);
    for (uint32_t k = 0; k < spec->after_count; k++) {
        struct plan_dep *d = &s->deps[s->dep_count];

        if (kept == 0 || d[kept - 1].on != d[k].on)
            d[kept++] = d[k];
    }
    p->dep_count = kept;
    s->dep_count += kept;
    return true;
}

/* A dependency on a task that was there before. */
static enum weir_status look_at_dep(struct submission *s, size_t i, struct plan_dep *d,
                                    struct weir_error *err)
{
    struct plan *p = &s->plans[i];
    struct task_row row;
    bool found = false;
    enum weir_status status = row_load(s->r, d->on, &row, &found, err);

    if (status != WEIR_OK)
        return status;
    if (!found) {
        error_set(&s->op->err, WEIR_E_END,
                  "task %zu: it depends on task %" PRIu64 ", which is not there", i, d->on);
    } else if (row.state == REGISTRY_CANCELLED) {
        error_set(&s->op->err, WEIR_E_CONFLICT,
                  "task %zu: it would depend on task %" PRIu64
                  ", which is cancelled; retry that first, or leave it out",
                  i, d->on);
    } else if (row.state == REGISTRY_DONE ||
               (row.state == REGISTRY_FAILED && s->specs[i].run_after_failure)) {
        d->met = true;
    } else {
        p->unmet++;
        if (row.state == REGISTRY_FAILED && !p->fails) {
            p->fails = s->fails = true;
            p->failed = d->on;
        }
    }
    return WEIR_OK;
}

/* In the order in which they are named. */
static enum weir_status find_missing(struct submission *s, size_t i, struct weir_error *err)
{
    const struct registry_spec *spec = &s->specs[i];
    enum weir_status status = WEIR_OK;

    for (uint32_t k = 0; k < spec->after_count && !refuse(s); k++) {
        uint64_t id = spec->after[k].id;
        struct task_row row;
        bool found = id < s->first_new + s->new_count;

        if (id == 0 || (id >= s->first_new && found))
            continue;
        status = row_load(s->r, id, &row, &found, err);
        if (status != WEIR_OK)
            break;
        if (!found)
            error_set(&s->op->err, WEIR_E_END,
                      "task %zu: it depends on task %" PRIu64 ", which is not there", i, id);
    }
    return status;
}

static enum weir_status plan_deps(struct submission *s, struct weir_error *err)
{
    for (size_t i = 0; i < s->count && !refuse(s); i++) {
        struct plan *p = &s->plans[i];
        enum weir_status status;

        if (p->existing || !s->specs[i].after_count)
            continue;
        if (!gather_deps(s, i))
            return error_nomem(err);
        status = find_missing(s, i, err);
        if (status != WEIR_OK)
            return status;
        for (size_t k = 0; k < p->dep_count && !refuse(s); k++) {
            struct plan_dep *d = &s->deps[p->dep_from + k];

            if (d->on >= s->first_new && d->on < s->first_new + s->new_count) {
                p->unmet++;
                continue;
            }
            status = look_at_dep(s, i, d, err);
            if (status != WEIR_OK)
                return status;
        }
    }
    return WEIR_OK;
}

static bool same_line(const struct registry_line *a, const struct registry_line *b)
{
    return a->priority == b->priority && a->cpu_milli == b->cpu_milli &&
           a->memory_mib == b->memory_mib && slice_equal(a->pool, b->pool) &&
           slice_equal(a->skill, b->skill) && slice_equal(a->tenant, b->tenant) &&
           slice_equal(a->session, b->session) && slice_equal(a->slots, b->slots);
}

/* Lines are made now, so that the op can be refused for want of numbers for them. Runs of tasks of one line are the rule. */
static enum weir_status plan_lines(struct submission *s, struct weir_error *err)
{
    const struct registry_line *known = NULL;
    struct line_entry *line = NULL;
    size_t steps = s->r->step_count;

    for (size_t i = 0; i < s->count; i++) {
        const struct registry_line *spec = &s->specs[i].line;
        enum weir_status status = WEIR_OK;

        if (s->plans[i].existing)
            continue;
        if (!known || !same_line(known, spec))
            status = registry_line(s->r, spec, &line, &s->op->err);
        if (status == WEIR_E_LIMIT) {
            lineset_take_back(s->r, steps);
            error_prefix(&s->op->err, "task %zu", i);
            return WEIR_OK;
        }
        if (status != WEIR_OK) {
            s->op->err.status = WEIR_OK;
            return error_nomem(err);
        }
        known = spec;
        s->plans[i].line = line;
    }
    return WEIR_OK;
}

/* ---- writing ---- */

static enum weir_status write_row(struct submission *s, const struct task_row *row,
                                  const struct registry_spec *spec, struct weir_error *err)
{
    struct row_on_way w = {.row = *row, .key = spec->key, .idempotency_key = spec->idempotency_key};
    enum weir_status status;
    sqlite3_stmt *stmt;

    if (spec->payload.len <= PAYLOAD_INLINE_BYTES) {
        w.payload = spec->payload;
        return rows_put(s->r, &w, err);
    }
    stmt = registry_statement(s->r, RS_PAYLOAD_PUT);
    if (!stmt)
        return registry_fail(s->r, "writing a payload", err);
    sqlite3_bind_int64(stmt, 1, (sqlite3_int64)row->id);
    registry_bind_blob(stmt, 2, spec->payload);
    status = registry_run(s->r, stmt, "writing a payload", err);
    return status == WEIR_OK ? rows_put(s->r, &w, err) : status;
}

static enum weir_status write_deps(struct submission *s, const struct plan *p,
                                   struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    s->r->graph_same = false;
    for (size_t k = 0; k < p->dep_count && status == WEIR_OK; k++) {
        const struct plan_dep *d = &s->deps[p->dep_from + k];

        status =
            registry_do(s->r, RS_DEP_PUT, 3, (int64_t[]){(int64_t)p->id, (int64_t)d->on, d->met},
                        "writing a dependency", err);
        /* Those of this op know it from the beginning, or will. */
        if (status == WEIR_OK && !d->met && d->on < s->first_new)
            status = row_flag_needed(s->r, d->on, err);
    }
    return status;
}

static struct task_row make_row(const struct submission *s, size_t i, uint32_t line)
{
    const struct registry_spec *spec = &s->specs[i];
    const struct plan *p = &s->plans[i];

    return (struct task_row){
        .id = p->id,
        .line = line,
        .batch = spec->batch,
        .place = spec->place,
        .blocked = p->unmet,
        .flags = (spec->run_after_failure ? TASK_RUN_AFTER_FAILURE : 0) |
                 (spec->payload.len > PAYLOAD_INLINE_BYTES ? TASK_BIG : 0) |
                 (p->needed ? TASK_NEEDED : 0),
        .submitted_ns = s->op->at_ns,
        .opts = {.max_attempts = spec->max_attempts,
                 .timeout_ns = spec->timeout_ns,
                 .backoff_initial_ns = spec->backoff_initial_ns,
                 .backoff_ceiling_ns = spec->backoff_ceiling_ns,
                 .deadline_ns = spec->deadline_ns,
                 .not_before_ns = spec->not_before_ns,
                 .backoff_factor = spec->backoff_factor},
    };
}

static enum registry_state first_state(const struct submission *s, const struct task_row *row)
{
    if (row->blocked || s->fails)
        return REGISTRY_BLOCKED;
    return row->opts.not_before_ns > s->op->at_ns ? REGISTRY_SCHEDULED : REGISTRY_READY;
}

static enum weir_status write_task(struct submission *s, size_t i, uint64_t event,
                                   struct weir_error *err)
{
    const struct registry_spec *spec = &s->specs[i];
    struct line_entry *line = s->plans[i].line;
    struct task_row row = make_row(s, i, line->in.id);
    enum weir_status status = WEIR_OK;

    row.event = event;
    row.state = first_state(s, &row);
    if (row.state == REGISTRY_READY) {
        row.rank = row_next_rank(s->r, s->op->at_ns);
        status = event_task(s->r, REGISTRY_TASK_READY, &row, s->op->at_ns, SLICE(""), err);
    }
    if (status == WEIR_OK)
        status = write_row(s, &row, spec, err);
    count_move(s->r, line, -1, (int)row.state, 1);
    if (status == WEIR_OK && row.batch)
        status = batch_join(s->r, row.batch, row.id, row.state, err);
    if (status == WEIR_OK && s->plans[i].dep_count)
        status = write_deps(s, &s->plans[i], err);
    if (status == WEIR_OK && row.state == REGISTRY_READY)
        status = line_count_ready(s->r, line, row.rank, true, err);
    if (status == WEIR_OK && row.state == REGISTRY_READY)
        status = hand_over(s->r, &row, spec, err);
    return status;
}

/* What became of each, when some have failed. */
static enum weir_status move_all(struct submission *s, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    for (size_t i = 0; i < s->count && status == WEIR_OK; i++) {
        const struct plan *p = &s->plans[i];
        struct task_row row;
        bool found;

        if (p->existing)
            continue;
        status = row_load(s->r, p->id, &row, &found, err);
        if (status != WEIR_OK || !found || row.state != REGISTRY_BLOCKED)
            continue;
        if (p->fails)
            status = move_fail_behind(s->r, &row, p->failed, s->op->at_ns, err);
        else if (row.blocked == 0)
            status = move_unblock(s->r, &row, s->op->at_ns, err);
    }
    return status;
}

static enum weir_status write_all(struct submission *s, struct weir_error *err)
{
    struct registry_event e = {.kind = REGISTRY_TASK_SUBMITTED, .at_ns = s->op->at_ns};
    enum weir_status status = WEIR_OK;
    uint64_t event = s->r->mark.event;

    for (size_t i = 0; i < s->count && status == WEIR_OK; i++)
        if (!s->plans[i].existing) {
            uint64_t none = 0;

            e.task = s->plans[i].id;
            status = event_put(s->r, &e, 0, &none, err);
        }
    s->r->mark.task += s->new_count;
    for (size_t i = 0; i < s->count && status == WEIR_OK; i++)
        if (!s->plans[i].existing)
            status = write_task(s, i, ++event, err);
    if (status == WEIR_OK && s->fails)
        status = move_all(s, err);
    return status;
}

/* The spec that is the new task of that id; count: it is none of these. */
static size_t owner_of(const struct submission *s, const struct registry_after *a)
{
    if (a->id == 0)
        return s->plans[a->sibling].id >= s->first_new ? s->plans[a->sibling].owner : s->count;
    if (a->id < s->first_new || a->id >= s->first_new + s->new_count)
        return s->count;
    /* Named by an id that it does not have yet: whoever guesses that may wait. */
    for (size_t i = 0; i < s->count; i++)
        if (s->plans[i].id == a->id && !s->plans[i].existing)
            return i;
    return s->count;
}

/* Siblings that others wait for have to say so in their own rows, which may be written after those. */
static void plan_needed(struct submission *s)
{
    for (size_t i = 0; i < s->count; i++)
        for (uint32_t k = 0; !s->plans[i].existing && k < s->specs[i].after_count; k++) {
            size_t owner = owner_of(s, &s->specs[i].after[k]);

            if (owner < s->count)
                s->plans[owner].needed = true;
        }
}

static bool submission_alloc(struct submission *s)
{
    bool keys = false;

    for (size_t i = 0; i < s->count && !keys; i++)
        keys = s->specs[i].idempotency_key.len > 0;
    s->plans = mem_calloc(s->count, sizeof(*s->plans));
    if (!s->plans)
        return false;
    if (!keys)
        return true;
    s->place_count = 16;
    while (s->place_count < s->count * 2)
        s->place_count *= 2;
    s->places = mem_calloc(s->place_count, sizeof(*s->places));
    return s->places != NULL;
}

static enum weir_status submit(struct submission *s, struct weir_error *err)
{
    enum weir_status status = plan_ids(s, err);

    if (status == WEIR_OK)
        status = plan_batches(s, err);
    if (status == WEIR_OK && !refuse(s))
        status = plan_deps(s, err);
    if (status == WEIR_OK && !refuse(s))
        status = plan_lines(s, err);
    if (status != WEIR_OK || refuse(s))
        return status;
    plan_needed(s);
    status = write_all(s, err);
    for (size_t i = 0; i < s->count && status == WEIR_OK; i++) {
        if (s->op->submit.ret_ids)
            s->op->submit.ret_ids[i] = s->plans[i].id;
        if (s->op->submit.ret_existing)
            s->op->submit.ret_existing[i] = s->plans[i].existing;
    }
    return status;
}

enum weir_status op_submit(struct sqlite_registry *r, struct registry_op *op,
                           struct weir_error *err)
{
    struct submission s = {.r = r,
                           .op = op,
                           .specs = op->submit.specs,
                           .count = op->submit.count,
                           .first_new = r->mark.task + 1};
    enum weir_status status;

    if (rules_check_submit(&op->submit, &op->err) != WEIR_OK) {
        if (op->err.status != WEIR_E_NOMEM)
            return WEIR_OK;
        op->err.status = WEIR_OK;
        return error_nomem(err);
    }
    for (size_t i = 0; i < s.count; i++)
        if (s.specs[i].line.slots.len > LINE_SLOTS_BYTES_MAX) {
            error_set(&op->err, WEIR_E_INVALID,
                      "task %zu: the names of its slots have %zu bytes; at most %d are allowed", i,
                      s.specs[i].line.slots.len, LINE_SLOTS_BYTES_MAX);
            return WEIR_OK;
        }
    status = submission_alloc(&s) ? submit(&s, err) : error_nomem(err);
    mem_free(s.plans);
    mem_free(s.places);
    mem_free(s.deps);
    return status;
}
