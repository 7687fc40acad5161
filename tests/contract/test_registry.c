/*
 * What core/ports/registry.h promises of tasks, tried on every registry there is: from SUBMIT to
 * the end. What stands beside tasks is tried in test_registry_keep.c, and whole lives in
 * test_registry_lives.c.
 */
#include "support/registrykit.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NOW REGISTRYKIT_NOW

static const struct registry_spec plain; /* a task that says nothing */

static void assert_says(const struct registrykit *k, const char *part)
{
    if (!strstr(k->err.message, part))
        fail_msg("'%s' does not say '%s'", k->err.message, part);
}

static enum weir_status submit_two(struct registrykit *k, struct registry_spec a,
                                   struct registry_spec b, uint64_t ids[2])
{
    struct registry_spec specs[] = {a, b};

    return registrykit_try(
        k, (struct registry_op){.kind = REGISTRY_SUBMIT,
                                .submit = {.specs = specs, .count = 2, .ret_ids = ids}});
}

/* ---- coming ---- */

static void a_task_comes_and_is_seen_as_it_came(void **state)
{
    struct registrykit *k = *state;
    const struct registry_spec spec = {.line = {.priority = -5,
                                                .cpu_milli = 1500,
                                                .memory_mib = 512,
                                                .pool = SLICE("build"),
                                                .tenant = SLICE("t"),
                                                .session = SLICE("s"),
                                                .slots = SLICE("a,b")},
                                       .key = SLICE("k"),
                                       .payload = {"{\0}", 3},
                                       .max_attempts = 4,
                                       .timeout_ns = 77,
                                       .deadline_ns = NOW + 1000};
    uint64_t id = registrykit_submit(k, spec);
    struct registry_view v = registrykit_view(k, id);

    assert_int_equal(id, 1);
    assert_int_equal(v.state, REGISTRY_READY);
    assert_int_equal(v.line.priority, -5);
    assert_int_equal(v.line.cpu_milli, 1500);
    assert_int_equal(v.line.memory_mib, 512);
    assert_true(slice_equal(v.line.pool, SLICE("build")) && slice_equal(v.line.tenant, SLICE("t")));
    assert_true(slice_equal(v.line.session, SLICE("s")) && slice_equal(v.line.slots, SLICE("a,b")));
    assert_true(slice_equal(v.key, SLICE("k")) && slice_equal(v.payload, spec.payload));
    assert_int_equal(v.max_attempts, 4);
    assert_int_equal(v.timeout_ns, 77);
    assert_int_equal(v.deadline_ns, NOW + 1000);
    assert_int_equal(v.submitted_ns, NOW);
    assert_int_equal(v.ready_ns, NOW);
    assert_false(v.has_result);
    registrykit_events(k, "task.submitted 1\ntask.ready 1\n");
}

static void what_the_engine_is_handed_is_all_that_it_needs(void **state)
{
    struct registrykit *k = *state;
    const struct registry_spec spec = {.line = {.skill = SLICE("gpu")},
                                       .key = SLICE("k"),
                                       .payload = {"a\0b", 3},
                                       .max_attempts = 4,
                                       .timeout_ns = 5,
                                       .backoff_initial_ns = 6,
                                       .backoff_ceiling_ns = 7,
                                       .backoff_factor = 1.5,
                                       .deadline_ns = NOW + 9};
    struct registry_op op = {.kind = REGISTRY_SUBMIT, .submit = {.specs = &spec, .count = 1}};
    const struct registry_task *t;
    const struct registry_line *l;

    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    t = op.ret_ready;
    assert_non_null(t);
    assert_null(t->next);
    assert_int_equal(t->id, 1);
    assert_int_equal(t->rank, NOW);
    assert_int_equal(t->attempts, 0);
    assert_int_equal(t->max_attempts, 4);
    assert_int_equal(t->timeout_ns, 5);
    assert_int_equal(t->backoff_initial_ns, 6);
    assert_int_equal(t->backoff_ceiling_ns, 7);
    assert_true(t->backoff_factor == 1.5);
    assert_int_equal(t->deadline_ns, NOW + 9);
    assert_string_equal(t->key, "k");
    assert_int_equal(t->payload_len, 3);
    assert_memory_equal(t->payload, "a\0b", 4);
    l = k->r->ops->line(k->r, t->line);
    assert_int_equal(l->id, t->line);
    assert_true(slice_equal(l->skill, SLICE("gpu")));
    assert_null(k->r->ops->line(k->r, t->line + 1));
    assert_null(k->r->ops->line(k->r, 0));
    registrykit_used(&op);
}

static void ranks_are_times_of_which_no_two_are_the_same(void **state)
{
    struct registrykit *k = *state;

    registrykit_submit(k, plain);
    registrykit_submit(k, plain);
    k->now += 10;
    registrykit_submit(k, plain);
    k->now -= 5; /* a wall clock goes back, too */
    registrykit_submit(k, plain);
    assert_int_equal(registrykit_view(k, 1).ready_ns, NOW);
    assert_int_equal(registrykit_view(k, 2).ready_ns, NOW + 1);
    assert_int_equal(registrykit_view(k, 3).ready_ns, NOW + 10);
    assert_int_equal(registrykit_view(k, 4).ready_ns, NOW + 11);
}

