/*
 * Random worlds of pools of workers from seeds: crews whose processes die, hang and lie, sessions,
 * breakers, fallback pools, stops and shutdowns by chance, watched by a witness after every step
 * (docs/INVARIANTS.md). Beside what holds for every pool: the tasks of a session go one at a time,
 * in order, to one worker for as long as that lives, and the next is told when it does not; every
 * worker ends.
 *
 *     WEIR_SEEDS=10000 build/tests/simulation/test_workers       how many seeds; 300 by default
 *     WEIR_SEED=4711 WEIR_SEEDS=1 build/tests/simulation/test_workers     one, again: the same run
 */
#include "base/mem.h"
#include "core/worker/recovery.h"
#include "sim/chaos.h"
#include "sim/witness.h"
#include "sim/workers.h"
#include "sim/world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define POOLS    3
#define BATCHES  4
#define ROWS     80
#define SESSIONS 6
/* All of a random world is over long before. */
#define WORLD_MAX_NS (200000 * NS_PER_S)

struct life;

struct test_row {
    struct core_task task; /* first: what release() is given */
    struct test_batch *batch;
    uint64_t number; /* among all rows of the world, as they were submitted */
    int session;     /* -1: none */
    char key[16];
};

struct test_batch {
    struct sim_source source;
    struct sim_sink sink;
    struct core_store store;
    struct life *life;
    struct rng rng;
    size_t pool;
    struct sim_batch_options options;
    struct sim_witness_row row[ROWS];
    uint64_t rows, next, released;
    duration_ns gap_max_ns, delay_max_ns;
    uint64_t puts, put_fails_at; /* 0: none fails */
    struct sim_batch *batch;     /* NULL: not opened yet, or refused */
    uint64_t number;
    bool stopped;
};

/* A session in one pool, as the test knows it. */
struct who {
    const struct core_attempt *in_hand;
    uint64_t last;   /* number of the last row of the pool's own that was started */
    uint64_t worker; /* that had the last attempt; 0: none */
    struct instant used_at;
};

struct test_pool {
    struct life *life;
    size_t number;
    struct core_pool_options options;
    struct core_pool *pool;
    struct sim_workers_options about; /* of a pool of workers */
    struct sim_workers *workers;      /* NULL: a model of something else */
    struct sim_chaos chaos;
    size_t fallback; /* number, and 1 more; 0: none */
    struct who who[SESSIONS];
};

struct stop_plan {
    struct life *life;
    struct test_batch *batch; /* NULL: shutdown of all */
    bool cancel;
};

/* One random life. */
struct life {
    struct rng rng;
    struct sim_world *world;
    struct sim_witness *witness;
    struct test_pool pools[POOLS];
    size_t pool_count, batch_count;
    struct test_batch batches[BATCHES];
    struct stop_plan stops[6];
    uint64_t submitted, not_begun;
    bool shut_down, short_of_memory;
    uint64_t hash, events;
    char wrong[400]; /* empty: all was well */
};

/* What has happened at all, over all seeds: a test that no longer reaches something would show nothing. */
static struct tally {
    uint64_t outcomes[WEIR_OUTCOME_CANCELLED + 1];
    uint64_t failed_starts, bad_pings, deaths, lost, not_begun, hung, garbled, cancelled,
        bystanders;                                             /* of the models */
    uint64_t killed, recycled, expired_extra, replaced;         /* of the crews */
    uint64_t hits, rebinds, expiries, worker_losses, told_lost; /* of sessions */
    uint64_t breaker_opened, circuit_open, checkout_timeout, failed_over, shut_down, stopped,
        put_failures;
} tally;

static volatile uint64_t seed_now;

static void wrong(struct life *l, const char *what)
{
    if (!l->wrong[0])
        snprintf(l->wrong, sizeof l->wrong, "%s (at %.6f s)", what,
                 duration_seconds(sim_world_now(l->world).ns - SIM_START.ns));
}

static void require(struct life *l, bool holds, const char *what)
{
    if (!holds)
        wrong(l, what);
}

/* ---- rows ---- */

static void release(struct core_task *t)
{
    struct test_row *r = (struct test_row *)(void *)t;

    r->batch->released++;
    task_clear(t);
    mem_free(r);
}

