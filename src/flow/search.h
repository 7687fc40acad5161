/*
 * The search for the highest rate that a service bears.
 *
 *     if (search_wants_trial(&s, now, number, &allowance, most_rps))
 *         ... the next search_trial_sends() dispatches go at s.trial.rate_rps, search_trial_sent() after each
 *     search_trial_borne(&s, now, number, &allowance)     // no refusal until s.trial.due
 *     search_trial_refused(&s, now, &allowance)           // or there was one
 *
 * `rate_rps` is the highest rate that is known to be borne, `refused_rps` the lowest that is known
 * to be refused. While searching, trials bisect between the two (or double while nothing is
 * refused) until they are within 5 %. Then the rate is held, and a paid probe tries more from time
 * to time.
 *
 * A trial is a few dispatches at the higher rate, then the base rate again until the verdict is in:
 * so a wrong guess costs one or two refusals, not a flood.
 *
 * Pure; the throttle that owns it says what happened.
 */
#ifndef FLOW_SEARCH_H
#define FLOW_SEARCH_H

#include "base/time.h"
#include "flow/allowance.h"
#include "flow/levels.h"

#include <stdbool.h>
#include <stdint.h>

struct trial {
    double rate_rps; /* 0: none runs */
    uint64_t first;  /* dispatches with this number and later belong to it */
    uint64_t last;   /* its last dispatch; 0: some are still to be sent */
    uint32_t left;   /* still to be sent */
    uint32_t sends;
    bool doubling;      /* so large a step that one dispatch shows it */
    bool known;         /* of a level that was held before */
    struct instant due; /* no refusal until then: borne. NEVER until all are sent */
};

struct search {
    double rate_rps;
    double refused_rps; /* HUGE_VAL: none is known */
    struct instant refused_at;
    bool searching;         /* else the rate is held, until probe_at */
    double ratio;           /* of the next step, while nothing is refused */
    struct instant step_at; /* the next step of the search comes then at the earliest */
    double climb;           /* share by which the rate rises with each success while it is held */
    struct instant probe_at;
    uint32_t probes;  /* made so far; their steps take turns */
    bool check_above; /* the next probe is a small one, above a level just found again */
    struct instant held_since;
    uint64_t held_number; /* of the last dispatch before the hold */
    double solid_rps;     /* held for a while since the last change; 0: not yet */
    double solid_last_rps;
    double resume_rps; /* what was solid before an outage: tried first after it. 0: none */
    struct levels levels;
    struct trial trial;
};

void search_init(struct search *s, double rate_rps);
/* How long to wait before the next probe. */
double search_interval_s(const struct search *s, const struct allowance *a);

/* Right after a regular dispatch: whether a trial begins now. number: of the next dispatch. The rate
 * never exceeds most_rps. */
bool search_wants_trial(struct search *s, struct instant now, uint64_t number,
                        const struct allowance *a, double most_rps);
/* One of its dispatches was made; after verdict_s without a refusal they all count as taken. */
void search_trial_sent(struct search *s, struct instant now, uint64_t number, double verdict_s);
/* It could not be sent at its rate: no trial. */
void search_trial_void(struct search *s, struct instant now, const struct allowance *a);
/* number: of the last dispatch. */
void search_trial_borne(struct search *s, struct instant now, uint64_t number,
                        const struct allowance *a);
void search_trial_refused(struct search *s, struct instant now, const struct allowance *a);
static inline bool search_trial_runs(const struct search *s)
{
    return s->trial.rate_rps > 0;
}

/* A success of dispatch `number`, sent at the held rate; scale: 0 to 1, of the climb. */
void search_held(struct search *s, struct instant now, uint64_t number, double scale,
                 double most_rps);
/* A stray refusal: one notch, `between` dispatches after the last one. */
void search_notch(struct search *s, struct instant now, uint64_t between,
                  const struct allowance *a);
/* The capacity fell: search below the rate, from `share` of it. */
void search_cut(struct search *s, struct instant now, double share);
/* Begin anew at a rate, with nothing refused and steps of `ratio`. */
void search_restart(struct search *s, double rate_rps, double ratio);
/* An outage begins: what was solid will be tried first after it, if anything was. */
void search_park(struct search *s);

#endif
