/*
 * Kinds, their queues, and what they wait for.
 */
#include "core/schedule/internal.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

/* ---- making and freeing ---- */

static uint64_t hash_of(const struct schedule *s, const struct target *t,
                        const struct permit_need *need)
{
    uint64_t words[3 + PERMIT_SLOTS_MAX] = {
        (uintptr_t)t, (uint64_t)(uint32_t)need->priority << 32 | need->cpu_milli, need->memory_mib};

    for (int i = 0; i < PERMIT_SLOTS_MAX; i++)
        words[3 + i] = (uintptr_t)need->slots[i];
    return map_hash(words, sizeof words, s->seed);
}

static bool same_need(const struct permit_need *a, const struct permit_need *b)
{
    return a->priority == b->priority && a->cpu_milli == b->cpu_milli &&
           a->memory_mib == b->memory_mib && memcmp(a->slots, b->slots, sizeof a->slots) == 0;
}

static bool reserve_active(struct schedule *s, size_t count)
{
    struct kind **active;

    if (count <= s->active_cap)
        return true;
    active = mem_realloc(s->active, 2 * count * sizeof(struct kind *));
    if (!active)
        return false;
    s->active = active;
    s->active_cap = (uint32_t)(2 * count);
    return true;
}

static struct kind *kind_get(struct schedule *s, struct target *target,
                             const struct permit_need *need)
{
    uint64_t hash = hash_of(s, target, need);
    struct kind *k;

    for (struct map_node *n = map_find(&s->kinds, hash); n; n = map_again(n)) {
        k = map_entry(n, struct kind, node);
        if (k->target == target && same_need(&k->need, need))
            return k;
    }
    if (!reserve_active(s, s->kinds.count + 1))
        return NULL;
    k = mem_alloc(sizeof *k);
    if (!k)
        return NULL;
    *k = (struct kind){.active_at = NOT_ACTIVE, .target = target, .need = *need};
    order_init(&k->queues);
    list_init(&k->blocked_link);
    list_init(&k->global_link);
    list_init(&k->slot_link);
    list_init(&k->barred_link);
    target->refs++;
    map_put(&s->kinds, &k->node, hash);
    return k;
}

static void leave_waits(struct kind *k)
{
    list_remove(&k->blocked_link);
    list_remove(&k->global_link);
    list_remove(&k->slot_link);
    k->blocked = false;
}

static void kind_drop_if_unused(struct schedule *s, struct kind *k)
{
    if (k->queue_count > 0)
        return;
    assert(k->queues.len == 0 && k->active_at == NOT_ACTIVE);
    leave_waits(k);
    list_remove(&k->barred_link);
    map_remove(&s->kinds, &k->node);
    target_release(s, k->target);
    order_free(&k->queues);
    mem_free(k);
}

static struct queue *queue_new(struct schedule *s, struct tenant *tenant, struct kind *k,
                               uint64_t hash)
{
    struct queue *q;

    if (!order_reserve(&k->queues, k->queue_count + 1))
        return NULL;
    q = mem_alloc(sizeof *q);
    if (!q)
        return NULL;
    *q = (struct queue){.kind = k, .tenant = tenant};
    order_item_init(&q->item);
    order_init(&q->lines);
    list_push_back(&tenant->queues, &q->link);
    k->queue_count++;
    map_put(&s->queues, &q->node, hash);
    return q;
}

static struct queue *queue_find(struct schedule *s, const struct tenant *tenant,
                                const struct kind *k, uint64_t *ret_hash)
{
    uintptr_t words[2] = {(uintptr_t)tenant, (uintptr_t)k};
    uint64_t hash = map_hash(words, sizeof words, s->seed);

    *ret_hash = hash;
    for (struct map_node *n = map_find(&s->queues, hash); n; n = map_again(n)) {
        struct queue *q = map_entry(n, struct queue, node);

        if (q->kind == k && q->tenant == tenant)
            return q;
    }
    return NULL;
}

