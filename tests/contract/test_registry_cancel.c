/*
 * What core/ports/registry.h promises of a task that is cancelled while it runs, tried on every
 * registry there is: the wish is durable with the op, and whatever ends the attempt, the task does
 * not run again.
 */
#include "support/registrykit.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define NOW REGISTRYKIT_NOW

static const struct registry_spec plain; /* a task that says nothing */

static struct registry_op op_cancel(uint64_t task)
{
    return (struct registry_op){.kind = REGISTRY_CANCEL, .cancel = {.task = task}};
}

static struct registry_op op_retry(uint64_t task)
{
    return (struct registry_op){.kind = REGISTRY_RETRY, .retry = {.task = task}};
}

/* A task of that number that runs, with token 7, and is cancelled. */
static void submit_and_cancel(struct registrykit *k, uint64_t task)
{
    assert_int_equal(registrykit_submit(k, plain), task);
    registrykit_start(k, task, 7);
    registrykit_do(k, op_cancel(task));
    registrykit_new_events(k);
}

static void put_back(struct registrykit *k, uint32_t deaths_max)
{
    uint64_t count;

    registrykit_reopen(k);
    assert_int_equal(k->r->ops->put_back(k->r, k->now, deaths_max, &count, &k->err), WEIR_OK);
}

static void assert_is_sound(struct registrykit *k)
{
    if (k->kind->check && k->kind->check(k->r))
        fail_msg("%s", k->kind->check(k->r));
}

static void one_that_runs_is_marked_and_runs_on(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op = op_cancel(1);

    registrykit_submit(k, plain);
    registrykit_start(k, 1, 7);
    registrykit_new_events(k);
    assert_false(registrykit_view(k, 1).cancelling);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
        assert_true(op.cancel.ret_count == 0 && op.cancel.ret_running == 1);
        assert_int_equal(registrykit_state(k, 1), REGISTRY_RUNNING);
        assert_true(registrykit_view(k, 1).cancelling);
    }
    registrykit_events(k, "task.changed 1 {\"cancel\":true}\n"); /* once */
    assert_is_sound(k);
}

static void one_that_waits_is_cancelled_at_once(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op = op_cancel(1);

    registrykit_submit(k, plain);
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_true(op.cancel.ret_count == 1 && op.cancel.ret_running == 0);
    assert_int_equal(registrykit_state(k, 1), REGISTRY_CANCELLED);
    assert_false(registrykit_view(k, 1).cancelling);
    assert_int_equal(registrykit_try(k, op_cancel(1)), WEIR_E_CONFLICT);
}

static void what_would_run_again_is_cancelled_by_its_end(void **state)
{
    static const enum registry_state nexts[] = {REGISTRY_READY, REGISTRY_SCHEDULED};
    struct registrykit *k = *state;

    for (uint64_t id = 1; id <= 2; id++) {
        struct registry_op op = registrykit_end_op(id, 7, nexts[id - 1]);
        struct registry_view v;

        submit_and_cancel(k, id);
        k->now += 5;
        op.end.wake_ns = k->now + 1000;
        op.end.outcome = WEIR_OUTCOME_FAILED;
        op.end.message = SLICE("said");
        op.end.output = SLICE("out");
        op.end.run_ns = 5;
        assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
        assert_true(op.end.ret_cancelled);
        assert_string_equal(registrykit_handed(k, &op), "");
        registrykit_events(
            k,
            id == 1
                ? "runner.failed 1 a1 pool 5ns {\"reason\":\"exit_status\",\"message\":\"said\"}\n"
                  "task.cancelled 1 a1 pool 5ns\n"
                : "runner.failed 2 a1 pool 5ns {\"reason\":\"exit_status\",\"message\":\"said\"}\n"
                  "task.cancelled 2 a1 pool 5ns\n");
        v = registrykit_view(k, id);
        assert_true(v.state == REGISTRY_CANCELLED && !v.cancelling && v.has_result);
        assert_true(v.ended_ns == k->now && v.not_before_ns == 0);
        assert_int_equal(v.output.len, 3);
        assert_is_sound(k);
    }
    assert_string_equal(registrykit_take(k, 1, 0, 10), "");
}

static void what_its_attempt_comes_to_by_itself_stays(void **state)
{
    static const enum registry_state nexts[] = {REGISTRY_DONE, REGISTRY_FAILED, REGISTRY_CANCELLED};
    struct registrykit *k = *state;

    for (uint64_t id = 1; id <= 3; id++) {
        struct registry_op op = registrykit_end_op(id, 7, nexts[id - 1]);

        submit_and_cancel(k, id);
        assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
        assert_false(op.end.ret_cancelled);
        registrykit_used(&op);
        assert_int_equal(registrykit_state(k, id), nexts[id - 1]);
        assert_false(registrykit_view(k, id).cancelling);
        assert_is_sound(k);
    }
}

