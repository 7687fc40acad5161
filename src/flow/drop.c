/* See drop.h. */
#include "flow/drop.h"

#include <math.h>

/* One cut goes no deeper, and no shallower. */
#define SHARE_MIN 0.5
#define SHARE_MAX 0.95

void drop_init(struct drop *d)
{
    *d = (struct drop){0};
}

uint64_t drop_between(const struct drop *d, uint64_t number)
{
    return number > d->last + 1 ? number - d->last - 1 : 0;
}

bool drop_refused(struct drop *d, uint64_t number)
{
    double left = d->sum - DROP_ALLOWED * (double)drop_between(d, number);

    if (left <= 0) {
        left = 0;
        d->since = number;
        d->refusals = 0;
    }
    d->sum = left + 1;
    d->refusals++;
    if (number > d->last)
        d->last = number;
    return d->sum >= DROP_LIMIT;
}

double drop_share(const struct drop *d, uint64_t number)
{
    uint64_t sends = number >= d->since ? number - d->since + 1 : 1;

    return fmax(SHARE_MIN, fmin(SHARE_MAX, 1 - (double)d->refusals / (double)sends));
}

void drop_reset(struct drop *d)
{
    d->sum = 0;
}
