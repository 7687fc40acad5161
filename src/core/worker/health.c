/* The health of a worker: one due time that stands for the next ping or for the answer to the last one. */
#include "core/worker/health.h"

#include "base/error.h"

#include <assert.h>

void health_options_init(struct health_options *o)
{
    *o = (struct health_options){
        .every_ns = 30 * NS_PER_S,
        .deadline_ns = 5 * NS_PER_S,
        .recheck_ns = 5 * NS_PER_S,
        .failures = 3,
    };
}

enum weir_status health_options_check(const struct health_options *o, struct weir_error *err)
{
    if (o->every_ns < 0)
        return error_set(err, WEIR_E_INVALID,
                         "health_every is %g s; it must be 0 (never by the clock) or more",
                         duration_seconds(o->every_ns));
    if (o->deadline_ns <= 0)
        return error_set(err, WEIR_E_INVALID, "health_deadline is %g s; it must be above 0",
                         duration_seconds(o->deadline_ns));
    if (o->recheck_ns <= 0)
        return error_set(err, WEIR_E_INVALID, "health_recheck is %g s; it must be above 0",
                         duration_seconds(o->recheck_ns));
    if (o->failures < 1)
        return error_set(err, WEIR_E_INVALID, "health_failures is 0; it must be 1 or more");
    return WEIR_OK;
}

static struct instant by_the_clock(const struct health *h, struct instant now)
{
    return h->options.every_ns > 0 ? instant_add(now, h->options.every_ns) : INSTANT_NEVER;
}

void health_init(struct health *h, const struct health_options *o, struct instant now)
{
    *h = (struct health){.options = *o, .health = HEALTH_UNKNOWN};
    h->due = by_the_clock(h, now);
}

struct instant health_when(const struct health *h)
{
    return h->due;
}

void health_asked(struct health *h, struct instant now)
{
    assert(!h->asking);
    h->asking = true;
    h->due = instant_add(now, h->options.deadline_ns);
    h->checks++;
}

void health_behind(struct health *h)
{
    assert(h->asking);
    h->due = INSTANT_NEVER;
}

void health_cleared(struct health *h, struct instant now)
{
    if (h->asking)
        h->due = instant_add(now, h->options.deadline_ns);
}

enum health_verdict health_passed(struct health *h, struct instant now)
{
    bool restored = h->health == HEALTH_UNHEALTHY;

    h->asking = false;
    h->health = HEALTH_HEALTHY;
    h->failures = 0;
    h->due = by_the_clock(h, now);
    return restored ? HEALTH_RESTORED : HEALTH_GOES_ON;
}

enum health_verdict health_failed(struct health *h, struct instant now)
{
    h->asking = false;
    h->health = HEALTH_UNHEALTHY;
    h->failures++;
    h->failed_checks++;
    h->due = instant_add(now, h->options.recheck_ns);
    return h->failures >= h->options.failures ? HEALTH_REPLACE : HEALTH_DEGRADE;
}

void health_seen(struct health *h, struct instant now)
{
    if (!h->asking && h->health != HEALTH_UNHEALTHY)
        h->due = by_the_clock(h, now);
}

const char *worker_health_name(enum worker_health health)
{
    static const char *const names[HEALTH_KINDS] = {
        [HEALTH_UNKNOWN] = "unknown",
        [HEALTH_HEALTHY] = "healthy",
        [HEALTH_UNHEALTHY] = "unhealthy",
    };

    return (unsigned)health < HEALTH_KINDS ? names[health] : "unknown";
}
