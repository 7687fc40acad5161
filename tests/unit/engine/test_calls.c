/*
 * Calls outside of a batch: each waits for its own answer, takes its turn beside batches, and
 * leaves nothing behind. And what else is asked of a pool from outside: holding it, its breaker,
 * its fallback pool.
 */
#include "engine/engine.h"

#include "base/mem.h"
#include "exec/thread/thread.h"
#include "support/testkit.h"
#include "unit/engine/engine_test.h"

/* Of the outputs that a batch holds, unless said otherwise. */
#define LARGE_BYTES ((size_t)256 << 20)

struct place {
    struct engine *engine;
    struct core_pool *pool;
    struct thread_options threads;
    struct latch inside, open, released;
    atomic_uint_fast64_t done;
};

/* "large": waits until the latch is open, and says that its output is as large as a batch may hold; "fail": fails for good; "stand": until it is cancelled; "hold": waits until the latch is open or it is cancelled; else the payload is the output. */
static void work(void *ctx, struct core_attempt *a)
{
    struct place *p = ctx;
    const char *text = a->payload;

    latch_add(&p->inside, 1);
    if (strcmp(text, "fail") == 0) {
        a->answer.outcome = WEIR_OUTCOME_FAILED;
        a->answer.reason = WEIR_REASON_CALLBACK;
        answer_say(&a->answer, "as asked");
        return;
    }
    if (strcmp(text, "large") == 0) {
        (void)latch_wait(&p->open, 1);
        a->answer.outcome = WEIR_OUTCOME_OK;
        answer_take_output(&a->answer, mem_calloc(1, 1), LARGE_BYTES); /* nobody looks at it */
        return;
    }
    while (strcmp(text, "stand") == 0)
        if (atomic_load(&a->cancelled))
            return;
    while (strcmp(text, "hold") == 0 && latch_count(&p->open) == 0)
        if (atomic_load(&a->cancelled)) {
            (void)latch_wait(&p->open, 1); /* and does not look at it again for long */
            break;
        }
    a->answer.outcome = WEIR_OUTCOME_OK;
    a->answer.reason = WEIR_REASON_NONE;
    answer_set_output(&a->answer, text, strlen(text));
    atomic_fetch_add(&p->done, 1);
}

static enum weir_status make(void *ctx, const struct core_pool_options *options,
                             struct uv_loop_s *loop, struct core_executor_host *host,
                             struct core_executor **ret, struct weir_error *e)
{
    struct place *p = ctx;

    (void)options;
    (void)loop;
    return thread_executor_new(&p->threads, host, ret, e);
}

static struct place *place_open(struct place *p, size_t size, struct core_pool_options *o)
{
    struct core_pool_options defaults;
    struct engine_options options = {.seed = 1};

    core_pool_options_init(&defaults);
    o = o ? o : &defaults;
    o->size = size;
    o->gate.throttle.kind = THROTTLE_AIMD;
    *p = (struct place){.inside = LATCH_INIT, .open = LATCH_INIT, .released = LATCH_INIT};
    p->threads = (struct thread_options){.threads = size, .work = work, .ctx = p};
    ok(engine_new(&options, &p->engine, &err));
    ok(engine_add_pool(p->engine, o, make, p, &p->pool, &err));
    return p;
}

static void on_release(void *user)
{
    latch_add(user, 1);
}

static struct engine_request request(struct place *p, const char *text)
{
    return (struct engine_request){
        .payload = text, .payload_len = strlen(text), .user = &p->released, .release = on_release};
}

static void a_call_gives_the_answer_to_whoever_waits_for_it(void **state)
{
    struct place place, *p = place_open(&place, 2, NULL);
    struct engine_request r = request(p, "hello");
    struct engine_reply reply;

    (void)state;
    ok(engine_call_pool(p->engine, p->pool, &r, &reply, &err));
    assert_int_equal(reply.answer.outcome, WEIR_OUTCOME_OK);
    assert_string_equal(reply.answer.output, "hello");
    assert_int_equal(reply.attempts, 1);
    assert_false(instant_before(reply.complete_at, reply.submit_at));
    answer_clear(&reply.answer);
    r = request(p, "fail");
    ok(engine_call_pool(p->engine, p->pool, &r, &reply, &err));
    assert_int_equal(reply.answer.outcome, WEIR_OUTCOME_FAILED);
    assert_string_equal(reply.answer.message, "as asked");
    answer_clear(&reply.answer);
    assert_int_equal(latch_count(&p->released), 2);
    engine_free(p->engine);
}

struct caller {
    struct place *p;
    int number, wrong;
    pthread_t thread;
};

