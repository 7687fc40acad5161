#include "core/stats.h"

#include <math.h>

void core_stats_note_limit(struct core_stats *s, const struct throttle_limit *limit)
{
    if (isfinite(limit->rate_rps)) {
        if (s->rate_max_rps <= 0 || limit->rate_rps < s->rate_min_rps)
            s->rate_min_rps = limit->rate_rps;
        if (limit->rate_rps > s->rate_max_rps)
            s->rate_max_rps = limit->rate_rps;
    }
    if (limit->window < UINT32_MAX) {
        if (s->window_max == 0 || limit->window < s->window_min)
            s->window_min = limit->window;
        if (limit->window > s->window_max)
            s->window_max = limit->window;
    }
}
