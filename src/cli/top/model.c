#include "cli/top/model.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"

#include <ctype.h>
#include <stdlib.h>

/* ---- JSON ---- */

struct slice top_member(struct slice object, const char *path)
{
    char name[64];
    struct slice value = object;

    while (*path && value.len > 0) {
        size_t len = strcspn(path, ".");

        if (len >= sizeof name)
            return (struct slice){0};
        memcpy(name, path, len);
        name[len] = '\0';
        if (!json_member(value, name, &value))
            return (struct slice){0};
        path += len + (path[len] == '.');
    }
    return value;
}

double top_number(struct slice object, const char *path, double none)
{
    double value;

    return json_double(top_member(object, path), &value) ? value : none;
}

void top_put_value(struct buf *out, struct slice value)
{
    if (json_kind(value) == JSON_STRING)
        json_unquote(value, out);
    else if (value.len > 0)
        json_put_oneline(out, value);
}

static uint64_t whole(struct slice object, const char *path)
{
    int64_t value;

    return json_int64(top_member(object, path), &value) && value > 0 ? (uint64_t)value : 0;
}

/* ---- rows ---- */

struct slice top_text(const struct top_rows *l, struct top_field f)
{
    return l->text.data ? (struct slice){l->text.data + f.at, f.len} : (struct slice){"", 0};
}

static struct top_field keep(struct top_rows *l, struct slice value)
{
    struct top_field f = {.at = l->text.len};

    top_put_value(&l->text, value);
    f.len = l->text.len - f.at;
    return f;
}

static struct top_field keep_member(struct top_rows *l, struct slice item, const char *path)
{
    return keep(l, top_member(item, path));
}

static void read_task(struct top_rows *l, struct top_row *row, struct slice item)
{
    int64_t priority;

    row->id = keep_member(l, item, "id");
    row->number = whole(item, "id");
    row->state = keep_member(l, item, "state");
    row->pool = keep_member(l, item, top_member(item, "ran_in").len > 0 ? "ran_in" : "pool");
    row->note = keep_member(l, item, top_member(item, "message").len > 0 ? "message" : "reason");
    row->priority = json_int64(top_member(item, "priority"), &priority) ? priority : 0;
}

static void read_runner(struct top_rows *l, struct top_row *row, struct slice item)
{
    row->id = keep_member(l, item, "id");
    row->number = whole(item, "task");
    row->pool = keep_member(l, item, "pool");
    row->note = keep_member(l, item, "text");
    row->run_s = top_number(item, "run_s", 0);
}

static const char *pool_state(struct slice item)
{
    struct slice breaker = top_member(item, "breaker.state");

    if (json_kind(top_member(item, "draining")) == JSON_TRUE)
        return "draining";
    if (json_kind(top_member(item, "enabled")) == JSON_FALSE)
        return "paused";
    if (json_string_equals(breaker, SLICE("open")))
        return "breaker";
    if (breaker.len > 0 && !json_string_equals(breaker, SLICE("closed")))
        return "trial";
    return top_number(item, "held_s", 0) > 0 ? "held" : "on";
}

static void read_pool(struct top_rows *l, struct top_row *row, struct slice item)
{
    const char *state = pool_state(item);

    row->id = row->key = row->pool = keep_member(l, item, "name");
    row->state = (struct top_field){l->text.len, strlen(state)};
    buf_puts(&l->text, state);
    row->note = keep_member(l, item, "throttle.reason");
    row->number = whole(item, "queue.ready");
    row->run_s = top_number(item, "utilisation", 0);
}

static void read_event(struct top_rows *l, struct top_row *row, struct slice item)
{
    row->id = keep_member(l, item, "seq");
    row->number = whole(item, "task");
    row->state = keep_member(l, item, "kind");
    row->pool = keep_member(l, item, "pool");
    row->note = keep_member(l, item, "detail");
}

