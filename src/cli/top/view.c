/*
 * The lines of the screen: head, panes, foot (view.h).
 */
#include "cli/top/view.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/top/text.h"

#include <inttypes.h>

/* A pane has its title, its columns' names, and a row at least; with less for each, only the active one is shown. */
#define PANE_LINES  3
#define WIDTH_PLAIN 100
/* In a file: the record is long. */
#define EVENTS_PLAIN 20

static const char *const names[TOP_LISTS] = {"running", "waiting", "pools", "events"};

static const char *name_of(const struct top_ui *ui, enum top_list list)
{
    return list == TOP_TASKS && ui->failed ? "failed" : names[list];
}

void top_end_line(struct top_screen *s, size_t at, enum top_style style)
{
    struct top_line *lines;
    size_t cap = s->cap ? s->cap * 2 : 64;

    /* Blanks at the end are nothing, but for a bar of colour. */
    while (s->text.len > at && s->text.data[s->text.len - 1] == ' ')
        s->text.len--;
    if (s->count == s->cap) {
        lines = mem_realloc(s->lines, cap * sizeof *lines);
        if (!lines) {
            s->failed = true;
            return;
        }
        s->lines = lines;
        s->cap = cap;
    }
    s->failed = s->failed || s->text.failed;
    s->lines[s->count++] = (struct top_line){at, s->text.len - at, style};
}

void top_put_line(struct top_screen *s, struct slice text, bool utf8, enum top_style style)
{
    size_t at = s->text.len;

    top_put_text(&s->text, text, s->width, utf8);
    top_end_line(s, at, style);
}

void top_screen_free(struct top_screen *s)
{
    buf_free(&s->text);
    s->lines = mem_free(s->lines);
    s->count = s->cap = 0;
}

/* ---- the head ---- */

static void put_first(const struct top_model *m, const struct top_ui *ui, struct top_screen *s)
{
    _cleanup_buf_ struct buf text = {0};
    struct slice status = top_status(m);
    bool stopping = json_string_equals(top_member(status, "state"), SLICE("stopping"));

    buf_puts(&text, "weir ");
    top_put_value(&text, top_member(status, "version"));
    buf_puts(&text, stopping ? "  stopping  up " : "  up ");
    top_put_duration(&text, top_number(status, "uptime_s", 0));
    buf_puts(&text, "  ");
    top_put_value(&text, top_member(status, "policy"));
    buf_printf(&text, "  %s", ui->address ? ui->address : "");
    top_put_line(s, buf_slice(&text), ui->utf8, stopping ? TOP_BUSY : TOP_HEAD);
    s->failed = s->failed || text.failed;
}

static void put_second(const struct top_model *m, const struct top_ui *ui, struct top_screen *s)
{
    static const char *const states[] = {"ready",   "failed",    "done",
                                         "blocked", "scheduled", "cancelled"};
    _cleanup_buf_ struct buf text = {0};
    struct slice status = top_status(m), tasks = top_member(status, "tasks");
    double limit = top_number(status, "max_global_concurrency", 0);

    if (s->width >= 60) {
        top_put_bar(&text, top_number(status, "utilisation", 0), 22, ui->utf8);
        buf_putc(&text, ' ');
    }
    buf_printf(&text, "running %.0f", top_number(status, "running", 0));
    if (limit > 0)
        buf_printf(&text, "/%.0f", limit);
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        double count = top_number(tasks, states[i], 0);

        if (count > 0 || i < 3)
            buf_printf(&text, "  %s %.0f", states[i], count);
    }
    top_put_line(s, buf_slice(&text), ui->utf8, TOP_PLAIN);
    s->failed = s->failed || text.failed;
}

static void put_head(const struct top_model *m, const struct top_ui *ui, struct top_screen *s)
{
    struct slice status = top_status(m);
    _cleanup_buf_ struct buf text = {0};

    if (ui->trouble[0])
        top_put_line(s, slice_of(ui->trouble), ui->utf8, TOP_BAD);
    else if (status.len == 0)
        top_put_line(s, SLICE("asking the daemon ..."), ui->utf8, TOP_DIM);
    else
        put_first(m, ui, s);
    if (json_kind(top_member(status, "store.failing")) == JSON_TRUE) {
        buf_puts(&text, "the store takes nothing: ");
        top_put_value(&text, top_member(status, "store.message"));
        top_put_line(s, buf_slice(&text), ui->utf8, TOP_BAD);
    } else {
        put_second(m, ui, s);
    }
}

