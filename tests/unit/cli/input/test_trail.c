/* Trails: any change of any line is noticed, and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cli/input/trail.h"

static struct fingerprint line_of(uint64_t number)
{
    return fingerprint_of((struct slice){(const char *)&number, sizeof(number)});
}

static struct trail trail_of(uint64_t lines, size_t marks_max)
{
    struct trail t = {.marks_max = marks_max};

    for (uint64_t i = 0; i < lines; i++)
        assert_int_equal(trail_add(&t, line_of(i), i + 100, NULL), WEIR_OK);
    return t;
}

/* Walks `lines` lines of which line `other` (if below) differs; gives the number of steps that were
 * good. */
static uint64_t walk(const struct trail *t, uint64_t lines, uint64_t other, struct trail_walk *w)
{
    *w = (struct trail_walk){0};
    for (uint64_t i = 0; i < lines; i++)
        if (!trail_step(t, w, i == other ? line_of(UINT64_MAX) : line_of(i)))
            return i;
    return lines;
}

static void the_same_lines_are_the_same(void **state)
{
    (void)state;
    for (uint64_t lines = 0; lines < 300; lines++) {
        struct trail t = trail_of(lines, 16);
        struct trail_walk w;

        assert_true(t.mark_count <= 16);
        assert_int_equal(walk(&t, lines, UINT64_MAX, &w), lines);
        assert_true(trail_ended(&t, &w));
        assert_false(trail_step(&t, &w, line_of(lines)));
        trail_free(&t);
    }
}

static void a_changed_line_is_noticed_within_its_block(void **state)
{
    (void)state;
    for (uint64_t lines = 1; lines < 200; lines += 7) {
        struct trail t = trail_of(lines, 16);

        for (uint64_t other = 0; other < lines; other++) {
            struct trail_walk w;
            uint64_t good = walk(&t, lines, other, &w);

            assert_true(good < lines);
            assert_true(good >= other && good < other + t.stride);
            assert_true(w.good_lines <= other && w.good_lines + t.stride > other);
            assert_int_equal(w.good_place, w.good_lines ? w.good_lines - 1 + 100 : 0);
        }
        trail_free(&t);
    }
}

static void a_short_input_is_compared_line_by_line(void **state)
{
    struct trail t = trail_of(1000, 0);
    struct trail_walk w;

    (void)state;
    assert_int_equal(t.stride, 1);
    assert_int_equal(walk(&t, 1000, 777, &w), 777);
    trail_free(&t);
}

static void missing_lines_are_noticed(void **state)
{
    struct trail t = trail_of(50, 16);
    struct trail_walk w;

    (void)state;
    for (uint64_t lines = 0; lines < 50; lines++) {
        assert_int_equal(walk(&t, lines, UINT64_MAX, &w), lines);
        assert_false(trail_ended(&t, &w));
    }
    trail_free(&t);
}

static void an_empty_trail_takes_no_line(void **state)
{
    struct trail t = {0};
    struct trail_walk w = {0};

    (void)state;
    assert_true(trail_ended(&t, &w));
    assert_false(trail_step(&t, &w, line_of(0)));
    trail_free(&t);
}

static void memory_is_bounded_and_may_be_short(void **state)
{
    struct trail t = trail_of(3 * TRAIL_MARKS_MAX, 0);

    (void)state;
    assert_true(t.mark_cap <= TRAIL_MARKS_MAX);
    assert_int_equal(t.stride, 4);
    trail_free(&t);

    t = (struct trail){0};
    mem_fail_at(1);
    assert_int_equal(trail_add(&t, line_of(0), 0, NULL), WEIR_E_NOMEM);
    mem_fail_at(0);
    assert_int_equal(t.lines, 0);
    assert_int_equal(trail_add(&t, line_of(0), 0, NULL), WEIR_OK);
    assert_true(fingerprint_equal(t.state, trail_chain((struct fingerprint){0, 0}, line_of(0))));
    trail_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_lines_are_the_same),
        cmocka_unit_test(a_changed_line_is_noticed_within_its_block),
        cmocka_unit_test(a_short_input_is_compared_line_by_line),
        cmocka_unit_test(missing_lines_are_noticed),
        cmocka_unit_test(an_empty_trail_takes_no_line),
        cmocka_unit_test(memory_is_bounded_and_may_be_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
