/*
 * Pools whose work is done by other programs: long-lived worker processes, and commands.
 *
 *     struct weir_process_options program;
 *
 *     weir_process_options_init(&program);
 *     program.argv = (const char *const[]){"python3", "my_worker.py", NULL};
 *     options.size = 4;
 *     if (weir_pool_open_process(engine, &options, &program, &pool, &err) == WEIR_OK &&
 *         weir_call(pool, &(struct weir_call){.args = "[1, 2]", .args_len = 6}, &reply, &err) == WEIR_OK)
 *         printf("%.*s\n", (int)reply->output_len, reply->output);
 *     weir_reply_free(reply);
 *
 * A worker is any program that speaks docs/worker-protocol.md on its standard input and output; the
 * pool starts it, waits until it is ready, asks after its health, gives it one request at a time
 * (or as many as it says that it takes), keeps sessions with the worker that holds their state, and
 * replaces it when it hangs, lies or dies. A command is started anew for each attempt. Batches,
 * results, throttles and statistics are those of weir/weir.h.
 *
 * Processes are started in process groups of their own, with descriptors 0, 1 and 2 only. None
 * outlives its pool: not when the engine is closed, nor when the program that has it is killed. No
 * signal handler is installed, and only weir's own children are waited for. A program that ignores
 * SIGCHLD, or waits for any child (waitpid(-1)), takes their exit statuses from weir: such a
 * command has failed, and its message says so. Linux 5.4 and later.
 */
#ifndef WEIR_WORKERS_H
#define WEIR_WORKERS_H

#include <weir/weir.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- pools of worker processes ---- */

struct weir_process_options {
    /* Copied. The program, found by PATH, and its words; NULL at the end. */
    const char *const *argv;
    const char *const *env; /* copied; additions to the environment, "NAME=value"; NULL: none */
    const char *dir;        /* copied; where it starts; NULL: here */
    const char *command;    /* copied; `command` of rows' requests; NULL: "process" */

    uint32_t overflow; /* workers beyond the pool's size while there is demand; default 0 */
    bool lazy;         /* start workers when there is work for them, not at once */
    bool fifo;         /* work goes to the worker that was idle longest; default: shortest */
    uint32_t
        max_in_flight; /* 1 to 1,024, default 1: requests at once to a worker that says it can */
    uint64_t frame_max_bytes; /* of one message; 1,024 or more, below 4 GiB; default 64 MiB */

    /* Durations as in weir_pool_options: milliseconds, a year at most. A request's own limit is timeout_ms there; for a
     * pool of workers its 0 means 60,000. */
    int64_t init_timeout_ms;  /* > 0, default 30,000: from the start to the first answer */
    int64_t ping_every_ms;    /* >= 0, default 30,000: asks an idle worker; 0: only after errors */
    int64_t ping_deadline_ms; /* > 0, default 5,000: for its answer */
    int64_t ping_recheck_ms;  /* > 0, default 5,000: after a failed one */
    uint32_t ping_failures;   /* >= 1, default 3: in a row, that end the worker */
    int64_t overflow_idle_ms; /* > 0, default 10,000: an extra worker that is idle so long ends */
    /* Replaced in good order: the next worker starts when the old one goes, not before. One worker alone is missing for as
     * long as its program takes to get ready. */
    uint64_t recycle_requests;     /* a worker is replaced after so many; 0 (default): never */
    int64_t recycle_age_ms;        /* after so long; 0 (default): never */
    uint64_t recycle_memory_bytes; /* when its resident set is larger; 0 (default): never */
    int64_t shutdown_grace_ms;     /* >= 0, default 5,000: from the `shutdown` command to SIGTERM */
    int64_t term_grace_ms;         /* >= 0, default 5,000: from SIGTERM to SIGKILL */
    int64_t
        session_idle_ms; /* > 0, default 300,000: a session that is not used so long is forgotten */
    int64_t checkout_timeout_ms; /* > 0, default 5,000: how long a call waits for a worker */

    /* The breaker: opens after `failures` in a row, tries again after `open`, closes after `successes`. */
    bool no_breaker;
    uint32_t breaker_failures;  /* >= 1, default 5 */
    int64_t breaker_open_ms;    /* > 0, default 60,000 */
    uint32_t breaker_trials;    /* >= 1, default 3: attempts at once while it tries */
    uint32_t breaker_successes; /* >= 1, default 3 */
    bool fail_when_open;        /* rows fail at once (circuit_open) instead of waiting */
    /* Another pool of workers of the engine: it gets rows that a worker here fails for good, and all while the breaker is open. */
    struct weir_pool *fallback;

    /* Told each line that a worker writes to its standard error, without its newline; not NUL-terminated. Called on
     * the engine's thread: it must be quick, and must not call weir. NULL: the lines are dropped. */
    void (*said)(void *ctx, uint64_t worker, const char *line, size_t len);
    void *said_ctx;
};

/* Fills in the defaults; call before setting anything. NULL is ignored. */
WEIR_API void weir_process_options_init(struct weir_process_options *options);

/*
 * A pool of options->size workers. It lives as long as the engine. A row's data is the request's
 * `args`: one JSON value; other data is refused when it is added (WEIR_E_INVALID). A row may name a
 * session. Does not wait for the workers to be ready: what cannot start shows in
 * weir_pool_workers() and, after five failed starts in a row, in the breaker.
 */
WEIR_API WEIR_MUST_CHECK enum weir_status
weir_pool_open_process(struct weir_engine *engine, const struct weir_pool_options *options,
                       const struct weir_process_options *process, struct weir_pool **ret,
                       struct weir_error *err);

