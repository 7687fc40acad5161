/*
 * Another number of permanent workers, while they work. Who is permanent is a matter of counting
 * and not of the place; so nobody moves: extra workers become permanent where they are, and the
 * surplus retires.
 */
#include "core/worker/crew_internal.h"

#include "base/error.h"
#include "base/mem.h"

#include <string.h>

/* In this order they go; within one, the last to come first. */
enum rank { RANK_STARTING, RANK_IDLE, RANK_IDLE_WITH_SESSIONS, RANK_BUSY, RANKS };

static enum rank rank_of(const struct worker *w)
{
    if (w->life.state == WORKER_INITIALIZING)
        return RANK_STARTING;
    if (w->in_flight > 0)
        return RANK_BUSY;
    return w->sessions > 0 || !list_empty(&w->parked) ? RANK_IDLE_WITH_SESSIONS : RANK_IDLE;
}

static void retire_surplus(struct crew *c, struct instant now)
{
    for (enum rank rank = RANK_STARTING; rank < RANKS; rank++) {
        struct list *node = c->workers.prev;

        while (node != &c->workers && c->permanent_filled > c->options.size) {
            struct worker *w = list_entry(node, struct worker, link);

            node = node->prev;
            if (w->placed && !w->extra && rank_of(w) == rank)
                crew_retire(c, w, "is one more than the pool is to have", now);
        }
    }
}

static void keep_extra(struct crew *c)
{
    list_foreach (node, &c->workers) {
        struct worker *w = list_entry(node, struct worker, link);

        if (c->permanent_filled == c->options.size || c->permanent >= c->options.size + CREW_SPARE)
            return;
        if (!w->placed || !w->extra)
            continue;
        w->extra = false;
        c->extra--;
        c->extra_filled--;
        c->permanent++;
        c->permanent_filled++;
    }
}

static bool grow_places(struct crew *c, size_t count)
{
    struct crew_place *places;

    if (!heap_reserve(&c->timers, count + CREW_SPARE))
        return false;
    places = mem_realloc(c->places, count * sizeof *places);
    if (!places)
        return false;
    memset(places + c->place_count, 0, (count - c->place_count) * sizeof *places);
    c->places = places;
    c->place_count = count;
    return true;
}

enum weir_status crew_set_size(struct crew *c, size_t size, struct instant now,
                               struct weir_error *err)
{
    size_t most = CREW_WORKERS_MAX - c->options.overflow, places = size + c->options.overflow;

    if (size < 1 || size > most)
        return error_set(err, WEIR_E_INVALID,
                         "size is %zu workers beside %zu of overflow; it must be from 1 to %zu",
                         size, c->options.overflow, most);
    if (places > c->place_count && !grow_places(c, places))
        return error_nomem(err);
    c->options.size = size;
    if (c->permanent > size + CREW_SPARE && c->surplus < c->permanent)
        c->surplus = c->permanent;
    retire_surplus(c, now);
    keep_extra(c);
    return WEIR_OK;
}
