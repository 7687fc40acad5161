/* See recipe.h. */
#include "exec/http/recipe.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "exec/http/options.h"
#include "exec/recipe/payload.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Headers of one payload. */
#define HEADERS_MAX 100

struct http_recipe {
    char *url, *method;
    bool has_fields; /* in the URL */
    char **headers;  /* names, in the pool's spelling */
    size_t headers_count;
};

/* What is gathered before it is laid out in one piece: texts, each with its NUL, by their places in `text`. */
struct draft {
    struct buf text;
    size_t url, method, type, key; /* 0: there is none; the first byte is nobody's */
    size_t headers[HEADERS_MAX];
    size_t headers_count;
    struct slice body;
    struct buf body_text; /* of a body that is a string */
};

static void draft_free(struct draft *d)
{
    buf_free(&d->text);
    buf_free(&d->body_text);
}

static size_t begin(struct draft *d)
{
    if (d->text.len == 0)
        buf_putc(&d->text, '\0');
    return d->text.len;
}

static size_t put_text(struct draft *d, struct slice text)
{
    size_t at = begin(d);

    buf_put_slice(&d->text, text);
    buf_putc(&d->text, '\0');
    return at;
}

/* ---- fields in a URL ---- */

/* The name in braces that text begins with; empty: it does not. */
static struct slice field_at(const char *text)
{
    size_t len = 0;

    if (*text != '{')
        return (struct slice){0};
    while (isalnum((unsigned char)text[1 + len]) || text[1 + len] == '_' || text[1 + len] == '-')
        len++;
    return text[1 + len] == '}' ? (struct slice){text + 1, len} : (struct slice){0};
}

/* Where the host has ended. */
static const char *behind_host(const char *url)
{
    const char *host = strstr(url, "://");

    host = host ? host + 3 : url;
    return host + strcspn(host, "/?#");
}

static void put_escaped(struct buf *out, struct slice text)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];

        if (isalnum(c) || (c && strchr("-._~", c)))
            buf_putc(out, (char)c);
        else
            buf_put(out, (char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
    }
}

/* Such a part of a path leads out of the folder that the pool means. */
static bool is_dots(struct slice text)
{
    return slice_equal(text, SLICE(".")) || slice_equal(text, SLICE(".."));
}

static enum weir_status put_field(struct draft *d, struct slice object, struct slice name,
                                  struct weir_error *err)
{
    struct json_wanted wanted = {.name = name};
    _cleanup_buf_ struct buf text = {0};

    if (json_kind(object) == JSON_OBJECT)
        json_members(object, &wanted, 1);
    switch (json_kind(wanted.value)) {
    case JSON_NONE:
        return error_set(err, WEIR_E_FORMAT,
                         "the payload has no field \"%.*s\", which the pool's URL asks for",
                         payload_shown(name.len), name.data);
    case JSON_STRING:
        json_unquote(wanted.value, &text);
        break;
    case JSON_NUMBER:
    case JSON_TRUE:
    case JSON_FALSE:
        buf_put_slice(&text, wanted.value);
        break;
    default:
        return error_set(err, WEIR_E_FORMAT,
                         "\"%.*s\" of the payload goes into the pool's URL; it must be a string, a "
                         "number, true or false",
                         payload_shown(name.len), name.data);
    }
    if (text.failed)
        return error_nomem(err);
    if (is_dots(buf_slice(&text)))
        return error_set(err, WEIR_E_FORMAT,
                         "\"%.*s\" of the payload goes into the pool's URL; it must not be . or ..",
                         payload_shown(name.len), name.data);
    put_escaped(&d->text, buf_slice(&text));
    return WEIR_OK;
}

static enum weir_status put_url(struct draft *d, const char *url, struct slice object,
                                struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    d->url = begin(d);
    while (status == WEIR_OK && *url) {
        struct slice name = field_at(url);

        if (name.len > 0) {
            status = put_field(d, object, name, err);
            url += name.len + 2;
        } else {
            buf_putc(&d->text, *url++);
        }
    }
    buf_putc(&d->text, '\0');
    return status;
}

