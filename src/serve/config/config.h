/*
 * The daemon's configuration: a YAML file, read as a whole or refused as a whole.
 *
 *     struct config_faults faults = {0};
 *
 *     status = config_load("weir.yml", &config, &faults, &err);
 *     if (status != WEIR_OK)
 *         config_faults_put(&faults, &text);     // "weir.yml:12: pools[1].max_concurency: there is no such field; ..."
 *     config_show(config, &text);                // YAML of all that is in force; can be loaded again
 *     config_diff(old, config, &changes, &err);  // what a reload would do
 *     config_free(config);
 *
 * What may stand in the file is said once, in the tables of schema.c: names, types, ranges,
 * defaults. The file goes through three hands. reader.c walks over libyaml's tree of it, says all
 * that is wrong with where it stands, and writes the same document in plain words: durations in
 * nanoseconds, sizes in bytes, defaults filled in. libcyaml makes the structs below of that, and
 * frees them. rules.c looks at what must hold between fields, and fills in what one takes from
 * another.
 *
 * Everything here is settled: a pool says how often it tries, whether the file says it there or in
 * `defaults`. Texts that are not given are NULL, lists empty. Secrets are wiped by config_free().
 * Any thread; no state.
 */
#ifndef SERVE_CONFIG_CONFIG_H
#define SERVE_CONFIG_CONFIG_H

#include "base/buf.h"
#include "base/time.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_FILE_BYTES_MAX ((size_t)1 << 20)
/* Values in one file, those of anchors as often as they are used. */
#define CONFIG_VALUES_MAX 100000
/* Of one file that are told. */
#define CONFIG_FAULTS_MAX 100

struct config_words {
    char **items;
    size_t count;
};

struct config_pair {
    char *name, *value;
};

struct config_pairs {
    struct config_pair *items;
    size_t count;
};

struct config_numbers {
    int64_t *items;
    size_t count;
};

enum config_role { CONFIG_READ, CONFIG_SUBMIT, CONFIG_OPERATE };

/* One of three says the secret: its SHA-256 in hex, a file that holds it, a variable of the environment. */
struct config_token {
    char *name;
    int role; /* enum config_role */
    char *sha256, *file, *env;
    char *secret; /* read from file or env; NULL with sha256 */
};

struct config_tenant {
    char *name;
    double weight;
};

struct config_slot {
    char *name;
    int64_t count; /* that of the paths, where there are some */
    struct config_words paths;
};

struct config_backoff {
    duration_ns initial_ns, ceiling_ns;
    double factor, jitter;
};

/*
 * What neither a pool nor the defaults say of trying again, but for workers: what failed decides
 * there (core/worker/recovery.h), and a pool's max_attempts and backoff stay -1. The backoff is
 * 10 s, doubled each time, up to 300 s, with a jitter of 0.5.
 */
#define CONFIG_MAX_ATTEMPTS 3
extern const struct config_backoff config_backoff_otherwise;

struct config_reserve {
    int64_t min_priority;
    double share; /* 0: none */
};

struct config_burst {
    int64_t places; /* 0: none */
    duration_ns time_ns;
};

struct config_follow {
    int what; /* enum follow_what */
    double target;
    int64_t min, max;
};

enum config_breaker_mode { CONFIG_BREAKER_OFF, CONFIG_BREAKER_ON, CONFIG_BREAKER_FAIL };

struct config_breaker {
    int mode; /* enum config_breaker_mode */
    int64_t failures, trials, successes;
    duration_ns open_ns;
};

enum config_kind { CONFIG_COMMAND, CONFIG_PROCESS, CONFIG_HTTP };

struct config_pool {
    char *name;
    int kind;                /* enum config_kind */
    int64_t max_concurrency; /* of a process pool: its workers */
    bool enabled;
    struct config_words skills;
    double cpu;           /* cores; 0: no quota */
    int64_t memory_bytes; /* 0: no quota */
    struct config_reserve reserve;
    struct config_burst burst;
    struct config_follow follow;
    int64_t max_attempts;                         /* -1, of workers: nobody has said it */
    struct config_backoff backoff;                /* the same, all of it */
    duration_ns timeout_ns, heartbeat_timeout_ns; /* 0: none */
    duration_ns max_capacity_retry_ns;
    int throttle; /* enum throttle_kind, as choices has it: 0 none, 1 aimd, 2 adaptive */
    double waste; /* adaptive */
    duration_ns min_dispatch_delay_ns, max_dispatch_delay_ns,
        recovery_step_ns;                           /* aimd, but for min */
    double backoff_multiplier;                      /* aimd */
    double rate;                                    /* per second; 0: no limit */
    int64_t requests_per_minute, tokens_per_minute; /* 0: no limit */
    duration_ns retry_after_max_ns;
    struct config_breaker breaker;
    char *fallback; /* a pool's name */

