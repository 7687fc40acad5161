/*
 * The thread executor; see thread.h.
 *
 * One queue, in the order of start(), under one lock; a thread that is done takes the next from its
 * head. Waking a thread costs more than a short callback, so not everybody is woken for a group of
 * attempts: one is, and each that wakes up wakes the next while there is more to do. So short work
 * is done by as few threads as can keep up with it, and long work has all of them within a moment.
 * Rows that come in runs are in runs.c.
 */
#include "exec/thread/thread.h"

#include "base/error.h"
#include "base/mem.h"
#include "exec/thread/internal.h"

static struct thread_executor *of(struct core_executor *ex)
{
    return (struct thread_executor *)ex;
}

static void on_thread_exit(void *arg);

static void run_attempt(struct worker *w, struct core_attempt *a)
{
    struct thread_executor *x = w->executor;

    w->attempt = a;
    a->answer.started_at = x->host->now(x->host);
    pthread_cleanup_push(on_thread_exit, w);
    x->options.work(x->options.ctx, a);
    pthread_cleanup_pop(0);
    a->answer.ended_at = x->host->now(x->host);
    w->attempt = NULL;
    x->host->report(x->host, a);
}

/* Under the lock: one more thread for what is in the queue, unless one is coming already. */
static void wake_one(struct thread_executor *x)
{
    if (x->queued == 0 || x->waking > 0 || x->idle == 0)
        return;
    x->waking++;
    pthread_cond_signal(&x->work);
}

/* Under the lock. `edge` of an attempt in the queue says where the pointer to it is. */
static void unqueue(struct thread_executor *x, struct core_attempt *a)
{
    struct core_attempt **link = a->edge;

    *link = a->next;
    if (a->next)
        a->next->edge = link;
    else
        x->queue_tail = link;
    x->queued--;
    a->next = NULL;
    a->edge = NULL;
}

/* Under the lock: threads that will take something again. Those that leave are still there, for close() to wait for. */
static size_t staying(const struct thread_executor *x)
{
    return x->threads - x->leaving;
}

/* Under the lock: whether there are more threads than the pool has places, since it was made smaller. */
static bool has_surplus(const struct thread_executor *x)
{
    return staying(x) > x->options.threads && !x->closing;
}

/* Under the lock. An attempt, or a run (*ret is NULL then). False: the executor is closing, or the thread is surplus: then it
 * is not counted any more, and touches nothing of the executor once the lock is let go. */
static bool take(struct worker *w, struct core_attempt **ret)
{
    struct thread_executor *x = w->executor;
    bool taken;

    while (x->queued == 0 && !x->closing && !has_surplus(x)) {
        x->idle++;
        pthread_cond_wait(&x->work, &x->lock);
        x->idle--;
        x->waking -= x->waking > 0;
    }
    *ret = NULL;
    if (has_surplus(x)) {
        w->surplus = true;
        list_remove(&w->link);
        x->threads--;
        wake_one(x);
        return false;
    }
    *ret = x->queue;
    if (*ret)
        unqueue(x, *ret);
    taken = *ret || runs_take(w);
    wake_one(x);
    return taken;
}

static void *worker_main(void *arg);

/* Under the lock. */
static bool start_thread(struct thread_executor *x)
{
    pthread_attr_t detached;
    pthread_t thread;
    int rc;

    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&thread, &detached, worker_main, x);
    pthread_attr_destroy(&detached);
    if (rc == 0)
        x->threads++;
    return rc == 0;
}

static void fail_chain(struct thread_executor *x, struct core_attempt *a)
{
    while (a) {
        struct core_attempt *next = a->next;

        a->next = NULL;
        a->answer.outcome = WEIR_OUTCOME_LOST;
        a->answer.reason = WEIR_REASON_INTERNAL;
        answer_say(&a->answer, "no thread could be started to run the callback");
        x->host->report(x->host, a);
        a = next;
    }
}

/* What is queued when no thread will ever come for it. */
struct orphans {
    struct core_attempt *attempts;
    struct core_run *runs;
};

/* Under the lock. */
static struct orphans take_orphans(struct thread_executor *x)
{
    struct orphans o = {x->queue, runs_orphans(x)};

    for (struct core_attempt *a = o.attempts; a; a = a->next) {
        a->edge = NULL;
        x->queued--;
    }
    x->queue = NULL;
    x->queue_tail = &x->queue;
    return o;
}

static void fail_orphans(struct thread_executor *x, struct orphans o)
{
    fail_chain(x, o.attempts);
    runs_fail(x, o.runs);
}

/* The last thing that a thread does here: after it the executor may be gone. */
static void thread_gone(struct worker *w)
{
    struct thread_executor *x = w->executor;
    struct orphans orphans = {0};

    pthread_mutex_lock(&x->lock);
    list_remove(&w->link);
    x->leaving++;
    /* It may have been the only one, and nobody kicks for what is queued already. */
    if (x->queued > 0 && x->idle == 0 && !start_thread(x) && staying(x) == 0)
        orphans = take_orphans(x);
    wake_one(x);
    pthread_mutex_unlock(&x->lock);
    fail_orphans(x, orphans);
    pthread_mutex_lock(&x->lock);
    x->threads--;
    x->leaving--;
    pthread_cond_signal(&x->gone);
    pthread_mutex_unlock(&x->lock);
}

static void say_lost(struct core_answer *a)
{
    struct instant started = a->started_at;

    answer_clear(a);
    a->outcome = WEIR_OUTCOME_LOST;
    a->reason = WEIR_REASON_CALLBACK_LOST;
    answer_say(a, "the callback ended its thread");
    a->started_at = started;
}

