/* See metrics.h. */
#include "cli/simulate/metrics.h"

#include "cli/output/text.h"

#include <math.h>
#include <stdlib.h>

#define TOKENS_PER_PRICE 1e6

/* A spread of nothing has no values. */
static double of(const struct sim_spread *s, double value)
{
    return s->count > 0 ? value : NAN;
}

#define METRIC(name_, expression)                                                                  \
    static double name_(const struct sim_study_result *r, const struct simulate_price *p)          \
    {                                                                                              \
        (void)p;                                                                                   \
        return (expression);                                                                       \
    }

METRIC(duration, duration_seconds(r->duration_ns))
METRIC(rows, (double)r->rows)
METRIC(failures, (double)r->failures)
METRIC(sent, (double)r->sent)
METRIC(accepted, (double)r->accepted)
METRIC(refused, (double)r->refused)
METRIC(accepted_per_s,
       r->duration_ns > 0 ? (double)r->accepted / duration_seconds(r->duration_ns) : NAN)
METRIC(goodput, r->goodput)
METRIC(waste, r->waste)
METRIC(completion_mean, of(&r->completion, r->completion.mean))
METRIC(completion_p50, of(&r->completion, r->completion.p50))
METRIC(completion_p90, of(&r->completion, r->completion.p90))
METRIC(completion_p99, of(&r->completion, r->completion.p99))
METRIC(completion_max, of(&r->completion, r->completion.max))
METRIC(ordering_p50, of(&r->ordering, r->ordering.p50))
METRIC(ordering_p99, of(&r->ordering, r->ordering.p99))
METRIC(ordering_max, of(&r->ordering, r->ordering.max))
METRIC(latency_p50, of(&r->latency, r->latency.p50))
METRIC(latency_p99, of(&r->latency, r->latency.p99))
METRIC(in_flight_peak, (double)r->in_flight_peak)
METRIC(tokens, (double)r->tokens)
METRIC(recovery_p50, of(&r->up, r->up.p50))
METRIC(recovery_p95, of(&r->up, r->up.p95))
METRIC(down_refused, r->downs > 0 ? r->down_refused : NAN)
METRIC(jain, r->jain > 0 ? r->jain : NAN)
METRIC(jain_60, r->jain_60 > 0 ? r->jain_60 : NAN)
METRIC(throttle_changes, (double)r->throttle_changes)
METRIC(pauses, (double)r->pauses)
METRIC(paused, duration_seconds(r->paused_ns))

static double cost(const struct sim_study_result *r, const struct simulate_price *p)
{
    if (!p->given)
        return NAN;
    return p->per_mtok * (double)r->tokens / TOKENS_PER_PRICE +
           p->per_request * (double)r->accepted;
}

/* What the refused ones would add, with as many tokens as an accepted one has in the mean. */
static double cost_refused(const struct sim_study_result *r, const struct simulate_price *p)
{
    double tokens = r->accepted > 0 ? (double)r->tokens / (double)r->accepted : 0;

    if (!p->given)
        return NAN;
    return (p->per_mtok * tokens / TOKENS_PER_PRICE + p->per_request) * (double)r->refused;
}

#undef METRIC

