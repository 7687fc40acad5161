/*
 * A journal through everything that can go wrong beneath it: memory, writes and syncs that fail,
 * each in turn; a full disk; a file cut short or with bytes changed; SIGKILL. What was acknowledged
 * is there afterwards, whole, and what was not is not there in part.
 *
 * run-tests: timeout=600
 * run-tests: waits
 * run-tests: long
 */
#include "base/mem.h"
#include "base/rng.h"
#include "faulty_vfs.h"
#include "journal_kit.h"
#include "support/testkit.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char *dir, *path, *wal;
    struct core_store *s;
    struct weir_error err;
};

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof(*f));

    f->dir = testkit_dir_make();
    f->path = testkit_path(f->dir, "out.weir");
    f->wal = testkit_path(f->dir, "out.weir-wal");
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

    mem_fail_at(0);
    faulty_vfs_fail_at(0, 0);
    close_store(f);
    testkit_free(f->path);
    testkit_free(f->wal);
    testkit_dir_remove(f->dir);
    test_free(f);
    return 0;
}

static enum weir_status open_it(struct fixture *f)
{
    return sqlite_store_open(f->path, SQLITE_STORE_CREATE, &f->s, &f->err);
}

static void open_well(struct fixture *f)
{
    if (open_it(f) != WEIR_OK)
        fail_msg("%s", f->err.message);
}

static uint64_t finished(struct fixture *f)
{
    struct store_summary sum;

    assert_int_equal(f->s->ops->summary(f->s, &sum, &f->err), WEIR_OK);
    return sum.finished;
}

/* One run: opens the journal, and does a little of everything; *acked and *marked tell what it was
 * told is durable. False: something failed. */
struct script_state {
    uint64_t acked, tried, marked;
    bool reopened;
};

static enum weir_status script(struct fixture *f, struct script_state *st)
{
    struct buf hold = {0};
    struct store_row row;
    enum weir_status status = open_it(f);

    for (unsigned i = 0; status == WEIR_OK && i < 6; i++) {
        /* A few, and more than one statement takes. */
        st->tried = st->acked + (i % 3 == 1 ? 18 : 4);
        status = kit_put(f->s, st->acked, st->tried - st->acked, &f->err);
        if (status == WEIR_OK)
            st->acked = st->tried;
        if (status == WEIR_OK && i % 2 == 0) {
            status = kit_mark(f->s, st->acked - 1, &f->err);
            st->marked = status == WEIR_OK ? st->acked - 1 : st->marked;
        }
        if (status == WEIR_OK)
            status = f->s->ops->get(f->s, st->acked - 1, &row, &hold, &f->err);
        if (status == WEIR_OK)
            status = f->s->ops->set(f->s, "run", SLICE("17"), &f->err);
    }
    buf_free(&hold);
    return status;
}

/* After a fault: what is on the disk is what was acknowledged, or that and the group whose put did
 * not come back. */
static void assert_holds(struct fixture *f, const struct script_state *st, unsigned long n)
{
    struct store_summary sum;

    if (open_it(f) != WEIR_OK)
        fail_msg("fault %lu: %s", n, f->err.message);
    assert_int_equal(f->s->ops->summary(f->s, &sum, &f->err), WEIR_OK);
    if (sum.finished != st->acked && sum.finished != st->tried)
        fail_msg("fault %lu: %lu acknowledged, %lu there", n, (unsigned long)st->acked,
                 (unsigned long)sum.finished);
    assert_true(sum.mark.next >= st->marked);
    assert_true(kit_is_whole(f->s, sum.finished));
    assert_int_equal(kit_put(f->s, sum.finished, 3, &f->err), WEIR_OK);
    close_store(f);
    assert_int_equal(unlink(f->path), 0);
}

