/*
 * A batch: an ordered set of rows, with its own order, statistics and deadline.
 */
#ifndef CORE_BATCH_H
#define CORE_BATCH_H

#include "base/time.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Rows between submission and release, unless said otherwise. */
#define BATCH_WINDOW_ROWS 16384
/* The most that may be asked for. */
#define BATCH_WINDOW_ROWS_MAX (UINT32_C(1) << 24)

struct core_task;

/* When many rows fail the same way (core/alike.h). */
enum core_failure_policy {
    FAILURES_GO_ON,
    FAILURES_STOP,            /* nothing more is started, as by dispatcher_stop() */
    FAILURES_STOP_AFTER_SHARE /* ... once that share of the rows that have finished has failed */
};

struct core_batch_options {
    uint32_t window_rows;          /* 1 .. BATCH_WINDOW_ROWS_MAX */
    uint64_t first_index;          /* of the first row that is submitted: a resumed batch goes on */
    uint64_t first_complete_index; /* of the first row that finishes */
    uint64_t
        output_bytes; /* answer_bytes() of finished rows not given back: beyond it only the row whose turn it is starts; 0: none */
    duration_ns deadline_ns; /* from the opening; 0: none */
    /*
     * Each result is delivered as soon as it is committed, in whatever order. window_rows then
     * bounds how many rows are inside, not how far they are apart: one slow row stops nothing.
     * Whoever resumes such a batch cannot go by a mark.
     */
    bool unordered;
    enum core_failure_policy on_failures;
    double failure_share; /* of FAILURES_STOP_AFTER_SHARE: > 0, to 1 */
    /*
     * Asked when a row has finished, after the observer has been told: whether nothing more is to
     * be started, as by dispatcher_stop(). On the dispatcher's thread; must not call it. NULL:
     * nobody is asked.
     */
    bool (*halts)(void *ctx);
    void *halts_ctx;
    /*
     * Each row is one attempt, given by dispatcher_offer(), and ends with it, whatever the outcome:
     * who gives it decides what follows. After a refusal answer.advice and core_task.advised_ns say
     * how long the pool's throttle would have it wait. Goes with `unordered`, and without a
     * deadline of the batch.
     */
    bool single;
    /*
     * Asked for a single row that is about to start, when it has its permit: the numbers of its
     * slots' places (as in struct permit; 0: none). What it needs to be told of them goes into its
     * payload and env now. Anything but WEIR_OK: it does not start, and nothing has happened
     * (OFFER_NEVER). Must not call the dispatcher. NULL: nobody is asked.
     */
    enum weir_status (*prepare)(void *ctx, struct core_task *t, const uint32_t numbers[],
                                struct weir_error *err);
    void *prepare_ctx;
    bool durable; /* results are delivered only after dispatcher_committed() */
};

void core_batch_options_init(struct core_batch_options *o);
WEIR_MUST_CHECK enum weir_status core_batch_options_check(const struct core_batch_options *o,
                                                          struct weir_error *err);

struct core_batch;

#endif
