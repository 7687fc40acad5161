/* engine/committer: what happens to records of attempts when the store is slower than the attempts. */
#include "engine/committer.h"

#include "unit/engine/engine_test.h"

/* A store whose put waits at a latch, and counts what it got. */
struct slow_store {
    struct core_store base;
    struct latch entered, open;
    size_t rows, attempts;
};

static enum weir_status slow_put(struct core_store *s, const struct store_row *rows,
                                 size_t row_count, const struct store_attempt *attempts,
                                 size_t attempt_count, struct weir_error *e)
{
    struct slow_store *slow = (struct slow_store *)s;

    (void)rows;
    (void)attempts;
    (void)e;
    latch_add(&slow->entered, 1);
    if (!latch_wait(&slow->open, 1))
        return WEIR_E_IO;
    slow->rows += row_count;
    slow->attempts += attempt_count;
    return WEIR_OK;
}

static const struct core_store_ops slow_ops = {.name = "slow", .put = slow_put};

static void on_done(void *ctx, struct core_task *chain, enum weir_status status,
                    const struct weir_error *e)
{
    (void)e;
    assert_int_equal(status, WEIR_OK);
    for (; chain; chain = chain->next)
        latch_add(ctx, 1);
}

static void records_beyond_the_bound_are_dropped_and_counted(void **state)
{
    struct slow_store store = {{&slow_ops}, LATCH_INIT, LATCH_INIT, 0, 0};
    struct latch done = LATCH_INIT;
    struct core_task row, tried;
    struct committer *c;

    (void)state;
    task_init(&row);
    task_init(&tried);
    row.key = tried.key = "k";
    ok(committer_new(&store.base, 0, on_done, &done, &c, &err));
    committer_put(c, &row);
    committer_kick(c);
    assert_true(latch_wait(&store.entered, 1));
    for (int i = 0; i < COMMITTER_ATTEMPTS_MAX + 10; i++)
        committer_attempt(c, &tried, 0);
    assert_int_equal(committer_unrecorded(c), 0);
    committer_kick(c);
    assert_int_equal(committer_unrecorded(c), 10);
    latch_add(&store.open, 1);
    assert_true(latch_wait(&done, 1));
    committer_free(c);
    assert_int_equal(store.rows, 1);
    assert_int_equal(store.attempts, COMMITTER_ATTEMPTS_MAX);
    task_clear(&row);
    task_clear(&tried);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_beyond_the_bound_are_dropped_and_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
