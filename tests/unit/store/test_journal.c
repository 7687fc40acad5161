/*
 * Opening a journal: what is made, what is found again, and what is refused and how it is said.
 */
#include "journal_kit.h"
#include "support/testkit.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

struct fixture {
    char *dir, *path;
    struct core_store *s;
    struct weir_error err;
};

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof(*f));

    f->dir = testkit_dir_make();
    f->path = testkit_path(f->dir, "out.weir");
    *state = f;
    return 0;
}

static void close_store(struct fixture *f)
{
    if (f->s)
        f->s->ops->close(f->s);
    f->s = NULL;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    close_store(f);
    chmod(f->dir, 0700);
    testkit_free(f->path);
    testkit_dir_remove(f->dir);
    test_free(f);
    return 0;
}

static enum weir_status open_as(struct fixture *f, enum sqlite_store_mode mode)
{
    f->err.message[0] = '\0';
    return sqlite_store_open(f->path, mode, &f->s, &f->err);
}

static void open_well(struct fixture *f)
{
    if (open_as(f, SQLITE_STORE_CREATE) != WEIR_OK)
        fail_msg("%s", f->err.message);
}

/* The journal of 20 rows, of which 10 are delivered, closed. */
static void make_journal(struct fixture *f)
{
    open_well(f);
    assert_int_equal(kit_put(f->s, 0, 20, &f->err), WEIR_OK);
    assert_int_equal(kit_mark(f->s, 10, &f->err), WEIR_OK);
    close_store(f);
}

static void run_sql(struct fixture *f, const char *sql)
{
    sqlite3 *db;
    char *message = NULL;

    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s", message);
    sqlite3_close(db);
}

/* It is refused with this status, and with a message that names the file and holds `remedy`. */
static void assert_refused(struct fixture *f, enum sqlite_store_mode mode, enum weir_status status,
                           const char *remedy)
{
    assert_int_equal(open_as(f, mode), status);
    assert_null(f->s);
    if (!strstr(f->err.message, "out.weir") || !strstr(f->err.message, remedy))
        fail_msg("no file or no '%s' in: %s", remedy, f->err.message);
}

static unsigned files_in(const char *dir)
{
    unsigned count = 0;
    DIR *d = opendir(dir);

    assert_non_null(d);
    while (readdir(d))
        count++;
    closedir(d);
    return count - 2;
}

static void a_journal_says_what_it_is(void **state)
{
    struct fixture *f = *state;
    size_t len;
    char *bytes;

    make_journal(f);
    bytes = testkit_file_read(f->path, &len);
    assert_memory_equal(bytes, "SQLite format 3", 16);
    assert_memory_equal(bytes + 68, "Weir", 4);
    assert_memory_equal(bytes + 60, "\0\0\0\2", 4);
    testkit_free(bytes);
}

static void closing_leaves_one_file(void **state)
{
    struct fixture *f = *state;

    open_well(f);
    assert_int_equal(kit_put(f->s, 0, 20, &f->err), WEIR_OK);
    assert_int_equal(files_in(f->dir), 2);
    close_store(f);
    assert_int_equal(files_in(f->dir), 1);
}

static void what_was_put_is_found_again(void **state)
{
    struct fixture *f = *state;

    make_journal(f);
    assert_int_equal(open_as(f, SQLITE_STORE_MUST_EXIST), WEIR_OK);
    assert_true(kit_is_whole(f->s, 20));
    assert_int_equal(kit_put(f->s, 20, 5, &f->err), WEIR_OK);
    assert_true(kit_is_whole(f->s, 25));
}

static void a_journal_that_must_exist_is_not_made(void **state)
{
    struct fixture *f = *state;

    assert_refused(f, SQLITE_STORE_MUST_EXIST, WEIR_E_END, "no journal");
    assert_int_equal(files_in(f->dir), 0);
    testkit_file_write(f->path, "", 0);
    assert_refused(f, SQLITE_STORE_MUST_EXIST, WEIR_E_FORMAT, "empty");
}

