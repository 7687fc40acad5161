/* The gate: what each part of it does to the whole, and what no sequence of events may do. */
#include "flow_test.h"

#include "flow/gate.h"

#include <stdlib.h>

struct pool {
    struct gate gate;
    struct rng rng;
};

/* The fields of a gate_options that a test sets; the rest as by default. */
static struct pool *pool_of(struct pool *p, const struct gate_options *o)
{
    assert_int_equal(gate_options_check(o, NULL), WEIR_OK);
    rng_seed(&p->rng, 11);
    gate_init(&p->gate, o, &p->rng);
    return p;
}

static struct gate_options defaults(void)
{
    struct gate_options o;

    gate_options_init(&o);
    o.throttle.kind = THROTTLE_AIMD; /* lets rows pass that were not refused themselves */
    return o;
}

static bool is_open(struct pool *p, struct instant now)
{
    return gate_when(&p->gate, now, 0, 0).ns == now.ns;
}

static struct flow_advice retry_after(duration_ns wait)
{
    struct flow_advice advice = FLOW_ADVICE_UNTOLD;

    advice.retry_after_ns = wait;
    return advice;
}

static void defaults_are_adaptive_and_no_limit(void **state)
{
    struct gate_options o = defaults();
    struct pool p;

    (void)state;
    gate_options_init(&o);
    assert_int_equal(o.throttle.kind, THROTTLE_ADAPTIVE);
    assert_int_equal(o.min_dispatch_delay_ns, 0);
    assert_int_equal(o.retry_after_max_ns, 120 * NS_PER_S);
    o.throttle.kind = THROTTLE_NONE;
    pool_of(&p, &o);
    for (int i = 0; i < 1000; i++) {
        assert_true(is_open(&p, at_ms(0)));
        gate_take(&p.gate, at_ms(0), 0, 1000000);
    }
    assert_true(gate_fits(&p.gate, INT64_MAX));
}

static void each_option_has_its_range(void **state)
{
    struct weir_error err;
    struct gate_options o;

#define REFUSED(field, value, name)                                                                \
    do {                                                                                           \
        o = defaults();                                                                            \
        assert_int_equal(gate_options_check(&o, &err), WEIR_OK);                                   \
        o.field = (value);                                                                         \
        assert_refused(gate_options_check(&o, &err), err, name);                                   \
    } while (0)

    (void)state;
    REFUSED(min_dispatch_delay_ns, -1, "min_dispatch_delay_ms");
    REFUSED(min_dispatch_delay_ns, INT64_MAX, "min_dispatch_delay_ms");
    REFUSED(rate_per_s, -1, "rate");
    REFUSED(rate_per_s, 1e-7, "rate");
    REFUSED(rate_per_s, 2e9, "rate");
    REFUSED(rate_per_s, 0.0 / 0.0, "rate");
    REFUSED(requests_per_minute, -1, "requests_per_minute");
    REFUSED(requests_per_minute, BUDGET_LIMIT_MAX + 1, "requests_per_minute");
    REFUSED(tokens_per_minute, -1, "tokens_per_minute");
    REFUSED(tokens_per_minute, BUDGET_LIMIT_MAX + 1, "tokens_per_minute");
    REFUSED(retry_after_max_ns, 0, "retry_after_max");
    REFUSED(retry_after_max_ns, -1, "retry_after_max");
    REFUSED(retry_after_max_ns, INT64_MAX, "retry_after_max");
    REFUSED(throttle.kind, THROTTLE_KINDS, "throttle");
    REFUSED(throttle.aimd.multiplier, 1, "backoff_multiplier");
    REFUSED(throttle.aimd.step_ns, 0, "recovery_step_ms and min_dispatch_delay_ms");
    REFUSED(min_dispatch_delay_ns, 6 * NS_PER_S, "max_dispatch_delay_ms");
#undef REFUSED
}

static void static_delay_is_the_aimd_delays_lower_bound(void **state)
{
    struct gate_options o = defaults();
    struct gate_ticket ticket;
    struct pool p;

    (void)state;
    o.min_dispatch_delay_ns = 80 * NS_PER_MS;
    o.throttle.aimd.step_ns = 0;
    pool_of(&p, &o);
    ticket = gate_take(&p.gate, at_ms(0), 0, 0);
    assert_int_equal(gate_refused(&p.gate, at_ms(1), &ticket, 0, NULL).row_wait_ns, 80 * NS_PER_MS);
}

