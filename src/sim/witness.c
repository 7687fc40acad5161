/*
 * The witness: books of its own about rows, attempts and pools, and what must be true of them. See
 * witness.h.
 *
 * The first thing that is wrong is kept, as a sentence; later ones may only follow from it.
 */
#include "sim/witness.h"

#include "base/error.h"
#include "base/mem.h"
#include "sim/watch.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Attempts that the exact log of a pool remembers; more within a minute are not checked against budgets. */
#define LOG_ATTEMPTS 2048

/* The longest wait of the recovery table. */
#define RECOVERY_WAIT_MAX_NS (30 * NS_PER_S)

struct row_book {
    bool accepted, may_start, open, finished, durable, delivered, taken;
    bool away;       /* in the fallback pool */
    bool last_try;   /* there for one attempt, for it failed for good at home */
    size_t pool;     /* where it is */
    uint64_t worker; /* of the attempt that runs */
    uint64_t epoch;  /* of the breaker, when that was started */
    uint32_t attempts, counted, refused, capacity_retries, spared;
    struct instant accepted_at, not_before, deadline, first_start, last_start;
    enum weir_outcome outcome; /* of the last attempt, then of the row */
    enum weir_reason reason;
    int status;
    bool retryable;
    duration_ns retry_after_ns;
    uint64_t finish_order;
};

struct batch_book {
    struct sim_witness_batch about;
    struct row_book *rows;
    struct instant deadline;
    bool stopped, closed;
    uint64_t delivered, taken, open; /* rows; open: an attempt runs that is not judged */
    uint64_t last_finished;
    struct core_stats stats; /* as the events tell them */
};

struct log_entry {
    struct instant at;
    uint64_t batch, index;
    uint32_t attempt;
    int64_t tokens;
};

struct pool_book {
    struct sim_witness_pool about;
    struct instant last_start, hold;
    uint64_t open;
    struct log_entry *log;
    size_t log_len; /* ever; entry n is at n modulo LOG_ATTEMPTS */
    size_t log_from;
    struct throttle_state told; /* what its throttle was last said to do */
    uint64_t changes, changes_by_reason[THROTTLE_REASONS]; /* as told */
    struct sim_watch watch;
    struct core_stats
        stats; /* as the events tell them: of rows of its batches, and of attempts that ran here */
};

struct sim_witness {
    struct core_observer observer;
    size_t global_limit;
    struct pool_book pools[SIM_WITNESS_POOLS];
    size_t pool_count;
    struct batch_book batches[SIM_WITNESS_BATCHES];
    size_t batch_count; /* opened */
    bool expecting, shut_down;
    struct instant now;
    uint64_t hash, events, taken_back;
    bool is_wrong;
    char wrong[256];
};