/* ---- panes ---- */

/* With one pane on the screen the others' names stand beside its own. */
static void put_title(struct top_screen *s, const struct top_model *m, const struct top_ui *ui,
                      enum top_list list, bool alone)
{
    _cleanup_buf_ struct buf text = {0};
    bool active = ui->pane == list;

    for (int i = alone ? 0 : (int)list; i < (alone ? TOP_LISTS : (int)list + 1); i++) {
        const struct top_rows *l = &m->lists[i];
        bool mine = alone && i == (int)list;

        buf_printf(&text, "%s%s ", mine ? "[" : "", name_of(ui, (enum top_list)i));
        if (l->shown_count < l->count)
            buf_printf(&text, "%zu of ", l->shown_count);
        buf_printf(&text, "%zu%s ", l->count, mine ? "]" : "");
    }
    if (top_sort_count(list) > 1)
        buf_printf(&text, "by %s", top_sort_name(list, ui->panes[list].sort));
    if (ui->filter[0])
        buf_printf(&text, "  /%s", ui->filter);
    top_put_line(s, buf_slice(&text), ui->utf8, active ? TOP_ACTIVE : TOP_HEAD);
    s->failed = s->failed || text.failed;
}

/* `lines` of the screen, title included. */
static void put_pane(struct top_screen *s, const struct top_model *m, struct top_ui *ui,
                     enum top_list list, size_t lines, bool alone, int64_t now_ns)
{
    struct top_pane *p = &ui->panes[list];
    size_t rows = lines > 2 ? lines - 2 : 0, count = m->lists[list].shown_count;

    if (lines == 0)
        return;
    put_title(s, m, ui, list, alone);
    if (lines > 1)
        top_put_heads(s, list, ui);
    if (p->at < p->scroll)
        p->scroll = p->at;
    if (rows > 0 && p->at >= p->scroll + rows)
        p->scroll = p->at - rows + 1;
    if (p->scroll + rows > count)
        p->scroll = count > rows ? count - rows : 0;
    for (size_t i = 0; i < rows; i++) {
        const struct top_row *row = top_shown(m, list, p->scroll + i);

        if (row)
            top_put_row(s, m, list, row, ui, now_ns,
                        ui->pane == list && p->scroll + i == p->at && s->height > 0);
        else
            top_put_line(s, SLICE(""), ui->utf8, TOP_PLAIN);
    }
}

/* Gives each pane its lines: the poorest that wants more gets the next one, the active one counting half. */
static void share_lines(const struct top_model *m, const struct top_ui *ui, size_t room,
                        size_t lines[TOP_LISTS])
{
    size_t wanted[TOP_LISTS];

    for (int i = 0; i < TOP_LISTS; i++) {
        wanted[i] =
            m->lists[i].shown_count + 2 > PANE_LINES ? m->lists[i].shown_count + 2 : PANE_LINES;
        lines[i] = PANE_LINES;
        room -= PANE_LINES;
    }
    for (; room > 0; room--) {
        int poorest = -1;
        size_t least = SIZE_MAX;

        for (int i = 0; i < TOP_LISTS; i++) {
            size_t has = i == (int)ui->pane ? lines[i] / 2 : lines[i];

            if (lines[i] < wanted[i] && has < least) {
                least = has;
                poorest = i;
            }
        }
        lines[poorest < 0 ? TOP_EVENTS : poorest]++;
    }
}

static void put_panes(struct top_screen *s, const struct top_model *m, struct top_ui *ui,
                      size_t room, int64_t now_ns)
{
    static const enum top_list order[TOP_LISTS] = {TOP_POOLS, TOP_RUNNING, TOP_TASKS, TOP_EVENTS};
    size_t lines[TOP_LISTS];

    if (room < (size_t)TOP_LISTS * PANE_LINES + 2) {
        put_pane(s, m, ui, ui->pane, room, true, now_ns);
        return;
    }
    share_lines(m, ui, room, lines);
    for (int i = 0; i < TOP_LISTS; i++)
        put_pane(s, m, ui, order[i], lines[order[i]], false, now_ns);
}

