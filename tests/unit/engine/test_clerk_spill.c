/*
 * The clerk when its store takes nothing: what is refused, what is kept, and what the spill file
 * holds meanwhile. The store is a stand-in, which fails for as long as it is told to, before a
 * registry in memory.
 */
#include "base/error.h"
#include "base/mem.h"
#include "engine/clerk.h"
#include "engine/spill.h"
#include "store/registry/memory_registry.h"
#include "support/testkit.h"
#include "unit/engine/engine_test.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WAIT_MS 20000

/* In place of the C library's: a disk that fails when it is told to. */
static atomic_bool cannot_sync, cannot_cut;

int fdatasync(int fd)
{
    if (!atomic_load(&cannot_sync))
        return (int)syscall(SYS_fdatasync, fd);
    errno = EIO;
    return -1;
}

int ftruncate(int fd, off_t length)
{
    if (!atomic_load(&cannot_cut))
        return (int)syscall(SYS_ftruncate, fd, length);
    errno = EIO;
    return -1;
}

struct stand_in {
    struct core_registry base; /* first */
    atomic_int left;           /* transactions that succeed before they fail; negative: all do */
    atomic_int then;           /* after one has failed, so many succeed; then 0 */
    atomic_uint fails, done, refused;
    struct core_registry *inner;
    struct clerk *clerk;
    char *dir, *spill;
    struct registry_op ops[8];
    uint64_t ids[8];
    char told[16];
};

static enum weir_status apply(struct core_registry *r, struct registry_op *chain,
                              struct weir_error *e)
{
    struct stand_in *s = (struct stand_in *)r;
    int left = atomic_load(&s->left);

    if (left == 0) {
        (void)atomic_compare_exchange_strong(&s->left, &left, atomic_exchange(&s->then, 0));
        atomic_fetch_add(&s->fails, 1);
        return error_set(e, WEIR_E_BUSY, "the store is locked");
    }
    if (left > 0)
        atomic_fetch_sub(&s->left, 1);
    return s->inner->ops->apply(s->inner, chain, e);
}

static uint64_t last_event(struct core_registry *r)
{
    struct stand_in *s = (struct stand_in *)r;

    return s->inner->ops->last_event(s->inner);
}

static const struct core_registry_ops stand_in_ops = {
    .name = "stand-in", .apply = apply, .last_event = last_event};

static void done(void *ctx, struct registry_op *chain)
{
    struct stand_in *s = ctx;

    while (chain) {
        struct registry_op *op = chain;

        chain = op->next;
        while (op->ret_ready) {
            struct registry_task *t = op->ret_ready;

            op->ret_ready = t->next;
            mem_free(t);
        }
        op->ret_lines = mem_free(op->ret_lines);
        atomic_fetch_add(op->untaken ? &s->refused : &s->done, 1);
    }
}

static void open_clerk_with(struct stand_in *s, const char *spill)
{
    *s = (struct stand_in){.base.ops = &stand_in_ops, .left = 0};
    s->dir = testkit_dir_make();
    s->spill = testkit_path(s->dir, "spill");
    ok(memory_registry_new(&s->inner, &err));
    ok(clerk_new(
        &s->base,
        &(struct clerk_options){.spill_path = spill ? spill : s->spill, .done = done, .ctx = s},
        &s->clerk, &err));
}

static void open_clerk(struct stand_in *s)
{
    open_clerk_with(s, NULL);
}

static void close_clerk(struct stand_in *s)
{
    atomic_store(&s->left, -1);
    clerk_free(s->clerk);
    s->inner->ops->close(s->inner);
    testkit_free(s->spill);
    testkit_dir_remove(s->dir);
}

static bool put_task(void *ctx, const struct registry_event *e)
{
    struct stand_in *s = ctx;
    size_t len = strlen(s->told);

    assert_true(len + 1 < sizeof s->told);
    s->told[len] = (char)('0' + e->task);
    s->told[len + 1] = '\0';
    return true;
}