static void aimd_delay_is_charged_to_the_row_alone(void **state)
{
    struct gate_options o = defaults();
    struct gate_verdict v = {0};
    struct pool p;

    (void)state;
    o.min_dispatch_delay_ns = 10 * NS_PER_MS;
    pool_of(&p, &o);
    for (int i = 0; i < 5; i++) {
        struct gate_ticket ticket = gate_take(&p.gate, at_ms(10 * i), 0, 0);

        v = gate_refused(&p.gate, at_ms(10 * i), &ticket, 0, NULL);
    }
    assert_int_equal(v.row_wait_ns, 800 * NS_PER_MS);
    assert_int_equal(gate_delay(&p.gate), 800 * NS_PER_MS);
    assert_false(v.held);
    assert_false(v.asked_too_long);
    assert_int_equal(gate_when(&p.gate, at_ms(41), 0, 0).ns, at_ms(50).ns);
}

static void failures_and_silence_say_nothing_to_the_throttle(void **state)
{
    struct gate_options o = defaults();
    struct gate_ticket ticket;
    struct pool p;

    (void)state;
    pool_of(&p, &o);
    ticket = gate_take(&p.gate, at_ms(0), 0, 0);
    gate_refused(&p.gate, at_ms(0), &ticket, 0, NULL);
    ticket = gate_take(&p.gate, at_ms(0), 0, 0);
    gate_answered(&p.gate, at_ms(0), &ticket, NULL);
    gate_take(&p.gate, at_ms(0), 0, 0); /* lost */
    assert_int_equal(gate_delay(&p.gate), 50 * NS_PER_MS);
    gate_accepted(&p.gate, at_ms(0), &ticket, NULL);
    assert_int_equal(gate_delay(&p.gate), 0);
}

static void rate_spaces_dispatches(void **state)
{
    struct gate_options o = defaults();
    struct pool p;

    (void)state;
    o.rate_per_s = 20;
    pool_of(&p, &o);
    gate_take(&p.gate, at_ms(0), 0, 0);
    assert_int_equal(gate_when(&p.gate, at_ms(0), 0, 0).ns, at_ms(50).ns);
}

static void budgets_hold_and_settling_moves_them(void **state)
{
    struct gate_options o = defaults();
    struct gate_ticket ticket;
    struct pool p;

    (void)state;
    o.requests_per_minute = 60;
    o.tokens_per_minute = 6000;
    pool_of(&p, &o);
    assert_true(gate_fits(&p.gate, 6000));
    assert_false(gate_fits(&p.gate, 6001));
    assert_true(instant_is_never(gate_when(&p.gate, at_ms(0), 0, 6001)));
    ticket = gate_take(&p.gate, at_ms(0), 0, 3000);
    assert_int_equal(gate_when(&p.gate, at_ms(0), 0, 1).ns, at_s(30).ns);
    gate_settle(&p.gate, &ticket, -1);
    assert_int_equal(gate_when(&p.gate, at_ms(0), 0, 1).ns, at_s(30).ns);
    gate_settle(&p.gate, &ticket, 500);
    assert_int_equal(gate_when(&p.gate, at_ms(0), 0, 1).ns, at_s(5).ns);
    for (int i = 0; i < 2; i++) { /* a second's worth of requests has come together */
        ticket = gate_take(&p.gate, at_s(5), 0, 0);
        gate_settle(&p.gate, &ticket, 0);
    }
    assert_int_equal(gate_when(&p.gate, at_s(5), 0, 0).ns, at_s(6).ns);
}

static void retry_after_holds_the_pool_with_jitter_above(void **state)
{
    struct gate_options o = defaults();
    struct flow_advice advice = retry_after(3 * NS_PER_S);
    struct gate_ticket ticket;
    struct gate_verdict v;
    struct pool p;

    (void)state;
    pool_of(&p, &o);
    ticket = gate_take(&p.gate, at_s(1), 0, 0);
    v = gate_refused(&p.gate, at_s(2), &ticket, 0, &advice);
    assert_true(v.held);
    assert_false(v.asked_too_long);
    assert_in_range(v.row_wait_ns, 3 * NS_PER_S, 3300 * NS_PER_MS);
    assert_int_equal(gate_when(&p.gate, at_s(2), 0, 0).ns, at_s(2).ns + v.row_wait_ns);
    assert_int_equal(gate_held_until(&p.gate).ns, at_s(2).ns + v.row_wait_ns);
}

