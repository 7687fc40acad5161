/*
 * What core/ports/registry.h promises of tasks that wait for others, and of what a person does to
 * tasks, tried on every registry there is.
 */
#include "support/registrykit.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define NOW        REGISTRYKIT_NOW
#define AFTER(...) ((const uint64_t[]){__VA_ARGS__, 0})

static const struct registry_spec plain; /* a task that says nothing */

static void assert_says(const struct registrykit *k, const char *part)
{
    if (!strstr(k->err.message, part))
        fail_msg("'%s' does not say '%s'", k->err.message, part);
}

static struct registry_op op_cancel(uint64_t task)
{
    return (struct registry_op){.kind = REGISTRY_CANCEL, .cancel = {.task = task}};
}

static struct registry_op op_retry(uint64_t task)
{
    return (struct registry_op){.kind = REGISTRY_RETRY, .retry = {.task = task}};
}

static struct registry_op op_delete(uint64_t task)
{
    return (struct registry_op){.kind = REGISTRY_DELETE, .remove = {task}};
}

static struct registry_op op_resolve(uint64_t task, enum registry_resolve how)
{
    return (struct registry_op){.kind = REGISTRY_RESOLVE, .resolve = {task, how}};
}

static const struct registry_op op_check = {.kind = REGISTRY_CHECK};

static enum weir_status submit_one_after(struct registrykit *k, uint64_t on)
{
    const struct registry_after after[] = {{.id = on}};
    const struct registry_spec spec = {.after = after, .after_count = 1};

    return registrykit_try(
        k, (struct registry_op){.kind = REGISTRY_SUBMIT, .submit = {.specs = &spec, .count = 1}});
}

static enum weir_status edit_after(struct registrykit *k, uint64_t task, uint64_t on)
{
    const struct registry_after after[] = {{.id = on}};

    return registrykit_try(
        k, (struct registry_op){.kind = REGISTRY_EDIT,
                                .edit = {.task = task, .after = after, .after_count = 1}});
}

static enum weir_status edit_priority(struct registrykit *k, uint64_t task, int32_t priority)
{
    return registrykit_try(k, (struct registry_op){.kind = REGISTRY_EDIT,
                                                   .edit = {.task = task, .priority = &priority}});
}

static void assert_states(struct registrykit *k, const enum registry_state *want, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (registrykit_state(k, i + 1) != want[i])
            fail_msg("task %zu is %s, not %s", i + 1,
                     registry_state_name(registrykit_state(k, i + 1)),
                     registry_state_name(want[i]));
}
#define STATES(k, ...)                                                                             \
    assert_states(k, (const enum registry_state[]){__VA_ARGS__},                                   \
                  sizeof((const enum registry_state[]){__VA_ARGS__}) /                             \
                      sizeof(enum registry_state))

/* ---- dependencies ---- */

static void a_task_is_ready_when_all_it_waits_for_is_done(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op = registrykit_end_op(2, 7, REGISTRY_DONE);

    registrykit_submit(k, plain);
    registrykit_submit(k, plain);
    registrykit_submit_after(k, plain, AFTER(2, 1, 2)); /* twice the same is once */
    assert_int_equal(registrykit_view(k, 3).blocked_by, 2);
    registrykit_run(k, 1, REGISTRY_DONE);
    assert_int_equal(registrykit_view(k, 3).blocked_by, 1);
    STATES(k, REGISTRY_DONE, REGISTRY_READY, REGISTRY_BLOCKED);
    registrykit_reopen(k);
    registrykit_start(k, 2, 7);
    registrykit_new_events(k);
    assert_string_equal(registrykit_take(k, 1, 0, 10), "");
    k->now += 10;
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_string_equal(registrykit_handed(k, &op), "3");
    registrykit_used(&op);
    assert_int_equal(registrykit_view(k, 3).ready_ns, NOW + 10);
    registrykit_events(k, "runner.completed 2 a1 pool\ntask.done 2 a1 pool 10ns\ntask.ready 3\n");
}

static void siblings_wait_for_each_other_by_place(void **state)
{
    struct registrykit *k = *state;
    const struct registry_after on2[] = {{.sibling = 2}}, on1[] = {{.sibling = 1}};
    const struct registry_spec specs[] = {
        {.after = on2, .after_count = 1}, {.place = 0}, {.after = on1, .after_count = 1}};

    registrykit_do(
        k, (struct registry_op){.kind = REGISTRY_SUBMIT, .submit = {.specs = specs, .count = 3}});
    STATES(k, REGISTRY_BLOCKED, REGISTRY_READY, REGISTRY_BLOCKED);
    registrykit_events(k, "task.submitted 1\ntask.submitted 2\ntask.submitted 3\ntask.ready 2\n");
    registrykit_run(k, 2, REGISTRY_DONE);
    STATES(k, REGISTRY_BLOCKED, REGISTRY_DONE, REGISTRY_READY);
    registrykit_run(k, 3, REGISTRY_DONE);
    STATES(k, REGISTRY_READY, REGISTRY_DONE, REGISTRY_DONE);
}

