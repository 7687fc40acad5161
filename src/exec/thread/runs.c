/*
 * Rows that come in runs (core/run.c says when): a thread takes a run, does its rows one after the
 * other, and reports them together.
 *
 * What is done for each row is the callback, one look at the clock (the end of a row is the
 * beginning of the next), one atomic addition to claim it, and moving its answer. A report is due
 * when a row did not end well, when rows have waited for it for REPORT_WAIT_NS, when they are
 * RUNS_REPORTED runs, and when there is nothing else to do.
 *
 * A callback that takes long after all must hold up neither the rows before it nor those behind it:
 * recall() reports the former and takes the latter back, from another thread, while the callback
 * runs.
 */
#include "exec/thread/internal.h"

#define REPORT_WAIT_NS (50 * NS_PER_US)

#define CLAIM(begun, allowed) ((uint64_t)(begun) << 32 | (allowed))
#define CLAIM_BEGUN(claim)    ((uint32_t)((claim) >> 32))
#define CLAIM_ALLOWED(claim)  ((uint32_t)(claim))

static struct instant now_of(const struct worker *w)
{
    return w->executor->host->now(w->executor->host);
}

static void report(struct thread_executor *x, struct core_run *chain)
{
    if (chain)
        x->host->report_runs(x->host, chain);
}

static void append(struct core_run ***tail, struct core_run *r)
{
    r->next = NULL;
    **tail = r;
    *tail = &r->next;
}

static struct core_task *nth(struct core_task *t, uint32_t n)
{
    while (n-- > 0)
        t = t->next;
    return t;
}

/* ---- parts of a run ---- */

/* The rows of a run behind the first `rows`, as a run; NULL: there are none. `next` is the first of them. */
static struct core_run *cut(struct core_run *r, uint32_t rows, struct core_task *last,
                            struct core_task *next)
{
    struct core_run *rest = NULL;

    if (rows < r->rows) {
        rest = &next->run;
        *rest = *r;
        rest->rows = r->rows - rows;
        rest->ticket = gate_ticket_nth(&r->ticket, rows);
        next->submit_at = run_first(r)->submit_at;
        r->last = last;
    }
    r->rows = rows;
    return rest;
}

/* What the engine wants to know of rows that are done, without looking at each. */
static void sum_up(struct core_run *r, bool clean)
{
    struct core_task *first = run_first(r), *t = first;
    duration_ns sum = 0, longest = 0, after_first = 0;
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < r->rows; i++, t = t->next) {
        duration_ns ran = instant_diff(t->answer.ended_at, t->answer.started_at);

        sum += ran;
        longest = ran > longest ? ran : longest;
        after_first += instant_diff(t->answer.ended_at, first->answer.ended_at);
        bytes += t->answer.output_len;
    }
    r->begun = true;
    r->clean = clean;
    r->output_bytes = bytes;
    r->after_first_ns = after_first;
    r->work_ns = r->rows > 1 ? (sum - longest) / (r->rows - 1) : sum;
}

/* Under the lock: the worker's rows up to `upto`, with `last` before it and `next` behind, are to be reported. */
static void finish_rows(struct worker *w, uint32_t upto, struct core_task *last,
                        struct core_task *next, bool clean)
{
    struct core_run *r = w->run;

    if (upto == w->reported)
        return;
    w->run = cut(r, upto - w->reported, last, next);
    w->reported = upto;
    sum_up(r, clean);
    append(&w->finished_tail, r);
    w->finished_runs++;
}

struct core_run *runs_finished(struct worker *w)
{
    struct core_run *chain = w->finished;

    w->finished_runs = 0;
    w->finished = NULL;
    w->finished_tail = &w->finished;
    return chain;
}

/* ---- the worker ---- */

