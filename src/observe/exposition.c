#include "observe/exposition.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

void exposition_begin(struct exposition *x, struct buf *out, bool openmetrics)
{
    *x = (struct exposition){.out = out, .openmetrics = openmetrics};
}

const char *exposition_content_type(bool openmetrics)
{
    return openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                       : "text/plain; version=0.0.4; charset=utf-8";
}

/* Of a counter Prometheus' text names the family as its values, OpenMetrics without "_total". */
void exposition_family(struct exposition *x, const char *name, enum exposition_type type,
                       const char *help)
{
    static const char *const types[] = {"gauge", "counter", "histogram"};
    const char *total = type == EXPOSITION_COUNTER && !x->openmetrics ? "_total" : "";

    x->name = name;
    x->type = type;
    buf_printf(x->out, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, total, help, name, total,
               types[type]);
}

static void put_escaped(struct buf *out, const char *value)
{
    for (; *value; value++) {
        if (*value == '\\' || *value == '"')
            buf_putc(out, '\\');
        if (*value == '\n')
            buf_puts(out, "\\n");
        else
            buf_putc(out, *value);
    }
}

/* "{a="x",b="y"" without its end; whether anything was put. */
static bool put_labels(struct buf *out, va_list labels)
{
    const char *name;
    bool any = false;

    while ((name = va_arg(labels, const char *))) {
        const char *value = va_arg(labels, const char *);

        if (!value)
            continue;
        buf_putc(out, any ? ',' : '{');
        buf_puts(out, name);
        buf_puts(out, "=\"");
        put_escaped(out, value);
        buf_putc(out, '"');
        any = true;
    }
    return any;
}

static void put_number(struct buf *out, double value)
{
    if (isnan(value))
        buf_puts(out, "NaN");
    else if (isinf(value))
        buf_puts(out, value > 0 ? "+Inf" : "-Inf");
    else if (value == floor(value) && fabs(value) < 1e15)
        buf_printf(out, "%.0f", value);
    else
        buf_printf(out, "%.15g", value); /* a time of today, to the microsecond */
}

void exposition_value(struct exposition *x, double value, ...)
{
    va_list labels;

    buf_puts(x->out, x->name);
    if (x->type == EXPOSITION_COUNTER)
        buf_puts(x->out, "_total");
    va_start(labels, value);
    if (put_labels(x->out, labels))
        buf_putc(x->out, '}');
    va_end(labels);
    buf_putc(x->out, ' ');
    put_number(x->out, value);
    buf_putc(x->out, '\n');
}

static void put_line(struct exposition *x, const char *suffix, const double *bound, double value,
                     va_list labels)
{
    bool any;

    buf_puts(x->out, x->name);
    buf_puts(x->out, suffix);
    any = put_labels(x->out, labels);
    if (bound) {
        buf_puts(x->out, any ? ",le=\"" : "{le=\"");
        put_number(x->out, *bound);
        buf_putc(x->out, '"');
    }
    if (any || bound)
        buf_putc(x->out, '}');
    buf_putc(x->out, ' ');
    put_number(x->out, value);
    buf_putc(x->out, '\n');
}

void exposition_histogram(struct exposition *x, const struct exposition_histogram *h, ...)
{
    uint64_t below = 0;
    double infinity = INFINITY;
    va_list labels;

    for (size_t i = 0; i <= h->bound_count; i++) {
        below += h->counts[i];
        va_start(labels, h);
        put_line(x, "_bucket", i < h->bound_count ? &h->bounds[i] : &infinity, (double)below,
                 labels);
        va_end(labels);
    }
    va_start(labels, h);
    put_line(x, "_sum", NULL, h->sum, labels);
    va_end(labels);
    va_start(labels, h);
    put_line(x, "_count", NULL, (double)below, labels);
    va_end(labels);
}

void exposition_end(struct exposition *x)
{
    if (x->openmetrics)
        buf_puts(x->out, "# EOF\n");
}
