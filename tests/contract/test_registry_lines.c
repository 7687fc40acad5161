/*
 * Lines come with their first task and go after their last: what core/ports/registry.h promises of
 * their numbers, tried on every registry there is.
 */
#include "support/registrykit.h"

#include "base/mem.h"
#include "support/testkit.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define MANY   100000
#define SOME   2000
#define ROUNDS 20
#define GROUP  5000
#define ALL    UINT32_MAX

static struct registry_op op_purge(uint32_t max)
{
    struct registry_op op = {.kind = REGISTRY_PURGE};

    op.purge = (struct registry_purge){.max = max};
    return op;
}

/* What a PURGE tells: "2 5 more". Sorted, for the order is open. */
static const char *purge(struct registrykit *k, struct registry_op op)
{
    uint32_t *gone;

    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    gone = op.purge.ret_lines_gone;
    buf_clear(&k->text);
    for (size_t i = 0; i < op.purge.ret_lines_gone_count; i++) {
        size_t least = i;

        for (size_t n = i; n < op.purge.ret_lines_gone_count; n++)
            least = gone[n] < gone[least] ? n : least;
        buf_printf(&k->text, "%s%" PRIu32, i ? " " : "", gone[least]);
        gone[least] = gone[i];
    }
    if (op.purge.ret_more)
        buf_puts(&k->text, " more");
    registrykit_used(&op);
    return buf_slice(&k->text).data;
}

static const char *purge_all(struct registrykit *k)
{
    return purge(k, op_purge(ALL));
}

static struct registry_spec of_session(const char *session)
{
    return (struct registry_spec){.line = {.session = slice_of(session)}};
}

static uint32_t line_of(struct registrykit *k, uint64_t task)
{
    return registrykit_view(k, task).line.id;
}

static void delete_it(struct registrykit *k, uint64_t task)
{
    if (registrykit_state(k, task) != REGISTRY_CANCELLED)
        registrykit_do(k, (struct registry_op){.kind = REGISTRY_CANCEL, .cancel = {.task = task}});
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_DELETE, .remove = {task}});
}

static enum weir_status try_submit(struct registrykit *k, struct registry_spec spec)
{
    return registrykit_try(
        k, (struct registry_op){.kind = REGISTRY_SUBMIT, .submit = {.specs = &spec, .count = 1}});
}

static const struct registry_line *line(struct registrykit *k, uint32_t id)
{
    return k->r->ops->line(k->r, id);
}

/* ---- coming and going ---- */

static void a_line_without_tasks_goes_and_its_number_is_given_again(void **state)
{
    struct registrykit *k = *state;
    uint64_t a = registrykit_submit(k, of_session("a")), b = registrykit_submit(k, of_session("b"));

    assert_int_equal(line_of(k, a), 1);
    assert_int_equal(line_of(k, b), 2);
    assert_string_equal(purge_all(k), "");
    delete_it(k, a);
    assert_string_equal(purge_all(k), "1");
    /* Who was told may still ask. */
    assert_true(slice_equal(line(k, 1)->session, SLICE("a")));
    assert_int_equal(line_of(k, registrykit_submit(k, of_session("c"))), 3);
    assert_string_equal(purge_all(k), "");
    assert_null(line(k, 1));
    a = registrykit_submit(k,
                           (struct registry_spec){.line = {.skill = SLICE("gpu"), .priority = 7}});
    assert_int_equal(line_of(k, a), 1);
    assert_true(slice_equal(line(k, 1)->skill, SLICE("gpu")) && line(k, 1)->priority == 7);
    assert_int_equal(registrykit_view(k, a).line.priority, 7);
    assert_true(slice_equal(line(k, 3)->session, SLICE("c")));
    assert_int_equal(line_of(k, registrykit_submit(k, of_session("d"))), 4);
    assert_string_equal(registrykit_take(k, 1, 0, 10), "");
}

