/*
 * Making and taking apart; the calls by which the driver of the engine tells what happened. See
 * internal.h for the other files.
 */
#include "core/dispatcher.h"

#include "base/error.h"
#include "base/mem.h"
#include "core/internal.h"

#include <assert.h>
#include <string.h>

/* Order of two tasks with the same time: as they came. Also what makes a run repeatable (I7). */
static bool task_before(const struct core_task *a, const struct core_task *b)
{
    if (a->batch->number != b->batch->number)
        return a->batch->number < b->batch->number;
    return a->index < b->index;
}

static bool timer_less(const struct heap_node *x, const struct heap_node *y)
{
    const struct core_task *a = list_entry(x, struct core_task, timer);
    const struct core_task *b = list_entry(y, struct core_task, timer);

    if (a->wake_at.ns != b->wake_at.ns)
        return a->wake_at.ns < b->wake_at.ns;
    return task_before(a, b);
}

static bool retry_less(const struct heap_node *x, const struct heap_node *y)
{
    return list_entry(x, struct core_task, retry)->index <
           list_entry(y, struct core_task, retry)->index;
}

/* Room for `count` nodes, doubling, so that growing one by one stays cheap. */
static bool heap_grow(struct heap *h, uint64_t count)
{
    size_t want = h->cap ? h->cap : 64;

    if (count <= h->cap)
        return true;
    while (want < count)
        want *= 2;
    return heap_reserve(h, want);
}

enum weir_status dispatcher_new(const struct dispatcher_options *o, struct dispatcher **ret,
                                struct weir_error *err)
{
    struct dispatcher *d = mem_calloc(1, sizeof *d);

    assert(o->host);
    if (!d)
        return error_nomem(err);
    d->options = *o;
    rng_seed(&d->rng, o->seed);
    permits_init(&d->permits, o->global_limit ? o->global_limit : PERMITS_UNLIMITED);
    heap_init(&d->timers, timer_less);
    list_init(&d->pools);
    list_init(&d->batches);
    *ret = d;
    return WEIR_OK;
}

void dispatcher_set_observer(struct dispatcher *d, struct core_observer *observer)
{
    d->options.observer = observer;
}

static void free_memory(struct core_pool *p)
{
    mem_free(p->times);
    slots_free(p);
    mem_free(p->name);
    mem_free(p);
}

void pool_free(struct core_pool *p)
{
    assert(p->permits.running == 0);
    list_remove(&p->link);
    if (p->executor)
        p->executor->ops->close(p->executor);
    free_memory(p);
}

void dispatcher_free(struct dispatcher *d)
{
    struct list *l;

    if (!d)
        return;
    assert(list_empty(&d->batches));
    while ((l = list_front(&d->pools)))
        pool_free(list_entry(l, struct core_pool, link));
    heap_free(&d->timers);
    mem_free(d);
}

enum weir_status dispatcher_add_pool(struct dispatcher *d, const struct core_pool_options *o,
                                     struct core_executor *executor, struct core_pool **ret,
                                     struct weir_error *err)
{
    enum weir_status status = core_pool_options_check(o, err);
    struct core_pool *p;

    if (status != WEIR_OK)
        return status;
    p = mem_calloc(1, sizeof *p);
    if (!p)
        return error_nomem(err);
    p->dispatcher = d;
    p->options = *o;
    p->executor = executor;
    gate_init(&p->gate, &o->gate, &d->rng);
    if (o->timeout_share > 0)
        p->times = mem_alloc(sizeof *p->times);
    ahead_init(p);
    run_init(p);
    list_init(&p->free_slots);
    list_init(&p->busy_slots);
    p->name = mem_strdup(o->name ? o->name : executor->ops->kind);
    if (!slots_add(p, o->size + p->ahead_max) || !p->name || (o->timeout_share > 0 && !p->times)) {
        free_memory(p);
        return error_nomem(err);
    }
    if (p->times)
        run_times_init(p->times);
    breaking_init(p);
    workers_init(p);
    p->options.name = p->name;
    permit_account_init(&p->permits, &d->permits, o->size);
    list_init(&p->turn);
    list_init(&p->guests);
    list_push_back(&d->pools, &p->link);
    d->pool_count++;
    p->stats.pool_size = o->size;
    p->stats.max_capacity_retry_ns = o->max_capacity_retry_ns;
    p->stats.throttle_kind = o->gate.throttle.kind;
    *ret = p;
    return WEIR_OK;
}

