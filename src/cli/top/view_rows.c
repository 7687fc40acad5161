/*
 * The rows of each list as columns (view.h). A column stands from a width of the screen on; what is
 * left of the width is shared by those that stretch.
 */
#include "base/json.h"
#include "cli/client/when.h"
#include "cli/top/text.h"
#include "cli/top/view.h"

#include <inttypes.h>
#include <math.h>
#include <time.h>

#define COLUMNS_MAX 9

struct cell {
    const struct top_rows *list;
    const struct top_row *row;
    const struct top_ui *ui;
    int64_t now_ns;
};

struct column {
    const char *title;
    size_t width;   /* 0: it stretches */
    size_t stretch; /* its part of what is left */
    size_t from;    /* the least width of a screen that has it */
    size_t below;   /* 0, or the width from which another one takes its place */
    bool right;
    void (*put)(const struct cell *c, struct buf *out);
};

/* ---- cells ---- */

static void put_field(const struct cell *c, struct top_field f, struct buf *out)
{
    buf_put_slice(out, top_text(c->list, f));
}

static void put_key(const struct cell *c, struct buf *out)
{
    put_field(c, c->row->key, out);
}

static void put_pool(const struct cell *c, struct buf *out)
{
    put_field(c, c->row->pool, out);
}

static void put_state(const struct cell *c, struct buf *out)
{
    put_field(c, c->row->state, out);
}

static void put_note(const struct cell *c, struct buf *out)
{
    put_field(c, c->row->note, out);
}

static void put_task(const struct cell *c, struct buf *out)
{
    top_put_value(out, top_member(c->row->item, "task"));
}

static void put_id(const struct cell *c, struct buf *out)
{
    put_field(c, c->row->id, out);
}

static void put_attempt(const struct cell *c, struct buf *out)
{
    top_put_value(out, top_member(c->row->item, "attempt"));
}

static void put_attempts(const struct cell *c, struct buf *out)
{
    top_put_value(out, top_member(c->row->item, "attempts"));
}

static void put_where(const struct cell *c, struct buf *out)
{
    struct slice worker = top_member(c->row->item, "worker"), pid = top_member(c->row->item, "pid");

    if (worker.len > 0)
        buf_puts(out, "worker ");
    else if (pid.len > 0)
        buf_puts(out, "pid ");
    top_put_value(out, worker.len > 0 ? worker : pid);
}

static void put_run_time(const struct cell *c, struct buf *out)
{
    top_put_duration(out, c->row->run_s);
}

static void put_progress(const struct cell *c, struct buf *out)
{
    double progress = top_number(c->row->item, "progress", -1);

    if (progress >= 0)
        buf_printf(out, "%.0f%%", floor(fmin(progress, 1) * 100));
}

static void put_progress_bar(const struct cell *c, struct buf *out)
{
    double progress = top_number(c->row->item, "progress", -1);

    if (json_kind(top_member(c->row->item, "cancelling")) == JSON_TRUE) {
        buf_puts(out, "cancelling");
    } else if (progress >= 0) {
        top_put_bar(out, progress, 12, c->ui->utf8);
        buf_printf(out, " %3.0f%%", floor(fmin(progress, 1) * 100));
    }
}

static void put_priority(const struct cell *c, struct buf *out)
{
    buf_printf(out, "%" PRId64, c->row->priority);
}

/* How long it waits; of one that has ended: how long ago. */
static void put_age(const struct cell *c, struct buf *out)
{
    static const char *const members[] = {"ended_at", "ready_at", "submitted_at"};
    _cleanup_buf_ struct buf text = {0};
    int64_t at_ns;

    for (size_t i = 0; i < sizeof members / sizeof *members && text.len == 0; i++)
        top_put_value(&text, top_member(c->row->item, members[i]));
    if (when_parse(buf_slice(&text), &at_ns))
        top_put_duration(out, (double)(c->now_ns - at_ns) / 1e9);
}

static void put_why(const struct cell *c, struct buf *out)
{
    double blocked = top_number(c->row->item, "blocked_by", 0);
    _cleanup_buf_ struct buf text = {0};
    int64_t at_ns;

    top_put_value(&text, top_member(c->row->item, "not_before"));
    if (json_kind(top_member(c->row->item, "stuck")) == JSON_TRUE)
        buf_puts(out, "can never run: weir task resolve; ");
    if (blocked > 0)
        buf_printf(out, "after %.0f more", blocked);
    else if (when_parse(buf_slice(&text), &at_ns) && at_ns > c->now_ns) {
        buf_puts(out, "in ");
        top_put_duration(out, (double)(at_ns - c->now_ns) / 1e9);
    } else
        put_note(c, out);
}

static void put_kind(const struct cell *c, struct buf *out)
{
    top_put_value(out, top_member(c->row->item, "kind"));
}

static void put_use(const struct cell *c, struct buf *out)
{
    buf_printf(out, "%.0f/%.0f", top_number(c->row->item, "running", 0),
               top_number(c->row->item, "limit", 0));
}

