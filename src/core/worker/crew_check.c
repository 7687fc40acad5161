/*
 * What must hold of a crew, and looking at it: counts, and each worker. crew_check() counts
 * everything anew and compares it with what is kept.
 */
#include "core/worker/crew_internal.h"

#include <string.h>

/* ---- looking ---- */

struct crew_counts crew_counts(const struct crew *c)
{
    struct crew_counts counts = c->counts;

    memset(counts.by_state, 0, sizeof counts.by_state);
    memset(counts.by_health, 0, sizeof counts.by_health);
    counts.workers = c->count;
    list_foreach (node, &c->workers) {
        const struct worker *w = list_entry(node, const struct worker, link);

        counts.by_state[w->life.state]++;
        counts.by_health[w->health.health]++;
    }
    return counts;
}

void crew_each(struct crew *c, void (*fn)(void *ctx, const struct worker *w), void *ctx)
{
    for (size_t i = 0; i < c->place_count; i++) {
        if (c->places[i].worker)
            fn(ctx, c->places[i].worker);
    }
    list_foreach (node, &c->workers) {
        const struct worker *w = list_entry(node, const struct worker, link);

        if (!w->placed)
            fn(ctx, w);
    }
}

struct worker *crew_find(struct crew *c, uint64_t id)
{
    list_foreach (node, &c->workers) {
        struct worker *w = list_entry(node, struct worker, link);

        if (w->id == id)
            return w;
    }
    return NULL;
}

const struct crew_options *crew_get_options(const struct crew *c)
{
    return &c->options;
}

bool crew_all_affected(const struct crew *c)
{
    const size_t *placed = c->in_state[1];

    if (placed[WORKER_READY] + placed[WORKER_BUSY] > 0)
        return false;
    return c->start_failures > 0 || placed[WORKER_DEGRADED] >= c->options.size;
}

/* ---- checking ---- */

struct tallied {
    size_t count, permanent, extra, permanent_filled, extra_filled;
    size_t in_state[2][WORKER_STATES];
    size_t room, idle, partly, calling, starting_now;
};

static size_t length(const struct list *head)
{
    size_t n = 0;

    list_foreach (node, head)
        n++;
    return n;
}

static const char *check_end(const struct worker *w)
{
    enum worker_state state = w->life.state;

    if (w->retiring && (w->placed || w->sessions > 0 || !list_empty(&w->parked)))
        return "a worker that retires still has its place, sessions or tasks";
    if (w->ending && !w->retiring)
        return "a worker is being ended and could take work";
    if (w->ending && state != WORKER_INITIALIZING && state != WORKER_TERMINATING)
        return "a worker is being ended and in another state";
    if (state == WORKER_TERMINATING && !w->ending)
        return "a worker is terminating and nobody does anything about it";
    if (w->retiring && !w->why)
        return "a worker retires for no reason";
    return NULL;
}

static const char *check_state(const struct worker *w)
{
    enum worker_state state = w->life.state;
    bool healthy = w->health.health == HEALTH_HEALTHY;

    if (state == WORKER_TERMINATED)
        return "a worker that is gone is still there";
    if (w->in_flight > w->max_in_flight)
        return "a worker has more in hand than it may";
    if ((state == WORKER_READY || state == WORKER_INITIALIZING) && w->in_flight > 0)
        return "a worker has something in hand and is not busy";
    if (state == WORKER_BUSY && w->in_flight == 0 && !w->retiring)
        return "a worker is busy with nothing";
    if ((state == WORKER_READY || state == WORKER_BUSY) && !healthy)
        return "a worker is ready or busy, and not healthy";
    if (state == WORKER_DEGRADED && healthy)
        return "a worker is degraded, and healthy";
    if (w->ahead > w->in_flight)
        return "more is ahead of a ping than is in hand";
    return NULL;
}

