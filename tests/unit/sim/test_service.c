/* The modelled service in virtual time: it bears what its script says, and no more. */
#include "base/heap.h"
#include "base/mem.h"
#include "base/rng.h"
#include "sim/service.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct instant at_s(double seconds)
{
    return (struct instant){duration_from_seconds(seconds)};
}

/* A service of options: name, value, ..., NULL. A flag has the value "". */
static struct sim_service *service_of(const char *first, ...)
{
    struct sim_script script;
    struct sim_service *s = NULL;
    struct weir_error err = {0};
    va_list more;

    sim_script_init(&script);
    va_start(more, first);
    for (const char *name = first; name; name = va_arg(more, const char *)) {
        const char *value = va_arg(more, const char *);

        if (sim_script_set(&script, name, *value ? value : NULL, &err) != WEIR_OK)
            fail_msg("%s", err.message);
    }
    va_end(more);
    assert_int_equal(sim_script_check(&script, &err), WEIR_OK);
    assert_int_equal(sim_service_new(&script, at_s(0), &s, &err), WEIR_OK);
    return s;
}

static struct sim_answer send_at(struct sim_service *s, struct instant now, uint64_t identity,
                                 int64_t tokens)
{
    struct sim_request q = {.tokens = tokens, .identity = identity};
    struct sim_answer a;

    sim_service_arrive(s, now, &q, &a);
    return a;
}

/* Arrives and leaves in the same moment: for what does not ask who is in service. */
static struct sim_answer pass_at(struct sim_service *s, double seconds)
{
    struct sim_answer a = send_at(s, at_s(seconds), 1, 1);

    sim_service_leave(s, at_s(seconds), &a, true);
    return a;
}

static struct sim_stats stats_at(struct sim_service *s, double seconds)
{
    struct sim_stats st;

    sim_service_stats(s, at_s(seconds), &st);
    return st;
}

static void without_limits_all_is_accepted_at_once(void **state)
{
    struct sim_service *s = service_of(NULL);

    (void)state;
    for (int i = 0; i < 1000; i++) {
        struct sim_answer a = send_at(s, at_s(0), (uint64_t)i, 1);

        assert_int_equal(a.limit, SIM_LIMIT_NONE);
        assert_int_equal(a.status, 200);
        assert_int_equal(a.latency_ns, 0);
    }
    assert_true(stats_at(s, 1).unlimited);
    assert_int_equal(stats_at(s, 1).in_service_peak, 1000);
    sim_service_free(s);
}

static void a_strict_rate_never_bears_two_within_its_interval(void **state)
{
    struct sim_service *s = service_of("rate", "10", NULL);
    struct rng r;
    double now = 0;
    double last = -1;

    (void)state;
    rng_seed(&r, 5);
    for (int i = 0; i < 50000; i++) {
        now += rng_exponential(&r) * 0.02;
        if (pass_at(s, now).limit != SIM_LIMIT_NONE)
            continue;
        assert_true(now - last >= 0.1 - 1e-8);
        last = now;
    }
    sim_service_free(s);
}

static void a_strict_rate_bears_exactly_its_pace(void **state)
{
    struct sim_service *s = service_of("rate", "7", NULL);

    (void)state;
    for (int i = 0; i < 7000; i++)
        assert_int_equal(pass_at(s, (double)i / 7).limit, SIM_LIMIT_NONE);
    sim_service_free(s);
}

static void in_the_long_run_the_capacity_of_the_script_is_accepted(void **state)
{
    static const char *const levels[] = {"ends", "uniform"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct sim_service *s = service_of("rate", "5..20", "phase", "20s..120s", "levels",
                                           levels[i], "burst", "1s", NULL);
        struct sim_stats st;
        double now = 0;

        for (; now < 20000; now += 0.01)
            pass_at(s, now);
        st = stats_at(s, now);
        assert_true(fabs((double)st.accepted / st.offered - 1) < 0.005);
        assert_true(fabs((double)st.accepted / st.offered_in_use - 1) < 0.005);
        /* Half of the time at each end, or anywhere between: 12.5 a second either way. */
        assert_true(fabs(st.offered / now - 12.5) < 1);
        assert_in_range(st.phase, 240, 340);
        assert_int_equal(st.seen, st.accepted + st.refused);
        assert_int_equal(st.refused, st.refused_by_limit[SIM_LIMIT_RATE]);
        assert_int_equal(st.refused, st.refused_by_status[429 - SIM_STATUS_MIN]);
        sim_service_free(s);
    }
}

