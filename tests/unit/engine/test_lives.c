/*
 * Any life of a pool with real threads, from a seed: rows of very short work, which go in runs
 * (src/core/run.c), and among them some that fail, are refused, take long, give much back, end
 * their thread, or call the library; several batches of any window; adders and takers at any pace;
 * and now and then a stop, a shutdown or a close in the middle.
 *
 * What a row does follows from the seed and its number, so what its result must say is known
 * (struct fate), and what the statistics must say is the sum over the results.
 *
 *     WEIR_SEED=17 WEIR_SEEDS=1 build/tests/unit/engine/test_lives      # one life again
 *
 * run-tests: long
 */
#include "engine_test.h"

#include <inttypes.h>
#include <sched.h>

#define SEEDS   60
#define ROWS    6000
#define BATCHES 3
#define LARGE   300

enum deed {
    QUICKLY,
    SAYS_LITTLE, /* no output */
    SAYS_MUCH,
    TAKES_LONG,
    FAILS,
    FAILS_ONCE,
    FULL_TWICE,
    SAYS_NOTHING,
    ENDS_THREAD,
    CALLS_BACK,
    ADVISES, /* done well, but more is to be judged than that */
    DEEDS
};

enum end { TO_THE_END, STOP, SHUTDOWN, CLOSE, ENDS };

/* What becomes of a row that is let finish. */
struct fate {
    enum weir_outcome outcome;
    uint32_t attempts, refusals;
};

static const struct fate fates[DEEDS] = {
    [QUICKLY] = {WEIR_OUTCOME_OK, 1, 0},     [SAYS_LITTLE] = {WEIR_OUTCOME_OK, 1, 0},
    [SAYS_MUCH] = {WEIR_OUTCOME_OK, 1, 0},   [TAKES_LONG] = {WEIR_OUTCOME_OK, 1, 0},
    [FAILS] = {WEIR_OUTCOME_FAILED, 1, 0},   [FAILS_ONCE] = {WEIR_OUTCOME_OK, 2, 0},
    [FULL_TWICE] = {WEIR_OUTCOME_OK, 3, 2},  [SAYS_NOTHING] = {WEIR_OUTCOME_OK, 2, 0},
    [ENDS_THREAD] = {WEIR_OUTCOME_OK, 2, 0}, [CALLS_BACK] = {WEIR_OUTCOME_OK, 1, 0},
    [ADVISES] = {WEIR_OUTCOME_OK, 1, 0},
};

struct life {
    uint64_t seed;
    unsigned odd_one_in; /* rows */
    enum end end;
    bool gently; /* a stop lets rows finish that run, a shutdown too */
    uint64_t size;
    enum weir_throttle throttle;
    atomic_int running, peak;
    struct house house;
    struct stream {
        struct life *life;
        unsigned number;
        struct weir_batch *batch;
        uint64_t rows, window_rows, end_after, added;
        unsigned group_max; /* rows added in one call */
        bool with_deadlines;
        atomic_uint_fast64_t taken;
        atomic_uchar attempts[ROWS];
        bool completed[ROWS];
        struct weir_stats sum; /* over the results */
        pthread_t adder, taker;
    } streams[BATCHES];
    unsigned count;
};

