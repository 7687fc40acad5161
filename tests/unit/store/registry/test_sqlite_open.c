/*
 * The registry's file: whose it is, who has it, what is refused and how that is said; and what
 * becomes of a transaction that the disk, or somebody else's lock, does not let through.
 */
#include "base/mem.h"
#include "store/registry/sqlite_registry.h"
#include "support/testkit.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <sqlite3.h>

#define NOW INT64_C(1000000000000)

struct fixture {
    char *dir, *path;
    struct core_registry *r;
    struct weir_error err;
};

static enum weir_status open_with(struct fixture *f, struct sqlite_registry_options o)
{
    o.sync = SQLITE_REGISTRY_OFF;
    return sqlite_registry_open(f->path, &o, &f->r, &f->err);
}

static void open_it(struct fixture *f)
{
    if (open_with(f, (struct sqlite_registry_options){0}) != WEIR_OK)
        fail_msg("open: %s", f->err.message);
}

static void close_it(struct fixture *f)
{
    if (f->r)
        f->r->ops->close(f->r);
    f->r = NULL;
}

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof(*f));

    f->dir = testkit_dir_make();
    f->path = testkit_path(f->dir, "tasks.db");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    mem_fail_at(0);
    close_it(f);
    testkit_free(f->path);
    testkit_dir_remove(f->dir);
    test_free(f);
    return 0;
}

static void assert_says(const struct fixture *f, const char *part)
{
    if (!strstr(f->err.message, part))
        fail_msg("'%s' does not say '%s'", f->err.message, part);
}

static enum weir_status submit(struct fixture *f, size_t count, size_t payload_bytes)
{
    struct registry_spec *specs = test_calloc(count, sizeof(*specs));
    char *payload = test_malloc(payload_bytes + 1);
    struct registry_op op = {
        .kind = REGISTRY_SUBMIT, .at_ns = NOW, .submit = {.specs = specs, .count = count}};
    enum weir_status status;

    memset(payload, 'x', payload_bytes);
    for (size_t i = 0; i < count; i++)
        specs[i] = (struct registry_spec){.payload = {payload, payload_bytes}};
    status = f->r->ops->apply(f->r, &op, &f->err);
    if (status != WEIR_OK)
        assert_int_equal(op.err.status, status);
    while (op.ret_ready) {
        struct registry_task *next = op.ret_ready->next;

        mem_free(op.ret_ready);
        op.ret_ready = next;
    }
    mem_free(op.ret_lines);
    test_free(payload);
    test_free(specs);
    return status;
}

static uint64_t ready_count;

static bool add_tally(void *ctx, const struct registry_tally *t)
{
    (void)ctx;
    ready_count += t->states[REGISTRY_READY];
    return true;
}

static uint64_t count_ready(struct fixture *f)
{
    struct registry_reader *reader;

    ready_count = 0;
    assert_int_equal(f->r->ops->reader(f->r, &reader, &f->err), WEIR_OK);
    assert_int_equal(reader->ops->tallies(reader, add_tally, NULL, &f->err), WEIR_OK);
    reader->ops->close(reader);
    assert_null(sqlite_registry_check(f->r));
    return ready_count;
}

static sqlite3 *foreign(const struct fixture *f, const char *sql)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    return db;
}

static void a_log_that_has_grown_shrinks_again(void **state)
{
    struct fixture *f = *state;
    char *log = testkit_path(f->dir, "tasks.db-wal");
    struct stat st;

    open_it(f);
    assert_int_equal(submit(f, 2, 40 << 20), WEIR_OK);
    assert_true(stat(log, &st) == 0 && st.st_size > 80 << 20);
    /* It begins anew when it has been copied back. */
    for (int i = 0; i < 3; i++)
        assert_int_equal(submit(f, 1, 10), WEIR_OK);
    assert_true(stat(log, &st) == 0 && st.st_size <= 64 << 20);
    testkit_free(log);
}

/* ---- what is refused ---- */

