/* See flight.h. */
#include "flow/flight.h"

#include <math.h>

#define VOTES     3
#define VOTES_MAX 4
/* Shares of the dispatches taken that saw as many in flight as the refused one. */
#define SHARE_WINDOW   0.05
#define SHARE_RATE     0.3
#define SAMPLES_RATE   6
#define SAMPLES_WINDOW 16
#define CUT            0.8

void flight_init(struct flight *f)
{
    *f = (struct flight){.step = 1, .due = INSTANT_NEVER, .vote_at = INSTANT_NONE};
}

void flight_accepted(struct flight *f, uint32_t in_flight)
{
    f->taken_at[f->next_sample] = in_flight;
    f->next_sample = (f->next_sample + 1) % FLIGHT_SAMPLES;
    if (f->samples < FLIGHT_SAMPLES)
        f->samples++;
}

static void forget_samples(struct flight *f)
{
    f->samples = f->next_sample = 0;
}

static double share_as_full(const struct flight *f, uint32_t in_flight)
{
    uint32_t as_full = 0;

    for (uint32_t i = 0; i < f->samples; i++)
        as_full += f->taken_at[i] >= in_flight;
    return (double)as_full / f->samples;
}

enum flight_vote flight_vote(struct flight *f, struct instant now, uint32_t in_flight,
                             double pause_s, bool settled)
{
    double share;

    if (instant_before(now, f->vote_at) || f->samples < SAMPLES_RATE)
        return FLIGHT_STAYS;
    share = share_as_full(f, in_flight);
    f->vote_at = instant_after(now, pause_s);
    if (share > SHARE_RATE)
        f->votes -= f->votes > -VOTES_MAX;
    else if (share < SHARE_WINDOW && f->samples >= SAMPLES_WINDOW && settled)
        f->votes += f->votes < VOTES_MAX;
    else
        return FLIGHT_STAYS;
    if (f->votes >= VOTES && f->window == 0)
        return FLIGHT_ENTERS;
    return f->votes <= -VOTES && f->window > 0 ? FLIGHT_LEAVES : FLIGHT_STAYS;
}

static void end_probe(struct flight *f)
{
    f->extra = 0;
    f->step = 1;
    f->due = INSTANT_NEVER;
}

void flight_enter(struct flight *f, uint64_t number, struct instant probe_at)
{
    uint32_t most = 0;

    for (uint32_t i = 0; i < f->samples; i++)
        most = f->taken_at[i] > most ? f->taken_at[i] : most;
    f->window = f->window_before = most + 1;
    f->probe_at = probe_at;
    f->reacted = number;
    end_probe(f);
    forget_samples(f);
}

void flight_leave(struct flight *f)
{
    f->window = 0;
    end_probe(f);
    forget_samples(f);
}

static void take_extra(struct flight *f)
{
    f->window_before = f->window;
    f->window += f->extra;
    f->step = f->step * 2 < f->window ? f->step * 2 : f->window;
    f->extra = 0;
    f->due = INSTANT_NEVER;
}

struct instant flight_when(struct flight *f, struct instant now, size_t in_flight, double most,
                           bool silence_speaks)
{
    bool probing;

    if (f->extra > 0 && !instant_before(now, f->due) && silence_speaks)
        take_extra(f);
    probing =
        instant_is_never(f->due) && !instant_before(now, f->probe_at) && (double)f->window < most;
    if (in_flight < f->window + (probing ? f->step : 0))
        return now;
    if (f->extra > 0)
        return instant_before(now, f->due) ? f->due : INSTANT_NEVER;
    return instant_before(now, f->probe_at) ? f->probe_at : INSTANT_NEVER;
}

bool flight_sent(struct flight *f, struct instant now, size_t in_flight, uint64_t number,
                 double verdict_s)
{
    if (in_flight < f->window)
        return false;
    if (f->extra == 0)
        f->extra_first = number;
    if (++f->extra >= f->step)
        f->due = instant_after(now, verdict_s);
    return true;
}

void flight_answered(struct flight *f, struct instant now, uint64_t number)
{
    if (f->extra > 0 && !instant_is_never(f->due) && number >= f->extra_first + f->extra - 1)
        f->due = instant_min(f->due, now);
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static enum flight_cut refused_extra(struct flight *f, struct instant now, uint32_t in_flight,
                                     uint64_t sent, double interval_s)
{
    if (f->extra == 0) { /* it was believed taken, by silence */
        f->window = least(f->window, in_flight);
        f->window = f->window > f->window_before ? f->window : f->window_before;
        return FLIGHT_NOTHING;
    }
    f->window_before = f->window;
    f->window = f->window > in_flight ? f->window : in_flight;
    f->reacted = sent;
    f->probe_at = instant_after(now, interval_s);
    end_probe(f);
    return FLIGHT_TRIAL_REFUSED;
}

enum flight_cut flight_refused(struct flight *f, struct instant now, uint32_t in_flight, bool extra,
                               uint64_t number, uint64_t sent, struct drop *drop, double verdict_s,
                               double interval_s)
{
    struct instant later = instant_after(now, 2 * verdict_s);
    enum flight_cut cut = FLIGHT_NOTCH;

    if (extra) {
        drop_reset(drop);
        return refused_extra(f, now, in_flight, sent, interval_s);
    }
    if (drop_refused(drop, number)) {
        drop_reset(drop);
        f->window = (uint32_t)(CUT * least(f->window, in_flight));
        f->probe_at = later;
        forget_samples(f);
        cut = FLIGHT_FELL;
    } else if (number > f->reacted) {
        f->window = least(f->window - 1, in_flight);
        f->probe_at = instant_max(f->probe_at, later);
    } else {
        return FLIGHT_NOTHING;
    }
    if (f->window < 1)
        f->window = 1;
    f->window_before = f->window;
    f->reacted = sent;
    end_probe(f);
    return cut;
}