static void shorter_retry_after_does_not_shorten_a_hold(void **state)
{
    struct gate_options o = defaults();
    struct flow_advice longer = retry_after(30 * NS_PER_S), shorter = retry_after(NS_PER_S);
    struct flow_advice none = retry_after(0);
    struct gate_ticket a, b;
    struct gate_verdict v;
    struct instant until;
    struct pool p;

    (void)state;
    pool_of(&p, &o);
    a = gate_take(&p.gate, at_s(0), 0, 0);
    b = gate_take(&p.gate, at_s(0), 0, 0);
    gate_refused(&p.gate, at_s(0), &a, 0, &longer);
    until = gate_held_until(&p.gate);
    v = gate_refused(&p.gate, at_s(1), &b, 0, &shorter);
    assert_int_equal(gate_held_until(&p.gate).ns, until.ns);
    assert_int_equal(v.row_wait_ns, instant_diff(until, at_s(1)));
    v = gate_refused(&p.gate, at_s(2), &b, 0, &none);
    assert_int_equal(gate_held_until(&p.gate).ns, until.ns);
    assert_true(v.held);
    gate_accepted(&p.gate, at_s(3), &b, NULL);
    assert_int_equal(gate_held_until(&p.gate).ns, until.ns);
}

static void retry_after_above_the_ceiling_fails_the_row_and_not_the_pool(void **state)
{
    struct gate_options o = defaults();
    struct flow_advice advice = retry_after(o.retry_after_max_ns + 1);
    struct gate_ticket ticket;
    struct gate_verdict v;
    struct pool p;

    (void)state;
    pool_of(&p, &o);
    ticket = gate_take(&p.gate, at_s(0), 0, 0);
    v = gate_refused(&p.gate, at_s(0), &ticket, 0, &advice);
    assert_true(v.asked_too_long);
    assert_false(v.held);
    assert_true(is_open(&p, at_s(0)));
    advice = retry_after(o.retry_after_max_ns);
    v = gate_refused(&p.gate, at_s(0), &ticket, 0, &advice);
    assert_false(v.asked_too_long);
    assert_false(is_open(&p, at_s(119)));
    assert_true(is_open(&p, at_ms(120500)));
}

static void longer_throttle_delay_outlasts_a_short_retry_after(void **state)
{
    struct gate_options o = defaults();
    struct flow_advice advice = retry_after(10 * NS_PER_MS);
    struct gate_verdict v = {0};
    struct pool p;

    (void)state;
    pool_of(&p, &o);
    for (int i = 0; i < 4; i++) {
        struct gate_ticket ticket = gate_take(&p.gate, at_s(i), 0, 0);

        v = gate_refused(&p.gate, at_s(i), &ticket, 0, &advice);
    }
    assert_int_equal(v.row_wait_ns, 400 * NS_PER_MS);
}

static void failures_retry_after_holds_and_a_successs_does_not(void **state)
{
    struct gate_options o = defaults();
    struct flow_advice advice = retry_after(NS_PER_S), too_long = retry_after(INT64_MAX);
    struct gate_ticket ticket;
    struct pool p;

    (void)state;
    pool_of(&p, &o);
    ticket = gate_take(&p.gate, at_s(0), 0, 0);
    gate_accepted(&p.gate, at_s(0), &ticket, &advice);
    assert_true(is_open(&p, at_s(0)));
    gate_answered(&p.gate, at_s(0), &ticket, &too_long);
    assert_true(is_open(&p, at_s(0)));
    gate_answered(&p.gate, at_s(0), &ticket, &advice);
    assert_false(is_open(&p, at_ms(999)));
    assert_true(is_open(&p, at_ms(1100)));
}

static void announced_quotas_cap_requests_and_tokens(void **state)
{
    struct gate_options o = defaults();
    struct flow_advice advice = FLOW_ADVICE_UNTOLD;
    struct gate_ticket ticket;
    struct pool p;

    (void)state;
    pool_of(&p, &o);
    advice.requests = (struct flow_quota){100, 2, 30 * NS_PER_S};
    advice.tokens = (struct flow_quota){1000, 300, 20 * NS_PER_S};
    ticket = gate_take(&p.gate, at_s(0), 0, 50);
    gate_accepted(&p.gate, at_s(0), &ticket, &advice);
    assert_int_equal(gate_when(&p.gate, at_s(19), 0, 300).ns, at_s(19).ns);
    assert_true(gate_when(&p.gate, at_s(19), 0, 301).ns >= at_s(20).ns);
    gate_take(&p.gate, at_s(19), 0, 0);
    gate_take(&p.gate, at_s(21), 0, 0);
    assert_true(gate_when(&p.gate, at_s(22), 0, 0).ns >= at_s(30).ns);
    assert_true(gate_held_until(&p.gate).ns >= at_s(10).ns);
    assert_true(is_open(&p, at_s(31)));
}