static const struct {
    const char *member; /* that holds the items; "": the answer is the array */
    void (*read)(struct top_rows *l, struct top_row *row, struct slice item);
} lists[TOP_LISTS] = {
    [TOP_RUNNING] = {"", read_runner},
    [TOP_TASKS] = {"tasks", read_task},
    [TOP_POOLS] = {"pools", read_pool},
    [TOP_EVENTS] = {"events", read_event},
};

static void empty(struct top_rows *l)
{
    l->count = l->shown_count = 0;
    buf_clear(&l->body);
    buf_clear(&l->text);
}

static bool make_room(struct top_rows *l)
{
    size_t cap = l->cap ? l->cap * 2 : 32;
    struct top_row *rows;
    size_t *shown;

    if (l->count < l->cap)
        return true;
    shown = mem_realloc(l->shown, cap * sizeof *shown);
    if (!shown)
        return false;
    l->shown = shown;
    rows = mem_realloc(l->rows, cap * sizeof *rows);
    if (!rows)
        return false;
    l->rows = rows;
    l->cap = cap;
    return true;
}

static bool read_rows(struct top_rows *l, enum top_list list, struct slice items)
{
    struct json_iter it;
    struct slice name, item;

    json_iter_init(&it, items);
    while (json_iter_next(&it, &name, &item)) {
        struct top_row *row;

        if (!make_room(l))
            return false;
        row = &l->rows[l->count++];
        *row = (struct top_row){.item = item};
        if (list != TOP_POOLS)
            row->key = keep_member(l, item, "key");
        lists[list].read(l, row, item);
    }
    return !l->text.failed;
}

enum weir_status top_load(struct top_model *m, enum top_list list, struct slice json,
                          struct weir_error *err)
{
    struct top_rows *l = &m->lists[list];
    struct slice items;

    empty(l);
    if (!json_check(json, NULL))
        return error_set(err, WEIR_E_INVALID, "what answers is no daemon of weir's: no JSON");
    buf_put_slice(&l->body, json);
    if (l->body.failed)
        return empty(l), error_nomem(err);
    items = json_trim(buf_slice(&l->body));
    if (*lists[list].member)
        items = top_member(items, lists[list].member);
    if (json_kind(items) != JSON_ARRAY) {
        empty(l);
        return error_set(err, WEIR_E_INVALID, "what answers is no daemon of weir's: no list of %s",
                         *lists[list].member ? lists[list].member : "runners");
    }
    if (!read_rows(l, list, items))
        return empty(l), error_nomem(err);
    return WEIR_OK;
}

enum weir_status top_load_task(struct top_model *m, struct slice task, struct slice record,
                               struct weir_error *err)
{
    buf_clear(&m->task);
    buf_clear(&m->record);
    if (task.len == 0)
        return WEIR_OK;
    if (!json_check(task, NULL) || (record.len > 0 && !json_check(record, NULL)))
        return error_set(err, WEIR_E_INVALID, "what answers is no daemon of weir's: no JSON");
    buf_put_slice(&m->task, task);
    buf_put_slice(&m->record, record);
    return m->task.failed || m->record.failed ? error_nomem(err) : WEIR_OK;
}

struct slice top_status(const struct top_model *m)
{
    return json_trim(buf_slice(&m->lists[TOP_POOLS].body));
}

const struct top_row *top_shown(const struct top_model *m, enum top_list list, size_t i)
{
    const struct top_rows *l = &m->lists[list];

    return i < l->shown_count ? &l->rows[l->shown[i]] : NULL;
}

/* ---- the order ---- */