static void what_was_accepted_is_there_at_the_next_start(void **state)
{
    struct fixture *f = *state;

    open_it(f);
    assert_int_equal(submit(f, 3, 10), WEIR_OK);
    assert_int_equal(submit(f, 2, 5000), WEIR_OK);
    close_it(f);
    open_it(f);
    assert_int_equal(count_ready(f), 5);
    assert_int_equal(f->r->ops->last_event(f->r), 10);
    assert_int_equal(f->r->ops->line(f->r, 1)->id, 1);
    assert_null(f->r->ops->line(f->r, 2));
}

static void a_file_that_is_no_database_is_left_as_it_is(void **state)
{
    struct fixture *f = *state;
    size_t len;
    char *bytes;

    testkit_file_write(f->path, "my precious notes\n", 18);
    assert_int_equal(open_with(f, (struct sqlite_registry_options){0}), WEIR_E_FORMAT);
    assert_says(f, f->path);
    assert_says(f, "name another");
    bytes = testkit_file_read(f->path, &len);
    assert_int_equal(len, 18);
    assert_string_equal(bytes, "my precious notes\n");
    testkit_free(bytes);
}

static void another_programs_database_is_refused(void **state)
{
    struct fixture *f = *state;

    sqlite3_close(foreign(f, "PRAGMA application_id = 77; CREATE TABLE t (x)"));
    assert_int_equal(open_with(f, (struct sqlite_registry_options){0}), WEIR_E_CONFLICT);
    assert_says(f, "another program");
    assert_says(f, "0x0000004d");
}

static void another_version_is_refused_by_its_number(void **state)
{
    struct fixture *f = *state;

    open_it(f);
    close_it(f);
    sqlite3_close(foreign(f, "PRAGMA user_version = 9"));
    assert_int_equal(open_with(f, (struct sqlite_registry_options){0}), WEIR_E_CONFLICT);
    assert_says(f, "version 9, a newer weir's");
}

static void tables_that_somebody_changed_are_refused(void **state)
{
    struct fixture *f = *state;

    open_it(f);
    close_it(f);
    sqlite3_close(foreign(f, "CREATE TRIGGER t AFTER INSERT ON task BEGIN DELETE FROM task; END"));
    assert_int_equal(open_with(f, (struct sqlite_registry_options){0}), WEIR_E_FORMAT);
    assert_says(f, "not as weir makes them");
}

static void what_is_no_file_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(mkdir(f->path, 0700), 0);
    assert_int_equal(open_with(f, (struct sqlite_registry_options){0}), WEIR_E_INVALID);
    assert_says(f, "not a regular file");
}

static void a_folder_that_cannot_be_written_is_named(void **state)
{
    struct fixture *f = *state;

    if (geteuid() == 0) {
        assert_int_equal(chmod(f->dir, 0755), 0);
        assert_int_equal(seteuid(65534), 0);
    } else {
        assert_int_equal(chmod(f->dir, 0500), 0);
    }
    assert_int_equal(open_with(f, (struct sqlite_registry_options){0}), WEIR_E_IO);
    assert_int_equal(seteuid(getuid()), 0);
    assert_int_equal(chmod(f->dir, 0700), 0);
    assert_says(f, f->path);
    assert_says(f, "writable");
}

static void a_file_that_cannot_be_written_is_named(void **state)
{
    struct fixture *f = *state;
    bool is_root = geteuid() == 0;

    open_it(f);
    close_it(f);
    assert_int_equal(chmod(f->path, 0444), 0);
    assert_int_equal(chmod(f->dir, 0777), 0);
    if (is_root) {
        char lock[4096];

        snprintf(lock, sizeof(lock), "%s-lock", f->path);
        assert_int_equal(chmod(lock, 0666), 0);
        assert_int_equal(seteuid(65534), 0);
    }
    assert_int_equal(open_with(f, (struct sqlite_registry_options){0}), WEIR_E_IO);
    assert_int_equal(seteuid(getuid()), 0);
    assert_says(f, f->path);
    assert_says(f, "writable");
}

/* ---- who has it ---- */

static void one_process_has_it_at_a_time(void **state)
{
    struct fixture *f = *state;
    struct core_registry *first;

    open_it(f);
    first = f->r;
    f->r = NULL;
    assert_int_equal(open_with(f, (struct sqlite_registry_options){0}), WEIR_E_BUSY);
    assert_says(f, "this very process");
    first->ops->close(first);
    open_it(f);
}

