/*
 * Who gets a task. A worker with room is on one of three lists: idle, partly (something in hand),
 * or calling (something parked, which comes before anything else). Each is a queue, so that
 * choosing is O(1); crew_relist() is the only place that puts a worker on one.
 */
#include "core/worker/crew_internal.h"

#include <assert.h>

static bool takes(const struct crew *c, const struct worker *w)
{
    uint64_t most = c->options.recycle_requests;

    return (w->life.state == WORKER_READY || w->life.state == WORKER_BUSY) &&
           w->health.health == HEALTH_HEALTHY && !w->retiring && w->in_flight < w->max_in_flight &&
           (most == 0 || w->given < most);
}

/* Requests that it can be given now. */
static uint32_t room_of(const struct crew *c, const struct worker *w)
{
    uint64_t most = c->options.recycle_requests;
    uint32_t room;

    if (!takes(c, w))
        return 0;
    room = w->max_in_flight - w->in_flight;
    return most > 0 && most - w->given < room ? (uint32_t)(most - w->given) : room;
}

static enum crew_room list_of(const struct worker *w, uint32_t room)
{
    if (room == 0)
        return CREW_ROOM_NONE;
    if (!list_empty(&w->parked))
        return CREW_ROOM_CALLING;
    return w->in_flight == 0 ? CREW_ROOM_IDLE : CREW_ROOM_PARTLY;
}

void crew_relist(struct crew *c, struct worker *w)
{
    uint32_t room = room_of(c, w);
    enum crew_room to = list_of(w, room);

    c->room = c->room - w->room + room;
    w->room = room;
    if (to == w->listed)
        return;
    w->listed = to;
    list_remove(&w->room_link);
    switch (to) {
    case CREW_ROOM_NONE:
        break;
    case CREW_ROOM_IDLE:
        if (c->options.order == CREW_LIFO)
            list_push_front(&c->idle, &w->room_link);
        else
            list_push_back(&c->idle, &w->room_link);
        break;
    case CREW_ROOM_PARTLY:
        list_push_back(&c->partly, &w->room_link);
        break;
    case CREW_ROOM_CALLING:
        list_push_back(&c->calling, &w->room_link);
        break;
    }
}

static struct worker *worker_of_room(struct list *node)
{
    return list_entry(node, struct worker, room_link);
}

/* ---- choosing ---- */

static void least_sessions(struct list *head, struct worker **best)
{
    list_foreach (node, head) {
        struct worker *w = worker_of_room(node);

        if (!*best || w->sessions < (*best)->sessions)
            *best = w;
        if ((*best)->sessions == 0)
            return;
    }
}

bool crew_spreads(const struct crew *c)
{
    return c->spreading && c->counts.ready_once < c->options.size && c->start_failures == 0 &&
           c->in_state[1][WORKER_INITIALIZING] > 0;
}

enum crew_pick crew_pick(struct crew *c, const struct session *s, struct worker **ret)
{
    struct worker *w = NULL;
    struct list *node;

    if (s && s->worker) {
        *ret = s->worker;
        return takes(c, s->worker) ? CREW_TAKE : CREW_WAIT;
    }
    if (s) {
        least_sessions(&c->idle, &w);
        least_sessions(&c->partly, &w);
        if (w && w->sessions > 0 && crew_spreads(c))
            return CREW_SPREAD;
    } else {
        node = list_front(&c->idle);
        if (!node)
            node = list_front(&c->partly);
        if (node)
            w = worker_of_room(node);
    }
    if (!w)
        return CREW_NONE;
    *ret = w;
    return CREW_TAKE;
}

struct worker *crew_another(struct crew *c, uint64_t id)
{
    struct list *const lists[] = {&c->idle, &c->partly};

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        list_foreach (node, lists[i])
            if (worker_of_room(node)->id != id)
                return worker_of_room(node);
    return NULL;
}

