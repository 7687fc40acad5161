/*
 * The clerk: what is written together, what is tried again, what is refused, and what is kept in
 * the spill file meanwhile.
 */
#include "engine/clerk.h"

#include "base/error.h"
#include "base/mem.h"
#include "engine/spill.h"
#include "store/registry/memory_registry.h"
#include "support/testkit.h"
#include "unit/engine/engine_test.h"

/* A registry in front of another: counts transactions, and holds up the first one until the test lets it go. */
struct gate {
    struct core_registry registry; /* first */
    struct core_registry *inner;
    struct latch entered, open;
    atomic_uint groups;
    atomic_uint last_length;
    unsigned fails;     /* that transaction fails; 0: none */
    bool has_no_memory; /* it fails for want of that */
    unsigned pieces;    /* of a CANCEL of a batch: so many come before the last one */
};

static enum weir_status gate_apply(struct core_registry *r, struct registry_op *chain,
                                   struct weir_error *err)
{
    struct gate *g = (struct gate *)(void *)r;
    unsigned n = 0;

    for (struct registry_op *op = chain; op; op = op->next)
        n++;
    atomic_store(&g->last_length, n);
    n = atomic_fetch_add(&g->groups, 1) + 1;
    latch_add(&g->entered, 1);
    (void)latch_wait(&g->open, 1);
    if (n == g->fails && g->has_no_memory)
        return error_nomem(err);
    if (n == g->fails)
        return error_set(err, WEIR_E_IO, "the disk is full");
    for (struct registry_op *op = chain; op; op = op->next)
        if (op->kind == REGISTRY_CANCEL && g->pieces > 0) {
            g->pieces--;
            op->cancel.ret_more = true;
            op->cancel.to_task = ++op->cancel.ret_count;
            return WEIR_OK;
        }
    return g->inner->ops->apply(g->inner, chain, err);
}

static enum weir_status gate_lines(struct core_registry *r, registry_line_fn fn, void *ctx,
                                   struct weir_error *err)
{
    struct gate *g = (struct gate *)(void *)r;

    return g->inner->ops->lines(g->inner, fn, ctx, err);
}

static uint64_t gate_last_event(struct core_registry *r)
{
    struct gate *g = (struct gate *)(void *)r;

    return g->inner->ops->last_event(g->inner);
}

static const struct core_registry_ops gate_ops = {
    .name = "gate", .apply = gate_apply, .lines = gate_lines, .last_event = gate_last_event};

struct desk_of_test {
    struct gate gate;
    struct clerk *clerk;
    struct latch done;
    char *dir, *spill;
};

static void on_done(void *ctx, struct registry_op *chain)
{
    struct desk_of_test *t = ctx;
    uint64_t n = 0;

    while (chain) {
        struct registry_op *op = chain;

        chain = op->next;
        n++;
        while (op->ret_ready) {
            struct registry_task *r = op->ret_ready;

            op->ret_ready = r->next;
            mem_free(r);
        }
        if (op->kind != REGISTRY_LINES)
            op->ret_lines = mem_free(op->ret_lines);
    }
    latch_add(&t->done, n);
}

static void begin(struct desk_of_test *t, bool spills)
{
    struct clerk_options o = {.done = on_done, .ctx = t};

    *t = (struct desk_of_test){
        .gate = {.registry = {&gate_ops}, .entered = LATCH_INIT, .open = LATCH_INIT},
        .done = LATCH_INIT,
        .dir = testkit_dir_make()};
    t->spill = testkit_path(t->dir, "spill");
    ok(memory_registry_new(&t->gate.inner, &err));
    o.spill_path = spills ? t->spill : NULL;
    ok(clerk_new(&t->gate.registry, &o, &t->clerk, &err));
}

static void end(struct desk_of_test *t)
{
    latch_add(&t->gate.open, 1);
    clerk_free(t->clerk);
    t->gate.inner->ops->close(t->gate.inner);
    testkit_free(t->spill);
    testkit_dir_remove(t->dir);
}

static struct registry_op submit_op(const struct registry_spec *spec, uint64_t *ret_id)
{
    return (struct registry_op){.kind = REGISTRY_SUBMIT,
                                .at_ns = 1,
                                .submit = {.specs = spec, .count = 1, .ret_ids = ret_id}};
}

