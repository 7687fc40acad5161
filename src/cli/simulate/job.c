/* See job.h. An observer must not touch the world, so --halt is noted there and done in a step of its own. */
#include "cli/simulate/job.h"

#include <math.h>

#define SAMPLE_NS_MIN (100 * NS_PER_MS)

/* ---- the sums for the plot ---- */

static double over(double rate, double seconds)
{
    return isfinite(rate) ? rate * seconds : 0;
}

static void add_to_series(struct series *to, const struct sim_study_sample *s)
{
    double seconds = duration_seconds(s->length_ns);

    if (s->length_ns <= 0)
        return;
    series_add(to, s->length_ns,
               &(struct series_span){.seconds = seconds,
                                     .capacity = isfinite(s->capacity) ? s->capacity : 0,
                                     .capacity_limited_s = isfinite(s->capacity) ? seconds : 0,
                                     .paced = over(s->rate_rps, seconds),
                                     .paced_s = isfinite(s->rate_rps) ? seconds : 0,
                                     .window = over(s->window, seconds),
                                     .window_s = isfinite(s->window) ? seconds : 0,
                                     .accepted = (double)s->accepted,
                                     .refused = (double)s->refused,
                                     .in_flight = s->in_flight_s});
}

static bool on_sample(void *ctx, const struct sim_study_sample *s)
{
    struct job *j = ctx;

    if (j->series)
        add_to_series(j->series, s);
    atomic_fetch_add_explicit(j->rows, s->delivered, memory_order_relaxed);
    return !atomic_load_explicit(j->stop, memory_order_relaxed);
}

/* ---- events and --halt ---- */

/* Rows and attempts are told as millions of lines; who asks for them has weir run. */
static bool is_told(const struct core_event *ev)
{
    return ev->kind == EVENT_THROTTLE_CHANGED || ev->kind == EVENT_POOL_HELD;
}

static void on_event(struct core_observer *o, const struct core_event *ev)
{
    struct job *j = (struct job *)(void *)((char *)o - offsetof(struct job, base));

    if (j->events && is_told(ev))
        j->events->ops->event(j->events, ev);
    if (ev->kind != EVENT_TASK_FINISHED || j->halt.verdict == HALT_NONE)
        return;
    for (int64_t i = 0; i < j->study.run.clients; i++) {
        if (j->numbers[i] == ev->batch &&
            halt_finished(&j->halts[i], ev->answer->outcome == WEIR_OUTCOME_OK) != j->asked[i])
            j->halt_is_due = true;
    }
}

static const struct core_observer_ops observer_ops = {.event = on_event};

static void on_begun(void *ctx, struct sim_world *w, struct core_pool *const *pools,
                     struct sim_batch *const *batches)
{
    struct job *j = ctx;

    (void)w;
    (void)pools;
    for (int64_t i = 0; i < j->study.run.clients; i++) {
        j->batches[i] = batches[i];
        j->numbers[i] = sim_batch_number(batches[i]);
        halt_init(&j->halts[i], &j->halt);
    }
}

static void stop_batches(struct sim_world *w, void *ctx)
{
    struct job *j = ctx;

    for (int64_t i = 0; i < j->study.run.clients; i++) {
        enum halt_verdict now = halt_verdict(&j->halts[i]);

        if (now == j->asked[i])
            continue;
        j->asked[i] = now;
        if (!sim_batch_is_over(j->batches[i]))
            sim_world_stop(w, j->batches[i], now == HALT_NOW);
    }
}

static bool on_step(void *ctx, struct sim_world *w)
{
    struct job *j = ctx;

    if (atomic_load_explicit(j->stop, memory_order_relaxed))
        return false;
    if (!j->halt_is_due)
        return true;
    j->halt_is_due = false;
    return sim_world_at(w, sim_world_now(w), stop_batches, j, NULL) == WEIR_OK;
}

/* ---- the run ---- */

/*
 * Fine enough for every span of a plot to have one, not finer. The same without a plot: a service
 * that is looked at in between rounds its sums at other moments, and a result must not depend on
 * whether it is drawn.
 */
static duration_ns sample_ns(const struct job *j)
{
    duration_ns wanted = j->study.run.duration_ns / SERIES_SPANS_MAX;

    return wanted > SAMPLE_NS_MIN ? wanted : SAMPLE_NS_MIN;
}

enum weir_status job_run(struct job *j, bool oracle, struct sim_study_result *ret,
                         struct weir_error *err)
{
    struct sim_study_options *s = &j->study;
    enum weir_status status;

    s->sample_ns = sample_ns(j);
    s->sample = on_sample;
    s->step = on_step;
    s->begun = on_begun;
    s->ctx = j;
    j->base.ops = &observer_ops;
    if (j->events || j->halt.verdict != HALT_NONE)
        s->observer = &j->base;
    if (j->series)
        series_init(j->series, s->sample_ns);
    if (oracle)
        return sim_study_oracle(s, ret, err);
    status = sim_study_run(s, ret, err);
    for (int64_t i = 0; i < s->run.clients && status == WEIR_OK; i++) {
        if (j->asked[i] != HALT_NONE)
            ret->end = SIM_STUDY_HALTED;
    }
    return status;
}
