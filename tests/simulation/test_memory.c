/*
 * Memory runs out: over a whole small world, each allocation in turn fails once. Whoever called is
 * told WEIR_E_NOMEM and nothing else has changed: the call succeeds when it is made again, and the
 * world goes on to its end. With AddressSanitizer this also shows that nothing leaks.
 */
#include "base/mem.h"
#include "sim/world.h"
#include "store/memory/memory_store.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ROWS 70 /* more than one heap's first room, so that it grows in the middle */

struct source {
    struct sim_source source;
    struct sim_sink sink;
    uint64_t next, taken, live;
};

struct row {
    struct core_task task;
    struct source *source;
};

static unsigned long failures; /* how many calls have said WEIR_E_NOMEM in this world */

static void release(struct core_task *t)
{
    struct row *r = (struct row *)(void *)t;

    r->source->live--;
    task_clear(t);
    mem_free(r);
}

static enum weir_status next(struct sim_source *s, struct core_task **ret)
{
    struct source *src = (struct source *)(void *)s;
    struct row *r;

    if (src->next == ROWS)
        return WEIR_E_END;
    r = mem_alloc(sizeof *r);
    if (!r) {
        failures++;
        return WEIR_E_NOMEM;
    }
    task_init(&r->task);
    r->source = src;
    r->task.key = "key";
    r->task.index = src->next++;
    r->task.release = release;
    src->live++;
    *ret = &r->task;
    return WEIR_OK;
}

static void take(struct sim_sink *s, const struct core_task *t, struct instant now)
{
    struct source *src = (struct source *)(void *)((char *)s - offsetof(struct source, sink));

    (void)now;
    assert_int_equal(t->index, src->taken);
    src->taken++;
}

static const struct sim_source_ops source_ops = {.next = next};
static const struct sim_sink_ops sink_ops = {.take = take};

/* One row in three is refused once, one in four fails once; the rest have an output, if there is memory for it. */
static duration_ns begin(struct sim_model *m, const struct core_attempt *a, struct instant now,
                         struct core_answer *ret)
{
    (void)m;
    (void)now;
    if (a->number == 1 && a->index % 3 == 0) {
        ret->outcome = WEIR_OUTCOME_CAPACITY;
    } else if (a->number == 1 && a->index % 4 == 0) {
        ret->outcome = WEIR_OUTCOME_FAILED;
        ret->retryable = true;
    } else {
        ret->outcome = WEIR_OUTCOME_OK;
        ret->output = mem_strdup("done");
        ret->output_len = ret->output ? 4 : 0;
    }
    answer_say(ret, "attempt %u", a->number);
    return NS_PER_MS;
}

static const struct sim_model_ops model_ops = {.cancels_at_once = false, .begin = begin};

static bool after_step(void *ctx, struct sim_world *w)
{
    (void)ctx;
    assert_null(dispatcher_check(sim_world_dispatcher(w)));
    return true;
}

/* Makes a call that says it has no memory once more: now it must succeed. */
#define TWICE(call)                                                                                \
    do {                                                                                           \
        enum weir_status status_ = (call);                                                         \
        if (status_ != WEIR_OK) {                                                                  \
            assert_int_equal(status_, WEIR_E_NOMEM);                                               \
            assert_int_equal(err.status, WEIR_E_NOMEM);                                            \
            assert_true(mem_has_failed());                                                         \
            failures++;                                                                            \
            status_ = (call);                                                                      \
        }                                                                                          \
        assert_int_equal(status_, WEIR_OK);                                                        \
    } while (0)

static void nothing(struct sim_world *w, void *ctx)
{
    (void)w;
    (void)ctx;
}

/* False: the n-th allocation was never made: the sweep is over. */
static bool live(unsigned long n)
{
    const struct sim_world_options options = {.seed = 1, .global_limit = 3, .step = after_step};
    struct sim_model model = {&model_ops};
    struct source plain = {.source = {&source_ops}, .sink = {&sink_ops}};
    struct source durable = {.source = {&source_ops}, .sink = {&sink_ops}};
    struct sim_batch_options o = {.source = &plain.source, .sink = &plain.sink};
    struct core_pool_options pool_options;
    struct core_store *store;
    struct core_pool *pool;
    struct sim_batch *b, *c;
    struct sim_world *w;
    struct weir_error err;
    bool failed;

    core_pool_options_init(&pool_options);
    pool_options.size = 2;
    core_batch_options_init(&o.core);
    o.core.window_rows = 80;
    failures = 0;
    mem_fail_at(n);
    TWICE(sim_world_new(&options, &w, &err));
    TWICE(sim_world_add_pool(w, &pool_options, &model, &pool, &err));
    TWICE(memory_store_new(&store, &err));
    TWICE(sim_world_open(w, pool, &o, &b, &err));
    o.source = &durable.source;
    o.sink = &durable.sink;
    o.store = store;
    TWICE(sim_world_open(w, pool, &o, &c, &err));
    TWICE(sim_world_at(w, SIM_START, nothing, NULL, &err));
    assert_int_equal(sim_world_run(w, INSTANT_NEVER), SIM_DONE);
    assert_int_equal(plain.taken, ROWS);
    failed = sim_batch_has_failed(c);
    assert_true(failed || durable.taken == ROWS);
    failures += sim_batch_has_failed(b) + failed;
    sim_world_free(w);
    store->ops->close(store);
    assert_int_equal(plain.live + durable.live, 0);
    failed = mem_has_failed() != 0;
    mem_fail_at(0);
    return failed;
}

static void whichever_allocation_fails_the_caller_is_told_and_the_world_goes_on(void **state)
{
    unsigned long told = 0, n;

    (void)state;
    for (n = 1; live(n); n++)
        told += failures > 0;
    print_message("%lu allocations, %lu told; the others were texts of answers\n", n - 1, told);
    assert_true(n > 200);
    assert_true(told > 140);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whichever_allocation_fails_the_caller_is_told_and_the_world_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
