/*
 * See plot.h. Coordinates are pixels of a view box that is WIDTH wide; numbers have one decimal,
 * which is as fine as a screen shows. printf's decimal point is a point: weir never sets a locale.
 */
#include "cli/simulate/plot.h"

#include "base/json.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define WIDTH       960.0
#define LEFT        58.0
#define RIGHT       18.0
#define HEAD        74.0 /* title and legend */
#define FOOT        26.0 /* the title of the time axis */
#define PANEL_HEAD  24.0
#define GAP         24.0 /* above a chart: its own title */
#define RATES       210.0
#define REFUSALS    54.0
#define FLIGHT      66.0
#define TICKS_BELOW 30.0
#define PANEL       (PANEL_HEAD + RATES + GAP + REFUSALS + GAP + FLIGHT + TICKS_BELOW)
/* Room above the highest value, so that a line does not lie on the edge. */
#define HEADROOM 1.08
/* A bar that is there can be seen. */
#define BAR_MIN 1.0

static const char style[] =
    "<style>\n"
    "text{font:12px system-ui,-apple-system,\"Segoe UI\",\"DejaVu Sans\",sans-serif;fill:#3c4550}\n"
    ".page{fill:#fff}.title{font-size:16px;font-weight:600;fill:#161b22}\n"
    ".name{font-size:13px;font-weight:600;fill:#161b22}.small{font-size:11px}\n"
    ".end{text-anchor:end}.mid{text-anchor:middle}\n"
    ".grid{stroke:#e3e7ec;fill:none}.axis{stroke:#9aa5b1;fill:none}\n"
    "path{fill:none;stroke-width:1.4;stroke-linejoin:round}\n"
    ".room{fill:#e6ebf2;stroke:none}.cap{stroke:#8796aa}.took{stroke:#1f66d0}\n"
    ".pace{stroke:#dd8500}.ref{fill:#d4333b;stroke:none}.fly{stroke:#15835c}.win{stroke:#8a4fd0}\n"
    "@media (prefers-color-scheme:dark){\n"
    "text{fill:#b9c2cc}.page{fill:#14181d}.title,.name{fill:#eef2f6}\n"
    ".grid{stroke:#262d36}.axis{stroke:#5c6876}\n"
    ".room{fill:#242c37}.cap{stroke:#6b7b90}.took{stroke:#6aa6ff}\n"
    ".pace{stroke:#f0ae4a}.ref{fill:#ff6a6a}.fly{stroke:#4fca9b}.win{stroke:#b98cf5}\n"
    "}\n"
    "</style>\n";

enum line { LINE_CAPACITY, LINE_ACCEPTED, LINE_PACED, LINE_REFUSED, LINE_IN_FLIGHT, LINE_WINDOW };

static const struct {
    const char *class;
    const char *text;
} lines[] = {
    [LINE_CAPACITY] = {"cap", "capacity of the service"},
    [LINE_ACCEPTED] = {"took", "accepted"},
    [LINE_PACED] = {"pace", "rate of the throttle"},
    [LINE_REFUSED] = {"ref", "refused"},
    [LINE_IN_FLIGHT] = {"fly", "in flight"},
    [LINE_WINDOW] = {"win", "window of the throttle"},
};

#define LINE_COUNT (sizeof lines / sizeof *lines)

/* The time axis counts in one of these, whichever gives short numbers. */
struct unit {
    const char *name;
    double seconds;
};

/* What all panels share. */
struct frame {
    struct buf *out;
    struct unit unit;
    double seconds, rate_max, refused_max, flight_max;
    bool has[LINE_COUNT];
};

/* A chart's place, and what its upper edge stands for. */
struct chart {
    const struct frame *f;
    double y, height, max;
};

