/*
 * One run of a simulation, and what is hooked into it: the sums for the plot, the events, --halt,
 * the stop.
 *
 *     struct job j = {.study = options->study, .halt = options->flow.halt, ...};
 *     status = job_run(&j, oracle, &result, &err);
 *
 * One thread; nothing in it is shared but what it is handed.
 */
#ifndef CLI_SIMULATE_JOB_H
#define CLI_SIMULATE_JOB_H

#include "cli/output/halt.h"
#include "cli/simulate/series.h"
#include "core/ports/observer.h"
#include "sim/study.h"

#include <stdatomic.h>
#include <stdbool.h>

struct job {
    struct sim_study_options study; /* the seed and the kind of throttle are in it */
    struct halt_rule halt;
    struct series *series;        /* NULL: no plot */
    struct core_observer *events; /* NULL: none */
    const atomic_bool *stop;
    atomic_uint_fast64_t *rows; /* delivered ones are added */

    /* its own */
    struct core_observer base;
    struct sim_batch *batches[SIM_STUDY_CLIENTS_MAX];
    uint64_t numbers[SIM_STUDY_CLIENTS_MAX]; /* of the batches, in events */
    struct halt halts[SIM_STUDY_CLIENTS_MAX];
    enum halt_verdict asked[SIM_STUDY_CLIENTS_MAX]; /* what the batch was told already */
    bool halt_is_due;
};

WEIR_MUST_CHECK enum weir_status job_run(struct job *j, bool oracle, struct sim_study_result *ret,
                                         struct weir_error *err);

#endif
