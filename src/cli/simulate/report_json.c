/* The result as JSON. See report.h; the names are documented in docs/simulate.md. */
#include "base/json.h"
#include "cli/simulate/metrics.h"
#include "cli/simulate/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* The name of a member, and the comma before it where it is not the first of its object. */
static void put_name(struct buf *out, const char *name)
{
    if (out->len > 0 && out->data[out->len - 1] != '{')
        buf_putc(out, ',');
    buf_printf(out, "\"%s\":", name);
}

static void put_count(struct buf *out, const char *name, uint64_t n)
{
    put_name(out, name);
    buf_printf(out, "%" PRIu64, n);
}

/* Enough digits that two runs that differ are seen to differ; JSON has no NaN. */
static void put_value(struct buf *out, enum metric_kind kind, double value)
{
    if (!isfinite(value))
        buf_puts(out, "null");
    else if (kind == METRIC_COUNT)
        buf_printf(out, "%.17g", value);
    else
        buf_printf(out, "%.6f", value);
}

static void put_seconds(struct buf *out, const char *name, duration_ns d)
{
    put_name(out, name);
    put_value(out, METRIC_SECONDS, duration_seconds(d));
}

static void put_groups(struct buf *out, const struct sim_study_result *r)
{
    put_name(out, "failures_by_reason");
    buf_putc(out, '{');
    for (int i = 0; i < WEIR_REASON_COUNT; i++) {
        if (r->failures_by_reason[i] > 0)
            put_count(out, weir_reason_name((enum weir_reason)i), r->failures_by_reason[i]);
    }
    buf_putc(out, '}');
    put_name(out, "refused_by_status");
    buf_putc(out, '{');
    for (int i = 0; i < SIM_STATUS_COUNT; i++) {
        char status[16];

        snprintf(status, sizeof status, "%d", i + SIM_STATUS_MIN);
        if (r->refused_by_status[i] > 0)
            put_count(out, status, r->refused_by_status[i]);
    }
    buf_putc(out, '}');
    put_name(out, "throttle_changes_by_reason");
    buf_putc(out, '{');
    for (int i = 0; i < THROTTLE_REASONS; i++) {
        if (r->throttle_by_reason[i] > 0)
            put_count(out, throttle_reason_name((enum throttle_reason)i), r->throttle_by_reason[i]);
    }
    buf_putc(out, '}');
}

static void put_run(const struct runs *r, size_t side, size_t seed, struct buf *out)
{
    const struct sim_study_result *result = &r->results[side * r->seeds + seed];

    buf_putc(out, '{');
    put_count(out, "seed", (uint64_t)r->options->seed + seed);
    put_name(out, "end");
    buf_printf(out, "\"%s\"", sim_study_end_name(result->end));
    for (size_t i = 0; i < metric_count(); i++) {
        const struct metric *m = metric_at(i);

        put_name(out, m->name);
        put_value(out, m->kind, m->value(result, &r->options->price));
    }
    put_groups(out, result);
    buf_putc(out, '}');
}

static void put_spread(const struct runs *r, size_t side, const char *name, struct buf *out)
{
    put_name(out, name);
    buf_putc(out, '{');
    for (size_t i = 0; i < metric_count(); i++) {
        const struct metric *m = metric_at(i);
        struct metric_spread s =
            metric_spread(m, &r->results[side * r->seeds], r->seeds, &r->options->price);
        double value = name[1] == 'e' ? s.median : name[1] == 'i' ? s.min : s.max;

        put_name(out, m->name);
        put_value(out, m->kind, s.count > 0 ? value : NAN);
    }
    buf_putc(out, '}');
}

static void put_side(const struct runs *r, size_t side, struct buf *out)
{
    buf_putc(out, '{');
    put_name(out, "throttle");
    buf_printf(out, "\"%s\"", simulate_side_name(r->options->sides[side]));
    put_spread(r, side, "median", out);
    put_spread(r, side, "min", out);
    put_spread(r, side, "max", out);
    put_name(out, "runs");
    buf_putc(out, '[');
    for (size_t seed = 0; seed < r->seeds; seed++) {
        if (seed > 0)
            buf_putc(out, ',');
        put_run(r, side, seed, out);
    }
    buf_puts(out, "]}");
}

void report_put_json(const struct runs *r, struct buf *out)
{
    const struct simulate_options *o = r->options;

    buf_printf(out, "{\"weir\":\"%s\"", WEIR_VERSION);
    put_name(out, "service");
    if (o->service)
        json_put_string(out, slice_of(o->service));
    else
        buf_puts(out, "null");
    put_count(out, "seed", (uint64_t)o->seed);
    put_count(out, "seeds", r->seeds);
    put_count(out, "clients", (uint64_t)o->study.run.clients);
    put_count(out, "jobs", (uint64_t)o->study.run.jobs);
    put_count(out, "rows", (uint64_t)o->study.run.rows);
    put_seconds(out, "duration_limit_seconds", o->study.run.duration_ns);
    put_name(out, "throttles");
    buf_putc(out, '[');
    for (size_t side = 0; side < r->sides; side++) {
        if (side > 0)
            buf_putc(out, ',');
        put_side(r, side, out);
    }
    buf_puts(out, "]}\n");
}
