/*
 * What holds of the adaptive throttle whatever the service does: random services, delays, losses
 * and orders of answers from a seed, in virtual time.
 */
#include "flow_test.h"

#include "flow/gate.h"

#include <math.h>
#include <stdlib.h>

enum { FLIGHT_MAX = 256 };

/* What a service does with a request that arrives. */
struct service {
    double rate_rps;    /* a bucket; 0: no such limit */
    double depth;       /* of the bucket */
    size_t concurrency; /* 0: no such limit */
    double took_s;      /* results */
    double refused_s;   /* refusals */
    double jitter;      /* of both, a share */
    double lost;        /* share of answers that never come */
    double lost_s;      /* after which it is given up; 0: 30 */
    double failed;      /* share of results that are neither refused nor good */
    double told;        /* share of refusals that say when to come back */
    struct instant down_from, down_until;
};

enum kind { ACCEPTED, REFUSED, ANSWERED, LOST };

struct answer {
    struct instant at;
    enum kind kind;
    struct gate_ticket ticket;
    struct flow_advice advice;
};

struct world {
    struct service service;
    struct gate gate;
    struct rng rng;      /* of the world */
    struct rng rng_gate; /* of the gate */
    struct instant now;
    double bucket;
    struct instant bucket_at;
    size_t size; /* places */
    struct answer answers[FLIGHT_MAX];
    size_t in_flight;
    size_t in_service;
    uint64_t sent, accepted, refused;
    struct instant first_accepted; /* after down_until */
    uint64_t sent_since_up;        /* until then */
    uint64_t hash;                 /* of all dispatches */
    struct instant last_sent;
    double spacing_s; /* the least that was seen */
};

static void world_init(struct world *w, uint64_t seed, const struct service *s)
{
    struct gate_options o;

    *w = (struct world){.service = *s,
                        .now = at_s(1),
                        .bucket = s->depth,
                        .bucket_at = at_s(1),
                        .size = 64,
                        .first_accepted = INSTANT_NONE,
                        .last_sent = INSTANT_NONE,
                        .spacing_s = HUGE_VAL};
    rng_seed(&w->rng, seed);
    rng_seed(&w->rng_gate, seed + 1);
    gate_options_init(&o);
    o.throttle.kind = THROTTLE_ADAPTIVE;
    assert_int_equal(gate_options_check(&o, NULL), WEIR_OK);
    gate_init(&w->gate, &o, &w->rng_gate);
}

static struct service random_service(struct rng *rng)
{
    struct service s = {.took_s = exp(log(0.002) + rng_unit(rng) * log(2000)),
                        .jitter = rng_unit(rng),
                        .down_from = INSTANT_NEVER,
                        .down_until = INSTANT_NEVER};

    s.refused_s = rng_below(rng, 2) ? s.took_s : s.took_s / 20;
    if (rng_below(rng, 4) > 0)
        s.rate_rps = exp(log(0.5) + rng_unit(rng) * log(2000));
    s.depth = 1 + (double)rng_below(rng, 2) * s.rate_rps;
    if (rng_below(rng, 3) == 0)
        s.concurrency = 1 + rng_below(rng, 100);
    if (rng_below(rng, 3) == 0)
        s.lost = rng_unit(rng) * 0.3;
    if (rng_below(rng, 3) == 0)
        s.failed = rng_unit(rng) * 0.3;
    if (rng_below(rng, 4) == 0)
        s.told = rng_unit(rng);
    return s;
}

static bool is_down(const struct world *w)
{
    return !instant_before(w->now, w->service.down_from) &&
           instant_before(w->now, w->service.down_until);
}

static bool admits(struct world *w)
{
    const struct service *s = &w->service;

    if (is_down(w) || (s->concurrency > 0 && w->in_service >= s->concurrency))
        return false;
    if (s->rate_rps <= 0)
        return true;
    w->bucket = fmin(s->depth, w->bucket + s->rate_rps * instant_seconds(w->now, w->bucket_at));
    w->bucket_at = w->now;
    if (w->bucket < 1 - 1e-6)
        return false;
    w->bucket -= 1;
    return true;
}

