/*
 * Ops that are about no single task: TELL, batches, CHECK, PURGE, SET, SAMPLE.
 */
#include "store/registry/memory_internal.h"
#include "store/registry/rules.h"

#include "base/error.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

enum weir_status memory_op_tell(struct memory_registry *m, struct registry_op *op)
{
    struct registry_event e = op->tell;
    struct memory_task *t = rules_is_end(e.kind) ? memory_find(m, e.task) : NULL;

    if (e.at_ns == 0)
        e.at_ns = op->at_ns;
    if (t && t->state == REGISTRY_RUNNING && e.attempt == t->attempts) {
        if (!memory_touch(m, t, sizeof(*t)))
            return WEIR_E_NOMEM;
        t->end_told = true;
    }
    return memory_event(m, &e) ? WEIR_OK : WEIR_E_NOMEM;
}

/* ---- batches ---- */

enum weir_status memory_op_batch_open(struct memory_registry *m, struct registry_op *op)
{
    struct memory_batch *b;

    if (op->batch_open.name.len > REGISTRY_NAME_BYTES_MAX)
        return error_set(&op->err, WEIR_E_INVALID,
                         "the batch's name has %zu bytes; at most %d are allowed",
                         op->batch_open.name.len, REGISTRY_NAME_BYTES_MAX);
    if (!memory_reserve(&m->batches, &m->batch_cap, m->c.batches + 1))
        return WEIR_E_NOMEM;
    b = memory_make(m, sizeof(*b));
    if (!b || !memory_set_text(m, &b->name, op->batch_open.name))
        return WEIR_E_NOMEM;
    b->id = m->c.batches + 1;
    b->opened_ns = op->at_ns;
    b->passing = op->batch_open.passing;
    m->batches[m->c.batches++] = b;
    op->batch_open.ret_id = b->id;
    return WEIR_OK;
}

static bool end_batch(struct memory_registry *m, struct memory_batch *b)
{
    if (!memory_touch(m, b, sizeof(*b)))
        return false;
    b->ended = true;
    memory_batch_changed(m, b);
    return true;
}

bool memory_end_passing(struct memory_registry *m)
{
    for (uint64_t i = 0; i < m->c.batches; i++) {
        struct memory_batch *b = m->batches[i];

        if (b && b->passing && !b->ended && !end_batch(m, b))
            return false;
    }
    return true;
}

enum weir_status memory_op_batch_end(struct memory_registry *m, struct registry_op *op)
{
    struct memory_batch *b = memory_need_batch(m, op->batch_end.batch, op);

    if (!b)
        return WEIR_E_END;
    return b->ended || end_batch(m, b) ? WEIR_OK : WEIR_E_NOMEM;
}

/* ---- deadlocks ---- */

/* From what can still end, along dependencies: what has `left` none before it that cannot. Those not reached are stuck. */
static void find_living(struct memory_registry *m, uint64_t walk)
{
    struct memory_task *head = NULL, **end = &head;

    for (uint64_t i = 0; i < m->c.tasks; i++) {
        struct memory_task *t = m->tasks[i];

        if (!t || rules_ended(t->state))
            continue;
        t->left = t->blocked_by;
        if (t->state == REGISTRY_BLOCKED)
            continue;
        t->seen = walk;
        t->queue_next = NULL;
        *end = t;
        end = &t->queue_next;
    }
    for (; head; head = head->queue_next)
        for (uint32_t i = 0; i < head->up_count; i++) {
            struct memory_task *t = memory_find(m, head->up[i]);
            uint32_t edge = t ? memory_edge_find(t, head->id) : 0;

            if (!t || t->state != REGISTRY_BLOCKED || edge == t->edge_count || t->edges[edge].met ||
                --t->left > 0)
                continue;
            t->seen = walk;
            t->queue_next = NULL;
            *end = t;
            end = &t->queue_next;
        }
}

static bool tell_stuck(struct memory_registry *m, const struct memory_task *t, uint64_t walk,
                       int64_t at_ns)
{
    struct buf detail = {0};
    bool ok = true;

    for (uint32_t i = 0; i < t->edge_count; i++) {
        const struct memory_task *on = memory_find(m, t->edges[i].on);

        if (t->edges[i].met || (on && on->seen == walk))
            continue;
        rules_detail_stuck(&detail, t->edges[i].on, on ? registry_state_name(on->state) : "gone");
        ok = memory_tell(m, t, REGISTRY_DEADLOCK_DETECTED, at_ns, false, 0, &detail);
        break;
    }
    buf_free(&detail);
    return ok;
}

