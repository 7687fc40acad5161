/*
 * Durable tasks in an engine with real threads, over the registry in memory: from the submit to the
 * recorded end, on every way out.
 */
#include "base/mem.h"
#include "core/ports/registry.h"
#include "engine/tasks.h"
#include "exec/thread/thread.h"
#include "store/registry/memory_registry.h"
#include "unit/engine/engine_test.h"

/* What the callbacks of one test do, and what they have seen. */
struct work {
    struct latch begun, open;
    atomic_uint running, most;
    atomic_uint calls;
};

static void enter(struct work *w)
{
    unsigned now = atomic_fetch_add(&w->running, 1) + 1, most = atomic_load(&w->most);

    while (now > most && !atomic_compare_exchange_weak(&w->most, &most, now))
        ;
    atomic_fetch_add(&w->calls, 1);
}

/* The payload says what to do: "ok", "fail", "again", "full", "wait" (until the test opens the latch). */
static void do_work(void *ctx, struct core_attempt *a)
{
    struct work *w = ctx;
    const char *say = a->payload;

    enter(w);
    a->answer.outcome = WEIR_OUTCOME_OK;
    a->answer.reason = WEIR_REASON_NONE;
    if (strncmp(say, "wait", 4) == 0) {
        latch_add(&w->begun, 1);
        (void)latch_wait(&w->open, 1);
    } else if (strncmp(say, "fail", 4) == 0) {
        a->answer.outcome = WEIR_OUTCOME_FAILED;
        a->answer.reason = WEIR_REASON_CALLBACK;
    } else if (strncmp(say, "again", 5) == 0 && a->number < 3) {
        a->answer.outcome = WEIR_OUTCOME_FAILED;
        a->answer.reason = WEIR_REASON_CALLBACK;
        a->answer.retryable = true;
    } else if (strncmp(say, "full", 4) == 0 && atomic_load(&w->calls) < 3) {
        a->answer.outcome = WEIR_OUTCOME_CAPACITY;
    }
    (void)answer_set_output(&a->answer, a->payload, a->payload_len);
    atomic_fetch_sub(&w->running, 1);
}

static enum weir_status make(void *ctx, const struct core_pool_options *o, struct uv_loop_s *loop,
                             struct core_executor_host *host, struct core_executor **ret,
                             struct weir_error *err)
{
    (void)loop;
    return thread_executor_new(
        &(struct thread_options){.threads = o->size, .work = do_work, .ctx = ctx}, host, ret, err);
}

static const struct desk_pool_ops plain = {0};

struct desk_house {
    struct work work;
    struct engine *engine;
    struct core_registry *registry;
    struct engine_tasks *tasks;
};

static enum weir_status try_pool(struct desk_house *h, const char *name, size_t size,
                                 struct weir_error *err)
{
    struct core_pool_options o;
    struct desk_pool_options d = {.ops = &plain, .max_attempts = 3};

    core_pool_options_init(&o);
    o.name = name;
    o.size = size;
    o.gate.throttle.kind = THROTTLE_NONE;
    backoff_options_init(&d.backoff);
    d.backoff.initial_ns = d.backoff.ceiling_ns = NS_PER_MS;
    return engine_tasks_add_pool(h->tasks, &o, make, &h->work, &d, err);
}

static void add_pool(struct desk_house *h, const char *name, size_t size)
{
    ok(try_pool(h, name, size, &err));
}

static void furnish(struct desk_house *h, size_t global_limit)
{
    struct engine_tasks_options o = {.global_limit = global_limit, .deaths_max = 3};

    *h = (struct desk_house){.work = {.begun = LATCH_INIT, .open = LATCH_INIT}};
    ok(engine_new(&(struct engine_options){.seed = 1}, &h->engine, &err));
    ok(memory_registry_new(&h->registry, &err));
    ok(engine_tasks_open(h->engine, h->registry, &o, &h->tasks, &err));
}

static void leave(struct desk_house *h)
{
    latch_add(&h->work.open, 1);
    engine_tasks_close(h->tasks);
    engine_free(h->engine);
    h->registry->ops->close(h->registry);
}