static void an_empty_file_becomes_a_journal(void **state)
{
    struct fixture *f = *state;

    testkit_file_write(f->path, "", 0);
    open_well(f);
    assert_true(kit_is_whole(f->s, 0));
}

static void copy_file(const char *from, const char *to)
{
    size_t len;
    char *bytes = testkit_file_read(from, &len);

    assert_true(len > 0);
    testkit_file_write(to, bytes, len);
    testkit_free(bytes);
}

/* A copy of the files in the midst of it is what a crash leaves. */
static void a_journal_whose_making_was_cut_off_is_made_anew(void **state)
{
    struct fixture *f = *state;
    char *made = testkit_path(f->dir, "made"), *made_back = testkit_path(f->dir, "made-journal");
    char *back = testkit_path(f->dir, "out.weir-journal");
    sqlite3 *db;

    assert_int_equal(sqlite3_open(made, &db), SQLITE_OK);
    /* With hardly a cache, so that pages of the open transaction are in the file. */
    assert_int_equal(
        sqlite3_exec(db,
                     "PRAGMA cache_size = 1; BEGIN; PRAGMA application_id = 1466263922;"
                     "CREATE TABLE t (x); WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL"
                     " SELECT i + 1 FROM n WHERE i < 500)"
                     " INSERT INTO t SELECT hex(zeroblob(500)) FROM n",
                     NULL, NULL, NULL),
        SQLITE_OK);
    copy_file(made, f->path);
    copy_file(made_back, back);
    sqlite3_close(db);
    assert_int_equal(unlink(made), 0);
    open_well(f);
    assert_true(kit_is_whole(f->s, 0));
    close_store(f);
    assert_int_equal(files_in(f->dir), 1);
    testkit_free(made);
    testkit_free(made_back);
    testkit_free(back);
}

static void no_name_means_something_to_sqlite(void **state)
{
    struct fixture *f = *state;
    char cwd[4096];
    const char *names[] = {":memory:", "file:x?mode=memory"};

    assert_non_null(getcwd(cwd, sizeof(cwd)));
    assert_int_equal(chdir(f->dir), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(sqlite_store_open(names[i], SQLITE_STORE_CREATE, &f->s, &f->err), WEIR_OK);
        close_store(f);
        assert_int_equal(files_in("."), i + 1);
    }
    assert_int_equal(chdir(cwd), 0);
    assert_int_equal(sqlite_store_open("", SQLITE_STORE_CREATE, &f->s, NULL), WEIR_E_INVALID);
}

static void fresh_starts_over(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(open_as(f, SQLITE_STORE_FRESH), WEIR_OK); /* where nothing is */
    assert_int_equal(kit_put(f->s, 0, 20, &f->err), WEIR_OK);
    close_store(f);
    assert_int_equal(open_as(f, SQLITE_STORE_FRESH), WEIR_OK);
    assert_true(kit_is_whole(f->s, 0));
    assert_int_equal(kit_put(f->s, 0, 3, &f->err), WEIR_OK);
    close_store(f);
    open_well(f);
    assert_true(kit_is_whole(f->s, 3));
}

static void fresh_replaces_a_journal_in_any_state(void **state)
{
    struct fixture *f = *state;
    char *bytes;
    size_t len;

    make_journal(f);
    run_sql(f, "PRAGMA user_version = 77");
    assert_int_equal(open_as(f, SQLITE_STORE_FRESH), WEIR_OK);
    assert_true(kit_is_whole(f->s, 0));
    close_store(f);

    make_journal(f);
    bytes = testkit_file_read(f->path, &len);
    for (size_t cut = 1; cut < len; cut += 1 + cut / 2) {
        testkit_file_write(f->path, bytes, cut);
        if (open_as(f, SQLITE_STORE_FRESH) != WEIR_OK)
            fail_msg("cut at %zu: %s", cut, f->err.message);
        assert_true(kit_is_whole(f->s, 0));
        close_store(f);
    }
    memset(bytes + 200, 0xee, 3000);
    testkit_file_write(f->path, bytes, len);
    assert_int_equal(open_as(f, SQLITE_STORE_FRESH), WEIR_OK);
    assert_true(kit_is_whole(f->s, 0));
    testkit_free(bytes);
}

