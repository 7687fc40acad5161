/*
 * libweir: runs rows of work on a pool, exactly as fast as it can bear, and hands the results back
 * in order.
 *
 *     struct weir_engine *engine;
 *     struct weir_pool *pool;
 *     struct weir_pool_options options;
 *     struct weir_results *results;
 *     struct weir_error err;
 *
 *     weir_pool_options_init(&options);
 *     options.size = 16;
 *     if (weir_open(NULL, &engine, &err) || weir_pool_open_thread(engine, &options, work, NULL, &pool, &err) ||
 *         weir_run(pool, rows, row_count, NULL, &results, &err))
 *         fprintf(stderr, "%s\n", err.message);
 *     ...
 *     weir_results_free(results);
 *     weir_close(engine, &err);
 *
 * Every function may be called from any thread, but for what is said at it. None of them prints,
 * exits, installs a signal handler or touches anything global. A NULL where an object is needed, an
 * option out of its range, a call after shutdown: an error with a message, never a crash. An object
 * that was freed must not be used, as anywhere in C. Durations in options are in milliseconds
 * unless the name says otherwise; times in results are nanoseconds since the Unix epoch.
 * docs/library.md is the guide; examples/ has three short programs.
 */
#ifndef WEIR_WEIR_H
#define WEIR_WEIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/outcome.h>
#include <weir/status.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_engine;
struct weir_pool;
struct weir_batch;

/* The library's version, "0.1.0". */
WEIR_API const char *weir_version(void);

/* ---- engine ---- */

struct weir_options {
    uint64_t seed; /* of all randomness (jitter); 0: from the system */
};

/* Starts an engine with a thread of its own. options may be NULL. */
WEIR_API WEIR_MUST_CHECK enum weir_status
weir_open(const struct weir_options *options, struct weir_engine **ret, struct weir_error *err);

/*
 * From now on no new pool, batch or row is taken (WEIR_E_SHUTDOWN). Rows that wait end at once as
 * cancelled, reason shutdown_requested, whatever their backoff. wait: running attempts are let
 * finish; else they are told to stop (weir_answer_cancelled) and their rows end as cancelled.
 * Returns when nothing runs any more. May be repeated.
 */
WEIR_API enum weir_status weir_shutdown(struct weir_engine *engine, bool wait,
                                        struct weir_error *err);

/*
 * Shuts down without waiting for more than the callbacks that run, and frees the engine and its
 * pools. WEIR_E_BUSY: a batch is still open (nothing was done). NULL: WEIR_OK. No other call on the
 * engine or its pools may be under way.
 */
WEIR_API enum weir_status weir_close(struct weir_engine *engine, struct weir_error *err);

/* ---- pools ---- */

enum weir_throttle {
    WEIR_THROTTLE_NONE, /* as fast as the other limits allow; a refused row waits a moment */
    WEIR_THROTTLE_AIMD, /* a refused row waits; the wait grows by a factor and shrinks by steps */
    WEIR_THROTTLE_ADAPTIVE, /* starts are spaced at what the service bears, which is found out with
                               hardly any refusals */
};

struct weir_pool_options {
    const char *name; /* copied; NULL: "thread" */
    uint64_t size;    /* 1 to 1,000,000: attempts that run at once, at most; default 1 */

    /* No duration may be more than a year. */
    int64_t min_dispatch_delay_ms; /* >= 0, default 0: least time between any two dispatches */
    enum weir_throttle throttle;   /* default ADAPTIVE */
    /* ADAPTIVE only: the share of attempts that may be refused in the search for more capacity;
       0.001 to 0.2, default 0.02 */
    double waste;
    /* AIMD only */
    int64_t max_dispatch_delay_ms; /* > 0, >= min, default 5000: ceiling of the delay */
    double backoff_multiplier;     /* > 1, finite, default 2: what a refusal does to the delay */
    int64_t recovery_step_ms;      /* >= 0, default 50: what a success takes off the delay, and
                                          the first delay; it and min are not both 0 */
    double max_capacity_retry_seconds; /* > 0, default 3600: per row, from its first dispatch */

