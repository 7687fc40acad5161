/*
 * The adaptive throttle: joins its parts. Here is what each mode lets pass, and which part hears of
 * which answer; how a part decides is its own business.
 *
 *     OPEN ----- first refusal -----> RATE <---- votes ----> WINDOW
 *      ^                               |                       |
 *      +------ long not held up -------+--- 6 in a row ---> OUTAGE (then back, in RATE)
 */
#include "flow/adaptive.h"

#include "base/error.h"
#include "flow/patience.h"

#include <math.h>

#define RATE_START_RPS 4.0
/* A dispatch is late, and shows nothing about the rate, when it is later than this share of its gap. */
#define LATE_SHARE 0.2
/* Whoever waits on a timer wakes up late by up to so much; a rate whose gaps are not much larger is kept on
 * average instead of gap by gap. */
#define TIMER_S 0.002
/* The silent climb is per round trip of this length; slower verdicts climb less. */
#define CLIMB_VERDICT_S 0.25
/* A rate that holds nothing up for so long is no limit any more. */
#define REOPEN_NS    (30 * NS_PER_S)
#define REOPEN_SENDS 100
/* A row that was refused so often, while so many others in a row were taken, is one that the service will never
 * take: it waits by itself, and says nothing about the others. */
#define ROW_REFUSALS_MAX 3
#define ROW_OTHERS_MIN   20
/* An extra permit of a window is used the mean gap through this after the dispatch before it. */
#define EXTRA_SPACING 2.0
/* Between two pauses that the service asks for, the rate is at most so much of what is borne. */
#define PAUSED_MOST 2.0
/* After an outage, so much of the last solid rate, or of what was delivered; no less than one a second. */
#define RESUME_SHARE   0.25
#define RESUME_MIN_RPS 1.0
/* A window that becomes a rate: so much of what it delivered. */
#define LEAVE_SHARE     0.9
#define LEAVE_DELIVERED 2.0
#define LEAVE_RATIO     1.1

enum role {
    ROLE_REGULAR, /* at the rate */
    ROLE_TRIAL,   /* at a higher rate, or with an extra permit */
    ROLE_PROBE,   /* during an outage */
    ROLE_LATE,    /* was not held up: shows nothing about the rate */
    ROLE_OPEN,    /* was let pass by the successes so far */
};

void adaptive_options_init(struct adaptive_options *o)
{
    *o = (struct adaptive_options){.waste = ADAPTIVE_WASTE, .rate_max_rps = HUGE_VAL};
}

enum weir_status adaptive_options_check(const struct adaptive_options *o, struct weir_error *err)
{
    if (!(o->waste >= ADAPTIVE_WASTE_MIN && o->waste <= ADAPTIVE_WASTE_MAX))
        return error_set(err, WEIR_E_INVALID, "waste is %g; it must be from %g to %g", o->waste,
                         ADAPTIVE_WASTE_MIN, ADAPTIVE_WASTE_MAX);
    return WEIR_OK;
}

void adaptive_init(struct adaptive *a, const struct adaptive_options *o, struct rng *rng)
{
    *a = (struct adaptive){.options = *o,
                           .rng = rng,
                           .open_most = 1,
                           .last_at = INSTANT_NONE,
                           .next_at = INSTANT_NONE,
                           .regular_at = INSTANT_NONE,
                           .lowered_at = INSTANT_NONE,
                           .raised_at = INSTANT_NONE,
                           .refused_at = INSTANT_NONE,
                           .held_at = INSTANT_NONE};
    throttle_state_init(&a->state, THROTTLE_MODE_OPEN);
    meter_init(&a->meter);
    silence_init(&a->silence);
    allowance_init(&a->allowance, o->waste);
    search_init(&a->search, fmin(RATE_START_RPS, o->rate_max_rps));
    drop_init(&a->drop);
    outage_init(&a->outage);
    flight_init(&a->flight);
    guard_init(&a->guard);
    period_init(&a->period);
}

void adaptive_reconfigure(struct adaptive *a, const struct adaptive_options *o)
{
    a->options = *o;
    a->allowance.share = o->waste;
    a->search.rate_rps = fmin(a->search.rate_rps, o->rate_max_rps);
    if (a->search.trial.rate_rps > o->rate_max_rps)
        a->search.trial.rate_rps = 0;
}

static enum throttle_mode mode_of(const struct adaptive *a)
{
    return a->state.mode;
}