static struct registry_op tell_op(const char *detail)
{
    return (struct registry_op){.kind = REGISTRY_TELL,
                                .at_ns = 7,
                                .tell = {.kind = REGISTRY_POOL_CHANGED,
                                         .pool = SLICE("build"),
                                         .detail = slice_of(detail)}};
}

static const struct registry_spec plain = {.line = {.pool = {"work", 4}}, .payload = {"x", 1}};

static enum registry_state state_of(struct desk_of_test *t, uint64_t id, uint32_t *ret_attempts)
{
    struct registry_reader *r;
    struct registry_view v;

    ok(t->gate.inner->ops->reader(t->gate.inner, &r, &err));
    ok(r->ops->task(r, id, false, &v, &err));
    r->ops->close(r);
    if (ret_attempts)
        *ret_attempts = v.attempts;
    return v.state;
}

/* ---- tests ---- */

static void what_comes_while_one_is_written_goes_together(void **state)
{
    enum { OPS = 50 };
    struct desk_of_test t;
    struct registry_op ops[OPS];
    uint64_t ids[OPS];

    (void)state;
    begin(&t, false);
    for (size_t i = 0; i < OPS; i++)
        ops[i] = submit_op(&plain, &ids[i]);
    clerk_send(t.clerk, &ops[0]);
    assert_true(latch_wait(&t.gate.entered, 1));
    for (size_t i = 1; i < OPS; i++)
        clerk_send(t.clerk, &ops[i]);
    latch_add(&t.gate.open, 1);
    assert_true(latch_wait(&t.done, OPS));
    assert_int_equal(atomic_load(&t.gate.groups), 2);
    assert_int_equal(atomic_load(&t.gate.last_length), OPS - 1);
    for (size_t i = 1; i < OPS; i++)
        assert_true(ids[i] > ids[i - 1]);
    end(&t);
}

/* 64 lines with full windows are half a million tasks to be read: nobody waits for all of them. */
static void a_transaction_does_not_read_too_many_tasks(void **state)
{
    enum { TAKES = 9, IN_ONE = 7, MAX = 8192 };
    struct desk_of_test t;
    struct registry_op blocker = tell_op(NULL), takes[TAKES];

    (void)state;
    begin(&t, false);
    clerk_send(t.clerk, &blocker);
    assert_true(latch_wait(&t.gate.entered, 1));
    for (size_t i = 0; i < TAKES; i++) {
        takes[i] = (struct registry_op){.kind = REGISTRY_TAKE, .take = {.line = 1, .max = MAX}};
        clerk_send(t.clerk, &takes[i]);
    }
    assert_true(clerk_weight(&takes[0]) * IN_ONE <= CLERK_GROUP_OPS);
    assert_true(clerk_weight(&takes[0]) * (IN_ONE + 1) > CLERK_GROUP_OPS);
    latch_add(&t.gate.open, 1);
    assert_true(latch_wait(&t.done, 1 + TAKES));
    assert_int_equal(atomic_load(&t.gate.groups), 3);
    assert_int_equal(atomic_load(&t.gate.last_length), TAKES - IN_ONE);
    end(&t);
}

/* What waits meanwhile goes before the next piece; and it is given back once, when all is durable. */
static void a_cancel_in_pieces_lets_others_go_before(void **state)
{
    struct desk_of_test t;
    struct registry_op open = {.kind = REGISTRY_BATCH_OPEN, .at_ns = 1};
    struct registry_op cancel = {
        .kind = REGISTRY_CANCEL, .at_ns = 2, .cancel = {.batch = 1, .max = CLERK_GROUP_OPS}};
    struct registry_op tell = tell_op(NULL);
    struct clerk_stats stats;

    (void)state;
    begin(&t, false);
    t.gate.pieces = 2;
    clerk_send(t.clerk, &open);
    assert_true(latch_wait(&t.gate.entered, 1));
    clerk_send(t.clerk, &cancel);
    clerk_send(t.clerk, &tell);
    latch_add(&t.gate.open, 1);
    assert_true(latch_wait(&t.done, 3));
    /* The batch; a piece; the other one; two pieces more. */
    assert_int_equal(atomic_load(&t.gate.groups), 5);
    assert_true(cancel.err.status == WEIR_OK && !cancel.cancel.ret_more);
    assert_int_equal(cancel.cancel.from_task, 2);
    assert_int_equal(cancel.cancel.count_before, 2);
    clerk_get_stats(t.clerk, &stats);
    assert_int_equal(stats.waiting, 0);
    end(&t);
}

