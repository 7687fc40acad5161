/*
 * What is due now and then: the search for deadlocks, what is old enough to go, the history, and
 * limits that follow something. What is written is not waited for.
 */
#include "base/mem.h"
#include "serve/daemon/house.h"
#include "serve/pools/machine.h"

#include "loop/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LOOK_NS  NS_PER_S
#define PURGE_NS (60 * NS_PER_S)
/* Rows that go, or are looked at, in one transaction: a bite that holds nobody up for long. */
#define PURGE_ROWS 2000
#define CHECK_ROWS 5000

struct chore_op {
    struct registry_op op; /* first */
    struct house *house;
    char text[REGISTRY_NAME_BYTES_MAX + 1]; /* a sample's pool, or a fact's value */
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

    bool more = op->err.status == WEIR_OK && op->check.ret_more;
    unsigned long told = 0;

    if (op->err.status == WEIR_OK)
        told = atomic_fetch_add(&h->deadlocks_told, (unsigned long)op->check.ret_new) +
               (unsigned long)op->check.ret_new;
    if (op->err.status == WEIR_OK && !more) {
        atomic_store(&h->deadlocks, (unsigned long)op->check.ret_stuck);
        atomic_store(&h->deadlocks_told, 0);
        if (told > 0)
            daemon_log(
                h->log, CONFIG_WARNING,
                "%lu more tasks wait for what can never be: weir task list --stuck shows them, "
                "weir task resolve ends it",
                told);
    }
    /* In this order: whoever sees that there is more may send the next one. */
    atomic_store(&h->checking, false);
    atomic_store(&h->check_more, more);
    mem_free(op);
    if (more)
        house_wake(h);
}

static void check(struct house *h)
{
    struct chore_op *c;

    if (atomic_exchange(&h->checking, true))
        return; /* the one before is not through */
    c = new_op(h, REGISTRY_CHECK, checked);
    if (!c) {
        atomic_store(&h->checking, false);
        return;
    }
    c->op.check.max = CHECK_ROWS;
    engine_tasks_send(h->tasks, &c->op);
}

/* ---- what is old enough ---- */

