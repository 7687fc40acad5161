/*
 * Answers to what goes wrong, and what a request says beside its body: ids, query parameters,
 * cursors (internal.h).
 */
#include "serve/api/internal.h"

#include "base/error.h"
#include "serve/api/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- what goes wrong ---- */

static unsigned http_status_of(enum weir_status status)
{
    switch (status) {
    case WEIR_OK:
        return 200;
    case WEIR_E_END:
        return 404;
    case WEIR_E_BUSY:
    case WEIR_E_CONFLICT:
        return 409;
    case WEIR_E_INVALID:
    case WEIR_E_LIMIT:
        return 422;
    case WEIR_E_FORMAT: /* of the store, which is damaged; of what was sent it is in the faults */
    case WEIR_E_NOMEM:
    case WEIR_E_IO:
    case WEIR_E_SHUTDOWN:
    case WEIR_E_AGAIN:
        return 503;
    case WEIR_E_INTERNAL:
        break;
    }
    return 500;
}

void reply_failure(struct http_request *req, const struct weir_error *err, const char *what)
{
    unsigned status = http_status_of(err->status);

    if (status == 503)
        http_reply_header(req, "Retry-After", "1");
    if (err->status == WEIR_E_END && err->message[0] == '\0')
        http_problem(req, status, NULL, "there is no %s", what);
    else
        http_problem(req, status, NULL, "%s", err->message);
}

void reply_refused(struct http_request *req, const struct weir_error *err)
{
    struct weir_error seen = *err;

    /* A conflict with what is there (a batch that was ended) is one only where the path names that. */
    if (seen.status == WEIR_E_END || (seen.status == WEIR_E_CONFLICT && !http_param(req, "id")))
        seen.status = WEIR_E_INVALID;
    if (seen.message[0] == '\0')
        (void)error_set(&seen, seen.status, "a task that one of these depends on is not there");
    reply_failure(req, &seen, "task");
}

void reply_faults(struct http_request *req, const struct faults *f)
{
    _cleanup_buf_ struct buf errors = {0};

    if (f->nomem) {
        reply_nomem(req);
        return;
    }
    buf_putc(&errors, '[');
    buf_put_slice(&errors, buf_slice(&f->json));
    buf_putc(&errors, ']');
    if (f->count > 1)
        http_problem(req, 400, NULL, "%s (and %zu more)", buf_slice(&f->first).data, f->count - 1);
    else
        http_problem(req, 400, NULL, "%s", buf_slice(&f->first).data);
    if (!errors.failed)
        http_problem_put(req, "errors", buf_slice(&errors));
}

void reply_nomem(struct http_request *req)
{
    http_reply_header(req, "Retry-After", "1");
    http_problem(req, 503, NULL, "there is no memory for this now");
}

void reply_absent(struct http_request *req, const char *what)
{
    http_problem(req, 404, NULL, "there is no %s", what);
}

/* ---- the path ---- */

bool request_id(struct http_request *req, const char *what, uint64_t *ret)
{
    const char *text = http_param(req, "id");

    if (text_u64(slice_of(text), ret))
        return true;
    http_problem(req, 404, NULL, "there is no %s \"%.64s\": an id is a number", what, text);
    return false;
}

/* ---- the query ---- */

static bool query_fault(struct http_request *req, const char *name, const char *message)
{
    http_problem(req, 400, NULL, "the query parameter %s: %s", name, message);
    http_problem_add(req, name, "%s", message);
    return false;
}

bool query_u64(struct http_request *req, const char *name, uint64_t min, uint64_t max,
               uint64_t *ret)
{
    const char *text = http_query(req, name);
    struct weir_error err;
    uint64_t n;

    if (!text)
        return true;
    if (text_u64(slice_of(text), &n) && n >= min && n <= max) {
        *ret = n;
        return true;
    }
    if (max == UINT64_MAX)
        (void)error_set(&err, WEIR_E_INVALID,
                        "it must be a number from %" PRIu64 " on, not \"%.64s\"", min, text);
    else
        (void)error_set(&err, WEIR_E_INVALID,
                        "it must be a number from %" PRIu64 " to %" PRIu64 ", not \"%.64s\"", min,
                        max, text);
    return query_fault(req, name, err.message);
}

bool query_bool(struct http_request *req, const char *name, bool *ret)
{
    const char *text = http_query(req, name);

    if (!text)
        return true;
    if (strcmp(text, "") == 0 || strcmp(text, "true") == 0 || strcmp(text, "1") == 0)
        *ret = true;
    else if (strcmp(text, "false") == 0 || strcmp(text, "0") == 0)
        *ret = false;
    else
        return query_fault(req, name, "it must be true or false");
    return true;
}

bool query_time(struct http_request *req, const char *name, int64_t now_ns, int64_t *ret_ns)
{
    const char *text = http_query(req, name);
    _cleanup_buf_ struct buf later = {0};
    struct weir_error err;

    /* In a query a plus is a blank. */
    if (text && text[0] == ' ') {
        buf_printf(&later, "+%s", text + 1);
        text = later.failed ? text : later.data;
    }
    if (!text || text_time(slice_of(text), now_ns, ret_ns, &err) == WEIR_OK)
        return true;
    return query_fault(req, name, err.message);
}