static void sweep_disk(struct fixture *f, int code)
{
    for (unsigned long n = 1;; n++) {
        struct script_state st = {0};
        enum weir_status status;

        faulty_vfs_fail_at(n, code);
        status = script(f, &st);
        close_store(f); /* this writes too */
        bool is_done = !faulty_vfs_has_failed();
        faulty_vfs_fail_at(0, 0);
        if (status != WEIR_OK && (status != WEIR_E_IO || !strstr(f->err.message, "out.weir")))
            fail_msg("fault %lu: %s: %s", n, weir_status_name(status), f->err.message);
        if (code == SQLITE_FULL && status != WEIR_OK && !strstr(f->err.message, "run the same"))
            fail_msg("fault %lu: no remedy: %s", n, f->err.message);
        assert_holds(f, &st, n);
        if (is_done) {
            assert_true(n > 50);
            return;
        }
    }
}

static void a_write_that_fails_loses_nothing(void **state)
{
    sweep_disk(*state, SQLITE_IOERR);
}

static void a_disk_that_fills_up_loses_nothing(void **state)
{
    sweep_disk(*state, SQLITE_FULL);
}

static void after_a_failed_sync_nothing_more_is_promised(void **state)
{
    struct fixture *f = *state;
    enum weir_status status = WEIR_OK;

    open_well(f);
    assert_int_equal(kit_put(f->s, 0, 4, &f->err), WEIR_OK);
    /* The last change of a commit is its sync. */
    for (unsigned long n = 1; n < 100 && f->err.message[0] == '\0'; n++) {
        faulty_vfs_fail_at(n, SQLITE_IOERR);
        status = kit_put(f->s, finished(f), 4, &f->err);
        faulty_vfs_fail_at(0, 0);
        if (status == WEIR_OK)
            fail_msg("no sync failed before put %lu went well", n);
        if (kit_put(f->s, 1000, 1, NULL) == WEIR_E_IO)
            break; /* it was the sync */
        close_store(f);
        assert_int_equal(unlink(f->path), 0);
        f->err.message[0] = '\0';
        open_well(f);
        assert_int_equal(kit_put(f->s, 0, 4, &f->err), WEIR_OK);
    }
    assert_int_equal(status, WEIR_E_IO);
    assert_int_equal(kit_mark(f->s, 1, &f->err), WEIR_E_IO);
    assert_non_null(strstr(f->err.message, "failed before"));
    close_store(f);
    open_well(f);
    assert_true(kit_is_whole(f->s, finished(f)));
}

static void each_allocation_may_fail(void **state)
{
    struct fixture *f = *state;
    bool is_done = false;

    for (unsigned long n = 1; !is_done; n += 1 + n / 40) {
        struct script_state st = {0};
        enum weir_status status;

        mem_fail_at(n);
        status = script(f, &st);
        close_store(f);
        is_done = !mem_has_failed();
        mem_fail_at(0);
        if (status != WEIR_OK && status != WEIR_E_NOMEM)
            fail_msg("allocation %lu: %s: %s", n, weir_status_name(status), f->err.message);
        if (access(f->path, F_OK) == 0)
            assert_holds(f, &st, n);
    }
}

