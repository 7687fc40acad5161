/*
 * The dispatcher's bench (core_test.h) with a pool of workers: a real crew, whose edge does what
 * the test lets it.
 *
 *     struct crew_bench cb;
 *     crew_bench_init(&cb, NULL, NULL);               // crew options, pool options; NULL: two workers
 *     batch = bench_open(&cb.b, NULL);
 *     crew_bench_add(&cb, batch, 0, "s"); ...; dispatcher_end(cb.b.d, batch, cb.b.now);
 *     crew_bench_run(&cb);                            // workers start and answer their pings at once
 *     crew_bench_ok(&cb, 0);                          // row 0's attempt ends well
 *     crew_bench_kill(&cb, 1);                        // worker 1 dies
 *     bench_free(&cb.b, batch); crew_bench_end(&cb);
 */
#ifndef CREW_TEST_H
#define CREW_TEST_H

#include "core_test.h"

#include "core/internal.h"

#define CREW_BENCH_MAX 1024

struct crew_bench {
    struct bench b; /* first */
    struct crew_edge edge;
    struct crew_host crew_host;
    struct crew *crew;
    struct worker *spawning[CREW_BENCH_MAX], *pinged[CREW_BENCH_MAX], *ending[CREW_BENCH_MAX];
    size_t spawning_count, pinged_count, ending_count;
    bool broken;         /* starts fail */
    bool sleepy;         /* starts wait */
    uint32_t says_takes; /* in its answer to a ping */
    int64_t last_pid;
    uint64_t spawns;
    size_t transitions;
};

static struct crew_bench *crew_bench_of(struct crew_edge *e)
{
    return (struct crew_bench *)(void *)((char *)e - offsetof(struct crew_bench, edge));
}

static void crew_bench_spawn(struct crew_edge *e, struct worker *w)
{
    struct crew_bench *cb = crew_bench_of(e);

    cb->spawning[cb->spawning_count++] = w;
    cb->spawns++;
}

static void crew_bench_ping(struct crew_edge *e, struct worker *w)
{
    struct crew_bench *cb = crew_bench_of(e);

    cb->pinged[cb->pinged_count++] = w;
}

static void crew_bench_end_worker(struct crew_edge *e, struct worker *w, enum crew_end how)
{
    struct crew_bench *cb = crew_bench_of(e);

    (void)how;
    for (size_t i = 0; i < cb->ending_count; i++)
        if (cb->ending[i] == w)
            return;
    cb->ending[cb->ending_count++] = w;
}

static void crew_bench_tell(struct crew_host *h, const struct core_event *ev)
{
    struct crew_bench *cb =
        (struct crew_bench *)(void *)((char *)h - offsetof(struct crew_bench, crew_host));

    assert_int_equal(ev->kind, EVENT_WORKER_TRANSITION);
    cb->transitions++;
}

/* Attempts of w, or of all workers with NULL, that run. */
static inline size_t crew_bench_in_hand(const struct crew_bench *cb, const struct worker *w)
{
    size_t n = 0;

    for (size_t i = 0; i < cb->b.running_count; i++)
        n += !w || cb->b.running[i]->worker == w;
    return n;
}

static void crew_bench_forget(struct worker **list, size_t *count, const struct worker *w)
{
    for (size_t i = 0; i < *count; i++)
        if (list[i] == w)
            list[i--] = list[--*count];
}

/* Ends an attempt at its worker; the report follows at once. */
static inline void crew_bench_report(struct crew_bench *cb, struct core_attempt *a,
                                     enum crew_answer how)
{
    crew_answered(cb->crew, a->worker, a->session, how, cb->b.now);
    bench_report(&cb->b, a);
}

static inline void crew_bench_gone(struct crew_bench *cb, struct worker *w, const char *cause)
{
    for (size_t i = 0; i < cb->b.running_count;) {
        struct core_attempt *a = cb->b.running[i];

        if (a->worker != w) {
            i++;
            continue;
        }
        a->answer.outcome = WEIR_OUTCOME_LOST;
        a->answer.reason = WEIR_REASON_CONNECTION_LOST;
        crew_bench_report(cb, a, CREW_ANSWER_NONE);
    }
    crew_bench_forget(cb->spawning, &cb->spawning_count, w);
    crew_bench_forget(cb->pinged, &cb->pinged_count, w);
    crew_bench_forget(cb->ending, &cb->ending_count, w);
    crew_gone(cb->crew, w, cause, NULL, cb->b.now);
}

/* What the edge has been told to do is done. False: it was told nothing. */
static inline bool crew_bench_work(struct crew_bench *cb)
{
    struct bench *b = &cb->b;
    bool any = false;

    while (b->cancelled_count > 0) {
        struct core_attempt *a = b->cancelled[--b->cancelled_count];
        struct worker *w = a->worker;

        any = true;
        a->answer.outcome = WEIR_OUTCOME_CANCELLED;
        crew_bench_report(cb, a, CREW_ANSWER_NONE);
        crew_kill(cb->crew, w, "its request was cancelled", NULL, b->now);
    }
    while (cb->ending_count > 0) {
        any = true;
        crew_bench_gone(cb, cb->ending[0], "exited");
    }
    while (cb->spawning_count > 0 && !cb->sleepy) {
        struct worker *w = cb->spawning[0];

        any = true;
        crew_bench_forget(cb->spawning, &cb->spawning_count, w);
        if (cb->broken)
            crew_bench_gone(cb, w, "could not be started");
        else
            crew_spawned(cb->crew, w, ++cb->last_pid, b->now);
    }
    while (cb->pinged_count > 0) {
        struct worker *w = cb->pinged[--cb->pinged_count];

        any = true;
        crew_pong(cb->crew, w, true, NULL, cb->says_takes, b->now);
    }
    return any;
}