static void what_was_dropped_comes_again_as_another_one(void **state)
{
    struct registrykit *k = *state;
    uint64_t id = registrykit_submit(k, of_session("a"));

    delete_it(k, id);
    assert_string_equal(purge_all(k), "1");
    id = registrykit_submit(k, of_session("a"));
    assert_int_equal(line_of(k, id), 2);
    assert_string_equal(purge_all(k), "");
    assert_null(line(k, 1));
    assert_int_equal(line_of(k, registrykit_submit(k, of_session("a"))), 2);
}

static void a_line_that_an_edit_has_emptied_goes(void **state)
{
    struct registrykit *k = *state;
    uint64_t id = registrykit_submit(k, of_session("a"));
    const int32_t priority = 5;

    registrykit_do(k, (struct registry_op){.kind = REGISTRY_EDIT,
                                           .edit = {.task = id, .priority = &priority}});
    assert_int_equal(line_of(k, id), 2);
    assert_string_equal(purge_all(k), "1");
}

static void tasks_of_any_state_keep_their_line(void **state)
{
    struct registrykit *k = *state;
    static const enum registry_state ends[] = {REGISTRY_DONE, REGISTRY_FAILED, REGISTRY_CANCELLED};

    for (size_t i = 0; i < 3; i++) {
        uint64_t id = registrykit_submit(k, of_session("a"));

        registrykit_run(k, id, ends[i]);
        assert_string_equal(purge_all(k), "");
        if (i < 2)
            registrykit_submit(k, of_session("a"));
        registrykit_do(k, (struct registry_op){.kind = REGISTRY_DELETE, .remove = {id}});
    }
    assert_string_equal(purge_all(k), "");
    for (uint64_t id = 2; id <= 4; id += 2)
        delete_it(k, id);
    assert_string_equal(purge_all(k), "1");
}

static void at_most_so_many_go_at_a_time(void **state)
{
    struct registrykit *k = *state;
    char session[] = "a";
    size_t gone = 0;

    for (uint64_t id = 1; id <= 5; id++, session[0]++)
        delete_it(k, registrykit_submit(k, of_session(session)));
    assert_string_equal(purge(k, op_purge(0)), " more");
    for (int i = 0; i < 3; i++) {
        struct registry_op op = op_purge(2);

        assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
        gone += op.purge.ret_lines_gone_count;
        assert_int_equal(op.purge.ret_more, i < 2);
        registrykit_used(&op);
    }
    assert_int_equal(gone, 5);
}

static void batches_go_at_most_so_many_at_a_time_too(void **state)
{
    struct registrykit *k = *state;
    struct registry_op op = op_purge(2);
    struct registry_batch b;
    size_t there = 0;

    for (uint64_t i = 1; i <= 3; i++) {
        registrykit_batch(k, "");
        registrykit_do(k, (struct registry_op){.kind = REGISTRY_BATCH_END, .batch_end = {i}});
    }
    op.purge.tasks_before_ns = k->now + 1;
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_true(op.purge.ret_more);
    for (uint64_t i = 1; i <= 3; i++)
        there += k->reader->ops->batch(k->reader, i, &b, &k->err) == WEIR_OK;
    assert_int_equal(there, 1);
    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    assert_false(op.purge.ret_more);
}

/* ---- who was told ---- */

static void numbers_that_somebody_holds_are_kept(void **state)
{
    struct registrykit *k = *state;
    struct registry_op keeps = op_purge(ALL);

    delete_it(k, registrykit_submit(k, of_session("a")));
    keeps.purge.keep_lines = true;
    assert_string_equal(purge(k, keeps), "1"); /* it drops, all the same */
    assert_string_equal(purge(k, keeps), "");
    assert_true(slice_equal(line(k, 1)->session, SLICE("a")));
    assert_int_equal(line_of(k, registrykit_submit(k, of_session("b"))), 2);
    assert_string_equal(purge_all(k), "");
    assert_int_equal(line_of(k, registrykit_submit(k, of_session("c"))), 1);
}

static void nothing_is_taken_from_a_line_that_is_gone(void **state)
{
    struct registrykit *k = *state;
    struct registry_op take = {.kind = REGISTRY_TAKE, .take = {.line = 1, .max = 1}};

    delete_it(k, registrykit_submit(k, of_session("a")));
    assert_int_equal(registrykit_try(k, take), WEIR_OK);
    purge_all(k);
    assert_int_equal(registrykit_try(k, take), WEIR_E_END);
    purge_all(k);
    assert_int_equal(registrykit_try(k, take), WEIR_E_END);
}

