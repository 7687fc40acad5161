/* The least time between two dispatches, kept as the instant at which the next one may go. */
#include "flow/pacer.h"

#include <assert.h>
#include <math.h>

void pacer_init(struct pacer *p, duration_ns gap_ns)
{
    assert(gap_ns >= 0);
    *p = (struct pacer){.gap_ns = gap_ns, .next = INSTANT_NONE};
}

void pacer_set_gap(struct pacer *p, duration_ns gap_ns)
{
    assert(gap_ns >= 0);
    p->next = instant_add(p->next, gap_ns - p->gap_ns);
    p->gap_ns = gap_ns;
}

duration_ns pacer_gap_of_rate(double per_s)
{
    double gap_ns;

    if (!(per_s > 0))
        return 0;
    gap_ns = ceil((double)NS_PER_S / per_s);
    return gap_ns < (double)INT64_MAX ? (duration_ns)gap_ns : INT64_MAX;
}

struct instant pacer_when(const struct pacer *p)
{
    return p->next;
}

void pacer_take(struct pacer *p, struct instant now)
{
    assert(!instant_before(now, p->next));
    p->next = instant_add(now, p->gap_ns);
}