bool runs_take(struct worker *w)
{
    struct thread_executor *x = w->executor;
    struct core_run *r = x->runs;

    if (!r)
        return false;
    x->runs = r->next;
    if (!x->runs)
        x->runs_tail = &x->runs;
    x->queued--;
    r->next = NULL;
    w->run = r;
    w->task = run_first(r);
    w->end = r->last;
    w->last = NULL;
    if (!w->finished)
        w->waits_since = INSTANT_NONE;
    w->reported = 0;
    atomic_store_explicit(&w->row.cancelled, false, memory_order_relaxed);
    atomic_store_explicit(&w->done, 0, memory_order_relaxed);
    atomic_store_explicit(&w->claim, CLAIM(0, r->rows), memory_order_relaxed);
    return true;
}

/* False: there is no other row, or it was taken back. */
static bool claim_row(struct worker *w)
{
    uint64_t claim = atomic_fetch_add_explicit(&w->claim, CLAIM(1, 0), memory_order_acq_rel);

    return CLAIM_BEGUN(claim) < CLAIM_ALLOWED(claim);
}

static void begin_row(struct worker *w, struct instant now)
{
    struct core_attempt *a = &w->row;
    const struct core_task *t = w->task;

    a->payload = t->payload;
    a->payload_len = t->payload_len;
    a->key = t->key;
    a->index = t->index;
    a->number = 1;
    a->answer.started_at = now;
}

/* Under the lock: the row at hand has ended, and not well: it is reported by itself. */
static void finish_row(struct worker *w, uint32_t done)
{
    finish_rows(w, done, w->last, w->task, true);
    finish_rows(w, done + 1, w->task, w->next, false);
    atomic_store_explicit(&w->done, done + 1, memory_order_release);
}

/* Reports rows that are done: the last of them by itself, when it is not clean. */
static void report_so_far(struct worker *w, uint32_t done, bool clean)
{
    struct core_run *chain;

    pthread_mutex_lock(&w->executor->lock);
    if (clean)
        finish_rows(w, done, w->task, w->next, true);
    else
        finish_row(w, done - 1);
    chain = runs_finished(w);
    pthread_mutex_unlock(&w->executor->lock);
    report(w->executor, chain);
}

static void work_rows(struct worker *w)
{
    struct thread_executor *x = w->executor;
    struct core_attempt *a = &w->row;
    struct instant now = now_of(w);
    uint32_t done = 0;

    if (instant_is_none(w->waits_since))
        w->waits_since = now;
    while (claim_row(w)) {
        bool clean;

        w->next = w->task == w->end ? NULL : w->task->next;
        task_prefetch(w->task, w->next, 3);
        begin_row(w, now);
        x->options.work(x->options.ctx, a);
        now = now_of(w);
        a->answer.ended_at = now;
        clean = answer_move_plain(&w->task->answer, &a->answer);
        done++;
        if (clean)
            atomic_store_explicit(&w->done, done, memory_order_release);
        else
            answer_move(&w->task->answer, &a->answer);
        if (!clean || instant_diff(now, w->waits_since) >= REPORT_WAIT_NS) {
            report_so_far(w, done, clean);
            w->waits_since = now = now_of(w); /* reporting is no part of the next row's work */
        }
        w->last = w->task;
        w->task = w->next;
    }
    pthread_mutex_lock(&x->lock);
    finish_rows(w, done, w->last, w->task, true);
    w->run = NULL;
    pthread_mutex_unlock(&x->lock);
}

void runs_work(struct worker *w, void (*on_thread_exit)(void *worker))
{
    pthread_cleanup_push(on_thread_exit, w);
    work_rows(w);
    pthread_cleanup_pop(0);
}

void runs_thread_lost(struct worker *w)
{
    struct thread_executor *x = w->executor;
    uint32_t done = atomic_load_explicit(&w->done, memory_order_relaxed);
    struct core_run *chain;

    w->row.answer.ended_at = now_of(w);
    answer_move(&w->task->answer, &w->row.answer);
    pthread_mutex_lock(&x->lock);
    finish_row(w, done);
    if (w->run) {
        /* Not begun, and not taken back: for another thread, before all others. */
        w->run->next = x->runs;
        if (!x->runs)
            x->runs_tail = &w->run->next;
        x->runs = w->run;
        x->queued++;
        w->run = NULL;
    }
    chain = runs_finished(w);
    pthread_mutex_unlock(&x->lock);
    report(x, chain);
}

