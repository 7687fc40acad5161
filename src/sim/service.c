/* See service.h. */
#include "sim/service.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"
#include "sim/window.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* A request may be short by what rounding takes: a client that keeps the pace exactly arrives at
 * whole nanoseconds, one early at the most. */
#define TOKEN_SLACK 1e-9
#define EARLY_S     2e-9

/* Streams of chance, each with a generator of its own. */
enum {
    CHANCE_PHASES,
    CHANCE_OUTAGES,
    CHANCE_REFUSALS,
    CHANCE_LATENCY,
    CHANCE_FAULTS,
    CHANCE_NETWORK,
    CHANCES
};

struct sim_service {
    struct sim_script script;
    struct instant start;
    struct instant now; /* up to here the capacity has been followed */
    struct rng chance[CHANCES];

    /* The level that is in force, and until when. */
    bool high;
    double rate_rps;
    int64_t concurrency;
    struct instant phase_end; /* NEVER: nothing moves */
    uint64_t phase;
    double bucket; /* requests in the rate's bucket */

    struct sim_outage random_outage; /* the one that runs or comes next */

    bool has_requests;
    bool has_tokens;
    struct sim_window requests;
    struct sim_window tokens;

    /* Servers and the queue before them, planned ahead: when each server is free (a heap, the first
     * to be free at 0), and when those that wait will start (a ring; first come, first served, so
     * it is in order). */
    struct instant *server_free;
    struct instant *starts;
    size_t starts_head;
    size_t starts_len;

    double offered_at_first;
    double offered_at_latest;
    double tokens_seen; /* of all requests, for the mean */
    struct sim_stats stats;

    void (*changed)(void *ctx, const struct sim_step *step);
    void *changed_ctx;
};

/* ---- capacity over time ---- */

static bool moves(const struct sim_range *r)
{
    return r->hi > r->lo;
}

static double pick_level(struct sim_service *s, const struct sim_range *r, bool whole)
{
    if (!moves(r))
        return r->lo;
    if (s->script.levels == SIM_LEVELS_ENDS)
        return s->high ? r->hi : r->lo;
    if (s->script.levels == SIM_LEVELS_LOG_UNIFORM) {
        double level = r->lo * pow(r->hi / r->lo, rng_unit(&s->chance[CHANCE_PHASES]));

        return whole ? round(level) : level;
    }
    if (whole)
        return (double)rng_range(&s->chance[CHANCE_PHASES], (int64_t)r->lo, (int64_t)r->hi);
    return r->lo + rng_unit(&s->chance[CHANCE_PHASES]) * (r->hi - r->lo);
}

static void begin_phase(struct sim_service *s)
{
    const struct sim_script *c = &s->script;

    s->high = !s->high;
    s->rate_rps = pick_level(s, &c->rate_rps, false);
    s->concurrency = (int64_t)pick_level(s, &c->concurrency, true);
    s->phase_end = INSTANT_NEVER;
    if (moves(&c->rate_rps) || moves(&c->concurrency))
        s->phase_end = instant_add(
            s->now, rng_range(&s->chance[CHANCE_PHASES], c->phase_lo_ns, c->phase_hi_ns));
}

static void plan_outage(struct sim_service *s)
{
    struct sim_outage *o = &s->random_outage;
    double wait_s;

    if (s->script.outage_interval_ns <= 0)
        return;
    wait_s = rng_exponential(&s->chance[CHANCE_OUTAGES]) *
             duration_seconds(s->script.outage_interval_ns);
    o->start_ns = instant_diff(s->now, s->start) + duration_from_seconds(wait_s);
    o->length_ns = s->script.outage_length_ns;
}

static struct instant outage_start(const struct sim_service *s, const struct sim_outage *o)
{
    return instant_add(s->start, o->start_ns);
}

static struct instant outage_end(const struct sim_service *s, const struct sim_outage *o)
{
    return instant_add(outage_start(s, o), o->length_ns);
}

