/*
 * One run of a command: a place where one attempt at a time runs, from what prepare() said to the
 * answer. Inside exec/command only.
 *
 *     slot_lay(slot, &launch)                                // engine's thread: copies what is to be run
 *     slot_launch(slot, guard)                               // a lane's thread, and all that follows
 *     ... slot_read(), slot_write() when its pipes are ready, slot_term() to end it early ...
 *     if (slot_reap(slot)) slot_answer(slot)                 // its process has ended
 *     slot_reset(slot)
 *
 * Owner: the slot owns its copy, its process and its pipes. It is used again, and keeps some memory
 * for that. Threads: one at a time; handed over under the executor's lock.
 */
#ifndef EXEC_COMMAND_SLOT_H
#define EXEC_COMMAND_SLOT_H

#include "base/buf.h"
#include "base/list.h"
#include "exec/child/child.h"
#include "exec/command/capture.h"
#include "exec/command/command.h"
#include "exec/command/heartbeat.h"

struct lane;

/* What all slots of an executor have in common. */
struct slot_shared {
    struct capture_limits limits;
    bool capacity[256]; /* by exit status */
    bool fail_retryable;
    struct command_term terms[COMMAND_TERM_STEPS_MAX];
    size_t terms_count;
    char **wrapper; /* with a NULL at the end */
    size_t wrapper_count;
    bool wrapper_shell;
};

enum slot_state {
    SLOT_FREE,
    SLOT_STAGED, /* started, and not kicked */
    SLOT_QUEUED, /* for any lane to take */
    SLOT_TAKEN,  /* with its lane */
};

struct command_slot {
    const struct slot_shared *shared;
    struct core_attempt *attempt;

    /* under the executor's lock */
    enum slot_state state;
    unsigned place; /* 0: none yet, or no longer */
    struct lane *lane;
    bool cancel_asked;
    struct list link;        /* staged or queued */
    struct list cancel_link; /* in its lane's `cancels` */

    /* what is to be run: texts and the pointers to them */
    struct buf text;
    size_t place_at[2]; /* in the text, where the place is named */
    char **words;
    size_t words_room;
    struct child_options options;
    struct slice input; /* what is still to be written */
    bool has_input;

    /* how it runs */
    struct child child;
    struct child_end end;
    struct capture out, err;
    int in_fd;                /* our end of standard input; -1 */
    enum capture_state fault; /* why it was given up, beyond CAPTURE_END */
    int fault_errnum;         /* with CAPTURE_NO_FILE */
    bool watched;             /* its pipes are; see lane.c */
    struct instant watch_at;  /* when they are to be */
    struct list watch_link;   /* in its lane's `unwatched` */
    struct heartbeat heartbeat;
    struct list beat_link;     /* in its lane's `beating` */
    bool ending;               /* told to end: cancelled */
    struct list end_link;      /* in its lane's `ending` */
    size_t term_step;          /* the next one */
    struct instant term_at;    /* when it is due */
    struct command_slot *next; /* free slots; slots whose process has ended */
};

/* NULL: no memory. */
struct command_slot *slot_new(const struct slot_shared *shared);
struct command_slot *slot_free(struct command_slot *slot);

/* Copies what is to be run, with the environment that the executor adds. False: no memory. */
bool slot_lay(struct command_slot *slot, const struct command_launch *launch);
/* Writes its place into the environment: after slot_lay(), before slot_launch(). */
void slot_name_place(struct command_slot *slot);
/* Starts it. False: it does not run, and the attempt's answer says why. */
bool slot_launch(struct command_slot *slot, struct child_guard *guard);
/* Reads what is there. False: there is nothing more to come from that stream; its pipe is to be closed. */
bool slot_read(struct command_slot *slot, struct capture *stream, char *scratch);
/* Writes input as far as it goes. False: all is written, or nobody reads it; the pipe is to be closed. */
bool slot_write(struct command_slot *slot);
void slot_close_input(struct command_slot *slot);
/* Kills it: its output cannot be kept. */
void slot_give_up(struct command_slot *slot, enum capture_state fault, int errnum);
/* The first or next step of the term sequence, which is due. */
void slot_term(struct command_slot *slot, struct instant now);
/* False: its process has not ended. */
bool slot_reap(struct command_slot *slot);
/* After slot_reap(): reads what is left in the pipes, and fills the answer in, but for its times. */
void slot_answer(struct command_slot *slot, char *scratch);
void slot_reset(struct command_slot *slot);

#endif
