/*
 * A world with one service: the model that stands between an attempt and the service, rows that are
 * used again, and books. See study.h.
 *
 * Each row has its request's place at the service within it, for only one attempt of it is on its
 * way at a time: a cancelled one ends at once.
 */
#include "sim/study.h"

#include "base/error.h"
#include "base/mem.h"
#include "sim/measure.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define NAME_BYTES 24

struct study;

struct study_client {
    struct sim_model model;
    struct sim_source source;
    struct sim_sink sink;
    struct study *study;
    size_t number;
    char name[NAME_BYTES];
    struct rng rng;
    uint64_t next;
    uint64_t in_flight, in_flight_peak;
    struct study_row *free; /* rows to be used again */
    struct core_pool *pool;
    struct sim_batch *batch;
};

struct study_row {
    struct core_task task; /* first: what release() is given */
    struct study_client *client;
    struct study_row *next_free;
    int64_t tokens;
    struct instant sent_at;
    struct sim_answer answer;
};

struct study {
    const struct sim_study_options *options;
    struct sim_service *service;
    struct sim_measure *measure;
    struct sim_world *world;
    struct study_client clients[SIM_STUDY_CLIENTS_MAX];
    size_t client_count;
    uint64_t in_flight;

    /* for samples */
    struct instant flight_at; /* up to here flight_s is summed */
    double flight_s;
    struct instant sampled_at;
    struct {
        double offered, flight_s;
        uint64_t accepted, refused, rows;
    } sampled;
    bool halted;
};

/* ---- the model ---- */

static struct study_row *row_of(const struct core_attempt *a)
{
    /* A payload is const to whoever only reads it; the row is the study's own. */
    return (struct study_row *)(uintptr_t)a->payload;
}

static void flies(struct study_client *c, struct instant now, bool begins)
{
    struct study *s = c->study;

    s->flight_s += (double)s->in_flight * duration_seconds(instant_diff(now, s->flight_at));
    s->flight_at = now;
    if (begins) {
        s->in_flight++;
        c->in_flight++;
    } else {
        s->in_flight--;
        c->in_flight--;
    }
    if (c->in_flight > c->in_flight_peak)
        c->in_flight_peak = c->in_flight;
}

static duration_ns model_begin(struct sim_model *m, const struct core_attempt *a,
                               struct instant now, struct core_answer *ret)
{
    struct study_client *c = (struct study_client *)(void *)m;
    struct study_row *r = row_of(a);

    (void)ret;
    r->sent_at = now;
    r->answer = (struct sim_answer){0};
    flies(c, now, true);
    sim_measure_sent(c->study->measure);
    return sim_service_travel(c->study->service);
}

static void fail(struct core_answer *ret, enum weir_reason reason, int status, bool retryable)
{
    ret->outcome = WEIR_OUTCOME_FAILED;
    ret->reason = reason;
    ret->status = status;
    ret->retryable = retryable;
}

/* What weir's HTTP executor makes of a fault. */
static void answer_with_fault(const struct sim_answer *got, struct core_answer *ret)
{
    switch (got->fault) {
    case SIM_FAULT_PERMANENT:
        fail(ret, WEIR_REASON_HTTP_STATUS, got->status, false);
        break;
    case SIM_FAULT_FAIL:
        fail(ret, WEIR_REASON_HTTP_STATUS, got->status, true);
        break;
    case SIM_FAULT_RESET:
    case SIM_FAULT_CLOSE:
        fail(ret, WEIR_REASON_CONNECTION_LOST, 0, true);
        break;
    case SIM_FAULT_BROKEN:
        /* Whether an output is JSON is not the dispatcher's business. */
        if (got->how == SIM_BREAK_CUT)
            fail(ret, WEIR_REASON_CONNECTION_LOST, got->status, true);
        else if (got->how == SIM_BREAK_CHUNK)
            fail(ret, WEIR_REASON_PROTOCOL, got->status, true);
        break;
    case SIM_FAULT_NONE:
    case SIM_FAULT_SLOW:
    case SIM_FAULT_HANG:
    case SIM_FAULT_COUNT:
        break;
    }
}

