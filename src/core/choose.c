/*
 * Which row runs next, and starting it.
 *
 * A permit that is free goes to the pool's batches in turn, so that a batch of ten rows is not
 * stuck behind one of a million. Within a batch a retry that is ready goes first, the least index
 * before others: it is what holds up the order; then the rows as they came.
 *
 * A row that waits after a refusal holds no permit (P5), so each free permit could send the next
 * new row into the same full service, until the whole window had been refused and came back in
 * waves: nearly all requests refused, hardly any work done. So new rows are held back while the
 * rows that run and the rows that wait so are more than the pool has places, by CROWDING_ROWS_MAX;
 * whatever succeeds lets the next one in.
 *
 * Outputs wait in memory for the store, for their turn and for whoever takes them. While a batch
 * holds more of them than its output_bytes, it starts nothing but the row that all others wait for
 * (I8).
 */
#include "core/internal.h"

static struct core_task *task_of_retry(struct heap_node *n)
{
    return list_entry(n, struct core_task, retry);
}

void timer_arm(struct core_task *t, struct instant when)
{
    struct heap *timers = &t->batch->dispatcher->timers;

    if (instant_is_never(when)) {
        heap_remove(timers, &t->timer);
        t->wake_at = when;
        return;
    }
    t->wake_at = when;
    if (heap_contains(&t->timer))
        heap_moved(timers, &t->timer);
    else
        heap_push(timers, &t->timer);
}

/* The row is READY in the fallback pool. */
static void make_ready_away(struct core_task *t)
{
    struct core_batch *b = t->batch;

    b->away_ready++;
    list_push_back(&b->away, &t->link);
    if (list_empty(&b->away_turn))
        list_push_back(&b->pool->fallback->guests, &b->away_turn);
}

static void make_ready(struct core_task *t, bool in_order)
{
    struct core_batch *b = t->batch;

    if (t->state != TASK_READY) /* it is already, when it goes to the fallback pool */
        task_move(t, TASK_READY);
    b->stats.ready++;
    if (t->away) {
        make_ready_away(t);
    } else {
        if (in_order)
            heap_push(&b->retries, &t->retry);
        else
            list_push_back(&b->fresh, &t->link);
        if (list_empty(&b->turn))
            list_push_back(&b->pool->turn, &b->turn);
    }
    timer_arm(t, instant_min(t->deadline, t->checkout_until));
}

void choose_make_ready(struct core_task *t)
{
    make_ready(t, t->attempts > 0);
}

void choose_make_ready_in_order(struct core_task *t)
{
    make_ready(t, true);
}

/* The row leaves the ready queue; so does its batch when it was the last. */
void choose_unready(struct core_task *t)
{
    struct core_batch *b = t->batch;

    list_remove(&t->link);
    heap_remove(&b->retries, &t->retry);
    b->stats.ready--;
    if (t->away && --b->away_ready == 0)
        list_remove(&b->away_turn);
    if (b->stats.ready == b->away_ready)
        list_remove(&b->turn);
}

static bool is_full_of_output(const struct core_batch *b)
{
    return b->options.output_bytes > 0 && b->held_bytes >= b->options.output_bytes;
}

/* The row that all others of the batch wait for, or the one that it waits for itself; NULL: none. */
static struct core_task *awaited(struct core_batch *b)
{
    struct core_task *t = b->options.unordered ? NULL : reorder_first(&b->order);

    if (t && t->state == TASK_QUEUED && !t->parked)
        t = t->bound->holder;
    return t && t->batch == b ? t : NULL;
}

bool choose_has_room_for_output(struct core_task *t)
{
    return !is_full_of_output(t->batch) || awaited(t->batch) == t;
}

/* The row of a batch that goes first in its own pool; NULL: none may. */
static struct core_task *first_ready(struct core_batch *b, bool crowded)
{
    struct heap_node *retry = heap_first(&b->retries);
    struct list *fresh = list_front(&b->fresh);
    struct core_task *t;

    if (is_full_of_output(b)) {
        t = awaited(b);
        if (!t && b->runs && run_first(b->runs)->index == b->order.next)
            t = run_take_first(b);
        return t && t->state == TASK_READY && !t->away && (!crowded || t->attempts > 0) ? t : NULL;
    }
    if (retry) {
        t = task_of_retry(retry);
        if (t->attempts > 0)
            return t;
        /* It has waited for its session: no retry, and not before those with a lower index. */
        if (fresh && list_entry(fresh, struct core_task, link)->index < t->index)
            t = list_entry(fresh, struct core_task, link);
        return crowded ? NULL : t;
    }
    if (crowded)
        return NULL;
    return fresh ? list_entry(fresh, struct core_task, link) : run_take_first(b);
}

