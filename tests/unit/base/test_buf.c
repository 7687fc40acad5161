/*
 * The growing buffer: what it holds after each way of appending, and after memory ran out.
 */
#include "base/buf.h"
#include "base/mem.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void appends_add_up_and_end_in_a_nul(void **state)
{
    _cleanup_buf_ struct buf b = {0};

    (void)state;
    buf_put(&b, "ab\0c", 4);
    buf_put_slice(&b, SLICE("de"));
    buf_puts(&b, "fg");
    buf_putc(&b, 'h');
    buf_printf(&b, "%d-%s", 12, "x");
    assert_false(b.failed);
    assert_int_equal(b.len, 13);
    assert_memory_equal(b.data, "ab\0cdefgh12-x", 14);
}

static void numbers_are_written_up_to_the_largest(void **state)
{
    _cleanup_buf_ struct buf b = {0};

    (void)state;
    buf_put_u64(&b, 0);
    buf_putc(&b, ' ');
    buf_put_u64(&b, 1024);
    buf_putc(&b, ' ');
    buf_put_u64(&b, UINT64_MAX);
    assert_string_equal(b.data, "0 1024 18446744073709551615");
}

static void empty_appends_do_no_harm(void **state)
{
    _cleanup_buf_ struct buf b = {0};

    (void)state;
    assert_int_equal(buf_slice(&b).len, 0);
    assert_non_null(buf_slice(&b).data);
    buf_put(&b, NULL, 0);
    buf_put_slice(&b, (struct slice){0});
    buf_puts(&b, "");
    buf_printf(&b, "%s", "");
    assert_false(b.failed);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.data, "");
}

static void printf_is_right_at_every_length_around_the_room(void **state)
{
    char text[300];

    (void)state;
    for (size_t before = 0; before < 130; before++) {
        for (size_t len = 0; len < sizeof(text) - 1; len++) {
            struct buf b = {0};

            memset(text, 'x', len);
            text[len] = '\0';
            for (size_t i = 0; i < before; i++)
                buf_putc(&b, 'y');
            buf_printf(&b, "%s", text);
            assert_int_equal(b.len, before + len);
            assert_true(b.len < b.cap);
            assert_string_equal(b.data + before, text);
            buf_free(&b);
        }
    }
}

static void reserved_room_can_be_written_to(void **state)
{
    _cleanup_buf_ struct buf b = {0};

    (void)state;
    for (size_t n = 0; n < 3000; n += 7) {
        char *at = buf_reserve(&b, n);

        assert_non_null(at);
        assert_ptr_equal(at, b.data + b.len);
        memset(at, 'z', n);
        b.len += n;
        b.data[b.len] = '\0';
    }
    assert_int_equal(strlen(b.data), b.len);
}

static void a_reserve_beyond_the_address_space_fails(void **state)
{
    _cleanup_buf_ struct buf b = {0};

    (void)state;
    buf_puts(&b, "x");
    assert_null(buf_reserve(&b, SIZE_MAX));
    assert_true(b.failed);
    buf_clear(&b);
    assert_null(buf_reserve(&b, SIZE_MAX - 1));
    assert_true(b.failed);
}

static void stealing_hands_over_and_empties(void **state)
{
    struct buf b = {0};
    size_t len = 99;
    char *text;

    (void)state;
    text = buf_steal(&b, &len);
    assert_string_equal(text, "");
    assert_int_equal(len, 0);
    mem_free(text);
    buf_puts(&b, "hello");
    text = buf_steal(&b, &len);
    assert_string_equal(text, "hello");
    assert_int_equal(len, 5);
    assert_null(b.data);
    assert_int_equal(b.len, 0);
    mem_free(text);
}

static void append_all(struct buf *b)
{
    buf_puts(b, "first ");
    buf_printf(b, "%200d", 1);
    for (int i = 0; i < 500; i++)
        buf_put(b, "0123456789", 10);
    buf_printf(b, "%*d", 20000, 2);
    buf_putc(b, '!');
}

/* Each allocation fails in turn: what was there before stays, and nothing is added after it. */
static void memory_that_runs_out_stops_the_buffer_and_spoils_nothing(void **state)
{
    struct buf whole = {0};

    (void)state;
    append_all(&whole);
    for (unsigned long n = 1;; n++) {
        struct buf b = {0};
        size_t len = 99;
        bool failed;

        mem_fail_at(n);
        append_all(&b);
        failed = mem_has_failed() != 0;
        mem_fail_at(0);
        assert_int_equal(b.failed, failed);
        assert_true(b.len <= whole.len);
        assert_memory_equal(buf_slice(&b).data, whole.data, b.len);
        if (b.data)
            assert_int_equal(b.data[b.len], '\0');
        if (!failed) {
            assert_int_equal(b.len, whole.len);
            buf_free(&b);
            break;
        }
        assert_true(n < 100);
        assert_null(buf_steal(&b, &len));
        assert_int_equal(len, 99);
        buf_puts(&b, "works again");
        assert_string_equal(b.data, "works again");
        buf_free(&b);
    }
    buf_free(&whole);
}

static void clearing_forgets_a_failure_and_keeps_the_memory(void **state)
{
    _cleanup_buf_ struct buf b = {0};
    size_t cap;

    (void)state;
    buf_puts(&b, "abc");
    cap = b.cap;
    mem_fail_at(1);
    buf_printf(&b, "%1000d", 1);
    mem_fail_at(0);
    assert_true(b.failed);
    assert_string_equal(b.data, "abc");
    buf_clear(&b);
    assert_false(b.failed);
    assert_int_equal(b.cap, cap);
    assert_string_equal(b.data, "");
}

static void numbers_are_written_with_a_point_in_every_locale(void **state)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE", "fr_FR.UTF-8"};
    _cleanup_buf_ struct buf b = {0};
    bool set = false;

    (void)state;
    for (size_t i = 0; i < 3 && !set; i++)
        set = setlocale(LC_NUMERIC, names[i]) != NULL;
    buf_printf(&b, "%.2f", 1.5);
    setlocale(LC_NUMERIC, "C");
    assert_string_equal(b.data, "1.50");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_add_up_and_end_in_a_nul),
        cmocka_unit_test(numbers_are_written_up_to_the_largest),
        cmocka_unit_test(empty_appends_do_no_harm),
        cmocka_unit_test(printf_is_right_at_every_length_around_the_room),
        cmocka_unit_test(reserved_room_can_be_written_to),
        cmocka_unit_test(a_reserve_beyond_the_address_space_fails),
        cmocka_unit_test(stealing_hands_over_and_empties),
        cmocka_unit_test(memory_that_runs_out_stops_the_buffer_and_spoils_nothing),
        cmocka_unit_test(clearing_forgets_a_failure_and_keeps_the_memory),
        cmocka_unit_test(numbers_are_written_with_a_point_in_every_locale),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