enum weir_status memory_op_check(struct memory_registry *m, struct registry_op *op)
{
    uint64_t walk = ++m->walk_number;

    op->check.ret_stuck = op->check.ret_new = 0;
    op->check.ret_more = false;
    find_living(m, walk);
    for (uint64_t i = 0; i < m->c.tasks; i++) {
        struct memory_task *t = m->tasks[i];
        bool stuck = t && t->state == REGISTRY_BLOCKED && t->seen != walk;

        op->check.ret_stuck += stuck;
        if (!t || t->stuck == stuck)
            continue;
        if (!memory_touch(m, t, sizeof(*t)))
            return WEIR_E_NOMEM;
        t->stuck = stuck;
        op->check.ret_new += stuck;
        if (stuck && !tell_stuck(m, t, walk, op->at_ns))
            return WEIR_E_NOMEM;
    }
    return WEIR_OK;
}

/* ---- what goes ---- */

static bool is_over(const struct memory_task *t, const struct registry_purge *p)
{
    int64_t before = t->state == REGISTRY_FAILED ? p->failed_before_ns : p->tasks_before_ns;

    return rules_ended(t->state) && before != 0 && t->ended_ns < before;
}

static bool purge_tasks(struct memory_registry *m, struct registry_purge *p, uint32_t *room)
{
    for (uint64_t i = 0; i < m->c.tasks; i++) {
        struct memory_task *t = m->tasks[i];

        if (!t || !is_over(t, p))
            continue;
        if (*room == 0) {
            p->ret_more = true;
            return true;
        }
        if (!memory_table_remove(m, t))
            return false;
        --*room;
    }
    return true;
}

/* The first one; one of a time that is still to be is as old as what is behind it. */
static bool is_old(const struct memory_registry *m, const struct registry_purge *p, int64_t now_ns)
{
    for (uint64_t seq = m->c.event_first; seq <= m->c.event_last; seq++) {
        int64_t at_ns = m->events[seq - 1]->e.at_ns;

        if (at_ns < p->events_before_ns || at_ns <= now_ns)
            return at_ns < p->events_before_ns;
    }
    return false;
}

static bool purge_events(struct memory_registry *m, struct registry_purge *p, int64_t now_ns,
                         uint32_t *room)
{
    while (m->c.event_first <= m->c.event_last) {
        struct memory_event *e = m->events[m->c.event_first - 1];
        bool many = p->events_max != 0 && m->c.event_last - m->c.event_first + 1 > p->events_max;

        if (!many && (p->events_before_ns == 0 || !is_old(m, p, now_ns)))
            return true;
        if (*room == 0) {
            p->ret_more = true;
            return true;
        }
        if (!memory_drop(m, e))
            return false;
        m->c.event_first++;
        --*room;
    }
    return true;
}

static bool is_empty(const struct memory_batch *b)
{
    for (unsigned s = 0; s < REGISTRY_STATES; s++)
        if (b->states[s] > 0)
            return false;
    return true;
}

static bool purge_batches(struct memory_registry *m, struct registry_purge *p)
{
    uint32_t room = p->max;

    for (uint64_t i = 0; i < m->c.batches; i++) {
        struct memory_batch *b = m->batches[i];

        if (!b || b->ended_ns == 0 || b->ended_ns >= p->tasks_before_ns || !is_empty(b))
            continue;
        if (room == 0) {
            p->ret_more = true;
            return true;
        }
        if (!memory_log_gone(m, UNDO_BATCH_GONE, b))
            return false;
        m->batches[i] = NULL;
        room--;
    }
    return true;
}

static bool purge_lines(struct memory_registry *m, struct registry_purge *p)
{
    for (uint64_t i = 0; i < m->c.lines; i++) {
        struct memory_line *l = m->lines[i];
        uint32_t *more;

        if (!l || l->gone || !memory_line_is_empty(l))
            continue;
        if (p->ret_lines_gone_count == p->max) {
            p->ret_more = true;
            return true;
        }
        more = mem_realloc(p->ret_lines_gone, (p->ret_lines_gone_count + 1) * sizeof(*more));
        if (!more)
            return false;
        p->ret_lines_gone = more;
        if (!memory_line_drop(m, l))
            return false;
        more[p->ret_lines_gone_count++] = l->pub.id;
    }
    return true;
}

enum weir_status memory_op_purge(struct memory_registry *m, struct registry_op *op)
{
    struct registry_purge *p = &op->purge;
    uint32_t room = p->max;