static void phases_last_as_told_and_stand_at_the_ends(void **state)
{
    struct sim_service *s = service_of("rate", "5..20", "phase", "2s..3s", NULL);
    double level = stats_at(s, 0).rate_rps;
    double since = 0;

    (void)state;
    for (double now = 0; now < 1000; now += 0.001) {
        double next = stats_at(s, now).rate_rps;

        assert_true(next == 5 || next == 20);
        if (next == level)
            continue;
        assert_true(now - since > 2 - 0.002 && now - since < 3 + 0.002);
        level = next;
        since = now;
    }
    assert_true(since > 990);
    sim_service_free(s);
}

static void a_burst_is_borne_once(void **state)
{
    struct sim_service *s = service_of("rate", "10", "burst", "2s", NULL);
    int accepted = 0;

    (void)state;
    for (int i = 0; i < 100; i++)
        accepted += pass_at(s, 0).limit == SIM_LIMIT_NONE;
    assert_int_equal(accepted, 20);
    for (int i = 0; i < 100; i++)
        accepted += pass_at(s, 1.001).limit == SIM_LIMIT_NONE;
    assert_int_equal(accepted, 30);
    sim_service_free(s);
}

static void no_more_are_in_service_than_the_concurrency(void **state)
{
    struct sim_service *s = service_of("concurrency", "3", "latency", "1s", NULL);
    struct sim_answer in[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        in[i] = send_at(s, at_s(0), 1, 1);
    assert_int_equal(in[2].limit, SIM_LIMIT_NONE);
    assert_int_equal(in[3].limit, SIM_LIMIT_CONCURRENCY);
    assert_int_equal(in[0].latency_ns, NS_PER_S);
    sim_service_leave(s, at_s(1), &in[0], true);
    sim_service_leave(s, at_s(1), &in[0], true); /* has left */
    sim_service_leave(s, at_s(1), &in[3], true); /* never was in */
    assert_int_equal(stats_at(s, 1).in_service, 2);
    assert_int_equal(send_at(s, at_s(1), 1, 1).limit, SIM_LIMIT_NONE);
    assert_int_equal(send_at(s, at_s(1), 1, 1).limit, SIM_LIMIT_CONCURRENCY);
    sim_service_leave(s, at_s(1), &in[1], false);
    assert_int_equal(stats_at(s, 1).abandoned, 1);
    assert_int_equal(stats_at(s, 1).in_service_peak, 3);
    assert_true(fabs(stats_at(s, 10).offered - 30) < 1e-6);
    sim_service_free(s);
}

static void concurrency_moves_between_its_ends(void **state)
{
    struct sim_service *s =
        service_of("concurrency", "8..64", "levels", "uniform", "phase", "1s", NULL);
    int64_t low = 1000;
    int64_t high = 0;

    (void)state;
    for (int i = 0; i < 3000; i++) {
        int64_t k = stats_at(s, i).concurrency;

        low = k < low ? k : low;
        high = k > high ? k : high;
    }
    assert_int_equal(low, 8);
    assert_int_equal(high, 64);
    sim_service_free(s);
}

static void a_minute_bears_its_requests_and_its_tokens(void **state)
{
    struct sim_service *s = service_of("rpm", "100", "tpm", "1000", NULL);
    int accepted = 0;

    (void)state;
    for (int i = 0; i < 200; i++)
        accepted += send_at(s, at_s(i * 0.1), 1, 4).limit == SIM_LIMIT_NONE;
    assert_int_equal(accepted, 100);
    assert_int_equal(send_at(s, at_s(30), 1, 4).limit, SIM_LIMIT_REQUESTS);
    assert_int_equal(send_at(s, at_s(61), 1, 990).limit, SIM_LIMIT_TOKENS);
    assert_int_equal(send_at(s, at_s(130), 1, 990).limit, SIM_LIMIT_NONE);
    assert_int_equal(send_at(s, at_s(130), 1, 11).limit, SIM_LIMIT_TOKENS);
    assert_int_equal(send_at(s, at_s(130), 1, 10).limit, SIM_LIMIT_NONE);
    assert_int_equal(stats_at(s, 130).tokens, 100 * 4 + 1000);
    sim_service_free(s);
}

static void what_is_refused_uses_up_nothing(void **state)
{
    struct sim_service *s = service_of("rpm", "10", "tpm", "100", "rate", "1", NULL);

    (void)state;
    for (int i = 0; i < 50; i++)
        assert_int_equal(send_at(s, at_s(0), 1, 1000).limit, SIM_LIMIT_TOKENS);
    assert_int_equal(send_at(s, at_s(0), 1, 100).limit, SIM_LIMIT_NONE);
    sim_service_free(s);
}

static void in_an_outage_all_is_503(void **state)
{
    struct sim_service *s =
        service_of("rate", "10", "outage", "10s+5s", "outage", "20s+1s", "headers", "all", NULL);
    struct sim_answer a;

    (void)state;
    assert_int_equal(pass_at(s, 9.999).limit, SIM_LIMIT_NONE);
    a = pass_at(s, 10);
    assert_int_equal(a.limit, SIM_LIMIT_OUTAGE);
    assert_int_equal(a.status, 503);
    assert_int_equal(a.told.retry_after_ns, 5 * NS_PER_S);
    assert_true(stats_at(s, 14.999).outage);
    assert_int_equal(pass_at(s, 15).limit, SIM_LIMIT_NONE);
    assert_int_equal(pass_at(s, 20.5).limit, SIM_LIMIT_OUTAGE);
    assert_int_equal(pass_at(s, 21).limit, SIM_LIMIT_NONE);
    assert_true(fabs(stats_at(s, 100).offered - 940) < 1e-6);
    sim_service_free(s);
}

static void random_outages_come_as_often_as_told(void **state)
{
    struct sim_service *s = service_of("rate", "1", "outages", "90s,10s", NULL);

    (void)state;
    /* 10 s in each 100 s, on average. */
    assert_true(fabs(stats_at(s, 1e6).offered / 1e6 - 0.9) < 0.005);
    sim_service_free(s);
}

static void work_waits_for_a_server(void **state)
{
    struct sim_service *s = service_of("servers", "2", "queue", "3", "latency", "1s", NULL);

    (void)state;
    for (int i = 0; i < 5; i++) {
        struct sim_answer a = send_at(s, at_s(0), 1, 1);

        assert_int_equal(a.limit, SIM_LIMIT_NONE);
        assert_int_equal(a.latency_ns, (1 + i / 2) * NS_PER_S);
    }
    assert_int_equal(send_at(s, at_s(0), 1, 1).limit, SIM_LIMIT_QUEUE);
    assert_int_equal(send_at(s, at_s(0.999), 1, 1).limit, SIM_LIMIT_QUEUE);
    /* Two of the three that waited have begun; the queue has room for two. */
    assert_int_equal(send_at(s, at_s(1), 1, 1).latency_ns, 2 * NS_PER_S);
    assert_int_equal(send_at(s, at_s(1), 1, 1).limit, SIM_LIMIT_NONE);
    assert_int_equal(send_at(s, at_s(1), 1, 1).limit, SIM_LIMIT_QUEUE);
    assert_int_equal(send_at(s, at_s(100), 1, 1).latency_ns, NS_PER_S);
    sim_service_free(s);
}

static void without_a_queue_only_free_servers_take_work(void **state)
{
    struct sim_service *s = service_of("servers", "1", "queue", "0", "latency", "1s", NULL);

    (void)state;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(send_at(s, at_s(i), 1, 1).limit, SIM_LIMIT_NONE);
        assert_int_equal(send_at(s, at_s(i + 0.5), 1, 1).limit, SIM_LIMIT_QUEUE);
    }
    sim_service_free(s);
}