static const struct metric metrics[] = {
    {"duration_seconds", "duration", NULL, METRIC_SECONDS, false, duration},
    {"rows", "rows", NULL, METRIC_COUNT, false, rows},
    {"failures", "failed", NULL, METRIC_COUNT, true, failures},
    {"sent", "requests", NULL, METRIC_COUNT, false, sent},
    {"accepted", NULL, NULL, METRIC_COUNT, false, accepted},
    {"refused", NULL, NULL, METRIC_COUNT, false, refused},
    {"accepted_per_second", "accepted a second", NULL, METRIC_NUMBER, false, accepted_per_s},
    {"goodput", "goodput", "of the capacity", METRIC_SHARE, false, goodput},
    {"refused_share", "refused", "of the requests", METRIC_SHARE, false, waste},
    {"completion_mean_seconds", NULL, NULL, METRIC_SECONDS, false, completion_mean},
    {"completion_p50_seconds", "completion p50", NULL, METRIC_SECONDS, false, completion_p50},
    {"completion_p90_seconds", "completion p90", NULL, METRIC_SECONDS, false, completion_p90},
    {"completion_p99_seconds", "completion p99", NULL, METRIC_SECONDS, false, completion_p99},
    {"completion_max_seconds", NULL, NULL, METRIC_SECONDS, false, completion_max},
    {"ordering_p50_seconds", "ordering p50", NULL, METRIC_SECONDS, false, ordering_p50},
    {"ordering_p99_seconds", "ordering p99", NULL, METRIC_SECONDS, false, ordering_p99},
    {"ordering_max_seconds", NULL, NULL, METRIC_SECONDS, false, ordering_max},
    {"latency_p50_seconds", "latency p50", NULL, METRIC_SECONDS, false, latency_p50},
    {"latency_p99_seconds", "latency p99", NULL, METRIC_SECONDS, false, latency_p99},
    {"in_flight_peak", "in flight, at most", NULL, METRIC_COUNT, false, in_flight_peak},
    {"recovery_p50_seconds", "90 % after a step up, p50", NULL, METRIC_SECONDS, false,
     recovery_p50},
    {"recovery_p95_seconds", NULL, NULL, METRIC_SECONDS, false, recovery_p95},
    {"refused_after_step_down", "refused after a step down", NULL, METRIC_NUMBER, false,
     down_refused},
    {"fairness", "fairness (Jain)", NULL, METRIC_NUMBER, false, jain},
    {"fairness_60s", "fairness in a minute", NULL, METRIC_NUMBER, false, jain_60},
    {"tokens", "tokens", NULL, METRIC_COUNT, true, tokens},
    {"cost", "cost", NULL, METRIC_MONEY, false, cost},
    {"cost_refused", "more, if refusals cost", NULL, METRIC_MONEY, false, cost_refused},
    {"throttle_changes", "changes of the throttle", NULL, METRIC_COUNT, true, throttle_changes},
    {"pauses", "pauses asked for", NULL, METRIC_COUNT, true, pauses},
    {"paused_seconds", "pauses, in all", NULL, METRIC_SECONDS, true, paused},
};

size_t metric_count(void)
{
    return sizeof metrics / sizeof *metrics;
}

const struct metric *metric_at(size_t i)
{
    return i < metric_count() ? &metrics[i] : NULL;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct metric_spread metric_spread(const struct metric *m, const struct sim_study_result *results,
                                   size_t count, const struct simulate_price *price)
{
    double values[SIMULATE_SEEDS_MAX];
    struct metric_spread s = {0};

    for (size_t i = 0; i < count && i < SIMULATE_SEEDS_MAX; i++) {
        double v = m->value(&results[i], price);

        if (!isnan(v))
            values[s.count++] = v;
    }
    if (s.count == 0)
        return s;
    qsort(values, s.count, sizeof *values, compare_doubles);
    s.min = values[0];
    s.max = values[s.count - 1];
    s.median = (values[(s.count - 1) / 2] + values[s.count / 2]) / 2;
    return s;
}

static void put_seconds(double s, struct buf *out)
{
    if (s < 0.0005)
        buf_printf(out, "%.3g ms", s * 1000);
    else if (s < 1)
        buf_printf(out, "%.0f ms", s * 1000);
    else if (s < 100)
        buf_printf(out, "%.2f s", s);
    else
        text_put_duration(out, duration_from_seconds(s));
}

void metric_put(enum metric_kind kind, double value, struct buf *out)
{
    if (isnan(value)) {
        buf_puts(out, "-");
        return;
    }
    switch (kind) {
    case METRIC_SECONDS:
        put_seconds(value, out);
        break;
    case METRIC_COUNT:
        text_put_count(out, value < 1e18 ? (uint64_t)(value + 0.5) : UINT64_MAX);
        break;
    case METRIC_SHARE:
        buf_printf(out, value < 0.0995 ? "%.2f %%" : "%.1f %%", value * 100);
        break;
    case METRIC_NUMBER:
        if (value < 1)
            buf_printf(out, "%.3f", value);
        else
            text_put_rate(out, value);
        break;
    case METRIC_MONEY:
        buf_printf(out, value > 0 && value < 1 ? "%.4f" : "%.2f", value);
        break;
    }
}
