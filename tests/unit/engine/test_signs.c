/*
 * What executors say of running attempts, on its way through the engine: it is told on the engine's thread, copied, before
 * the report that came with it; and where nobody wants to know, executors see that and say nothing.
 */
#include "base/mem.h"
#include "engine/engine.h"
#include "exec/thread/thread.h"
#include "unit/engine/engine_test.h"

#include <stdio.h>

#define ROWS 8

struct house_of_signs {
    struct core_executor_host *host;
    struct core_task tasks[ROWS];
    struct latch told, begun_work, may_end;
    pthread_t engine_thread;
    bool on_engine_thread, was_null;
    uint64_t tokens[4 * ROWS];
    size_t count;
    char text[64];
    double progress;
    struct core_attempt_began began;
};

static void on_began(void *ctx, const struct core_attempt_began *b, struct instant now)
{
    struct house_of_signs *h = ctx;

    assert_false(instant_is_none(now));
    h->on_engine_thread &= pthread_equal(pthread_self(), h->engine_thread) != 0;
    h->began = *b;
    latch_add(&h->told, 1);
}

static void on_beat(void *ctx, const struct core_heartbeat *b, struct instant now)
{
    struct house_of_signs *h = ctx;

    assert_false(instant_is_none(now));
    h->on_engine_thread &= pthread_equal(pthread_self(), h->engine_thread) != 0;
    h->progress = b->progress;
    snprintf(h->text, sizeof h->text, "%.*s", (int)b->text.len, b->text.data);
    if (h->count < sizeof h->tokens / sizeof *h->tokens)
        h->tokens[h->count++] = b->token;
    latch_add(&h->told, 1);
}

/* On an executor's thread, as a worker's or a command's executor would. */
static void work(void *ctx, struct core_attempt *a)
{
    struct house_of_signs *h = ctx;
    char text[] = "half of it";
    struct core_heartbeat beat = {
        .token = a->token, .progress = 0.5, .text = {text, sizeof text - 1}};
    struct core_attempt_began began = {.token = a->token, .pid = 4711, .pid_start = 42};

    if (h->host->began)
        h->host->began(h->host, &began);
    else
        h->was_null = true;
    if (h->host->beat)
        h->host->beat(h->host, &beat);
    memset(text, 'x', sizeof text); /* it was copied */
    latch_add(&h->begun_work, 1);
    latch_wait(&h->may_end, 1);
    a->answer.outcome = WEIR_OUTCOME_OK;
    a->answer.reason = WEIR_REASON_NONE;
}

static enum weir_status make_executor(void *ctx, const struct core_pool_options *o,
                                      struct uv_loop_s *loop, struct core_executor_host *host,
                                      struct core_executor **ret, struct weir_error *err)
{
    struct house_of_signs *h = ctx;
    struct thread_options t = {.threads = o->size, .work = work, .ctx = h};

    (void)loop;
    h->host = host;
    h->engine_thread = pthread_self();
    return thread_executor_new(&t, host, ret, err);
}

static void run_rows(struct engine *e, struct house_of_signs *h, struct core_pool *pool, bool held)
{
    struct engine_batch_options o = {0};
    struct engine_batch *b;
    struct core_task *chain;
    size_t taken = 0;

    core_batch_options_init(&o.core);
    ok(engine_open_batch(e, pool, &o, &b, &err));
    for (size_t i = 0; i < ROWS; i++) {
        core_task_init(&h->tasks[i], i, "k", NULL, 0);
        ok(engine_batch_add(b, &h->tasks[i], true, &err));
    }
    engine_batch_end(b);
    if (held) {
        /* While it runs, not when it ends. */
        assert_true(latch_wait(&h->told, 2));
        latch_add(&h->may_end, 1);
    }
    while (taken < ROWS) {
        struct core_task *t;

        ok(engine_batch_next(b, &chain, &err));
        for (t = chain; t; t = t->next_delivered)
            taken++;
        engine_batch_give_back(b, chain);
    }
    engine_batch_close(b);
}