/* Erlang's C formula for M/M/c gives the mean wait: c = 4, offered 3.2 servers' worth, 1 s of work. */
static void the_queue_is_the_one_of_the_textbook(void **state)
{
    struct sim_service *s = service_of("servers", "4", "latency", "exponential:1s", NULL);
    const double load = 3.2;
    double term = 1;
    double sum = 0;
    double waits;
    double now = 0;
    double total = 0;
    struct rng r;
    int n = 400000;

    (void)state;
    for (int k = 0; k < 4; k++) {
        sum += term;
        term *= load / (k + 1);
    }
    waits = term / (1 - load / 4) / (sum + term / (1 - load / 4));
    rng_seed(&r, 11);
    for (int i = 0; i < n; i++) {
        now += rng_exponential(&r) / load;
        total += duration_seconds(send_at(s, at_s(now), 1, 1).latency_ns);
    }
    assert_true(fabs(total / n - (1 + waits / (4 - load))) < 0.05);
    sim_service_free(s);
}

static void latencies_have_the_mean_of_their_distribution(void **state)
{
    static const char *const texts[] = {"1.2s", "uniform:1s..3s", "exponential:1.2s",
                                        "lognormal:1.2s,0.4"};
    static const double means[] = {1.2, 2, 1.2, 1.2 * 1.0832870676749586};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct sim_service *s = service_of("latency", texts[i], NULL);
        double sum = 0;
        int n = 100000;

        for (int k = 0; k < n; k++) {
            struct sim_answer a = send_at(s, at_s(0), 1, 1);

            assert_true(a.latency_ns >= 0);
            sum += duration_seconds(a.latency_ns);
        }
        assert_true(fabs(sum / n / means[i] - 1) < 0.02);
        sim_service_free(s);
    }
}

