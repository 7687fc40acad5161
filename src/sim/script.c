/* See script.h. One setter per option; the table at the end is what help texts are made of. */
#include "sim/script.h"

#include "base/error.h"
#include "base/parse.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define RATE_MAX        1e6 /* requests a second */
#define CONCURRENCY_MAX 1e6
#define PER_MINUTE_MAX  INT64_C(1000000000000)
#define SERVERS_MAX     100000
#define QUEUE_MAX       1000000
#define BURST_MAX       1e6
#define LATENCY_MAX_NS  (INT64_C(86400) * NS_PER_S)
#define PHASE_MIN_NS    (10 * NS_PER_MS)
#define PART_BYTES      64 /* of one item of a list such as 429:3,503 */

void sim_script_init(struct sim_script *s)
{
    *s = (struct sim_script){
        .seed = 1,
        .phase_lo_ns = 20 * NS_PER_S,
        .phase_hi_ns = 120 * NS_PER_S,
        .burst_requests = 1,
        .window_depth_ns = 10 * NS_PER_S,
        .queue_max = -1,
        .refusals = {{429, 1}},
        .refusal_count = 1,
        .slow_ns = 2 * NS_PER_S,
    };
}

/* What stands before `separator` goes into part; returns what follows it, NULL when it is absent.
 * *fits: whether the part was short enough. */
static const char *cut(const char *text, char separator, char part[PART_BYTES], bool *fits)
{
    const char *end = strchr(text, separator);
    size_t len = end ? (size_t)(end - text) : strlen(text);

    *fits = len < PART_BYTES;
    if (!*fits)
        len = PART_BYTES - 1;
    memcpy(part, text, len);
    part[len] = '\0';
    return end ? end + 1 : NULL;
}

static bool starts_with(const char *text, const char *prefix, const char **ret_rest)
{
    size_t len = strlen(prefix);

    if (strncmp(text, prefix, len) != 0)
        return false;
    *ret_rest = text + len;
    return true;
}

/* The index of text in the "|"-separated choices, or -1. */
static int choice(const char *text, const char *choices)
{
    char part[PART_BYTES];
    bool fits;
    int i = 0;

    for (const char *rest = choices; rest; i++) {
        rest = cut(rest, '|', part, &fits);
        if (strcmp(part, text) == 0)
            return i;
    }
    return -1;
}

static enum weir_status set_choice(const char *value, const char *choices, int *ret,
                                   struct weir_error *err)
{
    int i = choice(value, choices);

    if (i < 0)
        return error_set(err, WEIR_E_INVALID, "\"%.64s\" is not one of %s", value, choices);
    *ret = i;
    return WEIR_OK;
}

/* ---- capacity ---- */

static enum weir_status set_rate(struct sim_script *s, const char *value, struct weir_error *err)
{
    /* Not less than one in 1000 s: a bucket that never fills again would be an outage. */
    return parse_range(value, 1e-3, RATE_MAX, &s->rate_rps.lo, &s->rate_rps.hi, err);
}

static enum weir_status set_phase(struct sim_script *s, const char *value, struct weir_error *err)
{
    duration_ns lo;
    duration_ns hi;
    enum weir_status status = parse_duration_range(value, &lo, &hi, err);

    if (status != WEIR_OK)
        return status;
    if (lo < PHASE_MIN_NS)
        return error_set(err, WEIR_E_INVALID, "a phase lasts 10ms or longer");
    s->phase_lo_ns = lo;
    s->phase_hi_ns = hi;
    return WEIR_OK;
}

static enum weir_status set_levels(struct sim_script *s, const char *value, struct weir_error *err)
{
    int i;
    enum weir_status status = set_choice(value, "ends|uniform|log-uniform", &i, err);

    if (status == WEIR_OK)
        s->levels = (enum sim_levels)i;
    return status;
}

/* A bare number is requests, one with a unit is time. */
static enum weir_status set_burst(struct sim_script *s, const char *value, struct weir_error *err)
{
    duration_ns worth = 0;
    double requests = 1;
    enum weir_status status;

    if (value[0] != '\0' && strspn(value, "0123456789.") == strlen(value))
        status = parse_number(value, 1, BURST_MAX, &requests, err);
    else
        status = parse_duration(value, &worth, err);
    if (status != WEIR_OK)
        return status;
    s->burst_requests = requests;
    s->burst_ns = worth;
    return WEIR_OK;
}

