/* See target.h. */
#include "serve/http/target.h"

#include "base/json.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Where texts go: decoded ones are never longer than what was sent. */
struct cursor {
    char *to;
    const char *start; /* of what was sent, to name places */
};

static bool fail(struct http_target *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool fail(struct http_target *t, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(t->fault, sizeof t->fault, format, args);
    va_end(args);
    return false;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* One byte of `text` at *i, which moves behind it; -1: a % that two digits do not follow. */
static int decode_byte(struct slice text, size_t *i, bool form)
{
    char c = text.data[(*i)++];
    int high, low;

    if (form && c == '+')
        return ' ';
    if (c != '%')
        return (unsigned char)c;
    if (text.len - *i < 2)
        return -1;
    high = hex_digit(text.data[*i]);
    low = hex_digit(text.data[*i + 1]);
    if (high < 0 || low < 0)
        return -1;
    *i += 2;
    return high * 16 + low;
}

/* form: as in a query, where + is a blank. NULL: there is a fault. */
static const char *decode(struct http_target *t, struct cursor *c, struct slice text, bool form)
{
    char *start = c->to;

    for (size_t i = 0; i < text.len;) {
        size_t at = (size_t)(text.data - c->start) + i;
        int byte = decode_byte(text, &i, form);

        if (byte < 0) {
            fail(t,
                 "the %% at byte %zu of the URL is not followed by two hexadecimal digits; a %% "
                 "itself is %%25",
                 at);
            return NULL;
        }
        if (byte == 0) {
            fail(t, "there is a NUL at byte %zu of the URL", at);
            return NULL;
        }
        *c->to++ = (char)byte;
    }
    if (utf8_valid_prefix((struct slice){start, (size_t)(c->to - start)}) !=
        (size_t)(c->to - start)) {
        fail(t, "what begins at byte %zu of the URL is not UTF-8", (size_t)(text.data - c->start));
        return NULL;
    }
    *c->to++ = '\0';
    return start;
}

/* Up to the first `stop`, which is taken away with it; all of it when there is none. */
static struct slice cut(struct slice *rest, char stop)
{
    const char *end = rest->len ? memchr(rest->data, stop, rest->len) : NULL;
    struct slice part = {rest->data, end ? (size_t)(end - rest->data) : rest->len};
    size_t taken = part.len + (end ? 1 : 0);

    rest->data += taken;
    rest->len -= taken;
    return part;
}

static bool parse_path(struct http_target *t, struct cursor *c, struct slice path)
{
    struct slice rest = {path.data + 1, path.len - 1};
    bool more = true;

    while (more) {
        struct slice part;
        const char *text;

        more = memchr(rest.data, '/', rest.len) != NULL;
        part = cut(&rest, '/');
        if (t->segment_count == HTTP_SEGMENTS_MAX)
            return fail(t, "the path has more than %d segments", HTTP_SEGMENTS_MAX);
        text = decode(t, c, part, false);
        if (!text)
            return false;
        t->segments[t->segment_count++] = text;
    }
    return true;
}

static bool parse_query(struct http_target *t, struct cursor *c, struct slice rest)
{
    while (rest.len > 0) {
        struct slice value = cut(&rest, '&');
        struct slice name = value.len ? cut(&value, '=') : value;
        struct http_pair pair;

        if (name.len == 0 && value.len == 0)
            continue;
        if (t->query_count == HTTP_QUERY_MAX)
            return fail(t, "the query has more than %d parameters", HTTP_QUERY_MAX);
        pair.name = decode(t, c, name, true);
        pair.value = pair.name ? decode(t, c, value, true) : NULL;
        if (!pair.value)
            return false;
        if (http_target_query(t, pair.name))
            return fail(t, "the query parameter '%.60s' stands there twice", pair.name);
        t->query[t->query_count++] = pair;
    }
    return true;
}

/* "http://host:port/path" -> "/path". */
static struct slice without_authority(struct slice raw)
{
    const char *slash;

    for (size_t len = 7; len <= 8; len++) {
        const char *scheme = len == 7 ? "http://" : "https://";

        if (raw.len < len || strncasecmp(raw.data, scheme, len) != 0)
            continue;
        for (size_t i = len; i < raw.len; i++) {
            if (raw.data[i] == '/' || raw.data[i] == '?')
                break;
            if (i + 1 == raw.len)
                return SLICE("/");
        }
        slash = memchr(raw.data + len, '/', raw.len - len);
        if (slash)
            return (struct slice){slash, raw.len - (size_t)(slash - raw.data)};
    }
    return raw;
}

bool http_target_parse(struct http_target *t, struct slice raw)
{
    struct slice all = without_authority(raw);
    struct slice path = all.len ? cut(&all, '?') : all;
    struct cursor c = {.start = raw.data};

    *t = (struct http_target){0};
    /* The path as it was sent, and each text with a NUL of its own: one for each separator, and for an absent value. */
    t->text = mem_alloc(2 * raw.len + 2 + (HTTP_SEGMENTS_MAX + 2 * (size_t)HTTP_QUERY_MAX) + 4);
    if (!t->text) {
        t->nomem = true;
        return fail(t, "there is no memory for the URL");
    }
    c.to = t->text;
    memcpy(c.to, path.data, path.len);
    c.to[path.len] = '\0';
    t->path = c.to;
    c.to += path.len + 1;
    if (memchr(path.data, '\0', path.len))
        return fail(t, "there is a NUL in the path");
    if (slice_equal(path, SLICE("*")))
        return true;
    if (path.len == 0 || path.data[0] != '/')
        return fail(t, "the path does not begin with a slash");
    return parse_path(t, &c, path) && parse_query(t, &c, all);
}

const char *http_target_query(const struct http_target *t, const char *name)
{
    for (size_t i = 0; i < t->query_count; i++) {
        if (strcmp(t->query[i].name, name) == 0)
            return t->query[i].value;
    }
    return NULL;
}

void http_target_free(struct http_target *t)
{
    t->text = mem_free(t->text);
    t->path = NULL;
    t->segment_count = 0;
    t->query_count = 0;
}
