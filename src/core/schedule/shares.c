/*
 * Tenants, and what each has had.
 */
#include "core/schedule/internal.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

static struct tenant *tenant_new(struct schedule *s, struct slice name, uint64_t hash)
{
    struct tenant *t = mem_alloc(sizeof *t + name.len + 1);

    if (!t)
        return NULL;
    *t = (struct tenant){.weight = 1, .seq = ++s->tenant_seq, .name_len = name.len};
    if (name.len)
        memcpy(t->name, name.data, name.len);
    t->name[name.len] = '\0';
    list_init(&t->queues);
    list_init(&t->link);
    map_put(&s->tenants, &t->node, hash);
    return t;
}

struct tenant *tenant_get(struct schedule *s, struct slice name)
{
    uint64_t hash = map_hash(name.data, name.len, s->seed);

    for (struct map_node *n = map_find(&s->tenants, hash); n; n = map_again(n)) {
        struct tenant *t = map_entry(n, struct tenant, node);

        if (slice_equal(name, (struct slice){t->name, t->name_len}))
            return t;
    }
    return tenant_new(s, name, hash);
}

static void leave_gone(struct schedule *s, struct tenant *t)
{
    if (list_empty(&t->link))
        return;
    list_remove(&t->link);
    s->gone_count--;
}

static void tenant_free(struct schedule *s, struct tenant *t)
{
    leave_gone(s, t);
    map_remove(&s->tenants, &t->node);
    mem_free(t);
}

void tenant_add_line(struct schedule *s, struct tenant *t)
{
    t->lines++;
    leave_gone(s, t);
}

void tenant_release(struct schedule *s, struct tenant *t, bool line)
{
    if (line)
        t->lines--;
    if (t->lines > 0 || t->weighted || !list_empty(&t->link))
        return;
    assert(t->ready == 0 && t->running == 0);
    list_push_back(&s->gone, &t->link);
    if (++s->gone_count > SCHEDULE_TENANTS_GONE_MAX)
        tenant_free(s, list_entry(list_front(&s->gone), struct tenant, link));
}

void tenants_free(struct schedule *s)
{
    struct map_node *next;

    for (struct map_node *n = map_begin(&s->tenants); n; n = next) {
        next = map_after(&s->tenants, n);
        tenant_free(s, map_entry(n, struct tenant, node));
    }
}

bool schedule_set_weight(struct schedule *s, struct slice tenant, double weight)
{
    struct tenant *t = tenant_get(s, tenant);

    if (!t)
        return false;
    if (!(weight >= SCHEDULE_WEIGHT_MIN))
        weight = SCHEDULE_WEIGHT_MIN;
    t->weight = weight > SCHEDULE_WEIGHT_MAX ? SCHEDULE_WEIGHT_MAX : weight;
    t->weighted = t->weight != 1;
    if (t->weighted)
        leave_gone(s, t);
    else
        tenant_release(s, t, false);
    return true;
}

/* The order of doubles that are not negative is that of their bits. */
struct order_key tenant_key(const struct tenant *t)
{
    struct order_key key = {0, (int64_t)t->seq};

    memcpy(&key.first, &t->had, sizeof key.first);
    return key;
}

static void tenant_settle(struct schedule *s, struct tenant *t)
{
    if (!is_fair(s))
        return;
    list_foreach (n, &t->queues)
        queue_settle(s, list_entry(n, struct queue, link));
}

/* It never is below nothing, whatever roundings leave. */
static void have(struct tenant *t, double more)
{
    t->had += more;
    if (!(t->had > 0))
        t->had = 0;
}

static double seconds_of(duration_ns work_ns)
{
    return duration_seconds(work_ns > SCHEDULE_WORK_MIN_NS ? work_ns : SCHEDULE_WORK_MIN_NS);
}

static void take_mean(double *mean_s, uint32_t *mean_of, double work_s)
{
    if (*mean_of < MEAN_OF)
        ++*mean_of;
    *mean_s += (work_s - *mean_s) / *mean_of;
}

/*
 * Nothing ready, nothing running, and nothing on its way: what comes now finds it level with the
 * others.
 */
static void level_if_idle(struct schedule *s, struct tenant *t, const struct target *target)
{
    double level;

    if (t->ready > 0 || t->running > 0 || t->expecting > 0)
        return;
    level = target_level(s, target);
    if (level > t->had) {
        t->had = level;
        tenant_settle(s, t);
    }
}

void tenant_ready(struct schedule *s, struct tenant *t, const struct target *target)
{
    level_if_idle(s, t, target);
    t->ready++;
}

void tenant_expect(struct schedule *s, struct tenant *t, const struct target *target)
{
    level_if_idle(s, t, target);
    t->expecting++;
}

void tenant_start(struct schedule *s, struct tenant *t, struct schedule_pool *p)
{
    double charge = t->mean_of ? t->mean_s : s->mean_of ? s->mean_s : 1;

    p->level = t->had;
    p->started = true;
    charge /= t->weight;
    t->charged += charge;
    t->running++;
    have(t, charge);
    tenant_settle(s, t);
}

void tenant_end(struct schedule *s, struct tenant *t, duration_ns work_ns)
{
    double work_s = seconds_of(work_ns), charge;

    assert(t->running > 0);
    charge = t->charged / (double)t->running;
    t->running--;
    t->charged = t->running ? t->charged - charge : 0;
    have(t, work_s / t->weight - charge);
    take_mean(&t->mean_s, &t->mean_of, work_s);
    take_mean(&s->mean_s, &s->mean_of, work_s);
    tenant_settle(s, t);
}

static void tell_share(const struct map_node *n, schedule_share_fn fn, void *ctx)
{
    const struct tenant *t = map_entry(n, struct tenant, node);

    fn(ctx, &(struct schedule_share){.tenant = {t->name, t->name_len},
                                     .weight = t->weight,
                                     .had = t->had,
                                     .ready = t->ready,
                                     .running = t->running});
}

void schedule_shares(const struct schedule *s, schedule_share_fn fn, void *ctx)
{
    for (struct map_node *n = map_begin(&s->tenants); n; n = map_after(&s->tenants, n))
        tell_share(n, fn, ctx);
}

bool schedule_some_shares(const struct schedule *s, size_t *place, size_t some,
                          schedule_share_fn fn, void *ctx)
{
    const struct map_node *n;

    /* An empty chain is looked at too. */
    for (size_t looks = 0; looks < some && map_chain(&s->tenants, *place, &n); looks++, ++*place)
        for (; n; n = n->next, looks++)
            tell_share(n, fn, ctx);
    return map_chain(&s->tenants, *place, &n);
}
