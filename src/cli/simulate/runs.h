/*
 * The runs of a simulation: each throttle with each seed, on as many threads as there are
 * processors.
 *
 *     struct runs r;
 *     status = runs_make(&options, &r, &err);
 *     status = runs_do(&r, events, &err);          // r.stopped: runs_stop() was called first
 *     r.results[side * seeds + seed], r.series[side]
 *     runs_free(&r);
 *
 * A run is pure and has everything to itself, so the results do not depend on how many threads
 * there are. While they run, the calling thread shows progress on a terminal. runs_stop() may be
 * called from a signal handler.
 */
#ifndef CLI_SIMULATE_RUNS_H
#define CLI_SIMULATE_RUNS_H

#include "cli/simulate/options.h"
#include "cli/simulate/series.h"
#include "core/ports/observer.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* More threads than that have nothing to do on any machine that this was tried on. */
#define RUNS_THREADS_MAX 64

struct runs {
    const struct simulate_options *options; /* outlives the runs */
    size_t sides, seeds;
    struct sim_study_result *results; /* by side, then by seed */
    struct series *series;            /* of each side's first seed; NULL: nobody asked for a plot */
    bool stopped;

    /* the threads' */
    struct core_observer *events; /* of the first side's first seed; NULL: none */
    int told_fd;                  /* a byte for each run that has ended */
    atomic_size_t next, running;
    atomic_uint_fast64_t rows; /* delivered so far, of all runs */
    atomic_bool failed;
    enum weir_status
        status; /* of the first that failed, and its message; by whoever set `failed` */
    struct weir_error err;
};

WEIR_MUST_CHECK enum weir_status runs_make(const struct simulate_options *o, struct runs *ret,
                                           struct weir_error *err);
WEIR_MUST_CHECK enum weir_status runs_do(struct runs *r, struct core_observer *events,
                                         struct weir_error *err);
/* All runs of this process end soon. */
void runs_stop(void);
void runs_free(struct runs *r);

#endif
