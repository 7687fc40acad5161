/*
 * What core/ports/registry.h promises beside the life of a task: batches, lists, events, what goes,
 * facts and the history, tried on every registry there is.
 */
#include "support/registrykit.h"

#include "base/mem.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define NOW REGISTRYKIT_NOW
#define ALL UINT32_MAX

static const struct registry_spec plain; /* a task that says nothing */

static bool put_id(void *ctx, const struct registry_view *v)
{
    buf_printf(ctx, "%" PRIu64 " ", v->id);
    return true;
}

static bool put_seq(void *ctx, const struct registry_event *e)
{
    buf_printf(ctx, "%" PRIu64 " ", e->seq);
    return true;
}

static const char *list(struct registrykit *k, struct registry_filter f, uint64_t after,
                        uint32_t max)
{
    buf_clear(&k->text);
    if (k->reader->ops->tasks(k->reader, &f, after, max, put_id, &k->text, &k->err) != WEIR_OK)
        fail_msg("tasks: %s", k->err.message);
    return buf_slice(&k->text).data;
}

static const char *list_events(struct registrykit *k, struct registry_event_filter f,
                               uint64_t after, uint32_t max)
{
    buf_clear(&k->text);
    if (k->reader->ops->events(k->reader, &f, after, max, put_seq, &k->text, &k->err) != WEIR_OK)
        fail_msg("events: %s", k->err.message);
    return buf_slice(&k->text).data;
}

/* ---- batches ---- */

static struct registry_batch batch_of(struct registrykit *k, uint64_t id)
{
    struct registry_batch b;

    if (k->reader->ops->batch(k->reader, id, &b, &k->err) != WEIR_OK)
        fail_msg("batch: %s", k->err.message);
    return b;
}

static void end_batch(struct registrykit *k, uint64_t batch)
{
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_BATCH_END, .batch_end = {batch}});
}

static void submit_to(struct registrykit *k, uint64_t batch, uint64_t place)
{
    registrykit_submit(k, (struct registry_spec){.batch = batch, .place = place});
}

static void a_batch_ends_with_the_last_of_its_tasks(void **state)
{
    struct registrykit *k = *state;
    struct registry_batch b;

    assert_int_equal(registrykit_batch(k, "one"), 1);
    submit_to(k, 1, 0);
    submit_to(k, 1, 1);
    submit_to(k, 1, 2);
    b = batch_of(k, 1);
    assert_true(slice_equal(b.name, SLICE("one")) && b.opened_ns == NOW && !b.ended &&
                b.ended_ns == 0);
    assert_true(b.total == 3 && b.states[REGISTRY_READY] == 3);
    registrykit_run(k, 1, REGISTRY_DONE);
    registrykit_run(k, 2, REGISTRY_FAILED);
    end_batch(k, 1);
    registrykit_new_events(k);
    k->now += 9;
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_CANCEL, .cancel = {.task = 3}});
    registrykit_events(k, "task.cancelled 3 9ns\n"
                          "batch.ended {\"batch\":1,\"done\":1,\"failed\":1,\"cancelled\":1}\n");
    b = batch_of(k, 1);
    assert_true(b.ended && b.ended_ns == NOW + 9 && b.total == 3);
    end_batch(k, 1);
    registrykit_events(k, ""); /* it was told */
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_RETRY, .retry = {.task = 2}});
    assert_int_equal(batch_of(k, 1).ended_ns, 0);
    registrykit_new_events(k);
    registrykit_run(k, 2, REGISTRY_DONE);
    assert_non_null(strstr(registrykit_new_events(k),
                           "batch.ended {\"batch\":1,\"done\":2,\"failed\":0,\"cancelled\":1}\n"));
}

