/*
 * Want of memory inside SQLite: each of its allocations fails once, alone and with all that come
 * behind it, while chains with every kind of op are applied. A chain that fails has changed
 * nothing, neither in the file nor in memory, and the same chain can be applied right after. And a
 * reader gives all of a task or none of it.
 */
#include "base/mem.h"
#include "store/registry/sqlite_inside.h"
#include "support/testkit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW INT64_C(1000000000000)

/* ---- SQLite's memory ---- */

#define HEAD 16 /* before each block: its size */

static long until_fail; /* 0: none fails */
static bool fail_on;    /* all behind it, too */
static bool has_failed;

static bool fails(void)
{
    if (until_fail == 0)
        return false;
    if (until_fail > 1) {
        until_fail--;
        return false;
    }
    has_failed = true;
    if (!fail_on)
        until_fail = 0;
    return true;
}

static void *block(void *at, int bytes)
{
    char *head = fails() ? NULL : realloc(at ? (char *)at - HEAD : NULL, (size_t)bytes + HEAD);

    if (!head)
        return NULL;
    memcpy(head, &bytes, sizeof(bytes));
    return head + HEAD;
}

static void *block_new(int bytes)
{
    return block(NULL, bytes);
}

static void block_free(void *at)
{
    free(at ? (char *)at - HEAD : NULL);
}

static int block_size(void *at)
{
    int bytes = 0;

    if (at)
        memcpy(&bytes, (char *)at - HEAD, sizeof(bytes));
    return bytes;
}

static int round_up(int bytes)
{
    return (bytes + 7) & ~7;
}

static int memory_begin(void *ctx)
{
    (void)ctx;
    return SQLITE_OK;
}

static void memory_end(void *ctx)
{
    (void)ctx;
}

/* The n-th from now, or none any more. */
static void fail_at(long n, bool and_on)
{
    until_fail = n;
    fail_on = and_on;
    has_failed = false;
}

static void fail_none(void)
{
    until_fail = 0;
}

/* ---- a registry with something in it ---- */

static char *dir, *path, *path_full;
static struct core_registry *registry;
static struct weir_error err;
static char big[3000];

static void open_at(const char *name)
{
    const struct sqlite_registry_options o = {.sync = SQLITE_REGISTRY_OFF};

    if (sqlite_registry_open(name, &o, &registry, &err) != WEIR_OK)
        fail_msg("open: %s", err.message);
}

static void close_it(void)
{
    if (registry)
        registry->ops->close(registry);
    registry = NULL;
}

static void free_chain(struct registry_task **t)
{
    while (*t) {
        struct registry_task *next = (*t)->next;

        mem_free(*t);
        *t = next;
    }
}

/* Frees what a chain has handed over. */
static void used(struct registry_op *op)
{
    for (; op; op = op->next) {
        free_chain(&op->ret_ready);
        op->ret_lines = mem_free(op->ret_lines);
        op->ret_line_count = 0;
        if (op->kind == REGISTRY_TAKE)
            free_chain(&op->take.ret_tasks);
        if (op->kind == REGISTRY_PURGE)
            op->purge.ret_lines_gone = mem_free(op->purge.ret_lines_gone);
    }
}

static void must(struct registry_op op)
{
    op.at_ns = NOW;
    if (registry->ops->apply(registry, &op, &err) != WEIR_OK || op.err.status != WEIR_OK)
        fail_msg("op %d: %s%s", (int)op.kind, err.message, op.err.message);
    used(&op);
}

static void must_submit(const struct registry_spec *specs, size_t count)
{
    must((struct registry_op){.kind = REGISTRY_SUBMIT, .submit = {.specs = specs, .count = count}});
}

/* 1 runs, 2 is large, 3 cancelled, 4 scheduled, 5 has a deadline, 6 in batch 1, 7 waits for 1, 8 for 3. */
static void fill(void)
{
    const struct registry_after after_1 = {.id = 1}, after_3 = {.id = 3};
    const struct registry_spec first[] = {{.payload = SLICE("a"), .key = SLICE("ka")},
                                          {.payload = {big, sizeof(big)}},
                                          {.payload = SLICE("c")},
                                          {.payload = SLICE("d"), .not_before_ns = NOW + 10},
                                          {.payload = SLICE("e"), .deadline_ns = NOW + 10},
                                          {.payload = SLICE("f"), .batch = 1}};
    const struct registry_spec behind[] = {
        {.key = SLICE("kg"), .after = &after_1, .after_count = 1},
        {.after = &after_3, .after_count = 1}};

    must((struct registry_op){.kind = REGISTRY_BATCH_OPEN, .batch_open = {.name = SLICE("b")}});
    must_submit(first, 6);
    must_submit(behind, 2);
    must((struct registry_op){.kind = REGISTRY_START,
                              .start = {.task = 1, .token = 9, .attempt = 1, .pool = SLICE("p")}});
    must((struct registry_op){.kind = REGISTRY_CANCEL, .cancel = {.task = 3}});
}

