/*
 * The tables of schema.h. Each line is one field; what it does is told in examples/weir.yml.
 */
#include "serve/config/schema.h"

#include "base/error.h"
#include "core/follow.h"
#include "core/permits.h"
#include "core/pool.h"
#include "core/ports/registry.h"
#include "core/schedule/schedule.h"
#include "core/worker/crew.h"

#include "exec/command/command.h"
#include "exec/http/http.h"
#include "exec/process/process.h"
#include "flow/adaptive.h"
#include "flow/budget.h"
#include "serve/config/config.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#define YEAR_S         (366 * 86400.0)
#define TINY_S         1e-9
#define MOST           1e15                  /* counts of no particular limit */
#define SIZE_MAX_BYTES 4611686018427387904.0 /* 2^62 */
#define WORD_BYTES_MAX 65536.0

#define COMMAND (1U << CONFIG_COMMAND)
#define PROCESS (1U << CONFIG_PROCESS)
#define HTTP    (1U << CONFIG_HTTP)

/* Where the field lies; does not compile when it is of another type than the table says. */
#define AT(s, f, t)                                                                                \
    (offsetof(struct s, f) +                                                                       \
     0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((struct s *)0)->f), t) ? 1 : -1]))

#define TEXT(s, f)     .type = CONFIG_TEXT, .max = WORD_BYTES_MAX, .offset = AT(s, f, char *)
#define FLAG(s, f)     .type = CONFIG_FLAG, .offset = AT(s, f, bool)
#define COUNT(s, f)    .type = CONFIG_COUNT, .offset = AT(s, f, int64_t)
#define NUMBER(s, f)   .type = CONFIG_NUMBER, .offset = AT(s, f, double)
#define SHARE(s, f)    .type = CONFIG_SHARE, .offset = AT(s, f, double)
#define DURATION(s, f) .type = CONFIG_DURATION, .max = YEAR_S, .offset = AT(s, f, duration_ns)
#define SIZE(s, f)     .type = CONFIG_SIZE, .offset = AT(s, f, int64_t)
#define MODE(s, f)     .type = CONFIG_MODE, .offset = AT(s, f, int)
#define CHOICE(s, f)   .type = CONFIG_CHOICE, .offset = AT(s, f, int)
#define WORDS(s, f)                                                                                \
    .type = CONFIG_WORDS, .max = WORD_BYTES_MAX, .offset = AT(s, f, struct config_words)
#define LINE(s, f)                                                                                 \
    .type = CONFIG_LINE, .max = WORD_BYTES_MAX, .offset = AT(s, f, struct config_words)
#define NUMBERS(s, f) .type = CONFIG_NUMBERS, .offset = AT(s, f, struct config_numbers)
#define PAIRS(s, f)                                                                                \
    .type = CONFIG_PAIRS, .max = WORD_BYTES_MAX, .offset = AT(s, f, struct config_pairs)
#define GROUP(s, f, g)  .type = CONFIG_GROUP, .group = &(g), .offset = offsetof(struct s, f)
#define GROUPS(s, f, g) .type = CONFIG_GROUPS, .group = &(g), .offset = offsetof(struct s, f)

#define GROUP_OF(table, s, ...)                                                                    \
    {                                                                                              \
        .fields = (table), .count = sizeof(table) / sizeof *(table), .size = sizeof(struct s),     \
        __VA_ARGS__                                                                                \
    }

/* ---- texts ---- */

static enum weir_status check_name(const char *text, struct weir_error *err)
{
    size_t len = strlen(text);

    if (len < 1 || len > REGISTRY_NAME_BYTES_MAX)
        return error_set(err, WEIR_E_INVALID, "a name has 1 to %d bytes", REGISTRY_NAME_BYTES_MAX);
    for (const char *c = text; *c; c++) {
        if ((unsigned char)*c <= 0x20 || *c == 0x7f || *c == ',' || *c == '/')
            return error_set(err, WEIR_E_INVALID,
                             "\"%.60s\" holds a space, comma, slash or control character, which no "
                             "name may",
                             text);
    }
    return WEIR_OK;
}