static void purged(struct registry_op *op)
{
    struct house *h = of(op)->house;

    atomic_store(&h->purging, false);
    atomic_store(&h->purge_more, op->err.status == WEIR_OK && op->purge.ret_more);
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
    if (poolset_by_hand(program))
        return;
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

static void written(struct registry_op *op)
{
    mem_free(op);
}

static void write_history(struct house *h, int64_t wall_ns)
{
    struct registry_sample s;

    while (history_take(h->history, wall_ns, &s)) {
        struct chore_op *c = new_op(h, REGISTRY_SAMPLE, written);

        if (!c)
            return;
        memcpy(c->text, s.pool.data, s.pool.len);
        c->op.sample = s;
        c->op.sample.pool.data = c->text;
        engine_tasks_send(h->tasks, &c->op);
    }
}

/*
 * How many looks the last sample of 10 s is the mean of, which was not complete when it was
 * written: "1700000000000000000 7".
 */
#define LOOKS_FACT "history/looks"

static void write_looks(struct house *h)
{
    int64_t from_ns = 0;
    uint64_t looks = history_looks(h->history, &from_ns);
    struct chore_op *c = looks > 0 ? new_op(h, REGISTRY_SET, written) : NULL;

    if (!c)
        return;
    (void)snprintf(c->text, sizeof c->text, "%lld %llu", (long long)from_ns,
                   (unsigned long long)looks);
    c->op.set.name = SLICE(LOOKS_FACT);
    c->op.set.value = slice_of(c->text);
    engine_tasks_send(h->tasks, &c->op);
}

struct resuming {
    struct history *history;
    int64_t newest_ns;         /* 0: there is none */
    int64_t unfinished_ns;     /* the sample that has only so many looks: */
    uint64_t unfinished_looks; /* 0: none has */
};

static bool note_newest(void *ctx, const struct registry_sample *s)
{
    ((struct resuming *)ctx)->newest_ns = s->at_ns;
    return true;
}

static bool resume(void *ctx, const struct registry_sample *s)
{
    struct resuming *r = ctx;
    bool unfinished = r->unfinished_looks > 0 && s->at_ns == r->unfinished_ns;

    return history_resume(r->history, s, unfinished ? r->unfinished_looks : HISTORY_FINEST_S);
}

static enum weir_status resume_pool(struct registry_reader *reader, const char *pool,
                                    struct resuming *r, int64_t now_ns, struct weir_error *err)
{
    int64_t hour_ns = HISTORY_COARSEST_S * NS_PER_S, from_ns = now_ns - 2 * hour_ns;
    enum weir_status status;

    r->newest_ns = 0;
    status =
        reader->ops->history(reader, pool, HISTORY_FINEST_S, from_ns, now_ns, note_newest, r, err);
    if (status == WEIR_OK && r->newest_ns == 0) /* nobody ran for long */
        status =
            reader->ops->history(reader, pool, HISTORY_FINEST_S, 0, now_ns, note_newest, r, err);
    if (status != WEIR_OK || r->newest_ns == 0)
        return status;
    return reader->ops->history(reader, pool, HISTORY_FINEST_S,
                                r->newest_ns - r->newest_ns % hour_ns, now_ns, resume, r, err);
}

void chores_begin(struct house *h)
{
    const struct config *c = h->config;
    struct api_backend *b = backend_api(h->backend);
    struct resuming r = {.history = h->history};
    int64_t now_ns = loop_wall_clock_ns();
    struct registry_reader *reader;
    _cleanup_buf_ struct buf looks = {0};
    struct weir_error err = {0};
    enum weir_status status = b->ops->take_reader(b, &reader, &err);

    if (status == WEIR_OK) {
        if (reader->ops->fact(reader, SLICE(LOOKS_FACT), &looks, NULL) == WEIR_OK && looks.data) {
            char *behind;

            r.unfinished_ns = strtoll(looks.data, &behind, 10);
            r.unfinished_looks = strtoull(behind, NULL, 10);
        }
        status = resume_pool(reader, NULL, &r, now_ns, &err);
        for (size_t i = 0; status == WEIR_OK && i < c->pools.count; i++)
            status = resume_pool(reader, c->pools.items[i].name, &r, now_ns, &err);
        b->ops->give_reader(b, reader);
    }
    if (status != WEIR_OK)
        daemon_log(h->log, CONFIG_WARNING, "the history begins anew in this hour: %s", err.message);
    history_resumed(h->history, now_ns);
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

void chores_end(struct house *h)
{
    bool keeps_history;

    look_around(h);
    pthread_mutex_lock(&h->config_lock);
    keeps_history = h->config->history;
    pthread_mutex_unlock(&h->config_lock);
    if (!keeps_history)
        return;
    write_looks(h);
    history_end(h->history);
    write_history(h, loop_wall_clock_ns());
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
                   "the store takes nothing, so no task is accepted or started until it does: %s",
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

/* Who cleans up behind others removes it, too. */
static void keep_run_dir(struct house *h)
{
    if (mkdir(h->run_dir, 0700) == 0)
        daemon_log(h->log, CONFIG_WARNING,
                   "the directory %s for heartbeats was removed, and is made anew: attempts that "
                   "run may count as hung",
                   h->run_dir);
}

struct instant chores_run(struct house *h, struct instant now)
{
    if (is_due(&h->look_at, LOOK_NS, now)) {
        clock_look(h);
        engine_tasks_look(h->tasks);
        keep_run_dir(h);
        look_around(h);
        tell_of_store(h);
    }
    if (is_due(&h->check_at, check_each_ns(h), now) || atomic_exchange(&h->check_more, false))
        check(h);
    if (is_due(&h->purge_at, PURGE_NS, now) || atomic_exchange(&h->purge_more, false))
        purge(h);
    return instant_min(h->look_at, instant_min(h->check_at, h->purge_at));
}
