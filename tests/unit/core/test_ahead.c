/*
 * Attempts that are handed over ahead (src/core/ahead.c), in virtual time: when, how many, what is
 * counted meanwhile, and that a row that never began is as if nothing had been.
 */
#include "base/rng.h"
#include "core/dispatcher.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SIZE      2
#define PER_PLACE 4
#define TASKS     512
#define SHORT_NS  (5 * NS_PER_US)
#define LONG_NS   (5 * NS_PER_MS)

/* The world: an executor that runs the first SIZE of what it has, a host that collects, an observer that counts. */
static struct world {
    struct core_executor executor;
    struct core_executor_ops ops;
    struct core_attempt *queue[TASKS];
    size_t queued;
    struct core_attempt *back[TASKS]; /* reports that the dispatcher has not been told of yet */
    size_t backs;
    size_t begun; /* of the queue, from its head: more than SIZE if a test says so */

    struct dispatcher_host host;
    struct core_observer observer;
    unsigned started[TASKS], ended[TASKS];
    struct core_task tasks[TASKS];
    uint64_t delivered;

    struct dispatcher *d;
    struct core_pool *pool;
    struct core_batch *batch;
    struct instant now;
    uint64_t submitted;
} w;

static void ex_start(struct core_executor *ex, struct core_attempt *a)
{
    (void)ex;
    w.queue[w.queued++] = a;
}

static void take_out(size_t i)
{
    w.queued--;
    memmove(&w.queue[i], &w.queue[i + 1], (w.queued - i) * sizeof w.queue[0]);
}

static void ex_cancel(struct core_executor *ex, struct core_attempt *a)
{
    (void)ex;
    for (size_t i = w.begun; i < w.queued; i++) {
        if (w.queue[i] != a)
            continue;
        take_out(i);
        a->answer.outcome = WEIR_OUTCOME_CANCELLED;
        a->answer.reason = WEIR_REASON_NONE;
        w.back[w.backs++] = a;
        return;
    }
}

static void ex_close(struct core_executor *ex)
{
    (void)ex;
}

static void on_finished(struct dispatcher_host *h, struct core_batch *b, struct core_task *t)
{
    (void)h;
    (void)b;
    (void)t;
}

static void on_retrying(struct dispatcher_host *h, struct core_batch *b, const struct core_task *t,
                        duration_ns wait_ns)
{
    (void)h;
    (void)b;
    (void)t;
    (void)wait_ns;
}

static void on_deliver(struct dispatcher_host *h, struct core_batch *b, struct core_task *t)
{
    (void)h;
    if (b == w.batch)
        assert_int_equal(t->index, w.delivered++);
}

static void on_closed(struct dispatcher_host *h, struct core_batch *b)
{
    (void)h;
    (void)b;
}

static void on_event(struct core_observer *o, const struct core_event *ev)
{
    (void)o;
    if (ev->kind == EVENT_ATTEMPT_STARTED)
        w.started[ev->index]++;
    if (ev->kind == EVENT_ATTEMPT_ENDED)
        w.ended[ev->index]++;
}

static const struct core_observer_ops observer_ops = {.event = on_event};

static void on_release(struct core_task *t)
{
    task_clear(t);
}

static struct core_pool_options options(void)
{
    struct core_pool_options o;

    core_pool_options_init(&o);
    o.size = SIZE;
    o.gate.throttle.kind = THROTTLE_AIMD; /* a refused row waits, and holds up no other */
    return o;
}

/* What the executor says; 0: nothing. */
static duration_ns short_below_ns;

static void begin(const struct core_pool_options *o, duration_ns deadline_ns)
{
    struct core_batch_options batch;
    struct dispatcher_options d = {.seed = 1};

    memset(&w, 0, sizeof w);
    w.begun = SIZE;
    w.now = (struct instant){NS_PER_S};
    w.ops = (struct core_executor_ops){.kind = "fake",
                                       .ahead_per_place = PER_PLACE,
                                       .ahead_work_ns = short_below_ns,
                                       .start = ex_start,
                                       .cancel = ex_cancel,
                                       .close = ex_close};
    w.executor.ops = &w.ops;
    w.host = (struct dispatcher_host){.finished = on_finished,
                                      .retrying = on_retrying,
                                      .deliver = on_deliver,
                                      .closed = on_closed};
    w.observer.ops = &observer_ops;
    d.host = &w.host;
    d.observer = &w.observer;
    assert_int_equal(dispatcher_new(&d, &w.d, NULL), WEIR_OK);
    assert_int_equal(dispatcher_add_pool(w.d, o, &w.executor, &w.pool, NULL), WEIR_OK);
    core_batch_options_init(&batch);
    batch.deadline_ns = deadline_ns;
    assert_int_equal(dispatcher_open_batch(w.d, w.pool, &batch, NULL, w.now, &w.batch, NULL),
                     WEIR_OK);
}