static inline void crew_bench_run(struct crew_bench *cb)
{
    do {
        bench_run(&cb->b);
    } while (crew_bench_work(cb));
}

static inline void crew_bench_advance(struct crew_bench *cb, duration_ns by)
{
    struct instant until = instant_add(cb->b.now, by);

    while (!instant_before(until, cb->b.wake)) {
        cb->b.now = cb->b.wake;
        crew_bench_run(cb);
    }
    cb->b.now = until;
    crew_bench_run(cb);
}

static inline void crew_bench_crew_options(struct crew_options *o, size_t size)
{
    crew_options_init(o);
    o->pool = "workers";
    o->size = size;
}

static inline void crew_bench_pool_options(struct core_pool_options *o, size_t size)
{
    core_pool_options_init(o);
    o->name = "workers";
    o->size = size;
    o->gate.throttle.kind = THROTTLE_AIMD;
    o->backoff.jitter = 0;
}

static inline void crew_bench_init(struct crew_bench *cb, const struct crew_options *crew,
                                   const struct core_pool_options *pool)
{
    struct bench *b = &cb->b;
    struct crew_options crew_defaults;
    struct core_pool_options pool_defaults;
    struct dispatcher_options d = {.seed = 7};

    memset(cb, 0, sizeof *cb);
    cb->says_takes = 1;
    cb->edge = (struct crew_edge){
        .spawn = crew_bench_spawn, .ping = crew_bench_ping, .end = crew_bench_end_worker};
    cb->crew_host.tell = crew_bench_tell;
    b->host = (struct dispatcher_host){.finished = bench_finished,
                                       .retrying = bench_retrying,
                                       .deliver = bench_deliver,
                                       .closed = bench_closed};
    b->observer.ops = &bench_observer_ops;
    b->executor.ops = &bench_at_once;
    b->cancel_is_mute = true; /* crew_bench_work() reports them */
    b->now = (struct instant){1000 * NS_PER_S};
    d.host = &b->host;
    d.observer = &b->observer;
    crew_bench_crew_options(&crew_defaults, 2);
    assert_int_equal(crew_new(crew ? crew : &crew_defaults, &cb->edge, &cb->crew_host, b->now,
                              &cb->crew, &b->err),
                     WEIR_OK);
    b->executor.crew = cb->crew;
    crew_bench_pool_options(&pool_defaults, 2);
    assert_int_equal(dispatcher_new(&d, &b->d, &b->err), WEIR_OK);
    assert_int_equal(
        dispatcher_add_pool(b->d, pool ? pool : &pool_defaults, &b->executor, &b->pool, &b->err),
        WEIR_OK);
}

static inline struct core_task *crew_bench_add(struct crew_bench *cb, struct core_batch *batch,
                                               uint64_t index, const char *session)
{
    struct core_task *t = bench_row(batch, index);

    t->session = session;
    bench_submit(&cb->b, batch, t);
    return t;
}

static inline void crew_bench_end_as(struct crew_bench *cb, struct core_attempt *a,
                                     enum weir_outcome outcome, bool retryable)
{
    assert_non_null(a);
    a->answer.outcome = outcome;
    a->answer.reason = outcome == WEIR_OUTCOME_OK ? WEIR_REASON_NONE : WEIR_REASON_CALLBACK;
    a->answer.retryable = retryable;
    crew_bench_report(cb, a,
                      outcome == WEIR_OUTCOME_OK         ? CREW_ANSWER_OK
                      : outcome == WEIR_OUTCOME_CAPACITY ? CREW_ANSWER_CAPACITY
                                                         : CREW_ANSWER_ERROR);
    crew_bench_run(cb);
}

static inline void crew_bench_ok(struct crew_bench *cb, uint64_t index)
{
    crew_bench_end_as(cb, bench_running(&cb->b, index), WEIR_OUTCOME_OK, false);
}

static inline void crew_bench_fail(struct crew_bench *cb, uint64_t index)
{
    crew_bench_end_as(cb, bench_running(&cb->b, index), WEIR_OUTCOME_FAILED, true);
}

static inline void crew_bench_kill(struct crew_bench *cb, uint64_t worker)
{
    struct worker *w = crew_find(cb->crew, worker);

    assert_non_null(w);
    crew_bench_gone(cb, w, "exited");
    crew_bench_run(cb);
}

/* The worker that a row's attempt runs on; 0: it does not run. */
static inline uint64_t crew_bench_worker_of(struct crew_bench *cb, uint64_t index)
{
    struct core_attempt *a = bench_running(&cb->b, index);

    return a ? a->worker->id : 0;
}

/* Everything that runs ends well, until nothing does. */
static inline void crew_bench_finish_all(struct crew_bench *cb)
{
    for (int turn = 0; cb->b.running_count > 0; turn++) {
        assert_true(turn < 100000);
        crew_bench_end_as(cb, cb->b.running[0], WEIR_OUTCOME_OK, false);
    }
}

static inline void crew_bench_end(struct crew_bench *cb)
{
    struct bench *b = &cb->b;

    dispatcher_shutdown(b->d, true, b->now);
    crew_bench_run(cb);
    assert_true(crew_is_empty(cb->crew));
    assert_int_equal(dispatcher_workers(b->d), 0);
    bench_end(b);
    crew_free(cb->crew);
}

#endif
