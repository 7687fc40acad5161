/*
 * What is special about the registry in memory: it fails when it is told to, forgets what a crash
 * would make forgotten, and takes back whatever a transaction did that has failed. What every
 * registry does, tests/contract/test_registry*.c show.
 */
#include "store/registry/memory_registry.h"

#include "base/mem.h"
#include "support/registrykit.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define NOW REGISTRYKIT_NOW

static const struct registry_spec plain;

static int setup(void **state)
{
    static struct registrykit k;

    registrykit_open(&k, &registrykit_kinds[0]);
    *state = &k;
    return 0;
}

static int teardown(void **state)
{
    registrykit_close(*state);
    return 0;
}

static void told_to_fail_it_does_nothing_and_says_why(void **state)
{
    struct registrykit *k = *state;
    struct registry_op wrong = {.kind = REGISTRY_CANCEL, .cancel = {.task = 9}};
    struct registry_op op = {
        .kind = REGISTRY_SUBMIT, .next = &wrong, .submit = {.specs = &plain, .count = 1}};

    memory_registry_fail_next(k->r, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(k->r->ops->apply(k->r, &op, &k->err), WEIR_E_IO);
        assert_int_equal(k->err.status, WEIR_E_IO);
        assert_int_equal(op.err.status, WEIR_E_IO);
        assert_int_equal(wrong.err.status, WEIR_E_IO);
        assert_null(op.ret_ready);
        assert_int_equal(k->r->ops->last_event(k->r), 0);
        assert_null(memory_registry_check(k->r));
    }
    assert_int_equal(k->r->ops->apply(k->r, &op, &k->err), WEIR_OK);
    assert_int_equal(op.err.status, WEIR_OK);
    assert_int_equal(wrong.err.status, WEIR_E_END);
    assert_string_equal(registrykit_handed(k, &op), "1");
    registrykit_used(&op);
}

static void what_failed_was_not_handed_over(void **state)
{
    struct registrykit *k = *state;
    struct registry_op take = {.kind = REGISTRY_TAKE,
                               .take = {.line = 1, .max = 9, .max_bytes = 9}};

    registrykit_submit(k, plain);
    memory_registry_crash(k->r);
    memory_registry_fail_next(k->r, 1);
    assert_int_equal(k->r->ops->apply(k->r, &take, &k->err), WEIR_E_IO);
    assert_null(take.take.ret_tasks);
    assert_string_equal(registrykit_take(k, 1, 0, 9), "1");
}

static void a_crash_forgets_nothing_that_was_applied(void **state)
{
    struct registrykit *k = *state;
    _cleanup_buf_ struct buf before = {0}, after = {0};

    registrykit_submit(k, plain);
    registrykit_submit(k, plain);
    registrykit_start(k, 1, 7);
    registrykit_put_all(k, &before);
    memory_registry_crash(k->r);
    registrykit_put_all(k, &after);
    assert_string_equal(before.data, after.data);
    assert_string_equal(registrykit_take(k, 1, 0, 9), "2");
}

/* A world with something for every op, and a chain with every op that changes something. */
static void make_world(struct registrykit *k)
{
    registrykit_batch(k, "b");
    for (int i = 0; i < 8; i++)
        registrykit_submit(
            k, (struct registry_spec){.key = SLICE("k"), .batch = 1, .place = (uint64_t)(9 - i)});
    registrykit_submit_after(k, plain, (const uint64_t[]){1, 2, 0});
    registrykit_submit_after(k, plain, (const uint64_t[]){3, 0});
    registrykit_submit(k, (struct registry_spec){.deadline_ns = NOW + 1});
    registrykit_run(k, 1, REGISTRY_FAILED);
    registrykit_run(k, 2, REGISTRY_DONE);
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_CANCEL, .cancel = {.task = 3}});
    registrykit_start(k, 4, 4);
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_SET, .set = {SLICE("a"), SLICE("1")}});
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_SET, .set = {SLICE("b"), SLICE("1")}});
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_SAMPLE,
                                           .sample = {.at_ns = 5, .resolution_s = 10}});
}