static void a_key_that_is_known_gives_the_first_task(void **state)
{
    struct registrykit *k = *state;
    const struct registry_spec specs[] = {{.idempotency_key = SLICE("x"), .key = SLICE("one")},
                                          {.key = SLICE("two")},
                                          {.idempotency_key = SLICE("x"), .key = SLICE("three")}};
    bool existing[3];
    uint64_t ids[3];
    struct registry_op op = {
        .kind = REGISTRY_SUBMIT,
        .submit = {.specs = specs, .count = 3, .ret_ids = ids, .ret_existing = existing}};

    registrykit_do(k, op);
    assert_true(ids[0] == 1 && ids[1] == 2 && ids[2] == 1);
    assert_true(!existing[0] && !existing[1] && existing[2]);
    registrykit_reopen(k);
    registrykit_do(k, op);
    assert_true(ids[0] == 1 && ids[1] == 3 && ids[2] == 1);
    assert_true(existing[0] && !existing[1] && existing[2]);
    registrykit_events(k, "task.submitted 1\ntask.submitted 2\ntask.ready 1\ntask.ready 2\n"
                          "task.submitted 3\ntask.ready 3\n");
}

static void a_key_is_free_again_when_its_task_is_gone(void **state)
{
    struct registrykit *k = *state;
    const struct registry_spec spec = {.idempotency_key = SLICE("x")};

    registrykit_submit(k, spec);
    registrykit_run(k, 1, REGISTRY_DONE);
    assert_int_equal(registrykit_submit(k, spec), 1);
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_DELETE, .remove = {1}});
    assert_int_equal(registrykit_submit(k, spec), 2);
}

static void a_submission_is_whole_or_not_at_all(void **state)
{
    struct registrykit *k = *state;
    const struct registry_after unknown[] = {{.id = 99}};
    struct registry_spec wrong = {.after = unknown, .after_count = 1};
    uint64_t ids[2];

    assert_int_equal(submit_two(k, plain, wrong, ids), WEIR_E_END);
    assert_says(k, "99");
    registrykit_events(k, "");
    assert_int_equal(registrykit_submit(k, plain), 1);
}

static void what_is_out_of_range_is_refused(void **state)
{
    struct registrykit *k = *state;
    char longer[REGISTRY_NAME_BYTES_MAX + 1];
    const struct registry_after self[] = {{.sibling = 1}}, far[] = {{.sibling = 2}};
    struct registry_spec specs[] = {
        {.line = {.priority = 1001}},
        {.line = {.priority = -1001}},
        {.line = {.pool = SLICE("a"), .skill = SLICE("b")}},
        {.line = {.tenant = {longer, sizeof(longer)}}},
        {.key = {"a\0b", 3}},
        {.after = far, .after_count = 1},
    };
    uint64_t ids[2];

    memset(longer, 'a', sizeof(longer));
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
        assert_int_equal(submit_two(k, plain, specs[i], ids), WEIR_E_INVALID);
        assert_says(k, "task 1");
    }
    assert_int_equal(
        submit_two(k, plain, (struct registry_spec){.line = {.slots = SLICE("a,b,c,d,e")}}, ids),
        WEIR_E_LIMIT);
    assert_int_equal(
        submit_two(k, plain,
                   (struct registry_spec){.payload = {"", REGISTRY_PAYLOAD_BYTES_MAX + 1}}, ids),
        WEIR_E_LIMIT);
    assert_int_equal(
        submit_two(k, plain, (struct registry_spec){.after = self, .after_count = 1}, ids),
        WEIR_E_CONFLICT);
    assert_int_equal(registrykit_try(k, (struct registry_op){.kind = REGISTRY_SUBMIT}),
                     WEIR_E_INVALID);
    assert_int_equal(
        registrykit_try(k, (struct registry_op){.kind = REGISTRY_SUBMIT,
                                                .submit = {.count = REGISTRY_SUBMIT_MAX + 1}}),
        WEIR_E_LIMIT);
    registrykit_events(k, "");
}

/* ---- attempts ---- */

static void an_attempt_runs_and_its_task_is_done(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op;
    struct registry_view v;

    registrykit_submit(k, plain);
    k->now += 5;
    registrykit_do(
        k, (struct registry_op){.kind = REGISTRY_START,
                                .start = {.task = 1,
                                          .token = 7,
                                          .attempt = 1,
                                          .pool = SLICE("p"),
                                          .runner = {.pid = 42, .worker = 3, .slots = {2, 1}}}});
    assert_int_equal(registrykit_state(k, 1), REGISTRY_RUNNING);
    k->now += 100;
    op = registrykit_end_op(1, 7, REGISTRY_DONE);
    op.end.run_ns = 90;
    op.end.output = SLICE("out");
    op.end.errput = SLICE("err");
    registrykit_do(k, op);
    v = registrykit_view(k, 1);
    assert_int_equal(v.state, REGISTRY_DONE);
    assert_int_equal(v.outcome, WEIR_OUTCOME_OK);
    assert_int_equal(v.attempts, 1);
    assert_int_equal(v.failures, 0);
    assert_int_equal(v.started_ns, NOW + 5);
    assert_int_equal(v.ended_ns, NOW + 105);
    assert_true(slice_equal(v.pool, SLICE("p")));
    assert_true(v.has_result && slice_equal(v.output, SLICE("out")) &&
                slice_equal(v.errput, SLICE("err")));
    registrykit_events(k,
                       "task.submitted 1\ntask.ready 1\n"
                       "task.assigned 1 a1 p w3 s2 5ns\nrunner.started 1 a1 p w3 s2 {\"pid\":42}\n"
                       "runner.completed 1 a1 p w3 s2 90ns\ntask.done 1 a1 p w3 s2 105ns\n");
}

