/*
 * With many tasks: no statement of the writer reads all of them, a page of a list costs the same
 * wherever it is, and a start does not count them.
 */
#include "base/mem.h"
#include "store/registry/sqlite_read.h"
#include "support/testkit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TASKS 100000
#define GROUP 1000
#define PAGE  100
#define NOW   INT64_C(1000000000000)
/* Steps of SQLite's machine that a page may take; all tasks take more than a million. */
#define PAGE_STEPS_MAX 30000

static char *dir, *path;
static struct core_registry *registry;
static struct registry_reader *reader;
static struct weir_error err;

static void apply(struct registry_op *op)
{
    op->at_ns = NOW;
    if (registry->ops->apply(registry, op, &err) != WEIR_OK || op->err.status != WEIR_OK)
        fail_msg("apply: %s %s", err.message, op->err.message);
    while (op->ret_ready) {
        struct registry_task *next = op->ret_ready->next;

        mem_free(op->ret_ready);
        op->ret_ready = next;
    }
    op->ret_lines = mem_free(op->ret_lines);
}

/* Two tenants by turns, a batch, keys, and some of each state at the end. */
static void fill(void)
{
    static struct registry_spec specs[GROUP];
    static char keys[GROUP][16];
    struct registry_op op = {.kind = REGISTRY_BATCH_OPEN, .batch_open = {.name = SLICE("b")}};

    apply(&op);
    for (uint64_t n = 0; n < TASKS; n += GROUP) {
        for (uint64_t i = 0; i < GROUP; i++) {
            snprintf(keys[i], sizeof(keys[i]), "k%d", (int)(n + i));
            specs[i] =
                (struct registry_spec){.line = {.tenant = i % 2 ? SLICE("odd") : SLICE("even")},
                                       .key = slice_of(keys[i]),
                                       .batch = n >= TASKS / 2 ? 1 : 0,
                                       .place = n + i,
                                       .not_before_ns = i % 10 == 9 ? NOW * 2 : 0};
        }
        op = (struct registry_op){.kind = REGISTRY_SUBMIT,
                                  .submit = {.specs = specs, .count = GROUP}};
        apply(&op);
    }
    for (uint64_t id = 1; id <= TASKS; id += 50) {
        op = (struct registry_op){.kind = REGISTRY_CANCEL, .cancel = {.task = id}};
        apply(&op);
    }
}

static int setup(void **state)
{
    const struct sqlite_registry_options o = {.sync = SQLITE_REGISTRY_OFF};

    (void)state;
    dir = testkit_dir_make();
    path = testkit_path(dir, "tasks.db");
    assert_int_equal(sqlite_registry_open(path, &o, &registry, &err), WEIR_OK);
    fill();
    assert_int_equal(registry->ops->reader(registry, &reader, &err), WEIR_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    reader->ops->close(reader);
    registry->ops->close(registry);
    testkit_free(path);
    testkit_dir_remove(dir);
    return 0;
}

/* "SCAN task" without an index; with one it is a partial one, whose every row is looked for. */
static bool reads_all_tasks(const char *detail)
{
    return strncmp(detail, "SCAN task", 9) == 0 && !strstr(detail, "USING");
}

static void no_statement_reads_all_tasks(void **state)
{
    sqlite3 *db = registry_self(registry)->db;

    (void)state;
    for (int i = 0; i < RS_COUNT; i++) {
        char sql[2048];
        sqlite3_stmt *stmt;

        assert_non_null(registry_sql[i]);
        snprintf(sql, sizeof(sql), "EXPLAIN QUERY PLAN %s", registry_sql[i]);
        if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
            fail_msg("%s: %s", sql, sqlite3_errmsg(db));
        while (sqlite3_step(stmt) == SQLITE_ROW) {
            const char *detail = (const char *)sqlite3_column_text(stmt, 3);

            /* All of a batch is wanted, by id; it is sorted, and its own. */
            if (reads_all_tasks(detail) || (i != RS_BATCH_TASKS && strstr(detail, "TEMP B-TREE")))
                fail_msg("%s: %s", registry_sql[i], detail);
        }
        sqlite3_finalize(stmt);
    }
}

struct page {
    uint64_t count, first, last, steps;
};

static bool see(void *ctx, const struct registry_view *v)
{
    struct page *p = ctx;

    p->count++;
    p->first = p->first ? p->first : v->id;
    p->last = v->id;
    return true;
}

static int count_steps(void *ctx)
{
    ((struct page *)ctx)->steps += 100;
    return 0;
}

static struct page read_page(const struct registry_filter *f, uint64_t after)
{
    struct page p = {0};

    sqlite3_progress_handler(reader_self(reader)->db, 100, count_steps, &p);
    if (reader->ops->tasks(reader, f, after, PAGE, see, &p, &err) != WEIR_OK)
        fail_msg("tasks: %s", err.message);
    sqlite3_progress_handler(reader_self(reader)->db, 0, NULL, NULL);
    return p;
}

/* At the beginning, in the middle, at the end, and past it. */
static void check_pages(const struct registry_filter *f)
{
    static const uint64_t from[] = {0, TASKS / 2 + 10, TASKS - 2 * PAGE, TASKS - 5};

    for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++) {
        struct page p = read_page(f, from[i]);

        if (p.steps > PAGE_STEPS_MAX)
            fail_msg("a page of states %x from %d took %d steps", f->states, (int)from[i],
                     (int)p.steps);
        if (from[i] <= TASKS / 2 + 10 && !f->key.len && !(f->batch && f->newest_first))
            assert_int_equal(p.count, PAGE);
        assert_true(p.count == 0 ||
                    (f->newest_first ? p.first > p.last || p.count == 1 : p.first > from[i]));
    }
}