/* Part of a variable's name: WEIR_SLOT_NAME. */
static enum weir_status check_slot_name(const char *text, struct weir_error *err)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.";
    enum weir_status status = check_name(text, err);

    if (status == WEIR_OK && strspn(text, allowed) != strlen(text))
        return error_set(err, WEIR_E_INVALID,
                         "\"%.60s\": the name of slots is of letters, digits and _ - .", text);
    /* WEIR_SLOT_PATH and WEIR_SLOT_PATH_NAME are of the paths. */
    if (status == WEIR_OK && strncasecmp(text, "path", 4) == 0 && strchr("_-.", text[4]))
        return error_set(err, WEIR_E_INVALID,
                         "\"%.60s\": as a variable it would be one of a path; take another name",
                         text);
    return status;
}

static enum weir_status check_given(const char *text, struct weir_error *err)
{
    return *text ? WEIR_OK : error_set(err, WEIR_E_INVALID, "is empty");
}

static enum weir_status check_digest(const char *text, struct weir_error *err)
{
    if (strlen(text) == 64 && strspn(text, "0123456789abcdefABCDEF") == 64)
        return WEIR_OK;
    /* What stands there may be the secret itself. */
    return error_set(err, WEIR_E_INVALID,
                     "must be 64 hexadecimal digits: printf %%s \"$TOKEN\" | sha256sum");
}

/* ---- the tables ---- */

static const struct config_field token_fields[] = {
    {"name", TEXT(config_token, name), .required = true, .check = check_name},
    {"role", CHOICE(config_token, role), .required = true, .choices = "read|submit|operate"},
    {"sha256", TEXT(config_token, sha256), .secret = true, .check = check_digest},
    {"file", TEXT(config_token, file), .check = check_given},
    {"env", TEXT(config_token, env), .check = check_given},
};

static const struct config_field tenant_fields[] = {
    {"name", TEXT(config_tenant, name), .required = true, .check = check_name},
    {"weight", NUMBER(config_tenant, weight), .otherwise = "1", .min = SCHEDULE_WEIGHT_MIN,
     .max = SCHEDULE_WEIGHT_MAX},
};

static const struct config_field slot_fields[] = {
    {"name", TEXT(config_slot, name), .required = true, .check = check_slot_name},
    {"count", COUNT(config_slot, count), .min = 1, .max = 1000000},
    {"paths", WORDS(config_slot, paths), .check = check_given},
};

static const struct config_field backoff_fields[] = {
    {"initial", DURATION(config_backoff, initial_ns), .min = 0.001},
    {"factor", NUMBER(config_backoff, factor), .min = 1, .max = 1e6},
    {"ceiling", DURATION(config_backoff, ceiling_ns), .min = 0.001},
    {"jitter", SHARE(config_backoff, jitter), .min = 0, .max = 1},
};

static const struct config_field restart_fields[] = {
    {"initial", DURATION(config_backoff, initial_ns), .otherwise = "1s", .min = 0.001},
    {"factor", NUMBER(config_backoff, factor), .otherwise = "2", .min = 1, .max = 1e6},
    {"ceiling", DURATION(config_backoff, ceiling_ns), .otherwise = "30s", .min = 0.001},
    {"jitter", SHARE(config_backoff, jitter), .otherwise = "0", .min = 0, .max = 1},
};

static const struct config_field reserve_fields[] = {
    {"min_priority", COUNT(config_reserve, min_priority), .required = true, .otherwise = "0",
     .min = REGISTRY_PRIORITY_MIN, .max = REGISTRY_PRIORITY_MAX},
    {"share", SHARE(config_reserve, share), .required = true, .otherwise = "0", .min = 0, .max = 1},
};

static const struct config_field burst_fields[] = {
    {"places", COUNT(config_burst, places), .required = true, .otherwise = "0", .min = 0,
     .max = POOL_SIZE_MAX},
    {"seconds", DURATION(config_burst, time_ns), .required = true, .otherwise = "0"},
};

static const struct config_field follow_fields[] = {
    {"what", CHOICE(config_follow, what), .required = true, .otherwise = "nothing",
     .choices = "nothing|load|memory|queue"},
    {"target", NUMBER(config_follow, target), .min = 1e-6, .max = FOLLOW_TARGET_MAX},
    {"min", COUNT(config_follow, min), .otherwise = "1", .min = 1, .max = POOL_SIZE_MAX},
    {"max", COUNT(config_follow, max), .min = 1, .max = POOL_SIZE_MAX},
};