static void a_start_tells_which_of_each_kind_of_slot_it_has(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op;

    registrykit_submit(k, (struct registry_spec){.line = {.slots = SLICE("dir,gpu")}});
    registrykit_submit(k, (struct registry_spec){.line = {.slots = SLICE("a \"b\"")}});
    registrykit_submit(k, (struct registry_spec){.line = {.slots = SLICE("dir,gpu,x")}});
    registrykit_new_events(k);
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_START,
                                           .start = {.task = 1,
                                                     .token = 7,
                                                     .attempt = 1,
                                                     .pool = SLICE("p"),
                                                     .runner = {.pid = 42, .slots = {2, 5}}}});
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_START,
                                           .start = {.task = 2,
                                                     .token = 8,
                                                     .attempt = 1,
                                                     .pool = SLICE("p"),
                                                     .runner = {.slots = {1}}}});
    /* The same of one that has ended before its start was written. */
    op = registrykit_end_op(3, 9, REGISTRY_DONE);
    op.end.started = true;
    op.end.start = (struct registry_start){
        .task = 3, .token = 9, .attempt = 1, .pool = SLICE("p"), .runner = {.slots = {3, 1, 4}}};
    registrykit_do(k, op);
    registrykit_events(k, "task.assigned 1 a1 p s2\n"
                          "runner.started 1 a1 p s2 {\"pid\":42,\"slots\":[{\"name\":\"dir\","
                          "\"slot\":2},{\"name\":\"gpu\",\"slot\":5}]}\n"
                          "task.assigned 2 a1 p s1\n"
                          "runner.started 2 a1 p s1 {\"slots\":[{\"name\":\"a \\\"b\\\"\","
                          "\"slot\":1}]}\n"
                          "task.assigned 3 a1 p s3\n"
                          "runner.started 3 a1 p s3 {\"slots\":[{\"name\":\"dir\",\"slot\":3},"
                          "{\"name\":\"gpu\",\"slot\":1},{\"name\":\"x\",\"slot\":4}]}\n"
                          "runner.completed 3 a1 p s3\ntask.done 3 a1 p s3\n");
}

static void an_attempt_that_fails_is_tried_again_at_its_old_place(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op;
    struct registry_view v;

    registrykit_submit(k, plain);
    registrykit_start(k, 1, 7);
    registrykit_new_events(k);
    k->now += 50;
    op = registrykit_end_op(1, 7, REGISTRY_READY);
    op.end.attempt = 1;
    op.end.status = 2;
    op.end.message = SLICE("no \"luck\"");
    op.end.output = SLICE("half");
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_string_equal(registrykit_handed(k, &op), ""); /* the engine has it */
    v = registrykit_view(k, 1);
    assert_int_equal(v.state, REGISTRY_READY);
    assert_int_equal(v.ready_ns, NOW);
    assert_int_equal(v.failures, 1);
    assert_int_equal(v.reason, WEIR_REASON_EXIT_STATUS);
    assert_int_equal(v.status, 2);
    assert_true(slice_equal(v.message, SLICE("no \"luck\"")));
    assert_false(v.has_result);
    registrykit_events(k, "runner.failed 1 a1 pool {\"reason\":\"exit_status\",\"status\":2,"
                          "\"message\":\"no \\\"luck\\\"\"}\ntask.ready 1 a1 pool\n");
    registrykit_start(k, 1, 8);
    assert_int_equal(registrykit_view(k, 1).attempts, 2);
    assert_int_equal(registrykit_view(k, 1).started_ns, NOW);
}

static void an_attempt_that_is_tried_later_waits_and_comes_anew(void **state)
{
    struct registrykit *k = *state;
    struct registry_op wake = {.kind = REGISTRY_WAKE, .wake = {.max = 10}};
    struct registry_op op;

    registrykit_submit(k, plain);
    registrykit_start(k, 1, 7);
    registrykit_new_events(k);
    op = registrykit_end_op(1, 7, REGISTRY_SCHEDULED);
    op.end.wake_ns = NOW + 300;
    registrykit_do(k, op);
    assert_int_equal(registrykit_view(k, 1).state, REGISTRY_SCHEDULED);
    assert_int_equal(registrykit_view(k, 1).not_before_ns, NOW + 300);
    k->now = NOW + 299;
    assert_int_equal(registrykit_apply(k, &wake), WEIR_OK);
    assert_int_equal(wake.wake.ret_count, 0);
    assert_int_equal(wake.wake.ret_next_ns, NOW + 300);
    k->now = NOW + 400;
    assert_int_equal(registrykit_apply(k, &wake), WEIR_OK);
    assert_int_equal(wake.wake.ret_count, 1);
    assert_int_equal(wake.wake.ret_next_ns, 0);
    assert_string_equal(registrykit_handed(k, &wake), "1");
    assert_int_equal(wake.ret_ready->last_wait_ns, 300);
    assert_int_equal(wake.ret_ready->failures, 1);
    registrykit_used(&wake);
    assert_int_equal(registrykit_view(k, 1).ready_ns, NOW + 400);
    registrykit_events(k, "runner.failed 1 a1 pool {\"reason\":\"exit_status\"}\n"
                          "task.retry_scheduled 1 a1 pool 300ns\ntask.ready 1\n");
}