/*
 * Random lives: options, outcomes, advice, loss and reordering of answers from a seed, against a
 * log of all that was dispatched and a plain model of what the service asked for.
 */
enum { STEPS = 1500, FLIGHT = 40 };

struct sent {
    struct instant at;
    int64_t tokens;
    struct gate_ticket ticket;
};

struct life {
    struct gate_options options;
    struct pool pool;
    struct rng rng; /* of the world; the gate has its own */
    struct instant now;
    struct sent log[STEPS];
    int len;
    int flight[FLIGHT]; /* indices in the log */
    int in_flight;
    struct instant floor; /* by Retry-After */
    int told_by;          /* index of the newest dispatch whose answer told a quota */
    int64_t told_remaining;
    struct instant told_until;
};

static struct gate_options random_options(struct rng *rng)
{
    struct gate_options o = defaults();

    o.throttle.kind = (enum throttle_kind)rng_below(rng, THROTTLE_KINDS);
    if (rng_below(rng, 2))
        o.min_dispatch_delay_ns = rng_range(rng, 0, 200 * NS_PER_MS);
    if (rng_below(rng, 2))
        o.rate_per_s = 0.5 + 50 * rng_unit(rng);
    if (rng_below(rng, 2))
        o.requests_per_minute = rng_range(rng, 1, 300);
    if (rng_below(rng, 2))
        o.tokens_per_minute = rng_range(rng, 1, 100000);
    o.retry_after_max_ns = rng_range(rng, 1, 200 * NS_PER_S);
    return o;
}

static struct flow_quota random_quota(struct rng *rng)
{
    struct flow_quota q = {rng_range(rng, -1, 100), rng_range(rng, -1, 20),
                           rng_range(rng, -1, 150 * NS_PER_S)};

    if (rng_below(rng, 10) == 0)
        q = (struct flow_quota){(int64_t)rng_u64(rng), (int64_t)rng_u64(rng),
                                (int64_t)rng_u64(rng)};
    return q;
}

static struct flow_advice random_advice(struct rng *rng)
{
    struct flow_advice advice = FLOW_ADVICE_UNTOLD;

    if (rng_below(rng, 4) == 0)
        advice.retry_after_ns = rng_range(rng, -1, 250 * NS_PER_S);
    if (rng_below(rng, 50) == 0)
        advice.retry_after_ns = (int64_t)rng_u64(rng);
    if (rng_below(rng, 4) == 0)
        advice.requests = random_quota(rng);
    if (rng_below(rng, 4) == 0)
        advice.tokens = random_quota(rng);
    return advice;
}

static void check_dispatch(const struct life *l)
{
    const struct gate_options *o = &l->options;
    const struct sent *last = &l->log[l->len - 1];
    int64_t requests = 0, tokens = 0;

    if (l->len > 1) {
        duration_ns gap = instant_diff(last->at, l->log[l->len - 2].at);

        assert_true(gap >= o->min_dispatch_delay_ns);
        assert_true(o->rate_per_s == 0 || (double)gap * o->rate_per_s >= (double)NS_PER_S);
    }
    for (int i = l->len; i-- > 0 && instant_diff(last->at, l->log[i].at) <= 60 * NS_PER_S;) {
        requests++;
        tokens += l->log[i].tokens;
    }
    assert_true(o->requests_per_minute == 0 || requests <= o->requests_per_minute);
    assert_true(o->tokens_per_minute == 0 || tokens <= o->tokens_per_minute);
    assert_false(instant_before(last->at, l->floor));
    if (instant_before(last->at, l->told_until))
        assert_true(l->len - 1 - l->told_by <= l->told_remaining);
}

static void dispatch(struct life *l, int64_t tokens)
{
    struct sent *s = &l->log[l->len];

    *s = (struct sent){l->now, tokens, gate_take(&l->pool.gate, l->now, 0, tokens)};
    if (l->in_flight < FLIGHT) /* else its answer is lost */
        l->flight[l->in_flight++] = l->len;
    l->len++;
    check_dispatch(l);
}

