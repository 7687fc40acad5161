/*
 * A limit that follows something: the load of the machine, its free memory, or the length of a
 * queue; between a least and a most.
 *
 *     follow_init(&f, &options);
 *     limit = follow_step(&f, now, &(struct follow_reading){.value = load, .running = n, .queued = m});
 *     ... the pool's limit is `limit` from now on; come again in a second or so
 *
 * Load and memory are there for all processes of the machine, so nobody can say how many attempts
 * would make them what they should be: the limit feels its way. Above the target (of memory: below)
 * it loses a quarter, at once; while there is slack, and the limit is what holds attempts back, it
 * gains an eighth. Between the two lies a band in which nothing changes, and after each step a
 * pause, for the reading tells of it only later: else the limit would swing.
 *
 * Of a queue it is known: so many workers as there are tasks, waiting or running, for each target
 * of them. More come at once; fewer only when fewer would have done for a while, for workers are
 * dear to start.
 *
 * Pure; one owner. Of fixed size; O(1).
 */
#ifndef CORE_FOLLOW_H
#define CORE_FOLLOW_H

#include "base/time.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>

enum follow_what {
    FOLLOW_NOTHING,
    FOLLOW_LOAD,   /* load of the last minute for each processor; the target: 0.01 to 100 */
    FOLLOW_MEMORY, /* MiB of memory that is available; the target: what is to stay so */
    FOLLOW_QUEUE,  /* tasks that wait or run; the target: for each worker */
    FOLLOW_KINDS
};

/* Of the target, up and down: nothing changes within. */
#define FOLLOW_BAND 0.1
/* After a step that made the limit lower, and one that made it higher. */
#define FOLLOW_LOWER_PAUSE_NS (5 * NS_PER_S)
#define FOLLOW_RAISE_PAUSE_NS (10 * NS_PER_S)
/* So long fewer workers must have been enough. */
#define FOLLOW_QUIET_NS   (30 * NS_PER_S)
#define FOLLOW_TARGET_MAX 1e9

struct follow_options {
    enum follow_what what;
    double target;   /* above 0, to FOLLOW_TARGET_MAX */
    size_t min, max; /* 1 <= min <= max */
};

struct follow_reading {
    double
        value; /* of load or memory; negative: not known, and nothing changes. Of a queue: not looked at */
    size_t running; /* attempts of the pool */
    size_t queued;  /* tasks that could run there now, if there was room */
};

struct follow {
    struct follow_options options;
    size_t limit;
    struct instant lowered_at, raised_at; /* NONE: never */
    /* of a queue: fewer than `limit` have been enough since then (NONE: they are not), and the most that it took */
    struct instant fewer_since;
    size_t fewer_most;
};

/* "nothing", "load", "memory", "queue". */
const char *follow_what_name(enum follow_what what);
WEIR_MUST_CHECK enum weir_status follow_options_check(const struct follow_options *o,
                                                      struct weir_error *err);
/* Options must have been checked, here and below. Load and memory begin with the most, a queue with the least. */
void follow_init(struct follow *f, const struct follow_options *o);
/* Other options; the limit stays as near as they allow. */
void follow_reconfigure(struct follow *f, const struct follow_options *o);
/* The limit from now on. Times that go back count as no time. */
size_t follow_step(struct follow *f, struct instant now, const struct follow_reading *r);

#endif
