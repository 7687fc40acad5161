/*
 * Pools, skills, and where a task of each target can go.
 */
#include "core/schedule/internal.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

/* Skills that were told as not offered, and are remembered while no task waits for them. */
#define TOLD_MAX 1000

/* ---- targets ---- */

static struct target *target_find(struct schedule *s, enum target_by by, struct slice name,
                                  uint64_t *ret_hash)
{
    uint64_t hash = map_hash(name.data, name.len, s->seed + by);

    *ret_hash = hash;
    for (struct map_node *n = map_find(&s->targets, hash); n; n = map_again(n)) {
        struct target *t = map_entry(n, struct target, node);

        if (t->by == by && slice_equal(name, (struct slice){t->name, t->name_len}))
            return t;
    }
    return NULL;
}

struct target *target_get(struct schedule *s, enum target_by by, struct slice name)
{
    uint64_t hash;
    struct target *t = target_find(s, by, name, &hash);

    if (t) {
        t->refs++;
        return t;
    }
    t = mem_alloc(sizeof *t + name.len + 1);
    if (!t)
        return NULL;
    *t = (struct target){.by = by, .refs = 1, .name_len = name.len};
    if (name.len)
        memcpy(t->name, name.data, name.len);
    t->name[name.len] = '\0';
    list_init(&t->blocked);
    list_init(&t->unoffered);
    if (by == TARGET_SKILL)
        list_push_back(&s->unoffered, &t->unoffered);
    map_put(&s->targets, &t->node, hash);
    return t;
}

static void target_free(struct schedule *s, struct target *t)
{
    list_remove(&t->unoffered);
    map_remove(&s->targets, &t->node);
    mem_free(t->pools);
    mem_free(t);
}

void target_release(struct schedule *s, struct target *t)
{
    assert(t->refs > 0);
    if (--t->refs == 0)
        target_free(s, t);
}

static void target_untell(struct schedule *s, struct target *t)
{
    if (!t->told)
        return;
    t->told = false;
    s->told--;
    target_release(s, t);
}

void target_add_ready(struct schedule *s, struct target *t)
{
    if (t->ready++ == 0 && t->by == TARGET_SKILL && t->count == 0)
        s->look_unoffered = true;
}

void target_take_ready(struct schedule *s, struct target *t)
{
    assert(t->ready > 0);
    if (--t->ready == 0 && s->told > TOLD_MAX)
        target_untell(s, t);
}

void targets_free(struct schedule *s)
{
    struct map_node *next;

    for (struct map_node *n = map_begin(&s->targets); n; n = next) {
        next = map_after(&s->targets, n);
        target_free(s, map_entry(n, struct target, node));
    }
}

struct schedule_pool *const *target_pools(const struct schedule *s, const struct target *t,
                                          uint32_t *ret)
{
    struct schedule_pool *const *one = &s->default_pool;

    if (t->by == TARGET_SKILL && t->count > 0) {
        *ret = t->count;
        return t->pools;
    }
    if (t->by == TARGET_POOL)
        one = &t->named;
    *ret = *one ? 1 : 0;
    return one;
}

double target_level(const struct schedule *s, const struct target *t)
{
    uint32_t count;
    struct schedule_pool *const *pools = target_pools(s, t, &count);
    double level = 0;
    bool any = false;

    for (uint32_t i = 0; i < count; i++) {
        if (pools[i]->started && (!any || pools[i]->level < level)) {
            level = pools[i]->level;
            any = true;
        }
    }
    return level;
}

/* ---- which pool offers which skill ---- */

static bool target_reserve(struct target *t, uint32_t count)
{
    struct schedule_pool **pools;
    uint32_t cap = t->cap * 2 > count ? t->cap * 2 : count;

    if (count <= t->cap)
        return true;
    pools = mem_realloc(t->pools, cap * sizeof(struct schedule_pool *));
    if (!pools)
        return false;
    t->pools = pools;
    t->cap = cap;
    return true;
}

/* There is room. */
static void target_offer(struct schedule *s, struct target *t, struct schedule_pool *p)
{
    uint32_t at = t->count;

    for (; at > 0 && t->pools[at - 1]->seq > p->seq; at--)
        t->pools[at] = t->pools[at - 1];
    t->pools[at] = p;
    t->count++;
    list_remove(&t->unoffered);
    target_untell(s, t);
    unblock_target(s, t);
}

