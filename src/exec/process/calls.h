/*
 * The requests that one worker has in hand, found by their ids.
 *
 *     c = calls_add(&calls, id);  ... c->attempt = attempt; ...       // NULL: no memory
 *     c = calls_find(&calls, id);                                     // NULL: there is none
 *     calls_remove(&calls, c);
 *
 * A hash table with linear probing; ids that follow each other stand side by side. It grows to what
 * is in hand at most and stays so: nothing is allocated for a request. A pointer to a call is valid
 * until the next add or remove. One owner.
 */
#ifndef EXEC_PROCESS_CALLS_H
#define EXEC_PROCESS_CALLS_H

#include <stddef.h>
#include <stdint.h>

struct core_attempt;

enum call_kind { CALL_REQUEST, CALL_PING, CALL_SHUTDOWN };

struct call {
    uint64_t id; /* from 1; 0: this place is free */
    enum call_kind kind;
    struct core_attempt *attempt; /* of a request */
    uint64_t begin, end; /* its frame's place among all bytes that are sent to the worker */
};

struct calls {
    struct call *at;
    size_t cap; /* 0, or a power of two, more than twice `count` */
    size_t count;
};

/* The id is not there yet. */
struct call *calls_add(struct calls *c, uint64_t id);
struct call *calls_find(const struct calls *c, uint64_t id);
void calls_remove(struct calls *c, struct call *call);
/* The `len` bytes from `begin` on are not sent: what comes behind them moves up. */
void calls_close_gap(struct calls *c, uint64_t begin, uint64_t len);
/* Any one of them; NULL: there is none. */
struct call *calls_any(const struct calls *c);
void calls_free(struct calls *c);

#endif