/* It was being filled by somebody who went with the dispatcher. */
static void a_passing_batch_is_ended_at_the_next_start(void **state)
{
    struct registrykit *k = *state;
    uint64_t count;

    for (int i = 0; i < 4; i++)
        registrykit_do(
            k, (struct registry_op){.kind = REGISTRY_BATCH_OPEN, .batch_open.passing = i != 1});
    for (uint64_t batch = 1; batch <= 3; batch++)
        submit_to(k, batch, 0);
    registrykit_run(k, 1, REGISTRY_DONE);
    end_batch(k, 3);
    registrykit_new_events(k);
    for (int i = 0; i < 2; i++) {
        registrykit_reopen(k);
        k->now += 9;
        assert_int_equal(k->r->ops->put_back(k->r, k->now, 2, &count, &k->err), WEIR_OK);
        registrykit_events(
            k, i == 0 ? "batch.ended {\"batch\":1,\"done\":1,\"failed\":0,\"cancelled\":0}\n"
                        "batch.ended {\"batch\":4,\"done\":0,\"failed\":0,\"cancelled\":0}\n"
                      : "");
    }
    assert_true(batch_of(k, 1).ended && !batch_of(k, 2).ended && batch_of(k, 3).ended);
    assert_int_equal(batch_of(k, 4).ended_ns, NOW + 9);
    submit_to(k, 2, 1); /* the one that somebody else may still fill */
}

static void a_batch_that_is_ended_empty_has_ended(void **state)
{
    struct registrykit *k = *state;

    registrykit_batch(k, "");
    end_batch(k, 1);
    registrykit_events(k, "batch.ended {\"batch\":1,\"done\":0,\"failed\":0,\"cancelled\":0}\n");
    assert_int_equal(
        registrykit_try(k, (struct registry_op){.kind = REGISTRY_BATCH_END, .batch_end = {2}}),
        WEIR_E_END);
    assert_int_equal(batch_of(k, 1).ended_ns, NOW);
}

static enum weir_status try_submit(struct registrykit *k, struct registry_spec spec)
{
    return registrykit_try(
        k, (struct registry_op){.kind = REGISTRY_SUBMIT, .submit = {.specs = &spec, .count = 1}});
}

static void an_ended_batch_takes_only_what_it_has(void **state)
{
    struct registrykit *k = *state;
    const struct registry_spec known = {.batch = 1, .idempotency_key = SLICE("x")};

    assert_int_equal(try_submit(k, known), WEIR_E_END);
    registrykit_batch(k, "");
    registrykit_submit(k, known);
    end_batch(k, 1);
    assert_int_equal(try_submit(k, (struct registry_spec){.batch = 1}), WEIR_E_CONFLICT);
    assert_int_equal(registrykit_submit(k, known), 1);
}

static void a_batch_is_cancelled_and_retried_as_one(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op = {.kind = REGISTRY_CANCEL, .cancel = {.batch = 1}};

    registrykit_batch(k, "");
    for (uint64_t i = 0; i < 5; i++)
        submit_to(k, 1, 4 - i);
    registrykit_submit(k, plain);
    registrykit_start(k, 1, 7);
    registrykit_run(k, 2, REGISTRY_FAILED);
    registrykit_run(k, 3, REGISTRY_DONE);
    registrykit_new_events(k);
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_true(op.cancel.ret_count == 2 && op.cancel.ret_running == 1);
    registrykit_events(k, "task.changed 1 {\"cancel\":true}\ntask.cancelled 4\ntask.cancelled 5\n");
    assert_int_equal(registrykit_state(k, 1), REGISTRY_RUNNING);
    registrykit_end(k, 1, 7, REGISTRY_FAILED);
    registrykit_new_events(k);
    op = (struct registry_op){.kind = REGISTRY_RETRY, .retry = {.batch = 1}};
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_int_equal(op.retry.ret_count, 2);
    assert_string_equal(registrykit_handed(k, &op), "1 2");
    registrykit_used(&op);
    registrykit_events(k, "task.changed 1 {\"retry\":true}\ntask.changed 2 {\"retry\":true}\n"
                          "task.ready 1\ntask.ready 2\n");
    assert_int_equal(
        registrykit_try(k, (struct registry_op){.kind = REGISTRY_CANCEL, .cancel = {.batch = 2}}),
        WEIR_E_END);
    assert_int_equal(
        registrykit_try(k, (struct registry_op){.kind = REGISTRY_RETRY, .retry = {.batch = 2}}),
        WEIR_E_END);
}

