/* See levels.h. */
#include "flow/levels.h"

#include <math.h>
#include <string.h>

/* Nearer than this it is the same level, which then moves halfway. */
#define SAME_SHARE 0.08
#define SAME_STEP  0.5
#define RECURRENT  2
#define LASTING    3

void levels_init(struct levels *l)
{
    *l = (struct levels){0};
}

static double distance(const struct levels *l, size_t i, double rate_rps)
{
    return fabs(l->of[i].rate_rps / rate_rps - 1);
}

/* count: there are none. */
static size_t nearest(const struct levels *l, double rate_rps)
{
    size_t best = 0;

    for (size_t i = 1; i < l->count; i++) {
        if (distance(l, i, rate_rps) < distance(l, best, rate_rps))
            best = i;
    }
    return best;
}

static void drop(struct levels *l, size_t i)
{
    l->count--;
    memmove(&l->of[i], &l->of[i + 1], (l->count - i) * sizeof l->of[0]);
}

void levels_remember(struct levels *l, double rate_rps)
{
    size_t i = nearest(l, rate_rps);
    uint32_t seen = 0;

    if (l->count > 0 && distance(l, i, rate_rps) < SAME_SHARE) {
        rate_rps = l->of[i].rate_rps + SAME_STEP * (rate_rps - l->of[i].rate_rps);
        seen = l->of[i].seen;
        drop(l, i);
    } else if (l->count == LEVELS_MAX) {
        drop(l, 0);
    }
    l->of[l->count].rate_rps = rate_rps;
    l->of[l->count].seen = seen + 1;
    l->count++;
}

double levels_highest(const struct levels *l, double low_rps, double high_rps)
{
    double best = 0;

    for (size_t i = 0; i < l->count; i++) {
        double rate = l->of[i].rate_rps;

        if (l->of[i].seen >= RECURRENT && rate > low_rps && rate < high_rps)
            best = fmax(best, rate);
    }
    return best;
}

double levels_top(const struct levels *l)
{
    double best = 0;

    for (size_t i = 0; i < l->count; i++) {
        if (l->of[i].seen >= LASTING)
            best = fmax(best, l->of[i].rate_rps);
    }
    return best;
}

uint32_t levels_seen(const struct levels *l, double rate_rps)
{
    return l->count > 0 ? l->of[nearest(l, rate_rps)].seen : 0;
}
