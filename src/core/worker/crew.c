/*
 * A crew's making and taking apart, the starts of its workers, and what is due when. What each
 * worker is due for follows from its own fields (due_of()); the heap only says whom to look at, and
 * may say so too early.
 */
#include "core/worker/crew_internal.h"

#include "base/error.h"
#include "base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Of the text that an event of a transition has. */
#define TOLD_BYTES (WORKER_MORE_BYTES + 176)

/* ---- options ---- */

void crew_options_init(struct crew_options *o)
{
    *o = (struct crew_options){
        .size = 1,
        .order = CREW_LIFO,
        .max_in_flight = 1,
        .init_timeout_ns = 30 * NS_PER_S,
        .overflow_idle_ns = 10 * NS_PER_S,
        .shutdown_grace_ns = 5 * NS_PER_S,
        .term_grace_ns = 5 * NS_PER_S,
        .restart = {.kind = BACKOFF_EXPONENTIAL,
                    .initial_ns = 1 * NS_PER_S,
                    .factor = 2,
                    .ceiling_ns = 30 * NS_PER_S},
    };
    health_options_init(&o->health);
    affinity_options_init(&o->affinity);
}

static enum weir_status above_zero(const char *name, duration_ns d, struct weir_error *err)
{
    if (d > 0)
        return WEIR_OK;
    return error_set(err, WEIR_E_INVALID, "%s is %g s; it must be above 0", name,
                     duration_seconds(d));
}

static enum weir_status not_below_zero(const char *name, duration_ns d, struct weir_error *err)
{
    if (d >= 0)
        return WEIR_OK;
    return error_set(err, WEIR_E_INVALID, "%s is %g s; it must be 0 or more", name,
                     duration_seconds(d));
}

static enum weir_status check_sizes(const struct crew_options *o, struct weir_error *err)
{
    if (o->size < 1 || o->size > CREW_WORKERS_MAX)
        return error_set(err, WEIR_E_INVALID, "size is %zu workers; it must be from 1 to %d",
                         o->size, CREW_WORKERS_MAX);
    if (o->overflow > CREW_WORKERS_MAX - o->size)
        return error_set(err, WEIR_E_INVALID,
                         "overflow is %zu workers beside %zu; both together must be at most %d",
                         o->overflow, o->size, CREW_WORKERS_MAX);
    if (o->max_in_flight < 1 || o->max_in_flight > CREW_IN_FLIGHT_MAX)
        return error_set(err, WEIR_E_INVALID,
                         "max_in_flight is %u requests; it must be from 1 to %d",
                         (unsigned)o->max_in_flight, CREW_IN_FLIGHT_MAX);
    if (o->order != CREW_LIFO && o->order != CREW_FIFO)
        return error_set(err, WEIR_E_INVALID, "order is %d; it must be lifo or fifo",
                         (int)o->order);
    return WEIR_OK;
}

enum weir_status crew_options_check(const struct crew_options *o, struct weir_error *err)
{
    enum weir_status status = check_sizes(o, err);

    if (status == WEIR_OK)
        status = above_zero("init_timeout", o->init_timeout_ns, err);
    if (status == WEIR_OK)
        status = above_zero("overflow_idle", o->overflow_idle_ns, err);
    if (status == WEIR_OK)
        status = not_below_zero("recycle_age", o->recycle_age_ns, err);
    if (status == WEIR_OK)
        status = not_below_zero("shutdown_grace", o->shutdown_grace_ns, err);
    if (status == WEIR_OK)
        status = not_below_zero("term_grace", o->term_grace_ns, err);
    if (status == WEIR_OK)
        status = health_options_check(&o->health, err);
    if (status == WEIR_OK)
        status = backoff_options_check(&o->restart, err);
    if (status == WEIR_OK)
        status = affinity_options_check(&o->affinity, err);
    return status;
}

/* ---- making ---- */

static bool due_earlier(const struct heap_node *x, const struct heap_node *y)
{
    const struct worker *a = list_entry(x, const struct worker, timer);
    const struct worker *b = list_entry(y, const struct worker, timer);

    return a->timer_at.ns != b->timer_at.ns ? a->timer_at.ns < b->timer_at.ns : a->id < b->id;
}

enum weir_status crew_new(const struct crew_options *o, struct crew_edge *edge,
                          struct crew_host *host, struct instant now, struct crew **ret,
                          struct weir_error *err)
{
    size_t places = o->size + o->overflow;
    struct crew *c = mem_calloc(1, sizeof *c);
    enum weir_status status;

