/*
 * Parts of a JSON text, named by slices into it. The text has passed json_check, so what is found
 * here is not judged again; but nothing here reads outside of its slice, whatever is in it.
 */
#include "base/json.h"

#include "base/bytes8.h"
#include "base/locale_c.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <math.h>
#include <stdlib.h>

/* Digits of a number that json_double reads without an allocation. */
#define NUMBER_SCRATCH_BYTES 128

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && is_space(*p))
        p++;
    return p;
}

static const char *skip_to_quote(const char *p, const char *end)
{
    return (const char *)bytes8_skip_to_quote((const unsigned char *)p, (const unsigned char *)end);
}

/* p is at the opening quote; gives the place behind the closing one. */
static const char *skip_string(const char *p, const char *end)
{
    p++;
    for (;;) {
        p = skip_to_quote(p, end);
        if (p >= end)
            return end;
        if (*p == '"')
            return p + 1;
        if (end - p < 2)
            return end;
        p += 2;
    }
}

/* p is at the opening bracket; gives the place behind its closing one. Which kind of bracket it is
 * need not be told apart in a text that is known to be valid. */
static const char *skip_container(const char *p, const char *end)
{
    size_t depth = 0;

    while (p < end) {
        switch (*p) {
        case '"':
            p = skip_string(p, end);
            continue;
        case '[':
        case '{':
            depth++;
            break;
        case ']':
        case '}':
            if (--depth == 0)
                return p + 1;
            break;
        default:
            break;
        }
        p++;
    }
    return end;
}

static const char *skip_value(const char *p, const char *end)
{
    if (p >= end)
        return end;
    if (*p == '"')
        return skip_string(p, end);
    if (*p == '[' || *p == '{')
        return skip_container(p, end);
    while (p < end && !is_space(*p) && *p != ',' && *p != ']' && *p != '}')
        p++;
    return p;
}

enum json_kind json_kind(struct slice value)
{
    value = json_trim(value);
    if (value.len == 0)
        return JSON_NONE;
    switch (value.data[0]) {
    case 'n':
        return JSON_NULL;
    case 'f':
        return JSON_FALSE;
    case 't':
        return JSON_TRUE;
    case '"':
        return JSON_STRING;
    case '[':
        return JSON_ARRAY;
    case '{':
        return JSON_OBJECT;
    default:
        return JSON_NUMBER;
    }
}

struct slice json_trim(struct slice text)
{
    while (text.len > 0 && is_space(text.data[0])) {
        text.data++;
        text.len--;
    }
    while (text.len > 0 && is_space(text.data[text.len - 1]))
        text.len--;
    return text;
}

void json_iter_init(struct json_iter *it, struct slice container)
{
    enum json_kind kind = json_kind(container);

    it->object = kind == JSON_OBJECT;
    if (kind != JSON_OBJECT && kind != JSON_ARRAY) {
        it->rest = (struct slice){"", 0};
        return;
    }
    container = json_trim(container);
    it->rest = (struct slice){container.data + 1, container.len - 1};
    if (it->rest.len > 0)
        it->rest.len--;
}

bool json_iter_next(struct json_iter *it, struct slice *ret_key, struct slice *ret_value)
{
    const char *end = it->rest.data + it->rest.len;
    const char *p = skip_space(it->rest.data, end);
    struct slice key = {"", 0};
    const char *value;

    if (p >= end)
        return false;
    if (it->object) {
        key.data = p;
        p = skip_string(p, end);
        key.len = (size_t)(p - key.data);
        p = skip_space(p, end);
        if (p < end) /* the colon */
            p = skip_space(p + 1, end);
    }
    value = p;
    p = skip_value(p, end);
    if (ret_key)
        *ret_key = key;
    if (ret_value)
        *ret_value = (struct slice){value, (size_t)(p - value)};
    p = skip_space(p, end);
    if (p < end) /* the comma */
        p++;
    it->rest = (struct slice){p, (size_t)(end - p)};
    return true;
}

bool json_member(struct slice object, const char *name, struct slice *ret_value)
{
    struct slice wanted = slice_of(name);
    struct slice found = {NULL, 0};
    struct json_iter it;
    struct slice key;
    struct slice value;

    json_iter_init(&it, object);
    if (!it.object)
        return false;
    while (json_iter_next(&it, &key, &value)) {
        if (json_string_equals(key, wanted))
            found = value;
    }
    if (!found.data)
        return false;
    *ret_value = found;
    return true;
}

