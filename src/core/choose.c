/*
 * Which row runs next, and starting it.
 *
 * A permit that is free goes to the pool's batches in turn, so that a batch of ten rows is not stuck behind one of a
 * million. Within a batch a retry that is ready goes first, the least index before others: it is what holds up the
 * order; then the rows as they came.
 *
 * A row that waits after a refusal holds no permit (P5), so each free permit could send the next new row into the
 * same full service, until the whole window had been refused and came back in waves: nearly all requests refused,
 * hardly any work done. So new rows are held back while the rows that run and the rows that wait so are more than the
 * pool has places, by CROWDING_ROWS_MAX; whatever succeeds lets the next one in.
 *
 * Outputs wait in memory for the store, for their turn and for whoever takes them. While a batch holds more of them
 * than its output_bytes, it starts nothing but the row that all others wait for (I8).
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

void choose_make_ready(struct core_task *t)
{
    struct core_batch *b = t->batch;

    task_move(t, TASK_READY);
    b->stats.ready++;
    if (t->attempts == 0)
        list_push_back(&b->fresh, &t->link);
    else
        heap_push(&b->retries, &t->retry);
    if (list_empty(&b->turn))
        list_push_back(&b->pool->turn, &b->turn);
    timer_arm(t, t->deadline);
}

/* The row leaves the ready queue; so does its batch when it was the last. */
void choose_unready(struct core_task *t)
{
    struct core_batch *b = t->batch;

    list_remove(&t->link);
    heap_remove(&b->retries, &t->retry);
    b->stats.ready--;
    if (b->stats.ready == 0)
        list_remove(&b->turn);
}

/* The row of a batch that goes first; NULL: none may. */
static struct core_task *first_ready(struct core_batch *b, bool crowded)
{
    struct heap_node *retry = heap_first(&b->retries);
    struct core_task *t;

    if (b->options.output_bytes > 0 && b->held_bytes >= b->options.output_bytes) {
        t = reorder_first(&b->order);
        if (!t && b->runs && run_first(b->runs)->index == b->order.next)
            t = run_take_first(b);
        return t && t->state == TASK_READY && (!crowded || t->attempts > 0) ? t : NULL;
    }
    if (retry)
        return task_of_retry(retry);
    if (crowded)
        return NULL;
    if (list_empty(&b->fresh))
        return run_take_first(b);
    return list_entry(list_front(&b->fresh), struct core_task, link);
}

/* The first row of the batch whose turn it is; NULL: there is none that may start. */
static struct core_task *next_row(struct core_pool *p)
{
    bool crowded = p->permits.running + p->crowding >= p->options.size + CROWDING_ROWS_MAX;

    list_foreach (node, &p->turn) {
        struct core_task *t = first_ready(list_entry(node, struct core_batch, turn), crowded);

        if (t)
            return t;
    }
    return NULL;
}

void choose_put_back(struct core_task *t)
{
    struct core_batch *b = t->batch;

    t->attempts--;
    t->start_at = INSTANT_NONE;
    b->stats.attempts--;
    b->pool->stats.attempts--;
    choose_make_ready(t);
    list_remove(&t->link);
    list_push_front(&b->fresh, &t->link);
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

    s->permit = true;
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
    a->key = t->key;
    a->index = t->index;
    a->token = ++t->batch->dispatcher->last_token;
    a->number = ++t->attempts;
    atomic_store_explicit(&a->cancelled, false, memory_order_relaxed);
    answer_init(&a->answer);
    a->edge = NULL;
    a->next = NULL;
}

/* Hands the row over; with a permit that was taken for it, or ahead of one. */
static void start(struct core_pool *p, struct core_task *t, struct gate_ticket ticket, bool permit,
                  struct instant now)
{
    struct core_batch *b = t->batch;
    struct core_attempt_slot *s =
        list_entry(list_pop_front(&p->free_slots), struct core_attempt_slot, link);

    choose_unready(t);
    list_push_back(permit ? &p->busy_slots : &p->ahead, &s->link);
    p->ahead_count += !permit;
    list_push_back(&b->running, &t->link);
    fill_attempt(s, t);
    s->batch = b;
    s->task = t;
    s->abandoned_task = NULL;
    s->running = true;
    s->permit = s->called_in = s->told = false;
    s->ended_by = WEIR_REASON_NONE;
    s->ticket = t->ticket = ticket;
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
    timer_arm(t, p->options.timeout_ns > 0
                     ? instant_min(instant_add(now, p->options.timeout_ns), t->deadline)
                     : t->deadline);
    if (permit)
        slot_placed(s, now);
    p->kick = true;
    p->executor->ops->start(p->executor, &s->attempt);
}

/*
 * Starts what may start in one pool, `most` attempts at most. Returns when the gate opens next; NEVER: the pool waits for
 * something else.
 */
static struct instant start_rows(struct core_pool *p, size_t most, struct instant now)
{
    while (most > 0) {
        bool permit = permit_available(&p->permits);
        struct core_task *t = permit || ahead_has_room(p) ? next_row(p) : NULL;
        struct gate_ticket ticket;
        size_t in_flight = p->permits.running + p->ahead_count;
        struct instant when;
        struct core_batch *b;

        if (!t || (!permit && !ahead_suits(t)))
            return INSTANT_NEVER;
        when = gate_when(&p->gate, now, in_flight, t->tokens);
        tell_throttle(p, now); /* by silence, too, it decides */
        if (instant_before(now, when))
            return when;
        if (permit && !permit_take(&p->permits))
            return INSTANT_NEVER;
        ticket = gate_take(&p->gate, now, in_flight, t->tokens);
        b = t->batch;
        /* To the back of the turn first: starting the last ready row takes the batch off it. */
        list_remove(&b->turn);
        list_push_back(&p->turn, &b->turn);
        start(p, t, ticket, permit, now);
        tell_throttle(p, now);
        most--;
    }
    return INSTANT_NEVER;
}

struct instant choose_and_start(struct core_pool *p, size_t most, struct instant now)
{
    struct instant wake = INSTANT_NEVER;

    if (run_may_start(p, now))
        run_start(p, now);
    else
        wake = start_rows(p, most, now);
    run_take_permits(p);
    return wake;
}
