/*
 * Lines of the registry in a file, beside what all registries promise: who reads is not robbed of
 * them, and what their rows may be.
 */
#include "base/mem.h"
#include "loop/loop.h"
#include "store/registry/sqlite_registry.h"
#include "support/testkit.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <sqlite3.h>

#define NOW INT64_C(1000000000000)
#define ALL UINT32_MAX

struct fixture {
    char *dir, *path;
    struct core_registry *r;
    struct registry_reader *reader;
    struct weir_error err;
    size_t seen;
};

static enum weir_status try_open(struct fixture *f)
{
    const struct sqlite_registry_options o = {.sync = SQLITE_REGISTRY_OFF};

    return sqlite_registry_open(f->path, &o, &f->r, &f->err);
}

static void open_it(struct fixture *f)
{
    if (try_open(f) != WEIR_OK || f->r->ops->reader(f->r, &f->reader, &f->err) != WEIR_OK)
        fail_msg("open: %s", f->err.message);
}

static void close_it(struct fixture *f)
{
    if (f->reader)
        f->reader->ops->close(f->reader);
    if (f->r)
        f->r->ops->close(f->r);
    f->reader = NULL;
    f->r = NULL;
}

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof(*f));

    f->dir = testkit_dir_make();
    f->path = testkit_path(f->dir, "tasks.db");
    open_it(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    close_it(f);
    testkit_free(f->path);
    testkit_dir_remove(f->dir);
    test_free(f);
    return 0;
}

static void apply(struct fixture *f, struct registry_op op)
{
    op.at_ns = NOW;
    if (f->r->ops->apply(f->r, &op, &f->err) != WEIR_OK || op.err.status != WEIR_OK)
        fail_msg("apply: %s %s", f->err.message, op.err.message);
    while (op.ret_ready) {
        struct registry_task *t = op.ret_ready;

        op.ret_ready = t->next;
        mem_free(t);
    }
    mem_free(op.ret_lines);
    if (op.kind == REGISTRY_PURGE)
        mem_free(op.purge.ret_lines_gone);
}

static void submit(struct fixture *f, struct registry_line line)
{
    const struct registry_spec spec = {.line = line};

    apply(f, (struct registry_op){.kind = REGISTRY_SUBMIT, .submit = {.specs = &spec, .count = 1}});
}

static void wipe(struct fixture *f, uint64_t task)
{
    apply(f, (struct registry_op){.kind = REGISTRY_CANCEL, .cancel = {.task = task}});
    apply(f, (struct registry_op){.kind = REGISTRY_DELETE, .remove = {task}});
}

static void purge(struct fixture *f)
{
    apply(f, (struct registry_op){.kind = REGISTRY_PURGE, .purge = {.max = ALL}});
}

