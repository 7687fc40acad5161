/*
 * Random worlds from seeds: pools, batches, services, faults, stops and shutdowns by chance,
 * watched by a witness after every step (docs/INVARIANTS.md). Virtual time: an hour of it takes a
 * millisecond.
 *
 *     WEIR_SEEDS=10000 build/tests/simulation/test_simulation       how many seeds; 300 by default
 *     WEIR_SEED=4711 WEIR_SEEDS=1 build/tests/simulation/test_simulation     one, again: the same run
 */
#include "base/mem.h"
#include "sim/chaos.h"
#include "sim/witness.h"
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

#define POOLS   3
#define BATCHES 4
#define ROWS    80
/* All of a random world is over long before. */
#define WORLD_MAX_NS (200000 * NS_PER_S)

struct life;

struct test_row {
    struct core_task task; /* first: what release() is given */
    struct test_batch *batch;
    char key[16];
};

struct test_batch {
    struct sim_source source;
    struct sim_sink sink;
    struct core_store store;
    struct life *life;
    struct rng rng;
    struct core_pool_options *pool_options;
    size_t pool;
    struct sim_batch_options options;
    struct sim_witness_row row[ROWS];
    uint64_t rows, next, released;
    duration_ns gap_max_ns, delay_max_ns;
    uint64_t puts, put_fails_at; /* 0: none fails */
    struct sim_batch *batch;     /* NULL: not opened yet, or refused */
    uint64_t number;
    bool stopped, refused;
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
    struct core_pool_options options[POOLS];
    struct core_pool *pools[POOLS];
    struct sim_chaos models[POOLS];
    size_t pool_count, batch_count;
    struct test_batch batches[BATCHES];
    struct stop_plan stops[6];
    bool shut_down;
    uint64_t hash, events, steps;
    char wrong[400]; /* empty: all was well */
};

/* What has happened at all, over all seeds: a test that no longer reaches something would show nothing. */
static struct tally {
    uint64_t outcomes[WEIR_OUTCOME_CANCELLED + 1];
    uint64_t reasons[WEIR_REASON_COUNT];
    uint64_t late, put_failures, stopped, shut_down, refused_batches, dropped;
} tally;

static volatile uint64_t seed_now;

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
    r->task.key = r->key;
    r->task.payload = r->key;
    r->task.payload_len = strlen(r->key);
    r->task.deadline_ns = b->row[b->next].deadline_ns;
    r->task.tokens = b->row[b->next].tokens;
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
    tally.reasons[a->reason]++;
    sim_witness_take(b->life->witness, b->number, t, now);
    snprintf(text, sizeof text, SIM_CHAOS_OUTPUT, (unsigned long long)t->index);
    if (a->output && strcmp(a->output, text) != 0)
        snprintf(b->life->wrong, sizeof b->life->wrong, "row %llu has the output '%s'",
                 (unsigned long long)t->index, a->output);
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

/* ---- drawing a world ---- */

static bool one_in(struct rng *r, uint64_t n)
{
    return rng_below(r, n) == 0;
}

static void draw_pool(struct life *l, size_t i)
{
    static const char *const names[POOLS] = {"a", "b", "c"};
    struct core_pool_options *o = &l->options[i];
    struct rng *r = &l->rng;

    core_pool_options_init(o);
    o->name = names[i];
    o->size = 1 + rng_below(r, one_in(r, 3) ? 12 : 4);
    o->gate.throttle.kind = (enum throttle_kind)rng_below(r, THROTTLE_KINDS);
    o->gate.throttle.adaptive.waste = 0.001 + rng_unit(r) * 0.199;
    o->gate.throttle.aimd.step_ns = rng_range(r, 1, 100) * NS_PER_MS;
    o->gate.throttle.aimd.multiplier = 1.1 + rng_unit(r) * 2;
    o->gate.throttle.aimd.max_delay_ns = rng_range(r, 200, 3000) * NS_PER_MS;
    if (one_in(r, 3))
        o->gate.min_dispatch_delay_ns = rng_range(r, 0, 200 * NS_PER_MS);
    if (one_in(r, 4))
        o->gate.rate_per_s = 1 + rng_unit(r) * 50;
    if (one_in(r, 6))
        o->gate.requests_per_minute = rng_range(r, 10, 200);
    if (one_in(r, 6))
        o->gate.tokens_per_minute = rng_range(r, 60, 1500);
    o->gate.retry_after_max_ns = rng_range(r, 1, 5 * NS_PER_S);
    o->max_attempts = 1 + (uint32_t)rng_below(r, 4);
    o->backoff.kind = (enum backoff_kind)rng_below(r, BACKOFF_KINDS);
    o->backoff.initial_ns = rng_range(r, 1, NS_PER_S);
    o->backoff.ceiling_ns = 5 * NS_PER_S;
    o->backoff.jitter = rng_unit(r);
    if (rng_below(r, 4))
        o->timeout_ns = rng_range(r, 10 * NS_PER_MS, 3 * NS_PER_S);
    o->max_capacity_retry_ns = one_in(r, 4) ? rng_range(r, 1, NS_PER_S) : 20 * NS_PER_S;
    if (one_in(r, 3)) {
        o->breaker.on = true;
        o->breaker.failures = 1 + (uint32_t)rng_below(r, 5);
        o->breaker.open_ns = rng_range(r, 1, 10 * NS_PER_S);
        o->breaker.trials = 1 + (uint32_t)rng_below(r, 3);
        o->breaker.successes = 1 + (uint32_t)rng_below(r, 3);
        o->breaker_fails = one_in(r, 3);
    }
}

