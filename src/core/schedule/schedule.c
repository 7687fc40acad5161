/*
 * The schedule as a whole: its policies, and the choice.
 */
#include "core/schedule/schedule.h"

#include "base/mem.h"
#include "core/schedule/internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define NS_PER_MINUTE (60 * NS_PER_S)
/* A priority is worth 11 days of waiting at the most, so that keys stay within their range. */
#define AGEING_STEP_NS_MAX INT64_C(1000000000000000)

static const char *const policy_names[SCHEDULE_POLICIES] = {
    [SCHEDULE_FIFO] = "fifo",
    [SCHEDULE_PRIORITY] = "priority",
    [SCHEDULE_SKILL] = "skill",
    [SCHEDULE_FAIR_SHARE] = "fair-share",
};

const char *schedule_policy_name(enum schedule_policy p)
{
    return (unsigned)p < SCHEDULE_POLICIES ? policy_names[p] : "unknown";
}

bool schedule_policy_from_name(const char *name, enum schedule_policy *ret)
{
    for (int p = 0; p < SCHEDULE_POLICIES; p++) {
        if (strcmp(name, policy_names[p]) == 0) {
            *ret = (enum schedule_policy)p;
            return true;
        }
    }
    return false;
}

static int64_t ageing_step_ns(double ageing)
{
    if (!(ageing > 0))
        return 0;
    if (ageing * (double)AGEING_STEP_NS_MAX < (double)NS_PER_MINUTE)
        return AGEING_STEP_NS_MAX;
    if (ageing > (double)NS_PER_MINUTE)
        return 1;
    return llround((double)NS_PER_MINUTE / ageing);
}

static void set_options(struct schedule *s, const struct schedule_options *o)
{
    assert((unsigned)o->policy < SCHEDULE_POLICIES);
    s->policy = o->policy;
    s->ageing_step_ns = ageing_step_ns(o->ageing);
}

struct schedule *schedule_new(const struct schedule_options *o)
{
    struct schedule *s = mem_calloc(1, sizeof *s);

    if (!s)
        return NULL;
    set_options(s, o);
    /* Only so that nobody knows it who names tenants; the order in a map decides nothing. */
    s->seed = (uintptr_t)s;
    s->settled_at = INSTANT_NONE;
    list_init(&s->wait_global);
    list_init(&s->wait_slot);
    list_init(&s->barred);
    list_init(&s->pools);
    list_init(&s->unoffered);
    list_init(&s->gone);
    map_init(&s->lines);
    map_init(&s->kinds);
    map_init(&s->queues);
    map_init(&s->targets);
    map_init(&s->sessions);
    map_init(&s->tenants);
    s->by_default = target_get(s, TARGET_DEFAULT, (struct slice){"", 0});
    if (!s->by_default)
        return mem_free(s);
    return s;
}

/* Tasks are their owner's: their links are not touched, for they may be gone. */
static void forget_line(struct schedule *s, struct schedule_line *l)
{
    struct tenant *t = l->queue->tenant;

    l->queue->kind->target->ready -= l->count;
    t->ready -= l->count;
    t->running -= l->running;
    if (l->session)
        l->session->running = l->session->aside = 0;
    line_free(s, l);
}

void schedule_free(struct schedule *s)
{
    struct map_node *next;

    if (!s)
        return;
    for (struct map_node *n = map_begin(&s->lines); n; n = next) {
        next = map_after(&s->lines, n);
        forget_line(s, map_entry(n, struct schedule_line, node));
    }
    while (!list_empty(&s->pools))
        schedule_remove_pool(s, list_entry(list_front(&s->pools), struct schedule_pool, link));
    targets_free(s);
    tenants_free(s);
    map_free(&s->lines);
    map_free(&s->kinds);
    map_free(&s->queues);
    map_free(&s->targets);
    map_free(&s->sessions);
    map_free(&s->tenants);
    mem_free(s->active);
    mem_free(s->floors);
    mem_free(s);
}

/* ---- another policy ---- */

static void sort_queue(struct schedule *s, struct queue *q)
{
    for (uint32_t i = 0; i < q->lines.len; i++) {
        struct order_entry *e = &q->lines.entries[i];

        e->key = line_key(s, order_entry_of(e->item, struct schedule_line, item));
    }
    order_again(&q->lines);
}

