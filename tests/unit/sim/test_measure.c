/* The figures of a study, against the same figures from a list of all that happened. */
#include "base/mem.h"
#include "base/rng.h"
#include "sim/measure.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ARRIVALS_MAX 200000
#define STEPS_MAX    400

/* All that happened, and the figures by the book: loops over lists, nothing kept on the way. */
static struct story {
    double accepted[ARRIVALS_MAX], refused[ARRIVALS_MAX];
    size_t accepted_count, refused_count;
    struct sim_step steps[STEPS_MAX];
    size_t step_count;
} story;

static double seconds(struct instant t)
{
    return duration_seconds(instant_diff(t, SIM_START));
}

static void note_step(void *ctx, const struct sim_step *step)
{
    struct story *s = ctx;

    assert_true(s->step_count < STEPS_MAX);
    s->steps[s->step_count++] = *step;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* How long after a step to v a second until 90 % of it is accepted; the next step, or the end, is at `until`. */
static double climb_by_the_book(double at, double v, double until)
{
    double window = v < 500 ? fmax(1, 10 / v) : 0.1;

    for (size_t j = 0; j < story.accepted_count; j++) {
        size_t n = 0;

        if (story.accepted[j] < at || story.accepted[j] >= until)
            continue;
        for (size_t k = 0; k <= j; k++)
            n += story.accepted[k] >= at && story.accepted[k] > story.accepted[j] - window;
        if ((double)n >= 0.9 * v * window - 1e-9)
            return story.accepted[j] - at;
    }
    return until - at;
}

struct expected {
    double ups[STEPS_MAX];
    size_t up_count;
    uint64_t downs, down_refused;
};

static void expect(double end, struct expected *ret)
{
    *ret = (struct expected){.up_count = 0};
    for (size_t i = 0; i < story.step_count; i++) {
        const struct sim_step *s = &story.steps[i];
        double at = seconds(s->at);
        double until = i + 1 < story.step_count ? seconds(story.steps[i + 1].at) : end;

        if (at >= end - 5)
            continue;
        if (s->after_rps >= 1.3 * s->before_rps)
            ret->ups[ret->up_count++] = climb_by_the_book(at, s->after_rps, until);
        if (s->after_rps > s->before_rps / 1.3 || s->outage)
            continue;
        ret->downs++;
        for (size_t k = 0; k < story.refused_count; k++)
            ret->down_refused += story.refused[k] >= at && story.refused[k] < at + 5;
    }
    qsort(ret->ups, ret->up_count, sizeof *ret->ups, ascending);
}

static void make(const struct sim_script *script, size_t clients, struct instant end,
                 struct sim_service **ret_service, struct sim_measure **ret_measure)
{
    struct sim_measure_about about = {clients, SIM_START, end};

    assert_int_equal(sim_service_new(script, SIM_START, ret_service, NULL), WEIR_OK);
    assert_int_equal(sim_measure_new(&about, ret_measure, NULL), WEIR_OK);
}

/* Somebody sends at random, mostly too much; a twin of the service tells the steps. */
static void live(const struct sim_script *script, double load_rps, double length_s,
                 struct sim_study_result *ret)
{
    struct instant end = instant_add(SIM_START, duration_from_seconds(length_s));
    struct sim_service *service, *twin;
    struct sim_measure *m;
    struct instant now = SIM_START;
    struct sim_stats stats;
    struct rng r;

    memset(&story, 0, sizeof story);
    *ret = (struct sim_study_result){0};
    make(script, 1, end, &service, &m);
    assert_int_equal(sim_service_new(script, SIM_START, &twin, NULL), WEIR_OK);
    sim_service_watch(twin, note_step, &story);
    sim_measure_watch(m, service, script);
    rng_seed(&r, script->seed);
    for (;;) {
        struct sim_answer a;

        now = instant_add(now, duration_from_seconds(rng_exponential(&r) / load_rps));
        if (!instant_before(now, end))
            break;
        sim_service_arrive(service, now, &(struct sim_request){.tokens = 1}, &a);
        sim_service_leave(service, now, &a, true);
        sim_measure_arrival(m, now, 0, a.limit == SIM_LIMIT_NONE);
        if (a.limit == SIM_LIMIT_NONE)
            story.accepted[story.accepted_count++] = seconds(now);
        else
            story.refused[story.refused_count++] = seconds(now);
    }
    sim_service_stats(twin, end, &stats);
    sim_measure_finish(m, service, end, false, ret);
    sim_measure_free(m);
    sim_service_free(service);
    sim_service_free(twin);
}

static void steps_are_followed_as_by_the_book(void **state)
{
    static const struct {
        const char *rate, *levels, *outage;
        double load_rps;
    } services[] = {
        {"5..20", "ends", NULL, 40},      {"5..20", "uniform", NULL, 30},
        {"5..20", "ends", NULL, 12},      {"0.2..3", "log-uniform", NULL, 5},
        {"20", "ends", "100s+30s", 60},   {"400..900", "ends", NULL, 1000},
        {"5..20", "ends", "90s+20s", 40},
    };

    (void)state;
    for (size_t i = 0; i < sizeof services / sizeof *services; i++) {
        struct sim_study_result got;
        struct sim_script script;
        struct expected want;
        double length_s = services[i].load_rps > 500 ? 100 : 900;

        sim_script_init(&script);
        script.seed = i + 1;
        assert_int_equal(sim_script_set(&script, "rate", services[i].rate, NULL), WEIR_OK);
        assert_int_equal(sim_script_set(&script, "levels", services[i].levels, NULL), WEIR_OK);
        assert_int_equal(sim_script_set(&script, "phase", "10s..40s", NULL), WEIR_OK);
        if (services[i].outage)
            assert_int_equal(sim_script_set(&script, "outage", services[i].outage, NULL), WEIR_OK);
        live(&script, services[i].load_rps, length_s, &got);
        expect(length_s, &want);
        assert_true(want.up_count > 0);
        assert_int_equal(got.up.count, want.up_count);
        assert_true(fabs(got.up.p50 - want.ups[want.up_count / 2]) <= 0.01 * got.up.p50 + 1e-6);
        assert_true(fabs(got.up.max - want.ups[want.up_count - 1]) <= 1e-6);
        assert_int_equal(got.downs, want.downs);
        if (want.downs > 0)
            assert_true(fabs(got.down_refused * (double)want.downs - (double)want.down_refused) <
                        1e-6);
    }
}

static void a_capacity_that_never_moves_is_one_step_up(void **state)
{
    struct sim_study_result got;
    struct sim_script script;

    (void)state;
    sim_script_init(&script);
    assert_int_equal(sim_script_set(&script, "rate", "1000", NULL), WEIR_OK);
    assert_int_equal(sim_script_set(&script, "burst", "10", NULL), WEIR_OK);
    live(&script, 5000, 20, &got);
    assert_int_equal(got.up.count, 1);
    /* 90 requests at 1,000 a second, the first 10 at once. */
    assert_true(got.up.max > 0.07 && got.up.max < 0.1);
    assert_int_equal(got.downs, 0);
}

static void goodput_and_waste_are_shares(void **state)
{
    struct sim_study_result got;
    struct sim_script script;

    (void)state;
    sim_script_init(&script);
    assert_int_equal(sim_script_set(&script, "rate", "10", NULL), WEIR_OK);
    live(&script, 40, 600, &got);
    assert_int_equal(got.sent, got.accepted + got.refused);
    assert_int_equal(got.sent, story.accepted_count + story.refused_count);
    assert_true(fabs(got.offered - 6000) < 1e-6);
    assert_true(fabs(got.goodput - (double)story.accepted_count / 6000) < 1e-12);
    assert_true(fabs(got.waste - (double)story.refused_count / (double)got.sent) < 1e-12);
    assert_int_equal(got.refused_by_status[429 - SIM_STATUS_MIN], got.refused);
    /* A service without limits has no share that could be reached. */
    sim_script_init(&script);
    live(&script, 40, 10, &got);
    assert_true(isnan(got.goodput) && isinf(got.offered));
}

static void fairness_is_the_index_of_jain(void **state)
{
    struct sim_study_result got = {0};
    struct sim_service *service;
    struct sim_measure *m;
    struct sim_script script;
    /* Minute by minute: what each of two clients gets. 1 of 1 alone is 1/2, 3 and 1 is 16/20, 1 and 1 is 1. */
    static const size_t taken[][2] = {{5, 0}, {30, 10}, {0, 0}, {7, 7}};

    (void)state;
    sim_script_init(&script);
    make(&script, 2, INSTANT_NEVER, &service, &m);
    for (size_t minute = 0; minute < 4; minute++) {
        struct instant at = instant_add(SIM_START, (int64_t)minute * SIM_STUDY_FAIR_NS);

        for (size_t client = 0; client < 2; client++) {
            for (size_t i = 0; i < taken[minute][client]; i++)
                sim_measure_arrival(m, at, client, true);
        }
    }
    /* The last minute is not whole: not counted. */
    for (size_t i = 0; i < 6; i++) {
        sim_measure_arrival(m, instant_add(SIM_START, 4 * SIM_STUDY_FAIR_NS), 0, true);
        sim_measure_answer(m, i % 2, NS_PER_S);
    }
    sim_measure_finish(m, service, instant_add(SIM_START, 5 * SIM_STUDY_FAIR_NS - 1), true, &got);
    assert_true(fabs(got.jain_60 - (0.5 + 0.8 + 1) / 3) < 1e-12);
    assert_true(fabs(got.jain - 1) < 1e-12);
    sim_measure_free(m);
    sim_service_free(service);
}

static void rows_are_counted_by_how_they_ended(void **state)
{
    struct sim_study_result got = {0};
    struct sim_service *service;
    struct sim_measure *m;
    struct sim_script script;
    struct instant t = SIM_START;

    (void)state;
    sim_script_init(&script);
    make(&script, 1, INSTANT_NEVER, &service, &m);
    sim_measure_row(m, &(struct sim_measure_row){.started_at = t,
                                                 .finished_at = instant_add(t, 2 * NS_PER_S),
                                                 .turn_at = instant_add(t, 3 * NS_PER_S)});
    sim_measure_row(m, &(struct sim_measure_row){.outcome = WEIR_OUTCOME_TIMEOUT,
                                                 .reason = WEIR_REASON_DEADLINE,
                                                 .started_at = INSTANT_NONE,
                                                 .finished_at = instant_add(t, 4 * NS_PER_S),
                                                 .turn_at = instant_add(t, 4 * NS_PER_S)});
    sim_measure_finish(m, service, instant_add(t, 5 * NS_PER_S), true, &got);
    assert_int_equal(got.rows, 2);
    assert_int_equal(got.rows_ok, 1);
    assert_int_equal(got.failures, 1);
    assert_int_equal(got.failures_by_reason[WEIR_REASON_DEADLINE], 1);
    assert_int_equal(got.completion.count, 1);
    assert_true(got.completion.p50 == 2);
    assert_int_equal(got.ordering.count, 2);
    assert_true(got.ordering.max == 1);
    assert_true(got.jain == 0 && got.jain_60 == 0);
    sim_measure_free(m);
    sim_service_free(service);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_followed_as_by_the_book),
        cmocka_unit_test(a_capacity_that_never_moves_is_one_step_up),
        cmocka_unit_test(goodput_and_waste_are_shares),
        cmocka_unit_test(fairness_is_the_index_of_jain),
        cmocka_unit_test(rows_are_counted_by_how_they_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