static void a_start_and_its_end_may_come_as_one(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op = registrykit_end_op(1, 7, REGISTRY_DONE);

    registrykit_submit(k, plain);
    registrykit_new_events(k);
    k->now += 100;
    op.end.started = true;
    op.end.start =
        (struct registry_start){.task = 1, .token = 7, .attempt = 1, .pool = SLICE("pool")};
    op.end.started_ns = NOW + 60;
    op.end.wait_ns = 50;
    op.end.run_ns = 40;
    registrykit_do(k, op);
    assert_int_equal(registrykit_view(k, 1).state, REGISTRY_DONE);
    assert_int_equal(registrykit_view(k, 1).attempts, 1);
    assert_int_equal(registrykit_view(k, 1).started_ns, NOW + 60);
    registrykit_events(k, "task.assigned 1 a1 pool 50ns\nrunner.started 1 a1 pool\n"
                          "runner.completed 1 a1 pool 40ns\ntask.done 1 a1 pool 100ns\n");
    assert_int_equal(registrykit_try(k, op), WEIR_E_CONFLICT);
}

static void who_has_not_the_token_ends_nothing(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op = registrykit_end_op(1, 8, REGISTRY_FAILED);

    registrykit_submit(k, plain);
    registrykit_start(k, 1, 7);
    registrykit_new_events(k);
    op.end.attempt = 1;
    op.end.worker = 4;
    op.end.run_ns = 3;
    assert_int_equal(registrykit_try(k, op), WEIR_E_CONFLICT);
    assert_int_equal(registrykit_state(k, 1), REGISTRY_RUNNING);
    registrykit_end(k, 1, 7, REGISTRY_DONE);
    assert_int_equal(registrykit_try(k, registrykit_end_op(1, 7, REGISTRY_FAILED)),
                     WEIR_E_CONFLICT);
    assert_int_equal(registrykit_try(k, registrykit_end_op(99, 7, REGISTRY_DONE)), WEIR_E_CONFLICT);
    assert_int_equal(registrykit_state(k, 1), REGISTRY_DONE);
    registrykit_events(k, "runner.late 1 a1 pool w4 3ns {\"outcome\":\"failed\"}\n"
                          "runner.completed 1 a1 pool\ntask.done 1 a1 pool\n"
                          "runner.late 1 pool {\"outcome\":\"failed\"}\n"
                          "runner.late 99 pool {\"outcome\":\"ok\"}\n");
}

static void only_what_is_ready_is_started(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op = {.kind = REGISTRY_START,
                             .start = {.task = 1, .token = 9, .attempt = 1}};

    assert_int_equal(registrykit_try(k, op), WEIR_E_END);
    registrykit_submit(k, plain);
    registrykit_start(k, 1, 7);
    assert_int_equal(registrykit_try(k, op), WEIR_E_CONFLICT);
    registrykit_end(k, 1, 7, REGISTRY_DONE);
    assert_int_equal(registrykit_try(k, op), WEIR_E_CONFLICT);
    assert_int_equal(registrykit_try(k, registrykit_end_op(1, 7, REGISTRY_BLOCKED)),
                     WEIR_E_INVALID);
}

static void each_way_out_has_its_event(void **state)
{
    static const struct {
        enum weir_outcome outcome;
        enum registry_state next;
        const char *events;
    } ways[] = {
        {WEIR_OUTCOME_CAPACITY, REGISTRY_READY, "runner.capacity 1 pool\ntask.ready 1 pool\n"},
        {WEIR_OUTCOME_TIMEOUT, REGISTRY_READY, "runner.timeout 1 pool\ntask.ready 1 pool\n"},
        {WEIR_OUTCOME_LOST, REGISTRY_READY, "runner.lost 1 pool\ntask.ready 1 pool\n"},
        {WEIR_OUTCOME_CANCELLED, REGISTRY_CANCELLED,
         "runner.cancelled 1 pool\ntask.cancelled 1 pool\n"},
    };
    struct registrykit *k = *state;

    registrykit_submit(k, plain);
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct registry_op op = registrykit_end_op(1, i, ways[i].next);

        registrykit_do(
            k, (struct registry_op){.kind = REGISTRY_START,
                                    .start = {.task = 1, .token = i, .pool = SLICE("pool")}});
        registrykit_new_events(k);
        op.end.outcome = ways[i].outcome;
        op.end.reason = WEIR_REASON_NONE;
        op.end.counts = false;
        op.end.death = ways[i].outcome == WEIR_OUTCOME_LOST;
        registrykit_do(k, op);
        registrykit_events(k, ways[i].events);
    }
    assert_int_equal(registrykit_view(k, 1).capacity_retries, 1);
    assert_int_equal(registrykit_view(k, 1).deaths, 1);
    assert_int_equal(registrykit_view(k, 1).failures, 0);
    assert_int_equal(registrykit_view(k, 1).attempts, 4);
}

