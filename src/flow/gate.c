/*
 * The gate: the latest of what each part says is when a dispatch may go, and each part is told of
 * each dispatch and answer. What it decides by itself is only how far Retry-After is believed.
 */
#include "flow/gate.h"

#include "base/error.h"

#include <assert.h>
#include <math.h>

/* The mean cost of a dispatch follows by this share of the difference, once it has settled. */
#define COST_STEP 0.002

void gate_options_init(struct gate_options *o)
{
    *o = (struct gate_options){.retry_after_max_ns = GATE_RETRY_AFTER_MAX_NS};
    throttle_options_init(&o->throttle);
}

/*
 * The pool's static delay is also the lower bound of the AIMD delay: one option of the user's. And
 * the adaptive throttle never tries a rate that another part of the gate would not let pass.
 */
static struct throttle_options throttle_options_of(const struct gate_options *o)
{
    struct throttle_options throttle = o->throttle;
    double *most = &throttle.adaptive.rate_max_rps;

    throttle.aimd.min_delay_ns = o->min_dispatch_delay_ns;
    *most = o->rate_per_s > 0 ? o->rate_per_s : HUGE_VAL;
    if (o->min_dispatch_delay_ns > 0)
        *most = fmin(*most, 1 / duration_seconds(o->min_dispatch_delay_ns));
    return throttle;
}

static enum weir_status per_minute_check(const char *name, int64_t limit, struct weir_error *err)
{
    if (limit >= 0 && limit <= BUDGET_LIMIT_MAX)
        return WEIR_OK;
    return error_set(err, WEIR_E_INVALID,
                     "%s is %lld; it must be from 1 to %lld, or 0 for no limit", name,
                     (long long)limit, (long long)BUDGET_LIMIT_MAX);
}

enum weir_status gate_options_check(const struct gate_options *o, struct weir_error *err)
{
    struct throttle_options throttle = throttle_options_of(o);
    enum weir_status status;

    if (o->min_dispatch_delay_ns < 0 || o->min_dispatch_delay_ns > GATE_WAIT_MAX_NS)
        return error_set(err, WEIR_E_INVALID,
                         "min_dispatch_delay_ms is %g; it must be 0 or more, a year at most",
                         duration_ms(o->min_dispatch_delay_ns));
    if (o->rate_per_s != 0 && !(o->rate_per_s >= GATE_RATE_MIN && o->rate_per_s <= GATE_RATE_MAX))
        return error_set(err, WEIR_E_INVALID,
                         "rate is %g per second; it must be from %g to %g, or 0 for no limit",
                         o->rate_per_s, GATE_RATE_MIN, GATE_RATE_MAX);
    if (o->retry_after_max_ns <= 0 || o->retry_after_max_ns > GATE_WAIT_MAX_NS)
        return error_set(err, WEIR_E_INVALID,
                         "retry_after_max is %g s; it must be above 0, a year at most",
                         duration_seconds(o->retry_after_max_ns));
    status = per_minute_check("requests_per_minute", o->requests_per_minute, err);
    if (status == WEIR_OK)
        status = per_minute_check("tokens_per_minute", o->tokens_per_minute, err);
    if (status == WEIR_OK)
        status = throttle_options_check(&throttle, err);
    return status;
}

void gate_init(struct gate *g, const struct gate_options *o, struct rng *jitter)
{
    g->options = *o;
    g->options.throttle = throttle_options_of(o);
    g->held_until = INSTANT_NONE;
    g->tokens_mean = 0;
    g->taken = 0;
    g->jitter = jitter;
    throttle_init(&g->throttle, &g->options.throttle, jitter);
    pacer_init(&g->pacer, o->min_dispatch_delay_ns);
    pacer_init(&g->rate, pacer_gap_of_rate(o->rate_per_s));
    budget_init(&g->requests, o->requests_per_minute);
    budget_init(&g->tokens, o->tokens_per_minute);
    quota_init(&g->told_requests);
    quota_init(&g->told_tokens);
}