static enum weir_status set_concurrency(struct sim_script *s, const char *value,
                                        struct weir_error *err)
{
    double lo;
    double hi;
    enum weir_status status = parse_range(value, 1, CONCURRENCY_MAX, &lo, &hi, err);

    if (status != WEIR_OK)
        return status;
    if (lo != floor(lo) || hi != floor(hi))
        return error_set(err, WEIR_E_INVALID, "\"%.64s\" is not made of whole numbers", value);
    s->concurrency = (struct sim_range){lo, hi};
    return WEIR_OK;
}

static enum weir_status set_rpm(struct sim_script *s, const char *value, struct weir_error *err)
{
    return parse_count(value, 1, PER_MINUTE_MAX, &s->requests_per_minute, err);
}

static enum weir_status set_tpm(struct sim_script *s, const char *value, struct weir_error *err)
{
    return parse_count(value, 1, PER_MINUTE_MAX, &s->tokens_per_minute, err);
}

static enum weir_status set_window(struct sim_script *s, const char *value, struct weir_error *err)
{
    const char *depth;
    duration_ns ns;
    int i;
    enum weir_status status;

    if (starts_with(value, "bucket:", &depth)) {
        status = parse_duration(depth, &ns, err);
        if (status == WEIR_OK && ns <= 0)
            status = error_set(err, WEIR_E_INVALID, "a bucket holds more than 0s' worth");
        if (status != WEIR_OK)
            return status;
        s->window = SIM_WINDOW_BUCKET;
        s->window_depth_ns = ns;
        return WEIR_OK;
    }
    status = set_choice(value, "sliding|fixed|bucket", &i, err);
    if (status == WEIR_OK)
        s->window = (enum sim_window_kind)i;
    return status;
}

static enum weir_status set_servers(struct sim_script *s, const char *value, struct weir_error *err)
{
    return parse_count(value, 1, SERVERS_MAX, &s->servers, err);
}

static enum weir_status set_queue(struct sim_script *s, const char *value, struct weir_error *err)
{
    return parse_count(value, 0, QUEUE_MAX, &s->queue_max, err);
}

/* ---- what is told ---- */

static enum weir_status set_headers(struct sim_script *s, const char *value, struct weir_error *err)
{
    int i;
    /* In the order of the bits. */
    enum weir_status status = set_choice(value, "none|retry-after|ratelimit|all", &i, err);

    if (status == WEIR_OK)
        s->headers = (unsigned)i;
    return status;
}

static enum weir_status read_refusal(char *item, struct sim_refusal *ret, struct weir_error *err)
{
    char status_text[PART_BYTES];
    bool fits;
    const char *weight_text = cut(item, ':', status_text, &fits);
    int64_t code;
    double weight = 1;
    enum weir_status status = parse_count(status_text, 400, 599, &code, err);

    if (status == WEIR_OK && weight_text)
        status = parse_number(weight_text, 0, 1e6, &weight, err);
    if (status == WEIR_OK)
        *ret = (struct sim_refusal){(int)code, weight};
    return status;
}

static enum weir_status set_refuse_with(struct sim_script *s, const char *value,
                                        struct weir_error *err)
{
    struct sim_refusal list[SIM_REFUSALS_MAX];
    char item[PART_BYTES];
    size_t count = 0;
    double sum = 0;
    bool fits;

    for (const char *rest = value; rest; count++) {
        enum weir_status status;

        if (count == SIM_REFUSALS_MAX)
            return error_set(err, WEIR_E_LIMIT, "at most %d statuses", SIM_REFUSALS_MAX);
        rest = cut(rest, ',', item, &fits);
        if (!fits)
            return error_set(err, WEIR_E_INVALID, "\"%s...\" is not a status", item);
        status = read_refusal(item, &list[count], err);
        if (status != WEIR_OK)
            return status;
        sum += list[count].weight;
    }
    if (sum <= 0)
        return error_set(err, WEIR_E_INVALID, "all weights are 0; one must be above");
    memcpy(s->refusals, list, count * sizeof *list);
    s->refusal_count = count;
    return WEIR_OK;
}

static enum weir_status set_slow_refusals(struct sim_script *s, const char *value,
                                          struct weir_error *err)
{
    (void)value;
    (void)err;
    s->slow_refusals = true;
    return WEIR_OK;
}

/* ---- latency ---- */

static enum weir_status bounded(duration_ns ns, struct weir_error *err)
{
    if (ns > LATENCY_MAX_NS)
        return error_set(err, WEIR_E_INVALID, "a latency is a day at most");
    return WEIR_OK;
}

