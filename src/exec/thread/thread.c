/*
 * The thread executor; see thread.h.
 *
 * One queue, in the order of start(), under one lock; a thread that is done takes the next from its head. Waking a
 * thread costs more than a short callback, so not everybody is woken for a group of attempts: one is, and each that
 * wakes up wakes the next while there is more to do. So short work is done by as few threads as can keep up with it, and
 * long work has all of them within a moment.
 */
#include "exec/thread/thread.h"

#include "base/error.h"
#include "base/mem.h"

#include <pthread.h>

struct thread_executor {
    struct core_executor base;
    struct thread_options options;
    struct core_executor_host *host;

    pthread_mutex_t lock;
    pthread_cond_t work; /* the queue has something, or `closing` */
    pthread_cond_t gone; /* a thread has ended */
    struct core_attempt *queue, **queue_tail;
    size_t queued;
    size_t threads; /* started and not ended */
    size_t idle;    /* of these, waiting for work */
    size_t waking;  /* of these, told to wake up and not yet awake */
    bool closing;
};

static struct thread_executor *of(struct core_executor *ex)
{
    return (struct thread_executor *)ex;
}

/* What the thread is working on, for when it ends under the callback. */
struct working {
    struct thread_executor *executor;
    struct core_attempt *attempt;
};

static void on_thread_exit(void *arg);

static void run_attempt(struct thread_executor *x, struct core_attempt *a)
{
    struct working w = {x, a};

    a->answer.started_at = x->host->now(x->host);
    pthread_cleanup_push(on_thread_exit, &w);
    x->options.work(x->options.ctx, a);
    pthread_cleanup_pop(0);
    a->answer.ended_at = x->host->now(x->host);
    x->host->report(x->host, a);
}

/* Under the lock: one more thread for what is in the queue, unless one is coming already. */
static void wake_one(struct thread_executor *x)
{
    if (!x->queue || x->waking > 0 || x->idle == 0)
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

/* Under the lock. NULL: the executor is closing. */
static struct core_attempt *take(struct thread_executor *x)
{
    struct core_attempt *a;

    while (!x->queue && !x->closing) {
        x->idle++;
        pthread_cond_wait(&x->work, &x->lock);
        x->idle--;
        x->waking -= x->waking > 0;
    }
    a = x->queue;
    if (a)
        unqueue(x, a);
    wake_one(x);
    return a;
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

/* Under the lock, when no thread will ever come for them: takes what is queued. */
static struct core_attempt *take_orphans(struct thread_executor *x)
{
    struct core_attempt *first = x->queue;

    for (struct core_attempt *a = first; a; a = a->next)
        a->edge = NULL;
    x->queue = NULL;
    x->queue_tail = &x->queue;
    x->queued = 0;
    return first;
}

/* The last thing that a thread does here: after it the executor may be gone. */
static void thread_gone(struct thread_executor *x)
{
    struct core_attempt *orphans = NULL;

    pthread_mutex_lock(&x->lock);
    /* It may have been the only one, and nobody kicks for what is queued already. */
    if (x->queue && x->idle == 0 && !start_thread(x) && x->threads == 1)
        orphans = take_orphans(x);
    wake_one(x);
    pthread_mutex_unlock(&x->lock);
    fail_chain(x, orphans);
    pthread_mutex_lock(&x->lock);
    x->threads--;
    pthread_cond_signal(&x->gone);
    pthread_mutex_unlock(&x->lock);
}

/* The callback has ended its thread: that is the row's outcome, and the pool goes on with one thread less. */
static void on_thread_exit(void *arg)
{
    struct working *w = arg;
    struct core_answer *a = &w->attempt->answer;
    struct instant started = a->started_at;

    answer_clear(a);
    a->outcome = WEIR_OUTCOME_LOST;
    a->reason = WEIR_REASON_CALLBACK_LOST;
    answer_say(a, "the callback ended its thread");
    a->started_at = started;
    a->ended_at = w->executor->host->now(w->executor->host);
    w->executor->host->report(w->executor->host, w->attempt);
    thread_gone(w->executor);
}

static void *worker_main(void *arg)
{
    struct thread_executor *x = arg;

    for (;;) {
        struct core_attempt *a;

        pthread_mutex_lock(&x->lock);
        a = take(x);
        pthread_mutex_unlock(&x->lock);
        if (!a)
            break;
        run_attempt(x, a);
    }
    thread_gone(x);
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
    struct core_attempt *orphans = NULL;
    size_t spare;

    pthread_mutex_lock(&x->lock);
    spare = x->idle;
    while (x->threads < x->options.threads && x->queued > spare && start_thread(x))
        spare++;
    if (x->threads == 0)
        orphans = take_orphans(x);
    wake_one(x);
    pthread_mutex_unlock(&x->lock);
    fail_chain(x, orphans);
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
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->work, NULL);
    pthread_cond_init(&x->gone, NULL);
    *ret = &x->base;
    return WEIR_OK;
}