static void put_use_bar(const struct cell *c, struct buf *out)
{
    top_put_bar(out, c->row->run_s, 12, c->ui->utf8);
    buf_putc(out, ' ');
    put_use(c, out);
}

static void put_ready(const struct cell *c, struct buf *out)
{
    buf_printf(out, "%" PRIu64, c->row->number);
}

static void put_failed(const struct cell *c, struct buf *out)
{
    buf_printf(out, "%.0f", top_number(c->row->item, "queue.failed", 0));
}

static void put_rate(const struct cell *c, struct buf *out)
{
    double rate = top_number(c->row->item, "throttle.rate_per_s", -1);
    double delay = top_number(c->row->item, "throttle.delay_s", 0);

    if (rate >= 0)
        buf_printf(out, rate < 10 ? "%.1f/s" : "%.0f/s", rate);
    else if (delay > 0) {
        buf_putc(out, '+');
        top_put_duration(out, delay);
    } else
        buf_putc(out, '-');
}

static void put_workers(const struct cell *c, struct buf *out)
{
    double total = top_number(c->row->item, "workers.total", -1);

    if (total < 0)
        return;
    buf_printf(out, "%.0f: %.0f busy", total, top_number(c->row->item, "workers.busy", 0));
    if (top_number(c->row->item, "workers.starting", 0) > 0)
        buf_printf(out, " %.0f new", top_number(c->row->item, "workers.starting", 0));
    if (top_number(c->row->item, "workers.unhealthy", 0) > 0)
        buf_printf(out, " %.0f ill", top_number(c->row->item, "workers.unhealthy", 0));
}

static void put_throttle(const struct cell *c, struct buf *out)
{
    top_put_value(out, top_member(c->row->item, "throttle.kind"));
    if (c->row->note.len > 0)
        buf_puts(out, ": ");
    put_note(c, out);
}

static void put_clock(const struct cell *c, struct buf *out)
{
    _cleanup_buf_ struct buf text = {0};
    int64_t at_ns;
    time_t at;
    struct tm tm;
    char clock[16] = "";

    top_put_value(&text, top_member(c->row->item, "at"));
    if (!when_parse(buf_slice(&text), &at_ns))
        return;
    at = (time_t)(at_ns / 1000000000);
    if (c->ui->utc ? gmtime_r(&at, &tm) : localtime_r(&at, &tm))
        strftime(clock, sizeof clock,
                 c->now_ns - at_ns < (int64_t)86400 * 1000000000 ? "%H:%M:%S" : "%b %d", &tm);
    buf_puts(out, clock);
}

/* "from idle, to busy": a detail's members without the signs of JSON. */
static void put_event_detail(const struct cell *c, struct buf *out)
{
    struct slice detail = top_member(c->row->item, "detail"), name, value;
    struct slice attempt = top_member(c->row->item, "attempt");
    double duration = top_number(c->row->item, "duration_s", -1);
    const char *between = "";
    struct json_iter it;

    if (attempt.len > 0) {
        buf_printf(out, "attempt %.*s", (int)attempt.len, attempt.data);
        between = "; ";
    }
    if (duration >= 0) {
        buf_puts(out, attempt.len > 0 ? ", " : "");
        top_put_duration(out, duration);
        between = "; ";
    }
    if (json_kind(detail) != JSON_OBJECT)
        return;
    json_iter_init(&it, detail);
    while (json_iter_next(&it, &name, &value)) {
        buf_puts(out, between);
        json_unquote(name, out);
        buf_putc(out, ' ');
        top_put_value(out, value);
        between = ", ";
    }
}

/* ---- columns ---- */

static const struct column columns[TOP_LISTS][COLUMNS_MAX + 1] = {
    [TOP_RUNNING] = {{"TASK", 7, 0, 0, 0, true, put_task},
                     {"KEY", 0, 2, 0, 0, false, put_key},
                     {"POOL", 10, 0, 50, 0, false, put_pool},
                     {"TRY", 3, 0, 70, 0, true, put_attempt},
                     {"WHERE", 11, 0, 64, 0, false, put_where},
                     {"TIME", 7, 0, 0, 0, true, put_run_time},
                     {"DONE", 4, 0, 0, 60, true, put_progress},
                     {"PROGRESS", 17, 0, 60, 0, false, put_progress_bar},
                     {"SAYS", 0, 3, 90, 0, false, put_note}},
    [TOP_TASKS] = {{"TASK", 7, 0, 0, 0, true, put_id},
                   {"KEY", 0, 2, 0, 0, false, put_key},
                   {"STATE", 9, 0, 0, 0, false, put_state},
                   {"POOL", 10, 0, 50, 0, false, put_pool},
                   {"PRI", 5, 0, 56, 0, true, put_priority},
                   {"TRIES", 5, 0, 70, 0, true, put_attempts},
                   {"AGE", 7, 0, 46, 0, true, put_age},
                   {"WHY", 0, 3, 80, 0, false, put_why}},
    [TOP_POOLS] = {{"POOL", 0, 2, 0, 0, false, put_key},
                   {"KIND", 7, 0, 70, 0, false, put_kind},
                   {"USE", 8, 0, 0, 60, false, put_use},
                   {"USE", 20, 0, 60, 0, false, put_use_bar},
                   {"READY", 6, 0, 0, 0, true, put_ready},
                   {"FAILED", 6, 0, 76, 0, true, put_failed},
                   {"STATE", 8, 0, 0, 0, false, put_state},
                   {"RATE", 7, 0, 66, 0, true, put_rate},
                   {"WORKERS", 15, 0, 90, 0, false, put_workers}},
    [TOP_EVENTS] = {{"AT", 8, 0, 0, 0, false, put_clock},
                    {"EVENT", 20, 0, 0, 0, false, put_state},
                    {"TASK", 7, 0, 0, 0, true, put_task},
                    {"POOL", 10, 0, 60, 0, false, put_pool},
                    {"WHAT", 0, 1, 46, 0, false, put_event_detail}},
};