static void assert_unchanged(struct fixture *f, const char *bytes, size_t len)
{
    size_t now_len;
    char *now = testkit_file_read(f->path, &now_len);

    assert_int_equal(now_len, len);
    assert_memory_equal(now, bytes, len);
    assert_int_equal(files_in(f->dir), 1);
    testkit_free(now);
}

static void what_is_no_database_is_refused_and_left_alone(void **state)
{
    struct fixture *f = *state;
    char garbage[5000];

    for (size_t i = 0; i < sizeof(garbage); i++)
        garbage[i] = (char)(i * 77 + i / 3);
    for (size_t len = 1; len <= sizeof(garbage); len = len * 3 + 1) {
        testkit_file_write(f->path, garbage, len);
        assert_refused(f, SQLITE_STORE_CREATE, WEIR_E_FORMAT, "--journal");
        assert_refused(f, SQLITE_STORE_MUST_EXIST, WEIR_E_FORMAT, "--journal");
        assert_refused(f, SQLITE_STORE_FRESH, WEIR_E_FORMAT, "--journal");
        assert_unchanged(f, garbage, len);
    }
}

static void another_programs_database_is_refused_and_left_alone(void **state)
{
    struct fixture *f = *state;
    char *bytes;
    size_t len;

    run_sql(f, "CREATE TABLE precious (x); INSERT INTO precious VALUES (1)");
    bytes = testkit_file_read(f->path, &len);
    assert_refused(f, SQLITE_STORE_CREATE, WEIR_E_CONFLICT, "another program");
    assert_refused(f, SQLITE_STORE_FRESH, WEIR_E_CONFLICT, "--journal");
    assert_unchanged(f, bytes, len);
    testkit_free(bytes);
}

static void another_version_is_refused(void **state)
{
    struct fixture *f = *state;

    make_journal(f);
    run_sql(f, "PRAGMA user_version = 3");
    assert_refused(f, SQLITE_STORE_CREATE, WEIR_E_CONFLICT, "a newer");
    assert_non_null(strstr(f->err.message, "version 3"));
    assert_non_null(strstr(f->err.message, "--fresh"));
    run_sql(f, "PRAGMA user_version = 0");
    assert_refused(f, SQLITE_STORE_CREATE, WEIR_E_CONFLICT, "an older");
    run_sql(f, "PRAGMA user_version = 2");
    open_well(f);
    assert_true(kit_is_whole(f->s, 20));
}

static void changed_tables_are_refused(void **state)
{
    static const char *const changes[] = {
        "CREATE TRIGGER t AFTER INSERT ON row BEGIN DELETE FROM row; END",
        "CREATE INDEX i ON row (outcome)",
        "DROP TABLE place",
        "ALTER TABLE row ADD COLUMN more TEXT",
        "DROP TABLE fact; CREATE VIEW fact AS SELECT 1 AS name, 2 AS value",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        make_journal(f);
        run_sql(f, changes[i]);
        assert_refused(f, SQLITE_STORE_CREATE, WEIR_E_FORMAT, "--fresh");
        assert_int_equal(unlink(f->path), 0);
    }
}

