/* The AIMD delay: three lines of arithmetic, and the checks that keep them meaningful. */
#include "flow/aimd.h"

#include "base/error.h"

#include <math.h>

void aimd_options_init(struct aimd_options *o)
{
    *o = (struct aimd_options){
        .min_delay_ns = 0,
        .max_delay_ns = 5000 * NS_PER_MS,
        .multiplier = 2.0,
        .step_ns = 50 * NS_PER_MS,
    };
}

enum weir_status aimd_options_check(const struct aimd_options *o, struct weir_error *err)
{
    if (o->min_delay_ns < 0)
        return error_set(err, WEIR_E_INVALID, "min_dispatch_delay_ms is %g; it must be 0 or more",
                         duration_ms(o->min_delay_ns));
    if (o->max_delay_ns <= 0)
        return error_set(err, WEIR_E_INVALID, "max_dispatch_delay_ms is %g; it must be above 0",
                         duration_ms(o->max_delay_ns));
    if (o->max_delay_ns < o->min_delay_ns)
        return error_set(err, WEIR_E_INVALID,
                         "max_dispatch_delay_ms is %g; it must not be below min_dispatch_delay_ms, "
                         "which is %g",
                         duration_ms(o->max_delay_ns), duration_ms(o->min_delay_ns));
    if (!isfinite(o->multiplier) || o->multiplier <= 1)
        return error_set(err, WEIR_E_INVALID,
                         "backoff_multiplier is %g; it must be above 1, and finite", o->multiplier);
    if (o->step_ns < 0)
        return error_set(err, WEIR_E_INVALID, "recovery_step_ms is %g; it must be 0 or more",
                         duration_ms(o->step_ns));
    if (o->step_ns == 0 && o->min_delay_ns == 0)
        return error_set(err, WEIR_E_INVALID,
                         "recovery_step_ms and min_dispatch_delay_ms are both 0; one must be above "
                         "0, or the delay could never grow");
    return WEIR_OK;
}

void aimd_init(struct aimd *a, const struct aimd_options *o)
{
    *a = (struct aimd){.options = *o};
}

duration_ns aimd_refused(struct aimd *a)
{
    const struct aimd_options *o = &a->options;

    if (a->delay_ns == 0)
        a->delay_ns = fmax((double)o->step_ns, (double)o->min_delay_ns);
    else
        a->delay_ns *= o->multiplier;
    a->delay_ns = fmin(a->delay_ns, (double)o->max_delay_ns);
    return aimd_delay(a);
}

void aimd_accepted(struct aimd *a)
{
    a->delay_ns = fmax(a->delay_ns - (double)a->options.step_ns, (double)a->options.min_delay_ns);
}

duration_ns aimd_delay(const struct aimd *a)
{
    /* The largest durations have no exact double: turned back they could overflow. */
    if (a->delay_ns >= (double)a->options.max_delay_ns)
        return a->options.max_delay_ns;
    return (duration_ns)llround(a->delay_ns);
}