static void refusals_take_their_own_time_unless_slow(void **state)
{
    struct sim_service *s =
        service_of("rate", "0.01", "latency", "2s", "refusal-latency", "60ms", NULL);

    (void)state;
    assert_int_equal(pass_at(s, 0).latency_ns, 2 * NS_PER_S);
    assert_int_equal(pass_at(s, 0).latency_ns, 60 * NS_PER_MS);
    sim_service_free(s);
    s = service_of("rate", "0.01", "latency", "2s", "slow-refusals", "", NULL);
    pass_at(s, 0);
    assert_int_equal(pass_at(s, 0).latency_ns, 2 * NS_PER_S);
    sim_service_free(s);
}

static void refusals_are_mixed_by_weight(void **state)
{
    struct sim_service *s = service_of("rate", "0.001", "refuse-with", "429:2,503:1,529:0", NULL);
    struct sim_stats st;

    (void)state;
    for (int i = 0; i <= 30000; i++)
        pass_at(s, 0);
    st = stats_at(s, 0);
    assert_int_equal(st.refused, 30000);
    assert_in_range(st.refused_by_status[429 - SIM_STATUS_MIN], 19500, 20500);
    assert_in_range(st.refused_by_status[503 - SIM_STATUS_MIN], 9500, 10500);
    assert_int_equal(st.refused_by_status[529 - SIM_STATUS_MIN], 0);
    sim_service_free(s);
}

