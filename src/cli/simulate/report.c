/* The table for people, and the panels of the plot. See report.h. */
#include "cli/simulate/report.h"

#include "cli/output/text.h"
#include "cli/simulate/metrics.h"
#include "cli/simulate/plot.h"

#include <stdio.h>
#include <string.h>

#define CELL_BYTES 72
#define NAME_BYTES 64
/* A span of the plot should hold so many accepted requests, or their count is all that one sees of them. */
#define ACCEPTED_PER_SPAN 12
#define SPANS_MIN         60

/* The table, line by line: all cells first, because the width of a column is that of its widest. */
struct grid {
    struct buf *out;
    size_t columns;
    size_t label_width, widths[SIMULATE_SIDES_MAX];
    bool measuring;
};

static const struct sim_study_result *results_of(const struct runs *r, size_t side)
{
    return &r->results[side * r->seeds];
}

static void put_line(struct grid *g, const char *label, char cells[][CELL_BYTES])
{
    if (g->measuring) {
        if (strlen(label) > g->label_width)
            g->label_width = strlen(label);
        for (size_t i = 0; i < g->columns; i++) {
            if (strlen(cells[i]) > g->widths[i])
                g->widths[i] = strlen(cells[i]);
        }
        return;
    }
    buf_printf(g->out, "  %-*s", (int)g->label_width, label);
    for (size_t i = 0; i < g->columns; i++)
        buf_printf(g->out, "   %*s", (int)g->widths[i], cells[i]);
    buf_putc(g->out, '\n');
}

/* "93.6 %", with several seeds "93.6 % (92.1 % .. 94.8 %)". */
static void fill_cell(char cell[CELL_BYTES], enum metric_kind kind, const struct metric_spread *s,
                      size_t seeds)
{
    struct buf text = {0};

    if (s->count == 0) {
        buf_putc(&text, '-');
    } else {
        metric_put(kind, s->median, &text);
        if (seeds > 1) {
            buf_puts(&text, " (");
            metric_put(kind, s->min, &text);
            buf_puts(&text, " .. ");
            metric_put(kind, s->max, &text);
            buf_putc(&text, ')');
        }
    }
    snprintf(cell, CELL_BYTES, "%s", text.failed ? "?" : text.data);
    buf_free(&text);
}

/* One line of the table, where at least one side has something to show. */
static void put_metric(struct grid *g, const struct runs *r, const struct metric *m,
                       const char *label)
{
    char cells[SIMULATE_SIDES_MAX][CELL_BYTES];
    bool any = false;

    for (size_t side = 0; side < r->sides; side++) {
        struct metric_spread s =
            metric_spread(m, results_of(r, side), r->seeds, &r->options->price);

        any |= s.count > 0 && !(m->hide_zero && s.max <= 0);
        fill_cell(cells[side], m->kind, &s, r->seeds);
    }
    if (any)
        put_line(g, label, cells);
}

/* Counters that a result has many of, one line for each that is not 0 everywhere. */
struct counters {
    const char *prefix;
    size_t count;
    uint64_t (*value)(const struct sim_study_result *r, size_t i);
    void (*name)(size_t i, char name[NAME_BYTES]);
};

static uint64_t failures_value(const struct sim_study_result *r, size_t i)
{
    return r->failures_by_reason[i];
}

static void failures_name(size_t i, char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "%s", weir_reason_name((enum weir_reason)i));
}

static uint64_t refusals_value(const struct sim_study_result *r, size_t i)
{
    return r->refused_by_status[i];
}

static void refusals_name(size_t i, char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "%d", (int)i + SIM_STATUS_MIN);
}

static uint64_t changes_value(const struct sim_study_result *r, size_t i)
{
    return r->throttle_by_reason[i];
}

static void changes_name(size_t i, char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "%s", throttle_reason_name((enum throttle_reason)i));
}

static const struct counters counters[] = {
    {"failed: ", WEIR_REASON_COUNT, failures_value, failures_name},
    {"refused: ", SIM_STATUS_COUNT, refusals_value, refusals_name},
    {"throttle: ", THROTTLE_REASONS, changes_value, changes_name},
};

/* Their median over the seeds: counts are small enough to be compared one with the other. */
static uint64_t median_count(const struct runs *r, size_t side, const struct counters *c, size_t i)
{
    const struct sim_study_result *results = results_of(r, side);

    for (size_t k = 0; k < r->seeds; k++) {
        uint64_t v = c->value(&results[k], i);
        size_t below = 0, same = 0;

        for (size_t l = 0; l < r->seeds; l++) {
            below += c->value(&results[l], i) < v;
            same += c->value(&results[l], i) == v;
        }
        if (below <= r->seeds / 2 && r->seeds / 2 < below + same)
            return v;
    }
    return 0;
}

static bool has_any(const struct runs *r, const struct counters *c, size_t i)
{
    for (size_t k = 0; k < r->sides * r->seeds; k++) {
        if (c->value(&r->results[k], i) > 0)
            return true;
    }
    return false;
}

static void put_counters(struct grid *g, const struct runs *r, const struct counters *c)
{
    for (size_t i = 0; i < c->count; i++) {
        char cells[SIMULATE_SIDES_MAX][CELL_BYTES], name[NAME_BYTES], label[2 * NAME_BYTES];

        if (!has_any(r, c, i))
            continue;
        for (size_t side = 0; side < r->sides; side++) {
            struct buf text = {0};

            text_put_count(&text, median_count(r, side, c, i));
            snprintf(cells[side], CELL_BYTES, "%s", text.failed ? "?" : text.data);
            buf_free(&text);
        }
        c->name(i, name);
        snprintf(label, sizeof label, "%s%s", c->prefix, name);
        put_line(g, label, cells);
    }
}