static void what_fails_fails_what_waits_for_it(void **state)
{
    struct registrykit *k = *state;
    struct registry_view v;

    registrykit_submit(k, (struct registry_spec){.key = SLICE("root")});
    registrykit_submit_after(k, plain, AFTER(1));
    registrykit_submit_after(k, plain, AFTER(2));
    registrykit_submit_after(k, plain, AFTER(1));
    registrykit_submit_after(k, (struct registry_spec){.run_after_failure = true}, AFTER(2, 4));
    registrykit_start(k, 1, 7);
    registrykit_new_events(k);
    registrykit_end(k, 1, 7, REGISTRY_FAILED);
    STATES(k, REGISTRY_FAILED, REGISTRY_FAILED, REGISTRY_FAILED, REGISTRY_FAILED, REGISTRY_READY);
    v = registrykit_view(k, 2);
    assert_int_equal(v.reason, WEIR_REASON_DEPENDENCY);
    assert_int_equal(v.outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(v.attempts, 0);
    assert_int_equal(v.ended_ns, NOW);
    assert_true(slice_equal(v.message, SLICE("task 1 (root), which it depends on, has failed")));
    registrykit_events(k, "runner.failed 1 a1 pool {\"reason\":\"exit_status\"}\n"
                          "task.failed 1 a1 pool {\"reason\":\"exit_status\"}\n"
                          "task.failed 2 {\"reason\":\"dependency\",\"message\":\"task 1 (root), "
                          "which it depends on, has "
                          "failed\"}\n"
                          "task.failed 4 {\"reason\":\"dependency\",\"message\":\"task 1 (root), "
                          "which it depends on, has "
                          "failed\"}\n"
                          "task.failed 3 {\"reason\":\"dependency\",\"message\":\"task 2, which it "
                          "depends on, has failed\"}\n"
                          "task.ready 5\n");
}

static void a_submission_sees_what_has_become_of_what_it_waits_for(void **state)
{
    struct registrykit *k = *state;
    const struct registry_after after[] = {{.id = 2}}, sibling[] = {{.sibling = 1}};
    const struct registry_spec specs[] = {
        {.after = sibling, .after_count = 1},
        {.after = after, .after_count = 1},
        {.after = sibling, .after_count = 1, .run_after_failure = true},
        {.after = after, .after_count = 1, .run_after_failure = true}};

    for (int i = 0; i < 3; i++)
        registrykit_submit(k, plain);
    registrykit_run(k, 1, REGISTRY_DONE);
    registrykit_run(k, 2, REGISTRY_FAILED);
    registrykit_do(k, op_cancel(3));
    registrykit_new_events(k);
    assert_int_equal(submit_one_after(k, 1), WEIR_OK);
    assert_int_equal(submit_one_after(k, 2), WEIR_OK);
    assert_int_equal(submit_one_after(k, 3), WEIR_E_CONFLICT);
    assert_says(k, "task 3, which is cancelled");
    assert_int_equal(submit_one_after(k, 99), WEIR_E_END);
    STATES(k, REGISTRY_DONE, REGISTRY_FAILED, REGISTRY_CANCELLED, REGISTRY_READY, REGISTRY_FAILED);
    registrykit_new_events(k);
    registrykit_do(
        k, (struct registry_op){.kind = REGISTRY_SUBMIT, .submit = {.specs = specs, .count = 4}});
    registrykit_events(k, "task.submitted 6\ntask.submitted 7\ntask.submitted 8\ntask.submitted 9\n"
                          "task.failed 7 {\"reason\":\"dependency\",\"message\":\"task 2, which it "
                          "depends on, has failed\"}\n"
                          "task.failed 6 {\"reason\":\"dependency\",\"message\":\"task 7, which it "
                          "depends on, has failed\"}\n"
                          "task.ready 8\ntask.ready 9\n");
}

static void after_its_dependencies_a_task_still_waits_for_its_time(void **state)
{
    struct registrykit *k = *state;

    registrykit_submit(k, plain);
    registrykit_submit_after(k, (struct registry_spec){.not_before_ns = NOW + 10}, AFTER(1));
    registrykit_submit_after(k, (struct registry_spec){.not_before_ns = NOW + 5}, AFTER(1));
    k->now += 5;
    registrykit_run(k, 1, REGISTRY_DONE);
    STATES(k, REGISTRY_DONE, REGISTRY_SCHEDULED, REGISTRY_READY);
    k->now += 5;
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_WAKE, .wake = {.max = 10}});
    STATES(k, REGISTRY_DONE, REGISTRY_READY, REGISTRY_READY);
}

static bool put_id(void *ctx, const struct registry_view *v)
{
    buf_printf(ctx, "%llu ", (unsigned long long)v->id);
    return true;
}

