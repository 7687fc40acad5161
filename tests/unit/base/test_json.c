/*
 * Looking at JSON through slices, and writing strings: what goes in comes out as it was.
 */
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static void assert_slice(struct slice s, const char *text)
{
    if (!slice_equal(s, slice_of(text)))
        fail_msg("\"%.*s\" is not \"%s\"", (int)s.len, s.data, text);
}

static void kinds_are_told_by_the_first_byte(void **state)
{
    (void)state;
    assert_int_equal(json_kind(SLICE(" null ")), JSON_NULL);
    assert_int_equal(json_kind(SLICE("false")), JSON_FALSE);
    assert_int_equal(json_kind(SLICE("\ttrue")), JSON_TRUE);
    assert_int_equal(json_kind(SLICE("-1")), JSON_NUMBER);
    assert_int_equal(json_kind(SLICE("0")), JSON_NUMBER);
    assert_int_equal(json_kind(SLICE("\"\"")), JSON_STRING);
    assert_int_equal(json_kind(SLICE("[]")), JSON_ARRAY);
    assert_int_equal(json_kind(SLICE("\r\n{}")), JSON_OBJECT);
    assert_int_equal(json_kind(SLICE("")), JSON_NONE);
    assert_int_equal(json_kind(SLICE(" ")), JSON_NONE);
    assert_int_equal(json_kind((struct slice){NULL, 0}), JSON_NONE);
}

static void trimming_takes_white_space_only(void **state)
{
    (void)state;
    assert_slice(json_trim(SLICE(" \t\r\n1 2\n")), "1 2");
    assert_slice(json_trim(SLICE("   ")), "");
    assert_slice(json_trim(SLICE("")), "");
    assert_slice(json_trim(SLICE("\v1")), "\v1");
}

static void members_are_found_and_come_as_they_are(void **state)
{
    static const char text[] =
        " { \"a\" : 1.0 , \"b\":\"x,}\\\"\\\\\" ,\"c\" : [1,{\"a\":2},\"]\"],"
        "\"d\":{\"a\":3 , \"}\":[ ]}, \"\" : null,\"last\":12e3 } ";
    struct slice object = SLICE(text);
    struct slice value;

    (void)state;
    assert_true(json_check(object, NULL));
    assert_true(json_member(object, "a", &value));
    assert_slice(value, "1.0");
    assert_true(json_member(object, "b", &value));
    assert_slice(value, "\"x,}\\\"\\\\\"");
    assert_true(json_member(object, "c", &value));
    assert_slice(value, "[1,{\"a\":2},\"]\"]");
    assert_true(json_member(object, "d", &value));
    assert_slice(value, "{\"a\":3 , \"}\":[ ]}");
    assert_true(json_member(value, "a", &value));
    assert_slice(value, "3");
    assert_true(json_member(object, "", &value));
    assert_slice(value, "null");
    assert_true(json_member(object, "last", &value));
    assert_slice(value, "12e3");
}

static void an_absent_member_leaves_the_output_untouched(void **state)
{
    static const char *const texts[] = {
        "{}", "{\"b\":1}", "[\"a\",1]",  "\"a\"",    "1",
        "",   "{\"A\":1}", "{\"aa\":1}", "{\"\":1}", "{\"b\":{\"a\":1}}"};

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct slice value = SLICE("kept");

        assert_false(json_member(slice_of(texts[i]), "a", &value));
        assert_slice(value, "kept");
    }
}

static void the_last_of_members_with_one_name_counts(void **state)
{
    struct slice value;

    (void)state;
    assert_true(json_member(SLICE("{\"a\":1,\"b\":2,\"a\":3,\"c\":4}"), "a", &value));
    assert_slice(value, "3");
    assert_true(json_member(SLICE("{\"a\":1,\"\\u0061\":3}"), "a", &value));
    assert_slice(value, "3");
}

