/* The slot of a session is found again from nothing but its list, so dropping one leaves the slot's bit: see first_slot(). */
#include "core/worker/session_order.h"

#include "core/worker/affinity.h"

#include <assert.h>

static struct session *session_of(struct list *node)
{
    return list_entry(node, struct session, by_use);
}

/* Times before 0 too are in order. */
static uint64_t tick_of(struct instant t)
{
    return ((uint64_t)t.ns ^ (uint64_t)1 << 63) >> ORDER_TICK_BITS;
}

void session_order_init(struct session_order *o, struct instant now)
{
    *o = (struct session_order){.base = tick_of(now) & ~(uint64_t)(ORDER_SLOTS - 1)};
    for (int level = 0; level < ORDER_LEVELS; level++) {
        for (int slot = 0; slot < ORDER_SLOTS; slot++)
            list_init(&o->slots[level][slot]);
    }
}

void session_order_put(struct session_order *o, struct session *s)
{
    uint64_t key = tick_of(s->used_at), differ;
    unsigned level, slot;

    assert(!s->listed && s->users == 0);
    if (key < o->base)
        key = o->base; /* the clock went back; it is looked at a little later */
    differ = key ^ o->base;
    level = differ ? (63 - (unsigned)__builtin_clzll(differ)) / ORDER_DIGIT_BITS : 0;
    slot = key >> (level * ORDER_DIGIT_BITS) & (ORDER_SLOTS - 1);
    list_push_back(&o->slots[level][slot], &s->by_use);
    o->filled[level] |= (uint64_t)1 << slot;
    s->listed = true;
}

void session_order_drop(struct session *s)
{
    list_remove(&s->by_use);
    s->listed = false;
}

/* Puts it where it belongs by now, or takes it out. */
static void put_again(struct session_order *o, struct session *s)
{
    session_order_drop(s);
    if (s->users == 0)
        session_order_put(o, s);
}

/* The first slot that has a session, with its level; NULL: none has. */
static struct list *first_slot(struct session_order *o, unsigned *ret_level)
{
    for (unsigned level = 0; level < ORDER_LEVELS; level++) {
        while (o->filled[level]) {
            unsigned slot = (unsigned)__builtin_ctzll(o->filled[level]);

            *ret_level = level;
            if (!list_empty(&o->slots[level][slot]))
                return &o->slots[level][slot];
            o->filled[level] &= o->filled[level] - 1;
        }
    }
    return NULL;
}

/* Base becomes the first tick of that slot: what is in it belongs to lower levels. */
static void leave_slot(struct session_order *o, unsigned level, struct list *slot)
{
    unsigned shift = level * ORDER_DIGIT_BITS;
    uint64_t above = o->base >> shift >> ORDER_DIGIT_BITS << ORDER_DIGIT_BITS;

    o->base = (above | (uint64_t)(slot - o->slots[level])) << shift;
    o->leaving = slot;
}

struct session *session_order_first(struct session_order *o, size_t *looks)
{
    while (*looks > 0) {
        struct list *slot = o->leaving;
        unsigned level = 0;
        struct session *s;

        if (slot && list_empty(slot))
            slot = o->leaving = NULL;
        if (!slot)
            slot = first_slot(o, &level);
        if (!slot)
            return NULL;
        if (level > 0) {
            leave_slot(o, level, slot);
            continue;
        }
        --*looks;
        s = session_of(slot->next);
        if (!o->leaving && s->users == 0 &&
            tick_of(s->used_at) <=
                ((o->base & ~(uint64_t)(ORDER_SLOTS - 1)) | (uint64_t)(slot - o->slots[0])))
            return s;
        put_again(o, s);
    }
    return NULL;
}

/* ---- checking ---- */

static const char *check_slot(const struct session_order *o, unsigned level, unsigned slot)
{
    const struct list *head = &o->slots[level][slot];
    unsigned shift = level * ORDER_DIGIT_BITS;
    uint64_t above = o->base >> shift >> ORDER_DIGIT_BITS << ORDER_DIGIT_BITS;
    uint64_t from = (above | slot) << shift;

    if (list_empty(head))
        return NULL;
    if (!(o->filled[level] >> slot & 1))
        return "a slot has sessions, and its bit says that it has none";
    if (head != o->leaving && from < o->base && level > 0)
        return "a slot with sessions is before what is in front";
    list_foreach (node, head) {
        const struct session *s = list_entry(node, const struct session, by_use);

        if (!s->listed)
            return "a session is on a list, and does not say so";
        /* One that is used only gets later; before base are those that came when the clock had gone back. */
        if (tick_of(s->used_at) < from && from > o->base)
            return "a session is kept for later than when it was used";
    }
    return NULL;
}

const char *session_order_check(const struct session_order *o,
                                const char *(*fn)(void *ctx, const struct session *s), void *ctx)
{
    for (unsigned level = 0; level < ORDER_LEVELS; level++) {
        for (unsigned slot = 0; slot < ORDER_SLOTS; slot++) {
            const char *wrong = check_slot(o, level, slot);

            if (wrong)
                return wrong;
            list_foreach (node, &o->slots[level][slot]) {
                wrong = fn(ctx, list_entry(node, const struct session, by_use));
                if (wrong)
                    return wrong;
            }
        }
    }
    return NULL;
}
