/* Rows for an HTTP service; row.h says what a line is. */
#include "base/error.h"
#include "base/json.h"
#include "cli/input/row_parts.h"
#include "flow/tokens.h"

#include <endian.h>
#include <string.h>
#include <strings.h>

static const char *const METHODS[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", NULL};

static const char *find_method(struct slice name)
{
    for (size_t i = 0; METHODS[i]; i++)
        if (strlen(METHODS[i]) == name.len && strncasecmp(METHODS[i], name.data, name.len) == 0)
            return METHODS[i];
    return NULL;
}

static bool may_go_without_body(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 ||
           strcmp(method, "DELETE") == 0;
}

/* ---- URLs ---- */

/* Length of "scheme://authority"; 0: not an absolute http or https URL. */
static size_t url_origin_len(struct slice url)
{
    size_t scheme;

    if (url.len > 7 && strncasecmp(url.data, "http://", 7) == 0)
        scheme = 7;
    else if (url.len > 8 && strncasecmp(url.data, "https://", 8) == 0)
        scheme = 8;
    else
        return 0;
    for (size_t i = scheme; i <= url.len; i++)
        if (i == url.len || url.data[i] == '/' || url.data[i] == '?' || url.data[i] == '#')
            return i > scheme ? i : 0;
    return 0;
}

/* An origin without the port that its scheme has anyway. */
static struct slice strip_default_port(struct slice origin)
{
    bool tls = origin.len > 5 && (origin.data[4] == 's' || origin.data[4] == 'S');
    const char *port = tls ? ":443" : ":80";
    size_t len = strlen(port);

    if (origin.len > len && memcmp(origin.data + origin.len - len, port, len) == 0)
        origin.len -= len;
    return origin;
}

static bool same_origin(struct slice a, struct slice b)
{
    a = strip_default_port(a);
    b = strip_default_port(b);
    return a.len == b.len && strncasecmp(a.data, b.data, a.len) == 0;
}

/* Printable ASCII without a space, a backslash or a fragment: what needs no second thought. */
static bool url_is_plain(struct slice url)
{
    for (size_t i = 0; i < url.len; i++) {
        unsigned char c = (unsigned char)url.data[i];
        if (c <= ' ' || c >= 0x7f || c == '#' || c == '\\')
            return false;
    }
    return true;
}

/* A user and a password that stand before the host are not repeated: what fails is logged. */
static enum weir_status other_origin(const struct line *line, struct slice origin,
                                     struct weir_error *err)
{
    const char *at = memrchr(origin.data, '@', origin.len);
    size_t skipped = at ? (size_t)(at + 1 - origin.data) : 0;
    size_t len = origin.len - skipped;

    return row_fault(
        line, err,
        "\"url\" names the host %.*s%s, which is not that of --url; rows go to --url's host "
        "only: write just the path",
        (int)(len < 80 ? len : 80), origin.data + skipped, at ? " with a user" : "");
}

/* The url member of a Batch row, whole, into r->url. */
static enum weir_status resolve_url(struct rows *r, const struct line *line, struct slice member,
                                    struct slice *ret, struct weir_error *err)
{
    struct slice origin = {r->options.url, r->origin_len}, url;
    size_t origin_len;

    buf_clear(&r->text);
    json_unquote(member, &r->text);
    if (r->text.failed)
        return error_nomem(err);
    url = buf_slice(&r->text);
    if (url.len > ROW_URL_BYTES_MAX)
        return row_fault(line, err, "\"url\" has %zu bytes; at most %d are allowed", url.len,
                         ROW_URL_BYTES_MAX);
    if (url.len == 0)
        return row_fault(line, err,
                         "\"url\" is empty; give a path such as \"/v1/chat/completions\", or "
                         "leave it out to use --url");
    if (!url_is_plain(url))
        return row_fault(line, err,
                         "\"url\" has a space, a # or a character that is not ASCII; write it "
                         "as %%XX");
    origin_len = url.data[0] == '/' ? 0 : url_origin_len(url);
    if (url.data[0] != '/' && origin_len == 0)
        return row_fault(line, err,
                         "\"url\" must begin with / (or be the whole URL, at the host of "
                         "--url)");
    if (origin_len > 0 && !same_origin((struct slice){url.data, origin_len}, origin))
        return other_origin(line, (struct slice){url.data, origin_len}, err);
    url.data += origin_len;
    url.len -= origin_len;
    buf_clear(&r->url);
    buf_put_slice(&r->url, origin);
    if (url.len == 0 || url.data[0] != '/')
        buf_putc(&r->url, '/');
    buf_put_slice(&r->url, url);
    if (r->url.failed)
        return error_nomem(err);
    *ret = buf_slice(&r->url);
    return WEIR_OK;
}

/* ---- what a line is ---- */

/* The members of a Batch row, but for its key. */
static enum weir_status read_batch(struct rows *r, const struct line *line, struct slice custom_id,
                                   struct slice url, struct slice method, struct found *found,
                                   struct weir_error *err)
{
    if (json_kind(custom_id) != JSON_STRING)
        return row_fault(line, err, "\"custom_id\" must be a string, as in the OpenAI Batch form");
    if (json_kind(method) == JSON_STRING) {
        buf_clear(&r->text);
        json_unquote(method, &r->text);
        if (r->text.failed)
            return error_nomem(err);
        found->method = find_method(buf_slice(&r->text));
        if (!found->method)
            return row_fault(line, err, "\"method\" is none of " ROW_METHODS);
    } else if (json_kind(method) != JSON_NONE && json_kind(method) != JSON_NULL) {
        return row_fault(line, err, "\"method\" must be a string: one of " ROW_METHODS);
    }
    if (json_kind(url) == JSON_STRING)
        return resolve_url(r, line, url, &found->url, err);
    if (json_kind(url) != JSON_NONE && json_kind(url) != JSON_NULL)
        return row_fault(line, err, "\"url\" must be a string such as \"/v1/chat/completions\"");
    return WEIR_OK;
}

static enum weir_status read_form(struct rows *r, const struct line *line, struct found *found,
                                  struct weir_error *err)
{
    enum { CUSTOM_ID, BODY, URL, METHOD, COUNT };
    struct json_wanted members[COUNT] = {[CUSTOM_ID] = {.name = SLICE("custom_id")},
                                         [BODY] = {.name = SLICE("body")},
                                         [URL] = {.name = SLICE("url")},
                                         [METHOD] = {.name = SLICE("method")}};
    struct slice value = found->body;
    enum weir_status status;

    json_members(value, members, COUNT);
    if (members[CUSTOM_ID].value.len && members[BODY].value.len &&
        (members[URL].value.len || members[METHOD].value.len))
        found->kind = ROW_BATCH;
    r->seen.form = true;
    r->seen.kind = found->kind;
    status = row_find_key(r, line, value, members[CUSTOM_ID].value, found, err);
    if (status != WEIR_OK || found->kind == ROW_PLAIN)
        return status;
    if (!r->template)
        found->body = members[BODY].value;
    return read_batch(r, line, members[CUSTOM_ID].value, members[URL].value, members[METHOD].value,
                      found, err);
}

static enum weir_status read_line(struct rows *r, const struct line *line, uint64_t index,
                                  struct found *found, struct weir_error *err)
{
    enum weir_status status;

    (void)index;
    found->method = r->method;
    status = row_read_value(r, line, found, err);
    if (status == WEIR_OK)
        status = r->options.lines
                     ? row_find_key(r, line, found->body, (struct slice){"", 0}, found, err)
                     : read_form(r, line, found, err);
    if (status == WEIR_OK)
        status = row_apply_template(r, line, found, err);
    if (status == WEIR_OK && may_go_without_body(found->method) &&
        json_kind(found->body) == JSON_NULL)
        found->body = (struct slice){"", 0};
    return status;
}

/* ---- the row ---- */

static size_t head_bytes(const struct rows *r)
{
    (void)r;
    return sizeof(struct http_row);
}

static size_t count_bytes(const struct rows *r, const struct found *found)
{
    return head_bytes(r) + found->url.len + 1 + found->body.len + 1;
}

static void fill(const struct rows *r, const struct found *found, struct run_row *row, char **at)
{
    struct http_row *h = (struct http_row *)(void *)row;

    row->task.payload = &h->request;
    h->request.method = found->method;
    h->request.url = found->url.len ? row_place_bytes(at, found->url) : r->options.url;
    h->request.body.len = found->body.len;
    h->request.body.data = row_place_bytes(at, found->body);
}

const struct row_maker row_maker_http = {
    .read = read_line, .bytes = count_bytes, .fill = fill, .head_bytes = head_bytes};

void row_estimate_tokens(struct run_row *row)
{
    const struct http_row *h = row_http(row);

    row->task.tokens = h ? tokens_estimate_json(h->request.body) : 0;
}

void row_set_idempotency(struct run_row *row, struct slice run_id, uint32_t generation)
{
    struct fingerprint run = fingerprint_of(run_id), f;
    uint64_t words[] = {htole64(run.hi),
                        htole64(run.lo),
                        htole64(row->task.index),
                        htole64(row->task.hash_hi),
                        htole64(row->task.hash_lo),
                        htole64(generation)};
    struct http_row *h = row_http(row);

    row->task.generation = generation;
    if (!h)
        return;
    f = fingerprint_of((struct slice){(const char *)words, sizeof(words)});
    fingerprint_hex(f, h->idempotency_key);
    h->request.idempotency_key = h->idempotency_key;
}

enum weir_status row_http_check(struct rows *r, struct weir_error *err)
{
    const struct row_options *o = &r->options;
    const char *method = o->method ? o->method : "POST", *known = find_method(slice_of(method));

    r->origin_len = url_origin_len(slice_of(o->url));
    if (r->origin_len == 0)
        return error_set(err, WEIR_E_INVALID,
                         "--url: must be absolute and begin with http:// or https://");
    if (!known && http_method_check(method, err) != WEIR_OK) {
        (void)error_prefix(err, "--method"); /* err may be NULL: the status is said here */
        return WEIR_E_INVALID;
    }
    r->method = known ? known : method;
    return WEIR_OK;
}