static bool means_full(const struct sim_study_options *o, int status)
{
    if (status == 429 || status == 503 || status == 529)
        return true;
    for (size_t i = 0; i < o->full_status_count; i++) {
        if (o->full_statuses[i] == status)
            return true;
    }
    return false;
}

/* A status that means "full" is a refusal to whoever gets it, whatever the service meant by it. */
static void judge_status(const struct sim_study_options *o, struct core_answer *ret)
{
    if (ret->reason != WEIR_REASON_HTTP_STATUS || !means_full(o, ret->status))
        return;
    ret->outcome = WEIR_OUTCOME_CAPACITY;
    ret->retryable = true;
}

static duration_ns model_arrive(struct sim_model *m, const struct core_attempt *a,
                                struct instant now, struct core_answer *ret)
{
    struct study_client *c = (struct study_client *)(void *)m;
    struct study_row *r = row_of(a);
    struct sim_request request = {.tokens = r->tokens, .identity = a->index};
    struct sim_answer *got = &r->answer;
    bool accepted;

    sim_service_arrive(c->study->service, now, &request, got);
    accepted = got->limit == SIM_LIMIT_NONE;
    sim_measure_arrival(c->study->measure, now, c->number, accepted);
    ret->advice = got->told;
    if (!accepted) {
        fail(ret, WEIR_REASON_HTTP_STATUS, got->status, got->status >= 500);
        judge_status(c->study->options, ret);
        return got->latency_ns;
    }
    if (got->latency_ns == INT64_MAX)
        return SIM_NEVER;
    ret->outcome = WEIR_OUTCOME_OK;
    ret->reason = WEIR_REASON_NONE;
    ret->status = got->status;
    ret->tokens = r->tokens > 0 ? r->tokens : -1;
    answer_with_fault(got, ret);
    judge_status(c->study->options, ret);
    return got->latency_ns + got->body_ns;
}

static duration_ns model_cancel(struct sim_model *m, const struct core_attempt *a,
                                struct instant now, struct core_answer *answer)
{
    struct study_client *c = (struct study_client *)(void *)m;

    sim_service_leave(c->study->service, now, &row_of(a)->answer, false);
    answer_clear(answer);
    return 0;
}

static unsigned model_end(struct sim_model *m, const struct core_attempt *a, struct instant now)
{
    struct study_client *c = (struct study_client *)(void *)m;
    struct study_row *r = row_of(a);

    flies(c, now, false);
    if (r->answer.in_service) {
        sim_service_leave(c->study->service, now, &r->answer, true);
        sim_measure_answer(c->study->measure, c->number, instant_diff(now, r->sent_at));
    }
    return 0;
}

static const struct sim_model_ops model_ops = {
    .cancels_at_once = true,
    .begin = model_begin,
    .arrive = model_arrive,
    .cancel = model_cancel,
    .end = model_end,
};

/* ---- rows ---- */

static void row_release(struct core_task *t)
{
    struct study_row *r = (struct study_row *)(void *)t;

    task_clear(t);
    r->next_free = r->client->free;
    r->client->free = r;
}

static struct study_client *client_of_source(struct sim_source *s)
{
    return (struct study_client *)(void *)((char *)s - offsetof(struct study_client, source));
}

static struct study_client *client_of_sink(struct sim_sink *s)
{
    return (struct study_client *)(void *)((char *)s - offsetof(struct study_client, sink));
}

static enum weir_status source_next(struct sim_source *source, struct core_task **ret)
{
    struct study_client *c = client_of_source(source);
    const struct sim_run *run = &c->study->options->run;
    struct study_row *r = c->free;

