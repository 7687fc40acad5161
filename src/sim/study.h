/*
 * A study: one run of the real dispatcher, in virtual time, against one modelled service; and what
 * came of it.
 *
 *     struct sim_study_options o;
 *     sim_study_options_init(&o);
 *     sim_script_set(&o.script, "rate", "5..20", &err);          // the service
 *     sim_run_set(&o.run, "duration", "2400s", &err);            // the clients, and how long
 *     sim_study_options_check(&o, &err);
 *     sim_study_run(&o, &result, &err);                          // or sim_study_oracle(): nobody can do better
 *
 * Clients are pools of their own in one world, which do not know each other and share the service.
 * Each has a batch whose rows come as fast as they are taken. Memory is fixed: rows are used again,
 * percentiles come from histograms (histogram.h, at most 1 % off). The same options give the same
 * result, to the bit (I7). One thread; pure.
 */
#ifndef SIM_STUDY_H
#define SIM_STUDY_H

#include "core/pool.h"
#include "core/ports/observer.h"
#include "sim/script.h"
#include "sim/service.h"
#include "sim/world.h"
#include "weir/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_STUDY_CLIENTS_MAX     64
#define SIM_STUDY_DURATION_MAX_NS (INT64_C(3650) * 86400 * NS_PER_S)
/* Fairness is measured over spans of this length. */
#define SIM_STUDY_FAIR_NS (60 * NS_PER_S)
/* Refusals are counted for so long after a step down. */
#define SIM_STUDY_DOWN_NS (5 * NS_PER_S)
/* A step is a change by so much, up or down. */
#define SIM_STUDY_STEP 1.3

enum sim_row_cost_kind {
    SIM_ROW_COST_FIXED,     /* a; 0: rows have none */
    SIM_ROW_COST_UNIFORM,   /* between a and b */
    SIM_ROW_COST_LOGNORMAL, /* of median a; b is the sigma of its logarithm */
};

/* What a row costs in tokens. */
struct sim_row_cost {
    enum sim_row_cost_kind kind;
    double a, b;
    double most;  /* cut at this; 0: nowhere */
    double error; /* the estimate is the cost times a lognormal factor of median 1 and this sigma */
};

/* Who the clients are, and how long they work: the keys of a service file that are not the service's. */
struct sim_run {
    int64_t clients;         /* 1 .. SIM_STUDY_CLIENTS_MAX */
    int64_t jobs;            /* places of each client's pool */
    int64_t rows;            /* of each client; 0: without end */
    duration_ns duration_ns; /* 0: until all rows are through */
    int64_t window_rows;     /* of each client's batch */
    struct sim_row_cost cost;
};

/* A part of a run, for drawing: what happened since the last one. */
struct sim_study_sample {
    duration_ns at_ns;     /* its end, since the start */
    duration_ns length_ns; /* of it */
    /* sums over it */
    double capacity;    /* requests that the service would have taken; HUGE_VAL: no limit */
    double in_flight_s; /* attempts x s */
    uint64_t accepted;  /* requests, as they arrived */
    uint64_t refused;
    uint64_t delivered; /* rows */
    /* at its end, of all clients together */
    double capacity_rps; /* HUGE_VAL: no limit */
    double rate_rps;     /* of the throttles; HUGE_VAL: one of them sets none */
    double window;       /* attempts; HUGE_VAL: one of them sets none */
    size_t in_flight;
};

/* For tests, which look inside. Each may be NULL. */
struct sim_study_hooks {
    /* A client has its pool, and its batch is opened next. */
    void (*client)(void *ctx, struct sim_world *w, struct core_pool *pool);
    /* A row's result is given out. */
    void (*take)(void *ctx, const struct core_task *t, struct instant now);
    /* The run is over, and of this client: */
    void (*over)(void *ctx, struct sim_world *w, struct core_pool *pool, struct sim_batch *batch);
};

struct sim_study_options {
    struct sim_script script; /* its seed is not looked at */
    struct sim_run run;
    uint64_t seed;                 /* of everything */
    struct core_pool_options pool; /* of each client; name and size are not looked at */
    duration_ns deadline_ns;       /* of each client's batch, as core/batch.h has it; 0: none */
    const int *full_statuses; /* that mean "full" besides 429, 503 and 529; kept by the caller */
    size_t full_status_count;
    struct core_observer *observer; /* sees every event; pools are named "1", "2", ... NULL: none */
    duration_ns sample_ns;          /* 0: none */
    /* false: the run ends here. May be NULL. */
    bool (*sample)(void *ctx, const struct sim_study_sample *s);
    /* As a world's step hook: after each step; false: the run ends here. May be NULL. */
    bool (*step)(void *ctx, struct sim_world *w);
    /* The world is made, its pools and batches too, and nothing has happened yet. May be NULL. */
    void (*begun)(void *ctx, struct sim_world *w, struct core_pool *const *pools,
                  struct sim_batch *const *batches);
    struct sim_study_hooks hooks;
    void *ctx; /* of all of these */
};

