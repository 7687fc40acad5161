/*
 * Tasks, lines and batches by number, tasks and lines also by what they are called, and what is
 * derived from all that.
 */
#include "store/registry/memory_internal.h"
#include "store/registry/rules.h"

#include "base/error.h"
#include "base/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

#define ROOM_MIN 64

bool memory_reserve(void *array, size_t *cap, size_t count)
{
    size_t want = *cap ? *cap : ROOM_MIN;
    void *old, *bigger;

    if (count <= *cap)
        return true;
    while (want < count)
        want *= 2;
    memcpy(&old, array, sizeof(old)); /* a pointer to some kind of pointer */
    bigger = mem_realloc(old, want * sizeof(void *));
    if (!bigger)
        return false;
    memcpy(array, &bigger, sizeof(bigger));
    *cap = want;
    return true;
}

/* ---- by number ---- */

struct memory_task *memory_find(const struct memory_registry *m, uint64_t id)
{
    return id > 0 && id <= m->c.tasks ? m->tasks[id - 1] : NULL;
}

struct memory_task *memory_need(struct memory_registry *m, uint64_t id, struct registry_op *op)
{
    struct memory_task *t = memory_find(m, id);

    if (!t)
        error_set(&op->err, WEIR_E_END, "there is no task %" PRIu64, id);
    return t;
}

struct memory_batch *memory_find_batch(const struct memory_registry *m, uint64_t id)
{
    return id > 0 && id <= m->c.batches ? m->batches[id - 1] : NULL;
}

struct memory_batch *memory_need_batch(struct memory_registry *m, uint64_t id,
                                       struct registry_op *op)
{
    struct memory_batch *b = memory_find_batch(m, id);

    if (!b)
        error_set(&op->err, WEIR_E_END, "there is no batch %" PRIu64, id);
    return b;
}

/* ---- by name ---- */

static size_t bucket_of(struct slice s, uint64_t seed, size_t count)
{
    return (size_t)XXH3_64bits_withSeed(s.len ? s.data : "", s.len, seed) & (count - 1);
}

static size_t line_bucket(const struct registry_line *l, size_t count)
{
    uint64_t h = (uint64_t)(uint32_t)l->priority * 31 + l->cpu_milli;
    const struct slice names[] = {l->pool, l->skill, l->tenant, l->session, l->slots};

    h = h * 31 + l->memory_mib;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        h = XXH3_64bits_withSeed(names[i].len ? names[i].data : "", names[i].len, h);
    return (size_t)h & (count - 1);
}

static bool same_line(const struct registry_line *a, const struct registry_line *b)
{
    return a->priority == b->priority && a->cpu_milli == b->cpu_milli &&
           a->memory_mib == b->memory_mib && slice_equal(a->pool, b->pool) &&
           slice_equal(a->skill, b->skill) && slice_equal(a->tenant, b->tenant) &&
           slice_equal(a->session, b->session) && slice_equal(a->slots, b->slots);
}

static void line_hash(struct memory_registry *m, struct memory_line *l)
{
    struct memory_line **bucket = &m->line_buckets[line_bucket(&l->pub, m->line_bucket_count)];

    l->hash_next = *bucket;
    *bucket = l;
}

static void key_hash(struct memory_registry *m, struct memory_task *t)
{
    struct memory_task **bucket;

    t->hash_next = NULL;
    if (t->idempotency.len == 0)
        return;
    bucket = &m->key_buckets[bucket_of(memory_slice(t->idempotency), 0, m->key_bucket_count)];
    t->hash_next = *bucket;
    *bucket = t;
}

static void key_unhash(struct memory_registry *m, struct memory_task *t)
{
    struct memory_task **at;

    if (t->idempotency.len == 0)
        return;
    at = &m->key_buckets[bucket_of(memory_slice(t->idempotency), 0, m->key_bucket_count)];
    while (*at != t)
        at = &(*at)->hash_next;
    *at = t->hash_next;
}

struct memory_task *memory_find_key(const struct memory_registry *m, struct slice key)
{
    struct memory_task *t = NULL;