/* Another process that has it open, until it is let go of. */
struct holder {
    pid_t pid;
    int go;
};

static struct holder hold(struct fixture *f)
{
    int ready[2], go[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(go), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct fixture mine = {.path = f->path};

        close(go[1]);
        if (open_with(&mine, (struct sqlite_registry_options){0}) != WEIR_OK ||
            write(ready[1], "r", 1) != 1)
            _exit(1);
        /* Until the parent lets go, or is gone. */
        _exit(read(go[0], &byte, 1) < 0);
    }
    close(go[0]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return (struct holder){pid, go[1]};
}

static void let_go(struct holder h)
{
    int status;

    close(h.go);
    assert_int_equal(waitpid(h.pid, &status, 0), h.pid);
    assert_int_equal(status, 0);
}

static void assert_held(struct fixture *f, struct holder h)
{
    char pid_text[32];

    assert_int_equal(open_with(f, (struct sqlite_registry_options){0}), WEIR_E_BUSY);
    snprintf(pid_text, sizeof(pid_text), "process %ld;", (long)h.pid);
    assert_says(f, pid_text);
}

static void who_has_it_is_named(void **state)
{
    struct fixture *f = *state;
    struct holder h = hold(f);

    assert_held(f, h);
    let_go(h);
    /* It has not closed it: its end has let go of the lock. */
    open_it(f);
}

/* The fixture's file by another name. */
static void rename_to(struct fixture *f, const char *name)
{
    testkit_free(f->path);
    f->path = testkit_path(f->dir, name);
}

static void a_link_to_it_is_the_same_registry(void **state)
{
    struct fixture *f = *state;
    struct holder h = hold(f);
    char *link_path = testkit_path(f->dir, "link.db");

    assert_int_equal(symlink("tasks.db", link_path), 0);
    testkit_free(link_path);
    rename_to(f, "link.db");
    assert_held(f, h);
    let_go(h);
    open_it(f);
    /* Its lock and its log are beside the file, not beside the link. */
    close_it(f);
    rename_to(f, "link.db-lock");
    assert_int_equal(access(f->path, F_OK), -1);
}

static void a_hard_link_to_it_is_the_same_registry(void **state)
{
    struct fixture *f = *state;
    struct holder h = hold(f);
    char *other = testkit_path(f->dir, "other.db");

    assert_int_equal(link(f->path, other), 0);
    testkit_free(other);
    rename_to(f, "other.db");
    assert_held(f, h);
    let_go(h);
}

static void it_is_held_though_its_lock_file_was_removed(void **state)
{
    struct fixture *f = *state;
    struct holder h = hold(f);
    char *lock = testkit_path(f->dir, "tasks.db-lock");

    assert_int_equal(unlink(lock), 0);
    assert_held(f, h);
    let_go(h);
    testkit_free(lock);
    open_it(f);
}

static void a_link_to_what_is_not_there_yet_makes_it_there(void **state)
{
    struct fixture *f = *state;
    char *target = testkit_path(f->dir, "target.db");

    assert_int_equal(symlink("target.db", f->path), 0);
    open_it(f);
    assert_int_equal(submit(f, 1, 1), WEIR_OK);
    close_it(f);
    testkit_free(f->path);
    f->path = target;
    open_it(f);
    assert_int_equal(count_ready(f), 1);
}

/* ---- what does not go through ---- */

static void somebody_elses_lock_is_told_and_the_same_ops_go_through_later(void **state)
{
    struct fixture *f = *state;
    sqlite3 *db;

    assert_int_equal(open_with(f, (struct sqlite_registry_options){.busy_ms = 1}), WEIR_OK);
    db = foreign(f, "BEGIN IMMEDIATE");
    assert_int_equal(submit(f, 3, 10), WEIR_E_BUSY);
    assert_says(f, f->path);
    assert_says(f, "locked by another program");
    assert_int_equal(count_ready(f), 0);
    sqlite3_close(db);
    assert_int_equal(submit(f, 3, 10), WEIR_OK);
    assert_int_equal(count_ready(f), 3);
}

static void a_file_that_may_not_grow_takes_all_or_nothing(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(open_with(f, (struct sqlite_registry_options){.file_pages_max = 100}),
                     WEIR_OK);
    assert_int_equal(submit(f, 10, 100), WEIR_OK);
    assert_int_equal(submit(f, 1000, 900), WEIR_E_IO);
    assert_says(f, "no room");
    assert_says(f, "free space");
    assert_int_equal(count_ready(f), 10);
    assert_int_equal(f->r->ops->last_event(f->r), 20);
    assert_int_equal(submit(f, 10, 100), WEIR_OK);
    close_it(f);
    open_it(f);
    assert_int_equal(submit(f, 1000, 900), WEIR_OK);
    assert_int_equal(count_ready(f), 1020);
    assert_int_equal(f->r->ops->last_event(f->r), 2040);
}

static void a_disk_that_takes_no_more_takes_all_or_nothing(void **state)
{
    struct fixture *f = *state;
    void (*old)(int) = signal(SIGXFSZ, SIG_IGN);
    struct rlimit all, some;

    open_it(f);
    assert_int_equal(submit(f, 10, 100), WEIR_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
    some = all;
    some.rlim_cur = 300000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &some), 0);
    assert_int_equal(submit(f, 1000, 900), WEIR_E_IO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
    signal(SIGXFSZ, old);
    assert_says(f, "no room");
    assert_int_equal(count_ready(f), 10);
    assert_int_equal(submit(f, 1000, 900), WEIR_OK);
    assert_int_equal(count_ready(f), 1010);
}

static void what_was_removed_takes_nothing_until_it_is_put_back(void **state)
{
    struct fixture *f = *state;
    char *away = testkit_path(f->dir, "away.db");

    open_it(f);
    assert_int_equal(submit(f, 3, 10), WEIR_OK);
    assert_int_equal(f->r->ops->look(f->r, &f->err), WEIR_OK);
    assert_int_equal(rename(f->path, away), 0);
    assert_int_equal(f->r->ops->look(f->r, &f->err), WEIR_E_IO);
    assert_int_equal(submit(f, 3, 10), WEIR_E_IO);
    assert_says(f, f->path);
    assert_says(f, "removed or replaced");
    testkit_file_write(f->path, "another", 7);
    assert_int_equal(submit(f, 3, 10), WEIR_E_IO);
    assert_int_equal(rename(away, f->path), 0);
    assert_int_equal(f->r->ops->look(f->r, &f->err), WEIR_OK);
    assert_int_equal(submit(f, 3, 10), WEIR_OK);
    assert_int_equal(count_ready(f), 6);
    testkit_free(away);
}

static void want_of_memory_at_the_open_leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;
    unsigned long n = 0;

