/*
 * The clerk when its store takes nothing: what is refused, what is kept, and what the spill file holds meanwhile. The store is
 * a stand-in, which fails for as long as it is told to.
 */
#include "base/error.h"
#include "engine/clerk.h"
#include "engine/spill.h"
#include "support/testkit.h"
#include "unit/engine/engine_test.h"

#include <signal.h>
#include <sys/resource.h>

#define WAIT_MS 20000

struct stand_in {
    struct core_registry base; /* first */
    atomic_int left;           /* transactions that succeed before they fail; negative: all do */
    atomic_uint fails, done, refused;
    struct clerk *clerk;
    char *dir, *spill;
    struct registry_op ops[8];
};

static enum weir_status apply(struct core_registry *r, struct registry_op *chain,
                              struct weir_error *e)
{
    struct stand_in *s = (struct stand_in *)r;
    int left = atomic_load(&s->left);

    (void)chain;
    if (left == 0) {
        atomic_fetch_add(&s->fails, 1);
        return error_set(e, WEIR_E_BUSY, "the store is locked");
    }
    if (left > 0)
        atomic_fetch_sub(&s->left, 1);
    return WEIR_OK;
}

static uint64_t last_event(struct core_registry *r)
{
    (void)r;
    return 1;
}

static const struct core_registry_ops stand_in_ops = {
    .name = "stand-in", .apply = apply, .last_event = last_event};

static void done(void *ctx, struct registry_op *chain)
{
    struct stand_in *s = ctx;

    for (; chain; chain = chain->next)
        atomic_fetch_add(chain->untaken ? &s->refused : &s->done, 1);
}

static void open_clerk(struct stand_in *s)
{
    *s = (struct stand_in){.base.ops = &stand_in_ops, .left = 0};
    s->dir = testkit_dir_make();
    s->spill = testkit_path(s->dir, "spill");
    ok(clerk_new(&s->base, &(struct clerk_options){.spill_path = s->spill, .done = done, .ctx = s},
                 &s->clerk, &err));
}

static void close_clerk(struct stand_in *s)
{
    clerk_free(s->clerk);
    testkit_free(s->spill);
    testkit_dir_remove(s->dir);
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
    s->ops[i] = (struct registry_op){.kind = REGISTRY_SUBMIT, .submit.count = 1};
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
    assert_int_equal(lines(s.spill), 3);
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
    assert_int_equal(lines(s.spill), 5);
    /* One goes through, then the store fails again: the others are in the file and nowhere else. */
    atomic_store(&s.left, 1);
    await_count(&s.done, 1);
    fails = atomic_load(&s.fails);
    await_count(&s.fails, fails + 1);
    assert_int_equal(lines(s.spill), 5);
    atomic_store(&s.left, -1);
    await_count(&s.done, 5);
    close_clerk(&s);
}

/* ---- the file ---- */

static bool count_event(void *ctx, const struct registry_event *e)
{
    *(uint64_t *)ctx = *(uint64_t *)ctx * 10 + e->task;
    return true;
}

static void half_a_line_is_cut_off(void **state)
{
    static const char half[] = "{\"at_ns\":1,\"kind\":\"task.done\",\"task\":1}\n{\"at_ns\":2,\"ki";
    char *dir = testkit_dir_make(), *path = testkit_path(dir, "spill");
    struct registry_op op = {
        .kind = REGISTRY_TELL, .at_ns = 3, .tell = {.kind = REGISTRY_POOL_CHANGED, .task = 2}};
    struct spill *s;
    struct weir_error why = {0};
    uint64_t tasks = 0;

    (void)state;
    testkit_file_write(path, half, sizeof half - 1);
    ok(spill_new(path, &s, &err));
    assert_false(spill_is_empty(s));
    assert_true(spill_write(s, &op, &why));
    ok(spill_read(path, count_event, &tasks, &err));
    assert_int_equal(tasks, 12);
    spill_clear(s);
    assert_true(spill_is_empty(s));
    spill_free(s);
    testkit_free(path);
    testkit_dir_remove(dir);
}

static void a_full_disk_leaves_no_half_line(void **state)
{
    char *dir = testkit_dir_make(), *path = testkit_path(dir, "spill");
    struct registry_op op = {
        .kind = REGISTRY_TELL, .at_ns = 3, .tell = {.kind = REGISTRY_POOL_CHANGED, .task = 2}};
    struct rlimit before, small;
    struct spill *s;
    struct weir_error why = {0};
    uint64_t tasks = 0;
    size_t line;

    (void)state;
    ok(spill_new(path, &s, &err));
    assert_true(spill_write(s, &op, &why));
    testkit_free(testkit_file_read(path, &line));
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = line + line / 2;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_false(spill_write(s, &op, &why));
    assert_false(spill_write(s, &op, &why));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(spill_write(s, &op, &why));
    ok(spill_read(path, count_event, &tasks, &err));
    assert_int_equal(tasks, 22);
    spill_free(s);
    testkit_free(path);
    testkit_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_submit_does_not_wait_behind_what_the_store_will_not_take),
        cmocka_unit_test(what_comes_while_the_store_fails_is_spilled_too),
        cmocka_unit_test(the_spill_file_stays_until_all_that_is_in_it_is_durable),
        cmocka_unit_test(half_a_line_is_cut_off),
        cmocka_unit_test(a_full_disk_leaves_no_half_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
