/* See row.h: what all rows have. */
#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/input/row_parts.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Memory of a scratch buffer that is kept from one row to the next. */
#define SCRATCH_KEEP_BYTES ((size_t)1 << 20)

static const struct row_maker *const makers[] = {[RUN_HTTP] = &row_maker_http,
                                                 [RUN_WORKER] = &row_maker_worker,
                                                 [RUN_COMMAND] = &row_maker_command};

enum weir_status row_fault(const struct line *line, struct weir_error *err, const char *format, ...)
{
    char place[LINES_PLACE_BYTES], what[WEIR_ERROR_MESSAGE_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    return error_set(err, WEIR_E_FORMAT, "%s: %s", lines_place(place, line->file, line->number),
                     what);
}

enum weir_status row_program_fault(const struct line *line, enum weir_status status,
                                   const struct weir_error *why, struct weir_error *err)
{
    if (status == WEIR_E_NOMEM)
        return error_nomem(err);
    return row_fault(line, err, "%s", why->message);
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
        return row_fault(line, err, "the key (%s) is empty; give each row a name of its own",
                         source);
    if (key.len > ROW_KEY_BYTES_MAX)
        return row_fault(line, err, "the key (%s) has %zu bytes; at most %d are allowed", source,
                         key.len, ROW_KEY_BYTES_MAX);
    if (without_control(key) != key.len)
        return row_fault(line, err,
                         "the key (%s) has a control character at its byte %zu; take it out",
                         source, without_control(key) + 1);
    return WEIR_OK;
}

bool row_text_is_key(struct slice text)
{
    return text.len > 0 && text.len <= ROW_KEY_BYTES_MAX && without_control(text) == text.len &&
           utf8_valid_prefix(text) == text.len;
}

enum weir_status row_find_key(struct rows *r, const struct line *line, struct slice value,
                              struct slice custom_id, struct found *found, struct weir_error *err)
{
    const char *source = r->key ? "--key" : "custom_id";
    enum weir_status status;

    buf_clear(&r->key_text);
    if (r->key) {
        struct weir_error why = {0};

        status = program_run(r->key, value, PROGRAM_TEXT, &r->key_text, &why);
        if (status != WEIR_OK)
            return row_program_fault(line, status, &why, err);
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
    return row_fault(line, err, "broken JSON: %s (column %zu); %s", fault->what, fault->offset + 1,
                     remedy);
}

static enum weir_status read_text(struct rows *r, const struct line *line, struct found *found,
                                  struct weir_error *err)
{
    const char *nul = memchr(line->text.data, '\0', line->text.len);
    size_t valid;

    if (nul)
        return row_fault(line, err,
                         "the line has a NUL byte (column %zu); plain text has none: is the "
                         "file UTF-16 or binary?",
                         (size_t)(nul - line->text.data) + 1);
    valid = utf8_valid_prefix(line->text);
    if (valid != line->text.len)
        return row_fault(line, err,
                         "the line is not UTF-8 (column %zu); convert the file: iconv -f "
                         "latin1 -t utf-8",
                         valid + 1);
    buf_clear(&r->body);
    json_put_string(&r->body, line->text);
    if (r->body.failed)
        return error_nomem(err);
    found->body = buf_slice(&r->body);
    return WEIR_OK;
}

enum weir_status row_read_value(struct rows *r, const struct line *line, struct found *found,
                                struct weir_error *err)
{
    struct json_fault fault;

    if (r->options.lines)
        return read_text(r, line, found, err);
    if (!json_check(line->text, &fault))
        return broken_json(line, &fault, err);
    found->body = json_trim(line->text);
    return WEIR_OK;
}

enum weir_status row_apply_template(struct rows *r, const struct line *line, struct found *found,
                                    struct weir_error *err)
{
    struct weir_error why = {0};
    enum weir_status status;

