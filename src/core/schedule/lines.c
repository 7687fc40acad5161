/*
 * Lines, their tasks, and sessions.
 */
#include "core/schedule/internal.h"

#include "base/error.h"
#include "base/mem.h"

#include <assert.h>
#include <string.h>

/* ---- sessions ---- */

static struct session *session_get(struct schedule *s, struct slice name)
{
    uint64_t hash = map_hash(name.data, name.len, s->seed);
    struct session *n;

    for (struct map_node *m = map_find(&s->sessions, hash); m; m = map_again(m)) {
        n = map_entry(m, struct session, node);
        if (slice_equal(name, (struct slice){n->name, n->name_len}))
            return n;
    }
    n = mem_alloc(sizeof *n + name.len + 1);
    if (!n)
        return NULL;
    *n = (struct session){.name_len = name.len};
    memcpy(n->name, name.data, name.len);
    n->name[name.len] = '\0';
    list_init(&n->lines);
    map_put(&s->sessions, &n->node, hash);
    return n;
}

static void session_drop_if_unused(struct schedule *s, struct session *n)
{
    if (!n || !list_empty(&n->lines))
        return;
    assert(n->running == 0 && n->aside == 0);
    map_remove(&s->sessions, &n->node);
    mem_free(n);
}

void session_settle(struct schedule *s, struct session *n)
{
    list_foreach (link, &n->lines)
        line_settle(s, list_entry(link, struct schedule_line, session_link));
}

/* One more or less of what keeps its lines; they are looked at when that makes a difference. */
static void session_count(struct schedule *s, struct session *n, uint32_t *count, int more)
{
    bool waited = n->running + n->aside > 0;

    assert(more > 0 || *count > 0);
    *count += (uint32_t)more;
    if (waited != (n->running + n->aside > 0))
        session_settle(s, n);
}

/* ---- lines ---- */

static uint64_t hash_of(const struct schedule *s, uint32_t id)
{
    return map_hash(&id, sizeof id, s->seed);
}

struct schedule_line *schedule_find_line(struct schedule *s, uint32_t id)
{
    for (struct map_node *n = map_find(&s->lines, hash_of(s, id)); n; n = map_again(n)) {
        struct schedule_line *l = map_entry(n, struct schedule_line, node);

        if (l->id == id)
            return l;
    }
    return NULL;
}

static struct target *target_for(struct schedule *s, const struct registry_line *r)
{
    if (r->pool.len)
        return target_get(s, TARGET_POOL, r->pool);
    if (r->skill.len)
        return target_get(s, TARGET_SKILL, r->skill);
    s->by_default->refs++;
    return s->by_default;
}

static bool line_place(struct schedule *s, struct schedule_line *l, const struct registry_line *r,
                       const struct permit_need *need)
{
    struct target *target = target_for(s, r);
    struct tenant *tenant = tenant_get(s, r->tenant);

    if (r->session.len)
        l->session = session_get(s, r->session);
    if (target && tenant && (l->session || !r->session.len))
        l->queue = queue_get(s, tenant, target, need);
    if (target)
        target_release(s, target);
    if (l->queue)
        return true;
    if (tenant)
        tenant_release(s, tenant, false);
    session_drop_if_unused(s, l->session);
    return false;
}

/* Whoever has the slots may forget a name that no line has. */
static void count_slots(const struct kind *k, int more)
{
    for (int i = 0; i < PERMIT_SLOTS_MAX; i++)
        if (k->need.slots[i])
            k->need.slots[i]->refs += (uint32_t)more;
}

static struct schedule_line *line_new(struct schedule *s, const struct registry_line *r,
                                      const struct permit_need *need)
{
    struct schedule_line *l = mem_alloc(sizeof *l);

    if (!l)
        return NULL;
    *l = (struct schedule_line){.priority = r->priority, .id = r->id};
    if (!line_place(s, l, r, need))
        return mem_free(l);
    order_item_init(&l->item);
    list_init(&l->ready);
    list_init(&l->aside);
    list_init(&l->session_link);
    l->queue->line_count++;
    count_slots(l->queue->kind, 1);
    tenant_add_line(s, l->queue->tenant);
    if (l->session)
        list_push_back(&l->session->lines, &l->session_link);
    map_put(&s->lines, &l->node, hash_of(s, r->id));
    return l;
}

