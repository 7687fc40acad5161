/*
 * JSON (RFC 8259) that is looked at, not rebuilt.
 *
 * weir passes on other people's JSON and must hand it back as it was: 1.0 stays 1.0, a number of 30
 * digits keeps its digits, escapes and the order of members stay. So a text is checked once, in one
 * pass without recursion and without allocation, and after that parts of it are named by slices
 * into it. A tree library would print its own reading of the bytes. Nothing here keeps state
 * between calls; all of it is thread-safe.
 *
 *     struct json_fault fault;
 *     if (!json_check(line, &fault)) ... fault.offset, fault.what
 *     struct slice id;
 *     if (json_member(line, "custom_id", &id) && json_kind(id) == JSON_STRING)
 *         json_unquote(id, &buf);
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buf.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Nesting allowed in a text; deeper is refused by json_check. */
#define JSON_DEPTH_MAX 512

enum json_kind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
    JSON_NONE
};

struct json_fault {
    size_t offset;    /* of the first byte that is wrong */
    const char *what; /* constant text: "a comma or ] is missing", "byte 0x00 in a string", "not
                         UTF-8", ... */
};

/*
 * Whether text is exactly one JSON value, with white space around it at most, in valid UTF-8 (no
 * overlong forms, no surrogates), with escapes that are well-formed (a lone \ud800 is let pass: it
 * is valid JSON grammar). fault may be NULL.
 */
bool json_check(struct slice text, struct json_fault *fault);

/*
 * How many bytes the JSON value takes that text begins with; what follows it is not looked at. 0:
 * there is none that json_check() would pass; fault may be NULL. For whoever takes a text apart
 * while it is checked, in one pass.
 */
size_t json_check_value(struct slice text, struct json_fault *fault);

/* All functions below take text that json_check has passed, or a slice that one of them gave. */

/* Kind of the value; JSON_NONE for an empty slice. */
enum json_kind json_kind(struct slice value);
/* The text without white space around it. */
struct slice json_trim(struct slice text);
/* The value of an object's member (the last one of that name, as most readers do). False: not an
 * object, or absent. */
bool json_member(struct slice object, const char *name, struct slice *ret_value);

/* Several members at once, in one pass over the object: each value is as json_member would give it, or empty (kind
 * JSON_NONE) where the member is absent or this is no object. Names are short and hold no backslash. */
struct json_wanted {
    struct slice name;
    struct slice value;
};
void json_members(struct slice object, struct json_wanted *wanted, size_t count);

/* Steps through an object or array: `struct json_iter it; json_iter_init(&it, v); while
 * (json_iter_next(&it, &key, &value))`. key is the member's name with its quotes, or empty in an
 * array. */
struct json_iter {
    struct slice rest;
    bool object;
};
void json_iter_init(struct json_iter *it, struct slice container);
bool json_iter_next(struct json_iter *it, struct slice *ret_key, struct slice *ret_value);

/* Appends the text of a JSON string without its quotes, escapes resolved; a lone surrogate becomes
 * U+FFFD. */
void json_unquote(struct slice string, struct buf *out);
/* Whether a JSON string is text at all: false when an escape in it is half of a pair (\ud800 without its other half). */
bool json_string_is_text(struct slice string);
/* Whether the JSON string (with quotes) is the same text as `text`. */
bool json_string_equals(struct slice string, struct slice text);
/* The number as an integer, by its value: 1e3 and 1000.0 are 1000. False: not a number, has a
 * fraction, or does not fit. */
bool json_int64(struct slice number, int64_t *ret);
/* The number as a double. False: not a number, or beyond what a double holds. */
bool json_double(struct slice number, double *ret);

/* Appends bytes as a JSON string with quotes. What is not UTF-8 becomes U+FFFD, so the output is
 * always valid. */
void json_put_string(struct buf *out, struct slice bytes);
/* Appends a value as it is but for line breaks between its tokens, so that it stands on one line.
 */
void json_put_oneline(struct buf *out, struct slice value);

/* Length of the longest prefix that is valid UTF-8; == bytes.len when all of it is. */
size_t utf8_valid_prefix(struct slice bytes);

#endif