    double rate_per_second;      /* 1e-6 to 1e9; 0 (default): no limit. Evenly spaced */
    int64_t requests_per_minute; /* > 0; 0 (default): no limit. A budget: may come in bursts */

    uint32_t max_attempts; /* >= 1, default 3; refusals for lack of capacity do not count */
    int64_t
        retry_delay_ms; /* > 0, default 500: before the first retry; doubles, up to 30 s, with jitter */
    int64_t timeout_ms; /* > 0: of one attempt; 0 (default): none */
};

/* Fills in the defaults; call before setting anything. NULL is ignored. */
WEIR_API void weir_pool_options_init(struct weir_pool_options *options);

/* One row of work. */
struct weir_row {
    const void *data; /* len bytes; copied when the row is added. May be NULL if len is 0 */
    size_t len;
    const char *key;     /* not empty; copied. NULL: the row's index as text */
    int64_t deadline_ms; /* from when it is added; 0: none of its own */
    void *user;          /* handed back in the result; weir does not look at it */
    /* Of pools of workers (weir/workers.h), and ignored by others: rows of one session go to the worker that holds its
       state, in order, one at a time. 1 to 512 bytes; copied. NULL: none */
    const char *session;
};

/* What a callback says about its row. It exists during the callback only. */
struct weir_answer;

/*
 * The row is done. output is copied; it may be NULL if len is 0. False: no memory, or output is
 * NULL and len is not 0; the row then fails, and its message says so.
 */
WEIR_API bool weir_answer_ok(struct weir_answer *answer, const void *output, size_t len);
/* The service is full: the row will be tried again, and the pool slows down. message is copied; NULL: none. */
WEIR_API void weir_answer_capacity(struct weir_answer *answer, int status, const char *message);
/* With weir_answer_capacity: the service asks for at least this long a pause of the whole pool. >= 0. */
WEIR_API void weir_answer_retry_after(struct weir_answer *answer, int64_t milliseconds);
/* The row failed. retryable: another attempt may succeed. message is copied; NULL: none. */
WEIR_API void weir_answer_failed(struct weir_answer *answer, bool retryable, int status,
                                 const char *message);
/* Whether nobody waits for this answer any more (timeout, deadline, shutdown): the callback may return early. */
WEIR_API bool weir_answer_cancelled(const struct weir_answer *answer);

/*
 * Does one row. Runs on a thread of the pool, on several at once; row is valid until it returns. It
 * says how it went by one of weir_answer_ok, _capacity and _failed (the last one counts); returning
 * without any is the outcome "lost", which is tried again like a retryable failure. It must not
 * call weir_shutdown or weir_close, nor wait for its own batch. A callback that ends its thread
 * (pthread_exit) costs its row one attempt, outcome "lost", and nothing else.
 *
 * A callback cannot be ended from outside. When its time is up (timeout, deadline) its row is
 * judged without it, but its place in the pool stays taken until it returns; weir_answer_cancelled
 * tells it that it may.
 */
typedef void (*weir_work_fn)(void *ctx, const struct weir_row *row, struct weir_answer *answer);

/* A pool of threads that call work(ctx, ...). It lives as long as the engine. */
WEIR_API WEIR_MUST_CHECK enum weir_status
weir_pool_open_thread(struct weir_engine *engine, const struct weir_pool_options *options,
                      weir_work_fn work, void *ctx, struct weir_pool **ret, struct weir_error *err);

/* ---- statistics ---- */

/* Room for more reasons than there are. */
#define WEIR_THROTTLE_REASONS 32

/*
 * For people and for programs, why a throttle did something: "refusals close together: the capacity
 * fell" and "capacity_fell". reason: 0 to WEIR_THROTTLE_REASONS - 1; NULL where there is none of
 * that number.
 */
WEIR_API const char *weir_throttle_reason_text(unsigned reason);
WEIR_API const char *weir_throttle_reason_name(unsigned reason);