static int by_text(struct slice a, struct slice b)
{
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int by_time(const struct top_rows *l, const struct top_row *a, const struct top_row *b)
{
    (void)l;
    return (b->run_s > a->run_s) - (b->run_s < a->run_s);
}

static int by_key(const struct top_rows *l, const struct top_row *a, const struct top_row *b)
{
    return by_text(top_text(l, a->key), top_text(l, b->key));
}

static int by_pool(const struct top_rows *l, const struct top_row *a, const struct top_row *b)
{
    return by_text(top_text(l, a->pool), top_text(l, b->pool));
}

static int by_state(const struct top_rows *l, const struct top_row *a, const struct top_row *b)
{
    return by_text(top_text(l, a->state), top_text(l, b->state));
}

static int by_priority(const struct top_rows *l, const struct top_row *a, const struct top_row *b)
{
    (void)l;
    return (b->priority > a->priority) - (b->priority < a->priority);
}

static int by_number(const struct top_rows *l, const struct top_row *a, const struct top_row *b)
{
    (void)l;
    return (a->number > b->number) - (a->number < b->number);
}

static int by_waiting(const struct top_rows *l, const struct top_row *a, const struct top_row *b)
{
    return by_number(l, b, a);
}

struct sort {
    const char *name;
    /* NULL: as they came. Equal ones stay as they came. */
    int (*compare)(const struct top_rows *l, const struct top_row *a, const struct top_row *b);
};

#define SORTS_MAX 5
static const struct sort sorts[TOP_LISTS][SORTS_MAX] = {
    [TOP_RUNNING] = {{"run time", by_time},
                     {"key", by_key},
                     {"pool", by_pool},
                     {"task", by_number}},
    [TOP_TASKS] = {{"age", NULL},
                   {"priority", by_priority},
                   {"key", by_key},
                   {"pool", by_pool},
                   {"state", by_state}},
    [TOP_POOLS] = {{"place", NULL}, {"name", by_key}, {"use", by_time}, {"ready", by_waiting}},
    [TOP_EVENTS] = {{"newest", NULL}},
};

size_t top_sort_count(enum top_list list)
{
    size_t count = 0;

    while (count < SORTS_MAX && sorts[list][count].name)
        count++;
    return count;
}

const char *top_sort_name(enum top_list list, size_t sort)
{
    return sorts[list][sort % top_sort_count(list)].name;
}

static bool holds(struct slice text, const char *word)
{
    size_t len = strlen(word);

    for (size_t i = 0; i + len <= text.len; i++) {
        size_t k = 0;

        while (k < len &&
               tolower((unsigned char)text.data[i + k]) == tolower((unsigned char)word[k]))
            k++;
        if (k == len)
            return true;
    }
    return false;
}

static bool passes(const struct top_rows *l, const struct top_row *row, const char *filter)
{
    char number[DECIMAL_BYTES];
    size_t len = strlen(filter);
    struct slice digits = decimal_of(row->number, number);

    return len == 0 || holds(top_text(l, row->key), filter) ||
           holds(top_text(l, row->pool), filter) || holds(top_text(l, row->state), filter) ||
           holds(top_text(l, row->note), filter) ||
           (len == digits.len && memcmp(digits.data, filter, len) == 0);
}

struct order {
    const struct top_rows *l;
    const struct sort *sort;
};

static int compare_rows(const void *a, const void *b, void *ctx)
{
    const struct order *o = ctx;
    size_t i = *(const size_t *)a, k = *(const size_t *)b;
    int order = o->sort->compare ? o->sort->compare(o->l, &o->l->rows[i], &o->l->rows[k]) : 0;

    return order != 0 ? order : (i > k) - (i < k);
}

void top_order(struct top_model *m, enum top_list list, size_t sort, const char *filter)
{
    struct top_rows *l = &m->lists[list];
    struct order order = {l, &sorts[list][sort % top_sort_count(list)]};

    l->shown_count = 0;
    for (size_t i = 0; i < l->count; i++) {
        if (passes(l, &l->rows[i], filter))
            l->shown[l->shown_count++] = i;
    }
    if (l->shown_count > 1)
        qsort_r(l->shown, l->shown_count, sizeof *l->shown, compare_rows, &order);
}

void top_model_free(struct top_model *m)
{
    for (int i = 0; i < TOP_LISTS; i++) {
        struct top_rows *l = &m->lists[i];

        buf_free(&l->body);
        buf_free(&l->text);
        l->rows = mem_free(l->rows);
        l->shown = mem_free(l->shown);
        l->count = l->cap = l->shown_count = 0;
    }
    buf_free(&m->task);
    buf_free(&m->record);
}
