/*
 * What a modelled service is like: its capacity over time, its limits, its latency, its faults.
 *
 *     struct sim_script script;
 *     sim_script_init(&script);
 *     sim_script_set(&script, "rate", "5..20", &err)     // as many as wanted, in any order
 *     sim_script_check(&script, &err)                    // do they go together?
 *
 * A plain struct and a table of options by name, so that a command line (`weir mock`) and a file of
 * scenarios say the same things with the same words. The struct owns nothing and may be copied.
 * Pure.
 */
#ifndef SIM_SCRIPT_H
#define SIM_SCRIPT_H

#include "base/time.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_OUTAGES_MAX  32 /* --outage given more often is refused */
#define SIM_REFUSALS_MAX 8  /* statuses in one --refuse-with */

/* lo == hi: it does not move. */
struct sim_range {
    double lo;
    double hi;
};

enum sim_levels {
    SIM_LEVELS_ENDS,    /* a phase is at lo or at hi, in turn */
    SIM_LEVELS_UNIFORM, /* a phase is anywhere between lo and hi */
    SIM_LEVELS_LOG_UNIFORM, /* the same, and its logarithm is: as often between 8 and 16 as between 16 and 32 */
};

enum sim_window_kind {
    SIM_WINDOW_SLIDING, /* so many in any 60 s */
    SIM_WINDOW_FIXED,   /* so many in each 60 s since the start */
    SIM_WINDOW_BUCKET,  /* refilled evenly, holds depth_ns' worth */
};

/* What answers tell about the limits; a set of bits. */
enum sim_headers {
    SIM_HEADERS_NONE = 0,
    SIM_HEADERS_RETRY_AFTER = 1, /* on refusals */
    SIM_HEADERS_RATELIMIT = 2,   /* on all answers */
    SIM_HEADERS_ALL = 3,
};

enum sim_latency_kind {
    SIM_LATENCY_FIXED,       /* a */
    SIM_LATENCY_UNIFORM,     /* between a and b */
    SIM_LATENCY_EXPONENTIAL, /* of mean a */
    SIM_LATENCY_LOGNORMAL,   /* of median a; sigma of its logarithm */
};

struct sim_latency {
    enum sim_latency_kind kind;
    duration_ns a_ns;
    duration_ns b_ns;
    double sigma;
};

struct sim_outage {
    duration_ns start_ns; /* since the service started */
    duration_ns length_ns;
};

struct sim_refusal {
    int status;
    double weight;
};

enum sim_fault {
    SIM_FAULT_NONE,
    SIM_FAULT_PERMANENT, /* 400 or 422 */
    SIM_FAULT_FAIL,      /* 500, 502 or 504 */
    SIM_FAULT_RESET,     /* TCP reset in place of an answer */
    SIM_FAULT_CLOSE,     /* end of the connection in place of an answer */
    SIM_FAULT_SLOW,      /* the body comes in small pieces over slow_ns */
    SIM_FAULT_BROKEN,    /* the body is cut short, wrongly framed, or no JSON */
    SIM_FAULT_HANG,      /* no answer, ever */
    SIM_FAULT_COUNT
};

struct sim_script {
    uint64_t seed;
    bool deterministic; /* latency and permanent failures follow from the request's identity */

    struct sim_range rate_rps;    /* hi == 0: no such limit */
    struct sim_range concurrency; /* hi == 0: no such limit */
    duration_ns phase_lo_ns;      /* how long a level lasts */
    duration_ns phase_hi_ns;
    enum sim_levels levels;
    double burst_requests; /* depth of the rate's bucket; at least 1 */
    duration_ns burst_ns;  /* the same as seconds' worth of the level; the larger one counts */

    int64_t requests_per_minute; /* 0: no such limit */
    int64_t tokens_per_minute;   /* 0: no such limit */
    enum sim_window_kind window;
    duration_ns window_depth_ns; /* SIM_WINDOW_BUCKET */

    int64_t servers;   /* work at the same time, the rest waits for one; 0: as many as wanted */
    int64_t queue_max; /* wait at most; -1: no limit */

    unsigned headers; /* enum sim_headers */
    struct sim_refusal refusals[SIM_REFUSALS_MAX];
    size_t refusal_count;
    bool slow_refusals; /* refusals take as long as answers, not refusal_latency */

    struct sim_latency latency;
    struct sim_latency refusal_latency;
    /* How long a request is on its way before it arrives: this, and an exponential share on top. Requests may
     * overtake each other. */
    duration_ns network_ns;
    duration_ns network_jitter_ns; /* mean */

    struct sim_outage outages[SIM_OUTAGES_MAX];
    size_t outage_count;
    duration_ns outage_interval_ns; /* mean time from one to the next random outage; 0: none */
    duration_ns outage_length_ns;

    /* Tokens of a request on average, for the capacity that tokens_per_minute comes to; 0: of those that came. No
     * option: whoever makes the requests knows. */
    double tokens_mean;

    double fault_rates[SIM_FAULT_COUNT]; /* probability of each, for a request that is accepted */
    duration_ns slow_ns;
};

/* A service without any limit, fault or latency. */
void sim_script_init(struct sim_script *s);

/* One option by its name (without dashes). value is NULL for a flag. The error names the option. */
WEIR_MUST_CHECK enum weir_status sim_script_set(struct sim_script *s, const char *name,
                                                const char *value, struct weir_error *err);
/* Whether the options go together. To be called once, after the last sim_script_set. */
WEIR_MUST_CHECK enum weir_status sim_script_check(const struct sim_script *s,
                                                  struct weir_error *err);

/* The options, for help texts and for whoever maps other names onto them. */
struct sim_option {
    const char *name;
    const char *argument; /* NULL: a flag */
    const char *group;
    const char *help;
    enum weir_status (*set)(struct sim_script *s, const char *value, struct weir_error *err);
};

size_t sim_option_count(void);
const struct sim_option *sim_option_at(size_t i);
/* NULL: there is none of that name. */
const struct sim_option *sim_option_find(const char *name);
/* Whether each further one adds to those before; of all others the last one holds. */
bool sim_option_repeats(const struct sim_option *o);

/* Never NULL: "none", "permanent", "fail", "reset", "close", "slow", "broken", "hang". */
const char *sim_fault_name(enum sim_fault f);
double sim_latency_mean_s(const struct sim_latency *l);

#endif
