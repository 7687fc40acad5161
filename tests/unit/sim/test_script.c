/* The options of a modelled service: what is understood, what is refused, and with which words. */
#include "sim/script.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct sim_script with(const char *name, const char *value)
{
    struct sim_script s;
    struct weir_error err = {0};

    sim_script_init(&s);
    if (sim_script_set(&s, name, value, &err) != WEIR_OK)
        fail_msg("--%s %s: %s", name, value ? value : "", err.message);
    return s;
}

static void nothing_given_is_a_service_without_limits(void **state)
{
    struct sim_script s;

    (void)state;
    sim_script_init(&s);
    assert_int_equal(sim_script_check(&s, NULL), WEIR_OK);
    assert_true(s.rate_rps.hi == 0 && s.concurrency.hi == 0);
    assert_int_equal(s.requests_per_minute, 0);
    assert_int_equal(s.latency.a_ns, 0);
    assert_int_equal(s.refusals[0].status, 429);
}

static void capacity_options_are_understood(void **state)
{
    struct sim_script s = with("rate", "5..20");

    (void)state;
    assert_true(s.rate_rps.lo == 5 && s.rate_rps.hi == 20);
    s = with("rate", "7.5");
    assert_true(s.rate_rps.lo == 7.5 && s.rate_rps.hi == 7.5);
    s = with("phase", "20s..2m");
    assert_int_equal(s.phase_lo_ns, 20 * NS_PER_S);
    assert_int_equal(s.phase_hi_ns, 120 * NS_PER_S);
    assert_int_equal(with("levels", "uniform").levels, SIM_LEVELS_UNIFORM);
    assert_int_equal(with("levels", "log-uniform").levels, SIM_LEVELS_LOG_UNIFORM);
    s = with("concurrency", "8..64");
    assert_true(s.concurrency.lo == 8 && s.concurrency.hi == 64);
    assert_int_equal(with("rpm", "10k").requests_per_minute, 10000);
    assert_int_equal(with("tpm", "240k").tokens_per_minute, 240000);
    assert_int_equal(with("window", "fixed").window, SIM_WINDOW_FIXED);
    s = with("window", "bucket:5s");
    assert_int_equal(s.window, SIM_WINDOW_BUCKET);
    assert_int_equal(s.window_depth_ns, 5 * NS_PER_S);
    assert_int_equal(with("servers", "24").servers, 24);
    assert_int_equal(with("queue", "0").queue_max, 0);
}

static void burst_is_requests_or_time(void **state)
{
    struct sim_script s = with("burst", "5");

    (void)state;
    assert_true(s.burst_requests == 5 && s.burst_ns == 0);
    s = with("burst", "1s");
    assert_true(s.burst_requests == 1 && s.burst_ns == NS_PER_S);
}

static void latencies_are_distributions(void **state)
{
    struct sim_latency l = with("latency", "1.2s").latency;

    (void)state;
    assert_true(l.kind == SIM_LATENCY_FIXED && l.a_ns == 1200 * NS_PER_MS);
    l = with("latency", "fixed:50ms").latency;
    assert_true(l.kind == SIM_LATENCY_FIXED && l.a_ns == 50 * NS_PER_MS);
    l = with("latency", "uniform:1s..2s").latency;
    assert_true(l.kind == SIM_LATENCY_UNIFORM && l.b_ns == 2 * NS_PER_S);
    assert_true(sim_latency_mean_s(&l) == 1.5);
    l = with("latency", "exponential:1s").latency;
    assert_true(l.kind == SIM_LATENCY_EXPONENTIAL && sim_latency_mean_s(&l) == 1);
    l = with("refusal-latency", "lognormal:60ms,0.4").refusal_latency;
    assert_true(l.kind == SIM_LATENCY_LOGNORMAL && l.sigma == 0.4);
    assert_true(fabs(sim_latency_mean_s(&l) - 0.06 * exp(0.08)) < 1e-12);
}

