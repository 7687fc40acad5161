/*
 * Fingerprints: the values are those of XXH3-128, so that a journal that is written today is
 * understood for ever, and by other tools.
 */
#include "base/mem.h"
#include "store/fingerprint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_hex(struct fingerprint f, const char *want)
{
    char hex[FINGERPRINT_HEX_BYTES];

    fingerprint_hex(f, hex);
    assert_string_equal(hex, want);
}

/* The first is the known value of nothing; the others keep it from changing unseen. */
static void values_stay_what_they_are(void **state)
{
    (void)state;
    assert_hex(fingerprint_of(SLICE("")), "99aa06d3014798d86001c324468d497f");
    assert_hex(fingerprint_of((struct slice){NULL, 0}), "99aa06d3014798d86001c324468d497f");
    assert_hex(fingerprint_of(SLICE("weir")), "58611f8d7be1fe2c3921234764190df9");
    assert_hex(fingerprint_of(SLICE("a row with a NUL \0 in it")),
               "d3a99969270b8b3801681688e09c3b59");
}

static void pieces_give_what_the_whole_gives(void **state)
{
    char bytes[5000];
    struct fingerprint_stream *s;

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 31 + i / 256);
    for (size_t piece = 1; piece < sizeof(bytes); piece = piece * 2 + 1) {
        s = fingerprint_stream_new();
        assert_non_null(s);
        for (size_t at = 0; at < sizeof(bytes); at += piece) {
            size_t left = sizeof(bytes) - at;

            fingerprint_stream_add(s, (struct slice){bytes + at, left < piece ? left : piece});
            /* To look does not end it. */
            assert_true(fingerprint_equal(
                fingerprint_stream_digest(s),
                fingerprint_of((struct slice){bytes, at + (left < piece ? left : piece)})));
        }
        fingerprint_stream_add(s, (struct slice){NULL, 0});
        assert_true(fingerprint_equal(fingerprint_stream_digest(s),
                                      fingerprint_of((struct slice){bytes, sizeof(bytes)})));
        assert_null(fingerprint_stream_free(s));
    }
    assert_null(fingerprint_stream_free(NULL));
}

static void one_changed_bit_changes_it(void **state)
{
    char bytes[300] = {0};
    struct fingerprint whole = fingerprint_of((struct slice){bytes, sizeof(bytes)});

    (void)state;
    for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
        bytes[bit / 8] ^= (char)(1 << (bit % 8));
        assert_false(
            fingerprint_equal(whole, fingerprint_of((struct slice){bytes, sizeof(bytes)})));
        bytes[bit / 8] ^= (char)(1 << (bit % 8));
    }
}

static void hex_is_read_back_and_nothing_else_is(void **state)
{
    struct fingerprint f = {0x0123456789abcdef, 0xfedcba9876543210}, back = {7, 7};

    (void)state;
    assert_hex(f, "0123456789abcdeffedcba9876543210");
    assert_true(fingerprint_parse(SLICE("0123456789abcdeffedcba9876543210"), &back));
    assert_true(fingerprint_equal(f, back));
    back = (struct fingerprint){7, 7};
    assert_false(fingerprint_parse(SLICE(""), &back));
    assert_false(fingerprint_parse(SLICE("0123456789abcdeffedcba987654321"), &back));
    assert_false(fingerprint_parse(SLICE("0123456789abcdeffedcba98765432100"), &back));
    assert_false(fingerprint_parse(SLICE("0123456789abcdeffedcba987654321g"), &back));
    assert_false(fingerprint_parse(SLICE("0123456789ABCDEFFEDCBA9876543210"), &back));
    assert_int_equal(back.hi, 7);
}

static void a_stream_without_memory_is_none(void **state)
{
    (void)state;
    mem_fail_at(1);
    assert_null(fingerprint_stream_new());
    mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_stay_what_they_are),
        cmocka_unit_test(pieces_give_what_the_whole_gives),
        cmocka_unit_test(one_changed_bit_changes_it),
        cmocka_unit_test(hex_is_read_back_and_nothing_else_is),
        cmocka_unit_test(a_stream_without_memory_is_none),
    };

    return cmocka_run_group_tests_name("fingerprint", tests, NULL, NULL);
}
