/* What weir simulate says: figures, their spread, the table, the JSON. */
#include "base/json.h"
#include "cli/simulate/metrics.h"
#include "cli/simulate/report.h"
#include "unit/cli/cli_test.h"

#include <math.h>

static struct simulate_options o;
static struct sim_study_result results[6];
static struct runs r;

static void set_up(size_t sides, size_t seeds)
{
    o = (struct simulate_options){.service = "dir/a \"b\".yml", .seed = 3, .seeds = (int64_t)seeds};
    o.study.run = (struct sim_run){.clients = 1, .jobs = 64, .rows = 1000};
    o.sides[0] = THROTTLE_AIMD;
    o.sides[1] = SIMULATE_ORACLE;
    r = (struct runs){.options = &o, .sides = sides, .seeds = seeds, .results = results};
    for (size_t i = 0; i < 6; i++) {
        results[i] = (struct sim_study_result){
            .end = SIM_STUDY_ROWS,
            .duration_ns = (duration_ns)(100 * (i + 1)) * NS_PER_S,
            .rows = 1000,
            .sent = 1200,
            .accepted = 1000,
            .refused = 200,
            .tokens = 500000,
            .goodput = 0.5 + 0.1 * (double)i,
            .waste = 0.02,
            .completion = {.count = 1000, .mean = 2, .p50 = 1.5, .p90 = 3, .p99 = 4, .max = 9},
            .in_flight_peak = 60,
        };
        results[i].refused_by_status[429 - SIM_STATUS_MIN] = 200;
    }
}

static const struct metric *metric_named(const char *name)
{
    for (size_t i = 0; i < metric_count(); i++) {
        if (strcmp(metric_at(i)->name, name) == 0)
            return metric_at(i);
    }
    fail_msg("there is no metric %s", name);
    return NULL;
}

static struct buf text_of(void)
{
    struct buf out = {0};

    report_put_text(&r, &out);
    assert_false(out.failed);
    return out;
}

static void a_spread_is_median_lowest_and_highest(void **state)
{
    struct metric_spread s;

    (void)state;
    set_up(1, 5);
    s = metric_spread(metric_named("duration_seconds"), results, 5, &o.price);
    assert_true(s.count == 5 && s.median == 300 && s.min == 100 && s.max == 500);
    s = metric_spread(metric_named("duration_seconds"), results, 4, &o.price);
    assert_true(s.median == 250);
    /* What some runs do not have does not count as 0. */
    results[0].goodput = NAN;
    s = metric_spread(metric_named("goodput"), results, 2, &o.price);
    assert_true(s.count == 1 && s.median == 0.6);
    s = metric_spread(metric_named("ordering_p50_seconds"), results, 5, &o.price);
    assert_int_equal(s.count, 0);
}

static void the_cost_is_of_tokens_and_requests(void **state)
{
    (void)state;
    set_up(1, 1);
    assert_true(isnan(metric_named("cost")->value(&results[0], &o.price)));
    assert_int_equal(simulate_price_parse("4/Mtok,0.01/request", &o.price, NULL), WEIR_OK);
    /* 500,000 tokens at 4 for a million, and 1,000 requests; refused ones have 500 tokens each. */
    assert_true(fabs(metric_named("cost")->value(&results[0], &o.price) - 12) < 1e-9);
    assert_true(fabs(metric_named("cost_refused")->value(&results[0], &o.price) - 2.4) < 1e-9);
}

