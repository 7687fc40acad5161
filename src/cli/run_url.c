/*
 * Secrets in URLs; run_url.h has the calls.
 */
#include "cli/run_url.h"

#include "base/error.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

static const char *find_in(struct slice s, const char *any)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] && strchr(any, s.data[i]))
            return s.data + i;
    }
    return NULL;
}

/* From behind "://" to the path, query, fragment or end. Without a scheme: from the beginning, for
 * a proxy may be written without one. */
static struct slice authority(struct slice url)
{
    struct slice rest = url;
    const char *end;

    for (size_t i = 0; i + 2 < url.len; i++) {
        if (memcmp(url.data + i, "://", 3) == 0) {
            rest = (struct slice){url.data + i + 3, url.len - i - 3};
            break;
        }
    }
    end = find_in(rest, "/?#\\");
    if (end)
        rest.len = (size_t)(end - rest.data);
    return rest;
}

struct slice run_url_userinfo(struct slice url)
{
    struct slice a = authority(url);

    for (size_t i = a.len; i > 0; i--) {
        if (a.data[i - 1] == '@')
            return (struct slice){a.data, i - 1};
    }
    return (struct slice){a.data, 0};
}

/* What stands behind the host: nothing, or : and a number from 1 to 65535. */
static bool port_is_sound(struct slice host_and_port)
{
    const char *end = host_and_port.data + host_and_port.len;
    const char *p = host_and_port.data;
    long port = 0;

    if (*p == '[') {
        p = memchr(p, ']', host_and_port.len);
        if (!p)
            return false;
        p++;
    } else {
        while (p < end && *p != ':')
            p++;
    }
    if (p == end)
        return true;
    if (*p != ':' || p + 1 == end)
        return false;
    for (p++; p < end && port <= 65535; p++) {
        if (*p < '0' || *p > '9')
            return false;
        port = port * 10 + (*p - '0');
    }
    return port >= 1 && port <= 65535;
}

enum weir_status run_url_check(const char *url, struct weir_error *err)
{
    struct slice a;

    if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)
        return error_set(err, WEIR_E_INVALID, "must begin with http:// or https://");
    for (const char *c = url; *c; c++) {
        if ((unsigned char)*c <= 0x20 || *c == 0x7f)
            return error_set(err, WEIR_E_INVALID,
                             "holds a space or control character at position %zu; write it as %%20",
                             (size_t)(c - url) + 1);
        if (*c == '#')
            return error_set(
                err, WEIR_E_INVALID,
                "holds a # at position %zu, and what follows it is never sent; write it "
                "as %%23, or leave it out",
                (size_t)(c - url) + 1);
    }
    a = authority(slice_of(url));
    for (size_t i = a.len; i > 0; i--) {
        if (a.data[i - 1] == '@') {
            a = (struct slice){a.data + i, a.len - i};
            break;
        }
    }
    if (a.len == 0 || a.data[0] == ':')
        return error_set(err, WEIR_E_INVALID, "has no host");
    if (!port_is_sound(a))
        return error_set(err, WEIR_E_INVALID,
                         "what follows the host is no port: write :PORT, from 1 to 65535, or "
                         "[ADDRESS]:PORT for IPv6");
    return WEIR_OK;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static unsigned char next_unescaped(struct slice s, size_t *at)
{
    char c = s.data[*at];

    if (c == '%' && *at + 2 < s.len) {
        int hi = hex_value(s.data[*at + 1]), lo = hex_value(s.data[*at + 2]);

        if (hi >= 0 && lo >= 0) {
            *at += 3;
            return (unsigned char)(hi * 16 + lo);
        }
    }
    *at += 1;
    return (unsigned char)c;
}

void run_url_basic(struct slice userinfo, struct buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bool colon = memchr(userinfo.data, ':', userinfo.len) != NULL;
    size_t at = 0;

    /* Reserved at once: a buffer that grows leaves copies of the secret behind. */
    if (!buf_reserve(out, (userinfo.len + 1) / 3 * 4 + 8))
        return;
    while (at < userinfo.len || !colon) {
        uint32_t group = 0;
        int bytes = 0;

        for (; bytes < 3; bytes++) {
            unsigned char c;

            if (at < userinfo.len)
                c = next_unescaped(userinfo, &at);
            else if (!colon)
                c = ':', colon = true; /* a user without a password has an empty one */
            else
                break;
            group |= (uint32_t)c << (16 - 8 * bytes);
        }
        for (int i = 0; i < 4; i++)
            buf_putc(out, i <= bytes ? digits[group >> (18 - 6 * i) & 63] : '=');
    }
}

void run_url_strip(char *url)
{
    struct slice user = run_url_userinfo(slice_of(url));
    size_t at = (size_t)(user.data - url);
    size_t len = strlen(url);

    if (user.len == 0)
        return;
    memmove(url + at, url + at + user.len + 1, len - at - user.len);
    /* What the move left behind the end. */
    memset(url + len - user.len, 0, user.len);
}

static bool contains_word(struct slice name, const char *word)
{
    size_t len = strlen(word);

    for (size_t i = 0; i + len <= name.len; i++) {
        if (strncasecmp(name.data + i, word, len) == 0)
            return true;
    }
    return false;
}

bool run_url_names_secret(struct slice name)
{
    static const char *const words[] = {"auth",  "key",    "token", "secret",
                                        "passw", "cookie", "cred",  "signature"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (contains_word(name, words[i]))
            return true;
    }
    return slice_equal(name, SLICE("sig")) || slice_equal(name, SLICE("code"));
}

static void show_query(struct slice query, struct buf *out)
{
    while (query.len > 0) {
        const char *end = memchr(query.data, '&', query.len);
        struct slice part = {query.data, end ? (size_t)(end - query.data) : query.len};
        const char *equals = memchr(part.data, '=', part.len);

        if (equals &&
            run_url_names_secret((struct slice){part.data, (size_t)(equals - part.data)})) {
            buf_put(out, part.data, (size_t)(equals - part.data) + 1);
            buf_puts(out, "***");
        } else {
            buf_put_slice(out, part);
        }
        if (end)
            buf_putc(out, '&');
        query.data += part.len + (end ? 1 : 0);
        query.len -= part.len + (end ? 1 : 0);
    }
}

void run_url_show(struct slice url, struct buf *out)
{
    struct slice user = run_url_userinfo(url);
    const char *from = url.data;
    const char *end = url.data + url.len;
    const char *query;

    if (user.len > 0) {
        buf_put(out, from, (size_t)(user.data - from));
        from = user.data + user.len + 1;
    }
    query = memchr(from, '?', (size_t)(end - from));
    if (!query) {
        buf_put(out, from, (size_t)(end - from));
        return;
    }
    buf_put(out, from, (size_t)(query - from) + 1);
    show_query((struct slice){query + 1, (size_t)(end - query) - 1}, out);
}
