/*
 * A cancel at every moment of a task's life: before it comes to the desk, while it waits, while its
 * attempt's START, its END or both are not written, and afterwards; alone and of a batch, with a
 * crash and with a retry behind the acknowledgement. Registry, clerk, desk and dispatcher as they
 * are, in virtual time (desk/office.h).
 */
#include "simulation/desk/office.h"
#include "store/registry/memory_registry.h"

#include "base/mem.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TASKS     3
#define WALL      (INT64_C(1700000000) * NS_PER_S)
#define TAKES_NS  (5 * NS_PER_MS)
#define MOMENTS   1000 /* which is beyond the first end */
#define MOMENT_NS (NS_PER_MS / 40)

/* What each attempt comes to by itself. */
enum ending {
    OK,
    FULL,
    FAILS,
    DIES,
    LOST,
    NEVER,
    ENDINGS
}; /* LOST: often for the sake of another */

struct scene {
    struct core_registry *registry;
    struct office *office;
    struct office_options options;
    struct office_watcher watcher;
    struct registry_op submit, cancel, retry;
    struct registry_spec specs[TASKS];
    enum ending ending;
    bool by_batch, tells_began, halts, retries, shuts_down;
    bool submitted, acked, retry_done;
    size_t begun, begun_when_acked;
};

static struct scene *scene_of(struct registry_op *op)
{
    return op->user;
}

static bool step(void *ctx)
{
    const struct scene *s = ctx;

    return !(s->halts && s->acked);
}

static void began(void *ctx, const struct core_attempt *a, struct instant now)
{
    (void)a, (void)now;
    ((struct scene *)ctx)->begun++;
}

static void used(struct registry_op *op)
{
    while (op->ret_ready) {
        struct registry_task *r = op->ret_ready;

        op->ret_ready = r->next;
        mem_free(r);
    }
    mem_free(op->ret_lines);
}

static void submitted(struct registry_op *op)
{
    assert_int_equal(op->err.status, WEIR_OK);
    scene_of(op)->submitted = true;
    used(op);
}

static void retried(struct registry_op *op)
{
    scene_of(op)->retry_done = true;
    used(op);
}

static void send(struct scene *s, struct registry_op *op, void (*done)(struct registry_op *op))
{
    op->done = done;
    op->user = s;
    office_send(s->office, op);
}

static void cancelled(struct registry_op *op)
{
    struct scene *s = scene_of(op);

    s->acked = true;
    s->begun_when_acked = s->begun;
    used(op);
    if (!s->retries)
        return;
    s->retry = (struct registry_op){.kind = REGISTRY_RETRY, .retry = {.task = 1}};
    send(s, &s->retry, retried);
}

static void open_office(struct scene *s, int64_t wall_ns)
{
    static const struct desk_pool_ops pool_ops = {0};
    struct core_pool_options core;
    struct desk_pool_options desk = {.ops = &pool_ops, .max_attempts = 2};
    const struct office_model model = {.seed = s->options.seed,
                                       .cancels_at_once = true,
                                       .tells_began = s->tells_began,
                                       .ok_only = s->ending == OK,
                                       .refuses = s->ending == FULL ? 1000 : 0,
                                       .fails = s->ending == FAILS ? 1000 : 0,
                                       .dies = s->ending == DIES ? 1000 : 0,
                                       .loses = s->ending == LOST ? 1000 : 0,
                                       .silent = s->ending == NEVER ? 1000 : 0,
                                       .obeys = 1000,
                                       .least_ns = TAKES_NS,
                                       .most_ns = TAKES_NS,
                                       .began = began,
                                       .ctx = s};

    s->office = office_open(&s->options, s->registry, wall_ns);
    assert_non_null(s->office);
    core_pool_options_init(&core);
    core.gate.throttle.kind = THROTTLE_NONE;
    core.name = "p";
    core.size = 2;
    desk.tells_began = s->tells_began;
    desk.backoff = core.backoff;
    desk.backoff.initial_ns = desk.backoff.ceiling_ns = NS_PER_MS;
    assert_non_null(office_add_pool(s->office, &core, &model, &desk, NULL));
    assert_true(desk_set_default_pool(s->office->desk, "p"));
    office_begin(s->office);
}

