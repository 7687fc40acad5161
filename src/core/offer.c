/*
 * Rows that are one attempt each, offered by who decides what follows (core/desk.h). Such a row
 * never waits here: it runs at once, or nothing has happened. So all that could hold it up is
 * looked at first, and what can fail is had before the first thing that cannot be undone, which is
 * the gate's ticket:
 *
 *     held?  can it ever?  permit free?  gate and breaker open?  worker with room?     what is asked changes nothing
 *     memory, window, slot, permit, what the caller makes of the slots' numbers        given back when one fails
 *     accepted, its session taken, the gate's ticket, started                          cannot fail
 *
 * When its attempt ends, so does the row, with whatever outcome: judge() in finish.c sees to that.
 */
#include "core/internal.h"

#include "base/error.h"
#include "base/mem.h"

#include <assert.h>
#include <string.h>

/* What a row that may start has been promised so far. */
struct promise {
    struct core_attempt_slot *slot;
    struct worker *worker; /* of pools with a crew */
    size_t in_flight;      /* that the gate was asked with */
};

static bool is_held(const struct core_pool *p)
{
    return p->held || p->removed;
}

static enum core_offer_result can_never(const struct core_pool *p, const struct core_task *t,
                                        struct weir_error *err)
{
    if (p->crew && t->session && !session_name_fits(t)) {
        (void)error_set(err, WEIR_E_INVALID,
                        "the session has a name of %zu bytes; it must have 1 to %d: give it "
                        "another name, or none",
                        strlen(t->session), AFFINITY_NAME_BYTES_MAX);
        return OFFER_NEVER;
    }
    if (!gate_fits(&p->gate, t->tokens)) {
        (void)error_set(err, WEIR_E_INVALID,
                        "it needs about %lld tokens and the budget is %lld a minute: it could "
                        "never be sent; raise the budget or make it smaller",
                        (long long)t->tokens, (long long)p->options.gate.tokens_per_minute);
        return OFFER_NEVER;
    }
    return OFFER_STARTED;
}

/* Its worker; or why there is none. The row has its session, if it has one. */
static enum core_offer_result find_worker(struct core_pool *p, const struct core_task *t,
                                          struct worker **ret, struct core_offer *o)
{
    const struct session *s = t->bound;

    if (s && s->holder) { /* one at a time goes, wherever it is */
        o->worker = s->worker ? s->worker->id : 0;
        return OFFER_WORKER;
    }
    switch (workers_pick(p, t, ret)) {
    case CREW_TAKE:
        return OFFER_STARTED;
    case CREW_WAIT:
        o->worker = (*ret)->id;
        return OFFER_WORKER;
    case CREW_NONE:
    case CREW_SPREAD:
        break;
    }
    return OFFER_NO_WORKER;
}

/* All that may hold it up, in the order in which it is told. Nothing is taken. */
static enum core_offer_result look(struct core_batch *b, const struct core_task *t,
                                   const struct permit_need *need, struct promise *ret,
                                   struct core_offer *o, struct weir_error *err, struct instant now)
{
    struct core_pool *p = b->pool;
    enum core_offer_result result = can_never(p, t, err);

    if (result != OFFER_STARTED)
        return result;
    permit_settle(&p->permits, now);
    o->block = permit_check(&p->permits, need);
    if (o->block != PERMIT_FREE)
        return OFFER_LIMIT;
    ret->in_flight = p->permits.running + p->ahead_count;
    o->when = choose_when_open(p, t, ret->in_flight, now);
    if (instant_before(now, o->when))
        return OFFER_GATE;
    return p->crew ? find_worker(p, t, &ret->worker, o) : OFFER_STARTED;
}

/* Memory and places for it. Nothing of this has to be undone. */
static enum weir_status make_room(struct core_batch *b, struct promise *ret, struct weir_error *err)
{
    if (b->order.held >= b->order.window)
        return error_set(err, WEIR_E_LIMIT, "the window of %llu rows is full",
                         (unsigned long long)b->order.window);
    ret->slot = slots_first(b->pool);
    if (!ret->slot || !batch_reserve(b, 1))
        return error_nomem(err);
    return WEIR_OK;
}

