/*
 * What the API stands on, as a table of functions: the engine with its tasks, or a stand-in of a
 * test.
 *
 * All functions may be called on any of the server's threads, several at once. What send() does is
 * told later, by op->done() on the clerk's thread; the others return when they are done. They ask
 * the engine's thread where they have to, which takes a turn of its loop, so they may wait for some
 * milliseconds and no longer.
 *
 * Views are plain copies; what they point to is good until the callback returns. Callbacks are made
 * on the caller's thread.
 */
#ifndef SERVE_API_BACKEND_H
#define SERVE_API_BACKEND_H

#include "base/buf.h"
#include "core/ports/registry.h"

#define API_OUTCOMES 6 /* of enum weir_outcome */

struct api_pool {
    const char *name, *kind;
    bool enabled, draining;
    bool is_default;        /* tasks that name neither pool nor skill go there */
    size_t max_concurrency; /* as it is set */
    bool limit_by_hand;     /* that is not what the configuration says */
    size_t limit;           /* in force */
    size_t running;
    double utilisation; /* 0 to 1 */
    const char *const *skills;
    size_t skill_count;
    uint64_t cpu_milli, cpu_milli_limit; /* in use; limits: 0: none */
    uint64_t memory_mib, memory_mib_limit;
    int32_t reserve_min_priority;
    double reserve_share; /* 0: none */
    size_t burst_places;  /* 0: none */
    double burst_seconds;
    const char *throttle_kind;  /* NULL: none; and so on */
    double throttle_rate_per_s; /* negative: not limited so; and so on */
    double throttle_delay_s;
    double throttle_limit; /* in flight */
    const char *throttle_reason;
    const char *breaker_state; /* "closed", ...; NULL: it has none */
    double held_s;             /* a pause that the service asked for; 0: none */
    bool has_workers;
    size_t workers_total, workers_idle, workers_busy, workers_starting, workers_unhealthy;
    size_t sessions_bound;
    uint64_t session_hits, session_misses, session_rebinds, session_expiries; /* since the start */
    uint64_t attempts[API_OUTCOMES];                                          /* since the start */
};

struct api_worker {
    uint64_t id;
    size_t place;
    bool extra;
    const char *state, *health;
    int64_t pid; /* 0: none */
    int64_t started_ns;
    uint32_t in_flight;
    uint64_t requests, failed;
    uint64_t memory_bytes; /* 0: not known */
    size_t sessions;
    const char *why; /* it retires; NULL: it does not */
};

struct api_runner {
    uint64_t token, task;
    const char *key;
    uint32_t attempt;
    const char *pool;
    uint64_t worker;                    /* 0: none */
    int64_t pid;                        /* 0: none of its own */
    struct slice slot_names;            /* with commas between */
    uint32_t slots[REGISTRY_SLOTS_MAX]; /* in their order; 0: none */
    int64_t started_ns;
    double run_s;
    int64_t heartbeat_ns; /* 0: it has sent none */
    double progress;      /* negative: not told */
    const char *text;     /* NULL: not told */
    bool cancelling;      /* its task was cancelled: it is being ended */
};

struct api_tenant {
    struct slice name;
    double weight, had; /* had: seconds of work over its weight */
    size_t ready, running;
};

struct api_slots {
    const char *name;
    uint32_t count, taken;
};

struct api_dispatcher {
    const char *policy;
    double ageing;
    size_t max_global_concurrency; /* 0: none */
};

struct api_status {
    bool stopping;
    int64_t started_ns; /* wall clock */
    double uptime_s;
    struct api_dispatcher dispatcher;
    size_t running;
    double utilisation;
    bool store_failing;
    char store_message[WEIR_ERROR_MESSAGE_BYTES];
    uint64_t store_waiting; /* ops that are not durable yet */
    double commit_ms;       /* mean */
};

/* NULL: as it is. */
struct api_pool_change {
    const size_t *max_concurrency;          /* 0: what the configuration says, or what it follows */
    const uint64_t *cpu_milli, *memory_mib; /* quotas; 0: none */
    const int32_t *reserve_min_priority;    /* both or none */
    const double *reserve_share;
    const size_t *burst_places; /* both or none */
    const double *burst_seconds;
};

