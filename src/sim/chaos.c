/*
 * Chaos: first a character, drawn once from the seed, then each answer by chance within it. See
 * chaos.h.
 */
#include "sim/chaos.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>

static bool chance(struct sim_chaos *c, unsigned of_1000)
{
    return rng_below(&c->rng, 1000) < of_1000;
}

/* Half of all characters never do it. */
static unsigned share(struct sim_chaos *c, unsigned most)
{
    return rng_below(&c->rng, 2) ? (unsigned)rng_below(&c->rng, most + 1) : 0;
}

static struct chaos_span {
    struct instant from, until;
} span(struct sim_chaos *c)
{
    struct chaos_span s = {INSTANT_NEVER, INSTANT_NEVER};

    if (rng_below(&c->rng, 3) == 0) {
        s.from = instant_add(SIM_START, rng_range(&c->rng, 0, 5 * NS_PER_S));
        s.until = instant_add(s.from, rng_range(&c->rng, 0, 8 * NS_PER_S));
    }
    return s;
}

static bool within(struct instant now, struct instant from, struct instant until)
{
    return !instant_before(now, from) && instant_before(now, until);
}

static void put_output(const struct core_attempt *a, struct core_answer *ret)
{
    char text[32];
    int n = snprintf(text, sizeof text, SIM_CHAOS_OUTPUT, (unsigned long long)a->index);

    ret->output = mem_copy(text, (size_t)n);
    ret->output_len = ret->output ? (size_t)n : 0;
}

static struct flow_quota some_quota(struct sim_chaos *c)
{
    struct flow_quota q = FLOW_QUOTA_UNTOLD;

    switch (rng_below(&c->rng, 4)) {
    case 0: /* garbage */
        q.limit = rng_range(&c->rng, -5, 5);
        q.remaining = (int64_t)rng_u64(&c->rng);
        q.reset_ns = (int64_t)rng_u64(&c->rng);
        break;
    case 1:
        q.remaining = rng_range(&c->rng, 0, 3);
        break;
    default:
        q.limit = rng_range(&c->rng, 1, 100);
        q.remaining = rng_range(&c->rng, 0, q.limit);
        q.reset_ns = rng_range(&c->rng, 0, 3 * NS_PER_S);
        break;
    }
    return q;
}

static void advise(struct sim_chaos *c, struct flow_advice *a)
{
    if (chance(c, c->advises)) {
        switch (rng_below(&c->rng, 6)) {
        case 0:
            a->retry_after_ns = INT64_MAX;
            break;
        case 1:
            a->retry_after_ns = (int64_t)rng_u64(&c->rng);
            break;
        default:
            a->retry_after_ns = rng_range(&c->rng, 0, 2 * NS_PER_S);
            break;
        }
    }
    if (chance(c, c->advises))
        a->requests = some_quota(c);
    if (chance(c, c->advises / 2))
        a->tokens = some_quota(c);
}

static void refuse(struct sim_chaos *c, struct core_answer *ret)
{
    static const int statuses[] = {429, 503, 529};

    ret->outcome = WEIR_OUTCOME_CAPACITY;
    ret->reason = WEIR_REASON_HTTP_STATUS;
    ret->status = statuses[rng_below(&c->rng, 3)];
    advise(c, &ret->advice);
}

static void fail(struct core_answer *ret, enum weir_reason reason, int status, bool retryable)
{
    ret->outcome = WEIR_OUTCOME_FAILED;
    ret->reason = reason;
    ret->status = status;
    ret->retryable = retryable;
    answer_say(ret, "a failure (%d)", status);
}

static void babble(struct sim_chaos *c, struct core_answer *ret, struct instant now)
{
    static const enum weir_outcome outcomes[] = {WEIR_OUTCOME_TIMEOUT, WEIR_OUTCOME_LOST,
                                                 WEIR_OUTCOME_CANCELLED, (enum weir_outcome)77,
                                                 WEIR_OUTCOME_OK};

    ret->outcome = outcomes[rng_below(&c->rng, 5)];
    ret->retryable = rng_below(&c->rng, 2) != 0;
    ret->tokens = rng_range(&c->rng, -100, 100);
    ret->started_at = instant_add(now, rng_range(&c->rng, 0, 60 * NS_PER_S));
    ret->ended_at = instant_add(now, rng_range(&c->rng, 0, 60 * NS_PER_S));
}

static void succeed(struct sim_chaos *c, const struct core_attempt *a, struct core_answer *ret)
{
    ret->outcome = WEIR_OUTCOME_OK;
    ret->reason = WEIR_REASON_NONE;
    ret->status = 200;
    if (rng_below(&c->rng, 2))
        ret->tokens = rng_range(&c->rng, 0, 60);
    put_output(a, ret);
    advise(c, &ret->advice);
}

