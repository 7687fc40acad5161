/* The options of weir simulate: the file, the command line over it, and what weir run has. */
#include "base/mem.h"
#include "cli/simulate/options.h"
#include "unit/cli/cli_test.h"

#include <unistd.h>

static struct args args;
static struct simulate_options o;
static struct weir_error err;
static char path[] = "/tmp/weir-simulate-XXXXXX";

static void write_service(const char *text)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

/* '@' is the service file. */
static void take_line(const char *line)
{
    struct buf whole = {0};

    for (; *line; line++) {
        if (*line == '@')
            buf_puts(&whole, path);
        else
            buf_putc(&whole, *line);
    }
    args_free(&args);
    args = args_of(whole.data);
    buf_free(&whole);
    memset(&err, 0, sizeof err);
}

static enum weir_status read_line(const char *line)
{
    take_line(line);
    return simulate_options_read(&o, args.count, args.items, &err);
}

static void accept_line(const char *line)
{
    if (read_line(line) != WEIR_OK)
        fail_msg("%s: %s", line, err.message);
}

static void the_file_describes_service_and_clients(void **state)
{
    (void)state;
    write_service("rate: 5..20\nphase: 30s\nclients: 4\njobs: 32\nduration: 60s\nseed: 7\n"
                  "row-tokens: 500\n");
    accept_line("simulate --service @");
    assert_true(o.study.script.rate_rps.lo == 5 && o.study.script.rate_rps.hi == 20);
    assert_int_equal(o.study.script.phase_hi_ns, 30 * NS_PER_S);
    assert_int_equal(o.study.run.clients, 4);
    assert_int_equal(o.study.run.jobs, 32);
    assert_int_equal(o.study.run.duration_ns, 60 * NS_PER_S);
    assert_int_equal(o.seed, 7);
    assert_int_equal(o.side_count, 1);
    assert_int_equal(o.sides[0], THROTTLE_ADAPTIVE);
    simulate_options_free(&o);
}

static void the_command_line_holds_over_the_file(void **state)
{
    (void)state;
    write_service("rate: 5..20\nlatency: 1s\njobs: 32\nduration: 60s\nseed: 7\noutage: [1s+1s, "
                  "5s+1s]\n");
    accept_line("simulate --service @ -j 64 --seed 0 --clients 2 --service-rate 3 --latency 2s "
                "--outage 9s+1s --slow-refusals");
    assert_true(o.study.script.rate_rps.hi == 3);
    assert_int_equal(o.study.script.latency.a_ns, 2 * NS_PER_S);
    assert_int_equal(o.study.script.outage_count, 1);
    assert_int_equal(o.study.script.outages[0].start_ns, 9 * NS_PER_S);
    assert_true(o.study.script.slow_refusals);
    assert_int_equal(o.study.run.jobs, 64);
    assert_int_equal(o.study.run.clients, 2);
    assert_int_equal(o.seed, 0);
    simulate_options_free(&o);
}

static void how_long_is_said_in_one_place(void **state)
{
    (void)state;
    write_service("duration: 60s\n");
    accept_line("simulate --service @ --rows 100k");
    assert_int_equal(o.study.run.rows, 100000);
    assert_int_equal(o.study.run.duration_ns, 0);
    simulate_options_free(&o);
    accept_line("simulate --service @ --rows 10 --duration 5s");
    assert_int_equal(o.study.run.rows, 10);
    assert_int_equal(o.study.run.duration_ns, 5 * NS_PER_S);
    simulate_options_free(&o);
    write_service("rows: 50\n");
    accept_line("simulate --service @ --duration 5s");
    assert_int_equal(o.study.run.rows, 0);
    simulate_options_free(&o);
}