enum api_pool_act { API_POOL_ENABLE, API_POOL_DISABLE, API_POOL_DRAIN, API_POOL_RESET_BREAKER };

struct api_dispatcher_change {
    const char *policy; /* one of schedule_policy_name() */
    const double *ageing;
    const size_t *max_global_concurrency; /* 0: none */
};

/* Why a ready task does not run. */
struct api_why {
    const char *why; /* a word with underscores; NULL: not known */
    char detail[256];
};

typedef void (*api_pool_fn)(void *ctx, const struct api_pool *p);
typedef void (*api_worker_fn)(void *ctx, const struct api_worker *w);
typedef void (*api_runner_fn)(void *ctx, const struct api_runner *r);
typedef void (*api_tenant_fn)(void *ctx, const struct api_tenant *t);
typedef void (*api_slots_fn)(void *ctx, const struct api_slots *s);

struct api_backend;

struct api_backend_ops {
    /* As engine_tasks_send(): the op stays the caller's and lives until done(), which is never called from within. Never
     * blocks, and keeps the order. The clerk's thread may send too. What has become ready (op->ret_ready, ret_lines) has
     * been taken away before done(). */
    void (*send)(struct api_backend *b, struct registry_op *op);
    /* A reader for a while, of a pool of them: it is the caller's until it gives it back. */
    enum weir_status (*take_reader)(struct api_backend *b, struct registry_reader **ret,
                                    struct weir_error *err);
    void (*give_reader)(struct api_backend *b, struct registry_reader *r);
    uint64_t (*last_event)(struct api_backend *b);
    int64_t (*now_ns)(struct api_backend *b); /* wall clock */

    void (*status)(struct api_backend *b, struct api_status *ret);
    /* E_INVALID, E_NOMEM. */
    enum weir_status (*change_dispatcher)(struct api_backend *b,
                                          const struct api_dispatcher_change *c,
                                          struct weir_error *err);
    /* name NULL: all. ret_status: of the same moment; or NULL. E_NOMEM; a name that is not there is E_END. */
    enum weir_status (*pools)(struct api_backend *b, const char *name, api_pool_fn fn, void *ctx,
                              struct api_status *ret_status, struct weir_error *err);
    enum weir_status (*change_pool)(struct api_backend *b, const char *name,
                                    const struct api_pool_change *c, struct weir_error *err);
    enum weir_status (*act_on_pool)(struct api_backend *b, const char *name, enum api_pool_act act,
                                    struct weir_error *err);
    enum weir_status (*workers)(struct api_backend *b, const char *pool, api_worker_fn fn,
                                void *ctx, struct weir_error *err);
    enum weir_status (*runners)(struct api_backend *b, api_runner_fn fn, void *ctx,
                                struct weir_error *err);
    /* E_END: no such attempt runs. */
    enum weir_status (*kill)(struct api_backend *b, uint64_t token, struct weir_error *err);
    /* E_END; E_CONFLICT: that is not its secret. progress negative: not told. */
    enum weir_status (*beat)(struct api_backend *b, uint64_t token, const char *secret,
                             double progress, struct slice text, struct weir_error *err);
    /* In the order of their names, at most max (>= 1) behind `after`; NULL: from the first. E_NOMEM. */
    enum weir_status (*tenants)(struct api_backend *b, const char *after, size_t max,
                                api_tenant_fn fn, void *ctx, struct weir_error *err);
    enum weir_status (*slots)(struct api_backend *b, api_slots_fn fn, void *ctx,
                              struct weir_error *err);
    /* Of a task that is ready. */
    void (*why)(struct api_backend *b, uint64_t task, struct api_why *ret);
    /* Begins to stop, and returns at once. */
    void (*shut_down)(struct api_backend *b, duration_ns grace_ns);
};

/* First member of every backend. */
struct api_backend {
    const struct api_backend_ops *ops;
};

#endif