static void what_is_ready_may_fail_without_an_attempt(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op = {.kind = REGISTRY_END,
                             .end = {.task = 1,
                                     .untried = true,
                                     .next = REGISTRY_FAILED,
                                     .outcome = WEIR_OUTCOME_TIMEOUT,
                                     .reason = WEIR_REASON_CHECKOUT_TIMEOUT,
                                     .pool = SLICE("pool"),
                                     .message = SLICE("not free")}};
    struct registry_view v;

    registrykit_submit(k, plain);
    registrykit_submit_after(k, plain, (uint64_t[]){1, 0});
    registrykit_new_events(k);
    k->now += 50;
    registrykit_do(k, op);
    v = registrykit_view(k, 1);
    assert_true(v.state == REGISTRY_FAILED && v.outcome == WEIR_OUTCOME_TIMEOUT &&
                v.reason == WEIR_REASON_CHECKOUT_TIMEOUT && v.ended_ns == NOW + 50);
    assert_true(v.attempts == 0 && v.failures == 0 && v.started_ns == 0 && v.pool.len == 0);
    assert_int_equal(registrykit_state(k, 2), REGISTRY_FAILED);
    registrykit_events(
        k, "task.failed 1 50ns {\"reason\":\"checkout_timeout\",\"message\":\"not free\"}\n"
           "task.failed 2 50ns {\"reason\":\"dependency\",\"message\":\"task 1, which it depends "
           "on, has failed\"}\n");
    /* By hand it is ready again; then it runs, and nothing of it is told. */
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_RETRY, .retry = {.task = 1}});
    registrykit_start(k, 1, 7);
    registrykit_new_events(k);
    assert_int_equal(registrykit_try(k, op), WEIR_E_CONFLICT);
    assert_int_equal(registrykit_state(k, 1), REGISTRY_RUNNING);
    op.end.task = 99;
    assert_int_equal(registrykit_try(k, op), WEIR_E_CONFLICT);
    registrykit_events(k, "");
}

static void quarantine_is_told_before_the_failure(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op = registrykit_end_op(1, 7, REGISTRY_FAILED);

    registrykit_submit(k, plain);
    registrykit_start(k, 1, 7);
    registrykit_new_events(k);
    op.end.quarantined = true;
    op.end.outcome = WEIR_OUTCOME_LOST;
    op.end.reason = WEIR_REASON_QUARANTINED;
    registrykit_do(k, op);
    registrykit_events(
        k, "runner.lost 1 a1 pool {\"reason\":\"quarantined\"}\ntask.quarantined 1 a1 pool\n"
           "task.failed 1 a1 pool {\"reason\":\"quarantined\"}\n");
}

/* ---- times ---- */

static void a_task_waits_for_its_time(void **state)
{
    struct registrykit *k = *state;
    struct registry_spec later = {.not_before_ns = NOW + 20}, soon = {.not_before_ns = NOW + 10};
    struct registry_op wake = {.kind = REGISTRY_WAKE, .wake = {.max = 1}};

    registrykit_submit(k, later);
    registrykit_submit(k, soon);
    registrykit_submit(k, (struct registry_spec){.not_before_ns = NOW});
    registrykit_events(k, "task.submitted 1\ntask.submitted 2\ntask.submitted 3\ntask.ready 3\n");
    registrykit_reopen(k);
    assert_int_equal(registrykit_apply(k, &wake), WEIR_OK);
    assert_int_equal(wake.wake.ret_next_ns, NOW + 10);
    k->now = NOW + 20;
    registrykit_do(k, wake);
    assert_int_equal(registrykit_apply(k, &wake), WEIR_OK);
    assert_int_equal(wake.wake.ret_count, 1);
    registrykit_used(&wake);
    registrykit_events(k, "task.ready 2\ntask.ready 1\n");
}

static void one_that_waits_beyond_its_deadline_fails(void **state)
{
    struct registrykit *k = *state;
    struct registry_op wake = {.kind = REGISTRY_WAKE, .wake = {.max = 10}};

    registrykit_submit(k, (struct registry_spec){.deadline_ns = NOW + 30});
    registrykit_submit(k,
                       (struct registry_spec){.deadline_ns = NOW + 20, .not_before_ns = NOW + 15});
    registrykit_submit_after(k, (struct registry_spec){.deadline_ns = NOW + 25},
                             (uint64_t[]){1, 0});
    registrykit_submit(k, (struct registry_spec){.deadline_ns = NOW + 21});
    registrykit_start(k, 4, 7);
    registrykit_new_events(k);
    k->now = NOW + 25;
    assert_int_equal(registrykit_apply(k, &wake), WEIR_OK);
    assert_int_equal(wake.wake.ret_count, 2);
    assert_int_equal(wake.wake.ret_next_ns, NOW + 30);
    assert_string_equal(registrykit_handed(k, &wake), "");
    registrykit_events(
        k, "task.failed 2 25ns {\"reason\":\"deadline\",\"message\":\"its deadline has passed "
           "before it was started\"}\n"
           "task.failed 3 25ns {\"reason\":\"deadline\",\"message\":\"its deadline has passed "
           "before it was started\"}\n");
    assert_int_equal(registrykit_view(k, 2).outcome, WEIR_OUTCOME_TIMEOUT);
    assert_int_equal(registrykit_view(k, 2).reason, WEIR_REASON_DEADLINE);
    assert_int_equal(registrykit_state(k, 4), REGISTRY_RUNNING); /* that is the engine's to end */
    k->now = NOW + 30;
    registrykit_do(k, wake);
    assert_int_equal(registrykit_state(k, 1), REGISTRY_FAILED); /* also one that is ready */
}

