/* See period.h. */
#include "flow/period.h"

#include <math.h>
#include <stddef.h>

static const int64_t windows_s[] = {10, 60};

/* Many an outage ends so by coincidence, and few with the same count twice. */
#define SAME_SHARE 0.03
/* Shorter outages are no window that was used up, and fewer requests no quota. */
#define OUTAGE_MIN_S 3.0
#define COUNT_MIN    20
/* The first request of the window left it at most so long before. */
#define EARLY_S 2.0
/* How long a quota is believed: so many windows at first, and at most. */
#define BELIEF_WINDOWS     2.0
#define BELIEF_WINDOWS_MAX 16.0
/* Refusals at less than that of the quota's rate have another cause. */
#define NEAR_SHARE 0.9
/* A window that is spent evenly to the last request has no room for what jitter does. */
#define SPENT_SHARE 0.995

void period_init(struct period *p)
{
    *p = (struct period){.rate_rps = HUGE_VAL, .until = INSTANT_NONE};
    for (size_t i = 0; i < PERIOD_SECONDS; i++)
        p->bins[i].second = INT64_MIN;
}

static int64_t second_of(struct instant t)
{
    return t.ns / NS_PER_S;
}

void period_accepted(struct period *p, struct instant sent_at)
{
    period_accepted_many(p, sent_at, 1);
}

void period_accepted_many(struct period *p, struct instant sent_at, uint32_t count)
{
    int64_t second = second_of(sent_at);
    size_t i = (size_t)(second % PERIOD_SECONDS + PERIOD_SECONDS) % PERIOD_SECONDS;

    if (p->bins[i].second < second) {
        p->bins[i].second = second;
        p->bins[i].accepted = 0;
    }
    if (p->bins[i].second == second)
        p->bins[i].accepted += count;
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

static void believe(struct period *p, struct instant now, double belief_s)
{
    p->belief_s = fmin(belief_s, BELIEF_WINDOWS_MAX * p->window_s);
    p->until = instant_after(now, p->belief_s);
}

bool period_outage_over(struct period *p, struct instant began_at, struct instant now,
                        double slack_s)
{
    if (instant_seconds(now, began_at) <= OUTAGE_MIN_S)
        return false;
    for (size_t i = 0; i < sizeof windows_s / sizeof windows_s[0]; i++) {
        int64_t end = second_of(began_at) + 1;
        int64_t first;
        uint32_t before;
        uint32_t count = accepted_in(p, end - windows_s[i], end, &first);
        double late_s = (double)now.ns / (double)NS_PER_S - (double)(first + windows_s[i]);

        if (count < COUNT_MIN || late_s < -EARLY_S || late_s > slack_s)
            continue;
        before = p->counts[i];
        p->counts[i] = count;
        if (fabs((double)count - before) > SAME_SHARE * count)
            continue;
        p->window_s = (double)windows_s[i];
        p->rate_rps = SPENT_SHARE * count / p->window_s;
        believe(p, now, BELIEF_WINDOWS * p->window_s);
        return true;
    }
    return false;
}

bool period_fell(struct period *p, struct instant now, double rate_rps)
{
    double since_s = instant_is_none(p->until) ? -1 : instant_seconds(now, p->until);

    if (since_s < 0 || since_s > p->belief_s || rate_rps < NEAR_SHARE * p->rate_rps)
        return false;
    believe(p, now, 2 * p->belief_s);
    return true;
}

double period_rate_rps(const struct period *p, struct instant now)
{
    return instant_before(now, p->until) ? p->rate_rps : HUGE_VAL;
}