    if (run->rows > 0 && c->next == (uint64_t)run->rows)
        return WEIR_E_END;
    if (r)
        c->free = r->next_free;
    else
        r = mem_alloc(sizeof *r);
    if (!r)
        return WEIR_E_NOMEM;
    task_init(&r->task);
    r->client = c;
    r->answer = (struct sim_answer){0};
    r->task.index = c->next++;
    r->task.key = "row"; /* nobody looks one up by it here */
    r->task.payload = r;
    r->task.payload_len = sizeof *r;
    r->task.release = row_release;
    r->tokens = sim_row_cost_draw(&run->cost, &c->rng, &r->task.tokens);
    *ret = &r->task;
    return WEIR_OK;
}

static const struct sim_source_ops source_ops = {.next = source_next};

static void sink_take(struct sim_sink *sink, const struct core_task *t, struct instant now)
{
    struct study_client *c = client_of_sink(sink);

    if (c->study->options->hooks.take)
        c->study->options->hooks.take(c->study->options->ctx, t, now);
    sim_measure_row(c->study->measure, &(struct sim_measure_row){
                                           .outcome = t->answer.outcome,
                                           .reason = t->answer.reason,
                                           .started_at = t->start_at,
                                           .finished_at = t->complete_at,
                                           .turn_at = t->deliver_at,
                                       });
}

static const struct sim_sink_ops sink_ops = {.take = sink_take};

/* ---- samples ---- */

static void add_throttles(const struct study *s, struct sim_study_sample *into)
{
    for (size_t i = 0; i < s->client_count; i++) {
        const struct throttle_state *t = core_pool_throttle(s->clients[i].pool);

        into->rate_rps += t->rate_rps;
        into->window += t->window == SIZE_MAX ? HUGE_VAL : (double)t->window;
    }
}

/* What happened since the last one, up to `at`; nothing that is known is later. */
static void take_sample(struct study *s, struct instant at)
{
    struct sim_study_sample sample = {
        .at_ns = instant_diff(at, SIM_START),
        .length_ns = instant_diff(at, s->sampled_at),
        .in_flight = s->in_flight,
    };
    struct sim_stats stats;
    double flight_s = s->flight_s;

    sim_service_stats(s->service, at, &stats);
    flight_s += (double)s->in_flight * duration_seconds(instant_diff(at, s->flight_at));
    sample.capacity_rps = sim_service_capacity_rps(s->service);
    sample.capacity = stats.unlimited ? HUGE_VAL : stats.offered - s->sampled.offered;
    sample.in_flight_s = flight_s - s->sampled.flight_s;
    sample.accepted = stats.accepted - s->sampled.accepted;
    sample.refused = stats.refused - s->sampled.refused;
    sample.delivered = sim_measure_rows(s->measure) - s->sampled.rows;
    add_throttles(s, &sample);
    s->sampled.offered = stats.offered;
    s->sampled.flight_s = flight_s;
    s->sampled.accepted = stats.accepted;
    s->sampled.refused = stats.refused;
    s->sampled.rows = sim_measure_rows(s->measure);
    s->sampled_at = at;
    if (!s->options->sample(s->options->ctx, &sample))
        s->halted = true;
}

/* ---- the run ---- */

static enum sim_study_end end_of(enum sim_end e)
{
    switch (e) {
    case SIM_DONE:
        return SIM_STUDY_ROWS;
    case SIM_TIME:
        return SIM_STUDY_TIME;
    case SIM_STUCK:
        return SIM_STUDY_STUCK;
    case SIM_HALTED:
    case SIM_CUT:
        break;
    }
    return SIM_STUDY_HALTED;
}

static enum sim_study_end live(struct study *s, struct instant last, struct instant *ret_end)
{
    bool samples = s->options->sample_ns > 0 && s->options->sample;
    enum sim_end e;