static void dependencies_are_seen_both_ways(void **state)
{
    struct registrykit *k = *state;
    const struct registry_reader_ops *ops = k->reader->ops;
    _cleanup_buf_ struct buf seen = {0};

    registrykit_submit(k, plain);
    registrykit_submit(k, plain);
    registrykit_submit_after(k, plain, AFTER(2, 1));
    registrykit_submit_after(k, plain, AFTER(1));
    assert_int_equal(ops->dependencies(k->reader, 3, false, put_id, &seen, &k->err), WEIR_OK);
    buf_puts(&seen, "| ");
    assert_int_equal(ops->dependencies(k->reader, 1, true, put_id, &seen, &k->err), WEIR_OK);
    assert_string_equal(seen.data, "1 2 | 3 4 ");
    assert_int_equal(ops->dependencies(k->reader, 9, true, put_id, &seen, &k->err), WEIR_E_END);
}

/* ---- cancelling, deleting, and what can never be ---- */

static void what_waits_for_a_cancelled_task_is_left_to_a_person(void **state)
{
    struct registrykit *k = *state;
    struct registry_op check = op_check;

    registrykit_submit(k, plain);
    registrykit_submit_after(k, plain, AFTER(1));
    registrykit_submit_after(k, plain, AFTER(2));
    registrykit_submit(k, plain);
    registrykit_submit_after(k, plain, AFTER(4));
    registrykit_new_events(k);
    k->now += 3;
    registrykit_do(k, op_cancel(1));
    STATES(k, REGISTRY_CANCELLED, REGISTRY_BLOCKED, REGISTRY_BLOCKED);
    assert_int_equal(registrykit_view(k, 1).outcome, WEIR_OUTCOME_CANCELLED);
    assert_int_equal(registrykit_view(k, 1).reason, WEIR_REASON_CANCELLED);
    assert_false(registrykit_view(k, 2).stuck);
    assert_int_equal(registrykit_apply(k, &check), WEIR_OK);
    assert_true(check.check.ret_stuck == 2 && check.check.ret_new == 2);
    assert_true(registrykit_view(k, 2).stuck && registrykit_view(k, 3).stuck);
    assert_false(registrykit_view(k, 5).stuck);
    registrykit_do(k, op_delete(1));
    registrykit_reopen(k);
    assert_int_equal(registrykit_apply(k, &check), WEIR_OK);
    assert_true(check.check.ret_stuck == 2 && check.check.ret_new == 0); /* they are known */
    registrykit_events(
        k, "task.cancelled 1 3ns\n"
           "deadlock.detected 2 {\"waits_for\":1,\"why\":\"cancelled\"}\n"
           "deadlock.detected 3 {\"waits_for\":2,\"why\":\"blocked\"}\ntask.deleted 1\n");
}

static void a_person_resolves_what_can_never_be(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op;
    struct registry_op check = op_check;

    registrykit_submit(k, plain);
    registrykit_submit_after(k, plain, AFTER(1));
    registrykit_submit_after(k, plain, AFTER(1));
    registrykit_submit_after(k, plain, AFTER(3));
    registrykit_do(k, op_cancel(1));
    registrykit_do(k, op_check);
    registrykit_new_events(k);
    op = op_resolve(2, REGISTRY_RESOLVE_RUN);
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_string_equal(registrykit_handed(k, &op), "2");
    registrykit_used(&op);
    registrykit_do(k, op_resolve(3, REGISTRY_RESOLVE_CANCEL));
    STATES(k, REGISTRY_CANCELLED, REGISTRY_READY, REGISTRY_CANCELLED, REGISTRY_BLOCKED);
    assert_false(registrykit_view(k, 2).stuck);
    assert_int_equal(registrykit_view(k, 2).blocked_by, 0);
    registrykit_events(k, "task.changed 2 {\"resolve\":\"run\"}\ntask.ready 2\n"
                          "task.changed 3 {\"resolve\":\"cancel\"}\ntask.cancelled 3\n");
    assert_int_equal(registrykit_try(k, op_resolve(2, REGISTRY_RESOLVE_RUN)), WEIR_E_CONFLICT);
    assert_int_equal(registrykit_try(k, op_resolve(9, REGISTRY_RESOLVE_RUN)), WEIR_E_END);
    assert_int_equal(registrykit_apply(k, &check), WEIR_OK);
    assert_true(check.check.ret_stuck == 1 && check.check.ret_new == 0);
}

static void retrying_what_was_cancelled_frees_what_waits(void **state)
{
    struct registrykit *k = *state;
    struct registry_op check = op_check;

    registrykit_submit(k, plain);
    registrykit_submit_after(k, plain, AFTER(1));
    registrykit_do(k, op_cancel(1));
    registrykit_do(k, op_check);
    registrykit_do(k, op_retry(1));
    assert_int_equal(registrykit_apply(k, &check), WEIR_OK);
    assert_int_equal(check.check.ret_stuck, 0);
    assert_false(registrykit_view(k, 2).stuck);
    registrykit_run(k, 1, REGISTRY_DONE);
    STATES(k, REGISTRY_DONE, REGISTRY_READY);
}

