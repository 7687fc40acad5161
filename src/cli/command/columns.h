/*
 * The columns of a row: --colsep, a POSIX extended regular expression.
 *
 *     columns_new("[ \t]+", &c, &err);
 *     columns_split(c, text, &list);            // list.items[0 .. list.count)
 *     c = columns_free(c);
 *
 * \t and \n in the expression are a tab and a line end. What matches is left out; what stands
 * between, before and behind, empty or not, is a column. Owner: the caller; one thread at a time.
 */
#ifndef CLI_COMMAND_COLUMNS_H
#define CLI_COMMAND_COLUMNS_H

#include "base/slice.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>

/* Columns of one row; the rest of a row that has more is the last one. */
#define COLUMNS_MAX 65536

struct column_list {
    struct slice *items;
    size_t count, cap;
};

struct columns;

/* WEIR_E_INVALID: the expression is broken, or matches nothing at all. */
WEIR_MUST_CHECK enum weir_status columns_new(const char *regex, struct columns **ret,
                                             struct weir_error *err);
/* Puts the columns in place of what the list holds; they point into the text. False: no memory. */
bool columns_split(struct columns *c, struct slice text, struct column_list *ret);
/* The same at each NUL byte. */
bool columns_split_nul(struct slice text, struct column_list *ret);
/* Adds one to the list. False: no memory. */
bool column_list_add(struct column_list *list, struct slice column);
void column_list_free(struct column_list *list);
struct columns *columns_free(struct columns *c);

#endif
