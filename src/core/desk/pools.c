/*
 * The desk's pools: each is a pool of the dispatcher, one batch in it for all attempts, and a place
 * in the schedule.
 *
 * When an offer says that nothing can start in a pool, it is closed in the schedule, so that
 * nothing more is chosen for it in this turn: until a time that the gate has named, or until the
 * next turn, or until something of it ends.
 */
#include "core/desk/internal.h"

#include "base/error.h"
#include "base/mem.h"
#include "core/worker/crew.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* ---- slots ---- */

/* Unknown names that are kept beyond those that are in use. */
#define SLOTS_SPARE 64

static uint64_t hash_of(const struct desk *d, struct slice name)
{
    return map_hash(name.data, name.len, (uintptr_t)d);
}

static struct desk_slot_kind *find_slots(const struct desk *d, struct slice name)
{
    for (struct map_node *n = map_find(&d->slots, hash_of(d, name)); n; n = map_again(n)) {
        struct desk_slot_kind *k = map_entry(n, struct desk_slot_kind, node);

        if (slice_equal((struct slice){k->name, k->name_len}, name))
            return k;
    }
    return NULL;
}

/* Without places. NULL: no memory. */
static struct desk_slot_kind *make_slots(struct desk *d, struct slice name)
{
    struct desk_slot_kind *k = mem_calloc(1, sizeof *k + name.len + 1);

    if (!k || !permit_slots_init(&k->slots, 0))
        return mem_free(k);
    memcpy(k->name, name.data, name.len);
    k->name_len = name.len;
    list_push_back(&d->slot_kinds, &k->link);
    map_put(&d->slots, &k->node, hash_of(d, name));
    return k;
}

static void free_slots(struct desk *d, struct desk_slot_kind *k)
{
    map_remove(&d->slots, &k->node);
    list_remove(&k->link);
    permit_slots_free(&k->slots);
    mem_free(k);
}

/*
 * Names that only tasks have had, and none has any more: whoever submits must not fill the memory
 * with them.
 */
static void sweep_slots(struct desk *d)
{
    if (d->slots.count < d->slots_sweep_at)
        return;
    list_foreach_safe (node, &d->slot_kinds) {
        struct desk_slot_kind *k = list_entry(node, struct desk_slot_kind, link);

        if (k->slots.count == 0 && k->slots.taken == 0 && k->slots.refs == 0)
            free_slots(d, k);
    }
    d->slots_sweep_at = 2 * d->slots.count + SLOTS_SPARE;
}

enum weir_status desk_set_slots(struct desk *d, const char *name, uint32_t count,
                                struct weir_error *err)
{
    struct desk_slot_kind *k = find_slots(d, slice_of(name));
    bool before = k && k->slots.count > 0;

    if (!before && count == 0)
        return WEIR_OK;
    if (!before && d->slots_configured == DESK_SLOTS_MAX)
        return error_set(err, WEIR_E_LIMIT,
                         "there are %d kinds of slots already, the most that can be: take one away",
                         DESK_SLOTS_MAX);
    if (!k)
        k = make_slots(d, slice_of(name));
    if (!k || !permit_slots_resize(&k->slots, count))
        return error_nomem(err);
    d->slots_configured = d->slots_configured - before + (count > 0);
    schedule_pool_changed(d->schedule, NULL);
    return WEIR_OK;
}

size_t desk_slots(const struct desk *d, struct desk_slots *ret, size_t max)
{
    size_t count = 0;

    list_foreach (node, &d->slot_kinds) {
        const struct desk_slot_kind *k = list_entry(node, struct desk_slot_kind, link);

        if (count < max && (k->slots.count > 0 || k->slots.taken > 0))
            ret[count++] = (struct desk_slots){k->name, k->slots.count, k->slots.taken};
    }
    return count;
}

/* A name that nobody has configured is a resource without places: what asks for it waits, and is told so. */
bool slots_resolve(struct desk *d, struct slice names, struct permit_slots *ret[PERMIT_SLOTS_MAX])
{
    memset(ret, 0, PERMIT_SLOTS_MAX * sizeof *ret);
    if (names.len > 0)
        sweep_slots(d); /* before: what is made here is no line's yet */
    for (size_t n = 0; names.len > 0 && n < PERMIT_SLOTS_MAX; n++) {
        const char *comma = memchr(names.data, ',', names.len);
        struct slice name = {names.data, comma ? (size_t)(comma - names.data) : names.len};
        struct desk_slot_kind *k = find_slots(d, name);

        if (!k)
            k = make_slots(d, name);
        if (!k)
            return false;
        ret[n] = &k->slots;
        names.data += name.len + (comma != NULL);
        names.len -= name.len + (comma != NULL);
    }
    return true;
}

