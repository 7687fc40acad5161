/* The small texts of options: what they mean, and that what they cannot mean is refused. */
#include "unit/cli/cli_test.h"

#include "cli/command/machine.h"
#include "cli/command/values.h"

#include <signal.h>

static struct weir_error err;

static void a_term_sequence_is_signals_with_waits_between(void **state)
{
    struct term_seq seq;

    (void)state;
    assert_int_equal(values_term_seq("TERM,200,sigint,1.5s,KILL,25", &seq, &err), WEIR_OK);
    assert_int_equal(seq.count, 3);
    assert_int_equal(seq.steps[0].signal, SIGTERM);
    assert_int_equal(seq.steps[0].wait_ns, 200 * NS_PER_MS);
    assert_int_equal(seq.steps[1].signal, SIGINT);
    assert_int_equal(seq.steps[1].wait_ns, 1500 * NS_PER_MS);
    assert_int_equal(seq.steps[2].signal, SIGKILL);
    assert_int_equal(seq.steps[2].wait_ns, 25 * NS_PER_MS);
    assert_int_equal(values_term_seq("9", &seq, &err), WEIR_OK);
    assert_int_equal(seq.count, 1);
    assert_int_equal(seq.steps[0].signal, 9);
    assert_int_equal(seq.steps[0].wait_ns, 0);
}

static void other_sequences_are_refused(void **state)
{
    static const char *const texts[] = {"",   "200",  "TERM,",   "TERM,x",     "TERM,KILL",   "0",
                                        "65", "NOPE", "TERM,-1", "TERM,,KILL", "TERM,4000000"};
    struct term_seq seq;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(values_term_seq(texts[i], &seq, &err), WEIR_E_INVALID);
        assert_contains(err.message, "TERM,200,TERM,100,KILL,25");
    }
    assert_int_equal(values_term_seq("TERM,1,TERM,1,TERM,1,TERM,1,TERM,1,TERM,1,TERM,1,TERM,1,"
                                     "TERM,1,TERM,1,TERM,1,TERM,1,TERM,1,TERM,1,TERM,1,TERM,1,KILL",
                                     &seq, &err),
                     WEIR_E_LIMIT);
}

static void exit_codes_are_a_set(void **state)
{
    static const char *const bad[] = {"", "0", "256", "75,", "x", "5-3", "-1", "1-", "75;76"};
    struct exit_set set;

    (void)state;
    assert_int_equal(values_exits("75,100-102,255", &set, &err), WEIR_OK);
    for (int code = -1; code <= 256; code++)
        assert_int_equal(exit_set_has(&set, code),
                         code == 75 || (code >= 100 && code <= 102) || code == 255);
    assert_int_equal(values_exits("none", &set, &err), WEIR_OK);
    assert_false(exit_set_has(&set, 75));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(values_exits(bad[i], &set, &err), WEIR_E_INVALID);
}

static void a_time_limit_is_a_time_or_a_share_of_the_median(void **state)
{
    struct timeout_value t;

    (void)state;
    assert_int_equal(values_timeout("1.5s", &t, &err), WEIR_OK);
    assert_int_equal(t.time_ns, 1500 * NS_PER_MS);
    assert_true(t.share == 0);
    assert_int_equal(values_timeout("200%", &t, &err), WEIR_OK);
    assert_int_equal(t.time_ns, 0);
    assert_true(t.share == 2.0);
    assert_int_equal(values_timeout("0", &t, &err), WEIR_OK);
    assert_int_equal(t.time_ns, 0);
    assert_int_equal(values_timeout("50%", &t, &err), WEIR_E_INVALID);
    assert_int_equal(values_timeout("0%", &t, &err), WEIR_E_INVALID);
    assert_int_equal(values_timeout("%", &t, &err), WEIR_E_INVALID);
    assert_int_equal(values_timeout("x", &t, &err), WEIR_E_INVALID);
}

static void loads_and_places_may_be_shares_of_the_processors(void **state)
{
    double load;
    int64_t jobs;

    (void)state;
    assert_int_equal(values_load("80%", 10, &load, &err), WEIR_OK);
    assert_true(load > 7.99 && load < 8.01);
    assert_int_equal(values_load("3.5", 10, &load, &err), WEIR_OK);
    assert_true(load == 3.5);
    assert_int_equal(values_load("0", 10, &load, &err), WEIR_E_INVALID);
    assert_int_equal(values_load("-1", 10, &load, &err), WEIR_E_INVALID);
    assert_int_equal(values_jobs("4", 10, 100, &jobs, &err), WEIR_OK);
    assert_int_equal(jobs, 4);
    assert_int_equal(values_jobs("50%", 10, 100, &jobs, &err), WEIR_OK);
    assert_int_equal(jobs, 5);
    assert_int_equal(values_jobs("1%", 10, 100, &jobs, &err), WEIR_OK);
    assert_int_equal(jobs, 1);
    assert_int_equal(values_jobs("2000%", 10, 100, &jobs, &err), WEIR_E_INVALID);
    assert_int_equal(values_jobs("0", 10, 100, &jobs, &err), WEIR_E_INVALID);
    assert_int_equal(values_jobs("101", 10, 100, &jobs, &err), WEIR_E_INVALID);
}

static void the_systems_figures_are_read(void **state)
{
    double load;
    uint64_t bytes;

    (void)state;
    assert_true(machine_read_load(SLICE("0.30 0.21 0.08 1/123 456\n"), &load));
    assert_true(load == 0.30);
    assert_false(machine_read_load(SLICE("0.30"), &load));
    assert_false(machine_read_load(SLICE(""), &load));
    assert_true(machine_read_free(
        SLICE("MemTotal:       16 kB\nMemFree: 1 kB\nMemAvailable:    1234 kB\n"), &bytes));
    assert_int_equal(bytes, 1234 * 1024);
    assert_false(machine_read_free(SLICE("MemTotal: 16 kB\n"), &bytes));
    assert_false(machine_read_free(SLICE("MemAvailable:   "), &bytes));
    assert_false(machine_read_free(SLICE("MemAvailable: 12"), &bytes));
    assert_true(machine_load(&load));
    assert_true(machine_free_bytes(&bytes));
    assert_true(bytes > 0);
    assert_true(machine_processors() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_term_sequence_is_signals_with_waits_between),
        cmocka_unit_test(other_sequences_are_refused),
        cmocka_unit_test(exit_codes_are_a_set),
        cmocka_unit_test(a_time_limit_is_a_time_or_a_share_of_the_median),
        cmocka_unit_test(loads_and_places_may_be_shares_of_the_processors),
        cmocka_unit_test(the_systems_figures_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