static void run(struct scene *s, duration_ns ns)
{
    sim_world_set_lodger(s->office->world, &s->office->lodger);
    (void)sim_world_run(s->office->world, instant_add(office_now(s->office), ns));
    assert_null(desk_check(s->office->desk));
    assert_null(memory_registry_check(s->registry));
}

static void open_scene(struct scene *s, uint64_t seed)
{
    struct registry_op open = {.kind = REGISTRY_BATCH_OPEN, .batch_open.name = SLICE("b")};

    s->watcher = (struct office_watcher){.step = step, .ctx = s};
    s->options = (struct office_options){.seed = seed,
                                         .schedule = {.policy = SCHEDULE_FIFO},
                                         .deaths_max = 2,
                                         .gather_max_ns = 2 * NS_PER_MS,
                                         .commit_max_ns = 6 * NS_PER_MS,
                                         .mail_max_ns = 2 * NS_PER_MS,
                                         .watcher = &s->watcher};
    assert_int_equal(memory_registry_new(&s->registry, NULL), WEIR_OK);
    assert_int_equal(s->registry->ops->apply(s->registry, &open, NULL), WEIR_OK);
    open_office(s, WALL);
    for (size_t i = 0; i < TASKS; i++)
        s->specs[i] = (struct registry_spec){.batch = 1, .place = i};
    s->submit = (struct registry_op){
        .kind = REGISTRY_SUBMIT, .submit = {.specs = s->specs, .count = s->by_batch ? TASKS : 1}};
    send(s, &s->submit, submitted);
}

static void close_scene(struct scene *s)
{
    s->office = office_close(s->office);
    s->registry->ops->close(s->registry);
}

static enum registry_state state_of(struct scene *s, uint64_t id)
{
    struct registry_reader *reader;
    struct registry_view v;

    assert_int_equal(s->registry->ops->reader(s->registry, &reader, NULL), WEIR_OK);
    assert_int_equal(reader->ops->task(reader, id, false, &v, NULL), WEIR_OK);
    reader->ops->close(reader);
    assert_false(v.cancelling && v.state != REGISTRY_RUNNING);
    return v.state;
}

static bool count_event(void *ctx, const struct registry_event *e)
{
    size_t *counts = ctx;

    counts[e->kind]++;
    return true;
}

/* Every attempt that has begun is in the record, and how it has ended. */
static void check_record(struct scene *s)
{
    struct registry_reader *reader;
    size_t counts[REGISTRY_EVENT_KINDS] = {0}, ended = 0;

    assert_int_equal(s->registry->ops->reader(s->registry, &reader, NULL), WEIR_OK);
    assert_int_equal(reader->ops->events(reader, &(struct registry_event_filter){0}, 0, UINT32_MAX,
                                         count_event, counts, NULL),
                     WEIR_OK);
    reader->ops->close(reader);
    assert_int_equal(counts[REGISTRY_RUNNER_STARTED], s->begun);
    for (unsigned kind = REGISTRY_RUNNER_COMPLETED; kind <= REGISTRY_RUNNER_CAPACITY; kind++)
        ended += counts[kind];
    assert_int_equal(ended, s->begun);
}

static void send_cancel(struct scene *s)
{
    s->cancel = (struct registry_op){.kind = REGISTRY_CANCEL};
    if (s->by_batch)
        s->cancel.cancel.batch = 1;
    else
        s->cancel.cancel.task = 1;
    send(s, &s->cancel, cancelled);
}

static void play(struct scene *s, duration_ns moment_ns, uint64_t seed)
{
    open_scene(s, seed);
    run(s, moment_ns);
    send_cancel(s);
    if (s->shuts_down) {
        desk_stop(s->office->desk);
        desk_end_running(s->office->desk, office_now(s->office));
    }
    run(s, 200 * NS_PER_MS);
    assert_true(s->acked);
    if (s->halts || s->shuts_down) {
        int64_t wall_ns = office_wall_ns(s->office);

        s->halts = s->shuts_down = false;
        s->office = office_close(s->office);
        open_office(s, wall_ns);
    }
    run(s, NS_PER_S);
}

