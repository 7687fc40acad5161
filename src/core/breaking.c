/*
 * A pool's breaker (flow/breaker.h) and its fallback pool.
 *
 * Each attempt holds a ticket of the breaker, and gives it back with a word once:
 *
 *     failed      a failure that may pass, a timeout, a lost attempt: the pool does not work
 *     succeeded   an answer, also one that the row is wrong
 *     dropped     it says nothing: refused for lack of capacity, cancelled, a deadline, not begun after all
 *
 * Workers that cannot start strike it, and the recovery table may open it. While it is open, what
 * is ready goes to the fallback pool, if that one works; else it waits, or fails at once when the
 * pool says so.
 */
#include "core/internal.h"

#include <stdio.h>

void breaking_init(struct core_pool *p)
{
    breaker_init(&p->breaker, &p->options.breaker, INSTANT_NONE);
    p->breaker_since = INSTANT_NONE;
}

static bool is_open(const struct core_pool *p)
{
    return p->breaker.options.on && p->breaker.state == BREAKER_OPEN;
}

/* Whether ready rows of p go to its fallback pool while p's breaker is open. */
static bool has_refuge(const struct core_pool *p)
{
    return p->fallback && !p->fallback->removed && !is_open(p->fallback);
}

/* What is parked with workers is to be ready, where it can be moved or failed. */
static void unpark_all(struct core_pool *p)
{
    list_foreach (node, &p->dispatcher->batches) {
        struct core_batch *b = list_entry(node, struct core_batch, link);

        list_foreach_safe (queued, &b->queued) {
            struct core_task *t = list_entry(queued, struct core_task, link);

            if (session_is_parked(t) && task_pool(t) == p)
                session_unpark(t);
        }
    }
}

/* After anything that may have moved it: tells, and follows. */
static void follow(struct core_pool *p, const char *why, struct instant now)
{
    struct breaker *b = &p->breaker;
    struct core_breaker_change change;

    if (p->breaker_told_epoch == b->epoch)
        return;
    change = (struct core_breaker_change){.from = p->breaker_told, .to = b->state};
    if (!instant_is_none(p->breaker_since))
        change.lasted_ns = instant_diff(now, p->breaker_since);
    p->breaker_told = b->state;
    p->breaker_told_epoch = b->epoch;
    p->breaker_since = now;
    if (b->state == BREAKER_OPEN)
        snprintf(p->breaker_why, sizeof p->breaker_why, "%s", why);
    tell_breaker(p, &change, why, now);
    if (p->crew)
        crew_hold_starts(p->crew, b->state == BREAKER_OPEN ? b->open_until : INSTANT_NONE);
    if (b->state == BREAKER_OPEN && (p->options.breaker_fails || p->fallback))
        unpark_all(p);
}

struct instant breaking_when(struct core_pool *p, struct instant now)
{
    struct instant when = breaker_when(&p->breaker, now);

    follow(p, "its time is over: some attempts are let through", now);
    return when;
}

void breaking_take(struct core_attempt_slot *s, struct instant now)
{
    s->broken_in = s->pool->breaker.options.on;
    if (s->broken_in)
        s->breaker_ticket = breaker_take(&s->pool->breaker, now);
}

void breaking_drop(struct core_attempt_slot *s, struct instant now)
{
    if (s->broken_in)
        breaker_dropped(&s->pool->breaker, s->breaker_ticket, now);
    s->broken_in = false;
}

static bool says_nothing(const struct core_answer *a)
{
    return a->outcome == WEIR_OUTCOME_CAPACITY || a->outcome == WEIR_OUTCOME_CANCELLED ||
           a->reason == WEIR_REASON_DEADLINE || a->bystander;
}

struct breaking_word breaking_read(const struct core_attempt_slot *s, const struct core_answer *a)
{
    struct breaking_word w = {.kind = BREAKING_SUCCEEDED};

    if (!s->broken_in || says_nothing(a)) {
        w.kind = BREAKING_DROPPED;
    } else if (a->outcome != WEIR_OUTCOME_OK &&
               (a->outcome != WEIR_OUTCOME_FAILED || a->retryable)) {
        w.kind = BREAKING_FAILED;
        snprintf(w.why, sizeof w.why, "attempts fail; the last: %s%s%.80s",
                 weir_reason_name(a->reason), a->message ? ", " : "", a->message ? a->message : "");
    }
    return w;
}

