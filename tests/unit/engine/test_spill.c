/*
 * The spill file: what is written to it, and that a start takes it in once, wherever the one before
 * was killed. The registry is the one in memory, behind a gate that fails when it is told to.
 */
#include "engine/spill.h"

#include "base/error.h"
#include "base/mem.h"
#include "store/registry/memory_registry.h"
#include "support/testkit.h"
#include "unit/engine/engine_test.h"

#include <signal.h>
#include <sys/resource.h>

struct gate {
    struct core_registry base; /* first */
    struct core_registry *inner;
    unsigned applied, fails_at; /* calls; that one fails, from 1; 0: none */
    size_t most;                /* ops in one call */
    char *dir, *path;
};

static enum weir_status gate_apply(struct core_registry *r, struct registry_op *chain,
                                   struct weir_error *e)
{
    struct gate *g = (struct gate *)r;
    size_t n = 0;

    for (const struct registry_op *op = chain; op; op = op->next)
        n++;
    g->most = n > g->most ? n : g->most;
    if (++g->applied == g->fails_at)
        return error_set(e, WEIR_E_IO, "the dispatcher is killed");
    return g->inner->ops->apply(g->inner, chain, e);
}

static enum weir_status gate_reader(struct core_registry *r, struct registry_reader **ret,
                                    struct weir_error *e)
{
    struct gate *g = (struct gate *)r;

    return g->inner->ops->reader(g->inner, ret, e);
}

static const struct core_registry_ops gate_ops = {
    .name = "gate", .apply = gate_apply, .reader = gate_reader};

static void begin(struct gate *g)
{
    *g = (struct gate){.base.ops = &gate_ops, .dir = testkit_dir_make()};
    g->path = testkit_path(g->dir, "spill");
    ok(memory_registry_new(&g->inner, &err));
}

static void end(struct gate *g)
{
    g->inner->ops->close(g->inner);
    testkit_free(g->path);
    testkit_dir_remove(g->dir);
}

static struct registry_op op_of(uint64_t task)
{
    return (struct registry_op){
        .kind = REGISTRY_TELL,
        .at_ns = (int64_t)task,
        .tell = {.kind = REGISTRY_POOL_CHANGED,
                 .task = task,
                 .pool = task % 2 == 0 ? SLICE("a \"pool\"") : SLICE("other"),
                 .detail = task % 3 == 0 ? SLICE("{\"n\":\"a\\nb\"}") : SLICE("")}};
}

/* Events of the tasks from..to. */
static void spill(struct gate *g, uint64_t from, uint64_t to)
{
    struct spill *s;
    struct weir_error why = {0};

    ok(spill_new(g->path, &s, &err));
    for (uint64_t i = from; i <= to; i++) {
        struct registry_op op = op_of(i);

        assert_true(spill_write(s, &op, &why));
    }
    assert_true(spill_sync(s, &why));
    assert_int_equal(spill_events(s), to - from + 1);
    spill_free(s);
}

static bool is_next(void *ctx, const struct registry_event *e)
{
    uint64_t *last = ctx;
    struct registry_op want = op_of(*last + 1);

    assert_int_equal(e->task, *last + 1);
    assert_int_equal(e->at_ns, want.at_ns);
    assert_int_equal(e->kind, want.tell.kind);
    assert_true(slice_equal(e->pool, want.tell.pool));
    assert_true(slice_equal(e->detail, want.tell.detail));
    ++*last;
    return true;
}

/* The registry has those of the tasks 1..count, in this order, and nothing else. */
static void expect_told(struct gate *g, uint64_t count)
{
    const struct registry_event_filter all = {0};
    struct registry_reader *r;
    uint64_t last = 0;

    ok(g->inner->ops->reader(g->inner, &r, &err));
    ok(r->ops->events(r, &all, 0, 100000, is_next, &last, &err));
    r->ops->close(r);
    assert_int_equal(last, count);
}

static size_t size_of(const struct gate *g)
{
    size_t len;

    testkit_free(testkit_file_read(g->path, &len));
    return len;
}

/* ---- writing ---- */

static bool count_event(void *ctx, const struct registry_event *e)
{
    *(uint64_t *)ctx = *(uint64_t *)ctx * 10 + e->task;
    return true;
}