static void contradictions_are_refused(void **state)
{
    static const char *const changes[] = {
        "DELETE FROM row WHERE idx = 4",
        "DELETE FROM row WHERE idx = 15",
        "DELETE FROM mark",
        "UPDATE mark SET next = 21",
        "UPDATE mark SET next = -1",
        "UPDATE mark SET output_bytes = -1",
        "UPDATE row SET idx = -1 WHERE idx = 15",
        "INSERT INTO pending VALUES (3, x'00', NULL)",
        "INSERT INTO place VALUES (99, 0, 0, 0, 0)",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        make_journal(f);
        run_sql(f, changes[i]);
        assert_refused(f, SQLITE_STORE_CREATE, WEIR_E_FORMAT, "--fresh");
        assert_int_equal(unlink(f->path), 0);
    }
}

/* What the check at the opening lets pass (or is too large for it) is found when it is read. */
static void nonsense_in_a_row_is_found_when_it_is_read(void **state)
{
    static const char *const changes[] = {
        "UPDATE row SET outcome = 'splendid'", "UPDATE row SET reason = ''",
        "UPDATE row SET hash = x'00'",         "UPDATE row SET attempts = -1",
        "UPDATE row SET complete_index = -1",  "UPDATE row SET generation = 5000000000",
    };
    struct fixture *f = *state;
    struct buf hold = {0};
    struct store_row row;

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        make_journal(f);
        run_sql(f, changes[i]);
        open_well(f);
        assert_int_equal(f->s->ops->get(f->s, 3, &row, &hold, &f->err), WEIR_E_FORMAT);
        /* And from then on nothing is written into it. */
        assert_int_equal(kit_put(f->s, 30, 1, &f->err), WEIR_E_FORMAT);
        assert_non_null(strstr(f->err.message, "out.weir"));
        close_store(f);
        assert_int_equal(unlink(f->path), 0);
    }
    buf_free(&hold);
}

static void what_is_no_file_is_refused(void **state)
{
    struct fixture *f = *state;
    char *inner = testkit_path(f->path, "out.weir");

    assert_int_equal(mkdir(f->path, 0700), 0);
    assert_refused(f, SQLITE_STORE_CREATE, WEIR_E_INVALID, "regular file");
    assert_int_equal(rmdir(f->path), 0);
    assert_int_equal(mkfifo(f->path, 0600), 0);
    assert_refused(f, SQLITE_STORE_FRESH, WEIR_E_INVALID, "regular file");
    assert_int_equal(unlink(f->path), 0);
    testkit_file_write(f->path, "x", 1);
    assert_int_equal(sqlite_store_open(inner, SQLITE_STORE_CREATE, &f->s, &f->err), WEIR_E_IO);
    assert_int_equal(unlink(f->path), 0);
    /* In a folder that is not there. */
    assert_int_equal(sqlite_store_open(inner, SQLITE_STORE_CREATE, &f->s, &f->err), WEIR_E_IO);
    assert_non_null(strstr(f->err.message, "No such file"));
    testkit_free(inner);
}

/* Somebody else, for whom permissions count. The bits tell what went wrong. */
static int open_as_nobody(struct fixture *f)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
            _exit(100);
        if (open_as(f, SQLITE_STORE_CREATE) != WEIR_E_IO)
            _exit(1);
        _exit(strstr(f->err.message, "out.weir") && strstr(f->err.message, "writable") ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 101;
}

static void a_read_only_file_or_folder_is_refused(void **state)
{
    struct fixture *f = *state;

    make_journal(f);
    assert_int_equal(chmod(f->path, 0444), 0);
    assert_int_equal(chmod(f->dir, 0777), 0);
    assert_int_equal(open_as_nobody(f), 0);
    assert_int_equal(chmod(f->path, 0666), 0);
    assert_int_equal(chmod(f->dir, 0555), 0);
    assert_int_equal(open_as_nobody(f), 0);
    assert_int_equal(chmod(f->dir, 0755), 0);
    assert_int_equal(unlink(f->path), 0);
    assert_int_equal(chmod(f->dir, 0555), 0);
    assert_int_equal(open_as_nobody(f), 0);
}

