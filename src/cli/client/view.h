/*
 * The API's JSON as tables and lists of names and values.
 *
 *     static const struct view_column columns[] = {{{"ID", .right = true}, "id", VIEW_TEXT}, ...};
 *     client_list(c, &(struct client_list){.path = path.data, .member = "tasks", .columns = columns, ...});
 *     view_show(c, buf_slice(&c->body), skipped);          // one thing, all of its members
 *
 * A column names a member, or a member of a member ("queue.ready"). What is absent is an empty
 * cell.
 */
#ifndef CLI_CLIENT_VIEW_H
#define CLI_CLIENT_VIEW_H

#include "cli/client/client.h"
#include "cli/client/table.h"

enum view_kind {
    VIEW_TEXT,     /* a string, a number, a list of those, as it is */
    VIEW_TIME,     /* "3m ago" */
    VIEW_SECONDS,  /* "1m02s" */
    VIEW_SHARE,    /* "30%" */
    VIEW_RATE,     /* "18" */
    VIEW_BYTES,    /* "512MiB" */
    VIEW_STATE,    /* as VIEW_TEXT, in its colour */
    VIEW_NONZERO,  /* as VIEW_TEXT, 0 is empty */
    VIEW_FUNCTION, /* put() does it */
};

struct view_column {
    struct table_column head;
    const char *member;
    enum view_kind kind;
    void (*put)(const struct client *c, struct slice item, struct buf *out);
};

/* The member of that path; empty: there is none. */
struct slice view_member(struct slice object, const char *path);
/* Appends a value as text, without what would steer a terminal: strings without quotes, lists with commas between. */
void view_put_text(struct buf *out, struct slice value);
/* Appends lines of text, each with the indent before it. */
void view_put_lines(struct buf *out, struct slice text, const char *indent);
void view_put(const struct client *c, enum view_kind kind, struct slice value, struct buf *out);
enum table_colour view_colour(struct slice state);

/* A row for each of them; an array's items are added with view_rows(). */
struct view {
    const struct client *c;
    const struct view_column *columns;
    size_t count;
    struct table_column heads[24];
    struct table table;
};
void view_init(struct view *v, const struct client *c, const struct view_column *columns,
               size_t count);
void view_row(struct view *v, struct slice item);
void view_rows(struct view *v, struct slice array);
/* Puts the table into c->out, and frees it. */
void view_end(struct view *v, struct client *c);

/* "name  value" lines of all members but those named (NULL at the end; NULL: none). */
void view_show(struct client *c, struct slice object, const char *const *skip);

struct client_list {
    const char *path;   /* with its query, without limit and cursor */
    const char *member; /* that holds the items; NULL: the answer is the array */
    const char *cursor; /* "cursor" or "after"; NULL: there are no pages */
    int64_t first;      /* what the first page gives as that; 0: nothing */
    const struct view_column *columns;
    size_t column_count;
    int64_t limit; /* 0: 100 */
    bool all;
    const char *none; /* said on standard error when there are none: "no tasks" */
};

#define CLIENT_COLUMNS(array) .columns = (array), .column_count = sizeof(array) / sizeof((array)[0])

/* Page by page; a table, or the items as lines of JSON. */
int client_list(struct client *c, const struct client_list *l);

#endif