static void model_advice(struct life *l, int who, const struct flow_advice *advice, bool failed)
{
    const struct flow_quota *q = &advice->requests;
    duration_ns ceiling = l->options.retry_after_max_ns;

    if (failed && advice->retry_after_ns > 0 && advice->retry_after_ns <= ceiling)
        l->floor = instant_max(l->floor, instant_add(l->now, advice->retry_after_ns));
    if (q->remaining < 0 || q->reset_ns < 0 || who < l->told_by)
        return;
    if (q->limit != -1 && (q->limit <= 0 || q->remaining > q->limit))
        return;
    l->told_by = who;
    l->told_remaining = q->remaining;
    l->told_until = instant_add(l->now, q->reset_ns < ceiling ? q->reset_ns : ceiling);
}

static void answer(struct life *l)
{
    struct gate *g = &l->pool.gate;
    struct flow_advice advice = random_advice(&l->rng);
    int at = (int)rng_below(&l->rng, (uint64_t)l->in_flight);
    int who = l->flight[at];
    struct sent *s = &l->log[who];
    struct gate_verdict v;

    l->flight[at] = l->flight[--l->in_flight];
    switch (rng_below(&l->rng, 5)) {
    case 0: /* lost */
        break;
    case 1:
        v = gate_refused(g, l->now, &s->ticket, 0, &advice);
        assert_true(v.row_wait_ns > 0 || l->options.throttle.kind == THROTTLE_ADAPTIVE);
        assert_int_equal(v.asked_too_long, advice.retry_after_ns > l->options.retry_after_max_ns);
        model_advice(l, who, &advice, true);
        break;
    case 2:
        gate_answered(g, l->now, &s->ticket, &advice);
        model_advice(l, who, &advice, true);
        break;
    default:
        gate_accepted(g, l->now, &s->ticket, &advice);
        model_advice(l, who, &advice, false);
        s->tokens = rng_range(&l->rng, 0, s->ticket.tokens);
        gate_settle(g, &s->ticket, s->tokens);
    }
}

/* The gate's answer at this moment for a row: in bounds, and the same or later when asked later. */
static struct instant checked_when(struct life *l, int64_t tokens)
{
    struct gate *g = &l->pool.gate;
    const struct gate_options *o = &l->options;
    struct instant when = gate_when(g, l->now, 0, tokens);
    struct instant later = instant_add(l->now, rng_range(&l->rng, 0, 100 * NS_PER_S));
    duration_ns bound = o->retry_after_max_ns + FLOW_JITTER_MAX_NS + 60 * NS_PER_S +
                        o->min_dispatch_delay_ns + 2 * NS_PER_S;

    assert_false(instant_before(when, l->now));
    /* The adaptive throttle may wait for an answer, and time decides things there. */
    if (o->throttle.kind == THROTTLE_ADAPTIVE)
        return when;
    assert_int_equal(instant_is_never(when), !gate_fits(g, tokens));
    assert_int_equal(gate_when(g, later, 0, tokens).ns, instant_max(when, later).ns);
    if (gate_fits(g, tokens))
        assert_true(instant_diff(when, l->now) <= bound);
    return when;
}

static struct life *live(uint64_t seed)
{
    struct life *l = calloc(1, sizeof(*l));

    assert_non_null(l);
    rng_seed(&l->rng, seed);
    l->options = random_options(&l->rng);
    pool_of(&l->pool, &l->options);
    l->floor = INSTANT_NONE;
    l->told_by = -1;
    l->told_until = INSTANT_NONE;
    while (l->len < STEPS) {
        int64_t most = l->options.tokens_per_minute ? l->options.tokens_per_minute : 10000;
        int64_t tokens = rng_range(&l->rng, 0, rng_below(&l->rng, 20) ? most / 50 : most + 5);
        struct instant when = checked_when(l, tokens);

        if (!instant_is_never(when) && rng_below(&l->rng, 2))
            l->now = when; /* as early as may be: the worst case */
        if (!instant_before(l->now, gate_when(&l->pool.gate, l->now, 0, tokens)))
            dispatch(l, tokens);
        while (l->in_flight > 0 && rng_below(&l->rng, 3) > 0)
            answer(l);
        if (rng_below(&l->rng, 4) == 0)
            l->now = instant_add(l->now, rng_range(&l->rng, 0, 500 * NS_PER_MS));
        if (rng_below(&l->rng, 500) == 0)
            l->now = instant_add(l->now, rng_range(&l->rng, 1, 24 * 3600) * NS_PER_S);
    }
    return l;
}

static void no_life_breaks_a_limit_or_gets_stuck(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++)
        free(live(seed));
}

