#include "cli/client/view.h"

#include "base/error.h"
#include "base/json.h"
#include "base/time.h"
#include "cli/client/request.h"
#include "cli/client/when.h"
#include "cli/commands.h"
#include "cli/output/text.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LIMIT_DEFAULT 100
#define PAGE_MAX      1000
/* Rows whose widths are found together: a list of a million is not held in memory. */
#define TABLE_ROWS_MAX 10000

struct slice view_member(struct slice object, const char *path)
{
    struct slice value = object;

    while (*path) {
        char name[64];
        size_t len = strcspn(path, ".");

        assert(len < sizeof name);
        memcpy(name, path, len);
        name[len] = '\0';
        if (!json_member(value, name, &value))
            return (struct slice){0};
        path += len + (path[len] == '.');
    }
    return value;
}

/* ---- values ---- */

void view_put_text(struct buf *out, struct slice value)
{
    enum json_kind kind = json_kind(value);
    _cleanup_buf_ struct buf text = {0};
    struct json_iter it;
    struct slice key, item;
    bool first = true;

    switch (kind) {
    case JSON_NONE:
    case JSON_NULL:
        return;
    case JSON_STRING:
        json_unquote(value, &text);
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        json_iter_init(&it, value);
        while (json_iter_next(&it, &key, &item)) {
            buf_puts(out, first ? "" : ", ");
            first = false;
            if (key.len > 2)
                buf_printf(out, "%.*s ", (int)key.len - 2, key.data + 1);
            view_put_text(out, item);
        }
        return;
    case JSON_FALSE:
        buf_puts(&text, "no");
        break;
    case JSON_TRUE:
        buf_puts(&text, "yes");
        break;
    case JSON_NUMBER:
        buf_put_slice(&text, json_trim(value));
        break;
    }
    table_put_clean(out, buf_slice(&text));
    out->failed = out->failed || text.failed;
}

void view_put_lines(struct buf *out, struct slice text, const char *indent)
{
    for (size_t at = 0; at < text.len;) {
        const char *end = memchr(text.data + at, '\n', text.len - at);
        size_t len = end ? (size_t)(end - text.data) - at : text.len - at;

        buf_puts(out, indent);
        table_put_clean(out, (struct slice){text.data + at, len});
        buf_putc(out, '\n');
        at += len + 1;
    }
}

static void put_bytes(struct buf *out, double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;

    while (bytes >= 1024 && unit < 4) {
        bytes /= 1024;
        unit++;
    }
    buf_printf(out, bytes < 9.95 && unit > 0 ? "%.1f%s" : "%.0f%s", bytes, units[unit]);
}

static void put_time(const struct client *c, struct slice value, struct buf *out)
{
    _cleanup_buf_ struct buf text = {0};
    int64_t at_ns;

    view_put_text(&text, value);
    if (when_parse(buf_slice(&text), &at_ns))
        when_put(out, at_ns, c->now_ns, c->o->utc);
    else
        buf_put_slice(out, buf_slice(&text));
}

void view_put(const struct client *c, enum view_kind kind, struct slice value, struct buf *out)
{
    double n;

    if (kind == VIEW_TIME) {
        put_time(c, value, out);
        return;
    }
    if (kind == VIEW_TEXT || kind == VIEW_STATE || kind == VIEW_FUNCTION ||
        !json_double(value, &n)) {
        view_put_text(out, value);
        return;
    }
    if (kind == VIEW_SECONDS)
        text_put_duration(out, duration_from_seconds(n));
    else if (kind == VIEW_SHARE)
        buf_printf(out, "%.0f%%", n * 100);
    else if (kind == VIEW_RATE)
        text_put_rate(out, n);
    else if (kind == VIEW_BYTES)
        put_bytes(out, n);
    else if (n != 0)
        view_put_text(out, value);
}