enum weir_status schedule_line(struct schedule *s, const struct registry_line *r,
                               struct permit_slots *const slots[PERMIT_SLOTS_MAX],
                               struct schedule_line **ret, struct weir_error *err)
{
    struct schedule_line *l = schedule_find_line(s, r->id);
    struct permit_need need = {.priority = floor_of(s, r->priority),
                               .cpu_milli = r->cpu_milli,
                               .memory_mib = r->memory_mib};

    assert(r->priority >= REGISTRY_PRIORITY_MIN && r->priority <= REGISTRY_PRIORITY_MAX);
    for (int i = 0; slots && i < PERMIT_SLOTS_MAX; i++)
        need.slots[i] = slots[i];
    if (!l && s->lines.count >= SCHEDULE_LINES_MAX)
        return error_set(err, WEIR_E_LIMIT,
                         "%d lines of tasks are in memory; a line is what agrees in pool, skill, "
                         "priority, tenant, session and resources: use fewer different ones",
                         SCHEDULE_LINES_MAX);
    if (!l)
        l = line_new(s, r, &need);
    if (!l)
        return error_nomem(err);
    *ret = l;
    return WEIR_OK;
}

void line_free(struct schedule *s, struct schedule_line *l)
{
    struct queue *q = l->queue;
    struct tenant *tenant = q->tenant;

    order_remove(&q->lines, &l->item);
    queue_settle(s, q);
    list_remove(&l->session_link);
    session_drop_if_unused(s, l->session);
    map_remove(&s->lines, &l->node);
    s->lines_gone -= l->gone;
    q->line_count--;
    count_slots(q->kind, -1);
    queue_release(s, q);
    tenant_release(s, tenant, true);
    mem_free(l);
}

void line_drop_if_unused(struct schedule *s, struct schedule_line *l)
{
    assert(l->held > 0 || !l->expected);
    if (l->count == 0 && l->running == 0 && !l->held)
        line_free(s, l);
}

uint32_t schedule_line_id(const struct schedule_line *l)
{
    return l->id;
}

size_t schedule_line_count(const struct schedule_line *l)
{
    return l->count;
}

struct schedule_supply *schedule_line_supply(struct schedule_line *l)
{
    return &l->supply;
}

struct schedule_line *schedule_supply_line(struct schedule_supply *supply)
{
    return list_entry(supply, struct schedule_line, supply);
}

size_t schedule_lines(const struct schedule *s)
{
    return s->lines.count;
}

size_t schedule_behind(const struct schedule *s)
{
    return s->behind;
}

void schedule_hold_line(struct schedule *s, struct schedule_line *l, bool hold)
{
    assert(hold || l->held > 0);
    l->held = hold ? l->held + 1 : l->held - 1;
    line_drop_if_unused(s, l);
}

void schedule_line_gone(struct schedule *s, struct schedule_line *l)
{
    s->lines_gone += !l->gone;
    l->gone = true;
}

size_t schedule_lines_gone(const struct schedule *s)
{
    return s->lines_gone;
}

void schedule_expect_line(struct schedule *s, struct schedule_line *l, bool more)
{
    struct tenant *t = l->queue->tenant;

    assert(l->held > 0);
    if (l->expected == more)
        return;
    l->expected = more;
    if (more)
        tenant_expect(s, t, l->queue->kind->target);
    else
        t->expecting--;
}

/* ---- their order ---- */

struct order_key line_key(const struct schedule *s, const struct schedule_line *l)
{
    int64_t rank = task_of(l->ready.next)->rank;
    struct order_key key = {0, rank};

    if (s->policy == SCHEDULE_FIFO)
        return key;
    if (s->ageing_step_ns == 0)
        key.first = -(int64_t)l->priority;
    else if (__builtin_sub_overflow(rank, l->priority * s->ageing_step_ns, &key.first))
        key.first = l->priority > 0 ? INT64_MIN : INT64_MAX;
    return key;
}

void line_settle(struct schedule *s, struct schedule_line *l)
{
    const struct session *n = l->session;
    struct queue *q = l->queue;

    if (list_empty(&l->ready) || (n && n->running + n->aside > 0))
        order_remove(&q->lines, &l->item);
    else
        order_put(&q->lines, &l->item, line_key(s, l), l->id);
    queue_settle(s, q);
}

/* ---- tasks ---- */

/* From both ends, for what comes back is mostly near the front. */
static void insert(struct list *head, struct schedule_task *t)
{
    struct list *front = head->next, *back = head->prev;

    while (back != head && task_of(back)->rank > t->rank && task_of(front)->rank <= t->rank) {
        front = front->next;
        back = back->prev;
    }
    if (back == head || task_of(back)->rank <= t->rank)
        list_push_front(back, &t->link);
    else
        list_push_back(front, &t->link);
}