static void a_second_opener_is_told_who_holds_it(void **state)
{
    struct fixture *f = *state;
    int ready[2], go[2], status;
    char want[32], byte;
    pid_t pid;

    make_journal(f);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    assert_int_equal(pipe2(go, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        enum weir_status opened = open_as(f, SQLITE_STORE_CREATE);

        close(go[1]);
        if (write(ready[1], "", 1) != 1 || read(go[0], &byte, 1) != 0 || opened != WEIR_OK)
            _exit(1);
        f->s->ops->close(f->s);
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    snprintf(want, sizeof(want), "process %ld", (long)pid);
    for (int mode = SQLITE_STORE_CREATE; mode <= SQLITE_STORE_FRESH; mode++) {
        assert_refused(f, (enum sqlite_store_mode)mode, WEIR_E_BUSY, "--journal");
        /* /proc/locks may be out of reach, or number devices in its own way. */
        assert_true(strstr(f->err.message, want) || strstr(f->err.message, "another process"));
    }
    close(go[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    open_well(f);
    assert_true(kit_is_whole(f->s, 20));
    close(go[0]);
    close(ready[0]);
    close(ready[1]);
}

static void a_second_opener_in_this_process_is_refused_too(void **state)
{
    struct fixture *f = *state;
    struct core_store *first;

    open_well(f);
    first = f->s;
    f->s = NULL;
    assert_refused(f, SQLITE_STORE_CREATE, WEIR_E_BUSY, "in use");
    assert_refused(f, SQLITE_STORE_FRESH, WEIR_E_BUSY, "in use");
    f->s = first;
    assert_int_equal(kit_put(f->s, 0, 3, &f->err), WEIR_OK);
    assert_true(kit_is_whole(f->s, 3));
}

/* One number of the journal, asked as an auditor would. */
static int64_t ask(struct fixture *f, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *stmt;
    int64_t n;

    assert_int_equal(sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(db));
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

static void every_try_at_a_row_stays_for_the_auditor(void **state)
{
    struct fixture *f = *state;
    uint64_t rows;

    open_well(f);
    assert_int_equal(kit_put(f->s, 0, 8, &f->err), WEIR_OK); /* rows 0 and 7 fail */
    assert_int_equal(kit_mark(f->s, 8, &f->err), WEIR_OK);
    assert_int_equal(f->s->ops->reopen_failed(f->s, &rows, &f->err), WEIR_OK);
    assert_int_equal(rows, 2);
    close_store(f);
    assert_int_equal(ask(f, "SELECT count(*) FROM past_row WHERE outcome = 'failed'"
                            " AND reason = 'http_status' AND status = 500 AND generation = 0"),
                     2);
    assert_int_equal(ask(f, "SELECT count(*) FROM attempt WHERE idx = 0 AND status = 429"), 1);
    assert_int_equal(ask(f, "SELECT count(*) FROM row"), 6);
    assert_int_equal(ask(f, "SELECT count(*) FROM pending"), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_journal_says_what_it_is),
        TEST(closing_leaves_one_file),
        TEST(what_was_put_is_found_again),
        TEST(a_journal_that_must_exist_is_not_made),
        TEST(an_empty_file_becomes_a_journal),
        TEST(a_journal_whose_making_was_cut_off_is_made_anew),
        TEST(no_name_means_something_to_sqlite),
        TEST(fresh_starts_over),
        TEST(fresh_replaces_a_journal_in_any_state),
        TEST(what_is_no_database_is_refused_and_left_alone),
        TEST(another_programs_database_is_refused_and_left_alone),
        TEST(another_version_is_refused),
        TEST(changed_tables_are_refused),
        TEST(contradictions_are_refused),
        TEST(nonsense_in_a_row_is_found_when_it_is_read),
        TEST(what_is_no_file_is_refused),
        TEST(a_read_only_file_or_folder_is_refused),
        TEST(a_second_opener_is_told_who_holds_it),
        TEST(a_second_opener_in_this_process_is_refused_too),
        TEST(every_try_at_a_row_stays_for_the_auditor),
    };

    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