bool crew_give(struct crew *c, struct worker *w, struct session *s, struct instant now)
{
    assert(takes(c, w));
    assert(!s || !s->worker || s->worker == w);
    if (s && s->worker)
        affinity_use(c->affinity, s, true, now);
    else if (s)
        affinity_bind(c->affinity, s, w, now);
    w->given++;
    if (w->in_flight++ == 0)
        crew_move(c, w, WORKER_BUSY, "was given a request", NULL, now);
    /* The next request goes to the next one, so that all have about as many. */
    if (w->listed == CREW_ROOM_PARTLY) {
        list_remove(&w->room_link);
        list_push_back(&c->partly, &w->room_link);
    }
    crew_relist(c, w);
    return s && affinity_take_lost(s);
}

/* ---- parking ---- */

void crew_park(struct crew *c, struct worker *w, struct list *task)
{
    assert(!w->retiring);
    list_push_back(&w->parked, task);
    crew_relist(c, w);
}

void crew_unpark(struct crew *c, struct worker *w, struct list *task)
{
    list_remove(task);
    if (w)
        crew_relist(c, w);
}

struct worker *crew_calling(struct crew *c)
{
    struct list *node = list_front(&c->calling);

    return node ? worker_of_room(node) : NULL;
}

struct list *crew_take_orphan(struct crew *c)
{
    return list_pop_front(&c->orphans);
}

struct affinity *crew_affinity(struct crew *c)
{
    return c->affinity;
}

/* ---- what comes back ---- */

static bool too_large(struct crew *c, struct worker *w, struct instant now)
{
    uint64_t most = c->options.recycle_memory_bytes;

    if (most == 0 || !c->edge->memory ||
        instant_before(now, instant_add(w->memory_at, CREW_MEMORY_EVERY_NS)))
        return false;
    w->memory_at = now;
    w->memory_bytes = c->edge->memory(c->edge, w);
    return w->memory_bytes > most;
}

/* After a request: whether it is time for another worker. */
static void recycle_if_due(struct crew *c, struct worker *w, struct instant now)
{
    uint64_t most = c->options.recycle_requests;
    const char *why = NULL;

    if (w->retiring)
        return;
    if (most > 0 && w->given >= most && w->in_flight == 0)
        why = "has had as many requests as it may";
    else if (too_large(c, w, now))
        why = "uses more memory than it may";
    if (!why)
        return;
    c->counts.recycled++;
    crew_retire(c, w, why, now);
}

static void count_answer(struct crew *c, struct worker *w, enum crew_answer how)
{
    w->requests++;
    w->ok += how == CREW_ANSWER_OK;
    w->failed += how == CREW_ANSWER_ERROR;
    crew_proved(c, w);
}

void crew_answered(struct crew *c, struct worker *w, struct session *s, enum crew_answer how,
                   struct instant now)
{
    assert(w->in_flight > 0);
    if (s && s->worker == w)
        affinity_use(c->affinity, s, false, now);
    if (s && how == CREW_ANSWER_UNSENT)
        affinity_untold(s);
    else if (s)
        affinity_told(s);
    w->in_flight--;
    if (w->ahead > 0 && --w->ahead == 0)
        health_cleared(&w->health, now);
    if (how == CREW_ANSWER_NONE) {
        crew_retire(c, w, "left a request without an answer", now);
        crew_arm(c, w); /* it may have been retiring already, and this was the last one */
        return;
    }
    if (how == CREW_ANSWER_UNSENT) {
        w->given--;
    } else {
        count_answer(c, w, how);
        health_seen(&w->health, now);
    }
    if (w->in_flight == 0) {
        w->idle_since = now;
        if (w->life.state == WORKER_BUSY)
            crew_move(c, w, WORKER_READY, "has answered", NULL, now);
    }
    recycle_if_due(c, w, now);
    if (how == CREW_ANSWER_ERROR && !w->retiring && !w->health.asking &&
        w->health.health == HEALTH_HEALTHY)
        crew_ask(c, w, now);
    crew_relist(c, w);
    crew_arm(c, w);
}
