/*
 * So many units a minute, as services count them: in any 60 s, in each 60 s, or by a bucket that is
 * refilled evenly.
 *
 *     sim_window_init(&w, SIM_WINDOW_SLIDING, 500, 0, start)
 *     if (sim_window_wait(&w, now, 1) == 0)
 *         sim_window_take(&w, now, 1);
 *
 * Owns the log of a sliding window. `now` never goes backwards. Pure.
 */
#ifndef SIM_WINDOW_H
#define SIM_WINDOW_H

#include "flow/advice.h"
#include "sim/script.h"

#define SIM_WINDOW_NS (60 * NS_PER_S)
/* Entries of a sliding window's log. Below a limit of so many units each entry is one request and
 * the count is exact; above it, requests within about a millisecond share an entry. */
#define SIM_WINDOW_LOG_MAX 65536

struct sim_window_entry {
    struct instant at;
    int64_t units;
};

struct sim_window {
    enum sim_window_kind kind;
    int64_t limit; /* units a minute */
    struct instant start;
    int64_t used; /* sliding, fixed: units in the window */

    int64_t turn; /* fixed: which minute `used` is of */

    double level; /* bucket: units in it, at `last` */
    double depth;
    struct instant last;

    struct sim_window_entry *log; /* sliding: a ring, oldest at head */
    size_t log_cap;
    size_t head;
    size_t len;
    duration_ns grain_ns; /* entries nearer than this are one; 0: each request has its own */
};

/* limit: 1 or more. depth_ns: what a bucket holds, in time. False: no memory. */
bool sim_window_init(struct sim_window *w, enum sim_window_kind kind, int64_t limit,
                     duration_ns depth_ns, struct instant start);
/* Time until so many units fit, if nothing else is taken: 0 is now, INT64_MAX is never. A bucket
 * takes what is larger than it when it is full. */
duration_ns sim_window_wait(struct sim_window *w, struct instant now, int64_t units);
/* They fit: sim_window_wait() has just said so. */
void sim_window_take(struct sim_window *w, struct instant now, int64_t units);
/* What x-ratelimit-* say. The reset is the end of a fixed window, and the time until a bucket is
 * full; of a sliding window it is when its oldest request leaves it, as services that count so tell
 * it: it is never whole again while it is used. */
struct flow_quota sim_window_told(struct sim_window *w, struct instant now);
void sim_window_free(struct sim_window *w);

#endif