/* ---- making ---- */

static void free_skills(struct desk_pool_options *o)
{
    mem_free((void *)(uintptr_t)o->fallback);
    o->fallback = NULL;
    for (size_t i = 0; i < o->skill_count; i++)
        mem_free((void *)o->skills[i]);
    mem_free((void *)o->skills);
    o->skills = NULL;
    o->skill_count = 0;
}

/* The options with skills of their own. False: no memory. */
static bool copy_options(struct desk_pool_options *to, const struct desk_pool_options *from)
{
    const char **skills = mem_calloc(from->skill_count + 1, sizeof *skills);

    *to = *from;
    to->skills = skills;
    to->skill_count = 0;
    to->fallback = from->fallback ? mem_strdup(from->fallback) : NULL;
    if (!skills || (from->fallback && !to->fallback)) {
        free_skills(to);
        return false;
    }
    for (; to->skill_count < from->skill_count; to->skill_count++) {
        skills[to->skill_count] = mem_strdup(from->skills[to->skill_count]);
        if (!skills[to->skill_count]) {
            free_skills(to);
            return false;
        }
    }
    return true;
}

static void apply_limits(struct desk_pool *p, struct instant now)
{
    struct permit_account *a = core_pool_permits(p->core);
    const struct desk_pool_options *o = &p->options;

    permit_settle(a, now);
    a->cpu_milli_limit = o->cpu_milli;
    a->memory_mib_limit = o->memory_mib;
    a->reserve = o->reserve;
    schedule_pool_changed(p->desk->schedule, p->place);
}

static void free_pool(struct desk_pool *p)
{
    free_skills(&p->options);
    mem_free(p->name);
    mem_free(p);
}

/*
 * Rows of its batch: those that run, with a burst, and as many that have ended since the last turn.
 */
static uint32_t rows_for(size_t limit, size_t burst)
{
    static_assert(POOL_SIZE_MAX <= BATCH_WINDOW_ROWS_MAX / 4, "a limit and a burst, twice");
    return (uint32_t)(limit + burst) * 2;
}

static enum weir_status open_batch(struct desk_pool *p, struct instant now, struct weir_error *err)
{
    struct core_batch_options o;
    uint32_t rows = rows_for(core_pool_get_options(p->core)->size, p->options.burst_places);

    core_batch_options_init(&o);
    o.unordered = o.single = true;
    o.prepare = attempt_prepare;
    o.prepare_ctx = p;
    if (rows > o.window_rows)
        o.window_rows = rows;
    return dispatcher_open_batch(p->desk->dispatcher, p->core, &o, p, now, &p->batch, err);
}

/* The batch is without rows. */
static void close_batch(struct desk_pool *p, struct instant now)
{
    dispatcher_end(p->desk->dispatcher, p->batch, now);
    dispatcher_free_batch(p->desk->dispatcher, p->batch);
    p->batch = NULL;
}

/* The last one of its name that still has something running: together they have the limits of the new one. */
static void follow_predecessor(struct desk_pool *p)
{
    list_foreach (node, &p->desk->pools) {
        struct desk_pool *old = list_entry(node, struct desk_pool, link);

        if (old->core && strcmp(old->name, p->name) == 0)
            core_pool_permits(p->core)->before = core_pool_permits(old->core);
    }
}

/* Nothing of it runs any more. */
static void stop_leading(struct desk_pool *p)
{
    const struct permit_account *own = core_pool_permits(p->core);

    list_foreach (node, &p->desk->pools) {
        struct desk_pool *other = list_entry(node, struct desk_pool, link);

        if (other->core && core_pool_permits(other->core)->before == own)
            core_pool_permits(other->core)->before = own->before;
    }
}

enum weir_status desk_add_pool(struct desk *d, struct core_pool *pool,
                               const struct desk_pool_options *o, struct instant now,
                               struct desk_pool **ret, struct weir_error *err)
{
    struct desk_pool *p = d->ending ? NULL : mem_calloc(1, sizeof *p), *old;
    enum weir_status status;

