#include "core/pool.h"

#include "base/error.h"

void core_pool_options_init(struct core_pool_options *o)
{
    *o = (struct core_pool_options){
        .size = 1,
        .max_attempts = 3,
        .max_capacity_retry_ns = 3600 * NS_PER_S,
    };
    gate_options_init(&o->gate);
    backoff_options_init(&o->backoff);
    breaker_options_init(&o->breaker);
}

enum weir_status core_pool_options_check(const struct core_pool_options *o, struct weir_error *err)
{
    enum weir_status status;

    if (o->size < 1 || o->size > POOL_SIZE_MAX)
        return error_set(err, WEIR_E_INVALID, "size is %zu; it must be 1 to %d", o->size,
                         POOL_SIZE_MAX);
    if (o->max_attempts < 1)
        return error_set(err, WEIR_E_INVALID, "max_attempts is 0; it must be 1 or more");
    if (o->timeout_ns < 0)
        return error_set(err, WEIR_E_INVALID, "timeout is negative; it must be 0 (none) or more");
    if (o->max_capacity_retry_ns <= 0)
        return error_set(err, WEIR_E_INVALID, "max_capacity_retry must be more than 0 seconds");
    if (o->timeout_share != 0 &&
        !(o->timeout_share >= POOL_TIMEOUT_SHARE_MIN && o->timeout_share <= POOL_TIMEOUT_SHARE_MAX))
        return error_set(
            err, WEIR_E_INVALID,
            "timeout is %g %% of the median run time; it must be %g to %g %%, or 0 (none)",
            o->timeout_share * 100, POOL_TIMEOUT_SHARE_MIN * 100, POOL_TIMEOUT_SHARE_MAX * 100);
    if (o->checkout_timeout_ns < 0 || o->call_checkout_timeout_ns < 0)
        return error_set(err, WEIR_E_INVALID,
                         "checkout_timeout is negative; it must be 0 (none) or more");
    status = breaker_options_check(&o->breaker, err);
    if (status == WEIR_OK)
        status = gate_options_check(&o->gate, err);
    if (status == WEIR_OK)
        status = backoff_options_check(&o->backoff, err);
    return status;
}
