/* The adaptive throttle: in the making; until then it lets everything pass. */
#include "flow/adaptive.h"

#include "base/error.h"

#include <math.h>

void adaptive_options_init(struct adaptive_options *o)
{
    *o = (struct adaptive_options){.waste = ADAPTIVE_WASTE, .rate_max_rps = HUGE_VAL};
}

enum weir_status adaptive_options_check(const struct adaptive_options *o, struct weir_error *err)
{
    if (!(o->waste >= ADAPTIVE_WASTE_MIN && o->waste <= ADAPTIVE_WASTE_MAX))
        return error_set(err, WEIR_E_INVALID, "waste is %g; it must be from %g to %g", o->waste,
                         ADAPTIVE_WASTE_MIN, ADAPTIVE_WASTE_MAX);
    return WEIR_OK;
}

void adaptive_init(struct adaptive *a, const struct adaptive_options *o, struct rng *rng)
{
    *a = (struct adaptive){.options = *o, .rng = rng};
    throttle_state_init(&a->state, THROTTLE_MODE_OPEN);
}

struct instant adaptive_when(struct adaptive *a, struct instant now, size_t in_flight, double cost)
{
    (void)a;
    (void)in_flight;
    (void)cost;
    return now;
}

struct throttle_ticket adaptive_sent(struct adaptive *a, struct instant now, size_t in_flight,
                                     double cost)
{
    (void)cost;
    return (struct throttle_ticket){
        .number = ++a->sent, .sent_at = now, .in_flight = (uint32_t)in_flight};
}

duration_ns adaptive_refused(struct adaptive *a, struct instant now,
                             const struct throttle_ticket *ticket,
                             const struct throttle_refusal *refusal)
{
    (void)now;
    (void)ticket;
    (void)refusal;
    return 100 * NS_PER_MS + rng_range(a->rng, 0, 100 * NS_PER_MS);
}

void adaptive_accepted(struct adaptive *a, struct instant now, const struct throttle_ticket *ticket)
{
    (void)a;
    (void)now;
    (void)ticket;
}

void adaptive_answered(struct adaptive *a, struct instant now, const struct throttle_ticket *ticket)
{
    (void)a;
    (void)now;
    (void)ticket;
}

void adaptive_lost(struct adaptive *a, struct instant now, const struct throttle_ticket *ticket)
{
    (void)a;
    (void)now;
    (void)ticket;
}