static void what_waited_within_a_batch_waits_again_when_it_is_retried(void **state)
{
    struct registrykit *k = *state;
    const struct registry_after on1[] = {{.sibling = 1}};
    const struct registry_spec specs[] = {{.batch = 1, .place = 0, .after = on1, .after_count = 1},
                                          {.batch = 1, .place = 1}};

    registrykit_batch(k, "");
    registrykit_do(
        k, (struct registry_op){.kind = REGISTRY_SUBMIT, .submit = {.specs = specs, .count = 2}});
    registrykit_run(k, 2, REGISTRY_FAILED);
    assert_int_equal(registrykit_state(k, 1), REGISTRY_FAILED);
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_RETRY, .retry = {.batch = 1}});
    assert_int_equal(registrykit_state(k, 1), REGISTRY_BLOCKED);
    registrykit_run(k, 2, REGISTRY_DONE);
    assert_int_equal(registrykit_state(k, 1), REGISTRY_READY);
}

static bool put_result(void *ctx, const struct registry_view *v)
{
    buf_printf(ctx, "%" PRIu64 ":%.*s:%.*s ", v->place, (int)v->output.len, v->output.data,
               (int)v->payload.len, v->payload.data);
    return true;
}

static const char *results(struct registrykit *k, uint64_t from, uint32_t max, bool payload)
{
    buf_clear(&k->text);
    if (k->reader->ops->results(k->reader, 1, from, max, payload, put_result, &k->text, &k->err) !=
        WEIR_OK)
        fail_msg("results: %s", k->err.message);
    return buf_slice(&k->text).data;
}

static void end_with(struct registrykit *k, uint64_t id, const char *output)
{
    struct registry_op op = registrykit_end_op(id, 7, REGISTRY_DONE);

    registrykit_start(k, id, 7);
    op.end.output = slice_of(output);
    registrykit_do(k, op);
}

static void results_come_in_order_up_to_the_first_that_is_missing(void **state)
{
    struct registrykit *k = *state;
    static const uint64_t places[] = {1, 0, 3, 2};

    registrykit_batch(k, "");
    for (size_t i = 0; i < 4; i++)
        registrykit_submit(
            k, (struct registry_spec){.batch = 1, .place = places[i], .payload = {"wxyz" + i, 1}});
    assert_string_equal(results(k, 0, ALL, false), "");
    end_with(k, 1, "b");
    assert_string_equal(results(k, 0, ALL, false), "");
    assert_string_equal(results(k, 1, ALL, false), "1:b: ");
    end_with(k, 2, "a");
    end_with(k, 3, "d");
    assert_string_equal(results(k, 0, ALL, true), "0:a:x 1:b:w ");
    registrykit_run(k, 4, REGISTRY_FAILED);
    assert_string_equal(results(k, 0, ALL, false), "0:a: 1:b: 2:: 3:d: ");
    assert_string_equal(results(k, 1, 2, false), "1:b: 2:: ");
    assert_int_equal(
        k->reader->ops->results(k->reader, 2, 0, 1, false, put_result, &k->text, &k->err),
        WEIR_E_END);
}

static bool put_batch_id(void *ctx, const struct registry_batch *b)
{
    buf_printf(ctx, "%" PRIu64 "%.*s ", b->id, (int)b->name.len, b->name.data);
    return true;
}

static void batches_are_listed(void **state)
{
    struct registrykit *k = *state;
    _cleanup_buf_ struct buf seen = {0};
    struct registry_batch b;

    registrykit_batch(k, "a");
    registrykit_batch(k, "b");
    registrykit_batch(k, "c");
    assert_int_equal(k->reader->ops->batches(k->reader, 1, 1, put_batch_id, &seen, &k->err),
                     WEIR_OK);
    assert_int_equal(k->reader->ops->batches(k->reader, 0, ALL, put_batch_id, &seen, &k->err),
                     WEIR_OK);
    assert_string_equal(seen.data, "2b 1a 2b 3c ");
    assert_int_equal(k->reader->ops->batch(k->reader, 4, &b, &k->err), WEIR_E_END);
}

/* ---- lists ---- */

