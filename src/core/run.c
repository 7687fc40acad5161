/*
 * Runs: rows that go the whole way together, because their work takes less than handing over one of
 * them.
 *
 * A callback of 50 ns cannot be started, judged, counted and delivered by itself: each of these
 * costs more than the callback. So rows of which nothing special is known (no deadline, no tokens,
 * no store, nobody who watches each step) come in runs: chains of up to RUN_ROWS_MAX tasks,
 * submitted, started and reported in one piece or in parts. What is said of all of them is said
 * once, in the first one's `run`; who receives the results spreads it (run_spread).
 *
 *     submitted -> b->runs -> executor -> reported: clean     counted, put in order, delivered as one
 *                    ^  |        |        a single row        an ordinary task from now on: judged, tried again, ...
 *                    |  |        +------> not begun           back to where it was
 *                    |  +-> run_take_first(): one row, an ordinary task that is ready
 *
 * Runs are started only while all that is ready in the pool is in runs, attempts have lately taken
 * less than RUN_WORK_NS_MAX, and the gate lets everything pass. Else rows are taken off them one by
 * one, in order, and everything is as if there were no runs.
 *
 * The pool's permits (I1): run_permits = the least of the rows with the executor and the permits
 * there are. The executor runs no more than `size` at once, in order, as with attempts that are
 * ahead (ahead.c). When rows stay with it for longer than such work takes, something took long
 * after all, and what has not begun is called back (I4, P5).
 */
#include "core/internal.h"

#include <assert.h>

/* Work up to here goes in runs: a whole run then keeps one place for a quarter of a millisecond at most. */
#define RUN_WORK_NS_MAX (2 * NS_PER_US)
/* One that was merely interrupted must not count for too long. */
#define RUN_WORK_NS_CAP (4 * RUN_WORK_NS_MAX)
/* The mean moves by 1/8 of the difference. */
#define RUN_MEAN_SHIFT 3
/* What is with the executor is so much work for all its places ... */
#define RUN_AHEAD_NS NS_PER_MS
/* ... and no more rows than this, whatever they take. */
#define RUN_AHEAD_ROWS_MAX 4096
/* So often it is looked whether rows are still with the executor that were there at the last look: no row waits in a
   run for longer than twice this. Less, and a thread that merely lost its processor would count as a long callback. */
#define RUN_LOOK_NS (2 * NS_PER_MS)

void run_init(struct core_pool *p)
{
    p->takes_runs = p->executor->ops->start_run && !p->dispatcher->options.observer &&
                    p->dispatcher->options.global_limit == 0 && p->options.timeout_ns == 0 &&
                    !p->times && !p->options.breaker.on && gate_is_unpaced(&p->gate);
}

bool dispatcher_takes_runs(const struct core_batch *b)
{
    return b->pool->takes_runs && !b->options.durable && !b->options.unordered &&
           b->options.on_failures == FAILURES_GO_ON && instant_is_never(b->deadline);
}

/* ---- runs that are ready ---- */

/* Among the others by index; nearly always it is the last. */
static void add_ready(struct core_batch *b, struct core_run *r)
{
    struct core_run **at = b->runs_tail;

    if (b->runs && run_first(r)->index < b->runs_last_index)
        for (at = &b->runs; run_first(*at)->index < run_first(r)->index;)
            at = &(*at)->next;
    r->next = *at;
    *at = r;
    if (!r->next) {
        b->runs_tail = &r->next;
        b->runs_last_index = run_first(r)->index;
    }
    b->run_ready += r->rows;
    b->stats.ready += r->rows;
    if (list_empty(&b->turn))
        list_push_back(&b->pool->turn, &b->turn);
}

/* The rows of the first one are still counted as ready. */
static struct core_run *take_ready(struct core_batch *b)
{
    struct core_run *r = b->runs;

    b->runs = r->next;
    if (!b->runs)
        b->runs_tail = &b->runs;
    r->next = NULL;
    return r;
}