static void faults_come_as_often_as_told(void **state)
{
    struct sim_service *s =
        service_of("fail-rate", "0.1", "reset-rate", "0.05", "close-rate", "0.05", "slow-rate",
                   "0.05", "broken-rate", "0.05", "hang-rate", "0.05", NULL);
    bool failed_with[600] = {false};
    bool broken[SIM_BREAK_COUNT] = {false};
    struct sim_stats st;

    (void)state;
    for (int i = 0; i < 40000; i++) {
        struct sim_answer a = send_at(s, at_s(0), (uint64_t)i, 1);

        failed_with[a.status] = failed_with[a.status] || a.fault == SIM_FAULT_FAIL;
        broken[a.how] = broken[a.how] || a.fault == SIM_FAULT_BROKEN;
        assert_int_equal(a.latency_ns == INT64_MAX, a.fault == SIM_FAULT_HANG);
        assert_int_equal(a.body_ns > 0, a.fault == SIM_FAULT_SLOW);
        assert_int_equal(a.status == 0, a.fault == SIM_FAULT_RESET || a.fault == SIM_FAULT_CLOSE ||
                                            a.fault == SIM_FAULT_HANG);
        sim_service_leave(s, at_s(0), &a, true);
    }
    st = stats_at(s, 0);
    assert_int_equal(st.accepted, 40000);
    assert_in_range(st.faults[SIM_FAULT_FAIL], 3700, 4300);
    for (int f = SIM_FAULT_RESET; f < SIM_FAULT_COUNT; f++)
        assert_in_range(st.faults[f], 1800, 2200);
    assert_true(failed_with[500] && failed_with[502] && failed_with[504]);
    assert_true(broken[SIM_BREAK_CUT] && broken[SIM_BREAK_CHUNK] && broken[SIM_BREAK_JSON]);
    sim_service_free(s);
}

static void deterministic_answers_follow_from_the_content(void **state)
{
    enum { ROWS = 2000 };
    static struct sim_answer first[ROWS];
    int permanent = 0;

    (void)state;
    for (int round = 0; round < 3; round++) {
        struct sim_service *s =
            service_of("permanent-rate", "0.1", "latency", "exponential:1s", "deterministic", "",
                       "seed", round < 2 ? "9" : "10", NULL);
        int same = 0;

        for (int i = 0; i < ROWS; i++) {
            /* The other way round the second time: the order has no part in it. */
            int row = round == 1 ? ROWS - 1 - i : i;
            struct sim_answer a = send_at(s, at_s(i), 1000 + (uint64_t)row, 1);

            if (round == 0) {
                first[row] = a;
                permanent += a.fault == SIM_FAULT_PERMANENT;
                continue;
            }
            same += a.fault == first[row].fault && a.status == first[row].status &&
                    a.latency_ns == first[row].latency_ns;
        }
        if (round == 1)
            assert_int_equal(same, ROWS);
        if (round == 2)
            assert_int_equal(same, 0);
        sim_service_free(s);
    }
    assert_in_range(permanent, 150, 250);
}

/* A number that any difference in any answer changes. */
static uint64_t run_of(const char *seed)
{
    struct sim_service *s =
        service_of("seed", seed, "rate", "5..20", "phase", "1s..5s", "levels", "uniform", "latency",
                   "lognormal:1s,0.4", "outages", "60s,5s", "fail-rate", "0.1", "refuse-with",
                   "429,503", "headers", "all", NULL);
    uint64_t sum = 0;

    for (int i = 0; i < 20000; i++) {
        struct sim_answer a = pass_at(s, i * 0.03);

        sum = sum * 31 + (uint64_t)a.status;
        sum = sum * 31 + (uint64_t)a.latency_ns;
        sum = sum * 31 + (uint64_t)a.told.requests.reset_ns;
    }
    sim_service_free(s);
    return sum;
}

static void the_same_seed_gives_the_same_run(void **state)
{
    (void)state;
    assert_true(run_of("3") == run_of("3"));
    assert_true(run_of("3") != run_of("4"));
}

static void clients_change_nothing_about_the_capacity(void **state)
{
    struct sim_service *busy = service_of("rate", "5..20", "outages", "60s,5s", NULL);
    struct sim_service *idle = service_of("rate", "5..20", "outages", "60s,5s", NULL);

    (void)state;
    for (int i = 0; i < 100000; i++)
        pass_at(busy, i * 0.02);
    assert_true(fabs(stats_at(busy, 2000).offered - stats_at(idle, 2000).offered) < 1e-3);
    sim_service_free(busy);
    sim_service_free(idle);
}

