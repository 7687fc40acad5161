/* A study, and the oracle: what they say is what happened. */
#include "base/mem.h"
#include "sim/study.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Options by name, service's and run's: name, value, ..., NULL. A flag has the value "". */
static struct sim_study_options options_of(enum throttle_kind throttle, const char *first, ...)
{
    struct sim_study_options o;
    struct weir_error err = {0};
    va_list more;

    sim_study_options_init(&o);
    o.pool.gate.throttle.kind = throttle;
    va_start(more, first);
    for (const char *name = first; name; name = va_arg(more, const char *)) {
        const char *value = va_arg(more, const char *);
        enum weir_status status;

        if (sim_run_option_find(name))
            status = sim_run_set(&o.run, name, value, &err);
        else
            status = sim_script_set(&o.script, name, *value ? value : NULL, &err);
        if (status != WEIR_OK)
            fail_msg("%s", err.message);
    }
    va_end(more);
    return o;
}

static struct sim_study_result run(const struct sim_study_options *o)
{
    struct sim_study_result r;
    struct weir_error err = {0};

    if (sim_study_run(o, &r, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    assert_int_equal(r.sent, r.accepted + r.refused);
    assert_true(r.attempts >= r.sent);
    return r;
}

static struct sim_study_result ask_oracle(const struct sim_study_options *o)
{
    struct sim_study_result r;
    struct weir_error err = {0};

    if (sim_study_oracle(o, &r, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    assert_int_equal(r.refused, 0);
    assert_int_equal(r.sent, r.accepted);
    assert_int_equal(r.attempts, r.sent);
    return r;
}

static bool near(double got, double want, double share)
{
    return fabs(got - want) <= share * fabs(want);
}

/* ---- options ---- */

static void options_by_name_say_what_is_wrong(void **state)
{
    static const struct {
        const char *name, *value, *words;
    } bad[] = {
        {"clients", "0", "--clients: "},
        {"clients", "65", "--clients: "},
        {"rows", "x", "--rows: "},
        {"duration", "0s", "more than 0s"},
        {"row-tokens", "lognormal:5", "sigma"},
        {"row-tokens", "lognormal:5,9", "9"},
        {"row-tokens", "uniform:9..5", "9"},
        {"row-tokens", "-1", "-1"},
        {"row-tokens-error", "7", "7"},
        {"window-rows", "0", "--window-rows: "},
        {"jobs", "0", "--jobs: "},
        {"jobs", NULL, "needs a value"},
        {"nothing", "1", "no option --nothing"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sim_study_options o, before;
        struct weir_error err = {0};

        sim_study_options_init(&o);
        before = o;
        assert_int_equal(sim_run_set(&o.run, bad[i].name, bad[i].value, &err), WEIR_E_INVALID);
        assert_non_null(strstr(err.message, bad[i].words));
        assert_memory_equal(&o.run, &before.run, sizeof o.run);
    }
    for (size_t i = 0; i < sim_run_option_count(); i++) {
        assert_ptr_equal(sim_run_option_find(sim_run_option_at(i)->name), sim_run_option_at(i));
        /* A file of a service has one flat list of keys. */
        assert_null(sim_option_find(sim_run_option_at(i)->name));
    }
    assert_null(sim_run_option_at(sim_run_option_count()));
}

static void what_never_ends_is_refused(void **state)
{
    struct sim_study_options o = options_of(THROTTLE_NONE, "rate", "5", NULL);
    struct sim_study_result r;
    struct weir_error err = {0};

    (void)state;
    assert_int_equal(sim_study_run(&o, &r, &err), WEIR_E_INVALID);
    assert_non_null(strstr(err.message, "never end"));
    o = options_of(THROTTLE_NONE, "rows", "5", "hang-rate", "0.1", NULL);
    assert_int_equal(sim_study_oracle(&o, &r, &err), WEIR_E_INVALID);
    assert_non_null(strstr(err.message, "hang-rate"));
    o = options_of(THROTTLE_NONE, "rows", "5", "jobs", "9", "window-rows", "8", NULL);
    assert_int_equal(sim_study_run(&o, &r, &err), WEIR_E_INVALID);
    assert_non_null(strstr(err.message, "window-rows 8"));
    o = options_of(THROTTLE_NONE, "rows", "5", "queue", "9", NULL);
    assert_int_equal(sim_study_run(&o, &r, &err), WEIR_E_INVALID);
    assert_non_null(strstr(err.message, "--servers"));
}

static void costs_have_the_mean_and_the_error_that_was_asked_for(void **state)
{
    static const char *const texts[] = {"400", "uniform:100..300", "lognormal:363,0.8"};
    struct rng r;

    (void)state;
    rng_seed(&r, 8);
    for (size_t i = 0; i < 3; i++) {
        struct sim_study_options o =
            options_of(THROTTLE_NONE, "row-tokens", texts[i], "row-tokens-error", "0.15", NULL);
        double sum = 0, squares = 0;
        int64_t estimate;

        for (int n = 0; n < 200000; n++) {
            int64_t cost = sim_row_cost_draw(&o.run.cost, &r, &estimate);
            double off = log((double)estimate / (double)cost);

            sum += (double)cost;
            squares += off * off;
        }
        assert_true(near(sum / 200000, sim_row_cost_mean(&o.run.cost), 0.01));
        assert_true(near(sqrt(squares / 200000), 0.15, 0.02));
    }
    {
        struct sim_study_options o = options_of(THROTTLE_NONE, "row-tokens", "lognormal:363,0.8",
                                                "row-tokens-max", "1000", NULL);
        int64_t most = 0, estimate;

        for (int n = 0; n < 10000; n++) {
            int64_t cost = sim_row_cost_draw(&o.run.cost, &r, &estimate);

            assert_int_equal(cost, estimate);
            most = cost > most ? cost : most;
        }
        assert_int_equal(most, 1000);
    }
}

/* ---- figures that can be worked out by hand ---- */

static void places_and_latency_give_the_duration(void **state)
{
    struct sim_study_options o = options_of(THROTTLE_NONE, "latency", "1s", "network", "250ms",
                                            "rows", "100", "jobs", "4", NULL);
    struct sim_study_result r = run(&o);

    (void)state;
    assert_int_equal(r.end, SIM_STUDY_ROWS);
    assert_int_equal(r.rows, 100);
    assert_int_equal(r.rows_ok, 100);
    assert_int_equal(r.attempts, 100);
    assert_int_equal(r.duration_ns, 25 * 1250 * NS_PER_MS);
    assert_int_equal(r.in_flight_peak, 4);
    assert_true(r.completion.p50 == 1.25 && r.completion.max == 1.25);
    assert_true(r.latency.p99 == 1.25);
    assert_true(r.ordering.max == 0);
    assert_true(isnan(r.goodput));
    assert_true(r.waste == 0);
    r = ask_oracle(&o);
    assert_int_equal(r.end, SIM_STUDY_ROWS);
    assert_int_equal(r.duration_ns, 25 * NS_PER_S);
    assert_int_equal(r.rows_ok, 100);
}

static void a_duration_ends_a_run_that_has_no_end(void **state)
{
    struct sim_study_options o =
        options_of(THROTTLE_NONE, "latency", "1s", "duration", "10500ms", "jobs", "4", NULL);
    struct sim_study_result r = run(&o);

    (void)state;
    assert_int_equal(r.end, SIM_STUDY_TIME);
    assert_int_equal(r.duration_ns, 10500 * NS_PER_MS);
    assert_int_equal(r.rows, 40);
    assert_int_equal(r.attempts, 44);
    r = ask_oracle(&o);
    assert_int_equal(r.end, SIM_STUDY_TIME);
    assert_int_equal(r.rows, 40);
}

static void capacity_counts_only_while_there_is_work(void **state)
{
    struct sim_study_options o = options_of(THROTTLE_NONE, "rate", "10", "rows", "100", "duration",
                                            "1000s", "latency", "5s", "jobs", "64", NULL);
    struct sim_study_result r = ask_oracle(&o);

    (void)state;
    assert_int_equal(r.end, SIM_STUDY_ROWS);
    /* The last request is sent after 9.9 s; its answer is not work of the service's rate. */
    assert_true(near(duration_seconds(r.duration_ns), 14.9, 1e-6));
    assert_true(near(r.offered, 99, 1e-6));
    assert_true(near(r.goodput, 100.0 / 99, 1e-6));
}

static void a_window_of_rows_holds_back_what_is_far_ahead(void **state)
{
    /* One of the first rows takes very long; only so many others may pass it. */
    struct sim_study_options o = options_of(THROTTLE_NONE, "latency", "lognormal:1s,2", "rows",
                                            "3000", "jobs", "20", "window-rows", "20", NULL);
    struct sim_study_result narrow, wide;

    (void)state;
    narrow = run(&o);
    o.run.window_rows = 3000;
    wide = run(&o);
    assert_int_equal(narrow.rows_ok, 3000);
    assert_int_equal(wide.rows_ok, 3000);
    assert_int_equal(ask_oracle(&o).rows_ok, 3000);
    o.run.window_rows = 20;
    assert_int_equal(ask_oracle(&o).rows_ok, 3000);
    assert_true(narrow.duration_ns > wide.duration_ns * 3 / 2);
    assert_true(wide.ordering.p99 > narrow.ordering.p99);
}

static void failures_are_told_by_their_reason(void **state)
{
    struct sim_study_options o =
        options_of(THROTTLE_NONE, "latency", "10ms", "permanent-rate", "0.2", "hang-rate", "0.1",
                   "reset-rate", "0.1", "fail-rate", "0.1", "rows", "4000", NULL);
    struct sim_study_result r;

    (void)state;
    o.pool.timeout_ns = NS_PER_S;
    o.pool.max_attempts = 1;
    r = run(&o);
    assert_int_equal(r.rows, 4000);
    assert_int_equal(r.failures, 4000 - r.rows_ok);
    assert_true(near((double)r.failures_by_reason[WEIR_REASON_HTTP_STATUS], 4000 * 0.28, 0.1));
    assert_true(near((double)r.failures_by_reason[WEIR_REASON_TIMEOUT], 4000 * 0.08, 0.2));
    assert_true(near((double)r.failures_by_reason[WEIR_REASON_CONNECTION_LOST], 4000 * 0.08, 0.2));
    r = ask_oracle(&o);
    assert_int_equal(r.rows, 4000);
    assert_true(near((double)r.failures_by_reason[WEIR_REASON_HTTP_STATUS], 4000 * 0.28, 0.1));
    assert_true(near((double)r.failures_by_reason[WEIR_REASON_TIMEOUT], 4000 * 0.08, 0.2));
    /* With more attempts only the permanent ones are left, and few others. */
    o.pool.max_attempts = 10;
    assert_true(near((double)run(&o).failures, 4000 * 0.2 * 1.43, 0.15));
}

static void estimates_go_to_the_budget_and_costs_to_the_service(void **state)
{
    /* Within its own budget of tokens the client is never refused, whatever it believed of each row. */
    struct sim_study_options o = options_of(THROTTLE_NONE, "tpm", "60000", "window", "bucket:60s",
                                            "row-tokens", "uniform:50..150", "row-tokens-error",
                                            "0.2", "latency", "100ms", "duration", "1200s", NULL);
    struct sim_study_result r;

    (void)state;
    o.pool.gate.tokens_per_minute = 57000;
    r = run(&o);
    assert_int_equal(r.refused, 0);
    assert_true(near((double)r.tokens, 57000 * 20, 0.06));
    assert_true(near(r.goodput, 0.95, 0.05));
}

/* ---- the way ---- */

struct order {
    uint64_t started, inversions, last;
};

static void see_order(void *ctx, const struct core_task *t, struct instant now)
{
    struct order *o = ctx;

    (void)now;
    if (t->index > 0 && t->complete_index < o->last)
        o->inversions++;
    o->last = t->complete_index;
}

static void requests_overtake_each_other_only_with_jitter(void **state)
{
    struct order order = {0};
    struct sim_study_options o =
        options_of(THROTTLE_NONE, "network", "5ms", "latency", "1s", "rows", "500", NULL);

    (void)state;
    o.hooks.take = see_order;
    o.ctx = &order;
    (void)run(&o);
    assert_int_equal(order.inversions, 0);
    assert_int_equal(sim_script_set(&o.script, "network", "5ms,5ms", NULL), WEIR_OK);
    order = (struct order){0};
    (void)run(&o);
    assert_true(order.inversions > 50);
}

static void a_cancelled_request_on_its_way_never_arrives(void **state)
{
    struct sim_study_options o =
        options_of(THROTTLE_NONE, "network", "2s", "latency", "1s", "rows", "10", NULL);
    struct sim_study_result r;

    (void)state;
    o.pool.timeout_ns = NS_PER_S;
    o.pool.max_attempts = 2;
    r = run(&o);
    assert_int_equal(r.end, SIM_STUDY_ROWS);
    assert_int_equal(r.attempts, 20);
    assert_int_equal(r.sent, 0);
    assert_int_equal(r.failures_by_reason[WEIR_REASON_TIMEOUT], 10);
}

/* ---- samples ---- */

struct sums {
    duration_ns at_ns;
    double capacity, in_flight_s;
    uint64_t accepted, refused, delivered, samples, halt_after;
};

static bool add_up(void *ctx, const struct sim_study_sample *s)
{
    struct sums *sums = ctx;

    assert_int_equal(s->at_ns, sums->at_ns + s->length_ns);
    assert_true(s->length_ns > 0);
    assert_true(s->capacity_rps == 5 || s->capacity_rps == 20);
    assert_true(isinf(s->rate_rps) && isinf(s->window));
    assert_in_range(s->in_flight, 0, 16);
    sums->at_ns = s->at_ns;
    sums->capacity += s->capacity;
    sums->in_flight_s += s->in_flight_s;
    sums->accepted += s->accepted;
    sums->refused += s->refused;
    sums->delivered += s->delivered;
    sums->samples++;
    return sums->samples != sums->halt_after;
}

static void samples_add_up_to_the_result(void **state)
{
    struct sim_study_options o =
        options_of(THROTTLE_NONE, "rate", "5..20", "phase", "5s..9s", "latency", "uniform:1s..2s",
                   "jobs", "8", "clients", "2", "duration", "100300ms", NULL);
    struct sums sums = {0};
    struct sim_study_result r;

    (void)state;
    o.sample_ns = NS_PER_S;
    o.sample = add_up;
    o.ctx = &sums;
    r = run(&o);
    assert_int_equal(sums.samples, 101);
    assert_int_equal(sums.at_ns, r.duration_ns);
    assert_int_equal(sums.accepted, r.accepted);
    assert_int_equal(sums.refused, r.refused);
    assert_int_equal(sums.delivered, r.rows);
    assert_true(near(sums.capacity, r.offered, 1e-9));
    /* Little's law: what is in flight is what was sent, each for its time. */
    assert_true(near(sums.in_flight_s, (double)r.accepted * r.latency.mean, 0.02));
    sums = (struct sums){.halt_after = 7};
    r = run(&o);
    assert_int_equal(r.end, SIM_STUDY_HALTED);
    assert_int_equal(r.duration_ns, 7 * NS_PER_S);
}

static void samples_of_the_oracle_add_up(void **state)
{
    struct sim_study_options o =
        options_of(THROTTLE_NONE, "rate", "5..20", "phase", "5s..9s", "latency",
                   "uniform:100ms..900ms", "jobs", "16", "duration", "100300ms", NULL);
    struct sums sums = {0};
    struct sim_study_result r;

    (void)state;
    o.sample_ns = NS_PER_S;
    o.sample = add_up;
    o.ctx = &sums;
    r = ask_oracle(&o);
    assert_int_equal(sums.samples, 101);
    assert_int_equal(sums.at_ns, r.duration_ns);
    assert_int_equal(sums.accepted, r.accepted);
    assert_int_equal(sums.delivered, r.rows);
    assert_true(near(sums.capacity, r.offered, 0.01));
    assert_true(near(sums.in_flight_s, (double)r.accepted * r.latency.mean, 0.02));
    sums = (struct sums){.halt_after = 7};
    r = ask_oracle(&o);
    assert_int_equal(r.end, SIM_STUDY_HALTED);
    assert_int_equal(r.duration_ns, 7 * NS_PER_S);
}

static bool one_is_always_in_flight(void *ctx, const struct sim_study_sample *s)
{
    (void)ctx;
    assert_int_equal(s->in_flight, 1);
    assert_true(near(s->in_flight_s, duration_seconds(s->length_ns), 1e-9));
    return true;
}

static void a_sample_counts_what_is_in_flight_over_its_end(void **state)
{
    struct sim_study_options o =
        options_of(THROTTLE_NONE, "latency", "10s", "jobs", "1", "duration", "95s", NULL);

    (void)state;
    o.sample_ns = 3 * NS_PER_S;
    o.sample = one_is_always_in_flight;
    (void)run(&o);
}

static void looking_changes_nothing(void **state)
{
    struct sim_study_options o =
        options_of(THROTTLE_AIMD, "rate", "5..20", "phase", "5s..9s", "latency", "lognormal:1s,0.3",
                   "network", "10ms,5ms", "duration", "200s", NULL);
    struct sums sums = {0};
    struct sim_study_result r, seen;

    (void)state;
    r = run(&o);
    o.sample_ns = 700 * NS_PER_MS;
    o.sample = add_up;
    o.ctx = &sums;
    seen = run(&o);
    assert_int_equal(seen.accepted, r.accepted);
    assert_int_equal(seen.refused, r.refused);
    assert_true(seen.completion.mean == r.completion.mean);
    assert_true(seen.goodput == r.goodput || near(seen.goodput, r.goodput, 1e-12));
}

/* ---- several clients, seeds ---- */

static void the_same_seed_is_the_same_run(void **state)
{
    struct sim_study_options o = options_of(THROTTLE_AIMD, "rate", "5..20", "phase", "5s..20s",
                                            "latency", "lognormal:1s,0.2", "clients", "3", "tpm",
                                            "500k", "row-tokens", "lognormal:300,0.5", "fail-rate",
                                            "0.02", "network", "1ms,1ms", "duration", "120s", NULL);
    struct sim_study_result a, b, c;

    (void)state;
    a = run(&o);
    b = run(&o);
    assert_memory_equal(&a, &b, sizeof a);
    o.seed = 2;
    c = run(&o);
    assert_true(memcmp(&a, &c, sizeof a) != 0);
    o.seed = 1;
    o.script.seed = 99; /* not looked at */
    c = run(&o);
    assert_memory_equal(&a, &c, sizeof a);
    a = ask_oracle(&o);
    b = ask_oracle(&o);
    assert_memory_equal(&a, &b, sizeof a);
}

static void add_cost(void *ctx, const struct core_task *t, struct instant now)
{
    int64_t *sums = ctx;

    (void)now;
    sums[core_batch_number(t->batch) % 2] += t->tokens;
}

static void each_client_has_rows_of_its_own(void **state)
{
    struct sim_study_options o = options_of(THROTTLE_NONE, "row-tokens", "uniform:1..1000",
                                            "clients", "2", "rows", "50", NULL);
    int64_t sums[2] = {0, 0};

    (void)state;
    o.hooks.take = add_cost;
    o.ctx = sums;
    assert_int_equal(run(&o).rows, 100);
    assert_true(sums[0] > 0 && sums[1] > 0 && sums[0] != sums[1]);
}

static void clients_share_one_service(void **state)
{
    struct sim_study_options o =
        options_of(THROTTLE_AIMD, "rate", "10", "latency", "lognormal:300ms,0.3", "network",
                   "10ms,5ms", "jobs", "4", "clients", "4", "duration", "600s", NULL);
    struct sim_study_result r = run(&o);

    (void)state;
    assert_true(r.goodput > 0.5 && r.goodput <= 1.01);
    assert_true(r.jain > 0.95 && r.jain <= 1);
    assert_true(r.jain_60 > 0.9 && r.jain_60 <= 1);
    assert_int_equal(r.in_flight_peak, 4);
    r = ask_oracle(&o);
    assert_true(near(r.goodput, 1, 0.005));
}

/* ---- the oracle ---- */

static void no_kind_of_limit_refuses_the_oracle_anything(void **state)
{
    const struct sim_study_options services[] = {
        options_of(0, "rate", "5..20", "latency", "1s", "jobs", "64", NULL),
        options_of(0, "rate", "5..20", "burst", "1s", "levels", "log-uniform", "latency", "1s",
                   "jobs", "64", NULL),
        options_of(0, "concurrency", "8..64", "latency", "1s", "jobs", "128", NULL),
        options_of(0, "rpm", "500", "latency", "1s", "jobs", "500", NULL),
        options_of(0, "rpm", "600", "window", "fixed", "latency", "1s", "jobs", "600", NULL),
        options_of(0, "rpm", "600", "tpm", "240k", "window", "bucket", "latency", "1s",
                   "row-tokens", "lognormal:363,0.8", "jobs", "64", NULL),
        options_of(0, "servers", "24", "queue", "100", "latency", "exponential:1s", "jobs", "64",
                   NULL),
        options_of(0, "rate", "20", "outage", "100s+60s", "outages", "300s,20s", "latency", "1s",
                   "jobs", "64", NULL),
    };

    (void)state;
    for (size_t i = 0; i < sizeof services / sizeof *services; i++) {
        struct sim_study_options o = services[i];
        struct sim_study_result r;

        o.run.duration_ns = 1200 * NS_PER_S;
        r = ask_oracle(&o);
        /* A window may begin full: a minute of 20 more. */
        if (r.goodput < 0.985 || r.goodput > 1.06)
            fail_msg("service %zu: goodput %f", i, r.goodput);
    }
}

/* ---- memory ---- */

static void each_failed_allocation_is_said(void **state)
{
    struct sim_study_options o = options_of(THROTTLE_AIMD, "rpm", "600", "latency", "100ms",
                                            "clients", "2", "rows", "20", NULL);
    bool oracle[] = {false, true};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        for (unsigned long n = 1;; n++) {
            struct sim_study_result r = {.rows = 4711};
            enum weir_status status;

            mem_fail_at(n);
            status = oracle[i] ? sim_study_oracle(&o, &r, NULL) : sim_study_run(&o, &r, NULL);
            if (!mem_has_failed()) {
                mem_fail_at(0);
                assert_int_equal(status, WEIR_OK);
                break;
            }
            mem_fail_at(0);
            /* A row that found no memory came again later. */
            if (status == WEIR_OK)
                assert_int_equal(r.rows_ok, 40);
            else
                assert_int_equal(r.rows, 4711);
            assert_true(status == WEIR_OK || status == WEIR_E_NOMEM);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_by_name_say_what_is_wrong),
        cmocka_unit_test(what_never_ends_is_refused),
        cmocka_unit_test(costs_have_the_mean_and_the_error_that_was_asked_for),
        cmocka_unit_test(places_and_latency_give_the_duration),
        cmocka_unit_test(a_duration_ends_a_run_that_has_no_end),
        cmocka_unit_test(capacity_counts_only_while_there_is_work),
        cmocka_unit_test(a_window_of_rows_holds_back_what_is_far_ahead),
        cmocka_unit_test(failures_are_told_by_their_reason),
        cmocka_unit_test(estimates_go_to_the_budget_and_costs_to_the_service),
        cmocka_unit_test(requests_overtake_each_other_only_with_jitter),
        cmocka_unit_test(a_cancelled_request_on_its_way_never_arrives),
        cmocka_unit_test(samples_add_up_to_the_result),
        cmocka_unit_test(samples_of_the_oracle_add_up),
        cmocka_unit_test(a_sample_counts_what_is_in_flight_over_its_end),
        cmocka_unit_test(looking_changes_nothing),
        cmocka_unit_test(the_same_seed_is_the_same_run),
        cmocka_unit_test(each_client_has_rows_of_its_own),
        cmocka_unit_test(clients_share_one_service),
        cmocka_unit_test(no_kind_of_limit_refuses_the_oracle_anything),
        cmocka_unit_test(each_failed_allocation_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