static void uncount_ready(struct core_batch *b, uint32_t rows)
{
    b->run_ready -= rows;
    b->stats.ready -= rows;
    if (b->stats.ready == b->away_ready)
        list_remove(&b->turn);
}

void run_hold(struct core_batch *b, struct core_run *r, struct instant now)
{
    r->batch = b;
    run_first(r)->submit_at = now;
    b->dispatcher->live += r->rows;
    add_ready(b, r);
}

/* From now on the row is an ordinary task; its place in the order is its own. */
static void leave_run(struct core_task *t, struct core_batch *b)
{
    t->run.rows = 0;
    t->next = NULL;
    t->batch = b;
    reorder_fill(&b->order, t->index, t);
}

/* What is said of all rows of a run is said in its second one too, which becomes the first. */
static struct core_run *without_first(struct core_run *r)
{
    struct core_task *first = run_first(r), *second = first->next;

    if (r->rows == 1)
        return NULL;
    second->run = *r;
    second->run.rows = r->rows - 1;
    second->submit_at = first->submit_at;
    return &second->run;
}

struct core_task *run_take_first(struct core_batch *b)
{
    struct core_run *r = take_ready(b), *rest = without_first(r);
    struct core_task *t = run_first(r);

    uncount_ready(b, r->rows);
    if (rest)
        add_ready(b, rest);
    leave_run(t, b);
    choose_make_ready(t);
    return t;
}

void run_scatter(struct core_batch *b)
{
    while (b->runs)
        run_take_first(b);
}

void run_drop_ready(struct core_batch *b)
{
    while (b->runs) {
        struct core_run *r = take_ready(b);

        uncount_ready(b, r->rows);
        run_drop(r);
    }
}

void run_drop(struct core_run *r)
{
    struct core_batch *b = r->batch;

    b->dispatcher->live -= r->rows;
    r->next = b->dropped;
    b->dropped = r;
}

void run_release(struct core_run *r)
{
    struct core_task *t = run_first(r);

    for (uint32_t rows = r->rows; rows > 0; rows--) {
        struct core_task *next = t->next;

        t->release(t);
        t = next;
    }
}

/* ---- starting ---- */

/* Gives back the permits that the rows with the executor cannot use. */
static void return_permits(struct core_pool *p)
{
    if (p->run_permits <= p->run_rows)
        return;
    permit_return_many(&p->permits, p->run_permits - (size_t)p->run_rows);
    p->run_permits = (size_t)p->run_rows;
}

void run_take_permits(struct core_pool *p)
{
    if (p->run_permits < p->run_rows)
        p->run_permits += permit_take_many(&p->permits, (size_t)(p->run_rows - p->run_permits));
}

/* Whether all that is ready in the pool is in runs, and may be started so. */
bool run_may_start(struct core_pool *p, struct instant now)
{
    if (!p->takes_runs || p->permits.burst.places > 0 || p->work_ns >= RUN_WORK_NS_MAX ||
        p->crowding > 0 || p->ahead_count > 0 || list_empty(&p->turn) || !list_empty(&p->guests) ||
        !gate_may_take_many(&p->gate, now, p->permits.running - p->run_permits))
        return false;
    list_foreach (node, &p->turn) {
        const struct core_batch *b = list_entry(node, struct core_batch, turn);

        if (b->stats.ready != b->run_ready ||
            (b->options.output_bytes > 0 && b->held_bytes >= b->options.output_bytes))
            return false;
    }
    return true;
}

static void start_run(struct core_batch *b, struct core_run *r, struct instant now)
{
    struct core_pool *p = b->pool;
    size_t others = p->permits.running - p->run_permits;
    struct throttle_limit limit = throttle_limit_of(gate_throttle(&p->gate));
    uint64_t places;

    uncount_ready(b, r->rows);
    r->begun = r->clean = false;
    r->ticket = gate_take_many(&p->gate, now, others, r->rows);
    b->stats.running += r->rows;
    b->stats.attempts += r->rows;
    p->stats.attempts += r->rows;
    core_stats_note_limit(&b->stats, &limit);
    core_stats_note_limit(&p->stats, &limit);
    if (p->run_young + p->run_old == 0)
        p->run_look_at = instant_add(now, RUN_LOOK_NS);
    r->round = p->run_round;
    p->run_young += r->rows;
    b->run_rows += r->rows;
    p->run_rows += r->rows;
    run_take_permits(p);
    places = b->places + (b->run_rows < p->run_permits ? b->run_rows : p->run_permits);
    if (places > b->stats.max_concurrent_reached)
        b->stats.max_concurrent_reached = places;
    p->kick = true;
    p->executor->ops->start_run(p->executor, r);
}