static void insert_ready(struct schedule_line *l, struct schedule_task *t)
{
    if (!list_empty(&l->ready) && t->rank < l->last_rank) {
        insert(&l->ready, t);
        return;
    }
    list_push_back(&l->ready, &t->link);
    l->last_rank = t->rank;
}

static void leave_list(struct schedule_line *l, struct schedule_task *t)
{
    bool last = t->link.next == &l->ready;

    list_remove(&t->link);
    if (last && !list_empty(&l->ready))
        l->last_rank = task_of(l->ready.prev)->rank;
}

void schedule_add(struct schedule *s, struct schedule_line *l, struct schedule_task *t,
                  struct instant now)
{
    (void)now;
    t->line = l;
    t->aside = false;
    insert_ready(l, t);
    if (l->count++ > 0)
        s->behind++;
    target_add_ready(s, l->queue->kind->target);
    tenant_ready(s, l->queue->tenant, l->queue->kind->target);
    if (l->ready.next == &t->link)
        line_settle(s, l);
}

void task_take(struct schedule *s, struct schedule_task *t)
{
    struct schedule_line *l = t->line;

    leave_list(l, t);
    if (--l->count > 0)
        s->behind--;
    target_take_ready(s, l->queue->kind->target);
    l->queue->tenant->ready--;
    if (t->aside && l->session)
        session_count(s, l->session, &l->session->aside, -1);
    t->aside = false;
}

void schedule_remove(struct schedule *s, struct schedule_task *t, struct instant now)
{
    struct schedule_line *l = t->line;

    (void)now;
    task_take(s, t);
    line_settle(s, l);
    line_drop_if_unused(s, l);
}

void schedule_set_aside(struct schedule *s, struct schedule_task *t)
{
    struct schedule_line *l = t->line;

    if (t->aside)
        return;
    t->aside = true;
    leave_list(l, t);
    insert(&l->aside, t);
    if (l->session)
        session_count(s, l->session, &l->session->aside, 1);
    line_settle(s, l);
}

void schedule_bring_back(struct schedule *s, struct schedule_task *t, struct instant now)
{
    struct schedule_line *l = t->line;

    (void)now;
    if (!t->aside)
        return;
    t->aside = false;
    list_remove(&t->link);
    insert_ready(l, t);
    if (l->session)
        session_count(s, l->session, &l->session->aside, -1);
    line_settle(s, l);
}

/* What will be chosen of its kind after this: its first task, and where that is, should be at hand by then. */
static void fetch_next(const struct kind *k)
{
    const struct order_entry *e = order_first(&k->queues);

    if (!e)
        return;
    e = order_first(&order_entry_of(e->item, struct queue, item)->lines);
    __builtin_prefetch(order_entry_of(e->item, struct schedule_line, item)->ready.next);
}

void schedule_start(struct schedule *s, struct schedule_task *t, struct schedule_pool *p,
                    struct instant now)
{
    struct schedule_line *l = t->line;

    (void)now;
    task_take(s, t);
    l->running++;
    if (l->session)
        session_count(s, l->session, &l->session->running, 1);
    tenant_start(s, l->queue->tenant, p);
    line_settle(s, l);
    fetch_next(l->queue->kind);
}

void schedule_end(struct schedule *s, struct schedule_line *l, struct schedule_pool *p,
                  duration_ns work_ns, struct instant now)
{
    const struct kind *k = l->queue->kind;

    (void)now;
    assert(l->running > 0);
    l->running--;
    if (l->session)
        session_count(s, l->session, &l->session->running, -1);
    tenant_end(s, l->queue->tenant, work_ns);
    unblock_pool(s, p);
    unblock_global(s);
    if (k->need.slots[0] || k->need.slots[1] || k->need.slots[2] || k->need.slots[3])
        unblock_slots(s);
    line_drop_if_unused(s, l);
}

struct schedule_task *schedule_line_first(const struct schedule_line *l)
{
    struct schedule_task *ready = list_empty(&l->ready) ? NULL : task_of(l->ready.next);
    struct schedule_task *aside = list_empty(&l->aside) ? NULL : task_of(l->aside.next);

    if (!ready || (aside && aside->rank < ready->rank))
        return aside;
    return ready;
}