static void several_members_are_found_in_one_pass(void **state)
{
    struct json_wanted wanted[] = {{.name = SLICE("a")},
                                   {.name = SLICE("b")},
                                   {.name = SLICE("absent")},
                                   {.name = SLICE("n")}};

    (void)state;
    json_members(SLICE(" {\"b\": [1,{\"a\":2}], \"ab\":5,\"a\":1,\"\\u0061\":\"x\", \"n\":null} "),
                 wanted, COUNT(wanted));
    assert_slice(wanted[0].value, "\"x\"");
    assert_slice(wanted[1].value, "[1,{\"a\":2}]");
    assert_int_equal(wanted[2].value.len, 0);
    assert_slice(wanted[3].value, "null");
    json_members(SLICE("[\"a\",\"b\"]"), wanted, COUNT(wanted));
    for (size_t i = 0; i < COUNT(wanted); i++)
        assert_int_equal(wanted[i].value.len, 0);
    json_members(SLICE("{}"), wanted, COUNT(wanted));
    for (size_t i = 0; i < COUNT(wanted); i++)
        assert_int_equal(wanted[i].value.len, 0);
}

/* Wherever it stands in a long string, behind however much that is plain. */
static void the_end_of_a_string_is_found_at_every_distance(void **state)
{
    static const char *const enders[] = {"\"", "\\\"", "\\\\", "\x01", "\xC3\xA4", "\x7f", "\x80"};

    (void)state;
    for (size_t len = 0; len < 70; len++) {
        for (size_t i = 0; i < COUNT(enders); i++) {
            char text[160];
            struct slice value;
            bool valid = i == 1 || i == 2 || i == 4 || i == 5;
            int n = snprintf(text, sizeof(text), "{\"k\":\"%.*s%s%.*s\",\"z\":7}", (int)len,
                             "....................................................................."
                             "..",
                             enders[i], (int)(len % 19), "___________________");
            struct slice whole = {text, (size_t)n};

            assert_int_equal(json_check(whole, NULL), valid);
            if (valid) {
                assert_true(json_member(whole, "z", &value));
                assert_slice(value, "7");
            }
        }
    }
}

static void names_are_compared_with_their_escapes_resolved(void **state)
{
    static const struct {
        const char *string;
        const char *text;
        bool equal;
    } cases[] = {
        {"\"a\"", "a", true},
        {"\"\"", "", true},
        {"\"\\u0061b\"", "ab", true},
        {"\"a\\u0062\"", "ab", true},
        {"\"a\\/b\"", "a/b", true},
        {"\"\\n\"", "\n", true},
        {"\"\\\\n\"", "\\n", true},
        {"\"\\\"\"", "\"", true},
        {"\"\\u00e4\"", "\xC3\xA4", true},
        {"\"\xC3\xA4\"", "\xC3\xA4", true},
        {"\"\\ud83d\\ude00\"", "\xF0\x9F\x98\x80", true},
        {"\"\\ud83d\"", "\xEF\xBF\xBD", true},
        {"\"\\n\"", "\\n", false},
        {"\"a\"", "b", false},
        {"\"a\"", "", false},
        {"\"\"", "a", false},
        {"\"ab\"", "a", false},
        {"\"a\"", "ab", false},
        {"\"\\u0061\"", "ab", false},
        {"\"\\u0061b\"", "a", false},
        {"\"ab\\u0063\"", "abd", false},
        {"1", "1", false},
        {"null", "ul", false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct slice string = slice_of(cases[i].string);

        if (json_string_equals(string, slice_of(cases[i].text)) != cases[i].equal)
            fail_msg("%s and %s", cases[i].string, cases[i].text);
    }
    assert_true(json_string_equals(SLICE("\"a\\u0000b\""), SLICE("a\0b")));
    assert_true(json_string_equals(SLICE(" \"a\" "), SLICE("a")));
}

static void iteration_gives_each_value_once_in_order(void **state)
{
    static const char *const values[] = {"1",           "\"a,b\"", "[ 2 , 3 ]",
                                         "{\"x\":[4]}", "null",    "-0.5"};
    struct slice array = SLICE("\n[ 1,\"a,b\" , [ 2 , 3 ],{\"x\":[4]}\n,null , -0.5 ]\n");
    struct json_iter it;
    struct slice key;
    struct slice value;
    size_t n = 0;

    (void)state;
    assert_true(json_check(array, NULL));
    json_iter_init(&it, array);
    assert_false(it.object);
    while (json_iter_next(&it, &key, &value)) {
        assert_true(n < COUNT(values));
        assert_slice(value, values[n++]);
        assert_int_equal(key.len, 0);
    }
    assert_int_equal(n, COUNT(values));
    assert_false(json_iter_next(&it, &key, &value));
}

static void iteration_of_an_object_gives_names_with_their_quotes(void **state)
{
    struct json_iter it;
    struct slice key;
    struct slice value;

    (void)state;
    json_iter_init(&it, SLICE("{ \"a\\\"\" :1, \"b\": {} }"));
    assert_true(it.object);
    assert_true(json_iter_next(&it, &key, &value));
    assert_slice(key, "\"a\\\"\"");
    assert_slice(value, "1");
    assert_true(json_iter_next(&it, &key, &value));
    assert_slice(key, "\"b\"");
    assert_slice(value, "{}");
    assert_false(json_iter_next(&it, &key, &value));
    assert_slice(value, "{}");
}

static void what_is_no_container_has_nothing_to_step_through(void **state)
{
    static const char *const texts[] = {"", "1", "\"[1]\"", "null", "[]", "{}", "[ ]", " { } "};
    struct json_iter it;

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        json_iter_init(&it, slice_of(texts[i]));
        assert_false(json_iter_next(&it, NULL, NULL));
    }
}

