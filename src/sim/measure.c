/* See measure.h. */
#include "sim/measure.h"

#include "base/error.h"
#include "base/mem.h"
#include "sim/histogram.h"

#include <math.h>

/* 90 % of the capacity is measured over this many requests at most. */
#define RECENT_MAX 1024
/* Steps down within 5 s whose refusals are counted at the same time; more: the oldest is counted short. */
#define DOWNS_MAX 64

/* A step up that is being followed. */
struct climb {
    bool open;
    struct instant at;
    size_t need;       /* so many accepted */
    duration_ns in_ns; /* within this */
    duration_ns took;  /* -1: not yet */
    uint64_t accepted; /* since */
    struct instant recent[RECENT_MAX];
};

struct fall {
    struct instant at;
    uint64_t refused;
};

struct sim_measure {
    struct sim_measure_about about;
    struct histogram completion, ordering, latency, up;
    uint64_t sent, rows, rows_ok;
    uint64_t failures_by_reason[WEIR_REASON_COUNT];

    struct climb climb;
    struct fall falls[DOWNS_MAX]; /* a ring */
    size_t falls_head, falls_len;
    uint64_t downs, down_refused;

    int64_t minute; /* which one `taken` is of */
    uint64_t taken[SIM_STUDY_CLIENTS_MAX];
    uint64_t minutes;
    double jain_sum;
    uint64_t answers[SIM_STUDY_CLIENTS_MAX];
};

enum weir_status sim_measure_new(const struct sim_measure_about *about, struct sim_measure **ret,
                                 struct weir_error *err)
{
    struct sim_measure *m = mem_calloc(1, sizeof *m);

    if (!m)
        return error_nomem(err);
    m->about = *about;
    histogram_clear(&m->completion);
    histogram_clear(&m->ordering);
    histogram_clear(&m->latency);
    histogram_clear(&m->up);
    *ret = m;
    return WEIR_OK;
}

struct sim_measure *sim_measure_free(struct sim_measure *m)
{
    return mem_free(m);
}

/* ---- steps up ---- */

/* What happens in the last seconds of a run has no time to show what comes of it. */
static bool is_too_late(struct instant at, struct instant end)
{
    return !instant_is_never(end) && instant_diff(end, at) <= SIM_STUDY_DOWN_NS;
}

static void climb_close(struct sim_measure *m, struct instant at)
{
    struct climb *c = &m->climb;

    if (c->open)
        histogram_add(&m->up, c->took >= 0 ? c->took : instant_diff(at, c->at));
    c->open = false;
}

static void climb_open(struct sim_measure *m, struct instant at, double rps)
{
    struct climb *c = &m->climb;
    double in_s = rps < 500 ? fmax(1, 10 / rps) : 0.1;
    double need = 0.9 * rps * in_s;

    if (need > RECENT_MAX) {
        in_s *= RECENT_MAX / need;
        need = RECENT_MAX;
    }
    c->open = true;
    c->at = at;
    c->need = need > 1 ? (size_t)ceil(need - 1e-9) : 1;
    c->in_ns = duration_from_seconds(in_s);
    c->took = -1;
    c->accepted = 0;
}

static void climb_see(struct climb *c, struct instant at)
{
    struct instant oldest;

    if (!c->open || c->took >= 0)
        return;
    c->recent[c->accepted++ % c->need] = at;
    /* What would be overwritten next is the first of as many as are needed. */
    oldest = c->recent[c->accepted % c->need];
    if (c->accepted >= c->need && instant_diff(at, oldest) < c->in_ns)
        c->took = instant_diff(at, c->at);
}

/* ---- steps down ---- */

static struct fall *fall_at(struct sim_measure *m, size_t i)
{
    return &m->falls[(m->falls_head + i) % DOWNS_MAX];
}

static void fall_settle(struct sim_measure *m)
{
    m->downs++;
    m->down_refused += fall_at(m, 0)->refused;
    m->falls_head = (m->falls_head + 1) % DOWNS_MAX;
    m->falls_len--;
}

static void falls_until(struct sim_measure *m, struct instant now)
{
    while (m->falls_len > 0 && instant_diff(now, fall_at(m, 0)->at) >= SIM_STUDY_DOWN_NS)
        fall_settle(m);
}

static void fall_open(struct sim_measure *m, struct instant at)
{
    falls_until(m, at);
    if (m->falls_len == DOWNS_MAX)
        fall_settle(m);
    m->falls_len++;
    *fall_at(m, m->falls_len - 1) = (struct fall){.at = at};
}

static void see_step(void *ctx, const struct sim_step *step)
{
    struct sim_measure *m = ctx;

    climb_close(m, step->at);
    if (isinf(step->before_rps) || isinf(step->after_rps) || is_too_late(step->at, m->about.end))
        return;
    if (step->after_rps >= SIM_STUDY_STEP * step->before_rps)
        climb_open(m, step->at, step->after_rps);
    else if (step->after_rps <= step->before_rps / SIM_STUDY_STEP && !step->outage)
        fall_open(m, step->at);
}

void sim_measure_watch(struct sim_measure *m, struct sim_service *service,
                       const struct sim_script *script)
{
    bool moves = script->rate_rps.hi > script->rate_rps.lo ||
                 script->concurrency.hi > script->concurrency.lo || script->outage_count > 0 ||
                 script->outage_interval_ns > 0;
    struct sim_step first = {m->about.start, 0, sim_service_capacity_rps(service), false};

    if (!moves && first.after_rps > 0)
        see_step(m, &first);
    sim_service_watch(service, see_step, m);
}