static bool has_ended(enum registry_state state)
{
    return state == REGISTRY_DONE || state == REGISTRY_FAILED || state == REGISTRY_CANCELLED;
}

static void check_ends(struct scene *s)
{
    for (uint64_t id = 1; id <= (s->by_batch ? TASKS : 1); id++) {
        enum registry_state state = state_of(s, id);

        assert_true(has_ended(state));
        if ((s->ending == FULL || s->ending == NEVER) && s->cancel.err.status == WEIR_OK)
            assert_int_equal(state, REGISTRY_CANCELLED);
    }
    assert_int_equal(s->begun, s->begun_when_acked);
}

static void each_moment(const struct scene *how)
{
    for (int i = 0; i < MOMENTS; i++)
        for (int by_batch = 0; by_batch < 2; by_batch++)
            for (int tells = 0; tells < 2; tells++)
                for (int ending = 0; ending < ENDINGS; ending++) {
                    struct scene s = *how;
                    bool whole = !how->halts;

                    s.by_batch = by_batch;
                    s.tells_began = tells;
                    s.ending = (enum ending)ending;
                    play(&s, i * MOMENT_NS, (uint64_t)(i * 100 + ending));
                    check_ends(&s);
                    if (whole)
                        check_record(&s);
                    close_scene(&s);
                }
}

static void what_was_cancelled_ends_and_does_not_begin_again(void **state)
{
    (void)state;
    each_moment(&(struct scene){0});
}

static void nor_after_a_crash_right_behind_the_acknowledgement(void **state)
{
    (void)state;
    each_moment(&(struct scene){.halts = true});
}

static void nor_where_a_stop_ends_its_attempt_just_then(void **state)
{
    (void)state;
    each_moment(&(struct scene){.shuts_down = true});
}

static void a_retry_that_was_taken_is_not_undone_by_the_end_before(void **state)
{
    size_t taken = 0, refused = 0;

    (void)state;
    for (int i = 0; i < MOMENTS * 2; i++) {
        struct scene s = {.ending = OK, .retries = true, .tells_began = i % 2};

        play(&s, i / 2 * MOMENT_NS, (uint64_t)i);
        assert_true(s.retry_done);
        if (s.cancel.err.status == WEIR_OK && s.retry.err.status == WEIR_OK)
            assert_int_equal(state_of(&s, 1), REGISTRY_DONE);
        taken += s.retry.err.status == WEIR_OK;
        refused += s.retry.err.status == WEIR_E_CONFLICT;
        check_record(&s);
        close_scene(&s);
    }
    assert_true(taken > 0 && refused > 0);
}

static void a_cancel_that_the_store_does_not_take_changes_nothing(void **state)
{
    size_t refused = 0;

    (void)state;
    for (int i = 0; i < MOMENTS; i++) {
        struct scene s = {.ending = OK, .tells_began = i % 2};

        open_scene(&s, (uint64_t)i);
        while (!s.submitted)
            run(&s, NS_PER_MS);
        run(&s, i * MOMENT_NS);
        memory_registry_fail_next(s.registry, 1);
        send_cancel(&s);
        run(&s, NS_PER_S);
        assert_true(s.acked);
        if (s.cancel.err.status == WEIR_E_IO || s.cancel.err.status == WEIR_E_NOMEM) {
            assert_int_equal(state_of(&s, 1), REGISTRY_DONE);
            refused++;
        }
        close_scene(&s);
    }
    assert_true(refused > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_cancelled_ends_and_does_not_begin_again),
        cmocka_unit_test(nor_after_a_crash_right_behind_the_acknowledgement),
        cmocka_unit_test(nor_where_a_stop_ends_its_attempt_just_then),
        cmocka_unit_test(a_retry_that_was_taken_is_not_undone_by_the_end_before),
        cmocka_unit_test(a_cancel_that_the_store_does_not_take_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