static void *call_often(void *arg)
{
    struct caller *c = arg;

    for (int i = 0; i < 500; i++) {
        char text[32];
        struct engine_request r;
        struct engine_reply reply;

        snprintf(text, sizeof text, "%d of %d", i, c->number);
        r = request(c->p, text);
        if (engine_call_pool(c->p->engine, c->p->pool, &r, &reply, NULL) != WEIR_OK) {
            c->wrong++;
            continue;
        }
        c->wrong += strcmp(reply.answer.output, text) != 0;
        answer_clear(&reply.answer);
    }
    return NULL;
}

static void calls_of_many_threads_get_each_its_own(void **state)
{
    struct place place, *p = place_open(&place, 3, NULL);
    struct caller callers[8];
    struct core_stats stats;

    (void)state;
    for (int i = 0; i < 8; i++) {
        callers[i] = (struct caller){.p = p, .number = i};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call_often, &callers[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].wrong, 0);
    }
    assert_int_equal(latch_count(&p->released), 4000);
    engine_pool_stats(p->engine, p->pool, &stats);
    assert_int_equal(stats.successes, 4000);
    assert_int_equal(stats.running + stats.ready + stats.waiting + stats.queued, 0);
    engine_free(p->engine);
}

static void
one_whose_time_is_up_gets_its_caller_back_and_its_payload_stays_until_it_ends(void **state)
{
    struct place place, *p = place_open(&place, 1, NULL);
    struct engine_request r = request(p, "hold");
    struct engine_reply reply;

    (void)state;
    r.timeout_ns = 20 * NS_PER_MS;
    ok(engine_call_pool(p->engine, p->pool, &r, &reply, &err));
    assert_int_equal(reply.answer.outcome, WEIR_OUTCOME_TIMEOUT);
    assert_int_equal(reply.answer.reason, WEIR_REASON_DEADLINE);
    answer_clear(&reply.answer);
    assert_int_equal(latch_count(&p->released), 0);
    latch_add(&p->open, 1);
    assert_true(latch_wait(&p->released, 1));
    engine_free(p->engine);
}

static void a_call_waits_for_a_place_no_longer_than_the_checkout_timeout(void **state)
{
    struct core_pool_options o;
    struct engine_batch_options bo = {0};
    struct engine_batch *b;
    struct core_task *row = mem_alloc(sizeof *row);
    struct place place, *p;
    struct engine_request r;
    struct engine_reply reply;

    (void)state;
    core_pool_options_init(&o);
    o.call_checkout_timeout_ns = 20 * NS_PER_MS;
    p = place_open(&place, 1, &o);
    core_batch_options_init(&bo.core);
    ok(engine_open_batch(p->engine, p->pool, &bo, &b, &err));
    task_init(row);
    row->key = "k";
    row->payload = "hold";
    row->release = (void (*)(struct core_task *))task_clear;
    ok(engine_batch_add(b, row, true, &err));
    assert_true(latch_wait(&p->inside, 1));
    r = request(p, "never");
    ok(engine_call_pool(p->engine, p->pool, &r, &reply, &err));
    assert_int_equal(reply.answer.reason, WEIR_REASON_CHECKOUT_TIMEOUT);
    assert_int_equal(reply.attempts, 0);
    answer_clear(&reply.answer);
    latch_add(&p->open, 1);
    engine_batch_close(b);
    engine_free(p->engine);
    mem_free(row);
}

struct call_of {
    struct place *p;
    const char *text;
    pthread_t thread;
};

static void *call_once(void *arg)
{
    struct call_of *c = arg;
    struct engine_request r = request(c->p, c->text);
    struct engine_reply reply;

    if (engine_call_pool(c->p->engine, c->p->pool, &r, &reply, NULL) == WEIR_OK)
        answer_clear(&reply.answer);
    return NULL;
}

static bool one_waits(void *arg)
{
    struct place *p = arg;
    struct core_stats stats;

    engine_pool_stats(p->engine, p->pool, &stats);
    return stats.ready == 1;
}

/* Nothing happens after the first one's end that would have the engine look again. */
static void a_large_answer_keeps_no_other_call_waiting(void **state)
{
    struct place place, *p = place_open(&place, 1, NULL);
    struct call_of first = {.p = p, .text = "large"}, second = {.p = p, .text = "next"};

    (void)state;
    assert_int_equal(pthread_create(&first.thread, NULL, call_once, &first), 0);
    assert_true(latch_wait(&p->inside, 1));
    assert_int_equal(pthread_create(&second.thread, NULL, call_once, &second), 0);
    assert_true(testkit_until(one_waits, p, DEADLINE_S * 1000));
    latch_add(&p->open, 1);
    pthread_join(first.thread, NULL);
    assert_true(latch_wait(&p->inside, 2));
    pthread_join(second.thread, NULL);
    engine_free(p->engine);
}

