/* See period.h. */
#include "flow/period.h"

#include <math.h>
#include <stddef.h>

static const int64_t windows_s[] = {10, 60};

/* Shorter ones are no window that was used up. */
#define OUTAGE_MIN_S 3.0
#define COUNT_MIN    20
#define SAME_SHARE   0.03
/* The first request of the window left it at most so long before. */
#define EARLY_S 2.0
/* How long a quota is believed, in windows: longer with each time it is confirmed. */
#define BELIEF_WINDOWS 1.25

void period_init(struct period *p)
{
    *p = (struct period){.count = 1, .rate_rps = HUGE_VAL};
    for (size_t i = 0; i < PERIOD_SECONDS; i++)
        p->bins[i].second = INT64_MIN;
}

static int64_t second_of(struct instant t)
{
    return t.ns / NS_PER_S;
}

void period_accepted(struct period *p, struct instant sent_at)
{
    int64_t second = second_of(sent_at);
    size_t i = (size_t)(second % PERIOD_SECONDS + PERIOD_SECONDS) % PERIOD_SECONDS;

    if (p->bins[i].second < second) {
        p->bins[i].second = second;
        p->bins[i].accepted = 0;
    }
    p->bins[i].accepted += p->bins[i].second == second;
}

/* Of the seconds in [from, to): how many were accepted, and the first second with any. */
static uint32_t accepted_in(const struct period *p, int64_t from, int64_t to, int64_t *ret_first)
{
    uint32_t sum = 0;
    int64_t first = to;

    for (size_t i = 0; i < PERIOD_SECONDS; i++) {
        int64_t second = p->bins[i].second;

        if (second < from || second >= to || p->bins[i].accepted == 0)
            continue;
        sum += p->bins[i].accepted;
        if (second < first)
            first = second;
    }
    *ret_first = first;
    return sum;
}

static bool found(struct period *p, int64_t window_s, uint32_t count, struct instant now)
{
    bool same = fabs(count / p->count - 1) < SAME_SHARE;

    p->count = count;
    if (!same)
        return false;
    p->rate_rps = (double)count / (double)window_s;
    p->confirmed++;
    p->until = instant_after(now, BELIEF_WINDOWS * (double)window_s);
    return true;
}

bool period_outage_over(struct period *p, struct instant began_at, struct instant now,
                        double slack_s)
{
    bool quota = false;

    if (instant_seconds(now, began_at) <= OUTAGE_MIN_S)
        return false;
    for (size_t i = 0; i < sizeof windows_s / sizeof windows_s[0]; i++) {
        int64_t window_s = windows_s[i];
        int64_t end = second_of(began_at);
        int64_t first;
        uint32_t count = accepted_in(p, end - window_s, end, &first);
        double late_s = (double)now.ns / (double)NS_PER_S - (double)(first + window_s);

        if (count >= COUNT_MIN && late_s > -EARLY_S && late_s < slack_s)
            quota |= found(p, window_s, count, now);
    }
    return quota;
}

double period_rate_rps(const struct period *p, struct instant now)
{
    return instant_before(now, p->until) ? p->rate_rps : HUGE_VAL;
}