/* ---- calls outside of a batch ---- */

struct weir_call {
    const char *command; /* NULL: the pool's */
    const char *args;    /* JSON, args_len bytes; NULL and 0: null */
    size_t args_len;
    const char *session; /* NULL: none */
    int64_t timeout_ms;  /* > 0: in all, from the call on; 0: only the pool's, for each request */
};

struct weir_reply {
    enum weir_outcome outcome; /* ok: output is the answer's `result` */
    enum weir_reason reason;
    int status;
    const char *message; /* "" when there is none */
    const char *output;  /* output_len bytes, with a NUL behind them */
    size_t output_len;
    uint32_t attempts;
    uint64_t worker;   /* that answered last; 0: none was given the request */
    int64_t waited_ns; /* until a worker had the request for the first time */
    int64_t took_ns;   /* from then to the end, retries and their waits included */
};

/*
 * One request to a worker of the pool, and its answer; waits for it. Retries and refusals as for a
 * row. That the worker reported an error, or that none was free within checkout_timeout_ms, is a
 * reply, not an error of the call. WEIR_E_INVALID: args are not JSON, the pool has no workers.
 * WEIR_E_SHUTDOWN. Free *ret with weir_reply_free(). Any thread, but for the engine's callbacks.
 */
WEIR_API WEIR_MUST_CHECK enum weir_status weir_call(struct weir_pool *pool,
                                                    const struct weir_call *call,
                                                    struct weir_reply **ret,
                                                    struct weir_error *err);
/* NULL: nothing. */
WEIR_API void weir_reply_free(struct weir_reply *reply);

/* ---- looking at workers ---- */

/* Room for more transitions of a worker than are kept. */
#define WEIR_WORKER_HISTORY 100

struct weir_worker_change {
    const char *from,
        *to;       /* "initializing", "ready", "busy", "degraded", "terminating", "terminated" */
    int64_t at_ns; /* Unix epoch */
    int64_t lasted_ns;  /* how long it was `from` */
    const char *reason; /* constant text */
    const char *detail; /* "" when there is none */
};

struct weir_worker {
    uint64_t id;    /* from 1; never used again in the pool */
    uint64_t place; /* from 1; above the pool's size: an extra one */
    int64_t pid;    /* 0: it has not started */
    const char *state;
    const char *health; /* "healthy", "unhealthy", "unknown" */
    uint32_t in_flight;
    uint64_t sessions;             /* bound to it */
    uint64_t requests, ok, failed; /* answered: in all, with success, with an error */
    uint32_t failed_checks;        /* of its health, in a row */
    uint64_t memory_bytes;         /* its resident set, when it was looked at last; 0: never */
    int64_t started_ns;            /* Unix epoch */
    const struct weir_worker_change *history; /* newest first */
    size_t history_count;
};

struct weir_workers {
    size_t count;
    const struct weir_worker *items; /* in the order of places */
    uint64_t started, failed_starts, lost, killed, recycled;
    uint64_t session_hits, session_misses, session_rebinds, session_expiries;
    uint64_t sessions;       /* bound now */
    const char *breaker;     /* "closed", "open", "half_open"; "off" */
    uint64_t breaker_opened; /* how often */
};

/* A picture of the pool's workers as they are now; free it with weir_workers_free(). WEIR_E_INVALID: it has none. */
WEIR_API WEIR_MUST_CHECK enum weir_status
weir_pool_workers(struct weir_pool *pool, struct weir_workers **ret, struct weir_error *err);
/* NULL: nothing. */
WEIR_API void weir_workers_free(struct weir_workers *workers);

/* The session's state is no longer needed: its next task may go to any worker. WEIR_E_END: it is not bound. */
WEIR_API enum weir_status weir_session_release(struct weir_pool *pool, const char *session,
                                               struct weir_error *err);
/* Closes the pool's breaker by hand. */
WEIR_API enum weir_status weir_breaker_reset(struct weir_pool *pool, struct weir_error *err);

/* ---- pools of commands ---- */

struct weir_command_options {
    /*
     * Copied. The program, found by PATH, and its words; NULL at the end. "{}" in a word stands for
     * the row's data, "{#}" for its number from 1, "{%}" for the place that it runs in, from 1.
     * Without "{}" the data is one word more at the end, unless `on_stdin`. No shell is involved.
     */
    const char *const *argv;
    const char *const *env;    /* copied; additions to the environment, "NAME=value"; NULL: none */
    const char *dir;           /* copied; where it runs; NULL: here */
    bool on_stdin;             /* the row's data is its standard input; else that is empty */
    const int *capacity_exits; /* copied; exit statuses that mean "full"; NULL: 75 (EX_TEMPFAIL) */
    size_t capacity_exit_count;
    bool retry_exits; /* any other exit status but 0 may be tried again; else it is final */
    uint64_t output_max_bytes; /* >= 1, of standard output and of standard error; default 1 TiB */
};

WEIR_API void weir_command_options_init(struct weir_command_options *options);

/*
 * A pool of options->size places in which a command runs for each row: outcome ok when it exits
 * with 0. A result's output is its standard output, error_output its standard error, status its
 * exit status or minus the number of the signal that ended it. A timeout ends its whole process
 * group. Data with a NUL byte in it cannot be a word: that row fails, bad_row.
 */
WEIR_API WEIR_MUST_CHECK enum weir_status
weir_pool_open_command(struct weir_engine *engine, const struct weir_pool_options *options,
                       const struct weir_command_options *command, struct weir_pool **ret,
                       struct weir_error *err);

#ifdef __cplusplus
}
#endif

#endif