static void tasks_are_listed_by_what_they_are(void **state)
{
    struct registrykit *k = *state;
    const unsigned ready = 1u << REGISTRY_READY, done = 1u << REGISTRY_DONE;

    registrykit_batch(k, "");
    registrykit_submit(k,
                       (struct registry_spec){.line = {.pool = SLICE("a"), .tenant = SLICE("t")}});
    registrykit_submit(
        k, (struct registry_spec){.line = {.skill = SLICE("a"), .session = SLICE("s")}});
    registrykit_submit(k, (struct registry_spec){.line = {.pool = SLICE("a")}, .key = SLICE("k")});
    registrykit_submit(k, (struct registry_spec){.batch = 1});
    registrykit_run(k, 1, REGISTRY_DONE);
    assert_string_equal(list(k, (struct registry_filter){0}, 0, ALL), "1 2 3 4 ");
    assert_string_equal(list(k, (struct registry_filter){0}, 1, 2), "2 3 ");
    assert_string_equal(list(k, (struct registry_filter){0}, 4, 2), "");
    assert_string_equal(list(k, (struct registry_filter){.newest_first = true}, 0, 2), "4 3 ");
    assert_string_equal(list(k, (struct registry_filter){.newest_first = true}, 3, ALL), "2 1 ");
    assert_string_equal(list(k, (struct registry_filter){.newest_first = true}, 1, ALL), "");
    assert_string_equal(list(k, (struct registry_filter){.states = ready}, 0, ALL), "2 3 4 ");
    assert_string_equal(list(k, (struct registry_filter){.states = ready | done}, 0, ALL),
                        "1 2 3 4 ");
    assert_string_equal(list(k, (struct registry_filter){.pool = SLICE("a")}, 0, ALL), "1 3 ");
    assert_string_equal(
        list(k, (struct registry_filter){.pool = SLICE("a"), .states = done}, 0, ALL), "1 ");
    assert_string_equal(list(k, (struct registry_filter){.skill = SLICE("a")}, 0, ALL), "2 ");
    assert_string_equal(list(k, (struct registry_filter){.tenant = SLICE("t")}, 0, ALL), "1 ");
    assert_string_equal(list(k, (struct registry_filter){.session = SLICE("s")}, 0, ALL), "2 ");
    assert_string_equal(list(k, (struct registry_filter){.key = SLICE("k")}, 0, ALL), "3 ");
    assert_string_equal(list(k, (struct registry_filter){.batch = 1}, 0, ALL), "4 ");
    assert_string_equal(list(k, (struct registry_filter){.stuck = true}, 0, ALL), "");
}

static bool put_tally(void *ctx, const struct registry_tally *t)
{
    uint64_t all = 0;

    for (unsigned s = 0; s < REGISTRY_STATES; s++)
        all += t->states[s];
    if (all > 0)
        buf_printf(ctx, "'%.*s' %" PRIu64 "/%" PRIu64 " ", (int)t->target.len, t->target.data,
                   t->states[REGISTRY_READY], all);
    return true;
}

static void tallies_count_tasks_by_target(void **state)
{
    struct registrykit *k = *state;
    _cleanup_buf_ struct buf seen = {0};

    registrykit_submit(k, (struct registry_spec){.line = {.pool = SLICE("b"), .priority = 1}});
    registrykit_submit(k, (struct registry_spec){.line = {.pool = SLICE("b"), .priority = 2}});
    registrykit_submit(k, (struct registry_spec){.line = {.skill = SLICE("b")}});
    registrykit_submit(k, plain);
    registrykit_submit(k, (struct registry_spec){.line = {.pool = SLICE("gone")}});
    registrykit_run(k, 2, REGISTRY_DONE);
    registrykit_run(k, 5, REGISTRY_DONE);
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_DELETE, .remove = {5}});
    registrykit_reopen(k);
    assert_int_equal(k->reader->ops->tallies(k->reader, put_tally, &seen, &k->err), WEIR_OK);
    assert_string_equal(seen.data, "'' 1/1 'b' 1/2 'skill:b' 1/1 ");
}

/* ---- events ---- */