static bool outage_runs(const struct sim_service *s, const struct sim_outage *o)
{
    return !instant_before(s->now, outage_start(s, o)) && instant_before(s->now, outage_end(s, o));
}

/* When the outage of this moment ends; NONE: there is none. */
static struct instant down_until(const struct sim_service *s)
{
    struct instant end = INSTANT_NONE;

    for (size_t i = 0; i < s->script.outage_count; i++) {
        if (outage_runs(s, &s->script.outages[i]))
            end = instant_max(end, outage_end(s, &s->script.outages[i]));
    }
    if (s->script.outage_interval_ns > 0 && outage_runs(s, &s->random_outage))
        end = instant_max(end, outage_end(s, &s->random_outage));
    return end;
}

static struct instant next_edge(const struct sim_service *s, const struct sim_outage *o)
{
    struct instant start = outage_start(s, o);
    struct instant end = outage_end(s, o);

    if (instant_before(s->now, start))
        return start;
    return instant_before(s->now, end) ? end : INSTANT_NEVER;
}

/* The next moment at which the capacity changes. */
static struct instant next_change(const struct sim_service *s)
{
    struct instant next = s->phase_end;

    for (size_t i = 0; i < s->script.outage_count; i++)
        next = instant_min(next, next_edge(s, &s->script.outages[i]));
    if (s->script.outage_interval_ns > 0)
        next = instant_min(next, next_edge(s, &s->random_outage));
    return next;
}

static double bucket_depth(const struct sim_service *s)
{
    return fmax(s->script.burst_requests, s->rate_rps * duration_seconds(s->script.burst_ns));
}

/* What the limits but for outages allow. */
static double bearable_rps(const struct sim_service *s)
{
    const struct sim_script *c = &s->script;
    double mean_s = sim_latency_mean_s(&c->latency);
    double rps = HUGE_VAL;

    if (c->rate_rps.hi > 0)
        rps = fmin(rps, s->rate_rps);
    if (s->concurrency > 0 && mean_s > 0)
        rps = fmin(rps, (double)s->concurrency / mean_s);
    if (c->servers > 0 && mean_s > 0)
        rps = fmin(rps, (double)c->servers / mean_s);
    if (s->has_requests)
        rps = fmin(rps, (double)c->requests_per_minute / 60);
    if (s->has_tokens && c->tokens_mean > 0)
        rps = fmin(rps, (double)c->tokens_per_minute / 60 / c->tokens_mean);
    else if (s->has_tokens && s->stats.seen > 0)
        rps = fmin(rps, (double)c->tokens_per_minute / 60 * (double)s->stats.seen / s->tokens_seen);
    return rps;
}

double sim_service_capacity_rps(const struct sim_service *s)
{
    return instant_is_none(down_until(s)) ? bearable_rps(s) : 0;
}

/* The capacity is constant from s->now to `to`. */
static void pass(struct sim_service *s, struct instant to)
{
    double seconds = duration_seconds(instant_diff(to, s->now));
    double rps = sim_service_capacity_rps(s);

    if (isfinite(rps))
        s->stats.offered += rps * seconds;
    s->bucket = fmin(s->bucket + s->rate_rps * seconds, bucket_depth(s));
    s->now = to;
}

static void tell_change(struct sim_service *s, double before_rps, bool was_down)
{
    struct sim_step step = {.at = s->now, .before_rps = before_rps};

    step.after_rps = sim_service_capacity_rps(s);
    step.outage = was_down == instant_is_none(down_until(s));
    if (step.after_rps < before_rps || step.after_rps > before_rps)
        s->changed(s->changed_ctx, &step);
}