static void the_way_has_a_length_and_jitter(void **state)
{
    struct sim_script s = with("network", "10ms,0.1ms");

    (void)state;
    assert_int_equal(s.network_ns, 10 * NS_PER_MS);
    assert_int_equal(s.network_jitter_ns, 100 * NS_PER_US);
    s = with("network", "1s");
    assert_true(s.network_ns == NS_PER_S && s.network_jitter_ns == 0);
}

static void refusals_have_weights(void **state)
{
    struct sim_script s = with("refuse-with", "429:8,503,529:0.5");

    (void)state;
    assert_int_equal(s.refusal_count, 3);
    assert_true(s.refusals[0].status == 429 && s.refusals[0].weight == 8);
    assert_true(s.refusals[1].status == 503 && s.refusals[1].weight == 1);
    assert_true(s.refusals[2].status == 529 && s.refusals[2].weight == 0.5);
    assert_int_equal(with("headers", "retry-after").headers, SIM_HEADERS_RETRY_AFTER);
    assert_int_equal(with("headers", "all").headers,
                     SIM_HEADERS_RETRY_AFTER | SIM_HEADERS_RATELIMIT);
}

static void outages_add_up(void **state)
{
    struct sim_script s = with("outage", "60s+10s");

    (void)state;
    assert_int_equal(sim_script_set(&s, "outage", "2m+1m", NULL), WEIR_OK);
    assert_int_equal(s.outage_count, 2);
    assert_int_equal(s.outages[1].start_ns, 120 * NS_PER_S);
    assert_int_equal(s.outages[1].length_ns, 60 * NS_PER_S);
    s = with("outages", "5m,30s");
    assert_int_equal(s.outage_interval_ns, 300 * NS_PER_S);
    assert_int_equal(s.outage_length_ns, 30 * NS_PER_S);
}

static void each_fault_has_its_rate(void **state)
{
    char option[32];

    (void)state;
    for (int f = SIM_FAULT_NONE + 1; f < SIM_FAULT_COUNT; f++) {
        struct sim_script s;

        snprintf(option, sizeof option, "%s-rate", sim_fault_name((enum sim_fault)f));
        s = with(option, "0.25");
        for (int other = 0; other < SIM_FAULT_COUNT; other++)
            assert_true(s.fault_rates[other] == (other == f ? 0.25 : 0));
    }
}

static void flags_and_seed(void **state)
{
    (void)state;
    assert_true(with("deterministic", NULL).deterministic);
    assert_true(with("slow-refusals", NULL).slow_refusals);
    assert_int_equal(with("seed", "42").seed, 42);
}

struct bad {
    const char *name;
    const char *value;
    const char *said; /* part of the message */
};