#define OPS 20

static void make_chain(struct registry_op ops[OPS])
{
    static const struct registry_after after[] = {{.id = 6}, {.id = 5}}, circle[] = {{.id = 7}};
    static const int32_t priority = 7;
    static const int64_t when = NOW + 99;
    static const struct registry_spec spec = {
        .batch = 1, .place = 3, .idempotency_key = SLICE("i"), .line = {.pool = SLICE("p")}};
    const struct registry_op all[OPS] = {
        {.kind = REGISTRY_SUBMIT, .submit = {.specs = &spec, .count = 1}},
        registrykit_end_op(4, 4, REGISTRY_DONE),
        {.kind = REGISTRY_CHECK},
        {.kind = REGISTRY_RESOLVE, .resolve = {10, REGISTRY_RESOLVE_RUN}},
        {.kind = REGISTRY_RETRY, .retry = {.batch = 1}},
        {.kind = REGISTRY_RETRY, .retry = {.task = 3}},
        {.kind = REGISTRY_EDIT, .edit = {.task = 7, .after = after, .after_count = 2}},
        {.kind = REGISTRY_EDIT, .edit = {.task = 5, .priority = &priority, .not_before_ns = &when}},
        {.kind = REGISTRY_EDIT, .edit = {.task = 5, .after = circle, .after_count = 1}},
        {.kind = REGISTRY_WAKE, .wake = {.max = 9}},
        {.kind = REGISTRY_DELETE, .remove = {2}},
        {.kind = REGISTRY_BATCH_END, .batch_end = {1}},
        {.kind = REGISTRY_CANCEL, .cancel = {.batch = 1}},
        {.kind = REGISTRY_BATCH_OPEN, .batch_open = {.name = SLICE("c")}},
        {.kind = REGISTRY_SET, .set = {SLICE("a"), SLICE("2")}},
        {.kind = REGISTRY_SET, .set = {SLICE("b"), SLICE("")}},
        {.kind = REGISTRY_SAMPLE, .sample = {.at_ns = 3, .resolution_s = 10}},
        {.kind = REGISTRY_TELL, .tell = {.kind = REGISTRY_POOL_CHANGED, .detail = SLICE("{}")}},
        {.kind = REGISTRY_PURGE,
         .purge = {.tasks_before_ns = NOW + 9, .events_max = 20, .max = 99}},
        {.kind = REGISTRY_CHECK},
    };

    memcpy(ops, all, sizeof(all));
    for (size_t i = 0; i < OPS; i++) {
        ops[i].at_ns = NOW + 2;
        ops[i].next = i + 1 < OPS ? &ops[i + 1] : NULL;
    }
}

static void put_all(struct registrykit *k, struct buf *out)
{
    buf_clear(out);
    registrykit_put_all(k, out);
    k->reader->ops->fact(k->reader, SLICE("a"), out, NULL);
    k->reader->ops->fact(k->reader, SLICE("b"), out, NULL);
}

static bool count_sample(void *ctx, const struct registry_sample *s)
{
    *(int64_t *)ctx += s->at_ns;
    return true;
}