static void only_what_has_not_ended_is_cancelled(void **state)
{
    struct registrykit *k = *state;

    registrykit_submit(k, plain);
    registrykit_start(k, 1, 7);
    registrykit_end(k, 1, 7, REGISTRY_DONE);
    assert_int_equal(registrykit_try(k, op_cancel(1)), WEIR_E_CONFLICT);
    assert_int_equal(registrykit_try(k, op_cancel(2)), WEIR_E_END);
}

static void only_what_has_ended_is_deleted(void **state)
{
    struct registrykit *k = *state;
    struct registry_view v;

    registrykit_submit(k, plain);
    assert_int_equal(registrykit_try(k, op_delete(1)), WEIR_E_BUSY);
    registrykit_run(k, 1, REGISTRY_DONE);
    registrykit_do(k, op_delete(1));
    assert_int_equal(k->reader->ops->task(k->reader, 1, true, &v, &k->err), WEIR_E_END);
    assert_int_equal(registrykit_try(k, op_delete(1)), WEIR_E_END);
    registrykit_reopen(k);
    assert_int_equal(registrykit_submit(k, plain), 2); /* its number is never given again */
}

/* ---- retrying ---- */

static void a_retry_begins_anew_but_goes_on_counting_attempts(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op = registrykit_end_op(1, 7, REGISTRY_FAILED);
    struct registry_view v;

    registrykit_submit(k, plain);
    registrykit_start(k, 1, 7);
    op.end.output = SLICE("out");
    op.end.message = SLICE("sorry");
    op.end.status = 3;
    op.end.death = true;
    registrykit_do(k, op);
    assert_true(registrykit_view(k, 1).has_result);
    registrykit_new_events(k);
    k->now += 60;
    op = op_retry(1);
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_int_equal(op.retry.ret_count, 1);
    assert_string_equal(registrykit_handed(k, &op), "1");
    assert_int_equal(op.ret_ready->attempts, 1);
    assert_int_equal(op.ret_ready->failures, 0);
    assert_int_equal(op.ret_ready->first_start_ns, 0);
    registrykit_used(&op);
    v = registrykit_view(k, 1);
    assert_true(v.attempts == 1 && v.failures == 0 && v.deaths == 0);
    assert_true(v.ready_ns == NOW + 60 && v.ended_ns == 0 && v.started_ns == 0);
    assert_true(v.reason == WEIR_REASON_NONE && v.status == 0 && v.message.len == 0 &&
                !v.has_result);
    registrykit_start(k, 1, 8);
    assert_int_equal(registrykit_view(k, 1).attempts, 2);
    registrykit_events(k, "task.changed 1 {\"retry\":true}\ntask.ready 1\n"
                          "task.assigned 1 a2 pool\nrunner.started 1 a2 pool\n");
    assert_int_equal(registrykit_try(k, op_retry(1)), WEIR_E_CONFLICT);
    registrykit_end(k, 1, 8, REGISTRY_DONE);
    assert_int_equal(registrykit_try(k, op_retry(1)), WEIR_E_CONFLICT);
    assert_says(k, "task 1 is done");
    assert_int_equal(registrykit_try(k, op_retry(5)), WEIR_E_END);
}

static void a_retry_does_not_bring_back_what_failed_behind_it(void **state)
{
    struct registrykit *k = *state;
    struct registry_op check = op_check;

    registrykit_submit(k, plain);
    registrykit_submit_after(k, plain, AFTER(1));
    registrykit_submit_after(k, plain, AFTER(1));
    registrykit_run(k, 1, REGISTRY_FAILED);
    registrykit_do(k, op_retry(2)); /* waits until that is retried, too */
    STATES(k, REGISTRY_FAILED, REGISTRY_BLOCKED, REGISTRY_FAILED);
    assert_int_equal(registrykit_apply(k, &check), WEIR_OK);
    assert_int_equal(check.check.ret_stuck, 1);
    assert_non_null(strstr(registrykit_new_events(k),
                           "deadlock.detected 2 {\"waits_for\":1,\"why\":\"failed\"}\n"));
    registrykit_do(k, op_retry(1));
    registrykit_run(k, 1, REGISTRY_DONE);
    STATES(k, REGISTRY_DONE, REGISTRY_READY, REGISTRY_FAILED);
    registrykit_do(k, op_retry(3)); /* what it waited for is done meanwhile */
    STATES(k, REGISTRY_DONE, REGISTRY_READY, REGISTRY_READY);
}

static void a_retry_keeps_a_first_time_and_drops_a_wait_between_attempts(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op;

    registrykit_submit(k, (struct registry_spec){.not_before_ns = NOW + 50});
    registrykit_submit(k, plain);
    registrykit_start(k, 2, 7);
    op = registrykit_end_op(2, 7, REGISTRY_SCHEDULED);
    op.end.wake_ns = NOW + 50;
    registrykit_do(k, op);
    for (uint64_t id = 1; id <= 2; id++) {
        registrykit_do(k, op_cancel(id));
        registrykit_do(k, op_retry(id));
    }
    STATES(k, REGISTRY_SCHEDULED, REGISTRY_READY);
}