static void a_start_is_written_with_its_end(void **state)
{
    struct desk_of_test t;
    uint64_t id, blocker_id;
    struct registry_op first = submit_op(&plain, &id), blocker = submit_op(&plain, &blocker_id);
    struct registry_op start = {.kind = REGISTRY_START, .at_ns = 2};
    struct registry_op done = {.kind = REGISTRY_END, .at_ns = 3};
    uint32_t attempts;

    (void)state;
    begin(&t, false);
    latch_add(&t.gate.open, 1);
    clerk_send(t.clerk, &first);
    assert_true(latch_wait(&t.done, 1));
    t.gate.open.count = 0;
    clerk_send(t.clerk, &blocker);
    assert_true(latch_wait(&t.gate.entered, 2));
    start.start =
        (struct registry_start){.task = id, .token = 9, .attempt = 1, .pool = SLICE("work")};
    done.end = (struct registry_end){.task = id,
                                     .token = 9,
                                     .attempt = 1,
                                     .next = REGISTRY_DONE,
                                     .outcome = WEIR_OUTCOME_OK,
                                     .pool = SLICE("work")};
    done.start_op = &start;
    clerk_send(t.clerk, &start);
    clerk_send(t.clerk, &done);
    latch_add(&t.gate.open, 1);
    assert_true(latch_wait(&t.done, 4));
    assert_int_equal(atomic_load(&t.gate.last_length), 1); /* the END alone */
    assert_true(start.folded && done.end.started);
    assert_int_equal(start.err.status, WEIR_OK);
    assert_int_equal(done.err.status, WEIR_OK);
    assert_int_equal(state_of(&t, id, &attempts), REGISTRY_DONE);
    assert_int_equal(attempts, 1);
    end(&t);
}

static void a_start_in_an_earlier_group_is_not(void **state)
{
    struct desk_of_test t;
    uint64_t id;
    struct registry_op first = submit_op(&plain, &id);
    struct registry_op start = {.kind = REGISTRY_START, .at_ns = 2};
    struct registry_op done = {.kind = REGISTRY_END, .at_ns = 3};

    (void)state;
    begin(&t, false);
    latch_add(&t.gate.open, 1);
    clerk_send(t.clerk, &first);
    assert_true(latch_wait(&t.done, 1));
    start.start =
        (struct registry_start){.task = id, .token = 9, .attempt = 1, .pool = SLICE("work")};
    clerk_send(t.clerk, &start);
    assert_true(latch_wait(&t.done, 2));
    assert_int_equal(state_of(&t, id, NULL), REGISTRY_RUNNING);
    done.end = (struct registry_end){
        .task = id, .token = 9, .attempt = 1, .next = REGISTRY_DONE, .pool = SLICE("work")};
    done.start_op = &start;
    clerk_send(t.clerk, &done);
    assert_true(latch_wait(&t.done, 3));
    assert_false(start.folded || done.end.started);
    assert_int_equal(state_of(&t, id, NULL), REGISTRY_DONE);
    end(&t);
}

static void what_has_happened_is_tried_until_the_store_takes_it(void **state)
{
    struct desk_of_test t;
    struct registry_op told = tell_op("{\"n\":1}");
    struct clerk_stats stats;

    (void)state;
    begin(&t, false);
    latch_add(&t.gate.open, 1);
    memory_registry_fail_next(t.gate.inner, 3);
    clerk_send(t.clerk, &told);
    assert_true(latch_wait(&t.done, 1));
    assert_int_equal(told.err.status, WEIR_OK);
    clerk_get_stats(t.clerk, &stats);
    assert_int_equal(stats.failures, 3);
    assert_int_equal(stats.groups, 1);
    assert_false(stats.failing);
    assert_int_equal(stats.waiting, 0);
    assert_int_equal(t.gate.inner->ops->last_event(t.gate.inner), 1);
    end(&t);
}

