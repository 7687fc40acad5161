#include "cli/top/ui.h"

#include "base/json.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* How far a page goes: less than any screen has, so that no row is skipped. */
#define PAGE 8

void top_action_free(struct top_action *a)
{
    buf_free(&a->path);
    buf_free(&a->body);
    buf_free(&a->done);
    a->what = TOP_NOTHING;
}

void top_say(struct top_ui *ui, bool is_bad, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(ui->message, sizeof ui->message, format, args);
    va_end(args);
    ui->is_bad = is_bad;
}

/* ---- the selection ---- */

static void select_at(struct top_ui *ui, const struct top_model *m, enum top_list list, size_t at)
{
    struct top_pane *p = &ui->panes[list];
    const struct top_rows *l = &m->lists[list];
    const struct top_row *row;

    if (l->shown_count == 0)
        return;
    p->at = at < l->shown_count ? at : l->shown_count - 1;
    row = top_shown(m, list, p->at);
    snprintf(p->id, sizeof p->id, "%.*s", (int)top_text(l, row->id).len, top_text(l, row->id).data);
}

static bool is_selected(const struct top_pane *p, const struct top_rows *l,
                        const struct top_row *row)
{
    struct slice id = top_text(l, row->id);
    size_t len = strlen(p->id);

    return len > 0 && (id.len == len || (id.len > len && len == sizeof p->id - 1)) &&
           memcmp(id.data, p->id, len) == 0;
}

/* The row that was selected, wherever it is now; when it has gone, its neighbour. Events: the newest, until one is chosen. */
static void find_selected(struct top_ui *ui, const struct top_model *m, enum top_list list)
{
    struct top_pane *p = &ui->panes[list];
    const struct top_rows *l = &m->lists[list];

    if (list == TOP_EVENTS && p->at == 0) {
        select_at(ui, m, list, 0);
        return;
    }
    for (size_t i = 0; i < l->shown_count; i++) {
        if (is_selected(p, l, top_shown(m, list, i))) {
            p->at = i;
            return;
        }
    }
    select_at(ui, m, list, p->at);
}

void top_settle(struct top_ui *ui, struct top_model *m)
{
    for (int i = 0; i < TOP_LISTS; i++) {
        top_order(m, (enum top_list)i, ui->panes[i].sort, ui->filter);
        find_selected(ui, m, (enum top_list)i);
    }
}

static void move(struct top_ui *ui, const struct top_model *m, long rows)
{
    size_t at = ui->panes[ui->pane].at;

    if (ui->mode == TOP_DETAIL) {
        at = ui->detail_scroll;
        ui->detail_scroll = rows < 0 && at < (size_t)-rows ? 0 : at + (size_t)rows;
        return;
    }
    select_at(ui, m, ui->pane, rows < 0 && at < (size_t)-rows ? 0 : at + (size_t)rows);
}

static const struct top_row *selected(const struct top_ui *ui, const struct top_model *m)
{
    return top_shown(m, ui->pane, ui->panes[ui->pane].at);
}

/* ---- requests ---- */

static void put_escaped(struct buf *path, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.data[i];

        if ((byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
            (byte >= 'A' && byte <= 'Z') || byte == '-' || byte == '_' || byte == '.')
            buf_putc(path, (char)byte);
        else
            buf_printf(path, "%%%02X", byte);
    }
}

/* Asks before it is sent; the question says what will be done. */
static void ask(struct top_ui *ui, struct top_action *a)
{
    if (a->path.failed || a->done.failed) {
        top_say(ui, true, "out of memory");
        top_action_free(a);
        return;
    }
    top_action_free(&ui->asked);
    ui->asked = *a;
    *a = (struct top_action){0};
    ui->before = ui->mode;
    ui->mode = TOP_ASKING;
}

static void send(struct top_action *a, const char *method)
{
    a->method = method;
    a->what = TOP_SEND;
}

/* The task that the keys of tasks are about: 0, if there is none. */
static uint64_t task_of(struct top_ui *ui, const struct top_model *m)
{
    const struct top_row *row = selected(ui, m);

    if (ui->mode == TOP_DETAIL)
        return ui->detail;
    if (ui->pane != TOP_POOLS && row && row->number > 0 &&
        (ui->pane != TOP_EVENTS || top_member(row->item, "task").len > 0))
        return row->number;
    top_say(ui, true,
            ui->pane == TOP_POOLS ? "this is for a task: tab goes to them" : "no task is selected");
    return 0;
}