static void send(struct world *w)
{
    const struct service *s = &w->service;
    struct answer *a = &w->answers[w->in_flight];
    bool taken = admits(w);
    double took_s = (taken ? s->took_s : s->refused_s) * (1 + s->jitter * rng_unit(&w->rng));

    *a = (struct answer){.kind = taken ? ACCEPTED : REFUSED,
                         .ticket = gate_take(&w->gate, w->now, w->in_flight, 0),
                         .advice = FLOW_ADVICE_UNTOLD};
    if (!taken && rng_unit(&w->rng) < s->told)
        a->advice.retry_after_ns = rng_range(&w->rng, 1, 5 * NS_PER_S);
    if (taken && rng_unit(&w->rng) < s->failed)
        a->kind = ANSWERED;
    w->in_service += taken;
    if (rng_unit(&w->rng) < s->lost) {
        w->in_service -= taken;
        a->kind = LOST;
        took_s = s->lost_s > 0 ? s->lost_s : 30;
    }
    a->at = instant_after(w->now, took_s);
    w->in_flight++;
    w->sent++;
    if (!instant_before(w->now, s->down_until) && instant_is_none(w->first_accepted)) {
        w->sent_since_up++;
        if (taken)
            w->first_accepted = w->now;
    }
    w->hash = (w->hash ^ (uint64_t)w->now.ns) * UINT64_C(0x100000001b3);
    if (!instant_is_none(w->last_sent))
        w->spacing_s = fmin(w->spacing_s, instant_seconds(w->now, w->last_sent));
    w->last_sent = w->now;
}

static size_t next_answer(const struct world *w)
{
    size_t next = 0;

    for (size_t i = 1; i < w->in_flight; i++) {
        if (instant_before(w->answers[i].at, w->answers[next].at))
            next = i;
    }
    return next;
}

static void hear(struct world *w, size_t i)
{
    struct answer a = w->answers[i];

    w->answers[i] = w->answers[--w->in_flight];
    w->in_service -= a.kind == ACCEPTED || a.kind == ANSWERED;
    switch (a.kind) {
    case ACCEPTED:
        w->accepted++;
        gate_accepted(&w->gate, w->now, &a.ticket, &a.advice);
        break;
    case REFUSED:
        w->refused++;
        gate_refused(&w->gate, w->now, &a.ticket, 0, &a.advice);
        break;
    case ANSWERED:
        gate_answered(&w->gate, w->now, &a.ticket, &a.advice);
        break;
    case LOST:
        gate_lost(&w->gate, w->now, &a.ticket);
        break;
    }
}

/* Everything that happens at the next moment at which anything does. */
static void turn(struct world *w)
{
    struct instant next = INSTANT_NEVER;

    while (w->in_flight < w->size) {
        struct instant when = gate_when(&w->gate, w->now, w->in_flight, 0);

        assert_false(instant_before(when, w->now));
        if (instant_before(w->now, when)) {
            next = when;
            break;
        }
        send(w);
    }
    if (w->in_flight > 0)
        next = instant_min(next, w->answers[next_answer(w)].at);
    /* Nothing in flight, and never again: that is a deadlock. */
    assert_false(instant_is_never(next));
    assert_true(instant_seconds(next, w->now) < 150);
    w->now = next;
    while (w->in_flight > 0 && !instant_before(w->now, w->answers[next_answer(w)].at))
        hear(w, next_answer(w));
}

static void live(struct world *w, struct instant until)
{
    for (uint64_t turns = 0; instant_before(w->now, until) && turns < 20000; turns++)
        turn(w);
}

static void no_service_makes_it_stop_for_ever(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct rng rng;
        struct service s;
        struct world w;
        uint64_t accepted;

        rng_seed(&rng, seed);
        s = random_service(&rng);
        world_init(&w, seed, &s);
        live(&w, at_s(300));
        accepted = w.accepted;
        /* Later the service is without limits: it gets on, whatever it has learned. */
        w.service = (struct service){.took_s = 0.1, .refused_s = 0.1, .down_from = INSTANT_NEVER};
        live(&w, instant_add(w.now, 200 * NS_PER_S));
        if (w.accepted < accepted + 500)
            fail_msg("seed %llu: %llu, then %llu", (unsigned long long)seed,
                     (unsigned long long)accepted, (unsigned long long)(w.accepted - accepted));
    }
}

static void any_outage_is_recovered_from_within_3_s_and_10_requests(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct rng rng;
        struct service s;
        struct world w;

        rng_seed(&rng, seed);
        s = random_service(&rng);
        s.rate_rps = 5 + 50 * rng_unit(&rng);
        s.concurrency = 0;
        s.lost = s.told = 0;
        s.took_s = fmin(s.took_s, 2);
        s.refused_s = fmin(s.refused_s, 0.2);
        s.down_from = at_s(60);
        s.down_until = instant_add(s.down_from, rng_range(&rng, 10, 120) * NS_PER_S);
        world_init(&w, seed, &s);
        while (instant_is_none(w.first_accepted) && instant_before(w.now, at_s(400)))
            turn(&w);
        if (instant_seconds(w.first_accepted, s.down_until) > 3 || w.sent_since_up > 10)
            fail_msg("seed %llu: %.2f s, %llu requests", (unsigned long long)seed,
                     instant_seconds(w.first_accepted, s.down_until),
                     (unsigned long long)w.sent_since_up);
    }
}