    for (;;) {
        struct instant next = INSTANT_NEVER;

        if (samples)
            next = instant_add(s->sampled_at, s->options->sample_ns);
        e = sim_world_run(s->world, instant_min(next, last));
        if (e != SIM_TIME || !instant_before(next, last))
            break;
        take_sample(s, next);
        if (s->halted) {
            e = SIM_HALTED;
            break;
        }
    }
    *ret_end = e == SIM_TIME ? last : instant_max(sim_world_now(s->world), s->sampled_at);
    if (samples && instant_before(s->sampled_at, *ret_end))
        take_sample(s, *ret_end);
    return end_of(e);
}

static enum weir_status add_client(struct study *s, struct weir_error *err)
{
    const struct sim_study_options *o = s->options;
    struct study_client *c = &s->clients[s->client_count];
    struct core_pool_options pool = o->pool;
    struct sim_batch_options batch = {0};
    enum weir_status status;

    c->study = s;
    c->number = s->client_count++;
    c->model.ops = &model_ops;
    c->source.ops = &source_ops;
    c->sink.ops = &sink_ops;
    rng_seed(&c->rng, o->seed * SIM_STUDY_CLIENTS_MAX + c->number);
    snprintf(c->name, sizeof c->name, "%zu", c->number + 1);
    pool.name = c->name;
    pool.size = (size_t)o->run.jobs;
    status = sim_world_add_pool(s->world, &pool, &c->model, &c->pool, err);
    if (status != WEIR_OK)
        return status;
    if (o->hooks.client)
        o->hooks.client(o->ctx, s->world, c->pool);
    core_batch_options_init(&batch.core);
    batch.core.window_rows = (uint32_t)o->run.window_rows;
    batch.core.deadline_ns = o->deadline_ns;
    batch.source = &c->source;
    batch.sink = &c->sink;
    batch.owner = c;
    return sim_world_open(s->world, c->pool, &batch, &c->batch, err);
}

static enum weir_status make(struct study *s, struct instant last, struct weir_error *err)
{
    const struct sim_study_options *o = s->options;
    struct sim_script script = o->script;
    struct sim_world_options world = {.seed = o->seed, .observer = o->observer};
    struct sim_measure_about about = {(size_t)o->run.clients, SIM_START, last};
    enum weir_status status;

    script.seed = o->seed;
    script.tokens_mean = sim_row_cost_mean(&o->run.cost);
    world.step = o->step;
    world.ctx = o->ctx;
    status = sim_service_new(&script, SIM_START, &s->service, err);
    if (status == WEIR_OK)
        status = sim_measure_new(&about, &s->measure, err);
    if (status == WEIR_OK)
        status = sim_world_new(&world, &s->world, err);
    for (int64_t i = 0; i < o->run.clients && status == WEIR_OK; i++)
        status = add_client(s, err);
    if (status == WEIR_OK)
        sim_measure_watch(s->measure, s->service, &script);
    return status;
}

static void tell_begun(const struct study *s)
{
    struct core_pool *pools[SIM_STUDY_CLIENTS_MAX];
    struct sim_batch *batches[SIM_STUDY_CLIENTS_MAX];

    if (!s->options->begun)
        return;
    for (size_t i = 0; i < s->client_count; i++) {
        pools[i] = s->clients[i].pool;
        batches[i] = s->clients[i].batch;
    }
    s->options->begun(s->options->ctx, s->world, pools, batches);
}

static void tell_over(const struct study *s)
{
    const struct sim_study_options *o = s->options;

    for (size_t i = 0; i < s->client_count && o->hooks.over; i++)
        o->hooks.over(o->ctx, s->world, s->clients[i].pool, s->clients[i].batch);
}