static void each_want_of_memory_takes_all_back(void **state)
{
    struct registrykit *k = *state;
    _cleanup_buf_ struct buf before = {0}, after = {0};
    struct registry_op ops[OPS];
    enum weir_status status = WEIR_E_NOMEM;
    unsigned long n = 0;

    make_world(k);
    put_all(k, &before);
    while (status != WEIR_OK) {
        int64_t sum = 0;

        make_chain(ops);
        mem_fail_at(++n);
        status = k->r->ops->apply(k->r, ops, &k->err);
        mem_fail_at(0);
        assert_null(memory_registry_check(k->r));
        if (status == WEIR_OK)
            break;
        assert_int_equal(status, WEIR_E_NOMEM);
        put_all(k, &after);
        assert_string_equal(before.data, after.data);
        k->reader->ops->history(k->reader, NULL, 10, 0, NOW, count_sample, &sum, NULL);
        assert_int_equal(sum, 5);
    }
    assert_true(n > 100);
    for (size_t i = 0; i < OPS; i++) {
        /* Only the circle is refused: so each of them did something. */
        if (ops[i].err.status != (i == 8 ? WEIR_E_CONFLICT : WEIR_OK))
            fail_msg("op %zu: %s", i, ops[i].err.message);
        registrykit_used(&ops[i]);
    }
}

static void want_of_memory_in_a_reader_is_told(void **state)
{
    struct registrykit *k = *state;
    struct registry_reader *r = NULL;
    struct registry_view v;

    registrykit_submit(k, (struct registry_spec){.payload = SLICE("payload")});
    mem_fail_at(1);
    assert_int_equal(k->r->ops->reader(k->r, &r, &k->err), WEIR_E_NOMEM);
    assert_null(r);
    assert_int_equal(k->r->ops->reader(k->r, &r, &k->err), WEIR_OK);
    mem_fail_at(1);
    assert_int_equal(r->ops->task(r, 1, true, &v, &k->err), WEIR_E_NOMEM);
    mem_fail_at(0);
    assert_int_equal(r->ops->task(r, 1, true, &v, &k->err), WEIR_OK);
    assert_true(slice_equal(v.payload, SLICE("payload")));
    r->ops->close(r);
}

static bool ask_for_its_line(void *ctx, const struct registry_view *v)
{
    struct core_registry *r = ctx;

    assert_ptr_equal(r->ops->line(r, v->line.id)->pool.data, v->line.pool.data);
    return true;
}

static void a_callback_may_ask_for_a_line(void **state)
{
    struct registrykit *k = *state;
    struct registry_filter f = {0};

    registrykit_submit(k, plain);
    assert_int_equal(k->reader->ops->tasks(k->reader, &f, 0, 9, ask_for_its_line, k->r, &k->err),
                     WEIR_OK);
}

#define READS 2000

static void *read_on(void *arg)
{
    struct registrykit *k = arg;
    struct registry_reader *r;
    struct registry_filter f = {0};

    if (k->r->ops->reader(k->r, &r, NULL) != WEIR_OK)
        return arg;
    for (int i = 0; i < READS; i++) {
        int64_t nothing = 0;
        struct registry_view v;

        (void)r->ops->task(r, 1 + (uint64_t)i % 50, true, &v, NULL);
        (void)r->ops->tasks(r, &f, 0, 0, NULL, &nothing, NULL);
        (void)k->r->ops->last_event(k->r);
        (void)k->r->ops->line(k->r, 1);
    }
    r->ops->close(r);
    return NULL;
}

/* For the thread sanitizer, mostly. */
static void others_may_read_while_one_writes(void **state)
{
    struct registrykit *k = *state;
    pthread_t threads[2];
    void *failed;

    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, k), 0);
    for (uint64_t i = 1; i <= 50; i++) {
        registrykit_submit(k, (struct registry_spec){.line = {.priority = (int32_t)i}});
        registrykit_run(k, i, REGISTRY_DONE);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(told_to_fail_it_does_nothing_and_says_why, setup, teardown),
        cmocka_unit_test_setup_teardown(what_failed_was_not_handed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(a_crash_forgets_nothing_that_was_applied, setup, teardown),
        cmocka_unit_test_setup_teardown(each_want_of_memory_takes_all_back, setup, teardown),
        cmocka_unit_test_setup_teardown(want_of_memory_in_a_reader_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_callback_may_ask_for_a_line, setup, teardown),
        cmocka_unit_test_setup_teardown(others_may_read_while_one_writes, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