/* A decision was made: it is told, with what now holds. */
static void decide(struct adaptive *a, struct instant now, enum throttle_mode mode,
                   enum throttle_reason reason)
{
    struct throttle_state to = {.mode = mode, .rate_rps = HUGE_VAL, .window = SIZE_MAX};

    if (mode == THROTTLE_MODE_RATE)
        to.rate_rps = a->search.rate_rps;
    if (mode == THROTTLE_MODE_WINDOW)
        to.window = a->flight.window;
    if (guard_limits(&a->guard) && a->guard.window < (double)to.window)
        to.window = (size_t)a->guard.window;
    throttle_state_change(&a->state, now, reason, &to);
}

static double most_rps(const struct adaptive *a, struct instant now)
{
    return fmin(a->options.rate_max_rps, period_rate_rps(&a->period, now));
}

static void restart(struct adaptive *a, struct instant now, double rate_rps, double ratio)
{
    search_restart(&a->search, fmin(rate_rps, most_rps(a, now)), ratio);
}

/* ---- pacing ---- */

static double gap_s(const struct adaptive *a)
{
    return 1 / a->search.rate_rps;
}

/* The next dispatch goes one gap at a rate after this one. Gaps shorter than timers can keep are kept on
 * average. */
static void pace(struct adaptive *a, struct instant now, double rate_rps)
{
    double gap = 1 / rate_rps;

    if (gap < TIMER_S && instant_before(a->next_at, now))
        now = instant_max(a->next_at, instant_after(now, -TIMER_S));
    a->next_at = instant_after(now, gap);
}

/* The rate was lowered just now. */
static void pace_lowered(struct adaptive *a, struct instant now)
{
    a->next_at = instant_max(now, instant_after(a->last_at, gap_s(a)));
    a->lowered = a->sent;
    a->lowered_at = now;
}

static struct instant paced_at(const struct adaptive *a, double cost)
{
    duration_ns gap = instant_diff(a->next_at, a->last_at);

    if (cost == 1 || instant_is_none(a->last_at))
        return a->next_at;
    return instant_after(a->last_at, cost * duration_seconds(gap));
}

/* ---- may one go ---- */

static void trial_borne(struct adaptive *a, struct instant now)
{
    search_trial_borne(&a->search, now, a->sent, &a->allowance);
    drop_reset(&a->drop);
    a->raised_at = now;
    a->next_at = instant_min(a->next_at, instant_max(now, instant_after(a->last_at, gap_s(a))));
    if (mode_of(a) == THROTTLE_MODE_RATE)
        decide(a, now, THROTTLE_MODE_RATE, THROTTLE_REASON_BORNE);
}

static void trial_look(struct adaptive *a, struct instant now)
{
    if (search_trial_runs(&a->search) && !instant_before(now, a->search.trial.due) &&
        silence_speaks(&a->silence))
        trial_borne(a, now);
}

static void outage_over(struct adaptive *a, struct instant now)
{
    struct search *s = &a->search;
    /* So late the end may be seen: a probe waits so long, and so does the verdict on it. */
    double slack_s =
        (1 + OUTAGE_JITTER) * OUTAGE_INTERVAL_MAX_S + silence_verdict_s(&a->silence) + 1;
    bool quota = period_outage_over(&a->period, a->outage.began_at, now, slack_s);

    quota = quota || period_fell(&a->period, now, HUGE_VAL);
    outage_end(&a->outage);
    if (quota)
        s->resume_rps = 0;
    restart(a, now, quota ? HUGE_VAL : fmax(RESUME_SHARE * a->parked_rps, RESUME_MIN_RPS), 2);
    drop_reset(&a->drop);
    pace_lowered(a, now);
    /* The search goes on with the very next dispatch. */
    a->lowered -= a->lowered > 1 ? 2 : a->lowered;
    a->lowered_at = INSTANT_NONE;
    decide(a, now, THROTTLE_MODE_RATE, quota ? THROTTLE_REASON_QUOTA : THROTTLE_REASON_OUTAGE_OVER);
}

/* During an outage: single probes; silence ends it as a success does. */
static struct instant outage_look(struct adaptive *a, struct instant now)
{
    if (a->outage.probe == 0)
        return outage_when(&a->outage, now);
    if (instant_before(now, a->outage.probe_due))
        return a->outage.probe_due;
    if (silence_speaks(&a->silence)) {
        outage_over(a, now);
        return now;
    }
    outage_probe_lost(&a->outage, a->outage.probe, now, a->rng);
    return outage_when(&a->outage, now);
}

