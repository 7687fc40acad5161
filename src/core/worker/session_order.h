/*
 * Which session was used the longest ago, without a word of it at each use.
 *
 *     session_order_init(&o);
 *     session_order_put(&o, s);                        // it is idle, and on no list
 *     s->used_at = now;                                // a use is this and no more
 *     s = session_order_first(&o, &looks);             // the one that was used the longest ago
 *     session_order_drop(s);                           // at any time
 *
 * A session is kept by when it was used last when it was put, and is put again only when it comes
 * to the front and was used since, once for each time that its turn comes. One that has users then
 * is taken out (`listed` says so), and is put again by whoever sees the last of them leave.
 *
 * The order is by ticks of about a millisecond, and first put, first out within one. It is a radix
 * heap (Ahuja, Mehlhorn, Orlin and Tarjan 1990) with digits of six bits: all keys are at or after
 * `base`, a key is kept by the highest digit in which it differs from base, and base only moves on.
 * To put is O(1); a session is moved at most once for each digit until it is in front. Pure; one
 * thread.
 */
#ifndef CORE_WORKER_SESSION_ORDER_H
#define CORE_WORKER_SESSION_ORDER_H

#include "base/list.h"
#include "base/time.h"

#include <stddef.h>
#include <stdint.h>

#define ORDER_TICK_BITS  20
#define ORDER_TICK_NS    ((duration_ns)1 << ORDER_TICK_BITS)
#define ORDER_DIGIT_BITS 6
#define ORDER_SLOTS      (1 << ORDER_DIGIT_BITS)
#define ORDER_LEVELS     8 /* 48 bits; 44 are needed */

struct session;

struct session_order {
    uint64_t base;                 /* a tick whose lowest digit is 0 */
    struct list *leaving;          /* the slot that is moved to the levels below it, if any */
    uint64_t filled[ORDER_LEVELS]; /* slots that may have sessions: one bit each */
    struct list slots[ORDER_LEVELS][ORDER_SLOTS];
};

void session_order_init(struct session_order *o, struct instant now);
void session_order_put(struct session_order *o, struct session *s);
void session_order_drop(struct session *s);
/*
 * Stays where it is. *looks is how many sessions may be touched, and counts down. NULL with looks
 * left: there is none without users. NULL without: call it again, for it goes on where it was.
 */
struct session *session_order_first(struct session_order *o, size_t *looks);
/* Calls fn for each, in no order, until one returns what is wrong. Also NULL: all is sound. */
const char *session_order_check(const struct session_order *o,
                                const char *(*fn)(void *ctx, const struct session *s), void *ctx);

#endif