static void values_are_written_for_people(void **state)
{
    static const struct {
        enum metric_kind kind;
        double value;
        const char *text;
    } cases[] = {
        {METRIC_SECONDS, 0, "0 ms"},      {METRIC_SECONDS, 0.0001, "0.1 ms"},
        {METRIC_SECONDS, 0.25, "250 ms"}, {METRIC_SECONDS, 1.934, "1.93 s"},
        {METRIC_SECONDS, 7930, "2h12m"},  {METRIC_COUNT, 1234567, "1,234,567"},
        {METRIC_SHARE, 0.0194, "1.94 %"}, {METRIC_SHARE, 0.936, "93.6 %"},
        {METRIC_NUMBER, 0.812, "0.812"},  {METRIC_NUMBER, 12.34, "12.3"},
        {METRIC_MONEY, 0.0123, "0.0123"}, {METRIC_MONEY, 1234.5, "1234.50"},
        {METRIC_SECONDS, NAN, "-"},       {METRIC_SECONDS, 0.0, "0 ms"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = {0};

        metric_put(cases[i].kind, cases[i].value, &out);
        assert_string_equal(out.data, cases[i].text);
        buf_free(&out);
    }
}

static void the_table_has_a_column_for_each_throttle(void **state)
{
    struct buf out;

    (void)state;
    set_up(2, 1);
    out = text_of();
    assert_contains(out.data, "a \"b\".yml: 1,000 rows, 64 in flight, seed 3\n");
    assert_contains(out.data, "aimd");
    assert_contains(out.data, "oracle");
    assert_contains(out.data, "goodput, of the capacity");
    assert_contains(out.data, "1m40s");
    assert_contains(out.data, "3m20s");
    assert_contains(out.data, "refused: 429");
    /* Nothing failed, no price was given: no line about it. */
    assert_lacks(out.data, "failed");
    assert_lacks(out.data, "cost");
    buf_free(&out);
    results[1].failures = 2;
    results[1].failures_by_reason[WEIR_REASON_TIMEOUT] = 2;
    out = text_of();
    assert_contains(out.data, "failed: timeout");
    buf_free(&out);
}

static void a_price_of_rows_without_tokens_is_no_answer(void **state)
{
    struct buf out;

    (void)state;
    set_up(1, 1);
    results[0].tokens = 0;
    assert_int_equal(simulate_price_parse("4/Mtok", &o.price, NULL), WEIR_OK);
    out = text_of();
    assert_contains(out.data, "say what a row costs with --row-tokens");
    buf_free(&out);
    results[0].tokens = 1;
    out = text_of();
    assert_lacks(out.data, "--row-tokens");
    buf_free(&out);
    results[0].tokens = 0;
    assert_int_equal(simulate_price_parse("4/request", &o.price, NULL), WEIR_OK);
    out = text_of();
    assert_lacks(out.data, "--row-tokens");
    buf_free(&out);
}

static void one_row_is_a_row(void **state)
{
    struct buf out;

    (void)state;
    set_up(1, 1);
    o.study.run.rows = 1;
    out = text_of();
    assert_contains(out.data, ": 1 row, 64 in flight");
    buf_free(&out);
}

static void its_columns_stand_below_each_other(void **state)
{
    size_t width = 0;
    struct buf out;

    (void)state;
    set_up(2, 3);
    out = text_of();
    assert_contains(out.data, "3 seeds: the median (the lowest .. the highest)");
    assert_contains(out.data, "3m20s (1m40s .. 5m00s)");
    for (char *line = strstr(out.data, "\n\n") + 2; *line; line += strcspn(line, "\n") + 1) {
        if (width == 0)
            width = strcspn(line, "\n");
        assert_int_equal(strcspn(line, "\n"), width);
    }
    buf_free(&out);
}

static void an_early_end_is_told(void **state)
{
    struct buf out;

    (void)state;
    set_up(1, 2);
    results[1].end = SIM_STUDY_STUCK;
    out = text_of();
    assert_contains(out.data, "aimd, seed 4: some requests never get an answer");
    buf_free(&out);
    results[1].end = SIM_STUDY_TIME;
    out = text_of();
    assert_contains(out.data, "the time was over before all rows were through");
    buf_free(&out);
    /* Without rows the time's end is what was asked for. */
    o.study.run.rows = 0;
    o.study.run.duration_ns = NS_PER_S;
    out = text_of();
    assert_lacks(out.data, "the time was over");
    buf_free(&out);
}

static void the_json_is_json_with_the_names_that_are_documented(void **state)
{
    static const char *const names[] = {"weir",    "service", "seed", "seeds",
                                        "clients", "jobs",    "rows", "duration_limit_seconds"};
    struct slice throttles, key, side, part, value;
    struct json_fault fault;
    struct json_iter it;
    struct buf out = {0};
    double number;

    (void)state;
    set_up(2, 3);
    results[0].goodput = NAN;
    report_put_json(&r, &out);
    assert_false(out.failed);
    assert_true(json_check(buf_slice(&out), &fault));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_true(json_member(buf_slice(&out), names[i], &value));
    assert_true(json_member(buf_slice(&out), "throttles", &throttles));
    json_iter_init(&it, throttles);
    assert_true(json_iter_next(&it, &key, &side));
    assert_true(json_member(side, "throttle", &value));
    assert_true(json_string_equals(value, slice_of("aimd")));
    assert_true(json_member(side, "median", &part));
    assert_true(json_member(part, "duration_seconds", &value) && json_double(value, &number));
    assert_true(number == 200);
    assert_true(json_member(part, "goodput", &value) && json_double(value, &number));
    assert_true(number == 0.65); /* of the two that have one */
    assert_true(json_member(side, "runs", &part));
    json_iter_init(&it, part);
    assert_true(json_iter_next(&it, &key, &side));
    assert_true(json_member(side, "goodput", &value) && json_kind(value) == JSON_NULL);
    assert_true(json_member(side, "end", &value) && json_string_equals(value, slice_of("rows")));
    assert_true(json_member(side, "refused_by_status", &part));
    assert_true(json_member(part, "429", &value));
    for (size_t i = 0; i < metric_count(); i++)
        assert_true(json_member(side, metric_at(i)->name, &value));
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_spread_is_median_lowest_and_highest),
        cmocka_unit_test(the_cost_is_of_tokens_and_requests),
        cmocka_unit_test(values_are_written_for_people),
        cmocka_unit_test(the_table_has_a_column_for_each_throttle),
        cmocka_unit_test(a_price_of_rows_without_tokens_is_no_answer),
        cmocka_unit_test(one_row_is_a_row),
        cmocka_unit_test(its_columns_stand_below_each_other),
        cmocka_unit_test(an_early_end_is_told),
        cmocka_unit_test(the_json_is_json_with_the_names_that_are_documented),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