static int setup(void **state)
{
    (void)state;
    memset(big, 'x', sizeof(big));
    dir = testkit_dir_make();
    path = testkit_path(dir, "tasks.db");
    path_full = testkit_path(dir, "full.db");
    open_at(path_full);
    fill();
    close_it();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fail_none();
    close_it();
    testkit_free(path);
    testkit_free(path_full);
    testkit_dir_remove(dir);
    return 0;
}

/* Opens a new copy of the full one, with nothing read yet. */
static void open_copy(void)
{
    size_t len;
    char *bytes = testkit_file_read(path_full, &len);

    close_it();
    testkit_file_write(path, bytes, len);
    testkit_free(bytes);
    open_at(path);
}

/* ---- all that is in the file ---- */

static uint64_t hash_rows(sqlite3 *db, const char *table, uint64_t h)
{
    sqlite3_stmt *stmt = NULL;
    char sql[64];

    snprintf(sql, sizeof(sql), "SELECT * FROM %s", table);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    while (sqlite3_step(stmt) == SQLITE_ROW)
        for (int i = 0; i < sqlite3_column_count(stmt); i++)
            h = intern_hash(registry_column(stmt, i)) ^ (h * 31 + (uint64_t)i);
    assert_int_equal(sqlite3_finalize(stmt), SQLITE_OK);
    return h;
}

/* As another connection sees it. */
static uint64_t hash_file(void)
{
    static const char *const tables[] = {"mark",   "name", "line",   "task",  "payload",
                                         "result", "dep",  "runner", "batch", "tally",
                                         "event",  "gone", "fact",   "sample"};
    sqlite3 *db;
    uint64_t h = 0;

    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
        h = hash_rows(db, tables[i], h);
    sqlite3_close(db);
    return h;
}

/* ---- chains ---- */

static const int32_t priority = 5;
static const int64_t later = NOW + 90;
static const struct registry_after on_7 = {.id = 7};

/* What stands between two SUBMITs. */
static const struct registry_op middles[] = {
    {.kind = REGISTRY_SAMPLE,
     .sample = {.at_ns = NOW, .resolution_s = 10, .pool = SLICE("p"), .running = 1}},
    /* A circle, which is refused. */
    {.kind = REGISTRY_EDIT, .edit = {.task = 5, .after = &on_7, .after_count = 1}},
    {.kind = REGISTRY_EDIT, .edit = {.task = 2, .priority = &priority, .not_before_ns = &later}},
    {.kind = REGISTRY_START, .start = {.task = 2, .token = 10, .attempt = 1, .pool = SLICE("z")}},
    {.kind = REGISTRY_END,
     .end = {.task = 1,
             .token = 9,
             .attempt = 1,
             .next = REGISTRY_DONE,
             .outcome = WEIR_OUTCOME_OK,
             .pool = SLICE("p"),
             .output = SLICE("out")}},
    {.kind = REGISTRY_END,
     .end = {.task = 1,
             .token = 9,
             .attempt = 1,
             .next = REGISTRY_FAILED,
             .outcome = WEIR_OUTCOME_FAILED,
             .pool = SLICE("p"),
             .message = SLICE("no")}},
    {.kind = REGISTRY_CANCEL, .cancel = {.batch = 1}},
    {.kind = REGISTRY_CANCEL, .cancel = {.task = 1}},
    {.kind = REGISTRY_RETRY, .retry = {.task = 3}},
    {.kind = REGISTRY_RESOLVE, .resolve = {.task = 8, .how = REGISTRY_RESOLVE_RUN}},
    {.kind = REGISTRY_DELETE, .remove = {.task = 3}},
    {.kind = REGISTRY_TAKE,
     .take = {.line = 1, .after_rank = INT64_MIN, .max = 100, .max_bytes = 1000000}},
    {.kind = REGISTRY_WAKE, .wake = {.max = 100}},
    {.kind = REGISTRY_CHECK},
    {.kind = REGISTRY_PURGE,
     .purge =
         {.tasks_before_ns = NOW + 50, .failed_before_ns = NOW + 50, .events_max = 5, .max = 100}},
    {.kind = REGISTRY_TELL,
     .tell = {.kind = REGISTRY_RUNNER_HEARTBEAT, .task = 1, .pool = SLICE("n")}},
    {.kind = REGISTRY_BATCH_OPEN, .batch_open = {.name = SLICE("other")}},
    {.kind = REGISTRY_BATCH_END, .batch_end = {.batch = 1}},
    {.kind = REGISTRY_SET, .set = {.name = SLICE("fact"), .value = SLICE("value")}},
};

