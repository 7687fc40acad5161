/*
 * The reorder buffer of a batch: items come in any order within a window and leave in the order of
 * their index.
 *
 *     reorder_init(&r, window, first_index)
 *     reorder_enter(&r, index, task)        // when the row is accepted; its place is taken
 *     while ((task = reorder_first(&r)) && task_is_done(task)) reorder_advance(&r);
 *
 * A ring indexed by the row's index: every call is O(1), and nothing is allocated after
 * reorder_init. Pure.
 */
#ifndef CORE_REORDER_H
#define CORE_REORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Items that are known to come one after the other may share a place: reorder_reserve() takes the
 * places of `count` items behind all others, reorder_fill() later puts one item, which stands for
 * some of them, at the first of theirs.
 */
struct reorder {
    void **slots;
    uint64_t mask;
    uint64_t window;  /* indexes from next to next + window - 1 have a place */
    uint64_t next;    /* index of the item that leaves next */
    uint64_t held;    /* items inside, and places that are reserved */
    uint64_t drained; /* places that reorder_drain() has looked at */
};

/* window >= 1. False: no memory. */
bool reorder_init(struct reorder *r, uint64_t window, uint64_t first_index);
/* False: the index has left already, is beyond the window, or its place is taken. item is not NULL. */
bool reorder_enter(struct reorder *r, uint64_t index, void *item);
/*
 * For items in no order: an item enters at a place that it keeps, and leaves from there. Not
 * together with the other calls but for drain and free. enter: false: the window is full. take:
 * what is moved into the free place by it; NULL: nothing.
 */
bool reorder_enter_any(struct reorder *r, void *item, uint32_t *ret_place);
void *reorder_take_any(struct reorder *r, uint32_t place);
/*
 * A larger window for those; a smaller one changes nothing. False: no memory, nothing has changed.
 */
bool reorder_widen_any(struct reorder *r, uint64_t window);
/* The item that leaves next, or NULL when it has not entered yet. */
void *reorder_first(const struct reorder *r);
/* Takes the first item out; there is one (asserted). */
void reorder_advance(struct reorder *r);
/* The same for an item that stands for so many. */
void reorder_advance_many(struct reorder *r, uint64_t count);
/* False: they are not behind all others without a gap, or do not fit into the window. */
bool reorder_reserve(struct reorder *r, uint64_t index, uint64_t count);
/* Puts an item at a place that was reserved. */
void reorder_fill(struct reorder *r, uint64_t index, void *item);
/* The first item that has entered, taken out whether it leaves next or not; NULL when empty. For taking a stopped
 * batch apart: what has a lower index cannot enter any more. */
void *reorder_drain(struct reorder *r);
void reorder_free(struct reorder *r);

#endif