struct weir_stats {
    struct {
        uint64_t pool_size;
        double max_capacity_retry_seconds;
        double dispatch_delay_at_completion_ms; /* in force when the batch's last row finished */
    } pool_config;
    struct {
        uint64_t capacity_retries;
        uint64_t successes;
        uint64_t failures;
        double peak_delay_ms;
        double current_delay_ms;
        double total_throttle_time_ms;
        uint64_t max_concurrent_reached;
    } pool_stats;
    uint64_t accepted;  /* rows, so far */
    uint64_t finished;  /* rows that have their result */
    uint64_t delivered; /* results taken or ready to be taken */
    uint64_t pending;   /* rows that wait or run: 0 after a shutdown */
    uint64_t attempts;  /* started */
    uint64_t refused;   /* attempts that ended in capacity */

    /* How the pool's throttle limits now, and what it has decided: since the pool was opened; of a batch, while it was
       open. Texts are constant. */
    struct {
        const char *kind;       /* "adaptive", "aimd", "none" */
        const char *mode;       /* "open": by nothing; "rate", "window", "outage"; "delay": AIMD */
        double rate_per_second; /* 0: not limited so */
        uint64_t window;        /* most attempts at once, below size; 0: not limited so */
        double
            rate_min_per_second; /* the least and the most in force at a dispatch; 0: never limited so */
        double rate_max_per_second;
        uint64_t window_min;
        uint64_t window_max;
        unsigned reason;  /* of the last change; weir_throttle_reason_name tells it */
        uint64_t changes; /* in all */
        uint64_t changes_by_reason[WEIR_THROTTLE_REASONS];
    } throttle;
};

/* Of all batches of a pool, since it was opened. A batch's own: weir_batch_stats. The delay in both is the pool's. */
WEIR_API enum weir_status weir_pool_stats(struct weir_pool *pool, struct weir_stats *ret,
                                          struct weir_error *err);

/* ---- results ---- */

struct weir_result {
    uint64_t submit_index;   /* place among the rows of the batch, from 0 */
    uint64_t complete_index; /* place in the order in which they finished, from 0 */
    int64_t submit_time_ns;
    int64_t start_time_ns; /* of the first attempt; 0: there was none */
    int64_t complete_time_ns;
    int64_t deliver_time_ns;
    int64_t buffer_wait_ns; /* deliver - complete: what keeping the order cost this row */
    uint32_t attempts;
    uint32_t capacity_retries;
    int64_t throttled_ns; /* spent waiting after refusals */
    enum weir_outcome outcome;
    enum weir_reason reason;
    int status;          /* as the callback said; 0: none */
    const char *message; /* never NULL */
    const char *key;
    const void *output; /* output_len bytes and a NUL; never NULL */
    size_t output_len;
    void *user; /* as in the row */
    /* Of commands (weir/workers.h): what it wrote to its standard error, with a NUL behind it; "" of others. */
    const char *error_output;
    size_t error_output_len;
};

/* ---- a batch in one call ---- */

/* What a batch does when many of its rows fail the same way: five in a row, or ten in all. */
enum weir_alike {
    WEIR_ALIKE_GO_ON,
    WEIR_ALIKE_STOP,             /* stops it, as by weir_batch_stop(batch, false) */
    WEIR_ALIKE_STOP_AFTER_SHARE, /* ... once that share of its finished rows has failed */
};

struct weir_batch_options {
    /* 1 to 16,777,216: rows between add and the end of their result's loan; default 16384 */
    uint32_t window_rows;
    uint64_t window_bytes; /* >= 1: of their data and outputs, softly; default 256 MiB */
    int64_t deadline_ms;   /* >= 0: from opening; 0 (default): none */
    /* Results come as they are done, in whatever order; not with weir_run(). Default: in the order of the rows */
    bool unordered;
    enum weir_alike when_alike; /* default GO_ON */
    double alike_share;         /* of STOP_AFTER_SHARE: more than 0, 1 at most */
};

