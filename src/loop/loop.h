/*
 * The loop: libuv, the only reader of the clock, and the beat of the engine.
 *
 *     loop_new(&loop, turn, ctx, &err)
 *     loop_run(loop)         // on the engine's thread; calls turn() until loop_stop()
 *     loop_wake(loop)        // from any thread: a turn is due
 *
 * Each round of the loop runs what is due (sockets, timers, children) and then one turn. The turn
 * says when it wants to be called again at the latest; between turns the thread sleeps. Its timer
 * is as exact as the kernel's (timerfd; libuv's own timers count whole milliseconds, too coarse to
 * space a thousand dispatches a second).
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include "base/time.h"
#include "weir/status.h"

#include <uv.h>

struct loop;

/* Returns when the next turn is due at the latest. */
typedef struct instant (*loop_turn_fn)(void *ctx);

WEIR_MUST_CHECK enum weir_status loop_new(struct loop **ret, loop_turn_fn turn, void *ctx,
                                          struct weir_error *err);
/* Runs until loop_stop(). */
void loop_run(struct loop *l);
/* loop_run() returns after this round. On the loop's thread. */
void loop_stop(struct loop *l);
/* A turn is due. Any thread; cheap when one is due already. */
void loop_wake(struct loop *l);
/* For whoever puts handles of its own on the loop; on the loop's thread. */
uv_loop_t *loop_uv(struct loop *l);
/* Runs until all handles that others have put on it are closed, then frees it. NULL-safe. */
void loop_free(struct loop *l);

/* The monotonic clock. Any thread. */
struct instant loop_clock(void);
/* What the thread that asks has had of a processor. Any thread. */
duration_ns loop_thread_ns(void);
/* The wall clock, in nanoseconds since the Unix epoch. Any thread. */
int64_t loop_wall_clock_ns(void);
/* 64 bits from the system's random source, for seeds. */
uint64_t loop_entropy(void);

#endif
