/*
 * The oracle: a client beside the service that asks it when the next request would be taken, and
 * sends it then. What it reaches is what there was to reach; see study.h.
 *
 * A small loop of its own: the next thing is a request that may go, or the first answer that is
 * due. Nothing here knows the dispatcher, so that one can be held against the other.
 */
#include "base/error.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/mem.h"
#include "sim/measure.h"
#include "sim/study.h"

#include <assert.h>
#include <math.h>

/* A request in flight, or the row of one that failed and is to be sent again. */
struct oracle_flight {
    struct heap_node node;
    struct oracle_flight *next; /* free, or to be sent again */
    struct instant ends_at;
    struct instant first_at; /* the row's first attempt */
    struct instant sent_at;
    uint64_t row;
    int64_t tokens;
    uint32_t failures;
    struct sim_answer answer;
};

/* A row that waits for its turn. */
struct result {
    bool known;
    enum weir_outcome outcome;
    enum weir_reason reason;
    struct instant started_at, finished_at;
};

struct oracle {
    const struct sim_study_options *options;
    struct sim_service *service;
    struct sim_measure *measure;
    struct rng rng;
    struct instant now, last;
    uint64_t rows; /* that there are; UINT64_MAX: no end */

    struct oracle_flight *flights;
    struct oracle_flight *free, *again;
    struct heap ends;

    bool has_next; /* the next new row has been drawn */
    int64_t next_tokens;
    uint64_t next_row;

    /* for samples */
    uint64_t in_flight;
    double flight_s; /* up to now */
    struct instant sampled_at;
    struct {
        double offered, flight_s;
        uint64_t accepted, rows;
    } sampled;

    struct result *results; /* a ring of window rows, the first that has no turn yet at `turn` */
    uint64_t window, turn;
};

static struct oracle_flight *of_node(struct heap_node *n)
{
    return list_entry(n, struct oracle_flight, node);
}

static bool ends_before(const struct heap_node *x, const struct heap_node *y)
{
    const struct oracle_flight *a = list_entry(x, struct oracle_flight, node);
    const struct oracle_flight *b = list_entry(y, struct oracle_flight, node);

    return a->ends_at.ns != b->ends_at.ns ? a->ends_at.ns < b->ends_at.ns : a->row < b->row;
}

/* ---- what comes back ---- */

static void give_turns(struct oracle *o)
{
    for (;;) {
        struct result *r = &o->results[o->turn % o->window];

        if (!r->known)
            return;
        sim_measure_row(o->measure, &(struct sim_measure_row){.outcome = r->outcome,
                                                              .reason = r->reason,
                                                              .started_at = r->started_at,
                                                              .finished_at = r->finished_at,
                                                              .turn_at = o->now});
        r->known = false;
        o->turn++;
    }
}

static void finish_row(struct oracle *o, struct oracle_flight *f, enum weir_outcome outcome,
                       enum weir_reason reason)
{
    o->results[f->row % o->window] = (struct result){true, outcome, reason, f->first_at, o->now};
    f->next = o->free;
    o->free = f;
    give_turns(o);
}

/* A failure: the row is sent again if it may be, at once. */
static void fail_row(struct oracle *o, struct oracle_flight *f, enum weir_outcome outcome,
                     enum weir_reason reason, bool retryable)
{
    if (!retryable || ++f->failures >= o->options->pool.max_attempts) {
        finish_row(o, f, outcome, reason);
        return;
    }
    f->next = o->again;
    o->again = f;
}

static void land(struct oracle *o, struct oracle_flight *f)
{
    const struct sim_answer *a = &f->answer;
    bool answered = a->fault != SIM_FAULT_HANG;

    sim_service_leave(o->service, o->now, &f->answer, answered);
    if (answered)
        sim_measure_answer(o->measure, 0, instant_diff(o->now, f->sent_at));
    switch (a->fault) {
    case SIM_FAULT_PERMANENT:
        fail_row(o, f, WEIR_OUTCOME_FAILED, WEIR_REASON_HTTP_STATUS, false);
        break;
    case SIM_FAULT_FAIL:
        fail_row(o, f, WEIR_OUTCOME_FAILED, WEIR_REASON_HTTP_STATUS, true);
        break;
    case SIM_FAULT_RESET:
    case SIM_FAULT_CLOSE:
        fail_row(o, f, WEIR_OUTCOME_FAILED, WEIR_REASON_CONNECTION_LOST, true);
        break;
    case SIM_FAULT_HANG:
        fail_row(o, f, WEIR_OUTCOME_TIMEOUT, WEIR_REASON_TIMEOUT, true);
        break;
    case SIM_FAULT_BROKEN:
        if (a->how != SIM_BREAK_JSON)
            fail_row(o, f, WEIR_OUTCOME_FAILED,
                     a->how == SIM_BREAK_CUT ? WEIR_REASON_CONNECTION_LOST : WEIR_REASON_PROTOCOL,
                     true);
        else
            finish_row(o, f, WEIR_OUTCOME_OK, WEIR_REASON_NONE);
        break;
    case SIM_FAULT_NONE:
    case SIM_FAULT_SLOW:
    case SIM_FAULT_COUNT:
        finish_row(o, f, WEIR_OUTCOME_OK, WEIR_REASON_NONE);
        break;
    }
}

