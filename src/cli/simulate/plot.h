/*
 * A run over time as a drawing: an SVG of its own, without anything that is loaded from elsewhere.
 *
 *     struct plot_panel panels[] = {{"aimd", "goodput 53 %, refused 62 %", &series}};
 *     plot_put(&(struct plot){.title = "s1.yml", .panels = panels, .panel_count = 1}, &buf);
 *
 * A panel has three charts over one time axis: what the service could bear, what it took and what
 * the throttle let pass; what was refused; what was in flight. All panels have the same scales, so
 * that they can be compared. It is readable on a light and on a dark page (prefers-color-scheme),
 * and valid XML whatever the names say. Pure.
 */
#ifndef CLI_SIMULATE_PLOT_H
#define CLI_SIMULATE_PLOT_H

#include "base/buf.h"
#include "cli/simulate/series.h"

#include <stddef.h>

/* A chart is about so many pixels wide: more spans than that only make the file larger. */
#define PLOT_SPANS 800

struct plot_panel {
    const char *name;
    const char *note; /* its figures, in a few words; may be NULL */
    const struct series *series;
};

struct plot {
    const char *title;
    const struct plot_panel *panels;
    size_t panel_count;
};

/* Appends the whole document. */
void plot_put(const struct plot *p, struct buf *out);

#endif