struct queue *queue_get(struct schedule *s, struct tenant *tenant, struct target *target,
                        const struct permit_need *need)
{
    struct kind *k = kind_get(s, target, need);
    struct queue *q;
    uint64_t hash;

    if (!k)
        return NULL;
    q = queue_find(s, tenant, k, &hash);
    if (!q)
        q = queue_new(s, tenant, k, hash);
    if (!q) {
        kind_drop_if_unused(s, k);
        return NULL;
    }
    if (order_reserve(&q->lines, q->line_count + 1))
        return q;
    queue_release(s, q);
    return NULL;
}

void queue_release(struct schedule *s, struct queue *q)
{
    struct kind *k = q->kind;

    if (q->line_count > 0)
        return;
    assert(q->lines.len == 0 && !order_has(&q->item));
    list_remove(&q->link);
    map_remove(&s->queues, &q->node);
    order_free(&q->lines);
    mem_free(q);
    k->queue_count--;
    kind_drop_if_unused(s, k);
}

/* ---- active or not ---- */

static void kind_settle(struct schedule *s, struct kind *k)
{
    bool active = k->queues.len > 0 && !k->blocked;

    if (active == (k->active_at != NOT_ACTIVE))
        return;
    if (active) {
        assert(s->active_len < s->active_cap);
        k->active_at = s->active_len;
        s->active[s->active_len++] = k;
    } else {
        struct kind *last = s->active[--s->active_len];

        s->active[k->active_at] = last;
        last->active_at = k->active_at;
        k->active_at = NOT_ACTIVE;
    }
}

void queue_settle(struct schedule *s, struct queue *q)
{
    struct kind *k = q->kind;
    const struct order_entry *first = order_first(&q->lines);

    if (!first)
        order_remove(&k->queues, &q->item);
    else
        order_put(&k->queues, &q->item, is_fair(s) ? tenant_key(q->tenant) : first->key,
                  is_fair(s) ? 0 : first->item->tie);
    kind_settle(s, k);
}

bool kind_before(const struct schedule *s, const struct kind *a, const struct kind *b)
{
    const struct order_entry *x = order_first(&a->queues), *y = order_first(&b->queues);

    if (is_fair(s) && x->key.first == y->key.first && x->key.second == y->key.second) {
        x = order_first(&order_entry_of(x->item, struct queue, item)->lines);
        y = order_first(&order_entry_of(y->item, struct queue, item)->lines);
    }
    return order_before(x->key, x->item, y->key, y->item);
}

static void unblock(struct schedule *s, struct kind *k)
{
    leave_waits(k);
    kind_settle(s, k);
}

void unblock_target(struct schedule *s, struct target *t)
{
    list_foreach_safe (n, &t->blocked)
        unblock(s, list_entry(n, struct kind, blocked_link));
}

void unblock_pool(struct schedule *s, struct schedule_pool *p)
{
    if (p->target) /* else it has left, and nothing waits for it */
        unblock_target(s, p->target);
    for (uint32_t i = 0; i < p->skill_count; i++)
        unblock_target(s, p->skills[i]);
    if (p != s->default_pool)
        return;
    unblock_target(s, s->by_default);
    list_foreach_safe (n, &s->unoffered)
        unblock_target(s, list_entry(n, struct target, unoffered));
}

void unblock_global(struct schedule *s)
{
    list_foreach_safe (n, &s->wait_global)
        unblock(s, list_entry(n, struct kind, global_link));
}

void unblock_slots(struct schedule *s)
{
    list_foreach_safe (n, &s->wait_slot)
        unblock(s, list_entry(n, struct kind, slot_link));
}

/* ---- where it can run ---- */

bool pool_takes(const struct schedule_pool *p, const struct permit_need *need,
                enum permit_block *ret)
{
    *ret = PERMIT_FREE;
    if (!p->enabled || p->closed)
        return false;
    *ret = permit_check(p->account, need);
    return *ret == PERMIT_FREE;
}

bool pool_is_less_used(const struct schedule_pool *a, const struct schedule_pool *b)
{
    unsigned __int128 x = (unsigned __int128)permit_running(a->account) * permit_limit(b->account);
    unsigned __int128 y = (unsigned __int128)permit_running(b->account) * permit_limit(a->account);

    return x < y;
}

