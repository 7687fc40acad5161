/*
 * The thread executor's own structures, shared by thread.c (threads, single attempts) and runs.c
 * (rows that come in runs), and by nobody else.
 */
#ifndef EXEC_THREAD_INTERNAL_H
#define EXEC_THREAD_INTERNAL_H

#include "base/list.h"
#include "exec/thread/thread.h"

#include <pthread.h>
#include <stdatomic.h>

/* A report is of that many runs at most, while there are others to do. */
#define RUNS_REPORTED 8

struct thread_executor {
    struct core_executor base;
    struct thread_options options;
    struct core_executor_host *host;

    pthread_mutex_t lock;
    pthread_cond_t work; /* a queue has something, or `closing` */
    pthread_cond_t gone; /* a thread has ended */
    struct core_attempt *queue, **queue_tail;
    struct core_run *runs, **runs_tail; /* taken when `queue` is empty */
    size_t queued;                      /* attempts and runs */
    struct list workers;                /* threads that are not ended */
    size_t threads;                     /* how many these are */
    size_t leaving; /* of these, about to end: others may have come in their place */
    size_t idle;    /* of these, waiting for work */
    size_t waking;  /* of these, told to wake up and not yet awake */
    bool closing;
};

/*
 * One thread. Of a run the rows are begun by claiming them one by one, for recall() on the engine's
 * thread may take back those that are not; both count rows from the first one of the run as it was
 * taken.
 */
struct worker {
    struct thread_executor *executor;
    struct list link;
    struct core_attempt *attempt; /* what the callback works on; for when it ends the thread */
    bool surplus;                 /* it ends, for there are to be fewer threads */

    /* under the lock */
    struct core_run *run; /* rows that are this thread's to report, from the first; NULL: none */
    uint32_t reported;    /* rows of the run that are reported or taken back */
    struct core_run *finished, **finished_tail; /* reports that wait for company */
    size_t finished_runs;

    /* Begun rows in the upper half, rows that may be begun in the lower. */
    _Alignas(64) _Atomic uint64_t claim;
    _Atomic uint32_t done; /* rows that are finished, all clean */

    /* this thread only */
    struct core_attempt row;              /* the row at hand, as the callback sees it */
    struct core_task *last, *task, *next; /* the same one, between its neighbours */
    struct core_task *end;                /* the last one */
    struct instant waits_since;           /* when the oldest of `finished` ended, or before */
};

/* Does the rows of the run that the worker has taken; on_thread_exit: what to do when a callback ends the thread. */
void runs_work(struct worker *w, void (*on_thread_exit)(void *worker));
/* Under the lock: the next run is this worker's. False: there is none. */
bool runs_take(struct worker *w);
/* Under the lock: takes the reports that wait, for the host when the lock is not held. */
struct core_run *runs_finished(struct worker *w);
/* The callback has ended its thread in the middle of a run. */
void runs_thread_lost(struct worker *w);
/* Under the lock, when no thread will ever come: takes all runs that are queued; then each row of them fails. */
struct core_run *runs_orphans(struct thread_executor *x);
void runs_fail(struct thread_executor *x, struct core_run *chain);

/* Operations of the port. */
void runs_start(struct core_executor *ex, struct core_run *run);
void runs_recall(struct core_executor *ex, const struct core_batch *cancelled);

#endif