    if (!r->template)
        return WEIR_OK;
    buf_clear(&r->text);
    status = program_run(r->template, found->body, PROGRAM_JSON, &r->text, &why);
    if (status != WEIR_OK)
        return row_program_fault(line, status, &why, err);
    found->body = buf_slice(&r->text);
    return WEIR_OK;
}

/* ---- the row ---- */

static void release_row(struct core_task *task)
{
    row_free(row_of(task));
}

void row_free(struct run_row *row)
{
    if (!row)
        return;
    task_clear(&row->task);
    mem_free(row);
}

char *row_place_bytes(char **at, struct slice bytes)
{
    char *begin = *at;

    if (bytes.len)
        memcpy(begin, bytes.data, bytes.len);
    begin[bytes.len] = '\0';
    *at += bytes.len + 1;
    return begin;
}

/* A row of so many bytes, of which `head` are structs and the key and more stand behind them. */
static struct run_row *new_row(const struct line *line, uint64_t index, const struct found *found,
                               size_t head, size_t bytes, char **ret_at)
{
    char number[DECIMAL_BYTES];
    struct slice key = found->key.len ? found->key : decimal_of(index, number);
    struct run_row *row = mem_alloc(bytes + key.len + 1);

    if (!row)
        return NULL;
    memset(row, 0, head);
    *ret_at = (char *)row + head;
    task_init(&row->task);
    row->task.index = index;
    row->task.key = row_place_bytes(ret_at, key);
    row->task.payload_len = bytes + key.len + 1;
    row->task.hash_hi = line->hash.hi;
    row->task.hash_lo = line->hash.lo;
    row->task.release = release_row;
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

static enum weir_status make_row(struct rows *r, const struct line *line, uint64_t index,
                                 const struct found *found, struct run_row **ret,
                                 struct weir_error *err)
{
    char *at;
    struct run_row *row =
        new_row(line, index, found, r->maker->head_bytes(r), r->maker->bytes(r, found), &at);

    if (!row)
        return error_nomem(err);
    row->made_for = r->options.kind;
    r->maker->fill(r, found, row, &at);
    *ret = row;
    return WEIR_OK;
}

enum weir_status rows_build(struct rows *r, const struct line *line, uint64_t index,
                            struct run_row **ret, struct weir_error *err)
{
    struct found found = {.kind = ROW_PLAIN};
    enum weir_status status;

    r->seen = (struct row_seen){
        .form = r->options.lines || r->options.kind != RUN_HTTP, .kind = ROW_PLAIN, .key = {"", 0}};
    if (line->too_long)
        return row_fault(line, err,
                         "the line has %" PRIu64 " bytes, more than --max-line allows; split "
                         "it, or raise --max-line",
                         line->length);
    status = r->maker->read(r, line, index, &found, err);
    if (status == WEIR_OK)
        status = make_row(r, line, index, &found, ret, err);
    trim_scratch(r);
    return status;
}

struct row_seen rows_seen(const struct rows *r)
{
    return r->seen;
}

enum weir_status row_bad(const struct line *line, uint64_t index, enum run_kind made_for,
                         enum row_kind kind, struct slice key, const char *message,
                         struct run_row **ret, struct weir_error *err)
{
    struct found found = {.kind = kind, .key = key};
    char *at;
    struct run_row *row = new_row(line, index, &found, sizeof(*row), sizeof(*row), &at);
    char *copy = mem_strdup(message);

    if (!row || !copy) {
        row_free(row);
        mem_free(copy);
        return error_nomem(err);
    }
    row->made_for = made_for;
    row->bad = true;
    row->task.refused = true;
    row->task.answer.outcome = WEIR_OUTCOME_FAILED;
    row->task.answer.reason = WEIR_REASON_BAD_ROW;
    row->task.answer.message = copy;
    *ret = row;
    return WEIR_OK;
}

struct fingerprint row_key_fingerprint(const struct run_row *row)
{
    return fingerprint_of((struct slice){row->task.key, row->key_len});
}

/* ---- the builder ---- */

static enum weir_status compile(const char *option, const char *expr, bool empty_is_null,
                                struct program **ret, struct weir_error *err)
{
    struct program_options o = {.name = option, .expr = expr, .empty_is_null = empty_is_null};

    return expr ? program_new(&o, ret, err) : WEIR_OK;
}

static enum weir_status prepare(struct rows *r, struct weir_error *err)
{
    const struct row_options *o = &r->options;
    enum weir_status status = compile("--template", o->template_expr, false, &r->template, err);

    if (status == WEIR_OK)
        status = compile("--key", o->key_expr, false, &r->key, err);
    if (status == WEIR_OK)
        status = compile("--session", o->session_expr, true, &r->session, err);
    if (status == WEIR_OK && o->colsep) {
        status = columns_new(o->colsep, &r->colsep, err);
        if (status == WEIR_E_INVALID)
            error_prefix(err, "--colsep");
    }
    return status;
}

enum weir_status rows_new(const struct row_options *o, struct rows **ret, struct weir_error *err)
{
    struct rows *r = mem_calloc(1, sizeof(*r));
    enum weir_status status = WEIR_OK;

    if (!r)
        return error_nomem(err);
    r->options = *o;
    r->maker = makers[o->kind];
    if (o->kind == RUN_HTTP)
        status = row_http_check(r, err);
    if (status == WEIR_OK)
        status = prepare(r, err);
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
    program_free(r->session);
    columns_free(r->colsep);
    column_list_free(&r->columns);
    column_list_free(&r->parts);
    buf_free(&r->text);
    buf_free(&r->key_text);
    buf_free(&r->body);
    buf_free(&r->url);
    mem_free(r);
}