static enum weir_status source_next(struct sim_source *s, struct core_task **ret)
{
    static const char *const names[SESSIONS] = {"s0", "s1", "s2", "s3", "s4", "s5"};
    struct test_batch *b = (struct test_batch *)(void *)s;
    struct test_row *r;

    if (b->next == b->rows)
        return WEIR_E_END;
    r = mem_alloc(sizeof *r);
    if (!r)
        return WEIR_E_NOMEM;
    task_init(&r->task);
    snprintf(r->key, sizeof r->key, "r%u", (unsigned)b->next);
    r->batch = b;
    r->number = ++b->life->submitted;
    r->session = rng_below(&b->rng, 3) ? (int)rng_below(&b->rng, SESSIONS) : -1;
    r->task.session = r->session < 0 ? NULL : names[r->session];
    r->task.key = r->key;
    r->task.payload = r;
    r->task.payload_len = sizeof *r;
    r->task.deadline_ns = b->row[b->next].deadline_ns;
    r->task.release = release;
    r->task.index = b->next++;
    *ret = &r->task;
    return WEIR_OK;
}

static duration_ns source_gap(struct sim_source *s)
{
    struct test_batch *b = (struct test_batch *)(void *)s;

    return rng_range(&b->rng, 0, b->gap_max_ns);
}

static const struct sim_source_ops source_ops = {.next = source_next, .gap = source_gap};

static struct test_batch *batch_of_sink(struct sim_sink *s)
{
    return (struct test_batch *)(void *)((char *)s - offsetof(struct test_batch, sink));
}

static duration_ns sink_delay(struct sim_sink *s)
{
    struct test_batch *b = batch_of_sink(s);

    return rng_below(&b->rng, 3) ? 0 : rng_range(&b->rng, 0, b->delay_max_ns);
}

static void sink_take(struct sim_sink *s, const struct core_task *t, struct instant now)
{
    struct test_batch *b = batch_of_sink(s);
    const struct core_answer *a = &t->answer;
    char text[32];

    tally.outcomes[a->outcome]++;
    tally.circuit_open += a->reason == WEIR_REASON_CIRCUIT_OPEN;
    tally.checkout_timeout += a->reason == WEIR_REASON_CHECKOUT_TIMEOUT;
    sim_witness_take(b->life->witness, b->number, t, now);
    snprintf(text, sizeof text, SIM_CHAOS_OUTPUT, (unsigned long long)t->index);
    if (a->output && strcmp(a->output, text) != 0)
        wrong(b->life, "P6: a row has the output of another one");
}

static const struct sim_sink_ops sink_ops = {.delay = sink_delay, .take = sink_take};

static enum weir_status store_put(struct core_store *s, const struct store_row *rows, size_t n,
                                  const struct store_attempt *attempts, size_t attempt_count,
                                  struct weir_error *err)
{
    struct test_batch *b =
        (struct test_batch *)(void *)((char *)s - offsetof(struct test_batch, store));

    (void)attempts;
    (void)attempt_count;
    (void)err;
    if (++b->puts == b->put_fails_at) {
        sim_witness_stopped(b->life->witness, b->number);
        return WEIR_E_IO;
    }
    for (size_t i = 0; i < n; i++)
        sim_witness_durable(b->life->witness, b->number, rows[i].index);
    return WEIR_OK;
}

static const struct core_store_ops store_ops = {.name = "test", .put = store_put};

/* ---- what is given to workers ---- */

/* Whether the worker that had the session's last attempt must have this one. */
static void check_affinity(struct test_pool *p, struct who *who, const struct core_attempt *a,
                           struct instant now)
{
    struct worker *before = who->worker ? crew_find(core_pool_crew(p->pool), who->worker) : NULL;
    const struct affinity_options *o = &p->about.crew.affinity;
    bool stays = before && !before->retiring && now.ns - who->used_at.ns < o->idle_ns &&
                 o->bound_max >= SESSIONS;

    if (stays)
        require(p->life, a->worker == before && !a->session_lost,
                "a session has left a worker that lives");
    if (who->worker == 0)
        require(p->life, !a->session_lost, "a new session is told that it is lost");
    else if (who->worker != a->worker->id)
        require(p->life, a->session_lost, "a session is lost, and is not told");
    tally.told_lost += a->session_lost;
    who->worker = a->worker->id;
    who->used_at = now;
}