enum weir_status dispatcher_open_batch(struct dispatcher *d, struct core_pool *pool,
                                       const struct core_batch_options *o, void *owner,
                                       struct instant now, struct core_batch **ret,
                                       struct weir_error *err)
{
    enum weir_status status = core_batch_options_check(o, err);
    struct core_batch *b;

    if (status != WEIR_OK)
        return status;
    if (d->shutting_down)
        return error_set(err, WEIR_E_SHUTDOWN, "the engine is shut down; it takes no new batch");
    if (pool->removed)
        return error_set(err, WEIR_E_SHUTDOWN,
                         "pool \"%s\" is being removed; it takes no new batch", pool->name);
    b = mem_calloc(1, sizeof *b);
    if (!b)
        return error_nomem(err);
    if (!reorder_init(&b->order, o->window_rows, o->first_index)) {
        mem_free(b);
        return error_nomem(err);
    }
    b->dispatcher = d;
    b->pool = pool;
    b->options = *o;
    b->owner = owner;
    b->number = ++d->last_batch;
    b->deadline = o->deadline_ns ? instant_add(now, o->deadline_ns) : INSTANT_NEVER;
    b->next_complete_index = o->first_complete_index;
    list_init(&b->fresh);
    list_init(&b->waiting);
    list_init(&b->running);
    list_init(&b->turn);
    list_init(&b->queued);
    list_init(&b->away);
    list_init(&b->away_turn);
    heap_init(&b->retries, retry_less);
    b->runs_tail = &b->runs;
    b->stats.pool_size = pool->options.size;
    b->stats.max_capacity_retry_ns = pool->options.max_capacity_retry_ns;
    /* The delay is the pool's and outlives a batch; the peak starts at the delay in force. */
    b->stats.peak_delay_ns = gate_delay(&pool->gate);
    b->stats.throttle_kind = pool->options.gate.throttle.kind;
    b->throttle_before = *gate_throttle(&pool->gate);
    list_push_back(&d->batches, &b->link);
    tell_batch(b, EVENT_BATCH_OPENED, now);
    *ret = b;
    return WEIR_OK;
}

void *core_batch_owner(const struct core_batch *b)
{
    return b->owner;
}

uint64_t core_batch_number(const struct core_batch *b)
{
    return b->number;
}

enum weir_status batch_refuses(const struct core_batch *b, struct weir_error *err)
{
    if (b->dispatcher->shutting_down)
        return error_set(err, WEIR_E_SHUTDOWN, "the engine is shut down; it takes no more rows");
    if (b->stopping)
        return error_set(err, WEIR_E_END, "the batch was stopped; it takes no more rows");
    if (b->ended)
        return error_set(err, WEIR_E_END, "the batch was ended; it takes no more rows");
    return WEIR_OK;
}

bool batch_reserve(struct core_batch *b, uint64_t rows)
{
    struct dispatcher *d = b->dispatcher;

    return heap_grow(&d->timers, d->live + rows) && heap_grow(&b->retries, b->order.held + rows);
}

/* Everything that a row may need later is had now, so that nothing after this point can run out of memory. */
static enum weir_status make_room(struct core_batch *b, struct core_task *t, struct weir_error *err)
{
    if (!batch_reserve(b, 1))
        return error_nomem(err);
    if (b->options.unordered && !reorder_enter_any(&b->order, t, &t->place))
        return error_set(err, WEIR_E_LIMIT, "the window of %llu rows is full",
                         (unsigned long long)b->order.window);
    if (!b->options.unordered && !reorder_enter(&b->order, t->index, t))
        return error_set(err, WEIR_E_LIMIT,
                         "row %llu is not within the window of %llu rows from row %llu",
                         (unsigned long long)t->index, (unsigned long long)b->order.window,
                         (unsigned long long)b->order.next);
    return WEIR_OK;
}