enum table_colour view_colour(struct slice state)
{
    static const struct {
        const char *name;
        enum table_colour colour;
    } known[] = {
        {"done", TABLE_GOOD},     {"ok", TABLE_GOOD},      {"healthy", TABLE_GOOD},
        {"failed", TABLE_BAD},    {"timeout", TABLE_BAD},  {"lost", TABLE_BAD},
        {"unhealthy", TABLE_BAD}, {"running", TABLE_BUSY}, {"busy", TABLE_BUSY},
        {"cancelled", TABLE_DIM}, {"disabled", TABLE_DIM},
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (slice_equal(state, slice_of(known[i].name)))
            return known[i].colour;
    }
    return TABLE_PLAIN;
}

/* ---- tables ---- */

void view_init(struct view *v, const struct client *c, const struct view_column *columns,
               size_t count)
{
    *v = (struct view){.c = c, .columns = columns, .count = count};
    assert(count <= sizeof v->heads / sizeof v->heads[0]);
    for (size_t k = 0; k < count; k++)
        v->heads[k] = columns[k].head;
    table_init(&v->table, v->heads, count);
}

void view_row(struct view *v, struct slice item)
{
    for (size_t k = 0; k < v->count; k++) {
        const struct view_column *column = &v->columns[k];
        _cleanup_buf_ struct buf cell = {0};

        if (column->kind == VIEW_FUNCTION)
            column->put(v->c, item, &cell);
        else
            view_put(v->c, column->kind, view_member(item, column->member), &cell);
        table_cell(&v->table, buf_slice(&cell),
                   column->kind == VIEW_STATE || column->kind == VIEW_FUNCTION
                       ? view_colour(buf_slice(&cell))
                       : TABLE_PLAIN);
        v->table.failed = v->table.failed || cell.failed;
    }
}

void view_rows(struct view *v, struct slice array)
{
    struct json_iter it;
    struct slice key, item;

    json_iter_init(&it, array);
    while (json_iter_next(&it, &key, &item))
        view_row(v, item);
}

void view_end(struct view *v, struct client *c)
{
    table_put(&v->table, c->width, c->colour, &c->out);
    table_free(&v->table);
}

/* ---- one thing ---- */

static bool ends_with(struct slice name, const char *end)
{
    size_t len = strlen(end);

    return name.len >= len && memcmp(name.data + name.len - len, end, len) == 0;
}

/* What a member is, by its name: the API says times, durations and sizes there. */
static enum view_kind kind_of(struct slice name, struct slice value)
{
    if (ends_with(name, "_at") || slice_equal(name, SLICE("not_before")) ||
        slice_equal(name, SLICE("deadline")))
        return VIEW_TIME;
    if (ends_with(name, "per_s"))
        return VIEW_RATE;
    if (ends_with(name, "_s"))
        return VIEW_SECONDS;
    if (ends_with(name, "_bytes") ||
        (slice_equal(name, SLICE("memory")) && json_kind(value) == JSON_NUMBER))
        return VIEW_BYTES;
    if (slice_equal(name, SLICE("utilisation")) || slice_equal(name, SLICE("progress")))
        return VIEW_SHARE;
    if (slice_equal(name, SLICE("state")) || slice_equal(name, SLICE("outcome")))
        return VIEW_STATE;
    return VIEW_TEXT;
}

static bool is_skipped(struct slice name, const char *const *skip)
{
    for (; skip && *skip; skip++) {
        if (slice_equal(name, slice_of(*skip)))
            return true;
    }
    return false;
}

/* Members of a member stand on one line, zeros left out: "ready 12, running 3". */
static void put_inner(const struct client *c, struct slice object, struct buf *out)
{
    struct json_iter it;
    struct slice key, value;
    bool any = false;

    json_iter_init(&it, object);
    while (json_iter_next(&it, &key, &value)) {
        struct slice name = {key.data + 1, key.len - 2};
        double n;

        if (json_double(value, &n) && n == 0)
            continue;
        buf_puts(out, any ? ", " : "");
        any = true;
        table_put_clean(out, name);
        buf_putc(out, ' ');
        view_put(c, kind_of(name, value), value, out);
    }
    if (!any)
        buf_putc(out, '0');
}