/* ---- editing ---- */

static void a_new_priority_moves_a_task_at_its_old_rank(void **state)
{
    struct registrykit *k = *state;
    const struct registry_spec high = {.line = {.priority = 9}};
    const int32_t priority = 9;
    struct registry_op op = {.kind = REGISTRY_EDIT, .edit = {.task = 1, .priority = &priority}};
    int64_t rank;

    registrykit_submit(k, plain);
    registrykit_submit(k, plain);
    k->now += 10;
    registrykit_submit(k, high);
    registrykit_new_events(k);
    rank = registrykit_view(k, 1).ready_ns;
    k->now += 10;
    /* The engine has passed that rank in the other line: it is handed over. */
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_string_equal(registrykit_handed(k, &op), "1");
    assert_int_equal(op.ret_ready->line, registrykit_view(k, 3).line.id);
    assert_int_equal(op.ret_ready->rank, rank);
    registrykit_used(&op);
    /* To a new engine, which has passed nothing, only the line is told: there is one before it. */
    op.edit.task = 2;
    registrykit_reopen(k);
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_string_equal(registrykit_handed(k, &op), "line 2");
    registrykit_used(&op);
    assert_string_equal(registrykit_take(k, registrykit_view(k, 3).line.id, 0, 10), "1 2 3");
    registrykit_events(k, "task.changed 1 {\"priority\":9}\ntask.changed 2 {\"priority\":9}\n");
    registrykit_start(k, 1, 7);
    assert_int_equal(edit_priority(k, 1, 5), WEIR_E_BUSY);
    registrykit_end(k, 1, 7, REGISTRY_DONE);
    assert_int_equal(edit_priority(k, 1, 5), WEIR_E_CONFLICT);
    assert_int_equal(edit_priority(k, 8, 5), WEIR_E_END);
    assert_int_equal(edit_priority(k, 2, 1001), WEIR_E_INVALID);
}

/* Whoever asked has let go of it. */
static void what_an_op_leaves_ready_is_handed_over_anew(void **state)
{
    struct registrykit *k = *state;
    const struct registry_after self[] = {{.id = 1}};
    struct registry_op ops[] = {
        {.kind = REGISTRY_EDIT, .edit = {.task = 1}},
        {.kind = REGISTRY_EDIT, .edit = {.task = 1, .after = self, .after_count = 1}},
        {.kind = REGISTRY_RETRY, .retry = {.task = 1}},
        {.kind = REGISTRY_DELETE, .remove = {1}},
        {.kind = REGISTRY_RESOLVE, .resolve = {1, REGISTRY_RESOLVE_RUN}},
    };

    registrykit_submit(k, plain);
    registrykit_new_events(k);
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        assert_int_equal(registrykit_apply(k, &ops[i]) == WEIR_OK, i == 0);
        assert_string_equal(registrykit_handed(k, &ops[i]), "1");
        registrykit_used(&ops[i]);
    }
    registrykit_events(k, "");
    assert_string_equal(registrykit_take(k, 1, 0, 10), "");
}

static void a_time_can_be_set_and_taken_away(void **state)
{
    struct registrykit *k = *state;
    int64_t when = NOW + 10;
    struct registry_op op = {.kind = REGISTRY_EDIT, .edit = {.task = 1, .not_before_ns = &when}};

    registrykit_submit(k, plain);
    registrykit_new_events(k);
    registrykit_do(k, op);
    STATES(k, REGISTRY_SCHEDULED);
    when = 0;
    k->now += 5;
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_string_equal(registrykit_handed(k, &op), "1");
    registrykit_used(&op);
    STATES(k, REGISTRY_READY);
    assert_int_equal(registrykit_view(k, 1).ready_ns, NOW + 5);
    registrykit_events(k, "task.changed 1 {\"not_before_ns\":1000000000010}\n"
                          "task.changed 1 {\"not_before_ns\":0}\ntask.ready 1\n");
}

static void dependencies_can_be_added(void **state)
{
    struct registrykit *k = *state;

    for (int i = 0; i < 6; i++)
        registrykit_submit(k, plain);
    registrykit_run(k, 3, REGISTRY_DONE);
    registrykit_run(k, 4, REGISTRY_FAILED);
    registrykit_do(k, op_cancel(5));
    registrykit_new_events(k);
    assert_int_equal(edit_after(k, 2, 1), WEIR_OK);
    assert_int_equal(edit_after(k, 2, 1), WEIR_OK); /* it has it */
    STATES(k, REGISTRY_READY, REGISTRY_BLOCKED);
    assert_int_equal(registrykit_view(k, 2).blocked_by, 1);
    assert_int_equal(edit_after(k, 6, 3), WEIR_OK);
    assert_int_equal(registrykit_state(k, 6), REGISTRY_READY);
    assert_int_equal(edit_after(k, 6, 5), WEIR_E_CONFLICT);
    assert_int_equal(edit_after(k, 6, 77), WEIR_E_END);
    assert_int_equal(edit_after(k, 6, 4), WEIR_OK);
    assert_int_equal(registrykit_state(k, 6), REGISTRY_FAILED);
    registrykit_run(k, 1, REGISTRY_DONE);
    assert_int_equal(registrykit_state(k, 2), REGISTRY_READY);
}