static struct instant rate_when(struct adaptive *a, struct instant now, double cost)
{
    struct instant when;

    trial_look(a, now);
    when = paced_at(a, cost);
    if (!instant_before(now, when))
        return now;
    return search_trial_runs(&a->search) && instant_before(now, a->search.trial.due)
               ? instant_min(when, a->search.trial.due)
               : when;
}

/*
 * An extra permit is not used at the moment in which another dispatch goes: where the limit is a
 * rate after all, two at once are refused whatever the window, and it would be kept for ever.
 */
static struct instant window_when(struct adaptive *a, struct instant now, size_t in_flight)
{
    struct instant when =
        flight_when(&a->flight, now, in_flight, a->guard.window, silence_speaks(&a->silence));
    double gap_s = a->silence.accepted.mean_s / (EXTRA_SPACING * fmax(1, a->flight.window));

    if (in_flight < a->flight.window || instant_before(now, when))
        return when;
    return instant_max(now, instant_after(a->last_at, gap_s));
}

struct instant adaptive_when(struct adaptive *a, struct instant now, size_t in_flight, double cost)
{
    struct instant when;

    if (mode_of(a) == THROTTLE_MODE_OUTAGE) {
        when = outage_look(a, now);
        if (mode_of(a) == THROTTLE_MODE_OUTAGE)
            return when;
    }
    if ((double)in_flight >= a->guard.window)
        return INSTANT_NEVER;
    if (mode_of(a) == THROTTLE_MODE_WINDOW)
        return window_when(a, now, in_flight);
    if (mode_of(a) == THROTTLE_MODE_OPEN && in_flight < a->open_most)
        return now;
    return rate_when(a, now, cost);
}

/* ---- one went ---- */

static enum role sent_late(struct adaptive *a, struct instant now)
{
    if (a->late_in_a_row++ == 0)
        a->late_since = now;
    if (a->late_in_a_row >= REOPEN_SENDS && mode_of(a) == THROTTLE_MODE_RATE &&
        instant_diff(now, a->late_since) > REOPEN_NS &&
        instant_diff(now, a->refused_at) > REOPEN_NS) {
        a->open_most = UINT64_MAX / 2;
        decide(a, now, THROTTLE_MODE_OPEN, THROTTLE_REASON_REOPENED);
    }
    return ROLE_LATE;
}

static enum role sent_trial(struct adaptive *a, struct instant now, bool late)
{
    const struct trial *t = &a->search.trial;

    if (late) {
        search_trial_void(&a->search, now, &a->allowance);
        pace(a, now, a->search.rate_rps);
        return ROLE_REGULAR;
    }
    search_trial_sent(&a->search, now, a->sent, silence_verdict_s(&a->silence));
    pace(a, now, t->left > 0 || t->doubling ? t->rate_rps : a->search.rate_rps);
    return ROLE_TRIAL;
}

static enum role sent_at_rate(struct adaptive *a, struct instant now, double cost)
{
    struct search *s = &a->search;
    double verdict_s = silence_verdict_s(&a->silence);
    struct instant due = instant_max(a->next_at, paced_at(a, cost));
    bool late =
        !instant_is_none(due) &&
        instant_seconds(now, due) > fmax(LATE_SHARE * gap_s(a), gap_s(a) < TIMER_S ? TIMER_S : 0);

    if (search_trial_runs(s) && s->trial.left > 0)
        return sent_trial(a, now, late);
    pace(a, now, s->rate_rps);
    a->regular_at = now;
    if (late)
        return sent_late(a, now);
    a->late_in_a_row = 0;
    if (!search_trial_runs(s) && a->sent > a->lowered + 1 &&
        (instant_is_none(a->lowered_at) || instant_seconds(now, a->lowered_at) >= verdict_s) &&
        search_wants_trial(s, now, a->sent + 1, &a->allowance, most_rps(a, now)))
        pace(a, now, s->trial.rate_rps);
    return ROLE_REGULAR;
}

static enum role role_of_next(struct adaptive *a, struct instant now, size_t in_flight, double cost)
{
    double verdict_s;