static uint64_t submit(struct desk_house *h, const struct registry_spec *spec)
{
    uint64_t id = 0;
    struct registry_op op = {.kind = REGISTRY_SUBMIT,
                             .submit = {.specs = spec, .count = 1, .ret_ids = &id}};

    ok(engine_tasks_apply(h->tasks, &op, &err));
    assert_int_not_equal(id, 0);
    return id;
}

static struct registry_spec spec_of(const char *payload)
{
    return (struct registry_spec){.line = {.pool = SLICE("work")}, .payload = slice_of(payload)};
}

static struct registry_view view(struct desk_house *h, uint64_t id)
{
    struct registry_reader *r;
    struct registry_view v;

    ok(h->registry->ops->reader(h->registry, &r, &err));
    ok(r->ops->task(r, id, true, &v, &err));
    r->ops->close(r);
    return v;
}

static bool has_ended(enum registry_state s)
{
    return s == REGISTRY_DONE || s == REGISTRY_FAILED || s == REGISTRY_CANCELLED;
}

/* Until the task has ended, or the deadline has passed. */
static enum registry_state await(struct desk_house *h, uint64_t id)
{
    for (int64_t until = time(NULL) + DEADLINE_S; time(NULL) < until;) {
        enum registry_state s = view(h, id).state;

        if (has_ended(s))
            return s;
        sched_yield();
    }
    fail_msg("task %llu does not end", (unsigned long long)id);
    return REGISTRY_STATES;
}

static void note_token(void *ctx, const struct desk_attempt *a)
{
    *(uint64_t *)ctx = a->token;
}

static void look_at_token(struct desk *d, struct instant now, void *ctx)
{
    (void)now;
    desk_attempts(d, note_token, ctx);
}

/* Of the only attempt that runs. */
static uint64_t token_of_runner(struct desk_house *h)
{
    struct registry_spec spec = spec_of("wait");
    uint64_t token = 0, id;

    add_pool(h, "work", 1);
    engine_tasks_start(h->tasks);
    id = submit(h, &spec);
    assert_true(latch_wait(&h->work.begun, 1));
    engine_tasks_call(h->tasks, look_at_token, &token);
    latch_add(&h->work.open, 1);
    assert_int_equal(await(h, id), REGISTRY_DONE);
    return token;
}

/* ---- tests ---- */

static void a_task_is_submitted_run_and_recorded(void **state)
{
    struct desk_house h;
    struct registry_spec spec = spec_of("ok");
    uint64_t id;

    (void)state;
    furnish(&h, 0);
    add_pool(&h, "work", 2);
    engine_tasks_start(h.tasks);
    id = submit(&h, &spec);
    assert_int_equal(await(&h, id), REGISTRY_DONE);
    assert_int_equal(view(&h, id).attempts, 1);
    assert_int_equal(view(&h, id).outcome, WEIR_OUTCOME_OK);
    leave(&h);
}

static void a_pool_that_there_is_no_memory_for_is_gone_when_that_is_told(void **state)
{
    struct desk_house h;
    struct registry_spec spec = spec_of("ok");
    int failures = 0;

    (void)state;
    furnish(&h, 0);
    engine_tasks_start(h.tasks);
    for (size_t n = 1; n <= 60; n++) { /* the engine may meet the failure elsewhere */
        enum weir_status status;

        mem_fail_at(n);
        status = try_pool(&h, "work", 2, NULL);
        mem_fail_at(0);
        failures += status == WEIR_E_NOMEM;
        assert_true(status == WEIR_OK || status == WEIR_E_NOMEM);
    }
    assert_true(failures > 3);
    add_pool(&h, "work", 2);
    assert_int_equal(await(&h, submit(&h, &spec)), REGISTRY_DONE);
    leave(&h);
}

static void failures_are_tried_again_and_what_is_final_is_not(void **state)
{
    struct desk_house h;
    struct registry_spec again = spec_of("again"), fail = spec_of("fail");
    uint64_t a, b;

    (void)state;
    furnish(&h, 0);
    add_pool(&h, "work", 2);
    engine_tasks_start(h.tasks);
    a = submit(&h, &again);
    b = submit(&h, &fail);
    assert_int_equal(await(&h, a), REGISTRY_DONE);
    assert_int_equal(view(&h, a).attempts, 3);
    assert_int_equal(view(&h, a).failures, 2);
    assert_int_equal(await(&h, b), REGISTRY_FAILED);
    assert_int_equal(view(&h, b).attempts, 1);
    leave(&h);
}