static void wrong(struct sim_witness *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void wrong(struct sim_witness *w, const char *format, ...)
{
    va_list args;

    if (w->is_wrong)
        return;
    w->is_wrong = true;
    va_start(args, format);
    vsnprintf(w->wrong, sizeof w->wrong, format, args);
    va_end(args);
}

/* Complains unless `holds`; about a row. */
#define MUST(holds, what)                                                                          \
    do {                                                                                           \
        if (!(holds))                                                                              \
            wrong(w, "%s (batch %llu row %llu at %.6f s)", (what), (unsigned long long)ev->batch,  \
                  (unsigned long long)ev->index, duration_seconds(ev->at.ns - SIM_START.ns));      \
    } while (0)

/* What is counted of a row is its batch's and its batch's pool's; what is counted of an attempt, the pool's where it ran. */
#define COUNT_ROW(field) (b->stats.field++, w->pools[b->about.pool].stats.field++)
#define COUNT_ATTEMPT(field, n)                                                                    \
    do {                                                                                           \
        b->stats.field += (n);                                                                     \
        w->pools[r->pool].stats.field += (n);                                                      \
    } while (0)

/* ---- the exact log of a pool's dispatches ---- */

static int64_t limited(int64_t tokens, int64_t limit)
{
    return tokens > limit ? limit : tokens;
}

static void log_start(struct sim_witness *w, struct pool_book *p, const struct core_event *ev,
                      int64_t tokens)
{
    const struct gate_options *g = &p->about.options->gate;
    int64_t requests = 0, sum = 0;

    if (!p->log)
        return;
    p->log[p->log_len++ % LOG_ATTEMPTS] =
        (struct log_entry){ev->at, ev->batch, ev->index, ev->attempt, tokens};
    if (p->log_len - p->log_from > LOG_ATTEMPTS)
        p->log_from = p->log_len - LOG_ATTEMPTS;
    while (p->log[p->log_from % LOG_ATTEMPTS].at.ns < ev->at.ns - 60 * NS_PER_S)
        p->log_from++;
    for (size_t n = p->log_from; n < p->log_len; n++) {
        requests++;
        sum += p->log[n % LOG_ATTEMPTS].tokens;
    }
    if (g->requests_per_minute)
        MUST(requests <= g->requests_per_minute, "P3: more requests in a minute than the budget");
    if (g->tokens_per_minute)
        MUST(sum <= g->tokens_per_minute, "P3: more tokens in a minute than the budget");
}

static void log_settle(struct pool_book *p, const struct core_event *ev)
{
    int64_t used = ev->answer->tokens;

    if (used < 0 || !p->about.options->gate.tokens_per_minute)
        return;
    for (size_t n = p->log_len; n > p->log_from; n--) {
        struct log_entry *e = &p->log[(n - 1) % LOG_ATTEMPTS];

        if (e->batch == ev->batch && e->index == ev->index && e->attempt == ev->attempt) {
            e->tokens = limited(used, p->about.options->gate.tokens_per_minute);
            return;
        }
    }
}

/* ---- what each event must find ---- */

static void on_accepted(struct sim_witness *w, struct batch_book *b, struct row_book *r,
                        const struct core_event *ev)
{
    duration_ns own = b->about.row[ev->index].deadline_ns;

    MUST(!r->accepted, "P1: a row was accepted twice");
    MUST(!w->shut_down, "P8: a row was accepted after the shutdown");
    r->accepted = r->may_start = true;
    r->accepted_at = ev->at;
    r->not_before = ev->at;
    r->deadline = b->deadline;
    if (own > 0)
        r->deadline = instant_min(r->deadline, instant_add(ev->at, own));
    r->pool = b->about.pool;
    COUNT_ROW(accepted);
}

static void on_started(struct sim_witness *w, struct batch_book *b, struct row_book *r,
                       const struct core_event *ev)
{
    struct pool_book *p = &w->pools[r->pool];
    const struct core_pool_options *o = p->about.options;
    duration_ns gap = o->gate.min_dispatch_delay_ns;
    const char *bad = sim_watch_started(&p->watch, ev->worker, &r->epoch);

    MUST(!bad, bad);
    MUST(r->accepted && !r->finished && !r->open && r->may_start, "I2: a row was started again");
    MUST(ev->attempt == r->attempts + 1, "P7: attempts are not numbered one by one");
    MUST(!instant_before(ev->at, r->not_before), "a row did not wait as long as it was said");
    MUST(instant_before(ev->at, r->deadline), "a row was started after its deadline");
    MUST(!instant_before(ev->at, p->hold), "a pool did not pause as the service asked");
    MUST(!w->shut_down, "P8: a row was started after the shutdown");
    MUST(!b->stopped, "a row of a batch that was stopped was started");
    MUST(r->counted < o->max_attempts ||
             (r->away && r->counted < w->pools[b->about.pool].about.options->max_attempts),
         "a row was started more often than it may");
    if (o->gate.rate_per_s > 0 && (double)gap < (double)NS_PER_S / o->gate.rate_per_s)
        gap = (duration_ns)((double)NS_PER_S / o->gate.rate_per_s);
    if (!instant_is_none(p->last_start))
        MUST(ev->at.ns - p->last_start.ns >= gap, "P3: two dispatches came too close");
    p->last_start = ev->at;
    log_start(w, p, ev, b->about.row[ev->index].tokens);
    r->attempts++;
    r->worker = ev->worker;
    r->open = true;
    r->may_start = false;
    r->last_start = ev->at;
    if (r->attempts == 1)
        r->first_start = ev->at;
    b->open++;
    p->open++;
    COUNT_ATTEMPT(attempts, 1);
    if (b->open > b->stats.max_concurrent_reached)
        b->stats.max_concurrent_reached = b->open;
}

static void on_ended(struct sim_witness *w, struct batch_book *b, struct row_book *r,
                     const struct core_event *ev)
{
    struct pool_book *p = &w->pools[r->pool];
    const struct core_pool_options *o = p->about.options;
    const struct core_answer *a = ev->answer;
    const char *bad = sim_watch_ended(&p->watch, r->worker, r->epoch);

    MUST(r->open && ev->attempt == r->attempts, "I5: an attempt ended that did not run");
    MUST(!bad, bad);
    MUST(ev->worker == r->worker, "P7: an attempt ended on another worker");
    MUST((unsigned)a->outcome <= WEIR_OUTCOME_CANCELLED, "an outcome that there is not");
    r->open = false;
    b->open--;
    p->open--;
    r->outcome = a->outcome;
    r->reason = a->reason;
    r->status = a->status;
    r->retryable = a->retryable;
    r->retry_after_ns = a->advice.retry_after_ns;
    if (a->outcome == WEIR_OUTCOME_CAPACITY) {
        r->refused++;
        COUNT_ATTEMPT(refused, 1);
    } else if (a->bystander) {
        MUST(a->outcome == WEIR_OUTCOME_LOST, "P4: an attempt that was not lost is spared");
        MUST(++r->spared <= TASK_SPARED_MAX, "P4: a row is spared without end");
    } else if (a->outcome != WEIR_OUTCOME_OK && a->outcome != WEIR_OUTCOME_CANCELLED) {
        r->counted++;
    }
    if (a->tokens > 0)
        COUNT_ATTEMPT(tokens, (uint64_t)a->tokens);
    if (a->reason == WEIR_REASON_TIMEOUT)
        MUST(o->timeout_ns > 0 && ev->at.ns - r->last_start.ns >= o->timeout_ns,
             "an attempt was ended before its time was up");
    if (a->reason == WEIR_REASON_DEADLINE)
        MUST(!instant_before(ev->at, r->deadline), "a deadline that had not passed");
    log_settle(p, ev);
}

static void on_retry(struct sim_witness *w, struct batch_book *b, struct row_book *r,
                     const struct core_event *ev)
{
    struct pool_book *p = &w->pools[r->pool];
    const struct core_pool_options *o = p->about.options;
    duration_ns ceiling = o->recovery ? RECOVERY_WAIT_MAX_NS : o->backoff.ceiling_ns;
    bool paces = o->gate.throttle.kind == THROTTLE_ADAPTIVE;

    MUST(r->attempts > 0 && !r->open && !r->may_start && !r->finished, "I2: a retry of nothing");
    MUST(ev->wait_ns >= 0, "a wait that is negative");
    MUST(!w->shut_down && !b->stopped, "P8: a retry after the shutdown, or of a stopped batch");
    r->may_start = true;
    r->not_before = instant_add(ev->at, ev->wait_ns);
    if (r->outcome == WEIR_OUTCOME_CAPACITY) {
        MUST(ev->at.ns - r->first_start.ns < o->max_capacity_retry_ns,
             "P4: a capacity retry after the row's time");
        /* The adaptive throttle spaces dispatches instead: the pool is held, and a refused row goes first. */
        MUST(ev->wait_ns > 0 || paces, "a refused row does not wait");
        if (r->retry_after_ns > 0) {
            MUST(r->retry_after_ns <= o->gate.retry_after_max_ns, "Retry-After above the ceiling");
            MUST(ev->wait_ns >= r->retry_after_ns || paces, "Retry-After is not believed");
            p->hold = instant_max(p->hold, instant_add(ev->at, r->retry_after_ns));
        }
        r->capacity_retries++;
        COUNT_ATTEMPT(capacity_retries, 1);
        COUNT_ATTEMPT(total_throttle_time_ns, ev->wait_ns);
    } else {
        MUST(r->counted < o->max_attempts, "P4: a retry more than there may be");
        MUST(ev->wait_ns <= ceiling, "a backoff above its ceiling");
        COUNT_ATTEMPT(retries, 1);
    }
}

/* It was handed over and has not begun: as if it had not been. */
static void on_taken_back(struct sim_witness *w, struct batch_book *b, struct row_book *r,
                          const struct core_event *ev)
{
    struct pool_book *p = &w->pools[r->pool];
    const char *bad = sim_watch_ended(&p->watch, r->worker, r->epoch);

    MUST(r->open && ev->attempt == r->attempts, "I5: an attempt was taken back that did not run");
    MUST(!bad, bad);
    r->open = false;
    r->may_start = true;
    r->attempts--;
    b->open--;
    p->open--;
    COUNT_ATTEMPT(attempts, -UINT64_C(1));
    w->taken_back++;
}

static void on_failed_over(struct sim_witness *w, struct batch_book *b, struct row_book *r,
                           const struct core_event *ev)
{
    size_t to = w->pools[b->about.pool].about.fallback;

    MUST(to > 0, "a row went to a fallback pool that there is not");
    MUST(!r->away && !r->open && !r->finished && r->may_start,
         "a row went to the fallback pool that could not");
    if (w->is_wrong)
        return;
    r->last_try = r->attempts > 0 && r->outcome == WEIR_OUTCOME_FAILED && !r->retryable;
    r->away = true;
    r->pool = to - 1;
    COUNT_ROW(failed_over);
}

/* Where there is a recovery table, how many failures of the last one's kind it bears, as the contract has them. */
static uint32_t failures_borne(const struct core_pool_options *o, const struct row_book *r,
                               const struct core_answer *a)
{
    uint32_t retries;

    if (r->last_try)
        return 1;
    if (!o->recovery)
        return o->max_attempts;
    if (a->outcome == WEIR_OUTCOME_TIMEOUT)
        retries = 2;
    else if (a->reason == WEIR_REASON_PROTOCOL)
        retries = 3;
    else if (a->outcome == WEIR_OUTCOME_LOST)
        retries = 5;
    else
        retries = 3;
    return retries + 1 < o->max_attempts ? retries + 1 : o->max_attempts;
}

/* A row that ended without having been tried, or tried again, for what its pool says. */
static void judge_pools_word(struct sim_witness *w, const struct row_book *r,
                             const struct core_event *ev)
{
    const struct pool_book *p = &w->pools[r->pool];

    if (ev->answer->reason == WEIR_REASON_CIRCUIT_OPEN)
        MUST(p->about.options->breaker_fails && p->watch.breaker == BREAKER_OPEN,
             "circuit_open, and it is not, or rows are to wait");
    if (ev->answer->reason == WEIR_REASON_CHECKOUT_TIMEOUT)
        MUST(p->about.options->checkout_timeout_ns > 0, "checkout_timeout, and there is none");
}

/* P4: a row fails by its attempts only when all of them counted, and none was a refusal. */
static void judge_failure(struct sim_witness *w, const struct batch_book *b,
                          const struct row_book *r, const struct core_event *ev)
{
    const struct core_pool_options *o = w->pools[r->pool].about.options;
    const struct core_answer *a = ev->answer;
    bool of_attempts =
        a->outcome == WEIR_OUTCOME_LOST ||
        (a->outcome == WEIR_OUTCOME_TIMEOUT && a->reason != WEIR_REASON_DEADLINE) ||
        (a->outcome == WEIR_OUTCOME_FAILED && a->retryable &&
         a->reason != WEIR_REASON_RETRY_TIMEOUT && a->reason != WEIR_REASON_RETRY_AFTER_TOO_LONG);

    MUST(a->outcome != WEIR_OUTCOME_CAPACITY, "P4: a row ended as refused");
    judge_pools_word(w, r, ev);
    if (a->reason == WEIR_REASON_CIRCUIT_OPEN || a->reason == WEIR_REASON_CHECKOUT_TIMEOUT)
        return;
    if (of_attempts && !o->recovery && !r->away)
        MUST(r->counted == o->max_attempts, "P4: a row failed before its attempts were used up");
    if (of_attempts)
        MUST(r->counted >= failures_borne(o, r, a),
             "P4: a row failed before its attempts were used up");
    if (a->reason == WEIR_REASON_RETRY_TIMEOUT)
        MUST(r->outcome == WEIR_OUTCOME_CAPACITY &&
                 ev->at.ns - r->first_start.ns >= o->max_capacity_retry_ns,
             "retry_timeout before its time");
    if (a->reason == WEIR_REASON_RETRY_AFTER_TOO_LONG)
        MUST(r->retry_after_ns > o->gate.retry_after_max_ns, "Retry-After was not too long");
    if (a->reason == WEIR_REASON_DEADLINE)
        MUST(!instant_before(ev->at, r->deadline), "a deadline that had not passed");
    if (a->reason == WEIR_REASON_OVER_BUDGET)
        MUST(r->attempts == 0 && o->gate.tokens_per_minute > 0 &&
                 b->about.row[ev->index].tokens > o->gate.tokens_per_minute,
             "over_budget without reason");
}

static void on_finished(struct sim_witness *w, struct batch_book *b, struct row_book *r,
                        const struct core_event *ev)
{
    MUST(r->accepted && !r->finished && !r->open, "I2: a row finished that could not");
    judge_failure(w, b, r, ev);
    r->finished = true;
    r->may_start = false;
    r->finish_order = b->stats.finished;
    COUNT_ROW(finished);
    r->outcome = ev->answer->outcome;
    r->reason = ev->answer->reason;
    r->status = ev->answer->status;
    if (r->outcome == WEIR_OUTCOME_OK)
        COUNT_ROW(successes);
    else
        COUNT_ROW(failures);
}

static void on_delivered(struct sim_witness *w, struct batch_book *b, struct row_book *r,
                         const struct core_event *ev)
{
    MUST(r->finished && !r->delivered, "P2: a row was delivered that could not be");
    MUST(b->about.unordered || ev->index == b->delivered, "P2: rows were delivered out of order");
    MUST(!b->about.durable || r->durable, "I3: a row was delivered before the store had it");
    MUST(!b->closed, "a row was delivered after the end");
    r->delivered = true;
    b->delivered++;
    COUNT_ROW(delivered);
}

static void on_opened(struct sim_witness *w, const struct core_event *ev)
{
    struct batch_book *b;

    MUST(w->expecting && ev->batch == w->batch_count + 1, "a batch that nobody opened");
    if (w->is_wrong)
        return;
    w->expecting = false;
    b = &w->batches[w->batch_count++];
    b->deadline = b->about.deadline_ns ? instant_add(ev->at, b->about.deadline_ns) : INSTANT_NEVER;
}

static void mix(struct sim_witness *w, uint64_t value)
{
    w->hash = (w->hash ^ value) * UINT64_C(0x9E3779B97F4A7C15);
    w->hash ^= w->hash >> 29;
}

static void mix_event(struct sim_witness *w, const struct core_event *ev)
{
    mix(w, (uint64_t)ev->at.ns);
    mix(w, ((uint64_t)ev->kind << 48) ^ (ev->batch << 32) ^ ev->index);
    mix(w, ((uint64_t)ev->wait_ns << 8) ^ ev->attempt);
    if (ev->answer)
        mix(w, ((uint64_t)ev->answer->outcome << 40) ^ ((uint64_t)ev->answer->reason << 32) ^
                   (uint32_t)ev->answer->status);
    w->events++;
}

/* The late report of an attempt that was judged without it. */
static void on_late(struct sim_witness *w, struct batch_book *b, struct row_book *r,
                    const struct core_event *ev)
{
    MUST(ev->attempt >= 1 && ev->attempt <= r->attempts, "I5: a late report of no attempt");
    MUST(!w->pools[r->pool].about.cancels_at_once, "I5: late, though it ends at once");
    b->stats.late_reports++;
    log_settle(&w->pools[r->pool], ev);
}

/* A pause that was told is kept; one by a quota may end when the next answer says that there is more. */
static void on_held(struct sim_witness *w, const struct row_book *r, const struct core_event *ev)
{
    struct pool_book *p = &w->pools[r->pool];
    duration_ns asked = r->retry_after_ns;

    MUST(ev->wait_ns > 0, "P7: a pause of no time");
    if (asked > 0 && asked <= p->about.options->gate.retry_after_max_ns &&
        (r->outcome == WEIR_OUTCOME_FAILED || r->outcome == WEIR_OUTCOME_CAPACITY))
        p->hold = instant_max(p->hold, instant_add(ev->at, asked));
}

static struct pool_book *pool_named(struct sim_witness *w, const char *name)
{
    for (size_t i = 0; i < w->pool_count; i++)
        if (name && strcmp(w->pools[i].about.options->name, name) == 0)
            return &w->pools[i];
    return NULL;
}

/* P7: each decision of a throttle is told once, with what went before it. */
static void on_throttle(struct sim_witness *w, const struct core_event *ev)
{
    const struct throttle_state *s = ev->throttle;
    struct pool_book *p = pool_named(w, ev->pool);

    MUST(s && ev->detail && ev->pool, "P7: a throttle's change without its reason");
    MUST(p, "P6: the throttle of no pool");
    if (w->is_wrong)
        return;
    MUST(s->changes == p->changes + 1, "P7: a throttle's change was not told, or twice");
    MUST((unsigned)s->reason < THROTTLE_REASONS && s->reason != THROTTLE_REASON_START,
         "P7: a change for no reason");
    MUST(p->changes == 0 || s->mode_before == p->told.mode, "P7: a throttle was in another mode");
    if (w->is_wrong)
        return;
    p->told = *s;
    p->changes++;
    p->changes_by_reason[s->reason]++;
}

/* Whether it was the event of a pool, and not of a batch. */
static bool on_event_of_pool(struct sim_witness *w, const struct core_event *ev)
{
    struct pool_book *p = pool_named(w, ev->pool);
    const char *bad = NULL;

    switch (ev->kind) {
    case EVENT_THROTTLE_CHANGED:
        on_throttle(w, ev);
        return true;
    case EVENT_WORKER_TRANSITION:
        bad = p ? sim_watch_worker_moved(&p->watch, ev) : "P6: the worker of no pool";
        break;
    case EVENT_BREAKER_CHANGED:
        bad = p ? sim_watch_breaker_moved(&p->watch, ev) : "P6: the breaker of no pool";
        break;
    default:
        return false;
    }
    if (bad)
        wrong(w, "%s (pool %s worker %llu at %.6f s)", bad, ev->pool,
              (unsigned long long)ev->worker, duration_seconds(ev->at.ns - SIM_START.ns));
    return true;
}

/* Its row is in the pool that the event names. */
static void check_pool_of_row(struct sim_witness *w, const struct batch_book *b,
                              const struct row_book *r, const struct core_event *ev)
{
    size_t expected = r->accepted ? r->pool : b->about.pool;

    if (ev->kind == EVENT_TASK_FAILED_OVER && w->pools[b->about.pool].about.fallback > 0)
        expected = w->pools[b->about.pool].about.fallback - 1;
    MUST(strcmp(ev->pool, w->pools[expected].about.options->name) == 0, "P6: in another pool");
}

static void on_event(struct core_observer *o, const struct core_event *ev)
{
    struct sim_witness *w = (struct sim_witness *)(void *)o;
    struct batch_book *b;
    struct row_book *r;

    mix_event(w, ev);
    MUST(!instant_before(ev->at, w->now), "P7: an event before the one before it");
    w->now = ev->at;
    if (on_event_of_pool(w, ev))
        return;
    if (ev->kind == EVENT_BATCH_OPENED)
        on_opened(w, ev);
    MUST(ev->batch >= 1 && ev->batch <= w->batch_count, "an event of no batch");
    if (w->is_wrong)
        return;
    b = &w->batches[ev->batch - 1];
    if (ev->kind == EVENT_BATCH_CLOSED) {
        MUST(!b->closed, "a batch was closed twice");
        b->closed = true;
    }
    if (ev->kind == EVENT_BATCH_OPENED || ev->kind == EVENT_BATCH_CLOSED ||
        ev->kind == EVENT_FAILURES_ALIKE) {
        MUST(!strcmp(ev->pool, w->pools[b->about.pool].about.options->name), "P6: in another pool");
        return;
    }
    MUST(ev->index < b->about.rows, "an event of no row");
    if (w->is_wrong)
        return;
    r = &b->rows[ev->index];
    check_pool_of_row(w, b, r, ev);
    switch (ev->kind) {
    case EVENT_TASK_ACCEPTED:
        on_accepted(w, b, r, ev);
        break;
    case EVENT_ATTEMPT_STARTED:
        on_started(w, b, r, ev);
        break;
    case EVENT_ATTEMPT_ENDED:
        on_ended(w, b, r, ev);
        break;
    case EVENT_ATTEMPT_LATE:
        on_late(w, b, r, ev);
        break;
    case EVENT_TASK_RETRY:
        on_retry(w, b, r, ev);
        break;
    case EVENT_TASK_FINISHED:
        on_finished(w, b, r, ev);
        break;
    case EVENT_TASK_DELIVERED:
        on_delivered(w, b, r, ev);
        break;
    case EVENT_ATTEMPT_TAKEN_BACK:
        on_taken_back(w, b, r, ev);
        break;
    case EVENT_TASK_FAILED_OVER:
        on_failed_over(w, b, r, ev);
        break;
    case EVENT_POOL_HELD:
        on_held(w, r, ev);
        break;
    default:
        break;
    }
}

static const struct core_observer_ops ops = {.event = on_event};

/* ---- what the edges see ---- */

void sim_witness_durable(struct sim_witness *w, uint64_t batch, uint64_t index)
{
    struct row_book *r = &w->batches[batch - 1].rows[index];

    if (!r->finished || r->durable)
        wrong(w, "I3: row %llu of batch %llu was put twice, or too early",
              (unsigned long long)index, (unsigned long long)batch);
    r->durable = true;
}

/* Complains unless `holds`; about a task. */
#define MUST_OF_TASK(holds, what)                                                                  \
    do {                                                                                           \
        if (!(holds))                                                                              \
            wrong(w, "%s (batch %llu row %llu)", (what), (unsigned long long)batch,                \
                  (unsigned long long)t->index);                                                   \
    } while (0)

void sim_witness_take(struct sim_witness *w, uint64_t batch, const struct core_task *t,
                      struct instant now)
{
    struct batch_book *b = &w->batches[batch - 1];
    struct row_book *r = &b->rows[t->index];
    const struct core_answer *a = &t->answer;

    MUST_OF_TASK((b->about.unordered || t->index == b->taken) && r->delivered && !r->taken,
                 "P2: taken out of order");
    MUST_OF_TASK(t->complete_index == r->finish_order, "complete_index is not the order of ends");
    MUST_OF_TASK(a->outcome == r->outcome && a->reason == r->reason && a->status == r->status,
                 "P7: the result is not what the events said");
    MUST_OF_TASK(t->attempts == r->attempts && t->capacity_retries == r->capacity_retries,
                 "P7: the result counts other attempts than the events");
    MUST_OF_TASK(t->submit_at.ns == r->accepted_at.ns, "P7: submitted at another time");
    MUST_OF_TASK(instant_is_none(t->start_at) == (r->attempts == 0), "P7: started, or not");
    MUST_OF_TASK(r->attempts == 0 || !instant_before(t->start_at, t->submit_at),
                 "started before it was submitted");
    MUST_OF_TASK(!instant_before(t->complete_at, t->submit_at), "complete before submitted");
    MUST_OF_TASK(!instant_before(t->deliver_at, t->complete_at), "delivered before complete");
    MUST_OF_TASK(!instant_before(now, t->deliver_at), "taken before it was delivered");
    r->taken = true;
    b->taken++;
}

void sim_witness_stopped(struct sim_witness *w, uint64_t batch)
{
    w->batches[batch - 1].stopped = true;
}

void sim_witness_shut_down(struct sim_witness *w)
{
    w->shut_down = true;
}

/* ---- after each step ---- */

static bool has_bounded(const struct sim_witness *w, const struct pool_book *p)
{
    for (size_t i = 0; i < w->batch_count; i++)
        if (w->batches[i].about.bounded && &w->pools[w->batches[i].about.pool] == p)
            return true;
    return false;
}

/* Rows may wait for the ends of workers, whose places they hold: nobody knows when these come. */
static bool workers_are_ending(const struct sim_witness *w)
{
    for (size_t i = 0; i < w->pool_count; i++)
        if (w->pools[i].watch.ending > 0)
            return true;
    return false;
}

/* P5: a row that is ready, beside a permit that is free, is waited for by a time. */
static void check_idle(struct sim_witness *w, const struct sim_world *world,
                       const struct pool_book *p)
{
    struct core_stats s;
    size_t running = sim_world_running(world, p->about.pool);

    bool elsewhere = p->about.worker_in_flight > 0 || p->about.fallback > 0;

    dispatcher_pool_stats(p->about.pool, &s);
    if (s.running != running)
        wrong(w, "I1: %llu permits are taken and %zu attempts run", (unsigned long long)s.running,
              running);
    if (running > p->about.options->size)
        wrong(w, "P3: %zu attempts run in a pool of %zu", running, p->about.options->size);
    if (p->about.cancels_at_once && p->open != running)
        wrong(w, "I4: %zu attempts run for %llu rows", running, (unsigned long long)p->open);
    if (s.ready > 0 && running < p->about.options->size &&
        (!w->global_limit || sim_world_running(world, NULL) < w->global_limit) &&
        (!elsewhere || (sim_world_running(world, NULL) == 0 && !workers_are_ending(w))) &&
        !(p->watch.breaker == BREAKER_HALF_OPEN && p->watch.trials > 0) &&
        instant_is_never(sim_world_wake(world)) && !has_bounded(w, p))
        wrong(w, "P5: %llu rows are ready, a permit is free, and nothing is planned",
              (unsigned long long)s.ready);
}

static void check_waiting(struct sim_witness *w, const struct batch_book *b, struct instant now)
{
    for (uint64_t i = b->about.unordered ? 0 : b->delivered; i < b->stats.accepted && !b->stopped;
         i++) {
        const struct row_book *r = &b->rows[i];

        if (!r->accepted || !r->may_start || r->finished || b->closed)
            continue;
        if (!instant_before(now, r->deadline))
            wrong(w, "row %llu still waits after its deadline", (unsigned long long)i);
        if (w->shut_down)
            wrong(w, "P8: row %llu still waits after the shutdown", (unsigned long long)i);
    }
}

bool sim_witness_step(struct sim_witness *w, const struct sim_world *world)
{
    const char *broken = dispatcher_check(sim_world_dispatcher(world));

    if (broken)
        wrong(w, "%s", broken);
    if (sim_world_running(world, NULL) != dispatcher_running(sim_world_dispatcher(world)))
        wrong(w, "I1: the attempts that run and the permits differ");
    if (w->global_limit && sim_world_running(world, NULL) > w->global_limit)
        wrong(w, "P3: more attempts run than the global limit");
    if (!instant_before(sim_world_now(world), sim_world_wake(world)))
        wrong(w, "the dispatcher wants to be called again at once");
    for (size_t i = 0; i < w->pool_count; i++)
        check_idle(w, world, &w->pools[i]);
    for (size_t i = 0; i < w->batch_count; i++)
        check_waiting(w, &w->batches[i], sim_world_now(world));
    return !w->is_wrong;
}

/* ---- at the end ---- */

static void same(struct sim_witness *w, uint64_t counted, uint64_t told, const char *what)
{
    if (counted != told)
        wrong(w, "P7: %s: %llu by the events, %llu by the counters", what,
              (unsigned long long)counted, (unsigned long long)told);
}

static void compare(struct sim_witness *w, const struct core_stats *mine,
                    const struct core_stats *told)
{
    same(w, mine->accepted, told->accepted, "accepted");
    same(w, mine->finished, told->finished, "finished");
    same(w, mine->delivered, told->delivered, "delivered");
    same(w, mine->successes, told->successes, "successes");
    same(w, mine->failures, told->failures, "failures");
    same(w, mine->attempts, told->attempts, "attempts");
    same(w, mine->refused, told->refused, "refused");
    same(w, mine->retries, told->retries, "retries");
    same(w, mine->capacity_retries, told->capacity_retries, "capacity_retries");
    same(w, mine->tokens, told->tokens, "tokens");
    same(w, (uint64_t)mine->total_throttle_time_ns, (uint64_t)told->total_throttle_time_ns,
         "total_throttle_time");
    same(w, 0, told->ready, "ready at the end");
    same(w, 0, told->waiting, "waiting at the end");
    same(w, 0, told->queued, "queued at the end");
    same(w, mine->failed_over, told->failed_over, "failed_over");
    same(w, 0, told->running, "running at the end");
}

void sim_witness_over(struct sim_witness *w, uint64_t batch, const struct core_stats *stats,
                      bool cut_short)
{
    struct batch_book *b = &w->batches[batch - 1];

    compare(w, &b->stats, stats);
    same(w, b->stats.late_reports, stats->late_reports, "late_reports");
    same(w, b->stats.max_concurrent_reached, stats->max_concurrent_reached, "max_concurrent");
    same(w, b->delivered, b->taken, "taken");
    if (!b->closed)
        wrong(w, "batch %llu was not told to be closed", (unsigned long long)batch);
    if (b->open)
        wrong(w, "batch %llu is over and rows of it run", (unsigned long long)batch);
    if (!cut_short && b->stats.accepted != b->delivered)
        wrong(w, "P1: batch %llu: %llu rows accepted, %llu results", (unsigned long long)batch,
              (unsigned long long)b->stats.accepted, (unsigned long long)b->delivered);
}

void sim_witness_workers_over(struct sim_witness *w, size_t pool)
{
    const char *bad = sim_watch_over(&w->pools[pool].watch);

    if (bad)
        wrong(w, "%s (pool %s)", bad, w->pools[pool].about.options->name);
}

void sim_witness_pool_over(struct sim_witness *w, size_t pool, const struct core_stats *stats)
{
    compare(w, &w->pools[pool].stats, stats);
    same(w, w->pools[pool].changes, stats->throttle.changes, "changes of the throttle");
    for (int i = 0; i < THROTTLE_REASONS; i++)
        same(w, w->pools[pool].changes_by_reason[i], stats->throttle.by_reason[i],
             throttle_reason_name((enum throttle_reason)i));
}

/* ---- life ---- */

enum weir_status sim_witness_new(size_t global_limit, struct sim_witness **ret,
                                 struct weir_error *err)
{
    struct sim_witness *w = mem_calloc(1, sizeof *w);

    if (!w)
        return error_nomem(err);
    w->observer.ops = &ops;
    w->global_limit = global_limit;
    w->now = INSTANT_NONE;
    *ret = w;
    return WEIR_OK;
}

void sim_witness_free(struct sim_witness *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < SIM_WITNESS_POOLS; i++) {
        mem_free(w->pools[i].log);
        sim_watch_free(&w->pools[i].watch);
    }
    for (size_t i = 0; i < SIM_WITNESS_BATCHES; i++)
        mem_free(w->batches[i].rows);
    mem_free(w);
}