    switch (mode_of(a)) {
    case THROTTLE_MODE_OUTAGE:
        outage_probe_sent(&a->outage, a->sent, now, 2 * silence_verdict_s(&a->silence));
        return ROLE_PROBE;
    case THROTTLE_MODE_WINDOW:
        verdict_s = silence_verdict_s(&a->silence);
        return flight_sent(&a->flight, now, in_flight, a->sent, verdict_s) ? ROLE_TRIAL
                                                                           : ROLE_REGULAR;
    case THROTTLE_MODE_OPEN:
        if (in_flight < a->open_most)
            return ROLE_OPEN;
        break;
    case THROTTLE_MODE_RATE:
    case THROTTLE_MODE_DELAY:
    case THROTTLE_MODES:
        break;
    }
    return sent_at_rate(a, now, cost);
}

struct throttle_ticket adaptive_sent(struct adaptive *a, struct instant now, size_t in_flight,
                                     double cost)
{
    enum role role;

    a->sent++;
    silence_sent(&a->silence);
    guard_sent(&a->guard, in_flight);
    role = role_of_next(a, now, in_flight, cost);
    a->last_at = now;
    return (struct throttle_ticket){
        .number = a->sent, .sent_at = now, .in_flight = (uint32_t)in_flight, .role = (uint8_t)role};
}

struct throttle_ticket adaptive_sent_many(struct adaptive *a, struct instant now, size_t in_flight,
                                          uint32_t count)
{
    struct throttle_ticket first = {
        .number = a->sent + 1, .sent_at = now, .in_flight = (uint32_t)in_flight, .role = ROLE_OPEN};

    a->sent += count;
    silence_sent(&a->silence);
    guard_sent(&a->guard, in_flight);
    a->last_at = now;
    return first;
}

/* ---- it was taken ---- */

/* The service took it, whatever came of it then. */
static void taken(struct adaptive *a, struct instant now, const struct throttle_ticket *t)
{
    struct search *s = &a->search;

    if (mode_of(a) == THROTTLE_MODE_OUTAGE && a->outage.probe > 0 && t->number >= a->outage.probe)
        outage_over(a, now);
    if (search_trial_runs(s) && s->trial.last > 0 && t->number >= s->trial.last)
        s->trial.due = instant_min(s->trial.due, now);
    flight_answered(&a->flight, now, t->number);
}

static void watch_latency(struct adaptive *a, struct instant now, const struct throttle_ticket *t,
                          double took_s)
{
    double window = a->guard.window;

    if (!guard_accepted(&a->guard, now, t->number, a->sent, took_s))
        return;
    if (a->guard.window < window && a->guard.window < GUARD_WINDOW_START)
        decide(a, now, mode_of(a), THROTTLE_REASON_LATENCY);
    else if (a->guard.window > window && window < GUARD_WINDOW_START && !guard_limits(&a->guard))
        decide(a, now, mode_of(a), THROTTLE_REASON_LATENCY_OVER);
}

void adaptive_accepted(struct adaptive *a, struct instant now, const struct throttle_ticket *t)
{
    double took_s = instant_seconds(now, t->sent_at);

    silence_accepted(&a->silence, took_s);
    allowance_earn(&a->allowance);
    meter_count(&a->meter, now, a->silence.accepted.mean_s);
    a->open_most++;
    a->held_accepted++;
    a->accepted_in_a_row++;
    period_accepted(&a->period, t->sent_at);
    flight_accepted(&a->flight, t->in_flight);
    taken(a, now, t);
    if (t->role == ROLE_REGULAR && mode_of(a) != THROTTLE_MODE_WINDOW && t->number > a->lowered)
        search_held(&a->search, now, t->number,
                    fmin(1, CLIMB_VERDICT_S / silence_verdict_s(&a->silence)), most_rps(a, now));
    watch_latency(a, now, t, took_s);
    /* Each success raises it a little; that is no decision, but what is told is what is in force. */
    if (mode_of(a) == THROTTLE_MODE_RATE)
        a->state.rate_rps = a->search.rate_rps;
}

/* All of them count where successes are counted; the last one is evidence like any other. */
void adaptive_accepted_many(struct adaptive *a, struct instant now,
                            const struct throttle_ticket *last, uint32_t count)
{
    meter_count_many(&a->meter, count - 1);
    period_accepted_many(&a->period, last->sent_at, count - 1);
    a->open_most += count - 1;
    adaptive_accepted(a, now, last);
}

void adaptive_answered(struct adaptive *a, struct instant now, const struct throttle_ticket *t)
{
    silence_broken(&a->silence);
    taken(a, now, t);
}

void adaptive_lost(struct adaptive *a, struct instant now, const struct throttle_ticket *t)
{
    if (mode_of(a) == THROTTLE_MODE_OUTAGE)
        outage_probe_lost(&a->outage, t->number, now, a->rng);
}