    if (!c)
        return error_nomem(err);
    c->options = *o;
    c->place_count = places;
    c->edge = edge;
    c->host = host;
    c->takes = 1;
    c->paused_until = c->held_until = INSTANT_NONE;
    rng_seed(&c->rng, o->affinity.seed);
    list_init(&c->workers);
    list_init(&c->idle);
    list_init(&c->partly);
    list_init(&c->calling);
    list_init(&c->orphans);
    heap_init(&c->timers, due_earlier);
    c->places = mem_calloc(places, sizeof *c->places);
    if (c->places && heap_reserve(&c->timers, places + CREW_SPARE))
        status = affinity_new(&o->affinity, now, &c->affinity, err);
    else
        status = error_nomem(err);
    if (status == WEIR_OK)
        *ret = c;
    else
        crew_free(c);
    return status;
}

struct crew *crew_free(struct crew *c)
{
    if (!c)
        return NULL;
    assert(c->count == 0);
    assert(list_empty(&c->orphans));
    affinity_free(c->affinity);
    heap_free(&c->timers);
    mem_free(c->places);
    return mem_free(c);
}

/* ---- telling ---- */

static void tell(struct crew *c, struct worker *w, const char *what, struct instant now)
{
    const struct worker_transition *t = life_last(&w->life, 0);
    bool routine = (t->from == WORKER_READY && t->to == WORKER_BUSY) ||
                   (t->from == WORKER_BUSY && t->to == WORKER_READY);
    struct core_event ev = {
        .kind = EVENT_WORKER_TRANSITION,
        .at = now,
        .pool = c->options.pool,
        .worker = w->id,
        .transition = t,
    };
    char text[TOLD_BYTES], more[WORKER_MORE_BYTES];

    /* Two for each request: no text is made for them. */
    if (!routine) {
        life_cut(more, sizeof more, what ? what : "");
        snprintf(text, sizeof text, "%s -> %s: %s%s%s (after %.3g s)", worker_state_name(t->from),
                 worker_state_name(t->to), t->reason, more[0] ? ": " : "", more,
                 duration_seconds(t->lasted_ns));
        ev.detail = text;
        ev.more = more;
    }
    c->host->tell(c->host, &ev);
}

void crew_move(struct crew *c, struct worker *w, enum worker_state to, const char *reason,
               const char *what, struct instant now)
{
    enum worker_state from = w->life.state;
    bool moved = life_move(&w->life, to, reason, what, now);

    assert(moved);
    (void)moved;
    c->in_state[w->placed][from]--;
    c->in_state[w->placed][to]++;
    if (c->host && c->host->tell)
        tell(c, w, what, now);
}

/* ---- what is due ---- */

static struct instant due_of(const struct crew *c, const struct worker *w)
{
    const struct crew_options *o = &c->options;
    bool idle = w->in_flight == 0;
    struct instant due = INSTANT_NEVER;

    if (w->ending)
        return w->ends_at;
    if (w->retiring)
        return idle ? INSTANT_NONE : INSTANT_NEVER;
    if (w->life.state == WORKER_INITIALIZING)
        return instant_add(w->started_at, o->init_timeout_ns);
    if (idle || w->health.asking || w->health.health != HEALTH_HEALTHY)
        due = health_when(&w->health);
    due = instant_min(due, w->ages_at);
    if (w->extra && idle)
        due = instant_min(due, instant_add(w->idle_since, o->overflow_idle_ns));
    return due;
}

void crew_arm(struct crew *c, struct worker *w)
{
    struct instant due = due_of(c, w);

    if (instant_before(due, w->timer_at)) {
        w->timer_at = due;
        heap_moved(&c->timers, &w->timer);
    }
}

void crew_ask(struct crew *c, struct worker *w, struct instant now)
{
    health_asked(&w->health, now);
    w->ahead = w->in_flight;
    if (w->ahead > 0)
        health_behind(&w->health);
    c->edge->ping(c->edge, w);
}

static void check_failed(struct crew *c, struct worker *w, const char *text, struct instant now)
{
    enum health_verdict verdict = health_failed(&w->health, now);

    if (verdict == HEALTH_REPLACE) {
        crew_kill(c, w, "failed its health checks", text, now);
        return;
    }
    if (w->life.state != WORKER_DEGRADED)
        crew_move(c, w, WORKER_DEGRADED, "failed a health check", text, now);
    crew_relist(c, w);
}

/* Whether no other worker is missing already. */
static bool can_do_without(const struct crew *c)
{
    return c->in_state[1][WORKER_INITIALIZING] == 0 && c->permanent == c->permanent_filled &&
           (c->options.lazy || c->permanent == c->options.size);
}

