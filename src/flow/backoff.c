/* The curves of the waits between attempts, as a table; ceiling and jitter are the same for all. */
#include "flow/backoff.h"

#include "base/error.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* The wait in ns before ceiling and jitter; as a double, which cannot overflow. */
typedef double (*backoff_curve_fn)(const struct backoff_options *o, unsigned failures);

static double curve_linear(const struct backoff_options *o, unsigned failures)
{
    return (double)o->initial_ns * failures;
}

static double curve_exponential(const struct backoff_options *o, unsigned failures)
{
    return (double)o->initial_ns * pow(o->factor, failures - 1);
}

static double curve_fibonacci(const struct backoff_options *o, unsigned failures)
{
    double before = 0, wait = (double)o->initial_ns;

    for (unsigned i = 1; i < failures && wait < (double)o->ceiling_ns; i++) {
        double next = before + wait;

        before = wait;
        wait = next;
    }
    return wait;
}

static const struct {
    const char *name;
    backoff_curve_fn curve; /* NULL: decorrelated, which depends on the last wait instead */
} kinds[BACKOFF_KINDS] = {
    [BACKOFF_LINEAR] = {"linear", curve_linear},
    [BACKOFF_EXPONENTIAL] = {"exponential", curve_exponential},
    [BACKOFF_FIBONACCI] = {"fibonacci", curve_fibonacci},
    [BACKOFF_DECORRELATED] = {"decorrelated", NULL},
};

const char *backoff_kind_name(enum backoff_kind kind)
{
    return (unsigned)kind < BACKOFF_KINDS ? kinds[kind].name : "unknown";
}

bool backoff_kind_from_name(const char *name, enum backoff_kind *ret)
{
    for (unsigned i = 0; i < BACKOFF_KINDS; i++) {
        if (strcmp(name, kinds[i].name) == 0) {
            *ret = (enum backoff_kind)i;
            return true;
        }
    }
    return false;
}

void backoff_options_init(struct backoff_options *o)
{
    *o = (struct backoff_options){
        .kind = BACKOFF_EXPONENTIAL,
        .initial_ns = 500 * NS_PER_MS,
        .factor = 2.0,
        .ceiling_ns = 30 * NS_PER_S,
        .jitter = 0.5,
    };
}

enum weir_status backoff_options_check(const struct backoff_options *o, struct weir_error *err)
{
    if ((unsigned)o->kind >= BACKOFF_KINDS)
        return error_set(err, WEIR_E_INVALID,
                         "backoff is %d; it must be linear, exponential, fibonacci or decorrelated",
                         (int)o->kind);
    if (o->initial_ns <= 0)
        return error_set(err, WEIR_E_INVALID, "backoff_initial is %g s; it must be above 0",
                         duration_seconds(o->initial_ns));
    if (!isfinite(o->factor) || o->factor < 1)
        return error_set(err, WEIR_E_INVALID,
                         "backoff_factor is %g; it must be 1 or more, and finite", o->factor);
    if (o->ceiling_ns < o->initial_ns)
        return error_set(err, WEIR_E_INVALID,
                         "backoff_ceiling is %g s; it must not be below backoff_initial, which is "
                         "%g s",
                         duration_seconds(o->ceiling_ns), duration_seconds(o->initial_ns));
    if (!(o->jitter >= 0 && o->jitter <= 1))
        return error_set(err, WEIR_E_INVALID, "backoff_jitter is %g; it must be from 0 to 1",
                         o->jitter);
    return WEIR_OK;
}

static duration_ns decorrelated_wait(const struct backoff_options *o, duration_ns last_ns,
                                     struct rng *rng)
{
    duration_ns last = last_ns > o->initial_ns ? last_ns : o->initial_ns;
    duration_ns most = last < o->ceiling_ns / 3 ? 3 * last : o->ceiling_ns;

    return rng_range(rng, o->initial_ns, most);
}

duration_ns backoff_wait(const struct backoff_options *o, unsigned failures, duration_ns last_ns,
                         struct rng *rng)
{
    double curve;
    duration_ns wait;

    assert(failures >= 1);
    if (!kinds[o->kind].curve)
        return decorrelated_wait(o, last_ns, rng);
    curve = kinds[o->kind].curve(o, failures);
    wait = curve < (double)o->ceiling_ns ? (duration_ns)curve : o->ceiling_ns;
    return wait - (duration_ns)((double)wait * o->jitter * rng_unit(rng));
}