static void target_withdraw(struct schedule *s, struct target *t, struct schedule_pool *p)
{
    uint32_t at = 0;

    while (t->pools[at] != p)
        at++;
    for (t->count--; at < t->count; at++)
        t->pools[at] = t->pools[at + 1];
    if (t->count == 0) {
        list_push_back(&s->unoffered, &t->unoffered);
        s->look_unoffered = true;
    }
    unblock_target(s, t);
}

static bool named_before(const char *const *skills, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (strcmp(skills[k], skills[i]) == 0)
            return true;
    }
    return false;
}

static void release_all(struct schedule *s, struct target **targets, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        target_release(s, targets[i]);
    mem_free(targets);
}

/* The targets of the skills, each once, with room for a pool more. False: no memory. */
static bool skills_get(struct schedule *s, const char *const *skills, size_t skill_count,
                       struct target ***ret, uint32_t *ret_count)
{
    struct target **targets = mem_alloc((skill_count ? skill_count : 1) * sizeof(struct target *));
    uint32_t count = 0;

    if (!targets)
        return false;
    for (size_t i = 0; i < skill_count; i++) {
        struct target *t;

        if (named_before(skills, i))
            continue;
        t = target_get(s, TARGET_SKILL, slice_of(skills[i]));
        if (t)
            targets[count++] = t;
        if (!t || !target_reserve(t, t->count + 1)) {
            release_all(s, targets, count);
            return false;
        }
    }
    *ret = targets;
    *ret_count = count;
    return true;
}

static void skills_replace(struct schedule *s, struct schedule_pool *p, struct target **targets,
                           uint32_t count)
{
    for (uint32_t i = 0; i < p->skill_count; i++)
        target_withdraw(s, p->skills[i], p);
    for (uint32_t i = 0; i < count; i++)
        target_offer(s, targets[i], p);
    release_all(s, p->skills, p->skill_count);
    p->skills = targets;
    p->skill_count = count;
}

bool schedule_set_skills(struct schedule *s, struct schedule_pool *p, const char *const *skills,
                         size_t skill_count)
{
    struct schedule_skills got;

    if (!schedule_get_skills(s, skills, skill_count, &got))
        return false;
    schedule_put_skills(s, p, &got);
    return true;
}

bool schedule_get_skills(struct schedule *s, const char *const *skills, size_t skill_count,
                         struct schedule_skills *ret)
{
    return skills_get(s, skills, skill_count, &ret->targets, &ret->count);
}

void schedule_put_skills(struct schedule *s, struct schedule_pool *p,
                         const struct schedule_skills *skills)
{
    skills_replace(s, p, skills->targets, skills->count);
}

void schedule_drop_skills(struct schedule *s, const struct schedule_skills *skills)
{
    release_all(s, skills->targets, skills->count);
}

/* ---- pools ---- */

static bool reserve_floors(struct schedule *s, uint32_t count)
{
    int32_t *floors;

    if (count <= s->floor_cap)
        return true;
    floors = mem_realloc(s->floors, 2 * count * sizeof *floors);
    if (!floors)
        return false;
    s->floors = floors;
    s->floor_cap = 2 * count;
    return true;
}

/* What of the account was looked at, as it is now. */
static void pool_look(struct schedule *s, struct schedule_pool *p)
{
    const struct permit_account *a = p->account;
    int32_t floor = a->reserve.share > 0 ? a->reserve.min_priority : FLOOR_NONE;

    p->limit_seen = permit_limit(a);
    s->bursts = s->bursts || a->burst.places > 0;
    if (floor != p->floor) {
        p->floor = floor;
        floors_update(s);
    }
}

struct schedule_pool *schedule_add_pool(struct schedule *s, const char *name,
                                        struct permit_account *account, const char *const *skills,
                                        size_t skill_count, void *owner)
{
    struct schedule_pool *p = mem_alloc(sizeof *p);
    struct target **targets;
    uint32_t count;

    if (!p)
        return NULL;
    *p = (struct schedule_pool){
        .account = account, .owner = owner, .enabled = true, .floor = FLOOR_NONE};
    p->target = target_get(s, TARGET_POOL, slice_of(name));
    if (!p->target)
        goto no_memory;
    if (!reserve_floors(s, s->pool_count + 1) ||
        !skills_get(s, skills, skill_count, &targets, &count))
        goto no_memory;
    if (p->target->named)
        schedule_leave_pool(s, p->target->named);
    p->seq = ++s->pool_seq;
    p->target->named = p;
    list_push_back(&s->pools, &p->link);
    s->pool_count++;
    skills_replace(s, p, targets, count);
    unblock_target(s, p->target);
    pool_look(s, p);
    return p;

no_memory:
    if (p->target)
        target_release(s, p->target);
    mem_free(p);
    return NULL;
}