    do {
        enum weir_status status;

        mem_fail_at(++n);
        status = open_with(f, (struct sqlite_registry_options){0});
        mem_fail_at(0);
        if (status == WEIR_OK)
            break;
        assert_int_equal(status, WEIR_E_NOMEM);
        assert_null(f->r);
    } while (n < 1000);
    assert_true(n > 3 && n < 1000);
    assert_int_equal(submit(f, 1, 1), WEIR_OK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_accepted_is_there_at_the_next_start),
        TEST(a_log_that_has_grown_shrinks_again),
        TEST(a_file_that_is_no_database_is_left_as_it_is),
        TEST(another_programs_database_is_refused),
        TEST(another_version_is_refused_by_its_number),
        TEST(tables_that_somebody_changed_are_refused),
        TEST(what_is_no_file_is_refused),
        TEST(a_folder_that_cannot_be_written_is_named),
        TEST(a_file_that_cannot_be_written_is_named),
        TEST(one_process_has_it_at_a_time),
        TEST(who_has_it_is_named),
        TEST(a_link_to_it_is_the_same_registry),
        TEST(a_hard_link_to_it_is_the_same_registry),
        TEST(it_is_held_though_its_lock_file_was_removed),
        TEST(a_link_to_what_is_not_there_yet_makes_it_there),
        TEST(somebody_elses_lock_is_told_and_the_same_ops_go_through_later),
        TEST(a_file_that_may_not_grow_takes_all_or_nothing),
        TEST(a_disk_that_takes_no_more_takes_all_or_nothing),
        TEST(what_was_removed_takes_nothing_until_it_is_put_back),
        TEST(want_of_memory_at_the_open_leaves_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