/* Its session is found last: what cannot be accepted must leave none behind. */
static enum weir_status make_room_and_find(struct core_batch *b, struct core_task *t,
                                           struct instant now, struct weir_error *err)
{
    enum weir_status status;

    if (!session_find(b->pool, t, now))
        return error_nomem(err);
    status = make_room(b, t, err);
    if (status != WEIR_OK && t->bound) {
        affinity_leave(crew_affinity(b->pool->crew), t->bound, now);
        t->bound = NULL;
    }
    return status;
}

static void refuse_session(struct core_task *t, struct instant now)
{
    answer_clear(&t->answer);
    t->answer.outcome = WEIR_OUTCOME_FAILED;
    t->answer.reason = WEIR_REASON_BAD_ROW;
    answer_say(&t->answer,
               "the row's session has a name of %zu bytes; it must have 1 to %d: give it another "
               "name, or none",
               strlen(t->session), AFFINITY_NAME_BYTES_MAX);
    finish_task(t, now);
}

static void refuse_over_budget(struct core_task *t, struct instant now)
{
    const struct gate_options *g = &t->batch->pool->options.gate;

    answer_clear(&t->answer);
    t->answer.outcome = WEIR_OUTCOME_FAILED;
    t->answer.reason = WEIR_REASON_OVER_BUDGET;
    answer_say(&t->answer,
               "the row needs about %lld tokens and the budget is %lld a minute: it could never be "
               "sent; raise the budget or make the row smaller",
               (long long)t->tokens, (long long)g->tokens_per_minute);
    finish_task(t, now);
}

static void hold(struct core_task *t, struct instant now)
{
    struct core_batch *b = t->batch;

    b->dispatcher->live++;
    t->deadline = b->deadline;
    if (t->deadline_ns > 0)
        t->deadline = instant_min(t->deadline, instant_add(now, t->deadline_ns));
    if (t->refused) {
        finish_task(t, now);
    } else if (b->pool->crew && t->session && !t->bound) {
        refuse_session(t, now);
    } else if (!gate_fits(&b->pool->gate, t->tokens)) {
        refuse_over_budget(t, now);
    } else if (!instant_before(now, t->deadline)) {
        answer_clear(&t->answer);
        t->answer.outcome = WEIR_OUTCOME_TIMEOUT;
        t->answer.reason = WEIR_REASON_DEADLINE;
        answer_say(&t->answer, "the deadline had passed before the row came");
        finish_task(t, now);
    } else {
        run_scatter(b); /* what came before goes before */
        if (t->is_call)
            checkout_begin(t, now);
        session_admit(t);
    }
}

enum weir_status dispatcher_submit(struct dispatcher *d, struct core_batch *b, struct core_task *t,
                                   struct instant now, struct weir_error *err)
{
    enum weir_status status = batch_refuses(b, err);

    (void)d;
    if (status == WEIR_OK)
        status = make_room_and_find(b, t, now, err);
    if (status != WEIR_OK)
        return status;
    t->batch = b;
    t->state = TASK_NEW;
    b->stats.accepted++;
    b->pool->stats.accepted++;
    if (!t->finished_before) {
        t->submit_at = now;
        tell_task(t, EVENT_TASK_ACCEPTED, 0, NULL, now);
        hold(t, now);
        return WEIR_OK;
    }
    b->stats.finished++;
    b->pool->stats.finished++;
    b->held_bytes += answer_bytes(&t->answer);
    task_move(t, TASK_COMMITTED);
    deliver(t, now);
    return WEIR_OK;
}

enum weir_status dispatcher_submit_run(struct dispatcher *d, struct core_batch *b,
                                       struct core_run *r, struct instant now,
                                       struct weir_error *err)
{
    enum weir_status status = batch_refuses(b, err);

    (void)d;
    if (status != WEIR_OK)
        return status;
    if (!batch_reserve(b, r->rows))
        return error_nomem(err);
    if (!reorder_reserve(&b->order, run_first(r)->index, r->rows))
        return error_set(
            err, WEIR_E_LIMIT,
            "%u rows from row %llu are not within the window of %llu rows from row %llu, "
            "behind all others",
            (unsigned)r->rows, (unsigned long long)run_first(r)->index,
            (unsigned long long)b->order.window, (unsigned long long)b->order.next);
    b->stats.accepted += r->rows;
    b->pool->stats.accepted += r->rows;
    run_hold(b, r, now);
    return WEIR_OK;
}

