/*
 * The text in which metrics are told to Prometheus, and in OpenMetrics.
 *
 *     struct exposition x;
 *
 *     exposition_begin(&x, &buf, openmetrics);
 *     exposition_family(&x, "weir_tasks", EXPOSITION_GAUGE, "Tasks in the registry, by state.");
 *     exposition_value(&x, count, "state", "ready", "pool", "build", NULL);
 *     exposition_end(&x);
 *
 * A family is told once, and its values right behind it: whoever renders goes over what there is
 * once for each family. A counter is named without "_total"; that is put behind it where it
 * belongs. Names are constants of the program; label values may be any text.
 * https://prometheus.io/docs/instrumenting/exposition_formats/,
 * https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
 */
#ifndef OBSERVE_EXPOSITION_H
#define OBSERVE_EXPOSITION_H

#include "base/buf.h"

enum exposition_type { EXPOSITION_GAUGE, EXPOSITION_COUNTER, EXPOSITION_HISTOGRAM };

struct exposition {
    struct buf *out;
    bool openmetrics;
    const char *name; /* of the family */
    enum exposition_type type;
};

void exposition_begin(struct exposition *x, struct buf *out, bool openmetrics);
void exposition_family(struct exposition *x, const char *name, enum exposition_type type,
                       const char *help);
/* One value of the family, of a gauge or counter. Labels: pairs of name and value, up to a NULL; a NULL value leaves a pair out. */
void exposition_value(struct exposition *x, double value, ...) __attribute__((sentinel));
/*
 * One histogram of the family: counts of what is at most bounds[i] and more than bounds[i - 1];
 * counts has one more than bounds, for what is above all. sum: of all that was counted.
 */
struct exposition_histogram {
    const double *bounds;
    const uint64_t *counts;
    size_t bound_count;
    double sum;
};
void exposition_histogram(struct exposition *x, const struct exposition_histogram *h, ...)
    __attribute__((sentinel));
/* Appends what OpenMetrics wants at the end. */
void exposition_end(struct exposition *x);
/* Of an answer. */
const char *exposition_content_type(bool openmetrics);

#endif