/* ---- the engine's thread ---- */

void runs_start(struct core_executor *ex, struct core_run *run)
{
    struct thread_executor *x = (struct thread_executor *)ex;

    pthread_mutex_lock(&x->lock);
    append(&x->runs_tail, run);
    x->queued++;
    pthread_mutex_unlock(&x->lock);
}

/* Under the lock: reports what the worker has done, and takes what it has not begun. */
static void take_back(struct worker *w, struct core_run ***tail)
{
    uint64_t claim = atomic_load_explicit(&w->claim, memory_order_relaxed);
    uint32_t begun, done;
    struct core_task *t;
    struct core_run *rest;

    do {
        begun = CLAIM_BEGUN(claim);
        if (begun > CLAIM_ALLOWED(claim))
            begun = CLAIM_ALLOWED(claim);
    } while (!atomic_compare_exchange_weak_explicit(&w->claim, &claim,
                                                    CLAIM(CLAIM_BEGUN(claim), begun),
                                                    memory_order_acq_rel, memory_order_relaxed));
    done = atomic_load_explicit(&w->done, memory_order_acquire);
    if (done > w->reported) {
        t = nth(run_first(w->run), done - w->reported - 1);
        finish_rows(w, done, t, t->next, true);
    }
    if (!w->run)
        return;
    rest = w->run;
    if (begun > done) { /* one is at hand */
        t = run_first(w->run);
        rest = cut(w->run, 1, t, t->next);
    } else {
        w->run = NULL;
    }
    if (rest) {
        rest->begun = false;
        append(tail, rest);
    }
}

static void splice(struct core_run ***tail, struct core_run *chain)
{
    if (!chain)
        return;
    **tail = chain;
    while (chain->next)
        chain = chain->next;
    *tail = &chain->next;
}

/* Under the lock. */
static struct core_run *take_queued(struct thread_executor *x)
{
    struct core_run *chain = x->runs;

    for (struct core_run *r = chain; r; r = r->next) {
        r->begun = false;
        x->queued--;
    }
    x->runs = NULL;
    x->runs_tail = &x->runs;
    return chain;
}

void runs_recall(struct core_executor *ex, const struct core_batch *cancelled)
{
    struct thread_executor *x = (struct thread_executor *)ex;
    struct core_run *chain = NULL, **tail = &chain;

    pthread_mutex_lock(&x->lock);
    list_foreach (node, &x->workers) {
        struct worker *w = list_entry(node, struct worker, link);

        if (w->run)
            take_back(w, &tail);
        splice(&tail, runs_finished(w));
        if (w->run && w->run->batch == cancelled)
            atomic_store_explicit(&w->row.cancelled, true, memory_order_relaxed);
    }
    splice(&tail, take_queued(x));
    pthread_mutex_unlock(&x->lock);
    report(x, chain);
}

struct core_run *runs_orphans(struct thread_executor *x)
{
    return take_queued(x);
}

/* Each row by itself, for none of them is done well. */
void runs_fail(struct thread_executor *x, struct core_run *chain)
{
    while (chain) {
        struct core_run *r = chain;
        struct core_task *t = run_first(r);
        struct core_run *rest = cut(r, 1, t, t->next);

        chain = r->next;
        if (rest) {
            rest->next = chain;
            chain = rest;
        }
        t->answer.started_at = t->answer.ended_at = x->host->now(x->host);
        t->answer.reason = WEIR_REASON_INTERNAL;
        answer_say(&t->answer, "no thread could be started to run the callback");
        sum_up(r, false);
        r->next = NULL;
        report(x, r);
    }
}