static void what_somebody_wants_is_refused_with_the_reason(void **state)
{
    struct desk_of_test t;
    uint64_t id = 0;
    struct registry_op told = tell_op(NULL), wanted = submit_op(&plain, &id),
                       blocker = tell_op(NULL);

    (void)state;
    begin(&t, false);
    clerk_send(t.clerk, &blocker);
    assert_true(latch_wait(&t.gate.entered, 1));
    clerk_send(t.clerk, &told);
    clerk_send(t.clerk, &wanted);
    t.gate.fails = 2;
    latch_add(&t.gate.open, 1);
    assert_true(latch_wait(&t.done, 3));
    assert_int_equal(told.err.status, WEIR_OK);
    assert_int_equal(blocker.err.status, WEIR_OK);
    assert_true(wanted.untaken);
    assert_int_equal(wanted.err.status, WEIR_E_IO);
    assert_string_equal(wanted.err.message, "the disk is full");
    assert_int_equal(t.gate.inner->ops->last_event(t.gate.inner), 2);
    end(&t);
}

static void a_commit_that_does_not_return_is_a_failure_as_long_as_it_lasts(void **state)
{
    struct desk_of_test t;
    struct clerk_options o = {.done = on_done, .ctx = &t, .slow_ns = NS_PER_MS};
    struct registry_op told = tell_op(NULL);
    struct clerk_stats stats;

    (void)state;
    begin(&t, false);
    clerk_free(t.clerk);
    ok(clerk_new(&t.gate.registry, &o, &t.clerk, &err));
    assert_false(clerk_is_failing(t.clerk));
    clerk_send(t.clerk, &told);
    assert_true(latch_wait(&t.gate.entered, 1));
    while (!clerk_is_failing(t.clerk))
        sched_yield();
    clerk_get_stats(t.clerk, &stats);
    assert_true(stats.failing);
    assert_string_equal(stats.message, "a commit has taken 0 s: look at its disk");
    latch_add(&t.gate.open, 1);
    assert_true(latch_wait(&t.done, 1));
    assert_false(clerk_is_failing(t.clerk));
    clerk_get_stats(t.clerk, &stats);
    assert_false(stats.failing);
    assert_string_equal(stats.message, "");
    assert_int_equal(stats.failures, 0);
    end(&t);
}

static void want_of_memory_is_told_with_what_to_do(void **state)
{
    struct desk_of_test t;
    uint64_t id = 0;
    struct registry_op wanted = submit_op(&plain, &id);
    struct clerk_stats stats;

    (void)state;
    begin(&t, false);
    t.gate.fails = 1;
    t.gate.has_no_memory = true;
    latch_add(&t.gate.open, 1);
    clerk_send(t.clerk, &wanted);
    assert_true(latch_wait(&t.done, 1));
    assert_int_equal(wanted.err.status, WEIR_E_NOMEM);
    assert_non_null(strstr(wanted.err.message, "no memory to write the store with"));
    clerk_get_stats(t.clerk, &stats);
    assert_string_equal(stats.message, wanted.err.message);
    assert_non_null(strstr(stats.message, "MemoryMax"));
    end(&t);
}

static void a_lone_wish_is_refused_at_the_first_failure(void **state)
{
    struct desk_of_test t;
    uint64_t id = 0;
    struct registry_op wanted = submit_op(&plain, &id), again = submit_op(&plain, &id);

    (void)state;
    begin(&t, false);
    latch_add(&t.gate.open, 1);
    memory_registry_fail_next(t.gate.inner, 1);
    clerk_send(t.clerk, &wanted);
    assert_true(latch_wait(&t.done, 1));
    assert_int_equal(wanted.err.status, WEIR_E_IO);
    assert_true(wanted.untaken);
    clerk_send(t.clerk, &again);
    assert_true(latch_wait(&t.done, 2));
    assert_int_equal(again.err.status, WEIR_OK);
    assert_int_equal(state_of(&t, id, NULL), REGISTRY_READY);
    end(&t);
}

struct seen {
    size_t count;
    enum registry_event_kind kinds[8];
    int64_t at_ns[8];
    char details[8][64];
};