/* ---- it was refused ---- */

/* From open to paced, at what has been delivered. */
static void close(struct adaptive *a, struct instant now, const struct throttle_ticket *t)
{
    double delivered = meter_rps(&a->meter, now);
    bool tried = search_trial_runs(&a->search) && t->number >= a->search.trial.first;

    /* A first answer that is a refusal says little about the rate, and nothing was delivered yet. */
    if (t->role == ROLE_OPEN)
        restart(a, now, delivered > 0 ? delivered : RATE_START_RPS / 2, 2);
    /* Of a refused trial more is known. What else is in flight went before anything was paced. */
    if (t->role == ROLE_OPEN || !tried) {
        a->ignored = a->sent;
        pace_lowered(a, now);
    }
    decide(a, now, THROTTLE_MODE_RATE, THROTTLE_REASON_FIRST_REFUSAL);
}

static void trial_refused(struct adaptive *a, struct instant now)
{
    bool alone = a->search.trial.sends == 1;
    struct instant from = alone ? a->regular_at : a->last_at;
    struct instant next = instant_after(from, gap_s(a));

    search_trial_refused(&a->search, now, &a->allowance);
    a->ignored = a->sent;
    a->next_at = instant_max(alone ? now : a->next_at, next);
    decide(a, now, THROTTLE_MODE_RATE, THROTTLE_REASON_TRIAL_REFUSED);
}

/* In rate mode, a regular dispatch. */
static void rate_refused(struct adaptive *a, struct instant now, const struct throttle_ticket *t)
{
    uint64_t between = drop_between(&a->drop, t->number);
    bool quota;

    if (search_trial_runs(&a->search) && t->number >= a->search.trial.first) {
        trial_refused(a, now);
        return;
    }
    if (drop_refused(&a->drop, t->number)) {
        quota = period_fell(&a->period, now, a->search.rate_rps);
        search_cut(&a->search, now, drop_share(&a->drop));
        if (quota)
            restart(a, now, HUGE_VAL, 2);
        drop_reset(&a->drop);
        a->ignored = a->sent;
        pace_lowered(a, now);
        decide(a, now, THROTTLE_MODE_RATE,
               quota ? THROTTLE_REASON_QUOTA : THROTTLE_REASON_CAPACITY_FELL);
    } else if (t->number > a->lowered) {
        search_notch(&a->search, now, between, &a->allowance);
        pace_lowered(a, now);
        decide(a, now, THROTTLE_MODE_RATE, THROTTLE_REASON_STRAY_REFUSAL);
    }
}

static void leave_window(struct adaptive *a, struct instant now)
{
    double trip_s = fmax(a->silence.accepted.mean_s, 1e-6);
    double rate = fmin(a->flight.window / trip_s, LEAVE_DELIVERED * meter_rps(&a->meter, now));

    restart(a, now, LEAVE_SHARE * rate, LEAVE_RATIO);
    flight_leave(&a->flight);
    pace_lowered(a, now);
    decide(a, now, THROTTLE_MODE_RATE, THROTTLE_REASON_NO_CONCURRENCY);
}

static void window_refused(struct adaptive *a, struct instant now, const struct throttle_ticket *t)
{
    static const enum throttle_reason reasons[] = {
        [FLIGHT_TRIAL_REFUSED] = THROTTLE_REASON_TRIAL_REFUSED,
        [FLIGHT_NOTCH] = THROTTLE_REASON_STRAY_REFUSAL,
        [FLIGHT_FELL] = THROTTLE_REASON_CAPACITY_FELL,
    };
    bool least = a->flight.window == 1;
    enum flight_cut cut = flight_refused(
        &a->flight, now, t->in_flight, t->role == ROLE_TRIAL, t->number, a->sent, &a->drop,
        silence_verdict_s(&a->silence), search_interval_s(&a->search, &a->allowance));

    if (cut == FLIGHT_FELL && least)
        leave_window(a, now); /* one at a time is too many: it is no concurrency limit */
    else if (cut != FLIGHT_NOTHING)
        decide(a, now, THROTTLE_MODE_WINDOW, reasons[cut]);
}

