/*
 * Telling how the run goes, while it goes.
 *
 *     progress_new(&options, &p, &err);
 *     every 100 ms or so:   progress_update(p, &snapshot);     // draws when it is time to
 *     progress_note(p, "...");                                  // a line for a person, above the display
 *     progress_finish(p, &snapshot);                            // the last state stays on the screen
 *     p = progress_free(p);
 *
 * tty: a few lines, redrawn in place by one write per frame; the width is asked for at each frame,
 * no line is ever as wide as the terminal, and the cursor is never hidden, so there is nothing to
 * restore whatever ends the process. plain: a line at the start, every ten seconds, and at the end.
 * json: one object per second (docs/output.md). All go to `fd`, which is standard error.
 *
 * What is written and when is decided here; the text itself comes from the pure progress_render_*
 * functions. A failed write is dropped: progress must never end a run. One thread at a time; only
 * progress_aside() may take long.
 */
#ifndef CLI_OUTPUT_PROGRESS_H
#define CLI_OUTPUT_PROGRESS_H

#include "base/buf.h"
#include "base/time.h"
#include "flow/throttle_state.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stdint.h>

enum progress_mode { PROGRESS_AUTO, PROGRESS_TTY, PROGRESS_PLAIN, PROGRESS_JSON, PROGRESS_NONE };

enum progress_phase {
    PROGRESS_CHECKING, /* the input is read and checked; nothing is sent yet */
    PROGRESS_RUNNING,
    PROGRESS_STOPPING,   /* starts nothing more, waits for what runs */
    PROGRESS_CANCELLING, /* cancels what runs */
    PROGRESS_DONE,
};

/* The state of the run at one moment. Counts are of this run and what earlier ones left. */
struct progress_snapshot {
    struct instant now;
    duration_ns elapsed_ns; /* of this run */
    enum progress_phase phase;
    bool total_known;
    uint64_t total;       /* rows, when known */
    uint64_t done;        /* rows that have a result, failed ones and earlier runs' included */
    uint64_t done_before; /* of these, from earlier runs */
    uint64_t failed;      /* of done */
    uint64_t in_flight;
    uint64_t waiting;           /* rows that wait for a retry */
    uint64_t attempts;          /* sent by this run */
    uint64_t refused;           /* of these, ended in capacity */
    uint64_t retries;           /* of retryable failures */
    uint64_t tokens;            /* that the service told */
    const char *throttle;       /* its kind; NULL: none is shown */
    struct throttle_state pace; /* how it limits now, and why */
    duration_ns held_ns; /* the service asked for a pause that lasts this long still; 0: none */
    uint64_t delivered;  /* rows whose line is written */
};

/* An exponentially weighted mean that is right from the first sample on: both the sum and the weights
 * that went into it are kept. */
struct progress_ewma {
    double sum, weight;
};

/* What is derived from snapshots. */
struct progress_rates {
    bool primed;
    struct instant at;
    uint64_t done, attempts, refused;
    struct progress_ewma rows_fast, rows_slow; /* rows per second; for the eye, and for the ETA */
    struct progress_ewma sent, refusals;       /* attempts per second */
};

void progress_rates_update(struct progress_rates *r, const struct progress_snapshot *s);
/* Rows per second just now (time constant 5 s); 0 when nothing is known. */
double progress_rate(const struct progress_rates *r);
/* Share of the attempts of the last seconds that were refused, 0 to 1. */
double progress_refused_share(const struct progress_rates *r);
/* Rows per second over the whole run; 0 when nothing is known. */
double progress_mean_rate(const struct progress_snapshot *s);
/* Expected time to the end; -1: cannot be said. */
duration_ns progress_eta(const struct progress_rates *r, const struct progress_snapshot *s);

/* Lines, each ended by '\n', none wider than `width` columns. Without colour no escape sequence is in
 * it. */
void progress_render_tty(const struct progress_rates *r, const struct progress_snapshot *s,
                         size_t width, bool colour, struct buf *out);
void progress_render_plain(const struct progress_rates *r, const struct progress_snapshot *s,
                           struct buf *out);
void progress_render_json(const struct progress_rates *r, const struct progress_snapshot *s,
                          struct buf *out);

struct progress_options {
    enum progress_mode mode;
    int fd;
};

struct progress;

/* AUTO is tty when fd is a terminal (and TERM is not "dumb"), else plain. Colour only on a terminal and
 * without NO_COLOR. */
WEIR_MUST_CHECK enum weir_status progress_new(const struct progress_options *o,
                                              struct progress **ret, struct weir_error *err);
/* Resolved: never PROGRESS_AUTO. */
enum progress_mode progress_mode(const struct progress *p);
void progress_update(struct progress *p, const struct progress_snapshot *s);
/* One line of text without its newline; shown in every mode but none and json. */
void progress_note(struct progress *p, const char *text);
/*
 * Bytes of somebody else's for the same descriptor, as they are, all of them: waits until there is
 * room. On a terminal they come above the display, on lines of their own.
 */
void progress_aside(struct progress *p, struct slice bytes);
void progress_finish(struct progress *p, const struct progress_snapshot *s);
/* Writes nothing. NULL-safe; returns NULL. */
struct progress *progress_free(struct progress *p);

#endif