static void refusals_are_tried_again_and_count_as_no_failure(void **state)
{
    struct desk_house h;
    struct registry_spec spec = spec_of("full");
    uint64_t id;

    (void)state;
    furnish(&h, 0);
    add_pool(&h, "work", 1);
    engine_tasks_start(h.tasks);
    id = submit(&h, &spec);
    assert_int_equal(await(&h, id), REGISTRY_DONE);
    assert_int_equal(view(&h, id).attempts, 3);
    assert_int_equal(view(&h, id).failures, 0);
    assert_int_equal(view(&h, id).capacity_retries, 2);
    leave(&h);
}

static void no_more_run_than_the_global_limit_and_all_are_done(void **state)
{
    enum { TASKS = 3000 };
    struct desk_house h;
    struct registry_spec *specs = calloc(TASKS, sizeof *specs);
    uint64_t *ids = calloc(TASKS, sizeof *ids);
    struct registry_op op = {.kind = REGISTRY_SUBMIT,
                             .submit = {.specs = specs, .count = TASKS, .ret_ids = ids}};

    (void)state;
    furnish(&h, 3);
    add_pool(&h, "work", 4);
    add_pool(&h, "other", 4);
    engine_tasks_start(h.tasks);
    for (size_t i = 0; i < TASKS; i++) {
        specs[i] = spec_of("ok");
        if (i % 2)
            specs[i].line.pool = SLICE("other");
        specs[i].line.priority = (int32_t)(i % 7);
    }
    ok(engine_tasks_apply(h.tasks, &op, &err));
    for (size_t i = 0; i < TASKS; i++)
        assert_int_equal(await(&h, ids[i]), REGISTRY_DONE);
    assert_in_range(atomic_load(&h.work.most), 1, 3);
    assert_int_equal(atomic_load(&h.work.calls), TASKS);
    leave(&h);
    free(specs);
    free(ids);
}

static void cancelling_takes_what_waits_and_ends_what_runs(void **state)
{
    struct desk_house h;
    struct registry_spec spec = spec_of("wait");
    uint64_t runs, waits;

    (void)state;
    furnish(&h, 0);
    add_pool(&h, "work", 1);
    engine_tasks_start(h.tasks);
    runs = submit(&h, &spec);
    waits = submit(&h, &spec);
    assert_true(latch_wait(&h.work.begun, 1));
    for (size_t i = 0; i < 2; i++) {
        struct registry_op op = {.kind = REGISTRY_CANCEL, .cancel = {.task = i ? runs : waits}};

        ok(engine_tasks_apply(h.tasks, &op, &err));
    }
    assert_int_equal(await(&h, waits), REGISTRY_CANCELLED);
    assert_int_equal(await(&h, runs), REGISTRY_CANCELLED);
    latch_add(&h.work.open, 1);
    assert_int_equal(atomic_load(&h.work.calls), 1);
    leave(&h);
}

static bool ran_in(struct desk_house *h, uint64_t id, const char *pool)
{
    struct registry_reader *r;
    struct registry_view v;
    bool same;

    ok(h->registry->ops->reader(h->registry, &r, &err));
    ok(r->ops->task(r, id, false, &v, &err));
    same = slice_equal(v.pool, slice_of(pool));
    r->ops->close(r);
    return same;
}

static void wipe(struct desk_house *h, const uint64_t *ids, size_t count)
{
    struct registry_op purge = {.kind = REGISTRY_PURGE, .purge = {.max = UINT32_MAX}};

    for (size_t i = 0; i < count; i++) {
        struct registry_op op = {.kind = REGISTRY_DELETE, .remove = {ids[i]}};

        ok(engine_tasks_apply(h->tasks, &op, &err));
    }
    ok(engine_tasks_apply(h->tasks, &purge, &err));
    assert_null(purge.purge.ret_lines_gone); /* the engine's */
}

