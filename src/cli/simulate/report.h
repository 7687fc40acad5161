/*
 * What `weir simulate` says in the end: a table for people, JSON for programs, the panels of a
 * plot.
 *
 *     report_put_text(&runs, &buf);  or  report_put_json(&runs, &buf);  or  report_put_plot(&runs, &buf);
 *
 * The JSON's names are documented in docs/simulate.md and do not change. Pure.
 */
#ifndef CLI_SIMULATE_REPORT_H
#define CLI_SIMULATE_REPORT_H

#include "base/buf.h"
#include "cli/simulate/runs.h"

void report_put_text(const struct runs *r, struct buf *out);
void report_put_json(const struct runs *r, struct buf *out);
/* Folds the series of the runs to what a plot shows. */
void report_put_plot(struct runs *r, struct buf *out);

#endif