static void a_dependency_that_would_close_a_circle_is_refused(void **state)
{
    struct registrykit *k = *state;
    const struct registry_after a[] = {{.sibling = 1}}, b[] = {{.sibling = 0}};
    const struct registry_spec specs[] = {{.key = SLICE("x"), .after = a, .after_count = 1},
                                          {.key = SLICE("y"), .after = b, .after_count = 1}};

    registrykit_submit(k, (struct registry_spec){.key = SLICE("a")});
    registrykit_submit_after(k, (struct registry_spec){.key = SLICE("b")}, AFTER(1));
    registrykit_submit_after(k, plain, AFTER(2));
    registrykit_new_events(k);
    assert_int_equal(edit_after(k, 1, 3), WEIR_E_CONFLICT);
    assert_says(k, ": a -> 3 -> b -> a;");
    assert_int_equal(edit_after(k, 1, 1), WEIR_E_CONFLICT);
    assert_says(k, ": a -> a;");
    STATES(k, REGISTRY_READY, REGISTRY_BLOCKED, REGISTRY_BLOCKED);
    assert_int_equal(
        registrykit_try(k, (struct registry_op){.kind = REGISTRY_SUBMIT,
                                                .submit = {.specs = specs, .count = 2}}),
        WEIR_E_CONFLICT);
    assert_says(k, ": x -> y -> x;");
    registrykit_events(k, "");
    registrykit_run(k, 1, REGISTRY_DONE);
    registrykit_run(k, 2, REGISTRY_DONE);
    STATES(k, REGISTRY_DONE, REGISTRY_DONE, REGISTRY_READY);
}

/* That dependency was met when it failed, and is so for good. */
static void a_dependency_that_is_met_closes_no_circle(void **state)
{
    struct registrykit *k = *state;

    registrykit_submit(k, plain);
    registrykit_submit_after(k, (struct registry_spec){.run_after_failure = true}, AFTER(1));
    registrykit_run(k, 1, REGISTRY_FAILED);
    registrykit_do(k, op_retry(1));
    assert_int_equal(edit_after(k, 1, 2), WEIR_OK);
    STATES(k, REGISTRY_BLOCKED, REGISTRY_READY);
    registrykit_run(k, 2, REGISTRY_DONE);
    STATES(k, REGISTRY_READY, REGISTRY_DONE);
}

static void a_dependency_that_was_dropped_can_be_added_again(void **state)
{
    struct registrykit *k = *state;

    registrykit_submit(k, plain);
    registrykit_submit_after(k, plain, AFTER(1));
    registrykit_do(k, op_resolve(2, REGISTRY_RESOLVE_RUN));
    STATES(k, REGISTRY_READY, REGISTRY_READY);
    assert_int_equal(edit_after(k, 2, 1), WEIR_OK);
    STATES(k, REGISTRY_READY, REGISTRY_BLOCKED);
    registrykit_run(k, 1, REGISTRY_DONE);
    STATES(k, REGISTRY_DONE, REGISTRY_READY);
}

#define CHAIN 10000

static void a_long_chain_fails_as_one(void **state)
{
    struct registrykit *k = *state;
    static struct registry_spec specs[CHAIN];
    static struct registry_after after[CHAIN];
    struct registry_op check = op_check;

    for (uint32_t i = 0; i + 1 < CHAIN; i++) {
        after[i] = (struct registry_after){.sibling = i + 1};
        specs[i] = (struct registry_spec){.after = &after[i], .after_count = 1};
    }
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_SUBMIT,
                                           .submit = {.specs = specs, .count = CHAIN}});
    assert_int_equal(edit_after(k, CHAIN, 1), WEIR_E_CONFLICT);
    assert_says(k, "more) -> ");
    registrykit_do(k, op_cancel(CHAIN));
    assert_int_equal(registrykit_apply(k, &check), WEIR_OK);
    assert_int_equal(check.check.ret_stuck, CHAIN - 1);
    registrykit_do(k, op_retry(CHAIN));
    registrykit_run(k, CHAIN, REGISTRY_FAILED);
    STATES(k, REGISTRY_FAILED, REGISTRY_FAILED);
    assert_int_equal(registrykit_state(k, CHAIN - 1), REGISTRY_FAILED);
}

/* ---- a check in pieces ---- */

struct whole {
    uint64_t stuck, news, pieces;
};

/* From piece to piece, until it is through. */
static struct whole check_on(struct registrykit *k, uint32_t max)
{
    struct whole w = {0};
    bool more = true;

    while (more) {
        struct registry_op op = {.kind = REGISTRY_CHECK, .check = {.max = max}};

        assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
        more = op.check.ret_more;
        w.stuck = op.check.ret_stuck;
        w.news += op.check.ret_new;
        assert_true(++w.pieces < 1000);
    }
    return w;
}