#define MIDDLES (sizeof(middles) / sizeof(middles[0]))

static const struct registry_spec before = {.payload = SLICE("a"), .idempotency_key = SLICE("k1")};
static const struct registry_spec behind = {
    .payload = SLICE("b"), .idempotency_key = SLICE("k2"), .line = {.pool = SLICE("new")}};

struct chain {
    struct registry_op ops[3];
};

static void chain_make(struct chain *c, const struct registry_op *middle)
{
    c->ops[0] = (struct registry_op){.kind = REGISTRY_SUBMIT, .submit = {&before, 1, NULL, NULL}};
    c->ops[1] = *middle;
    c->ops[2] = (struct registry_op){.kind = REGISTRY_SUBMIT, .submit = {&behind, 1, NULL, NULL}};
    for (int i = 0; i < 3; i++) {
        c->ops[i].at_ns = NOW + 50;
        c->ops[i].next = i < 2 ? &c->ops[i + 1] : NULL;
    }
}

static enum weir_status chain_apply(struct chain *c)
{
    return registry->ops->apply(registry, c->ops, &err);
}

static void expect_file(uint64_t want, const struct registry_op *middle, long n, const char *when)
{
    const char *wrong = sqlite_registry_check(registry);

    if (wrong || hash_file() != want)
        fail_msg("op %d, allocation %ld, %s: %s (%s)", (int)middle->kind, n, when,
                 wrong ? wrong : "the file is another one", err.message);
}

/* Once, as it is without want of memory. */
static void apply_untroubled(const struct registry_op *middle, uint64_t *ret_without,
                             uint64_t *ret_with)
{
    struct chain c;

    open_copy();
    *ret_without = hash_file();
    chain_make(&c, middle);
    assert_int_equal(chain_apply(&c), WEIR_OK);
    used(c.ops);
    *ret_with = hash_file();
    assert_true(*ret_with != *ret_without);
    close_it();
}

/* All statements are there, and no page is. */
static void prepare_all(void)
{
    struct sqlite_registry *r = registry_self(registry);

    for (int i = 0; i < RS_COUNT; i++)
        assert_non_null(registry_statement(r, (enum registry_statement)i));
    sqlite3_db_release_memory(r->db);
}

/* With all statements prepared: each allocation; an attempt that has failed is repeated with the next. */
static void fail_each(const struct registry_op *middle, bool and_on)
{
    uint64_t without, with;
    struct chain c;
    long n = 0;

    apply_untroubled(middle, &without, &with);
    do {
        if (!registry)
            open_copy();
        prepare_all();
        chain_make(&c, middle);
        fail_at(++n, and_on);
        if (chain_apply(&c) != WEIR_OK) {
            fail_none();
            expect_file(without, middle, n, "taken back");
            continue;
        }
        fail_none();
        expect_file(with, middle, n, "in the end");
        used(c.ops);
        close_it();
    } while (has_failed);
    assert_true(n > 10);
}

static void no_chain_is_half_written_when_one_allocation_fails(void **state)
{
    (void)state;
    for (size_t i = 0; i < MIDDLES; i++)
        fail_each(&middles[i], false);
}

static void no_chain_is_half_written_when_all_allocations_fail(void **state)
{
    (void)state;
    for (size_t i = 0; i < MIDDLES; i++)
        fail_each(&middles[i], true);
}

/* Most allocations are in preparing statements: some of each chain's are enough. */
#define STEP 41

static void no_chain_is_half_written_when_a_statement_cannot_be_prepared(void **state)
{
    (void)state;
    for (size_t i = 0; i < MIDDLES; i++) {
        uint64_t without, with;
        struct chain c;
        long n = 1 + (long)i;

        apply_untroubled(&middles[i], &without, &with);
        do {
            open_copy();
            chain_make(&c, &middles[i]);
            fail_at(n, true);
            if (chain_apply(&c) != WEIR_OK) {
                fail_none();
                expect_file(without, &middles[i], n, "taken back");
                assert_int_equal(chain_apply(&c), WEIR_OK);
            }
            fail_none();
            expect_file(with, &middles[i], n, "in the end");
            used(c.ops);
            close_it();
            n += STEP;
        } while (has_failed);
    }
}