static void given(void *ctx, const struct core_attempt *a, struct instant now)
{
    struct test_pool *p = ctx;
    const struct test_row *r = a->payload;
    struct who *who;

    require(p->life, a->worker->in_flight <= a->worker->max_in_flight,
            "P3: a worker has more than it takes");
    require(p->life, a->worker->health.health == HEALTH_HEALTHY, "work for an unhealthy worker");
    /* One that goes to the fallback pool without memory goes like one that has no session. */
    require(p->life,
            (r->session >= 0) == (a->session != NULL) ||
                (p->life->short_of_memory && r->batch->pool != p->number),
            "a session is not said, or said of none");
    if (!a->session)
        return;
    who = &p->who[r->session];
    require(p->life, !who->in_hand, "two tasks of a session at a time");
    who->in_hand = a;
    if (r->batch->pool == p->number) {
        require(p->life, r->number >= who->last, "the tasks of a session are not in order");
        who->last = r->number;
    }
    check_affinity(p, who, a, now);
}

static void ended(void *ctx, const struct core_attempt *a, struct instant now)
{
    struct test_pool *p = ctx;
    const struct test_row *r = a->payload;

    p->life->not_begun += a->not_begun;
    if (!a->session)
        return;
    require(p->life, p->who[r->session].in_hand == a,
            "an attempt of a session ended that was not in hand");
    p->who[r->session].in_hand = NULL;
    p->who[r->session].used_at = now;
}

/* ---- drawing a world ---- */

static bool one_in(struct rng *r, uint64_t n)
{
    return rng_below(r, n) == 0;
}

static void draw_crew(struct life *l, struct crew_options *o)
{
    struct rng *r = &l->rng;

    o->size = 1 + rng_below(r, 4);
    o->overflow = one_in(r, 3) ? rng_below(r, 3) : 0;
    o->lazy = one_in(r, 3);
    o->order = one_in(r, 2) ? CREW_LIFO : CREW_FIFO;
    o->max_in_flight = one_in(r, 3) ? 1 + (uint32_t)rng_below(r, 4) : 1;
    o->init_timeout_ns = rng_range(r, 3, 10) * NS_PER_S;
    o->health.every_ns = one_in(r, 4) ? 0 : rng_range(r, 1, 30) * NS_PER_S;
    o->health.deadline_ns = rng_range(r, 1, 5) * NS_PER_S;
    o->health.recheck_ns = rng_range(r, 1, 5) * NS_PER_S;
    o->health.failures = 1 + (uint32_t)rng_below(r, 3);
    o->overflow_idle_ns = rng_range(r, 1, 10 * NS_PER_S);
    o->recycle_requests = one_in(r, 4) ? 1 + rng_below(r, 20) : 0;
    o->recycle_age_ns = one_in(r, 4) ? rng_range(r, 2, 60) * NS_PER_S : 0;
    o->recycle_memory_bytes = one_in(r, 4) ? 900 : 0;
    o->shutdown_grace_ns = one_in(r, 4) ? 0 : rng_range(r, 0, 5 * NS_PER_S);
    o->term_grace_ns = one_in(r, 4) ? 0 : rng_range(r, 0, 5 * NS_PER_S);
    o->affinity.seed = rng_u64(r);
    if (one_in(r, 2))
        o->affinity.idle_ns = rng_range(r, 1, 10 * NS_PER_S);
    o->affinity.sweep_ns = rng_range(r, 1, 10 * NS_PER_S);
    if (one_in(r, 4))
        o->affinity.bound_max = 1 + rng_below(r, SESSIONS);
}

static void draw_pool_options(struct life *l, struct test_pool *p)
{
    static const char *const names[POOLS] = {"a", "b", "c"};
    struct core_pool_options *o = &p->options;
    struct rng *r = &l->rng;

    core_pool_options_init(o);
    o->name = names[p->number];
    o->size = 1 + rng_below(r, 8);
    o->gate.throttle.kind = (enum throttle_kind)rng_below(r, THROTTLE_KINDS);
    if (one_in(r, 6))
        o->gate.min_dispatch_delay_ns = rng_range(r, 0, 50 * NS_PER_MS);
    o->max_attempts = 1 + (uint32_t)rng_below(r, 6);
    o->backoff.initial_ns = rng_range(r, 1, NS_PER_S);
    o->backoff.ceiling_ns = 5 * NS_PER_S;
    o->max_capacity_retry_ns = one_in(r, 4) ? rng_range(r, 1, NS_PER_S) : 20 * NS_PER_S;
    if (rng_below(r, 4))
        o->timeout_ns = rng_range(r, 10 * NS_PER_MS, 5 * NS_PER_S);
    if (one_in(r, 2))
        o->recovery = recovery_table();
    if (one_in(r, 2)) {
        o->breaker.on = true;
        o->breaker.failures = 1 + (uint32_t)rng_below(r, 6);
        o->breaker.open_ns = rng_range(r, 1, 10 * NS_PER_S);
        o->breaker_fails = one_in(r, 3);
    }
    if (one_in(r, 4))
        o->checkout_timeout_ns = rng_range(r, 1, 5 * NS_PER_S);
}