void breaking_judged(struct core_attempt_slot *s, const struct breaking_word *w, struct instant now)
{
    struct breaker *b = &s->pool->breaker;

    if (!s->broken_in || w->kind == BREAKING_DROPPED) {
        breaking_drop(s, now);
        return;
    }
    s->broken_in = false;
    if (w->kind == BREAKING_SUCCEEDED) {
        breaker_succeeded(b, s->breaker_ticket, now);
        follow(s->pool, "the attempts that were let through were answered", now);
    } else {
        breaker_failed(b, s->breaker_ticket, now);
        follow(s->pool, w->why, now);
    }
}

void breaking_strike(struct core_pool *p, const char *why, struct instant now)
{
    if (!p->breaker.options.on)
        return;
    breaker_struck(&p->breaker, now);
    follow(p, why, now);
}

void breaking_open(struct core_pool *p, const char *why, struct instant now)
{
    if (!p->breaker.options.on)
        return;
    breaker_trip(&p->breaker, now);
    follow(p, why, now);
}

void dispatcher_reset_breaker(struct core_pool *pool, struct instant now)
{
    breaker_reset(&pool->breaker, now);
    follow(pool, "by hand", now);
}

void breaking_note(const struct core_pool *p, struct core_stats *ret)
{
    const struct breaker *b = &p->breaker;

    ret->breaker = b->state;
    ret->breaker_opened = b->opened;
    ret->breaker_open_until = b->state == BREAKER_OPEN ? b->open_until : INSTANT_NONE;
}

/* ---- where ready rows go while it is open ---- */

bool breaking_may_move(const struct core_task *t)
{
    const struct core_pool *p = t->batch->pool;

    return !t->away && p->fallback && !p->fallback->removed &&
           gate_fits(&p->fallback->gate, t->tokens);
}

/* A READY row goes to the fallback pool. False: it can never run there. */
static bool move(struct core_task *t, struct instant now)
{
    if (!breaking_may_move(t))
        return false;
    choose_unready(t);
    t->batch->dispatcher->moved = true;
    breaking_move(t, "the breaker of its pool is open", now);
    session_admit(t);
    return true;
}

void breaking_move(struct core_task *t, const char *why, struct instant now)
{
    t->batch->stats.failed_over++;
    t->batch->pool->stats.failed_over++;
    session_move(t, now);
    tell_task(t, EVENT_TASK_FAILED_OVER, 0, why, now);
}

/* In their order; what cannot go there stays. */
static void move_ready(struct core_pool *p, struct instant now)
{
    list_foreach_safe (node, &p->turn) {
        struct core_batch *b = list_entry(node, struct core_batch, turn);
        struct heap_node *retry;

        while ((retry = heap_first(&b->retries)))
            if (!move(list_entry(retry, struct core_task, retry), now))
                break;
        list_foreach_safe (fresh, &b->fresh)
            (void)move(list_entry(fresh, struct core_task, link), now);
    }
}

void core_pool_say_broken(const struct core_pool *p, char *buf, size_t bytes, struct instant now)
{
    snprintf(buf, bytes,
             "the breaker of pool \"%.64s\" is open (%s); it lets attempts through again in %.1f s",
             p->options.name, p->breaker_why,
             duration_seconds(instant_diff(p->breaker.open_until, now)));
}

static void fail_row(struct core_task *t, struct instant now)
{
    char message[400];

    core_pool_say_broken(task_pool(t), message, sizeof message, now);
    finish_cancelled(t, WEIR_OUTCOME_FAILED, WEIR_REASON_CIRCUIT_OPEN, message, now);
}

static void fail_ready(struct core_pool *p, struct instant now)
{
    struct list *node;

    while ((node = list_front(&p->turn))) {
        struct core_batch *b = list_entry(node, struct core_batch, turn);
        struct heap_node *retry = heap_first(&b->retries);

        fail_row(retry ? list_entry(retry, struct core_task, retry)
                       : list_entry(list_front(&b->fresh), struct core_task, link),
                 now);
    }
    while ((node = list_front(&p->guests))) {
        struct core_batch *b = list_entry(node, struct core_batch, away_turn);

        fail_row(list_entry(list_front(&b->away), struct core_task, link), now);
    }
}

void breaking_drain(struct core_pool *p, struct instant now)
{
    (void)breaking_when(p, now);
    if (!is_open(p))
        return;
    if (has_refuge(p))
        move_ready(p, now);
    if (p->options.breaker_fails)
        fail_ready(p, now);
}