static void check(void)
{
    const char *wrong = dispatcher_check(w.d);

    if (wrong)
        fail_msg("%s", wrong);
}

static void turn(void)
{
    while (w.backs > 0) {
        struct core_attempt *a = w.back[0];

        w.backs--;
        memmove(w.back, w.back + 1, w.backs * sizeof w.back[0]);
        dispatcher_report(w.d, a, w.now);
        check();
    }
    dispatcher_run(w.d, w.now);
    check();
    assert_true(dispatcher_running(w.d) <= core_pool_get_options(w.pool)->size ||
                dispatcher_running(w.d) <= SIZE);
}

static void submit(uint64_t count)
{
    while (count-- > 0) {
        struct core_task *t = &w.tasks[w.submitted];

        task_init(t);
        t->index = w.submitted++;
        t->key = "k";
        t->payload = "p";
        t->release = on_release;
        assert_int_equal(dispatcher_submit(w.d, w.batch, t, w.now, NULL), WEIR_OK);
    }
    turn();
}

/* The attempt at this place of the queue ends, after so long. */
static void end_at(size_t i, duration_ns ran, enum weir_outcome outcome)
{
    struct core_attempt *a = w.queue[i];

    assert_true(i < w.queued);
    take_out(i);
    a->answer.outcome = outcome;
    a->answer.reason = outcome == WEIR_OUTCOME_OK ? WEIR_REASON_NONE : WEIR_REASON_CALLBACK;
    a->answer.started_at = w.now;
    w.now = instant_add(w.now, ran);
    a->answer.ended_at = w.now;
    w.back[w.backs++] = a;
    turn();
}

/* Enough short ones for the pool to know that they are short; then the queue is full. */
static void warm_up(void)
{
    submit(100);
    for (int i = 0; i < 60; i++)
        end_at(0, SHORT_NS, WEIR_OUTCOME_OK);
}

static void finish(void)
{
    dispatcher_end(w.d, w.batch, w.now);
    /* A throttle that spaces rows by seconds takes some more turns than there are rows. */
    for (int i = 0;
         i < 64 * TASKS && (!dispatcher_batch_closed(w.batch) || w.queued > 0 || w.backs > 0);
         i++) {
        if (w.queued > 0)
            end_at(0, SHORT_NS, WEIR_OUTCOME_OK);
        else
            turn();
        w.now = instant_add(w.now, NS_PER_S); /* what waits is ready again */
        turn();
    }
    assert_true(dispatcher_batch_closed(w.batch));
    assert_int_equal(dispatcher_running(w.d), 0);
    for (uint64_t i = 0; i < w.delivered; i++)
        dispatcher_give_back(w.d, &w.tasks[i]);
    dispatcher_free_batch(w.d, w.batch);
    dispatcher_free(w.d);
    for (uint64_t i = 0; i < w.submitted; i++)
        assert_int_equal(w.started[i], w.ended[i]);
}

static void nothing_is_ahead_before_attempts_are_known_to_be_short(void **state)
{
    struct core_pool_options o = options();

    (void)state;
    begin(&o, 0);
    submit(100);
    assert_int_equal(w.queued, SIZE);
    for (int i = 0; i < 40; i++) {
        end_at(0, LONG_NS, WEIR_OUTCOME_OK);
        assert_int_equal(w.queued, SIZE);
    }
    finish();
    assert_int_equal(w.delivered, 100);
}

