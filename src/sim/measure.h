/*
 * The figures of a study, kept while it runs: how well the capacity was used, at what price, and
 * how it was followed.
 *
 *     sim_measure_new(&about, &m, &err);
 *     sim_measure_watch(m, service, &script);
 *     sim_measure_arrival(m, now, client, accepted);     // each request, as it reaches the service
 *     sim_measure_row(m, &row);                          // each row, in order
 *     sim_measure_finish(m, service, end, &result);
 *
 * What is measured, and why so:
 *
 *   completion   of a row: from its first dispatch to its result
 *   ordering     from a row's result until its turn has come, which is when the last row before it
 *                has its result
 *   step         a change of the capacity by a factor of 1.3 or more. After a step up: how long
 *                until 90 % of the new capacity was accepted for the time of ten requests (a second
 *                at least; from 500 a second on a tenth of one); when it never was, until the next
 *                change. After a step down: the refusals in 5 s. The begin of an outage is none:
 *                all is refused then, whatever a client does
 *   Jain index   R. Jain, D. Chiu, W. Hawe, "A quantitative measure of fairness", DEC TR-301, 1984
 *
 * Memory is fixed. Times of arrivals never go backwards. Pure; one owner.
 */
#ifndef SIM_MEASURE_H
#define SIM_MEASURE_H

#include "sim/study.h"

struct sim_measure;

struct sim_measure_about {
    size_t clients;
    struct instant start;
    struct instant end; /* NEVER: not known */
};

/* A row that has its result and its turn. */
struct sim_measure_row {
    enum weir_outcome outcome;
    enum weir_reason reason;
    struct instant started_at; /* NONE: it was not */
    struct instant finished_at;
    struct instant turn_at;
};

WEIR_MUST_CHECK enum weir_status sim_measure_new(const struct sim_measure_about *about,
                                                 struct sim_measure **ret, struct weir_error *err);
/* Returns NULL; NULL-safe. */
struct sim_measure *sim_measure_free(struct sim_measure *m);

/* Sees the steps of the service from now on. Of one whose capacity never moves, its beginning is a step up. */
void sim_measure_watch(struct sim_measure *m, struct sim_service *service,
                       const struct sim_script *script);
void sim_measure_arrival(struct sim_measure *m, struct instant at, size_t client, bool accepted);
void sim_measure_sent(struct sim_measure *m);
/* The answer to a request that was accepted, so long after it was sent. */
void sim_measure_answer(struct sim_measure *m, size_t client, duration_ns latency_ns);
void sim_measure_row(struct sim_measure *m, const struct sim_measure_row *row);
uint64_t sim_measure_rows(const struct sim_measure *m);

/* Fills in what is known here: all but steps, end, in_flight_peak and the throttle's counters. The service is told
 * that time has passed until `end`. ended_early: rows were through, so that the capacity counts only up to the last
 * request. */
void sim_measure_finish(struct sim_measure *m, struct sim_service *service, struct instant end,
                        bool ended_early, struct sim_study_result *ret);

#endif