/* Whether the name with its quotes is `name`. Every escape is longer than what it stands for, so most names are told
 * from others by their length alone. */
static bool is_named(struct slice key, struct slice name)
{
    if (key.len < name.len + 2)
        return false;
    if (key.len == name.len + 2)
        return memcmp(key.data + 1, name.data, name.len) == 0;
    return memchr(key.data, '\\', key.len) && json_string_equals(key, name);
}

void json_members(struct slice object, struct json_wanted *wanted, size_t count)
{
    struct json_iter it;
    struct slice key, value;

    for (size_t i = 0; i < count; i++)
        wanted[i].value = (struct slice){"", 0};
    json_iter_init(&it, object);
    if (!it.object)
        return;
    while (json_iter_next(&it, &key, &value)) {
        for (size_t i = 0; i < count; i++) {
            if (is_named(key, wanted[i].name))
                wanted[i].value = value;
        }
    }
}

/* What is between the quotes. */
static struct slice string_inside(struct slice string)
{
    string = json_trim(string);
    if (string.len < 2 || string.data[0] != '"')
        return (struct slice){"", 0};
    return (struct slice){string.data + 1, string.len - 2};
}

static uint32_t hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return (uint32_t)(c - '0');
    return ((uint32_t)c | 0x20) - 'a' + 10;
}

/* The four digits of a \u at p. False: there is none. */
static bool read_unit(const char *p, const char *end, uint32_t *ret)
{
    uint32_t unit = 0;

    if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return false;
    for (int i = 2; i < 6; i++)
        unit = unit << 4 | (hex_value(p[i]) & 0xF);
    *ret = unit;
    return true;
}

static bool is_surrogate(uint32_t unit)
{
    return unit >= 0xD800 && unit < 0xE000;
}

/* The code point of the \u or the two at *p, and moves *p behind. False: there is none. Half a pair gives itself. */
static bool read_code(const char **p, const char *end, uint32_t *ret)
{
    uint32_t low;

    if (!read_unit(*p, end, ret))
        return false;
    *p += 6;
    if (*ret >= 0xD800 && *ret < 0xDC00 && read_unit(*p, end, &low) && low >= 0xDC00 &&
        low < 0xE000) {
        *ret = 0x10000 + ((*ret - 0xD800) << 10) + (low - 0xDC00);
        *p += 6;
    }
    return true;
}

/* Resolves the escape at *p into out, and moves *p behind it; returns the bytes written. */
static size_t resolve_escape(const char **p, const char *end, char out[4])
{
    const char *at = *p;
    uint32_t code;

    if (read_code(p, end, &code))
        return utf8_encode(is_surrogate(code) ? 0xFFFD : code, out);
    *p = end - at < 2 ? end : at + 2;
    if (end - at < 2)
        return 0;
    switch (at[1]) {
    case 'b':
        out[0] = '\b';
        break;
    case 'f':
        out[0] = '\f';
        break;
    case 'n':
        out[0] = '\n';
        break;
    case 'r':
        out[0] = '\r';
        break;
    case 't':
        out[0] = '\t';
        break;
    default: /* a quote, a backslash, a slash */
        out[0] = at[1];
        break;
    }
    return 1;
}

bool json_string_is_text(struct slice string)
{
    struct slice inside = string_inside(string);
    const char *p = inside.data, *end = p + inside.len;
    uint32_t code;

    while ((p = memchr(p, '\\', (size_t)(end - p))) != NULL) {
        if (!read_code(&p, end, &code))
            p += end - p < 2 ? end - p : 2;
        else if (is_surrogate(code))
            return false;
    }
    return true;
}

void json_unquote(struct slice string, struct buf *out)
{
    struct slice inside = string_inside(string);
    const char *p = inside.data;
    const char *end = p + inside.len;

    while (p < end) {
        const char *escape = memchr(p, '\\', (size_t)(end - p));
        char resolved[4];

        if (!escape)
            escape = end;
        buf_put(out, p, (size_t)(escape - p));
        p = escape;
        if (p < end)
            buf_put(out, resolved, resolve_escape(&p, end, resolved));
    }
}