static void count_throttles(const struct study *s, struct sim_study_result *ret)
{
    for (size_t i = 0; i < s->client_count; i++) {
        const struct throttle_state *t = core_pool_throttle(s->clients[i].pool);
        struct core_stats stats;

        dispatcher_pool_stats(s->clients[i].pool, &stats);
        ret->pauses += stats.pauses;
        ret->paused_ns += stats.paused_ns;
        ret->throttle_changes += t->changes;
        for (size_t j = 0; j < THROTTLE_REASONS; j++)
            ret->throttle_by_reason[j] += t->by_reason[j];
        if (s->clients[i].in_flight_peak > ret->in_flight_peak)
            ret->in_flight_peak = s->clients[i].in_flight_peak;
    }
}

static void destroy(struct study *s)
{
    sim_world_free(s->world); /* gives all rows back */
    for (size_t i = 0; i < s->client_count; i++) {
        struct study_row *r;

        while ((r = s->clients[i].free)) {
            s->clients[i].free = r->next_free;
            mem_free(r);
        }
    }
    sim_measure_free(s->measure);
    sim_service_free(s->service);
    mem_free(s);
}

enum weir_status sim_study_run(const struct sim_study_options *o, struct sim_study_result *ret,
                               struct weir_error *err)
{
    struct sim_study_result result = {0};
    struct instant last = INSTANT_NEVER;
    struct instant end;
    struct study *s;
    enum weir_status status = sim_study_options_check(o, err);

    if (status != WEIR_OK)
        return status;
    s = mem_calloc(1, sizeof *s);
    if (!s)
        return error_nomem(err);
    s->options = o;
    s->flight_at = SIM_START;
    s->sampled_at = SIM_START;
    if (o->run.duration_ns > 0)
        last = instant_add(SIM_START, o->run.duration_ns);
    status = make(s, last, err);
    if (status != WEIR_OK)
        goto out;
    tell_begun(s);
    result.end = live(s, last, &end);
    result.steps = sim_world_steps(s->world);
    sim_measure_finish(s->measure, s->service, end, result.end == SIM_STUDY_ROWS, &result);
    if (!(sim_row_cost_mean(&o->run.cost) > 0))
        result.tokens = 0; /* the service counts one for a request that names none */
    count_throttles(s, &result);
    tell_over(s);
    *ret = result;
out:
    destroy(s);
    return status;
}

/* ---- options ---- */

void sim_study_options_init(struct sim_study_options *o)
{
    *o = (struct sim_study_options){
        .seed = 1,
        .run = {.clients = 1, .jobs = 8, .window_rows = BATCH_WINDOW_ROWS},
    };
    sim_script_init(&o->script);
    core_pool_options_init(&o->pool);
}

enum weir_status sim_study_options_check(const struct sim_study_options *o, struct weir_error *err)
{
    struct core_pool_options pool = o->pool;
    enum weir_status status = sim_script_check(&o->script, err);

    pool.size = (size_t)o->run.jobs;
    if (status == WEIR_OK)
        status = core_pool_options_check(&pool, err);
    if (status != WEIR_OK)
        return status;
    if (o->run.rows == 0 && o->run.duration_ns == 0)
        return error_set(err, WEIR_E_INVALID,
                         "neither rows nor a duration is given: the run would never end");
    if (o->run.window_rows < o->run.jobs)
        return error_set(err, WEIR_E_INVALID,
                         "window-rows %lld cannot keep %lld jobs busy; give at least as many",
                         (long long)o->run.window_rows, (long long)o->run.jobs);
    if (o->script.fault_rates[SIM_FAULT_HANG] > 0 && o->pool.timeout_ns == 0)
        return error_set(err, WEIR_E_INVALID,
                         "the service leaves requests without an answer (hang-rate), and there is "
                         "no timeout");
    return WEIR_OK;
}

const char *sim_study_end_name(enum sim_study_end e)
{
    switch (e) {
    case SIM_STUDY_ROWS:
        return "rows";
    case SIM_STUDY_TIME:
        return "time";
    case SIM_STUDY_HALTED:
        return "halted";
    case SIM_STUDY_STUCK:
        break;
    }
    return "stuck";
}