    if (key.len > 0 && m->key_bucket_count > 0)
        t = m->key_buckets[bucket_of(key, 0, m->key_bucket_count)];
    while (t && !slice_equal(memory_slice(t->idempotency), key))
        t = t->hash_next;
    return t;
}

static void hash_all_lines(struct memory_registry *m)
{
    if (m->line_bucket_count)
        memset(m->line_buckets, 0, m->line_bucket_count * sizeof(void *));
    for (uint64_t i = 0; i < m->c.lines; i++)
        if (m->lines[i] && !m->lines[i]->gone)
            line_hash(m, m->lines[i]);
}

static void hash_all_keys(struct memory_registry *m)
{
    if (m->key_bucket_count)
        memset(m->key_buckets, 0, m->key_bucket_count * sizeof(void *));
    for (uint64_t i = 0; i < m->c.tasks; i++)
        if (m->tasks[i])
            key_hash(m, m->tasks[i]);
}

static struct slice copy_name(char **to, struct slice name)
{
    struct slice s = {*to, name.len};

    if (name.len > 0)
        memcpy(*to, name.data, name.len);
    *to += name.len;
    *(*to)++ = '\0';
    return s;
}

static struct memory_line *line_new(struct memory_registry *m, const struct registry_line *l,
                                    uint32_t id)
{
    size_t bytes = l->pool.len + l->skill.len + l->tenant.len + l->session.len + l->slots.len + 5;
    struct memory_line *n = memory_make(m, sizeof(*n) + bytes);
    char *to;

    if (!n)
        return NULL;
    to = n->text;
    n->pub = *l;
    n->pub.id = id;
    n->pub.pool = copy_name(&to, l->pool);
    n->pub.skill = copy_name(&to, l->skill);
    n->pub.tenant = copy_name(&to, l->tenant);
    n->pub.session = copy_name(&to, l->session);
    n->pub.slots = copy_name(&to, l->slots);
    n->passed = INT64_MIN;
    return n;
}

struct memory_line *memory_find_line(const struct memory_registry *m, uint32_t id)
{
    return id > 0 && id <= m->c.lines ? m->lines[id - 1] : NULL;
}

/* The lowest that is free. */
static uint64_t next_line_id(struct memory_registry *m)
{
    while (m->line_from < m->c.lines && m->lines[m->line_from])
        m->line_from++;
    return m->line_from + 1;
}

static bool line_room(struct memory_registry *m, uint64_t id)
{
    if (!memory_reserve(&m->lines, &m->line_cap, id))
        return false;
    if (m->line_bucket_count >= m->line_cap)
        return true;
    if (!memory_reserve(&m->line_buckets, &m->line_bucket_count, m->line_cap))
        return false;
    hash_all_lines(m);
    return true;
}

enum weir_status memory_line_of(struct memory_registry *m, const struct registry_line *l,
                                struct registry_op *op, struct memory_line **ret)
{
    struct memory_line *n =
        m->line_bucket_count ? m->line_buckets[line_bucket(l, m->line_bucket_count)] : NULL;
    uint64_t id;

    while (n && !same_line(&n->pub, l))
        n = n->hash_next;
    *ret = n;
    if (n)
        return WEIR_OK;
    id = next_line_id(m);
    if (id > m->lines_max)
        return error_set(
            &op->err, WEIR_E_LIMIT,
            "there are %" PRIu32 " kinds of tasks in the registry (by pool, priority, "
            "tenant, session, ...), which is all that it can tell apart: use fewer, or "
            "have those deleted that have ended (retention)",
            m->lines_max);
    if (!line_room(m, id))
        return WEIR_E_NOMEM;
    n = line_new(m, l, (uint32_t)id);
    if (!n || !memory_log_gone(m, UNDO_LINE_NEW, n))
        return WEIR_E_NOMEM;
    m->lines[id - 1] = n;
    if (id > m->c.lines)
        m->c.lines = id;
    line_hash(m, n);
    *ret = n;
    return WEIR_OK;
}

bool memory_line_is_empty(const struct memory_line *l)
{
    for (unsigned s = 0; s < REGISTRY_STATES; s++)
        if (l->states[s] > 0)
            return false;
    return true;
}