    if (d->ending)
        return error_set(err, WEIR_E_SHUTDOWN, "the dispatcher is stopping; it takes no new pool");
    if (!p)
        return error_nomem(err);
    p->desk = d;
    p->core = pool;
    p->name = mem_strdup(core_pool_get_options(pool)->name);
    list_init(&p->busy);
    list_init(&p->link);
    if (!p->name || !copy_options(&p->options, o)) {
        free_pool(p);
        return error_nomem(err);
    }
    status = dispatcher_set_pool_burst(pool, o->burst_places, o->burst_seconds, now, err);
    if (status == WEIR_OK)
        status = open_batch(p, now, err);
    if (status != WEIR_OK) {
        free_pool(p);
        return status;
    }
    old = desk_find_pool(d, p->name);
    p->is_default = old && old->is_default;
    follow_predecessor(p);
    list_push_back(&d->pools, &p->link); /* before the old one goes, whose heir it is */
    p->place = schedule_add_pool(d->schedule, p->name, core_pool_permits(pool), p->options.skills,
                                 p->options.skill_count, p);
    if (!p->place) {
        close_batch(p, now); /* while it is known as the desk's */
        list_remove(&p->link);
        free_pool(p);
        return error_nomem(err);
    }
    if (old)
        desk_remove_pool(d, old, now);
    if (p->is_default)
        schedule_set_default_pool(d->schedule, p->place);
    p->enabled = true;
    p->open_at = INSTANT_NONE;
    apply_limits(p, now);
    if (o->disabled)
        desk_enable_pool(d, p, false, now);
    *ret = p;
    return WEIR_OK;
}

enum weir_status desk_change_pool(struct desk *d, struct desk_pool *p,
                                  const struct desk_pool_options *o, struct instant now,
                                  struct weir_error *err)
{
    uint32_t rows = rows_for(core_pool_get_options(p->core)->size, o->burst_places);
    struct desk_pool_options copy;
    struct schedule_skills skills;
    enum weir_status status = WEIR_OK;

    if (!copy_options(&copy, o))
        return error_nomem(err);
    if (!schedule_get_skills(d->schedule, copy.skills, copy.skill_count, &skills)) {
        free_skills(&copy);
        return error_nomem(err);
    }
    /* Room that nobody uses is no change; the burst is the first that one could see. */
    if (o->burst_places <= POOL_SIZE_MAX)
        status = dispatcher_widen_batch(p->batch, rows, err);
    if (status == WEIR_OK)
        status = dispatcher_set_pool_burst(p->core, o->burst_places, o->burst_seconds, now, err);
    if (status != WEIR_OK) {
        schedule_drop_skills(d->schedule, &skills);
        free_skills(&copy);
        return status;
    }
    schedule_put_skills(d->schedule, p->place, &skills);
    copy.disabled = p->options.disabled;
    copy.ops = p->options.ops;
    copy.ctx = p->options.ctx;
    free_skills(&p->options);
    p->options = copy;
    apply_limits(p, now);
    return WEIR_OK;
}

enum weir_status desk_set_limit(struct desk *d, struct desk_pool *p, size_t limit,
                                struct instant now, struct weir_error *err)
{
    size_t before = core_pool_permits(p->core)->limit;
    enum weir_status status = WEIR_OK;
    char detail[96];

    if (limit <= POOL_SIZE_MAX)
        status = dispatcher_widen_batch(p->batch, rows_for(limit, p->options.burst_places), err);
    if (status == WEIR_OK)
        status = dispatcher_set_pool_limit(d->dispatcher, p->core, limit, now, err);
    if (status != WEIR_OK || before == limit)
        return status;
    snprintf(detail, sizeof detail, "{\"from\":%zu,\"to\":%zu}", before, limit);
    desk_tell(d, REGISTRY_LIMIT_CHANGED, p, detail, now);
    schedule_pool_changed(d->schedule, p->place);
    return WEIR_OK;
}

void desk_set_global_limit(struct desk *d, size_t limit, struct instant now)
{
    size_t before = dispatcher_permits(d->dispatcher)->limit;
    char detail[96];

    dispatcher_set_global_limit(d->dispatcher, limit);
    if (before != dispatcher_permits(d->dispatcher)->limit) {
        snprintf(detail, sizeof detail, "{\"from\":%zu,\"to\":%zu}",
                 before == PERMITS_UNLIMITED ? 0 : before, limit);
        desk_tell(d, REGISTRY_LIMIT_CHANGED, NULL, detail, now);
    }
    schedule_pool_changed(d->schedule, NULL);
}