/* It is not being ended, and was ready once: an extra worker's idle time, its age, or its health. */
static void act_on_due(struct crew *c, struct worker *w, struct instant now)
{
    const struct crew_options *o = &c->options;

    if (!instant_before(now, w->ages_at)) {
        if (can_do_without(c)) {
            c->counts.recycled++;
            crew_retire(c, w, "is as old as it may be", now);
            return;
        }
        w->ages_at = instant_add(now, CREW_AGE_AGAIN_NS);
    }
    if (w->extra && w->in_flight == 0 &&
        !instant_before(now, instant_add(w->idle_since, o->overflow_idle_ns))) {
        if (w->sessions == 0 && list_empty(&w->parked)) {
            c->counts.expired_overflow++;
            crew_retire(c, w, "is not needed any more", now);
            return;
        }
        w->idle_since = now; /* sessions expire first */
    }
    if (instant_before(now, health_when(&w->health)))
        return;
    if (w->health.asking)
        check_failed(c, w, "no answer to a ping in time", now);
    else if (w->in_flight == 0 || w->health.health != HEALTH_HEALTHY)
        crew_ask(c, w, now);
}

static void fire(struct crew *c, struct worker *w, struct instant now)
{
    if (instant_before(now, due_of(c, w)))
        return;
    if (w->ending || w->retiring)
        crew_go_on_ending(c, w, now);
    else if (w->life.state == WORKER_INITIALIZING)
        crew_fail_start(c, w, "did not answer its first ping in time", NULL, now);
    else
        act_on_due(c, w, now);
}

static void fire_due(struct crew *c, struct instant now)
{
    struct heap_node *first;

    while ((first = heap_first(&c->timers))) {
        struct worker *w = list_entry(first, struct worker, timer);

        if (instant_before(now, w->timer_at))
            break;
        fire(c, w, now);
        w->timer_at = due_of(c, w);
        heap_moved(&c->timers, &w->timer);
    }
}

/* ---- starting ---- */

void crew_start_failed(struct crew *c, uint64_t round, struct instant now)
{
    c->strikes++;
    if (round != c->round && c->start_failures > 0)
        return;
    c->round++;
    c->starting_now = 0;
    c->start_failures++;
    c->pause_ns = backoff_wait(&c->options.restart, c->start_failures, c->pause_ns, &c->rng);
    c->paused_until = instant_add(now, c->pause_ns);
}

static void end_pause(struct crew *c)
{
    c->start_failures = 0;
    c->pause_ns = 0;
    c->paused_until = INSTANT_NONE;
}

void crew_proved(struct crew *c, struct worker *w)
{
    c->short_lives = 0;
    if (w->unproved)
        end_pause(c);
    w->unproved = false;
}

/* Tasks that are ready beyond what the workers that are there, or are starting, will take. */
static size_t shortage(const struct crew *c)
{
    size_t coming = c->room + c->in_state[1][WORKER_INITIALIZING] * (size_t)c->takes;

    return c->wanted > coming ? c->wanted - coming : 0;
}

enum wish { WISH_NOTHING, WISH_PERMANENT, WISH_EXTRA };

/* Which place is to be filled next, of those for which a process may be started. */
static enum wish wish_of(const struct crew *c)
{
    bool short_of = shortage(c) > 0;

    if (c->shutting_down)
        return WISH_NOTHING;
    if (c->permanent_filled < c->options.size && c->permanent < c->options.size + CREW_SPARE &&
        (short_of || !c->options.lazy))
        return WISH_PERMANENT;
    if (short_of && c->extra < c->options.overflow)
        return WISH_EXTRA;
    return WISH_NOTHING;
}

static size_t vacant_place(const struct crew *c, bool extra)
{
    size_t at = extra ? c->options.size : 0;

    /* Where the size was changed, permanent ones may be among the extra places. */
    while (at < c->place_count && c->places[at].worker)
        at++;
    if (at == c->place_count)
        for (at = 0; c->places[at].worker;)
            at++;
    assert(at < c->place_count);
    return at;
}

static struct worker *worker_new(struct crew *c, size_t at, bool extra, struct instant now)
{
    struct worker *w = mem_alloc(sizeof *w);

    if (!w)
        return NULL;
    /* The history is not set to anything: it is the largest part by far. */
    memset(w, 0, offsetof(struct worker, life));
    memset(&w->health, 0, sizeof *w - offsetof(struct worker, health));
    w->id = ++c->last_id;
    w->place = at + 1;
    w->extra = extra;
    w->started_at = w->idle_since = now;
    w->ready_at = INSTANT_NEVER;
    w->max_in_flight = 1;
    w->memory_at = INSTANT_NONE;
    w->ends_at = INSTANT_NEVER;
    w->ages_at =
        c->options.recycle_age_ns > 0 ? instant_add(now, c->options.recycle_age_ns) : INSTANT_NEVER;
    w->round = c->round;
    life_init(&w->life, now);
    health_init(&w->health, &c->options.health, now);
    list_init(&w->session_list);
    list_init(&w->parked);
    list_init(&w->room_link);
    heap_node_init(&w->timer);
    return w;
}