/* In a child, so that limits, mounts and signals stay there. Returns 0 when all was well. */
static int in_child(struct fixture *f, int (*body)(struct fixture *f))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(body(f));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("line %d: %s; %s\n", __LINE__, #condition, f->err.message);                \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

/* Puts until it fails; then all that was acknowledged is there, now and when opened again. */
static int fill_up(struct fixture *f, uint64_t *ret_acked)
{
    uint64_t acked = 0;
    enum weir_status status;

    CHECK(open_it(f) == WEIR_OK);
    while ((status = kit_put(f->s, acked, 8, &f->err)) == WEIR_OK && acked < 100000)
        acked += 8;
    CHECK(status == WEIR_E_IO);
    CHECK(strstr(f->err.message, "free space and run the same command again"));
    CHECK(strstr(f->err.message, "out.weir"));
    CHECK(acked > 0 && kit_is_whole(f->s, acked));
    *ret_acked = acked;
    return 0;
}

static int fill_up_to_a_limit(struct fixture *f)
{
    struct rlimit limit = {1 << 20, RLIM_INFINITY};
    uint64_t acked;

    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    if (fill_up(f, &acked) != 0)
        return 1;
    close_store(f);
    limit.rlim_cur = RLIM_INFINITY;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK(open_it(f) == WEIR_OK);
    CHECK(kit_is_whole(f->s, acked));
    CHECK(kit_put(f->s, acked, 8, &f->err) == WEIR_OK);
    close_store(f);
    return 0;
}

static void a_file_that_may_not_grow_keeps_what_it_has(void **state)
{
    assert_int_equal(in_child(*state, fill_up_to_a_limit), 0);
}

#define SKIPPED 77

static int fill_up_a_disk(struct fixture *f)
{
    char *ballast = testkit_path(f->dir, "ballast"), room[65536] = {0};
    uint64_t acked;
    int fd;

    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", f->dir, "tmpfs", 0, "size=2m") != 0)
        return SKIPPED;
    fd = open(ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, room, sizeof(room)) == (ssize_t)sizeof(room));
    close(fd);
    if (fill_up(f, &acked) != 0)
        return 1;
    /* Some room, and the same store goes on. */
    CHECK(unlink(ballast) == 0);
    CHECK(kit_put(f->s, acked, 2, &f->err) == WEIR_OK);
    CHECK(kit_is_whole(f->s, acked + 2));
    close_store(f);
    CHECK(open_it(f) == WEIR_OK);
    CHECK(kit_is_whole(f->s, acked + 2));
    close_store(f);
    testkit_free(ballast);
    return 0;
}

static void a_full_disk_keeps_what_it_has(void **state)
{
    int rc = in_child(*state, fill_up_a_disk);

    if (rc == SKIPPED)
        skip(); /* no right to mount one */
    assert_int_equal(rc, 0);
}

/* Whatever is in the file: it is refused, or it can be used. Never a crash. */
static void try_everything(struct fixture *f)
{
    struct store_summary sum;
    struct store_place place;
    struct store_row row;
    struct buf hold = {0};
    uint32_t generation;
    uint64_t rows;
    enum weir_status status = open_it(f);

    if (status != WEIR_OK) {
        assert_null(f->s);
        assert_true(status == WEIR_E_FORMAT || status == WEIR_E_CONFLICT || status == WEIR_E_IO);
        assert_non_null(strstr(f->err.message, "out.weir"));
        return;
    }
    status = f->s->ops->summary(f->s, &sum, &f->err);
    for (uint64_t k = 0; k < 45; k++) {
        status = f->s->ops->get(f->s, k, &row, &hold, &f->err);
        status = f->s->ops->place(f->s, k, &place, &f->err);
        status = f->s->ops->generation(f->s, k, &generation, &f->err);
    }
    status = kit_put(f->s, 100, 10, &f->err);
    status = f->s->ops->set(f->s, "x", SLICE("y"), &f->err);
    status = f->s->ops->reopen_failed(f->s, &rows, &f->err);
    (void)status;
    buf_free(&hold);
    close_store(f);
}

static char *journal_bytes(struct fixture *f, size_t *ret_len)
{
    open_well(f);
    assert_int_equal(f->s->ops->set(f->s, "x", SLICE("a fact"), &f->err), WEIR_OK);
    assert_int_equal(kit_put(f->s, 0, 40, &f->err), WEIR_OK);
    assert_int_equal(kit_mark(f->s, 20, &f->err), WEIR_OK);
    close_store(f);
    return testkit_file_read(f->path, ret_len);
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    struct fixture *f = *state;
    size_t len;
    char *bytes = journal_bytes(f, &len);

    for (size_t cut = 1; cut < len; cut += cut < 200 ? 7 : 509) {
        testkit_file_write(f->path, bytes, cut);
        unlink(f->wal);
        if (open_it(f) != WEIR_E_FORMAT)
            fail_msg("cut at %zu of %zu: %s", cut, len, f->err.message);
        assert_non_null(strstr(f->err.message, "--"));
    }
    testkit_free(bytes);
}