static void a_view_outlives_the_line_until_the_next_call(void **state)
{
    struct registrykit *k = *state;
    uint64_t id = registrykit_submit(
        k, (struct registry_spec){
               .line = {.session = SLICE("s"), .tenant = SLICE("t"), .slots = SLICE("x,y")}});
    struct registry_view v;

    registrykit_do(k, (struct registry_op){.kind = REGISTRY_CANCEL, .cancel = {.task = id}});
    v = registrykit_view(k, id);
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_DELETE, .remove = {id}});
    purge_all(k);
    purge_all(k);
    assert_null(line(k, 1));
    registrykit_submit(k, of_session("z"));
    assert_true(slice_equal(v.line.session, SLICE("s")) && slice_equal(v.line.tenant, SLICE("t")) &&
                slice_equal(v.line.slots, SLICE("x,y")) && v.line.pool.len == 0);
}

/* ---- failures and restarts ---- */

static void chain(struct registrykit *k, struct registry_op *ops, size_t count,
                  enum weir_status want)
{
    const char *wrong;

    for (size_t i = 0; i < count; i++) {
        ops[i].next = i + 1 < count ? &ops[i + 1] : NULL;
        ops[i].at_ns = k->now;
    }
    assert_int_equal(k->r->ops->apply(k->r, ops, &k->err), want);
    wrong = k->kind->check(k->r);
    if (wrong)
        fail_msg("%s", wrong);
    for (size_t i = 0; i < count; i++)
        registrykit_used(&ops[i]);
}

static void a_failed_transaction_leaves_the_lines_as_they_were(void **state)
{
    struct registrykit *k = *state;
    const struct registry_spec old = of_session("b"), news[] = {of_session("x"),
                                                                of_session("y"),
                                                                {.line = {.pool = SLICE("other")}}};
    const int32_t priority = 3;
    _cleanup_buf_ struct buf before = {0}, after = {0};

    delete_it(k, registrykit_submit(k, of_session("a")));
    registrykit_submit(k, old);
    registrykit_submit(k, (struct registry_spec){.line = {.pool = SLICE("p")}});
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_CANCEL, .cancel = {.task = 3}});
    assert_string_equal(purge_all(k), "1");
    registrykit_put_all(k, &before);
    for (int i = 0; i < 2; i++) {
        struct registry_op ops[] = {
            {.kind = REGISTRY_EDIT, .edit = {.task = 2, .priority = &priority}},
            {.kind = REGISTRY_SUBMIT, .submit = {.specs = &old, .count = 1}},
            {.kind = REGISTRY_DELETE, .remove = {3}},
            op_purge(ALL),
            {.kind = REGISTRY_SUBMIT, .submit = {.specs = news, .count = 3}},
        };

        k->kind->fail_next(k->r, i == 0);
        chain(k, ops, 5, i == 0 ? WEIR_E_IO : WEIR_OK);
        if (i > 0)
            break;
        registrykit_put_all(k, &after);
        assert_string_equal(before.data, after.data);
        assert_true(slice_equal(line(k, 2)->session, SLICE("b")));
        assert_true(slice_equal(line(k, 3)->pool, SLICE("p")));
        assert_null(line(k, 4));
    }
    /* What the first of the two PURGEs let go of was free from there on; 3 is told, and not free yet. */
    assert_int_equal(line_of(k, 2), 1);
    assert_int_equal(line_of(k, 7), 6);
    assert_true(slice_equal(line(k, 3)->pool, SLICE("p")));
    assert_string_equal(purge_all(k), "");
    assert_null(line(k, 3));
}