static void draw_batch(struct life *l, struct test_batch *b)
{
    struct rng *r = &l->rng;
    struct core_batch_options *core = &b->options.core;

    b->life = l;
    b->source.ops = &source_ops;
    b->sink.ops = &sink_ops;
    b->store.ops = &store_ops;
    rng_seed(&b->rng, rng_u64(r));
    b->pool = rng_below(r, l->pool_count);
    b->rows = one_in(r, 10) ? 0 : rng_below(r, one_in(r, 3) ? ROWS + 1 : 12);
    core_batch_options_init(core);
    core->window_rows = 1 + (uint32_t)rng_below(r, one_in(r, 2) ? 6 : ROWS);
    core->deadline_ns = one_in(r, 5) ? rng_range(r, 1, 20 * NS_PER_S) : 0;
    core->output_bytes = one_in(r, 4) ? 1 + rng_below(r, 200) : 0;
    core->unordered = one_in(r, 4);
    b->options.source = &b->source;
    b->options.sink = &b->sink;
    b->gap_max_ns = one_in(r, 3) ? rng_range(r, 0, NS_PER_S) : 0;
    b->delay_max_ns = one_in(r, 2) ? rng_range(r, 0, 2 * NS_PER_S) : 0;
    if (rng_below(r, 2)) {
        b->options.store = &b->store;
        b->options.commit_max_ns = rng_range(r, 0, one_in(r, 2) ? NS_PER_S : NS_PER_MS);
        b->put_fails_at = one_in(r, 6) ? 1 + rng_below(r, 8) : 0;
    }
    for (uint64_t i = 0; i < b->rows; i++) {
        b->row[i].deadline_ns = one_in(r, 20) ? rng_range(r, 1, 5 * NS_PER_S) : 0;
        b->row[i].tokens = one_in(r, 40) ? rng_range(r, 0, 2000) : rng_range(r, 0, 50);
    }
}

static struct instant some_time(struct life *l)
{
    return instant_add(SIM_START,
                       rng_range(&l->rng, 0, one_in(&l->rng, 2) ? NS_PER_S : 15 * NS_PER_S));
}

/* ---- living it ---- */

static void wrong(struct life *l, const char *what)
{
    if (!l->wrong[0])
        snprintf(l->wrong, sizeof l->wrong, "%s", what);
}

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
        .unordered = b->options.core.unordered,
        .bounded = b->options.core.output_bytes > 0,
    };
    enum weir_status status;

    if (sim_witness_expect(l->witness, &about, NULL) != WEIR_OK)
        wrong(l, "no memory for the witness");
    status = sim_world_open(w, l->pools[b->pool], &b->options, &b->batch, NULL);
    if (status == WEIR_OK) {
        b->number = sim_batch_number(b->batch);
        return;
    }
    b->refused = true;
    if (status != WEIR_E_SHUTDOWN || !l->shut_down)
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

    rng_seed(&l->rng, seed);
    l->pool_count = 1 + rng_below(&l->rng, POOLS);
    l->batch_count = 1 + rng_below(&l->rng, BATCHES);
    o.global_limit = one_in(&l->rng, 3) ? 1 + rng_below(&l->rng, 8) : 0;
    assert_int_equal(sim_witness_new(o.global_limit, &l->witness, NULL), WEIR_OK);
    o.observer = sim_witness_observer(l->witness);
    assert_int_equal(sim_world_new(&o, &l->world, NULL), WEIR_OK);
    for (size_t i = 0; i < l->pool_count; i++) {
        bool at_once = one_in(&l->rng, 2);
        struct sim_witness_pool about = {.options = &l->options[i], .cancels_at_once = at_once};

        draw_pool(l, i);
        sim_chaos_init(&l->models[i], rng_u64(&l->rng), at_once, l->options[i].timeout_ns > 0);
        assert_int_equal(
            sim_world_add_pool(l->world, &l->options[i], &l->models[i].model, &l->pools[i], NULL),
            WEIR_OK);
        about.pool = l->pools[i];
        assert_int_equal(sim_witness_add_pool(l->witness, &about, NULL), WEIR_OK);
    }
    for (size_t i = 0; i < l->batch_count; i++) {
        draw_batch(l, &l->batches[i]);
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
    if (failed != (b->put_fails_at > 0 && b->puts >= b->put_fails_at))
        wrong(l, "a put failed, and nobody noticed");
    tally.late += stats.late_reports;
    tally.put_failures += failed;
    tally.stopped += b->stopped;
    tally.dropped += stats.accepted - stats.delivered;
}