void gate_reconfigure(struct gate *g, const struct gate_options *o)
{
    g->options = *o;
    g->options.throttle = throttle_options_of(o);
    throttle_reconfigure(&g->throttle, &g->options.throttle);
    pacer_set_gap(&g->pacer, o->min_dispatch_delay_ns);
    pacer_set_gap(&g->rate, pacer_gap_of_rate(o->rate_per_s));
    budget_set_limit(&g->requests, o->requests_per_minute);
    budget_set_limit(&g->tokens, o->tokens_per_minute);
}

bool gate_fits(const struct gate *g, int64_t tokens)
{
    /* What the service announces is no reason to give a row up: it may announce another limit. */
    return budget_fits(&g->tokens, tokens);
}

/* The gap to the next dispatch is as large as it is costly, where costs are known: a service that
 * counts tokens bears few large requests or many small ones. */
static double relative_cost(const struct gate *g, int64_t tokens)
{
    return tokens > 0 && g->tokens_mean > 0 ? (double)tokens / g->tokens_mean : 1.0;
}

static void learn_cost(struct gate *g, int64_t tokens)
{
    double step = fmax(COST_STEP, 1 / (double)++g->taken);

    if (tokens > 0)
        g->tokens_mean += ((double)tokens - g->tokens_mean) * step;
}

struct instant gate_when(struct gate *g, struct instant now, size_t in_flight, int64_t tokens)
{
    struct instant when = instant_max(now, g->held_until);

    when = instant_max(when, throttle_when(&g->throttle, now, in_flight, relative_cost(g, tokens)));
    when = instant_max(when, pacer_when(&g->pacer));
    when = instant_max(when, pacer_when(&g->rate));
    when = instant_max(when, quota_when(&g->told_requests, now, 1));
    when = instant_max(when, quota_when(&g->told_tokens, now, tokens));
    when = instant_max(when, budget_when(&g->requests, now, 1));
    return instant_max(when, budget_when(&g->tokens, now, tokens));
}

struct gate_ticket gate_take(struct gate *g, struct instant now, size_t in_flight, int64_t tokens)
{
    struct throttle_ticket throttle;

    assert(gate_when(g, now, in_flight, tokens).ns == now.ns);
    throttle = throttle_sent(&g->throttle, now, in_flight, relative_cost(g, tokens));
    learn_cost(g, tokens);
    pacer_take(&g->pacer, now);
    pacer_take(&g->rate, now);
    budget_take(&g->requests, now, 1);
    budget_take(&g->tokens, now, tokens);
    return (struct gate_ticket){
        .taken_at = now,
        .tokens = tokens,
        .requests_mark = quota_take(&g->told_requests, now, 1),
        .tokens_mark = quota_take(&g->told_tokens, now, tokens),
        .throttle = throttle,
    };
}

void gate_settle(struct gate *g, const struct gate_ticket *ticket, int64_t used_tokens)
{
    budget_settle(&g->tokens, ticket->taken_at, ticket->tokens, used_tokens);
}

static void believe_quotas(struct gate *g, struct instant now, const struct gate_ticket *ticket,
                           const struct flow_advice *advice)
{
    duration_ns ceiling = g->options.retry_after_max_ns;

    if (!advice)
        return;
    quota_told(&g->told_requests, now, ticket->requests_mark, &advice->requests, ceiling,
               g->jitter);
    quota_told(&g->told_tokens, now, ticket->tokens_mark, &advice->tokens, ceiling, g->jitter);
}

/* Holds the pool for as long as the service asks, and a little more by chance; never shortens a
 * hold that is in force. False: it asked for more than the ceiling, and is not followed. */
static bool believe_retry_after(struct gate *g, struct instant now,
                                const struct flow_advice *advice)
{
    struct instant until;

    if (!advice || advice->retry_after_ns <= 0)
        return true;
    if (advice->retry_after_ns > g->options.retry_after_max_ns)
        return false;
    until = instant_add(now, advice->retry_after_ns);
    until = instant_add(until, flow_jitter(advice->retry_after_ns, g->jitter));
    g->held_until = instant_max(g->held_until, until);
    return true;
}

