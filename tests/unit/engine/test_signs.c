/*
 * What executors say of running attempts, on its way through the engine: it is told on the engine's
 * thread, copied, before the report that came with it; and where nobody wants to know, executors
 * see that and say nothing.
 */
#include "base/mem.h"
#include "engine/engine.h"
#include "exec/thread/thread.h"
#include "unit/engine/engine_test.h"

#include <stdio.h>

#define ROWS 8

struct scene {
    struct core_observer observer; /* first */
    struct engine *engine;
    struct core_pool *pool;
    struct core_executor_host *host;
    struct core_task tasks[ROWS];
    struct latch told, may_end;
    atomic_bool nobody_was_told; /* the host had no functions to call; said by executor threads */
    pthread_t engine_thread;

    /* the engine's thread only, until it has gone */
    bool elsewhere; /* something was told on another thread */
    struct core_attempt_began began[ROWS];
    size_t begun, beaten, beaten_at_end[ROWS], ended;
    struct {
        uint64_t token;
        double progress;
        char text[64];
    } beats[2 * ROWS];
};

static void on_began(void *ctx, const struct core_attempt_began *b, struct instant now)
{
    struct scene *s = ctx;

    s->elsewhere |= !pthread_equal(pthread_self(), s->engine_thread) || instant_is_none(now);
    if (s->begun < ROWS)
        s->began[s->begun] = *b;
    s->begun++;
    latch_add(&s->told, 1);
}

static void on_beat(void *ctx, const struct core_heartbeat *b, struct instant now)
{
    struct scene *s = ctx;
    size_t i = s->beaten++;

    s->elsewhere |= !pthread_equal(pthread_self(), s->engine_thread) || instant_is_none(now);
    if (i < 2 * ROWS) {
        s->beats[i].token = b->token;
        s->beats[i].progress = b->progress;
        snprintf(s->beats[i].text, sizeof s->beats[i].text, "%.*s", (int)b->text.len, b->text.data);
    }
    latch_add(&s->told, 1);
}

static void on_event(struct core_observer *o, const struct core_event *ev)
{
    struct scene *s = (struct scene *)o;

    if (ev->kind == EVENT_ATTEMPT_ENDED && s->ended < ROWS)
        s->beaten_at_end[s->ended++] = s->beaten;
}

/* On an executor's thread, as a command's executor would say it. */
static void say(struct scene *s, uint64_t token, double progress)
{
    char text[] = "half of it";
    struct core_heartbeat beat = {
        .token = token, .progress = progress, .text = {text, sizeof text - 1}};

    if (s->host->beat)
        s->host->beat(s->host, &beat);
    else
        atomic_store(&s->nobody_was_told, true);
    memset(text, 'x', sizeof text); /* it was copied */
}

static void work(void *ctx, struct core_attempt *a)
{
    struct scene *s = ctx;
    struct core_attempt_began began = {.token = a->token, .pid = 4711, .pid_start = 42};

    if (s->host->began)
        s->host->began(s->host, &began);
    say(s, a->token, 0.5);
    if (!latch_wait(&s->may_end, 1))
        return;
    say(s, a->token, -1);
    a->answer.outcome = WEIR_OUTCOME_OK;
    a->answer.reason = WEIR_REASON_NONE;
}

static enum weir_status make_executor(void *ctx, const struct core_pool_options *o,
                                      struct uv_loop_s *loop, struct core_executor_host *host,
                                      struct core_executor **ret, struct weir_error *err)
{
    struct scene *s = ctx;
    struct thread_options t = {.threads = o->size, .work = work, .ctx = s};

    (void)loop;
    s->host = host;
    s->engine_thread = pthread_self();
    return thread_executor_new(&t, host, ret, err);
}

static struct scene *scene_open(const struct engine_receiver *r)
{
    static const struct core_observer_ops ops = {.event = on_event};
    struct scene *s = calloc(1, sizeof *s);
    struct core_pool_options o;
    struct engine_receiver receiver;

    assert_non_null(s);
    s->observer.ops = &ops;
    s->told = s->may_end = (struct latch)LATCH_INIT;
    core_pool_options_init(&o);
    o.size = ROWS;
    ok(engine_new(&(struct engine_options){.seed = 1, .observer = &s->observer}, &s->engine, &err));
    if (r) {
        receiver = *r;
        receiver.ctx = s;
        engine_set_receiver(s->engine, &receiver);
    }
    ok(engine_add_pool(s->engine, &o, make_executor, s, &s->pool, &err));
    return s;
}