/* splitmix64: any of many numbers, the same for the same question. */
static uint64_t any(uint64_t seed, uint64_t a, uint64_t b)
{
    uint64_t z = seed * 0x9e3779b97f4a7c15u + a * 0xd1b54a32d192ed03u + b + 1;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t any_below(const struct life *l, uint64_t a, uint64_t b, uint64_t most)
{
    return any(l->seed, a, b) % most;
}

static enum deed deed_of(const struct stream *s, uint64_t n)
{
    enum deed deed;

    if (any_below(s->life, 100 + s->number, n, s->life->odd_one_in) > 0)
        return n % 5 ? QUICKLY : SAYS_LITTLE;
    deed = (enum deed)any_below(s->life, 200 + s->number, n, DEEDS);
    /* After a refusal only this one waits no longer than it was told to, and this is no test of the others. */
    return deed == FULL_TWICE && s->life->throttle != WEIR_THROTTLE_AIMD ? QUICKLY : deed;
}

/* In any thread, where cmocka's own assertions must not be used. */
#define must(holds)                                                                                \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__, #holds);                 \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ---- the rows' work ---- */

static void say_done(struct weir_answer *answer, enum deed deed, uint64_t n)
{
    char much[LARGE];

    if (deed == SAYS_LITTLE) {
        must(weir_answer_ok(answer, NULL, 0));
        return;
    }
    memset(much, 'x', sizeof much);
    memcpy(much, &n, sizeof n);
    must(weir_answer_ok(answer, much, deed == SAYS_MUCH ? sizeof much : sizeof n));
}

static void act(struct stream *s, uint64_t n, unsigned attempt, struct weir_answer *answer)
{
    enum deed deed = deed_of(s, n);
    struct weir_stats stats;
    struct timespec until, now;

    if (deed == FAILS || (deed == FAILS_ONCE && attempt == 1)) {
        weir_answer_failed(answer, deed != FAILS, 7, "no");
    } else if (deed == FULL_TWICE && attempt <= 2) {
        weir_answer_capacity(answer, 429, NULL);
    } else if (deed == SAYS_NOTHING && attempt == 1) {
        return;
    } else if (deed == ENDS_THREAD && attempt == 1) {
        atomic_fetch_sub(&s->life->running, 1);
        pthread_exit(NULL);
    } else {
        if (deed == CALLS_BACK)
            weir_batch_stats(s->batch, &stats, NULL);
        if (deed == ADVISES)
            weir_answer_capacity(answer, 429, "it does not stay so");
        if (deed == TAKES_LONG) {
            clock_gettime(CLOCK_MONOTONIC, &until);
            until.tv_nsec += (long)any_below(s->life, 300, n, 8) * 1000000;
            do {
                sched_yield();
                clock_gettime(CLOCK_MONOTONIC, &now);
            } while ((now.tv_sec - until.tv_sec) * 1000000000 + now.tv_nsec < until.tv_nsec);
        }
        say_done(answer, deed, n);
    }
}

static void work(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    struct stream *s = row->user;
    struct life *l = s->life;
    int running = atomic_fetch_add(&l->running, 1) + 1, peak = atomic_load(&l->peak);
    uint64_t n;

    (void)ctx;
    while (running > peak && !atomic_compare_exchange_weak(&l->peak, &peak, running))
        ;
    memcpy(&n, row->data, sizeof n);
    /* The window: no more rows than that are between add and the end of their loan. */
    must(n < atomic_load(&s->taken) + s->window_rows);
    act(s, n, atomic_fetch_add(&s->attempts[n], 1) + 1u, answer);
    atomic_fetch_sub(&l->running, 1);
}

/* ---- adding and taking ---- */

static void *add_rows(void *arg)
{
    static char large_key[200] = "large";
    struct stream *s = arg;
    enum weir_status status = WEIR_OK;
    char data[128][LARGE];
    struct weir_row rows[128];

    memset(large_key + 5, 'k', sizeof large_key - 6);
    while (s->added < s->rows && status == WEIR_OK) {
        uint64_t count = 1 + any_below(s->life, 400 + s->number, s->added, s->group_max);
        size_t added;

        if (count > s->rows - s->added)
            count = s->rows - s->added;
        for (uint64_t i = 0; i < count; i++) {
            uint64_t n = s->added + i, kind = any_below(s->life, 500 + s->number, n, 400);

            memcpy(data[i], &n, sizeof n);
            rows[i] = (struct weir_row){.data = data[i], .len = sizeof n, .user = s};
            rows[i].len = kind == 0 ? LARGE : sizeof n;
            rows[i].key = kind == 1 ? large_key : kind == 2 ? "same" : NULL;
            rows[i].deadline_ms = s->with_deadlines && kind == 3 ? 3600000 : 0;
        }
        status = weir_batch_add_many(s->batch, rows, (size_t)count, true, &added, NULL);
        s->added += added;
    }
    weir_batch_end(s->batch, NULL);
    return NULL;
}

/* The record of a row, and what it adds to the statistics. */
static void check_result(struct stream *s, const struct weir_result *r, uint64_t n)
{
    unsigned attempts;
    char key[24];

    snprintf(key, sizeof key, "%" PRIu64, n);
    must(r->submit_index == n);
    must(r->user == s);
    must(r->key[0] == 'l' || r->key[0] == 's' || !strcmp(r->key, key));
    must(r->complete_index < s->rows && !s->completed[r->complete_index]);
    s->completed[r->complete_index] = true;
    attempts = atomic_load(&s->attempts[n]);
    /* One that a shutdown has ended may have waited for its thread to wake up. */
    must(r->attempts == attempts ||
         (r->outcome == WEIR_OUTCOME_CANCELLED && r->attempts == attempts + 1));
    must(r->submit_time_ns <= r->complete_time_ns);
    must(r->complete_time_ns <= r->deliver_time_ns);
    must(r->buffer_wait_ns == r->deliver_time_ns - r->complete_time_ns);
    if (r->attempts > 0)
        must(r->submit_time_ns <= r->start_time_ns && r->start_time_ns <= r->complete_time_ns);
    else
        must(r->start_time_ns == 0);
    s->sum.attempts += r->attempts;
    s->sum.pool_stats.capacity_retries += r->capacity_retries;
    s->sum.pool_stats.successes += r->outcome == WEIR_OUTCOME_OK;
    s->sum.pool_stats.failures += r->outcome != WEIR_OUTCOME_OK;
}

static void check_output(const struct weir_result *r, enum deed deed, uint64_t n)
{
    size_t len = deed == SAYS_LITTLE ? 0 : deed == SAYS_MUCH ? LARGE : sizeof n;

    must(r->output_len == len);
    must(!memcmp(r->output, &n, len < sizeof n ? len : sizeof n));
    must(((const char *)r->output)[len] == '\0');
}

static void check_fate(struct stream *s, const struct weir_result *r, uint64_t n)
{
    enum deed deed = deed_of(s, n);
    const struct fate *f = &fates[deed];

    if (r->outcome == WEIR_OUTCOME_CANCELLED && s->life->end == SHUTDOWN) {
        must(r->reason == WEIR_REASON_SHUTDOWN_REQUESTED);
        return;
    }
    must(r->outcome == f->outcome);
    must(r->attempts == f->attempts);
    must(r->capacity_retries == f->refusals);
    must(r->status == (deed == FAILS ? 7 : 0));
    must(!strcmp(r->message, deed == FAILS ? "no" : ""));
    if (r->outcome == WEIR_OUTCOME_OK)
        check_output(r, deed, n);
}

static void end_early(struct stream *s)
{
    if (s->life->end == STOP)
        weir_batch_stop(s->batch, !s->life->gently, NULL);
    else if (s->life->end == SHUTDOWN)
        weir_shutdown(s->life->house.engine, s->life->gently, NULL);
}

static void *take_results(void *arg)
{
    struct stream *s = arg;
    const struct weir_result *r;
    enum weir_status status;
    uint64_t n = 0;

    while ((status = weir_batch_next(s->batch, DEADLINE_S * 1000, &r, NULL)) == WEIR_OK) {
        atomic_store(&s->taken, n + 1);
        check_result(s, r, n);
        check_fate(s, r, n);
        if (++n != s->end_after)
            continue;
        if (s->life->end == CLOSE)
            return NULL;
        end_early(s);
    }
    must(status == WEIR_E_END);
    return NULL;
}

/* ---- a life ---- */

static void begin(struct life *l, uint64_t seed)
{
    static const uint64_t sizes[] = {1, 2, 3, 8, 64};
    static const unsigned odd[] = {20000, 2000, 500, 60};
    struct weir_pool_options o;

    l->seed = seed;
    l->odd_one_in = odd[any_below(l, 1, 0, 4)];
    l->end = any_below(l, 2, 0, 2) ? TO_THE_END : (enum end)any_below(l, 2, 1, ENDS);
    l->gently = any_below(l, 3, 0, 2);
    l->size = sizes[any_below(l, 4, 0, 5)];
    l->count = 1 + (unsigned)any_below(l, 5, 0, BATCHES);
    o = quick_options(l->size);
    o.throttle = l->throttle = (enum weir_throttle)any_below(l, 6, 0, 3);
    l->house = house_open_with(&o, work, NULL);
    for (unsigned i = 0; i < l->count; i++) {
        static const uint32_t windows[] = {4096, 16384, 500, 130, 5};
        struct stream *s = &l->streams[i];
        struct weir_batch_options b;

        weir_batch_options_init(&b);
        s->life = l;
        s->number = i;
        s->window_rows = b.window_rows = windows[any_below(l, 8, i, 5)];
        b.window_bytes = any_below(l, 9, i, 3) ? b.window_bytes : 10000;
        /* A small window costs a change of threads for every few rows. */
        s->rows = 1 + any_below(l, 7, i, s->window_rows < 100 ? ROWS / 20 : ROWS);
        s->end_after = any_below(l, 10, i, s->rows);
        s->group_max = any_below(l, 11, i, 3) ? 128 : 3;
        s->with_deadlines = any_below(l, 12, i, 2);
        ok(weir_batch_open(l->house.pool, &b, &s->batch, &err));
    }
}

static void check_stats(const struct weir_stats *t, const struct weir_stats *sum, uint64_t rows)
{
    assert_int_equal(t->accepted, rows);
    assert_int_equal(t->finished, rows);
    assert_int_equal(t->delivered, rows);
    assert_int_equal(t->pending, 0);
    assert_int_equal(t->attempts, sum->attempts);
    assert_int_equal(t->pool_stats.capacity_retries, sum->pool_stats.capacity_retries);
    assert_int_equal(t->pool_stats.successes, sum->pool_stats.successes);
    assert_int_equal(t->pool_stats.failures, sum->pool_stats.failures);
    assert_true(t->pool_stats.max_concurrent_reached <= t->pool_config.pool_size);
}

/* Where nothing was stopped all that was done is in some result. */
static void check_sums(struct life *l)
{
    struct weir_stats t, all = {0};
    uint64_t rows = 0;

    for (unsigned i = 0; i < l->count; i++) {
        struct stream *s = &l->streams[i];

        ok(weir_batch_stats(s->batch, &t, &err));
        assert_int_equal(s->taken, s->added);
        check_stats(&t, &s->sum, s->added);
        rows += s->added;
        all.attempts += s->sum.attempts;
        all.pool_stats.capacity_retries += s->sum.pool_stats.capacity_retries;
        all.pool_stats.successes += s->sum.pool_stats.successes;
        all.pool_stats.failures += s->sum.pool_stats.failures;
    }
    ok(weir_pool_stats(l->house.pool, &t, &err));
    check_stats(&t, &all, rows);
    assert_true(atomic_load(&l->peak) <= (int)l->size);
}

static void live(uint64_t seed)
{
    struct life *l = calloc(1, sizeof *l);

    assert_non_null(l);
    begin(l, seed);
    for (unsigned i = 0; i < l->count; i++) {
        assert_int_equal(pthread_create(&l->streams[i].adder, NULL, add_rows, &l->streams[i]), 0);
        assert_int_equal(pthread_create(&l->streams[i].taker, NULL, take_results, &l->streams[i]),
                         0);
    }
    for (unsigned i = 0; i < l->count; i++) {
        struct stream *s = &l->streams[i];

        pthread_join(s->taker, NULL);
        if (l->end == CLOSE) /* for the adder to come back; closing does the rest */
            ok(weir_batch_stop(s->batch, !l->gently, &err));
        pthread_join(s->adder, NULL);
    }
    if (l->end == TO_THE_END || l->end == SHUTDOWN)
        check_sums(l);
    for (unsigned i = 0; i < l->count; i++)
        weir_batch_close(l->streams[i].batch);
    house_close(&l->house);
    assert_int_equal(atomic_load(&l->running), 0);
    free(l);
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void in_any_life_results_and_statistics_are_those_of_the_rows(void **state)
{
    uint64_t seed = number_of("WEIR_SEED", 1), seeds = number_of("WEIR_SEEDS", SEEDS);

    (void)state;
    for (; seeds > 0; seeds--, seed++) {
        print_message("seed %" PRIu64 "\n", seed);
        live(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_any_life_results_and_statistics_are_those_of_the_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
