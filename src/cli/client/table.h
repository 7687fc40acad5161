/*
 * A table for people: columns as wide as what stands in them, cut to the width of the terminal.
 *
 *     struct table t;
 *     table_init(&t, columns, 3);
 *     table_cell(&t, text, TABLE_PLAIN);         // row by row, a cell for each column
 *     table_put(&t, width, colour, &out);
 *     table_free(&t);
 *
 * A column in which nothing stands is left out. What stands in a cell is somebody else's text:
 * control characters become "?", so that none of it steers the terminal.
 */
#ifndef CLI_CLIENT_TABLE_H
#define CLI_CLIENT_TABLE_H

#include "base/buf.h"

enum table_colour { TABLE_PLAIN, TABLE_GOOD, TABLE_BAD, TABLE_BUSY, TABLE_DIM };

struct table_column {
    const char *title;
    bool right;   /* numbers */
    bool stretch; /* is cut first, when there is no room */
};

struct table {
    const struct table_column *columns;
    size_t count;
    struct table_cell *cells;
    size_t cell_count, cell_cap;
    struct buf text;
    bool failed; /* no memory */
};

void table_init(struct table *t, const struct table_column *columns, size_t count);
void table_cell(struct table *t, struct slice text, enum table_colour colour);
size_t table_rows(const struct table *t);
/* width: of the terminal; 0: nothing is cut. Without rows: nothing. */
void table_put(const struct table *t, size_t width, bool colour, struct buf *out);
void table_free(struct table *t);

/* Appends text without what would steer a terminal; lines and tabs become blanks. */
void table_put_clean(struct buf *out, struct slice text);
/* How many columns of a terminal it takes, about: a code point is one. */
size_t table_width(struct slice text);
/* Appends at most `width` columns of it, "…" at the end of what is cut. */
void table_put_cut(struct buf *out, struct slice text, size_t width);
void table_put_coloured(struct buf *out, struct slice text, enum table_colour colour, bool on);

#endif