/* As XML takes it: markup escaped, what is no text replaced. */
static void put_text(struct buf *out, const char *text)
{
    struct slice rest = slice_of(text);

    while (rest.len > 0) {
        size_t valid = utf8_valid_prefix(rest);

        for (size_t i = 0; i < valid; i++) {
            unsigned char c = (unsigned char)rest.data[i];

            if (c == '&')
                buf_puts(out, "&amp;");
            else if (c == '<')
                buf_puts(out, "&lt;");
            else if (c == '>')
                buf_puts(out, "&gt;");
            else
                buf_putc(out, c < 0x20 || c == 0x7f ? '?' : (char)c);
        }
        if (valid < rest.len) {
            buf_putc(out, '?');
            valid++;
        }
        rest.data += valid;
        rest.len -= valid;
    }
}

/* NaN: there was none in that span. */
static double value_of(const struct series_span *s, enum line line)
{
    if (s->seconds <= 0)
        return NAN;
    switch (line) {
    case LINE_CAPACITY:
        return s->capacity_limited_s > 0 ? s->capacity / s->capacity_limited_s : NAN;
    case LINE_ACCEPTED:
        return s->accepted / s->seconds;
    case LINE_PACED:
        return s->paced_s > 0 ? s->paced / s->paced_s : NAN;
    case LINE_REFUSED:
        return s->refused / s->seconds;
    case LINE_IN_FLIGHT:
        return s->in_flight / s->seconds;
    case LINE_WINDOW:
        return s->window_s > 0 ? s->window / s->window_s : NAN;
    }
    return NAN;
}

/* The largest of the steps 1, 2, 5, 10, ... that makes at least `least` ticks up to max. */
static double round_step(double max, double least)
{
    double raw = max / least;
    double power = pow(10, floor(log10(raw)));

    if (raw >= 5 * power)
        return 5 * power;
    return raw >= 2 * power ? 2 * power : power;
}

static struct unit unit_of(double seconds)
{
    if (seconds <= 240)
        return (struct unit){"seconds", 1};
    if (seconds <= 4 * 3600.0)
        return (struct unit){"minutes", 60};
    return seconds <= 4 * 86400.0 ? (struct unit){"hours", 3600} : (struct unit){"days", 86400};
}

static double max_of(double a, double b)
{
    return !isnan(b) && isfinite(b) && b > a ? b : a;
}

/* The scales. The throttle's rate does not widen them: before it has learnt anything it may be anything. */
static void look(struct frame *f, const struct plot *p)
{
    for (size_t k = 0; k < p->panel_count; k++) {
        const struct series *s = p->panels[k].series;

        f->seconds = max_of(f->seconds, duration_seconds(s->length_ns));
        for (size_t i = 0; i < s->count; i++) {
            for (size_t l = 0; l < LINE_COUNT; l++)
                f->has[l] |= !isnan(value_of(&s->spans[i], (enum line)l));
            f->rate_max = max_of(f->rate_max, value_of(&s->spans[i], LINE_CAPACITY));
            f->rate_max = max_of(f->rate_max, value_of(&s->spans[i], LINE_ACCEPTED));
            f->refused_max = max_of(f->refused_max, value_of(&s->spans[i], LINE_REFUSED));
            f->flight_max = max_of(f->flight_max, value_of(&s->spans[i], LINE_IN_FLIGHT));
        }
    }
    f->unit = unit_of(f->seconds);
    f->seconds = max_of(1e-9, f->seconds);
    f->rate_max = f->rate_max > 0 ? f->rate_max * HEADROOM : 1;
    f->refused_max = f->refused_max > 0 ? f->refused_max * HEADROOM : 1;
    f->flight_max = f->flight_max > 0 ? f->flight_max * HEADROOM : 1;
}

static double x_of(const struct frame *f, double seconds)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * seconds / f->seconds;
}

static double y_of(const struct chart *c, double value)
{
    double part = value / c->max;

    /* What is beyond the edge lies just outside of it, where the clip hides it. */
    return c->y + c->height * (1 - (part < 1.1 ? part : 1.1));
}

static double begin_of(const struct series *s, size_t span)
{
    return (double)span * duration_seconds(s->span_ns);
}

static double end_of(const struct series *s, size_t span)
{
    return span + 1 < s->count ? begin_of(s, span + 1) : duration_seconds(s->length_ns);
}