/* ---- the recipe ---- */

/* With something put in, it is a URL. */
static enum weir_status check_url(struct http_recipe *r, struct weir_error *err)
{
    _cleanup_buf_ struct buf tried = {0};
    const char *path = behind_host(r->url);

    for (const char *at = r->url; *at;) {
        struct slice name = field_at(at);

        if (name.len > 0 && at < path)
            return error_set(err, WEIR_E_INVALID,
                             "{%.*s} stands in the URL's host, which no payload may choose; write "
                             "the host as it is, or have payloads name their URL (allow_any_url)",
                             payload_shown(name.len), name.data);
        r->has_fields |= name.len > 0;
        buf_putc(&tried, name.len > 0 ? 'x' : *at);
        at += name.len > 0 ? name.len + 2 : 1;
    }
    buf_putc(&tried, '\0');
    return tried.failed ? error_nomem(err) : http_url_check(tried.data, err);
}

static enum weir_status fill(struct http_recipe *r, const struct http_recipe_options *o,
                             struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    r->url = o->url ? mem_strdup(o->url) : NULL;
    r->method = o->method ? mem_strdup(o->method) : NULL;
    r->headers = mem_calloc(o->headers_count + 1, sizeof *r->headers);
    if ((o->url && !r->url) || (o->method && !r->method) || !r->headers)
        return error_nomem(err);
    for (; r->headers_count < o->headers_count; r->headers_count++) {
        const char *line = o->headers[r->headers_count];
        char *name = mem_strdup(line);

        if (!name)
            return error_nomem(err);
        name[strcspn(name, ":")] = '\0'; /* what follows may be a secret */
        r->headers[r->headers_count] = name;
    }
    if (!o->url && !o->allow_any_url)
        return error_set(err, WEIR_E_INVALID,
                         "the pool has no URL; give it one, or let payloads name theirs with "
                         "allow_any_url: true");
    if (o->method)
        status = http_method_check(o->method, err);
    return status == WEIR_OK && r->url ? check_url(r, err) : status;
}

enum weir_status http_recipe_new(const struct http_recipe_options *o, struct http_recipe **ret,
                                 struct weir_error *err)
{
    struct http_recipe *r = mem_calloc(1, sizeof *r);
    enum weir_status status = r ? fill(r, o, err) : error_nomem(err);

    if (status == WEIR_OK)
        *ret = r;
    else
        http_recipe_free(r);
    return status;
}

struct http_recipe *http_recipe_free(struct http_recipe *r)
{
    if (!r)
        return NULL;
    for (size_t i = 0; i < r->headers_count; i++)
        mem_free(r->headers[i]);
    mem_free(r->headers);
    mem_free(r->url);
    mem_free(r->method);
    return mem_free(r);
}

/* ---- of a pool with a URL ---- */

static bool has_no_body(const char *method)
{
    return method && (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0);
}

static enum weir_status fill_in(const struct http_recipe *r, struct slice payload, struct draft *d,
                                struct weir_error *err)
{
    bool is_json = json_check(payload, NULL);
    struct slice object = {0};

    if (is_json && json_kind(json_trim(payload)) == JSON_OBJECT)
        object = json_trim(payload);
    if (r->has_fields && object.len == 0)
        return error_set(err, WEIR_E_FORMAT,
                         "the payload is no JSON object, and the pool's URL asks for fields of it");
    if (r->method)
        d->method = put_text(d, slice_of(r->method));
    if (!has_no_body(r->method))
        d->body = payload;
    if (!is_json)
        d->type = put_text(d, SLICE("application/octet-stream"));
    return put_url(d, r->url, object, err);
}

/* ---- of a payload that says all ---- */

static enum weir_status take_url(struct draft *d, struct slice value, struct weir_error *err)
{
    struct weir_error why = {0};
    enum weir_status status;

