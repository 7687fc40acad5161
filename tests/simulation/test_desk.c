/*
 * Random lives of a dispatcher with durable tasks (desk/life.h), and its policies in long ones that
 * are not random.
 *
 *     WEIR_SEEDS=10000 build/tests/simulation/test_desk       how many seeds; 300 by default
 *     WEIR_SEED=4711 WEIR_SEEDS=1 build/tests/simulation/test_desk     one, again: the same life
 *     WEIR_OPERATIONS=2000                                    operations in each life; 100 by default
 *     WEIR_LOUD=1                                             tells all that happens
 *
 * run-tests: long
 */
#include "core/ports/registry.h"
#include "simulation/desk/life.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct life_tally tally;
static volatile uint64_t seed_now;

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static const char replay[] =
    "replay it: WEIR_SEED=%llu WEIR_SEEDS=1 build/tests/simulation/test_desk\n";

/* An assertion inside of the desk ends the program: say at which seed. */
static void on_abort(int number)
{
    char text[160];
    int n = snprintf(text, sizeof text, replay, (unsigned long long)seed_now);

    (void)number;
    if (write(STDERR_FILENO, text, (size_t)n) < 0)
        _exit(3);
    signal(SIGABRT, SIG_DFL);
}

static void in_random_lives_every_promise_holds_after_every_step(void **state)
{
    uint64_t first = from_environment("WEIR_SEED", 1);
    uint64_t seeds = from_environment("WEIR_SEEDS", 300);
    uint32_t operations = (uint32_t)from_environment("WEIR_OPERATIONS", 100);
    uint64_t failed = 0;

    (void)state;
    for (uint64_t seed = first; seed < first + seeds && failed < 5; seed++) {
        struct life_options o = {
            .seed = seed, .operations = operations, .loud = from_environment("WEIR_LOUD", 0) != 0};
        char wrong[LIFE_WRONG_BYTES];
        uint64_t hash, again;
        bool ok;

        seed_now = seed;
        ok = life_live(&o, &tally, &hash, wrong);
        if (ok && seed % 10 == first % 10) {
            struct life_tally other = {0};

            ok = life_live(&o, &other, &again, wrong);
            if (ok && again != hash) {
                snprintf(wrong, sizeof wrong, "I7: the same seed gave another life");
                ok = false;
            }
        }
        if (ok)
            continue;
        print_error("seed %llu: %s\n", (unsigned long long)seed, wrong);
        print_error(replay, (unsigned long long)seed);
        failed++;
    }
    print_message("%llu lives, %llu operations, %llu attempts, %llu steps, %llu lines gone, %llu "
                  "purges that kept some, %llu tasks that waited too long for a worker\n",
                  (unsigned long long)seeds, (unsigned long long)tally.operations,
                  (unsigned long long)tally.begun, (unsigned long long)tally.steps,
                  (unsigned long long)tally.lines_gone, (unsigned long long)tally.lines_kept,
                  (unsigned long long)tally.kept_waiting);
    assert_int_equal(failed, 0);
}

static void the_random_lives_reach_what_they_are_meant_to(void **state)
{
    static const enum registry_event_kind never[] = {
        /* those of the engine, and of what is not part of a life */
        REGISTRY_BREAKER_OPENED,     REGISTRY_BREAKER_CLOSED,      REGISTRY_WORKER_TRANSITION,
        REGISTRY_DISPATCHER_STARTED, REGISTRY_DISPATCHER_STOPPING, REGISTRY_DISPATCHER_STOPPED,
        REGISTRY_CONFIG_CHANGED,     REGISTRY_SKILL_UNOFFERED,
    };

    (void)state;
    if (from_environment("WEIR_SEEDS", 300) < 300)
        skip();
    for (int k = REGISTRY_TASK_SUBMITTED; k < REGISTRY_EVENT_KINDS; k++) {
        bool out = false;

        for (size_t i = 0; i < sizeof never / sizeof *never; i++)
            out = out || never[i] == (enum registry_event_kind)k;
        if (!out && tally.kinds[k] == 0)
            print_error("there was no %s\n", registry_event_name((enum registry_event_kind)k));
        assert_true(out || tally.kinds[k] > 0);
    }
    assert_true(tally.abandoned > 0 && tally.folds > 0 && tally.write_failures > 0);
    assert_true(tally.lates_of_lost >
                0); /* what failed after it was given up, and was waited for */
    assert_true(tally.crashes > 0 && tally.stops > 0 && tally.put_back > 0);
    assert_true(tally.pools_gone > 0 && tally.clock_set > 0 && tally.kills > 0);
    assert_true(tally.missed > 0); /* lines, for want of memory */
    assert_true(tally.submitted > 0 && tally.existing > 0 && tally.refused_submits > 0);
    assert_true(tally.cancels_acked > 0 && tally.cancels_running > 0 && tally.edits_done > 0 &&
                tally.retries_done > 0 && tally.resolved > 0);
    assert_true(tally.purges > 0 && tally.lines_gone > 0);
    assert_true(tally.broken > 0 && tally.kept_waiting > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_random_lives_every_promise_holds_after_every_step),
        cmocka_unit_test(the_random_lives_reach_what_they_are_meant_to),
    };

    signal(SIGABRT, on_abort);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