static void what_is_not_taken_in_is_not_written_over(void **state)
{
    struct gate g;
    struct spill *s;
    struct weir_error why = {0};

    (void)state;
    begin(&g);
    spill(&g, 1, 1);
    assert_int_equal(spill_new(g.path, &s, &why), WEIR_E_CONFLICT);
    assert_non_null(strstr(why.message, "is not empty"));
    end(&g);
}

static void a_full_disk_leaves_no_half_line(void **state)
{
    struct gate g;
    struct registry_op op = op_of(2);
    struct rlimit before, small;
    struct spill *s;
    struct weir_error why = {0};
    uint64_t tasks = 0;
    size_t len;

    (void)state;
    begin(&g);
    ok(spill_new(g.path, &s, &err));
    assert_true(spill_write(s, &op, &why));
    len = size_of(&g);
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = len + 10;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_false(spill_write(s, &op, &why));
    assert_false(spill_write(s, &op, &why));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(size_of(&g), len);
    assert_true(spill_write(s, &op, &why));
    ok(spill_read(g.path, count_event, &tasks, &err));
    assert_int_equal(tasks, 22);
    spill_clear(s);
    assert_true(spill_is_empty(s));
    assert_int_equal(size_of(&g), 0);
    spill_free(s);
    end(&g);
}

static void each_time_that_it_begins_anew_it_has_another_name(void **state)
{
    struct gate g;
    struct registry_op op = op_of(1);
    struct spill *s;
    char first[SPILL_ID_BYTES];
    struct weir_error why = {0};

    (void)state;
    begin(&g);
    ok(spill_new(g.path, &s, &err));
    assert_true(spill_write(s, &op, &why) && spill_sync(s, &why));
    memcpy(first, spill_id(s), sizeof first);
    assert_int_equal(spill_events(s), 1);
    spill_clear(s);
    assert_int_equal(spill_events(s), 0);
    assert_true(spill_write(s, &op, &why) && spill_sync(s, &why));
    assert_string_not_equal(first, spill_id(s));
    spill_free(s);
    end(&g);
}

/* ---- reading ---- */

static void a_broken_line_is_named(void **state)
{
    static const char *const bad[] = {"{\"kind\":\"nonsense\"}\n", "{\"kind\":\n", "\n", "[1]\n"};
    struct gate g;
    struct weir_error why = {0};

    (void)state;
    begin(&g);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[200];
        uint64_t tasks = 0;
        int n = snprintf(text, sizeof text,
                         "{\"spill\":\"a\"}\n"
                         "{\"at_ns\":1,\"kind\":\"task.ready\",\"task\":3}\n%s",
                         bad[i]);

        testkit_file_write(g.path, text, (size_t)n);
        assert_int_equal(spill_read(g.path, count_event, &tasks, &why), WEIR_E_FORMAT);
        assert_non_null(strstr(why.message, "line 3"));
        assert_non_null(strstr(why.message, g.path));
        assert_int_equal(tasks, 3);
        assert_int_equal(spill_import(g.path, &g.base, &tasks, &why), WEIR_E_FORMAT);
    }
    testkit_file_write(g.path, bad[0], strlen(bad[0]));
    assert_int_equal(spill_import(g.path, &g.base, &(uint64_t){0}, &why), WEIR_E_FORMAT);
    assert_non_null(strstr(why.message, "line 1"));
    end(&g);
}

static void a_torn_last_line_is_left_out(void **state)
{
    struct gate g;
    char *text;
    size_t len;
    uint64_t count;

    (void)state;
    begin(&g);
    spill(&g, 1, 3);
    text = testkit_file_read(g.path, &len);
    testkit_file_write(g.path, text, len - 1);
    testkit_free(text);
    ok(spill_import(g.path, &g.base, &count, &err));
    assert_int_equal(count, 2);
    expect_told(&g, 2);
    assert_int_equal(size_of(&g), 0);
    /* A torn head is nothing at all. */
    testkit_file_write(g.path, "{\"spi", 5);
    ok(spill_import(g.path, &g.base, &count, &err));
    assert_int_equal(count, 0);
    assert_int_equal(size_of(&g), 0);
    end(&g);
}

