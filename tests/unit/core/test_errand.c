/* What is kept of an op of somebody else, for the desk; what of it the desk does, the lives of the desk see (simulation). */
#include "core/errand.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void what_an_op_has_made_ready_goes_from_it_to_the_desk(void **state)
{
    struct registry_op op = {.kind = REGISTRY_RETRY, .at_ns = 70, .ret_due_ns = 90};
    struct errand e = {0};

    (void)state;
    op.ret_ready = mem_calloc(1, sizeof *op.ret_ready);
    op.ret_ready->next = mem_calloc(1, sizeof *op.ret_ready);
    op.ret_lines = mem_calloc(2, sizeof *op.ret_lines);
    op.ret_line_count = 2;
    errand_keep(&e, &op);
    assert_true(!op.ret_ready && !op.ret_lines && op.ret_line_count == 0);
    assert_true(e.left.ret_ready && e.left.ret_ready->next && e.left.ret_lines);
    assert_int_equal(e.left.ret_line_count, 2);
    assert_int_equal(e.left.ret_due_ns, 90);
    assert_int_equal(e.wake_ns, 70);
    assert_int_equal(e.kind, REGISTRY_RETRY);
    errand_drop(&e.left);
    assert_true(!e.left.ret_ready && !e.left.ret_lines && e.left.ret_line_count == 0);
}

static void the_first_time_that_an_op_sets_is_kept_if_it_was_written(void **state)
{
    struct registry_spec specs[3] = {{.not_before_ns = 500},
                                     {.deadline_ns = 300, .not_before_ns = 400}};
    struct registry_op op = {.kind = REGISTRY_SUBMIT, .submit = {.specs = specs, .count = 3}};
    struct errand submitted = {0}, failed = {0}, edited = {0}, unchanged = {0};
    const int64_t not_before_ns = 7;

    (void)state;
    errand_keep(&submitted, &op);
    assert_int_equal(submitted.wake_ns, 300);
    op.err.status = WEIR_E_IO;
    op.untaken = true;
    errand_keep(&failed, &op);
    assert_int_equal(failed.wake_ns, 0);
    assert_int_equal(failed.left.err.status, WEIR_E_IO);
    assert_true(failed.left.untaken);
    op = (struct registry_op){.kind = REGISTRY_EDIT, .edit = {.not_before_ns = &not_before_ns}};
    errand_keep(&edited, &op);
    assert_int_equal(edited.wake_ns, 7);
    op.edit.not_before_ns = NULL;
    errand_keep(&unchanged, &op);
    assert_int_equal(unchanged.wake_ns, 0);
}

static void a_cancel_whose_attempt_is_being_ended_has_not_failed(void **state)
{
    static const enum weir_status fine[] = {WEIR_E_BUSY, WEIR_E_CONFLICT};
    struct registry_op op = {.kind = REGISTRY_CANCEL, .cancel.task = 3};

    (void)state;
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        struct errand ran = {.task = 3, .ran = true}, waited = {.task = 3};

        op.err.status = fine[i];
        errand_keep(&waited, &op);
        assert_int_equal(op.err.status, fine[i]);
        errand_keep(&ran, &op);
        assert_int_equal(op.err.status, WEIR_OK);
        /* The desk is told what the registry said. */
        assert_int_equal(ran.left.err.status, fine[i]);
    }
    op.err.status = WEIR_E_IO;
    errand_keep(&(struct errand){.task = 3, .ran = true}, &op);
    assert_int_equal(op.err.status, WEIR_E_IO);
}

static void ops_that_may_change_what_the_desk_has_begin_there(void **state)
{
    (void)state;
    assert_true(errand_has_to_begin(&(struct registry_op){.kind = REGISTRY_CANCEL}));
    assert_true(errand_has_to_begin(&(struct registry_op){.kind = REGISTRY_EDIT}));
    assert_false(errand_has_to_begin(&(struct registry_op){.kind = REGISTRY_SUBMIT}));
    assert_false(errand_has_to_begin(&(struct registry_op){.kind = REGISTRY_RETRY}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_an_op_has_made_ready_goes_from_it_to_the_desk),
        cmocka_unit_test(the_first_time_that_an_op_sets_is_kept_if_it_was_written),
        cmocka_unit_test(a_cancel_whose_attempt_is_being_ended_has_not_failed),
        cmocka_unit_test(ops_that_may_change_what_the_desk_has_begin_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
