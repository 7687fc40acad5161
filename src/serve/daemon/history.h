/*
 * The history of what ran: means over 10 s, 5 min and 1 h, of each pool and over all, for the registry.
 *
 *     history_look(h, &look, now_ns)        // about once a second: what runs just now, of each pool and over all
 *     while (history_take(h, &sample))      // what is complete; to be written
 *
 * A mean is over the looks that were taken in its time; one that the daemon was stopped in is of what it has seen. Pure, but
 * for its memory; one thread.
 */
#ifndef SERVE_DAEMON_HISTORY_H
#define SERVE_DAEMON_HISTORY_H

#include "core/ports/registry.h"

struct history;

struct history_look {
    struct slice pool; /* empty: over all */
    size_t running, limit;
    uint64_t started, finished, failed; /* since the start of the daemon */
};

/* NULL: no memory. */
struct history *history_new(void);
/* False: no memory, the look is not counted. */
bool history_look(struct history *h, const struct history_look *l, int64_t now_ns);
/* The next sample whose time is over by now; its pool's name lives until the next call. False: there is none. */
bool history_take(struct history *h, int64_t now_ns, struct registry_sample *ret);
void history_free(struct history *h);

#endif
