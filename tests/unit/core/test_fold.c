/* STARTs that are written with their ENDs: which are, and how they come back. */
#include "core/fold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { OPS = 4 };

/* A START, something, its END, and another op; as a chain. */
static struct registry_op *chain_of(struct registry_op ops[OPS], enum registry_op_kind between)
{
    static const enum registry_op_kind kinds[OPS] = {REGISTRY_START, REGISTRY_TELL, REGISTRY_END,
                                                     REGISTRY_TELL};

    for (size_t i = 0; i < OPS; i++)
        ops[i] = (struct registry_op){.kind = kinds[i], .next = i + 1 < OPS ? &ops[i + 1] : NULL};
    ops[0].start.task = ops[2].end.task = 7;
    ops[0].start.token = 9;
    ops[1].kind = between;
    ops[2].start_op = &ops[0];
    return ops;
}

static void a_start_goes_with_its_end_and_comes_back_before_it(void **state)
{
    struct registry_op ops[OPS], *chain = chain_of(ops, REGISTRY_TELL), **tail;
    uint64_t groups = 0;

    (void)state;
    assert_ptr_equal(fold_starts(&chain, &tail, &groups), &ops[0]);
    assert_null(ops[0].next);
    assert_true(ops[2].end.started);
    assert_int_equal(ops[2].end.start.token, 9);
    assert_ptr_equal(chain, &ops[1]);
    assert_ptr_equal(tail, &ops[3].next);
    unfold_starts(&chain);
    assert_false(ops[0].folded || ops[2].end.started);
    assert_ptr_equal(chain, &ops[1]);
    assert_ptr_equal(ops[1].next, &ops[0]);
    assert_ptr_equal(ops[0].next, &ops[2]);
}

static void nothing_is_folded_past_what_must_find_the_task_running(void **state)
{
    static const enum registry_op_kind barriers[] = {REGISTRY_CANCEL, REGISTRY_EDIT, REGISTRY_WAKE};

    (void)state;
    for (size_t i = 0; i < sizeof barriers / sizeof *barriers; i++) {
        struct registry_op ops[OPS], *chain = chain_of(ops, barriers[i]), **tail;
        uint64_t groups = 5;

        assert_null(fold_starts(&chain, &tail, &groups));
        assert_ptr_equal(chain, &ops[0]);
        assert_false(ops[2].end.started);
    }
}

static void a_start_of_an_earlier_group_stays_apart(void **state)
{
    struct registry_op ops[OPS], *first = chain_of(ops, REGISTRY_TELL), *second = &ops[2], **tail;
    uint64_t groups = 0;

    (void)state;
    ops[1].next = NULL;
    assert_null(fold_starts(&first, &tail, &groups));
    assert_null(fold_starts(&second, &tail, &groups));
    assert_false(ops[2].end.started);
}

static void a_start_that_is_in_the_spill_file_is_not_folded(void **state)
{
    struct registry_op ops[OPS], *chain = chain_of(ops, REGISTRY_TELL), **tail;
    uint64_t groups = 0;

    (void)state;
    ops[0].spilled = true;
    assert_null(fold_starts(&chain, &tail, &groups));
    assert_ptr_equal(chain, &ops[0]);
    assert_false(ops[2].end.started);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_goes_with_its_end_and_comes_back_before_it),
        cmocka_unit_test(nothing_is_folded_past_what_must_find_the_task_running),
        cmocka_unit_test(a_start_of_an_earlier_group_stays_apart),
        cmocka_unit_test(a_start_that_is_in_the_spill_file_is_not_folded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
