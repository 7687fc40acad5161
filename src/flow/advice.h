/*
 * What a service says about its own limits along with an answer: Retry-After and x-ratelimit-* in
 * HTTP terms. An edge fills it in; flow/ believes it, within bounds.
 */
#ifndef FLOW_ADVICE_H
#define FLOW_ADVICE_H

#include "base/time.h"

#include <stdint.h>

/* One announced quota. Each field is -1 when it was not told. */
struct flow_quota {
    int64_t limit;        /* units per window */
    int64_t remaining;    /* units left in this window */
    duration_ns reset_ns; /* from the answer until the quota is whole again */
};

struct flow_advice {
    duration_ns retry_after_ns; /* -1: not told */
    struct flow_quota requests;
    struct flow_quota tokens;
};

#define FLOW_QUOTA_UNTOLD                                                                          \
    {                                                                                              \
        -1, -1, -1                                                                                 \
    }
#define FLOW_ADVICE_UNTOLD ((struct flow_advice){-1, FLOW_QUOTA_UNTOLD, FLOW_QUOTA_UNTOLD})

#endif