bool memory_line_drop(struct memory_registry *m, struct memory_line *l)
{
    struct memory_line **at = &m->line_buckets[line_bucket(&l->pub, m->line_bucket_count)];

    if (!memory_log_gone(m, UNDO_LINE_GONE, l))
        return false;
    while (*at != l)
        at = &(*at)->hash_next;
    *at = l->hash_next;
    l->gone = true;
    l->gone_next = m->lines_dropped;
    m->lines_dropped = l;
    return true;
}

void memory_lines_let_go(struct memory_registry *m)
{
    while (m->lines_told) {
        struct memory_line *l = m->lines_told;

        m->lines_told = l->gone_next;
        m->lines[l->pub.id - 1] = NULL;
        if (m->line_from >= l->pub.id)
            m->line_from = l->pub.id - 1;
        mem_free(l);
    }
}

/* ---- coming and going ---- */

bool memory_table_add(struct memory_registry *m, struct memory_task *t)
{
    if (!memory_reserve(&m->tasks, &m->task_cap, m->c.tasks + 1) ||
        !heap_reserve(&m->due, m->task_cap))
        return false;
    if (m->key_bucket_count < m->task_cap) {
        if (!memory_reserve(&m->key_buckets, &m->key_bucket_count, m->task_cap))
            return false;
        hash_all_keys(m);
    }
    t->id = m->c.tasks + 1;
    heap_node_init(&t->node);
    m->tasks[m->c.tasks++] = t;
    key_hash(m, t);
    memory_link(m, t);
    return true;
}

bool memory_table_remove(struct memory_registry *m, struct memory_task *t)
{
    assert(rules_ended(t->state));
    if (!memory_log_gone(m, UNDO_TASK_GONE, t))
        return false;
    memory_unlink(m, t);
    key_unhash(m, t);
    m->tasks[t->id - 1] = NULL;
    return true;
}

/* Where it goes: mostly at the end. Others of the batch that are gone are passed over. */
static size_t place_in(const struct memory_registry *m, const struct memory_batch *b,
                       const struct memory_task *t)
{
    size_t at = b->task_count;

    while (at > 0) {
        const struct memory_task *before = memory_find(m, b->tasks[at - 1]);

        if (before && before->place <= t->place)
            break;
        at--;
    }
    return at;
}

/* Another array with the id put in: those that somebody may go back to are never written to. */
static bool put_in(struct memory_registry *m, uint64_t **array, size_t *cap, size_t count,
                   size_t at, uint64_t id)
{
    size_t want = count < 8 ? 8 : count * 2;
    uint64_t *bigger;

    if (at == count && count < *cap) {
        (*array)[at] = id;
        return true;
    }
    bigger = memory_make(m, want * sizeof(*bigger));
    if (!bigger || !memory_drop(m, *array))
        return false;
    if (count > 0)
        memcpy(bigger, *array, at * sizeof(*bigger));
    if (count > at)
        memcpy(bigger + at + 1, *array + at, (count - at) * sizeof(*bigger));
    bigger[at] = id;
    *array = bigger;
    *cap = want;
    return true;
}

bool memory_batch_add(struct memory_registry *m, struct memory_batch *b, struct memory_task *t)
{
    if (!memory_touch(m, b, sizeof(*b)) ||
        !put_in(m, &b->tasks, &b->task_cap, b->task_count, place_in(m, b, t), t->id))
        return false;
    b->task_count++;
    return true;
}

uint32_t memory_edge_find(const struct memory_task *t, uint64_t on)
{
    uint32_t low = 0, high = t->edge_count;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (t->edges[mid].on < on)
            low = mid + 1;
        else
            high = mid;
    }
    return low < t->edge_count && t->edges[low].on == on ? low : t->edge_count;
}

static bool up_add(struct memory_registry *m, struct memory_task *on, uint64_t id)
{
    size_t cap = on->up_cap, at = on->up_count;

    while (at > 0 && on->up[at - 1] > id)
        at--;
    if (at > 0 && on->up[at - 1] == id)
        return true; /* of an edge that was dropped */
    if (!memory_touch(m, on, sizeof(*on)) || !put_in(m, &on->up, &cap, on->up_count, at, id))
        return false;
    on->up_cap = (uint32_t)cap;
    on->up_count++;
    return true;
}