static void changed_bytes_never_crash_it(void **state)
{
    struct fixture *f = *state;
    size_t len;
    char *bytes = journal_bytes(f, &len), *changed = test_malloc(len);
    struct rng rng;

    rng_seed(&rng, 2);
    for (unsigned i = 0; i < 300; i++) {
        memcpy(changed, bytes, len);
        for (uint64_t k = 1 + rng_below(&rng, 3); k > 0; k--) {
            /* Half of them where it says what is where. */
            size_t page = 4096 * (size_t)rng_below(&rng, len / 4096);
            size_t at = rng_below(&rng, 2) ? rng_below(&rng, len) : page + rng_below(&rng, 120);

            changed[at] = (char)rng_u64(&rng);
        }
        testkit_file_write(f->path, changed, len);
        unlink(f->wal);
        try_everything(f);
    }
    test_free(changed);
    testkit_free(bytes);
}

/* A copy of the files of an open journal is what a crash leaves; with the log cut anywhere, what is
 * there is a whole number of puts. */
static void a_log_cut_anywhere_holds_whole_puts(void **state)
{
    struct fixture *f = *state;
    size_t len, wal_len;
    char *bytes, *wal;

    open_well(f);
    for (uint64_t k = 0; k < 40; k += 5)
        assert_int_equal(kit_put(f->s, k, 5, &f->err), WEIR_OK);
    bytes = testkit_file_read(f->path, &len);
    wal = testkit_file_read(f->wal, &wal_len);
    close_store(f);
    for (size_t cut = 0; cut <= wal_len; cut = cut == wal_len        ? cut + 1
                                               : wal_len - cut < 997 ? wal_len
                                                                     : cut + 997) {
        uint64_t there;

        testkit_file_write(f->path, bytes, len);
        testkit_file_write(f->wal, wal, cut);
        open_well(f);
        there = finished(f);
        assert_true(there % 5 == 0 && kit_is_whole(f->s, there));
        assert_int_equal(there == 40, cut == wal_len);
        close_store(f);
    }
    testkit_free(bytes);
    testkit_free(wal);
}

static void a_log_without_its_file_is_not_lost_silently(void **state)
{
    struct fixture *f = *state;
    size_t wal_len;
    char *wal;

    open_well(f);
    assert_int_equal(kit_put(f->s, 0, 5, &f->err), WEIR_OK);
    wal = testkit_file_read(f->wal, &wal_len);
    close_store(f);
    testkit_file_write(f->path, "", 0);
    testkit_file_write(f->wal, wal, wal_len);
    assert_int_equal(open_it(f), WEIR_E_FORMAT);
    assert_int_equal(sqlite_store_open(f->path, SQLITE_STORE_FRESH, &f->s, &f->err), WEIR_OK);
    assert_true(kit_is_whole(f->s, 0));
    testkit_free(wal);
}

/* What a child tells through its pipe, after each call that came back. */
struct ack {
    uint64_t finished, marked;
};

static void put_for_ever(struct fixture *f, int fd, uint64_t seed)
{
    struct store_summary sum;
    struct ack ack;
    struct rng rng;

    rng_seed(&rng, seed);
    if (open_it(f) != WEIR_OK || f->s->ops->summary(f->s, &sum, &f->err) != WEIR_OK)
        _exit(1);
    ack = (struct ack){sum.finished, sum.mark.next};
    for (;;) {
        size_t count = 1 + (size_t)rng_below(&rng, 20);

        if (rng_below(&rng, 4) == 0) {
            uint64_t next = ack.marked + rng_below(&rng, ack.finished - ack.marked + 1);

            if (kit_mark(f->s, next, &f->err) != WEIR_OK)
                _exit(2);
            ack.marked = next;
        } else {
            if (kit_put(f->s, ack.finished, count, &f->err) != WEIR_OK)
                _exit(3);
            ack.finished += count;
        }
        if (write(fd, &ack, sizeof(ack)) != (ssize_t)sizeof(ack))
            _exit(4);
    }
}

