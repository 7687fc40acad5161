/*
 * The children of the node at i are at 4i+1 to 4i+4; each move writes the index back into the item.
 */
#include "core/schedule/order.h"

#include "base/mem.h"

#include <assert.h>
#include <stddef.h>

#define CHILDREN 4

static bool before(const struct order_entry *a, const struct order_entry *b)
{
    return order_before(a->key, a->item, b->key, b->item);
}

static void put(struct order *o, uint32_t at, const struct order_entry *e)
{
    o->entries[at] = *e;
    e->item->at = at;
}

/* Moves the hole at `at` up to where e belongs. */
static uint32_t hole_up(struct order *o, uint32_t at, const struct order_entry *e)
{
    while (at > 0) {
        uint32_t parent = (at - 1) / CHILDREN;

        if (!before(e, &o->entries[parent]))
            break;
        put(o, at, &o->entries[parent]);
        at = parent;
    }
    return at;
}

static uint32_t hole_down(struct order *o, uint32_t at, const struct order_entry *e)
{
    for (;;) {
        uint64_t child = (uint64_t)at * CHILDREN + 1, end = child + CHILDREN;
        uint32_t least;

        if (child >= o->len)
            return at;
        if (end > o->len)
            end = o->len;
        least = (uint32_t)child;
        for (child++; child < end; child++) {
            if (before(&o->entries[child], &o->entries[least]))
                least = (uint32_t)child;
        }
        if (!before(&o->entries[least], e))
            return at;
        put(o, at, &o->entries[least]);
        at = least;
    }
}

/* e is put to where the hole at `at` is, or above or below it. */
static void settle(struct order *o, uint32_t at, const struct order_entry *e)
{
    uint32_t up = hole_up(o, at, e);

    put(o, up < at ? up : hole_down(o, at, e), e);
}

void order_init(struct order *o)
{
    *o = (struct order){.cap = 1};
    o->entries = &o->inside;
}

void order_free(struct order *o)
{
    if (o->entries != &o->inside)
        mem_free(o->entries);
    order_init(o);
}

bool order_reserve(struct order *o, uint32_t count)
{
    struct order_entry *entries;
    uint32_t cap;

    if (count <= o->cap)
        return true;
    if (count >= ORDER_ABSENT / 2)
        return false;
    cap = o->cap * 2 > count ? o->cap * 2 : count;
    entries = o->entries == &o->inside ? NULL : o->entries;
    entries = mem_realloc(entries, cap * sizeof *entries);
    if (!entries)
        return false;
    if (o->entries == &o->inside && o->len)
        entries[0] = o->inside;
    o->entries = entries;
    o->cap = cap;
    return true;
}

void order_put(struct order *o, struct order_item *item, struct order_key key, uint32_t tie)
{
    struct order_entry e = {key, item};

    if (!order_has(item)) {
        assert(o->len < o->cap);
        item->tie = tie;
        o->len++;
        put(o, hole_up(o, o->len - 1, &e), &e);
        return;
    }
    assert(item->at < o->len && o->entries[item->at].item == item);
    if (item->tie == tie && o->entries[item->at].key.first == key.first &&
        o->entries[item->at].key.second == key.second)
        return;
    item->tie = tie;
    settle(o, item->at, &e);
}

void order_remove(struct order *o, struct order_item *item)
{
    struct order_entry last;
    uint32_t at = item->at;

    if (!order_has(item))
        return;
    assert(at < o->len && o->entries[at].item == item);
    item->at = ORDER_ABSENT;
    last = o->entries[--o->len];
    if (last.item != item)
        settle(o, at, &last);
}

bool order_is_valid(const struct order *o)
{
    for (uint32_t i = 0; i < o->len; i++) {
        if (o->entries[i].item->at != i)
            return false;
        if (i > 0 && before(&o->entries[i], &o->entries[(i - 1) / CHILDREN]))
            return false;
    }
    return o->len <= o->cap;
}

void order_again(struct order *o)
{
    for (uint32_t i = o->len > 1 ? (o->len - 2) / CHILDREN + 1 : 0; i-- > 0;) {
        struct order_entry e = o->entries[i];

        put(o, hole_down(o, i, &e), &e);
    }
}
