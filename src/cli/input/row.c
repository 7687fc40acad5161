/* See row.h. */
#include "cli/input/row.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/input/program.h"
#include "flow/tokens.h"

#include <endian.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Memory of a scratch buffer that is kept from one row to the next. */
#define SCRATCH_KEEP_BYTES ((size_t)1 << 20)

struct rows {
    struct row_options options;
    const char *method; /* canonical; --method's */
    size_t origin_len;  /* of the URL: "https://host:port" */
    struct program *template;
    struct program *key;
    struct buf text, key_text, body, url; /* scratch of one row */
    struct row_seen seen;                 /* of the last row; its key stands in seen_key */
    char seen_key[ROW_KEY_BYTES_MAX];
};

/* What was found in a line, before the row is made; slices point into the line or the scratch. */
struct found {
    enum row_kind kind;
    bool keyed;
    struct slice key;
    struct slice body;
    struct slice url; /* empty: --url */
    const char *method;
};

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

/* "FILE:LINE: " before the message of a bad row, which names what to do at its end. */
static enum weir_status bad(const struct line *line, struct weir_error *err, const char *format,
                            ...) __attribute__((format(printf, 3, 4)));

static enum weir_status bad(const struct line *line, struct weir_error *err, const char *format,
                            ...)
{
    char place[LINES_PLACE_BYTES], what[WEIR_ERROR_MESSAGE_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    return error_set(err, WEIR_E_FORMAT, "%s: %s", lines_place(place, line->file, line->number),
                     what);
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

    return bad(line, err,
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
        return bad(line, err, "\"url\" has %zu bytes; at most %d are allowed", url.len,
                   ROW_URL_BYTES_MAX);
    if (url.len == 0)
        return bad(line, err,
                   "\"url\" is empty; give a path such as \"/v1/chat/completions\", or "
                   "leave it out to use --url");
    if (!url_is_plain(url))
        return bad(line, err,
                   "\"url\" has a space, a # or a character that is not ASCII; write it "
                   "as %%XX");
    origin_len = url.data[0] == '/' ? 0 : url_origin_len(url);
    if (url.data[0] != '/' && origin_len == 0)
        return bad(line, err,
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

/* Length of the part of text that holds no control character (C0, DEL, C1 in UTF-8). */
static size_t without_control(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        bool c1 = c == 0xc2 && i + 1 < text.len && (unsigned char)text.data[i + 1] < 0xa0;
        if (c < 0x20 || c == 0x7f || c1)
            return i;
    }
    return text.len;
}

static enum weir_status judge_key(const struct line *line, const char *source, struct slice key,
                                  struct weir_error *err)
{
    if (key.len == 0)
        return bad(line, err, "the key (%s) is empty; give each row a name of its own", source);
    if (key.len > ROW_KEY_BYTES_MAX)
        return bad(line, err, "the key (%s) has %zu bytes; at most %d are allowed", source, key.len,
                   ROW_KEY_BYTES_MAX);
    if (without_control(key) != key.len)
        return bad(line, err, "the key (%s) has a control character at its byte %zu; take it out",
                   source, without_control(key) + 1);
    return WEIR_OK;
}

/* The key by --key, or by custom_id (empty slice: there is none); else found->key stays empty. */
static enum weir_status find_key(struct rows *r, const struct line *line, struct slice value,
                                 struct slice custom_id, struct found *found,
                                 struct weir_error *err)
{
    const char *source = r->key ? "--key" : "custom_id";
    enum weir_status status;

    buf_clear(&r->key_text);
    if (r->key) {
        struct weir_error why = {0};

        status = program_run(r->key, value, PROGRAM_TEXT, &r->key_text, &why);
        if (status == WEIR_E_NOMEM)
            return error_nomem(err);
        if (status != WEIR_OK)
            return bad(line, err, "%s", why.message);
    } else if (json_kind(custom_id) == JSON_STRING) {
        json_unquote(custom_id, &r->key_text);
        if (r->key_text.failed)
            return error_nomem(err);
    } else {
        return WEIR_OK;
    }
    status = judge_key(line, source, buf_slice(&r->key_text), err);
    if (status != WEIR_OK)
        return status;
    found->key = buf_slice(&r->key_text);
    found->keyed = true;
    memcpy(r->seen_key, found->key.data, found->key.len);
    r->seen.key = (struct slice){r->seen_key, found->key.len};
    return WEIR_OK;
}

/* The members of a Batch row, but for its key. */
static enum weir_status read_batch(struct rows *r, const struct line *line, struct slice custom_id,
                                   struct slice url, struct slice method, struct found *found,
                                   struct weir_error *err)
{
    if (json_kind(custom_id) != JSON_STRING)
        return bad(line, err, "\"custom_id\" must be a string, as in the OpenAI Batch form");
    if (json_kind(method) == JSON_STRING) {
        buf_clear(&r->text);
        json_unquote(method, &r->text);
        if (r->text.failed)
            return error_nomem(err);
        found->method = find_method(buf_slice(&r->text));
        if (!found->method)
            return bad(line, err, "\"method\" is none of " ROW_METHODS);
    } else if (json_kind(method) != JSON_NONE && json_kind(method) != JSON_NULL) {
        return bad(line, err, "\"method\" must be a string: one of " ROW_METHODS);
    }
    if (json_kind(url) == JSON_STRING)
        return resolve_url(r, line, url, &found->url, err);
    if (json_kind(url) != JSON_NONE && json_kind(url) != JSON_NULL)
        return bad(line, err, "\"url\" must be a string such as \"/v1/chat/completions\"");
    return WEIR_OK;
}

/* A JSON fault, with what is most likely behind it. */
static enum weir_status broken_json(const struct line *line, const struct json_fault *fault,
                                    struct weir_error *err)
{
    struct slice text = json_trim(line->text);
    const char *remedy = "correct the line";

    if (memchr(line->text.data, '\0', line->text.len))
        remedy = "the line has NUL bytes: is the file UTF-16, or cut off by a crash?";
    else if (text.len == 1 && (text.data[0] == '{' || text.data[0] == '['))
        remedy = "each line must be a whole JSON value: `jq -c .` (for an array `jq -c .[]`) makes "
                 "it so";
    else if (text.len > 0 && !strchr("{[\"-0123456789tfn", text.data[0]))
        remedy = "if the input is plain text, give --lines";
    return bad(line, err, "broken JSON: %s (column %zu); %s", fault->what, fault->offset + 1,
               remedy);
}

static enum weir_status read_json(struct rows *r, const struct line *line, struct found *found,
                                  struct weir_error *err)
{
    enum { CUSTOM_ID, BODY, URL, METHOD, COUNT };
    struct json_wanted members[COUNT] = {[CUSTOM_ID] = {.name = SLICE("custom_id")},
                                         [BODY] = {.name = SLICE("body")},
                                         [URL] = {.name = SLICE("url")},
                                         [METHOD] = {.name = SLICE("method")}};
    struct json_fault fault;
    struct slice value;
    enum weir_status status;

    if (!json_check(line->text, &fault))
        return broken_json(line, &fault, err);
    value = json_trim(line->text);
    found->body = value;
    json_members(value, members, COUNT);
    if (members[CUSTOM_ID].value.len && members[BODY].value.len &&
        (members[URL].value.len || members[METHOD].value.len))
        found->kind = ROW_BATCH;
    r->seen.form = true;
    r->seen.kind = found->kind;
    status = find_key(r, line, value, members[CUSTOM_ID].value, found, err);
    if (status != WEIR_OK || found->kind == ROW_PLAIN)
        return status;
    if (!r->template)
        found->body = members[BODY].value;
    return read_batch(r, line, members[CUSTOM_ID].value, members[URL].value, members[METHOD].value,
                      found, err);
}

static enum weir_status read_text(struct rows *r, const struct line *line, struct found *found,
                                  struct weir_error *err)
{
    const char *nul = memchr(line->text.data, '\0', line->text.len);
    size_t valid;

    if (nul)
        return bad(line, err,
                   "the line has a NUL byte (column %zu); plain text has none: is the "
                   "file UTF-16 or binary?",
                   (size_t)(nul - line->text.data) + 1);
    valid = utf8_valid_prefix(line->text);
    if (valid != line->text.len)
        return bad(line, err,
                   "the line is not UTF-8 (column %zu); convert the file: iconv -f "
                   "latin1 -t utf-8",
                   valid + 1);
    buf_clear(&r->body);
    json_put_string(&r->body, line->text);
    if (r->body.failed)
        return error_nomem(err);
    found->body = buf_slice(&r->body);
    return find_key(r, line, found->body, (struct slice){"", 0}, found, err);
}

/* Replaces the body by what --template makes of it. */
static enum weir_status apply_template(struct rows *r, const struct line *line, struct found *found,
                                       struct weir_error *err)
{
    struct weir_error why = {0};
    enum weir_status status;

    if (!r->template)
        return WEIR_OK;
    buf_clear(&r->text);
    status = program_run(r->template, found->body, PROGRAM_JSON, &r->text, &why);
    if (status == WEIR_E_NOMEM)
        return error_nomem(err);
    if (status != WEIR_OK)
        return bad(line, err, "%s", why.message);
    found->body = buf_slice(&r->text);
    return WEIR_OK;
}

/* ---- the row ---- */

static void release_row(struct core_task *task)
{
    row_free(row_of(task));
}

void row_estimate_tokens(struct run_row *row)
{
    row->task.tokens = tokens_estimate_json(row->request.body);
}

void row_free(struct run_row *row)
{
    if (!row)
        return;
    task_clear(&row->task);
    mem_free(row);
}

/* Copies bytes with a NUL behind them to *at, which moves on. */
static char *place_bytes(char **at, struct slice bytes)
{
    char *begin = *at;

    if (bytes.len)
        memcpy(begin, bytes.data, bytes.len);
    begin[bytes.len] = '\0';
    *at += bytes.len + 1;
    return begin;
}

static struct run_row *new_row(const struct line *line, uint64_t index, const struct found *found)
{
    char number[DECIMAL_BYTES];
    struct slice key = found->key;
    struct run_row *row;
    size_t bytes;
    char *at;

    if (key.len == 0) {
        key = decimal_of(index, number);
    }
    bytes = sizeof(*row) + key.len + 1 + found->url.len + 1 + found->body.len + 1;
    row = mem_alloc(bytes);
    if (!row)
        return NULL;
    memset(row, 0, sizeof(*row));
    at = (char *)(row + 1);

    task_init(&row->task);
    row->task.index = index;
    row->task.key = place_bytes(&at, key);
    row->task.payload = &row->request;
    row->task.payload_len = bytes;
    row->task.hash_hi = line->hash.hi;
    row->task.hash_lo = line->hash.lo;
    row->task.release = release_row;
    row->request.method = found->method;
    if (found->url.len)
        row->request.url = place_bytes(&at, found->url);
    row->request.body.len = found->body.len;
    row->request.body.data = place_bytes(&at, found->body);
    row->kind = found->kind;
    row->keyed = found->keyed;
    row->file = line->file;
    row->line = line->number;
    row->key_len = key.len;
    return row;
}

/* A line of 16 MiB must not leave its buffers behind for the rest of the run. */
static void trim_scratch(struct rows *r)
{
    struct buf *all[] = {&r->text, &r->key_text, &r->body, &r->url};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i]->cap > SCRATCH_KEEP_BYTES)
            buf_free(all[i]);
}

enum weir_status rows_build(struct rows *r, const struct line *line, uint64_t index,
                            struct run_row **ret, struct weir_error *err)
{
    struct found found = {.kind = ROW_PLAIN, .method = r->method};
    enum weir_status status;
    struct run_row *row;

    r->seen = (struct row_seen){.form = r->options.lines, .kind = ROW_PLAIN, .key = {"", 0}};
    if (line->too_long)
        return bad(line, err,
                   "the line has %" PRIu64 " bytes, more than --max-line allows; split "
                   "it, or raise --max-line",
                   line->length);
    status = r->options.lines ? read_text(r, line, &found, err) : read_json(r, line, &found, err);
    if (status == WEIR_OK)
        status = apply_template(r, line, &found, err);
    if (status != WEIR_OK)
        goto out;
    if (may_go_without_body(found.method) && json_kind(found.body) == JSON_NULL)
        found.body = (struct slice){"", 0};
    row = new_row(line, index, &found);
    if (!row) {
        status = error_nomem(err);
        goto out;
    }
    if (!row->request.url)
        row->request.url = r->options.url;
    *ret = row;
out:
    trim_scratch(r);
    return status;
}

struct row_seen rows_seen(const struct rows *r)
{
    return r->seen;
}

enum weir_status row_bad(const struct line *line, uint64_t index, enum row_kind kind,
                         struct slice key, const char *message, struct run_row **ret,
                         struct weir_error *err)
{
    struct found found = {.kind = kind, .key = key};
    struct run_row *row = new_row(line, index, &found);
    char *copy = mem_strdup(message);

    if (!row || !copy) {
        row_free(row);
        mem_free(copy);
        return error_nomem(err);
    }
    row->bad = true;
    row->task.refused = true;
    row->task.answer.outcome = WEIR_OUTCOME_FAILED;
    row->task.answer.reason = WEIR_REASON_BAD_ROW;
    row->task.answer.message = copy;
    *ret = row;
    return WEIR_OK;
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

    f = fingerprint_of((struct slice){(const char *)words, sizeof(words)});
    fingerprint_hex(f, row->idempotency_key);
    row->request.idempotency_key = row->idempotency_key;
    row->task.generation = generation;
}

struct fingerprint row_key_fingerprint(const struct run_row *row)
{
    return fingerprint_of((struct slice){row->task.key, row->key_len});
}

/* ---- the builder ---- */

static enum weir_status compile_exprs(struct rows *r, struct weir_error *err)
{
    const struct row_options *o = &r->options;
    enum weir_status status = WEIR_OK;

    if (o->template_expr)
        status =
            program_new(&(struct program_options){.name = "--template", .expr = o->template_expr},
                        &r->template, err);
    if (status == WEIR_OK && o->key_expr)
        status = program_new(&(struct program_options){.name = "--key", .expr = o->key_expr},
                             &r->key, err);
    return status;
}

enum weir_status rows_new(const struct row_options *o, struct rows **ret, struct weir_error *err)
{
    size_t origin_len = url_origin_len(slice_of(o->url));
    const char *method = o->method ? o->method : "POST", *known = find_method(slice_of(method));
    enum weir_status status;
    struct rows *r;

    if (origin_len == 0)
        return error_set(err, WEIR_E_INVALID,
                         "--url: must be absolute and begin with http:// or https://");
    if (!known && http_method_check(method, err) != WEIR_OK) {
        (void)error_prefix(err, "--method"); /* err may be NULL: the status is said here */
        return WEIR_E_INVALID;
    }
    r = mem_calloc(1, sizeof(*r));
    if (!r)
        return error_nomem(err);
    r->options = *o;
    r->method = known ? known : method;
    r->origin_len = origin_len;
    status = compile_exprs(r, err);
    if (status != WEIR_OK) {
        rows_free(r);
        return status;
    }
    *ret = r;
    return WEIR_OK;
}

void rows_free(struct rows *r)
{
    if (!r)
        return;
    program_free(r->template);
    program_free(r->key);
    buf_free(&r->text);
    buf_free(&r->key_text);
    buf_free(&r->body);
    buf_free(&r->url);
    mem_free(r);
}