static void a_deadline_may_come_before_the_time_to_start(void **state)
{
    struct registrykit *k = *state;
    struct registry_op wake = {.kind = REGISTRY_WAKE, .wake = {.max = 10}};

    registrykit_submit(k,
                       (struct registry_spec){.deadline_ns = NOW + 10, .not_before_ns = NOW + 50});
    assert_int_equal(registrykit_apply(k, &wake), WEIR_OK);
    assert_int_equal(wake.wake.ret_next_ns, NOW + 10);
    k->now = NOW + 10;
    registrykit_do(k, wake);
    assert_int_equal(registrykit_state(k, 1), REGISTRY_FAILED);
}

/* ---- handing over ---- */

static void a_line_is_handed_over_until_the_engine_has_enough(void **state)
{
    struct registrykit *k = *state;
    struct registry_spec specs[REGISTRY_HANDED_MAX + 2] = {0};
    struct registry_op op = {.kind = REGISTRY_SUBMIT,
                             .submit = {.specs = specs, .count = REGISTRY_HANDED_MAX + 2}};
    size_t handed = 0;
    char want[64];

    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    for (const struct registry_task *t = op.ret_ready; t; t = t->next)
        assert_int_equal(t->id, ++handed);
    assert_int_equal(handed, REGISTRY_HANDED_MAX);
    assert_int_equal(op.ret_line_count, 1);
    registrykit_used(&op);
    registrykit_start(k, 1, 1); /* it has room, but there is something before the next one */
    op = (struct registry_op){.kind = REGISTRY_SUBMIT, .submit = {.specs = &plain, .count = 1}};
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_string_equal(registrykit_handed(k, &op), "line 1");
    registrykit_used(&op);
    snprintf(want, sizeof(want), "%d %d more", REGISTRY_HANDED_MAX + 1, REGISTRY_HANDED_MAX + 2);
    assert_string_equal(registrykit_take(k, 1, 0, 2), want);
    snprintf(want, sizeof(want), "%d", REGISTRY_HANDED_MAX + 3);
    assert_string_equal(registrykit_take(k, 1, 0, 10), want);
    assert_string_equal(registrykit_take(k, 1, 0, 10), "");
}

static void a_new_engine_takes_everything_anew(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op = {.kind = REGISTRY_SUBMIT, .submit = {.specs = &plain, .count = 1}};

    for (int i = 0; i < 5; i++)
        registrykit_submit(k, plain);
    registrykit_start(k, 2, 7);
    registrykit_reopen(k);
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_string_equal(registrykit_handed(k, &op), "line 1");
    registrykit_used(&op);
    assert_string_equal(registrykit_take(k, 1, 0, 2), "1 3 more");
    assert_string_equal(registrykit_take(k, 1, registrykit_view(k, 3).ready_ns, 2), "4 5 more");
    assert_string_equal(registrykit_take(k, 1, registrykit_view(k, 5).ready_ns, 0), "more");
    assert_string_equal(registrykit_take(k, 1, registrykit_view(k, 5).ready_ns, 2), "6");
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_string_equal(registrykit_handed(k, &op), "7"); /* it has all before it */
    registrykit_used(&op);
}

static void what_was_handed_over_is_not_taken_again(void **state)
{
    struct registrykit *k = *state;

    registrykit_submit(k, plain);
    assert_string_equal(registrykit_take(k, 1, 0, 10), "");
}

static void a_take_gives_so_many_bytes_but_one_task_at_least(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op = {.kind = REGISTRY_TAKE, .take = {.line = 1, .max = 10, .max_bytes = 5}};
    static const char *const given[] = {"1", "2 3", "4"};

    registrykit_submit(k, (struct registry_spec){.payload = SLICE("123456")});
    registrykit_submit(k, (struct registry_spec){.payload = SLICE("123")});
    registrykit_submit(k, (struct registry_spec){.payload = SLICE("12")});
    registrykit_submit(k, (struct registry_spec){.payload = SLICE("1")});
    registrykit_reopen(k);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
        op.ret_ready = op.take.ret_tasks;
        assert_string_equal(registrykit_handed(k, &op), given[i]);
        op.ret_ready = NULL;
        assert_int_equal(op.take.ret_more, i < 2);
        registrykit_used(&op);
    }
    op.take.line = 2;
    assert_int_equal(registrykit_try(k, op), WEIR_E_END);
}

static bool count_line(void *ctx, const struct registry_line *l)
{
    assert_true(l->id > 0);
    ++*(int *)ctx;
    return true;
}

