/*
 * How long a row waits by itself after a refusal.
 *
 *     wait = patience_wait_ns(refusals_before, &rng);
 *
 * Refused rows go before others, so a row that the service will never take would stop all of them.
 * From its 4th refusal on it waits too: 0.1 s, doubling to 5 s, times 0.5 to 1.5 by chance.
 *
 * Pure.
 */
#ifndef FLOW_PATIENCE_H
#define FLOW_PATIENCE_H

#include "base/rng.h"
#include "base/time.h"

#include <stdint.h>

#define PATIENCE_REFUSALS    3 /* without a wait */
#define PATIENCE_WAIT_MIN_NS (100 * NS_PER_MS)
#define PATIENCE_WAIT_MAX_NS (5 * NS_PER_S)

/* refusals: of the row before this one. 0: it is ready at once. */
duration_ns patience_wait_ns(uint32_t refusals, struct rng *rng);

#endif