static size_t times_told(struct registrykit *k)
{
    const char *at = registrykit_new_events(k);
    size_t count = 0;

    for (; (at = strstr(at, "deadlock.detected")); at++)
        count++;
    return count;
}

/* 1 and 2 are ready; the others wait for those two before them, so all wait for both in the end. */
static void make_braid(struct registrykit *k, uint64_t count)
{
    registrykit_submit(k, plain);
    registrykit_submit(k, plain);
    for (uint64_t id = 3; id <= count; id++)
        registrykit_submit_after(k, plain, AFTER(id - 2, id - 1));
    registrykit_new_events(k);
}

static void a_check_in_pieces_finds_what_one_finds(void **state)
{
    struct registrykit *k = *state;
    struct whole w;

    make_braid(k, 30);
    w = check_on(k, 1);
    assert_true(w.stuck == 0 && w.news == 0);
    registrykit_do(k, op_cancel(2));
    registrykit_submit_after(k, plain, AFTER(1));
    w = check_on(k, 1);
    assert_true(w.stuck == 28 && w.news == 28);
    assert_int_equal(times_told(k), 28);
    assert_true(registrykit_view(k, 30).stuck && !registrykit_view(k, 31).stuck);
    assert_int_equal(check_on(k, 1).stuck, 28); /* nothing has changed */
    registrykit_do(k, op_delete(2));
    w = check_on(k, 7);
    assert_true(w.stuck == 28 && w.news == 0);
    assert_int_equal(times_told(k), 0);
}

static void what_changes_during_a_check_is_found_by_the_next(void **state)
{
    struct registrykit *k = *state;

    for (uint32_t pieces = 0; pieces < 40; pieces += 3) {
        struct registry_op op = {.kind = REGISTRY_CHECK, .check = {.max = 3}};
        bool more = true;
        struct whole w;

        registrykit_close(k);
        registrykit_open(k, k->kind);
        make_braid(k, 30);
        registrykit_do(k, op_cancel(2));
        for (uint32_t i = 0; i < pieces && more; i++) {
            assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
            more = op.check.ret_more;
        }
        registrykit_do(k, op_resolve(3, REGISTRY_RESOLVE_RUN));
        registrykit_do(k, op_retry(2));
        registrykit_do(k, op_resolve(20, REGISTRY_RESOLVE_CANCEL));
        registrykit_submit_after(k, plain, AFTER(19));
        registrykit_submit_after(k, plain, AFTER(30));
        if (more)
            check_on(k, 3);
        w = check_on(k, 3);
        assert_int_equal(w.stuck, 11); /* 21 to 30, and 32 */
        for (uint64_t id = 3; id <= 32; id++)
            assert_int_equal(registrykit_view(k, id).stuck, id != 31 && id > 20);
    }
}

/* 1 is cancelled; each of the others waits for the one before. */
static void make_dead_chain(struct registrykit *k, uint64_t count)
{
    registrykit_close(k);
    registrykit_open(k, k->kind);
    registrykit_submit(k, plain);
    for (uint64_t id = 2; id <= count; id++)
        registrykit_submit_after(k, plain, AFTER(id - 1));
    registrykit_do(k, op_cancel(1));
    registrykit_new_events(k);
}

/* Up to so many pieces; false: it was through before. */
static bool begin_check(struct registrykit *k, uint32_t pieces)
{
    struct registry_op op = {.kind = REGISTRY_CHECK, .check = {.max = 1}};

    for (uint32_t i = 0; i < pieces; i++) {
        assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
        if (!op.check.ret_more)
            return false;
    }
    return true;
}

static void what_comes_to_life_during_a_check_is_not_told(void **state)
{
    struct registrykit *k = *state;
    bool under_way = true;

    for (uint32_t pieces = 1; under_way; pieces++) {
        make_dead_chain(k, 10);
        under_way = begin_check(k, pieces);
        registrykit_do(k, op_retry(1));
        registrykit_new_events(k);
        assert_int_equal(check_on(k, 1).stuck, 0);
        assert_int_equal(times_told(k), 0);
        for (uint64_t id = 1; id <= 10; id++)
            assert_false(registrykit_view(k, id).stuck);
    }
}

static void what_runs_after_a_failure_during_a_check_is_not_told(void **state)
{
    struct registrykit *k = *state;
    const struct registry_after on1[] = {{.id = 1}};
    const struct registry_spec timed = {.after = on1, .after_count = 1, .deadline_ns = NOW + 100};
    bool under_way = true;

    for (uint32_t pieces = 1; under_way; pieces++) {
        registrykit_close(k);
        registrykit_open(k, k->kind);
        registrykit_submit(k, plain);
        registrykit_submit(k, timed);
        registrykit_submit_after(k, (struct registry_spec){.run_after_failure = true}, AFTER(2));
        for (uint64_t id = 4; id <= 10; id++)
            registrykit_submit_after(k, plain, AFTER(id - 1));
        registrykit_do(k, op_cancel(1));
        under_way = begin_check(k, pieces);
        k->now = NOW + 200;
        registrykit_do(k, (struct registry_op){.kind = REGISTRY_WAKE, .wake = {.max = 10}});
        assert_int_equal(registrykit_state(k, 3), REGISTRY_READY);
        registrykit_new_events(k);
        check_on(k, 1);
        assert_int_equal(times_told(k), 0);
        assert_int_equal(check_on(k, 1).stuck, 0);
    }
}

