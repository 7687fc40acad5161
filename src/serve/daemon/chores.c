/*
 * What is due now and then: the search for deadlocks, what is old enough to go, the history, and limits that follow
 * something. What is written is not waited for.
 */
#include "base/mem.h"
#include "serve/daemon/house.h"
#include "serve/pools/machine.h"

#include "loop/loop.h"

#include <string.h>

#define LOOK_NS  NS_PER_S
#define PURGE_NS (60 * NS_PER_S)
/* Rows that go in one transaction: a bite that holds nobody up for long. */
#define PURGE_ROWS 2000

struct chore_op {
    struct registry_op op; /* first */
    struct house *house;
    char pool[REGISTRY_NAME_BYTES_MAX + 1]; /* of a sample */
};

static struct chore_op *new_op(struct house *h, enum registry_op_kind kind,
                               void (*done)(struct registry_op *op))
{
    struct chore_op *c = mem_calloc(1, sizeof *c);

    if (c) {
        c->op.kind = kind;
        c->op.done = done;
        c->house = h;
    }
    return c;
}

static struct chore_op *of(struct registry_op *op)
{
    return (struct chore_op *)(void *)op;
}

/* ---- deadlocks ---- */

static void checked(struct registry_op *op)
{
    struct house *h = of(op)->house;

    if (op->err.status == WEIR_OK) {
        atomic_store(&h->deadlocks, (unsigned long)op->check.ret_stuck);
        if (op->check.ret_new > 0)
            daemon_log(
                h->log, CONFIG_WARNING,
                "%llu more tasks wait for what can never be: weir task list --stuck shows them, "
                "weir task resolve ends it",
                (unsigned long long)op->check.ret_new);
    }
    atomic_store(&h->checking, false);
    mem_free(op);
}

static void check(struct house *h)
{
    struct chore_op *c;

    if (atomic_exchange(&h->checking, true))
        return; /* the one before is not through */
    c = new_op(h, REGISTRY_CHECK, checked);
    if (c)
        engine_tasks_send(h->tasks, &c->op);
    else
        atomic_store(&h->checking, false);
}

/* ---- what is old enough ---- */

static void purged(struct registry_op *op)
{
    struct house *h = of(op)->house;

    atomic_store(&h->purge_more, op->err.status == WEIR_OK && op->purge.ret_more);
    atomic_store(&h->purging, false);
    mem_free(op);
    house_wake(h);
}

static int64_t before(duration_ns keep_ns)
{
    return keep_ns > 0 ? loop_wall_clock_ns() - keep_ns : 0;
}

static void purge(struct house *h)
{
    struct chore_op *c;

    if (atomic_exchange(&h->purging, true))
        return;
    c = new_op(h, REGISTRY_PURGE, purged);
    if (!c) {
        atomic_store(&h->purging, false);
        return;
    }
    pthread_mutex_lock(&h->config_lock);
    c->op.purge = (struct registry_purge){
        .tasks_before_ns = before(h->config->retention.done_ns),
        .failed_before_ns = before(h->config->retention.failed_ns),
        .events_before_ns = before(h->config->retention.events_ns),
        .events_max = (uint64_t)h->config->retention.events_max,
        .max = PURGE_ROWS,
    };
    pthread_mutex_unlock(&h->config_lock);
    engine_tasks_send(h->tasks, &c->op);
}

/* ---- history, and limits that follow ---- */

/* What is looked at on the engine's thread. */
struct look {
    struct house *house;
    struct machine machine;
    struct instant now;
    int64_t wall_ns;
    uint64_t started, finished, failed;
};

static void look_at_pool(void *ctx, struct desk_pool *p)
{
    struct look *l = ctx;
    const struct core_pool *core = desk_core_pool(p);
    const struct permit_account *a;
    const struct desk_counts *n = desk_pool_counts(p);

    if (!core)
        return;
    a = core_pool_permits(desk_core_pool(p));
    l->started += n->started;
    l->finished += n->done;
    l->failed += n->failed;
    (void)history_look(l->house->history,
                       &(struct history_look){.pool = slice_of(core_pool_get_options(core)->name),
                                              .running = a->running,
                                              .limit = permit_limit(a),
                                              .started = n->started,
                                              .finished = n->done,
                                              .failed = n->failed},
                       l->wall_ns);
}

static void follow(struct desk *d, struct house_pool *hp, struct look *l)
{
    struct desk_pool *p = desk_find_pool(d, hp->name);
    const struct pool_program *program;
    const struct permit_account *a;
    size_t limit;

    if (!p)
        return;
    program = desk_pool_get_options(p)->ctx;
    a = core_pool_permits(desk_core_pool(p));
    limit = follow_step(&hp->follow, l->now,
                        &(struct follow_reading){
                            .value = machine_reading(&l->machine, hp->follow.options.what),
                            /* Of a queue tasks are counted, and else what its limit counts. */
                            .running = hp->follow.options.what == FOLLOW_QUEUE
                                           ? a->running
                                           : poolset_places(program, a->running),
                            .queued = hp->queued,
                        });
    limit = poolset_limit(program, limit);
    if (limit != a->limit && desk_set_limit(d, p, limit, l->now, NULL) != WEIR_OK)
        return; /* no memory: the next look tries it again */
}