void schedule_leave_pool(struct schedule *s, struct schedule_pool *p)
{
    if (!p->target)
        return;
    p->enabled = false;
    if (s->default_pool == p)
        schedule_set_default_pool(s, NULL);
    skills_replace(s, p, NULL, 0);
    p->target->named = NULL;
    target_release(s, p->target);
    p->target = NULL;
}

void schedule_remove_pool(struct schedule *s, struct schedule_pool *p)
{
    schedule_leave_pool(s, p);
    unbar_pool(s, p);
    list_remove(&p->link);
    s->pool_count--;
    if (p->floor != FLOOR_NONE)
        floors_update(s);
    mem_free(p);
}

void schedule_set_default_pool(struct schedule *s, struct schedule_pool *p)
{
    s->default_pool = p;
    s->look_unoffered = true;
    unblock_target(s, s->by_default);
    list_foreach_safe (n, &s->unoffered)
        unblock_target(s, list_entry(n, struct target, unoffered));
}

void *schedule_pool_owner(const struct schedule_pool *p)
{
    return p->owner;
}

size_t schedule_pool_ready(const struct schedule *s, const struct schedule_pool *p)
{
    size_t ready = p->target->ready;

    for (uint32_t i = 0; i < p->skill_count; i++)
        ready += p->skills[i]->ready;
    for (struct map_node *n = p == s->default_pool ? map_begin(&s->targets) : NULL; n;
         n = map_after(&s->targets, n)) {
        const struct target *t = map_entry(n, struct target, node);

        if (t->by == TARGET_DEFAULT || (t->by == TARGET_SKILL && t->count == 0))
            ready += t->ready;
    }
    return ready;
}

void schedule_enable_pool(struct schedule *s, struct schedule_pool *p, bool enabled)
{
    if (enabled && !p->enabled)
        unblock_pool(s, p);
    p->enabled = enabled;
}

void schedule_close_pool(struct schedule *s, struct schedule_pool *p)
{
    (void)s;
    p->closed = true;
}

void schedule_open_pool(struct schedule *s, struct schedule_pool *p)
{
    if (p->closed)
        unblock_pool(s, p);
    p->closed = false;
}

void schedule_pool_changed(struct schedule *s, struct schedule_pool *p)
{
    unblock_global(s);
    unblock_slots(s);
    if (p) {
        unblock_pool(s, p);
        pool_look(s, p);
        return;
    }
    list_foreach (n, &s->pools) {
        struct schedule_pool *each = list_entry(n, struct schedule_pool, link);

        unblock_pool(s, each);
        pool_look(s, each);
    }
}

/* Limits with a burst change by themselves, and whoever settles first sees it: so what was seen is kept here. */
void pools_settle(struct schedule *s, struct instant now)
{
    bool any = false;

    if (now.ns == s->settled_at.ns)
        return;
    s->settled_at = now;
    list_foreach (n, &s->pools) {
        struct schedule_pool *p = list_entry(n, struct schedule_pool, link);
        size_t limit;

        if (p->account->burst.places == 0)
            continue;
        any = true;
        permit_settle(p->account, now);
        limit = permit_limit(p->account);
        if (limit > p->limit_seen)
            unblock_pool(s, p);
        p->limit_seen = limit;
    }
    s->bursts = any;
}

/* ---- skills that nobody offers ---- */

const char *schedule_take_unoffered(struct schedule *s)
{
    if (!s->look_unoffered || s->default_pool)
        return NULL;
    list_foreach (n, &s->unoffered) {
        struct target *t = list_entry(n, struct target, unoffered);

        if (t->told || t->ready == 0)
            continue;
        t->told = true;
        t->refs++;
        s->told++;
        return t->name;
    }
    s->look_unoffered = false;
    return NULL;
}