/* The same of its rows that are in the fallback pool. */
static struct core_task *first_away(struct core_batch *b, bool crowded)
{
    struct core_task *t =
        is_full_of_output(b) ? awaited(b) : list_entry(b->away.next, struct core_task, link);

    return t && t->state == TASK_READY && t->away && (!crowded || t->attempts > 0) ? t : NULL;
}

static struct core_task *next_own(struct core_pool *p, bool crowded)
{
    list_foreach (node, &p->turn) {
        struct core_task *t = first_ready(list_entry(node, struct core_batch, turn), crowded);

        if (t)
            return t;
    }
    return NULL;
}

static struct core_task *next_guest(struct core_pool *p, bool crowded)
{
    list_foreach (node, &p->guests) {
        struct core_task *t = first_away(list_entry(node, struct core_batch, away_turn), crowded);

        if (t)
            return t;
    }
    return NULL;
}

/* Where there are rows of other pools, those and the pool's own go in turn. */
struct core_task *choose_next(struct core_pool *p)
{
    bool crowded = p->permits.running + p->crowding >= p->options.size + CROWDING_ROWS_MAX;
    struct core_task *t = p->guests_next ? next_guest(p, crowded) : NULL;

    if (!t)
        t = next_own(p, crowded);
    if (!t && !p->guests_next)
        t = next_guest(p, crowded);
    return t;
}

/* To the back of the turn; before the row is started, for its batch leaves the turn with its last one. */
static void take_turn(struct core_pool *p, struct core_task *t)
{
    struct core_batch *b = t->batch;
    struct list *node = t->away ? &b->away_turn : &b->turn;

    list_remove(node);
    list_push_back(t->away ? &p->guests : &p->turn, node);
    p->guests_next = !t->away;
}

void choose_put_back(struct core_task *t)
{
    struct core_batch *b = t->batch;

    if (--t->attempts == 0)
        t->start_at = INSTANT_NONE;
    b->stats.attempts--;
    task_pool(t)->stats.attempts--;
    choose_make_ready(t);
    if (t->away || t->attempts == 0) {
        list_remove(&t->link);
        list_push_front(t->away ? &b->away : &b->fresh, &t->link);
    }
}

void slot_tell_started(struct core_attempt_slot *s, struct instant now)
{
    if (!s->told)
        tell_task(s->task, EVENT_ATTEMPT_STARTED, 0, NULL, now);
    s->told = true;
}

void slot_placed(struct core_attempt_slot *s, struct instant now)
{
    struct core_batch *b = s->batch;

    b->places++;
    if (b->places > b->stats.max_concurrent_reached)
        b->stats.max_concurrent_reached = b->places;
    /* Nobody knows whether one that was called in has begun; its report will say. */
    if (!s->called_in)
        slot_tell_started(s, now);
}

static void fill_attempt(struct core_attempt_slot *s, struct core_task *t)
{
    struct core_attempt *a = &s->attempt;

    a->payload = t->payload;
    a->payload_len = t->payload_len;
    a->env = t->env;
    a->key = t->key;
    a->index = t->index;
    a->token = t->token ? t->token : ++t->batch->dispatcher->last_token;
    a->number = t->attempts_before + ++t->attempts;
    atomic_store_explicit(&a->cancelled, false, memory_order_relaxed);
    answer_init(&a->answer);
    a->edge = NULL;
    a->next = NULL;
    a->worker = NULL;
    a->session = NULL;
    a->session_lost = a->not_begun = a->may_wind_up = false;
}

/* ---- how long an attempt may run ---- */

static duration_ns attempt_timeout(const struct core_pool *p, const struct core_task *t)
{
    duration_ns timeout = p->options.timeout_ns;
    double by_median;

    if (t->timeout_ns > 0)
        return t->timeout_ns;
    if (!p->times || !run_times_known(p->times))
        return timeout;
    by_median = p->options.timeout_share * (double)run_times_median(p->times);
    if (by_median < (double)POOL_TIMEOUT_BY_MEDIAN_MIN_NS)
        return timeout > 0 && timeout < POOL_TIMEOUT_BY_MEDIAN_MIN_NS
                   ? timeout
                   : POOL_TIMEOUT_BY_MEDIAN_MIN_NS;
    if (timeout > 0 && by_median >= (double)timeout)
        return timeout;
    return by_median < (double)GATE_WAIT_MAX_NS ? (duration_ns)by_median : GATE_WAIT_MAX_NS;
}

static void arm_timeout(struct core_attempt_slot *s)
{
    s->timeout_ns = attempt_timeout(s->pool, s->task);
    timer_arm(s->task,
              s->timeout_ns > 0
                  ? instant_min(instant_add(s->ticket.taken_at, s->timeout_ns), s->task->deadline)
                  : s->task->deadline);
}

