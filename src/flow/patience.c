/* See patience.h. */
#include "flow/patience.h"

duration_ns patience_wait_ns(uint32_t refusals, struct rng *rng)
{
    duration_ns wait = PATIENCE_WAIT_MAX_NS;
    uint32_t doublings;

    if (refusals < PATIENCE_REFUSALS)
        return 0;
    doublings = refusals - PATIENCE_REFUSALS;
    if (doublings < 16 && PATIENCE_WAIT_MIN_NS << doublings < wait)
        wait = PATIENCE_WAIT_MIN_NS << doublings;
    return wait / 2 + rng_range(rng, 0, wait);
}