static const struct config_field breaker_fields[] = {
    {"mode", CHOICE(config_breaker, mode), .choices = "off|on|fail"},
    {"failures", COUNT(config_breaker, failures), .otherwise = "5", .min = 1, .max = 1e6},
    {"open", DURATION(config_breaker, open_ns), .otherwise = "60s", .min = 0.001},
    {"trials", COUNT(config_breaker, trials), .otherwise = "3", .min = 1, .max = 1e6},
    {"successes", COUNT(config_breaker, successes), .otherwise = "3", .min = 1, .max = 1e6},
};

static const struct config_group token_group =
    GROUP_OF(token_fields, config_token, .item_name = "token");
static const struct config_group tenant_group =
    GROUP_OF(tenant_fields, config_tenant, .item_name = "tenant");
static const struct config_group slot_group =
    GROUP_OF(slot_fields, config_slot, .item_name = "slot");
static const struct config_group backoff_group = GROUP_OF(backoff_fields, config_backoff, );
static const struct config_group restart_group = GROUP_OF(restart_fields, config_backoff, );
static const struct config_group reserve_group = GROUP_OF(reserve_fields, config_reserve, );
static const struct config_group burst_group = GROUP_OF(burst_fields, config_burst, );
static const struct config_group follow_group = GROUP_OF(follow_fields, config_follow, );
static const struct config_group breaker_group = GROUP_OF(breaker_fields, config_breaker, );

#define REPLACES  .change = CHANGE_REPLACES
#define ON(kinds) .only = (kinds), REPLACES