static void the_wish_outlives_a_crash(void **state)
{
    struct registrykit *k = *state;
    struct registry_view v;

    registrykit_submit(k, plain);
    registrykit_submit_after(k, plain, (uint64_t[]){1, 0});
    registrykit_submit(k, plain);
    registrykit_start(k, 1, 7);
    registrykit_start(k, 3, 8);
    registrykit_do(k, op_cancel(1));
    registrykit_new_events(k);
    registrykit_reopen(k);
    assert_true(registrykit_view(k, 1).cancelling);
    k->now += 20;
    put_back(k, 2);
    registrykit_events(
        k, "runner.lost 1 a1 pool 20ns {\"reason\":\"dispatcher_lost\",\"message\":\"the "
           "dispatcher ended while it ran\"}\ntask.cancelled 1 a1 pool 20ns\n"
           "runner.lost 3 a1 pool 20ns {\"reason\":\"dispatcher_lost\",\"message\":\"the "
           "dispatcher ended while it ran\"}\ntask.ready 3 a1 pool\n");
    v = registrykit_view(k, 1);
    assert_true(v.state == REGISTRY_CANCELLED && !v.cancelling);
    assert_true(v.outcome == WEIR_OUTCOME_LOST && v.ended_ns == k->now && v.deaths == 1);
    assert_int_equal(registrykit_state(k, 2), REGISTRY_BLOCKED); /* left to a person */
    assert_string_equal(registrykit_take(k, 1, 0, 10), "3");
    assert_int_equal(registrykit_try(k, registrykit_end_op(1, 7, REGISTRY_DONE)), WEIR_E_CONFLICT);
    assert_is_sound(k);
}

/* Whoever has cancelled it does not have it among the dead letters, which are tried again by hand. */
static void one_that_is_cancelled_is_not_quarantined(void **state)
{
    struct registrykit *k = *state;

    submit_and_cancel(k, 1);
    put_back(k, 1);
    assert_int_equal(registrykit_state(k, 1), REGISTRY_CANCELLED);
    assert_null(strstr(registrykit_new_events(k), "quarantined"));
}

static void a_retry_begins_without_the_wish(void **state)
{
    struct registrykit *k = *state;

    submit_and_cancel(k, 1);
    assert_int_equal(registrykit_try(k, op_retry(1)), WEIR_E_CONFLICT); /* it runs */
    registrykit_end(k, 1, 7, REGISTRY_READY);
    assert_int_equal(registrykit_state(k, 1), REGISTRY_CANCELLED);
    registrykit_do(k, op_retry(1));
    registrykit_start(k, 1, 8);
    assert_false(registrykit_view(k, 1).cancelling);
    registrykit_end(k, 1, 8, REGISTRY_READY);
    assert_int_equal(registrykit_state(k, 1), REGISTRY_READY);
    assert_is_sound(k);
    /* And so it does after a crash. */
    registrykit_start(k, 1, 9);
    registrykit_do(k, op_cancel(1));
    put_back(k, 0);
    registrykit_do(k, op_retry(1));
    registrykit_start(k, 1, 10);
    put_back(k, 0);
    assert_int_equal(registrykit_state(k, 1), REGISTRY_READY);
}

static void nothing_else_is_done_to_one_that_runs(void **state)
{
    struct registrykit *k = *state;
    const int32_t priority = 5;

    submit_and_cancel(k, 1);
    assert_int_equal(
        registrykit_try(k, (struct registry_op){.kind = REGISTRY_EDIT,
                                                .edit = {.task = 1, .priority = &priority}}),
        WEIR_E_BUSY);
    assert_int_equal(
        registrykit_try(k, (struct registry_op){.kind = REGISTRY_DELETE, .remove = {1}}),
        WEIR_E_BUSY);
    assert_true(registrykit_view(k, 1).cancelling);
    registrykit_events(k, "");
}

