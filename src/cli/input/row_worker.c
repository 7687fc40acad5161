/* Rows for long-lived workers; row.h says what a line is. */
#include "base/json.h"
#include "cli/input/row_parts.h"

/* What --session says of the row, into r->url, which these rows have no other use for. */
static enum weir_status find_session(struct rows *r, const struct line *line, struct slice value,
                                     struct found *found, struct weir_error *err)
{
    struct weir_error why = {0};
    struct slice given;
    enum weir_status status;

    if (!r->session)
        return WEIR_OK;
    buf_clear(&r->text);
    buf_clear(&r->url);
    status = program_run(r->session, value, PROGRAM_JSON, &r->text, &why);
    if (status != WEIR_OK)
        return row_program_fault(line, status, &why, err);
    given = json_trim(buf_slice(&r->text));
    if (json_kind(given) == JSON_NULL)
        return WEIR_OK;
    if (json_kind(given) == JSON_STRING)
        json_unquote(given, &r->url);
    else if (json_kind(given) == JSON_NUMBER)
        buf_put_slice(&r->url, given);
    else
        return row_fault(line, err,
                         "--session gives neither a string nor a number; null says that the row "
                         "has no session");
    if (r->url.failed)
        return row_program_fault(line, WEIR_E_NOMEM, &why, err);
    found->session = buf_slice(&r->url);
    if (!row_text_is_key(found->session))
        return row_fault(line, err,
                         "the session (--session) must have 1 to %d bytes and no control "
                         "characters",
                         ROW_KEY_BYTES_MAX);
    return WEIR_OK;
}

static enum weir_status read_line(struct rows *r, const struct line *line, uint64_t index,
                                  struct found *found, struct weir_error *err)
{
    struct slice custom_id = {"", 0};
    enum weir_status status = row_read_value(r, line, found, err);

    (void)index;
    if (status != WEIR_OK)
        return status;
    if (!r->options.lines)
        (void)json_member(found->body, "custom_id", &custom_id);
    status = row_find_key(r, line, found->body, custom_id, found, err);
    if (status == WEIR_OK)
        status = find_session(r, line, found->body, found, err);
    return status == WEIR_OK ? row_apply_template(r, line, found, err) : status;
}

static size_t head_bytes(const struct rows *r)
{
    (void)r;
    return sizeof(struct worker_row);
}

static size_t count_bytes(const struct rows *r, const struct found *found)
{
    return head_bytes(r) + found->session.len + 1 + found->body.len + 1;
}

static void fill(const struct rows *r, const struct found *found, struct run_row *row, char **at)
{
    struct worker_row *w = (struct worker_row *)(void *)row;

    row->task.payload = &w->request;
    w->request.command = r->options.command;
    w->request.args.len = found->body.len;
    w->request.args.data = row_place_bytes(at, found->body);
    if (found->session.len > 0)
        w->session = row_place_bytes(at, found->session);
}

const struct row_maker row_maker_worker = {
    .read = read_line, .bytes = count_bytes, .fill = fill, .head_bytes = head_bytes};
