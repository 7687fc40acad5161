/*
 * What a person does to tasks: CANCEL, RETRY, EDIT, DELETE, RESOLVE.
 */
#include "store/registry/memory_internal.h"
#include "store/registry/rules.h"

#include "base/error.h"
#include "base/mem.h"
#include "core/depend.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum weir_status refuse(struct registry_op *op, enum weir_status status,
                               const struct memory_task *t, const char *remedy)
{
    return error_set(&op->err, status, "task %" PRIu64 " is %s; %s", t->id,
                     registry_state_name(t->state), remedy);
}

static bool tell_changed(struct memory_registry *m, const struct memory_task *t, const char *what,
                         int64_t at_ns)
{
    struct buf detail = {0};
    bool ok;

    buf_puts(&detail, what);
    ok = memory_tell(m, t, REGISTRY_TASK_CHANGED, at_ns, false, 0, &detail);
    buf_free(&detail);
    return ok;
}

/* ---- batches as one ---- */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Ids of its tasks, in order; some are gone. NULL: no memory. */
static uint64_t *batch_ids(const struct memory_batch *b)
{
    uint64_t *ids = mem_calloc(b->task_count, sizeof(*ids));

    if (ids && b->task_count > 0) {
        memcpy(ids, b->tasks, b->task_count * sizeof(*ids));
        qsort(ids, b->task_count, sizeof(*ids), by_number);
    }
    return ids;
}

/* Waits or runs. */
static bool cancel_one(struct memory_registry *m, struct registry_op *op, struct memory_task *t)
{
    if (t->state != REGISTRY_RUNNING) {
        op->cancel.ret_count++;
        return memory_cancel(m, t, op->at_ns);
    }
    op->cancel.ret_running++;
    if (t->cancelling)
        return true;
    if (!memory_touch(m, t, sizeof(*t)))
        return false;
    t->cancelling = true;
    return tell_changed(m, t, RULES_CANCEL, op->at_ns);
}

static enum weir_status cancel_batch(struct memory_registry *m, struct registry_op *op)
{
    struct memory_batch *b = memory_need_batch(m, op->cancel.batch, op);
    uint64_t *ids = b ? batch_ids(b) : NULL;
    bool ok = ids != NULL;

    if (!b)
        return WEIR_E_END;
    for (size_t i = 0; i < b->task_count && ok; i++) {
        struct memory_task *t = memory_find(m, ids[i]);

        if (t && !rules_ended(t->state))
            ok = cancel_one(m, op, t);
    }
    mem_free(ids);
    return ok ? WEIR_OK : WEIR_E_NOMEM;
}

enum weir_status memory_op_cancel(struct memory_registry *m, struct registry_op *op)
{
    struct memory_task *t;

    op->cancel.ret_count = op->cancel.ret_running = 0;
    op->cancel.ret_more = false;
    if (op->cancel.task == 0)
        return cancel_batch(m, op);
    t = memory_need(m, op->cancel.task, op);
    if (!t)
        return WEIR_E_END;
    if (rules_ended(t->state))
        return refuse(op, WEIR_E_CONFLICT, t, "there is nothing left to cancel");
    return cancel_one(m, op, t) ? WEIR_OK : WEIR_E_NOMEM;
}

/* ---- retrying ---- */

/* BLOCKED, as if it had just come; what follows comes later. */
static bool begin_anew(struct memory_registry *m, struct memory_task *t, int64_t at_ns)
{
    if (!memory_touch(m, t, sizeof(*t)) || !memory_set_text(m, &t->message, (struct slice){0}) ||
        !memory_set_text(m, &t->output, (struct slice){0}) ||
        !memory_set_text(m, &t->errput, (struct slice){0}))
        return false;
    if (t->attempts > 0)
        t->not_before_ns = 0; /* it was a wait between attempts */
    t->failures = t->deaths = t->capacity_retries = 0;
    t->first_start_ns = t->last_wait_ns = t->ended_ns = 0;
    t->outcome = WEIR_OUTCOME_OK;
    t->reason = WEIR_REASON_NONE;
    t->status = 0;
    t->has_result = false;
    memory_set_state(m, t, REGISTRY_BLOCKED);
    return tell_changed(m, t, "{\"retry\":true}", at_ns);
}

/* BLOCKED by nothing. The task was touched. */
static bool go_on(struct memory_registry *m, struct registry_op *op, struct memory_task *t)
{
    return t->state != REGISTRY_BLOCKED || t->blocked_by > 0 || memory_unblock(m, op, t, op->at_ns);
}

static enum weir_status retry_batch(struct memory_registry *m, struct registry_op *op)
{
    struct memory_batch *b = memory_need_batch(m, op->retry.batch, op);
    uint64_t *ids = b ? batch_ids(b) : NULL;
    bool ok = ids != NULL;