static void want_of_memory_leaves_the_lines_as_they_were(void **state)
{
    struct registrykit *k = *state;
    const struct registry_spec news[] = {of_session("x"), {.line = {.skill = SLICE("y")}}};
    _cleanup_buf_ struct buf before = {0};
    enum weir_status status = WEIR_E_NOMEM;

    delete_it(k, registrykit_submit(k, of_session("a")));
    registrykit_submit(k, of_session("b"));
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_CANCEL, .cancel = {.task = 2}});
    registrykit_put_all(k, &before);
    for (unsigned long n = 1; status != WEIR_OK; n++) {
        _cleanup_buf_ struct buf after = {0};
        struct registry_op ops[] = {
            op_purge(ALL),
            {.kind = REGISTRY_DELETE, .remove = {2}},
            {.kind = REGISTRY_SUBMIT, .submit = {.specs = news, .count = 2}},
        };

        ops[0].next = &ops[1];
        ops[1].next = &ops[2];
        ops[0].at_ns = ops[1].at_ns = ops[2].at_ns = k->now;
        mem_fail_at(n);
        status = k->r->ops->apply(k->r, ops, &k->err);
        mem_fail_at(0);
        assert_null(k->kind->check(k->r));
        if (status == WEIR_OK) {
            assert_int_equal(ops[0].purge.ret_lines_gone_count, 1);
            for (size_t i = 0; i < 3; i++)
                registrykit_used(&ops[i]);
            break;
        }
        assert_int_equal(status, WEIR_E_NOMEM);
        assert_true(!ops[0].purge.ret_lines_gone && !ops[2].ret_ready);
        registrykit_put_all(k, &after);
        assert_string_equal(before.data, after.data);
    }
    assert_int_equal(line_of(k, 3), 3);
}

static void after_a_restart_numbers_of_what_is_gone_are_free(void **state)
{
    struct registrykit *k = *state;

    for (int i = 0; i < 4; i++)
        registrykit_submit(k, of_session((const char *[]){"a", "b", "c", "d"}[i]));
    delete_it(k, 2);
    delete_it(k, 4);
    assert_string_equal(purge_all(k), "2 4");
    registrykit_reopen(k);
    assert_null(line(k, 2));
    assert_null(line(k, 4));
    assert_int_equal(line_of(k, 3), 3);
    assert_int_equal(line_of(k, registrykit_submit(k, of_session("c"))), 3);
    assert_int_equal(line_of(k, registrykit_submit(k, of_session("e"))), 2);
    assert_int_equal(line_of(k, registrykit_submit(k, of_session("f"))), 4);
    assert_int_equal(line_of(k, registrykit_submit(k, of_session("g"))), 5);
    delete_it(k, 1);
    registrykit_reopen(k);
    assert_string_equal(purge_all(k), "1"); /* it was known to be without tasks */
}

/* ---- limits ---- */

static void an_op_for_which_there_is_no_number_is_refused_alone(void **state)
{
    struct registrykit *k = *state;
    const struct registry_spec refused[] = {of_session("c"), of_session("d")},
                               known = of_session("a"), third = of_session("e"),
                               last = of_session("c");
    const int32_t priority = 5;
    uint64_t ids[2] = {0};
    struct registry_op ops[] = {
        {.kind = REGISTRY_SUBMIT, .submit = {.specs = refused, .count = 2}},
        {.kind = REGISTRY_SUBMIT, .submit = {.specs = &known, .count = 1, .ret_ids = &ids[0]}},
        {.kind = REGISTRY_SUBMIT, .submit = {.specs = &third, .count = 1, .ret_ids = &ids[1]}},
        {.kind = REGISTRY_EDIT, .edit = {.task = 1, .priority = &priority}},
        {.kind = REGISTRY_CANCEL, .cancel = {.task = 2}},
    };

    registrykit_submit(k, of_session("a"));
    registrykit_submit(k, of_session("b"));
    k->kind->limit_lines(k->r, 3);
    registrykit_new_events(k);
    chain(k, ops, 5, WEIR_OK);
    assert_int_equal(ops[0].err.status, WEIR_E_LIMIT);
    assert_non_null(strstr(ops[0].err.message, "task 1: there are 3 kinds of tasks"));
    /* What was refused has used no number, of a task or of a line. */
    assert_int_equal(ops[1].err.status, WEIR_OK);
    assert_int_equal(ops[2].err.status, WEIR_OK);
    assert_true(ids[0] == 3 && ids[1] == 4);
    assert_int_equal(line_of(k, 4), 3);
    assert_int_equal(ops[3].err.status, WEIR_E_LIMIT);
    assert_int_equal(ops[4].err.status, WEIR_OK);
    registrykit_events(k, "task.submitted 3\ntask.ready 3\ntask.submitted 4\ntask.ready 4\n"
                          "task.cancelled 2\n");
    assert_int_equal(registrykit_view(k, 1).line.priority, 0);
    registrykit_do(k, (struct registry_op){.kind = REGISTRY_DELETE, .remove = {2}});
    assert_string_equal(purge_all(k), "2");
    assert_int_equal(try_submit(k, last), WEIR_E_LIMIT);
    purge_all(k);
    assert_int_equal(try_submit(k, last), WEIR_OK);
    assert_int_equal(line_of(k, 5), 2);
}

