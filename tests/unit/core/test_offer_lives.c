/*
 * Random lives of pools whose rows are offered, in virtual time: executors that end attempts at
 * once or only ask, a pool of workers that die and are slow, refusals, failures, timeouts, ends by
 * hand, needs, limits that change in every way, pools that are held, removed and added, and batches
 * of the common kind in the same pools. After each step the dispatcher is asked whether all is
 * sound, and books of the test's own say that the permits are the attempts that run, with all that
 * these need.
 *
 *     WEIR_SEED=4711 WEIR_SEEDS=1 build/tests/unit/core/test_offer_lives
 *
 * run-tests: long
 */
#include "crew_test.h"

#include "base/rng.h"

#include <stdlib.h>

#define POOLS    3
#define OUT_MAX  256
#define SLOTS    2
#define PLACES   6
#define SESSIONS 3
#define STEPS    500

/* Says which life it was. */
#undef assert_true
#define assert_true(c)                                                                             \
    do {                                                                                           \
        if (!(c))                                                                                  \
            fail_msg("WEIR_SEED=%llu, step %d: %s", (unsigned long long)life.seed, life.step, #c); \
    } while (0)

struct life_pool;

struct row {
    struct core_task task; /* first */
    struct life_pool *pool;
    struct permit_need need;
    uint32_t numbers[PERMIT_SLOTS_MAX];
    int session;  /* -1: none */
    unsigned out; /* attempts; more than one where one was left behind */
    bool single, over;
};

struct life_pool {
    struct core_executor executor; /* first; not of the pool of workers */
    struct core_executor_ops ops;
    struct core_pool *pool; /* NULL: there is none */
    struct core_batch *single, *plain;
    uint64_t plain_next;
    struct core_attempt *out[OUT_MAX];
    size_t out_count;
    bool held, removed, told_gone, closed;
};

static struct life {
    struct crew_bench cb;          /* first */
    struct life_pool pools[POOLS]; /* the first has the workers */
    struct permit_slots slots[SLOTS];
    struct core_task *lent[BENCH_MAX];
    size_t lent_count;
    struct rng rng;
    uint64_t seed, rows, released, next_index;
    int step;
} life;

/* What has happened in all lives: a test that no longer reaches something would show nothing. */
static struct {
    uint64_t started, by_result[OFFER_NEVER + 1], by_block[PERMIT_BLOCKS], ended_by_hand, late,
        gone, raised, lowered, lost_workers, unbegun, refused, plain;
} tally;

static const char *const names[SESSIONS] = {"a", "b", "c"};

static uint64_t below(uint64_t n)
{
    return rng_u64(&life.rng) % n;
}

static bool one_in(uint64_t n)
{
    return below(n) == 0;
}

static struct instant now(void)
{
    return life.cb.b.now;
}

/* ---- what the dispatcher calls ---- */

static struct row *row_of(const struct core_attempt *a)
{
    return (struct row *)(uintptr_t)a->payload;
}

static void on_start(struct core_executor *ex, struct core_attempt *a)
{
    struct row *r = row_of(a);
    struct life_pool *p = r->pool;
    const struct permit_account *account = core_pool_permits(p->pool);

    (void)ex;
    assert_true(!p->held && !p->removed && (!r->single || !r->out) && !r->over);
    assert_true(account->running <= permit_limit(account));
    assert_true(account->all->running <= account->all->limit);
    assert_true(!instant_before(now(), core_pool_held_until(p->pool)));
    assert_true(p->out_count < OUT_MAX);
    if (r->single)
        assert_true(a->number == 1);
    for (size_t i = 0; r->session >= 0 && i < p->out_count; i++)
        assert_true(row_of(p->out[i])->session != r->session);
    r->out++;
    p->out[p->out_count++] = a;
    tally.started++;
}

static void on_cancel(struct core_executor *ex, struct core_attempt *a)
{
    (void)ex;
    assert_true(atomic_load(&a->cancelled) && row_of(a)->out);
}

static void on_close(struct core_executor *ex)
{
    ((struct life_pool *)(void *)ex)->closed = true;
}

static void on_close_crew(struct core_executor *ex)
{
    (void)ex;
    life.pools[0].closed = true;
}

static void on_finished(struct dispatcher_host *h, struct core_batch *b, struct core_task *t)
{
    struct row *r = (struct row *)t;

    (void)h;
    (void)b;
    assert_true(!r->over);
    r->over = true;
    tally.refused += r->single && t->answer.outcome == WEIR_OUTCOME_CAPACITY;
    if (r->single && t->answer.outcome == WEIR_OUTCOME_CAPACITY)
        assert_true(t->advised_ns >= 0);
}

static void on_retrying(struct dispatcher_host *h, struct core_batch *b, const struct core_task *t,
                        duration_ns wait_ns)
{
    (void)h;
    (void)b;
    (void)wait_ns;
    assert_true(!((const struct row *)t)->single);
}

static void on_deliver(struct dispatcher_host *h, struct core_batch *b, struct core_task *t)
{
    (void)h;
    (void)b;
    assert_true(((struct row *)t)->over);
    life.lent[life.lent_count++] = t;
}

static void on_closed(struct dispatcher_host *h, struct core_batch *b)
{
    (void)h;
    (void)b;
}

static void on_gone(struct dispatcher_host *h, struct core_pool *pool)
{
    (void)h;
    for (size_t i = 0; i < POOLS; i++)
        if (life.pools[i].pool == pool) {
            assert_true(life.pools[i].removed && life.pools[i].out_count == 0);
            life.pools[i].told_gone = true;
        }
}

static enum weir_status on_prepare(void *ctx, struct core_task *t, const uint32_t numbers[],
                                   struct weir_error *err)
{
    struct row *r = (struct row *)t;

    (void)ctx;
    if (one_in(30)) {
        snprintf(err->message, sizeof err->message, "no");
        return WEIR_E_INVALID;
    }
    memcpy(r->numbers, numbers, sizeof r->numbers);
    return WEIR_OK;
}

static void release(struct core_task *t)
{
    assert_true(!((struct row *)t)->out);
    life.released++;
    task_clear(t);
    mem_free(t);
}

static struct row *row_new(struct life_pool *p, uint64_t index)
{
    struct row *r = mem_calloc(1, sizeof *r);

    assert_true(r != NULL);
    task_init(&r->task);
    r->task.index = index;
    r->task.key = "k";
    r->task.payload = r;
    r->task.release = release;
    r->pool = p;
    r->session = -1;
    life.rows++;
    return r;
}

/* ---- the books ---- */

static void check_needs(const struct life_pool *p, bool taken[SLOTS][PLACES + 1])
{
    const struct permit_account *account = core_pool_permits(p->pool);
    uint64_t cpu = 0, memory = 0;

    for (size_t i = 0; i < p->out_count; i++) {
        const struct row *r = row_of(p->out[i]);

        if (!r->single)
            continue;
        cpu += r->need.cpu_milli;
        memory += r->need.memory_mib;
        for (size_t k = 0; k < PERMIT_SLOTS_MAX; k++) {
            size_t which = (size_t)(r->need.slots[k] - life.slots);

            if (!r->need.slots[k])
                continue;
            assert_true(r->numbers[k] >= 1 && r->numbers[k] <= PLACES);
            assert_true(!taken[which][r->numbers[k]]);
            taken[which][r->numbers[k]] = true;
        }
    }
    assert_true(account->cpu_milli == cpu && account->memory_mib == memory);
    assert_true(account->running == p->out_count);
}

static void check(void)
{
    bool taken[SLOTS][PLACES + 1] = {0};
    const char *wrong = dispatcher_check(life.cb.b.d);
    size_t out = 0;

    if (wrong)
        fail_msg("WEIR_SEED=%llu, step %d: %s", (unsigned long long)life.seed, life.step, wrong);
    for (size_t i = 0; i < POOLS; i++) {
        if (!life.pools[i].pool || life.pools[i].told_gone)
            continue;
        check_needs(&life.pools[i], taken);
        out += life.pools[i].out_count;
    }
    assert_true(dispatcher_running(life.cb.b.d) == out);
    for (size_t i = 0; i < SLOTS; i++) {
        uint32_t n = 0;

        for (size_t k = 1; k <= PLACES; k++)
            n += taken[i][k];
        assert_true(life.slots[i].taken == n);
    }
}

/* ---- reports ---- */

static void report(struct life_pool *p, size_t at, enum weir_outcome outcome, enum crew_answer how)
{
    struct core_attempt *a = p->out[at];

    p->out[at] = p->out[--p->out_count];
    row_of(a)->out--;
    a->answer.outcome = outcome;
    a->answer.retryable = one_in(2);
    if (outcome == WEIR_OUTCOME_CAPACITY && one_in(6))
        a->answer.advice.retry_after_ns = (duration_ns)(1 + below(3)) * NS_PER_S;
    if (a->worker)
        crew_answered(life.cb.crew, a->worker, a->session, how, now());
    dispatcher_report(life.cb.b.d, a, now());
    check();
}

static void lose_worker(struct worker *w, const char *cause)
{
    struct life_pool *p = &life.pools[0];

    for (size_t i = 0; i < p->out_count;) {
        if (p->out[i]->worker == w)
            report(p, i, WEIR_OUTCOME_LOST, CREW_ANSWER_NONE);
        else
            i++;
    }
    crew_bench_gone(&life.cb, w, cause);
}

static void report_one(struct life_pool *p)
{
    size_t at = p->out_count > 0 ? below(p->out_count) : 0;
    struct core_attempt *a;
    struct worker *w;

    if (p->out_count == 0)
        return;
    a = p->out[at];
    w = a->worker;
    if (atomic_load(&a->cancelled) && !one_in(4)) {
        report(p, at, WEIR_OUTCOME_CANCELLED, CREW_ANSWER_NONE);
        if (w)
            crew_kill(life.cb.crew, w, "its request was cancelled", NULL, now());
    } else if (w && one_in(15)) {
        a->not_begun = true;
        tally.unbegun++;
        report(p, at, WEIR_OUTCOME_LOST, CREW_ANSWER_UNSENT);
    } else if (one_in(4)) {
        report(p, at, WEIR_OUTCOME_CAPACITY, CREW_ANSWER_CAPACITY);
    } else if (one_in(4)) {
        report(p, at, WEIR_OUTCOME_FAILED, CREW_ANSWER_ERROR);
    } else {
        report(p, at, WEIR_OUTCOME_OK, CREW_ANSWER_OK);
    }
}

/* ---- turns ---- */

static void give_back(void)
{
    for (size_t i = 0; i < life.lent_count; i++)
        dispatcher_give_back(life.cb.b.d, life.lent[i]);
    life.lent_count = 0;
}

static void turn(void)
{
    struct bench *b = &life.cb.b;

    do {
        b->wake = dispatcher_run(b->d, b->now);
        assert_true(instant_before(b->now, b->wake));
        check();
        while (life.cb.ending_count > 0)
            lose_worker(life.cb.ending[0], "exited");
    } while (crew_bench_work(&life.cb));
    give_back();
    for (size_t i = 0; i < POOLS; i++)
        if (life.pools[i].told_gone) {
            assert_true(life.pools[i].closed);
            memset(&life.pools[i], 0, sizeof life.pools[i]);
            tally.gone++;
        }
    check();
}

static void advance(duration_ns by)
{
    struct bench *b = &life.cb.b;
    struct instant until = instant_add(b->now, by);

    while (!instant_before(until, b->wake)) {
        b->now = b->wake;
        turn();
    }
    b->now = until;
    turn();
}

/* ---- what is done to it ---- */

static struct core_batch *open_batch(struct life_pool *p, bool single)
{
    struct core_batch_options o;
    struct core_batch *batch;

    core_batch_options_init(&o);
    o.single = o.unordered = single;
    o.window_rows = single ? OUT_MAX : 16;
    o.prepare = single ? on_prepare : NULL;
    assert_int_equal(
        dispatcher_open_batch(life.cb.b.d, p->pool, &o, NULL, now(), &batch, &life.cb.b.err),
        WEIR_OK);
    return batch;
}

static void open_batches(struct life_pool *p)
{
    p->single = open_batch(p, true);
    p->plain = open_batch(p, false);
}

static void draw_pool_options(struct core_pool_options *o, size_t size)
{
    crew_bench_pool_options(o, size);
    o->gate.throttle.kind = one_in(2) ? THROTTLE_AIMD : THROTTLE_ADAPTIVE;
    o->gate.requests_per_minute = one_in(4) ? 600 : 0;
    o->breaker.on = one_in(3);
    o->breaker.failures = 2;
    o->breaker.open_ns = 2 * NS_PER_S;
    o->timeout_ns = one_in(2) ? 5 * NS_PER_S : 0;
}

static void add_pool(struct life_pool *p)
{
    struct core_pool_options o;

    memset(p, 0, sizeof *p);
    p->ops = (struct core_executor_ops){.kind = "life",
                                        .cancels_at_once = one_in(2),
                                        .start = on_start,
                                        .cancel = on_cancel,
                                        .close = on_close};
    p->executor.ops = &p->ops;
    draw_pool_options(&o, 1 + below(6));
    o.name = "plain";
    assert_int_equal(dispatcher_add_pool(life.cb.b.d, &o, &p->executor, &p->pool, &life.cb.b.err),
                     WEIR_OK);
    open_batches(p);
}

static void offer(struct life_pool *p)
{
    struct row *r = row_new(p, life.next_index++);
    struct core_offer o = {0};

    r->single = true;
    r->need.priority = (int32_t)below(3);
    r->need.cpu_milli = one_in(2) ? (uint32_t)below(3) * 500 : 0;
    r->need.memory_mib = one_in(2) ? 64 : 0;
    for (size_t i = 0; i < SLOTS; i++)
        if (one_in(4))
            r->need.slots[below(2) * 2 + i] = &life.slots[i];
    r->task.timeout_ns = one_in(4) ? (duration_ns)(1 + below(4000)) * NS_PER_MS : 0;
    r->task.tokens = (int64_t)below(3);
    r->task.capacity_retries = (uint32_t)below(3);
    if (p == &life.pools[0] && one_in(2)) {
        r->session = (int)below(SESSIONS);
        r->task.session = names[r->session];
    }
    assert_int_equal(
        dispatcher_offer(life.cb.b.d, p->single, &r->task, &r->need, now(), &o, &life.cb.b.err),
        WEIR_OK);
    tally.by_result[o.result]++;
    tally.by_block[o.block]++;
    assert_true((o.result == OFFER_STARTED) == (r->task.state == TASK_RUNNING));
    assert_true(o.result != OFFER_LIMIT || o.block != PERMIT_FREE);
    assert_true(o.result != OFFER_GATE || instant_before(now(), o.when));
    assert_true(o.result != OFFER_HELD || p->held || p->removed);
    if (o.result != OFFER_STARTED)
        release(&r->task);
}

static void submit(struct life_pool *p)
{
    struct row *r = row_new(p, p->plain_next);

    if (dispatcher_submit(life.cb.b.d, p->plain, &r->task, now(), &life.cb.b.err) != WEIR_OK) {
        release(&r->task);
        return;
    }
    p->plain_next++;
    tally.plain++;
}

static void end_by_hand(struct life_pool *p)
{
    static const enum weir_outcome outcomes[] = {WEIR_OUTCOME_LOST, WEIR_OUTCOME_CANCELLED,
                                                 WEIR_OUTCOME_TIMEOUT};
    struct row *r;

    if (p->out_count == 0)
        return;
    r = row_of(p->out[below(p->out_count)]);
    if (!r->single || r->over)
        return;
    if (dispatcher_end_attempt(life.cb.b.d, &r->task, outcomes[below(3)], WEIR_REASON_NONE,
                               "by hand", now())) {
        tally.ended_by_hand++;
        tally.late += r->over;
    }
}

static void change_limits(struct life_pool *p)
{
    struct permit_account *a = core_pool_permits(p->pool);
    size_t size = 1 + below(8);

    permit_settle(a, now());
    switch (below(6)) {
    case 0:
        dispatcher_set_global_limit(life.cb.b.d, one_in(3) ? 0 : 1 + below(10));
        break;
    case 1:
        a->cpu_milli_limit = below(4) * 700;
        a->memory_mib_limit = below(4) * 100;
        break;
    case 2:
        a->reserve = (struct permit_reserve){.min_priority = 1, .share = (double)below(4) / 4};
        break;
    case 3:
        a->burst.places = below(3);
        a->burst.seconds = 1 + (double)below(3);
        break;
    case 4:
        assert_true(permit_slots_resize(&life.slots[below(SLOTS)], (uint32_t)below(PLACES + 1)));
        break;
    default:
        tally.raised += size > a->limit;
        tally.lowered += size < a->running;
        assert_true(p->removed || dispatcher_set_pool_limit(life.cb.b.d, p->pool, size, now(),
                                                            &life.cb.b.err) == WEIR_OK);
        break;
    }
}

static void remove_pool(struct life_pool *p)
{
    p->removed = true;
    dispatcher_remove_pool(life.cb.b.d, p->pool, now());
    dispatcher_end(life.cb.b.d, p->single, now());
    dispatcher_stop(life.cb.b.d, p->plain, one_in(2), now());
}

static void free_batches(struct life_pool *p)
{
    struct core_batch **const batches[] = {&p->single, &p->plain};

    for (size_t i = 0; i < 2; i++) {
        struct core_batch *b = *batches[i];

        if (!b || !dispatcher_batch_closed(b) || !dispatcher_batch_idle(b))
            continue;
        dispatcher_free_batch(life.cb.b.d, b);
        *batches[i] = NULL;
    }
}

static void step_on(struct life_pool *p)
{
    if (p->removed) {
        report_one(p);
        give_back();
        free_batches(p);
        return;
    }
    switch (below(12)) {
    case 0:
        submit(p);
        break;
    case 1:
        end_by_hand(p);
        break;
    case 2:
        change_limits(p);
        break;
    case 3:
        if (one_in(4)) {
            p->held = !p->held;
            dispatcher_hold_pool(p->pool, p->held, now());
        }
        break;
    case 4:
        if (p != &life.pools[0] && one_in(8))
            remove_pool(p);
        break;
    case 5:
    case 6:
    case 7:
        report_one(p);
        break;
    default:
        offer(p);
        break;
    }
}

static void kill_some_worker(void)
{
    struct worker *w = crew_find(life.cb.crew, 1 + below(life.cb.spawns + 1));

    if (!w)
        return;
    tally.lost_workers++;
    lose_worker(w, "exited");
}

static void step(void)
{
    struct life_pool *p = &life.pools[below(POOLS)];

    if (!p->pool)
        add_pool(p);
    step_on(p);
    check();
    if (one_in(40))
        kill_some_worker();
    if (one_in(10))
        dispatcher_want_workers(life.pools[0].pool, below(4));
    life.cb.sleepy = one_in(4);
    turn();
    if (one_in(3))
        advance((duration_ns)below(600) * NS_PER_MS);
}

/* ---- beginning and end ---- */

static const struct core_executor_ops crew_ops = {.kind = "workers",
                                                  .cancels_at_once = true,
                                                  .start = on_start,
                                                  .cancel = on_cancel,
                                                  .close = on_close_crew};

static void begin(uint64_t seed)
{
    struct crew_options crew;
    struct core_pool_options o;

    memset(&life, 0, sizeof life);
    life.seed = seed;
    rng_seed(&life.rng, seed);
    crew_bench_crew_options(&crew, 2);
    crew.overflow = below(2);
    crew.lazy = one_in(2);
    crew.max_in_flight = 1 + (uint32_t)below(2);
    draw_pool_options(&o, (crew.size + crew.overflow) * crew.max_in_flight);
    crew_bench_init(&life.cb, &crew, &o);
    life.cb.says_takes = crew.max_in_flight;
    life.cb.b.executor.ops = &crew_ops;
    life.cb.b.host = (struct dispatcher_host){.finished = on_finished,
                                              .retrying = on_retrying,
                                              .deliver = on_deliver,
                                              .closed = on_closed,
                                              .pool_gone = on_gone};
    life.pools[0].pool = life.cb.b.pool;
    open_batches(&life.pools[0]);
    for (size_t i = 0; i < SLOTS; i++)
        assert_true(permit_slots_init(&life.slots[i], 2));
}

static bool any_batch(void)
{
    for (size_t i = 0; i < POOLS; i++)
        if (life.pools[i].single || life.pools[i].plain)
            return true;
    return false;
}

static void end(void)
{
    for (size_t i = 0; i < POOLS; i++)
        if (life.pools[i].pool && !life.pools[i].removed)
            remove_pool(&life.pools[i]);
    for (int i = 0; any_batch() || dispatcher_workers(life.cb.b.d) > 0; i++) {
        assert_true(i < 10000);
        for (size_t k = 0; k < POOLS; k++)
            if (life.pools[k].pool)
                step_on(&life.pools[k]);
        life.cb.sleepy = false;
        advance(NS_PER_S);
    }
    turn();
    assert_true(life.released == life.rows);
    for (size_t i = 0; i < POOLS; i++)
        assert_true(life.pools[i].pool == NULL); /* all are gone */
    for (size_t i = 0; i < SLOTS; i++)
        permit_slots_free(&life.slots[i]);
    assert_true(dispatcher_running(life.cb.b.d) == 0);
    dispatcher_free(life.cb.b.d);
    assert_true(crew_is_empty(life.cb.crew));
    crew_free(life.cb.crew);
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void no_life_breaks_what_must_hold(void **state)
{
    uint64_t first = from_environment("WEIR_SEED", 1), count = from_environment("WEIR_SEEDS", 300);

    (void)state;
    for (uint64_t seed = first; seed < first + count; seed++) {
        begin(seed);
        for (life.step = 0; life.step < STEPS; life.step++)
            step();
        end();
    }
}

static void everything_has_happened(void **state)
{
    const uint64_t *n = (const uint64_t *)(const void *)&tally;

    (void)state;
    if (from_environment("WEIR_SEEDS", 300) < 100)
        skip();
    for (size_t i = 0; i < sizeof tally / sizeof *n; i++)
        if (n[i] == 0)
            fail_msg("the %zuth of the things that are counted has never happened", i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_life_breaks_what_must_hold),
        cmocka_unit_test(everything_has_happened),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