/* A refusal votes for a window or a rate. True: the mode has changed. */
static bool vote(struct adaptive *a, struct instant now, const struct throttle_ticket *t)
{
    double trip_s = a->silence.accepted.mean_s;
    bool settled =
        instant_is_none(a->raised_at) || instant_seconds(now, a->raised_at) > 1.5 * trip_s;

    switch (flight_vote(&a->flight, now, t->in_flight, silence_verdict_s(&a->silence), settled)) {
    case FLIGHT_STAYS:
        return false;
    case FLIGHT_ENTERS:
        flight_enter(&a->flight, a->sent,
                     instant_after(now, search_interval_s(&a->search, &a->allowance)));
        a->search.trial.rate_rps = 0;
        decide(a, now, THROTTLE_MODE_WINDOW, THROTTLE_REASON_CONCURRENCY);
        break;
    case FLIGHT_LEAVES:
        leave_window(a, now);
        break;
    }
    drop_reset(&a->drop);
    a->ignored = a->sent;
    return true;
}

/*
 * One pause is no evidence of lost capacity. But where they follow each other the rate is far off:
 * a service of 10/s that has each refusal wait a second takes one request a second from whoever
 * comes back at 100/s.
 */
static void learn_pause(struct adaptive *a, struct instant now, const struct throttle_ticket *t)
{
    double passed_s = instant_is_none(a->held_at) ? 0 : instant_seconds(now, a->held_at);
    double borne = passed_s > 0 ? (double)a->held_accepted / passed_s : HUGE_VAL;

    if (search_trial_runs(&a->search) && t->number >= a->search.trial.first) {
        search_trial_refused(&a->search, now, &a->allowance);
        decide(a, now, THROTTLE_MODE_RATE, THROTTLE_REASON_TRIAL_REFUSED);
    } else if (a->search.rate_rps > PAUSED_MOST * borne) {
        restart(a, now, PAUSED_MOST * borne, 2);
        decide(a, now, THROTTLE_MODE_RATE, THROTTLE_REASON_TOLD);
    }
    a->held_at = now;
    a->held_accepted = 0;
}

/* The service said when to come back: that is no evidence of lost capacity; until then nothing is sent, and
 * what comes then comes at the rate. */
static void held(struct adaptive *a, struct instant now, const struct throttle_ticket *t,
                 const struct throttle_refusal *refusal)
{
    if (mode_of(a) == THROTTLE_MODE_RATE && t->number > a->ignored)
        learn_pause(a, now, t);
    a->search.trial.rate_rps = 0;
    a->ignored = a->sent;
    a->next_at = instant_max(a->next_at, refusal->held_until);
}

static void learn_refusal(struct adaptive *a, struct instant now, const struct throttle_ticket *t,
                          const struct throttle_refusal *refusal)
{
    uint64_t others;
    bool nothing_passes;

    if (mode_of(a) == THROTTLE_MODE_OUTAGE) {
        outage_probe_refused(&a->outage, t->number, now, a->rng);
        return;
    }
    if (mode_of(a) == THROTTLE_MODE_OPEN)
        close(a, now, t);
    nothing_passes = outage_refused(&a->outage, t->number, now);
    others = a->accepted_in_a_row;
    a->accepted_in_a_row = 0;
    if (refusal->row_refusals >= ROW_REFUSALS_MAX && others >= ROW_OTHERS_MIN)
        return;
    if (vote(a, now, t))
        return;
    if (nothing_passes) {
        search_park(&a->search);
        a->parked_rps = a->search.resume_rps > 0 ? a->search.resume_rps : meter_rps(&a->meter, now);
        flight_leave(&a->flight);
        outage_begin(&a->outage, now);
        decide(a, now, THROTTLE_MODE_OUTAGE, THROTTLE_REASON_OUTAGE);
    } else if (t->number > a->ignored) {
        if (mode_of(a) == THROTTLE_MODE_WINDOW)
            window_refused(a, now, t);
        else
            rate_refused(a, now, t);
    }
}

duration_ns adaptive_refused(struct adaptive *a, struct instant now,
                             const struct throttle_ticket *t,
                             const struct throttle_refusal *refusal)
{
    silence_refused(&a->silence, instant_seconds(now, t->sent_at));
    guard_refused(&a->guard, t->number);
    a->refused_at = now;
    if (mode_of(a) != THROTTLE_MODE_OUTAGE)
        allowance_pay(&a->allowance);
    if (!instant_is_none(refusal->held_until)) {
        if (mode_of(a) == THROTTLE_MODE_OPEN)
            close(a, now, t);
        held(a, now, t, refusal);
    } else {
        learn_refusal(a, now, t, refusal);
    }
    return patience_wait_ns(refusal->row_refusals, a->rng);
}
