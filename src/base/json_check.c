/*
 * Whether a text is JSON: one pass, no recursion, no allocation. Every row that is read and every
 * answer that comes back goes through here, and most of their bytes lie inside strings; so strings
 * are passed over eight bytes at a time, and only what is not plain ASCII is looked at one by one.
 *
 * The grammar is a loop over values: `open_value` reads a scalar or goes one level down, and
 * `close_values` goes up as far as closing brackets follow. What surrounds a value (array or
 * object) is one bit a level.
 */
#include "base/json.h"

#include "base/bytes8.h"
#include "base/utf8.h"

struct checker {
    const unsigned char *p;
    const unsigned char *end;
    const char *what; /* set with the fault; p is then where it is */
    size_t depth;
    uint64_t is_object[(JSON_DEPTH_MAX + 63) / 64];
};

static bool fault_at(struct checker *c, const unsigned char *p, const char *what)
{
    c->p = p;
    c->what = what;
    return false;
}

/* The fault at c->p, or that the text ends there. */
static bool fault_here(struct checker *c, const char *what)
{
    return fault_at(c, c->p, c->p == c->end ? "the text ends too early" : what);
}

static void skip_space(struct checker *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\t' || *c->p == '\r'))
        c->p++;
}

static bool is_digit(unsigned char b)
{
    return b >= '0' && b <= '9';
}

static bool at_digit(const struct checker *c)
{
    return c->p < c->end && is_digit(*c->p);
}

static bool is_hex(unsigned char b)
{
    return is_digit(b) || ((b | 0x20) >= 'a' && (b | 0x20) <= 'f');
}

/* c->p is at the backslash. */
static bool check_escape(struct checker *c)
{
    const unsigned char *start = c->p++;

    if (c->p == c->end)
        return fault_here(c, NULL);
    switch (*c->p++) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return true;
    case 'u':
        for (int i = 0; i < 4; i++, c->p++) {
            if (c->p == c->end || !is_hex(*c->p))
                return fault_here(c, "\\u needs four hexadecimal digits");
        }
        return true;
    default:
        return fault_at(c, start, "an escape that JSON does not know");
    }
}

/* c->p is at the opening quote; afterwards behind the closing one. */
static bool check_string(struct checker *c)
{
    c->p++;
    for (;;) {
        c->p = bytes8_skip_plain(c->p, c->end);
        if (c->p == c->end)
            return fault_here(c, NULL);
        if (*c->p == '"') {
            c->p++;
            return true;
        }
        if (*c->p == '\\') {
            if (!check_escape(c))
                return false;
        } else if (*c->p == 0) {
            return fault_here(c, "byte 0x00 in a string");
        } else if (*c->p < 0x20) {
            return fault_here(c, *c->p == '\n' ? "a line break in a string"
                                               : "a control character in a string");
        } else {
            /* Text in other scripts comes in runs; stay here for as long as one lasts. */
            do {
                size_t n = utf8_sequence(c->p, (size_t)(c->end - c->p));

                if (n == 0)
                    return fault_here(c, "not UTF-8");
                c->p += n;
            } while (c->p < c->end && *c->p >= 0x80);
        }
    }
}

static bool check_number(struct checker *c)
{
    if (*c->p == '-')
        c->p++;
    if (!at_digit(c))
        return fault_here(c, "a digit is missing");
    if (*c->p == '0') {
        c->p++;
        if (at_digit(c))
            return fault_here(c, "a number that begins with 0");
    }
    while (at_digit(c))
        c->p++;
    if (c->p < c->end && *c->p == '.') {
        c->p++;
        if (!at_digit(c))
            return fault_here(c, "a digit is missing behind the point");
        while (at_digit(c))
            c->p++;
    }
    if (c->p < c->end && (*c->p | 0x20) == 'e') {
        c->p++;
        if (c->p < c->end && (*c->p == '+' || *c->p == '-'))
            c->p++;
        if (!at_digit(c))
            return fault_here(c, "a digit is missing in the exponent");
        while (at_digit(c))
            c->p++;
    }
    return true;
}

static bool check_word(struct checker *c, const char *word)
{
    for (; *word; word++, c->p++) {
        if (c->p == c->end || *c->p != (unsigned char)*word)
            return fault_here(c, "not a JSON value");
    }
    return true;
}