static void unquoting_resolves_escapes(void **state)
{
    static const struct {
        const char *string;
        struct slice text;
    } cases[] = {
        {"\"\"", {"", 0}},
        {"\"plain\"", {"plain", 5}},
        {" \"spaced\" ", {"spaced", 6}},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", {"\"\\/\b\f\n\r\t", 8}},
        {"\"\\u0000x\"", {"\0x", 2}},
        {"\"\\u007f\\u0080\\u07FF\\u0800\\uffff\"",
         {"\x7f\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF", 11}},
        {"\"\\ud83d\\ude00\"", {"\xF0\x9F\x98\x80", 4}},
        {"\"\\uD800\\uDC00\\uDBFF\\uDFFF\"", {"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", 8}},
        {"\"\\ud800\"", {"\xEF\xBF\xBD", 3}},
        {"\"\\udc00\"", {"\xEF\xBF\xBD", 3}},
        {"\"\\ud800x\"", {"\xEF\xBF\xBDx", 4}},
        {"\"\\ud800\\n\"", {"\xEF\xBF\xBD\n", 4}},
        {"\"\\ud800\\ud800\\udc00\"", {"\xEF\xBF\xBD\xF0\x90\x80\x80", 7}},
        {"\"\\udc00\\ud800\"", {"\xEF\xBF\xBD\xEF\xBF\xBD", 6}},
        {"\"\xC3\xA4\\u00e4\"", {"\xC3\xA4\xC3\xA4", 4}},
        {"1", {"", 0}},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        _cleanup_buf_ struct buf out = {0};

        json_unquote(slice_of(cases[i].string), &out);
        assert_int_equal(out.len, cases[i].text.len);
        assert_memory_equal(buf_slice(&out).data, cases[i].text.data, out.len);
    }
}

static void half_a_pair_is_no_text(void **state)
{
    static const char *const texts[] = {"\"\"", "\"plain\"", "\"\\ud83d\\ude00\"", "\"\\\\ud800\"",
                                        "\"\\u00e9\\n\""};
    static const char *const halves[] = {"\"\\ud800\"", "\"a\\udfff!\"",
                                         "\"\\ud83d\\ude00\\ud83d\"", "\"\\udc00\\ud800\"",
                                         "\"\\ud800\\n\""};

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++)
        assert_true(json_string_is_text(slice_of(texts[i])));
    for (size_t i = 0; i < COUNT(halves); i++)
        assert_false(json_string_is_text(slice_of(halves[i])));
}