static void events_are_told_numbered_and_filtered(void **state)
{
    struct registrykit *k = *state;
    const uint64_t ready = UINT64_C(1) << REGISTRY_TASK_READY;
    struct registry_op tell = {.kind = REGISTRY_TELL,
                               .tell = {.kind = REGISTRY_POOL_CHANGED,
                                        .at_ns = 5,
                                        .pool = SLICE("pool"),
                                        .worker = 9,
                                        .detail = SLICE("{\"x\":1}")}};

    registrykit_submit(k, plain);
    registrykit_submit(k, plain);
    registrykit_start(k, 2, 7);
    registrykit_do(k, tell);
    assert_int_equal(k->r->ops->last_event(k->r), 7);
    assert_string_equal(list_events(k, (struct registry_event_filter){0}, 0, ALL),
                        "1 2 3 4 5 6 7 ");
    assert_string_equal(list_events(k, (struct registry_event_filter){0}, 2, 3), "3 4 5 ");
    assert_string_equal(list_events(k, (struct registry_event_filter){.newest_first = true}, 0, 2),
                        "7 6 ");
    assert_string_equal(
        list_events(k, (struct registry_event_filter){.newest_first = true}, 3, ALL), "2 1 ");
    assert_string_equal(list_events(k, (struct registry_event_filter){.task = 2}, 0, ALL),
                        "3 4 5 6 ");
    assert_string_equal(
        list_events(k, (struct registry_event_filter){.task = 2, .newest_first = true}, 5, 2),
        "4 3 ");
    assert_string_equal(
        list_events(k, (struct registry_event_filter){.pool = SLICE("pool")}, 0, ALL), "5 6 7 ");
    assert_string_equal(list_events(k, (struct registry_event_filter){.worker = 9}, 0, ALL), "7 ");
    assert_string_equal(list_events(k, (struct registry_event_filter){.kinds = ready}, 0, ALL),
                        "2 4 ");
    assert_string_equal(
        list_events(k, (struct registry_event_filter){.kinds = ready, .task = 1}, 0, ALL), "2 ");
    registrykit_reopen(k);
    assert_int_equal(k->r->ops->last_event(k->r), 7);
    registrykit_submit(k, plain);
    assert_string_equal(list_events(k, (struct registry_event_filter){0}, 7, ALL), "8 9 ");
}

static bool see_time(void *ctx, const struct registry_event *e)
{
    *(int64_t *)ctx = e->at_ns;
    return false;
}

static void an_event_has_the_time_of_its_op_or_its_own(void **state)
{
    struct registrykit *k = *state;
    const struct registry_reader_ops *ops = k->reader->ops;
    struct registry_event_filter any = {0};
    struct registry_op tell = {.kind = REGISTRY_TELL, .tell = {.kind = REGISTRY_POOL_CHANGED}};
    int64_t at = 0;

    k->now = NOW + 3;
    registrykit_do(k, tell);
    tell.tell.at_ns = NOW - 5;
    registrykit_do(k, tell);
    assert_int_equal(ops->events(k->reader, &any, 0, ALL, see_time, &at, &k->err), WEIR_OK);
    assert_int_equal(at, NOW + 3);
    assert_int_equal(ops->events(k->reader, &any, 1, ALL, see_time, &at, &k->err), WEIR_OK);
    assert_int_equal(at, NOW - 5);
}

/* ---- what goes ---- */

static struct registry_op op_purge(struct registry_purge p)
{
    struct registry_op op = {.kind = REGISTRY_PURGE};

    op.purge = p;
    return op;
}