static void headers_are_told_as_asked(void **state)
{
    static const char *const which[] = {"none", "retry-after", "ratelimit", "all"};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct sim_service *s = service_of("rpm", "2", "tpm", "1000", "headers", which[i], NULL);
        struct sim_answer a = pass_at(s, 0);
        bool retry_after = (i & 1) != 0;
        bool ratelimit = (i & 2) != 0;

        assert_int_equal(a.told.retry_after_ns, -1);
        assert_int_equal(a.told.requests.limit, ratelimit ? 2 : -1);
        assert_int_equal(a.told.requests.remaining, ratelimit ? 1 : -1);
        assert_int_equal(a.told.tokens.remaining, ratelimit ? 999 : -1);
        pass_at(s, 0.5);
        a = pass_at(s, 10.1);
        assert_int_equal(a.limit, SIM_LIMIT_REQUESTS);
        /* 49.9 s until there is room, in whole seconds. */
        assert_int_equal(a.told.retry_after_ns, retry_after ? 50 * NS_PER_S : -1);
        assert_int_equal(a.told.requests.remaining, ratelimit ? 0 : -1);
        sim_service_free(s);
    }
}

static void after_retry_after_there_is_room(void **state)
{
    struct sim_service *s =
        service_of("rate", "0.3", "rpm", "10", "tpm", "300", "headers", "all", NULL);
    double now = 0;
    int refused = 0;

    (void)state;
    for (int i = 0; i < 300; i++) {
        struct sim_answer a = send_at(s, at_s(now), 1, 40);

        if (a.limit == SIM_LIMIT_NONE)
            continue;
        refused++;
        assert_true(a.told.retry_after_ns >= NS_PER_S);
        now += duration_seconds(a.told.retry_after_ns);
        assert_int_equal(send_at(s, at_s(now), 1, 40).limit, SIM_LIMIT_NONE);
    }
    assert_true(refused > 100);
    /* What is larger than the whole limit is told no time: it will never fit. */
    assert_int_equal(send_at(s, at_s(now + 1000), 1, 301).told.retry_after_ns, -1);
    sim_service_free(s);
}

static void a_clock_that_goes_back_is_taken_for_the_last(void **state)
{
    struct sim_service *s = service_of("rate", "1", NULL);

    (void)state;
    assert_int_equal(pass_at(s, 100).limit, SIM_LIMIT_NONE);
    assert_int_equal(pass_at(s, 50).limit, SIM_LIMIT_RATE);
    assert_int_equal(pass_at(s, 101).limit, SIM_LIMIT_NONE);
    sim_service_free(s);
}

static void each_failed_allocation_is_said(void **state)
{
    struct sim_script script;
    unsigned long n = 1;

    (void)state;
    sim_script_init(&script);
    script.requests_per_minute = 10;
    script.tokens_per_minute = 10;
    script.servers = 4;
    script.queue_max = 4;
    for (;; n++) {
        struct sim_service *s = NULL;
        enum weir_status status;
        bool failed;

        mem_fail_at(n);
        status = sim_service_new(&script, at_s(0), &s, NULL);
        failed = mem_has_failed() != 0;
        mem_fail_at(0);
        if (!failed) {
            assert_int_equal(status, WEIR_OK);
            sim_service_free(s);
            break;
        }
        assert_int_equal(status, WEIR_E_NOMEM);
        assert_null(s);
    }
    assert_int_equal(n, 6);
}

static void log_uniform_levels_are_as_often_low_as_high(void **state)
{
    struct sim_service *s = service_of("concurrency", "8..64", "levels", "log-uniform", "phase",
                                       "1s", "latency", "1s", NULL);
    int below_16 = 0, below_32 = 0, least = 64, most = 8;
    double sum = 0;

    (void)state;
    for (int now = 0; now < 30000; now++) {
        int level = (int)stats_at(s, now + 0.5).concurrency;

        sum += log(level);
        below_16 += level < 16;
        below_32 += level < 32;
        least = level < least ? level : least;
        most = level > most ? level : most;
    }
    assert_true(least == 8 && most == 64);
    assert_true(fabs(sum / 30000 - (log(8) + log(64)) / 2) < 0.02);
    assert_in_range(below_16, 9200, 10200);
    assert_in_range(below_32, 19200, 20400);
    sim_service_free(s);
}

