/*
 * Port: what does the work.
 *
 * An executor starts attempts and reports how each ended. The engine gives it an attempt with
 * start(); from then on the attempt is the executor's until it hands it back through
 * host->report(), exactly once, with `answer` filled in.
 *
 * Threads: start, start_run, recall, cancel, kick and close are called on the engine's thread.
 * report() may be called from any thread, and from within start() or cancel(): it only puts the
 * attempt into the engine's mailbox.
 */
#ifndef CORE_PORTS_EXECUTOR_H
#define CORE_PORTS_EXECUTOR_H

#include "base/slice.h"
#include "core/answer.h"
#include "core/ports/observer.h"
#include "core/task.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One try at a task, as the executor sees it. */
struct core_attempt {
    /* set by the engine before start() */
    const void *payload; /* what the executor's kind expects; stays valid until report() */
    size_t payload_len;
    const char *key; /* the row's key */
    uint64_t index;  /* the row's place in its batch */
    uint64_t token;  /* unique in the engine's life; fences late reports (I5) */
    uint32_t number; /* 1 for the row's first attempt */
    /* of executors that have a crew: the worker that the attempt is given to, and the session that binds it there */
    struct worker *worker;
    struct session *session; /* NULL: none */
    bool session_lost; /* the worker that held the session's state is gone: the request says so */
    const char *const *env; /* core_task.env */
    /* set by cancel()'s caller: the work may look at it and stop early */
    atomic_bool cancelled;
    /* set with it: the engine or the batch stops, and nothing is wrong with the attempt: who works on it may be given the
     * time to end in good order. One whose time was up is ended at once */
    bool may_wind_up;
    /* set by the executor before report() */
    struct core_answer answer;
    /* set too when nobody could be given the attempt: it has not begun, and does not count; the task is ready again */
    bool not_begun;
    /* for the executor's own use between start() and report() */
    void *edge;
    /* chains attempts that are handed over together */
    struct core_attempt *next;
};

/* What an attempt runs as. */
struct core_attempt_began {
    uint64_t token; /* the attempt's */
    int64_t pid;
    uint64_t
        pid_start; /* its start time in the kernel's ticks, field 22 of /proc/PID/stat; 0: not known */
};

/* Bytes of a heartbeat's text; an executor cuts what is longer. */
#define CORE_HEARTBEAT_TEXT_MAX 256

/* A sign of life of an attempt, with what it says of how far it is. */
struct core_heartbeat {
    uint64_t token;    /* the attempt's */
    double progress;   /* 0 to 1; negative: it does not say */
    struct slice text; /* one line of UTF-8; may be empty */
};

/* The engine, as an executor sees it. */
struct core_executor_host {
    /* Hands back one attempt, or a chain of them (through next). */
    void (*report)(struct core_executor_host *host, struct core_attempt *chain);
    /*
     * Hands back runs (through run->next), in the parts that suit the executor, each row once. A
     * part that was worked on (begun) is either clean or a single row; its rows have their answers,
     * with times. A part that was not comes back as it was.
     */
    void (*report_runs)(struct core_executor_host *host, struct core_run *chain);
    /* Now, on the engine's clock. Any thread. */
    struct instant (*now)(struct core_executor_host *host);
    /* Tells the observer, if there is one. The engine's thread only. */
    void (*tell)(struct core_executor_host *host, const struct core_event *ev);
    /* The attempt has begun as a process of its own. Copies; any thread; NULL: nobody wants to know. */
    void (*began)(struct core_executor_host *host, const struct core_attempt_began *b);
    /* The attempt says that it is alive. Copies; any thread; NULL: nobody wants to know. */
    void (*beat)(struct core_executor_host *host, const struct core_heartbeat *b);
};

struct core_executor;
struct crew;
struct session;
struct worker;

struct core_executor_ops {
    const char *kind; /* "thread", "http", ...: the word of the design */
    /*
     * Whether cancel() ends an attempt at once (a socket can be closed), or soon and for certain (a
     * process can be killed), or can only ask (a thread's callback cannot be ended from outside).
     * When it can only ask, a row that timed out gets its result without waiting, and the permit
     * stays taken until the callback really returns.
     */
    bool cancels_at_once;
    /*
     * Attempts that start() may hand over beyond the pool's size, per place; 0: none. Only for an
     * executor that by itself runs no more than `size` at once, begins attempts in the order of
     * start(), and reports what has ended within milliseconds. It lets many short attempts go back
     * and forth in groups; see core/ahead.c. They are called in by cancel() without `cancelled`
     * set: one that has begun then goes on, and one that has not is reported as cancelled, which no
     * attempt is that has begun.
     */
    size_t ahead_per_place;
    duration_ns
        ahead_work_ns; /* they are while attempts take less than this, in the mean; 0: 50 us */
    void (*start)(struct core_executor *ex, struct core_attempt *attempt);
    /*
     * Starts the rows of a run: each is an attempt, its row's first. May be NULL. Only for an
     * executor that by itself runs no more than `size` attempts at once, those of runs included,
     * and begins the rows in their order.
     */
    void (*start_run)(struct core_executor *ex, struct core_run *run);
    /*
     * Reports at once, of all runs, what is done and what has not begun; of the rows of `cancelled`
     * that are being worked on an early end is asked, as by cancel(). Goes with start_run.
     */
    void (*recall)(struct core_executor *ex, const struct core_batch *cancelled);
    /*
     * The pool's size is another one from now on. Called before anything is handed over beyond the
     * old one; when it is less, what runs goes on, and is more for a while. NULL: no matter. An
     * error: it can't be, and nothing has changed.
     */
    enum weir_status (*resize)(struct core_executor *ex, size_t size, struct weir_error *err);
    /* Asks for an early end. The report still follows, exactly once. */
    void (*cancel)(struct core_executor *ex, struct core_attempt *attempt);
    /* All of this turn's start() calls have been made; wake whoever works. May be NULL. */
    void (*kick)(struct core_executor *ex);
    /*
     * Begins to end the executor: nothing runs any more (all attempts were reported). The executor
     * frees itself, at once or when the last handle it has on the loop is closed.
     */
    void (*close)(struct core_executor *ex);
};

/*
 * First member of every executor. One whose places are workers with a life of their own has a crew:
 * the dispatcher then asks it where a task can go, and starts only what it has a worker for. The
 * crew is the executor's; it drives its edge's side of it.
 */
struct core_executor {
    const struct core_executor_ops *ops;
    struct crew *crew; /* NULL: every place is like the others */
};

#endif
