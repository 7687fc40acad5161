/*
 * I8: outputs that wait in memory are bounded by bytes, not by rows alone, and the bound never
 * stops a batch for good.
 */
#include "base/mem.h"
#include "core/dispatcher.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ROWS         20
#define OUTPUT_BYTES 100

struct world {
    struct dispatcher_host host;
    struct core_executor executor;
    struct dispatcher *d;
    struct core_pool *pool;
    struct core_batch *batch;
    struct instant now;
    struct core_task tasks[ROWS];
    struct core_attempt *running[ROWS]; /* by row */
    struct core_task *delivered[ROWS];
    size_t delivered_count, released;
};

static struct world *world;

static void host_finished(struct dispatcher_host *h, struct core_batch *b, struct core_task *t)
{
    (void)h, (void)b, (void)t;
}

static void host_retrying(struct dispatcher_host *h, struct core_batch *b,
                          const struct core_task *t, duration_ns wait_ns)
{
    (void)h, (void)b, (void)t, (void)wait_ns;
}

static void host_deliver(struct dispatcher_host *h, struct core_batch *b, struct core_task *t)
{
    (void)h, (void)b;
    world->delivered[world->delivered_count++] = t;
}

static void host_closed(struct dispatcher_host *h, struct core_batch *b)
{
    (void)h, (void)b;
}

static void start(struct core_executor *ex, struct core_attempt *a)
{
    (void)ex;
    world->running[a->index] = a;
}

static void cancel(struct core_executor *ex, struct core_attempt *a)
{
    (void)ex, (void)a;
}

static void close_executor(struct core_executor *ex)
{
    (void)ex;
}

static const struct core_executor_ops ops = {.kind = "test",
                                             .cancels_at_once = true,
                                             .start = start,
                                             .cancel = cancel,
                                             .close = close_executor};

static void release(struct core_task *t)
{
    task_clear(t);
    world->released++;
}

static void begin(struct world *w, uint64_t output_bytes, size_t size)
{
    struct dispatcher_options options = {.seed = 1, .host = &w->host};
    struct core_pool_options pool;
    struct core_batch_options batch;

    *w = (struct world){
        .host = {.finished = host_finished,
                 .retrying = host_retrying,
                 .deliver = host_deliver,
                 .closed = host_closed},
        .executor = {&ops},
        .now = {NS_PER_S},
    };
    world = w;
    core_pool_options_init(&pool);
    pool.size = size;
    pool.gate.throttle.kind = THROTTLE_AIMD; /* starts all it has at once */
    core_batch_options_init(&batch);
    batch.output_bytes = output_bytes;
    assert_int_equal(dispatcher_new(&options, &w->d, NULL), WEIR_OK);
    assert_int_equal(dispatcher_add_pool(w->d, &pool, &w->executor, &w->pool, NULL), WEIR_OK);
    assert_int_equal(dispatcher_open_batch(w->d, w->pool, &batch, NULL, w->now, &w->batch, NULL),
                     WEIR_OK);
    for (uint64_t i = 0; i < ROWS; i++) {
        struct core_task *t = &w->tasks[i];

        task_init(t);
        t->index = i;
        t->key = "k";
        t->release = release;
        assert_int_equal(dispatcher_submit(w->d, w->batch, t, w->now, NULL), WEIR_OK);
    }
    dispatcher_end(w->d, w->batch, w->now);
}

static void turn(struct world *w)
{
    const char *broken;

    (void)dispatcher_run(w->d, w->now);
    broken = dispatcher_check(w->d);
    if (broken)
        fail_msg("%s", broken);
}

static void report(struct world *w, size_t row, enum weir_outcome outcome)
{
    struct core_attempt *a = w->running[row];

    assert_non_null(a);
    w->running[row] = NULL;
    a->answer.outcome = outcome;
    a->answer.retryable = true;
    if (outcome == WEIR_OUTCOME_OK) {
        /* What was written beside the output takes memory as well. */
        answer_take_output(&a->answer, mem_calloc(1, OUTPUT_BYTES / 2 + 1), OUTPUT_BYTES / 2);
        answer_take_errput(&a->answer, mem_calloc(1, OUTPUT_BYTES / 2 + 1), OUTPUT_BYTES / 2);
        assert_non_null(a->answer.output);
        assert_non_null(a->answer.errput);
    }
    a->answer.ended_at = w->now;
    dispatcher_report(w->d, a, w->now);
    turn(w);
}

static size_t running(const struct world *w)
{
    return dispatcher_running(w->d);
}

static void give_back_all(struct world *w)
{
    for (size_t i = 0; i < w->delivered_count; i++)
        dispatcher_give_back(w->d, w->delivered[i]);
    w->delivered_count = 0;
    turn(w);
}

static void end(struct world *w)
{
    give_back_all(w);
    assert_int_equal(w->released, ROWS);
    assert_true(dispatcher_batch_closed(w->batch));
    dispatcher_free_batch(w->d, w->batch);
    dispatcher_free(w->d);
}

/* Ends everything that can be ended, until nothing more starts. */
static void drain(struct world *w)
{
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < ROWS; i++) {
            if (!w->running[i])
                continue;
            report(w, i, WEIR_OUTCOME_OK);
            again = true;
        }
        give_back_all(w);
    }
}

static void rows_behind_a_slow_one_stop_starting_when_their_outputs_fill_the_bound(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 3 * OUTPUT_BYTES, 2);
    turn(&w);
    /* Row 0 does not answer; rows 1, 2 and 3 do, and reach the bound. */
    for (size_t row = 1; row <= 3; row++)
        report(&w, row, WEIR_OUTCOME_OK);
    assert_int_equal(running(&w), 1);
    assert_int_equal(w.delivered_count, 0);
    report(&w, 0, WEIR_OUTCOME_OK);
    /* All four are out, but not yet given back: they still take memory. */
    assert_int_equal(w.delivered_count, 4);
    assert_int_equal(running(&w), 1); /* row 4: it is what the others wait for */
    assert_non_null(w.running[4]);
    give_back_all(&w);
    assert_int_equal(running(&w), 2);
    drain(&w);
    end(&w);
}

static void the_row_whose_turn_it_is_starts_again_however_full(void **state)
{
    struct world w;

    (void)state;
    begin(&w, OUTPUT_BYTES, 3);
    turn(&w);
    report(&w, 1, WEIR_OUTCOME_OK);
    report(&w, 2, WEIR_OUTCOME_FAILED); /* to be tried again, but not before row 0 */
    report(&w, 0, WEIR_OUTCOME_FAILED);
    assert_int_equal(running(&w), 0);
    w.now = instant_add(w.now, 3600 * NS_PER_S);
    turn(&w);
    assert_int_equal(running(&w), 1);
    assert_non_null(w.running[0]);
    drain(&w);
    end(&w);
}

static void without_a_bound_only_the_pool_holds_rows_back(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 0, 2);
    turn(&w);
    for (size_t row = 1; row < ROWS; row++)
        report(&w, row, WEIR_OUTCOME_OK);
    assert_int_equal(running(&w), 1);
    drain(&w);
    end(&w);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_behind_a_slow_one_stop_starting_when_their_outputs_fill_the_bound),
        cmocka_unit_test(the_row_whose_turn_it_is_starts_again_however_full),
        cmocka_unit_test(without_a_bound_only_the_pool_holds_rows_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