    /* command and process */
    char *cwd;
    struct config_words wrapper;
    struct config_pairs env; /* a value "env:NAME" is that variable's; see config_secret() */
    bool clear_env;
    bool wrapper_shell; /* the wrapper hands its words to a shell, as ssh does */

    struct config_words command; /* a template; empty: each task says its own */
    bool shell;
    duration_ns kill_after_ns;
    int64_t output_max_bytes;
    struct config_numbers capacity_exits;
    bool retry_exits;

    struct config_words process;
    char *request; /* `command` of each request */
    int64_t max_in_flight, overflow;
    bool lazy;
    int order; /* enum crew_order: 0 lifo, 1 fifo */
    int64_t frame_max_bytes;
    duration_ns init_timeout_ns, ping_every_ns, ping_deadline_ns, ping_recheck_ns;
    int64_t ping_failures;
    duration_ns overflow_idle_ns, recycle_age_ns;
    int64_t recycle_after, recycle_memory_bytes;
    duration_ns shutdown_grace_ns, term_grace_ns, session_idle_ns, checkout_timeout_ns;
    struct config_backoff restart;

    char *url, *method; /* url NULL: each task says its own */
    bool allow_any_url;
    struct config_pairs headers; /* as env */
    duration_ns connect_timeout_ns;
    int64_t response_max_bytes;
    int http_version; /* enum http_version */
    char *proxy, *no_proxy, *cacert, *cert, *key_file, *unix_socket;
    bool insecure;
    struct config_numbers capacity_statuses;
};

struct config_defaults {
    int64_t max_attempts; /* -1: as the kind of the pool has it; so has what else is -1 */
    struct config_backoff backoff;
    duration_ns timeout_ns;
    duration_ns heartbeat_timeout_ns;
};

struct config_retention {
    duration_ns done_ns, failed_ns, events_ns; /* 0: for ever */
    int64_t events_max;                        /* 0: no limit */
};

enum config_submits { CONFIG_SUBMITS_ACCEPT, CONFIG_SUBMITS_REFUSE };

struct config_shutdown {
    duration_ns grace_ns, kill_ns;
    int submits; /* enum config_submits */
};

struct config_limits {
    int64_t request_bytes, connections;
    double requests_per_second; /* 0: no limit */
};

enum config_level { CONFIG_ERROR, CONFIG_WARNING, CONFIG_INFO, CONFIG_DEBUG };

struct config_log {
    int level;  /* enum config_level */
    char *file; /* NULL: standard error */
};

struct config {
    char *store, *spill;
    struct config_words listen; /* "unix:PATH", "HOST:PORT" */
    int unix_mode;
    struct {
        struct config_token *items;
        size_t count;
    } tokens;
    int policy;    /* enum schedule_policy */
    double ageing; /* priority per minute */
    int64_t max_global_concurrency;
    char *default_pool; /* NULL: what names no pool waits */
    struct {
        struct config_tenant *items;
        size_t count;
    } tenants;
    struct {
        struct config_slot *items;
        size_t count;
    } slots;
    struct config_defaults defaults;
    struct {
        struct config_pool *items;
        size_t count;
    } pools;
    int64_t deaths_max; /* quarantine.deaths; 0: never */
    struct config_retention retention;
    bool history;
    struct config_shutdown shutdown;
    duration_ns check_interval_ns;
    struct config_limits limits;
    struct config_log log;
};

/* ---- what is wrong with a file ---- */

struct config_fault {
    size_t line; /* from 1; 0: of the whole file */
    char *where; /* "pools[1].max_concurency"; "" for the whole file */
    char *what;
};