bool memory_edges_add(struct memory_registry *m, struct memory_task *t,
                      const struct memory_edge *more, uint32_t count)
{
    struct memory_edge *edges;
    uint32_t n = 0, old = 0, i = 0;

    if (count == 0)
        return true;
    edges = memory_make(m, (t->edge_count + count) * sizeof(*edges));
    if (!edges || !memory_drop(m, t->edges) || !memory_touch(m, t, sizeof(*t)))
        return false;
    while (old < t->edge_count || i < count) {
        if (i == count || (old < t->edge_count && t->edges[old].on < more[i].on)) {
            edges[n++] = t->edges[old++];
            continue;
        }
        if (old < t->edge_count && t->edges[old].on == more[i].on) {
            i++; /* it has it already */
            continue;
        }
        if (!up_add(m, memory_find(m, more[i].on), t->id))
            return false;
        t->blocked_by += !more[i].met;
        edges[n++] = more[i++];
    }
    t->edges = edges;
    t->edge_count = n;
    return true;
}

/* ---- what is derived ---- */

static void ready_link(struct memory_registry *m, struct memory_task *t)
{
    struct memory_line *l = t->line;
    struct memory_task *before = l->last;

    /* Mostly at the end, or, of a task that is tried again, near the beginning. */
    if (l->first && l->first->rank > t->rank)
        before = NULL;
    while (before && before->rank > t->rank)
        before = before->prev;
    t->prev = before;
    t->next = before ? before->next : l->first;
    *(before ? &before->next : &l->first) = t;
    *(t->next ? &t->next->prev : &l->last) = t;
    if (t->rank <= l->passed) {
        l->held++;
        m->held++;
    }
}

static void ready_unlink(struct memory_registry *m, struct memory_task *t)
{
    struct memory_line *l = t->line;

    *(t->prev ? &t->prev->next : &l->first) = t->next;
    *(t->next ? &t->next->prev : &l->last) = t->prev;
    t->prev = t->next = NULL;
    if (t->rank <= l->passed) {
        l->held--;
        m->held--;
    }
}

static int64_t due_of(const struct memory_task *t)
{
    int64_t due = rules_waiting(t->state) ? t->deadline_ns : 0;

    if (t->state == REGISTRY_SCHEDULED && (due == 0 || t->not_before_ns < due))
        due = t->not_before_ns;
    return due;
}

void memory_link(struct memory_registry *m, struct memory_task *t)
{
    struct memory_batch *b = memory_find_batch(m, t->batch);

    t->line->states[t->state]++;
    if (b)
        b->states[t->state]++;
    if (t->state == REGISTRY_READY)
        ready_link(m, t);
    t->due_ns = due_of(t);
    if (t->due_ns != 0)
        heap_push(&m->due, &t->node);
}

void memory_unlink(struct memory_registry *m, struct memory_task *t)
{
    struct memory_batch *b = memory_find_batch(m, t->batch);

    t->line->states[t->state]--;
    if (b)
        b->states[t->state]--;
    if (t->state == REGISTRY_READY)
        ready_unlink(m, t);
    heap_remove(&m->due, &t->node);
}

void memory_derive(struct memory_registry *m)
{
    m->due.len = 0;
    m->held = 0;
    m->line_from = 0;
    m->changed = NULL;
    for (uint64_t i = 0; i < m->c.lines; i++) {
        struct memory_line *l = m->lines[i];

        if (!l)
            continue;
        l->first = l->last = NULL;
        l->held = 0;
        memset(l->states, 0, sizeof(l->states));
    }
    for (uint64_t i = 0; i < m->c.batches; i++)
        if (m->batches[i]) {
            memset(m->batches[i]->states, 0, sizeof(m->batches[i]->states));
            m->batches[i]->changed = false;
        }
    hash_all_lines(m);
    hash_all_keys(m);
    for (uint64_t i = 0; i < m->c.tasks; i++)
        if (m->tasks[i]) {
            heap_node_init(&m->tasks[i]->node);
            memory_link(m, m->tasks[i]);
        }
}