void desk_enable_pool(struct desk *d, struct desk_pool *p, bool enabled, struct instant now)
{
    if (p->enabled == enabled || p->leaving)
        return;
    p->enabled = enabled;
    schedule_enable_pool(d->schedule, p->place, enabled);
    desk_tell(d, REGISTRY_POOL_CHANGED, p, enabled ? "{\"enabled\":true}" : "{\"enabled\":false}",
              now);
}

bool desk_pool_enabled(const struct desk_pool *p)
{
    return p->enabled;
}

void desk_reset_breaker(struct desk_pool *p, struct instant now)
{
    dispatcher_reset_breaker(p->core, now);
    p->open_at = INSTANT_NONE;
}

bool desk_pool_leaves(const struct desk_pool *p)
{
    return p->leaving;
}

bool desk_set_default_pool(struct desk *d, const char *name)
{
    struct desk_pool *p = name ? desk_find_pool(d, name) : NULL;

    list_foreach (node, &d->pools)
        list_entry(node, struct desk_pool, link)->is_default = false;
    if (p)
        p->is_default = true;
    schedule_set_default_pool(d->schedule, p ? p->place : NULL);
    return p != NULL;
}

struct desk_pool *desk_find_pool(struct desk *d, const char *name)
{
    list_foreach (node, &d->pools) {
        struct desk_pool *p = list_entry(node, struct desk_pool, link);

        if (!p->leaving && strcmp(p->name, name) == 0)
            return p;
    }
    return NULL;
}

struct core_pool *desk_core_pool(const struct desk_pool *p)
{
    return p->core;
}

/* ---- going ---- */

/* Whoever has its name goes on counting where it has ended: what is counted never goes back. */
static void bequeath(struct desk_pool *p)
{
    struct desk_pool *heir = desk_find_pool(p->desk, p->name);
    struct crew *crew = core_pool_crew(p->core);
    struct core_stats stats;

    if (!heir)
        return;
    dispatcher_pool_stats(p->core, &stats);
    p->counts.before.late_reports += stats.late_reports;
    p->counts.before.breaker_opened += stats.breaker_opened;
    if (crew) {
        struct affinity_counts sessions = affinity_counts(crew_affinity(crew));
        struct crew_counts workers = crew_counts(crew);

        p->counts.before.session_hits += sessions.hits;
        p->counts.before.session_misses += sessions.misses;
        p->counts.before.session_rebinds += sessions.rebinds;
        p->counts.before.session_expiries += sessions.expiries;
        p->counts.before.workers_lost += workers.lost + workers.killed;
    }
    desk_counts_add(&heir->counts, &p->counts);
}

struct desk_counts *pool_counts(struct desk_pool *p)
{
    struct desk_pool *heir = p->batch ? NULL : desk_find_pool(p->desk, p->name);

    return heir ? &heir->counts : &p->counts;
}

/*
 * Nothing of it runs. It goes when its workers are gone too, and its name is in no op any more.
 */
static void leave(struct desk_pool *p, struct instant now)
{
    struct desk *d = p->desk;

    if (p->batch) {
        bequeath(p);
        stop_leading(p);
        window_leave_pool(p, now);
        schedule_remove_pool(d->schedule, p->place);
        p->place = NULL;
        close_batch(p, now);
        p->going = p->core;
        p->core = NULL;
        dispatcher_remove_pool(d->dispatcher, p->going, now);
        if (!d->ending)
            desk_tell(d, REGISTRY_POOL_CHANGED, p, "{\"removed\":true}", now);
    }
    if (p->going || p->unwritten > 0)
        return;
    list_remove(&p->link);
    if (p->options.ops->gone)
        p->options.ops->gone(p->options.ctx);
    free_pool(p);
}

/* Callbacks that were left behind count as running: they have their places. */
void pool_release(struct desk_pool *p, struct instant now)
{
    if (p->leaving && p->running == 0 && (!p->batch || core_pool_permits(p->core)->running == 0))
        leave(p, now);
}

void desk_pool_gone(struct desk *d, const struct core_pool *pool, struct instant now)
{
    list_foreach (node, &d->pools) {
        struct desk_pool *p = list_entry(node, struct desk_pool, link);

        if (p->going != pool)
            continue;
        p->going = NULL;
        pool_release(p, now);
        return;
    }
}

