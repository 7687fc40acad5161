/*
 * The figures of a simulated run, by name: one table for what people and programs are shown.
 *
 *     for (i = 0; i < metric_count(); i++)
 *         value = metric_value(i, &result, &price);      // NaN: it has none
 *     s = metric_spread(i, results, count, &price);      // of several seeds
 *
 * Pure.
 */
#ifndef CLI_SIMULATE_METRICS_H
#define CLI_SIMULATE_METRICS_H

#include "base/buf.h"
#include "cli/simulate/options.h"
#include "sim/study.h"

#include <stdbool.h>
#include <stddef.h>

enum metric_kind {
    METRIC_SECONDS,
    METRIC_COUNT,
    METRIC_SHARE,  /* of 1; shown in % */
    METRIC_NUMBER, /* of any size, three digits */
    METRIC_MONEY,
};

struct metric {
    const char *name;  /* in JSON; does not change */
    const char *label; /* for people; NULL: not in their table */
    const char *unit;  /* behind the value, for people: "of the capacity" */
    enum metric_kind kind;
    bool hide_zero; /* people are shown it only where it is not 0 */
    double (*value)(const struct sim_study_result *r, const struct simulate_price *p);
};

struct metric_spread {
    size_t count; /* results that have it; 0: the rest says nothing */
    double median, min, max;
};

size_t metric_count(void);
const struct metric *metric_at(size_t i);
/* count results, one after the other. */
struct metric_spread metric_spread(const struct metric *m, const struct sim_study_result *results,
                                   size_t count, const struct simulate_price *price);
/* "93.6 %", "1.93 s", "12,345": as people read it; "-" for NaN. */
void metric_put(enum metric_kind kind, double value, struct buf *out);

#endif
