#include "core/run_times.h"

#include <assert.h>
#include <string.h>

void run_times_init(struct run_times *r)
{
    r->count = r->next = 0;
}

/* The place of the first one that is not less. */
static size_t place_of(const struct run_times *r, duration_ns ran)
{
    size_t from = 0, to = r->count;

    while (from < to) {
        size_t middle = from + (to - from) / 2;

        if (r->in_order[middle] < ran)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

void run_times_add(struct run_times *r, duration_ns ran)
{
    size_t at;

    if (r->count == RUN_TIMES_KEPT) {
        at = place_of(r, r->came[r->next]);
        r->count--;
        memmove(&r->in_order[at], &r->in_order[at + 1], (r->count - at) * sizeof r->in_order[0]);
    }
    at = place_of(r, ran);
    memmove(&r->in_order[at + 1], &r->in_order[at], (r->count - at) * sizeof r->in_order[0]);
    r->in_order[at] = ran;
    r->count++;
    r->came[r->next] = ran;
    r->next = (r->next + 1) % RUN_TIMES_KEPT;
}

bool run_times_known(const struct run_times *r)
{
    return r->count >= RUN_TIMES_MIN;
}

duration_ns run_times_median(const struct run_times *r)
{
    assert(r->count > 0);
    return r->in_order[(r->count - 1) / 2];
}