/* Whatever made SQLite roll back, and whoever did not notice. */
static void nothing_is_written_behind_a_rollback_of_sqlites_own(void **state)
{
    struct sqlite_registry *r;
    uint64_t without;

    (void)state;
    open_copy();
    r = registry_self(registry);
    without = hash_file();
    assert_int_equal(registry_begin(r, &err), WEIR_OK);
    assert_int_equal(sqlite3_exec(r->db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(registry_do(r, RS_TASK_DROP, 1, (int64_t[]){3}, "deleting", &err), WEIR_E_IO);
    assert_non_null(strstr(err.message, "deleting failed: SQLite took all of it back"));
    assert_int_equal(registry_end(r, WEIR_OK, &err), WEIR_E_IO);
    assert_null(sqlite_registry_check(registry));
    assert_true(hash_file() == without);
    must((struct registry_op){.kind = REGISTRY_DELETE, .remove = {.task = 3}});
    assert_true(hash_file() != without);
    close_it();
}

/* ---- reading ---- */

/* Of task 2, which has a large payload and an output. */
static void expect_whole(const struct registry_view *v)
{
    if (v->id != 2)
        return;
    assert_true(slice_equal(v->payload, (struct slice){big, sizeof(big)}));
    assert_true(v->has_result && slice_equal(v->output, (struct slice){big, sizeof(big)}));
    assert_true(slice_equal(v->errput, SLICE("e")));
}

static bool see(void *ctx, const struct registry_view *v)
{
    *(uint64_t *)ctx = v->id;
    expect_whole(v);
    return true;
}

static void end_large(void)
{
    must((struct registry_op){.kind = REGISTRY_START, .start = {.task = 2, .token = 7}});
    must((struct registry_op){.kind = REGISTRY_END,
                              .end = {.task = 2,
                                      .token = 7,
                                      .next = REGISTRY_DONE,
                                      .output = {big, sizeof(big)},
                                      .errput = SLICE("e")}});
}

static enum weir_status read_task(struct registry_reader *reader)
{
    struct registry_view v;
    enum weir_status status = reader->ops->task(reader, 2, true, &v, &err);

    if (status == WEIR_OK)
        expect_whole(&v);
    return status;
}

static enum weir_status read_list(struct registry_reader *reader)
{
    const struct registry_filter f = {.with_payload = true, .with_result = true};
    uint64_t last = 0;
    enum weir_status status = reader->ops->tasks(reader, &f, 0, 100, see, &last, &err);

    if (status == WEIR_OK)
        assert_int_equal(last, 8);
    return status;
}

static void a_task_is_read_as_a_whole_or_not_at_all(void **state)
{
    enum weir_status (*const reads[])(struct registry_reader *) = {read_task, read_list};

    (void)state;
    open_copy();
    end_large();
    for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
        for (long n = 1; n == 1 || has_failed; n++) {
            struct registry_reader *reader;
            enum weir_status status;

            assert_int_equal(registry->ops->reader(registry, &reader, &err), WEIR_OK);
            fail_at(n, false);
            status = reads[i](reader);
            fail_none();
            assert_true(status == WEIR_OK || (has_failed && status == WEIR_E_NOMEM));
            assert_int_equal(reads[i](reader), WEIR_OK);
            reader->ops->close(reader);
        }
    }
    close_it();
}

static void what_is_missing_of_a_task_is_told(void **state)
{
    static const char *const tables[] = {"payload", "result"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct registry_reader *reader;
        char sql[64], say[32];

        open_copy();
        end_large();
        snprintf(sql, sizeof(sql), "DELETE FROM %s WHERE id = 2", tables[i]);
        snprintf(say, sizeof(say), "(a %s is missing)", tables[i]);
        assert_int_equal(sqlite3_exec(registry_self(registry)->db, sql, NULL, NULL, NULL),
                         SQLITE_OK);
        assert_int_equal(registry->ops->reader(registry, &reader, &err), WEIR_OK);
        assert_int_equal(read_task(reader), WEIR_E_FORMAT);
        assert_non_null(strstr(err.message, say));
        assert_int_equal(read_list(reader), WEIR_E_FORMAT);
        reader->ops->close(reader);
        close_it();
    }
}

int main(void)
{
    static const sqlite3_mem_methods methods = {
        .xMalloc = block_new,
        .xFree = block_free,
        .xRealloc = block,
        .xSize = block_size,
        .xRoundup = round_up,
        .xInit = memory_begin,
        .xShutdown = memory_end,
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_chain_is_half_written_when_one_allocation_fails),
        cmocka_unit_test(no_chain_is_half_written_when_all_allocations_fail),
        cmocka_unit_test(no_chain_is_half_written_when_a_statement_cannot_be_prepared),
        cmocka_unit_test(nothing_is_written_behind_a_rollback_of_sqlites_own),
        cmocka_unit_test(a_task_is_read_as_a_whole_or_not_at_all),
        cmocka_unit_test(what_is_missing_of_a_task_is_told),
    };

    /* Without lookaside: else most of them would be none. */
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK ||
        sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) != SQLITE_OK)
        return 1;
    return cmocka_run_group_tests(tests, setup, teardown);
}
