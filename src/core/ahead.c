/*
 * Attempts that are handed over ahead: before there is a place for them.
 *
 * When an attempt takes a microsecond, handing over one for each that ends costs far more than the
 * work: each time the engine and a thread wake each other. So where attempts have lately been that
 * short, and nothing spaces the dispatches, some more than the pool's size are with the executor.
 * It runs no more than `size` of them at once (P3) and begins them in order
 * (core/ports/executor.h), so no permit is needed for the others: when an attempt ends, its permit
 * passes to the first that is ahead, which is the one that has begun in its place. So:
 *
 *     permits taken in a pool = slots in busy_slots;   slots in `ahead` only while all permits of the pool are taken
 *
 * Such a row is about to run, within microseconds; it does not wait for anything that would have to
 * hold nothing (I4). When that stops being true (an attempt took long, the service is full, a stop,
 * a shutdown), what has not begun is called in: cancelled at the executor, and ready again as if
 * nothing had been.
 */
#include "core/internal.h"

/*
 * Attempts count as short below this, where the executor says nothing else: then all that are ahead
 * of a place are done within milliseconds.
 */
#define AHEAD_WORK_NS_MAX (50 * NS_PER_US)
/* One that was merely interrupted must not count for too long: for no more than so many short ones. */
#define AHEAD_WORK_CAP 20
/* The mean moves by 1/8 of the difference. */
#define AHEAD_MEAN_SHIFT 3
/* So many over all places are enough for a group. */
#define AHEAD_MAX 256

static duration_ns work_max(const struct core_pool *p)
{
    duration_ns own = p->executor->ops->ahead_work_ns;

    return own > 0 ? own : AHEAD_WORK_NS_MAX;
}

void ahead_init(struct core_pool *p)
{
    size_t per_place = p->executor->ops->ahead_per_place;

    list_init(&p->ahead);
    /* With a timeout each attempt must be known to have begun; with a pace, each waits for its moment; and a breaker
       counts what has begun. */
    if (per_place > 0 && p->options.timeout_ns == 0 && !p->times && !p->options.breaker.on &&
        gate_is_unpaced(&p->gate))
        p->ahead_max =
            p->options.size < AHEAD_MAX / per_place ? p->options.size * per_place : AHEAD_MAX;
    p->work_ns = AHEAD_WORK_CAP * work_max(p); /* nothing is known yet */
}

bool ahead_has_room(const struct core_pool *p)
{
    return p->ahead_count < p->ahead_max && p->permits.running == p->options.size &&
           p->permits.burst.places == 0 && p->run_rows == 0 && p->work_ns < work_max(p) &&
           p->crowding == 0 && gate_is_open(&p->gate);
}

bool ahead_suits(const struct core_task *t)
{
    return t->attempts == 0 && !t->away && t->timeout_ns == 0 && instant_is_never(t->deadline);
}

void ahead_learn(struct core_pool *p, const struct core_answer *a)
{
    duration_ns ran;

    if ((p->ahead_max == 0 && !p->takes_runs) || instant_is_none(a->started_at) ||
        instant_is_none(a->ended_at))
        return;
    ran = instant_diff(a->ended_at, a->started_at);
    if (ran > AHEAD_WORK_CAP * work_max(p))
        ran = AHEAD_WORK_CAP * work_max(p);
    p->work_ns += (ran - p->work_ns) / (1 << AHEAD_MEAN_SHIFT);
    if (p->ahead_count > 0 && (p->work_ns >= work_max(p) || a->outcome == WEIR_OUTCOME_CAPACITY))
        ahead_call_in(p, NULL);
}

void ahead_call_in(struct core_pool *p, const struct core_batch *of)
{
    struct list *node = p->ahead.prev;

    /* The last one first: so they come back to the front of their batches in order. */
    while (node != &p->ahead) {
        struct core_attempt_slot *s = list_entry(node, struct core_attempt_slot, link);

        node = node->prev;
        if (s->called_in || (of && s->batch != of))
            continue;
        s->called_in = true;
        p->executor->ops->cancel(p->executor, &s->attempt);
    }
}

bool ahead_pass_permit(struct core_attempt_slot *from, struct instant now)
{
    struct core_pool *p = from->pool;
    struct list *first = list_pop_front(&p->ahead);
    struct core_attempt_slot *s;

    if (!first)
        return false;
    s = list_entry(first, struct core_attempt_slot, link);
    p->ahead_count--;
    list_push_back(&p->busy_slots, &s->link);
    permit_pass(&from->permit, &s->permit);
    slot_placed(s, now);
    return true;
}

bool ahead_came_back(const struct core_attempt_slot *s)
{
    /* Only the executor's cancel() says cancelled; had it begun, the work would have said something else. */
    return s->called_in && s->attempt.answer.outcome == WEIR_OUTCOME_CANCELLED;
}