static enum weir_status read_lognormal(const char *text, struct sim_latency *ret,
                                       struct weir_error *err)
{
    char median[PART_BYTES];
    bool fits;
    const char *sigma = cut(text, ',', median, &fits);
    enum weir_status status;

    if (!sigma || !fits)
        return error_set(err, WEIR_E_INVALID,
                         "\"%.64s\" is not a median and a sigma; write lognormal:1.2s,0.4", text);
    status = parse_duration(median, &ret->a_ns, err);
    return status == WEIR_OK ? parse_number(sigma, 0, 5, &ret->sigma, err) : status;
}

static enum weir_status read_latency(const char *value, struct sim_latency *ret,
                                     struct weir_error *err)
{
    struct sim_latency l = {0};
    const char *rest = value;
    enum weir_status status;

    if (starts_with(value, "lognormal:", &rest)) {
        l.kind = SIM_LATENCY_LOGNORMAL;
        status = read_lognormal(rest, &l, err);
    } else if (starts_with(value, "exponential:", &rest)) {
        l.kind = SIM_LATENCY_EXPONENTIAL;
        status = parse_duration(rest, &l.a_ns, err);
    } else if (starts_with(value, "uniform:", &rest)) {
        l.kind = SIM_LATENCY_UNIFORM;
        status = parse_duration_range(rest, &l.a_ns, &l.b_ns, err);
    } else {
        starts_with(value, "fixed:", &rest);
        status = parse_duration(rest, &l.a_ns, err);
    }
    if (status == WEIR_OK)
        status = bounded(l.a_ns > l.b_ns ? l.a_ns : l.b_ns, err);
    if (status == WEIR_OK)
        *ret = l;
    return status;
}

static enum weir_status set_latency(struct sim_script *s, const char *value, struct weir_error *err)
{
    return read_latency(value, &s->latency, err);
}

static enum weir_status set_refusal_latency(struct sim_script *s, const char *value,
                                            struct weir_error *err)
{
    return read_latency(value, &s->refusal_latency, err);
}

static enum weir_status set_network(struct sim_script *s, const char *value, struct weir_error *err)
{
    char base[PART_BYTES];
    bool fits;
    const char *jitter = cut(value, ',', base, &fits);
    duration_ns base_ns;
    duration_ns jitter_ns = 0;
    enum weir_status status = WEIR_OK;

    if (!fits)
        return error_set(err, WEIR_E_INVALID, "\"%s...\" is not a duration", base);
    status = parse_duration(base, &base_ns, err);
    if (status == WEIR_OK && jitter)
        status = parse_duration(jitter, &jitter_ns, err);
    if (status == WEIR_OK)
        status = bounded(base_ns > jitter_ns ? base_ns : jitter_ns, err);
    if (status != WEIR_OK)
        return status;
    s->network_ns = base_ns;
    s->network_jitter_ns = jitter_ns;
    return WEIR_OK;
}

double sim_latency_mean_s(const struct sim_latency *l)
{
    double a = duration_seconds(l->a_ns);

    switch (l->kind) {
    case SIM_LATENCY_UNIFORM:
        return (a + duration_seconds(l->b_ns)) / 2;
    case SIM_LATENCY_LOGNORMAL:
        return a * exp(l->sigma * l->sigma / 2);
    case SIM_LATENCY_FIXED:
    case SIM_LATENCY_EXPONENTIAL:
        break;
    }
    return a;
}

/* ---- outages ---- */

static enum weir_status set_outage(struct sim_script *s, const char *value, struct weir_error *err)
{
    char start[PART_BYTES];
    bool fits;
    const char *length = cut(value, '+', start, &fits);
    struct sim_outage o;
    enum weir_status status;

    if (!length || !fits)
        return error_set(err, WEIR_E_INVALID,
                         "\"%.64s\" is not a start and a duration; write it like 60s+10s", value);
    if (s->outage_count == SIM_OUTAGES_MAX)
        return error_set(err, WEIR_E_LIMIT, "at most %d outages", SIM_OUTAGES_MAX);
    status = parse_duration(start, &o.start_ns, err);
    if (status == WEIR_OK)
        status = parse_duration(length, &o.length_ns, err);
    if (status != WEIR_OK)
        return status;
    s->outages[s->outage_count++] = o;
    return WEIR_OK;
}