/* Pools with a lower number may fall back to one with a higher one, so that there is no circle. */
static void add_pool(struct life *l, size_t i, bool hopeless)
{
    struct test_pool *p = &l->pools[i];
    struct sim_witness_pool about = {.options = &p->options, .cancels_at_once = true};
    bool workers = i == 0 || rng_below(&l->rng, 3);

    p->life = l;
    p->number = i;
    draw_pool_options(l, p);
    if (workers) {
        sim_workers_options_init(&p->about);
        draw_crew(l, &p->about.crew);
        p->about.crew.pool = p->options.name;
        p->about.seed = rng_u64(&l->rng);
        p->about.never_allowed = p->options.timeout_ns > 0;
        p->about.good = one_in(&l->rng, 6);
        p->about.hopeless = hopeless;
        p->about.given = given;
        p->about.ended = ended;
        p->about.ctx = p;
        about.worker_in_flight = p->about.crew.max_in_flight;
        assert_int_equal(
            sim_workers_add(l->world, &p->options, &p->about, &p->workers, &p->pool, NULL),
            WEIR_OK);
    } else {
        sim_chaos_init(&p->chaos, rng_u64(&l->rng), true, p->options.timeout_ns > 0);
        assert_int_equal(sim_world_add_pool(l->world, &p->options, &p->chaos.model, &p->pool, NULL),
                         WEIR_OK);
    }
    about.pool = p->pool;
    if (i + 1 < l->pool_count && one_in(&l->rng, 2))
        p->fallback = about.fallback = i + 2;
    assert_int_equal(sim_witness_add_pool(l->witness, &about, NULL), WEIR_OK);
}

static void draw_batch(struct life *l, struct test_batch *b, bool hopeless)
{
    struct rng *r = &l->rng;
    struct core_batch_options *core = &b->options.core;

    b->life = l;
    b->source.ops = &source_ops;
    b->sink.ops = &sink_ops;
    b->store.ops = &store_ops;
    rng_seed(&b->rng, rng_u64(r));
    b->pool = rng_below(r, l->pool_count);
    b->rows = rng_below(r, one_in(r, 3) ? ROWS + 1 : 12);
    core_batch_options_init(core);
    core->window_rows = 1 + (uint32_t)rng_below(r, one_in(r, 2) ? 6 : ROWS);
    core->deadline_ns = hopeless || one_in(r, 5) ? rng_range(r, 1, 20 * NS_PER_S) : 0;
    core->output_bytes = one_in(r, 6) ? 1 + rng_below(r, 200) : 0;
    b->options.source = &b->source;
    b->options.sink = &b->sink;
    b->gap_max_ns = one_in(r, 3) ? rng_range(r, 0, NS_PER_S) : 0;
    b->delay_max_ns = one_in(r, 2) ? rng_range(r, 0, 2 * NS_PER_S) : 0;
    if (rng_below(r, 2)) {
        b->options.store = &b->store;
        b->options.commit_max_ns = rng_range(r, 0, one_in(r, 2) ? NS_PER_S : NS_PER_MS);
        b->put_fails_at = one_in(r, 6) ? 1 + rng_below(r, 8) : 0;
    }
    for (uint64_t i = 0; i < b->rows; i++)
        b->row[i].deadline_ns = one_in(r, 20) ? rng_range(r, 1, 5 * NS_PER_S) : 0;
}

static struct instant some_time(struct life *l)
{
    return instant_add(SIM_START,
                       rng_range(&l->rng, 0, one_in(&l->rng, 2) ? NS_PER_S : 15 * NS_PER_S));
}