void view_show(struct client *c, struct slice object, const char *const *skip)
{
    struct json_iter it;
    struct slice key, value;
    size_t widest = 0;

    json_iter_init(&it, object);
    while (json_iter_next(&it, &key, &value)) {
        if (!is_skipped((struct slice){key.data + 1, key.len - 2}, skip) && key.len - 2 > widest)
            widest = key.len - 2;
    }
    json_iter_init(&it, object);
    while (json_iter_next(&it, &key, &value)) {
        struct slice name = {key.data + 1, key.len - 2};
        _cleanup_buf_ struct buf text = {0};
        enum view_kind kind = kind_of(name, value);

        if (is_skipped(name, skip) || (json_kind(value) == JSON_ARRAY && json_trim(value).len == 2))
            continue;
        if (json_kind(value) == JSON_OBJECT)
            put_inner(c, value, &text);
        else
            view_put(c, kind, value, &text);
        buf_printf(&c->out, "%-*.*s  ", (int)widest, (int)name.len, name.data);
        table_put_coloured(&c->out, buf_slice(&text),
                           kind == VIEW_STATE ? view_colour(buf_slice(&text)) : TABLE_PLAIN,
                           c->colour);
        buf_putc(&c->out, '\n');
        c->out.failed = c->out.failed || text.failed;
    }
}

/* ---- lists ---- */

struct listing {
    struct client *c;
    const struct client_list *l;
    struct view view;
    int64_t left, told; /* rows */
};

static void restart_table(struct listing *s)
{
    view_end(&s->view, s->c);
    view_init(&s->view, s->c, s->l->columns, s->l->column_count);
}

/* False: nobody reads on. */
static bool take_items(struct listing *s, struct slice items)
{
    struct client *c = s->c;
    struct json_iter it;
    struct slice key, item;

    json_iter_init(&it, items);
    while (s->left > 0 && json_iter_next(&it, &key, &item)) {
        if (c->o->json) {
            json_put_oneline(&c->out, item);
            buf_putc(&c->out, '\n');
        } else {
            view_row(&s->view, item);
        }
        s->left--;
        s->told++;
    }
    if (!c->o->json && table_rows(&s->view.table) < TABLE_ROWS_MAX)
        return true;
    if (!c->o->json)
        restart_table(s);
    return client_flush(c);
}

static int ask_page(struct listing *s, const char *cursor)
{
    _cleanup_buf_ struct buf path = {0};

    buf_puts(&path, s->l->path);
    if (s->l->cursor) {
        client_put_query_number(&path, "limit", s->left < PAGE_MAX ? s->left : PAGE_MAX);
        client_put_query(&path, s->l->cursor, cursor);
    }
    return client_ask(s->c, "GET", path.failed ? NULL : path.data, NULL);
}

static void finish_list(struct listing *s, bool more)
{
    struct client *c = s->c;

    if (c->o->json)
        return;
    if (s->told == 0)
        fprintf(stderr, "%s\n", s->l->none ? s->l->none : "none");
    else if (more && client_flush(c))
        fprintf(stderr, "there are more: --all, or --limit N\n");
}

int client_list(struct client *c, const struct client_list *l)
{
    struct listing s = {.c = c, .l = l, .left = l->limit ? l->limit : LIMIT_DEFAULT};
    _cleanup_buf_ struct buf cursor = {0};
    bool more = true;
    int result = CLI_OK;

    if (l->first > 0)
        buf_printf(&cursor, "%" PRId64, l->first);
    if (l->all || !l->cursor)
        s.left = INT64_MAX;
    view_init(&s.view, c, l->columns, l->column_count);
    while (more && s.left > 0 && result == CLI_OK) {
        struct slice items = {0}, next;

        result = ask_page(&s, cursor.len > 0 ? cursor.data : NULL);
        if (result != CLI_OK)
            break;
        items = l->member ? view_member(buf_slice(&c->body), l->member) : buf_slice(&c->body);
        next = l->cursor ? view_member(buf_slice(&c->body), "next") : (struct slice){0};
        buf_clear(&cursor);
        if (json_kind(next) == JSON_STRING)
            json_unquote(next, &cursor);
        more = cursor.len > 0;
        if (!take_items(&s, items))
            result = CLI_FAILED;
    }
    view_end(&s.view, c);
    if (result == CLI_OK)
        finish_list(&s, more);
    return result;
}
