/*
 * A modelled service: what it would do with a request that arrives now.
 *
 *     sim_service_new(&script, start, &service, &err)
 *     sim_service_arrive(service, now, &request, &answer)    // refused, accepted, or at fault; when
 *     ... answer.latency_ns later, or when the client went away ...
 *     sim_service_leave(service, now, &answer, true)
 *
 * The model behind `weir mock` and behind the simulator. It decides at once, by time and seeded
 * chance only, so that the same script, seed and requests give the same answers (I7), in virtual
 * time as on a socket. Draws for phases, outages, refusals, latency and faults come from generators
 * of their own: what clients do changes nothing about how the capacity moves.
 *
 * Checked in this order: outage, queue, concurrency, rate, requests and tokens per minute. A
 * request that is refused uses up nothing. `now` never goes backwards (an earlier one is taken for
 * the last). One thread at a time. Pure: no I/O, no clock.
 */
#ifndef SIM_SERVICE_H
#define SIM_SERVICE_H

#include "base/time.h"
#include "flow/advice.h"
#include "sim/script.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stdint.h>

struct sim_request {
    int64_t tokens;    /* what it costs of tokens per minute; less than 1 counts as 1 */
    uint64_t identity; /* of its content: a hash; what --deterministic goes by */
};

/* Why a request was refused. */
enum sim_limit {
    SIM_LIMIT_NONE,
    SIM_LIMIT_OUTAGE,
    SIM_LIMIT_QUEUE,
    SIM_LIMIT_CONCURRENCY,
    SIM_LIMIT_RATE,
    SIM_LIMIT_REQUESTS,
    SIM_LIMIT_TOKENS,
    SIM_LIMIT_COUNT
};

/* How a body is broken. */
enum sim_break {
    SIM_BREAK_CUT,   /* ends before the length that was announced */
    SIM_BREAK_CHUNK, /* the framing is not valid */
    SIM_BREAK_JSON,  /* arrives whole, and is no JSON */
    SIM_BREAK_COUNT
};

struct sim_answer {
    enum sim_limit limit;   /* not NONE: refused */
    enum sim_fault fault;   /* of an accepted one */
    enum sim_break how;     /* SIM_FAULT_BROKEN */
    int status;             /* HTTP; 0: none is sent (reset, close, hang) */
    duration_ns latency_ns; /* until the answer, or what takes its place; INT64_MAX: never */
    duration_ns body_ns;    /* what the body takes after that (SIM_FAULT_SLOW) */
    struct flow_advice told;
    bool in_service; /* counts against the concurrency until sim_service_leave() */
};

#define SIM_STATUS_MIN   400
#define SIM_STATUS_COUNT 200

struct sim_stats {
    duration_ns elapsed_ns;
    bool unlimited;           /* no limit bounds the rate: the next two say nothing */
    double offered;           /* requests: the integral of the capacity since the start */
    double offered_at_latest; /* the same, until the latest arrival */
    double offered_in_use;    /* the same, from the first to the latest arrival */
    uint64_t seen;            /* = accepted + refused */
    uint64_t accepted;        /* faults among them */
    uint64_t refused;
    uint64_t refused_by_status[SIM_STATUS_COUNT]; /* [status - SIM_STATUS_MIN] */
    uint64_t refused_by_limit[SIM_LIMIT_COUNT];
    uint64_t faults[SIM_FAULT_COUNT]; /* [NONE]: accepted without a fault */
    uint64_t abandoned;               /* left before their answer was due or done */
    uint64_t tokens;                  /* of accepted requests */
    int64_t in_service;
    int64_t in_service_peak;
    double rate_rps;     /* the level now; 0: no such limit */
    int64_t concurrency; /* the level now; 0: no such limit */
    uint64_t phase;      /* how often the level has changed */
    bool outage;
};

/* The capacity changes: another level, or the beginning or the end of an outage. */
struct sim_step {
    struct instant at;
    double before_rps; /* HUGE_VAL: no limit */
    double after_rps;
    bool outage; /* it is over, or has begun */
};

struct sim_service;

/* The script is copied. WEIR_E_NOMEM is the only error. */
WEIR_MUST_CHECK enum weir_status sim_service_new(const struct sim_script *script,
                                                 struct instant start, struct sim_service **ret,
                                                 struct weir_error *err);
/* Tells each change from now on, before whatever arrives after it. */
void sim_service_watch(struct sim_service *s,
                       void (*changed)(void *ctx, const struct sim_step *step), void *ctx);
/* How long a request that is sent now is on its way. A draw. */
duration_ns sim_service_travel(struct sim_service *s);
/* For whoever knows the service's state: `now`: such a request would be accepted, and begun on, at once; later: ask
 * again then, or when one of those in service has left; INSTANT_NEVER: only then. */
struct instant sim_service_when(struct sim_service *s, struct instant now,
                                const struct sim_request *request);
void sim_service_arrive(struct sim_service *s, struct instant now,
                        const struct sim_request *request, struct sim_answer *ret);
/* The answer was given (or would have been: the simulator may say so), or the client went away
 * before (answered false). Harmless when it has left, or was refused. What waits for a server keeps
 * its place in the plan: a service does not see at once that nobody listens any more. */
void sim_service_leave(struct sim_service *s, struct instant now, struct sim_answer *answer,
                       bool answered);
/* Requests a second that it would bear at this level; HUGE_VAL: no limit. 0 in an outage. */
double sim_service_capacity_rps(const struct sim_service *s);
void sim_service_stats(struct sim_service *s, struct instant now, struct sim_stats *ret);
/* Returns NULL; NULL-safe. */
struct sim_service *sim_service_free(struct sim_service *s);

/* Never NULL: "none", "outage", "queue", "concurrency", "rate", "requests", "tokens". */
const char *sim_limit_name(enum sim_limit l);

#endif