/* ---- living it ---- */

static void open_batch(struct sim_world *w, void *ctx)
{
    struct test_batch *b = ctx;
    struct life *l = b->life;
    const struct sim_witness_batch about = {
        .pool = b->pool,
        .rows = b->rows,
        .row = b->row,
        .durable = b->options.store != NULL,
        .deadline_ns = b->options.core.deadline_ns,
        .bounded = b->options.core.output_bytes > 0,
    };
    enum weir_status status;

    /* At most one allocation fails. */
    if (sim_witness_expect(l->witness, &about, NULL) != WEIR_OK &&
        sim_witness_expect(l->witness, &about, NULL) != WEIR_OK)
        wrong(l, "no memory for the witness");
    status = sim_world_open(w, l->pools[b->pool].pool, &b->options, &b->batch, NULL);
    if (status == WEIR_OK) {
        b->number = sim_batch_number(b->batch);
        return;
    }
    if (!(status == WEIR_E_SHUTDOWN && l->shut_down) &&
        !(status == WEIR_E_NOMEM && l->short_of_memory))
        wrong(l, "a batch could not be opened");
    if (sim_witness_expect(l->witness, NULL, NULL) != WEIR_OK)
        wrong(l, "the witness does not take it back");
}

static void stop_or_shut_down(struct sim_world *w, void *ctx)
{
    struct stop_plan *p = ctx;

    if (!p->batch) {
        p->life->shut_down = true;
        sim_witness_shut_down(p->life->witness);
        sim_world_shutdown(w, p->cancel);
    } else if (p->batch->batch) {
        p->batch->stopped = true;
        sim_witness_stopped(p->life->witness, p->batch->number);
        sim_world_stop(w, p->batch->batch, p->cancel);
    }
}

static bool after_step(void *ctx, struct sim_world *w)
{
    struct life *l = ctx;

    return sim_witness_step(l->witness, w) && !l->wrong[0];
}

static void plan_stops(struct life *l)
{
    uint64_t n = one_in(&l->rng, 2) ? rng_below(&l->rng, 5) : 0;

    for (uint64_t i = 0; i < n; i++) {
        struct stop_plan *p = &l->stops[i];

        p->life = l;
        p->cancel = one_in(&l->rng, 2);
        p->batch = one_in(&l->rng, 3) ? NULL : &l->batches[rng_below(&l->rng, l->batch_count)];
        assert_int_equal(sim_world_at(l->world, some_time(l), stop_or_shut_down, p, NULL), WEIR_OK);
    }
}

static void begin(struct life *l, uint64_t seed)
{
    struct sim_world_options o = {.seed = seed, .step = after_step, .ctx = l};
    bool hopeless;

    rng_seed(&l->rng, seed);
    l->pool_count = 1 + rng_below(&l->rng, POOLS);
    l->batch_count = 1 + rng_below(&l->rng, BATCHES);
    o.global_limit = one_in(&l->rng, 3) ? 1 + rng_below(&l->rng, 8) : 0;
    hopeless = one_in(&l->rng, 12);
    assert_int_equal(sim_witness_new(o.global_limit, &l->witness, NULL), WEIR_OK);
    o.observer = sim_witness_observer(l->witness);
    assert_int_equal(sim_world_new(&o, &l->world, NULL), WEIR_OK);
    for (size_t i = 0; i < l->pool_count; i++)
        add_pool(l, i, hopeless);
    for (size_t i = 0; i < l->pool_count; i++) {
        size_t to = l->pools[i].fallback;

        if (to > 0)
            assert_int_equal(
                sim_world_set_fallback(l->world, l->pools[i].pool, l->pools[to - 1].pool), WEIR_OK);
    }
    for (size_t i = 0; i < l->batch_count; i++) {
        draw_batch(l, &l->batches[i], hopeless);
        assert_int_equal(sim_world_at(l->world, i == 0 ? SIM_START : some_time(l), open_batch,
                                      &l->batches[i], NULL),
                         WEIR_OK);
    }
    plan_stops(l);
}