/* Behind the columns of pools, where there is room. */
static const struct column throttle = {"THROTTLE", 0, 2, 110, 0, false, put_throttle};

static const struct column *column_at(enum top_list list, size_t i)
{
    if (i < COLUMNS_MAX && columns[list][i].title)
        return &columns[list][i];
    return list == TOP_POOLS && i == COLUMNS_MAX ? &throttle : NULL;
}

static bool stands(const struct column *c, size_t width)
{
    return width >= c->from && (c->below == 0 || width < c->below);
}

/* What those that stretch have to share, and into how many parts. */
static size_t left_over(enum top_list list, size_t width, size_t *ret_parts)
{
    const struct column *c;
    size_t taken = 1; /* the sign before a row */

    *ret_parts = 0;
    for (size_t i = 0; (c = column_at(list, i)) != NULL; i++) {
        if (stands(c, width)) {
            taken += c->width + 1;
            *ret_parts += c->stretch;
        }
    }
    return taken < width ? width - taken + 1 : 0;
}

static void put_cell(struct top_screen *s, const struct column *c, size_t width, struct slice text,
                     bool utf8)
{
    _cleanup_buf_ struct buf cell = {0};
    size_t columns_taken = top_put_text(&cell, text, width, utf8);

    if (c->right)
        top_pad(&s->text, width - columns_taken);
    buf_put_slice(&s->text, buf_slice(&cell));
    if (!c->right)
        top_pad(&s->text, width - columns_taken);
    s->failed = s->failed || cell.failed;
}

/* row NULL: the titles. */
static void put_columns(struct top_screen *s, enum top_list list, struct cell *cell, bool utf8)
{
    size_t parts, left = left_over(list, s->width, &parts), room = s->width > 0 ? s->width - 1 : 0;
    const struct column *c;
    bool first = true;

    for (size_t i = 0; (c = column_at(list, i)) != NULL; i++) {
        _cleanup_buf_ struct buf text = {0};
        size_t width = c->width > 0 ? c->width : parts > 0 ? left * c->stretch / parts : 0;

        if (!stands(c, s->width) || room <= (first ? 0 : 1))
            continue;
        if (!first)
            buf_putc(&s->text, ' ');
        room -= first ? 0 : 1;
        width = width < room ? width : room;
        first = false;
        room -= width;
        if (cell->row)
            c->put(cell, &text);
        else
            buf_puts(&text, c->title);
        put_cell(s, c, width, buf_slice(&text), utf8);
        s->failed = s->failed || text.failed;
    }
}

/* ---- lines ---- */

void top_put_heads(struct top_screen *s, enum top_list list, const struct top_ui *ui)
{
    struct cell cell = {.ui = ui};
    size_t at = s->text.len;

    buf_putc(&s->text, ' ');
    put_columns(s, list, &cell, ui->utf8);
    top_end_line(s, at, TOP_DIM);
}

static enum top_style style_of(enum top_list list, const struct top_rows *l,
                               const struct top_row *row)
{
    struct slice state = top_text(l, row->state);

    if (list == TOP_POOLS)
        return slice_equal(state, SLICE("on"))        ? TOP_PLAIN
               : slice_equal(state, SLICE("breaker")) ? TOP_BAD
                                                      : TOP_BUSY;
    if (list == TOP_TASKS)
        return slice_equal(state, SLICE("failed")) ? TOP_BAD : TOP_PLAIN;
    if (list != TOP_EVENTS)
        return TOP_PLAIN;
    if (state.len >= 6 && memcmp(state.data + state.len - 6, "failed", 6) == 0)
        return TOP_BAD;
    return slice_equal(state, SLICE("task.done")) ? TOP_GOOD : TOP_PLAIN;
}

void top_put_row(struct top_screen *s, const struct top_model *m, enum top_list list,
                 const struct top_row *row, const struct top_ui *ui, int64_t now_ns, bool chosen)
{
    const struct top_rows *l = &m->lists[list];
    struct cell cell = {.list = l, .row = row, .ui = ui, .now_ns = now_ns};
    size_t at = s->text.len;

    buf_putc(&s->text, chosen ? '>' : ' ');
    put_columns(s, list, &cell, ui->utf8);
    top_end_line(s, at, chosen ? TOP_CHOSEN : style_of(list, l, row));
}
