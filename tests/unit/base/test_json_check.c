/*
 * What is JSON and what is not, and where the fault is. Texts are checked in memory of exactly
 * their size, so that under the address sanitizer a read beyond the end is seen.
 */
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static bool check(struct slice text, struct json_fault *fault)
{
    char *exact = mem_alloc(text.len);
    bool valid;

    assert_non_null(exact);
    memcpy(exact, text.data, text.len);
    valid = json_check((struct slice){exact, text.len}, fault);
    mem_free(exact);
    return valid;
}

static void valid_texts_pass(void **state)
{
    static const char *const texts[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-1",
        "10",
        "1.0",
        "0.5",
        "-0.5e-10",
        "1e5",
        "1E+5",
        "123456789012345678901234567890",
        "1e999999",
        "\"\"",
        "\"a\"",
        "[]",
        "{}",
        " \t\r\n[ \t\r\n] \t\r\n",
        "{ }",
        "[1]",
        "[1,2]",
        "[ 1 , 2 ]",
        "[[[]]]",
        "[{},[],{}]",
        "{\"a\":1}",
        "{ \"a\" : 1 , \"b\" : [ ] }",
        "{\"a\":{\"a\":{}}}",
        "{\"a\":1,\"a\":2}",
        "{\"\":0}",
        "[\"\\\\\"]",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\u0000\"",
        "\"\\uABCD\\uabcd\"",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\\ud83d\\ude00\"",
        "\"\x7f\"",
        "\"12345678\"",
        "\"1234567\\n\"",
        "\"long enough for several words of eight\"",
        "[null,true,false]",
        "[-1,\"-1\"]",
        "[[],[[]],{\"x\":[{}]}]",
        "\"\xC2\x80 \xDF\xBF \xE0\xA0\x80 \xED\x9F\xBF \xEE\x80\x80 \xEF\xBF\xBF\"",
        "\"\xF0\x90\x80\x80 \xF4\x8F\xBF\xBF\"",
        "\"\xEF\xBB\xBF\"",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct json_fault fault = {99, "untouched"};

        if (!check(slice_of(texts[i]), &fault))
            fail_msg("%s: refused at %zu: %s", texts[i], fault.offset, fault.what);
        assert_int_equal(fault.offset, 99);
        assert_true(check(slice_of(texts[i]), NULL));
    }
}

static const struct {
    const char *text;
    size_t offset;
} invalid[] = {
    {"", 0},
    {"  ", 2},
    {"nul", 3},
    {"nulL", 3},
    {"nulll", 4},
    {"True", 0},
    {"tru", 3},
    {"falsy", 4},
    {"undefined", 0},
    {"NaN", 0},
    {"Infinity", 0},
    {"-Infinity", 1},
    {"+1", 0},
    {"-", 1},
    {"-a", 1},
    {"01", 1},
    {"-01", 2},
    {"00", 1},
    {"1.", 2},
    {"1.a", 2},
    {".5", 0},
    {"1e", 2},
    {"1e+", 3},
    {"1e+a", 3},
    {"1.e5", 2},
    {"0x10", 1},
    {"1 2", 2},
    {"1,", 1},
    {"1_000", 1},
    {"--1", 1},
    {"1.5.5", 3},
    {"[", 1},
    {"[1", 2},
    {"[1,", 3},
    {"[1,]", 3},
    {"[,1]", 1},
    {"[1 2]", 3},
    {"[1}", 2},
    {"[]]", 2},
    {"]", 0},
    {"[[]", 3},
    {"[1,,2]", 3},
    {"{", 1},
    {"{\"a\"", 4},
    {"{\"a\":", 5},
    {"{\"a\":1", 6},
    {"{\"a\":1,", 7},
    {"{\"a\":1,}", 7},
    {"{\"a\" 1}", 5},
    {"{\"a\":}", 5},
    {"{a:1}", 1},
    {"{1:1}", 1},
    {"{'a':1}", 1},
    {"{\"a\":1]", 6},
    {"{\"a\",1}", 4},
    {"{,}", 1},
    {"{\"a\":1 \"b\":2}", 7},
    {"{\"a\":1}{", 7},
    {"{\"a\"::1}", 5},
    {"}", 0},
    {"{[]:1}", 1},
    {"\"", 1},
    {"\"abc", 4},
    {"\"a\nb\"", 2},
    {"\"a\tb\"", 2},
    {"\"1234567\x1f\"", 8},
    {"\"\\", 2},
    {"\"\\\"", 3},
    {"\"\\x41\"", 1},
    {"\"\\a\"", 1},
    {"\"\\u\"", 3},
    {"\"\\u12\"", 5},
    {"\"\\u123g\"", 6},
    {"\"\\u123", 6},
    {"\"\\U1234\"", 1},
    {"'a'", 0},
    {"\"a\"b", 3},
    {"// c\n1", 0},
    {"1 /* c */", 2},
    {"\xEF\xBB\xBF{}", 0},
    {"\v1", 0},
    {"\f1", 0},
    {"[1\v]", 2},
    {"\xC2\xA0"
     "1",
     0},
};