static void *shut_down(void *arg)
{
    struct place *p = arg;

    if (latch_wait(&p->inside, 1))
        engine_shutdown(p->engine, false);
    return NULL;
}

static void a_shutdown_ends_calls_and_afterwards_each_is_refused(void **state)
{
    struct place place, *p = place_open(&place, 1, NULL);
    struct engine_request r = request(p, "stand");
    struct engine_reply reply;
    pthread_t other;

    (void)state;
    assert_int_equal(pthread_create(&other, NULL, shut_down, p), 0);
    ok(engine_call_pool(p->engine, p->pool, &r, &reply, &err));
    assert_int_equal(reply.answer.outcome, WEIR_OUTCOME_CANCELLED);
    assert_int_equal(reply.answer.reason, WEIR_REASON_SHUTDOWN_REQUESTED);
    answer_clear(&reply.answer);
    pthread_join(other, NULL);
    r = request(p, "hello");
    says(WEIR_E_SHUTDOWN, "shut down", engine_call_pool(p->engine, p->pool, &r, &reply, &err));
    assert_int_equal(latch_count(&p->released), 2);
    engine_free(p->engine);
}

static void what_is_wrong_with_a_call_is_said_and_its_payload_let_go(void **state)
{
    struct place place, *p = place_open(&place, 1, NULL);
    struct engine_request r = request(p, "hello");
    struct engine_reply reply;

    (void)state;
    r.timeout_ns = -1;
    says(WEIR_E_INVALID, "timeout", engine_call_pool(p->engine, p->pool, &r, &reply, &err));
    assert_int_equal(latch_count(&p->released), 1);
    engine_free(p->engine);
}

static void a_call_survives_the_lack_of_memory(void **state)
{
    struct place place, *p = place_open(&place, 1, NULL);
    struct engine_reply reply;
    uint64_t calls = 0;
    int failed;

    (void)state;
    do {
        struct engine_request r = request(p, "hello");
        enum weir_status status;

        calls++;
        r.session = "s";
        mem_fail_at(calls);
        status = engine_call_pool(p->engine, p->pool, &r, &reply, NULL);
        failed = mem_has_failed();
        mem_fail_at(0);
        if (status == WEIR_OK)
            answer_clear(&reply.answer);
        else
            assert_int_equal(status, WEIR_E_NOMEM);
    } while (failed);
    assert_true(calls > 3);
    assert_int_equal(latch_count(&p->released), calls);
    engine_free(p->engine);
}

static void a_pool_that_is_held_starts_nothing(void **state)
{
    struct place place, *p = place_open(&place, 1, NULL);
    struct engine_request r = request(p, "hello");
    struct engine_reply reply;

    (void)state;
    engine_pool_hold(p->engine, p->pool, true);
    r.timeout_ns = 20 * NS_PER_MS;
    ok(engine_call_pool(p->engine, p->pool, &r, &reply, &err));
    assert_int_equal(reply.answer.reason, WEIR_REASON_DEADLINE);
    assert_int_equal(latch_count(&p->inside), 0);
    answer_clear(&reply.answer);
    engine_pool_hold(p->engine, p->pool, false);
    r = request(p, "hello");
    ok(engine_call_pool(p->engine, p->pool, &r, &reply, &err));
    answer_clear(&reply.answer);
    engine_free(p->engine);
}

static void a_pool_without_workers_says_so(void **state)
{
    struct place place, *p = place_open(&place, 1, NULL);
    struct engine_workers workers;

    (void)state;
    says(WEIR_E_INVALID, "no workers", engine_pool_workers(p->engine, p->pool, &workers, &err));
    assert_false(engine_pool_release_session(p->engine, p->pool, "a"));
    says(WEIR_E_INVALID, "its own fallback",
         engine_set_fallback(p->engine, p->pool, p->pool, &err));
    engine_pool_reset_breaker(p->engine, p->pool);
    engine_free(p->engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_gives_the_answer_to_whoever_waits_for_it),
        cmocka_unit_test(calls_of_many_threads_get_each_its_own),
        cmocka_unit_test(
            one_whose_time_is_up_gets_its_caller_back_and_its_payload_stays_until_it_ends),
        cmocka_unit_test(a_call_waits_for_a_place_no_longer_than_the_checkout_timeout),
        cmocka_unit_test(a_large_answer_keeps_no_other_call_waiting),
        cmocka_unit_test(a_shutdown_ends_calls_and_afterwards_each_is_refused),
        cmocka_unit_test(what_is_wrong_with_a_call_is_said_and_its_payload_let_go),
        cmocka_unit_test(a_call_survives_the_lack_of_memory),
        cmocka_unit_test(a_pool_that_is_held_starts_nothing),
        cmocka_unit_test(a_pool_without_workers_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