    p->ret_more = false;
    if (!p->keep_lines)
        memory_lines_let_go(m);
    return purge_tasks(m, p, &room) && purge_events(m, p, op->at_ns, &room) &&
                   purge_batches(m, p) && purge_lines(m, p)
               ? WEIR_OK
               : WEIR_E_NOMEM;
}

/* ---- facts and samples ---- */

static bool fact_add(struct memory_registry *m, struct slice name, struct slice value)
{
    struct memory_fact *f = memory_make(m, sizeof(*f));

    if (!f || !memory_set_text(m, &f->name, name) || !memory_set_text(m, &f->value, value))
        return false;
    f->next = m->c.facts;
    m->c.facts = f;
    return true;
}

static bool fact_remove(struct memory_registry *m, struct memory_fact **at)
{
    struct memory_fact *f = *at;

    if (!memory_touch(m, at, sizeof(struct memory_fact *)) || !memory_drop(m, f->name.data) ||
        !memory_drop(m, f->value.data) || !memory_drop(m, f))
        return false;
    *at = f->next;
    return true;
}

enum weir_status memory_op_set(struct memory_registry *m, struct registry_op *op)
{
    struct memory_fact **at = &m->c.facts;
    bool ok = true;

    if (op->set.name.len == 0 || op->set.name.len > REGISTRY_NAME_BYTES_MAX)
        return error_set(&op->err, WEIR_E_INVALID, "a fact's name has 1 to %d bytes",
                         REGISTRY_NAME_BYTES_MAX);
    while (*at && !slice_equal(memory_slice((*at)->name), op->set.name))
        at = &(*at)->next;
    if (*at && op->set.value.len == 0)
        ok = fact_remove(m, at);
    else if (*at)
        ok = memory_touch(m, *at, sizeof(**at)) && memory_set_text(m, &(*at)->value, op->set.value);
    else if (op->set.value.len > 0)
        ok = fact_add(m, op->set.name, op->set.value);
    return ok ? WEIR_OK : WEIR_E_NOMEM;
}

static struct memory_series *series_of(struct memory_registry *m, struct slice pool,
                                       uint32_t resolution_s)
{
    struct memory_series *s = m->c.series;

    while (s && (s->resolution_s != resolution_s || !slice_equal(memory_slice(s->pool), pool)))
        s = s->next;
    if (s)
        return s;
    s = memory_make(m, sizeof(*s));
    if (!s || !memory_set_text(m, &s->pool, pool))
        return NULL;
    s->resolution_s = resolution_s;
    s->next = m->c.series;
    m->c.series = s;
    return s;
}

/* Another array, with the sample at its place among `keep` that are not too old. */
static bool sample_insert(struct memory_registry *m, struct memory_series *s,
                          const struct registry_sample *one)
{
    size_t cap = s->count < 8 ? 16 : s->count * 2, n = 0, i = 0;
    struct registry_sample *more = memory_make(m, cap * sizeof(*more));
    const struct registry_sample *old = s->count > 0 ? s->samples + s->first : s->samples;

    if (!more || !memory_drop(m, s->samples))
        return false;
    for (; i < s->count && old[i].at_ns < one->at_ns; i++)
        more[n++] = old[i];
    more[n++] = *one;
    i += i < s->count && old[i].at_ns == one->at_ns;
    for (; i < s->count; i++)
        more[n++] = old[i];
    s->samples = more;
    s->first = 0;
    s->count = n;
    s->cap = cap;
    return true;
}

enum weir_status memory_op_sample(struct memory_registry *m, struct registry_op *op)
{
    struct registry_sample one = op->sample;
    struct memory_series *s = series_of(m, one.pool, one.resolution_s);
    int64_t span_ns = (int64_t)one.resolution_s * REGISTRY_SAMPLES_MAX * NS_PER_S;
    size_t end;

    if (!s || !memory_touch(m, s, sizeof(*s)))
        return WEIR_E_NOMEM;
    one.pool = memory_slice(s->pool);
    end = s->first + s->count;
    if (s->count > 0 && end < s->cap && s->samples[end - 1].at_ns < one.at_ns) {
        s->samples[end] = one;
        s->count++;
    } else if (!sample_insert(m, s, &one)) {
        return WEIR_E_NOMEM;
    }
    end = s->first + s->count;
    while (s->count > 1 && s->samples[s->first].at_ns <= s->samples[end - 1].at_ns - span_ns) {
        s->first++;
        s->count--;
    }
    return WEIR_OK;
}