struct seen_step {
    struct instant last;
    double rps;
    int steps, outages;
};

static void see_step(void *ctx, const struct sim_step *step)
{
    struct seen_step *seen = ctx;

    assert_true(step->before_rps == seen->rps);
    assert_true(step->after_rps != step->before_rps);
    assert_true(instant_before(seen->last, step->at));
    assert_int_equal(step->outage, step->after_rps == 0 || step->before_rps == 0);
    seen->outages += step->outage;
    seen->rps = step->after_rps;
    seen->last = step->at;
    seen->steps++;
}

static void whoever_watches_sees_each_change_when_it_happens(void **state)
{
    struct sim_service *s =
        service_of("rate", "5..20", "phase", "10s", "outage", "25s+10s", "outage", "62s+3s", NULL);
    struct seen_step seen = {.rps = sim_service_capacity_rps(s)};

    (void)state;
    sim_service_watch(s, see_step, &seen);
    /* Nobody comes for a while: changes are told one by one all the same. */
    (void)stats_at(s, 24);
    assert_int_equal(seen.steps, 2);
    assert_int_equal(seen.last.ns, at_s(20).ns);
    (void)stats_at(s, 100);
    /* At 10 s, 20, 25 (down), 35 (up), 40, 50, 60, 62, 65, 70, 80, 90, 100; not at 30, when nothing was taken. */
    assert_int_equal(seen.steps, 13);
    assert_int_equal(seen.outages, 4);
    sim_service_free(s);
}

static void a_way_has_its_length_and_its_jitter(void **state)
{
    struct sim_service *s = service_of("network", "10ms,5ms", NULL);
    double sum = 0;

    (void)state;
    for (int i = 0; i < 100000; i++) {
        duration_ns way = sim_service_travel(s);

        assert_true(way >= 10 * NS_PER_MS);
        sum += duration_ms(way) - 10;
    }
    assert_true(fabs(sum / 100000 - 5) < 0.1);
    sim_service_free(s);
    s = service_of("network", "10ms", NULL);
    assert_int_equal(sim_service_travel(s), 10 * NS_PER_MS);
    sim_service_free(s);
}

/* Asks until it says now; what is sent then is accepted, and what is sent just before is not. */
static void sent_when_it_is_told_a_request_is_accepted(void **state)
{
    struct sim_request q = {.tokens = 400, .identity = 1};
    struct instant now = at_s(0);
    int waited = 0;

    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct sim_service *s =
            kind == 0   ? service_of("rate", "5..20", "phase", "1s..3s", "outage", "20s+5s", NULL)
            : kind == 1 ? service_of("rpm", "60", NULL)
            : kind == 2 ? service_of("rpm", "600", "tpm", "24k", "window", "bucket:5s", NULL)
                        : service_of("rpm", "90", "window", "fixed", NULL);

        now = at_s(0);
        for (int i = 0; i < 600; i++) {
            struct instant when = sim_service_when(s, now, &q);
            struct sim_answer a;

            for (; instant_before(now, when); when = sim_service_when(s, now, &q)) {
                /* Long before it is refused, and that uses up nothing. */
                if (instant_diff(when, now) > 10 * NS_PER_MS) {
                    sim_service_arrive(s, instant_add(now, NS_PER_MS), &q, &a);
                    assert_int_not_equal(a.limit, SIM_LIMIT_NONE);
                    waited++;
                }
                now = when;
            }
            sim_service_arrive(s, now, &q, &a);
            assert_int_equal(a.limit, SIM_LIMIT_NONE);
            sim_service_leave(s, now, &a, true);
        }
        sim_service_free(s);
    }
    assert_true(waited > 1000);
}

static void who_knows_the_service_waits_for_a_server_not_in_the_queue(void **state)
{
    struct sim_service *s = service_of("servers", "2", "queue", "9", "latency", "1s", NULL);
    struct sim_request q = {.tokens = 1};

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sim_service_when(s, at_s(0), &q).ns, at_s(0).ns);
        (void)send_at(s, at_s(0), 1, 1);
    }
    assert_int_equal(sim_service_when(s, at_s(0), &q).ns, at_s(1).ns);
    sim_service_free(s);
}