/* The tasks of all events that the registry has, a digit each. */
static const char *told(struct stand_in *s)
{
    const struct registry_event_filter all = {0};
    struct registry_reader *r;

    s->told[0] = '\0';
    ok(s->inner->ops->reader(s->inner, &r, &err));
    ok(r->ops->events(r, &all, 0, 100, put_task, s, &err));
    r->ops->close(r);
    return s->told;
}

static struct clerk_stats stats_of(struct stand_in *s)
{
    struct clerk_stats stats;

    clerk_get_stats(s->clerk, &stats);
    return stats;
}

static void tell(struct stand_in *s, size_t i)
{
    s->ops[i] = (struct registry_op){.kind = REGISTRY_TELL,
                                     .at_ns = (int64_t)i + 1,
                                     .tell = {.kind = REGISTRY_POOL_CHANGED, .task = i + 1}};
    clerk_send(s->clerk, &s->ops[i]);
}

static void submit(struct stand_in *s, size_t i)
{
    static const struct registry_spec plain = {.line = {.pool = {"work", 4}}};

    s->ops[i] =
        (struct registry_op){.kind = REGISTRY_SUBMIT,
                             .at_ns = 1,
                             .submit = {.specs = &plain, .count = 1, .ret_ids = &s->ids[i]}};
    clerk_send(s->clerk, &s->ops[i]);
}

struct want {
    atomic_uint *of;
    unsigned count;
};

static bool has(void *arg)
{
    const struct want *w = arg;

    return atomic_load(w->of) >= w->count;
}

static void await_count(atomic_uint *of, unsigned count)
{
    assert_true(testkit_until(has, &(struct want){of, count}, WAIT_MS));
}

struct want_stat {
    struct stand_in *of;
    uint64_t count;
};

static bool is_spilled(void *arg)
{
    const struct want_stat *w = arg;

    return stats_of(w->of).events_spilled == w->count;
}

static bool is_at_risk(void *arg)
{
    const struct want_stat *w = arg;

    return stats_of(w->of).events_at_risk == w->count;
}

static void await_stat(struct stand_in *s, bool (*is)(void *arg), uint64_t count)
{
    assert_true(testkit_until(is, &(struct want_stat){s, count}, WAIT_MS));
}

static size_t lines(const char *path)
{
    size_t len, n = 0;
    char *text = testkit_file_read(path, &len);

    for (size_t i = 0; i < len; i++)
        n += text[i] == '\n';
    testkit_free(text);
    return n;
}

static void a_submit_does_not_wait_behind_what_the_store_will_not_take(void **state)
{
    struct stand_in s;

    (void)state;
    open_clerk(&s);
    tell(&s, 0);
    await_count(&s.fails, 1);
    submit(&s, 1);
    await_count(&s.refused, 1);
    /* Not BUSY, which would mean that its task runs. */
    assert_int_equal(s.ops[1].err.status, WEIR_E_AGAIN);
    assert_int_equal(atomic_load(&s.done), 0);
    atomic_store(&s.left, -1);
    await_count(&s.done, 1);
    submit(&s, 2);
    await_count(&s.done, 2);
    close_clerk(&s);
}

static void what_comes_while_the_store_fails_is_spilled_too(void **state)
{
    struct stand_in s;

    (void)state;
    open_clerk(&s);
    tell(&s, 0);
    await_count(&s.fails, 1);
    tell(&s, 1);
    tell(&s, 2);
    await_count(&s.fails, atomic_load(&s.fails) + 2);
    assert_int_equal(lines(s.spill), 1 + 3);
    atomic_store(&s.left, -1);
    await_count(&s.done, 3);
    close_clerk(&s);
}