static void batch_is_over(struct life *l, struct test_batch *b)
{
    bool failed = sim_batch_has_failed(b->batch);
    struct core_stats stats;

    sim_batch_stats(b->batch, &stats);
    sim_witness_over(l->witness, b->number, &stats, b->stopped || failed);
    if (!b->stopped && !failed && !l->shut_down && stats.delivered != b->rows)
        wrong(l, "P1: a batch has fewer results than rows");
    if (b->released != b->next)
        wrong(l, "a row was not given back once");
    tally.put_failures += failed;
    tally.stopped += b->stopped;
    tally.failed_over += stats.failed_over;
}

static void count_crew(const struct crew_counts *n, const struct affinity_counts *a,
                       const struct sim_workers_counts *m)
{
    tally.failed_starts += m->failed_starts;
    tally.bad_pings += m->bad_pings;
    tally.deaths += m->deaths;
    tally.lost += m->lost;
    tally.not_begun += m->not_begun;
    tally.hung += m->hung;
    tally.garbled += m->garbled;
    tally.cancelled += m->cancelled;
    tally.bystanders += m->bystanders;
    tally.killed += n->killed;
    tally.recycled += n->recycled;
    tally.expired_extra += n->expired_overflow;
    tally.replaced += n->replaced;
    tally.hits += a->hits;
    tally.rebinds += a->rebinds;
    tally.expiries += a->expiries;
    tally.worker_losses += a->worker_losses;
}

static void pool_is_over(struct life *l, struct test_pool *p)
{
    struct core_stats stats;

    dispatcher_pool_stats(p->pool, &stats);
    sim_witness_pool_over(l->witness, p->number, &stats);
    tally.breaker_opened += stats.breaker_opened;
    if (p->workers) {
        struct crew_counts n = crew_counts(core_pool_crew(p->pool));
        struct affinity_counts a = affinity_counts(crew_affinity(core_pool_crew(p->pool)));
        struct sim_workers_counts m = sim_workers_counts(p->workers);

        count_crew(&n, &a, &m);
        sim_witness_workers_over(l->witness, p->number);
        require(l, crew_is_empty(core_pool_crew(p->pool)), "P8: a worker is left");
        for (size_t i = 0; i < SESSIONS; i++)
            require(l, !p->who[i].in_hand, "an attempt of a session was never reported");
    }
}

static void finish(struct life *l, enum sim_end end)
{
    static const char *const ends[] = {
        [SIM_TIME] = "the world did not come to an end",
        [SIM_HALTED] = "halted",
        [SIM_CUT] = "cut",
        [SIM_STUCK] = "P5: the world is stuck: something is open and nothing is due",
    };

    if (sim_witness_wrong(l->witness))
        wrong(l, sim_witness_wrong(l->witness));
    if (end != SIM_DONE) {
        wrong(l, ends[end]);
        return;
    }
    for (size_t i = 0; i < l->batch_count; i++) {
        if (l->batches[i].batch)
            batch_is_over(l, &l->batches[i]);
    }
    tally.shut_down += l->shut_down;
}

/* All workers end, and then there is nothing any more. */
static void end_workers(struct life *l)
{
    enum sim_end end;

    if (l->wrong[0])
        return;
    if (!l->shut_down) {
        l->shut_down = true;
        sim_witness_shut_down(l->witness);
        sim_world_shutdown(l->world, one_in(&l->rng, 2));
    }
    end = sim_world_run(l->world, instant_add(sim_world_now(l->world), 1000 * NS_PER_S));
    if (sim_witness_wrong(l->witness))
        wrong(l, sim_witness_wrong(l->witness));
    require(l, end != SIM_STUCK, "P8: a worker is left, and nothing is due");
    require(l, end == SIM_DONE, "P8: the workers did not end");
    for (size_t i = 0; i < l->pool_count && !l->wrong[0]; i++)
        pool_is_over(l, &l->pools[i]);
    require(l, sim_witness_taken_back(l->witness) == l->not_begun,
            "an attempt that had not begun was counted");
    if (sim_world_running(l->world, NULL) != 0)
        wrong(l, "attempts run after the end");
    if (sim_witness_wrong(l->witness))
        wrong(l, sim_witness_wrong(l->witness));
}

/* Lives one life. Its story is in l->hash, what went wrong in l->wrong. */
static void live(struct life *l, uint64_t seed)
{
    memset(l, 0, sizeof *l);
    seed_now = seed;
    begin(l, seed);
    finish(l, sim_world_run(l->world, instant_add(SIM_START, WORLD_MAX_NS)));
    end_workers(l);
    l->hash = sim_witness_hash(l->witness);
    l->events = sim_witness_events(l->witness);
    sim_world_free(l->world);
    sim_witness_free(l->witness);
}