/* P3: the permits are as many as there are places, and so is the peak; the started are those that have a place. */
static void short_attempts_are_ahead_up_to_a_limit(void **state)
{
    struct core_pool_options o = options();
    struct core_stats s;
    unsigned started = 0;

    (void)state;
    begin(&o, 0);
    warm_up();
    assert_int_equal(w.queued, SIZE + SIZE * PER_PLACE);
    assert_int_equal(dispatcher_running(w.d), SIZE);
    dispatcher_batch_stats(w.batch, &s);
    assert_int_equal(s.max_concurrent_reached, SIZE);
    assert_int_equal(s.ready + s.waiting + s.running, 40);
    dispatcher_pool_stats(w.pool, &s);
    assert_int_equal(s.max_concurrent_reached, SIZE);
    assert_int_equal(s.ready + s.waiting + s.running, 40);
    for (int i = 0; i < 100; i++)
        started += w.started[i];
    assert_int_equal(started, 60 + SIZE);
    finish();
    assert_int_equal(w.delivered, 100);
}

/* They need not end in the order in which they were handed over. */
static void a_permit_passes_on_whoever_ends(void **state)
{
    struct core_pool_options o = options();

    (void)state;
    begin(&o, 0);
    warm_up();
    for (size_t i = 0; i < 30; i++)
        end_at(i % SIZE, SHORT_NS, WEIR_OUTCOME_OK);
    finish();
    assert_int_equal(w.delivered, 100);
}

static void set_limit(size_t size)
{
    assert_int_equal(dispatcher_set_pool_limit(w.d, w.pool, size, w.now, NULL), WEIR_OK);
    check();
    turn();
}

static void what_is_ahead_comes_back_when_there_are_to_be_fewer_places(void **state)
{
    struct core_pool_options o = options();

    (void)state;
    begin(&o, 0);
    warm_up();
    set_limit(1);
    turn();
    assert_int_equal(w.queued, SIZE); /* both that had a place go on */
    assert_int_equal(dispatcher_running(w.d), SIZE);
    end_at(0, LONG_NS, WEIR_OUTCOME_OK);
    assert_int_equal(w.queued, 1);
    w.begun = 1;
    end_at(0, LONG_NS, WEIR_OUTCOME_OK);
    assert_int_equal(dispatcher_running(w.d), 1);
    finish();
    assert_int_equal(w.delivered, 100);
}

static void what_is_ahead_has_its_places_when_there_are_to_be_more(void **state)
{
    struct core_pool_options o = options();
    uint64_t third;

    (void)state;
    begin(&o, 0);
    warm_up();
    third = w.queue[SIZE]->index;
    assert_int_equal(w.started[third], 0);
    w.begun = SIZE + 2;
    set_limit(SIZE + 2);
    assert_int_equal(dispatcher_running(w.d), SIZE + 2);
    assert_int_equal(w.started[third], 1);
    finish();
    assert_int_equal(w.delivered, 100);
}

static void called_in_by_what_comes(duration_ns ran, enum weir_outcome outcome)
{
    struct core_pool_options o = options();
    uint64_t next;

    begin(&o, 0);
    warm_up();
    next = w.queue[SIZE]->index;
    end_at(0, ran, outcome);
    turn(); /* the ones that were called in have come back */
    assert_int_equal(w.queued, SIZE);
    /* In their order: the first of them has the place, the others are ready again, and never began. */
    assert_int_equal(w.queue[SIZE - 1]->index, next);
    assert_int_equal(w.tasks[next].attempts, 1);
    for (uint64_t i = next + 1; i < 100; i++) {
        assert_int_equal(w.tasks[i].state, TASK_READY);
        assert_int_equal(w.tasks[i].attempts, 0);
        assert_int_equal(w.started[i], 0);
        assert_true(instant_is_none(w.tasks[i].start_at));
    }
    end_at(0, LONG_NS, WEIR_OUTCOME_OK);
    assert_int_equal(w.queue[SIZE - 1]->index, next + 1);
    finish();
    assert_int_equal(w.delivered, 100);
}

static void a_long_attempt_calls_in_what_has_not_begun(void **state)
{
    (void)state;
    called_in_by_what_comes(LONG_NS, WEIR_OUTCOME_OK);
}

static void a_full_service_calls_in_what_has_not_begun(void **state)
{
    (void)state;
    called_in_by_what_comes(SHORT_NS, WEIR_OUTCOME_CAPACITY);
}