static void numbers_are_read_as_integers_when_they_are_whole(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {
        {"0", 0},
        {"-0", 0},
        {"7", 7},
        {"-7", -7},
        {" 12 ", 12},
        {"1e3", 1000},
        {"1.5e1", 15},
        {"1000.0", 1000},
        {"120e-1", 12},
        {"0.0", 0},
        {"0e999999999", 0},
        {"0e-99999999999999999999", 0},
        {"10203000", 10203000},
        {"1.000000000000000000000000000000", 1},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
        {"9223372036854775807.000", INT64_MAX},
        {"1000000000000000000000000e-20", 10000},
    };
    static const char *const bad[] = {
        "",
        "1.5",
        "-0.1",
        "1e-1",
        "9223372036854775808",
        "-9223372036854775809",
        "1e19",
        "1e99999999999999999999",
        "null",
        "\"1\"",
        "[1]",
        "true",
        "99999999999999999999999",
        "0.000000000000000000000000001",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        int64_t value = 42;

        if (!json_int64(slice_of(good[i].text), &value) || value != good[i].value)
            fail_msg("%s gives %lld", good[i].text, (long long)value);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        int64_t value = 42;

        if (json_int64(slice_of(bad[i]), &value) || value != 42)
            fail_msg("%s gives %lld", bad[i], (long long)value);
    }
}

static bool same(double a, double b)
{
    return a >= b && a <= b;
}

static void numbers_are_read_as_doubles(void **state)
{
    char digits[400];
    double value = 42;

    (void)state;
    assert_true(json_double(SLICE("0.1"), &value) && same(value, 0.1));
    assert_true(json_double(SLICE(" -1.5e3 "), &value) && same(value, -1500));
    assert_true(json_double(SLICE("1e-999"), &value) && same(value, 0));
    memset(digits, '1', sizeof(digits));
    digits[1] = '.';
    assert_true(json_double((struct slice){digits, sizeof(digits)}, &value));
    assert_true(fabs(value - 10.0 / 9) < 1e-15);
    value = 42;
    assert_false(json_double(SLICE("1e999"), &value));
    assert_false(json_double(SLICE("\"1\""), &value));
    assert_false(json_double(SLICE("null"), &value));
    assert_false(json_double(SLICE("inf"), &value));
    assert_false(json_double(SLICE(""), &value));
    mem_fail_at(1);
    assert_false(json_double((struct slice){digits, sizeof(digits)}, &value));
    mem_fail_at(0);
    assert_true(same(value, 42));
    /* The slice ends where it ends, whatever digits follow in memory. */
    assert_true(json_double((struct slice){"12345", 2}, &value) && same(value, 12));
}

static void assert_written(struct slice bytes, const char *expected)
{
    _cleanup_buf_ struct buf out = {0};

    json_put_string(&out, bytes);
    assert_false(out.failed);
    assert_slice(buf_slice(&out), expected);
    assert_true(json_check(buf_slice(&out), NULL));
}