static void advance(struct sim_service *s, struct instant now)
{
    while (instant_before(s->now, now)) {
        double before_rps = sim_service_capacity_rps(s);
        bool was_down = !instant_is_none(down_until(s));

        pass(s, instant_min(next_change(s), now));
        if (!instant_before(s->now, s->phase_end)) {
            begin_phase(s);
            s->bucket = fmin(s->bucket, bucket_depth(s));
            s->phase++;
        }
        if (s->script.outage_interval_ns > 0 &&
            !instant_before(s->now, outage_end(s, &s->random_outage)))
            plan_outage(s);
        if (s->changed)
            tell_change(s, before_rps, was_down);
    }
}

/* ---- servers and their queue ---- */

/* Puts the first server back in its place after its time grew. */
static void sift_down(struct instant *heap, size_t len)
{
    size_t at = 0;

    for (;;) {
        size_t least = at;
        size_t left = 2 * at + 1;
        struct instant moved = heap[at];

        if (left < len && instant_before(heap[left], heap[least]))
            least = left;
        if (left + 1 < len && instant_before(heap[left + 1], heap[least]))
            least = left + 1;
        if (least == at)
            return;
        heap[at] = heap[least];
        heap[least] = moved;
        at = least;
    }
}

static bool queue_is_full(struct sim_service *s)
{
    size_t max = (size_t)s->script.queue_max;

    if (!s->server_free || s->script.queue_max < 0 || !instant_before(s->now, s->server_free[0]))
        return false;
    while (s->starts_len > 0 && !instant_before(s->now, s->starts[s->starts_head])) {
        s->starts_head = (s->starts_head + 1) % max;
        s->starts_len--;
    }
    return s->starts_len >= max;
}

/* Gives the work to the first server that is free; returns when it will be done, from now. */
static duration_ns serve(struct sim_service *s, duration_ns work_ns)
{
    struct instant begin;

    if (!s->server_free)
        return work_ns;
    begin = instant_max(s->now, s->server_free[0]);
    s->server_free[0] = instant_add(begin, work_ns);
    sift_down(s->server_free, (size_t)s->script.servers);
    if (s->starts && instant_before(s->now, begin)) {
        size_t max = (size_t)s->script.queue_max;

        assert(s->starts_len < max);
        s->starts[(s->starts_head + s->starts_len) % max] = begin;
        s->starts_len++;
    }
    return instant_diff(instant_add(begin, work_ns), s->now);
}

/* ---- one request ---- */

static duration_ns draw_latency(const struct sim_latency *l, struct rng *r)
{
    double a = duration_seconds(l->a_ns);

    switch (l->kind) {
    case SIM_LATENCY_UNIFORM:
        return rng_range(r, l->a_ns, l->b_ns);
    case SIM_LATENCY_EXPONENTIAL:
        return duration_from_seconds(a * rng_exponential(r));
    case SIM_LATENCY_LOGNORMAL:
        return duration_from_seconds(a * exp(l->sigma * rng_normal(r)));
    case SIM_LATENCY_FIXED:
        break;
    }
    return l->a_ns;
}

static duration_ns bucket_wait(const struct sim_service *s)
{
    if (s->script.rate_rps.hi <= 0 || s->bucket + TOKEN_SLACK + s->rate_rps * EARLY_S >= 1)
        return 0;
    /* One more, so that after the wait it is there whatever rounding took. */
    return duration_from_seconds((1 - s->bucket) / s->rate_rps) + 1;
}

static void find(enum sim_limit limit, duration_ns wait_ns, enum sim_limit *first,
                 duration_ns *longest_ns)
{
    if (wait_ns <= 0)
        return;
    if (*first == SIM_LIMIT_NONE)
        *first = limit;
    if (wait_ns > *longest_ns)
        *longest_ns = wait_ns;
}

/* The first limit in the way, and how long until none is, as far as can be known. */
static enum sim_limit judge(struct sim_service *s, int64_t tokens, duration_ns *ret_wait_ns)
{
    struct instant down = down_until(s);
    enum sim_limit first = SIM_LIMIT_NONE;
    duration_ns wait_ns = 0;

