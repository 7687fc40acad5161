/*
 * What is done in pieces. PURGE: no op looks at more than some thousand tasks, or rows of the
 * record, whether they go or not; the next one goes on behind them. CANCEL of a batch: as it is
 * told to.
 */
#include "base/mem.h"
#include "store/registry/sqlite_inside.h"
#include "support/testkit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NOW  INT64_C(1000000000000)
#define HOUR (INT64_C(3600) * NS_PER_S)

#define YOUNG 12000 /* tasks that stay */
#define OLD   3     /* behind them */
/* Steps of SQLite's machine that an op may take to look at tasks; for all it takes twice that. */
#define STEPS_MAX 120000

struct fixture {
    char *dir, *path;
    struct core_registry *r;
    struct weir_error err;
};

static int setup(void **state)
{
    const struct sqlite_registry_options o = {.sync = SQLITE_REGISTRY_OFF};
    struct fixture *f = test_calloc(1, sizeof(*f));

    f->dir = testkit_dir_make();
    f->path = testkit_path(f->dir, "tasks.db");
    assert_int_equal(sqlite_registry_open(f->path, &o, &f->r, &f->err), WEIR_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    f->r->ops->close(f->r);
    testkit_free(f->path);
    testkit_dir_remove(f->dir);
    test_free(f);
    return 0;
}

static void apply(struct fixture *f, struct registry_op *op, int64_t at_ns)
{
    op->at_ns = at_ns;
    if (f->r->ops->apply(f->r, op, &f->err) != WEIR_OK || op->err.status != WEIR_OK)
        fail_msg("apply: %s %s", f->err.message, op->err.message);
    while (op->ret_ready) {
        struct registry_task *next = op->ret_ready->next;

        mem_free(op->ret_ready);
        op->ret_ready = next;
    }
    op->ret_lines = mem_free(op->ret_lines);
    if (op->kind == REGISTRY_PURGE)
        op->purge.ret_lines_gone = mem_free(op->purge.ret_lines_gone);
}

/* A batch of so many tasks. */
static void submit(struct fixture *f, uint64_t batch, size_t count)
{
    struct registry_spec *specs = test_calloc(count, sizeof(*specs));
    struct registry_op op = {.kind = REGISTRY_BATCH_OPEN};

    apply(f, &op, NOW);
    assert_int_equal(op.batch_open.ret_id, batch);
    for (size_t i = 0; i < count; i++)
        specs[i].batch = batch;
    op = (struct registry_op){.kind = REGISTRY_SUBMIT, .submit = {.specs = specs, .count = count}};
    apply(f, &op, NOW);
    test_free(specs);
}

static void cancel(struct fixture *f, uint64_t batch, int64_t at_ns)
{
    apply(f, &(struct registry_op){.kind = REGISTRY_CANCEL, .cancel = {.batch = batch}}, at_ns);
}

static int64_t count(struct fixture *f, const char *sql)
{
    sqlite3_stmt *stmt;
    int64_t n;

    assert_int_equal(sqlite3_prepare_v2(registry_self(f->r)->db, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return n;
}

static int64_t count_tasks(struct fixture *f)
{
    return count(f, "SELECT count(*) FROM task");
}

/* Whether there is more. */
static bool purge(struct fixture *f, int64_t before_ns)
{
    struct registry_op op = {.kind = REGISTRY_PURGE,
                             .purge = {.tasks_before_ns = before_ns, .max = 2 * YOUNG}};
    sqlite3_stmt *stmt = registry_statement(registry_self(f->r), RS_ENDED_CANCELLED);

    sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_VM_STEP, 1);
    apply(f, &op, NOW + HOUR);
    assert_true(sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_VM_STEP, 0) < STEPS_MAX);
    return op.purge.ret_more;
}

static void what_has_ended_and_is_not_old_is_looked_at_in_bites(void **state)
{
    struct fixture *f = *state;
    struct registry_op op = {.kind = REGISTRY_PURGE,
                             .at_ns = NOW + HOUR,
                             .purge = {.tasks_before_ns = NOW + 50, .max = 1}};

    submit(f, 1, YOUNG);
    submit(f, 2, OLD);
    cancel(f, 2, NOW + 10);
    cancel(f, 1, NOW + 100);
    assert_true(purge(f, NOW + 50));
    assert_true(purge(f, NOW + 50));
    assert_int_equal(count_tasks(f), YOUNG + OLD);
    /* A transaction that fails begins anew. */
    sqlite_registry_fail_next(f->r, 1);
    assert_int_equal(f->r->ops->apply(f->r, &op, &f->err), WEIR_E_IO);
    assert_true(purge(f, NOW + 50));
    assert_true(purge(f, NOW + 50));
    assert_false(purge(f, NOW + 50));
    assert_int_equal(count_tasks(f), YOUNG);
    /* From the front again, and those that go count as well. */
    assert_true(purge(f, NOW + 150));
    assert_true(purge(f, NOW + 150));
    assert_false(purge(f, NOW + 150));
    assert_int_equal(count_tasks(f), 0);
    assert_null(sqlite_registry_check(f->r));
}

static void what_has_just_come_is_not_looked_at(void **state)
{
    struct fixture *f = *state;

    submit(f, 1, YOUNG);
    cancel(f, 1, NOW + 100);
    assert_false(purge(f, NOW));
    assert_int_equal(count_tasks(f), YOUNG);
    assert_int_equal(registry_self(f->r)->purged_to, 0);
}

static bool purge_events(struct fixture *f, int64_t before_ns)
{
    struct registry_op op = {.kind = REGISTRY_PURGE,
                             .purge = {.events_before_ns = before_ns, .max = 10000}};

    apply(f, &op, NOW + HOUR);
    return op.purge.ret_more;
}

static void what_is_behind_events_of_a_time_to_come_is_looked_for_in_bites(void **state)
{
    struct fixture *f = *state;
    struct registry_op op = {.kind = REGISTRY_TELL, .tell = {.kind = REGISTRY_POOL_CHANGED}};

    for (int i = 0; i < 2500; i++)
        apply(f, &op, NOW + 2 * HOUR);
    apply(f, &op, NOW + 10);
    assert_true(purge_events(f, NOW + 10));
    assert_true(purge_events(f, NOW + 10));
    assert_false(purge_events(f, NOW + 10));
    assert_int_equal(count(f, "SELECT sum(count) FROM event"), 2501);
    assert_false(purge_events(f, NOW + 11));
    assert_int_equal(count(f, "SELECT count(*) FROM event"), 0);
    assert_int_equal(count(f, "SELECT event_first FROM mark"), 2502);
    assert_null(sqlite_registry_check(f->r));
}

/* ---- CANCEL ---- */

static void a_batch_is_cancelled_in_pieces(void **state)
{
    struct fixture *f = *state;
    const struct registry_spec late = {.batch = 1, .place = 7};
    struct registry_op start = {.kind = REGISTRY_START, .start = {.task = 5, .token = 1}};
    struct registry_op op = {.kind = REGISTRY_CANCEL, .cancel = {.batch = 1, .max = 4}};
    struct registry_op more = {.kind = REGISTRY_SUBMIT, .submit = {.specs = &late, .count = 1}};

    /* All have the same place, which is no harm. */
    submit(f, 1, 10);
    apply(f, &start, NOW);
    apply(f, &op, NOW);
    assert_true(op.cancel.ret_more);
    assert_int_equal(op.cancel.ret_count, 4);
    assert_int_equal(count(f, "SELECT count(*) FROM task WHERE state = 6 AND id <= 4"), 4);
    /* Once more, as it was: nothing is left of that piece. */
    apply(f, &op, NOW);
    assert_int_equal(op.cancel.ret_count, 0);
    op.cancel.ret_count = 4;
    assert_true(registry_go_on(&op));
    /* What fails leaves what was counted before. */
    sqlite_registry_fail_next(f->r, 1);
    assert_int_equal(f->r->ops->apply(f->r, &op, &f->err), WEIR_E_IO);
    assert_int_equal(op.cancel.ret_count, 4);
    assert_false(op.cancel.ret_more || registry_go_on(&op));
    apply(f, &op, NOW);
    assert_true(op.cancel.ret_more);
    assert_true(op.cancel.ret_count == 7 && op.cancel.ret_running == 1);
    /* One that comes meanwhile, at the end, too. */
    apply(f, &more, NOW);
    assert_true(registry_go_on(&op));
    apply(f, &op, NOW);
    assert_false(op.cancel.ret_more || registry_go_on(&op));
    assert_true(op.cancel.ret_count == 10 && op.cancel.ret_running == 1);
    assert_int_equal(count(f, "SELECT count(*) FROM task WHERE state = 6"), 10);
    assert_null(sqlite_registry_check(f->r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_has_ended_and_is_not_old_is_looked_at_in_bites, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_has_just_come_is_not_looked_at, setup, teardown),
        cmocka_unit_test_setup_teardown(
            what_is_behind_events_of_a_time_to_come_is_looked_for_in_bites, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_is_cancelled_in_pieces, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