static void the_spill_file_stays_until_all_that_is_in_it_is_durable(void **state)
{
    struct stand_in s;
    unsigned fails;

    (void)state;
    open_clerk(&s);
    for (size_t i = 0; i < 5; i++)
        tell(&s, i);
    await_count(&s.fails, 3);
    assert_int_equal(lines(s.spill), 1 + 5);
    /* One goes through, then the store fails again: the others are in the file and nowhere else. */
    atomic_store(&s.left, 1);
    await_count(&s.done, 1);
    fails = atomic_load(&s.fails);
    await_count(&s.fails, fails + 1);
    assert_int_equal(lines(s.spill), 1 + 5);
    atomic_store(&s.left, -1);
    await_count(&s.done, 5);
    close_clerk(&s);
}

static void what_was_written_before_a_crash_is_not_taken_in_again(void **state)
{
    struct stand_in s;
    uint64_t count;

    (void)state;
    open_clerk(&s);
    for (size_t i = 0; i < 5; i++)
        tell(&s, i);
    await_stat(&s, is_spilled, 5);
    /* One goes through, then two together; then the store fails until the dispatcher is killed. */
    atomic_store(&s.left, 2);
    await_count(&s.done, 3);
    clerk_give_up(s.clerk);
    clerk_free(s.clerk);
    s.clerk = NULL;
    assert_int_equal(atomic_load(&s.done), 3);
    assert_int_equal(atomic_load(&s.refused), 2);
    assert_string_equal(told(&s), "123");
    ok(spill_import(s.spill, s.inner, &count, &err));
    assert_int_equal(count, 2);
    assert_string_equal(told(&s), "12345");
    close_clerk(&s);
}

static void a_start_that_is_in_the_file_is_written_in_its_place(void **state)
{
    struct stand_in s;
    uint64_t count;

    (void)state;
    open_clerk(&s);
    tell(&s, 0);
    await_count(
        &s.fails,
        1); /* from here on it is tried alone, and the others get into the file as they come */
    tell(&s, 1);
    tell(&s, 2);
    s.ops[3] = (struct registry_op){.kind = REGISTRY_START, .at_ns = 4, .start.task = 4};
    clerk_send(s.clerk, &s.ops[3]);
    tell(&s, 4);
    s.ops[5] = (struct registry_op){
        .kind = REGISTRY_END, .at_ns = 6, .end.task = 6, .start_op = &s.ops[3]};
    clerk_send(s.clerk, &s.ops[5]);
    await_stat(&s, is_spilled, 6);
    /* One, two; the other three are one group, which fails, and then the first of them goes alone. */
    atomic_store(&s.then, 1);
    atomic_store(&s.left, 2);
    await_count(&s.done, 4);
    clerk_give_up(s.clerk);
    clerk_free(s.clerk);
    s.clerk = NULL;
    assert_null(strchr(told(&s), '5'));
    ok(spill_import(s.spill, s.inner, &count, &err));
    assert_int_equal(count, 2);
    assert_non_null(strchr(told(&s), '5'));
    assert_ptr_equal(strchr(s.told, '5'), strrchr(s.told, '5'));
    close_clerk(&s);
}

static void what_is_neither_in_the_store_nor_on_the_disk_is_at_risk(void **state)
{
    /* One cannot be written, the other not synced. */
    static const char *const files[] = {"/dev/full", "/dev/null"};

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct stand_in s;

        open_clerk_with(&s, files[i]);
        tell(&s, 0);
        await_count(&s.fails, 1);
        tell(&s, 1);
        tell(&s, 2);
        await_stat(&s, is_at_risk, 3);
        /* Trying again does not make them safe. */
        await_count(&s.fails, atomic_load(&s.fails) + 2);
        assert_int_equal(stats_of(&s).events_at_risk, 3);
        assert_int_equal(stats_of(&s).events_spilled, 0);
        atomic_store(&s.left, -1);
        await_stat(&s, is_at_risk, 0);
        await_count(&s.done, 3);
        assert_string_equal(told(&s), "123");
        close_clerk(&s);
    }
}

