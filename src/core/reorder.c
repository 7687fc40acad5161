#include "core/reorder.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

bool reorder_init(struct reorder *r, uint64_t window, uint64_t first_index)
{
    uint64_t places = 1;
    void **slots;

    assert(window >= 1);
    while (places < window)
        places *= 2;
    slots = mem_calloc((size_t)places, sizeof *slots);
    if (!slots)
        return false;
    *r =
        (struct reorder){.slots = slots, .mask = places - 1, .window = window, .next = first_index};
    return true;
}

bool reorder_enter(struct reorder *r, uint64_t index, void *item)
{
    void **slot = &r->slots[index & r->mask];

    assert(item);
    /* Unsigned: an index below next wraps to a huge distance and is refused too. */
    if (index - r->next >= r->window || *slot)
        return false;
    *slot = item;
    r->held++;
    return true;
}

/* The places in use are the first ones, without a gap. */
bool reorder_enter_any(struct reorder *r, void *item, uint32_t *ret_place)
{
    assert(item);
    if (r->held >= r->window)
        return false;
    *ret_place = (uint32_t)r->held;
    r->slots[r->held++] = item;
    return true;
}

void *reorder_take_any(struct reorder *r, uint32_t place)
{
    void *last;

    assert(place < r->held && r->slots[place]);
    last = r->slots[--r->held];
    r->slots[r->held] = NULL;
    if (place == r->held)
        return NULL;
    r->slots[place] = last;
    return last;
}

bool reorder_widen_any(struct reorder *r, uint64_t window)
{
    uint64_t before = r->mask + 1, places = before;
    void **slots;

    if (window <= r->window)
        return true;
    while (places < window)
        places *= 2;
    if (places > before) {
        slots = mem_realloc(r->slots, (size_t)places * sizeof *slots);
        if (!slots)
            return false;
        memset(slots + before, 0, (size_t)(places - before) * sizeof *slots);
        r->slots = slots;
        r->mask = places - 1;
    }
    r->window = window;
    return true;
}

void *reorder_first(const struct reorder *r)
{
    return r->slots[r->next & r->mask];
}

void reorder_advance(struct reorder *r)
{
    reorder_advance_many(r, 1);
}

void reorder_advance_many(struct reorder *r, uint64_t count)
{
    void **slot = &r->slots[r->next & r->mask];

    assert(*slot && r->held >= count && count > 0);
    *slot = NULL;
    r->held -= count;
    r->next += count;
}

bool reorder_reserve(struct reorder *r, uint64_t index, uint64_t count)
{
    if (index != r->next + r->held || count > r->window - r->held)
        return false;
    r->held += count;
    return true;
}

void reorder_fill(struct reorder *r, uint64_t index, void *item)
{
    void **slot = &r->slots[index & r->mask];

    assert(item && index - r->next < r->window && !*slot);
    *slot = item;
}

void *reorder_drain(struct reorder *r)
{
    /* Each place is looked at once: draining all takes time by the window and not by its square. */
    while (r->drained <= r->mask) {
        void **slot = &r->slots[(r->next + r->drained++) & r->mask];
        void *item = *slot;

        if (!item)
            continue;
        *slot = NULL;
        r->held -= r->held > 0;
        return item;
    }
    return NULL;
}

void reorder_free(struct reorder *r)
{
    r->slots = mem_free(r->slots);
}