/* Zeroed: none. */
struct config_faults {
    char *file;
    struct config_fault *items; /* by line */
    size_t count;
    bool more; /* there are others: no memory, or CONFIG_FAULTS_MAX */
};

/* One line for each: "FILE:LINE: WHERE: WHAT". */
void config_faults_put(const struct config_faults *f, struct buf *out);
void config_faults_free(struct config_faults *f);

/* ---- reading and showing ---- */

/*
 * WEIR_E_INVALID: the file is wrong; faults (may be NULL) have all of it, err the first. WEIR_E_IO:
 * it cannot be read. WEIR_E_LIMIT, WEIR_E_NOMEM. *faults must be zeroed, and freed in any case.
 */
WEIR_MUST_CHECK enum weir_status config_load(const char *path, struct config **ret,
                                             struct config_faults *faults, struct weir_error *err);
/* The same of bytes; name is what faults call the file. */
WEIR_MUST_CHECK enum weir_status config_parse(const char *name, const char *bytes, size_t len,
                                              struct config **ret, struct config_faults *faults,
                                              struct weir_error *err);
/* NULL-safe. */
void config_free(struct config *c);

/*
 * Appends what is in force as YAML, defaults included. A secret that stands in the file itself (a
 * token's digest, the value of a header or variable whose name says that it is one) is "(hidden)";
 * the name of its file or variable is not.
 */
void config_show(const struct config *c, struct buf *out);

/*
 * What a value of env or headers stands for: "env:NAME", or "Bearer env:NAME", is that variable's
 * value in its place; everything else stands for itself. Appends to out. WEIR_E_INVALID: there is
 * no such variable.
 */
WEIR_MUST_CHECK enum weir_status config_secret(const char *value, struct buf *out,
                                               struct weir_error *err);
/* Whether a header or variable of that name is taken for a secret. */
bool config_names_secret(const char *name);

/* Where the daemon listens when its file does not say: what its clients try, too. */
enum weir_status config_default_listen(struct buf *out);

/* ---- changes ---- */

enum config_how {
    CONFIG_APPLY,      /* a reload does it */
    CONFIG_RESTART,    /* only a restart does */
    CONFIG_POOL_ADDED, /* a reload, for pools */
    CONFIG_POOL_REMOVED,
    CONFIG_POOL_CHANGED,  /* while it runs: limits, quotas, skills, retries */
    CONFIG_POOL_REPLACED, /* what runs ends with the old one, the next starts in a new one */
};

struct config_change {
    enum config_how how;
    char *what;   /* a field: "policy", "log.file"; or a pool's name */
    char *fields; /* of a pool: "max_concurrency, cpu"; else NULL */
    bool failed;  /* the caller's to set: it could not be made */
    bool undoes;  /* the same: what was changed by hand of it holds no longer */
};

struct config_changes {
    struct config_change *items;
    size_t count;
};

/* *ret must be zeroed, and freed in any case. WEIR_E_NOMEM. */
WEIR_MUST_CHECK enum weir_status config_diff(const struct config *old, const struct config *now,
                                             struct config_changes *ret, struct weir_error *err);
/* Whether there is one of that field, or of any pool (how CONFIG_POOL_...). */
bool config_changes_has(const struct config_changes *c, enum config_how how, const char *what);
/* For a person: "pool render: max_concurrency: changed while it runs". */
void config_change_put(const struct config_change *c, struct buf *out);
/* One line for each that has not failed. */
void config_changes_put(const struct config_changes *c, struct buf *out);
void config_changes_free(struct config_changes *c);

/*
 * So that `now` is what is in force, where not all of it could be: it takes what it must keep from
 * `old`, which gets what stood there. Both are whole afterwards, and freed as ever.
 */
/* All that needs a restart. */
void config_keep_restarts(struct config *now, struct config *old);
/* One field of the whole, by its key. */
void config_keep_field(struct config *now, struct config *old, const char *key);
/* Room for config_keep_pool(). WEIR_E_NOMEM. */
WEIR_MUST_CHECK enum weir_status config_keep_room(struct config *old, struct config *now,
                                                  struct weir_error *err);
/* A pool that could not be changed; or not be added: then it is in `now` no more; or not be removed: then it is again. */
void config_keep_pool(struct config *now, struct config *old, const char *name);

#endif