static void look(struct desk *d, struct instant now, void *ctx)
{
    struct look *l = ctx;
    const struct permits *p = desk_permits(d);

    l->now = now;
    desk_pools(d, look_at_pool, l);
    (void)history_look(l->house->history,
                       &(struct history_look){.running = p->running,
                                              .limit = p->limit == PERMITS_UNLIMITED ? 0 : p->limit,
                                              .started = l->started,
                                              .finished = l->finished,
                                              .failed = l->failed},
                       l->wall_ns);
    for (size_t i = 0; i < l->house->planned_count; i++)
        if (l->house->planned[i].follows)
            follow(d, &l->house->planned[i], l);
}

static void sampled(struct registry_op *op)
{
    mem_free(op);
}

static void write_history(struct house *h, int64_t wall_ns)
{
    struct registry_sample s;

    while (history_take(h->history, wall_ns, &s)) {
        struct chore_op *c = new_op(h, REGISTRY_SAMPLE, sampled);

        if (!c)
            return;
        memcpy(c->pool, s.pool.data, s.pool.len);
        c->op.sample = s;
        c->op.sample.pool.data = c->pool;
        engine_tasks_send(h->tasks, &c->op);
    }
}

/* Whether the tasks of a target ("skill:NAME", a pool's name, or empty: the default pool) may run in the pool. */
static bool may_run_in(const struct house *h, const struct house_pool *p, struct slice target)
{
    static const struct slice skill = {"skill:", 6};

    if (target.len == 0)
        return h->config->default_pool && strcmp(h->config->default_pool, p->name) == 0;
    if (slice_equal(target, slice_of(p->name)))
        return true;
    if (target.len <= skill.len || memcmp(target.data, skill.data, skill.len) != 0)
        return false;
    for (size_t i = 0; i < p->plan.desk.skill_count; i++)
        if (slice_equal(slice_of(p->plan.desk.skills[i]),
                        (struct slice){target.data + skill.len, target.len - skill.len}))
            return true;
    return false;
}

static bool count_queued(void *ctx, const struct registry_tally *t)
{
    struct house *h = ctx;

    for (size_t i = 0; i < h->planned_count; i++)
        if (h->planned[i].follows && may_run_in(h, &h->planned[i], t->target))
            h->planned[i].queued += t->states[REGISTRY_READY];
    return true;
}

/* How many tasks wait for each pool whose limit follows something: also load and memory, after
 * which it comes up again only where some do. */
static void count_queues(struct house *h)
{
    struct api_backend *b = backend_api(h->backend);
    struct registry_reader *r;
    bool any = false;

    for (size_t i = 0; i < h->planned_count; i++) {
        any |= h->planned[i].follows;
        h->planned[i].queued = 0;
    }
    if (!any || b->ops->take_reader(b, &r, NULL) != WEIR_OK)
        return;
    (void)r->ops->tallies(r, count_queued, h, NULL);
    b->ops->give_reader(b, r);
}

static void look_around(struct house *h)
{
    struct look l = {.house = h, .wall_ns = loop_wall_clock_ns()};
    bool keeps_history;

    machine_read(&l.machine);
    pthread_mutex_lock(&h->config_lock); /* of the pools that are planned */
    count_queues(h);
    engine_tasks_call(h->tasks, look, &l);
    keeps_history = h->config->history;
    pthread_mutex_unlock(&h->config_lock);
    if (keeps_history)
        write_history(h, l.wall_ns);
}

/* Whoever looks into the log at night looks there first. */
static void tell_of_store(struct house *h)
{
    struct engine_tasks_stats stats;

    engine_tasks_get_stats(h->tasks, &stats);
    if (stats.clerk.failing == h->store_failed)
        return;
    h->store_failed = stats.clerk.failing;
    if (h->store_failed)
        daemon_log(h->log, CONFIG_ERROR,
                   "the store takes nothing, so no task is accepted or started: %s",
                   stats.clerk.message);
    else
        daemon_log(h->log, CONFIG_WARNING, "the store takes what is written again");
}

/* Whether it is due; and then, when the next one is. */
static bool is_due(struct instant *at, duration_ns each_ns, struct instant now)
{
    if (instant_before(now, *at))
        return false;
    *at = instant_add(now, each_ns);
    return true;
}

/* A reload may come from the API at any time. */
static duration_ns check_each_ns(struct house *h)
{
    duration_ns each_ns;

    pthread_mutex_lock(&h->config_lock);
    each_ns = h->config->check_interval_ns;
    pthread_mutex_unlock(&h->config_lock);
    return each_ns;
}

/* SQLite goes on with a file that nobody can open any more: all of it is lost with the process. */
static void look_at_store(struct house *h)
{
    struct stat now;
    bool gone;

    pthread_mutex_lock(&h->config_lock);
    gone = stat(h->mark ? h->mark : h->config->store, &now) != 0 || now.st_dev != h->store.st_dev ||
           now.st_ino != h->store.st_ino;
    if (gone && !h->store_is_gone)
        daemon_log(h->log, CONFIG_ERROR,
                   "the store %s was removed or replaced while it is in use: what is accepted from "
                   "now on is lost when weir ends; stop it, and put back a copy of the store",
                   h->config->store);
    pthread_mutex_unlock(&h->config_lock);
    h->store_is_gone = gone;
}

struct instant chores_run(struct house *h, struct instant now)
{
    if (is_due(&h->look_at, LOOK_NS, now)) {
        clock_look(h);
        look_at_store(h);
        look_around(h);
        tell_of_store(h);
    }
    if (is_due(&h->check_at, check_each_ns(h), now))
        check(h);
    if (is_due(&h->purge_at, PURGE_NS, now) || atomic_exchange(&h->purge_more, false))
        purge(h);
    return instant_min(h->look_at, instant_min(h->check_at, h->purge_at));
}