struct core_observer *sim_witness_observer(struct sim_witness *w)
{
    return &w->observer;
}

enum weir_status sim_witness_add_pool(struct sim_witness *w, const struct sim_witness_pool *about,
                                      struct weir_error *err)
{
    struct pool_book *p = &w->pools[w->pool_count];

    if (w->pool_count == SIM_WITNESS_POOLS)
        return error_set(err, WEIR_E_LIMIT, "a witness watches at most %d pools",
                         SIM_WITNESS_POOLS);
    *p = (struct pool_book){.about = *about, .last_start = INSTANT_NONE, .hold = INSTANT_NONE};
    sim_watch_init(&p->watch, about->options, about->worker_in_flight);
    if (about->options->gate.requests_per_minute || about->options->gate.tokens_per_minute) {
        p->log = mem_calloc(LOG_ATTEMPTS, sizeof *p->log);
        if (!p->log)
            return error_nomem(err);
    }
    w->pool_count++;
    return WEIR_OK;
}

enum weir_status sim_witness_expect(struct sim_witness *w, const struct sim_witness_batch *about,
                                    struct weir_error *err)
{
    struct batch_book *b = &w->batches[w->batch_count];

    b->rows = mem_free(b->rows);
    w->expecting = false;
    if (!about)
        return WEIR_OK;
    if (w->batch_count == SIM_WITNESS_BATCHES)
        return error_set(err, WEIR_E_LIMIT, "a witness watches at most %d batches",
                         SIM_WITNESS_BATCHES);
    b->rows = mem_calloc(about->rows + 1, sizeof *b->rows);
    if (!b->rows)
        return error_nomem(err);
    b->about = *about;
    w->expecting = true;
    return WEIR_OK;
}

const char *sim_witness_wrong(const struct sim_witness *w)
{
    return w->is_wrong ? w->wrong : NULL;
}

uint64_t sim_witness_hash(const struct sim_witness *w)
{
    return w->hash;
}

uint64_t sim_witness_events(const struct sim_witness *w)
{
    return w->events;
}

uint64_t sim_witness_taken_back(const struct sim_witness *w)
{
    return w->taken_back;
}

uint64_t sim_witness_accepted(const struct sim_witness *w, uint64_t batch)
{
    return w->batches[batch - 1].stats.accepted;
}
