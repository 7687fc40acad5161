/* See silence.h. */
#include "flow/silence.h"

#include <math.h>

/* RFC 6298, 2.3: the shares by which mean and deviation follow, and how many deviations a bound has. */
#define MEAN_SHARE      0.125
#define DEVIATION_SHARE 0.25
#define ACCEPTED_BOUND  4.0
/* A wrong verdict on a refusal that is late costs a flood, so more room is left there. */
#define REFUSED_BOUND 6.0
#define REFUSED_MIN   3
/* RFC 6298, 2.1: before anything is known. */
#define START_S 1.0

void silence_init(struct silence *s)
{
    *s = (struct silence){0};
}

static void add(struct answer_time *t, double took_s)
{
    if (t->count++ == 0) {
        t->mean_s = took_s;
        t->deviation_s = took_s / 2;
        return;
    }
    t->deviation_s += DEVIATION_SHARE * (fabs(took_s - t->mean_s) - t->deviation_s);
    t->mean_s += MEAN_SHARE * (took_s - t->mean_s);
}

void silence_accepted(struct silence *s, double took_s)
{
    add(&s->accepted, took_s);
    silence_broken(s);
}

void silence_refused(struct silence *s, double took_s)
{
    add(&s->refused, took_s);
    silence_broken(s);
}

static double bound_s(const struct answer_time *t, double deviations)
{
    return t->mean_s + deviations * t->deviation_s;
}

double silence_verdict_s(const struct silence *s)
{
    double s_max = s->accepted.count > 0 ? bound_s(&s->accepted, ACCEPTED_BOUND) : START_S;

    if (s->refused.count >= REFUSED_MIN)
        s_max = fmin(s_max, bound_s(&s->refused, REFUSED_BOUND));
    return fmax(s_max, 1e-6);
}

bool silence_speaks(const struct silence *s)
{
    return s->sends_unanswered < SILENCE_SENDS_MAX;
}