static void what_is_no_file_is_refused_and_what_is_not_there_is_empty(void **state)
{
    struct gate g;
    struct weir_error why = {0};
    uint64_t count;

    (void)state;
    begin(&g);
    ok(spill_import(g.path, &g.base, &count, &err));
    assert_int_equal(count, 0);
    assert_int_equal(spill_import("/dev/zero", &g.base, &count, &why), WEIR_E_INVALID);
    assert_int_equal(spill_import(g.dir, &g.base, &count, &why), WEIR_E_INVALID);
    assert_int_equal(g.applied, 0);
    end(&g);
}

/* ---- taking in ---- */

enum { MANY = 2 * SPILL_IMPORT_OPS + 500, TRANSACTIONS = 3 };

static void many_are_taken_in_together(void **state)
{
    struct gate g;
    uint64_t count;

    (void)state;
    begin(&g);
    spill(&g, 1, MANY);
    ok(spill_import(g.path, &g.base, &count, &err));
    assert_int_equal(count, MANY);
    assert_int_equal(g.applied, TRANSACTIONS);
    assert_int_equal(g.most, SPILL_IMPORT_OPS + 1); /* and the mark */
    assert_int_equal(size_of(&g), 0);
    expect_told(&g, MANY);
    /* Another file after it is not taken for the same. */
    spill(&g, MANY + 1, MANY + 7);
    ok(spill_import(g.path, &g.base, &count, &err));
    assert_int_equal(count, 7);
    expect_told(&g, MANY + 7);
    end(&g);
}

static void a_start_goes_on_where_the_one_before_was_killed(void **state)
{
    (void)state;
    for (unsigned at = 1; at <= TRANSACTIONS; at++) {
        struct gate g;
        struct weir_error why = {0};
        uint64_t before, count;

        begin(&g);
        spill(&g, 1, MANY);
        g.fails_at = at;
        assert_int_equal(spill_import(g.path, &g.base, &before, &why), WEIR_E_IO);
        assert_int_equal(before, (at - 1) * SPILL_IMPORT_OPS);
        expect_told(&g, before);
        assert_true(size_of(&g) > 0);
        ok(spill_import(g.path, &g.base, &count, &err));
        assert_int_equal(before + count, MANY);
        expect_told(&g, MANY);
        end(&g);
    }
}

static void what_was_killed_before_the_file_was_emptied_is_not_taken_in_again(void **state)
{
    struct gate g;
    char *text;
    size_t len;
    uint64_t count;

    (void)state;
    begin(&g);
    spill(&g, 1, 10);
    text = testkit_file_read(g.path, &len);
    ok(spill_import(g.path, &g.base, &count, &err));
    testkit_file_write(g.path, text, len);
    ok(spill_import(g.path, &g.base, &count, &err));
    assert_int_equal(count, 0);
    assert_int_equal(size_of(&g), 0);
    expect_told(&g, 10);
    testkit_free(text);
    end(&g);
}

static void without_memory_nothing_is_lost_nor_taken_in_twice(void **state)
{
    struct gate g;
    unsigned long n = 0;
    enum weir_status status;
    struct weir_error why = {0};
    uint64_t count;

    (void)state;
    begin(&g);
    spill(&g, 1, 20);
    do {
        mem_fail_at(++n);
        status = spill_import(g.path, &g.base, &count, &why);
        assert_true(status == WEIR_OK || status == WEIR_E_NOMEM);
    } while (status != WEIR_OK);
    mem_fail_at(0);
    assert_true(n > 3);
    expect_told(&g, 20);
    end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_taken_in_is_not_written_over),
        cmocka_unit_test(a_full_disk_leaves_no_half_line),
        cmocka_unit_test(each_time_that_it_begins_anew_it_has_another_name),
        cmocka_unit_test(a_broken_line_is_named),
        cmocka_unit_test(a_torn_last_line_is_left_out),
        cmocka_unit_test(what_is_no_file_is_refused_and_what_is_not_there_is_empty),
        cmocka_unit_test(many_are_taken_in_together),
        cmocka_unit_test(a_start_goes_on_where_the_one_before_was_killed),
        cmocka_unit_test(what_was_killed_before_the_file_was_emptied_is_not_taken_in_again),
        cmocka_unit_test(without_memory_nothing_is_lost_nor_taken_in_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