/* ---- requests ---- */

static double jain(const uint64_t *x, size_t n)
{
    double sum = 0;
    double squares = 0;

    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i];
        squares += (double)x[i] * (double)x[i];
    }
    return squares > 0 ? sum * sum / ((double)n * squares) : 0;
}

static void minute_close(struct sim_measure *m)
{
    double index = jain(m->taken, m->about.clients);

    if (index > 0) {
        m->jain_sum += index;
        m->minutes++;
    }
    for (size_t i = 0; i < m->about.clients; i++)
        m->taken[i] = 0;
}

static void minutes_until(struct sim_measure *m, struct instant now)
{
    int64_t minute = instant_diff(now, m->about.start) / SIM_STUDY_FAIR_NS;

    if (minute == m->minute)
        return;
    minute_close(m);
    m->minute = minute;
}

void sim_measure_arrival(struct sim_measure *m, struct instant at, size_t client, bool accepted)
{
    minutes_until(m, at);
    falls_until(m, at);
    if (accepted) {
        m->taken[client]++;
        climb_see(&m->climb, at);
        return;
    }
    for (size_t i = 0; i < m->falls_len; i++)
        fall_at(m, i)->refused++;
}

void sim_measure_sent(struct sim_measure *m)
{
    m->sent++;
}

void sim_measure_answer(struct sim_measure *m, size_t client, duration_ns latency_ns)
{
    m->answers[client]++;
    histogram_add(&m->latency, latency_ns);
}

void sim_measure_row(struct sim_measure *m, const struct sim_measure_row *row)
{
    m->rows++;
    histogram_add(&m->ordering, instant_diff(row->turn_at, row->finished_at));
    if (row->outcome != WEIR_OUTCOME_OK) {
        m->failures_by_reason[row->reason < WEIR_REASON_COUNT ? row->reason
                                                              : WEIR_REASON_INTERNAL]++;
        return;
    }
    m->rows_ok++;
    if (!instant_is_none(row->started_at))
        histogram_add(&m->completion, instant_diff(row->finished_at, row->started_at));
}

uint64_t sim_measure_rows(const struct sim_measure *m)
{
    return m->rows;
}

/* ---- the end ---- */

static struct sim_spread spread_of(const struct histogram *h)
{
    return (struct sim_spread){
        .count = h->count,
        .mean = histogram_mean_s(h),
        .p50 = duration_seconds(histogram_percentile_ns(h, 0.5)),
        .p90 = duration_seconds(histogram_percentile_ns(h, 0.9)),
        .p95 = duration_seconds(histogram_percentile_ns(h, 0.95)),
        .p99 = duration_seconds(histogram_percentile_ns(h, 0.99)),
        .max = duration_seconds(h->most_ns),
    };
}

static void finish_steps(struct sim_measure *m, struct instant end, struct sim_study_result *ret)
{
    if (m->climb.open && !is_too_late(m->climb.at, end))
        climb_close(m, end);
    falls_until(m, end);
    ret->up = spread_of(&m->up);
    ret->downs = m->downs;
    ret->down_refused = m->downs > 0 ? (double)m->down_refused / (double)m->downs : 0;
}

static void finish_fairness(struct sim_measure *m, struct instant end, struct sim_study_result *ret)
{
    if (m->about.clients < 2)
        return;
    /* A minute that is not whole does not count. */
    minutes_until(m, end);
    ret->jain = jain(m->answers, m->about.clients);
    ret->jain_60 = m->minutes > 0 ? m->jain_sum / (double)m->minutes : 0;
}

void sim_measure_finish(struct sim_measure *m, struct sim_service *service, struct instant end,
                        bool ended_early, struct sim_study_result *ret)
{
    struct sim_stats stats;
    double offered;

    sim_service_stats(service, end, &stats);
    offered = ended_early ? stats.offered_at_latest : stats.offered;
    ret->duration_ns = instant_diff(end, m->about.start);
    ret->rows = m->rows;
    ret->rows_ok = m->rows_ok;
    ret->failures = m->rows - m->rows_ok;
    for (size_t i = 0; i < WEIR_REASON_COUNT; i++)
        ret->failures_by_reason[i] = m->failures_by_reason[i];
    ret->attempts = m->sent;
    ret->sent = stats.seen;
    ret->accepted = stats.accepted;
    ret->refused = stats.refused;
    for (size_t i = 0; i < SIM_STATUS_COUNT; i++)
        ret->refused_by_status[i] = stats.refused_by_status[i];
    ret->tokens = stats.tokens;
    ret->offered = stats.unlimited ? HUGE_VAL : offered;
    ret->goodput = stats.unlimited ? (double)NAN : 0;
    if (!stats.unlimited && offered > 0)
        ret->goodput = (double)stats.accepted / offered;
    ret->waste = stats.seen > 0 ? (double)stats.refused / (double)stats.seen : 0;
    ret->completion = spread_of(&m->completion);
    ret->ordering = spread_of(&m->ordering);
    ret->latency = spread_of(&m->latency);
    finish_steps(m, end, ret);
    finish_fairness(m, end, ret);
}