static void the_flow_options_of_run_reach_the_pool(void **state)
{
    const struct core_pool_options *p = &o.study.pool;

    (void)state;
    accept_line("simulate --latency 1s --rows 10 --throttle aimd --rate 3 --rpm 4 --tpm 5 "
                "--retries 6 --retry-delay 7s --retry-after-max 8s --max-capacity-retry 9s "
                "--timeout 10s --deadline 11s --window 1200 --min-dispatch-delay 13ms "
                "--max-dispatch-delay 14s --backoff-multiplier 1.5 --recovery-step 16ms "
                "--halt soon,fail=17 --capacity-status 418");
    assert_int_equal(p->gate.throttle.kind, THROTTLE_AIMD);
    assert_true(p->gate.rate_per_s == 3);
    assert_int_equal(p->gate.requests_per_minute, 4);
    assert_int_equal(p->gate.tokens_per_minute, 5);
    assert_int_equal(p->max_attempts, 7);
    assert_int_equal(p->backoff.initial_ns, 7 * NS_PER_S);
    assert_int_equal(p->gate.retry_after_max_ns, 8 * NS_PER_S);
    assert_int_equal(p->max_capacity_retry_ns, 9 * NS_PER_S);
    assert_int_equal(p->timeout_ns, 10 * NS_PER_S);
    assert_int_equal(o.study.deadline_ns, 11 * NS_PER_S);
    assert_int_equal(o.study.run.window_rows, 1200);
    assert_int_equal(p->gate.min_dispatch_delay_ns, 13 * NS_PER_MS);
    assert_int_equal(p->gate.throttle.aimd.max_delay_ns, 14 * NS_PER_S);
    assert_true(p->gate.throttle.aimd.multiplier == 1.5);
    assert_int_equal(p->gate.throttle.aimd.step_ns, 16 * NS_PER_MS);
    assert_int_equal(o.flow.halt.count, 17);
    assert_int_equal(o.study.full_status_count, 1);
    assert_int_equal(o.study.full_statuses[0], 418);
    simulate_options_free(&o);
}

static void throttles_are_compared_in_the_order_given(void **state)
{
    (void)state;
    accept_line("simulate --latency 1s --rows 10 --compare oracle,aimd,none,adaptive --waste 3% "
                "--recovery-step 60ms --seeds 12");
    assert_int_equal(o.side_count, 4);
    assert_string_equal(simulate_side_name(o.sides[0]), "oracle");
    assert_string_equal(simulate_side_name(o.sides[1]), "aimd");
    assert_string_equal(simulate_side_name(o.sides[2]), "none");
    assert_string_equal(simulate_side_name(o.sides[3]), "adaptive");
    assert_int_equal(o.seeds, 12);
    assert_true(o.study.pool.gate.throttle.adaptive.waste == 0.03);
    simulate_options_free(&o);
}