    if (!instant_is_none(down))
        find(SIM_LIMIT_OUTAGE, instant_diff(down, s->now), &first, &wait_ns);
    if (queue_is_full(s))
        find(SIM_LIMIT_QUEUE, instant_diff(s->server_free[0], s->now), &first, &wait_ns);
    /* Nobody knows when one of those in service will leave. */
    if (s->concurrency > 0 && s->stats.in_service >= s->concurrency)
        find(SIM_LIMIT_CONCURRENCY, 1, &first, &wait_ns);
    find(SIM_LIMIT_RATE, bucket_wait(s), &first, &wait_ns);
    if (s->has_requests)
        find(SIM_LIMIT_REQUESTS, sim_window_wait(&s->requests, s->now, 1), &first, &wait_ns);
    if (s->has_tokens)
        find(SIM_LIMIT_TOKENS, sim_window_wait(&s->tokens, s->now, tokens), &first, &wait_ns);
    *ret_wait_ns = wait_ns;
    return first;
}

static int pick_refusal(struct sim_service *s)
{
    const struct sim_script *c = &s->script;
    double sum = 0;
    double at;

    for (size_t i = 0; i < c->refusal_count; i++)
        sum += c->refusals[i].weight;
    at = rng_unit(&s->chance[CHANCE_REFUSALS]) * sum;
    for (size_t i = 0; i + 1 < c->refusal_count; i++) {
        at -= c->refusals[i].weight;
        if (at < 0)
            return c->refusals[i].status;
    }
    return c->refusals[c->refusal_count - 1].status;
}

static void refuse(struct sim_service *s, struct sim_answer *a)
{
    const struct sim_latency *l =
        s->script.slow_refusals ? &s->script.latency : &s->script.refusal_latency;

    a->status = a->limit == SIM_LIMIT_OUTAGE ? 503 : pick_refusal(s);
    a->latency_ns = draw_latency(l, &s->chance[CHANCE_LATENCY]);
    s->stats.refused++;
    s->stats.refused_by_limit[a->limit]++;
    s->stats.refused_by_status[a->status - SIM_STATUS_MIN]++;
}

static enum sim_fault pick_fault(struct sim_service *s)
{
    double at = rng_unit(&s->chance[CHANCE_FAULTS]);

    for (int f = SIM_FAULT_FAIL; f < SIM_FAULT_COUNT; f++) {
        at -= s->script.fault_rates[f];
        if (at < 0)
            return (enum sim_fault)f;
    }
    return SIM_FAULT_NONE;
}

static void draw_fault(struct sim_service *s, struct rng *content, struct sim_answer *a)
{
    static const int failures[] = {500, 502, 504};
    static const int permanents[] = {400, 422};
    struct rng *r = &s->chance[CHANCE_FAULTS];
    bool permanent = rng_unit(content) < s->script.fault_rates[SIM_FAULT_PERMANENT];
    size_t which = (size_t)rng_below(content, 2);

    a->fault = permanent ? SIM_FAULT_PERMANENT : pick_fault(s);
    a->status = 200;
    switch (a->fault) {
    case SIM_FAULT_PERMANENT:
        a->status = permanents[which];
        break;
    case SIM_FAULT_FAIL:
        a->status = failures[rng_below(r, 3)];
        break;
    case SIM_FAULT_BROKEN:
        a->how = (enum sim_break)rng_below(r, SIM_BREAK_COUNT);
        break;
    case SIM_FAULT_SLOW:
        a->body_ns = s->script.slow_ns;
        break;
    case SIM_FAULT_RESET:
    case SIM_FAULT_CLOSE:
    case SIM_FAULT_HANG:
        a->status = 0;
        break;
    case SIM_FAULT_NONE:
    case SIM_FAULT_COUNT:
        break;
    }
}

static void admit(struct sim_service *s, const struct sim_request *q, int64_t tokens,
                  struct sim_answer *a)
{
    struct rng of_content;
    struct rng *faults = &s->chance[CHANCE_FAULTS];
    struct rng *latency = &s->chance[CHANCE_LATENCY];