static void on_release(struct core_task *t)
{
    task_clear(t);
}

/* told: so much must have been told before they may end. */
static void run_rows(struct scene *s, size_t rows, uint64_t told)
{
    struct engine_batch_options o = {.store = NULL};
    struct core_task *chain;
    struct engine_batch *b;
    size_t taken = 0;

    core_batch_options_init(&o.core);
    ok(engine_open_batch(s->engine, s->pool, &o, &b, &err));
    for (size_t i = 0; i < rows; i++) {
        struct core_task *t = &s->tasks[i];

        task_init(t);
        t->index = i;
        t->key = "key";
        t->payload = "";
        t->release = on_release;
        ok(engine_batch_add(b, t, false, &err));
    }
    engine_batch_end(b);
    assert_true(latch_wait(&s->told, told));
    latch_add(&s->may_end, 1);
    while (taken < rows) {
        ok(engine_batch_next(b, DEADLINE_S * NS_PER_S, &chain, &err));
        for (struct core_task *t = chain; t; t = t->next)
            taken++;
        engine_batch_give_back(b, chain);
    }
    engine_batch_close(b);
}

static void signs_are_told_while_an_attempt_runs(void **state)
{
    struct scene *s = scene_open(&(struct engine_receiver){.began = on_began, .beat = on_beat});

    (void)state;
    run_rows(s, ROWS, 2 * ROWS);
    engine_free(s->engine);
    assert_false(s->elsewhere);
    assert_int_equal(s->begun, ROWS);
    assert_int_equal(s->beaten, 2 * ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        assert_true(s->began[i].token > 0);
        assert_int_equal(s->began[i].pid, 4711);
        assert_int_equal(s->began[i].pid_start, 42);
        assert_true(s->beats[i].progress == 0.5);
        assert_true(s->beats[i].token > 0);
        assert_string_equal(s->beats[i].text, "half of it");
    }
    free(s);
}

/* The last one of a row is said just before its report, and most often taken with it. */
static void what_is_said_before_a_report_is_told_before_it_counts(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct scene *s = scene_open(&(struct engine_receiver){.beat = on_beat});

        run_rows(s, 1, 1);
        engine_free(s->engine);
        assert_int_equal(s->begun, 0);
        assert_int_equal(s->ended, 1);
        assert_int_equal(s->beaten_at_end[0], 2);
        free(s);
    }
}

static void without_a_receiver_executors_say_nothing(void **state)
{
    struct scene *s = scene_open(NULL);

    (void)state;
    assert_null(s->host->began);
    assert_null(s->host->beat);
    run_rows(s, ROWS, 0);
    engine_free(s->engine);
    assert_true(atomic_load(&s->nobody_was_told));
    assert_int_equal(s->begun + s->beaten, 0);
    free(s);
}

static void a_receiver_can_be_taken_away(void **state)
{
    struct scene *s = scene_open(&(struct engine_receiver){.began = on_began, .beat = on_beat});

    (void)state;
    run_rows(s, 1, 2);
    engine_set_receiver(s->engine, NULL);
    run_rows(s, 1, 0);
    engine_free(s->engine);
    assert_int_equal(s->begun, 1);
    assert_int_equal(s->beaten, 2);
    assert_true(atomic_load(&s->nobody_was_told));
    free(s);
}

/* What there is no memory for is not told; nothing else is lost. */
static void without_memory_a_sign_is_dropped(void **state)
{
    struct scene *s = scene_open(&(struct engine_receiver){.began = on_began, .beat = on_beat});
    struct core_attempt_began began = {.token = 1, .pid = 2};
    struct core_heartbeat beat = {.token = 1, .text = {"x", 1}};

    (void)state;
    mem_fail_at(1);
    s->host->began(s->host, &began);
    assert_true(mem_has_failed() != 0);
    mem_fail_at(1);
    s->host->beat(s->host, &beat);
    assert_true(mem_has_failed() != 0);
    mem_fail_at(0);
    run_rows(s, 1, 2);
    engine_free(s->engine);
    assert_int_equal(s->begun, 1);
    assert_int_equal(s->beaten, 2);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_are_told_while_an_attempt_runs),
        cmocka_unit_test(what_is_said_before_a_report_is_told_before_it_counts),
        cmocka_unit_test(without_a_receiver_executors_say_nothing),
        cmocka_unit_test(a_receiver_can_be_taken_away),
        cmocka_unit_test(without_memory_a_sign_is_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
