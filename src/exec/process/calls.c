/*
 * See calls.h. A place is taken by the first id that finds it free on its way from its own place
 * on; so behind a removed one those are moved up that would not be found any more.
 */
#include "exec/process/calls.h"

#include "base/mem.h"

#include <assert.h>

#define CALLS_CAP_MIN 8

static size_t next_of(const struct calls *c, size_t i)
{
    return (i + 1) & (c->cap - 1);
}

static size_t home_of(const struct calls *c, uint64_t id)
{
    return (size_t)id & (c->cap - 1);
}

/* Where the id is, or where it would go. */
static size_t place_of(const struct calls *c, uint64_t id)
{
    size_t i = home_of(c, id);

    while (c->at[i].id != 0 && c->at[i].id != id)
        i = next_of(c, i);
    return i;
}

static int grow(struct calls *c)
{
    struct calls larger = {.cap = c->cap ? c->cap * 2 : CALLS_CAP_MIN, .count = c->count};

    larger.at = mem_calloc(larger.cap, sizeof *larger.at);
    if (!larger.at)
        return -1;
    for (size_t i = 0; i < c->cap; i++)
        if (c->at[i].id != 0)
            larger.at[place_of(&larger, c->at[i].id)] = c->at[i];
    mem_free(c->at);
    *c = larger;
    return 0;
}

struct call *calls_add(struct calls *c, uint64_t id)
{
    struct call *call;

    assert(id != 0);
    if (2 * (c->count + 1) >= c->cap && grow(c) != 0)
        return NULL;
    call = &c->at[place_of(c, id)];
    assert(call->id == 0);
    *call = (struct call){.id = id};
    c->count++;
    return call;
}

struct call *calls_find(const struct calls *c, uint64_t id)
{
    struct call *call;

    if (c->count == 0 || id == 0)
        return NULL;
    call = &c->at[place_of(c, id)];
    return call->id != 0 ? call : NULL;
}

void calls_remove(struct calls *c, struct call *call)
{
    size_t hole = (size_t)(call - c->at);

    for (size_t i = next_of(c, hole); c->at[i].id != 0; i = next_of(c, i)) {
        size_t way = (i - home_of(c, c->at[i].id)) & (c->cap - 1);

        /* It may go up when its own place is not behind the hole. */
        if (way >= ((i - hole) & (c->cap - 1))) {
            c->at[hole] = c->at[i];
            hole = i;
        }
    }
    c->at[hole].id = 0;
    c->count--;
}

void calls_close_gap(struct calls *c, uint64_t begin, uint64_t len)
{
    for (size_t i = 0; i < c->cap; i++) {
        struct call *call = &c->at[i];

        if (call->id != 0 && call->begin > begin) {
            call->begin -= len;
            call->end -= len;
        }
    }
}

struct call *calls_any(const struct calls *c)
{
    for (size_t i = 0; c->count > 0 && i < c->cap; i++)
        if (c->at[i].id != 0)
            return &c->at[i];
    return NULL;
}

void calls_free(struct calls *c)
{
    mem_free(c->at);
    *c = (struct calls){0};
}