/* ---- what is sent ---- */

/* The row that would be sent now; false: there is none, or no place for it. */
static bool next_request(struct oracle *o, struct sim_request *ret)
{
    int64_t estimate;

    if (o->again) {
        *ret = (struct sim_request){o->again->tokens, o->again->row};
        return true;
    }
    if (!o->free || o->next_row == o->rows || o->next_row >= o->turn + o->window)
        return false;
    if (!o->has_next)
        o->next_tokens = sim_row_cost_draw(&o->options->run.cost, &o->rng, &estimate);
    o->has_next = true;
    *ret = (struct sim_request){o->next_tokens, o->next_row};
    return true;
}

static struct oracle_flight *take_flight(struct oracle *o)
{
    struct oracle_flight *f = o->again;

    if (f) {
        o->again = f->next;
        return f;
    }
    f = o->free;
    o->free = f->next;
    f->row = o->next_row++;
    f->tokens = o->next_tokens;
    f->first_at = o->now;
    f->failures = 0;
    o->has_next = false;
    return f;
}

static void send(struct oracle *o, const struct sim_request *request)
{
    struct oracle_flight *f = take_flight(o);
    duration_ns takes;

    f->sent_at = o->now;
    sim_measure_sent(o->measure);
    sim_service_arrive(o->service, o->now, request, &f->answer);
    assert(f->answer.limit == SIM_LIMIT_NONE); /* sim_service_when() has just said so */
    sim_measure_arrival(o->measure, o->now, 0, true);
    takes = f->answer.fault == SIM_FAULT_HANG ? o->options->pool.timeout_ns
                                              : f->answer.latency_ns + f->answer.body_ns;
    f->ends_at = instant_add(o->now, takes);
    heap_push(&o->ends, &f->node);
    o->in_flight++;
}

/* ---- samples ---- */

/* What happened since the last one; false: the run ends here. Nothing that is known is later than `at`. */
static bool take_sample(struct oracle *o, struct instant at)
{
    double flight_s =
        o->flight_s + (double)o->in_flight * duration_seconds(instant_diff(at, o->now));
    uint64_t rows = sim_measure_rows(o->measure);
    struct sim_stats stats;
    struct sim_study_sample sample;

    sim_service_stats(o->service, at, &stats);
    sample = (struct sim_study_sample){
        .at_ns = instant_diff(at, SIM_START),
        .length_ns = instant_diff(at, o->sampled_at),
        .capacity = stats.unlimited ? HUGE_VAL : stats.offered - o->sampled.offered,
        .in_flight_s = flight_s - o->sampled.flight_s,
        .accepted = stats.accepted - o->sampled.accepted,
        .delivered = rows - o->sampled.rows,
        .capacity_rps = sim_service_capacity_rps(o->service),
        .rate_rps = HUGE_VAL,
        .window = HUGE_VAL,
        .in_flight = o->in_flight,
    };
    o->sampled.offered = stats.offered;
    o->sampled.flight_s = flight_s;
    o->sampled.accepted = stats.accepted;
    o->sampled.rows = rows;
    o->sampled_at = at;
    return o->options->sample(o->options->ctx, &sample);
}

/* Time moves to `to`, with the samples on the way; false: the run ends here. */
static bool pass_time(struct oracle *o, struct instant to)
{
    const struct sim_study_options *options = o->options;

    while (options->sample && options->sample_ns > 0) {
        struct instant at = instant_add(o->sampled_at, options->sample_ns);

        if (instant_before(to, at))
            break;
        if (!take_sample(o, at)) {
            o->now = at;
            return false;
        }
    }
    o->flight_s += (double)o->in_flight * duration_seconds(instant_diff(to, o->now));
    o->now = to;
    return true;
}

