/*
 * The life of a worker: its state, and what it went through.
 *
 *     initializing ─► ready ─► busy ─► ready
 *         │            │        ├───► degraded ─► ready
 *         │            ├────────┼───────►│
 *         ▼            ▼        ▼        ▼
 *     terminated ◄── terminating ◄───────┘
 *
 *     life_init(&life, now);
 *     if (!life_move(&life, WORKER_READY, "ping answered", now)) ... not in the table: nothing has changed
 *
 * The table is the one of design 5 (I6). Each transition is kept with its reason, its time and how
 * long the state before lasted: the last WORKER_HISTORY of them. Reasons are constant text;
 * `detail` is copied, and cut. Pure, fixed size.
 */
#ifndef CORE_WORKER_LIFE_H
#define CORE_WORKER_LIFE_H

#include "base/time.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum worker_state {
    WORKER_INITIALIZING, /* started, and has not answered its first ping yet */
    WORKER_READY,
    WORKER_BUSY,        /* has as many requests as it takes, or one at least: see crew.h */
    WORKER_DEGRADED,    /* failed a check: gets no work until it passes one */
    WORKER_TERMINATING, /* asked or made to end */
    WORKER_TERMINATED,
    WORKER_STATES
};

#define WORKER_HISTORY      100 /* transitions kept */
#define WORKER_DETAIL_BYTES 80  /* with the NUL; longer ones are cut */
#define WORKER_MORE_BYTES   640 /* the same, of what is told of a transition and not kept */

struct worker_transition {
    enum worker_state from, to;
    struct instant at;
    duration_ns lasted_ns; /* how long `from` did */
    const char *reason;    /* constant text */
    char detail[WORKER_DETAIL_BYTES];
};

struct worker_life {
    enum worker_state state;
    struct instant since;
    uint64_t moves; /* in all; the last WORKER_HISTORY of them are kept */
    struct worker_transition history[WORKER_HISTORY];
};

void life_init(struct worker_life *l, struct instant now);
bool life_may_move(enum worker_state from, enum worker_state to);
/* False: not in the table, and nothing has changed. detail may be NULL. */
bool life_move(struct worker_life *l, enum worker_state to, const char *reason, const char *detail,
               struct instant now);
/* The nth last transition, 0 the last one; NULL: there is none, or it is not kept any more. */
const struct worker_transition *life_last(const struct worker_life *l, size_t n);
/* Copies it to `ret` of so many bytes, 4 at least; what is too long is cut between characters, and ends in "...". */
void life_cut(char *ret, size_t bytes, const char *text);
/* "initializing", "ready", ...; "unknown" for any other value. */
const char *worker_state_name(enum worker_state state);

#endif
