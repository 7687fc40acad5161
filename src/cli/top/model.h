/*
 * What the daemon said, as `weir top` needs it: rows of what runs, of tasks that wait or failed, of
 * pools and of events.
 *
 *     top_load(&m, TOP_RUNNING, json, &err);               // the answer of GET /v1/runners, as it came
 *     top_order(&m, TOP_RUNNING, sort, filter, &err);      // then lists[TOP_RUNNING].shown are the rows to show
 *     top_model_free(&m);
 *
 * A model that begins as zeros is empty. The answers are kept as they came; a row has what is
 * sorted and looked for, and `item`, its JSON. Pure: no I/O, no clock. One owner, one thread.
 */
#ifndef CLI_TOP_MODEL_H
#define CLI_TOP_MODEL_H

#include "base/buf.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The panes of the screen, in the order of the tab key. */
enum top_list {
    TOP_RUNNING, /* GET /v1/runners */
    TOP_TASKS,   /* GET /v1/tasks: what waits, or what failed */
    TOP_POOLS,   /* GET /v1/status, which holds the pools */
    TOP_EVENTS,  /* GET /v1/events, the newest first */
    TOP_LISTS
};

/* A text in the list's `text`. */
struct top_field {
    size_t at, len;
};

struct top_row {
    struct slice item;
    struct top_field
        id; /* what it is known by from one answer to the next: a runner's id, a pool's name, a number */
    struct top_field key, pool, state, note;
    uint64_t
        number; /* of its task (0: none); of a pool: tasks ready for it; of an event: its own */
    int64_t priority;
    double run_s; /* of a runner; of a pool: its utilisation */
};

struct top_rows {
    struct buf body, text;
    struct top_row *rows;
    size_t count, cap;
    size_t *shown; /* indices of the rows that the filter lets pass, in order */
    size_t shown_count;
};

struct top_model {
    struct top_rows lists[TOP_LISTS];
    struct buf task, record; /* one task, and its events: for its detail */
};

/* Takes the place of what the list held. WEIR_E_INVALID: that is no answer of a daemon's; WEIR_E_NOMEM. Then it is empty. */
WEIR_MUST_CHECK enum weir_status top_load(struct top_model *m, enum top_list list,
                                          struct slice json, struct weir_error *err);
/* One task and its events ({"events":[...]}); an empty slice: none. */
WEIR_MUST_CHECK enum weir_status top_load_task(struct top_model *m, struct slice task,
                                               struct slice record, struct weir_error *err);
/* sort: 0 to top_sort_count() - 1. filter: what must stand in a row, in capitals or not; "": all. */
void top_order(struct top_model *m, enum top_list list, size_t sort, const char *filter);
size_t top_sort_count(enum top_list list);
const char *top_sort_name(enum top_list list, size_t sort);

/* The status that came with the pools; empty: there was none yet. */
struct slice top_status(const struct top_model *m);
struct slice top_text(const struct top_rows *l, struct top_field f);
/* The i-th row that is shown; NULL: there are not so many. */
const struct top_row *top_shown(const struct top_model *m, enum top_list list, size_t i);
/* Members of a JSON object; path: "throttle.rate_per_s". What is absent gives `none`. */
struct slice top_member(struct slice object, const char *path);
double top_number(struct slice object, const char *path, double none);
/* Appends the text of a string, or another value as it stands. */
void top_put_value(struct buf *out, struct slice value);

void top_model_free(struct top_model *m);

#endif
