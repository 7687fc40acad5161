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
    size_t threads, idle; /* started and not ended; waiting for work */
    bool closing;
};

static struct thread_executor *of(struct core_executor *ex)
{
    return (struct thread_executor *)ex;
}

static void thread_gone(struct thread_executor *x)
{
    pthread_mutex_lock(&x->lock);
    x->threads--;
    pthread_cond_signal(&x->gone);
    pthread_mutex_unlock(&x->lock);
}

/* What the thread is working on, for when it ends under the callback. */
struct working {
    struct thread_executor *executor;
    struct core_attempt *attempt;
};

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

/* Under the lock. NULL: the executor is closing. */
static struct core_attempt *take(struct thread_executor *x)
{
    struct core_attempt *a;

    while (!x->queue && !x->closing) {
        x->idle++;
        pthread_cond_wait(&x->work, &x->lock);
        x->idle--;
    }
    a = x->queue;
    if (!a)
        return NULL;
    x->queue = a->next;
    if (!x->queue)
        x->queue_tail = &x->queue;
    x->queued--;
    a->next = NULL;
    return a;
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
    *x->queue_tail = a;
    x->queue_tail = &a->next;
    x->queued++;
    pthread_mutex_unlock(&x->lock);
}

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

static void kick(struct core_executor *ex)
{
    struct thread_executor *x = of(ex);
    struct core_attempt *orphans = NULL;
    size_t spare;

    pthread_mutex_lock(&x->lock);
    spare = x->idle;
    while (x->threads < x->options.threads && x->queued > spare && start_thread(x))
        spare++;
    if (x->threads == 0 && x->queue) {
        /* Nobody will ever come for them. */
        orphans = x->queue;
        x->queue = NULL;
        x->queue_tail = &x->queue;
        x->queued = 0;
    }
    if (x->queued == 1)
        pthread_cond_signal(&x->work);
    else if (x->queued > 1)
        pthread_cond_broadcast(&x->work);
    pthread_mutex_unlock(&x->lock);
    fail_chain(x, orphans);
}

static void cancel(struct core_executor *ex, struct core_attempt *wanted)
{
    struct thread_executor *x = of(ex);
    struct core_attempt **link, *found = NULL;

    pthread_mutex_lock(&x->lock);
    for (link = &x->queue; *link; link = &(*link)->next) {
        if (*link != wanted)
            continue;
        found = wanted;
        *link = wanted->next;
        if (!*link)
            x->queue_tail = link;
        x->queued--;
        break;
    }
    pthread_mutex_unlock(&x->lock);
    if (!found)
        return;
    found->next = NULL;
    found->answer.outcome = WEIR_OUTCOME_CANCELLED;
    found->answer.reason = WEIR_REASON_NONE;
    x->host->report(x->host, found);
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