static void what_is_told_of_later_holds_until_the_level_changes(void **state)
{
    struct sim_service *s = service_of("rate", "0.01..20", "phase", "10s", NULL);
    struct sim_request q = {.tokens = 1};
    struct instant now = at_s(0);
    int low = 0;

    (void)state;
    for (int i = 0; i < 100; i++) {
        struct instant when = sim_service_when(s, now, &q);
        struct sim_answer a;

        /* In a low phase the next one would have to wait 100 s: only until the phase ends. */
        assert_true(when.ns <= (now.ns / at_s(10).ns + 1) * at_s(10).ns);
        low += instant_diff(when, now) > NS_PER_S;
        now = when;
        sim_service_arrive(s, now, &q, &a);
        sim_service_leave(s, now, &a, true);
    }
    assert_true(low > 0);
    sim_service_free(s);
}

static void nobody_knows_when_one_in_service_leaves(void **state)
{
    struct sim_service *s = service_of("concurrency", "1", NULL);
    struct sim_request q = {.tokens = 1};
    struct sim_answer a;

    (void)state;
    a = send_at(s, at_s(0), 1, 1);
    assert_true(instant_is_never(sim_service_when(s, at_s(1), &q)));
    sim_service_leave(s, at_s(2), &a, true);
    assert_int_equal(sim_service_when(s, at_s(2), &q).ns, at_s(2).ns);
    sim_service_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_limits_all_is_accepted_at_once),
        cmocka_unit_test(a_strict_rate_never_bears_two_within_its_interval),
        cmocka_unit_test(a_strict_rate_bears_exactly_its_pace),
        cmocka_unit_test(in_the_long_run_the_capacity_of_the_script_is_accepted),
        cmocka_unit_test(phases_last_as_told_and_stand_at_the_ends),
        cmocka_unit_test(a_burst_is_borne_once),
        cmocka_unit_test(no_more_are_in_service_than_the_concurrency),
        cmocka_unit_test(concurrency_moves_between_its_ends),
        cmocka_unit_test(a_minute_bears_its_requests_and_its_tokens),
        cmocka_unit_test(what_is_refused_uses_up_nothing),
        cmocka_unit_test(in_an_outage_all_is_503),
        cmocka_unit_test(random_outages_come_as_often_as_told),
        cmocka_unit_test(work_waits_for_a_server),
        cmocka_unit_test(without_a_queue_only_free_servers_take_work),
        cmocka_unit_test(the_queue_is_the_one_of_the_textbook),
        cmocka_unit_test(latencies_have_the_mean_of_their_distribution),
        cmocka_unit_test(refusals_take_their_own_time_unless_slow),
        cmocka_unit_test(refusals_are_mixed_by_weight),
        cmocka_unit_test(faults_come_as_often_as_told),
        cmocka_unit_test(deterministic_answers_follow_from_the_content),
        cmocka_unit_test(the_same_seed_gives_the_same_run),
        cmocka_unit_test(clients_change_nothing_about_the_capacity),
        cmocka_unit_test(headers_are_told_as_asked),
        cmocka_unit_test(after_retry_after_there_is_room),
        cmocka_unit_test(a_clock_that_goes_back_is_taken_for_the_last),
        cmocka_unit_test(each_failed_allocation_is_said),
        cmocka_unit_test(log_uniform_levels_are_as_often_low_as_high),
        cmocka_unit_test(whoever_watches_sees_each_change_when_it_happens),
        cmocka_unit_test(a_way_has_its_length_and_its_jitter),
        cmocka_unit_test(sent_when_it_is_told_a_request_is_accepted),
        cmocka_unit_test(who_knows_the_service_waits_for_a_server_not_in_the_queue),
        cmocka_unit_test(what_is_told_of_later_holds_until_the_level_changes),
        cmocka_unit_test(nobody_knows_when_one_in_service_leaves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
