/*
 * The health of a worker, apart from its state: when it is to be asked (a ping), and what follows
 * from its answers.
 *
 *     health_init(&h, &options, now);
 *     if (!instant_before(now, health_when(&h))) { health_asked(&h, now); ... send a ping ... }
 *     verdict = health_passed(&h, now);      // the ping was answered
 *     verdict = health_failed(&h, now);      // it was answered with an error, or not within `deadline_ns`
 *
 * The figures are design 5's: a ping every 30 s to a worker that is idle, 5 s for the answer; after
 * a failed one again after 5 s; three failures in a row end the worker; a success resets the count.
 * Pure, fixed size.
 */
#ifndef CORE_WORKER_HEALTH_H
#define CORE_WORKER_HEALTH_H

#include "base/time.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stdint.h>

enum worker_health { HEALTH_UNKNOWN, HEALTH_HEALTHY, HEALTH_UNHEALTHY, HEALTH_KINDS };

struct health_options {
    duration_ns every_ns;    /* >= 0, between checks of an idle worker; 0: never by itself. 30 s */
    duration_ns deadline_ns; /* > 0, for the answer; 5 s */
    duration_ns recheck_ns;  /* > 0, after a failed check; 5 s */
    uint32_t failures;       /* >= 1, in a row, that end the worker; 3 */
};

enum health_verdict {
    HEALTH_GOES_ON,  /* as it was */
    HEALTH_DEGRADE,  /* it gets no work until it passes a check */
    HEALTH_RESTORED, /* it was unhealthy, and is healthy again */
    HEALTH_REPLACE,  /* the limit is reached */
};

struct health {
    struct health_options options;
    enum worker_health health;
    bool asking;        /* a ping is out */
    struct instant due; /* of the next ping, or of the answer to the one that is out */
    uint32_t failures;  /* in a row */
    uint64_t checks, failed_checks;
};

void health_options_init(struct health_options *o);
WEIR_MUST_CHECK enum weir_status health_options_check(const struct health_options *o,
                                                      struct weir_error *err);
/* Health is unknown until the first check has passed; none is due by the clock before `every`. */
void health_init(struct health *h, const struct health_options *o, struct instant now);
/* When the next ping is due, or, while one is out, when its deadline passes. INSTANT_NEVER: neither. A worker that is
 * always busy is asked when it is idle again, by its owner's choice: see crew.h. */
struct instant health_when(const struct health *h);
void health_asked(struct health *h, struct instant now);
enum health_verdict health_passed(struct health *h, struct instant now);
enum health_verdict health_failed(struct health *h, struct instant now);
/*
 * The worker has requests in hand that it was sent before the ping that is out, and may answer them
 * first: the ping's deadline counts only from health_cleared(), when it has answered these. A hung
 * request has a limit of its own.
 */
void health_behind(struct health *h);
void health_cleared(struct health *h, struct instant now);
/* It has just answered a request: the next check by the clock is `every` from now. Nothing changes for a worker that is
 * unhealthy or is being asked. */
void health_seen(struct health *h, struct instant now);
const char *worker_health_name(enum worker_health health);

#endif