static enum weir_status set_outages(struct sim_script *s, const char *value, struct weir_error *err)
{
    char interval[PART_BYTES];
    bool fits;
    const char *length = cut(value, ',', interval, &fits);
    duration_ns interval_ns;
    duration_ns length_ns;
    enum weir_status status;

    if (!length || !fits)
        return error_set(err, WEIR_E_INVALID,
                         "\"%.64s\" is not a mean interval and a duration; write it like 5m,30s",
                         value);
    status = parse_duration(interval, &interval_ns, err);
    if (status == WEIR_OK)
        status = parse_duration(length, &length_ns, err);
    if (status == WEIR_OK && interval_ns < PHASE_MIN_NS)
        status = error_set(err, WEIR_E_INVALID, "the mean interval is 10ms or longer");
    if (status != WEIR_OK)
        return status;
    s->outage_interval_ns = interval_ns;
    s->outage_length_ns = length_ns;
    return WEIR_OK;
}

/* ---- faults ---- */

static enum weir_status set_fault(struct sim_script *s, enum sim_fault f, const char *value,
                                  struct weir_error *err)
{
    return parse_number(value, 0, 1, &s->fault_rates[f], err);
}

#define FAULT_SETTER(verb, fault)                                                                  \
    static enum weir_status set_##verb##_rate(struct sim_script *s, const char *value,             \
                                              struct weir_error *err)                              \
    {                                                                                              \
        return set_fault(s, fault, value, err);                                                    \
    }

FAULT_SETTER(permanent, SIM_FAULT_PERMANENT)
FAULT_SETTER(fail, SIM_FAULT_FAIL)
FAULT_SETTER(reset, SIM_FAULT_RESET)
FAULT_SETTER(close, SIM_FAULT_CLOSE)
FAULT_SETTER(slow, SIM_FAULT_SLOW)
FAULT_SETTER(broken, SIM_FAULT_BROKEN)
FAULT_SETTER(hang, SIM_FAULT_HANG)

static enum weir_status set_slow_for(struct sim_script *s, const char *value,
                                     struct weir_error *err)
{
    duration_ns ns;
    enum weir_status status = parse_duration(value, &ns, err);

    if (status == WEIR_OK)
        status = bounded(ns, err);
    if (status == WEIR_OK)
        s->slow_ns = ns;
    return status;
}

static enum weir_status set_seed(struct sim_script *s, const char *value, struct weir_error *err)
{
    int64_t seed;
    enum weir_status status = parse_count(value, 0, INT64_MAX, &seed, err);

    if (status == WEIR_OK)
        s->seed = (uint64_t)seed;
    return status;
}

static enum weir_status set_deterministic(struct sim_script *s, const char *value,
                                          struct weir_error *err)
{
    (void)value;
    (void)err;
    s->deterministic = true;
    return WEIR_OK;
}

/* ---- the table ---- */

static const char capacity[] = "Capacity";
static const char told[] = "Refusals, and what answers tell";
static const char latency[] = "Latency";
static const char outages[] = "Outages";
static const char faults[] = "Faults (probabilities, for requests that are accepted)";
static const char chance[] = "Chance";