void choose_learn(struct core_pool *p, const struct core_answer *a, struct instant taken_at)
{
    bool known;

    if (!p->times || (a->outcome != WEIR_OUTCOME_OK && a->outcome != WEIR_OUTCOME_FAILED) ||
        instant_is_none(a->ended_at))
        return;
    known = run_times_known(p->times);
    run_times_add(
        p->times,
        instant_diff(a->ended_at, instant_is_none(a->started_at) ? taken_at : a->started_at));
    if (known || !run_times_known(p->times))
        return;
    /* Those that were started before anything was known may hang already. */
    list_foreach (node, &p->busy_slots) {
        struct core_attempt_slot *s = list_entry(node, struct core_attempt_slot, link);

        if (s->task && s->ended_by == WEIR_REASON_NONE && !s->by_hand)
            arm_timeout(s);
    }
}

void slot_start(struct core_attempt_slot *s, struct core_task *t, struct gate_ticket ticket,
                struct worker *w, struct instant now)
{
    struct core_pool *p = s->pool;
    struct core_batch *b = t->batch;
    bool permit = s->permit.account != NULL;

    choose_unready(t);
    list_remove(&s->link);
    list_push_back(permit ? &p->busy_slots : &p->ahead, &s->link);
    p->ahead_count += !permit;
    list_push_back(&b->running, &t->link);
    fill_attempt(s, t);
    s->batch = b;
    s->task = t;
    s->abandoned_task = NULL;
    s->running = true;
    s->called_in = s->told = s->by_hand = false;
    s->ended_by = WEIR_REASON_NONE;
    s->ticket = t->ticket = ticket;
    s->worker = t->worker = w ? w->id : 0;
    s->broken_in = false;
    if (p->breaker.options.on)
        breaking_take(s, now);
    if (w) {
        s->attempt.worker = w;
        s->attempt.session = t->bound;
        s->attempt.session_lost = crew_give(p->crew, w, t->bound, now);
        t->checkout_until = INSTANT_NEVER;
    }
    t->slot = s;
    task_move(t, TASK_RUNNING);
    if (instant_is_none(t->start_at))
        t->start_at = now;
    t->limit = throttle_limit_of(gate_throttle(&p->gate));
    core_stats_note_limit(&b->stats, &t->limit);
    core_stats_note_limit(&p->stats, &t->limit);
    b->stats.running++;
    b->stats.attempts++;
    p->stats.attempts++;
    arm_timeout(s);
    if (permit)
        slot_placed(s, now);
    p->kick = true;
    p->executor->ops->start(p->executor, &s->attempt);
}

struct instant choose_when_open(struct core_pool *p, const struct core_task *t, size_t in_flight,
                                struct instant now)
{
    struct instant when = gate_when(&p->gate, now, in_flight, t->tokens);

    tell_throttle(p, now); /* by silence, too, it decides */
    if (!instant_before(now, when) && p->breaker.options.on)
        when = breaking_when(p, now);
    return when;
}

/*
 * Starts what may start in one pool, `most` attempts at most. Returns when the gate opens next;
 * NEVER: the pool waits for something else.
 */
static struct instant start_rows(struct core_pool *p, size_t most, struct instant now)
{
    while (most > 0) {
        bool permit = permit_available(&p->permits);
        struct core_attempt_slot *s;
        struct core_task *t = NULL;
        struct worker *w = NULL;
        struct gate_ticket ticket;
        size_t in_flight = p->permits.running + p->ahead_count;
        struct instant when;

        if (permit || ahead_has_room(p))
            t = p->crew ? workers_next(p) : choose_next(p);
        if (!t || (!permit && !ahead_suits(t)))
            return INSTANT_NEVER;
        when = choose_when_open(p, t, in_flight, now);
        if (instant_before(now, when))
            return when;
        if (p->crew && !workers_place(p, t, &w, now)) {
            if (p->short_of_workers)
                return INSTANT_NEVER;
            continue; /* it is parked, and others may go */
        }
        s = slots_first(p);
        if (!s || (permit && !permit_take(&p->permits, NULL, &s->permit)))
            return INSTANT_NEVER;
        ticket = gate_take(&p->gate, now, in_flight, t->tokens);
        take_turn(p, t);
        slot_start(s, t, ticket, w, now);
        tell_throttle(p, now);
        most--;
    }
    return INSTANT_NEVER;
}

struct instant choose_and_start(struct core_pool *p, size_t most, struct instant now)
{
    struct instant wake = INSTANT_NEVER;

    permit_settle(&p->permits, now);
    p->short_of_workers = false;
    if (p->breaker.options.on)
        breaking_drain(p, now);
    if (p->held || p->removed)
        return INSTANT_NEVER;
    if (run_may_start(p, now))
        run_start(p, now);
    else
        wake = start_rows(p, most, now);
    run_take_permits(p);
    return wake;
}