/* It had begun before it could be called in; the dispatcher learns that by its report only. */
static void what_has_begun_meanwhile_runs_to_its_end(void **state)
{
    struct core_pool_options o = options();
    uint64_t first, second, third;

    (void)state;
    begin(&o, 0);
    warm_up();
    first = w.queue[SIZE]->index;
    second = w.queue[SIZE + 1]->index;
    third = w.queue[SIZE + 2]->index;
    w.begun = SIZE + 1; /* the executor is one further than its reports */
    end_at(0, LONG_NS, WEIR_OUTCOME_OK);
    w.begun = SIZE;
    assert_int_equal(dispatcher_running(w.d), SIZE);
    assert_int_equal(w.tasks[first].state, TASK_RUNNING);
    assert_int_equal(w.tasks[second].state, TASK_RUNNING);
    assert_int_equal(w.started[second], 0);
    assert_int_equal(w.tasks[third].state, TASK_READY);
    end_at(0, LONG_NS, WEIR_OUTCOME_OK); /* the report whose place the second has taken */
    assert_int_equal(dispatcher_running(w.d), SIZE);
    for (uint64_t i = first; i <= second; i++) {
        end_at(0, LONG_NS, WEIR_OUTCOME_OK);
        assert_int_equal(w.tasks[i].attempts, 1);
        assert_int_equal(w.started[i], 1);
        assert_int_equal(w.ended[i], 1);
    }
    finish();
    assert_int_equal(w.delivered, 100);
}

/* P8: rows that have not begun end as rows that wait. */
static void a_shutdown_ends_what_is_ahead_as_waiting(void **state)
{
    (void)state;
    for (int cancel = 0; cancel < 2; cancel++) {
        struct core_pool_options o = options();
        uint64_t running;

        begin(&o, 0);
        warm_up();
        running = w.queue[SIZE - 1]->index;
        dispatcher_shutdown(w.d, cancel, w.now);
        check();
        turn();
        assert_int_equal(w.queued, SIZE);
        for (uint64_t i = running + 1; i < 100; i++) {
            assert_int_equal(w.tasks[i].answer.outcome, WEIR_OUTCOME_CANCELLED);
            assert_int_equal(w.tasks[i].answer.reason, WEIR_REASON_SHUTDOWN_REQUESTED);
            assert_int_equal(w.tasks[i].attempts, 0);
        }
        finish();
        assert_int_equal(w.delivered, 100);
    }
}

static void a_stop_drops_what_is_ahead(void **state)
{
    (void)state;
    for (int cancel = 0; cancel < 2; cancel++) {
        struct core_pool_options o = options();
        uint64_t running;

        begin(&o, 0);
        warm_up();
        running = w.queue[SIZE - 1]->index;
        dispatcher_stop(w.d, w.batch, cancel, w.now);
        check();
        turn();
        assert_int_equal(w.queued, SIZE);
        for (uint64_t i = running + 1; i < 100; i++)
            assert_int_equal(w.tasks[i].state, TASK_DROPPED);
        finish();
        assert_int_equal(w.delivered, running + 1);
    }
}

/* What needs to know the moment of the start, or to space it, is never ahead. */
static void nothing_is_ahead_where_the_moment_matters(void **state)
{
    struct core_pool_options o[5];

    (void)state;
    for (int i = 0; i < 5; i++)
        o[i] = options();
    o[0].timeout_ns = NS_PER_S;
    o[1].gate.min_dispatch_delay_ns = 1;
    o[2].gate.rate_per_s = 1e9;
    o[3].gate.requests_per_minute = 1000000;
    for (int i = 0; i < 5; i++) {
        begin(&o[i], i == 4 ? 3600 * NS_PER_S : 0);
        submit(100);
        for (int k = 0; k < 60; k++) {
            assert_true(w.queued <= SIZE);
            end_at(0, SHORT_NS, WEIR_OUTCOME_OK);
            w.now = instant_add(w.now, NS_PER_MS);
            turn();
        }
        assert_true(w.queued <= SIZE);
        finish();
    }
}