/* Kills a child after so many answers and a moment more; returns the last of them. */
static struct ack kill_after(struct fixture *f, struct ack last, uint64_t answers, struct rng *rng)
{
    int fds[2], status;
    pid_t pid;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        put_for_ever(f, fds[1], rng_u64(rng));
    close(fds[1]);
    for (uint64_t i = 0; i < answers; i++) {
        assert_true(testkit_fd_wait(fds[0], POLLIN, 60000));
        assert_int_equal(read(fds[0], &last, sizeof(last)), sizeof(last));
    }
    /* Waits for nothing: it lets the kill strike anywhere within a call. */
    for (uint64_t left = rng_below(rng, 3000000); left > 0; left--)
        __asm__ volatile("");
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    while (read(fds[0], &last, sizeof(last)) == (ssize_t)sizeof(last))
        ;
    close(fds[0]);
    return last;
}

static void what_was_acknowledged_survives_sigkill(void **state)
{
    struct fixture *f = *state;
    struct ack last = {0, 0};
    struct rng rng;

    rng_seed(&rng, 7);
    for (unsigned kills = 0; kills < 20; kills++) {
        struct store_summary sum;

        /* The first ones strike while the journal is made. */
        last = kill_after(f, last, kills < 5 ? 0 : rng_below(&rng, 60), &rng);
        open_well(f);
        assert_int_equal(f->s->ops->summary(f->s, &sum, &f->err), WEIR_OK);
        assert_true(sum.finished >= last.finished && sum.finished <= last.finished + 20);
        assert_true(sum.mark.next >= last.marked);
        assert_true(kit_is_whole(f->s, sum.finished));
        last = (struct ack){sum.finished, sum.mark.next};
        close_store(f);
    }
    assert_true(last.finished > 0);
}

/* SQLite's own memory comes from where a test can make it fail. */

static void *sqlite_alloc(int size)
{
    size_t *p = mem_alloc(sizeof(size_t) * 2 + (size_t)size);

    if (!p)
        return NULL;
    *p = (size_t)size;
    return p + 2;
}

static void sqlite_release(void *p)
{
    if (p)
        mem_free((size_t *)p - 2);
}

static void *sqlite_resize(void *old, int size)
{
    size_t *p = mem_realloc((size_t *)old - 2, sizeof(size_t) * 2 + (size_t)size);

    if (!p)
        return NULL;
    *p = (size_t)size;
    return p + 2;
}

static int sqlite_size(void *p)
{
    return p ? (int)*((size_t *)p - 2) : 0;
}

static int sqlite_round(int size)
{
    return (size + 7) & ~7;
}

static int sqlite_memory_init(void *arg)
{
    (void)arg;
    return SQLITE_OK;
}

static void sqlite_memory_end(void *arg)
{
    (void)arg;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    static sqlite3_mem_methods memory = {
        sqlite_alloc, sqlite_release,     sqlite_resize,     sqlite_size,
        sqlite_round, sqlite_memory_init, sqlite_memory_end, NULL};
    const struct CMUnitTest tests[] = {
        TEST(a_write_that_fails_loses_nothing),
        TEST(a_disk_that_fills_up_loses_nothing),
        TEST(after_a_failed_sync_nothing_more_is_promised),
        TEST(each_allocation_may_fail),
        TEST(a_file_that_may_not_grow_keeps_what_it_has),
        TEST(a_full_disk_keeps_what_it_has),
        TEST(a_file_cut_anywhere_is_refused),
        TEST(changed_bytes_never_crash_it),
        TEST(a_log_cut_anywhere_holds_whole_puts),
        TEST(a_log_without_its_file_is_not_lost_silently),
        TEST(what_was_acknowledged_survives_sigkill),
    };

    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &memory) != SQLITE_OK ||
        sqlite3_initialize() != SQLITE_OK)
        return 1;
    faulty_vfs_install();
    return cmocka_run_group_tests_name("journal faults", tests, NULL, NULL);
}
