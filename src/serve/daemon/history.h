/*
 * The history of what ran: means over 10 s, 5 min and 1 h, of each pool and over all, for the
 * registry.
 *
 *     history_resume(h, &sample, looks)     // at the start: those of 10 s that the registry has, of each pool the oldest first
 *     history_resumed(h, now_ns)
 *     history_look(h, &look, now_ns)        // about once a second: what runs just now, of each pool and over all
 *     while (history_take(h, &sample))      // what is complete; to be written
 *     history_end(h)                        // at the stop: what is not is to be taken, too
 *
 * A mean is over the looks that were taken in its time, also those of a predecessor: one that
 * begins in the middle of an hour goes on with the hour, from the samples of 10 s, and what it
 * writes takes the place of what there was. So a crash costs the last 10 s, and a time in which
 * nobody ran does not count. Pure, but for its memory; one thread.
 */
#ifndef SERVE_DAEMON_HISTORY_H
#define SERVE_DAEMON_HISTORY_H

#include "core/ports/registry.h"

struct history;

/* Of the samples that history_resume() takes. */
#define HISTORY_FINEST_S 10
/* No mean is over more. */
#define HISTORY_COARSEST_S 3600

struct history_look {
    struct slice pool; /* empty: over all */
    size_t running, limit;
    uint64_t started, finished, failed; /* since the start of the daemon */
};

/* NULL: no memory. */
struct history *history_new(void);
/*
 * Before the first look. Of a pool those since the begin of the hour of the newest are needed, and
 * older ones do no harm. looks: how many it is the mean of, at least 1; not known:
 * HISTORY_FINEST_S. False: no memory, it is not counted.
 */
bool history_resume(struct history *h, const struct registry_sample *s, uint64_t looks);
/* What was not complete and is now that time has gone on is to be taken, and the rest goes on. */
void history_resumed(struct history *h, int64_t now_ns);
/* False: no memory, the look is not counted. */
bool history_look(struct history *h, const struct history_look *l, int64_t now_ns);
/* The next sample whose time is over by now; its pool's name lives until the next call. False: there is none. */
bool history_take(struct history *h, int64_t now_ns, struct registry_sample *ret);
/* After all that is complete was taken: what is not counts as complete. No looks come any more. */
void history_end(struct history *h);
/* Of the mean over all of 10 s that is being made: how many looks it has, and when its time began. 0: none. */
uint64_t history_looks(const struct history *h, int64_t *ret_from_ns);
void history_free(struct history *h);

#endif