static void sort_kind(struct schedule *s, struct kind *k)
{
    for (uint32_t i = 0; i < k->queues.len; i++) {
        struct order_entry *e = &k->queues.entries[i];
        struct queue *q = order_entry_of(e->item, struct queue, item);

        sort_queue(s, q);
        e->key = is_fair(s) ? tenant_key(q->tenant) : order_first(&q->lines)->key;
        q->item.tie = is_fair(s) ? 0 : order_first(&q->lines)->item->tie;
    }
    order_again(&k->queues);
}

void schedule_set_policy(struct schedule *s, const struct schedule_options *o)
{
    set_options(s, o);
    for (struct map_node *n = map_begin(&s->kinds); n; n = map_after(&s->kinds, n))
        sort_kind(s, map_entry(n, struct kind, node));
}

/* ---- the choice ---- */

bool schedule_choose(struct schedule *s, struct instant now, struct schedule_task **ret_task,
                     struct schedule_pool **ret_pool)
{
    struct schedule_pool *pool, *best_pool = NULL;
    struct kind *best = NULL;
    const struct queue *q;
    const struct schedule_line *l;

    if (s->bursts)
        pools_settle(s, now);
    if (s->floors_late)
        floors_follow(s);
    for (uint32_t i = 0; i < s->active_len;) {
        struct kind *k = s->active[i];

        if (best && !kind_before(s, k, best)) {
            i++;
            continue;
        }
        pool = kind_pool(s, k);
        if (!pool)
            continue; /* it is not active any more: another one is at i */
        best = k;
        best_pool = pool;
        i++;
    }
    if (!best)
        return false;
    q = order_entry_of(order_first(&best->queues)->item, struct queue, item);
    l = order_entry_of(order_first(&q->lines)->item, struct schedule_line, item);
    *ret_task = task_of(l->ready.next);
    *ret_pool = best_pool;
    return true;
}

/* ---- why not ---- */

enum schedule_why schedule_why(const struct schedule *s, const struct schedule_line *l,
                               enum permit_block *ret_block)
{
    const struct schedule_task *t = schedule_line_first(l);
    struct permit_need need = l->queue->kind->need;
    enum schedule_why why = SCHEDULE_NO_POOL;
    enum permit_block block;
    uint32_t count;
    struct schedule_pool *const *pools = target_pools(s, l->queue->kind->target, &count);

    *ret_block = PERMIT_FREE;
    need.priority = l->priority;
    /* First: it is so whatever else is in the way, and only a person can help. */
    for (int i = 0; t && i < PERMIT_SLOTS_MAX; i++)
        if (need.slots[i] && need.slots[i]->count == 0) {
            *ret_block = PERMIT_UNKNOWN_SLOT;
            return SCHEDULE_LIMIT;
        }
    for (uint32_t i = 0; i < count; i++) {
        if (pools[i] != l->queue->kind->barred && pool_takes(pools[i], &need, &block)) {
            why = SCHEDULE_MAY_RUN;
            break;
        }
        if (pools[i] == l->queue->kind->barred) {
            why = why == SCHEDULE_LIMIT ? why : SCHEDULE_POOL_CLOSED;
        } else if (!pools[i]->enabled) {
            why = why == SCHEDULE_NO_POOL ? SCHEDULE_POOL_DISABLED : why;
        } else if (pools[i]->closed) {
            why = why == SCHEDULE_LIMIT ? why : SCHEDULE_POOL_CLOSED;
        } else if (why != SCHEDULE_LIMIT) {
            why = SCHEDULE_LIMIT;
            *ret_block = block;
        }
    }
    if (why == SCHEDULE_LIMIT && t)
        return why;
    *ret_block = PERMIT_FREE;
    if (why != SCHEDULE_MAY_RUN || !t)
        return t ? why : SCHEDULE_MAY_RUN;
    if (l->session && l->session->running > 0)
        return SCHEDULE_SESSION_TAKEN;
    return t->aside || (l->session && l->session->aside > 0) ? SCHEDULE_ASIDE : SCHEDULE_MAY_RUN;
}