/* ---- the loop ---- */

static enum sim_study_end oracle_live(struct oracle *o, uint64_t *ret_steps)
{
    struct sim_request request;

    for (;; (*ret_steps)++) {
        struct heap_node *first = heap_first(&o->ends);
        struct instant landing = first ? of_node(first)->ends_at : INSTANT_NEVER;
        struct instant sending = INSTANT_NEVER;
        struct instant next;

        if (instant_before(o->now, landing) && next_request(o, &request))
            sending = sim_service_when(o->service, o->now, &request);
        next = instant_min(landing, sending);
        if (instant_is_never(next) && o->turn == o->rows)
            return SIM_STUDY_ROWS;
        if (instant_is_never(next) && instant_is_never(o->last))
            return SIM_STUDY_STUCK;
        if (!instant_before(next, o->last))
            return pass_time(o, o->last) ? SIM_STUDY_TIME : SIM_STUDY_HALTED;
        if (!instant_before(o->now, sending)) {
            send(o, &request);
            continue;
        }
        if (!pass_time(o, instant_max(o->now, next)))
            return SIM_STUDY_HALTED;
        if (!instant_before(o->now, landing)) {
            heap_pop(&o->ends);
            o->in_flight--;
            land(o, of_node(first));
        }
    }
}

static enum weir_status make(struct oracle *o, size_t places, struct weir_error *err)
{
    const struct sim_study_options *options = o->options;
    struct sim_script script = options->script;
    struct sim_measure_about about = {1, SIM_START, o->last};
    enum weir_status status;

    script.seed = options->seed;
    script.tokens_mean = sim_row_cost_mean(&options->run.cost);
    o->flights = mem_calloc(places, sizeof *o->flights);
    o->results = mem_calloc(o->window, sizeof *o->results);
    if (!o->flights || !o->results || !heap_reserve(&o->ends, places))
        return error_nomem(err);
    for (size_t i = 0; i < places; i++) {
        heap_node_init(&o->flights[i].node);
        o->flights[i].next = o->free;
        o->free = &o->flights[i];
    }
    status = sim_service_new(&script, SIM_START, &o->service, err);
    if (status == WEIR_OK)
        status = sim_measure_new(&about, &o->measure, err);
    if (status == WEIR_OK)
        sim_measure_watch(o->measure, o->service, &script);
    return status;
}

enum weir_status sim_study_oracle(const struct sim_study_options *options,
                                  struct sim_study_result *ret, struct weir_error *err)
{
    const struct sim_run *run = &options->run;
    struct sim_study_result result = {0};
    struct oracle o = {
        .options = options,
        .now = SIM_START,
        .sampled_at = SIM_START,
        .last = INSTANT_NEVER,
        .rows = run->rows > 0 ? (uint64_t)(run->rows * run->clients) : UINT64_MAX,
        .window = (uint64_t)(run->window_rows * run->clients),
    };
    struct sim_stats stats;
    enum weir_status status = sim_study_options_check(options, err);

    if (status != WEIR_OK)
        return status;
    if (run->duration_ns > 0)
        o.last = instant_add(SIM_START, run->duration_ns);
    /* As the first client of a study has them. */
    rng_seed(&o.rng, options->seed * SIM_STUDY_CLIENTS_MAX);
    heap_init(&o.ends, ends_before);
    status = make(&o, (size_t)(run->jobs * run->clients), err);
    if (status != WEIR_OK)
        goto out;
    result.end = oracle_live(&o, &result.steps);
    if (options->sample && options->sample_ns > 0 && instant_before(o.sampled_at, o.now))
        (void)take_sample(&o, o.now);
    sim_measure_finish(o.measure, o.service, o.now, result.end == SIM_STUDY_ROWS, &result);
    if (!(sim_row_cost_mean(&run->cost) > 0))
        result.tokens = 0;
    sim_service_stats(o.service, o.now, &stats);
    result.in_flight_peak = (uint64_t)stats.in_service_peak;
    *ret = result;
out:
    heap_free(&o.ends);
    mem_free(o.flights);
    mem_free(o.results);
    sim_measure_free(o.measure);
    sim_service_free(o.service);
    return status;
}