static void lines_are_those_that_have_a_ready_task(void **state)
{
    struct registrykit *k = *state;
    int count = 0;

    registrykit_submit(k, plain);
    registrykit_submit(k, (struct registry_spec){.line = {.pool = SLICE("a")}});
    registrykit_submit(k, (struct registry_spec){.line = {.skill = SLICE("a")}});
    registrykit_submit(k, (struct registry_spec){.line = {.pool = SLICE("a")}});
    registrykit_run(k, 3, REGISTRY_DONE);
    registrykit_start(k, 2, 7);
    assert_int_equal(k->r->ops->lines(k->r, count_line, &count, &k->err), WEIR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(registrykit_view(k, 4).line.id, registrykit_view(k, 2).line.id);
    assert_int_not_equal(registrykit_view(k, 3).line.id, registrykit_view(k, 2).line.id);
}

/* ---- after a crash ---- */

static bool see_left(void *ctx, const struct registry_left *l)
{
    *(struct registry_left *)ctx = *l;
    ((struct registry_left *)ctx)->pool.data = NULL;
    return true;
}

static void what_ran_is_put_back_to_its_old_place(void **state)
{
    struct registrykit *k = *state;
    struct registry_left left = {0};
    struct registry_view v;
    uint64_t count = 9;

    registrykit_submit(k, plain);
    registrykit_submit(k, plain);
    k->now += 10;
    registrykit_do(k, (struct registry_op){
                          .kind = REGISTRY_START,
                          .start = {.task = 1,
                                    .token = 77,
                                    .attempt = 1,
                                    .pool = SLICE("p"),
                                    .runner = {.pid = 42, .pid_start = 43, .slots = {0, 6}}}});
    registrykit_new_events(k);
    registrykit_reopen(k);
    assert_int_equal(k->r->ops->left_running(k->r, see_left, &left, &k->err), WEIR_OK);
    assert_int_equal(left.task, 1);
    assert_int_equal(left.token, 77);
    assert_int_equal(left.attempt, 1);
    assert_int_equal(left.runner.pid, 42);
    assert_int_equal(left.runner.pid_start, 43);
    assert_int_equal(left.runner.slots[1], 6);
    assert_int_equal(left.started_ns, NOW + 10);
    assert_int_equal(left.pool.len, 1);
    assert_int_equal(k->r->ops->put_back(k->r, NOW + 50, 2, &count, &k->err), WEIR_OK);
    assert_int_equal(count, 1);
    v = registrykit_view(k, 1);
    assert_int_equal(v.state, REGISTRY_READY);
    assert_int_equal(v.deaths, 1);
    assert_int_equal(v.failures, 0);
    assert_int_equal(v.ready_ns, NOW);
    assert_int_equal(v.outcome, WEIR_OUTCOME_LOST);
    registrykit_events(k,
                       "runner.lost 1 a1 p 40ns {\"reason\":\"dispatcher_lost\",\"message\":\"the "
                       "dispatcher ended while it ran\"}\ntask.ready 1 a1 p\n");
    assert_string_equal(registrykit_take(k, 1, 0, 10), "1 2");
    assert_int_equal(registrykit_try(k, registrykit_end_op(1, 77, REGISTRY_DONE)), WEIR_E_CONFLICT);
}

/* Its result is lost, but it was not what ended the dispatcher. */
static void an_attempt_whose_end_is_in_the_record_is_no_death(void **state)
{
    struct registrykit *k = *state;
    struct registry_op told = {.kind = REGISTRY_TELL,
                               .tell = {.kind = REGISTRY_RUNNER_COMPLETED, .task = 1}};
    uint64_t count;

    registrykit_submit(k, plain);
    for (uint32_t i = 1; i <= 3; i++) {
        registrykit_start(k, 1, 7);
        told.tell.attempt = i;
        registrykit_do(k, told);
        registrykit_reopen(k);
        assert_int_equal(k->r->ops->put_back(k->r, k->now, 2, &count, &k->err), WEIR_OK);
        assert_int_equal(count, 1);
        assert_int_equal(registrykit_view(k, 1).state, REGISTRY_READY);
        assert_int_equal(registrykit_view(k, 1).deaths, 0);
        if (k->kind->check)
            assert_null(k->kind->check(k->r));
    }
    registrykit_start(k, 1, 7); /* of the attempt before, or lost with its worker: that is none */
    registrykit_do(k, told);
    told.tell.attempt = 4;
    told.tell.kind = REGISTRY_RUNNER_LOST;
    registrykit_do(k, told);
    registrykit_reopen(k);
    assert_int_equal(k->r->ops->put_back(k->r, k->now, 2, &count, &k->err), WEIR_OK);
    assert_int_equal(registrykit_view(k, 1).deaths, 1);
}

static void what_was_lost_too_often_is_quarantined(void **state)
{
    struct registrykit *k = *state;
    uint64_t count;

    registrykit_submit(k, plain);
    registrykit_submit_after(k, plain, (uint64_t[]){1, 0});
    for (int i = 0; i < 2; i++) {
        registrykit_start(k, 1, 7);
        registrykit_new_events(k);
        registrykit_reopen(k);
        assert_int_equal(k->r->ops->put_back(k->r, k->now, 2, &count, &k->err), WEIR_OK);
        assert_int_equal(count, 1);
    }
    assert_int_equal(registrykit_view(k, 1).state, REGISTRY_FAILED);
    assert_int_equal(registrykit_view(k, 1).reason, WEIR_REASON_QUARANTINED);
    assert_int_equal(registrykit_view(k, 2).state, REGISTRY_FAILED);
    assert_non_null(
        strstr(registrykit_new_events(k), "task.quarantined 1 a2 pool\ntask.failed 1 a2 pool {"));
}

/* ---- the whole chain ---- */

static void a_refused_op_costs_the_others_nothing(void **state)
{
    struct registrykit *k = *state;
    struct registry_op ops[3] = {
        {.kind = REGISTRY_SUBMIT, .submit = {.specs = &plain, .count = 1}},
        {.kind = REGISTRY_CANCEL, .cancel = {.task = 99}},
        {.kind = REGISTRY_START, .start = {.task = 1, .token = 7, .attempt = 1}},
    };

    ops[0].next = &ops[1];
    ops[1].next = &ops[2];
    for (int i = 0; i < 3; i++)
        ops[i].at_ns = NOW;
    assert_int_equal(k->r->ops->apply(k->r, ops, &k->err), WEIR_OK);
    assert_int_equal(ops[0].err.status, WEIR_OK);
    assert_int_equal(ops[1].err.status, WEIR_E_END);
    assert_int_equal(ops[2].err.status, WEIR_OK);
    assert_int_equal(registrykit_state(k, 1), REGISTRY_RUNNING);
    for (int i = 0; i < 3; i++)
        registrykit_used(&ops[i]);
}

/* One chain with something of all, applied again and again, while each allocation in turn fails. */
static void want_of_memory_leaves_nothing_behind(void **state)
{
    struct registrykit *k = *state;
    const struct registry_after after[] = {{.sibling = 0}};
    const struct registry_spec specs[] = {
        {.key = SLICE("a"), .payload = SLICE("x"), .idempotency_key = SLICE("i")},
        {.line = {.pool = SLICE("p")}, .after = after, .after_count = 1},
    };
    struct registry_op ops[3] = {
        {.kind = REGISTRY_SUBMIT, .at_ns = NOW, .submit = {.specs = specs, .count = 2}},
        {.kind = REGISTRY_START,
         .at_ns = NOW,
         .start = {.task = 1, .token = 7, .pool = SLICE("p")}},
        registrykit_end_op(1, 7, REGISTRY_FAILED),
    };
    enum weir_status status = WEIR_E_NOMEM;
    unsigned long n = 0;

    ops[0].next = &ops[1];
    ops[1].next = &ops[2];
    ops[2].at_ns = NOW;
    ops[2].end.output = SLICE("out");
    while (status != WEIR_OK) {
        assert_true(++n < 10000);
        mem_fail_at(n);
        status = k->r->ops->apply(k->r, ops, &k->err);
        mem_fail_at(0);
        if (status == WEIR_OK)
            break;
        assert_int_equal(status, WEIR_E_NOMEM);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(ops[i].err.status, WEIR_E_NOMEM);
            assert_null(ops[i].ret_ready);
            assert_null(ops[i].ret_lines);
        }
        registrykit_events(k, "");
        if (k->kind->check)
            assert_null(k->kind->check(k->r));
    }
    assert_true(n > 3);
    for (int i = 0; i < 3; i++)
        registrykit_used(&ops[i]);
    assert_int_equal(registrykit_state(k, 1), REGISTRY_FAILED);
    assert_int_equal(registrykit_state(k, 2), REGISTRY_FAILED);
}