/* ---- the foot ---- */

static void put_foot(struct top_screen *s, const struct top_ui *ui)
{
    _cleanup_buf_ struct buf text = {0};

    if (ui->mode == TOP_FILTERING) {
        buf_printf(&text, "/%s_  enter: done, escape: all", ui->filter);
        top_put_line(s, buf_slice(&text), ui->utf8, TOP_ACTIVE);
    } else if (ui->message[0]) {
        top_put_line(s, slice_of(ui->message), ui->utf8,
                     ui->mode == TOP_ASKING ? TOP_ACTIVE
                     : ui->is_bad           ? TOP_BAD
                                            : TOP_GOOD);
    } else if (ui->mode == TOP_HELP) {
        top_put_line(s, SLICE("any key: back"), ui->utf8, TOP_DIM);
    } else if (ui->mode == TOP_DETAIL) {
        top_put_line(s, SLICE("q back  arrows scroll  c cancel  r retry"), ui->utf8, TOP_DIM);
    } else if (ui->pane == TOP_POOLS) {
        top_put_line(
            s,
            SLICE("q quit  ? help  tab pane  p pause/resume  + - limit  d drain  / filter  s sort"),
            ui->utf8, TOP_DIM);
    } else {
        top_put_line(
            s,
            SLICE("q quit  ? help  tab pane  enter detail  c cancel  / filter  s sort  f failed"),
            ui->utf8, TOP_DIM);
    }
}

/* ---- all of it ---- */

/* The lines from `first` on are those of something longer: leaves `room` of them, from `scroll` on. */
static void cut_lines(struct top_screen *s, size_t first, size_t room, size_t *scroll)
{
    size_t count = s->count - first;
    size_t most = count > room ? count - room : 0;

    if (*scroll > most)
        *scroll = most;
    memmove(s->lines + first, s->lines + first + *scroll, (count - *scroll) * sizeof *s->lines);
    s->count = first + (count - *scroll < room ? count - *scroll : room);
}

static void put_overlay(struct top_screen *s, const struct top_model *m, struct top_ui *ui,
                        size_t room, int64_t now_ns)
{
    size_t first = s->count, none = 0;
    bool help = ui->mode == TOP_HELP;

    if (help)
        top_put_help(s);
    else
        top_put_detail(s, m, ui, now_ns);
    if (s->lines)
        cut_lines(s, first, room, help ? &none : &ui->detail_scroll);
}

/* Everything, for a file. */
static void draw_plain(const struct top_model *m, struct top_ui *ui, int64_t now_ns,
                       struct top_screen *s)
{
    static const enum top_list order[TOP_LISTS] = {TOP_POOLS, TOP_RUNNING, TOP_TASKS, TOP_EVENTS};

    s->width = s->width > 0 ? s->width : WIDTH_PLAIN;
    put_head(m, ui, s);
    for (int i = 0; i < TOP_LISTS; i++) {
        size_t rows = m->lists[order[i]].shown_count;

        top_put_line(s, SLICE(""), ui->utf8, TOP_PLAIN);
        put_pane(s, m, ui, order[i],
                 2 + (order[i] == TOP_EVENTS && rows > EVENTS_PLAIN ? EVENTS_PLAIN : rows), false,
                 now_ns);
    }
}

void top_draw(const struct top_model *m, struct top_ui *ui, int64_t now_ns, struct top_screen *s)
{
    bool overlay = ui->mode == TOP_HELP || ui->mode == TOP_DETAIL ||
                   (ui->mode == TOP_ASKING && ui->before == TOP_DETAIL);
    size_t room;

    buf_clear(&s->text);
    s->count = 0;
    s->failed = false;
    if (s->height == 0) {
        draw_plain(m, ui, now_ns, s);
        return;
    }
    put_head(m, ui, s);
    room = s->height > 3 ? s->height - 3 : 0;
    if (overlay)
        put_overlay(s, m, ui, room, now_ns);
    else
        put_panes(s, m, ui, room, now_ns);
    while (s->count + 1 < s->height && !s->failed)
        top_put_line(s, SLICE(""), ui->utf8, TOP_PLAIN);
    if (s->count > s->height - 1)
        s->count = s->height - 1;
    put_foot(s, ui);
}