static void finish(struct life *l, enum sim_end end)
{
    static const char *const ends[] = {
        [SIM_TIME] = "the world did not come to an end",
        [SIM_HALTED] = "halted",
        [SIM_CUT] = "cut",
        [SIM_STUCK] = "P5: the world is stuck: a batch is open and nothing is due",
    };

    if (sim_witness_wrong(l->witness))
        wrong(l, sim_witness_wrong(l->witness));
    if (end != SIM_DONE) {
        wrong(l, ends[end]);
        return;
    }
    for (size_t i = 0; i < l->batch_count; i++) {
        tally.refused_batches += l->batches[i].refused;
        if (l->batches[i].batch)
            batch_is_over(l, &l->batches[i]);
    }
    for (size_t i = 0; i < l->pool_count; i++) {
        struct core_stats stats;

        dispatcher_pool_stats(l->pools[i], &stats);
        sim_witness_pool_over(l->witness, i, &stats);
    }
    if (sim_world_running(l->world, NULL) != 0)
        wrong(l, "attempts run after the end");
    if (sim_witness_wrong(l->witness))
        wrong(l, sim_witness_wrong(l->witness));
    tally.shut_down += l->shut_down;
}

/* Lives one life. Its story is in l->hash, what went wrong in l->wrong. */
static void live(struct life *l, uint64_t seed)
{
    memset(l, 0, sizeof *l);
    seed_now = seed;
    begin(l, seed);
    finish(l, sim_world_run(l->world, instant_add(SIM_START, WORLD_MAX_NS)));
    l->steps = sim_world_steps(l->world);
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
                             "build/tests/simulation/test_simulation\n";

/* An assertion inside of the dispatcher ends the program: say at which seed. */
static void on_abort(int number)
{
    char text[160];
    int n = snprintf(text, sizeof text, replay, (unsigned long long)seed_now);

    (void)number;
    if (write(STDERR_FILENO, text, (size_t)n) < 0)
        _exit(3);
    signal(SIGABRT, SIG_DFL);
}

static void in_random_worlds_every_promise_holds_after_every_step(void **state)
{
    uint64_t first = from_environment("WEIR_SEED", 1);
    uint64_t seeds = from_environment("WEIR_SEEDS", 300);
    struct life *l = malloc(sizeof *l);
    uint64_t steps = 0, events = 0, failed = 0;

    (void)state;
    assert_non_null(l);
    for (uint64_t seed = first; seed < first + seeds && failed < 5; seed++) {
        uint64_t hash, count;

        live(l, seed);
        hash = l->hash;
        count = l->events;
        steps += l->steps;
        events += l->events;
        if (!l->wrong[0] && seed % 4 == first % 4) {
            live(l, seed);
            if (l->hash != hash || l->events != count)
                wrong(l, "I7: the same seed gave another run");
        }
        if (l->wrong[0]) {
            print_error("seed %llu: %s\n", (unsigned long long)seed, l->wrong);
            print_error(replay, (unsigned long long)seed);
            failed++;
        }
    }
    free(l);
    print_message("%llu worlds, %llu steps, %llu events\n", (unsigned long long)seeds,
                  (unsigned long long)steps, (unsigned long long)events);
    assert_int_equal(failed, 0);
}

static void the_random_worlds_reach_what_they_are_meant_to(void **state)
{
    static const enum weir_reason reached[] = {
        WEIR_REASON_NONE,          WEIR_REASON_HTTP_STATUS,
        WEIR_REASON_CALLBACK_LOST, WEIR_REASON_CONNECT_FAILED,
        WEIR_REASON_TIMEOUT,       WEIR_REASON_DEADLINE,
        WEIR_REASON_RETRY_TIMEOUT, WEIR_REASON_RETRY_AFTER_TOO_LONG,
        WEIR_REASON_OVER_BUDGET,   WEIR_REASON_SHUTDOWN_REQUESTED,
        WEIR_REASON_NO_OUTCOME,    WEIR_REASON_CIRCUIT_OPEN};

    (void)state;
    if (from_environment("WEIR_SEEDS", 300) < 300)
        skip();
    for (size_t i = 0; i < sizeof reached / sizeof *reached; i++) {
        if (tally.reasons[reached[i]] == 0)
            print_error("no row ended for the reason %s\n", weir_reason_name(reached[i]));
        assert_true(tally.reasons[reached[i]] > 0);
    }
    for (int o = 0; o <= WEIR_OUTCOME_CANCELLED; o++)
        assert_true(o == WEIR_OUTCOME_CAPACITY || tally.outcomes[o] > 0);
    assert_true(tally.outcomes[WEIR_OUTCOME_CAPACITY] == 0);
    assert_true(tally.late > 0);
    assert_true(tally.put_failures > 0);
    assert_true(tally.stopped > 0 && tally.dropped > 0);
    assert_true(tally.shut_down > 0 && tally.refused_batches > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_random_worlds_every_promise_holds_after_every_step),
        cmocka_unit_test(the_random_worlds_reach_what_they_are_meant_to),
    };

    signal(SIGABRT, on_abort);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