static void invalid_texts_are_refused_at_the_first_wrong_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(invalid); i++) {
        struct json_fault fault = {9999, NULL};

        if (check(slice_of(invalid[i].text), &fault))
            fail_msg("%s: let pass", invalid[i].text);
        if (fault.offset != invalid[i].offset)
            fail_msg("%s: offset %zu (%s), not %zu", invalid[i].text, fault.offset, fault.what,
                     invalid[i].offset);
        assert_non_null(fault.what);
        assert_false(check(slice_of(invalid[i].text), NULL));
    }
}

static void a_fault_says_what_it_is(void **state)
{
    static const struct {
        struct slice text;
        const char *what;
    } cases[] = {
        {{"", 0}, "the text is empty"},
        {{"[1 2]", 5}, "a comma or ] is missing"},
        {{"{\"a\":1 2}", 9}, "a comma or } is missing"},
        {{"{\"a\" 1}", 7}, "a colon is missing"},
        {{"\"a\0b\"", 5}, "byte 0x00 in a string"},
        {{"\"a\nb\"", 5}, "a line break in a string"},
        {{"\"\xFF\"", 3}, "not UTF-8"},
        {{"{} {}", 5}, "more text behind the value"},
        {{"[1", 2}, "the text ends too early"},
        {{"01", 2}, "a number that begins with 0"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct json_fault fault = {0, NULL};

        assert_false(check(cases[i].text, &fault));
        assert_string_equal(fault.what, cases[i].what);
    }
}

static void nul_bytes_are_refused_wherever_they_are(void **state)
{
    (void)state;
    assert_false(check(SLICE("\0"), NULL));
    assert_false(check(SLICE("1\0"), NULL));
    assert_false(check(SLICE("[1\0]"), NULL));
    assert_false(check(SLICE("\"\0\""), NULL));
    assert_false(check(SLICE("\"\\\0\""), NULL));
    assert_false(json_check((struct slice){NULL, 0}, NULL));
}

/* At every place in a string, since eight bytes are taken in one step. */
static void every_byte_in_a_string_is_judged_at_every_place(void **state)
{
    (void)state;
    for (size_t len = 1; len <= 20; len++) {
        for (size_t at = 0; at < len; at++) {
            for (int byte = 0; byte < 256; byte++) {
                char text[24];
                struct json_fault fault = {0, NULL};
                bool plain = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';

                memset(text, 'a', sizeof(text));
                text[0] = '"';
                text[1 + at] = (char)byte;
                text[1 + len] = '"';
                if (byte == '\\' && at + 1 < len)
                    text[2 + at] = 'x';
                if (byte == '"')
                    text[1 + len] = 'a';
                if (byte == '"' && at == len - 1)
                    assert_true(check((struct slice){text, len + 1}, &fault));
                else
                    assert_int_equal(check((struct slice){text, len + 2}, &fault), plain);
                if (!plain && byte != '"' && !(byte == '\\' && at + 1 == len))
                    assert_int_equal(fault.offset, 1 + at);
            }
        }
    }
}

static void utf8_is_judged_by_the_table_of_rfc_3629(void **state)
{
    static const char *const bad[] = {
        "\x80", /* a continuation alone */
        "\xBF",
        "\xC0\x80", /* overlong */
        "\xC1\xBF",
        "\xE0\x80\x80",
        "\xE0\x9F\xBF",
        "\xF0\x80\x80\x80",
        "\xF0\x8F\xBF\xBF",
        "\xED\xA0\x80", /* surrogates */
        "\xED\xBF\xBF",
        "\xF4\x90\x80\x80", /* above U+10FFFF */
        "\xF5\x80\x80\x80",
        "\xF8\x88\x80\x80\x80",
        "\xFE",
        "\xFF",
        "\xC3", /* cut short */
        "\xC3(",
        "\xE2\x82",
        "\xE2\x82(",
        "\xE2(\xA1",
        "\xF0\x9F\x98",
        "\xF0\x9F\x98(",
        "\xF0\x9F(\x80",
        "\xF0(\x98\x80",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct slice bytes = slice_of(bad[i]);
        struct json_fault fault = {0, NULL};
        char text[64];
        int n = snprintf(text, sizeof(text), "\"ok\xC3\xA4%s\"", bad[i]);

        assert_false(check((struct slice){text, (size_t)n}, &fault));
        assert_string_equal(fault.what, "not UTF-8");
        assert_int_equal(fault.offset, 5);
        assert_int_equal(utf8_valid_prefix(bytes), 0);
        assert_int_equal(utf8_valid_prefix((struct slice){text, (size_t)n}), 5);
        /* The same with the end of the text right behind it. */
        assert_false(check((struct slice){text, (size_t)n - 1}, NULL));
    }
}

/* All pairs and triples that begin a sequence, against the code point that they would be. */
static void utf8_prefix_agrees_with_decoding(void **state)
{
    (void)state;
    for (unsigned a = 0; a < 256; a++) {
        for (unsigned b = 0; b < 256; b++) {
            unsigned char two[2] = {(unsigned char)a, (unsigned char)b};
            unsigned char three[3] = {(unsigned char)a, (unsigned char)b, 0x80};
            bool tail = (b & 0xC0) == 0x80;
            unsigned code2 = (a & 0x1F) << 6 | (b & 0x3F);
            unsigned code3 = (a & 0x0F) << 12 | (b & 0x3F) << 6;
            bool is2 = (a & 0xE0) == 0xC0 && tail && code2 >= 0x80;
            bool is3 = (a & 0xF0) == 0xE0 && tail && code3 >= 0x800 &&
                       !(code3 >= 0xD800 && code3 < 0xE000);
            size_t expected = is2 ? 2 : a >= 0x80 ? 0 : b < 0x80 ? 2 : 1;

            assert_int_equal(utf8_valid_prefix((struct slice){(char *)two, 2}), expected);
            if ((a & 0xF0) == 0xE0)
                assert_int_equal(utf8_valid_prefix((struct slice){(char *)three, 3}), is3 ? 3 : 0);
        }
    }
    assert_int_equal(utf8_valid_prefix((struct slice){NULL, 0}), 0);
    assert_int_equal(utf8_valid_prefix(SLICE("0123456789abcdef\xC3\xA4")), 18);
    assert_int_equal(utf8_valid_prefix(SLICE("0123456789abcdef\xC3")), 16);
}

static bool check_nested(size_t depth, const char *open, const char *inner, const char *close,
                         struct json_fault *fault)
{
    struct buf b = {0};
    bool valid;

    for (size_t i = 0; i < depth; i++)
        buf_puts(&b, open);
    buf_puts(&b, inner);
    for (size_t i = 0; i < depth; i++)
        buf_puts(&b, close);
    assert_false(b.failed);
    valid = check(buf_slice(&b), fault);
    buf_free(&b);
    return valid;
}

static void nesting_is_limited(void **state)
{
    struct json_fault fault = {0, NULL};

    (void)state;
    assert_true(check_nested(JSON_DEPTH_MAX, "[", "", "]", NULL));
    assert_true(check_nested(JSON_DEPTH_MAX, "{\"a\":", "1", "}", NULL));
    assert_true(check_nested(JSON_DEPTH_MAX / 2, "[{\"a\":", "1", "}]", NULL));
    assert_true(check_nested(JSON_DEPTH_MAX / 2, "{\"a\":[", "", "]}", NULL));
    assert_false(check_nested(JSON_DEPTH_MAX + 1, "[", "", "]", &fault));
    assert_int_equal(fault.offset, JSON_DEPTH_MAX);
    assert_string_equal(fault.what, "nested too deeply");
    assert_false(check_nested(JSON_DEPTH_MAX + 1, "{\"a\":", "1", "}", NULL));
    assert_false(check_nested(100000, "[", "", "]", NULL));
    /* Brackets that close in the wrong order, at every level that the bits are kept for. */
    for (size_t depth = 1; depth < JSON_DEPTH_MAX; depth++) {
        assert_false(check_nested(depth, "[", "[}", "]", NULL));
        assert_false(check_nested(depth, "{\"a\":", "[}", "}", NULL));
    }
}

static void levels_are_kept_apart_when_they_are_used_again(void **state)
{
    (void)state;
    assert_true(check(SLICE("[{\"a\":[]},[[],{}],{\"b\":{\"c\":[{}]}}]"), NULL));
    assert_false(check(SLICE("[{\"a\":[]},[[],{}],{\"b\":{\"c\":[{}}}}]"), NULL));
    assert_false(check(SLICE("[{\"a\":1},{2}]"), NULL));
    assert_false(check(SLICE("[{\"a\":1},[\"b\":2]]"), NULL));
}

/* A valid text cut anywhere is not valid, and the fault is then at its end. */
static void every_cut_of_a_text_is_refused_at_its_end(void **state)
{
    struct slice text = SLICE("{\"a\":[1.5e+3,true,null,\"\\u00e4\\n\xC3\xA4 and a longer piece\"],"
                              "\"b\":{\"c\":false}}");

    (void)state;
    assert_true(check(text, NULL));
    for (size_t len = 0; len < text.len; len++) {
        struct json_fault fault = {0, NULL};

        assert_false(check((struct slice){text.data, len}, &fault));
        if (fault.offset != len)
            assert_string_equal(fault.what, "not UTF-8");
        assert_true(fault.offset <= len);
    }
}

/* Random bytes over the alphabet of JSON: no crash, and the same answer for the text with white
 * space around it. */
static void white_space_around_a_text_changes_nothing(void **state)
{
    static const char alphabet[] = "[]{}:,\"\\ntfu01-.eE a\xC3\xA4\n";
    struct rng r;
    int valid = 0;

    (void)state;
    rng_seed(&r, 11);
    for (int i = 0; i < 200000; i++) {
        char text[16] = " ";
        size_t len = 1 + rng_below(&r, 6);
        bool bare;

        for (size_t k = 0; k < len; k++)
            text[1 + k] = alphabet[rng_below(&r, sizeof(alphabet) - 1)];
        text[1 + len] = '\n';
        bare = json_check((struct slice){text + 1, len}, NULL);
        assert_int_equal(json_check((struct slice){text, len + 2}, NULL), bare);
        valid += bare;
    }
    assert_true(valid > 1000);
}

/* A value at the beginning is measured as json_check() would check it, and what follows is not looked at. */
static void a_value_is_measured_at_the_beginning(void **state)
{
    static const struct {
        struct slice text;
        size_t len;
    } cases[] = {
        {SLICE("{\"a\": [1, 2]} {"), 13},
        {SLICE("12,"), 2},
        {SLICE("\"x\"\xFF"), 3},
        {SLICE("null"), 4},
        {SLICE("[1,]"), 0},
        {SLICE(" 1"), 0},
        {SLICE(""), 0},
        {SLICE("tru"), 0},
        {SLICE("[\"\\q\"]"), 0},
        {SLICE("[[]]]"), 4},
    };
    struct json_fault fault;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(json_check_value(cases[i].text, NULL), cases[i].len);
        assert_int_equal(json_check_value(cases[i].text, &fault), cases[i].len);
    }
    assert_int_equal(json_check_value(SLICE("[1, x]"), &fault), 0);
    assert_int_equal(fault.offset, 4);
    assert_string_equal(fault.what, "not a JSON value");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_texts_pass),
        cmocka_unit_test(invalid_texts_are_refused_at_the_first_wrong_byte),
        cmocka_unit_test(a_fault_says_what_it_is),
        cmocka_unit_test(nul_bytes_are_refused_wherever_they_are),
        cmocka_unit_test(every_byte_in_a_string_is_judged_at_every_place),
        cmocka_unit_test(utf8_is_judged_by_the_table_of_rfc_3629),
        cmocka_unit_test(utf8_prefix_agrees_with_decoding),
        cmocka_unit_test(nesting_is_limited),
        cmocka_unit_test(levels_are_kept_apart_when_they_are_used_again),
        cmocka_unit_test(every_cut_of_a_text_is_refused_at_its_end),
        cmocka_unit_test(white_space_around_a_text_changes_nothing),
        cmocka_unit_test(a_value_is_measured_at_the_beginning),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