static duration_ns latency(struct sim_chaos *c)
{
    double ns = (double)c->usual * exp(c->tail * rng_normal(&c->rng));

    return ns < (double)(100 * NS_PER_S) ? (duration_ns)ns : 100 * NS_PER_S;
}

static duration_ns chaos_begin(struct sim_model *m, const struct core_attempt *a,
                               struct instant now, struct core_answer *ret)
{
    struct sim_chaos *c = (struct sim_chaos *)(void *)m;
    unsigned dice = (unsigned)rng_below(&c->rng, 1000);
    duration_ns takes = latency(c);

    c->running++;
    if (within(now, c->down_from, c->down_until)) {
        fail(ret, WEIR_REASON_CONNECT_FAILED, 0, true);
        return takes / 8;
    }
    if (within(now, c->storm_from, c->storm_until) || (c->most && c->running > c->most)) {
        refuse(c, ret);
        return takes / 8;
    }
    if (dice < c->refuses) {
        refuse(c, ret);
    } else if ((dice -= c->refuses) < c->fails) {
        fail(ret, WEIR_REASON_HTTP_STATUS, 500, true);
        advise(c, &ret->advice);
    } else if ((dice -= c->fails) < c->forbids) {
        fail(ret, WEIR_REASON_HTTP_STATUS, 400, false);
    } else if ((dice -= c->forbids) < c->loses) {
        ret->reason = WEIR_REASON_CALLBACK_LOST;
    } else if ((dice -= c->loses) < c->babbles) {
        babble(c, ret, now);
    } else {
        succeed(c, a, ret);
        if (dice - c->babbles < c->never)
            return SIM_NEVER;
    }
    return takes;
}

static duration_ns chaos_cancel(struct sim_model *m, const struct core_attempt *a,
                                struct instant now, struct core_answer *answer)
{
    struct sim_chaos *c = (struct sim_chaos *)(void *)m;

    (void)a;
    (void)now;
    /* Whoever cannot end it lets it run, but not for ever; an answer may have been on its way already. */
    if (!chance(c, c->obeys))
        return c->never ? rng_range(&c->rng, 0, 4 * NS_PER_S) : SIM_UNMOVED;
    answer_clear(answer);
    if (rng_below(&c->rng, 4) == 0)
        answer->outcome = WEIR_OUTCOME_CANCELLED;
    return c->cancels_at_once ? 0 : rng_range(&c->rng, 0, NS_PER_S);
}

static unsigned chaos_end(struct sim_model *m, const struct core_attempt *a, struct instant now)
{
    struct sim_chaos *c = (struct sim_chaos *)(void *)m;

    (void)a;
    (void)now;
    c->running--;
    return chance(c, c->repeats) ? 1 + (unsigned)rng_below(&c->rng, 2) : 0;
}

static const struct sim_model_ops ops_at_once = {
    .cancels_at_once = true, .begin = chaos_begin, .cancel = chaos_cancel, .end = chaos_end};
static const struct sim_model_ops ops_can_only_ask = {
    .cancels_at_once = false, .begin = chaos_begin, .cancel = chaos_cancel, .end = chaos_end};

void sim_chaos_init(struct sim_chaos *c, uint64_t seed, bool cancels_at_once, bool never_allowed)
{
    struct chaos_span down, storm;

    *c = (struct sim_chaos){.cancels_at_once = cancels_at_once, .never_allowed = never_allowed};
    c->model.ops = cancels_at_once ? &ops_at_once : &ops_can_only_ask;
    rng_seed(&c->rng, seed);
    c->refuses = share(c, 500);
    c->fails = share(c, 200);
    c->forbids = share(c, 50);
    c->loses = share(c, 50);
    c->babbles = share(c, 40);
    c->never = never_allowed ? share(c, 100) : 0;
    c->advises = share(c, 300);
    c->repeats = share(c, 50);
    c->obeys = (unsigned)rng_below(&c->rng, 1001);
    c->most = rng_below(&c->rng, 3) == 0 ? 1 + (size_t)rng_below(&c->rng, 4) : 0;
    c->usual = rng_range(&c->rng, 0, 1 + (1 << rng_below(&c->rng, 31)));
    c->tail = rng_unit(&c->rng) * 2;
    down = span(c);
    storm = span(c);
    c->down_from = down.from;
    c->down_until = down.until;
    c->storm_from = storm.from;
    c->storm_until = storm.until;
}