/* A batch that comes later has its turn among what is handed over next. */
static void batches_take_turns_ahead_too(void **state)
{
    struct core_pool_options o = options();
    struct core_batch_options batch;
    struct core_batch *second;
    struct core_task other;
    bool found = false;

    (void)state;
    begin(&o, 0);
    warm_up();
    core_batch_options_init(&batch);
    assert_int_equal(dispatcher_open_batch(w.d, w.pool, &batch, NULL, w.now, &second, NULL),
                     WEIR_OK);
    task_init(&other);
    other.key = "other";
    other.payload = "p";
    other.release = on_release;
    assert_int_equal(dispatcher_submit(w.d, second, &other, w.now, NULL), WEIR_OK);
    for (int i = 0; i < 2; i++)
        end_at(0, SHORT_NS, WEIR_OUTCOME_OK);
    for (size_t i = 0; i < w.queued; i++)
        found = found || strcmp(w.queue[i]->key, "other") == 0;
    assert_true(found);
    dispatcher_end(w.d, second, w.now);
    while (other.state != TASK_DELIVERED)
        end_at(0, SHORT_NS, WEIR_OUTCOME_OK);
    dispatcher_give_back(w.d, &other);
    dispatcher_free_batch(w.d, second);
    finish();
    assert_int_equal(w.delivered, 100);
}

static void live(uint64_t seed)
{
    struct core_pool_options o = options();
    struct rng r;

    rng_seed(&r, seed);
    o.gate.throttle.kind = (enum throttle_kind)(seed / 8 % THROTTLE_KINDS);
    o.gate.throttle.aimd.step_ns = NS_PER_US; /* refusals are forgotten soon */
    begin(&o, 0);
    for (int step = 0; step < 600; step++) {
        uint64_t dice = rng_below(&r, 100);

        if (dice < 20 && w.submitted < TASKS - 20)
            submit(rng_below(&r, 20) + 1);
        if (w.queued > 0)
            end_at(rng_below(&r, w.queued < SIZE ? w.queued : SIZE), dice < 97 ? SHORT_NS : LONG_NS,
                   dice == 50 ? WEIR_OUTCOME_CAPACITY : WEIR_OUTCOME_OK);
        if (dice == 98)
            w.now = instant_add(w.now, NS_PER_S);
        if (step == 500 && seed % 4 == 1)
            dispatcher_stop(w.d, w.batch, seed % 8 == 1, w.now);
        if (step == 500 && seed % 4 == 2)
            dispatcher_shutdown(w.d, seed % 8 == 2, w.now);
        if (step == 500 && seed % 4)
            break;
        turn();
    }
    finish();
    if (seed % 4 != 1)
        assert_int_equal(w.delivered, w.submitted);
}

/* P1, P2, P3, I1, I2 after every step of many lives, each from its seed. */
static void in_random_lives_every_invariant_holds(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 400; seed++)
        live(seed);
}

/* A command that takes a millisecond is short beside the start of the next one. */
static void an_executor_says_what_is_short(void **state)
{
    struct core_pool_options o = options();

    (void)state;
    short_below_ns = 2 * LONG_NS;
    begin(&o, 0);
    short_below_ns = 0;
    submit(300);
    assert_int_equal(w.queued, SIZE);
    for (int i = 0; i < 60; i++)
        end_at(0, LONG_NS, WEIR_OUTCOME_OK);
    assert_true(w.queued > SIZE);
    for (int i = 0; i < 60; i++)
        end_at(0, 3 * LONG_NS, WEIR_OUTCOME_OK);
    assert_int_equal(w.queued, SIZE);
    finish();
    assert_int_equal(w.delivered, 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_executor_says_what_is_short),
        cmocka_unit_test(nothing_is_ahead_before_attempts_are_known_to_be_short),
        cmocka_unit_test(short_attempts_are_ahead_up_to_a_limit),
        cmocka_unit_test(a_permit_passes_on_whoever_ends),
        cmocka_unit_test(what_is_ahead_comes_back_when_there_are_to_be_fewer_places),
        cmocka_unit_test(what_is_ahead_has_its_places_when_there_are_to_be_more),
        cmocka_unit_test(a_long_attempt_calls_in_what_has_not_begun),
        cmocka_unit_test(a_full_service_calls_in_what_has_not_begun),
        cmocka_unit_test(what_has_begun_meanwhile_runs_to_its_end),
        cmocka_unit_test(a_shutdown_ends_what_is_ahead_as_waiting),
        cmocka_unit_test(a_stop_drops_what_is_ahead),
        cmocka_unit_test(nothing_is_ahead_where_the_moment_matters),
        cmocka_unit_test(batches_take_turns_ahead_too),
        cmocka_unit_test(in_random_lives_every_invariant_holds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