static const struct sim_option options[] = {
    {"rate", "R|LO..HI", capacity, "requests a second; a range moves with the phases", set_rate},
    {"phase", "T|T..T", capacity, "how long a level lasts (20s..120s)", set_phase},
    {"levels", "ends|uniform|log-uniform", capacity,
     "a phase's level: one end of the range in turn, or anywhere in it, or in its logarithm (ends)",
     set_levels},
    {"burst", "N|T", capacity,
     "the rate's bucket holds N requests, or T (such as 1s) of its level; 1 is strict (1)",
     set_burst},
    {"concurrency", "K|LO..HI", capacity, "most in service at once; a range moves with the phases",
     set_concurrency},
    {"rpm", "N", capacity, "requests per minute", set_rpm},
    {"tpm", "N", capacity, "tokens per minute", set_tpm},
    {"window", "KIND", capacity,
     "how a minute is counted: sliding (any 60 s), fixed, or bucket[:T] (refilled evenly, holds T) "
     "(sliding; bucket:10s)",
     set_window},
    {"servers", "N", capacity, "work on N at once, the rest waits: latency grows with load",
     set_servers},
    {"queue", "N", capacity, "refuse what would be the N+1st to wait for a server (no limit)",
     set_queue},

    {"refuse-with", "LIST", told, "statuses of refusals, with weights: 429:8,503,529 (429)",
     set_refuse_with},
    {"headers", "WHICH", told,
     "none, retry-after, ratelimit (x-ratelimit-*-requests, -tokens) or all (none)", set_headers},
    {"slow-refusals", NULL, told, "refusals take as long as answers", set_slow_refusals},
    {"refusal-latency", "DIST", told, "how long refusals take, as --latency (0s)",
     set_refusal_latency},

    {"latency", "DIST", latency,
     "how long answers take: T, uniform:T..T, exponential:MEAN or lognormal:MEDIAN,SIGMA (0s)",
     set_latency},
    {"network", "T[,JITTER]", latency,
     "how long a request is on its way before it counts: T, and an exponential JITTER on "
     "average (0s)",
     set_network},

    {"outage", "START+T", outages, "503 for all from START on, for T; may be repeated", set_outage},
    {"outages", "MEAN,T", outages, "random outages of T, MEAN apart on average", set_outages},

    {"fail-rate", "P", faults, "500, 502 or 504", set_fail_rate},
    {"permanent-rate", "P", faults, "400 or 422", set_permanent_rate},
    {"reset-rate", "P", faults, "a TCP reset in place of an answer", set_reset_rate},
    {"close-rate", "P", faults, "the connection closed without an answer", set_close_rate},
    {"slow-rate", "P", faults, "the body comes in small pieces", set_slow_rate},
    {"slow-for", "T", faults, "how long such a body takes (2s)", set_slow_for},
    {"broken-rate", "P", faults, "a body that is cut short, wrongly framed, or no JSON",
     set_broken_rate},
    {"hang-rate", "P", faults, "no answer, ever", set_hang_rate},

    {"seed", "N", chance, "the same seed: the same phases, outages and draws (1)", set_seed},
    {"deterministic", NULL, chance,
     "a request's latency, and whether it fails permanently, follow from its content alone",
     set_deterministic},
};

size_t sim_option_count(void)
{
    return sizeof options / sizeof *options;
}

const struct sim_option *sim_option_at(size_t i)
{
    return i < sim_option_count() ? &options[i] : NULL;
}

bool sim_option_repeats(const struct sim_option *o)
{
    return o->set == set_outage;
}

const struct sim_option *sim_option_find(const char *name)
{
    for (size_t i = 0; i < sim_option_count(); i++) {
        if (strcmp(options[i].name, name) == 0)
            return &options[i];
    }
    return NULL;
}

enum weir_status sim_script_set(struct sim_script *s, const char *name, const char *value,
                                struct weir_error *err)
{
    const struct sim_option *o = sim_option_find(name);
    enum weir_status status;

    if (!o)
        return error_set(err, WEIR_E_INVALID, "there is no option --%.64s", name);
    if (o->argument && !value)
        return error_set(err, WEIR_E_INVALID, "--%s: needs a value: --%s %s", name, name,
                         o->argument);
    if (!o->argument && value)
        return error_set(err, WEIR_E_INVALID, "--%s: takes no value", name);
    status = o->set(s, value, err);
    if (status != WEIR_OK)
        (void)error_prefix(err, "--%s", name);
    return status;
}

enum weir_status sim_script_check(const struct sim_script *s, struct weir_error *err)
{
    double sum = 0;

    /* A permanent failure is decided before the others, so it is not one of the sum. */
    for (int f = SIM_FAULT_FAIL; f < SIM_FAULT_COUNT; f++)
        sum += s->fault_rates[f];
    if (sum > 1 + 1e-9)
        return error_set(err, WEIR_E_INVALID,
                         "--fail-rate, --reset-rate, --close-rate, --slow-rate, --broken-rate and "
                         "--hang-rate sum up to %g; at most 1 is possible",
                         sum);
    if (s->queue_max >= 0 && s->servers == 0)
        return error_set(err, WEIR_E_INVALID, "--queue: nothing ever waits without --servers");
    if (s->rate_rps.hi <= 0 && (s->burst_requests > 1 || s->burst_ns > 0))
        return error_set(err, WEIR_E_INVALID, "--burst: is the burst of a --rate, which is absent");
    return WEIR_OK;
}

const char *sim_fault_name(enum sim_fault f)
{
    static const char *const names[SIM_FAULT_COUNT] = {"none",  "permanent", "fail",   "reset",
                                                       "close", "slow",      "broken", "hang"};

    return (unsigned)f < SIM_FAULT_COUNT ? names[f] : "unknown";
}