static void what_is_wrong_is_told(void **state)
{
    static const struct {
        const char *line, *says;
    } wrong[] = {
        {"simulate --rows 5", "--service is missing"},
        {"simulate --latency 1s", "give --rows N or --duration T"},
        {"simulate --latency 1s --rows 5 --rate 5..20", "the service's own is --service-rate"},
        {"simulate --latency 1s --rows 5 --rpm x", "the service's own is --service-rpm"},
        {"simulate --latency 1s --rows 5 --service-rate x", "--service-rate: "},
        {"simulate --latency x --rows 5", "--latency: "},
        {"simulate --latency 1s --rows x", "--rows: "},
        {"simulate --latency 1s --rows 5 --clients 0", "--clients: "},
        {"simulate --latency 1s --rows 5 --compare aimd,foo", "\"foo\" is none of"},
        {"simulate --latency 1s --rows 5 --compare aimd,", "is none of"},
        {"simulate --latency 1s --rows 5 --compare aimd,aimd", "aimd stands there twice"},
        {"simulate --latency 1s --rows 5 --compare aimd --throttle none", "give one of them"},
        {"simulate --latency 1s --rows 5 --compare aimd --waste 2%", "--waste: "},
        {"simulate --latency 1s --rows 5 --compare none,oracle --recovery-step 1s",
         "--recovery-step: "},
        {"simulate --latency 1s --rows 5 --compare aimd,none --events x", "--events: "},
        {"simulate --latency 1s --rows 5 --plot=", "--plot: the name is empty"},
        {"simulate --latency 1s --rows 5 --seeds 0", "--seeds: "},
        {"simulate --latency 1s --rows 5 --price 3/hour", "\"/hour\" is no unit"},
        {"simulate --latency 1s --rows 5 --price 3,4", "twice"},
        {"simulate --latency 1s --rows 5 -j 100 --window 50", "--window: "},
        {"simulate --latency 1s --rows 5 --hang-rate 0.1 --timeout 0", "timeout"},
        {"simulate --latency 1s --rows 5 --queue 3", "--queue: "},
        {"simulate --latency 1s --row 5", "did you mean --rows?"},
        {"simulate --service /nowhere.yml --rows 5", "/nowhere.yml"},
        {"simulate --latency 1s --rows 5 extra", "\"extra\" is not expected here"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (read_line(wrong[i].line) == WEIR_OK)
            fail_msg("%s: is let pass", wrong[i].line);
        assert_contains(err.message, wrong[i].says);
    }
}

static void a_wrong_value_in_the_file_is_told_with_its_line(void **state)
{
    (void)state;
    write_service("latency: 1s\nrate: twenty\n");
    assert_int_equal(read_line("simulate --service @ --rows 5"), WEIR_E_INVALID);
    assert_contains(err.message, ":2: rate: ");
    write_service("latency: 1s\nrows: many\n");
    assert_int_equal(read_line("simulate --service @"), WEIR_E_INVALID);
    assert_contains(err.message, ":2: rows: ");
    write_service("job: 5\n");
    assert_int_equal(read_line("simulate --service @"), WEIR_E_INVALID);
    assert_contains(err.message, "did you mean jobs?");
}

static void prices_have_units(void **state)
{
    struct simulate_price p;

    (void)state;
    assert_int_equal(simulate_price_parse("2.5", &p, &err), WEIR_OK);
    assert_true(p.given && p.per_mtok == 2.5 && p.per_request == 0);
    assert_int_equal(simulate_price_parse("0.01/request", &p, &err), WEIR_OK);
    assert_true(p.per_mtok == 0 && p.per_request == 0.01);
    assert_int_equal(simulate_price_parse("0.01/request,2/Mtok", &p, &err), WEIR_OK);
    assert_true(p.per_mtok == 2 && p.per_request == 0.01);
    assert_int_equal(simulate_price_parse("", &p, &err), WEIR_E_INVALID);
    assert_int_equal(simulate_price_parse("-1", &p, &err), WEIR_E_INVALID);
    assert_true(p.per_mtok == 2);
}

static void the_help_has_every_option_once(void **state)
{
    static const char *const lines[] = {"\n      --service FILE",   "\n  -j, --jobs N",
                                        "\n      --service-rate R", "\n      --rate R",
                                        "\n      --latency DIST",   "\n      --row-tokens DIST",
                                        "\n      --waste SHARE"};
    struct buf out = {0};

    (void)state;
    assert_int_equal(simulate_help_put(&out, &err), WEIR_OK);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const char *at = strstr(out.data, lines[i]);

        assert_non_null(at);
        assert_null(strstr(at + 1, lines[i]));
    }
    buf_free(&out);
}

static void a_lack_of_memory_is_told_and_leaks_nothing(void **state)
{
    unsigned long n = 0;
    enum weir_status status;

    (void)state;
    write_service("rate: 5\nrows: 5\n");
    do {
        take_line("simulate --service @ --latency 1s --outage 1s+1s --capacity-status 420");
        mem_fail_at(++n);
        status = simulate_options_read(&o, args.count, args.items, &err);
        assert_true(status == WEIR_OK || status == WEIR_E_NOMEM || err.message[0]);
        if (status == WEIR_OK)
            simulate_options_free(&o);
    } while (mem_has_failed());
    mem_fail_at(0);
    assert_int_equal(status, WEIR_OK);
    assert_true(n > 5);
}

static int begin(void **state)
{
    int fd = mkostemp(path, 0);

    (void)state;
    return fd < 0 || close(fd) != 0;
}

static int end(void **state)
{
    (void)state;
    args_free(&args);
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_describes_service_and_clients),
        cmocka_unit_test(the_command_line_holds_over_the_file),
        cmocka_unit_test(how_long_is_said_in_one_place),
        cmocka_unit_test(the_flow_options_of_run_reach_the_pool),
        cmocka_unit_test(throttles_are_compared_in_the_order_given),
        cmocka_unit_test(what_is_wrong_is_told),
        cmocka_unit_test(a_wrong_value_in_the_file_is_told_with_its_line),
        cmocka_unit_test(prices_have_units),
        cmocka_unit_test(the_help_has_every_option_once),
        cmocka_unit_test(a_lack_of_memory_is_told_and_leaks_nothing),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