/* A line: steps from span to span, broken where there is nothing to show. */
static void put_steps(const struct chart *c, const struct series *s, enum line line)
{
    struct buf *out = c->f->out;
    bool drawing = false;

    buf_printf(out, "<path class=\"%s\" d=\"", lines[line].class);
    for (size_t i = 0; i < s->count; i++) {
        double v = value_of(&s->spans[i], line);

        if (isnan(v)) {
            drawing = false;
            continue;
        }
        if (drawing)
            buf_printf(out, "V%.1f", y_of(c, v));
        else
            buf_printf(out, "M%.1f,%.1f", x_of(c->f, begin_of(s, i)), y_of(c, v));
        buf_printf(out, "H%.1f", x_of(c->f, end_of(s, i)));
        drawing = true;
    }
    buf_puts(out, "\"/>\n");
}

/* The same as an area down to zero; at least `least` pixels high where there is anything. */
static void put_area(const struct chart *c, const struct series *s, enum line line,
                     const char *class, double least)
{
    struct buf *out = c->f->out;
    double base = c->y + c->height;
    bool drawing = false;

    buf_printf(out, "<path class=\"%s\" d=\"", class);
    for (size_t i = 0; i < s->count; i++) {
        double v = value_of(&s->spans[i], line);
        double y;

        if (isnan(v) || v <= 0) {
            if (drawing)
                buf_printf(out, "V%.1fz", base);
            drawing = false;
            continue;
        }
        y = y_of(c, v);
        if (base - y < least)
            y = base - least;
        if (!drawing)
            buf_printf(out, "M%.1f,%.1f", x_of(c->f, begin_of(s, i)), base);
        buf_printf(out, "V%.1fH%.1f", y, x_of(c->f, end_of(s, i)));
        drawing = true;
    }
    if (drawing)
        buf_printf(out, "V%.1fz", base);
    buf_puts(out, "\"/>\n");
}

static void put_scale(const struct chart *c, const char *title, double ticks)
{
    struct buf *out = c->f->out;
    double step = round_step(c->max, ticks);

    buf_printf(out, "<text class=\"small\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", LEFT, c->y - 6,
               title);
    for (int i = 0; i * step <= c->max; i++) {
        double y = y_of(c, i * step);

        buf_printf(out,
                   "<path class=\"grid\" d=\"M%.1f,%.1fH%.1f\"/><text class=\"small end\" "
                   "x=\"%.1f\" y=\"%.1f\">%.6g</text>\n",
                   LEFT, y, WIDTH - RIGHT, LEFT - 6, y + 4, i * step);
    }
}

static void put_axis(const struct chart *c)
{
    buf_printf(c->f->out, "<path class=\"axis\" d=\"M%.1f,%.1fH%.1f\"/>\n", LEFT, c->y + c->height,
               WIDTH - RIGHT);
}

static void put_times(const struct frame *f, double y)
{
    double max = f->seconds / f->unit.seconds;
    double step = round_step(max, 8);

    for (int i = 0; i * step <= max * (1 + 1e-9); i++) {
        double x = x_of(f, i * step * f->unit.seconds);

        buf_printf(f->out,
                   "<path class=\"axis\" d=\"M%.1f,%.1fv4\"/><text class=\"small mid\" x=\"%.1f\" "
                   "y=\"%.1f\">%.6g</text>\n",
                   x, y, x, y + 17, i * step);
    }
}