    if (value.len == 0)
        return error_set(err, WEIR_E_FORMAT,
                         "the payload names no URL; write {\"url\":\"https://...\"}");
    d->url = begin(d);
    status = payload_take_string("url", value, false, &d->text, err);
    buf_putc(&d->text, '\0');
    if (status != WEIR_OK || d->text.failed)
        return d->text.failed ? error_nomem(err) : status;
    status = http_url_check(d->text.data + d->url, &why);
    if (status == WEIR_E_INVALID)
        return error_set(err, WEIR_E_FORMAT, "\"url\" of the payload: %s", why.message);
    return status == WEIR_OK ? status : error_nomem(err);
}

static enum weir_status take_method(const struct http_recipe *r, struct draft *d,
                                    struct slice value, bool has_body, struct weir_error *err)
{
    struct weir_error why = {0};
    enum weir_status status;

    if (value.len == 0) {
        d->method = put_text(d, slice_of(r->method ? r->method : has_body ? "POST" : "GET"));
        return WEIR_OK;
    }
    d->method = begin(d);
    status = payload_take_string("method", value, false, &d->text, err);
    buf_putc(&d->text, '\0');
    if (status != WEIR_OK || d->text.failed)
        return d->text.failed ? error_nomem(err) : status;
    if (http_method_check(d->text.data + d->method, &why) != WEIR_OK)
        return error_set(err, WEIR_E_FORMAT, "\"method\" of the payload: %s", why.message);
    return WEIR_OK;
}

static bool is_named(const char *line, size_t len, const char *name)
{
    return strlen(name) == len && strncasecmp(line, name, len) == 0;
}

static enum weir_status check_name(const struct http_recipe *r, const char *name, size_t len,
                                   const char *shown_name, struct weir_error *err)
{
    if (!http_header_name_is_token(name, len))
        return error_set(err, WEIR_E_FORMAT, "\"%s\" of the payload is no name of a header",
                         shown_name);
    if (is_named(name, len, "Content-Length") || is_named(name, len, "Transfer-Encoding"))
        return error_set(err, WEIR_E_FORMAT,
                         "\"%s\" of the payload follows from the body; leave it out", shown_name);
    for (size_t i = 0; i < r->headers_count; i++)
        if (is_named(name, len, r->headers[i]))
            return error_set(err, WEIR_E_FORMAT,
                             "\"%s\" of the payload is the pool's to set; leave it out",
                             shown_name);
    return WEIR_OK;
}

/* "Name: value"; of the two that a request has fields for the value alone. */
static void place_header(struct draft *d, size_t at, size_t name_len)
{
    const char *name = d->text.data + at;
    size_t value = at + name_len + 2;

    if (is_named(name, name_len, "Content-Type"))
        d->type = value;
    else if (is_named(name, name_len, "Idempotency-Key"))
        d->key = value;
    else
        d->headers[d->headers_count++] = at;
}

static enum weir_status take_header(const struct http_recipe *r, struct draft *d, struct slice key,
                                    struct slice value, struct weir_error *err)
{
    char name[PAYLOAD_NAME_SHOWN_MAX + 16];
    size_t at = begin(d), name_len, value_at;
    enum weir_status status;

    snprintf(name, sizeof name, "headers.%.*s", payload_shown(key.len - 2), key.data + 1);
    status = payload_take_string(name, key, false, &d->text, err);
    name_len = d->text.len - at;
    if (status == WEIR_OK)
        status = check_name(r, d->text.data + at, name_len, name, err);
    if (status != WEIR_OK)
        return status;
    if (d->headers_count == HEADERS_MAX)
        return error_set(err, WEIR_E_FORMAT, "\"headers\" of the payload has more than %d of them",
                         HEADERS_MAX);
    buf_puts(&d->text, ": ");
    value_at = d->text.len;
    status = payload_take_string(name, value, false, &d->text, err);
    if (status != WEIR_OK)
        return status;
    /* curl takes "Name:" for a header that is not to be sent. */
    if (d->text.len == value_at ||
        !http_header_value_is_clean(d->text.data + value_at, d->text.len - value_at))
        return error_set(err, WEIR_E_FORMAT,
                         "\"%s\" of the payload is empty, or has a line break or another control "
                         "byte",
                         name);
    buf_putc(&d->text, '\0');
    if (d->text.failed)
        return error_nomem(err);
    place_header(d, at, name_len);
    return WEIR_OK;
}