    if (!b)
        return WEIR_E_END;
    for (size_t i = 0; i < b->task_count && ok; i++) {
        struct memory_task *t = memory_find(m, ids[i]);

        if (!t || t->state != REGISTRY_FAILED) {
            ids[i] = 0;
            continue;
        }
        ok = begin_anew(m, t, op->at_ns);
        op->retry.ret_count++;
    }
    for (size_t i = 0; i < b->task_count && ok; i++)
        if (ids[i] != 0)
            ok = go_on(m, op, memory_find(m, ids[i]));
    mem_free(ids);
    return ok ? WEIR_OK : WEIR_E_NOMEM;
}

enum weir_status memory_op_retry(struct memory_registry *m, struct registry_op *op)
{
    struct memory_task *t;

    op->retry.ret_count = 0;
    if (op->retry.task == 0)
        return retry_batch(m, op);
    t = memory_need(m, op->retry.task, op);
    if (!t)
        return WEIR_E_END;
    if (t->state != REGISTRY_FAILED && t->state != REGISTRY_CANCELLED)
        return refuse(op, WEIR_E_CONFLICT, t, "only failed and cancelled ones are retried");
    op->retry.ret_count = 1;
    return begin_anew(m, t, op->at_ns) && go_on(m, op, t) ? WEIR_OK : WEIR_E_NOMEM;
}

/* ---- editing ---- */

/* A circle as it was found: tasks, each waiting for the next. */
struct circle {
    const struct memory_task **tasks;
};

static struct slice circle_name(void *ctx, size_t i, char room[DEPEND_NAME_BYTES])
{
    const struct memory_task *t = ((const struct circle *)ctx)->tasks[i];

    if (t->key.len > 0)
        return memory_slice(t->key);
    snprintf(room, DEPEND_NAME_BYTES, "%" PRIu64, t->id);
    return slice_of(room);
}

/* t waits for ... waits for `last`, which waits for t: along `from`, backwards. */
static enum weir_status refuse_circle(struct memory_task *t, struct memory_task *last,
                                      struct registry_op *op)
{
    struct circle c;
    size_t count = 1;

    for (const struct memory_task *at = last; at != t; at = at->from)
        count++;
    c.tasks = mem_calloc(count, sizeof(struct memory_task *));
    if (!c.tasks)
        return WEIR_E_NOMEM;
    for (size_t i = count; i-- > 0; last = last->from)
        c.tasks[i] = last;
    depend_refuse(count, circle_name, &c, &op->err);
    mem_free(c.tasks);
    return WEIR_E_CONFLICT;
}

/* A walk in breadth along dependencies that are not met, from those that t would have. */
static enum weir_status check_circle(struct memory_registry *m, struct registry_op *op,
                                     struct memory_task *t, const struct memory_edge *found,
                                     uint32_t count)
{
    struct memory_task *head = NULL, **end = &head;
    uint64_t walk = ++m->walk_number;

    for (uint32_t i = 0; i < count; i++) {
        struct memory_task *on = memory_find(m, found[i].on);

        if (on == t)
            return refuse_circle(t, t, op);
        if (found[i].met)
            continue;
        on->seen = walk;
        on->from = t;
        on->queue_next = NULL;
        *end = on;
        end = &on->queue_next;
    }
    for (; head; head = head->queue_next)
        for (uint32_t i = 0; i < head->edge_count; i++) {
            struct memory_task *on = memory_find(m, head->edges[i].on);

            if (head->edges[i].met || !on || on->seen == walk)
                continue;
            if (on == t)
                return refuse_circle(t, head, op);
            on->seen = walk;
            on->from = head;
            on->queue_next = NULL;
            *end = on;
            end = &on->queue_next;
        }
    return WEIR_OK;
}

static enum weir_status edit_after(struct memory_registry *m, struct registry_op *op,
                                   struct memory_task *t, struct memory_edge *found,
                                   const struct memory_task **ret_failed)
{
    const struct registry_edit *e = &op->edit;
    uint32_t count = e->after_count;
    enum weir_status status;

    for (uint32_t i = 0; i < count; i++) {
        if (!memory_find(m, e->after[i].id))
            return error_set(&op->err, WEIR_E_END,
                             "it would depend on task %" PRIu64 ", which is not there",
                             e->after[i].id);
        found[i] = (struct memory_edge){.on = e->after[i].id};
    }
    status = memory_edges_sort(m, op, t->run_after_failure, found, &count, ret_failed);
    if (status == WEIR_OK)
        status = check_circle(m, op, t, found, count);
    if (status != WEIR_OK)
        return status;
    return memory_edges_add(m, t, found, count) ? WEIR_OK : WEIR_E_NOMEM;
}

static enum weir_status set_priority(struct memory_registry *m, struct memory_task *t,
                                     int32_t priority, struct registry_op *op)
{
    struct registry_line needs = t->line->pub;
    struct memory_line *l;
    enum weir_status status;

    needs.priority = priority;
    status = memory_line_of(m, &needs, op, &l);
    if (status != WEIR_OK)
        return status;
    memory_unlink(m, t);
    t->line = l;
    memory_link(m, t);
    return WEIR_OK;
}