void dispatcher_end(struct dispatcher *d, struct core_batch *b, struct instant now)
{
    (void)d;
    b->ended = true;
    close_if_done(b, now);
}

void dispatcher_report(struct dispatcher *d, struct core_attempt *a, struct instant now)
{
    struct core_attempt_slot *s = (struct core_attempt_slot *)(void *)a;

    if (!s->running) {
        s->pool->stats.late_reports++;
        answer_clear(&a->answer);
        return;
    }
    workers_settle_all(d, now);
    finish_attempt(s, now);
}

void dispatcher_committed(struct dispatcher *d, struct core_task *t, struct instant now)
{
    struct core_batch *b = t->batch;

    (void)d;
    assert(t->state == TASK_FINISHED && b->uncommitted > 0);
    b->uncommitted--;
    task_move(t, TASK_COMMITTED);
    deliver(t, now);
}

void dispatcher_uncommitted(struct dispatcher *d, struct core_task *t)
{
    struct core_batch *b = t->batch;

    (void)d;
    assert(b->aborted && t->state == TASK_FINISHED && b->uncommitted > 0);
    b->uncommitted--;
    task_move(t, TASK_DROPPED);
}

void dispatcher_give_back(struct dispatcher *d, struct core_task *t)
{
    (void)d;
    assert(t->state == TASK_DELIVERED && t->batch->lent > 0);
    assert(t->batch->held_bytes >= answer_bytes(&t->answer));
    t->batch->lent--;
    t->batch->held_bytes -= answer_bytes(&t->answer);
    t->given_back = true;
    task_release_if_unused(t);
}

static void fire_timers(struct dispatcher *d, struct instant now)
{
    struct heap_node *n;

    while ((n = heap_first(&d->timers))) {
        struct core_task *t = list_entry(n, struct core_task, timer);

        if (instant_before(now, t->wake_at))
            break;
        stop_timer_fired(t, now);
    }
}

/*
 * With a limit over all pools, a permit that is free goes to the pools in turn, one attempt each;
 * else the first pool would take every one. The list is turned, so that it begins with the pool
 * behind the one that started last.
 */
static struct instant start_in_turn(struct dispatcher *d, struct instant now)
{
    struct instant wake = INSTANT_NEVER;
    size_t idle = 0; /* pools in a row that started nothing */

    while (idle < d->pool_count) {
        struct core_pool *p = list_entry(list_pop_front(&d->pools), struct core_pool, link);
        uint64_t before = p->stats.attempts;
        struct instant when = choose_and_start(p, 1, now);

        list_push_back(&d->pools, &p->link);
        if (p->stats.attempts != before) {
            wake = INSTANT_NEVER;
            idle = 0;
        } else {
            wake = instant_min(wake, when);
            idle++;
        }
    }
    return wake;
}

/* One look at all pools. ret_again: what their crews did has made rows ready, or some went to another pool. */
static struct instant start_in_all(struct dispatcher *d, bool *ret_again, struct instant now)
{
    struct instant wake = INSTANT_NEVER;

    *ret_again = d->moved = false;
    if (d->options.global_limit)
        wake = start_in_turn(d, now);
    list_foreach (node, &d->pools) {
        struct core_pool *p = list_entry(node, struct core_pool, link);

        if (!d->options.global_limit)
            wake = instant_min(wake, choose_and_start(p, SIZE_MAX, now));
        if (p->kick && p->executor->ops->kick)
            p->executor->ops->kick(p->executor);
        p->kick = false;
        if (p->crew)
            wake = instant_min(wake, workers_run(p, ret_again, now));
        else
            wake = instant_min(wake, run_watch(p, now));
        wake = instant_min(wake, permit_settles_at(&p->permits, now));
    }
    *ret_again |= d->moved;
    return wake;
}

struct instant dispatcher_run(struct dispatcher *d, struct instant now)
{
    struct instant wake;
    struct heap_node *first;
    bool again;

