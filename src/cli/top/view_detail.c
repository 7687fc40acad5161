/*
 * One task with its record, and the help: pages that take the place of the panes (view.h).
 */
#include "base/json.h"
#include "cli/top/text.h"
#include "cli/top/view.h"

/* Of one value: a payload may be a book. */
#define VALUE_LINES_MAX 6
#define NAME_WIDTH      16
/* The least width of a screen on which a name and its value stand side by side. */
#define WIDTH_BESIDE 40

/* "name   value", the value over several lines when it is long or has some. */
static void put_value(struct top_screen *s, struct slice name, struct slice value, bool utf8)
{
    size_t indent = s->width >= WIDTH_BESIDE ? NAME_WIDTH : 0, room = s->width - indent;

    if (indent == 0)
        top_put_line(s, name, utf8, TOP_DIM);

    for (int i = 0; i < VALUE_LINES_MAX && (i == 0 || value.len > 0); i++) {
        const char *end = value.len > 0 ? memchr(value.data, '\n', value.len) : NULL;
        struct slice line = {value.data, end ? (size_t)(end - value.data) : value.len};
        size_t at = s->text.len, fit = top_fit(line, room, utf8), used;

        used = i == 0 && indent > 0 ? top_put_text(&s->text, name, indent - 1, utf8) : 0;
        top_pad(&s->text, indent - used);
        if (i == VALUE_LINES_MAX - 1 && fit < value.len)
            top_put_text(&s->text, value, room, utf8);
        else
            top_put_text(&s->text, (struct slice){line.data, fit}, room, utf8);
        top_end_line(s, at, TOP_PLAIN);
        fit += end && fit == line.len;
        value = (struct slice){value.data + fit, value.len - fit};
    }
}

static void put_record(struct top_screen *s, const struct top_model *m, const struct top_ui *ui,
                       int64_t now_ns)
{
    struct top_model record = {0};

    top_put_line(s, SLICE(""), ui->utf8, TOP_PLAIN);
    top_put_line(s, SLICE("record"), ui->utf8, TOP_HEAD);
    if (top_load(&record, TOP_EVENTS, buf_slice(&m->record), NULL) != WEIR_OK) {
        top_put_line(s, SLICE("(it could not be had)"), ui->utf8, TOP_DIM);
    } else {
        top_put_heads(s, TOP_EVENTS, ui);
        for (size_t i = 0; i < record.lists[TOP_EVENTS].count; i++)
            top_put_row(s, &record, TOP_EVENTS, &record.lists[TOP_EVENTS].rows[i], ui, now_ns,
                        false);
    }
    top_model_free(&record);
}

void top_put_detail(struct top_screen *s, const struct top_model *m, const struct top_ui *ui,
                    int64_t now_ns)
{
    struct slice name, value;
    struct json_iter it;

    if (m->task.len == 0) {
        top_put_line(s, SLICE("asking for the task ..."), ui->utf8, TOP_DIM);
        return;
    }
    json_iter_init(&it, json_trim(buf_slice(&m->task)));
    while (json_iter_next(&it, &name, &value)) {
        _cleanup_buf_ struct buf title = {0}, text = {0};

        json_unquote(name, &title);
        top_put_value(&text, value);
        put_value(s, buf_slice(&title), buf_slice(&text), ui->utf8);
        s->failed = s->failed || title.failed || text.failed;
    }
    put_record(s, m, ui, now_ns);
}

void top_put_help(struct top_screen *s)
{
    static const char *const help[] = {
        "tab         next pane: running, waiting, pools, events",
        "up down j k select; g G first, last; space a page on",
        "enter       one task: all of it, and its record",
        "s           next order     / filter     escape all",
        "f           what failed, or what waits",
        "c           cancel the task (asks)",
        "r           try a failed task again",
        "K           kill the attempt that runs (asks)",
        "p           pause the pool, or let it go on",
        "d           drain the pool: what runs ends, nothing starts",
        "+ -         one more, one less at once in the pool",
        "q           quit",
    };

    for (size_t i = 0; i < sizeof help / sizeof *help; i++)
        top_put_line(s, slice_of(help[i]), false, TOP_PLAIN);
}