struct schedule_pool *kind_pool(struct schedule *s, struct kind *k)
{
    bool global = false, slot = false;
    struct schedule_pool *best = NULL;
    enum permit_block block;
    uint32_t count;
    struct schedule_pool *const *pools = target_pools(s, k->target, &count);

    for (uint32_t i = 0; i < count; i++) {
        if (pools[i] == k->barred || (best && !pool_is_less_used(pools[i], best)))
            continue;
        if (pool_takes(pools[i], &k->need, &block))
            best = pools[i];
        global = global || block == PERMIT_GLOBAL;
        slot = slot || block == PERMIT_SLOT;
    }
    if (best)
        return best;
    k->blocked = true;
    list_push_back(&k->target->blocked, &k->blocked_link);
    if (global)
        list_push_back(&s->wait_global, &k->global_link);
    if (slot)
        list_push_back(&s->wait_slot, &k->slot_link);
    kind_settle(s, k);
    return NULL;
}

/* ---- not there, for a reason that permits do not know ---- */

bool schedule_bar(struct schedule *s, const struct schedule_task *t, struct schedule_pool *p)
{
    struct kind *k = t->line->queue->kind;

    if (k->barred && k->barred != p)
        return false;
    if (!k->barred)
        list_push_back(&s->barred, &k->barred_link);
    k->barred = p;
    return true;
}

static void unbar(struct schedule *s, struct kind *k)
{
    list_remove(&k->barred_link);
    k->barred = NULL;
    unblock(s, k);
}

void schedule_unbar(struct schedule *s)
{
    list_foreach_safe (n, &s->barred)
        unbar(s, list_entry(n, struct kind, barred_link));
}

void unbar_pool(struct schedule *s, const struct schedule_pool *p)
{
    list_foreach_safe (n, &s->barred) {
        struct kind *k = list_entry(n, struct kind, barred_link);

        if (k->barred == p)
            unbar(s, k);
    }
}

/* ---- sides of reserves ---- */

int32_t floor_of(const struct schedule *s, int32_t priority)
{
    int32_t floor = FLOOR_NONE;

    for (uint32_t i = 0; i < s->floor_count && s->floors[i] <= priority; i++)
        floor = s->floors[i];
    return floor;
}

static void add_floor(struct schedule *s, int32_t floor)
{
    uint32_t at = s->floor_count;

    while (at > 0 && s->floors[at - 1] > floor)
        at--;
    if (at > 0 && s->floors[at - 1] == floor)
        return;
    assert(s->floor_count < s->floor_cap);
    memmove(&s->floors[at + 1], &s->floors[at], (s->floor_count - at) * sizeof *s->floors);
    s->floors[at] = floor;
    s->floor_count++;
}

/* False: no memory, it stays where it is. */
static bool follow(struct schedule *s, struct schedule_line *l)
{
    struct queue *old = l->queue, *q;
    struct permit_need need = old->kind->need;

    need.priority = floor_of(s, l->priority);
    if (need.priority == old->kind->need.priority)
        return true;
    q = queue_get(s, old->tenant, old->kind->target, &need);
    if (!q)
        return false;
    order_remove(&old->lines, &l->item);
    queue_settle(s, old);
    old->line_count--;
    q->line_count++;
    l->queue = q;
    line_settle(s, l);
    queue_release(s, old);
    return true;
}

void floors_follow(struct schedule *s)
{
    s->floors_late = false;
    for (struct map_node *n = map_begin(&s->lines); n; n = map_after(&s->lines, n)) {
        if (!follow(s, map_entry(n, struct schedule_line, node)))
            s->floors_late = true;
    }
}

void floors_update(struct schedule *s)
{
    s->floor_count = 0;
    list_foreach (n, &s->pools) {
        const struct schedule_pool *p = list_entry(n, struct schedule_pool, link);

        if (p->floor != FLOOR_NONE)
            add_floor(s, p->floor);
    }
    floors_follow(s);
}