static void put_grid(struct grid *g, const struct runs *r)
{
    char cells[SIMULATE_SIDES_MAX][CELL_BYTES], label[2 * NAME_BYTES];

    for (size_t side = 0; side < r->sides; side++)
        snprintf(cells[side], CELL_BYTES, "%s", simulate_side_name(r->options->sides[side]));
    put_line(g, "", cells);
    for (size_t i = 0; i < metric_count(); i++) {
        const struct metric *m = metric_at(i);

        if (!m->label)
            continue;
        snprintf(label, sizeof label, "%s%s%s", m->label, m->unit ? ", " : "",
                 m->unit ? m->unit : "");
        put_metric(g, r, m, label);
    }
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        put_counters(g, r, &counters[i]);
}

/* "s1.yml: 100,000 rows, 64 in flight". */
static void put_title(const struct runs *r, struct buf *out)
{
    const struct simulate_options *o = r->options;
    const struct sim_run *run = &o->study.run;
    const char *slash = o->service ? strrchr(o->service, '/') : NULL;

    buf_puts(out, slash ? slash + 1 : o->service ? o->service : "service");
    buf_puts(out, ": ");
    if (run->clients > 1)
        buf_printf(out, "%lld clients, each ", (long long)run->clients);
    if (run->rows > 0) {
        text_put_count(out, (uint64_t)run->rows);
        buf_puts(out, run->rows == 1 ? " row" : " rows");
    }
    if (run->duration_ns > 0) {
        buf_puts(out, run->rows > 0 ? " or " : "");
        text_put_duration(out, run->duration_ns);
    }
    buf_puts(out, ", ");
    text_put_count(out, (uint64_t)run->jobs);
    buf_puts(out, " in flight");
}

static void put_end(const struct runs *r, size_t side, struct buf *out)
{
    static const char *const says[] = {
        [SIM_STUDY_ROWS] = NULL,
        [SIM_STUDY_TIME] = "the time was over before all rows were through",
        [SIM_STUDY_HALTED] = "it was halted",
        [SIM_STUDY_STUCK] = "some requests never get an answer, and nothing ends them; give "
                            "--timeout",
    };

    for (size_t k = 0; k < r->seeds; k++) {
        enum sim_study_end end = results_of(r, side)[k].end;

        if (!says[end] || (end == SIM_STUDY_TIME && r->options->study.run.rows == 0))
            continue;
        buf_printf(out, "\n%s, seed %lld: %s\n", simulate_side_name(r->options->sides[side]),
                   (long long)r->options->seed + (long long)k, says[end]);
        return;
    }
}

/* A cost of 0.00 looks like an answer. */
static void put_free_rows(const struct runs *r, struct buf *out)
{
    if (!(r->options->price.per_mtok > 0))
        return;
    for (size_t i = 0; i < r->sides * r->seeds; i++) {
        if (r->results[i].tokens > 0 || r->results[i].accepted == 0)
            return;
    }
    buf_puts(out, "\nthe price is of tokens, and no row costs any; say what a row costs with "
                  "--row-tokens\n");
}

void report_put_text(const struct runs *r, struct buf *out)
{
    struct grid g = {.out = out, .columns = r->sides, .measuring = true};

    put_title(r, out);
    if (r->seeds > 1)
        buf_printf(out, ", %zu seeds: the median (the lowest .. the highest)", r->seeds);
    else
        buf_printf(out, ", seed %lld", (long long)r->options->seed);
    buf_puts(out, "\n\n");
    put_grid(&g, r);
    g.measuring = false;
    put_grid(&g, r);
    for (size_t side = 0; side < r->sides; side++)
        put_end(r, side, out);
    put_free_rows(r, out);
}

/* ---- the plot ---- */

/* So wide a span that counts in it say something, and so many that the drawing is not coarse. */
static size_t spans_of(const struct sim_study_result *result)
{
    uint64_t spans = result->accepted / ACCEPTED_PER_SPAN;

    return spans > PLOT_SPANS ? PLOT_SPANS : spans < SPANS_MIN ? SPANS_MIN : (size_t)spans;
}

void report_put_plot(struct runs *r, struct buf *out)
{
    struct plot_panel panels[SIMULATE_SIDES_MAX];
    char notes[SIMULATE_SIDES_MAX][CELL_BYTES];
    struct buf title = {0};

    for (size_t side = 0; side < r->sides; side++) {
        const struct sim_study_result *result = results_of(r, side);
        struct buf note = {0};

        series_fold(&r->series[side], spans_of(result));
        buf_puts(&note, "goodput ");
        metric_put(METRIC_SHARE, result->goodput, &note);
        buf_puts(&note, ", refused ");
        metric_put(METRIC_SHARE, result->waste, &note);
        snprintf(notes[side], sizeof notes[side], "%s", note.failed ? "" : note.data);
        buf_free(&note);
        panels[side] = (struct plot_panel){.name = simulate_side_name(r->options->sides[side]),
                                           .note = notes[side],
                                           .series = &r->series[side]};
    }
    put_title(r, &title);
    buf_printf(&title, ", seed %lld", (long long)r->options->seed);
    if (title.failed)
        out->failed = true;
    else
        plot_put(&(struct plot){.title = title.data, .panels = panels, .panel_count = r->sides},
                 out);
    buf_free(&title);
}