int main(void)
{
    static const struct registrykit_test tests[] = {
        REGISTRYKIT_TEST(a_task_comes_and_is_seen_as_it_came),
        REGISTRYKIT_TEST(what_the_engine_is_handed_is_all_that_it_needs),
        REGISTRYKIT_TEST(ranks_are_times_of_which_no_two_are_the_same),
        REGISTRYKIT_TEST(a_key_that_is_known_gives_the_first_task),
        REGISTRYKIT_TEST(a_key_is_free_again_when_its_task_is_gone),
        REGISTRYKIT_TEST(a_submission_is_whole_or_not_at_all),
        REGISTRYKIT_TEST(what_is_out_of_range_is_refused),
        REGISTRYKIT_TEST(an_attempt_runs_and_its_task_is_done),
        REGISTRYKIT_TEST(a_start_tells_which_of_each_kind_of_slot_it_has),
        REGISTRYKIT_TEST(an_attempt_that_fails_is_tried_again_at_its_old_place),
        REGISTRYKIT_TEST(an_attempt_that_is_tried_later_waits_and_comes_anew),
        REGISTRYKIT_TEST(a_start_and_its_end_may_come_as_one),
        REGISTRYKIT_TEST(who_has_not_the_token_ends_nothing),
        REGISTRYKIT_TEST(only_what_is_ready_is_started),
        REGISTRYKIT_TEST(each_way_out_has_its_event),
        REGISTRYKIT_TEST(what_is_ready_may_fail_without_an_attempt),
        REGISTRYKIT_TEST(quarantine_is_told_before_the_failure),
        REGISTRYKIT_TEST(a_task_waits_for_its_time),
        REGISTRYKIT_TEST(one_that_waits_beyond_its_deadline_fails),
        REGISTRYKIT_TEST(a_deadline_may_come_before_the_time_to_start),
        REGISTRYKIT_TEST(a_line_is_handed_over_until_the_engine_has_enough),
        REGISTRYKIT_TEST(a_new_engine_takes_everything_anew),
        REGISTRYKIT_TEST(what_was_handed_over_is_not_taken_again),
        REGISTRYKIT_TEST(a_take_gives_so_many_bytes_but_one_task_at_least),
        REGISTRYKIT_TEST(lines_are_those_that_have_a_ready_task),
        REGISTRYKIT_TEST(what_ran_is_put_back_to_its_old_place),
        REGISTRYKIT_TEST(an_attempt_whose_end_is_in_the_record_is_no_death),
        REGISTRYKIT_TEST(what_was_lost_too_often_is_quarantined),
        REGISTRYKIT_TEST(a_refused_op_costs_the_others_nothing),
        REGISTRYKIT_TEST(want_of_memory_leaves_nothing_behind),
    };

    return registrykit_main(tests, sizeof(tests) / sizeof(tests[0]));
}
