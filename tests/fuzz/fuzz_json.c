/*
 * Any bytes into the JSON code (libFuzzer; corpus/json). json_check must never read outside of its
 * text; and of a text that it passes, every part can be walked, lies inside, and is valid itself.
 */
#include "base/json.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static bool inside(struct slice part, struct slice whole)
{
    return part.data >= whole.data && part.data + part.len <= whole.data + whole.len;
}

/* What is written from a string's text is a string that says the same. */
static void string_properties(struct slice string)
{
    _cleanup_buf_ struct buf text = {0};
    _cleanup_buf_ struct buf written = {0};

    json_unquote(string, &text);
    require(utf8_valid_prefix(buf_slice(&text)) == text.len);
    require(json_string_equals(string, buf_slice(&text)));
    json_put_string(&written, buf_slice(&text));
    require(json_check(buf_slice(&written), NULL));
    require(json_kind(buf_slice(&written)) == JSON_STRING);
    require(json_string_equals(buf_slice(&written), buf_slice(&text)));
}

static void number_properties(struct slice number)
{
    int64_t whole;
    double value;

    if (json_int64(number, &whole)) {
        require(json_double(number, &value));
        require(value >= (double)whole && value <= (double)whole);
    }
}

static void member_is_found(struct slice object, struct slice key)
{
    _cleanup_buf_ struct buf name = {0};
    struct slice value;

    json_unquote(key, &name);
    /* A name with a NUL in it cannot be asked for. */
    if (name.len == strlen(buf_slice(&name).data)) {
        require(json_member(object, buf_slice(&name).data, &value));
        require(inside(value, object));
    }
}

/* Recursion is bounded by what json_check lets pass. Only the first few members of an object are
 * looked up by name, which costs a walk over all of it. */
static void walk(struct slice value)
{
    struct json_iter it;
    struct slice key;
    struct slice part;
    int lookups = 0;

    require(json_check(value, NULL));
    require(json_kind(value) != JSON_NONE);
    if (json_kind(value) == JSON_STRING)
        string_properties(value);
    if (json_kind(value) == JSON_NUMBER)
        number_properties(value);
    json_iter_init(&it, value);
    while (json_iter_next(&it, &key, &part)) {
        require(inside(part, value));
        require(slice_equal(part, json_trim(part)));
        if (it.object) {
            require(json_check(key, NULL) && json_kind(key) == JSON_STRING);
            if (lookups++ < 8)
                member_is_found(value, key);
        }
        walk(part);
    }
    require(json_trim(it.rest).len == 0);
}

/* Functions that expect checked text must stay inside of any other too. */
static void unchecked(struct slice text)
{
    _cleanup_buf_ struct buf out = {0};
    struct json_iter it;
    struct slice value;
    int64_t whole;
    double number;

    json_iter_init(&it, text);
    while (json_iter_next(&it, NULL, &value))
        require(inside(value, text));
    (void)json_member(text, "a", &value);
    (void)json_int64(text, &whole);
    (void)json_double(text, &number);
    (void)json_string_equals(text, SLICE("text"));
    json_unquote(text, &out);
    buf_clear(&out);
    json_put_string(&out, text);
    require(json_check(buf_slice(&out), NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    struct json_fault fault = {SIZE_MAX, NULL};
    _cleanup_buf_ struct buf line = {0};

    unchecked(text);
    require(utf8_valid_prefix(text) <= size);
    if (!json_check(text, &fault)) {
        require(fault.offset <= size && fault.what);
        return 0;
    }
    require(utf8_valid_prefix(text) == size);
    walk(json_trim(text));
    json_put_oneline(&line, text);
    require(json_check(buf_slice(&line), NULL));
    require(!memchr(line.data, '\n', line.len) && !memchr(line.data, '\r', line.len));
    return 0;
}