/* False: no memory, which is like a start that has failed. */
static bool start(struct crew *c, bool extra, struct instant now)
{
    size_t at = vacant_place(c, extra);
    struct worker *w = worker_new(c, at, extra, now);

    if (!w) {
        c->counts.failed_starts++;
        crew_start_failed(c, c->round, now);
        return false;
    }
    c->counts.started++;
    c->counts.replaced += c->places[at].was_filled;
    c->places[at] = (struct crew_place){w, true};
    w->placed = true;
    c->in_state[1][WORKER_INITIALIZING]++;
    c->count++;
    *(extra ? &c->extra : &c->permanent) += 1;
    *(extra ? &c->extra_filled : &c->permanent_filled) += 1;
    c->starting_now++;
    list_push_back(&c->workers, &w->link);
    w->timer_at = due_of(c, w);
    heap_push(&c->timers, &w->timer);
    c->edge->spawn(c->edge, w);
    return true;
}

/* Returns when the next start may be, if one is wished for. */
static struct instant start_wished(struct crew *c, struct instant now)
{
    struct instant from = instant_max(c->held_until, c->paused_until);
    enum wish wish;

    while ((wish = wish_of(c)) != WISH_NOTHING) {
        if (instant_before(now, from))
            return from;
        if (c->start_failures > 0 && c->starting_now > 0)
            break; /* it will show whether another one is worth it */
        if (!start(c, wish == WISH_EXTRA, now))
            return c->paused_until;
    }
    return INSTANT_NEVER;
}

/* ---- the calls that are about all this ---- */

struct instant crew_run(struct crew *c, struct instant now)
{
    struct instant wake, sweep = affinity_when(c->affinity);
    struct heap_node *first;

    if (!instant_before(now, sweep)) {
        affinity_sweep(c->affinity, now);
        sweep = affinity_when(c->affinity);
    }
    fire_due(c, now);
    wake = instant_min(start_wished(c, now), sweep);
    c->spreading = c->spreading && instant_before(now, c->spread_until);
    if (crew_spreads(c))
        wake = instant_min(wake, c->spread_until);
    first = heap_first(&c->timers);
    return first ? instant_min(wake, list_entry(first, struct worker, timer)->timer_at) : wake;
}

void crew_want(struct crew *c, size_t tasks, struct instant now)
{
    (void)now;
    c->wanted = tasks;
}

void crew_hold_starts(struct crew *c, struct instant until)
{
    c->held_until = until;
}

uint32_t crew_take_strikes(struct crew *c)
{
    uint32_t strikes = c->strikes;

    c->strikes = 0;
    return strikes;
}

void crew_spawned(struct crew *c, struct worker *w, int64_t pid, struct instant now)
{
    w->pid = pid;
    if (w->ending)
        return;
    assert(w->life.state == WORKER_INITIALIZING);
    crew_ask(c, w, now);
}

static void first_pong(struct crew *c, struct worker *w, uint32_t max_in_flight, struct instant now)
{
    health_passed(&w->health, now);
    if (max_in_flight > 0)
        w->max_in_flight =
            max_in_flight < c->options.max_in_flight ? max_in_flight : c->options.max_in_flight;
    c->takes = w->max_in_flight;
    if (c->counts.ready_once++ == 0) {
        duration_ns took = instant_diff(now, w->started_at);

        c->spreading = true;
        c->spread_until = instant_add(now, took > CREW_SPREAD_NS ? took : CREW_SPREAD_NS);
    }
    if (w->placed && w->round == c->round)
        c->starting_now--;
    w->unproved = c->short_lives >= CREW_SHORT_LIVES;
    if (!w->unproved)
        end_pause(c);
    w->ready_at = w->idle_since = now;
    crew_move(c, w, WORKER_READY, "answered its first ping", NULL, now);
}

void crew_pong(struct crew *c, struct worker *w, bool ok, const char *text, uint32_t max_in_flight,
               struct instant now)
{
    if (!w->health.asking || w->ending)
        return;
    if (w->life.state == WORKER_INITIALIZING) {
        if (!ok) {
            crew_fail_start(c, w, "answered its first ping with an error", text, now);
            return;
        }
        first_pong(c, w, max_in_flight, now);
    } else if (!ok) {
        check_failed(c, w, text, now);
    } else {
        crew_proved(c, w);
        health_passed(&w->health, now);
        if (w->life.state == WORKER_DEGRADED) {
            crew_move(c, w, WORKER_READY, "passed a health check", NULL, now);
            if (w->in_flight > 0)
                crew_move(c, w, WORKER_BUSY, "has requests in hand still", NULL, now);
        }
    }
    crew_relist(c, w);
    crew_arm(c, w);
}
