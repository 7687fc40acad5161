/*
 * Limits that change while attempts run, the slots that these need, and pools that go.
 *
 * A limit that is lowered ends nothing: what runs beyond it goes on, and nothing starts until there
 * is room (permits.c). What had been handed over ahead of places, or in runs, and has not begun is
 * called back, for the executor would begin it. Slots are never fewer than they were: executors
 * have pointers to them.
 */
#include "core/internal.h"

#include "base/error.h"
#include "base/mem.h"

#include <assert.h>

/* Slots that are added at once where more attempts run than the pool's size says (a burst). */
#define SLOTS_MORE 16

/* ---- slots ---- */

bool slots_add(struct core_pool *p, size_t count)
{
    struct slot_chunk *c = mem_calloc(1, sizeof *c + count * sizeof c->slots[0]);

    if (!c)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct core_attempt_slot *s = &c->slots[i];

        s->pool = p;
        answer_init(&s->attempt.answer);
        list_push_back(&p->free_slots, &s->link);
    }
    c->next = p->chunks;
    p->chunks = c;
    p->slot_count += count;
    return true;
}

struct core_attempt_slot *slots_first(struct core_pool *p)
{
    if (list_empty(&p->free_slots) && !slots_add(p, SLOTS_MORE))
        return NULL;
    return list_entry(list_front(&p->free_slots), struct core_attempt_slot, link);
}

void slots_free(struct core_pool *p)
{
    while (p->chunks) {
        struct slot_chunk *c = p->chunks;

        p->chunks = c->next;
        mem_free(c);
    }
}

/* ---- limits ---- */

/* The permanent workers that a crew has for so many attempts at once. */
static size_t workers_for(const struct crew *crew, size_t size)
{
    const struct crew_options *o = crew_get_options(crew);
    size_t workers = (size - 1) / o->max_in_flight + 1;

    return workers > o->overflow ? workers - o->overflow : 1;
}

/* What is ahead has its places now. */
static void place_ahead(struct core_pool *p, struct instant now)
{
    struct list *first;

    while ((first = list_front(&p->ahead))) {
        struct core_attempt_slot *s = list_entry(first, struct core_attempt_slot, link);

        if (!permit_take(&p->permits, NULL, &s->permit))
            return;
        list_remove(&s->link);
        p->ahead_count--;
        list_push_back(&p->busy_slots, &s->link);
        slot_placed(s, now);
    }
}

static void call_back(struct core_pool *p)
{
    ahead_call_in(p, NULL);
    run_recall(p, NULL);
}

/* burst: so many more than its size may run at times; the executor must not hold them back. */
static enum weir_status make_room(struct core_pool *p, size_t size, size_t burst,
                                  struct instant now, struct weir_error *err)
{
    const struct core_executor_ops *ops = p->executor->ops;
    size_t most = size + burst, slots = most + p->ahead_max;
    enum weir_status status = WEIR_OK;

    if (p->slot_count < slots && !slots_add(p, slots - p->slot_count))
        return error_nomem(err);
    if (ops->resize)
        status = ops->resize(p->executor, most, err);
    if (status == WEIR_OK && p->crew)
        status = crew_set_size(p->crew, workers_for(p->crew, size), now, err);
    return status;
}

enum weir_status dispatcher_set_pool_limit(struct dispatcher *d, struct core_pool *pool,
                                           size_t size, struct instant now, struct weir_error *err)
{
    enum weir_status status;

    if (size < 1 || size > POOL_SIZE_MAX)
        return error_set(err, WEIR_E_INVALID, "the limit of pool \"%s\" is %zu; it must be 1 to %d",
                         pool->name, size, POOL_SIZE_MAX);
    if (pool->removed)
        return error_set(err, WEIR_E_SHUTDOWN, "pool \"%s\" is being removed", pool->name);
    status = make_room(pool, size, pool->permits.burst.places, now, err);
    if (status != WEIR_OK)
        return status;
    permit_settle(&pool->permits, now);
    if (size < pool->options.size)
        call_back(pool);
    pool->options.size = pool->permits.limit = pool->stats.pool_size = size;
    list_foreach (node, &d->batches) {
        struct core_batch *b = list_entry(node, struct core_batch, link);

        if (b->pool == pool)
            b->stats.pool_size = size;
    }
    place_ahead(pool, now);
    return WEIR_OK;
}

enum weir_status dispatcher_set_pool_burst(struct core_pool *pool, size_t places, double seconds,
                                           struct instant now, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    if (places > POOL_SIZE_MAX)
        return error_set(err, WEIR_E_INVALID,
                         "the burst of pool \"%s\" is %zu places; it must be 0 to %d", pool->name,
                         places, POOL_SIZE_MAX);
    if (places != pool->permits.burst.places) {
        status = make_room(pool, pool->options.size, places, now, err);
        if (status == WEIR_OK)
            call_back(pool); /* what is ahead would begin in the places of the burst */
    }
    if (status != WEIR_OK)
        return status;
    permit_settle(&pool->permits, now);
    pool->permits.burst.places = places;
    pool->permits.burst.seconds = seconds;
    return WEIR_OK;
}

void dispatcher_set_global_limit(struct dispatcher *d, size_t limit)
{
    d->options.global_limit = limit;
    d->permits.limit = limit ? limit : PERMITS_UNLIMITED;
    /* Rows in runs take their permits when others leave some: not where pools share a limit. */
    list_foreach (node, &d->pools) {
        struct core_pool *p = list_entry(node, struct core_pool, link);

        run_init(p);
        if (limit)
            call_back(p);
    }
}

/* ---- pools that go ---- */

void dispatcher_remove_pool(struct dispatcher *d, struct core_pool *pool, struct instant now)
{
    (void)d;
    if (pool->removed)
        return;
    pool->removed = true;
    call_back(pool);
    if (pool->crew)
        crew_shut_down(pool->crew, false, now);
}

/* Whether a batch may have rows in the pool. */
static bool refers_to(const struct core_batch *b, const struct core_pool *p)
{
    return b->pool == p || (b->pool->fallback == p && !b->options.single);
}

static bool is_gone(const struct dispatcher *d, const struct core_pool *p)
{
    if (!p->removed || p->permits.running > 0 || p->ahead_count > 0 || p->run_rows > 0 ||
        (p->crew && !crew_is_empty(p->crew)))
        return false;
    list_foreach (node, &d->batches)
        if (refers_to(list_entry(node, struct core_batch, link), p))
            return false;
    return true;
}

void pools_reap(struct dispatcher *d)
{
    struct dispatcher_host *host = d->options.host;

    list_foreach_safe (node, &d->pools) {
        struct core_pool *p = list_entry(node, struct core_pool, link);

        if (!is_gone(d, p))
            continue;
        list_foreach (other, &d->pools) {
            struct core_pool *o = list_entry(other, struct core_pool, link);

            if (o->fallback == p)
                o->fallback = NULL;
        }
        d->pool_count--;
        d->crew_count -= p->crew != NULL;
        if (host->pool_gone)
            host->pool_gone(host, p);
        pool_free(p);
    }
}