/* The permit, and what the caller makes of it. */
static enum core_offer_result take_permit(struct core_batch *b, struct core_task *t,
                                          const struct permit_need *need,
                                          struct core_attempt_slot *s, struct weir_error *err)
{
    const struct core_batch_options *o = &b->options;
    bool taken = permit_take(&b->pool->permits, need, &s->permit);

    assert(taken); /* it has been looked at */
    (void)taken;
    if (!o->prepare || o->prepare(o->prepare_ctx, t, s->permit.numbers, err) == WEIR_OK)
        return OFFER_STARTED;
    permit_return(&s->permit);
    return OFFER_NEVER;
}

static void begin(struct core_batch *b, struct core_task *t, const struct promise *promise,
                  struct instant now)
{
    struct core_pool *p = b->pool;
    struct gate_ticket ticket;

    t->batch = b;
    t->submit_at = now;
    if (t->deadline_ns > 0)
        t->deadline = instant_add(now, t->deadline_ns);
    b->stats.accepted++;
    p->stats.accepted++;
    b->dispatcher->live++;
    (void)reorder_enter_any(&b->order, t, &t->place); /* there is room */
    tell_task(t, EVENT_TASK_ACCEPTED, 0, NULL, now);
    session_admit(t);
    assert(t->state == TASK_READY);
    ticket = gate_take(&p->gate, now, promise->in_flight, t->tokens);
    slot_start(promise->slot, t, ticket, promise->worker, now);
    tell_throttle(p, now);
}

static void leave_session(struct core_pool *p, struct core_task *t, struct instant now)
{
    if (t->bound)
        affinity_leave(crew_affinity(p->crew), t->bound, now);
    t->bound = NULL;
}

/* What lazy and extra workers are started for; who offers says it better, by dispatcher_want_workers(). */
static void note_want(struct core_pool *p, enum core_offer_result result)
{
    if (result == OFFER_NO_WORKER && p->wanted == 0)
        p->wanted = 1;
    else if (result == OFFER_STARTED && p->wanted > 0)
        p->wanted--;
}

enum weir_status dispatcher_offer(struct dispatcher *d, struct core_batch *b, struct core_task *t,
                                  const struct permit_need *need, struct instant now,
                                  struct core_offer *ret, struct weir_error *err)
{
    enum weir_status status = batch_refuses(b, err);
    struct core_offer o = {.when = INSTANT_NEVER};
    struct core_pool *p = b->pool;
    struct promise promise = {0};

    (void)d;
    assert(b->options.single && t->state == TASK_NEW && !t->refused && !t->finished_before);
    if (status != WEIR_OK)
        return status;
    if (is_held(p)) {
        *ret = (struct core_offer){.result = OFFER_HELD, .when = INSTANT_NEVER};
        return WEIR_OK;
    }
    if (p->crew)
        (void)workers_settle(p, now);
    if (!session_find(p, t, now))
        return error_nomem(err);
    o.result = look(b, t, need, &promise, &o, err, now);
    if (o.result == OFFER_STARTED)
        status = make_room(b, &promise, err);
    if (status == WEIR_OK && o.result == OFFER_STARTED)
        o.result = take_permit(b, t, need, promise.slot, err);
    if (status != WEIR_OK || o.result != OFFER_STARTED)
        leave_session(p, t, now);
    else
        begin(b, t, &promise, now);
    if (status != WEIR_OK)
        return status;
    note_want(p, o.result);
    *ret = o;
    return WEIR_OK;
}

enum weir_status dispatcher_widen_batch(struct core_batch *b, uint32_t rows, struct weir_error *err)
{
    assert(b->options.single && rows <= BATCH_WINDOW_ROWS_MAX);
    return reorder_widen_any(&b->order, rows) ? WEIR_OK : error_nomem(err);
}

void dispatcher_want_workers(struct core_pool *pool, size_t tasks)
{
    pool->wanted = tasks;
}
