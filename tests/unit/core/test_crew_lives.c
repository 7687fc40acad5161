/*
 * Random lives of two pools of workers, the second the fallback of the first, in virtual time:
 * sessions, retries, breakers, deadlines, workers that die, cannot start, fail their checks or are
 * not given what they should; batches in order and not, stopped and shut down. After each step the
 * dispatcher is asked whether all is sound, and books of the test's own say whether sessions are in
 * order and one at a time, and each row ends once.
 *
 *     WEIR_SEED=4711 WEIR_SEEDS=1 build/tests/unit/core/test_crew_lives
 */
#include "crew_test.h"

#include "base/rng.h"
#include "core/worker/recovery.h"

#include <stdlib.h>

#define ROWS     120
#define BATCHES  4
#define SESSIONS 5
#define STEPS    600

/* Says which life it was. */
#undef assert_true
#define assert_true(c)                                                                             \
    do {                                                                                           \
        if (!(c))                                                                                  \
            fail_msg("WEIR_SEED=%llu: %s", (unsigned long long)life.seed, #c);                     \
    } while (0)

struct row {
    struct core_batch *batch;
    uint64_t came; /* in all batches */
    int session;   /* -1: none */
    bool running, over;
    uint32_t started;
};

static struct life {
    struct crew_bench own, other;
    struct rng rng;
    struct core_batch *batches[BATCHES];
    bool stopped[BATCHES];
    uint64_t added[BATCHES];
    struct row rows[BATCHES * ROWS];
    size_t row_count;
    uint64_t results, seed;
    bool shut_down;
} life;

static const char *const names[SESSIONS] = {"a", "b", "c", "d", "e"};

static uint64_t below(uint64_t n)
{
    return rng_u64(&life.rng) % n;
}

static bool one_in(uint64_t n)
{
    return below(n) == 0;
}

/* ---- the books ---- */

static void on_start(struct core_executor *ex, struct core_attempt *a)
{
    struct row *r = (struct row *)(uintptr_t)a->payload;

    assert_false(r->running || r->over);
    assert_false(life.shut_down);
    r->running = true;
    r->started++;
    for (size_t i = 0; r->session >= 0 && i < life.row_count; i++) {
        const struct row *before = &life.rows[i];

        if (before == r || before->session != r->session)
            continue;
        assert_false(before->running);
        assert_true(before->over || before->came > r->came);
    }
    bench_start_attempt(ex, a);
}

static void on_finished(struct dispatcher_host *h, struct core_batch *b, struct core_task *t)
{
    struct row *r = (struct row *)(uintptr_t)t->payload;

    (void)h;
    (void)b;
    assert_false(r->over);
    r->over = true;
    r->running = false;
}

/* An attempt has ended; of a batch that was stopped, its row is dropped then. */
static void comes_back(struct row *r)
{
    r->running = false;
    for (size_t i = 0; i < BATCHES; i++)
        r->over |= life.stopped[i] && life.batches[i] == r->batch;
}

static void on_retrying(struct dispatcher_host *h, struct core_batch *b, const struct core_task *t,
                        duration_ns wait_ns)
{
    (void)h;
    (void)b;
    (void)wait_ns;
    comes_back((struct row *)(uintptr_t)t->payload);
}

static void on_deliver(struct dispatcher_host *h, struct core_batch *b, struct core_task *t)
{
    (void)b;
    assert_true(((struct row *)(uintptr_t)t->payload)->over);
    life.results++;
    ((struct bench *)(void *)h)->lent[((struct bench *)(void *)h)->lent_count++] = t;
}

static void on_closed(struct dispatcher_host *h, struct core_batch *b)
{
    (void)h;
    (void)b;
}

static const struct core_executor_ops ops = {.kind = "bench",
                                             .cancels_at_once = true,
                                             .start = on_start,
                                             .cancel = bench_cancel,
                                             .close = bench_close};

/* ---- a life ---- */

static void make_crew(struct crew_bench *cb, struct core_pool_options *pool)
{
    struct crew_options crew;

    crew_bench_crew_options(&crew, 1 + below(3));
    crew.overflow = below(3);
    crew.max_in_flight = 1 + (uint32_t)below(3);
    crew.lazy = one_in(3);
    crew.order = one_in(2) ? CREW_LIFO : CREW_FIFO;
    crew.recycle_requests = one_in(3) ? 1 + below(10) : 0;
    crew.affinity.idle_ns = (duration_ns)(1 + below(20)) * NS_PER_S;
    crew.affinity.sweep_ns = NS_PER_S;
    crew_bench_pool_options(pool, (crew.size + crew.overflow) * crew.max_in_flight);
    pool->recovery = one_in(4) ? NULL : recovery_table();
    pool->max_attempts = 1 + (uint32_t)below(4);
    pool->breaker.on = !one_in(3);
    pool->breaker_fails = one_in(4);
    pool->timeout_ns = one_in(2) ? 20 * NS_PER_S : 0;
    pool->checkout_timeout_ns = one_in(3) ? 5 * NS_PER_S : 0;
    pool->call_checkout_timeout_ns = one_in(3) ? 5 * NS_PER_S : 0;
    if (one_in(3))
        pool->gate.min_dispatch_delay_ns = NS_PER_S / 10;
    memset(cb, 0, sizeof *cb);
    cb->says_takes = (uint32_t)below(4);
    cb->edge = (struct crew_edge){
        .spawn = crew_bench_spawn, .ping = crew_bench_ping, .end = crew_bench_end_worker};
    cb->crew_host.tell = crew_bench_tell;
    cb->b.executor.ops = &ops;
    cb->b.now = (struct instant){1000 * NS_PER_S};
    assert_int_equal(crew_new(&crew, &cb->edge, &cb->crew_host, cb->b.now, &cb->crew, &cb->b.err),
                     WEIR_OK);
    cb->b.executor.crew = cb->crew;
}

static void begin(uint64_t seed)
{
    struct core_pool_options own, other;
    struct dispatcher_options d = {.seed = seed};
    struct bench *b = &life.own.b;
    struct core_pool *fallback;

    memset(&life, 0, sizeof life);
    life.seed = seed;
    rng_seed(&life.rng, seed);
    make_crew(&life.own, &own);
    make_crew(&life.other, &other);
    other.name = "other";
    if (one_in(4))
        d.global_limit = 1 + below(4);
    b->host = (struct dispatcher_host){.finished = on_finished,
                                       .retrying = on_retrying,
                                       .deliver = on_deliver,
                                       .closed = on_closed};
    d.host = &b->host;
    b->observer.ops = &bench_observer_ops;
    d.observer = &b->observer;
    assert_int_equal(dispatcher_new(&d, &b->d, &b->err), WEIR_OK);
    life.other.b.d = b->d;
    assert_int_equal(dispatcher_add_pool(b->d, &own, &b->executor, &b->pool, &b->err), WEIR_OK);
    assert_int_equal(dispatcher_add_pool(b->d, &other, &life.other.b.executor, &fallback, &b->err),
                     WEIR_OK);
    if (!one_in(4))
        assert_int_equal(dispatcher_set_fallback(b->d, b->pool, fallback, &b->err), WEIR_OK);
    for (size_t i = 0; i < BATCHES; i++) {
        struct core_batch_options bo;

        core_batch_options_init(&bo);
        bo.unordered = one_in(2);
        bo.output_bytes = one_in(3) ? 8 : 0;
        life.batches[i] = bench_open_in(b, i == 3 ? fallback : b->pool, &bo);
    }
}

static void run(void)
{
    struct bench *b = &life.own.b;

    do {
        life.other.b.now = b->now;
        b->wake = dispatcher_run(b->d, b->now);
        bench_check(b);
    } while ((int)crew_bench_work(&life.own) | (int)crew_bench_work(&life.other));
    assert_true(instant_before(b->now, b->wake));
    if (!one_in(5))
        bench_give_back(b);
}

static void advance(duration_ns by)
{
    struct bench *b = &life.own.b;
    struct instant until = instant_add(b->now, by);

    while (!instant_before(until, b->wake)) {
        b->now = b->wake;
        run();
    }
    b->now = until;
    run();
}

static void add_row(void)
{
    struct bench *b = &life.own.b;
    size_t at = below(BATCHES);
    struct row *r = &life.rows[life.row_count];
    struct core_task *t;

    if (life.shut_down || life.stopped[at] || life.added[at] >= ROWS)
        return;
    *r = (struct row){.batch = life.batches[at],
                      .came = life.row_count,
                      .session = at < 3 && !one_in(3) ? (int)below(SESSIONS) : -1};
    life.row_count++;
    t = bench_row(life.batches[at], life.added[at]++);
    t->payload = r;
    t->session = r->session >= 0 ? names[r->session] : NULL;
    t->is_call = one_in(5);
    t->deadline_ns = one_in(8) ? (duration_ns)(1 + below(30)) * NS_PER_S : 0;
    bench_submit(b, life.batches[at], t);
}

/* An attempt of one of the pools ends, some way or other. */
static void end_one(struct crew_bench *cb)
{
    struct core_attempt *a;

    if (cb->b.running_count == 0)
        return;
    a = cb->b.running[below(cb->b.running_count)];
    switch (below(10)) {
    case 0:
    case 1:
        a->answer.outcome = WEIR_OUTCOME_FAILED;
        a->answer.reason = WEIR_REASON_CALLBACK;
        a->answer.retryable = one_in(2);
        crew_bench_report(cb, a, CREW_ANSWER_ERROR);
        return;
    case 2:
        a->answer.outcome = WEIR_OUTCOME_CAPACITY;
        crew_bench_report(cb, a, CREW_ANSWER_CAPACITY);
        return;
    case 3:
        comes_back((struct row *)(uintptr_t)a->payload);
        a->not_begun = true;
        crew_bench_report(cb, a, CREW_ANSWER_NONE);
        return;
    default:
        a->answer.outcome = WEIR_OUTCOME_OK;
        a->answer.reason = WEIR_REASON_NONE;
        answer_set_output(&a->answer, "abcd", 4);
        crew_bench_report(cb, a, CREW_ANSWER_OK);
    }
}

static void pick_first(void *ctx, const struct worker *w)
{
    const struct worker **ret = ctx;

    if (!*ret || one_in(3))
        *ret = w;
}

static void kill_one(struct crew_bench *cb)
{
    const struct worker *w = NULL;

    crew_each(cb->crew, pick_first, &w);
    if (w && w->life.state != WORKER_INITIALIZING)
        crew_bench_gone(cb, crew_find(cb->crew, w->id), "exited");
}

static void stop_one(void)
{
    size_t at = below(BATCHES);

    if (life.stopped[at] || life.shut_down)
        return;
    life.stopped[at] = true;
    /* What is dropped is over: the next of its session may go. */
    for (size_t i = 0; i < life.row_count; i++)
        life.rows[i].over |= life.rows[i].batch == life.batches[at] && !life.rows[i].running;
    dispatcher_stop(life.own.b.d, life.batches[at], one_in(2), life.own.b.now);
}

static void step(void)
{
    struct crew_bench *cb = one_in(3) ? &life.other : &life.own;

    switch (below(40)) {
    case 0:
        kill_one(cb);
        break;
    case 1:
        cb->broken = !cb->broken;
        break;
    case 2:
        cb->sleepy = !cb->sleepy;
        break;
    case 3:
        (void)affinity_release(crew_affinity(cb->crew), names[below(SESSIONS)], 1, cb->b.now);
        break;
    case 4:
        if (one_in(10))
            stop_one();
        break;
    case 5:
        dispatcher_reset_breaker(life.own.b.pool, life.own.b.now);
        break;
    case 6:
        dispatcher_hold_pool(life.own.b.pool, one_in(3), life.own.b.now);
        break;
    case 7:
    case 8:
    case 9:
        advance((duration_ns)below(5) * NS_PER_S);
        break;
    default:
        if (one_in(2))
            add_row();
        else
            end_one(cb);
    }
    run();
}

static void end_all(struct crew_bench *cb)
{
    while (cb->b.running_count > 0) {
        struct core_attempt *a = cb->b.running[0];

        a->answer.outcome = WEIR_OUTCOME_OK;
        crew_bench_report(cb, a, CREW_ANSWER_OK);
    }
}

static bool all_closed(void)
{
    for (size_t i = 0; i < BATCHES; i++)
        if (!dispatcher_batch_closed(life.batches[i]))
            return false;
    return true;
}

static void end(void)
{
    struct bench *b = &life.own.b;
    uint64_t expected = 0;

    life.own.broken = life.other.broken = life.own.sleepy = life.other.sleepy = false;
    dispatcher_hold_pool(b->pool, false, b->now);
    for (size_t i = 0; i < BATCHES; i++)
        dispatcher_end(b->d, life.batches[i], b->now);
    if (one_in(3)) {
        life.shut_down = true;
        dispatcher_shutdown(b->d, one_in(2), b->now);
    }
    run();
    for (int turn = 0; !all_closed(); turn++) {
        assert_true(turn < 10000); /* P5: nothing waits for ever */
        end_all(&life.own);
        end_all(&life.other);
        run();
        bench_give_back(b);
        advance(NS_PER_S);
    }
    bench_give_back(b);
    life.shut_down = true;
    dispatcher_shutdown(b->d, true, b->now);
    run();
    for (int turn = 0; dispatcher_workers(b->d) > 0; turn++) {
        assert_true(turn < 100);
        advance(NS_PER_S);
    }
    for (size_t i = 0; i < BATCHES; i++) {
        if (!life.stopped[i])
            expected += life.added[i];
        dispatcher_free_batch(b->d, life.batches[i]);
    }
    assert_true(life.results >= expected);
    assert_int_equal(b->released, life.row_count);
    assert_int_equal(dispatcher_running(b->d), 0);
    dispatcher_free(b->d);
    crew_free(life.own.crew);
    crew_free(life.other.crew);
}

/* A life here takes as long as so many in the simulation (tests/simulation/test_workers.c), whose seeds are counted. */
#define LONG_LIVES 10

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void whatever_happens_all_is_sound_and_every_row_ends_once(void **state)
{
    uint64_t first = number("WEIR_SEED", 1), count = number("WEIR_SEEDS", 100);

    (void)state;
    if (count >= 10 * LONG_LIVES)
        count /= LONG_LIVES;
    for (uint64_t seed = first; seed < first + count; seed++) {
        begin(seed);
        for (int i = 0; i < STEPS; i++)
            step();
        end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_happens_all_is_sound_and_every_row_ends_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