/* Seconds. */
struct sim_spread {
    uint64_t count;
    double mean, p50, p90, p95, p99, max;
};

enum sim_study_end {
    SIM_STUDY_ROWS,   /* all rows are through */
    SIM_STUDY_TIME,   /* the duration is over */
    SIM_STUDY_HALTED, /* a hook said so */
    SIM_STUDY_STUCK, /* rows are left, and nothing is due, ever: attempts without an answer or a timeout */
};

struct sim_study_result {
    enum sim_study_end end;
    duration_ns duration_ns;
    uint64_t steps; /* of the world: what the run cost */

    uint64_t rows;     /* results that were given out, in order */
    uint64_t rows_ok;  /* of these */
    uint64_t failures; /* of these */
    uint64_t failures_by_reason[WEIR_REASON_COUNT];

    uint64_t attempts; /* dispatched */
    uint64_t sent;     /* that arrived: = accepted + refused */
    uint64_t accepted;
    uint64_t refused;
    uint64_t refused_by_status[SIM_STATUS_COUNT]; /* [status - SIM_STATUS_MIN] */
    uint64_t tokens;                              /* of accepted requests; 0: rows have none */
    double offered; /* requests that the capacity would have let pass while there was work */
    double goodput; /* accepted / offered; NAN: the service has no limit */
    double waste;   /* refused / sent; 0: nothing was sent */
    uint64_t in_flight_peak; /* of one client */

    struct sim_spread completion; /* of rows that are ok: first dispatch to result */
    struct sim_spread ordering;   /* of all rows: result to its turn */
    struct sim_spread latency;    /* of accepted attempts: dispatch to answer */

    struct sim_spread up; /* from a step up of the capacity until 90 % of it is taken */
    uint64_t downs;       /* steps down */
    double down_refused;  /* refusals in the 5 s after one, mean */

    /* Of several clients: (sum x)^2 / (n sum x^2) of what each got; 1 is fair, 1/n is not. 0: one client. */
    double jain;    /* of the whole run, by answers to requests that were accepted */
    double jain_60; /* mean over whole minutes, by requests accepted */

    uint64_t throttle_changes; /* of all clients */
    uint64_t throttle_by_reason[THROTTLE_REASONS];
    uint64_t pauses; /* of all clients: that the service asked for */
    duration_ns paused_ns;
};

/* One client, 8 jobs, no rows, no end, one adaptive pool, an unlimited service. */
void sim_study_options_init(struct sim_study_options *o);
/* Whether all of it goes together; with the script's and the pool's own checks. */
WEIR_MUST_CHECK enum weir_status sim_study_options_check(const struct sim_study_options *o,
                                                         struct weir_error *err);

/* WEIR_E_NOMEM, or WEIR_E_INVALID as sim_study_options_check() says it. */
WEIR_MUST_CHECK enum weir_status sim_study_run(const struct sim_study_options *o,
                                               struct sim_study_result *ret,
                                               struct weir_error *err);
/*
 * The same run by a client that knows the state of the service and stands beside it: it sends in
 * the moment in which a request will be accepted, and waits for a free server rather than in a
 * queue. All clients are one, which has the places and the rows of all. Of the pool's options only
 * timeout and max_attempts count. There are samples, without a rate and a window; no events and
 * other hooks.
 */
WEIR_MUST_CHECK enum weir_status sim_study_oracle(const struct sim_study_options *o,
                                                  struct sim_study_result *ret,
                                                  struct weir_error *err);

/* The options of struct sim_run by name, as sim/script.h has the service's: "clients", "jobs", "rows", "duration",
 * "window-rows", "row-tokens", "row-tokens-max", "row-tokens-error". */
struct sim_run_option {
    const char *name;
    const char *argument; /* never NULL */
    const char *help;
    enum weir_status (*set)(struct sim_run *r, const char *value, struct weir_error *err);
};

size_t sim_run_option_count(void);
const struct sim_run_option *sim_run_option_at(size_t i);
/* NULL: there is none of that name. */
const struct sim_run_option *sim_run_option_find(const char *name);
/* The error names the option. */
WEIR_MUST_CHECK enum weir_status sim_run_set(struct sim_run *r, const char *name, const char *value,
                                             struct weir_error *err);

/* On average, before it is cut. */
double sim_row_cost_mean(const struct sim_row_cost *c);
/* A whole number of tokens, and what the client believes that it is; 0 and 0: rows have no cost. */
int64_t sim_row_cost_draw(const struct sim_row_cost *c, struct rng *r, int64_t *ret_estimate);

/* Never NULL: "rows", "time", "halted", "stuck". */
const char *sim_study_end_name(enum sim_study_end e);

#endif