static void what_has_ended_goes_after_its_time(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op;

    for (int i = 0; i < 5; i++)
        registrykit_submit(k, plain);
    registrykit_run(k, 1, REGISTRY_DONE);
    registrykit_run(k, 2, REGISTRY_FAILED);
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_CANCEL, .cancel = {.task = 3}});
    k->now += 10;
    registrykit_run(k, 4, REGISTRY_DONE);
    registrykit_new_events(k);
    registrykit_do(k, op_purge((struct registry_purge){.tasks_before_ns = NOW, .max = 10}));
    assert_string_equal(list(k, (struct registry_filter){0}, 0, ALL), "1 2 3 4 5 ");
    op = op_purge((struct registry_purge){.tasks_before_ns = NOW + 1, .max = 1});
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_true(op.purge.ret_more);
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_false(op.purge.ret_more);
    assert_string_equal(list(k, (struct registry_filter){0}, 0, ALL), "2 4 5 ");
    registrykit_do(k, op_purge((struct registry_purge){.failed_before_ns = NOW + 1, .max = 10}));
    assert_string_equal(list(k, (struct registry_filter){0}, 0, ALL), "4 5 ");
    registrykit_events(k, "");
}

#define HOUR (INT64_C(3600) * NS_PER_S)

static void a_clock_that_was_ahead_keeps_nothing_that_came_later(void **state)
{
    struct registrykit *k = *state;
    struct registry_spec specs[300];
    struct registry_op op = {.kind = REGISTRY_SUBMIT, .submit = {.specs = specs, .count = 300}};

    for (size_t i = 0; i < 300; i++)
        specs[i] = (struct registry_spec){.batch = 1};
    k->now = NOW + 24 * HOUR;
    registrykit_batch(k, "");
    registrykit_do(k, op);
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_CANCEL, .cancel = {.batch = 1}});
    k->now = NOW;
    for (int i = 0; i < 3; i++) {
        uint64_t id = registrykit_submit(k, plain);

        registrykit_do(k, (struct registry_op){.kind = REGISTRY_CANCEL, .cancel = {.task = id}});
    }
    k->now = NOW + 3 * HOUR;
    op = op_purge((struct registry_purge){.tasks_before_ns = NOW + HOUR, .max = 2});
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_true(op.purge.ret_more);
    assert_string_equal(list(k, (struct registry_filter){0}, 300, ALL), "303 ");
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_false(op.purge.ret_more);
    assert_string_equal(list(k, (struct registry_filter){0}, 298, ALL), "299 300 ");
    /* These are as old as they say. */
    k->now = NOW + 48 * HOUR;
    registrykit_do(
        k, op_purge((struct registry_purge){.tasks_before_ns = k->now - HOUR, .max = 1000}));
    assert_string_equal(list(k, (struct registry_filter){0}, 0, ALL), "");
}

static void events_of_a_clock_that_was_ahead_go_with_what_is_behind_them(void **state)
{
    struct registrykit *k = *state;
    const struct registry_op tell = {.kind = REGISTRY_TELL,
                                     .tell = {.kind = REGISTRY_POOL_CHANGED}};
    const int64_t at[] = {0, 24, 24, 25, 1, 2, 24};

    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
        k->now = NOW + at[i] * HOUR;
        registrykit_do(k, tell);
    }
    k->now = NOW + 3 * HOUR;
    registrykit_do(k, op_purge((struct registry_purge){.events_before_ns = NOW + 1, .max = 100}));
    assert_string_equal(list_events(k, (struct registry_event_filter){0}, 0, ALL), "2 3 4 5 6 7 ");
    registrykit_do(k,
                   op_purge((struct registry_purge){.events_before_ns = NOW + HOUR + 1, .max = 2}));
    assert_string_equal(list_events(k, (struct registry_event_filter){0}, 0, ALL), "4 5 6 7 ");
    registrykit_do(
        k, op_purge((struct registry_purge){.events_before_ns = NOW + HOUR + 1, .max = 100}));
    assert_string_equal(list_events(k, (struct registry_event_filter){0}, 0, ALL), "6 7 ");
    registrykit_do(
        k, op_purge((struct registry_purge){.events_before_ns = NOW + 3 * HOUR, .max = 100}));
    assert_string_equal(list_events(k, (struct registry_event_filter){0}, 0, ALL), "7 ");
}