static void cancel_task(struct top_ui *ui, struct top_model *m, struct top_action *a)
{
    uint64_t task = task_of(ui, m);

    if (task == 0)
        return;
    buf_printf(&a->path, "/v1/tasks/%" PRIu64 "/cancel", task);
    buf_printf(&a->done, "task %" PRIu64 " is told to end", task);
    send(a, "POST");
    top_say(ui, false, "cancel task %" PRIu64 "? y/n", task);
    ask(ui, a);
}

static void retry_task(struct top_ui *ui, struct top_model *m, struct top_action *a)
{
    uint64_t task = task_of(ui, m);

    if (task == 0)
        return;
    buf_printf(&a->path, "/v1/tasks/%" PRIu64 "/retry", task);
    buf_printf(&a->done, "task %" PRIu64 " is tried again", task);
    send(a, "POST");
}

static void kill_runner(struct top_ui *ui, struct top_model *m, struct top_action *a)
{
    const struct top_row *row = selected(ui, m);

    if (ui->pane != TOP_RUNNING || ui->mode != TOP_LISTING || !row) {
        top_say(ui, true, "this is for an attempt that runs: tab goes to them");
        return;
    }
    buf_puts(&a->path, "/v1/runners/");
    put_escaped(&a->path, top_text(&m->lists[TOP_RUNNING], row->id));
    buf_puts(&a->path, "/kill");
    buf_printf(&a->done, "the attempt of task %" PRIu64 " is killed", row->number);
    send(a, "POST");
    top_say(ui, false, "kill the attempt of task %" PRIu64 "? y/n", row->number);
    ask(ui, a);
}

/* ---- pools ---- */

static const struct top_row *pool_of(struct top_ui *ui, struct top_model *m)
{
    const struct top_row *row =
        ui->mode == TOP_LISTING && ui->pane == TOP_POOLS ? selected(ui, m) : NULL;

    if (!row)
        top_say(ui, true, "this is for a pool: tab goes to them");
    return row;
}

static void pool_verb(struct top_model *m, const struct top_row *row, const char *verb,
                      const char *done, struct top_action *a)
{
    struct slice name = top_text(&m->lists[TOP_POOLS], row->id);

    buf_puts(&a->path, "/v1/pools/");
    put_escaped(&a->path, name);
    buf_puts(&a->path, verb);
    buf_printf(&a->done, "pool %.*s %s", (int)name.len, name.data, done);
}

static void pause_pool(struct top_ui *ui, struct top_model *m, struct top_action *a)
{
    const struct top_row *row = pool_of(ui, m);
    bool on;

    if (!row)
        return;
    on = json_kind(top_member(row->item, "enabled")) == JSON_TRUE &&
         json_kind(top_member(row->item, "draining")) != JSON_TRUE;
    pool_verb(m, row, on ? "/disable" : "/enable", on ? "is paused" : "goes on", a);
    send(a, "POST");
}

static void drain_pool(struct top_ui *ui, struct top_model *m, struct top_action *a)
{
    const struct top_row *row = pool_of(ui, m);

    if (!row)
        return;
    pool_verb(m, row, "/drain", "drains: p lets it go on", a);
    send(a, "POST");
}

static void change_limit(struct top_ui *ui, struct top_model *m, int by, struct top_action *a)
{
    const struct top_row *row = pool_of(ui, m);
    long limit;
    char done[48];

    if (!row)
        return;
    limit = (long)top_number(row->item, "max_concurrency", 1) + by;
    if (limit < 1) {
        top_say(ui, true, "1 is the least; p pauses a pool");
        return;
    }
    snprintf(done, sizeof done, "may run %ld at once", limit);
    pool_verb(m, row, "", done, a);
    buf_printf(&a->body, "{\"max_concurrency\":%ld}", limit);
    send(a, "PATCH");
}

/* ---- keys ---- */

static void open_detail(struct top_ui *ui, struct top_model *m, struct top_action *a)
{
    uint64_t task = task_of(ui, m);

    if (task == 0)
        return;
    buf_clear(&m->task);
    ui->mode = TOP_DETAIL;
    ui->detail = task;
    ui->detail_scroll = 0;
    a->what = TOP_FETCH;
}

static void close_detail(struct top_ui *ui, struct top_action *a)
{
    ui->mode = TOP_LISTING;
    ui->detail = 0;
    a->what = TOP_FETCH;
}

