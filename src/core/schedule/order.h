/*
 * A min-heap whose keys stand in the heap itself, beside pointers to what they are of.
 *
 *     order_reserve(&o, items)              // the only call that allocates
 *     order_put(&o, &line->item, key)       // goes in, or to where its new key belongs
 *     first = order_first(&o);
 *
 * With a million items what counts is the memory that is touched: a comparison reads two neighbours
 * in an array and nothing else. Four children for each node, so that they share one or two cache
 * lines, and the heap is half as deep. base/heap.h is for heaps of which only the first matters now
 * and then.
 *
 * Where keys are the same the lower `tie` is first. One heap must not be moved in memory: a single
 * item has its place inside.
 */
#ifndef CORE_SCHEDULE_ORDER_H
#define CORE_SCHEDULE_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORDER_ABSENT UINT32_MAX

struct order_key {
    int64_t first, second;
};

struct order_item {
    uint32_t at;  /* ORDER_ABSENT: in none */
    uint32_t tie; /* changed only together with a new key */
};

struct order_entry {
    struct order_key key;
    struct order_item *item;
};

struct order {
    struct order_entry *entries;
    uint32_t len, cap;
    struct order_entry inside;
};

#define order_entry_of(item, type, member) ((type *)(void *)((char *)(item)-offsetof(type, member)))

void order_init(struct order *o);
void order_free(struct order *o);
/* Room for so many in all. False: no memory, nothing has changed. */
bool order_reserve(struct order *o, uint32_t count);
/* There is room for it (asserted). */
void order_put(struct order *o, struct order_item *item, struct order_key key, uint32_t tie);
/* Harmless when it is in none. */
void order_remove(struct order *o, struct order_item *item);
/* Whether all are in order, and know where they are. */
bool order_is_valid(const struct order *o);
/* After keys and ties of entries were written directly. */
void order_again(struct order *o);

static inline void order_item_init(struct order_item *item)
{
    *item = (struct order_item){.at = ORDER_ABSENT};
}

static inline bool order_has(const struct order_item *item)
{
    return item->at != ORDER_ABSENT;
}

static inline bool order_before(struct order_key a, const struct order_item *a_item,
                                struct order_key b, const struct order_item *b_item)
{
    if (a.first != b.first)
        return a.first < b.first;
    if (a.second != b.second)
        return a.second < b.second;
    return a_item->tie < b_item->tie;
}

/* NULL: it is empty. */
static inline struct order_entry *order_first(const struct order *o)
{
    return o->len ? &o->entries[0] : NULL;
}

#endif