static void bad_values_are_refused_by_name_and_change_nothing(void **state)
{
    static const struct bad bad[] = {
        {"rate", "20..5", "--rate"},
        {"rate", "0", "--rate"},
        {"rate", "", "--rate"},
        {"rate", "fast", "--rate"},
        {"rate", "5..", "--rate"},
        {"rate", NULL, "needs a value"},
        {"phase", "1ms", "10ms"},
        {"levels", "up", "ends|uniform"},
        {"burst", "0", "--burst"},
        {"burst", "", "--burst"},
        {"burst", "-1", "--burst"},
        {"concurrency", "1.5", "whole"},
        {"concurrency", "0..5", "--concurrency"},
        {"rpm", "0", "--rpm"},
        {"tpm", "1.5.5", "--tpm"},
        {"window", "bucket:0s", "bucket"},
        {"window", "tumbling", "sliding|fixed|bucket"},
        {"servers", "0", "--servers"},
        {"queue", "-1", "--queue"},
        {"headers", "some", "none|retry-after|ratelimit|all"},
        {"refuse-with", "200", "--refuse-with"},
        {"refuse-with", "429,", "--refuse-with"},
        {"refuse-with", "429:0", "weights"},
        {"refuse-with", "429:-1", "--refuse-with"},
        {"refuse-with", "429,429,429,429,429,429,429,429,429", "at most 8"},
        {"slow-refusals", "yes", "takes no value"},
        {"latency", "lognormal:1s", "lognormal:1.2s,0.4"},
        {"latency", "lognormal:1s,9", "--latency"},
        {"latency", "uniform:2s..1s", "--latency"},
        {"latency", "gauss:1s", "--latency"},
        {"latency", "100d", "a day"},
        {"outage", "60s", "60s+10s"},
        {"outage", "+", "--outage"},
        {"outages", "5m", "5m,30s"},
        {"outages", "0s,30s", "10ms"},
        {"fail-rate", "1.01", "--fail-rate"},
        {"fail-rate", "nan", "--fail-rate"},
        {"hang-rate", "-0.1", "--hang-rate"},
        {"seed", "x", "--seed"},
        {"deterministic", "1", "takes no value"},
        {"speed", "1", "there is no option --speed"},
        {"", "1", "there is no option"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sim_script before;
        struct sim_script s;
        struct weir_error err = {0};

        sim_script_init(&before);
        s = before;
        if (sim_script_set(&s, bad[i].name, bad[i].value, &err) == WEIR_OK)
            fail_msg("--%s %s was taken", bad[i].name, bad[i].value);
        if (!strstr(err.message, bad[i].said))
            fail_msg("--%s %s: \"%s\" does not say \"%s\"", bad[i].name, bad[i].value, err.message,
                     bad[i].said);
        assert_memory_equal(&s, &before, sizeof s);
    }
}

static void too_many_outages_are_refused(void **state)
{
    struct sim_script s;

    (void)state;
    sim_script_init(&s);
    for (int i = 0; i < SIM_OUTAGES_MAX; i++)
        assert_int_equal(sim_script_set(&s, "outage", "1s+1s", NULL), WEIR_OK);
    assert_int_equal(sim_script_set(&s, "outage", "1s+1s", NULL), WEIR_E_LIMIT);
}

static void what_does_not_go_together_is_refused(void **state)
{
    struct sim_script s;
    struct weir_error err = {0};

    (void)state;
    s = with("fail-rate", "0.6");
    assert_int_equal(sim_script_set(&s, "hang-rate", "0.4", NULL), WEIR_OK);
    assert_int_equal(sim_script_set(&s, "permanent-rate", "1", NULL), WEIR_OK);
    assert_int_equal(sim_script_check(&s, &err), WEIR_OK);
    assert_int_equal(sim_script_set(&s, "hang-rate", "0.5", NULL), WEIR_OK);
    assert_int_equal(sim_script_check(&s, &err), WEIR_E_INVALID);
    assert_non_null(strstr(err.message, "1.1"));
    s = with("queue", "5");
    assert_int_equal(sim_script_check(&s, &err), WEIR_E_INVALID);
    s = with("burst", "5");
    assert_int_equal(sim_script_check(&s, &err), WEIR_E_INVALID);
}

static void the_table_is_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < sim_option_count(); i++) {
        const struct sim_option *o = sim_option_at(i);

        assert_ptr_equal(sim_option_find(o->name), o);
        assert_non_null(o->help);
        assert_non_null(o->group);
        assert_non_null(o->set);
    }
    assert_null(sim_option_at(sim_option_count()));
    assert_null(sim_option_find("no such"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_given_is_a_service_without_limits),
        cmocka_unit_test(capacity_options_are_understood),
        cmocka_unit_test(burst_is_requests_or_time),
        cmocka_unit_test(latencies_are_distributions),
        cmocka_unit_test(the_way_has_a_length_and_jitter),
        cmocka_unit_test(refusals_have_weights),
        cmocka_unit_test(outages_add_up),
        cmocka_unit_test(each_fault_has_its_rate),
        cmocka_unit_test(flags_and_seed),
        cmocka_unit_test(bad_values_are_refused_by_name_and_change_nothing),
        cmocka_unit_test(too_many_outages_are_refused),
        cmocka_unit_test(what_does_not_go_together_is_refused),
        cmocka_unit_test(the_table_is_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