static void a_check_comes_to_an_end_whatever_is_changed_meanwhile(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op = {.kind = REGISTRY_CHECK, .check = {.max = 1}};
    uint32_t pieces = 0;

    make_dead_chain(k, 10);
    do {
        registrykit_do(k, op_retry(1));
        registrykit_do(k, op_cancel(1));
        assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
        assert_true(++pieces < 10);
    } while (op.check.ret_more);
    assert_int_equal(op.check.ret_stuck, 9);
    assert_int_equal(times_told(k), 9);
}

static void a_piece_that_fails_costs_no_word(void **state)
{
    struct registrykit *k = *state;
    size_t told = 0;

    for (uint32_t fails_at = 0; fails_at < 40; fails_at++) {
        struct registry_op op = {.kind = REGISTRY_CHECK, .at_ns = k->now, .check = {.max = 3}};
        bool more = true;

        if (fails_at % 8 == 0) {
            registrykit_close(k);
            registrykit_open(k, k->kind);
            make_braid(k, 30);
            told = 0;
        }
        registrykit_do(k, fails_at % 2 ? op_retry(2) : op_cancel(2));
        for (uint32_t i = 0; more; i++) {
            enum weir_status status;

            k->kind->fail_next(k->r, i == fails_at);
            status = k->r->ops->apply(k->r, &op, &k->err);
            assert_int_equal(status, i == fails_at ? WEIR_E_IO : WEIR_OK);
            assert_null(k->kind->check(k->r));
            more = status != WEIR_OK || op.check.ret_more;
        }
        k->kind->fail_next(k->r, 0);
        assert_int_equal(op.check.ret_stuck, fails_at % 2 ? 0 : 28);
        told += fails_at % 2 ? 0 : 28;
    }
    assert_int_equal(times_told(k), told);
}

int main(void)
{
    static const struct registrykit_test tests[] = {
        REGISTRYKIT_TEST(a_task_is_ready_when_all_it_waits_for_is_done),
        REGISTRYKIT_TEST(siblings_wait_for_each_other_by_place),
        REGISTRYKIT_TEST(what_fails_fails_what_waits_for_it),
        REGISTRYKIT_TEST(a_submission_sees_what_has_become_of_what_it_waits_for),
        REGISTRYKIT_TEST(after_its_dependencies_a_task_still_waits_for_its_time),
        REGISTRYKIT_TEST(dependencies_are_seen_both_ways),
        REGISTRYKIT_TEST(what_waits_for_a_cancelled_task_is_left_to_a_person),
        REGISTRYKIT_TEST(a_person_resolves_what_can_never_be),
        REGISTRYKIT_TEST(retrying_what_was_cancelled_frees_what_waits),
        REGISTRYKIT_TEST(only_what_has_not_ended_is_cancelled),
        REGISTRYKIT_TEST(only_what_has_ended_is_deleted),
        REGISTRYKIT_TEST(a_retry_begins_anew_but_goes_on_counting_attempts),
        REGISTRYKIT_TEST(a_retry_does_not_bring_back_what_failed_behind_it),
        REGISTRYKIT_TEST(a_retry_keeps_a_first_time_and_drops_a_wait_between_attempts),
        REGISTRYKIT_TEST(a_new_priority_moves_a_task_at_its_old_rank),
        REGISTRYKIT_TEST(what_an_op_leaves_ready_is_handed_over_anew),
        REGISTRYKIT_TEST(a_time_can_be_set_and_taken_away),
        REGISTRYKIT_TEST(dependencies_can_be_added),
        REGISTRYKIT_TEST(a_dependency_that_would_close_a_circle_is_refused),
        REGISTRYKIT_TEST(a_dependency_that_is_met_closes_no_circle),
        REGISTRYKIT_TEST(a_dependency_that_was_dropped_can_be_added_again),
        REGISTRYKIT_TEST(a_long_chain_fails_as_one),
        REGISTRYKIT_TEST(a_check_in_pieces_finds_what_one_finds),
        REGISTRYKIT_TEST(what_changes_during_a_check_is_found_by_the_next),
        REGISTRYKIT_TEST(what_comes_to_life_during_a_check_is_not_told),
        REGISTRYKIT_TEST(what_runs_after_a_failure_during_a_check_is_not_told),
        REGISTRYKIT_TEST(a_check_comes_to_an_end_whatever_is_changed_meanwhile),
        REGISTRYKIT_TEST(a_piece_that_fails_costs_no_word),
    };

    return registrykit_main(tests, sizeof(tests) / sizeof(tests[0]));
}