/* Each number is that of a session in one pool, and in the round after next that of one in the other. */
static void numbers_of_lines_are_used_again_for_others(void **state)
{
    static const char *const pools[] = {"work", "other"};
    enum { SESSIONS = 8, ROUNDS = 40 };
    struct desk_house h;

    (void)state;
    furnish(&h, 0);
    add_pool(&h, pools[0], 2);
    add_pool(&h, pools[1], 2);
    engine_tasks_start(h.tasks);
    for (int round = 0; round < ROUNDS; round++) {
        const char *pool = pools[round / 2 % 2];
        uint64_t ids[SESSIONS];
        char session[32];

        for (int i = 0; i < SESSIONS; i++) {
            struct registry_spec spec = spec_of("ok");

            snprintf(session, sizeof session, "%d-%d", round, i);
            spec.line.session = slice_of(session);
            spec.line.pool = slice_of(pool);
            ids[i] = submit(&h, &spec);
        }
        for (int i = 0; i < SESSIONS; i++) {
            assert_int_equal(await(&h, ids[i]), REGISTRY_DONE);
            assert_true(ran_in(&h, ids[i], pool));
            assert_true(view(&h, ids[i]).line.id <= 3 * SESSIONS);
        }
        wipe(&h, ids, SESSIONS);
    }
    leave(&h);
}

static void a_store_that_fails_for_a_while_loses_nothing(void **state)
{
    struct desk_house h;
    struct registry_spec spec = spec_of("wait");
    uint64_t id;

    (void)state;
    furnish(&h, 0);
    add_pool(&h, "work", 1);
    engine_tasks_start(h.tasks);
    id = submit(&h, &spec);
    assert_true(latch_wait(&h.work.begun, 1));
    memory_registry_fail_next(h.registry, 3);
    latch_add(&h.work.open, 1);
    assert_int_equal(await(&h, id), REGISTRY_DONE);
    leave(&h);
}

static void what_the_store_did_not_take_has_not_happened(void **state)
{
    struct desk_house h;
    struct registry_spec spec = spec_of("wait"), other = spec_of("ok");
    struct registry_op op = {.kind = REGISTRY_CANCEL};
    struct weir_error why = {0};
    uint64_t waits;

    (void)state;
    furnish(&h, 0);
    add_pool(&h, "work", 1);
    engine_tasks_start(h.tasks);
    (void)submit(&h, &spec);
    assert_true(latch_wait(&h.work.begun, 1));
    waits = submit(&h, &other);
    memory_registry_fail_next(h.registry, 1);
    op.cancel.task = waits;
    assert_int_equal(engine_tasks_apply(h.tasks, &op, &why), WEIR_E_IO);
    latch_add(&h.work.open, 1);
    assert_int_equal(await(&h, waits), REGISTRY_DONE);
    leave(&h);
}

/* An attempt that runs goes on: whoever is told of a failure can rely on that nothing has changed. */
static void a_cancel_that_the_store_did_not_take_ends_nothing(void **state)
{
    struct desk_house h;
    struct registry_spec spec = spec_of("wait"), other = spec_of("ok");
    struct registry_op op = {.kind = REGISTRY_CANCEL};
    struct weir_error why = {0};

    (void)state;
    furnish(&h, 0);
    add_pool(&h, "work", 1);
    engine_tasks_start(h.tasks);
    op.cancel.task = submit(&h, &spec);
    assert_true(latch_wait(&h.work.begun, 1));
    (void)submit(&h, &other); /* what was to be written before it is, and not what fails */
    memory_registry_fail_next(h.registry, 1);
    assert_int_equal(engine_tasks_apply(h.tasks, &op, &why), WEIR_E_IO);
    latch_add(&h.work.open, 1);
    assert_int_equal(await(&h, op.cancel.task), REGISTRY_DONE);
    leave(&h);
}

/* It was told to stop, and asked for the task's cancel: both are kept. */
static void what_was_cancelled_is_not_put_back_by_a_stop(void **state)
{
    struct desk_house h;
    struct registry_spec spec = spec_of("wait");
    struct registry_op op = {.kind = REGISTRY_CANCEL};
    uint64_t left = 0;

    (void)state;
    furnish(&h, 0);
    add_pool(&h, "work", 1);
    engine_tasks_start(h.tasks);
    op.cancel.task = submit(&h, &spec);
    assert_true(latch_wait(&h.work.begun, 1));
    engine_tasks_stop(h.tasks, 0, 0, true, &left);
    assert_int_equal(left, 1);
    ok(engine_tasks_apply(h.tasks, &op, &err));
    latch_add(&h.work.open, 1);
    engine_tasks_close(h.tasks);
    assert_int_equal(view(&h, op.cancel.task).state, REGISTRY_CANCELLED);
    engine_free(h.engine);
    h.registry->ops->close(h.registry);
}