static const struct config_field pool_fields[] = {
    {"name", TEXT(config_pool, name), .required = true, .check = check_name},
    {"kind", CHOICE(config_pool, kind), .required = true, .choices = "command|process|http",
     REPLACES},
    {"max_concurrency", COUNT(config_pool, max_concurrency), .otherwise = "1", .min = 1,
     .max = POOL_SIZE_MAX},
    {"enabled", FLAG(config_pool, enabled), .otherwise = "true"},
    {"skills", WORDS(config_pool, skills), .check = check_name},
    {"cpu", NUMBER(config_pool, cpu), .otherwise = "0", .min = 0, .max = 1e6},
    {"memory", SIZE(config_pool, memory_bytes), .otherwise = "0", .min = 0, .max = SIZE_MAX_BYTES},
    {"reserve", GROUP(config_pool, reserve, reserve_group)},
    {"burst", GROUP(config_pool, burst, burst_group)},
    {"follow", GROUP(config_pool, follow, follow_group)},
    {"max_attempts", COUNT(config_pool, max_attempts), .min = 1, .max = 1e6},
    {"backoff", GROUP(config_pool, backoff, backoff_group)},
    {"timeout", DURATION(config_pool, timeout_ns), REPLACES},
    {"heartbeat_timeout", DURATION(config_pool, heartbeat_timeout_ns)},
    {"max_capacity_retry", DURATION(config_pool, max_capacity_retry_ns), .otherwise = "1h",
     .min = 0.001, REPLACES},

    {"throttle", CHOICE(config_pool, throttle), .choices = "none|aimd|adaptive", REPLACES},
    {"waste", SHARE(config_pool, waste), .min = ADAPTIVE_WASTE_MIN, .max = ADAPTIVE_WASTE_MAX,
     REPLACES},
    {"min_dispatch_delay", DURATION(config_pool, min_dispatch_delay_ns), .otherwise = "0",
     REPLACES},
    {"max_dispatch_delay", DURATION(config_pool, max_dispatch_delay_ns), .min = 1e-6, REPLACES},
    {"recovery_step", DURATION(config_pool, recovery_step_ns), REPLACES},
    {"backoff_multiplier", NUMBER(config_pool, backoff_multiplier), .min = 1, .max = 1e6, REPLACES},
    {"rate", NUMBER(config_pool, rate), .otherwise = "0", .min = 0, .max = GATE_RATE_MAX, REPLACES},
    {"requests_per_minute", COUNT(config_pool, requests_per_minute), .otherwise = "0", .min = 0,
     .max = (double)BUDGET_LIMIT_MAX, REPLACES},
    {"tokens_per_minute", COUNT(config_pool, tokens_per_minute), .otherwise = "0", .min = 0,
     .max = (double)BUDGET_LIMIT_MAX, ON(HTTP)},
    {"retry_after_max", DURATION(config_pool, retry_after_max_ns), .otherwise = "120s",
     .min = 0.001, ON(HTTP)},
    {"breaker", GROUP(config_pool, breaker, breaker_group), REPLACES},
    {"fallback", TEXT(config_pool, fallback), .check = check_name, ON(PROCESS)},

    {"cwd", TEXT(config_pool, cwd), .check = check_given, ON(COMMAND | PROCESS)},
    {"wrapper", LINE(config_pool, wrapper), ON(COMMAND | PROCESS)},
    {"wrapper_shell", FLAG(config_pool, wrapper_shell), .otherwise = "false",
     ON(COMMAND | PROCESS)},
    {"env", PAIRS(config_pool, env), .secret = true, ON(COMMAND | PROCESS)},
    {"clear_env", FLAG(config_pool, clear_env), .otherwise = "false", ON(COMMAND | PROCESS)},

    {"command", LINE(config_pool, command), ON(COMMAND)},
    {"shell", FLAG(config_pool, shell), .otherwise = "false", ON(COMMAND)},
    {"kill_after", DURATION(config_pool, kill_after_ns), .otherwise = "10s", ON(COMMAND)},
    {"output_max", SIZE(config_pool, output_max_bytes), .otherwise = "16MiB", .min = 1,
     .max = 256.0 * 1024 * 1024, ON(COMMAND)},
    {"capacity_exits", NUMBERS(config_pool, capacity_exits), .otherwise = "75", .min = 1,
     .max = 255, ON(COMMAND)},
    {"retry_exits", FLAG(config_pool, retry_exits), .otherwise = "true", ON(COMMAND)},

    {"process", LINE(config_pool, process), ON(PROCESS)},
    {"request", TEXT(config_pool, request), .otherwise = "process", .check = check_given,
     ON(PROCESS)},
    {"max_in_flight", COUNT(config_pool, max_in_flight), .otherwise = "1", .min = 1,
     .max = CREW_IN_FLIGHT_MAX, ON(PROCESS)},
    {"overflow", COUNT(config_pool, overflow), .otherwise = "0", .min = 0, .max = CREW_WORKERS_MAX,
     ON(PROCESS)},
    {"lazy", FLAG(config_pool, lazy), .otherwise = "false", ON(PROCESS)},
    {"order", CHOICE(config_pool, order), .otherwise = "lifo", .choices = "lifo|fifo", ON(PROCESS)},
    {"frame_max", SIZE(config_pool, frame_max_bytes), .otherwise = "64MiB",
     .min = PROCESS_FRAME_BYTES_MIN, .max = 900.0 * 1024 * 1024, ON(PROCESS)},
    {"init_timeout", DURATION(config_pool, init_timeout_ns), .otherwise = "30s", .min = 0.001,
     ON(PROCESS)},
    {"ping_every", DURATION(config_pool, ping_every_ns), .otherwise = "30s", ON(PROCESS)},
    {"ping_deadline", DURATION(config_pool, ping_deadline_ns), .otherwise = "5s", .min = 0.001,
     ON(PROCESS)},
    {"ping_recheck", DURATION(config_pool, ping_recheck_ns), .otherwise = "5s", .min = 0.001,
     ON(PROCESS)},
    {"ping_failures", COUNT(config_pool, ping_failures), .otherwise = "3", .min = 1, .max = 1e6,
     ON(PROCESS)},
    {"overflow_idle", DURATION(config_pool, overflow_idle_ns), .otherwise = "10s", .min = 0.001,
     ON(PROCESS)},
    {"recycle_after", COUNT(config_pool, recycle_after), .otherwise = "0", .min = 0, .max = MOST,
     ON(PROCESS)},
    {"recycle_age", DURATION(config_pool, recycle_age_ns), .otherwise = "0", ON(PROCESS)},
    {"recycle_memory", SIZE(config_pool, recycle_memory_bytes), .otherwise = "0", .min = 0,
     .max = SIZE_MAX_BYTES, ON(PROCESS)},
    {"shutdown_grace", DURATION(config_pool, shutdown_grace_ns), .otherwise = "5s", ON(PROCESS)},
    {"term_grace", DURATION(config_pool, term_grace_ns), .otherwise = "5s", ON(PROCESS)},
    {"session_idle", DURATION(config_pool, session_idle_ns), .otherwise = "300s", .min = 0.001,
     ON(PROCESS)},
    {"checkout_timeout", DURATION(config_pool, checkout_timeout_ns), .otherwise = "0", ON(PROCESS)},
    {"restart", GROUP(config_pool, restart, restart_group), ON(PROCESS)},

    {"url", TEXT(config_pool, url), .check = http_url_check, ON(HTTP)},
    {"allow_any_url", FLAG(config_pool, allow_any_url), .otherwise = "false", ON(HTTP)},
    {"method", TEXT(config_pool, method), .otherwise = "POST", .check = http_method_check,
     ON(HTTP)},
    {"headers", PAIRS(config_pool, headers), .secret = true, ON(HTTP)},
    {"connect_timeout", DURATION(config_pool, connect_timeout_ns), .otherwise = "10s", .min = 0.001,
     ON(HTTP)},
    {"response_max", SIZE(config_pool, response_max_bytes), .otherwise = "64MiB", .min = 1,
     .max = 256.0 * 1024 * 1024, ON(HTTP)},
    {"http_version", CHOICE(config_pool, http_version), .otherwise = "auto",
     .choices = "auto|1.1|2|2-prior", ON(HTTP)},
    {"proxy", TEXT(config_pool, proxy), ON(HTTP)},
    {"no_proxy", TEXT(config_pool, no_proxy), ON(HTTP)},
    {"cacert", TEXT(config_pool, cacert), .check = check_given, ON(HTTP)},
    {"cert", TEXT(config_pool, cert), .check = check_given, ON(HTTP)},
    {"key_file", TEXT(config_pool, key_file), .check = check_given, ON(HTTP)},
    {"insecure", FLAG(config_pool, insecure), .otherwise = "false", ON(HTTP)},
    {"unix_socket", TEXT(config_pool, unix_socket), .check = check_given, ON(HTTP)},
    {"capacity_statuses", NUMBERS(config_pool, capacity_statuses), .min = 300, .max = 599,
     ON(HTTP)},
};