static void write_filter(struct top_ui *ui, int key)
{
    size_t len = strlen(ui->filter);
    char bytes[4];
    size_t count;

    if (key == TOP_ENTER) {
        ui->mode = TOP_LISTING;
    } else if (key == TOP_ESCAPE) {
        ui->filter[0] = '\0';
        ui->mode = TOP_LISTING;
    } else if (key == TOP_BACKSPACE) {
        while (len > 0 && ((unsigned char)ui->filter[--len] & 0xC0) == 0x80)
            ;
        ui->filter[len] = '\0';
    } else if (key >= ' ' && key < TOP_UP && (key < 0xD800 || key > 0xDFFF)) {
        count = utf8_encode((uint32_t)key, bytes);
        if (len + count < sizeof ui->filter) {
            memcpy(ui->filter + len, bytes, count);
            ui->filter[len + count] = '\0';
        }
    }
}

static void answer(struct top_ui *ui, int key, struct top_action *ret)
{
    ui->mode = ui->before;
    if (key == 'y' || key == 'Y') {
        *ret = ui->asked;
        ui->asked = (struct top_action){0};
        return;
    }
    top_action_free(&ui->asked);
    top_say(ui, false, "nothing is done");
}

static bool key_moves(struct top_ui *ui, const struct top_model *m, int key)
{
    switch (key) {
    case TOP_UP:
    case 'k':
        move(ui, m, -1);
        return true;
    case TOP_DOWN:
    case 'j':
        move(ui, m, 1);
        return true;
    case TOP_PAGE_UP:
        move(ui, m, -PAGE);
        return true;
    case TOP_PAGE_DOWN:
    case ' ':
        move(ui, m, PAGE);
        return true;
    case TOP_HOME:
    case 'g':
        move(ui, m, -INT32_MAX);
        return true;
    case TOP_END:
    case 'G':
        move(ui, m, ui->mode == TOP_DETAIL ? PAGE : INT32_MAX);
        return true;
    default:
        return false;
    }
}

/* Keys that change what is seen. */
static bool key_looks(struct top_ui *ui, struct top_model *m, int key, struct top_action *a)
{
    switch (key) {
    case TOP_TAB:
        ui->pane = (ui->pane + 1) % TOP_LISTS;
        return true;
    case TOP_TAB_BACK:
        ui->pane = (ui->pane + TOP_LISTS - 1) % TOP_LISTS;
        return true;
    case 's':
        ui->panes[ui->pane].sort = (ui->panes[ui->pane].sort + 1) % top_sort_count(ui->pane);
        return true;
    case '/':
        ui->mode = TOP_FILTERING;
        return true;
    case TOP_ESCAPE:
        ui->filter[0] = '\0';
        return true;
    case 'f':
        ui->failed = !ui->failed;
        ui->pane = TOP_TASKS;
        a->what = TOP_FETCH;
        return true;
    case TOP_ENTER:
        open_detail(ui, m, a);
        return true;
    case '?':
    case 'h':
        ui->mode = TOP_HELP;
        return true;
    default:
        return false;
    }
}

static void key_acts(struct top_ui *ui, struct top_model *m, int key, struct top_action *a)
{
    switch (key) {
    case 'c':
        cancel_task(ui, m, a);
        break;
    case 'r':
        retry_task(ui, m, a);
        break;
    case 'K':
        kill_runner(ui, m, a);
        break;
    case 'p':
        pause_pool(ui, m, a);
        break;
    case 'd':
        drain_pool(ui, m, a);
        break;
    case '+':
    case '=':
        change_limit(ui, m, 1, a);
        break;
    case '-':
        change_limit(ui, m, -1, a);
        break;
    default:
        break;
    }
}

void top_key(struct top_ui *ui, struct top_model *m, int key, struct top_action *ret)
{
    ui->message[0] = '\0';
    if (ui->mode == TOP_FILTERING) {
        write_filter(ui, key);
    } else if (ui->mode == TOP_ASKING) {
        answer(ui, key, ret);
    } else if (ui->mode == TOP_HELP) {
        ui->mode = ui->detail > 0 ? TOP_DETAIL : TOP_LISTING;
    } else if (key == 'q' && ui->mode == TOP_LISTING) {
        ret->what = TOP_QUIT;
    } else if (ui->mode == TOP_DETAIL && (key == 'q' || key == TOP_ESCAPE || key == TOP_ENTER)) {
        close_detail(ui, ret);
    } else if (!key_moves(ui, m, key) && (ui->mode == TOP_DETAIL || !key_looks(ui, m, key, ret))) {
        if (key == '?')
            ui->mode = TOP_HELP;
        else
            key_acts(ui, m, key, ret);
    }
    if (ret->path.failed || ret->body.failed || ret->done.failed) {
        top_action_free(ret);
        top_say(ui, true, "out of memory");
    }
    top_settle(ui, m);
}