static int64_t ask(struct fixture *f, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    sqlite3 *db = NULL;
    int64_t n;

    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    n = sqlite3_step(stmt) == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : -1;
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

/* ---- readers ---- */

static bool purge_meanwhile(void *ctx, const struct registry_view *v)
{
    struct fixture *f = ctx;

    if (f->seen++ > 0)
        return true;
    wipe(f, 1);
    purge(f);
    purge(f); /* by now the number would be free */
    submit(f, (struct registry_line){.session = SLICE("new")});
    assert_true(slice_equal(v->line.session, SLICE("first")));
    assert_non_null(f->r->ops->line(f->r, 1));
    return true;
}

static void a_line_stays_while_somebody_reads(void **state)
{
    struct fixture *f = *state;
    const struct registry_filter all = {0};

    submit(f, (struct registry_line){.session = SLICE("first")});
    submit(f, (struct registry_line){.session = SLICE("second")});
    assert_int_equal(f->reader->ops->tasks(f->reader, &all, 0, ALL, purge_meanwhile, f, &f->err),
                     WEIR_OK);
    assert_int_equal(f->seen, 2);
    assert_int_equal(ask(f, "SELECT max(id) FROM line"), 3);
    purge(f);
    assert_null(f->r->ops->line(f->r, 1));
    submit(f, (struct registry_line){.session = SLICE("newer")});
    assert_int_equal(ask(f, "SELECT id FROM line WHERE session = 'newer'"), 1);
}

static bool fail_meanwhile(void *ctx, const struct registry_view *v)
{
    struct fixture *f = ctx;
    const struct registry_spec spec = {.line = {.session = SLICE("never")}};
    struct registry_op op = {.kind = REGISTRY_SUBMIT, .submit = {.specs = &spec, .count = 1}};

    (void)v;
    f->seen++;
    sqlite_registry_fail_next(f->r, 1);
    assert_int_equal(f->r->ops->apply(f->r, &op, &f->err), WEIR_E_IO);
    /* The filter may have passed its number. */
    submit(f, (struct registry_line){.session = SLICE("other")});
    assert_int_equal(ask(f, "SELECT id FROM line WHERE session = 'other'"), 3);
    return true;
}

static void what_is_taken_back_waits_for_those_who_read(void **state)
{
    struct fixture *f = *state;
    const struct registry_filter mine = {.session = SLICE("first")};

    submit(f, (struct registry_line){.session = SLICE("first")});
    assert_int_equal(f->reader->ops->tasks(f->reader, &mine, 0, ALL, fail_meanwhile, f, &f->err),
                     WEIR_OK);
    assert_int_equal(f->seen, 1);
    assert_null(sqlite_registry_check(f->r));
    purge(f);
    assert_null(f->r->ops->line(f->r, 2));
    submit(f, (struct registry_line){.session = SLICE("second")});
    assert_int_equal(ask(f, "SELECT id FROM line WHERE session = 'second'"), 2);
}

static bool refuse_meanwhile(void *ctx, const struct registry_view *v)
{
    struct fixture *f = ctx;
    const struct registry_spec specs[] = {{.line = {.session = SLICE("second")}},
                                          {.line = {.session = SLICE("third")}}};
    struct registry_op op = {.kind = REGISTRY_SUBMIT, .submit = {.specs = specs, .count = 2}};

    (void)v;
    f->seen++;
    assert_int_equal(f->r->ops->apply(f->r, &op, &f->err), WEIR_OK);
    assert_int_equal(op.err.status, WEIR_E_LIMIT);
    /* Its number is kept from others for as long as this call lasts. */
    op.submit.count = 1;
    assert_int_equal(f->r->ops->apply(f->r, &op, &f->err), WEIR_OK);
    assert_int_equal(op.err.status, WEIR_E_LIMIT);
    return true;
}

static void the_number_of_what_was_refused_waits_for_those_who_read(void **state)
{
    struct fixture *f = *state;
    const struct registry_filter mine = {.session = SLICE("first")};

    submit(f, (struct registry_line){.session = SLICE("first")});
    sqlite_registry_limit_lines(f->r, 2);
    assert_int_equal(f->reader->ops->tasks(f->reader, &mine, 0, ALL, refuse_meanwhile, f, &f->err),
                     WEIR_OK);
    assert_int_equal(f->seen, 1);
    submit(f, (struct registry_line){.session = SLICE("second")});
    assert_int_equal(ask(f, "SELECT id FROM line WHERE session = 'second'"), 2);
}

/* ---- readers whose calls overlap ---- */

#define PAIR 2

/* Each stays in its call until the other one has come into its next, if that may come in: so somebody reads at any time. */
struct pair {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t calls[PAIR];
    bool over;
};

struct one_of_pair {
    struct pair *p;
    size_t which;
    pthread_t thread;
    struct registry_reader *reader;
    enum weir_status status;
};

static bool stay_until_the_other_comes(void *ctx, const struct registry_view *v)
{
    struct one_of_pair *me = ctx;
    struct pair *p = me->p;
    uint64_t before;
    struct timespec until;

    (void)v;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += NS_PER_MS;
    until.tv_sec += until.tv_nsec / NS_PER_S;
    until.tv_nsec %= NS_PER_S;
    pthread_mutex_lock(&p->lock);
    before = p->calls[1 - me->which];
    p->calls[me->which]++;
    pthread_cond_broadcast(&p->changed);
    while (!p->over && p->calls[1 - me->which] == before &&
           pthread_cond_timedwait(&p->changed, &p->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&p->lock);
    return true;
}

static bool is_over(struct pair *p)
{
    bool over;

    pthread_mutex_lock(&p->lock);
    over = p->over;
    pthread_mutex_unlock(&p->lock);
    return over;
}

static void *read_on(void *ctx)
{
    struct one_of_pair *me = ctx;
    const struct registry_filter mine = {.session = SLICE("first")};

    while (me->status == WEIR_OK && !is_over(me->p))
        me->status =
            me->reader->ops->tasks(me->reader, &mine, 0, 1, stay_until_the_other_comes, me, NULL);
    return NULL;
}

static void calls_that_overlap_do_not_keep_a_number_for_good(void **state)
{
    struct fixture *f = *state;
    struct pair p = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct one_of_pair both[PAIR] = {{.p = &p, .which = 0}, {.p = &p, .which = 1}};
    int64_t until_ns = loop_clock().ns + 20 * NS_PER_S;

    submit(f, (struct registry_line){.session = SLICE("first")});
    submit(f, (struct registry_line){.session = SLICE("second")});
    for (size_t i = 0; i < PAIR; i++) {
        assert_int_equal(f->r->ops->reader(f->r, &both[i].reader, &f->err), WEIR_OK);
        assert_int_equal(pthread_create(&both[i].thread, NULL, read_on, &both[i]), 0);
    }
    wipe(f, 2);
    purge(f);
    purge(f);
    while (f->r->ops->line(f->r, 2) && loop_clock().ns < until_ns)
        submit(f, (struct registry_line){.session = SLICE("first")});
    pthread_mutex_lock(&p.lock);
    p.over = true;
    pthread_cond_broadcast(&p.changed);
    pthread_mutex_unlock(&p.lock);
    for (size_t i = 0; i < PAIR; i++) {
        pthread_join(both[i].thread, NULL);
        both[i].reader->ops->close(both[i].reader);
        assert_int_equal(both[i].status, WEIR_OK);
    }
    assert_null(f->r->ops->line(f->r, 2));
}

/* ---- the file ---- */

static void names_of_pools_that_nobody_has_leave_nothing(void **state)
{
    struct fixture *f = *state;
    char name[32];

    for (uint64_t id = 1; id <= 100; id++) {
        snprintf(name, sizeof(name), "p%d", (int)id);
        submit(f, id % 2 ? (struct registry_line){.pool = slice_of(name)}
                         : (struct registry_line){.skill = slice_of(name)});
    }
    assert_int_equal(ask(f, "SELECT count(*) FROM tally"), 100);
    for (uint64_t id = 1; id <= 100; id++)
        wipe(f, id);
    purge(f);
    assert_int_equal(ask(f, "SELECT count(*) FROM tally"), 0);
    assert_int_equal(ask(f, "SELECT count(*) FROM line"), 0);
    assert_int_equal(ask(f, "SELECT count(*) FROM name"), 1); /* cancelled */
    assert_null(sqlite_registry_check(f->r));
}

static void a_row_counts_the_tasks_of_its_line(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 3; i++)
        submit(f, (struct registry_line){.priority = 1});
    assert_int_equal(ask(f, "SELECT tasks FROM line"), 3);
    wipe(f, 2);
    close_it(f);
    open_it(f);
    assert_int_equal(ask(f, "SELECT tasks FROM line"), 2);
    assert_null(sqlite_registry_check(f->r));
}

static void wrong_lines_are_found_at_the_start(void **state)
{
    struct fixture *f = *state;
    static const char *const wrongs[] = {
        "UPDATE line SET tasks = -1",
        "UPDATE line SET tasks = 1, id = 0",
        "UPDATE line SET id = 4194305",
        "UPDATE line SET id = 1; INSERT INTO line SELECT 2, priority, cpu, memory, pool, skill,"
        " tenant, session, slots, tasks FROM line",
    };

    submit(f, (struct registry_line){.priority = 1});
    close_it(f);
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        sqlite3 *db = NULL;

        assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, wrongs[i], NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
        assert_int_equal(try_open(f), WEIR_E_FORMAT);
        assert_non_null(strstr(f->err.message, "a line "));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_stays_while_somebody_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_taken_back_waits_for_those_who_read, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_number_of_what_was_refused_waits_for_those_who_read,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(calls_that_overlap_do_not_keep_a_number_for_good, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(names_of_pools_that_nobody_has_leave_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_row_counts_the_tasks_of_its_line, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_lines_are_found_at_the_start, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
