/*
 * The table of the flow options, their setters, the checks between them, and what they are in a
 * pool.
 */
#include "cli/flow_options.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/parse.h"
#include "cli/command/machine.h"
#include "cli/command/values.h"
#include "core/batch.h"

#include <stddef.h>
#include <string.h>

#define JOBS_MAX       100000
#define STATUSES_MAX   64
#define DURATION_MAX_S (366 * 86400.0)
/* Of options that only one kind of throttle takes; no option's value is negative. */
#define NOT_GIVEN (-1)

/* ---- setters ---- */

static enum weir_status set_jobs(void *into, const char *value, struct weir_error *err)
{
    struct flow_options *o = into;

    return values_jobs(value, machine_processors(), JOBS_MAX, &o->jobs, err);
}

static enum weir_status set_timeout(void *into, const char *value, struct weir_error *err)
{
    struct flow_options *o = into;
    struct timeout_value t;
    enum weir_status status = values_timeout(value, &t, err);

    if (status != WEIR_OK)
        return status;
    if (duration_seconds(t.time_ns) > DURATION_MAX_S)
        return error_set(err, WEIR_E_INVALID, "%s is out of range; it must be 0s to %gs", value,
                         DURATION_MAX_S);
    o->timeout_ns = t.time_ns;
    o->timeout_share = t.share;
    return WEIR_OK;
}

static enum weir_status set_throttle(void *into, const char *value, struct weir_error *err)
{
    struct flow_options *o = into;

    if (!throttle_kind_from_name(value, &o->throttle))
        return error_set(err, WEIR_E_INVALID, "\"%.60s\" is none of adaptive|aimd|none", value);
    return WEIR_OK;
}

static enum weir_status set_halt(void *into, const char *value, struct weir_error *err)
{
    struct flow_options *o = into;

    return halt_parse(value, &o->halt, err);
}

static enum weir_status set_waste(void *into, const char *value, struct weir_error *err)
{
    struct flow_options *o = into;

    return parse_share(value, ADAPTIVE_WASTE_MIN, ADAPTIVE_WASTE_MAX, &o->waste, err);
}

/* "420,498": appends. */
static enum weir_status set_capacity_status(void *into, const char *value, struct weir_error *err)
{
    struct flow_options *o = into;