static void a_page_costs_the_same_wherever_it_is(void **state)
{
    (void)state;
    check_pages(&(struct registry_filter){0});
    check_pages(&(struct registry_filter){.newest_first = true});
    check_pages(&(struct registry_filter){.states = 1u << REGISTRY_CANCELLED});
    check_pages(&(struct registry_filter){.states = 1u << REGISTRY_SCHEDULED});
    check_pages(&(struct registry_filter){
        .states = 1u << REGISTRY_CANCELLED | 1u << REGISTRY_SCHEDULED | 1u << REGISTRY_READY});
    check_pages(&(struct registry_filter){.states = 1u << REGISTRY_READY, .newest_first = true});
    check_pages(&(struct registry_filter){.tenant = SLICE("odd")});
    check_pages(&(struct registry_filter){.batch = 1});
    check_pages(&(struct registry_filter){.batch = 1, .newest_first = true});
    check_pages(&(struct registry_filter){.key = SLICE("k99999")});
}

static void what_nobody_has_is_found_missing_at_once(void **state)
{
    const struct registry_filter none[] = {{.tenant = SLICE("nobody")},
                                           {.key = SLICE("none")},
                                           {.stuck = true},
                                           {.batch = 7},
                                           {.states = 1u << REGISTRY_FAILED},
                                           {.states = 1u << REGISTRY_RUNNING}};

    (void)state;
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        struct page p = read_page(&none[i], 0);

        assert_int_equal(p.count, 0);
        assert_true(p.steps <= 1000);
    }
}

static void a_start_does_not_count_tasks(void **state)
{
    const struct sqlite_registry_options o = {.sync = SQLITE_REGISTRY_OFF};
    struct registry_op take = {
        .kind = REGISTRY_TAKE,
        .take = {.line = 1, .max = 10, .after_rank = INT64_MIN, .max_bytes = 1000000}};
    sqlite3_int64 pages_read;
    int now, high;

    (void)state;
    reader->ops->close(reader);
    registry->ops->close(registry);
    assert_int_equal(sqlite_registry_open(path, &o, &registry, &err), WEIR_OK);
    assert_int_equal(
        sqlite3_db_status(registry_self(registry)->db, SQLITE_DBSTATUS_CACHE_MISS, &now, &high, 0),
        SQLITE_OK);
    pages_read = now;
    /* Of some thousand pages that the tasks fill. */
    assert_true(pages_read < 200);
    assert_int_equal(registry->ops->reader(registry, &reader, &err), WEIR_OK);
    apply(&take);
    assert_true(take.take.ret_more);
    while (take.take.ret_tasks) {
        struct registry_task *next = take.take.ret_tasks->next;

        mem_free(take.take.ret_tasks);
        take.take.ret_tasks = next;
    }
    assert_null(sqlite_registry_check(registry));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_statement_reads_all_tasks),
        cmocka_unit_test(a_page_costs_the_same_wherever_it_is),
        cmocka_unit_test(what_nobody_has_is_found_missing_at_once),
        cmocka_unit_test(a_start_does_not_count_tasks),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