bool json_string_equals(struct slice string, struct slice text)
{
    struct slice inside = string_inside(string);
    const char *p = inside.data;
    const char *end = p + inside.len;

    string = json_trim(string);
    if (string.len < 2 || string.data[0] != '"' || inside.len < text.len)
        return false;
    /* Every escape is longer than what it stands for; so texts of one length are the same bytes
     * without an escape, or not the same text. */
    if (inside.len == text.len)
        return slice_equal(inside, text) && !memchr(p, '\\', inside.len);
    while (p < end) {
        const char *escape = memchr(p, '\\', (size_t)(end - p));
        size_t n = (size_t)((escape ? escape : end) - p);
        char resolved[4];

        if (n > text.len || (n > 0 && memcmp(p, text.data, n) != 0))
            return false;
        p += n;
        text = (struct slice){text.data + n, text.len - n};
        if (p == end)
            break;
        n = resolve_escape(&p, end, resolved);
        if (n > text.len || memcmp(resolved, text.data, n) != 0)
            return false;
        text = (struct slice){text.data + n, text.len - n};
    }
    return text.len == 0;
}

/* The parts of a number: value = digits * 10^exponent, with the digits' zeros at the end already
 * moved into the exponent. False: not a number, or the digits alone do not fit. */
static bool split_number(struct slice number, bool *ret_negative, uint64_t *ret_digits,
                         int64_t *ret_exponent)
{
    const char *p = number.data;
    const char *end = p + number.len;
    bool negative = p < end && *p == '-';
    bool fraction = false;
    uint64_t digits = 0;
    int64_t zeros = 0; /* seen behind `digits`, and not yet part of it */
    int64_t exponent = 0;
    int64_t written = 0;
    int sign = 1;

    if (negative)
        p++;
    if (p == end || *p < '0' || *p > '9')
        return false;
    for (; p < end && (*p == '.' || (*p >= '0' && *p <= '9')); p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        exponent -= fraction;
        if (*p == '0') {
            zeros++;
            continue;
        }
        for (; zeros > 0 && digits > 0; zeros--) {
            if (__builtin_mul_overflow(digits, 10u, &digits))
                return false;
        }
        zeros = 0;
        if (__builtin_mul_overflow(digits, 10u, &digits) ||
            __builtin_add_overflow(digits, (uint64_t)(*p - '0'), &digits))
            return false;
    }
    if (p < end && (*p | 0x20) == 'e') {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            sign = *p++ == '-' ? -1 : 1;
        for (; p < end && *p >= '0' && *p <= '9'; p++) {
            if (written < INT32_MAX) /* beyond every size that counts, and short of overflow */
                written = written * 10 + (*p - '0');
        }
    }
    if (p != end)
        return false;
    *ret_negative = negative;
    *ret_digits = digits;
    *ret_exponent = exponent + zeros + sign * written;
    return true;
}

bool json_int64(struct slice number, int64_t *ret)
{
    bool negative;
    uint64_t digits;
    int64_t exponent;

    if (!split_number(json_trim(number), &negative, &digits, &exponent))
        return false;
    if (digits == 0)
        exponent = 0;
    if (exponent < 0)
        return false;
    for (; exponent > 0; exponent--) {
        if (__builtin_mul_overflow(digits, 10u, &digits))
            return false;
    }
    if (digits > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return false;
    *ret = negative ? (int64_t)(0 - digits) : (int64_t)digits;
    return true;
}

bool json_double(struct slice number, double *ret)
{
    char scratch[NUMBER_SCRATCH_BYTES];
    _cleanup_mem_ char *copy = NULL;
    const char *text = scratch;
    locale_t before;
    double value;
    char *end;

    number = json_trim(number);
    if (number.len == 0 ||
        !(number.data[0] == '-' || (number.data[0] >= '0' && number.data[0] <= '9')))
        return false;
    if (number.len < sizeof(scratch)) {
        memcpy(scratch, number.data, number.len);
        scratch[number.len] = '\0';
    } else {
        text = copy = mem_copy(number.data, number.len);
        if (!copy)
            return false;
    }
    before = locale_c_enter();
    value = strtod(text, &end);
    locale_c_leave(before);
    if (end != text + number.len || !isfinite(value))
        return false;
    *ret = value;
    return true;
}