/* Many dispatches in one call, as of very short work: nothing may space them, and a refusal among them ends it. */
static void many_may_go_at_once_while_nothing_limits(void **state)
{
    static const enum throttle_kind kinds[] = {THROTTLE_NONE, THROTTLE_AIMD, THROTTLE_ADAPTIVE};

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct instant now = {NS_PER_S};
        struct gate_ticket first, tenth;
        struct gate_options o;
        struct gate g;
        struct rng rng;

        rng_seed(&rng, 1);
        gate_options_init(&o);
        o.throttle.kind = kinds[i];
        gate_init(&g, &o, &rng);
        assert_true(gate_may_take_many(&g, now, 0));
        first = gate_take_many(&g, now, 0, 100);
        tenth = gate_ticket_nth(&first, 10);
        assert_int_equal(tenth.requests_mark, first.requests_mark + 10);
        if (kinds[i] == THROTTLE_ADAPTIVE)
            assert_int_equal(tenth.throttle.number, first.throttle.number + 10);
        now = instant_add(now, NS_PER_MS);
        gate_accepted_many(&g, now, &first, 10, NS_PER_US);
        assert_true(gate_may_take_many(&g, now, 0));
        (void)gate_refused(&g, now, &tenth, 0, NULL);
        assert_int_equal(gate_may_take_many(&g, now, 0), kinds[i] == THROTTLE_NONE);
    }
}

/* The rate at which it begins after the first refusal is that of all that were accepted, told of together or not. */
static void the_throttle_counts_each_of_many(void **state)
{
    double rate_rps[2];

    (void)state;
    for (int together = 0; together < 2; together++) {
        struct instant now = {NS_PER_S};
        struct gate_ticket ticket;
        struct gate_options o;
        struct gate g;
        struct rng rng;

        rng_seed(&rng, 1);
        gate_options_init(&o);
        o.throttle.kind = THROTTLE_ADAPTIVE;
        gate_init(&g, &o, &rng);
        for (int i = 0; i < 1000; i++) {
            if (together) {
                ticket = gate_take_many(&g, now, 0, 50);
                now = instant_add(now, NS_PER_MS);
                gate_accepted_many(&g, now, &ticket, 50, NS_PER_US);
                continue;
            }
            for (int k = 0; k < 50; k++) {
                ticket = gate_take(&g, now, 0, 0);
                now = instant_add(now, NS_PER_MS / 50);
                gate_accepted(&g, now, &ticket, NULL);
            }
        }
        ticket = gate_take(&g, now, 0, 0);
        (void)gate_refused(&g, now, &ticket, 0, NULL);
        assert_int_equal(gate_throttle(&g)->mode, THROTTLE_MODE_RATE);
        rate_rps[together] = gate_throttle(&g)->rate_rps;
    }
    assert_true(rate_rps[1] > 0.9 * rate_rps[0] && rate_rps[1] < 1.1 * rate_rps[0]);
}

static void the_same_seed_gives_the_same_life(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct life *a = live(seed), *b = live(seed);

        for (int i = 0; i < STEPS; i++) {
            assert_int_equal(a->log[i].at.ns, b->log[i].at.ns);
            assert_int_equal(a->log[i].tokens, b->log[i].tokens);
        }
        free(a);
        free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_adaptive_and_no_limit),
        cmocka_unit_test(many_may_go_at_once_while_nothing_limits),
        cmocka_unit_test(the_throttle_counts_each_of_many),
        cmocka_unit_test(each_option_has_its_range),
        cmocka_unit_test(static_delay_is_the_aimd_delays_lower_bound),
        cmocka_unit_test(aimd_delay_is_charged_to_the_row_alone),
        cmocka_unit_test(failures_and_silence_say_nothing_to_the_throttle),
        cmocka_unit_test(rate_spaces_dispatches),
        cmocka_unit_test(budgets_hold_and_settling_moves_them),
        cmocka_unit_test(retry_after_holds_the_pool_with_jitter_above),
        cmocka_unit_test(shorter_retry_after_does_not_shorten_a_hold),
        cmocka_unit_test(retry_after_above_the_ceiling_fails_the_row_and_not_the_pool),
        cmocka_unit_test(longer_throttle_delay_outlasts_a_short_retry_after),
        cmocka_unit_test(failures_retry_after_holds_and_a_successs_does_not),
        cmocka_unit_test(announced_quotas_cap_requests_and_tokens),
        cmocka_unit_test(no_life_breaks_a_limit_or_gets_stuck),
        cmocka_unit_test(the_same_seed_gives_the_same_life),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