/* The callback has ended its thread: that is the row's outcome, and the pool goes on with one thread less. */
static void on_thread_exit(void *arg)
{
    struct worker *w = arg;
    struct thread_executor *x = w->executor;

    if (w->attempt) {
        say_lost(&w->attempt->answer);
        w->attempt->answer.ended_at = x->host->now(x->host);
        x->host->report(x->host, w->attempt);
    } else {
        say_lost(&w->row.answer);
        runs_thread_lost(w);
    }
    thread_gone(w);
}

static void worker_init(struct worker *w, struct thread_executor *x)
{
    *w = (struct worker){.executor = x, .finished_tail = &w->finished};
    answer_init(&w->row.answer);
    pthread_mutex_lock(&x->lock);
    list_push_back(&x->workers, &w->link);
    pthread_mutex_unlock(&x->lock);
}

/*
 * Hands over what has waited long enough, or for nothing: only while another run follows, for that
 * one's rows look at the clock, and a single attempt may take long. Under the lock, which it may
 * let go and take again.
 */
static void report_finished(struct worker *w)
{
    struct thread_executor *x = w->executor;
    struct core_run *chain;

    if (!w->finished ||
        (x->runs && !x->queue && !has_surplus(x) && w->finished_runs < RUNS_REPORTED))
        return;
    chain = runs_finished(w);
    pthread_mutex_unlock(&x->lock);
    x->host->report_runs(x->host, chain);
    pthread_mutex_lock(&x->lock);
}

static void *worker_main(void *arg)
{
    struct worker w;
    bool more;

    worker_init(&w, arg);
    do {
        struct core_attempt *a;

        pthread_mutex_lock(&w.executor->lock);
        report_finished(&w);
        more = take(&w, &a);
        pthread_mutex_unlock(&w.executor->lock);
        if (a)
            run_attempt(&w, a);
        else if (more)
            runs_work(&w, on_thread_exit);
    } while (more);
    if (!w.surplus)
        thread_gone(&w);
    return NULL;
}

static void enqueue(struct core_executor *ex, struct core_attempt *a)
{
    struct thread_executor *x = of(ex);

    pthread_mutex_lock(&x->lock);
    a->next = NULL;
    a->edge = x->queue_tail;
    *x->queue_tail = a;
    x->queue_tail = &a->next;
    x->queued++;
    pthread_mutex_unlock(&x->lock);
}

static void kick(struct core_executor *ex)
{
    struct thread_executor *x = of(ex);
    struct orphans orphans = {0};
    size_t spare;

    pthread_mutex_lock(&x->lock);
    spare = x->idle;
    while (staying(x) < x->options.threads && x->queued > spare && start_thread(x))
        spare++;
    if (staying(x) == 0)
        orphans = take_orphans(x);
    wake_one(x);
    pthread_mutex_unlock(&x->lock);
    fail_orphans(x, orphans);
}

static enum weir_status resize(struct core_executor *ex, size_t size, struct weir_error *err)
{
    struct thread_executor *x = of(ex);

    (void)err;
    pthread_mutex_lock(&x->lock);
    x->options.threads = size;
    pthread_cond_broadcast(
        &x->work); /* those that are surplus are among the idle ones, or find out by themselves */
    pthread_mutex_unlock(&x->lock);
    kick(ex);
    return WEIR_OK;
}

static void cancel(struct core_executor *ex, struct core_attempt *a)
{
    struct thread_executor *x = of(ex);
    bool queued;

    pthread_mutex_lock(&x->lock);
    queued = a->edge != NULL;
    if (queued)
        unqueue(x, a);
    pthread_mutex_unlock(&x->lock);
    if (!queued)
        return; /* a callback has it, or it has been reported */
    a->answer.outcome = WEIR_OUTCOME_CANCELLED;
    a->answer.reason = WEIR_REASON_NONE;
    x->host->report(x->host, a);
}

static void close_executor(struct core_executor *ex)
{
    struct thread_executor *x = of(ex);

    pthread_mutex_lock(&x->lock);
    x->closing = true;
    pthread_cond_broadcast(&x->work);
    while (x->threads > 0)
        pthread_cond_wait(&x->gone, &x->lock);
    pthread_mutex_unlock(&x->lock);
    pthread_cond_destroy(&x->gone);
    pthread_cond_destroy(&x->work);
    pthread_mutex_destroy(&x->lock);
    mem_free(x);
}

static const struct core_executor_ops thread_ops = {
    .kind = "thread",
    .cancels_at_once = false,
    .ahead_per_place = 64,
    .start = enqueue,
    .start_run = runs_start,
    .recall = runs_recall,
    .resize = resize,
    .cancel = cancel,
    .kick = kick,
    .close = close_executor,
};

enum weir_status thread_executor_new(const struct thread_options *o,
                                     struct core_executor_host *host, struct core_executor **ret,
                                     struct weir_error *err)
{
    struct thread_executor *x;

    if (o->threads < 1 || !o->work)
        return error_set(err, WEIR_E_INVALID,
                         "a thread pool needs a callback and at least 1 thread");
    x = mem_calloc(1, sizeof *x);
    if (!x)
        return error_nomem(err);
    x->base.ops = &thread_ops;
    x->options = *o;
    x->host = host;
    x->queue_tail = &x->queue;
    x->runs_tail = &x->runs;
    list_init(&x->workers);
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->work, NULL);
    pthread_cond_init(&x->gone, NULL);
    *ret = &x->base;
    return WEIR_OK;
}