void run_start(struct core_pool *p, struct instant now)
{
    duration_ns work_ns = p->work_ns > 0 ? p->work_ns : 1;
    uint64_t most = (uint64_t)(RUN_AHEAD_NS / work_ns) * p->options.size;

    if (most > RUN_AHEAD_ROWS_MAX)
        most = RUN_AHEAD_ROWS_MAX;
    run_take_permits(p);
    while (p->run_rows < most && !list_empty(&p->turn)) {
        struct core_batch *b = list_entry(list_front(&p->turn), struct core_batch, turn);

        if (p->run_permits == 0 && !permit_available(&p->permits))
            return;
        if (b->run_rows > 0 && b->options.output_bytes > 0 &&
            b->held_bytes + b->run_rows * b->run_row_bytes >= b->options.output_bytes)
            return; /* as far as can be foreseen, there is no room for more outputs */
        list_remove(&b->turn);
        list_push_back(&p->turn, &b->turn);
        start_run(b, take_ready(b), now);
    }
}

/* ---- calling back ---- */

void run_recall(struct core_pool *p, const struct core_batch *cancelled)
{
    if (p->run_rows > 0)
        p->executor->ops->recall(p->executor, cancelled);
    /* What is still there then is being worked on, however long it takes: no look is for it. */
    p->run_round += 2;
    p->run_young = p->run_old = 0;
}

/* That others report says nothing of a run: it may be behind the one callback of many that takes long. */
struct instant run_watch(struct core_pool *p, struct instant now)
{
    if (p->run_young + p->run_old == 0)
        return INSTANT_NEVER;
    if (instant_before(now, p->run_look_at))
        return p->run_look_at;
    if (p->run_old > 0) {
        p->work_ns = RUN_WORK_NS_CAP;
        run_recall(p, NULL);
        return INSTANT_NEVER;
    }
    p->run_round++;
    p->run_old = p->run_young;
    p->run_young = 0;
    p->run_look_at = instant_add(now, RUN_LOOK_NS);
    return p->run_look_at;
}

/* Unless nothing is there that was not called back before. */
static void recall_once(struct core_pool *p)
{
    if (p->run_young + p->run_old > 0)
        run_recall(p, NULL);
}

static void learn(struct core_pool *p, duration_ns ran)
{
    if (ran > RUN_WORK_NS_CAP)
        ran = RUN_WORK_NS_CAP;
    p->work_ns += (ran - p->work_ns) / (1 << RUN_MEAN_SHIFT);
    if (p->work_ns >= RUN_WORK_NS_MAX)
        recall_once(p);
}

/* ---- reports ---- */

static void leave_executor(struct core_run *r, struct instant now)
{
    struct core_batch *b = r->batch;
    struct core_pool *p = b->pool;

    assert(b->run_rows >= r->rows && p->run_rows >= r->rows);
    b->run_rows -= r->rows;
    p->run_rows -= r->rows;
    if (r->round == p->run_round)
        p->run_young -= r->rows;
    else if (r->round + 1 == p->run_round)
        p->run_old -= r->rows;
    permit_settle(&p->permits, now);
    return_permits(p);
}

static void come_back(struct core_run *r, struct instant now)
{
    struct core_batch *b = r->batch;
    struct core_pool *p = b->pool;

    b->stats.running -= r->rows;
    b->stats.attempts -= r->rows;
    p->stats.attempts -= r->rows;
    gate_lost(&p->gate, now, &r->ticket);
    if (b->stopping) {
        run_drop(r);
    } else {
        add_ready(b, r);
        if (b->dispatcher->shutting_down)
            stop_end_waiting(b, now);
    }
}