/* ---- tests ---- */

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static const char replay[] = "replay it: WEIR_SEED=%llu WEIR_SEEDS=1 "
                             "build/tests/simulation/test_workers\n";

/* An assertion inside of the dispatcher ends the program: say at which seed. */
static void on_abort(int number)
{
    char text[160];
    int n = snprintf(text, sizeof text, replay, (unsigned long long)seed_now);

    (void)number;
    if (n > 0 && write(STDERR_FILENO, text, (size_t)n) < 0)
        _exit(3);
    signal(SIGABRT, SIG_DFL);
}

static void in_random_worlds_of_workers_every_promise_holds_after_every_step(void **state)
{
    uint64_t first = from_environment("WEIR_SEED", 1), n = from_environment("WEIR_SEEDS", 300);
    struct life *l = mem_alloc(sizeof *l);

    (void)state;
    assert_non_null(l);
    signal(SIGABRT, on_abort);
    for (uint64_t seed = first; seed < first + n; seed++) {
        uint64_t hash, events;

        live(l, seed);
        if (l->wrong[0]) {
            fprintf(stderr, replay, (unsigned long long)seed);
            fail_msg("seed %llu: %s", (unsigned long long)seed, l->wrong);
        }
        if (seed % 4)
            continue;
        hash = l->hash;
        events = l->events;
        live(l, seed);
        assert_true(hash == l->hash && events == l->events); /* I7 */
    }
    mem_free(l);
}

/* Once in the life of the world: it costs nothing that was accepted, and every promise holds. */
static void a_lack_of_memory_at_any_moment_is_survived(void **state)
{
    uint64_t n = from_environment("WEIR_SEEDS", 300), failed = 0;
    struct life *l = mem_alloc(sizeof *l);
    struct rng rng;

    (void)state;
    assert_non_null(l);
    rng_seed(&rng, 5);
    for (uint64_t seed = 1; seed <= n; seed++) {
        memset(l, 0, sizeof *l);
        seed_now = seed;
        begin(l, seed);
        l->short_of_memory = true;
        mem_fail_at(1 + (unsigned long)rng_below(&rng, 400));
        finish(l, sim_world_run(l->world, instant_add(SIM_START, WORLD_MAX_NS)));
        failed += mem_has_failed() != 0;
        mem_fail_at(0);
        end_workers(l);
        sim_world_free(l->world);
        sim_witness_free(l->witness);
        if (l->wrong[0])
            fail_msg("seed %llu, short of memory: %s", (unsigned long long)seed, l->wrong);
    }
    assert_true(failed > n / 10);
    mem_free(l);
}

/* Like a crash: nothing of it is left, and nobody is told. */
static void a_world_of_workers_can_be_freed_at_any_moment(void **state)
{
    struct life *l = mem_alloc(sizeof *l);

    (void)state;
    assert_non_null(l);
    for (uint64_t seed = 1; seed <= 200; seed++) {
        memset(l, 0, sizeof *l);
        seed_now = seed;
        begin(l, seed);
        (void)sim_world_run(l->world, some_time(l));
        assert_null(sim_witness_wrong(l->witness));
        sim_world_free(l->world);
        sim_witness_free(l->witness);
        for (size_t i = 0; i < l->batch_count; i++)
            assert_int_equal(l->batches[i].released, l->batches[i].next);
    }
    mem_free(l);
}

static void the_random_worlds_reach_what_they_are_meant_to(void **state)
{
    const uint64_t *n = (const uint64_t *)(const void *)&tally;

    (void)state;
    if (from_environment("WEIR_SEEDS", 300) < 300)
        skip();
    for (size_t i = 0; i < sizeof tally / sizeof *n; i++) {
        if (n[i] == 0 && i != WEIR_OUTCOME_CAPACITY)
            fail_msg("the %zuth of the things that are counted has never happened", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_random_worlds_of_workers_every_promise_holds_after_every_step),
        cmocka_unit_test(a_lack_of_memory_at_any_moment_is_survived),
        cmocka_unit_test(a_world_of_workers_can_be_freed_at_any_moment),
        cmocka_unit_test(the_random_worlds_reach_what_they_are_meant_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