static void strings_are_written_with_what_must_be_escaped(void **state)
{
    (void)state;
    assert_written(SLICE(""), "\"\"");
    assert_written((struct slice){NULL, 0}, "\"\"");
    assert_written(SLICE("plain / text"), "\"plain / text\"");
    assert_written(SLICE("\"\\\b\f\n\r\t"), "\"\\\"\\\\\\b\\f\\n\\r\\t\"");
    assert_written(SLICE("\0\x01\x1f\x7f"), "\"\\u0000\\u0001\\u001f\x7f\"");
    assert_written(SLICE("\xC3\xA4\xF0\x9F\x98\x80"), "\"\xC3\xA4\xF0\x9F\x98\x80\"");
    assert_written(SLICE("a\xFFz"), "\"a\xEF\xBF\xBDz\"");
    assert_written(SLICE("\xC3"), "\"\xEF\xBF\xBD\"");
    assert_written(SLICE("\xED\xA0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
    assert_written(SLICE("12345678\n12345678\xC3\xA4"
                         "12345678\""),
                   "\"12345678\\n12345678\xC3\xA4"
                   "12345678\\\"\"");
}

/* Any bytes written are valid; bytes that were UTF-8 come back the same. */
static void writing_and_unquoting_are_a_round_trip(void **state)
{
    struct rng r;

    (void)state;
    rng_seed(&r, 21);
    for (int i = 0; i < 20000; i++) {
        _cleanup_buf_ struct buf written = {0};
        _cleanup_buf_ struct buf read = {0};
        bool ascii = i % 2 == 0;
        struct slice in;
        char bytes[40];

        in = (struct slice){bytes, rng_below(&r, sizeof(bytes))};
        for (size_t k = 0; k < in.len; k++)
            bytes[k] = (char)rng_below(&r, ascii ? 128 : 256);
        json_put_string(&written, in);
        assert_true(json_check(buf_slice(&written), NULL));
        json_unquote(buf_slice(&written), &read);
        assert_int_equal(utf8_valid_prefix(buf_slice(&read)), read.len);
        if (utf8_valid_prefix(in) == in.len) {
            assert_true(slice_equal(buf_slice(&read), in));
            assert_true(json_string_equals(buf_slice(&written), in));
        }
    }
}

static void one_line_keeps_all_but_line_breaks(void **state)
{
    static const struct {
        const char *text;
        const char *line;
    } cases[] = {
        {"1.0", "1.0"},
        {"{\"a\":\n  1.0,\r\n\t\"b\" : [ ]\n}\n", "{\"a\":  1.0,\t\"b\" : [ ]}"},
        {"\n\n\r\r\n1e5\r", "1e5"},
        {"[\"\\n\\r\"]", "[\"\\n\\r\"]"},
        {"[123456789012345678901234567890\n,\n\"\xE2\x80\xA8\"]",
         "[123456789012345678901234567890,\"\xE2\x80\xA8\"]"},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        _cleanup_buf_ struct buf out = {0};

        json_put_oneline(&out, slice_of(cases[i].text));
        assert_slice(buf_slice(&out), cases[i].line);
        if (cases[i].text[0])
            assert_true(json_check(buf_slice(&out), NULL));
    }
}

static void memory_that_runs_out_shows_in_the_buffer(void **state)
{
    struct slice bytes =
        SLICE("a string that is quite a bit longer than the smallest buffer\n"
              "with \xFF a byte that is none and \"quotes\" in it, to have several "
              "allocations, for a second one is needed from 64 bytes on");

    (void)state;
    for (unsigned long n = 1;; n++) {
        struct buf out = {0};
        bool failed;

        mem_fail_at(n);
        json_put_string(&out, bytes);
        json_put_oneline(&out, SLICE("[\n1\n]"));
        json_unquote(SLICE("\"a\\nb\""), &out);
        failed = mem_has_failed() != 0;
        mem_fail_at(0);
        assert_int_equal(out.failed, failed);
        buf_free(&out);
        if (!failed) {
            assert_true(n > 2);
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_are_told_by_the_first_byte),
        cmocka_unit_test(trimming_takes_white_space_only),
        cmocka_unit_test(members_are_found_and_come_as_they_are),
        cmocka_unit_test(an_absent_member_leaves_the_output_untouched),
        cmocka_unit_test(the_last_of_members_with_one_name_counts),
        cmocka_unit_test(several_members_are_found_in_one_pass),
        cmocka_unit_test(the_end_of_a_string_is_found_at_every_distance),
        cmocka_unit_test(names_are_compared_with_their_escapes_resolved),
        cmocka_unit_test(iteration_gives_each_value_once_in_order),
        cmocka_unit_test(iteration_of_an_object_gives_names_with_their_quotes),
        cmocka_unit_test(what_is_no_container_has_nothing_to_step_through),
        cmocka_unit_test(unquoting_resolves_escapes),
        cmocka_unit_test(half_a_pair_is_no_text),
        cmocka_unit_test(numbers_are_read_as_integers_when_they_are_whole),
        cmocka_unit_test(numbers_are_read_as_doubles),
        cmocka_unit_test(strings_are_written_with_what_must_be_escaped),
        cmocka_unit_test(writing_and_unquoting_are_a_round_trip),
        cmocka_unit_test(one_line_keeps_all_but_line_breaks),
        cmocka_unit_test(memory_that_runs_out_shows_in_the_buffer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
