/*
 * What a person has done to the screen of `weir top`: which pane, which row, in which order, what
 * is asked just now; and what a key does.
 *
 *     struct top_action action = {0};
 *     top_key(&ui, &model, 'c', &action);     // asks: "cancel task 7? y/n"
 *     top_key(&ui, &model, 'y', &action);     // action: POST /v1/tasks/7/cancel
 *     top_action_free(&action);
 *
 * A row stays selected by what it is known by, not by its place: the list moves under the eye that
 * reads it, and a key must not hit what has moved there. Pure. One owner, one thread.
 */
#ifndef CLI_TOP_UI_H
#define CLI_TOP_UI_H

#include "cli/top/model.h"

#define TOP_ID_BYTES      160
#define TOP_FILTER_BYTES  64
#define TOP_MESSAGE_BYTES 512

/* Keys that are no character. */
enum {
    TOP_UP = 0x110000,
    TOP_DOWN,
    TOP_PAGE_UP,
    TOP_PAGE_DOWN,
    TOP_HOME,
    TOP_END,
    TOP_ENTER,
    TOP_ESCAPE,
    TOP_TAB,
    TOP_TAB_BACK,
    TOP_BACKSPACE
};

enum top_mode {
    TOP_LISTING,
    TOP_FILTERING, /* the filter is being written */
    TOP_ASKING,    /* y or n */
    TOP_DETAIL,    /* of one task */
    TOP_HELP,
};

enum top_do {
    TOP_NOTHING,
    TOP_QUIT,
    TOP_FETCH, /* what is wanted has changed: ui->failed, ui->detail */
    TOP_SEND,  /* the request below */
};

struct top_action {
    enum top_do what;
    const char *method;
    struct buf path, body; /* body: JSON, or empty */
    struct buf done;       /* what to say when it is done: "task 7 is cancelled" */
};

struct top_pane {
    char id[TOP_ID_BYTES]; /* of the selected row; "": the first */
    size_t at;             /* where it was last */
    size_t scroll;         /* the first row that is on the screen */
    size_t sort;
};

struct top_ui {
    enum top_list pane;
    enum top_mode mode, before; /* before: where TOP_ASKING goes back to */
    struct top_pane panes[TOP_LISTS];
    char filter[TOP_FILTER_BYTES];
    bool failed;     /* TOP_TASKS lists what failed, not what waits */
    uint64_t detail; /* the task of TOP_DETAIL; else 0 */
    size_t detail_scroll;
    struct top_action asked;         /* of TOP_ASKING */
    char message[TOP_MESSAGE_BYTES]; /* said in the last line until the next key */
    bool is_bad;                     /* the message is an error */
    char trouble[TOP_MESSAGE_BYTES]; /* why there is nothing new; "": all is well */
    const char *address;
    bool utf8, utc;
};

/* Does what the key says to ui, and fills in the action. ret->what stays TOP_NOTHING when nothing has to be done outside. */
void top_key(struct top_ui *ui, struct top_model *m, int key, struct top_action *ret);
/* Orders the model's lists as ui says, and finds the selected rows again. */
void top_settle(struct top_ui *ui, struct top_model *m);
void top_say(struct top_ui *ui, bool is_bad, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void top_action_free(struct top_action *a);

#endif