    workers_settle_all(d, now);
    fire_timers(d, now);
    failures_stop(d, now);
    do {
        wake = start_in_all(d, &again, now);
        again |= d->stops_due > 0;
        failures_stop(d, now);
    } while (again);
    pools_reap(d);
    first = heap_first(&d->timers);
    if (first)
        wake = instant_min(wake, list_entry(first, struct core_task, timer)->wake_at);
    return wake;
}

bool dispatcher_batch_idle(const struct core_batch *b)
{
    return b->stats.running == 0 && b->abandoned == 0 && b->uncommitted == 0 && b->lent == 0;
}

void dispatcher_free_batch(struct dispatcher *d, struct core_batch *b)
{
    struct core_task *t;
    struct core_run *r;

    assert(b->closed && dispatcher_batch_idle(b));
    while ((t = reorder_drain(&b->order))) {
        if (t->run.rows > 0)
            run_release(&t->run);
        else
            t->release(t);
    }
    while ((r = b->dropped)) {
        b->dropped = r->next;
        run_release(r);
    }
    if (b->stop_due)
        d->stops_due--;
    mem_free(b->alike);
    list_remove(&b->turn);
    list_remove(&b->away_turn);
    list_remove(&b->link);
    heap_free(&b->retries);
    reorder_free(&b->order);
    mem_free(b);
}

void dispatcher_batch_stats(const struct core_batch *b, struct core_stats *ret)
{
    *ret = b->stats;
    ret->current_delay_ns = gate_delay(&b->pool->gate);
    if (!b->closed)
        batch_note_throttle(b, ret);
}

void dispatcher_pool_stats(const struct core_pool *p, struct core_stats *ret)
{
    *ret = p->stats;
    ret->current_delay_ns = gate_delay(&p->gate);
    ret->throttle = *gate_throttle(&p->gate);
    ret->max_concurrent_reached = p->permits.peak;
    ret->running = p->permits.running + p->ahead_count + p->run_rows - p->run_permits;
    list_foreach (node, &p->dispatcher->batches) {
        const struct core_batch *b = list_entry(node, struct core_batch, link);

        if (b->pool != p)
            continue;
        ret->ready += b->stats.ready;
        ret->waiting += b->stats.waiting;
        ret->queued += b->stats.queued;
    }
    breaking_note(p, ret);
}

enum weir_status dispatcher_set_fallback(struct dispatcher *d, struct core_pool *pool,
                                         struct core_pool *other, struct weir_error *err)
{
    if (other && other->removed)
        return error_set(err, WEIR_E_INVALID, "pool \"%s\" is being removed; name another one",
                         other->name);
    if (pool == other)
        return error_set(err, WEIR_E_INVALID,
                         "pool \"%s\" is to be its own fallback pool; name another one",
                         pool->name);
    list_foreach (node, &d->batches)
        if (list_entry(node, struct core_batch, link)->pool == pool)
            return error_set(
                err, WEIR_E_BUSY,
                "pool \"%s\" has batches; set its fallback pool before they are opened",
                pool->name);
    pool->fallback = other;
    return WEIR_OK;
}

void dispatcher_hold_pool(struct core_pool *pool, bool held, struct instant now)
{
    (void)now;
    pool->held = held;
    if (!held)
        return;
    ahead_call_in(pool, NULL);
    run_recall(pool, NULL);
}

const char *core_pool_kind(const struct core_pool *p)
{
    return p->executor->ops->kind;
}

const struct core_pool_options *core_pool_get_options(const struct core_pool *p)
{
    return &p->options;
}

const struct throttle_state *core_pool_throttle(const struct core_pool *p)
{
    return gate_throttle(&p->gate);
}

struct instant core_pool_held_until(const struct core_pool *p)
{
    return gate_held_until(&p->gate);
}

struct permit_account *core_pool_permits(struct core_pool *pool)
{
    return &pool->permits;
}

struct permits *dispatcher_permits(struct dispatcher *d)
{
    return &d->permits;
}

size_t dispatcher_running(const struct dispatcher *d)
{
    return d->permits.running;
}

bool dispatcher_batch_closed(const struct core_batch *b)
{
    return b->closed;
}