/* ---- many ---- */

struct round {
    struct registrykit *k;
    uint64_t first;
    uint32_t greatest; /* number of a line */
};

/* In groups, as they would come: sessions of one conversation each, half of them for a skill of its own. */
static void come(struct round *r, uint64_t count, int round)
{
    static struct registry_spec specs[GROUP];
    static char names[GROUP][32];
    static uint64_t ids[GROUP];

    r->first = 0;
    for (uint64_t n = 0; n < count; n += GROUP) {
        uint64_t size = count - n < GROUP ? count - n : GROUP;
        struct registry_op op = {.kind = REGISTRY_SUBMIT,
                                 .at_ns = r->k->now,
                                 .submit = {.specs = specs, .count = size, .ret_ids = ids}};

        for (uint64_t i = 0; i < size; i++) {
            snprintf(names[i], sizeof(names[i]), "%d-%" PRIu64, round, n + i);
            specs[i] = (struct registry_spec){.line = {.session = slice_of(names[i])}};
            if (i % 2)
                specs[i].line.skill = specs[i].line.session;
        }
        assert_int_equal(r->k->r->ops->apply(r->k->r, &op, &r->k->err), WEIR_OK);
        assert_int_equal(op.err.status, WEIR_OK);
        registrykit_used(&op);
        if (r->first == 0)
            r->first = ids[0];
    }
}

static void end_all(struct round *r, uint64_t count)
{
    static struct registry_op ops[GROUP];

    for (uint64_t n = 0; n < count; n += GROUP) {
        uint64_t size = count - n < GROUP ? count - n : GROUP;

        for (uint64_t i = 0; i < size; i++) {
            uint64_t id = r->first + n + i;

            ops[i] = registrykit_end_op(id, id, REGISTRY_DONE);
            ops[i].end.started = true;
            ops[i].end.start = (struct registry_start){.task = id, .token = id, .attempt = 1};
            ops[i].end.started_ns = ops[i].at_ns = r->k->now;
            ops[i].next = i + 1 < size ? &ops[i + 1] : NULL;
        }
        assert_int_equal(r->k->r->ops->apply(r->k->r, ops, &r->k->err), WEIR_OK);
        for (uint64_t i = 0; i < size; i++) {
            assert_int_equal(ops[i].err.status, WEIR_OK);
            registrykit_used(&ops[i]);
        }
    }
}

/* Until there is nothing more to go; what the last one told is let go of. */
static size_t purge_round(struct round *r)
{
    struct registry_op op = op_purge(GROUP);
    size_t gone = 0;
    bool more = true;

    for (bool last = false; !last;) {
        last = !more;
        op.at_ns = r->k->now;
        op.purge.tasks_before_ns = r->k->now + 1;
        op.purge.events_max = 1;
        assert_int_equal(r->k->r->ops->apply(r->k->r, &op, &r->k->err), WEIR_OK);
        gone += op.purge.ret_lines_gone_count;
        for (size_t i = 0; i < op.purge.ret_lines_gone_count; i++)
            if (op.purge.ret_lines_gone[i] > r->greatest)
                r->greatest = op.purge.ret_lines_gone[i];
        more = op.purge.ret_more;
        registrykit_used(&op);
    }
    return gone;
}