static bool see(void *ctx, const struct registry_event *e)
{
    struct seen *s = ctx;

    s->kinds[s->count] = e->kind;
    s->at_ns[s->count] = e->at_ns;
    snprintf(s->details[s->count], sizeof s->details[0], "%.*s/%.*s", (int)e->pool.len,
             e->pool.data, (int)e->detail.len, e->detail.data);
    s->count++;
    return true;
}

static void what_the_store_does_not_take_is_in_the_spill_file(void **state)
{
    struct desk_of_test t;
    struct registry_op told = tell_op("{\"n\":\"a\\nb\"}");
    struct seen seen = {0};
    struct clerk_stats stats;

    (void)state;
    begin(&t, true);
    latch_add(&t.gate.open, 1);
    memory_registry_fail_next(t.gate.inner, 1000000);
    clerk_send(t.clerk, &told);
    do { /* each failure is a try; the first one writes */
        clerk_get_stats(t.clerk, &stats);
        sched_yield();
    } while (stats.events_spilled == 0);
    ok(spill_read(t.spill, see, &seen, &err));
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.kinds[0], REGISTRY_POOL_CHANGED);
    assert_int_equal(seen.at_ns[0], 7);
    assert_string_equal(seen.details[0], "build/{\"n\":\"a\\nb\"}");
    assert_true(stats.failing);
    memory_registry_fail_next(t.gate.inner, 0);
    assert_true(latch_wait(&t.done, 1));
    assert_int_equal(told.err.status, WEIR_OK);
    clerk_get_stats(t.clerk, &stats);
    assert_int_equal(stats.events_spilled, 1); /* once, however often it was tried */
    seen.count = 0;
    ok(spill_read(t.spill, see, &seen, &err));
    assert_int_equal(seen.count, 0);
    end(&t);
}

static void who_gives_up_is_told_what_was_not_written(void **state)
{
    struct desk_of_test t;
    struct registry_op told = tell_op(NULL);

    (void)state;
    begin(&t, false);
    latch_add(&t.gate.open, 1);
    memory_registry_fail_next(t.gate.inner, 1000000);
    clerk_send(t.clerk, &told);
    assert_true(latch_wait(&t.gate.entered, 1));
    clerk_give_up(t.clerk);
    assert_true(latch_wait(&t.done, 1));
    assert_int_equal(told.err.status, WEIR_E_IO);
    end(&t);
}

static void lines_are_asked_for_on_the_clerks_thread(void **state)
{
    struct desk_of_test t;
    uint64_t id;
    struct registry_op first = submit_op(&plain, &id), lines = {.kind = REGISTRY_LINES};

    (void)state;
    begin(&t, false);
    latch_add(&t.gate.open, 1);
    clerk_send(t.clerk, &first);
    clerk_send(t.clerk, &lines);
    assert_true(latch_wait(&t.done, 2));
    assert_int_equal(atomic_load(&t.gate.groups), 1);
    assert_int_equal(lines.err.status, WEIR_OK);
    assert_int_equal(lines.ret_line_count, 1);
    mem_free(lines.ret_lines);
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_while_one_is_written_goes_together),
        cmocka_unit_test(a_transaction_does_not_read_too_many_tasks),
        cmocka_unit_test(a_cancel_in_pieces_lets_others_go_before),
        cmocka_unit_test(a_start_is_written_with_its_end),
        cmocka_unit_test(a_start_in_an_earlier_group_is_not),
        cmocka_unit_test(what_has_happened_is_tried_until_the_store_takes_it),
        cmocka_unit_test(what_somebody_wants_is_refused_with_the_reason),
        cmocka_unit_test(a_commit_that_does_not_return_is_a_failure_as_long_as_it_lasts),
        cmocka_unit_test(want_of_memory_is_told_with_what_to_do),
        cmocka_unit_test(a_lone_wish_is_refused_at_the_first_failure),
        cmocka_unit_test(what_the_store_does_not_take_is_in_the_spill_file),
        cmocka_unit_test(who_gives_up_is_told_what_was_not_written),
        cmocka_unit_test(lines_are_asked_for_on_the_clerks_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
