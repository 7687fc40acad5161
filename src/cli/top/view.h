/*
 * The screen of `weir top` as lines of text: what a model and a person's choices look like at a
 * given size.
 *
 *     struct top_screen s = {.width = 80, .height = 24};
 *     top_draw(&m, &ui, now_ns, &s);
 *     for (i < s.count) ... s.text.data + s.lines[i].at, .len, .style
 *     top_screen_free(&s);
 *
 * No line is wider than `width` columns, and there are exactly `height` of them; height 0: as many
 * as there is to say, of every list, for a file. Sizes down to 20x4 are served; below that what has
 * no room is left out. Pure: now_ns, the wall clock, is for ages.
 */
#ifndef CLI_TOP_VIEW_H
#define CLI_TOP_VIEW_H

#include "cli/top/ui.h"

enum top_style {
    TOP_PLAIN,
    TOP_HEAD,   /* a pane's title */
    TOP_ACTIVE, /* ... of the one that the keys are for */
    TOP_CHOSEN, /* the selected row */
    TOP_GOOD,
    TOP_BAD,
    TOP_BUSY,
    TOP_DIM,
};

struct top_line {
    size_t at, len;
    enum top_style style;
};

struct top_screen {
    size_t width, height;
    struct buf text;
    struct top_line *lines;
    size_t count, cap;
    bool failed; /* memory was out: lines are missing */
};

/* Also moves the panes' scrolls so that what is selected is seen. */
void top_draw(const struct top_model *m, struct top_ui *ui, int64_t now_ns, struct top_screen *s);
void top_screen_free(struct top_screen *s);

/* For the files of the view. Closes the line that stands at the end of s->text since `at`. */
void top_end_line(struct top_screen *s, size_t at, enum top_style style);
/* A line of such text, cut to the width. */
void top_put_line(struct top_screen *s, struct slice text, bool utf8, enum top_style style);
/* The columns' names, and a row of a list. */
void top_put_heads(struct top_screen *s, enum top_list list, const struct top_ui *ui);
void top_put_row(struct top_screen *s, const struct top_model *m, enum top_list list,
                 const struct top_row *row, const struct top_ui *ui, int64_t now_ns, bool chosen);
/* All of one task, and its record; the caller shows a part of it. */
void top_put_detail(struct top_screen *s, const struct top_model *m, const struct top_ui *ui,
                    int64_t now_ns);
void top_put_help(struct top_screen *s);

#endif