static void old_events_go_and_the_numbers_stay(void **state)
{
    struct registrykit *k = *state;
    const struct registry_op tell = {.kind = REGISTRY_TELL,
                                     .tell = {.kind = REGISTRY_POOL_CHANGED}};

    for (int i = 0; i < 10; i++) {
        registrykit_do(k, tell);
        k->now += 10;
    }
    registrykit_do(k, op_purge((struct registry_purge){.events_before_ns = NOW + 20, .max = 100}));
    assert_string_equal(list_events(k, (struct registry_event_filter){0}, 0, ALL),
                        "3 4 5 6 7 8 9 10 ");
    registrykit_do(k, op_purge((struct registry_purge){.events_max = 2, .max = 100}));
    assert_string_equal(list_events(k, (struct registry_event_filter){0}, 0, ALL), "9 10 ");
    assert_string_equal(
        list_events(k, (struct registry_event_filter){.newest_first = true}, 0, ALL), "10 9 ");
    registrykit_do(k, op_purge((struct registry_purge){.events_before_ns = k->now, .max = 100}));
    assert_string_equal(list_events(k, (struct registry_event_filter){0}, 0, ALL), "");
    registrykit_reopen(k);
    registrykit_do(k, tell);
    assert_string_equal(list_events(k, (struct registry_event_filter){0}, 0, ALL), "11 ");
}

static void a_batch_goes_with_the_last_of_its_tasks(void **state)
{
    struct registrykit *k = *state;
    const struct registry_op purge =
        op_purge((struct registry_purge){.tasks_before_ns = NOW + 5, .max = 10});
    struct registry_batch b;

    registrykit_batch(k, "");
    submit_to(k, 1, 0);
    submit_to(k, 1, 1);
    registrykit_run(k, 1, REGISTRY_DONE);
    registrykit_do(k, purge);
    assert_int_equal(batch_of(k, 1).total, 1);
    registrykit_run(k, 2, REGISTRY_DONE);
    registrykit_do(k, purge);
    assert_int_equal(batch_of(k, 1).total, 0); /* more may come */
    end_batch(k, 1);
    registrykit_do(k, op_purge((struct registry_purge){.tasks_before_ns = NOW, .max = 10}));
    assert_int_equal(batch_of(k, 1).ended_ns, NOW); /* not before that time */
    registrykit_do(k, purge);
    assert_int_equal(k->reader->ops->batch(k->reader, 1, &b, &k->err), WEIR_E_END);
    registrykit_reopen(k);
    assert_int_equal(registrykit_batch(k, ""), 2);
}

/* ---- facts and the history ---- */

static const char *fact(struct registrykit *k, const char *name)
{
    enum weir_status status;

    buf_clear(&k->text);
    status = k->reader->ops->fact(k->reader, slice_of(name), &k->text, &k->err);
    return status == WEIR_OK ? k->text.data : status == WEIR_E_END ? "none" : "error";
}

static void set(struct registrykit *k, const char *name, const char *value)
{
    registrykit_do(
        k, (struct registry_op){.kind = REGISTRY_SET, .set = {slice_of(name), slice_of(value)}});
}

static void facts_are_set_changed_and_taken_away(void **state)
{
    struct registrykit *k = *state;

    assert_string_equal(fact(k, "a"), "none");
    set(k, "a", "1");
    set(k, "b", "2");
    set(k, "a", "3");
    registrykit_reopen(k);
    assert_string_equal(fact(k, "a"), "3");
    set(k, "a", "");
    set(k, "never", "");
    assert_string_equal(fact(k, "a"), "none");
    assert_string_equal(fact(k, "b"), "2");
    registrykit_events(k, "");
}

static void sample(struct registrykit *k, const char *pool, uint32_t resolution_s, int64_t at_ns,
                   double running)
{
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_SAMPLE,
                                           .sample = {.at_ns = at_ns,
                                                      .resolution_s = resolution_s,
                                                      .pool = slice_of(pool),
                                                      .running = running,
                                                      .limit = 8,
                                                      .utilisation = 0.5,
                                                      .started = 1,
                                                      .finished = 2,
                                                      .failed = 3}});
}

static bool put_sample(void *ctx, const struct registry_sample *s)
{
    assert_true(s->limit == 8 && s->utilisation == 0.5);
    assert_true(s->started == 1 && s->finished == 2 && s->failed == 3);
    buf_printf(ctx, "%.*s@%" PRId64 "=%g ", (int)s->pool.len, s->pool.data, s->at_ns / NS_PER_S,
               s->running);
    return true;
}