    if (s->script.deterministic) {
        rng_seed(&of_content, s->script.seed ^ q->identity);
        faults = &of_content;
        latency = &of_content;
    }
    if (s->script.rate_rps.hi > 0)
        s->bucket = fmax(0, s->bucket - 1);
    if (s->has_requests)
        sim_window_take(&s->requests, s->now, 1);
    if (s->has_tokens)
        sim_window_take(&s->tokens, s->now, tokens);
    draw_fault(s, faults, a);
    a->latency_ns = serve(s, draw_latency(&s->script.latency, latency));
    if (a->fault == SIM_FAULT_HANG)
        a->latency_ns = INT64_MAX;
    a->in_service = true;
    s->stats.accepted++;
    s->stats.tokens += (uint64_t)tokens;
    s->stats.faults[a->fault]++;
    s->stats.in_service++;
    if (s->stats.in_service > s->stats.in_service_peak)
        s->stats.in_service_peak = s->stats.in_service;
}

/* The rate's bucket, told as if it were a quota of requests. */
static struct flow_quota told_of_bucket(const struct sim_service *s)
{
    double depth = bucket_depth(s);

    return (struct flow_quota){
        .limit = (int64_t)(depth + TOKEN_SLACK),
        .remaining = (int64_t)(s->bucket + TOKEN_SLACK),
        .reset_ns = duration_from_seconds((depth - s->bucket) / s->rate_rps),
    };
}

static struct flow_advice tell(struct sim_service *s, enum sim_limit limit, duration_ns wait_ns)
{
    struct flow_advice told = FLOW_ADVICE_UNTOLD;
    int64_t seconds = wait_ns / NS_PER_S + (wait_ns % NS_PER_S > 0 ? 1 : 0);

    /* What will never fit is told no time. */
    if ((s->script.headers & SIM_HEADERS_RETRY_AFTER) && limit != SIM_LIMIT_NONE &&
        wait_ns < INT64_MAX)
        told.retry_after_ns = seconds * NS_PER_S;
    if (!(s->script.headers & SIM_HEADERS_RATELIMIT))
        return told;
    if (s->has_requests)
        told.requests = sim_window_told(&s->requests, s->now);
    else if (s->script.rate_rps.hi > 0)
        told.requests = told_of_bucket(s);
    if (s->has_tokens)
        told.tokens = sim_window_told(&s->tokens, s->now);
    return told;
}

void sim_service_watch(struct sim_service *s,
                       void (*changed)(void *ctx, const struct sim_step *step), void *ctx)
{
    s->changed = changed;
    s->changed_ctx = ctx;
}

duration_ns sim_service_travel(struct sim_service *s)
{
    double jitter_s = duration_seconds(s->script.network_jitter_ns);

    if (s->script.network_jitter_ns <= 0)
        return s->script.network_ns;
    return s->script.network_ns +
           duration_from_seconds(jitter_s * rng_exponential(&s->chance[CHANCE_NETWORK]));
}

struct instant sim_service_when(struct sim_service *s, struct instant now,
                                const struct sim_request *request)
{
    struct instant when;
    duration_ns wait_ns;
    enum sim_limit limit;

    advance(s, now);
    limit = judge(s, request->tokens < 1 ? 1 : request->tokens, &wait_ns);
    when = instant_add(s->now, wait_ns);
    if (limit == SIM_LIMIT_CONCURRENCY)
        when = INSTANT_NEVER;
    /* It would be taken, and wait. */
    if (s->server_free && instant_before(when, s->server_free[0]))
        when = s->server_free[0];
    /* What a limit says of later holds at this level only. */
    return instant_before(s->now, when) ? instant_min(when, next_change(s)) : s->now;
}