    for (;;) {
        size_t len = strcspn(value, ",");
        int status = 0;
        int *statuses;

        if (len == 3 && strspn(value, "0123456789") >= 3)
            status = (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
        if (status < 300 || status > 599)
            return error_set(err, WEIR_E_INVALID,
                             "\"%.*s\" is no HTTP status from 300 to 599; write 420 or 420,498",
                             (int)(len < 40 ? len : 40), value);
        if (o->capacity_status_count >= STATUSES_MAX)
            return error_set(err, WEIR_E_LIMIT, "more than %d statuses", STATUSES_MAX);
        statuses =
            mem_realloc(o->capacity_statuses, (o->capacity_status_count + 1) * sizeof(*statuses));
        if (!statuses)
            return error_nomem(err);
        o->capacity_statuses = statuses;
        statuses[o->capacity_status_count++] = status;
        if (value[len] == '\0')
            return WEIR_OK;
        value += len + 1;
    }
}

/* ---- the table ---- */

#define AT(field) .at = offsetof(struct flow_options, field)
#define FLOW      .group = FLOW_OPTIONS_GROUP
#define AIMD      .group = "Throttle aimd (with --throttle aimd only)"

const struct option_spec flow_option_specs[] = {
    {.name = "jobs",
     .letter = 'j',
     .kind = OPTION_SET,
     .argument = "N",
     .set = set_jobs,
     FLOW,
     .help = "most in flight, or N% of the processors (default 8; of commands and workers 100%)"},
    {.name = "throttle",
     .kind = OPTION_SET,
     .argument = "KIND",
     .set = set_throttle,
     FLOW,
     .help =
         "how the rate follows refusals. adaptive: requests are spaced at what the service "
         "bears, found out with hardly any refusals; aimd: refused rows wait, each refusal "
         "lengthens the wait; none: a refused row waits a moment (default adaptive; of commands "
         "and workers aimd)"},
    {.name = "waste",
     .kind = OPTION_SET,
     .argument = "SHARE",
     .set = set_waste,
     FLOW,
     .help = "of the adaptive throttle: the share of requests that may be refused in the search "
             "for more capacity, 0.1% to 20% (default 2%)"},
    {.name = "min-dispatch-delay",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(min_dispatch_delay_ns),
     .max = DURATION_MAX_S,
     FLOW,
     .help = "least time between two starts (default 0)"},
    {.name = "rate",
     .kind = OPTION_NUMBER,
     .argument = "R",
     AT(rate_per_s),
     .min = 1e-6,
     .max = 1e9,
     FLOW,
     .help = "at most R requests per second"},
    {.name = "rpm",
     .kind = OPTION_COUNT,
     .argument = "N",
     AT(rpm),
     .min = 1,
     .max = 1e12,
     FLOW,
     .help = "at most N requests per minute"},
    {.name = "tpm",
     .kind = OPTION_COUNT,
     .argument = "N",
     AT(tpm),
     .min = 1,
     .max = 1e15,
     .only = ONLY_HTTP,
     FLOW,
     .help = "at most N tokens per minute: estimated from the body, corrected by the response's "
             "usage"},
    {.name = "retries",
     .kind = OPTION_COUNT,
     .argument = "N",
     AT(retries),
     .min = 0,
     .max = 1000,
     FLOW,
     .help = "tries again after a failure that may pass (default 2; of commands 0, and every exit "
             "code but 0 may pass). Being full is no failure and uses none of them up"},
    {.name = "retry-delay",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(retry_delay_ns),
     .min = 0.001,
     .max = DURATION_MAX_S,
     FLOW,
     .help = "wait before the first of these; doubles each time (default 500ms)"},
    {.name = "retry-after-max",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(retry_after_max_ns),
     .min = 0.001,
     .max = DURATION_MAX_S,
     .only = ONLY_HTTP,
     FLOW,
     .help = "longest Retry-After that is obeyed; above it the row fails (default 120s)"},
    {.name = "max-capacity-retry",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(max_capacity_retry_ns),
     .min = 0.001,
     .max = DURATION_MAX_S,
     FLOW,
     .help = "how long a row may be refused for want of capacity, from its first try (default 1h)"},
    {.name = "capacity-status",
     .kind = OPTION_SET,
     .argument = "LIST",
     .set = set_capacity_status,
     .only = ONLY_HTTP,
     FLOW,
     .help = "HTTP statuses that mean \"full\", besides 429, 503 and 529"},
    {.name = "timeout",
     .kind = OPTION_SET,
     .argument = "TIME",
     .set = set_timeout,
     FLOW,
     .help = "of one try, or N% of the median of all so far (default 600s, of workers 60s, of "
             "commands none; 0: none)"},
    {.name = "deadline",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(deadline_ns),
     .max = DURATION_MAX_S,
     FLOW,
     .help = "of the whole run; what has not ended by then fails (default 0: none)"},
    {.name = "halt",
     .kind = OPTION_SET,
     .argument = "WHEN",
     .set = set_halt,
     FLOW,
     .help =
         "never, or soon|now,fail|success|done=N or N%: stops when that many rows have ended so. "
         "soon lets running rows finish, now cancels them; a percentage is of the rows finished, "
         "three such rows at least (default never)"},
    {.name = "window",
     .kind = OPTION_COUNT,
     .argument = "ROWS",
     AT(window_rows),
     .min = 1,
     .max = BATCH_WINDOW_ROWS_MAX,
     FLOW,
     .help = "rows held at once, those waiting for their turn included (default 16384)"},
};

const struct option_spec flow_aimd_specs[] = {
    {.name = "max-dispatch-delay",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(max_dispatch_delay_ns),
     .min = 1e-6,
     .max = DURATION_MAX_S,
     AIMD,
     .help = "most that a refused row waits (default 5s)"},
    {.name = "backoff-multiplier",
     .kind = OPTION_NUMBER,
     .argument = "X",
     AT(backoff_multiplier),
     .min = 1,
     .max = 1e6,
     AIMD,
     .help = "the delay's growth per refusal (default 2)"},
    {.name = "recovery-step",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(recovery_step_ns),
     .max = DURATION_MAX_S,
     AIMD,
     .help = "the delay's shrinking per success (default 50ms)"},
};

void flow_options_init(struct flow_options *o)
{
    *o = (struct flow_options){
        .jobs = 8,
        .throttle = THROTTLE_ADAPTIVE,
        .waste = NOT_GIVEN,
        .max_dispatch_delay_ns = NOT_GIVEN,
        .backoff_multiplier = NOT_GIVEN,
        .recovery_step_ns = NOT_GIVEN,
        .max_capacity_retry_ns = 3600 * NS_PER_S,
        .retry_after_max_ns = 120 * NS_PER_S,
        .retries = 2,
        .retry_delay_ns = 500 * NS_PER_MS,
        .timeout_ns = 600 * NS_PER_S,
    };
}

void flow_options_free(struct flow_options *o)
{
    o->capacity_statuses = mem_free(o->capacity_statuses);
    o->capacity_status_count = 0;
}

/* ---- what must hold between options ---- */

/* An option of another throttle would do nothing: whoever gives it expects something else. */
static enum weir_status check_kind(const struct flow_options *o, unsigned kinds,
                                   struct weir_error *err)
{
    const struct {
        const char *name;
        bool given;
        enum throttle_kind of;
    } options[] = {
        {"--waste", o->waste >= 0, THROTTLE_ADAPTIVE},
        {"--max-dispatch-delay", o->max_dispatch_delay_ns >= 0, THROTTLE_AIMD},
        {"--backoff-multiplier", o->backoff_multiplier >= 0, THROTTLE_AIMD},
        {"--recovery-step", o->recovery_step_ns >= 0, THROTTLE_AIMD},
    };

    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        const char *kind = throttle_kind_name(options[i].of);