static void stopping_puts_back_what_does_not_end_in_time(void **state)
{
    struct desk_house h;
    struct registry_spec spec = spec_of("wait");
    uint64_t id, left = 0;

    (void)state;
    furnish(&h, 0);
    add_pool(&h, "work", 1);
    engine_tasks_start(h.tasks);
    id = submit(&h, &spec);
    assert_true(latch_wait(&h.work.begun, 1));
    engine_tasks_stop(h.tasks, 0, 0, true, &left);
    assert_int_equal(left, 1);
    {
        struct registry_op op = {.kind = REGISTRY_SUBMIT, .submit = {.specs = &spec, .count = 1}};
        struct weir_error err = {0};

        assert_int_equal(engine_tasks_apply(h.tasks, &op, &err), WEIR_E_SHUTDOWN);
    }
    latch_add(&h.work.open, 1);
    engine_tasks_close(h.tasks);
    assert_int_equal(view(&h, id).state, REGISTRY_READY);
    engine_free(h.engine);
    h.registry->ops->close(h.registry);
}

static void set_fact(struct core_registry *r, const char *name, const char *value)
{
    struct registry_op op = {.kind = REGISTRY_SET,
                             .set = {.name = slice_of(name), .value = slice_of(value)}};

    ok(r->ops->apply(r, &op, &err));
    assert_int_equal(op.err.status, WEIR_OK);
}

/* The clock of the last start was years ahead; and of one that kept nonsense nothing is taken. */
static void a_token_is_never_given_twice_whatever_the_clock_says(void **state)
{
    static const char future[] = "4000000000000000000";
    const uint64_t ahead = UINT64_C(4000000000000000000);
    struct engine_tasks_options o = {.deaths_max = 3};
    struct desk_house h;
    uint64_t last = ahead, token;

    (void)state;
    furnish(&h, 0);
    token = token_of_runner(&h);
    assert_true(token > UINT64_C(1600000000000000000) && token < ahead);
    engine_tasks_close(h.tasks);
    set_fact(h.registry, "token", future);
    for (int start = 0; start < 3; start++) {
        h.work = (struct work){.begun = LATCH_INIT, .open = LATCH_INIT};
        ok(engine_tasks_open(h.engine, h.registry, &o, &h.tasks, &err));
        token = token_of_runner(&h);
        /* As many as one start could give. */
        assert_true(token > last + (UINT64_C(1) << 39));
        last = token;
        if (start < 2)
            engine_tasks_close(h.tasks);
    }
    engine_tasks_close(h.tasks);
    set_fact(h.registry, "token", "99999999999999999999");
    h.work = (struct work){.begun = LATCH_INIT, .open = LATCH_INIT};
    ok(engine_tasks_open(h.engine, h.registry, &o, &h.tasks, &err));
    assert_true(token_of_runner(&h) < ahead);
    leave(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_is_submitted_run_and_recorded),
        cmocka_unit_test(a_pool_that_there_is_no_memory_for_is_gone_when_that_is_told),
        cmocka_unit_test(failures_are_tried_again_and_what_is_final_is_not),
        cmocka_unit_test(refusals_are_tried_again_and_count_as_no_failure),
        cmocka_unit_test(no_more_run_than_the_global_limit_and_all_are_done),
        cmocka_unit_test(cancelling_takes_what_waits_and_ends_what_runs),
        cmocka_unit_test(numbers_of_lines_are_used_again_for_others),
        cmocka_unit_test(a_store_that_fails_for_a_while_loses_nothing),
        cmocka_unit_test(what_the_store_did_not_take_has_not_happened),
        cmocka_unit_test(a_cancel_that_the_store_did_not_take_ends_nothing),
        cmocka_unit_test(what_was_cancelled_is_not_put_back_by_a_stop),
        cmocka_unit_test(stopping_puts_back_what_does_not_end_in_time),
        cmocka_unit_test(a_token_is_never_given_twice_whatever_the_clock_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