bool query_text(struct http_request *req, const char *name, struct slice *ret)
{
    const char *text = http_query(req, name);

    /* Nobody who asks for nothing means all; a variable of a script was empty. */
    if (text && *text == '\0')
        return query_fault(req, name, "it is empty; leave it out if there is none");
    if (text)
        *ret = slice_of(text);
    return true;
}

bool query_name(struct http_request *req, const char *name, struct slice *ret)
{
    const char *text = http_query(req, name);

    if (!text)
        return true;
    if (*text == '\0')
        return query_fault(req, name, "it is empty; leave it out if there is none");
    if (strlen(text) > REGISTRY_NAME_BYTES_MAX)
        return query_fault(req, name, "it is longer than a name may be, 255 bytes");
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            return query_fault(req, name, "it has a control character in it");
    }
    *ret = slice_of(text);
    return true;
}

bool query_order(struct http_request *req, bool *ret_newest)
{
    const char *text = http_query(req, "order");

    if (text && strcmp(text, "newest") != 0 && strcmp(text, "oldest") != 0)
        return query_fault(req, "order", "it must be newest or oldest");
    *ret_newest = text && strcmp(text, "newest") == 0;
    return true;
}

bool query_words(struct http_request *req, const char *name, const char *known,
                 bool (*fn)(void *ctx, struct slice word), void *ctx)
{
    const char *text = http_query(req, name);
    struct weir_error err;

    for (const char *comma = text; text && comma; text = comma + 1) {
        struct slice word;

        comma = strchr(text, ',');
        word = comma ? (struct slice){text, (size_t)(comma - text)} : slice_of(text);
        if (!fn(ctx, word)) {
            (void)error_set(&err, WEIR_E_INVALID, "there is no \"%.*s\"; there are %s",
                            (int)(word.len < 64 ? word.len : 64), word.data, known);
            return query_fault(req, name, err.message);
        }
        if (!comma)
            break;
    }
    return true;
}

/* The order, then the id at which the page ended. */
void put_cursor(struct out_object *o, bool newest, uint64_t id)
{
    out_name(o, "next");
    if (id == 0)
        buf_puts(o->buf, "null");
    else
        buf_printf(o->buf, "\"%c%" PRIx64 "\"", newest ? 'n' : 'o', id);
}

bool query_cursor(struct http_request *req, bool newest, uint64_t *ret_id)
{
    const char *text = http_query(req, "cursor");
    uint64_t id;

    if (!text)
        return true;
    id = text[0] ? strtoull(text + 1, NULL, 16) : 0;
    if (text[0] != '\0' && text[1] != '\0' &&
        strspn(text + 1, "0123456789abcdef") == strlen(text + 1) && strlen(text) <= 17 && id > 0) {
        if (text[0] == (newest ? 'n' : 'o')) {
            *ret_id = id;
            return true;
        }
        if (text[0] == 'n' || text[0] == 'o')
            return query_fault(req, "cursor",
                               "it is of a list in the other order; give the same order");
    }
    return query_fault(req, "cursor", "it is not what a list gave as \"next\"");
}

void put_name_cursor(struct out_object *o, bool more, struct slice name)
{
    _cleanup_buf_ struct buf cursor = {0};

    if (!more) {
        out_name(o, "next");
        buf_puts(o->buf, "null");
        return;
    }
    buf_putc(&cursor, 'b');
    buf_put_slice(&cursor, name);
    out_text(o, "next", buf_slice(&cursor));
    o->buf->failed |= cursor.failed;
}

bool query_name_cursor(struct http_request *req, const char **ret_name)
{
    const char *text = http_query(req, "cursor");

    if (!text)
        return true;
    if (text[0] != 'b')
        return query_fault(req, "cursor", "it is not what a list gave as \"next\"");
    *ret_name = text + 1;
    return true;
}

/* ---- the body ---- */

bool request_fields(struct http_request *req, struct body_in *in, const struct field *fields,
                    size_t count, void *out, uint64_t *ret_given)
{
    struct slice body = http_body(req);

    if (ret_given)
        *ret_given = 0;
    if (body.len == 0)
        return true;
    if (body_check(in, NULL, body) &&
        body_fields(in, NULL, json_trim(body), fields, count, out, ret_given))
        return true;
    reply_faults(req, &in->faults);
    return false;
}

/* ---- readers ---- */

struct registry_reader *reader_take(struct api *a, struct http_request *req)
{
    struct registry_reader *r;
    struct weir_error err;

    if (a->backend->ops->take_reader(a->backend, &r, &err) == WEIR_OK)
        return r;
    reply_failure(req, &err, "reader");
    return NULL;
}

void reader_give(struct api *a, struct registry_reader *r)
{
    a->backend->ops->give_reader(a->backend, r);
}