/* Where no answer comes nothing is known, and silence is no reason to go faster and faster. */
static void a_service_that_says_nothing_is_not_flooded(void **state)
{
    struct service s = {
        .took_s = 1, .refused_s = 1, .lost = 1, .lost_s = 0.1, .down_from = INSTANT_NEVER};
    struct world w;

    (void)state;
    world_init(&w, 1, &s);
    w.size = 250;
    live(&w, at_s(2000));
    assert_true(w.sent > 1000); /* nor is it given up */
    assert_true(w.gate.throttle.adaptive.search.rate_rps <= 256);
}

static void the_configured_rate_is_never_exceeded(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct rng rng;
        struct service s;
        struct world w;
        struct gate_options o;
        double most;

        rng_seed(&rng, seed);
        s = random_service(&rng);
        most = 0.5 + 50 * rng_unit(&rng);
        world_init(&w, seed, &s);
        o = w.gate.options;
        o.rate_per_s = most;
        gate_reconfigure(&w.gate, &o); /* before the first dispatch, */
        live(&w, at_s(120));
        assert_true(w.spacing_s * most >= 1 - 1e-9);
        assert_true(w.gate.throttle.adaptive.search.rate_rps <= most);
        o.rate_per_s = most / 2;
        gate_reconfigure(&w.gate, &o); /* and at any time after it */
        w.spacing_s = HUGE_VAL;
        live(&w, instant_add(w.now, 60 * NS_PER_S));
        assert_true(w.spacing_s * most >= 2 - 1e-9);
        assert_true(w.gate.throttle.adaptive.search.rate_rps <= most / 2);
    }
}

static void the_same_seed_lives_the_same_life(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct rng rng;
        struct service s;
        struct world a, b;

        rng_seed(&rng, seed);
        s = random_service(&rng);
        world_init(&a, seed, &s);
        world_init(&b, seed, &s);
        live(&a, at_s(100));
        live(&b, at_s(100));
        assert_int_equal(a.sent, b.sent);
        assert_int_equal(a.hash, b.hash);
    }
}

/* The answers of a moment in this order and that: the same is decided. */
static void the_order_of_answers_changes_no_verdict(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct rng rng;
        struct service s;
        struct world w, back;
        size_t n;

        rng_seed(&rng, seed);
        s = random_service(&rng);
        s.told = 0;
        world_init(&w, seed, &s);
        live(&w, at_s(20 + (int64_t)rng_below(&rng, 60)));
        n = w.in_flight < 6 ? w.in_flight : 6;
        back = w;
        back.gate.throttle.adaptive.rng = &back.rng_gate;
        back.gate.throttle.jitter = back.gate.jitter = &back.rng_gate;
        for (size_t i = 0; i < n; i++) {
            struct answer a = w.answers[i], z = w.answers[n - 1 - i];

            for (int side = 0; side < 2; side++) {
                struct gate *g = side ? &back.gate : &w.gate;
                const struct answer *x = side ? &z : &a;

                if (x->kind == REFUSED)
                    gate_refused(g, w.now, &x->ticket, 0, NULL);
                else if (x->kind != LOST)
                    gate_answered(g, w.now, &x->ticket, NULL);
            }
        }
        assert_int_equal(w.gate.throttle.adaptive.state.mode,
                         back.gate.throttle.adaptive.state.mode);
        if (w.gate.throttle.adaptive.state.mode == THROTTLE_MODE_RATE) {
            double there = w.gate.throttle.adaptive.search.rate_rps;
            double here = back.gate.throttle.adaptive.search.rate_rps;

            if (fabs(there / here - 1) > 0.12)
                fail_msg("seed %llu: %g and %g", (unsigned long long)seed, there, here);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_service_makes_it_stop_for_ever),
        cmocka_unit_test(any_outage_is_recovered_from_within_3_s_and_10_requests),
        cmocka_unit_test(a_service_that_says_nothing_is_not_flooded),
        cmocka_unit_test(the_configured_rate_is_never_exceeded),
        cmocka_unit_test(the_same_seed_lives_the_same_life),
        cmocka_unit_test(the_order_of_answers_changes_no_verdict),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