const struct config_group config_pool_schema =
    GROUP_OF(pool_fields, config_pool, .selector = "kind", .item_name = "pool");

static const struct config_field defaults_fields[] = {
    {"max_attempts", COUNT(config_defaults, max_attempts), .min = 1, .max = 1e6},
    {"backoff", GROUP(config_defaults, backoff, backoff_group)},
    {"timeout", DURATION(config_defaults, timeout_ns)},
    {"heartbeat_timeout", DURATION(config_defaults, heartbeat_timeout_ns), .otherwise = "60s"},
};

static const struct config_field quarantine_fields[] = {
    {"deaths", COUNT(config, deaths_max), .otherwise = "3", .min = 0, .max = 1e6},
};

static const struct config_field retention_fields[] = {
    {"done", DURATION(config_retention, done_ns), .otherwise = "7d"},
    {"failed", DURATION(config_retention, failed_ns), .otherwise = "30d"},
    {"events", DURATION(config_retention, events_ns), .otherwise = "30d"},
    {"events_max", COUNT(config_retention, events_max), .otherwise = "10_000_000", .min = 0,
     .max = MOST},
};

static const struct config_field shutdown_fields[] = {
    {"grace", DURATION(config_shutdown, grace_ns), .otherwise = "300s"},
    {"kill", DURATION(config_shutdown, kill_ns), .otherwise = "10s"},
    {"submits", CHOICE(config_shutdown, submits), .otherwise = "accept",
     .choices = "accept|refuse"},
};