static const char *check_room(const struct worker *w)
{
    bool takes = (w->life.state == WORKER_READY || w->life.state == WORKER_BUSY) && !w->retiring;
    bool parked = !list_empty(&w->parked);

    if (w->room > 0 && !takes)
        return "a worker that takes no work has room";
    if ((w->listed != CREW_ROOM_NONE) != (w->room > 0))
        return "a worker with room is on no list, or one without on some";
    if ((w->listed == CREW_ROOM_NONE) != list_empty(&w->room_link))
        return "a worker is not on the list that it says";
    if (w->listed != CREW_ROOM_NONE && (w->listed == CREW_ROOM_CALLING) != parked)
        return "a worker with parked tasks does not call, or one without does";
    if (w->listed == CREW_ROOM_IDLE && w->in_flight > 0)
        return "a worker with something in hand is among the idle ones";
    if (w->listed == CREW_ROOM_PARTLY && w->in_flight == 0)
        return "an idle worker is among those with something in hand";
    return NULL;
}

static void tally(const struct crew *c, const struct worker *w, struct tallied *t)
{
    t->count++;
    t->in_state[w->placed][w->life.state]++;
    t->room += w->room;
    t->idle += w->listed == CREW_ROOM_IDLE;
    t->partly += w->listed == CREW_ROOM_PARTLY;
    t->calling += w->listed == CREW_ROOM_CALLING;
    t->starting_now += w->life.state == WORKER_INITIALIZING && w->placed && w->round == c->round;
    if (w->extra) {
        t->extra++;
        t->extra_filled += w->placed;
    } else {
        t->permanent++;
        t->permanent_filled += w->placed;
    }
}

static const char *check_worker(const struct crew *c, const struct worker *w)
{
    const char *wrong = NULL;

    if (w->placed != (c->places[w->place - 1].worker == w))
        return "a worker has a place that is not its own, or none that is";
    if (w->place < 1 || w->place > c->place_count)
        return "a worker has a place that there is not";
    if (!heap_contains(&w->timer))
        return "a worker has no timer";
    if (length(&w->session_list) != w->sessions)
        return "a worker has another number of sessions than it counts";
    list_foreach (node, &w->session_list) {
        if (list_entry(node, const struct session, of_worker)->worker != w)
            return "a worker has a session of another one";
    }
    wrong = check_state(w);
    if (!wrong)
        wrong = check_end(w);
    if (!wrong)
        wrong = check_room(w);
    return wrong;
}

static const char *check_counts(const struct crew *c, const struct tallied *t)
{
    if (t->count != c->count || t->permanent != c->permanent || t->extra != c->extra)
        return "there are more or fewer workers than are counted";
    if (t->permanent_filled != c->permanent_filled || t->extra_filled != c->extra_filled)
        return "there are more or fewer filled places than are counted";
    if (t->permanent_filled > c->options.size || t->extra > c->options.overflow ||
        (t->permanent > c->options.size + CREW_SPARE && t->permanent > c->surplus))
        return "there are more workers than may be";
    if (c->options.size + c->options.overflow > c->place_count)
        return "there are fewer places than there may be workers";
    if (memcmp(t->in_state, c->in_state, sizeof t->in_state) != 0)
        return "the counts by state are not what there is";
    if (t->room != c->room)
        return "the room that is counted is not what there is";
    if (t->starting_now != c->starting_now)
        return "the workers that start are not as many as are counted";
    if (t->idle != length(&c->idle) || t->partly != length(&c->partly) ||
        t->calling != length(&c->calling))
        return "a list of workers with room has another length than there are such";
    if (c->timers.len != c->count || !heap_is_valid(&c->timers))
        return "the timers are not in order";
    return NULL;
}

const char *crew_check(const struct crew *c)
{
    struct tallied t = {0};
    size_t sessions = 0;
    const char *wrong;

    list_foreach (node, &c->workers) {
        const struct worker *w = list_entry(node, const struct worker, link);

        tally(c, w, &t);
        sessions += w->sessions;
        wrong = check_worker(c, w);
        if (wrong)
            return wrong;
    }
    wrong = check_counts(c, &t);
    if (!wrong)
        wrong = affinity_check(c->affinity);
    if (!wrong && affinity_counts(c->affinity).bound != sessions)
        wrong = "sessions are bound to workers that are not there";
    return wrong;
}
