/* The clients and the length of a run, by name: see study.h. */
#include "base/error.h"
#include "base/parse.h"
#include "core/batch.h"
#include "sim/study.h"

#include <math.h>
#include <string.h>

#define ROWS_MAX   INT64_C(1000000000000)
#define TOKENS_MAX 1e9
#define SIGMA_MAX  5
/* Memory is taken for each place and each row of a window. */
#define JOBS_MAX 100000

static enum weir_status set_clients(struct sim_run *r, const char *value, struct weir_error *err)
{
    return parse_count(value, 1, SIM_STUDY_CLIENTS_MAX, &r->clients, err);
}

static enum weir_status set_jobs(struct sim_run *r, const char *value, struct weir_error *err)
{
    return parse_count(value, 1, JOBS_MAX, &r->jobs, err);
}

static enum weir_status set_rows(struct sim_run *r, const char *value, struct weir_error *err)
{
    return parse_count(value, 1, ROWS_MAX, &r->rows, err);
}

static enum weir_status set_duration(struct sim_run *r, const char *value, struct weir_error *err)
{
    duration_ns ns;
    enum weir_status status = parse_duration(value, &ns, err);

    if (status == WEIR_OK && (ns <= 0 || ns > SIM_STUDY_DURATION_MAX_NS))
        status = error_set(err, WEIR_E_INVALID, "is more than 0s and at most 3650d");
    if (status == WEIR_OK)
        r->duration_ns = ns;
    return status;
}

static enum weir_status set_window_rows(struct sim_run *r, const char *value,
                                        struct weir_error *err)
{
    return parse_count(value, 1, BATCH_WINDOW_ROWS_MAX, &r->window_rows, err);
}

/* MEDIAN,SIGMA */
static enum weir_status read_lognormal(const char *text, struct sim_row_cost *ret,
                                       struct weir_error *err)
{
    char median[32];
    const char *comma = strchr(text, ',');
    size_t len = comma ? (size_t)(comma - text) : sizeof median;
    enum weir_status status;

    if (len >= sizeof median)
        return error_set(err, WEIR_E_INVALID,
                         "\"%.64s\" is not a median and a sigma; write lognormal:360,0.8", text);
    memcpy(median, text, len);
    median[len] = '\0';
    status = parse_number(median, 1, TOKENS_MAX, &ret->a, err);
    return status == WEIR_OK ? parse_number(comma + 1, 0, SIGMA_MAX, &ret->b, err) : status;
}

static enum weir_status set_row_tokens(struct sim_run *r, const char *value, struct weir_error *err)
{
    static const char lognormal[] = "lognormal:", uniform[] = "uniform:";
    struct sim_row_cost cost = r->cost;
    enum weir_status status;

    if (strncmp(value, lognormal, strlen(lognormal)) == 0) {
        cost.kind = SIM_ROW_COST_LOGNORMAL;
        status = read_lognormal(value + strlen(lognormal), &cost, err);
    } else if (strncmp(value, uniform, strlen(uniform)) == 0) {
        cost.kind = SIM_ROW_COST_UNIFORM;
        status = parse_range(value + strlen(uniform), 1, TOKENS_MAX, &cost.a, &cost.b, err);
    } else {
        cost.kind = SIM_ROW_COST_FIXED;
        status = parse_number(value, 0, TOKENS_MAX, &cost.a, err);
    }
    if (status == WEIR_OK)
        r->cost = cost;
    return status;
}

static enum weir_status set_row_tokens_max(struct sim_run *r, const char *value,
                                           struct weir_error *err)
{
    return parse_number(value, 1, TOKENS_MAX, &r->cost.most, err);
}

static enum weir_status set_row_tokens_error(struct sim_run *r, const char *value,
                                             struct weir_error *err)
{
    return parse_number(value, 0, SIGMA_MAX, &r->cost.error, err);
}

/* ---- the table ---- */

static const struct sim_run_option options[] = {
    {"clients", "N", "clients that do not know each other and share the service (1)", set_clients},
    {"jobs", "N", "most attempts in flight of each client (8)", set_jobs},
    {"rows", "N", "rows of each client (no end)", set_rows},
    {"duration", "T", "how long the clients work (until all rows are through)", set_duration},
    {"window-rows", "N", "rows of each client that are read ahead (16384)", set_window_rows},
    {"row-tokens", "DIST", "what a row costs: N, uniform:N..N or lognormal:MEDIAN,SIGMA (0)",
     set_row_tokens},
    {"row-tokens-max", "N", "no row costs more tokens (no limit)", set_row_tokens_max},
    {"row-tokens-error", "SIGMA",
     "estimates of that cost are off by a lognormal factor of this sigma (0)",
     set_row_tokens_error},
};

size_t sim_run_option_count(void)
{
    return sizeof options / sizeof *options;
}

const struct sim_run_option *sim_run_option_at(size_t i)
{
    return i < sim_run_option_count() ? &options[i] : NULL;
}

const struct sim_run_option *sim_run_option_find(const char *name)
{
    for (size_t i = 0; i < sim_run_option_count(); i++) {
        if (strcmp(options[i].name, name) == 0)
            return &options[i];
    }
    return NULL;
}

enum weir_status sim_run_set(struct sim_run *r, const char *name, const char *value,
                             struct weir_error *err)
{
    const struct sim_run_option *o = sim_run_option_find(name);
    enum weir_status status;

    if (!o)
        return error_set(err, WEIR_E_INVALID, "there is no option --%.64s", name);
    if (!value)
        return error_set(err, WEIR_E_INVALID, "--%s: needs a value: --%s %s", name, name,
                         o->argument);
    status = o->set(r, value, err);
    if (status != WEIR_OK)
        (void)error_prefix(err, "--%s", name);
    return status;
}

/* ---- what a row costs ---- */

double sim_row_cost_mean(const struct sim_row_cost *c)
{
    switch (c->kind) {
    case SIM_ROW_COST_UNIFORM:
        return (c->a + c->b) / 2;
    case SIM_ROW_COST_LOGNORMAL:
        return c->a * exp(c->b * c->b / 2);
    case SIM_ROW_COST_FIXED:
        break;
    }
    return c->a;
}

int64_t sim_row_cost_draw(const struct sim_row_cost *c, struct rng *r, int64_t *ret_estimate)
{
    double cost = c->a;

    if (c->kind == SIM_ROW_COST_UNIFORM)
        cost += rng_unit(r) * (c->b - c->a);
    if (c->kind == SIM_ROW_COST_LOGNORMAL)
        cost *= exp(c->b * rng_normal(r));
    if (c->most > 0)
        cost = fmin(cost, c->most);
    if (cost <= 0) {
        *ret_estimate = 0;
        return 0;
    }
    cost = fmax(1, fmin(cost, TOKENS_MAX));
    *ret_estimate = llround(fmax(1, fmin(cost * exp(c->error * rng_normal(r)), TOKENS_MAX)));
    return llround(cost);
}