static const char *history(struct registrykit *k, const char *pool, uint32_t resolution_s,
                           int64_t from_s, int64_t to_s)
{
    buf_clear(&k->text);
    if (k->reader->ops->history(k->reader, pool, resolution_s, from_s * NS_PER_S, to_s * NS_PER_S,
                                put_sample, &k->text, &k->err) != WEIR_OK)
        fail_msg("history: %s", k->err.message);
    return buf_slice(&k->text).data;
}

static void the_history_is_kept_by_pool_and_resolution(void **state)
{
    struct registrykit *k = *state;

    sample(k, "", 10, 20 * NS_PER_S, 2);
    sample(k, "", 10, 10 * NS_PER_S, 1);
    sample(k, "", 10, 30 * NS_PER_S, 3);
    sample(k, "", 10, 20 * NS_PER_S, 2.5);
    sample(k, "p", 10, 10 * NS_PER_S, 4);
    sample(k, "", 300, 10 * NS_PER_S, 5);
    registrykit_reopen(k);
    assert_string_equal(history(k, NULL, 10, 0, 1000), "@10=1 @20=2.5 @30=3 ");
    assert_string_equal(history(k, NULL, 10, 20, 30), "@20=2.5 ");
    assert_string_equal(history(k, "p", 10, 0, 1000), "p@10=4 ");
    assert_string_equal(history(k, NULL, 300, 0, 1000), "@10=5 ");
    assert_string_equal(history(k, "q", 10, 0, 1000), "");
}

static void old_samples_go(void **state)
{
    struct registrykit *k = *state;

    sample(k, "", 10, 10 * NS_PER_S, 1);
    sample(k, "", 10, 20 * NS_PER_S, 2);
    sample(k, "", 300, 10 * NS_PER_S, 3);
    sample(k, "", 10, (REGISTRY_SAMPLES_MAX * 10 + 10) * NS_PER_S, 4);
    assert_string_equal(history(k, NULL, 10, 0, 1000000), "@20=2 @86410=4 ");
    assert_string_equal(history(k, NULL, 300, 0, 1000000), "@10=3 ");
}

int main(void)
{
    static const struct registrykit_test tests[] = {
        REGISTRYKIT_TEST(a_batch_ends_with_the_last_of_its_tasks),
        REGISTRYKIT_TEST(a_passing_batch_is_ended_at_the_next_start),
        REGISTRYKIT_TEST(a_batch_that_is_ended_empty_has_ended),
        REGISTRYKIT_TEST(an_ended_batch_takes_only_what_it_has),
        REGISTRYKIT_TEST(a_batch_is_cancelled_and_retried_as_one),
        REGISTRYKIT_TEST(what_waited_within_a_batch_waits_again_when_it_is_retried),
        REGISTRYKIT_TEST(results_come_in_order_up_to_the_first_that_is_missing),
        REGISTRYKIT_TEST(batches_are_listed),
        REGISTRYKIT_TEST(tasks_are_listed_by_what_they_are),
        REGISTRYKIT_TEST(tallies_count_tasks_by_target),
        REGISTRYKIT_TEST(events_are_told_numbered_and_filtered),
        REGISTRYKIT_TEST(an_event_has_the_time_of_its_op_or_its_own),
        REGISTRYKIT_TEST(what_has_ended_goes_after_its_time),
        REGISTRYKIT_TEST(a_clock_that_was_ahead_keeps_nothing_that_came_later),
        REGISTRYKIT_TEST(events_of_a_clock_that_was_ahead_go_with_what_is_behind_them),
        REGISTRYKIT_TEST(old_events_go_and_the_numbers_stay),
        REGISTRYKIT_TEST(a_batch_goes_with_the_last_of_its_tasks),
        REGISTRYKIT_TEST(facts_are_set_changed_and_taken_away),
        REGISTRYKIT_TEST(the_history_is_kept_by_pool_and_resolution),
        REGISTRYKIT_TEST(old_samples_go),
    };

    return registrykit_main(tests, sizeof(tests) / sizeof(tests[0]));
}