static bool put_tally(void *ctx, const struct registry_tally *t)
{
    uint64_t all = 0;

    for (unsigned s = 0; s < REGISTRY_STATES; s++)
        all += t->states[s];
    *(uint64_t *)ctx += all;
    return true;
}

static uint64_t tally(struct registrykit *k)
{
    uint64_t sum = 0;

    assert_int_equal(k->reader->ops->tallies(k->reader, put_tally, &sum, &k->err), WEIR_OK);
    return sum;
}

static bool count_one(void *ctx, const struct registry_line *l)
{
    (void)l;
    ++*(size_t *)ctx;
    return true;
}

static size_t ready_lines(struct registrykit *k)
{
    size_t count = 0;

    assert_int_equal(k->r->ops->lines(k->r, count_one, &count, &k->err), WEIR_OK);
    return count;
}

static void live_round(struct round *r, uint64_t count, int round)
{
    struct registrykit *k = r->k;
    char first[32];

    come(r, count, round);
    assert_int_equal(ready_lines(k), count);
    assert_int_equal(tally(k), count);
    snprintf(first, sizeof(first), "%d-1", round);
    assert_true(slice_equal(registrykit_view(k, r->first + 1).line.skill, slice_of(first)));
    end_all(r, count);
    assert_int_equal(ready_lines(k), 0);
    assert_int_equal(purge_round(r), count);
    assert_int_equal(tally(k), 0);
    for (uint32_t id = 1; id <= r->greatest; id++)
        assert_null(line(k, id));
}

static void many_sessions_come_and_go(void **state)
{
    struct round r = {.k = *state};

    live_round(&r, MANY, 0);
    assert_int_equal(r.greatest, MANY);
    assert_null(r.k->kind->check(r.k->r));
}

static off_t file_size(struct registrykit *k)
{
    struct stat st;

    registrykit_reopen(k); /* what is in its log is copied back */
    return stat(k->path, &st) == 0 ? st.st_size : 0;
}

static void neither_numbers_nor_the_file_grow_with_what_is_gone(void **state)
{
    struct round r = {.k = *state};
    off_t size = 0;

    for (int round = 0; round < ROUNDS; round++) {
        live_round(&r, SOME, round);
        if (round == 2)
            size = file_size(r.k);
    }
    assert_true(file_size(r.k) <= size + size / 4); /* 17 rounds are more than ten times that */
    assert_int_equal(r.greatest, SOME);
    assert_null(r.k->kind->check(r.k->r));
}

int main(void)
{
    static const struct registrykit_test tests[] = {
        REGISTRYKIT_TEST(a_line_without_tasks_goes_and_its_number_is_given_again),
        REGISTRYKIT_TEST(what_was_dropped_comes_again_as_another_one),
        REGISTRYKIT_TEST(a_line_that_an_edit_has_emptied_goes),
        REGISTRYKIT_TEST(tasks_of_any_state_keep_their_line),
        REGISTRYKIT_TEST(at_most_so_many_go_at_a_time),
        REGISTRYKIT_TEST(batches_go_at_most_so_many_at_a_time_too),
        REGISTRYKIT_TEST(numbers_that_somebody_holds_are_kept),
        REGISTRYKIT_TEST(nothing_is_taken_from_a_line_that_is_gone),
        REGISTRYKIT_TEST(a_view_outlives_the_line_until_the_next_call),
        REGISTRYKIT_TEST(a_failed_transaction_leaves_the_lines_as_they_were),
        REGISTRYKIT_TEST(want_of_memory_leaves_the_lines_as_they_were),
        REGISTRYKIT_TEST(after_a_restart_numbers_of_what_is_gone_are_free),
        REGISTRYKIT_TEST(an_op_for_which_there_is_no_number_is_refused_alone),
        REGISTRYKIT_TEST(many_sessions_come_and_go),
        REGISTRYKIT_TEST(neither_numbers_nor_the_file_grow_with_what_is_gone),
    };

    return registrykit_main(tests, sizeof(tests) / sizeof(tests[0]));
}