static void what_found_no_room_in_the_file_is_tried_again(void **state)
{
    struct stand_in s;
    struct rlimit before, small;
    size_t len;

    (void)state;
    open_clerk(&s);
    (void)signal(SIGXFSZ, SIG_IGN);
    tell(&s, 0);
    await_stat(&s, is_spilled, 1);
    testkit_free(testkit_file_read(s.spill, &len));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = len + 10; /* for half a line */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    tell(&s, 1);
    tell(&s, 2);
    await_stat(&s, is_at_risk, 2);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    await_stat(&s, is_at_risk, 0);
    assert_int_equal(stats_of(&s).events_spilled, 3);
    assert_int_equal(lines(s.spill), 1 + 3);
    close_clerk(&s);
}

/* Of 1 to 5: the first `safe` are in the file, the others in doubt. */
static void break_spill(struct stand_in *s, unsigned safe)
{
    open_clerk(s);
    for (size_t i = 0; i < safe; i++)
        tell(s, i);
    if (safe > 0)
        await_stat(s, is_spilled, safe);
    atomic_store(&cannot_cut, true);
    atomic_store(&cannot_sync, true);
    /* In one transaction, or one after the other: the first that fails breaks the file, and nothing follows it. */
    for (size_t i = safe; i < 5; i++)
        tell(s, i);
    await_stat(s, is_at_risk, 5 - safe);
    assert_int_equal(stats_of(s).events_spilled, safe);
}

static void a_killed_start(struct stand_in *s)
{
    uint64_t count;

    clerk_give_up(s->clerk);
    clerk_free(s->clerk);
    s->clerk = NULL;
    atomic_store(&cannot_cut, false);
    atomic_store(&cannot_sync, false);
    ok(spill_import(s->spill, s->inner, &count, &err));
}

static void what_a_broken_file_may_have_is_not_taken_in_again(void **state)
{
    (void)state;
    for (unsigned safe = 0; safe < 4; safe += 2)
        for (int taken = 1; taken <= 5; taken += 2) {
            struct stand_in s;
            char *all;
            size_t len;

            break_spill(&s, safe);
            all = testkit_file_read(s.spill, &len);
            assert_non_null(strstr(all, "\"task\":"));
            testkit_free(all);
            atomic_store(&s.left, taken);
            await_count(&s.done, (unsigned)taken);
            a_killed_start(&s);
            for (const char *at = told(&s); *at; at++)
                assert_null(strchr(at + 1, *at));
            assert_true(strlen(s.told) >= (size_t)taken);
            close_clerk(&s);
        }
}

static void a_file_that_is_mended_has_what_the_store_has_not(void **state)
{
    (void)state;
    for (unsigned safe = 0; safe < 4; safe += 2)
        for (int taken = 0; taken <= 4; taken += 2) {
            struct stand_in s;

            break_spill(&s, safe);
            atomic_store(&s.left, taken);
            await_count(&s.done, (unsigned)taken);
            atomic_store(&cannot_cut, false);
            atomic_store(&cannot_sync, false);
            await_stat(&s, is_at_risk, 0);
            a_killed_start(&s);
            assert_string_equal(told(&s), "12345");
            close_clerk(&s);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_submit_does_not_wait_behind_what_the_store_will_not_take),
        cmocka_unit_test(what_comes_while_the_store_fails_is_spilled_too),
        cmocka_unit_test(the_spill_file_stays_until_all_that_is_in_it_is_durable),
        cmocka_unit_test(what_was_written_before_a_crash_is_not_taken_in_again),
        cmocka_unit_test(a_start_that_is_in_the_file_is_written_in_its_place),
        cmocka_unit_test(what_is_neither_in_the_store_nor_on_the_disk_is_at_risk),
        cmocka_unit_test(what_a_broken_file_may_have_is_not_taken_in_again),
        cmocka_unit_test(a_file_that_is_mended_has_what_the_store_has_not),
        cmocka_unit_test(what_found_no_room_in_the_file_is_tried_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