static const struct config_field limits_fields[] = {
    /* So that a payload of the largest size fits in base64. */
    {"request_bytes", SIZE(config_limits, request_bytes), .otherwise = "96MiB", .min = 1024,
     .max = SIZE_MAX_BYTES, .change = CHANGE_RESTARTS},
    {"requests_per_second", NUMBER(config_limits, requests_per_second), .otherwise = "0", .min = 0,
     .max = 1e6, .change = CHANGE_RESTARTS},
    {"connections", COUNT(config_limits, connections), .otherwise = "256", .min = 1, .max = 100000,
     .change = CHANGE_RESTARTS},
};

static const struct config_field log_fields[] = {
    {"level", CHOICE(config_log, level), .otherwise = "info",
     .choices = "error|warning|info|debug"},
    {"file", TEXT(config_log, file), .check = check_given, .change = CHANGE_RESTARTS},
};

static const struct config_group defaults_group = GROUP_OF(defaults_fields, config_defaults, );
/* Its only field lies in the whole. */
static const struct config_group quarantine_group = GROUP_OF(quarantine_fields, config, );
static const struct config_group retention_group = GROUP_OF(retention_fields, config_retention, );
static const struct config_group shutdown_group = GROUP_OF(shutdown_fields, config_shutdown, );
static const struct config_group limits_group = GROUP_OF(limits_fields, config_limits, );
static const struct config_group log_group = GROUP_OF(log_fields, config_log, );

static const struct config_field fields[] = {
    {"store", TEXT(config, store), .check = check_given, .change = CHANGE_RESTARTS},
    {"spill", TEXT(config, spill), .check = check_given, .change = CHANGE_RESTARTS},
    {"listen", WORDS(config, listen), .change = CHANGE_RESTARTS},
    {"unix_mode", MODE(config, unix_mode), .otherwise = "0660", .change = CHANGE_RESTARTS},
    {"tokens", GROUPS(config, tokens, token_group)},
    {"policy", CHOICE(config, policy), .otherwise = "priority",
     .choices = "fifo|priority|skill|fair-share"},
    {"ageing", NUMBER(config, ageing), .otherwise = "0", .min = 0, .max = 1000},
    {"max_global_concurrency", COUNT(config, max_global_concurrency), .otherwise = "10", .min = 1,
     .max = POOL_SIZE_MAX},
    {"default_pool", TEXT(config, default_pool), .check = check_name},
    {"tenants", GROUPS(config, tenants, tenant_group)},
    {"slots", GROUPS(config, slots, slot_group)},
    {"defaults", GROUP(config, defaults, defaults_group), .change = CHANGE_SHOWS},
    {"pools", GROUPS(config, pools, config_pool_schema), .change = CHANGE_POOLS},
    {"quarantine", .type = CONFIG_GROUP, .group = &quarantine_group, .offset = 0},
    {"retention", GROUP(config, retention, retention_group)},
    {"history", FLAG(config, history), .otherwise = "true"},
    {"shutdown", GROUP(config, shutdown, shutdown_group)},
    {"check_interval", DURATION(config, check_interval_ns), .otherwise = "60s", .min = 1},
    {"limits", GROUP(config, limits, limits_group), .change = CHANGE_WITHIN},
    {"log", GROUP(config, log, log_group), .change = CHANGE_WITHIN},
};

const struct config_group config_schema = GROUP_OF(fields, config, );

/* ---- looking ---- */

const struct config_field *config_field_find(const struct config_group *g, const char *key)
{
    for (size_t i = 0; i < g->count; i++) {
        if (strcmp(g->fields[i].key, key) == 0)
            return &g->fields[i];
    }
    return NULL;
}

int config_choice(const char *choices, const char *name)
{
    size_t name_len = strlen(name);

    for (int i = 0;; i++) {
        size_t len = strcspn(choices, "|");

        if (len == name_len && memcmp(choices, name, len) == 0)
            return i;
        if (!choices[len])
            return -1;
        choices += len + 1;
    }
}

void config_choice_put(const char *choices, int number, struct buf *out)
{
    for (int i = 0; i < number; i++) {
        choices += strcspn(choices, "|");
        if (!*choices)
            return;
        choices++;
    }
    if (number >= 0)
        buf_put(out, choices, strcspn(choices, "|"));
}