static void count_results(struct core_stats *s, const struct core_run *r, duration_ns delay_ns)
{
    s->finished += r->rows;
    s->successes += r->rows;
    s->dispatch_delay_at_completion_ns = delay_ns;
}

/* All rows are done well. */
static void finish_run(struct core_run *r, struct instant now)
{
    struct core_task *first = run_first(r);
    struct core_batch *b = r->batch;
    struct core_pool *p = b->pool;
    struct dispatcher_host *host = b->dispatcher->options.host;

    b->stats.running -= r->rows;
    b->dispatcher->live -= r->rows;
    gate_accepted_many(&p->gate, now, &r->ticket, r->rows, r->work_ns);
    learn(p, r->work_ns);
    first->complete_index = b->next_complete_index;
    b->next_complete_index += r->rows;
    count_results(&b->stats, r, gate_delay(&p->gate));
    count_results(&p->stats, r, gate_delay(&p->gate));
    if (b->alike)
        alike_succeeded(b->alike);
    b->held_bytes += r->output_bytes;
    b->run_row_bytes = r->output_bytes / r->rows;
    host->run_finished(host, b, r);
    task_move(first, TASK_COMMITTED);
    reorder_fill(&b->order, first->index, first);
    deliver_in_order(b, now);
}

/* A row that did not end well by itself: an ordinary task, as if its attempt had had a place of its own. */
static void judge_row(struct core_run *r, struct instant now)
{
    struct core_task *t = run_first(r);
    struct core_batch *b = r->batch;
    struct core_pool *p = b->pool;

    assert(r->rows == 1);
    t->ticket = r->ticket;
    t->attempts = 1;
    t->start_at = t->answer.started_at;
    learn(p, r->work_ns);
    leave_run(t, b);
    task_move(t, TASK_READY);
    task_move(t, TASK_RUNNING);
    list_push_back(&b->running, &t->link);
    if (t->answer.outcome == WEIR_OUTCOME_CAPACITY)
        recall_once(p);
    finish_in_run(t, now);
}

void dispatcher_report_runs(struct dispatcher *d, struct core_run *chain, struct instant now)
{
    (void)d;
    while (chain) {
        struct core_run *r = chain;
        struct core_batch *b = r->batch;

        chain = r->next;
        r->next = NULL;
        leave_executor(r, now);
        if (!r->begun)
            come_back(r, now);
        else if (r->clean)
            finish_run(r, now);
        else
            judge_row(r, now);
        close_if_done(b, now);
    }
}

static void count_deliveries(struct core_stats *s, const struct core_run *r,
                             duration_ns first_waited_ns)
{
    s->delivered += r->rows;
    s->buffer_wait_sum_ns += first_waited_ns * r->rows - r->after_first_ns;
    if (first_waited_ns > s->buffer_wait_max_ns)
        s->buffer_wait_max_ns = first_waited_ns;
}

void run_deliver(struct core_run *r, struct instant now)
{
    struct core_task *first = run_first(r);
    struct core_batch *b = r->batch;
    struct dispatcher_host *host = b->dispatcher->options.host;
    duration_ns waited = instant_diff(now, first->answer.ended_at);

    reorder_advance_many(&b->order, r->rows);
    task_move(first, TASK_DELIVERED);
    first->deliver_at = now;
    b->lent += r->rows;
    count_deliveries(&b->stats, r, waited);
    count_deliveries(&b->pool->stats, r, waited);
    host->deliver_run(host, b, r);
}

void dispatcher_give_back_run(struct dispatcher *d, struct core_batch *b, uint64_t rows,
                              uint64_t output_bytes)
{
    (void)d;
    assert(b->lent >= rows && b->held_bytes >= output_bytes);
    b->lent -= rows;
    b->held_bytes -= output_bytes;
}