struct gate_verdict gate_refused(struct gate *g, struct instant now,
                                 const struct gate_ticket *ticket, uint32_t row_refusals,
                                 const struct flow_advice *advice)
{
    struct throttle_refusal refusal = {.row_refusals = row_refusals, .held_until = INSTANT_NONE};
    struct gate_verdict v = {0};

    believe_quotas(g, now, ticket, advice);
    v.asked_too_long = !believe_retry_after(g, now, advice);
    v.held = instant_before(now, g->held_until);
    if (v.held)
        refusal.held_until = g->held_until;
    v.row_wait_ns = throttle_refused(&g->throttle, now, &ticket->throttle, &refusal);
    /* The adaptive throttle paces what comes after the pause; other kinds have only the wait. */
    if (v.held && g->options.throttle.kind != THROTTLE_ADAPTIVE) {
        duration_ns left = instant_diff(g->held_until, now);

        if (left > v.row_wait_ns)
            v.row_wait_ns = left;
    }
    return v;
}

void gate_accepted(struct gate *g, struct instant now, const struct gate_ticket *ticket,
                   const struct flow_advice *advice)
{
    throttle_accepted(&g->throttle, now, &ticket->throttle);
    believe_quotas(g, now, ticket, advice);
}

void gate_answered(struct gate *g, struct instant now, const struct gate_ticket *ticket,
                   const struct flow_advice *advice)
{
    throttle_answered(&g->throttle, now, &ticket->throttle);
    believe_quotas(g, now, ticket, advice);
    (void)believe_retry_after(g, now, advice);
}

void gate_lost(struct gate *g, struct instant now, const struct gate_ticket *ticket)
{
    throttle_lost(&g->throttle, now, &ticket->throttle);
}

bool gate_may_take_many(struct gate *g, struct instant now, size_t in_flight)
{
    return gate_is_unpaced(g) && gate_is_open(g) && !instant_before(now, gate_held_until(g)) &&
           !instant_before(now, g->told_requests.until) &&
           !instant_before(now, g->told_tokens.until) &&
           !instant_before(now, throttle_when(&g->throttle, now, in_flight, 1.0));
}

/* Pacers and budgets have no part in it: there are none in an unpaced gate. */
struct gate_ticket gate_take_many(struct gate *g, struct instant now, size_t in_flight,
                                  uint32_t count)
{
    assert(count > 0 && gate_may_take_many(g, now, in_flight));
    g->taken += count;
    return (struct gate_ticket){
        .taken_at = now,
        .requests_mark = quota_take(&g->told_requests, now, count) - (count - 1),
        .tokens_mark = quota_take(&g->told_tokens, now, 0),
        .throttle = throttle_sent_many(&g->throttle, now, in_flight, count),
    };
}

struct gate_ticket gate_ticket_nth(const struct gate_ticket *first, uint32_t n)
{
    struct gate_ticket ticket = *first;

    ticket.throttle.number += ticket.throttle.number > 0 ? n : 0;
    ticket.requests_mark += n;
    return ticket;
}

void gate_accepted_many(struct gate *g, struct instant now, const struct gate_ticket *first,
                        uint32_t count, duration_ns took_ns)
{
    struct throttle_ticket last = gate_ticket_nth(first, count - 1).throttle;

    last.sent_at = instant_max(last.sent_at, instant_add(now, -took_ns));
    throttle_accepted_many(&g->throttle, now, &last, count);
}

bool gate_is_open(const struct gate *g)
{
    return throttle_is_open(&g->throttle);
}

const struct throttle_state *gate_throttle(const struct gate *g)
{
    return throttle_state(&g->throttle);
}

duration_ns gate_delay(const struct gate *g)
{
    return throttle_state(&g->throttle)->delay_ns;
}

struct instant gate_held_until(const struct gate *g)
{
    struct instant told =
        instant_max(quota_held_until(&g->told_requests), quota_held_until(&g->told_tokens));

    return instant_max(g->held_until, told);
}

bool gate_is_unpaced(const struct gate *g)
{
    const struct gate_options *o = &g->options;

    return o->min_dispatch_delay_ns == 0 && o->rate_per_s <= 0 && o->requests_per_minute == 0 &&
           o->tokens_per_minute == 0;
}