static bool tell_edit(struct memory_registry *m, const struct memory_task *t,
                      struct registry_op *op)
{
    struct buf detail = {0};
    bool ok = true;

    rules_detail_edit(&detail, &op->edit);
    if (detail.len > 0 || detail.failed)
        ok = memory_tell(m, t, REGISTRY_TASK_CHANGED, op->at_ns, false, 0, &detail);
    buf_free(&detail);
    return ok;
}

/* The state that follows from what it waits for now. */
static bool resettle(struct memory_registry *m, struct registry_op *op, struct memory_task *t)
{
    bool early = op->edit.not_before_ns && t->not_before_ns > op->at_ns;

    if (t->blocked_by > 0) {
        memory_set_state(m, t, REGISTRY_BLOCKED);
    } else if (early) {
        memory_set_state(m, t, REGISTRY_SCHEDULED);
    } else if (op->edit.not_before_ns && t->state == REGISTRY_SCHEDULED) {
        return memory_become_ready(m, op, t, op->at_ns);
    }
    return true;
}

static enum weir_status edit(struct memory_registry *m, struct registry_op *op,
                             struct memory_task *t, struct memory_edge *found)
{
    const struct registry_edit *e = &op->edit;
    const struct memory_task *failed = NULL;
    enum weir_status status = edit_after(m, op, t, found, &failed);

    if (status != WEIR_OK)
        return status;
    if (!memory_touch(m, t, sizeof(*t)) || !tell_edit(m, t, op))
        return WEIR_E_NOMEM;
    if (e->not_before_ns)
        t->not_before_ns = *e->not_before_ns;
    if (e->priority)
        status = set_priority(m, t, *e->priority, op);
    if (status != WEIR_OK)
        return status;
    if (failed)
        return memory_fail_behind(m, op, t, failed, op->at_ns) ? WEIR_OK : WEIR_E_NOMEM;
    return resettle(m, op, t) ? WEIR_OK : WEIR_E_NOMEM;
}

enum weir_status memory_op_edit(struct memory_registry *m, struct registry_op *op)
{
    struct memory_task *t = memory_need(m, op->edit.task, op);
    struct memory_edge *found;
    enum weir_status status;

    if (!t)
        return WEIR_E_END;
    if (t->state == REGISTRY_RUNNING)
        return refuse(op, WEIR_E_BUSY, t, "it can be changed when its attempt has ended");
    if (rules_ended(t->state))
        return refuse(op, WEIR_E_CONFLICT, t, "only one that waits can be changed");
    status = rules_check_edit(&op->edit, &op->err);
    if (status != WEIR_OK)
        return status;
    found = mem_calloc(op->edit.after_count, sizeof(*found));
    status = found ? edit(m, op, t, found) : WEIR_E_NOMEM;
    mem_free(found);
    return status;
}

/* ---- deleting, resolving ---- */

enum weir_status memory_op_delete(struct memory_registry *m, struct registry_op *op)
{
    struct memory_task *t = memory_need(m, op->remove.task, op);

    if (!t)
        return WEIR_E_END;
    if (!rules_ended(t->state))
        return refuse(op, WEIR_E_BUSY, t, "cancel it first");
    return memory_tell(m, t, REGISTRY_TASK_DELETED, op->at_ns, false, 0, NULL) &&
                   memory_table_remove(m, t)
               ? WEIR_OK
               : WEIR_E_NOMEM;
}

/* Those that are not met go. */
static bool drop_edges(struct memory_registry *m, struct memory_task *t)
{
    struct memory_edge *edges = memory_make(m, t->edge_count * sizeof(*edges));
    uint32_t n = 0;

    if (!edges || !memory_drop(m, t->edges) || !memory_touch(m, t, sizeof(*t)))
        return false;
    for (uint32_t i = 0; i < t->edge_count; i++)
        if (t->edges[i].met)
            edges[n++] = t->edges[i];
    t->edges = edges;
    t->edge_count = n;
    t->blocked_by = 0;
    return true;
}

enum weir_status memory_op_resolve(struct memory_registry *m, struct registry_op *op)
{
    struct memory_task *t = memory_need(m, op->resolve.task, op);
    bool ok;

    if (!t)
        return WEIR_E_END;
    if (t->state != REGISTRY_BLOCKED)
        return refuse(op, WEIR_E_CONFLICT, t, "only a blocked one can be resolved");
    if (op->resolve.how == REGISTRY_RESOLVE_CANCEL)
        ok = tell_changed(m, t, "{\"resolve\":\"cancel\"}", op->at_ns) &&
             memory_cancel(m, t, op->at_ns);
    else
        ok = tell_changed(m, t, "{\"resolve\":\"run\"}", op->at_ns) && drop_edges(m, t) &&
             memory_unblock(m, op, t, op->at_ns);
    return ok ? WEIR_OK : WEIR_E_NOMEM;
}