static void release_leaving(struct desk *d, struct instant now)
{
    list_foreach_safe (node, &d->pools)
        pool_release(list_entry(node, struct desk_pool, link), now);
}

void desk_remove_pools(struct desk *d, struct instant now)
{
    d->ending = true;
    list_foreach_safe (node, &d->pools)
        desk_remove_pool(d, list_entry(node, struct desk_pool, link), now);
}

size_t desk_pool_count(const struct desk *d)
{
    size_t n = 0;

    list_foreach (node, &d->pools)
        n++;
    return n;
}

void desk_remove_pool(struct desk *d, struct desk_pool *p, struct instant now)
{
    if (p->leaving)
        return;
    p->leaving = true;
    schedule_leave_pool(d->schedule, p->place);
    pool_release(p, now);
}

void desk_slots_free(struct desk *d)
{
    struct list *node;

    while ((node = list_front(&d->slot_kinds)))
        free_slots(d, list_entry(node, struct desk_slot_kind, link));
    map_free(&d->slots);
}

/* ---- broken ---- */

bool pool_is_broken(const struct desk_pool *p, struct instant now)
{
    struct core_stats stats;

    if (!core_pool_get_options(p->core)->breaker.on)
        return false;
    dispatcher_pool_stats(p->core, &stats);
    return stats.breaker == BREAKER_OPEN && instant_before(now, stats.breaker_open_until);
}

struct desk_pool *pool_refuge(const struct desk_pool *p, struct instant now)
{
    struct desk_pool *f = p->options.fallback ? desk_find_pool(p->desk, p->options.fallback) : NULL;

    return f && f != p && f->enabled && !pool_is_broken(f, now) ? f : NULL;
}

/* ---- closed for now ---- */

void pool_close(struct desk_pool *p, struct instant until)
{
    p->closed = true;
    p->open_at = until;
    schedule_close_pool(p->desk->schedule, p->place);
}

void pool_barred(struct desk_pool *p, struct instant until)
{
    p->bars = true;
    p->desk->unbar_at = instant_min(p->desk->unbar_at, until);
}

void pool_has_room(struct desk_pool *p)
{
    struct desk_pool *heir = p->leaving ? desk_find_pool(p->desk, p->name) : NULL;

    if (heir) {
        schedule_pool_changed(p->desk->schedule, heir->place);
        pool_has_room(heir);
    }
    p->open_at = INSTANT_NONE;
    if (p->bars)
        p->desk->unbar_at = INSTANT_NONE;
    p->bars = false;
}

void pools_open(struct desk *d, struct instant now)
{
    release_leaving(d, now);
    if (!instant_before(now, d->unbar_at)) {
        d->unbar_at = INSTANT_NEVER;
        schedule_unbar(d->schedule);
    }
    list_foreach (node, &d->pools) {
        struct desk_pool *p = list_entry(node, struct desk_pool, link);

        if (!p->place)
            continue;
        if (p->options.burst_places > 0) {
            struct permit_account *a = core_pool_permits(p->core);
            size_t before = permit_limit(a);

            permit_settle(a, now);
            if (permit_limit(a) != before)
                schedule_pool_changed(d->schedule, p->place);
        }
        if (p->closed && !instant_before(now, p->open_at)) {
            p->closed = false;
            schedule_open_pool(d->schedule, p->place);
        }
    }
}

struct instant pools_wake(const struct desk *d)
{
    struct instant wake = d->unbar_at;

    list_foreach (node, &d->pools) {
        const struct desk_pool *p = list_entry(node, struct desk_pool, link);

        if (p->place && p->closed && !instant_is_none(p->open_at))
            wake = instant_min(wake, p->open_at);
        if (p->place && p->options.burst_places > 0)
            wake = instant_min(wake, permit_settles_at(core_pool_permits(p->core), INSTANT_NONE));
    }
    return wake;
}

const struct desk_pool_options *desk_pool_get_options(const struct desk_pool *p)
{
    return &p->options;
}

const struct desk_counts *desk_pool_counts(const struct desk_pool *p)
{
    return &p->counts;
}

void desk_pools(struct desk *d, desk_pool_fn fn, void *ctx)
{
    list_foreach (node, &d->pools)
        fn(ctx, list_entry(node, struct desk_pool, link));
}
