/* See search.h. */
#include "flow/search.h"

#include <math.h>

#define RATE_MIN_RPS 0.1
/* Bracket: found when its ends are so near; forgotten when its upper end is so old. */
#define FOUND_RATIO    1.05
#define NARROW_RATIO   1.12
#define REFUSED_AGE_NS (15 * NS_PER_S)
#define RATIO_START    2.0
/* Between two steps of a search, at least. A trial shows that a rate is borne for one verdict; a service with a
 * burst bears any rate for so long when its answers are quick, and the search would run away from what it
 * bears for good: at 50 requests/s with a burst of 20 and answers after 1 ms it ended at 37,000/s. */
#define STEP_NS (100 * NS_PER_MS)
/* One dispatch shows a step as large as this. */
#define DOUBLING 1.9
/* A smaller step by the share d needs 1/d dispatches to be one dispatch too many. */
#define TRIAL_SENDS_MAX 8
#define TRIAL_MAX_S     2.0
/* A hold counts as solid after this. */
#define SOLID_NS    (5 * NS_PER_S)
#define SOLID_SENDS 20
/* Silent climb per success: after a hold began, and after a stray refusal. */
#define CLIMB_HELD   5e-4
#define CLIMB_NOTCH  2.5e-5
#define NOTCH_MIN    0.005
#define NOTCH_MAX    0.1
#define NOTCH_WEIGHT 0.6
/* What a probe may win, as a share of the rate; less where nothing above was ever seen to last. */
#define GAIN_SHARE     0.25
#define GAIN_TOP_SHARE 0.1
#define KNOWN_ABOVE    1.15
/* A level just found again is checked by a small step soon, unless it was found often. */
#define CHECK_RATIO 1.12
#define CHECK_NS    (500 * NS_PER_MS)
#define CHECK_SEEN  4
#define STEP_MIN    1.04

void search_init(struct search *s, double rate_rps)
{
    *s = (struct search){.step_at = INSTANT_NONE};
    levels_init(&s->levels);
    search_restart(s, rate_rps, RATIO_START);
    s->climb = CLIMB_HELD;
    s->probe_at = INSTANT_NONE;
}

void search_restart(struct search *s, double rate_rps, double ratio)
{
    s->rate_rps = fmax(RATE_MIN_RPS, rate_rps);
    s->refused_rps = HUGE_VAL;
    s->searching = true;
    s->ratio = ratio;
    s->trial.rate_rps = 0;
}

double search_interval_s(const struct search *s, const struct allowance *a)
{
    double rate = s->rate_rps;
    double known = levels_highest(&s->levels, KNOWN_ABOVE * rate, HUGE_VAL);
    double top = levels_top(&s->levels);
    bool at_top = top > 0.9 * rate && top < 1.05 * rate;
    double gain = GAIN_SHARE * (at_top ? GAIN_TOP_SHARE : 1) * rate;

    return allowance_interval_s(a, fmax(gain, known - rate));
}

static void remember(struct search *s)
{
    if (s->solid_rps > 0)
        levels_remember(&s->levels, s->solid_rps);
    s->solid_rps = 0;
}

/* The end of a search: the rate is held. */
static void settle(struct search *s, struct instant now, const struct allowance *a)
{
    s->searching = false;
    s->trial.rate_rps = 0;
    s->probe_at = instant_after(now, search_interval_s(s, a));
}

static void hold(struct search *s, struct instant now, uint64_t number, const struct allowance *a)
{
    settle(s, now, a);
    s->climb = CLIMB_HELD;
    s->held_since = now;
    s->held_number = number;
}

/* ---- trials ---- */

/* The step of the next probe: mostly double, for a service that has recovered has mostly recovered whole. */
static double probe_ratio(struct search *s)
{
    static const double steps[] = {2.0, 1.25, 2.0, 1.1};
    double above = levels_highest(&s->levels, KNOWN_ABOVE * s->rate_rps, HUGE_VAL);
    double ratio;

    if (s->check_above) {
        s->check_above = false;
        return CHECK_RATIO;
    }
    ratio = steps[++s->probes % 4];
    return above > 0 && ratio < 1.2 ? 2.0 : ratio;
}

/* The ratio of the next trial to the rate; 0: none is due. */
static double next_ratio(struct search *s, struct instant now, uint64_t number,
                         const struct allowance *a)
{
    double ratio = s->ratio;

    if (s->searching) {
        if (instant_before(now, s->step_at))
            return 0;
        if (instant_diff(now, s->refused_at) > REFUSED_AGE_NS)
            s->refused_rps = HUGE_VAL;
        if (s->refused_rps / s->rate_rps < FOUND_RATIO) {
            hold(s, now, number, a);
            return 0;
        }
        if (isfinite(s->refused_rps))
            return sqrt(s->refused_rps / s->rate_rps);
        s->ratio = fmin(RATIO_START, 1 + 2 * (s->ratio - 1));
        return ratio;
    }
    if (instant_before(now, s->probe_at))
        return 0;
    s->ratio = ratio = probe_ratio(s);
    s->refused_rps = HUGE_VAL;
    return ratio;
}