static void put_panel(const struct frame *f, const struct plot_panel *panel, size_t number)
{
    struct buf *out = f->out;
    double top = HEAD + (double)number * PANEL;
    struct chart rates = {f, top + PANEL_HEAD + GAP / 2, RATES - GAP / 2, f->rate_max};
    struct chart refusals = {f, top + PANEL_HEAD + RATES + GAP, REFUSALS, f->refused_max};
    struct chart flight = {f, refusals.y + REFUSALS + GAP, FLIGHT, f->flight_max};

    buf_printf(out, "<text class=\"name\" x=\"%.1f\" y=\"%.1f\">", LEFT, top + 12);
    put_text(out, panel->name);
    buf_puts(out, "</text>\n");
    if (panel->note) {
        buf_printf(out, "<text class=\"end\" x=\"%.1f\" y=\"%.1f\">", WIDTH - RIGHT, top + 12);
        put_text(out, panel->note);
        buf_puts(out, "</text>\n");
    }
    buf_printf(out,
               "<clipPath id=\"c%zu\"><path d=\"M%.1f,%.1fH%.1fV%.1fH%.1fzM%.1f,%.1fH%.1fV%.1fH%.1f"
               "z\"/></clipPath>\n",
               number, LEFT, rates.y, WIDTH - RIGHT, rates.y + rates.height, LEFT, LEFT, flight.y,
               WIDTH - RIGHT, flight.y + flight.height, LEFT);
    buf_printf(out, "<g clip-path=\"url(#c%zu)\">\n", number);
    put_area(&rates, panel->series, LINE_CAPACITY, "room", 0);
    buf_puts(out, "</g>\n");
    put_scale(&rates, "requests a second", 4);
    put_scale(&refusals, "refused a second", 2);
    put_scale(&flight, "in flight", 2);
    put_area(&refusals, panel->series, LINE_REFUSED, "ref", BAR_MIN);
    buf_printf(out, "<g clip-path=\"url(#c%zu)\">\n", number);
    put_steps(&rates, panel->series, LINE_CAPACITY);
    if (f->has[LINE_PACED])
        put_steps(&rates, panel->series, LINE_PACED);
    put_steps(&rates, panel->series, LINE_ACCEPTED);
    if (f->has[LINE_WINDOW])
        put_steps(&flight, panel->series, LINE_WINDOW);
    put_steps(&flight, panel->series, LINE_IN_FLIGHT);
    buf_puts(out, "</g>\n");
    put_axis(&rates);
    put_axis(&refusals);
    put_axis(&flight);
    put_times(f, flight.y + flight.height);
}

static void put_legend(const struct frame *f)
{
    double x = LEFT;

    for (size_t l = 0; l < LINE_COUNT; l++) {
        if (!f->has[l])
            continue;
        if (l == LINE_REFUSED)
            buf_printf(f->out, "<path class=\"ref\" d=\"M%.1f,45h16v8h-16z\"/>", x);
        else
            buf_printf(f->out, "<path class=\"%s\" d=\"M%.1f,49h16\" stroke-width=\"2\"/>",
                       lines[l].class, x);
        buf_printf(f->out, "<text x=\"%.1f\" y=\"53\">%s</text>\n", x + 22, lines[l].text);
        /* The mean letter is about 6.6 pixels wide at this size. */
        x += 22 + 6.6 * (double)strlen(lines[l].text) + 18;
    }
}

void plot_put(const struct plot *p, struct buf *out)
{
    struct frame f = {.out = out};
    double height = HEAD + (double)p->panel_count * PANEL + FOOT;

    look(&f, p);
    buf_printf(out,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
               "viewBox=\"0 0 %.0f %.0f\">\n<title>",
               WIDTH, height, WIDTH, height);
    put_text(out, p->title);
    buf_puts(out, "</title>\n");
    buf_puts(out, style);
    buf_printf(out, "<rect class=\"page\" width=\"%.0f\" height=\"%.0f\"/>\n", WIDTH, height);
    buf_printf(out, "<text class=\"title\" x=\"%.1f\" y=\"28\">", LEFT);
    put_text(out, p->title);
    buf_puts(out, "</text>\n");
    put_legend(&f);
    for (size_t k = 0; k < p->panel_count; k++)
        put_panel(&f, &p->panels[k], k);
    buf_printf(out, "<text class=\"mid\" x=\"%.1f\" y=\"%.1f\">time in %s</text>\n",
               (LEFT + WIDTH - RIGHT) / 2, height - 12, f.unit.name);
    buf_puts(out, "</svg>\n");
}