static void a_batch_ends_when_what_ran_has_ended(void **state)
{
    struct registrykit *k = *state;
    const struct registry_spec spec = {.batch = 1};
    struct registry_op op = {.kind = REGISTRY_CANCEL, .cancel = {.batch = 1}};

    registrykit_batch(k, "");
    for (int i = 0; i < 4; i++)
        registrykit_submit(k, spec);
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_BATCH_END, .batch_end = {.batch = 1}});
    registrykit_start(k, 1, 7);
    registrykit_start(k, 3, 8);
    registrykit_run(k, 4, REGISTRY_DONE);
    registrykit_new_events(k);
    for (uint64_t count = 2; count-- > 0;) {
        assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
        assert_true(op.cancel.ret_count == count && op.cancel.ret_running == 2);
    }
    registrykit_events(k, "task.changed 1 {\"cancel\":true}\ntask.cancelled 2\n"
                          "task.changed 3 {\"cancel\":true}\n");
    registrykit_end(k, 1, 7, REGISTRY_READY);
    registrykit_new_events(k);
    put_back(k, 2);
    assert_non_null(strstr(registrykit_new_events(k),
                           "task.cancelled 3 a1 pool\n"
                           "batch.ended {\"batch\":1,\"done\":1,\"failed\":0,\"cancelled\":3}\n"));
    assert_is_sound(k);
}

/* In one transaction: the op of somebody else stands between START and END. */
static void start_cancel_and_end_may_come_together(void **state)
{
    struct registrykit *k = *state;
    struct registry_op ops[3] = {
        {.kind = REGISTRY_START, .start = {.task = 1, .token = 7, .attempt = 1}},
        op_cancel(1),
        registrykit_end_op(1, 7, REGISTRY_READY),
    };

    registrykit_submit(k, plain);
    for (int i = 0; i < 3; i++) {
        ops[i].at_ns = k->now;
        ops[i].next = i < 2 ? &ops[i + 1] : NULL;
    }
    assert_int_equal(k->r->ops->apply(k->r, ops, &k->err), WEIR_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ops[i].err.status, WEIR_OK);
    assert_true(ops[1].cancel.ret_running == 1 && ops[2].end.ret_cancelled);
    assert_int_equal(registrykit_state(k, 1), REGISTRY_CANCELLED);
    assert_is_sound(k);
}

/* Each allocation in turn fails, and the transaction itself: then the wish was not taken, and nothing has changed. */
static void a_wish_that_is_taken_back_leaves_nothing(void **state)
{
    struct registrykit *k = *state;
    enum weir_status status = WEIR_E_NOMEM;

    registrykit_submit(k, plain);
    registrykit_start(k, 1, 7);
    registrykit_new_events(k);
    for (unsigned long n = 1; status != WEIR_OK; n++) {
        struct registry_op op = op_cancel(1);

        assert_true(n < 10000);
        op.at_ns = k->now;
        if (n == 1 && k->kind->fail_next)
            k->kind->fail_next(k->r, 1);
        else
            mem_fail_at(n);
        status = k->r->ops->apply(k->r, &op, &k->err);
        mem_fail_at(0);
        if (status == WEIR_OK)
            break;
        assert_false(registrykit_view(k, 1).cancelling);
        registrykit_events(k, "");
        assert_is_sound(k);
    }
    assert_true(registrykit_view(k, 1).cancelling);
    if (k->kind->fail_next) {
        struct registry_op op = registrykit_end_op(1, 7, REGISTRY_READY);

        op.at_ns = k->now;
        k->kind->fail_next(k->r, 1);
        assert_int_not_equal(k->r->ops->apply(k->r, &op, &k->err), WEIR_OK);
        assert_true(registrykit_view(k, 1).cancelling); /* it is still wished */
        assert_is_sound(k);
    }
    registrykit_end(k, 1, 7, REGISTRY_SCHEDULED);
    assert_int_equal(registrykit_state(k, 1), REGISTRY_CANCELLED);
}

int main(void)
{
    static const struct registrykit_test tests[] = {
        REGISTRYKIT_TEST(one_that_runs_is_marked_and_runs_on),
        REGISTRYKIT_TEST(one_that_waits_is_cancelled_at_once),
        REGISTRYKIT_TEST(what_would_run_again_is_cancelled_by_its_end),
        REGISTRYKIT_TEST(what_its_attempt_comes_to_by_itself_stays),
        REGISTRYKIT_TEST(the_wish_outlives_a_crash),
        REGISTRYKIT_TEST(one_that_is_cancelled_is_not_quarantined),
        REGISTRYKIT_TEST(a_retry_begins_without_the_wish),
        REGISTRYKIT_TEST(nothing_else_is_done_to_one_that_runs),
        REGISTRYKIT_TEST(a_batch_ends_when_what_ran_has_ended),
        REGISTRYKIT_TEST(start_cancel_and_end_may_come_together),
        REGISTRYKIT_TEST(a_wish_that_is_taken_back_leaves_nothing),
    };

    return registrykit_main(tests, sizeof(tests) / sizeof(tests[0]));
}