/* Fills in the defaults. NULL is ignored. */
WEIR_API void weir_batch_options_init(struct weir_batch_options *options);

struct weir_results {
    size_t count; /* as many as rows */
    const struct weir_result *items;
    struct weir_stats stats;
};

/*
 * Runs rows and waits for all of them. Every row has its result, in order; that some failed is not
 * an error of the call, nor that the engine was shut down or the batch stopped meanwhile (the rows
 * that are left then end as cancelled). options may be NULL. count 0 returns at once. *ret is to be
 * freed with weir_results_free. WEIR_E_INVALID: a row is wrong; the message has its number, and the
 * rows before it may have been run. WEIR_E_SHUTDOWN: the engine was shut down before.
 */
WEIR_API WEIR_MUST_CHECK enum weir_status weir_run(struct weir_pool *pool,
                                                   const struct weir_row *rows, size_t count,
                                                   const struct weir_batch_options *options,
                                                   struct weir_results **ret,
                                                   struct weir_error *err);
WEIR_API void weir_results_free(struct weir_results *results);

/* ---- a batch, streamed ---- */

/*
 * Any number of batches may be open on one pool; each has its own order, statistics and deadline.
 * Rows may be added by any threads (their order is the order of the calls); results are taken by
 * one thread at a time.
 */
WEIR_API WEIR_MUST_CHECK enum weir_status weir_batch_open(struct weir_pool *pool,
                                                          const struct weir_batch_options *options,
                                                          struct weir_batch **ret,
                                                          struct weir_error *err);
/*
 * Adds a row. When the window is full: waits for a result to be taken (wait), or says WEIR_E_AGAIN.
 * A thread that both adds and takes must not wait. WEIR_E_END: the batch was ended or stopped;
 * WEIR_E_SHUTDOWN.
 */
WEIR_API WEIR_MUST_CHECK enum weir_status weir_batch_add(struct weir_batch *batch,
                                                         const struct weir_row *row, bool wait,
                                                         struct weir_error *err);
/*
 * The same for many rows in one call, in their order: cheaper than one by one where their work
 * takes less than some microseconds. Without wait: as many as there is room for; WEIR_E_AGAIN: not
 * all. *ret_added (may be NULL): how many were added, the first ones, whatever is returned.
 * WEIR_E_INVALID: the message has the number of the row, from 0.
 */
WEIR_API WEIR_MUST_CHECK enum weir_status
weir_batch_add_many(struct weir_batch *batch, const struct weir_row *rows, size_t count, bool wait,
                    size_t *ret_added, struct weir_error *err);
/* No more rows come. */
WEIR_API enum weir_status weir_batch_end(struct weir_batch *batch, struct weir_error *err);
/*
 * The next result, as soon as it and all before it are done; valid until the next call of this
 * function, or of weir_batch_close. timeout_ms < 0: waits as long as it takes; 0: does not wait.
 * WEIR_E_AGAIN: none came in time. WEIR_E_END: there are no more. WEIR_E_NOMEM: a row found no
 * memory, and the batch was stopped.
 */
WEIR_API WEIR_MUST_CHECK enum weir_status weir_batch_next(struct weir_batch *batch,
                                                          int64_t timeout_ms,
                                                          const struct weir_result **ret,
                                                          struct weir_error *err);
/*
 * Starts no more rows. Running ones finish, or are told to stop; results whose turn comes can still
 * be taken. Rows that did not run have no result, nor has any row behind the first of them. May be
 * repeated.
 */
WEIR_API enum weir_status weir_batch_stop(struct weir_batch *batch, bool cancel_running,
                                          struct weir_error *err);
WEIR_API enum weir_status weir_batch_stats(struct weir_batch *batch, struct weir_stats *ret,
                                           struct weir_error *err);
/* Stops what still runs, waits for its callbacks, and frees the batch. NULL: nothing. No other call on it may run. */
WEIR_API void weir_batch_close(struct weir_batch *batch);

#ifdef __cplusplus
}
#endif

#endif