static bool check_scalar(struct checker *c)
{
    switch (*c->p) {
    case '"':
        return check_string(c);
    case 't':
        return check_word(c, "true");
    case 'f':
        return check_word(c, "false");
    case 'n':
        return check_word(c, "null");
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return check_number(c);
    case 0xEF:
        return fault_here(c, "not a JSON value (a byte order mark?)");
    default:
        return fault_here(c, "not a JSON value");
    }
}

/* The member's name and its colon; c->p is where the name must begin. */
static bool check_name(struct checker *c)
{
    if (c->p == c->end || *c->p != '"')
        return fault_here(c, "a member's name is missing");
    if (!check_string(c))
        return false;
    skip_space(c);
    if (c->p == c->end || *c->p != ':')
        return fault_here(c, "a colon is missing");
    c->p++;
    skip_space(c);
    return true;
}

static bool inside_object(const struct checker *c)
{
    size_t level = c->depth - 1;

    return c->is_object[level / 64] >> (level % 64) & 1;
}

/* Goes down into the container at c->p, to where its first value begins. *ret_empty: it has none,
 * and c->p is behind it. */
static bool enter(struct checker *c, bool *ret_empty)
{
    bool object = *c->p == '{';
    uint64_t bit = UINT64_C(1) << (c->depth % 64);

    if (c->depth == JSON_DEPTH_MAX)
        return fault_here(c, "nested too deeply");
    if (object)
        c->is_object[c->depth / 64] |= bit;
    else
        c->is_object[c->depth / 64] &= ~bit;
    c->depth++;
    c->p++;
    skip_space(c);
    *ret_empty = c->p < c->end && *c->p == (object ? '}' : ']');
    if (*ret_empty) {
        c->p++;
        c->depth--;
        return true;
    }
    return object ? check_name(c) : true;
}

/* Reads one value, or the beginnings of containers and the first scalar in them. */
static bool open_value(struct checker *c)
{
    for (;;) {
        bool empty;

        if (c->p == c->end)
            return fault_here(c, NULL);
        if (*c->p != '{' && *c->p != '[')
            return check_scalar(c);
        if (!enter(c, &empty))
            return false;
        if (empty)
            return true;
    }
}

/* Behind a value: closes what closes here. True: a further value follows at c->p, or depth is 0. */
static bool close_values(struct checker *c)
{
    while (c->depth > 0) {
        bool object = inside_object(c);

        skip_space(c);
        if (c->p < c->end && *c->p == ',') {
            c->p++;
            skip_space(c);
            return object ? check_name(c) : true;
        }
        if (c->p == c->end || *c->p != (object ? '}' : ']'))
            return fault_here(c, object ? "a comma or } is missing" : "a comma or ] is missing");
        c->p++;
        c->depth--;
    }
    return true;
}

static bool check_value(struct checker *c)
{
    do {
        if (!open_value(c) || !close_values(c))
            return false;
    } while (c->depth > 0);
    return true;
}

static bool check_text(struct checker *c)
{
    skip_space(c);
    if (!check_value(c))
        return false;
    skip_space(c);
    return c->p == c->end ? true : fault_here(c, "more text behind the value");
}

static void begin(struct checker *c, struct slice text)
{
    /* is_object is written a level at a time before it is read; clearing it all would cost. */
    c->p = (const unsigned char *)(text.data ? text.data : "");
    c->end = c->p + text.len;
    c->what = NULL;
    c->depth = 0;
    c->is_object[0] = 0;
}

static void tell_fault(const struct checker *c, struct slice text, struct json_fault *fault)
{
    if (!fault)
        return;
    fault->offset = text.len - (size_t)(c->end - c->p);
    fault->what = text.len == 0 ? "the text is empty" : c->what;
}

bool json_check(struct slice text, struct json_fault *fault)
{
    struct checker c;

    begin(&c, text);
    if (check_text(&c))
        return true;
    tell_fault(&c, text, fault);
    return false;
}

size_t json_check_value(struct slice text, struct json_fault *fault)
{
    struct checker c;

    begin(&c, text);
    if (check_value(&c))
        return text.len - (size_t)(c.end - c.p);
    tell_fault(&c, text, fault);
    return 0;
}

size_t utf8_valid_prefix(struct slice bytes)
{
    const unsigned char *start = (const unsigned char *)bytes.data;
    size_t at = 0;

    while (at < bytes.len) {
        size_t n;

        while (bytes.len - at >= 8 && !(bytes8_load(start + at) & BYTES8_HIGHS))
            at += 8;
        if (at == bytes.len)
            break;
        n = utf8_sequence(start + at, bytes.len - at);
        if (n == 0)
            break;
        at += n;
    }
    return at;
}