static enum weir_status take_headers(const struct http_recipe *r, struct draft *d,
                                     struct slice headers, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    struct json_iter it;
    struct slice key, value;

    if (headers.len == 0)
        return WEIR_OK;
    if (json_kind(headers) != JSON_OBJECT)
        return error_set(
            err, WEIR_E_FORMAT,
            "\"headers\" of the payload is %s; it must be an object of names and strings",
            payload_kind(headers));
    json_iter_init(&it, headers);
    while (status == WEIR_OK && json_iter_next(&it, &key, &value))
        status = take_header(r, d, key, value, err);
    return status;
}

/* Before the headers, which may name another type. */
static void take_body(struct draft *d, struct slice value)
{
    if (json_kind(value) != JSON_STRING) {
        d->body = value;
        return;
    }
    d->type = put_text(d, SLICE("text/plain; charset=utf-8"));
    json_unquote(value, &d->body_text);
    d->body = buf_slice(&d->body_text);
}

enum { URL, METHOD, HEADERS, BODY, MEMBERS };

static enum weir_status read_payload(const struct http_recipe *r, struct slice payload,
                                     struct draft *d, struct weir_error *err)
{
    static const struct payload_form form = {
        .says = "says what is asked, as {\"url\":\"https://...\"}",
        .nobody = "no request",
        .members = "\"url\", \"method\", \"headers\", \"body\"",
    };
    struct json_wanted m[MEMBERS] = {[URL] = {.name = SLICE("url")},
                                     [METHOD] = {.name = SLICE("method")},
                                     [HEADERS] = {.name = SLICE("headers")},
                                     [BODY] = {.name = SLICE("body")}};
    enum weir_status status = payload_read(&form, payload, m, MEMBERS, err);

    if (status == WEIR_OK)
        status = take_url(d, m[URL].value, err);
    if (status == WEIR_OK)
        status = take_method(r, d, m[METHOD].value, m[BODY].value.len > 0, err);
    if (status == WEIR_OK)
        take_body(d, m[BODY].value);
    return status == WEIR_OK ? take_headers(r, d, m[HEADERS].value, err) : status;
}

/* ---- in one piece ---- */

static char *text_at(char *text, size_t at)
{
    return at > 0 ? text + at : NULL;
}

/* NULL: no memory. */
static struct http_request *lay_out(const struct draft *d)
{
    struct http_request *q;
    const char **headers;
    char *text;

    if (d->text.failed || d->body_text.failed)
        return NULL;
    q = mem_alloc(sizeof *q + d->headers_count * sizeof *headers + d->text.len + d->body.len);
    if (!q)
        return NULL;
    headers = (const char **)(q + 1);
    text = (char *)(headers + d->headers_count);
    memcpy(text, d->text.data, d->text.len);
    if (d->body.len > 0)
        memcpy(text + d->text.len, d->body.data, d->body.len);
    for (size_t i = 0; i < d->headers_count; i++)
        headers[i] = text + d->headers[i];
    *q = (struct http_request){
        .method = text_at(text, d->method),
        .url = text + d->url,
        .body = {text + d->text.len, d->body.len},
        .content_type = text_at(text, d->type),
        .idempotency_key = text_at(text, d->key),
        .headers = headers,
        .headers_count = d->headers_count,
    };
    return q;
}

enum weir_status http_recipe_make(const struct http_recipe *r, struct slice payload,
                                  const char *key, struct http_request **ret,
                                  struct weir_error *err)
{
    struct draft d = {0};
    struct http_request *q;
    enum weir_status status;

    if (key)
        d.key = put_text(&d, slice_of(key));
    status = r->url ? fill_in(r, payload, &d, err) : read_payload(r, payload, &d, err);
    if (status == WEIR_OK) {
        q = lay_out(&d);
        if (q)
            *ret = q;
        else
            status = error_nomem(err);
    }
    draft_free(&d);
    return status;
}
