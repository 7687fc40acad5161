/* Rows for commands; row.h says what a line is. */
#include "base/error.h"
#include "base/json.h"
#include "cli/input/row_parts.h"
#include "exec/template/template.h"

#include <string.h>

static bool append(struct column_list *to, const struct column_list *from)
{
    for (size_t i = 0; i < from->count; i++)
        if (!column_list_add(to, from->items[i]))
            return false;
    return true;
}

/* The columns of a line, into r->columns: its parts, each parted by --colsep. False: no memory. */
static bool part(struct rows *r, struct slice text)
{
    if (!r->colsep)
        return columns_split_nul(text, &r->columns);
    if (!columns_split_nul(text, &r->parts))
        return false;
    if (r->parts.count == 1)
        return columns_split(r->colsep, text, &r->columns);
    r->columns.count = 0;
    for (size_t i = 0; i < r->parts.count; i++) {
        struct column_list list = {0};
        bool ok = columns_split(r->colsep, r->parts.items[i], &list) && append(&r->columns, &list);

        column_list_free(&list);
        if (!ok)
            return false;
    }
    return true;
}

/* A NUL stands between parts, and nowhere else. */
static bool has_stray_nul(const struct rows *r, struct slice text)
{
    return !r->options.of_parts && memchr(text.data, '\0', text.len) != NULL;
}

/* What --key gives; the row as text, as a JSON string, or as the object that it is. */
static enum weir_status find_key(struct rows *r, const struct line *line, struct found *found,
                                 struct weir_error *err)
{
    struct slice value = found->object;

    if (r->key) {
        buf_clear(&r->body);
        if (value.len == 0) {
            json_put_string(&r->body, line->text);
            if (r->body.failed)
                return error_nomem(err);
            value = buf_slice(&r->body);
        }
        return row_find_key(r, line, value, (struct slice){"", 0}, found, err);
    }
    /* Parts with spaces between, as they are in the command line. */
    buf_clear(&r->key_text);
    if (line->text.len > ROW_KEY_BYTES_MAX)
        return WEIR_OK;
    for (size_t i = 0; i < line->text.len; i++)
        buf_putc(&r->key_text, line->text.data[i] ? line->text.data[i] : ' ');
    if (r->key_text.failed)
        return error_nomem(err);
    if (row_text_is_key(buf_slice(&r->key_text)))
        found->key = buf_slice(&r->key_text);
    return WEIR_OK;
}

static enum weir_status check_templates(struct rows *r, const struct line *line, uint64_t index,
                                        const struct found *found, struct weir_error *err)
{
    struct weir_error why = {0};
    struct template_row row = {.text = found->body,
                               .columns = r->columns.items,
                               .column_count = r->columns.count,
                               .object = found->object,
                               .number = index + 1};
    enum weir_status status = template_check(r->options.words, &row, &why);

    if (status == WEIR_OK && r->options.tag)
        status = template_check(r->options.tag, &row, &why);
    return status == WEIR_OK ? WEIR_OK : row_program_fault(line, status, &why, err);
}

static enum weir_status read_line(struct rows *r, const struct line *line, uint64_t index,
                                  struct found *found, struct weir_error *err)
{
    struct slice text = line->text;
    enum weir_status status;

    if (has_stray_nul(r, text))
        return row_fault(
            line, err,
            "the line has a NUL byte (column %zu), which no argument can hold; if rows "
            "end at NUL bytes, give --null",
            (size_t)((const char *)memchr(text.data, '\0', text.len) - text.data) + 1);
    found->body = text;
    if (!part(r, text))
        return error_nomem(err);
    if (!r->options.lines && text.len > 0 &&
        (text.data[0] == '{' || text.data[0] == ' ' || text.data[0] == '\t') &&
        json_check(text, NULL) && json_kind(json_trim(text)) == JSON_OBJECT)
        found->object = json_trim(text);
    status = find_key(r, line, found, err);
    return status == WEIR_OK ? check_templates(r, line, index, found, err) : status;
}

static size_t head_bytes(const struct rows *r)
{
    return sizeof(struct command_row) + r->columns.count * sizeof(struct slice);
}

static size_t count_bytes(const struct rows *r, const struct found *found)
{
    return head_bytes(r) + (r->options.input ? 2 : 1) * (found->body.len + 2);
}

/* The text once more, as it is to be read: lines, of which each has its end. */
static struct slice place_input(const struct rows *r, struct slice text, char **at)
{
    char *copy = *at;

    if (text.len > 0)
        memcpy(copy, text.data, text.len);
    if (!r->options.input_nul) {
        for (size_t i = 0; i < text.len; i++)
            copy[i] = copy[i] == '\0' ? '\n' : copy[i];
        copy[text.len++] = '\n';
    }
    *at += text.len;
    return (struct slice){copy, text.len};
}

static void fill(const struct rows *r, const struct found *found, struct run_row *row, char **at)
{
    struct command_row *c = (struct command_row *)(void *)row;
    const char *copy = row_place_bytes(at, found->body);

    row->task.payload = c;
    c->text = (struct slice){copy, found->body.len};
    if (r->options.input)
        c->input = place_input(r, found->body, at);
    if (found->object.len > 0)
        c->object =
            (struct slice){copy + (found->object.data - found->body.data), found->object.len};
    c->column_count = r->columns.count;
    for (size_t i = 0; i < r->columns.count; i++)
        c->columns[i] = (struct slice){copy + (r->columns.items[i].data - found->body.data),
                                       r->columns.items[i].len};
}

const struct row_maker row_maker_command = {
    .read = read_line, .bytes = count_bytes, .fill = fill, .head_bytes = head_bytes};