        if (options[i].given && !(kinds & 1U << options[i].of))
            return error_set(
                err, WEIR_E_INVALID,
                "%s: is an option of the %s throttle; give --throttle %s too, or leave "
                "it out",
                options[i].name, kind, kind);
    }
    return WEIR_OK;
}

static void fill_in_throttle(struct flow_options *o)
{
    struct throttle_options defaults;

    throttle_options_init(&defaults);
    if (o->waste < 0)
        o->waste = defaults.adaptive.waste;
    if (o->max_dispatch_delay_ns < 0)
        o->max_dispatch_delay_ns = defaults.aimd.max_delay_ns;
    if (o->backoff_multiplier < 0)
        o->backoff_multiplier = defaults.aimd.multiplier;
    if (o->recovery_step_ns < 0)
        o->recovery_step_ns = defaults.aimd.step_ns;
}

static enum weir_status check_aimd(const struct flow_options *o, struct weir_error *err)
{
    if (o->min_dispatch_delay_ns > o->max_dispatch_delay_ns)
        return error_set(err, WEIR_E_INVALID,
                         "--min-dispatch-delay: is above --max-dispatch-delay (%gs)",
                         duration_seconds(o->max_dispatch_delay_ns));
    if (!(o->backoff_multiplier > 1))
        return error_set(err, WEIR_E_INVALID, "--backoff-multiplier: must be above 1");
    if (o->min_dispatch_delay_ns == 0 && o->recovery_step_ns == 0)
        return error_set(err, WEIR_E_INVALID,
                         "--recovery-step: it and --min-dispatch-delay cannot both be 0");
    return WEIR_OK;
}

enum weir_status flow_options_check(struct flow_options *o, unsigned kinds, struct weir_error *err)
{
    enum weir_status status = check_kind(o, kinds, err);

    if (status != WEIR_OK)
        return status;
    fill_in_throttle(o);
    if (kinds & 1U << THROTTLE_AIMD)
        status = check_aimd(o, err);
    if (status != WEIR_OK)
        return status;
    if (o->window_rows > 0 && o->window_rows < o->jobs)
        return error_set(err, WEIR_E_INVALID,
                         "--window: %lld rows cannot keep --jobs %lld busy; give at least as many",
                         (long long)o->window_rows, (long long)o->jobs);
    return WEIR_OK;
}

/* ---- what they are in a pool ---- */

void flow_options_pool(const struct flow_options *o, struct core_pool_options *ret)
{
    struct aimd_options *aimd = &ret->gate.throttle.aimd;

    core_pool_options_init(ret);
    ret->size = (size_t)o->jobs;
    ret->gate.throttle.kind = o->throttle;
    ret->gate.throttle.adaptive.waste = o->waste;
    ret->gate.min_dispatch_delay_ns = aimd->min_delay_ns = o->min_dispatch_delay_ns;
    aimd->max_delay_ns = o->max_dispatch_delay_ns;
    aimd->multiplier = o->backoff_multiplier;
    aimd->step_ns = o->recovery_step_ns;
    ret->gate.rate_per_s = o->rate_per_s;
    ret->gate.requests_per_minute = o->rpm;
    ret->gate.tokens_per_minute = o->tpm;
    ret->gate.retry_after_max_ns = o->retry_after_max_ns;
    ret->max_attempts = (uint32_t)o->retries + 1;
    ret->backoff.initial_ns = o->retry_delay_ns;
    if (ret->backoff.ceiling_ns < ret->backoff.initial_ns)
        ret->backoff.ceiling_ns = ret->backoff.initial_ns;
    ret->timeout_ns = o->timeout_ns;
    ret->timeout_share = o->timeout_share;
    ret->max_capacity_retry_ns = o->max_capacity_retry_ns;
}