void sim_service_arrive(struct sim_service *s, struct instant now,
                        const struct sim_request *request, struct sim_answer *ret)
{
    struct sim_answer a = {0};
    int64_t tokens = request->tokens < 1 ? 1 : request->tokens;
    duration_ns wait_ns;

    advance(s, now);
    if (s->stats.seen == 0)
        s->offered_at_first = s->stats.offered;
    s->offered_at_latest = s->stats.offered;
    s->stats.seen++;
    s->tokens_seen += (double)tokens;
    a.limit = judge(s, tokens, &wait_ns);
    if (a.limit == SIM_LIMIT_NONE)
        admit(s, request, tokens, &a);
    else
        refuse(s, &a);
    a.told = tell(s, a.limit, wait_ns);
    *ret = a;
}

void sim_service_leave(struct sim_service *s, struct instant now, struct sim_answer *answer,
                       bool answered)
{
    advance(s, now);
    if (!answer->in_service)
        return;
    answer->in_service = false;
    assert(s->stats.in_service > 0);
    s->stats.in_service--;
    if (!answered)
        s->stats.abandoned++;
}

void sim_service_stats(struct sim_service *s, struct instant now, struct sim_stats *ret)
{
    advance(s, now);
    *ret = s->stats;
    ret->elapsed_ns = instant_diff(s->now, s->start);
    ret->unlimited = !isfinite(bearable_rps(s));
    ret->offered_at_latest = s->offered_at_latest;
    ret->offered_in_use = s->offered_at_latest - s->offered_at_first;
    ret->rate_rps = s->rate_rps;
    ret->concurrency = s->concurrency;
    ret->phase = s->phase;
    ret->outage = !instant_is_none(down_until(s));
}

/* ---- life ---- */

static bool allocate(struct sim_service *s)
{
    const struct sim_script *c = &s->script;

    if (c->requests_per_minute > 0) {
        s->has_requests = sim_window_init(&s->requests, c->window, c->requests_per_minute,
                                          c->window_depth_ns, s->start);
        if (!s->has_requests)
            return false;
    }
    if (c->tokens_per_minute > 0) {
        s->has_tokens = sim_window_init(&s->tokens, c->window, c->tokens_per_minute,
                                        c->window_depth_ns, s->start);
        if (!s->has_tokens)
            return false;
    }
    if (c->servers > 0) {
        s->server_free = mem_calloc((size_t)c->servers, sizeof *s->server_free);
        if (!s->server_free)
            return false;
        for (int64_t i = 0; i < c->servers; i++)
            s->server_free[i] = s->start;
    }
    if (c->queue_max > 0) {
        s->starts = mem_calloc((size_t)c->queue_max, sizeof *s->starts);
        if (!s->starts)
            return false;
    }
    return true;
}

enum weir_status sim_service_new(const struct sim_script *script, struct instant start,
                                 struct sim_service **ret, struct weir_error *err)
{
    struct sim_service *s = mem_calloc(1, sizeof *s);

    if (!s)
        return error_nomem(err);
    s->script = *script;
    s->start = start;
    s->now = start;
    if (!allocate(s)) {
        sim_service_free(s);
        return error_nomem(err);
    }
    for (uint64_t i = 0; i < CHANCES; i++)
        rng_seed(&s->chance[i], script->seed * CHANCES + i);
    s->high = rng_below(&s->chance[CHANCE_PHASES], 2) == 1;
    begin_phase(s);
    s->bucket = bucket_depth(s);
    plan_outage(s);
    *ret = s;
    return WEIR_OK;
}

struct sim_service *sim_service_free(struct sim_service *s)
{
    if (!s)
        return NULL;
    if (s->has_requests)
        sim_window_free(&s->requests);
    if (s->has_tokens)
        sim_window_free(&s->tokens);
    mem_free(s->server_free);
    mem_free(s->starts);
    return mem_free(s);
}

const char *sim_limit_name(enum sim_limit l)
{
    static const char *const names[SIM_LIMIT_COUNT] = {"none", "outage",   "queue", "concurrency",
                                                       "rate", "requests", "tokens"};

    return (unsigned)l < SIM_LIMIT_COUNT ? names[l] : "unknown";
}