/* The rate to try: the highest that was held before, if there is one within the step. */
static double next_rate(const struct search *s, double ratio, bool *ret_known)
{
    double rate = s->rate_rps * ratio;
    double low = STEP_MIN * s->rate_rps;
    double high = isfinite(s->refused_rps) ? s->refused_rps : rate * 1.001;
    double known = levels_highest(&s->levels, low, high);

    if (s->resume_rps > low && s->resume_rps < high)
        known = fmax(known, s->resume_rps);
    *ret_known = known > 0 && ratio > CHECK_RATIO;
    return *ret_known ? known : rate;
}

/* Who is in debt looks longer before believing. */
static uint32_t trial_sends(double rate_rps, double ratio, const struct allowance *a)
{
    double sends = ratio >= DOUBLING ? 1 : fmin(TRIAL_SENDS_MAX, ceil(1 / (ratio - 1)));

    if (a->balance < 0)
        sends = TRIAL_SENDS_MAX;

    return (uint32_t)fmax(1, fmin(sends, rate_rps * TRIAL_MAX_S));
}

bool search_wants_trial(struct search *s, struct instant now, uint64_t number,
                        const struct allowance *a, double most_rps)
{
    double ratio;
    double rate;
    bool known;

    if (s->rate_rps >= most_rps) {
        s->rate_rps = fmax(RATE_MIN_RPS, most_rps);
        s->searching = false;
        return false;
    }
    ratio = next_ratio(s, now, number - 1, a);
    if (ratio <= 0)
        return false;
    rate = fmin(next_rate(s, ratio, &known), most_rps);
    ratio = rate / s->rate_rps;
    if (ratio < 1.001) {
        settle(s, now, a);
        return false;
    }
    s->trial = (struct trial){.rate_rps = rate,
                              .first = number,
                              .sends = trial_sends(rate, ratio, a),
                              .doubling = ratio >= DOUBLING,
                              .known = known,
                              .due = INSTANT_NEVER};
    s->trial.left = s->trial.sends;
    return true;
}

void search_trial_sent(struct search *s, struct instant now, uint64_t number, double verdict_s)
{
    if (--s->trial.left == 0) {
        s->trial.last = number;
        s->trial.due = instant_after(now, verdict_s);
    }
}

void search_trial_void(struct search *s, struct instant now, const struct allowance *a)
{
    settle(s, now, a);
}

void search_trial_borne(struct search *s, struct instant now, uint64_t number,
                        const struct allowance *a)
{
    uint32_t seen;

    remember(s);
    s->rate_rps = s->trial.rate_rps;
    s->trial.rate_rps = 0;
    s->searching = true;
    s->step_at = instant_add(now, STEP_NS);
    if (!s->trial.known)
        return;
    s->resume_rps = 0;
    hold(s, now, number, a);
    seen = levels_seen(&s->levels, s->rate_rps);
    if (seen < CHECK_SEEN || seen % 4 == 0) {
        s->check_above = true;
        s->probe_at = instant_add(now, CHECK_NS);
    }
}

void search_trial_refused(struct search *s, struct instant now, const struct allowance *a)
{
    s->refused_rps = s->trial.rate_rps;
    s->refused_at = now;
    s->trial.rate_rps = 0;
    if (!s->searching)
        s->probe_at = instant_after(now, search_interval_s(s, a));
    else if (s->trial.known)
        s->resume_rps = 0;
}

/* ---- the rate itself ---- */

void search_held(struct search *s, struct instant now, uint64_t number, double scale,
                 double most_rps)
{
    if (s->searching)
        return;
    if (number > s->held_number + SOLID_SENDS && instant_diff(now, s->held_since) > SOLID_NS)
        s->solid_rps = s->solid_last_rps = s->rate_rps;
    s->rate_rps = fmin(most_rps, s->rate_rps * (1 + s->climb * scale));
}

void search_notch(struct search *s, struct instant now, uint64_t between, const struct allowance *a)
{
    double share = NOTCH_WEIGHT / (double)(between + 1);

    s->trial.rate_rps = 0;
    /* So near its end the search knows the upper end now; else it tries the same step again and again. */
    if (s->searching && s->refused_rps < NARROW_RATIO * s->rate_rps) {
        s->refused_rps = s->rate_rps;
        s->refused_at = now;
    }
    s->rate_rps = fmax(RATE_MIN_RPS, s->rate_rps * (1 - fmin(NOTCH_MAX, fmax(NOTCH_MIN, share))));
    s->climb = CLIMB_NOTCH;
    s->probe_at = instant_max(s->probe_at, instant_after(now, search_interval_s(s, a) / 2));
}

void search_cut(struct search *s, struct instant now, double share)
{
    double refused = s->rate_rps;

    remember(s);
    search_restart(s, refused * share, RATIO_START);
    s->refused_rps = refused;
    s->refused_at = now;
}

void search_park(struct search *s)
{
    s->trial.rate_rps = 0;
    s->resume_rps = fmax(s->solid_last_rps, s->resume_rps);
}
